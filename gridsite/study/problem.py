"""From connections of a study to its siting problem: ratings, works, rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from gridsite.feeder.candidate_ports import load_name
from gridsite.feeder.port_transformers import connection_points
from gridsite.hosting.capacity import hosting_capacity
from gridsite.hosting.phases import CHOSEN, chosen_connections, phase_capacity
from gridsite.siting import SitingProblem, empty_table
from gridsite.study.siting_inputs import SitingInputs, siting_inputs
from gridsite.study.siting_time import SERVICE
from gridsite.study.siting_upgrades import (
    connection_rows,
    services_of,
    shared_service_rows,
    with_service,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import geopandas as gpd

    from gridsite.feeder.model import Feeder
    from gridsite.hosting.grid_case import GridCase
    from gridsite.places import Demand
    from gridsite.study.place_inputs import Places
    from gridsite.study.siting_grid import Grids
    from gridsite.study.study import Study

#: Rows, their coefficients, and what works on the grid add to them.
SitingTables = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]


def rated_connections(
    study: Study,
    grid: GridCase,
    connections: pd.DataFrame,
    *,
    envelope: Path | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """
    Return what each connection of a study can host.

    Parameters
    ----------
    study : Study
        The study.
    grid : GridCase
        Base cases.
    connections : pandas.DataFrame
        Contract ``connections``.
    envelope : pathlib.Path, optional
        File that takes the headroom of every step.
    progress : callable, optional
        Called with the share done, in [0, 1], and a text.

    Returns
    -------
    hosting : pandas.DataFrame
        Contract ``hosting``; one row per building where its phase is chosen.
    connections : pandas.DataFrame
        Contract ``connections``, of those rows.
    """
    hosting = _rated(study, grid, connections, envelope=envelope, progress=progress)
    rule, seed = study.phase_rule, study.config.study.seed
    if rule not in CHOSEN:
        return hosting, connections
    hosting = phase_capacity(hosting, rule=rule, seed=seed)
    return hosting, chosen_connections(connections, hosting)


def _rated(
    study: Study,
    grid: GridCase,
    connections: pd.DataFrame,
    *,
    envelope: Path | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> pd.DataFrame:
    """Return what each connection can host."""
    return hosting_capacity(
        grid.feeder,
        grid.profiles,
        connections=connections,
        power_factor=grid.power_factor,
        # the unit that pauses first: the safe side for flexible capacity
        min_power_share=max(unit.min_power_share for unit in study.config.units),
        battery_kwh=study.config.hosting.battery_kwh,
        battery_kw=study.config.hosting.battery_kw,
        levels=study.config.hosting.levels,
        grid=grid,
        envelope=envelope,
        progress=progress,
    )


def with_feeder(
    buildings: gpd.GeoDataFrame, hosting: pd.DataFrame, feeder: Feeder
) -> gpd.GeoDataFrame:
    """
    Return buildings with the feeder and transformer of their first connection.

    Parameters
    ----------
    buildings : geopandas.GeoDataFrame
        Contract ``buildings``.
    hosting : pandas.DataFrame
        Contract ``hosting``.
    feeder : Feeder
        The electrical model.

    Returns
    -------
    geopandas.GeoDataFrame
        With ``feeder_id``, ``transformer``; empty text where there is none.
    """
    points = connection_points(feeder).drop_duplicates("port_id").set_index("port_id")
    supplied = hosting.sort_values("feeder_id", key=lambda x: x == "", kind="stable")
    first = supplied.drop_duplicates("building_id").set_index("building_id")
    # a port that the file does not name is behind what its load is behind
    of_load = points.groupby(points.index.map(load_name))["transformer"].first()
    behind = first["port_id"].map(points["transformer"])
    behind = behind.fillna(first["port_id"].map(load_name).map(of_load))
    found = first.assign(transformer=behind).reindex(buildings["building_id"])
    return buildings.assign(
        feeder_id=found["feeder_id"].fillna("").to_numpy(),
        transformer=found["transformer"].fillna("").to_numpy(),
    )


def lifted_hosting(
    study: Study, grids: Grids, hosting: pd.DataFrame, connections: pd.DataFrame
) -> tuple[pd.DataFrame, SitingTables]:
    """
    Return what connections can host at most, and what works on the grid add.

    Parameters
    ----------
    study : Study
        The study.
    grids : Grids
        Its base cases.
    hosting : pandas.DataFrame
        Contract ``hosting``, before any works.
    connections : pandas.DataFrame
        Contract ``connections``.

    Returns
    -------
    hosting : pandas.DataFrame
        As `gridsite.study.siting_upgrades.connection_rows`; unchanged without works.
    tables : tuple of pandas.DataFrame
        Contracts ``rows``, ``row_coefficients`` and ``upgrade_effects`` of single
        connections.
    """
    after = {}
    for name, feeder_id in grids.works.items():
        case = grids.case(max(grids.factors), frozenset({name}))
        ports = case.feeder.ports.index[case.feeder.ports["feeder_id"] == feeder_id]
        own = connections[connections["port_id"].isin(ports)]
        after[name] = _rated(study, case, own)
    if study.config.service_upgrade is not None:
        larger = with_service(connections, study.config.service_upgrade.amps)
        found = _rated(study, grids.heaviest, larger)
        for port, table in found.groupby("port_id"):
            after[f"{SERVICE}{port}"] = table
    n = len(grids.factors)
    rows, coefficients = shared_service_rows(hosting, n)
    effects, lifted = empty_table("upgrade_effects"), hosting
    if after:
        lifted, single, terms, effects = connection_rows(hosting, after, n)
        if len(rows):
            single = pd.concat([single, rows], ignore_index=True)
            terms = pd.concat([terms, coefficients], ignore_index=True)
        rows, coefficients = single, terms
    if not len(rows):
        rows, coefficients = empty_table("rows"), empty_table("row_coefficients")
    return lifted, (rows, coefficients, effects)


def siting_problem(
    inputs: SitingInputs, grid: SitingTables, single: SitingTables
) -> SitingProblem:
    """
    Return the siting problem of a study.

    Parameters
    ----------
    inputs : SitingInputs
        Tables without rows.
    grid, single : tuple of pandas.DataFrame
        Rows, coefficients and effects of works: of the grid, and of connections.

    Returns
    -------
    SitingProblem
        Connections that host no unit are left out.
    """
    terms = single[1]
    terms = terms[terms["port_id"].isin(inputs.site_options["port_id"])]
    both = []
    for of_grid, of_single in zip(grid, (single[0], terms, single[2]), strict=True):
        own = of_single[of_single["row_id"].isin(terms["row_id"])]
        parts = [part for part in (of_grid, own) if len(part)]
        both.append(pd.concat(parts, ignore_index=True) if parts else of_grid)
    return inputs.problem(*both)


def study_problem(
    study: Study,
    grids: Grids,
    hosting: pd.DataFrame,
    places: Places,
    demand: Demand,
    areas: gpd.GeoDataFrame | None,
) -> tuple[SitingInputs, SitingProblem]:
    """
    Return the siting problem of a study that is rated, with rows of its grid.

    Parameters
    ----------
    study : Study
        The study, with what its steps say of energy.
    grids : Grids
        Its base cases.
    hosting : pandas.DataFrame
        Contract ``hosting``.
    places : Places
        Its buildings, with their feeders, and connections.
    demand : Demand
        Zones and what they ask for.
    areas : geopandas.GeoDataFrame or None
        What is local, and whose territory it is.

    Returns
    -------
    inputs : SitingInputs
        Tables without rows.
    problem : SitingProblem
        With rows, checked.
    """
    lifted, single = lifted_hosting(study, grids, hosting, places.connections)
    inputs = siting_inputs(
        study.config,
        places.buildings,
        lifted,
        demand.zones,
        demand.demand,
        services_of(single[2]),
        areas,
    )
    rows = grids.rows(inputs.site_options["port_id"])
    return inputs, siting_problem(inputs, rows, single)
