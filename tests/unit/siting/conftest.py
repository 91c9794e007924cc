"""Small siting problems, made fresh for every test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from gridsite.siting import SitingProblem, empty_table

if TYPE_CHECKING:
    from collections.abc import Callable

Tables = dict[str, Any]


def site(site_id: str, kind: str = "building", **values: Any) -> dict[str, Any]:
    return {
        "site_id": site_id,
        "kind": kind,
        "building_id": site_id if kind == "building" else "",
        "feeder_id": "f",
        "utility": "u",
        "area": "a",
        "fixed_capital": 0.0,
        "max_power_kw": None,
        "access_ms": 1.0,
    } | values


def option(site_id: str, unit: str, **values: Any) -> dict[str, Any]:
    return {
        "site_id": site_id,
        "unit": unit,
        "port_id": "" if site_id == "central" else f"port {site_id}",
        "unit_capital": 0.0,
        "unit_per_year": 0.0,
        "max_units": 4,
        "existing_units": 0,
        "available_from": 0,
        "own_limit_kw": None,
    } | values


def unit(name: str, rated_kw: float, it_kw: float) -> dict[str, Any]:
    return {
        "unit": name,
        "rated_kw": rated_kw,
        "it_kw": it_kw,
        "power_factor": 0.98,
        "phases": "ABC",
        "footprint_m2": 1.0,
        "capital_cost": 0.0,
        "life_years": 6.0,
        "lead_periods": 0,
        "min_power_share": 0.0,
    }


def workload(name: str, **values: Any) -> dict[str, Any]:
    return {
        "workload": name,
        "rtt_limit_ms": 100.0,
        "rtt_target_ms": 20.0,
        "min_share_within_target": 0.0,
        "unserved_cost": None,
        "redundancy": 0,
    } | values


def demand(zone: str, name: str, kw: float) -> dict[str, Any]:
    return {"zone_id": zone, "workload": name, "period": 0, "demand_it_kw": kw}


def arc(zone: str, name: str, site_id: str, cost: float, rtt: float = 10.0) -> Tables:
    return {
        "zone_id": zone,
        "workload": name,
        "site_id": site_id,
        "period": 0,
        "rtt_ms": rtt,
        "cost_per_it_kw": cost,
    }


def row(row_id: str, headroom: float, **values: Any) -> dict[str, Any]:
    return {
        "row_id": row_id,
        "criterion": "transformer",
        "element": row_id,
        "time": "18:00",
        "period": 0,
        "headroom": headroom,
        "unit": "kW",
    } | values


def group(group_id: str, site_id: str, **values: Any) -> dict[str, Any]:
    return {
        "group_id": group_id,
        "site_id": site_id,
        "kind": "utility",
        "max_units": None,
        "max_kw": None,
        "onboarding_cost": 0.0,
    } | values


def coefficients(row_id: str, **by_port: float) -> list[dict[str, Any]]:
    return [
        {"row_id": row_id, "port_id": port.replace("_", " "), "coefficient": value}
        for port, value in by_port.items()
    ]


def frame(name: str, records: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(records) if records else empty_table(name)


def floats(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    return table.astype(dict.fromkeys(columns, float))


@pytest.fixture
def town() -> Callable[..., Tables]:
    """
    Two buildings and a central site; serving 30 kW of IT power in two zones.

    A node is 12 kW of draw for 10 kW of IT; two fit at each building. The
    transformer takes 40 kW. Central is dearer per kW and needs a hall.
    """

    def make(**changes: Any) -> Tables:
        zones = {"north": 12.0, "south": 18.0}
        tables = {
            "sites": [site("b1"), site("b2"), site("central", "central")],
            "site_options": [
                option("b1", "node", unit_capital=100.0, own_limit_kw=30.0),
                option("b2", "node", unit_capital=110.0, own_limit_kw=30.0),
                option("central", "hall", unit_capital=500.0),
            ],
            "units": [unit("node", 12.0, 10.0), unit("hall", 44.0, 40.0)],
            "workloads": [workload("web")],
            "demand": [demand(z, "web", kw) for z, kw in zones.items()],
            "arcs": [
                arc(z, "web", s, 1.0 if s != "central" else 2.0)
                for z in zones
                for s in ("b1", "b2", "central")
            ],
            "rows": [row("T1", 40.0)],
            "row_coefficients": coefficients("T1", port_b1=1.0, port_b2=1.0),
            "groups": [],
        }
        tables |= {k: v for k, v in changes.items() if k in tables}
        result: Tables = {name: frame(name, made) for name, made in tables.items()}
        for name, columns in (
            ("sites", ["max_power_kw"]),
            ("site_options", ["own_limit_kw"]),
            ("workloads", ["unserved_cost"]),
            ("groups", ["max_units", "max_kw"]),
        ):
            result[name] = floats(result[name], *columns)
        result["present_value_factor"] = changes.get("present_value_factor", 1.0)
        result["budget"] = changes.get("budget")
        return result

    return make


@pytest.fixture
def problem(town: Callable[..., Tables]) -> Callable[..., SitingProblem]:
    def make(**changes: Any) -> SitingProblem:
        return SitingProblem(**town(**changes))

    return make


@pytest.fixture
def records() -> Any:
    """The makers of single records, by name."""

    class Records:
        site = staticmethod(site)
        option = staticmethod(option)
        unit = staticmethod(unit)
        workload = staticmethod(workload)
        demand = staticmethod(demand)
        arc = staticmethod(arc)
        row = staticmethod(row)
        group = staticmethod(group)
        coefficients = staticmethod(coefficients)

    return Records
