"""
Which buildings stay candidates: use, area, height, zones to keep away from.

Every building that is left out is listed with its reason. What is not known never
passes: a building without a height is left out where a height is asked for.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import shapely

from gridsite.errors import ConfigError, DataError
from gridsite.places.columns import text_labels, unique_labels
from gridsite.places.layers import lonlat, metric_crs, read_layer, source_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    import geopandas as gpd
    from numpy.typing import NDArray

    from gridsite.places.layers import LayerSource

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Exclusion:
    """
    Zones that no chosen building may touch or come near.

    Attributes
    ----------
    source : path or geopandas.GeoDataFrame
        Layer of any geometries: flood or heritage areas, bedrooms of neighbours.
    name : str
        What it is called in reasons.
    distance_m : float
        Distance to keep, 0 where touching is what counts. [m]
    layer : str, optional
        Layer to read where the file holds several.
    """

    source: LayerSource
    name: str
    distance_m: float = 0.0
    layer: str | None = None


def select_buildings(
    buildings: gpd.GeoDataFrame,
    *,
    uses: Sequence[str] | None = None,
    max_area_m2: float | None = None,
    min_height_m: float | None = None,
    max_height_m: float | None = None,
    exclusions: Sequence[Exclusion] = (),
) -> gpd.GeoDataFrame:
    """
    Return the buildings that stay candidates.

    Parameters
    ----------
    buildings : geopandas.GeoDataFrame
        Table ``buildings``.
    uses : sequence of str, optional
        Uses that may stay.
    max_area_m2 : float, optional
        Largest roof. [m2]
    min_height_m, max_height_m : float, optional
        Least and largest ``height_m``. [m]
    exclusions : sequence of Exclusion, optional
        Zones to keep away from.

    Returns
    -------
    geopandas.GeoDataFrame
        Those that stay, in order. ``attrs["left_out"]`` has ``building_id, reason`` of
        the others (the first reason that holds), ``attrs["report"]`` their number.

    Raises
    ------
    ConfigError
        If a bound or a distance is out of range.
    DataError
        If a column is missing, no use is known, or no building is left.

    Examples
    --------
    >>> import geopandas as gpd
    >>> roofs = gpd.GeoDataFrame(
    ...     {"building_id": ["a", "b"], "use": ["house", "church"]},
    ...     geometry=[shapely.box(7.8, 48.4, 7.81, 48.41)] * 2,
    ...     crs=4326,
    ... )
    >>> kept = select_buildings(roofs, uses=["house"])
    >>> kept["building_id"].tolist(), kept.attrs["left_out"]
    (['a'], [{'building_id': 'b', 'reason': "use 'church'"}])
    """
    reason = pd.Series("", index=buildings.index, dtype=object)
    if uses is not None:
        other = ~buildings["use"].isin(list(uses))
        reason[other] = "use " + buildings["use"][other].map(repr)
    bounds = [
        ("roof_area_m2", None, max_area_m2),
        ("height_m", min_height_m, max_height_m),
    ]
    for column, low, high in bounds:
        _outside(buildings, column, low, high, reason)
    for zone in exclusions:
        _near(buildings, zone, reason)
    return _kept(buildings, reason)


def _outside(
    buildings: gpd.GeoDataFrame,
    column: str,
    low: float | None,
    high: float | None,
    reason: pd.Series[str],
) -> None:
    for name, bound in (("least", low), ("largest", high)):
        if bound is not None and not 0.0 <= bound < np.inf:
            msg = f"{name} {column} must be finite and at least 0, got {bound!r}"
            raise ConfigError(msg)
    if low is None and high is None:
        return
    if column not in buildings:
        msg = f"buildings: no column {column!r}; give it, or ask for no {column}"
        raise DataError(msg)
    values = pd.to_numeric(buildings[column], errors="coerce")
    free = reason == ""
    reason[free & values.isna()] = f"{column} is not known"
    low, high = low or 0.0, np.inf if high is None else high
    out = free & ((values < low) | (values > high))
    allowed = f" is outside {low:g} to {high:g}"
    reason[out] = values[out].map(lambda value: f"{column} {value:g}{allowed}")


def _near(buildings: gpd.GeoDataFrame, zone: Exclusion, reason: pd.Series[str]) -> None:
    if not 0.0 <= zone.distance_m < np.inf:
        msg = (
            f"exclusion {zone.name!r}: distance_m must be finite and at least 0, got "
            f"{zone.distance_m!r}"
        )
        raise ConfigError(msg)
    where = source_name(zone.source)
    areas = read_layer(zone.source, layer=zone.layer)
    empty = areas.geometry.isna() | areas.geometry.is_empty
    if empty.all():
        msg = (
            f"{where}: no geometry in any row; a zone that excludes nothing is no zone"
        )
        raise DataError(msg)
    shapes = lonlat(areas[~empty], where).geometry
    crs = metric_crs(pd.concat([buildings.geometry.to_crs(4326), shapes]), where=where)
    zones = shapely.make_valid(np.asarray(shapes.to_crs(crs).array))
    roofs = np.asarray(buildings.geometry.to_crs(crs).array)
    hit = _touching(roofs, zones, zone.distance_m) & (reason == "").to_numpy()
    near = f" within {zone.distance_m:g} m" if zone.distance_m else ""
    reason[hit] = f"{zone.name}{near}"


def _touching(
    roofs: NDArray[np.object_], zones: NDArray[np.object_], distance_m: float
) -> NDArray[np.bool_]:
    tree = shapely.STRtree(zones)
    if distance_m > 0.0:
        hit, _ = tree.query(roofs, predicate="dwithin", distance=distance_m)
    else:
        hit, _ = tree.query(roofs, predicate="intersects")
    found = np.zeros(len(roofs), dtype=bool)
    found[hit] = True
    return found


def _kept(buildings: gpd.GeoDataFrame, reason: pd.Series[str]) -> gpd.GeoDataFrame:
    stays = reason == ""
    if not stays.any():
        counts = reason.value_counts().head(3).to_dict()
        msg = f"buildings: the filters leave none of {len(buildings)}, first {counts}"
        raise DataError(msg)
    kept = buildings[stays].reset_index(drop=True)
    report = dict(buildings.attrs.get("report", {}))
    report["filtered"] = int((~stays).sum())
    LOGGER.info("filters leave %d of %d buildings", len(kept), len(buildings))
    kept.attrs["report"] = report
    kept.attrs["left_out"] = [
        {"building_id": name, "reason": why}
        for name, why in zip(
            buildings["building_id"][~stays], reason[~stays], strict=True
        )
    ]
    return kept


def merge_attributes(
    buildings: gpd.GeoDataFrame,
    attributes: pd.DataFrame,
    *,
    id_column: str = "building_id",
) -> gpd.GeoDataFrame:
    """
    Add columns of a table of addresses, uses or heights to the buildings.

    Parameters
    ----------
    buildings : geopandas.GeoDataFrame
        Table ``buildings``.
    attributes : pandas.DataFrame or geopandas.GeoDataFrame
        One row per building by ``id_column``, or a layer of points (addresses): a
        building takes the value of the points inside it where they agree.
    id_column : str, default "building_id"
        Column of ``attributes`` that names the building; not used with points.

    Returns
    -------
    geopandas.GeoDataFrame
        The buildings, one row each as before. Given values replace those that are
        there; a building that is not named keeps its own. With points ``addresses``
        counts them. ``attrs["report"]`` counts ``attributes_used``,
        ``attributes_unknown`` and ``attributes_disagree``.

    Raises
    ------
    DataError
        If a label is missing or stands twice.

    Examples
    --------
    >>> roofs = pd.DataFrame({"building_id": ["a", "b"], "use": "unknown"})
    >>> given = pd.DataFrame({"building_id": ["b"], "use": ["house"]})
    >>> merge_attributes(roofs, given)["use"].tolist()
    ['unknown', 'house']
    """
    disagree = 0
    result = buildings.copy()
    if hasattr(attributes, "geom_type"):
        table, disagree = _inside(buildings, attributes)
        result["addresses"] = 0
    else:
        table = attributes.drop(columns=id_column, errors="ignore")
        table.index = pd.Index(unique_labels(attributes, id_column, "attributes"))
    row = pd.Index(buildings["building_id"]).get_indexer(table.index)
    known = table[row >= 0]
    for column in known:
        if column in ("geometry", "building_id"):
            continue
        values = known[column].to_numpy()
        given = pd.notna(values)
        if column not in result:
            result[column] = pd.Series(
                None if values.dtype == object else np.nan, index=result.index
            ).astype(object if values.dtype == object else float)
        place = result.columns.get_loc(column)
        result.iloc[row[row >= 0][given], place] = values[given]
    report = dict(buildings.attrs.get("report", {}))
    report |= {
        "attributes_used": len(known),
        "attributes_unknown": int((row < 0).sum()),
        "attributes_disagree": disagree,
    }
    result.attrs["report"] = report
    return result


def _inside(
    buildings: gpd.GeoDataFrame, points: gpd.GeoDataFrame
) -> tuple[pd.DataFrame, int]:
    """Return one row per building with points inside, and how many disagree."""
    dots = lonlat(points.reset_index(drop=True), "attributes")
    tree = shapely.STRtree(dots.geometry.array)
    roof, dot = tree.query(np.asarray(buildings.geometry.array), predicate="intersects")
    names = text_labels(buildings, "building_id", "buildings").to_numpy()[roof]
    rows = dots.drop(columns="geometry").iloc[dot].reset_index(drop=True)
    grouped = rows.groupby(names)
    kinds = grouped.nunique()
    table = grouped.first().where(kinds == 1)
    disagree = int((kinds > 1).any(axis=1).sum())
    table["addresses"] = pd.Series(names).groupby(names).size()
    return table, disagree
