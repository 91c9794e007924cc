"""
One GeoPackage of a run for desktop GIS, with its default QGIS styles.

QGIS takes the default style of a layer from the table ``layer_styles`` of
the same file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import geopandas as gpd
import numpy as np
import pandas as pd
import pyogrio
from shapely import LineString, Point

from gridsite.report.display import (
    CAPACITY_COLOURS,
    LOADING,
    last_period,
    moment,
    quantile_classes,
)
from gridsite.report.layers import building_layer, central_points, served_latency
from gridsite.report.page import generated_note

if TYPE_CHECKING:
    from pathlib import Path

    from gridsite.report.display import Classes
    from gridsite.report.export import Results

_WGS84 = "EPSG:4326"
_ELEMENT_COLUMNS = [
    "element",
    "kind",
    "from_bus",
    "to_bus",
    "rating",
    "base_peak_percent",
    "plan_peak_percent",
    "geometry",
]
_SYMBOLS = {
    "fill": ("SimpleFill", "color"),
    "line": ("SimpleLine", "line_color"),
    "marker": ("SimpleMarker", "color"),
}


def write_geopackage(results: Results, path: Path) -> None:
    """
    Write the layers of a run that have something to show into one file.

    Parameters
    ----------
    results : Results
        Tables of the run.
    path : pathlib.Path
        File to be made.

    Notes
    -----
    Layers: ``buildings`` (with capacity and units), ``lines``,
    ``transformers``, ``zones`` (with served round-trip times), ``central``
    and ``assignment`` (a straight line from zone to site, last period). The
    file has only its styles table if nothing has coordinates. Attributes are
    the contract's; further columns stand in the Parquet files.
    """
    buildings = building_layer(results)
    buildings["limit_time"] = buildings["limit_time"].map(moment)
    lines = results.elements.loc[results.elements["kind"] == "line", _ELEMENT_COLUMNS]
    transformers = results.elements.loc[
        results.elements["kind"] == "transformer", _ELEMENT_COLUMNS
    ]
    layers = {
        "buildings": buildings,
        "lines": lines,
        "transformers": transformers,
        "zones": _zones(results),
        "central": central_points(results),
        "assignment": _assignment(results, buildings),
    }
    note = generated_note(results.summary)
    for name, layer in layers.items():
        located = layer.dropna(subset="geometry")
        if len(located):
            pyogrio.write_dataframe(
                located,
                path,
                layer=name,
                driver="GPKG",
                promote_to_multi=True,
                layer_metadata={"generated": note} if note else None,
            )
    styles = _styles(buildings, results.elements)
    pyogrio.write_dataframe(styles, path, layer="layer_styles", driver="GPKG")


def _zones(results: Results) -> gpd.GeoDataFrame:
    """Return the zones with one latency column per workload."""
    if results.zones is None:
        return gpd.GeoDataFrame({"zone_id": []}, geometry=[], crs=_WGS84)
    zones = results.zones[["zone_id", "users", "geometry"]]
    served = served_latency(results)
    for measure in ("it_kw", "mean_ms", "worst_ms"):
        wide = served.pivot_table(index="zone_id", columns="workload", values=measure)
        wide = wide.add_suffix(f" {measure}")
        zones = zones.merge(wide, left_on="zone_id", right_index=True, how="left")
    return zones


def _assignment(results: Results, buildings: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Return a line from each zone to each site that serves it at the end."""
    empty = gpd.GeoDataFrame({"zone_id": []}, geometry=[], crs=_WGS84)
    flow, zones, sites = results.assignment, results.zones, results.sites
    flow = None if flow is None else last_period(flow)
    if flow is None or zones is None or sites is None:
        return empty
    flow = flow[(flow["period"] == flow["period"].max()) & (flow["it_kw"] > 0.0)]
    roofs = buildings.set_index("building_id").geometry.representative_point()
    at_roof = sites.set_index("site_id")["building_id"].map(roofs).dropna()
    central = central_points(results).set_index("site_id").geometry.dropna()
    place = {**at_roof, **central}
    start = zones.set_index("zone_id").geometry.representative_point()
    ends = zip(flow["zone_id"].map(start), flow["site_id"].map(place), strict=True)
    shapes = [
        LineString([a, b]) if isinstance(a, Point) and isinstance(b, Point) else None
        for a, b in ends
    ]
    return gpd.GeoDataFrame(flow, geometry=shapes, crs=_WGS84)


def _styles(buildings: gpd.GeoDataFrame, elements: pd.DataFrame) -> pd.DataFrame:
    """Return the table of default styles: capacity and loading, graduated."""
    with_plan = elements["plan_peak_percent"].notna().any()
    loading = "plan_peak_percent" if with_plan else "base_peak_percent"
    capacity = quantile_classes(buildings["firm_kw"], CAPACITY_COLOURS, "kW")
    points = buildings.geom_type.eq("Point").all()
    looks = {
        "buildings": ("firm_kw", capacity, "marker" if points else "fill"),
        "lines": (loading, LOADING, "line"),
        "transformers": (loading, LOADING, "marker"),
    }
    return pd.DataFrame(
        [
            {
                "f_table_catalog": "",
                "f_table_schema": "",
                "f_table_name": name,
                "f_geometry_column": "geom",
                "styleName": f"{name} by {column}",
                "styleQML": _graduated(column, classes, symbol),
                "styleSLD": "",
                "useAsDefault": True,
                "description": "written by gridsite",
                "owner": "",
            }
            for name, (column, classes, symbol) in looks.items()
        ]
    )


def _graduated(column: str, classes: Classes, symbol: str) -> str:
    """Return a QGIS style that colours a layer by the classes of a column."""
    kind, colour_key = _SYMBOLS[symbol]
    root = ET.Element("qgis", version="3.22", styleCategories="Symbology")
    renderer = ET.SubElement(
        root,
        "renderer-v2",
        type="graduatedSymbol",
        attr=column,
        graduatedMethod="GraduatedColor",
    )
    ranges = ET.SubElement(renderer, "ranges")
    symbols = ET.SubElement(renderer, "symbols")
    edges = np.array([0.0, *classes.upper, 1e9])
    for i, (colour, label) in enumerate(
        zip(classes.colours, classes.labels, strict=True)
    ):
        ET.SubElement(
            ranges,
            "range",
            lower=str(edges[i]),
            upper=str(edges[i + 1]),
            symbol=str(i),
            label=label,
            render="true",
        )
        shape = ET.SubElement(symbols, "symbol", type=symbol, name=str(i), alpha="1")
        layer = ET.SubElement(shape, "layer", {"class": kind, "enabled": "1"})
        options = ET.SubElement(layer, "Option", type="Map")
        red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
        value = f"{red},{green},{blue},255"
        ET.SubElement(options, "Option", name=colour_key, type="QString", value=value)
    return ET.tostring(root, encoding="unicode")
