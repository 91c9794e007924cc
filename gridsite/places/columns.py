"""Check the labels and numbers of a table before they are used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def first_rows(rows: pd.Index) -> str:
    """
    Say how many rows are at fault and which come first.

    Parameters
    ----------
    rows : pandas.Index
        Index of the rows at fault.

    Returns
    -------
    str
        Part of a message.

    Examples
    --------
    >>> first_rows(pd.Index([4, 7]))
    '2 row(s), first [4, 7]'
    """
    return f"{len(rows)} row(s), first {rows[:3].tolist()}"


def text_labels(table: pd.DataFrame, column: str, where: str) -> pd.Series[str]:
    """
    Return a column of labels as text; a missing label is an error.

    Parameters
    ----------
    table : pandas.DataFrame
        Table with the column.
    column : str
        Name of the column.
    where : str
        What messages call the table.

    Returns
    -------
    pandas.Series of str
        The labels on the table's index; whole numbers without a decimal point.

    Raises
    ------
    DataError
        If the column or a label is missing.

    Examples
    --------
    >>> text_labels(pd.DataFrame({"id": [7.0, 8.0]}), "id", "roofs").tolist()
    ['7', '8']
    """
    if column not in table:
        msg = f"{where}: no column {column!r}; there are {list(table.columns)}"
        raise DataError(msg)
    values = table[column]
    bad = (values.isna() | (values.astype(str).str.strip() == "")).to_numpy()
    if bad.any():
        msg = f"{where}: column {column!r} is empty in {first_rows(table.index[bad])}"
        raise DataError(msg)
    if pd.api.types.is_float_dtype(values) and (values % 1 == 0).all():
        values = values.astype("int64")
    return values.astype(str)


def unique_labels(table: pd.DataFrame, column: str, where: str) -> pd.Series[str]:
    """
    Return a key column as text; a label that stands twice is an error.

    Parameters
    ----------
    table : pandas.DataFrame
        Table with the column.
    column : str
        Name of the column.
    where : str
        What messages call the table.

    Returns
    -------
    pandas.Series of str
        The labels on the table's index.

    Raises
    ------
    DataError
        If the column or a label is missing, or a label stands twice; ``failures``
        lists every such row.

    Examples
    --------
    >>> unique_labels(pd.DataFrame({"id": ["a", "a"]}), "id", "roofs")
    Traceback (most recent call last):
    ...
    gridsite.errors.DataError: roofs: column 'id' holds 1 label(s) more than once, \
first ['a']; make each unique or dissolve its rows
    """
    labels = text_labels(table, column, where)
    again = labels.duplicated(keep=False)
    if again.any():
        twice = sorted(labels[again].unique())
        msg = (
            f"{where}: column {column!r} holds {len(twice)} label(s) more than once, "
            f"first {twice[:5]}; make each unique or dissolve its rows"
        )
        raise DataError(msg, pd.DataFrame({column: labels[again]}))
    return labels


def amounts(
    table: pd.DataFrame, column: str, labels: pd.Series[str], where: str
) -> NDArray[np.float64]:
    """
    Return a column of numbers; NaN, infinite or negative ones are errors.

    Parameters
    ----------
    table : pandas.DataFrame
        Table with the column.
    column : str
        Name of the column.
    labels : pandas.Series of str
        What messages call each row.
    where : str
        What messages call the table.

    Returns
    -------
    numpy.ndarray of float, shape (n_row,)
        The numbers, all finite and at least 0.

    Raises
    ------
    DataError
        If the column is missing or a value is not a number of at least 0;
        ``failures`` lists every such row.

    Examples
    --------
    >>> zones = pd.DataFrame({"zone_id": ["a", "b"], "users": [3.0, -1.0]})
    >>> amounts(zones, "users", zones["zone_id"], "zones")
    Traceback (most recent call last):
    ...
    gridsite.errors.DataError: zones: column 'users' must be finite and at least 0, \
but is not in 1 row(s), first b = -1.0
    """
    if column not in table:
        msg = f"{where}: no column {column!r}; there are {list(table.columns)}"
        raise DataError(msg)
    numbers = pd.to_numeric(table[column], errors="coerce").to_numpy(float)
    bad = ~(np.isfinite(numbers) & (numbers >= 0.0))
    if bad.any():
        failures = pd.DataFrame(
            {"label": labels.to_numpy()[bad], column: table[column].to_numpy()[bad]}
        )
        first = [f"{label} = {value}" for label, value in failures.to_numpy()[:3]]
        msg = (
            f"{where}: column {column!r} must be finite and at least 0, but is not in "
            f"{len(failures)} row(s), first {', '.join(first)}"
        )
        raise DataError(msg, failures)
    return numbers
