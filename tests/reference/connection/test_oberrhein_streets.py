"""A second looped network, on which nothing was chosen: mv_oberrhein."""

from __future__ import annotations

import warnings

import geopandas as gpd
import networkx as nx
import numpy as np
import pandapower.networks
import pandapower.topology
import pytest
import shapely

from gridsite.places import street_transformers


@pytest.fixture(scope="module", name="place")
def _place():
    """Loads as houses, bare lines, both transformers; what feeds each load in truth."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        net = pandapower.networks.mv_oberrhein()
    graph = pandapower.topology.create_nxgraph(net, include_trafos=False)
    low = net.trafo["lv_bus"].tolist()
    fed = [nx.node_connected_component(graph, bus) for bus in low]
    assert not fed[0] & fed[1]
    loads = net.load["bus"].unique()
    at = dict(zip(net.bus.index, shapely.from_geojson(net.bus["geo"]), strict=True))
    houses = gpd.GeoDataFrame(
        {"building_id": [f"load {i}" for i in range(len(loads))]},
        geometry=[at[bus] for bus in loads],
        crs=4326,
    )
    lines = gpd.GeoDataFrame(geometry=shapely.from_geojson(net.line["geo"]), crs=4326)
    stations = gpd.GeoDataFrame(
        {"transformer": ["0", "1"]}, geometry=[at[bus] for bus in low], crs=4326
    )
    return houses, lines, stations, np.where([bus in fed[0] for bus in loads], "0", "1")


def test_guessed_openings_beat_the_nearest_along_the_lines(place):
    houses, lines, stations, truth = place
    found = street_transformers(houses, lines, transformers=stations)
    near = street_transformers(
        houses, lines.assign(open=False), transformers=stations, open_column="open"
    )
    hit, before = (t["transformer"].to_numpy() == truth for t in (found, near))
    sure, was_sure = (t["confidence"].to_numpy() >= 0.5 for t in (found, near))
    assert hit.mean() >= 0.92 > before.mean()
    assert hit[sure].mean() >= 0.95 > before[was_sure].mean()
    assert sure[hit].mean() > 0.7
