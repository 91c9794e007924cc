"""What is wrong with layers of roofs and users is named."""

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

from gridsite.errors import ConfigError
from gridsite.places.place_checks import check_roofs, check_users

METRE = 1.0 / 111_200.0


def roofs(**columns):
    """Return six generated houses of 10 m by 10 m near 48.45 N."""
    shapes = [
        shapely.box(7.89 + k * 4e-4, 48.45, 7.89 + k * 4e-4 + 15 * METRE, 48.45 + 1e-4)
        for k in range(6)
    ]
    table = gpd.GeoDataFrame({"building_id": list("abcdef")}, geometry=shapes, crs=4326)
    return table.assign(**columns)


def feeder(lon=7.89, lat=48.45):
    return gpd.GeoDataFrame(geometry=gpd.points_from_xy([lon], [lat]), crs=4326)


def by_check(rows):
    assert all(row.cure for row in rows)
    return {row.check: row for row in rows}


def test_sound_roofs_have_no_findings():
    assert check_roofs(roofs(), feeder=feeder()) == []


def test_what_cleaning_does_to_roofs_is_counted():
    table = roofs()
    bow = shapely.Polygon([(0, 0), (1, 1), (1, 0), (0, 1)])
    bow = shapely.affinity.translate(shapely.affinity.scale(bow, 3e-4, 3e-4), 7.9, 48.4)
    table.loc[0, "geometry"] = None
    table.loc[1, "geometry"] = bow
    table.loc[2, "geometry"] = table.geometry[3]
    table.loc[4, "geometry"] = shapely.box(7.9, 48.46, 7.9 + METRE, 48.46 + METRE)
    table = pd.concat([table, roofs(geometry=shapely.Point(7.9, 48.45)).head(1)])
    rows = by_check(check_roofs(table))
    for check, severity in {
        "geometry missing": "warning",
        "no outlines": "warning",
        "geometry broken": "note",
        "roofs twice": "note",
        "slivers": "note",
    }.items():
        assert (rows[check].severity, rows[check].value) == (severity, 1)


def test_large_roofs_are_named():
    table = roofs()
    table.loc[5, "geometry"] = shapely.box(7.89, 48.46, 7.90, 48.47)
    row = by_check(check_roofs(table))["large roofs"]
    assert (row.element, row.severity) == ("f", "warning")


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (roofs().set_crs(None, allow_override=True), "CRS"),
        (roofs().to_crs(3857), "Web Mercator"),
        (roofs(building_id="x"), "more than once"),
        (
            roofs(geometry=gpd.points_from_xy([7.89] * 6, [48.45] * 6, crs=4326)),
            "must be polygons",
        ),
        (roofs().set_crs(25832, allow_override=True), "degrees labelled as metres"),
    ],
)
def test_layers_that_cannot_be_read_are_one_error(table, words):
    row = by_check(check_roofs(table))["roofs"]
    assert row.severity == "error"
    assert words in row.message


def test_places_apart_are_named_and_swapped_ones_recognised():
    row = by_check(check_roofs(roofs(), feeder=feeder(9.0, 48.45)))["far away"]
    assert row.severity == "warning"
    assert 80 < row.value < 83
    assert row.unit == "km"
    assert "swapped" not in row.message
    turned = roofs().set_geometry(
        [shapely.transform(shape, lambda xy: xy[:, ::-1]) for shape in roofs().geometry]
    )
    row = by_check(check_roofs(turned, feeder=feeder()))["far away"]
    assert "swapped" in row.message


def people(numbers):
    return gpd.GeoDataFrame(
        {"users": numbers},
        geometry=gpd.points_from_xy(np.linspace(7.88, 7.90, len(numbers)), 48.45),
        crs=4326,
    )


def test_sound_users_are_one_note_with_their_sum():
    rows = check_users(people([3.0, 4.0, 5.0]), feeder=feeder())
    assert [(row.severity, row.check, row.value) for row in rows] == [
        ("note", "total", 12.0)
    ]


@pytest.mark.parametrize("code", [99.0, 999.0, -1.0, -9999.0])
def test_f12_codes_for_hidden_numbers_are_named(code):
    rows = by_check(check_users(people([3.0, 40.0, code, code, code, 7.0])))
    assert (rows["codes"].severity, rows["codes"].value) == ("error", 3)
    assert str(code) in rows["codes"].message
    assert "total" not in rows


def test_f12_a_number_that_only_looks_like_a_code_is_none():
    rows = by_check(check_users(people([3.0, 120.0, 99.0, 99.0, 99.0, 7.0])))
    assert list(rows) == ["total"]


def test_missing_and_negative_numbers_are_errors():
    rows = by_check(check_users(people([3.0, np.nan, -4.0, np.inf])))
    assert (rows["users"].severity, rows["users"].value) == ("error", 3)
    assert by_check(check_users(people([0.0, 0.0])))["total"].severity == "error"


def test_users_of_unknown_number_are_a_config_error():
    with pytest.raises(ConfigError, match="users"):
        check_users(people([1.0]).rename(columns={"users": "n"}))


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".parquet", ".csv", ".shp"])
def test_bytes_of_any_kind_never_crash_the_check(tmp_path, suffix):
    rng = np.random.default_rng(1)
    path = tmp_path / f"layer{suffix}"
    for size in (0, 1, 40, 4000):
        path.write_bytes(rng.bytes(size))
        for check in (check_roofs, check_users):
            assert [row.severity for row in check(path)] == ["error"]
