"""
Deployment periods: when money is paid, and what it is then worth.

Cost columns of a problem are net present costs of what stands from period 0 on.
What stands from a later period on costs them times a factor: of the period
(``periods.capital_factor``), unless table ``capital_factors`` has one of its own
for the item and the term. Payments per year weigh the present value factor of
each period, and a factor of the site and the term where table ``running_factors``
has one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.siting.splits import cost_split

if TYPE_CHECKING:
    from gridsite.siting.problem import SitingProblem

#: Tables with capital, with the column that names an item in `capital_factors`.
_ITEMS = {
    "sites": ("site_id", "fixed_capital"),
    "site_options": ("unit", "unit_capital"),
    "groups": ("group_id", "onboarding_cost"),
    "upgrades": ("upgrade_id", "capital"),
}


def one_period(present_value_factor: float) -> pd.DataFrame:
    """
    Return the table ``periods`` of a problem without deployment over time.

    Parameters
    ----------
    present_value_factor : float
        Present value of 1 a year over the horizon. [a]

    Returns
    -------
    pandas.DataFrame
        Contract ``periods`` with the single period 0.

    Examples
    --------
    >>> one_period(7.0)["present_value_factor"].tolist()
    [7.0]
    """
    return pd.DataFrame(
        {
            "period": [0],
            "start_months": [0.0],
            "present_value_factor": [present_value_factor],
            "capital_factor": [1.0],
            "max_added_units": [np.nan],
        }
    )


def capital_terms(problem: SitingProblem, name: str) -> list[pd.DataFrame]:
    """
    Return the capital of a table's rows by term, for each period.

    Parameters
    ----------
    problem : SitingProblem
        The problem.
    name : str
        ``sites``, ``site_options``, ``groups`` or ``upgrades``.

    Returns
    -------
    list of pandas.DataFrame
        For each period the capital paid for what stands from it on; the rows
        of the table, a column per term. [money]
    """
    item, column = _ITEMS[name]
    table = getattr(problem, name)
    terms = [column]
    if name != "groups":
        terms = cost_split(name, table)[column]
    given = problem.capital_factors
    given = given[given["table"] == name]
    own = given.set_index(["item", "term", "period"])["factor"]
    general = problem.periods.set_index("period")["capital_factor"].to_dict()
    found = []
    for period, usual in general.items():
        values = table[terms].astype(float)
        for term in terms:
            factor = np.full(len(table), usual)
            for each in ("", term) if len(own) else ():
                keys = pd.MultiIndex.from_arrays(
                    [table[item], [each] * len(table), [period] * len(table)]
                )
                mine = own.reindex(keys).to_numpy()
                factor = np.where(np.isnan(mine), factor, mine)
            values[term] = values[term] * factor
        found.append(values)
    return found


def capital_by_period(problem: SitingProblem, name: str) -> np.ndarray:
    """
    Return the capital of a table's rows in each period.

    Parameters
    ----------
    problem : SitingProblem
        The problem.
    name : str
        As for `capital_terms`.

    Returns
    -------
    numpy.ndarray of float, shape (n_periods, n_rows)
        Paid for what stands from each period on. [money]
    """
    return summed(capital_terms(problem, name))


def running_terms(problem: SitingProblem, column: str) -> list[pd.DataFrame]:
    """
    Return yearly costs of site options by term, for each period.

    Parameters
    ----------
    problem : SitingProblem
        The problem.
    column : str
        ``unit_per_year`` or ``cost_per_it_kw_year``.

    Returns
    -------
    list of pandas.DataFrame
        For each period what is paid in it, as present value; the rows of table
        ``site_options``, a column per term. [money, money/kW]
    """
    table = problem.site_options
    terms = cost_split("site_options", table).get(column, [])
    own = problem.running_factors
    own = own[own["term"].isin(terms)].set_index(["site_id", "term", "period"])
    worth = problem.periods.set_index("period")["present_value_factor"]
    found = []
    for period, years in worth.items():
        values = table[terms].astype(float) * years
        for term in terms if len(own) else ():
            keys = pd.MultiIndex.from_arrays(
                [table["site_id"], [term] * len(table), [period] * len(table)]
            )
            values[term] *= own["factor"].reindex(keys).fillna(1.0).to_numpy()
        found.append(values)
    return found


def summed(terms: list[pd.DataFrame]) -> np.ndarray:
    """
    Return the sum of terms in each period.

    Parameters
    ----------
    terms : list of pandas.DataFrame
        For each period, as from `capital_terms` or `running_terms`.

    Returns
    -------
    numpy.ndarray of float, shape (n_periods, n_rows)
        Sums over the terms.
    """
    sums: np.ndarray = np.array([each.sum(axis=1).to_numpy() for each in terms])
    return sums.reshape(len(terms), -1)


def telescoped(capital: np.ndarray) -> np.ndarray:
    r"""
    Return weights of what stands that add up to the price of what is added.

    With :math:`C_t` the price in period :math:`t` and :math:`n_t` units standing,
    :math:`\sum_t C_t (n_t - n_{t-1}) = \sum_t (C_t - C_{t+1}) n_t - C_0 n_{-1}`,
    where :math:`C` after the last period is 0.

    Parameters
    ----------
    capital : numpy.ndarray of float, shape (n_periods, n)
        Prices. [money]

    Returns
    -------
    numpy.ndarray of float, shape (n_periods, n)
        Weights. [money]

    Examples
    --------
    >>> telescoped(np.array([[10.0], [8.0], [5.0]])).ravel().tolist()
    [2.0, 3.0, 5.0]
    """
    later = np.vstack([capital[1:], np.zeros((1, capital.shape[1]))])
    weights: np.ndarray = capital - later
    return weights
