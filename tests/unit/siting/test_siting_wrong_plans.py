"""Wrong plans over time, with upgrades, losses and locality, each found by name."""

import numpy as np
import pandas as pd
import pytest

from gridsite.errors import DataError
from gridsite.siting import SitingProblem, allow_unserved, check_plan, solve
from gridsite.siting.audit import recomputed_cost
from gridsite.siting.presets import facility_location
from gridsite.siting.problem import with_single_source

ZONES = ("north", "south")


@pytest.fixture
def tables(town, records):
    """Two periods: demand doubles, the transformer is full until it is upgraded."""
    arcs = [
        records.arc(z, "web", s, 1.0) | {"period": t}
        for z in ZONES
        for s in ("b1", "b2", "central")
        for t in (0, 1)
    ]
    demand = [
        records.demand(z, "web", 8.0 * (t + 1)) | {"period": t, "area": area}
        for z, area in zip(ZONES, ("a", "b"), strict=True)
        for t in (0, 1)
    ]
    made = town(
        sites=[
            records.site("b1", fixed_capital=3.0),
            records.site("b2", area="b"),
            records.site("central", "central"),
        ],
        site_options=[
            records.option("b1", "node", unit_capital=100.0, unit_per_year=2.0),
            records.option("b2", "node", unit_capital=110.0, existing_units=1),
            records.option("central", "hall", unit_capital=900.0),
        ],
        units=[
            records.unit("node", 12.0, 10.0),
            records.unit("hall", 44.0, 40.0) | {"lead_periods": 1},
        ],
        workloads=[records.workload("web", redundancy=1, min_local_share=0.4)],
        demand=demand,
        arcs=arcs,
        rows=[records.row("T0", 48.0), records.row("T1", 30.0, period=1)],
        row_coefficients=[
            *records.coefficients("T0", port_b1=1.0, port_b2=1.0),
            *records.coefficients("T1", port_b1=1.0, port_b2=1.0),
        ],
    )
    return made | {
        "upgrades": pd.DataFrame(
            {
                "upgrade_id": ["big", "bigger"],
                "element": "T",
                "kind": "transformer",
                "capital": [20.0, 90.0],
                "lead_periods": 1,
                "excludes": ["bigger", ""],
            }
        ),
        "upgrade_effects": pd.DataFrame(
            {
                "upgrade_id": ["big", "bigger"],
                "row_id": "T1",
                "added_headroom": [70.0, 90.0],
            }
        ),
        "periods": pd.DataFrame(
            {
                "period": [0, 1],
                "start_months": [0.0, 12.0],
                "present_value_factor": [1.0, 2.0],
                "capital_factor": [1.0, 0.8],
                "max_added_units": [4.0, 6.0],
            }
        ),
        "capital_factors": pd.DataFrame(
            {
                "table": "site_options",
                "item": "node",
                "term": "",
                "period": [1],
                "factor": [0.5],
            }
        ),
        "present_value_factor": 3.0,
    }


@pytest.fixture
def solved(tables):
    problem = SitingProblem(**tables)
    plan = solve(problem, gap=0.0)
    return problem, plan.plan, plan.assignment, plan.upgrades


def broken(*parts):
    return set(check_plan(*parts)["requirement"])


def test_the_plan_is_the_one_found_by_hand(solved):
    """
    Two sites of 16 kW survive each other in period 0, of 32 kW in period 1.

    b1 needs 2 nodes (100 each) and b2 one more (110), b1's opening 3; later 2 more
    at each at half price (100 + 110), and the transformer (20 x 0.8). Running: b1
    2 x 2 x 1 + 4 x 2 x 2. Service: (16 + 32) x 1.
    """
    problem, plan, assignment, upgrades = solved
    counts = plan.set_index(["site_id", "period"])["count"].to_dict()
    assert counts == {("b1", 0): 2, ("b1", 1): 4, ("b2", 0): 2, ("b2", 1): 4}
    assert upgrades[["upgrade_id", "period"]].to_numpy().tolist() == [["big", 1]]
    by_hand = 200 + 110 + 3 + 100 + 110 + 16 + 4 + 16 + 48
    assert recomputed_cost(problem, plan, assignment, upgrades) == by_hand
    assert broken(*solved) == set()


def shifted(plan, site, period, by):
    """Return a plan with more or fewer units at one site in one period."""
    table = plan.copy()
    at = (table["site_id"] == site) & (table["period"] == period)
    each = table["rated_kw"] / table["count"], table["it_kw"] / table["count"]
    table.loc[at, "count"] += by
    table.loc[at, "added"] += by
    table["rated_kw"], table["it_kw"] = (x * table["count"] for x in each)
    return table


def test_a_unit_that_goes_away_is_found(solved):
    problem, plan, assignment, upgrades = solved
    wrong = shifted(plan, "b1", 1, -3)
    found = broken(problem, wrong, assignment, upgrades)
    assert {"units stay", "survives the loss of a site", "compute capacity"} <= found


def test_what_is_added_must_follow_from_the_counts(solved):
    problem, plan, assignment, upgrades = solved
    wrong = plan.assign(added=plan["count"])
    told = broken(problem, wrong, assignment, upgrades)
    assert told == {"count is earlier and added"}


def test_an_installation_rate_that_is_passed_is_found(solved):
    problem, plan, assignment, upgrades = solved
    found = broken(problem, shifted(plan, "b1", 1, 3), assignment, upgrades)
    assert {"installation rate", "max units"} <= found


def test_a_unit_before_its_lead_time_is_found(solved):
    problem, plan, assignment, upgrades = solved
    hall = plan.iloc[[0]].assign(
        site_id="central", unit="hall", port_id="", period=[0], count=1, added=1
    )
    hall = hall.assign(rated_kw=44.0, it_kw=40.0)
    both = pd.concat([plan, hall, hall.assign(period=1, added=0)])
    assert broken(problem, both, assignment, upgrades) == {"lead time"}


@pytest.mark.parametrize(
    ("edit", "requirement"),
    [
        (lambda u: u.assign(period=0), "lead time of an upgrade"),
        (lambda u: u.iloc[:0], "grid row"),
        (lambda u: u.assign(upgrade_id="none"), "table"),
        (lambda u: pd.concat([u, u]), "table"),
        (
            lambda u: pd.concat([u, u.assign(upgrade_id="bigger")]),
            "one of both upgrades",
        ),
    ],
    ids=["early", "missing", "unknown", "twice", "both"],
)
def test_wrong_upgrades_are_found(solved, edit, requirement):
    problem, plan, assignment, upgrades = solved
    assert requirement in broken(problem, plan, assignment, edit(upgrades))


def test_a_lost_site_without_a_stand_in_is_found(solved):
    problem, plan, assignment, upgrades = solved
    alone = shifted(plan, "b2", 0, -1)
    found = check_plan(problem, alone, assignment, upgrades)
    lost = found[found["requirement"] == "survives the loss of a site"]
    assert lost["where"].tolist() == ["b1 / 0"]
    assert lost["value"].tolist() == pytest.approx([6.0])


def test_demand_served_outside_its_area_is_found(solved):
    problem, plan, assignment, upgrades = solved
    other = assignment.assign(site_id="b2")
    keys = ["zone_id", "workload", "site_id", "period"]
    other = other.groupby(keys, as_index=False).agg({"it_kw": "sum", "rtt_ms": "max"})
    found = check_plan(problem, plan, other, upgrades)
    local = found[found["requirement"] == "local share"]
    assert local["where"].tolist() == ["north / web / 0", "north / web / 1"]


def test_a_lost_group_without_a_stand_in_is_found(tables, records):
    groups = [records.group("f", "b1"), records.group("f", "b2")]
    groups = pd.DataFrame(groups).astype({"max_units": float, "max_kw": float})
    plan = solve(SitingProblem(**tables), gap=0.0)
    strict = tables["workloads"].assign(redundancy=2)
    problem = SitingProblem(**tables | {"groups": groups, "workloads": strict})
    found = check_plan(problem, plan.plan, plan.assignment, plan.upgrades)
    assert set(found["requirement"]) == {"survives the loss of a group"}
    assert found["where"].tolist() == ["f / 0", "f / 1"]


def test_a_site_of_several_parts_that_is_lost_without_a_stand_in_is_found(
    tables, records
):
    """Redundancy 1 takes both buildings for one site once they are one."""
    groups = [records.group("f", b, one_site=True) for b in ("b1", "b2")]
    groups = pd.DataFrame(groups).astype({"max_units": float, "max_kw": float})
    plan = solve(SitingProblem(**tables), gap=0.0)
    whole = SitingProblem(**tables | {"groups": groups})
    found = check_plan(whole, plan.plan, plan.assignment, plan.upgrades)
    assert set(found["requirement"]) == {"survives the loss of a site"}
    assert found["where"].tolist() == ["f / 0", "f / 1"]
    with pytest.raises(DataError, match="different caps or costs within group 'f'"):
        SitingProblem(**tables | {"groups": groups.assign(one_site=[True, False])})


def test_a_budget_that_upgrades_pass_is_found(tables):
    plan = solve(SitingProblem(**tables), gap=0.0)
    parts = plan.plan, plan.assignment, plan.upgrades
    spent = 200 + 110 + 3 + 100 + 110 + 16
    tight = SitingProblem(**tables | {"budget": spent - 1.0})
    assert broken(tight, *parts) == {"budget"}
    assert broken(SitingProblem(**tables | {"budget": spent}), *parts) == set()


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("site_options", "unit_capital"),
        ("site_options", "unit_per_year"),
        ("sites", "fixed_capital"),
        ("arcs", "cost_per_it_kw"),
        ("upgrades", "capital"),
        ("periods", "capital_factor"),
    ],
)
def test_the_cost_is_recomputed_from_every_input(tables, table, column):
    problem = SitingProblem(**tables)
    plan = solve(problem, gap=0.0)
    parts = plan.plan, plan.assignment, plan.upgrades
    changed = tables[table].copy()
    changed[column] *= 0.9
    other = SitingProblem(**tables | {table: changed})
    assert recomputed_cost(other, *parts) < plan.objective - 0.1
    assert recomputed_cost(problem, *parts) == pytest.approx(plan.objective, rel=1e-12)


def test_not_a_number_is_never_right(solved):
    problem, plan, assignment, upgrades = solved
    wrong = assignment.assign(it_kw=np.nan)
    assert "flow is not negative" in broken(problem, plan, wrong, upgrades)
    late = assignment.assign(rtt_ms=np.nan)
    assert "round-trip time of the arc" in broken(problem, plan, late, upgrades)


def test_demand_that_is_shared_or_served_in_part_is_found():
    shared = facility_location([0, 0], [5, 5], [3, 3], [[1, 2], [2, 1]])
    plan = solve(shared, gap=0.0)
    single = with_single_source(shared)
    assert check_plan(single, plan.plan, plan.assignment).empty
    half = plan.assignment.assign(it_kw=1.5)
    other = half.assign(site_id=half["site_id"].map({"s0": "s1", "s1": "s0"}))
    found = check_plan(single, plan.plan, pd.concat([half, other]))
    assert set(found["requirement"]) == {"single source"}
    assert found["where"].tolist() == ["z0 / all", "z1 / all"]
    soft = allow_unserved(single, 9.0)
    found = check_plan(soft, plan.plan, half)
    assert set(found["requirement"]) == {"served whole"}
    assert check_plan(soft, plan.plan, half.iloc[:0]).empty
