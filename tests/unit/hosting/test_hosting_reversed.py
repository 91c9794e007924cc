"""Headroom where currents run against added loads, and where few steps decide."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from gridsite.feeder.profiles import dense_profiles
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.hosting.capacity import hosting_capacity
from gridsite.hosting.envelope_dataset import read_envelope
from gridsite.hosting.grid_case import GridCase
from gridsite.hosting.headway import headway
from gridsite.hosting.limits import Limits
from gridsite.hosting.response import Response
from gridsite.hosting.search import largest_passing

N_STEP = 1100  # more than are confirmed one by one

LIMITS = {
    "all": Limits(),
    "low voltage": Limits(voltage_min_pu=0.95),
    "source": Limits(source_kva=90.0),
    "mixed": Limits(voltage_min_pu=0.94, line_loading_max=0.7, source_kva=90.0),
    "steady": replace(
        Limits(), criteria=("voltage", "line current", "transformer current")
    ),
}


def year_of(make, seed, *, feed_in):
    """Return a feeder and its loads, which feed in at a third of the steps."""
    rng = np.random.default_rng(seed)
    rated = rng.choice([0.063, 0.1, 0.16])
    feeder = read_feeder(make(vm_pu=rng.uniform(0.97, 1.04), trafo_mva=rated))
    kw = rng.gamma(1.0, 3.0, (N_STEP, 5))
    if feed_in:
        sun = rng.uniform(0.0, 30.0, (N_STEP, 1)) * (rng.random((N_STEP, 1)) < 0.3)
        kw -= sun
    time = pd.date_range("2025-01-01", periods=N_STEP, freq="h", tz="UTC")
    names = feeder.load_ports.index
    table = pd.DataFrame(kw, columns=names)
    loads = dense_profiles(time, table, q_kvar=0.2 * table)
    return feeder, loads


def searched(feeder, loads, limits):
    """Return the headroom of every step by AC searches, and whether its limit is one.

    A limit on which the load does not act is none.
    """
    grid = GridCase(feeder, loads, limits)
    (feeder_id,) = grid.feeder_ids
    case = grid.block(feeder_id)
    names = case.feeder.ports.index[case.block.ports]
    port = np.repeat(names.get_indexer(feeder.load_ports.index), N_STEP)
    step = np.tile(np.arange(N_STEP), len(port) // N_STEP)
    start = np.full(len(port), 20.0)
    most = np.full(len(port), limits.search_cap_kw)
    found = largest_passing(case, port, step, start, most, 1e-3)
    own = found.row == case.n_row
    acts = own | case.acts_on[np.where(own, 0, found.row), port]
    return found.kw.reshape(-1, N_STEP), acts.reshape(-1, N_STEP)


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("feed_in", [False, True])
def test_headroom_is_never_above_that_of_ac(village, tmp_path, name, seed, feed_in):
    feeder, loads = year_of(village, seed, feed_in=feed_in)
    file = tmp_path / "envelope.nc"
    hosting_capacity(feeder, loads, limits=LIMITS[name], envelope=file)
    with read_envelope(file) as envelope:
        kw = envelope["headroom_kw"].transpose("connection", "time").to_numpy()
    true_kw, acts = searched(feeder, loads, LIMITS[name])
    excess = np.where((kw > 0.0) & acts, kw - true_kw, 0.0)
    assert excess.max() <= 0.05


def test_a_reversed_current_has_its_rating_and_itself_to_go(village):
    feeder, loads = year_of(village, 0, feed_in=True)
    grid = GridCase(feeder, loads, Limits())
    case = grid.block(grid.feeder_ids[0])
    response = Response(case)
    found = headway(response)
    (row,) = np.flatnonzero(case.rows["element"].to_numpy() == "L5")[:1]
    at = case.rated[row - case.n_voltage]
    size = np.abs(case.block.currents(case.v, case.drive)[at])
    fed = loads.power_kw(np.arange(N_STEP))[0][4]
    rating = case.rows["limit"].iloc[row]
    held = case.slack[row] >= 0.0
    for sign, kw in ((1.0, fed < -5.0), (-1.0, fed > 5.0)):
        expected = rating + sign * size[kw & held]
        assert found[row, kw & held] == pytest.approx(expected, rel=0.05)
