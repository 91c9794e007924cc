"""Tap changers at the head of a feeder: positions, and what they stand for."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pandapower as pp
import pandas as pd
import pytest
from pandapower import networks
from pandapower.control import DiscreteTapControl

from gridsite.errors import ConfigError, DataError
from gridsite.feeder.acting_taps import let_taps_act
from gridsite.feeder.net_sources import load_net
from gridsite.feeder.powerflow import Block
from gridsite.feeder.profiles import Profiles, dense_profiles
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.feeder.states import States
from gridsite.feeder.taps import TapControl, acting_positions, head_tap

OLTC = {
    "tap_side": "hv",
    "tap_neutral": 0,
    "tap_pos": 0,
    "tap_min": -4,
    "tap_max": 4,
    "tap_step_percent": 1.5,
    "tap_step_degree": 0.0,
    "tap_changer_type": "Ratio",
}


def kerber(**taps):
    """Return a Kerber net with a tap changer, its station and its loads."""
    net = networks.create_kerber_landnetz_freileitung_1()
    net.trafo = net.trafo.assign(**{**OLTC, **taps})
    return net


def series(feeder, scale):
    """Return the file's loads times a factor at each step."""
    time = pd.date_range("2025-01-01", periods=len(scale), freq="h", tz="UTC")
    ports = feeder.ports
    p = np.outer(scale, ports["p_kw"])
    q = np.outer(scale, ports["q_kvar"])
    return dense_profiles(
        time,
        pd.DataFrame(p, columns=ports.index),
        q_kvar=pd.DataFrame(q, columns=ports.index),
    )


def in_order(feeder, loads: Profiles) -> Profiles:
    """Return profiles on all ports, in their order."""
    return loads.select(feeder.ports.index)


def voltages(feeder, feeder_id, profiles, factor):
    """Return the block and its voltages with the source moved by a factor."""
    block = Block(feeder, feeder_id)
    states = States(
        p_shapes=profiles.p_shapes,
        q_shapes=profiles.q_shapes,
        shape_of_port=profiles.shape_of_port[block.ports].astype(np.int64),
        p_scale=profiles.p_scale_kw[block.ports] / block.base_kva,
        q_scale=profiles.q_scale_kvar[block.ports] / block.base_kva,
        spread=np.zeros(len(block.ports)),
        tan_phi=0.0,
        drive=factor.astype(complex),
    )
    return block, block.solve(states, np.arange(len(factor))).v


def controlled(net, scale, lower, upper):
    """Return pandapower's positions and voltages, each step from the filed tap."""
    positions, found = [], []
    for factor in scale:
        now = copy.deepcopy(net)
        now.load["scaling"] = factor
        now.sgen["scaling"] = factor
        for index in now.trafo.index:
            DiscreteTapControl(now, index, vm_lower_pu=lower, vm_upper_pu=upper)
        pp.runpp(
            now,
            run_control=True,
            numba=False,
            calculate_voltage_angles=True,
            tolerance_mva=1e-10,
            max_iter=60,
        )
        positions.append(now.trafo["tap_pos"].to_numpy())
        found.append(now.res_bus["vm_pu"].to_numpy())
    return np.array(positions), np.array(found)


@pytest.mark.parametrize("step", [1.5, -2.5])
@pytest.mark.parametrize("filed", [0, 2])
def test_moving_the_source_is_moving_the_tap(step, filed):
    net = kerber(tap_pos=filed, tap_neutral=1, tap_step_percent=step)
    net.load["p_mw"] *= 3.0
    feeder = read_feeder(net)
    for position in range(-4, 5, 2):
        moved = copy.deepcopy(net)
        moved.trafo["tap_pos"] = position
        pp.runpp(moved, numba=False, calculate_voltage_angles=True, tolerance_mva=1e-11)
        factor = np.array(
            [(1 + (filed - 1) * step / 100) / (1 + (position - 1) * step / 100)]
        )
        loads = in_order(feeder, series(feeder, [1.0]))
        block, v = voltages(feeder, "trafo 1", loads, factor)
        bus = feeder.nodes["bus"].to_numpy()[block.nodes]
        told = moved.res_bus["vm_pu"].set_axis(moved.bus["name"]).reindex(bus)
        np.testing.assert_allclose(np.abs(v[:, 0]), told, atol=1e-8, rtol=0.0)
        # the current on the source's side is the factor times that of the model
        terminals = feeder.terminals.iloc[block.terminals]
        amps = np.abs(block.currents(v, factor))[:, 0] * terminals["base_a"]
        hv = amps[(terminals["side"] == "hv").to_numpy()].iloc[0]
        lv = amps[(terminals["side"] == "lv").to_numpy()].iloc[0]
        true = moved.res_trafo.iloc[0] * 1e3
        assert hv * factor[0] == pytest.approx(true["i_hv_ka"], rel=1e-7)
        assert lv == pytest.approx(true["i_lv_ka"], rel=1e-7)


@pytest.mark.parametrize("step", [1.5, -1.5])
def test_positions_are_those_of_pandapowers_controller(step):
    net = kerber(tap_step_percent=step, tap_pos=1)
    scale = [-6.0, -3.0, 0.0, 1.0, 2.0, 3.0, 4.0, 4.5]
    feeder = read_feeder(net)
    loads = in_order(feeder, series(feeder, scale))
    control = TapControl(target_pu=1.0, deadband_pu=0.02)
    found = acting_positions(feeder, "trafo 1", loads, control=control)
    positions, told = controlled(net, scale, 0.99, 1.01)
    np.testing.assert_array_equal(found.positions, positions[:, 0])
    assert len(set(found.positions)) > 3
    block, v = voltages(feeder, "trafo 1", loads, found.factor)
    at = net.bus["name"].tolist()
    order = [at.index(b) for b in feeder.nodes["bus"].to_numpy()[block.nodes]]
    np.testing.assert_allclose(np.abs(v).T, told[:, order], atol=1e-6, rtol=0.0)


@pytest.mark.slow
def test_two_equal_transformers_move_as_one_as_in_pandapower():
    pytest.importorskip("simbench")
    net = load_net("simbench:1-MV-rural--0-sw")
    net.trafo["tap_changer_type"] = "Ratio"
    net.trafo["tap_pos"] = 2
    scale = [-1.5, 1.8]
    feeder = read_feeder(net)
    loads = in_order(feeder, series(feeder, scale))
    control = TapControl(target_pu=1.0, deadband_pu=0.024)
    (feeder_id,) = set(feeder.nodes["feeder_id"]) - {""}
    found = acting_positions(feeder, feeder_id, loads, control=control)
    positions, told = controlled(net, scale, 0.988, 1.012)
    np.testing.assert_array_equal(positions[:, 0], positions[:, 1])
    np.testing.assert_array_equal(found.positions, positions[:, 0])
    assert len(set(found.positions)) > 1
    block, v = voltages(feeder, feeder_id, loads, found.factor)
    row = pd.Series(feeder.nodes["bus"].to_numpy()[block.nodes])
    own = row.isin(net.bus["name"])
    order = [net.bus["name"].tolist().index(bus) for bus in row[own]]
    assert len(order) > 80
    np.testing.assert_allclose(np.abs(v[own]).T, told[:, order], atol=1e-6, rtol=0.0)


def test_a_step_that_settles_is_inside_the_band_and_one_step_less_is_not():
    feeder = read_feeder(kerber())
    loads = in_order(feeder, series(feeder, np.linspace(-6.0, 4.5, 60)))
    found = acting_positions(feeder, "trafo 1", loads)
    lower, upper = 1.0 - 0.01125, 1.0 + 0.01125
    bus = int(feeder.taps["controlled_node"].iloc[0])
    block, v = voltages(feeder, "trafo 1", loads, found.factor)
    at = int(np.flatnonzero(block.nodes == bus)[0])
    held = np.abs(v[at])
    settled = ~(found.at_limit | found.hunting | found.unsolved)
    assert settled.all()
    assert ((held >= lower) & (held <= upper)).all()
    # single steps from the filed position: the one before was outside
    moved = found.positions != 0
    assert moved.any()
    before = found.positions - np.sign(found.positions)
    block, v = voltages(feeder, "trafo 1", loads, 1.0 / (1.0 + before * 0.015))
    outside = (np.abs(v[at]) < lower) | (np.abs(v[at]) > upper)
    assert outside[moved].all()


def test_positions_end_at_the_first_and_last():
    feeder = read_feeder(kerber(tap_min=-1, tap_max=1))
    loads = in_order(feeder, series(feeder, [-6.0, 0.0, 3.0]))
    control = TapControl(target_pu=1.0, deadband_pu=0.016)
    found = acting_positions(feeder, "trafo 1", loads, control=control)
    assert found.positions.tolist() == [1, 0, -1]
    assert found.at_limit.tolist() == [True, False, True]


def test_n10_a_tap_that_hunts_stays_and_is_counted():
    feeder = read_feeder(kerber(tap_step_percent=2.5))
    loads = in_order(feeder, series(feeder, np.linspace(0.0, 4.0, 20)))
    control = TapControl(target_pu=1.005, deadband_pu=0.004)
    found = acting_positions(feeder, "trafo 1", loads, control=control)
    assert found.hunting.any()
    # it stands at the nearer of the two positions
    node = feeder.taps["controlled_node"].iloc[0]
    for other in (-1, 1):
        away = []
        for position in (found.positions, found.positions + other):
            block, v = voltages(feeder, "trafo 1", loads, 1 / (1 + 0.025 * position))
            held = np.abs(v[block.nodes == node][0])
            away.append(np.maximum(np.abs(held - 1.005) - 0.002, 0.0))
        assert (away[0] <= away[1] + 1e-9)[found.hunting].all()
    _, _, notes = let_taps_act(feeder, loads, control)
    text = f"{int(found.hunting.sum())} step(s) hunt"
    assert any(text in note for note in notes), notes


def test_a_step_without_a_solution_keeps_the_filed_position_and_is_counted():
    feeder = read_feeder(kerber(tap_pos=1))
    loads = in_order(feeder, series(feeder, [1.0, 200.0]))
    found = acting_positions(feeder, "trafo 1", loads)
    assert found.unsolved.tolist() == [False, True]
    assert found.positions[1] == 1
    assert found.factor[1] == 1.0


@pytest.mark.parametrize("filed", [-3, 0, 3])
def test_an_answer_to_more_load_only_raises_the_voltage(filed):
    feeder = read_feeder(kerber(tap_pos=filed))
    loads = in_order(feeder, series(feeder, np.linspace(-6.0, 4.0, 101)))
    found = acting_positions(feeder, "trafo 1", loads)
    assert not (found.hunting | found.unsolved).any()
    assert (np.diff(found.factor) >= 0.0).all()
    assert found.factor[-1] > found.factor[0]


def test_each_step_is_its_own_whatever_the_others():
    feeder = read_feeder(kerber())
    scale = np.array([5.0, -5.0, 1.0, 3.0])
    one = acting_positions(feeder, "trafo 1", in_order(feeder, series(feeder, scale)))
    turned = in_order(feeder, series(feeder, scale[::-1]))
    two = acting_positions(feeder, "trafo 1", turned)
    np.testing.assert_array_equal(one.positions, two.positions[::-1])


def test_a_moved_source_and_a_tap_multiply():
    feeder = read_feeder(kerber())
    loads = in_order(feeder, series(feeder, [1.0, 1.0]))
    loads = replace(loads, source_factor=np.array([1.0, 0.95], dtype=complex))
    found = acting_positions(feeder, "trafo 1", loads)
    assert found.positions[1] < found.positions[0]
    _, moved, _ = let_taps_act(feeder, loads, TapControl())
    np.testing.assert_allclose(
        moved["trafo 1"].source_factor, [1.0, 0.95] * found.factor
    )


def with_line(net):
    """Put a line between the source and the transformer."""
    hv = pp.create_bus(net, 10.0, name="far")
    bus = net.trafo["hv_bus"].iloc[0]
    net.ext_grid["bus"] = hv
    pp.create_line_from_parameters(net, hv, bus, 1.0, 0.3, 0.1, 10.0, 0.2, name="feed")


def with_other(net, **columns):
    """Put a second transformer beside the first."""
    second = net.trafo.iloc[[0]].assign(name="trafo 2", **columns)
    second.index = [99]
    net.trafo = pd.concat([net.trafo, second]).astype(net.trafo.dtypes)


def with_impedance(net):
    """Feed the lv bus by another way too."""
    ends = net.trafo[["hv_bus", "lv_bus"]].iloc[0]
    pp.create_impedance(net, *ends, rft_pu=0.1, xft_pu=0.4, sn_mva=0.1)


def setting(**columns):
    """Return a function that sets columns of the transformer."""

    def change(net):
        net.trafo = net.trafo.assign(**columns)

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (setting(tap_side="lv"), "not on the hv side"),
        (setting(tap_pos=9), "position outside its range"),
        (setting(tap_step_percent=0.0), "not complete"),
        (setting(tap_step_degree=5.0), "not a ratio changer"),
        (
            setting(tap_changer_type="Ideal"),
            "not a ratio changer",
        ),
        (with_line, "not at a source"),
        (with_impedance, "another way"),
        (lambda n: with_other(n, tap_pos=1), "side by side differ"),
        (lambda n: with_other(n, tap_min=-3), "side by side differ"),
    ],
    ids=[
        "side",
        "range",
        "no step",
        "angle",
        "ideal",
        "line",
        "impedance",
        "position",
        "least",
    ],
)
def test_a_tap_that_cannot_act_stays_frozen_with_its_name_and_reason(change, reason):
    net = kerber(tap_step_percent=2.0)
    change(net)
    feeder = read_feeder(net)
    (feeder_id,) = set(feeder.nodes["feeder_id"]) - {""}
    tap, why = head_tap(feeder, feeder_id)
    assert tap is None
    assert reason in why
    loads = in_order(feeder, series(feeder, [6.0]))
    same, moved, notes = let_taps_act(feeder, loads, TapControl())
    assert moved == {}
    assert (same.terminals["tap_factor"] == 1.0).all()
    frozen = [n for n in notes if "stay frozen" in n]
    assert len(frozen) == 1
    assert "trafo 1" in frozen[0]
    assert reason in frozen[0]
    with pytest.raises(DataError, match=reason):
        acting_positions(feeder, feeder_id, loads)


def test_three_windings_stay_frozen():
    net = pp.create_empty_network()
    buses = [pp.create_bus(net, kv) for kv in (110.0, 20.0, 10.0)]
    pp.create_ext_grid(net, buses[0])
    pp.create_transformer3w(net, *buses, "63/25/38 MVA 110/20/10 kV", name="T3")
    net.trafo3w["tap_pos"] = 0
    pp.create_load(net, buses[1], 1.0, name="works")
    feeder = read_feeder(net)
    (tap,) = feeder.taps.itertuples()
    assert (tap.element, tap.frozen_because) == ("T3", "three windings")
    _, moved, notes = let_taps_act(
        feeder, in_order(feeder, series(feeder, [1.0])), TapControl()
    )
    assert moved == {}
    assert any("'T3': three windings" in note for note in notes)


def test_a_model_without_a_table_says_so():
    feeder = replace(read_feeder(kerber()), taps=None)
    loads = in_order(feeder, series(feeder, [1.0]))
    _, moved, notes = let_taps_act(feeder, loads, TapControl())
    assert moved == {}
    assert "all frozen" in notes[0]


def test_a_controller_of_the_file_gives_the_band_and_a_study_overrides_it():
    net = kerber()
    DiscreteTapControl(net, 0, vm_lower_pu=1.02, vm_upper_pu=1.06)
    tap = read_feeder(net).taps.iloc[0]
    assert TapControl().band(tap) == pytest.approx((1.02, 1.06))
    assert TapControl(target_pu=1.0).band(tap) == pytest.approx((0.98, 1.02))
    assert TapControl(deadband_pu=0.02).band(tap) == pytest.approx((1.03, 1.05))
    net.controller["in_service"] = False
    tap = read_feeder(net).taps.iloc[0]
    assert TapControl().band(tap) == pytest.approx((0.98875, 1.01125))


@pytest.mark.parametrize("value", [0.0, -1.0, 2.0, np.nan, np.inf])
def test_a_band_that_is_none_is_refused(value):
    with pytest.raises(ConfigError, match="target_pu"):
        TapControl(target_pu=value)
    with pytest.raises(ConfigError, match="deadband_pu"):
        TapControl(deadband_pu=value)


def test_the_table_holds_what_the_file_says():
    net = kerber(tap_pos=2, tap_min=-3, tap_max=5)
    tap = read_feeder(net).taps.iloc[0]
    assert tap["element"] == tap["feeder_id"] == "trafo 1"
    numbers = tap[["neutral", "pos", "min", "max", "step_percent"]].tolist()
    assert numbers == [0.0, 2.0, -3.0, 5.0, 1.5]
    net.trafo["in_service"] = False
    pp.create_ext_grid(net, net.trafo["lv_bus"].iloc[0])
    assert read_feeder(net).taps.empty
    assert read_feeder(networks.create_kerber_landnetz_freileitung_1()).taps.empty
