"""
One replayed hosting value as text and as a figure.

Both draw the tables of a replay: the limit, the buses and the elements from the
source to the connection, in the base case, just below and just above the limit.
"""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

from gridsite.errors import ConfigError, DataError
from gridsite.report.display import STATUS_TEXT, moment, quantity
from gridsite.report.page import generated_note, texts
from gridsite.report.tables import plain_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    import pandas as pd
    from matplotlib.axes import Axes

#: State, its words, line style, colour of line and bar, hatch.
_STATES = (
    ("base", "without it", "--", "0.6", ""),
    ("below", "just below", "-", "black", ""),
    ("above", "just above", ":", "#c1121f", "///"),
)
_LIMIT_COLOUR = "#0072b2"

#: Kinds of files that a figure may have.
_SUFFIXES = (".png", ".pdf", ".svg")

#: Most names below an axis; of longer paths every n-th is written.
_MOST_NAMES = 30


def explanation_tables(
    facts: Mapping[str, str],
    *,
    limit: pd.DataFrame,
    nodes: pd.DataFrame,
    elements: pd.DataFrame,
    service: pd.DataFrame,
    kw: tuple[float, float],
    summary: Mapping[str, Any],
    controls: pd.DataFrame | None = None,
) -> list[Table]:
    """
    Return a replayed value for the terminal.

    Parameters
    ----------
    facts : mapping of str to str
        Topics and texts, in order.
    limit, nodes, elements, service : pandas.DataFrame
        Tables of the replay (`gridsite.hosting.explanation.Explanation`); an empty
        one is left out.
    kw : tuple of float
        Load just below and just above the limit. [kW]
    summary : mapping
        Summary of the run, for what is generated, assumed and not checked.
    controls : pandas.DataFrame, optional
        Where regulators and capacitors that act stand in the replay.

    Returns
    -------
    list of rich.table.Table
        What binds; the limit; voltages; loadings; controls; the service.
    """
    head = Table("", "", title="Why this capacity", show_header=False)
    notes = {
        "generated data": "\n".join(texts(summary, "generated")),
        "assumption": "\n".join(texts(summary, "assumptions")),
        "not checked": ", ".join(texts(summary, "not_checked")),
    }
    for topic, text in {**facts, **notes}.items():
        if text:
            head.add_row(plain_text(topic), plain_text(text))
    loads = ("without it", *(f"with {quantity(load, 'kW', 2)}" for load in kw))
    out = [head]
    if len(limit):
        rows = [
            [
                f"{row['criterion']} of {row['element']} [{row['unit']}]",
                *(
                    quantity(row[name], digits=5 if row["unit"] == "pu" else 3)
                    for name in ("limit", *(state for state, *_ in _STATES))
                ),
            ]
            for row in limit.to_dict("records")
        ]
        out.append(_table("The limit", ["", "limit", *loads], rows))
    if len(nodes):
        rows = [
            [
                _place(row, "bus"),
                quantity(row["voltage_kv"], digits=2),
                _or_none(row["min_pu"], 4),
                *(quantity(row[f"{state}_pu"], digits=5) for state, *_ in _STATES),
            ]
            for row in nodes.to_dict("records")
        ]
        header = ["bus, from the source", "[kV]", "least [pu]"]
        header += [f"{words} [pu]" for words in loads]
        out.append(_table("Voltages on the way", header, rows))
    if len(elements):
        rows = [
            [
                _place(row, "element"),
                _or_none(row["limit_percent"], 1),
                *(_or_none(row[f"{state}_percent"], 2) for state, *_ in _STATES),
            ]
            for row in elements.to_dict("records")
        ]
        header = ["line or transformer, from the source", "most [%]"]
        header += [f"{words} [%]" for words in loads]
        out.append(_table("Current over rated current on the way", header, rows))
    if controls is not None and len(controls):
        rows = [
            [
                str(row["control"]),
                *(f"{row[f'{s}_position']} ({row[f'{s}_moves']})" for s, *_ in _STATES),
            ]
            for row in controls.to_dict("records")
        ]
        title = "Where controls stand (and how far they went from the first step on)"
        out.append(_table(title, ["regulator or capacitor", *loads], rows))
    if len(service):
        rows = [
            [row["term"], f"{quantity(row['value'], row['unit'], 2)}"]
            for row in service.to_dict("records")
        ]
        out.append(_table("Service of the building", ["", ""], rows))
    return out


def explanation_figure(
    title: str,
    *,
    limit: pd.DataFrame,
    nodes: pd.DataFrame,
    elements: pd.DataFrame,
    kw: tuple[float, float],
    summary: Mapping[str, Any],
) -> Figure:
    """
    Draw voltages and loadings from the source to a connection.

    Parameters
    ----------
    title : str
        Heading.
    limit, nodes, elements : pandas.DataFrame
        As for `explanation_tables`.
    kw : tuple of float
        Load just below and just above the limit. [kW]
    summary : mapping
        Summary of the run, for the note on generated data.

    Returns
    -------
    matplotlib.figure.Figure
        Above voltage by bus [pu] with the voltage limit, below loading by line
        and transformer [%] with its limit; what binds stands in bold. A bus or
        an element that binds beside the path stands last, behind a gap.

    Raises
    ------
    DataError
        If there is no path to draw.
    """
    if not len(nodes):
        msg = "nothing was replayed for this connection, so there is nothing to draw"
        raise DataError(msg)
    width = float(np.clip(5.0 + 0.45 * max(len(nodes), len(elements)), 8.0, 18.0))
    figure = Figure(figsize=(width, 7.0), layout="constrained")
    note = generated_note(summary)
    if note:
        figure.supxlabel(fill(note, int(16 * width)), fontsize=8, style="italic")
    figure.suptitle(fill(plain_text(title).plain, int(10 * width)), fontsize=10)
    upper, lower = figure.subplots(2, 1, height_ratios=[3, 2])
    loads = ("without it", *(f"with {quantity(load, 'kW', 2)}" for load in kw))
    binds = "" if limit.empty else str(limit["element"].iloc[0])
    kind = "" if limit.empty else str(limit["criterion"].iloc[0])
    at_bus = kind.startswith("voltage") or kind == "unbalance"
    _voltages(upper, nodes, loads, binds if at_bus else "")
    if kind == "voltage high":
        most = nodes["max_pu"].to_numpy(dtype=float)
        _limit_line(upper, _places(nodes), most, "highest voltage allowed")
    if kind == "voltage change":
        _largest_drop(upper, nodes, float(limit["limit"].iloc[0]))
    _loadings(lower, elements, loads, "" if at_bus else binds)
    for axes in (upper, lower):
        axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _voltages(
    axes: Axes, nodes: pd.DataFrame, loads: tuple[str, ...], binds: str
) -> None:
    """Draw the voltage profile, with the limit of each bus."""
    x = _places(nodes)
    on = nodes["on_path"].to_numpy(dtype=bool)
    for (state, _, style, colour, _), words in zip(_STATES, loads, strict=True):
        value = nodes[f"{state}_pu"].to_numpy(dtype=float)
        axes.plot(x[on], value[on], style, color=colour, label=words, marker="o", ms=4)
        axes.plot(x[~on], value[~on], color=colour, marker="D", ls="", ms=5)
    least = nodes["min_pu"].to_numpy(dtype=float)
    _limit_line(axes, x, least, "least voltage allowed")
    axes.set_ylabel("voltage [pu]")
    axes.set_xlabel("bus, from the source to the connection")
    _names(axes, x, nodes["bus"].tolist(), binds)
    axes.grid(axis="y", color="0.9")


def _largest_drop(axes: Axes, nodes: pd.DataFrame, drop_pu: float) -> None:
    """Draw how far switching on may lower the voltage at the connection."""
    last = int(nodes["on_path"].sum()) - 1
    least = float(nodes["base_pu"].iloc[last]) - drop_pu
    words = f"largest voltage change\n({quantity(drop_pu, 'pu', 3)})"
    axes.plot([last - 0.5, last + 0.5], [least] * 2, color="#e69f00", lw=2, label=words)


def _loadings(
    axes: Axes, elements: pd.DataFrame, loads: tuple[str, ...], binds: str
) -> None:
    """Draw the loading of each element in each state."""
    x = _places(elements)
    for i, ((state, _, _, colour, hatch), words) in enumerate(
        zip(_STATES, loads, strict=True)
    ):
        axes.bar(
            x + 0.27 * (i - 1),
            elements[f"{state}_percent"].to_numpy(dtype=float),
            0.25,
            color="white" if hatch else colour,
            edgecolor=colour,
            hatch=hatch,
            label=words,
        )
    most = elements["limit_percent"].to_numpy(dtype=float)
    _limit_line(axes, x, most, "most allowed")
    axes.set_ylabel("current over rated current [%]")
    axes.set_xlabel("line or transformer, from the source to the connection")
    _names(axes, x, elements["element"].tolist(), binds)
    axes.grid(axis="y", color="0.9")
    axes.set_axisbelow(True)


def _limit_line(
    axes: Axes,
    x: np.ndarray[Any, np.dtype[np.float64]],
    value: np.ndarray[Any, np.dtype[np.float64]],
    words: str,
) -> None:
    """Draw a limit over each place that has one."""
    if np.isfinite(value).any():
        axes.hlines(value, x - 0.45, x + 0.45, color=_LIMIT_COLOUR, label=words)


def _places(table: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return where each row stands; what is beside the path after a gap."""
    beside = ~table["on_path"].to_numpy(dtype=bool)
    return np.arange(len(table)) + 0.8 * beside


def _names(
    axes: Axes,
    x: np.ndarray[Any, np.dtype[np.float64]],
    names: list[Any],
    binds: str,
) -> None:
    """Write names below the axis, what binds in bold, and not too many."""
    every = -(-len(names) // _MOST_NAMES) or 1
    shown = [
        i
        for i, name in enumerate(names)
        if i % every == 0 or i == len(names) - 1 or name == binds
    ]
    written = [plain_text(str(names[i])[:24]).plain for i in shown]
    axes.set_xticks(x[shown], written, rotation=60, ha="right", fontsize=7)
    for i, label in zip(shown, axes.get_xticklabels(), strict=True):
        label.set_parse_math(False)
        label.set_rotation_mode("anchor")
        if names[i] == binds:
            label.set_fontweight("bold")


def _place(row: Mapping[Any, Any], name: str) -> str:
    """Return the number and the name of a row of the path."""
    phases = row.get("phases", "ABC")
    shown = row[name] if phases == "ABC" else f"{row[name]}.{phases}"
    return f"{row['position'] if row['on_path'] else 'beside'}: {shown}"


def _or_none(value: object, digits: int) -> str:
    """Return a number; a dash where there is no limit or no rating."""
    shown = quantity(value, digits=digits)
    return "-" if shown == "n/a" else shown


def _table(title: str, header: Iterable[str], rows: Iterable[Iterable[str]]) -> Table:
    table = Table(title=title)
    for i, words in enumerate(header):
        table.add_column(plain_text(words), justify="right" if i else "left")
    for row in rows:
        table.add_row(*(plain_text(cell) for cell in row))
    return table


def explanation_facts(
    row: Mapping[str, Any],
    *,
    reason: str,
    time: object,
    summary: Mapping[str, Any],
    in_plan: str = "",
) -> dict[str, str]:
    """
    Return what a replayed value is, topic by topic.

    Parameters
    ----------
    row : mapping
        A row of the hosting table.
    reason : str
        What the replay confirmed.
    time : object
        The step; None where nothing was replayed.
    summary : mapping
        Summary of the run, for the length of a step.
    in_plan : str, default ""
        Why the building hosts units in the plan, or none.

    Returns
    -------
    dict of str to str
        Texts by topic.
    """
    where = f"{row['port_id']} at bus {row['bus']}"
    feeder = f", feeder {row['feeder_id']}" if row["feeder_id"] else ""
    second = f"{row['second_criterion']} of {row['second_element']}"
    length = quantity(summary.get("step_minutes"), "min", 0)
    when = f"{moment(time)} (steps of {length})" if moment(time) else ""
    if when and (summary.get("replay") or {}).get("steps") == 1:
        when = "the one state of the run"
    status = STATUS_TEXT[str(row["firm_status"])]
    assumed = "the rating of the service, or the load" if row["assumed"] else ""
    if row.get("limit_rating_assumed"):
        assumed = f"the rating of {row['limit_element']}, which binds here"
    return {
        "building": str(row["building_id"]),
        "connection": where + feeder,
        "status": status,
        "firm capacity": quantity(row["firm_kw"], "kW", 2),
        "why": reason,
        "step": when,
        "next limit": f"{second} (linear estimate)" if row["second_criterion"] else "",
        "assumed": assumed,
        "in the plan": in_plan,
    }


def figure_path(path: str | Path, building: str | None = None) -> Path:
    """
    Return where a figure goes, refusing a place that cannot take it.

    Parameters
    ----------
    path : str or pathlib.Path
        The file; a folder where ``building`` is given.
    building : str, optional
        Whose figure ``explain-NAME.png`` it is, in letters that files may have.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    ConfigError
        If there is no such folder, or the file is of another kind.

    Examples
    --------
    >>> figure_path(".", "house 12/a").name
    'explain-house-12-a.png'
    """
    file = Path(path)
    if building is not None:
        slug = re.sub(r"[^\w.]+", "-", building).strip("-.")[:80] or "building"
        file = file / f"explain-{slug}.png"
    if file.suffix.lower() not in _SUFFIXES or not file.parent.is_dir():
        msg = f"figure {file}: give a file in a folder that exists: {_SUFFIXES}"
        raise ConfigError(msg)
    return file
