"""
The way from a source to a connection, and what it carries in three states.

States are the base case, the load just below a limit and the load just above it;
each table has a column for each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.sparse.csgraph import dijkstra

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gridsite.hosting.base_case import BaseCase

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Complex = NDArray[np.complex128]

#: Names of the states, in the order of the columns of voltages.
STATES = ("base", "below", "above")

_NODES = ["position", "bus", "phases", "voltage_kv", "on_path", "min_pu", "max_pu"]
_ELEMENTS = ["position", "element", "criterion", "on_path", "limit_percent"]


def value_row(
    criterion: str, element: str, unit: str, limit: float, values: Floats
) -> pd.DataFrame:
    """
    Return the table of one limit.

    Parameters
    ----------
    criterion, element, unit : str
        The limit, and the unit of its value.
    limit : float
        Where it breaks.
    values : numpy.ndarray, shape (3,)
        In each of `STATES`.

    Returns
    -------
    pandas.DataFrame
        ``criterion, element, unit, limit, base, below, above``; one row.
    """
    states = dict(zip(STATES, values.tolist(), strict=True))
    known = {"criterion": criterion, "element": element, "unit": unit}
    return pd.DataFrame([known | {"limit": float(limit)} | states])


def limit_row(
    case: BaseCase,
    v: Complex,
    row: int,
    drop: Floats,
    element: str,
    *,
    current: Complex,
) -> pd.DataFrame:
    """
    Return the values of one limit in the three states.

    Parameters
    ----------
    case : BaseCase
        One step of the block.
    v : numpy.ndarray of complex, shape (n_node, 3)
        Voltages of the states. [pu]
    row : int
        The limit, a row of `BaseCase.rows`.
    drop : numpy.ndarray, shape (3,)
        Voltage change at the own connection. [pu]
    element : str
        What the table calls it.
    current : numpy.ndarray of complex, shape (n_terminal, 3)
        Currents of the states. [pu]

    Returns
    -------
    pandas.DataFrame
        As from `value_row`: voltages in pu, currents in percent of rating,
        unbalance in percent.
    """
    kind = str(case.rows["criterion"].iloc[row])
    if row == case.n_row:
        return value_row(kind, element, "pu", case.limits.voltage_change_pu, drop)
    if row < case.n_voltage:
        own = np.abs(v[case.limited[row]])
        return value_row(kind, element, "pu", float(case.v_min[row]), own)
    upper = row - case.n_voltage
    if upper >= len(case.rated):
        size = np.abs(case.upper_y[[upper]] @ v)[0]
        limit = float(case.upper_limit[upper])
        if kind != "unbalance":
            return value_row(kind, element, "pu", limit, size)
        along = np.abs(case.positive_y[[row - case.first_unbalance]] @ v)[0]
        return value_row(kind, element, "%", 100.0 * limit, 100.0 * size / along)
    at = int(case.rated[upper])
    limit = float(case.rating_pu[upper])
    size = np.abs(current[at])
    terminal = case.feeder.terminals.iloc[case.block.terminals[at]]
    rating = float(terminal["rated_a"] / terminal["base_a"])
    if kind == "source":
        rating = limit
    unit = "% of limit" if kind == "source" else "% of rating"
    return value_row(kind, element, unit, 100.0 * limit / rating, 100.0 * size / rating)


def feed_path(case: BaseCase, node: int) -> Ints:
    """
    Return the way of least impedance from the nearest source to a node.

    Parameters
    ----------
    case : BaseCase
        The block, of a whole feeder model.
    node : int
        The node, position in the feeder.

    Returns
    -------
    numpy.ndarray of int, shape (n,)
        Nodes, positions in the feeder, the source first.
    """
    feeder = case.feeder
    own = np.concatenate([case.block.nodes, feeder.source_nodes])
    y = sp.coo_array(feeder.y.tocsr()[own][:, own])
    rows, cols = y.coords
    off = (rows != cols) & (np.abs(y.data) > 0.0)
    graph = sp.csr_array(
        (1.0 / np.abs(y.data[off]), (rows[off], cols[off])), shape=y.shape
    )
    start = int(np.flatnonzero(own == node)[0])
    far, before = dijkstra(graph, indices=start, return_predecessors=True)
    first = len(case.block.nodes)
    at = first + int(far[first:].argmin())
    path = [at]
    while path[-1] != start:
        path.append(int(before[path[-1]]))
    out: Ints = own[path]
    return out


def node_table(
    case: BaseCase,
    v: Complex,
    path: Ints,
    limit: pd.DataFrame,
    *,
    source_factor: complex = 1.0,
) -> pd.DataFrame:
    """
    Return voltages along the path, and of a bus that binds beside it.

    Parameters
    ----------
    case : BaseCase
        One step of the block.
    v : numpy.ndarray of complex, shape (n_node, 3)
        Voltages of the states. [pu]
    path : numpy.ndarray of int, shape (n,)
        As from `feed_path`.
    limit : pandas.DataFrame
        As from `value_row`: the limit that binds.
    source_factor : complex, default 1.0
        Factor of the source voltages at the step. [-]

    Returns
    -------
    pandas.DataFrame
        ``position`` (0 at the source), ``bus, phases, voltage_kv, on_path, min_pu,
        max_pu, base_pu, below_pu, above_pu``.
    """
    feeder = case.feeder
    nodes = feeder.nodes
    size = np.full((len(nodes), 3), np.nan)
    size[case.block.nodes] = np.abs(v)
    size[feeder.source_nodes] = np.abs(feeder.source_v * source_factor)[:, None]
    kind, element = limit["criterion"].iloc[0], limit["element"].iloc[0]
    every = path
    names = nodes["bus"].to_numpy(dtype=object)
    if kind == "voltage high":
        names = names + "." + nodes["phases"].to_numpy(dtype=object)
    if kind in {"voltage", "voltage high"} and element not in set(names[path]):
        same = case.block.nodes[names[case.block.nodes] == element]
        every = np.append(path, same[size[same, 2].argmin()])
    chosen = nodes.iloc[every]
    kv = chosen["voltage_kv"].to_numpy(dtype=float)
    on = chosen["limited"].to_numpy(dtype=bool) & case.limits.on("voltage")
    out = pd.DataFrame(
        {
            "position": np.arange(len(every)),
            "bus": chosen["bus"].to_numpy(),
            "phases": chosen["phases"].to_numpy(),
            "voltage_kv": kv,
            "on_path": np.arange(len(every)) < len(path),
            "min_pu": np.where(on, case.limits.voltage_min_of(kv), np.nan),
            "max_pu": np.where(on, case.limits.voltage_max_of(kv), np.nan),
        }
    )
    return out[_NODES].assign(
        **{f"{name}_pu": size[every, i] for i, name in enumerate(STATES)}
    )


def element_table(
    case: BaseCase, current: Complex, path: Ints, limit: pd.DataFrame
) -> pd.DataFrame:
    """
    Return loadings along the path, and of an element that binds beside it.

    Parameters
    ----------
    case : BaseCase
        One step of the block.
    current : numpy.ndarray of complex, shape (n_terminal, 3)
        Currents of the states. [pu]
    path : numpy.ndarray of int, shape (n,)
        As from `feed_path`.
    limit : pandas.DataFrame
        As from `value_row`: the limit that binds.

    Returns
    -------
    pandas.DataFrame
        ``position`` (of the bus behind it), ``element, criterion, on_path,
        limit_percent, base_percent, below_percent, above_percent``.
    """
    terminals = case.feeder.terminals.iloc[case.block.terminals]
    rating = (terminals["rated_a"] / terminals["base_a"]).to_numpy(dtype=float)
    most = np.full(len(terminals), np.nan)
    most[case.rated] = case.rating_pu
    source = (terminals["criterion"] == "source").to_numpy()
    rating = np.where(source, most, rating)
    share = 100.0 * np.abs(current) / rating[:, None]
    ends = pd.DataFrame(
        {
            "element": terminals["element"].to_numpy(),
            "criterion": terminals["criterion"].to_numpy(),
            "limit_percent": 100.0 * most / rating,
            **{f"{name}_percent": share[:, i] for i, name in enumerate(STATES)},
        }
    )
    at = terminals.groupby("element", sort=False)["node"].agg(set)
    place = {int(n): i for i, n in enumerate(path)}
    position: dict[str, float] = {}
    for element, found in at.items():
        on = sorted(place[n] for n in found & place.keys())
        if len(on) >= 2 and on[1] == on[0] + 1:
            position[str(element)] = on[1]
    binding = str(limit["element"].iloc[0])
    named = (ends["element"] == binding) & (
        ends["criterion"] == limit["criterion"].iloc[0]
    )
    if named.any() and binding not in position:
        position[binding] = np.inf
    ends = ends[ends["element"].isin(list(position))]
    out = ends.groupby(["element", "criterion"], sort=False, as_index=False).max()
    rank = out["element"].map(position).astype(float)
    out = out.assign(
        position=rank.where(np.isfinite(rank), len(path)).astype(int),
        on_path=np.isfinite(rank),
    ).sort_values(["position", "element"], ignore_index=True)
    return out[[*_ELEMENTS, *(f"{name}_percent" for name in STATES)]]
