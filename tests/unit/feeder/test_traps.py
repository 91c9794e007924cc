"""Traps met in other tools, each with a test of its own (table: docs/validation.md)."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pandapower as pp
import pandas as pd
import pytest
from pandapower import networks

from gridsite.errors import BaseCaseError, DataError
from gridsite.feeder.powerflow import Block
from gridsite.feeder.profiles import dense_profiles
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.feeder.states import States, filed_states
from gridsite.hosting.capacity import hosting_capacity
from gridsite.hosting.grid_case import GridCase
from gridsite.hosting.limits import Limits


def make_street():
    """Return a station, three houses in a row and a second way round that is open."""
    net = pp.create_empty_network(name="street")
    pp.create_bus(net, 20.0, name="mv")
    for name in ("lv", "near", "mid", "far"):
        pp.create_bus(net, 0.4, name=name)
    pp.create_ext_grid(net, 0, vm_pu=1.01, va_degree=5.0, name="grid")
    pp.create_transformer_from_parameters(
        net, 0, 1, 0.25, 20.0, 0.4, 1.4, 4.0, 0.4, 0.4, name="T", shift_degree=150.0
    )
    for a, b in ((1, 2), (2, 3), (3, 4), (1, 4)):
        pp.create_line_from_parameters(
            net, a, b, 0.2, 0.32, 0.083, 210.0, 0.2, name=f"line {a}-{b}"
        )
    pp.create_switch(net, 4, 3, et="l", closed=False)
    for bus in (2, 3, 4):
        pp.create_load(net, bus, 0.012, 0.003, name=f"house {bus}")
    return net


def series(feeder, *, steps=200, seed=0):
    """Return generated hourly profiles of every port."""
    time = pd.date_range("2025-01-01", periods=steps, freq="h", tz="UTC")
    shape = np.random.default_rng(seed).uniform(0.1, 2.0, (steps, len(feeder.ports)))
    p = pd.DataFrame(shape * feeder.ports["p_kw"].to_numpy(), time, feeder.ports.index)
    return dense_profiles(time, p, power_factor=0.97)


def block_states(case, step):
    """Return the states of a base case, cut to some steps and copied."""
    states = case.states
    return replace(
        states,
        p_shapes=np.ascontiguousarray(states.p_shapes[:, step]),
        q_shapes=np.ascontiguousarray(states.q_shapes[:, step]),
    )


def base_case(net, **options):
    feeder = read_feeder(net)
    grid = GridCase(feeder, series(feeder, **options), Limits())
    (feeder_id,) = grid.feeder_ids
    return grid.block(feeder_id)


# --- N1, N2: a step that diverges ---


def test_n1_n2_a_step_without_solution_leaves_all_others_alone_and_is_nan():
    case = base_case(make_street())
    every = np.arange(200)
    p = case.states.p_shapes.copy()
    hopeless = [0, 57, 58, 199]
    p[:, hopeless] *= 1e4
    found = case.block.solve(replace(case.states, p_shapes=p), every)
    good = np.setdiff1d(every, hopeless)
    clean = case.block.solve(case.states, every)
    assert np.flatnonzero(~found.converged).tolist() == hopeless
    np.testing.assert_array_equal(found.v[:, good], clean.v[:, good])
    assert np.isnan(found.v[:, hopeless]).all()
    assert np.isnan(found.residual_kva[hopeless]).all()
    assert not (found.v == 0.0).any()


def test_n1_a_base_case_with_one_hopeless_step_is_refused_with_its_time():
    feeder = read_feeder(make_street())
    loads = series(feeder)
    p = loads.p_shapes.copy()
    p[:, 57] *= 1e4
    with pytest.raises(BaseCaseError, match="2025-01-03 09:00"):
        hosting_capacity(feeder, replace(loads, p_shapes=p))


# --- N8: near the nose ---


def nose_kw(r, x, tan_phi):
    """Return the largest load behind an impedance at 1 pu, 0.4 kV. [kW]"""
    # v^4 + v^2 (2 (p r + q x) - 1) + (p^2 + q^2) z^2 = 0 has a double root
    size = np.sqrt(1.0 + tan_phi**2) * np.hypot(r, x)
    return 0.4**2 * 1e3 / 2.0 / (r + x * tan_phi + size)


def test_n8_states_just_below_the_nose_converge_and_just_above_never_pass():
    net = pp.create_empty_network()
    a, b = pp.create_bus(net, 0.4), pp.create_bus(net, 0.4)
    pp.create_ext_grid(net, a)
    pp.create_line_from_parameters(net, a, b, 1.0, 0.3, 0.1, 0.0, 99.0, name="long")
    pp.create_load(net, b, 0.001, 0.0, name="house")
    feeder = read_feeder(net)
    block = Block(feeder, "feeder 0")
    share = np.array([0.5, 0.9, 0.97, 1.01, 1.1, 2.0])
    kw = nose_kw(0.3, 0.1, 0.2) * share
    states = States(
        p_shapes=kw[None, :] / feeder.base_kva,
        q_shapes=0.2 * kw[None, :] / feeder.base_kva,
        shape_of_port=np.zeros(1, dtype=np.int64),
        p_scale=np.ones(1),
        q_scale=np.ones(1),
        spread=np.zeros(1),
        tan_phi=0.0,
    )
    found = block.solve(states, np.arange(len(kw)))
    assert found.converged.tolist() == [True, True, True, False, False, False]
    assert found.residual_kva[:3].max() < 1e-2
    # the upper branch, where loads run, above half of the no-load voltage
    assert (np.abs(found.v[0, :3]) > 0.5).all()
    no_limit = replace(Limits(), criteria=("line current",))
    loads = dense_profiles(
        pd.date_range("2025-01-01", periods=2, freq="h", tz="UTC"),
        pd.DataFrame({"house": [1.0, 2.0]}),
        power_factor=0.98,
    )
    table = hosting_capacity(feeder, loads, limits=no_limit)
    assert table["firm_status"].tolist() == ["not_converged"]
    assert table["firm_kw"].isna().all()  # collapse is never a capacity


# --- N13, N14: switches ---


@pytest.mark.parametrize("side", ["hv", "lv"])
def test_n14_a_transformer_open_at_one_side_draws_its_no_load_current(side):
    net = make_street()
    pp.create_transformer_from_parameters(
        net, 0, 1, 0.4, 20.0, 0.4, 1.2, 4.0, 0.6, 0.5, name="spare", shift_degree=150.0
    )
    bus = 0 if side == "hv" else 1
    pp.create_switch(net, bus, 1, et="t", closed=False)
    feeder = read_feeder(net)
    pp.runpp(net, calculate_voltage_angles=True, tolerance_mva=1e-9, numba=False)
    v = snapshot(feeder)
    known = net.res_bus["vm_pu"].set_axis(net.bus["name"])
    assert (v[known.index].abs() - known).abs().max() < 1e-8
    current = np.abs(feeder.terminal_y @ v.to_numpy()) * feeder.terminals["base_a"]
    at = (feeder.terminals["element"] == "spare") & (feeder.terminals["side"] != side)
    drawn = net.res_trafo.loc[1, ["i_hv_ka", "i_lv_ka"]].max() * 1e3
    assert current[at].max() == pytest.approx(drawn, rel=1e-5, abs=1e-6)
    assert drawn > 0.01
    off = copy.deepcopy(net)
    off.trafo.loc[1, "in_service"] = False
    assert "spare" not in read_feeder(off).elements.index


def test_n13_a_chain_of_closed_switches_is_one_node_and_loads_at_it_add_up():
    net = make_street()
    last = 4
    for k in range(3):
        new = pp.create_bus(net, 0.4, name=f"cabinet {k}")
        pp.create_switch(net, last, new, et="b", closed=True)
        pp.create_load(net, new, 0.004, 0.001, name=f"flat {k}")
        last = new
    feeder = read_feeder(net)
    at = feeder.ports.loc[["house 4", "flat 0", "flat 1", "flat 2"], "node"]
    assert len(set(at)) == 1
    pp.runpp(net, tolerance_mva=1e-9, numba=False)
    v = snapshot(feeder).abs()
    assert v.iloc[at.iloc[0]] == pytest.approx(net.res_bus["vm_pu"].iloc[-1], abs=1e-8)


def test_n13_ratings_of_switches_and_fused_lines_are_said_to_be_unchecked():
    net = make_street()
    annex, shed = (pp.create_bus(net, 0.4, name=n) for n in ("annex", "shed"))
    pp.create_switch(net, 4, annex, et="b", closed=True, in_ka=0.1)
    pp.create_line_from_parameters(net, annex, shed, 0.0, 0.3, 0.1, 0.0, 0.05)
    notes = " ".join(read_feeder(net).notes)
    assert "1 closed switch(es) have a rated current (in_ka): not checked" in notes
    assert "1 zero-length line(s) taken as closed switches: their ratings" in notes
    net.switch["in_ka"] = np.nan
    assert "in_ka" not in " ".join(read_feeder(net).notes)


def snapshot(feeder):
    """Return voltage by bus with every port at its filed power. [pu]"""
    v = pd.Series(np.nan + 0j, index=feeder.nodes["bus"])
    v.iloc[feeder.source_nodes] = feeder.source_v
    for feeder_id in set(feeder.nodes["feeder_id"]) - {""}:
        block = Block(feeder, feeder_id)
        states = filed_states(block, feeder.ports)
        v.iloc[block.nodes] = block.solve(states, np.zeros(1, dtype=np.int64)).v[:, 0]
    return v


# --- N16: no rating ---


def test_n16_loads_behind_an_impedance_without_rating_are_unrated():
    net = make_street()
    beyond = pp.create_bus(net, 0.4, name="beyond")
    pp.create_impedance(net, 4, beyond, 0.02, 0.04, 0.25, name="reactor")
    pp.create_load(net, beyond, 0.004, 0.001, name="house 5")
    feeder = read_feeder(net)
    table = hosting_capacity(feeder, series(feeder, steps=5))
    status = table.set_index("building_id")["firm_status"]
    assert status.to_dict() == {
        "house 2": "ok",
        "house 3": "ok",
        "house 4": "ok",
        "house 5": "unrated",
    }
    assert (table["limit_element"] == "reactor").sum() == 1
    assert any("impedance" in note for note in feeder.notes)
    pp.runpp(net, calculate_voltage_angles=True, tolerance_mva=1e-9, numba=False)
    known = net.res_bus["vm_pu"].set_axis(net.bus["name"])
    assert (snapshot(feeder)[known.index].abs() - known).abs().max() < 1e-8


# --- N3, N17: transformers ---


def test_n3_a_second_tap_changer_without_a_type_acts_too():
    net = make_street()
    values = {"side": "lv", "neutral": 0, "min": -3, "max": 3, "step_percent": 1.5}
    for name, value in {**values, "step_degree": 0.0, "pos": 2}.items():
        net.trafo[f"tap2_{name}"] = value
    net.trafo["tap2_changer_type"] = None
    feeder = read_feeder(net)
    assert any("tap changer" in note for note in feeder.notes)
    net.trafo["tap2_changer_type"] = "Ratio"
    pp.runpp(net, calculate_voltage_angles=True, tolerance_mva=1e-9, numba=False)
    known = net.res_bus["vm_pu"].set_axis(net.bus["name"])
    assert (snapshot(feeder)[known.index].abs() - known).abs().max() < 1e-8


@pytest.mark.parametrize(
    ("kind", "degree"), [("Ratio", 0.0), ("Symmetrical", 30.0), ("Tabular", 0.0)]
)
@pytest.mark.parametrize("side", ["hv", "lv"])
def test_n3_taps_of_every_kind_act_as_in_pandapower(kind, degree, side):
    net = make_street()
    net.trafo = net.trafo.assign(
        tap_side=side,
        tap_neutral=0.0,
        tap_min=-5.0,
        tap_max=5.0,
        tap_step_percent=2.5,
        tap_step_degree=degree,
        tap_pos=2.0,
        tap_changer_type=kind,
    )
    if kind == "Tabular":
        empty = ["vk_hv", "vkr_hv", "vk_mv", "vkr_mv", "vk_lv", "vkr_lv"]
        net["trafo_characteristic_table"] = pd.DataFrame(
            {
                "id_characteristic": 0,
                "step": [-2, 0, 2],
                "voltage_ratio": [0.95, 1.0, 1.05],
                "angle_deg": [0.0, 0.0, 1.0],
                "vk_percent": [4.4, 4.0, 3.7],
                "vkr_percent": [1.45, 1.4, 1.35],
                **{f"{name}_percent": np.nan for name in empty},
            }
        )
        net.trafo["id_characteristic_table"] = 0
        net.trafo["tap_dependency_table"] = True
    feeder = read_feeder(net)
    pp.runpp(net, calculate_voltage_angles=True, tolerance_mva=1e-9, numba=False)
    angle = np.exp(1j * np.deg2rad(net.res_bus["va_degree"]))
    known = (net.res_bus["vm_pu"] * angle).set_axis(net.bus["name"])
    assert (snapshot(feeder)[known.index] - known).abs().max() < 1e-8
    assert abs(abs(known["lv"]) - 1.0) > 0.02  # the tap moves something


def test_n17_each_winding_of_a_three_winding_transformer_limits_a_load():
    net = pp.create_empty_network()
    for kv in (110.0, 20.0, 10.0):
        pp.create_bus(net, kv, name=f"{kv:.0f} kV")
    pp.create_ext_grid(net, 0, name="grid")
    pp.create_transformer3w(net, 0, 1, 2, "63/25/38 MVA 110/20/10 kV", name="three")
    pp.create_load(net, 1, 12.0, 3.0, name="mv works")
    pp.create_load(net, 2, 8.0, 2.0, name="lv works")
    feeder = read_feeder(net)
    limits = replace(
        Limits(search_cap_kw=1e5), criteria=("transformer current", "line current")
    )
    loads = dense_profiles(
        pd.date_range("2025-01-01", periods=1, freq="h", tz="UTC"),
        feeder.ports[["p_kw"]].T.reset_index(drop=True),
        power_factor=0.97,
    )
    table = hosting_capacity(feeder, loads, limits=limits).set_index("building_id")
    assert table["limit_element"].tolist() == ["three", "three"]
    for name, winding, row in (("mv works", "mv", 0), ("lv works", "lv", 1)):
        kw = table.loc[name, "firm_kw"]
        for more, holds in ((0.0, True), (0.002 * kw, False)):
            trial = copy.deepcopy(net)
            p_kw = loads.p_shapes[:, 0] * loads.p_scale_kw
            trial.load["p_mw"] = p_kw / 1e3
            trial.load["q_mvar"] = trial.load["p_mw"] * np.tan(np.arccos(0.97))
            added = (kw + more) / 1e3
            trial.load.loc[row, "p_mw"] += added
            trial.load.loc[row, "q_mvar"] += added * np.tan(np.arccos(0.98))
            pp.runpp(trial, calculate_voltage_angles=True, numba=False)
            rated = {"mv": 25.0 / 20.0, "lv": 38.0 / 10.0}[winding] / np.sqrt(3.0)
            share = trial.res_trafo3w.loc[0, f"i_{winding}_ka"] / rated
            assert (share <= 1.0 + 1e-7) == holds


# --- N22: nothing leaks from one state into the next ---


def test_n22_a_random_one_percent_of_states_alone_is_what_it_was_among_all():
    case = base_case(networks.create_kerber_landnetz_kabel_2(), steps=1000)
    alone = np.sort(np.random.default_rng(5).choice(1000, 10, replace=False))
    together = case.block.solve(case.states, np.arange(1000))
    for step in alone:
        own = case.block.solve(block_states(case, [step]), np.zeros(1, dtype=np.int64))
        assert np.abs(own.v[:, 0] - together.v[:, step]).max() < 1e-12
        assert np.abs(own.v[:, 0] - case.v[:, step]).max() < 1e-9
    backwards = case.block.solve(case.states, np.arange(1000)[::-1])
    assert np.abs(backwards.v[:, ::-1] - together.v).max() < 1e-12


def test_n22_added_loads_in_one_batch_are_those_of_each_alone():
    case = base_case(make_street())
    rng = np.random.default_rng(6)
    port, step = rng.integers(0, 3, 1000), rng.integers(0, 200, 1000)
    kw = rng.uniform(0.0, 400.0, 1000)  # some of them beyond collapse
    slack, row = case.evaluate(port, step, kw)
    assert np.isinf(slack).any()
    for i in rng.choice(1000, 10, replace=False):
        own, own_row = case.evaluate(port[[i]], step[[i]], kw[[i]])
        assert own[0] == pytest.approx(slack[i], abs=1e-12)
        assert own_row[0] == row[i]


def test_n22_rating_one_feeder_twice_in_one_process_gives_the_same():
    feeder = read_feeder(make_street())
    loads = series(feeder, steps=50)
    first = hosting_capacity(feeder, loads)
    other = read_feeder(networks.create_kerber_landnetz_freileitung_1())
    hosting_capacity(other, series(other, steps=20))
    pd.testing.assert_frame_equal(first, hosting_capacity(feeder, loads))


# --- N24, N25: what is a number and what is a status ---


def test_n24_the_cap_of_the_search_is_never_a_capacity_that_is_ok():
    feeder = read_feeder(make_street())
    loads = series(feeder, steps=20)
    free = hosting_capacity(feeder, loads).set_index("building_id")["firm_kw"]
    cap = float(free.median())
    table = hosting_capacity(feeder, loads, limits=Limits(search_cap_kw=cap))
    status = table.set_index("building_id")["firm_status"]
    assert (status[free > cap + 1.0] == "censored").all()
    assert (status[free < cap - 1.0] == "ok").all()
    assert (free > cap + 1.0).any()


def test_n25_a_broken_base_case_is_zero_only_where_the_load_makes_it_worse():
    net = make_street()
    side = pp.create_bus(net, 0.4, name="side")
    pp.create_line_from_parameters(net, 1, side, 0.05, 0.32, 0.083, 210.0, 0.2)
    pp.create_load(net, side, 0.001, 0.0, name="house 6")
    net.line.loc[2, "max_i_ka"] = 0.005  # mid to far: broken by house 4 alone
    feeder = read_feeder(net)
    table = hosting_capacity(feeder, series(feeder, steps=20)).set_index("building_id")
    status = table["firm_status"].to_dict()
    assert status.pop("house 4") == "none_base_violation"
    assert table.loc["house 4", "firm_kw"] == 0.0
    assert table.loc["house 4", "limit_element"] == "line 3-4"
    assert set(status.values()) == {"ok"}


# --- N26: signs ---


@pytest.mark.parametrize("port", [0, 1, 2])
def test_n26_a_kilowatt_more_raises_what_the_source_gives(port):
    case = base_case(make_street(), steps=3)
    source = (case.feeder.terminals["criterion"] == "source").to_numpy()
    row = source[case.block.terminals]
    given = []
    for kw in (0.0, 1.0):
        found = case.block.solve(
            case.states,
            np.arange(3),
            added_port=np.full(3, port),
            added=np.full(3, kw / case.block.base_kva),
        )
        current = case.block.currents(found.v)[row][0]
        v = case.feeder.source_v[0]
        given.append((v * np.conj(current)).real * case.block.base_kva)
    more = given[1] - given[0]
    assert (more > 1.0).all()
    assert (more < 1.2).all()


# --- series that cannot be right ---


def hours(n):
    return pd.date_range("2025-01-01", periods=n, freq="h", tz="UTC")


def test_series_with_missing_values_name_the_column_and_the_first_rows():
    values = pd.DataFrame({"a": 1.0, "b": 2.0}, index=hours(48))
    values.iloc[[5, 6, 9, 30], 1] = np.nan
    with pytest.raises(DataError, match=r"'b' has 4 value.*01 05:00.*06:00.*09:00"):
        dense_profiles(hours(48), values, power_factor=0.9)


def test_series_with_gaps_name_the_stamp_after_the_gap():
    time = hours(48).delete([20, 21])
    values = pd.DataFrame({"a": np.ones(46)})
    with pytest.raises(DataError, match=r"stamp 20 .*22:00.*19:00"):
        dense_profiles(time, values, power_factor=0.9)


def test_series_of_another_length_name_both_lengths():
    values = pd.DataFrame({"a": np.ones(47)})
    with pytest.raises(DataError, match=r"\(1, 47\).*\(1, 48\)"):
        dense_profiles(hours(48), values, power_factor=0.9)
