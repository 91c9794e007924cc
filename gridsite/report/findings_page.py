"""The page of findings on the inputs; every text on it is escaped."""

from __future__ import annotations

import html
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from gridsite.report.tables import value_text
from gridsite.untrusted import printable

if TYPE_CHECKING:
    from os import PathLike

    import pandas as pd

_COLUMNS = ("subject", "severity", "check", "element", "value", "message", "cure")


def write_findings_page(
    findings: pd.DataFrame, path: str | PathLike[str], *, title: str
) -> Path:
    """
    Write findings as an HTML page that needs no network.

    Parameters
    ----------
    findings : pandas.DataFrame
        ``severity, check, element, value, message, cure, unit`` of the value;
        ``subject`` is the feeder where the table has no such column.
    path : path
        File to be written.
    title : str
        What was checked.

    Returns
    -------
    pathlib.Path
        The path of the file.
    """
    table = findings if "subject" in findings else findings.assign(subject="feeder")
    counts = table["severity"].value_counts()
    rows = []
    for row in table.to_dict("records"):
        shown = row | {"value": value_text(row["value"], row.get("unit", ""))}
        cells = [shown[name] for name in _COLUMNS]
        text = "".join(f"<td>{_escaped(cell)}</td>" for cell in cells)
        rows.append(f'<tr class="{_escaped(row["severity"])}">{text}</tr>')
    named = [f"{count} {name}(s)" for name, count in counts.items()]
    page = Template(
        (files("gridsite.report") / "style/checks.html").read_text("utf-8")
    ).substitute(
        title=_escaped(title),
        counts=_escaped(", ".join(named) or "no findings"),
        head="".join(f"<th>{name}</th>" for name in _COLUMNS),
        rows="\n".join(rows),
    )
    target = Path(path)
    target.write_text(page, encoding="utf-8")
    return target


def _escaped(text: object) -> str:
    return html.escape(printable(text))
