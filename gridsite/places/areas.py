"""Areas of a layer: districts, municipalities, territories of utilities."""

from __future__ import annotations

from typing import TYPE_CHECKING

import geopandas as gpd
import numpy as np
import pandas as pd

from gridsite.errors import DataError
from gridsite.places.columns import first_rows
from gridsite.places.layers import LONLAT, lonlat, read_layer, source_name

if TYPE_CHECKING:
    from gridsite.places.layers import LayerSource


def read_areas(
    source: LayerSource, *, name_column: str, layer: str | None = None
) -> gpd.GeoDataFrame:
    """
    Read the areas of a layer; polygons of one name are one area.

    Parameters
    ----------
    source : path or geopandas.GeoDataFrame
        Polygons in any CRS that is named.
    name_column : str
        Column with the name of each area.
    layer : str, optional
        Layer to read where a file holds several.

    Returns
    -------
    geopandas.GeoDataFrame
        ``area, geometry`` in longitude and latitude, by name.

    Raises
    ------
    CRSError
        If the CRS is missing, or coordinates fall outside the globe.
    DataError
        If there is no such column, or a row is no polygon or has no name.
    """
    where = source_name(source)
    table = read_layer(source, layer=layer)
    if name_column not in table:
        msg = f"{where}: has no column {name_column!r}, only {list(table.columns[:5])}"
        raise DataError(msg)
    table = lonlat(table, where)
    shapes = table.geometry.make_valid()
    names = table[name_column].where(table[name_column].notna(), "").astype(str)
    for wrong, what in (
        (~shapes.geom_type.isin(["Polygon", "MultiPolygon"]), "no polygon"),
        (names.str.strip() == "", f"no name in {name_column!r}"),
    ):
        if wrong.any():
            msg = f"{where}: {what} in {first_rows(table.index[wrong])}"
            raise DataError(msg)
    areas = gpd.GeoDataFrame({"area": names.str.strip()}, geometry=shapes, crs=LONLAT)
    return areas.dissolve("area").reset_index()


def area_names(places: gpd.GeoDataFrame, areas: gpd.GeoDataFrame) -> pd.Series[str]:
    """
    Return the area that each place lies in.

    Parameters
    ----------
    places : geopandas.GeoDataFrame
        Points, or shapes that count with a point of theirs, in any CRS.
    areas : geopandas.GeoDataFrame
        As from `read_areas`.

    Returns
    -------
    pandas.Series of str
        On the index of ``places``; "" outside all areas. On the border of several
        the first by name.

    Raises
    ------
    DataError
        If a place lies within several areas: they overlap there.

    Examples
    --------
    >>> import shapely
    >>> west = gpd.GeoDataFrame(
    ...     {"area": ["west"]}, geometry=[shapely.box(0, 0, 1, 1)], crs=4326
    ... )
    >>> points = gpd.GeoDataFrame(
    ...     geometry=gpd.points_from_xy([0.5, 2.0], [0.5, 0.5]), crs=4326
    ... )
    >>> area_names(points, west).tolist()
    ['west', '']
    """
    points = places.geometry.representative_point().to_crs(LONLAT)
    tree = areas.sindex
    inside, _ = tree.query(points, predicate="within")
    twice = np.flatnonzero(np.bincount(inside, minlength=len(points)) > 1)
    if len(twice):
        msg = (
            f"areas overlap: {first_rows(places.index[twice])} lie within several of "
            "them; correct the layer"
        )
        raise DataError(msg)
    place, area = tree.query(points, predicate="intersects")
    found = pd.Series(areas["area"].to_numpy()[area], index=place)
    first = found.groupby(level=0).min().reindex(range(len(points)), fill_value="")
    return pd.Series(first.to_numpy(), index=places.index, name="area", dtype=object)
