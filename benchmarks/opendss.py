"""
Reading an OpenDSS circuit, and rating all its connections over the year of its shapes.

``python opendss.py MASTER.dss [--steps snapshot] [--first-steps 24]``

With ``--controls acting`` both ways are rated one after the other in one run, compiled
code at hand, and their CPU seconds compared.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from common import Clock, print_machine

from gridsite.feeder.load_parts import snapshot_profiles
from gridsite.feeder.read_opendss import read_opendss
from gridsite.hosting.limits import Limits
from gridsite.rating import rate_feeder
from gridsite.rating_case import LoadChoice

if TYPE_CHECKING:
    from gridsite.feeder.model import Feeder
    from gridsite.feeder.profiles import Profiles

#: Secondaries of published circuits often have no ampacity; these can be judged.
CRITERIA = ("voltage", "voltage change", "transformer current")

#: What is rated; ``day`` is generated, for circuits without load shapes.
STEPS = ["snapshot", "day", "576", "year"]

#: A small circuit with regulators, to compile on.
SMALL = Path(__file__).parents[1] / "tests" / "reference" / "opendss" / "ieee13.dss"


@dataclass(frozen=True, kw_only=True)
class FirstSteps:
    """The first of the steps that are asked for; call it with the feeder."""

    steps: str
    first: int | None = None

    def __call__(self, feeder: Feeder) -> Profiles:
        """Return what the loads of a feeder draw."""
        if self.steps == "day":
            return generated_day(feeder).at_steps(np.arange(self.first or 24))
        loads = LoadChoice(steps=self.steps)(feeder)
        if self.first is None:
            return loads
        return loads.at_steps(np.arange(min(self.first, len(loads.time))))


def generated_day(feeder: Feeder) -> Profiles:
    """Return a generated day: the filed loads times 0.35 to 0.95, least at 3 h."""
    hours = np.arange(24)
    shape = 0.65 - 0.3 * np.cos(2.0 * np.pi * (hours - 3) / 24.0)
    filed = snapshot_profiles(feeder)
    return replace(
        filed,
        time=pd.date_range("2023-01-01", periods=24, freq="h", tz="UTC"),
        p_shapes=filed.p_shapes[:, :1] * shape,
        q_shapes=filed.q_shapes[:, :1] * shape,
    )


def rated(master: Path, loads: FirstSteps, *, controls: str, phase: str) -> Clock:
    """Rate every connection of a circuit; print what came out, return its seconds."""
    with Clock() as clock:
        results = rate_feeder(
            master,
            choose_loads=loads,
            limits=Limits(criteria=CRITERIA),
            controls=controls,
            phase=phase,
        )
    status = results.hosting["firm_status"].value_counts()
    print(
        f"controls {controls}: {clock.wall:.1f} s wall, {clock.cpu:.1f} s CPU; ", end=""
    )
    print(", ".join(f"{count} {name}" for name, count in status.items()))
    return clock


def main() -> None:
    """Print seconds of reading and of rating."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("master", type=Path)
    parser.add_argument("--steps", default="year", choices=STEPS)
    parser.add_argument("--first-steps", type=int, help="of those; all by default")
    parser.add_argument("--controls", default="frozen", choices=["frozen", "acting"])
    parser.add_argument("--phase", default="known", choices=["known", "12", "ABC"])
    options = parser.parse_args()
    print_machine("dss-python")
    with Clock() as reading:
        feeder = read_opendss(options.master)
    print(f"{options.master.name}: {len(feeder.nodes)} nodes, ", end="")
    print(f"{len(feeder.load_ports)} connections, {len(feeder.controls)} controls")
    print(f"read: {reading.wall:.2f} s wall, {reading.cpu:.2f} s CPU")
    loads = FirstSteps(steps=options.steps, first=options.first_steps)
    how = f"{options.steps}, first steps: {options.first_steps or 'all'}"
    if options.controls == "frozen":
        print(f"read, rated, replayed ({how}), compiling included")
        rated(options.master, loads, controls="frozen", phase=options.phase)
        return
    print(f"compiling, on {SMALL.name} as filed")
    once = FirstSteps(steps="snapshot")
    for controls in ("frozen", "acting"):
        rated(SMALL, once, controls=controls, phase="known")
    print(f"read, rated, replayed ({how})")
    frozen, acting = (
        rated(options.master, loads, controls=controls, phase=options.phase)
        for controls in ("frozen", "acting")
    )
    print(f"acting / frozen, CPU seconds: {acting.cpu / frozen.cpu:.1f}")


if __name__ == "__main__":
    main()
