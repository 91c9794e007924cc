"""Rows for the siting model: what they promise and what AC says."""

from __future__ import annotations

import numpy as np
import pandapower as pp
import pandas as pd
import pytest

from gridsite.feeder.read_pandapower import read_feeder
from gridsite.hosting import growth
from gridsite.hosting.ac_replay import plan_voltages, replay_loads
from gridsite.hosting.grid_case import GridCase
from gridsite.hosting.joint import cut_rows, grid_rows
from gridsite.hosting.limits import Limits
from gridsite.schemas import check_table

LIMITS = Limits(
    voltage_min_pu=0.94,
    criteria=("voltage", "line current", "transformer current", "source"),
    source_kva=110.0,
)


@pytest.fixture
def grid(village_feeder, profiles):
    feeder = village_feeder()
    return GridCase(feeder, profiles(feeder, steps=12, seed=1), LIMITS)


def matrix(rows, coefficients, ports):
    """Return coefficients as an array, one row per row of the table."""
    wide = coefficients.pivot_table(
        index="row_id", columns="port_id", values="coefficient", fill_value=0.0
    )
    return wide.reindex(index=rows["row_id"], columns=ports, fill_value=0.0).to_numpy()


def use_of_rows(rows, coefficients, plan):
    """Return what a plan draws of each row over its headroom."""
    a = matrix(rows, coefficients, plan.index)
    return pd.Series(a @ plan.to_numpy() / rows["headroom"].to_numpy(), rows["row_id"])


def inside(rows, coefficients, ports, share, rng):
    """Return a random plan that draws the share of its tightest row."""
    plan = pd.Series(rng.dirichlet(np.full(len(ports), 0.7)), ports)
    return plan * share / use_of_rows(rows, coefficients, plan).max()


@pytest.mark.parametrize("seed", range(5))
def test_plan_inside_all_rows_by_a_margin_is_clean_at_their_steps(grid, seed):
    feeder = grid.feeder
    ports = feeder.load_ports.index
    rows, coefficients = grid_rows(grid, ports)
    check_table("rows", rows)
    check_table("row_coefficients", coefficients)
    plan = inside(rows, coefficients, ports, 0.95, np.random.default_rng(seed))
    result = replay_loads(feeder, grid.profiles, plan, grid=grid)
    at = result.violations["time"].isin(rows["time"])
    assert result.violations[at].empty, (plan, result.violations[at])


@pytest.mark.parametrize("seed", range(4))
def test_plan_well_outside_a_row_breaks_a_limit(grid, seed):
    ports = grid.feeder.load_ports.index
    rows, coefficients = grid_rows(grid, ports)
    plan = inside(rows, coefficients, ports, 1.15, np.random.default_rng(seed))
    result = replay_loads(grid.feeder, grid.profiles, plan, grid=grid)
    assert result.summary["new"] > 0


def test_rows_stand_in_their_units(grid):
    ports = grid.feeder.load_ports.index
    rows, coefficients = grid_rows(grid, ports)
    assert rows["row_id"].is_unique
    assert set(rows["unit"]) == {"%", "A"}
    a = pd.DataFrame(matrix(rows, coefficients, ports), rows["row_id"], ports)
    line = rows[rows["element"] == "L3"].iloc[0]
    assert line["unit"] == "A"
    # 1 kW at 0.98 and 0.95 to 1 pu draws 1.47 to 1.56 A of 400 V
    assert 1.47 < a.loc[line["row_id"], "house 3"] < 1.56
    assert (a.loc[line["row_id"], ["house 1", "house 5"]] < 0.1).all()
    assert 0.0 < line["headroom"] < 90.0
    volts = rows[rows["unit"] == "%"].iloc[0]
    case = grid.block("T")
    node = grid.feeder.nodes["bus"].iloc[case.block.nodes].tolist()
    at = node.index(volts["element"])
    step = np.array([case.time.get_loc(volts["time"])])
    before = abs(case.v[at, step[0]])
    assert volts["headroom"] == pytest.approx(100.0 * (before - 0.94), abs=1e-6)
    order = grid.feeder.ports.index[case.block.ports]
    more = pd.Series({"house 3": 10.0}).reindex(order, fill_value=0.0).to_numpy()
    after = abs(plan_voltages(case, more, step)[at, 0])
    known = 100.0 * (before - after) / 10.0
    assert a.loc[volts["row_id"], "house 3"] == pytest.approx(known, rel=0.05)


def test_rows_hold_only_the_ports_asked_for(grid):
    rows, coefficients = grid_rows(grid, pd.Index(["house 3"]))
    assert set(coefficients["port_id"]) == {"house 3"}
    assert set(coefficients["row_id"]) == set(rows["row_id"])
    none, nothing = grid_rows(grid, pd.Index([], dtype=object))
    assert none.empty
    assert nothing.empty


def test_every_row_that_is_left_out_is_implied(grid):
    ports = grid.feeder.load_ports.index
    rows, coefficients = grid_rows(grid, ports)
    case = grid.block("T")
    rng = np.random.default_rng(3)
    for _ in range(12):
        plan = inside(rows, coefficients, ports, 0.95, rng)
        order = grid.feeder.ports.index[case.block.ports]
        v = plan_voltages(case, plan.reindex(order).to_numpy())
        worst = case.slack.argmin(axis=1)
        left = case.row_slack(v)[np.arange(case.n_row), worst]
        assert (left >= 0.0).all()


@pytest.mark.parametrize("seed", range(4))
def test_cuts_cut_off_the_violating_plan_and_not_half_of_it(grid, seed):
    feeder = grid.feeder
    ports = feeder.load_ports.index
    rows, coefficients = grid_rows(grid, ports)
    plan = inside(rows, coefficients, ports, 1.2, np.random.default_rng(seed))
    result = replay_loads(feeder, grid.profiles, plan, grid=grid)
    assert len(result.violations)
    cuts, more = cut_rows(grid, ports, plan, result.violations, 1)
    check_table("rows", cuts)
    check_table("row_coefficients", more)
    use = use_of_rows(cuts, more, plan)
    assert (use > 1.0).all()
    half = replay_loads(feeder, grid.profiles, 0.5 * plan, grid=grid)
    assert half.violations.empty
    assert (use_of_rows(cuts, more, 0.5 * plan) <= 1.0).all()
    assert (more["coefficient"] >= 0.0).all()


@pytest.mark.parametrize("seed", range(4))
def test_rounds_of_cuts_end_at_a_clean_plan_near_the_limit(grid, seed):
    feeder = grid.feeder
    ports = feeder.load_ports.index
    rows, coefficients = grid_rows(grid, ports)
    rng = np.random.default_rng(seed)
    plan = inside(rows, coefficients, ports, 1.1, rng)
    start = plan.sum()
    every, all_of_them = [rows], [coefficients]
    for round_number in range(1, 9):
        result = replay_loads(feeder, grid.profiles, plan, grid=grid)
        if result.violations.empty:
            break
        cuts, more = cut_rows(grid, ports, plan, result.violations, round_number)
        every, all_of_them = [*every, cuts], [*all_of_them, more]
        stacked, together = pd.concat(every), pd.concat(all_of_them)
        assert stacked["row_id"].is_unique
        plan = plan / use_of_rows(stacked, together, plan).max()
    assert result.violations.empty
    assert plan.sum() > 0.8 * start
    further = replay_loads(feeder, grid.profiles, 1.02 * plan, grid=grid)
    assert len(further.violations)


def test_broken_limit_leaves_less_than_the_materiality(village, profiles):
    net = village(ratings_a=(150.0, 120.0, 90.0, 10.0, 70.0))
    feeder = read_feeder(net)
    grid = GridCase(feeder, profiles(feeder, steps=6, high=2.5), LIMITS)
    case = grid.block("T")
    assert case.broken.any()
    ports = feeder.load_ports.index
    rows, coefficients = grid_rows(grid, ports)
    plan = inside(rows, coefficients, ports, 1.0, np.random.default_rng(0))
    assert plan["house 4"] < 0.05
    result = replay_loads(feeder, grid.profiles, plan, grid=grid)
    at = result.violations["time"].isin(rows["time"])
    assert result.summary["base_violations"] > 0
    assert not (result.violations[at]["element"] == "L4").any()


def test_plan_beyond_collapse_is_cut_off_too(grid):
    feeder = grid.feeder
    ports = feeder.load_ports.index
    plan = pd.Series(2e3, ports)
    result = replay_loads(feeder, grid.profiles, plan, grid=grid)
    assert result.summary["not_converged"] == 12
    cuts, more = cut_rows(grid, ports, plan, result.violations, 1)
    assert len(cuts)
    assert (use_of_rows(cuts, more, plan) > 1.0).any()


def test_cuts_of_two_feeders_are_told_apart(village, profiles):
    net = village()
    lv = pp.create_bus(net, 0.4, name="second lv")
    far = pp.create_bus(net, 0.4, name="second end")
    pp.create_transformer_from_parameters(
        net, 0, lv, 0.05, 20.0, 0.4, 1.4, 4.0, 0.3, 0.3, name="T2"
    )
    pp.create_line_from_parameters(
        net, lv, far, 0.1, 0.32, 0.08, 0.0, 0.05, name="L far"
    )
    pp.create_load(net, far, 0.004, 0.001, name="house far")
    feeder = read_feeder(net)
    limits = Limits(criteria=("voltage", "line current", "transformer current"))
    grid = GridCase(feeder, profiles(feeder, steps=2), limits)
    ports = feeder.load_ports.index
    rows, coefficients = grid_rows(grid, ports)
    feeder_of = rows.set_index("row_id")["feeder_id"]
    port_of = feeder.ports["feeder_id"]
    assert (
        feeder_of.loc[coefficients["row_id"]].to_numpy()
        == port_of.loc[coefficients["port_id"]].to_numpy()
    ).all()
    plan = pd.Series({"house far": 45.0})
    result = replay_loads(feeder, grid.profiles, plan, grid=grid)
    cuts, _ = cut_rows(grid, ports, plan, result.violations, 1)
    assert set(cuts["feeder_id"]) == {"T2"}


def test_a_cut_of_a_large_block_still_cuts_off_the_plan(
    village_feeder, profiles, monkeypatch
):
    feeder = village_feeder()
    loads = profiles(feeder)
    grid = GridCase(feeder, loads, Limits())
    ports = feeder.load_ports.index
    plan = pd.Series(60.0, index=ports)
    found = replay_loads(feeder, loads, plan, grid=grid).violations
    assert len(found)
    monkeypatch.setattr(growth, "_MEASURED_VALUES", 0)
    rows, terms = cut_rows(grid, ports, plan, found, 1)
    drawn = terms["coefficient"] * plan[terms["port_id"]].to_numpy()
    used = drawn.groupby(terms["row_id"]).sum()
    left = rows.set_index("row_id")["headroom"]
    assert len(rows)
    assert (used[left.index] > left).all()
