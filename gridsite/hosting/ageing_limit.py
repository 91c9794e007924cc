r"""
Transformer ageing as a limit of firm capacity, in AC power flow over all steps.

The score of a transformer is what is left of its two limits by IEC 60076-7
(`gridsite.hosting.thermal`), both in kelvin of the hot-spot and below 0 while
they hold: :math:`6 \log_2(L / L_{max})` for a loss of life of :math:`L` normal years
a year, and its highest hot-spot less the largest allowed. Both are limits of the
whole series, not of a step: the largest flat load that keeps them caps the headroom
of a connection at every step, which is exact for firm capacity and the safe side
for flexible capacity.

A load that keeps the criterion ``transformer current`` keeps every current at or
below the rating. Temperature rises with current, so that a transformer that may carry
its largest current at every step cannot age too fast: such transformers need no search.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from gridsite.errors import ConfigError
from gridsite.hosting.ageing import TransformerEnds
from gridsite.hosting.thermal import ThermalModel, hot_spot_series

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gridsite.hosting.base_case import BaseCase

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: Values of currents worked out at once, to bound memory.
_VALUES = 2_000_000

#: Score of a load without a power flow. [K]
_NO_FLOW = np.inf

#: Load with which it is seen whether more load ages more. [kW]
_PROBE_KW = 1.0

_MAX_ITERATIONS = 60


@dataclass(frozen=True, kw_only=True)
class Ageing:
    """
    Hold what ageing is judged by.

    Parameters
    ----------
    ambient_c : numpy.ndarray, shape (n_step,)
        Ambient temperature of each step (`join_ambient`). [degC]
    loss_of_life_max : float, default 1.0
        Largest loss of life, in normal years per year. [-]
    hot_spot_max_c : float, default 120.0
        Largest hot-spot temperature; IEC 60076-7 allows a distribution
        transformer 120 in normal cyclic loading. [degC]
    thermal : ThermalModel, optional
        Of every transformer; the norm's distribution transformer without it.

    Raises
    ------
    ConfigError
        If a limit is not above 0.
    """

    ambient_c: Floats
    loss_of_life_max: float = 1.0
    hot_spot_max_c: float = 120.0
    thermal: ThermalModel = field(default_factory=ThermalModel)

    def __post_init__(self) -> None:
        for name in ("loss_of_life_max", "hot_spot_max_c"):
            value = getattr(self, name)
            if not 0.0 < value < np.inf:
                msg = f"ageing: {name} is {value}; give a value above 0"
                raise ConfigError(msg)

    def score_k(self, current_pu: Floats, step_hours: float) -> tuple[Floats, Ints]:
        """
        Return the score of currents, and the step of the highest hot-spot.

        Parameters
        ----------
        current_pu : numpy.ndarray, shape (n, n_step)
            Current over nameplate current. [pu]
        step_hours : float
            Length of a step. [h]

        Returns
        -------
        score_k : numpy.ndarray, shape (n,)
            Above 0 where a limit is broken. [K]
        step : numpy.ndarray of int, shape (n,)
            Hottest step.
        """
        _, hot = hot_spot_series(
            current_pu, self.ambient_c, step_hours, thermal=self.thermal
        )
        # of the logarithm, so that no rate overflows while a search looks far up
        rate = np.log2(np.maximum(self.thermal.ageing_rate(hot), 1e-300))
        top = rate.max(axis=1)
        mean = np.log2(np.exp2(rate - top[:, None]).mean(axis=1)) + top
        life = 6.0 * (mean - np.log2(self.loss_of_life_max))
        score: Floats = np.maximum(life, hot.max(axis=1) - self.hot_spot_max_c)
        return score, hot.argmax(axis=1)


@dataclass(frozen=True, kw_only=True)
class Cap:
    """
    The largest flat load that transformers allow.

    Parameters
    ----------
    kw : numpy.ndarray, shape (n,)
        By connection; inf where ageing does not bind. [kW]
    element : numpy.ndarray of str, shape (n,)
        The transformer that ages first; empty where ``kw`` is inf.
    step : numpy.ndarray of int, shape (n,)
        The step at which it is hottest.
    """

    kw: Floats
    element: NDArray[np.object_]
    step: Ints


class AgeingLimit:
    """
    Cap loads of one block by the ageing of its transformers.

    Parameters
    ----------
    case : BaseCase
        The block.
    ageing : Ageing
        Limits and temperature.
    """

    def __init__(self, case: BaseCase, ageing: Ageing) -> None:
        self.case, self.ageing = case, ageing
        self.ends = TransformerEnds(case)
        self.names = self.ends.table["element"].to_numpy(dtype=object)

    @cached_property
    def base(self) -> tuple[Floats, Ints]:
        """
        Return the score of each transformer end without added load.

        Returns
        -------
        score_k : numpy.ndarray, shape (n_end,)
            Above 0 where it ages too fast already. [K]
        step : numpy.ndarray of int, shape (n_end,)
            Hottest step.
        """
        return self.score(self.ends.currents(self.case.v))

    def score(self, current_pu: Floats) -> tuple[Floats, Ints]:
        """
        Return the score of currents, infinite where there is no power flow.

        Parameters
        ----------
        current_pu : numpy.ndarray, shape (n, n_step)
            Over nameplate; not finite without a power flow. [pu]

        Returns
        -------
        score_k : numpy.ndarray, shape (n,)
            As from `Ageing.score_k`. [K]
        step : numpy.ndarray of int, shape (n,)
            Likewise.
        """
        if not np.isfinite(current_pu).all():
            n = len(current_pu)
            return np.full(n, _NO_FLOW), np.zeros(n, dtype=np.int64)
        return self.ageing.score_k(current_pu, self.case.step_hours)

    @cached_property
    def may_bind(self) -> NDArray[np.bool_]:
        """
        Return which ends are not proven by their largest current.

        Returns
        -------
        numpy.ndarray of bool, shape (n_end,)
            False where a current at the limit at every step ages slowly enough.
        """
        case, n_step = self.case, len(self.case.time)
        out = np.ones(len(self.names), dtype=bool)
        position = {int(t): i for i, t in enumerate(case.rated)}
        for i, terminal in enumerate(self.ends.at):
            row = position.get(int(terminal))
            if row is None or case.broken[case.n_voltage + row].any():
                continue
            most = case.rating_pu[row] * self.ends.pu_of_nameplate[i]
            score, _ = self.score(np.full((1, n_step), most))
            out[i] = score[0] > 0.0
        return out

    def acts(self, port: Ints) -> NDArray[np.bool_]:
        """
        Return on which transformer ends loads act.

        Parameters
        ----------
        port : numpy.ndarray of int, shape (n,)
            Ports of the block.

        Returns
        -------
        numpy.ndarray of bool, shape (n_end, n)
            By end and load.
        """
        block = self.case.block
        drawn = 1.0 / np.conj(self.case.port_voltage(block.v_no_load))[port]
        flow = np.abs(
            block.terminal_y[self.ends.at] @ (block.impedance[:, port] * drawn)
        )
        carried = np.abs(drawn) * block.conductor_share[port]
        out: NDArray[np.bool_] = flow >= self.case.limits.acts_on * carried
        return out

    def score_at(self, port: int, kw: float, ends: Ints) -> tuple[Floats, Ints]:
        """
        Return the score of transformer ends with one load at all steps.

        Parameters
        ----------
        port : int
            Port of the block.
        kw : float
            The load. [kW]
        ends : numpy.ndarray of int, shape (n_end,)
            Which ends.

        Returns
        -------
        score_k : numpy.ndarray, shape (n_end,)
            Infinite without a power flow. [K]
        step : numpy.ndarray of int, shape (n_end,)
            Hottest step.
        """
        set_kw = np.zeros(len(self.case.block.ports))
        set_kw[port] = kw
        return self.score(self.currents_of(set_kw, ends))

    def currents_of(self, set_kw: Floats, ends: Ints) -> Floats:
        """
        Return the currents of transformer ends with a set of loads at all steps.

        Parameters
        ----------
        set_kw : numpy.ndarray, shape (n_port,)
            The loads. [kW]
        ends : numpy.ndarray of int, shape (n_end,)
            Which ends.

        Returns
        -------
        numpy.ndarray, shape (n_end, n_step)
            Over nameplate; NaN where a step has no power flow. [pu]
        """
        case = self.case
        n_step = len(case.time)
        states = replace(case.states, spread=set_kw / case.block.base_kva)
        current = np.empty((len(ends), n_step))
        width = max(64, _VALUES // max(len(case.block.nodes), 1))
        for first in range(0, n_step, width):
            step = np.arange(first, min(first + width, n_step))
            found = case.block.solve(states, step, v_start=case.v, start_of=step)
            if not found.converged.all():
                return np.full(current.shape, np.nan)
            current[:, step] = self.ends.currents(found.v, step, ends)
        return current

    def cap(self, port: Ints, most_kw: Floats, tolerance_kw: float) -> Cap:
        """
        Return the largest flat load of each port that keeps all transformers.

        Parameters
        ----------
        port : numpy.ndarray of int, shape (n,)
            Ports of the block.
        most_kw : numpy.ndarray, shape (n,)
            Largest load of interest. [kW]
        tolerance_kw : float
            Width of the final bracket. [kW]

        Returns
        -------
        Cap
            From below: the value itself passes; 0 where a transformer ages too
            fast without the load and the load makes it worse.
        """
        n = len(port)
        kw, element = np.full(n, np.inf), np.full(n, "", dtype=object)
        hottest = np.zeros(n, dtype=np.int64)
        watched = self.acts(port) & self.may_bind[:, None]
        for i in np.flatnonzero(watched.any(axis=0)):
            ends = np.flatnonzero(watched[:, i])
            kw[i], end, hottest[i] = self._largest(
                int(port[i]), ends, float(most_kw[i]), tolerance_kw
            )
            element[i] = self.names[end] if kw[i] < np.inf else ""
        return Cap(kw=kw, element=element, step=hottest)

    def _largest(
        self, port: int, ends: Ints, most_kw: float, tolerance_kw: float
    ) -> tuple[float, int, int]:
        """Return the largest load of one port, the end it ages and the step."""
        base, hottest = self.base[0][ends], self.base[1][ends]
        if (base > 0.0).any():
            probed, _ = self.score_at(port, _PROBE_KW, ends)
            worse = (base > 0.0) & (probed > base)
            if worse.any():
                worst = int(np.where(worse, base, -np.inf).argmax())
                return 0.0, int(ends[worst]), int(hottest[worst])
        # one that a load relieves may come back to what it was, not beyond
        most = np.maximum(base, 0.0)
        low, g_low = 0.0, float((base - most).max())
        high, g_high, last = min(self._guess(ends), most_kw), np.nan, (0, 0)
        for iteration in range(_MAX_ITERATIONS):
            growing = np.isnan(g_high)
            if not growing and high - low <= tolerance_kw:
                break
            at = high
            if not growing:
                at = between(low, high, g_low, g_high, tolerance_kw, iteration)
            score, step = self.score_at(port, at, ends)
            score -= most
            worst = int(score.argmax())
            if score[worst] > 0.0:
                high, g_high = at, float(score[worst])
                last = (int(ends[worst]), int(step[worst]))
                continue
            low, g_low = at, float(score[worst])
            if at >= most_kw:
                return np.inf, 0, 0
            if growing:
                high = min(1.3 * at + tolerance_kw, most_kw)
        # where it is the power flow that stops, other limits decide
        return (low if np.isfinite(g_high) else np.inf), *last

    @cached_property
    def _peaks(self) -> Floats:
        """Largest current of each end without added load. [pu]"""
        peaks: Floats = self.ends.currents(self.case.v).max(axis=1)
        return peaks

    def unrated(self, port: Ints) -> NDArray[np.bool_]:
        """
        Return which loads act on a transformer without a nameplate.

        Parameters
        ----------
        port : numpy.ndarray of int, shape (n,)
            Ports of the block.

        Returns
        -------
        numpy.ndarray of bool, shape (n_end, n)
            By end and load.
        """
        out: NDArray[np.bool_] = self.acts(port)
        out &= (self.ends.pu_of_nameplate == 0.0)[:, None]
        return out

    def _guess(self, ends: Ints) -> float:
        """Return a first load to look at: what the nameplates have left. [kW]"""
        left = 1.0 - self._peaks[ends]
        kva = self.ends.table["rated_kva"].to_numpy(dtype=float)[ends]
        return max(float((left * kva).min()), 1.0)


def between(
    low: float, high: float, g_low: float, g_high: float, width: float, iteration: int
) -> float:
    """
    Interpolate between a load that passes and one that does not, or halve.

    Parameters
    ----------
    low, high : float
        Ends of the bracket; the low one passes.
    g_low, g_high : float
        Scores there, less what is allowed. [K]
    width : float
        Width at which the search ends.
    iteration : int
        Number of the round.

    Returns
    -------
    float
        Inside the bracket.
    """
    middle = 0.5 * (low + high)
    if iteration % 4 == 3 or not np.isfinite(g_high) or not g_low < min(g_high, 0.0):
        return middle
    lean = 0.45 * width * (1.0 if iteration % 2 else -1.0)
    at = low + (high - low) * g_low / (g_low - g_high) + lean
    edge = min(0.45 * width, 0.25 * (high - low))
    return min(max(at, low + edge), high - edge)
