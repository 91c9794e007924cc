"""
Base cases and limits of a feeder whose regulators and capacitors act.

Steps at which the controls stand alike in the base case are one `GridCase`, so that
all that works on a feeder whose controls stand works on each of them.
`gridsite.hosting.acting_case` judges loads with the controls acting on them too, step
after step.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from gridsite.errors import DataError
from gridsite.feeder.acting_controls import let_controls_act
from gridsite.feeder.control_settings import at_setting
from gridsite.feeder.controls import feeder_at

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from numpy.typing import NDArray

    from gridsite.feeder.acting_controls import Course
    from gridsite.feeder.control_settings import ControlCourse
    from gridsite.feeder.powerflow import Block
    from gridsite.hosting.base_case import BaseCase
    from gridsite.hosting.grid_case import GridCase

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]


def course_of(grid: GridCase) -> ControlCourse:
    """
    Return what the controls of a grid do.

    Parameters
    ----------
    grid : GridCase
        With controls that act.

    Returns
    -------
    ControlCourse
        With the base load.

    Raises
    ------
    DataError
        If its controls stand.
    """
    if grid.course is None:
        msg = f"{grid.feeder.name}: its controls stand; ask for controls that act"
        raise DataError(msg)
    return grid.course


def cases_at(
    grid: GridCase, feeder_id: str, positions: Ints, steps: Ints
) -> Iterator[tuple[Ints, tuple[int, ...], BaseCase]]:
    """
    Yield base cases of steps that stand alike, with their own stamps.

    Parameters
    ----------
    grid : GridCase
        With controls that act.
    feeder_id : str
        Which block.
    positions : numpy.ndarray of int, shape (n, n_control)
        Where the controls stand at each of the steps.
    steps : numpy.ndarray of int, shape (n,)
        Which steps.

    Yields
    ------
    steps : numpy.ndarray of int
        Those of the group.
    positions : tuple of int
        Where the controls stand.
    case : BaseCase
        Of these steps alone.
    """
    profiles = grid.profiles
    stands, of = np.unique(positions, axis=0, return_inverse=True)
    for k, row in enumerate(stands):
        at = steps[of.ravel() == k]
        where = tuple(row.tolist())
        feeder, drawn = at_setting(grid.feeder, profiles, where, at)
        case = grid.part(feeder, feeder_id, drawn)
        case.time, case.step_hours = profiles.time[at], profiles.step_hours
        yield at, where, case


def limits_of(case: BaseCase, block: Block) -> BaseCase:
    """
    Return the limits of a block where its controls stand elsewhere.

    Parameters
    ----------
    case : BaseCase
        The block at any setting.
    block : Block
        The block at the other setting.

    Returns
    -------
    BaseCase
        Its rows alone are of use.
    """
    moved, count = copy(case), len(case.rated)
    moved.block = block
    moved.upper_y = sp.csr_array(
        sp.vstack([block.terminal_y[case.rated], case.upper_y[count:]])
    )
    moved.upper_source = case.upper_source.copy()
    moved.upper_source[:count] = block.terminal_source[case.rated]
    return moved


def plan_course(grid: GridCase, feeder_id: str, added_kw: pd.Series[float]) -> Course:
    """
    Let the controls of a block act with a plan's loads.

    Parameters
    ----------
    grid : GridCase
        With controls that act.
    feeder_id : str
        Which block.
    added_kw : pandas.Series of float
        Constant load by ``port_id``. [kW]

    Returns
    -------
    Course
        From the filed positions. Steps that do not settle, though the base case does,
        have no voltages.
    """
    ports = grid.feeder.ports
    names = ports.index[ports["feeder_id"] == feeder_id]
    spread: Any = added_kw.groupby(level=0).sum().reindex(names, fill_value=0.0)
    course = let_controls_act(
        grid.feeder,
        feeder_id,
        grid.profiles,
        spread=spread.to_numpy(dtype=np.float64) / grid.feeder.base_kva,
        tan_phi=float(np.sqrt(1.0 / grid.power_factor**2 - 1.0)),
    )
    course.v[:, course_of(grid).settled & ~course.settled] = np.nan
    return course


def plan_states(
    grid: GridCase, feeder_id: str, added_kw: pd.Series[float]
) -> Iterator[tuple[BaseCase, NDArray[np.complex128], BaseCase]]:
    """
    Yield steps that stand alike, in the base case and with a plan.

    Parameters
    ----------
    grid : GridCase
        With controls that act.
    feeder_id : str
        Which block.
    added_kw : pandas.Series of float
        Constant load by ``port_id``. [kW]

    Yields
    ------
    case : BaseCase
        Of these steps, with the controls where the base load leaves them.
    v : numpy.ndarray of complex, shape (n_node, n_step)
        Voltages with the plan; NaN where there is no solution. [pu]
    moved : BaseCase
        The limits where the controls stand with the plan; ``case`` without one.
    """
    base = course_of(grid).positions
    every = np.arange(len(base))
    if not (added_kw > 0.0).any():
        for _, _, case in cases_at(grid, feeder_id, base, every):
            yield case, case.v, case
        return
    plan = plan_course(grid, feeder_id, added_kw)
    stands, of = np.unique(plan.positions, axis=0, return_inverse=True)
    for k, row in enumerate(stands):
        feeder = feeder_at(grid.feeder, row)
        steps = np.flatnonzero(of.ravel() == k)
        for at, _, case in cases_at(grid, feeder_id, base[steps], steps):
            moved = limits_of(case, case.block.moved(feeder))
            yield case, plan.v[:, at], moved
