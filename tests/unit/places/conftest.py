"""Data and builders for the tests of places."""

from __future__ import annotations

import geopandas as gpd
import pytest
from pyproj import CRS

#: Metres around 48 N 8 E, true to scale within 1e-6 over the few kilometres used
#: here, and another projection than the one under test.
LOCAL = CRS.from_dict({"proj": "tmerc", "lat_0": 48, "lon_0": 8, "datum": "WGS84"})


@pytest.fixture
def layer():
    """Return a function that builds a layer from shapes in local metres."""

    def build(shapes, *, to=4326, **columns):
        return gpd.GeoDataFrame(columns, geometry=list(shapes), crs=LOCAL).to_crs(to)

    return build


@pytest.fixture
def roofs(layer):
    """Return a function that builds a table of buildings from local metres."""

    def build(shapes, **columns):
        shapes = list(shapes)
        names = [f"b{i}" for i in range(len(shapes))]
        fixed = {"building_id": names, "roof_area_m2": 100.0, "use": "home"}
        return layer(shapes, **{**fixed, "access_network": "fibre", **columns})

    return build


@pytest.fixture
def ports(layer):
    """Return a function that builds connection points from local metres."""

    def build(shapes, **columns):
        shapes = list(shapes)
        names = [f"p{i}" for i in range(len(shapes))]
        fixed = {"port_id": names, "bus": "n1", "feeder_id": "f1", "phases": "ABC"}
        return layer(shapes, **{**fixed, **columns})

    return build
