r"""
Read an OpenDSS circuit into a three-phase `Feeder`.

The OpenDSS engine builds and solves the circuit (`gridsite.feeder.opendss_engine`);
the model takes the engine's own primitive admittance of every element, so that its
voltages are those of OpenDSS with controls frozen.

**Nodes** are OpenDSS's: one per conductor of a bus. **Per unit**: voltages per the
bus's phase voltage base, powers per 1 MVA, admittance between nodes i and j times
:math:`U_i U_j / S`. **Sources** are inner nodes of fixed voltage behind each
Vsource's own impedance. **Ports** are the branches of each load, each with the
exponents of its load model. **Terminals** are the conductors of lines and
transformer windings.

Neutral conductors that a file carries as nodes of their own (4 and above) have no
voltage limit. Split-phase services have nodes 1 and 2 at opposite voltage; they are
called phases 1 and 2 here, as they are not phases A and B of the primary.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components

from gridsite.errors import FeederError
from gridsite.feeder.model import Feeder, independent_feeders
from gridsite.feeder.opendss_circuit import CircuitParts, bus_of, circuit_parts
from gridsite.feeder.opendss_controls import filed_controls
from gridsite.feeder.opendss_coordinates import bus_places
from gridsite.feeder.opendss_engine import solved_circuit
from gridsite.feeder.opendss_ports import YEAR, filed_ports
from gridsite.feeder.opendss_ratings import centre_tapped, rated_currents
from gridsite.feeder.opendss_shapes import filed_profiles
from gridsite.units import SQRT3

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]

#: Power base of one node. [kVA]
BASE_KVA = 1000.0

#: Admittance that counts as a connection; OpenDSS ties islands down with less. [pu]
CONNECTED = 1e-7

_PHASES = {1: "A", 2: "B", 3: "C"}


def read_opendss(master: str | Path, *, crs: str | None = None) -> Feeder:
    """
    Read the circuit that an OpenDSS script builds.

    Parameters
    ----------
    master : str or pathlib.Path
        The master script; all that it reads must lie in its folder
        (`gridsite.feeder.opendss_script`).
    crs : str, optional
        Coordinate reference system of the bus coordinates, such as ``EPSG:2274``;
        without it they count where they are degrees and fit the line lengths.

    Returns
    -------
    Feeder
        Three-phase model of the circuit at the solved snapshot, controls frozen.

    Raises
    ------
    ConfigError
        If dss-python is not installed (``pip install 'gridsite[opendss]'``).
    FeederError
        If the script is refused or fails, the snapshot has no solution, or the
        circuit holds what the model cannot carry.

    Notes
    -----
    Transformers are rated by the kVA of their windings, not by OpenDSS's normal
    rating (110 % of it unless filed). Half windings of a centre-tapped transformer
    carry the current of its rating over both halves. Lines without an ampacity of
    their own (OpenDSS then takes 400 A) are unrated; switches and connectors of up
    to 1 m without one, and series reactors, are not checked.

    Generators and photovoltaic systems give what their load shapes make of them
    (`gridsite.feeder.opendss_generation`); those without a shape are off. Storage is
    constant power at what it gives or draws in the snapshot.

    Examples
    --------
    >>> feeder = read_opendss("networks/ieee13/master.dss")  # doctest: +SKIP
    >>> feeder.load_ports.index[0]  # doctest: +SKIP
    '671.AB'
    """
    path = Path(master)
    solved = solved_circuit(path)
    circuit = solved.engine.ActiveCircuit
    notes = list(solved.notes)
    places = bus_places(circuit, crs=crs, notes=notes)
    nodes = _nodes(circuit, path, places)
    parts = circuit_parts(circuit, rated_currents(circuit, notes))
    every = _with_source_nodes(nodes, parts)
    y, live = _supplied(parts, every)
    position = np.where(live, np.cumsum(live) - 1, -1)
    y, sources = y[live][:, live], position[len(nodes) :]
    every["feeder_id"] = ""
    every.loc[live, "feeder_id"] = _feeder_ids(y, sources, solved.name)
    filed = filed_ports(circuit, nodes, notes)
    profiles = filed_profiles(circuit, filed)
    filed = filed.drop(columns=YEAR)
    controls = filed_controls(
        circuit,
        volts=nodes["volts"].to_numpy(),
        position=position[: len(nodes)],
        base_kva=BASE_KVA,
        notes=notes,
    )
    return Feeder(
        name=str(master),
        base_kva=BASE_KVA,
        nodes=every[live].drop(columns="volts").reset_index(drop=True),
        y=y,
        source_nodes=sources,
        source_v=np.concatenate([s.held for s in parts.sources])
        / every["volts"].to_numpy()[len(nodes) :],
        ports=_placed(filed, every, position),
        **_terminal_tables(parts, every, position),
        unsupplied_buses=tuple(sorted(set(nodes["bus"][~live[: len(nodes)]]))),
        notes=tuple(notes),
        profiles=profiles,
        controls=controls,
    )


def _nodes(circuit: Any, path: Path, places: pd.DataFrame) -> pd.DataFrame:  # noqa: ANN401
    """Return a row per node of the circuit, in the engine's order."""
    names = pd.Series([str(name).lower() for name in circuit.YNodeOrder])
    split = names.str.rpartition(".")
    base = {}
    for bus in circuit.ActiveBus:
        base[str(bus.Name).lower()] = float(bus.kVBase)
    split_phase = _split_phase_buses(circuit)
    bus, number = split[0], split[2].astype(int)
    volts = bus.map(base).to_numpy(dtype=float) * 1e3
    bad = sorted(set(bus[~(volts > 0.0)]))
    if bad:
        msg = (
            f"{path}: {len(bad)} bus(es) without a voltage base, first {bad[:3]}; add "
            "'Set VoltageBases=[...]' and 'CalcVoltageBases' to the script"
        )
        raise FeederError(msg)
    labels = number.map(_PHASES).fillna(number.astype(str))
    labels = labels.where(~bus.isin(split_phase), number.astype(str))
    return pd.DataFrame(
        {
            "bus": bus,
            "phases": labels,
            "voltage_kv": SQRT3 * volts / 1e3,
            "limited": number.isin(_PHASES).to_numpy(),
            "lon": places["lon"].reindex(bus).to_numpy(),
            "lat": places["lat"].reindex(bus).to_numpy(),
            "volts": volts,
        }
    )


def _split_phase_buses(circuit: Any) -> set[str]:  # noqa: ANN401
    """Return buses that centre-tapped transformers feed, by way of lines."""
    seeds: set[str] = set()
    for transformer in circuit.Transformers:
        if centre_tapped(circuit, transformer):
            seeds |= {bus_of(name) for name in circuit.ActiveCktElement.BusNames[1:]}
    if not seeds:
        return seeds
    buses = [str(name).lower() for name in circuit.AllBusNames]
    at = {bus: k for k, bus in enumerate(buses)}
    ends = [
        [at[bus_of(name)] for name in circuit.ActiveCktElement.BusNames[:2]]
        for _ in circuit.Lines
    ]
    rows, columns = np.array(ends, dtype=np.int64).reshape(-1, 2).T
    graph = sp.coo_array((np.ones(len(rows)), (rows, columns)), (len(at), len(at)))
    label = connected_components(graph, directed=False)[1]
    fed = np.isin(label, label[[at[bus] for bus in seeds]])
    return {bus for bus, hit in zip(buses, fed, strict=True) if hit}


def _with_source_nodes(nodes: pd.DataFrame, parts: CircuitParts) -> pd.DataFrame:
    """Add the inner nodes of the sources behind those of the circuit."""
    inner = [
        nodes.iloc[source.nodes].assign(bus=f"source at {source.bus}", limited=False)
        for source in parts.sources
    ]
    every = pd.concat([nodes, *inner], ignore_index=True)
    held = np.concatenate([source.nodes for source in parts.sources])
    every.loc[held, "limited"] = False  # held by the source, as in a balanced model
    return every


def _supplied(parts: CircuitParts, nodes: pd.DataFrame) -> tuple[sp.csc_array, Bools]:
    """Return the admittance in per unit, and which nodes a source reaches."""
    rows, columns, values = map(np.concatenate, zip(*parts.entries, strict=True))
    volts = nodes["volts"].to_numpy()
    values = values * volts[rows] * volts[columns] / (BASE_KVA * 1e3)
    n = len(nodes)
    y = sp.coo_array((values, (rows, columns)), shape=(n, n)).tocsc()
    tied = abs(y)
    tied.data[tied.data < CONNECTED] = 0.0
    tied.eliminate_zeros()
    label = connected_components(tied, directed=False)[1]
    n_inner = sum(len(source.nodes) for source in parts.sources)
    return y, np.isin(label, label[n - n_inner :])


def _feeder_ids(y: sp.csc_array, sources: Ints, name: str) -> NDArray[np.object_]:
    """Name the parts that only meet at sources after the circuit; "" at sources."""
    part = independent_feeders(y, sources)
    several = part.max(initial=0) > 0
    labels = [f"{name} {i + 1}" if several else name for i in range(part.max() + 1)]
    return np.array([*labels, ""], dtype=object)[part]


def _placed(ports: pd.DataFrame, nodes: pd.DataFrame, position: Ints) -> pd.DataFrame:
    """Put ports on the supplied nodes; -1 where there is no supply."""
    at = ports["node"].to_numpy()
    back = ports["node_return"].to_numpy()
    dark = (position[at] < 0) | ((back >= 0) & (position[back] < 0))
    named = nodes.iloc[at]
    return ports.assign(
        node=np.where(dark, -1, position[at]),
        node_return=np.where(dark | (back < 0), -1, position[back]),
        feeder_id=np.where(dark, "", named["feeder_id"]),
        lon=named["lon"].to_numpy(),
        lat=named["lat"].to_numpy(),
    )


def _terminal_tables(
    parts: CircuitParts, nodes: pd.DataFrame, position: Ints
) -> dict[str, Any]:
    """Return elements, terminals and the matrix of the terminals' currents."""
    volts = nodes["volts"].to_numpy()
    terminals = pd.DataFrame(parts.terminals)
    node = terminals["node"].to_numpy()
    counts = [len(columns) for columns, _ in parts.currents]
    row = np.repeat(np.arange(len(terminals)), counts)
    column = np.concatenate([columns for columns, _ in parts.currents])
    amps = np.concatenate([values for _, values in parts.currents])
    # A per pu of voltage over A per pu of current
    values = amps * volts[column] * volts[node[row]] / (BASE_KVA * 1e3)
    kept = (position[node] >= 0)[row] & (position[column] >= 0)
    live = position[node] >= 0
    new_row = np.cumsum(live) - 1
    matrix = sp.coo_array(
        (values[kept], (new_row[row[kept]], position[column[kept]])),
        shape=(int(live.sum()), int(position.max()) + 1),
    ).tocsr()
    fed = node.copy()
    inner = np.concatenate([source.nodes for source in parts.sources])
    fed[node >= len(nodes) - len(inner)] = inner
    terminals = terminals.assign(
        base_a=BASE_KVA * 1e3 / volts[node],
        feeder_id=nodes["feeder_id"].to_numpy()[fed],
        phases=nodes["phases"].to_numpy()[node],
        node=position[node],
    )[live].reset_index(drop=True)
    first = (
        terminals[terminals["feeder_id"] != ""].groupby("element")["feeder_id"].first()
    )
    elements = pd.DataFrame(parts.elements).set_index("element")
    elements = elements[elements.index.isin(terminals["element"])]
    elements = elements.assign(
        feeder_id=first.reindex(elements.index).fillna("").to_numpy(),
        geometry=None,  # drawn between their buses
    )
    return {"elements": elements, "terminals": terminals, "terminal_y": matrix}
