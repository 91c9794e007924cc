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
The prices are improved by the volume algorithm (``volume``).
"""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.sparse.csgraph import maximum_flow

from gridsite.siting import volume
from gridsite.siting.lagrangean_kernels import (
    Flows,
    Options,
    Work,
    admissible,
)

if TYPE_CHECKING:
    from gridsite.siting.reduce import ReducedProblem

#: Evaluations between looks at the clock.
_CHUNK = 50

#: Share of the demand that rounding may leave unserved [-].
_SHORT = 1e-9

#: Share of a demand that counts as rounding where it is unserved [-].
_DUST = 1e-4

#: Length of the first step: from a guess, and from known prices [-].
_FIRST_LENGTH, _NEXT_LENGTH = 1.0, 0.3


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
        copies = reduced.sites["copies"].to_numpy()
        constant = reduced.constant + float(fixed.clip(upper=0.0).sum())
        constant += float(pd.to_numeric(onboarding).clip(upper=0.0).sum())
        span = np.arange(n_pool + 1)
        flows = flows.sort_values(["pool", "cost"], kind="stable")
        self.need = reduced.demands["demand_it_kw"].to_numpy(dtype=float)
        unserved = reduced.demands["unserved_cost"].to_numpy(dtype=float)
        dearest = np.where(np.isnan(unserved), np.inf, unserved)
        self._hard = float(self.need[np.isinf(dearest)].sum()) * (1.0 - _SHORT)
        rows, self.limit = _coupling(reduced)
        self._rows = sparse.csr_array(rows[:, self._order])
        self._columns = sparse.csc_array(self._rows)
        added = sparse.csr_array(reduced.upgrade_terms, copy=True)
        added.resize((len(self.limit), len(reduced.upgrades)))
        self.it_kw = options["it_kw"].to_numpy(dtype=float)
        self.least = options["lower"].to_numpy()
        self.most = options["upper"].to_numpy()
        self._model = volume.Model(
            Flows(
                np.searchsorted(flows["pool"].to_numpy(), span),
                flows["demand"].to_numpy(dtype=np.int64),
                flows["cost"].to_numpy(dtype=float),
            ),
            _options(table, fixed, copies, np.searchsorted(pool[self._order], span)),
            self.need,
            dearest,
            self._hard,
            _sparse(self._rows),
            _sparse(added),
            self.limit,
            reduced.upgrades["capital"].to_numpy(dtype=float),
            reduced.upgrades["upper"].to_numpy(dtype=float),
            float(constant),
        )
        self._work = _work(self._model)
        dear = np.where(np.isfinite(dearest), dearest, 0.0)
        np.maximum.at(
            dear, flows["demand"].to_numpy(), np.abs(flows["cost"].to_numpy())
        )
        self._dear = float(dear @ self.need)
        self._upgraded = np.zeros(len(reduced.upgrades))

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
        options = self._model.options._replace(
            low=least[self._order].astype(float), high=most[self._order].astype(float)
        )
        other._model = self._model._replace(options=options)  # noqa: SLF001 - its own
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
        return self._prove(demand, rows)[0]

    def _prove(self, demand: np.ndarray, rows: np.ndarray) -> tuple[float, float]:
        demand = np.minimum(demand, self._model.dearest)
        rows = np.maximum(rows, 0.0)
        bound, price = volume.prove(
            self._model, demand, rows, self._work, self._upgraded
        )
        return float(bound), float(price)

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
        value, price = self._prove(prices.demand, prices.rows)
        slack = upper - value + 1e-9 * abs(upper)
        model = self._model
        least, most = (np.empty(len(self.it_kw)) for _ in range(2))
        demand = np.minimum(prices.demand, model.dearest)
        options = volume.at_rows(model, np.maximum(prices.rows, 0.0))
        admissible(
            model.flows, self.need, demand, options, price, slack, self._work,
            least, most,
        )  # fmt: skip
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
        model, size = self._model, (len(self.need), len(self.limit))
        if start is None:
            demand, rows, length = (
                self._first_prices(),
                np.zeros(size[1]),
                _FIRST_LENGTH,
            )
        else:
            demand, rows, length = start.demand, start.rows, _NEXT_LENGTH
        state = volume.State(
            demand=np.minimum(demand, model.dearest),
            rows=rows.copy(),
            gradient=np.empty(size[0]),
            over=np.empty(size[1]),
            units=np.empty(len(self.it_kw)),
            best=np.empty(1),
            target=np.empty(1),
            length=np.full(1, length),
            waiting=np.empty(1),
        )
        volume.start(model, state, self._work, self._upgraded, upper)
        enough = min(enough, self._dearest_plan())
        end = time.perf_counter() + time_limit_s
        for done in range(0, steps, _CHUNK):
            ended = volume.improve(
                model, state, self._work, self._upgraded, min(_CHUNK, steps - done),
                upper, enough,
            )  # fmt: skip
            if ended or time.perf_counter() > end:
                break
        return Prices(
            bound=float(state.best[0]),
            demand=state.demand,
            rows=state.rows,
            units=state.units[self._back],
        )

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

    def share_of_worst_row(self, counts: np.ndarray) -> np.ndarray:
        """
        Return what a unit of each option takes of the row that is passed most.

        Parameters
        ----------
        counts : numpy.ndarray of int, shape (n_options,)
            Units of each option.

        Returns
        -------
        numpy.ndarray of float, shape (n_options,)
            Shares of the row's limit. [-]
        """
        over = self._rows @ counts[self._order].astype(float) - self.limit
        row: np.ndarray = self._rows[[int(np.argmax(over))]].toarray()[0]
        return row[self._back]

    def has_room(self, counts: np.ndarray) -> np.ndarray:
        """
        Tell which options may have a unit more without passing a row that holds.

        Parameters
        ----------
        counts : numpy.ndarray of int, shape (n_options,)
            Units of each option.

        Returns
        -------
        numpy.ndarray of bool, shape (n_options,)
            By option.
        """
        left = self.limit - self._rows @ counts[self._order].astype(float) + 1e-9
        terms = self._columns
        more = terms.data > np.maximum(left, 0.0)[terms.indices]
        full = np.zeros(len(counts), dtype=np.bool_)
        full[np.repeat(np.arange(len(counts)), np.diff(terms.indptr))[more]] = True
        return ~full[self._back]

    def short(self, counts: np.ndarray) -> np.ndarray:
        """
        Return what a unit of each option could serve of what counts leave unserved.

        Parameters
        ----------
        counts : numpy.ndarray of int, shape (n_options,)
            Units of each option.

        Returns
        -------
        numpy.ndarray of float, shape (n_options,)
            0 everywhere if all demand that must be served can be. [kW]
        """
        flows, options = self._model.flows, self._model.options
        pool = np.repeat(np.arange(len(options.start) - 1), np.diff(options.start))
        stand = counts[self._order] * options.it_kw
        room = np.bincount(pool, stand, minlength=len(options.start) - 1)
        hard = np.where(np.isinf(self._model.dearest), self.need, 0.0)
        of_flow = np.repeat(np.arange(len(room)), np.diff(flows.start))
        left = unserved(flows.demand, of_flow, room, hard)
        reach = np.append(0.0, np.cumsum(left[flows.demand]))[flows.start]
        most = np.minimum(np.diff(reach)[pool], options.it_kw)
        short: np.ndarray = most[self._back]
        return short

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
        return self._hard - float(counts @ self.it_kw)

    def _first_prices(self) -> np.ndarray:
        """Return prices of demand at which each unit just pays when it is full."""
        options, flows = self._model.options, self._model.flows
        with np.errstate(divide="ignore", invalid="ignore"):
            unit = np.maximum(options.cost, 0.0) + options.fixed / options.high
            each = np.where(options.high > 0.0, unit / options.it_kw, np.inf)
        n_pool = len(flows.start) - 1
        pool = np.repeat(np.arange(n_pool), np.diff(options.start))
        cheapest = np.full(n_pool, np.inf)
        np.minimum.at(cheapest, pool, each)
        of_flow = np.repeat(cheapest, np.diff(flows.start))
        price = np.full(len(self.need), np.inf)
        np.minimum.at(price, flows.demand, flows.cost + of_flow)
        price = np.minimum(price, self._model.dearest)
        return np.where(np.isfinite(price), price, 0.0)

    def _dearest_plan(self) -> float:
        """Return what no plan costs more than: a bound above it rules out all."""
        options, dear = self._model.options, self._dear
        stands = np.abs(options.cost) * options.high + np.abs(options.fixed)
        return float(2.0 * (dear + stands.sum()) + abs(self._model.constant)) + 1.0


def _options(
    table: pd.DataFrame, fixed: pd.Series, copies: np.ndarray, start: np.ndarray
) -> Options:
    """Return the options of a table; units of alike sites share their fixed cost."""
    site = table["site"].to_numpy()
    each = fixed.clip(lower=0.0).to_numpy(dtype=float)[site]
    shared = np.where(copies[site] > 1, each / table["each"].to_numpy(), 0.0)
    last = np.flatnonzero(np.append(site[1:] != site[:-1], True)[: len(site)]) + 1
    return Options(
        start,
        last[np.searchsorted(last, np.arange(len(table)), "right")],
        (table["capital"] + table["running"]).to_numpy(dtype=float) + shared,
        table["it_kw"].to_numpy(dtype=float),
        table["lower"].to_numpy(dtype=float),
        table["upper"].to_numpy(dtype=float),
        np.where(copies[site] > 1, 0.0, each),
        table["computing"].to_numpy(dtype=float),
    )


def _sparse(matrix: sparse.csr_array) -> volume.Sparse:
    return volume.Sparse(
        matrix.indptr.astype(np.int64),
        matrix.indices.astype(np.int64),
        matrix.data.astype(float),
    )


def _work(model: volume.Model) -> Work:
    """Return the working memory of a relaxation."""
    n_pool, n_flow = len(model.flows.start) - 1, len(model.flows.cost)
    return Work(
        served=np.empty(len(model.need)),
        units=np.empty(len(model.options.cost)),
        value=np.empty(n_pool),
        rent=np.empty(n_pool),
        at=np.empty(n_flow, dtype=np.int64),
        used=np.empty(n_pool, dtype=np.int64),
        worth=np.empty(n_flow),
        size=np.empty(n_flow),
        floor=np.zeros(n_pool),
    )


def unserved(
    demand: np.ndarray, pool: np.ndarray, room: np.ndarray, need: np.ndarray
) -> np.ndarray:
    """
    Return what each demand lacks where as much as possible is served.

    Parameters
    ----------
    demand, pool : numpy.ndarray of int, shape (n_flows,)
        Ends of each flow.
    room : numpy.ndarray of float, shape (n_pools,)
        What each pool can serve. [kW]
    need : numpy.ndarray of float, shape (n_demands,)
        What each demand needs. [kW]

    Returns
    -------
    numpy.ndarray of float, shape (n_demands,)
        From a maximum flow, in whole numbers of a billionth of all. [kW]
    """
    n, sink = len(need), len(need) + len(room) + 1
    kept = (room[pool] > 0.0) & (need[demand] > 0.0)
    demand, pool = demand[kept], pool[kept]
    one = max(need.sum(), room.sum(), 1e-300) / 2**30
    ends = (
        np.concatenate([np.zeros(n, int), 1 + demand, 1 + n + np.arange(len(room))]),
        np.concatenate([1 + np.arange(n), 1 + n + pool, np.full(len(room), sink)]),
    )
    most = np.floor(np.concatenate([need, need[demand], room]) / one)
    graph = sparse.csr_array((most.astype(np.int32), ends), shape=(sink + 1, sink + 1))
    flow = maximum_flow(graph, 0, sink).flow
    left = need - flow[[0], 1 : n + 1].toarray()[0] * one
    return np.where(left > _DUST * need + one, left, 0.0)


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
