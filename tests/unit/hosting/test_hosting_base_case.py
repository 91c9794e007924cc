"""Base cases: which profiles they need, which limits they list, who acts on what."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandapower as pp
import pytest

from gridsite.errors import DataError
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.hosting.grid_case import GridCase, port_profiles
from gridsite.hosting.limits import Limits


def test_slack_of_every_limit_equals_pandapower(village, profiles, judge):
    net = village()
    feeder = read_feeder(net)
    loads = profiles(feeder, steps=2)
    limits = Limits(source_kva=70.0)
    case = GridCase(feeder, loads, limits).block("T")
    judged = judge(net, loads, limits)
    sides = feeder.terminals["side"].to_numpy()[case.block.terminals][case.rated]
    side = [*[""] * case.n_voltage, *sides]
    rows = case.rows.iloc[:-1]
    seen = set()
    for step in range(2):
        left, _ = judged.base(step)
        for i, (criterion, element) in enumerate(
            zip(rows["criterion"], rows["element"], strict=True)
        ):
            name = element.removesuffix(" at mv")
            key = (criterion, name, "" if criterion == "source" else side[i])
            seen.add(key)
            mine = case.slack[i, step]
            if criterion != "voltage":
                mine /= case.rating_pu[i - case.n_voltage]
            assert mine == pytest.approx(left[key], abs=1e-7), key
    expected = {k for k in left.index if k[0] != "voltage high"}
    assert seen == expected


def test_voltage_change_is_the_last_row(village_feeder, profiles):
    feeder = village_feeder()
    case = GridCase(feeder, profiles(feeder), Limits()).block("T")
    assert case.rows["criterion"].iloc[-1] == "voltage change"
    assert len(case.rows) == case.n_row + 1 == len(case.slack) + 1


def test_load_acts_where_five_percent_of_it_flows(village, profiles):
    net = village()
    pp.create_line_from_parameters(  # a ring: n4 - n3, of high impedance
        net, 5, 4, 1.4, 0.32, 0.083, 0.0, 0.1, name="ring"
    )
    feeder = read_feeder(net)
    loads = profiles(feeder, steps=1, low=0.01, high=0.02)
    case = GridCase(feeder, loads, Limits()).block("T")
    net.load[["p_mw", "q_mvar"]] = 0.0

    def currents():
        pp.runpp(net, tolerance_mva=1e-11, numba=False)
        lines = net.res_line["p_from_mw"].set_axis(net.line["name"])
        return lines, net.res_bus["vm_pu"].set_axis(net.bus["name"])

    lines, v = currents()
    rows = case.rows.iloc[:-1]
    checked = 0

    def acts(criterion, element, port):
        at = (rows["criterion"] == criterion) & (rows["element"] == element)
        assert at.any()
        return case.acts_on[at.to_numpy(), port]

    for port, house in enumerate(feeder.ports.index[case.block.ports]):
        at = net.load.index[net.load["name"] == house][0]
        net.load.loc[at, ["p_mw", "q_mvar"]] = (0.001, 0.001 * case.tan_phi)
        lines_now, v_now = currents()
        net.load.loc[at, ["p_mw", "q_mvar"]] = 0.0
        flow = (lines_now - lines).abs() / 0.001
        drop = v - v_now
        own = drop[net.bus["name"][net.load.loc[at, "bus"]]]
        for line, share in flow.items():
            if abs(share - 0.05) > 0.01:
                assert (acts("line current", line, port) == (share > 0.05)).all()
                checked += 1
        for bus, fall in drop.drop("mv").items():
            if abs(fall / own - 0.05) > 0.005:
                assert acts("voltage", bus, port).all() == (fall / own > 0.05)
                checked += 1
    assert checked > 40
    assert not case.acts_on.all()


def test_generation_without_a_profile_is_off_and_storage_keeps_its_value(
    village, profiles
):
    net = village()
    pp.create_sgen(net, 4, 0.05, name="sun")
    pp.create_storage(net, 4, 0.006, 1.0, 0.001, name="battery")
    feeder = read_feeder(net)
    loads = profiles(feeder, steps=3)
    full = port_profiles(feeder, loads)
    p, q = full.select(["sgen: sun", "storage: battery"]).power_kw()
    np.testing.assert_array_equal(p, [[0.0] * 3, [6.0] * 3])
    np.testing.assert_array_equal(q[1], [1.0] * 3)
    p, _ = full.select(["house 2"]).power_kw()
    known, _ = loads.select(["house 2"]).power_kw()
    np.testing.assert_array_equal(p, known)


def test_load_without_a_profile_is_refused_unless_it_is_not_supplied(village, profiles):
    net = village()
    feeder = read_feeder(net)
    loads = profiles(feeder, steps=2)
    four = loads.select([f"house {i}" for i in (1, 2, 4, 5)])
    with pytest.raises(DataError, match=r"1 load\(s\) have no profile.*house 3"):
        port_profiles(feeder, four)
    net.line.loc[2, "in_service"] = False
    port_profiles(read_feeder(net), four)


def test_profiles_in_another_order_give_the_same_base_case(village_feeder, profiles):
    feeder = village_feeder()
    loads = profiles(feeder, steps=4)
    turned = loads.select(feeder.load_ports.index[::-1])
    one = GridCase(feeder, loads, Limits()).block("T")
    two = GridCase(feeder, turned, Limits()).block("T")
    np.testing.assert_array_equal(one.v, two.v)


def test_limits_that_do_not_converge_never_pass(village_feeder, profiles):
    feeder = village_feeder()
    limits = dataclasses.replace(Limits(), criteria=())
    case = GridCase(feeder, profiles(feeder, steps=1), limits).block("T")
    slack, row = case.evaluate(np.array([0, 0]), np.zeros(2, int), np.array([1.0, 1e6]))
    assert slack[0] > 0.0
    assert slack[1] == -np.inf
    assert row[1] == -1
