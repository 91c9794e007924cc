r"""
Capacity of a two-bus feeder in closed form.

A source :math:`E` feeds a load through :math:`R + jX`. With :math:`v` the voltage
at the load, :math:`c = R P_0 + X Q_0`, :math:`d = X P_0 - R Q_0` of the load that is
there and :math:`a = R + X \tan\varphi`, :math:`b = X - R \tan\varphi`,

.. math:: (v^2 + c + a P)^2 + (d + b P)^2 = E^2 v^2,

a quadratic in the added load :math:`P` at a given :math:`v`. With nothing there
and a current :math:`I` at its rating,
:math:`v = \sqrt{E^2 - (I (X\cos\varphi - R\sin\varphi))^2}
- I (R\cos\varphi + X\sin\varphi)` and :math:`P = v I \cos\varphi`.
"""

from __future__ import annotations

import numba
import numpy as np
import pandapower as pp
import pandas as pd
import pytest

from gridsite.feeder.profiles import constant_profiles, dense_profiles
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.hosting.capacity import hosting_capacity
from gridsite.hosting.limits import Limits

TOLERANCE_KW = 1e-7
AGREES_KW = 1e-6
BASE_KVA = 1e3


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Solve in one thread: these batches are too small to share out."""
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(before)


def two_bus(*, r, x, load_kw=(0.0, 0.0), vm_pu=1.0, max_i_ka=1e3):
    """Return a net of one line without capacitance; r, x in pu of 1 MVA."""
    net = pp.create_empty_network(sn_mva=1.0)
    pp.create_bus(net, 0.4, name="head")
    pp.create_bus(net, 0.4, name="end")
    pp.create_ext_grid(net, 0, vm_pu=vm_pu)
    z_base = 0.4**2
    pp.create_line_from_parameters(
        net, 0, 1, 1.0, r * z_base, x * z_base, 0.0, max_i_ka, name="line"
    )
    pp.create_load(net, 1, load_kw[0] / 1e3, load_kw[1] / 1e3, name="house")
    return net


def firm(net, limits, *, power_factor=0.98, screen=True):
    feeder = read_feeder(net)
    ports = feeder.load_ports
    loads = constant_profiles(ports.index, ports["p_kw"], ports["q_kvar"])
    table = hosting_capacity(
        feeder,
        loads,
        limits=limits,
        power_factor=power_factor,
        tolerance_kw=TOLERANCE_KW,
        screen=screen,
    )
    return table.iloc[0]


def load_at_voltage(v, *, e, r, x, tan_phi, p0=0.0, q0=0.0):
    """Return the added load at which the voltage is v. [pu]"""
    a, b = r + x * tan_phi, x - r * tan_phi
    c, d = r * p0 + x * q0, x * p0 - r * q0
    square, linear = a**2 + b**2, a * (v**2 + c) + b * d
    rest = (v**2 + c) ** 2 + d**2 - (e * v) ** 2
    return (-linear + np.sqrt(linear**2 - square * rest)) / square


def load_at_current(i, *, e, r, x, tan_phi):
    """Return the load whose current is i. [pu]"""
    cos, sin = 1.0 / np.hypot(1.0, tan_phi), tan_phi / np.hypot(1.0, tan_phi)
    across = i * (x * cos - r * sin)
    v = np.sqrt(e**2 - across**2) - i * (r * cos + x * sin)
    return v * i * cos


@pytest.mark.parametrize("screen", [True, False])
@pytest.mark.parametrize(
    ("r", "x", "power_factor", "load_kw", "vm_pu", "v_min"),
    [
        (0.30, 0.10, 0.98, (0.0, 0.0), 1.00, 0.90),
        (0.30, 0.10, 0.98, (40.0, 12.0), 1.00, 0.90),
        (0.05, 0.40, 0.90, (90.0, -30.0), 1.03, 0.94),
        (0.80, 0.05, 1.00, (-20.0, 5.0), 1.00, 0.95),
        (1.50, 0.60, 0.95, (5.0, 1.0), 1.05, 0.85),
    ],
)
def test_voltage_capacity_is_the_root_of_the_quadratic(
    r, x, power_factor, load_kw, vm_pu, v_min, screen
):
    net = two_bus(r=r, x=x, load_kw=load_kw, vm_pu=vm_pu)
    limits = Limits(voltage_min_pu=v_min, criteria=("voltage",))
    row = firm(net, limits, power_factor=power_factor, screen=screen)
    p0, q0 = np.array(load_kw) / BASE_KVA
    tan_phi = np.sqrt(1.0 / power_factor**2 - 1.0)
    known = load_at_voltage(v_min, e=vm_pu, r=r, x=x, tan_phi=tan_phi, p0=p0, q0=q0)
    assert row["firm_kw"] == pytest.approx(known * BASE_KVA, abs=AGREES_KW)
    assert row["firm_kw"] <= known * BASE_KVA + 1e-9
    assert (row["limit_criterion"], row["limit_element"]) == ("voltage", "end")


@pytest.mark.parametrize("load_kw", [(0.0, 0.0), (60.0, 15.0)])
def test_voltage_change_capacity_is_the_root_at_the_base_less_the_change(load_kw):
    r, x, tan_phi = 0.3, 0.1, np.sqrt(1.0 / 0.98**2 - 1.0)
    net = two_bus(r=r, x=x, load_kw=load_kw)
    row = firm(net, Limits(voltage_change_pu=0.03, criteria=("voltage change",)))
    p0, q0 = np.array(load_kw) / BASE_KVA
    half = 0.5 - (r * p0 + x * q0)
    before = half + np.sqrt(half**2 - (r**2 + x**2) * (p0**2 + q0**2))
    v = np.sqrt(before) - 0.03
    known = load_at_voltage(v, e=1.0, r=r, x=x, tan_phi=tan_phi, p0=p0, q0=q0)
    assert row["firm_kw"] == pytest.approx(known * BASE_KVA, abs=AGREES_KW)
    assert (row["limit_criterion"], row["limit_element"]) == ("voltage change", "end")


@pytest.mark.parametrize(
    ("r", "x", "power_factor", "vm_pu", "rated_a", "loading_max"),
    [
        (0.30, 0.10, 0.98, 1.00, 270.0, 1.0),
        (0.05, 0.40, 0.90, 1.03, 400.0, 0.8),
        (0.80, 0.05, 1.00, 1.00, 100.0, 1.2),
    ],
)
def test_line_current_capacity_in_closed_form(
    r, x, power_factor, vm_pu, rated_a, loading_max
):
    net = two_bus(r=r, x=x, vm_pu=vm_pu, max_i_ka=rated_a / 1e3)
    limits = Limits(line_loading_max=loading_max, criteria=("line current",))
    row = firm(net, limits, power_factor=power_factor)
    i = loading_max * rated_a * np.sqrt(3) * 0.4 / BASE_KVA
    tan_phi = np.sqrt(1.0 / power_factor**2 - 1.0)
    known = load_at_current(i, e=vm_pu, r=r, x=x, tan_phi=tan_phi) * BASE_KVA
    assert row["firm_kw"] == pytest.approx(known, abs=AGREES_KW)
    assert (row["limit_criterion"], row["limit_element"]) == ("line current", "line")


@pytest.mark.parametrize(("tap_pos", "side"), [(0, "both"), (2, "lv"), (-2, "hv")])
def test_transformer_current_capacity_in_closed_form(tap_pos, side):
    net = pp.create_empty_network(sn_mva=1.0)
    pp.create_bus(net, 20.0, name="mv")
    pp.create_bus(net, 0.4, name="lv")
    pp.create_ext_grid(net, 0, vm_pu=1.01)
    pp.create_transformer_from_parameters(
        net, 0, 1, 0.25, 20.0, 0.4, 1.2, 6.0, 0.0, 0.0,
        name="T", shift_degree=150, tap_side="hv", tap_neutral=0, tap_pos=tap_pos,
        tap_min=-2, tap_max=2, tap_step_percent=2.5, tap_changer_type="Ratio",
    )  # fmt: skip
    pp.create_load(net, 1, 0.0, 0.0, name="house")
    row = firm(net, Limits(criteria=("transformer current",)))
    ratio = 1.0 + 0.025 * tap_pos
    r = 0.012 / 0.25
    x = np.sqrt(0.06**2 - 0.012**2) / 0.25
    rated = 0.25 * min(1.0, ratio)  # the hv side carries 1 / ratio of the lv side
    tan_phi = np.sqrt(1.0 / 0.98**2 - 1.0)
    known = load_at_current(rated, e=1.01 / ratio, r=r, x=x, tan_phi=tan_phi)
    assert row["firm_kw"] == pytest.approx(known * BASE_KVA, abs=AGREES_KW), side
    assert row["limit_criterion"] == "transformer current"
    assert row["limit_element"] == "T"


@pytest.mark.parametrize("vm_pu", [1.0, 1.05, 0.97])
def test_source_capacity_is_apparent_power_at_the_source(vm_pu):
    r, x, tan_phi = 0.3, 0.1, np.sqrt(1.0 / 0.98**2 - 1.0)
    net = two_bus(r=r, x=x, vm_pu=vm_pu)
    row = firm(net, Limits(source_kva=120.0, criteria=("source",)))
    i = 0.120 / vm_pu  # S = E I at the source
    known = load_at_current(i, e=vm_pu, r=r, x=x, tan_phi=tan_phi) * BASE_KVA
    assert row["firm_kw"] == pytest.approx(known, abs=AGREES_KW)
    assert row["limit_criterion"] == "source"


def test_flexible_capacities_of_two_bus_steps_in_closed_form():
    r, x, tan_phi = 0.3, 0.1, np.sqrt(1.0 / 0.98**2 - 1.0)
    feeder = read_feeder(two_bus(r=r, x=x, load_kw=(1.0, 0.0)))
    time = pd.date_range("2025-01-01", periods=400, freq="h", tz="UTC")
    drawn = np.random.default_rng(5).uniform(0.0, 250.0, len(time))
    loads = dense_profiles(time, pd.DataFrame({"house": drawn}), power_factor=1.0)
    limits = Limits(criteria=("voltage",))
    row = hosting_capacity(feeder, loads, limits=limits, tolerance_kw=1e-4).iloc[0]
    headroom = BASE_KVA * load_at_voltage(
        0.9, e=1.0, r=r, x=x, tan_phi=tan_phi, p0=drawn / BASE_KVA
    )
    assert row["firm_kw"] == pytest.approx(headroom.min(), abs=1e-3)
    hours = np.sort(headroom)[8]  # 8 of 400 steps may fall short
    assert row["flexible_hours98_kw"] == pytest.approx(hours, abs=0.05)
    low, high = 0.0, 1e4
    for _ in range(60):
        middle = 0.5 * (low + high)
        served = np.minimum(middle, headroom).mean()
        low, high = (middle, high) if served >= 0.98 * middle else (low, middle)
    assert row["flexible_energy98_kw"] == pytest.approx(low, abs=0.05)
    assert row["flexible_energy98_kw"] <= low + 0.05
    assert row["energy98_steps_curtailed"] == (headroom < low).sum()
