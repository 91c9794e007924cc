"""Why there is no plan: hand-made conflicts, and irreducibility judged by scipy."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

from gridsite.errors import InfeasibleError
from gridsite.siting import SitingProblem, conflicting_requirements, solve
from gridsite.siting.conflict import _STRUCTURE
from gridsite.siting.formulation import build_model
from gridsite.siting.matrix import compile_model
from gridsite.siting.presets import facility_location
from gridsite.siting.problem import with_single_source
from gridsite.siting.reduce import reduce_problem


def told(problem):
    found = conflicting_requirements(problem)
    assert found.irreducible
    return list(found.requirements)


def test_a_full_transformer_and_the_zones_behind_it(problem, records):
    made = problem(
        site_options=[
            records.option("b1", "node", unit_capital=100.0),
            records.option("b2", "node", unit_capital=110.0, own_limit_kw=30.0),
        ],
        demand=[
            records.demand("north", "web", 25.0),
            records.demand("south", "web", 8.0),
        ],
        budget=1e6,
    )
    words = told(made)
    assert "transformer T1 at 18:00 leaves 40 kW" in words
    assert "zone 'north' needs 25 kW of 'web' within 100 ms" in words
    # neither the budget nor the connection of b2 has a part in it
    assert not any("budget" in w or "connection" in w for w in words)


def test_a_budget_too_small_is_named_alone_with_what_it_pays_for(problem):
    words = told(problem(budget=250.0))
    assert "the budget is 250" in words
    assert not any("transformer" in w for w in words)


def test_the_loss_of_a_site_without_a_second_one(problem, records):
    made = problem(
        sites=[records.site("b1")],
        site_options=[records.option("b1", "node")],
        arcs=[records.arc("north", "web", "b1", 1.0)],
        demand=[records.demand("north", "web", 5.0)],
        workloads=[records.workload("web", redundancy=1)],
        row_coefficients=records.coefficients("T1", port_b1=1.0),
    )
    assert told(made) == ["'web' survives the loss of site 'b1'"]


def test_a_latency_share_that_no_site_gives(problem, records):
    arcs = [
        records.arc(z, "web", s, 1.0, rtt=50.0)
        for z in ("north", "south")
        for s in ("b1", "b2", "central")
    ]
    share = [records.workload("web", min_share_within_target=0.8)]
    words = told(problem(arcs=arcs, workloads=share))
    assert "80% of 'web' within 20 ms" in words
    assert len(words) == 2


def test_a_problem_with_a_plan_has_no_conflict(problem):
    assert told(problem()) == []


def test_time_that_runs_out_is_said(problem):
    found = conflicting_requirements(problem(budget=250.0), time_limit_s=1e-9)
    assert not found.irreducible or not found.requirements


@st.composite
def tight(draw):
    """Return the tables of a problem that mostly has no plan."""

    def pick(*values):
        return draw(st.sampled_from(values))

    return {
        "demand": [pick(5.0, 15.0, 25.0) for _ in range(2)],
        "headroom": [pick(0.0, 13.0, 25.0) for _ in range(2)],
        "own": [pick(12.0, 24.0, 30.0) for _ in range(2)],
        "budget": pick(None, 100.0, 330.0),
        "share": pick(0.0, 0.5),
        "redundancy": pick(0, 1),
        "most": pick(1.0, 2.0, math.nan),
    }


def feasible(matrix, rows):
    """Ask scipy whether a plan keeps some rows."""
    rows = sorted(rows)
    answer = milp(
        np.zeros(len(matrix.cost)),
        integrality=matrix.integer.astype(int),
        bounds=Bounds(matrix.lower, matrix.upper),
        constraints=LinearConstraint(
            matrix.coefficients.tocsr()[rows].toarray(),
            matrix.row_lower[rows],
            matrix.row_upper[rows],
        ),
    )
    return answer.status == 0


@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(tight())
def test_the_set_conflicts_and_no_part_of_it_does(records, town, made):
    rtt = {"b1": 10.0, "b2": 50.0}
    groups = [records.group("g", b, max_units=made["most"]) for b in ("b1", "b2")]
    tables = town(
        sites=[records.site("b1"), records.site("b2")],
        site_options=[
            records.option(b, "node", unit_capital=100.0, own_limit_kw=own)
            for b, own in zip(("b1", "b2"), made["own"], strict=True)
        ],
        demand=[
            records.demand(z, "web", kw)
            for z, kw in zip(("north", "south"), made["demand"], strict=True)
        ],
        arcs=[
            records.arc(z, "web", b, 1.0, rtt[b])
            for z in ("north", "south")
            for b in ("b1", "b2")
        ],
        rows=[records.row(f"T{i}", kw) for i, kw in enumerate(made["headroom"])],
        row_coefficients=[
            *records.coefficients("T0", port_b1=1.0),
            *records.coefficients("T1", port_b1=1.0, port_b2=0.5),
        ],
        workloads=[
            records.workload(
                "web",
                min_share_within_target=made["share"],
                redundancy=made["redundancy"],
            )
        ],
        groups=groups,
        budget=made["budget"],
    )
    tables["groups"] = pd.DataFrame(groups).astype(
        {"max_units": float, "max_kw": float}
    )
    problem = SitingProblem(**tables)
    found = conflicting_requirements(problem)
    reduced = reduce_problem(problem, reductions=False)
    matrix = compile_model(build_model(reduced), reduced, named=True)
    base = [i for i, (name, _) in enumerate(matrix.names) if name in _STRUCTURE]
    rows = {}
    for i, (name, index) in enumerate(matrix.names):
        key = ("loss", index[0]) if name.startswith("backup") else (name, index)
        rows.setdefault(key, []).append(i)
    every = set(range(len(matrix.names)))
    assert bool(found.keys) == (not feasible(matrix, every))
    own = [rows[key] for key in found.keys]
    if own:
        assert not feasible(matrix, [*base, *itertools.chain(*own)])
    for k in range(len(own)):
        rest = itertools.chain(*own[:k], *own[k + 1 :])
        assert feasible(matrix, [*base, *rest])


def test_demand_that_no_one_site_can_hold_is_named_with_its_sites():
    shared = facility_location([0, 0], [5, 5], [8], [[1], [2]])
    assert not conflicting_requirements(shared).requirements
    found = conflicting_requirements(with_single_source(shared))
    assert found.irreducible
    assert any("'all' of zone 'z0' from one site as a whole" in r
               for r in found.requirements)  # fmt: skip
    assert sum("has room for 1 unit(s), 5 kW" in r for r in found.requirements) == 2
    with pytest.raises(InfeasibleError, match="each demand from one site"):
        solve(shared, single_source=True)


def test_sites_that_cannot_stand_yet_say_from_when_and_are_told_together():
    one = facility_location([0, 0], [5, 5], [4], [[1], [2]])
    units = one.units.assign(lead_periods=1)
    periods = pd.DataFrame(
        {
            "period": [0, 1],
            "start_months": [0.0, 12.0],
            "present_value_factor": [0.5, 0.5],
            "capital_factor": 1.0,
            "max_added_units": np.nan,
        }
    )
    late = replace(one, units=units, periods=periods)
    with pytest.raises(InfeasibleError, match="or can stand yet"):
        solve(late)
    text = str(conflicting_requirements(late))
    assert "each of sites 's0', 's1' can have no unit before period 1" in text
    assert "zone 'z0' needs 4 kW" in text
