"""What is wrong with layers of roofs and of users, before a study takes them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import shapely

from gridsite.errors import ConfigError, GridsiteError
from gridsite.feeder.findings import Finding, flag
from gridsite.places.buildings import read_buildings
from gridsite.places.demand import demand_zones
from gridsite.places.layers import LayerSource, lonlat, read_layer, source_name
from gridsite.places.people import RASTERS, read_people

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import geopandas as gpd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: Largest roof that is one building. [m2]
ROOF_M2_MAX = 1e5

#: Distance of a layer's middle from the feeder beyond which they do not belong
#: together. [km]
FAR_KM = 10.0

#: Numbers that files use for "not told", and how often one must stand.
CODES = (-9999.0, -999.0, -99.0, -9.0, -1.0, 99.0, 999.0, 9999.0, 99999.0)
CODE_ROWS = 3

#: Words of the checks: severity, what is wrong (after "3 of 40"), and what to do.
PLACE_CHECKS = {
    "geometry missing": (
        "warning",
        "rows have no geometry",
        "they are dropped: draw them, or take them out",
    ),
    "no outlines": (
        "warning",
        "rows are points, lines or collections, no polygons, and are dropped",
        "give outlines of these buildings if they matter",
    ),
    "geometry broken": (
        "note",
        "outlines cross themselves or are not closed, and are repaired",
        "none needed, if the areas still look right",
    ),
    "roofs twice": (
        "note",
        "outlines stand twice, or nearly so, and count once",
        "none needed: the smallest id stays",
    ),
    "slivers": (
        "note",
        "roofs are below the smallest area and are dropped",
        "set min_area_m2 if small buildings matter",
    ),
    "large roofs": (
        "warning",
        f"roofs are above {ROOF_M2_MAX:g} m2",
        "blocks, parcels or a wrong scale: give the outlines of buildings",
    ),
    "users": (
        "error",
        "rows have no number of users, or one below 0",
        "enter 0 where nobody lives, and leave out rows that are not known",
    ),
    "codes": (
        "error",
        "rows hold a code instead of a number of users",
        (
            "leave these rows out, or name the codes of a grid with hidden: a code "
            "such as 99 for 'not told' is no number"
        ),
    ),
}


def check_roofs(
    source: LayerSource,
    *,
    layer: str | None = None,
    id_column: str | None = None,
    min_area_m2: float = 10.0,
    feeder: gpd.GeoDataFrame | None = None,
) -> list[Finding]:
    """
    Return what is wrong with a layer of roofs.

    Bad data are named, never raised: a file that cannot be read is one finding.

    Parameters
    ----------
    source : path or geopandas.GeoDataFrame
        As for `gridsite.places.buildings.read_buildings`, as the next three.
    layer : str, optional
        Layer of the file.
    id_column : str, optional
        Column that names the buildings.
    min_area_m2 : float, default 10.0
        Smallest roof that is kept. [m2]
    feeder : geopandas.GeoDataFrame, optional
        Connection points of the feeder, to compare places with.

    Returns
    -------
    list of Finding
        Faults of reading, of outlines, areas and places.

    Raises
    ------
    ConfigError
        If the file is missing, or a layer must be chosen.
    """

    def look() -> Iterator[Finding]:
        roofs = read_buildings(
            source, layer=layer, id_column=id_column, min_area_m2=min_area_m2
        )
        report = roofs.attrs["report"]
        for name, key in {
            "geometry missing": "no_geometry",
            "no outlines": "no_polygon",
            "geometry broken": "repaired",
            "roofs twice": "duplicates",
            "slivers": "slivers",
        }.items():
            if count := report[key]:
                severity, what, cure = PLACE_CHECKS[name]
                text = f"{count} of {report['read']} {what}"
                yield Finding(severity, name, "", count, text, cure)
        rows = pd.DataFrame({"label": roofs["building_id"].to_numpy()})
        area = pd.Series(roofs["roof_area_m2"].to_numpy(dtype=float))
        shown = area.map("{:.0f} m2".format)
        yield from flag(
            "large roofs", rows, area > ROOF_M2_MAX, shown, words=PLACE_CHECKS
        )
        yield from _apart("roofs", roofs, feeder)

    return _named("roofs", source, look)


def check_users(
    source: LayerSource,
    *,
    layer: str | None = None,
    users_column: str | None = None,
    users_per_point: float | None = None,
    hidden: Sequence[float] = (),
    power_columns: Sequence[str] = (),
    feeder: gpd.GeoDataFrame | None = None,
) -> list[Finding]:
    """
    Return what is wrong with a layer of users.

    Bad data are named, never raised: a file that cannot be read is one finding.

    Parameters
    ----------
    source : path or geopandas.GeoDataFrame
        As for `gridsite.places.demand.read_demand`, as the next four.
    layer : str, optional
        Layer of the file.
    users_column : str, optional
        Column with the number of users.
    users_per_point : float, optional
        Users of every point, where no column says so.
    hidden : sequence of float
        Codes of a grid of people that stand for a number that is not told.
    power_columns : sequence of str
        Columns with computing power, where the layer has that in place of users. [kW]
    feeder : geopandas.GeoDataFrame, optional
        Connection points of the feeder, to compare places with.

    Returns
    -------
    list of Finding
        Faults of reading, of numbers (codes for hidden values among them) and
        places.

    Raises
    ------
    ConfigError
        If the file is missing, or nothing says how many users there are.
    """

    def look() -> Iterator[Finding]:
        grid = Path(source_name(source)).suffix.lower() in RASTERS
        if grid:
            raw = read_people(Path(str(source)), hidden=hidden)
        else:
            raw = read_layer(source, layer=layer)
        known = [c for c in ("users", "weight") if c in raw]
        column = users_column or (known[0] if len(known) == 1 else None)
        bad = np.zeros(len(raw), dtype=bool)
        if users_per_point is None and column in raw:
            numbers = pd.to_numeric(raw[column], errors="coerce").to_numpy(dtype=float)
            rows = pd.DataFrame({"label": [f"row {i}" for i in raw.index]})
            shown = raw[column].astype(str).reset_index(drop=True)
            code = _codes(numbers)
            yield from flag("codes", rows, code, shown, words=PLACE_CHECKS)
            bad = ~(numbers >= 0.0) | np.isinf(numbers)
            yield from flag("users", rows, bad & ~code, shown, words=PLACE_CHECKS)
            bad |= code
        if not bad.any():
            zones = demand_zones(
                raw,
                users_column=users_column,
                users_per_point=users_per_point,
                sums=list(power_columns) or None,
            )
            sums = [f"sum {name}" for name in power_columns]
            total = float(zones[sums or ["users"]].to_numpy().sum())
            what = "kW of computing power" if sums else "users"
            text = f"{total:.6g} {what} in {len(raw)} rows of the layer"
            severity = "note" if total > 0.0 else "error"
            cure = "none needed" if total > 0.0 else "give users: nobody is served"
            unit = "kW" if sums else "users"
            yield Finding(severity, "total", "", total, text, cure, unit)
        yield from _apart("users", lonlat(raw, source_name(source)), feeder)

    return _named("demand", source, look)


def _named(
    what: str, source: LayerSource, look: Callable[[], Iterator[Finding]]
) -> list[Finding]:
    """Return findings; whatever is raised is one of them."""
    found: list[Finding] = []
    where = source_name(source)
    try:
        found.extend(look())
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001  bad data are named, never raised
        ours = isinstance(error, GridsiteError)
        said = " ".join(str(error).split())
        text = said if ours else f"{type(error).__name__}: {said}"
        cure = "mend what the message names: the layer cannot be used before"
        found.append(Finding("error", what, where, 1, text, cure))
    return found


def _codes(numbers: Floats) -> NDArray[np.bool_]:
    """Tell numbers that stand for "not told": often, and beyond all others."""
    hit = np.zeros(len(numbers), dtype=bool)
    for code in CODES:
        same = numbers == code
        others = numbers[~same & np.isfinite(numbers) & ~np.isin(numbers, CODES)]
        beyond = code < 0.0 or code > others.max(initial=0.0)
        if same.sum() >= CODE_ROWS and beyond:
            hit |= same
    return hit


def _apart(
    what: str, layer: gpd.GeoDataFrame, feeder: gpd.GeoDataFrame | None
) -> Iterator[Finding]:
    """Compare the place of a layer with that of the feeder, also swapped."""
    if feeder is None:
        return
    middle, grid = _middle(layer), _middle(feeder)
    if middle is None or grid is None:
        return
    far = _km(middle, grid)
    if far <= FAR_KM:
        return
    swapped = _km(middle[::-1], grid) <= FAR_KM
    text = (
        f"{what} lie around {middle[0]:.4f}, {middle[1]:.4f} (longitude, latitude), "
        f"the feeder around {grid[0]:.4f}, {grid[1]:.4f}: {far:.4g} km apart"
    )
    text += "; latitude and longitude are swapped" if swapped else ""
    cure = (
        "give longitude, then latitude, in degrees (EPSG:4326)"
        if swapped
        else "check the reference system of the layer, and that it is of this place"
    )
    yield Finding("warning", "far away", "", far, text, cure, "km")


def _middle(layer: gpd.GeoDataFrame) -> Floats | None:
    shapes = layer.geometry.to_crs(4326) if layer.crs else layer.geometry
    xy = shapely.get_coordinates(shapely.centroid(np.asarray(shapes.array)))
    xy = xy[np.isfinite(xy).all(axis=1)]
    return np.median(xy, axis=0) if len(xy) else None


def _km(a: Floats, b: Floats) -> float:
    east = (a[0] - b[0]) * np.cos(np.radians((a[1] + b[1]) / 2.0))
    return float(111.2 * np.hypot(east, a[1] - b[1]))
