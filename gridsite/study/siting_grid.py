"""The grid as the siting problem sees it: rows and replays, period by period."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pandas as pd

from gridsite.hosting.ac_replay import LoadReplay, replay_loads
from gridsite.hosting.ageing_cuts import ageing_cuts
from gridsite.hosting.joint import cut_rows, grid_rows
from gridsite.hosting.upgrade_rows import relieved_cuts, upgrade_effects
from gridsite.siting import empty_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gridsite.hosting.grid_case import GridCase
    from gridsite.siting import SitingProblem

#: Counts of a replay that add up over periods.
_COUNTS = ("steps", "base_violations", "new", "worsened")


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """
    What the siting model asks of a replay, and the replay itself.

    Parameters
    ----------
    violations, rows, row_coefficients, upgrade_effects : pandas.DataFrame
        Contracts of those names; a limit that several periods break at one step
        stands once.
    whole : LoadReplay
        Replay of the last period, with the violations and counts of all.
    """

    violations: pd.DataFrame
    rows: pd.DataFrame
    row_coefficients: pd.DataFrame
    upgrade_effects: pd.DataFrame
    whole: LoadReplay


@dataclass(frozen=True, kw_only=True, eq=False)
class Grids:
    """
    The base cases of each deployment period, with and without works on the grid.

    Parameters
    ----------
    factors : sequence of float
        What customers draw in each period over what they draw at its start. [-]
    make : callable
        Returns base cases for a factor and the works that are built.
    works : mapping of str to str
        The feeder of each upgrade.
    """

    factors: Sequence[float]
    make: Callable[[float, frozenset[str]], GridCase]
    works: Mapping[str, str] = field(default_factory=dict)
    _known: dict[tuple[float, frozenset[str]], GridCase] = field(default_factory=dict)

    @property
    def heaviest(self) -> GridCase:
        """
        Return the case with most load, before any works.

        Returns
        -------
        GridCase
            What stands in it stands in all periods, since units stay.
        """
        return self.case(max(self.factors))

    def case(self, factor: float, built: frozenset[str] = frozenset()) -> GridCase:
        """
        Return base cases, made once.

        Parameters
        ----------
        factor : float
            What customers draw over what they draw at the start. [-]
        built : frozenset of str
            Works that are built.

        Returns
        -------
        GridCase
            Not solved yet when new.
        """
        key = (factor, built)
        if key not in self._known:
            self._known[key] = self.make(factor, built)
        return self._known[key]

    def rows(
        self, port_ids: pd.Series[str]
    ) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        """
        Return the grid rows of every period, and what works add to them.

        Parameters
        ----------
        port_ids : pandas.Series of str
            Connections that may host units; "" is left out.

        Returns
        -------
        rows : pandas.DataFrame
            Contract ``rows``.
        row_coefficients : pandas.DataFrame
            Contract ``row_coefficients``.
        upgrade_effects : pandas.DataFrame
            Contract ``upgrade_effects``.
        """
        ports = pd.Index(port_ids.unique())
        ports = ports[ports != ""]
        known = {}
        for factor in dict.fromkeys(self.factors):
            after: dict[str, list[GridCase]] = {}
            for name, feeder_id in self.works.items():
                with_it = self.case(factor, frozenset({name}))
                after.setdefault(feeder_id, []).append(with_it)
            rows, terms = grid_rows(self.case(factor), ports, after)
            known[factor] = (rows, terms, self._effects(factor, rows, ports))
        return self._joined([known[factor] for factor in self.factors])

    def replay(
        self,
        plan: pd.DataFrame,
        problem: SitingProblem,
        round_number: int,
        upgrades: pd.DataFrame | None = None,
    ) -> Replayed:
        """
        Replay a plan in every period, and return rows that cut off what breaks.

        Parameters
        ----------
        plan : pandas.DataFrame
            Contract ``plan``.
        problem : SitingProblem
            The problem.
        round_number : int
            Told apart in the row ids.
        upgrades : pandas.DataFrame, optional
            ``upgrade_id, period`` of what is built. Default: nothing.

        Returns
        -------
        Replayed
            Violations and rows of all periods, each on the grid of its time.
        """
        ports = pd.Index(problem.site_options["port_id"].unique())
        ports = ports[ports != ""]
        replays, cuts, violations = [], [], []
        for period, factor in enumerate(self.factors):
            built = built_by(upgrades, period).intersection(self.works)
            case = self.case(factor, built)
            at_ports = plan[(plan["port_id"] != "") & (plan["period"] == period)]
            added = at_ports.groupby("port_id")["rated_kw"].sum()
            found = replay_loads(case.feeder, case.profiles, added, grid=case)
            replays.append(found)
            violations.append(found.violations)
            rows, terms = cut_rows(case, ports, added, found.violations, round_number)
            worn = found.violations["criterion"] == "transformer ageing"
            where = sorted(found.violations.loc[worn, "feeder_id"].unique())
            aged, of_aged = ageing_cuts(case, ports, added, where, round_number)
            if len(aged):
                rows = pd.concat([rows, aged][not len(rows) :], ignore_index=True)
                terms = pd.concat([terms, of_aged][not len(terms) :], ignore_index=True)
            effects = self._effects(factor, rows, ports)
            rows, effects = relieved_cuts(rows, effects, built)
            cuts.append((rows, terms, effects))
        rows, coefficients, effects = self._joined(cuts)
        whole = _whole(replays, violations)
        return Replayed(
            violations=whole.violations,
            rows=rows,
            row_coefficients=coefficients,
            upgrade_effects=effects,
            whole=whole,
        )

    def _effects(
        self, factor: float, rows: pd.DataFrame, ports: pd.Index[str]
    ) -> pd.DataFrame:
        """Return what each of the works adds to rows of its feeder."""
        parts = [empty_table("upgrade_effects")]
        for name, feeder_id in self.works.items():
            own = rows[rows["feeder_id"] == feeder_id]
            if len(own):
                after = {name: self.case(factor, frozenset({name}))}
                parts.append(upgrade_effects(self.case(factor), after, own, ports))
        full = [part for part in parts if len(part)]
        return pd.concat(full, ignore_index=True) if full else parts[0]

    def _joined(
        self, parts: list[tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]]
    ) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        """Return the rows of all periods, told apart by their names."""
        if len(parts) == 1:
            return parts[0]
        every: list[list[pd.DataFrame]] = [[], [], []]
        for period, tables in enumerate(parts):
            for found, table in zip(every, tables, strict=True):
                if len(table):
                    named = table["row_id"] + f" period {period}"
                    found.append(table.assign(row_id=named))
            if len(tables[0]):
                every[0][-1] = every[0][-1].assign(period=period)
        rows, terms, effects = (
            pd.concat(found, ignore_index=True) if found else empty
            for found, empty in zip(every, parts[0], strict=True)
        )
        return rows, terms, effects


def built_by(upgrades: pd.DataFrame | None, period: int) -> frozenset[str]:
    """
    Return the works that stand in a period.

    Parameters
    ----------
    upgrades : pandas.DataFrame or None
        ``upgrade_id, period``: from when each stands.
    period : int
        The period.

    Returns
    -------
    frozenset of str
        Upgrades.
    """
    if upgrades is None:
        return frozenset()
    return frozenset(upgrades.loc[upgrades["period"] <= period, "upgrade_id"])


def _whole(replays: list[LoadReplay], violations: list[pd.DataFrame]) -> LoadReplay:
    """Return the last replay with what all of them found."""
    last = replays[-1]
    if len(replays) == 1:
        return last
    broken = [part for part in violations if len(part)]
    table = last.violations
    if broken:
        table = pd.concat(broken, ignore_index=True)
        table = table.sort_values("excess", ascending=False, na_position="first")
        table = table.drop_duplicates(["element", "criterion", "time"])
    counts = {name: sum(r.summary[name] for r in replays) for name in _COUNTS}
    worst = next((r.summary["worst"] for r in replays if r.summary["worst"]), None)
    return replace(
        last,
        violations=table.reset_index(drop=True),
        summary=last.summary | counts | {"worst": worst},
    )
