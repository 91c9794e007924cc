"""
Loads from meters: sums at a port, ports without a meter.

A load without a meter is an error, or with ``missing="drawn"`` follows a meter drawn by
lot (never a mean of meters, whose peak is too low), scaled to its own energy where that
is known. Loads that are estimated or have a filled step are ``assumed``.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gridsite.errors import DataError
from gridsite.feeder.meter_files import has_meter_column
from gridsite.feeder.meter_findings import COLUMNS, note, refuse
from gridsite.feeder.meter_options import MeterOptions
from gridsite.feeder.meters import Meters, read_meters
from gridsite.feeder.profile_files import read_profiles
from gridsite.feeder.profiles import Profiles, dense_profiles
from gridsite.untrusted import read_table

LOGGER = logging.getLogger(__name__)

#: Of loads whose active power alone is metered (assumption), lagging. [-]
LOAD_POWER_FACTOR = 0.95

#: Ratio of a meter's mean to the planned load from which its unit is in doubt. [-]
UNIT_RATIO = 100.0


def meter_profiles(
    meters: Meters,
    ports: pd.DataFrame,
    *,
    links: pd.DataFrame | None = None,
    missing: str = "refuse",
    annual_kwh: pd.Series[float] | None = None,
    power_factor: float = LOAD_POWER_FACTOR,
    seed: int = 0,
) -> Profiles:
    """
    Return the load of each port from its meters.

    Parameters
    ----------
    meters : Meters
        Cleaned readings.
    ports : pandas.DataFrame
        `Feeder.load_ports`, by port id, with the planned load ``p_kw``. [kW]
    links : pandas.DataFrame, optional
        ``meter_id, port_id``: a port with several meters draws their sum; without it a
        meter is called as its port.
    missing : {"refuse", "drawn"}
        What a port without a meter gets.
    annual_kwh : pandas.Series of float, by port id, optional
        Energy of ports without a meter. [kWh]
    power_factor : float, default 0.95
        Lagging, of all ports (assumption). [-]
    seed : int, default 0
        Of the draw, which does not depend on the order of ports or meters.

    Returns
    -------
    Profiles
        One shape per port; ``assumed`` names those that are estimated or filled,
        ``findings`` has those of the meters and the ports without one.

    Raises
    ------
    DataError
        If a port has no meter (with ``missing="refuse"``), a meter stands at two
        ports, no meter is at any port, or the unit does not fit the planned loads.

    Examples
    --------
    >>> time = pd.date_range("2025-01-01", periods=2, freq="h", tz="UTC")
    >>> kw = pd.DataFrame({"m1": [1.0, 2.0], "m2": [3.0, 0.0]}, index=time)
    >>> meters = Meters(kw=kw, filled=kw < 0, findings=pd.DataFrame())
    >>> ports = pd.DataFrame({"p_kw": [5.0]}, index=["house"])
    >>> links = pd.DataFrame({"meter_id": ["m1", "m2"], "port_id": "house"})
    >>> meter_profiles(meters, ports, links=links).total_kw()
    array([4., 2.])
    """
    found: list[dict[str, Any]] = []
    pair = _pairs(meters, links, ports.index, found)
    kw = meters.kw[pair["meter_id"].tolist()].T.groupby(pair["port_id"].to_numpy())
    load = kw.sum().T
    has_fill = meters.filled.any().reindex(pair["meter_id"]).to_numpy(dtype=bool)
    assumed = set(pair["port_id"][has_fill])
    _check_planned(load, ports)
    bare = ports.index.difference(load.columns)
    if len(bare):
        severity = "error" if missing == "refuse" else "warning"
        none = pd.Series(1, index=bare)
        note(found, "no meter", none, none.map(lambda _: pd.NaT), severity)
        refuse(pd.DataFrame(found, columns=COLUMNS), "meters")
        load = load.join(_drawn(load, bare, annual_kwh, seed))
        assumed |= set(bare)
    findings = [t for t in (meters.findings, pd.DataFrame(found)) if len(t)]
    return replace(
        dense_profiles(
            pd.DatetimeIndex(load.index),
            load[list(ports.index)],
            power_factor=power_factor,
        ),
        assumed=frozenset(assumed),
        findings=pd.concat(findings, ignore_index=True) if findings else None,
    )


def read_loads(
    path: str | Path,
    ports: pd.DataFrame,
    *,
    options: MeterOptions | None = None,
    links: str | Path | None = None,
    annual_kwh: pd.Series[float] | None = None,
    power_factor: float = LOAD_POWER_FACTOR,
    seed: int = 0,
) -> Profiles:
    """
    Read what customers draw from a file of loads or of meters.

    Parameters
    ----------
    path : str or pathlib.Path
        Without ``options`` a wide file as for ``read_profiles``,
        which refuses every fault, or a long one.
    ports : pandas.DataFrame
        `Feeder.load_ports`.
    options : MeterOptions, optional
        How meters are read.
    links : str or pathlib.Path, optional
        CSV or Parquet ``meter_id, port_id``; ``options.links`` without it.
    annual_kwh : pandas.Series of float, by port id, optional
        Energy of ports without a meter. [kWh]
    power_factor : float, default 0.95
        Lagging, of all ports (assumption). [-]
    seed : int, default 0
        Of the draw for ports without a meter.

    Returns
    -------
    Profiles
        One shape per port.

    Raises
    ------
    DataError
        As `read_profiles`, `read_meters` and `meter_profiles`.
    """
    if options is None and not has_meter_column(path):
        return read_profiles(path, port_ids=ports.index, power_factor=power_factor)
    options = options or MeterOptions()
    links = links or options.links
    return meter_profiles(
        read_meters(path, options),
        ports,
        links=None if links is None else read_table(Path(links), text=True),
        missing=options.missing,
        annual_kwh=annual_kwh,
        power_factor=power_factor,
        seed=seed,
    )


def _check_planned(load: pd.DataFrame, ports: pd.DataFrame) -> None:
    """Refuse loads that are far from what the feeder file plans for."""
    planned = ports["p_kw"].reindex(load.columns)
    ratio = (load.mean() / planned)[planned > 0.0].median()
    if ratio > UNIT_RATIO or 0.0 < ratio < 1.0 / UNIT_RATIO**1.5:
        msg = (
            f"meters: the middle load is {ratio:.3g} times that of the feeder file; is "
            "the unit right (W, kW, MW, or energy per interval)?"
        )
        raise DataError(msg)


def _pairs(
    meters: Meters,
    links: pd.DataFrame | None,
    ports: pd.Index[str],
    found: list[dict[str, Any]],
) -> pd.DataFrame:
    """
    Return ``meter_id, port_id`` of meters and ports that there are.

    A port that lacks the readings of one of its meters is left out: the sum of the
    others would be too low.
    """
    names = meters.kw.columns
    if links is None:
        links = pd.DataFrame({"meter_id": names, "port_id": names})
    lacks = {"meter_id", "port_id"} - set(links.columns)
    if lacks:
        msg = f"links of meters: no column {sorted(lacks)}; give meter_id, port_id"
        raise DataError(msg)
    pair = links[["meter_id", "port_id"]].astype(str).drop_duplicates()
    twice = pair[pair.duplicated("meter_id")]
    if len(twice):
        first = twice.iloc[0]["meter_id"]
        msg = (
            f"links of meters: {len(twice)} meter(s) stand at two ports, first "
            f"{first!r}; its load would count twice"
        )
        raise DataError(msg, twice)
    pair = pair[pair["port_id"].isin(ports)]
    lost = pair[~pair["meter_id"].isin(names)]
    for check, odd in {
        "meter of a load lacks": pd.Index(lost["meter_id"]),
        "meter at no load": names.difference(pair["meter_id"].tolist()),
    }.items():
        note(found, check, pd.Series(1, index=odd), pd.Series(pd.NaT, index=odd))
        if len(odd):
            LOGGER.warning("%s: %d meter(s), first %r", check, len(odd), odd[0])
    pair = pair[~pair["port_id"].isin(lost["port_id"])]
    if pair.empty:
        msg = (
            f"meters: none of {list(names[:3])} is a load of the feeder, which are "
            f"{list(ports[:3])}; give links (meter_id, port_id)"
        )
        raise DataError(msg)
    return pair


def _drawn(
    load: pd.DataFrame,
    bare: pd.Index[str],
    annual_kwh: pd.Series[float] | None,
    seed: int,
) -> pd.DataFrame:
    """Return a measured load for each port without one, scaled to its energy."""
    donors = sorted(load.columns)
    drawn = np.random.default_rng(seed).integers(len(donors), size=len(bare))
    index = pd.DatetimeIndex(load.index)
    hours = (index[1] - index[0]) / pd.Timedelta(hours=1) if len(index) > 1 else 1.0
    parts = {}
    for name, donor in zip(sorted(bare), drawn.tolist(), strict=True):
        series = load[donors[donor]]
        wanted = None if annual_kwh is None else annual_kwh.get(name)
        if wanted is not None and np.isfinite(wanted):
            year = series.mean() * 8760.0
            if not year > 0.0:
                msg = f"meters: {donors[donor]!r} draws nothing, and cannot be scaled"
                raise DataError(msg)
            series = series * (wanted / year)
        parts[name] = series
    LOGGER.info("%d load(s) follow a drawn meter (steps of %g h)", len(parts), hours)
    return pd.DataFrame(parts)
