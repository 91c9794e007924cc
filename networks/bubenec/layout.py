"""
Where a synthetic network runs: services, joints, station areas.

The rule is stated in ``synthesise.py``, which builds the network from this.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import geopandas as gpd
import networkx as nx
import numpy as np
import pandas as pd
import shapely
import shapely.ops

if TYPE_CHECKING:
    from collections.abc import Mapping

Node = tuple[float, float]

JOINT_M = 2.0  # joints on a street stand on a grid of this pitch


@dataclass(frozen=True, kw_only=True)
class Rule:
    """
    The planning rule; every value is an assumption unless a source is named.

    Parameters
    ----------
    storeys_block, storeys_detached : float
        Storeys of a house in a block and of one that stands alone. [-]
    block_m2 : float
        Ground from which houses wall to wall are a block. [m2]
    outbuilding_m2 : float
        A smaller footprint is an outbuilding without a service. [m2]
    net_share, dwelling_m2 : float
        Net share of a floor, and net area of a dwelling. [-, m2]
    p1_kw, coincidence : float
        Rusck: peak of one dwelling, coincidence of very many. [kW, -]
    power_factor : float
        Of every dwelling, lagging. [-]
    service_a : float
        Fuse of a service, at 400 V on three phases. [A]
    max_dwellings : int
        Behind one station: the upper end of the 50 to 200 homes per European
        transformer in the introduction of IEEE document 6102329.
    loading : float
        Of fuses, transformers and cables at the planned peak. [-]
    drop : float
        From the station's busbar to a house at the planned peak. [-]
    planning_voltage : float
        At which currents are reckoned: below what is found, so on the safe side. [pu]
    """

    storeys_block: float = 5.0
    storeys_detached: float = 3.0
    block_m2: float = 1500.0
    outbuilding_m2: float = 60.0
    net_share: float = 0.75
    dwelling_m2: float = 80.0
    p1_kw: float = 7.0
    coincidence: float = 0.2
    power_factor: float = 0.95
    service_a: float = 100.0
    max_dwellings: int = 200
    loading: float = 0.8
    drop: float = 0.05
    planning_voltage: float = 0.95
    service_cable: str = "NAYY 4x50 SE"
    street_cable: str = "NAYY 4x150 SE"
    ring_cable: str = "NA2XS2Y 1x95 RM/25 12/20 kV"
    transformers: tuple[str, ...] = (
        "0.25 MVA 20/0.4 kV",
        "0.4 MVA 20/0.4 kV",
        "0.63 MVA 20/0.4 kV",
    )

    def peak_kw(self, dwellings: float) -> float:
        """Return the peak of dwellings together, by Rusck. [kW]"""
        if dwellings <= 0:
            return 0.0
        together = self.coincidence + (1 - self.coincidence) / math.sqrt(dwellings)
        return dwellings * self.p1_kw * together

    def current_a(self, dwellings: float, kv: float = 0.4) -> float:
        """Return the current of that peak at the planning voltage. [A]"""
        kva = self.peak_kw(dwellings) / self.power_factor
        return kva / (math.sqrt(3) * kv * self.planning_voltage)

    def per_service(self) -> int:
        """Return the most dwellings whose peak one fuse carries."""
        fits = (n for n in itertools.count(1) if not self._fits(n + 1))
        return next(fits)

    def _fits(self, dwellings: int) -> bool:
        return self.current_a(dwellings) <= self.loading * self.service_a


def dwellings(buildings: gpd.GeoDataFrame, rule: Rule) -> pd.Series:
    """
    Return the dwellings of each building, 0 for an outbuilding.

    Parameters
    ----------
    buildings : geopandas.GeoDataFrame
        Footprints in metres.
    rule : Rule
        The planning rule.

    Returns
    -------
    pandas.Series of int
        On the index of the buildings.
    """
    shapes = buildings.geometry
    ground = shapely.get_parts(shapely.union_all(shapely.buffer(shapes, 0.2)))
    block = shapely.STRtree(ground[shapely.area(ground) >= rule.block_m2])
    inside = block.query(shapes.representative_point(), predicate="within")[0]
    storeys = pd.Series(rule.storeys_detached, index=buildings.index)
    storeys.iloc[np.unique(inside)] = rule.storeys_block
    number = (shapes.area * storeys * rule.net_share / rule.dwelling_m2).round()
    return (
        number.clip(lower=1.0).where(shapes.area >= rule.outbuilding_m2, 0).astype(int)
    )


def services(
    buildings: gpd.GeoDataFrame, streets: gpd.GeoDataFrame, rule: Rule
) -> gpd.GeoDataFrame:
    """
    Return the services of all buildings, at their walls.

    Parameters
    ----------
    buildings : geopandas.GeoDataFrame
        ``building_id`` and footprints in metres.
    streets : geopandas.GeoDataFrame
        Lines in the same CRS.
    rule : Rule
        The planning rule.

    Returns
    -------
    geopandas.GeoDataFrame
        ``port_id, building_id, dwellings`` and the point on the wall.
    """
    street = shapely.union_all(streets.geometry)
    rows = []
    homes = dwellings(buildings, rule)
    for name, shape, number in zip(
        buildings["building_id"], buildings.geometry, homes, strict=True
    ):
        count = math.ceil(number / rule.per_service())
        points = _wall_points(shape, street, count)
        for k, point in enumerate(points):
            share = number // count + (k < number % count)
            port = name if count == 1 else f"{name} service {k + 1}"
            rows.append((port, name, share, point))
    columns = ["port_id", "building_id", "dwellings", "geometry"]
    return gpd.GeoDataFrame(rows, columns=columns, crs=buildings.crs)


def _wall_points(
    shape: shapely.Polygon, street: shapely.Geometry, count: int
) -> list[shapely.Point]:
    """Return points of the wall: the nearest to a street, or spread along streets."""
    if count <= 1:
        return [shapely.shortest_line(shape.exterior, street).interpolate(0.0)][:count]
    wall = shape.exterior
    points = shapely.line_interpolate_point(wall, np.arange(0.0, wall.length, 1.0))
    distance = shapely.distance(points, street)
    front = points[distance <= distance.min() + 6.0]
    place = (np.arange(count) + 0.5) * len(front) / count
    return list(front[place.astype(int)])


def street_graph(
    streets: gpd.GeoDataFrame, ports: gpd.GeoDataFrame
) -> tuple[nx.Graph, list[Node]]:
    """
    Return the streets as a graph with a joint for every service.

    Parameters
    ----------
    streets : geopandas.GeoDataFrame
        Lines in metres; they may cross without a common end.
    ports : geopandas.GeoDataFrame
        As from `services`.

    Returns
    -------
    tuple of networkx.Graph and list
        Edges with ``length`` [m] and ``line``; the joint of every service.

    Raises
    ------
    ValueError
        If the streets do not hang together.
    """
    lines = shapely.get_parts(shapely.node(shapely.union_all(streets.geometry)))
    lines = np.array(sorted(lines, key=shapely.to_wkt), dtype=object)
    nearest = shapely.STRtree(lines).nearest(ports.geometry.to_numpy())
    at = shapely.line_locate_point(lines[nearest], ports.geometry.to_numpy())
    at = np.round(at / JOINT_M) * JOINT_M
    ends = shapely.length(lines)[nearest]
    at = np.where(at > ends - JOINT_M, ends, at)
    graph = nx.Graph()
    for number, line in enumerate(lines):
        stops = np.unique([0.0, *at[nearest == number], line.length])
        for start, stop in itertools.pairwise(stops):
            piece = shapely.ops.substring(line, start, stop)
            first, *_, last = (_node(xy) for xy in piece.coords)
            if first != last:
                graph.add_edge(first, last, length=piece.length, line=piece)
    if not nx.is_connected(graph):
        msg = f"streets: {nx.number_connected_components(graph)} separate parts; join"
        raise ValueError(msg)
    joints = shapely.line_interpolate_point(lines[nearest], at)
    return graph, [_node(point.coords[0]) for point in joints]


def _node(xy: tuple[float, ...]) -> Node:
    return (round(xy[0], 2), round(xy[1], 2))


def cut_tree(tree: nx.Graph, weight: Mapping[Node, int], most: int) -> list[nx.Graph]:
    """
    Cut a tree into the fewest parts of at most a given weight.

    Parameters
    ----------
    tree : networkx.Graph
        The tree.
    weight : mapping
        Of the nodes.
    most : int
        Of a part.

    Returns
    -------
    list of networkx.Graph
        The parts.

    Raises
    ------
    ValueError
        If one node weighs more.
    """
    if max(weight.values()) > most:
        msg = f"one joint has {max(weight.values())} dwellings, more than {most}"
        raise ValueError(msg)
    root = min(tree)
    below: dict[Node, int] = {}
    cuts = []
    children = nx.dfs_successors(tree, root)
    for node in nx.dfs_postorder_nodes(tree, root):
        behind = sorted(children.get(node, []), key=lambda n: (below[n], n))
        total = weight.get(node, 0) + sum(below[n] for n in behind)
        while total > most:
            heaviest = behind.pop()
            cuts.append((node, heaviest))
            total -= below[heaviest]
        below[node] = total
    rest = tree.copy()
    rest.remove_edges_from(cuts)
    return [tree.subgraph(part).copy() for part in nx.connected_components(rest)]


def station_areas(
    graph: nx.Graph, weight: Mapping[Node, int], rule: Rule
) -> list[tuple[Node, nx.DiGraph]]:
    """
    Return the stations and the trees of streets that they feed.

    Parameters
    ----------
    graph : networkx.Graph
        As from `street_graph`.
    weight : mapping
        Dwellings by joint.
    rule : Rule
        The planning rule.

    Returns
    -------
    list of tuple
        Each the node of the station and its tree, away from it.
    """
    tree = _pruned(nx.minimum_spanning_tree(graph, weight="length"), weight)
    count = len(cut_tree(tree, weight, rule.max_dwellings))
    least = max(math.ceil(sum(weight.values()) / count), *weight.values())
    even = next(
        most
        for most in range(least, rule.max_dwellings + 1)
        if len(cut_tree(tree, weight, most)) <= count
    )
    areas = []
    for part in cut_tree(tree, weight, even):
        area = _pruned(part, weight)
        metres = dict(nx.all_pairs_dijkstra_path_length(area, weight="length"))
        total = {
            n: sum(weight.get(m, 0) * d for m, d in metres[n].items()) for n in area
        }
        station = min(area, key=lambda n: (round(total[n], 3), n))
        away = nx.bfs_tree(area, station)
        nx.set_edge_attributes(away, {e: area.edges[e] for e in away.edges})
        areas.append((station, away))
    return sorted(areas, key=lambda area: area[0])


def _pruned(tree: nx.Graph, weight: Mapping[Node, int]) -> nx.Graph:
    """Return a tree without the dead ends that serve nobody."""
    tree = tree.copy()
    while idle := [n for n in tree if tree.degree(n) == 1 and not weight.get(n)]:
        tree.remove_nodes_from(idle)
    return tree
