"""Tables of a run for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.table import Table
from rich.text import Text

from gridsite.report.display import STATUS_TEXT, UNRATED_CURE, quantity
from gridsite.report.page import (
    comparison_rows,
    headline,
    replay_text,
    step_text,
    texts,
    warnings,
)
from gridsite.untrusted import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gridsite.report.export import Results

_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
#: Limits broken without any load that are named, those of most connections first.
_BROKEN_SHOWN = 3
#: Units of values that are shown bare.
_UNITLESS = ("", "-", "count")
_SEVERITY_STYLES = {"error": "bold red", "warning": "yellow"}


def summary_table(results: Results) -> Table:
    """
    Return what came out of a run and what it does not cover.

    Parameters
    ----------
    results : Results
        Tables of a run.

    Returns
    -------
    rich.table.Table
        Two columns: topic and text.
    """
    summary = results.summary
    table = Table(
        "", "", title=plain_text(summary.get("study") or "gridsite"), show_header=False
    )
    lines = [
        ("place", [str(summary.get("place") or "")]),
        ("status", [str(summary.get("status") or "")]),
        ("WARNING", warnings(results)),
        (
            "result",
            [line for line in headline(results) if line != replay_text(summary)],
        ),
        ("replay", [replay_text(summary)] if results.plan is not None else []),
        ("generated data", texts(summary, "generated")),
        ("assumption", texts(summary, "assumptions")),
        ("not checked", texts(summary, "not_checked")),
    ]
    for topic, entries in lines:
        if any(entries):
            style = "bold red" if topic == "WARNING" else ""
            table.add_row(Text(topic), plain_text("\n".join(entries)), style=style)
    return table


def hosting_table(results: Results) -> Table:
    """
    Return quantiles of the hosting capacity and counts by status and limit.

    Parameters
    ----------
    results : Results
        Tables of a run.

    Returns
    -------
    rich.table.Table
        Quantiles run over connections with status ``ok``, ``censored`` (a
        lower bound) or ``none_base_violation`` (0 kW). [kW]
    """
    hosting = results.hosting
    steps = step_text(results.summary)
    title = f"Hosting capacity of single connections {steps}".rstrip()
    table = Table("", title=title, caption="single capacities do not add up")
    for words in ("firm [kW]", "flexible, 98 % of energy [kW]"):
        table.add_column(Text(words), justify="right")
    pairs = (
        ("firm_kw", "firm_status"),
        ("flexible_energy98_kw", "flexible_status"),
    )
    with_value = ["ok", "censored", "none_base_violation"]
    known = [
        hosting.loc[hosting[status].isin(with_value), column]
        for column, status in pairs
    ]
    for share in _QUANTILES:
        cells = [quantity(float(v.quantile(share)) if len(v) else None) for v in known]
        table.add_row(f"{100.0 * share:.0f} % of connections have at most", *cells)
    table.add_section()
    counts = [hosting[status].value_counts() for _, status in pairs]
    for status, words in STATUS_TEXT.items():
        cells = [f"{int(count.get(status, 0)):,}" for count in counts]
        if any(cell != "0" for cell in cells):
            table.add_row(f"number with status: {words}", *cells)
            if status == "unrated":
                table.add_row(plain_text(UNRATED_CURE), "", "")
    table.add_section()
    for words, number in _limit_counts(hosting):
        table.add_row(plain_text(words), f"{number:,}", "")
    return table


def _limit_counts(hosting: pd.DataFrame) -> Iterator[tuple[str, int]]:
    """Yield what limits connections, what is broken before them, and how many."""
    limits = hosting.loc[hosting["firm_status"] == "ok", "limit_criterion"]
    for name, number in limits.value_counts().items():
        yield f"number with limit: {str(name) or 'not named'}", int(number)
    rows = hosting[hosting["firm_status"] == "none_base_violation"]
    broken = (rows["limit_criterion"] + " of " + rows["limit_element"]).value_counts()
    for name, number in broken.head(_BROKEN_SHOWN).items():
        yield f"broken already: {name}", int(number)
    if len(broken) > _BROKEN_SHOWN:
        left = int(broken.iloc[_BROKEN_SHOWN:].sum())
        yield f"broken already: {len(broken) - _BROKEN_SHOWN:,} other limits", left
    assumed = hosting.get("limit_rating_assumed", pd.Series(dtype=bool)).sum()
    if assumed:
        yield "of all these limits on an assumed line rating", int(assumed)


def comparison_table(results: Results) -> Table:
    """
    Return the strategies side by side.

    Parameters
    ----------
    results : Results
        Tables of a run.

    Returns
    -------
    rich.table.Table
        One column per strategy; no rows where the run has no comparison.
    """
    year = results.summary.get("price_year")
    caption = f"costs are net present, in prices of {year}" if year else None
    header, rows = comparison_rows(results)
    table = Table(title="Strategies compared", caption=caption)
    for i, cell in enumerate(header):
        table.add_column(plain_text(cell), justify="right" if i else "left")
    for row in rows:
        table.add_row(*_texts(row))
    return table


def findings_table(findings: pd.DataFrame) -> Table:
    """
    Return what a check found.

    Parameters
    ----------
    findings : pandas.DataFrame
        Columns ``severity``, ``element``, ``value``, ``message``, ``cure``, ``unit``
        of the value, and ``subject`` where there is more than the feeder.

    Returns
    -------
    rich.table.Table
        One row per finding, in the order given: its message, with element, value
        and cure below it, which fits a terminal of 80 columns.
    """
    columns = ["severity"]
    if "subject" in findings and (findings["subject"] != "feeder").any():
        columns = ["subject", *columns]
    table = Table(title=f"{len(findings):,} findings", show_lines=True)
    for name in columns:
        table.add_column(name, no_wrap=True)
    table.add_column("finding", overflow="fold")
    for row in findings.to_dict("records"):
        cells = [*(row[name] for name in columns), _finding_text(row)]
        table.add_row(*_texts(cells), style=_SEVERITY_STYLES.get(row["severity"], ""))
    return table


def _finding_text(row: dict[Any, Any]) -> str:
    """Return message, element, value and cure, a line each; empty ones are left out."""
    lines = {
        "": row["message"],
        "element: ": row["element"],
        "value: ": value_text(row["value"], row.get("unit", "")),
        "cure: ": row["cure"],
    }
    texts = {name: str(text).replace("\n", " ") for name, text in lines.items()}
    return "\n".join(f"{name}{text}" for name, text in texts.items() if text)


def value_text(value: Any, unit: str = "") -> str:  # noqa: ANN401
    """
    Return the value of a finding as text.

    Parameters
    ----------
    value : object
        A number, or nothing.
    unit : str, default ""
        Its unit; a count and a ratio show none.

    Returns
    -------
    str
        Six digits and the unit; empty where there is no number.

    Examples
    --------
    >>> value_text(0.95123456, "pu"), value_text(3.0, "count")
    ('0.951235 pu', '3')
    >>> value_text(float("nan"), "%")
    ''
    """
    if pd.isna(value):
        return ""
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if unit in _UNITLESS else f"{text} {unit}"


def plain_text(value: object) -> Text:
    """
    Return a text as it stands: no markup, no control characters.

    Parameters
    ----------
    value : object
        Anything that has a text.

    Returns
    -------
    rich.text.Text
        The text.
    """
    return Text(printable(value))


def _texts(values: Iterable[object]) -> list[Text]:
    return [plain_text(value) for value in values]
