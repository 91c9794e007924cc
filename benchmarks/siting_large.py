"""Siting at the size of a town and of a grid: classes of buildings, a SimBench grid."""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import pandas as pd
from common import print_machine

from gridsite.siting import SitingProblem, empty_table, solve

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
            "max_power_kw": None,
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
            "own_limit_kw": None,
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


def used_cpu() -> float:
    """Return CPU seconds of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", choices=["classes", "semiurb"])
    parser.add_argument("--near", type=int, default=10, help="classes of each zone")
    parser.add_argument("--gap", type=float, default=0.01)
    parser.add_argument("--limit", type=float, default=300.0)
    given = parser.parse_args()
    print_machine("pyomo", "highspy", "scipy")
    if given.work == "classes":
        run_classes(given.near, given.gap, given.limit)


if __name__ == "__main__":
    main()
