"""
Search in AC power flow for how much of a set of loads a block can carry.

A set of loads passes at a step when it newly breaks no limit and worsens no
broken one by more than the materiality, the words of the replay. Between two
sets, one that is small and one that is large, the search returns the largest
share of the way that passes, from below.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from gridsite.errors import DataError
from gridsite.hosting.ac_replay import plan_voltages

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from gridsite.feeder.model import Feeder
    from gridsite.hosting.base_case import BaseCase

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Voltages = NDArray[np.complex128]

#: Voltages solved at once, to bound memory. [values]
_VALUES = 2_000_000

#: What is found keeps this margin, above the noise of the power flow, so that
#: it passes when it is solved again from another start. [-]
_INSIDE = 1e-8

_MAX_ITERATIONS = 200

#: Rounds of search and check over all steps.
_MAX_ROUNDS = 40

#: Steps searched at once.
_STEPS_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class Stop:
    """
    How far the way from a small to a large set goes, and what stops it.

    Parameters
    ----------
    share : float
        Share of the way; this much passes at every step. [-]
    row : int
        Row of the `BaseCase` that fails above, or is nearest to it where all of
        the way passes; -1 where it is the power flow that fails.
    step : int
        The step of that.
    holds : bool
        False where the small set itself does not pass.
    transformer : str
        The one whose ageing fails above, or with the small set; empty where it is
        no ageing that does.
    """

    share: float
    row: int
    step: int
    holds: bool = True
    transformer: str = ""


def checked_loads(feeder: Feeder, loads_kw: pd.Series[float], name: str) -> Floats:
    """
    Return loads on every port of a feeder, in its order.

    Parameters
    ----------
    feeder : Feeder
        The model.
    loads_kw : pandas.Series of float
        Load by ``port_id``; several entries of a port add up. [kW]
    name : str
        What the loads are, for the error.

    Returns
    -------
    numpy.ndarray, shape (n_port,)
        Loads; 0 where none is given. [kW]

    Raises
    ------
    DataError
        If a port is unknown or not supplied, or a load is negative or not
        finite.
    """
    ports = feeder.ports
    faults = {
        "unknown ports": ~loads_kw.index.isin(ports.index),
        "ports not supplied": loads_kw.index.isin(ports.index[ports["node"] < 0]),
        "loads that are negative or not finite": ~(
            (loads_kw >= 0.0) & (loads_kw < np.inf)
        ).to_numpy(dtype=bool),
    }
    for fault, bad in faults.items():
        if bad.any():
            first = loads_kw.index[bad][:3].tolist()
            msg = f"{name}: {fault} of {feeder.name}, first {first}; mend these"
            raise DataError(msg)
    total = loads_kw.groupby(level=0).sum().reindex(ports.index, fill_value=0.0)
    return np.asarray(total, dtype=np.float64)


def least_margin(case: BaseCase, v: Voltages, steps: Ints) -> tuple[Floats, Ints]:
    """
    Return the least margin of each state against the base case.

    Parameters
    ----------
    case : BaseCase
        The block.
    v : numpy.ndarray of complex, shape (n_node, n_state)
        Voltages with the loads; NaN where there is no solution. [pu]
    steps : numpy.ndarray of int, shape (n_state,)
        Step of each state.

    Returns
    -------
    margin : numpy.ndarray, shape (n_state,)
        What is left of a limit that held, or of the materiality of a broken
        one, over the limit's size; negative where the loads do not pass, -inf
        where the power flow has no solution. [-]
    row : numpy.ndarray of int, shape (n_state,)
        The limit; -1 without a solution or without any limit.
    """
    n = len(steps)
    margin, row = np.full(n, np.inf), np.full(n, -1, dtype=np.int64)
    if case.n_row:
        allowed = case.slack[:, steps] - case.materiality[:, None]
        left = case.row_slack(v, steps)
        left -= np.where(case.broken[:, steps], allowed, 0.0)
        left /= case.scale[:, None]
        row = left.argmin(axis=0).astype(np.int64)
        margin = left[row, np.arange(n)]
    kv = case.feeder.nodes["voltage_kv"].to_numpy()[case.block.nodes][case.limited]
    most = case.limits.voltage_max_of(kv)[:, None]
    now = np.abs(v[case.limited])
    counted = "voltage high" not in case.rows["criterion"].to_numpy()
    if counted and (now > most).any():
        base = np.abs(case.v[case.limited][:, steps])
        small = case.limits.materiality_voltage_pu
        high = np.where(base > most, base + small, most) - now
        row = np.where(high.min(axis=0) < margin, high.argmin(axis=0), row)
        margin = np.minimum(margin, high.min(axis=0))
    solved = np.isfinite(v).all(axis=0)
    return np.where(solved, margin, -np.inf), np.where(solved, row, -1)


def set_voltages(case: BaseCase, set_kw: Floats, steps: Ints) -> Voltages:
    """
    Return voltages with a set of loads of its own at each step.

    Parameters
    ----------
    case : BaseCase
        The block.
    set_kw : numpy.ndarray, shape (n_port, n_state)
        A set for each state. [kW]
    steps : numpy.ndarray of int, shape (n_state,)
        Step of each state.

    Returns
    -------
    numpy.ndarray of complex, shape (n_node, n_state)
        Voltages; NaN where there is no solution. [pu]
    """
    states, base_kva = case.states, case.block.base_kva
    port = np.flatnonzero(set_kw.any(axis=1))
    more_of = np.full(len(set_kw), -1)
    more_of[port] = np.arange(len(port))
    own = replace(
        states,
        p_shapes=np.ascontiguousarray(states.p_shapes[:, steps]),
        q_shapes=np.ascontiguousarray(states.q_shapes[:, steps]),
        more_of=more_of,
        more=np.ascontiguousarray(set_kw[port] / base_kva),
        drive=None if states.drive is None else states.drive[steps],
    )
    at = np.arange(len(steps))
    return case.block.solve(own, at, v_start=case.v, start_of=steps).v


def check_sets(case: BaseCase, set_kw: Floats, steps: Ints) -> tuple[Floats, Ints]:
    """
    Return the least margin of sets of loads at steps, by AC power flow.

    Parameters
    ----------
    case : BaseCase
        The block.
    set_kw : numpy.ndarray, shape (n_port,) or (n_port, n_state)
        One set for all steps, or one for each. [kW]
    steps : numpy.ndarray of int, shape (n_state,)
        Steps.

    Returns
    -------
    margin : numpy.ndarray, shape (n_state,)
        As from `least_margin`. [-]
    row : numpy.ndarray of int, shape (n_state,)
        Likewise.
    """
    margin, row = np.empty(len(steps)), np.empty(len(steps), dtype=np.int64)
    width = max(16, _VALUES // max(len(case.block.nodes), case.n_row, 1))
    for first in range(0, len(steps), width):
        part = slice(first, first + width)
        at = steps[part]
        if set_kw.ndim == 1:
            v = plan_voltages(case, set_kw, at)
        else:
            v = set_voltages(case, set_kw[:, part], at)
        margin[part], row[part] = least_margin(case, v, at)
    return margin, row


def largest_shares(
    case: BaseCase, small_kw: Floats, large_kw: Floats, steps: Ints, tolerance_kw: float
) -> tuple[Floats, Ints]:
    """
    Return how far from a small to a large set of loads each step goes.

    Parameters
    ----------
    case : BaseCase
        The block.
    small_kw, large_kw : numpy.ndarray, shape (n_port, n_state)
        The two sets of each state, the small one within the large one. [kW]
    steps : numpy.ndarray of int, shape (n_state,)
        Step of each state.
    tolerance_kw : float
        Width of the final bracket, in total load. [kW]

    Returns
    -------
    share : numpy.ndarray, shape (n_state,)
        Share of the way that passes; NaN where the small set does not. [-]
    row : numpy.ndarray of int, shape (n_state,)
        What fails above; -1 where all of the way passes, or where it is the
        power flow.
    """
    way = large_kw - small_kw
    total = np.maximum(way.sum(axis=0), 1e-12)
    low, high = np.zeros(len(steps)), np.ones(len(steps))
    g_high, row = check_sets(case, large_kw, steps)
    g_low = np.full(len(steps), np.nan)
    low[g_high >= _INSIDE] = 1.0
    stopped = np.flatnonzero(g_high < _INSIDE)
    g_low[stopped], first_row = check_sets(case, small_kw[:, stopped], steps[stopped])
    fails = g_low[stopped] < 0.0
    low[stopped[fails]], row[stopped[fails]] = np.nan, first_row[fails]
    active = stopped[~fails]
    for iteration in range(_MAX_ITERATIONS):
        active = active[(high - low)[active] * total[active] > tolerance_kw]
        if not len(active):
            break
        guess = next_guess(
            low[active],
            high[active],
            g_low[active],
            g_high[active],
            tolerance_kw / total[active],
            iteration,
        )
        sets = small_kw[:, active] + guess * way[:, active]
        margin, limit = check_sets(case, sets, steps[active])
        good = margin >= _INSIDE
        up, down = active[good], active[~good]
        low[up], g_low[up] = guess[good], margin[good]
        high[down], g_high[down], row[down] = guess[~good], margin[~good], limit[~good]
    row[low == 1.0] = -1
    return low, row


def next_guess(
    low: Floats,
    high: Floats,
    g_low: Floats,
    g_high: Floats,
    width: Floats,
    iteration: int,
) -> Floats:
    """
    Return where to look next: interpolated and leaning to one side, or half way.

    Parameters
    ----------
    low, high : numpy.ndarray, shape (n,)
        Ends of the brackets; the low one passes.
    g_low, g_high : numpy.ndarray, shape (n,)
        Margins there. [-]
    width : numpy.ndarray, shape (n,)
        Width at which the search ends.
    iteration : int
        Number of the round.

    Returns
    -------
    numpy.ndarray, shape (n,)
        Inside the brackets.
    """
    middle = 0.5 * (low + high)
    usable = np.isfinite(g_high) & (g_low > g_high) & np.isfinite(g_low)
    with np.errstate(invalid="ignore", divide="ignore"):
        guess = low + (high - low) * g_low / (g_low - g_high)
    guess += 0.45 * width * (1.0 if iteration % 2 else -1.0)
    guess = np.where(usable & (iteration % 4 != 3), guess, middle)
    edge = np.minimum(0.45 * width, 0.25 * (high - low))
    out: Floats = np.clip(guess, low + edge, high - edge)
    return out


def common_share(
    case: BaseCase, small_kw: Floats, large_kw: Floats, tolerance_kw: float
) -> Stop:
    """
    Return how far from a small to a large set of loads all steps go together.

    Parameters
    ----------
    case : BaseCase
        The block.
    small_kw, large_kw : numpy.ndarray, shape (n_port,)
        The two sets, the small one within the large one. [kW]
    tolerance_kw : float
        Width of the final bracket, in total load. [kW]

    Returns
    -------
    Stop
        The share passes at every step; ``tolerance_kw`` above it the named
        limit fails at the named step.

    Notes
    -----
    A few likely steps are searched first; the result is checked at every step,
    and the steps that fail are searched next.
    """
    every = np.arange(len(case.time))
    steps = _likely_steps(case, large_kw - small_kw)
    share, row, step = 1.0, -1, 0
    way_kw = large_kw - small_kw
    for _ in range(_MAX_ROUNDS):
        each = np.repeat(small_kw[:, None], len(steps), axis=1)
        part, rows = largest_shares(
            case, each, each + share * way_kw[:, None], steps, tolerance_kw
        )
        lost = np.isnan(part)
        if lost.any():
            at = int(lost.argmax())
            return Stop(share=0.0, row=int(rows[at]), step=int(steps[at]), holds=False)
        least = int(part.argmin())
        if part[least] < 1.0:
            share, row, step = share * part[least], rows[least], int(steps[least])
        margin, nearest = check_sets(case, small_kw + share * way_kw, every)
        needed = _INSIDE if share > 0.0 else 0.0
        if (margin >= needed).all():
            if share == 1.0:
                step = int(margin.argmin())
                row = nearest[step]
            return Stop(share=float(share), row=int(row), step=step)
        worst = np.argsort(margin, kind="stable")[:_STEPS_AT_ONCE]
        steps = worst[margin[worst] < needed]
    return Stop(share=0.0, row=-1, step=int(steps[0]))


def _likely_steps(case: BaseCase, way_kw: Floats) -> Ints:
    """Return steps at which rows bind first, by linear estimate."""
    heaviest = int(np.abs(case.v).sum(axis=0).argmin())
    if not case.n_row:
        return np.array([heaviest])
    drop, current, _ = case.effect
    effect = np.concatenate([drop, current]) @ (way_kw / case.block.base_kva)
    slack = np.where(case.broken, case.materiality[:, None], case.slack)
    with np.errstate(divide="ignore", invalid="ignore"):
        way = np.where(effect > 0.0, slack.min(axis=1) / effect, np.inf)
    first = np.argsort(way, kind="stable")[:_STEPS_AT_ONCE]
    return np.unique(np.append(slack[first].argmin(axis=1), heaviest))
