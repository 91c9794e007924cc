"""The three-phase model: against pandapower, the balanced reader and laws."""

from __future__ import annotations

import copy
import functools
import warnings
from dataclasses import replace

import numpy as np
import pandapower as pp
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridsite.errors import FeederError
from gridsite.feeder.checks import check_feeder
from gridsite.feeder.powerflow import Block
from gridsite.feeder.profiles import constant_profiles
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.feeder.states import States
from gridsite.feeder.unbalance import bus_triples, voltage_unbalance
from gridsite.hosting.capacity import hosting_capacity
from gridsite.hosting.grid_case import GridCase
from gridsite.hosting.limits import Limits

TURN = np.exp(-2j * np.pi / 3 * np.arange(3))


def add_trafo(net, hv, lv, group, **changes):
    values = {
        "sn_mva": 0.4,
        "vn_hv_kv": 20.0,
        "vn_lv_kv": 0.4,
        "vkr_percent": 1.2,
        "vk_percent": 4.0,
        "pfe_kw": 1.0,
        "i0_percent": 0.3,
        "shift_degree": 150.0 if group.startswith("D") else 0.0,
        "vector_group": group,
        "vk0_percent": 3.5,
        "vkr0_percent": 1.0,
        "mag0_percent": 100.0,
        "mag0_rx": 0.1,
        "si0_hv_partial": 0.9,
        "tap_side": "hv",
        "tap_pos": 1,
        "tap_neutral": 0,
        "tap_step_percent": 2.5,
        "tap_changer_type": "Ratio",
    } | changes
    pp.create_transformer_from_parameters(net, hv, lv, **values)


def add_line(net, a, b, km, **changes):
    values = {
        "r_ohm_per_km": 0.2,
        "x_ohm_per_km": 0.08,
        "c_nf_per_km": 200.0,
        "max_i_ka": 0.3,
        "r0_ohm_per_km": 0.8,
        "x0_ohm_per_km": 0.3,
        "c0_nf_per_km": 100.0,
    } | changes
    return pp.create_line_from_parameters(net, a, b, km, **values)


def make_net(*, s_sc_mva=150.0, group="Dyn", loads=True):
    """
    Return a 20 kV line with two stations, one Dyn and one YNyn, taps off neutral.

    Low voltage has fused buses, an open line end, a shunt and an unsupplied bus.
    A small power base makes pandapower's stopping rule a tight one.
    """
    net = pp.create_empty_network(sn_mva=0.1)
    mv = [pp.create_bus(net, 20.0, name=f"mv{i}") for i in range(4)]
    pp.create_ext_grid(
        net,
        mv[0],
        vm_pu=1.02,
        va_degree=7.0,
        s_sc_max_mva=s_sc_mva,
        rx_max=0.3,
        x0x_max=1.7,
        r0x0_max=0.4,
    )
    for i in range(3):
        add_line(net, mv[i], mv[i + 1], 2.0, r0_ohm_per_km=0.9, c0_nf_per_km=180.0)
    lv = [pp.create_bus(net, 0.4, name=f"lv{i}") for i in range(7)]
    add_trafo(net, mv[1], lv[0], group, name="T1", parallel=2)
    add_trafo(net, mv[3], lv[4], "YNyn", name="T2", tap_pos=-1, df=0.9)
    add_line(net, lv[0], lv[1], 0.3)
    add_line(net, lv[1], lv[2], 0.2, parallel=2)
    add_line(net, lv[4], lv[5], 0.3)
    pp.create_switch(net, lv[2], lv[3], et="b", closed=True)
    add_line(net, lv[5], lv[6], 0.3)
    tie = add_line(net, lv[3], lv[6], 0.3)
    pp.create_switch(net, lv[6], tie, et="l", closed=False)
    pp.create_shunt(net, lv[5], q_mvar=-0.01, p_mw=0.001)
    pp.create_bus(net, 0.4, name="dark")
    if loads:
        add_loads(net, lv)
    return net


def add_loads(net, lv):
    pp.create_load(net, lv[3], 0.03, 0.012, name="three", type="wye")
    pp.create_load(net, lv[1], 0.02, 0.005, name="tri", type="delta", scaling=1.1)
    pp.create_sgen(net, lv[5], 0.008, 0.001, name="sun", type="wye")
    single = pp.create_asymmetric_load
    x = {"p_a_mw": 0.03, "p_b_mw": 0.005, "p_c_mw": 0.01, "q_a_mvar": 0.01}
    single(net, lv[2], **x, scaling=0.9, name="X", type="wye")
    y = {"p_a_mw": 0.02, "p_c_mw": 0.004, "q_a_mvar": 0.01}
    single(net, lv[6], **y, name="Y", type="delta")
    pp.create_asymmetric_sgen(
        net, lv[5], p_b_mw=0.015, q_b_mvar=-0.002, name="PV", type="wye"
    )


def filed_state(feeder, block, factor=1.0):
    """Return the one state in which every port draws its filed power."""
    ports = feeder.ports.iloc[block.ports]
    return States(
        p_shapes=np.full((1, 1), factor),
        q_shapes=np.full((1, 1), factor),
        shape_of_port=np.zeros(len(ports), dtype=np.int64),
        p_scale=ports["p_kw"].to_numpy(dtype=float) / feeder.base_kva,
        q_scale=ports["q_kvar"].to_numpy(dtype=float) / feeder.base_kva,
        spread=np.zeros(len(ports)),
        tan_phi=0.0,
    )


def solved(feeder, factor=1.0):
    """Return the block, all node voltages [pu] and all terminal currents [A]."""
    (feeder_id,) = set(feeder.nodes["feeder_id"]) - {""}
    block = Block(feeder, feeder_id)
    found = block.solve(
        filed_state(feeder, block, factor),
        np.zeros(1, dtype=np.int64),
        tolerance_pu=1e-12,
    )
    assert found.converged.all()
    v = np.full(len(feeder.nodes), np.nan + 0j)
    v[block.nodes], v[feeder.source_nodes] = found.v[:, 0], feeder.source_v
    amps = np.full(len(feeder.terminals), np.nan + 0j)
    amps[block.terminals] = block.currents(found.v)[:, 0]
    return block, v, amps * feeder.terminals["base_a"].to_numpy(dtype=float)


def phasors(net):
    """Return pandapower's phase voltages of supplied buses, by bus name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pp.runpp_3ph(net, numba=False)
    found = net.res_bus_3ph
    turn = {p: np.exp(1j * np.deg2rad(found[f"va_{p}_degree"])) for p in "abc"}
    table = pd.DataFrame({p.upper(): found[f"vm_{p}_pu"] * turn[p] for p in "abc"})
    return table.set_index(net.bus["name"].to_numpy()).dropna()


def by_bus(feeder, v):
    parts = {
        phase: pd.Series(v[at], feeder.nodes["bus"][at])
        for phase in "ABC"
        for at in [(feeder.nodes["phases"] == phase).to_numpy()]
    }
    return pd.DataFrame(parts)


@pytest.mark.parametrize("s_sc_mva", [150.0, 20.0])
def test_voltages_and_currents_equal_runpp_3ph(s_sc_mva):
    net = make_net(s_sc_mva=s_sc_mva)
    feeder = read_feeder(net)
    _, v, amps = solved(feeder)
    expected = phasors(net)
    # fused buses are one node under the first bus's name
    ours = by_bus(feeder, v)
    shared = ours.index.intersection(expected.index)
    assert len(shared) == 10
    assert np.abs(ours.loc[shared] - expected.loc[shared]).to_numpy().max() < 1e-7
    flows = feeder.terminals.assign(amps=np.abs(amps))
    for kind, table in (("line", "line"), ("transformer", "trafo")):
        result = net[f"res_{table}_3ph"]
        names = [f"line {i}" for i in net.line.index]
        names = names if kind == "line" else net.trafo["name"].tolist()
        rows = flows[flows["criterion"] == f"{kind} current"]
        assert set(rows["element"]) == set(names)
        for (side, phase), group in rows.groupby(["side", "phases"]):
            own = group.set_index("element").reindex(names)
            known = result[f"i_{phase.lower()}_{side}_ka"].to_numpy() * 1e3
            loading = np.abs(own["amps"].to_numpy() - known) / own["rated_a"].to_numpy()
            assert loading.max() < 1e-6
            if kind == "transformer":
                most = rows[rows["phases"] == phase].assign(
                    x=lambda r: 100.0 * r["amps"] / r["rated_a"]
                )
                percent = most.groupby("element")["x"].max().reindex(names)
                theirs = result[f"loading_{phase.lower()}_percent"].to_numpy()
                assert np.abs(percent.to_numpy() - theirs).max() < 1e-4


def test_unbalance_is_negative_over_positive_sequence():
    net = make_net()
    feeder = read_feeder(net)
    _, v, _ = solved(feeder)
    expected = phasors(net)
    triples = bus_triples(feeder.nodes)
    found = pd.Series(voltage_unbalance(v[:, None], triples)[:, 0], triples.index)
    theirs = pd.Series(net.res_bus_3ph["unbalance_percent"].to_numpy(), net.bus["name"])
    shared = found.index.intersection(expected.index)
    assert "mv0" not in found.index  # held by the source
    assert len(shared) == 9
    assert np.abs(100.0 * found[shared] - theirs[shared]).max() < 1e-5
    assert found.max() > 0.005
    # a pure zero sequence is no unbalance; two of three phases swapped is all of it
    one = pd.DataFrame({"A": [0], "B": [1], "C": [2]})
    shifted = TURN + 0.1
    assert voltage_unbalance(shifted[:, None], one)[0, 0] == pytest.approx(
        0.0, abs=1e-9
    )
    assert voltage_unbalance(np.conj(shifted)[:, None], one)[0, 0] > 1e9
    assert np.isnan(voltage_unbalance(np.array([[np.nan], [1], [1]]), one)).all()


def test_triples_of_a_balanced_model_are_none_and_double_nodes_are_refused():
    feeder = read_feeder("pandapower:create_kerber_landnetz_freileitung_1")
    assert not len(bus_triples(feeder.nodes))
    assert voltage_unbalance(np.ones((5, 2)) + 0j, bus_triples(feeder.nodes)).size == 0
    nodes = pd.DataFrame({"bus": ["x"] * 4, "phases": list("ABCA"), "limited": True})
    with pytest.raises(FeederError, match="two nodes of one phase"):
        bus_triples(nodes)


def test_balanced_loads_equal_the_balanced_reader():
    net = make_net(loads=False)
    pp.create_load(net, 7, 0.06, 0.02, name="low", type="wye")
    pp.create_load(net, 9, 0.03, 0.01, name="tri", type="delta")
    pp.create_load(net, 2, 0.3, 0.1, name="high", type="wye")
    three, one = read_feeder(net, three_phase=True), read_feeder(net)
    _, v3, i3 = solved(three)
    _, v1, i1 = solved(one)
    ours = by_bus(three, v3)
    base = pd.Series(v1, one.nodes["bus"]).reindex(ours.index).dropna()
    assert len(base) == 11
    for k, phase in enumerate("ABC"):
        assert np.abs(ours.loc[base.index, phase] - base * TURN[k]).max() < 1e-8
    known = pd.Series(
        np.abs(i1), pd.MultiIndex.from_frame(one.terminals[["element", "side"]])
    )
    own = pd.Series(
        np.abs(i3), pd.MultiIndex.from_frame(three.terminals[["element", "side"]])
    )
    own = own[[side != "source" for _, side in own.index]]
    assert np.abs(own - known.reindex(own.index)).max() < 1e-5
    ratings = one.terminals.set_index(["element", "side"])["rated_a"]
    theirs = three.terminals.set_index(["element", "side"])["rated_a"].dropna()
    assert np.allclose(theirs, ratings.reindex(theirs.index))


@settings(max_examples=15, deadline=None)
@given(
    kw=st.lists(st.floats(-20.0, 20.0), min_size=15, max_size=15),
    share=st.floats(-0.5, 0.5),
)
def test_what_sources_give_is_drawn_or_lost(kw, share):
    feeder = whole()
    ports = feeder.ports.assign(p_kw=np.resize(kw, len(feeder.ports)))
    feeder = replace(feeder, ports=ports.assign(q_kvar=share * ports["p_kw"]))
    _, v, amps = solved(feeder)
    terminals = feeder.terminals
    current = amps / terminals["base_a"].to_numpy(dtype=float)
    power = v[terminals["node"]] * np.conj(current) * feeder.base_kva
    source = (terminals["criterion"] == "source").to_numpy()
    shunt = 1.0 / 3.0 * np.abs(by_bus(feeder, v).loc["lv5"]).pow(2).sum()
    lost = power[~source].real.sum() + shunt
    # at the bus, behind the impedance of the source
    bus_v = by_bus(feeder, v).loc["mv0"].to_numpy(complex)
    given_kw = (bus_v * np.conj(current[source])).real.sum() / 3.0 * feeder.base_kva
    assert given_kw == pytest.approx(ports["p_kw"].sum() + lost, abs=1e-6)
    assert lost > 0.0


@functools.cache
def whole():
    return read_feeder(make_net())


def test_one_more_kw_at_any_port_raises_what_the_source_gives():
    feeder = whole()

    def given_kw(ports):
        now = replace(feeder, ports=ports)
        _, v, amps = solved(now)
        at = (now.terminals["criterion"] == "source").to_numpy()
        rows = now.terminals[at]
        current = amps[at] / rows["base_a"].to_numpy(dtype=float) / 3.0
        return (v[rows["node"]] * np.conj(current)).real.sum() * now.base_kva

    base = given_kw(feeder.ports)
    for port in feeder.ports.index:
        ports = feeder.ports.copy()
        ports.loc[port, "p_kw"] += 1.0
        assert 0.9 < given_kw(ports) - base < 1.5


def test_turning_all_phases_turns_all_voltages():
    net = make_net()
    turned = copy.deepcopy(net)
    for table in (turned.asymmetric_load, turned.asymmetric_sgen):
        for unit in ("p_{}_mw", "q_{}_mvar"):
            a, b, c = (unit.format(p) for p in "abc")
            table[[b, c, a]] = table[[a, b, c]].to_numpy()
    one, two = read_feeder(net), read_feeder(turned)
    v = by_bus(one, solved(one)[1])
    w = by_bus(two, solved(two)[1])
    assert (
        np.abs(np.abs(w[["B", "C", "A"]].to_numpy()) - np.abs(v.to_numpy())).max()
        < 1e-9
    )


# --- what is served ---


def test_loads_without_a_type_are_served_although_runpp_3ph_drops_them():
    net = make_net()
    for table in ("load", "sgen", "asymmetric_load"):
        net[table]["type"] = np.nan if table == "load" else "PV"
    feeder = read_feeder(net)
    filed = (net.load["p_mw"] * net.load["scaling"]).sum() - net.sgen["p_mw"].sum()
    for table, sign in (("asymmetric_load", 1.0), ("asymmetric_sgen", -1.0)):
        p_mw = net[table][["p_a_mw", "p_b_mw", "p_c_mw"]].sum(axis=1)
        filed += sign * (p_mw * net[table]["scaling"]).sum()
    assert feeder.ports["p_kw"].sum() == pytest.approx(1e3 * filed)
    assert (feeder.ports["node_return"] == -1).all()
    assert sum("taken as wye" in note for note in feeder.notes) == 3
    phasors(net)
    source = net.res_ext_grid_3ph
    source_mw = source[["p_a_mw", "p_b_mw", "p_c_mw"]].sum().sum()
    assert source_mw < 0.0 < filed  # the trap: only PV.B is left


def test_ports_stand_where_the_file_says():
    ports = whole().ports
    nodes = whole().nodes
    assert ports.loc["X.A", "p_kw"] == pytest.approx(27.0)
    assert "Y.BC" not in ports.index
    at = nodes.loc[[ports.loc["Y.CA", "node"], ports.loc["Y.CA", "node_return"]]]
    assert at["phases"].tolist() == ["C", "A"]
    assert at["bus"].tolist() == ["lv6", "lv6"]
    assert ports.loc["asymmetric_sgen: PV.B", "p_kw"] == pytest.approx(-15.0)
    assert ports.loc["tri.AB", "p_kw"] == pytest.approx(22.0 / 3.0)
    assert whole().load_ports["phases"].tolist() == [
        *("A", "B", "C", "AB", "BC", "CA"),
        *("A", "B", "C", "AB", "CA"),
    ]
    assert whole().unsupplied_buses == ("dark",)


def test_rows_without_power_get_a_port_on_each_phase_with_a_note():
    net = make_net()
    pp.create_asymmetric_load(net, 8, name="Z", type="wye")
    feeder = read_feeder(net)
    assert {"Z.A", "Z.B", "Z.C"} <= set(feeder.ports.index)
    assert any("their phase is not known" in note for note in feeder.notes)


def test_loads_at_unsupplied_buses_have_no_node():
    net = make_net()
    pp.create_asymmetric_load(net, 11, p_b_mw=0.01, name="lost", type="delta")
    ports = read_feeder(net).ports
    row = ports.loc["lost.BC"]
    assert (row["node"], row["node_return"], row["feeder_id"]) == (-1, -1, "")


def test_loads_at_the_source_bus_are_held_by_the_source():
    net = make_net()
    pp.create_asymmetric_load(net, 0, p_b_mw=0.01, name="plant", type="delta")
    feeder = read_feeder(net)
    row = feeder.ports.loc["plant.BC"]
    assert {row["node"], row["node_return"]} == set(feeder.source_nodes[1:])
    assert row["feeder_id"] == ""
    assert any("at a source's bus" in note for note in feeder.notes)
    assert np.allclose(solved(feeder)[1], solved(whole())[1], atol=1e-12)


# --- what is refused, or read otherwise ---


@pytest.mark.parametrize("group", ["Dyn5", "dyn11", "DYN", " Dyn1 "])
def test_clock_numbers_of_vector_groups_are_left_to_the_shift(group):
    net = make_net(group=group)
    net.trafo.loc[0, "shift_degree"] = 150.0
    feeder = read_feeder(net)
    assert abs(feeder.y - whole().y).max() < 1e-12
    noted = any("clock number" in note for note in feeder.notes)
    assert noted == (group.strip() in {"dyn11", "Dyn1"})


@pytest.mark.parametrize(
    "group", ["Yyn", "Yyn0", "Dy5", "Yzn5", "Yy", "YNd5", "", None]
)
def test_groups_without_a_sound_zero_sequence_are_refused(group):
    net = make_net()
    net.trafo.loc[0, "vector_group"] = group
    with pytest.raises(FeederError, match=r"T1 has vector group|vector_group \(1 of 2"):
        read_feeder(net)
    net.trafo.loc[0, "in_service"] = False
    read_feeder(net)  # out of service it does no harm


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("line", "r0_ohm_per_km"),
        ("trafo", "vk0_percent"),
        ("trafo", "vector_group"),
        ("ext_grid", "x0x_max"),
        ("ext_grid", "s_sc_max_mva"),
    ],
)
def test_missing_zero_sequence_data_are_named(table, column):
    net = make_net()
    rows = len(net[table])
    whole = net[table][column].copy()
    net[table].loc[0, column] = np.nan
    message = rf"2 asymmetric_load row\(s\).*{table}\.{column} \(1 of {rows} rows\)"
    with pytest.raises(FeederError, match=message):
        read_feeder(net)
    net[table] = net[table].drop(columns=column)
    with pytest.raises(FeederError, match=rf"{column} \({rows} of {rows} rows\)"):
        read_feeder(net)
    net[table][column] = whole
    read_feeder(net)


def test_three_phase_is_an_option_of_read_feeder():
    net = make_net()
    with pytest.raises(FeederError, match=r"asymmetric_load row\(s\): loads by phase"):
        read_feeder(net, three_phase=False)
    for table in ("asymmetric_load", "asymmetric_sgen"):
        net[table]["in_service"] = False
    assert set(read_feeder(net).nodes["phases"]) == {"ABC"}
    assert set(read_feeder(net, three_phase=True).nodes["phases"]) == {"A", "B", "C"}
    bare = "pandapower:create_kerber_landnetz_freileitung_1"
    with pytest.raises(
        FeederError, match=r"three_phase=True need.*line\.r0_ohm_per_km"
    ):
        read_feeder(bare, three_phase=True)


def test_powers_that_are_missing_and_names_that_stand_twice_are_refused():
    net = make_net()
    net.asymmetric_load.loc[0, "p_c_mw"] = np.nan
    with pytest.raises(FeederError, match=r"asymmetric_load: 1 row.*\['X'\]"):
        read_feeder(net)
    net = make_net()
    net.asymmetric_load.loc[0, "name"] = "three"
    with pytest.raises(FeederError, match=r"stand twice: \['three\.A'"):
        read_feeder(net)


def test_three_winding_transformers_and_wards_are_refused():
    net = make_net()
    pp.create_ward(net, 7, 0.001, 0.0, 0.0, 0.0)
    with pytest.raises(FeederError, match=r"1 ward row\(s\)"):
        read_feeder(net)


def test_the_net_is_not_changed_by_reading():
    net = make_net()
    before = copy.deepcopy(net)
    read_feeder(net)
    for table in ("trafo", "line", "ext_grid", "asymmetric_load", "load", "bus"):
        pd.testing.assert_frame_equal(net[table], before[table])


# --- what the rest of gridsite does with it ---


def test_check_feeder_reads_the_model():
    found = check_feeder(make_net())
    assert not (found["severity"] == "error").any()
    loading = found.set_index("check").loc["base transformer loading", "value"]
    net = make_net()
    phasors(net)
    assert loading == pytest.approx(
        net.res_trafo_3ph["loading_percent"].max(), abs=1e-4
    )


def loads_of(feeder):
    at = feeder.load_ports
    return constant_profiles(at.index, at["p_kw"], at["q_kvar"])


def test_a_sources_limit_holds_on_each_phase_by_a_third():
    feeder = whole()
    limits = Limits(criteria=("source",), source_kva=300.0, acts_on=0.01)
    table = hosting_capacity(feeder, loads_of(feeder), limits=limits, tolerance_kw=0.01)
    port = table.set_index("port_id").loc["X.A"]
    assert (port["firm_status"], port["limit_criterion"]) == ("ok", "source")
    ports = feeder.ports.copy()
    silent = ports["kind"] == "generation"  # switched off without a profile
    ports.loc[silent, ["p_kw", "q_kvar"]] = 0.0
    ports.loc["X.A", "p_kw"] += port["firm_kw"]
    ports.loc["X.A", "q_kvar"] += port["firm_kw"] * np.tan(np.arccos(0.98))
    _, v, amps = solved(replace(feeder, ports=ports))
    at = (feeder.terminals["criterion"] == "source").to_numpy()
    volts = np.abs(v[feeder.terminals["node"][at]]) * 20e3 / np.sqrt(3.0)
    kva = np.abs(amps[at]) * volts / 1e3
    assert kva.max() == pytest.approx(100.0, abs=0.02)


def test_losses_of_a_base_case_are_those_of_runpp_3ph():
    net = make_net()
    net.sgen["in_service"] = net.asymmetric_sgen["in_service"] = False
    feeder = read_feeder(net)
    case = GridCase(feeder, loads_of(feeder), Limits()).block("feeder 0")
    phasors(net)
    theirs = sum(
        net[f"res_{table}_3ph"][f"pl_{phase}_mw"].sum()
        for table in ("line", "trafo")
        for phase in "abc"
    )
    own = case.figures.base_losses * feeder.base_kva
    assert own == pytest.approx(1e3 * theirs, rel=1e-6)
