"""What is wrong with a file of load profiles, before a feeder is rated with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.errors import ConfigError, DataError
from gridsite.feeder.findings import Finding, flag
from gridsite.feeder.meter_options import MeterOptions
from gridsite.feeder.meters import Meters, read_meters

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Ratio of a meter's peak to the planned load that is a slip of unit. [-]
PEAK_RATIO = (1 / 200.0, 50.0)

#: Largest mean of a customer on low voltage. [kW]
MEAN_KW_MAX = 5e3

#: Words of the checks: severity, what is wrong (after "3 of 40"), and what to do.
PROFILE_CHECKS = {
    "negative readings": (
        "note",
        "meters feed in at some step",
        "check the sign: load is positive; generation behind a meter relieves a limit",
    ),
    "placeholder": (
        "warning",
        "meters read the same at every step",
        "a placeholder or a failed meter: leave it out, or give it a drawn profile",
    ),
    "reading size": (
        "warning",
        f"meters draw {MEAN_KW_MAX:g} kW or more on average",
        "name the unit (W, kW, MW, Wh, kWh, MWh): these look like W or Wh",
    ),
    "unit of meters": (
        "warning",
        "meters peak at less than {:g} or more than {:g} times the planned load".format(
            *PEAK_RATIO
        ),
        "name the unit of the readings, and check p_mw of the loads",
    ),
    "load without meter": (
        "warning",
        "loads of the feeder have no meter of their name",
        (
            "give links (meter_id, port_id), or have one drawn by the run (--draw, "
            "missing = 'drawn')"
        ),
    ),
    "meter without load": (
        "warning",
        "meters are called as no load of the feeder",
        "give links (meter_id, port_id) that say where each meter stands",
    ),
}

_DAY_STEPS = pd.Timedelta(days=1)


def check_profiles(
    path: str | Path,
    *,
    ports: pd.DataFrame | None = None,
    options: MeterOptions | None = None,
) -> list[Finding]:
    """
    Return what is wrong with a file of loads or meters.

    Bad data are named, never raised: a file that cannot be read is one finding.

    Parameters
    ----------
    path : str or pathlib.Path
        As for `gridsite.feeder.meters.read_meters`.
    ports : pandas.DataFrame, optional
        `Feeder.load_ports`, to compare names and sizes with.
    options : MeterOptions, optional
        How it is read; gaps are named whatever they say about filling.

    Returns
    -------
    list of Finding
        Faults of reading, of the calendar and of the values.

    Raises
    ------
    ConfigError
        If there is no such file.
    """
    if not Path(path).is_file():
        msg = f"{path}: no such file; give the path of a table of loads or meters"
        raise ConfigError(msg)
    given = options or MeterOptions()
    try:
        meters = read_meters(path, replace(given, fill="week"))
    except ConfigError:
        raise
    except DataError as error:
        if error.failures is not None and "check" in error.failures:
            return list(_of_meters(error.failures))
        cure = "mend what the message names: nothing can be rated before"
        return [Finding("error", "profiles", str(path), 1, str(error), cure)]
    except Exception as error:  # noqa: BLE001  bad data are named, never raised
        said = f"{type(error).__name__}: {error}"
        cure = "save it as CSV in UTF-8 or Parquet, one row per reading or per step"
        return [Finding("error", "profiles", str(path), 1, said, cure)]
    found = [*_of_meters(meters.findings), *_calendar(meters), *_values(meters)]
    if ports is not None and given.links is None:
        found += _against(meters, ports)
    return found


def _of_meters(findings: pd.DataFrame) -> Iterator[Finding]:
    """Turn one row per meter and fault into one finding per fault."""
    for key, rows in findings.groupby(["check", "severity"], sort=False):
        check, severity = (str(part) for part in key)
        first = []
        for row in rows.head(3).to_dict("records"):
            when = f", first {row['first']}" if row["first"] else ""
            first.append(f"{row['meter']} ({row['count']}{when})")
        text = f"{len(rows)} meter(s), {rows['count'].sum()} reading(s): "
        text += "; ".join(first) + "; ..." * (len(rows) > 3)
        meters = ", ".join(rows["meter"].head(3))
        cure = str(rows["message"].iloc[0])
        yield Finding(severity, check, meters, len(rows), text, cure)


def _calendar(meters: Meters) -> Iterator[Finding]:
    """Say which steps there are, and whether they are a whole year."""
    time = pd.DatetimeIndex(meters.kw.index)
    step = time[1] - time[0]
    end = time[-1] + step
    years = (end - time[0]) / pd.Timedelta(days=365.25)
    whole = time[0] + pd.DateOffset(years=max(round(years), 1)) == end
    text = (
        f"{len(time)} steps of {step / pd.Timedelta(minutes=1):g} min from "
        f"{time[0].isoformat()} to {end.isoformat()}"
    )
    if whole:
        cure = "none needed"
        text += ": whole years"
        yield Finding("note", "calendar", "", len(time), text, cure, "steps")
        return
    near = abs((end - time[0]) - pd.Timedelta(days=365.5)) < 3 * _DAY_STEPS
    cure = (
        "one step or day too few or too many is a slip of zone, of daylight saving or "
        "of the leap day: give every step of the year"
        if near
        else "capacities hold for these steps alone: give a whole year"
    )
    text += ": no whole year"
    yield Finding("warning", "calendar", "", len(time), text, cure, "steps")


def _values(meters: Meters) -> Iterator[Finding]:
    """Find meters whose values cannot be what a customer draws."""
    kw = meters.kw
    rows = pd.DataFrame({"label": kw.columns.astype(str)})
    low, high = kw.min().to_numpy(), kw.max().to_numpy()
    mean = kw.mean().to_numpy()
    yield from flag("negative readings", rows, low < 0.0, words=PROFILE_CHECKS)
    yield from flag("placeholder", rows, low == high, words=PROFILE_CHECKS)
    yield from flag("reading size", rows, mean >= MEAN_KW_MAX, words=PROFILE_CHECKS)


def _against(meters: Meters, ports: pd.DataFrame) -> Iterator[Finding]:
    """Compare names and peaks with the loads of a feeder."""
    rows = pd.DataFrame({"label": ports.index.astype(str)})
    named = ports.index.isin(meters.kw.columns)
    yield from flag("load without meter", rows, ~named, words=PROFILE_CHECKS)
    rows = pd.DataFrame({"label": meters.kw.columns.astype(str)})
    lost = ~meters.kw.columns.isin(ports.index)
    yield from flag("meter without load", rows, lost, words=PROFILE_CHECKS)
    both = ports.index[named]
    planned = ports["p_kw"][both].abs().to_numpy(dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = meters.kw[both].max().to_numpy() / planned
    bad = np.isfinite(ratio) & ((ratio < PEAK_RATIO[0]) | (ratio > PEAK_RATIO[1]))
    rows = pd.DataFrame({"label": both.astype(str)})
    shown = pd.Series([f"{r:.3g} times" for r in ratio], dtype=object)
    yield from flag("unit of meters", rows, bad, shown, words=PROFILE_CHECKS)
