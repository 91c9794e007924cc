"""
Meter readings on one calendar: faults are found, gaps filled and marked.

Meters may have different intervals: shorter ones are brought to the interval that most
have, as means; a meter with a longer one is missing. Faults are rows of ``findings``:

* the same reading twice is dropped; two readings that differ are taken as missing;
* with ``fill="week"`` a gap of up to ``max_gap_hours`` follows a straight line, a
  longer one takes the same local time one week before or after (then two, up to four);
  with ``fill="refuse"`` a gap is an error;
* what stays open, and a meter with fewer readings than ``min_share``, is missing;
* values that only rise are the register of a meter, and refused.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gridsite.errors import DataError
from gridsite.feeder.meter_files import Readings, read_readings
from gridsite.feeder.meter_findings import COLUMNS, note, refuse
from gridsite.feeder.meter_options import MeterOptions
from gridsite.feeder.profile_files import MAX_STEPS

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LOGGER = logging.getLogger(__name__)

#: Ratio of a meter's mean to that of the middle meter from which it is named. [-]
ODD_RATIO = 500.0

#: Different readings from which values that never fall are a register. [-]
REGISTER_READINGS = 25

#: Gaps of one length in a row that are another interval, not missing readings.
CHANGED_GAPS = 24


@dataclass(frozen=True, kw_only=True, eq=False)
class Meters:
    """
    Cleaned readings.

    Attributes
    ----------
    kw : pandas.DataFrame, shape (n_step, n_meter)
        Mean power of each meter, by the start of the step in the file's zone; no value
        is missing. [kW]
    filled : pandas.DataFrame of bool, shape (n_step, n_meter)
        Where a value is filled.
    findings : pandas.DataFrame
        ``check, severity, meter, count, first, message``, one row per fault and meter.
    """

    kw: pd.DataFrame
    filled: pd.DataFrame
    findings: pd.DataFrame


def read_meters(path: str | Path, options: MeterOptions | None = None) -> Meters:
    """
    Read meters, name what is wrong with them and fill what may be filled.

    Parameters
    ----------
    path : str or pathlib.Path
        CSV or Parquet, long or wide (`gridsite.feeder.meter_files`).
    options : MeterOptions, optional
        How it is read; the defaults without it.

    Returns
    -------
    Meters
        Powers by step and meter, what is filled, and the findings.

    Raises
    ------
    DataError
        If the file cannot be read, or a finding is an error; ``failures`` has them all.
    """
    options = options or MeterOptions()
    readings = read_readings(path, options)
    found: list[dict[str, Any]] = []
    for name, counts in {
        "skipped hour": readings.no_such_hour,
        "repeated hour": readings.one_of_two_hours,
    }.items():
        note(found, name, counts, pd.Series(pd.NaT, index=counts.index))
    kw = _calendar(readings, options, found)
    filled = pd.DataFrame(data=False, index=kw.index, columns=kw.columns)
    gaps = kw.isna()
    if gaps.to_numpy().any():
        kw, filled = _filled(kw, options, found)
    _odd_units(kw, found)
    findings = pd.DataFrame(found, columns=COLUMNS)
    refuse(findings, f"{path}")
    for check, rows in findings.groupby("check"):
        LOGGER.warning("%s: %s: %d meter(s)", path, check, len(rows))
    return Meters(kw=kw, filled=filled, findings=findings)


def _calendar(
    readings: Readings, options: MeterOptions, found: list[dict[str, Any]]
) -> pd.DataFrame:
    """Return powers on one calendar, NaN where a step has no reading of its own."""
    table = readings.table[readings.table["value"].notna()]
    names = table["meter"].cat.categories
    code = table["meter"].cat.codes.to_numpy()
    nanos = table["time"].to_numpy(dtype="datetime64[ns]").astype(np.int64)
    order = np.lexsort((np.arange(len(code)), nanos, code))
    code, nanos = code[order], nanos[order]
    value = table["value"].to_numpy(dtype=float)[order]
    step = _steps(code, nanos, names)
    mute = names[~np.isin(np.arange(len(names)), code) | (step == 0)]
    _refuse_changes((code, nanos), step, readings.energy, names)
    if len(step) == 0 or (step == 0).all():
        msg = "meters: none has two readings; give a series"
        raise DataError(msg)
    note(found, "no readings", pd.Series(1, index=mute), pd.Series(pd.NaT, index=mute))
    each, often = np.unique(step[step > 0], return_counts=True)
    longest = int(each[often == often.max()].max())
    for check, odd in {
        "longer interval": names[step > longest],
        "shorter interval": names[(step > 0) & (step < longest)],
    }.items():
        note(found, check, pd.Series(1, index=odd), pd.Series(pd.NaT, index=odd))
    phase, often = np.unique(nanos[step[code] == longest] % longest, return_counts=True)
    origin = int(phase[often.argmax()])
    if options.stamp == "end":
        nanos = nanos - step[code]
    parts = []
    for length in each[each <= longest].tolist():
        mine = step[code] == length
        if longest % length:
            msg = (
                f"meters: {names[step == length][0]!r} has steps of {length / 6e10:g} "
                f"min, others of {longest / 6e10:g} min: no whole multiple; give files "
                "of one interval"
            )
            raise DataError(msg)
        parts.append(
            _matrix(
                (code[mine], nanos[mine], value[mine]),
                names,
                (length, longest, origin),
                readings.energy,
                found,
            )
        )
    kw = pd.concat(parts, axis=1)
    first, last = kw.index.min(), kw.index.max()
    if (last - first) // longest > MAX_STEPS:
        msg = (
            f"meters: stamps from {pd.Timestamp(first, tz='UTC')} to "
            f"{pd.Timestamp(last, tz='UTC')} make more than {MAX_STEPS:,} steps; "
            "is one of them wrong?"
        )
        raise DataError(msg)
    kw = kw.reindex(np.arange(first, last + longest, longest))
    kw.index = pd.DatetimeIndex(kw.index, tz="UTC").tz_convert(readings.zone)
    return kw[[name for name in names if name in kw]]


def _steps(
    code: NDArray[Any], nanos: NDArray[np.int64], names: pd.Index[str]
) -> NDArray[np.int64]:
    """Return the usual interval of each meter; 0 where it has fewer than two stamps."""
    gap = np.diff(nanos)
    within = (np.diff(code) == 0) & (gap > 0)
    usual = pd.Series(gap[within]).groupby(code[1:][within]).median()
    step = np.zeros(len(names), dtype=np.int64)
    step[usual.index.to_numpy(dtype=int)] = usual.to_numpy().astype(np.int64)
    return step


def _refuse_changes(
    stamps: tuple[NDArray[Any], NDArray[np.int64]],
    step: NDArray[np.int64],
    energy: pd.Series[bool],
    names: pd.Index[str],
) -> None:
    """Refuse energies whose interval is another for a while, by meter."""
    code, nanos = stamps
    gap = np.where(np.diff(code) == 0, np.diff(nanos), 0)
    odd = (gap > 0) & (gap != step[code[1:]])
    odd &= energy.reindex(names).to_numpy(dtype=bool)[code[1:]]
    same = odd & (np.diff(gap, prepend=-1) == 0)  # as the gap before it
    run = np.cumsum(~same)
    often = np.bincount(run, weights=same, minlength=1)[run] if len(run) else run
    long = np.flatnonzero(same & (often >= CHANGED_GAPS - 1))
    if len(long):
        at = long[0]
        when = pd.Timestamp(nanos[at], tz="UTC")
        count = len(np.unique(code[long + 1]))
        msg = (
            f"meters: energies of {names[code[at + 1]]!r} are of "
            f"{gap[at] / 6e10:g} min from {when} on, others of "
            f"{step[code[at + 1]] / 6e10:g} min ({count} such meter(s)); give a file "
            "for each interval"
        )
        raise DataError(msg)


def _matrix(
    rows: tuple[NDArray[Any], NDArray[np.int64], Floats],
    names: pd.Index[str],
    grid: tuple[int, int, int],
    energy: pd.Series[bool],
    found: list[dict[str, Any]],
) -> pd.DataFrame:
    """Return the means of meters of one interval over the longest, by nanoseconds."""
    code, nanos, value = rows
    length, longest, origin = grid
    step = (nanos - origin) // length
    stamps = pd.DatetimeIndex(nanos, tz="UTC")
    off = (nanos - origin) % length != 0
    same = np.zeros(len(code), dtype=bool)
    same[1:] = (np.diff(code) == 0) & (np.diff(nanos) == 0)
    equal = same.copy()
    equal[1:] &= np.diff(value) == 0.0
    clash = same & ~equal
    for name, mask in {
        "off the grid": off,
        "stamp twice": equal,
        "stamp twice, values differ": clash,
    }.items():
        hit = pd.Series(stamps[mask]).groupby(names[code[mask]].to_numpy())
        note(found, name, hit.size(), hit.min())
    mine, column = np.unique(code, return_inverse=True)
    merged, on = longest // length, step[~off]
    if off.all():
        msg = f"meters: no stamp of {names[code[0]]!r} is on the steps of the others"
        raise DataError(msg)
    low = int(on.min()) // merged * merged
    count = -(-(int(on.max()) + 1 - low) // merged)
    if count > MAX_STEPS:
        first, last = stamps.min(), stamps.max()
        msg = (
            f"meters: stamps from {first} to {last} make {count:,} steps, at most "
            f"{MAX_STEPS:,}; is one of them wrong?"
        )
        raise DataError(msg)
    _registers(code, value, names, found)
    kw = np.full((count * merged, len(mine)), np.nan)
    good = ~off & ~same
    kw[step[good] - low, column[good]] = value[good]
    kw[step[clash] - low, column[clash]] = np.nan
    kw = kw.reshape(count, merged, len(mine)).mean(axis=1)
    kw[:, energy.reindex(names[mine]).to_numpy(dtype=bool)] *= 3.6e12 / length
    start = origin + low * length
    return pd.DataFrame(
        kw, index=start + longest * np.arange(count), columns=names[mine]
    )


def _registers(
    code: NDArray[Any],
    value: Floats,
    names: pd.Index[str],
    found: list[dict[str, Any]],
) -> None:
    step, within = np.diff(value), np.diff(code) == 0
    falls = np.bincount(code[1:][within & (step < 0.0)], minlength=len(names))
    rises = np.bincount(code[1:][within & (step > 0.0)], minlength=len(names))
    hit = names[(falls == 0) & (rises >= REGISTER_READINGS - 1)]
    none = pd.Series(pd.NaT, index=hit)
    note(found, "register", pd.Series(1, index=hit), none, "error")


def _filled(
    kw: pd.DataFrame, options: MeterOptions, found: list[dict[str, Any]]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the powers without gaps, and where they are filled."""
    open_ = kw.isna()
    refuse = options.fill == "refuse"
    first = open_.idxmax()
    thin = open_.mean() > 1.0 - options.min_share
    count = open_.sum()
    gappy = (count > 0) & ~thin
    severity = "error" if refuse else "warning"
    if not refuse:
        for name in kw.columns[gappy]:
            kw[name] = _without_gaps(kw[name], options.max_gap_hours)
    rest = kw.isna().any() & ~thin
    done = gappy & ~rest
    note(found, "gap", count[gappy if refuse else done], first, severity)
    note(found, "too few readings", count[thin], first)
    if not refuse:
        note(found, "gap that no week fills", count[rest], first)
        thin |= rest
    if thin.all():
        msg = "meters: none has enough readings; check min_share, zone and interval"
        raise DataError(msg, pd.DataFrame(found, columns=COLUMNS))
    kept = kw.columns[~thin]
    return kw[kept], open_[kept]


def _without_gaps(series: pd.Series[float], max_gap_hours: float) -> pd.Series[float]:
    """Return one meter with short gaps as straight lines, long ones from weeks."""
    index = pd.DatetimeIndex(series.index)
    values = series.to_numpy(dtype=float).copy()
    lost = np.isnan(values)
    edge = np.diff(lost.astype(np.int8), prepend=0, append=0)
    hours = (index[1] - index[0]) / pd.Timedelta(hours=1)
    step = np.arange(len(values))
    line = np.interp(step, step[~lost], values[~lost])
    for start, end in zip(
        np.flatnonzero(edge == 1), np.flatnonzero(edge == -1), strict=True
    ):
        inside = start > 0 and end < len(values)
        if inside and (end - start) * hours <= max_gap_hours + 1e-9:
            values[start:end] = line[start:end]
    measured = series.to_numpy(dtype=float)
    for weeks in (-1, 1, -2, 2, -3, 3, -4, 4):
        still = np.flatnonzero(np.isnan(values))
        if not len(still):
            break
        clock = index[still].tz_localize(None) + pd.Timedelta(weeks=weeks)
        other: Any = clock
        other = other.tz_localize(
            index.tz, ambiguous=np.ones(len(clock), bool), nonexistent="shift_forward"
        )
        at = index.get_indexer(other)
        values[still] = np.where(at >= 0, measured[at], np.nan)
    return pd.Series(values, index=index)


def _odd_units(kw: pd.DataFrame, found: list[dict[str, Any]]) -> None:
    """Name meters whose mean is far from that of the middle one."""
    mean = kw.abs().mean()
    middle = mean[mean > 0.0].median()
    if len(mean) < 3 or not middle > 0.0:
        return
    odd = mean[mean > ODD_RATIO * middle]
    none = pd.Series(kw.index[0], index=odd.index)
    note(found, "unit", pd.Series(1, index=odd.index), none)
