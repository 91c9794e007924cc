"""Every building is accounted for, and its match is the one brute force finds."""

from __future__ import annotations

import json
import math

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely
from pandas.testing import assert_frame_equal

from gridsite.errors import ConfigError, CRSError, DataError, SchemaError
from gridsite.places import connect_buildings
from gridsite.schemas import check_table

HOUSE = shapely.box(0, 0, 10, 10)


def houses(count, gap=100.0):
    return [shapely.box(gap * i, 0, gap * i + 10, 10) for i in range(count)]


def test_port_inside_wins_over_any_other(roofs, ports):
    table = connect_buildings(
        roofs([HOUSE]), ports([shapely.Point(10.5, 5), shapely.Point(2, 2)])
    )
    row = table.iloc[0]
    assert len(table) == 1
    assert (row["port_id"], row["match_method"]) == ("p1", "inside")
    assert (row["match_distance_m"], row["match_confidence"]) == (0.0, 1.0)
    assert table.attrs["unmatched"] == []
    check_table("connections", table)


def test_several_ports_inside_give_a_row_each(roofs, ports):
    inside = [shapely.Point(x, 5) for x in (1, 5, 5, 9)]
    table = connect_buildings(roofs(houses(2)), ports([*inside, shapely.Point(105, 5)]))
    assert table["building_id"].tolist() == ["b0"] * 4 + ["b1"]
    assert table["port_id"].tolist() == ["p0", "p1", "p2", "p3", "p4"]


def test_many_buildings_share_a_port(roofs, ports):
    table = connect_buildings(roofs(houses(3, gap=12)), ports([shapely.Point(17, -5)]))
    assert table["port_id"].tolist() == ["p0"] * 3
    expected = [math.hypot(7, 5), 5.0, math.hypot(7, 5)]
    assert table["match_distance_m"].tolist() == pytest.approx(expected, rel=1e-5)


def test_confidence_follows_the_formula(roofs, ports):
    spots = [shapely.Point(20, 5), shapely.Point(-30, 5)]  # 10 m and 30 m away
    table = connect_buildings(roofs([HOUSE]), ports(spots))
    assert table["port_id"].tolist() == ["p0"]
    assert table["match_distance_m"].tolist() == pytest.approx([10.0], rel=1e-5)
    expected = (1 - 10 / 50) * 30 / (10 + 30)
    assert table["match_confidence"].tolist() == pytest.approx([expected], rel=1e-5)
    alone = connect_buildings(roofs([HOUSE]), ports(spots[:1]))
    assert alone["match_confidence"].tolist() == pytest.approx([0.8], rel=1e-5)
    tight = connect_buildings(roofs([HOUSE]), ports(spots), max_distance_m=20)
    assert tight["match_confidence"].tolist() == pytest.approx([0.375], rel=1e-5)


def test_tie_takes_the_smallest_port_at_half_confidence(roofs, ports):
    same = [shapely.Point(20, 5)] * 3
    table = connect_buildings(roofs([HOUSE]), ports(same, port_id=["c", "a", "b"]))
    assert table["port_id"].tolist() == ["a"]
    assert table["match_confidence"].tolist() == pytest.approx([0.4], rel=1e-5)


def test_unmatched_are_listed_with_distance_and_reason(roofs, ports):
    table = connect_buildings(roofs(houses(2)), ports([shapely.Point(5, 12)]))
    (missed,) = table.attrs["unmatched"]
    assert table["building_id"].tolist() == ["b0"]
    assert missed["building_id"] == "b1"
    assert missed["distance_m"] == pytest.approx(math.hypot(95, 2), rel=1e-5)
    assert missed["reason"] == "nearest port 'p0' is 95.0 m away, limit 50 m"
    json.dumps(table.attrs)  # Parquet writes it this way


def test_nothing_matched_is_an_error(roofs, ports):
    with pytest.raises(DataError, match=r"none finds .*'b0'.*390\.0 m away") as caught:
        connect_buildings(roofs([HOUSE]), ports([shapely.Point(400, 5)]))
    assert caught.value.failures["building_id"].tolist() == ["b0"]


def test_matches_equal_brute_force(roofs, ports):
    rng = np.random.default_rng(3)
    corner, size = rng.uniform(0, 1500, (80, 2)), rng.uniform(2, 300, (80, 2))
    shapes = [
        shapely.box(*c, *(c + s)).difference(shapely.box(*(c + 1), *(c + s)))
        for c, s in zip(corner, size, strict=True)  # thin angles: bent, off-centre
    ]
    spots = [shapely.Point(*xy) for xy in rng.uniform(-50, 1600, (90, 2))]
    table = connect_buildings(roofs(shapes), ports(spots), max_distance_m=60)
    away = shapely.distance(np.array(shapes)[:, None], np.array(spots)[None, :])
    nearest = np.sort(away, axis=1)[:, :2]
    expected = {
        f"b{i}": (f"p{away[i].argmin()}", d1, (1 - d1 / 60) * d2 / (d1 + d2))
        for i, (d1, d2) in enumerate(nearest)
        if 0 < d1 <= 60
    }
    assert len(expected) > 40
    assert (nearest[:, 0] > 60).any()
    assert set(table["building_id"]) == set(expected)
    for row in table.itertuples():
        port, distance, confidence = expected[row.building_id]
        assert row.port_id == port
        assert row.match_distance_m == pytest.approx(distance, rel=1e-4, abs=1e-3)
        assert row.match_confidence == pytest.approx(confidence, rel=1e-3, abs=1e-4)


def test_order_and_crs_change_nothing(roofs, ports):
    rng = np.random.default_rng(5)
    buildings = roofs([shapely.box(x, y, x + 9, y + 9) for x, y in grid(6)])
    points = ports([shapely.Point(*xy) for xy in rng.uniform(0, 250, (30, 2))])
    table = connect_buildings(buildings, points)
    key = ["building_id", "port_id"]
    other = connect_buildings(
        buildings.sample(frac=1, random_state=1).to_crs(25832),
        points.sample(frac=1, random_state=2).to_crs(3857),
    )
    assert_frame_equal(
        table.sort_values(key, ignore_index=True),
        other.sort_values(key, ignore_index=True),
        rtol=1e-5,
    )


def grid(count, gap=45.0):
    return [(gap * i, gap * j) for i in range(count) for j in range(count)]


def test_ids_connect_whatever_the_place(roofs, ports):
    buildings = roofs(houses(4), meter=["p0", "p1", "nope", None])
    points = ports([None, shapely.Point(5, 5)], feeder_id=["f1", "f2"])
    table = connect_buildings(buildings, points, port_column="meter")
    assert table["building_id"].tolist() == ["b0", "b1"]
    assert table["port_id"].tolist() == ["p0", "p1"]
    assert table["feeder_id"].tolist() == ["f1", "f2"]
    assert set(table["match_method"]) == {"id"}
    assert table["match_confidence"].tolist() == [1.0, 1.0]
    assert math.isnan(table["match_distance_m"][0])
    assert table["match_distance_m"][1] == pytest.approx(95.0, rel=1e-5)
    assert [m["distance_m"] for m in table.attrs["unmatched"]] == [None, None]
    reasons = [(m["building_id"], m["reason"]) for m in table.attrs["unmatched"]]
    assert reasons == [
        ("b2", "port 'nope' is not among the connection points"),
        ("b3", "column 'meter' is empty"),
    ]
    with pytest.raises(DataError, match="no column 'metre'"):
        connect_buildings(buildings, points, port_column="metre")


def test_ids_need_no_coordinates(roofs, ports):
    plain = pd.DataFrame(ports([HOUSE.centroid], port_id=[7]).drop(columns="geometry"))
    table = connect_buildings(roofs([HOUSE], meter=[7.0]), plain, port_column="meter")
    assert table["port_id"].tolist() == ["7"]
    with pytest.raises(DataError, match="port_column"):
        connect_buildings(roofs([HOUSE]), plain)


@pytest.mark.parametrize(
    "nowhere", [None, shapely.Point(), shapely.Point(np.nan, np.nan)]
)
def test_ports_without_a_place_are_left_out(roofs, ports, caplog, nowhere):
    for x, method in ((5, "inside"), (15, "nearest")):
        points = ports([shapely.Point(0, 0), shapely.Point(x, 5)])
        points.loc[0, "geometry"] = nowhere
        table = connect_buildings(roofs([HOUSE]), points)
        assert table["port_id"].tolist() == ["p1"]
        assert table["match_method"].tolist() == [method]
    assert "1 port(s) have no place" in caplog.text
    with pytest.raises(DataError, match="each needs a point"):
        connect_buildings(roofs([HOUSE]), ports([None]))


def test_assumed_service_is_marked(roofs, ports):
    buildings = roofs(houses(3))
    spots = [shapely.Point(100 * i + 5, 5) for i in range(3)]
    known = ports(spots, service_a=[100.0, np.nan, np.nan], service_v=[400, 230, None])
    table = connect_buildings(buildings, known, service_a=63.0)
    assert table["service_a"].tolist() == [100.0, 63.0, 63.0]
    assert table["service_v"].tolist()[:2] == [400.0, 230.0]
    assert math.isnan(table["service_v"][2])
    assert table["assumed"].tolist() == [False, True, True]
    unknown = connect_buildings(buildings, ports(spots))
    assert unknown["service_a"].isna().all()
    assert not unknown["assumed"].any()


@pytest.mark.parametrize("name", ["max_distance_m", "service_a", "service_v"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_options_out_of_range_are_refused(roofs, ports, name, value):
    with pytest.raises(ConfigError, match=name):
        connect_buildings(roofs([HOUSE]), ports([HOUSE.centroid]), **{name: value})


def test_ports_are_checked(roofs, ports):
    buildings, spots = roofs([HOUSE]), [shapely.Point(1, 1), shapely.Point(2, 2)]
    with pytest.raises(DataError, match=r"'port_id' .* first \['x'\]"):
        connect_buildings(buildings, ports(spots, port_id=["x", "x"]))
    with pytest.raises(DataError, match=r"ports: column 'bus' is empty"):
        connect_buildings(buildings, ports(spots, bus=["a", None]))
    with pytest.raises(DataError, match="no column 'phases'"):
        connect_buildings(buildings, ports(spots).drop(columns="phases"))
    with pytest.raises(DataError, match=r"needs a point, found \['Polygon'\]"):
        connect_buildings(buildings, ports([HOUSE]))
    with pytest.raises(DataError, match="no rows"):
        connect_buildings(buildings, ports([HOUSE.centroid]).iloc[:0])


def test_layers_are_checked(roofs, ports):
    points = ports([shapely.Point(1, 1)])
    with pytest.raises(CRSError, match=r"ports: .*set_crs"):
        connect_buildings(roofs([HOUSE]), points.set_crs(None, allow_override=True))
    with pytest.raises(SchemaError, match="roof_area_m2"):
        connect_buildings(roofs([HOUSE]).drop(columns="roof_area_m2"), points)
    with pytest.raises(SchemaError, match="building_id"):
        connect_buildings(roofs(houses(2), building_id=["a", "a"]), points)
    elsewhere = gpd.GeoDataFrame(
        points.drop(columns="geometry"), geometry=[shapely.Point(-100, 40)], crs=4326
    )
    with pytest.raises(
        CRSError, match=r"buildings and ports together: .*check its CRS"
    ):
        connect_buildings(roofs([HOUSE]), elsewhere)
