r"""
Read a pandapower network with zero-sequence data into a three-phase `Feeder`.

One node stands for one phase of one bus; admittances are those of pandapower's own
sequence circuits (`gridsite.feeder.sequence_circuits`).

**Per unit.** Voltages are per phase voltage, :math:`U_n / \sqrt 3`, so that 1 pu
means the same as in a balanced model. Powers are per ``base_kva`` *of one phase*,
the file's ``sn_mva``; impedances are then per :math:`U_n^2 / (3\,sn)`, which is what
pandapower takes too. A load between two phases sees :math:`\sqrt 3` pu.

**Sources** are three inner nodes of fixed, balanced voltage behind the impedances of
the external grid. Feeders below one source share these and are one part. A limit
on a source's power is kept on each of its phases, one third each.

Neutral and earth are one conductor, as in pandapower: ports to neutral are ports to
ground, voltages are phase to neutral, and neutral currents are not rated.
"""

from __future__ import annotations

import copy
import re
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from gridsite.errors import FeederError
from gridsite.feeder.load_parts import following_percent
from gridsite.feeder.model import Feeder, independent_feeders
from gridsite.feeder.net_elements import _elements
from gridsite.feeder.net_names import _SIGNS, _bus_names
from gridsite.feeder.net_nodes import _bus_lookup, _feeder_labels, _nodes
from gridsite.feeder.net_ports import _filed_profiles
from gridsite.feeder.net_prepared import (
    _ASYMMETRIC,
    _REFUSED,
    _prepared,
    _refuse,
)
from gridsite.feeder.phase_ports import PHASES, phase_ports
from gridsite.feeder.sequence_circuits import (
    TO_PHASES,
    SequenceCircuits,
    in_phases,
    sequence_circuits,
)
from gridsite.units import SQRT3

#: Columns that a three-phase model needs beyond those of a balanced one.
ZERO_SEQUENCE = {
    "line": ("r0_ohm_per_km", "x0_ohm_per_km", "c0_nf_per_km"),
    "trafo": (
        "vector_group",
        "vk0_percent",
        "vkr0_percent",
        "mag0_percent",
        "mag0_rx",
        "si0_hv_partial",
    ),
    "ext_grid": ("s_sc_max_mva", "rx_max", "x0x_max", "r0x0_max"),
}

#: Vector groups with an earthed low-voltage neutral of which pandapower has a
#: three-phase model that is the same on every power base (that of Yzn is not).
VECTOR_GROUPS = ("Dyn", "YNyn")

#: Tables of which pandapower has no three-phase model.
_NO_PHASES = {
    "trafo3w": "three-winding transformers; pandapower has no zero sequence of them",
    "ward": "wards; turn them into loads and shunts",
}


def three_phase_feeder(net: Any, *, name: str) -> Feeder:  # noqa: ANN401
    """
    Turn a pandapower network with zero-sequence data into a `Feeder`.

    Parameters
    ----------
    net : pandapower.auxiliary.pandapowerNet
        The network; it is not changed.
    name : str
        Name of the result.

    Returns
    -------
    Feeder
        One node per bus and phase, one port per phase of each load
        (``NAME.A``, or ``NAME.AB`` between phases); terminals per phase.

    Raises
    ------
    FeederError
        If zero-sequence data are missing, or the network holds elements that the
        model cannot carry.

    Notes
    -----
    Symmetric loads are split evenly over three ports. Loads whose ``type`` is
    neither wye nor delta are wye, with a note. A row of ``asymmetric_load``
    becomes ports on the phases on which it draws power; a row without any power
    gets a port on all three, with a note.

    Examples
    --------
    >>> from pandapower.networks import ieee_european_lv_asymmetric
    >>> feeder = three_phase_feeder(ieee_european_lv_asymmetric(), name="IEEE")
    >>> len(feeder.load_ports), feeder.load_ports.index[0]
    (55, 'LOAD1.A')
    """
    notes: list[str] = []
    refused = {k: v for k, v in _REFUSED.items() if k not in _ASYMMETRIC}
    _refuse(net, name, refused | _NO_PHASES)
    work = _prepared(copy.deepcopy(net), notes)
    dependent = int((following_percent(work.load) != 0.0).any(axis=1).sum())
    if dependent:
        notes.append(
            f"{dependent} voltage-dependent load(s) taken as constant power, as in "
            "pandapower's three-phase power flow"
        )
    _require_zero_sequence(work, name)
    _normalise_vector_groups(work, name, notes)
    idle = (*_SIGNS, *_ASYMMETRIC)
    circuit = sequence_circuits(work, name=name, idle=idle)
    lookup = _bus_lookup(work, circuit.ppc)
    nodes = _phase_nodes(work, circuit, lookup)
    elements, terminals, terminal_y = _phase_elements(work, circuit, nodes)
    ports = _held_at_sources(phase_ports(work, lookup, nodes, notes), circuit, notes)
    dark = (lookup < 0) & work.bus["in_service"].astype(bool)
    held = circuit.ppc["V"][circuit.refs]
    return Feeder(
        name=name,
        base_kva=circuit.base_kva,
        nodes=nodes,
        y=sp.csc_array(in_phases(circuit.y)),
        source_nodes=np.arange(3 * circuit.n_bus, len(nodes)),
        source_v=(held[:, None] * TO_PHASES[:, 1]).ravel(),
        ports=ports,
        elements=elements,
        terminals=terminals,
        terminal_y=terminal_y,
        unsupplied_buses=tuple(_bus_names(work)[dark.to_numpy()]),
        notes=tuple(notes),
        profiles=_filed_profiles(net, ports),
    )


def _require_zero_sequence(net: Any, name: str) -> None:  # noqa: ANN401
    """Refuse a network that lacks data of the zero or negative sequence."""
    missing = []
    for table, columns in ZERO_SEQUENCE.items():
        rows = net[table][net[table]["in_service"].astype(bool)]
        values = rows.reindex(columns=columns)
        missing += [
            f"{table}.{column} ({int(values[column].isna().sum())} of {len(rows)} rows)"
            for column in columns
            if values[column].isna().any()
        ]
    if missing:
        by_phase = [
            f"{int(net[table]['in_service'].sum())} {table} row(s)"
            for table in _ASYMMETRIC
            if len(net.get(table, ())) and net[table]["in_service"].any()
        ]
        msg = (
            f"{name}: {' and '.join(by_phase) or 'three_phase=True'} need(s) a "
            "three-phase model, whose zero-sequence data are missing: "
            f"{', '.join(missing)}; fill these columns of the file"
        )
        raise FeederError(msg)


def _normalise_vector_groups(net: Any, name: str, notes: list[str]) -> None:  # noqa: ANN401
    """Leave clock numbers out, and refuse groups that have no model."""
    known = {group.lower(): group for group in VECTOR_GROUPS}
    trafo, turned = net.trafo, 0
    for index in trafo.index:
        if not trafo.loc[index, "in_service"]:
            trafo.loc[index, "vector_group"] = VECTOR_GROUPS[0]
            continue
        text = str(trafo.loc[index, "vector_group"]).strip()
        match = re.fullmatch(r"([A-Za-z]+?)(\d{0,2})", text)
        if match is None or match[1].lower() not in known:
            msg = (
                f"{name}: transformer {trafo.loc[index, 'name'] or index} has vector "
                f"group {text!r}; three-phase models are there for "
                f"{', '.join(VECTOR_GROUPS)} (low-voltage neutral earthed)"
            )
            raise FeederError(msg)
        trafo.loc[index, "vector_group"] = known[match[1].lower()]
        shift = float(trafo.loc[index, "shift_degree"])
        turned += bool(match[2]) and (30.0 * int(match[2] or 0) - shift) % 360.0 != 0.0
    if turned:
        notes.append(
            f"{turned} transformer(s) with a shift_degree other than the clock number "
            "of the vector group: shift_degree taken"
        )


def _phase_nodes(
    net: Any,  # noqa: ANN401
    circuit: SequenceCircuits,
    lookup: pd.Series,
) -> pd.DataFrame:
    """Return nodes: three per bus, then three per source."""
    n, refs = circuit.n_bus, circuit.refs
    inner = np.arange(n, n + len(refs))
    parts = independent_feeders(sp.csc_array(circuit.y[1]), inner)
    labels = _feeder_labels(net, lookup, parts[:n], refs)
    buses = _nodes(net, circuit.ppc, lookup, labels[parts[:n]])
    buses.loc[refs, "limited"] = False  # held by the source, as in a balanced model
    sources = buses.loc[refs].assign(feeder_id="")
    sources["bus"] = "source at " + sources["bus"]
    every = pd.concat([buses, sources], ignore_index=True)
    nodes = every.loc[every.index.repeat(3)].reset_index(drop=True)
    return nodes.assign(phases=np.tile(PHASES, len(every)))


def _phase_elements(
    net: Any,  # noqa: ANN401
    circuit: SequenceCircuits,
    nodes: pd.DataFrame,
) -> tuple[pd.DataFrame, pd.DataFrame, sp.csr_array]:
    """Return elements, terminals by phase, and the matrix of their currents."""
    by_sequence = []
    for y_from, y_to in zip(circuit.y_from, circuit.y_to, strict=True):
        ppc = {**circuit.ppc, "Yf": y_from, "Yt": y_to}
        elements, ends, matrix = _elements(net, ppc)
        by_sequence.append(matrix)
    terminals = ends.loc[ends.index.repeat(3)].reset_index(drop=True)
    phase = np.tile(np.arange(3), len(ends))
    node = 3 * terminals["node"].to_numpy(dtype=np.int64) + phase
    terminals = terminals.assign(
        node=node,
        base_a=3.0 * terminals["base_a"],
        feeder_id=nodes["feeder_id"].to_numpy()[node],
    )
    first = terminals.groupby("element")["feeder_id"].first()
    elements["feeder_id"] = first.reindex(elements.index).fillna("").to_numpy()
    fed, fed_y = _source_terminals(circuit, nodes)
    every = pd.concat([terminals, fed], ignore_index=True)
    every = every.assign(phases=nodes["phases"].to_numpy()[every["node"]])
    matrices = [in_phases(by_sequence), fed_y] if len(ends) else [fed_y]
    return elements, every, sp.vstack(matrices).tocsr()


def _source_terminals(
    circuit: SequenceCircuits, nodes: pd.DataFrame
) -> tuple[pd.DataFrame, sp.csr_array]:
    """Return terminals for what each source feeds on each phase."""
    at = np.arange(3 * circuit.n_bus, len(nodes))
    rows = nodes.iloc[at]
    fed = np.repeat(3 * circuit.refs, 3)
    terminals = pd.DataFrame(
        {
            "element": rows["bus"].to_numpy(),
            "side": "source",
            "criterion": "source",
            "rated_a": np.nan,
            "base_a": circuit.base_kva / (SQRT3 * rows["voltage_kv"].to_numpy()),
            "node": at,
            "feeder_id": nodes["feeder_id"].to_numpy()[fed],
        }
    )
    # three times the current of a phase: a third of a source's limit is kept on each
    return terminals, 3.0 * in_phases(circuit.y_fed)


def _held_at_sources(
    ports: pd.DataFrame, circuit: SequenceCircuits, notes: list[str]
) -> pd.DataFrame:
    """Move ports at a source's bus onto its inner nodes, as in a balanced model."""
    moved = pd.Series(
        np.arange(3 * circuit.n_bus, 3 * (circuit.n_bus + len(circuit.refs))),
        index=(3 * circuit.refs[:, None] + np.arange(3)).ravel(),
    )
    at = ports["node"].isin(moved.index)
    if not at.any():
        return ports
    notes.append(
        f"{int(at.sum())} port(s) at a source's bus: taken as held by the source, so "
        "that they do not act on its unbalance"
    )
    ends = ports[["node", "node_return"]]
    ends = ends.where(~at, ends.apply(lambda end: end.map(moved).fillna(-1))).astype(
        int
    )
    feeder_id = ports["feeder_id"].where(~at, "")
    return ports.assign(**ends, feeder_id=feeder_id)
