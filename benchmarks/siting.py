"""Siting beside the plain Pyomo + HiGHS model of the same problem, in one run."""

from __future__ import annotations

import argparse
import resource
import time
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Self

import numpy as np
import pandas as pd
import pyomo.environ as pyo
from common import in_child, print_machine
from pyomo.contrib.appsi.solvers import Highs

from gridsite.errors import SolveError
from gridsite.siting import SitingProblem, solve
from gridsite.siting.presets import facility_location

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Location:
    """A capacitated facility location problem; NaN: cannot be served."""

    name: str
    fixed: Floats
    capacity: Floats
    demand: Floats
    cost: Floats
    workloads: int = 1

    def problem(self) -> SitingProblem:
        """Return it as plain tables; customers are zones, workload by workload."""
        one = facility_location(self.fixed, self.capacity, self.demand, self.cost)
        if self.workloads == 1:
            return one
        customers = one.demand["zone_id"]
        zones = customers.iloc[: len(customers) // self.workloads].to_numpy()
        kinds = [f"w{k}" for k in range(self.workloads)]
        place = pd.DataFrame(
            {
                "zone_id": np.tile(zones, len(kinds)),
                "workload": np.repeat(kinds, len(zones)),
            },
            index=customers,
        )

        def named(table: pd.DataFrame) -> pd.DataFrame:
            names = place.loc[table["zone_id"]].reset_index(drop=True)
            return table.assign(**names)

        every = one.workloads.loc[[0] * len(kinds)].assign(workload=kinds)
        return replace(
            one, workloads=every, demand=named(one.demand), arcs=named(one.arcs)
        )


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one solver did."""

    wall_s: float
    cpu_s: float
    objective: float
    bound: float
    status: str
    build_s: float

    @property
    def gap(self) -> float:
        """Return the gap to its own bound."""
        return (self.objective - self.bound) / abs(self.objective)


def cornuejols(n_site: int, n_customer: int, ratio: float, seed: int) -> Location:
    """
    Draw a problem of Cornuejols, Sridharan and Thizy (1991).

    Places are uniform in the unit square, demand is an integer of 5 to 35,
    capacity of 10 to 160 scaled to ``ratio`` times the demand, fixed cost
    U(0, 90) + U(100, 110) sqrt(capacity), cost per unit 10 times the distance.
    """
    rng = np.random.default_rng(seed)
    site, customer = rng.random((n_site, 2)), rng.random((n_customer, 2))
    demand = rng.integers(5, 36, n_customer).astype(float)
    capacity = rng.integers(10, 161, n_site).astype(float)
    capacity *= ratio * demand.sum() / capacity.sum()
    fixed = rng.uniform(0, 90, n_site)
    fixed += rng.uniform(100, 110, n_site) * np.sqrt(capacity)
    apart = site[:, None] - customer[None]
    return Location(
        name=f"{n_site} x {n_customer}, ratio {ratio:g}, seed {seed}",
        fixed=fixed,
        capacity=capacity,
        demand=demand,
        cost=10.0 * np.hypot(apart[..., 0], apart[..., 1]),
    )


def nearest(problem: Location, n: int) -> Location:
    """Keep the arcs of each customer to its ``n`` nearest sites (latency-sparse)."""
    far = np.argsort(np.argsort(problem.cost, axis=0), axis=0) >= n
    return Location(
        name=f"{problem.name}, {n} nearest sites",
        fixed=problem.fixed,
        capacity=problem.capacity,
        demand=problem.demand,
        cost=np.where(far, np.nan, problem.cost),
    )


def three_workloads(problem: Location, near: tuple[int, int, int]) -> Location:
    """Split demand in 50, 30 and 20 %, each with its own number of nearest sites."""
    each = [nearest(problem, n) for n in near]
    return Location(
        name=f"{problem.name}, 3 workloads, {near} nearest sites",
        fixed=problem.fixed,
        capacity=problem.capacity,
        demand=np.concatenate([share * problem.demand for share in (0.5, 0.3, 0.2)]),
        cost=np.hstack([one.cost for one in each]),
        workloads=3,
    )


def plain_model(problem: Location) -> pyo.ConcreteModel:
    """Return the strong form: x[j, i] <= demand[i] y[j] for every arc."""
    site, customer = np.nonzero(~np.isnan(problem.cost))
    arcs = list(zip(site.tolist(), customer.tolist(), strict=True))
    at_site: dict[int, list[int]] = {}
    at_customer: dict[int, list[int]] = {}
    for j, i in arcs:
        at_site.setdefault(j, []).append(i)
        at_customer.setdefault(i, []).append(j)
    need, room = problem.demand.tolist(), problem.capacity.tolist()
    fixed, cost = problem.fixed.tolist(), problem.cost.tolist()
    model = pyo.ConcreteModel()
    model.y = pyo.Var(range(len(fixed)), domain=pyo.Binary)
    model.x = pyo.Var(arcs, domain=pyo.NonNegativeReals)
    model.cost = pyo.Objective(
        expr=pyo.quicksum(fixed[j] * model.y[j] for j in model.y)
        + pyo.quicksum(cost[j][i] * model.x[j, i] for j, i in arcs)
    )
    model.met = pyo.Constraint(
        range(len(need)),
        rule=lambda m, i: pyo.quicksum(m.x[j, i] for j in at_customer[i]) == need[i],
    )
    model.fits = pyo.Constraint(
        sorted(at_site),
        rule=lambda m, j: (
            pyo.quicksum(m.x[j, i] for i in at_site[j]) <= room[j] * m.y[j]
        ),
    )
    model.link = pyo.Constraint(
        arcs, rule=lambda m, j, i: m.x[j, i] <= need[i] * m.y[j]
    )
    return model


def run_plain(problem: Location, gap: float, limit_s: float) -> Run:
    """Build and solve the plain model with appsi_highs, one thread."""
    began = time.perf_counter(), time.process_time()
    model = plain_model(problem)
    built = time.perf_counter() - began[0]
    solver = Highs()
    solver.config.load_solution = False
    solver.config.time_limit = limit_s
    solver.highs_options = {"mip_rel_gap": gap, "threads": 1, "parallel": "off"}
    result = solver.solve(model)
    best, bound = result.best_feasible_objective, result.best_objective_bound
    return Run(
        wall_s=time.perf_counter() - began[0],
        cpu_s=time.process_time() - began[1],
        objective=np.nan if best is None else float(best),
        bound=-np.inf if bound is None else float(bound),
        status=result.termination_condition.name,
        build_s=built,
    )


def run_gridsite(problem: SitingProblem, gap: float, limit_s: float) -> Run:
    """Solve with gridsite; CPU of the solver process included."""
    began, cpu = time.perf_counter(), time.process_time()
    with _SolverCpu() as solver:
        try:
            plan = solve(problem, gap=gap, time_limit_s=limit_s)
        except SolveError as error:
            wall = time.perf_counter() - began
            return Run(
                wall_s=wall, cpu_s=np.nan, objective=np.nan, bound=-np.inf,
                status=str(error)[:60], build_s=np.nan,
            )  # fmt: skip
    return Run(
        wall_s=time.perf_counter() - began,
        cpu_s=time.process_time() - cpu + solver.seconds,
        objective=plan.objective,
        bound=plan.bound,
        status=plan.status,
        build_s=plan.seconds_building,
    )


class _SolverCpu:
    """CPU seconds of the solver process while inside."""

    seconds = 0.0

    def __enter__(self) -> Self:
        self._before = self._now()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = self._now() - self._before

    @staticmethod
    def _now() -> float:
        from gridsite.siting.highs import shared_worker  # noqa: PLC0415

        process = shared_worker().process
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        total = ended.ru_utime + ended.ru_stime
        if process is None:
            return total
        try:
            with open(f"/proc/{process.pid}/stat") as file:  # noqa: PTH123
                words = file.read().rsplit(")", 1)[1].split()
        except OSError:
            return float("nan")
        return total + (int(words[11]) + int(words[12])) / 100.0


def beside(
    problem: Location, gap: float, limit_s: float, plain_limit_s: float
) -> tuple[Run, Run | None]:
    """Run both and print a line for each."""
    arcs = int((~np.isnan(problem.cost)).sum())
    made = time.perf_counter()
    tables = problem.problem()
    made = time.perf_counter() - made
    print(f"{problem.name}: {arcs:,} arcs, gap {gap:g}; tables checked in {made:.2f} s")
    mine = run_gridsite(tables, gap, limit_s)
    _tell("gridsite", mine)
    if plain_limit_s <= 0.0:
        return mine, None
    theirs, _ = in_child(run_plain, problem, gap, plain_limit_s)
    _tell("plain", theirs)
    stopped = theirs.status != "optimal"
    ratio = theirs.wall_s / mine.wall_s
    words = "at least, plain was stopped" if stopped else "to the same gap"
    cpu = theirs.cpu_s / mine.cpu_s
    print(f"  ratio {ratio:.2f} wall, {cpu:.2f} CPU ({words})", flush=True)
    return mine, theirs


def _tell(name: str, run: Run) -> None:
    print(
        f"  {name:9s} {run.wall_s:8.2f} s wall {run.cpu_s:8.2f} s CPU, building "
        f"{run.build_s / run.wall_s:5.1%}, objective {run.objective:.8g}, bound "
        f"{run.bound:.8g}, gap {run.gap:.2e}, {run.status}",
        flush=True,
    )


def warm_up() -> None:
    """Compile and start processes outside the clock."""
    small = cornuejols(30, 30, 2.0, 0)
    run_gridsite(small.problem(), 1e-6, 10.0)


def random_50(n: int, limit_s: float) -> None:
    """Run random problems of 50 x 50, eight ratios, to 1e-6."""
    ratios = [1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0]
    pairs: list[tuple[Run, Run]] = []
    for i in range(n):
        problem = cornuejols(50, 50, ratios[i % len(ratios)], i)
        mine, theirs = beside(problem, 1e-6, limit_s, limit_s)
        if theirs is not None:
            pairs.append((mine, theirs))
            if abs(mine.objective - theirs.objective) > 2e-6 * abs(mine.objective):
                print("  OBJECTIVES DIFFER", flush=True)
    mine_s, theirs_s = sum(a.wall_s for a, _ in pairs), sum(b.wall_s for _, b in pairs)
    each = [b.wall_s / a.wall_s for a, b in pairs]
    cpu = sum(b.cpu_s for _, b in pairs) / sum(a.cpu_s for a, _ in pairs)
    proven = sum(a.gap <= 1e-6 for a, _ in pairs)
    print(
        f"{len(pairs)} problems, {proven} proven by gridsite: {mine_s:.1f} s against "
        f"{theirs_s:.1f} s wall, ratio in all {theirs_s / mine_s:.2f} wall, "
        f"{cpu:.2f} CPU, wall of each "
        f"{min(each):.2f} to {max(each):.2f}, median {np.median(each):.2f}"
    )


def cases(name: str) -> Iterator[tuple[Location, float, float]]:
    """Yield problems with gap and time limit."""
    if name == "100x1000-loose":
        for seed in range(3):
            yield cornuejols(100, 1000, 10.0, seed), 1e-6, 60.0
    elif name == "100x1000-tight":
        for gap in (1e-3, 1e-6):
            for seed in range(3):
                yield cornuejols(100, 1000, 1.5, seed), gap, 120.0
    elif name == "2000x5000":
        yield nearest(cornuejols(2000, 5000, 3.0, 0), 40), 0.01, 60.0
    elif name == "2000x5000x3":
        whole = cornuejols(2000, 5000, 3.0, 0)
        yield three_workloads(whole, (10, 25, 40)), 0.01, 60.0


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = ["50x50", "100x1000-loose", "100x1000-tight", "2000x5000", "2000x5000x3"]
    parser.add_argument("work", choices=names)
    parser.add_argument("--count", type=int, default=40, help="first so many only")
    parser.add_argument("--plain-limit", type=float, default=600.0)
    parser.add_argument("--limit", type=float, default=120.0)
    given = parser.parse_args()
    print_machine("pyomo", "highspy", "scipy")
    warm_up()
    if given.work == "50x50":
        random_50(given.count, given.limit)
    for problem, gap, limit_s in islice(cases(given.work), given.count):
        beside(problem, gap, limit_s, given.plain_limit)


if __name__ == "__main__":
    main()
