"""Rate the load connections of a feeder, with or without a study."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import geopandas as gpd
import pandas as pd

from gridsite.errors import DataError
from gridsite.feeder.checks import check_feeder
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.hosting.ac_replay import replay_loads
from gridsite.hosting.base_case import GridCase
from gridsite.hosting.capacity import (
    capacity_summary,
    hosting_capacity,
    own_connections,
)
from gridsite.report import Results
from gridsite.results import element_table, replay_summary, versions
from gridsite.schemas import SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gridsite.feeder.model import Feeder
    from gridsite.feeder.profiles import Profiles
    from gridsite.hosting.limits import Limits


def checked_feeder(feeder: Feeder, limits: Limits) -> pd.DataFrame:
    """
    Return the findings on a feeder, refusing one with an error.

    Parameters
    ----------
    feeder : Feeder
        The electrical model.
    limits : Limits
        Voltage band that the base case is held against.

    Returns
    -------
    pandas.DataFrame
        As from `check_feeder`.

    Raises
    ------
    DataError
        If a finding is an error.
    """
    findings = check_feeder(
        feeder,
        voltage_min_pu=limits.voltage_min_pu,
        voltage_max_pu=limits.voltage_max_pu,
    )
    # a feeder without a solution is a status of its buildings, not the end
    error = (findings["severity"] == "error") & (findings["check"] != "base case")
    errors = findings[error]
    if len(errors):
        first = errors.iloc[0]
        msg = f"{feeder.name}: {first['message']}; {first['cure']}"
        raise DataError(msg, errors)
    return findings


def rate_feeder(
    source: str | Path,
    *,
    choose_loads: Callable[[Feeder], Profiles],
    limits: Limits,
    power_factor: float = 0.98,
    service_a: float | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> Results:
    """
    Rate every load connection of a feeder, each as its own building.

    Parameters
    ----------
    source : str or pathlib.Path
        As for ``read_feeder``.
    choose_loads : callable
        Takes the feeder, returns what its customers draw.
    limits : Limits
        The limits.
    power_factor : float, default 0.98
        Of the added load, lagging. [-]
    service_a : float, optional
        Fuse assumed for every load, at its nominal voltage. [A]
    progress : callable, optional
        Called with the share done and a text.

    Returns
    -------
    Results
        Hosting capacity and elements, without a siting.
    """
    began = time.perf_counter()
    feeder = read_feeder(source)
    findings = checked_feeder(feeder, limits)
    connections = own_connections(feeder)
    if service_a is not None:
        node = feeder.load_ports["node"].to_numpy()
        volts = feeder.nodes["voltage_kv"].to_numpy()[node] * 1e3
        connections = connections.assign(
            service_a=service_a, service_v=volts, assumed=True
        )
    grid = GridCase(feeder, choose_loads(feeder), limits, power_factor=power_factor)
    hosting = hosting_capacity(
        feeder,
        grid.profiles,
        connections=connections,
        power_factor=power_factor,
        grid=grid,
        progress=progress,
    )
    replay = replay_loads(feeder, grid.profiles, pd.Series(dtype=float), grid=grid)
    summary = {
        "study": feeder.name,
        "status": "rated",
        **replay_summary(grid, replay, findings),
        "hosting": capacity_summary(hosting),
        "assumptions": list(grid.notes),
        "generated": [],
        "seconds": round(time.perf_counter() - began, 2),
    }
    if service_a is None:
        summary["not_checked"].append("building service (no rating given)")
    return Results(
        buildings=_load_buildings(feeder),
        connections=connections,
        hosting=hosting,
        elements=element_table(feeder, replay),
        summary=summary,
        manifest={
            "schema_version": SCHEMA_VERSION,
            "feeder": str(source),
            "versions": versions(),
        },
    )


def _load_buildings(feeder: Feeder) -> gpd.GeoDataFrame:
    """Return a building without a roof at every load."""
    points = feeder.connection_points()
    located = points.geometry.x.notna()
    return gpd.GeoDataFrame(
        {
            "building_id": points["port_id"],
            "roof_area_m2": 0.0,
            "use": "unknown",
            "access_network": "unknown",
            "feeder_id": points["feeder_id"],
        },
        geometry=points.geometry.where(located, None),
        crs=points.crs,
    )
