"""
Signed errors of firm capacity and envelope against brute-force AC bisection.

The truth at a step is bisected in AC power flow of the whole feeder (never split into
trunk and leaves), without screening, sensitivities or a starting guess, down to
0.001 kW. Looked at are random connections at random steps, at the steps of highest
load and at the steps that limit the sampled connections.

Firm must not be above the truth of any step (beyond the solver's tolerance), nor below
the truth at its own limiting step by more than the larger of 0.1 kW and 0.1 %. The
envelope, read back from its file, must not be above the truth by more than 0.05 kW.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numba
import numpy as np
import pandas as pd
from common import CASES, Clock, print_machine, read_case

from gridsite.hosting.capacity import hosting_capacity
from gridsite.hosting.envelope_dataset import read_envelope
from gridsite.hosting.grid_case import GridCase, port_profiles

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gridsite.hosting.base_case import BaseCase

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: Width of the brute-force bracket, and what its AC power flow may be off by. [kW]
WIDTH_KW, SOLVER_KW = 1e-3, 2e-3

QUANTILES = (0.0, 0.01, 0.5, 0.99, 1.0)


def headroom_kw(case: BaseCase, port: Ints, step: Ints, cap_kw: float) -> Floats:
    """Return the largest load that passes, by doubling and bisection. [kW]"""
    low, high = np.zeros(len(port)), np.ones(len(port))
    rising = np.arange(len(port))
    while len(rising):
        rising = rising[_passes(case, port, step, high, rising)]
        low[rising] = high[rising]
        rising = rising[high[rising] < cap_kw]
        high[rising] = np.minimum(2.0 * high[rising], cap_kw)
    at = np.flatnonzero(high - low > WIDTH_KW)
    while len(at):
        middle = 0.5 * (low + high)
        good = _passes(case, port, step, middle, at)
        low[at[good]], high[at[~good]] = middle[at[good]], middle[at[~good]]
        at = at[high[at] - low[at] > WIDTH_KW]
    return low


def _passes(
    case: BaseCase, port: Ints, step: Ints, kw: Floats, at: Ints
) -> NDArray[np.bool_]:
    slack, _ = case.evaluate(port[at], step[at], kw[at], tolerance_pu=1e-12)
    passes: NDArray[np.bool_] = slack >= 0.0
    return passes


def truths(
    grid: GridCase, chosen: pd.DataFrame, own: Ints, steps: Ints
) -> tuple[Floats, Floats]:
    """Return headroom at each connection's own step, and at all of some steps. [kW]"""
    at_own = np.full(len(chosen), np.nan)
    at_all = np.full((len(chosen), len(steps)), np.nan)
    ids = chosen["feeder_id"].to_numpy()
    for feeder_id in np.unique(ids):
        rows = np.flatnonzero(ids == feeder_id)
        every = np.unique(np.concatenate([steps, own[rows]]))
        profiles = grid.profiles.at_steps(every)
        case = grid.part(grid.feeder, str(feeder_id), profiles)
        names = grid.feeder.ports.index[case.block.ports]
        port = names.get_indexer(chosen["port_id"].iloc[rows]).astype(np.int64)
        place = np.searchsorted(every, steps)
        many = np.repeat(port, len(steps)), np.tile(place, len(rows))
        cap = grid.limits.search_cap_kw
        at_all[rows] = headroom_kw(case, *many, cap).reshape(len(rows), -1)
        at_own[rows] = headroom_kw(case, port, np.searchsorted(every, own[rows]), cap)
    return at_own, at_all


def report(what: str, error: Floats, bound: float, worst: float) -> bool:
    """Print quantiles of an error and whether its worst is within its bound."""
    parts = [f"{x:+.4f}" for x in np.quantile(error, QUANTILES)]
    holds = worst <= bound
    verdict = "holds" if holds else "FAILS"
    print(f"| {what} | {' | '.join(parts)} | {worst:+.4f} | {bound:g} | {verdict} |")
    return bool(holds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", choices=list(CASES))
    parser.add_argument("--steps", type=int, help="8784 or 35136, of SimBench grids")
    parser.add_argument("--first-steps", type=int, help="try with so many steps only")
    parser.add_argument("--connections", type=int, default=40)
    parser.add_argument("--random-steps", type=int, default=60)
    parser.add_argument("--heavy-steps", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    print_machine()
    case = read_case(chosen.case, chosen.steps)
    if chosen.first_steps:
        case = case.at(np.arange(chosen.first_steps))
    loads = port_profiles(case.feeder, case.loads)
    n_step = len(loads.time)
    draw = np.random.default_rng(chosen.seed)
    with tempfile.TemporaryDirectory() as folder, Clock() as rated:
        path = Path(folder) / "envelope.nc"
        table = hosting_capacity(
            case.feeder, case.loads, limits=case.limits, envelope=path
        )
        ok = table[table["firm_status"] == "ok"]
        ok = ok.sample(min(chosen.connections, len(ok)), random_state=chosen.seed)
        random = draw.choice(n_step, min(chosen.random_steps, n_step), replace=False)
        heavy = np.argsort(-loads.total_kw(), kind="stable")[: chosen.heavy_steps]
        own = loads.time.get_indexer(pd.DatetimeIndex(ok["limit_time"]))
        steps = np.unique(np.concatenate([random, heavy]))
        with read_envelope(path) as envelope:
            at = table.index.get_indexer(ok.index)
            values = envelope["headroom_kw"].isel(connection=at, time=steps)
            values = values.to_numpy().astype(np.float64)
    grid = GridCase(case.feeder, loads, case.limits, whole_nodes=10**9)
    with Clock() as clock:
        at_own, at_all = truths(grid, ok, own, steps)
    print(
        f"{case.size()}; {len(ok)} connections x {len(steps)} steps; threads "
        f"{numba.config.NUMBA_NUM_THREADS}; rated in {rated.wall:.1f} s (with "
        f"compiling), bisected in {clock.wall:.1f} s"
    )
    firm = ok["firm_kw"].to_numpy()
    print("\nvalue less truth, kW; quantiles " + ", ".join(f"{q:g}" for q in QUANTILES))
    print("| value | least | 1 % | median | 99 % | largest | judged | bound | |")
    print("|---|---|---|---|---|---|---|---|---|")
    below = firm - at_own
    allowed = np.maximum(0.1, 1e-3 * at_own)
    deepest = float((-below / allowed).max())
    least = firm - np.minimum(at_all.min(axis=1), at_own)
    error = (values - at_all).ravel()
    sampled = np.isin(steps, random)
    results = [
        report("firm, above any step", least, SOLVER_KW, float(least.max())),
        report(
            "firm at its limit step; judged: shortfall over allowed",
            below,
            1.0,
            deepest,
        ),
        report("envelope, all steps", error, 0.05, float(error.max())),
        report(
            "envelope, random steps",
            (values - at_all)[:, sampled].ravel(),
            0.05,
            float((values - at_all)[:, sampled].max()),
        ),
    ]
    if not all(results):
        sys.exit(1)


if __name__ == "__main__":
    main()
