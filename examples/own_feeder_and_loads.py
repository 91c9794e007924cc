"""
Rate every load of your own feeder with your own meter readings.

    python examples/own_feeder_and_loads.py my_feeder.json my_loads.csv

FEEDER is a pandapower network saved with ``pandapower.to_json``. LOADS is a CSV:
first column ``time`` (ISO 8601 with a zone, such as 2025-01-13T18:00+01:00), then
one column per load, named as in the feeder file, in kW.

Without files of your own the script makes both under out/example_own: the feeder is
pandapower's small named network ``create_kerber_landnetz_freileitung_1`` with names
given to its loads, and the week of loads is GENERATED: no meter ever read it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandapower as pp
import pandas as pd
from pandapower.networks import create_kerber_landnetz_freileitung_1
from rich.console import Console
from rich.table import Table

from gridsite import Limits, check_feeder, hosting_capacity, read_feeder
from gridsite.feeder.profile_files import read_profiles
from gridsite.report import findings_table

OUT = Path("out/example_own")
FEEDER, LOADS = OUT / "feeder.json", OUT / "loads_generated.csv"

# What your utility asks for: change it here.
LIMITS = Limits(voltage_min_pu=0.92, voltage_max_pu=1.08, transformer_loading_max=0.9)
POWER_FACTOR = 0.98  # of what you connect
LOAD_POWER_FACTOR = 0.95  # assumption: readings of active power alone


def main() -> None:
    console = Console()
    feeder_file, loads_file = arguments()
    if feeder_file == FEEDER and not FEEDER.exists():
        write_feeder(FEEDER)
        console.print(f"wrote {FEEDER}: pandapower's Kerber network, loads named")
    if loads_file == LOADS and not LOADS.exists():
        write_generated_loads(LOADS, read_feeder(feeder_file).load_ports.index)
        console.print(f"wrote {LOADS}: GENERATED loads, no meter readings")

    console.print(findings_table(check_feeder(feeder_file)))

    feeder = read_feeder(feeder_file)
    loads = read_profiles(
        loads_file,
        port_ids=feeder.load_ports.index,
        power_factor=LOAD_POWER_FACTOR,
    )
    hosting = hosting_capacity(feeder, loads, limits=LIMITS, power_factor=POWER_FACTOR)

    table = table_of(hosting, generated=loads_file == LOADS)
    table.caption = (
        f"{LIMITS.voltage_min_pu} to {LIMITS.voltage_max_pu} pu; means over "
        f"{60.0 * loads.step_hours:g} minutes; single capacities do not add up"
    )
    console.print(table)
    OUT.mkdir(parents=True, exist_ok=True)
    hosting.to_csv(OUT / "hosting.csv", index=False)
    console.print(f"wrote {OUT / 'hosting.csv'}")


def arguments() -> tuple[Path, Path]:
    """Return the feeder file and the load file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("feeder", type=Path, nargs="?", default=FEEDER)
    parser.add_argument("loads", type=Path, nargs="?", default=LOADS)
    given = parser.parse_args()
    return given.feeder, given.loads


def write_feeder(path: Path) -> None:
    """Write a small feeder to start from, with a name for each load."""
    net = create_kerber_landnetz_freileitung_1()
    net.load["name"] = [f"meter {i + 1:02d}" for i in range(len(net.load))]
    path.parent.mkdir(parents=True, exist_ok=True)
    pp.to_json(net, str(path))


def write_generated_loads(path: Path, names: pd.Index) -> None:
    """Write a GENERATED week of quarter-hours: a base, an evening peak, noise."""
    time = pd.date_range("2025-01-13T00:00+01:00", periods=7 * 96, freq="15min")
    hour = np.asarray(time.hour + time.minute / 60.0)
    rng = np.random.default_rng(7)
    table = pd.DataFrame(index=time.map(pd.Timestamp.isoformat).rename("time"))
    for name in names:
        peak_kw, at = rng.uniform(2.0, 6.0), rng.normal(19.0, 1.0)
        evening = np.exp(-((hour - at) ** 2) / 4.0)
        noise = rng.gamma(2.0, 0.1, len(time))
        table[name] = (0.2 + peak_kw * evening + noise).round(3)
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path)


def table_of(hosting: pd.DataFrame, *, generated: bool) -> Table:
    """Return the capacities as a table for the terminal."""
    title = "How much more each load could draw, alone"
    table = Table(title=title + (" (GENERATED loads)" if generated else ""))
    for name in ("load", "firm [kW]", "flexible, 98 % of energy [kW]", "status"):
        table.add_column(name, justify="right" if "kW" in name else "left")
    for name in ("limit", "at", "when"):
        table.add_column(name)
    for row in hosting.itertuples():
        table.add_row(
            row.building_id,
            f"{row.firm_kw:.1f}",
            f"{row.flexible_energy98_kw:.1f}",
            row.firm_status,
            row.limit_criterion,
            row.limit_element,
            f"{row.limit_time:%a %H:%M}" if pd.notna(row.limit_time) else "",
        )
    return table


if __name__ == "__main__":
    main()
