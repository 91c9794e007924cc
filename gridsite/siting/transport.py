r"""
The cheapest service at decided counts: a transport problem, solved exactly.

Demands are served one after the other, each along the cheapest path: to a pool
with room, or to a full one that hands some of its flow on. No plan of the demands
served so far is ever improvable, so the last is optimal [1]_. What one kW more
would cost, :math:`\min_p (c_{pd} + \text{rent}_p)`, is the dual price of a demand.

References
----------
.. [1] R. K. Ahuja, T. L. Magnanti, J. B. Orlin, *Network Flows*, 1993, section
   9.7 (successive shortest paths).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numba as nb
import numpy as np

if TYPE_CHECKING:
    from gridsite.siting.reduce import ReducedProblem

#: Share of a demand that is rounding [-].
_DUST = 1e-12

#: Pools times pools times demands above which it would take too long.
_LARGEST = 2e8


class Transport:
    """
    What decided counts cost, on demand, group and row constraints aside.

    Parameters
    ----------
    reduced : ReducedProblem
        The reduced problem.
    """

    def __init__(self, reduced: ReducedProblem) -> None:
        options, flows = reduced.options, reduced.flows
        self._flow_of = flows["pool"].to_numpy(), flows["demand"].to_numpy()
        self._need = reduced.demands["demand_it_kw"].to_numpy(dtype=float)
        self._unserved = reduced.demands["unserved_cost"].fillna(np.inf).to_numpy()
        n_pool = int(options["pool"].max(skipna=True)) + 1 if len(options) else 0
        n_pool = max(n_pool, int(flows["pool"].max()) + 1 if len(flows) else 0)
        size = n_pool * len(self._need)
        self.fits = size <= _LARGEST
        self._cost = np.full((n_pool, len(self._need)) if self.fits else (0, 0), np.inf)
        if self.fits:
            self._cost[flows["pool"], flows["demand"]] = flows["cost"]
        self._pool, self._site = options["pool"].to_numpy(), options["site"].to_numpy()
        self._most = options["each"].to_numpy()
        self._it_kw = options["it_kw"].to_numpy(dtype=float)
        self._each = (options["capital"] + options["running"]).to_numpy(dtype=float)
        fixed = reduced.sites["fixed_capital"].where(reduced.sites["priced"], 0.0)
        self._fixed = fixed.to_numpy(dtype=float)
        self._constant = reduced.constant

    def cost(self, counts: np.ndarray) -> tuple[float, np.ndarray]:
        """
        Return what counts cost, and the dual prices of demand.

        Parameters
        ----------
        counts : numpy.ndarray of int, shape (n_options,)
            Units of each option.

        Returns
        -------
        cost : float
            Infinite if demand that must be served is not. [money]
        prices : numpy.ndarray of float, shape (n_demands,)
            Cost of one kW more. [money/kW]
        """
        stands, served, prices, flow, _ = self._served(counts)
        hard = np.isinf(self._unserved)
        short = (flow[-1] > 1e-9 * self._need) & hard
        return (np.inf if short.any() else stands + served), prices

    def used(self, counts: np.ndarray) -> np.ndarray:
        """
        Tell which flows the cheapest service at decided counts uses.

        Parameters
        ----------
        counts : numpy.ndarray of int, shape (n_options,)
            Units of each option.

        Returns
        -------
        numpy.ndarray of bool, shape (n_flows,)
            True where something flows.
        """
        *_, flow, pools = self._served(counts)
        some = np.zeros(self._cost.shape, dtype=bool)
        some[pools] = flow[:-1] > 0.0
        used: np.ndarray = some[self._flow_of]
        return used

    def _served(
        self, counts: np.ndarray
    ) -> tuple[float, float, np.ndarray, np.ndarray, np.ndarray]:
        """Return cost of units and of service, prices, flows and their pools."""
        room = np.zeros(len(self._cost))
        inside = self._pool >= 0
        np.add.at(room, self._pool[inside], (counts * self._it_kw)[inside])
        used = np.flatnonzero(room > 0.0)
        opens = np.zeros(len(self._fixed))
        np.maximum.at(opens, self._site, np.ceil(counts / self._most))
        stands = float(self._each @ counts + self._fixed @ opens) + self._constant
        costs = self._cost[used]
        most = np.abs(costs[np.isfinite(costs)]).max(initial=0.0)
        never = 2.0 * (len(used) + 2.0) * (most + 1.0)  # dearer than any detour
        last = np.where(np.isinf(self._unserved), never, self._unserved)
        costs = np.vstack([costs, last])
        served, prices, flow = serve(
            costs, np.append(room[used], self._need.sum()), self._need
        )
        return stands, served, prices, flow, used

    def quick(self, counts: np.ndarray) -> bool:
        """
        Tell whether counts are priced in a fraction of a second.

        Parameters
        ----------
        counts : numpy.ndarray of int, shape (n_options,)
            Units of each option.

        Returns
        -------
        bool
            False for too many pools.
        """
        pools = len(np.unique(self._pool[counts > 0]))
        return self.fits and pools**2 * len(self._need) <= _LARGEST / 10.0


@nb.njit(cache=True)
def serve(cost, room, need):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    """
    Return the least cost of serving all, and the dual prices of demand.

    Parameters
    ----------
    cost : numpy.ndarray of float, shape (n_pools, n_demands)
        Cost of service, infinite where there is none. [money/kW]
    room : numpy.ndarray of float, shape (n_pools,)
        What each pool can serve; used up, the last one never. [kW]
    need : numpy.ndarray of float, shape (n_demands,)
        What each demand needs. [kW]

    Returns
    -------
    total : float
        Infinite if not all can be served. [money]
    prices : numpy.ndarray of float, shape (n_demands,)
        Cost of one kW more; 0 where not all can be served. [money/kW]
    flow : numpy.ndarray of float, shape (n_pools, n_demands)
        What each pool serves. [kW]
    """
    n_pool, n_demand = cost.shape
    flow = np.zeros((n_pool, n_demand))
    hand = np.full((n_pool, n_pool), np.inf)  # cheapest move from pool to pool
    what = np.full((n_pool, n_pool), -1)  # and whose flow moves
    rent, onto = np.zeros(n_pool), np.full(n_pool, -1)
    finite = np.abs(cost.ravel()[np.isfinite(cost.ravel())])
    tie = _DUST * (finite.max() if len(finite) else 1.0)
    for d in range(n_demand):
        left = need[d]
        while left > _DUST * need[d]:
            _rents(room, hand, rent, onto, tie)
            at = np.argmin(cost[:, d] + rent)
            if not np.isfinite(cost[at, d] + rent[at]):
                return np.inf, np.zeros(n_demand), flow
            size = _push(d, at, left, cost, room, need, flow, hand, what, onto)
            if size <= 0.0:  # a cycle made of rounding: no answer is better
                return np.inf, np.zeros(n_demand), flow
            left -= size
    room[-1] = np.inf  # one kW more has a price even where all is used up
    _rents(room, hand, rent, onto, tie)
    total, prices = 0.0, np.zeros(n_demand)
    for d in range(n_demand):
        prices[d] = np.min(cost[:, d] + rent)
        for p in range(n_pool):
            if flow[p, d] > 0.0:
                total += flow[p, d] * cost[p, d]
    return total, prices, flow


@nb.njit(cache=True)
def _push(d, p, size, cost, room, need, flow, hand, what, onto):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Push a demand into a pool and on along its path; return how much went."""
    end, length = p, 0
    while room[end] <= 0.0:
        size = min(size, flow[end, what[end, onto[end]]])
        end, length = onto[end], length + 1
        if length > len(room):
            return 0.0
    size = min(size, room[end])
    left = room[end] - size
    room[end] = left if left > _DUST * size else 0.0
    moved = d
    while True:
        ends = p == end
        mine = d if ends else what[p, onto[p]]
        if not ends:
            left = flow[p, mine] - size
            flow[p, mine] = left if left > _DUST * need[mine] else 0.0
        flow[p, moved] += size
        _offer(p, moved, cost, hand, what)
        if ends:
            return size
        if flow[p, mine] == 0.0:
            _withdraw(p, mine, cost, flow, hand, what)
        moved, p = mine, onto[p]


@nb.njit(cache=True)
def _offer(p, d, cost, hand, what):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Let a demand served by a pool move on from it."""
    for q in range(len(hand)):
        move = cost[q, d] - cost[p, d]
        if q != p and move < hand[p, q]:
            hand[p, q], what[p, q] = move, d


@nb.njit(cache=True)
def _withdraw(p, d, cost, flow, hand, what):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Forget the moves of a demand that a pool serves no more."""
    for q in range(len(hand)):
        if what[p, q] == d:
            hand[p, q], what[p, q] = np.inf, -1
            for other in range(flow.shape[1]):
                if (
                    flow[p, other] > 0.0
                    and cost[q, other] - cost[p, other] < hand[p, q]
                ):
                    hand[p, q], what[p, q] = cost[q, other] - cost[p, other], other


@nb.njit(cache=True)
def _rents(room, hand, rent, onto, tie):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Find what one kW more in a pool costs, and the pool that it pushes onto."""
    n = len(room)
    full = 0
    for p in range(n):
        onto[p] = -1
        rent[p] = 0.0 if room[p] > 0.0 else np.inf
        full += int(room[p] <= 0.0)
    for _ in range(full):
        better = False
        for p in range(n):
            if room[p] > 0.0:
                continue
            for q in range(n):
                length = hand[p, q] + rent[q]
                if length < rent[p] - tie:
                    rent[p], onto[p], better = length, q, True
        if not better:
            break
