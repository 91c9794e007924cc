r"""
Split a feeder into a trunk and the leaves that hang on it.

A leaf is a part of one voltage level that is fed through one node of the trunk
alone (a low-voltage grid behind its transformer). With the trunk and all other
loads as in the base case, a leaf sees a source

.. math:: E_t = V_{a,t} + z_a I_t

behind the trunk's impedance :math:`z_a` at its head :math:`a`, where :math:`I_t`
is the current into the leaf: a feeder of its own, whose base case is that of
the whole, and whose answer to an added load leaves out only that the loads of
other parts change their current as the trunk's voltage moves. The trunk sees
each leaf as a load.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu

from gridsite.errors import BaseCaseError
from gridsite.feeder.model import PORT_NODES, further_nodes
from gridsite.feeder.powerflow import Block
from gridsite.feeder.states import States, block_states

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gridsite.feeder.model import Feeder
    from gridsite.feeder.profiles import Profiles

    Ints = NDArray[np.int64]
    Complex = NDArray[np.complex128]

#: Voltages of the whole held at once while it is solved. [values]
_SOLVED_VALUES = 6_000_000

#: Terminals must hold the head's admittance to this share of it. [-]
_AGREEMENT = 1e-9


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """
    A part that one node of the trunk feeds.

    Parameters
    ----------
    head : int
        That node, position in the feeder.
    nodes : numpy.ndarray of int
        The leaf's nodes, positions in the feeder.
    terminals : numpy.ndarray of int
        Terminals at the head that lead into the leaf.
    y_head : complex
        What the leaf adds to the head's own admittance. [pu]
    """

    head: int
    nodes: Ints
    terminals: Ints
    y_head: complex


@dataclass(frozen=True, kw_only=True)
class Split:
    """
    A feeder in parts, solved over all steps.

    Parameters
    ----------
    trunk : Feeder
        The trunk; each leaf is a port of kind ``other`` called ``behind ...``.
    trunk_profiles : Profiles
        On the trunk's ports.
    leaves : tuple of (Feeder, Profiles)
        The leaves behind the trunk's impedance, in the order of ``leaf_ports``.
    leaf_ports : tuple of str
        The trunk's port of each leaf.
    trunk_nodes, found : numpy.ndarray of int, tuple of Leaf
        Where the parts stand in the whole feeder.
    converged : numpy.ndarray of bool, shape (n_step,)
        Steps with a solution; the others stand as if nothing drew power.
    """

    trunk: Feeder
    trunk_profiles: Profiles
    leaves: tuple[tuple[Feeder, Profiles], ...]
    leaf_ports: tuple[str, ...]
    trunk_nodes: Ints
    found: tuple[Leaf, ...]
    converged: NDArray[np.bool_]


def find_leaves(feeder: Feeder, feeder_id: str) -> tuple[Ints, list[Leaf]]:
    """
    Find the trunk and the leaves of one independent part.

    Parameters
    ----------
    feeder : Feeder
        The model.
    feeder_id : str
        Which part.

    Returns
    -------
    trunk : numpy.ndarray of int
        Nodes of the trunk, positions in the feeder.
    leaves : list of Leaf
        Empty where nothing hangs on a single node.
    """
    ids = feeder.nodes["feeder_id"].to_numpy()
    own = np.flatnonzero(ids == feeder_id)
    kv = feeder.nodes["voltage_kv"].to_numpy(dtype=float)[own]
    y = sp.coo_array(feeder.y.tocsr()[own][:, own])
    rows, cols = y.coords
    same = kv[rows] == kv[cols]
    start, stop = _joined_by_ports(feeder, own)
    ends = np.append(rows[same], start), np.append(cols[same], stop)
    level = sp.coo_array((np.ones(len(ends[0])), ends), shape=y.shape)
    part = connected_components(level, directed=False)[1]
    fed = abs(feeder.y.tocsr()[own][:, feeder.source_nodes]).sum(axis=1) > 0
    rooted = set(part[fed].tolist())
    across = np.unique(np.stack([rows[~same], cols[~same]], axis=1), axis=0)
    leaves = []
    for label in np.setdiff1d(part, sorted(rooted)):
        edges = across[part[across[:, 1]] == label]
        heads = np.unique(edges[:, 0])
        if len(heads) == 1:
            leaf = _leaf(feeder, own, int(heads[0]), np.flatnonzero(part == label))
            if leaf is not None:
                leaves.append(leaf)
    behind = {int(node) for leaf in leaves for node in leaf.nodes}
    # a leaf of a leaf stays with the leaf that is nearer to the trunk: not split
    leaves = [leaf for leaf in leaves if leaf.head not in behind]
    used = np.concatenate([leaf.nodes for leaf in leaves]) if leaves else own[:0]
    return np.setdiff1d(own, used), leaves


def _joined_by_ports(feeder: Feeder, own: Ints) -> tuple[Ints, Ints]:
    """Return pairs of nodes between which, or at both of which, a port stands."""
    more = np.column_stack(
        [feeder.ports["node_return"].to_numpy(), further_nodes(feeder.ports)]
    )
    start = np.repeat(feeder.ports["node"].to_numpy(), more.shape[1])
    stop = more.ravel()
    local = _local(feeder, own)
    start, stop = local[start], local[stop]
    both = (start >= 0) & (stop >= 0)
    return start[both], stop[both]


def _leaf(feeder: Feeder, own: Ints, head: int, nodes: Ints) -> Leaf | None:
    """Return a leaf whose admittance at its head the terminals hold, if so."""
    at, inside = int(own[head]), own[nodes]
    matrix = feeder.terminal_y
    ends = np.flatnonzero(
        (feeder.terminals["node"].to_numpy() == at)
        & (abs(matrix[:, inside]).sum(axis=1) > 0)
        & (feeder.terminals["criterion"].to_numpy() != "source")
    )
    into = np.asarray(matrix[ends][:, inside].sum(axis=0)).ravel()
    wanted = feeder.y.tocsr()[[at]][:, inside].toarray().ravel()
    if np.abs(into - wanted).max() > _AGREEMENT * np.abs(wanted).max():
        return None
    y_head = complex(matrix[ends][:, [at]].sum())
    return Leaf(head=at, nodes=inside, terminals=ends, y_head=y_head)


def split_feeder(
    feeder: Feeder,
    feeder_id: str,
    profiles: Profiles,
    *,
    strict: bool = True,
    added_kw: pd.Series[float] | None = None,
    tan_phi: float = 0.0,
) -> Split | None:
    """
    Split one independent part of a feeder, solving its base case once.

    Parameters
    ----------
    feeder : Feeder
        The model.
    feeder_id : str
        Which part.
    profiles : Profiles
        On all ports of the feeder.
    strict : bool, default True
        Whether a step without a solution is an error.
    added_kw : pandas.Series, optional
        Constant power added by port, in the base case and so in what the trunk and
        its leaves see of each other; not in the profiles returned. [kW]
    tan_phi : float, default 0.0
        Reactive over active power of it. [-]

    Returns
    -------
    Split or None
        None where no leaf hangs on a trunk.

    Raises
    ------
    BaseCaseError
        If a step has no solution, and ``strict`` is set.
    """
    trunk_nodes, leaves = find_leaves(feeder, feeder_id)
    if not leaves or not len(trunk_nodes):
        return None
    heads = np.array([leaf.head for leaf in leaves])
    block = Block(feeder, feeder_id)
    states = block_states(block, profiles, tan_phi, added_kw)
    v_head, current, converged = _solve(feeder, block, states, leaves)
    if strict and not converged.all():
        failed = profiles.time[~converged]
        msg = (
            f"{feeder.name}: feeder {feeder_id!r} has no power-flow solution at "
            f"{len(failed)} step(s), first {failed[0]}: its own load is beyond what "
            "it can carry; check the units of loads and profiles"
        )
        raise BaseCaseError(msg, failed[0])
    position = np.searchsorted(trunk_nodes, heads)
    y_trunk = _trunk_admittance(feeder, trunk_nodes, leaves)
    factor = splu(sp.csc_matrix(y_trunk))
    unit = np.zeros((len(trunk_nodes), len(leaves)), dtype=complex)
    unit[position, np.arange(len(leaves))] = 1.0
    z_head = factor.solve(unit)[position, np.arange(len(leaves))]
    drives = v_head + z_head[:, None] * current
    names = tuple(f"behind {_name(feeder, leaf)}" for leaf in leaves)
    power = v_head * np.conj(current) * feeder.base_kva
    trunk = _trunk(feeder, trunk_nodes, y_trunk, heads, names, power)
    parts = tuple(
        _leaf_feeder(feeder, leaf, z, profiles, drive)
        for leaf, z, drive in zip(leaves, z_head, drives, strict=True)
    )
    return Split(
        trunk=trunk,
        trunk_profiles=_trunk_profiles(trunk, profiles, names, power),
        leaves=parts,
        leaf_ports=names,
        trunk_nodes=trunk_nodes,
        found=tuple(leaves),
        converged=converged,
    )


def trunk_with(
    feeder: Feeder, profiles: Profiles, split: Split, part: int, steps: Ints
) -> tuple[Feeder, Profiles]:
    """
    Return the trunk with one of its leaves, at some steps.

    Parameters
    ----------
    feeder : Feeder
        The whole.
    profiles : Profiles
        On all its ports, at the steps wanted alone.
    split : Split
        Its parts over all steps.
    part : int
        Position of the leaf that is kept; beyond the last for none.
    steps : numpy.ndarray of int, shape (n_step,)
        Which steps these are.

    Returns
    -------
    feeder : Feeder
        Its base case is that of the whole; the other leaves draw from the trunk
        what they draw there, whatever is added.
    profiles : Profiles
        On its ports.
    """
    n = len(split.found)
    others = [i for i in range(n) if i != part]
    leaves = [split.found[i] for i in others]
    kept = [leaf.nodes for leaf in split.found[part : part + 1]]
    nodes = np.sort(np.concatenate([split.trunk_nodes, *kept]))
    seen = split.trunk_profiles
    p_kw, q_kvar = seen.p_shapes[-n:, steps], seen.q_shapes[-n:, steps]
    power = (p_kw + 1j * q_kvar)[others]
    names = tuple(split.leaf_ports[i] for i in others)
    heads = np.array([leaf.head for leaf in leaves], dtype=np.int64)
    y = _trunk_admittance(feeder, nodes, leaves)
    trunk = _trunk(feeder, nodes, y, heads, names, power)
    return trunk, _trunk_profiles(trunk, profiles, names, power)


def _name(feeder: Feeder, leaf: Leaf) -> str:
    names: list[str] = feeder.terminals["element"].iloc[leaf.terminals].tolist()
    return names[0]


def _solve(
    feeder: Feeder, block: Block, states: States, leaves: list[Leaf]
) -> tuple[Complex, Complex, NDArray[np.bool_]]:
    """Return head voltages and currents into leaves, (n_leaf, n_step), and flags."""
    heads = block.position(np.array([leaf.head for leaf in leaves]))
    into = sp.vstack(
        [
            sp.csr_array(feeder.terminal_y[leaf.terminals].sum(axis=0)[None, :])
            for leaf in leaves
        ]
    ).tocsr()[:, block.nodes]
    n_step = states.p_shapes.shape[1]
    v_head = np.empty((len(leaves), n_step), dtype=complex)
    current = np.empty_like(v_head)
    converged = np.ones(n_step, dtype=np.bool_)
    width = max(64, _SOLVED_VALUES // len(block.nodes))
    for first in range(0, n_step, width):
        step = np.arange(first, min(first + width, n_step))
        solution = block.solve(states, step)
        converged[step] = solution.converged
        solution.v[:, ~solution.converged] = block.v_no_load[:, None]
        v_head[:, step] = solution.v[heads]
        current[:, step] = into @ solution.v
    return v_head, current, converged


def _trunk_admittance(feeder: Feeder, nodes: Ints, leaves: list[Leaf]) -> sp.csc_array:
    """Return the trunk's admittance without what its leaves add at their heads."""
    added = np.zeros(len(nodes), dtype=complex)
    at = np.searchsorted(nodes, [leaf.head for leaf in leaves])
    np.add.at(added, at, [leaf.y_head for leaf in leaves])
    y = feeder.y.tocsr()[nodes][:, nodes] - sp.diags_array(added)
    return sp.csc_array(y)


def _trunk(
    feeder: Feeder,
    nodes: Ints,
    y_trunk: sp.csc_array,
    heads: Ints,
    names: tuple[str, ...],
    power: Complex,
) -> Feeder:
    """Return the trunk with its sources and a port for each leaf."""
    every = np.concatenate([feeder.source_nodes, nodes])
    n_source = len(feeder.source_nodes)
    rows = feeder.y.tocsr()[every]
    to_source = rows[n_source:][:, feeder.source_nodes]
    top = rows[:n_source][:, every]
    y = sp.vstack([top, sp.hstack([to_source, y_trunk])])
    local = _local(feeder, every)
    inner = feeder.ports["node"].isin(nodes)
    own = feeder.ports[inner.to_numpy()]
    sample = feeder.nodes.iloc[heads]
    leaf_ports = pd.DataFrame(
        {
            "node": heads,
            "node_return": -1,
            "bus": sample["bus"].to_numpy(),
            "phases": sample["phases"].to_numpy(),
            "feeder_id": sample["feeder_id"].to_numpy(),
            "kind": "other",
            "p_kw": power.real.mean(axis=1),
            "q_kvar": power.imag.mean(axis=1),
            "profile": "",
            "lon": sample["lon"].to_numpy(),
            "lat": sample["lat"].to_numpy(),
        },
        index=pd.Index(names, name=feeder.ports.index.name),
    )
    return _part(feeder, every, y, pd.concat([own, leaf_ports]), local, n_source)


def _leaf_feeder(
    feeder: Feeder, leaf: Leaf, z_head: complex, profiles: Profiles, drive: Complex
) -> tuple[Feeder, Profiles]:
    """Return a leaf with its head behind the trunk's impedance, and its profiles."""
    inside = np.concatenate([[leaf.head], leaf.nodes])
    y = feeder.y.tocsr()[inside][:, inside].tolil()
    y_source = 1.0 / z_head
    y[0, 0] = leaf.y_head + y_source
    top = sp.csr_array([[y_source, -y_source]])
    n = len(inside)
    source_row = sp.hstack([top, sp.csr_array((1, n - 1), dtype=complex)])
    source_col = sp.csr_array(([-y_source], ([0], [0])), shape=(n, 1))
    whole = sp.vstack([source_row, sp.hstack([source_col, sp.csr_array(y)])])
    # the source takes the place of one of the feeder's own
    stand_in = int(feeder.source_nodes[0])
    every = np.concatenate([[stand_in], inside])
    local = _local(feeder, every)
    local[stand_in] = -1
    own = feeder.ports[feeder.ports["node"].isin(leaf.nodes).to_numpy()]
    part = _part(feeder, every, whole, own, local, 1)
    # the head's voltage is a limit of the trunk
    limited = part.nodes["limited"].to_numpy(dtype=bool) & (np.arange(n + 1) > 1)
    nodes = part.nodes.assign(limited=limited)
    at = feeder.ports.index.get_indexer(own.index)
    return (
        replace(part, nodes=nodes, source_v=drive[:1]),
        replace(
            profiles,
            port_ids=own.index,
            shape_of_port=profiles.shape_of_port[at],
            p_scale_kw=profiles.p_scale_kw[at],
            q_scale_kvar=profiles.q_scale_kvar[at],
            source_factor=drive / drive[0],
        ),
    )


def _local(feeder: Feeder, every: Ints) -> Ints:
    """Return the position of each of the feeder's nodes in a part; -1 outside."""
    local = np.full(len(feeder.nodes) + 1, -1, dtype=np.int64)
    local[every] = np.arange(len(every))
    return local


def _moved(local: Ints, node: pd.Series[int]) -> Ints:
    """Return where nodes of ports are in a part; -1 stays, as what is not given."""
    out: Ints = local[node.fillna(-1).to_numpy(dtype=np.int64)]
    return out


def _part(
    feeder: Feeder,
    every: Ints,
    y: sp.sparray,
    ports: pd.DataFrame,
    local: Ints,
    n_source: int,
) -> Feeder:
    """Return the feeder of some nodes; terminals reach no node outside."""
    held = local >= 0
    outside = feeder.terminal_y[:, ~held[:-1]]
    away = np.asarray(abs(outside).sum(axis=1)).ravel() > 0
    inside = np.asarray(abs(feeder.terminal_y[:, every[n_source:]]).sum(axis=1)).ravel()
    kept = np.flatnonzero(~away & (inside > 0))
    terminals = feeder.terminals.iloc[kept].assign(
        node=local[feeder.terminals["node"].to_numpy()[kept]]
    )
    matrix = feeder.terminal_y[kept].tocsr()
    names = set(terminals["element"])
    ends = [e for e in PORT_NODES if e in ports]
    return replace(
        feeder,
        nodes=feeder.nodes.iloc[every].reset_index(drop=True),
        y=sp.csc_array(y),
        source_nodes=np.arange(n_source),
        ports=ports.assign(**{e: _moved(local, ports[e]) for e in ends}),
        elements=feeder.elements[feeder.elements.index.isin(names)],
        terminals=terminals.reset_index(drop=True),
        terminal_y=sp.csr_array(matrix[:, every]),
        profiles=None,
        taps=None,
        controls=(),
    )


def _trunk_profiles(
    trunk: Feeder, profiles: Profiles, names: tuple[str, ...], power: Complex
) -> Profiles:
    """Return profiles of the trunk's ports; each leaf has a shape of its own."""
    own = trunk.ports.index[: len(trunk.ports) - len(names)]
    at = profiles.port_ids.get_indexer(own)
    n = len(profiles.p_shapes)
    ones = np.ones(len(names))
    return replace(
        profiles,
        port_ids=trunk.ports.index,
        p_shapes=np.vstack([profiles.p_shapes, power.real]),
        q_shapes=np.vstack([profiles.q_shapes, power.imag]),
        shape_of_port=np.append(profiles.shape_of_port[at], n + np.arange(len(names))),
        p_scale_kw=np.append(profiles.p_scale_kw[at], ones),
        q_scale_kvar=np.append(profiles.q_scale_kvar[at], ones),
    )
