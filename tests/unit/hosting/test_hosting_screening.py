"""The screen never skips a step at which a limit breaks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandapower as pp
import pytest

from gridsite.feeder.read_pandapower import read_feeder
from gridsite.hosting.base_case import GridCase
from gridsite.hosting.limits import Limits
from gridsite.hosting.screening import Screen


def skipped_slack(case, load_kw):
    """Return AC slack of the states that the screen skips."""
    count, steps = len(case.block.ports), len(case.time)
    ports = np.arange(count)
    may = Screen(case).may_bind(np.full(count, load_kw), ports)
    port, step = np.nonzero(~may)
    if not len(port):
        return np.array([]), may
    slack, _ = case.evaluate(port, step, np.full(len(port), load_kw))
    assert may.shape == (count, steps)
    return slack, may


@pytest.mark.parametrize("load_kw", [0.01, 3.0, 12.0, 25.0, 60.0, 150.0, 1e4])
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
