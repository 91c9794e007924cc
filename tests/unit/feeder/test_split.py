"""A feeder in parts: what is a leaf, and that the parts are the whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandapower as pp
import pytest

from gridsite.errors import BaseCaseError
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.feeder.split import find_leaves, split_feeder
from gridsite.hosting.grid_case import GridCase
from gridsite.hosting.limits import Limits


def bus(net, name):
    (index,) = net.bus.index[net.bus["name"] == name]
    return index


def station(net, hv, lv, name):
    """Add a transformer like that of grid A."""
    like = net.trafo[net.trafo["name"] == "station A1"].iloc[0]
    columns = ["sn_mva", "vn_hv_kv", "vn_lv_kv", "vkr_percent", "vk_percent"]
    columns += ["pfe_kw", "i0_percent", "shift_degree"]
    pp.create_transformer_from_parameters(net, hv, lv, name=name, **like[columns])


def second_station(net):
    """Feed grid A from a second point of the ring."""
    station(net, bus(net, "m4"), bus(net, "A bar"), "second A")


def tie(net):
    """Join grids A and D by a cable."""
    ends = bus(net, "at A12"), bus(net, "at D12")
    pp.create_line_from_parameters(net, *ends, 0.3, 0.32, 0.08, 0.0, 0.2, name="tie")


def mesh(net):
    """Close a ring inside grid B."""
    ends = bus(net, "at B13"), bus(net, "at B23")
    pp.create_line_from_parameters(net, *ends, 0.3, 0.32, 0.08, 0.0, 0.2, name="mesh")


def lower_level(net):
    """Hang a 230 V shed behind a small transformer on grid B."""
    low = pp.create_bus(net, 0.23, name="low")
    pp.create_transformer_from_parameters(
        net, bus(net, "at B23"), low, 0.02, 0.4, 0.23, 1.0, 4.0, 0.05, 0.3, name="tiny"
    )
    pp.create_load(net, low, 0.002, name="shed")


def booster(net):
    """Add a 0.4/0.4 kV transformer inside grid B: the same level, the same leaf."""
    far = pp.create_bus(net, 0.4, name="far")
    pp.create_transformer_from_parameters(
        net, bus(net, "at B13"), far, 0.1, 0.4, 0.4, 1.0, 4.0, 0.05, 0.3, name="boost"
    )
    pp.create_load(net, far, 0.002, name="shed")


def three_windings(net):
    """Hang two levels on m1 by one transformer of three windings."""
    ends = [pp.create_bus(net, kv, name=f"{kv} kV") for kv in (10.0, 0.4)]
    pp.create_transformer3w_from_parameters(
        net,
        bus(net, "m1"),
        *ends,
        20.0,
        10.0,
        0.4,
        1.0,
        0.5,
        0.5,
        *[4.0] * 3,
        *[0.5] * 4,
        0.2,
        name="three",
    )
    for end in ends:
        pp.create_load(net, end, 0.05, 0.01, name=f"works {end}")


def idle_and_open(net):
    """Add a station without customers, and one with its low-voltage side open."""
    station(net, bus(net, "m1"), pp.create_bus(net, 0.4, name="idle"), "idle")
    station(net, bus(net, "m1"), bus(net, "A bar"), "spare")
    spare = net.trafo.index[-1]
    pp.create_switch(net, bus(net, "A bar"), spare, et="t", closed=False)


def shunts(net):
    """Put shunts and constant loads on a head and in a leaf."""
    pp.create_shunt(net, bus(net, "m1"), q_mvar=-0.2, p_mw=0.01)
    pp.create_ward(net, bus(net, "at B11"), 0.001, 0.0, 0.002, 0.001)


def plain(net):
    """Leave the town as it is."""


def read(net):
    feeder = read_feeder(net)
    (feeder_id,) = set(feeder.nodes["feeder_id"]) - {""}
    return feeder, feeder_id


GRIDS = {
    "m1": {"A bar", "at A11", "at A12"},
    "m2": {"B bar", *(f"at B{s}{h}" for s in (1, 2) for h in (1, 2, 3))},
    "m3": {"C bar", "at C11", "at C21"},
    "m4": {"D bar", "at D11", "at D12", "at D21", "at D22"},
}
RING = {f"m{i}" for i in range(5)}


@pytest.mark.parametrize(
    ("change", "leaves", "more"),
    [
        (plain, "m1 m2 m3 m4", {}),
        (mesh, "m1 m2 m3 m4", {}),
        (shunts, "m1 m2 m3 m4", {}),
        (second_station, "m2 m3 m4", {}),
        (tie, "m2 m3", {}),
        (lower_level, "m1 m3 m4", {"at B23": {"low"}}),
        (three_windings, "m1 m2 m3 m4", {}),
    ],
)
def test_a_leaf_is_a_level_fed_through_one_node(town, change, leaves, more):
    net = town()
    change(net)
    feeder, feeder_id = read(net)
    trunk, found = find_leaves(feeder, feeder_id)
    names = feeder.nodes["bus"].to_numpy()
    wanted = {head: GRIDS[head] for head in leaves.split()} | more
    assert {names[leaf.head]: set(names[leaf.nodes]) for leaf in found} == wanted
    inside = set().union(*wanted.values())
    assert set(names[trunk]) == set(names[feeder.nodes["feeder_id"] != ""]) - inside
    assert set(names[trunk]) >= RING
    every = np.concatenate([trunk, *[leaf.nodes for leaf in found]])
    assert len(every) == len(set(every)) == (feeder.nodes["feeder_id"] != "").sum()


def test_transformers_in_parallel_lead_into_one_leaf(town):
    feeder, feeder_id = read(town())
    _, leaves = find_leaves(feeder, feeder_id)
    (leaf,) = (x for x in leaves if feeder.nodes["bus"].iloc[x.head] == "m2")
    ends = feeder.terminals.iloc[leaf.terminals]
    assert set(ends["element"]) == {"station B1", "station B2"}
    assert set(ends["side"]) == {"hv"}


def test_a_source_of_the_leafs_own_level_leaves_nothing_to_split(town):
    net = town()
    pp.create_ext_grid(net, bus(net, "A bar"), vm_pu=1.0, va_degree=-147.0)
    feeder = read_feeder(net)
    for feeder_id in set(feeder.nodes["feeder_id"]) - {""}:
        _, leaves = find_leaves(feeder, feeder_id)
        heads = set(feeder.nodes["bus"].iloc[[leaf.head for leaf in leaves]])
        assert "m1" not in heads


def test_a_feeder_of_one_level_is_not_split(town, town_profiles):
    net = town()
    net.trafo.loc[net.trafo["name"] != "HV", "in_service"] = False
    feeder, feeder_id = read(net)
    profiles = town_profiles(feeder)
    assert split_feeder(feeder, feeder_id, profiles) is None


@pytest.mark.parametrize(
    "change",
    [
        plain,
        mesh,
        shunts,
        second_station,
        tie,
        lower_level,
        booster,
        three_windings,
        idle_and_open,
    ],
)
def test_parts_have_the_voltages_and_currents_of_the_whole(town, town_profiles, change):
    net = town()
    change(net)
    feeder, feeder_id = read(net)
    profiles = town_profiles(feeder)
    drive = np.exp(1j * np.linspace(0.0, 0.1, 12)) * np.linspace(0.98, 1.02, 12)
    profiles = replace(profiles, source_factor=drive)
    whole = GridCase(feeder, profiles, Limits(), whole_nodes=10**6).block(feeder_id)
    known = dict(zip(feeder.nodes["bus"].iloc[whole.block.nodes], whole.v, strict=True))
    current = whole.block.currents(whole.v, whole.drive)
    ends = feeder.terminals.iloc[whole.block.terminals]
    flow = dict(zip(ends["element"] + ends["side"], current, strict=True))
    assert np.ptp(np.abs(whole.v)) > 0.02  # a town where nothing happens shows nothing
    met, ported = [], []
    for case in GridCase(feeder, profiles, Limits(), whole_nodes=5).cases(feeder_id):
        names = case.feeder.nodes["bus"].iloc[case.block.nodes]
        for name, v in zip(names, case.v, strict=True):
            assert np.abs(v - known[name]).max() < 1e-9
        ends = case.feeder.terminals.iloc[case.block.terminals]
        found = case.block.currents(case.v, case.drive)
        for name, i in zip(ends["element"] + ends["side"], found, strict=True):
            assert np.abs(i - flow[name]).max() < 1e-8
        met.extend(ends["element"] + ends["side"])
        ported.extend(case.feeder.ports.index)
    assert sorted(met) == sorted(flow)  # each terminal belongs to one part
    behind = [name for name in ported if name.startswith("behind ")]
    assert sorted(set(ported) - set(behind)) == sorted(feeder.ports.index)
    assert len(ported) == len(set(ported))


def test_the_head_of_a_leaf_is_limited_in_the_trunk_alone(town, town_profiles):
    feeder, feeder_id = read(town())
    split = split_feeder(feeder, feeder_id, town_profiles(feeder))
    assert split.leaf_ports == tuple(f"behind station {g}1" for g in "ABCD")
    limited = [set(split.trunk.nodes.query("limited")["bus"])]
    limited += [set(leaf.nodes.query("limited")["bus"]) for leaf, _ in split.leaves]
    own = [names - {"hv"} for names in limited]
    assert own[0] == RING
    assert own[1:] == list(GRIDS.values())


def test_the_trunk_draws_what_its_leaves_draw(town, town_profiles):
    feeder, feeder_id = read(town())
    profiles = town_profiles(feeder)
    split = split_feeder(feeder, feeder_id, profiles)
    for name, (leaf, own) in zip(split.leaf_ports, split.leaves, strict=True):
        p_kw, _ = split.trunk_profiles.select([name]).power_kw()
        lost = p_kw[0] - own.power_kw()[0].sum(axis=0)
        assert (lost > 0.0).all()  # iron and copper
        assert (lost < 0.1 * np.abs(p_kw[0]) + 1.0).all()
        assert set(leaf.ports.index) <= set(profiles.port_ids)


def test_a_base_case_without_solution_names_the_feeder_and_the_step(
    town, town_profiles
):
    feeder, feeder_id = read(town())
    profiles = town_profiles(feeder)
    shapes = profiles.p_shapes.copy()
    shapes[:, 7] *= 300.0
    hopeless = replace(profiles, p_shapes=shapes)
    with pytest.raises(BaseCaseError, match=r"no power-flow solution.*07:00"):
        split_feeder(feeder, feeder_id, hopeless)
