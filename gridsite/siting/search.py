r"""
The search of one problem: bound, fast plan, proof, and HiGHS for what is left.

1. Prices from the Lagrangean relaxation (``lagrangean``) give a bound.
2. Counts rounded from its averages (``rounding``), priced by a linear program, give
   a plan. Counts with which no plan is better are ruled out, exactly.
3. Where the relaxation leaves out nothing but demand, rows and caps, branch and
   bound on it (``tree``) often ends the search.
4. Else the Pyomo model is built of what is left, and HiGHS stops as soon as its
   plan is within the gap of either bound.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from gridsite.errors import GridsiteError, SolveError, SolverUnavailableError
from gridsite.siting.core import Core, choose_flows, core_of, may_leave_out, reachable
from gridsite.siting.lagrangean import Prices, Relaxation
from gridsite.siting.links import demand_links
from gridsite.siting.rounding import descend, dive, within_rows
from gridsite.siting.transport import Transport
from gridsite.siting.tree import Tree

if TYPE_CHECKING:
    from gridsite.siting.highs import Answer, HighsWorker
    from gridsite.siting.matrix import Matrix
    from gridsite.siting.reduce import ReducedProblem

logger = logging.getLogger(__name__)

#: Flows up to which HiGHS gets the whole problem at once.
_SMALL = 400

#: Flows up to which none is left out of a model with whole numbers.
_ALL_FLOWS = 5_000

#: Evaluations of the relaxation: of small problems, and of others.
_FEW_STEPS, _STEPS = 100, 1500

#: Evaluations before counts are priced.
_NEAR_STEPS = 100

#: Shares of the time for prices, and for the branch and bound on them [-].
_PRICES_TIME, _TREE_TIME = 0.25, 0.6

#: Share of the gap that the branch and bound stops at, so that it is reached [-].
_INSIDE = 0.999

#: Nodes after which HiGHS is quicker, up to ``_ALL_FLOWS`` flows.
_FEW_NODES = 500

#: Times that demands get more flows before those at hand must do.
_WIDENINGS = 6

#: Time of the local search as a share of that for the prices [-].
_DESCENT_TIME = 1.0

#: Share of what a plan may gain that a flow may lose and be kept [-].
_LOSS = 0.25


@dataclass(frozen=True, kw_only=True, eq=False)
class Known:
    """
    What the search of nearly the same problem found, where it holds of this one.

    Parameters
    ----------
    prices : Prices, optional
        Where the search for prices starts.
    counts : numpy.ndarray of int, shape (n_options,), optional
        Units of each option that are likely to be near a good plan.
    plan : tuple of Answer and Core, optional
        A plan of this problem.
    bound, own_bound : float
        No plan costs less, by HiGHS and without it. [money]
    """

    prices: Prices | None = None
    counts: np.ndarray | None = None
    plan: tuple[Answer, Core] | None = None
    bound: float = -np.inf
    own_bound: float = -np.inf


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """
    What a search found.

    Parameters
    ----------
    plan : tuple of Answer and Core, or None
        The answer of HiGHS that holds the plan and what it was the answer to.
    status : str
        What HiGHS last said of the problem; empty where it was not asked.
    bound : float
        No plan of the whole problem costs less. [money]
    own_bound : float
        The part of the bound that owes nothing to HiGHS. [money]
    prices : Prices
        The best prices of the relaxation.
    build_s : float
        Time for building and compiling models. [s]
    """

    plan: tuple[Answer, Core] | None
    status: str
    bound: float
    own_bound: float
    prices: Prices
    build_s: float

    @property
    def counts(self) -> np.ndarray | None:
        """
        Return the units of each option in the plan.

        Returns
        -------
        numpy.ndarray of int, shape (n_options,), or None
            None without a plan.
        """
        solution = None if self.plan is None else self.plan[0].solution
        if self.plan is None or solution is None:
            return None
        units: np.ndarray = self.plan[1].matrix.values("units", solution)
        return np.round(units).astype(np.int64)


class Search:
    """
    The search of one reduced problem.

    Parameters
    ----------
    reduced : ReducedProblem
        The reduced problem.
    worker : HighsWorker
        The solver process.
    gap : float
        Relative gap at which to stop. [-]
    time_limit_s : float
        Time after which to stop. [s]
    upper : float, optional
        Cost of a plan known already; only better ones are looked for. [money]
    known : Known, optional
        What the search of nearly the same problem found.
    """

    def __init__(
        self,
        reduced: ReducedProblem,
        worker: HighsWorker,
        *,
        gap: float,
        time_limit_s: float,
        upper: float = np.inf,
        known: Known | None = None,
    ) -> None:
        self.reduced, self.worker, self.gap = reduced, worker, gap
        self.known = Known() if known is None else known
        self.began, self.time_limit_s = time.perf_counter(), time_limit_s
        self.end = self.began + time_limit_s
        self.relaxation = Relaxation(reduced)
        self.upper = upper
        self.best = self.known.plan
        self.own_bound = self.known.own_bound
        self.build_s = 0.0

    def run(self) -> Found:
        """
        Search.

        Returns
        -------
        Found
            Without a plan if there is none or time is up.
        """
        small = len(self.reduced.flows) <= _SMALL
        self.prices = prices = self.relaxation.improve(
            steps=_FEW_STEPS if small else _STEPS,
            start=self.known.prices,
            upper=self.upper,
            enough=self._cut(),
            time_limit_s=_PRICES_TIME * self.time_limit_s,
        )
        self.own_bound = max(prices.bound, self.known.own_bound)
        bound = max(self.own_bound, self.known.bound)
        worth = self.best is None or self._separable()
        if not small and worth and not self._done(bound):
            self.own_bound = max(self.own_bound, self._shortcut(prices))
            bound = max(bound, self.own_bound)
        if self._done(bound):
            return self._found(bound, self.own_bound)
        return self._finish(prices, bound)

    def _shortcut(self, prices: Prices) -> float:
        """Go without HiGHS where that works: a plan never depends on it."""
        try:
            return self._without_mip(prices)
        except GridsiteError:
            raise
        except Exception:
            logger.exception("the search without HiGHS failed")
            return prices.bound

    def _without_mip(self, prices: Prices) -> float:
        """Find a plan, and a better bound where the relaxation can prove it."""
        latest = self.began + _TREE_TIME * self.time_limit_s
        warm = self.known.counts
        if warm is not None:
            warm = within_rows(self.relaxation, warm, end=latest)
        if warm is not None and self.relaxation.short(warm).any():
            warm = None
        counts = warm
        if counts is None:
            counts = dive(self.relaxation, prices, end=latest)
        if counts is None:
            return prices.bound
        if not self._separable():
            self._good(counts, prices)
            if warm is not None and np.isinf(self.upper):
                counts = dive(self.relaxation, prices, end=latest)
                if counts is not None:
                    self._good(counts, prices)
            return prices.bound
        transport = Transport(self.reduced)
        now = time.perf_counter()
        end = now + max(_DESCENT_TIME * (now - self.began), 1.0)
        counts, cost = descend(self.relaxation, transport, prices, counts, end=end)
        cost = min(cost, self.upper)
        if np.isinf(cost) or not transport.quick(counts):
            self._good(counts, prices)
            return prices.bound
        tree = Tree(
            relaxation=self.relaxation,
            transport=transport,
            gap=_INSIDE * self.gap,
            upper=cost,
            best=counts,
        )
        few = len(self.reduced.flows) <= _ALL_FLOWS
        tree.explore(
            prices,
            end=latest,
            most_nodes=_FEW_NODES if few else np.inf,
        )
        logger.info("%d nodes: %.8g to %.8g", tree.nodes, tree.bound, tree.upper)
        self._good(tree.best, prices, transport.used(tree.best))
        return tree.bound

    def price(
        self, counts: np.ndarray, prices: Prices, likely: np.ndarray | None = None
    ) -> float:
        """
        Return what counts cost, and keep the plan if it is the best.

        Parameters
        ----------
        counts : numpy.ndarray of int, shape (n_options,)
            Units of each option.
        prices : Prices
            Prices near them, to choose flows by.
        likely : numpy.ndarray of bool, shape (n_flows,), optional
            Flows that are enough.

        Returns
        -------
        float
            Infinite if they break a requirement. [money]
        """
        alive = self._alive(counts)
        if not self._reaches_all(alive):
            return np.inf
        if likely is not None:
            cost = self._price_with(counts, likely & alive)
            if np.isfinite(cost):
                return cost
        kept = alive
        if may_leave_out(self.reduced):
            kept = choose_flows(self.reduced, prices, alive, loss=0.0, fewest=2)
        for _ in range(_WIDENINGS):
            core = self._core(counts, counts, kept)
            answer = self._answer(core.decided())
            if answer.solution is None:
                return np.inf
            missed = core.missed(answer.solution)
            if not missed.any():
                return self._keep(answer, core)
            kept = self._widen(kept, alive, missed, prices)
        return self._price_with(counts, kept)

    def _price_with(self, counts: np.ndarray, kept: np.ndarray) -> float:
        """Price counts with some flows alone."""
        core = self._core(counts, counts, kept)
        return self._keep(self._answer(core.decided(strict=True)), core)

    def _answer(self, decided: Matrix) -> Answer:
        return self.worker.run(
            decided,
            gap=self.gap if decided.integer.any() else 0.0,
            time_limit_s=self._long_enough(),
        )

    def _good(
        self, counts: np.ndarray, prices: Prices, likely: np.ndarray | None = None
    ) -> bool:
        """Price counts and tell whether the gap is reached."""
        near = self.relaxation.within(counts, counts)
        self.price(counts, near.improve(steps=_NEAR_STEPS, start=prices), likely)
        logger.info("plan %.8g, bound %.8g", self.upper, prices.bound)
        return self._done(prices.bound)

    def _finish(self, prices: Prices, bound: float) -> Found:
        """Let HiGHS solve what is left."""
        least, most = self.relaxation.least, self.relaxation.most
        known = self.upper
        if np.isfinite(known):
            least, most = self.relaxation.counts_left(prices, known)
            least = np.minimum(least, most)
        alive = self._alive(most)
        if not self._reaches_all(alive):  # no better plan is left
            return self._found(known, known)
        kept = self._flows_for_mip(prices, alive)
        while True:
            core = self._core(least, most, kept)
            try:
                answer = self._solve_mip(core, bound)
            except SolverUnavailableError:
                if self.best is None:
                    raise
                logger.exception("HiGHS failed; the plan found without it is kept")
                return self._found(bound, self.own_bound, "failed")
            _distrust_bound(answer)
            proven = answer.bound * core.matrix.money_scale
            bound = max(bound, min(proven, known))
            if answer.solution is None:
                break
            missed = core.missed(answer.solution)
            if not missed.any():
                self._keep(answer, core)
                break
            counts = np.round(core.matrix.values("units", answer.solution))
            self._good(counts.astype(np.int64), prices)
            answer = replace(answer, solution=None)
            if self._done(bound) or time.perf_counter() > self.end:
                break
            kept = self._widen(kept, alive, missed, prices)
        if answer.status == "infeasible" and np.isfinite(known):
            logger.warning("HiGHS calls a problem infeasible that has a plan")
        return self._found(bound, self.own_bound, answer.status)

    def _flows_for_mip(self, prices: Prices, alive: np.ndarray) -> np.ndarray:
        if len(alive) <= _ALL_FLOWS or not may_leave_out(self.reduced):
            return alive
        slack = self.upper - prices.bound
        loss = _LOSS * slack if np.isfinite(slack) else 0.0
        kept = choose_flows(self.reduced, prices, alive, loss=loss, fewest=8)
        if self.best is not None:
            kept[self.best[1].flows] = True
        chosen: np.ndarray = kept & alive
        return chosen

    def _solve_mip(self, core: Core, bound: float) -> Answer:
        matrix = core.matrix
        enough = bound / (1.0 - self.gap if bound > 0.0 else 1.0 + self.gap)
        return self.worker.run(
            matrix,
            gap=self.gap,
            time_limit_s=max(self.end - time.perf_counter(), 0.1),
            start=None if self.best is None else core.start_from(*self.best),
            target=enough / matrix.money_scale,
            links=demand_links(matrix, core.reduced) if matrix.integer.any() else None,
        )

    def _alive(self, most: np.ndarray) -> np.ndarray:
        """Tell which flows a model of some counts may have."""
        if may_leave_out(self.reduced):
            return reachable(self.reduced, most)
        return np.ones(len(self.reduced.flows), dtype=bool)

    def _reaches_all(self, alive: np.ndarray) -> bool:
        """Tell whether all demand that must be served has a flow."""
        demands = self.reduced.demands
        hard = demands["unserved_cost"].isna().to_numpy()
        reached = np.zeros(len(demands), dtype=bool)
        reached[self.reduced.flows["demand"].to_numpy()[alive]] = True
        return bool(reached[hard].all())

    def _core(self, least: np.ndarray, most: np.ndarray, kept: np.ndarray) -> Core:
        core = core_of(self.reduced, least, most, kept)
        self.build_s += core.build_s
        return core

    def _keep(self, answer: Answer, core: Core) -> float:
        """Keep the better plan and return what this one costs."""
        if answer.solution is None:
            return np.inf
        cost = core.cost(answer.solution)
        if self.best is None or cost < self.upper:
            self.upper, self.best = min(cost, self.upper), (answer, core)
        return cost

    def _done(self, bound: float) -> bool:
        return bool(np.isfinite(self.upper)) and bound >= self._cut()

    def _cut(self) -> float:
        """Return the bound that reaches the gap, infinite without a plan."""
        known = np.isfinite(self.upper)
        return self.upper - self.gap * abs(self.upper) if known else np.inf

    def _long_enough(self) -> float:
        """Return the time for a linear program: a plan in hand is worth a wait."""
        return max(self.end - time.perf_counter(), 0.1 * self.time_limit_s, 1.0)

    def _separable(self) -> bool:
        """Tell whether the relaxation leaves out nothing that could matter."""
        whole = self.reduced
        pools = whole.options.loc[whole.options["pool"] >= 0, "pool"]
        return bool(
            pools.is_unique  # so all compute at the same cost
            and may_leave_out(whole)
            and whole.budget is None
            and whole.upgrades.empty
            and whole.pace.empty
            and not whole.groups["priced"].any()
            and (whole.options["before"] < 0).all()
        )

    def _widen(
        self, kept: np.ndarray, alive: np.ndarray, missed: np.ndarray, prices: Prices
    ) -> np.ndarray:
        """Return more than twice the flows of some demands."""
        demand = self.reduced.flows["demand"].to_numpy()
        have = np.bincount(demand[kept], minlength=len(missed))
        more = np.where(missed, 2 * have + 2, 0)
        logger.info("%d demand(s) get more flows", missed.sum())
        wide = choose_flows(self.reduced, prices, alive, loss=-np.inf, fewest=more)
        wider: np.ndarray = kept | wide
        return wider

    def _found(self, bound: float, own: float, status: str = "") -> Found:
        return Found(
            plan=self.best,
            status=status,
            bound=bound,
            own_bound=own,
            prices=self.prices,
            build_s=self.build_s,
        )


def _distrust_bound(answer: Answer) -> None:
    """Raise where HiGHS's bound contradicts its own plan."""
    size = max(abs(answer.objective), 1.0)
    if answer.solution is not None and answer.bound > answer.objective + 1e-6 * size:
        msg = (
            f"HiGHS's bound {answer.bound:.9g} is above its plan {answer.objective:.9g}"
        )
        raise SolveError(msg, answer)
