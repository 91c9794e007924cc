"""
Houses, street lines and transformers of ``lv_schutterwald``, and the true answer.

What a connection is given, and what it is not:

* houses: the point of each load's bus, without its name;
* lines: the 1,494 lines of type NAYY 4x150 SE, geometry only, with the columns below;
  the 1,506 lines of type NAYY 4x50 SE lead to one house each and are left out, and so
  are all names, which tell which house a joint serves;
* ``fed_by``: transformer of the line, as a utility would label it: that of the end
  which is not open ("" where both are open);
* ``fed_by_start``: the cruder label of the line's start, wrong on open lines;
* ``open``: whether a switch at an end of the line is open;
* transformers: the point of each low-voltage busbar.

The true transformer of a house is the ``zone`` of its bus.
"""

from __future__ import annotations

import warnings
from typing import Any

import geopandas as gpd
import numpy as np
import pandapower.networks
import pandas as pd
import shapely

STREET = "NAYY 4x150 SE"


def layers() -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame, gpd.GeoDataFrame, Any]:
    """Return houses, street lines, transformers, and each house's true transformer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of its own old file
        net = pandapower.networks.lv_schutterwald()
    zone, place = net.bus["zone"], net.bus["geo"]
    loads = net.load["bus"].to_numpy()
    houses = gpd.GeoDataFrame(
        {"building_id": [f"house {i}" for i in range(len(loads))]},
        geometry=shapely.from_geojson(place.loc[loads].to_numpy()),
        crs=4326,
    )
    street = net.line[net.line["std_type"] == STREET]
    switch = net.switch[~net.switch["closed"] & (net.switch["et"] == "l")]
    opened = pd.MultiIndex.from_frame(switch[["element", "bus"]])
    start, end = (
        zone.loc[street[side]].to_numpy(dtype=object) for side in ("from_bus", "to_bus")
    )
    at_start, at_end = (
        pd.MultiIndex.from_arrays([street.index, street[side]]).isin(opened)
        for side in ("from_bus", "to_bus")
    )
    label = np.where(at_start, end, start)
    lines = gpd.GeoDataFrame(
        {
            "fed_by": np.where(at_start & at_end, "", label),
            "fed_by_start": start,
            "open": at_start | at_end,
        },
        geometry=shapely.from_geojson(street["geo"].to_numpy()),
        crs=4326,
    )
    low = net.trafo["lv_bus"].to_numpy()
    stations = gpd.GeoDataFrame(
        {"transformer": zone.loc[low].to_numpy(dtype=object)},
        geometry=shapely.from_geojson(place.loc[low].to_numpy()),
        crs=4326,
    )
    return houses, lines, stations, zone.loc[loads].to_numpy(dtype=object)
