"""States of one step with loads on which regulators and capacitors act."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.feeder.acting_controls import ActingCircuit
from gridsite.feeder.controls import feeder_at
from gridsite.hosting.acting import course_of, limits_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gridsite.feeder.acting_controls import Ends
    from gridsite.hosting.base_case import BaseCase
    from gridsite.hosting.grid_case import GridCase

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class ActedStates:
    """
    Hold ends of one step, each with its own load and its own setting.

    Parameters
    ----------
    v : numpy.ndarray of complex, shape (n_node, n)
        Voltages; NaN where there is no solution or the controls do not settle. [pu]
    cases : list of BaseCase
        The limits of each state.
    controls : pandas.DataFrame
        ``control, kind`` and, by number of the state, its ``position_*`` at the end
        of the step and its ``moves_*`` up to then.
    """

    v: NDArray[np.complex128]
    cases: list[BaseCase]
    controls: pd.DataFrame


def acted_states(
    grid: GridCase, case: BaseCase, port: int, kw: Floats, step: int
) -> ActedStates:
    """
    Let controls act on loads from the first step to one.

    Parameters
    ----------
    grid : GridCase
        With controls that act.
    case : BaseCase
        Of the block at that step.
    port : int
        Where the loads are added, position in the block.
    kw : numpy.ndarray, shape (n,)
        Constant loads, one by one. [kW]
    step : int
        The step.

    Returns
    -------
    ActedStates
        At its end.
    """
    filed, feeder_id = course_of(grid).feeder, case.block.feeder_id
    until = grid.profiles.at_steps(np.arange(step + 1))
    circuit = ActingCircuit(filed, feeder_id, until, tan_phi=case.tan_phi)
    n = len(kw)
    v = np.full((circuit.n_node, n), np.nan, dtype=np.complex128)
    positions = np.empty((n, step + 1, len(filed.controls)), dtype=np.int64)

    def keep(ends: Ends) -> None:
        positions[ends.lane, ends.step] = ends.positions
        last = ends.step == step
        if ends.settled:
            v[:, ends.lane[last]] = ends.v[:, last]

    circuit.run(keep, np.full(n, port), np.asarray(kw, dtype=np.float64))
    cases = [
        limits_of(case, case.block.moved(feeder_at(filed, row)))
        for row in positions[:, -1]
    ]
    names = [control.name for control in filed.controls]
    kinds = [control.kind for control in filed.controls]
    table = pd.DataFrame({"control": names, "kind": kinds})
    start = np.array(circuit.filed)
    for i, own in enumerate(positions):
        moves = np.abs(np.diff(own, axis=0, prepend=[start])).sum(axis=0)
        table = table.assign(**{f"position_{i}": own[-1], f"moves_{i}": moves})
    return ActedStates(v=v, cases=cases, controls=table.iloc[circuit.own])
