"""One row of a hosting table, replayed against its feeder."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pandas as pd

from gridsite.errors import PowerFlowError
from gridsite.feeder.controls import feeder_at
from gridsite.feeder.load_parts import service_power
from gridsite.hosting.acting_case import UNSETTLED
from gridsite.hosting.acting_explain import acted_states
from gridsite.hosting.ageing_limit import AgeingLimit
from gridsite.hosting.explanation import Explanation
from gridsite.hosting.feed_path import (
    STATES,
    element_table,
    feed_path,
    limit_row,
    node_table,
    value_row,
)
from gridsite.hosting.search import largest_passing
from gridsite.hosting.service_terms import service_terms
from gridsite.hosting.thermal import hot_spot_series

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from gridsite.feeder.profiles import Profiles
    from gridsite.hosting.base_case import BaseCase
    from gridsite.hosting.grid_case import GridCase

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: Slack over size by which the reported value may miss a limit: solver rounding. [-]
_ROUNDING = 1e-6

#: Part of `Limits.acts_on` that is enough: the rating takes it at no load. [-]
_ACTS = 0.5

#: Why a connection has no value, or only a lower bound.
_REASONS = {
    "censored": (
        "no limit was found up to the search cap of {cap:,.0f} kW: the value is a "
        "lower bound, and nothing binds that could be shown"
    ),
    "unrated": (
        "{criterion} of {element} has no rating (a fuse of amperes without a voltage "
        "counts as none), so that no load beyond it can be called safe; --ratings "
        "gives one, --assume-line-a one to every line ([feeder] of a study has both)"
    ),
    "unsupplied": "no source reaches bus {bus}",
    "lacks_phase": "bus {bus} lacks one of the three phases that the unit draws on",
    "not_converged": (
        "no power flow was found, with the load or without it; that is never a "
        "capacity, since the solver and not a limit stopped the search"
    ),
}


class ValueReplay:
    """
    One row of a hosting table against its feeder.

    Parameters
    ----------
    grid : GridCase
        Base cases.
    row : mapping
        The row.
    tolerance_kw : float
        Within which the value is held. [kW]
    service_a, service_v : float
        Rating of the building's service; NaN where it is not known. [A], [V]
    """

    def __init__(
        self,
        grid: GridCase,
        row: Mapping[str, Any],
        tolerance_kw: float,
        service_a: float,
        service_v: float,
    ) -> None:
        self.grid, self.row = grid, row
        self.tolerance_kw = tolerance_kw
        self.rating = (service_a, service_v)
        self.status = str(row["firm_status"])
        self.kw = float(row["firm_kw"])
        self.criterion = str(row["limit_criterion"])
        self.element = str(row["limit_element"])
        self.above_kw = self.kw + 2.0 * tolerance_kw

    def explanation(self) -> Explanation:
        """
        Return the explanation, confirmed.

        Returns
        -------
        Explanation
            In words and, where the status has a value, with tables.

        Raises
        ------
        PowerFlowError
            If the feeder contradicts the row.
        """
        row = self.row
        plain = Explanation(
            building_id=str(row["building_id"]),
            port_id=str(row["port_id"]),
            status=self.status,
            firm_kw=self.kw,
        )
        if self.status in _REASONS:
            self._check_status()
            reason = _REASONS[self.status].format(
                cap=self.grid.limits.search_cap_kw,
                criterion=self.criterion,
                element=self.element,
                bus=row["bus"],
            )
            return replace(plain, reason=reason)
        if not (self.kw >= 0.0 and self.criterion):
            self._refuse("it has a status but no value or no limit")
        step, service, limit = self._step(), pd.DataFrame(), pd.DataFrame()
        if self.criterion == "service":
            step, service, limit = self._service(step)
        elif self.criterion == "transformer ageing":
            limit = self._ageing()
        out = replace(
            plain,
            above_kw=self.above_kw,
            time=self.grid.profiles.time[step],
            reason=self._words(),
            limit=limit,
            service=service,
        )
        if row["feeder_id"] == "":
            return out
        case = self._case(step)
        v = self.standing = self._solve(case)
        if self.grid.course is not None and self.status == "ok":
            v = self._let_act(case, step)
            out = replace(out, controls=self.controls)
            if self.criterion == UNSETTLED:
                return out
        self._confirm_others(case, v)
        if limit.empty:
            limit = self._limit(case, v)
        path = feed_path(case, self._node())
        return replace(
            out,
            above_kw=self.above_kw,
            reason=self._words(),
            limit=limit,
            nodes=node_table(case, v, path, limit, source_factor=self._factor(step)),
            elements=element_table(case, self._currents(v), path, limit),
        )

    def _let_act(self, case: BaseCase, step: int) -> NDArray[np.complex128]:
        """Return voltages of the states with the controls acting on their loads."""
        # beyond one tolerance the course may be another one again
        kw = self.kw + self.tolerance_kw * np.array([0.0, 1.0, 2.0])
        kw = np.append(0.0, kw)
        acted = acted_states(self.grid, case, self._port(case), kw, step)
        if np.isnan(acted.v[0, :2]).any():
            self._refuse("its controls do not settle at that step")
        every = self.states = acted.cases
        for last in (3, 2):
            at = [0, 1, last]
            self.states, v = [every[i] for i in at], acted.v[:, at]
            self.above_kw = float(kw[last])
            self.standing = self._solve(case)
            lost = bool(np.isnan(v[0, 2]))
            if lost if self.criterion == UNSETTLED else self._breaks(case, v):
                break
        else:
            self._refuse(f"the limit holds with {self.above_kw:g} kW at that step")
        told = {"control": acted.controls["control"], "kind": acted.controls["kind"]}
        for name, i in zip(STATES, at, strict=True):
            told[f"{name}_position"] = acted.controls[f"position_{i}"]
            told[f"{name}_moves"] = acted.controls[f"moves_{i}"]
        self.controls = pd.DataFrame(told)
        return v

    def _breaks(self, case: BaseCase, v: NDArray[np.complex128]) -> bool:
        """Return whether the limit that the table names is newly broken above."""
        if self.criterion == "service":
            return True
        slack, broken = self._slack(case, v)
        rows = self._rows(case)
        rows = rows[~broken[rows]]
        return not (slack[rows, 2].min(initial=np.inf) >= 0.0)

    def _currents(self, v: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """Return currents of the states, each at its own setting. [pu]"""
        each = [
            at.block.currents(v[:, [i]], at.drive) for i, at in enumerate(self.states)
        ]
        return np.concatenate(each, axis=1)

    def _refuse(self, what: str) -> NoReturn:
        """Raise the error of a replay that does not agree."""
        row = self.row
        msg = (
            f"the replay does not confirm building {row['building_id']!r} at "
            f"{row['port_id']!r} ({self.kw:g} kW, {self.status}, {self.criterion} of "
            f"{self.element or 'nothing'}): {what}; the table was changed or made by "
            "another version: run it again"
        )
        raise PowerFlowError(msg, dict(row))

    def _words(self) -> str:
        """Return what the replay confirmed."""
        if self.status == "none_base_violation":
            return (
                f"{self.criterion} of {self.element} is broken without any added load, "
                "and a load here acts on it: the capacity is 0"
            )
        if self.criterion == UNSETTLED:
            return (
                f"the controls settle with {self.kw:,.2f} kW and do not, or no power "
                f"flow is found, with {self.above_kw:,.2f} kW"
            )
        words = (
            f"{self.criterion} of {self.element} holds with {self.kw:,.2f} kW and is "
            f"newly broken with {self.above_kw:,.2f} kW"
        )
        if self.grid.course is not None and self.criterion == "voltage change":
            words += ", with the controls where the base load leaves them"
        elif self.grid.course is not None and self.criterion != "service":
            words += ", with the controls acting on it from the first step on"
        if self.row["feeder_id"] == "":
            words += "; the connection stands at a source: no other limit is modelled"
        return words

    def _check_status(self) -> None:
        """Refuse a status that the feeder contradicts."""
        supplied = self.grid.feeder.ports["node"].loc[self.row["port_id"]] >= 0
        if supplied == (self.status in ("unsupplied", "lacks_phase")):
            self._refuse(f"a source does {'' if supplied else 'not '}reach it")
        if self.status == "censored" and self.kw != self.grid.limits.search_cap_kw:
            self._refuse(f"the search cap is {self.grid.limits.search_cap_kw:g} kW")
        if self.status != "unrated":
            return
        if self.criterion == "service":
            known = bool(np.isfinite(self.rating).all())
        else:
            ends = self.grid.feeder.terminals
            own = (ends["element"] == self.element).to_numpy()
            known = bool((ends["rated_a"][own] > 0.0).all())
        if known:
            self._refuse("what it names has a rating")

    def _step(self) -> int:
        """Return the position of the step that the row names; -1 for none."""
        when, time = self.row["limit_time"], self.grid.profiles.time
        if when is None or pd.isna(when):
            if self.criterion != "service":
                self._refuse("it names no step")
            return -1
        stamp = pd.Timestamp(when)
        at = -1
        if stamp.tz is not None:
            at = int(time.get_indexer(pd.DatetimeIndex([stamp]).tz_convert(time.tz))[0])
        if at < 0:
            self._refuse(f"its step {when} is not one of the loads' steps")
        return at

    def _factor(self, step: int) -> complex:
        """Return the factor of the sources, without that of a tap changer."""
        factor = self.grid.profiles.source_factor
        return 1.0 if factor is None else complex(factor[step])

    def _node(self) -> int:
        return int(self.grid.feeder.ports["node"].loc[self.row["port_id"]])

    def _case(self, step: int) -> BaseCase:
        """Return the base case of the whole feeder at one step."""
        grid, feeder_id = self.grid, str(self.row["feeder_id"])
        if feeder_id not in grid.feeder_ids:
            self._refuse(f"there is no feeder {feeder_id!r}")
        profiles = _one_step(grid.profiles_of(feeder_id), step)
        feeder = grid.feeder
        if grid.course is not None:
            feeder = feeder_at(feeder, grid.course.positions[step])
        case = grid.part(feeder, feeder_id, profiles)
        self.states = [case] * len(STATES)
        return case

    def _port(self, case: BaseCase) -> int:
        names = self.grid.feeder.ports.index[case.block.ports]
        at = int(names.get_indexer(pd.Index([self.row["port_id"]]))[0])
        if at < 0:
            self._refuse(f"it is not part of feeder {self.row['feeder_id']!r}")
        return at

    def _solve(self, case: BaseCase) -> NDArray[np.complex128]:
        """Return voltages without the load, with the value and just above it."""
        kw = np.array([0.0, self.kw, self.above_kw])
        zero = np.zeros(3, dtype=np.int64)
        solution = case.block.solve(
            case.states,
            zero,
            added_port=np.full(3, self._port(case)),
            added=kw / case.block.base_kva,
            v_start=case.v,
            start_of=zero,
            tolerance_pu=1e-11,
        )
        for load, good in zip(kw, solution.converged, strict=True):
            if not good:
                self._refuse(f"there is no power flow with {load:g} kW")
        return solution.v

    def _slack(
        self, case: BaseCase, v: NDArray[np.complex128]
    ) -> tuple[Floats, NDArray[np.bool_]]:
        """Return slack over size of every row, and which rows are broken at 0 kW."""
        first = np.zeros(1, dtype=np.int64)
        each = [at.row_slack(v[:, [i]], first) for i, at in enumerate(self.states)]
        slack = np.concatenate(each, axis=1) / case.scale[:, None]
        drop, most = self._drop(case, self.standing), case.limits.voltage_change_pu
        change = (most - drop) / most
        if not case.limits.on("voltage change"):
            change[:] = np.inf
        slack = np.vstack([slack, change])
        return slack, slack[:, 0] < 0.0

    def _drop(self, case: BaseCase, v: NDArray[np.complex128]) -> Floats:
        """Return the voltage change at the own connection. [pu]"""
        port = np.full(v.shape[1], self._port(case))
        return case.block.voltage_fall(port, v, v, np.zeros(len(port), dtype=np.int64))

    def _rows(self, case: BaseCase) -> Ints:
        """Return the rows of the limit that the table names."""
        rows = case.rows
        hit = rows["criterion"] == self.criterion
        if self.criterion == "voltage change":
            hit &= self.element == str(self.row["bus"])
        else:
            hit &= rows["element"] == self.element
        found = np.flatnonzero(hit.to_numpy())
        if not len(found):
            self._refuse("no such limit is in force")
        return found

    def _confirm_others(self, case: BaseCase, v: NDArray[np.complex128]) -> None:
        """Refuse a value with which any limit is newly broken."""
        slack, broken = self._slack(case, v)
        below = np.where(broken, np.inf, slack[:, 1])
        worst = int(below.argmin())
        if below[worst] < -_ROUNDING:
            name = case.rows.iloc[worst]
            self._refuse(f"it newly breaks {name['criterion']} of {name['element']}")

    def _limit(self, case: BaseCase, v: NDArray[np.complex128]) -> pd.DataFrame:
        """Return the limit's row of values, confirmed."""
        slack, broken = self._slack(case, v)
        rows = self._rows(case)
        if self.status == "none_base_violation":
            rows = rows[broken[rows]]
            if not len(rows) or self.kw != 0.0:
                self._refuse("the limit is not broken without it, or the value not 0")
            if not self._acts(case, v, rows):
                self._refuse("a load here does not act on that limit")
        else:
            rows = rows[~broken[rows]]
            if not len(rows) or slack[rows, 2].min() >= 0.0:
                self._refuse(self._where_it_binds(case))
        row = int(rows[slack[rows, 2].argmin()])
        drop = self._drop(case, self.standing)
        current = self._currents(v)
        return limit_row(case, v, row, drop, self.element, current=current)

    def _acts(self, case: BaseCase, v: NDArray[np.complex128], rows: Ints) -> bool:
        """Return whether the load acts on any of some limits."""
        least = _ACTS * case.limits.acts_on
        is_voltage = rows < case.n_voltage
        at = np.abs(v[case.limited[rows[is_voltage]]])
        hit = bool((at[:, 0] - at[:, 2] >= least * self._drop(case, v)[2]).any())
        upper = rows[~is_voltage] - case.n_voltage
        if (upper >= len(case.rated)).any():  # a load acts on its own phases
            return True
        ends = case.rated[upper]
        current = self._currents(v)[ends]
        own = np.abs(case.port_voltage(v)[self._port(case), 2])
        drawn = self.above_kw / case.block.base_kva * np.hypot(1.0, case.tan_phi) / own
        drawn *= case.block.conductor_share[self._port(case)]
        moved = np.abs(current[:, 2] - current[:, 0])
        return hit or bool((moved >= least * drawn).any())

    def _where_it_binds(self, case: BaseCase) -> str:
        """Return at what load any limit is broken at this step, in words."""
        found = largest_passing(
            case,
            np.array([self._port(case)]),
            np.zeros(1, dtype=np.int64),
            np.array([self.above_kw]),
            np.array([case.limits.search_cap_kw]),
            self.tolerance_kw,
        )
        held = f"the limit still holds with {self.above_kw:g} kW"
        if found.row[0] < 0:
            return f"{held}, and no limit is broken up to {found.kw[0]:g} kW"
        name = case.rows.iloc[int(found.row[0])]
        return (
            f"{held}; at this step {name['criterion']} of {name['element']} is the "
            f"first to break, above {found.kw[0]:g} kW"
        )

    def _ageing(self) -> pd.DataFrame:
        """Return the limit row of a transformer's ageing, over all steps."""
        grid, feeder_id = self.grid, str(self.row["feeder_id"])
        if grid.ageing is None or feeder_id not in grid.feeder_ids:
            self._refuse("no ambient temperature is given, or no such feeder")
        ageing = grid.ageing
        case = grid.block(feeder_id)
        limit = AgeingLimit(case, ageing)
        ends = np.flatnonzero(limit.names == self.element)
        if not len(ends):
            self._refuse("no such transformer")
        hot, life = np.empty(3), np.empty(3)
        for i, kw in enumerate((0.0, self.kw, self.above_kw)):
            set_kw = np.zeros(len(case.block.ports))
            set_kw[self._port(case)] = kw
            current = limit.currents_of(set_kw, ends)
            if not np.isfinite(current).all():
                self._refuse(f"there is no power flow with {kw:g} kW at every step")
            _, series = hot_spot_series(
                current, ageing.ambient_c, case.step_hours, thermal=ageing.thermal
            )
            hot[i] = series.max()
            life[i] = ageing.thermal.ageing_rate(series).mean(axis=1).max()
        rows = [("degC", ageing.hot_spot_max_c, hot)]
        rows += [("years per year", ageing.loss_of_life_max, life)]
        unit, most, values = max(rows, key=lambda row: row[2][2] / row[1])
        broken = values[0] > most * (1.0 + _ROUNDING)
        zero = self.status == "none_base_violation"
        short = self.tolerance_kw * 1e-9
        if zero != broken or values[2] <= most or (zero and self.kw > short):
            self._refuse(f"its ageing is {values.tolist()} {unit}, the limit {most:g}")
        if not zero and any(v[1] > m * (1.0 + _ROUNDING) for _, m, v in rows):
            self._refuse("it ages beyond the limit with the value already")
        return value_row(self.criterion, self.element, unit, most, values)

    def _service(self, step: int) -> tuple[int, pd.DataFrame, pd.DataFrame]:
        """Return the step of the service, its arithmetic and its limit row."""
        grid, rating = self.grid, self.rating
        if not np.isfinite(rating).all():
            self._refuse("the rating of its service is not known")
        own = pd.Index([self.row["port_id"]])
        p_kw, q_kvar = service_power(grid.profiles, grid.feeder.ports, own)
        told = service_terms(
            *rating,
            p_kw[0],
            q_kvar[0],
            np.array([0.0, self.kw, self.above_kw]),
            step=step,
            power_factor=grid.power_factor,
            rule=grid.limits.service_rule,
            phases=str(self.row["phases"]),
        )
        least = told.left_kw
        zero = self.status == "none_base_violation"
        if abs(least - self.kw) > self.tolerance_kw or (zero and least > 0.0):
            self._refuse(f"its service leaves {least:g} kW")
        if told.left_at_step_kw > least + self.tolerance_kw:
            self._refuse(f"its service leaves {told.left_at_step_kw:g} kW at that step")
        limit = value_row("service", self.element, "kVA", told.rated_kva, told.kva)
        return told.step, told.terms, limit


def _one_step(profiles: Profiles, step: int) -> Profiles:
    """Return profiles of one step."""
    found = profiles.at_steps(np.array([step]))
    return replace(found, time=profiles.time[[step]])
