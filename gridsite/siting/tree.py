"""
Branch and bound on the Lagrangean relaxation: a proof that needs no MIP solver.

The node of the least bound is improved, counts that no better plan has are ruled
out, and the count in most doubt is split. Where all counts are decided, a transport
problem gives the cost, and its dual prices are put into the relaxation, so that
the bound is proven by the evaluation of the relaxation alone [1]_.

References
----------
.. [1] S. Goertz, A. Klose, "A simple but usually fast branch-and-bound algorithm
   for the capacitated facility location problem", *INFORMS Journal on Computing*
   24(4), 2012. :doi:`10.1287/ijoc.1110.0468`
"""

from __future__ import annotations

import heapq
import itertools
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from gridsite.siting.rounding import rounded

if TYPE_CHECKING:
    from gridsite.siting.lagrangean import Prices, Relaxation
    from gridsite.siting.transport import Transport

#: Evaluations at each node: more of them save few nodes.
_STEPS = 20


@dataclass(kw_only=True, eq=False)
class Tree:
    """
    The search tree of one relaxation.

    Parameters
    ----------
    relaxation : Relaxation
        The relaxation.
    transport : Transport
        What decided counts cost.
    gap : float
        Relative gap at which to stop. [-]
    upper : float
        Cost of the best plan known. [money]
    best : numpy.ndarray of int, shape (n_options,)
        Its counts.
    """

    relaxation: Relaxation
    transport: Transport
    gap: float
    upper: float
    best: np.ndarray
    nodes: int = 0
    _closed: float = np.inf
    _heap: list[tuple[float, int, np.ndarray, np.ndarray, Prices]] = field(
        default_factory=list
    )

    @property
    def cut(self) -> float:
        """
        Return the bound at which a node needs no more work.

        Returns
        -------
        float
            The cost of the best plan less the gap. [money]
        """
        return self.upper - self.gap * abs(self.upper)

    @property
    def bound(self) -> float:
        """
        Return what no plan costs less than.

        Returns
        -------
        float
            Valid after `explore`. [money]
        """
        waiting = self._heap[0][0] if self._heap else np.inf
        return min(self._closed, waiting, self.upper)

    def explore(self, root: Prices, *, end: float, most_nodes: float = np.inf) -> None:
        """
        Explore until the gap is reached, or time or nodes are used up.

        Parameters
        ----------
        root : Prices
            Prices of the whole relaxation.
        end : float
            Clock time at which to stop. [s]
        most_nodes : float, optional
            Nodes after which to stop.
        """
        order = itertools.count()
        first = self.relaxation.least, self.relaxation.most
        self._heap = [(root.bound, next(order), *first, root)]
        while self._heap and self._heap[0][0] < self.cut:
            if time.perf_counter() > end or self.nodes >= most_nodes:
                return
            above, _, least, most, prices = heapq.heappop(self._heap)
            self.nodes += 1
            node = self.relaxation.within(least, most)
            prices = node.improve(
                steps=_STEPS, start=prices, upper=self.upper, enough=self.cut
            )
            value = max(prices.bound, above)
            if value >= self.cut:
                self._close(value)
                continue
            cut = self.cut
            least, most = node.counts_left(prices, cut)
            if (least > most).any() or self.relaxation.lacks(most) > 0.0:
                self._close(cut)
            elif (least == most).all():
                self._close(cut)
                self._decide(least, prices, value)
            else:
                self._guess(rounded(self.relaxation, least, most, prices), prices)
                at, split = _split(self.relaxation, least, most, prices)
                self._close(cut)
                for low, high in ((least[at], split), (split + 1, most[at])):
                    child_least, child_most = least.copy(), most.copy()
                    child_least[at], child_most[at] = low, high
                    child = (value, next(order), child_least, child_most, prices)
                    heapq.heappush(self._heap, child)

    def _close(self, bound: float) -> None:
        self._closed = min(self._closed, bound)

    def _decide(self, counts: np.ndarray, prices: Prices, value: float) -> None:
        """Price decided counts and prove the price."""
        _, dual = self._try(counts)
        node = self.relaxation.within(counts, counts)
        value = max(value, node.bound(dual, np.zeros_like(prices.rows)))
        if not self.relaxation.keeps_rows(counts):
            value = np.inf
        self._close(value)

    def _guess(self, counts: np.ndarray, prices: Prices) -> None:
        """Price counts where the prices of the node do not tell that they are worse."""
        node = self.relaxation.within(counts, counts)
        if node.bound(prices.demand, prices.rows) < self.upper:
            self._try(counts)

    def _try(self, counts: np.ndarray) -> tuple[float, np.ndarray]:
        """Price counts and keep them if they are the best."""
        cost, dual = self.transport.cost(counts)
        if cost < self.upper and self.relaxation.keeps_rows(counts):
            self.upper, self.best = cost, counts
        return cost, dual


def _split(
    relaxation: Relaxation, least: np.ndarray, most: np.ndarray, prices: Prices
) -> tuple[int, int]:
    """Return the option in most doubt and the larger count of its lower half."""
    open_ = np.flatnonzero(least < most)
    average = np.clip(prices.units[open_], least[open_], most[open_])
    below = np.minimum(np.floor(average), most[open_] - 1).astype(np.int64)
    doubt = 0.5 - np.abs(average - below - 0.5)
    weight = relaxation.it_kw[open_] / relaxation.it_kw.max()
    best = int(np.argmax((doubt + 1e-3) * weight))
    return int(open_[best]), int(below[best])
