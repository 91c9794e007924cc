r"""
A year as 576 typical hours: 12 months x 24 hours x a low and a high day.

Utilities publish load hosting capacity for such hours, of a load that is
typically low (10th percentile) and typically high (90th percentile) for the
month and the hour. Here the steps of a month and hour of day are ordered by the
feeder's total load; with :math:`n` of them, the step of rank
:math:`\lceil 0.1 n \rceil` is the typical-low one and that of rank
:math:`\lceil 0.9 n \rceil` the typical-high one. Both are steps of the year, in
which all customers draw what they drew then: percentiles taken customer by
customer would add up to a load that no hour had. *Classed* low or high are all
steps at or below the one, at or above the other.

Months and hours are those of the local standard time of the profile's zone; in
summer time an hour of day would stand for two different hours of sun and habit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta, timezone
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gridsite.feeder.profiles import Profiles

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: What a run on typical hours says of itself.
TYPICAL_NOTE = (
    "steps: 576 typical hours (10th and 90th percentile of load by month and hour), "
    "labelled from 1970-01-01: January low, January high, February low, ...; "
    "capacities of the year may be lower"
)

#: Names of the typical days, and the share of steps at or below their load.
DAY_TYPES = {"low": 0.1, "high": 0.9}


@dataclass(frozen=True, kw_only=True, eq=False)
class TypicalHour:
    """
    One of the 576 typical hours.

    Attributes
    ----------
    month : int
        From 1 to 12.
    day_type : {"low", "high"}
        Of the two typical days.
    hour : int
        Of the day in local standard time, from 0 to 23.
    step : int
        Position of the typical step.
    classed : numpy.ndarray of int
        Positions of all steps that are classed so, `step` among them.
    """

    month: int
    day_type: str
    hour: int
    step: int
    classed: Ints


def standard_time(time: pd.DatetimeIndex) -> pd.DatetimeIndex:
    """
    Return stamps in the local standard time of their zone.

    Parameters
    ----------
    time : pandas.DatetimeIndex
        Stamps with a zone.

    Returns
    -------
    pandas.DatetimeIndex
        The same instants at the zone's offset without summer time, that of the
        first stamp.

    Raises
    ------
    DataError
        If the stamps have no zone.

    Examples
    --------
    >>> july = pd.DatetimeIndex(["2025-07-01T12:00"], tz="Europe/Berlin")
    >>> standard_time(july)[0].isoformat()
    '2025-07-01T11:00:00+01:00'
    """
    if time.tz is None or not len(time):
        msg = "time has no zone or no steps; give stamps with a zone"
        raise DataError(msg)
    first = time[0]
    summer = first.dst() or timedelta(0)
    offset = (first.utcoffset() or timedelta(0)) - summer
    return time.tz_convert(timezone(offset))


def are_typical(time: pd.DatetimeIndex) -> bool:
    """
    Return whether stamps are the labels of the 576 typical hours.

    Parameters
    ----------
    time : pandas.DatetimeIndex
        Stamps of a profile.

    Returns
    -------
    bool
        True for 576 stamps from 1970-01-01 on, which no metered year has.
    """
    return len(time) == 576 and time[0].year == 1970


def typical_hours(time: pd.DatetimeIndex, load_kw: Floats) -> list[TypicalHour]:
    """
    Return which steps of a year stand for each typical hour.

    Parameters
    ----------
    time : pandas.DatetimeIndex, shape (n_step,)
        Start of each step, with a zone; steps of at most an hour.
    load_kw : numpy.ndarray, shape (n_step,)
        Total load of the feeder. [kW]

    Returns
    -------
    list of TypicalHour
        576 of them by month, low before high, and hour.

    Raises
    ------
    DataError
        If a load is missing, lengths differ, or a month has no step at some
        hour of the day.

    Examples
    --------
    >>> time = pd.date_range("2025-01-01", periods=8760, freq="h", tz="UTC")
    >>> hours = typical_hours(time, np.arange(8760.0))
    >>> len(hours), hours[0].step // 24, hours[24].step // 24
    (576, 3, 27)
    """
    load = np.asarray(load_kw, dtype=np.float64)
    if load.shape != time.shape or not np.isfinite(load).all():
        msg = (
            f"load_kw has shape {load.shape} for {len(time)} steps, or a value is "
            "missing; give the feeder's total load at every step"
        )
        raise DataError(msg)
    local = standard_time(time)
    slot = (local.month.to_numpy() - 1) * 24 + local.hour.to_numpy()
    count = np.bincount(slot, minlength=288)
    if (count == 0).any():
        empty = int(np.argmax(count == 0))
        msg = (
            f"no step in month {empty // 24 + 1} at {empty % 24:02d}:00 local standard "
            f"time ({(count == 0).sum()} such hours); typical days need a whole year "
            "of steps of at most an hour"
        )
        raise DataError(msg)
    ordered = np.split(np.lexsort((load, slot)), np.cumsum(count)[:-1])
    out = []
    for month in range(12):
        for day_type in DAY_TYPES:
            for hour in range(24):
                steps = ordered[month * 24 + hour]
                step, classed = _classed(steps, load[steps], day_type)
                out.append(
                    TypicalHour(
                        month=month + 1,
                        day_type=day_type,
                        hour=hour,
                        step=step,
                        classed=classed,
                    )
                )
    return out


def typical_steps(profiles: Profiles) -> Profiles:
    """
    Return the 576 typical hours of a year of profiles.

    Parameters
    ----------
    profiles : Profiles
        A whole year in steps of at most an hour.

    Returns
    -------
    Profiles
        576 steps of an hour. A typical day has no date, so they are labelled
        as 24 days from 1970-01-01 in local standard time: January low, January
        high, February low, and so on. Steps shorter than an hour keep their
        value, which a mean over the hour would lower.

    Raises
    ------
    DataError
        If the profiles are not a whole year, or their steps longer than an hour.

    Notes
    -----
    Higher loads than the typical-high ones are left out. A capacity found on
    these steps is not that of the year, and mostly above it.

    Examples
    --------
    >>> from gridsite.feeder.profiles import dense_profiles
    >>> time = pd.date_range("2025-01-01", periods=8760, freq="h", tz="UTC")
    >>> p_kw = pd.DataFrame({"a": np.arange(8760.0)})
    >>> typical = typical_steps(dense_profiles(time, p_kw, power_factor=1.0))
    >>> typical.total_kw()[[0, 24, -1]]
    array([  72.,  648., 8687.])
    """
    hours = typical_hours(profiles.time, profiles.total_kw())
    steps = np.array([hour.step for hour in hours])
    zone = standard_time(profiles.time).tz
    return replace(
        profiles,
        time=pd.date_range("1970-01-01", periods=len(steps), freq="h", tz=zone),
        p_shapes=np.ascontiguousarray(profiles.p_shapes[:, steps]),
        q_shapes=np.ascontiguousarray(profiles.q_shapes[:, steps]),
    )


def _classed(steps: Ints, load: Floats, day_type: str) -> tuple[int, Ints]:
    """Return the typical step of ordered ones, and all that are classed with it."""
    rank = int(np.ceil(DAY_TYPES[day_type] * len(steps) - 1e-9)) - 1
    chosen = load <= load[rank] if day_type == "low" else load >= load[rank]
    return int(steps[rank]), np.sort(steps[chosen])
