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
from functools import cached_property
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
from gridsite.hosting.flexible import level_name
from gridsite.hosting.search import largest_passing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from gridsite.feeder.profiles import Profiles
    from gridsite.feeder.split import Split
    from gridsite.hosting.base_case import BaseCase, GridCase

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]

#: Share of a leaf's load that may be lost on its way from the head. [-]
_LOSSES = 0.1

#: Steps of least headroom of each connection that are kept to be confirmed, and
#: the margin within which they are, beside what the model of the part fell short.
_TIGHT_STEPS, _NEAR = 16, 1e-4

#: Connections of each part whose headroom is looked at on the whole feeder.
_SAMPLED = 4

#: Steps of the whole feeder that are held at once.
_WHOLE_STEPS = 400

#: Connections that are rated again together.
_CAPPED_AT_ONCE = 256

#: A value that fails on the whole feeder is lowered by this times its slack over
#: size, and by this, before it is searched for.
_STEP_BACK, _STEP_BACK_KW = 1.5, 0.01


@dataclass(frozen=True, kw_only=True)
class _Reach:
    """What a leaf tells the rest of the feeder."""

    #: fall of the head's voltage that no limit of the leaf minds, by step [pu]
    spare: Floats
    #: criterion and element of the limit that minds first
    first: tuple[str, str]
    #: the voltage limit broken most in the base case: element and step
    broken: tuple[str, int] | None


@dataclass(frozen=True, kw_only=True)
class _Capped:
    """Connections of a part that limits outside it may cap."""

    part: int
    #: what is left outside to each connection of the part; scaled in place
    outside: Outside
    #: positions in the part, the step of least headroom of each, and what the
    #: part itself leaves there
    rows: Ints
    step: Ints
    own_kw: Floats


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
    rater = _SplitRating(grid, feeder_id, split, group, settings)
    rater.rate_leaves(progress)
    rater.rate_trunk()
    rater.refuse_beyond()
    rater.rate_capped_again()
    rater.confirm()
    return rater.out


class _SplitRating:
    """Rate the parts of a split block, and what each leaves to the others."""

    def __init__(
        self,
        grid: GridCase,
        feeder_id: str,
        split: Split,
        group: pd.DataFrame,
        settings: Settings,
    ) -> None:
        self.grid, self.feeder_id, self.split = grid, feeder_id, split
        self.settings = settings
        self.trunk = _Trunk(grid, feeder_id, split, replace(settings, envelope=None))
        ports = group["port_id"]
        #: connections of each leaf, and of the trunk (last)
        self.groups = [
            group[ports.isin(part.ports.index).to_numpy()]
            for part in (*(leaf for leaf, _ in split.leaves), split.trunk)
        ]
        self.out = empty_rows(group)
        self.reach: list[_Reach] = []
        self.own_drop = pd.Series(np.nan, index=group.index)
        #: steps of least headroom of each connection, and that headroom
        self.tight: dict[int, tuple[Ints, Floats]] = {}

    def _rating(
        self, part: int, outside: Outside | None, *, quiet: bool = False
    ) -> BlockRating:
        """Return the rating of one part; the trunk is the last."""
        split, inside = self.split, self.groups[part]
        if part == len(split.leaves):
            case, profiles = self.trunk.case, split.trunk_profiles
        else:
            feeder, profiles = split.leaves[part]
            case = self.grid.part(feeder, self.feeder_id, profiles)
        settings = replace(self.settings, envelope=None) if quiet else self.settings
        return BlockRating(case, profiles, inside, settings, outside)

    def _rows(self, rating: BlockRating) -> pd.DataFrame:
        """Return the rows of one part, and remember its tightest steps."""
        inside = rating.group
        if inside.empty:
            return empty_rows(inside)
        rows = rating.table()
        self.own_drop[inside.index] = rating.case.effect[2][rating.port]
        if not hasattr(rating, "envelope"):
            return rows
        firm = rows["firm_kw"].to_numpy()[rating.chosen]
        headroom = rating.envelope.headroom_kw(np.nan_to_num(firm))
        count = min(_TIGHT_STEPS, headroom.shape[1])
        step = np.argpartition(headroom, count - 1, axis=1)[:, :count]
        least = np.take_along_axis(headroom, step, axis=1)
        for k, label in enumerate(inside.index[rating.chosen]):
            self.tight[label] = (step[k], least[k])
        return rows

    def _keep(self, *parts: pd.DataFrame) -> None:
        """Take over the rows of some parts."""
        rows = pd.concat([part for part in parts if len(part)] or [self.out.iloc[:0]])
        kept = self.out[~self.out.index.isin(rows.index)]
        every = pd.concat([kept, rows]) if len(kept) else rows
        self.out = every.loc[self.out.index]

    def rate_leaves(self, progress: Callable[[float, str], None] | None) -> None:
        """Rate each leaf under what the trunk leaves to it."""
        parts = []
        for i, name in enumerate(self.split.leaf_ports):
            if progress:
                text = f"hosting capacity behind {name.removeprefix('behind ')}"
                progress(i / len(self.split.leaves), text)
            outside = self.trunk.outside(i, len(self.groups[i]))
            rating = self._rating(i, outside)
            self.reach.append(_reach(rating))
            rows = self._rows(rating)
            inside = self.groups[i].index
            drop: Floats = np.asarray(self.own_drop[inside], dtype=np.float64)
            self.trunk.refuse(rows, i, drop)
            parts.append(rows)
        self._keep(*parts)

    def rate_trunk(self) -> None:
        """Rate the trunk's own connections."""
        if len(self.groups[-1]):
            self._keep(self._rows(self._rating(len(self.split.leaves), None)))

    def refuse_beyond(self) -> None:
        """Give no value to loads that act on broken voltages of other leaves."""
        out, time = self.out, self.grid.profiles.time
        broken = [k for k, told in enumerate(self.reach) if told.broken is not None]
        for part, inside in enumerate(self.groups):
            if not broken or inside.empty:
                continue
            drop = self.trunk.head_drop(part, inside)[:, broken]
            own = self.own_drop[inside.index].to_numpy() / self.grid.feeder.base_kva
            acts = drop >= self.grid.limits.acts_on * own[:, None]
            acts &= np.array(broken) != part
            hit = np.flatnonzero(acts.any(axis=1) & _open(out.loc[inside.index]))
            first = acts[hit].argmax(axis=1)
            for k in np.unique(first):
                at, told = inside.index[hit[first == k]], self.reach[broken[k]].broken
                element, step = ("", 0) if told is None else told
                out.loc[at, VALUES] = 0.0
                out.loc[at, ["firm_status", "flexible_status"]] = "none_base_violation"
                out.loc[at, "limit_criterion"] = "voltage"
                out.loc[at, "limit_element"] = element
                when = pd.Series([time[step]] * len(at), at, dtype=object)
                out.loc[at, "limit_time"] = when

    def rate_capped_again(self) -> None:
        """Rate again what limits outside its own part may cap, in batches."""
        waiting: list[_Capped] = []
        for part in range(len(self.groups)):
            capped = self._capped(part)
            if capped is not None:
                waiting.append(capped)
            if sum(len(c.rows) for c in waiting) >= _CAPPED_AT_ONCE:
                self._rate_again(waiting)
                waiting = []
        self._rate_again(waiting)

    def _capped(self, part: int) -> _Capped | None:
        """Return the connections of a part that limits outside may cap, if any."""
        # the largest rating of interest: by energy at the lowest level
        largest = f"flexible_energy{level_name(min(self.settings.levels))}_kw"
        inside = self.groups[part]
        values = self.out.loc[inside.index, [largest, "firm_kw"]].max(axis=1)
        open_rows = _open(self.out.loc[inside.index])
        if not open_rows.any():
            return None
        outside = self._outside(part, float(values.max()))
        least = outside.headroom_kw.min(axis=1)
        rows = np.flatnonzero(open_rows & (least <= values.to_numpy() * (1.0 + 1e-6)))
        if not len(rows):
            return None
        first = self._rating(part, None, quiet=True)
        first.rate(empty_rows(inside), rows)
        step = outside.headroom_kw[rows].argmin(axis=1)
        own_kw = first.envelope.grid_kw[np.arange(len(rows)), step]
        return _Capped(part=part, outside=outside, rows=rows, step=step, own_kw=own_kw)

    def _rate_again(self, batch: list[_Capped]) -> None:
        """Rate parts again under what AC searches on the whole leave to them."""
        if not batch:
            return
        self._calibrate(batch)
        parts, refused = [], []
        for capped in batch:
            inside = self.groups[capped.part]
            now = self.out.loc[inside.index]
            refused.append(now[~_open(now)])
            parts.append(self._rows(self._rating(capped.part, capped.outside)))
        self._keep(*parts)
        self._keep(*refused)

    def _outside(self, part: int, enough_kw: float) -> Outside:
        """
        Return what the trunk and other leaves leave to a part's connections.

        Leaves that leave more than ``enough_kw`` are passed over.
        """
        inside = self.groups[part]
        found = self.trunk.outside(part, len(inside))
        left = found.headroom_kw.copy()
        drop = self.trunk.head_drop(part, inside)
        names, lowest = (found.criterion, found.element), left.min(initial=np.inf)
        for other, told in enumerate(self.reach):
            most = float(drop[:, other].max(initial=0.0)) * enough_kw
            if other == part or told.spare.min(initial=np.inf) > most:
                continue
            room = told.spare[None, :] / np.maximum(drop[:, [other]], 1e-15)
            if room.min() < lowest:
                names, lowest = told.first, room.min()
            np.minimum(left, room, out=left)
        return Outside(headroom_kw=left, criterion=names[0], element=names[1])

    def _calibrate(self, batch: list[_Capped]) -> None:
        """Scale what is left outside by AC searches on the whole feeder."""
        owner = np.repeat(np.arange(len(batch)), [len(c.rows) for c in batch])
        row = np.concatenate([c.rows for c in batch])
        step = np.concatenate([c.step for c in batch])
        own_kw = np.concatenate([c.own_kw for c in batch])
        left = [c.outside.headroom_kw[c.rows, c.step] for c in batch]
        start_kw = np.concatenate(left)
        port_id = pd.concat(
            [self.groups[c.part]["port_id"].iloc[c.rows] for c in batch]
        )
        for _, at, now, case in _whole_cases(self.grid, self.feeder_id, step):
            cap = case.limits.search_cap_kw
            start, most = np.minimum(start_kw[at], cap), np.minimum(own_kw[at], cap)
            found = largest_passing(
                case,
                _ports_of(case, port_id.iloc[at]),
                now,
                np.minimum(start, most),
                np.maximum(most, start),
                self.settings.tolerance_kw,
            )
            factor = np.where(start > 0.0, found.kw / np.maximum(start, 1e-9), 1.0)
            for item, share in zip(at, factor, strict=True):
                batch[owner[item]].outside.headroom_kw[row[item]] *= share

    def confirm(self) -> None:
        """
        Lower firm capacities that fail in AC power flow of the whole feeder.

        First at the step that limits each; then, by as much as the worst of its
        part fell short, at the steps whose headroom is that near.
        """
        out, time = self.out, self.grid.profiles.time
        ok = np.flatnonzero((out["firm_status"] == "ok").to_numpy())
        limit = time.get_indexer(pd.DatetimeIndex(out["limit_time"].iloc[ok]))
        filed = out["firm_kw"].to_numpy(dtype=float).copy()
        self._lower(ok[limit >= 0], limit[limit >= 0])
        firm = out["firm_kw"].to_numpy(dtype=float)
        short = 1.0 - firm / np.where(filed > 0.0, filed, 1.0)
        pairs_row, pairs_step = [], []
        labels, known = out.index.tolist(), (out["firm_status"] == "ok").tolist()
        for inside in self.groups:
            at = out.index.get_indexer(inside.index)
            margin = 2.0 * float(np.nan_to_num(short[at]).max(initial=0.0)) + _NEAR
            for row in at.tolist():
                if not known[row] or labels[row] not in self.tight:
                    continue
                step, headroom = self.tight[labels[row]]
                near = step[headroom < filed[row] * (1.0 + margin)]
                pairs_row.append(np.full(len(near), row))
                pairs_step.append(near)
        if pairs_row:
            self._lower(np.concatenate(pairs_row), np.concatenate(pairs_step))
        # headroom of the part was too high by as much, or by what a sample shows
        firm = out["firm_kw"].to_numpy(dtype=float)
        fell = np.where(filed > 0.0, firm / np.where(filed > 0.0, filed, 1.0), 1.0)
        fell = np.nan_to_num(np.minimum(fell, self._excess()), nan=1.0)
        for name in out.columns[
            out.columns.str.startswith(("flexible_e", "flexible_h"))
        ]:
            values = out[name].to_numpy(dtype=float)
            out[name] = np.where(firm > 0.0, np.maximum(values * fell, firm), values)

    def _excess(self) -> Floats:
        """Return what the whole leaves of some of each part's headroom, as a share."""
        out = self.out
        picked, part_of = [], []
        for part, inside in enumerate(self.groups):
            status = out.loc[inside.index, "firm_status"].to_numpy()
            labels = [
                i for i in inside.index[status == "ok"].tolist() if i in self.tight
            ]
            for label in labels[:: max(1, len(labels) // _SAMPLED)]:
                step, headroom = self.tight[label]
                order = np.argsort(headroom)
                for i in np.unique(np.linspace(0, len(order) - 1, 4).astype(int)):
                    picked.append((label, step[order[i]], headroom[order[i]]))
                    part_of.append(part)
        share = np.ones(len(self.groups))
        if picked:
            label, steps, left = map(np.array, zip(*picked, strict=True))
            for _, at, now, case in _whole_cases(self.grid, self.feeder_id, steps):
                port = _ports_of(case, out.loc[label[at], "port_id"])
                kw = np.minimum(left[at], case.limits.search_cap_kw)
                tolerance = self.settings.tolerance_kw
                found = largest_passing(case, port, now, kw, kw, tolerance)
                rest = np.where(kw > 0.0, found.kw / np.maximum(kw, 1e-9), 1.0)
                np.minimum.at(share, np.array(part_of)[at], rest)
        whole = np.ones(len(out))
        for part, inside in enumerate(self.groups):
            whole[out.index.get_indexer(inside.index)] = share[part]
        return whole

    def _lower(self, position: Ints, step: Ints) -> None:
        """Lower values that fail on the whole feeder at given steps."""
        out, time = self.out, self.grid.profiles.time
        firm = out["firm_kw"].to_numpy(dtype=float).copy()
        tolerance = self.settings.tolerance_kw
        for held, at, now, case in _whole_cases(self.grid, self.feeder_id, step):
            row = position[at]
            port = _ports_of(case, out["port_id"].iloc[row])
            slack, _ = case.evaluate(port, now, firm[row])
            bad = np.flatnonzero(slack < 0.0)
            if not len(bad):
                continue
            # most miss by a hair: step back by that, and look again
            kw = firm[row[bad]]
            back = kw * (1.0 + _STEP_BACK * slack[bad].clip(-0.5)) - _STEP_BACK_KW
            near = kw - back <= 0.5 * np.maximum(tolerance, 1e-3 * kw)
            again, _ = case.evaluate(port[bad], now[bad], np.maximum(back, 0.0))
            good = near & (again >= 0.0)
            np.minimum.at(firm, row[bad[good]], back[good])
            left = bad[~good]
            if not len(left):
                continue
            start = firm[row[left]] * (1.0 + slack[left].clip(-0.5))
            found = largest_passing(
                case, port[left], now[left], start, firm[row[left]], tolerance
            )
            np.minimum.at(firm, row[left], found.kw)
            fell = np.flatnonzero(found.row >= 0)
            _name(
                out, case, row[left][fell], found.row[fell], time[held[now[left][fell]]]
            )
        out["firm_kw"] = firm
        out["steps_solved"] += np.bincount(position, minlength=len(out))


def _whole_cases(
    grid: GridCase, feeder_id: str, step: Ints
) -> Iterator[tuple[Ints, Ints, Ints, BaseCase]]:
    """Yield steps held, which items are at them, where, and the whole's case."""
    every = np.unique(step)
    profiles = grid.profiles_of(feeder_id)
    for first in range(0, len(every), _WHOLE_STEPS):
        held = every[first : first + _WHOLE_STEPS]
        at = np.flatnonzero(np.isin(step, held))
        case = grid.part(grid.feeder, feeder_id, _at_steps(profiles, held))
        yield held, at, np.searchsorted(held, step[at]), case


def _open(rows: pd.DataFrame) -> Bools:
    """Return which rows hold a value that is not refused."""
    found: Bools = rows["firm_status"].isin(["ok", "censored"]).to_numpy()
    return found


def _ports_of(case: BaseCase, port_ids: pd.Series[str]) -> Ints:
    names = case.feeder.ports.index[case.block.ports]
    found: Ints = names.get_indexer(pd.Index(port_ids)).astype(np.int64)
    return found


def _reach(rating: BlockRating) -> _Reach:
    """Return what a fall of the voltage at a leaf's head may do in the leaf."""
    case, response, screen = rating.case, rating.response, rating.screen
    # relative changes of all voltages stay below gain x the fall (see `Screen`)
    gain = 1.0 / np.maximum(1.0 - 1.3 * screen.kappa_step, 1e-3)
    n = case.n_voltage
    slack = response.row_slack
    with np.errstate(divide="ignore"):
        room = slack[n:] / np.maximum(_phasor_sizes(case), 1e-12)
    every = np.concatenate([slack[:n], room]) / gain
    spare = every.min(axis=0, initial=np.inf)
    row = int(every.min(axis=1).argmin()) if len(every) else -1
    names = case.rows[["criterion", "element"]]
    first = tuple(names.iloc[row].astype(str)) if len(every) else ("", "")
    broken = None
    hit = case.broken[:n]
    if hit.any():
        deepest = np.where(hit, case.slack[:n], 0.0).argmin()
        worst, step = np.unravel_index(deepest, hit.shape)
        element = str(case.rows["element"].iloc[int(worst)])
        broken = (element, int(step))
    return _Reach(spare=spare, first=(first[0], first[1]), broken=broken)


def _phasor_sizes(case: BaseCase) -> Floats:
    """Return the base-case size of what each upper limit limits. [pu]"""
    n = case.n_voltage
    size: Floats = case.upper_limit[:, None] - case.slack[n:]
    ratio = np.arange(case.first_unbalance, case.n_row)
    size[ratio - n] = np.abs(case.phasors_of(ratio))
    return size


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
        rated = self.rating.without_unrated(self.table)
        self.unrated = ~(rated & self.rating.ageing_known(self.table))
        self.rating.rate(self.table, np.arange(len(group)))
        firm = self.table["firm_kw"].fillna(0.0).to_numpy()
        self.headroom = self.rating.envelope.headroom_kw(firm)
        self.broken: Ints = np.flatnonzero(self.case.broken.any(axis=1))
        self.worse = self.rating.worsens(self.broken)

    def outside(self, part: int, n: int) -> Outside:
        """Return what the trunk leaves to the ``n`` connections of a part."""
        n_step = len(self.case.time)
        if part == len(self.split.leaves):
            free = np.full((n, n_step), np.inf)
            return Outside(headroom_kw=free, criterion="", element="")
        row = self.table.iloc[part]
        # a trunk that was not rated leaves nothing
        left = self.headroom[part] if float(row["firm_kw"]) >= 0.0 else np.zeros(n_step)
        return Outside(
            headroom_kw=np.broadcast_to(left / (1.0 + _LOSSES), (n, n_step)),
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
            acts &= _open(out)
            if acts.any():
                at = np.flatnonzero(acts)
                step = np.full(len(at), case.slack[row].argmin())
                self.rating.name_limit_of(out, at, np.full(len(at), row), step)
                out.loc[out.index[at], VALUES] = 0.0
                status = ["firm_status", "flexible_status"]
                out.loc[out.index[at], status] = "none_base_violation"
        told = self.table.iloc[leaf]
        if told["firm_status"] == "none_base_violation":  # a transformer that ages
            at_ok = out.index[_open(out)]
            out.loc[at_ok, VALUES] = 0.0
            for name in ("firm_status", "flexible_status"):
                out.loc[at_ok, name] = "none_base_violation"
            for name in ("limit_criterion", "limit_element"):
                out.loc[at_ok, name] = told[name]
            when = pd.Series([told["limit_time"]] * len(at_ok), at_ok, dtype=object)
            out.loc[at_ok, "limit_time"] = when
        if self.unrated[leaf]:
            at_ok = out.index[_open(out)]
            out.loc[at_ok, ["firm_status", "flexible_status"]] = "unrated"
            out.loc[at_ok, VALUES] = np.nan
            for name in ("limit_criterion", "limit_element"):
                out.loc[at_ok, name] = self.table[name].iloc[leaf]

    @cached_property
    def head_impedance(self) -> Floats:
        """Return the size of the impedance from each port to each head. [pu]"""
        case = self.case
        ports = case.feeder.ports.index[case.block.ports]
        heads = ports.get_indexer(pd.Index(self.split.leaf_ports))
        z: Floats = np.abs(case.block.impedance[case.block.port_node[heads]])
        return z

    def head_drop(self, part: int, inside: pd.DataFrame) -> Floats:
        """Return the fall of each head's voltage per kW drawn, (n, n_leaf). [pu]"""
        case, split = self.case, self.split
        ports = case.feeder.ports.index[case.block.ports]
        heads = ports.get_indexer(pd.Index(split.leaf_ports))
        at = ports.get_indexer(pd.Index(inside["port_id"]))
        if part < len(split.leaves):
            at = np.full(len(inside), heads[part])
        z = self.head_impedance
        size = np.sqrt(1.0 + case.tan_phi**2) / case.block.base_kva
        drop: Floats = z[:, at].T * size / float(np.abs(case.v).min()) * (1.0 + _LOSSES)
        return drop


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
