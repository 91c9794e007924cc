"""The transformer of a building from its street, and the ports it allows."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import shapely
from scipy.sparse.csgraph import dijkstra

from gridsite.errors import ConfigError, DataError
from gridsite.places import connect_buildings, street_transformers
from gridsite.places.streets import _second

LINE = shapely.LineString
DOT = shapely.Point


def street(*xs, y=0.0):
    return [LINE([(a, y), (b, y)]) for a, b in itertools.pairwise(xs)]


def test_the_nearest_joint_decides_and_not_the_nearest_line(roofs, layer):
    # the line of B passes the house at 9 m, A's joint is 10 m away
    lines = layer(
        [*street(-50, 5, 60, y=-10), LINE([(-40, 9), (50, 9)])], fed_by=["A", "A", "B"]
    )
    found = street_transformers(roofs([DOT(5, 0)]), lines, label_column="fed_by")
    assert found["transformer"].tolist() == ["A"]
    assert found["confidence"].tolist() == [0.0]  # B's street is nearer: look at it


def test_where_no_joint_is_near_the_nearest_line_decides(roofs, layer):
    lines = layer([LINE([(-500, 9), (500, 9)]), *street(-50, 5, y=-60)], t=["B", "A"])
    found = street_transformers(roofs([DOT(5, 0)]), lines, label_column="t")
    assert found["transformer"].tolist() == ["B"]


def test_confidence_follows_the_formula(roofs, layer):
    lines = layer([*street(0, 10, y=10), *street(0, 10, y=-30)], t=["A", "B"])
    row = street_transformers(
        roofs([DOT(5, 0)]), lines, label_column="t", max_distance_m=100.0
    ).iloc[0]
    assert row["confidence"] == pytest.approx((1 - 0.1) * 20 / (20 + 12), rel=1e-4)
    assert row["distance_m"] == pytest.approx(10.0, rel=1e-4)


def test_a_trace_goes_along_the_lines_and_stops_at_open_sections(roofs, layer):
    lines = layer(street(0, 100, 200, 300, 400), open=[False, False, False, True])
    stations = layer([DOT(0, 3), DOT(400, 3)], transformer=["west", "east"])
    homes = roofs([DOT(x, 8) for x in (20, 180, 290)])
    known = street_transformers(homes, lines, transformers=stations, open_column="open")
    assert known["transformer"].tolist() == ["west"] * 3
    assert known["method"].unique().tolist() == ["street_trace"]
    lines["none"] = False
    nearer = street_transformers(
        homes, lines, transformers=stations, open_column="none"
    )
    assert nearer["transformer"].tolist() == ["west", "west", "east"]


def test_a_traced_match_is_no_surer_than_its_lead_over_the_next_transformer(
    roofs, layer
):
    lines = layer(street(0, 250, 300, 400), open=[False] * 3)
    stations = layer([DOT(0, 0), DOT(400, 0)], transformer=["west", "east"])
    found = street_transformers(
        roofs([DOT(x, 1) for x in (1, 299, 399)]),
        lines,
        transformers=stations,
        open_column="open",
    )
    assert found["transformer"].tolist() == ["west", "east", "east"]
    # nearer ends: 0 m against 400 m, 100 m against 300 m, 0 m against 400 m
    most = [400 / (400 + 200), 200 / (200 + 200), 400 / (400 + 200)]
    assert (found["confidence"] <= np.array(most) + 1e-4).all()
    assert found["confidence"].iloc[1] == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("seed", range(8))
def test_the_second_nearest_transformer_is_that_of_all_searches(seed):
    rng = np.random.default_rng(seed)
    size, roots = 40, 5
    left, right = rng.permuted(np.indices((size, size)).reshape(2, -1), axis=1)[:, :70]
    pair = np.unique(np.sort(np.stack([left, right], 1)[left != right]), axis=0)
    left, right = pair.T
    gap = rng.uniform(1.0, 9.0, len(left))
    graph = sp.coo_array((gap, (left, right)), (size, size)).tocsr()
    every = dijkstra(graph, directed=False, indices=np.arange(roots))
    far, _, source = dijkstra(
        graph,
        directed=False,
        indices=np.arange(roots),
        min_only=True,
        return_predecessors=True,
    )
    second = _second(left, right, gap, far, source)
    assert second == pytest.approx(np.sort(every, axis=0)[1])


def test_far_houses_and_unlabelled_lines_are_listed_with_a_reason(roofs, layer):
    lines = layer([*street(0, 10), *street(300, 310)], t=["A", None])
    found = street_transformers(
        roofs([DOT(5, 5), DOT(305, 5)]), lines, label_column="t"
    )
    assert found["transformer"].tolist() == ["A", ""]
    assert "limit 120 m" in found["reason"].iloc[1]


def test_row_order_changes_nothing(roofs, layer):
    rng = np.random.default_rng(5)
    lines = layer(
        [LINE([xy, xy + 20]) for xy in rng.uniform(0, 200, (40, 2))],
        t=rng.choice(list("ABC"), 40),
    )
    homes = roofs([DOT(xy) for xy in rng.uniform(0, 200, (30, 2))])
    first = street_transformers(homes, lines, label_column="t")
    again = street_transformers(
        homes, lines.sample(frac=1, random_state=1), label_column="t"
    )
    pd.testing.assert_frame_equal(first, again)


@pytest.mark.parametrize(
    ("options", "error", "word"),
    [
        ({}, ConfigError, "label_column"),
        ({"label_column": "x"}, DataError, "no column"),
        ({"label_column": "t", "max_distance_m": float("nan")}, ConfigError, "above 0"),
    ],
)
def test_what_cannot_work_is_refused(roofs, layer, options, error, word):
    with pytest.raises(error, match=word):
        street_transformers(roofs([DOT(5, 5)]), layer(street(0, 9), t=["A"]), **options)


class TestConnect:
    def test_d7_one_row_per_building_though_many_ports_are_equally_near(
        self, roofs, ports
    ):
        table = connect_buildings(
            roofs([shapely.box(0, 0, 10, 10)]),
            ports([DOT(15, 5), DOT(-5, 5), DOT(5, 15)]),
        )
        assert table["building_id"].tolist() == ["b0"]
        assert table["match_reason"].tolist() == [
            "nearest port; the next one is 5.0 m away"
        ]

    def test_d8_a_three_phase_unit_does_not_get_a_single_phase_port(self, roofs, ports):
        near = ports([DOT(5, 5), DOT(25, 5)], phases=["A", "ABC"])
        home = roofs([shapely.box(0, 0, 10, 10)])
        assert connect_buildings(home, near, phases="ABC")["port_id"].tolist() == ["p1"]
        with pytest.raises(DataError, match="asked for are ABC"):
            connect_buildings(
                home.assign(meter="p0"), near, phases="ABC", port_column="meter"
            )

    def test_a_small_transformer_is_passed_over(self, roofs, ports):
        near = ports([DOT(5, 5), DOT(25, 5)], transformer_kva=[50.0, 400.0])
        home = roofs([shapely.box(0, 0, 10, 10)])
        table = connect_buildings(home, near, min_transformer_kva=100.0)
        assert table["port_id"].tolist() == ["p1"]

    def test_only_ports_of_the_known_transformer_count(self, roofs, ports):
        near = ports([DOT(12, 5), DOT(25, 5)], transformer=["T1", "T2"])
        home = roofs([shapely.box(0, 0, 10, 10)] * 2, fed_by=["T2", "T9"])
        table = connect_buildings(home, near, transformer_column="fed_by")
        assert table[["building_id", "port_id"]].to_numpy().tolist() == [["b0", "p1"]]
        assert "T9" in table.attrs["unmatched"][0]["reason"]

    def test_links_give_many_meters_and_many_buildings(self, roofs, ports):
        homes = roofs([shapely.box(x, 0, x + 9, 9) for x in (0, 10, 20, 400)])
        links = pd.DataFrame(
            {
                "building_id": ["b0", "b0", "b1", "b3"],
                "port_id": ["p0", "p1", "p1", "no"],
            }
        )
        table = connect_buildings(homes, ports([DOT(2, 2), DOT(12, 2)]), links=links)
        rows = table[["building_id", "port_id", "match_method"]].to_numpy().tolist()
        assert rows == [
            ["b0", "p0", "id"],
            ["b0", "p1", "id"],
            ["b1", "p1", "id"],
            ["b2", "p1", "nearest"],
        ]
        assert [row["building_id"] for row in table.attrs["unmatched"]] == ["b3"]
        report = table.attrs["report"]
        assert report["buildings_with_several_ports"] == 1
        assert report["ports_with_several_buildings"] == 1
