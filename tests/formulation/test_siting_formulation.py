"""
Each constraint of the siting model against one `.lp` file, compared structurally.

The files were written by Pyomo and read line by line against the mathematics in
`gridsite.siting.formulation`; a changed file is to be read the same way.

Positions: options 0 and 1 are a node and a rack at one connection of building 0,
option 2 is a hall at the central site 1, option 3 the rack a period later. What
computes on the rack costs 0.25 per kW more than on the node.
Demand 0 is of workload `batch`, which may stay unserved and has a single source; 1
and 2 are of `web` and have to survive the loss of a site, 1 of a group too. Pool 0 is
the building, pool 1 central. Upgrades 0 and 1 exclude each other, 2 is upgrade 0 a
period later. Loss 0 is of a site of pool 0, loss 1 of group 0.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import pyomo.environ as pyo
import pytest
from pyomo.repn.tests.lp_diff import load_and_compare_lp_baseline
from scipy import sparse

from gridsite.siting import formulation
from gridsite.siting import matrix as matrix_module
from gridsite.siting.formulation_money import money_scale
from gridsite.siting.reduce import ReducedProblem

HERE = Path(__file__).parent
CONSTRAINTS = (
    "cost",
    "demand_met",
    "compute_capacity",
    "computing_units",
    "open_link",
    "own_limit",
    "site_power",
    "site_roof",
    "grid_rows",
    "group_units",
    "group_power",
    "group_link",
    "share_within_target",
    "local_share",
    "single_source",
    "budget",
    "units_stay",
    "installation_rate",
    "upgrades_stay",
    "one_upgrade",
    "largest_site",
    "backup_met",
    "backup_capacity",
)


@pytest.fixture
def reduced():
    nan = np.nan
    return ReducedProblem(
        demands=pd.DataFrame(
            {
                "zone_id": ["n", "n", "s"],
                "workload": ["batch", "web", "web"],
                "share_class": ["batch", "web", "web"],
                "period": 0,
                "local_share": [0.0, 0.0, 0.5],
                "single_source": [True, False, False],
                "redundancy": [0, 2, 1],
                "demand_it_kw": [12.0, 8.0, 5.0],
                "unserved_cost": [9.0, nan, nan],
            }
        ),
        sites=pd.DataFrame(
            {
                "site_id": ["b", "central"],
                "pool": [0, 1],
                "fixed_capital": [0.0, 50.0],
                "max_power_kw": [40.0, nan],
                "priced": [False, True],
                "copies": 1,
                "roof_area_m2": [9.0, nan],
            }
        ),
        options=pd.DataFrame(
            {
                "site": [0, 0, 1, 2],
                "pool": [0, 0, 1, -1],
                "limit": [0, 0, 1, 2],
                "period": [0, 0, 0, 1],
                "rated_kw": [12.0, 30.0, 44.0, 30.0],
                "it_kw": [10.0, 26.0, 40.0, 26.0],
                "footprint_m2": [3.0, 5.0, 0.0, 5.0],
                "own_limit_kw": [24.0, 30.0, nan, nan],
                "lower": [1, 0, 0, 0],
                "upper": [2, 1, 3, 2],
                "each": [2, 1, 3, 2],
                "capital": [3.0, 7.0, 6.0, 0.0],
                "running": [0.5, -1.0, 0.0, 0.0],
                "computing": [0.0, 0.25, 0.0, 0.0],
                "before": [-1, -1, -1, 1],
                "paced": [True, True, False, True],
            }
        ),
        arcs=pd.DataFrame(),
        flows=pd.DataFrame(
            {
                "demand": [0, 0, 1, 2],
                "pool": [0, 1, 1, 0],
                "cost": [2.0, 1.0, 4.0, 2.0],
                "within": [True, False, False, True],
                "local": [True, False, False, False],
            }
        ),
        shares=pd.Series({"web": 0.75}),
        rows=pd.DataFrame({"row_id": ["T", "V"], "limit": [1.0, 0.0]}),
        row_terms=sparse.csr_array([[0.3, 0.75, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]),
        groups=pd.DataFrame(
            {
                "group_id": ["g", "h"],
                "max_units": [2.0, nan],
                "max_kw": [nan, 60.0],
                "onboarding_cost": [4.0, 0.0],
                "one_site": [False, False],
                "priced": [True, False],
            }
        ),
        members=pd.DataFrame({"group": [0, 0, 1], "option": [0, 1, 2]}),
        upgrades=pd.DataFrame(
            {
                "upgrade_id": ["T2", "T3", "T2"],
                "period": [0, 0, 1],
                "capital": [8.0, 12.0, 20.0],
                "upper": [1, 1, 1],
                "before": [-1, -1, 0],
            }
        ),
        upgrade_terms=sparse.csr_array([[0.5, 1.25, 0.0], [0.0, 0.0, 0.0]]),
        excluded=[(0, 1)],
        pace=pd.Series({0: 2.0, 1: 1.0}),
        losses=pd.DataFrame(
            {
                "period": [0, 0],
                "pool": [0, -1],
                "group": [-1, 0],
                "redundancy": [1, 2],
            }
        ),
        budget=100.0,
        constant=-3.0,
    )


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_constraint_reads_as_written(reduced, name, tmp_path):
    model = pyo.ConcreteModel()
    formulation._variables(model, reduced)
    formulation.CONSTRAINTS[name](model, reduced)
    if name != "cost":
        model.nothing = pyo.Objective(expr=0.0)
    written = tmp_path / f"{name}.lp"
    model.write(str(written), io_options={"symbolic_solver_labels": True})
    base, made = load_and_compare_lp_baseline(str(HERE / f"{name}.lp"), str(written))
    assert base == made


def test_a_changed_coefficient_is_seen(reduced, tmp_path):
    model = pyo.ConcreteModel()
    formulation._variables(model, reduced)
    model.nothing = pyo.Objective(expr=0.0)
    reduced.options.loc[0, "it_kw"] = 10.5
    formulation.CONSTRAINTS["compute_capacity"](model, reduced)
    written = tmp_path / "compute_capacity.lp"
    model.write(str(written), io_options={"symbolic_solver_labels": True})
    base, made = load_and_compare_lp_baseline(
        str(HERE / "compute_capacity.lp"), str(written)
    )
    assert base != made


def test_there_is_one_file_per_constraint():
    assert {path.stem for path in HERE.glob("*.lp")} == set(CONSTRAINTS)


def test_the_whole_model_has_every_constraint_and_no_other(reduced):
    model = formulation.build_model(reduced)
    names = {part.name for part in model.component_objects(pyo.Constraint)}
    assert names == set(CONSTRAINTS) - {"cost"}


def test_the_compiled_matrix_is_the_model(reduced):
    model = formulation.build_model(reduced)
    matrix = matrix_module.compile_model(model, reduced)
    rng = np.random.default_rng(0)
    point = rng.uniform(0.0, 2.0, len(matrix.cost))
    for name, column in matrix.columns.items():
        for position, i in enumerate(column):
            if i >= 0:
                getattr(model, name)[position].set_value(point[i], skip_validation=True)
    told = matrix.cost @ point + matrix.offset
    assert told == pytest.approx(pyo.value(model.cost))
    body = matrix.coefficients @ point
    rows = list(model.component_data_objects(pyo.Constraint))
    assert len(rows) == len(body)
    slack = np.minimum(matrix.row_upper - body, body - matrix.row_lower)
    assert sorted(slack) == pytest.approx(sorted(row.slack() for row in rows))
    assert matrix.grid_rows.sum() == 2
    assert matrix.integer.sum() == 4 + 1 + 1 + 3 + 2
    assert matrix.values("unserved", point)[1:].tolist() == [0.0, 0.0]


def test_the_elastic_model_counts_unserved_hard_demand_alone(reduced):
    model = formulation.build_elastic_model(reduced)
    assert len(model.unserved) == 3
    for d, kw in ((0, 100.0), (1, 10.0), (2, 1.0)):
        model.unserved[d].set_value(kw, skip_validation=True)
    assert pyo.value(model.cost) == 11.0


def test_money_is_scaled_by_a_power_of_ten(reduced):
    assert money_scale(reduced) == 1.0
    reduced.flows["cost"] *= 1e6
    reduced.options["capital"] *= 1e6
    assert money_scale(reduced) in (1e5, 1e6)
