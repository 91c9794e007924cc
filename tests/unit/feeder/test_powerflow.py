"""The batched power flow: against pandapower, a direct solve and laws."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pandapower as pp
import pandas as pd
import pytest
import scipy.sparse as sp
from pandapower import networks
from scipy.optimize import root

from gridsite.feeder.model import Feeder
from gridsite.feeder.powerflow import Block
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.feeder.states import States


def states_of(feeder, block, factors):
    """Return states in which every port draws its filed power times a factor."""
    factors = np.atleast_2d(np.asarray(factors, dtype=float))
    ports = feeder.ports.iloc[block.ports]
    count = len(ports)
    row = np.arange(count) if len(factors) == count else np.zeros(count, dtype=int)
    return States(
        p_shapes=factors,
        q_shapes=factors,
        shape_of_port=row,
        p_scale=ports["p_kw"].to_numpy(dtype=float) / feeder.base_kva,
        q_scale=ports["q_kvar"].to_numpy(dtype=float) / feeder.base_kva,
        spread=np.zeros(count),
        tan_phi=0.2,
    )


def voltages(feeder, factor=1.0):
    """Return all node voltages with every port at its filed power."""
    v = np.full(len(feeder.nodes), np.nan, dtype=complex)
    v[feeder.source_nodes] = feeder.source_v
    for feeder_id in set(feeder.nodes["feeder_id"]) - {""}:
        block = Block(feeder, feeder_id)
        found = block.solve(states_of(feeder, block, [factor]), np.zeros(1, dtype=int))
        assert found.converged.all()
        v[block.nodes] = found.v[:, 0]
    return v


def loading_percent(feeder, v):
    """Return the largest current of each element over its rating."""
    current = np.abs(feeder.terminal_y @ v) * feeder.terminals["base_a"]
    percent = 100.0 * current / feeder.terminals["rated_a"]
    return percent.groupby(feeder.terminals["element"]).max()


def source_power_kw(feeder, v):
    """Return what the sources feed. [kW]"""
    current = feeder.y.tocsr()[feeder.source_nodes] @ v
    drawn = (feeder.source_v * np.conj(current)).sum() * feeder.base_kva
    return float(drawn.real)


def runpp(net):
    pp.runpp(
        net,
        calculate_voltage_angles=True,
        tolerance_mva=1e-9,
        max_iteration=50,
        numba=False,
        voltage_depend_loads=False,
    )


def named(net):
    """Give buses and branches names that tell their row."""
    for table, label in (
        ("bus", "bus"),
        ("line", "line"),
        ("trafo", "transformer"),
        ("trafo3w", "trafo3w"),
    ):
        net[table]["name"] = [f"{label} {i}" for i in net[table].index]
    return net


def assert_equals_pandapower(net):
    named(net)
    feeder = read_feeder(net)
    net.trafo.loc[net.trafo["tap_side"].notna(), "tap_changer_type"] = "Ratio"
    runpp(net)
    v = voltages(feeder)
    expected = net.res_bus["vm_pu"] * np.exp(1j * np.deg2rad(net.res_bus["va_degree"]))
    expected.index = net.bus["name"]
    at = feeder.nodes["bus"].isin(expected.index).to_numpy()
    assert at.sum() > 0.3 * len(net.bus)
    gap = np.abs(v[at] - expected.loc[feeder.nodes["bus"][at]].to_numpy())
    assert gap.max() < 1e-8
    ports = feeder.load_ports
    known = expected.loc[ports["bus"]].to_numpy()  # fused buses too
    assert np.abs(v[ports["node"].to_numpy()] - known).max() < 1e-8
    results = [
        net[f"res_{t}"]["loading_percent"].set_axis(net[t]["name"])
        for t in ("line", "trafo", "trafo3w")
    ]
    expected_percent = pd.concat(results)
    percent = loading_percent(feeder, v).drop(
        index=feeder.terminals.query("criterion == 'source'")["element"]
    )
    assert set(percent.index) <= set(expected_percent.index)
    absent = expected_percent.drop(percent.index)
    assert not (absent > 0).any()  # only branches out of service are left out
    gap = (percent - expected_percent[percent.index]).abs()
    assert gap.max() < 1e-6


@pytest.mark.filterwarnings("ignore:tap_dependency_table is missing")
@pytest.mark.parametrize(
    "maker",
    [
        networks.simple_four_bus_system,
        networks.simple_mv_open_ring_net,
        networks.panda_four_load_branch,
    ],
)
def test_power_flow_equals_pandapower_on_named_networks(maker):
    assert_equals_pandapower(maker())


def three_winding_net(*, loading=1.0):
    """Return a net whose one source feeds a three-winding transformer."""
    net = pp.create_empty_network()
    hv, mv, lv, end = (pp.create_bus(net, kv) for kv in (110.0, 20.0, 10.0, 10.0))
    pp.create_ext_grid(net, hv, vm_pu=1.02, va_degree=4.0)
    pp.create_transformer3w(
        net, hv, mv, lv, "63/25/38 MVA 110/20/10 kV", name="three", tap_pos=3
    )
    pp.create_line_from_parameters(net, lv, end, 1.5, 0.2, 0.12, 250.0, 0.4, name="out")
    pp.create_load(net, mv, 12.0 * loading, 3.0 * loading, name="mv load")
    pp.create_load(net, end, 8.0 * loading, 2.0 * loading, name="lv load")
    return net


def test_three_winding_transformer_equals_pandapower():
    assert_equals_pandapower(three_winding_net())


def test_switches_wards_shunts_and_motors_equal_pandapower():
    net = networks.simple_mv_open_ring_net()
    a, b = net.bus.index[3], net.bus.index[4]
    pp.create_ward(net, a, 0.1, 0.05, 0.05, 0.02, name="ward")
    pp.create_shunt(net, b, q_mvar=-0.1, p_mw=0.01)
    pp.create_motor(net, a, 0.2, 0.85, name="motor", loading_percent=80.0)
    pp.create_storage(net, b, p_mw=0.15, max_e_mwh=1.0, q_mvar=0.02, name="battery")
    pp.create_sgen(net, b, p_mw=0.3, q_mvar=0.05, scaling=0.7, name="sun")
    assert_equals_pandapower(net)


# --- many states at once ---


@pytest.fixture
def kerber():
    feeder = read_feeder(networks.create_kerber_landnetz_freileitung_1())
    (feeder_id,) = set(feeder.nodes["feeder_id"]) - {""}
    return feeder, Block(feeder, feeder_id)


def test_hopeless_state_is_flagged_and_leaves_the_others_as_they_were(kerber):
    feeder, block = kerber
    good = np.linspace(0.0, 3.0, 9)
    mixed = np.insert(good, [0, 4, 9], [1e4, 400.0, np.nan])
    alone = block.solve(states_of(feeder, block, good), np.arange(9))
    found = block.solve(states_of(feeder, block, mixed), np.arange(12))
    bad = ~np.isin(np.arange(12), [1, 2, 3, 4, 6, 7, 8, 9, 10])
    assert alone.converged.all()
    assert found.converged.tolist() == (~bad).tolist()
    assert np.isnan(found.v[:, bad]).all()  # N2: not zero
    assert np.isnan(found.residual_kva[bad]).all()
    np.testing.assert_array_equal(found.v[:, ~bad], alone.v)  # N1


def test_states_across_work_chunks_equal_states_solved_one_by_one(kerber):
    feeder, block = kerber
    factors = np.random.default_rng(1).uniform(0.0, 4.0, 150)
    factors[77] = 1e5
    states = states_of(feeder, block, factors)
    found = block.solve(states, np.arange(150))
    for step in (0, 63, 64, 76, 77, 78, 149):
        single = block.solve(states, np.array([step]))
        np.testing.assert_array_equal(single.v[:, 0], found.v[:, step])


def test_start_from_a_neighbour_gives_the_same_voltages(kerber):
    feeder, block = kerber
    factors = np.array([1.0, 2.0, 3.0])
    states = states_of(feeder, block, factors)
    cold = block.solve(states, np.arange(3), tolerance_pu=1e-12)
    warm = block.solve(
        states,
        np.arange(3),
        v_start=cold.v,
        start_of=np.array([2, 0, 1]),
        tolerance_pu=1e-12,
    )
    assert np.abs(cold.v - warm.v).max() < 1e-11
    assert (warm.iterations <= cold.iterations).all()


def test_residual_is_the_power_mismatch_of_the_voltages(kerber):
    feeder, block = kerber
    states = states_of(feeder, block, [0.5, 1.0, 2.0])
    found = block.solve(states, np.arange(3), tolerance_pu=1e-4)
    power = states.power(np.arange(3))
    drawn = np.zeros(found.v.shape, dtype=complex)
    np.add.at(drawn, block.port_node, power)
    into = block.i_source[:, None] - block.y @ found.v
    mismatch = np.abs(found.v * np.conj(into) - drawn).max(axis=0) * feeder.base_kva
    assert mismatch.max() > 1e-6  # a loose tolerance leaves something to see
    np.testing.assert_allclose(found.residual_kva, mismatch, rtol=0.01, atol=1e-7)
    tight = block.solve(states, np.arange(3))
    assert tight.residual_kva.max() < 1e-3


def test_added_load_equals_the_same_load_in_the_port(kerber):
    feeder, block = kerber
    states = states_of(feeder, block, [1.0])
    port, added = np.array([3]), np.array([0.02])
    found = block.solve(states, np.zeros(1, dtype=int), added_port=port, added=added)
    spread = np.zeros(len(block.ports))
    spread[3] = 0.02
    same = block.solve(replace(states, spread=spread), np.zeros(1, dtype=int))
    p, q = states.p_scale.copy(), states.q_scale.copy()
    p[3] += 0.02
    q[3] += 0.02 * states.tan_phi
    filed = block.solve(replace(states, p_scale=p, q_scale=q), np.zeros(1, dtype=int))
    assert np.abs(found.v - same.v).max() < 1e-12
    assert np.abs(found.v - filed.v).max() < 1e-12
    assert np.abs(found.v).min() < np.abs(block.solve(states, np.zeros(1, int)).v).min()


def test_order_of_ports_and_rows_changes_nothing():
    net = networks.create_kerber_landnetz_freileitung_1()
    net.load["name"] = [f"load {i}" for i in net.load.index]
    net.line["name"] = [f"line {i}" for i in net.line.index]
    net.bus["name"] = [f"bus {i}" for i in net.bus.index]
    net.load["p_mw"] *= np.linspace(0.5, 1.5, len(net.load))
    other = copy.deepcopy(net)
    other.load = other.load.sample(frac=1.0, random_state=3)
    other.line = other.line.sample(frac=1.0, random_state=4)
    one, two = read_feeder(net), read_feeder(other)
    v_one = pd.Series(voltages(one), index=one.nodes["bus"])
    v_two = pd.Series(voltages(two), index=two.nodes["bus"])
    assert set(one.ports.index) == set(two.ports.index)
    assert one.ports.index.tolist() != two.ports.index.tolist()
    assert (v_one - v_two.loc[v_one.index]).abs().max() < 1e-12
    first = loading_percent(one, v_one.to_numpy())
    second = loading_percent(two, v_two.to_numpy())
    assert (first - second).abs().max() < 1e-9


# --- signs (N26) ---


def net_of_every_sign():
    net = pp.create_empty_network()
    head, mid, end = (pp.create_bus(net, 0.4, name=n) for n in ("head", "mid", "end"))
    pp.create_ext_grid(net, head, name="grid")
    for a, b in ((head, mid), (mid, end)):
        pp.create_line_from_parameters(net, a, b, 0.2, 0.3, 0.08, 0.0, 0.2)
    pp.create_load(net, end, 0.020, 0.004, name="house")
    pp.create_sgen(net, end, 0.010, 0.002, name="sun")
    pp.create_storage(net, end, 0.005, 1.0, 0.001, name="battery")
    pp.create_motor(net, mid, 0.003, 0.8, efficiency_percent=90.0, name="pump")
    return net


@pytest.mark.parametrize(
    ("table", "column", "sign"),
    [
        ("load", "p_mw", 1),
        ("sgen", "p_mw", -1),
        ("storage", "p_mw", 1),
        ("motor", "pn_mech_mw", 1),
    ],
)
def test_one_more_kilowatt_moves_source_power_by_its_sign(table, column, sign):
    net = net_of_every_sign()
    feeder = read_feeder(net)
    base = source_power_kw(feeder, voltages(feeder))
    runpp(net)
    assert base == pytest.approx(net.res_ext_grid["p_mw"].sum() * 1e3, abs=1e-6)
    net[table].loc[0, column] += 0.001
    feeder = read_feeder(net)
    more = source_power_kw(feeder, voltages(feeder))
    assert 0.9 < sign * (more - base) < 1.4
    runpp(net)
    assert more == pytest.approx(net.res_ext_grid["p_mw"].sum() * 1e3, abs=1e-6)


def test_every_added_kilowatt_raises_source_power_by_more_than_itself():
    feeder = read_feeder(net_of_every_sign())
    (feeder_id,) = set(feeder.nodes["feeder_id"]) - {""}
    block = Block(feeder, feeder_id)
    states = states_of(feeder, block, [1.0])
    count = len(block.ports)
    found = block.solve(
        states,
        np.zeros(count + 1, dtype=int),
        added_port=np.append(np.arange(count), -1),
        added=np.full(count + 1, 1.0 / feeder.base_kva),
    )
    (row,) = feeder.terminals.query("criterion == 'source'").index
    current = block.currents(found.v)[list(block.terminals).index(row)]
    power = np.real(feeder.source_v[0] * np.conj(current)) * feeder.base_kva
    assert (power[:-1] - power[-1] > 1.0).all()


# --- ports between two nodes ---


def unbalanced_feeder():
    """Return a three-phase feeder of two sections with coupled impedances."""
    z = np.array(
        [
            [0.020 + 0.050j, 0.006 + 0.020j, 0.006 + 0.017j],
            [0.006 + 0.020j, 0.021 + 0.048j, 0.006 + 0.019j],
            [0.006 + 0.017j, 0.006 + 0.019j, 0.020 + 0.051j],
        ]
    )
    y_line = np.linalg.inv(z)
    y = np.zeros((9, 9), dtype=complex)
    for a, b in ((0, 3), (3, 6)):
        y[a : a + 3, a : a + 3] += y_line
        y[b : b + 3, b : b + 3] += y_line
        y[a : a + 3, b : b + 3] -= y_line
        y[b : b + 3, a : a + 3] -= y_line
    ports = pd.DataFrame(
        {
            "port_id": ["ab", "bc", "ca far", "c", "a far", "b far"],
            "node": [3, 4, 8, 5, 6, 7],
            "node_return": [4, 5, 6, -1, -1, -1],
            "p_kw": [30.0, 20.0, 25.0, 10.0, 15.0, -8.0],
            "q_kvar": [5.0, -3.0, 8.0, 2.0, 0.0, 1.0],
        }
    ).set_index("port_id")
    ports["feeder_id"], ports["kind"] = "f", "load"
    nodes = pd.DataFrame(
        {
            "bus": [f"{b}.{p}" for b in "012" for p in "abc"],
            "phases": list("ABC") * 3,
            "voltage_kv": 0.4,
            "feeder_id": [""] * 3 + ["f"] * 6,
            "limited": True,
        }
    )
    current = np.hstack([y_line, -y_line])
    return Feeder(
        name="three-phase",
        base_kva=1000.0,
        nodes=nodes,
        y=sp.csc_array(y),
        source_nodes=np.arange(3),
        source_v=1.02 * np.exp(-2j * np.pi / 3 * np.arange(3)),
        ports=ports,
        elements=pd.DataFrame(),
        terminals=pd.DataFrame(
            {
                "element": "line",
                "side": list("abc"),
                "node": [0, 1, 2],
                "feeder_id": "f",
                "criterion": "line current",
            }
        ),
        terminal_y=sp.csr_array(np.hstack([current, np.zeros((3, 3))])),
    )


def direct_voltages(feeder, power):
    """Solve the nodal equations with scipy; power by port in pu."""
    free = np.setdiff1d(np.arange(len(feeder.nodes)), feeder.source_nodes)
    y = feeder.y.toarray()
    ports = feeder.ports

    def full(x):
        v = np.empty(len(feeder.nodes), dtype=complex)
        v[feeder.source_nodes] = feeder.source_v
        v[free] = x[: len(free)] + 1j * x[len(free) :]
        return v

    def mismatch(x):
        v = full(x)
        i = -(y @ v)
        for node, back, s in zip(
            ports["node"], ports["node_return"], power, strict=True
        ):
            across = v[node] - (v[back] if back >= 0 else 0.0)
            drawn = np.conj(s / across)
            i[node] -= drawn
            if back >= 0:
                i[back] += drawn
        return np.concatenate([i[free].real, i[free].imag])

    start = np.tile(feeder.source_v, len(free) // 3)
    found = root(mismatch, np.concatenate([start.real, start.imag]), tol=1e-13)
    return full(found.x)


def test_ports_between_two_nodes_equal_a_direct_solve():
    feeder = unbalanced_feeder()
    block = Block(feeder, "f")
    states = states_of(feeder, block, [0.0, 1.0, 2.0])
    found = block.solve(states, np.arange(3), tolerance_pu=1e-13)
    assert found.converged.all()
    power = states.power(np.arange(3))
    for step in range(3):
        expected = direct_voltages(feeder, power[:, step])
        assert np.abs(found.v[:, step] - expected[3:]).max() < 1e-10
    head = direct_voltages(feeder, power[:, 2])
    expected = feeder.terminal_y @ head
    assert np.abs(block.currents(found.v)[:, 2] - expected).max() < 1e-9


def test_added_load_between_two_nodes_equals_a_direct_solve():
    feeder = unbalanced_feeder()
    block = Block(feeder, "f")
    states = states_of(feeder, block, [1.0])
    for port in range(len(feeder.ports)):
        found = block.solve(
            states,
            np.zeros(1, dtype=int),
            added_port=np.array([port]),
            added=np.array([0.03]),
            tolerance_pu=1e-13,
        )
        power = states.power(np.zeros(1, dtype=int))[:, 0]
        power[port] += 0.03 * (1 + 1j * states.tan_phi)
        expected = direct_voltages(feeder, power)
        assert np.abs(found.v[:, 0] - expected[3:]).max() < 1e-10


def test_impedance_is_the_fall_of_voltage_per_current_between_the_nodes():
    feeder = unbalanced_feeder()
    block = Block(feeder, "f")
    y = feeder.y.toarray()[3:, 3:]
    for port, row in enumerate(feeder.ports.itertuples()):
        current = np.zeros(6, dtype=complex)
        current[row.node - 3] = 1.0
        if row.node_return >= 0:
            current[row.node_return - 3] = -1.0
        expected = np.linalg.solve(y, current)
        np.testing.assert_allclose(block.impedance[:, port], expected, atol=1e-12)
    np.testing.assert_allclose(block.v_no_load, np.tile(feeder.source_v, 2), atol=1e-12)


def test_turning_all_phases_turns_all_voltages():
    feeder = unbalanced_feeder()
    turn = np.exp(2j * np.pi / 3)
    block = Block(feeder, "f")
    other = Block(replace(feeder, source_v=feeder.source_v * turn), "f")
    states = states_of(feeder, block, [1.0])
    zero = np.zeros(1, dtype=int)
    one = block.solve(states, zero, tolerance_pu=1e-13).v
    two = other.solve(states, zero, tolerance_pu=1e-13).v
    assert np.abs(one * turn - two).max() < 1e-11
