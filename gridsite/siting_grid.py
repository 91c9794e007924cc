"""The grid as the siting problem sees it: rows and replays, period by period."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pandas as pd

from gridsite.hosting.ac_replay import LoadReplay, replay_loads
from gridsite.hosting.joint import cut_rows, grid_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gridsite.hosting.base_case import GridCase
    from gridsite.siting import SitingProblem

#: Counts of a replay that add up over periods.
_COUNTS = ("steps", "base_violations", "new", "worsened")


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """
    What the siting model asks of a replay, and the replay itself.

    Parameters
    ----------
    violations, rows, row_coefficients : pandas.DataFrame
        Contracts of those names; a limit that several periods break at one step
        stands once.
    whole : LoadReplay
        Replay of the last period, with the violations and counts of all.
    """

    violations: pd.DataFrame
    rows: pd.DataFrame
    row_coefficients: pd.DataFrame
    whole: LoadReplay


@dataclass(frozen=True, kw_only=True)
class Grids:
    """
    The base cases of each deployment period.

    Parameters
    ----------
    cases : sequence of GridCase
        One for each period; periods with the same loads share one.
    heaviest : GridCase
        The one with most load: what stands in it stands in all, since units stay.
    """

    cases: Sequence[GridCase]
    heaviest: GridCase

    @classmethod
    def of(cls, factors: Sequence[float], case: Callable[[float], GridCase]) -> Grids:
        """
        Return the base cases of a study.

        Parameters
        ----------
        factors : sequence of float
            What customers draw in each period over what they draw now. [-]
        case : callable
            Returns the base cases for a factor.

        Returns
        -------
        Grids
            As ``case`` returns them.
        """
        known = {factor: case(factor) for factor in dict.fromkeys(factors)}
        return cls(cases=[known[f] for f in factors], heaviest=known[max(factors)])

    def rows(self, port_ids: pd.Series[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
        """
        Return the grid rows of every period.

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
        """
        ports = pd.Index(port_ids.unique())
        ports = ports[ports != ""]
        known = {id(case): grid_rows(case, ports) for case in self.cases}
        return self._joined([known[id(case)] for case in self.cases])

    def replay(
        self, plan: pd.DataFrame, problem: SitingProblem, round_number: int
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

        Returns
        -------
        Replayed
            Violations and rows of all periods.
        """
        ports = pd.Index(problem.site_options["port_id"].unique())
        ports = ports[ports != ""]
        replays, cuts, violations = [], [], []
        for period, case in enumerate(self.cases):
            at_ports = plan[(plan["port_id"] != "") & (plan["period"] == period)]
            added = at_ports.groupby("port_id")["rated_kw"].sum()
            found = replay_loads(case.feeder, case.profiles, added, grid=case)
            replays.append(found)
            violations.append(found.violations)
            cuts.append(cut_rows(case, ports, added, found.violations, round_number))
        rows, coefficients = self._joined(cuts)
        whole = _whole(replays, violations)
        return Replayed(
            violations=whole.violations,
            rows=rows,
            row_coefficients=coefficients,
            whole=whole,
        )

    def _joined(
        self, parts: list[tuple[pd.DataFrame, pd.DataFrame]]
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return the rows of all periods, told apart by their names."""
        if len(parts) == 1:
            return parts[0]
        rows, coefficients = [], []
        for period, (own, terms) in enumerate(parts):
            if own.empty:
                continue
            mark = f" period {period}"
            rows.append(own.assign(row_id=own["row_id"] + mark, period=period))
            coefficients.append(terms.assign(row_id=terms["row_id"] + mark))
        if not rows:
            return parts[0]
        return (
            pd.concat(rows, ignore_index=True),
            pd.concat(coefficients, ignore_index=True),
        )


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
