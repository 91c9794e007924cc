"""Annual energy of loads from a table."""

from __future__ import annotations

import numpy as np
import pandas as pd

from gridsite.errors import DataError

__all__ = ["annual_energy"]


def annual_energy(table: pd.DataFrame, where: str) -> pd.Series[float]:
    """
    Return the annual energy of each load that a table names.

    Parameters
    ----------
    table : pandas.DataFrame
        ``port_id, annual_kwh``, numbers or their text; other columns are not read.
        [kWh]
    where : str
        Name of the table, for the errors.

    Returns
    -------
    pandas.Series of float
        By ``port_id``. [kWh]

    Raises
    ------
    DataError
        If a column or name is missing, a name stands twice, or an energy is not a
        positive number.

    See Also
    --------
    gridsite.feeder.profile_shapes.shape_profiles : Turns energies and shapes into load.

    Examples
    --------
    >>> table = pd.DataFrame({"port_id": ["a", "b"], "annual_kwh": ["2500", "3e3"]})
    >>> annual_energy(table, "energies.csv").to_dict()
    {'a': 2500.0, 'b': 3000.0}
    """
    missing = [name for name in ("port_id", "annual_kwh") if name not in table]
    if missing:
        msg = f"{where}: column {missing[0]!r} is missing; give port_id, annual_kwh"
        raise DataError(msg)
    names = table["port_id"]
    if names.isna().any() or names.duplicated().any():
        bad = table[names.isna() | names.duplicated(keep=False)]
        msg = f"{where}: port_id {bad['port_id'].iloc[0]!r} is empty or stands twice"
        raise DataError(msg, bad)
    values = pd.to_numeric(table["annual_kwh"], errors="coerce").to_numpy(dtype=float)
    wrong = table[~(np.isfinite(values) & (values > 0.0))]
    if len(wrong):
        name, value = wrong[["port_id", "annual_kwh"]].iloc[0]
        msg = (
            f"{where}: annual_kwh of {name!r} is {_shown(value)}; "
            "give a positive number in kWh"
        )
        raise DataError(msg, wrong)
    return pd.Series(values, index=names.astype(str).to_numpy())


def _shown(value: object) -> str:
    """Return a text in quotes, a number as it is."""
    return repr(value) if isinstance(value, str) else str(value)
