"""Outdoor temperature, and what cooling makes a unit draw because of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.errors import DataError
from gridsite.feeder.profile_files import read_wide

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

#: Outdoor air temperatures ever measured on Earth lie within. [degC]
_COLDEST_C, _HOTTEST_C = -90.0, 60.0


def join_ambient(ambient_c: pd.Series[float], time: pd.DatetimeIndex) -> Floats:
    """
    Return the temperature at each step of a study, joined exactly on UTC.

    Parameters
    ----------
    ambient_c : pandas.Series of float, by zoned time
        Outdoor temperature. [degC]
    time : pandas.DatetimeIndex, shape (n_step,)
        Start of each step of the study.

    Returns
    -------
    numpy.ndarray, shape (n_step,)
        Temperature. [degC]

    Raises
    ------
    DataError
        If the series has no zone, other steps than the study, or a value that
        is missing or no outdoor temperature.

    Examples
    --------
    >>> time = pd.date_range("2025-07-01", periods=2, freq="h", tz="UTC")
    >>> series = pd.Series([20.0, 21.5], time.tz_convert("Europe/Berlin"))
    >>> join_ambient(series, time)
    array([20. , 21.5])
    """
    steps = ambient_c.index
    if not isinstance(steps, pd.DatetimeIndex) or steps.tz is None:
        msg = "temperature: the series has no zoned time; give time stamps with a zone"
        raise DataError(msg)
    if not steps.tz_convert("UTC").equals(time.tz_convert("UTC")):
        span = f" from {steps[0]} to {steps[-1]}" if len(steps) else ""
        msg = (
            f"temperature: has {len(steps)} steps{span}, the study has {len(time)} "
            f"from {time[0]} to {time[-1]}: use one calendar"
        )
        raise DataError(msg)
    values: Floats = np.asarray(ambient_c, dtype=float)
    bad = np.flatnonzero(~((values >= _COLDEST_C) & (values <= _HOTTEST_C)))
    if len(bad):
        msg = (
            f"temperature: {len(bad)} value(s) are missing or not within "
            f"{_COLDEST_C:g} to {_HOTTEST_C:g} degC, first at "
            f"{[str(steps[i]) for i in bad[:3]]}; give degrees Celsius"
        )
        raise DataError(msg)
    return values


def read_ambient(path: str | Path, time: pd.DatetimeIndex) -> Floats:
    """
    Read the outdoor temperature of each step of a study.

    Parameters
    ----------
    path : str or pathlib.Path
        CSV or Parquet file: ``time`` (ISO 8601 with a zone), ``ambient_c``. [degC]
    time : pandas.DatetimeIndex, shape (n_step,)
        Start of each step of the study.

    Returns
    -------
    numpy.ndarray, shape (n_step,)
        Temperature. [degC]

    Raises
    ------
    DataError
        If the file has no such columns, other steps than the study, or a value that
        is missing or no outdoor temperature.
    """
    table = read_wide(Path(path))
    if "ambient_c" not in table:
        msg = f"{path}: has no column 'ambient_c', only {list(table.columns[:5])}"
        raise DataError(msg)
    values = pd.to_numeric(table["ambient_c"], errors="coerce")
    try:
        return join_ambient(values, time)
    except DataError as error:
        msg = f"{path}: {error}"
        raise DataError(msg) from error


def pue_of_temperature(
    ambient_c: ArrayLike, *, table: Sequence[tuple[float, float]]
) -> Floats:
    """
    Return power usage effectiveness, linear between the points of a table.

    Parameters
    ----------
    ambient_c : array-like of float, shape (n_step,)
        Outdoor temperature. [degC]
    table : sequence of (float, float)
        Temperature [degC] and PUE, by rising temperature, covering all of
        ``ambient_c``.

    Returns
    -------
    numpy.ndarray, shape (n_step,)
        PUE, at least 1. [-]

    Raises
    ------
    DataError
        If the table does not rise, has a PUE below 1, or does not cover a
        temperature: nothing is extrapolated.

    Examples
    --------
    >>> pue_of_temperature([10.0, 35.0], table=[(-20, 1.05), (30, 1.05), (40, 1.15)])
    array([1.05, 1.1 ])
    """
    at, pue = np.asarray(table, dtype=float).reshape(-1, 2).T
    if not len(at) or not (np.diff(at) > 0.0).all() or not (pue >= 1.0).all():
        msg = (
            f"PUE: table {list(table)} needs rising temperatures and PUE of at least 1"
        )
        raise DataError(msg)
    values = np.asarray(ambient_c, dtype=float)
    if not ((values >= at[0]) & (values <= at[-1])).all():
        msg = (
            f"PUE: temperatures from {np.min(values):g} to {np.max(values):g} degC are "
            f"not within the table's {at[0]:g} to {at[-1]:g}; add points"
        )
        raise DataError(msg)
    out: Floats = np.interp(values, at, pue)
    return out
