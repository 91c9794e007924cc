"""
Firm and flexible capacity of all connections over the year, against two rivals.

(a) power-grid-model (batches, two threads, 1e-8, voltages only) that merely solves
the base case of that year; (b) power-grid-model batches that bisect firm capacity
alone, only at as many steps as gridsite's own screening leaves (`steps_solved`);
(c) batches that bisect the headroom of the steps that `flexible_energy98_kw`
curtails, which that value needs. Gridsite's one run gives all three.
The bisecting rivals are favoured: they are told twice the answer as upper end, drop
each step that need not be looked at again, and are not charged for building batches,
reading results, choosing steps, or deciding limits.

Every measurement runs in a process of its own, after reading; compiling is left out
by a warm-up run of the same work on four steps. Reading is not timed.
"""

from __future__ import annotations

import argparse
import tempfile
from typing import TYPE_CHECKING

import numba
import numpy as np
import pandas as pd
from common import (
    CASES,
    Case,
    Clock,
    in_child,
    keep,
    kept,
    print_machine,
    read_case,
    spread,
)
from peers import PowerGridModel, circuit

from gridsite.feeder.powerflow import Block
from gridsite.hosting.capacity import hosting_capacity
from gridsite.hosting.grid_case import GridCase, port_profiles

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

TOLERANCE_PU, TOLERANCE_KW, THREADS = 1e-8, 0.1, 2

#: Numbers held in one batch of the peer.
_BATCH = 4_000_000


def rate(path: Path) -> tuple[pd.DataFrame, Clock]:
    """Rate all connections with gridsite."""
    case = kept(path)
    small = case.at(spread(len(case.loads.time), 4))
    hosting_capacity(small.feeder, small.loads, limits=small.limits)
    with Clock() as clock:
        table = hosting_capacity(case.feeder, case.loads, limits=case.limits)
    return table, clock


def solve_year(path: Path, n_step: int) -> Clock:
    """Solve base states with the peer, spread over the year."""
    case = kept(path)
    profiles = port_profiles(case.feeder, case.loads)
    steps = spread(len(case.loads.time), n_step)
    clock = Clock()
    for feeder_id in _feeders(case):
        block = Block(case.feeder, feeder_id)
        own = profiles.select(case.feeder.ports.index[block.ports])
        peer = PowerGridModel(circuit(case.feeder, block))
        width = max(1, _BATCH // len(block.ports))
        first = peer.batch(*own.power_kw(steps[:8]))
        peer.solve(first, threads=THREADS, tolerance_pu=TOLERANCE_PU)
        for start in range(0, len(steps), width):
            batch = peer.batch(*own.power_kw(steps[start : start + width]))
            with clock:
                peer.solve(batch, threads=THREADS, tolerance_pu=TOLERANCE_PU)
    return clock


def firm_searches(table: pd.DataFrame, case: Case) -> pd.DataFrame:
    """Return the states that a search of each firm capacity looks at."""
    loads = port_profiles(case.feeder, case.loads)
    heavy = np.argsort(-loads.total_kw(), kind="stable")
    limit = loads.time.get_indexer(pd.DatetimeIndex(table["limit_time"]))
    count = table["steps_solved"].clip(1, len(heavy)).to_numpy()
    steps = [
        np.unique(np.append(heavy[: n - 1], at))
        for n, at in zip(count, limit, strict=True)
    ]
    out = table[["port_id", "feeder_id"]].assign(
        search=range(len(table)), step=steps, most=2.0 * table["firm_kw"] + 1.0
    )
    return out.explode("step")


def flexible_searches(
    table: pd.DataFrame, case: Case, n: int, seed: int
) -> tuple[pd.DataFrame, float]:
    """Return a sample of curtailed steps, and its share of all of them."""
    loads = port_profiles(case.feeder, case.loads)
    heavy = np.argsort(-loads.total_kw(), kind="stable")
    draw = np.random.default_rng(seed)
    curtailed = table["energy98_steps_curtailed"].to_numpy(dtype=np.int64)
    row = draw.choice(len(table), size=n, p=curtailed / curtailed.sum())
    chosen = table.iloc[row]
    step = heavy[(draw.random(n) * curtailed[row]).astype(np.int64)]
    searches = chosen[["port_id", "feeder_id"]].assign(
        search=range(n), step=step, most=2.0 * chosen["flexible_energy98_kw"] + 1.0
    )
    return searches, n / curtailed.sum()


def bisect(path: Path, searches: pd.DataFrame) -> tuple[Clock, int, Floats]:
    """Bisect with the peer; return clock, number of states, and loads found. [kW]"""
    case = kept(path)
    profiles = port_profiles(case.feeder, case.loads)
    grid = GridCase(case.feeder, profiles, case.limits)
    clock, solved = Clock(), 0
    low = np.zeros(searches["search"].max() + 1)
    high = searches.groupby("search")["most"].first().to_numpy()
    for feeder_id, group in searches.groupby("feeder_id"):
        steps, now = np.unique(group["step"].to_numpy(int), return_inverse=True)
        base = grid.part(case.feeder, str(feeder_id), profiles.at_steps(steps))
        names = case.feeder.ports.index[base.block.ports]
        own = profiles.select(names)
        port = names.get_indexer(group["port_id"]).astype(np.int64)
        peer = PowerGridModel(circuit(case.feeder, base.block))
        which = group["search"].to_numpy()
        width = max(1, _BATCH // len(names))
        while len(which):
            middle = 0.5 * (low + high)
            for start in range(0, len(which), width):
                at = slice(start, start + width)
                p_kw, q_kvar = own.power_kw(steps[now[at]])
                added, column = middle[which[at]], np.arange(len(which[at]))
                p_kw[port[at], column] += added
                q_kvar[port[at], column] += added * base.tan_phi
                batch = peer.batch(p_kw, q_kvar)
                with clock:
                    peer.solve(
                        batch, threads=THREADS, tolerance_pu=TOLERANCE_PU, go_on=True
                    )
            solved += len(which)
            bad = base.evaluate(port, now, middle[which])[0] < 0.0
            fails = np.bincount(which[bad], minlength=len(low)) > 0
            own_part = np.isin(np.arange(len(low)), which)
            high = np.where(own_part & fails, middle, high)
            low = np.where(own_part & ~fails, middle, low)
            wide = high - low > np.maximum(TOLERANCE_KW, 1e-3 * low)
            # a step that passed where another failed passes below as well
            left = (bad | ~fails[which]) & wide[which]
            which, now, port = which[left], now[left], port[left]
    return clock, solved, low


def _feeders(case: Case) -> list[str]:
    ids = case.feeder.nodes["feeder_id"]
    return sorted(set(ids[ids != ""]))


def _row(work: str, clock: Clock, peak: float, share: float, own: Clock) -> str:
    """Return a row of the printed table; times are divided by the share done."""
    wall, cpu = clock.wall / share, clock.cpu / share
    ratio = f"{wall / own.wall:.2f} | {cpu / own.cpu:.2f}"
    return f"| {work} | {wall:.2f} | {cpu:.2f} | {ratio} | {peak:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("case", choices=list(CASES))
    parser.add_argument("--steps", type=int, help="8784 or 35136, of SimBench grids")
    parser.add_argument("--first-steps", type=int, help="try with so many steps only")
    parser.add_argument("--base-steps", type=int, help="of the peer's base case")
    parser.add_argument("--sample", type=int, default=200, help="bisected connections")
    parser.add_argument("--pairs", type=int, default=1000, help="searches of (c)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--alone", action="store_true", help="without the peer")
    chosen = parser.parse_args()
    print_machine("power-grid-model")
    case = read_case(chosen.case, chosen.steps)
    if chosen.first_steps:
        case = case.at(np.arange(chosen.first_steps))
    n_step = len(case.loads.time)
    print(f"{case.size()}; firm within {TOLERANCE_KW} kW, peer at {TOLERANCE_PU:g}")
    print(f"threads: gridsite {numba.config.NUMBA_NUM_THREADS}, peer {THREADS}")
    print("| work | wall s | CPU s | wall / gridsite | CPU / gridsite | peak GB |")
    print("|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path = keep(case, folder)
        (table, own), peak = in_child(rate, path)
        print(_row("gridsite, firm and flexible", own, peak, 1.0, own), flush=True)
        ok = table[table["firm_status"] == "ok"]
        if not chosen.alone:
            n_base = min(chosen.base_steps or n_step, n_step)
            clock, peak = in_child(solve_year, path, n_base)
            label = f"(a) peer, base case{_extrapolated(n_base, n_step, 'steps')}"
            print(_row(label, clock, peak, n_base / n_step, own), flush=True)
            _rivals(path, case, ok, own, chosen)
    states = ok["steps_solved"]
    print(f"\nstatus: {table['firm_status'].value_counts().to_dict()}")
    print(
        f"steps left by screening: median {states.median():.0f}, mean "
        f"{states.mean():.1f}, largest {states.max()} of {n_step:,}"
    )


def _rivals(
    path: Path, case: Case, ok: pd.DataFrame, own: Clock, chosen: argparse.Namespace
) -> None:
    """Print the rows of the rivals that bisect."""
    draw = ok.sample(min(chosen.sample, len(ok)), random_state=chosen.seed)
    (clock, solved, found), peak = in_child(bisect, path, firm_searches(draw, case))
    note = _extrapolated(len(draw), len(ok), "connections")
    label = f"(b) peer, bisection of firm alone{note}"
    print(_row(label, clock, peak, len(draw) / len(ok), own), flush=True)
    gap = np.abs(found - draw["firm_kw"].to_numpy())
    searches, share = flexible_searches(ok, case, chosen.pairs, chosen.seed)
    (clock, more, _), peak = in_child(bisect, path, searches)
    every = round(len(searches) / share)
    note = _extrapolated(len(searches), every, "searches")
    label = f"(c) peer, bisection of the steps that energy98 curtails{note}"
    print(_row(label, clock, peak, share, own), flush=True)
    print(
        f"\n(b): {solved:,} states, largest difference from firm_kw {gap.max():.3f} kW"
        f" (median firm {draw['firm_kw'].median():.1f} kW); (c): {more:,} states"
    )


def _extrapolated(done: int, every: int, what: str) -> str:
    return "" if done == every else f" (extrapolated from {done:,} of {every:,} {what})"


if __name__ == "__main__":
    main()
