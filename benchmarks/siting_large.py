"""Siting at the size of a town and of a grid: classes of buildings, a SimBench grid."""

from __future__ import annotations

import argparse
import pickle
import resource
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from common import Clock, print_machine, read_case, spread

from gridsite.hosting.capacity import hosting_capacity
from gridsite.hosting.grid_case import GridCase
from gridsite.hosting.joint import grid_rows
from gridsite.siting import SitingProblem, empty_table, solve
from gridsite.study.siting_grid import Grids

if TYPE_CHECKING:
    from gridsite.study.siting_grid import Replayed

#: Units: rated and IT power [kW], cost of one; the last is a block of a hall.
MENU = {
    "u5": (5.0, 4.55, 82_000.0),
    "u12": (12.5, 11.36, 195_000.0),
    "block": (275.0, 250.0, 6_200_000.0),
}


def units() -> pd.DataFrame:
    """Return the menu as table ``units``."""
    return pd.DataFrame(
        {
            "unit": list(MENU),
            "rated_kw": [m[0] for m in MENU.values()],
            "it_kw": [m[1] for m in MENU.values()],
            "power_factor": 0.98,
            "phases": "ABC",
            "footprint_m2": 1.0,
            "capital_cost": 0.0,
            "life_years": 10.0,
            "lead_periods": 0,
            "min_power_share": 0.0,
        }
    )


def workloads(limits_ms: dict[str, float]) -> pd.DataFrame:
    """Return workloads that must be served within a limit."""
    limit = list(limits_ms.values())
    return pd.DataFrame(
        {
            "workload": list(limits_ms),
            "rtt_limit_ms": limit,
            "rtt_target_ms": limit,
            "min_share_within_target": 0.0,
            "unserved_cost": None,
            "redundancy": 0,
        }
    )


def sites(names: np.ndarray, kind: str, fixed: float) -> pd.DataFrame:
    """Return sites of one kind."""
    return pd.DataFrame(
        {
            "site_id": names,
            "kind": kind,
            "building_id": names if kind == "building" else "",
            "feeder_id": "",
            "utility": "",
            "area": "",
            "fixed_capital": fixed,
            "max_power_kw": np.nan,
            "access_ms": 0.0,
        }
    )


def options(
    names: np.ndarray, unit: str, ports: np.ndarray | str, most: np.ndarray | int
) -> pd.DataFrame:
    """Return one option for each site."""
    return pd.DataFrame(
        {
            "site_id": names,
            "unit": unit,
            "port_id": ports,
            "unit_capital": MENU[unit][2],
            "unit_per_year": 0.0,
            "max_units": most,
            "existing_units": 0,
            "available_from": 0,
            "own_limit_kw": np.nan,
        }
    )


def classes(n_class: int, n_each: int, n_zone: int, near: int) -> SitingProblem:
    """
    Return buildings in classes of alike ones around places, and a hall far away.

    Generated: places and zones uniform in a square, demand of 5 to 50 kW, each zone
    within reach of its nearest places and of the hall.
    """
    rng = np.random.default_rng(0)
    place, zone = rng.random((n_class, 2)), rng.random((n_zone, 2))
    need = rng.uniform(5.0, 50.0, n_zone)
    apart = np.hypot(*(place[:, None] - zone[None]).transpose(2, 0, 1))
    far = np.argpartition(apart, near, axis=0)[:near]
    zones = np.array([f"z{i:05}" for i in range(n_zone)], dtype=object)
    names = np.array(
        [f"b{c:04}-{k:03}" for c in range(n_class) for k in range(n_each)], dtype=object
    )
    at_class = far.ravel(order="F")
    of_zone = np.repeat(np.arange(n_zone), near)
    member = (at_class[:, None] * n_each + np.arange(n_each)).ravel()
    arcs = pd.DataFrame(
        {
            "zone_id": zones[np.repeat(of_zone, n_each)],
            "site_id": names[member],
            "rtt_ms": 10.0,
            "cost_per_it_kw": np.repeat(9_000.0 * apart[at_class, of_zone], n_each),
        }
    )
    hall = pd.DataFrame(
        {"zone_id": zones, "site_id": "hall", "rtt_ms": 45.0, "cost_per_it_kw": 600.0}
    )
    return SitingProblem(
        sites=pd.concat(
            [
                sites(names, "building", 6_000.0),
                sites(np.array(["hall"]), "central", 5e5),
            ]
        ),
        site_options=pd.concat(
            [
                options(names, "u12", names, 1 + np.arange(len(names)) // n_each % 2),
                options(np.array(["hall"]), "block", "", 400),
            ]
        ),
        units=units(),
        workloads=workloads({"all": 100.0}),
        demand=pd.DataFrame(
            {"zone_id": zones, "workload": "all", "period": 0, "demand_it_kw": need}
        ),
        arcs=pd.concat([arcs, hall]).assign(workload="all", period=0),
        rows=empty_table("rows"),
        row_coefficients=empty_table("row_coefficients"),
        groups=empty_table("groups"),
        present_value_factor=7.0,
    )


def run_classes(near: int, gap: float, limit_s: float) -> None:
    """Solve 100,000 buildings in 1,000 classes, 2,000 zones."""
    began = time.perf_counter()
    problem = classes(1000, 100, 2000, near)
    print(
        f"100,000 buildings in 1,000 classes, 2,000 zones, {len(problem.arcs):,} arcs; "
        f"tables made and checked in {time.perf_counter() - began:.1f} s",
        flush=True,
    )
    tell(problem, gap, limit_s)


def tell(problem: SitingProblem, gap: float, limit_s: float, **how: object) -> None:
    """Solve and print."""
    began, cpu = time.perf_counter(), used_cpu()
    plan = solve(problem, gap=gap, time_limit_s=limit_s, progress=print, **how)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"  {time.perf_counter() - began:.1f} s wall, {used_cpu() - cpu:.1f} s CPU of "
        f"this process, {plan.seconds_building:.1f} s building models, peak "
        f"{peak:.2f} GB with tables\n"
        f"  {plan.status}: {plan.stopped_because}; objective {plan.objective:.8g}, "
        f"bound {plan.bound:.8g}, gap {plan.gap:.2e}, gap of the last model "
        f"{plan.gap_model:.2e}; {plan.plan['count'].sum():,} units",
        flush=True,
    )


def rated(n_step: int) -> tuple[GridCase, pd.DataFrame]:
    """Return semiurb at steps spread over its year, and its rating, kept for a day."""
    case = read_case("semiurb")
    steps = spread(len(case.loads.time), n_step)
    case = case.at(steps) if len(steps) < len(case.loads.time) else case
    grid = GridCase(case.feeder, case.loads, case.limits)
    kept = Path(tempfile.gettempdir()) / f"semiurb-rated-{len(steps)}.pickle"
    if kept.exists() and time.time() - kept.stat().st_mtime < 86_400.0:
        return grid, pickle.loads(kept.read_bytes())  # noqa: S301 - written below
    began = time.perf_counter()
    table = hosting_capacity(case.feeder, case.loads, limits=case.limits, grid=grid)
    print(f"rated in {time.perf_counter() - began:.0f} s (kept for a day)", flush=True)
    kept.write_bytes(pickle.dumps(table))
    return grid, table


def town(grid: GridCase, table: pd.DataFrame) -> SitingProblem:
    """
    Return every load of semiurb as a building, 500 zones and 3 workloads.

    Generated: a zone is a run of neighbouring loads in the order of the file;
    real-time reaches its own zone and the next on each side, interactive two more
    and the hall, batch as interactive at other prices. Demand is drawn so that 4 %
    of what the connections can host each alone is asked for.
    """
    rng = np.random.default_rng(0)
    can = table[table["firm_kw"] >= MENU["u5"][0]].reset_index(drop=True)
    names = can["building_id"].to_numpy(dtype=object)
    zone = np.arange(len(table)) * 500 // len(table)
    zone_of = pd.Series(zone, index=table["building_id"])[names].to_numpy()
    zones = np.array([f"z{i:03}" for i in range(500)], dtype=object)
    reach = {"real-time": 1, "interactive": 3, "batch": 3}
    room = np.minimum(can["firm_kw"], 25.0).sum()
    need = pd.DataFrame(
        {"zone_id": np.tile(zones, 3), "workload": np.repeat(list(reach), 500)}
    )
    size = rng.uniform(0.5, 1.5, len(need)) * np.repeat([0.2, 0.4, 0.4], 500)
    near = np.convolve(
        np.bincount(zone_of, np.minimum(can["firm_kw"], 25.0), 500), np.ones(3), "same"
    )
    size *= np.tile(near / near.mean(), 3)
    need = need.assign(period=0, demand_it_kw=0.04 * room * size / size.sum())
    arcs = []
    for workload, far in reach.items():
        apart = np.abs(zone_of[:, None] - np.arange(500))
        at, of = np.nonzero(apart <= far)
        price = {"real-time": 60.0, "interactive": 40.0, "batch": 20.0}[workload]
        arcs.append(
            pd.DataFrame(
                {
                    "zone_id": zones[of],
                    "site_id": names[at],
                    "workload": workload,
                    "rtt_ms": 10.0,
                    "cost_per_it_kw": price * apart[at, of],
                }
            )
        )
        if workload != "real-time":
            arcs.append(
                pd.DataFrame(
                    {
                        "zone_id": zones,
                        "site_id": "hall",
                        "workload": workload,
                        "rtt_ms": 30.0,
                        "cost_per_it_kw": 600.0,
                    }
                )
            )
    rows, terms = grid_rows(grid, pd.Index(can["port_id"]))
    ports = can["port_id"].to_numpy(dtype=object)
    hall = np.array(["hall"], dtype=object)
    menu = [options(names, unit, ports, 4) for unit in ("u5", "u12")]
    menu = [part.assign(own_limit_kw=can["firm_kw"].to_numpy()) for part in menu]
    return SitingProblem(
        sites=pd.concat(
            [sites(names, "building", 6_000.0), sites(hall, "central", 5e5)]
        ),
        site_options=pd.concat([*menu, options(hall, "block", "", 400)]),
        units=units(),
        workloads=workloads(dict.fromkeys(reach, 100.0)),
        demand=need,
        arcs=pd.concat(arcs).assign(period=0),
        rows=rows,
        row_coefficients=terms,
        groups=empty_table("groups"),
        present_value_factor=7.0,
    )


def run_semiurb(n_step: int, gap: float, limit_s: float) -> None:
    """Solve and replay the whole of semiurb, after rating."""
    grid, table = rated(n_step)
    began = time.perf_counter()
    problem = town(grid, table)
    print(
        f"semiurb: {len(table):,} loads, {len(problem.sites) - 1:,} host a unit, 500 "
        f"zones x 3 workloads, {len(problem.arcs):,} arcs, {len(problem.rows):,} grid "
        f"rows, {n_step:,} steps; tables in {time.perf_counter() - began:.1f} s",
        flush=True,
    )
    grids, spent, turn = Grids(factors=[1.0], make=lambda *_: grid), Clock(), count(1)

    def replay(plan: pd.DataFrame) -> Replayed:
        with spent:
            return grids.replay(plan, problem, next(turn))

    tell(problem, gap, limit_s, replay=replay)
    print(
        f"  of which replay and its rows {spent.wall:.1f} s wall, {spent.cpu:.1f} s CPU"
    )


def used_cpu() -> float:
    """Return CPU seconds of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", choices=["classes", "semiurb"])
    parser.add_argument("--near", type=int, default=10, help="classes of each zone")
    parser.add_argument("--steps", type=int, default=576, help="of semiurb")
    parser.add_argument("--gap", type=float, default=0.01)
    parser.add_argument("--limit", type=float, default=300.0)
    given = parser.parse_args()
    print_machine("pyomo", "highspy", "scipy")
    if given.work == "classes":
        run_classes(given.near, given.gap, given.limit)
    else:
        run_semiurb(given.steps, given.gap, given.limit)


if __name__ == "__main__":
    main()
