"""
Reading an OpenDSS circuit, and rating all its connections over the year of its shapes.

``python opendss.py MASTER.dss [--steps snapshot] [--controls acting] [--phase 12]``
"""

from __future__ import annotations

import argparse
from pathlib import Path

from common import Clock, print_machine

from gridsite.feeder.read_opendss import read_opendss
from gridsite.hosting.limits import Limits
from gridsite.rating import rate_feeder
from gridsite.rating_case import LoadChoice

#: Secondaries of published circuits often have no ampacity; these can be judged.
CRITERIA = ("voltage", "voltage change", "transformer current")


def main() -> None:
    """Print seconds of reading and of rating."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("master", type=Path)
    parser.add_argument("--steps", default="year", choices=["snapshot", "576", "year"])
    parser.add_argument("--controls", default="frozen", choices=["frozen", "acting"])
    parser.add_argument("--phase", default="known", choices=["known", "12", "ABC"])
    options = parser.parse_args()
    print_machine("dss-python")
    with Clock() as reading:
        feeder = read_opendss(options.master)
    print(f"{options.master.name}: {len(feeder.nodes)} nodes, ", end="")
    print(f"{len(feeder.load_ports)} connections")
    print(f"read: {reading.wall:.2f} s wall, {reading.cpu:.2f} s CPU")
    with Clock() as rating:
        results = rate_feeder(
            options.master,
            choose_loads=LoadChoice(steps=options.steps),
            limits=Limits(criteria=CRITERIA),
            controls=options.controls,
            phase=options.phase,
        )
    table = results.hosting
    print(f"read, rated, replayed ({options.steps}, {options.controls}): ", end="")
    print(f"{rating.wall:.1f} s wall, {rating.cpu:.1f} s CPU; compiling included")
    print(table["firm_status"].value_counts().to_string())


if __name__ == "__main__":
    main()
