"""What the judges of the tests that ask OpenDSS have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

#: Loads keep their model at every voltage.
KEEP_MODEL = "vminpu=0.1 vlowpu=0.05 vmaxpu=10"


def solved_engine(master: Path) -> Any:
    """Return OpenDSS of its own with a circuit solved, its controls then frozen."""
    from dss import dss  # noqa: PLC0415 - an extra

    engine = dss.NewContext()
    for command in (
        f'redirect "{master}"',
        "set maxiterations=500 maxcontroliter=200 tolerance=1e-9",
        "solve mode=snapshot",
        f"batchedit load..* {KEEP_MODEL}",
        "solve",
        "set controlmode=off",
    ):
        engine.Text.Command = command
    return engine


def over_rating(circuit: Any, element: str, rows: pd.DataFrame) -> set[tuple[str, str]]:
    """Return the conductors of an element that carry more than they are rated."""
    circuit.SetActiveElement(element)
    active = circuit.ActiveCktElement
    amps = np.abs(np.asarray(active.Currents, dtype=float).view(complex))
    ends = np.split(np.asarray(active.NodeOrder), len(active.BusNames))
    per_end = len(ends[0])
    at: list[int] = []
    for end, numbers in enumerate(ends):
        live = [end * per_end + int(k) for k in np.flatnonzero(numbers)]
        phases = [k for k in live if k % per_end < active.NumPhases]
        at += (phases or live) if "Transformer" in element else live
    if len(at) != len(rows):  # one end has no supply
        return set()
    over = amps[at] > rows["rated_a"].to_numpy()
    return {(element, str(k)) for k in np.flatnonzero(over)}
