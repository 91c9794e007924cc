r"""
Flexible capacity: what a unit may be rated for if it is curtailed at times.

Everything here follows from the headroom :math:`h_t` of a connection at each
step. A unit of rating :math:`P` draws :math:`\min(P, h_t)`; where that is less
than :math:`P` it is curtailed. With the share :math:`s` of a level,

- by energy: the largest :math:`P` with
  :math:`\sum_t \min(P, h_t) \ge s\,P\,T`;
- by hours: the largest :math:`P \le h_t` in at least :math:`s\,T` steps.

At level 1 both are the least headroom, the firm capacity; always firm <= hours
<= energy. Columns are named by level: whole percents, then decimals
(``flexible_energy98_kw``, ``flexible_hours999_kw`` at 99.9 %).

**Units that pause** below ``min_power_share`` of their rating serve nothing at
such a step. **A battery** is charged from headroom that the unit leaves over,
with all losses on charging, and discharged as soon as the unit is short; it
starts empty, the safe side. A unit that would still be below its least power
pauses, and its battery charges. Such ratings are searched:

- Without a battery the share served of a step is
  :math:`\min(1, h_t/P)`, or 0 below ``min_power_share``: it never rises with P.
- With a battery and a unit that throttles to 0, discharging at once serves the
  most energy there is, so the energy served is the value of a linear programme
  with P on its right-hand side: concave in P, 0 at 0, and the share falls. The
  charge left at each step falls with P, and with it the steps served in full.
- With both, a smaller unit may be served worse than a larger one (it uses up
  the battery where the larger one pauses). The search then climbs from what
  passes without the battery, in `CELLS` equal parts, and stops at the first that
  fails: what it returns passes, larger ratings that pass may exist.

Every searched rating passes itself and lies at most ``tolerance_kw`` below one
that does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gridsite.errors import ConfigError
from gridsite.hosting.curtailment import Throttling, blocks
from gridsite.hosting.flexible_kernels import energy_ratings, search_ratings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    #: float32 or float64, not copied as a whole
    Headroom = NDArray[Any]

#: Shares of energy, and of steps, that are reported.
LEVELS = (1.0, 0.999, 0.99, 0.98, 0.95)

#: Parts of the search where the share need not fall with the rating.
CELLS = 16


def level_name(level: float) -> str:
    """
    Return a level as it stands in column names.

    Parameters
    ----------
    level : float
        Share of energy, or of steps, from 0.5 to 1. [-]

    Returns
    -------
    str
        Whole percents, then decimals without a point.

    Raises
    ------
    ConfigError
        If the level is out of range.

    Examples
    --------
    >>> [level_name(level) for level in LEVELS]
    ['100', '999', '99', '98', '95']
    """
    if not 0.5 <= level <= 1.0:
        msg = f"a level must be a share from 0.5 to 1, got {level!r}; 98 % is 0.98"
        raise ConfigError(msg)
    return f"{100.0 * level:.10g}".replace(".", "")


def energy_rating(headroom_kw: Headroom, share: float) -> Floats:
    r"""
    Return the largest rating whose energy is served to a given share.

    The largest :math:`P` with :math:`\sum_t \min(P, h_t) \ge s\,P\,T`. The
    difference of both sides is concave and piecewise linear in :math:`P`, so
    Newton steps from above end at its largest root.

    Parameters
    ----------
    headroom_kw : numpy.ndarray, shape (n, n_step)
        Headroom at each step, 0 or more. [kW]
    share : float
        Share :math:`s` of energy, in (0, 1]. [-]

    Returns
    -------
    numpy.ndarray, shape (n,)
        Ratings. [kW]

    Raises
    ------
    ConfigError
        If the share is out of range.
    DataError
        If a headroom is missing, negative or infinite.

    Examples
    --------
    >>> energy_rating(np.array([[1.0, 2.0, 4.0, 4.0]]), 0.75)
    array([3.])
    """
    _check_share(share)
    out = np.empty(len(headroom_kw))
    for rows, block in blocks(headroom_kw):
        out[rows] = _energy(block, share)
    return out


def hours_rating(headroom_kw: Headroom, share: float) -> Floats:
    """
    Return the largest rating served in full in a given share of steps.

    Parameters
    ----------
    headroom_kw : numpy.ndarray, shape (n, n_step)
        Headroom at each step, 0 or more. [kW]
    share : float
        Share of steps, in (0, 1]. [-]

    Returns
    -------
    numpy.ndarray, shape (n,)
        Ratings. [kW]

    Raises
    ------
    ConfigError
        If the share is out of range.
    DataError
        If a headroom is missing, negative or infinite.

    Examples
    --------
    >>> hours_rating(np.array([[1.0, 2.0, 4.0, 4.0]]), 0.75)
    array([2.])
    """
    _check_share(share)
    out = np.empty(len(headroom_kw))
    for rows, block in blocks(headroom_kw):
        out[rows] = _hours(block, [share])[0]
    return out


def flexible_ratings(
    headroom_kw: Headroom,
    step_hours: float,
    *,
    levels: Sequence[float] = LEVELS,
    min_power_share: float = 0.0,
    battery_kwh: float = 0.0,
    battery_kw: float | None = None,
    battery_efficiency: float = 0.9,
    tolerance_kw: float = 1e-3,
) -> pd.DataFrame:
    """
    Return flexible capacity by energy and by hours at several levels.

    Parameters
    ----------
    headroom_kw : numpy.ndarray, shape (n, n_step)
        Headroom at each step, 0 or more. [kW]
    step_hours : float
        Length of a step. [h]
    levels : sequence of float, default `LEVELS`
        Shares of energy, and of steps, that must be served. [-]
    min_power_share : float, default 0.0
        Share of its rating below which a unit pauses. [-]
    battery_kwh : float, default 0.0
        Energy that the battery can give. [kWh]
    battery_kw : float, optional
        Power of the battery, both ways; the unit's rating without it. [kW]
    battery_efficiency : float, default 0.9
        Energy given over energy charged (assumption). [-]
    tolerance_kw : float, default 1e-3
        Width of the search where there is no closed form. [kW]

    Returns
    -------
    pandas.DataFrame, shape (n, 2 x levels)
        Columns ``flexible_energy98_kw``, ``flexible_hours98_kw`` and so on, in
        the order of the levels, named by `level_name`. [kW]

    Raises
    ------
    ConfigError
        If an option is out of range, or two levels are the same.
    DataError
        If a headroom is missing, negative or infinite.

    Examples
    --------
    >>> flexible_ratings(np.array([[1.0, 2.0, 4.0, 4.0]]), 1.0, levels=[1.0, 0.75])
       flexible_energy100_kw  ...  flexible_hours75_kw
    0                    1.0  ...                  2.0
    <BLANKLINE>
    [1 rows x 4 columns]
    """
    unit = Throttling(
        step_hours=step_hours,
        min_power_share=min_power_share,
        battery_kwh=battery_kwh,
        battery_kw=battery_kw,
        battery_efficiency=battery_efficiency,
    )
    names = [level_name(level) for level in levels]
    if len(set(names)) < len(names) or not names or not tolerance_kw > 0.0:
        msg = f"give levels once each and a tolerance above 0, got {levels!r}"
        raise ConfigError(msg)
    strict_first = np.argsort(levels)[::-1]
    out = np.empty((len(levels), 2, len(headroom_kw)))
    for rows, block in blocks(headroom_kw):
        hours = _hours(block, levels)
        reached = np.zeros((3, len(block)))  # what passes at the stricter level
        for i in strict_first:
            share = float(levels[i])
            reached = _rate(block, share, hours[i], reached, unit, tolerance_kw)
            out[i, :, rows] = reached[:2]
    columns = [f"flexible_{kind}{n}_kw" for n in names for kind in ("energy", "hours")]
    return pd.DataFrame(out.reshape(len(columns), -1).T, columns=columns)


def _rate(
    block: Headroom,
    share: float,
    hours: Floats,
    stricter: Floats,
    unit: Throttling,
    tolerance_kw: float,
) -> Floats:
    """Return ratings by energy, by hours, and by energy of a unit without a floor."""
    n_step, whole, width = block.shape[1], 1.0 - share, tolerance_kw
    free, own = unit.numbers(0.0), unit.numbers(unit.min_power_share)
    floor, battery = unit.min_power_share > 0.0, unit.battery_kwh > 0.0
    cells = CELLS if battery and floor else 1
    throttled = np.maximum(_energy(block, share), hours)
    if battery:
        low = np.maximum(throttled, stricter[2])
        high = block.mean(axis=1, dtype=np.float64) / share
        throttled = search_ratings(block, low, high, whole, n_step, 1, width, *free)
    high = throttled + width
    if battery:
        low, skipped = np.maximum(hours, stricter[1]), _skipped(share, n_step)
        hours = search_ratings(block, low, high, 1.0, skipped, cells, width, *own)
    energy = np.maximum(throttled, hours)
    if floor:
        low, alone = np.maximum(hours, stricter[0]), (own[0], 0.0, 0.0, 1.0)
        energy = search_ratings(block, low, high, whole, n_step, 1, width, *alone)
    if floor and battery:  # which never serves less at a step than none
        energy = search_ratings(block, energy, high, whole, n_step, cells, width, *own)
    return np.stack([energy, hours, throttled])


def _energy(block: Headroom, share: float) -> Floats:
    out: Floats
    if share == 1.0:
        out = block.min(axis=1).astype(np.float64)
    else:
        out = energy_ratings(block, share)
    return out


def _skipped(share: float, n_step: int) -> int:
    """Return how many steps need not be served in full."""
    return int(np.floor((1.0 - share) * n_step + 1e-9))


def _hours(block: Headroom, levels: Sequence[float]) -> Floats:
    """Return the least headroom of the steps served in full, by level."""
    skipped = [_skipped(level, block.shape[1]) for level in levels]
    ordered = np.partition(block, sorted(set(skipped)), axis=1)
    return ordered[:, skipped].T.astype(np.float64)


def _check_share(share: float) -> None:
    if not 0.0 < share <= 1.0:
        msg = f"share must be in (0, 1], got {share!r}; 98 % is 0.98"
        raise ConfigError(msg)
