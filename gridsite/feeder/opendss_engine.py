"""
Run OpenDSS to the state that a `Feeder` is taken from.

The script's own commands build the circuit and are checked before the engine sees
them (`gridsite.feeder.opendss_script`). The engine then solves the snapshot with the
file's controls acting, and these are frozen where they stand.

OpenDSS exchanges a load's model for a constant impedance below its ``vminpu`` and
above its ``vmaxpu``. Below, that draws less than the load would: low voltage looks
milder than it is. So these limits are widened first, and the count of loads that
they had touched is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gridsite.errors import FeederError
from gridsite.feeder.opendss_script import read_script
from gridsite.feeder.opendss_words import engine as new_engine

if TYPE_CHECKING:
    from pathlib import Path

#: What a load's model holds between, in place of the file's limits. [pu]
WIDE_LIMITS = "vminpu=0.1 vlowpu=0.05 vmaxpu=10"

#: Largest power imbalance of the solved state, by the engine's own measure. [pu]
TOLERANCE = 1e-9

#: The engine's number of loads that follow their own model.
_POWER_FLOW = 1

#: Classes of elements that draw or give power, and whether we have a model of them.
_MODELLED = {"load", "vsource", "generator", "pvsystem", "storage"}
_REFUSED = {
    "isource": "current sources; turn them into generators",
    "indmach012": "induction machines; turn them into loads",
    "vccs": "controlled current sources; turn them into generators",
    "gicsource": "geomagnetic sources; take them out",
    "upfc": "power flow controllers; take them out",
    "windgen": "wind generators; turn them into generators",
    "generic5": "generic machines; turn them into generators",
}


@dataclass(frozen=True, kw_only=True)
class SolvedCircuit:
    """
    Hold an engine with a solved circuit whose controls are frozen.

    Parameters
    ----------
    engine : dss.IDSS
        The engine; nothing else uses it.
    name : str
        Name of the circuit.
    notes : tuple of str
        What was left out of the script, and what was changed.
    """

    engine: Any
    name: str
    notes: tuple[str, ...]


def solved_circuit(master: Path) -> SolvedCircuit:
    """
    Build the circuit of a script, solve it, and freeze its controls.

    Parameters
    ----------
    master : pathlib.Path
        The script that builds the circuit.

    Returns
    -------
    SolvedCircuit
        With the limits of the load models widened (see the module).

    Raises
    ------
    ConfigError
        If dss-python is missing.
    FeederError
        If the script is refused, fails, or does not solve.
    """
    script = read_script(master)
    engine = new_engine()
    for command in script.commands:
        _run(engine, command, where=str(master))
    circuit = engine.ActiveCircuit
    if not engine.NumCircuits:
        msg = f"{master}: the script builds no circuit; give the master file"
        raise FeederError(msg)
    _refuse(circuit, master)
    notes = list(script.notes)
    _solve(engine, master)
    touched = _outside_limits(circuit)
    if touched:
        notes.append(
            f"{touched} of {circuit.Loads.Count} load(s) stand outside their vminpu to "
            "vmaxpu, where OpenDSS exchanges their model: taken by their own model"
        )
    for kind in ("load", "generator", "pvsystem", "storage"):
        if _count(circuit, kind):
            limits = WIDE_LIMITS if kind == "load" else "vminpu=0.1 vmaxpu=10"
            _run(engine, f"batchedit {kind}..* {limits}", where=str(master))
    _solve(engine, master)
    controls = sum(_count(circuit, kind) for kind in ("regcontrol", "capcontrol"))
    if controls:
        notes.append(
            f"{controls} control(s) stand where the snapshot, solved here, leaves them"
        )
    _run(engine, "set controlmode=off", where=str(master))
    _solve(engine, master)
    return SolvedCircuit(engine=engine, name=str(circuit.Name), notes=tuple(notes))


def _run(engine: Any, command: str, *, where: str) -> None:  # noqa: ANN401
    try:
        engine.Text.Command = command
    except Exception as error:
        msg = f"{where}: OpenDSS refuses {command[:80]!r}: {error}"
        raise FeederError(msg) from error


def _solve(engine: Any, master: Path) -> None:  # noqa: ANN401
    """Solve the snapshot to rounding, with room for the controls to settle."""
    solution = engine.ActiveCircuit.Solution
    solution.Tolerance = TOLERANCE
    solution.MaxIterations = max(int(solution.MaxIterations), 500)
    solution.MaxControlIterations = max(int(solution.MaxControlIterations), 200)
    _run(engine, "solve mode=snapshot", where=str(master))
    if not solution.Converged:
        msg = f"{master}: OpenDSS finds no solution of the snapshot; mend the base case"
        raise FeederError(msg)


def _count(circuit: Any, kind: str) -> int:  # noqa: ANN401
    if circuit.SetActiveClass(kind) <= 0:
        return 0
    return int(circuit.ActiveClass.Count)


def _refuse(circuit: Any, master: Path) -> None:  # noqa: ANN401
    names = [str(name).lower() for name in circuit.AllElementNames]
    for kind, why in _REFUSED.items():
        found = [name for name in names if name.split(".")[0] == kind]
        if found:
            msg = f"{master}: {len(found)} {kind} element(s), first {found[0]!r}: {why}"
            raise FeederError(msg)
    solution = circuit.Solution
    shaped = any(str(load.Growth or "") for load in circuit.Loads)
    year = int(solution.Year)
    if year > 0 and (shaped or (year > 1 and solution.pctGrowth != 0.0)):
        msg = (
            f"{master}: set year={year} lets loads grow, which is not carried; take it "
            "out, and give the growth as --growth (growth of a study)"
        )
        raise FeederError(msg)
    if int(solution.LoadModel) != _POWER_FLOW:
        msg = (
            f"{master}: set loadmodel=admittance takes all loads as impedances, which "
            "is not carried; take it out, or give the loads model=2"
        )
        raise FeederError(msg)


def _outside_limits(circuit: Any) -> int:  # noqa: ANN401
    """Count loads with a voltage outside the limits of their model."""
    count, loads = 0, circuit.Loads
    for _ in loads:
        element = circuit.ActiveCktElement
        if not element.Enabled:
            continue
        volts = _complex(element.Voltages)
        across, base = load_voltages(
            volts, phases=loads.Phases, delta=loads.IsDelta, kv=loads.kV
        )
        pu = np.abs(across) / base
        count += bool(((pu < loads.Vminpu) | (pu > loads.Vmaxpu)).any())
    return count


def load_voltages(
    volts: np.ndarray, *, phases: int, delta: bool, kv: float
) -> tuple[np.ndarray, float]:
    """
    Return the voltages that the branches of a load see, and their rated value.

    Parameters
    ----------
    volts : numpy.ndarray of complex, shape (n_conductor,)
        Voltages of its conductors to ground. [V]
    phases : int
        Number of phases.
    delta : bool
        Whether branches stand between conductors.
    kv : float
        Rated voltage as filed. [kV]

    Returns
    -------
    across : numpy.ndarray of complex, shape (n_branch,)
        Voltage across each branch. [V]
    rated : float
        Rated voltage of a branch. [V]
    """
    pairs = load_branches(phases, delta=delta)
    across = np.array([volts[i] - volts[j] for i, j in pairs])
    return across, rated_branch_volts(phases, delta=delta, kv=kv)


def load_branches(phases: int, *, delta: bool) -> list[tuple[int, int]]:
    """
    Return the pairs of conductors between which a load or generator draws.

    Parameters
    ----------
    phases : int
        Number of phases.
    delta : bool
        Whether branches stand between phase conductors.

    Returns
    -------
    list of (int, int)
        Positions of conductors; the last one of a wye is its neutral.
    """
    if not delta:
        return [(i, phases) for i in range(phases)]
    if phases in (1, 2):
        return [(i, i + 1) for i in range(phases)]
    return [(i, (i + 1) % phases) for i in range(phases)]


def rated_branch_volts(phases: int, *, delta: bool, kv: float) -> float:
    """
    Return the rated voltage of a branch of a load or generator.

    Parameters
    ----------
    phases : int
        Number of phases.
    delta : bool
        Whether branches stand between phase conductors.
    kv : float
        Rated voltage as filed: between conductors where there are two or three
        phases. [kV]

    Returns
    -------
    float
        Rated voltage. [V]
    """
    return kv * 1e3 / (np.sqrt(3.0) if not delta and phases in (2, 3) else 1.0)


def _complex(flat: Any) -> np.ndarray:  # noqa: ANN401
    return np.asarray(flat, dtype=float).view(complex)
