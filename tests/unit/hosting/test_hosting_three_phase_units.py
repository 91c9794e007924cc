"""A three-phase unit as one unit: the balanced model, AC checks and laws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandapower as pp
import pandas as pd
import pytest

from gridsite.errors import DataError
from gridsite.feeder.profiles import dense_profiles
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.hosting.base_case import GridCase
from gridsite.hosting.capacity import hosting_capacity
from gridsite.hosting.limits import Limits
from gridsite.hosting.three_phase_units import (
    three_phase_capacity,
    three_phase_ports,
)

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


@pytest.mark.parametrize("name", LIMITS)
def test_on_even_phases_it_is_the_capacity_of_the_balanced_model(name, street):
    feeder, plain = street(), street(three_phase=False)
    grid = GridCase(feeder, loads_of(feeder), LIMITS[name])
    own = three_phase_capacity(grid, tolerance_kw=TOLERANCE).set_index("building_id")
    known = hosting_capacity(
        plain, loads_of(plain), limits=LIMITS[name], tolerance_kw=TOLERANCE
    ).set_index("building_id")
    assert sorted(own.index) == sorted(known.index)
    known = known.loc[own.index]
    assert (known["limit_criterion"] == name).any()
    assert (own["firm_status"] == "ok").all()
    assert own["limit_criterion"].tolist() == known["limit_criterion"].tolist()
    assert own["limit_time"].tolist() == known["limit_time"].tolist()
    for column in ("firm_kw", "flexible_energy98_kw", "flexible_hours95_kw"):
        gap = (own[column] - known[column]).abs()
        assert (gap <= 2.0 * TOLERANCE + 0.05).all(), column


def test_the_unit_draws_more_than_three_times_its_worst_phase(street):
    feeder = street()
    grid = GridCase(feeder, loads_of(feeder, skew=0.3), Limits())
    own = three_phase_capacity(grid, tolerance_kw=TOLERANCE).set_index("building_id")
    single = hosting_capacity(feeder, grid.profiles, grid=grid)
    worst = single.groupby(single["building_id"].str[:-2])["firm_kw"].min()
    assert (own["firm_kw"] > 1.2 * 3.0 * worst.loc[own.index]).all()
    # but never more than the balanced drop, line by line, would allow
    assert (own["firm_kw"] <= own["flexible_hours98_kw"] + 1e-9).all()
    assert (own["flexible_hours98_kw"] <= own["flexible_energy98_kw"] + 1e-9).all()


def test_a_broken_phase_leaves_nothing_and_a_missing_rating_no_value(street):
    feeder = street()
    loads = loads_of(feeder, skew=0.3)
    low = GridCase(feeder, loads, Limits(voltage_min_pu=0.9999))
    table = three_phase_capacity(low)
    assert (table["firm_status"] == "none_base_violation").all()
    assert (table["firm_kw"] == 0.0).all()
    assert (table["flexible_energy98_kw"] == 0.0).all()
    terminals = feeder.terminals.copy()
    terminals.loc[terminals["element"] == "T", "rated_a"] = np.nan
    blank = GridCase(replace(feeder, terminals=terminals), loads, Limits())
    table = three_phase_capacity(blank)
    assert (table["firm_status"] == "unrated").all()
    assert table[["firm_kw", "flexible_energy98_kw"]].isna().all(axis=None)


def test_what_is_no_three_phase_unit_is_refused(street):
    with pytest.raises(DataError, match="balanced"):
        three_phase_ports(street(three_phase=False))
    feeder = street()
    grid = GridCase(feeder, loads_of(feeder), Limits())
    units = three_phase_ports(feeder).assign(B="nowhere")
    with pytest.raises(DataError, match="unknown ports"):
        three_phase_capacity(grid, units)
    with pytest.raises(DataError, match="no connection of three phases"):
        three_phase_capacity(grid, units.iloc[:0])
