"""
Cells that users are gathered in: H3 hexagons, or squares in projected metres.

A point falls into the cell it lies in. A polygon is spread over H3 cells evenly, over
those whose centres it holds (or into that of an inner point where it holds none), and
over squares by area. What is spread adds up to what was given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import geopandas as gpd
import h3
import numpy as np
import shapely

from gridsite.errors import ConfigError, DataError
from gridsite.places.layers import LONLAT, lonlat, metric_crs

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Most cells that one polygon may be spread over.
MAX_CELLS = 1_000_000

_KM_PER_DEGREE = 111.32


@dataclass(frozen=True, kw_only=True)
class Spread:
    """
    Which share of each row of a layer falls into which cell.

    Attributes
    ----------
    row : numpy.ndarray of int
        Row of the layer.
    cell : numpy.ndarray of object
        Name of the cell.
    share : numpy.ndarray of float
        Share of the row; adds up to 1 per row. [-]
    outlines : dict of str to shapely.Polygon
        Outline of each cell in EPSG:4326.
    """

    row: NDArray[np.intp]
    cell: NDArray[np.object_]
    share: NDArray[np.float64]
    outlines: dict[str, shapely.Polygon]


def h3_cells(layer: gpd.GeoDataFrame, resolution: int) -> Spread:
    """
    Spread the rows of a layer over H3 cells.

    Parameters
    ----------
    layer : geopandas.GeoDataFrame
        Points or polygons in EPSG:4326.
    resolution : int
        0 to 15.

    Returns
    -------
    Spread
        Cells named by their H3 index.

    Raises
    ------
    ConfigError
        If the resolution is out of range or too fine for a polygon.
    DataError
        If a geometry is neither point nor polygon.
    """
    if resolution not in range(16):
        msg = f"cell 'h3' needs a resolution 0 to 15, got {resolution!r}"
        raise ConfigError(msg)
    cells = [_hexagons(shape, resolution) for shape in layer.geometry.array]
    count = np.array([len(names) for names in cells], dtype=int)
    names = np.concatenate(cells).astype(object)
    return Spread(
        row=np.repeat(np.arange(len(cells)), count),
        cell=names,
        share=np.repeat(1.0 / count, count),
        outlines={
            name: shapely.Polygon([(x, y) for y, x in h3.cell_to_boundary(name)])
            for name in np.unique(names.astype(str)).tolist()
        },
    )


def _hexagons(shape: shapely.Geometry, resolution: int) -> list[str]:
    if shape.geom_type == "Point":
        return [h3.latlng_to_cell(shape.y, shape.x, resolution)]
    _check_kind(shape.geom_type)
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


def square_cells(layer: gpd.GeoDataFrame, size_m: float) -> Spread:
    """
    Spread the rows of a layer over squares.

    Parameters
    ----------
    layer : geopandas.GeoDataFrame
        Points or polygons in EPSG:4326.
    size_m : float
        Side of a square. [m]

    Returns
    -------
    Spread
        Cells named by their column and row in the equal-area projection around the
        layer (`gridsite.places.layers.metric_crs`), counted from its middle.

    Raises
    ------
    ConfigError
        If the size is not positive, or too small for a polygon.
    DataError
        If a geometry is neither point nor polygon.
    """
    if not 0.0 < size_m < np.inf:
        msg = f"cell 'square' needs size_m above 0, got {size_m!r}"
        raise ConfigError(msg)
    crs = metric_crs(layer, where="users")
    shapes = np.asarray(layer.geometry.to_crs(crs).array)
    is_point = shapely.get_type_id(shapes) == shapely.GeometryType.POINT
    row = np.flatnonzero(is_point)
    xy = np.floor(shapely.get_coordinates(shapes[is_point]) / size_m).astype(int)
    for kind in layer.geometry[~is_point].geom_type.unique():
        _check_kind(kind)
    area_row, area_xy, part = _squares(shapes, np.flatnonzero(~is_point), size_m)
    cell = np.concatenate([xy, area_xy])
    each, which = np.unique(cell, axis=0, return_inverse=True)
    names = [f"{size_m:g} m, column {x}, row {y}" for x, y in each.tolist()]
    low = each * size_m
    boxes = gpd.GeoSeries(shapely.box(*low.T, *(low + size_m).T), crs=crs)
    return Spread(
        row=np.concatenate([row, area_row]),
        cell=np.array(names, dtype=object)[which.ravel()],
        share=np.concatenate([np.ones(len(row)), part]),
        outlines=dict(zip(names, boxes.to_crs(LONLAT).array, strict=True)),
    )


def _squares(
    shapes: NDArray[np.object_], row: NDArray[np.intp], size_m: float
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """Return polygon, column and row, and share of each square under polygons."""
    shape = shapely.make_valid(shapes[row])
    bounds = np.floor(shapely.bounds(shape) / size_m)
    wide = bounds[:, 2:] - bounds[:, :2] + 1
    count = wide.prod(axis=1)
    if count.sum() > 10 * MAX_CELLS or count.max(initial=0) > MAX_CELLS:
        msg = f"users: polygons lie under {count.sum():.0f} squares; raise size_m"
        raise ConfigError(msg)
    each = np.repeat(np.arange(len(row)), count.astype(int))
    at = np.arange(len(each)) - np.repeat(np.cumsum(count) - count, count.astype(int))
    tall = wide[each, 1]
    x, y = bounds[each, 0] + at // tall, bounds[each, 1] + at % tall
    corner = np.stack([x, y], axis=1) * size_m
    boxes = shapely.box(*corner.T, *(corner + size_m).T)
    area = shapely.area(shapely.intersection(boxes, shape[each]))
    total = np.bincount(each, area, len(row))
    flat = np.flatnonzero(~(total > 0.0))
    hit = area > 0.0
    inner = shapely.get_coordinates(shapely.point_on_surface(shape[flat]))
    return (
        np.concatenate([row[each[hit]], row[flat]]),
        np.concatenate(
            [np.stack([x, y], axis=1)[hit], np.floor(inner / size_m)]
        ).astype(int),
        np.concatenate([area[hit] / total[each[hit]], np.ones(len(flat))]),
    )


def _check_kind(kind: str) -> None:
    if kind not in ("Polygon", "MultiPolygon"):
        msg = f"users: must be points or polygons, found a {kind}"
        raise DataError(msg)


def cell_layer(spread: Spread, names: list[str]) -> gpd.GeoDataFrame:
    """
    Return the outlines of some cells.

    Parameters
    ----------
    spread : Spread
        Where they stand.
    names : list of str
        Which.

    Returns
    -------
    geopandas.GeoDataFrame
        ``zone_id, geometry`` in EPSG:4326.

    Raises
    ------
    DataError
        If a cell is split by the antimeridian.
    """
    table = gpd.GeoDataFrame(
        {"zone_id": names},
        geometry=[spread.outlines[name] for name in names],
        crs=LONLAT,
    )
    return lonlat(table, "cells")
