"""What a solver that crashes, lies or runs out of time leaves of a plan."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from siting_doubles import Grid, Liar, safe

from gridsite.errors import SolverUnavailableError
from gridsite.siting import solve
from gridsite.siting.check import check_plan
from gridsite.siting.highs import Answer
from gridsite.siting.presets import facility_location


def scattered():
    """Return a problem whose plan is found without HiGHS, but not proven."""
    draw = np.random.default_rng(0)
    need = draw.integers(5, 20, 60).astype(float)
    problem = facility_location(
        draw.integers(50, 150, 12),
        np.full(12, 180.0),
        need,
        3.0 * draw.random((12, 60)),
    )
    return replace(problem, budget=5000.0)  # leaves HiGHS the proof


def test_single_sources_at_the_time_limit_keep_the_plan_at_hand():
    draw = np.random.default_rng(1)
    need = draw.integers(15, 26, 100).astype(float)
    cost = draw.integers(10, 50, (20, 100)) / need
    capacity = np.full(20, 1.03 * need.sum() / 20)
    problem = facility_location(np.zeros(20), capacity, need, cost, single_source=True)
    plan = solve(problem, gap=1e-6, time_limit_s=1.0)
    assert plan.bound <= plan.objective
    assert check_plan(problem, plan.plan, plan.assignment).empty
    assert plan.assignment.groupby("zone_id")["site_id"].nunique().max() == 1


def test_flows_are_settled_with_the_sources_that_were_found():
    open_sources = []

    def watch(matrix, answer):
        columns = matrix.columns["is_source"]
        open_sources.append(bool(matrix.integer[columns[columns >= 0]].any()))
        return answer

    draw = np.random.default_rng(1)
    need = draw.integers(15, 26, 12).astype(float)
    cost, capacity = draw.random((4, 12)), np.full(4, 0.35 * need.sum())
    problem = facility_location(np.zeros(4), capacity, need, cost, single_source=True)
    assert solve(problem, gap=0.0, worker=Liar(watch)).status == "optimal"
    assert open_sources[0]
    assert not open_sources[-1]


def test_a_crash_keeps_the_plan_that_was_found_without():
    problem = scattered()

    def dead(matrix, answer):
        if matrix.integer.any():
            msg = "crashed twice"
            raise SolverUnavailableError(msg)
        return answer

    plan = solve(problem, gap=1e-6, worker=Liar(dead))
    true = solve(problem, gap=1e-6)
    assert plan.status == "time_limit"
    assert plan.bound == plan.own_bound <= true.objective <= plan.objective
    assert check_plan(problem, plan.plan, plan.assignment).empty


@pytest.mark.parametrize("kind", ["bound", "infeasible"])
def test_a_first_wrong_answer_is_asked_for_again(problem, kind):
    calls = []

    def once(_matrix, answer):
        calls.append(1)
        if len(calls) > 1:
            return answer
        if kind == "infeasible":
            return Answer(status="infeasible")
        return replace(answer, bound=answer.bound * 1.01)

    plan = solve(problem(), gap=0.0, worker=Liar(once))
    assert plan.objective == pytest.approx(340.0)


def test_a_wrong_answer_in_a_later_round_ends_as_not_verified(problem, records):
    grid = Grid(records, limit_kw=12.0)

    def later(matrix, answer):
        if not grid.seen:
            return answer
        solution = answer.solution.copy()
        solution[matrix.columns["flow"]] *= 0.9
        return Answer(status="optimal", solution=solution, bound=0.0)

    plan = solve(problem(), gap=0.0, replay=grid, worker=Liar(later))
    assert plan.status == "not_verified"
    assert "demand of north / web" in plan.stopped_because
    assert plan.objective == pytest.approx(340.0)


def test_a_bound_that_contradicts_the_plan_is_not_used(problem, records):
    first = []

    def boast(matrix, answer):
        room = matrix.row_upper[matrix.grid_rows].max()
        first.append(room)
        if room < 1.01 * first[0]:
            return answer
        return replace(answer, bound=10.0 * abs(answer.bound))

    tight = problem(rows=[records.row("T1", 35.0)])  # 36 kW fit with 5 % more
    plan = solve(tight, gap=0.0, replay=lambda _: safe(), worker=Liar(boast))
    assert max(first) > 1.01 * first[0]
    assert plan.bound == plan.own_bound <= 340.0 + 1e-6
    assert plan.objective == pytest.approx(560.0)


@pytest.mark.parametrize(("headroom", "added"), [(10.0, 90.0), (0.0, 100.0)])
def test_the_bound_holds_for_a_grid_whose_works_add_more(
    problem, records, headroom, added
):
    """103 units want site b1; a grid 3 % larger than its rows carries them all."""

    def made(share):
        works = {
            "upgrade_id": "u", "element": "T", "kind": "k", "capital": 1.0,
            "lead_periods": 0, "excludes": "",
        }  # fmt: skip
        effect = {"upgrade_id": "u", "row_id": "r", "added_headroom": share * added}
        return replace(
            problem(
                sites=[records.site("b1"), records.site("b2")],
                site_options=[
                    records.option("b1", "n", max_units=200, unit_capital=1.0),
                    records.option("b2", "n", max_units=200, unit_capital=10.0),
                ],
                units=[records.unit("n", 1.0, 1.0)],
                demand=[records.demand("z", "web", 103.0)],
                arcs=[records.arc("z", "web", s, 1.0) for s in ("b1", "b2")],
                rows=[records.row("r", share * headroom)],
                row_coefficients=records.coefficients("r", port_b1=1.0),
            ),
            upgrades=pd.DataFrame([works]),
            upgrade_effects=pd.DataFrame([effect]),
        )

    plan = solve(made(1.0), gap=0.0, replay=lambda *_: safe())
    larger = solve(made(1.03), gap=0.0)
    assert plan.bound <= larger.objective + 1e-6
    assert larger.objective < plan.objective


def test_a_flow_that_no_demand_asks_for_is_found(problem, records):
    made = problem(
        workloads=[records.workload("web"), records.workload("other")],
        arcs=[
            *(records.arc(z, "web", "central", 2.0) for z in ("north", "south")),
            records.arc("north", "other", "central", -100.0),
        ],
    )
    plan = solve(made, gap=0.0)
    more = plan.assignment.iloc[:1].assign(zone_id="north", workload="other", it_kw=5.0)
    broken = check_plan(made, plan.plan, pd.concat([plan.assignment, more]))
    assert "flows serve demand that exists" in set(broken["where"])
