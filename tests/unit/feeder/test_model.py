"""The electrical model: what it refuses, its connection points, its parts."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandapower as pp
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from pandapower import networks

from gridsite.errors import FeederError
from gridsite.feeder.model import independent_feeders
from gridsite.feeder.read_pandapower import feeder_from_net, read_feeder


@pytest.fixture
def feeder():
    net = pp.create_empty_network()
    places = {"head": None, "west": (8.0, 48.0), "east": (8.1, 48.1)}
    for name, place in places.items():
        pp.create_bus(net, 0.4, name=name, geodata=place)
    pp.create_ext_grid(net, 0)
    for to, name in ((1, "to west"), (2, "to east")):
        pp.create_line_from_parameters(net, 0, to, 0.1, 0.3, 0.08, 0.0, 0.2, name=name)
    pp.create_load(net, 1, 0.010, 0.001, name="house west")
    pp.create_load(net, 2, 0.020, 0.001, name="house east")
    pp.create_sgen(net, 2, 0.005, name="sun")
    pp.create_load(net, 0, 0.001, name="house head")
    return read_feeder(net)


def test_model_without_a_source_is_refused(feeder):
    with pytest.raises(FeederError, match="no source in service"):
        dataclasses.replace(
            feeder, source_nodes=np.array([], dtype=int), source_v=np.array([])
        )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_admittance_that_is_not_finite_is_refused_by_bus(feeder, value):
    y = feeder.y.copy().tolil()
    y[1, 1] = value
    with pytest.raises(FeederError, match="west"):
        dataclasses.replace(feeder, y=sp.csc_array(y))


def test_model_is_frozen(feeder):
    with pytest.raises(dataclasses.FrozenInstanceError):
        feeder.base_kva = 1.0


def test_load_ports_are_the_customers(feeder):
    assert set(feeder.load_ports.index) == {"house west", "house east", "house head"}


def test_connection_points_carry_positions_and_nan_where_there_is_none(feeder):
    points = feeder.connection_points().set_index("port_id")
    assert points.crs.to_epsg() == 4326
    assert points.loc["house west", "geometry"].coords[0] == (8.0, 48.0)
    assert points.loc["house east", "geometry"].coords[0] == (8.1, 48.1)
    head = points.loc["house head", "geometry"]
    assert head.is_empty or np.isnan(head.x)
    assert points.loc["house east", "bus"] == "east"
    json.loads(points[points.index != "house head"].to_json())


@pytest.mark.parametrize(
    ("build", "lines"),
    [
        (networks.create_kerber_landnetz_freileitung_1, 13),
        (networks.ieee_european_lv_asymmetric, 905),  # three-phase
    ],
)
def test_positions_of_a_projected_grid_are_left_out_with_a_note(build, lines):
    net = build()
    net.bus["geo"] = '{"type": "Point", "coordinates": [390883.0, 392897.0]}'
    way = '{"type": "LineString", "coordinates": [[390883.0, 1.0], [390884.0, 1.0]]}'
    net.line["geo"] = way
    feeder = feeder_from_net(net, name="metres")
    assert feeder.nodes["lon"].isna().all()
    assert feeder.ports["lat"].isna().all()
    assert feeder.elements["geometry"].isna().all()
    count = len(net.bus) + lines
    assert any(f"{count} position(s)" in note for note in feeder.notes)
    assert net.line["geo"].eq(way).all()  # those of the network stay


def test_parts_that_only_meet_at_a_source_are_apart(feeder):
    ids = feeder.nodes.set_index("bus")["feeder_id"]
    assert ids["head"] == ""
    assert ids["west"] != ids["east"]
    assert {"", ids["west"], ids["east"]} == set(ids)
    assert feeder.ports.loc["sgen: sun", "feeder_id"] == ids["east"]
    assert feeder.elements.loc["to west", "feeder_id"] == ids["west"]


def parts_by_walk(edges, count, sources):
    """Label free nodes by walking the graph, sources cut out."""
    label = [-1] * count
    for start in range(count):
        if start in sources or label[start] >= 0:
            continue
        todo = [start]
        while todo:
            node = todo.pop()
            if label[node] >= 0:
                continue
            label[node] = start
            todo += [b for a, b in edges if a == node and b not in sources]
            todo += [a for a, b in edges if b == node and a not in sources]
    return label


@settings(max_examples=50, deadline=None)
@given(data=st.data(), count=st.integers(2, 9))
def test_independent_feeders_equal_a_walk_of_the_graph(data, count):
    node = st.integers(0, count - 1)
    edges = data.draw(st.lists(st.tuples(node, node), max_size=12))
    sources = data.draw(st.sets(node, min_size=1, max_size=2))
    y = np.eye(count, dtype=complex)
    for a, b in edges:
        y[a, b] = y[b, a] = -1 + 2j
    mine = independent_feeders(sp.csc_array(y), np.array(sorted(sources)))
    walked = parts_by_walk(edges, count, sources)
    assert ((mine == -1) == (np.array(walked) == -1)).all()
    pairs = pd.DataFrame({"mine": mine, "walked": walked})
    assert len(pairs.drop_duplicates()) == len(set(mine))
    assert len(set(mine)) == len(set(walked))
