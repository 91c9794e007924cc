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

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.feeder.kernels import threads_worth
from gridsite.hosting.block_rating import BlockRating
from gridsite.hosting.closed_steps import Closed, joined
from gridsite.hosting.flexible import level_name
from gridsite.hosting.near_cases import cases_at, kept_cases, parts_of, ports_of
from gridsite.hosting.rows import (
    blank_rows,
    flexible_columns_of,
    limit_names,
    name_limit,
    open_rows,
    table_of,
)
from gridsite.hosting.search import largest_passing
from gridsite.hosting.settings import Outside, Settings
from gridsite.hosting.trunk import Reach, Trunk, reach_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from gridsite.feeder.split import Split
    from gridsite.hosting.base_case import BaseCase
    from gridsite.hosting.grid_case import GridCase
    from gridsite.hosting.near_cases import At
    from gridsite.hosting.rows import Rows

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]
    _Cases = Callable[[Ints], Iterator[At]]

#: Steps of least headroom of each connection that are kept to be confirmed, and
#: the margin within which they are, beside what the model of the part fell short.
_TIGHT_STEPS, _NEAR = 16, 1e-4

#: Connections of each part whose headroom is looked at on the whole feeder.
_SAMPLED = 4

#: Open steps, from the tightest to the loosest, at which what is left outside to a
#: connection with closed steps is calibrated; and up to which share of what its part
#: leaves that counts.
_CALIBRATED, _BINDS = 5, 1.25

#: Shares of the work that are done after the leaves, and before values are confirmed.
_LEAVES_DONE, _CONFIRMED_FROM = 0.7, 0.8

#: Connections that are rated again together.
_CAPPED_AT_ONCE = 256

#: A value that fails on the whole feeder is lowered by this times its slack over
#: size, and by this, before it is searched for.
_STEP_BACK, _STEP_BACK_KW = 1.5, 0.01


@dataclass(frozen=True, kw_only=True)
class _Capped:
    """Connections of a part that limits outside it may cap."""

    part: int
    #: of the part, under what is left outside to each connection
    rating: BlockRating
    #: the same, scaled in place
    outside: Outside
    #: positions in the part
    rows: Ints
    #: items to look at on the whole: positions in the part (each once or more),
    #: steps, and what the part itself leaves there
    item: Ints
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
    tell = progress or (lambda *_: None)
    rater = _SplitRating(grid, feeder_id, split, group, settings)
    rater.rate_leaves(tell)
    tell(_LEAVES_DONE, "hosting capacity on the trunk")
    rater.rate_trunk()
    rater.rate_closed_beyond()
    rater.rate_capped_again()
    rater.confirm(tell)
    return table_of(rater.out, group.index)


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
        self.trunk = Trunk(grid, feeder_id, split, settings)
        self.index = group.index
        ports = group["port_id"]
        #: part of each connection; the trunk is the last
        self.part = part = parts_of(split, pd.Index(ports))
        #: positions of the connections of each part
        self.at: list[Ints] = [
            np.flatnonzero(part == i) for i in range(len(split.leaves) + 1)
        ]
        self.groups = [group.iloc[at] for at in self.at]
        self.port_id = ports.to_numpy()
        self.out = blank_rows(group)
        self.reach: list[Reach] = []
        #: steps that limits outside each part close to its connections
        self.beyond: list[Closed | None] = [None] * len(self.at)
        self.own_drop = np.full(len(group), np.nan)
        #: parts with connections that limits outside may cap
        self.capped: set[int] = set()
        #: by position: steps of least headroom, and that headroom
        self.tight: dict[int, tuple[Ints, Floats]] = {}

    def _rating(self, part: int, outside: Outside | None) -> BlockRating:
        """Return the rating of one part; the trunk is the last."""
        split, inside = self.split, self.groups[part]
        if part == len(split.leaves):
            case, profiles = self.trunk.case, split.trunk_profiles
        else:
            feeder, profiles = split.leaves[part]
            case = self.grid.part(feeder, self.feeder_id, profiles)
        return BlockRating(case, profiles, inside, self.settings, outside)

    def _rows(self, part: int, rating: BlockRating) -> Rows:
        """Return the rows of one part, and remember its tightest steps."""
        at = self.at[part]
        if not len(at):
            return blank_rows(rating.group)
        rows = rating.rows(self.beyond[part])
        if part < len(self.split.leaves):
            self.trunk.refuse(rows, part)
        if not hasattr(rating, "envelope"):
            return rows
        firm = rows["firm_kw"][rating.chosen]
        headroom = rating.envelope.headroom_kw(np.nan_to_num(firm))
        if rating.envelope.closed is not None:
            headroom[rating.envelope.closed] = np.inf
        count = min(_TIGHT_STEPS, headroom.shape[1])
        step = np.argpartition(headroom, count - 1, axis=1)[:, :count]
        least = np.take_along_axis(headroom, step, axis=1)
        for k, row in enumerate(at[rating.chosen].tolist()):
            known = np.isfinite(least[k])
            self.tight[row] = (step[k][known], least[k][known])
        return rows

    def _threads(self, part: int) -> AbstractContextManager[None]:
        """Return the context of kernels on one part."""
        feeder = self.split.trunk
        if part < len(self.split.leaves):
            feeder = self.split.leaves[part][0]
        return threads_worth(len(feeder.nodes) * len(self.grid.profiles.time))

    def _keep(self, part: int, rows: Rows, which: Bools | None = None) -> None:
        """Take over the rows of a part, or some of them."""
        kept = slice(None) if which is None else which
        at = self.at[part][kept]
        for name, values in rows.items():
            column = self.out.setdefault(name, np.full(len(self.index), np.nan))
            column[at] = values[kept]

    def rate_leaves(self, tell: Callable[[float, str], None]) -> None:
        """Rate each leaf under what the trunk leaves to it."""
        for i, name in enumerate(self.split.leaf_ports):
            text = f"hosting capacity behind {name.removeprefix('behind ')}"
            tell(_LEAVES_DONE * i / len(self.split.leaves), text)
            outside = self.trunk.outside(i, len(self.groups[i]))
            with self._threads(i):
                rating = self._rating(i, outside)
                self.reach.append(reach_of(rating))
                drop = rating.case.effect[2][rating.port]
                self.own_drop[self.at[i]] = drop
                self.beyond[i] = joined(self.trunk.closed(i, drop))
                self._keep(i, self._rows(i, rating))

    def rate_trunk(self) -> None:
        """Rate the trunk's own connections."""
        last = len(self.split.leaves)
        if len(self.groups[last]):
            rating = self._rating(last, None)
            self.own_drop[self.at[last]] = rating.case.effect[2][rating.port]
            self._keep(last, self._rows(last, rating))

    def rate_closed_beyond(self) -> None:
        """Rate again, without those steps, what acts on broken voltages elsewhere."""
        for part, inside in enumerate(self.groups):
            closed = None if inside.empty else self._closed_beyond(part, inside)
            if closed is None:
                continue
            self.beyond[part] = joined(self.beyond[part], closed)
            with self._threads(part):
                outside = self.trunk.outside(part, len(inside))
                rows = self._rows(part, self._rating(part, outside))
            self._keep(part, rows, closed.some)

    def _closed_beyond(self, part: int, inside: pd.DataFrame) -> Closed | None:
        """Return the steps that broken voltages of other leaves close, if any."""
        at = self.at[part]
        broken = [k for k, told in enumerate(self.reach) if told.broken.any()]
        broken = [k for k in broken if k != part]
        own = self.own_drop[at] / self.grid.feeder.base_kva
        drop = self.trunk.head_drop(part, inside)[:, broken]
        acts = drop >= self.grid.limits.acts_on * own[:, None]
        acts[~open_rows(self.out, at)] = False
        if not acts.any():
            return None
        told = [self.reach[k] for k in broken]
        first = acts.argmax(axis=1)
        return Closed(
            steps=acts @ np.array([t.broken for t in told]),
            criterion=np.full(len(at), "voltage", dtype=object),
            element=np.array([t.deepest[0] for t in told], dtype=object)[first],
            when=np.array([t.deepest[1] for t in told])[first],
        )

    def rate_capped_again(self) -> None:
        """Rate again what limits outside its own part may cap, in batches."""
        waiting: list[_Capped] = []
        for part in range(len(self.groups)):
            capped = self._capped(part)
            if capped is not None:
                self.capped.add(part)
                waiting.append(capped)
            if sum(len(c.rows) for c in waiting) >= _CAPPED_AT_ONCE:
                self._rate_again(waiting)
                waiting = []
        self._rate_again(waiting)

    def _capped(self, part: int) -> _Capped | None:
        """Return the connections of a part that limits outside may cap, if any."""
        # the largest rating of interest: by energy at the lowest level
        largest = f"flexible_energy{level_name(min(self.settings.levels))}_kw"
        at = self.at[part]
        values = np.fmax(self.out[largest][at], self.out["firm_kw"][at])
        is_open = open_rows(self.out, at)
        if not is_open.any():
            return None
        # where steps are closed the values are no measure of the headroom of others
        closed = is_open & (self.out["firm_status"][at] == "none_base_violation")
        values = np.where(closed, self.grid.limits.search_cap_kw, values)
        outside = self._outside(part, float(np.nan_to_num(values).max()))
        least = outside.headroom_kw.min(axis=1)
        rows = np.flatnonzero(is_open & (least <= values * (1.0 + 1e-6)))
        if not len(rows):
            return None
        with self._threads(part):
            rating = self._rating(part, outside)
            opened = np.flatnonzero(is_open)
            own_kw = rating.left_kw(opened)
        binds = np.zeros(outside.headroom_kw.shape, bool)
        binds[opened] = outside.headroom_kw[opened] <= _BINDS * own_kw
        item, step = self._looked_at(part, rows, outside.headroom_kw, closed, binds)
        return _Capped(
            part=part,
            rating=rating,
            outside=outside,
            rows=rows,
            item=item,
            step=step,
            own_kw=own_kw[np.searchsorted(opened, item), step],
        )

    def _looked_at(
        self, part: int, rows: Ints, outside_kw: Floats, closed: Bools, binds: Bools
    ) -> tuple[Ints, Ints]:
        """
        Return rows, each once or more, and steps at which they are calibrated.

        That of least headroom; where steps are closed, open ones at which it binds, up
        to the largest.
        """
        least = outside_kw[rows].argmin(axis=1)
        items = [np.stack([rows, least])]
        beyond = self.beyond[part]
        for row in rows[closed[rows]].tolist():
            shut = np.zeros(outside_kw.shape[1], bool)
            shut = shut if beyond is None else beyond.steps[row]
            shut = shut | ~binds[row]
            order = np.argsort(np.where(shut, np.inf, outside_kw[row]))
            place = np.linspace(0, max(int((~shut).sum()) - 1, 0), _CALIBRATED)
            some = np.unique(order[place.astype(int)])
            items.append(np.stack([np.full(len(some), row), some]))
        item, step = np.concatenate(items, axis=1)
        return item, step

    def _rate_again(self, batch: list[_Capped]) -> None:
        """Rate parts again under what AC searches on the whole leave to them."""
        if not batch:
            return
        self._calibrate(batch)
        for capped in batch:
            part = capped.part
            still = open_rows(self.out, self.at[part])
            with self._threads(part):
                rows = self._rows(part, capped.rating)
            self._keep(part, rows, still)

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
        most = drop.max(axis=0, initial=0.0) * enough_kw
        for other, told in enumerate(self.reach):
            if other == part or told.least > most[other]:
                continue
            room = told.spare[None, :] / np.maximum(drop[:, [other]], 1e-15)
            if room.min() < lowest:
                names, lowest = told.first, room.min()
            np.minimum(left, room, out=left)
        return Outside(headroom_kw=left, criterion=names[0], element=names[1])

    def _calibrate(self, batch: list[_Capped]) -> None:
        """Scale what is left outside by AC searches on the whole feeder."""
        owner = np.repeat(np.arange(len(batch)), [len(c.item) for c in batch])
        row = np.concatenate([c.item for c in batch])
        step = np.concatenate([c.step for c in batch])
        own_kw = np.concatenate([c.own_kw for c in batch])
        left = [c.outside.headroom_kw[c.item, c.step] for c in batch]
        start_kw = np.concatenate(left)
        port_id = np.concatenate([self.port_id[self.at[c.part][c.item]] for c in batch])
        own = [set(c.rating.case.rows["element"]) for c in batch]
        share = np.ones(len(row))
        for _, at, now, case in cases_at(self.grid, self.feeder_id, step):
            cap = case.limits.search_cap_kw
            start, most = np.minimum(start_kw[at], cap), np.minimum(own_kw[at], cap)
            found = largest_passing(
                case,
                ports_of(case, port_id[at]),
                now,
                np.minimum(start, most),
                np.maximum(most, start),
                self.settings.tolerance_kw,
            )
            factor = np.where(start > 0.0, found.kw / np.maximum(start, 1e-9), 1.0)
            # stopped by a limit of its own part, it tells nothing of those outside
            names = case.rows["element"].to_numpy()[found.row]
            inside = [name in own[owner[k]] for k, name in zip(at, names, strict=True)]
            factor[np.array(inside) & (found.row >= 0) & (most < start)] = 1.0
            share[at] = factor
        order = np.lexsort((start_kw, row, owner))
        group = owner[order] * len(self.index) + row[order]
        for at in np.split(order, np.flatnonzero(np.diff(group)) + 1):
            line = batch[owner[at[0]]].outside.headroom_kw[row[at[0]]]
            line *= _share_at(line, start_kw[at], share[at])

    def confirm(self, tell: Callable[[float, str], None]) -> None:
        """
        Lower firm capacities that fail in AC power flow of the whole feeder.

        First within the trunk and the part of each, unless limits outside may cap the
        part, at the step that limits it and then, by as much as the worst of its part
        fell short, at the steps whose headroom is that near; then all of them on the
        whole feeder, in the same way.
        """
        out = self.out
        filed = out["firm_kw"].copy()
        share = np.ones(len(self.at))
        whole = partial(cases_at, self.grid, self.feeder_id)
        for part, at in enumerate(self.at):
            share_done = part / len(self.at) * (1.0 - _CONFIRMED_FROM)
            tell(_CONFIRMED_FROM + share_done, "confirming on the whole feeder")
            if not len(at) or part in self.capped:
                continue
            steps = self._steps_of(at)
            cases = kept_cases(self.grid, self.feeder_id, steps, part)
            self._lower_near(at, cases)
            self._lower_shares(share, self._sample(at), cases)
        sampled = [self._sample(self.at[part]) for part in sorted(self.capped)]
        self._lower_shares(share, [pick for some in sampled for pick in some], whole)
        self._lower_near(np.arange(len(self.index)), whole)
        # headroom of the part was too high by as much, or by what a sample shows
        firm = out["firm_kw"]
        fell = np.where(filed > 0.0, firm / np.where(filed > 0.0, filed, 1.0), 1.0)
        fell = np.nan_to_num(np.minimum(fell, share[self.part]), nan=1.0)
        for name in flexible_columns_of(out):
            out[name] = np.maximum(out[name] * fell, firm)
        if self.settings.lower_envelope is not None:
            good = np.flatnonzero(out["flexible_status"] == "ok")
            self.settings.lower_envelope(self.index[good], fell[good], firm[good])

    def _steps_of(self, at: Ints) -> Ints:
        """Return the steps at which some connections are confirmed."""
        limit = self.grid.profiles.time.get_indexer(
            pd.DatetimeIndex(self.out["limit_time"][at])
        )
        tight = [self.tight[row][0] for row in at.tolist() if row in self.tight]
        return np.unique(np.concatenate([limit[limit >= 0], *tight])).astype(np.int64)

    def _lower_near(self, at: Ints, cases: _Cases) -> None:
        """Lower what fails at the step that limits it, then at steps as near."""
        out, time = self.out, self.grid.profiles.time
        ok = at[out["firm_status"][at] == "ok"]
        filed = out["firm_kw"].copy()
        limit = time.get_indexer(pd.DatetimeIndex(out["limit_time"][ok]))
        self._lower(ok[limit >= 0], limit[limit >= 0], cases)
        done = np.full(len(out["firm_kw"]), -1)
        done[ok] = limit
        short = 1.0 - out["firm_kw"][ok] / np.where(filed[ok] > 0.0, filed[ok], 1.0)
        worst = np.zeros(len(self.at))
        np.maximum.at(worst, self.part[ok], np.nan_to_num(short))
        margin = 2.0 * worst + _NEAR
        pairs = []
        for row in [row for row in ok.tolist() if row in self.tight]:
            step, headroom = self.tight[row]
            near = step[headroom < filed[row] * (1.0 + margin[self.part[row]])]
            near = near[near != done[row]]
            pairs.append(np.stack([np.full(len(near), row), near]))
        if pairs:
            rows, steps = np.concatenate(pairs, axis=1)
            self._lower(rows, steps, cases)

    def _sample(self, at: Ints) -> list[tuple[int, int, float]]:
        """Return some connections of a part, steps, and the headroom [kW] there."""
        status = self.out["flexible_status"][at]
        free = self.out["firm_status"][at] == "none_base_violation"
        ok = at[(status == "ok") | (free & (status == "censored"))].tolist()
        rows = [row for row in ok if row in self.tight]
        picked = []
        for row in rows[:: max(1, len(rows) // _SAMPLED)]:
            step, headroom = self.tight[row]
            order = np.argsort(headroom)
            some = order[np.unique(np.linspace(0, len(order) - 1, 4).astype(int))]
            picked += [(row, step[i], headroom[i]) for i in some]
        return picked

    def _lower_shares(
        self, share: Floats, picked: list[tuple[int, int, float]], cases: _Cases
    ) -> None:
        """Lower shares of headroom, by part, to what cases leave of a sample."""
        if not picked:
            return
        row, steps, left = map(np.array, zip(*picked, strict=True))
        for _, item, now, case in cases(steps):
            port = ports_of(case, self.port_id[row[item]])
            kw = np.minimum(left[item], case.limits.search_cap_kw)
            found = largest_passing(case, port, now, kw, kw, self.settings.tolerance_kw)
            rest = np.where(kw > 0.0, found.kw / np.maximum(kw, 1e-9), 1.0)
            np.minimum.at(share, self.part[row[item]], rest)

    def _lower(self, position: Ints, step: Ints, cases: _Cases) -> None:
        """Lower values that fail at given steps."""
        out, time = self.out, self.grid.profiles.time
        firm = out["firm_kw"].copy()
        tolerance = self.settings.tolerance_kw
        for held, at, now, case in cases(step):
            row = position[at]
            port = ports_of(case, self.port_id[row])
            slack, _ = case.evaluate(port, now, firm[row])
            bad = np.flatnonzero(slack < 0.0)
            if not len(bad):
                continue
            # most miss by a hair: step back by that, and look again
            kw = firm[row[bad]]
            back = kw * (1.0 + _STEP_BACK * slack[bad].clip(-0.5)) - _STEP_BACK_KW
            back = np.maximum(back, 0.0)
            near = kw - back <= 0.5 * np.maximum(tolerance, 1e-3 * kw)
            again, _ = case.evaluate(port[bad], now[bad], back)
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
            # of several steps of one, that which leaves least names the limit
            fell = np.flatnonzero((found.row >= 0) & (found.kw <= firm[row[left]]))
            _name(
                out, case, row[left][fell], found.row[fell], time[held[now[left][fell]]]
            )
        out["firm_kw"] = firm
        out["steps_solved"] += np.bincount(position, minlength=len(self.index))


def _share_at(kw: Floats, known_kw: Floats, share: Floats) -> Floats:
    """Return shares between known ones; above 1 only as far as both neighbours are."""
    above = np.searchsorted(known_kw, kw).clip(0, len(share) - 1)
    below = (np.searchsorted(known_kw, kw, "right") - 1).clip(0)
    most = np.maximum(np.minimum(share[above], share[below]), 1.0)
    out: Floats = np.minimum(np.interp(kw, known_kw, share), most)
    return out


def _name(
    out: Rows,
    case: BaseCase,
    at: Ints,
    row: Ints,
    time: pd.DatetimeIndex,
) -> None:
    name_limit(out, at, *limit_names(case.rows, row, out["bus"][at]), time)
