r"""
Where loops of street lines are open, guessed from the drawing alone.

*What is joined.* Ends within ``JOINT_M`` of one another touch and are joined. Within
``STATION_M`` of a transformer, ends that touch none or serve no building are joined to
it; one without such an end has the nearest within ``REACH_M``, or feeds no line.
Elsewhere ends that touch none are joined to one another within ``join_m`` (cables end
side by side in a cabinet; a coarse drawing has gaps), and one that serves no building
to the nearest end of any kind; one that serves a building beside a joint of another
street is the end of its street. What then has no way to a transformer is joined over
the shortest gap within ``join_m``.

*What is open.* Low-voltage loops run open, so that each joint has one transformer.
They are opened where fuses are: at a cabinet (three or more lines meet), and not
where a cable leaves its transformer. Which of these is open is guessed by least
losses (Merlin and Back 1975; Shirmohammadi and Hong 1989, IEEE Trans. Power Delivery
4(2)): solve the flow with all loops closed, all transformers at one voltage and
resistance in proportion to length; open the line of least current; repeat. Each
line carries one unit of load, half at either end, since street lines end where
services join. ``ROUND`` of the loops are opened at a time: lines outside the spanning
tree of largest currents, so that all joints stay fed. A loop without a cabinet is
opened at its least current, and this line is cut in half.

*How sure.* Utilities do not open loops exactly where losses are least, and sections
and loads are unknown. The guess is repeated ``DRAWS`` times with each resistance and
load multiplied by a lognormal factor of logarithmic deviation ``SPREAD`` (cables of 50
to 240 mm2 alone make 0.6); the share of the draws that agree says how firmly the
drawing tells the transformer. It is not a probability.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
import shapely
import shapely.ops
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree
from scipy.sparse.linalg import splu
from scipy.spatial import KDTree

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]
    Bools = NDArray[np.bool_]

#: Line ends closer than this are one joint. [m]
JOINT_M = 0.5

#: Ends this near to a transformer, without a joint or a building, are at it. [m]
STATION_M = 15.0

#: A transformer without an end that near is at its nearest end, up to here. [m]
REACH_M = 100.0

#: Share of the loops left that are opened before the flow is solved again.
ROUND = 0.1

#: Guesses with other resistances and loads.
DRAWS = 32

#: Standard deviation of the logarithm of their factors.
SPREAD = 1.0

#: Resistance of a line of no length, as a length. [m]
SHORTEST_M = 1e-3


@dataclass(frozen=True)
class Joined:
    """
    Join street lines: which ends are one node.

    Attributes
    ----------
    nodes : numpy.ndarray
        Node of either end of each line, (lines, 2).
    station : numpy.ndarray
        Node of each transformer, (transformers,).
    size : int
        Number of nodes.
    """

    nodes: Ints
    station: Ints
    size: int

    @property
    def root(self) -> Ints:
        """
        Make all transformers one node.

        Returns
        -------
        numpy.ndarray
            Node of either end of each line, ``size`` at transformers, (lines, 2).
        """
        at = np.arange(self.size)
        at[self.station] = self.size
        return np.asarray(at[self.nodes])

    @property
    def may_open(self) -> Bools:
        """
        Find the ends where a line may be open.

        Returns
        -------
        numpy.ndarray
            True at cabinets, on lines that do not end at a transformer, (lines, 2).
        """
        root = self.root
        real = root[root[:, 0] != root[:, 1]]
        many = np.bincount(real.ravel(), minlength=self.size + 1) >= 3
        leaves = (root == self.size).any(axis=1)
        return np.asarray(many[root] & ~leaves[:, None])


def looped_lines(
    streets: NDArray[Any], stations: Floats, houses: NDArray[Any], join_m: float
) -> tuple[NDArray[Any], Ints, Floats]:
    """
    Guess the transformer of each line of a looped network.

    Parameters
    ----------
    streets : numpy.ndarray
        Lines, (lines,). [m]
    stations : numpy.ndarray
        Places of the transformers, (transformers, 2). [m]
    houses : numpy.ndarray
        Shapes of buildings, (buildings,): they tell ends of streets from cabinets. [m]
    join_m : float
        Largest gap that is joined. [m]

    Returns
    -------
    pieces : numpy.ndarray
        Lines, those cut in half as two, (pieces,).
    feeder : numpy.ndarray
        Transformer of each piece by its place in ``stations``, -1 where none is.
    share : numpy.ndarray
        Share of the draws that agree, 0 for halves, (pieces,).
    """
    streets = _sorted(streets)
    net = joined_lines(streets, stations, houses, join_m)
    long = np.maximum(shapely.length(streets), SHORTEST_M)
    load: Floats = np.bincount(net.nodes.ravel(), minlength=net.size) / 2.0
    feeder = _feeders(net, open_lines(net, long, load))
    rng, agree = np.random.default_rng(0), np.zeros(len(streets))
    for _ in range(DRAWS):
        metres = long * rng.lognormal(0.0, SPREAD, len(long))
        units = load * rng.lognormal(0.0, SPREAD, len(load))
        found = _feeders(net, open_lines(net, metres, units))
        agree += (found == feeder).all(axis=1)
    cut = feeder[:, 0] != feeder[:, 1]
    whole, half = streets[~cut], streets[cut]
    middle = shapely.length(half) / 2.0
    parts = [
        shapely.ops.substring(line, *span)
        for line, at in zip(half, middle, strict=True)
        for span in ((0.0, at), (at, 2.0 * at))
    ]
    return (
        np.concatenate([whole, np.array(parts, dtype=object)]),
        np.concatenate([feeder[~cut, 0], feeder[cut].ravel()]),
        np.concatenate([agree[~cut] / DRAWS, np.zeros(len(parts))]),
    )


def _sorted(streets: NDArray[Any]) -> NDArray[Any]:
    """Return the lines so that order and direction of drawing do not matter."""
    x0, y0, x1, y1 = line_ends(streets).reshape(-1, 4).T
    back: Bools = np.asarray((x0 > x1) | ((x0 == x1) & (y0 > y1)))
    streets = np.where(back, shapely.reverse(streets), streets)
    key = np.column_stack([line_ends(streets).reshape(-1, 4), shapely.length(streets)])
    return np.asarray(streets[np.lexsort(key.T)])


def line_ends(streets: NDArray[Any]) -> Floats:
    """
    Return the two ends of each line.

    Parameters
    ----------
    streets : numpy.ndarray
        Lines, (lines,). [m]

    Returns
    -------
    numpy.ndarray
        Start and end of each line, one after the other, (2 lines, 2). [m]
    """
    both = [shapely.get_point(streets, 0), shapely.get_point(streets, -1)]
    return np.asarray(shapely.get_coordinates(np.stack(both, axis=1).ravel()))


def joined_lines(
    streets: NDArray[Any], stations: Floats, houses: NDArray[Any], join_m: float
) -> Joined:
    """
    Join line ends to one another and to transformers.

    Parameters
    ----------
    streets : numpy.ndarray
        Lines, (lines,). [m]
    stations : numpy.ndarray
        Places of the transformers, (transformers, 2). [m]
    houses : numpy.ndarray
        Shapes of buildings, (buildings,). [m]
    join_m : float
        Largest gap that is joined. [m]

    Returns
    -------
    Joined
        The nodes of line ends and transformers.
    """
    ends = line_ends(streets)
    n, size = len(ends), len(ends) + len(stations)
    tree = KDTree(ends)
    near = tree.query_pairs(max(join_m, JOINT_M), output_type="ndarray")
    near = near[near[:, 0] // 2 != near[:, 1] // 2]  # a short line's own ends
    gap = np.hypot(*(ends[near[:, 0]] - ends[near[:, 1]]).T)
    touch = near[gap <= JOINT_M]
    _, group = _groups(touch, n)
    alone = np.bincount(group)[group] == 1
    _, end = shapely.STRtree(shapely.points(ends)).query_nearest(
        houses, all_matches=False
    )
    served = np.isin(group, group[end])
    at, stop = _at_stations(ends, stations, alone | ~served, max(join_m, STATION_M))
    there = np.zeros(n, dtype=bool)
    there[stop] = True
    pairs = np.concatenate(
        [
            touch,
            np.stack([n + at, stop], axis=1),
            near[(alone & ~there)[near].all(axis=1)],
            _nearest(near, gap, alone & ~served & ~there, ~there),
        ]
    )
    pairs = np.concatenate([pairs, _bridges(near, gap, pairs, n, size)])
    count, node = _groups(pairs, size)
    return Joined(node[:n].reshape(-1, 2), node[n:], count)


def _groups(pairs: Ints, size: int) -> tuple[int, Ints]:
    """Return how many groups the pairs make of so many things, and that of each."""
    graph = sp.coo_array((np.ones(len(pairs)), tuple(pairs.T)), (size, size))
    count, group = connected_components(graph, directed=False)
    return int(count), group.astype(np.intp)


def _at_stations(
    ends: Floats, stations: Floats, free: Bools, reach: float
) -> tuple[Ints, Ints]:
    """Return transformers and line ends at them; the nearest in reach where none is."""
    gap, nearest = KDTree(stations).query(ends)
    stop = np.flatnonzero(free & (gap <= reach))
    bare = np.setdiff1d(np.arange(len(stations)), nearest[stop])
    apart, closest = KDTree(ends).query(stations[bare])
    near = apart <= max(reach, REACH_M)
    at = np.concatenate([nearest[stop], bare[near]])
    return at.astype(np.intp), np.concatenate([stop, closest[near]]).astype(np.intp)


def _nearest(near: Ints, gap: Floats, free: Bools, to: Bools) -> Ints:
    """Return each free end with the nearest end that it may be joined to."""
    both = np.concatenate([near, near[:, ::-1]])
    metres = np.concatenate([gap, gap])
    fits = free[both[:, 0]] & to[both[:, 1]]
    both, metres = both[fits], metres[fits]
    both = both[np.lexsort([metres, both[:, 0]])]
    return np.asarray(both[np.unique(both[:, 0], return_index=True)[1]])


def _bridges(near: Ints, gap: Floats, pairs: Ints, n: int, size: int) -> Ints:
    """Return the shortest gaps that join parts without a transformer to the fed."""
    lines = np.arange(n).reshape(-1, 2)
    count, part = _groups(np.concatenate([pairs, lines]), size)
    part = np.where(np.isin(part, part[n:]), 0, part + 1)
    ends = np.sort(part[near], axis=1)
    apart = np.flatnonzero(ends[:, 0] != ends[:, 1])
    apart = apart[np.argsort(gap[apart], kind="stable")]
    _, first = np.unique(ends[apart], axis=0, return_index=True)
    apart = apart[np.sort(first)]
    rank = np.arange(1.0, len(apart) + 1.0)
    least = minimum_spanning_tree(
        sp.coo_array((rank, tuple(ends[apart].T)), (count + 1, count + 1)).tocsr()
    )
    return np.asarray(near[apart[least.data.astype(np.intp) - 1]])


def open_lines(net: Joined, resistance: Floats, load: Floats) -> Bools:
    """
    Open loops where the current is least.

    Parameters
    ----------
    net : Joined
        The lines.
    resistance : numpy.ndarray
        Of each line, above 0, (lines,), any unit.
    load : numpy.ndarray
        Of each node, (nodes,), any unit.

    Returns
    -------
    numpy.ndarray
        Whether each line is open, (lines,): what is closed has no loop, and no way
        from one transformer to another.
    """
    root, fuse = net.root, np.asarray(net.may_open.any(axis=1))
    _, part = _groups(root, net.size + 1)
    fed = part == part[net.size]
    fed[net.size] = False
    inner = np.flatnonzero(fed)
    live: Bools = np.asarray(root[:, 0] != root[:, 1])
    while True:
        line = np.flatnonzero(live)
        flow = _currents(root[line], resistance[line], load, inner)
        rank = np.empty(len(line))
        rank[np.lexsort([-flow, fuse[line]])] = np.arange(1.0, len(line) + 1.0)
        out = _loops(root[line], rank, net.size + 1)
        if not len(out):
            return ~live
        out = out[np.argsort(-rank[out])]
        live[line[out[: max(1, int(ROUND * len(out)))]]] = False


def _currents(nodes: Ints, resistance: Floats, load: Floats, inner: Ints) -> Floats:
    """Return the current of each line, with the last node at no voltage."""
    size, y = len(load) + 1, 1.0 / resistance
    a, b = nodes.T
    graph = sp.coo_array((y, (a, b)), (size, size)).tocsr()
    graph = graph + graph.T
    laplace = sp.diags_array(graph.sum(axis=0)) - graph
    volts = np.zeros(size)
    if len(inner):
        inside = sp.csc_array(laplace.tocsr()[inner][:, inner])
        volts[inner] = splu(inside).solve(load[inner])
    return np.asarray(np.abs(volts[a] - volts[b]) * y)


def _loops(nodes: Ints, rank: Floats, size: int) -> Ints:
    """Return the lines outside the spanning tree of lowest ranks."""
    low, high = nodes.min(axis=1), nodes.max(axis=1)
    order = np.lexsort([rank, high, low])
    _, first = np.unique(low[order] * size + high[order], return_index=True)
    use = order[first]  # the best of parallel lines
    tree = minimum_spanning_tree(
        sp.coo_array((rank[use], (low[use], high[use])), (size, size)).tocsr()
    )
    return np.flatnonzero(~np.isin(rank, tree.data))


def _feeders(net: Joined, opened: Bools) -> Ints:
    """
    Return the transformer at either end of each line, -1 where none is, (lines, 2).

    A line that may be open at one end only is fed from its other end.
    """
    _, part = _groups(net.nodes[~opened], net.size)
    feeder = np.full(part.max() + 1, -1)
    feeder[part[net.station]] = np.arange(len(net.station))
    found = feeder[part[net.nodes]]
    fuse = net.may_open
    for at in (0, 1):
        here = opened & fuse[:, at] & ~fuse[:, 1 - at]
        found[here, at] = found[here, 1 - at]
    return np.asarray(found)
