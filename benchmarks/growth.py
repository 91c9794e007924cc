"""
Growth of cost with the number of low-voltage grids and with the number of steps.

Copies of 1-LV-rural3 hang on one medium-voltage cable, so that they influence each
other; copies and cable are made here (generated). An exponent of 1 is linear.
"""

from __future__ import annotations

import argparse
import tempfile
from typing import TYPE_CHECKING

import numba
import numpy as np
from common import in_child, keep, print_machine, read_case, spread
from hosting import rate

if TYPE_CHECKING:
    from common import Case


def measure(cases: list[tuple[int, Case]], what: str) -> None:
    """Print wall and CPU seconds of cases of growing size."""
    print(f"\n| {what} | buses | loads | wall s | CPU s | exponent of CPU | peak GB |")
    print("|---|---|---|---|---|---|---|")
    before = None
    for size, case in cases:
        with tempfile.TemporaryDirectory() as folder:
            (_, clock), peak = in_child(rate, keep(case, folder))
        exponent = ""
        if before is not None:
            steeper = np.log(clock.cpu / before[1]) / np.log(size / before[0])
            exponent = f"{steeper:.2f}"
        before = size, clock.cpu
        feeder = case.feeder
        print(
            f"| {size:,} | {len(feeder.nodes):,} | {len(feeder.load_ports):,} "
            f"| {clock.wall:.2f} | {clock.cpu:.2f} | {exponent} | {peak:.2f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--copies", type=int, nargs="*", default=[1, 4, 16])
    parser.add_argument("--copies-steps", type=int, default=8784)
    parser.add_argument("--steps", type=int, nargs="*", default=[96, 1536, 8784, 35136])
    chosen = parser.parse_args()
    print_machine()
    print(f"threads: {numba.config.NUMBA_NUM_THREADS}; steps are spread over the year")
    grids = []
    for n in chosen.copies:
        case = read_case(f"copies-{n}")
        steps = spread(len(case.loads.time), chosen.copies_steps)
        grids.append((n, case.at(steps)))
    if grids:
        measure(grids, f"LV grids, {chosen.copies_steps:,} steps")
    if chosen.steps:
        case = read_case("rural3")
        every = len(case.loads.time)
        measure([(n, case.at(spread(every, n))) for n in chosen.steps], "steps, rural3")


if __name__ == "__main__":
    main()
