"""Users are kept, whatever shape they come in; doubtful numbers are refused."""

from __future__ import annotations

import geopandas as gpd
import h3
import numpy as np
import pandas as pd
import pytest
import shapely
from pandas.testing import assert_frame_equal

from gridsite.errors import ConfigError, CRSError, DataError, SchemaError
from gridsite.places import demand_table, demand_zones, read_demand
from gridsite.places.layers import read_layer
from gridsite.schemas import check_table

WORK = pd.DataFrame({"workload": ["game", "batch"], "it_kw_per_user": [0.2, 0.01]})


def points(xy, crs=4326, **columns):
    return gpd.GeoDataFrame(columns, geometry=gpd.points_from_xy(*xy), crs=crs)


def city(count=200):
    rng = np.random.default_rng(2)
    xy = (rng.uniform(7.8, 7.9, count), rng.uniform(48.4, 48.5, count))
    return points(xy, users=rng.uniform(0, 9, count))


@pytest.mark.parametrize("resolution", [0, 7, 9, 12, 15])
def test_users_in_points_are_kept(resolution):
    users = city()
    zones = demand_zones(users, resolution=resolution)
    assert zones["users"].sum() == pytest.approx(users["users"].sum(), rel=1e-12)
    check_table("zones", zones)
    assert zones["zone_id"].is_monotonic_increasing
    assert {h3.get_resolution(cell) for cell in zones["zone_id"]} == {resolution}


def test_users_fall_into_the_cell_around_them():
    users = city()
    zones = demand_zones(users)
    joined = users.sjoin(zones, predicate="within")
    assert len(joined) == len(users)
    summed = joined.groupby("zone_id")["users_left"].sum()
    expected = zones.set_index("zone_id")["users"]
    assert np.allclose(summed.reindex(expected.index), expected, rtol=1e-12)


def test_order_and_crs_change_nothing():
    users = city()
    expected = demand_zones(users)
    shuffled = users.sample(frac=1, random_state=1).to_crs(25832)
    other = demand_zones(shuffled)
    assert other["zone_id"].tolist() == expected["zone_id"].tolist()
    assert np.allclose(other["users"], expected["users"], rtol=1e-12)


def test_users_in_polygons_are_kept_and_spread():
    west, east = shapely.box(7.8, 48.4, 7.85, 48.5), shapely.box(7.85, 48.4, 7.9, 48.5)
    tiny = shapely.box(7.8, 48.3, 7.8001, 48.3001)
    both = shapely.MultiPolygon([shapely.box(8.0, 48.4, 8.1, 48.5), tiny])
    users = gpd.GeoDataFrame(
        {"users": [900.0, 300.0, 7.0, 50.0]},
        geometry=[west, east, tiny, both],
        crs=4326,
    )
    zones = demand_zones(users)
    assert zones["users"].sum() == pytest.approx(1257.0, rel=1e-12)
    inner = zones[zones.geometry.within(west)]
    assert inner["users"].max() == pytest.approx(inner["users"].min(), rel=1e-12)
    assert inner["users"].sum() == pytest.approx(900.0, rel=0.15)  # rim cells aside
    small = zones[zones["zone_id"] == h3.latlng_to_cell(48.30005, 7.80005, 9)]
    assert small["users"].tolist() == [7.0]


def test_weights_and_counts_per_point():
    xy = ([7.8, 7.8], [48.4, 48.4])
    assert demand_zones(points(xy, weight=[1.5, 2]))["users"].tolist() == [3.5]
    assert demand_zones(points(xy, n=[1, 2]), users_column="n")["users"].tolist() == [3]
    assert demand_zones(points(xy), users_per_point=4.0)["users"].tolist() == [8.0]


def test_how_many_users_must_be_said():
    xy = ([7.8], [48.4])
    with pytest.raises(ConfigError, match="users_per_point"):
        demand_zones(points(xy))
    with pytest.raises(ConfigError, match=r"\['users', 'weight'\] leave open"):
        demand_zones(points(xy, users=[1], weight=[2]))
    with pytest.raises(ConfigError, match="no users_column"):
        demand_zones(points(xy, n=[1]), users_column="n", users_per_point=1.0)
    with pytest.raises(DataError, match="no column 'm'"):
        demand_zones(points(xy, n=[1]), users_column="m")
    areas = gpd.GeoDataFrame(geometry=[shapely.box(7.8, 48.4, 7.9, 48.5)], crs=4326)
    with pytest.raises(ConfigError, match="layer of points"):
        demand_zones(areas, users_per_point=1.0)


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf, "many"])
def test_doubtful_numbers_of_users_are_named(value):
    users = points(([7.8, 7.9], [48.4, 48.4]), users=[1.0, value]).set_index(
        pd.Index(["home", "shop"])
    )
    with pytest.raises(DataError, match=f"shop = {value}"):
        demand_zones(users)
    zones = pd.DataFrame({"zone_id": ["a", "b"], "users": [1, value], "geometry": None})
    with pytest.raises(DataError, match=f"zones: .* b = {value}") as caught:
        demand_table(zones, WORK)
    assert caught.value.failures["label"].tolist() == ["b"]


def test_layer_is_checked():
    with pytest.raises(CRSError, match="no CRS"):
        demand_zones(points(([7.8], [48.4]), crs=None, users=[1.0]))
    with pytest.raises(CRSError, match="swap"):
        demand_zones(points(([-37.8], [144.9]), users=[1.0]))
    line = gpd.GeoDataFrame(
        {"users": [1.0]}, geometry=[shapely.LineString([(0, 0), (1, 1)])], crs=4326
    )
    with pytest.raises(DataError, match="found a LineString"):
        demand_zones(line)
    with pytest.raises(DataError, match="antimeridian"):
        demand_zones(points(([179.9999], [-17.0]), users=[1.0]))


@pytest.mark.parametrize(
    "options",
    [
        {"resolution": 16},
        {"resolution": -1},
        {"cell": "triangle"},
        {"cell": "square", "size_m": 0.0},
        {"cell": "square", "size_m": float("nan")},
    ],
)
def test_cell_options_out_of_range_are_refused(options):
    with pytest.raises(ConfigError, match=r"resolution 0 to 15|size_m|or 'square'"):
        demand_zones(city(3), **options)


def test_polygon_with_too_many_cells_is_refused():
    users = gpd.GeoDataFrame(
        {"users": [1.0]}, geometry=[shapely.box(0, 40, 10, 50)], crs=4326
    )
    with pytest.raises(ConfigError, match="lower resolution"):
        demand_zones(users, resolution=12)


def test_demand_is_users_times_power():
    zones = demand_zones(city())
    table = demand_table(zones, WORK)
    check_table("demand", table)
    assert len(table) == 2 * len(zones)
    assert set(table["period"]) == {0}
    total = table.groupby("workload")["demand_it_kw"].sum()
    users = zones["users"].sum()
    assert total["game"] == pytest.approx(0.2 * users)
    assert total["batch"] == pytest.approx(0.01 * users)
    one = table[
        (table["zone_id"] == zones["zone_id"][3]) & (table["workload"] == "game")
    ]
    assert one["demand_it_kw"].tolist() == pytest.approx([0.2 * zones["users"][3]])


def test_workloads_are_checked():
    zones = demand_zones(city(3))
    with pytest.raises(DataError, match=r"'workload' .* more than once"):
        demand_table(zones, pd.concat([WORK, WORK]))
    with pytest.raises(DataError, match=r"game = -0\.2"):
        demand_table(zones, WORK.assign(it_kw_per_user=[-0.2, 1]))
    with pytest.raises(DataError, match="no column 'it_kw_per_user'"):
        demand_table(zones, WORK[["workload"]])


@pytest.fixture
def ready():
    """Return ready zones with labels that look like numbers, and their demand."""
    zones = points(([7.8, 7.9], [48.4, 48.4]), zone_id=["007", "1e5"], users=[5.0, 6.0])
    demand = pd.DataFrame(
        {
            "zone_id": ["007", "007", "1e5"],
            "workload": ["game", "NA", "game"],
            "period": [0, 0, 2],
            "demand_it_kw": [1.0, 0.0, 3.5],
        }
    )
    return zones, demand


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_ready_demand_is_read_as_it_stands(tmp_path, ready, suffix):
    zones, demand = ready
    zones.to_file(tmp_path / "zones.gpkg")
    path = tmp_path / f"demand.{suffix}"
    demand.to_csv(path, index=False) if suffix == "csv" else demand.to_parquet(path)
    result = read_demand(tmp_path / "zones.gpkg", demand=path)
    assert_frame_equal(result.demand, demand)
    assert result.zones["zone_id"].tolist() == ["007", "1e5"]
    assert_frame_equal(read_demand(zones, demand=demand).demand, demand)


def test_ready_demand_is_checked(tmp_path, ready):
    zones, demand = ready
    with pytest.raises(DataError, match=r"1 zone\(s\) without .*'1e5'"):
        read_demand(zones.iloc[:1], demand=demand)
    with pytest.raises(DataError, match="1e5 = -3"):
        read_demand(zones, demand=demand.assign(demand_it_kw=[1, 2, -3]))
    with pytest.raises(DataError, match="1e5 = nan"):
        read_demand(zones, demand=demand.assign(demand_it_kw=[1, 2, np.nan]))
    with pytest.raises(DataError, match="whole numbers"):
        read_demand(zones, demand=demand.assign(period=[0, 1, 1.5]))
    with pytest.raises(SchemaError, match="zone_id"):
        read_demand(zones, demand=pd.concat([demand, demand]))
    with pytest.raises(DataError, match="no column 'workload'"):
        read_demand(zones, demand=demand.drop(columns="workload"))
    with pytest.raises(DataError, match="1e5 = -6"):
        read_demand(zones.assign(users=[5, -6]), demand=demand)
    with pytest.raises(DataError, match="more than once"):
        read_demand(zones.assign(zone_id="z"), demand=demand)
    with pytest.raises(ConfigError, match=r"none\.csv: no such file"):
        read_demand(zones, demand=tmp_path / "none.csv")
    (tmp_path / "bad.parquet").write_bytes(b"bad")
    with pytest.raises(DataError, match=r"bad\.parquet: cannot be read"):
        read_demand(zones, demand=tmp_path / "bad.parquet")


def test_exactly_one_kind_of_demand(ready):
    zones, demand = ready
    for options in ({}, {"workloads": WORK, "demand": demand}):
        with pytest.raises(ConfigError, match="either workloads"):
            read_demand(zones, **options)


def test_eua_users_of_melbourne(shared):
    path = shared("eua/users-melbcbd-generated.csv")
    result = read_demand(path, workloads=WORK, users_per_point=1.0)
    assert result.zones["users"].sum() == 816
    west, south, east, north = result.zones.total_bounds
    assert 144.9 < west < east < 145.0
    assert -37.85 < south < north < -37.80
    assert result.demand["demand_it_kw"].sum() == pytest.approx(816 * 0.21)


def test_eua_users_of_melbourne_in_squares(shared):
    path = shared("eua/users-melbcbd-generated.csv")
    result = read_demand(
        path, workloads=WORK, users_per_point=1.0, cell="square", size_m=200.0
    )
    raw = gpd.GeoDataFrame(geometry=read_layer(path).geometry)
    inside = raw.sjoin(result.zones, predicate="within").groupby("zone_id").size()
    touched = raw.sjoin(result.zones, predicate="intersects").groupby("zone_id").size()
    users = result.zones.set_index("zone_id")["users"]
    assert users.sum() == 816
    assert (
        inside.sum() == 814
    )  # two stand on the edge between squares, longitude 144.96
    assert (inside.reindex(users.index, fill_value=0) <= users).all()
    assert (users <= touched.reindex(users.index)).all()
