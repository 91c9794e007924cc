"""
Users and workloads to demand zones.

Users given as points fall into the H3 cell they lie in; users of a polygon are
spread evenly over the cells whose centres it holds, or fall into the cell of an
inner point where it holds none. The number of users is kept. Computing power per
user has no published figure: ``it_kw_per_user`` is an input, and an assumption.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import h3
import numpy as np
import pandas as pd
import shapely

from gridsite.errors import ConfigError, DataError
from gridsite.places.columns import amounts, text_labels, unique_labels
from gridsite.places.layers import LONLAT, LayerSource, lonlat, read_layer, source_name
from gridsite.schemas import check_table
from gridsite.untrusted import read_table

#: Most H3 cells that one polygon may be spread over.
MAX_CELLS = 1_000_000

_KM_PER_DEGREE = 111.32


@dataclass(frozen=True, kw_only=True)
class Demand:
    """
    Demand zones and what they ask for.

    Attributes
    ----------
    zones : geopandas.GeoDataFrame
        Table ``zones`` in EPSG:4326.
    demand : pandas.DataFrame
        Table ``demand``; every zone in it stands in ``zones``.
    """

    zones: gpd.GeoDataFrame
    demand: pd.DataFrame


def read_demand(
    source: LayerSource,
    *,
    workloads: pd.DataFrame | None = None,
    demand: str | Path | pd.DataFrame | None = None,
    layer: str | None = None,
    users_column: str | None = None,
    users_per_point: float | None = None,
    resolution: int = 9,
) -> Demand:
    """
    Read demand from a layer of users, or from ready zones and their demand.

    Parameters
    ----------
    source : path or geopandas.GeoDataFrame
        With ``workloads`` a layer of users (see ``demand_zones``), with ``demand``
        the table ``zones``.
    workloads : pandas.DataFrame, optional
        Workloads with ``workload`` and ``it_kw_per_user`` (see ``demand_table``).
    demand : path or pandas.DataFrame, optional
        Ready table ``demand``, as CSV or Parquet where it is a file.
    layer : str, optional
        Layer to read where a file holds several.
    users_column : str, optional
        As for ``demand_zones``.
    users_per_point : float, optional
        As for ``demand_zones``.
    resolution : int, default 9
        As for ``demand_zones``.

    Returns
    -------
    Demand
        Zones and demand, both checked.

    Raises
    ------
    ConfigError
        If a file is missing, or not exactly one of ``workloads`` and ``demand`` is
        given.
    DataError
        If a value is negative or missing, or demand names an unknown zone.
    CRSError
        If the layer has no CRS or lies outside the globe.

    Examples
    --------
    >>> users = gpd.GeoDataFrame(
    ...     {"users": [30.0]}, geometry=[shapely.Point(7.89, 48.45)], crs=4326
    ... )
    >>> work = pd.DataFrame({"workload": ["game"], "it_kw_per_user": [0.2]})
    >>> read_demand(users, workloads=work).demand["demand_it_kw"].tolist()
    [6.0]
    """
    if (workloads is None) == (demand is None):
        msg = "give either workloads (source is users) or demand (source is zones)"
        raise ConfigError(msg)
    raw = read_layer(source, layer=layer)
    if workloads is not None:
        zones = demand_zones(
            raw,
            users_column=users_column,
            users_per_point=users_per_point,
            resolution=resolution,
        )
        return Demand(zones=zones, demand=demand_table(zones, workloads))
    where = source_name(source)
    zones = lonlat(raw, where)
    zones["zone_id"] = unique_labels(zones, "zone_id", where)
    zones["users"] = amounts(zones, "users", zones["zone_id"], where)
    zones = check_table("zones", zones)
    return Demand(zones=zones, demand=_ready_demand(demand, zones))


def demand_zones(
    users: gpd.GeoDataFrame,
    *,
    cell: str = "h3",
    resolution: int = 9,
    users_column: str | None = None,
    users_per_point: float | None = None,
) -> gpd.GeoDataFrame:
    """
    Gather users into H3 cells.

    Parameters
    ----------
    users : geopandas.GeoDataFrame
        Points or polygons, in any CRS.
    cell : {"h3"}, default "h3"
        Kind of cell [1]_.
    resolution : int, default 9
        H3 resolution, 0 to 15; cells of 9 have about 0.1 km2.
    users_column : str, optional
        Column with the number of users or a weight; without it ``users`` or
        ``weight``.
    users_per_point : float, optional
        Users of every point, where no column says so.

    Returns
    -------
    geopandas.GeoDataFrame
        Table ``zones`` in EPSG:4326, ordered by ``zone_id`` (the H3 index); the sum
        of ``users`` is that of the input.

    Raises
    ------
    ConfigError
        If an option is out of range, or nothing says how many users there are.
    CRSError
        If the layer has no CRS or lies outside the globe.
    DataError
        If a geometry is neither point nor polygon, or a number of users is negative
        or missing; cells on the antimeridian are refused too.

    References
    ----------
    .. [1] Uber Technologies, "H3: hexagonal hierarchical geospatial indexing
       system", 2018. https://h3geo.org

    Examples
    --------
    >>> users = gpd.GeoDataFrame(
    ...     {"users": [30.0, 12.0]},
    ...     geometry=gpd.points_from_xy([7.89, 7.89], [48.45, 48.45]),
    ...     crs=4326,
    ... )
    >>> demand_zones(users)[["zone_id", "users"]]
               zone_id  users
    0  891f856dcb7ffff   42.0
    """
    if cell != "h3" or resolution not in range(16):
        msg = f"cell must be 'h3', resolution 0 to 15; got {cell!r}, {resolution!r}"
        raise ConfigError(msg)
    count = _users(users, users_column, users_per_point)
    cells = [
        _cells(shape, resolution) for shape in lonlat(users, "users").geometry.array
    ]
    spread = np.array([len(names) for names in cells], dtype=int)
    zones = (
        pd.Series(np.repeat(count / spread, spread))
        .groupby(np.concatenate(cells))
        .sum()
        .rename_axis("zone_id")
        .reset_index(name="users")
    )
    outlines = [
        shapely.Polygon([(lng, lat) for lat, lng in h3.cell_to_boundary(name)])
        for name in zones["zone_id"]
    ]
    table = gpd.GeoDataFrame(zones, geometry=outlines, crs=LONLAT)
    return check_table("zones", lonlat(table, "H3 cells"))


def demand_table(zones: gpd.GeoDataFrame, workloads: pd.DataFrame) -> pd.DataFrame:
    """
    Return the computing power that each zone asks for, by workload.

    Parameters
    ----------
    zones : geopandas.GeoDataFrame
        Table ``zones``.
    workloads : pandas.DataFrame
        Workloads with ``workload`` and ``it_kw_per_user``, the computing power that
        a user takes in the busiest hour. [kW]

    Returns
    -------
    pandas.DataFrame
        Table ``demand`` of period 0: ``users`` times ``it_kw_per_user``.

    Raises
    ------
    DataError
        If a number is negative or missing, or a label is missing or stands twice.

    Examples
    --------
    >>> zones = pd.DataFrame({"zone_id": ["a"], "users": [30.0], "geometry": None})
    >>> work = pd.DataFrame({"workload": ["game"], "it_kw_per_user": [0.2]})
    >>> demand_table(zones, work)
      zone_id workload  period  demand_it_kw
    0       a     game       0           6.0
    """
    zone_id = unique_labels(zones, "zone_id", "zones")
    users = amounts(zones, "users", zone_id, "zones")
    workload = unique_labels(workloads, "workload", "workloads")
    per_user = amounts(workloads, "it_kw_per_user", workload, "workloads")
    pairs = pd.MultiIndex.from_product([zone_id, workload])
    table = pairs.to_frame(index=False, name=["zone_id", "workload"])
    table["period"] = 0
    table["demand_it_kw"] = np.outer(users, per_user).ravel()
    return check_table("demand", table)


def _users(
    users: gpd.GeoDataFrame, column: str | None, per_point: float | None
) -> np.ndarray:
    labels = users.index.to_series().astype(str)
    known = [c for c in ("users", "weight") if c in users]
    if per_point is not None:
        if column is not None or set(users.geom_type) != {"Point"}:
            msg = "users_per_point needs a layer of points and no users_column"
            raise ConfigError(msg)
        table = pd.DataFrame({"users_per_point": per_point}, index=users.index)
        return amounts(table, "users_per_point", labels, "users")
    if column is None and len(known) != 1:
        msg = (
            f"users: columns {known or list(users.columns)} leave open how many users "
            "there are; name one with users_column, or give users_per_point"
        )
        raise ConfigError(msg)
    return amounts(users, column or known[0], labels, "users")


def _cells(shape: shapely.Geometry, resolution: int) -> list[str]:
    if shape.geom_type == "Point":
        return [h3.latlng_to_cell(shape.y, shape.x, resolution)]
    if shape.geom_type not in ("Polygon", "MultiPolygon"):
        msg = f"users: must be points or polygons, found a {shape.geom_type}"
        raise DataError(msg)
    most = shape.area * _KM_PER_DEGREE**2 / h3.average_hexagon_area(resolution)
    if most > MAX_CELLS:
        msg = (
            f"users: a polygon holds up to {most:.0f} cells; choose a lower resolution"
        )
        raise ConfigError(msg)
    inner = shape.representative_point()
    return h3.geo_to_cells(shape, resolution) or [
        h3.latlng_to_cell(inner.y, inner.x, resolution)
    ]


def _ready_demand(
    demand: str | Path | pd.DataFrame | None, zones: gpd.GeoDataFrame
) -> pd.DataFrame:
    table, where = _read_table(demand)
    table = table.reset_index(drop=True)
    labels = text_labels(table, "zone_id", where)
    table = table.assign(
        zone_id=labels,
        workload=text_labels(table, "workload", where),
        period=amounts(table, "period", labels, where),
        demand_it_kw=amounts(table, "demand_it_kw", labels, where),
    )
    unknown = sorted(set(labels) - set(zones["zone_id"]))
    if unknown:
        msg = f"{where}: {len(unknown)} zone(s) without a geometry, first {unknown[:3]}"
        raise DataError(msg)
    if (table["period"] % 1 != 0).any():
        msg = f"{where}: periods must be whole numbers, got {table['period'].tolist()}"
        raise DataError(msg)
    return check_table("demand", table)


def _read_table(demand: str | Path | pd.DataFrame | None) -> tuple[pd.DataFrame, str]:
    if isinstance(demand, pd.DataFrame):
        return demand, "demand"
    path = Path(str(demand))
    if not path.is_file():
        msg = f"{path}: no such file"
        raise ConfigError(msg)
    return read_table(path, text=True, keep_empty=True), str(path)
