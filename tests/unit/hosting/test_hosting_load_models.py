"""Loads that follow their voltage: bounds hold, and capacity is what AC leaves."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from gridsite.hosting.ac_replay import replay_loads
from gridsite.hosting.capacity import hosting_capacity
from gridsite.hosting.grid_case import GridCase
from gridsite.hosting.limits import Limits
from gridsite.hosting.response import Response
from gridsite.hosting.screening import Screen

TOLERANCE_KW = 0.01


def mixed(feeder, seed=0, high=3.0):
    """Return a feeder whose ports follow their voltages, each in its own way."""
    rng = np.random.default_rng(seed)
    n = len(feeder.ports)
    ports = feeder.ports.assign(
        p_exponent=rng.choice([0.0, 0.7, 1.0, 2.0], n),
        q_exponent=rng.choice([0.0, 1.0, 2.0, high], n),
        rated_v_pu=rng.uniform(0.95, 1.05, n),
    )
    return dataclasses.replace(feeder, ports=ports)


@pytest.mark.parametrize("exponent", [0.0, 0.4, 1.0, 1.3, 2.0, 2.5, 3.0, 4.0])
def test_changes_of_a_load_stay_within_the_bounds_of_the_screen(exponent):
    # |V + u|^n / conj(V + u) over its value at u = 0, for |u / V| up to x
    angle = np.exp(2j * np.pi * np.linspace(0.0, 1.0, 721))
    weight = max(1.0, exponent - 1.0)
    for x in (1e-3, 0.02, 0.1, 0.3):
        u = np.concatenate([share * x * angle for share in (0.3, 0.7, 1.0)])
        now = np.abs(1.0 + u) ** exponent / np.conj(1.0 + u)
        first = 0.5 * exponent * u + (0.5 * exponent - 1.0) * np.conj(u)
        assert np.abs(now - 1.0).max() <= weight * x / (1.0 - x) * (1 + 1e-12)
        rest = np.abs(now - 1.0 - first).max()
        assert rest <= weight * x**2 / (1.0 - x) * (1 + 1e-9)


def test_the_response_is_the_derivative_of_the_power_flow(village_feeder, profiles):
    feeder = mixed(village_feeder(), seed=4)
    case = GridCase(feeder, profiles(feeder, steps=6), Limits()).block("T")
    response = Response(case)
    ports = np.arange(len(case.block.ports))
    small, errors, blind = 0.05, [], []
    for port in ports:
        at = np.full(6, port)
        added = np.full(6, small / case.block.base_kva)
        moved = case.block.solve(
            case.states,
            np.arange(6),
            added_port=at,
            added=added,
            v_start=case.v,
            start_of=np.arange(6),
            tolerance_pu=1e-13,
        ).v
        v = case.port_voltage(moved)[port]
        c = added * (1.0 - 1j * case.tan_phi) / np.conj(v)
        own = response.z_port[port, port] + response.h_own[port]
        told = own * c + response.m_own[port] * np.conj(c)
        fell = response.v_port[port] - v
        errors.append(np.abs(fell - told).max() / np.abs(fell).max())
        # as if the loads were constant power
        other = response.z_port[port, port] * c + response.m_own[port] * np.conj(c)
        blind.append(np.abs(fell - other).max() / np.abs(fell).max())
    assert max(errors) < 1e-3  # what is left out is of the next order
    assert max(blind) > 5.0 * max(errors)


@pytest.mark.parametrize("load_kw", [3.0, 12.0, 25.0, 60.0])
@pytest.mark.parametrize("seed", range(3))
def test_skipped_steps_hold_in_ac(village_feeder, profiles, seed, load_kw):
    feeder = mixed(village_feeder(vm_pu=0.99), seed=seed)
    limits = Limits(voltage_min_pu=0.94, source_kva=95.0)
    loads = profiles(feeder, steps=80, seed=seed, high=2.0)
    case = GridCase(feeder, loads, limits).block("T")
    ports = np.arange(len(case.block.ports))
    may = Screen(Response(case)).may_bind(np.full(len(ports), load_kw), ports)
    port, step = np.nonzero(~may)
    slack, _ = case.evaluate(port, step, np.full(len(port), load_kw))
    assert (slack >= 0.0).all()
    if load_kw == 3.0:
        assert len(port) > 0


@pytest.mark.parametrize("seed", range(3))
def test_screening_changes_no_capacity(village_feeder, profiles, seed):
    feeder = mixed(village_feeder(vm_pu=1.0 + 0.01 * seed), seed=seed)
    loads = profiles(feeder, steps=200, seed=seed, high=1.0 + 0.5 * seed)
    limits = Limits(voltage_min_pu=0.93, source_kva=95.0)
    fast, slow = (
        hosting_capacity(
            feeder, loads, limits=limits, tolerance_kw=TOLERANCE_KW, screen=screen
        )
        for screen in (True, False)
    )
    assert (fast["steps_solved"] < 200).any()
    gap = (fast["firm_kw"] - slow["firm_kw"]).abs().max()
    assert gap <= TOLERANCE_KW
    assert fast["limit_element"].tolist() == slow["limit_element"].tolist()
    flexible = ["flexible_energy98_kw", "flexible_hours98_kw"]
    assert ((fast[flexible] - slow[flexible]).abs() <= 2 * TOLERANCE_KW).all(axis=None)


def test_load_models_move_capacity(village_feeder, profiles):
    limits = Limits(voltage_min_pu=0.93, criteria=("voltage",))
    feeder = village_feeder()
    loads = profiles(feeder, steps=24, seed=1, high=2.0)
    ports = feeder.ports.assign(p_exponent=2.0, q_exponent=2.0, rated_v_pu=1.0)
    soft = dataclasses.replace(feeder, ports=ports)
    hard_kw, soft_kw = (
        hosting_capacity(f, loads, limits=limits, tolerance_kw=TOLERANCE_KW)["firm_kw"]
        for f in (feeder, soft)
    )
    # below 1 pu a constant impedance draws less, and leaves more
    assert (soft_kw > hard_kw + 10 * TOLERANCE_KW).all()


def test_added_load_is_constant_power_in_every_replay(village_feeder, profiles):
    feeder = mixed(village_feeder(), seed=2)
    loads = profiles(feeder, steps=12, seed=2)
    limits = Limits(voltage_min_pu=0.93, criteria=("voltage",))
    table = hosting_capacity(feeder, loads, limits=limits, tolerance_kw=TOLERANCE_KW)
    row = table.iloc[table["firm_kw"].argmin()]
    for kw, broken in ((0.0, False), (2 * TOLERANCE_KW, True)):
        added = pd.Series({row["port_id"]: row["firm_kw"] + kw})
        result = replay_loads(feeder, loads, added, limits=limits)
        assert (result.summary["new"] > 0) == broken
