r"""
A lower bound without a solver: the Lagrangean relaxation of the whole class.

Demand rows get prices :math:`\pi_d`, grid rows and group caps prices
:math:`\lambda_e \ge 0` (caps with their share of the limit). What is left falls
apart into one problem per pool, solved exactly where the pool has one kind of
unit, and with a price for its capacity where it has several
(``lagrangean_kernels``):

.. math::

    L(\pi, \lambda) = \sum_d \text{demand}_d \pi_d - \sum_e \lambda_e \text{limit}_e
    + \sum_u \min \bigl(0, \text{capital}_u - \sum_e \lambda_e \text{added}_{eu}\bigr)
    + \sum_p \min_{n, x} \Bigl\{ \sum_j \text{fixed}_j y_j
    + \sum_m (\text{cost}_m + \sum_e \lambda_e a_{em}) n_m
    + \sum_k (c_k - \pi_{d(k)}) x_k \Bigr\}

with :math:`x_k \le \text{demand}_d` and the capacity and counts of the pool. Every
other constraint is left out, so :math:`L` holds whatever a problem has besides:
budget, latency shares, onboarding cost, limits of several options together, ties
between periods, losses of sites. Costs of opening that are negative (a price that
rises from period to period) count as if all opened.
The prices are improved by the volume algorithm [1]_.

References
----------
.. [1] F. Barahona, R. Anbil, "The volume algorithm: producing primal solutions
   with a subgradient method", *Mathematical Programming* 87, 2000.
   :doi:`10.1007/s101070050002`
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

from gridsite.siting.lagrangean_kernels import admissible, evaluate

if TYPE_CHECKING:
    from gridsite.siting.reduce import ReducedProblem

#: Steps without a better bound after which the step length shrinks.
_PATIENCE = 20

#: Step length below which the search ends [-].
_SHORTEST = 1e-4

#: Distance to the cost of a known plan that steps aim at, at least [-].
_NEAR = 1e-3

#: Weight of the last step in the averages [-].
_FRESH = 0.1

#: Share by which a bound is lowered for what rounding may add [-].
_ROUNDING = 1e-12


@dataclass(frozen=True, kw_only=True, eq=False)
class Prices:
    """
    Multipliers with the bound that they prove.

    Parameters
    ----------
    bound : float
        No plan costs less. [money]
    demand : numpy.ndarray of float, shape (n_demands,)
        Price of each demand. [money/kW]
    rows : numpy.ndarray of float, shape (n_rows,)
        Price of each grid row and group cap. [money]
    units : numpy.ndarray of float, shape (n_options,)
        Average units of each option: nearly a solution of the relaxation.
    """

    bound: float
    demand: np.ndarray
    rows: np.ndarray
    units: np.ndarray


class Relaxation:
    """
    The relaxation of one reduced problem.

    Parameters
    ----------
    reduced : ReducedProblem
        The reduced problem.

    Attributes
    ----------
    least, most : numpy.ndarray of int, shape (n_options,)
        Bounds of the counts.
    """

    def __init__(self, reduced: ReducedProblem) -> None:
        options, flows = reduced.options, reduced.flows
        n_pool = int(max(flows["pool"].max() if len(flows) else -1, -1)) + 1
        lone = options["site"] + n_pool
        pool = options["pool"].where(options["pool"] >= 0, lone).to_numpy()
        n_pool += len(reduced.sites)
        self._order = np.lexsort((options["site"], pool))
        self._back = np.argsort(self._order)
        table = options.iloc[self._order]
        fixed = reduced.sites["fixed_capital"].where(reduced.sites["priced"], 0.0)
        onboarding = reduced.groups["onboarding_cost"].where(reduced.groups["priced"])
        site = table["site"].to_numpy()
        last = np.flatnonzero(np.append(site[1:] != site[:-1], True)[: len(site)]) + 1
        self._site_end = last[np.searchsorted(last, np.arange(len(table)), "right")]
        self._base_cost = (table["capital"] + table["running"]).to_numpy(dtype=float)
        self._it_kw = table["it_kw"].to_numpy(dtype=float)
        self._fixed = fixed.clip(lower=0.0).to_numpy(dtype=float)[site]
        self._constant = reduced.constant + float(fixed.clip(upper=0.0).sum())
        self._constant += float(pd.to_numeric(onboarding).clip(upper=0.0).sum())
        span = np.arange(n_pool + 1)
        self._option_start = np.searchsorted(pool[self._order], span)
        flows = flows.iloc[np.argsort(flows["pool"].to_numpy(), kind="stable")]
        self._flow = (
            np.searchsorted(flows["pool"].to_numpy(), span),
            flows["demand"].to_numpy(dtype=np.int64),
            flows["cost"].to_numpy(dtype=float),
        )
        self.need = reduced.demands["demand_it_kw"].to_numpy(dtype=float)
        unserved = reduced.demands["unserved_cost"].to_numpy(dtype=float)
        self._dearest = np.where(np.isnan(unserved), np.inf, unserved)
        rows, self.limit = _coupling(reduced)
        self._rows = sparse.csr_array(rows[:, self._order])
        self._upgrade_cost = reduced.upgrades["capital"].to_numpy(dtype=float)
        self._upgrade_most = reduced.upgrades["upper"].to_numpy(dtype=float)
        self._added = reduced.upgrade_terms.copy()
        self._added.resize((len(self.limit), len(reduced.upgrades)))
        self._upgraded = np.zeros(len(reduced.upgrades))
        sizes = len(self.need), len(table), n_pool, n_pool
        self._out = tuple(np.empty(n) for n in sizes)
        self.it_kw = options["it_kw"].to_numpy(dtype=float)
        self._hard = float(self.need[np.isinf(self._dearest)].sum())
        self.least = options["lower"].to_numpy()
        self.most = options["upper"].to_numpy()
        self._low = self.least[self._order].astype(float)
        self._high = self.most[self._order].astype(float)

    def within(self, least: np.ndarray, most: np.ndarray) -> Relaxation:
        """
        Return the relaxation with other bounds of the counts.

        Parameters
        ----------
        least, most : numpy.ndarray of int, shape (n_options,)
            The bounds.

        Returns
        -------
        Relaxation
            It shares its working memory with this one.
        """
        other = copy.copy(self)
        other.least, other.most = least, most
        other._low = least[self._order].astype(float)  # noqa: SLF001 - its own class
        other._high = most[self._order].astype(float)  # noqa: SLF001
        return other

    def bound(self, demand: np.ndarray, rows: np.ndarray) -> float:
        """
        Return the bound that prices prove.

        Parameters
        ----------
        demand : numpy.ndarray of float, shape (n_demands,)
            Prices of demand; above its price of being unserved none counts.
            [money/kW]
        rows : numpy.ndarray of float, shape (n_rows,)
            Prices of rows; below 0 none counts. [money]

        Returns
        -------
        float
            Lowered by what rounding may have added. [money]
        """
        demand = np.minimum(demand, self._dearest)
        rows = np.maximum(rows, 0.0)
        evaluate(self._flow, self.need, demand, self._option(rows), self._out)
        worth = self._upgrade_cost - self._added.T @ rows
        self._upgraded = np.where(worth < 0.0, self._upgrade_most, 0.0)
        parts = (
            self.need * demand,
            -self.limit * rows,
            self._out[2],
            worth * self._upgraded,
        )
        total = sum(part.sum() for part in parts) + self._constant
        size = sum(np.abs(part).sum() for part in parts) + abs(self._constant)
        return float(total - _ROUNDING * size)

    def counts_left(
        self, prices: Prices, upper: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """
        Return bounds of the counts in any plan that costs less than ``upper``.

        Parameters
        ----------
        prices : Prices
            Prices.
        upper : float
            Cost of a known plan. [money]

        Returns
        -------
        least : numpy.ndarray of int, shape (n_options,)
            Least count; above the largest where none is left.
        most : numpy.ndarray of int, shape (n_options,)
            Largest count.
        """
        value = self.bound(prices.demand, prices.rows)
        slack = upper - value + 1e-9 * abs(upper)
        least, most = np.empty_like(self._low), np.empty_like(self._high)
        demand = np.minimum(prices.demand, self._dearest)
        option = self._option(np.maximum(prices.rows, 0.0))
        admissible(self._flow, self.need, demand, option, self._out, slack, least, most)
        return (
            least[self._back].astype(np.int64),
            most[self._back].astype(np.int64),
        )

    def improve(
        self,
        *,
        steps: int,
        start: Prices | None = None,
        upper: float = np.inf,
        enough: float = np.inf,
        time_limit_s: float = np.inf,
    ) -> Prices:
        """
        Return the best prices that the volume algorithm finds.

        Parameters
        ----------
        steps : int
            Most evaluations.
        start : Prices, optional
            Where to start; by default a guess from the costs.
        upper : float, optional
            Cost of a known plan. [money]
        enough : float, optional
            Bound at which to stop. [money]
        time_limit_s : float, optional
            Time after which to stop. [s]

        Returns
        -------
        Prices
            With the best bound seen.
        """
        weight = 1.0 / self.need
        most = self._dearest_plan()
        demand = self._first_prices() if start is None else start.demand
        rows = np.zeros(len(self.limit)) if start is None else start.rows
        best = self.bound(demand, rows)
        gradient, row_gradient, units = self._violation()
        length, waiting = (1.0 if start is None else 0.3), 0
        target = max(upper, best) if np.isfinite(upper) else _above(best)
        end = time.perf_counter() + time_limit_s
        for _ in range(steps):
            relative = gradient * weight
            norm = float(relative @ relative + row_gradient @ row_gradient)
            done = norm < 1e-16 or length < _SHORTEST or best >= min(enough, most)
            if done or time.perf_counter() > end:
                break
            step = length * (target - best) / norm
            new = np.minimum(demand + step * relative * weight, self._dearest)
            new_rows = np.maximum(rows + step * row_gradient, 0.0)
            value = self.bound(new, new_rows)
            seen, row_seen, now = self._violation()
            gradient = _FRESH * seen + (1.0 - _FRESH) * gradient
            row_gradient = _FRESH * row_seen + (1.0 - _FRESH) * row_gradient
            units = _FRESH * now + (1.0 - _FRESH) * units
            waiting += 1
            if value > best:
                demand, rows, best = new, new_rows, value
                waiting, length = 0, min(length * 1.1, 2.0)
                if np.isinf(upper) and best > target - 0.02 * abs(target):
                    target = _above(best)
                elif best > target - _NEAR * abs(target):
                    target = best + _NEAR * abs(best)
            elif waiting >= _PATIENCE:
                waiting, length = 0, length * 0.66
        return Prices(bound=best, demand=demand, rows=rows, units=units[self._back])

    def keeps_rows(self, counts: np.ndarray) -> bool:
        """
        Tell whether counts keep grid rows and group caps.

        Parameters
        ----------
        counts : numpy.ndarray of int, shape (n_options,)
            Units of each option.

        Returns
        -------
        bool
            True if no row is passed.
        """
        use = self._rows @ counts[self._order].astype(float)
        return bool((use <= self.limit + 1e-9).all())

    def lacks(self, counts: np.ndarray) -> float:
        """
        Return the IT power that counts lack to serve all demand that must be.

        Parameters
        ----------
        counts : numpy.ndarray of int, shape (n_options,)
            Units of each option.

        Returns
        -------
        float
            0 or less if there is enough in all. [kW]
        """
        return self._hard * (1.0 - 1e-9) - float(counts @ self.it_kw)

    def _option(self, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        cost = self._base_cost + self._rows.T @ rows
        bounds = self._low, self._high
        return (
            self._option_start, self._site_end, cost, self._it_kw, *bounds, self._fixed,
        )  # fmt: skip

    def _first_prices(self) -> np.ndarray:
        """Return prices of demand at which each unit just pays when it is full."""
        with np.errstate(divide="ignore", invalid="ignore"):
            unit = np.maximum(self._base_cost, 0.0) + self._fixed / self._high
            each = np.where(self._high > 0.0, unit / self._it_kw, np.inf)
        flow_start, flow_demand, flow_cost = self._flow
        n_pool = len(flow_start) - 1
        pool = np.repeat(np.arange(n_pool), np.diff(self._option_start))
        cheapest = np.full(n_pool, np.inf)
        np.minimum.at(cheapest, pool, each)
        of_flow = np.repeat(cheapest, np.diff(flow_start))
        price = np.full(len(self.need), np.inf)
        np.minimum.at(price, flow_demand, flow_cost + of_flow)
        price = np.minimum(price, self._dearest)
        return np.where(np.isfinite(price), price, 0.0)

    def _dearest_plan(self) -> float:
        """Return what no plan costs more than: a bound above it rules out all."""
        _, flow_demand, flow_cost = self._flow
        dear = np.where(np.isfinite(self._dearest), self._dearest, 0.0)
        np.maximum.at(dear, flow_demand, np.abs(flow_cost))
        stands = np.abs(self._base_cost) * self._high + np.abs(self._fixed)
        return (
            float(2.0 * (dear @ self.need + stands.sum()) + abs(self._constant)) + 1.0
        )

    def _violation(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return unmet demand, exceeded rows and units of the last evaluation."""
        served, units = self._out[0], self._out[1]
        over = self._rows @ units - self.limit - self._added @ self._upgraded
        return self.need - served, over, units.copy()


def lagrangean_bound(reduced: ReducedProblem, *, steps: int = 500) -> float:
    """
    Return a lower bound of a reduced problem, without a solver.

    Parameters
    ----------
    reduced : ReducedProblem
        The reduced problem.
    steps : int, default 500
        Most evaluations.

    Returns
    -------
    float
        No plan costs less. [money]
    """
    return Relaxation(reduced).improve(steps=steps).bound


def _above(best: float) -> float:
    return best + 0.05 * abs(best) + 1e-9


def _coupling(reduced: ReducedProblem) -> tuple[sparse.csr_array, np.ndarray]:
    """Return grid rows and group caps over the options, limits near 1."""
    n = len(reduced.options)
    blocks = [reduced.row_terms]
    limits = [reduced.rows["limit"].to_numpy()]
    member = reduced.members
    inside = sparse.csr_array(
        (np.ones(len(member)), (member["group"], member["option"])),
        shape=(len(reduced.groups), n),
    )
    rated = reduced.options["rated_kw"].to_numpy(dtype=float)
    for column, weight in (("max_units", np.ones(n)), ("max_kw", rated)):
        cap = pd.to_numeric(reduced.groups[column]).to_numpy(dtype=float)
        held = np.flatnonzero(~np.isnan(cap))
        scale = np.where(cap[held] > 0.0, cap[held], 1.0)
        terms = inside[held].multiply(weight[None, :]).multiply(1.0 / scale[:, None])
        blocks.append(sparse.csr_array(terms))
        limits.append(cap[held] / scale)
    return sparse.csr_array(sparse.vstack(blocks, format="csr")), np.concatenate(limits)
