"""How much each limit grows per load added, measured in AC power flow."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gridsite.hosting.base_case import BaseCase

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: Load that measures a coefficient. [kW]
PROBE_KW = 10.0

#: Share of the materiality that plans may use of a limit broken already; with
#: the 5 % by which bounds relax rows, more than all of it.
USE_OF_MATERIALITY = 0.96

#: Sensitivities held at once. [values]
_GROWTH_VALUES = 100_000_000

#: Steps x ports x nodes up to which each limit is measured at its own step. A large
#: block is measured at one, and small coefficients are left out: its rows are a
#: little off, and the replay mends them.
_MEASURED_VALUES = 500_000_000

#: Coefficients below this share of a row's largest are left out. [-]
NEGLIGIBLE = 1e-6

#: The same for the rows of a large block, of which there are thousands. [-]
_SMALL = 1e-2


def row_size(case: BaseCase) -> Floats:
    """
    Return what turns the slack of each limit into the unit of its row.

    Parameters
    ----------
    case : BaseCase
        The block.

    Returns
    -------
    numpy.ndarray, shape (n_row,)
        100 where that is % of nominal, else as in the base case.
    """
    return np.where(case.row_unit == "pu", 100.0, case.row_size)


def base_left(case: BaseCase, row: Ints, step: Ints) -> Floats:
    """
    Return what the base case leaves of limits at steps.

    Parameters
    ----------
    case : BaseCase
        The block.
    row, step : numpy.ndarray of int, shape (n,)
        Limits, and the step of each.

    Returns
    -------
    numpy.ndarray, shape (n,)
        Slack; most of the materiality of a limit that is broken. [pu]
    """
    out: Floats = np.where(
        case.broken[row, step],
        USE_OF_MATERIALITY * case.materiality[row],
        case.slack[row, step],
    )
    return out


def base_growth(case: BaseCase, port: Ints, row: Ints, step: Ints) -> Floats:
    """
    Return how much each limit loses per kW at its own step.

    Parameters
    ----------
    case : BaseCase
        The block.
    port : numpy.ndarray of int
        Ports of the block.
    row, step : numpy.ndarray of int, shape (n,)
        Limits, and the step of each.

    Returns
    -------
    numpy.ndarray, shape (n, n_port)
        Measured in AC power flow without other added loads. [pu/kW]
    """
    idle = np.zeros(len(case.block.ports))
    steps, which = np.unique(step, return_inverse=True)
    out: Floats = np.empty((len(row), len(port)))
    at_once = max(1, _GROWTH_VALUES // max(case.n_row * len(port), 1))
    for first in range(0, len(steps), at_once):
        some = steps[first : first + at_once]
        at = np.flatnonzero((which >= first) & (which < first + at_once))
        growth = measured_growth(case, port, some, idle)
        out[at] = growth[which[at] - first, row[at]]
    return out


def measured_growth(
    case: BaseCase, port: Ints, steps: Ints, spread_kw: Floats
) -> Floats:
    """
    Return how much each limit loses per load added at each port.

    Parameters
    ----------
    case : BaseCase
        The block.
    port : numpy.ndarray of int, shape (n_port,)
        Where `PROBE_KW` is added, one port at a time.
    steps : numpy.ndarray of int, shape (n_step,)
        When.
    spread_kw : numpy.ndarray, shape (n_block_port,)
        What each port of the block draws beside the base case. [kW]

    Returns
    -------
    numpy.ndarray, shape (n_step, n_row, n_port)
        At least 0; where a probe has no solution the worst of the limit. [pu/kW]
    """
    states = replace(case.states, spread=spread_kw / case.block.base_kva)
    out = np.empty((len(steps), case.n_row, len(port)))
    width = max(1, _GROWTH_VALUES // max(10 * case.n_row * len(steps), 1))
    for first in range(0, len(port), width):
        some = np.append(port[first : first + width], -1)
        step = np.repeat(steps, len(some))
        probe_kw = np.where(some >= 0, PROBE_KW, 0.0)
        solution = case.block.solve(
            states,
            step,
            added_port=np.tile(some, len(steps)),
            added=np.tile(probe_kw / case.block.base_kva, len(steps)),
            v_start=case.v,
            start_of=step,
        )
        slack = case.row_slack(solution.v, step)
        slack = slack.reshape(case.n_row, len(steps), len(some)).transpose(1, 0, 2)
        out[:, :, first : first + width] = slack[:, :, -1:] - slack[:, :, :-1]
    out /= PROBE_KW
    # a probe beyond collapse: as bad as any other, never free
    finite = np.isfinite(out)
    if not finite.all():
        worst = np.where(finite, out, 0.0).max(axis=2, initial=0.0, keepdims=True)
        out = np.where(finite, out, worst)
    return np.maximum(out, 0.0, out=out)


def is_large(case: BaseCase, port: Ints, step: Ints) -> bool:
    """
    Return whether limits are too many to measure each at its own step.

    Parameters
    ----------
    case : BaseCase
        The block.
    port, step : numpy.ndarray of int
        Ports that are measured, and the step of each limit.

    Returns
    -------
    bool
        True where one step must do for all.
    """
    steps = len(np.unique(step))
    return steps * len(port) * len(case.block.nodes) > _MEASURED_VALUES


def leave_out_small(growth: Floats) -> None:
    """
    Leave out coefficients that are small in their row.

    Parameters
    ----------
    growth : numpy.ndarray, shape (n_row, n_port)
        Set to 0 in place where they are.
    """
    growth[growth <= _SMALL * growth.max(axis=1, initial=0.0, keepdims=True)] = 0.0
