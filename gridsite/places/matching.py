"""
Rows of buildings and ports that belong together, by id and by place.

Each function returns ``roof`` and ``port`` (row numbers; port -1: none),
``match_method``, ``match_distance_m``, ``match_confidence`` and ``reason``.
"""

from __future__ import annotations

import logging

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from scipy.spatial import KDTree

from gridsite.errors import DataError
from gridsite.places.columns import amounts, text_labels
from gridsite.places.layers import lonlat, metric_crs

LOGGER = logging.getLogger(__name__)


def match_by_id(
    roofs: gpd.GeoDataFrame, points: pd.DataFrame, port_column: str
) -> pd.DataFrame:
    """
    Match each building to the port that a column of it names.

    Parameters
    ----------
    roofs : geopandas.GeoDataFrame
        Table ``buildings`` in EPSG:4326.
    points : pandas.DataFrame
        Checked ports.
    port_column : str
        Column of the buildings.

    Returns
    -------
    pandas.DataFrame
        Matches, as at the head of this module.

    Raises
    ------
    DataError
        If the column is missing.
    """
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
            "reason": unknown.where(named, f"column {port_column!r} is empty").mask(
                port >= 0, f"named in column {port_column!r}"
            ),
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


def match_by_links(
    roofs: gpd.GeoDataFrame, points: pd.DataFrame, links: pd.DataFrame | None
) -> pd.DataFrame:
    """
    Match buildings to the ports that a table of links gives them.

    Parameters
    ----------
    roofs : geopandas.GeoDataFrame
        Table ``buildings`` in EPSG:4326.
    points : pandas.DataFrame
        Checked ports.
    links : pandas.DataFrame, optional
        ``building_id, port_id``.

    Returns
    -------
    pandas.DataFrame
        Matches, as at the head of this module.

    Raises
    ------
    DataError
        If a label is missing.
    """
    # Rows of roof and port from a table; one row without port where none is known.
    if links is None:
        return pd.DataFrame({"roof": np.empty(0, int), "port": np.empty(0, int)})
    pair = pd.DataFrame(
        {c: text_labels(links, c, "links") for c in ("building_id", "port_id")}
    )
    pair = pair.drop_duplicates()
    roof = pd.Index(roofs["building_id"]).get_indexer(pd.Index(pair["building_id"]))
    if (roof < 0).any():
        LOGGER.warning(
            "links: %d row(s) name no building of the layer", (roof < 0).sum()
        )
    pair, roof = pair[roof >= 0], roof[roof >= 0]
    port = pd.Index(points["port_id"]).get_indexer(pd.Index(pair["port_id"]))
    known = pd.Series(port >= 0).groupby(roof).transform("any").to_numpy(dtype=bool)
    lost = ~known & ~pd.Series(roof).duplicated().to_numpy()
    if ((port < 0) & known).any():
        LOGGER.warning("links: %d port(s) are not of this feeder", (port < 0).sum())
    keep = (port >= 0) | lost
    named = "port " + pair["port_id"].map(repr)
    text = (named + " is not among the connection points").where(
        port < 0, named + " stands in the table of links"
    )
    return pd.DataFrame(
        {
            "roof": roof[keep],
            "port": port[keep],
            "match_method": "id",
            "match_distance_m": _distances_m(
                roofs.iloc[roof[keep]], points, port[keep]
            ),
            "match_confidence": 1.0,
            "reason": text.to_numpy()[keep],
        }
    )


def match_by_transformer(
    roofs: gpd.GeoDataFrame,
    points: pd.DataFrame,
    row: np.ndarray,
    fit: np.ndarray,
    column: str | None,
    max_distance_m: float,
) -> pd.DataFrame:
    """
    Match some buildings by place, each among its transformer's ports only.

    Parameters
    ----------
    roofs : geopandas.GeoDataFrame
        Table ``buildings`` in EPSG:4326.
    points : pandas.DataFrame
        Checked ports.
    row : numpy.ndarray of int
        Rows of buildings to match.
    fit : numpy.ndarray of int
        Rows of ports that count.
    column : str, optional
        Column of the buildings with their transformer; all ports without it.
    max_distance_m : float
        Largest distance. [m]

    Returns
    -------
    pandas.DataFrame
        Matches, as at the head of this module.

    Raises
    ------
    DataError
        If the column is missing or ports have no place.
    """
    # Match some rows of buildings by place, each among its transformer's ports only.
    if column is None or not row.size:
        return _match_rows(roofs, points, row, fit, max_distance_m, "")
    if column not in roofs:
        msg = f"buildings: no column {column!r}; there are {list(roofs.columns)}"
        raise DataError(msg)
    known = "transformer" if "transformer" in points else "feeder_id"
    owner = points[known].astype(str).to_numpy()[fit]
    wanted = roofs[column].fillna("").astype(str).to_numpy()[row]
    parts = [
        _match_rows(
            roofs,
            points,
            row[wanted == name],
            fit if name == "" else fit[owner == name],
            max_distance_m,
            name,
        )
        for name in np.unique(wanted)
    ]
    table = pd.concat(parts, ignore_index=True)
    if "transformer_confidence" in roofs:
        share = amounts(
            roofs, "transformer_confidence", roofs["building_id"], "buildings"
        )
        table["match_confidence"] *= np.minimum(1.0, share)[table["roof"]]
    return table


def _match_rows(
    roofs: gpd.GeoDataFrame,
    points: pd.DataFrame,
    row: np.ndarray,
    fit: np.ndarray,
    max_distance_m: float,
    transformer: str,
) -> pd.DataFrame:
    if row.size and fit.size:
        table = _match_by_place(roofs.iloc[row], points.iloc[fit], max_distance_m)
        table["roof"] = row[table["roof"]]
        table["port"] = np.where(table["port"] >= 0, fit[table["port"]], -1)
        return table
    reason = f"no port of transformer {transformer!r} has what is asked for"
    return pd.DataFrame(
        {
            "roof": row,
            "port": -1,
            "match_method": "nearest",
            "match_distance_m": np.nan,
            "match_confidence": 0.0,
            "reason": reason if transformer else "no port has what is asked for",
        }
    )


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
    inside["reason"] = "the port lies inside the outline"
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
        if distance > max_distance_m
        else "nearest port"
        + (f"; the next one is {after:.1f} m away" if np.isfinite(after) else "")
        for label, distance, after in zip(labels, first, second, strict=True)
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
