"""The screen never skips a step at which a limit breaks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandapower as pp
import pytest

from gridsite.feeder.profiles import constant_profiles
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.hosting.grid_case import GridCase
from gridsite.hosting.limits import Limits
from gridsite.hosting.response import Response
from gridsite.hosting.screening import Screen


def skipped_slack(case, load_kw):
    """Return AC slack of the states that the screen skips."""
    count, steps = len(case.block.ports), len(case.time)
    ports = np.arange(count)
    may = Screen(Response(case)).may_bind(np.full(count, load_kw), ports)
    port, step = np.nonzero(~may)
    if not len(port):
        return np.array([]), may
    slack, _ = case.evaluate(port, step, np.full(len(port), load_kw))
    assert may.shape == (count, steps)
    return slack, may


@pytest.mark.parametrize("load_kw", [3.0, 12.0, 25.0, 60.0])
@pytest.mark.parametrize(
    "limits",
    [
        Limits(),
        Limits(voltage_min_pu=0.97, criteria=("voltage",)),
        Limits(line_loading_max=0.5, criteria=("line current",)),
        Limits(voltage_change_pu=0.012, criteria=("voltage change",)),
        Limits(source_kva=50.0, criteria=("source", "transformer current")),
    ],
    ids=["all", "voltage", "line", "change", "source"],
)
def test_skipped_steps_hold_in_ac(village, profiles, limits, load_kw):
    net = village()
    pp.create_sgen(net, 4, 0.020, 0.004, name="sun")
    feeder = read_feeder(net)
    loads = profiles(feeder, steps=80, seed=3, high=2.5, generation=-0.6)
    case = GridCase(feeder, loads, limits).block("T")
    slack, _ = skipped_slack(case, load_kw)
    assert (slack >= 0.0).all()


def test_voltage_that_falls_by_angle_alone_is_not_forgotten():
    net = pp.create_empty_network(sn_mva=1.0)
    for name in ("head", "end"):
        pp.create_bus(net, 0.4, name=name)
    pp.create_ext_grid(net, 0)
    pp.create_line_from_parameters(  # almost no resistance: 0.8 pu of 1 MVA
        net, 0, 1, 1.0, 1e-5, 0.8 * 0.4**2, 0.0, 10.0, name="line"
    )
    pp.create_load(net, 1, 0.0, name="house")
    feeder = read_feeder(net)
    loads = constant_profiles(["house"], [0.0], [0.0])
    limits = Limits(voltage_min_pu=0.97, criteria=("voltage",))
    grid = GridCase(feeder, loads, limits, power_factor=1.0)
    case = grid.block(grid.feeder_ids[0])
    seen = set()
    for load_kw in np.linspace(10.0, 450.0, 45):
        at = np.zeros(1, dtype=int)
        slack, _ = case.evaluate(at, at, np.array([load_kw]))
        (may,) = Screen(Response(case)).may_bind(np.array([load_kw]), at)
        seen.add((slack[0] >= 0.0, bool(may[0])))
    assert (False, False) not in seen
    assert {(True, False), (False, True)} <= seen


def test_screen_skips_most_steps_of_a_small_load(village_feeder, profiles):
    feeder = village_feeder()
    case = GridCase(feeder, profiles(feeder, steps=200), Limits()).block("T")
    _, may = skipped_slack(case, 5.0)
    assert may.mean() < 0.05


def test_screen_skips_nothing_of_a_hopeless_load(village_feeder, profiles):
    feeder = village_feeder()
    case = GridCase(feeder, profiles(feeder, steps=20), Limits()).block("T")
    _, may = skipped_slack(case, 5e3)
    assert may.all()


def test_broken_limits_do_not_keep_a_step(village_feeder, profiles, only):
    feeder = village_feeder()
    loads = profiles(feeder, steps=50)
    limits = only("voltage", voltage_min_pu=0.90)
    _, free = skipped_slack(GridCase(feeder, loads, limits).block("T"), 1.0)
    tight = dataclasses.replace(limits, voltage_min_pu=0.9999)
    case = GridCase(feeder, loads, tight).block("T")
    assert case.broken.all()
    _, may = skipped_slack(case, 1.0)
    assert not may.any()
    assert not free.any()
