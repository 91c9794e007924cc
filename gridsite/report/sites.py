"""Demand zones, placed units and central sites as layers of the siting map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from bokeh.models import ColumnDataSource, CustomJS
from pyproj import Geod

from gridsite.report.display import (
    LATENCY_COLOURS,
    MISSING_COLOUR,
    Swatch,
    last_period,
    quantile_classes,
    quantity,
)
from gridsite.report.drawing import Layer, add_hover, rings
from gridsite.report.hover import unit_texts, zone_texts
from gridsite.report.layers import central_points, real_time_workload, served_latency

if TYPE_CHECKING:
    import geopandas as gpd
    from bokeh.plotting import figure
    from pyproj import CRS

    from gridsite.report.export import Results

_COMPASS = ("N", "NE", "E", "SE", "S", "SW", "W", "NW")
_CENTRAL_COLOUR = "#b3006b"
_LABEL_LOOK = {
    "text_baseline": "middle",
    "text_font_size": "13px",
    "text_font_style": "bold",
    "text_color": _CENTRAL_COLOUR,
    "background_fill_color": "white",
    "background_fill_alpha": 0.9,
    "padding": 2,
}
#: Keeps far sites at the edge of what is in view, on the line towards them.
_AT_EDGE = """
const cx = (xr.start + xr.end) / 2, cy = (yr.start + yr.end) / 2
const hx = 0.47 * Math.abs(xr.end - xr.start), hy = 0.47 * Math.abs(yr.end - yr.start)
const {true_x, true_y} = source.data
const x = [], y = []
for (let i = 0; i < true_x.length; i++) {
  const dx = true_x[i] - cx, dy = true_y[i] - cy
  const s = Math.min(1, hx / Math.abs(dx), hy / Math.abs(dy))
  x.push(cx + s * dx)
  y.push(cy + s * dy)
}
source.data = {...source.data, x, y}
"""


def zones(plot: figure, results: Results, plane: CRS) -> list[Layer]:
    """
    Draw the demand zones, filled by the worst round trip of one workload.

    Parameters
    ----------
    plot : bokeh.plotting.figure
        The map.
    results : Results
        Tables of a run.
    plane : pyproj.CRS
        Plane of the map.

    Returns
    -------
    list of Layer
        One layer; none without zones.
    """
    if results.zones is None or results.zones.geometry.isna().all():
        return []
    rows = results.zones.dropna(subset="geometry").to_crs(plane)
    served, workload = served_latency(results), real_time_workload(results)
    worst = (
        served[served["workload"] == workload]
        .set_index("zone_id")["worst_ms"]
        .reindex(rows["zone_id"])
        .astype(float)
    )
    classes = quantile_classes(worst, LATENCY_COLOURS, "ms")
    demand = results.demand if results.demand is None else last_period(results.demand)
    title, text = zone_texts(rows, served, demand)
    data: dict[str, Any] = {"title": title, "text": text}
    data |= {"colour": classes.colour(worst).tolist()}
    drawn = plot.multi_polygons(
        "xs",
        "ys",
        source=ColumnDataSource(data | rings(rows.geometry, point_radius_m=40.0)),
        fill_color="colour",
        line_color="#756bb1",
        line_dash="dashed",
        name="zones",
    )
    add_hover(plot, drawn, "above")
    label, legend = "Demand zones", []
    if worst.notna().any():
        label += f": worst round trip of workload {workload!r}"
        counts = np.bincount(
            classes.index(worst) + 1, minlength=len(classes.colours) + 1
        )
        colours = (MISSING_COLOUR, *classes.colours)
        words = ("not served", *classes.labels)
        legend = [
            Swatch(colour, f"{word} ({n:,})")
            for colour, word, n in zip(colours, words, counts, strict=True)
            if n
        ]
    return [Layer(name="zones", label=label, renderers=[drawn], legends={"": legend})]


def units(plot: figure, layer: gpd.GeoDataFrame) -> list[Layer]:
    """
    Draw the placed units as dots whose area grows with their power.

    Parameters
    ----------
    plot : bokeh.plotting.figure
        The map.
    layer : geopandas.GeoDataFrame
        Rows of ``building_layer``, in metres.

    Returns
    -------
    list of Layer
        One layer; none without placed units.
    """
    placed = layer[layer["count"] > 0]
    if placed.empty:
        return []
    source = _unit_source(placed)
    dots = plot.scatter(
        "x",
        "y",
        source=source,
        size="size",
        fill_color="#111111",
        line_color="ring",
        line_width=1.5,
        name="units",
    )
    add_hover(plot, dots, "left")
    labels = plot.text(
        "x",
        "y",
        source=source,
        text="label",
        x_offset=8,
        text_baseline="middle",
        text_font_size="11px",
        name="units_existing",
    )
    number, existing = int(placed["count"].sum()), int(placed["existing"].sum())
    houses = f"{len(placed):,} building" + ("s" if len(placed) != 1 else "")
    legend = [Swatch("#111111", f"{number:,} units on {houses}")]
    if existing:
        legend.append(Swatch("#ffb000", f"ring: {existing:,} of them existing"))
    return [
        Layer(
            name="units",
            label="Placed units (dots, area by rated kW)",
            renderers=[dots, labels],
            legends={"": legend},
        )
    ]


def _unit_source(placed: gpd.GeoDataFrame) -> ColumnDataSource:
    """Return place, size and words of the units on each building."""
    middle = placed.geometry.representative_point()
    power = placed["rated_kw"].astype(float)
    existing = placed["existing"].astype(int)
    title, text = unit_texts(placed)
    return ColumnDataSource(
        {
            "x": middle.x.round(1).tolist(),
            "y": middle.y.round(1).tolist(),
            "size": (4.0 + 7.0 * np.sqrt(power / power.max())).round(1).tolist(),
            "ring": np.where(existing > 0, "#ffb000", "white").tolist(),
            "label": [f"{n} existing" if n else "" for n in existing],
            "title": title,
            "text": text,
        }
    )


def central(plot: figure, results: Results, middle: tuple[float, float]) -> list[Layer]:
    """
    Draw the central sites; far ones stay at the edge of the view, as arrows.

    Parameters
    ----------
    plot : bokeh.plotting.figure
        The map.
    results : Results
        Tables of a run.
    middle : tuple of float
        Longitude and latitude of the origin of the plane. [degrees]

    Returns
    -------
    list of Layer
        One layer; none without central sites that have a place.
    """
    sites = central_points(results).dropna(subset="geometry")
    if sites.empty:
        return []
    data = _central_data(sites, middle)
    source = ColumnDataSource(data)
    arrows = plot.scatter(
        "x",
        "y",
        source=source,
        marker="triangle",
        angle="angle",
        size=20,
        fill_color=_CENTRAL_COLOUR,
        line_color="white",
        name="central",
    )
    labels = plot.text(
        "x",
        "y",
        source=source,
        text="label",
        text_align="align",
        x_offset="x_offset",
        y_offset="y_offset",
        name="central_labels",
    )
    labels.glyph.update(**_LABEL_LOOK)
    add_hover(plot, arrows, "left")
    _keep_at_edge(plot, source)
    return [
        Layer(
            name="central",
            label="Central sites (an arrow at the edge points to a far one)",
            renderers=[arrows, labels],
            legends={"": [Swatch(_CENTRAL_COLOUR, text) for text in data["label"]]},
        )
    ]


def _keep_at_edge(plot: figure, source: ColumnDataSource) -> None:
    """Move the points of a source to the edge of the view whenever it changes."""
    args = {"source": source, "xr": plot.x_range, "yr": plot.y_range}
    for axis_range in (plot.x_range, plot.y_range):
        for end in ("start", "end"):
            axis_range.js_on_change(end, CustomJS(args=args, code=_AT_EDGE))


def _central_data(
    sites: gpd.GeoDataFrame, middle: tuple[float, float]
) -> dict[str, Any]:
    """Return place, direction and words of the central sites."""
    n = len(sites)
    bearing, _, metres = Geod(ellps="WGS84").inv(
        [middle[0]] * n, [middle[1]] * n, sites.geometry.x, sites.geometry.y
    )
    angle = np.radians(bearing)
    x, y = (np.sin(angle) * metres).tolist(), (np.cos(angle) * metres).tolist()
    known = sites["distance_km"].astype(float)
    far = np.where(known.isna(), np.divide(metres, 1e3), known)
    ways = [
        f"{_COMPASS[round(b / 45.0) % 8]}, bearing {b % 360.0:.0f}°" for b in bearing
    ]
    places = [
        f"{quantity(km, 'km', 0)} {way}" for km, way in zip(far, ways, strict=True)
    ]
    serves = [f"serves {quantity(kw, 'kW', 0)} IT" for kw in sites["it_kw"]]
    names = sites["site_id"].astype(str)
    east = np.sin(angle) >= 0.0
    return {
        "x": x,
        "y": y,
        "true_x": x,
        "true_y": y,
        "angle": (-angle).tolist(),
        "align": np.where(east, "right", "left").tolist(),
        "x_offset": np.where(east, -16, 16).tolist(),
        "y_offset": [22 * i for i in range(n)],
        "label": [
            f"{name}: {place}, {it}"
            for name, place, it in zip(names, places, serves, strict=True)
        ],
        "title": [f"Central site {name}" for name in names],
        "text": [f"{place}\n{it}" for place, it in zip(places, serves, strict=True)],
    }
