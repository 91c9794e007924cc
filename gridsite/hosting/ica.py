"""
The 576-hour table of load hosting capacity, in the columns utilities publish.

Californian integration capacity analyses state load capacity for 12 months x 24
hours x a day of typically low and one of typically high load. Here a year of
headroom is condensed to such hours, on the safe side: ``load_hc_kw`` of a month,
hour and day type is the *least* headroom among all steps whose load is classed
so (`gridsite.feeder.typical_days`): at or below the 10th percentile of the
feeder's load, at or above the 90th. The peak of the year is thus among the high
days, which a percentile of load alone would leave out. Steps between the two
classes are in neither, so the least value of the table may lie above ``firm_kw``
(and below it by rounding to float32 alone): plan by ``firm_kw``, read the table
for when there is room.

From the headroom alone the limit is known at the step that sets the firm capacity,
and at all hours of a connection that has no capacity at any step. A rating's own
table (`gridsite.hosting.ica_limits`) searches every value again in AC power flow,
and names the limit that stops it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gridsite.errors import ConfigError, DataError
from gridsite.feeder.typical_days import typical_hours
from gridsite.hosting.envelope_dataset import envelope_time
from gridsite.untrusted import csv_safe

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterator
    from typing import Any

    import xarray as xr
    from numpy.typing import NDArray

    from gridsite.feeder.model import Feeder
    from gridsite.feeder.profiles import Profiles
    from gridsite.feeder.typical_days import TypicalHour

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: Columns of the table, in their order.
COLUMNS = (
    "building_id",
    "port_id",
    "feeder_id",
    "month",
    "day_type",
    "hour",
    "load_hc_kw",
    "most_limiting_criterion",
    "limiting_element",
    "limiting_time",
    "analysis_date",
    "status",
)

#: Connections that are condensed together.
_BLOCK = 64

#: Statuses with a value at every step.
_RATED = ("ok", "censored")


def ica_table(
    headroom_kw: NDArray[Any],
    hosting: pd.DataFrame,
    *,
    time: pd.DatetimeIndex,
    load_kw: Floats,
    analysis_date: dt.date,
) -> pd.DataFrame:
    """
    Return the 576-hour table of some connections of one feeder.

    Parameters
    ----------
    headroom_kw : numpy.ndarray, shape (n, n_step)
        Headroom at each step; rows without a value are not looked at. [kW]
    hosting : pandas.DataFrame, shape (n, ...)
        Contract ``hosting``, in the order of ``headroom_kw``.
    time : pandas.DatetimeIndex, shape (n_step,)
        Start of each step, with a zone: a whole year.
    load_kw : numpy.ndarray, shape (n_step,)
        Total load of the feeder, which classes the steps. [kW]
    analysis_date : datetime.date
        Day of the analysis.

    Returns
    -------
    pandas.DataFrame, shape (576 n, 12)
        `COLUMNS`; month from 1, hour from 0 in local standard time, ``day_type``
        ``low`` or ``high``. ``limiting_time`` is the step that holds the value,
        ``status`` that of flexible capacity, which like the table looks at steps
        singly. Missing where the status has no value. [kW]

    Raises
    ------
    DataError
        If a headroom of a rated connection is missing or negative, sizes do not
        fit, a ``limit_time`` is no step, or the time is not a whole year.

    Examples
    --------
    >>> import datetime as dt
    >>> time = pd.date_range("2025-01-01", periods=8760, freq="h", tz="UTC")
    >>> row = dict.fromkeys(["building_id", "port_id", "feeder_id"], "a")
    >>> hosting = pd.DataFrame(
    ...     [row | {"flexible_status": "ok", "limit_time": time[18]}]
    ... ).assign(limit_criterion="voltage", limit_element="bus 7")
    >>> load = np.where(np.arange(8760) == 18, 9.0, 1.0)
    >>> table = ica_table(
    ...     10.0 - load[None, :],
    ...     hosting,
    ...     time=time,
    ...     load_kw=load,
    ...     analysis_date=dt.date(2026, 1, 31),
    ... )
    >>> table.loc[[17, 42], ["month", "day_type", "hour", "load_hc_kw"]]
        month day_type  hour  load_hc_kw
    17      1      low    17         9.0
    42      1     high    18         1.0
    >>> table.loc[[17, 42], "most_limiting_criterion"].tolist()
    ['', 'voltage']
    """
    hours = typical_hours(time, load_kw)
    rated = hosting["flexible_status"].isin(_RATED).to_numpy()
    if headroom_kw.shape != (len(hosting), len(time)):
        msg = (
            f"headroom_kw has shape {headroom_kw.shape}, needed is "
            f"{(len(hosting), len(time))}: connections x steps"
        )
        raise DataError(msg)
    least = headroom_kw.min(axis=1, initial=np.inf)
    if not (least[rated] >= 0.0).all():
        name = hosting["building_id"].to_numpy()[rated & ~(least >= 0.0)][0]
        msg = f"headroom_kw of {name!r} is missing or negative, though it is rated"
        raise DataError(msg)
    bound = _bound_step(hosting, time)
    value, step = _least(headroom_kw, hours, bound)
    broken = (hosting["flexible_status"] == "none_base_violation").to_numpy()
    value[~rated], step[~rated] = np.nan, -1
    value[broken], step[broken] = 0.0, bound[broken, None]
    known = (step == bound[:, None]) & (bound >= 0)[:, None]
    known |= broken[:, None]
    free = (hosting["flexible_status"] == "censored").to_numpy()
    step[free[:, None] & (value > 0.0)] = -1
    return _table(hosting, hours, value, step, known, time, analysis_date)


def feeder_loads(feeder: Feeder, profiles: Profiles) -> pd.DataFrame:
    """
    Return the total load of each feeder at every step.

    Parameters
    ----------
    feeder : Feeder
        The electrical model, whose parts are feeders of their own.
    profiles : Profiles
        What customers draw, less what they feed in.

    Returns
    -------
    pandas.DataFrame, shape (n_step, n_feeder)
        One column by ``feeder_id``, on the steps of the profiles. [kW]
    """
    at = feeder.ports.loc[profiles.port_ids, "feeder_id"]
    parts = {
        str(name): profiles.select(pd.Index(ports)).total_kw()
        for name, ports in at.groupby(at).groups.items()
    }
    return pd.DataFrame(parts, index=profiles.time)


def write_ica(
    path: str | Path,
    envelope: xr.Dataset,
    hosting: pd.DataFrame,
    loads: pd.DataFrame,
    *,
    analysis_date: dt.date,
    confirm: Callable[[pd.DataFrame], pd.DataFrame] | None = None,
) -> Path:
    """
    Write the 576-hour table of an envelope, a block of connections at a time.

    Parameters
    ----------
    path : str or pathlib.Path
        ``.parquet`` or ``.csv``.
    envelope : xarray.Dataset
        As from `gridsite.hosting.envelope_dataset.read_envelope`.
    hosting : pandas.DataFrame
        Contract ``hosting``, with every connection of the envelope.
    loads : pandas.DataFrame, shape (n_step, n_feeder)
        Total load by ``feeder_id``, as from `feeder_loads`. [kW]
    analysis_date : datetime.date
        Day of the analysis.
    confirm : callable, optional
        Takes the table of a block of connections of one feeder, returns it with
        values that AC power flow confirms.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    ConfigError
        If the file is neither ``.parquet`` nor ``.csv``.
    DataError
        If a connection is not in ``hosting``, a feeder has no load, or the steps
        differ.
    """
    path = Path(path)
    if path.suffix not in {".parquet", ".csv"}:
        msg = f"{path}: write the 576-hour table as .parquet or .csv"
        raise ConfigError(msg)
    writer: pq.ParquetWriter | None = None
    first = True
    for estimate in _tables(envelope, hosting, loads, analysis_date):
        table = estimate if confirm is None else confirm(estimate)
        if path.suffix == ".csv":
            plain = csv_safe(table, table.select_dtypes(object).columns)
            plain.to_csv(path, mode="w" if first else "a", header=first, index=False)
        else:
            rows = pa.Table.from_pandas(table, preserve_index=False)
            if writer is None:
                writer = pq.ParquetWriter(path, rows.schema)
            writer.write_table(rows)
        first = False
    if writer is not None:
        writer.close()
    return path


def _tables(
    envelope: xr.Dataset,
    hosting: pd.DataFrame,
    loads: pd.DataFrame,
    analysis_date: dt.date,
) -> Iterator[pd.DataFrame]:
    """Return the tables of blocks of connections, feeder by feeder."""
    time = envelope_time(envelope)
    steps = pd.DatetimeIndex(loads.index)
    if steps.tz is None or len(steps) != len(time) or (steps != time).any():
        msg = f"loads have {len(steps)} steps, the envelope {len(time)}: use its steps"
        raise DataError(msg)
    ids = pd.MultiIndex.from_arrays(
        [envelope[name].to_numpy() for name in ("building_id", "port_id")]
    )
    table = hosting.set_index(["building_id", "port_id"], drop=False)
    row = table.index.get_indexer(ids)
    if (row < 0).any():
        msg = f"hosting lacks connection {ids[row < 0][0]} of the envelope"
        raise DataError(msg)
    feeders = envelope["feeder_id"].to_numpy()
    for name in pd.unique(feeders):
        if name not in loads:
            msg = f"loads have no column for feeder {str(name)!r}; use feeder_loads"
            raise DataError(msg)
        at = np.flatnonzero(feeders == name)
        for start in range(0, len(at), _BLOCK):
            rows = at[start : start + _BLOCK]
            yield ica_table(
                envelope["headroom_kw"][rows].to_numpy(),
                table.iloc[row[rows]],
                time=time,
                load_kw=loads[name].to_numpy(dtype=float),
                analysis_date=analysis_date,
            )


def _bound_step(hosting: pd.DataFrame, time: pd.DatetimeIndex) -> Ints:
    """Return the step that sets the firm capacity; -1 where none is named."""
    named = hosting["limit_time"].notna().to_numpy()
    step = np.full(len(hosting), -1)
    if named.any():
        stamps = pd.DatetimeIndex(
            pd.to_datetime(hosting["limit_time"][named], utc=True)
        )
        step[named] = time.get_indexer(stamps)
    lost = named & (step < 0)
    if lost.any():
        first = hosting["limit_time"].to_numpy()[lost][0]
        msg = f"hosting: limit_time {first} is no step of the envelope; use one run"
        raise DataError(msg)
    return step.astype(np.int64)


def _least(
    headroom_kw: NDArray[Any], hours: list[TypicalHour], bound: Ints
) -> tuple[Floats, Ints]:
    """Return the least headroom of each hour's steps, and the step that holds it."""
    every = np.arange(len(headroom_kw))
    value = np.empty((len(every), len(hours)))
    step = np.empty((len(every), len(hours)), dtype=np.int64)
    own = headroom_kw[every, bound]
    for i, hour in enumerate(hours):
        part = headroom_kw[:, hour.classed]
        at = part.argmin(axis=1)
        value[:, i] = part[every, at]
        # of equal steps, the one whose limit is known
        same = np.isin(bound, hour.classed) & (own == value[:, i])
        step[:, i] = np.where(same, bound, hour.classed[at])
    return value, step


def _table(
    hosting: pd.DataFrame,
    hours: list[TypicalHour],
    value: Floats,
    step: Ints,
    known: NDArray[np.bool_],
    time: pd.DatetimeIndex,
    analysis_date: dt.date,
) -> pd.DataFrame:
    """Return the long table: connections, and their hours in order."""
    n, count = value.shape
    when = pd.Series(time[np.maximum(step, 0).ravel()]).where(step.ravel() >= 0)
    repeated = {
        column: np.repeat(hosting[source].astype(str).to_numpy(object), count)
        for column, source in (
            ("building_id", "building_id"),
            ("port_id", "port_id"),
            ("feeder_id", "feeder_id"),
            ("most_limiting_criterion", "limit_criterion"),
            ("limiting_element", "limit_element"),
            ("status", "flexible_status"),
        )
    }
    for column in ("most_limiting_criterion", "limiting_element"):
        repeated[column] = np.where(known.ravel(), repeated[column], "")
    out = pd.DataFrame(
        {
            **repeated,
            "month": np.tile([hour.month for hour in hours], n),
            "day_type": np.tile([hour.day_type for hour in hours], n),
            "hour": np.tile([hour.hour for hour in hours], n),
            "load_hc_kw": value.ravel(),
            "limiting_time": when,
            "analysis_date": pd.Timestamp(analysis_date),
        }
    )
    return out[list(COLUMNS)]
