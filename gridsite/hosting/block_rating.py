"""
Rate the connections of one block, each alone, over all steps.

Firm capacity is searched at the step where the estimate leaves least, verified
at every step that `Screen` does not prove to hold, and lowered where a step
fails. What lies outside the block (a trunk above it) may cap a load at each step.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.feeder.load_parts import service_power
from gridsite.hosting.ageing_limit import AgeingLimit, Cap
from gridsite.hosting.curtailment import curtailment
from gridsite.hosting.envelope import Envelope
from gridsite.hosting.flexible import LEVELS, energy_rating, flexible_ratings
from gridsite.hosting.phase_rows import unbalance_capacity
from gridsite.hosting.response import Response
from gridsite.hosting.rows import (
    FLEXIBLE,
    blank_rows,
    limit_names,
    name_limit,
    refuse,
    table_of,
)
from gridsite.hosting.screening import Screen
from gridsite.hosting.search import largest_passing
from gridsite.hosting.service import service_headroom_kw

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from gridsite.feeder.profiles import Profiles
    from gridsite.hosting.ageing_limit import Ageing
    from gridsite.hosting.base_case import BaseCase
    from gridsite.hosting.rows import Rows

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: Rounds of verify and lower before a port counts as not converged.
_MAX_ROUNDS = 30


@dataclass(frozen=True, kw_only=True)
class Settings:
    """
    How connections are rated.

    Parameters
    ----------
    power_factor : float
        Of added loads, lagging. [-]
    tolerance_kw : float
        Width of the interval that holds the true firm capacity. [kW]
    screen : bool
        Whether steps proven not to bind are skipped.
    min_power_share : float
        Share of its rating below which a unit pauses. [-]
    battery_kwh : float
        Energy of a battery at each unit. [kWh]
    battery_kw : float or None
        Its power; the unit's rating where None. [kW]
    levels : tuple of float
        Shares of energy, and of steps, of flexible capacity. [-]
    ageing : Ageing, optional
        What transformers age by; not checked without it.
    envelope : callable, optional
        Takes row labels of connections and their headroom at each step. [kW]
    lower_envelope : callable, optional
        Takes row labels, what is kept of each headroom [-], and its lower bound.
        [kW]
    """

    power_factor: float
    tolerance_kw: float
    screen: bool
    min_power_share: float = 0.0
    battery_kwh: float = 0.0
    battery_kw: float | None = None
    levels: tuple[float, ...] = LEVELS
    ageing: Ageing | None = None
    envelope: Callable[[pd.Index, Floats], None] | None = None
    lower_envelope: Callable[[pd.Index, Floats, Floats], None] | None = None


@dataclass(frozen=True, kw_only=True)
class Outside:
    """
    What limits outside a block leave to any load in it.

    Parameters
    ----------
    headroom_kw : numpy.ndarray, shape (n, n_step)
        To each connection at each step. [kW]
    criterion, element : str
        The limit that leaves least.
    """

    headroom_kw: Floats
    criterion: str
    element: str


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

    def rows(self) -> Rows:
        """
        Return the hosting rows of this block, by column.

        Returns
        -------
        dict of numpy.ndarray
            In the order of the connections.
        """
        out = blank_rows(self.group)
        service = self.service.min(axis=1)
        out["service_headroom_kw"] = np.where(np.isfinite(service), service, np.nan)
        open_ports = self._base_violations(out) & self.without_unrated(out)
        open_ports &= self._service_holds(out) & self.ageing_known(out)
        chosen = np.flatnonzero(open_ports)
        if len(chosen):
            self.rate(out, chosen)
        return out

    def _service_holds(self, out: Rows) -> NDArray[np.bool_]:
        """Give no value to a building beyond its own fuse, or without a voltage."""
        unknown = np.isnan(self.service).any(axis=1)
        beyond = ~unknown & (self.service <= 0.0).any(axis=1)
        still = out["firm_status"] == "ok"
        names = self.group["building_id"].to_numpy()
        at = np.flatnonzero(unknown & still)
        refuse(out, at, "unrated", np.nan)
        name_limit(out, at, "service", names[at])
        at = np.flatnonzero(beyond & still)
        refuse(out, at, "none_base_violation", 0.0)
        when = self.case.time[self.service[at].argmin(axis=1)]
        name_limit(out, at, "service", names[at], when)
        left: NDArray[np.bool_] = ~(unknown | beyond)
        return left

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
        at = np.flatnonzero(hit & (out["firm_status"] == "ok"))
        refuse(out, at, "unrated", np.nan)
        first = limit.names[unknown.argmax(axis=0)]
        name_limit(out, at, "transformer ageing", first[at])
        left: NDArray[np.bool_] = ~hit
        return left

    def _base_violations(self, out: Rows) -> NDArray[np.bool_]:
        """Give 0 to loads that act on a limit that is broken already."""
        case = self.case
        rows = np.flatnonzero(case.broken.any(axis=1))
        worse = self.worsens(rows)
        hit = np.asarray(worse.any(axis=0))
        depth = (case.slack[rows] / case.scale[rows, None]).min(axis=1)
        if hit.any():
            first = np.argmin(np.where(worse, depth[:, None], np.inf), axis=0)
            row = rows[first[hit]]
            step = case.slack[row].argmin(axis=1)
            self.name_limit_of(out, np.flatnonzero(hit), row, step)
            refuse(out, np.flatnonzero(hit), "none_base_violation", 0.0)
        return ~hit

    def worsens(self, rows: Ints) -> NDArray[np.bool_]:
        """
        Return which loads act on broken rows in the direction that harms.

        Parameters
        ----------
        rows : numpy.ndarray of int, shape (n_row,)
            Rows that the base case breaks at some step.

        Returns
        -------
        numpy.ndarray of bool, shape (n_row, n)
            By row and connection.
        """
        case = self.case
        worse: NDArray[np.bool_] = case.acts_on[rows][:, self.port]
        ports = self.port
        for i, row in enumerate(rows):
            # the unbalance that a load takes away comes back as it grows
            alike = row < case.n_voltage or row >= case.first_unbalance
            if alike or not worse[i].any():
                continue
            step = np.flatnonzero(case.broken[row])
            matrix = case.upper_y[[row - case.n_voltage]]
            v = case.v[:, step]
            now = (matrix @ v)[0]
            source = case.upper_source[row - case.n_voltage]
            now += source * case.drive[step]
            drawn = (1 - 1j * case.tan_phi) / np.conj(case.port_voltage(v)[ports])
            reach = -(matrix @ case.block.impedance[:, ports])[0]
            change = reach[:, None] * drawn
            worse[i] &= (np.real(np.conj(now) * change) > 0.0).any(axis=1)
        return worse

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
        hit = acts.any(axis=0) & (out["firm_status"] == "ok")
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
            Headroom, whatever the service and limits outside. [kW]
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
        return self.envelope

    def rate(self, out: Rows, chosen: Ints, *, estimate: bool = False) -> None:
        """
        Find firm and flexible capacity of the chosen rows.

        Parameters
        ----------
        out : dict of numpy.ndarray
            Hosting rows, changed in place.
        chosen : numpy.ndarray of int, shape (n,)
            Positions in it.
        estimate : bool, default False
            Stop at the AC search at the step that leaves least by estimate.
        """
        case, tolerance = self.case, self.settings.tolerance_kw
        cap = self._cap(chosen)
        aged = self._aged(chosen, cap)
        if aged is not None:
            np.minimum(cap, aged.kw[:, None], out=cap)
        envelope = self._envelope(chosen, cap)
        service = envelope.cap_kw.min(axis=1)
        step = envelope.grid_kw.argmin(axis=1)
        every = np.arange(len(chosen))
        start = np.minimum(envelope.grid_kw[every, step], service)
        found = largest_passing(
            case, self.port[chosen], step, start, service, tolerance
        )
        kw, row, step = found.kw, found.row, step.copy()
        failed = ~found.converged
        screen = self.screen if self.settings.screen else None
        if not estimate:
            self._verify(chosen, kw, row, step, failed, screen, out)
        envelope.include(np.where(failed, -1, row), step, kw)
        bound = kw >= service - tolerance
        own = (service < case.limits.search_cap_kw) & bound & (row < 0)
        self._fill(out, chosen, kw, row, step, own, failed)
        if aged is not None:
            first = own & (aged.kw <= service)
            self._name_ageing(out, chosen[first], aged, first)
        good = ~failed & ~((row < 0) & ~own)
        if good.any() and not estimate:
            self._flexible(out, chosen, kw, envelope, good)

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

    def _name_ageing(
        self, out: Rows, rows: Ints, aged: Cap, first: NDArray[np.bool_]
    ) -> None:
        """Write the transformer that ages first, and refuse one that does already."""
        when = self.case.time[aged.step[first]]
        name_limit(out, rows, "transformer ageing", aged.element[first], when)
        refuse(out, rows[aged.kw[first] <= 0.0], "none_base_violation", 0.0)

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
        settings, at = self.settings, rows[good]
        least = min(settings.levels)
        envelope.confirm(firm, energy_rating(envelope.headroom_kw(firm), least))
        headroom = envelope.headroom_kw(firm)
        error = envelope.signed_error_kw(firm)[good]
        out["envelope_error_least_kw"][at] = error.min(axis=1)
        out["envelope_error_most_kw"][at] = error.max(axis=1)
        hours = self.case.step_hours
        ratings = flexible_ratings(
            headroom[good],
            hours,
            levels=settings.levels,
            min_power_share=settings.min_power_share,
            battery_kwh=settings.battery_kwh,
            battery_kw=settings.battery_kw,
        )
        lost = curtailment(
            headroom[good],
            ratings["flexible_energy98_kw"].to_numpy(),
            hours,
            min_power_share=settings.min_power_share,
            battery_kwh=settings.battery_kwh,
            battery_kw=settings.battery_kw,
        )
        for name in ratings:
            column = out.setdefault(str(name), np.full(len(self.group), np.nan))
            column[at] = ratings[name].to_numpy()
        out["energy98_steps_curtailed"][at] = lost.steps
        out["energy98_longest_curtailment_h"][at] = lost.longest_h
        out["energy98_interventions_per_year"][at] = lost.interventions_per_year
        if settings.envelope is not None:
            settings.envelope(self.group.index[at], headroom[good])
