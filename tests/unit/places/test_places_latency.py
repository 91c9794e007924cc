"""Round-trip times against analytic answers; limits against brute force."""

from __future__ import annotations

import itertools
import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from pandas.testing import assert_frame_equal
from pyproj import Geod

from gridsite.errors import ConfigError, CRSError, DataError, SchemaError
from gridsite.places import (
    ACCESS_TECHNOLOGIES,
    AccessTechnology,
    access_times_ms,
    demand_zones,
    distance_km,
    latency_arcs,
    round_trip_ms,
)


def zones(xy, **columns):
    names = [f"z{i}" for i in range(len(xy))]
    return gpd.GeoDataFrame(
        {"zone_id": names, "users": 10.0, **columns},
        geometry=[shapely.Point(*p) for p in xy],
        crs=4326,
    )


def sites(xy, **columns):
    names = [f"s{i}" for i in range(len(xy))]
    fixed = {
        "site_id": names,
        "kind": "building",
        "building_id": [f"b{i}" for i in range(len(xy))],
        "feeder_id": "f",
        "utility": "",
        "area": "",
        "fixed_capital": 0.0,
        "max_power_kw": 100.0,
        "access_ms": 0.0,
    }
    return gpd.GeoDataFrame(
        {**fixed, **columns}, geometry=[shapely.Point(*p) for p in xy], crs=4326
    )


def work(**limits):
    return pd.DataFrame(
        {
            "workload": list(limits),
            "rtt_limit_ms": list(limits.values()),
            "rtt_target_ms": 20.0,
            "min_share_within_target": 0.9,
            "unserved_cost": np.nan,
            "redundancy": 0,
        }
    )


def at_distance(lon, lat, azimuth, km):
    return Geod(ellps="WGS84").fwd(lon, lat, azimuth, 1000 * km)[:2]


@pytest.mark.parametrize("azimuth", [0, 37, 90, 200])
@pytest.mark.parametrize("start", [(8.0, 48.0), (179.9, -17.0), (25.0, 78.0)])
def test_hundred_km_take_2_1_ms(start, azimuth):
    end = at_distance(*start, azimuth, 100.0)
    rtt = round_trip_ms(zones([start]), sites([end]), user_access=0.0)
    assert rtt.loc["z0", "s0"] == pytest.approx(2.1, rel=1e-9)


def test_terms_add_up():
    here = [(8.0, 48.0)]
    host = sites([here[0], at_distance(8.0, 48.0, 90, 200)], access_ms=[3.0, 5.0])
    host["site_constant_ms"] = [0.5, 0.25]
    rtt = round_trip_ms(zones(here), host, user_access=7.0)
    assert rtt.loc["z0"].tolist() == pytest.approx([7 + 3 + 0.5, 7 + 5 + 4.2 + 0.25])
    assert rtt.attrs["percentile"] == "median"


def test_central_site_has_one_last_mile():
    here = [(8.0, 48.0)] * 2
    both = sites(here, kind=["building", "central"], access_ms=[6.5, 0.0])
    rtt = round_trip_ms(zones(here[:1]), both, user_access="fibre")
    assert rtt.loc["z0"].tolist() == [13.0, 6.5]
    both["access_ms"] = 6.5
    with pytest.raises(
        DataError, match=r"central site\(s\) \['s1'\].*site_constant_ms"
    ):
        round_trip_ms(zones(here[:1]), both, user_access="fibre")


def test_users_in_the_host_building_pass_no_last_mile():
    here = [(8.0, 48.0)] * 3
    inside = zones(here, building_id=["b0", None, ""])
    host = sites(here, kind=["building", "building", "central"])
    host["access_ms"] = [5.0, 5.0, 0.0]
    for central in ("", "b0"):
        host["building_id"] = ["b0", "b1", central]
        rtt = round_trip_ms(inside, host, user_access=7.0)
        assert rtt.to_numpy().tolist() == [[0, 12, 7], [12, 12, 7], [12, 12, 7]]


def test_user_access_from_keyword_time_or_technology():
    here = [(8.0, 48.0), (8.0, 48.0)]
    host = sites(here[:1])
    named = zones(here, access_network=["cable", "5g"])
    timed = named.assign(access_ms=[1.0, 2.0])
    assert round_trip_ms(named, host)["s0"].tolist() == [15.0, 47.0]
    assert round_trip_ms(timed, host)["s0"].tolist() == [1.0, 2.0]
    assert round_trip_ms(timed, host, user_access="dsl")["s0"].tolist() == [49.0] * 2
    assert round_trip_ms(timed, host, user_access=3)["s0"].tolist() == [3.0, 3.0]
    with pytest.raises(ConfigError, match="give user_access"):
        round_trip_ms(zones(here), host)
    for wrong in (-1.0, float("nan")):
        with pytest.raises(DataError, match="z0 = "):
            round_trip_ms(zones(here), host, user_access=wrong)
    with pytest.raises(DataError, match=r"\['unknown'\] unknown in 1 row"):
        round_trip_ms(zones(here, access_network=["fibre", "unknown"]), host)
    with pytest.raises(DataError, match="unknown"):
        round_trip_ms(zones(here, access_network=["fibre", None]), host)


def test_tail_is_never_shorter_and_is_named():
    here = [(8.0, 48.0)]
    for name, entry in ACCESS_TECHNOLOGIES.items():
        assert 0 < entry.median_ms < entry.tail_ms
        tail = round_trip_ms(
            zones(here), sites(here), user_access=name, percentile="tail"
        )
        assert tail.loc["z0", "s0"] == entry.tail_ms
        assert tail.attrs["percentile"] == "tail"
        assert entry.median_source[:3] in ("[R]", "[M]")
        assert entry.tail_source.startswith("[M] assumption")
    with pytest.raises(ConfigError, match="'p95'"):
        access_times_ms(pd.Series(["fibre"]), percentile="p95")


def test_technologies_are_frozen_and_can_be_replaced():
    with pytest.raises(TypeError):
        ACCESS_TECHNOLOGIES["fibre"] = ACCESS_TECHNOLOGIES["dsl"]
    mine = {
        "laser": AccessTechnology(
            median_ms=1.0, median_source="own", tail_ms=2.0, tail_source="own"
        )
    }
    here = [(8.0, 48.0)]
    rtt = round_trip_ms(
        zones(here), sites(here), user_access="laser", technologies=mine
    )
    assert rtt.loc["z0", "s0"] == 1.0
    with pytest.raises(DataError, match="known: laser"):
        access_times_ms(pd.Series(["fibre"]), technologies=mine)


@pytest.mark.parametrize("crs", [3857, 25832, 27700])
def test_crs_of_the_layers_does_not_matter(crs):
    rng = np.random.default_rng(4)
    xy = np.column_stack([rng.uniform(6, 12, 12), rng.uniform(46, 54, 12)])
    users, hosts = zones(xy[:5]), sites(xy[5:], access_ms=1.0)
    users["geometry"] = [shapely.box(x, y, x + 0.1, y + 0.2) for x, y in xy[:5]]
    expected = round_trip_ms(users, hosts, user_access="5g")
    other = round_trip_ms(users.to_crs(crs), hosts.to_crs(crs), user_access="5g")
    assert_frame_equal(other, expected, rtol=1e-6)


def test_distance_is_symmetric():
    xy = [(8.0, 48.0), (-70.0, 40.0), (151.0, -33.0), (179.9, 0.0), (-179.9, 0.0)]
    table = distance_km(zones(xy), sites(xy)).to_numpy()
    assert np.allclose(table, table.T, rtol=1e-12)
    assert np.diag(table).tolist() == [0.0] * 5
    assert table[3, 4] == pytest.approx(22.264, abs=1e-3)  # across the antimeridian


def test_arcs_are_the_pairs_within_the_limit():
    rng = np.random.default_rng(6)
    users = zones(rng.uniform([5, 45], [15, 55], (7, 2)))
    hosts = sites(rng.uniform([5, 45], [15, 55], (9, 2)), access_ms=6.5)
    limits = {"near": 18.0, "far": 24.0, "any": np.inf, "none": 1.0}
    arcs = latency_arcs(users, work(**limits), hosts, user_access="fibre")
    rtt = round_trip_ms(users, hosts, user_access="fibre")
    expected = [
        (z, w, s)
        for z, (w, limit), s in itertools.product(rtt.index, limits.items(), rtt)
        if rtt.loc[z, s] <= limit
    ]
    assert (
        0 < (arcs["workload"] == "near").sum() < (arcs["workload"] == "far").sum() < 63
    )
    keys = ["zone_id", "workload", "site_id"]
    assert list(arcs[keys].itertuples(index=False, name=None)) == expected
    assert set(arcs["period"]) == {0}
    for row in arcs.sample(20, random_state=1).itertuples():
        assert row.rtt_ms == rtt.loc[row.zone_id, row.site_id]
        assert row.rtt_ms == pytest.approx(13.0 + 0.021 * row.distance_km)


def test_limit_itself_is_within():
    here = [(8.0, 48.0)]
    host = sites(here, access_ms=5.0)
    assert len(latency_arcs(zones(here), work(a=12.0), host, user_access=7.0)) == 1
    assert len(latency_arcs(zones(here), work(a=11.999), host, user_access=7.0)) == 0


def test_zones_out_of_reach_are_listed(caplog):
    far = at_distance(8.0, 48.0, 90, 1000.0)
    users = zones([(8.0, 48.0), far])
    hosts = sites([(8.0, 48.0), at_distance(8.0, 48.0, 270, 9.0)])
    arcs = latency_arcs(users, work(game=10.0, batch=50.0), hosts, user_access=0.0)
    (missed,) = arcs.attrs["unreachable"]
    assert missed.pop("best_rtt_ms") == pytest.approx(21.0)
    assert missed == {
        "zone_id": "z1",
        "workload": "game",
        "rtt_limit_ms": 10.0,
        "best_site_id": "s0",
    }
    assert "1 pair(s) of zone and workload have no site" in caplog.text
    json.dumps(arcs.attrs)


def test_every_period_has_every_arc():
    here = [(8.0, 48.0), (8.1, 48.1)]
    options = {"user_access": 0.0, "periods": (0, 1, 4)}
    arcs = latency_arcs(zones(here), work(a=99.0), sites(here), **options)
    assert arcs.groupby("period").size().to_dict() == {0: 4, 1: 4, 4: 4}
    assert not arcs.duplicated(["zone_id", "workload", "site_id", "period"]).any()
    for wrong in ((), (0, 0), (-1,)):
        with pytest.raises(ConfigError, match="periods"):
            latency_arcs(zones(here), work(a=9.0), sites(here), periods=wrong)


def test_tables_are_checked():
    here = [(8.0, 48.0), (8.1, 48.1)]
    users, hosts, load = zones(here), sites(here), work(a=99.0)
    with pytest.raises(DataError, match="sites: the table has no rows"):
        latency_arcs(users, load, hosts.iloc[:0], user_access=0.0)
    with pytest.raises(SchemaError, match="zone_id"):
        latency_arcs(zones(here, zone_id=["z", "z"]), load, hosts, user_access=0.0)
    with pytest.raises(SchemaError, match="site_id"):
        latency_arcs(users, load, sites(here, site_id=["s", "s"]), user_access=0.0)
    with pytest.raises(SchemaError, match="rtt_limit_ms"):
        latency_arcs(users, work(a=np.nan), hosts, user_access=0.0)
    with pytest.raises(SchemaError, match="access_ms"):
        latency_arcs(users, load, sites(here, access_ms=[1, np.nan]), user_access=0.0)
    with pytest.raises(DataError, match="s1 = nan"):
        round_trip_ms(users, hosts.assign(site_constant_ms=[0, np.nan]), user_access=1)
    with pytest.raises(CRSError, match=r"zones: .*no CRS"):
        round_trip_ms(users.set_crs(None, allow_override=True), hosts, user_access=1)
    with pytest.raises(CRSError, match=r"sites: .*swap"):
        round_trip_ms(users, sites([(-37.8, 144.9), (8, 48)]), user_access=1)
    with pytest.raises(DataError, match="zones: no geometry"):
        round_trip_ms(
            users.assign(geometry=gpd.GeoSeries([None, None], crs=4326)),
            hosts,
            user_access=1,
        )


def test_eua_melbourne(shared):
    stations = pd.read_csv(shared("eua/site-optus-melbCBD.csv"))
    users = pd.read_csv(shared("eua/users-melbcbd-generated.csv"))
    cells = demand_zones(
        gpd.GeoDataFrame(
            geometry=gpd.points_from_xy(users["Longitude"], users["Latitude"]), crs=4326
        ),
        users_per_point=1.0,
    )
    hosts = sites(stations[["LONGITUDE", "LATITUDE"]].to_numpy().tolist())
    arcs = latency_arcs(cells, work(game=50.0), hosts, user_access="5g")
    assert len(arcs) == len(cells) * 125  # within one city distance decides nothing
    assert arcs["distance_km"].max() < 5.0
    assert arcs["rtt_ms"].max() == pytest.approx(47.0, abs=0.1)
