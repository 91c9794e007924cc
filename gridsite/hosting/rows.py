"""
Rows of ``hosting`` while they are filled: an array by column, in order.

Tables of a few rows are filled hundreds of times on a large feeder, so that
labels are left to the table that comes out in the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gridsite.hosting.flexible import LEVELS, level_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    #: values by column, all of one length
    Rows = dict[str, NDArray[Any]]
    Bools = NDArray[np.bool_]
    Ints = NDArray[np.int64]

#: Columns of flexible capacities.
FLEXIBLE = [
    f"flexible_{kind}{level_name(level)}_kw"
    for level in LEVELS
    for kind in ("energy", "hours")
]

#: Columns that come with the connections.
_GIVEN = ["building_id", "port_id", "feeder_id", "bus", "phases", "assumed"]

#: What other columns hold until something is known.
_BLANK = {
    "service_headroom_kw": np.nan,
    "firm_kw": np.nan,
    "firm_status": "ok",
    "flexible_status": "ok",
    "limit_criterion": "",
    "limit_element": "",
    "limit_time": pd.NaT,
    "second_criterion": "",
    "second_element": "",
    "steps_solved": 0,
    "energy98_steps_curtailed": 0,
    "energy98_longest_curtailment_h": np.nan,
    "energy98_interventions_per_year": np.nan,
    "envelope_error_least_kw": np.nan,
    "envelope_error_most_kw": np.nan,
    **dict.fromkeys(FLEXIBLE, np.nan),
}


def blank_rows(group: pd.DataFrame) -> Rows:
    """
    Return hosting rows that hold no value yet.

    Parameters
    ----------
    group : pandas.DataFrame
        Connections, with ``feeder_id``.

    Returns
    -------
    dict of numpy.ndarray
        Columns of ``hosting``.
    """
    rows = {name: group[name].to_numpy(copy=True) for name in _GIVEN}
    for name, value in _BLANK.items():
        dtype = object if isinstance(value, str) or value is pd.NaT else type(value)
        rows[name] = np.full(len(group), value, dtype=dtype)
    return rows


def table_of(rows: Rows, index: pd.Index) -> pd.DataFrame:
    """
    Return rows as a table.

    Parameters
    ----------
    rows : dict of numpy.ndarray
        As from `blank_rows`.
    index : pandas.Index
        Labels.

    Returns
    -------
    pandas.DataFrame
        Rows of ``hosting``.
    """
    table = pd.DataFrame({k: v for k, v in rows.items() if k != "limit_time"}, index)
    when = pd.Series(rows["limit_time"], index, dtype=object)
    table.insert(list(rows).index("limit_time"), "limit_time", when)
    return table


def rows_without_value(group: pd.DataFrame, status: str) -> pd.DataFrame:
    """
    Return hosting rows that say why they hold no value.

    Parameters
    ----------
    group : pandas.DataFrame
        Connections, with ``feeder_id``.
    status : str
        The reason.

    Returns
    -------
    pandas.DataFrame
        Rows of ``hosting``.
    """
    rows = blank_rows(group)
    refuse(rows, np.arange(len(group)), status, np.nan)
    return table_of(rows, group.index)


def open_rows(rows: Rows, at: Ints | slice = slice(None)) -> Bools:
    """
    Return which rows hold a firm or a flexible capacity, or may still.

    Firm capacity may be 0, by a limit that is broken at some step.

    Parameters
    ----------
    rows : dict of numpy.ndarray
        As from `blank_rows`.
    at : numpy.ndarray of int or slice, default all
        Which of them are asked.

    Returns
    -------
    numpy.ndarray of bool
        In that order.
    """
    found: Bools = np.zeros(len(rows["firm_status"][at]), dtype=np.bool_)
    for column in ("firm_status", "flexible_status"):
        status = rows[column][at]
        found |= (status == "ok") | (status == "censored")
    return found


def flexible_columns_of(columns: Iterable[Any]) -> list[str]:
    """
    Return the columns that hold flexible capacities, at whatever level.

    Parameters
    ----------
    columns : iterable
        Names of columns.

    Returns
    -------
    list of str
        In their order.

    Examples
    --------
    >>> flexible_columns_of(["firm_kw", "flexible_status", "flexible_hours90_kw"])
    ['flexible_hours90_kw']
    """
    return [c for c in columns if c.startswith(("flexible_energy", "flexible_hours"))]


def refuse_flexible(rows: Rows, at: Ints, status: str, kw: float = np.nan) -> None:
    """
    Give rows a status, and one value, of flexible capacity alone.

    Parameters
    ----------
    rows : dict of numpy.ndarray
        As from `blank_rows`; changed in place.
    at : numpy.ndarray of int
        Which rows.
    status : str
        Of flexible capacity.
    kw : float, optional
        Value; none by default. [kW]
    """
    rows["flexible_status"][at] = status
    for name in flexible_columns_of(rows):
        rows[name][at] = kw
    for name in [name for name in rows if name.startswith("energy98_")]:
        rows[name][at] = np.nan if rows[name].dtype.kind == "f" else 0


def refuse(rows: Rows, at: Ints, status: str, kw: float) -> None:
    """
    Give rows a status, and one value of all capacities.

    Parameters
    ----------
    rows : dict of numpy.ndarray
        As from `blank_rows`; changed in place.
    at : numpy.ndarray of int
        Which rows.
    status : str
        Of firm and of flexible capacity.
    kw : float
        Value. [kW]
    """
    rows["firm_status"][at], rows["firm_kw"][at] = status, kw
    refuse_flexible(rows, at, status, kw)


def limit_names(
    limits: pd.DataFrame, row: Ints, bus: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """
    Return how limits are called in a table.

    Parameters
    ----------
    limits : pandas.DataFrame
        ``criterion, element`` of a base case, ``BaseCase.rows``.
    row : numpy.ndarray of int, shape (n,)
        Which of them.
    bus : numpy.ndarray of str, shape (n,)
        Of the connection that each stops; the element of a voltage change.

    Returns
    -------
    criterion : numpy.ndarray of str, shape (n,)
        What each limits.
    element : numpy.ndarray of str, shape (n,)
        Where.
    """
    criterion = limits["criterion"].to_numpy()[row]
    element = limits["element"].to_numpy()[row].astype(object)
    return criterion, np.where(criterion == "voltage change", bus, element)


def name_limit(
    rows: Rows,
    at: Ints,
    criterion: str | NDArray[Any],
    element: str | NDArray[Any],
    time: pd.DatetimeIndex | None = None,
) -> None:
    """
    Write which limit binds.

    Parameters
    ----------
    rows : dict of numpy.ndarray
        As from `blank_rows`; changed in place.
    at : numpy.ndarray of int
        Which rows.
    criterion, element : str, or numpy.ndarray of them
        The limit.
    time : pandas.DatetimeIndex, optional
        When, by row; left as it is by default.
    """
    rows["limit_criterion"][at] = criterion
    rows["limit_element"][at] = element
    if time is not None:
        rows["limit_time"][at] = time.astype(object).to_numpy()
