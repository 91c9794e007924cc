"""Grid rows that can bind, and what upgrades add to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from gridsite.siting.periods import capital_by_period, telescoped
from gridsite.siting.reduce_tables import FIT, earlier

if TYPE_CHECKING:
    from gridsite.siting.problem import SitingProblem

#: Largest number of rows among which implied ones are looked for.
_MOST_ROWS_COMPARED = 20_000


def grid_terms(
    problem: SitingProblem, options: pd.DataFrame, *, drop: bool
) -> tuple[pd.DataFrame, sparse.csr_array]:
    """
    Return the rows that can bind, divided by their headroom.

    Parameters
    ----------
    problem : SitingProblem
        The problem.
    options : pandas.DataFrame
        Options in their final order.
    drop : bool
        Leave out rows that never bind or that another implies.

    Returns
    -------
    rows : pandas.DataFrame
        ``row_id, period, limit, scale``: 1, or 0 for a row without headroom;
        what the row was divided by.
    terms : scipy.sparse.csr_array
        Share of each row that one unit of each option takes.

    Notes
    -----
    A row that upgrades relieve is implied by no other and implies none.
    """
    rows = problem.rows.sort_values("row_id", ignore_index=True)
    at = options["period"].astype(str) + " " + options["port_id"]
    at = at.where(options["port_id"] != "", "")
    ports = pd.Index(sorted(set(at) - {""}))
    terms = problem.row_coefficients
    row = pd.Index(rows["row_id"]).get_indexer(terms["row_id"])
    when = rows["period"].astype(str).to_numpy()[row]
    port = ports.get_indexer(pd.Index(when + " " + terms["port_id"]))
    used = (port >= 0) & (terms["coefficient"].to_numpy() != 0.0)
    matrix = sparse.csr_array(
        (terms["coefficient"].to_numpy()[used], (row[used], port[used])),
        shape=(len(rows), len(ports)),
    )
    headroom = rows["headroom"].to_numpy()
    largest = abs(matrix).max(axis=1).toarray().ravel() if matrix.nnz else headroom
    scale = np.where(headroom > 0.0, headroom, largest)
    keep = matrix.count_nonzero(axis=1) > 0
    if drop:
        most = _largest_draw(options, at, ports)
        keep &= matrix.maximum(0.0) @ most > headroom
    matrix = sparse.csr_array(matrix[keep].multiply(1.0 / scale[keep, None]))
    table = rows.loc[keep, ["row_id", "period"]].reset_index(drop=True)
    table = table.assign(limit=(headroom[keep] > 0.0).astype(float), scale=scale[keep])
    if drop and len(table) <= _MOST_ROWS_COMPARED:
        relieved = table["row_id"].isin(problem.upgrade_effects["row_id"]).to_numpy()
        limit = np.where(relieved, 0.0, table["limit"].to_numpy())
        needed = _not_implied(matrix, limit)
        table, matrix = table[needed].reset_index(drop=True), matrix[needed]
    position = ports.get_indexer(pd.Index(at))
    spread = sparse.csr_array(
        (
            options["rated_kw"].to_numpy()[position >= 0],
            (position[position >= 0], np.flatnonzero(position >= 0)),
        ),
        shape=(len(ports), len(options)),
    )
    return table, sparse.csr_array(matrix @ spread)


def upgrade_table(
    problem: SitingProblem, rows: pd.DataFrame
) -> tuple[pd.DataFrame, sparse.csr_array]:
    """
    Return the upgrades that relieve a row, once for each period.

    Parameters
    ----------
    problem : SitingProblem
        The problem.
    rows : pandas.DataFrame
        From `grid_terms`.

    Returns
    -------
    upgrades : pandas.DataFrame
        As ``ReducedProblem.upgrades``.
    terms : scipy.sparse.csr_array, shape (n_rows, n_upgrades)
        What each adds to each row, in shares of the row.
    """
    effects = problem.upgrade_effects
    effects = effects[effects["row_id"].isin(rows["row_id"])]
    useful = problem.upgrades["upgrade_id"].isin(effects["upgrade_id"]).to_numpy()
    weights = telescoped(capital_by_period(problem, "upgrades"))[:, useful]
    some = problem.upgrades[useful].reset_index(drop=True)
    parts = [
        some.assign(
            period=t,
            capital=weights[t],
            upper=(some["lead_periods"] <= t) | (len(problem.periods) == 1),
        )
        for t in problem.periods["period"]
    ]
    table = pd.concat(parts, ignore_index=True)
    table = table.sort_values(["period", "upgrade_id"], ignore_index=True)
    table["upper"] = table["upper"].astype(int)
    table["before"] = earlier(table, ["upgrade_id"])
    at = pd.MultiIndex.from_frame(table[["upgrade_id", "period"]])
    row = pd.Index(rows["row_id"]).get_indexer(pd.Index(effects["row_id"]))
    when = rows["period"].to_numpy()[row]
    column = at.get_indexer(pd.MultiIndex.from_arrays([effects["upgrade_id"], when]))
    values = effects["added_headroom"].to_numpy() / rows["scale"].to_numpy()[row]
    shape = (len(rows), len(table))
    terms = sparse.csr_array((values, (row, column)), shape=shape)
    return table[["upgrade_id", "period", "capital", "upper", "before"]], terms


def _largest_draw(
    options: pd.DataFrame, at: pd.Series[str], ports: pd.Index[str]
) -> np.ndarray:
    """Return the most that each connection can draw, in kW."""
    table = pd.DataFrame(
        {
            "port_id": at,
            "units": options["upper"] * options["rated_kw"],
            "existing": options["lower"] * options["rated_kw"],
            "own": options["own_limit_kw"].fillna(np.inf) * (1.0 + FIT),
        }
    ).groupby("port_id")
    most = table["units"].sum().clip(upper=table["own"].max())
    return most.clip(lower=table["existing"].sum()).reindex(ports).to_numpy()


def _not_implied(matrix: sparse.csr_array, limit: np.ndarray) -> np.ndarray:
    """Return False for rows that another row with headroom implies."""
    alive = limit > 0.0
    whole = np.ones(len(limit), dtype=bool)
    if not matrix.nnz:
        return whole
    columns = matrix.tocsc()
    may_imply = alive & (matrix.min(axis=1).toarray().ravel() >= 0.0)
    for i in np.flatnonzero(alive):
        part = slice(matrix.indptr[i], matrix.indptr[i + 1])
        ports, values = matrix.indices[part], matrix.data[part]
        peak = ports[np.argmax(values)]
        column = slice(columns.indptr[peak], columns.indptr[peak + 1])
        rivals = columns.indices[column][columns.data[column] >= values.max()]
        rivals = rivals[may_imply[rivals] & whole[rivals] & (rivals != i)]
        if len(rivals):
            block = matrix[rivals][:, ports].toarray()
            whole[i] = not (block >= values).all(axis=1).any()
    return whole
