"""The percentile rule of a voltage norm, counted for the base case."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from gridsite.hosting.limits import Limits

    Floats = NDArray[np.float64]

#: Nodes looked at together, to bound memory.
_NODES_AT_ONCE = 256

#: Highest nominal voltage of low voltage, to which the rule belongs. [kV]
LOW_VOLTAGE_KV = 1.0


def voltage_quality(
    voltage_pu: Floats, voltage_kv: Floats, limits: Limits, *, step_hours: float
) -> pd.DataFrame:
    """
    Return how voltages keep a norm's percentile rule.

    Parameters
    ----------
    voltage_pu : numpy.ndarray, shape (n, n_step)
        Voltage magnitudes. [pu]
    voltage_kv : numpy.ndarray, shape (n,)
        Nominal voltages. [kV]
    limits : Limits
        Band, percentile and lowest value.
    step_hours : float
        Length of a step. [h]

    Returns
    -------
    pandas.DataFrame, n rows
        ``worst_week_share`` of steps within the band, ``lowest_pu``,
        ``highest_pu`` and ``holds``.

    Notes
    -----
    EN 50160 [1]_ asks that 95 % of the 10-minute means of each week lie within
    10 % of nominal voltage, and all of them within +10 % and -15 %. Here means are
    those of the steps; weeks follow one another from the first step, the last
    one ends with the series.

    References
    ----------
    .. [1] EN 50160, *Voltage characteristics of electricity supplied by public
       electricity networks*, low voltage.

    Examples
    --------
    >>> from gridsite.hosting.limits import Limits
    >>> volts = np.array([[0.88] + 19 * [1.0], 2 * [0.88] + 18 * [1.0]])
    >>> table = voltage_quality(volts, np.full(2, 0.4), Limits(), step_hours=1.0)
    >>> table["holds"].tolist()
    [True, False]
    """
    low = limits.voltage_min_of(voltage_kv)
    high = limits.voltage_max_of(voltage_kv)
    within = (voltage_pu >= low[:, None]) & (voltage_pu <= high[:, None])
    n_step = voltage_pu.shape[1]
    week = min(max(round(168.0 / step_hours), 1), n_step)
    start = np.array([*range(0, n_step - week, week), n_step - week])
    counted = np.cumsum(np.pad(within, ((0, 0), (1, 0))), axis=1, dtype=np.int64)
    share = (counted[:, start + week] - counted[:, start]).min(axis=1) / week
    lowest, highest = voltage_pu.min(axis=1), voltage_pu.max(axis=1)
    least = low
    if limits.voltage_absolute_min_pu is not None:
        least = np.minimum(low, limits.voltage_absolute_min_pu)
    wanted = 1.0 if limits.voltage_percentile is None else limits.voltage_percentile
    holds = (share >= wanted) & (lowest >= least) & (highest <= high)
    return pd.DataFrame(
        {
            "worst_week_share": share,
            "lowest_pu": lowest,
            "highest_pu": highest,
            "holds": holds,
        }
    )


@dataclass(frozen=True, kw_only=True)
class VoltageRule:
    """
    How the base case of a part keeps the percentile rule at low voltage.

    Parameters
    ----------
    buses, failing : frozenset of str
        Buses that the rule is counted for, and those that fail it.
    worst_week_share : float
        Least share of steps within the band, of any week. [-]
    lowest_pu : float
        Lowest voltage; infinite without buses. [pu]
    """

    buses: frozenset[str]
    failing: frozenset[str]
    worst_week_share: float
    lowest_pu: float


def voltage_rule_of(
    nodes: pd.DataFrame,
    v: NDArray[np.complex128],
    limits: Limits,
    *,
    step_hours: float,
) -> VoltageRule | None:
    """
    Return how voltages keep the norm's percentile rule at low voltage.

    Parameters
    ----------
    nodes : pandas.DataFrame, n rows
        Nodes of a feeder, or of a part of one.
    v : numpy.ndarray of complex, shape (n, n_step)
        Their voltages. [pu]
    limits : Limits
        With the rule, or without.
    step_hours : float
        Length of a step. [h]

    Returns
    -------
    VoltageRule or None
        None where the norm has no such rule.
    """
    if limits.voltage_percentile is None:
        return None
    kv = nodes["voltage_kv"].to_numpy(dtype=float)
    judged = nodes["limited"].to_numpy(dtype=bool) & (kv <= LOW_VOLTAGE_KV)
    bus, kv, at = nodes["bus"].to_numpy()[judged], kv[judged], np.flatnonzero(judged)
    share, lowest, failing = 1.0, np.inf, set()
    for first in range(0, len(at), _NODES_AT_ONCE):
        chosen = slice(first, first + _NODES_AT_ONCE)
        size = np.abs(v[at[chosen]])
        lowest = min(lowest, float(size.min()))
        off = size.min(axis=1) < limits.voltage_min_of(kv[chosen])
        off |= size.max(axis=1) > limits.voltage_max_of(kv[chosen])
        if not off.any():
            continue
        table = voltage_quality(
            size[off], kv[chosen][off], limits, step_hours=step_hours
        )
        share = min(share, float(table["worst_week_share"].min()))
        failing |= set(bus[chosen][off][~table["holds"].to_numpy()])
    return VoltageRule(
        buses=frozenset(bus),
        failing=frozenset(failing),
        worst_week_share=share,
        lowest_pu=lowest,
    )


def voltage_rule_summary(
    limits: Limits, parts: Iterable[VoltageRule | None]
) -> dict[str, Any]:
    """
    Return how the base case keeps the norm's percentile rule at low voltage.

    Parameters
    ----------
    limits : Limits
        With the rule, or without.
    parts : iterable of VoltageRule
        Of every part, as from `voltage_rule_of`.

    Returns
    -------
    dict
        ``percentile``, ``absolute_min_pu``, ``buses`` that it is counted for,
        ``buses_failing``, ``worst_week_share`` and ``lowest_pu``; empty where the
        norm has no such rule.
    """
    if limits.voltage_percentile is None:
        return {}
    found = [part for part in parts if part is not None]
    buses = frozenset[str]().union(*(part.buses for part in found))
    failing = frozenset[str]().union(*(part.failing for part in found))
    lowest = min((part.lowest_pu for part in found), default=np.inf)
    return {
        "percentile": limits.voltage_percentile,
        "absolute_min_pu": limits.voltage_absolute_min_pu,
        "buses": len(buses),
        "buses_failing": len(failing),
        "worst_week_share": min((p.worst_week_share for p in found), default=1.0),
        "lowest_pu": lowest if buses else None,
    }
