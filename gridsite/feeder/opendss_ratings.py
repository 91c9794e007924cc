"""Rated currents of the lines and transformers of an OpenDSS circuit."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from gridsite.feeder.opendss_circuit import bus_of

#: What OpenDSS takes where a line has no ampacity of its own: not a rating. [A]
DEFAULT_AMPS = 400.0


#: A line this short is a busbar or connector. [m]
CONNECTOR_M = 1.0

#: Metres per unit of length, by OpenDSS's number of the unit; 0 is unknown.
METRES = {1: 1609.344, 2: 304.8, 3: 1000.0, 4: 1.0, 5: 0.3048, 6: 0.0254, 7: 0.01}


@dataclass(frozen=True, kw_only=True)
class Rated:
    """
    Hold the rating of one element.

    Parameters
    ----------
    kind : {"line", "transformer"}
        What it is.
    rating : float
        As filed: A of a line, kVA of a transformer; NaN where there is none.
    unit : {"A", "kVA"}
        Its unit.
    amps : tuple of float
        Rated current of a conductor at each end. [A]
    phases : int
        Conductors per end that are phases; the rest are neutrals.
    code : str
        Line code; "" where there is none.
    """

    kind: str
    rating: float
    unit: str
    amps: tuple[float, ...]
    phases: int
    code: str = ""


def rated_currents(circuit: Any, notes: list[str]) -> dict[str, Rated]:  # noqa: ANN401
    """
    Return the ratings of lines and transformers.

    Parameters
    ----------
    circuit : dss.ICircuit
        The circuit.
    notes : list of str
        What has no rating is added here.

    Returns
    -------
    dict
        By full element name in lower case. Switches and connectors without an
        ampacity, and reactors, which have none, are left out.
    """
    out: dict[str, Rated] = {}
    codes: dict[str, bool] = {}
    switches = unrated = 0
    for line in circuit.Lines:
        amps = float(line.NormAmps)
        if amps == DEFAULT_AMPS and not own_amps(circuit, line, codes):
            if line.IsSwitch or _metres(line) <= CONNECTOR_M:
                switches += 1
                continue
            amps, unrated = float("nan"), unrated + 1
        out[f"line.{line.Name.lower()}"] = Rated(
            kind="line",
            rating=amps,
            unit="A",
            amps=(amps, amps),
            phases=line.Phases,
            code=str(line.LineCode or "").lower(),
        )
    if switches:
        notes.append(
            f"{switches} switch(es) and connectors of at most {CONNECTOR_M:g} m have "
            "no ampacity: not checked"
        )
    if unrated:
        notes.append(f"{unrated} line(s) without an ampacity of their own in the file")
    tapped = 0
    for transformer in circuit.Transformers:
        tapped += centre_tapped(circuit, transformer)
        out[f"transformer.{transformer.Name.lower()}"] = _transformer(
            circuit, transformer
        )
    autos = [n for n in circuit.AllElementNames if n.lower().startswith("autotrans.")]
    for name in autos:
        circuit.SetActiveElement(name)
        element = circuit.ActiveCktElement
        out[name.lower()] = Rated(
            kind="transformer",
            rating=float("nan"),
            unit="kVA",
            amps=(float("nan"),) * element.NumTerminals,
            phases=element.NumPhases,
        )
    if autos:
        notes.append(
            f"{len(autos)} autotransformer(s): their ratings are not carried, so that "
            "connections behind them are not rated"
        )
    if tapped:
        notes.append(
            f"{tapped} centre-tapped transformer(s): each half winding rated by the "
            "kVA of the primary over both halves"
        )
    return out


def centre_tapped(circuit: Any, transformer: Any) -> bool:  # noqa: ANN401
    """
    Return whether a transformer has a split-phase secondary.

    Parameters
    ----------
    circuit : dss.ICircuit
        The circuit, of which the transformer is the active element.
    transformer : dss.ITransformers
        The transformer.

    Returns
    -------
    bool
        Whether it has one phase and two secondaries at one bus.
    """
    element = circuit.ActiveCktElement
    buses = [bus_of(name) for name in element.BusNames]
    halves = 3
    return (
        transformer.NumWindings == halves
        and element.NumPhases == 1
        and buses[1] == buses[2]
    )


def _metres(line: Any) -> float:  # noqa: ANN401
    """Return the length of a line; infinite where its unit is not known."""
    return METRES.get(int(line.Units), float("inf")) * float(line.Length)


def own_amps(circuit: Any, line: Any, codes: dict[str, bool]) -> bool:  # noqa: ANN401
    """
    Return whether the file gives a line, or its code or wires, an ampacity.

    Parameters
    ----------
    circuit : dss.ICircuit
        The circuit, in which the line is active.
    line : dss.ILines
        The line.
    codes : dict of str to bool
        What is known of line codes; filled here.

    Returns
    -------
    bool
        Whether its rating is the file's own, not the engine's default.
    """
    name, code = line.Name, str(line.LineCode or "").lower()
    if not code:
        own = json.loads(circuit.ActiveDSSElement.ToJSON())
        filed = {"normamps", "geometry", "spacing", "wires", "ratings"}
        return bool(filed & {key.lower() for key in own})
    # the engine marks what it takes over from a code as the line's own
    if code not in codes:
        circuit.SetActiveClass("linecode")
        circuit.ActiveClass.Name = code
        filed = json.loads(circuit.ActiveDSSElement.ToJSON())
        codes[code] = "normamps" in {key.lower() for key in filed}
        circuit.Lines.Name = name
    return codes[code]


def _transformer(circuit: Any, transformer: Any) -> Rated:  # noqa: ANN401
    """Return the rating of a transformer by winding."""
    phases = int(circuit.ActiveCktElement.NumPhases)
    kv, kva = [], []
    for winding in range(1, transformer.NumWindings + 1):
        transformer.Wdg = winding
        between = phases in (2, 3)
        kv.append(float(transformer.kV) / (np.sqrt(3.0) if between else 1.0))
        kva.append(float(transformer.kVA))
    amps = [s / (phases * u) for s, u in zip(kva, kv, strict=True)]
    if centre_tapped(circuit, transformer):
        amps[1:] = [kva[0] / (kv[1] + kv[2])] * 2
    return Rated(
        kind="transformer", rating=kva[0], unit="kVA", amps=tuple(amps), phases=phases
    )
