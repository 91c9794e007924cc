"""
Files of meter readings: long or wide, CSV or Parquet, any unit, zoned stamps.

Long: one row per meter and stamp. Wide: a column of stamps, then one per meter. Both
become one table of readings on UTC. Nothing is guessed: the unit stands in the name of
the column or is given, stamps carry a zone or one is given, and a day-first date needs
its format. The repeated hour in autumn is told apart by the order of its readings,
also where a file begins with the newest.
"""

from __future__ import annotations

import csv
import gzip
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gridsite.errors import DataError
from gridsite.feeder.meter_options import UNITS
from gridsite.feeder.meter_stamps import _parsed
from gridsite.untrusted import check_csv, parquet_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gridsite.feeder.meter_options import MeterOptions

#: Most readings that a file may hold; checked before values are parsed.
MAX_READINGS = 60_000_000

_TIMES = ("time", "timestamp", "datetime", "date_time", "stamp", "interval_start")
_METERS = ("meter_id", "meter", "meterid", "port_id", "customer_id", "nmi", "lclid")
_VALUES = ("value", "reading", "power", "energy", "demand", "consumption", "usage")
_UNIT = re.compile(r"(?:^|[\s_\[(])([kM]?Wh?)[\])]?$", re.IGNORECASE)
_ENERGY = re.compile(r"(?:^|[\s_.-])([kM]?Wh)(?:[\s_.-]|$)", re.IGNORECASE)
_BRACKET = re.compile(r"\s*[\[(]\s*([kM]?Wh?)\s*[\])]$", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, eq=False)
class Readings:
    """
    Readings of meters, as they stand in a file.

    Attributes
    ----------
    table : pandas.DataFrame
        ``meter`` (categorical), ``time`` (UTC, as stamped), ``value`` (NaN where the
        file has none), in the order of the file.
    zone : str
        Zone of the file's stamps.
    energy : pandas.Series of bool, by meter
        Whether values are energies of an interval. [kWh]
    no_such_hour : pandas.Series of int, by meter
        Readings stamped in the hour that is skipped in spring; they are left out.
    one_of_two_hours : pandas.Series of int, by meter
        Readings of the repeated hour in autumn that stand once.
    """

    table: pd.DataFrame
    zone: str
    energy: pd.Series[bool]
    no_such_hour: pd.Series[int]
    one_of_two_hours: pd.Series[int]


def read_readings(path: str | Path, options: MeterOptions) -> Readings:
    """
    Read a file of meter readings.

    Parameters
    ----------
    path : str or pathlib.Path
        CSV (also ``.csv.gz``) or Parquet.
    options : MeterOptions
        How it is read.

    Returns
    -------
    Readings
        The values in kW or kWh.

    Raises
    ------
    DataError
        If it cannot be read, has no such columns, leaves zone or unit open, or holds
        text that is no number or no stamp.
    """
    path = Path(path)
    raw = _read(path)
    time = _column(raw, options.time_column, _TIMES, "time", path)
    meter = options.meter_column
    if meter is None:
        meter = next((c for c in _names(raw) if c.lower() in _METERS), None)
    elif meter not in raw:
        msg = f"{path}: no column {meter!r}; there are {list(raw.columns)[:8]}"
        raise DataError(msg)
    if meter is None:
        long, units = _melted(raw, time, options, path)
    else:
        long, units = _long(raw, time, meter, options, path)
    factor = units.map(UNITS).reindex(long["meter"].cat.categories).to_numpy(float)
    long["value"] *= factor[long["meter"].cat.codes]
    energy = units.str.endswith("h")
    return _on_utc(long, energy, options, path)


def has_meter_column(path: str | Path) -> bool:
    """
    Return whether a file of loads is long: one row per meter and stamp.

    Parameters
    ----------
    path : str or pathlib.Path
        CSV or Parquet.

    Returns
    -------
    bool
        False too where the file cannot be read.
    """
    path = Path(path)
    try:
        if path.suffix.lower() in {".parquet", ".pq"}:
            names = pq.read_schema(path).names
        else:
            names = _names(_csv(path, nrows=0))
    except (OSError, ValueError, EOFError, pa.ArrowException):
        return False
    return any(str(name).lower() in _METERS for name in names)


def _csv(path: Path, nrows: int | None = None) -> pd.DataFrame:
    check_csv(path)
    return pd.read_csv(
        path, dtype=str, encoding="utf-8-sig", na_filter=False, nrows=nrows
    )


def _read(path: Path) -> pd.DataFrame:
    try:
        if path.suffix.lower() in {".parquet", ".pq"}:
            columns = pq.read_metadata(path).num_columns
            _check_size(path, parquet_rows(path) * max(1, columns - 1))
            table = pd.read_parquet(path)
            named = table.index.names != [None]
            table = table.reset_index() if named else table
            table.columns = table.columns.astype(str)
            return table
        names, lines = _head(path)
        twice = pd.Index(names)[pd.Index(names).duplicated()]
        if len(twice):
            msg = f"column(s) {list(twice[:3])} stand twice: name each meter once"
            raise ValueError(msg)  # noqa: TRY301
        _check_size(path, lines * max(1, len(names) - 1))
        return _csv(path)
    except (OSError, ValueError, EOFError, pa.ArrowException) as error:
        if isinstance(error, DataError):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        msg = f"{path}: cannot be read as a table of meters: {reason}"
        raise DataError(msg) from error


def _head(path: Path) -> tuple[list[str], int]:
    """Return the names of a CSV's columns and the number of its lines."""
    check_csv(path)
    opener = gzip.open if path.suffix.lower() == ".gz" else Path.open
    with opener(path, mode="rt", encoding="utf-8-sig", newline="") as file:
        names = next(csv.reader([file.readline()]), [])
        lines = 0
        for _ in file:
            lines += 1
            if lines > MAX_READINGS:
                break
    return names, lines


def _names(table: pd.DataFrame) -> list[str]:
    return [str(name) for name in table.columns]


def _check_size(path: Path, count: int) -> None:
    if count > MAX_READINGS:
        msg = f"{path}: {count:,} readings, at most {MAX_READINGS:,} are read"
        raise DataError(msg)


def _column(
    raw: pd.DataFrame,
    given: str | None,
    usual: tuple[str, ...],
    what: str,
    path: Path,
) -> str:
    found = [c for c in _names(raw) if (c == given if given else c.lower() in usual)]
    if len(found) != 1:
        msg = (
            f"{path}: {len(found)} columns can be the {what}; give {what}_column, "
            f"there are {_names(raw)[:8]}"
        )
        raise DataError(msg)
    return found[0]


def _unit(name: str, given: str | None, fallback: str | None, path: Path) -> str:
    """Return the unit of a column, which its name and the option must agree on."""
    match = _UNIT.search(name)
    own = None
    if match is not None:
        own = {unit.lower(): unit for unit in UNITS}[match.group(1).lower()]
    if own is not None and given is not None and own != given:
        msg = f"{path}: column {name!r} is in {own} by its name, unit says {given}"
        raise DataError(msg)
    unit = given or own or fallback
    if unit is None:
        msg = (
            f"{path}: column {name!r} does not say kW or kWh; give unit "
            "(--meter-unit; --unit of gridsite meters)"
        )
        raise DataError(msg)
    return unit


def _long(
    raw: pd.DataFrame, time: str, meter: str, options: MeterOptions, path: Path
) -> tuple[pd.DataFrame, pd.Series[str]]:
    value = options.value_column
    if value is None:
        rest = [c for c in _names(raw) if c not in (time, meter)]
        known = [c for c in rest if _UNIT.search(c) or c.lower() in _VALUES]
        found = known if len(known) == 1 else rest
        if len(found) != 1:
            msg = f"{path}: value_column is open among {rest[:8]}; name it"
            raise DataError(msg)
        value = found[0]
    elif value not in raw:
        msg = f"{path}: no column {value!r}; there are {list(raw.columns)[:8]}"
        raise DataError(msg)
    labels = _labels(raw[meter], meter, path)
    table = pd.DataFrame(
        {
            "meter": labels,
            "time": raw[time].reset_index(drop=True),
            "value": _numbers(raw[value], value, path),
        }
    )
    names = table["meter"].cat.categories
    unit = _unit(value, options.unit, None, path)
    return table, pd.Series(unit, index=names, dtype=object)


def _melted(
    raw: pd.DataFrame, time: str, options: MeterOptions, path: Path
) -> tuple[pd.DataFrame, pd.Series[str]]:
    columns = [c for c in _names(raw) if c != time]
    names = [_BRACKET.sub("", c) for c in columns]
    twice = pd.Index(names)[pd.Index(names).duplicated()]
    if len(twice) or not columns:
        msg = f"{path}: meter(s) {list(twice[:3])} stand twice, or there is none"
        raise DataError(msg)
    bare = [c if _BRACKET.search(c) else "" for c in columns]
    odd = [c for c in columns if not _BRACKET.search(c) and _ENERGY.search(c)]
    if odd and options.unit is None:
        msg = (
            f"{path}: column {odd[0]!r} may be an energy by its name; give unit "
            "(--meter-unit; --unit of gridsite meters), or write the unit in brackets"
        )
        raise DataError(msg)
    units = pd.Series(
        [_unit(c, options.unit, "kW", path) for c in bare], index=names, dtype=object
    )
    values = np.concatenate([_numbers(raw[c], c, path) for c in columns])
    codes: Any = np.repeat(np.arange(len(names)), len(raw))
    table = pd.DataFrame(
        {
            "meter": pd.Categorical.from_codes(codes, pd.Index(names)),
            "time": _tiled(raw[time], len(names)),
            "value": values,
        }
    )
    return table, units


def _tiled(stamps: pd.Series[Any], count: int) -> pd.Series[Any]:
    """Return stamps again and again; texts as codes, so that each is parsed once."""
    if stamps.dtype == object or isinstance(stamps.dtype, pd.StringDtype):
        stamps = stamps.astype(str).astype("category")
    tiled: pd.Series[Any] = pd.concat([stamps] * count, ignore_index=True)
    return tiled


def _labels(values: pd.Series[Any], column: str, path: Path) -> pd.Categorical:
    """Return ids as text, whole numbers without a decimal point."""
    code, each = pd.factorize(values)
    ids = pd.Series(each)
    if pd.api.types.is_float_dtype(ids) and (ids % 1 == 0).all():
        ids = ids.astype("int64")
    text = ids.astype(str).str.strip()
    lost = (code < 0) | np.isin(code, np.flatnonzero(text == ""))
    if lost.any():
        row = int(np.argmax(lost))
        msg = f"{path}: column {column!r}, row {row}: no meter is named"
        raise DataError(msg)
    merged, names = pd.factorize(text, sort=True)  # "7" and "7 " are one meter
    codes: Any = merged[code]
    return pd.Categorical.from_codes(codes, pd.Index(names))


def _numbers(values: pd.Series[Any], column: str, path: Path) -> NDArray[np.float64]:
    """Return values as numbers, NaN where there is none; other text is an error."""
    found = pd.to_numeric(values, errors="coerce").to_numpy(dtype=float)
    odd = ~np.isfinite(found)
    if odd.any():
        text = values[odd].astype(str).str.strip().str.lower()
        lost = ~text.isin(["", "nan", "none", "null", "na", "n/a", "-", "<na>", "nat"])
        if lost.any():
            first = values[odd][lost.to_numpy()]
            msg = (
                f"{path}: column {column!r}, row {first.index[0]}: "
                f"{first.iloc[0]!r} is no number ({len(first)} in all); write 1.5"
            )
            raise DataError(msg)
    return found


def _newest_first(key: pd.DataFrame) -> bool:
    """Return whether the readings of most meters stand from the last to the first."""
    same = np.diff(key["meter"].to_numpy()) == 0
    later = np.sign(np.diff(key["time"].to_numpy()).astype(np.int64))
    return bool(later[same].sum() < 0)


def _on_utc(
    table: pd.DataFrame, energy: pd.Series[bool], options: MeterOptions, path: Path
) -> Readings:
    names = table["meter"].cat.categories
    none = pd.Series(0, index=names)
    stamps = table["time"]
    where, zone = _parsed(stamps, options, path)
    if where.tz is not None:
        table["time"] = where.tz_convert("UTC")
        return Readings(
            table=table,
            zone=options.zone or zone,
            energy=energy,
            no_such_hour=none,
            one_of_two_hours=none,
        )
    key = pd.DataFrame({"meter": table["meter"].cat.codes, "time": where})
    ascending = not _newest_first(key)
    first = key.groupby(["meter", "time"]).cumcount(ascending=ascending) == 0
    local: Any = where
    early, late = (
        local.tz_localize(zone, ambiguous=np.full(len(where), dst), nonexistent="NaT")
        for dst in (True, False)
    )
    twice = np.asarray(early != late) & ~np.asarray(early.isna())
    utc = local.tz_localize(
        zone, ambiguous=first.to_numpy(), nonexistent="NaT"
    ).tz_convert("UTC")
    alone = twice & ~key.duplicated(keep=False).to_numpy()
    skipped = np.asarray(utc.isna())

    def count(mask: NDArray[np.bool_]) -> pd.Series[int]:
        return table["meter"][mask].value_counts().reindex(names, fill_value=0)

    no_such, lone = count(skipped), count(alone)
    table["time"] = utc
    return Readings(
        table=table[~skipped].reset_index(drop=True),
        zone=zone,
        energy=energy,
        no_such_hour=no_such,
        one_of_two_hours=lone,
    )
