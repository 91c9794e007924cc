"""
Load states per second: gridsite, power-grid-model and lightsim2grid side by side.

All engines solve the same states of the same admittance (`peers.circuit`), keep only
voltages, and must agree before anything is timed. Each round runs every engine once;
the median round is printed. Preparing the arrays of loads is not timed.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
from common import Clock, print_machine, read_case
from peers import LightSim2Grid, PowerGridModel, circuit

from gridsite.feeder.powerflow import Block
from gridsite.feeder.states import Solution, States
from gridsite.hosting.grid_case import port_profiles

if TYPE_CHECKING:
    from collections.abc import Callable

    from common import Case
    from numpy.typing import NDArray
    from peers import Circuit

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: Grids of about 100, 1,000 and 9,000 buses, and how many states of each.
GRIDS = {"rural3": 20_000, "copies-8": 3_000, "semiurb": 300}
TOLERANCE, AGREED = 1e-8, 1e-6


def states_of(case: Case, feeder_id: str) -> tuple[Block, States]:
    """Return the largest block and what its ports draw at the case's steps."""
    block = Block(case.feeder, feeder_id)
    profiles = port_profiles(case.feeder, case.loads)
    at, base = block.ports, block.base_kva
    return block, States(
        p_shapes=profiles.p_shapes,
        q_shapes=profiles.q_shapes,
        shape_of_port=profiles.shape_of_port[at].astype(np.int64),
        p_scale=profiles.p_scale_kw[at] / base,
        q_scale=profiles.q_scale_kvar[at] / base,
        spread=np.zeros(len(at)),
        tan_phi=0.0,
    )


def engines_of(case: Case, n_state: int) -> tuple[dict[str, Callable[[], Any]], Check]:
    """Return a call per engine and number of threads, and what checks results."""
    ids = case.feeder.nodes["feeder_id"]
    block, states = states_of(case, ids[ids != ""].value_counts().index[0])
    # consecutive quarter-hours up to the highest load of the year
    last = max(int(case.loads.total_kw().argmax()) + 1, n_state)
    steps = np.arange(last - n_state, last)
    power = states.power(steps) * block.base_kva
    p_kw, q_kvar = power.real.copy(), power.imag.copy()
    check = Check(circuit(case.feeder, block), block, states, steps, p_kw, q_kvar)
    model = PowerGridModel(check.grid)
    batch = model.batch(p_kw, q_kvar)
    v_start = np.append(block.v_no_load, 0.0) / check.grid.turn
    v_start[-1] = check.grid.v_source
    light = LightSim2Grid(check.grid, v_start)
    p_mw, q_mvar = (np.ascontiguousarray(x.T) / 1e3 for x in (p_kw, q_kvar))

    def own(threads: int) -> Any:  # noqa: ANN401
        numba.set_num_threads(threads)
        return block.solve(states, steps, tolerance_pu=TOLERANCE)

    peer = partial(model.solve, batch, tolerance_pu=TOLERANCE)
    other = partial(light.solve, p_mw, q_mvar, tolerance_pu=TOLERANCE)
    engines: dict[str, Callable[[], Any]] = {}
    for n in range(1, min(numba.config.NUMBA_NUM_THREADS, 2) + 1):
        engines[f"gridsite, {n} thread(s)"] = partial(own, n)
        engines[f"power-grid-model, {n} thread(s)"] = partial(peer, threads=n)
        kind = "time series" if n == 1 else "sweep"
        engines[f"lightsim2grid {kind}, {n} thread(s)"] = partial(other, threads=n)
    return engines, check


class Check:
    """Hold results against a solution of tight tolerance, at the first states."""

    def __init__(
        self,
        grid: Circuit,
        block: Block,
        states: States,
        steps: Ints,
        p_kw: Floats,
        q_kvar: Floats,
    ) -> None:
        self.grid, self.block = grid, block
        self.few = slice(0, min(len(steps), 50))
        self.power = p_kw[:, self.few], q_kvar[:, self.few]
        self.exact = block.solve(states, steps[self.few], tolerance_pu=1e-13).v

    def errors(self, label: str, out: Any) -> tuple[float, float]:  # noqa: ANN401
        """Return the largest error of voltage [pu] and mismatch of power. [kVA]"""
        grid, turn = self.grid, self.grid.turn[:, None]
        if isinstance(out, Solution):
            v = out.v[:, self.few]
            fixed = np.full((1, v.shape[1]), grid.v_source)
            whole = np.vstack([v / turn[:-1], fixed])
        else:
            whole = PowerGridModel.voltages(out) if isinstance(out, dict) else out
            whole = whole[:, self.few]
        error = float(np.abs((whole * turn)[:-1] - self.exact).max())
        if not error < AGREED:  # NaN is an error too
            msg = f"{label} is off by {error:g} pu"
            raise RuntimeError(msg)
        return error, grid.mismatch_kva(whole, *self.power)


def run(name: str, n_state: int, rounds: int) -> None:
    """Compare the engines on one grid."""
    engines, check = engines_of(read_case(name), n_state)
    found = {label: check.errors(label, solve()) for label, solve in engines.items()}
    clocks: dict[str, list[Clock]] = {label: [] for label in engines}
    for _ in range(rounds):
        for label, solve in engines.items():
            with Clock() as clock:
                solve()
            clocks[label].append(clock)
    print(
        f"\n{name}: {len(check.block.nodes) + 1:,} nodes, "
        f"{len(check.block.ports):,} ports, {n_state:,} states, "
        f"median of {rounds} rounds, each engine's own tolerance {TOLERANCE:g}"
    )
    print("| engine | states/s | wall s | CPU s | error pu | mismatch kVA |")
    print("|---|---|---|---|---|---|")
    for label, times in clocks.items():
        wall = np.median([c.wall for c in times])
        cpu = np.median([c.cpu for c in times])
        error, off = found[label]
        print(
            f"| {label} | {n_state / wall:,.0f} | {wall:.3f} | {cpu:.3f} "
            f"| {error:.1e} | {off:.1e} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("grids", nargs="*", default=list(GRIDS))
    parser.add_argument("--states", type=int, help="instead of the grid's own number")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    print_machine("power-grid-model", "lightsim2grid")
    for name in chosen.grids:
        n_state = chosen.states or GRIDS.get(name, 1_000)
        run(name, n_state, chosen.rounds)


if __name__ == "__main__":
    main()
