"""Single-phase units: candidates on other phases, and rules that choose one."""

from __future__ import annotations

import numpy as np
import pandapower as pp
import pandas as pd
import pytest

from gridsite.errors import ConfigError, DataError
from gridsite.feeder.profiles import constant_profiles
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.hosting.capacity import hosting_capacity, own_connections
from gridsite.hosting.limits import Limits
from gridsite.hosting.phases import PHASE_RULES, phase_capacity, with_phase_candidates

TOLERANCE = 0.01
#: kW of each house by phase
STREET = {"h1": (4.0, 0.0, 0.0), "h2": (0.0, 3.0, 0.0), "h3": (0.0, 0.0, 6.0)}
EVEN = {"h1": (3.0, 3.0, 3.0), "h2": (2.0, 2.0, 2.0), "h3": (1.0, 1.0, 1.0)}


def make_feeder(loads=STREET, *, types="wye"):
    """Return a generated street of three houses on a three-phase feeder."""
    net = pp.create_empty_network(name="street", sn_mva=1.0)
    pp.create_bus(net, 20.0, name="mv")
    pp.create_ext_grid(
        net, 0, s_sc_max_mva=300.0, rx_max=0.1, x0x_max=1.0, r0x0_max=0.1
    )
    zero = {"vk0_percent": 4.0, "vkr0_percent": 1.2, "mag0_percent": 100.0}
    pp.create_bus(net, 0.4, name="lv")
    pp.create_transformer_from_parameters(
        net,
        0,
        1,
        sn_mva=0.1,
        vn_hv_kv=20.0,
        vn_lv_kv=0.4,
        vkr_percent=1.2,
        vk_percent=4.0,
        pfe_kw=0.2,
        i0_percent=0.3,
        shift_degree=150.0,
        vector_group="Dyn5",
        mag0_rx=0.0,
        si0_hv_partial=0.9,
        name="T",
        **zero,
    )
    for i, (name, kw) in enumerate(loads.items()):
        bus = pp.create_bus(net, 0.4, name=f"b{i + 1}")
        pp.create_line_from_parameters(
            net,
            bus - 1,
            bus,
            0.15,
            r_ohm_per_km=0.32,
            x_ohm_per_km=0.08,
            c_nf_per_km=200.0,
            max_i_ka=0.15,
            r0_ohm_per_km=1.2,
            x0_ohm_per_km=0.3,
            c0_nf_per_km=100.0,
            name=f"L{i + 1}",
        )
        p = {f"p_{phase}_mw": x / 1e3 for phase, x in zip("abc", kw, strict=True)}
        q = {f"q_{phase}_mvar": x / 4e3 for phase, x in zip("abc", kw, strict=True)}
        pp.create_asymmetric_load(net, bus, **p, **q, name=name, type=types)
    return read_feeder(net, three_phase=True)


def rated(feeder, connections, **limits):
    at = feeder.load_ports
    return hosting_capacity(
        feeder,
        constant_profiles(at.index, at["p_kw"], at["q_kvar"]),
        connections=connections,
        limits=Limits(**limits),
        tolerance_kw=TOLERANCE,
    )


def by_house(table):
    return table.set_index(table["building_id"].str[:2])["firm_kw"]


@pytest.fixture(scope="module")
def street():
    feeder = make_feeder()
    wide, table = with_phase_candidates(feeder, own_connections(feeder))
    return feeder, wide, table, rated(wide, table)


def test_candidates_are_silent_ports_on_the_other_phases(street):
    feeder, wide, table, _ = street
    assert len(wide.ports) == 9
    assert len(table) == 9
    extra = wide.ports.drop(feeder.ports.index)
    assert (extra["kind"] == "other").all()
    assert (extra[["p_kw", "q_kvar"]] == 0.0).to_numpy().all()
    pd.testing.assert_frame_equal(wide.load_ports, feeder.load_ports)
    nodes = wide.nodes.loc[wide.ports["node"]]
    assert nodes["bus"].tolist() == wide.ports["bus"].tolist()
    assert nodes["phases"].tolist() == wide.ports["phases"].tolist()
    rows = table[table["building_id"] == "h2.B"]
    assert rows["port_id"].tolist() == ["h2.B", "h2.A?", "h2.C?"]
    assert rows["assumed"].tolist() == [False, True, True]


def test_a_candidate_is_rated_as_the_load_itself_would_be_on_that_phase(street):
    _, _, _, hosting = street
    # the same street with a load of 0 kW beside it on phase B of house 1
    loads = {**STREET, "h1": (4.0, 1e-9, 0.0)}
    real = rated(make_feeder(loads), None)
    value = hosting.set_index("port_id").loc["h1.B?", "firm_kw"]
    known = real.set_index("port_id").loc["h1.B", "firm_kw"]
    assert value == pytest.approx(known, abs=2 * TOLERANCE)
    other = hosting.set_index("port_id").loc["h1.A", "firm_kw"]
    assert abs(value - other) > 5 * TOLERANCE


def test_known_is_the_filed_phase_and_rules_are_in_order(street):
    _, _, _, hosting = street
    found = {rule: phase_capacity(hosting, rule=rule) for rule in PHASE_RULES}
    filed = hosting.set_index("port_id")["firm_kw"]
    known = found["known"]
    assert known["port_id"].tolist() == ["h1.A", "h2.B", "h3.C"]
    assert known["firm_kw"].tolist() == filed[known["port_id"]].tolist()
    worst, best = found["worst"]["firm_kw"], found["best"]["firm_kw"]
    every = hosting.groupby("building_id")["firm_kw"]
    assert worst.tolist() == every.min().tolist()
    assert best.tolist() == every.max().tolist()
    assert (worst < best).all()
    for seed in range(10):
        sampled = phase_capacity(hosting, rule="sampled", seed=seed)["firm_kw"]
        assert (worst <= sampled).all()
        assert (sampled <= best).all()
    for rule, table in found.items():
        assert table["building_id"].tolist() == ["h1.A", "h2.B", "h3.C"]
        assert (table["phase_rule"] == rule).all()


def test_samples_repeat_by_seed_whatever_the_order_and_reach_every_phase(street):
    _, _, _, hosting = street
    shuffled = hosting.sample(frac=1.0, random_state=3)
    drawn = set()
    for seed in range(30):
        one = phase_capacity(hosting, rule="sampled", seed=seed)
        two = phase_capacity(shuffled, rule="sampled", seed=seed)
        pd.testing.assert_frame_equal(one, two)
        drawn |= set(one["port_id"])
    assert drawn == set(hosting["port_id"])


def test_an_even_feeder_gives_the_same_on_all_phases():
    feeder = make_feeder(EVEN)
    table = own_connections(feeder)
    hosting = rated(feeder, table.assign(building_id=table["port_id"].str[:2]))
    values = hosting.pivot_table(
        index="building_id", columns="phases", values="firm_kw"
    )
    assert (values.max(axis=1) - values.min(axis=1)).max() < 2 * TOLERANCE
    worst, best = (phase_capacity(hosting, rule=rule) for rule in ("worst", "best"))
    assert np.allclose(worst["firm_kw"], best["firm_kw"], atol=2 * TOLERANCE)


def test_turning_all_loads_to_the_next_phase_turns_the_values(street):
    _, _, _, hosting = street
    turned = {name: (kw[2], kw[0], kw[1]) for name, kw in STREET.items()}
    feeder = make_feeder(turned)
    wide, table = with_phase_candidates(feeder, own_connections(feeder))
    other = rated(wide, table)
    following = {"A": "B", "B": "C", "C": "A"}
    for row in hosting.itertuples():
        house, phase = row.building_id[:2], following[row.phases]
        at = (other["building_id"].str[:2] == house) & (other["phases"] == phase)
        assert other.loc[at, "firm_kw"].item() == pytest.approx(
            row.firm_kw, abs=2 * TOLERANCE
        )
    for rule in ("known", "worst", "best"):
        one = by_house(phase_capacity(hosting, rule=rule))
        two = by_house(phase_capacity(other, rule=rule))
        assert np.allclose(one, two, atol=2 * TOLERANCE)


def test_a_candidate_keeps_the_service_of_its_building(street):
    _, wide, table, _ = street
    # 30 A at 230 V leave house 1 with about 3 kW beside its own 4 kW
    fused = table.assign(service_a=table["service_a"].where(table["assumed"], 30.0))
    fused["service_v"] = 230.0
    hosting = rated(wide, fused)
    rows = hosting[hosting["building_id"] == "h1.A"]
    own = rows.loc[rows["port_id"] == "h1.A"].iloc[0]
    assert own["limit_criterion"] == "service"
    assert (rows["firm_kw"] > own["firm_kw"] + 1.0).sum() == 2
    best = phase_capacity(hosting, rule="best").iloc[0]
    assert best["firm_kw"] == pytest.approx(own["firm_kw"], abs=TOLERANCE)
    assert best["limit_criterion"] == "service"
    flexible = [c for c in hosting if c.startswith("flexible_")]
    flexible.remove("flexible_status")
    assert len(flexible) >= 10
    drawn = pd.concat(
        phase_capacity(hosting, rule="sampled", seed=seed).iloc[[0]]
        for seed in range(9)
    )
    drawn = drawn[drawn["port_id"] != "h1.A"]
    assert len(drawn)
    most = own["service_headroom_kw"]
    assert (drawn[flexible].to_numpy(dtype=float) <= most + 1e-9).all()
    assert best["flexible_hours98_kw"] <= most


@pytest.mark.parametrize(
    ("amps", "volts", "status"),
    [(10.0, 230.0, "none_base_violation"), (30.0, np.nan, "unrated")],
)
def test_a_service_without_room_or_voltage_rules_on_every_phase(
    street, amps, volts, status
):
    _, wide, table, _ = street
    fused = table.assign(service_a=table["service_a"].where(table["assumed"], amps))
    hosting = rated(wide, fused.assign(service_v=volts))
    for rule in PHASE_RULES:
        row = phase_capacity(hosting, rule=rule).iloc[0]
        assert row["firm_status"] == row["flexible_status"] == status
        assert np.nan_to_num(row["firm_kw"]) == 0.0
        assert row["limit_criterion"] == "service"


def test_a_phase_without_a_value_is_the_worst_and_never_the_best(street):
    _, _, _, hosting = street
    broken = hosting.copy()
    at = broken["port_id"] == "h1.C?"
    broken.loc[at, "firm_kw"] = np.nan
    broken.loc[at, ["firm_status", "flexible_status"]] = "unrated"
    worst = phase_capacity(broken, rule="worst").iloc[0]
    assert (worst["port_id"], worst["firm_status"]) == ("h1.C?", "unrated")
    best = phase_capacity(broken, rule="best").iloc[0]
    assert best["firm_status"] == "ok"


def test_a_building_of_several_phases_has_no_known_one():
    feeder = make_feeder(EVEN)
    table = own_connections(feeder)
    table = table.assign(building_id=table["port_id"].str[:2])
    wide, more = with_phase_candidates(feeder, table)
    assert len(wide.ports) == len(feeder.ports)
    assert len(more) == len(table)
    hosting = rated(feeder, table)
    with pytest.raises(DataError, match=r"3 building\(s\) without exactly one filed"):
        phase_capacity(hosting, rule="known")


def test_two_buildings_at_one_port_share_its_candidates(street):
    feeder, *_ = street
    table = own_connections(feeder)
    twin = table.iloc[[0]].assign(building_id="twin")
    wide, more = with_phase_candidates(feeder, pd.concat([table, twin]))
    assert len(wide.ports) == 9
    assert len(more) == 12
    assert (more.groupby("building_id").size() == 3).all()


def test_ports_between_phases_get_no_candidates():
    feeder = make_feeder(types="delta")
    wide, table = with_phase_candidates(feeder, own_connections(feeder))
    assert len(wide.ports) == len(feeder.ports)
    assert table["phases"].tolist() == ["AB", "BC", "CA"]


def test_what_cannot_be_is_refused(street):
    feeder, _, _, hosting = street
    with pytest.raises(ConfigError, match="no rule 'any'; known: known, worst"):
        phase_capacity(hosting, rule="any")
    table = own_connections(feeder)
    with pytest.raises(DataError, match="1 unknown port"):
        with_phase_candidates(feeder, table.assign(port_id=["x", "h2.B", "h3.C"]))
    balanced = read_feeder("pandapower:create_kerber_landnetz_freileitung_1")
    with pytest.raises(DataError, match="balanced model has no phases"):
        with_phase_candidates(balanced, own_connections(balanced))
