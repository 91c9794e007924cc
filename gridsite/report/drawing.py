"""Buildings, lines and transformers as layers of the siting map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from bokeh.models import ColumnDataSource, HoverTool

from gridsite.report.display import (
    LOADING,
    MISSING_COLOUR,
    Swatch,
    capacity_look,
    limit_look,
)
from gridsite.report.hover import building_texts, element_texts

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd
    from bokeh.models.renderers import GlyphRenderer
    from bokeh.plotting import figure

Side = Literal["left", "right", "above", "below"]
_TOOLTIP = (
    '<div style="max-width:340px;white-space:pre-line;font-size:12px">'
    "<b>@title</b>\n@text</div>"
)
_LINE_WIDTHS = np.array([1.0, 1.5, 2.5, 3.5, 5.0, 1.0])  # by loading class; last: none


@dataclass(frozen=True, kw_only=True)
class Layer:
    """
    One switch of the map: what it shows and how its legend reads.

    Parameters
    ----------
    name : str
        Name of the first renderer and, after ``switch_``, of the switch.
    label : str
        Words beside the switch.
    renderers : list of bokeh.models.GlyphRenderer
        What the switch shows and hides.
    legends : dict of str to list of Swatch
        Legend by colouring; more than one gives a choice, and each name is
        the column of colours in the first renderer's source.
    """

    name: str
    label: str
    renderers: list[GlyphRenderer[Any]]
    legends: dict[str, list[Swatch]]


def add_hover(plot: figure, drawn: GlyphRenderer[Any], side: Side) -> None:
    """
    Show the title and the text of what lies under the pointer.

    Parameters
    ----------
    plot : bokeh.plotting.figure
        The map.
    drawn : bokeh.models.GlyphRenderer
        Renderer whose source has the columns ``title`` and ``text``.
    side : {"left", "right", "above", "below"}
        Where the box opens, so that boxes of different layers stay apart.
    """
    plot.add_tools(
        HoverTool(
            renderers=[drawn],
            tooltips=_TOOLTIP,
            attachment=side,
            point_policy="follow_mouse",
            limit=3,
            visible=False,
        )
    )


def rings(
    shapes: gpd.GeoSeries, *, point_radius_m: float
) -> dict[str, list[list[list[list[float]]]]]:
    """
    Return polygons as the nested lists that bokeh draws.

    Parameters
    ----------
    shapes : geopandas.GeoSeries
        Shapes in a plane of metres.
    point_radius_m : float
        Radius of the disc that stands for a shape that is no polygon. [m]

    Returns
    -------
    dict
        ``xs`` and ``ys``: shape, part, ring (outer first), coordinate. [m]
    """
    flat = shapes.geom_type.isin(["Polygon", "MultiPolygon"])
    outlines = shapes.where(flat, shapes.centroid.buffer(point_radius_m))
    nested = [
        [
            [
                np.round(np.asarray(ring.coords)[:, :2].T, 1).tolist()
                for ring in (part.exterior, *part.interiors)
            ]
            for part in getattr(shape, "geoms", [shape])
        ]
        for shape in outlines
    ]
    return {
        axis: [[[ring[i] for ring in part] for part in shape] for shape in nested]
        for i, axis in enumerate(("xs", "ys"))
    }


def buildings(plot: figure, layer: gpd.GeoDataFrame) -> list[Layer]:
    """
    Draw the footprints, with three colourings to choose from.

    Parameters
    ----------
    plot : bokeh.plotting.figure
        The map.
    layer : geopandas.GeoDataFrame
        Rows of ``building_layer``, in metres; points become small discs.

    Returns
    -------
    list of Layer
        One layer; none without buildings.
    """
    if layer.empty:
        return []
    looks = {
        "firm kW": capacity_look(layer["firm_kw"], layer["firm_status"]),
        "flexible kW (98 % of energy)": capacity_look(
            layer["flexible_energy98_kw"], layer["flexible_status"]
        ),
        "binding limit": limit_look(layer["limit_criterion"], layer["firm_status"]),
    }
    title, text = building_texts(layer)
    data: dict[str, Any] = {"title": title, "text": text}
    data |= rings(layer.geometry, point_radius_m=5.0)
    data |= {name: colours.tolist() for name, (colours, _) in looks.items()}
    drawn = plot.multi_polygons(
        "xs",
        "ys",
        source=ColumnDataSource(data),
        fill_color={"field": "firm kW"},
        line_color="#444444",
        line_width=0.6,
        name="buildings",
    )
    add_hover(plot, drawn, "right")
    return [
        Layer(
            name="buildings",
            label="Buildings, coloured by",
            renderers=[drawn, _stripes(plot, layer)],
            legends={name: legend for name, (_, legend) in looks.items()},
        )
    ]


def _stripes(plot: figure, layer: gpd.GeoDataFrame) -> GlyphRenderer[Any]:
    """Stripe the buildings that act on a limit that is broken already."""
    broken = layer.geometry[layer["firm_status"] == "none_base_violation"]
    # a source of its own: a pattern per building takes a browser seconds to make
    return plot.multi_polygons(
        "xs",
        "ys",
        source=ColumnDataSource(dict(rings(broken, point_radius_m=5.0))),
        fill_color=None,
        line_color="#8c2d1b",
        hatch_pattern="right_diagonal_line",
        hatch_color="#8c2d1b",
        hatch_scale=6,
        name="buildings_broken",
    )


def lines(plot: figure, elements: gpd.GeoDataFrame) -> list[Layer]:
    """
    Draw the lines, coloured and widened by loading.

    Parameters
    ----------
    plot : bokeh.plotting.figure
        The map.
    elements : geopandas.GeoDataFrame
        The table ``elements``, in metres.

    Returns
    -------
    list of Layer
        One layer; none without lines.
    """
    rows = elements[elements["kind"] == "line"].explode(index_parts=False)
    rows = rows[rows.geometry.geom_type == "LineString"]
    if rows.empty:
        return []
    peak, words = _peak(elements)
    paths = [np.round(np.asarray(line.coords)[:, :2].T, 1) for line in rows.geometry]
    title, text = element_texts(rows)
    source = ColumnDataSource(
        {
            "xs": [path[0].tolist() for path in paths],
            "ys": [path[1].tolist() for path in paths],
            "colour": LOADING.colour(rows[peak]).tolist(),
            "width": _LINE_WIDTHS[LOADING.index(rows[peak])].tolist(),
            "title": title,
            "text": text,
        }
    )
    drawn = plot.multi_line(
        "xs", "ys", source=source, line_color="colour", line_width="width", name="lines"
    )
    add_hover(plot, drawn, "below")
    legends = {"": _loading_legend(rows.drop_duplicates("element")[peak])}
    label = f"Lines: {words}"
    return [Layer(name="lines", label=label, renderers=[drawn], legends=legends)]


def transformers(plot: figure, elements: gpd.GeoDataFrame) -> list[Layer]:
    """
    Draw the transformers as squares, coloured by loading.

    Parameters
    ----------
    plot : bokeh.plotting.figure
        The map.
    elements : geopandas.GeoDataFrame
        The table ``elements``, in metres.

    Returns
    -------
    list of Layer
        One layer; none without transformers.
    """
    rows = elements[elements["kind"] == "transformer"]
    if rows.empty:
        return []
    peak, words = _peak(elements)
    middle = rows.geometry.centroid
    title, text = element_texts(rows)
    drawn = plot.scatter(
        "x",
        "y",
        source=ColumnDataSource(
            {
                "x": middle.x.round(1).tolist(),
                "y": middle.y.round(1).tolist(),
                "colour": LOADING.colour(rows[peak]).tolist(),
                "title": title,
                "text": text,
            }
        ),
        marker="square",
        size=15,
        fill_color="colour",
        line_color="black",
        line_width=1.5,
        name="transformers",
    )
    add_hover(plot, drawn, "left")
    return [
        Layer(
            name="transformers",
            label=f"Transformers (squares): {words}",
            renderers=[drawn],
            legends={"": _loading_legend(rows[peak])},
        )
    ]


def _peak(elements: pd.DataFrame) -> tuple[str, str]:
    """Return the loading column to draw, and its words."""
    if elements["plan_peak_percent"].notna().any():
        return "plan_peak_percent", "peak loading with the plan"
    return "base_peak_percent", "peak loading without new units"


def _loading_legend(values: pd.Series[float]) -> list[Swatch]:
    """Return the legend of the loadings that occur, with their numbers."""
    counts = np.bincount(LOADING.index(values) + 1, minlength=6)
    colours = (MISSING_COLOUR, *LOADING.colours)
    labels = ("no rating or no value", *LOADING.labels)
    return [
        Swatch(colour, f"{label} ({n:,})")
        for colour, label, n in zip(colours, labels, counts, strict=True)
        if n
    ]
