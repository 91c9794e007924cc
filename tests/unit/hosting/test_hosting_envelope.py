"""Headroom by step and flexible capacities against brute force and AC truth."""

from __future__ import annotations

import numpy as np
import pandapower as pp
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gridsite.feeder.profiles import dense_profiles
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.hosting.capacity import hosting_capacity
from gridsite.hosting.envelope import Envelope
from gridsite.hosting.envelope_dataset import read_envelope
from gridsite.hosting.flexible import energy_rating, hours_rating
from gridsite.hosting.grid_case import GridCase
from gridsite.hosting.limits import Limits
from gridsite.hosting.response import Response
from gridsite.hosting.search import largest_passing

headrooms = hnp.arrays(
    float,
    st.integers(1, 60),
    elements=st.one_of(
        st.sampled_from([0.0, 1.0, 2.5, 7.0]), st.floats(0.0, 50.0, width=32)
    ),
)
shares = st.one_of(st.sampled_from([0.98, 0.9, 0.95, 1.0]), st.floats(0.3, 1.0))


def served_share(rating, headroom):
    return np.minimum(rating, headroom).sum() / (rating * len(headroom))


@settings(max_examples=300, deadline=None)
@given(headroom=headrooms, share=shares)
@example(headroom=np.full(50, 3.0), share=0.98)
@example(headroom=np.array([0.0, 0.0, 5.0, 5.0]), share=0.5)
@example(
    headroom=np.array([2.0, 2.5, 2.5, 2.5, 2.5, 2.5, 2.5, 2.5, 2.5, 2.5]), share=0.98
)
def test_energy_rating_is_the_largest_served_to_the_share(headroom, share):
    (rating,) = energy_rating(headroom[None, :], share)
    assert rating >= headroom.min()
    assert rating <= headroom.mean() / share * (1 + 1e-9) + 1e-12
    if rating > 1e-9:
        assert served_share(rating, headroom) >= share - 1e-9
    more = rating * (1.0 + 1e-5) + 1e-6
    assert served_share(more, headroom) < share + 1e-12


@settings(max_examples=300, deadline=None)
@given(headroom=headrooms, share=shares)
def test_hours_rating_is_the_largest_served_in_full_in_the_share(headroom, share):
    (rating,) = hours_rating(headroom[None, :], share)
    assert rating in headroom
    assert (headroom >= rating).mean() >= share - 1e-9
    more = np.nextafter(rating, np.inf)
    assert (headroom >= more).mean() < share - 1e-9 or (headroom >= more).mean() < share


@settings(max_examples=200, deadline=None)
@given(headroom=headrooms, share=shares, less=st.floats(0.5, 1.0))
def test_ratings_are_ordered_and_fall_with_the_share(headroom, share, less):
    one = headroom[None, :]
    energy, hours = energy_rating(one, share)[0], hours_rating(one, share)[0]
    assert headroom.min() <= hours <= energy * (1.0 + 1e-12)
    lower = share * less
    assert energy_rating(one, lower)[0] >= energy * (1.0 - 1e-12)
    assert hours_rating(one, lower)[0] >= hours


@settings(max_examples=100, deadline=None)
@given(headroom=headrooms)
def test_at_the_full_share_both_ratings_are_the_least_headroom(headroom):
    one = headroom[None, :]
    assert energy_rating(one, 1.0)[0] == headroom.min()
    assert hours_rating(one, 1.0)[0] == headroom.min()


def test_ratings_of_many_rows_are_those_of_each():
    headroom = np.random.default_rng(0).uniform(0.0, 9.0, (6, 97))
    for rate in (energy_rating, hours_rating):
        together = rate(headroom, 0.93)
        apart = [rate(row[None, :], 0.93)[0] for row in headroom]
        np.testing.assert_array_equal(together, apart)


# --- the envelope against AC truth ---


def ac_envelope(feeder, loads, limits, *, tolerance_kw=0.01):
    """Return the envelope of every load of a feeder of one block, and its case."""
    grid = GridCase(feeder, loads, limits)
    (feeder_id,) = grid.feeder_ids
    case = grid.block(feeder_id)
    table = hosting_capacity(
        feeder, loads, limits=limits, grid=grid, tolerance_kw=tolerance_kw
    )
    ok = table[table["firm_status"] == "ok"]
    port = feeder.ports.index[case.block.ports].get_indexer(ok["port_id"])
    drop, current, own = case.effect
    effect = np.concatenate([drop, current, own[None, :]])[:, port]
    slack = np.where(case.broken, np.inf, case.slack).min(axis=1)
    slack = np.append(slack, limits.voltage_change_pu)[:, None]
    with np.errstate(divide="ignore"):
        linear = slack / np.maximum(effect, 0.0) * feeder.base_kva
    acts = np.vstack([case.acts_on[:, port], np.ones(len(port), bool)])
    linear = np.where(acts & (effect > 0.0), linear, np.inf)
    if not limits.on("voltage change"):
        linear[-1] = np.inf
    cap = np.full((len(port), len(case.time)), limits.search_cap_kw)
    firm = ok["firm_kw"].to_numpy()
    envelope = Envelope(Response(case), port, linear, cap)
    envelope.confirm(firm, energy_rating(envelope.headroom_kw(firm), 0.98))
    return envelope, case, port, ok


def truth(case, port, step, start):
    cap = np.full(len(port), case.limits.search_cap_kw)
    return largest_passing(case, port, step, start, cap, 1e-3).kw


LIMITS = {
    "all": Limits(),
    "voltage": Limits(voltage_min_pu=0.95, criteria=("voltage",)),
    "change": Limits(voltage_change_pu=0.02, criteria=("voltage change",)),
    "line": Limits(criteria=("line current",)),
    "mixed": Limits(voltage_min_pu=0.94, line_loading_max=0.7, source_kva=90.0),
}


def start_of(envelope, port):
    return envelope.headroom_kw(np.zeros(len(port)))


def exact_envelope(envelope, case, port):
    """Return the headroom of every load at every step, searched in AC. [kW]"""
    start = start_of(envelope, port)
    which = np.repeat(np.arange(len(port)), len(case.time))
    step = np.tile(np.arange(len(case.time)), len(port))
    return truth(case, port[which], step, start.ravel()).reshape(start.shape)


@pytest.mark.parametrize("seed", [11, 12])
@pytest.mark.parametrize("name", LIMITS)
def test_envelope_and_flexible_capacities_against_ac_truth(
    village_feeder, profiles, name, seed, monkeypatch
):
    # as in a year: a sample of the steps is confirmed, not all of them
    monkeypatch.setattr("gridsite.hosting.envelope._CONFIRMED_WHOLE", 0)
    feeder = village_feeder()
    loads = profiles(feeder, steps=200, seed=seed, high=2.2)
    envelope, case, port, ok = ac_envelope(feeder, loads, LIMITS[name])
    exact = exact_envelope(envelope, case, port)
    error = start_of(envelope, port) - exact
    assert error.max() <= 0.05 + 2e-3  # the accuracy that is stated, unsafe side
    assert error.min() >= -0.1 - 2e-3 * np.median(exact)
    for column, rating in (
        ("flexible_energy98_kw", energy_rating),
        ("flexible_hours98_kw", hours_rating),
    ):
        known = rating(exact, 0.98)
        gap = ok[column].to_numpy() - known
        assert gap.max() <= 0.05 + 2e-3
        assert (gap >= -0.05 - 2e-3 * known).all(), gap
    assert (ok["firm_kw"] - exact.min(axis=1)).abs().max() <= 0.012


@pytest.mark.parametrize("seed", range(3))
def test_firm_is_at_most_hours_and_hours_at_most_energy(village, profiles, seed):
    net = village(vm_pu=1.02)
    pp.create_sgen(net, 4, 0.015, name="sun")
    feeder = read_feeder(net)
    sun = -np.clip(np.sin(np.arange(120) / 24 * 2 * np.pi), 0.0, None)[:, None]
    loads = profiles(feeder, steps=120, seed=seed, generation=-sun)
    table = hosting_capacity(feeder, loads, limits=Limits(voltage_min_pu=0.95))
    assert (table["firm_status"] == "ok").all()
    assert (table["firm_kw"] <= table["flexible_hours98_kw"]).all()
    energy = table["flexible_energy98_kw"]
    assert (table["flexible_hours98_kw"] <= energy * (1 + 1e-12)).all()
    assert (energy > table["firm_kw"] + 0.05).any()


def test_full_share_gives_firm_capacity(village_feeder, profiles):
    feeder = village_feeder()
    loads = profiles(feeder, steps=100)
    envelope, _, _, ok = ac_envelope(feeder, loads, Limits())
    headroom = envelope.headroom_kw(ok["firm_kw"].to_numpy())
    energy, hours = energy_rating(headroom, 1.0), hours_rating(headroom, 1.0)
    np.testing.assert_allclose(energy, ok["firm_kw"], atol=0.06)
    np.testing.assert_allclose(hours, ok["firm_kw"], atol=0.06)
    assert (energy >= ok["firm_kw"]).all()


def test_one_step_has_one_headroom(village_feeder, profiles):
    feeder = village_feeder()
    table = hosting_capacity(feeder, profiles(feeder, steps=1), tolerance_kw=0.01)
    firm = table["firm_kw"]
    assert (table["flexible_hours98_kw"] - firm).abs().max() <= 0.02
    # one step of T = 1: min(P, h) >= 0.98 P holds up to h / 0.98
    assert (table["flexible_energy98_kw"] - firm / 0.98).abs().max() <= 0.03


def test_a_step_with_almost_nothing_left_leaves_other_steps_as_they_are():
    feeder = read_feeder("pandapower:create_kerber_landnetz_freileitung_1")
    ports = feeder.load_ports
    limits = Limits(voltage_change_pu=0.05)
    draws = np.random.default_rng(0).uniform(1.0, 2.0, (len(ports), 1200))
    # about 10 W below the load at which the transformer is full, found by bisection
    draws[:, 0] = _full_transformer(feeder, limits) - 0.0008
    with_it, without = (
        hosting_capacity(feeder, _shaped(ports, p), limits=limits)
        for p in (draws, draws[:, 1:])
    )
    assert with_it["firm_kw"].max() <= 0.1
    kept = with_it["flexible_hours98_kw"] / without["flexible_hours98_kw"]
    assert kept.min() >= 0.99
    assert with_it["envelope_error_least_kw"].min() >= -0.1


def _shaped(ports, p_kw):
    """Return profiles of some kW at a fifth as many kvar."""
    time = pd.date_range("2025-01-01", periods=p_kw.shape[1], freq="h", tz="UTC")
    p = pd.DataFrame(p_kw.T, columns=ports.index)
    return dense_profiles(time, p, q_kvar=0.2 * p)


def _full_transformer(feeder, limits):
    """Return what each house draws where the transformer is full. [kW]"""
    low, high = 2.0, 15.0
    for _ in range(50):
        kw = 0.5 * (low + high)
        grid = GridCase(
            feeder,
            _shaped(feeder.load_ports, np.full((len(feeder.load_ports), 1), kw)),
            limits,
        )
        (feeder_id,) = grid.feeder_ids
        held = not grid.block(feeder_id).broken.any()
        low, high = (kw, high) if held else (low, kw)
    return low


def test_a_limit_that_binds_at_few_steps_is_followed_there(village, tmp_path):
    feeder = read_feeder(village(vm_pu=0.98, trafo_mva=0.1))
    draws = np.random.default_rng(0).gamma(1.0, 3.0, (5, 1100))
    loads, limits = _shaped(feeder.load_ports, draws), Limits(voltage_min_pu=0.95)
    table = hosting_capacity(
        feeder, loads, limits=limits, envelope=tmp_path / "envelope.nc"
    )
    headroom = read_envelope(tmp_path / "envelope.nc")["headroom_kw"].to_numpy()
    headroom = headroom if len(headroom) == 5 else headroom.T
    grid = GridCase(feeder, loads, limits)
    case = grid.block(grid.feeder_ids[0])
    own = feeder.ports.index[case.block.ports].get_indexer(table["port_id"])
    which, step = np.nonzero(headroom > 0.0)
    kw = np.maximum(headroom[which, step] - 0.05, 0.0)
    slack, _ = case.evaluate(own[which], step, kw)
    assert slack.min() >= 0.0
