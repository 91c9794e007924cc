"""Street lines are joined as drawn, and loops open where losses are least."""

from __future__ import annotations

import itertools

import geopandas as gpd
import numpy as np
import pytest
import shapely

from gridsite.places import street_transformers
from gridsite.places.loops import Joined, _currents, joined_lines, open_lines

DOT = shapely.Point


def drawn(*ways):
    """Return one line per pair of points that follow one another."""
    return np.array(
        [shapely.LineString(pair) for way in ways for pair in itertools.pairwise(way)]
    )


def homes(*places):
    return np.array([DOT(xy) for xy in places])


def losses(nodes, closed, resistance, load, root):
    """Return the losses of a tree by adding up the loads beyond each line."""
    total = 0.0
    for line in np.flatnonzero(closed):
        rest = closed.copy()
        rest[line] = False
        near = {root}
        for _ in range(len(nodes)):
            near |= {v for pair in nodes[rest] if near & set(pair) for v in pair}
        beyond = [v for v in range(len(load)) if v not in near]
        total += resistance[line] * load[beyond].sum() ** 2
    return total


@pytest.mark.parametrize(("metres", "fed"), [(250.0, 0.5), (400.0, 1.0), (5e3, 1.0)])
def test_a_transformer_far_from_all_lines_feeds_none(metres, fed):
    """Ten houses along 200 m of street; a second transformer at or beyond its end."""
    x, y = 415_000.0, 5_367_000.0
    dots = [DOT(x + 20 * k, y + 6).buffer(4) for k in range(1, 11)]
    names = [str(k) for k in range(10)]
    houses = gpd.GeoDataFrame({"building_id": names}, geometry=dots, crs=32632)
    ends = [(x + 20.0 * k, y) for k in range(11)]
    lines = gpd.GeoDataFrame(geometry=drawn(ends), crs=32632)
    spots = gpd.GeoDataFrame(
        {"transformer": ["own", "other"]},
        geometry=[DOT(x, y), DOT(x + metres, y)],
        crs=32632,
    )
    found = street_transformers(houses, lines, transformers=spots)
    assert (found["transformer"] == "own").mean() == fed
    if fed == 1.0:
        assert (found["confidence"] > 0.5).all()


class TestJoining:
    def test_ends_that_touch_are_one_node(self):
        net = joined_lines(
            drawn([(0, 0), (50, 0)], [(50, 0.3), (90, 0)]),
            np.array([[0.0, 3.0]]),
            homes((90, 5)),
            10.0,
        )
        assert net.nodes[0, 1] == net.nodes[1, 0]
        assert net.station[0] == net.nodes[0, 0]
        assert net.size == 3

    def test_ends_apart_are_a_cabinet_where_they_serve_no_building(self):
        lines = drawn(
            [(0, 0), (50, 0)],
            [(54, 0), (90, 0)],
            [(57, 3), (57, 60)],
            [(90, 0), (95, 0)],
        )
        station = np.array([[0.0, 0.0]])
        cabinet = joined_lines(lines, station, homes((95, 5), (57, 66)), 10.0)
        middle = [cabinet.nodes[0, 1], cabinet.nodes[1, 0], cabinet.nodes[2, 0]]
        assert len(set(middle)) == 1
        assert cabinet.may_open[:3].tolist() == [
            [False] * 2,
            [True, False],
            [True, False],
        ]

    def test_the_end_of_a_street_at_a_building_is_not_joined_to_the_next_street(self):
        lines = drawn([(0, 0), (50, 0)], [(56, 40), (56, 0), (90, 0)])
        stations = np.array([[0.0, 0.0], [90.0, 0.0]])
        house = joined_lines(lines, stations, homes((50, 5), (60, -5)), 10.0)
        assert house.nodes[0, 1] != house.nodes[1, 1]
        # ... unless it is the only way to a transformer, or no building is there
        alone = joined_lines(lines, stations[:1], homes((50, 5), (60, -5)), 10.0)
        assert alone.nodes[0, 1] == alone.nodes[1, 1]
        cabinet = joined_lines(lines, stations, homes((60, -5)), 10.0)
        assert cabinet.nodes[0, 1] == cabinet.nodes[1, 1]

    def test_gaps_of_a_coarse_drawing_are_closed(self):
        lines = drawn([(0, 0), (50, 0)], [(52, 1), (90, 0)], [(91, 2), (130, 0)])
        houses = homes((50, 5), (90, 5), (130, 5))
        net = joined_lines(lines, np.array([[0.0, 0.0]]), houses, 10.0)
        assert net.size == 4

    def test_a_short_line_does_not_join_its_own_ends(self):
        lines = drawn([(0, 0), (30, 0), (34, 0), (60, 0)])
        net = joined_lines(lines, np.array([[0.0, 0.0]]), homes((60, 5)), 10.0)
        assert net.size == 4


class TestOpening:
    def test_currents_divide_as_resistances_say(self):
        # 0 and 1 between the root twice: 1 ohm, and 3 ohm to the other side
        flow = _currents(
            np.array([[1, 0], [0, 1]]), np.array([1.0, 3.0]), np.array([4.0]), [0]
        )
        assert flow == pytest.approx([3.0, 1.0])

    @pytest.mark.parametrize("seed", range(6))
    def test_one_loop_opens_where_a_search_over_all_lines_finds_least_losses(
        self, seed
    ):
        # exact: closing the loop, less losses are impossible, and opening a line of
        # current I adds I^2 times the resistance around the loop
        rng = np.random.default_rng(seed)
        size = 8
        ring = np.stack([np.arange(size), (np.arange(size) + 1) % size], axis=1)
        twigs = np.array([[2, 8], [8, 9], [5, 10]])
        nodes = np.concatenate([ring, twigs])
        ohm = rng.lognormal(0.0, 1.0, len(nodes))
        load = rng.lognormal(0.0, 1.0, 11)
        net = Joined(nodes, np.array([0]), 11)
        may = net.may_open.any(axis=1)
        found = open_lines(net, ohm, load)
        assert found.sum() == 1
        cost = {}
        for line in np.flatnonzero(may[:size]):
            closed = np.arange(len(nodes)) != line
            cost[line] = losses(nodes, closed, ohm, load, 0)
        assert np.flatnonzero(found)[0] == min(cost, key=cost.get)

    @pytest.mark.parametrize("seed", range(4))
    def test_every_joint_keeps_one_transformer(self, seed):
        rng = np.random.default_rng(seed)
        nodes = rng.integers(0, 60, (130, 2))
        net = Joined(nodes, np.array([0, 1, 2]), 60)
        closed = ~open_lines(net, rng.uniform(1, 9, 130), rng.uniform(0, 1, 60))
        root = net.root
        parts = {v: {v} for v in np.unique(root)}
        for a, b in root[closed]:
            assert parts[a] is not parts[b]  # no loop, and no way between transformers
            parts[a] |= parts[b]
            for v in parts[b]:
                parts[v] = parts[a]
        whole = {v: {v} for v in np.unique(root)}
        for a, b in root:
            if whole[a] is not whole[b]:
                whole[a] |= whole[b]
                for v in whole[b]:
                    whole[v] = whole[a]
        assert parts == whole  # and none is cut off

    def test_cables_are_not_opened_where_they_leave_a_transformer_or_between_houses(
        self,
    ):
        # two cabinets (1, 5), each with a spur, between two transformers (0, 6), and
        # houses (2, 3, 4) between the cabinets
        nodes = np.array(
            [[0, 1], [1, 2], [2, 3], [3, 4], [4, 5], [5, 6], [1, 7], [5, 8]]
        )
        net = Joined(nodes, np.array([0, 6]), 9)
        ohm = np.array([1.0, 1.0, 1.0, 1.0, 2.0, 3.0, 1.0, 1.0])
        opened = open_lines(net, ohm, np.ones(9))
        assert np.flatnonzero(opened).tolist() == [4]  # not 3, whose current is less
        flow = _currents(net.root, ohm, np.ones(9), np.array([1, 2, 3, 4, 5, 7, 8]))
        assert flow[3] < flow[4] < flow[1]


class TestStreets:
    def test_a_street_between_cabinets_has_one_transformer(self, roofs, layer):
        # west and east with a spur each; the street between them is nearer to west
        way = [(x, 0) for x in range(0, 801, 100)]
        lines = layer(drawn(way, [(100, 0), (100, 80)], [(700, 0), (700, 80)]))
        stations = layer([DOT(0, 0), DOT(800, 0)], transformer=["west", "east"])
        places = [(x, 5) for x in range(200, 601, 100)] + [(100, 85), (700, 85)]
        found = street_transformers(
            roofs(list(homes(*places))), lines, transformers=stations
        )
        street = found["transformer"][:5]
        assert street.nunique() == 1  # not cut in the middle
        assert found["transformer"][5:].tolist() == ["west", "east"]
        assert (found["confidence"][:5] < 0.5).all()  # a toss: look at it
        assert (found["confidence"][5:] > 0.5).all()

    def test_a_cable_between_two_transformers_is_a_guess(self, roofs, layer):
        lines = layer(drawn([(0, 0), (400, 0)]))
        stations = layer([DOT(0, 0), DOT(400, 0)], transformer=["west", "east"])
        found = street_transformers(
            roofs([DOT(100, 5), DOT(300, 5)]), lines, transformers=stations
        )
        assert found["transformer"].tolist() == ["west", "east"]
        assert (found["confidence"] < 0.05).all()

    def test_a_street_of_one_transformer_is_sure(self, roofs, layer):
        lines = layer(drawn([(0, 0), (40, 0), (80, 0), (120, 0)]))
        stations = layer([DOT(0, 0)], transformer=["west"])
        row = street_transformers(
            roofs([DOT(80, 6)]), lines, transformers=stations
        ).iloc[0]
        assert row["transformer"] == "west"
        assert row["confidence"] == pytest.approx(1 - 6 / 120, rel=1e-4)

    @pytest.mark.parametrize("seed", [1, 2])
    def test_order_and_direction_of_drawing_change_nothing(self, seed, roofs, layer):
        rng = np.random.default_rng(seed)
        spots = 40.0 * np.stack(np.mgrid[0:6, 0:6], axis=-1)
        spots += rng.uniform(-9, 9, spots.shape)
        ways = [*spots, *spots.swapaxes(0, 1)]
        lines = drawn(*ways)
        stations = layer(
            [DOT(xy) for xy in spots[[0, 5], [1, 4]]], transformer=["a", "b"]
        )
        houses = roofs([DOT(xy + 4) for xy in spots.reshape(-1, 2)])
        first = street_transformers(houses, layer(lines), transformers=stations)
        again = rng.permutation(len(lines))
        turned = np.where(rng.random(len(lines)) < 0.5, shapely.reverse(lines), lines)
        second = street_transformers(
            houses, layer(turned[again]), transformers=stations
        )
        assert first["transformer"].tolist() == second["transformer"].tolist()
        assert first["confidence"].tolist() == pytest.approx(
            second["confidence"].tolist(), abs=1e-9
        )
