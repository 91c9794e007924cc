"""
Transformer ageing by loads together: what a replay finds, and rows that prevent it.

As for single loads (`gridsite.hosting.ageing_limit`) the limit is one of the whole
series. A transformer is listed once, at its hottest step, with the figure that is
farthest beyond its limit: loss of life or hot-spot.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.hosting.ageing_limit import AgeingLimit
from gridsite.hosting.thermal import hot_spot_series

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gridsite.hosting.ageing_limit import Ageing
    from gridsite.hosting.base_case import BaseCase

    Voltages = NDArray[np.complex128]

#: A score that moves less is not worsened. [K]
MATERIALITY_K = 0.1

#: Rounding of two power flows of one state. [K]
_ROUNDING_K = 1e-6


def aged_ends(
    case: BaseCase, ageing: Ageing, v: Voltages
) -> tuple[AgeingLimit, NDArray[np.int64], NDArray[np.bool_]]:
    """
    Return the transformer ends that loads age too fast.

    Parameters
    ----------
    case : BaseCase
        The block without the loads.
    ageing : Ageing
        Limits and temperature.
    v : numpy.ndarray of complex, shape (n_node, n_step)
        Voltages with the loads. [pu]

    Returns
    -------
    limit : AgeingLimit
        Of the block.
    ends : numpy.ndarray of int
        Ends that newly break a limit, or worsen a broken one by more than
        ``MATERIALITY_K``. None where a step has no power flow.
    new : numpy.ndarray of bool
        Whether the limit held without the loads.
    """
    limit = AgeingLimit(case, ageing)
    if not np.isfinite(v).all():
        return limit, np.zeros(0, dtype=np.int64), np.zeros(0, dtype=bool)
    score, _ = ageing.score_k(limit.ends.currents(v), case.step_hours)
    base = limit.base[0]
    new = (base <= 0.0) & (score > _ROUNDING_K)
    worsened = (base > 0.0) & (score > base + MATERIALITY_K)
    ends = np.flatnonzero(new | worsened)
    return limit, ends, new[ends]


def ageing_violations(case: BaseCase, ageing: Ageing, v: Voltages) -> pd.DataFrame:
    """
    Return the transformers that loads together age too fast.

    Parameters
    ----------
    case : BaseCase
        The block without the loads.
    ageing : Ageing
        Limits and temperature.
    v : numpy.ndarray of complex, shape (n_node, n_step)
        Voltages with the loads. [pu]

    Returns
    -------
    pandas.DataFrame
        Contract ``violations``, one row per transformer, plus ``kind`` and ``unit``
        (degC, or years per year).
    """
    limit, ends, new = aged_ends(case, ageing, v)
    rows = []
    for end, first in zip(ends, new, strict=True):
        step, value = _figures(limit, end, v)
        _, before = _figures(limit, end, case.v)
        most = {
            "degC": ageing.hot_spot_max_c,
            "years per year": ageing.loss_of_life_max,
        }
        beyond = {name: value[name] / most[name] for name in most}
        unit = max(beyond, key=beyond.__getitem__)
        rows.append(
            {
                "element": limit.names[end],
                "criterion": "transformer ageing",
                "time": case.time[step],
                "value": value[unit],
                "limit": most[unit],
                "base_value": before[unit],
                "excess": value[unit] - most[unit],
                "kind": "new" if first else "worsened",
                "unit": unit,
            }
        )
    columns = ["element", "criterion", "time", "value", "limit", "base_value"]
    columns += ["excess", "kind", "unit"]
    table = pd.DataFrame(rows, columns=columns).astype({"time": object})
    ranked = table.sort_values("excess", ascending=False)
    return ranked.drop_duplicates("element").sort_index()


def _figures(limit: AgeingLimit, end: int, v: Voltages) -> tuple[int, dict[str, float]]:
    """Return the hottest step of a transformer end, and its figures by unit."""
    thermal = limit.ageing.thermal
    current = limit.ends.currents(v, ends=np.array([end]))
    _, hot = hot_spot_series(
        current, limit.ageing.ambient_c, limit.case.step_hours, thermal=thermal
    )
    life = float(thermal.ageing_rate(hot).mean())
    return int(hot.argmax()), {"degC": float(hot.max()), "years per year": life}
