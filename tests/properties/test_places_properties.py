"""Laws of places: distance, latency, users and matches, on generated inputs."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Geod

from gridsite.errors import DataError
from gridsite.places import (
    connect_buildings,
    demand_zones,
    distance_km,
    metric_crs,
    read_buildings,
    round_trip_ms,
)

WGS84 = Geod(ellps="WGS84")

lon = st.floats(-179.0, 179.0, allow_subnormal=False)
lat = st.floats(-85.0, 85.0, allow_subnormal=False)
place = st.tuples(lon, lat)
azimuth = st.floats(0.0, 360.0)
near = st.tuples(st.floats(6.0, 12.0), st.floats(46.0, 54.0))
few = settings(max_examples=40, deadline=None)


def zone(xy):
    return gpd.GeoDataFrame(
        {"zone_id": ["z"], "users": [1.0]}, geometry=[shapely.Point(*xy)], crs=4326
    )


def sites(points, access_ms=0.0):
    return gpd.GeoDataFrame(
        {
            "site_id": [f"s{i}" for i in range(len(points))],
            "kind": "building",
            "building_id": "b",
            "feeder_id": "f",
            "utility": "",
            "area": "",
            "fixed_capital": 0.0,
            "max_power_kw": 1.0,
            "access_ms": access_ms,
        },
        geometry=[shapely.Point(*p) for p in points],
        crs=4326,
    )


def as_site(layer):
    return layer.rename(columns={"zone_id": "site_id"})


@few
@given(place, place)
def test_distance_is_symmetric(a, b):
    there = distance_km(zone(a), as_site(zone(b))).iloc[0, 0]
    back = distance_km(zone(b), as_site(zone(a))).iloc[0, 0]
    assert there == pytest.approx(back, rel=1e-9, abs=1e-9)


@few
@given(place, azimuth, st.lists(st.floats(0.0, 5000.0), min_size=2, max_size=6))
def test_round_trip_grows_with_distance(start, direction, km):
    ends = [WGS84.fwd(*start, direction, 1000.0 * d)[:2] for d in sorted(km)]
    rtt = round_trip_ms(zone(start), sites(ends, 6.5), user_access="fibre")
    times = rtt.to_numpy()[0]
    assert (np.diff(times) >= -1e-9).all()
    expected = 13.0 + 0.021 * np.sort(km)
    assert times.tolist() == pytest.approx(expected.tolist(), rel=1e-7)


@few
@given(near, near, st.sampled_from([3857, 25832, 3035, 2154]))
def test_round_trip_does_not_depend_on_the_crs(a, b, crs):
    expected = round_trip_ms(zone(a), sites([b]), user_access=1.0).iloc[0, 0]
    other = round_trip_ms(
        zone(a).to_crs(crs), sites([b]).to_crs(crs), user_access=1.0
    ).iloc[0, 0]
    assert other == pytest.approx(expected, rel=1e-6)


@few
@given(
    st.lists(st.tuples(near, st.floats(0.0, 1e4)), min_size=1, max_size=20),
    st.integers(4, 11),
)
def test_users_are_kept(users, resolution):
    points, count = zip(*users, strict=True)
    layer = gpd.GeoDataFrame(
        {"users": count}, geometry=[shapely.Point(*p) for p in points], crs=4326
    )
    zones = demand_zones(layer, resolution=resolution)
    assert zones["users"].sum() == pytest.approx(sum(count), rel=1e-9, abs=1e-9)
    areas = layer.to_crs(3035)
    areas["geometry"] = areas.buffer(700.0)
    spread = demand_zones(areas, resolution=min(resolution, 8))
    assert spread["users"].sum() == pytest.approx(sum(count), rel=1e-9, abs=1e-9)


metres = st.floats(0.0, 300.0)
corner = st.tuples(metres, metres)


def town(points, columns, shapes):
    crs = metric_crs(gpd.GeoSeries([shapely.Point(8, 48)], crs=4326))
    table = gpd.GeoDataFrame(columns, geometry=shapes(points), crs=crs)
    return table.to_crs(4326)


@few
@given(
    st.lists(corner, min_size=1, max_size=12, unique=True),
    st.lists(corner, min_size=1, max_size=12),
    st.floats(1.0, 200.0),
)
def test_every_building_is_matched_or_listed(roofs, spots, reach):
    buildings = town(
        roofs,
        {"building_id": [f"b{i}" for i in range(len(roofs))], "roof_area_m2": 90.0},
        lambda xy: [shapely.box(x, y, x + 9, y + 10) for x, y in xy],
    ).assign(use="home", access_network="fibre")
    names = {"port_id": [f"p{i}" for i in range(len(spots))], "bus": "n"}
    ports = town(
        spots,
        {**names, "feeder_id": "f"},
        lambda xy: gpd.points_from_xy(*zip(*xy, strict=True)),
    ).assign(phases="ABC")
    try:
        table = connect_buildings(buildings, ports, max_distance_m=reach)
    except DataError as error:
        assert len(error.failures) == len(roofs)  # noqa: PT017
        return
    missed = [m["building_id"] for m in table.attrs["unmatched"]]
    matched = set(table["building_id"])
    assert sorted([*matched, *missed]) == sorted(buildings["building_id"])
    assert not table.duplicated(["building_id", "port_id"]).any()
    outside = table[table["match_method"] == "nearest"]
    assert not outside["building_id"].duplicated().any()
    assert table["match_confidence"].between(0.0, 1.0).all()
    assert (table["match_distance_m"] <= reach).all()
    assert all(m["distance_m"] > reach for m in table.attrs["unmatched"])


@few
@given(place, st.floats(5.0, 60.0), st.floats(5.0, 60.0), st.floats(0.0, 90.0))
def test_roof_area_is_geodesic(centre, width, depth, turn):
    crs = metric_crs(gpd.GeoSeries([shapely.Point(*centre)], crs=4326))
    house = shapely.affinity.rotate(shapely.box(0, 0, width, depth), turn)
    x, y = gpd.GeoSeries([shapely.Point(*centre)], crs=4326).to_crs(crs)[0].coords[0]
    moved = shapely.affinity.translate(house, x, y)
    roof = gpd.GeoDataFrame(geometry=[moved], crs=crs).to_crs(4326)
    area = read_buildings(roof)["roof_area_m2"][0]
    expected = abs(WGS84.geometry_area_perimeter(roof.geometry[0])[0])
    assert area == pytest.approx(expected, rel=1e-3)
    assert area == pytest.approx(width * depth, rel=1e-3)
