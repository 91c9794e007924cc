"""Roofs are repaired, measured and counted; nothing doubtful passes."""

from __future__ import annotations

import geopandas as gpd
import pandas as pd
import pytest
import shapely
from geopandas.testing import assert_geodataframe_equal
from pyproj import Geod

from gridsite.errors import ConfigError, CRSError, DataError
from gridsite.places import read_buildings
from gridsite.schemas import check_table

HOUSE = shapely.box(0, 0, 10, 12)


def geodesic_m2(shape):
    return abs(Geod(ellps="WGS84").geometry_area_perimeter(shape)[0])


def test_area_is_that_of_the_outline(layer):
    result = read_buildings(layer([HOUSE]))
    assert result["roof_area_m2"].tolist() == pytest.approx([120.0], rel=1e-6)
    assert result.crs.to_epsg() == 4326


@pytest.mark.parametrize("crs", [4326, 25832, 3035, 32631, "ESRI:54009"])
def test_area_does_not_depend_on_the_crs(layer, crs):
    source = layer([HOUSE, shapely.box(4000, 4000, 4020, 4030)], to=crs)
    area = read_buildings(source)["roof_area_m2"]
    assert area.tolist() == pytest.approx([120.0, 600.0], rel=1e-6)


@pytest.mark.parametrize("crs", ["EPSG:3857", "ESRI:102100", "EPSG:900913"])
def test_web_mercator_is_refused(layer, tmp_path, crs):
    with pytest.raises(CRSError, match=r"Web Mercator.*to_crs.*set_crs"):
        read_buildings(layer([HOUSE], to=crs))
    path = tmp_path / "mercator.gpkg"
    layer([HOUSE], to=3857).to_file(path)
    with pytest.raises(CRSError, match=r"mercator\.gpkg"):
        read_buildings(path)


def test_missing_crs_is_refused_with_the_file(tmp_path):
    path = tmp_path / "bare.shp"
    with pytest.warns(UserWarning, match="crs"):
        gpd.GeoDataFrame({"a": [1]}, geometry=[HOUSE]).to_file(path)
    with pytest.raises(CRSError, match=r"bare\.shp: .*set_crs"):
        read_buildings(path)


def test_swapped_axes_are_refused():
    melbourne = shapely.box(-37.81, 144.97, -37.80, 144.98)
    with pytest.raises(CRSError, match="swap the axes"):
        read_buildings(gpd.GeoDataFrame(geometry=[melbourne], crs=4326))


def test_degrees_labelled_as_metres_are_refused():
    source = gpd.GeoDataFrame(geometry=[shapely.box(8, 48, 8.001, 48.001)], crs=25832)
    with pytest.raises(DataError, match=r"degrees labelled as metres\? .*set_crs"):
        read_buildings(source)


def test_country_wide_layer_is_refused_by_name(layer):
    far = gpd.GeoDataFrame(geometry=[shapely.box(25, 48, 25.001, 48.001)], crs=4326)
    with pytest.raises(CRSError, match="layer in memory: lengths would be off"):
        read_buildings(pd.concat([layer([HOUSE]), far]).reset_index())


def test_geometry_is_repaired_and_counted(layer):
    bow_tie = shapely.Polygon([(0, 0), (20, 20), (20, 0), (0, 20)])
    court = HOUSE.difference(shapely.box(2, 2, 4, 4))
    parts = shapely.MultiPolygon([HOUSE, shapely.box(50, 0, 60, 10)])
    solid = shapely.force_3d(shapely.box(100, 0, 110, 10), 7.5)
    result = read_buildings(layer([bow_tie, court, parts, solid]))
    assert result["roof_area_m2"].tolist() == pytest.approx([200, 116, 220, 100])
    assert result.geometry.is_valid.all()
    assert not result.geometry.has_z.any()
    assert result.attrs["report"]["repaired"] == 1


def test_rows_left_out_are_counted(layer, caplog):
    again = shapely.Polygon(HOUSE.exterior.coords[2:-1] + HOUSE.exterior.coords[:2])
    line = shapely.Polygon([(0, 0), (5, 5), (0, 0)])
    sliver, point = shapely.box(20, 0, 22, 4.9), shapely.Point(1, 1)
    shapes = [HOUSE, again.reverse(), sliver, line, None, point]
    with caplog.at_level("INFO"):
        result = read_buildings(layer(shapes))
    report = result.attrs["report"]
    del report["source"]
    assert report == {
        "read": 6,
        "no_geometry": 1,
        "no_polygon": 1,
        "repaired": 1,
        "duplicates": 1,
        "slivers": 2,
        "kept": 1,
    }
    assert "'duplicates': 1" in caplog.text
    assert report["read"] == sum(
        report[k]
        for k in ("no_geometry", "no_polygon", "duplicates", "slivers", "kept")
    )


def test_smallest_label_of_a_duplicate_stays_whatever_the_order(layer):
    source = layer([HOUSE] * 3, building_id=["c", "a", "b"])
    for table in (source, source.iloc[::-1], source.iloc[[1, 2, 0]]):
        assert read_buildings(table)["building_id"].tolist() == ["a"]


def test_smallest_roof_is_an_input(layer):
    source = layer([HOUSE, shapely.box(20, 0, 22, 2)])
    assert len(read_buildings(source)) == 1
    assert len(read_buildings(source, min_area_m2=3.9)) == 2
    assert len(read_buildings(source, min_area_m2=0)) == 2
    with pytest.raises(ConfigError, match="min_area_m2"):
        read_buildings(source, min_area_m2=float("nan"))


def test_only_slivers_is_an_error(layer):
    with pytest.raises(DataError, match=r"no roof of at least 500 m2 .*'slivers': 1"):
        read_buildings(layer([HOUSE]), min_area_m2=500)
    with pytest.raises(DataError, match="no roof"):
        read_buildings(layer([None]))


NO_AREA = [
    shapely.Point(1, 1),
    HOUSE.exterior,
    shapely.MultiPoint([(0, 0), (1, 1)]),
    shapely.GeometryCollection([shapely.Point(1, 1)]),
]


@pytest.mark.parametrize("shape", NO_AREA)
def test_what_is_no_polygon_is_dropped_and_counted(layer, tmp_path, shape):
    shed = shapely.box(50, 0, 60, 10)
    source = layer([HOUSE, shape, shed], osm_id=["w1", None, "w3"], building="yes")
    path = tmp_path / "osm.gpkg"
    source.to_file(path)
    for given in (source, path):
        result = read_buildings(given, id_column="osm_id")
        assert result["building_id"].tolist() == ["w1", "w3"]
        assert result["roof_area_m2"].tolist() == pytest.approx([120, 100])
        report = result.attrs["report"]
        assert (report["read"], report["no_polygon"], report["kept"]) == (3, 1, 2)
    assert read_buildings(source[["geometry"]])["building_id"].tolist() == ["0", "2"]


@pytest.mark.parametrize("shape", NO_AREA)
def test_a_layer_without_any_polygon_is_refused(layer, shape):
    with pytest.raises(DataError, match=f"must be polygons.*{shape.geom_type}"):
        read_buildings(layer([shape, None]))


def test_labels_come_from_column_contract_or_index(layer):
    shed = shapely.box(50, 0, 60, 10)
    source = layer([HOUSE, shed], osm=["w1", "w2"])
    assert read_buildings(source)["building_id"].tolist() == ["0", "1"]
    by_column = read_buildings(source, id_column="osm")
    assert by_column["building_id"].tolist() == ["w1", "w2"]
    by_index = read_buildings(source.set_index("osm"))
    assert by_index["building_id"].tolist() == ["w1", "w2"]
    numbered = read_buildings(layer([HOUSE, shed], building_id=[4.0, 7.0]))
    assert numbered["building_id"].tolist() == ["4", "7"]


def test_labels_that_stand_twice_are_refused_with_the_list(layer):
    shapes = [shapely.box(20 * i, 0, 20 * i + 10, 10) for i in range(4)]
    source = layer(shapes, osm=["a", "b", "a", "c"])
    with pytest.raises(DataError, match=r"first \['a'\]") as caught:
        read_buildings(source, id_column="osm")
    assert caught.value.failures.index.tolist() == [0, 2]
    with pytest.raises(DataError, match="is empty in"):
        read_buildings(layer([HOUSE], osm=[None]), id_column="osm")
    with pytest.raises(DataError, match="no column 'oms'"):
        read_buildings(source, id_column="oms")


HOSTILE = [
    "<script>alert(1)</script>",
    "'; DROP TABLE roofs; --",
    "NA",
    "007",
    "../../etc/passwd",
    "Straße 5 🏠",
    "=1+1",
]


@pytest.mark.parametrize("suffix", ["gpkg", "geojson", "parquet"])
def test_hostile_names_stay_text(layer, tmp_path, suffix):
    shapes = [shapely.box(20 * i, 0, 20 * i + 10, 10) for i in range(len(HOSTILE))]
    source = layer(shapes, name=HOSTILE, kind=HOSTILE)
    path = tmp_path / f"hostile.{suffix}"
    source.to_parquet(path) if suffix == "parquet" else source.to_file(path)
    result = read_buildings(path, id_column="name", use_column="kind")
    assert result["building_id"].tolist() == HOSTILE
    assert result["use"].tolist() == HOSTILE


def test_use_and_access_fall_back_to_the_named_default(layer):
    shapes = [shapely.box(20 * i, 0, 20 * i + 10, 10) for i in range(3)]
    source = layer(shapes, kind=["home", None, " "], net=["5g", "fibre", None])
    result = read_buildings(
        source,
        use_column="kind",
        access_column="net",
        default_use="other",
        default_access="cable",
    )
    assert result["use"].tolist() == ["home", "other", "other"]
    assert result["access_network"].tolist() == ["5g", "fibre", "cable"]
    assert set(read_buildings(source)["use"]) == {"unknown"}
    with pytest.raises(DataError, match="no column 'knid'"):
        read_buildings(source, use_column="knid")


def test_reading_twice_changes_nothing(layer):
    source = layer(
        [HOUSE, shapely.box(50, 0, 60, 10)], building_id=["x", "y"], floors=[2, 3]
    ).assign(use="home", access_network="fibre")
    once = read_buildings(source)
    assert once["floors"].tolist() == [2, 3]
    twice = read_buildings(once)
    assert_geodataframe_equal(once, twice, check_less_precise=True)


def test_source_stays_as_it_was(layer):
    source = layer([HOUSE])
    before = source.copy(deep=True)
    read_buildings(source)
    assert_geodataframe_equal(source, before)


def test_new_zealand_outlines(shared):
    path = shared("footprints/flatgeobuf/nz-building-outlines-small.fgb")
    result = read_buildings(path)
    check_table("buildings", result)
    assert result.attrs["report"]["kept"] == len(result) == 2000
    source = gpd.read_file(path)
    assert result["building_id"].tolist() == source["building_id"].astype(str).tolist()
    geodesic = [geodesic_m2(shape) for shape in result.geometry[:200]]
    assert result["roof_area_m2"][:200].tolist() == pytest.approx(geodesic, rel=1e-4)
    degrees = read_buildings(source.to_crs(4326))
    assert degrees["roof_area_m2"].tolist() == pytest.approx(
        result["roof_area_m2"].tolist(), rel=1e-6
    )


def test_overture_buildings(shared):
    path = shared("footprints/geoparquet/overture_buildings.parquet")
    result = read_buildings(path, id_column="id", use_column="class")
    check_table("buildings", result)
    assert len(result) == 100
    geodesic = [geodesic_m2(shape) for shape in result.geometry]
    assert result["roof_area_m2"].tolist() == pytest.approx(geodesic, rel=1e-4)
