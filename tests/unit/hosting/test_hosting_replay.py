"""The AC replay against a loop of pandapower power flows."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandapower as pp
import pandas as pd
import pytest

from gridsite.errors import ConfigError, DataError, GridsiteError
from gridsite.feeder.profiles import constant_profiles
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.hosting.ac_replay import replay_loads
from gridsite.hosting.capacity import hosting_capacity
from gridsite.hosting.grid_case import GridCase
from gridsite.hosting.limits import Limits
from gridsite.schemas import check_table


def counted(result, kind):
    """Return (criterion, element, time) of the violations of a kind."""
    rows = result.violations[result.violations["kind"] == kind]
    return sorted(
        zip(rows["criterion"], rows["element"], rows["time"], strict=True), key=str
    )


def judged_keys(found, kind, loads):
    """Return the same from what the judge found; both ends are one element."""
    return sorted(
        {(c, e, loads.time[step]) for k, c, e, _, step in found if k == kind}, key=str
    )


@pytest.fixture
def broken(village, profiles):
    """Return a village whose L4 and n3 are beyond their limits at some steps."""
    net = village(ratings_a=(60.0, 120.0, 90.0, 6.0, 70.0))
    pp.create_sgen(net, 6, 0.004, name="sun")
    feeder = read_feeder(net)
    loads = profiles(feeder, steps=3, seed=9, high=2.5, generation=1.0)
    return net, feeder, loads, Limits(voltage_min_pu=0.982)


@pytest.mark.parametrize(
    "plan",
    [
        {},
        {"house 5": 6.0},
        {"house 1": 8.0, "house 2": 8.0, "house 3": 8.0, "house 5": 8.0},
        {"house 4": 3.0, "house 2": 1.0},
        {"house 3": 30.0, "house 4": 25.0, "house 5": 45.0},
    ],
)
def test_violations_equal_a_loop_of_power_flows(broken, judge, plan):
    net, feeder, loads, limits = broken
    off = [c for c in limits.criteria if c != "voltage change"]
    limits = dataclasses.replace(limits, criteria=tuple(off))
    result = replay_loads(feeder, loads, pd.Series(plan, dtype=float), limits=limits)
    judged = judge(net, loads, limits)
    found = judged.found(plan)
    for kind in ("new", "worsened"):
        expected = judged_keys(found, kind, loads)
        assert sorted(set(counted(result, kind)), key=str) == expected
    assert result.summary["steps"] == 3


def test_each_limit_element_and_step_counts_once(broken, judge):
    net, feeder, loads, limits = broken
    plan = {"house 3": 30.0, "house 4": 25.0}
    result = replay_loads(feeder, loads, pd.Series(plan), limits=limits)
    judged = judge(net, loads, limits)
    key = ["element", "criterion", "time"]
    assert not result.violations.duplicated(key).any()
    found = judged.found(plan)
    for kind in ("new", "worsened"):
        assert result.summary[kind] == len(judged_keys(found, kind, loads))
    bases = {
        (*key[:2], step)
        for step in range(3)
        for key, left in judged.base(step)[0].items()
        if left < 0.0
    }
    assert result.summary["base_violations"] == len(bases)
    check_table("violations", result.violations)


def test_second_end_of_a_broken_transformer_is_not_a_new_violation(village, judge):
    net = village(trafo_mva=0.0215)
    net.trafo["tap_side"], net.trafo["tap_changer_type"] = "hv", "Ratio"
    net.trafo["tap_neutral"], net.trafo["tap_pos"] = 0.0, -2.0
    net.trafo["tap_step_percent"] = 2.5
    feeder = read_feeder(net)
    ports = feeder.load_ports
    loads = constant_profiles(ports.index, ports["p_kw"], ports["q_kvar"])
    judged = judge(net, loads, Limits())
    left, _ = judged.base(0)
    hv, lv = (1.0 - left["transformer current", "T", side] for side in ("hv", "lv"))
    assert hv > 1.02 * lv
    limits = Limits(
        transformer_loading_max=0.5 * (hv + lv), criteria=("transformer current",)
    )
    plan = {"house 1": 1.0}
    found = judge(net, loads, limits).found(plan)
    assert {(f[0], f[3]) for f in found} == {("worsened", "hv"), ("new", "lv")}
    result = replay_loads(feeder, loads, pd.Series(plan), limits=limits)
    assert (result.summary["new"], result.summary["worsened"]) == (0, 1)
    assert result.violations["kind"].tolist() == ["worsened"]
    assert result.summary["base_violations"] == 1


def test_the_loop_sees_new_and_worsened_limits(broken, judge):
    net, _, loads, limits = broken
    found = judge(net, loads, limits).found({"house 3": 30.0, "house 4": 25.0})
    assert {f[0] for f in found} == {"new", "worsened"}
    assert {f[1] for f in found if f[0] == "new"} == {"voltage", "line current"}
    assert {f[1] for f in found if f[0] == "worsened"} == {"voltage", "line current"}


def test_values_and_limits_stand_in_their_units(village, profiles):
    net = village()
    feeder = read_feeder(net)
    loads = profiles(feeder, steps=1)
    plan = pd.Series({"house 3": 65.0})
    result = replay_loads(feeder, loads, plan, limits=Limits(voltage_min_pu=0.95))
    rows = result.violations.set_index(["criterion", "element"]).sort_index()
    line = rows.loc[[("line current", "L3")]].iloc[0]
    bus = rows.loc[[("voltage", "n3")]].iloc[0]
    p, q = loads.power_kw()
    net.load["p_mw"], net.load["q_mvar"] = p[:, 0] / 1e3, q[:, 0] / 1e3
    pp.runpp(net, tolerance_mva=1e-10, numba=False)
    v_base, i_base = net.res_bus["vm_pu"][4], net.res_line["i_ka"][2] * 1e3
    net.load.loc[2, "p_mw"] += 0.065
    net.load.loc[2, "q_mvar"] += 0.065 * np.sqrt(1 / 0.98**2 - 1)
    pp.runpp(net, tolerance_mva=1e-10, numba=False)
    i_now = net.res_line["i_ka"][2] * 1e3
    assert line["unit"] == "A"
    assert line["limit"] == pytest.approx(90.0)
    values = rows.loc[[("line current", "L3")], "value"]
    assert values.max() == pytest.approx(i_now, abs=1e-5)
    assert line["excess"] == pytest.approx(line["value"] - 90.0)
    assert line["base_value"] == pytest.approx(i_base, abs=0.01)
    assert bus["unit"] == "pu"
    assert bus["limit"] == 0.95
    assert bus["value"] == pytest.approx(net.res_bus["vm_pu"][4], abs=1e-8)
    assert bus["base_value"] == pytest.approx(v_base, abs=1e-8)
    assert bus["excess"] == pytest.approx(0.95 - bus["value"])
    worst = result.summary["worst"]
    relative = result.violations["excess"] / result.violations["limit"]
    top = result.violations.loc[relative.idxmax()]
    assert worst["element"] == top["element"]
    assert worst["excess"] == pytest.approx(top["excess"])


def test_firm_capacity_is_clean_and_a_little_more_is_not(village, profiles):
    net = village()
    feeder = read_feeder(net)
    loads = profiles(feeder, steps=30)
    criteria = ("voltage", "line current", "transformer current")
    limits = Limits(criteria=criteria, voltage_min_pu=0.95)
    table = hosting_capacity(feeder, loads, limits=limits, tolerance_kw=0.01)
    assert len(set(table["limit_criterion"])) > 1
    grid = GridCase(feeder, loads, limits)
    for row in table.itertuples():
        clean = replay_loads(
            feeder, loads, pd.Series({row.port_id: row.firm_kw}), grid=grid
        )
        assert clean.summary["new"] == clean.summary["worsened"] == 0
        assert clean.violations.empty
        more = pd.Series({row.port_id: row.firm_kw + 0.02})
        over = replay_loads(feeder, loads, more, grid=grid)
        assert over.summary["new"] >= 1
        named = over.violations["time"] == row.limit_time
        named &= over.violations["element"] == row.limit_element
        named &= over.violations["criterion"] == row.limit_criterion
        assert named.any()


def test_worsened_needs_more_than_the_materiality(broken):
    _, feeder, loads, limits = broken
    limits = dataclasses.replace(limits, materiality_loading=0.05)
    grid = GridCase(feeder, loads, limits)
    base = grid.block("T")
    row = base.rows.index[base.rows["element"] == "L4"][0]
    step = int(base.slack[row].argmin())
    assert base.broken[row, step]
    amps = 0.05 * 6.0
    kw_of = 3**0.5 * 0.4 * 0.95  # kW per A, near enough
    little = pd.Series({"house 4": 0.5 * amps * kw_of})
    much = pd.Series({"house 4": 2.0 * amps * kw_of})

    def worsened(plan):
        result = replay_loads(feeder, loads, plan, grid=grid)
        return [key for key in counted(result, "worsened") if key[1] == "L4"]

    assert worsened(little) == []
    assert len(worsened(much)) >= 1


def test_peaks_lowest_voltages_and_losses_equal_pandapower(village, profiles):
    net = village()
    feeder = read_feeder(net)
    loads = profiles(feeder, steps=3)
    time = loads.time[0] + pd.to_timedelta(np.arange(3) * 15, "min")
    loads = dataclasses.replace(loads, time=pd.DatetimeIndex(time))
    plan = {"house 2": 12.0, "house 5": 7.0}
    result = replay_loads(feeder, loads, pd.Series(plan))
    p, q = loads.power_kw()
    tan_phi = np.sqrt(1 / 0.98**2 - 1)
    for column, voltage, added in (
        ("base_peak_percent", "base_min_pu", {}),
        ("plan_peak_percent", "plan_min_pu", plan),
    ):
        peaks, lowest, losses = [], [], 0.0
        for step in range(3):
            more = net.load["name"].map(added).fillna(0.0).to_numpy()
            net.load["p_mw"] = (p[:, step] + more) / 1e3
            net.load["q_mvar"] = (q[:, step] + more * tan_phi) / 1e3
            pp.runpp(net, tolerance_mva=1e-10, numba=False)
            lines = net.res_line["loading_percent"].set_axis(net.line["name"])
            trafo = net.res_trafo["loading_percent"].set_axis(net.trafo["name"])
            peaks.append(pd.concat([lines, trafo]))
            lowest.append(net.res_bus["vm_pu"].set_axis(net.bus["name"]))
            losses += net.res_line["pl_mw"].sum() + net.res_trafo["pl_mw"].sum()
        peak = pd.concat(peaks, axis=1).max(axis=1)
        low = pd.concat(lowest, axis=1).min(axis=1).drop("mv")
        assert set(result.elements.index) == set(peak.index)
        assert (result.elements[column] - peak).abs().max() < 1e-6
        assert (result.voltages[voltage] - low).abs().max() < 1e-8
        name = column.split("_")[0]
        mine = result.summary[f"{name}_losses_mwh"]
        assert mine == pytest.approx(losses * 0.25, rel=1e-6)


def test_load_of_a_plan_given_in_parts_is_added_up(village_feeder, profiles):
    feeder = village_feeder()
    loads = profiles(feeder, steps=2)
    whole = replay_loads(feeder, loads, pd.Series({"house 3": 70.0, "house 1": 2.0}))
    parts = pd.Series([30.0, 2.0, 40.0], ["house 3", "house 1", "house 3"])
    split = replay_loads(feeder, loads, parts)
    pd.testing.assert_frame_equal(whole.violations, split.violations)
    assert whole.summary == split.summary
    assert whole.summary["new"] > 0


def test_no_added_load_changes_nothing(broken):
    _, feeder, loads, limits = broken
    none = replay_loads(feeder, loads, pd.Series(dtype=float), limits=limits)
    zero = replay_loads(feeder, loads, pd.Series({"house 1": 0.0}), limits=limits)
    for result in (none, zero):
        assert result.summary["new"] == result.summary["worsened"] == 0
        assert result.summary["base_violations"] > 0
        assert result.violations.empty
        peaks = result.elements
        assert (peaks["base_peak_percent"] == peaks["plan_peak_percent"]).all()
        losses = result.summary["base_losses_mwh"], result.summary["plan_losses_mwh"]
        assert losses[0] == losses[1]


@pytest.mark.parametrize(
    ("plan", "word"),
    [
        ({"nowhere": 5.0}, "nowhere"),
        ({"house 1": -5.0}, "house 1"),
        ({"house 1": np.nan}, "house 1"),
        ({"house 1": np.inf}, "house 1"),
    ],
)
def test_plans_that_make_no_sense_are_refused(village_feeder, profiles, plan, word):
    feeder = village_feeder()
    with pytest.raises(DataError, match=word):
        replay_loads(feeder, profiles(feeder, steps=1), pd.Series(plan))


def test_load_at_an_unsupplied_port_is_refused(village, profiles):
    net = village()
    net.line.loc[2, "in_service"] = False
    feeder = read_feeder(net)
    with pytest.raises(DataError, match="not supplied"):
        replay_loads(feeder, profiles(feeder, steps=1), pd.Series({"house 3": 1.0}))


def test_load_at_the_source_bus_with_a_source_limit_is_refused(village, profiles):
    net = village()
    pp.create_load(net, 0, 0.001, 0.0, name="head")
    feeder = read_feeder(net)
    with pytest.raises(ConfigError, match="head"):
        replay_loads(
            feeder,
            profiles(feeder, steps=1),
            pd.Series({"head": 500.0}),
            limits=Limits(source_kva=100.0),
        )


def test_plan_beyond_collapse_is_a_violation_with_no_value(village_feeder, profiles):
    feeder = village_feeder()
    loads = profiles(feeder, steps=4)
    result = replay_loads(feeder, loads, pd.Series({"house 3": 5e3}))
    assert result.summary["not_converged"] == 4
    assert result.summary["new"] >= 4
    rows = result.violations[result.violations["criterion"] == "power flow"]
    assert len(rows) == 4
    assert rows["value"].isna().all()
    check_table("violations", result.violations)


def test_violations_of_two_feeders_are_told_apart(village, profiles):
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
    loads = profiles(feeder, steps=2)
    result = replay_loads(feeder, loads, pd.Series({"house far": 45.0}))
    assert set(result.violations["feeder_id"]) == {"T2"}
    assert set(result.violations["element"]) >= {"L far"}
    table = result.elements
    quiet = table.drop(index=["T2", "L far"])
    assert (quiet["base_peak_percent"] == quiet["plan_peak_percent"]).all()
    assert result.elements.index.is_unique
    assert set(result.elements.index) == set(feeder.elements.index)


def test_plan_on_a_feeder_without_a_base_case_is_never_clean(village, profiles):
    net = village()
    lv = pp.create_bus(net, 0.4, name="second lv")
    pp.create_transformer_from_parameters(
        net, 0, lv, 0.05, 20.0, 0.4, 1.4, 4.0, 0.3, 0.3, name="T2"
    )
    pp.create_load(net, lv, 0.004, 0.001, name="house far")
    feeder = read_feeder(net)
    loads = profiles(feeder, steps=3)
    shape = loads.p_shapes.copy()
    shape[:5, 1] *= 500.0  # the village has no solution at step 1
    loads = dataclasses.replace(loads, p_shapes=shape)
    try:
        result = replay_loads(feeder, loads, pd.Series({"house 1": 1.0}))
    except GridsiteError:
        return
    assert result.summary["new"] + result.summary["worsened"] > 0
    assert result.summary["not_converged"] > 0
