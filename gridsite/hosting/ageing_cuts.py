"""Rows that keep a plan from ageing a transformer, measured at the plan's state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gridsite.hosting.ac_replay import plan_voltages
from gridsite.hosting.ageing_replay import aged_ends
from gridsite.hosting.joint import _growth, _stack, _table, candidate_ports

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from gridsite.hosting.ageing_limit import Ageing
    from gridsite.hosting.base_case import BaseCase, GridCase

    Floats = NDArray[np.float64]

#: Halvings of the bracket of the share of a plan that is safe.
_HALVINGS = 10


def ageing_cuts(
    grid: GridCase,
    port_ids: pd.Index[str],
    added_kw: pd.Series[float],
    violations: pd.DataFrame,
    round_number: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """
    Return a row for each transformer that a plan ages too fast.

    Its left side is the plan's current at the transformer's hottest step, linear
    in the loads; its right side is that of the largest share of the plan, all loads
    alike, that keeps every transformer of the feeder.

    Parameters
    ----------
    grid : GridCase
        Base cases.
    port_ids : pandas.Index of str
        Ports that may host units.
    added_kw : pandas.Series of float
        The plan's load by port. [kW]
    violations : pandas.DataFrame
        What its replay found.
    round_number : int
        Told apart in the row ids.

    Returns
    -------
    rows : pandas.DataFrame
        Contract ``rows``, plus ``feeder_id``. None where the limit
        ``transformer current`` is off: it gives the left side.
    row_coefficients : pandas.DataFrame
        Contract ``row_coefficients``.
    """
    parts: list[tuple[pd.DataFrame, pd.DataFrame]] = []
    aged = violations[violations["criterion"] == "transformer ageing"]
    if grid.ageing is None:
        return _stack(parts)
    for feeder_id, found in aged.groupby("feeder_id"):
        case = grid.block(str(feeder_id))
        every = case.feeder.ports.index[case.block.ports]
        spread = added_kw.groupby(level=0).sum().reindex(every, fill_value=0.0)
        used = np.asarray(spread, dtype=np.float64)
        share = _safe_share(case, grid.ageing, used)
        names, port = candidate_ports(case, port_ids)
        for element, time in zip(found["element"], found["time"], strict=True):
            step = np.array([case.time.get_loc(time)])
            is_row = (case.rows["criterion"] == "transformer current").to_numpy()
            is_row &= (case.rows["element"] == element).to_numpy()
            row = np.flatnonzero(is_row)[:1]
            if not len(row):
                continue
            growth = _growth(case, port, step, used)[0][row]
            left = share * (growth @ used[port])
            label = f" ageing round {round_number}"
            rows, terms = _table(case, names, row, step, left, growth, label)
            parts.append((rows.assign(criterion="transformer ageing"), terms))
    return _stack(parts)


def _safe_share(case: BaseCase, ageing: Ageing, used_kw: Floats) -> float:
    """Return the largest share of loads, all alike, that ages nothing too fast."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        share = 0.5 * (low + high)
        v = plan_voltages(case, used_kw * share)
        if np.isfinite(v).all() and not len(aged_ends(case, ageing, v)[1]):
            low = share
        else:
            high = share
    return low
