"""A small run, made by hand: four buildings, three lines, one transformer."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from shapely import LineString, Point, box

from gridsite.report import Results

LON, LAT = 7.88, 48.45
STEP = 0.001
TIME = pd.Timestamp("2016-01-12 18:00", tz="Europe/Berlin")


def _geo(table, shapes):
    return gpd.GeoDataFrame(table, geometry=shapes, crs="EPSG:4326")


def _square(i):
    x = LON + i * STEP
    return box(x, LAT, x + STEP / 10, LAT + STEP / 10)


def hosting_tables(names):
    ports = [f"P{i}" for i in range(len(names))]
    firm = [25.0, 12.5, 0.0, np.nan]
    status = ["ok", "ok", "none_base_violation", "unrated"]
    common = {"bus": ["b0", "b1", "b2", "b3"], "phases": "ABC", "assumed": True}
    key = {"building_id": names, "port_id": ports}
    kinds = {"use": "home", "access_network": "cable", "feeder_id": "F1"}
    return {
        "buildings": _geo(
            {"building_id": names, "roof_area_m2": 80.0, **kinds},
            [_square(i) for i in range(4)],
        ),
        "connections": pd.DataFrame(
            key
            | common
            | {
                "service_a": [63.0, 63.0, np.nan, 63.0],
                "service_v": 400.0,
                "match_method": "nearest",
                "match_distance_m": 3.0,
                "match_confidence": 0.9,
            }
        ),
        "hosting": pd.DataFrame(
            key
            | common
            | {
                "feeder_id": "F1",
                "service_headroom_kw": 30.0,
                "firm_kw": firm,
                "firm_status": status,
                "flexible_energy98_kw": [30.0, 20.0, 0.0, np.nan],
                "flexible_hours98_kw": [28.0, 18.0, 0.0, np.nan],
                "flexible_status": status,
                "limit_criterion": ["voltage", "line current", "voltage", ""],
                "limit_element": ["b0", "L1", "b2", ""],
                "limit_time": [TIME, TIME, TIME, pd.NaT],
                "second_criterion": ["line current", "", "", ""],
                "second_element": ["L0", "", "", ""],
            }
        ),
        "elements": _geo(
            {
                "element": ["L0", "L1", "L2", "T0"],
                "kind": ["line", "line", "line", "transformer"],
                "from_bus": ["b0", "b1", "b2", "mv"],
                "to_bus": ["b1", "b2", "b3", "b0"],
                "rating": [142.0, 142.0, np.nan, 400.0],
                "rating_unit": ["A", "A", "A", "kVA"],
                "base_peak_percent": [20.0, 60.0, np.nan, 40.0],
                "plan_peak_percent": [45.0, 100.0, np.nan, 110.0],
            },
            [
                *(
                    LineString(
                        [(LON + i * STEP, LAT), (LON + (i + 1) * STEP, LAT + STEP / 2)]
                    )
                    for i in range(3)
                ),
                Point(LON, LAT),
            ],
        ),
    }


def siting_tables(names):
    plan = pd.DataFrame(
        [
            ["S0", "xfra", "P0", 0, names[0], 1, 1, 12.5, 10.0],
            ["S0", "xfra", "P0", 1, names[0], 1, 2, 25.0, 20.0],
            ["S1", "xfra", "P1", 1, names[1], 0, 1, 12.5, 10.0],
            ["DC", "hall", "", 1, "", 1, 1, 120.0, 100.0],
        ],
        columns=[
            *("site_id", "unit", "port_id", "period", "building_id"),
            *("added", "count", "rated_kw", "it_kw"),
        ],
    )
    sites = pd.DataFrame(
        {
            "site_id": ["S0", "S1", "DC"],
            "kind": ["building", "building", "central"],
            "building_id": [names[0], names[1], ""],
            "feeder_id": ["F1", "F1", ""],
            "utility": "u",
            "area": "a",
            "fixed_capital": 0.0,
            "max_power_kw": np.nan,
            "access_ms": 6.0,
        }
    )
    options = pd.DataFrame(
        {
            "site_id": ["S0", "S1", "DC"],
            "unit": ["xfra", "xfra", "hall"],
            "port_id": ["P0", "P1", ""],
            "unit_capital": 1.0,
            "unit_per_year": 1.0,
            "max_units": 3,
            "existing_units": [0, 1, 0],
            "available_from": 0,
            "own_limit_kw": np.nan,
        }
    )
    assignment = pd.DataFrame(
        [
            ["Z0", "real-time", "S0", 0, 99.0, 99.0],
            ["Z0", "real-time", "S0", 1, 30.0, 8.0],
            ["Z0", "real-time", "S1", 1, 10.0, 12.0],
            ["Z0", "batch", "DC", 1, 60.0, 25.0],
            ["Z1", "batch", "DC", 1, 40.0, 25.0],
        ],
        columns=["zone_id", "workload", "site_id", "period", "it_kw", "rtt_ms"],
    )
    return {"plan": plan, "sites": sites, "site_options": options} | {
        "assignment": assignment
    }


def demand_tables():
    return {
        "workloads": pd.DataFrame(
            {
                "workload": ["batch", "real-time"],
                "rtt_limit_ms": [500.0, 20.0],
                "rtt_target_ms": [200.0, 10.0],
                "min_share_within_target": 0.9,
                "unserved_cost": np.nan,
                "redundancy": 0,
            }
        ),
        "zones": _geo(
            {"zone_id": ["Z0", "Z1"], "users": [40.0, 20.0]},
            [
                box(LON - STEP, LAT - STEP, LON + 2 * STEP, LAT + STEP),
                box(LON + 2 * STEP, LAT - STEP, LON + 4 * STEP, LAT + STEP),
            ],
        ),
        "demand": pd.DataFrame(
            {
                "zone_id": ["Z0", "Z0", "Z1"],
                "workload": ["real-time", "batch", "batch"],
                "period": 1,
                "demand_it_kw": [40.0, 60.0, 40.0],
            }
        ),
        "comparison": pd.DataFrame(
            {
                "strategy": ["distributed", "central", "hybrid"],
                "status": "optimal",
                "objective": [3e6, 4e6, 2.5e6],
                "gap": [0.01, np.nan, 0.002],
                "served_share": [0.8, 1.0, 1.0],
                "it_hardware_present": [1.5e6, 1.5e6, 1.25e6],
                "infrastructure_present": [1e6, 2e6, 1e6],
                "energy_present": [0.5e6, 0.5e6, 0.25e6],
                "comparable": [False, True, True],
            }
        ),
        "violations": pd.DataFrame(
            {
                "element": ["T0"],
                "criterion": ["transformer current"],
                "time": [TIME],
                "value": [1.1],
                "limit": [1.0],
                "base_value": [0.4],
                "excess": [0.1],
            }
        ),
    }


def a_summary():
    return {
        "status": "optimal",
        "objective": 2.5e6,
        "bound": 2.495e6,
        "gap": 0.002,
        "gap_model": 0.001,
        "units": 3,
        "rated_kw": 37.5,
        "it_kw": 30.0,
        "buildings_used": 2,
        "central_it_kw": 100.0,
        "served_share": 1.0,
        "replay": {"steps": 8760, "base_violations": 2, "new": 0, "worsened": 0},
        "not_checked": ["protection", "flicker"],
        "assumptions": ["5 W per user"],
        "generated": ["users per building"],
        "currency": "EUR",
        "price_year": 2025,
        "study": "small study",
        "place": "Schutterwald",
        "central": [
            {
                "site_id": "DC",
                "lon": LON,
                "lat": 52.0,
                "distance_km": 395.0,
                "it_kw": 100.0,
            }
        ],
    }


def make_results(
    *,
    names=("B0", "B1", "B2", "B3"),
    siting=True,
    coordinates=True,
    summary=None,
    **changes,
):
    """Return a fresh small run; further keywords replace tables."""
    names = list(names)
    tables = hosting_tables(names)
    if siting:
        tables |= siting_tables(names) | demand_tables()
    if not coordinates:
        for name in ("buildings", "elements"):
            tables[name] = pd.DataFrame(tables[name]).assign(geometry=None)
    full = (a_summary() if siting else {"study": "small study"}) | (summary or {})
    return Results(**(tables | changes), summary=full, manifest={"seed": 7})


@pytest.fixture(name="make_results")
def _make_results():
    return make_results
