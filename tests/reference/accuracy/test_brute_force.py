"""
Firm capacity and envelope against brute-force bisection on random connections.

The truth at a step is bisected in AC power flow of the whole feeder, from nothing,
without screening, sensitivities or a starting guess. Series are generated and longer
than those whose every step is confirmed, so that estimates are judged too.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from gridsite.feeder.profiles import dense_profiles
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.hosting.capacity import capacity_summary, hosting_capacity
from gridsite.hosting.envelope_dataset import read_envelope
from gridsite.hosting.grid_case import GridCase
from gridsite.hosting.limits import Limits

STEPS, CONNECTIONS, RANDOM_STEPS = 1_200, 8, 40

#: Width of the bisection, and what a power flow may be off by. [kW]
WIDTH_KW, SOLVER_KW = 1e-3, 2e-3

#: Grids, how much of the file's load is drawn, limits.
GRIDS = {
    "create_kerber_landnetz_freileitung_2": (1.0, Limits()),
    "create_kerber_landnetz_kabel_1": (1.0, Limits(voltage_change_pu=0.2)),
    "create_kerber_dorfnetz": (1.0, Limits()),
    "create_cigre_network_lv": (0.3, Limits()),
    "create_cigre_network_mv": (0.15, Limits(voltage_change_pu=0.2)),
}


def generated_loads(feeder, share, seed):
    """Return generated hourly loads with a daily and a yearly course. [kW]"""
    rng = np.random.default_rng(seed)
    at = feeder.load_ports
    hour = np.arange(STEPS)
    course = 0.45 + 0.25 * np.sin(2 * np.pi * hour / 24) + 0.2 * np.sin(hour / 190.0)
    shape = share * course[:, None] * rng.lognormal(0.0, 0.35, (STEPS, len(at)))
    time = pd.date_range("2025-01-01", periods=STEPS, freq="h", tz="UTC")
    p, q = (
        pd.DataFrame(shape * at[name].to_numpy(), columns=at.index)
        for name in ("p_kw", "q_kvar")
    )
    return dense_profiles(time, p, q_kvar=q)


def bisected(case, port, step, cap_kw):
    """Return the largest load that passes, by doubling and bisection. [kW]"""

    def passes(kw, at):
        return case.evaluate(port[at], step[at], kw[at], tolerance_pu=1e-12)[0] >= 0.0

    low, high = np.zeros(len(port)), np.ones(len(port))
    rising = np.arange(len(port))
    while len(rising):
        rising = rising[passes(high, rising)]
        low[rising] = high[rising]
        rising = rising[high[rising] < cap_kw]
        high[rising] = np.minimum(2.0 * high[rising], cap_kw)
    at = np.flatnonzero(high - low > WIDTH_KW)
    while len(at):
        middle = 0.5 * (low + high)
        good = passes(middle, at)
        low[at[good]], high[at[~good]] = middle[at[good]], middle[at[~good]]
        at = at[high[at] - low[at] > WIDTH_KW]
    return low


@pytest.mark.slow
@pytest.mark.parametrize("name", GRIDS)
def test_firm_and_envelope_are_within_the_tolerances_of_the_truth(name, tmp_path):
    pytest.importorskip("h5netcdf")
    feeder = read_feeder(f"pandapower:{name}")
    share, limits = GRIDS[name]
    loads = generated_loads(feeder, share, seed=len(name))
    grid = GridCase(feeder, loads, limits)
    path = tmp_path / "envelope.nc"
    table = hosting_capacity(feeder, loads, grid=grid, envelope=path)
    rated = table[table["firm_status"] == "ok"]
    feeder_id = rated["feeder_id"].mode().iloc[0]  # that of most connections
    rated = rated[rated["feeder_id"] == feeder_id]
    assert len(rated) >= 5
    rated = rated.sample(min(CONNECTIONS, len(rated)), random_state=7)
    case = grid.block(feeder_id)
    ports = case.feeder.ports.index[case.block.ports].get_indexer(rated["port_id"])
    own = loads.time.get_indexer(pd.DatetimeIndex(rated["limit_time"]))
    random = np.random.default_rng(3).choice(STEPS, RANDOM_STEPS, replace=False)
    step = np.concatenate([np.tile(random, (len(rated), 1)), own[:, None]], axis=1)
    port = np.repeat(ports, step.shape[1])
    true = bisected(case, port, step.ravel(), limits.search_cap_kw).reshape(step.shape)
    firm = rated["firm_kw"].to_numpy()
    # never above the truth of any step, nor below that of its own by more than allowed
    assert (firm <= true.min(axis=1) + SOLVER_KW).all()
    assert (true[:, -1] - firm <= np.maximum(0.1, 1e-3 * true[:, -1]) + WIDTH_KW).all()
    with read_envelope(path) as data:
        at = table.index.get_indexer(rated.index)
        values = data["headroom_kw"].isel(connection=at).to_numpy().astype(float)
    error = np.take_along_axis(values, step, axis=1) - true
    assert error.max() <= 0.05
    # the library's own measure at other steps says the same
    told = capacity_summary(table)["envelope_error_kw"]
    assert told["connections"] == (table["flexible_status"] == "ok").sum()
    assert told["least"] <= told["most"] <= 0.05
    assert (-error <= 0.05 + 2e-3 * true).all()
