"""A three-phase unit as one unit: the balanced model, AC checks and laws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandapower as pp
import pandas as pd
import pytest

from gridsite.errors import DataError
from gridsite.feeder.candidate_ports import load_name
from gridsite.feeder.profiles import dense_profiles
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.hosting.ac_replay import plan_voltages, replay_loads
from gridsite.hosting.capacity import hosting_capacity, own_connections
from gridsite.hosting.explain import explain_capacity
from gridsite.hosting.grid_case import GridCase
from gridsite.hosting.joint_capacity import joint_capacity
from gridsite.hosting.limits import Limits
from gridsite.hosting.load_sets import least_margin
from gridsite.hosting.phases import unit_connections

STEPS, TOLERANCE = 12, 0.02


def loads_of(feeder, *, skew=0.0):
    """Return generated hours; ``skew`` moves load between phases."""
    at = feeder.load_ports
    rng = np.random.default_rng(5)
    course = rng.uniform(0.4, 1.4, (STEPS, 1)) * np.ones(len(at))
    course *= 1.0 + skew * np.select(
        [at["phases"] == "A", at["phases"] == "B"], [1.0, -1.0], 0.0
    )
    time = pd.date_range("2025-01-01", periods=STEPS, freq="h", tz="UTC")
    p, q = (
        pd.DataFrame(course * at[name].to_numpy(), columns=at.index)
        for name in ("p_kw", "q_kvar")
    )
    return dense_profiles(time, p, q_kvar=q)


def make_net():
    """Return a generated street of three houses behind a transformer."""
    net = pp.create_empty_network(name="street", sn_mva=1.0)
    pp.create_bus(net, 20.0, name="mv")
    source = {"s_sc_max_mva": 300.0, "rx_max": 0.1, "x0x_max": 1.0, "r0x0_max": 0.1}
    pp.create_ext_grid(net, 0, **source)
    pp.create_bus(net, 0.4, name="lv")
    sequence = {"vk0_percent": 4.0, "vkr0_percent": 1.2, "mag0_percent": 100.0}
    sequence |= {"mag0_rx": 0.0, "si0_hv_partial": 0.9, "vector_group": "Dyn5"}
    pp.create_transformer_from_parameters(
        net, 0, 1, 0.1, 20.0, 0.4, 1.2, 4.0, 0.2, 0.3, 150.0, name="T", **sequence
    )
    for i, kw in enumerate((9.0, 6.0, 4.0)):
        bus = pp.create_bus(net, 0.4, name=f"b{i + 1}")
        zero = {"r0_ohm_per_km": 1.2, "x0_ohm_per_km": 0.3, "c0_nf_per_km": 100.0}
        pp.create_line_from_parameters(
            net, bus - 1, bus, 0.15, 0.32, 0.08, 200.0, 0.15, name=f"L{i + 1}", **zero
        )
        pp.create_load(net, bus, kw / 1e3, kw / 4e3, name=f"h{i + 1}", type="wye")
    return net


@pytest.fixture
def street():
    """Return a function that reads the street by phases or balanced."""
    return lambda three_phase=True: read_feeder(make_net(), three_phase=three_phase)


LIMITS = {
    "voltage change": Limits(voltage_change_pu=0.02),
    "voltage": Limits(voltage_min_pu=0.97, voltage_change_pu=0.3),
    "line current": Limits(voltage_change_pu=0.3, line_loading_max=0.4),
    "transformer current": Limits(voltage_change_pu=0.3, transformer_loading_max=0.5),
}


def three_phase(feeder):
    """Return the feeder and its connections of three phases, one per load."""
    own = own_connections(feeder)
    own = own.assign(building_id=own["port_id"].map(load_name))
    return unit_connections(feeder, own, "ABC")


def rated(feeder, loads, limits, **options):
    feeder, connections = three_phase(feeder)
    table = hosting_capacity(
        feeder,
        loads,
        limits=limits,
        connections=connections,
        tolerance_kw=TOLERANCE,
        **options,
    )
    return table.set_index("building_id")


@pytest.mark.parametrize("name", LIMITS)
def test_on_even_phases_it_is_the_capacity_of_the_balanced_model(name, street):
    feeder, plain = street(), street(three_phase=False)
    own = rated(feeder, loads_of(feeder), LIMITS[name])
    known = hosting_capacity(
        plain, loads_of(plain), limits=LIMITS[name], tolerance_kw=TOLERANCE
    ).set_index("building_id")
    assert sorted(own.index) == sorted(known.index)
    known = known.loc[own.index]
    assert (known["limit_criterion"] == name).any()
    assert (own["firm_status"] == "ok").all()
    for column in ("limit_criterion", "limit_time", "second_criterion", "phases"):
        assert own[column].tolist() == known[column].tolist(), column
    for column in ("firm_kw", "flexible_energy98_kw", "flexible_hours95_kw"):
        gap = (own[column] - known[column]).abs()
        assert (gap <= 2.0 * TOLERANCE + 0.05).all(), column


@pytest.mark.parametrize("name", LIMITS)
def test_on_uneven_phases_it_is_what_three_loads_can_draw_together(name, street):
    """Bisection on three single-phase loads that a replay judges."""
    feeder, limits = street(), LIMITS[name]
    loads = loads_of(feeder, skew=-0.05)
    own = rated(feeder, loads, limits)
    grid = GridCase(feeder, loads, limits)
    case = grid.block(grid.feeder_ids[0])
    steps = np.arange(STEPS)

    def holds(building, kw):
        ports = [f"{building}.{phase}" for phase in "ABC"]
        at = case.feeder.ports.index.get_indexer(ports)
        sets = np.zeros(len(case.feeder.ports))
        sets[at] = kw / 3.0
        v = plan_voltages(case, sets, steps)
        fall = np.abs(case.port_voltage(case.v)) - np.abs(case.port_voltage(v))
        changed = fall[at].max() > limits.voltage_change_pu
        return bool((least_margin(case, v, steps)[0] >= 0.0).all()) and not changed

    for building, row in own[own["firm_status"] == "ok"].iterrows():
        low, high = 0.0, 200.0
        while high - low > 0.001:
            middle = 0.5 * (low + high)
            low, high = (middle, high) if holds(building, middle) else (low, middle)
        assert row["firm_kw"] <= low + 0.002
        assert row["firm_kw"] >= low - TOLERANCE - 1e-3 * low
    assert (own["firm_status"] == "ok").any()


def test_the_unit_draws_more_than_three_times_its_worst_phase(street):
    feeder = street()
    loads = loads_of(feeder, skew=0.3)
    own = rated(feeder, loads, Limits())
    single = hosting_capacity(feeder, loads)
    worst = single.groupby(single["building_id"].str[:-2])["firm_kw"].min()
    assert (own["firm_kw"] > 1.2 * 3.0 * worst.loc[own.index]).all()
    assert (own["firm_kw"] <= own["flexible_hours98_kw"] + 1e-9).all()
    assert (own["flexible_hours98_kw"] <= own["flexible_energy98_kw"] + 1e-9).all()


def test_a_broken_phase_leaves_nothing_and_a_missing_rating_no_value(street):
    feeder = street()
    loads = loads_of(feeder, skew=0.3)
    table = rated(feeder, loads, Limits(voltage_min_pu=0.9999))
    assert (table["firm_status"] == "none_base_violation").all()
    assert (table["firm_kw"] == 0.0).all()
    assert (table["flexible_energy98_kw"] == 0.0).all()
    terminals = feeder.terminals.copy()
    terminals.loc[terminals["element"] == "T", "rated_a"] = np.nan
    table = rated(replace(feeder, terminals=terminals), loads, Limits())
    assert (table["firm_status"] == "unrated").all()
    assert table[["firm_kw", "flexible_energy98_kw"]].isna().all(axis=None)


def test_an_element_with_little_of_its_power_does_not_count(street):
    """Acts on: a share of the unit's power, as in the balanced model."""
    feeder, plain = street(), street(three_phase=False)
    more, connections = three_phase(feeder)
    case = GridCase(more, loads_of(more), Limits(acts_on=0.4)).block("T")
    known = GridCase(plain, loads_of(plain), Limits(acts_on=0.4)).block("T")
    port = more.ports.index[case.block.ports].get_indexer(connections["port_id"])
    current = case.rows["criterion"].iloc[:-1].str.endswith("current").to_numpy()
    plain_current = known.rows["criterion"].iloc[:-1].str.endswith("current").to_numpy()
    found = case.acts_on[current][:, port].sum(axis=0)
    assert found.tolist() == (3 * known.acts_on[plain_current].sum(axis=0)).tolist()


def test_three_thirds_are_one_unit_in_power_flow_replay_and_joint_capacity(street):
    feeder, connections = three_phase(street())
    loads = loads_of(feeder, skew=0.2)
    limits = Limits(line_loading_max=0.5, voltage_change_pu=0.3)
    grid = GridCase(feeder, loads, limits)
    unit = pd.Series({"h2.ABC?": 24.0})
    thirds = pd.Series({f"h2.{phase}": 8.0 for phase in "ABC"})
    one, three = (replay_loads(feeder, loads, x, grid=grid) for x in (unit, thirds))
    assert one.summary["new"] == three.summary["new"] > 0
    pd.testing.assert_frame_equal(one.violations, three.violations)
    pd.testing.assert_frame_equal(one.voltages, three.voltages)
    table = hosting_capacity(feeder, loads, connections=connections, grid=grid)
    both = joint_capacity(feeder, loads, hosting=table, grid=grid)
    firm = table["firm_kw"]
    assert both.total["joint_max_kw"] >= firm.max() - 1e-6
    assert both.total["joint_max_kw"] < firm.sum()
    split = both.splits.set_index("port_id")["max_kw"]
    assert split.index.isin(connections["port_id"]).all()
    replay = replay_loads(feeder, loads, split, grid=grid)
    assert (replay.summary["new"], replay.summary["worsened"]) == (0, 0)
    row = table.iloc[1].to_dict()
    told = explain_capacity(feeder, loads, row, grid=grid)
    assert told.status == "ok"


def test_the_busiest_conductor_of_a_load_rules_its_service_of_three_phases(street):
    feeder, connections = three_phase(street())
    loads = loads_of(feeder, skew=0.3)
    three = connections.assign(service_a=25.0, service_v=400.0)
    single = three[:1].assign(port_id="h1.A", phases="A", service_v=400.0 / 3.0**0.5)
    both = pd.concat([three, single], ignore_index=True)
    limits = Limits(voltage_change_pu=0.3)
    table = hosting_capacity(feeder, loads, limits=limits, connections=both)
    found = table.set_index("port_id")["service_headroom_kw"]
    p, q = (x[loads.port_ids.str.startswith("h1.")] for x in loads.power_kw())
    rated_kva = 3.0**0.5 * 0.4 * 25.0
    tan = np.tan(np.arccos(0.98))

    def left(own_p, own_q, kva):
        kw = np.linspace(0.0, kva, 200_001)
        good = np.hypot(own_p.max() + kw, own_q.max() + tan * kw) <= kva
        return kw[good].max()

    assert found["h1.ABC?"] == pytest.approx(
        left(3.0 * p[0], 3.0 * q[0], rated_kva), abs=1e-3
    )
    assert found["h1.A"] == pytest.approx(left(p[0], q[0], rated_kva / 3.0), abs=1e-3)


def test_a_part_of_a_split_feeder_gives_the_same(street):
    """The bus of a unit stays whole, also where its phases are not coupled."""
    feeder, connections = three_phase(street())
    loads = loads_of(feeder, skew=0.2)
    for name, limits in LIMITS.items():
        values = [
            hosting_capacity(
                feeder,
                loads,
                connections=connections,
                tolerance_kw=TOLERANCE,
                grid=GridCase(feeder, loads, limits, whole_nodes=nodes),
            )
            for nodes in (500, 1)
        ]
        gap = (values[0]["firm_kw"] - values[1]["firm_kw"]).abs()
        assert (gap <= 2.0 * TOLERANCE).all(), name


def test_without_a_phase_there_is_a_status_and_no_number(street):
    feeder = street()
    keep = ~((feeder.nodes["bus"] == "b3") & (feeder.nodes["phases"] == "B"))
    nodes = feeder.nodes.assign(bus=feeder.nodes["bus"].where(keep, "elsewhere"))
    lame = replace(feeder, nodes=nodes)
    more, connections = three_phase(lame)
    table = hosting_capacity(more, loads_of(feeder), connections=connections).set_index(
        "building_id"
    )
    assert table["firm_status"].to_dict() == {
        "h1": "ok",
        "h2": "ok",
        "h3": "lacks_phase",
    }
    assert np.isnan(table.loc["h3", "firm_kw"])
    told = explain_capacity(
        more, loads_of(feeder), table.reset_index().iloc[2].to_dict()
    )
    assert "lacks one of the three phases" in told.reason
    with pytest.raises(DataError, match="not supplied"):
        replay_loads(more, loads_of(feeder), pd.Series({"h3.ABC?": 1.0}))
