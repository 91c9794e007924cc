import numpy as np
import pandas as pd
import pytest

from gridsite.siting import check_plan, solve


@pytest.fixture
def solved(problem, records):
    """A problem in which every kind of requirement is met with equality or near."""
    groups = [
        records.group("g", "b1", max_units=2.0, max_kw=24.0, onboarding_cost=5.0),
        records.group("g", "b2", max_units=2.0, max_kw=24.0, onboarding_cost=5.0),
    ]
    made = problem(
        sites=[
            records.site("b1", max_power_kw=13.0, fixed_capital=1.0),
            records.site("b2", max_power_kw=13.0),
            records.site("central", "central"),
        ],
        site_options=[
            records.option("b1", "node", unit_capital=100.0, own_limit_kw=30.0),
            records.option("b2", "node", unit_capital=110.0, own_limit_kw=30.0),
            records.option("central", "hall", unit_capital=500.0, max_units=1),
        ],
        demand=[records.demand(z, "web", 29.0) for z in ("north", "south")],
        groups=groups,
        budget=900.0,
        workloads=[records.workload("web", min_share_within_target=0.3)],
        rows=[records.row("T1", 24.0)],
    )
    plan = solve(made, gap=0.0)
    return made, plan.plan, plan.assignment


def broken(problem, plan, assignment):
    return set(check_plan(problem, plan, assignment)["requirement"])


def test_a_good_plan_breaks_nothing(solved):
    assert broken(*solved) == set()


def test_an_empty_plan_serves_nobody(solved):
    made, plan, assignment = solved
    found = check_plan(made, plan.iloc[:0], assignment.iloc[:0])
    assert set(found["requirement"]) == {"demand"}
    assert set(found["where"]) == {"north / web", "south / web"}


def with_count(plan, site, count):
    """Return a consistent plan with another count at one site."""
    table = plan.copy()
    at = table["site_id"] == site
    each = table["rated_kw"] / table["count"], table["it_kw"] / table["count"]
    table.loc[at, ["count", "added"]] = count
    table["rated_kw"], table["it_kw"] = (x * table["count"] for x in each)
    return table


def test_too_many_units_break_every_limit_that_they_pass(solved):
    made, plan, assignment = solved
    assert broken(made, with_count(plan, "b1", 5), assignment) == {
        "max units",
        "own limit",
        "site power",
        "grid row",
        "group units",
        "group power",
        "budget",
    }


def test_too_few_units_cannot_serve_what_they_are_given(solved):
    made, plan, assignment = solved
    smaller = plan[plan["site_id"] != "b1"]
    assert broken(made, smaller, assignment) == {"compute capacity"}


@pytest.mark.parametrize(
    ("column", "value", "requirement"),
    [
        ("count", 7, "count is earlier and added"),
        ("rated_kw", 1.0, "rated_kw of the plan"),
        ("it_kw", np.nan, "it_kw of the plan"),
        ("unit", "hall", "table"),
    ],
)
def test_a_plan_that_contradicts_itself_is_found(solved, column, value, requirement):
    made, plan, assignment = solved
    plan = plan.copy()
    plan[column] = plan[column].astype(object)
    plan.loc[plan["site_id"] == "b1", column] = value
    types = {"count": float, "rated_kw": float, "it_kw": float}
    assert requirement in broken(made, plan.astype(types), assignment)


@pytest.mark.parametrize(
    ("factor", "requirement"),
    [
        (0.9, "demand"),
        (1.1, "no more than demand"),
        (-1.0, "flow is not negative"),
        (np.nan, "flow is not negative"),
    ],
)
def test_flows_that_miss_the_demand_are_found(solved, factor, requirement):
    made, plan, assignment = solved
    wrong = assignment.assign(it_kw=assignment["it_kw"] * factor)
    assert requirement in broken(made, plan, wrong)


def test_a_flow_without_an_arc_is_found(solved):
    made, plan, assignment = solved
    assert "table" in broken(made, plan, assignment.assign(zone_id="west"))
    twice = pd.concat([assignment, assignment.iloc[:1]])
    assert "table" in broken(made, plan, twice)


def test_a_share_below_its_floor_and_a_late_flow_are_found(solved):
    made, plan, assignment = solved
    told = {"round-trip time of the arc", "share within target"}
    assert broken(made, plan, assignment.assign(rtt_ms=21.0)) == told
    found = broken(made, plan, assignment.assign(rtt_ms=101.0))
    assert found == told | {"latency limit"}


def test_a_violation_of_a_millionth_counts_and_less_does_not(problem, records):
    def rows(headroom):
        made = problem(rows=[records.row("T1", headroom)])
        return broken(made, plan.plan, plan.assignment)

    plan = solve(problem(), gap=0.0)
    draw = float(plan.plan.loc[plan.plan["site_id"] != "central", "rated_kw"].sum())
    assert rows(draw * (1 - 0.9e-6)) == set()
    assert rows(draw * (1 - 1.1e-6)) == {"grid row"}
