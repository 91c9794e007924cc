"""Roofs, their connections and their users, as a study file asks for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from gridsite import untrusted
from gridsite.errors import ConfigError
from gridsite.feeder.port_transformers import connection_points, transformer_points
from gridsite.places import (
    Demand,
    Exclusion,
    connect_buildings,
    merge_attributes,
    near_places,
    read_buildings,
    read_demand,
    select_buildings,
    street_transformers,
)
from gridsite.places.energy import estimated_kwh, port_kwh
from gridsite.places.layers import read_layer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    import geopandas as gpd

    from gridsite.config import BuildingsSection, ServiceSection, StudyConfig
    from gridsite.feeder.model import Feeder
    from gridsite.places.layers import LayerSource

    GetPath = Callable[[str], Path]


@dataclass(frozen=True, kw_only=True)
class Places:
    """
    Candidate buildings, where they connect, and who is not one.

    Parameters
    ----------
    buildings : geopandas.GeoDataFrame
        Table ``buildings``.
    connections : pandas.DataFrame
        Table ``connections``.
    left_out : pandas.DataFrame
        ``building_id, distance_m, reason`` of the buildings that a filter leaves out
        and of those that find no connection. [m]
    """

    buildings: gpd.GeoDataFrame
    connections: pd.DataFrame
    left_out: pd.DataFrame


def study_places(
    section: BuildingsSection,
    service: ServiceSection | None,
    path: GetPath,
    feeder: Feeder,
) -> Places:
    """
    Return the candidate buildings of a study and where they connect.

    Parameters
    ----------
    section : BuildingsSection
        ``[buildings]`` of the study file.
    service : ServiceSection or None
        ``[service]`` of the study file.
    path : callable
        Turns a name of the study file into a path.
    feeder : Feeder
        The electrical model.

    Returns
    -------
    Places
        Tables of buildings, connections and of the buildings left out.
    """
    buildings = study_buildings(section, path)
    rows = buildings.attrs.pop("left_out")
    connections = study_connections(
        section,
        service,
        path,
        buildings,
        feeder,
        left_out=[row["building_id"] for row in rows],
    )
    rows += connections.attrs.pop("unmatched")
    columns = ["building_id", "distance_m", "reason"]
    left_out = pd.DataFrame(rows, columns=columns).astype({"distance_m": float})
    return Places(buildings=buildings, connections=connections, left_out=left_out)


def study_buildings(section: BuildingsSection, path: GetPath) -> gpd.GeoDataFrame:
    """
    Return the candidate buildings of a study.

    Parameters
    ----------
    section : BuildingsSection
        ``[buildings]`` of the study file.
    path : callable
        Turns a name of the study file into a path.

    Returns
    -------
    geopandas.GeoDataFrame
        Table ``buildings``, with the attributes given, after the filters.
    """
    return select_buildings(
        _all_buildings(section, path),
        uses=section.uses,
        max_area_m2=section.max_area_m2,
        min_height_m=section.min_height_m,
        max_height_m=section.max_height_m,
        exclusions=[
            Exclusion(
                source=path(zone.file),
                name=zone.name,
                distance_m=zone.distance_m,
                layer=zone.layer,
            )
            for zone in section.exclusions
        ],
    )


def _all_buildings(section: BuildingsSection, path: GetPath) -> gpd.GeoDataFrame:
    """Return the buildings before the filters."""
    buildings = read_buildings(
        path(section.file),
        layer=section.layer,
        id_column=section.id_column,
        use_column=section.use_column,
        default_access=section.access_network,
        min_area_m2=section.min_area_m2,
    )
    if section.attributes is not None:
        buildings = merge_attributes(
            buildings,
            read_attributes(path(section.attributes)),
            id_column=section.attributes_id,
        )
    return buildings


def study_connections(
    section: BuildingsSection,
    service: ServiceSection | None,
    path: GetPath,
    buildings: gpd.GeoDataFrame,
    feeder: Feeder,
    *,
    left_out: Collection[str] = (),
) -> pd.DataFrame:
    """
    Return where the buildings of a study connect to its feeder.

    Parameters
    ----------
    section : BuildingsSection
        ``[buildings]`` of the study file.
    service : ServiceSection or None
        ``[service]`` of the study file.
    path : callable
        Turns a name of the study file into a path.
    buildings : geopandas.GeoDataFrame
        Table ``buildings``.
    feeder : Feeder
        The electrical model.
    left_out : collection of str, optional
        Buildings of the layer that a filter left out: their links are not used.

    Returns
    -------
    pandas.DataFrame
        Table ``connections``.
    """
    column = section.transformer_column
    links = None
    if section.links is not None:
        links = read_table(path(section.links))
        if left_out and "building_id" in links:
            links = links[~links["building_id"].astype(str).isin(left_out)]
    if section.street_lines is not None:
        stations = transformer_points(feeder)
        found = street_transformers(
            buildings,
            read_layer(path(section.street_lines)),
            label_column=section.street_label_column,
            transformers=stations if len(stations) else None,
            open_column=section.street_open_column,
        )
        column = "transformer"
        buildings = buildings.assign(
            transformer=found["transformer"].to_numpy(),
            transformer_confidence=found["confidence"].to_numpy(),
        )
    return connect_buildings(
        buildings,
        connection_points(feeder),
        port_column=section.port_column,
        links=links,
        transformer_column=column,
        phases=section.phases,
        min_transformer_kva=section.min_transformer_kva,
        max_distance_m=section.max_distance_m,
        service_a=service.amps if service else None,
        service_v=service.volts if service else None,
    )


def study_energy(
    config: StudyConfig, path: GetPath, feeder: Feeder
) -> pd.Series[float] | None:
    """
    Return the estimated energy of the loads of a study.

    Parameters
    ----------
    config : StudyConfig
        The study file; ``kwh_per_m2`` of its ``[buildings]``.
    path : callable
        Turns a name of the study file into a path.
    feeder : Feeder
        The electrical model.

    Returns
    -------
    pandas.Series of float, by port id, or None
        Of all buildings of the file, candidates or not; None where the study does not
        ask for it. [kWh]
    """
    section = config.buildings
    if section.kwh_per_m2 is None:
        return None
    buildings = _all_buildings(section, path)
    connections = study_connections(section, config.service, path, buildings, feeder)
    estimates = estimated_kwh(
        buildings,
        kwh_per_m2=section.kwh_per_m2,
        storeys=section.storeys,
        storey_height_m=section.storey_height_m,
    )
    return port_kwh(connections, estimates)


def study_demand(config: StudyConfig, path: GetPath) -> Demand:
    """
    Return the demand zones of a study and what they ask for.

    Parameters
    ----------
    config : StudyConfig
        The study file; its ``[users]`` and ``[[workloads]]``.
    path : callable
        Turns a name of the study file into a path.

    Returns
    -------
    Demand
        Tables ``zones`` and ``demand``.
    """
    section = config.users
    rows = [(w.workload, w.it_kw_per_user) for w in config.workloads]
    source: LayerSource = (
        path(str(section.file))
        if section.near is None
        else near_places(**section.near.model_dump())
    )
    work = pd.DataFrame(rows, columns=["workload", "it_kw_per_user"])
    return read_demand(
        source,
        layer=section.layer,
        workloads=work if section.it_kw_columns is None else None,
        users_column=section.users_column,
        users_per_point=section.users_per_point,
        it_kw_columns=section.it_kw_columns,
        hidden=section.hidden,
        share=section.share,
        cell=section.cell,
        resolution=section.h3_resolution,
        size_m=section.size_m,
    )


def read_table(path: Path) -> pd.DataFrame:
    """
    Read a plain table; its values stay text where it is a CSV.

    Parameters
    ----------
    path : pathlib.Path
        CSV or Parquet.

    Returns
    -------
    pandas.DataFrame
        Its rows.

    Raises
    ------
    ConfigError
        If the file is of another kind.
    DataError
        If it cannot be read.
    """
    if path.suffix.lower() not in {".csv", ".parquet"}:
        msg = f"{path}: give a table as CSV or Parquet"
        raise ConfigError(msg)
    return untrusted.read_table(path, text=True)


def read_attributes(path: Path) -> pd.DataFrame:
    """
    Read further columns of buildings.

    Parameters
    ----------
    path : pathlib.Path
        CSV or Parquet table by id, or a layer of points.

    Returns
    -------
    pandas.DataFrame
        As `gridsite.places.merge_attributes` takes it.
    """
    if path.suffix.lower() in {".csv", ".parquet"}:
        table = read_table(path)
        if "geometry" not in table:
            return table
    layer: pd.DataFrame = read_layer(path)
    return layer
