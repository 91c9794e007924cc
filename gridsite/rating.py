"""Rate the load connections of a feeder, with or without a study."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import geopandas as gpd
import pandas as pd

from gridsite.errors import DataError
from gridsite.feeder.checks import check_feeder
from gridsite.feeder.load_growth import grown, with_committed, with_committed_ports
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.hosting.ac_replay import replay_loads
from gridsite.hosting.base_case import GridCase
from gridsite.hosting.capacity import (
    capacity_summary,
    hosting_capacity,
    own_connections,
)
from gridsite.hosting.joint_capacity import joint_capacity
from gridsite.report import Results
from gridsite.results import assumptions, element_table, replay_summary, versions
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
    limits: Limits | Callable[[Feeder], Limits],
    power_factor: float = 0.98,
    service_a: float | None = None,
    growth: float = 1.0,
    committed: pd.DataFrame | None = None,
    joint: bool = False,
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
    limits : Limits or callable
        The limits; or takes the feeder and returns them.
    power_factor : float, default 0.98
        Of the added load, lagging. [-]
    service_a : float, optional
        Fuse assumed for every load, at its nominal voltage. [A]
    growth : float, default 1.0
        Background load over that of the profiles. [-]
    committed : pandas.DataFrame, optional
        Loads in the queue (`gridsite.feeder.load_growth.committed_loads`).
    joint : bool, default False
        Rate the connections together too (`joint_capacity`).
    progress : callable, optional
        Called with the share done and a text.

    Returns
    -------
    Results
        Hosting capacity and elements, without a siting.
    """
    began = time.perf_counter()
    feeder = read_feeder(source)
    if committed is not None:
        feeder = with_committed_ports(feeder, committed)
    if callable(limits):
        limits = limits(feeder)
    findings = checked_feeder(feeder, limits)
    connections = own_connections(feeder)
    if service_a is not None:
        node = feeder.load_ports["node"].to_numpy()
        volts = feeder.nodes["voltage_kv"].to_numpy()[node] * 1e3
        connections = connections.assign(
            service_a=service_a, service_v=volts, assumed=True
        )
    loads = grown(choose_loads(feeder), growth, feeder=feeder)
    if committed is not None:
        loads = with_committed(loads, committed)
    grid = GridCase(feeder, loads, limits, power_factor=power_factor)
    hosting = hosting_capacity(
        feeder,
        grid.profiles,
        connections=connections,
        power_factor=power_factor,
        grid=grid,
        progress=progress,
    )
    replay = replay_loads(feeder, grid.profiles, pd.Series(dtype=float), grid=grid)
    together = None
    if joint:
        together = joint_capacity(
            feeder, grid.profiles, hosting=hosting, grid=grid, progress=progress
        )
    summary = {
        "study": feeder.name,
        "status": "rated",
        **replay_summary(grid, replay, findings),
        "hosting": capacity_summary(hosting),
        "assumptions": assumptions(grid, serviced=service_a is not None, growth=growth),
        "generated": [],
        "seconds": round(time.perf_counter() - began, 2),
    }
    if service_a is None:
        summary["not_checked"].append("building service (no rating given)")
    if together is not None:
        summary["joint"] = together.total
    return Results(
        buildings=_load_buildings(feeder),
        connections=connections,
        hosting=hosting,
        elements=element_table(feeder, replay),
        joint=None if together is None else together.table,
        joint_splits=None if together is None else together.splits,
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
