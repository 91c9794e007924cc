"""
The texts that the map shows under the pointer: a title and lines per thing.

Texts are plain; bokeh escapes them where it shows them.
"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

from gridsite.report.display import STATUS_TEXT, moment, quantity

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd

#: Titles and texts, one of each per thing.
Texts = tuple[list[str], list[str]]


def building_texts(buildings: gpd.GeoDataFrame) -> Texts:
    """
    Return title and text of each building.

    Parameters
    ----------
    buildings : geopandas.GeoDataFrame
        Rows of ``building_layer``.

    Returns
    -------
    tuple of list of str
        Titles and texts, one of each per row.
    """
    records = buildings.drop(columns="geometry").to_dict("records")
    return [f"Building {r['building_id']}" for r in records], [
        "\n".join(_building_lines(r)) for r in records
    ]


def _building_lines(row: dict[str, Any]) -> list[str]:
    """Return what is worth saying of one building."""
    place = f"{row['use']}, roof {quantity(row['roof_area_m2'], 'm²', 0)}"
    status = STATUS_TEXT[row["firm_status"]]
    plan = f"in the plan: {row['in_plan']}" if row.get("in_plan") else ""
    if row["firm_status"] == "no_connection":
        return [line for line in (status, plan, place) if line]
    flexible = (
        f"flexible: {quantity(row['flexible_energy98_kw'], 'kW')} (98 % of energy), "
        f"{quantity(row['flexible_hours98_kw'], 'kW')} (98 % of hours)"
    )
    if row["flexible_status"] != row["firm_status"]:
        flexible += f", {STATUS_TEXT[row['flexible_status']]}"
    lines = [
        f"firm: {quantity(row['firm_kw'], 'kW')}, {status}",
        flexible,
        _limit("limit", row["limit_criterion"], row["limit_element"])
        + (f", {when}" if (when := moment(row["limit_time"])) else ""),
        _limit("next limit", row["second_criterion"], row["second_element"]),
        f"service headroom: {quantity(row['service_headroom_kw'], 'kW')}",
        f"bus {row['bus']}, phases {row['phases']}, feeder {row['feeder_id']}",
    ]
    if row["connections"] > 1:
        lines.append(f"best of {int(row['connections'])} connections")
    if row.get("limit_rating_assumed"):
        lines.append("assumption: the rating of the line that limits")
    elif row["assumed"]:
        lines.append("assumption: service size or profile")
    if row["count"]:
        lines += _unit_lines(row)
    elif plan:
        lines.append(plan)
    return [line for line in [*lines, place] if line]


def _limit(words: str, criterion: object, element: object) -> str:
    """Return the words for a limit; empty where there is none."""
    if not isinstance(criterion, str) or not criterion:
        return ""
    return f"{words}: {criterion} at {element}"


def unit_texts(placed: gpd.GeoDataFrame) -> Texts:
    """
    Return title and text of the buildings that have units.

    Parameters
    ----------
    placed : geopandas.GeoDataFrame
        Rows of ``building_layer`` with a count above 0.

    Returns
    -------
    tuple of list of str
        Titles and texts, one of each per row.
    """
    records = placed.drop(columns="geometry").to_dict("records")
    return [f"Units on {r['building_id']}" for r in records], [
        "\n".join(_unit_lines(r)) for r in records
    ]


def _unit_lines(row: dict[str, Any]) -> list[str]:
    """Return what stands on one building."""
    lines = [
        f"units: {row['mix']}",
        f"{quantity(row['rated_kw'], 'kW')} rated, {quantity(row['it_kw'], 'kW')} IT",
    ]
    return lines + ([f"{int(row['existing'])} existing"] if row["existing"] else [])


def element_texts(elements: gpd.GeoDataFrame) -> Texts:
    """
    Return title and text of lines and transformers.

    Parameters
    ----------
    elements : geopandas.GeoDataFrame
        Rows of the table ``elements``; ``rating_unit`` and ``feeder_id`` are
        shown where there are such columns.

    Returns
    -------
    tuple of list of str
        Titles and texts, one of each per row.
    """
    records = elements.drop(columns="geometry").to_dict("records")
    return [f"{r['kind'].capitalize()} {r['element']}" for r in records], [
        "\n".join(_element_lines(r)) for r in records
    ]


def _element_lines(row: dict[str, Any]) -> list[str]:
    """Return the loading and the ends of one element."""
    unit = row.get("rating_unit")
    feeder = row.get("feeder_id")
    peaks = f"{quantity(row['base_peak_percent'], '%')} without new units"
    if isfinite(row["plan_peak_percent"]):
        peaks += f", {quantity(row['plan_peak_percent'], '%')} with the plan"
    lines = [
        f"peak loading: {peaks}",
        f"rating: {quantity(row['rating'], unit if isinstance(unit, str) else '', 0)}",
        f"from {row['from_bus']} to {row['to_bus']}",
        f"feeder {feeder}" if isinstance(feeder, str) else "",
    ]
    return [line for line in lines if line]


def zone_texts(
    zones: gpd.GeoDataFrame, served: pd.DataFrame, demand: pd.DataFrame | None
) -> Texts:
    """
    Return title and text of each zone: demand and round trips by workload.

    Parameters
    ----------
    zones : geopandas.GeoDataFrame
        Rows of the table ``zones``.
    served : pandas.DataFrame
        Result of ``served_latency``.
    demand : pandas.DataFrame, optional
        Table ``demand``; its last period is shown. [kW]

    Returns
    -------
    tuple of list of str
        Titles and texts, one of each per row.
    """
    lines: dict[str, list[str]] = {zone: [] for zone in zones["zone_id"]}
    if demand is not None and len(demand):
        last = demand[demand["period"] == demand["period"].max()]
        for row in last.to_dict("records"):
            need = quantity(row["demand_it_kw"], "kW IT")
            lines.setdefault(row["zone_id"], []).append(
                f"{row['workload']}: needs {need}"
            )
    for row in served.to_dict("records"):
        lines.setdefault(row["zone_id"], []).append(
            f"{row['workload']}: gets {quantity(row['it_kw'], 'kW IT')}, round trip "
            f"{quantity(row['mean_ms'], 'ms')} mean, "
            f"{quantity(row['worst_ms'], 'ms')} worst"
        )
    users = [quantity(number, "users", 0) for number in zones["users"]]
    return [f"Zone {zone}" for zone in zones["zone_id"]], [
        "\n".join([number, *sorted(lines[zone])])
        for zone, number in zip(zones["zone_id"], users, strict=True)
    ]
