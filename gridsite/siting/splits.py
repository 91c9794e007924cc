"""
Cost columns and the terms that split them.

Columns that end in ``_capital``, ``_per_year``, ``_per_it_kw_year`` or ``_present``
beside a cost column split it into named terms; they add up to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

#: Columns that may be split, with the ending of their terms.
SPLITS = {
    "sites": {"fixed_capital": "_capital"},
    "site_options": {
        "unit_capital": "_capital",
        "unit_per_year": "_per_year",
        "cost_per_it_kw_year": "_per_it_kw_year",
    },
    "arcs": {"cost_per_it_kw": "_present"},
    "upgrades": {"capital": "_capital"},
}


def cost_split(name: str, table: pd.DataFrame) -> dict[str, list[str]]:
    """
    Return the columns that split each cost column of a table.

    Parameters
    ----------
    name : str
        ``sites``, ``site_options``, ``arcs`` or ``upgrades``.
    table : pandas.DataFrame
        The table.

    Returns
    -------
    dict of str to list of str
        Term columns by contract column; the contract column itself where
        nothing splits it. A column that the table has not is left out.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame(columns=["cost_per_it_kw", "energy_present"])
    >>> cost_split("arcs", table)
    {'cost_per_it_kw': ['energy_present']}
    """
    return {
        column: sorted(c for c in table.columns if c.endswith(end) and c != column)
        or [column]
        for column, end in SPLITS[name].items()
        if column in table
    }


def split_faults(name: str, table: pd.DataFrame) -> list[str]:
    """
    Return what is wrong with the cost split of a table, in words.

    Parameters
    ----------
    name : str
        ``sites``, ``site_options``, ``arcs`` or ``upgrades``.
    table : pandas.DataFrame
        The table.

    Returns
    -------
    list of str
        One message per cost column whose terms do not add up to it within
        1e-9 of the sum of their magnitudes.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"cost_per_it_kw": [2.0], "energy_present": [1.0]})
    >>> split_faults("arcs", table)
    ["table 'arcs': energy_present do not add up to 'cost_per_it_kw' in 1 row(s)"]
    """
    faults = []
    for column, terms in cost_split(name, table).items():
        values = table[terms].to_numpy(dtype=float)
        gap = np.abs(values.sum(axis=1) - table[column].to_numpy(dtype=float))
        wrong = ~(gap <= 1e-9 * np.abs(values).sum(axis=1))
        if wrong.any():
            faults.append(
                f"table {name!r}: {', '.join(terms)} do not add up to "
                f"{column!r} in {wrong.sum()} row(s)"
            )
    return faults
