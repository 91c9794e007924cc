"""
Load hosting capacity where regulators and capacitors act.

Each setting of the base case is rated with its controls standing, and the least of
these values is where the search begins. The value reported is that of the controls
acting on the load too: lowered where they do harm, raised where they help.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.hosting.acting import course_of
from gridsite.hosting.acting_case import UNSETTLED, ActingCase
from gridsite.hosting.flexible_rows import flexible_columns
from gridsite.hosting.rows import FLEXIBLE, flexible_columns_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from gridsite.hosting.acting_case import Verdict
    from gridsite.hosting.grid_case import GridCase
    from gridsite.hosting.settings import Settings

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

    Rate = Callable[[GridCase, Settings], pd.DataFrame]

#: Powers tried side by side before bisection, from what holds to twice that.
LADDER = 8

#: Powers below a value found, apart alike, that are tried too.
GAPS = 32

#: Share of a value by which it is found at best. [-]
_SHARE = 1e-3

#: How far an envelope is trusted: what it lies above the truth at most. [kW] and [-]
_ENVELOPE_KW, _ENVELOPE_SHARE = 0.1, 2e-3

#: Statuses from the one that decides first.
_ORDER = ["not_converged", "unsupplied", "lacks_phase", "unrated"]
_ORDER += ["none_base_violation"]


def rate_acting(grid: GridCase, settings: Settings, rate: Rate) -> pd.DataFrame:
    """
    Return hosting rows with controls that act.

    Parameters
    ----------
    grid : GridCase
        With controls that act.
    settings : Settings
        How connections are rated.
    rate : callable
        Rates all connections on a grid whose controls stand.

    Returns
    -------
    pandas.DataFrame
        Rows of ``hosting``, plus ``standing_kw``: the value with the controls standing
        where the base case leaves them. [kW]
    """
    tables, headroom = _by_setting(grid, settings, rate)
    out = _least(tables)
    out["standing_kw"] = out["firm_kw"]
    for feeder_id, group in out.groupby("feeder_id"):
        found = group["firm_status"].isin(["ok", "censored"])
        if feeder_id != "" and found.any():
            _let_act(grid, str(feeder_id), out, group.index[found], settings, headroom)
    lost = _lost(tables)
    _flexible(grid, settings, out, headroom, lost)
    none = lost.index[lost.ne("")]
    out.loc[none, "flexible_status"] = lost[none]
    out.loc[none, flexible_columns_of(out)] = np.nan
    return out


def _by_setting(
    grid: GridCase, settings: Settings, rate: Rate
) -> tuple[list[pd.DataFrame], pd.DataFrame]:
    """Return hosting rows of each setting, and the headroom of every step."""
    time = grid.profiles.time
    tables: list[pd.DataFrame] = []
    headroom = pd.DataFrame()
    for case, (_, steps) in zip(grid.settings, course_of(grid).groups(), strict=True):
        kept: list[tuple[pd.Index, Floats]] = []

        def keep(
            at: pd.Index, kw: Floats, kept: list[tuple[pd.Index, Floats]] = kept
        ) -> None:
            kept.append((at, kw))

        alone = replace(settings, envelope=keep, lower_envelope=None)
        table = rate(case, alone)
        order = case.profiles.time.get_indexer(pd.DatetimeIndex(table["limit_time"]))
        when = [time[steps[k]] if k >= 0 else pd.NaT for k in order]
        named = pd.Series(when, index=table.index, dtype=object)
        tables.append(table.assign(limit_time=named))
        if headroom.empty:
            empty = np.full((len(table), len(time)), np.nan)
            headroom = pd.DataFrame(empty, index=table.index)
        values = headroom.to_numpy(copy=False)
        values[:, steps] = table["firm_kw"].to_numpy()[:, None]
        for at, kw in kept:
            values[np.ix_(headroom.index.get_indexer(at), steps)] = kw
        headroom = pd.DataFrame(values, index=table.index)
    return tables, headroom


def _least(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Return, row by row, that of the setting that allows least."""
    rank = {status: k for k, status in enumerate(_ORDER)}
    order = np.array(
        [t["firm_status"].map(rank).fillna(len(_ORDER)).to_numpy() for t in tables]
    )
    firm = np.array([t["firm_kw"].fillna(0.0).to_numpy() for t in tables])
    firm += 1e-9 * np.array(
        [(t["firm_status"] == "censored").to_numpy() for t in tables]
    )
    chosen = np.lexsort((firm, order), axis=0)[0]
    parts = [t.iloc[np.flatnonzero(chosen == k)] for k, t in enumerate(tables)]
    out = pd.concat([p for p in parts if len(p)]).loc[tables[0].index]
    for column, how in (
        ("service_headroom_kw", "min"),
        ("steps_solved", "sum"),
        ("envelope_error_least_kw", "min"),
        ("envelope_error_most_kw", "max"),
    ):
        every = pd.concat([t[column] for t in tables], axis=1)
        out[column] = every.agg(how, axis=1)
    out["steps_solved"] = out["steps_solved"].astype(int)
    return out


def _lost(tables: list[pd.DataFrame]) -> pd.Series[str]:
    """Return why rows have no flexible capacity at some setting; empty where none."""
    out = pd.Series("", index=tables[0].index, dtype=object)
    for table in tables:
        status = table["flexible_status"]
        out = out.where(~status.isin(_ORDER[:-1]) | out.ne(""), status)
    return out


@dataclass(frozen=True, kw_only=True)
class _Found:
    """Powers that hold, whether more fails (or is not asked for), and what does."""

    kw: Floats
    row: Ints
    step: Ints


@dataclass(frozen=True, kw_only=True)
class _Standing:
    """
    What is known of connections with the controls where the base case leaves them.

    ``kw`` holds at all steps, ``headroom_kw`` (n, n_step) at each, up to
    `_ENVELOPE_KW` and `_ENVELOPE_SHARE`.
    """

    kw: Floats
    headroom_kw: Floats

    def holds(self, which: Ints, kw: Floats) -> NDArray[np.bool_]:
        """Return at which steps a load of each connection breaks nothing."""
        least = kw * (1.0 + _ENVELOPE_SHARE) + _ENVELOPE_KW
        held: NDArray[np.bool_] = self.headroom_kw[which] >= least[:, None]
        held[kw <= self.kw[which]] = True
        return held


def _let_act(
    grid: GridCase,
    feeder_id: str,
    out: pd.DataFrame,
    index: pd.Index,
    settings: Settings,
    headroom: pd.DataFrame,
) -> None:
    """Replace the firm values of a block by those with controls acting on the load."""
    case = ActingCase(grid, feeder_id)
    inner = case.case
    names = inner.feeder.ports.index[inner.block.ports]
    port = names.get_indexer(pd.Index(out.loc[index, "port_id"])).astype(np.int64)
    cap = grid.limits.search_cap_kw
    service = out.loc[index, "service_headroom_kw"].fillna(np.inf).to_numpy()
    top = np.minimum(service, cap)
    standing = out.loc[index, "firm_kw"].to_numpy(dtype=float)
    at = headroom.index.get_indexer(index)
    known = _Standing(kw=standing, headroom_kw=headroom.to_numpy()[at])
    found = _search(case, port, known, top, settings.tolerance_kw)
    out.loc[index, "firm_kw"] = found.kw
    free = found.step < 0
    status = np.where(free & (top >= cap), "censored", "ok")
    for column in ("firm_status", "flexible_status"):
        out.loc[index, column] = status
    limits, time = inner.rows, grid.profiles.time
    kinds = np.append(limits["criterion"].to_numpy(), UNSETTLED)
    elements = np.append(limits["element"].to_numpy(), feeder_id)
    named = index[~free]
    row, step = found.row[~free], found.step[~free]
    out.loc[named, "limit_criterion"] = kinds[row]
    own = kinds[row] == "voltage change"
    out.loc[named, "limit_element"] = np.where(
        own, out.loc[named, "bus"], elements[row]
    )
    out.loc[named, "limit_time"] = pd.Series(time[step], index=named, dtype=object)
    values = headroom.to_numpy(copy=False)
    values[at] = np.maximum(values[at], found.kw[:, None])
    values[at[~free], step] = found.kw[~free]


def _search(
    case: ActingCase, port: Ints, known: _Standing, top: Floats, tolerance_kw: float
) -> _Found:
    """Return the largest loads below which nothing was seen to fail."""

    def judge(which: Ints, kw: Floats) -> Verdict:
        return case.judge(
            port[which], kw, lambda some: known.holds(which[some], kw[some])
        )

    n = len(port)
    row, step = np.full(n, -1), np.full(n, -1)
    low, high = np.zeros(n), np.maximum(known.kw, tolerance_kw)
    high = np.minimum(high, top)
    rising = np.arange(n)
    while len(rising):
        share = np.arange(1, LADDER + 1) / LADDER
        kw = low[rising, None] + (high - low)[rising, None] * share
        verdict = judge(np.repeat(rising, LADDER), kw.ravel())
        holds = verdict.holds.reshape(kw.shape)
        first = np.where(holds.all(axis=1), LADDER, holds.argmin(axis=1))
        at = np.arange(len(rising))
        failed = first < LADDER
        place = np.ravel_multi_index((at[failed], first[failed]), kw.shape)
        hit = rising[failed]
        row[hit], step[hit] = verdict.row[place], verdict.step[place]
        high[hit] = kw[at[failed], first[failed]]
        below = np.where(first > 0, kw[at, np.maximum(first - 1, 0)], low[rising])
        low[rising] = below
        rising = rising[~failed & (below < top[rising])]
        high[rising] = np.minimum(2.0 * low[rising] + tolerance_kw, top[rising])
    _bisect(judge, low, high, row, step, tolerance_kw)
    # a smaller load may fail where the controls do not help it yet
    share = np.arange(1, GAPS) / GAPS
    verdict = judge(np.repeat(np.arange(n), len(share)), np.outer(low, share).ravel())
    below = verdict.holds.reshape(n, len(share))
    hit = np.flatnonzero(~below.all(axis=1))
    first = below[hit].argmin(axis=1)
    place = np.ravel_multi_index((hit, first), below.shape)
    row[hit], step[hit] = verdict.row[place], verdict.step[place]
    high[hit] = low[hit] * share[first]
    low[hit] *= first / GAPS
    _bisect(judge, low, high, row, step, tolerance_kw)
    return _Found(kw=low, row=row, step=step)


def _bisect(
    judge: Callable[[Ints, Floats], Verdict],
    low: Floats,
    high: Floats,
    row: Ints,
    step: Ints,
    tolerance_kw: float,
) -> None:
    """Close brackets, in place, between powers that hold and that fail."""
    width = np.maximum(tolerance_kw, _SHARE * low)
    while len(left := np.flatnonzero((step >= 0) & (high - low > width))):
        middle = 0.5 * (low[left] + high[left])
        verdict = judge(left, middle)
        good = verdict.holds
        low[left[good]], high[left[~good]] = middle[good], middle[~good]
        row[left[~good]], step[left[~good]] = verdict.row[~good], verdict.step[~good]


def _flexible(
    grid: GridCase,
    settings: Settings,
    out: pd.DataFrame,
    headroom: pd.DataFrame,
    lost: pd.Series[str],
) -> None:
    """Write flexible capacities from the headroom of all steps."""
    closed = (out["firm_status"] == "none_base_violation") & lost.eq("")
    open_at = headroom.loc[out.index].max(axis=1) > 0.0
    out.loc[closed & open_at, "flexible_status"] = "ok"
    out.loc[closed & ~open_at, "flexible_status"] = "none_base_violation"
    out.loc[closed & ~open_at, FLEXIBLE] = 0.0
    good = (out["flexible_status"] == "ok").to_numpy()
    good &= lost.eq("").to_numpy()
    censored = out["firm_status"] == "censored"
    for column in FLEXIBLE:
        out.loc[censored, column] = out.loc[censored, "firm_kw"]
    if not good.any():
        return
    index = out.index[good]
    kw = headroom.loc[index].to_numpy()
    columns = flexible_columns(kw, grid.profiles.step_hours, settings)
    for name, values in columns.items():
        out.loc[index, name] = values
    if settings.envelope is not None:
        settings.envelope(index, kw)
