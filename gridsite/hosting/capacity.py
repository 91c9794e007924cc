"""
Load hosting capacity of each building, alone, over all steps.

Linear sensitivities choose where to look, bounds prove which steps cannot
bind (`gridsite.hosting.screening`), and AC power flow decides every reported
value: a firm capacity passes at every step that is not proven to hold, and
fails within ``tolerance_kw`` above it at the step that is named.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gridsite.errors import ConfigError, DataError
from gridsite.hosting.base_case import GridCase
from gridsite.hosting.envelope import Envelope, energy_rating, hours_rating
from gridsite.hosting.limits import Limits
from gridsite.hosting.response import Response
from gridsite.hosting.screening import Screen
from gridsite.hosting.search import largest_passing
from gridsite.hosting.service import service_headroom_kw
from gridsite.schemas import check_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from gridsite.feeder.model import Feeder
    from gridsite.feeder.profiles import Profiles
    from gridsite.hosting.base_case import BaseCase

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: Rounds of verify and lower before a port counts as not converged.
_MAX_ROUNDS = 30


def hosting_capacity(
    feeder: Feeder,
    loads: Profiles,
    *,
    limits: Limits | None = None,
    connections: pd.DataFrame | None = None,
    power_factor: float = 0.98,
    tolerance_kw: float = 0.1,
    screen: bool = True,
    grid: GridCase | None = None,
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
    screen : bool, default True
        Skip steps that are proven not to bind; False solves them all.
    grid : GridCase, optional
        Base cases of the same feeder, loads, limits and power factor, when
        they are at hand already.
    progress : callable, optional
        Called with the share done and a text.

    Returns
    -------
    pandas.DataFrame
        Contract ``hosting``; one row per building and port.

    Raises
    ------
    ConfigError
        If ``power_factor`` or ``tolerance_kw`` is out of range.
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
        grid = GridCase(feeder, loads, limits or Limits(), power_factor=power_factor)
    ports = feeder.ports.loc[table["port_id"]]
    table["feeder_id"] = ports["feeder_id"].to_numpy()
    settings = _Settings(
        power_factor=power_factor, tolerance_kw=tolerance_kw, screen=screen
    )
    parts = []
    groups = list(table.groupby("feeder_id", sort=True))
    for done, (feeder_id, group) in enumerate(groups):
        if progress:
            progress(done / len(groups), f"hosting capacity of {feeder_id!s}")
        if feeder_id == "":
            dark = (feeder.ports.loc[group["port_id"], "node"] < 0).to_numpy()
            parts.append(_no_value(group[dark], "unsupplied"))
            parts.append(_at_source(group[~dark], grid, settings))
        elif feeder_id in grid.failed:
            parts.append(_no_value(group, "not_converged"))
        else:
            case = grid.block(str(feeder_id))
            parts.append(_Rating(case, grid.profiles, group, settings).table())
    if progress:
        progress(1.0, "hosting capacity")
    if not parts:
        msg = f"{feeder.name}: no load connection to rate; the file has no loads"
        raise DataError(msg)
    out = pd.concat(parts).sort_index()
    return check_table("hosting", out)


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


@dataclass(frozen=True, kw_only=True)
class _Settings:
    power_factor: float
    tolerance_kw: float
    screen: bool


def _empty(group: pd.DataFrame) -> pd.DataFrame:
    """Return hosting rows that hold no value yet."""
    columns = ["building_id", "port_id", "feeder_id", "bus", "phases", "assumed"]
    return group[columns].assign(
        service_headroom_kw=np.nan,
        firm_kw=np.nan,
        firm_status="ok",
        flexible_energy98_kw=np.nan,
        flexible_hours98_kw=np.nan,
        flexible_status="ok",
        limit_criterion="",
        limit_element="",
        limit_time=pd.Series(pd.NaT, index=group.index, dtype=object),
        second_criterion="",
        second_element="",
        steps_solved=0,
        energy98_steps_curtailed=0,
    )


def _no_value(group: pd.DataFrame, status: str) -> pd.DataFrame:
    return _empty(group).assign(firm_status=status, flexible_status=status)


def _at_source(
    group: pd.DataFrame, grid: GridCase, settings: _Settings
) -> pd.DataFrame:
    """Return rows of loads at a source, which act on no modelled limit."""
    out = _empty(group)
    if group.empty:
        return out
    used = pd.Index(group["port_id"].unique())
    p_kw, q_kvar = grid.profiles.select(used).power_kw()
    row = used.get_indexer(pd.Index(group["port_id"]))
    service = service_headroom_kw(
        group["service_a"].to_numpy(dtype=float),
        group["service_v"].to_numpy(dtype=float),
        p_kw[row],
        q_kvar[row],
        power_factor=settings.power_factor,
        rule=grid.limits.service_rule,
        phases=group["phases"].tolist(),
    ).min(axis=1)
    cap = grid.limits.search_cap_kw
    rated = group["service_a"].notna().to_numpy() & grid.limits.on("service")
    unknown = rated & np.isnan(service)
    own = rated & (service <= cap)
    value = np.where(unknown, np.nan, np.where(own, service, cap))
    status = np.select(
        [unknown, own & (service <= 0.0), own],
        ["unrated", "none_base_violation", "ok"],
        default="censored",
    )
    named = own | unknown
    return out.assign(
        service_headroom_kw=np.where(rated, service, np.nan),
        firm_kw=value,
        flexible_energy98_kw=value,
        flexible_hours98_kw=value,
        firm_status=status,
        flexible_status=status,
        limit_criterion=np.where(named, "service", ""),
        limit_element=np.where(named, group["building_id"], ""),
    )


class _Rating:
    """Rate the connections of one block."""

    def __init__(
        self,
        case: BaseCase,
        profiles: Profiles,
        group: pd.DataFrame,
        settings: _Settings,
    ) -> None:
        self.case, self.group, self.settings = case, group, settings
        block = case.block
        own = case.feeder.ports.index[block.ports]
        self.port: Ints = own.get_indexer(pd.Index(group["port_id"])).astype(np.int64)
        used = pd.Index(group["port_id"].unique())
        p_kw, q_kvar = profiles.select(used).power_kw()
        row = used.get_indexer(pd.Index(group["port_id"]))
        #: (n, n_step): what the building's service leaves; inf where not checked
        self.service = np.full((len(group), len(case.time)), np.inf)
        known = group["service_a"].notna().to_numpy()
        if case.limits.on("service") and known.any():
            self.service[known] = service_headroom_kw(
                group["service_a"].to_numpy(dtype=float)[known],
                group["service_v"].to_numpy(dtype=float)[known],
                p_kw[row[known]],
                q_kvar[row[known]],
                power_factor=settings.power_factor,
                rule=case.limits.service_rule,
                phases=group.loc[known, "phases"].tolist(),
            )
        self.linear = self._linear_capacity()

    def _linear_capacity(self) -> Floats:
        """Return the load at which each row would bind, linearly. [kW]"""
        case = self.case
        drop, current, own = case.effect
        effect = np.concatenate([drop, current, own[None, :]])[:, self.port]
        slack = np.where(case.broken, np.inf, case.slack).min(axis=1)
        slack = np.append(slack, case.limits.voltage_change_pu)
        if not case.limits.on("voltage change"):
            slack[-1] = np.inf
        acts = np.vstack([case.acts_on[:, self.port], np.ones(len(self.port), bool)])
        with np.errstate(divide="ignore", invalid="ignore"):
            linear = slack[:, None] / np.maximum(effect, 0.0) * case.block.base_kva
        out: Floats = np.where(acts & (effect > 0.0), linear, np.inf)
        return out

    def table(self) -> pd.DataFrame:
        """Return the hosting rows of this block."""
        out = _empty(self.group)
        service = self.service.min(axis=1)
        out["service_headroom_kw"] = np.where(np.isfinite(service), service, np.nan)
        open_ports = self._base_violations(out) & self._unrated(out)
        open_ports &= self._service_holds(out)
        chosen = np.flatnonzero(open_ports)
        if len(chosen):
            self._firm(out, chosen)
        return out

    def _service_holds(self, out: pd.DataFrame) -> NDArray[np.bool_]:
        """Give no value to a building beyond its own fuse, or without a voltage."""
        unknown = np.isnan(self.service).any(axis=1)
        beyond = ~unknown & (self.service <= 0.0).any(axis=1)
        still = (out["firm_status"] == "ok").to_numpy()
        for hit, status in ((unknown, "unrated"), (beyond, "none_base_violation")):
            at = out.index[hit & still]
            out.loc[at, ["firm_status", "flexible_status"]] = status
            out.loc[at, "limit_criterion"] = "service"
            out.loc[at, "limit_element"] = self.group.loc[at, "building_id"]
        at = out.index[beyond & still]
        out.loc[at, ["firm_kw", "flexible_energy98_kw", "flexible_hours98_kw"]] = 0.0
        when = self.case.time[self.service[beyond & still].argmin(axis=1)]
        out.loc[at, "limit_time"] = pd.Series(when, index=at, dtype=object)
        left: NDArray[np.bool_] = ~(unknown | beyond)
        return left

    def _base_violations(self, out: pd.DataFrame) -> NDArray[np.bool_]:
        """Give 0 to loads that act on a limit that is broken already."""
        case = self.case
        rows = np.flatnonzero(case.broken.any(axis=1))
        worse = self._worsens(rows)
        hit = np.asarray(worse.any(axis=0))
        depth = (case.slack[rows] / case.scale[rows, None]).min(axis=1)
        if hit.any():
            first = np.argmin(np.where(worse, depth[:, None], np.inf), axis=0)
            row = rows[first[hit]]
            step = case.slack[row].argmin(axis=1)
            self._name_limit(out, np.flatnonzero(hit), row, step)
            at = out.index[np.flatnonzero(hit)]
            out.loc[at, ["firm_kw", "flexible_energy98_kw", "flexible_hours98_kw"]] = (
                0.0
            )
            out.loc[at, ["firm_status", "flexible_status"]] = "none_base_violation"
        return ~hit

    def _worsens(self, rows: Ints) -> NDArray[np.bool_]:
        """Return which loads act on broken rows in the direction that harms."""
        case = self.case
        worse: NDArray[np.bool_] = case.acts_on[rows][:, self.port]
        ports = self.port
        for i, row in enumerate(rows):
            if row < case.n_voltage or not worse[i].any():
                continue
            step = np.flatnonzero(case.broken[row])
            matrix = case.rated_y[[row - case.n_voltage]]
            v = case.v[:, step]
            now = (matrix @ v)[0]
            source = case.block.terminal_source[case.rated[row - case.n_voltage]]
            now += source * case.drive[step]
            drawn = (1 - 1j * case.tan_phi) / np.conj(case.port_voltage(v)[ports])
            reach = -(matrix @ case.block.impedance[:, ports])[0]
            change = reach[:, None] * drawn
            worse[i] &= (np.real(np.conj(now) * change) > 0.0).any(axis=1)
        return worse

    def _unrated(self, out: pd.DataFrame) -> NDArray[np.bool_]:
        """Refuse a value where an element on the path has no rating."""
        case = self.case
        if not len(case.unrated):
            return np.ones(len(out), dtype=bool)
        v0 = case.block.v_no_load
        drawn = 1.0 / np.conj(case.port_voltage(v0))[self.port]
        flow = np.abs(
            case.block.terminal_y[case.unrated]
            @ (case.block.impedance[:, self.port] * drawn)
        )
        acts = flow >= case.limits.acts_on * np.abs(drawn)
        hit = acts.any(axis=0) & (out["firm_status"] == "ok").to_numpy()
        if hit.any():
            terminals = case.feeder.terminals.iloc[case.block.terminals]
            names = terminals["element"].to_numpy()[case.unrated]
            kinds = terminals["criterion"].to_numpy()[case.unrated]
            first = acts.argmax(axis=0)[hit]
            at = out.index[hit]
            out.loc[at, "limit_criterion"] = kinds[first]
            out.loc[at, "limit_element"] = names[first]
            out.loc[at, ["firm_status", "flexible_status"]] = "unrated"
        left: NDArray[np.bool_] = ~hit
        return left

    def _firm(self, out: pd.DataFrame, chosen: Ints) -> None:
        """Find firm and flexible capacity of the chosen rows."""
        case, tolerance = self.case, self.settings.tolerance_kw
        cap = case.limits.search_cap_kw
        response = Response(case)
        envelope = Envelope(
            response,
            self.port[chosen],
            self.linear[:, chosen],
            np.minimum(self.service[chosen], cap),
        )
        service = np.minimum(self.service[chosen].min(axis=1), cap)
        step = envelope.grid_kw.argmin(axis=1)
        every = np.arange(len(chosen))
        start = np.minimum(envelope.grid_kw[every, step], service)
        found = largest_passing(
            case, self.port[chosen], step, start, service, tolerance
        )
        kw, row, step = found.kw, found.row, step.copy()
        failed = ~found.converged
        screen = Screen(response) if self.settings.screen else None
        self._verify(chosen, kw, row, step, failed, screen, out)
        bound = kw >= service - tolerance
        own = (self.service[chosen].min(axis=1) <= cap) & bound & (row < 0)
        self._fill(out, chosen, kw, row, step, own, failed)
        good = ~failed & ~((row < 0) & ~own)
        if good.any():
            self._flexible(out, chosen, kw, envelope, good)

    def _verify(
        self,
        chosen: Ints,
        kw: Floats,
        row: Ints,
        step: Ints,
        failed: NDArray[np.bool_],
        screen: Screen | None,
        out: pd.DataFrame,
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
        out.loc[out.index[chosen], "steps_solved"] = count

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
        out: pd.DataFrame,
        chosen: Ints,
        kw: Floats,
        row: Ints,
        step: Ints,
        own: NDArray[np.bool_],
        failed: NDArray[np.bool_],
    ) -> None:
        """Write firm values, statuses and the limits that bind."""
        index = out.index[chosen]
        out.loc[index, "firm_kw"] = np.where(failed, np.nan, kw)
        censored = (row < 0) & ~own & ~failed
        status = np.select(
            [failed, censored], ["not_converged", "censored"], default="ok"
        )
        out.loc[index, "firm_status"] = status
        out.loc[index, "flexible_status"] = status
        for column in ("flexible_energy98_kw", "flexible_hours98_kw"):
            out.loc[index[censored], column] = kw[censored]
        bound = (row >= 0) & ~failed
        self._name_limit(out, chosen[bound], row[bound], step[bound])
        at = out.index[chosen[own]]
        out.loc[at, "limit_criterion"] = "service"
        out.loc[at, "limit_element"] = self.group.loc[at, "building_id"]
        when = self.case.time[self.service[chosen[own]].argmin(axis=1)]
        out.loc[at, "limit_time"] = pd.Series(when, index=at, dtype=object)
        self._second_limit(out, chosen[~failed & (bound | own)])

    def _name_limit(self, out: pd.DataFrame, rows: Ints, row: Ints, step: Ints) -> None:
        limits, at = self.case.rows, out.index[rows]
        out.loc[at, "limit_criterion"] = limits["criterion"].to_numpy()[row]
        element = limits["element"].to_numpy()[row].astype(object)
        own = limits["criterion"].to_numpy()[row] == "voltage change"
        out.loc[at, "limit_element"] = np.where(own, out.loc[at, "bus"], element)
        when = pd.Series(self.case.time[step], index=at, dtype=object)
        out.loc[at, "limit_time"] = when

    def _second_limit(self, out: pd.DataFrame, rows: Ints) -> None:
        """Name the next limit of another criterion, by linear estimate."""
        kinds = self.case.rows["criterion"].to_numpy()
        names = self.case.rows["element"].to_numpy()
        service = self.service[rows].min(axis=1)
        first = out["limit_criterion"].to_numpy()[rows]
        linear = np.vstack([self.linear[:, rows], service[None, :]])
        kinds, names = np.append(kinds, "service"), np.append(names, "own service")
        linear = np.where(kinds[:, None] == first[None, :], np.inf, linear)
        second = linear.argmin(axis=0)
        finite = np.isfinite(linear.min(axis=0))
        at = out.index[rows]
        out.loc[at, "second_criterion"] = np.where(finite, kinds[second], "")
        out.loc[at, "second_element"] = np.where(finite, names[second], "")

    def _flexible(
        self,
        out: pd.DataFrame,
        rows: Ints,
        firm: Floats,
        envelope: Envelope,
        good: NDArray[np.bool_],
    ) -> None:
        """Write flexible capacities."""
        firm = np.where(good, firm, 0.0)
        envelope.confirm(firm, energy_rating(envelope.headroom_kw(firm), 0.98))
        headroom = envelope.headroom_kw(firm)
        energy = energy_rating(headroom, 0.98)
        at = out.index[rows[good]]
        out.loc[at, "flexible_energy98_kw"] = energy[good]
        out.loc[at, "flexible_hours98_kw"] = hours_rating(headroom, 0.98)[good]
        curtailed = (headroom < energy[:, None]).sum(axis=1)
        out.loc[at, "energy98_steps_curtailed"] = curtailed[good]


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
        Counts by status and by limit, median and sum of firm capacity. [kW]
    """
    firm = table["firm_kw"]
    return {
        "buildings": int(table["building_id"].nunique()),
        "status": table["firm_status"].value_counts().to_dict(),
        "limit": table["limit_criterion"].value_counts().to_dict(),
        "firm_kw_median": float(firm.median()) if firm.notna().any() else None,
        "firm_kw_sum_of_singles": float(firm.sum()),
    }
