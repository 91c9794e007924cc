"""Layers are read as they stand, or refused in one line that says the cure."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from pyproj import Proj

from gridsite.errors import ConfigError, CRSError, DataError
from gridsite.places import layers
from gridsite.places.columns import amounts, text_labels
from gridsite.places.layers import lonlat, metric_crs, read_layer


def square(x=8.0, y=48.0, size=2e-4):
    return shapely.box(x, y, x + size, y + size)


def one(shape, crs=4326):
    return gpd.GeoDataFrame({"name": ["a"]}, geometry=[shape], crs=crs)


@pytest.mark.parametrize("suffix", ["gpkg", "geojson", "fgb", "shp", "parquet"])
def test_every_format_gives_the_same_layer(tmp_path, suffix):
    path = tmp_path / f"roofs.{suffix}"
    source = one(square())
    source.to_parquet(path) if suffix == "parquet" else source.to_file(path)
    read = read_layer(path)
    assert read["name"].tolist() == ["a"]
    assert read.crs.to_epsg() == 4326
    assert shapely.equals_exact(read.geometry[0].normalize(), square().normalize())


def test_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.gpkg: no such file"):
        read_layer(tmp_path / "nowhere.gpkg")


def test_url_is_no_file():
    with pytest.raises(ConfigError, match="no such file"):
        read_layer("https://example.org/roofs.geojson")


@pytest.mark.parametrize("suffix", ["gpkg", "geojson", "parquet", "csv"])
@pytest.mark.parametrize("content", [b"", b"not a layer\n\x00\xff"])
def test_broken_file_is_named(tmp_path, suffix, content):
    path = tmp_path / f"broken.{suffix}"
    path.write_bytes(content)
    with pytest.raises((DataError, ConfigError), match="broken"):
        read_layer(path)


def test_layer_without_rows_is_refused(tmp_path):
    path = tmp_path / "none.geojson"
    path.write_text('{"type": "FeatureCollection", "features": []}')
    with pytest.raises((DataError, ConfigError), match=r"none\.geojson"):
        read_layer(path)
    with pytest.raises(DataError, match="no rows"):
        read_layer(one(square()).iloc[:0])


def test_table_without_geometry_is_refused(tmp_path):
    path = tmp_path / "plain.parquet"
    pd.DataFrame({"a": [1]}).to_parquet(path)
    with pytest.raises(DataError, match="geo"):
        read_layer(path)
    with pytest.raises(ConfigError, match="got DataFrame"):
        read_layer(pd.DataFrame({"a": [1]}))
    with pytest.raises(DataError, match="set_geometry"):
        read_layer(gpd.GeoDataFrame({"a": [1]}))


def test_several_layers_ask_for_a_choice(tmp_path):
    path = tmp_path / "two.gpkg"
    one(square()).to_file(path, layer="roofs")
    one(square(9.0)).to_file(path, layer="sheds")
    with pytest.raises(ConfigError, match=r"layer= of \['roofs', 'sheds'\]"):
        read_layer(path)
    assert read_layer(path, layer="sheds").geometry[0].bounds[0] == 9.0
    with pytest.raises(DataError, match="barns"):
        read_layer(path, layer="barns")


def test_file_that_refers_to_other_files_is_refused(tmp_path):
    one(square()).to_file(tmp_path / "real.gpkg", layer="roofs")
    path = tmp_path / "roofs.geojson"
    path.write_text(
        '<OGRVRTDataSource><OGRVRTLayer name="roofs"><SrcDataSource>'
        f"{tmp_path / 'real.gpkg'}</SrcDataSource></OGRVRTLayer></OGRVRTDataSource>"
    )
    with pytest.raises(DataError, match="refers to other files"):
        read_layer(path)


@pytest.mark.parametrize("suffix", ["gpkg", "parquet", "csv"])
def test_too_many_features_are_refused_before_reading(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"many.{suffix}"
    source = gpd.GeoDataFrame(
        {"lon": ["8", "8", "8"], "lat": "48"}, geometry=[square()] * 3, crs=4326
    )
    if suffix == "csv":
        source.drop(columns="geometry").to_csv(path)
    else:
        getattr(source, "to_parquet" if suffix == "parquet" else "to_file")(path)
    monkeypatch.setattr(layers, "MAX_FEATURES", 2)
    with pytest.raises(DataError, match="3 features, more than 2"):
        read_layer(path)


def test_csv_keeps_labels_as_text(tmp_path):
    path = tmp_path / "users.CSV"
    path.write_text("id,Longitude,LAT\n007,8.5,48\nNA,8.6,48\n")
    read = read_layer(path)
    assert read["id"].tolist() == ["007", "NA"]
    assert read.geometry.x.tolist() == [8.5, 8.6]
    path.write_text("id,x,y\n007,8.5,48\n")
    with pytest.raises(DataError, match="longitude and latitude"):
        read_layer(path)


def test_other_name_of_the_geometry_is_put_right():
    read = read_layer(one(square()).rename_geometry("outline"))
    assert read.active_geometry_name == "geometry"
    assert "outline" not in read


def test_missing_crs_names_both_methods():
    with pytest.raises(CRSError, match=r"roofs: .*set_crs.*to_crs"):
        lonlat(one(square(), crs=None), "roofs")


@pytest.mark.parametrize(
    "shape",
    [
        shapely.Point(-37.8, 144.9),  # swapped
        shapely.Point(181.0, 10.0),
        shapely.Point(500_000.0, 5_300_000.0),  # metres labelled as degrees
        shapely.Point(np.nan, 48.0),
    ],
)
def test_coordinates_off_the_globe_are_refused(shape):
    with pytest.raises(CRSError, match=r"1 row\(s\) lie outside .*first rows \[0\]"):
        lonlat(one(shape), "layer")


def test_far_outside_the_projection_is_refused():
    with pytest.raises(CRSError, match="outside"):
        lonlat(one(shapely.Point(1e12, 1e12), crs=25832), "layer")


@pytest.mark.parametrize("shape", [None, shapely.Polygon()])
def test_missing_geometry_is_refused(shape):
    with pytest.raises(DataError, match=r"no geometry in 1 row\(s\), first \[0\]"):
        lonlat(one(shape), "layer")


def test_antimeridian_is_refused():
    wide = shapely.Polygon([(179.9, -17), (-179.9, -17), (-179.9, -16), (179.9, -16)])
    with pytest.raises(DataError, match="antimeridian"):
        lonlat(one(wide), "layer")


@pytest.mark.parametrize(
    ("x", "y"), [(8.0, 48.0), (179.99, -17.0), (0, 89.9), (0, -87)]
)
def test_metric_crs_keeps_its_promise(x, y):
    rng = np.random.default_rng(1)
    lon = (x + rng.uniform(-2, 2, 50) + 180) % 360 - 180
    lat = np.clip(y + rng.uniform(-2, 2, 50), -90, 90)
    points = gpd.GeoSeries.from_xy(lon, lat, crs=4326)
    factors = Proj(metric_crs(points)).get_factors(lon, lat)
    assert np.abs(np.asarray(factors.areal_scale) - 1).max() < 1e-5
    scales = [factors.tissot_semimajor, factors.tissot_semiminor]
    assert np.abs(np.asarray(scales) - 1).max() < 1e-3


@pytest.mark.parametrize("apart", [13.0, 40.0, 179.0, 180.0])
def test_layer_too_wide_to_measure_is_refused(apart):
    points = gpd.GeoSeries.from_xy([0.0, apart], [0.0, 0.0], crs=4326)
    with pytest.raises(CRSError, match=r"ours: .*off by .*limit 0\.1%"):
        metric_crs(points, where="ours")


def test_metric_crs_needs_a_crs():
    with pytest.raises(CRSError, match="set_crs"):
        metric_crs(gpd.GeoSeries([shapely.Point(0, 0)]))


def test_numbers_and_labels_are_checked():
    table = pd.DataFrame({"id": ["a", "b", "c", "d"], "kw": ["1", "x", "inf", "-2"]})
    with pytest.raises(DataError, match=r"3 row\(s\), first b = x, c = inf, d = -2"):
        amounts(table, "kw", table["id"], "t")
    with pytest.raises(DataError, match="no column 'mw'"):
        amounts(table, "mw", table["id"], "t")
    with pytest.raises(DataError, match="no column 'mw'"):
        text_labels(table, "mw", "t")
    with pytest.raises(DataError, match=r"is empty in 2 row\(s\), first \[1, 2\]"):
        text_labels(pd.DataFrame({"id": ["a", " ", None]}), "id", "t")
    assert text_labels(pd.DataFrame({"id": [1.5, 2.0]}), "id", "t").tolist() == [
        "1.5",
        "2.0",
    ]
