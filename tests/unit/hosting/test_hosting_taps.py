"""Capacity with tap changers that act."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pandapower as pp
import pandas as pd
import pytest
from pandapower import networks

from gridsite.feeder.profiles import dense_profiles
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.feeder.taps import TapControl
from gridsite.hosting.ac_replay import replay_loads
from gridsite.hosting.capacity import hosting_capacity
from gridsite.hosting.explain import explain_capacity
from gridsite.hosting.grid_case import GridCase
from gridsite.hosting.limits import Limits

TAN_PHI = np.sqrt(1.0 / 0.98**2 - 1.0)
VOLTAGE = replace(Limits(), voltage_min_pu=0.9, criteria=("voltage",))
SCALE = np.array([-3.0, 0.5, 1.0, 1.2, 1.5])


def kerber(*, heavy=1.0):
    """Return a Kerber net whose transformer has a tap changer."""
    net = networks.create_kerber_landnetz_freileitung_1()
    net.trafo = net.trafo.assign(
        tap_side="hv",
        tap_neutral=0,
        tap_pos=0,
        tap_min=-4,
        tap_max=4,
        tap_step_percent=1.5,
        tap_changer_type="Ratio",
    )
    net.load["p_mw"] *= heavy
    return net


def series(feeder, scale=SCALE):
    """Return the file's loads times a factor at each step."""
    time = pd.date_range("2025-01-01", periods=len(scale), freq="h", tz="UTC")
    ports = feeder.ports
    p = pd.DataFrame(np.outer(scale, ports["p_kw"]), columns=ports.index)
    q = pd.DataFrame(np.outer(scale, ports["q_kvar"]), columns=ports.index)
    return dense_profiles(time, p, q_kvar=q)


def rated(feeder, loads, limits, taps, **options):
    """Return the hosting table and its grid."""
    grid = GridCase(feeder, loads, limits, taps=taps, **options)
    return hosting_capacity(feeder, loads, grid=grid), grid


def solved(net, position, factor, *, bus=None, kw=0.0):
    """Return pandapower's solution at one position, with a load more at a bus."""
    now = copy.deepcopy(net)
    now.trafo["tap_pos"] = position
    now.load["scaling"] = factor
    if bus is not None:
        at = now.bus.index[now.bus["name"] == bus][0]
        pp.create_load(now, at, kw / 1e3, kw / 1e3 * TAN_PHI)
    pp.runpp(now, numba=False, calculate_voltage_angles=True, tolerance_mva=1e-10)
    return now


def positions(grid, feeder_id, step=0.015):
    """Return the positions that a source factor stands for (filed at 0)."""
    factor = grid.profiles_of(feeder_id).source_factor.real
    return np.rint((1.0 / factor - 1.0) / step).astype(int)


def test_taps_that_never_leave_their_band_change_no_bit():
    feeder = read_feeder(kerber())
    loads = series(feeder)
    frozen, one = rated(feeder, loads, Limits(), None)
    wide, two = rated(feeder, loads, Limits(), TapControl(deadband_pu=1.0))
    pd.testing.assert_frame_equal(frozen, wide, check_exact=True)
    ours, theirs = one.block("trafo 1"), two.block("trafo 1")
    np.testing.assert_array_equal(ours.v, theirs.v)
    np.testing.assert_array_equal(ours.slack, theirs.slack)
    assert one.profiles_of("trafo 1") is one.profiles
    assert not any("taps" in note for note in one.notes)
    assert any("taps act at the head of 1 feeder(s)" in note for note in two.notes)


def test_taps_that_act_give_more_where_voltage_limits():
    feeder = read_feeder(kerber())
    loads = series(feeder)
    frozen, _ = rated(feeder, loads, VOLTAGE, None)
    acting, grid = rated(feeder, loads, VOLTAGE, TapControl(target_pu=1.0))
    at = positions(grid, "trafo 1")
    assert at.min() < 0 < at.max()
    assert (acting["firm_kw"] >= frozen["firm_kw"] - 0.1).all()
    assert (acting["firm_kw"] > frozen["firm_kw"] + 1.0).all()


def test_firm_capacity_holds_in_pandapower_at_the_positions_and_no_more_does():
    net = kerber()
    feeder = read_feeder(net)
    loads = series(feeder)
    table, grid = rated(feeder, loads, VOLTAGE, TapControl(target_pu=1.0))
    at = positions(grid, "trafo 1")
    for _, row in table.iloc[[0, -1]].iterrows():
        assert row["firm_status"] == "ok"
        lowest = [
            [
                solved(net, p, f, bus=row["bus"], kw=kw).res_bus["vm_pu"].min()
                for p, f in zip(at, SCALE, strict=True)
            ]
            for kw in (row["firm_kw"], row["firm_kw"] + max(0.2, 2e-3 * row["firm_kw"]))
        ]
        assert min(lowest[0]) >= 0.9 - 1e-7
        assert min(lowest[1]) < 0.9


def test_the_current_on_the_sources_side_counts_with_the_tap():
    # lifted voltage: the hv side carries more than the model's source gives
    net = kerber()
    net.ext_grid["vm_pu"] = 0.95
    feeder = read_feeder(net)
    loads = series(feeder, np.array([0.5, 1.0]))
    limits = replace(Limits(), criteria=("transformer current",))
    table, grid = rated(feeder, loads, limits, TapControl(target_pu=1.03))
    at = positions(grid, "trafo 1")
    assert at.max() <= -4
    row = table.iloc[0]
    bus = row["bus"]
    assert row["limit_criterion"] == "transformer current"
    holds = [
        solved(net, p, f, bus=bus, kw=row["firm_kw"])
        for p, f in zip(at, (0.5, 1.0), strict=True)
    ]
    percent = [now.res_trafo["loading_percent"].iloc[0] for now in holds]
    assert max(percent) <= 100.0 + 1e-6
    more = solved(net, at[1], 1.0, bus=bus, kw=row["firm_kw"] + 0.5)
    assert more.res_trafo["loading_percent"].iloc[0] > 100.0
    rated_a = net.trafo["sn_mva"] * 1e3 / np.sqrt(3.0)
    side = {
        s: more.res_trafo[f"i_{s}_ka"].iloc[0] / (rated_a / net.trafo[f"vn_{s}_kv"])[0]
        for s in ("hv", "lv")
    }
    assert side["hv"] > side["lv"] * 1.01


def test_what_a_source_feeds_counts_with_the_tap():
    net = kerber()
    feeder = read_feeder(net)
    loads = series(feeder, np.array([1.0, 2.5]))
    limits = replace(Limits(), source_kva=300.0, criteria=("source",))
    table, grid = rated(feeder, loads, limits, TapControl(target_pu=1.02))
    at = positions(grid, "trafo 1")
    assert at[1] < at[0]
    row = table.iloc[0]
    drawn = [
        solved(net, at[1], 2.5, bus=row["bus"], kw=row["firm_kw"] + more)
        for more in (0.0, 1.0)
    ]
    kva = [
        1e3 * np.hypot(n.res_ext_grid["p_mw"].iloc[0], n.res_ext_grid["q_mvar"].iloc[0])
        for n in drawn
    ]
    assert kva[0] <= 300.0 + 1e-3
    assert kva[1] > 300.0


def test_voltage_change_is_that_of_frozen_taps():
    net = kerber()
    feeder = read_feeder(net)
    loads = series(feeder)
    limits = replace(Limits(), criteria=("voltage change",))
    table, grid = rated(feeder, loads, limits, TapControl(target_pu=1.0))
    row = table.iloc[-1]
    bus = net.bus.index[net.bus["name"] == row["bus"]][0]
    drops = []
    for position, factor in zip(positions(grid, "trafo 1"), SCALE, strict=True):
        v = [
            solved(net, position, factor, bus=row["bus"], kw=kw).res_bus["vm_pu"]
            for kw in (0.0, row["firm_kw"])
        ]
        drops.append(v[0][bus] - v[1][bus])
    assert max(drops) == pytest.approx(limits.voltage_change_pu, rel=2e-3)
    assert max(drops) <= limits.voltage_change_pu + 1e-8


@pytest.fixture(scope="module")
def town(town_factory):
    """Return a town whose 110 kV transformer has a tap changer, and its loads."""
    net = town_factory.net()
    hv = net.trafo["name"] == "HV"
    columns = ["tap_neutral", "tap_pos", "tap_min", "tap_max", "tap_step_percent"]
    net.trafo.loc[hv, columns] = 0, 0, -9, 9, 1.5
    net.trafo.loc[hv, "tap_side"] = "hv"
    net.trafo.loc[hv, "tap_changer_type"] = "Ratio"
    net.load["p_mw"] *= 2.0
    net.load["q_mvar"] *= 6.0
    feeder = read_feeder(net)
    return net, feeder, town_factory.profiles(feeder, steps=10)


HELD = TapControl(target_pu=1.03, deadband_pu=0.02)


def test_parts_of_a_split_feeder_get_the_taps_too(town):
    _, feeder, loads = town
    whole, grid = rated(feeder, loads, Limits(), HELD, whole_nodes=10**6)
    parts, split = rated(feeder, loads, Limits(), HELD, whole_nodes=5)
    assert split.split("HV") is not None
    assert len(set(positions(grid, "HV"))) > 1
    np.testing.assert_allclose(whole["firm_kw"], parts["firm_kw"], rtol=2e-3, atol=0.15)
    case = grid.block("HV")
    bus = feeder.nodes["bus"].to_numpy()
    known = dict(zip(bus[case.block.nodes], case.v, strict=True))
    for part in split.cases("HV"):
        names = part.feeder.nodes["bus"].to_numpy()[part.block.nodes]
        for name, v in zip(names, part.v, strict=True):
            np.testing.assert_allclose(v, known[name], atol=1e-7)
    frozen = [n for n in split.notes if "stay frozen" in n]
    assert len(frozen) == 1
    assert "station A1" in frozen[0]


def test_a_plan_is_replayed_with_the_taps_of_the_base_case(town):
    _, feeder, loads = town
    name = feeder.load_ports.index[-2]
    added = pd.Series({name: 20.0})
    lowest = []
    for nodes in (5, 10**6):
        grid = GridCase(feeder, loads, Limits(), taps=HELD, whole_nodes=nodes)
        replay = replay_loads(feeder, loads, added, grid=grid)
        lowest.append(replay.voltages.sort_index())
    pd.testing.assert_frame_equal(*lowest, atol=1e-6, rtol=0.0)


def test_a_value_with_taps_is_confirmed_by_its_replay(town):
    _, feeder, loads = town
    for limits in (Limits(), replace(Limits(), criteria=("voltage",))):
        table, grid = rated(feeder, loads, limits, HELD, whole_nodes=5)
        row = table[table["firm_status"] == "ok"].iloc[0]
        told = explain_capacity(feeder, loads, row.to_dict(), grid=grid)
        assert (told.limit["below"].notna()).all()
