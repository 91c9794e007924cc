"""
Load hosting capacity of each building, alone, over all steps.

Linear sensitivities choose where to look, bounds prove which steps cannot
bind (`gridsite.hosting.screening`), and AC power flow decides every reported
value: a firm capacity passes at every step that is not proven to hold, and
fails within ``tolerance_kw`` above it at the step that is named.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from gridsite.errors import ConfigError, DataError
from gridsite.feeder.assumed_ratings import ASSUMED, rating_sources
from gridsite.feeder.candidate_ports import lacks_phase
from gridsite.feeder.load_parts import service_power
from gridsite.hosting.acting_rating import rate_acting
from gridsite.hosting.block_rating import BlockRating
from gridsite.hosting.envelope_dataset import EnvelopeWriter
from gridsite.hosting.flexible import LEVELS, level_name
from gridsite.hosting.flexible_rows import flexible_columns
from gridsite.hosting.grid_case import GridCase
from gridsite.hosting.limits import Limits
from gridsite.hosting.nested import rate_split
from gridsite.hosting.not_checked import not_checked
from gridsite.hosting.rows import (
    FLEXIBLE,
    blank_rows,
    rows_without_value,
    table_of,
)
from gridsite.hosting.service import service_headroom_kw
from gridsite.hosting.settings import Settings
from gridsite.schemas import check_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from gridsite.feeder.model import Feeder
    from gridsite.feeder.profiles import Profiles
    from gridsite.hosting.ageing_limit import Ageing

    Floats = NDArray[np.float64]


def hosting_capacity(
    feeder: Feeder,
    loads: Profiles,
    *,
    limits: Limits | None = None,
    connections: pd.DataFrame | None = None,
    power_factor: float = 0.98,
    tolerance_kw: float = 0.1,
    min_power_share: float = 0.0,
    battery_kwh: float = 0.0,
    battery_kw: float | None = None,
    levels: Sequence[float] = (),
    screen: bool = True,
    grid: GridCase | None = None,
    ageing: Ageing | None = None,
    envelope: str | Path | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> pd.DataFrame:
    """
    Return the load hosting capacity of every connection.

    Definitions of firm and flexible capacity, of the statuses and of what a
    load acts on stand in ``docs/definitions.md``.

    Parameters
    ----------
    feeder : Feeder
        The electrical model.
    loads : Profiles
        What customers draw; all of them must have a profile.
    limits : Limits, optional
        EN 50160 by default.
    connections : pandas.DataFrame, optional
        Contract ``connections``; every load is its own building, without a
        service limit, by default.
    power_factor : float, default 0.98
        Of the added load, lagging. [-]
    tolerance_kw : float, default 0.1
        Width of the interval that holds the true firm capacity; the reported
        value is its lower end. [kW]
    min_power_share : float, default 0.0
        Share of its rating below which a flexible unit pauses. [-]
    battery_kwh : float, default 0.0
        Energy that a battery at each flexible unit can give. [kWh]
    battery_kw : float, optional
        Power of that battery; the unit's rating by default. [kW]
    levels : sequence of float, optional
        Shares of energy, and of steps, beside `gridsite.hosting.flexible.LEVELS`
        at which flexible capacity is wanted, from 0.5 to 1. [-]
    screen : bool, default True
        Skip steps that are proven not to bind; False solves them all.
    grid : GridCase, optional
        Base cases of the same feeder, loads, limits and power factor, when
        they are at hand already.
    ageing : Ageing, optional
        Ambient temperature and limits of transformer ageing, which is not
        checked without it; ``grid`` has its own.
    envelope : str or pathlib.Path, optional
        File (netCDF) that takes the headroom of every step.
    progress : callable, optional
        Called with the share done and a text.

    Returns
    -------
    pandas.DataFrame
        Contract ``hosting``; one row per building and port.
        ``limit_rating_assumed`` marks a limit on a line whose rating is assumed
        (`gridsite.feeder.assumed_ratings`), which makes the row ``assumed``.
        ``attrs["not_checked"]`` lists what no value takes into account.

    Raises
    ------
    ConfigError
        If ``power_factor``, ``tolerance_kw`` or a level is out of range.
    DataError
        If a connection names an unknown port, or a load has no profile.
    BaseCaseError
        If no part of the feeder converges without any added load; parts that
        do not, beside others that do, get the status ``not_converged``.

    Notes
    -----
    Load positive, balanced three-phase. Capacities of single buildings do not
    add up.

    Examples
    --------
    >>> from gridsite.feeder.profiles import constant_profiles
    >>> from gridsite.feeder.read_pandapower import read_feeder
    >>> feeder = read_feeder("pandapower:create_kerber_landnetz_freileitung_1")
    >>> at = feeder.load_ports
    >>> loads = constant_profiles(at.index, at["p_kw"], at["q_kvar"])
    >>> table = hosting_capacity(feeder, loads)
    >>> table["firm_status"].unique().tolist()
    ['ok']
    """
    if not 0.5 <= power_factor <= 1.0:
        msg = f"power_factor must be in [0.5, 1], got {power_factor}"
        raise ConfigError(msg)
    if not tolerance_kw > 0.0:
        msg = f"tolerance_kw must be above 0, got {tolerance_kw}"
        raise ConfigError(msg)
    table = own_connections(feeder) if connections is None else connections
    table = check_table("connections", table)
    unknown = table.loc[~table["port_id"].isin(feeder.ports.index), "port_id"]
    if len(unknown):
        msg = (
            f"connections: {len(unknown)} port(s) unknown to {feeder.name}, first "
            f"{unknown.head(3).tolist()}; use the load names of the feeder file"
        )
        raise DataError(msg)
    if grid is not None and limits not in {None, grid.limits}:
        msg = "limits differ from those of the grid case; give one of the two"
        raise ConfigError(msg)
    if grid is None:
        grid = GridCase(
            feeder, loads, limits or Limits(), power_factor=power_factor, ageing=ageing
        )
    elif ageing is not None:
        msg = "ageing and a grid case are given; give ageing to the grid case"
        raise ConfigError(msg)
    ports = feeder.ports.loc[table["port_id"]]
    table["feeder_id"] = ports["feeder_id"].to_numpy()
    settings = Settings(
        power_factor=power_factor,
        tolerance_kw=tolerance_kw,
        screen=screen,
        min_power_share=min_power_share,
        battery_kwh=battery_kwh,
        battery_kw=battery_kw,
        levels=tuple(sorted({*LEVELS, *levels}, reverse=True)),
        ageing=grid.ageing,
    )
    names = [level_name(level) for level in settings.levels]  # refuses what is none
    if len(set(names)) < len(names):
        msg = (
            f"levels {list(levels)} are the same as others to 10 digits; give each once"
        )
        raise ConfigError(msg)
    if envelope is None:
        return _rate(table, grid, settings, progress)
    with EnvelopeWriter(
        envelope,
        connections=table,
        time=grid.profiles.time,
        limits=grid.limits,
        power_factor=power_factor,
    ) as writer:

        def keep(labels: pd.Index, headroom_kw: Floats) -> None:
            writer.write(table.index.get_indexer(labels), headroom_kw, again=True)

        def lower(labels: pd.Index, share: Floats, least_kw: Floats) -> None:
            writer.lower(table.index.get_indexer(labels), share, least_kw)

        settings = replace(settings, envelope=keep, lower_envelope=lower)
        out = _rate(table, grid, settings, progress)
        # where nothing binds, every step has the search cap
        kw = out.loc[out["firm_status"] == "censored", "firm_kw"]
        size = (len(kw), len(grid.profiles.time))
        keep(kw.index, np.broadcast_to(kw.to_numpy()[:, None], size))
        return out


def _rate(
    table: pd.DataFrame,
    grid: GridCase,
    settings: Settings,
    progress: Callable[[float, str], None] | None,
) -> pd.DataFrame:
    """Rate connections, with controls that act or stand."""

    def standing(case: GridCase, own: Settings) -> pd.DataFrame:
        return _rate_standing(table, case, own, progress)

    # threads of linear algebra wait for work, and take the processors of ours
    with threadpool_limits(1, user_api="blas"):
        if grid.course is None:
            out = standing(grid, settings)
        else:
            out = rate_acting(grid, settings, standing)
            out = out.assign(assumed=table["assumed"])
    out = check_table("hosting", _with_assumed_ratings(out, grid.feeder))
    aged = grid.ageing is not None
    out.attrs["not_checked"] = not_checked(grid.limits, grid.feeder, aged=aged)
    return out


def _rate_standing(
    table: pd.DataFrame,
    grid: GridCase,
    settings: Settings,
    progress: Callable[[float, str], None] | None,
) -> pd.DataFrame:
    """Rate connections, feeder by feeder, where no control acts."""
    feeder = grid.feeder
    parts = []
    groups = list(table.groupby("feeder_id", sort=True))
    for done, (feeder_id, group) in enumerate(groups):
        if progress:
            progress(done / len(groups), f"hosting capacity of {feeder_id!s}")
        if feeder_id == "":
            dark = (feeder.ports.loc[group["port_id"], "node"] < 0).to_numpy()
            lacks = dark & lacks_phase(feeder, group["port_id"])
            parts.append(rows_without_value(group[lacks], "lacks_phase"))
            parts.append(rows_without_value(group[dark & ~lacks], "unsupplied"))
            parts.append(_at_source(group[~dark], grid, settings))
        elif feeder_id in grid.failed:
            parts.append(rows_without_value(group, "not_converged"))
        elif grid.split(str(feeder_id)) is not None:
            parts.append(rate_split(grid, str(feeder_id), group, settings, progress))
        else:
            case = grid.block(str(feeder_id))
            parts.append(BlockRating(case, grid.profiles, group, settings).table())
    if progress:
        progress(1.0, "hosting capacity")
    if not parts:
        msg = f"{feeder.name}: no load connection to rate; the file has no loads"
        raise DataError(msg)
    return _with_levels(pd.concat(parts).sort_index(), settings)


def _with_assumed_ratings(out: pd.DataFrame, feeder: Feeder) -> pd.DataFrame:
    """Mark the rows whose limit binds on a rating that is assumed."""
    source = rating_sources(feeder.elements)
    on = out["limit_element"].isin(source.index[source == ASSUMED])
    on &= out["limit_criterion"] == "line current"
    return out.assign(limit_rating_assumed=on, assumed=out["assumed"] | on)


def _with_levels(out: pd.DataFrame, settings: Settings) -> pd.DataFrame:
    """Fill levels beside the usual ones where no headroom was looked at."""
    for level in settings.levels:
        for kind in ("energy", "hours"):
            name = f"flexible_{kind}{level_name(level)}_kw"
            if name not in out:
                out[name] = np.nan
            kept = out[name].notna() & out["flexible_status"].isin(["ok", "censored"])
            out[name] = out[name].where(kept, out["flexible_energy98_kw"])
    return out


def own_connections(feeder: Feeder) -> pd.DataFrame:
    """
    Return connections in which every load of a feeder is a building.

    Parameters
    ----------
    feeder : Feeder
        The model.

    Returns
    -------
    pandas.DataFrame
        Contract ``connections``; ``building_id`` is the load's name.
    """
    ports = feeder.load_ports
    return pd.DataFrame(
        {
            "building_id": ports.index,
            "port_id": ports.index,
            "bus": ports["bus"].to_numpy(),
            "phases": ports["phases"].to_numpy(),
            "service_a": np.nan,
            "service_v": np.nan,
            "match_method": "load name",
            "match_distance_m": 0.0,
            "match_confidence": 1.0,
            "assumed": False,
        }
    )


def _at_source(group: pd.DataFrame, grid: GridCase, settings: Settings) -> pd.DataFrame:
    """Return rows of loads at a source, which act on no modelled limit."""
    out = table_of(blank_rows(group), group.index)
    if group.empty:
        return out
    used = pd.Index(group["port_id"].unique())
    p_kw, q_kvar = service_power(grid.profiles, grid.feeder.ports, used)
    row = used.get_indexer(pd.Index(group["port_id"]))
    service = service_headroom_kw(
        group["service_a"].to_numpy(dtype=float),
        group["service_v"].to_numpy(dtype=float),
        p_kw[row],
        q_kvar[row],
        power_factor=settings.power_factor,
        rule=grid.limits.service_rule,
        phases=group["phases"].tolist(),
    )
    cap = grid.limits.search_cap_kw
    rated = group["service_a"].notna().to_numpy() & grid.limits.on("service")
    least = service.min(axis=1)
    unknown = rated & np.isnan(least)
    own = rated & (least <= cap)
    value = np.where(unknown, np.nan, np.where(own, least.clip(0.0), cap))
    broken = own & (least <= 0.0)
    status = np.select(
        [unknown, broken, own],
        ["unrated", "none_base_violation", "ok"],
        default="censored",
    )
    named = own | unknown
    when = grid.profiles.time[np.nan_to_num(service[own]).argmin(axis=1)]
    out = out.assign(
        service_headroom_kw=np.where(rated, least, np.nan),
        firm_kw=value,
        **dict.fromkeys(FLEXIBLE, value),
        firm_status=status,
        flexible_status=status,
        limit_criterion=np.where(named, "service", ""),
        limit_element=np.where(named, group["building_id"], ""),
    )
    out.loc[own, "limit_time"] = pd.Series(when, out.index[own], dtype=object)
    headroom = np.clip(service[own], 0.0, cap)
    columns = flexible_columns(headroom, grid.profiles.step_hours, settings)
    for name, values in columns.items():
        out.loc[own, name] = values
    some = broken[own] & (headroom > 0.0).any(axis=1)
    out.loc[out.index[own][some], "flexible_status"] = "ok"
    if settings.envelope is not None:
        settings.envelope(out.index[own], headroom)
    return out


def capacity_summary(table: pd.DataFrame) -> dict[str, Any]:
    """
    Return the headline figures of a hosting table.

    Parameters
    ----------
    table : pandas.DataFrame
        Contract ``hosting``.

    Returns
    -------
    dict
        Counts by status and by limit, median and sum of firm capacity, signed error
        of the headroom at random steps (`Envelope.signed_error_kw`). [kW]
    """
    firm = table["firm_kw"]
    least, most = table["envelope_error_least_kw"], table["envelope_error_most_kw"]
    error = None
    if most.notna().any():
        error = {"least": float(least.min()), "most": float(most.max())}
        error["connections"] = int(most.notna().sum())
    return {
        "limit_rating_assumed": int(table["limit_rating_assumed"].sum()),
        "buildings": int(table["building_id"].nunique()),
        "status": table["firm_status"].value_counts().to_dict(),
        "limit": table["limit_criterion"].value_counts().to_dict(),
        "firm_kw_median": float(firm.median()) if firm.notna().any() else None,
        "firm_kw_sum_of_singles": float(firm.sum()),
        "envelope_error_kw": error,
    }
