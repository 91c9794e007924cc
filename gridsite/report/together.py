"""Tables for the terminal of what connections do together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from gridsite.report.display import quantity
from gridsite.report.tables import plain_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from gridsite.report.export import Results

#: Rows of a table that are shown; the file has all.
_SHOWN = 12


def together_tables(results: Results) -> list[Table]:
    """
    Return what connections do together, as far as the run has it.

    Parameters
    ----------
    results : Results
        Tables of a run.

    Returns
    -------
    list of rich.table.Table
        What they can draw together beside the sum of the singles, by feeder and split,
        with the estimated bound of the maximum; the limits that most buildings share;
        flexible units that share the headroom. [kW] None of a table without rows.
    """
    makers = (
        (_joint, results.joint),
        (_assets, results.shared_assets),
        (_units, results.shared_units),
    )
    return [make(table) for make, table in makers if table is not None and len(table)]


def _joint(joint: pd.DataFrame) -> Table:
    table = _empty(
        "What connections can draw together",
        ("feeder", "split"),
        ("together [kW]", "sum of singles [kW]", "ratio"),
        ("limit that binds",),
    )
    for row in joint.to_dict("records"):
        for kind in ("equal", "proportional", "max"):
            limit = f"{row[f'{kind}_criterion']} {row[f'{kind}_element']}".strip()
            total = quantity(row[f"joint_{kind}_kw"])
            if kind == "max":
                total += f" to {quantity(row['joint_max_bound_kw'])}"
            cells = [row["feeder_id"], kind, total]
            cells += [quantity(row["sum_of_singles_kw"])]
            cells += [quantity(row[f"sum_to_{kind}"]), limit or row[f"{kind}_status"]]
            table.add_row(*map(plain_text, cells))
    return table


def _assets(assets: pd.DataFrame) -> Table:
    table = _empty(
        "Limits that buildings share" + _cut(assets),
        ("feeder", "limit", "element"),
        ("buildings", "sum of singles [kW]", "together [kW]"),
    )
    for row in assets.head(_SHOWN).to_dict("records"):
        cells = [row["feeder_id"], row["criterion"], row["element"]]
        cells += [f"{row['n_buildings']:,}", quantity(row["sum_of_singles_kw"])]
        table.add_row(*map(plain_text, [*cells, quantity(row["joint_kw"])]))
    return table


def _units(units: pd.DataFrame) -> Table:
    words = ("rated [kW]", "alone, firm [kW]", "served [%]", "steps curtailed")
    table = _empty(
        "Flexible units that share the headroom" + _cut(units),
        ("building",),
        (*words, "longest [h]"),
    )
    for row in units.head(_SHOWN).to_dict("records"):
        cells = [row["building_id"], quantity(row["rated_kw"])]
        cells += [quantity(row["firm_kw"]), f"{100.0 * row['served_share']:.2f}"]
        cells += [f"{row['steps_curtailed']:,}"]
        cells += [f"{row['longest_curtailment_h']:g}"]
        table.add_row(*map(plain_text, cells))
    return table


def _cut(rows: pd.DataFrame) -> str:
    return f" (first {_SHOWN} of {len(rows):,})" if len(rows) > _SHOWN else ""


def _empty(
    title: str, left: Sequence[str], right: Sequence[str], last: Sequence[str] = ()
) -> Table:
    """Return a table without rows; numbers stand on the right."""
    table = Table(title=title)
    for words in left:
        table.add_column(plain_text(words))
    for words in right:
        table.add_column(plain_text(words), justify="right")  # units stand in brackets
    for words in last:
        table.add_column(plain_text(words))
    return table
