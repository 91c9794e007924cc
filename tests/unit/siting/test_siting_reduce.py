import itertools

import numpy as np
import pandas as pd
import pytest

from gridsite.siting import SitingProblem, solve
from gridsite.siting.bound import cheapest_service_bound
from gridsite.siting.reduce import reduce_problem, split_flows


def test_sites_that_cost_the_same_to_everyone_are_one_pool(problem):
    reduced = reduce_problem(problem())
    pools = reduced.sites.set_index("site_id")["pool"]
    assert pools["b1"] == pools["b2"] != pools["central"]
    assert len(reduced.flows) == 4  # two demands, two pools


@pytest.mark.parametrize("change", [{"cost": 1.5}, {"rtt": 25.0}])
def test_another_cost_or_side_of_the_target_makes_another_pool(
    problem, records, change
):
    arcs = [
        records.arc(z, "web", s, 1.0)
        for z in ("north", "south")
        for s in ("b1", "b2", "central")
    ]
    arcs[1] = records.arc("north", "web", "b2", **({"cost": 1.0} | change))
    reduced = reduce_problem(problem(arcs=arcs))
    pools = reduced.sites.set_index("site_id")["pool"]
    assert pools["b1"] != pools["b2"]


def test_another_round_trip_time_below_the_target_is_the_same_pool(problem, records):
    arcs = [
        records.arc(z, "web", s, 1.0, rtt)
        for z in ("north", "south")
        for s, rtt in (("b1", 5.0), ("b2", 6.0), ("central", 7.0))
    ]
    assert reduce_problem(problem(arcs=arcs)).flows["pool"].tolist() == [0, 0]


def test_a_missing_arc_makes_another_pool(problem):
    made = problem()
    fewer = made.arcs.drop(index=0).reset_index(drop=True)
    tables = {name: getattr(made, name) for name in ("sites", "site_options", "units")}
    tables |= {name: getattr(made, name) for name in ("workloads", "demand", "rows")}
    reduced = reduce_problem(
        SitingProblem(
            **tables,
            arcs=fewer,
            row_coefficients=made.row_coefficients,
            present_value_factor=1.0,
        )
    )
    pools = reduced.sites.set_index("site_id")["pool"]
    assert pools["b1"] != pools["b2"]


def test_units_are_capped_by_the_limits_of_their_place(problem, records):
    def most(**values):
        options = [records.option("b1", "node", **values)]
        made = problem(
            sites=[records.site("b1", max_power_kw=values.pop("site_kw", None))],
            site_options=options,
            arcs=[records.arc(z, "web", "b1", 1.0) for z in ("north", "south")],
            demand=[records.demand(z, "web", 99.0) for z in ("north", "south")],
            row_coefficients=records.coefficients("T1", port_b1=1.0),
        )
        return reduce_problem(made).options["upper"].tolist()

    assert most() == [4]
    assert most(own_limit_kw=36.0) == [3]  # exactly three fit
    assert most(own_limit_kw=35.99) == [2]
    assert most(own_limit_kw=11.9) == []
    assert most(max_units=0) == []


def test_limits_in_tenths_are_not_lost_to_binary_fractions(problem, records):
    made = problem(
        units=[records.unit("node", 0.1, 10.0), records.unit("hall", 44.0, 40.0)],
        site_options=[records.option("b1", "node", own_limit_kw=0.3)],
        row_coefficients=[],
    )
    assert reduce_problem(made).options["upper"].tolist() == [3]


def test_no_more_units_than_reachable_demand_needs(problem):
    reduced = reduce_problem(problem())
    upper = reduced.options.set_index("unit")["upper"]
    assert upper["hall"] == 1  # 30 kW of demand, 40 kW a hall
    assert upper["node"].tolist() == [2, 2]  # their own limit


def test_units_that_relieve_the_grid_are_not_capped_by_demand(problem, records):
    terms = records.coefficients("T1", port_b1=-1.0, port_b2=1.0)
    options = [
        records.option("b1", "node", max_units=9),
        records.option("b2", "node", max_units=9),
    ]
    made = problem(row_coefficients=terms, site_options=options)
    assert reduce_problem(made).options["upper"].tolist() == [9, 3]


def rows_kept(problem, records, headroom, terms):
    made = problem(
        rows=[records.row(name, value) for name, value in headroom.items()],
        row_coefficients=[
            record
            for name, ports in terms.items()
            for record in records.coefficients(name, **ports)
        ],
    )
    return reduce_problem(made).rows["row_id"].tolist()


def test_a_row_that_cannot_bind_is_dropped(problem, records):
    both = {"port_b1": 1.0, "port_b2": 1.0}
    assert rows_kept(problem, records, {"T": 47.9}, {"T": both}) == ["T"]
    assert rows_kept(problem, records, {"T": 48.0}, {"T": both}) == []


def test_the_worst_of_rows_with_the_same_coefficients_is_kept(problem, records):
    both = {"port_b1": 1.0, "port_b2": 1.0}
    kept = rows_kept(
        problem, records, {"a": 40.0, "b": 30.0, "c": 30.0}, dict.fromkeys("abc", both)
    )
    assert len(kept) == 1
    assert kept[0] in "bc"


def test_nested_rows_of_a_radial_feeder_leave_what_is_not_implied(problem, records):
    one, both = {"port_b1": 1.0}, {"port_b1": 1.0, "port_b2": 1.0}
    headroom = {"branch": 20.0, "wide": 40.0, "trafo": 40.0}
    terms = {"branch": one, "wide": one, "trafo": both}
    assert rows_kept(problem, records, headroom, terms) == ["branch", "trafo"]


def test_a_row_with_relief_implies_no_other(problem, records):
    headroom = {"plain": 20.0, "relieved": 20.0}
    terms = {
        "plain": {"port_b1": 1.0},
        "relieved": {"port_b1": 1.0, "port_b2": -0.5},
    }
    assert rows_kept(problem, records, headroom, terms)[0] == "plain"


def test_rows_without_headroom_stay(problem, records):
    kept = rows_kept(problem, records, {"T": 0.0}, {"T": {"port_b1": 1.0}})
    assert kept == ["T"]


def test_flows_fill_the_nearest_site_first_and_never_overfill(problem, records):
    arcs = [
        records.arc(z, "web", s, 1.0, rtt)
        for z in ("north", "south")
        for s, rtt in (("b1", 6.0), ("b2", 5.0))
    ]
    reduced = reduce_problem(problem(arcs=arcs))
    options = reduced.options["site_id"].tolist()
    counts = np.array([2 if s == "b1" else 1 for s in options])
    split = split_flows(reduced, counts, np.array([12.0, 18.0]))
    by_site = split.groupby("site")["it_kw"].sum()
    names = reduced.sites["site_id"]
    assert {names[j]: kw for j, kw in by_site.items()} == {"b1": 20.0, "b2": 10.0}
    assert split.groupby("demand")["it_kw"].sum().tolist() == [12.0, 18.0]


def test_a_dearer_arc_is_never_dropped(problem, records):
    # demand 10; central: 1000 to open and 1 per kW; building: 10 and 2 per kW
    made = problem(
        sites=[
            records.site("b1", fixed_capital=10.0),
            records.site("central", "central", fixed_capital=1000.0),
        ],
        site_options=[records.option("b1", "node"), records.option("central", "hall")],
        demand=[records.demand("north", "web", 10.0)],
        arcs=[
            records.arc("north", "web", "central", 1.0),
            records.arc("north", "web", "b1", 2.0),
        ],
        row_coefficients=records.coefficients("T1", port_b1=1.0),
    )
    plan = solve(made, gap=0.0)
    assert plan.objective == pytest.approx(30.0)
    assert plan.bound == pytest.approx(30.0)
    assert plan.plan["site_id"].tolist() == ["b1"]


def test_the_demo_of_270_000_arcs_becomes_a_few_hundred_flows(problem, records):
    zones = [f"z{i:02d}" for i in range(60)]
    names = [f"b{i:04d}" for i in range(1500)]
    kinds = ["batch", "games", "web"]
    table = pd.DataFrame(
        itertools.product(zones, kinds, names),
        columns=["zone_id", "workload", "site_id"],
    )
    arcs = table.assign(period=0, rtt_ms=9.0, cost_per_it_kw=5.0)
    made = problem(
        sites=[records.site(name) for name in names],
        site_options=[records.option(name, "node") for name in names],
        workloads=[records.workload(kind) for kind in kinds],
        demand=[records.demand(z, w, 1.0) for z in zones for w in kinds],
        arcs=arcs.to_dict("records"),
        row_coefficients=[],
    )
    reduced = reduce_problem(made)
    assert len(made.arcs) == 270_000
    assert len(reduced.flows) == 180


def test_the_service_bound_by_hand(problem, records):
    options = [
        records.option("b1", "node", unit_capital=100.0),
        records.option("b2", "node", unit_per_year=-7.0, max_units=3),
        records.option("central", "hall", unit_capital=200.0),
    ]
    arcs = [
        records.arc("north", "web", "b1", 1.0),
        records.arc("south", "web", "b2", 3.0),
        records.arc("south", "web", "central", 2.0),
    ]
    made = problem(
        site_options=options, arcs=arcs, row_coefficients=[], present_value_factor=2.0
    )
    # 12 kW at 1 + 100 / 10, 18 kW at min(3 + 0, 2 + 200 / 40), three units at -14
    expected = 12.0 * 11.0 + 18.0 * 3.0 - 3 * 14.0
    assert cheapest_service_bound(reduce_problem(made)) == pytest.approx(expected)
