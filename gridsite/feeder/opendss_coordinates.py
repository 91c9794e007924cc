"""Positions of the buses of an OpenDSS circuit, where they are on the Earth."""

from __future__ import annotations

from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyproj
from pyproj.exceptions import CRSError

from gridsite.errors import ConfigError
from gridsite.feeder.opendss_circuit import bus_of
from gridsite.feeder.opendss_ratings import METRES

#: A line's straight distance over its length, where degrees are degrees.
FITTING = (0.3, 1.5)


def bus_places(circuit: Any, *, crs: str | None, notes: list[str]) -> pd.DataFrame:  # noqa: ANN401
    """
    Return longitude and latitude by bus.

    Parameters
    ----------
    circuit : dss.ICircuit
        The circuit.
    crs : str or None
        Reference system of the coordinates; without it they count where they are
        degrees and distances fit the lengths of the lines.
    notes : list of str
        Why coordinates are not used is added here.

    Returns
    -------
    pandas.DataFrame
        ``lon``, ``lat`` by bus in lower case; NaN where there are none. [deg]
    """
    rows = [
        (str(bus.Name).lower(), bus.x, bus.y)
        for bus in circuit.ActiveBus
        if bus.Coorddefined
    ]
    found = pd.DataFrame(rows, columns=["bus", "x", "y"]).set_index("bus")
    places = pd.DataFrame(
        {"lon": found["x"].astype(float), "lat": found["y"].astype(float)}
    )
    if not len(places):
        return places
    if crs is not None:
        try:
            points = gpd.points_from_xy(places["lon"], places["lat"], crs=crs)
        except CRSError as error:
            msg = f"crs {crs!r} is not known ({error}); give one like EPSG:2229"
            raise ConfigError(msg) from error
        degrees = points.to_crs("EPSG:4326")
        return places.assign(lon=degrees.x, lat=degrees.y)
    inside = places["lon"].abs().le(180.0).all() and places["lat"].abs().le(90.0).all()
    ratio = _distance_over_length(circuit, places) if inside else float("nan")
    if FITTING[0] <= ratio <= FITTING[1]:
        return places
    notes.append(
        "bus coordinates are not degrees that fit the lines' lengths, so they are not "
        "used: give their crs to place them (--crs, crs of [feeder])"
    )
    return places.assign(lon=np.nan, lat=np.nan)


def _distance_over_length(circuit: Any, places: pd.DataFrame) -> float:  # noqa: ANN401
    """Return the median distance of lines' ends over their length."""
    rows = []
    for line in circuit.Lines:
        ends = [bus_of(name) for name in (line.Bus1, line.Bus2)]
        metres = METRES.get(int(line.Units), np.nan) * float(line.Length)
        if all(end in places.index for end in ends) and metres > 1.0:
            rows.append((*ends, metres))
    if not rows:
        return float("nan")
    table = pd.DataFrame(rows, columns=["first", "second", "metres"])
    a = places.loc[table["first"]].to_numpy()
    b = places.loc[table["second"]].to_numpy()
    line = pyproj.Geod(ellps="WGS84").inv(a[:, 0], a[:, 1], b[:, 0], b[:, 1])
    return float(np.median(np.asarray(line[2]) / table["metres"]))
