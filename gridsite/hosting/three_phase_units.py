"""
Capacity of a three-phase unit on a three-phase feeder: one unit, three ports.

A unit draws the same on each of three ports, one per phase, of its building's bus.
Its headroom is searched at every step in AC power flow with all three drawn together:
what single-phase capacities of the three ports cannot say, since balanced phases
relieve one another's neutral and unbalance. Firm capacity is the least headroom, and
flexible capacities follow from headroom as everywhere (`gridsite.hosting.flexible`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.errors import DataError
from gridsite.hosting.flexible import LEVELS, flexible_ratings
from gridsite.hosting.load_sets import least_margin, next_guess, set_voltages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gridsite.feeder.model import Feeder
    from gridsite.hosting.base_case import BaseCase, GridCase

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

_PHASES = ("A", "B", "C")

#: Voltages solved at once, to bound memory. [values]
_VALUES = 2_000_000

#: What is found keeps this margin, above the noise of the power flow. [-]
_INSIDE = 1e-9

_MAX_ITERATIONS = 100


def three_phase_ports(feeder: Feeder) -> pd.DataFrame:
    """
    Return the load connections of three phases.

    Parameters
    ----------
    feeder : Feeder
        Three-phase model.

    Returns
    -------
    pandas.DataFrame, one row per connection
        ``building_id`` (the load's name in the file) and the names of its ports,
        ``A``, ``B`` and ``C``. Connections without supply are left out.

    Raises
    ------
    DataError
        If the model is balanced.
    """
    if (feeder.nodes["phases"] == "ABC").any():
        msg = (
            f"{feeder.name}: a balanced model has three-phase units anyway; use "
            "hosting_capacity, or read it with three_phase=True"
        )
        raise DataError(msg)
    ports = feeder.load_ports
    ports = ports[ports["phases"].isin(_PHASES) & (ports["node"] >= 0)]
    stem = ports.index.str.replace(r"\.[ABC]$", "", regex=True)
    frame = pd.DataFrame(
        {
            "building_id": stem,
            "phase": ports["phases"].to_numpy(),
            "port": ports.index,
        }
    )
    table = frame.pivot_table(
        index="building_id", columns="phase", values="port", aggfunc="first"
    )
    out: pd.DataFrame = table.reindex(columns=list(_PHASES)).dropna().reset_index()
    return out.rename_axis(columns=None)


def three_phase_capacity(
    grid: GridCase,
    units: pd.DataFrame | None = None,
    *,
    tolerance_kw: float = 0.1,
    levels: Sequence[float] = LEVELS,
    min_power_share: float = 0.0,
    battery_kwh: float = 0.0,
    battery_kw: float | None = None,
) -> pd.DataFrame:
    """
    Return firm and flexible capacity of three-phase units, each alone.

    Parameters
    ----------
    grid : GridCase
        Base cases of a three-phase model.
    units : pandas.DataFrame, optional
        As from `three_phase_ports`, which it is by default.
    tolerance_kw : float, default 0.1
        Width of the search at each step, of the whole unit. [kW]
    levels : sequence of float, default `LEVELS`
        Shares of energy, and of steps, that must be served. [-]
    min_power_share : float, default 0.0
        Share of its rating below which a flexible unit pauses. [-]
    battery_kwh : float, default 0.0
        Energy that a battery at each flexible unit can give. [kWh]
    battery_kw : float, optional
        Power of that battery; the unit's rating by default. [kW]

    Returns
    -------
    pandas.DataFrame, one row per unit
        ``building_id, firm_kw, firm_status, limit_criterion, limit_element,
        limit_time`` and the columns of `flexible_ratings`; power of all three phases
        together.

    Raises
    ------
    DataError
        If a port is unknown, there is no unit, or the model is balanced.

    Notes
    -----
    A unit passes at a step when it newly breaks nothing and worsens nothing (the
    words of the replay), and the voltage at none of its ports falls by more than the
    largest voltage change. It gets ``none_base_violation`` where one of its ports acts
    on a limit that is broken at any step. The building's service and transformer
    ageing are not checked here. Every step is searched, none is estimated.
    """
    table = three_phase_ports(grid.feeder) if units is None else units
    known = grid.feeder.ports
    unknown = table[~table[list(_PHASES)].isin(known.index).all(axis=1)]
    if len(unknown):
        first = unknown["building_id"].head(3).tolist()
        msg = f"units: {len(unknown)} with unknown ports, first {first}"
        raise DataError(msg)
    rows, headrooms = [], []
    if table.empty:
        msg = f"{grid.feeder.name}: no connection of three phases to rate"
        raise DataError(msg)
    for record in table.to_dict("records"):
        unit = {str(name): str(value) for name, value in record.items()}
        row, headroom = _rated(grid, unit, tolerance_kw)
        rows.append(row)
        headrooms.append(headroom)
    ratings = flexible_ratings(
        np.array(headrooms),
        grid.profiles.step_hours,
        levels=levels,
        min_power_share=min_power_share,
        battery_kwh=battery_kwh,
        battery_kw=battery_kw,
    )
    out = pd.DataFrame(rows).join(ratings)
    unsolved = out["firm_kw"].isna()
    out.loc[unsolved, ratings.columns] = np.nan
    return out


def _rated(
    grid: GridCase, unit: dict[str, str], tolerance_kw: float
) -> tuple[dict[str, object], Floats]:
    """Return the row of one unit, and its headroom at each step. [kW]"""
    time = grid.profiles.time
    row: dict[str, object] = {
        "building_id": unit["building_id"],
        "firm_kw": np.nan,
        "firm_status": "not_converged",
        "limit_criterion": "",
        "limit_element": "",
        "limit_time": None,
    }
    nothing = np.zeros(len(time))
    feeder_id = str(grid.feeder.ports.loc[unit["A"], "feeder_id"])
    if feeder_id in grid.failed or feeder_id not in grid.feeder_ids:
        return row, nothing
    case = grid.block(feeder_id)
    names = case.feeder.ports.index[case.block.ports]
    port = names.get_indexer(pd.Index([unit[p] for p in _PHASES])).astype(np.int64)
    unrated = _acts_on_unrated(case, port)
    if unrated is not None:
        row |= dict(zip(("limit_criterion", "limit_element"), unrated, strict=True))
        return row | {"firm_status": "unrated"}, nothing
    broken = np.flatnonzero(case.broken.any(axis=1) & case.acts_on[:, port].any(axis=1))
    if len(broken):
        at = int(broken[case.slack[broken].min(axis=1).argmin()])
        step = int(case.slack[at].argmin())
        row |= {"firm_kw": 0.0, "firm_status": "none_base_violation"}
        return row | _named(case, at, step, unit), nothing
    headroom, binds = _headroom(case, port, tolerance_kw)
    step = int(headroom.argmin())
    row["firm_kw"] = float(headroom[step])
    if headroom[step] >= case.limits.search_cap_kw:
        return row | {"firm_status": "censored"}, headroom
    if binds[step] < 0:  # the power flow stops it, which is no capacity
        return row | {"firm_kw": np.nan}, nothing
    row["firm_status"] = "ok"
    return row | _named(case, int(binds[step]), step, unit), headroom


def _named(
    case: BaseCase, at: int, step: int, unit: dict[str, str]
) -> dict[str, object]:
    limit = case.rows.iloc[at]
    own = limit["criterion"] == "voltage change"
    return {
        "limit_criterion": limit["criterion"],
        "limit_element": unit["building_id"] if own else limit["element"],
        "limit_time": case.time[step],
    }


def _acts_on_unrated(case: BaseCase, port: Ints) -> tuple[str, str] | None:
    """Return a limit without a rating on which a unit acts."""
    if not len(case.unrated):
        return None
    drawn = 1.0 / np.conj(case.port_voltage(case.block.v_no_load))[port]
    flow = np.abs(
        case.block.terminal_y[case.unrated] @ (case.block.impedance[:, port] * drawn)
    )
    acts = (flow >= case.limits.acts_on * np.abs(drawn)).any(axis=1)
    if not acts.any():
        return None
    ends = case.feeder.terminals.iloc[case.block.terminals].iloc[case.unrated]
    first = ends.iloc[int(acts.argmax())]
    return str(first["criterion"]), str(first["element"])


def _margin(case: BaseCase, port: Ints, kw: Floats, steps: Ints) -> tuple[Floats, Ints]:
    """Return the least margin of a unit at steps, and its row (-1: no solution)."""
    margin, row = np.empty(len(kw)), np.empty(len(kw), dtype=np.int64)
    most = case.limits.voltage_change_pu
    width = max(16, _VALUES // max(len(case.block.nodes), case.n_row, 1))
    for first in range(0, len(kw), width):
        part = slice(first, first + width)
        sets = np.zeros((len(case.block.ports), len(kw[part])))
        sets[port] = kw[part] / 3.0
        v = set_voltages(case, sets, steps[part])
        least, which = least_margin(case, v, steps[part])
        if case.limits.on("voltage change"):
            base = np.abs(case.port_voltage(case.v[:, steps[part]])[port])
            drop = (base - np.abs(case.port_voltage(v)[port])).max(axis=0)
            own = (most - drop) / most
            lower = own < least
            least, which = (
                np.where(lower, own, least),
                np.where(lower, case.n_row, which),
            )
        margin[part], row[part] = least, which
    return margin, row


def _headroom(case: BaseCase, port: Ints, tolerance_kw: float) -> tuple[Floats, Ints]:
    """Return the largest unit of each step, from below, and what stops it. [kW]"""
    n, cap = len(case.time), case.limits.search_cap_kw
    steps = np.arange(n)
    low, high = np.zeros(n), np.full(n, min(10.0, cap))
    g_low = np.ones(n)
    g_high, row = _margin(case, port, high, steps)
    growing = np.flatnonzero((g_high >= _INSIDE) & (high < cap))
    while len(growing):
        low[growing], g_low[growing] = high[growing], g_high[growing]
        high[growing] = np.minimum(2.0 * high[growing], cap)
        g_high[growing], row[growing] = _margin(case, port, high[growing], growing)
        growing = growing[(g_high[growing] >= _INSIDE) & (high[growing] < cap)]
    whole = g_high >= _INSIDE
    low[whole] = high[whole]
    active = np.flatnonzero(~whole)
    for iteration in range(_MAX_ITERATIONS):
        active = active[(high - low)[active] > tolerance_kw]
        if not len(active):
            break
        ends = (low[active], high[active], g_low[active], g_high[active])
        width = np.full(len(active), tolerance_kw)
        guess = next_guess(*ends, width, iteration)
        margin, limit = _margin(case, port, guess, active)
        good = margin >= _INSIDE
        up, down = active[good], active[~good]
        low[up], g_low[up] = guess[good], margin[good]
        high[down], g_high[down], row[down] = guess[~good], margin[~good], limit[~good]
    return low, row
