"""
Users and workloads to demand zones.

Users of points, polygons and pixels are gathered in cells (`gridsite.places.cells`);
their number is kept. Computing power per user has no published figure:
``it_kw_per_user`` is an input, and an assumption. Where computing power itself is given
by place, it is gathered as it stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.errors import ConfigError, DataError
from gridsite.places.cells import Spread, cell_layer, h3_cells, square_cells
from gridsite.places.columns import amounts, text_labels, unique_labels
from gridsite.places.layers import LayerSource, lonlat, read_layer, source_name
from gridsite.places.people import RASTERS, read_people
from gridsite.schemas import check_table
from gridsite.untrusted import read_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import geopandas as gpd


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
    it_kw_columns: Mapping[str, str] | None = None,
    hidden: Sequence[float] = (),
    share: float = 1.0,
    cell: str = "h3",
    resolution: int = 9,
    size_m: float = 250.0,
) -> Demand:
    """
    Read demand from a layer of users, or from ready zones and their demand.

    Parameters
    ----------
    source : path or geopandas.GeoDataFrame
        With ``workloads`` a layer of users (see ``demand_zones``) or a grid of people
        (GeoTIFF, ASCII grid; extra ``gridsite[places]``), with ``demand`` the table
        ``zones``.
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
    it_kw_columns : mapping of str to str, optional
        Column with the computing power of each workload, in place of ``workloads``;
        ``users`` are then counted where a column says so. [kW]
    hidden : sequence of float
        Codes of a grid that stand for a number that is not told.
    share : float, default 1.0
        Users per person of the source (assumption). [-]
    cell : {"h3", "square"}, default "h3"
        As for ``demand_zones``.
    resolution : int, default 9
        As for ``demand_zones``.
    size_m : float, default 250.0
        As for ``demand_zones``. [m]

    Returns
    -------
    Demand
        Zones and demand, both checked.

    Raises
    ------
    ConfigError
        If a file is missing, or not exactly one of ``workloads``, ``it_kw_columns``
        and ``demand`` is given.
    DataError
        If a value is negative or missing, or demand names an unknown zone.
    CRSError
        If the layer has no CRS or lies outside the globe.

    Examples
    --------
    >>> import geopandas as gpd
    >>> users = gpd.GeoDataFrame(
    ...     {"users": [30.0]}, geometry=gpd.points_from_xy([7.89], [48.45]), crs=4326
    ... )
    >>> work = pd.DataFrame({"workload": ["game"], "it_kw_per_user": [0.2]})
    >>> read_demand(users, workloads=work).demand["demand_it_kw"].tolist()
    [6.0]
    """
    if sum(given is not None for given in (workloads, it_kw_columns, demand)) != 1:
        msg = (
            "give either workloads (source is users), it_kw_columns (source has kW) or "
            "demand (source is zones)"
        )
        raise ConfigError(msg)
    if not 0.0 < share < np.inf:
        msg = f"share must be finite and above 0, got {share!r}"
        raise ConfigError(msg)
    grid = isinstance(source, str | Path) and Path(source).suffix.lower() in RASTERS
    if grid:
        raw = read_people(Path(str(source)), hidden=hidden)
    else:
        raw = read_layer(source, layer=layer)
    if demand is None:
        zones = demand_zones(
            raw,
            cell=cell,
            resolution=resolution,
            size_m=size_m,
            users_column=users_column,
            users_per_point=users_per_point,
            sums=None if it_kw_columns is None else list(it_kw_columns.values()),
        )
        zones["users"] *= share
        if workloads is not None:
            return Demand(zones=zones, demand=demand_table(zones, workloads))
        return _given_power(zones, it_kw_columns or {})
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
    size_m: float = 250.0,
    users_column: str | None = None,
    users_per_point: float | None = None,
    sums: Sequence[str] | None = None,
) -> gpd.GeoDataFrame:
    """
    Gather users into cells.

    Parameters
    ----------
    users : geopandas.GeoDataFrame
        Points or polygons, in any CRS.
    cell : {"h3", "square"}, default "h3"
        Hexagons [1]_ or squares.
    resolution : int, default 9
        H3 resolution, 0 to 15; cells of 9 have about 0.1 km2.
    size_m : float, default 250.0
        Side of a square. [m]
    users_column : str, optional
        Column with the number of users or a weight; without it ``users`` or
        ``weight``.
    users_per_point : float, optional
        Users of every point, where no column says so.
    sums : sequence of str, optional
        Further columns to be gathered alike; users need then not be known.

    Returns
    -------
    geopandas.GeoDataFrame
        Table ``zones`` in EPSG:4326, ordered by ``zone_id``, with the columns of
        ``sums``; each sum is that of the input.

    Raises
    ------
    ConfigError
        If an option is out of range, or nothing says how many users there are.
    CRSError
        If the layer has no CRS, lies outside the globe, or is too wide for squares.
    DataError
        If a geometry is neither point nor polygon, or a number is negative or missing;
        cells on the antimeridian are refused too.

    References
    ----------
    .. [1] Uber Technologies, "H3: hexagonal hierarchical geospatial indexing
       system", 2018. https://h3geo.org

    Examples
    --------
    >>> import geopandas as gpd
    >>> users = gpd.GeoDataFrame(
    ...     {"users": [30.0, 12.0]},
    ...     geometry=gpd.points_from_xy([7.89, 7.89], [48.45, 48.45]),
    ...     crs=4326,
    ... )
    >>> demand_zones(users)[["zone_id", "users"]]
               zone_id  users
    0  891f856dcb7ffff   42.0
    """
    labels = users.index.to_series().astype(str)
    known = {"users", "weight"} & set(users) or users_column or users_per_point
    count = np.zeros(len(users))
    if sums is None or known:
        count = _users(users, users_column, users_per_point)
    values = [amounts(users, name, labels, "users") for name in sums or ()]
    spread = _spread(lonlat(users, "users"), cell, resolution, size_m)
    parts = pd.DataFrame({"zone_id": spread.cell, "users": count[spread.row]})
    for name, value in zip(sums or (), values, strict=True):
        parts[f"sum {name}"] = value[spread.row]
    amount = parts.columns.drop("zone_id")
    parts[amount] = parts[amount].mul(spread.share, axis=0)
    zones = parts.groupby("zone_id").sum()
    table = cell_layer(spread, zones.index.tolist())
    table[list(amount)] = zones.to_numpy()
    return check_table("zones", table)


def _spread(
    layer: gpd.GeoDataFrame, cell: str, resolution: int, size_m: float
) -> Spread:
    if cell == "h3":
        return h3_cells(layer, resolution)
    if cell == "square":
        return square_cells(layer, size_m)
    msg = f"cell must be 'h3' or 'square', got {cell!r}"
    raise ConfigError(msg)


def _given_power(zones: gpd.GeoDataFrame, columns: Mapping[str, str]) -> Demand:
    """Return the demand of zones whose computing power is given, by workload."""
    parts = [
        pd.DataFrame(
            {
                "zone_id": zones["zone_id"],
                "workload": workload,
                "period": 0,
                "demand_it_kw": zones[f"sum {column}"],
            }
        )
        for workload, column in columns.items()
    ]
    table = pd.concat(parts, ignore_index=True)
    kept = zones.drop(columns=[c for c in zones if c.startswith("sum ")])
    return Demand(zones=kept, demand=check_table("demand", table))


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
