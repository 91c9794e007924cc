"""How loads behind one limit share it: by rule at each step, and by asset."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.errors import ConfigError, DataError
from gridsite.hosting.ageing_limit import AgeingLimit
from gridsite.hosting.grid_case import GridCase
from gridsite.hosting.joint_search import JointSearch
from gridsite.hosting.limits import Limits
from gridsite.hosting.load_sets import checked_loads, largest_shares
from gridsite.schemas import check_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gridsite.feeder.model import Feeder
    from gridsite.feeder.profiles import Profiles
    from gridsite.hosting.base_case import BaseCase

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: Rules by which flexible units share a limit.
RULES = ("pro_rata", "last_in")

#: Steps searched at once.
_STEPS_AT_ONCE = 2048

#: Limits that one step of `pro_rata` meets in turn before all units stop.
_MAX_LIMITS = 8


def shared_headroom(
    feeder: Feeder,
    loads: Profiles,
    rating_kw: pd.Series[float],
    *,
    rule: str = "pro_rata",
    limits: Limits | None = None,
    power_factor: float = 0.98,
    tolerance_kw: float = 0.05,
    grid: GridCase | None = None,
) -> pd.DataFrame:
    """
    Return what several flexible units draw at each step under a sharing rule.

    Parameters
    ----------
    feeder : Feeder
        The electrical model.
    loads : Profiles
        What customers draw.
    rating_kw : pandas.Series of float, shape (n,)
        Rating of the units by ``port_id``, each port once; with ``last_in`` in
        the order in which they came. [kW]
    rule : {"pro_rata", "last_in"}
        With ``pro_rata`` all units run at the same share of their rating; when
        a limit stops them, those that act on it stay there and the others go
        on. With ``last_in`` those that came first are served first.
    limits : Limits, optional
        EN 50160 by default.
    power_factor : float, default 0.98
        Of the units, lagging. [-]
    tolerance_kw : float, default 0.05
        Width of the interval that holds each total, from below. [kW]
    grid : GridCase, optional
        Base cases at hand already, of the same inputs.

    Returns
    -------
    pandas.DataFrame of float, shape (n_step, n)
        Served power by time and ``port_id``. [kW]

    Raises
    ------
    ConfigError
        If the rule is unknown, or ``tolerance_kw`` is not above 0.
    DataError
        If a port is unknown, not supplied, has no base case or stands twice, or
        a rating is negative or not finite.

    Notes
    -----
    Every step is solved in AC: at each, the loads newly break no limit and
    worsen no broken one by more than the materiality. Limits of one connection
    (service, voltage change) are not shared; give ratings that keep them.

    Examples
    --------
    >>> from gridsite.feeder.profiles import constant_profiles
    >>> from gridsite.feeder.read_pandapower import read_feeder
    >>> feeder = read_feeder("pandapower:create_kerber_landnetz_freileitung_1")
    >>> at = feeder.load_ports
    >>> loads = constant_profiles(at.index, at["p_kw"], at["q_kvar"])
    >>> served = shared_headroom(feeder, loads, pd.Series(20.0, at.index))
    >>> bool((served.loc[loads.time[0]] < 20.0).all())
    True
    """
    if rule not in RULES:
        msg = f"rule must be one of {', '.join(RULES)}, got {rule!r}"
        raise ConfigError(msg)
    if not tolerance_kw > 0.0:
        msg = f"tolerance_kw must be above 0, got {tolerance_kw}"
        raise ConfigError(msg)
    twice = rating_kw.index[rating_kw.index.duplicated()]
    if len(twice):
        msg = f"rating_kw: ports stand twice, first {twice[:3].tolist()}; add them up"
        raise DataError(msg)
    checked_loads(feeder, rating_kw, "rating_kw")
    if grid is None:
        grid = GridCase(feeder, loads, limits or Limits(), power_factor=power_factor)
    ids = feeder.ports["feeder_id"].loc[rating_kw.index]
    unsolved = sorted(set(ids) & set(grid.failed))
    if unsolved:
        msg = f"rating_kw: feeders without a base case: {unsolved[:3]}; leave these out"
        raise DataError(msg)
    time = grid.profiles.time
    values = np.repeat(rating_kw.to_numpy(dtype=float)[None], len(time), axis=0)
    served = pd.DataFrame(values, index=time, columns=rating_kw.index)
    share = _pro_rata if rule == "pro_rata" else _last_in
    for feeder_id in sorted(set(ids) & set(grid.solved_ids)):
        case = grid.block(feeder_id)
        units = rating_kw[ids == feeder_id]
        port = feeder.ports.index[case.block.ports].get_indexer(units.index)
        for first in range(0, len(time), _STEPS_AT_ONCE):
            steps = np.arange(first, min(first + _STEPS_AT_ONCE, len(time)))
            kw = share(case, port, units.to_numpy(dtype=float), steps, tolerance_kw)
            served.loc[time[steps], units.index] = kw.T
    return served


def _pro_rata(
    case: BaseCase, port: Ints, rating: Floats, steps: Ints, tolerance_kw: float
) -> Floats:
    """Return served power, (n_unit, n_step): equal shares until a limit stops."""
    served = np.zeros((len(port), len(steps)))
    free = np.ones(served.shape, dtype=bool)
    for _ in range(_MAX_LIMITS):
        at = np.flatnonzero((free & (served < rating[:, None])).any(axis=0))
        if not len(at):
            break
        now = served[:, at]
        full = np.where(free[:, at], rating[:, None], now)
        share, row = _go_on(case, port, now, full, steps[at], tolerance_kw)
        served[:, at] = now + share * (full - now)
        stops = np.ones((len(port), len(at)), dtype=bool)
        named = row >= 0
        stops[:, named] = case.acts_on[row[named]][:, port].T
        # a limit on which no unit acts alone stops them all
        stops[:, ~(stops & free[:, at]).any(axis=0)] = True
        free[:, at] &= ~stops
    return served


def _last_in(
    case: BaseCase, port: Ints, rating: Floats, steps: Ints, tolerance_kw: float
) -> Floats:
    """Return served power, (n_unit, n_step): first come, first served."""
    served = np.zeros((len(port), len(steps)))
    for unit in range(len(port)):
        full = served.copy()
        full[unit] = rating[unit]
        share, _ = _go_on(case, port, served, full, steps, tolerance_kw)
        served[unit] = share * rating[unit]
    return served


def _go_on(
    case: BaseCase,
    port: Ints,
    now: Floats,
    full: Floats,
    steps: Ints,
    tolerance_kw: float,
) -> tuple[Floats, Ints]:
    """Return how far units go from what they draw to more, and what stops them."""
    small = np.zeros((len(case.block.ports), len(steps)))
    large = small.copy()
    small[port], large[port] = now, full
    share, row = largest_shares(case, small, large, steps, tolerance_kw)
    return np.nan_to_num(share, nan=0.0), row


def shared_assets(
    hosting: pd.DataFrame, grid: GridCase, *, tolerance_kw: float = 0.1
) -> pd.DataFrame:
    """
    Return which buildings share the limits that bind them.

    Parameters
    ----------
    hosting : pandas.DataFrame
        Contract ``hosting``, of the same inputs as ``grid``.
    grid : GridCase
        Base cases.
    tolerance_kw : float, default 0.1
        Width of the interval that holds each joint value, from below. [kW]

    Returns
    -------
    pandas.DataFrame
        One row per limit that binds a firm capacity, those of most buildings
        first: ``feeder_id, criterion, element, n_buildings`` bound by it,
        ``sum_of_singles_kw`` of these, ``joint_kw`` (the largest total of
        these alone), ``n_acting`` connections of the table that act on it,
        ``buildings`` (ids of those bound).

    Raises
    ------
    DataError
        If a port is unknown to the feeder of the grid.

    Notes
    -----
    Limits of one connection (service, voltage change) are not shared and are
    left out; so are buildings without a firm capacity above 0.

    Examples
    --------
    >>> from gridsite.feeder.profiles import constant_profiles
    >>> from gridsite.feeder.read_pandapower import read_feeder
    >>> from gridsite.hosting.capacity import hosting_capacity
    >>> feeder = read_feeder("pandapower:create_kerber_landnetz_freileitung_1")
    >>> at = feeder.load_ports
    >>> loads = constant_profiles(at.index, at["p_kw"], at["q_kvar"])
    >>> grid = GridCase(feeder, loads, Limits(voltage_change_pu=0.2))
    >>> table = hosting_capacity(feeder, loads, grid=grid)
    >>> assets = shared_assets(table, grid)
    >>> bool((assets["joint_kw"] <= assets["sum_of_singles_kw"] + 0.1).all())
    True
    """
    table = check_table("hosting", hosting)
    unknown = table.loc[~table["port_id"].isin(grid.feeder.ports.index), "port_id"]
    if len(unknown):
        msg = f"hosting: ports unknown to {grid.feeder.name}: {unknown[:3].tolist()}"
        raise DataError(msg)
    alone = table["limit_criterion"].isin(["service", "voltage change", ""])
    bound = table[(table["firm_kw"] > 0.0) & ~alone]
    keys = ["feeder_id", "limit_criterion", "limit_element"]
    rows = [
        _asset(grid, table, (str(a), str(b), str(c)), group, tolerance_kw)
        for (a, b, c), group in bound.groupby(keys, sort=True)
    ]
    columns = ["feeder_id", "criterion", "element", "n_buildings"]
    columns += ["sum_of_singles_kw", "joint_kw", "n_acting", "buildings"]
    out = pd.DataFrame(rows, columns=columns)
    order = out["n_buildings"].to_numpy().argsort(kind="stable")[::-1]
    return out.iloc[order].reset_index(drop=True)


def _asset(
    grid: GridCase,
    table: pd.DataFrame,
    limit: tuple[str, str, str],
    group: pd.DataFrame,
    tolerance_kw: float,
) -> tuple[str, str, str, int, float, float, int, list[str]]:
    """Return the row of one limit and the buildings that it binds."""
    feeder_id, criterion, element = limit
    case = grid.block(feeder_id)
    rows = case.rows.iloc[: case.n_row]
    here = (rows["criterion"] == criterion) & (rows["element"] == element)
    if criterion == "transformer ageing" and grid.ageing is not None:
        aged = AgeingLimit(case, grid.ageing)
        moved = aged.acts(np.arange(len(case.block.ports)))[aged.names == element]
    else:
        moved = case.acts_on[here.to_numpy()]
    acts = np.flatnonzero(moved.any(axis=0))
    acting = grid.feeder.ports.index[case.block.ports][acts]
    firm = group.groupby("port_id")["firm_kw"].max()
    joint = float(firm.max())
    if len(firm) > 1:
        none = np.zeros(len(grid.feeder.ports))
        kw = firm.to_numpy(dtype=np.float64)
        search = JointSearch(grid, feeder_id, firm.index, kw, none, tolerance_kw)
        joint = float(search.largest.kw.sum())
    return (
        *limit,
        int(group["building_id"].nunique()),
        float(firm.sum()),
        joint,
        int(table["port_id"][table["port_id"].isin(acting)].nunique()),
        sorted(group["building_id"]),
    )
