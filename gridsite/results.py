"""What every run says of itself: what was checked, assumed, read and used."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import shapely

from gridsite.feeder.assumed_ratings import rating_summary
from gridsite.feeder.typical_days import TYPICAL_NOTE, are_typical
from gridsite.hosting.norms import norm_and_changes
from gridsite.hosting.not_checked import not_checked
from gridsite.hosting.service import service_notes
from gridsite.units import HOURS_PER_YEAR

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import pandas as pd

    from gridsite.feeder.model import Feeder
    from gridsite.feeder.profiles import Profiles
    from gridsite.hosting.ac_replay import LoadReplay
    from gridsite.hosting.grid_case import GridCase


def element_table(feeder: Feeder, replay: LoadReplay) -> gpd.GeoDataFrame:
    """
    Return lines and transformers with their peak loading.

    Parameters
    ----------
    feeder : Feeder
        The electrical model.
    replay : LoadReplay
        Replay of the plan.

    Returns
    -------
    geopandas.GeoDataFrame
        Contract ``elements``; a transformer stands at its low-voltage bus, and
        a line without a course of its own is drawn straight.
    """
    table = feeder.elements.join(replay.elements).reset_index()
    nodes = feeder.nodes.drop_duplicates("bus").set_index("bus")
    start = nodes[["lon", "lat"]].reindex(table["from_bus"]).to_numpy()
    end = nodes[["lon", "lat"]].reindex(table["to_bus"]).to_numpy()
    transformer = (table["kind"] == "transformer").to_numpy()
    geometry = table["geometry"].to_numpy(dtype=object, copy=True)
    at = np.flatnonzero(transformer & np.isfinite(end).all(axis=1))
    geometry[at] = shapely.points(end[at])
    drawn = np.isfinite(start).all(axis=1) & np.isfinite(end).all(axis=1)
    at = np.flatnonzero(~transformer & drawn & ~shapely.is_geometry(geometry))
    geometry[at] = shapely.linestrings(np.stack([start[at], end[at]], axis=1))
    return gpd.GeoDataFrame(
        table.drop(columns="geometry"), geometry=geometry, crs="EPSG:4326"
    )


def replay_summary(
    grid: GridCase, replay: LoadReplay, findings: pd.DataFrame
) -> dict[str, Any]:
    """
    Return the figures that say what was checked, and what was found.

    Parameters
    ----------
    grid : GridCase
        Base cases.
    replay : LoadReplay
        Replay of the plan, or of nothing.
    findings : pandas.DataFrame
        What `check_feeder` found.

    Returns
    -------
    dict
        Keys of ``summary.json``.
    """
    counts = ["steps", "base_violations", "new", "worsened", "worst"]
    counts.append("feeders_not_solved")
    return {
        "replay": {name: replay.summary[name] for name in counts},
        "step_minutes": grid.profiles.step_hours * 60.0,
        "limits": norm_and_changes(grid.limits),
        "controls": control_summary(grid),
        "voltage_rule": replay.summary["voltage_rule"],
        "findings": findings["severity"].value_counts().to_dict(),
        "ratings": rating_summary(grid.feeder.elements),
        "not_checked": not_checked(
            grid.limits, grid.feeder, aged=grid.ageing is not None
        ),
    }


def control_summary(grid: GridCase) -> dict[str, Any]:
    """
    Return what regulators and capacitors did, for ``summary.json``.

    Parameters
    ----------
    grid : GridCase
        Base cases.

    Returns
    -------
    dict
        ``mode`` (frozen or acting; none without any), ``count``, and of the base load
        over all steps ``operations``, ``settings``, ``unsettled_steps``.
    """
    count, course = len(grid.feeder.controls), grid.course
    if course is None:
        mode = "frozen" if count else "none"
        return {"mode": mode, "count": count, "operations": 0, "settings": 1}
    return {
        "mode": "acting",
        "count": count,
        "operations": course.operations,
        "settings": len(course.groups()),
        "unsettled_steps": int((~course.settled).sum()),
    }


def assumptions(
    grid: GridCase,
    *,
    serviced: bool,
    growth: float = 1.0,
    load_power_factor: float | None = None,
) -> list[str]:
    """
    Return what a run assumed of its feeder, limits and services.

    Parameters
    ----------
    grid : GridCase
        Base cases.
    serviced : bool
        Whether the rating of any building's service is known or assumed.
    growth : float, default 1.0
        Background load over that of the profiles. [-]
    load_power_factor : float, optional
        Of customers whose active power alone is given. [-]

    Returns
    -------
    list of str
        In words, for reports.
    """
    profiles, limits = grid.profiles, grid.limits
    notes = [*grid.notes, *([limits.notice] if limits.notice else [])]
    named = norm_and_changes(limits)
    if named != limits.name:
        notes.append(f"limits: {named}")
    if profiles.assumed:
        notes.append(
            f"{len(profiles.assumed)} of {len(profiles.port_ids)} loads are estimated, "
            "or filled at some step"
        )
    hours = profiles.step_hours * len(profiles.time)
    if are_typical(profiles.time):
        notes.append(TYPICAL_NOTE)
    elif len(profiles.time) > 1 and hours < HOURS_PER_YEAR:
        notes.append(
            f"the profile covers {hours:g} hours, not a year: capacities hold for its "
            "steps, and those of the year may be lower"
        )
    if load_power_factor is not None:
        notes.append(
            "customers draw reactive power at a power factor of "
            f"{load_power_factor:g}, lagging, whatever the feeder file says"
        )
    if growth != 1.0:
        notes.append(f"customers draw {growth:g} times what their profiles say")
    if serviced and limits.on("service"):
        notes += service_notes(
            limits.service_rule,
            step_hours=profiles.step_hours,
            n_step=len(profiles.time),
        )
    return notes


def with_estimates(connections: pd.DataFrame, profiles: Profiles) -> pd.DataFrame:
    """
    Return connections of which those with an estimated or filled load are assumed.

    Parameters
    ----------
    connections : pandas.DataFrame
        Table ``connections``.
    profiles : Profiles
        What customers draw.

    Returns
    -------
    pandas.DataFrame
        The same rows; ``attrs`` stay.
    """
    estimated = connections["port_id"].isin(list(profiles.assumed))
    return connections.assign(assumed=connections["assumed"] | estimated)


def profile_summary(profiles: Profiles) -> dict[str, Any]:
    """
    Return what was found in the meters behind profiles, for ``summary.json``.

    Parameters
    ----------
    profiles : Profiles
        What customers draw.

    Returns
    -------
    dict
        ``profiles``: loads, how many of them are assumed, and the number of readings
        by finding; empty where no meters were read.
    """
    if profiles.findings is None and not profiles.assumed:
        return {}
    counts: dict[Any, Any] = {}
    if profiles.findings is not None:
        counts = profiles.findings.groupby("check")["count"].sum().to_dict()
    return {
        "profiles": {
            "loads": len(profiles.port_ids),
            "assumed": len(profiles.assumed),
            "findings": {name: int(n) for name, n in counts.items()},
        }
    }


def input_hashes(names: Iterable[str], folder: Path) -> dict[str, str]:
    """
    Return the SHA-256 of input files.

    Parameters
    ----------
    names : iterable of str
        Paths, absolute or from ``folder``.
    folder : pathlib.Path
        Where relative paths start.

    Returns
    -------
    dict of str to str
        By name.
    """
    files = {name: (folder / name).read_bytes() for name in names}
    return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


def versions() -> dict[str, str]:
    """
    Return the versions that a result depends on.

    Returns
    -------
    dict of str to str
        By package, and of Python.
    """
    packages = ["gridsite", "pandapower", "pyomo", "highspy", "geopandas", "numpy"]
    found = {name: importlib.metadata.version(name) for name in packages}
    return {"python": platform.python_version(), **found}
