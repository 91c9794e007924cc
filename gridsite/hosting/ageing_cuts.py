"""
Rows that keep loads together from ageing a transformer.

The left side of a row is the transformer's current at its hottest step, linear in the
loads, measured where the loads, all alike scaled down, just keep the limit; its right
side is what they draw there. Current grows ever faster with load and ageing ever
faster with current, so that what passes lies within the row but for the hours of
other voltage: rows choose, AC replay decides.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.hosting.ac_replay import plan_voltages
from gridsite.hosting.ageing_replay import aged_ends
from gridsite.hosting.ageing_sets import SetAgeing
from gridsite.hosting.growth import NEGLIGIBLE, PROBE_KW
from gridsite.hosting.joint import candidate_ports, stack_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gridsite.hosting.base_case import BaseCase
    from gridsite.hosting.grid_case import GridCase

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: Width of the bracket of the share of a plan that a transformer takes, of it. [-]
_ACCURACY = 1e-3

#: Voltages solved at once, to bound memory. [values]
_VALUES = 10_000_000


def ageing_cuts(
    grid: GridCase,
    port_ids: pd.Index[str],
    added_kw: pd.Series[float],
    feeder_ids: list[str],
    round_number: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """
    Return a row for each transformer that a plan ages too fast.

    Parameters
    ----------
    grid : GridCase
        Base cases.
    port_ids : pandas.Index of str
        Ports that may host units.
    added_kw : pandas.Series of float
        The plan's load by port. [kW]
    feeder_ids : list of str
        Feeders to look at.
    round_number : int
        Told apart in the row ids.

    Returns
    -------
    rows : pandas.DataFrame
        Contract ``rows``, plus ``feeder_id`` and, as from `grid_rows`, ``limit_row``
        (-1 where the limit ``transformer current`` is off) and ``step``.
    row_coefficients : pandas.DataFrame
        Contract ``row_coefficients``.
    """
    parts: list[tuple[pd.DataFrame, pd.DataFrame]] = []
    if grid.ageing is None:
        return stack_rows(parts)
    for feeder_id in feeder_ids:
        case = grid.block(feeder_id)
        every = case.feeder.ports.index[case.block.ports]
        spread = added_kw.groupby(level=0).sum().reindex(every, fill_value=0.0)
        used = np.asarray(spread, dtype=np.float64)
        v = plan_voltages(case, used)
        ends = aged_ends(case, grid.ageing, v)[1] if np.isfinite(v).all() else None
        sets = SetAgeing(case, grid.ageing, ends)
        if not len(sets.ends):
            continue
        share, step = sets.shares(used, _ACCURACY)
        order = np.argsort(share, kind="stable")
        order = order[share[order] < 1.0]
        names = sets.limit.names[sets.ends[order]].astype(str)
        _, first = np.unique(names, return_index=True)  # the end that takes less
        label = f" ageing round {round_number}"
        parts.extend(
            _cut(sets, i, share[i] * used, int(step[i]), port_ids, label)
            for i in order[np.sort(first)]
        )
    return stack_rows(parts)


def _cut(
    sets: SetAgeing,
    number: int,
    at_kw: Floats,
    step: int,
    port_ids: pd.Index[str],
    label: str,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the row of one transformer end, through a plan that just keeps it."""
    case, end = sets.limit.case, int(sets.ends[number])
    names, port = candidate_ports(case, port_ids)
    ends = sets.limit.ends
    rated_a = float(ends.table["rated_a"].iloc[end])
    growth = rated_a * _growth(sets, end, port, step, at_kw)
    element, time = str(sets.limit.names[end]), case.time[step]
    row_id = f"transformer ageing {element} {time.isoformat()}{label}"
    terminal = np.take(ends.at, end)
    at = np.flatnonzero(case.rated == terminal)
    rows = pd.DataFrame(
        {
            "row_id": [row_id],
            "limit_row": case.n_voltage + int(at[0]) if len(at) else -1,
            "step": step,
            "criterion": "transformer ageing",
            "element": element,
            "time": pd.Series([time], dtype=object),
            "period": 0,
            "headroom": float(growth @ at_kw[port]),
            "unit": "A",
            "feeder_id": case.block.feeder_id,
        }
    )
    some = np.flatnonzero(growth > NEGLIGIBLE * growth.max(initial=0.0))
    terms = pd.DataFrame(
        {"row_id": row_id, "port_id": names[some], "coefficient": growth[some]}
    )
    return rows, terms


def _growth(sets: SetAgeing, end: int, port: Ints, step: int, at_kw: Floats) -> Floats:
    """Return how much the current of an end grows per kW at ports. [pu/kW]"""
    case: BaseCase = sets.limit.case
    base_kva = case.block.base_kva
    states = replace(case.states, spread=at_kw / base_kva)
    out = np.empty(len(port))
    width = max(16, _VALUES // max(len(case.block.nodes), 1))
    for first in range(0, len(port), width):
        some = np.append(port[first : first + width], -1)
        when = np.full(len(some), step)
        found = case.block.solve(
            states,
            when,
            added_port=some,
            added=np.where(some >= 0, PROBE_KW, 0.0) / base_kva,
            v_start=case.v,
            start_of=when,
        )
        current = sets.limit.ends.currents(found.v, when, np.array([end]))[0]
        out[first : first + width] = (current[:-1] - current[-1]) / PROBE_KW
    finite = np.isfinite(out)
    # a probe beyond collapse: as bad as any other, never free
    out[~finite] = out[finite].max(initial=0.0)
    return np.maximum(out, 0.0)
