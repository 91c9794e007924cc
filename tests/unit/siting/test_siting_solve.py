import os
import signal
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from siting_doubles import Grid, Liar, safe, violation

from gridsite.errors import (
    ConfigError,
    DataError,
    InfeasibleError,
    NoIncumbentError,
    SolveError,
)
from gridsite.siting import (
    SitingProblem,
    allow_unserved,
    check_plan,
    restrict_sites,
    solve,
)
from gridsite.siting.highs import Answer, shared_worker
from gridsite.siting.presets import facility_location


def counts(plan):
    table = plan.plan.set_index(["site_id", "unit"])["count"]
    return {" ".join(key): int(n) for key, n in table.items()}


def test_the_optimum_is_the_one_found_by_hand(problem):
    # 30 kW: three nodes (two where they are cheap) at 310 and 30 for the flows
    plan = solve(problem(), gap=0.0)
    assert plan.status == "optimal"
    assert counts(plan) == {"b1 node": 2, "b2 node": 1}
    assert plan.objective == pytest.approx(340.0)
    assert plan.bound == pytest.approx(340.0)
    assert plan.gap == pytest.approx(0.0, abs=1e-9)
    assert plan.cost_of_safety == 0.0
    assert plan.served_share.to_dict() == {"web": 1.0, "total": 1.0}
    assert plan.unserved.empty
    plan.raise_for_status()


def test_a_grid_row_moves_what_does_not_fit(problem, records):
    plan = solve(problem(rows=[records.row("T1", 35.0)]), gap=0.0)
    assert counts(plan) == {"central hall": 1}
    assert plan.objective == pytest.approx(560.0)


def test_tables_of_the_result_keep_their_meaning(problem):
    plan = solve(problem(), gap=0.0)
    first = plan.plan.set_index("site_id").loc["b1"]
    assert (first["rated_kw"], first["it_kw"]) == (24.0, 20.0)
    assert (first["added"], first["count"], first["period"]) == (2, 2, 0)
    assert (first["building_id"], first["port_id"]) == ("b1", "port b1")
    assert plan.assignment["it_kw"].sum() == pytest.approx(30.0)
    assert plan.rounds["objective"].tolist() == [plan.objective]


def test_every_cost_term_is_recomputed_and_they_add_up(town, records):
    tables = town(
        sites=[
            records.site("b1", fixed_capital=7.0),
            records.site("b2", fixed_capital=7.0),
            records.site("central", "central", fixed_capital=3.0),
        ],
        present_value_factor=5.0,
        demand=[records.demand(z, "web", 25.0) for z in ("north", "south")],
        groups=[records.group("g", s, onboarding_cost=11.0) for s in ("b1", "b2")],
    )
    options = tables["site_options"]
    options["it_hardware_capital"] = 0.6 * options["unit_capital"]
    options["installation_capital"] = 0.4 * options["unit_capital"]
    options["unit_per_year"] = [2.0, 2.0, 1.0]
    options["host_per_year"] = [3.0, 3.0, 0.0]
    options["maintenance_per_year"] = [-1.0, -1.0, 1.0]
    tables["arcs"]["energy_present"] = tables["arcs"]["cost_per_it_kw"]
    plan = solve(SitingProblem(**tables), gap=0.0)
    assert counts(plan) == {"b1 node": 1, "central hall": 1}
    assert plan.costs.to_dict() == pytest.approx(
        {
            "fixed_capital": 10.0,
            "it_hardware_capital": 360.0,
            "installation_capital": 240.0,
            "host_present": 15.0,
            "maintenance_present": 0.0,
            "energy_present": 90.0,
            "onboarding_capital": 11.0,
            "unserved_present": 0.0,
        },
        rel=1e-9,
        abs=1e-9,
    )
    assert plan.costs.sum() == pytest.approx(plan.objective, rel=1e-9)


def test_existing_units_stay_and_cost_no_capital(problem, records):
    made = problem(
        sites=[
            records.site("b1", fixed_capital=50.0),
            records.site("b2", fixed_capital=50.0),
            records.site("central", "central"),
        ],
        site_options=[
            records.option("b1", "node", unit_capital=100.0),
            records.option("b2", "node", unit_capital=400.0, existing_units=1),
            records.option("central", "hall", unit_capital=500.0),
        ],
    )
    plan = solve(made, gap=0.0)
    assert counts(plan) == {"b1 node": 2, "b2 node": 1}
    assert plan.plan["added"].tolist() == [2, 0]
    assert plan.objective == pytest.approx(50.0 + 200.0 + 30.0)


def test_unserved_demand_is_paid_for_where_that_is_cheaper(problem, records):
    soft = records.workload("web", unserved_cost=9.0)
    plan = solve(problem(workloads=[soft]), gap=0.0)
    # any node costs 10 a kW or more on top of 1 a kW
    assert plan.plan.empty
    assert plan.assignment.empty
    assert plan.objective == pytest.approx(270.0)
    assert plan.costs["unserved_present"] == pytest.approx(270.0)
    assert plan.served_share["total"] == 0.0
    assert plan.unserved["it_kw"].tolist() == [12.0, 18.0]


def test_a_little_unserved_demand_is_no_noise(problem, records):
    soft = records.workload("web", unserved_cost=50.0)
    demand = [records.demand("north", "web", 10.5), records.demand("south", "web", 0.0)]
    plan = solve(problem(workloads=[soft], demand=demand), gap=0.0)
    assert plan.unserved["it_kw"].tolist() == pytest.approx([0.5])
    assert plan.served_share["web"] == pytest.approx(10.0 / 10.5)


def test_groups_cap_units_power_and_cost_onboarding(problem, records):
    def made(**values):
        groups = [records.group("g", s, **values) for s in ("b1", "b2")]
        return counts(solve(problem(groups=groups), gap=0.0))

    nodes = {"b1 node": 2, "b2 node": 1}
    assert made() == nodes
    assert made(max_units=2.0) == {"central hall": 1}
    assert made(max_kw=35.9) == {"central hall": 1}
    assert made(onboarding_cost=215.0) == nodes
    assert made(onboarding_cost=225.0) == {"central hall": 1}


def test_a_site_in_two_groups_obeys_both(problem, records):
    groups = [
        records.group("g", "b1", max_units=3.0),
        records.group("h", "b1", max_units=1.0),
        records.group("h", "b2", max_units=9.0),
    ]
    groups[2]["max_units"] = 1.0
    plan = solve(problem(groups=groups), gap=0.0)
    assert counts(plan) == {"central hall": 1}


def test_the_budget_counts_capital_alone(problem):
    rich = solve(problem(budget=310.0), gap=0.0)
    assert counts(rich) == {"b1 node": 2, "b2 node": 1}
    with pytest.raises(InfeasibleError, match="budget"):
        solve(problem(budget=309.0), gap=0.0)


def test_a_share_must_come_within_the_latency_target(problem, records):
    arcs = [
        records.arc(z, "web", s, cost, rtt)
        for z in ("north", "south")
        for s, cost, rtt in (("b1", 1.0, 50.0), ("b2", 1.0, 50.0), ("central", 2.0, 5))
    ]

    def share(least):
        workload = records.workload("web", min_share_within_target=least)
        plan = solve(problem(arcs=arcs, workloads=[workload]), gap=0.0)
        flow = plan.assignment
        return flow.loc[flow["rtt_ms"] <= 20.0, "it_kw"].sum() / 30.0

    assert share(0.0) == 0.0
    assert share(0.4) >= 0.4 - 1e-9


def test_options_at_one_connection_share_its_limit(problem, records):
    options = [
        records.option("b1", "node", unit_capital=100.0, own_limit_kw=24.0),
        records.option("b1", "rack", unit_capital=150.0, own_limit_kw=24.0),
        records.option("central", "hall", unit_capital=5000.0),
    ]
    units = [
        records.unit("node", 12.0, 10.0),
        records.unit("rack", 20.0, 17.0),
        records.unit("hall", 44.0, 40.0),
    ]
    made = problem(
        site_options=options,
        units=units,
        demand=[records.demand("north", "web", 21.0)],
        arcs=[records.arc("north", "web", s, 1.0) for s in ("b1", "central")],
        row_coefficients=records.coefficients("T1", port_b1=1.0),
    )
    assert counts(solve(made, gap=0.0)) == {"central hall": 1}


def test_two_sites_at_one_connection_share_its_limit(problem, records):
    options = [
        records.option("b1", "node", own_limit_kw=24.0, port_id="port b1"),
        records.option("b2", "node", own_limit_kw=24.0, port_id="port b1"),
        records.option("central", "hall", unit_capital=500.0),
    ]
    terms = records.coefficients("T1", port_b1=1.0)
    plan = solve(problem(site_options=options, row_coefficients=terms), gap=0.0)
    assert counts(plan)["central hall"] == 1


def test_the_order_of_the_input_changes_nothing(town):
    tables = town()
    straight = solve(SitingProblem(**tables), gap=0.0)
    rng = np.random.default_rng(1)
    for name, table in tables.items():
        if isinstance(table, pd.DataFrame):
            tables[name] = table.iloc[rng.permutation(len(table))]
    shuffled = solve(SitingProblem(**tables), gap=0.0)
    pd.testing.assert_frame_equal(straight.plan, shuffled.plan)
    pd.testing.assert_frame_equal(straight.assignment, shuffled.assignment)
    assert straight.objective == shuffled.objective


def test_strategies_are_restrictions_of_one_problem(problem):
    central = solve(restrict_sites(problem(), ["central"]), gap=0.0)
    assert counts(central) == {"central hall": 1}
    built = solve(restrict_sites(problem(), ["building"]), gap=0.0)
    hybrid = solve(problem(), gap=0.0)
    assert hybrid.objective <= min(central.objective, built.objective) + 1e-9


def test_money_in_any_unit_gives_the_same_plan(town):
    def scaled(factor):
        tables = town()
        for name, column in (
            ("site_options", "unit_capital"),
            ("arcs", "cost_per_it_kw"),
        ):
            tables[name][column] *= factor
        return solve(SitingProblem(**tables), gap=0.0)

    for factor in (1e-6, 1e6):
        assert scaled(factor).objective == pytest.approx(340.0 * factor)


def test_a_problem_without_demand_builds_nothing(problem, records):
    plan = solve(problem(demand=[records.demand("north", "web", 0.0)], arcs=[]))
    assert plan.plan.empty
    assert plan.objective == 0.0
    assert plan.served_share["total"] == 1.0


# Infeasible problems, said in planner's words


def test_a_zone_out_of_reach_is_named_with_its_limit(problem, records):
    arcs = [records.arc("north", "web", "b1", 1.0)]
    words = r"zone\(s\) 'south' for 'web' \(100 ms\)"
    with pytest.raises(InfeasibleError, match=words):
        solve(problem(arcs=arcs))


def test_full_rows_and_limits_are_named_with_what_cannot_be_served(problem, records):
    made = restrict_sites(
        problem(
            rows=[records.row("T3", 24.5)],
            row_coefficients=records.coefficients("T3", port_b1=1.0, port_b2=1.0),
        ),
        ["building"],
    )
    with pytest.raises(InfeasibleError) as caught:
        solve(made)
    message = str(caught.value)
    assert "10 of 30 kW of 'web'" in message
    assert "row transformer T3 at 18:00 is full" in message
    assert "\n" not in message
    assert caught.value.solution["missing_it_kw"].sum() == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("group", "words"),
    [({"max_units": 1.0}, "max_units 1"), ({"max_kw": 13.0}, "max_kw 13")],
)
def test_a_full_group_is_named(problem, records, group, words):
    groups = [records.group("Acme", s, **group) for s in ("b1", "b2")]
    made = restrict_sites(problem(groups=groups), ["building"])
    with pytest.raises(InfeasibleError, match=f"group Acme is full.*{words}"):
        solve(made)


def test_sites_that_hold_all_they_can_are_said_to(problem, records):
    demand = [records.demand(z, "web", 500.0) for z in ("north", "south")]
    made = restrict_sites(
        problem(demand=demand, rows=[records.row("T1", 1e4)]), ["building"]
    )
    with pytest.raises(InfeasibleError, match="no more units fit at the sites"):
        solve(made)


def test_latency_shares_that_cannot_be_kept_are_named(problem, records):
    arcs = [
        records.arc(z, "web", s, 1.0, 50.0)
        for z in ("north", "south")
        for s in ("b1", "b2", "central")
    ]
    workload = records.workload("web", min_share_within_target=0.5)
    with pytest.raises(InfeasibleError, match="latency target"):
        solve(problem(arcs=arcs, workloads=[workload]))


def test_existing_units_that_break_a_limit_are_named(problem, records):
    options = [
        records.option("b1", "node", existing_units=2),
        records.option("b2", "node", existing_units=2),
        records.option("central", "hall"),
    ]
    words = "existing units alone break grid row of T1"
    with pytest.raises(InfeasibleError, match=words):
        solve(problem(site_options=options))


def test_allowing_unserved_turns_infeasible_into_a_price(problem, records):
    made = restrict_sites(problem(rows=[records.row("T1", 24.5)]), ["building"])
    plan = solve(allow_unserved(made, 1e4), gap=0.0)
    assert plan.served_share["web"] == pytest.approx(2 / 3)
    assert plan.costs["unserved_present"] == pytest.approx(1e5)


# The solver is not to be trusted


def test_a_plan_that_breaks_a_row_is_caught(problem, records):
    def ignore_rows(matrix, _answer):
        matrix.row_upper[matrix.grid_rows] = 1e6
        return shared_worker().run(matrix, gap=0.0, time_limit_s=10.0)

    with pytest.raises(SolveError, match="grid row of T1"):
        solve(problem(rows=[records.row("T1", 30.0)]), worker=Liar(ignore_rows))


def test_flows_that_serve_too_little_are_caught(problem):
    def short(matrix, answer):
        solution = answer.solution.copy()
        solution[matrix.columns["flow"]] *= 0.9
        return Answer(status="optimal", solution=solution, bound=0.0)

    with pytest.raises(SolveError, match="demand of north / web"):
        solve(problem(), worker=Liar(short))


def test_a_bound_above_the_plan_is_caught(problem):
    def boast(_matrix, answer):
        return Answer(
            status="optimal", solution=answer.solution, bound=answer.bound * 1.01
        )

    with pytest.raises(SolveError, match="bound"):
        solve(problem(), worker=Liar(boast))


def test_a_false_infeasible_is_caught(problem):
    calls = []

    def deny(_matrix, answer):  # each try asks once, then looks for what is missing
        calls.append(1)
        return Answer(status="infeasible") if len(calls) % 2 else answer

    with pytest.raises(SolveError, match="serves it all") as caught:
        solve(problem(), worker=Liar(deny))
    assert not isinstance(caught.value, InfeasibleError)


def test_no_plan_in_time_is_an_error_and_not_a_plan(problem):
    def late(_matrix, _answer):
        return Answer(status="time_limit")

    with pytest.raises(NoIncumbentError, match="time_limit_s"):
        solve(problem(), worker=Liar(late), time_limit_s=5.0)


def test_a_plan_at_the_time_limit_says_so_and_has_a_bound_of_its_own(problem, records):
    def stopped(matrix, answer):
        status = "time_limit" if matrix.integer.any() else "optimal"
        return Answer(status=status, solution=answer.solution)

    tight = problem(rows=[records.row("T1", 35.0)])
    plan = solve(tight, worker=Liar(stopped), gap=0.0)
    assert plan.status == "time_limit"
    assert plan.stopped_because.startswith("time limit")
    # without the row and in parts of nodes 330; the best plan within it costs 560
    assert 330.0 < plan.bound < 560.0
    assert plan.gap == pytest.approx((560.0 - plan.bound) / 560.0)
    with pytest.raises(SolveError, match="time_limit") as caught:
        plan.raise_for_status()
    assert caught.value.solution is plan


def test_a_site_left_open_without_a_unit_closes_again(problem, records):
    calls = []

    def waste(matrix, answer):
        calls.append(1)
        solution = answer.solution.copy()
        if len(calls) == 1:
            solution[matrix.columns["is_open"]] = 1.0
        return Answer(status="optimal", solution=solution, bound=answer.bound)

    sites = [
        records.site("b1", fixed_capital=5.0),
        records.site("b2", fixed_capital=5.0),
        records.site("central", "central", fixed_capital=5.0),
    ]
    plan = solve(problem(sites=sites), worker=Liar(waste), gap=0.0)
    assert plan.costs["fixed_capital"] == 10.0


def test_tiny_demand_is_served_to_the_last_watt(problem, records):
    demand = [records.demand("north", "web", 1e-4), records.demand("south", "web", 7.0)]
    plan = solve(problem(demand=demand), gap=0.0)
    north = plan.assignment[plan.assignment["zone_id"] == "north"]
    assert north["it_kw"].sum() == pytest.approx(1e-4, rel=1e-6)


def test_a_killed_solver_process_costs_nothing_but_a_restart(problem):
    solve(problem())
    os.kill(shared_worker().process.pid, signal.SIGKILL)
    assert solve(problem(), gap=0.0).objective == pytest.approx(340.0)


@pytest.mark.parametrize(
    "options",
    [
        {"gap": -0.1},
        {"gap": 5.0},
        {"time_limit_s": 0.0},
        {"max_rounds": 0},
        {"row_margin": -0.1},
        {"gap": np.nan},
    ],
)
def test_options_out_of_range_are_refused(problem, options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        solve(problem(), **options)


# Rounds of replay and cut


def test_rounds_cut_until_the_replay_is_satisfied(problem, records):
    # three nodes, 36 kW; with at most 12 kW the hall serves alone
    grid = Grid(records, limit_kw=12.0)
    told = []
    plan = solve(problem(), gap=0.0, replay=grid, progress=told.append)
    assert plan.status == "optimal"
    assert grid.seen == [36.0, 0.0]
    assert counts(plan) == {"central hall": 1}
    assert plan.rounds["violations"].tolist() == [1, 0]
    assert plan.rounds["rows_added"].tolist() == [1, 0]
    assert plan.cost_of_safety == pytest.approx(560.0 - 340.0)
    assert plan.rows["row_id"].tolist() == ["T1", "cut 1"]
    assert plan.gap_model == pytest.approx(0.0, abs=1e-9)
    assert plan.gap == pytest.approx((560.0 - 340.0) / 560.0)
    assert len(told) == 2


def test_the_bound_is_that_of_rows_relaxed_by_the_margin(problem, records):
    tight = problem(rows=[records.row("T1", 35.0)])  # 36 kW fit with 5 % more
    relaxed = solve(tight, gap=0.0, replay=lambda _: safe(), row_margin=0.05)
    assert relaxed.objective == pytest.approx(560.0)
    assert relaxed.bound == pytest.approx(340.0)
    assert relaxed.gap_model == pytest.approx(0.0, abs=1e-9)
    exact = solve(tight, gap=0.0, replay=lambda _: safe(), row_margin=0.0)
    assert exact.bound == pytest.approx(560.0)


def test_a_replay_that_is_never_satisfied_ends_as_not_verified(problem, records):
    grid = Grid(records, limit_kw=-1.0, tighten=lambda draw: max(draw - 1.0, 0.0))
    plan = solve(problem(), replay=grid, max_rounds=1)
    assert plan.status == "not_verified"
    assert "after 1 rounds" in plan.stopped_because
    assert len(plan.rounds) == 1
    with pytest.raises(SolveError, match="not_verified"):
        plan.raise_for_status()


def test_violations_without_a_row_that_cuts_stop_at_once(problem, records):
    for tighten in (lambda draw: draw, lambda draw: draw + 5.0):
        grid = Grid(records, limit_kw=12.0, tighten=tighten)
        plan = solve(problem(), replay=grid)
        assert plan.status == "not_verified"
        assert "cuts off" in plan.stopped_because
        assert len(grid.seen) == 1
    seen = safe()
    seen.violations = violation()
    assert solve(problem(), replay=lambda _: seen).status == "not_verified"


def test_cuts_that_leave_no_plan_return_the_last_one_as_not_verified(problem, records):
    made = restrict_sites(problem(), ["building"])
    plan = solve(made, replay=Grid(records, limit_kw=0.0))
    assert plan.status == "not_verified"
    assert "transformer cut 1" in plan.stopped_because
    assert plan.served_share["total"] == 1.0
    assert check_plan(made, plan.plan, plan.assignment).empty


def test_a_replay_that_repeats_a_row_name_is_refused(problem, records):
    class Repeating(Grid):
        def __call__(self, plan):
            self.seen = []
            return super().__call__(plan)

    grid = Repeating(records, -1.0, tighten=lambda draw: max(draw - 12.0, 0.0))
    with pytest.raises(DataError, match="twice"):
        solve(problem(), replay=grid)


def test_parts_of_one_site_do_not_stand_in_for_each_other():
    """Two halls for 1 each are one site; what survives its loss costs 100."""
    apart = facility_location([1, 1, 100], [10, 10, 10], [10], [[0], [0], [0]])
    safe = replace(apart, workloads=apart.workloads.assign(redundancy=1))
    assert solve(safe, gap=0.0).objective == pytest.approx(2.0)
    halls = pd.DataFrame({"group_id": "halls", "site_id": ["s0", "s1"], "kind": "area"})
    halls = halls.assign(
        max_units=np.nan, max_kw=np.nan, onboarding_cost=0.0, one_site=True
    )
    assert solve(replace(safe, groups=halls), gap=0.0).objective == pytest.approx(101.0)
