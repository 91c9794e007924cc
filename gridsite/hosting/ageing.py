"""
What a flat load may draw through transformers that age under it.

Temperature and ageing are those of IEC 60076-7 (`gridsite.hosting.thermal`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.hosting.thermal import ThermalModel, checked_series, hot_spot_series

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    from gridsite.hosting.base_case import BaseCase

    Floats = NDArray[np.float64]

#: Halvings of the range of added current: 1.5 pu / 2**20 is far below 0.1 kW.
_HALVINGS = 20

#: Steps of a block whose currents are worked out at once, to bound memory.
_STEPS_AT_ONCE = 4096


def ageing_headroom_kw(
    base_current_pu: Floats,
    ambient_c: Floats,
    step_hours: float,
    *,
    rated_kva: Floats,
    power_factor: float = 0.98,
    voltage_pu: ArrayLike = 1.0,
    loss_of_life_max: float = 1.0,
    hot_spot_max_c: float = 120.0,
    current_max_pu: float = 1.5,
    thermal: ThermalModel | None = None,
) -> pd.DataFrame:
    """
    Return the flat load that transformers can take without ageing too fast.

    Parameters
    ----------
    base_current_pu : numpy.ndarray, shape (n, n_step)
        Current of each transformer without the load, of its nameplate. [pu]
    ambient_c : numpy.ndarray, shape (n_step,)
        Ambient temperature (`join_ambient`). [degC]
    step_hours : float
        Length of a step. [h]
    rated_kva : numpy.ndarray, shape (n,)
        Nameplate. [kVA]
    power_factor : float, default 0.98
        Of the load. [-]
    voltage_pu : array-like of float, default 1.0
        Voltage at which the load turns into current; give the lowest allowed
        for the safe side. [pu]
    loss_of_life_max : float, default 1.0
        Largest loss of life, in normal years per year. [-]
    hot_spot_max_c, current_max_pu : float
        Largest hot-spot temperature [degC] and current [pu] at any step.
    thermal : ThermalModel, optional
        A distribution transformer without it.

    Returns
    -------
    pandas.DataFrame, n rows
        ``loss_of_life_pu``, ``hot_spot_max_c`` without the load,
        ``ageing_headroom_kw``, what it is limited by (``limited_by``) and
        ``status`` (``ok``, ``none_base_violation`` or ``unrated``).

    Raises
    ------
    DataError
        If lengths differ, or a value is missing or negative.

    Notes
    -----
    The load's current is added to the base current without regard to its
    phase, the safe side. 120 degC and 1.5 pu are what IEC 60076-7 allows a
    distribution transformer in normal cyclic loading (140 degC and 1.8 pu in a
    long-time emergency). A flat load has no cool night that would make up for
    a hot day, so that loss of life is usually what limits. The value is no
    leave to pass the nameplate: that is the criterion ``transformer current``.

    Examples
    --------
    >>> base, ambient = np.full((1, 24), 0.4), np.full(24, 20.0)
    >>> table = ageing_headroom_kw(
    ...     base, ambient, 1.0, rated_kva=np.array([400.0]), power_factor=1.0
    ... )
    >>> table["ageing_headroom_kw"].round(2).tolist(), table["status"].tolist()
    ([240.0], ['ok'])
    """
    thermal = thermal or ThermalModel()
    current, ambient = checked_series(base_current_pu, ambient_c)
    rated = np.broadcast_to(np.asarray(rated_kva, dtype=float), len(current))
    caps = np.array([loss_of_life_max, hot_spot_max_c, current_max_pu])

    def excess(added: Floats) -> tuple[Floats, NDArray[np.bool_]]:
        now = current + added[:, None]
        hot = hot_spot_series(now, ambient, step_hours, thermal=thermal)[1]
        life = thermal.ageing_rate(hot).mean(axis=1)
        values = np.stack([life, hot.max(axis=1), now.max(axis=1)], axis=1)
        above: NDArray[np.bool_] = values > caps * (1.0 + 1e-12)
        return values, above

    base, broken = excess(np.zeros(len(current)))
    added, passed = _largest(excess, len(current), current_max_pu)
    closed = np.atleast_1d(broken.any(axis=1))
    limit = np.where(closed[:, None], broken, passed).argmax(axis=1)
    unrated = ~(rated > 0.0)
    kw = added * rated * power_factor * np.asarray(voltage_pu, dtype=float)
    names = np.array(["loss of life", "hot-spot", "current"], dtype=object)
    return pd.DataFrame(
        {
            "loss_of_life_pu": np.where(unrated, np.nan, base[:, 0]),
            "hot_spot_max_c": np.where(unrated, np.nan, base[:, 1]),
            "ageing_headroom_kw": np.where(unrated, np.nan, np.where(closed, 0.0, kw)),
            "limited_by": np.where(unrated, "", names[limit]),
            "status": np.select(
                [unrated, closed], ["unrated", "none_base_violation"], default="ok"
            ),
        }
    )


def _largest(
    excess: Callable[[Floats], tuple[Floats, NDArray[np.bool_]]], n: int, most: float
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the largest current that passes, and which limit the next fails."""
    low, high = np.zeros(n), np.full(n, most)
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        fails = excess(middle)[1].any(axis=1)
        low, high = np.where(fails, low, middle), np.where(fails, middle, high)
    return low, excess(high)[1]


class TransformerEnds:
    """
    Find the ends of a block's transformers and their currents.

    Parameters
    ----------
    case : BaseCase
        The block.

    Attributes
    ----------
    at : numpy.ndarray of int, shape (n_end,)
        Positions among the block's terminals.
    table : pandas.DataFrame
        Those terminals, with ``rated_kva`` and ``voltage_kv``.
    pu_of_nameplate : numpy.ndarray, shape (n_end,)
        Nameplate currents in 1 pu of the block; 0 without a nameplate. [-]
    """

    def __init__(self, case: BaseCase) -> None:
        self.case = case
        feeder, block = case.feeder, case.block
        terminals = feeder.terminals.iloc[block.terminals]
        kind = (terminals["criterion"] == "transformer current").to_numpy()
        self.at = np.flatnonzero(kind)
        ends = terminals.iloc[self.at]
        rated_a = ends["rated_a"].to_numpy(dtype=float)
        base_a = ends["base_a"].to_numpy(dtype=float)
        node = ends["node"].to_numpy(dtype=np.int64)
        self.table = ends.assign(
            rated_kva=rated_a * block.base_kva / base_a,
            voltage_kv=feeder.nodes["voltage_kv"].to_numpy()[node],
        )
        self.pu_of_nameplate = base_a / np.where(rated_a > 0.0, rated_a, np.inf)

    def currents(
        self,
        v: NDArray[np.complex128],
        step: NDArray[np.int64] | None = None,
        ends: NDArray[np.int64] | None = None,
    ) -> Floats:
        """
        Return currents over nameplate currents.

        Parameters
        ----------
        v : numpy.ndarray of complex, shape (n_node, n_state)
            Voltages. [pu]
        step : numpy.ndarray of int, shape (n_state,), optional
            Step of each state; all steps in order by default.
        ends : numpy.ndarray of int, shape (n,), optional
            Which ends; all by default.

        Returns
        -------
        numpy.ndarray, shape (n, n_state)
            Currents; 0 without a nameplate. [pu]
        """
        drive = self.case.drive if step is None else self.case.drive[step]
        chosen = np.arange(len(self.at)) if ends is None else ends
        at, size = self.at[chosen], self.pu_of_nameplate[chosen]
        block = self.case.block
        matrix, source = block.terminal_y[at], block.terminal_source[at]
        out = np.empty((len(at), v.shape[1]))
        for first in range(0, v.shape[1], _STEPS_AT_ONCE):
            part = slice(first, first + _STEPS_AT_ONCE)
            current = matrix @ v[:, part] + source[:, None] * drive[part]
            out[:, part] = np.abs(current) * size[:, None]
        return out
