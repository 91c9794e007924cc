"""
Roofs: read, clean, measure.

A roof is a polygon on the ground plan. Everything that is left out of a layer is
counted in ``attrs["report"]`` and logged; everything that cannot be trusted (no
CRS, labels that stand twice, no outline among points and lines) is refused.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import shapely

from gridsite.errors import ConfigError, CRSError, DataError
from gridsite.places.columns import text_labels, unique_labels
from gridsite.places.footprints import with_known_columns
from gridsite.places.layers import lonlat, metric_crs, read_layer, source_name
from gridsite.schemas import check_table

if TYPE_CHECKING:
    import geopandas as gpd
    from numpy.typing import NDArray

    from gridsite.places.layers import LayerSource

__all__ = ["metric_crs", "read_buildings"]

LOGGER = logging.getLogger(__name__)

#: Share of the joint area from which two outlines are the same building. [-]
SAME_SHARE = 0.9

_COLUMNS = ["building_id", "roof_area_m2", "use", "access_network"]


def read_buildings(
    source: LayerSource,
    *,
    layer: str | None = None,
    id_column: str | None = None,
    use_column: str | None = None,
    access_column: str | None = None,
    default_use: str = "unknown",
    default_access: str = "unknown",
    min_area_m2: float = 10.0,
) -> gpd.GeoDataFrame:
    """
    Read building footprints, repair them and measure their roofs.

    Geometry is made valid and two-dimensional; rows without geometry, rows that are
    no polygon (OpenStreetMap tags points and open lines as buildings too), duplicates
    (the same outline again, or one that shares ``SAME_SHARE`` of the area of both:
    the smallest ``building_id`` stays) and roofs below ``min_area_m2`` are dropped
    and counted.

    Parameters
    ----------
    source : path or geopandas.GeoDataFrame
        Layer with polygons, in any CRS but Web Mercator (see ``read_layer``).
    layer : str, optional
        Layer to read where a file holds several.
    id_column : str, optional
        Column that names the buildings; without it ``building_id`` if the layer
        has one, else the index.
    use_column : str, optional
        Column with the use of the building; without it ``use`` if there is one.
    access_column : str, optional
        Column with the access technology; without it ``access_network`` if there
        is one.
    default_use : str, default "unknown"
        Use of buildings that name none.
    default_access : str, default "unknown"
        Access technology of buildings that name none.
    min_area_m2 : float, default 10.0
        Smallest roof that is kept. [m2]

    Returns
    -------
    geopandas.GeoDataFrame
        Table ``buildings`` in EPSG:4326, in the order of the source, with its other
        columns behind; ``attrs["report"]`` counts the rows ``read``, ``no_geometry``,
        ``no_polygon``, ``repaired``, ``duplicates``, ``slivers`` and ``kept``;
        ``attrs["format"]`` names the source where its columns are known
        (`gridsite.places.footprints`).

    Raises
    ------
    ConfigError
        If the file is missing or an option is out of range.
    CRSError
        If the layer has no CRS, is in Web Mercator, lies outside the globe, or is
        too wide to be measured.
    DataError
        If there are no footprints, geometries but no polygon among them, or labels
        that are missing or stand twice.

    See Also
    --------
    gridsite.places.connect.connect_buildings : Finds each building's connection.

    Examples
    --------
    >>> import geopandas as gpd
    >>> square = shapely.box(7.89, 48.45, 7.8902, 48.4501)
    >>> roofs = gpd.GeoDataFrame({"osm": ["w1"]}, geometry=[square], crs=4326)
    >>> read_buildings(roofs, id_column="osm")["roof_area_m2"].round(1).tolist()
    [164.5]
    """
    if not (math.isfinite(min_area_m2) and min_area_m2 >= 0.0):
        msg = f"min_area_m2 must be finite and at least 0, got {min_area_m2!r}"
        raise ConfigError(msg)
    where = source_name(source)
    raw = read_layer(source, layer=layer)
    _check_measurable(raw, where)
    outlines = _outlines(raw, where)
    no_polygon = len(raw) - len(outlines)
    raw, known = with_known_columns(outlines)
    table = raw.reset_index(drop=True)
    if id_column is None and "building_id" not in raw:
        table["building_id"] = raw.index.astype(str)
    table["building_id"] = text_labels(table, id_column or "building_id", where)
    table["use"] = _texts(table, use_column, "use", default_use, where)
    table["access_network"] = _texts(
        table, access_column, "access_network", default_access, where
    )
    result = _clean(table, where, min_area_m2, no_polygon=no_polygon)
    result.attrs["format"] = known
    return result


def _clean(
    table: gpd.GeoDataFrame, where: str, min_area_m2: float, *, no_polygon: int
) -> gpd.GeoDataFrame:
    located = ~(table.geometry.isna() | table.geometry.is_empty)
    roofs = lonlat(table[located], where)
    broken = ~roofs.geometry.is_valid
    roofs["geometry"] = shapely.make_valid(
        shapely.force_2d(roofs.geometry.array), method="structure", keep_collapsed=False
    )
    again = _repeated(roofs)
    solid = roofs[~again & ~roofs.geometry.is_empty]
    unique_labels(solid, "building_id", where)
    area_m2 = _area_m2(solid, where)
    kept = solid.assign(roof_area_m2=area_m2)[(area_m2 >= min_area_m2) & (area_m2 > 0)]
    report = {
        "source": where,
        "read": len(table) + no_polygon,
        "no_geometry": int((~located).sum()),
        "no_polygon": no_polygon,
        "repaired": int(broken.sum()),
        "duplicates": int(again.sum()),
        "slivers": int((~again).sum()) - len(kept),
        "kept": len(kept),
    }
    LOGGER.info("roofs: %s", report)
    if kept.empty:
        msg = (
            f"{where}: no roof of at least {min_area_m2:g} m2 is left ({report}); are "
            "degrees labelled as metres? mend the label with set_crs(...)"
        )
        raise DataError(msg)
    others = [c for c in kept if c not in {*_COLUMNS, "geometry"}]
    result = kept[[*_COLUMNS, "geometry", *others]].reset_index(drop=True)
    result.attrs["report"] = report
    return check_table("buildings", result)


def _check_measurable(raw: gpd.GeoDataFrame, where: str) -> None:
    # Areas in Web Mercator are 2.3 times too large at 48 degrees north, and a layer
    # in it is more often mislabelled than meant.
    operation = raw.crs.coordinate_operation if raw.crs is not None else None
    if operation is not None and "Pseudo Mercator" in operation.method_name:
        msg = (
            f"{where}: {raw.crs.to_string()} (Web Mercator) is unfit for measuring; "
            "convert with to_crs(...) if that is what the coordinates are in, else "
            "correct the label with set_crs(..., allow_override=True)"
        )
        raise CRSError(msg)


def _outlines(raw: gpd.GeoDataFrame, where: str) -> gpd.GeoDataFrame:
    # Rows without geometry stay: they are counted apart.
    bare = raw.geometry.isna() | raw.geometry.is_empty
    polygon = raw.geometry.geom_type.isin(["Polygon", "MultiPolygon"])
    if polygon.any() or bare.all():
        return raw[polygon | bare]
    found = raw.geometry[~bare].geom_type.value_counts().to_dict()
    msg = (
        f"{where}: footprints must be polygons, found {found}; points and lines "
        "have no roof area, so give the layer of outlines"
    )
    raise DataError(msg)


def _texts(
    table: pd.DataFrame, column: str | None, name: str, default: str, where: str
) -> pd.Series[str]:
    # The column as text, with the default where it is empty or not there at all.
    if column is not None and column not in table:
        msg = f"{where}: no column {column!r}; there are {list(table.columns)}"
        raise DataError(msg)
    if (column or name) not in table:
        return pd.Series(default, index=table.index)
    values = table[column or name]
    empty = values.isna() | (values.astype(str).str.strip() == "")
    return values.astype(str).mask(empty, default)


def _repeated(roofs: gpd.GeoDataFrame) -> NDArray[np.bool_]:
    # True for every outline but the one with the smallest label.
    outline = shapely.to_wkb(shapely.normalize(roofs.geometry.array))
    labelled = pd.DataFrame({"id": roofs["building_id"], "outline": outline})
    labelled["row"] = np.arange(len(roofs))
    ordered = labelled.sort_values("id", kind="stable")
    again = np.zeros(len(roofs), dtype=bool)
    again[ordered["row"][ordered.duplicated("outline").to_numpy()]] = True
    rank = np.empty(len(roofs), dtype=np.intp)
    rank[ordered["row"]] = np.arange(len(roofs))
    first, second = _same(np.asarray(roofs.geometry.array), again)
    swap = rank[first] > rank[second]
    first, second = np.where(swap, second, first), np.where(swap, first, second)
    for one, other in sorted(
        zip(first.tolist(), second.tolist(), strict=True), key=lambda p: rank[p[0]]
    ):
        again[other] |= not again[one]
    return again


def _same(
    shapes: NDArray[np.object_], again: NDArray[np.bool_]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    # Pairs of outlines that cover nearly the same ground; exact duplicates are out.
    rows = np.flatnonzero(~again & ~shapely.is_empty(shapes))
    kept = shapes[rows]
    area, tree = shapely.area(kept), shapely.STRtree(kept)
    inner = shapely.point_on_surface(kept)
    left, right = tree.query(inner, predicate="intersects")
    size = np.minimum(area[left], area[right]) / np.maximum(area[left], area[right])
    close = (left != right) & (size >= SAME_SHARE)
    left, right = left[close], right[close]
    common = shapely.area(shapely.intersection(kept[left], kept[right]))
    share = common / (area[left] + area[right] - common)
    pairs = np.sort(np.stack([left, right])[:, share >= SAME_SHARE], axis=0)
    first, second = np.unique(pairs, axis=1)
    return rows[first], rows[second]


def _area_m2(roofs: gpd.GeoDataFrame, where: str) -> NDArray[np.float64]:
    if roofs.empty:
        return np.zeros(0)
    crs = metric_crs(roofs, where=where)
    return np.asarray(roofs.geometry.to_crs(crs).area, dtype=float)
