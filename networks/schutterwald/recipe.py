"""
Make the data of the Schutterwald study from pandapower and SimBench.

``python networks/schutterwald/recipe.py`` writes the three Parquet files beside
this script; the same package versions and seed give the same data. It needs
the extra ``gridsite[simbench]``. Buildings and users are generated.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pandapower.networks
import pandas as pd
import pyarrow.parquet as pq
import shapely

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOLDER = Path(__file__).parent
SEED = 7746
METRES = "EPSG:25832"

#: Household shapes of SimBench. A sixth, H0-H, is the shape of no load in
#: SimBench's own grids and is flat by day as no single household is: left out.
SHAPES = ("H0-A", "H0-B", "H0-C", "H0-G", "H0-L")

SIDE_M = (8.0, 14.0)  # assumption: sides of a detached house
GAP_M = 0.2  # free space left between two generated houses
BUSINESS_KW = 10.0  # flat load in the file from which a load is called a business
PEOPLE_PER_HOUSEHOLD = 2.5  # assumption
PEOPLE_PER_BUSINESS = 10.0  # assumption

ODBL = "Open Database License 1.0, https://opendatacommons.org/licenses/odbl/1-0/"
FROM_SIMBENCH = {
    "source": "SimBench 1.6.3, LoadProfile.csv, columns H0-*_pload, 2016",
    "attribution": (
        "Contains information from the database SimBench, made available under "
        "the Open Database License 1.0 by University of Kassel, Fraunhofer IEE, "
        "RWTH Aachen University and TU Dortmund, https://simbench.net"
    ),
    "licence": f"{ODBL}; contents: Database Contents License 1.0",
    "changes": (
        "each hour is the maximum of its four quarter-hours; local time with "
        "daylight saving was turned into the fixed offset +01:00; float32"
    ),
    "definition": "1 is the largest quarter-hour mean of the household in 2016",
}
FROM_FEEDER = {
    "source": "pandapower 3.5.6, networks.lv_schutterwald(), bus and line positions",
    "attribution": (
        "(c) OpenStreetMap contributors; network of the study in Energies 2020, "
        "13(16), 4052, https://doi.org/10.3390/en13164052, as shipped by pandapower"
    ),
    "licence": ODBL,
    "generated": "geometry, sides and people are generated: no real house is shown",
}


def quarter_hours() -> pd.DataFrame:
    """Return SimBench's household shapes by quarter-hour, at +01:00."""
    import simbench  # noqa: PLC0415 - an optional extra

    path = Path(simbench.__file__).parent / "networks"
    path = path / "1-complete_data-mixed-all-0-sw" / "LoadProfile.csv"
    columns = {f"{name}_pload": name for name in SHAPES}
    table = pd.read_csv(path, sep=";", usecols=["time", *columns])
    table = table.rename(columns=columns)
    clock = pd.to_datetime(table.pop("time"), format="%d.%m.%Y %H:%M")
    zoned = clock.dt.tz_localize("Europe/Berlin", ambiguous="infer")
    table.index = pd.DatetimeIndex(zoned, name="time").tz_convert("+01:00")
    return table[list(SHAPES)] / table.max()


def household_shapes() -> tuple[pd.DataFrame, dict[str, float]]:
    """
    Return hourly shapes and the hours at value 1 that carry their energy.

    An hour is the maximum of its four quarter-hours, so that limits meet the
    quarter-hour peak; the energy is that of the quarter-hours, as metered.
    """
    quarters = quarter_hours()
    hours = {name: round(float(quarters[name].sum() / 4.0), 2) for name in SHAPES}
    return quarters.resample("h").max().astype("float32"), hours


def houses() -> gpd.GeoDataFrame:
    """Return each load with its position, line direction and use, by name."""
    net = pandapower.networks.lv_schutterwald()
    load = net.load.set_index("name").sort_index()
    point = shapely.from_geojson(net.bus.geo.loc[load["bus"]].to_numpy())
    line = net.line.assign(shape=shapely.from_geojson(net.line.geo.to_numpy()))
    ends = pd.concat([line.set_index("from_bus"), line.set_index("to_bus")])
    service = ends["shape"].loc[load["bus"]].to_numpy()
    frame = gpd.GeoDataFrame(
        {
            "building_id": load.index.to_numpy(dtype=object),
            "use": np.where(load["p_mw"] * 1e3 > BUSINESS_KW, "business", "household"),
        },
        geometry=point,
        crs=4326,
    )
    frame["service"] = gpd.GeoSeries(service, crs=4326).to_crs(METRES).to_numpy()
    return frame


def footprints(houses: gpd.GeoDataFrame, *, seed: int = SEED) -> gpd.GeoDataFrame:
    """
    Return a generated rectangle around each load.

    Sides are drawn between ``SIDE_M``; one side lies along the end of the
    service line; rectangles that would overlap shrink until none does.
    """
    rng = np.random.default_rng(seed)
    sides = rng.uniform(*SIDE_M, size=(len(houses), 2))
    centre = houses.geometry.to_crs(METRES)
    angle = [_direction(*pair) for pair in zip(centre, houses["service"], strict=True)]
    place = np.column_stack([centre.x, centre.y])
    scale = np.ones(len(houses))
    while True:
        shapes = _rectangles(place, sides * scale[:, None], np.array(angle))
        left, right = shapely.STRtree(shapes).query(
            shapely.buffer(shapes, GAP_M), predicate="intersects"
        )
        crowded = np.unique(left[left != right])
        if not len(crowded):
            break
        scale[crowded] *= 0.95
    geometry = gpd.GeoSeries(shapes, crs=METRES).to_crs(4326)
    return gpd.GeoDataFrame(
        {
            "building_id": houses["building_id"],
            "port_id": houses["building_id"],
            "use": houses["use"],
            "access_network": "fibre",
            "generated": True,
        },
        geometry=shapely.transform(geometry.to_numpy(), lambda xy: xy.round(7)),
        crs=4326,
    )


def users(houses: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Return the people assumed at each load, as points."""
    business = houses["use"] == "business"
    return gpd.GeoDataFrame(
        {
            "building_id": houses["building_id"],
            "use": houses["use"],
            "users": np.where(business, PEOPLE_PER_BUSINESS, PEOPLE_PER_HOUSEHOLD),
            "generated": True,
        },
        geometry=houses.geometry,
        crs=4326,
    )


def _direction(centre: shapely.Point, service: shapely.LineString) -> float:
    """Return the angle of the service line where it meets the house."""
    xy = shapely.get_coordinates(service)
    near = np.hypot(*(xy[[0, -1]] - [centre.x, centre.y]).T).argmin()
    (x0, y0), (x1, y1) = xy[:2] if near == 0 else xy[:-3:-1]
    return math.atan2(y1 - y0, x1 - x0)


def _rectangles(
    place: NDArray[np.float64], sides: NDArray[np.float64], angle: NDArray[np.float64]
) -> NDArray[Any]:
    """Return rectangles by centre, sides and angle."""
    corner = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2.0
    local = corner[None, :, :] * sides[:, None, :]
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    x = cos * local[..., 0] - sin * local[..., 1] + place[:, :1]
    y = sin * local[..., 0] + cos * local[..., 1] + place[:, 1:]
    return np.asarray(shapely.polygons(np.stack([x, y], axis=-1)))


def _write(table: pd.DataFrame, name: str, notes: dict[str, str]) -> None:
    """Write a table as small Parquet with its licence inside."""
    path = FOLDER / name
    table.to_parquet(path)
    arrow = pq.read_table(path)
    extra = {key.encode(): text.encode() for key, text in notes.items()}
    arrow = arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), **extra})
    pq.write_table(arrow, path, compression="zstd", compression_level=19)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    print(f"{name}: {len(table)} rows, {path.stat().st_size / 1e3:.0f} kB, {digest}")


def main() -> None:
    """Write the three files."""
    shapes, hours = household_shapes()
    notes = FROM_SIMBENCH | {"full_load_hours": json.dumps(hours)}
    _write(shapes, "household_shapes.parquet", notes)
    loads = houses()
    _write(footprints(loads), "footprints_generated.parquet", FROM_FEEDER)
    _write(users(loads), "users_generated.parquet", FROM_FEEDER)


if __name__ == "__main__":
    main()
