"""Find the largest load that passes at a given step, for many loads at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gridsite.hosting.base_case import BaseCase

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

_MAX_ITERATIONS = 80

#: Secants before a search goes on with brackets, and the share of the tolerance that
#: the last is expected to miss the root by.
_SECANTS, _SECANT_ERROR = 5, 0.25


@dataclass(frozen=True, kw_only=True)
class Found:
    """
    Largest loads that pass.

    Parameters
    ----------
    kw : numpy.ndarray, shape (n,)
        The loads; each passes, and ``tolerance_kw`` more fails or is above the
        cap. [kW]
    row : numpy.ndarray of int, shape (n,)
        The limit that fails above; -1 where the cap stopped the search.
    converged : numpy.ndarray of bool, shape (n,)
        False where what fails above is the power flow, not a limit.
    """

    kw: Floats
    row: Ints
    converged: NDArray[np.bool_]


def largest_passing(
    case: BaseCase,
    port: Ints,
    step: Ints,
    start_kw: Floats,
    cap_kw: Floats,
    tolerance_kw: float,
    *,
    only: Ints | None = None,
) -> Found:
    """
    Return the largest load at each port that passes at one step.

    Bracketed interpolation in AC power flow: the lower end always passes.

    Parameters
    ----------
    case : BaseCase
        The block.
    port, step : numpy.ndarray of int, shape (n,)
        Where and when each load is added.
    start_kw : numpy.ndarray, shape (n,)
        First guess. [kW]
    cap_kw : numpy.ndarray, shape (n,)
        Largest load of interest. [kW]
    tolerance_kw : float
        Width of the final bracket. [kW]
    only : numpy.ndarray of int, shape (n,), optional
        The one limit to look at in each search.

    Returns
    -------
    Found
        Loads and the limits that stop them.
    """
    n = len(port)
    flow_tolerance = _flow_tolerance(case, tolerance_kw)

    def slack_at(which: Ints, kw: Floats) -> tuple[Floats, Ints]:
        rows = None if only is None else only[which]
        return case.evaluate(
            port[which], step[which], kw, only=rows, tolerance_pu=flow_tolerance
        )

    low, high = np.zeros(n), np.minimum(np.maximum(start_kw, tolerance_kw), cap_kw)
    g_low = case.base_slack(step, only=only)
    g_high, row = slack_at(np.arange(n), high)
    growing = np.flatnonzero((g_high >= 0.0) & (high < cap_kw))
    while len(growing):
        beyond = _beyond(
            low[growing], high[growing], g_low[growing], g_high[growing], tolerance_kw
        )
        low[growing], g_low[growing] = high[growing], g_high[growing]
        high[growing] = np.minimum(beyond, cap_kw[growing])
        g_high[growing], row[growing] = slack_at(growing, high[growing])
        growing = growing[(g_high[growing] >= 0.0) & (high[growing] < cap_kw[growing])]
    capped = g_high >= 0.0
    low[capped], row[capped] = high[capped], -1
    active = np.flatnonzero(~capped & (high - low > tolerance_kw))
    for iteration in range(_MAX_ITERATIONS):
        if not len(active):
            break
        guess = _next_guess(
            low[active],
            high[active],
            g_low[active],
            g_high[active],
            tolerance_kw,
            iteration,
        )
        slack, limit = slack_at(active, guess)
        good = slack >= 0.0
        up, down = active[good], active[~good]
        low[up], g_low[up] = guess[good], slack[good]
        high[down], g_high[down], row[down] = guess[~good], slack[~good], limit[~good]
        active = active[high[active] - low[active] > tolerance_kw]
    converged = capped | np.isfinite(g_high)
    return Found(kw=low, row=row, converged=converged)


def root_near(
    case: BaseCase,
    port: Ints,
    step: Ints,
    row: Ints,
    guess_kw: Floats,
    tolerance_kw: float,
) -> tuple[Floats, Ints]:
    """
    Return the load at which one limit binds, near a guess, by secants in AC.

    Parameters
    ----------
    case : BaseCase
        The block.
    port, step, row : numpy.ndarray of int, shape (n,)
        Where and when each load is added, and the limit.
    guess_kw : numpy.ndarray, shape (n,)
        First guess. [kW]
    tolerance_kw : float
        The last secant is expected to miss the root by a quarter of it. [kW]

    Returns
    -------
    kw : numpy.ndarray, shape (n,)
        Loads, half the tolerance below the root; NaN where a few secants do not find
        it, or lead to where there is no power flow. [kW]
    left : numpy.ndarray of int
        The former, for brackets.
    """
    tolerance_pu = _flow_tolerance(case, tolerance_kw)
    low, g_low = np.zeros(len(port)), case.base_slack(step, only=row)
    kw = np.maximum(guess_kw, tolerance_kw)
    active, dark = np.arange(len(port)), np.zeros(len(port), dtype=np.bool_)
    for _ in range(_SECANTS):
        now, last = kw[active], low[active]
        g, _ = case.evaluate(
            port[active], step[active], now, only=row[active],
            tolerance_pu=tolerance_pu,
        )  # fmt: skip
        flows = np.isfinite(g)
        with np.errstate(invalid="ignore", divide="ignore"):
            slope = (g - g_low[active]) / (now - last)
            moved = np.where(flows, -g / slope, 0.0)
        fits = flows & (slope < 0.0) & (now + moved > 0.0)
        low[active], g_low[active] = now, g
        kw[active] = np.where(fits, now + moved, np.nan)
        dark[active[~flows]] = True
        # a secant errs by the product of the last two moves over the load, or so;
        # what does not fall is left to brackets
        error = np.abs(moved) * np.abs(now - last) / np.maximum(now, tolerance_kw)
        active = active[fits & (error > _SECANT_ERROR * tolerance_kw)]
        if not len(active):
            break
    kw[active] = np.nan
    return kw - 0.5 * tolerance_kw, np.flatnonzero(np.isnan(kw) & ~dark)


def _flow_tolerance(case: BaseCase, tolerance_kw: float) -> float:
    """Return a tolerance of the power flow that does not show in a search. [pu]"""
    return float(np.clip(tolerance_kw / case.block.base_kva * 1e-4, 1e-14, 1e-9))


def _beyond(
    low: Floats, high: Floats, g_low: Floats, g_high: Floats, tolerance_kw: float
) -> Floats:
    """Extrapolate to a load that fails, by at most three tenths of one that passes."""
    most = high * 1.3 + tolerance_kw
    falls = np.isfinite(g_low) & np.isfinite(g_high) & (g_low > g_high)
    with np.errstate(invalid="ignore", divide="ignore"):
        step = 1.5 * (high - low) * g_high / (g_low - g_high)
    out: Floats = np.where(falls, np.minimum(high + step + tolerance_kw, most), most)
    return out


def _next_guess(
    low: Floats,
    high: Floats,
    g_low: Floats,
    g_high: Floats,
    tolerance_kw: float,
    iteration: int,
) -> Floats:
    """Interpolate, lean to the side that closes the bracket, or halve it."""
    middle = 0.5 * (low + high)
    usable = np.isfinite(g_low) & np.isfinite(g_high) & (g_low > g_high)
    with np.errstate(invalid="ignore", divide="ignore"):
        guess = low + (high - low) * g_low / (g_low - g_high)
    lean = 0.45 * tolerance_kw * (1.0 if iteration % 2 else -1.0)
    guess = np.where(usable, guess + lean, middle)
    if iteration % 4 == 3:
        guess = middle
    edge = np.minimum(0.45 * tolerance_kw, 0.25 * (high - low))
    out: Floats = np.clip(guess, low + edge, high - edge)
    return out
