"""
Rate the connections of one block, each alone, over all steps.

Firm capacity is searched at the step where the estimate leaves least, verified
at every step that `Screen` does not prove to hold, and lowered where a step
fails. What lies outside the block (a trunk above it) may cap a load at each step.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.feeder.load_parts import service_power
from gridsite.hosting.ageing_limit import AgeingLimit, Cap
from gridsite.hosting.closed_steps import Closed, closed_by_base, joined
from gridsite.hosting.envelope import Envelope
from gridsite.hosting.flexible_rows import confirmed_columns
from gridsite.hosting.phase_rows import unbalance_capacity
from gridsite.hosting.response import Response
from gridsite.hosting.rows import (
    FLEXIBLE,
    blank_rows,
    limit_names,
    name_limit,
    open_rows,
    refuse,
    refuse_flexible,
    table_of,
)
from gridsite.hosting.screening import Screen
from gridsite.hosting.search import largest_passing
from gridsite.hosting.service import service_headroom_kw

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gridsite.feeder.profiles import Profiles
    from gridsite.hosting.base_case import BaseCase
    from gridsite.hosting.rows import Rows
    from gridsite.hosting.settings import Outside, Settings

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: Rounds of verify and lower before a port counts as not converged.
_MAX_ROUNDS = 30


class BlockRating:
    """
    Rate the connections of one block.

    Parameters
    ----------
    case : BaseCase
        The block.
    profiles : Profiles
        On the block's ports.
    group : pandas.DataFrame
        Connections, with ``feeder_id``.
    settings : Settings
        How they are rated.
    outside : Outside, optional
        What limits outside the block leave.
    """

    def __init__(
        self,
        case: BaseCase,
        profiles: Profiles,
        group: pd.DataFrame,
        settings: Settings,
        outside: Outside | None = None,
    ) -> None:
        self.case, self.group, self.settings = case, group, settings
        self.outside = outside
        #: steps closed by limits that are broken already; set by `rows`
        self.closed: Closed | None = None
        block = case.block
        own = case.feeder.ports.index[block.ports]
        self.port: Ints = own.get_indexer(pd.Index(group["port_id"])).astype(np.int64)
        #: (n, n_step): what the building's service leaves; inf where not checked
        self.service = np.full((len(group), len(case.time)), np.inf)
        known = group["service_a"].notna().to_numpy()
        if case.limits.on("service") and known.any():
            used = pd.Index(group.loc[known, "port_id"].unique())
            p_kw, q_kvar = service_power(profiles, case.feeder.ports, used)
            row = used.get_indexer(pd.Index(group.loc[known, "port_id"]))
            self.service[known] = service_headroom_kw(
                group["service_a"].to_numpy(dtype=float)[known],
                group["service_v"].to_numpy(dtype=float)[known],
                p_kw[row],
                q_kvar[row],
                power_factor=settings.power_factor,
                rule=case.limits.service_rule,
                phases=group.loc[known, "phases"].tolist(),
            )
        self.linear = self._linear_capacity()

    @cached_property
    def response(self) -> Response:
        """
        Return how the block answers to loads.

        Returns
        -------
        Response
            Of the block.
        """
        return Response(self.case)

    @cached_property
    def screen(self) -> Screen:
        """
        Return the bounds that leave steps out.

        Returns
        -------
        Screen
            Of the block.
        """
        return Screen(self.response)

    def _linear_capacity(self) -> Floats:
        """Return the load at which each row would bind, linearly. [kW]"""
        case = self.case
        drop, current, own = case.effect
        effect = np.concatenate([drop, current, own[None, :]])[:, self.port]
        # limits on a ratio, whose slack is another, follow below
        slack = np.append(self.response.row_least, case.limits.voltage_change_pu)
        if not case.limits.on("voltage change"):
            slack[-1] = np.inf
        acts = np.vstack([case.acts_on[:, self.port], np.ones(len(self.port), bool)])
        with np.errstate(divide="ignore", invalid="ignore"):
            linear = slack[:, None] / np.maximum(effect, 0.0) * case.block.base_kva
        if case.first_unbalance < case.n_row:
            linear[case.first_unbalance : -1] = unbalance_capacity(case, self.port)
        out: Floats = np.where(acts & (effect > 0.0), linear, np.inf)
        return out

    def table(self) -> pd.DataFrame:
        """
        Return the hosting rows of this block.

        Returns
        -------
        pandas.DataFrame
            One row per connection.
        """
        return table_of(self.rows(), self.group.index)

    def rows(self, beyond: Closed | None = None) -> Rows:
        """
        Return the hosting rows of this block, by column.

        Parameters
        ----------
        beyond : Closed, optional
            Steps that limits outside the block close.

        Returns
        -------
        dict of numpy.ndarray
            In the order of the connections.
        """
        out = blank_rows(self.group)
        service = self.service.min(axis=1)
        out["service_headroom_kw"] = np.where(np.isfinite(service), service, np.nan)
        base = closed_by_base(self.case, self.port)
        self.closed = joined(base, beyond, self._closed_by_service())
        self.without_unrated(out)
        self._service_known(out)
        self.ageing_known(out)
        if self.closed is not None:
            self._close(out, self.closed)
        chosen = np.flatnonzero(open_rows(out))
        if len(chosen):
            self.rate(out, chosen)
        return out

    def _closed_by_service(self) -> Closed:
        """Return the steps at which a building is at or beyond its own fuse."""
        names = self.group["building_id"].to_numpy(dtype=object)
        return Closed(
            steps=self.service <= 0.0,
            criterion=np.full(len(names), "service", dtype=object),
            element=names,
            when=np.where(np.isnan(self.service), np.inf, self.service).argmin(axis=1),
        )

    def _close(self, out: Rows, closed: Closed) -> None:
        """Give no firm capacity, and none at all where no step is open."""
        at = np.flatnonzero(closed.some)
        when = self.case.time[closed.when[at]]
        name_limit(out, at, closed.criterion[at], closed.element[at], when)
        out["firm_kw"][at], out["firm_status"][at] = 0.0, "none_base_violation"
        never = at[closed.steps[at].all(axis=1) & open_rows(out, at)]
        refuse(out, never, "none_base_violation", 0.0)

    def _service_known(self, out: Rows) -> None:
        """Refuse a value to a building whose service has no voltage."""
        unknown = np.flatnonzero(np.isnan(self.service).any(axis=1) & open_rows(out))
        refuse(out, unknown, "unrated", np.nan)
        names = self.group["building_id"].to_numpy()
        name_limit(out, unknown, "service", names[unknown])

    def ageing_known(self, out: Rows) -> NDArray[np.bool_]:
        """
        Refuse a value where a transformer that may age has no nameplate.

        Parameters
        ----------
        out : dict of numpy.ndarray
            Hosting rows, changed in place.

        Returns
        -------
        numpy.ndarray of bool, shape (n,)
            Which connections are left.
        """
        if self.settings.ageing is None:
            return np.ones(len(self.group), dtype=bool)
        limit = AgeingLimit(self.case, self.settings.ageing)
        unknown = limit.unrated(self.port)
        hit: NDArray[np.bool_] = np.asarray(unknown.any(axis=0))
        at = np.flatnonzero(hit & open_rows(out))
        refuse(out, at, "unrated", np.nan)
        first = limit.names[unknown.argmax(axis=0)]
        name_limit(out, at, "transformer ageing", first[at])
        left: NDArray[np.bool_] = ~hit
        return left

    def without_unrated(self, out: Rows) -> NDArray[np.bool_]:
        """
        Refuse a value where an element on the path has no rating.

        Parameters
        ----------
        out : dict of numpy.ndarray
            Hosting rows, changed in place.

        Returns
        -------
        numpy.ndarray of bool, shape (n,)
            Which connections are left.
        """
        case = self.case
        if not len(case.unrated):
            return np.ones(len(self.group), dtype=bool)
        v0 = case.block.v_no_load
        drawn = 1.0 / np.conj(case.port_voltage(v0))[self.port]
        flow = np.abs(
            case.block.terminal_y[case.unrated]
            @ (case.block.impedance[:, self.port] * drawn)
        )
        carried = np.abs(drawn) * case.block.conductor_share[self.port]
        acts = flow >= case.limits.acts_on * carried
        hit = acts.any(axis=0) & open_rows(out)
        if hit.any():
            terminals = case.feeder.terminals.iloc[case.block.terminals]
            names = terminals["element"].to_numpy()[case.unrated]
            kinds = terminals["criterion"].to_numpy()[case.unrated]
            first = acts.argmax(axis=0)[hit]
            at = np.flatnonzero(hit)
            refuse(out, at, "unrated", np.nan)
            name_limit(out, at, kinds[first], names[first])
        left: NDArray[np.bool_] = ~hit
        return left

    def left_kw(self, chosen: Ints) -> Floats:
        """
        Return what the block's own limits leave at each step, by estimate.

        Parameters
        ----------
        chosen : numpy.ndarray of int, shape (n,)
            Positions in the group; kept for rating the same.

        Returns
        -------
        numpy.ndarray, shape (n, n_step)
            Headroom, whatever the service, limits outside and closed steps. [kW]
        """
        self.chosen = chosen
        self.envelope = Envelope(
            self.response,
            self.port[chosen],
            self.linear[:, chosen],
            self.service[chosen],
        )
        return self.envelope.grid_kw

    def _envelope(self, chosen: Ints, cap: Floats) -> Envelope:
        """Return the headroom of some connections below a cap."""
        if not (hasattr(self, "envelope") and np.array_equal(self.chosen, chosen)):
            self.left_kw(chosen)
        self.envelope.cap_kw = cap
        if self.closed is not None and self.closed.some[chosen].any():
            self.envelope.closed = self.closed.steps[chosen]
        return self.envelope

    def rate(self, out: Rows, chosen: Ints, *, estimate: bool = False) -> None:
        """
        Find firm and flexible capacity of the chosen rows.

        Parameters
        ----------
        out : dict of numpy.ndarray
            Hosting rows, changed in place. Rows with a closed step keep their firm
            capacity of 0.
        chosen : numpy.ndarray of int, shape (n,)
            Positions in it.
        estimate : bool, default False
            Stop at the AC search at the step that leaves least by estimate.
        """
        cap = self._cap(chosen)
        aged = self._aged(chosen, cap)
        if aged is not None:
            np.minimum(cap, aged.kw[:, None], out=cap)
        envelope = self._envelope(chosen, cap)
        some = np.zeros(len(chosen), dtype=np.bool_)
        if self.closed is not None:
            some = self.closed.some[chosen]
        firm, good = np.zeros(len(chosen)), some.copy()
        whole = np.flatnonzero(~some)
        if len(whole):
            firm[whole], good[whole] = self._firm(
                out, chosen, whole, aged, estimate=estimate
            )
        if aged is not None:
            refuse(out, chosen[aged.kw <= 0.0], "none_base_violation", 0.0)
            good &= open_rows(out, chosen)
        if good.any() and not estimate:
            self._flexible(out, chosen, firm, envelope, good)

    def _firm(
        self,
        out: Rows,
        chosen: Ints,
        whole: Ints,
        aged: Cap | None,
        *,
        estimate: bool,
    ) -> tuple[Floats, NDArray[np.bool_]]:
        """Find firm values of those that no step is closed to, and which are known."""
        case, tolerance, envelope = self.case, self.settings.tolerance_kw, self.envelope
        rows, service = chosen[whole], envelope.cap_kw[whole].min(axis=1)
        step = envelope.grid_kw[whole].argmin(axis=1)
        start = np.minimum(envelope.grid_kw[whole, step], service)
        found = largest_passing(case, self.port[rows], step, start, service, tolerance)
        kw, row, failed = found.kw, found.row, ~found.converged
        screen = self.screen if self.settings.screen else None
        if not estimate:
            self._verify(rows, kw, row, step, failed, screen, out)
        envelope.include(whole, np.where(failed, -1, row), step, kw)
        bound = kw >= service - tolerance
        own = (service < case.limits.search_cap_kw) & bound & (row < 0)
        self._fill(out, rows, kw, row, step, own, failed)
        if aged is not None:
            first = own & (aged.kw[whole] <= service)
            when = case.time[aged.step[whole[first]]]
            element = aged.element[whole[first]]
            name_limit(out, rows[first], "transformer ageing", element, when)
        good: NDArray[np.bool_] = ~failed & ~((row < 0) & ~own)
        return kw, good

    def _cap(self, chosen: Ints) -> Floats:
        """Return what service, limits outside and the search cap leave. [kW]"""
        cap: Floats = np.minimum(self.service[chosen], self.case.limits.search_cap_kw)
        if self.outside is not None:
            np.minimum(cap, self.outside.headroom_kw[chosen], out=cap)
        return cap

    def _aged(self, chosen: Ints, cap: Floats) -> Cap | None:
        """Return what the ageing of transformers leaves, where it is checked."""
        if self.settings.ageing is None:
            return None
        limit = AgeingLimit(self.case, self.settings.ageing)
        most, width = cap.max(axis=1), self.settings.tolerance_kw
        return limit.cap(self.port[chosen], most, width)

    def _verify(
        self,
        chosen: Ints,
        kw: Floats,
        row: Ints,
        step: Ints,
        failed: NDArray[np.bool_],
        screen: Screen | None,
        out: Rows,
    ) -> None:
        """Lower each value until it passes at every step not proven to hold."""
        case = self.case
        count = np.zeros(len(chosen), dtype=np.int64)
        pending = np.flatnonzero(~failed)
        for _ in range(_MAX_ROUNDS):
            if not len(pending):
                break
            port = self.port[chosen[pending]]
            slack, at = self._worst_state(kw[pending], port, screen, count, pending)
            bad = slack < 0.0
            pending, port, at = pending[bad], port[bad], at[bad]
            if not len(pending):
                break
            lower = largest_passing(
                case, port, at, kw[pending], kw[pending], self.settings.tolerance_kw
            )
            kw[pending], row[pending], step[pending] = lower.kw, lower.row, at
            failed[pending] |= ~lower.converged
        else:
            failed[pending] = True
        out["steps_solved"][chosen] = count

    def _worst_state(
        self,
        kw: Floats,
        port: Ints,
        screen: Screen | None,
        count: Ints,
        pending: Ints,
    ) -> tuple[Floats, Ints]:
        """Return the smallest AC slack of each load over its steps, and the step."""
        case = self.case
        if screen is None:
            may = np.ones((len(kw), len(case.time)), dtype=bool)
        else:
            may = screen.may_bind(kw, port)
        which, step = np.nonzero(may)
        slack, _ = case.evaluate(port[which], step, kw[which])
        count[pending] = np.maximum(count[pending], may.sum(axis=1))
        worst = np.full(len(kw), np.inf)
        at = np.zeros(len(kw), dtype=np.int64)
        order = np.argsort(-slack, kind="stable")
        worst[which[order]] = slack[order]
        at[which[order]] = step[order]
        return worst, at

    def _fill(
        self,
        out: Rows,
        chosen: Ints,
        kw: Floats,
        row: Ints,
        step: Ints,
        own: NDArray[np.bool_],
        failed: NDArray[np.bool_],
    ) -> None:
        """Write firm values, statuses and the limits that bind."""
        out["firm_kw"][chosen] = np.where(failed, np.nan, kw)
        censored = (row < 0) & ~own & ~failed
        status = np.select(
            [failed, censored], ["not_converged", "censored"], default="ok"
        )
        out["firm_status"][chosen] = out["flexible_status"][chosen] = status
        for column in FLEXIBLE:
            out[column][chosen[censored]] = kw[censored]
        bound = (row >= 0) & ~failed
        self.name_limit_of(out, chosen[bound], row[bound], step[bound])
        at = chosen[own]
        lowest = self.service[at]
        when = lowest.argmin(axis=1)
        criterion = np.full(len(at), "service", dtype=object)
        element = self.group["building_id"].to_numpy(dtype=object)[at]
        if self.outside is not None:
            left = self.outside.headroom_kw[at]
            above = left.min(axis=1) < lowest.min(axis=1)
            criterion[above] = self.outside.criterion
            element[above] = self.outside.element
            when[above] = left.argmin(axis=1)[above]
        name_limit(out, at, criterion, element, self.case.time[when])
        self._second_limit(out, chosen[~failed & (bound | own)])

    def name_limit_of(self, out: Rows, rows: Ints, row: Ints, step: Ints) -> None:
        """
        Write which limit of the block binds.

        Parameters
        ----------
        out : dict of numpy.ndarray
            Hosting rows, changed in place.
        rows : numpy.ndarray of int, shape (n,)
            Positions in it.
        row : numpy.ndarray of int, shape (n,)
            Row of the block's limits.
        step : numpy.ndarray of int, shape (n,)
            Step at which it binds.
        """
        names = limit_names(self.case.rows, row, out["bus"][rows])
        name_limit(out, rows, *names, self.case.time[step])

    def _second_limit(self, out: Rows, rows: Ints) -> None:
        """Name the next limit of another criterion, by linear estimate."""
        kinds = self.case.rows["criterion"].to_numpy()
        names = self.case.rows["element"].to_numpy()
        service = self.service[rows].min(axis=1)
        first = out["limit_criterion"][rows]
        linear = np.vstack([self.linear[:, rows], service[None, :]])
        kinds, names = np.append(kinds, "service"), np.append(names, "own service")
        linear = np.where(kinds[:, None] == first[None, :], np.inf, linear)
        second = linear.argmin(axis=0)
        finite = np.isfinite(linear.min(axis=0))
        out["second_criterion"][rows] = np.where(finite, kinds[second], "")
        out["second_element"][rows] = np.where(finite, names[second], "")

    def _flexible(
        self,
        out: Rows,
        rows: Ints,
        firm: Floats,
        envelope: Envelope,
        good: NDArray[np.bool_],
    ) -> None:
        """Write flexible capacities."""
        firm = np.where(good, firm, 0.0)
        columns, headroom, unsettled = confirmed_columns(envelope, firm, self.settings)
        error = envelope.signed_error_kw(firm)
        columns["envelope_error_least_kw"] = error.min(axis=1)
        columns["envelope_error_most_kw"] = error.max(axis=1)
        at = rows[good]
        for name, values in columns.items():
            column = out.setdefault(name, np.full(len(self.group), np.nan))
            column[at] = values[good]
        refuse_flexible(out, rows[unsettled[good[unsettled]]], "not_converged")
        if envelope.closed is not None:
            self._open_to_the_cap(out, rows, headroom, envelope.closed)
        if self.settings.envelope is not None:
            self.settings.envelope(self.group.index[at], headroom[good])

    def _open_to_the_cap(
        self, out: Rows, rows: Ints, headroom: Floats, closed: NDArray[np.bool_]
    ) -> None:
        """Say where nothing but the search cap limits the steps that are open."""
        free = headroom >= self.case.limits.search_cap_kw
        censored = closed.any(axis=1) & (closed | free).all(axis=1)
        censored &= out["flexible_energy98_kw"][rows] > 0.0
        out["flexible_status"][rows[censored]] = "censored"
