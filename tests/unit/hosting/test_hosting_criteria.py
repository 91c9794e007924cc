"""Criteria that depend on the voltage level or on a rule, in closed form."""

from __future__ import annotations

import numpy as np
import pandapower as pp
import pandas as pd
import pytest

from gridsite.feeder.profiles import constant_profiles, dense_profiles
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.hosting.capacity import hosting_capacity
from gridsite.hosting.limits import Limits

R, X = 0.3, 0.1
TAN_PHI = np.sqrt(1.0 / 0.98**2 - 1.0)


def two_bus(kv, *, rated_a=1e6):
    """Return a net of one line; R, X in pu of 1 MVA."""
    net = pp.create_empty_network(sn_mva=1.0)
    pp.create_bus(net, kv, name="head")
    pp.create_bus(net, kv, name="end")
    pp.create_ext_grid(net, 0)
    pp.create_line_from_parameters(
        net, 0, 1, 1.0, R * kv**2, X * kv**2, 0.0, rated_a / 1e3, name="line"
    )
    pp.create_load(net, 1, 0.0, 0.0, name="house")
    return net


def firm(net, limits):
    feeder = read_feeder(net)
    at = feeder.load_ports
    loads = constant_profiles(at.index, at["p_kw"], at["q_kvar"])
    return hosting_capacity(feeder, loads, limits=limits, tolerance_kw=1e-7).iloc[0]


def kw_at_voltage(v):
    a, b = R + X * TAN_PHI, X - R * TAN_PHI
    square, linear = a**2 + b**2, a * v**2
    return 1e3 * (-linear + np.sqrt(linear**2 - square * (v**4 - v**2))) / square


def kw_at_current(i):
    cos, sin = 0.98, 0.98 * TAN_PHI
    across = i * (X * cos - R * sin)
    v = np.sqrt(1.0 - across**2) - i * (R * cos + X * sin)
    return 1e3 * v * i * cos


@pytest.mark.parametrize(("kv", "low"), [(0.4, 0.92), (20.0, 0.95), (66.0, 0.90)])
def test_voltage_band_of_the_level_binds(kv, low):
    bands = ((1.0, 0.92, 1.1), (36.0, 0.95, 1.05))
    row = firm(two_bus(kv), Limits(voltage_bands=bands, criteria=("voltage",)))
    assert row["firm_kw"] == pytest.approx(kw_at_voltage(low), abs=1e-5)
    assert (row["limit_criterion"], row["limit_element"]) == ("voltage", "end")


@pytest.mark.parametrize(("kv", "share"), [(0.4, 1.0), (20.0, 0.5)])
def test_n_minus_1_loading_binds_above_its_voltage(kv, share):
    rated = 100e3 / np.sqrt(3.0) / (1e3 * kv)  # 0.1 pu of 1 MVA
    limits = Limits(n_minus_1_loading_max=0.5, criteria=("line current",))
    row = firm(two_bus(kv, rated_a=rated), limits)
    assert row["firm_kw"] == pytest.approx(kw_at_current(0.1 * share), abs=1e-5)
    assert row["limit_criterion"] == "line current"


@pytest.mark.parametrize(("low_kv", "share"), [(0.4, 1.0), (10.0, 0.5)])
def test_n_minus_1_spares_transformers_down_to_low_voltage(low_kv, share):
    net = pp.create_empty_network(sn_mva=1.0)
    pp.create_bus(net, 20.0, name="mv")
    pp.create_bus(net, low_kv, name="lv")
    pp.create_ext_grid(net, 0)
    pp.create_transformer_from_parameters(
        net, 0, 1, 0.1, 20.0, low_kv, 3.0, np.sqrt(10.0), 0.0, 0.0, name="T"
    )  # R = 0.3, X = 0.1 of 1 MVA
    pp.create_load(net, 1, 0.0, 0.0, name="house")
    limits = Limits(n_minus_1_loading_max=0.5, criteria=("transformer current",))
    row = firm(net, limits)
    assert row["firm_kw"] == pytest.approx(kw_at_current(0.1 * share), abs=1e-5)
    assert row["limit_criterion"] == "transformer current"


@pytest.mark.parametrize(
    ("rule", "phases", "known"),
    [
        ("eu", "ABC", 0.98 * np.sqrt(3.0) * 40.0 - 10.0),
        ("nec", "ABC", 0.98 * (np.sqrt(3.0) * 40.0 / 1.25 - 10.0 / 0.98)),
        ("nec-ems", "ABC", 0.98 * np.sqrt(3.0) * 40.0 / 1.25 - 10.0),
        ("eu", "12", 0.98 * 40.0 - 10.0),
        ("nec", "12", 0.98 * 40.0 / 1.25 - 10.0),
    ],
)
def test_service_binds_by_its_rule_and_phases(connections, rule, phases, known):
    feeder = read_feeder(two_bus(0.4))
    time = pd.date_range("2025-01-01", periods=2, freq="h", tz="UTC")
    drawn = pd.DataFrame({"house": [10.0, 2.0]})  # at the unit's power factor
    loads = dense_profiles(time, drawn, power_factor=0.98)
    table = connections(feeder, service_a=100.0).assign(service_v=400.0, phases=phases)
    limits = Limits(service_rule=rule, criteria=("service",))
    row = hosting_capacity(feeder, loads, connections=table, limits=limits).iloc[0]
    assert row["service_headroom_kw"] == pytest.approx(known, abs=1e-9)
    assert row["firm_kw"] == pytest.approx(known, abs=0.11)
    assert row["firm_kw"] <= known + 1e-9
    assert row["limit_criterion"] == "service"
