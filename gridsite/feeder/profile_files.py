"""
Files of series in wide form, read without guessing.

A stamp without a zone, a day-first date, a gap, a missing value or a missing
meter is an error.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from gridsite.errors import DataError
from gridsite.feeder.profiles import Profiles, dense_profiles
from gridsite.feeder.series_checks import _check_time, _refuse_missing
from gridsite.untrusted import check_csv, parquet_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ids = Sequence[str] | pd.Index[str]

#: Most steps that a file may hold: a leap year of minutes.
MAX_STEPS = 527_040

_ISO_ZONED = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(Z|[+-]\d\d:?\d\d)"

_DAY_FIRST = r"\d{1,2}[./-]\d{1,2}[./-]\d{2,4}\b.*"


def read_profiles(
    path: str | Path,
    *,
    port_ids: Ids,
    power_factor: float = 0.95,
    time: pd.DatetimeIndex | None = None,
) -> Profiles:
    """
    Read the power of each port from a CSV or Parquet file in wide form.

    Parameters
    ----------
    path : str or pathlib.Path
        First column ``time`` (ISO 8601 with a zone), then one per port. [kW]
    port_ids : sequence of str
        Ports that the file must hold; further columns are not used.
    power_factor : float, default 0.95
        Lagging power factor of all ports (assumption). [-]
    time : pandas.DatetimeIndex, optional
        Steps that the file must have, compared as instants.

    Returns
    -------
    Profiles
        One shape per port, in the order of ``port_ids``.

    Raises
    ------
    DataError
        If a stamp is day-first, has no zone, repeats or leaves a gap, the
        steps are not those of ``time``, a meter is missing or stands twice,
        or a value is missing or no number (with column and first rows).
    """
    table = read_wide(Path(path))
    lost = pd.Index(port_ids).difference(table.columns)
    cure = "check the names, or have meters drawn (--draw, missing = 'drawn')"
    _refuse_missing(lost, f"{path} lacks", cure)
    steps = pd.DatetimeIndex(table.index)
    if time is not None and not steps.equals(time.tz_convert(steps.tz)):
        msg = (
            f"{path}: has {len(steps)} steps from {steps[0]} to {steps[-1]}, the "
            f"study has {len(time)} from {time[0]} to {time[-1]}: use one calendar"
        )
        raise DataError(msg)
    return dense_profiles(steps, table[list(port_ids)], power_factor=power_factor)


def read_wide(path: Path) -> pd.DataFrame:
    """
    Read a table of series, by zoned time.

    Parameters
    ----------
    path : pathlib.Path
        CSV or Parquet file; first column ``time`` (ISO 8601 with a zone).

    Returns
    -------
    pandas.DataFrame, shape (n_step, n_series)
        On its time index, in UTC unless one offset is used.

    Raises
    ------
    DataError
        If it cannot be read, or its steps are not zoned, in order and equal.
    """
    try:
        if path.suffix == ".parquet":
            if (rows := parquet_rows(path)) > MAX_STEPS:
                msg = f"{rows} rows, at most {MAX_STEPS} are read"
                raise ValueError(msg)  # noqa: TRY301
            table = pd.read_parquet(path)
            table = table if "time" in table else table.reset_index()
            names = [str(name) for name in table.columns]
        else:
            check_csv(path)
            with path.open(newline="", encoding="utf-8-sig") as file:
                names = next(csv.reader(file), [])
            table = pd.read_csv(path, nrows=MAX_STEPS + 1, encoding="utf-8-sig")
    except (OSError, ValueError, pa.ArrowException) as error:
        msg = f"{path}: cannot be read as a table of meters: {error}"
        raise DataError(msg) from error
    if names[:1] != ["time"] or not 0 < len(table) <= MAX_STEPS:
        msg = f"{path}: needs a first column 'time' and 1 to {MAX_STEPS} rows"
        raise DataError(msg)
    twice = pd.Index(names)[pd.Index(names).duplicated()]
    if len(twice):
        msg = f"{path}: column(s) {list(twice[:3])} stand twice: name each meter once"
        raise DataError(msg)
    table.index = _stamps(table.pop("time"), path)
    try:
        _check_time(table.index)
    except DataError as error:
        msg = f"{path}: {error}"
        raise DataError(msg) from error
    return table


def _stamps(stamps: pd.Series[Any], path: Path) -> pd.DatetimeIndex:
    """Return time stamps that name their zone."""
    if isinstance(stamps.dtype, pd.DatetimeTZDtype):
        return pd.DatetimeIndex(stamps).as_unit("ns")
    text = stamps.astype(str)
    zone = text.str.extract(f"^{_ISO_ZONED}$", expand=False)
    if zone.isna().any():
        row = int(np.argmax(zone.isna()))
        cure = (
            "write ISO 8601 with a zone, as 2025-01-31T18:00+01:00, or name the zone "
            "of meters (--meter-zone, zone of [profiles.meters])"
        )
        if text.str.fullmatch(_DAY_FIRST).iloc[row]:
            cure = f"day and month may be swapped; {cure}"
        msg = f"{path}: column 'time', row {row}: {text.iloc[row]!r}: {cure}"
        raise DataError(msg)
    try:
        time = pd.to_datetime(text, utc=len(set(zone)) > 1)
    except ValueError as error:
        msg = f"{path}: column 'time' is no date: {error}"
        raise DataError(msg) from error
    return pd.DatetimeIndex(time).as_unit("ns")
