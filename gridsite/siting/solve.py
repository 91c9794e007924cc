"""
Rounds of solve, replay and cut, with a certificate for what comes out.

Every answer of the solver is distrusted: counts are rounded and fixed and the
flows solved again, the plan is checked without the solver
(``gridsite.siting.check``), its cost is recomputed from the published tables,
and its cost may not be below any bound.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pandas as pd

from gridsite.errors import (
    ConfigError,
    InfeasibleError,
    NoIncumbentError,
    SolveError,
    SolverUnavailableError,
)
from gridsite.schemas import check_table
from gridsite.siting.alike import Alike, alike
from gridsite.siting.audit import recomputed_cost
from gridsite.siting.bound import cheapest_service_bound
from gridsite.siting.check import TOLERANCE, check_plan
from gridsite.siting.explain import (
    explain_infeasible,
    refuse_existing,
    refuse_unreachable,
)
from gridsite.siting.highs import Answer, HighsWorker, fix_integers, shared_worker
from gridsite.siting.plan import (
    Plan,
    assignment_table,
    plan_table,
    served_share,
    unserved_table,
    upgrade_table,
)
from gridsite.siting.plan_costs import cost_terms
from gridsite.siting.problem import SitingProblem, add_rows, with_single_source
from gridsite.siting.reduce import reduce_problem
from gridsite.siting.search import Known, Search

if TYPE_CHECKING:
    from collections.abc import Callable

    from gridsite.siting.matrix import Matrix
    from gridsite.siting.reduce import ReducedProblem
    from gridsite.siting.search import Found

logger = logging.getLogger(__name__)


#: Tolerance of the published flows [kW].
_SETTLED = 1e-9


class Replay(Protocol):
    """
    What a replay of a plan on the real grid tells.

    ``violations`` is empty when the plan is safe; otherwise ``rows`` and
    ``row_coefficients`` hold grid rows that cut it off, with a ``row_id`` that
    no earlier round had. All three keep their table contracts. It may have
    ``upgrade_effects``, what upgrades add to these rows.
    """

    @property
    def violations(self) -> pd.DataFrame:
        """Return the limits that the plan newly breaks or worsens."""

    @property
    def rows(self) -> pd.DataFrame:
        """Return the grid rows that the plan violates."""

    @property
    def row_coefficients(self) -> pd.DataFrame:
        """Return what one kW at a connection takes of these rows."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Settings:
    gap: float
    time_limit_s: float
    row_margin: float
    worker: HighsWorker


@dataclass(frozen=True, kw_only=True, eq=False)
class _Solution:
    """One solved and checked problem; money in full units."""

    plan: pd.DataFrame
    assignment: pd.DataFrame
    upgrades: pd.DataFrame
    costs: pd.Series[float]
    bound: float
    own_bound: float
    reduced: ReducedProblem
    found: Found
    told: float
    build_s: float

    @property
    def objective(self) -> float:
        return float(self.costs.sum())


def solve(
    problem: SitingProblem,
    *,
    gap: float = 0.01,
    time_limit_s: float = 60.0,
    replay: Callable[..., Replay] | None = None,
    max_rounds: int = 10,
    row_margin: float = 0.05,
    single_source: bool = False,
    progress: Callable[[str], None] | None = None,
    worker: HighsWorker | None = None,
) -> Plan:
    """
    Return the plan of least net present cost that the replay calls safe.

    Parameters
    ----------
    problem : SitingProblem
        Sites, demand and grid rows.
    gap : float, default 0.01
        Relative gap at which each solver run stops. [-]
    time_limit_s : float, default 60.0
        Time after which each solver run stops. [s]
    replay : callable, optional
        Takes table ``plan``, and the upgrades that are built where the problem
        has any, and returns what the real grid does with it. Rows
        that the plan violates are added and the problem is solved again.
        Without it the plan is that of the rows alone.
    max_rounds : int, default 10
        Most rounds of solve and replay.
    row_margin : float, default 0.05
        Share of its headroom by which every row of round 0 is relaxed for
        ``bound``, so that it holds for the real grid too; 0 without a replay.
        [-]
    single_source : bool, default False
        Serve every demand from one site as a whole; False: those of workloads
        that ask for it.
    progress : callable, optional
        Takes one line of text after each round.
    worker : HighsWorker, optional
        The solver process; by default one that this process keeps.

    Returns
    -------
    Plan
        The plan and its certificate.

    Raises
    ------
    InfeasibleError
        If no plan meets every requirement of round 0, in planner's words.
    NoIncumbentError
        If the time limit passes before any plan is found.
    SolverUnavailableError
        If the solver process keeps crashing.
    SolveError
        If the solver's answer is wrong.
    DataError
        If the rows of a replay break their contract.

    Notes
    -----
    ``bound`` is the bound of a second search with relaxed rows, to the same gap;
    ``own_bound`` the part of it that owes nothing to the MIP solver.
    Relaxed rows are an outer approximation of the grid as long as its rows err
    by less than the margin; rows without headroom stay as they are. A plan is
    repeatable unless a run ended by its time limit.
    """
    settings = _settings(gap, time_limit_s, row_margin, max_rounds, worker)
    problem = with_single_source(problem) if single_source else problem
    began = time.perf_counter()
    refuse_unreachable(problem)
    refuse_existing(problem)
    first = _solve_once(problem, settings)
    bounds = first.bound, first.own_bound
    if replay is not None and row_margin > 0.0:
        bounds = _outer_bound(first, settings)
    first = replace(first, bound=max(first.bound, bounds[0]))
    rounds = _Rounds(problem=problem, solution=first, settings=settings, clock=began)
    while not rounds.stop:
        rounds.play(replay, max_rounds)
        if progress is not None:
            progress(rounds.tell())
    return rounds.finish(first, bounds, began)


@dataclass(kw_only=True, eq=False)
class _Rounds:
    """Where the rounds of solve and replay stand."""

    problem: SitingProblem
    solution: _Solution
    settings: _Settings
    clock: float
    log: list[dict[str, float]] = field(default_factory=list)
    verified: bool = False
    stop: str = ""
    build_s: float = 0.0

    def __post_init__(self) -> None:
        self.build_s = self.solution.build_s

    def play(self, replay: Callable[..., Replay] | None, max_rounds: int) -> None:
        """Replay the plan and, if it is not safe, cut it off and solve again."""
        if replay is None:
            self.verified, self.stop = True, "no replay was asked for"
            self._note(0, 0)
            return
        last = self.solution
        works = (last.upgrades,) if len(self.problem.upgrades) else ()
        seen = replay(last.plan, *works)
        violations = len(check_table("violations", seen.violations))
        if not violations:
            self.verified, self.stop = True, "the replay finds no violation"
            self._note(0, 0)
            return
        effects = getattr(seen, "upgrade_effects", None)
        grown = add_rows(self.problem, seen.rows, seen.row_coefficients, effects)
        broken = check_plan(grown, last.plan, last.assignment, last.upgrades)
        if broken.empty:
            self.stop = "no row of the replay cuts off the plan that it violates"
        elif len(self.log) + 1 >= max_rounds:
            self.stop = f"the replay still finds violations after {max_rounds} rounds"
        self._note(violations, 0 if self.stop else len(seen.rows))
        if not self.stop:
            self._solve_again(grown)

    def _solve_again(self, grown: SitingProblem) -> None:
        try:
            self.solution = _solve_once(grown, self.settings, self.solution)
            self.build_s += self.solution.build_s
            self.problem = grown
        except SolveError as error:
            self.stop = f"with the rows of the replay, {error}"

    def _note(self, violations: int, rows_added: int) -> None:
        now = time.perf_counter()
        self.log.append(
            {
                "round": len(self.log),
                "objective": self.solution.objective,
                "violations": violations,
                "rows_added": rows_added,
                "seconds": now - self.clock,
            }
        )
        self.clock = now

    def tell(self) -> str:
        """Return the last round in one line."""
        last = self.log[-1]
        line = (
            f"round {last['round']}: cost {last['objective']:.6g}, "
            f"{last['violations']} violation(s), {last['rows_added']} row(s) added"
        )
        return f"{line}; {self.stop}" if self.stop else line

    def finish(
        self, first: _Solution, bounds: tuple[float, float], began: float
    ) -> Plan:
        """Return the plan of the last round with its certificate."""
        last = self.solution
        gap_model = _gap(last.objective, last.bound)
        reached = gap_model <= self.settings.gap + TOLERANCE
        status = "optimal" if reached else "time_limit"
        return Plan(
            status=status if self.verified else "not_verified",
            stopped_because=self.stop if reached else f"time limit; {self.stop}",
            objective=last.objective,
            bound=bounds[0],
            own_bound=bounds[1],
            gap=_gap(last.objective, bounds[0]),
            gap_model=gap_model,
            cost_of_safety=last.objective - first.objective,
            plan=last.plan,
            assignment=last.assignment,
            upgrades=last.upgrades,
            unserved=unserved_table(self.problem, last.assignment),
            costs=last.costs,
            served_share=served_share(self.problem, last.assignment),
            rounds=pd.DataFrame(self.log),
            rows=self.problem.rows,
            row_coefficients=self.problem.row_coefficients,
            seconds=time.perf_counter() - began,
            seconds_building=self.build_s,
        )


def _settings(
    gap: float,
    time_limit_s: float,
    row_margin: float,
    max_rounds: int,
    worker: HighsWorker | None,
) -> _Settings:
    for name, value, good in (
        ("gap", gap, 0.0 <= gap < 1.0),
        ("time_limit_s", time_limit_s, 0.0 < time_limit_s < np.inf),
        ("row_margin", row_margin, 0.0 <= row_margin < 1.0),
        ("max_rounds", max_rounds, max_rounds >= 1),
    ):
        if not good:
            msg = f"option {name} is out of range: {value!r}"
            raise ConfigError(msg)
    return _Settings(
        gap=gap,
        time_limit_s=time_limit_s,
        row_margin=row_margin,
        worker=worker or shared_worker(),
    )


def _solve_once(
    problem: SitingProblem, settings: _Settings, last: _Solution | None = None
) -> _Solution:
    """Solve one problem; an answer that is wrong gets a second try, from nothing."""
    try:
        return _attempt(problem, settings, last)
    except (InfeasibleError, NoIncumbentError, SolverUnavailableError):
        raise
    except SolveError as error:
        logger.warning("%s; HiGHS is asked again in a fresh process", error)
        settings.worker.close()
        return _attempt(problem, settings)


def _attempt(
    problem: SitingProblem, settings: _Settings, last: _Solution | None = None
) -> _Solution:
    """
    Solve one problem and check the answer without the solver.

    ``last`` is of the same problem without some of its rows.
    """
    reduced = reduce_problem(problem)
    limit, worker = settings.time_limit_s, settings.worker
    hard = reduced.demands["unserved_cost"].isna()
    if not set(hard.index[hard]) <= set(reduced.flows["demand"]):
        raise explain_infeasible(problem, reduced, worker, time_limit_s=limit)
    merged = alike(reduced)
    found = Search(
        merged.reduced,
        worker,
        gap=settings.gap,
        time_limit_s=limit,
        known=None if last is None else _known(last, reduced, merged),
    ).run()
    if found.plan is None and found.status == "infeasible":
        raise explain_infeasible(problem, reduced, worker, time_limit_s=limit)
    if found.plan is None:
        msg = (
            f"no plan was found within {limit:g} s (HiGHS: {found.status}); "
            "raise time_limit_s"
        )
        raise NoIncumbentError(msg, found)
    answer, core = found.plan
    matrix = core.strict()
    point = _settle_flows(matrix, answer, settings)
    counts = np.round(matrix.values("units", point)).astype(np.int64)
    counts = merged.split(counts)
    flows = core.flows_of(point, len(reduced.flows))
    plan = plan_table(problem, reduced, counts)
    assignment = assignment_table(reduced, counts, flows)
    stands = np.round(matrix.values("is_upgraded", point)).astype(np.int64)
    upgrades = upgrade_table(problem, reduced, stands)
    own_bound = max(found.own_bound, cheapest_service_bound(reduced))
    solution = _Solution(
        plan=plan,
        assignment=assignment,
        upgrades=upgrades,
        costs=cost_terms(problem, plan, assignment, upgrades),
        bound=max(found.bound, own_bound),
        own_bound=own_bound,
        reduced=merged.reduced,
        found=found,
        told=core.cost(point),
        build_s=found.build_s,
    )
    _distrust(problem, solution)
    return solution


def _known(last: _Solution, reduced: ReducedProblem, merged: Alike) -> Known:
    """Return what a solution tells of the same problem with more rows."""
    keys = ["site_id", "unit", "port_id", "period"]
    options = pd.MultiIndex.from_frame(reduced.options[keys])
    count = last.plan.set_index(keys)["count"].reindex(options, fill_value=0)
    n_merged = len(merged.reduced.options)
    counts = np.bincount(merged.option, count.to_numpy(), n_merged).astype(np.int64)
    prices, rows = last.found.prices, last.reduced.rows["row_id"]
    of_row = pd.Series(prices.rows[: len(rows)], index=rows)
    of_row = of_row.reindex(merged.reduced.rows["row_id"], fill_value=0.0)
    start = replace(
        prices,
        rows=np.append(of_row.to_numpy(), prices.rows[len(rows) :]),  # and of caps
        units=counts.astype(float),
    )
    return Known(
        prices=start, counts=counts, bound=last.bound, own_bound=last.own_bound
    )


def _settle_flows(matrix: Matrix, answer: Answer, settings: _Settings) -> np.ndarray:
    """Return the solution with whole numbers made whole and flows solved again."""
    if answer.solution is None:
        msg = "a plan without a solution"
        raise SolveError(msg, answer)
    if not matrix.integer.any():
        return answer.solution
    fixed = fix_integers(matrix, answer.solution)
    try:
        final = settings.worker.run(
            fixed, gap=0.0, time_limit_s=settings.time_limit_s, tolerance=_SETTLED
        )
    except SolverUnavailableError:
        logger.exception("HiGHS failed; flows stay as they are and are checked")
        return answer.solution
    if final.solution is None or final.status != "optimal":
        msg = f"HiGHS cannot keep its own plan once counts are whole ({final.status})"
        raise SolveError(msg, answer)
    return final.solution


def _distrust(problem: SitingProblem, solution: _Solution) -> None:
    """Raise if the plan breaks a requirement or its cost is not the solver's."""
    tables = (solution.plan, solution.assignment, solution.upgrades)
    broken = check_plan(problem, *tables)
    if len(broken):
        first = broken.iloc[0]
        msg = (
            f"HiGHS returned a plan that breaks {len(broken)} requirement(s), first "
            f"{first['requirement']} of {first['where']}: {first['value']:.6g} is "
            f"above {first['limit']:.6g}"
        )
        raise SolveError(msg, broken)
    told, objective = solution.told, solution.objective
    size = float(solution.costs.abs().sum())
    again = recomputed_cost(problem, *tables)
    if not abs(again - objective) <= 1e-9 * size:
        msg = f"the plan's cost {objective:.12g} is {again:.12g} when recomputed"
        raise SolveError(msg, solution.costs)
    if not abs(told - objective) <= TOLERANCE * size:
        msg = f"the solver's cost {told:.9g} is not the plan's cost {objective:.9g}"
        raise SolveError(msg, solution.costs)
    if solution.bound > objective + TOLERANCE * size:
        msg = f"the bound {solution.bound:.9g} is above the plan's cost {objective:.9g}"
        raise SolveError(msg, solution.costs)


def _outer_bound(first: _Solution, settings: _Settings) -> tuple[float, float]:
    """Return the bounds of round 0 with its grid rows relaxed by the margin."""
    rows = first.reduced.rows
    if rows.empty:
        return first.bound, first.own_bound
    wider = 1.0 + settings.row_margin
    room = rows["limit"]
    relaxed = replace(
        first.reduced,
        rows=rows.assign(limit=room.where(room <= 0.0, room * wider)),
        upgrade_terms=first.reduced.upgrade_terms * wider,
    )
    found = first.found
    known = Known(prices=found.prices, counts=found.counts, plan=found.plan)
    search = Search(
        relaxed,
        settings.worker,
        gap=settings.gap,
        time_limit_s=settings.time_limit_s,
        upper=first.objective,
        known=known,
    )
    most = first.objective + TOLERANCE * float(first.costs.abs().sum())
    try:
        found = search.run()
    except SolveError as error:
        logger.warning("%s: no bound of HiGHS is used", error)
        return search.own_bound, search.own_bound
    if found.bound > most:
        msg = f"the relaxed problem contradicts the plan: {found.bound:.9g}"
        raise SolveError(msg, found)
    if found.status == "infeasible":
        logger.warning("HiGHS calls rows infeasible that have a plan")
        return found.own_bound, found.own_bound
    return found.bound, found.own_bound


def _gap(objective: float, bound: float) -> float:
    if objective <= bound:
        return 0.0
    return (objective - bound) / abs(objective) if objective else np.inf
