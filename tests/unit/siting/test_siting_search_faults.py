"""Faults planted in the search without HiGHS: no wrong plan, bound or wait."""

import time

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from gridsite.errors import SolveError
from gridsite.siting import solve
from gridsite.siting.presets import facility_location
from gridsite.siting.transport import Transport
from gridsite.siting.tree import Tree

SEARCH = "gridsite.siting.search"


def draw(n_site=22, n_customer=24):
    rng = np.random.default_rng(3)
    place, home = rng.random((n_site, 1, 2)), rng.random((1, n_customer, 2))
    demand = rng.integers(5, 36, n_customer).astype(float)
    room = rng.integers(10, 161, n_site).astype(float)
    room *= 2.5 * demand.sum() / room.sum()
    fixed = rng.uniform(0, 90, n_site) + 105.0 * np.sqrt(room)
    return fixed, room, demand, 10.0 * np.linalg.norm(place - home, axis=2)


def optimum(fixed, room, demand, cost):
    """Return the optimum by scipy, in shares of demand."""
    n_site, n_customer = cost.shape
    one = np.ones((1, n_site))
    met = sparse.hstack(
        [sparse.csr_array((n_customer, n_site)), sparse.kron(one, np.eye(n_customer))]
    )
    fits = sparse.hstack(
        [-sparse.diags_array(room), sparse.kron(np.eye(n_site), demand[None])]
    )
    link = sparse.hstack(
        [
            sparse.kron(-np.eye(n_site), np.ones((n_customer, 1))),
            sparse.eye_array(n_site * n_customer),
        ]
    )
    found = milp(
        np.concatenate([fixed, (cost * demand).ravel()]),
        integrality=np.repeat([1, 0], [n_site, n_site * n_customer]),
        bounds=Bounds(0.0, 1.0),
        constraints=[
            LinearConstraint(met, 1.0, 1.0),
            LinearConstraint(fits, -np.inf, 0.0),
            LinearConstraint(link, -np.inf, 0.0),
        ],
        options={"mip_rel_gap": 0.0},
    )
    assert found.status == 0
    return found.fun


@pytest.fixture(scope="module")
def case():
    data = draw()
    return facility_location(*data), optimum(*data)


def same(plan, best):
    assert plan.status == "optimal"
    assert plan.objective == pytest.approx(best, rel=1e-6)
    assert plan.own_bound <= plan.bound <= best * (1.0 + 1e-9)


def test_the_case_is_solved_without_the_mip_solver(case, monkeypatch):
    def never(*_):
        raise AssertionError

    monkeypatch.setattr(f"{SEARCH}.Search._finish", never)
    problem, best = case
    same(solve(problem, gap=1e-6), best)


@pytest.mark.parametrize("factor", [0.5, 0.99, 1.01, 2.0, np.inf, np.nan])
def test_wrong_costs_of_the_transport_problem_are_seen_through(
    case, monkeypatch, factor
):
    right = Transport.cost

    def wrong(self, counts):
        cost, prices = right(self, counts)
        return cost * factor, prices

    monkeypatch.setattr(Transport, "cost", wrong)
    problem, best = case
    same(solve(problem, gap=1e-6), best)


@pytest.mark.parametrize("factor", [0.0, 3.0])
def test_wrong_prices_of_the_transport_problem_prove_nothing(case, monkeypatch, factor):
    right = Transport.cost

    def wrong(self, counts):
        cost, prices = right(self, counts)
        return cost, factor * prices

    monkeypatch.setattr(Transport, "cost", wrong)
    problem, best = case
    same(solve(problem, gap=1e-6), best)


@pytest.mark.parametrize("flows", [False, "half"])
def test_flows_that_serve_nobody_are_not_taken(case, monkeypatch, flows):
    def wrong(self, _):
        used = np.zeros(len(self._flow_of[0]), dtype=bool)
        used[: len(used) // 2] = flows == "half"
        return used

    monkeypatch.setattr(Transport, "used", wrong)
    problem, best = case
    same(solve(problem, gap=1e-6), best)


@pytest.mark.parametrize("factor", [0, 1])
def test_dives_onto_nothing_or_everything_end_well(case, monkeypatch, factor):
    def wrong(relaxation, *_, **__):
        return factor * relaxation.most

    monkeypatch.setattr(f"{SEARCH}.dive", wrong)
    problem, best = case
    same(solve(problem, gap=1e-6), best)


@pytest.mark.parametrize("part", ["dive", "descend", "Transport", "Tree"])
def test_a_crash_of_any_part_leaves_the_work_to_highs(case, monkeypatch, caplog, part):
    def crash(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(f"{SEARCH}.{part}", crash)
    problem, best = case
    same(solve(problem, gap=1e-6), best)
    assert "the search without HiGHS failed" in caplog.text


def test_a_slow_part_does_not_outlast_the_time_limit(case, monkeypatch):
    right = Transport.cost

    def slow(self, counts):
        time.sleep(0.3)
        return right(self, counts)

    monkeypatch.setattr(Transport, "cost", slow)
    problem, best = case
    began = time.perf_counter()
    plan = solve(problem, gap=1e-6, time_limit_s=4.0)
    assert time.perf_counter() - began < 30.0
    assert plan.objective >= best * (1.0 - 1e-9)
    assert plan.bound <= best * (1.0 + 1e-9)
    assert plan.status == ("optimal" if plan.gap_model <= 1e-6 else "time_limit")


def test_a_bound_above_the_plan_is_an_error(case, monkeypatch):
    monkeypatch.setattr(Tree, "bound", property(lambda self: 1.1 * self.upper))
    with pytest.raises(SolveError, match="above the plan's cost"):
        solve(case[0], gap=1e-6)
