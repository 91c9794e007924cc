"""A year of load from a few shapes, shifted by weeks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.errors import DataError
from gridsite.feeder.profiles import Profiles
from gridsite.feeder.series_checks import (
    _check_ids,
    _check_time,
    _index,
    _numbers,
    _refuse_missing,
    _tan_phi,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ids = Sequence[str] | pd.Index[str]

#: Most distinct shapes that shifting by weeks makes.
MAX_SHAPES = 100

#: Most shifts of a shape.
MAX_SHIFTS = 13


def shape_profiles(
    shapes: pd.DataFrame,
    *,
    port_ids: Ids,
    annual_kwh: float | pd.Series[float],
    power_factor: float,
    seed: int,
    shift_weeks: bool = True,
    full_load_hours: pd.Series[float] | None = None,
) -> Profiles:
    r"""
    Return a year of load in which ports share a few shapes, shifted by weeks.

    Each port draws a shape and a shift of :math:`w` weeks. Within its season
    (December to February, March to May, and so on) a day then takes the place
    of the :math:`w`-th next day of the same weekday, in a circle: season,
    weekday, hour and the energy of a shape stay, and the few shapes no longer
    peak together. The scale is :math:`s_k = E_k / h_{c(k)}`, annual energy
    over full-load hours.

    Parameters
    ----------
    shapes : pandas.DataFrame, shape (n_step, n_shape)
        One year of shapes, by zoned time, in any one unit. [-]
    port_ids : sequence of str
        Ports to be given a shape.
    annual_kwh : float or pandas.Series of float, by port id
        Energy of a port in the year. [kWh]
    power_factor : float
        Lagging power factor of all ports. [-]
    seed : int
        Seed of the draw, which does not depend on the order of the ports.
    shift_weeks : bool, default True
        Whether to shift; without it all ports of a shape peak together.
    full_load_hours : pandas.Series of float, by shape, optional
        Hours at value 1 that carry the annual energy; the integral of the
        shape without it. Give it where steps are not means: hourly maxima
        hold more energy than the meter counts. [h]

    Returns
    -------
    Profiles
        At most ``MAX_SHAPES`` shapes, unless there were more to begin with.

    Raises
    ------
    DataError
        If the shapes are not one year, a value is missing or negative, or a
        port or shape has no energy.

    Notes
    -----
    The days are those of the shape; the week they fall on is generated. Days
    and hours are those of the index's own zone. Holidays are not kept apart.

    Examples
    --------
    >>> time = pd.date_range("2025-01-01", periods=8760, freq="h", tz="UTC")
    >>> shapes = pd.DataFrame({"flat": 1.0}, time)
    >>> load = shape_profiles(
    ...     shapes, port_ids=["a"], annual_kwh=8760.0, power_factor=1.0, seed=1
    ... )
    >>> float(load.total_kw().max())
    1.0
    """
    ids = _index(port_ids)
    _check_ids(ids)
    _check_time(shapes.index)
    time = pd.DatetimeIndex(shapes.index)
    values = _numbers(shapes, "shapes").T
    hours = _year_hours(time, values, shapes.columns, full_load_hours)
    if not isinstance(annual_kwh, pd.Series):
        annual_kwh = pd.Series(annual_kwh, ids, dtype=float)
    energy = _aligned(annual_kwh, ids, "annual_kwh")
    n_shape = len(values)
    n_shift = max(1, min(MAX_SHIFTS, MAX_SHAPES // n_shape)) if shift_weeks else 1
    source = _week_shifts(time, n_shift)
    rng, rank = np.random.default_rng(seed), ids.argsort().argsort()
    shape = rng.integers(n_shape, size=len(ids))[rank]
    shift = rng.integers(n_shift, size=len(ids))[rank]
    scale = energy / hours[shape]
    rolled = values[:, source].reshape(n_shape * n_shift, -1)
    return Profiles(
        time=time,
        port_ids=ids,
        p_shapes=rolled,
        q_shapes=rolled,
        shape_of_port=shape * n_shift + shift,
        p_scale_kw=scale,
        q_scale_kvar=scale * _tan_phi(power_factor),
    )


def _week_shifts(time: pd.DatetimeIndex, n_shift: int) -> NDArray[np.intp]:
    """Return by shift the step that each step takes its value from."""
    step = np.arange(len(time))
    day, _ = pd.factorize(time.normalize())
    first = np.flatnonzero(np.diff(day, prepend=-1))
    clock = time[first]
    kind = pd.DataFrame(
        {
            "season": clock.month % 12 // 3,
            "weekday": clock.weekday,
            "start": clock - clock.normalize(),
            "length": np.bincount(day),
        }
    )
    days_of_kind = kind.groupby(list(kind)).indices.values()
    source = np.empty((n_shift, len(first)), dtype=np.intp)
    for days in days_of_kind:
        for weeks in range(n_shift):
            source[weeks, days] = np.roll(days, weeks)
    return first[source][:, day] + (step - first[day])


def _year_hours(
    time: pd.DatetimeIndex,
    values: Floats,
    names: pd.Index[str],
    full_load_hours: pd.Series[float] | None,
) -> Floats:
    """Return the full-load hours of each shape of a checked year."""
    step = (time[-1] - time[0]) / pd.Timedelta(hours=1) / max(1, len(time) - 1)
    if not (len(values) and 8760.0 <= step * len(time) <= 8784.0):
        msg = f"{len(values)} shape(s) over {step * len(time):.0f} h: give one year"
        raise DataError(msg)
    hours: Floats = values.sum(axis=1) * step
    if full_load_hours is not None:
        hours = _aligned(full_load_hours, names, "full_load_hours")
    bad = names[~(hours > 0.0) | (values.min(axis=1) < 0.0)]
    if len(bad):
        msg = f"shape(s) {list(bad[:3])} are negative somewhere or have no energy"
        raise DataError(msg)
    return hours


def _aligned(values: pd.Series[float], names: pd.Index[str], what: str) -> Floats:
    """Return one value of 0 or more per name, refusing missing and double ones."""
    _refuse_missing(names.difference(values.index), f"{what} lacks")
    found = values[values.index.isin(names)]
    bad = found.index[found.index.duplicated() | ~(found >= 0.0)]
    _refuse_missing(bad, f"{what} must be one value of 0 or more for")
    return np.asarray(values.loc[names], dtype=np.float64)
