"""
Tables of a run joined for drawing: one row per thing that a picture shows.

Everything here is a selection, a join, a sum or a mean of result columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import geopandas as gpd
import pandas as pd

from gridsite.errors import DataError
from gridsite.report.display import last_period
from gridsite.schemas import SCHEMAS

if TYPE_CHECKING:
    from gridsite.report.export import Results


def placed_units(results: Results) -> pd.DataFrame:
    """
    Return the units that the plan has on each building at its end.

    Parameters
    ----------
    results : Results
        Tables of a run.

    Returns
    -------
    pandas.DataFrame
        Index ``building_id``; columns ``count``, ``existing`` [-],
        ``rated_kw``, ``it_kw`` [kW], ``mix`` (text). Empty without a plan.

    Raises
    ------
    DataError
        If the plan names a building that is not in ``buildings``.
    """
    columns = ["count", "rated_kw", "it_kw", "existing", "mix"]
    if results.plan is None:
        return pd.DataFrame(columns=columns)
    key = ["site_id", "unit", "port_id"]
    final = results.plan.sort_values("period").drop_duplicates(key, keep="last")
    if results.sites is not None:
        central = results.sites.loc[results.sites["kind"] == "central", "site_id"]
        final = final[~final["site_id"].isin(central)]
    final = final[final["count"] > 0]
    unknown = final.loc[
        ~final["building_id"].isin(results.buildings["building_id"]), "building_id"
    ].unique()
    if len(unknown):
        msg = (
            f"plan: {len(unknown)} building_id(s) not in table buildings, "
            f"first {unknown[:3].tolist()}; give both tables of the same run"
        )
        raise DataError(msg)
    if results.site_options is None:
        final = final.assign(existing=0)
    else:
        existing = results.site_options[[*key, "existing_units"]]
        final = final.merge(existing, on=key, how="left")
        final["existing"] = final["existing_units"].fillna(0).astype(int)
    final["mix"] = [
        f"{n} x {unit}" for n, unit in zip(final["count"], final["unit"], strict=True)
    ]
    sums = dict.fromkeys(columns[:-1], "sum")
    return final.groupby("building_id")[columns].agg({**sums, "mix": ", ".join})


def building_layer(results: Results) -> gpd.GeoDataFrame:
    """
    Return the buildings with their best connection and their units.

    Capacities of the connections of one building do not add up, so the
    connection with the largest firm capacity stands for the building.

    Parameters
    ----------
    results : Results
        Tables of a run.

    Returns
    -------
    geopandas.GeoDataFrame
        One row per building, in the order of ``buildings``: its use, roof and
        geometry, the columns of ``hosting`` and of ``placed_units``, and ``in_plan``
        (`plan_reasons`). Buildings without a connection have the status
        ``no_connection``.

    Raises
    ------
    DataError
        If ``hosting`` names a building that is not in ``buildings``.
    """
    hosting = results.hosting
    unknown = hosting.loc[
        ~hosting["building_id"].isin(results.buildings["building_id"]), "building_id"
    ].unique()
    if len(unknown):
        msg = (
            f"hosting: {len(unknown)} building_id(s) not in table buildings, "
            f"first {unknown[:3].tolist()}; give both tables of the same run"
        )
        raise DataError(msg)
    ranked = hosting.sort_values(
        ["firm_kw", "port_id"], ascending=[False, True], na_position="last"
    )
    best = ranked.drop_duplicates("building_id").assign(
        connections=lambda t: t["building_id"].map(
            hosting["building_id"].value_counts()
        )
    )
    own = results.buildings[["building_id", "use", "roof_area_m2", "geometry"]]
    shown = [*SCHEMAS["hosting"].columns, "connections"]
    layer = own.merge(best[shown], on="building_id", how="left")
    for column in ("firm_status", "flexible_status"):
        layer[column] = layer[column].fillna("no_connection")
    units = placed_units(results)
    layer = layer.merge(units, left_on="building_id", right_index=True, how="left")
    layer["count"] = pd.to_numeric(layer["count"]).fillna(0).astype(int)
    layer["in_plan"] = layer["building_id"].map(plan_reasons(results)).fillna("")
    return gpd.GeoDataFrame(layer, geometry="geometry", crs=results.buildings.crs)


def plan_reasons(results: Results) -> dict[str, str]:
    """
    Return why each building hosts units in the plan, or none.

    Parameters
    ----------
    results : Results
        Tables of a run.

    Returns
    -------
    dict of str to str
        Outcome and reason in one text; empty for a run without a plan.
    """
    table = results.reasons
    if table is None:
        return {}
    texts = table["outcome"] + ": " + table["reason"]
    return dict(zip(table["building_id"], texts, strict=True))


def real_time_workload(results: Results) -> str | None:
    """
    Return the workload with the tightest round-trip limit.

    Parameters
    ----------
    results : Results
        Tables of a run.

    Returns
    -------
    str or None
        Its name; None where the run has no workloads.
    """
    if results.workloads is None or results.workloads.empty:
        return None
    tightest = results.workloads["rtt_limit_ms"].idxmin()
    return str(results.workloads.loc[tightest, "workload"])


def served_latency(results: Results) -> pd.DataFrame:
    """
    Return the round-trip time that each zone gets in the last period.

    Parameters
    ----------
    results : Results
        Tables of a run.

    Returns
    -------
    pandas.DataFrame
        Columns ``zone_id``, ``workload``, ``it_kw`` [kW], ``mean_ms``
        (weighted by computing power) and ``worst_ms`` [ms].
    """
    columns = ["zone_id", "workload", "it_kw", "mean_ms", "worst_ms"]
    if results.assignment is None or results.assignment.empty:
        return pd.DataFrame(columns=columns)
    flow = last_period(results.assignment)
    flow = flow[(flow["period"] == flow["period"].max()) & (flow["it_kw"] > 0.0)]
    groups = flow.assign(weighted=flow["it_kw"] * flow["rtt_ms"]).groupby(
        ["zone_id", "workload"], as_index=False
    )
    served: pd.DataFrame = groups.agg(
        it_kw=("it_kw", "sum"), weighted=("weighted", "sum"), worst_ms=("rtt_ms", "max")
    )
    served["mean_ms"] = served["weighted"] / served["it_kw"]
    return served[columns]


def central_points(results: Results) -> gpd.GeoDataFrame:
    """
    Return the central sites that the summary places.

    Parameters
    ----------
    results : Results
        Tables of the run.

    Returns
    -------
    geopandas.GeoDataFrame
        Columns ``site_id``, ``distance_km`` [km], ``it_kw`` [kW], ``geometry``
        in EPSG:4326; missing where the summary has no longitude and latitude.
    """
    sites = pd.DataFrame(
        results.summary.get("central") or [],
        columns=["site_id", "lon", "lat", "distance_km", "it_kw"],
    )
    points = gpd.points_from_xy(sites["lon"], sites["lat"]) if len(sites) else []
    located = sites["lon"].notna() & sites["lat"].notna()
    shapes = gpd.GeoSeries(points, index=sites.index, crs="EPSG:4326").where(located)
    return gpd.GeoDataFrame(sites.drop(columns=["lon", "lat"]), geometry=shapes)
