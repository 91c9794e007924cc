"""
What the elements of an OpenDSS circuit add up to, from their own admittance.

Lines, transformers, capacitors and reactors give the admittance that the engine holds
for them; each Vsource becomes inner nodes of fixed voltage behind its impedance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gridsite.errors import FeederError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gridsite.feeder.opendss_ratings import Rated

    Ints = NDArray[np.int64]

_SIDES = {"line": ("from", "to"), "transformer": ("hv", "lv")}

#: Classes whose elements draw or give power: ports, not admittance.
_INJECTING = ("load", "generator", "pvsystem", "storage")


@dataclass(frozen=True, kw_only=True)
class CircuitSource:
    """
    Hold one source.

    Parameters
    ----------
    bus : str
        Where it stands.
    nodes : numpy.ndarray of int
        Its nodes in the circuit.
    held : numpy.ndarray of complex
        Voltages behind its impedance. [V]
    """

    bus: str
    nodes: Ints
    held: NDArray[np.complex128]


@dataclass(frozen=True, kw_only=True)
class CircuitParts:
    """
    Hold what the elements add up to, by node of the whole circuit.

    Parameters
    ----------
    entries : list of (rows, columns, values)
        Admittances. [S]
    sources : list of CircuitSource
        Inner nodes come behind the circuit's, in this order.
    terminals, elements : list of dict
        Rows of the tables.
    currents : list of (columns, values)
        Rows of the terminals' matrix. [S]
    """

    entries: list[Any]
    sources: list[CircuitSource]
    terminals: list[dict[str, Any]]
    elements: list[dict[str, Any]]
    currents: list[Any]


def bus_of(name: str) -> str:
    """
    Return the bus of a terminal's name.

    Parameters
    ----------
    name : str
        Bus with nodes, such as ``650.1.2``.

    Returns
    -------
    str
        The bus, in lower case.
    """
    return str(name).split(".")[0].lower()


def circuit_parts(
    circuit: Any,  # noqa: ANN401
    rated: dict[str, Rated],
) -> CircuitParts:
    """
    Walk over the elements once, and keep what they add up to.

    Parameters
    ----------
    circuit : dss.ICircuit
        The solved circuit.
    rated : dict
        Ratings by element, from `gridsite.feeder.opendss_ratings.rated_currents`.

    Returns
    -------
    CircuitParts
        By node of the circuit, in the engine's order, then of the sources.

    Raises
    ------
    FeederError
        If a source stands between two buses.
    """
    n_node = int(circuit.NumNodes)
    parts = CircuitParts(entries=[], sources=[], terminals=[], elements=[], currents=[])
    for full in circuit.AllElementNames:
        kind = str(full).split(".")[0].lower()
        if kind in _INJECTING:
            continue
        circuit.SetActiveElement(full)
        element = circuit.ActiveCktElement
        flat = element.Yprim
        if not element.Enabled or flat is None or len(flat) < 2:
            continue
        n = int(np.sqrt(len(flat) // 2))
        y = np.asarray(flat, dtype=float).view(complex).reshape(n, n).T
        ref = np.asarray(element.NodeRef, dtype=np.int64) - 1
        if kind == "vsource":
            _add_source(parts, element, str(full), y, ref, n_node)
            continue
        kept = ref >= 0
        _add(parts, ref[kept], ref[kept], y[np.ix_(kept, kept)])
        if str(full).lower() in rated:
            _add_terminals(parts, element, str(full), y, ref, rated[str(full).lower()])
    return parts


def _add(parts: CircuitParts, rows: Ints, columns: Ints, y: NDArray[Any]) -> None:
    shape = y.shape
    parts.entries.append(
        (np.repeat(rows, shape[1]), np.tile(columns, shape[0]), y.ravel())
    )


def _add_source(
    parts: CircuitParts,
    element: Any,  # noqa: ANN401
    name: str,
    y: NDArray[Any],
    ref: Ints,
    n_node: int,
) -> None:
    """Add a source as inner nodes of fixed voltage behind its admittance."""
    half = len(ref) // 2
    volts = np.asarray(element.Voltages, dtype=float).view(complex)
    amps = np.asarray(element.Currents, dtype=float).view(complex)
    if (ref[half:] >= 0).any():
        msg = f"{name} stands between two buses; give it one bus"
        raise FeederError(msg)
    fixed = np.linalg.solve(y[:half, :half], (y @ volts - amps)[:half])
    at = n_node + sum(len(s.nodes) for s in parts.sources) + np.arange(half)
    own = y[:half, :half]
    _add(parts, ref[:half], ref[:half], own)
    _add(parts, ref[:half], at, -own)
    _add(parts, at, ref[:half], -own)
    _add(parts, at, at, own)
    bus = bus_of(element.BusNames[0])
    parts.sources.append(CircuitSource(bus=bus, nodes=ref[:half], held=fixed))
    for k in range(half):
        parts.terminals.append(
            {
                "element": f"source at {bus}",
                "side": "source",
                "criterion": "source",
                "rated_a": np.nan,
                "node": at[k],
            }
        )
        # three times the current of a phase: each keeps a third of a source's limit
        columns = np.concatenate([at, ref[:half]])
        parts.currents.append((columns, 3.0 * np.concatenate([own[k], -own[k]])))


def _add_terminals(
    parts: CircuitParts,
    element: Any,  # noqa: ANN401
    name: str,
    y: NDArray[Any],
    ref: Ints,
    rated: Rated,
) -> None:
    """Add the conductors of a line or transformer that carry load current."""
    per_end = len(ref) // len(element.BusNames)
    buses = [bus_of(bus) for bus in element.BusNames]
    parts.elements.append(
        {
            "element": name,
            "kind": rated.kind,
            "from_bus": buses[0],
            "to_bus": buses[1],
            "rating": rated.rating,
            "rating_unit": rated.unit,
            "code": rated.code,
        }
    )
    sides = _SIDES[rated.kind]
    kept = ref >= 0
    for k in np.flatnonzero(kept):
        end, conductor = divmod(int(k), per_end)
        phases = ref[end * per_end : end * per_end + rated.phases]
        if conductor >= rated.phases and (phases >= 0).any():
            continue  # a neutral; the second half of a centre tap has no other end
        parts.terminals.append(
            {
                "element": name,
                "side": sides[min(end, len(sides) - 1)],
                "criterion": f"{rated.kind} current",
                "rated_a": rated.amps[end],
                "node": ref[k],
            }
        )
        parts.currents.append((ref[kept], y[k, kept]))
