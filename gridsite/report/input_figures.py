"""
Pictures of inputs: which roofs stay, what meters say, where demand is.

Maps are drawn in degrees with the aspect of their latitude; nothing is measured here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

if TYPE_CHECKING:
    import geopandas as gpd
    from matplotlib.axes import Axes

_GREY, _BLUE, _ORANGE = "#b8b8b8", "#1f6f8b", "#d95f02"


def roofs_figure(kept: gpd.GeoDataFrame, left: gpd.GeoDataFrame) -> Figure:
    """
    Draw which buildings stay candidates and which are left out.

    Parameters
    ----------
    kept, left : geopandas.GeoDataFrame
        Outlines in EPSG:4326.

    Returns
    -------
    matplotlib.figure.Figure
        A map.
    """
    figure, axes = _map(pd.concat([kept.geometry, left.geometry]))
    if len(left):
        left.plot(ax=axes, color=_GREY, edgecolor=_GREY, linewidth=1.0)
    kept.plot(ax=axes, color=_BLUE, edgecolor=_BLUE, linewidth=1.0)
    axes.set_title(f"{len(kept):,} candidates (blue), {len(left):,} left out (grey)")
    return figure


def demand_figure(
    zones: gpd.GeoDataFrame, *, column: str, unit: str, note: str = ""
) -> Figure:
    """
    Draw how much each zone has.

    Parameters
    ----------
    zones : geopandas.GeoDataFrame
        Outlines in EPSG:4326.
    column : str
        What is drawn.
    unit : str
        Its unit in words.
    note : str, default ""
        What stands at the foot, such as a source.

    Returns
    -------
    matplotlib.figure.Figure
        A map with a scale of colours.
    """
    figure, axes = _map(zones.geometry)
    zones.plot(
        ax=axes,
        column=column,
        cmap="viridis",
        edgecolor="white",
        linewidth=0.2,
        legend=True,
        legend_kwds={"label": unit, "shrink": 0.7},
    )
    total = zones[column].sum()
    axes.set_title(f"{total:,.0f} {unit} in {len(zones):,} zones")
    if note:
        figure.supxlabel(note, fontsize=8, style="italic")
    return figure


def meters_figure(kw: pd.DataFrame, filled: pd.DataFrame) -> Figure:
    """
    Draw the load of all meters together, and how much of it is filled.

    Parameters
    ----------
    kw : pandas.DataFrame, shape (n_step, n_meter)
        Power by step and meter. [kW]
    filled : pandas.DataFrame of bool, shape (n_step, n_meter)
        Where a value is filled.

    Returns
    -------
    matplotlib.figure.Figure
        Daily mean and range of the sum above, share of filled values by day below.
    """
    figure = Figure(figsize=(8.0, 5.0), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    day: Any = kw.index.normalize()  # type: ignore[attr-defined]
    total = kw.sum(axis=1).groupby(day)
    dates = total.mean().index.tz_localize(None)  # type: ignore[attr-defined]
    edges = dates.append(dates[-1:] + pd.Timedelta(days=1))  # the last day has a width
    mean, low, high, share = (
        np.append(days, days.iloc[-1])
        for days in (
            total.mean(),
            total.min(),
            total.max(),
            100.0 * filled.mean(axis=1).groupby(day).mean(),
        )
    )
    upper.fill_between(edges, low, high, color=_BLUE, alpha=0.25, step="post")
    upper.step(edges, mean, where="post", color=_BLUE)
    upper.set_ylabel("all meters [kW]")
    upper.set_title(f"{kw.shape[1]:,} meters: daily mean, lowest and highest step")
    lower.step(edges, share, where="post", color=_ORANGE)
    lower.set_ylabel("filled [%]")
    lower.set_xlabel(f"days in {kw.index.tz}")  # type: ignore[attr-defined]
    lower.set_ylim(bottom=0.0)
    figure.autofmt_xdate()
    return figure


def _map(shapes: gpd.GeoSeries) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.0, 6.0), layout="constrained")
    axes = figure.subplots()
    bounds = shapes.total_bounds
    middle = float(np.clip((bounds[1] + bounds[3]) / 2.0, -85.0, 85.0))
    axes.set_aspect(1.0 / math.cos(math.radians(middle)))
    axes.set_xlabel("longitude [deg]")
    axes.set_ylabel("latitude [deg]")
    axes.ticklabel_format(useOffset=False)
    axes.tick_params(labelsize=8)
    return figure, axes
