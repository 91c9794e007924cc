r"""
Building to connection point of the feeder.

A building is connected, in this order:

* ``id``: to the port that its ``port_column`` names; confidence 1.
* ``inside``: to every port inside its outline; distance 0, confidence 1.
* ``nearest``: to the nearest port within ``max_distance_m`` of its outline. With
  distances :math:`d_1` to it and :math:`d_2` to the second nearest, the confidence
  is :math:`(1 - d_1 / d_{max}) \, d_2 / (d_1 + d_2)`: it falls with the distance,
  and to one half where two ports are equally near. Of several equally near ports
  the smallest ``port_id`` is taken.

The nearest connection point is not always the serving one: the confidence orders
the matches, it is not a probability.
"""

from __future__ import annotations

import logging
import math
from typing import TypedDict

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from scipy.spatial import KDTree

from gridsite.errors import ConfigError, DataError
from gridsite.places.columns import text_labels, unique_labels
from gridsite.places.layers import lonlat, metric_crs
from gridsite.schemas import check_table

LOGGER = logging.getLogger(__name__)

_PORT_TEXTS = ("bus", "feeder_id", "phases")
_COLUMNS = [
    "building_id",
    "port_id",
    "feeder_id",
    "bus",
    "phases",
    "service_a",
    "service_v",
    "match_method",
    "match_distance_m",
    "match_confidence",
    "assumed",
]


class Unmatched(TypedDict):
    """A building without a connection: where it is from one, and why."""

    building_id: str
    distance_m: float | None
    reason: str


def connect_buildings(
    buildings: gpd.GeoDataFrame,
    ports: gpd.GeoDataFrame | pd.DataFrame,
    *,
    port_column: str | None = None,
    max_distance_m: float = 50.0,
    service_a: float | None = None,
    service_v: float | None = None,
) -> pd.DataFrame:
    """
    Connect each building to the port of a feeder that serves it.

    Parameters
    ----------
    buildings : geopandas.GeoDataFrame
        Table ``buildings``.
    ports : geopandas.GeoDataFrame or pandas.DataFrame
        Connection points: ``port_id``, ``bus``, ``feeder_id``, ``phases``, a point
        each (not needed with ``port_column``), and ``service_a``, ``service_v``
        where they are known.
    port_column : str, optional
        Column of ``buildings`` that names the port; without it ports are matched
        by place.
    max_distance_m : float, default 50.0
        Largest distance from the outline to a port. [m]
    service_a : float, optional
        Service rating assumed where the ports give none. [A]
    service_v : float, optional
        Service voltage assumed where the ports give none. [V]

    Returns
    -------
    pandas.DataFrame
        Table ``connections`` with ``feeder_id``: one row per building, or one per
        port for a building with several ports inside; ``assumed`` marks rows that
        rest on an assumed service. Buildings without a connection stand in
        ``attrs["unmatched"]`` instead, with distance and reason.

    Raises
    ------
    ConfigError
        If an option is out of range.
    DataError
        If a table breaks its contract, a port stands twice or has no place where
        it needs one, or no building at all finds a connection.
    CRSError
        If a layer has no CRS, or both together are too wide to be measured.

    Notes
    -----
    See the head of this module for the order of the methods and the confidence.

    Examples
    --------
    >>> roof = shapely.box(7.89, 48.45, 7.8902, 48.4501)
    >>> roofs = gpd.GeoDataFrame(
    ...     {"building_id": ["b1"], "roof_area_m2": 164.5, "use": "home"},
    ...     geometry=[roof],
    ...     crs=4326,
    ... ).assign(access_network="fibre")
    >>> ports = gpd.GeoDataFrame(
    ...     {"port_id": ["p1"], "bus": "n7", "feeder_id": "f1", "phases": "ABC"},
    ...     geometry=gpd.points_from_xy([7.8901], [48.45005]),
    ...     crs=4326,
    ... )
    >>> table = connect_buildings(roofs, ports, service_a=63.0, service_v=400.0)
    >>> table[["building_id", "port_id", "match_method", "assumed"]]
      building_id port_id match_method  assumed
    0          b1      p1       inside     True
    """
    for name, value in {
        "max_distance_m": max_distance_m,
        "service_a": service_a,
        "service_v": service_v,
    }.items():
        if value is not None and not (math.isfinite(value) and value > 0.0):
            msg = f"{name} must be finite and above 0, got {value!r}"
            raise ConfigError(msg)
    roofs = check_table("buildings", buildings.reset_index(drop=True))
    roofs = lonlat(roofs, "buildings")
    points = _checked_ports(ports)
    if port_column is not None:
        matches = _match_by_id(roofs, points, port_column)
    else:
        matches = _match_by_place(roofs, points, max_distance_m)
    return _connections(
        roofs, points, matches, service_a=service_a, service_v=service_v
    )


def _checked_ports(ports: pd.DataFrame) -> pd.DataFrame:
    points = ports.reset_index(drop=True)
    points["port_id"] = unique_labels(points, "port_id", "ports")
    for column in _PORT_TEXTS:
        points[column] = text_labels(points, column, "ports")
    if points.empty:
        msg = "ports: the table has no rows; read a feeder with connection points"
        raise DataError(msg)
    return points


def _match_by_id(
    roofs: gpd.GeoDataFrame, points: pd.DataFrame, port_column: str
) -> pd.DataFrame:
    # One row per building: row number of roof and port (-1: none), and the reason.
    if port_column not in roofs:
        msg = f"buildings: no column {port_column!r}; there are {list(roofs.columns)}"
        raise DataError(msg)
    named = roofs[port_column].notna()
    labels = pd.Series("", index=roofs.index)
    labels[named] = text_labels(roofs[named], port_column, "buildings")
    port = pd.Index(points["port_id"]).get_indexer(pd.Index(labels))
    unknown = "port " + labels.map(repr) + " is not among the connection points"
    return pd.DataFrame(
        {
            "roof": np.arange(len(roofs)),
            "port": port,
            "match_method": "id",
            "match_distance_m": _distances_m(roofs, points, port),
            "match_confidence": 1.0,
            "reason": unknown.where(named, f"column {port_column!r} is empty"),
        }
    )


def _distances_m(
    roofs: gpd.GeoDataFrame, points: pd.DataFrame, port: np.ndarray
) -> np.ndarray:
    # Distance to the port of each roof; NaN where there is no port or no place.
    distance = np.full(len(roofs), np.nan)
    if not isinstance(points, gpd.GeoDataFrame) or points.crs is None:
        return distance
    placed = _placed(points)
    row = np.flatnonzero((port >= 0) & placed[port])
    if row.size:
        shapes, dots = _projected(
            roofs.iloc[row], lonlat(points.iloc[port[row]], "ports")
        )
        distance[row] = shapely.distance(shapes, dots)
    return distance


def _projected(
    roofs: gpd.GeoDataFrame, points: gpd.GeoDataFrame
) -> tuple[np.ndarray, np.ndarray]:
    both = pd.concat([roofs.geometry, points.geometry])
    crs = metric_crs(both, where="buildings and ports together")
    shapes = np.asarray(roofs.geometry.to_crs(crs).array)
    return shapes, np.asarray(points.geometry.to_crs(crs).array)


def _match_by_place(
    roofs: gpd.GeoDataFrame, points: pd.DataFrame, max_distance_m: float
) -> pd.DataFrame:
    # Rows of roof and port (-1: none within reach), method, distance, confidence.
    row = _placed_rows(points)
    shapes, dots = _projected(roofs, lonlat(points.iloc[row], "ports"))
    tree = shapely.STRtree(dots)
    roof, port = tree.query(shapes, predicate="intersects")
    inside = pd.DataFrame({"roof": roof, "port": row[port], "match_distance_m": 0.0})
    inside["match_method"] = "inside"
    inside["match_confidence"] = 1.0
    rest = np.setdiff1d(np.arange(len(roofs)), roof)
    if not rest.size:
        return inside
    near = _two_nearest(shapes[rest], dots, tree, points["port_id"].to_numpy()[row])
    near["roof"] = rest
    near["port"] = row[near["port"]]
    first, second = near["match_distance_m"], near.pop("second_m")
    share = (second / (first + second)).where(np.isfinite(second), 1.0)
    near["match_confidence"] = (1.0 - first / max_distance_m) * share
    near["match_method"] = "nearest"
    far = first > max_distance_m
    labels = points["port_id"].to_numpy()[near["port"]]
    near["reason"] = [
        f"nearest port {label!r} is {distance:.1f} m away, limit {max_distance_m:g} m"
        for label, distance in zip(labels, first, strict=True)
    ]
    near.loc[far, "port"] = -1
    return pd.concat([inside, near], ignore_index=True)


def _placed(points: gpd.GeoDataFrame) -> np.ndarray:
    # False where a point is missing, empty or POINT (NaN NaN).
    bounds = np.asarray(shapely.bounds(points.geometry.array))
    return np.asarray(np.isfinite(bounds).any(axis=1))


def _placed_rows(points: pd.DataFrame) -> np.ndarray:
    if not isinstance(points, gpd.GeoDataFrame):
        msg = "ports: no coordinates; name each building's port with port_column"
        raise DataError(msg)
    placed = _placed(points)
    kinds = set(points.geometry[placed].geom_type)
    if kinds != {"Point"}:
        msg = f"ports: each needs a point, found {sorted(kinds)}; or use port_column"
        raise DataError(msg)
    if not placed.all():
        LOGGER.warning("%d port(s) have no place and are left out", (~placed).sum())
    return np.flatnonzero(placed)


def _two_nearest(
    shapes: np.ndarray, dots: np.ndarray, tree: shapely.STRtree, labels: np.ndarray
) -> pd.DataFrame:
    # For each shape the nearest dot, its distance and that of the second nearest
    # (infinite where there is one dot only). No shape is farther from its two nearest
    # dots than a point of it is from the two dots nearest to that point.
    inner = shapely.get_coordinates(shapely.point_on_surface(shapes))
    reach, _ = KDTree(shapely.get_coordinates(dots)).query(inner, k=min(2, len(dots)))
    reach = reach.reshape(len(shapes), -1)[:, -1] * (1.0 + 1e-9) + 1e-6
    shape, dot = tree.query(shapes, predicate="dwithin", distance=reach)
    pairs = pd.DataFrame(
        {
            "shape": shape,
            "port": dot,
            "label": labels[dot],
            "match_distance_m": shapely.distance(shapes[shape], dots[dot]),
        }
    ).sort_values(["shape", "match_distance_m", "label"])
    by_shape = pairs.groupby("shape")
    first = by_shape.nth(0).set_index("shape")[["port", "match_distance_m"]]
    second = by_shape.nth(1).set_index("shape")["match_distance_m"]
    first["second_m"] = second.reindex(first.index, fill_value=np.inf)
    return first


def _connections(
    roofs: gpd.GeoDataFrame,
    points: pd.DataFrame,
    matches: pd.DataFrame,
    *,
    service_a: float | None,
    service_v: float | None,
) -> pd.DataFrame:
    found = matches[matches["port"] >= 0]
    unmatched = _unmatched(roofs, matches[matches["port"] < 0])
    if len(unmatched) + found["roof"].nunique() != len(roofs):
        msg = "buildings: some were lost in matching; please report this as a bug"
        raise DataError(msg)
    if found.empty:
        first = unmatched[0] if unmatched else "the layer is empty"
        msg = f"buildings: none finds a connection, first {first}; check CRS and ids"
        raise DataError(msg, pd.DataFrame(unmatched))
    if unmatched:
        LOGGER.warning("%d of %d buildings unmatched", len(unmatched), len(roofs))
    served = points.iloc[found["port"]].set_axis(found.index)
    table = found.join(served[["port_id", *_PORT_TEXTS]])
    table["building_id"] = roofs["building_id"].to_numpy()[found["roof"]]
    table["assumed"] = False
    for column, value in {"service_a": service_a, "service_v": service_v}.items():
        known = served[column].astype(float) if column in served else np.nan
        table[column] = known
        if value is not None:
            table["assumed"] |= table[column].isna()
            table[column] = table[column].fillna(value)
    table = table.sort_values(["roof", "port_id"], ignore_index=True)[_COLUMNS]
    table = check_table("connections", table)
    table.attrs["unmatched"] = unmatched  # last: pandas copies it at every step
    return table


def _unmatched(roofs: gpd.GeoDataFrame, missed: pd.DataFrame) -> list[Unmatched]:
    if missed.empty:
        return []
    labels = roofs["building_id"].to_numpy()[missed["roof"]]
    metres = missed["match_distance_m"].to_numpy(float)
    return [
        Unmatched(
            building_id=label,
            distance_m=None if math.isnan(distance) else float(distance),
            reason=reason,
        )
        for label, distance, reason in zip(
            labels, metres, missed["reason"], strict=True
        )
    ]
