"""
Rate a large feeder as a trunk and the leaves that hang on it.

Each leaf (`gridsite.feeder.split`) is rated as a feeder of its own. What the
trunk leaves to all that hangs at one head caps the loads of that leaf at each
step. Limits of other leaves, which a load reaches through the trunk's voltages,
are looked at by bounds. Every firm capacity is then confirmed in AC power flow of
the whole feeder, at the step that limits it and wherever a bound asks for it, and
lowered where that fails.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.hosting.block_rating import (
    VALUES,
    BlockRating,
    Outside,
    Settings,
    empty_rows,
)
from gridsite.hosting.search import largest_passing

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from gridsite.feeder.profiles import Profiles
    from gridsite.feeder.split import Split
    from gridsite.hosting.base_case import BaseCase, GridCase

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]

#: Share of a leaf's load that may be lost on its way from the head. [-]
_LOSSES = 0.1

#: Steps of the whole feeder that are held at once.
_WHOLE_STEPS = 400

#: A value that fails on the whole feeder is lowered by this times its slack over
#: size, and by this, before it is searched for.
_STEP_BACK, _STEP_BACK_KW = 1.5, 0.01


@dataclass(frozen=True, kw_only=True)
class _Reach:
    """What a leaf tells the rest of the feeder."""

    #: fall of the head's voltage that no limit of the leaf minds, by step [pu]
    spare: Floats
    #: voltage limits broken in the base case: element, step, depth
    broken: tuple[str, int, float] | None


def rate_split(
    grid: GridCase,
    feeder_id: str,
    group: pd.DataFrame,
    settings: Settings,
    progress: Callable[[float, str], None] | None = None,
) -> pd.DataFrame:
    """
    Return the hosting rows of the connections of a split block.

    Parameters
    ----------
    grid : GridCase
        Base cases.
    feeder_id : str
        Which block.
    group : pandas.DataFrame
        Connections, with ``feeder_id``.
    settings : Settings
        How they are rated.
    progress : callable, optional
        Called with the share done and a text.

    Returns
    -------
    pandas.DataFrame
        As from `BlockRating.table`.
    """
    split = grid.split(feeder_id)
    if split is None:
        msg = f"feeder {feeder_id!r} is not split"
        raise ValueError(msg)
    trunk = _Trunk(grid, feeder_id, split, settings)
    frames, reach = [], []
    own_drop = pd.Series(np.nan, index=group.index)
    leaf_of = pd.Series(-1, index=group.index)
    for i, (feeder, profiles) in enumerate(split.leaves):
        if progress:
            name = split.leaf_ports[i].removeprefix("behind ")
            progress(i / len(split.leaves), f"hosting capacity behind {name}")
        case = grid.part(feeder, feeder_id, profiles)
        inside = group[group["port_id"].isin(feeder.ports.index).to_numpy()]
        rating = BlockRating(case, profiles, inside, settings, trunk.outside(i))
        reach.append(_reach(rating))
        if inside.empty:
            continue
        out = rating.table()
        drop = case.effect[2][rating.port]
        trunk.refuse(out, i, drop)
        own_drop[inside.index], leaf_of[inside.index] = drop, i
        frames.append(out)
    at_trunk = group[group["port_id"].isin(split.trunk.ports.index).to_numpy()]
    if len(at_trunk):
        rating = BlockRating(trunk.case, split.trunk_profiles, at_trunk, settings)
        frames.append(rating.table())
        own_drop[at_trunk.index] = trunk.case.effect[2][rating.port]
    out = pd.concat(frames).sort_index()
    heads = trunk.head_drop(out, leaf_of)
    _refuse_beyond(out, grid, reach, heads, own_drop, leaf_of)
    more = _steps_beyond(out, reach, heads, leaf_of)
    _confirm(grid, feeder_id, out, more, settings)
    return out


def _reach(rating: BlockRating) -> _Reach:
    """Return what a fall of the voltage at a leaf's head may do in the leaf."""
    case, response, screen = rating.case, rating.response, rating.screen
    # relative changes of all voltages stay below gain x the fall (see `Screen`)
    gain = 1.0 / np.maximum(1.0 - 1.3 * screen.kappa_step, 1e-3)
    n = case.n_voltage
    slack = response.row_slack
    spare = (slack[:n] / gain).min(axis=0, initial=np.inf)
    with np.errstate(divide="ignore"):
        room = slack[n:] / np.maximum(np.abs(case.phasors[n:]), 1e-12)
    spare = np.minimum(spare, (room / gain).min(axis=0, initial=np.inf))
    broken = None
    hit = case.broken[:n]
    if hit.any():
        row, step = np.unravel_index(
            np.where(hit, case.slack[:n], 0.0).argmin(), hit.shape
        )
        element = str(case.rows["element"].iloc[row])
        broken = (element, int(step), float(case.slack[row, step]))
    return _Reach(spare=spare, broken=broken)


class _Trunk:
    """The trunk, with each leaf as one load."""

    def __init__(
        self, grid: GridCase, feeder_id: str, split: Split, settings: Settings
    ) -> None:
        self.split = split
        self.case = grid.part(split.trunk, feeder_id, split.trunk_profiles)
        ports = split.trunk.ports.loc[list(split.leaf_ports)]
        group = pd.DataFrame(
            {
                "building_id": ports.index,
                "port_id": ports.index,
                "feeder_id": feeder_id,
                "bus": ports["bus"].to_numpy(),
                "phases": ports["phases"].to_numpy(),
                "service_a": np.nan,
                "service_v": np.nan,
                "assumed": False,
            }
        )
        quiet = replace(settings, envelope=None)
        self.rating = BlockRating(self.case, split.trunk_profiles, group, quiet)
        self.table = empty_rows(group)
        self.unrated = ~self.rating.without_unrated(self.table)
        self.rating.rate(self.table, np.arange(len(group)))
        self.firm = self.table["firm_kw"].fillna(0.0).to_numpy()
        self.broken: Ints = np.flatnonzero(self.case.broken.any(axis=1))
        self.worse = self.rating.worsens(self.broken)

    def outside(self, leaf: int) -> Outside:
        """Return what the trunk leaves to one leaf."""
        row = self.table.iloc[leaf]
        firm = float(row["firm_kw"])
        headroom = self.rating.envelope.headroom_kw(self.firm)
        # a trunk that was not rated leaves nothing
        left = headroom[leaf] if firm >= 0.0 else np.zeros_like(headroom[leaf])
        return Outside(
            headroom_kw=left / (1.0 + _LOSSES),
            criterion=str(row["limit_criterion"]),
            element=str(row["limit_element"]),
        )

    def refuse(self, out: pd.DataFrame, leaf: int, drop: Floats) -> None:
        """Give no value where the trunk is unrated, or broken and acted on."""
        case = self.case
        port = self.rating.port[leaf]
        for position, row in enumerate(self.broken):
            if row < case.n_voltage:
                acts = case.effect[0][row, port] >= case.limits.acts_on * drop
            else:
                acts = np.full(len(drop), self.worse[position, leaf])
            acts &= (out["firm_status"] == "ok").to_numpy()
            if acts.any():
                at = np.flatnonzero(acts)
                step = np.full(len(at), case.slack[row].argmin())
                self.rating.name_limit_of(out, at, np.full(len(at), row), step)
                out.loc[out.index[at], VALUES] = 0.0
                status = ["firm_status", "flexible_status"]
                out.loc[out.index[at], status] = "none_base_violation"
        if self.unrated[leaf]:
            at_ok = out.index[out["firm_status"] == "ok"]
            out.loc[at_ok, ["firm_status", "flexible_status"]] = "unrated"
            out.loc[at_ok, VALUES] = np.nan
            for name in ("limit_criterion", "limit_element"):
                out.loc[at_ok, name] = self.table[name].iloc[leaf]

    def head_drop(self, out: pd.DataFrame, leaf_of: pd.Series[int]) -> Floats:
        """Return the fall of each head's voltage per kW drawn, (n, n_leaf). [pu]"""
        case, split = self.case, self.split
        ports = case.feeder.ports.index[case.block.ports]
        heads = ports.get_indexer(pd.Index(split.leaf_ports))
        leaf = leaf_of.reindex(out.index).to_numpy()
        own = ports.get_indexer(pd.Index(out["port_id"]))
        at = np.where(leaf >= 0, heads[leaf], own)
        z = np.abs(case.block.impedance[case.block.port_node[heads]])
        size = np.sqrt(1.0 + case.tan_phi**2) / case.block.base_kva
        drop: Floats = z[:, at].T * size / float(np.abs(case.v).min()) * (1.0 + _LOSSES)
        return drop


def _refuse_beyond(
    out: pd.DataFrame,
    grid: GridCase,
    reach: list[_Reach],
    heads: Floats,
    own_drop: pd.Series[float],
    leaf_of: pd.Series[int],
) -> None:
    """Give no value to loads that act on broken voltages of other leaves."""
    base_kva = grid.feeder.base_kva
    own = own_drop.reindex(out.index).to_numpy() / base_kva
    leaf = leaf_of.reindex(out.index).to_numpy()
    time = grid.profiles.time
    for other, told in enumerate(reach):
        if told.broken is None:
            continue
        acts = heads[:, other] >= grid.limits.acts_on * own
        acts &= (leaf != other) & (out["firm_status"] == "ok").to_numpy()
        at = out.index[acts]
        element, step, _ = told.broken
        out.loc[at, VALUES] = 0.0
        out.loc[at, ["firm_status", "flexible_status"]] = "none_base_violation"
        out.loc[at, "limit_criterion"] = "voltage"
        out.loc[at, "limit_element"] = element
        out.loc[at, "limit_time"] = pd.Series([time[step]] * len(at), at, dtype=object)


def _steps_beyond(
    out: pd.DataFrame,
    reach: list[_Reach],
    heads: Floats,
    leaf_of: pd.Series[int],
) -> list[tuple[Ints, Ints]]:
    """Return positions and steps at which other leaves are not proven to hold."""
    firm = out["firm_kw"].fillna(0.0).to_numpy()
    leaf = leaf_of.reindex(out.index).to_numpy()
    lowest = np.array([told.spare.min(initial=np.inf) for told in reach])
    fall = heads * firm[:, None]
    near = (fall >= lowest[None, :]) & (leaf[:, None] != np.arange(len(reach)))
    pairs = []
    for position, other in zip(*np.nonzero(near), strict=True):
        steps = np.flatnonzero(reach[other].spare <= fall[position, other])
        pairs.append((np.full(len(steps), position), steps))
    return pairs


def _confirm(
    grid: GridCase,
    feeder_id: str,
    out: pd.DataFrame,
    more: list[tuple[Ints, Ints]],
    settings: Settings,
) -> None:
    """Lower firm capacities that fail in AC power flow of the whole feeder."""
    ok = np.flatnonzero((out["firm_status"] == "ok").to_numpy())
    time = grid.profiles.time
    limit = time.get_indexer(pd.DatetimeIndex(out["limit_time"].iloc[ok]))
    known = limit >= 0
    position = np.concatenate([ok[known], *[p for p, _ in more]])
    step = np.concatenate([limit[known], *[s for _, s in more]])
    order = np.lexsort((position, step))
    position, step = position[order], step[order]
    every = np.unique(step)
    firm = out["firm_kw"].to_numpy(dtype=float).copy()
    for first in range(0, len(every), _WHOLE_STEPS):
        held = every[first : first + _WHOLE_STEPS]
        profiles = _at_steps(grid.profiles_of(feeder_id), held)
        case = grid.part(grid.feeder, feeder_id, profiles)
        inside = np.isin(step, held)
        at, now = position[inside], np.searchsorted(held, step[inside])
        names = grid.feeder.ports.index[case.block.ports]
        port = names.get_indexer(pd.Index(out["port_id"].iloc[at])).astype(np.int64)
        for attempt in range(2):
            slack, _ = case.evaluate(port, now, firm[at])
            bad = np.flatnonzero(slack < 0.0)
            if attempt == 0:  # most miss by a hair: step back by that, and look again
                back = firm[at[bad]] * (1.0 + _STEP_BACK * slack[bad].clip(-0.5))
                np.minimum.at(firm, at[bad], np.maximum(back - _STEP_BACK_KW, 0.0))
                at, now, port = at[bad], now[bad], port[bad]
        if len(bad):
            found = largest_passing(
                case,
                port[bad],
                now[bad],
                firm[at[bad]] * (1.0 + slack[bad].clip(-0.5)),
                firm[at[bad]],
                settings.tolerance_kw,
            )
            np.minimum.at(firm, at[bad], found.kw)
            fell = np.flatnonzero(found.row >= 0)
            _name(out, case, at[bad][fell], found.row[fell], time[held[now[bad][fell]]])
    out["firm_kw"] = firm
    out["steps_solved"] += np.bincount(position, minlength=len(out))


def _name(
    out: pd.DataFrame,
    case: BaseCase,
    at: Ints,
    row: Ints,
    time: pd.DatetimeIndex,
) -> None:
    labels = out.index[at]
    element = case.rows["element"].to_numpy()[row].astype(object)
    kind = case.rows["criterion"].to_numpy()[row]
    bus = out.loc[labels, "bus"].to_numpy()
    out.loc[labels, "limit_criterion"] = kind
    element = np.where(kind == "voltage change", bus, element)
    out.loc[labels, "limit_element"] = element
    out.loc[labels, "limit_time"] = pd.Series(time, index=labels, dtype=object)


def _at_steps(profiles: Profiles, steps: Ints) -> Profiles:
    """Return profiles of some steps; their stamps only keep the order."""
    factor = profiles.source_factor
    return replace(
        profiles,
        time=profiles.time[: len(steps)],
        p_shapes=np.ascontiguousarray(profiles.p_shapes[:, steps]),
        q_shapes=np.ascontiguousarray(profiles.q_shapes[:, steps]),
        source_factor=None if factor is None else factor[steps],
    )
