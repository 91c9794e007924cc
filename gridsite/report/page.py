"""
The words around the map: headline, warnings, comparison, what is not checked.

Texts are plain here; the template escapes every one of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from gridsite.report.display import is_rated, moment, quantity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gridsite.report.export import Results

#: Metrics of the comparison: column, words, factor for reading, unit, digits.
#: The unit ``money`` stands for millions of the study's currency.
COMPARISON_METRICS = (
    ("served_share", "demand served", 100.0, "%", 1),
    ("objective", "net present cost", 1e-6, "money", 2),
    ("it_hardware_present", "IT hardware", 1e-6, "money", 2),
    ("infrastructure_present", "infrastructure", 1e-6, "money", 2),
    ("installation_present", "installation", 1e-6, "money", 2),
    ("energy_present", "energy", 1e-6, "money", 2),
    ("host_present", "host payment", 1e-6, "money", 2),
    ("maintenance_present", "maintenance", 1e-6, "money", 2),
    ("network_present", "network", 1e-6, "money", 2),
    ("carbon_present", "carbon price", 1e-6, "money", 2),
    ("fixed_present", "fixed site cost", 1e-6, "money", 2),
    ("unserved_present", "unserved demand", 1e-6, "money", 2),
    ("gap", "gap to the bound", 100.0, "%", 2),
    ("months_to_full", "time to full capacity", 1.0, "months", 0),
    ("rtt_p50_ms", "round trip, median user", 1.0, "ms", 1),
    ("rtt_p95_ms", "round trip, 95 % of users", 1.0, "ms", 1),
    ("peak_loading_percent", "peak loading", 1.0, "%", 0),
    ("losses_mwh_per_year", "grid losses", 1.0, "MWh/year", 0),
    ("carbon_t_per_year", "carbon", 1.0, "t/year", 0),
    ("water_m3_per_year", "water", 1.0, "m³/year", 0),
)

#: Errors of the feeder's data that a warning repeats.
_ERRORS_SHOWN = 3


def money_unit(summary: Mapping[str, Any]) -> str:
    """
    Return the unit of money in words, in millions.

    Parameters
    ----------
    summary : mapping
        Summary of a run.

    Returns
    -------
    str
        For example ``M EUR``.

    Examples
    --------
    >>> money_unit({"currency": "EUR"}), money_unit({})
    ('M EUR', 'M')
    """
    return f"M {summary.get('currency') or ''}".rstrip()


def texts(summary: Mapping[str, Any], key: str) -> list[str]:
    """
    Return a list of texts of the summary.

    Parameters
    ----------
    summary : mapping
        Summary of a run.
    key : str
        Name of the list, such as ``generated`` or ``not_checked``.

    Returns
    -------
    list of str
        Empty where the summary has none.
    """
    return [str(text) for text in summary.get(key) or []]


def generated_note(summary: Mapping[str, Any]) -> str:
    """
    Return the note that names the generated data behind a picture.

    Parameters
    ----------
    summary : mapping
        Summary of a run.

    Returns
    -------
    str
        Empty if no data were generated.

    Examples
    --------
    >>> generated_note({"generated": ["roofs", "users"]})
    'Generated data: roofs; users'
    """
    names = texts(summary, "generated")
    return f"Generated data: {'; '.join(names)}" if names else ""


def replay_text(summary: Mapping[str, Any]) -> str:
    """
    Return what the replay found, in words.

    Parameters
    ----------
    summary : mapping
        Summary of a run.

    Returns
    -------
    str
        The result, or that there was no replay.

    Examples
    --------
    >>> replay_text({"replay": {"steps": 8760, "new": 0, "worsened": 0}})
    'AC replay of 8,760 steps: 0 limits newly broken, 0 worsened'
    """
    replay = summary.get("replay")
    if not replay:
        return "no AC replay"
    words = (
        f"AC replay of {quantity(replay.get('steps'), digits=0)} steps: "
        f"{quantity(replay.get('new'), digits=0)} limits newly broken, "
        f"{quantity(replay.get('worsened'), digits=0)} worsened"
    )
    base = replay.get("base_violations")
    return words + (f" ({base:,} broken without the plan)" if base else "")


def step_text(summary: Mapping[str, Any]) -> str:
    """
    Return the step length that stands beside every capacity.

    Parameters
    ----------
    summary : mapping
        Summary of a run.

    Returns
    -------
    str
        Empty where the summary has no ``step_minutes``.

    Examples
    --------
    >>> step_text({"step_minutes": 60.0})
    'from steps of 60 minutes'
    >>> step_text({"step_minutes": 60.0, "replay": {"steps": 1}})
    'from one state of the loads'
    """
    minutes = summary.get("step_minutes")
    if (summary.get("replay") or {}).get("steps") == 1:
        return "from one state of the loads"
    return f"from steps of {minutes:g} minutes" if minutes else ""


def headline(results: Results) -> list[str]:
    """
    Return the run in a few phrases.

    Parameters
    ----------
    results : Results
        Tables of a run.

    Returns
    -------
    list of str
        Phrases to be set side by side.
    """
    summary, hosting = results.summary, results.hosting
    if results.plan is None:
        rated = int(is_rated(hosting["firm_status"]).sum())
        words = f"hosting only: {rated:,} of {len(hosting):,} connections rated"
        return [f"{words} {step_text(summary)}".rstrip()]

    def shown(key: str, unit: str, digits: int = 0, factor: float = 1.0) -> str:
        value = summary.get(key)
        return quantity(None if value is None else value * factor, unit, digits)

    cost, unserved = shown("objective", money_unit(summary), 2, 1e-6), ""
    if summary.get("unserved_present", 0.0) > 0.0:
        money = shown("unserved_present", money_unit(summary), 2, 1e-6)
        unserved = f", {money} of it the price of unserved demand"
    one = summary.get("buildings_used") == 1
    houses = shown("buildings_used", "building" if one else "buildings")
    return [
        f"{shown('units', 'units')} on {houses}",
        f"{shown('rated_kw', 'kW')} rated, {shown('it_kw', 'kW')} IT at buildings",
        f"{shown('central_it_kw', 'kW')} IT at central sites",
        f"{shown('served_share', '%', 1, 100.0)} of demand served",
        f"net present cost {cost}{unserved}",
        f"gap {shown('gap', '%', 2, 100.0)}",
        replay_text(summary),
    ]


def comparison_rows(results: Results) -> tuple[list[str], list[list[str]]]:
    """
    Return the comparison with one column per strategy, as text.

    Parameters
    ----------
    results : Results
        Tables of a run.

    Returns
    -------
    header : list of str
        Empty first cell, then the strategies.
    rows : list of list of str
        Status, then the metrics that the table has. A last row says which
        strategies are not comparable because they serve other shares.
    """
    table = results.comparison
    if table is None or table.empty:
        return [], []
    rows = [["status", *table["status"]]]
    money = money_unit(results.summary)
    for column, words, factor, unit, digits in COMPARISON_METRICS:
        if column in table.columns and table[column].notna().any():
            values = [quantity(v * factor, "", digits) for v in table[column]]
            rows.append([f"{words} [{money if unit == 'money' else unit}]", *values])
    if "comparable" in table.columns and not table["comparable"].all():
        marks = ["yes" if c else "NO: other share served" for c in table["comparable"]]
        rows.append(["comparable", *marks])
    return ["", *table["strategy"]], rows


def warnings(results: Results) -> list[str]:
    """
    Return what a reader must see first because it makes the plan unsafe.

    Parameters
    ----------
    results : Results
        Tables of a run.

    Returns
    -------
    list of str
        Sentences; empty for a run without such findings.
    """
    found = []
    replay = results.summary.get("replay") or {}
    broken = (replay.get("new") or 0) + (replay.get("worsened") or 0)
    if broken:
        found.append(f"This plan is not safe: {replay_text(results.summary)}.")
    if results.plan is not None and not replay:
        found.append("This plan was not replayed in AC power flow.")
    if results.summary.get("status") == "not_verified":
        found.append("The plan is not verified: limits are still broken in replay.")
    if results.findings is not None:
        found += _error_text(results.findings)
    return found


def _error_text(findings: pd.DataFrame) -> list[str]:
    """Return a sentence on what is wrong with the feeder, if anything is."""
    errors = findings[findings["severity"] == "error"]
    if errors.empty:
        return []
    first = "; ".join(errors["message"].head(_ERRORS_SHOWN))
    more = "; ..." if len(errors) > _ERRORS_SHOWN else ""
    text = (
        f"{len(errors)} error(s) in the data of the feeder, on which the results rest: "
        f"{first}{more}. They are in checks.html; gridsite check lists all."
    )
    return [text]


def page_context(results: Results, notes: list[str]) -> dict[str, Any]:
    """
    Return the texts of the page around the map.

    Parameters
    ----------
    results : Results
        Tables of a run.
    notes : list of str
        Remarks on what the map does not show.

    Returns
    -------
    dict
        Variables of the template, not escaped.
    """
    summary = results.summary
    header, rows = comparison_rows(results)
    violations = results.violations
    worst = pd.DataFrame() if violations is None else violations.head(8)
    return {
        "study": str(summary.get("study") or "gridsite"),
        "place": str(summary.get("place") or ""),
        "status": str(summary.get("status") or ""),
        "price_year": str(summary.get("price_year") or ""),
        "headline": headline(results),
        "warnings": warnings(results),
        "generated": texts(summary, "generated"),
        "notes": notes,
        "comparison_header": header,
        "comparison": rows,
        "violation_count": 0 if violations is None else len(violations),
        "violations": [
            f"{row['criterion']} at {row['element']}, {moment(row['time'])}: "
            f"{quantity(row['value'], digits=3)}, limit "
            f"{quantity(row['limit'], digits=3)}, without the plan "
            f"{quantity(row['base_value'], digits=3)}"
            for row in worst.to_dict("records")
        ],
        "not_checked": texts(summary, "not_checked"),
        "assumptions": texts(summary, "assumptions"),
    }
