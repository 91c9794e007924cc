"""
The siting map: one HTML file that opens without a network.

Geometry is drawn in metres on a transverse Mercator plane through the middle
of the map, so that north is up there and lengths are true.
"""

from __future__ import annotations

import html
from importlib.resources import files
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from bokeh.embed import file_html
from bokeh.layouts import column
from bokeh.models import CustomJS, DataRange1d
from bokeh.models.annotations import ScaleBar, Title
from bokeh.models.text import PlainText
from bokeh.models.widgets import Checkbox, Div, RadioButtonGroup
from bokeh.plotting import figure
from bokeh.resources import INLINE
from pyproj import CRS

from gridsite.report import drawing, sites
from gridsite.report.layers import building_layer
from gridsite.report.page import generated_note, page_context, step_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from gridsite.report.display import Swatch
    from gridsite.report.drawing import Layer
    from gridsite.report.export import Results

_STRIPES = "repeating-linear-gradient(135deg, #8c2d1b 0 1px, #0000 1px 4px), "
_SHOW = "for (const item of items) item.visible = cb_obj.active"
_RECOLOUR = """
glyph.fill_color = {field: names[cb_obj.active]}
legends.forEach((legend, i) => { legend.visible = i == cb_obj.active })
"""


def siting_map(results: Results, path: str | PathLike[str]) -> Path:
    """
    Write the map of a run as one HTML file.

    Parameters
    ----------
    results : Results
        Tables of the run; a run without a plan shows what it has.
    path : path
        File to be written.

    Returns
    -------
    pathlib.Path
        The path of the file.

    Raises
    ------
    DataError
        If ``plan`` or ``hosting`` names a building that is not there.

    Notes
    -----
    Where no building and no line has coordinates, the page says so instead of
    a map. Texts from the data are escaped.
    """
    notes = _notes(results)
    roots = _roots(results)
    page = file_html(
        roots,
        INLINE,
        template=(files("gridsite.report") / "style/map.html").read_text("utf-8"),
        template_variables=page_context(results, notes),
        title="gridsite",
        suppress_callback_warning=True,
    )
    target = Path(path)
    target.write_text(page, encoding="utf-8")
    return target


def _notes(results: Results) -> list[str]:
    """Return remarks on what the map does not show, or shows in its own way."""
    buildings = results.buildings.dropna(subset="geometry")
    elements = results.elements.dropna(subset="geometry")
    steps = step_text(results.summary)
    notes = [
        "Capacities are those of single buildings and do not add up.",
        f"Capacities and loadings are {steps}." if steps else "",
    ]
    if len(elements) == 0:
        notes.append("No coordinates in the feeder file: no lines, no transformers.")
    elif len(elements) < len(results.elements):
        missing = len(results.elements) - len(elements)
        notes.append(f"{missing:,} lines or transformers have no coordinates.")
    if len(buildings) < len(results.buildings):
        missing = len(results.buildings) - len(buildings)
        notes.append(f"{missing:,} buildings have no coordinates.")
    points = int(buildings.geom_type.eq("Point").sum())
    if points:
        notes.append(f"{points:,} buildings have no footprint: drawn as small discs.")
    if results.hosting["building_id"].duplicated().any():
        notes.append("A building with several connections shows the best of them.")
    if results.plan is None:
        notes.append("No plan in this run: hosting capacity only.")
    return [note for note in notes if note]


def _roots(results: Results) -> list[Any]:
    """Return the models of the page: map and switches, or a message."""
    buildings = building_layer(results).dropna(subset="geometry")
    elements = results.elements.dropna(subset="geometry")
    shapes = [t.geometry for t in (buildings, elements) if len(t)]
    if not shapes:
        text = (
            "<h2>No map: no coordinates in the feeder file</h2>"
            "<p>The results are in the Parquet tables of this folder.</p>"
        )
        return [Div(text=text, name="map", styles={"padding": "40px"})]
    bounds = np.array([shape.total_bounds for shape in shapes])
    lon, lat = ((bounds[:, i].min() + bounds[:, i + 2].max()) / 2.0 for i in range(2))
    plane = CRS.from_proj4(f"+proj=tmerc +lat_0={lat} +lon_0={lon} +datum=WGS84")
    plot = _figure(results)
    area, grid = buildings.to_crs(plane), elements.to_crs(plane)
    zones = sites.zones(plot, results, plane)
    lines = drawing.lines(plot, grid)
    roofs = drawing.buildings(plot, area)
    transformers = drawing.transformers(plot, grid)
    units = sites.units(plot, area)
    extent = [r for layer in (*lines, *roofs, *transformers) for r in layer.renderers]
    plot.x_range.update(renderers=extent)
    plot.y_range.update(renderers=extent)
    central = sites.central(plot, results, (lon, lat))
    layers = [*roofs, *units, *transformers, *lines, *zones, *central]
    switches = [item for layer in layers for item in _switch(layer)]
    side = column(*switches, name="switches", sizing_mode="stretch_width")
    return [plot, side]


def _figure(results: Results) -> figure:
    """Return an empty map with a scale bar and the note on generated data."""
    plot = figure(
        name="map",
        x_range=DataRange1d(range_padding=0.08),
        y_range=DataRange1d(range_padding=0.08),
        match_aspect=True,
        sizing_mode="stretch_both",
        min_height=300,
        tools="pan,wheel_zoom,box_zoom,reset,save",
        active_scroll="wheel_zoom",
        background_fill_color="#fdfdfc",
    )
    plot.axis.visible = False
    plot.grid.visible = False
    plot.toolbar.logo = None
    plot.add_layout(
        ScaleBar(
            range=plot.x_range,
            unit="m",
            location="bottom_left",
            background_fill_alpha=0.85,
            label_text_font_size="13px",
        )
    )
    note = f"North is up. {generated_note(results.summary)}"
    plain = PlainText(text=fill(note, 120))  # dollar signs are no formulas
    plot.add_layout(Title(text=plain, text_font_size="12px"), "below")
    return plot


def _switch(layer: Layer) -> list[Any]:
    """Return the switch of a layer, its choice of colouring, and its legends."""
    box = Checkbox(
        label=layer.label,
        active=True,
        name=f"switch_{layer.name}",
        margin=(10, 5, 0, 5),
    )
    box.js_on_change("active", CustomJS(args={"items": layer.renderers}, code=_SHOW))
    legends = [
        _legend(entries, visible=i == 0)
        for i, entries in enumerate(layer.legends.values())
    ]
    if len(legends) == 1:
        return [box, *legends]
    names = list(layer.legends)
    pick = RadioButtonGroup(
        labels=names, active=0, name="colouring", margin=(2, 5, 2, 5)
    )
    glyph = layer.renderers[0].glyph
    args = {"glyph": glyph, "legends": legends, "names": names}
    pick.js_on_change("active", CustomJS(args=args, code=_RECOLOUR))
    return [box, pick, *legends]


def _legend(entries: Sequence[Swatch], *, visible: bool = True) -> Div:
    """Return a legend; hatched entries get stripes."""
    rows = [
        f'<div style="display:flex;align-items:center;gap:6px">'
        f'<span style="flex:none;width:18px;height:12px;border:1px solid #666;'
        f'background:{_STRIPES if entry.hatched else ""}{entry.colour}"></span>'
        f"{html.escape(entry.label)}</div>"
        for entry in entries
    ]
    return Div(
        text="".join(rows),
        disable_math=True,
        visible=visible,
        styles={"font-size": "12px"},
        margin=(0, 5, 0, 24),
    )
