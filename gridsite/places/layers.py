"""Read layers of geometries and check their coordinates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyogrio
import shapely
from pyproj import CRS, Proj

from gridsite.errors import ConfigError, CRSError, DataError
from gridsite.places.columns import first_rows
from gridsite.untrusted import check_archive, check_csv, check_size, parquet_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: What a reader takes: a file of geometries or a layer that is already in memory.
LayerSource: TypeAlias = "str | Path | gpd.GeoDataFrame"

#: Longitude and latitude on WGS 84, the CRS of every layer that leaves this package.
LONLAT = "EPSG:4326"

#: Largest layer that is read, checked before any feature is loaded.
MAX_FEATURES = 5_000_000

#: Largest scale error of a CRS in which areas and lengths are measured [-].
MAX_SCALE_ERROR = 1e-3

#: Largest file, and largest sum of an archive, read through GDAL. [byte]
FILE_BYTES = 8 * 2**30

_PARQUET = (".parquet", ".geoparquet")
_LONGITUDES = ("longitude", "lon", "lng")
_LATITUDES = ("latitude", "lat")


def source_name(source: LayerSource) -> str:
    """
    Return how messages call a source.

    Parameters
    ----------
    source : path or geopandas.GeoDataFrame
        What a reader was given.

    Returns
    -------
    str
        The path, or ``layer in memory``.

    Examples
    --------
    >>> source_name("roofs.gpkg")
    'roofs.gpkg'
    """
    return str(source) if isinstance(source, str | Path) else "layer in memory"


def read_layer(source: LayerSource, *, layer: str | None = None) -> gpd.GeoDataFrame:
    """
    Read a layer of geometries as it stands in its file.

    Parameters
    ----------
    source : path or geopandas.GeoDataFrame
        GeoParquet and CSV are known by their suffix, everything else is read
        through GDAL (GeoPackage, GeoJSON, FlatGeobuf, Shapefile, ...). A CSV is a
        layer on WGS 84: points by columns ``longitude`` and ``latitude`` (or ``lon``,
        ``lat``), or a column ``geometry`` of well-known text; other columns stay text.
    layer : str, optional
        Layer to read where a file holds several.

    Returns
    -------
    geopandas.GeoDataFrame
        The layer in its own CRS, with at least one row.

    Raises
    ------
    ConfigError
        If the file is missing, or holds several layers and none is chosen.
    DataError
        If it cannot be read, is empty, has no geometry or too many features.

    Examples
    --------
    >>> read_layer("roofs.gpkg")
    Traceback (most recent call last):
    ...
    gridsite.errors.ConfigError: roofs.gpkg: no such file
    """
    where = source_name(source)
    if isinstance(source, str | Path):
        table = _read_file(Path(source), layer)
    elif isinstance(source, gpd.GeoDataFrame):
        table = source.copy()
    else:
        msg = f"expected a path or a GeoDataFrame, got {type(source).__name__}"
        raise ConfigError(msg)
    if table.active_geometry_name is None:
        msg = f"{where}: the layer has no geometry column; give one with set_geometry"
        raise DataError(msg)
    if table.empty:
        msg = f"{where}: the layer has no rows"
        raise DataError(msg)
    if table.active_geometry_name == "geometry":
        return table
    return table.drop(columns="geometry", errors="ignore").rename_geometry("geometry")


def _read_file(path: Path, layer: str | None) -> gpd.GeoDataFrame:
    if not path.exists():
        msg = f"{path}: no such file"
        raise ConfigError(msg)
    try:
        if path.suffix.lower() == ".csv" or path.name.lower().endswith(".csv.gz"):
            return _read_points(path)
        if path.suffix.lower() in _PARQUET:
            _check_size(path, parquet_rows(path))
            return gpd.read_parquet(path)
        check_size(path, FILE_BYTES)
        if path.suffix.lower() == ".zip":
            check_archive(path, FILE_BYTES)
        name = layer or _only_layer(path)
        info = pyogrio.read_info(path, layer=name)
        _check_size(path, info["features"], driver=info["driver"])
        return gpd.read_file(path, layer=name)
    except (DataError, ConfigError):
        raise
    except (
        ValueError,
        OSError,
        pa.ArrowException,
        RuntimeError,
        shapely.errors.ShapelyError,
    ) as error:
        reason = str(error).splitlines()[0]
        msg = f"{path}: cannot be read as a layer of geometries: {reason}"
        raise DataError(msg) from error


def _only_layer(path: Path) -> str:
    names = [str(name) for name, kind in pyogrio.list_layers(path) if kind]
    if len(names) == 1:
        return names[0]
    msg = f"{path}: holds {len(names)} layers with geometry; choose layer= of {names}"
    raise ConfigError(msg)


def _check_size(path: Path, features: int, *, driver: str = "") -> None:
    if driver == "OGR_VRT":
        msg = f"{path}: refers to other files (VRT); give the file itself"
        raise DataError(msg)
    if features > MAX_FEATURES:
        msg = f"{path}: {features} features, more than {MAX_FEATURES}; split the file"
        raise DataError(msg)


def _read_points(path: Path) -> gpd.GeoDataFrame:
    check_csv(path)
    table = pd.read_csv(
        path, dtype=str, keep_default_na=False, nrows=MAX_FEATURES + 1, encoding="utf-8"
    )
    _check_size(path, len(table))
    names = {str(column).lower(): column for column in table.columns}
    if "geometry" in names:  # Google Open Buildings: outlines as well-known text
        shapes = gpd.GeoSeries.from_wkt(table[names["geometry"]])
        return gpd.GeoDataFrame(
            table.drop(columns=names["geometry"]), geometry=shapes, crs=LONLAT
        )
    x = next((names[name] for name in _LONGITUDES if name in names), None)
    y = next((names[name] for name in _LATITUDES if name in names), None)
    if x is None or y is None:
        msg = f"{path}: needs columns longitude and latitude, has {list(table.columns)}"
        raise DataError(msg)
    lon, lat = (pd.to_numeric(table[c], errors="coerce") for c in (x, y))
    return gpd.GeoDataFrame(
        table.drop(columns=[x, y]),
        geometry=gpd.points_from_xy(lon, lat),
        crs=LONLAT,
    )


def lonlat(layer: gpd.GeoDataFrame, where: str) -> gpd.GeoDataFrame:
    """
    Return a layer in longitude and latitude after checking its coordinates.

    Parameters
    ----------
    layer : geopandas.GeoDataFrame
        Layer in any CRS.
    where : str
        What messages call the layer.

    Returns
    -------
    geopandas.GeoDataFrame
        The layer in EPSG:4326, index unchanged.

    Raises
    ------
    CRSError
        If the CRS is missing, or coordinates fall outside the globe.
    DataError
        If a geometry is missing, or spans more than 180 degrees of longitude.

    Notes
    -----
    Swapped longitude and latitude are seen only where a latitude passes 90.

    Examples
    --------
    >>> swapped = gpd.GeoSeries.from_xy([-37.8], [144.9], crs=4326).to_frame("geometry")
    >>> lonlat(swapped.set_geometry("geometry"), "users")
    Traceback (most recent call last):
    ...
    gridsite.errors.CRSError: users: 1 row(s) lie outside longitude ±180, latitude \
±90, first rows [0], first at x -37.8, y 144.9; swap the axes, or correct the CRS \
label with set_crs(..., allow_override=True)
    """
    if layer.crs is None:
        msg = (
            f"{where}: the layer has no CRS; name the one its coordinates are in with "
            "set_crs(...) (to_crs(...) converts and needs a known CRS first)"
        )
        raise CRSError(msg)
    geometry = layer.geometry.array
    missing = np.asarray(shapely.is_missing(geometry) | shapely.is_empty(geometry))
    if missing.any():
        msg = f"{where}: no geometry in {first_rows(layer.index[missing])}"
        raise DataError(msg)
    result = layer.to_crs(LONLAT)
    xy, row = shapely.get_coordinates(result.geometry.array, return_index=True)
    inside = (np.abs(xy[:, 0]) <= 180.0) & (np.abs(xy[:, 1]) <= 90.0)  # NaN: False
    if not inside.all():
        _refuse_outside(layer, where, np.unique(row[~inside]))
    bounds = result.bounds
    wide = (bounds["maxx"] - bounds["minx"] > 180.0).to_numpy()
    if wide.any():
        msg = f"{where}: split at the antimeridian: {first_rows(layer.index[wide])}"
        raise DataError(msg)
    return result


def _refuse_outside(
    layer: gpd.GeoDataFrame, where: str, rows: NDArray[np.intp]
) -> None:
    x, y = shapely.get_coordinates(layer.geometry.array[rows[:1]])[0]
    msg = (
        f"{where}: {len(rows)} row(s) lie outside longitude ±180, latitude ±90, "
        f"first rows {layer.index[rows[:3]].tolist()}, first at x {x:g}, y {y:g}; "
        "swap the axes, or correct the CRS label with "
        "set_crs(..., allow_override=True)"
    )
    raise CRSError(msg)


def metric_crs(layer: gpd.GeoDataFrame, *, where: str = "layer") -> CRS:
    """
    Return a CRS in metres, fit for areas and lengths of a layer.

    A Lambert azimuthal equal-area projection on WGS 84 around the layer's middle:
    areas are exact, and the scale error of lengths over the layer stays below
    0.1 %, which holds to about 570 km from the middle [1]_.

    Parameters
    ----------
    layer : geopandas.GeoDataFrame or geopandas.GeoSeries
        Layer in any CRS.
    where : str, default "layer"
        What messages call the layer.

    Returns
    -------
    pyproj.CRS
        The projection; its centre is rounded to 0.01 degrees, so that it does not
        depend on the order of the rows.

    Raises
    ------
    CRSError
        If the layer has no CRS, or is too wide for one projection.

    References
    ----------
    .. [1] J. P. Snyder, "Map Projections: A Working Manual", *USGS Professional
       Paper 1395*, 1987. :doi:`10.3133/pp1395`

    Examples
    --------
    >>> roofs = gpd.GeoSeries.from_xy([7.89, 7.90], [48.45, 48.46], crs=4326)
    >>> metric_crs(roofs).coordinate_operation.method_name
    'Lambert Azimuthal Equal Area'
    """
    if layer.crs is None:
        msg = f"{where}: no CRS; name it with set_crs(...) before measuring"
        raise CRSError(msg)
    bounds = layer.geometry.to_crs(LONLAT).bounds.to_numpy()
    lon = np.radians(bounds[:, [0, 0, 2, 2]].ravel())
    lat = np.radians(bounds[:, [1, 3, 1, 3]].ravel())
    sphere = np.stack(
        [np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)]
    )
    x, y, z = middle = sphere.mean(axis=1)
    crs = CRS.from_dict(
        {
            "proj": "laea",
            "lon_0": round(float(np.degrees(np.arctan2(y, x))), 2),
            "lat_0": round(float(np.degrees(np.arctan2(z, np.hypot(x, y)))), 2),
            "datum": "WGS84",
            "units": "m",
        }
    )
    far = int(np.argmin(middle @ sphere))
    factors = Proj(crs).get_factors(lon[far], lat[far], radians=True)
    scales = np.array([factors.tissot_semimajor, factors.tissot_semiminor])
    error = float(np.abs(scales - 1.0).max())
    if not error <= MAX_SCALE_ERROR:  # NaN never passes
        msg = (
            f"{where}: lengths would be off by {error:.2%} at longitude "
            f"{np.degrees(lon[far]):.2f}, latitude {np.degrees(lat[far]):.2f}; limit "
            f"{MAX_SCALE_ERROR:.1%}: split the layer by region, or check its CRS"
        )
        raise CRSError(msg)
    return crs
