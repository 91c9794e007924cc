"""Periods, upgrades, losses and locality against enumeration."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

from gridsite.errors import InfeasibleError
from gridsite.siting import SitingProblem, check_plan, empty_table, solve
from gridsite.siting.bound import cheapest_service_bound
from gridsite.siting.lagrangean import Relaxation
from gridsite.siting.reduce import reduce_problem

ZONES, WORKLOADS = ("n", "s"), ("batch", "web")
UNITS = {"node": (12.0, 10.0, 0), "rack": (30.0, 26.0, 0), "hall": (44.0, 40.0, 1)}
WORTH = [1.0, 3.0]


@st.composite
def problems(draw):
    """Return tables of a problem of one or two periods and at most four sites."""

    def pick(*values):
        return draw(st.sampled_from(values))

    periods = range(pick(1, 2, 2))
    buildings = [f"b{i}" for i in range(draw(st.integers(1, 3)))]
    names = buildings + ["central"] * pick(0, 1, 1)
    sites = [
        {
            "site_id": name,
            "kind": "central" if name == "central" else "building",
            "building_id": name,
            "feeder_id": "f",
            "utility": "u",
            "area": pick("east", "west"),
            "fixed_capital": pick(0.0, 0.0, 30.0, 200.0),
            "max_power_kw": pick(np.nan, 40.0),
            "access_ms": 1.0,
        }
        for name in names
    ]
    kinds = [(n, "hall" if n == "central" else pick("node", "rack")) for n in names]
    if len(names) < 3 and pick(True, False):  # two kinds of unit at one connection
        kinds = sorted({*kinds, ("b0", "node"), ("b0", "rack")})
    dear = {u: pick(0.0, 0.0, 1.0, 3.0) for u in UNITS}
    options = [
        {
            "site_id": name,
            "unit": unit,
            "port_id": "" if name == "central" else f"p {name}",
            "unit_capital": pick(0.0, 50.0, 60.0, 300.0),
            "unit_per_year": pick(5.0, 5.0, 20.0, -10.0),
            "max_units": (most := pick(1, 2)),
            "existing_units": pick(0, 0, 0, 0, 1) * min(most, 1),
            "available_from": pick(0, 0, 0, 1) if len(periods) > 1 else 0,
            "own_limit_kw": pick(np.nan, np.nan, 62.0),
            "energy_per_it_kw_year": dear[unit],
            "cost_per_it_kw_year": dear[unit],
        }
        for name, unit in kinds
    ]
    workloads = [
        {
            "workload": w,
            "rtt_limit_ms": 100.0,
            "rtt_target_ms": 10.0,
            "min_share_within_target": pick(0.0, 0.0, 0.5),
            "unserved_cost": pick(np.nan, 15.0, 15.0, 15.0),
            "redundancy": pick(0, 1, 2) if w == "web" else 0,
            "min_local_share": pick(0.0, 0.0, 0.5),
            "single_source": pick(False, False, True) if w == "web" else False,
        }
        for w in WORKLOADS
    ]
    demand = [
        {
            "zone_id": z,
            "workload": w,
            "period": t,
            "demand_it_kw": pick(0.0, 4.0, 9.0, 13.0),
            "area": "east" if z == "n" else "west",
        }
        for z, w, t in itertools.product(ZONES, WORKLOADS, periods)
    ]
    arcs = [
        {
            "zone_id": z,
            "workload": w,
            "site_id": name,
            "period": t,
            "rtt_ms": pick(5.0, 5.0, 50.0),
            "cost_per_it_kw": pick(1.0, 1.0, 2.0),
        }
        for z, w, name, t in itertools.product(ZONES, WORKLOADS, names, periods)
        if pick(True, True, True, True, False)
    ]
    row_ids = [(f"r{i}{t}", t) for i in range(pick(0, 1, 2)) for t in periods]
    rows = [
        {
            "row_id": r,
            "criterion": "transformer",
            "element": r,
            "time": "18:00",
            "period": t,
            "headroom": pick(0.0, 13.0, 24.0, 42.0),
            "unit": "kW",
        }
        for r, t in row_ids
    ]
    coefficients = [
        {"row_id": r, "port_id": f"p {b}", "coefficient": pick(0.0, 0.5, 1.0, 1.0)}
        for (r, _), b in itertools.product(row_ids, buildings)
    ]
    upgrades = [
        {
            "upgrade_id": u,
            "element": "T",
            "kind": "transformer",
            "capital": pick(0.0, 20.0, 80.0),
            "lead_periods": pick(0, 0, 1),
            "excludes": pick("", "u1") if u == "u0" else "",
        }
        for u in ("u0", "u1")
    ]
    effects = [
        {"upgrade_id": u, "row_id": r, "added_headroom": pick(6.0, 12.0, 30.0)}
        for u, (r, _) in itertools.product(("u0", "u1"), row_ids)
        if pick(True, True, False)
    ]
    caps = {
        "max_units": pick(np.nan, np.nan, 3.0),
        "max_kw": np.nan,
        "onboarding_cost": pick(0.0, 25.0),
        "one_site": pick(False, False, True),
    }
    groups = [
        {"group_id": "g", "site_id": b, "kind": "feeder"} | caps
        for b in names
        if pick(True, False)
    ]
    later = pick(0.9, 0.5)
    factors = [
        {
            "table": "site_options",
            "item": "node",
            "term": "",
            "period": t,
            "factor": [1.0, pick(0.4, 1.2)][t],
        }
        for t in periods
        if pick(True, False)
    ]
    rises = [
        {
            "site_id": name,
            "term": term,
            "period": t,
            "factor": pick(0.0, 0.5, 2.0),
        }
        for name in names
        for term in ("unit_per_year", "energy_per_it_kw_year")
        for t in periods
        if pick(True, False, False)
    ]
    return {
        "sites": table(sites, "sites"),
        "site_options": table(options, "site_options"),
        "units": pd.DataFrame(
            {
                "unit": list(UNITS),
                "rated_kw": [unit[0] for unit in UNITS.values()],
                "it_kw": [unit[1] for unit in UNITS.values()],
                "lead_periods": [unit[2] for unit in UNITS.values()],
            }
        ).assign(
            power_factor=1.0,
            phases="ABC",
            footprint_m2=1.0,
            capital_cost=0.0,
            life_years=5.0,
            min_power_share=0.0,
        ),
        "workloads": table(workloads, "workloads"),
        "demand": table(demand, "demand"),
        "arcs": table(arcs, "arcs"),
        "rows": table(rows, "rows"),
        "row_coefficients": table(coefficients, "row_coefficients"),
        "groups": table(groups, "groups"),
        "upgrades": table(upgrades, "upgrades"),
        "upgrade_effects": table(effects, "upgrade_effects"),
        "periods": pd.DataFrame(
            {
                "period": list(periods),
                "start_months": [12.0 * t for t in periods],
                "present_value_factor": WORTH[: len(periods)],
                "capital_factor": [1.0, later][: len(periods)],
                "max_added_units": [pick(np.nan, 1.0, 2.0) for _ in periods],
            }
        ),
        "capital_factors": table(factors, "capital_factors"),
        "running_factors": table(rises, "running_factors"),
        "present_value_factor": sum(WORTH[: len(periods)]),
        "budget": pick(None, None, None, 400.0),
    }


def table(records, name):
    return pd.DataFrame(records) if records else empty_table(name)


def paths(low, high, start, n):
    """Return every way for a count to grow over n periods."""
    ways = []
    for way in itertools.product(range(low, high + 1), repeat=n):
        early = any(count != low for count in way[:start])
        if not early and list(way) == sorted(way):
            ways.append(way)
    return ways


class Ways:
    """What every way to build is judged by, as arrays."""

    def __init__(self, p):
        self.p, n = p, len(p.periods)
        o = p.site_options.merge(p.units, on="unit")
        self.options, self.old = o, o["existing_units"].to_numpy()
        self.worth = p.periods["present_value_factor"].to_numpy()
        rise = {(f.site_id, f.term, f.period): f.factor
                for f in p.running_factors.itertuples()}  # fmt: skip

        def yearly(column, term):
            return np.array(
                [
                    [cost * self.worth[t] * rise.get((site, term, t), 1.0)
                     for t in range(n)]
                    for site, cost in zip(o["site_id"], o[column], strict=True)
                ]
            )  # fmt: skip

        self.per_unit = yearly("unit_per_year", "unit_per_year")
        self.per_kw = yearly("cost_per_it_kw_year", "energy_per_it_kw_year")
        own = {
            (f.table, f.item, f.period): f.factor
            for f in p.capital_factors.itertuples()
        }

        def prices(name, items, capital):
            general = p.periods["capital_factor"]
            return [
                [cost * own.get((name, item, t), general.iloc[t]) for t in range(n)]
                for item, cost in zip(items, capital, strict=True)
            ]

        self.unit_price = np.array(prices("site_options", o["unit"], o["unit_capital"]))
        groups = p.groups.drop_duplicates("group_id")
        self.inside = [
            o["site_id"]
            .isin(p.groups.loc[p.groups["group_id"] == g, "site_id"])
            .to_numpy()
            for g in groups["group_id"]
        ]
        self.most_units = groups["max_units"].tolist()
        at_site = [(o["site_id"] == s).to_numpy() for s in p.sites["site_id"]]
        self.at_site, self.most_power = at_site, p.sites["max_power_kw"].tolist()
        once = prices("sites", p.sites["site_id"], p.sites["fixed_capital"])
        once += prices("groups", groups["group_id"], groups["onboarding_cost"])
        self.once = list(zip([*at_site, *self.inside], once, strict=True))
        u = p.upgrades
        self.work_price = dict(
            zip(
                u["upgrade_id"],
                prices("upgrades", u["upgrade_id"], u["capital"]),
                strict=True,
            )
        )
        self.rows = []
        for r in p.rows.itertuples():
            terms = p.row_coefficients[p.row_coefficients["row_id"] == r.row_id]
            a = o["port_id"].map(terms.set_index("port_id")["coefficient"])
            more = p.upgrade_effects[p.upgrade_effects["row_id"] == r.row_id]
            effects = dict(zip(more["upgrade_id"], more["added_headroom"], strict=True))
            self.rows.append((a.fillna(0.0).to_numpy(), r.period, r.headroom, effects))
        self.built = (o["port_id"] != "").to_numpy()
        self.rate = p.periods["max_added_units"].fillna(np.inf).to_numpy()
        self.rated = o["rated_kw"].to_numpy()[:, None]
        self.own = o["own_limit_kw"].fillna(np.inf).to_numpy()

    def opened(self, way, mine):
        if (self.old[mine] > 0).any():
            return None
        used = np.flatnonzero(way[mine].sum(axis=0))
        return int(used[0]) if len(used) else None

    def capital(self, way, works):
        added = np.diff(way, axis=1, prepend=self.old[:, None])
        total = float((added * self.unit_price).sum())
        for mine, price in self.once:
            t = self.opened(way, mine)
            total += 0.0 if t is None else price[t]
        return total + sum(
            self.work_price[u][t] for u, t in works.items() if t is not None
        )

    def running(self, way):
        return float((way * self.per_unit).sum())

    def holds(self, way, works):
        draw = way * self.rated
        for mine, most in zip(self.at_site, self.most_power, strict=True):
            if draw[mine].sum(axis=0).max() > most:
                return False
        for mine, most in zip(self.inside, self.most_units, strict=True):
            if way[mine].sum(axis=0).max(initial=0) > most:
                return False
        added = np.diff(way, axis=1, prepend=self.old[:, None])[self.built]
        share = pd.Series(draw.max(axis=1) / self.own)
        if len(self.p.periods) > 1:
            share = pd.Series((draw / self.own[:, None])[:, -1])  # units stay
        place = self.options["site_id"].to_numpy()
        if (
            share.groupby(place).sum().max() > 1.0 + 1e-12
            or (added.sum(axis=0) > self.rate).any()
        ):
            return False
        for a, t, headroom, effects in self.rows:
            limit = headroom + sum(
                more
                for u, more in effects.items()
                if works[u] is not None and works[u] <= t
            )
            if a @ draw[:, t] > limit + 1e-9:
                return False
        return True

    def capacity(self, way, t):
        """Return site, IT power and cost of computing of each option in a period."""
        it_kw = way[:, t] * self.options["it_kw"].to_numpy()
        sites = self.options["site_id"].tolist()
        return tuple(
            zip(sites, it_kw.tolist(), self.per_kw[:, t].tolist(), strict=True)
        )


def one_site(p):
    """Return the groups that are lost like a site."""
    if "one_site" not in p.groups:
        return []
    whole = p.groups[p.groups["one_site"]]
    return whole.groupby("group_id")["site_id"].agg(list).tolist()


def service(p, t, units):
    """Return the least cost of serving a period's demand, losses survived."""
    stands = pd.DataFrame(units, columns=["site_id", "it_kw", "cost"])
    capacity = stands.groupby("site_id")["it_kw"].sum()
    key = ["zone_id", "workload"]
    need = p.demand[(p.demand["period"] == t) & (p.demand["demand_it_kw"] > 0.0)]
    need = need.merge(p.workloads, on="workload").reset_index(drop=True)
    if need.empty:
        return 0.0
    arcs = p.arcs[p.arcs["period"] == t].merge(
        need[[*key, "area", "rtt_target_ms"]], on=key
    )
    arcs = arcs.merge(p.sites[["site_id", "area"]], on="site_id", suffixes=("", "_s"))
    share = p.periods["present_value_factor"].iloc[t] / p.present_value_factor
    n, m = len(arcs), len(need)
    events = []
    for level, sets in (
        (1, [[s] for s in p.sites["site_id"]] + one_site(p)),
        (2, p.groups.groupby("group_id")["site_id"].agg(list).tolist()),
    ):
        if (need["redundancy"] >= level).any():
            events += [(level, gone) for gone in sets]
    width = n + m + n * len(events) + len(units)
    soft, after = need["unserved_cost"].fillna(0.0) * share, np.zeros(n * len(events))
    cost = np.concatenate([arcs["cost_per_it_kw"], soft, after, stands["cost"]])
    high = np.where(need["unserved_cost"].isna(), 0.0, np.inf)
    high = np.concatenate([np.full(n, np.inf), high, after + np.inf, stands["it_kw"]])
    equal, below, limit = np.zeros((m, width)), [], []
    of = [
        (arcs[key] == d).all(axis=1).to_numpy()
        for d in need[key].itertuples(index=False)
    ]
    for i in range(m):
        equal[i, :n] = of[i]
        equal[i, n + i] = 1.0
    for s in p.sites["site_id"]:
        line = np.zeros(width)
        line[:n] = arcs["site_id"] == s
        line[width - len(units) :] = -1.0 * (stands["site_id"] == s)
        below.append(line)
        limit.append(0.0)
    for w in p.workloads.itertuples():
        line = np.zeros(width)
        mine = (arcs["workload"] == w.workload).to_numpy()
        within = mine & (arcs["rtt_ms"] <= w.rtt_target_ms).to_numpy()
        line[:n] = w.min_share_within_target * mine - within
        below.append(line)
        limit.append(0.0)
    for i, d in enumerate(need.itertuples()):
        line = np.zeros(width)
        line[:n] = d.min_local_share * of[i] - (
            of[i] & (arcs["area"] == arcs["area_s"]).to_numpy()
        )
        below.append(line if d.min_local_share else 0.0 * line)
        limit.append(0.0)
    for e, (level, gone) in enumerate(events):
        at = slice(n + m + e * n, n + m + (e + 1) * n)
        for s in p.sites["site_id"]:
            line = np.zeros(width)
            line[at] = arcs["site_id"] == s
            below.append(line)
            limit.append(0.0 if s in gone else capacity.get(s, 0.0))
        for i, d in enumerate(need.itertuples()):
            if d.redundancy >= level:
                line = np.zeros(width)
                line[at] = -1.0 * of[i]
                line[n + i] = -1.0
                below.append(line)
                limit.append(-d.demand_it_kw)
    rows = LinearConstraint(np.array(below), -np.inf, limit)
    return least_flow(cost, rows, equal, high, need, of)


def least_flow(cost, rows, equal, high, need, of):
    """Return the least cost of a linear programme, single sources kept."""
    n, whole, scale = len(of[0]), np.zeros(len(cost)), np.ones(len(cost))
    for i in np.flatnonzero(need["single_source"]):  # from one site or none
        whole[:n] += of[i]
        scale[:n][of[i]] = need["demand_it_kw"].iloc[i]
        high[:n][of[i]] = 1.0
    if not whole.any():
        found = linprog(
            cost,
            A_ub=rows.A,
            b_ub=rows.ub,
            A_eq=equal,
            b_eq=need["demand_it_kw"],
            bounds=np.column_stack([np.zeros(len(cost)), high]),
        )
        return found.fun if found.status == 0 else math.inf
    found = milp(
        cost * scale,
        integrality=whole,
        bounds=Bounds(0.0, high),
        constraints=[
            LinearConstraint(rows.A * scale, rows.lb, rows.ub),
            LinearConstraint(equal * scale, need["demand_it_kw"], need["demand_it_kw"]),
        ],
        options={"mip_rel_gap": 0.0},
    )
    return found.fun if found.status == 0 else math.inf


def enumerate_plans(p):
    """Return the least cost over all ways to build."""
    n = len(p.periods)
    lead = p.site_options["unit"].map(p.units.set_index("unit")["lead_periods"])
    start = np.maximum(lead, p.site_options["available_from"]) * (n > 1)
    ways = [
        paths(o.existing_units, o.max_units, s, n)
        for o, s in zip(p.site_options.itertuples(), start, strict=True)
    ]
    when = [
        [None, *range(u.lead_periods if n > 1 else 0, n)]
        for u in p.upgrades.itertuples()
    ]
    both = p.upgrades["excludes"].iloc[0] == "u1"
    best, known, judge = math.inf, {}, Ways(p)
    for each in itertools.product(*ways):
        way = np.array(each)
        parts = [judge.capacity(way, t) for t in range(n)]
        for times in itertools.product(*when):
            works = dict(zip(("u0", "u1"), times, strict=True))
            if (both and None not in times) or not judge.holds(way, works):
                continue
            capital = judge.capital(way, works)
            if p.budget is not None and capital > p.budget + 1e-9:
                continue
            cost = capital + judge.running(way)
            for t, capacity in enumerate(parts):
                key = (t, capacity)
                if key not in known:
                    known[key] = service(p, t, capacity)
                cost += known[key]
            best = min(best, cost)
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
    reduced = reduce_problem(p)
    assert cheapest_service_bound(reduced) <= best + 1e-6 * size
    relaxation = Relaxation(reduced)
    prices = relaxation.improve(steps=100)
    assert prices.bound <= best + 1e-6 * size
    rng = np.random.default_rng(0)
    for spread in (1.0, 30.0):
        demand = prices.demand + rng.normal(0.0, spread, len(prices.demand))
        rows = prices.rows + rng.exponential(spread, len(prices.rows))
        assert relaxation.bound(demand, rows) <= best + 1e-6 * size
    assert check_plan(p, plan.plan, plan.assignment, plan.upgrades).empty


@examples(15)
@given(problems())
def test_the_milp_finds_the_optimum_of_enumeration(tables):
    check_against_enumeration(tables)


@examples(8)
@given(problems())
def test_leaving_out_flows_and_ruling_out_counts_do_not_move_the_optimum(tables):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gridsite.siting.search._SMALL", 0)
        patch.setattr("gridsite.siting.search._ALL_FLOWS", 0)
        check_against_enumeration(tables)


@pytest.mark.slow
@settings(examples(50), derandomize=False)
@given(problems())
def test_the_milp_finds_the_optimum_of_enumeration_at_length(tables):
    check_against_enumeration(tables)
