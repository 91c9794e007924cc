"""Compiled loops of `gridsite.hosting.flexible`: called with checked arrays only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba as nb
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    #: float32 or float64, one row per connection
    Headroom = NDArray[Any]

#: A step counts as served in full within rounding. [share of rating]
ROUNDING = 1e-9


@nb.njit(cache=True, parallel=True, fastmath={"reassoc", "nsz", "arcp", "contract"})
def energy_ratings(headroom: Headroom, share: float) -> Floats:  # pragma: no cover
    """Return the largest root of sum(min(P, h)) = share P T, by Newton from above."""
    n, n_step = headroom.shape
    out = np.empty(n)
    for k in nb.prange(n):
        total = 0.0
        for t in range(n_step):
            total += headroom[k, t]
        rating = total / (share * n_step)
        while True:
            below, count = 0.0, 0
            for t in range(n_step):
                if headroom[k, t] < rating:
                    below += headroom[k, t]
                    count += 1
            falls = count - (1.0 - share) * n_step  # how fast, per kW of rating
            if falls <= ROUNDING or not below / falls < rating:
                break
            rating = below / falls
        out[k] = rating
    return out


@nb.njit(cache=True, forceinline=True)
def _serve(
    headroom: float,
    rating: float,
    least: float,
    charge: float,
    most: float,
    power: float,
    efficiency: float,
) -> tuple[float, float]:  # pragma: no cover
    """Return the power served at a step, and the charge after it, in kW x steps."""
    drawn = min(rating, headroom)
    given = min(rating - drawn, power, charge)
    if drawn + given < least:
        drawn, given = 0.0, 0.0
    stored = min(headroom - drawn, power) * efficiency
    return drawn + given, min(most, charge + stored - given)


@nb.njit(cache=True, parallel=True)
def curtailed(  # pragma: no cover
    headroom: Headroom,
    rating: Floats,
    min_power_share: float,
    battery_kw_steps: float,
    battery_kw: float,
    efficiency: float,
) -> tuple[Floats, Ints]:
    """Return kW missing, summed over steps; steps curtailed, longest run, runs."""
    n, n_step = headroom.shape
    missing, counts = np.zeros(n), np.zeros((3, n), dtype=np.int64)
    for k in nb.prange(n):
        power = rating[k] if battery_kw < 0.0 else battery_kw
        full = rating[k] * (1.0 - ROUNDING)
        charge, run = 0.0, 0
        for t in range(n_step):
            served, charge = _serve(
                headroom[k, t],
                rating[k],
                min_power_share * full,
                charge,
                battery_kw_steps,
                power,
                efficiency,
            )
            run = run + 1 if served < full else 0
            if run > 0:
                missing[k] += rating[k] - served
                counts[0, k] += 1
                counts[1, k] = max(counts[1, k], run)
                counts[2, k] += run == 1
    return missing, counts


@nb.njit(cache=True)
def _keep(  # pragma: no cover
    headroom: Headroom,
    count: int,
    rating: float,
    most: float,
    power: float,
    efficiency: float,
) -> int:
    """
    Move forward the steps that decide on ratings up to one; return their number.

    Left out are steps that serve such ratings in full while the battery is full
    already, having charged since the last step that may fall short.
    """
    kept, charged = 0, 0.0
    for t in range(count):
        spare = headroom[t] - rating
        if spare < 0.0:
            charged = 0.0
        elif charged < most:
            charged += min(spare, power) * efficiency
        else:
            continue
        headroom[kept] = headroom[t]
        kept += 1
    return kept


@nb.njit(cache=True)
def _passes(  # pragma: no cover
    headroom: Headroom,
    count: int,
    rating: float,
    most_missing: float,
    most_steps: int,
    min_power_share: float,
    battery_kw_steps: float,
    battery_kw: float,
    efficiency: float,
) -> bool:
    """Return whether energy missing and steps curtailed stay within the most."""
    power = rating if battery_kw < 0.0 else battery_kw
    full = rating * (1.0 - ROUNDING)
    charge, missing, steps = 0.0, 0.0, 0
    for t in range(count):
        served, charge = _serve(
            headroom[t],
            rating,
            min_power_share * full,
            charge,
            battery_kw_steps,
            power,
            efficiency,
        )
        if served < full:
            missing += rating - served
            steps += 1
            if missing > most_missing or steps > most_steps:
                return False
    return True


@nb.njit(cache=True, parallel=True)
def search_ratings(  # pragma: no cover
    headroom: Headroom,
    low: Floats,
    high: Floats,
    missing_share: float,
    most_steps: int,
    cells: int,
    tolerance: float,
    min_power_share: float,
    battery_kw_steps: float,
    battery_kw: float,
    efficiency: float,
) -> Floats:
    """Climb from ratings that pass to the first cell that fails, and halve it."""
    out = low.copy()
    n_step = headroom.shape[1]
    for k in nb.prange(len(low)):
        above, climbed = high[k], 0
        width = (high[k] - low[k]) / cells
        power = low[k] if battery_kw < 0.0 else battery_kw
        steps = headroom[k].copy()
        count = _keep(steps, n_step, above, battery_kw_steps, power, efficiency)
        while above - out[k] > tolerance or climbed < cells:
            climbed += 1
            rating = low[k] + width * climbed
            if climbed > cells:
                rating = 0.5 * (out[k] + above)
            if _passes(
                steps,
                count,
                rating,
                rating * n_step * (missing_share + 1e-3 * ROUNDING),
                most_steps,
                min_power_share,
                battery_kw_steps,
                battery_kw,
                efficiency,
            ):
                out[k] = max(rating, low[k])
            else:
                above, climbed = rating, cells
                count = _keep(steps, count, above, battery_kw_steps, power, efficiency)
    return out


@nb.njit(cache=True, parallel=True)
def least_in_full(headroom: Headroom, rating: Floats) -> Ints:  # pragma: no cover
    """Return, by load and rating, the step of least headroom that serves it in full."""
    n, n_step = headroom.shape
    out = np.full(rating.shape, -1, dtype=np.int64)
    for k in nb.prange(n):
        for i in range(rating.shape[1]):
            full, least = rating[k, i] * (1.0 - ROUNDING), np.inf
            for t in range(n_step):
                if full <= headroom[k, t] < least:
                    least = headroom[k, t]
                    out[k, i] = t
    return out
