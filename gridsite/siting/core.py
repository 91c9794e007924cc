"""
The core of a problem: fewer counts and flows, as a model that HiGHS can take.

Flows that are dear at the prices of the relaxation are left out. In their place a
demand may stay unserved at the cost of its cheapest flow left out, which takes no
capacity: that can only lower the optimum, so a bound of the core holds for the
whole. If a plan uses it, that demand gets more flows.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from gridsite.siting.formulation import build_model
from gridsite.siting.matrix import Matrix, compile_model

if TYPE_CHECKING:
    from gridsite.siting.highs import Answer
    from gridsite.siting.lagrangean import Prices
    from gridsite.siting.reduce import ReducedProblem

#: Unserved demand that counts as a flow left out, as a share of the demand [-].
_USED = 1e-9


@dataclass(frozen=True, kw_only=True, eq=False)
class Core:
    """
    A part of a reduced problem with its compiled model.

    Parameters
    ----------
    reduced : ReducedProblem
        The part.
    matrix : Matrix
        Its model.
    flows : numpy.ndarray of int, shape (n_core_flows,)
        Flow of the whole problem that each flow of the part is.
    stand_in : numpy.ndarray of bool, shape (n_demands,)
        Demands whose being unserved stands for flows left out.
    build_s : float
        Time for building and compiling. [s]
    """

    reduced: ReducedProblem
    matrix: Matrix
    flows: np.ndarray
    stand_in: np.ndarray
    build_s: float

    def missed(self, solution: np.ndarray) -> np.ndarray:
        """
        Tell which demands use what stands for flows left out.

        Parameters
        ----------
        solution : numpy.ndarray of float, shape (n_columns,)
            Values of the columns.

        Returns
        -------
        numpy.ndarray of bool, shape (n_demands,)
            True where flows are missed.
        """
        need = self.reduced.demands["demand_it_kw"].to_numpy()
        used = self.matrix.values("unserved", solution)
        return self.stand_in & (used > _USED * need)

    def strict(self) -> Matrix:
        """
        Return the model without what stands for flows left out.

        Returns
        -------
        Matrix
            The model of the flows kept.
        """
        upper = self.matrix.upper.copy()
        column = self.matrix.columns["unserved"][self.stand_in]
        upper[column[column >= 0]] = 0.0
        return replace(self.matrix, upper=upper)

    def decided(self, *, strict: bool = False) -> Matrix:
        """
        Return the program of a core whose counts are decided.

        Parameters
        ----------
        strict : bool, default False
            Whether nothing stands for the flows left out.

        Returns
        -------
        Matrix
            Sites and groups open as far as their units need, which is whole;
            upgrades, and who serves single-source demand, are left to choose.
        """
        matrix = self.strict() if strict else self.matrix
        integer = np.zeros_like(matrix.integer)
        for name in ("is_upgraded", "is_source"):
            column = matrix.columns[name]
            integer[column[column >= 0]] = True
        return replace(matrix, integer=integer)

    def cost(self, solution: np.ndarray) -> float:
        """
        Return what a solution costs.

        Parameters
        ----------
        solution : numpy.ndarray of float, shape (n_columns,)
            Values of the columns.

        Returns
        -------
        float
            In full units. [money]
        """
        matrix = self.matrix
        return float(matrix.cost @ solution + matrix.offset) * matrix.money_scale

    def flows_of(self, solution: np.ndarray, n_flows: int) -> np.ndarray:
        """
        Return the flows of the whole problem in a solution.

        Parameters
        ----------
        solution : numpy.ndarray of float, shape (n_columns,)
            Values of the columns, whole numbers made whole.
        n_flows : int
            Flows of the whole problem.

        Returns
        -------
        numpy.ndarray of float, shape (n_flows,)
            0 where left out; single-source demand flows as a whole. [kW]
        """
        flow = self.reduced.flows["demand"].to_numpy()
        need = self.reduced.demands["demand_it_kw"].to_numpy()[flow]
        single = self.reduced.demands["single_source"].to_numpy()[flow]
        source = np.round(self.matrix.values("is_source", solution))
        values = self.matrix.values("flow", solution)
        flows = np.zeros(n_flows)
        flows[self.flows] = np.where(single, need * source, values)
        return flows

    def start_from(self, answer: Answer, other: Core) -> np.ndarray | None:
        """
        Return the solution of another core in the columns of this one.

        Parameters
        ----------
        answer : Answer
            Of the other core.
        other : Core
            The other core; its flows are among those of this one.

        Returns
        -------
        numpy.ndarray of float, shape (n_columns,), or None
            None without a solution.
        """
        if answer.solution is None:
            return None
        start = np.zeros(len(self.matrix.cost))
        for name, column in self.matrix.columns.items():
            values = other.matrix.values(name, answer.solution)
            if name in ("flow", "is_source"):
                size = max(self.flows.max(initial=-1), other.flows.max(initial=-1)) + 1
                whole = np.zeros(size)
                whole[other.flows] = values
                values = whole[self.flows]
            start[column[column >= 0]] = values[column >= 0]
        return start


def core_of(
    whole: ReducedProblem, least: np.ndarray, most: np.ndarray, kept: np.ndarray
) -> Core:
    """
    Return the core of a problem.

    Parameters
    ----------
    whole : ReducedProblem
        The problem.
    least, most : numpy.ndarray of int, shape (n_options,)
        Bounds of the counts.
    kept : numpy.ndarray of bool, shape (n_flows,)
        Flows of the core, all to pools that may have units.

    Returns
    -------
    Core
        The core with its model.
    """
    began = time.perf_counter()
    demand = whole.flows["demand"].to_numpy()
    out = reachable(whole, most) & ~kept
    cheapest = np.full(len(whole.demands), np.inf)
    np.minimum.at(cheapest, demand[out], whole.flows["cost"].to_numpy()[out])
    own = whole.demands["unserved_cost"].to_numpy(dtype=float)
    stand_in = cheapest < np.where(np.isnan(own), np.inf, own)
    part = replace(
        whole,
        options=whole.options.assign(upper=most),
        flows=whole.flows[kept].reset_index(drop=True),
        demands=whole.demands.assign(unserved_cost=np.where(stand_in, cheapest, own)),
    )
    matrix = compile_model(build_model(part), part)
    column = matrix.columns["units"]
    lower = matrix.lower.copy()
    lower[column[column >= 0]] = least[column >= 0]
    options = whole.options
    opens = matrix.columns["is_open"][options["site"].to_numpy()]
    fewest = np.ceil(least / options["each"].to_numpy())
    np.maximum.at(lower, opens[opens >= 0], fewest[opens >= 0])
    return Core(
        reduced=part,
        matrix=replace(matrix, lower=lower),
        flows=np.flatnonzero(kept),
        stand_in=stand_in,
        build_s=time.perf_counter() - began,
    )


def may_leave_out(whole: ReducedProblem) -> bool:
    """
    Tell whether flows may be left out of a model.

    Parameters
    ----------
    whole : ReducedProblem
        The problem.

    Returns
    -------
    bool
        False if any requirement refers to flows, apart from serving all demand.
    """
    local = (whole.demands["local_share"] > 0.0).any()
    single = whole.demands["single_source"].any()
    return bool(whole.shares.empty and whole.losses.empty and not local | single)


def reachable(whole: ReducedProblem, most: np.ndarray) -> np.ndarray:
    """
    Tell which flows go to a pool that may have units.

    Parameters
    ----------
    whole : ReducedProblem
        The problem.
    most : numpy.ndarray of int, shape (n_options,)
        Largest counts.

    Returns
    -------
    numpy.ndarray of bool, shape (n_flows,)
        True where units may stand.
    """
    pools = np.unique(whole.options["pool"].to_numpy()[most > 0])
    return np.isin(whole.flows["pool"].to_numpy(), pools)


def choose_flows(
    whole: ReducedProblem,
    prices: Prices,
    alive: np.ndarray,
    *,
    loss: float,
    fewest: np.ndarray | int,
) -> np.ndarray:
    """
    Return flows that a good plan is likely to use.

    Parameters
    ----------
    whole : ReducedProblem
        The problem.
    prices : Prices
        Prices near the plan.
    alive : numpy.ndarray of bool, shape (n_flows,)
        Flows to choose from.
    loss : float
        What a whole demand may lose by taking a flow. [money]
    fewest : int or numpy.ndarray of int, shape (n_demands,)
        Flows that each demand gets at least.

    Returns
    -------
    numpy.ndarray of bool, shape (n_flows,)
        True for flows to keep.
    """
    demand = whole.flows["demand"].to_numpy()
    need = whole.demands["demand_it_kw"].to_numpy()
    worse = whole.flows["cost"].to_numpy() - prices.demand[demand]
    order = np.lexsort((worse, ~alive, demand))
    rank = np.empty(len(order), dtype=np.int64)
    starts = np.searchsorted(demand[order], np.arange(len(need)))
    rank[order] = np.arange(len(order)) - starts[demand[order]]
    at_least = np.broadcast_to(np.asarray(fewest), need.shape)[demand]
    chosen: np.ndarray = alive & ((worse * need[demand] <= loss) | (rank < at_least))
    return chosen
