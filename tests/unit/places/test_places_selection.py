"""Footprint sources, attributes and filters: each row is kept or left with a reason."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

from gridsite.errors import ConfigError, DataError
from gridsite.places import (
    Exclusion,
    merge_attributes,
    read_buildings,
    select_buildings,
)
from gridsite.places.footprints import metres

BOX = shapely.box(0, 0, 10, 10)


def row(count, gap=50.0):
    return [shapely.box(gap * i, 0, gap * i + 10, 10) for i in range(count)]


class TestSources:
    def test_openstreetmap(self, layer):
        raw = layer(
            row(3),
            osm_way_id=["7", "8", "9"],
            building=["house", "yes", None],
            height=["20 ft", "9", None],
        )
        table = read_buildings(raw.rename(columns={}))
        assert table.attrs["format"] == "OpenStreetMap"
        assert table["building_id"].tolist() == ["7", "8", "9"]
        assert table["use"].tolist() == ["house", "unknown", "unknown"]
        assert table["height_m"].tolist()[:2] == pytest.approx([6.096, 9.0])

    def test_microsoft_minus_one_is_not_a_height(self, layer):
        table = read_buildings(
            layer(row(2), height=[-1.0, 5.0], confidence=[-1.0, 0.9])
        )
        assert table.attrs["format"] == "Microsoft building footprints"
        assert np.isnan(table["height_m"][0])
        assert table["height_m"][1] == 5.0

    def test_google_csv(self, tmp_path, layer):
        shapes = layer(row(2)).geometry
        path = tmp_path / "open_buildings.csv.gz"
        pd.DataFrame(
            {
                "latitude": shapes.bounds["miny"],
                "longitude": shapes.bounds["minx"],
                "area_in_meters": [100.0, 100.0],
                "confidence": [0.8, 0.9],
                "geometry": shapes.to_wkt(),
                "full_plus_code": ["8FW4+A", "8FW4+B"],
            }
        ).to_csv(path, index=False)
        table = read_buildings(path)
        assert table.attrs["format"] == "Google Open Buildings"
        assert table["building_id"].tolist() == ["8FW4+A", "8FW4+B"]
        assert table["roof_area_m2"].tolist() == pytest.approx([100.0] * 2, rel=1e-3)

    def test_broken_well_known_text_is_an_error(self, tmp_path):
        path = tmp_path / "roofs.csv"
        path.write_text('geometry,full_plus_code,confidence\n"POLYGON ((0 0",x,1\n')
        with pytest.raises(DataError, match="cannot be read"):
            read_buildings(path)

    def test_overture(self, shared):
        table = read_buildings(
            shared("footprints/geoparquet/overture_buildings.parquet"), min_area_m2=0.0
        )
        assert table.attrs["format"] == "Overture Maps"
        assert set(table["use"]) == {"house", "semidetached_house", "unknown"}
        assert table["height_m"].notna().sum() == 39
        assert not {"sources", "bbox"} & set(table)  # records; names are empty here

    def test_a_layer_of_no_known_source_stays_as_it_is(self, layer):
        table = read_buildings(layer(row(1), building_id=["a"], sources=["x"]))
        assert table.attrs["format"] == ""
        assert "sources" in table

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("0", None),
            ("1e9999", None),
            ("12,5", None),
            ("3 storeys", None),
            ("7'", 2.1336),
        ],
    )
    def test_text_that_is_no_height_is_not_known(self, text, value):
        found = metres(pd.Series([text], name="height"))[0]
        assert np.isnan(found) if value is None else found == pytest.approx(value)


def test_nearly_the_same_outline_is_one_building(layer):
    shifted = shapely.affinity.translate(BOX, 0.2, 0.2)
    part = shapely.box(0, 0, 10, 8)
    table = read_buildings(
        layer([shifted, BOX, part], building_id=["b", "a", "c"]), min_area_m2=0.0
    )
    assert table["building_id"].tolist() == ["a", "c"]  # 80 % is another building
    assert table.attrs["report"]["duplicates"] == 1


class TestFilters:
    def test_each_reason_is_named_and_counted(self, roofs, layer):
        table = roofs(row(6), height_m=[5.0, np.nan, 30.0, 8.0, 8.0, 8.0])
        table.loc[3, "use"] = "church"
        flood = layer([shapely.box(195, -5, 203, 5)])
        noise = layer([shapely.Point(285, 5)])
        kept = select_buildings(
            table,
            uses=["home"],
            min_height_m=3.0,
            max_height_m=20.0,
            exclusions=[
                Exclusion(source=flood, name="flood"),
                Exclusion(source=noise, name="bedroom", distance_m=26.0),
            ],
        )
        assert kept["building_id"].tolist() == ["b0"]
        assert [r["reason"] for r in kept.attrs["left_out"]] == [
            "height_m is not known",
            "height_m 30 is outside 3 to 20",
            "use 'church'",
            "flood",
            "bedroom within 26 m",
        ]
        assert kept.attrs["report"]["filtered"] == 5

    @pytest.mark.parametrize(("metres", "stays"), [(19.9, True), (20.1, False)])
    def test_distance_is_in_metres_whatever_the_crs(self, roofs, layer, metres, stays):
        zone = layer([shapely.Point(80, 5)], to=3857)
        near = Exclusion(source=zone, name="z", distance_m=metres)
        kept = select_buildings(roofs(row(2)), exclusions=[near])
        assert ("b1" in set(kept["building_id"])) is stays

    @pytest.mark.parametrize(
        ("options", "error", "word"),
        [
            ({"uses": ["castle"]}, DataError, "leave none"),
            ({"min_height_m": 1.0}, DataError, "height_m"),
            ({"max_area_m2": float("nan")}, ConfigError, "finite"),
        ],
    )
    def test_doubtful_filters_are_refused(self, roofs, options, error, word):
        with pytest.raises(error, match=word):
            select_buildings(roofs(row(2)), **options)

    def test_a_zone_without_geometry_is_refused(self, roofs):
        empty = gpd.GeoDataFrame(geometry=[None], crs=4326)
        with pytest.raises(DataError, match="excludes nothing"):
            select_buildings(
                roofs(row(2)), exclusions=[Exclusion(source=empty, name="flood")]
            )


class TestAttributes:
    def test_a_table_by_id_replaces_what_it_knows(self, roofs):
        given = pd.DataFrame(
            {"id": ["b1", "zz"], "use": ["shop", "x"], "street": ["High St", "y"]}
        )
        merged = merge_attributes(roofs(row(3)), given, id_column="id")
        assert merged["use"].tolist() == ["home", "shop", "home"]
        assert merged["street"].tolist()[1] == "High St"
        assert len(merged) == 3
        assert merged.attrs["report"]["attributes_unknown"] == 1

    def test_d7_address_points_do_not_duplicate_a_building(self, roofs, layer):
        spots = [shapely.Point(x, 5) for x in (2, 8, 52, 58)]
        given = layer(spots, use=["flat", "flat", "shop", "bank"])
        merged = merge_attributes(roofs(row(3)), given)
        assert merged["building_id"].tolist() == ["b0", "b1", "b2"]
        assert merged["use"].tolist() == ["flat", "home", "home"]
        assert merged["addresses"].tolist() == [2, 2, 0]
        assert merged.attrs["report"]["attributes_disagree"] == 1

    def test_an_id_that_stands_twice_is_refused(self, roofs):
        twice = pd.DataFrame({"building_id": ["b1", "b1"], "use": ["a", "b"]})
        with pytest.raises(DataError, match="more than once"):
            merge_attributes(roofs(row(3)), twice)
