"""Rate the load connections of a feeder, with or without a study."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pandas as pd

from gridsite.errors import ConfigError
from gridsite.feeder.candidate_ports import (
    CANDIDATE,
    LEGS,
    THREE,
    load_name,
)
from gridsite.feeder.opendss_script import with_included
from gridsite.hosting.ac_replay import replay_loads
from gridsite.hosting.capacity import (
    capacity_summary,
    hosting_capacity,
    own_connections,
)
from gridsite.hosting.phases import (
    CHOSEN,
    chosen_connections,
    phase_capacity,
    unit_connections,
)
from gridsite.rating_case import (
    AmbientChoice,
    GivenLoads,
    LoadChoice,
    _is_name,
    feeder_case,
)
from gridsite.rating_together import TogetherChoice, rate_together
from gridsite.report import Results
from gridsite.results import (
    assumptions,
    element_table,
    input_hashes,
    profile_summary,
    replay_summary,
    versions,
    with_estimates,
)
from gridsite.schemas import SCHEMA_VERSION
from gridsite.units import SQRT3

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gridsite.feeder.model import Feeder
    from gridsite.feeder.profiles import Profiles
    from gridsite.feeder.taps import TapControl
    from gridsite.hosting.ageing_limit import Ageing
    from gridsite.hosting.headroom_files import HeadroomFiles
    from gridsite.hosting.limits import Limits


#: Width of the interval that holds a firm capacity. [kW]
TOLERANCE_KW = 0.1


def rate_feeder(
    source: str | Path,
    *,
    choose_loads: Callable[[Feeder], Profiles],
    limits: Limits | Callable[[Feeder], Limits],
    power_factor: float = 0.98,
    service_a: float | None = None,
    growth: float = 1.0,
    committed: pd.DataFrame | None = None,
    committed_power_factor: float = 0.95,
    ratings: pd.DataFrame | None = None,
    assume_line_a: float | None = None,
    crs: str | None = None,
    taps: TapControl | None = None,
    controls: str = "frozen",
    ageing: Callable[[pd.DatetimeIndex], Ageing] | None = None,
    phase: str = "known",
    seed: int = 0,
    together: TogetherChoice | None = None,
    min_power_share: float = 0.0,
    battery_kwh: float = 0.0,
    battery_kw: float | None = None,
    levels: Sequence[float] = (),
    files: HeadroomFiles | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> Results:
    """
    Rate every load connection of a feeder, each as its own building.

    Parameters
    ----------
    source : str or pathlib.Path
        As for ``read_feeder``.
    choose_loads : callable
        Takes the feeder, returns what its customers draw; what a `LoadChoice`, or
        another of `GivenLoads`, assumes of them is told.
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
    committed_power_factor : float, default 0.95
        Of those, lagging. [-]
    ratings : pandas.DataFrame, optional
        Ratings by element or code (`gridsite.feeder.assumed_ratings.rating_table`).
    assume_line_a : float, optional
        Ampacity assumed for every line without one. [A]
    crs : str, optional
        Of the coordinates of an OpenDSS circuit.
    taps : TapControl, optional
        Lets tap changers at the heads act; they stand as filed by default.
    controls : {"frozen", "acting"}
        Whether regulators and capacitors stand as filed or act from step to step.
    ageing : callable, optional
        Takes the time steps, returns what transformers age by (`AmbientChoice`).
    phase : {"known", "worst", "best", "sampled", "12", "ABC"}
        Where the unit stands on a feeder with phases
        (`gridsite.hosting.phases.unit_connections`). Unless ``known``, the connections
        of one load are one building.
    seed : int, default 0
        Of the phases that are sampled.
    together : TogetherChoice, optional
        What is asked of the connections together.
    min_power_share : float, default 0.0
        Share of its rating below which a flexible unit pauses. [-]
    battery_kwh : float, default 0.0
        Energy that a battery at each flexible unit can give. [kWh]
    battery_kw : float, optional
        Power of that battery; the unit's rating by default. [kW]
    levels : sequence of float, optional
        Levels of flexible capacity beside the usual ones. [-]
    files : HeadroomFiles, optional
        Where the headroom of every step and the 576-hour table go.
    progress : callable, optional
        Called with the share done and a text.

    Returns
    -------
    Results
        Hosting capacity and elements, without a siting.
    """
    if seed < 0:
        msg = f"seed is {seed}; give 0 or more"
        raise ConfigError(msg)
    if phase in CHOSEN and files is not None:
        msg = f"phase {phase!r}: the envelope is of given phases; take known, 12 or ABC"
        raise ConfigError(msg)
    began = time.perf_counter()
    grid, findings = feeder_case(
        source,
        choose_loads=choose_loads,
        limits=limits,
        power_factor=power_factor,
        growth=growth,
        committed=committed,
        committed_power_factor=committed_power_factor,
        ratings=ratings,
        assume_line_a=assume_line_a,
        crs=crs,
        taps=taps,
        controls=controls,
        ageing=ageing,
        ports=lambda model: _connections(model, phase)["port_id"],
    )
    if files is not None:
        files.check(grid)
    feeder = grid.feeder
    connections = _connections(feeder, phase)
    if service_a is not None:
        connections = _serviced(feeder, connections, service_a)
    connections = with_estimates(connections, grid.profiles)
    hosting = hosting_capacity(
        feeder,
        grid.profiles,
        connections=connections,
        power_factor=power_factor,
        tolerance_kw=TOLERANCE_KW,
        min_power_share=min_power_share,
        battery_kwh=battery_kwh,
        battery_kw=battery_kw,
        levels=levels,
        grid=grid,
        envelope=None if files is None else files.envelope,
        progress=progress,
    )
    if phase in CHOSEN:
        hosting = phase_capacity(hosting, rule=phase, seed=seed)
        connections = chosen_connections(connections, hosting)
    replay = replay_loads(feeder, grid.profiles, pd.Series(dtype=float), grid=grid)
    together = together or TogetherChoice()
    tables, found = rate_together(grid, hosting, together, progress)
    summary = {
        "study": feeder.name,
        "status": "rated",
        **replay_summary(grid, replay, findings),
        "hosting": capacity_summary(hosting),
        "assumptions": assumptions(
            grid,
            serviced=service_a is not None,
            growth=growth,
            load_power_factor=choose_loads.given_power_factor
            if isinstance(choose_loads, GivenLoads)
            else None,
        ),
        "generated": [],
        "seconds": round(time.perf_counter() - began, 2),
    }
    if service_a is None:
        summary["not_checked"].append("building service (no rating given)")
    if together.units is not None:
        text = "own service and voltage change of units that share headroom"
        summary["not_checked"].append(text)
    summary |= found | profile_summary(grid.profiles)
    return Results(
        buildings=_load_buildings(feeder, connections),
        connections=connections,
        hosting=hosting,
        elements=element_table(feeder, replay).assign(plan_peak_percent=np.nan),
        files={} if files is None else files.finish(grid, hosting, progress),
        **tables,
        findings=findings,
        profile_findings=grid.profiles.findings,
        summary=summary,
        manifest={
            "schema_version": SCHEMA_VERSION,
            "feeder": str(source),
            "versions": versions(),
            **_inputs(str(source), choose_loads, ageing, together.files),
            "options": {
                "loads": asdict(choose_loads)
                if isinstance(choose_loads, LoadChoice)
                else None,
                "limits": asdict(grid.limits),
                "power_factor": power_factor,
                "tolerance_kw": TOLERANCE_KW,
                "service_a": service_a,
                "growth": growth,
                "committed": None
                if committed is None
                else committed.to_dict("records"),
                "committed_power_factor": committed_power_factor,
                "ratings": None if ratings is None else _records(ratings),
                "assume_line_a": assume_line_a,
                "crs": crs,
                "taps": None if taps is None else asdict(taps),
                "controls": controls,
                "phase": phase,
                "seed": seed,
                "together": asdict(together),
                "min_power_share": min_power_share,
                "battery_kwh": battery_kwh,
                "battery_kw": battery_kw,
                "levels": list(levels),
                "ambient": asdict(ageing)
                if isinstance(ageing, AmbientChoice)
                else None,
            },
        },
    )


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as JSON takes them: nothing in place of NaN."""
    return [
        {str(k): None if pd.isna(v) else v for k, v in row.items()}
        for row in table.to_dict("records")
    ]


def _inputs(
    source: str, choose_loads: object, ageing: object, more: Sequence[str]
) -> dict[str, Any]:
    """Return the input files of a rating and the folder their names start from."""
    names = [] if _is_name(source) else [source]
    if isinstance(choose_loads, LoadChoice) and choose_loads.profiles is not None:
        names.append(choose_loads.profiles)
        meters = choose_loads.meters
        names += [] if meters is None or meters.links is None else [meters.links]
    if isinstance(ageing, AmbientChoice):
        names.append(ageing.file)
    names += more
    folder = Path.cwd()
    return {
        "folder": str(folder),
        "inputs": input_hashes(with_included(names, folder), folder),
    }


def _connections(feeder: Feeder, phase: str) -> pd.DataFrame:
    """Return where units may stand; one building per load unless as filed."""
    own = own_connections(feeder)
    balanced = bool((feeder.nodes["phases"] == THREE).any())
    if phase == "known" or (phase == THREE and balanced):
        return own
    own = own.assign(building_id=own["port_id"].map(load_name))
    return unit_connections(feeder, own, phase)[1]


def _serviced(
    feeder: Feeder, connections: pd.DataFrame, service_a: float
) -> pd.DataFrame:
    """Return connections with one fuse at the voltage between their conductors."""
    node = feeder.ports.loc[connections["port_id"], "node"].to_numpy()
    volts = feeder.nodes["voltage_kv"].to_numpy()[node] * 1e3
    phases = connections["phases"].astype(str)
    volts = np.where(phases.str.len() == 1, volts / SQRT3, volts)
    volts = np.where(phases == LEGS, 2.0 * volts / SQRT3, volts)
    # on a phase that the file does not name the service is that of the filed row
    other = connections["port_id"].str.endswith(CANDIDATE)
    other &= ~phases.isin([LEGS, THREE])
    return connections.assign(
        service_a=np.where(other, np.nan, service_a), service_v=volts, assumed=True
    )


def _load_buildings(feeder: Feeder, connections: pd.DataFrame) -> gpd.GeoDataFrame:
    """Return a building without a roof at the first connection of each."""
    first = connections.drop_duplicates("building_id")
    ports = feeder.ports.loc[first["port_id"]]
    points = gpd.GeoSeries.from_xy(ports["lon"], ports["lat"], crs="EPSG:4326")
    located = np.isfinite(ports["lon"].to_numpy(dtype=float))
    return gpd.GeoDataFrame(
        {
            "building_id": first["building_id"].to_numpy(),
            "roof_area_m2": 0.0,
            "use": "unknown",
            "access_network": "unknown",
            "feeder_id": ports["feeder_id"].to_numpy(),
        },
        geometry=points.where(located, None).to_numpy(),
        crs=points.crs,
    )
