"""The IEEE European low-voltage feeder against ``runpp_3ph`` of pandapower."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pandapower as pp
import pandas as pd
import pytest
from pandapower.networks import ieee_european_lv_asymmetric

from gridsite.feeder.candidate_ports import with_candidate_ports
from gridsite.feeder.profiles import constant_profiles
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.hosting.capacity import hosting_capacity
from gridsite.hosting.grid_case import GridCase
from gridsite.hosting.limits import Limits

PHASES = "abc"
CURRENTS = ("voltage", "line current", "transformer current")


def run(net):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pp.runpp_3ph(net, numba=False)
    return net


def snapshot(name, base_mva=0.1):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = ieee_european_lv_asymmetric(name)
    net.sn_mva = base_mva
    return net


def loads_of(feeder):
    at = feeder.load_ports
    return constant_profiles(at.index, at["p_kw"], at["q_kvar"])


@pytest.mark.parametrize("name", ["on_peak_566", "off_peak_1"])
def test_voltages_currents_and_losses_equal_runpp_3ph(name):
    net = run(snapshot(name))
    feeder = read_feeder(net)
    case = GridCase(feeder, loads_of(feeder), Limits()).block("Trafo")
    block = case.block
    nodes = feeder.nodes.iloc[block.nodes].assign(v=case.v[:, 0])
    names = net.bus["name"].astype(str).to_numpy()
    for phase in PHASES:
        known = net.res_bus_3ph[f"vm_{phase}_pu"] * np.exp(
            1j * np.deg2rad(net.res_bus_3ph[f"va_{phase}_degree"])
        )
        own = nodes[nodes["phases"] == phase.upper()].set_index("bus")["v"]
        assert set(own.index) == set(names)
        assert np.abs(own[names].to_numpy() - known.to_numpy()).max() < 1e-7
    terminals = feeder.terminals.iloc[block.terminals]
    amps = np.abs(block.currents(case.v)[:, 0]) * terminals["base_a"].to_numpy(float)
    flows = terminals.assign(amps=amps, phases=terminals["phases"].str.lower())
    for table in ("line", "trafo"):
        rows = flows[flows["element"].isin(net[table]["name"])]
        assert len(rows) == 6 * len(net[table])
        for (side, phase), group in rows.groupby(["side", "phases"]):
            own = group.set_index("element").loc[net[table]["name"]]
            known = net[f"res_{table}_3ph"][f"i_{phase}_{side}_ka"].to_numpy() * 1e3
            error = np.abs(own["amps"].to_numpy() - known) / own["rated_a"].to_numpy()
            assert error.max() < 1e-6
    lost = sum(
        net[f"res_{table}_3ph"][f"pl_{phase}_mw"].sum()
        for table in ("line", "trafo")
        for phase in PHASES
    )
    own = case.figures.base_losses * feeder.base_kva
    assert own == pytest.approx(1e3 * lost, abs=1e-5)
    served = net.asymmetric_load[["p_a_mw", "p_b_mw", "p_c_mw"]].sum().sum()
    assert feeder.load_ports["p_kw"].sum() == pytest.approx(1e3 * served)


def test_on_the_filed_power_base_the_difference_is_the_stopping_rule_of_pandapower():
    net = run(snapshot("on_peak_566", base_mva=100.0))
    tight = run(snapshot("on_peak_566"))
    columns = [f"vm_{phase}_pu" for phase in PHASES]
    loose = (net.res_bus_3ph[columns] - tight.res_bus_3ph[columns]).abs().max().max()
    assert 1e-6 < loose < 1e-5
    feeder = read_feeder(net)
    case = GridCase(feeder, loads_of(feeder), Limits()).block("Trafo")
    nodes = feeder.nodes.iloc[case.block.nodes].assign(v=np.abs(case.v[:, 0]))
    own = nodes[nodes["phases"] == "A"].set_index("bus")["v"]
    known = pd.Series(tight.res_bus_3ph["vm_a_pu"].to_numpy(), net.bus["name"])
    assert np.abs(own - known[own.index]).max() < 1e-7


def holds(net, port, kw, criteria):
    """Judge a load added to one phase by pandapower alone."""
    name, phases = port.lower().removesuffix("?").rsplit(".", 1)
    net = copy.deepcopy(net)
    row = net.asymmetric_load["name"].str.lower() == name
    bus = net.asymmetric_load.loc[row, "bus"].item()
    columns = [f"vm_{phase}_pu" for phase in phases]
    before = run(net).res_bus_3ph.loc[bus, columns]
    mw = kw / 1e3 / len(phases)
    for phase in phases:
        net.asymmetric_load.loc[row, f"p_{phase}_mw"] += mw
        net.asymmetric_load.loc[row, f"q_{phase}_mvar"] += mw * np.tan(np.arccos(0.98))
    run(net)
    voltage = net.res_bus_3ph[[f"vm_{p}_pu" for p in PHASES]].iloc[1:]
    current = net.res_line_3ph[[f"i_{p}_ka" for p in PHASES]].max(axis=1)
    return (
        voltage.min(axis=None) >= 0.9
        and voltage.max(axis=None) <= 1.1
        and (current / net.line["max_i_ka"]).max() <= 1.0
        and net.res_trafo_3ph["loading_percent"].max() <= 100.0
        and (
            "voltage change" not in criteria
            or (before - net.res_bus_3ph.loc[bus, columns]).max() <= 0.03
        )
        and (
            "unbalance" not in criteria
            or net.res_bus_3ph["unbalance_percent"].iloc[1:].max() <= 2.0
        )
    )


@pytest.mark.parametrize(
    ("criteria", "port", "limit"),
    [
        ((*CURRENTS, "voltage change"), "LOAD1.A", "voltage change"),
        ((*CURRENTS, "voltage change"), "LOAD27.C", "voltage change"),
        (CURRENTS, "LOAD1.A", "line current"),
        (CURRENTS, "LOAD21.A", "voltage high"),
        ((*CURRENTS, "unbalance"), "LOAD21.A", "unbalance"),
        (CURRENTS, "LOAD55.A", "voltage"),
        ((*CURRENTS, "voltage change"), "LOAD27.ABC?", "voltage change"),
        (CURRENTS, "LOAD27.ABC?", "line current"),
    ],
)
def test_firm_capacity_passes_in_runpp_3ph_and_a_little_more_fails(
    criteria, port, limit
):
    net = snapshot("on_peak_566")
    feeder = with_candidate_ports(read_feeder(net), [port])
    table = own_rows(feeder, port)
    found = hosting_capacity(
        feeder,
        loads_of(feeder),
        limits=Limits(criteria=criteria),
        connections=table,
        tolerance_kw=0.05,
    )
    row = found.iloc[0]
    assert (row["firm_status"], row["limit_criterion"]) == ("ok", limit)
    assert holds(net, port, row["firm_kw"] - 0.01, criteria)
    assert not holds(net, port, row["firm_kw"] + 0.1, criteria)


def own_rows(feeder, port):
    at = feeder.ports.loc[[port]]
    return pd.DataFrame(
        {
            "building_id": [port],
            "port_id": [port],
            "bus": at["bus"].to_numpy(),
            "phases": at["phases"].to_numpy(),
            "service_a": np.nan,
            "service_v": np.nan,
            "match_method": "load name",
            "match_distance_m": 0.0,
            "match_confidence": 1.0,
            "assumed": False,
        }
    )
