"""
Transformer ageing by sets of loads: how much of a set a block's transformers take.

The limit is that of single loads (`gridsite.hosting.ageing_limit`), in the words of
the replay: a set passes when no transformer newly ages too fast, and none that does so
already by more than the materiality. What is found passes in AC power flow of all
steps.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from gridsite.hosting.ageing_limit import AgeingLimit, between
from gridsite.hosting.ageing_replay import MATERIALITY_K

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gridsite.hosting.ageing_limit import Ageing
    from gridsite.hosting.base_case import BaseCase
    from gridsite.hosting.load_sets import Stop

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

_MAX_ITERATIONS = 60

#: A transformer this near its limit is named where all of a set passes. [K]
_NEAR_K = 0.2


class SetAgeing:
    """
    Judge sets of loads by the ageing of a block's transformers.

    Parameters
    ----------
    case : BaseCase
        The block without the loads.
    ageing : Ageing
        Limits and temperature.
    ends : numpy.ndarray of int, optional
        Transformer ends to look at; by default those that currents within their
        limits may age too fast.
    """

    def __init__(
        self, case: BaseCase, ageing: Ageing, ends: Ints | None = None
    ) -> None:
        self.limit = AgeingLimit(case, ageing)
        rated = self.limit.ends.pu_of_nameplate > 0.0
        if ends is None:
            ends = np.flatnonzero(rated & self.limit.may_bind)
        self.ends = ends

    @cached_property
    def _allowed_k(self) -> Floats:
        base = self.limit.base[0][self.ends]
        out: Floats = np.where(base > 0.0, base + MATERIALITY_K, 0.0)
        return out

    def beyond_k(self, set_kw: Floats) -> tuple[Floats, Ints]:
        """
        Return how far a set takes each end beyond what it may.

        Parameters
        ----------
        set_kw : numpy.ndarray, shape (n_port,)
            The loads. [kW]

        Returns
        -------
        beyond_k : numpy.ndarray, shape (n_end,)
            Score less what is allowed; infinite without a power flow. [K]
        step : numpy.ndarray of int, shape (n_end,)
            Hottest step.
        """
        score, step = self.limit.score(self.limit.currents_of(set_kw, self.ends))
        return score - self._allowed_k, step

    def cut_back(
        self, stop: Stop, small_kw: Floats, large_kw: Floats, tolerance_kw: float
    ) -> Stop:
        """
        Return how far from a small to a large set of loads ageing lets one go.

        Parameters
        ----------
        stop : Stop
            How far the other limits do.
        small_kw, large_kw : numpy.ndarray, shape (n_port,)
            The two sets, the small one within the large one. [kW]
        tolerance_kw : float
            Width of the final bracket, in total load. [kW]

        Returns
        -------
        Stop
            The one given where ageing does not bind, nor is near to.
        """
        if not len(self.ends) or not stop.holds:
            return stop
        way = large_kw - small_kw
        low, high = 0.0, stop.share
        beyond, step = self.beyond_k(small_kw + high * way)
        g_high, found = float(beyond.max()), self._stop(stop, beyond, step)
        if g_high <= 0.0:
            return found if stop.share == 1.0 and g_high > -_NEAR_K else stop
        beyond, step = self.beyond_k(small_kw)
        g_low = float(beyond.max())
        if g_low > 0.0:
            return replace(self._stop(stop, beyond, step), share=0.0, holds=False)
        width = tolerance_kw / max(float(way.sum()), 1e-12)
        for iteration in range(_MAX_ITERATIONS):
            if high - low <= width:
                break
            at = between(low, high, g_low, g_high, width, iteration)
            beyond, step = self.beyond_k(small_kw + at * way)
            if beyond.max() > 0.0:
                high, g_high = at, float(beyond.max())
                found = self._stop(stop, beyond, step)
            else:
                low, g_low = at, float(beyond.max())
        return replace(found, share=low)

    def _stop(self, stop: Stop, beyond: Floats, step: Ints) -> Stop:
        """Return a stop that names the transformer that ages most."""
        worst = int(beyond.argmax())
        name = str(self.limit.names[self.ends[worst]])
        return replace(stop, row=-1, step=int(step[worst]), transformer=name)

    def shares(self, set_kw: Floats, accuracy: float) -> tuple[Floats, Ints]:
        """
        Return the largest share of a set that each end takes.

        Parameters
        ----------
        set_kw : numpy.ndarray, shape (n_port,)
            Loads with which all ends are beyond their limits, or without a power
            flow. [kW]
        accuracy : float
            Width of each bracket, of its upper end. [-]

        Returns
        -------
        share : numpy.ndarray, shape (n_end,)
            Passes at this end; 0 where nothing does, 1 where it is the power flow
            that stops it. [-]
        step : numpy.ndarray of int, shape (n_end,)
            Hottest step just above.

        Notes
        -----
        Each power flow is of use to all ends, so that alike ends cost little more
        than one.
        """
        n = len(self.ends)
        low, high = np.zeros(n), np.ones(n)
        g_low, (g_high, step) = -self._allowed_k, self.beyond_k(set_kw)
        g_low = self.limit.base[0][self.ends] + g_low
        for iteration in range(_MAX_ITERATIONS):
            wide = (high - low) / high
            worst = int(wide.argmax())
            if wide[worst] <= accuracy:
                break
            at = between(
                float(low[worst]),
                float(high[worst]),
                float(g_low[worst]),
                float(g_high[worst]),
                accuracy * float(high[worst]),
                iteration,
            )
            beyond, hottest = self.beyond_k(at * set_kw)
            up = (beyond <= 0.0) & (at > low)
            down = (beyond > 0.0) & (at < high)
            low[up], g_low[up] = at, beyond[up]
            high[down], g_high[down] = at, beyond[down]
            step[down] = hottest[down]
        return np.where(np.isfinite(g_high), low, 1.0), step
