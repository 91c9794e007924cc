"""Classic location problems and their parts against enumeration."""

import importlib
import itertools
import math
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

from gridsite.errors import InfeasibleError
from gridsite.siting import allow_unserved, check_plan, solve
from gridsite.siting.alike import Alike
from gridsite.siting.lagrangean import Relaxation
from gridsite.siting.presets import (
    facility_location,
    maximal_covering,
    p_median,
    set_covering,
)
from gridsite.siting.reduce import reduce_problem
from gridsite.siting.rounding import descend
from gridsite.siting.transport import Transport, serve
from gridsite.siting.tree import Tree


def examples(n):
    return settings(
        max_examples=n,
        deadline=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


seeds = st.integers(0, 10_000)


def least_service(cost, room, need):
    """Return the optimum of a transport problem by scipy."""
    site, customer = np.nonzero(np.isfinite(cost))
    if not len(site):
        return math.inf
    found = linprog(
        cost[site, customer],
        A_ub=(site == np.arange(len(room))[:, None]).astype(float),
        b_ub=room,
        A_eq=(customer == np.arange(len(need))[:, None]).astype(float),
        b_eq=need,
    )
    return found.fun if found.status == 0 else math.inf


def draw(seed, most_sites=5, most_customers=7):
    rng = np.random.default_rng(seed)
    n_site, n_customer = (
        rng.integers(1, most_sites + 1),
        rng.integers(1, most_customers),
    )
    cost = rng.integers(0, 9, (n_site, n_customer)).astype(float)
    cost[rng.random(cost.shape) < 0.2] = np.nan
    return (
        rng.integers(0, 30, n_site).astype(float),
        rng.integers(1, 20, n_site).astype(float),
        rng.integers(1, 6, n_customer).astype(float),
        cost,
    )


def subsets(n):
    return itertools.product((False, True), repeat=n)


def cheapest_location(fixed, room, need, cost):
    """Return the optimum over all sets of open sites."""
    dear = np.where(np.isnan(cost), np.inf, cost)
    return min(
        fixed[list(is_open)].sum()
        + least_service(np.where(np.array(is_open)[:, None], dear, np.inf), room, need)
        for is_open in subsets(len(fixed))
    )


@examples(40)
@given(seeds)
def test_a_transport_problem_costs_what_scipy_says_and_its_prices_prove_it(seed):
    _, room, need, cost = draw(seed, 6, 10)
    dear = np.where(np.isnan(cost), np.inf, cost)
    best = least_service(dear, room, need)
    with_last = np.vstack([dear, np.full(len(need), 1000.0)])
    total, prices, flow = serve(with_last, np.append(room, need.sum()), need)
    assert (flow[-1].sum() > 1e-9) == math.isinf(best)
    if math.isfinite(best):
        assert total == pytest.approx(best, rel=1e-9, abs=1e-9)
    dual = float(need @ prices)
    for worth, full in zip(prices - with_last[:-1], room, strict=True):
        left = full
        for d in np.argsort(-worth):
            size = min(left, need[d]) if worth[d] > 0.0 else 0.0
            dual -= size * worth[d] if size else 0.0
            left -= size
    assert dual == pytest.approx(total, rel=1e-9, abs=1e-9)


@examples(40)
@given(seeds)
def test_the_tree_proves_the_optimum_of_a_facility_location(seed):
    fixed, room, need, cost = draw(seed)
    best = cheapest_location(fixed, room, need, cost)
    if math.isinf(best):
        return
    reduced = reduce_problem(facility_location(fixed, room, need, cost))
    relaxation, transport = Relaxation(reduced), Transport(reduced)
    prices = relaxation.improve(steps=50)
    all_open = relaxation.most
    start, upper = descend(
        relaxation, transport, prices, all_open, end=time.perf_counter() + 10.0
    )
    assert upper >= best - 1e-9
    tree = Tree(
        relaxation=relaxation, transport=transport, gap=1e-6, upper=upper, best=start
    )
    tree.explore(prices, end=time.perf_counter() + 60.0)
    assert tree.upper == pytest.approx(best, rel=1e-9, abs=1e-9)
    assert best - 1e-6 * abs(best) - 1e-9 <= tree.bound <= best + 1e-9


@examples(15)
@given(seeds, st.booleans())
def test_facility_location_is_that_of_enumeration(seed, small):
    fixed, room, need, cost = draw(seed)
    best = cheapest_location(fixed, room, need, cost)
    with pytest.MonkeyPatch.context() as patch:
        if not small:
            patch.setattr("gridsite.siting.search._SMALL", 0)
        if math.isinf(best):
            with pytest.raises(InfeasibleError):
                solve(facility_location(fixed, room, need, cost), gap=0.0)
            return
        plan = solve(facility_location(fixed, room, need, cost), gap=0.0)
    assert plan.objective == pytest.approx(best, rel=1e-7, abs=1e-6)
    assert plan.bound <= best + 1e-6 * (1.0 + abs(best))


def cheapest_sources(fixed, room, need, cost, unserved=math.inf):
    """Return the optimum over every way to give each customer a site, or none."""
    best = math.inf
    for sources in itertools.product(range(-1, len(fixed)), repeat=len(need)):
        at = np.array(sources)
        load = np.bincount(at[at >= 0], need[at >= 0], len(fixed))
        if (load > room).any():
            continue
        total = fixed[np.unique(at[at >= 0])].sum()
        for i, j in enumerate(sources):
            total += need[i] * (unserved if j < 0 else cost[j, i])
        best = min(best, total)  # a number is never above NaN
    return best


@examples(30)
@given(seeds, st.booleans(), st.sampled_from([math.inf, 3.0, 12.0]))
def test_single_source_location_is_that_of_enumeration(seed, small, unserved):
    fixed, room, need, cost = draw(seed, 3, 6)
    best = cheapest_sources(fixed, room, need, cost, unserved)
    problem = facility_location(fixed, room, need, cost, single_source=True)
    if math.isfinite(unserved):
        problem = allow_unserved(problem, unserved)
    with pytest.MonkeyPatch.context() as patch:
        if not small:
            patch.setattr("gridsite.siting.search._SMALL", 0)
        if math.isinf(best):
            with pytest.raises(InfeasibleError):
                solve(problem, gap=0.0)
            return
        plan = solve(problem, gap=0.0)
    assert plan.objective == pytest.approx(best, rel=1e-7, abs=1e-6)
    assert plan.bound <= best + 1e-6 * (1.0 + abs(best))
    assert plan.assignment["zone_id"].is_unique
    assert check_plan(problem, plan.plan, plan.assignment).empty


def test_a_larger_single_source_location_is_that_of_another_model():
    """15 sites, 60 customers: scipy's milp on the textbook model, both to 1e-6."""
    rng = np.random.default_rng(5)
    need = rng.integers(5, 36, 60).astype(float)
    room = rng.integers(10, 161, 15) * 1.0
    room *= 3.0 * need.sum() / room.sum()
    at, of = rng.random((15, 1, 2)), rng.random((60, 2))
    cost = 10.0 * np.linalg.norm(at - of, axis=2)
    fixed = rng.uniform(0, 90, 15) + rng.uniform(100, 110, 15) * np.sqrt(room)
    n = cost.size
    c = np.concatenate([(cost * need).ravel(), fixed])
    served = np.hstack([np.tile(np.eye(60), 15), np.zeros((60, 15))])
    fits = np.hstack([np.kron(np.eye(15), need), -np.diag(room)])
    found = milp(
        c,
        integrality=np.ones(n + 15),
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(served, 1, 1),
            LinearConstraint(fits, -np.inf, 0),
        ],
        options={"mip_rel_gap": 1e-6},
    )
    problem = facility_location(fixed, room, need, cost)
    plan = solve(problem, gap=1e-6, single_source=True)
    assert plan.objective == pytest.approx(found.fun, rel=2e-6)
    assert plan.bound <= found.fun * (1.0 + 1e-6)
    assert plan.objective > solve(problem, gap=1e-6).objective * (1.0 + 1e-4)
    assert plan.assignment["zone_id"].is_unique


@examples(12)
@given(seeds, st.integers(1, 3))
def test_p_median_is_that_of_enumeration(seed, p):
    _, _, need, cost = draw(seed)
    dear = np.where(np.isnan(cost), np.inf, cost)
    best = min(
        float(need @ dear[list(some)].min(axis=0))
        for some in itertools.combinations(range(len(cost)), min(p, len(cost)))
    )
    if math.isinf(best):
        with pytest.raises(InfeasibleError):
            solve(p_median(need, cost, p), gap=0.0)
        return
    assert solve(p_median(need, cost, p), gap=0.0).objective == pytest.approx(
        best, abs=1e-6
    )


@examples(12)
@given(seeds)
def test_set_covering_is_that_of_enumeration(seed):
    covers = ~np.isnan(draw(seed)[3])
    full = [s for s in subsets(len(covers)) if covers[list(s)].any(axis=0).all()]
    if not full:
        with pytest.raises(InfeasibleError):
            solve(set_covering(covers), gap=0.0)
        return
    best = min(sum(s) for s in full)
    assert solve(set_covering(covers), gap=0.0).objective == pytest.approx(best)


@examples(12)
@given(seeds, st.integers(1, 3))
def test_maximal_covering_is_that_of_enumeration(seed, p):
    _, _, need, cost = draw(seed)
    covers = ~np.isnan(cost)
    best = max(
        float(need @ covers[list(some)].any(axis=0))
        for some in itertools.combinations(range(len(cost)), min(p, len(cost)))
    )
    plan = solve(maximal_covering(need, covers, p), gap=0.0)
    assert need.sum() - plan.objective == pytest.approx(best, abs=1e-6)
    assert plan.served_share["total"] == pytest.approx(best / need.sum(), abs=1e-6)


def cloned(problem, rng, n):
    """Return a problem with each site several times, units up to a few at each."""
    names = [f" {k}" for k in range(n)]

    def times(table, *columns):
        return pd.concat(
            [table.assign(**{c: table[c] + name for c in columns}) for name in names],
            ignore_index=True,
        )

    most = dict(
        zip(
            problem.sites["site_id"],
            rng.integers(1, 4, len(problem.sites)),
            strict=True,
        )
    )
    options = problem.site_options
    options = options.assign(max_units=options["site_id"].map(most))
    units = problem.units.assign(it_kw=(problem.units["it_kw"] / n).round() + 1.0)
    return replace(
        problem,
        sites=times(problem.sites, "site_id"),
        site_options=times(options, "site_id"),
        units=units,
        arcs=times(problem.arcs, "site_id"),
    )


@examples(8)
@given(seeds, st.booleans(), st.integers(2, 4))
def test_alike_sites_as_one_do_not_move_the_optimum(seed, small, n):
    fixed, room, need, cost = draw(seed, 4, 6)
    rng = np.random.default_rng(seed)
    problem = cloned(facility_location(fixed, room, need, cost), rng, n)
    found = []
    for together in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            if not small:
                patch.setattr("gridsite.siting.search._SMALL", 0)
            if not together:
                patch.setattr(
                    importlib.import_module("gridsite.siting.solve"),
                    "alike",
                    lambda r: Alike(
                        reduced=r,
                        option=np.arange(len(r.options)),
                        most=r.options["upper"].to_numpy(),
                    ),
                )
            try:
                plan = solve(problem, gap=0.0)
            except InfeasibleError:
                found.append(math.inf)
                continue
            assert plan.bound <= plan.objective * (1.0 + 1e-9) + 1e-9
            found.append(plan.objective)
    assert found[0] == pytest.approx(found[1], rel=1e-7, abs=1e-6)
