"""The siting decision against enumeration, and laws that it must keep."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from gridsite.errors import InfeasibleError
from gridsite.siting import SitingProblem, check_plan, empty_table, solve
from gridsite.siting.bound import cheapest_service_bound
from gridsite.siting.formulation import build_model
from gridsite.siting.highs import shared_worker
from gridsite.siting.lagrangean import Relaxation
from gridsite.siting.matrix import compile_model
from gridsite.siting.reduce import reduce_problem
from gridsite.siting.rounding import within_rows
from gridsite.siting.search import Known, Search

ZONES, WORKLOADS = ("n", "s"), ("batch", "web")
UNITS = {"node": (12.0, 10.0), "rack": (30.0, 26.0), "hall": (44.0, 40.0)}


@st.composite
def problems(draw):
    """Return tables of a problem with at most eight sites."""

    def pick(*values):
        return draw(st.sampled_from(values))

    buildings = [f"b{i}" for i in range(draw(st.integers(1, 7)))]
    names = buildings + ["central"] * pick(0, 1, 1)
    sites = [
        {
            "site_id": name,
            "kind": "central" if name == "central" else "building",
            "building_id": name,
            "feeder_id": "f",
            "utility": "u",
            "area": "a",
            "fixed_capital": pick(0.0, 0.0, 30.0, 200.0),
            "max_power_kw": pick(np.nan, 25.0, 40.0),
            "access_ms": 1.0,
        }
        for name in names
    ]
    kinds = [(n, "hall" if n == "central" else pick("node", "rack")) for n in names]
    if pick(True, False):
        kinds.append((buildings[0], "node" if kinds[0][1] == "rack" else "rack"))
    options = [
        {
            "site_id": name,
            "unit": unit,
            "port_id": "" if name == "central" else f"p {name}",
            "unit_capital": pick(0.0, 50.0, 60.0, 300.0),
            "unit_per_year": pick(5.0, 5.0, 20.0, -10.0),
            "max_units": (most := pick(1, 2) if name in ("b0", "central") else 1),
            "existing_units": pick(0, 0, 0, 0, 1) * min(most, 1),
            "available_from": 0,
            "own_limit_kw": pick(np.nan, 24.0, 30.0, 62.0),
        }
        for name, unit in kinds
    ]
    workloads = [
        {
            "workload": w,
            "rtt_limit_ms": 100.0,
            "rtt_target_ms": 10.0,
            "min_share_within_target": pick(0.0, 0.0, 0.5),
            "unserved_cost": pick(np.nan, 15.0, 15.0),
            "redundancy": 0,
        }
        for w in WORKLOADS
    ]
    demand = [
        {"zone_id": z, "workload": w, "period": 0, "demand_it_kw": kw}
        for z, w in itertools.product(ZONES, WORKLOADS)
        for kw in [pick(0.0, 4.0, 9.0, 13.0)]
    ]
    arcs = [
        {
            "zone_id": z,
            "workload": w,
            "site_id": name,
            "period": 0,
            "rtt_ms": pick(5.0, 5.0, 50.0),
            "cost_per_it_kw": pick(1.0, 1.0, 2.0, 4.0),
        }
        for z, w, name in itertools.product(ZONES, WORKLOADS, names)
        if pick(True, True, True, True, False)
    ]
    row_ids = [f"r{i}" for i in range(draw(st.integers(0, 3)))]
    rows = [
        {
            "row_id": r,
            "criterion": "transformer",
            "element": r,
            "time": "18:00",
            "period": 0,
            "headroom": pick(0.0, 13.0, 24.0, 42.0),
            "unit": "kW",
        }
        for r in row_ids
    ]
    coefficients = [
        {
            "row_id": r,
            "port_id": f"p {b}",
            "coefficient": pick(0.0, 0.5, 1.0, 1.0, -0.25),
        }
        for r, b in itertools.product(row_ids, buildings)
    ]
    caps = {
        "max_units": pick(np.nan, 2.0),
        "max_kw": pick(np.nan, 42.0),
        "onboarding_cost": pick(0.0, 25.0),
    }
    groups = [
        {"group_id": "g", "site_id": b, "kind": "utility"} | caps
        for b in buildings
        if pick(True, False)
    ]
    return {
        "sites": table(sites, "sites"),
        "site_options": table(options, "site_options"),
        "units": pd.DataFrame(
            {
                "unit": list(UNITS),
                "rated_kw": [kw for kw, _ in UNITS.values()],
                "it_kw": [kw for _, kw in UNITS.values()],
            }
        ).assign(
            power_factor=1.0,
            phases="ABC",
            footprint_m2=1.0,
            capital_cost=0.0,
            life_years=5.0,
            lead_periods=0,
            min_power_share=0.0,
        ),
        "workloads": table(workloads, "workloads"),
        "demand": table(demand, "demand"),
        "arcs": table(arcs, "arcs"),
        "rows": table(rows, "rows"),
        "row_coefficients": table(coefficients, "row_coefficients"),
        "groups": table(groups, "groups"),
        "present_value_factor": 2.0,
        "budget": pick(None, None, 150.0, 400.0),
    }


def table(records, name):
    return pd.DataFrame(records) if records else empty_table(name)


class Enumeration:
    """All counts of units, with what each costs and needs, as arrays."""

    def __init__(self, p):
        options = p.site_options
        ranges = [
            range(o.existing_units, o.max_units + 1) for o in options.itertuples()
        ]
        self.n = np.array(list(itertools.product(*ranges)), dtype=float)
        rated = options["unit"].map({u: kw for u, (kw, _) in UNITS.items()}).to_numpy()
        it_kw = options["unit"].map({u: kw for u, (_, kw) in UNITS.items()}).to_numpy()
        self.at_site = (
            options["site_id"].to_numpy() == p.sites[["site_id"]].to_numpy()
        ).astype(float)
        self.capacity = (self.n * it_kw) @ self.at_site.T
        self.capital = self.n @ options["unit_capital"].to_numpy()
        self.capital -= float(
            (options["unit_capital"] * options["existing_units"]).sum()
        )
        old = self.at_site @ options["existing_units"].to_numpy()
        self.add_if_new(self.at_site, old, p.sites["fixed_capital"].to_numpy())
        groups = p.groups.drop_duplicates("group_id")
        members = p.groups["site_id"].to_numpy()
        inside = options["site_id"].isin(members).to_numpy()[None].astype(float)
        if len(groups):
            old = inside @ options["existing_units"].to_numpy()
            self.add_if_new(inside, old, groups["onboarding_cost"].to_numpy())
        running = options["unit_per_year"].to_numpy() * p.present_value_factor
        self.cost = self.capital + self.n @ running
        draw = self.n * rated
        connection = options["port_id"].where(
            options["port_id"] != "", options["site_id"]
        )
        shares = np.nan_to_num(draw / options["own_limit_kw"].to_numpy())
        use = [shares[:, connection == c].sum(axis=1) for c in connection.unique()]
        limits = [1.0] * len(use)
        use += list((draw @ self.at_site.T).T)
        limits += p.sites["max_power_kw"].tolist()
        for row in p.rows.itertuples():
            terms = p.row_coefficients[p.row_coefficients["row_id"] == row.row_id]
            each = options["port_id"].map(terms.set_index("port_id")["coefficient"])
            use.append(draw @ each.fillna(0.0).to_numpy())
            limits.append(row.headroom)
        for group in groups.itertuples():
            use += [self.n @ inside[0], draw @ inside[0]]
            limits += [group.max_units, group.max_kw]
        use.append(self.capital)
        limits.append(np.nan if p.budget is None else p.budget)
        excess = np.array(use).T - np.array(limits, dtype=float)
        self.feasible = ~(excess > 1e-9 * (1.0 + np.abs(np.array(use).T))).any(axis=1)

    def add_if_new(self, members, existing, price):
        opened = (self.n @ members.T > 0) & (existing == 0)
        self.capital += opened @ price


class Service:
    """The least cost of serving demand site by site, as a linear program."""

    def __init__(self, p):
        key = ["zone_id", "workload"]
        need = p.demand[p.demand["demand_it_kw"] > 0.0]
        need = need.merge(p.workloads, on="workload", how="left")
        arcs = p.arcs.merge(need, on=key)
        soft = need[need["unserved_cost"].notna()]
        none = np.zeros(len(soft))
        self.need = need["demand_it_kw"].to_numpy()
        self.cost = np.array([*arcs["cost_per_it_kw"], *soft["unserved_cost"]])
        both = pd.concat([arcs[key], soft[key]], ignore_index=True)
        self.meets = np.array(
            [(both == d).all(axis=1) for d in need[key].itertuples(index=False)]
        ).astype(float)
        sites = p.sites["site_id"]
        below = [np.append((arcs["site_id"] == s).astype(float), none) for s in sites]
        for w in p.workloads.itertuples():
            mine = (arcs["workload"] == w.workload).astype(float)
            within = mine * (arcs["rtt_ms"] <= w.rtt_target_ms)
            below.append(np.append(w.min_share_within_target * mine - within, none))
        self.below = np.array(below)
        self.no_share = np.zeros(len(p.workloads))
        self.hard = self.need.sum() - float(soft["demand_it_kw"].sum())

    def least(self, capacity):
        if not len(self.need):
            return 0.0
        if not len(self.cost) or capacity.sum() < self.hard - 1e-9:
            return math.inf
        found = linprog(
            self.cost,
            A_ub=self.below,
            b_ub=np.append(capacity, self.no_share),
            A_eq=self.meets,
            b_eq=self.need,
        )
        return found.fun if found.status == 0 else math.inf


def enumerate_plans(p):
    """Return the least cost over all counts of units, infinite if none is feasible."""
    plans, service = Enumeration(p), Service(p)
    cheapest = service.least(np.full(len(p.sites), 1e6))
    best = math.inf
    known = {}
    for i in np.argsort(plans.cost, kind="stable"):
        if plans.cost[i] + cheapest >= best:
            break
        if plans.feasible[i]:
            key = plans.capacity[i].tobytes()
            if key not in known:
                known[key] = service.least(plans.capacity[i])
            best = min(best, plans.cost[i] + known[key])
    return best


def examples(n):
    return settings(
        max_examples=n,
        deadline=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def check_against_enumeration(tables):
    p = SitingProblem(**tables)
    best = enumerate_plans(p)
    if math.isinf(best):
        with pytest.raises(InfeasibleError):
            solve(p, gap=0.0)
        return
    plan = solve(p, gap=0.0)
    size = max(1.0, float(plan.costs.abs().sum()))
    assert plan.objective == pytest.approx(best, abs=1e-6 * size)
    assert plan.bound <= best + 1e-6 * size
    assert cheapest_service_bound(reduce_problem(p)) <= best + 1e-6 * size
    assert check_plan(p, plan.plan, plan.assignment).empty
    assert plan.costs.sum() == pytest.approx(plan.objective, rel=1e-9)
    check_the_relaxation(reduce_problem(p), best, 1e-6 * size)


def check_the_relaxation(reduced, best, tolerance):
    """No prices prove more than the optimum, nor rule it out."""
    relaxation = Relaxation(reduced)
    prices = relaxation.improve(steps=100)
    assert prices.bound <= best + tolerance
    rng = np.random.default_rng(0)
    for _ in range(3):
        demand = prices.demand + rng.normal(0.0, 3.0, len(prices.demand))
        rows = prices.rows + rng.normal(0.0, 20.0, len(prices.rows))
        assert relaxation.bound(demand, rows) <= best + tolerance
    least, most = relaxation.counts_left(prices, best + tolerance)
    narrow = Search(
        replace(reduced, options=reduced.options.assign(lower=least, upper=most)),
        shared_worker(),
        gap=0.0,
        time_limit_s=20.0,
    ).run()
    assert narrow.plan is not None
    answer, core = narrow.plan
    assert core.cost(answer.solution) <= best + 2.0 * tolerance
    check_a_start_from_elsewhere(reduced, best, tolerance, rng)


def check_a_start_from_elsewhere(reduced, best, tolerance, rng):
    """Prices and counts of another problem change neither optimum nor bound."""
    options = reduced.options
    relaxation = Relaxation(reduced)
    prices = relaxation.improve(steps=5)
    counts = rng.integers(options["lower"], options["upper"] + 1)
    kept = within_rows(relaxation, counts, end=math.inf)
    assert kept is None or relaxation.keeps_rows(kept)
    known = Known(
        prices=replace(prices, demand=prices.demand + rng.normal(0.0, 9.0)),
        counts=counts,
        bound=best - 1.0,
        own_bound=best - 2.0,
    )
    found = Search(
        reduced, shared_worker(), gap=0.0, time_limit_s=20.0, known=known
    ).run()
    assert best - 1.0 <= found.bound <= best + tolerance
    answer, core = found.plan
    assert core.cost(answer.solution) <= best + 2.0 * tolerance


@examples(15)
@given(problems())
def test_the_milp_finds_the_optimum_of_enumeration(tables):
    check_against_enumeration(tables)


@examples(15)
@given(problems())
def test_leaving_out_flows_and_ruling_out_counts_do_not_move_the_optimum(tables):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gridsite.siting.search._SMALL", 0)
        patch.setattr("gridsite.siting.search._ALL_FLOWS", 0)
        check_against_enumeration(tables)


@pytest.mark.slow
@settings(examples(100), derandomize=False)
@given(problems())
def test_the_milp_finds_the_optimum_of_enumeration_at_length(tables):
    check_against_enumeration(tables)


@examples(10)
@given(problems())
def test_reductions_do_not_move_the_optimum(tables):
    p = SitingProblem(**tables)
    found = []
    for reductions in (True, False):
        reduced = reduce_problem(p, reductions=reductions)
        if set(reduced.demands.index[reduced.demands["unserved_cost"].isna()]) - set(
            reduced.flows["demand"]
        ):
            return  # demand out of reach is refused before any model is built
        matrix = compile_model(build_model(reduced), reduced)
        answer = shared_worker().run(matrix, gap=0.0, time_limit_s=20.0)
        found.append((answer.status, answer.objective * matrix.money_scale))
    (status, cost), (plain_status, plain_cost) = found
    assert status == plain_status
    if status == "optimal":
        assert cost == pytest.approx(plain_cost, rel=1e-6, abs=1e-4)


@examples(10)
@given(problems(), st.randoms(use_true_random=False))
def test_the_order_of_rows_and_names_do_not_move_the_cost(tables, random):
    def cost(made):
        try:
            return solve(SitingProblem(**made), gap=0.0).objective
        except InfeasibleError:
            return math.inf

    shuffled = {
        name: part.sample(frac=1.0, random_state=random.randrange(2**31))
        if isinstance(part, pd.DataFrame)
        else part
        for name, part in tables.items()
    }
    assert cost(shuffled) == pytest.approx(cost(tables), rel=1e-9, abs=1e-6)


@examples(10)
@given(problems())
def test_a_wider_row_never_costs_more(tables):
    def cost(factor):
        rows = tables["rows"].assign(headroom=tables["rows"]["headroom"] * factor)
        try:
            return solve(SitingProblem(**tables | {"rows": rows}), gap=0.0).objective
        except InfeasibleError:
            return math.inf

    assert cost(1.5) <= cost(1.0) + 1e-6
