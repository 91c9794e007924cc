"""
What is wrong with an OpenDSS circuit, or easily misread in one.

The circuit is built by the engine from the confined script
(`gridsite.feeder.opendss_script`), but not solved.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyproj

from gridsite.feeder.findings import (
    DISTANCE_OVER_LENGTH,
    LINE_KM,
    LOAD_KW,
    OPENDSS_CHECKS,
    REACTANCE_PERCENT,
    RESULT_OFF_PU,
    VOLTAGE_OFF,
    Finding,
    flag,
)
from gridsite.feeder.opendss_circuit import bus_of
from gridsite.feeder.opendss_engine import solved_circuit
from gridsite.feeder.opendss_ratings import DEFAULT_AMPS, METRES, own_amps
from gridsite.feeder.opendss_script import read_script
from gridsite.feeder.opendss_words import engine
from gridsite.units import SQRT3

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


#: Nodes of a bus above this number are neutrals, by custom.
_PHASES = 3

#: What coordinates may be measured in. [m]
_SCALES = {"metres": 1.0, "feet": 0.3048, "kilometres": 1000.0}


def opendss_findings(master: str | Path) -> Iterator[Finding]:
    """
    Find what is wrong with a circuit before it is solved.

    Parameters
    ----------
    master : str or pathlib.Path
        The master script.

    Yields
    ------
    Finding
        In the words of `gridsite.feeder.findings.OPENDSS_CHECKS`.

    Raises
    ------
    ConfigError
        If there is no such file, or dss-python is missing.
    FeederError
        If the script is refused.
    """
    script = read_script(Path(master))
    if script.notes:
        rows = pd.DataFrame({"label": script.notes})
        yield from flag("left out", rows, [True] * len(rows), words=OPENDSS_CHECKS)
    context = engine()
    for number, command in enumerate(script.commands, start=1):
        try:
            context.Text.Command = command
        except Exception as error:  # noqa: BLE001  the engine's own error
            said = " ".join(str(error).split())
            text = f"command {number} of the script fails: {command[:80]!r}: {said}"
            cure = "mend the line: a name may stand twice, or a part is not defined"
            yield Finding(
                "error", "script", command[:60], number, text, cure, "command"
            )
            return
    circuit = context.ActiveCircuit
    for check in (_bases, _load_voltages, _phases, _neutrals, _ampacity):
        yield from check(circuit)
    for check in (_sizes, _reactances, _coordinates):
        yield from check(circuit)


def against_engine(
    master: str | Path, nodes: pd.DataFrame, pu: Floats
) -> Iterator[Finding]:
    """
    Compare the base case of the model with the engine's own solution.

    Parameters
    ----------
    master : str or pathlib.Path
        The master script.
    nodes : pandas.DataFrame
        ``bus`` and ``phases`` of the nodes of the model.
    pu : numpy.ndarray of float, shape (n_node,)
        Their voltages. [pu]

    Yields
    ------
    Finding
        ``source engine``, with the largest difference. [pu]
    """
    circuit = solved_circuit(Path(master)).engine.ActiveCircuit
    base = _base_kv(circuit)
    names = [str(name).lower() for name in circuit.YNodeOrder]
    volts = np.abs(np.asarray(circuit.YNodeVarray).view(np.complex128))
    kv = np.array([base[bus_of(name)] for name in names])
    known = pd.Series(volts / kv / 1e3, names)
    number = nodes["phases"].replace({"A": "1", "B": "2", "C": "3"})
    ours = pd.Series(pu, nodes["bus"] + "." + number)
    ours = ours[ours.index.isin(known.index) & ~ours.index.duplicated()].dropna()
    off = (ours - known[ours.index]).abs()
    if not len(off):
        return
    worst, at = float(off.max()), str(off.idxmax())
    text = (
        f"the base case differs from OpenDSS's own solution by up to {worst:.2g} pu "
        f"(at {at}, {len(off)} nodes compared, load models kept at any voltage)"
    )
    good = worst <= RESULT_OFF_PU
    cure = "none needed" if good else "report the circuit: it is not read as meant"
    severity = "note" if good else "error"
    yield Finding(severity, "source engine", at, worst, text, cure, "pu")


def _base_kv(circuit: Any) -> dict[str, float]:  # noqa: ANN401
    """Return the voltage base to neutral of each bus. [kV]"""
    return {str(bus.Name).lower(): float(bus.kVBase) for bus in circuit.ActiveBus}


def _off(rated: Floats, base: Floats) -> NDArray[np.bool_]:
    """Tell rated voltages that are neither phase, line nor leg-to-leg of a base."""
    with np.errstate(divide="ignore", invalid="ignore"):
        fits = [np.abs(rated / (base * k) - 1.0) for k in (1.0, SQRT3, 2.0)]
    return np.asarray(~(np.min(fits, axis=0) <= VOLTAGE_OFF))


def _bases(circuit: Any) -> Iterator[Finding]:  # noqa: ANN401
    """Compare voltage bases with the ratings of transformer windings."""
    base = _base_kv(circuit)
    ends = []
    for transformer in circuit.Transformers:
        buses = circuit.ActiveCktElement.BusNames
        for winding in range(transformer.NumWindings):
            transformer.Wdg = winding + 1
            bus = bus_of(buses[winding])
            label = f"transformer.{transformer.Name} winding {winding + 1}"
            ends.append((label, float(transformer.kV), base.get(bus, np.nan), bus))
    rows = pd.DataFrame(ends, columns=["label", "kv", "base", "bus"])
    bad = _off(rows["kv"].to_numpy(), rows["base"].to_numpy())
    shown = rows["kv"].map("{:g} kV at ".format) + rows["bus"]
    shown += rows["base"].map(" of {:.4g} kV to neutral".format)
    yield from flag("voltage base", rows, bad, shown, words=OPENDSS_CHECKS)


def _load_voltages(circuit: Any) -> Iterator[Finding]:  # noqa: ANN401
    """Compare rated voltages of loads with the bases of their buses."""
    base = _base_kv(circuit)
    loads = []
    for load in circuit.Loads:
        bus = bus_of(circuit.ActiveCktElement.BusNames[0])
        loads.append((f"load.{load.Name}", load.kV, base.get(bus)))
    rows = pd.DataFrame(loads, columns=["label", "kv", "base"])
    rows = rows.astype({"kv": float, "base": float})
    bad = _off(rows["kv"].to_numpy(), rows["base"].to_numpy())
    shown = rows["kv"].map("{:g} kV".format)
    yield from flag("load voltage", rows, bad, shown, words=OPENDSS_CHECKS)


def _phases(circuit: Any) -> Iterator[Finding]:  # noqa: ANN401
    """Count what a balanced reading would get wrong."""
    rows = pd.DataFrame(
        [(f"line.{line.Name}", line.Phases) for line in circuit.Lines],
        columns=["label", "phases"],
    )
    bad = rows["phases"] < _PHASES
    yield from flag("phases", rows, bad, words=OPENDSS_CHECKS)
    halves = []
    for transformer in circuit.Transformers:
        buses = [bus_of(name) for name in circuit.ActiveCktElement.BusNames]
        split = len(buses) == _PHASES and buses[1] == buses[2]
        halves.append((f"transformer.{transformer.Name}", split))
    rows = pd.DataFrame(halves, columns=["label", "split"])
    yield from flag("split phase", rows, rows["split"] == 1, words=OPENDSS_CHECKS)


def _neutrals(circuit: Any) -> Iterator[Finding]:  # noqa: ANN401
    """Count nodes that carry a neutral."""
    names = pd.Series([str(name) for name in circuit.AllNodeNames], dtype=object)
    number = pd.to_numeric(
        names.map(lambda name: name.rpartition(".")[2]), errors="coerce"
    )
    rows = pd.DataFrame({"label": names})
    yield from flag("neutral nodes", rows, number > _PHASES, words=OPENDSS_CHECKS)


def _ampacity(circuit: Any) -> Iterator[Finding]:  # noqa: ANN401
    """Find lines that have the engine's default for a rating."""
    codes: dict[str, bool] = {}
    lines = [
        (
            f"line.{line.Name}",
            line.NormAmps == DEFAULT_AMPS and not own_amps(circuit, line, codes),
        )
        for line in circuit.Lines
        if not line.IsSwitch
    ]
    rows = pd.DataFrame(lines, columns=["label", "bad"])
    bad = rows["bad"].astype(bool)
    yield from flag("default ampacity", rows, bad, words=OPENDSS_CHECKS)


def _sizes(circuit: Any) -> Iterator[Finding]:  # noqa: ANN401
    """Find loads and lengths that look like slips of sign or unit."""
    loads = [
        (f"load.{load.Name}", load.kW, load.kvar, load.kV) for load in circuit.Loads
    ]
    rows = pd.DataFrame(loads, columns=["label", "kw", "kvar", "kv"])
    rows = rows.astype({"kw": float, "kvar": float, "kv": float})
    size, shown = rows["kw"].abs(), rows["kw"].map("{:.6g} kW".format)
    yield from flag("negative load", rows, rows["kw"] < 0.0, shown)
    bad = (size > LOAD_KW[1]) & (rows["kv"] < 1.0)
    bad |= (size > 0.0) & (size < LOAD_KW[0])
    yield from flag("load size", rows, bad, shown)
    shown += rows["kvar"].map(", {:.6g} kvar".format)
    yield from flag("power factor", rows, rows["kvar"].abs() > size, shown)
    lines = [
        (f"line.{line.Name}", METRES.get(int(line.Units), np.nan) * line.Length)
        for line in circuit.Lines
        if not line.IsSwitch
    ]
    rows = pd.DataFrame(lines, columns=["label", "metres"]).astype({"metres": float})
    km, shown = rows["metres"] / 1e3, rows["metres"].map("{:.6g} m".format)
    yield from flag("short lines", rows, km < LINE_KM[0], shown)
    yield from flag("long lines", rows, km > LINE_KM[2], shown)


def _reactances(circuit: Any) -> Iterator[Finding]:  # noqa: ANN401
    """Find reactances that do not fit what a transformer is for."""
    found = []
    for transformer in circuit.Transformers:
        kv = []
        for winding in range(transformer.NumWindings):
            transformer.Wdg = winding + 1
            kv.append(float(transformer.kV))
        equal = len(kv) > 1 and abs(kv[0] / kv[1] - 1.0) < VOLTAGE_OFF
        label = f"transformer.{transformer.Name}"
        found.append((label, float(transformer.Xhl), equal))
    rows = pd.DataFrame(found, columns=["label", "xhl", "equal"])
    limit = np.where(rows["equal"] == 1, *REACTANCE_PERCENT)
    bad = (rows["xhl"] > limit) | (rows["xhl"] <= 0.0)
    shown = rows["xhl"].map("{:.4g} %".format)
    yield from flag("reactance", rows, bad, shown, words=OPENDSS_CHECKS)


def _coordinates(circuit: Any) -> Iterator[Finding]:  # noqa: ANN401
    """Say what coordinates are: missing, degrees, swapped, a measure, a drawing."""
    places = [
        (str(bus.Name).lower(), bus.x, bus.y) if bus.Coorddefined else None
        for bus in circuit.ActiveBus
    ]
    names = [str(name).lower() for name in circuit.AllBusNames]
    rows = pd.DataFrame({"label": names})
    missing = [place is None for place in places]
    yield from flag("coordinates missing", rows, missing)
    at = {place[0]: place[1:] for place in places if place is not None}
    ends = []
    for line in circuit.Lines:
        first, second = bus_of(line.Bus1), bus_of(line.Bus2)
        metres = METRES.get(int(line.Units), np.nan) * float(line.Length)
        if first in at and second in at and metres > 1.0:
            ends.append((*at[first], *at[second], metres))
    if not ends:
        return
    what, ratio = _measure(np.array(ends, dtype=float))
    severity, text, cure = OPENDSS_CHECKS[f"coordinates: {what}"]
    told = f"{text} (distance over length {ratio:.3g}, median of {len(ends)} lines)"
    yield Finding(severity, "coordinates", "", float(ratio), told, cure, "-")


def _measure(ends: Floats) -> tuple[str, float]:
    """Return what coordinates are, and the distance over length if they are."""
    a, b, metres = ends[:, :2], ends[:, 2:4], ends[:, 4]
    geod = pyproj.Geod(ellps="WGS84")
    xy = np.vstack([a, b])
    low, high = DISTANCE_OVER_LENGTH
    fits: dict[str, float] = {}
    for name, order in (("degrees", [0, 1]), ("swapped", [1, 0])):
        if (np.abs(xy[:, order]) <= (180.0, 90.0)).all():
            one, two = a[:, order], b[:, order]
            far = geod.inv(one[:, 0], one[:, 1], two[:, 0], two[:, 1])[2]
            ratio = float(np.median(np.asarray(far) / metres))
            if low <= ratio <= high:
                fits[name] = ratio
    if fits:
        best = min(fits, key=lambda name: abs(np.log(fits[name])))
        return best, fits[best]
    plain = float(np.median(np.hypot(*(a - b).T) / metres))
    for name, scale in _SCALES.items():
        if 0.8 <= plain * scale <= 1.25:
            return name, plain * scale
    return "drawing", plain
