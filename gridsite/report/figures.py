"""
Figures of a run for papers and slides, readable in grey.

Every function returns a figure of its own and leaves pyplot alone; save it
with ``figure.savefig("name.pdf")``.
"""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from gridsite.errors import DataError
from gridsite.report.display import (
    STATUS_TEXT,
    is_rated,
    last_period,
    limit_colours,
    quantity,
)
from gridsite.report.page import (
    COMPARISON_METRICS,
    generated_note,
    money_unit,
    step_text,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd
    from matplotlib.axes import Axes

    from gridsite.report.export import Results

_MARKERS = "os^Dv<>Pp"
_HATCHES = ("", "///", "...", "xx", "---", "\\\\\\", "++", "oo", "**", "|||")
_LINES = ("-", "--", ":", "-.")


def capacity_distribution(results: Results) -> Figure:
    """
    Draw firm and flexible capacity of all connections, sorted, and by limit.

    Parameters
    ----------
    results : Results
        Tables of a run.

    Returns
    -------
    matplotlib.figure.Figure
        Capacity [kW] over the share of connections [%]: thick for all, thin
        for those that one limit binds. Connections without a capacity of their
        own are counted in the title, not drawn.
    """
    hosting = results.hosting
    rated = hosting[is_rated(hosting["firm_status"])]
    flexible = hosting.loc[is_rated(hosting["flexible_status"]), "flexible_energy98_kw"]
    figure, axes = _figure(results)
    _sorted_line(axes, flexible, "flexible, 98 % of energy", color="0.4", lw=2, ls="--")
    _sorted_line(axes, rated["firm_kw"], "firm", color="black", lw=2.5)
    criteria = rated["limit_criterion"].where(rated["limit_criterion"] != "", "none")
    colours = limit_colours(criteria)
    markers = (_MARKERS * (1 + len(colours) // len(_MARKERS)))[: len(colours)]
    for (name, colour), marker in zip(colours.items(), markers, strict=True):
        own = rated.loc[criteria == name, "firm_kw"]
        style = {"color": colour, "lw": 1, "marker": marker, "markeredgecolor": "k"}
        _sorted_line(axes, own, f"firm, limit: {name}", **style, markevery=0.1, ms=5)
    axes.set_xlabel("share of connections, sorted by capacity [%]")
    axes.set_ylabel("capacity of a connection alone [kW]")
    left_out = len(hosting) - len(rated)
    title = f"{len(rated):,} connections rated, {left_out:,} without a capacity"
    axes.set_title(f"{title}\n{step_text(results.summary)}".rstrip())
    axes.set_ylim(bottom=0.0)
    axes.legend(fontsize=8)
    return figure


def limit_shares(results: Results) -> Figure:
    """
    Draw how many connections each limit binds, and how many have no capacity.

    Parameters
    ----------
    results : Results
        Tables of a run.

    Returns
    -------
    matplotlib.figure.Figure
        Bars by limit for capacities found, and by status for the others.
    """
    hosting = results.hosting
    found = hosting["firm_status"] == "ok"
    limits = hosting.loc[found, "limit_criterion"].replace("", "not named")
    others = hosting.loc[~found, "firm_status"].map(STATUS_TEXT)
    bars = {f"limit: {name}": n for name, n in limits.value_counts().items()}
    rest = {str(name): n for name, n in others.value_counts().items()}
    shares = [100.0 * n / len(hosting) for n in (*bars.values(), *rest.values())]
    figure, axes = _figure(results)
    bar = axes.barh([*bars, *rest], shares, color="0.4", edgecolor="black")
    for patch in bar[len(bars) :]:
        patch.set(facecolor="0.9", hatch="///")
    axes.bar_label(bar, [f" {n:,}" for n in (*bars.values(), *rest.values())], size=8)
    axes.tick_params(axis="y", labelsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(f"share of {len(hosting):,} connections [%]")
    axes.margins(x=0.1)
    return figure


def comparison_costs(results: Results) -> Figure:
    """
    Draw the net present cost of each strategy by its terms.

    Parameters
    ----------
    results : Results
        Tables of a run with a comparison.

    Returns
    -------
    matplotlib.figure.Figure
        IT hardware apart on the left, all other terms stacked on the right.
        Strategies that are not comparable say so.

    Raises
    ------
    DataError
        If the run has no comparison, or one without cost terms.
    """
    table = _needed(results.comparison, "comparison")
    words = {column: name for column, name, *_ in COMPARISON_METRICS}
    terms = [c for c in table.columns if c.endswith("_present") and table[c].any()]
    if not terms:
        msg = "table 'comparison' has no cost terms (columns ending in _present)"
        raise DataError(msg)
    others = [c for c in terms if c != "it_hardware_present"]
    figure = _blank(results, width=9.0)
    left, right = figure.subplots(1, 2, width_ratios=[1, 2])
    names = [_strategy(row) for row in table.to_dict("records")]
    if "it_hardware_present" in terms:
        left.bar(names, table["it_hardware_present"] / 1e6, color="0.7", edgecolor="k")
    left.set_title("IT hardware")
    bottom = np.zeros(len(table))
    shades = np.linspace(0.95, 0.25, max(len(others), 2))
    for i, term in enumerate(others):
        height = table[term].fillna(0.0).to_numpy(float) / 1e6
        right.bar(
            names,
            height,
            bottom=bottom,
            color=str(shades[i]),
            hatch=_HATCHES[i % len(_HATCHES)],
            edgecolor="black",
            label=words.get(term, term.removesuffix("_present").replace("_", " ")),
        )
        bottom += height
    for name, total in zip(names, bottom, strict=True):
        right.annotate(f"{total:,.1f}", (name, total), ha="center", va="bottom")
    right.set_title("everything else")
    handles, labels = right.get_legend_handles_labels()
    right.legend(
        handles[::-1], labels[::-1], fontsize=8, loc="upper left", bbox_to_anchor=(1, 1)
    )
    for axes in (left, right):
        axes.set_ylabel(f"net present cost [{money_unit(results.summary)}]")
        axes.tick_params(axis="x", labelsize=8)
        axes.set_ylim(top=1.1 * axes.get_ylim()[1])
    return figure


def loading_before_after(results: Results) -> Figure:
    """
    Draw the peak loading of lines and transformers without and with the plan.

    Parameters
    ----------
    results : Results
        Tables of a run; without a plan only the loading before is drawn.

    Returns
    -------
    matplotlib.figure.Figure
        Peak loading over the share of elements, highest first, one panel for
        each kind. [%]
    """
    figure = _blank(results, width=9.0)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, kind in zip(panels, ("line", "transformer"), strict=True):
        rows = results.elements[results.elements["kind"] == kind]
        for column, words, style, colour in (
            ("base_peak_percent", "without new units", "--", "0.5"),
            ("plan_peak_percent", "with the plan", "-", "black"),
        ):
            peak = rows[column].dropna().sort_values(ascending=False)
            if peak.empty:
                continue
            over = int((peak > 100.0).sum())
            axes.step(
                100.0 * np.arange(1, len(peak) + 1) / len(peak),
                peak,
                linestyle=style,
                color=colour,
                label=f"{words}: {over:,} of {len(peak):,} over 100 %",
            )
        axes.axhline(100.0, color="#c1121f", linewidth=0.8)
        axes.set_title(f"{kind}s")
        axes.set_xlabel("share of elements, most loaded first [%]")
        if axes.lines[1:]:
            axes.legend(fontsize=8)
    panels[0].set_ylabel("peak loading [%]")
    return figure


def deployment(results: Results) -> Figure:
    """
    Draw computing power needed and served over time, by where it is served.

    Parameters
    ----------
    results : Results
        Tables of a run with a plan.

    Returns
    -------
    matplotlib.figure.Figure
        IT power [kW] over months from now: needed, served in all, served at
        buildings. A period is a step; the last one has no end.

    Raises
    ------
    DataError
        If the run has no plan.
    """
    table = _needed(results.timeline, "timeline")
    figure, axes = _figure(results)
    months = table["start_months"].to_numpy(dtype=float)
    length = months[-1] - months[-2] if len(months) > 1 else 12.0
    edges = np.append(months, months[-1] + length)
    for column, words, style, colour, width in (
        ("demand_it_kw", "needed", "-", "0.75", 5.0),  # seen where all is served too
        ("served_it_kw", "served", "-", "black", 1.5),
        ("served_by_buildings_it_kw", "served at buildings", "--", "0.3", 1.5),
    ):
        values = np.append(table[column].to_numpy(dtype=float), np.nan)
        values[-1] = values[-2]
        look: dict[str, Any] = {
            "label": words,
            "linestyle": style,
            "color": colour,
            "lw": width,
        }
        axes.step(edges, values, where="post", **look)
    axes.set_ylim(bottom=0.0)
    axes.set_xlabel("months from now")
    axes.set_ylabel("computing power [kW]")
    axes.legend(fontsize=8)
    return figure


def latency_by_workload(results: Results) -> Figure:
    """
    Draw the share of demand served within a round-trip time, by workload.

    Parameters
    ----------
    results : Results
        Tables of a run with an assignment.

    Returns
    -------
    matplotlib.figure.Figure
        Shares of the computing power served in the last period [%] over
        round-trip time [ms]; a thin line marks a hard limit that is near.

    Raises
    ------
    DataError
        If the run has no assignment.
    """
    flow = last_period(_needed(results.assignment, "assignment"))
    flow = flow[(flow["period"] == flow["period"].max()) & (flow["it_kw"] > 0.0)]
    figure, axes = _figure(results)
    limits = {}
    if results.workloads is not None:
        limits = results.workloads.set_index("workload")["rtt_limit_ms"].to_dict()
    groups = list(flow.groupby("workload"))
    shades = np.linspace(0.0, 0.6, max(len(groups), 1))
    for i, (name, rows) in enumerate(groups):
        ranked = rows.sort_values("rtt_ms")
        share = 100.0 * ranked["it_kw"].cumsum() / ranked["it_kw"].sum()
        style, colour = _LINES[i % len(_LINES)], str(shades[i])
        limit = limits.get(name)
        label = f"{name}" if limit is None else f"{name} (limit {limit:g} ms)"
        axes.step(
            np.r_[ranked["rtt_ms"].iloc[0], ranked["rtt_ms"]],
            np.r_[0.0, share],
            where="post",
            linestyle=style,
            color=colour,
            label=label,
        )
        if limit is not None and limit <= 2.0 * flow["rtt_ms"].max():
            axes.axvline(limit, linestyle=style, color=colour, linewidth=0.8)
    axes.set_xlabel("round-trip time [ms]")
    axes.set_ylabel("share of served computing power [%]")
    axes.set_xlim(left=0.0)
    axes.legend(fontsize=8)
    return figure


def _figure(results: Results) -> tuple[Figure, Axes]:
    """Return a figure with one panel and the note on generated data."""
    figure = _blank(results, width=7.0)
    return figure, figure.subplots()


def _blank(results: Results, *, width: float) -> Figure:
    """Return an empty figure with the note on generated data at its foot."""
    figure = Figure(figsize=(width, 4.2), layout="constrained")
    note = generated_note(results.summary)
    if note:
        figure.supxlabel(fill(note, int(16 * width)), fontsize=8, style="italic")
    return figure


def _needed(table: pd.DataFrame | None, name: str) -> pd.DataFrame:
    """Return a table that the figure cannot do without."""
    if table is None or table.empty:
        msg = f"this run has no rows in table {name!r}; run a siting study for it"
        raise DataError(msg)
    return table


def _strategy(row: Mapping[Any, Any]) -> str:
    """Return the name of a strategy, with a mark where it cannot be ranked."""
    if row.get("comparable", True):
        return str(row["strategy"])
    share = quantity(100.0 * row["served_share"], "%")
    return f"{row['strategy']}\nNOT comparable:\nserves {share}"


def _sorted_line(
    axes: Axes,
    values: pd.Series[float],
    label: str,
    **style: Any,  # noqa: ANN401
) -> None:
    """Draw values in ascending order over their share."""
    share = 100.0 * np.arange(1, len(values) + 1) / max(len(values), 1)
    axes.plot(share, values.sort_values(), label=f"{label} ({len(values):,})", **style)
