"""
The plan: what stands where, who is served from where, what it costs.

Every cost term and every share is recomputed from the published tables
``plan`` and ``assignment``, not taken from the solver.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gridsite.errors import SolveError
from gridsite.schemas import check_table
from gridsite.siting.reduce import split_flows

if TYPE_CHECKING:
    import pandas as pd

    from gridsite.siting.problem import SitingProblem
    from gridsite.siting.reduce import ReducedProblem

#: Unserved demand below this share of the demand is numerical noise [-].
_NOISE = 1e-6


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """
    A siting plan with its certificate.

    Parameters
    ----------
    status : str
        ``optimal``: the gap asked for is reached by ``gap_model``;
        ``time_limit``: it is not; ``not_verified``: the replay still finds
        violations.
    stopped_because : str
        Why the rounds ended, in words.
    objective : float
        Net present cost, the sum of ``costs``. [money]
    bound : float
        No plan that keeps the rows of round 0, relaxed by the margin, costs
        less. [money]
    gap : float
        ``(objective - bound) / |objective|``. [-]
    gap_model : float
        Gap of the last, tightened problem to its own bound. [-]
    cost_of_safety : float
        Objective less that of round 0. [money]
    plan : pandas.DataFrame
        Table ``plan``: options with units; ``rated_kw`` and ``it_kw`` are those
        of all units of the row. [kW]
    assignment : pandas.DataFrame
        Table ``assignment``: who is served from where. [kW]
    upgrades : pandas.DataFrame
        ``upgrade_id, element, kind, period``: works on the grid, and the period
        from which each stands.
    unserved : pandas.DataFrame
        ``zone_id, workload, period, it_kw`` of demand that is not served. [kW]
    costs : pandas.Series of float
        Net present cost by term. [money]
    served_share : pandas.Series of float
        Served share of the demand by workload, and ``total``. [-]
    rounds : pandas.DataFrame
        ``round, objective, violations, rows_added, seconds``, one row per
        round.
    rows, row_coefficients : pandas.DataFrame
        The grid rows of the last round.
    seconds : float
        Time for everything. [s]
    seconds_building : float, default 0.0
        The part of it in which models were built and compiled. [s]
    own_bound : float, default -inf
        The same, by our own evaluation of the Lagrangean relaxation alone: it
        holds whatever the solver says. [money]
    """

    status: str
    stopped_because: str
    objective: float
    bound: float
    gap: float
    gap_model: float
    cost_of_safety: float
    plan: pd.DataFrame
    assignment: pd.DataFrame
    upgrades: pd.DataFrame
    unserved: pd.DataFrame
    costs: pd.Series[float]
    served_share: pd.Series[float]
    rounds: pd.DataFrame
    rows: pd.DataFrame
    row_coefficients: pd.DataFrame
    seconds: float
    seconds_building: float = 0.0
    own_bound: float = -np.inf

    def raise_for_status(self) -> None:
        """
        Raise if the plan is not verified or its gap not reached.

        Raises
        ------
        SolveError
            If ``status`` is not ``optimal``; the plan is its ``solution``.
        """
        if self.status != "optimal":
            msg = f"the plan is {self.status}: {self.stopped_because}"
            raise SolveError(msg, self)


def plan_table(
    problem: SitingProblem, reduced: ReducedProblem, counts: np.ndarray
) -> pd.DataFrame:
    """
    Return the table ``plan`` for the units of each option.

    Parameters
    ----------
    problem : SitingProblem
        The problem.
    reduced : ReducedProblem
        Its reduction.
    counts : numpy.ndarray of int, shape (n_options,)
        Units of each option.

    Returns
    -------
    pandas.DataFrame
        Options with at least one unit, by period, site, unit and connection.
        [kW]
    """
    options = reduced.options
    before = options["before"].to_numpy()
    earlier = np.where(before >= 0, counts[before], options["lower"].to_numpy())
    table = options[["site_id", "unit", "port_id", "period"]].assign(
        building_id=options["site_id"].map(
            problem.sites.set_index("site_id")["building_id"]
        ),
        added=counts - earlier,
        count=counts,
        rated_kw=counts * options["rated_kw"],
        it_kw=counts * options["it_kw"],
    )
    return check_table("plan", table[counts > 0].reset_index(drop=True))


def upgrade_table(
    problem: SitingProblem, reduced: ReducedProblem, stands: np.ndarray
) -> pd.DataFrame:
    """
    Return the upgrades that are built.

    Parameters
    ----------
    problem : SitingProblem
        The problem.
    reduced : ReducedProblem
        Its reduction.
    stands : numpy.ndarray of int, shape (n_upgrades,)
        1 where an upgrade stands.

    Returns
    -------
    pandas.DataFrame
        ``upgrade_id, element, kind, period``: the first period of each.
    """
    built = reduced.upgrades.loc[stands > 0, ["upgrade_id", "period"]]
    first = built.groupby("upgrade_id", as_index=False)["period"].min()
    known = problem.upgrades[["upgrade_id", "element", "kind"]]
    return known.merge(first, on="upgrade_id").sort_values(
        "upgrade_id", ignore_index=True
    )


def assignment_table(
    reduced: ReducedProblem, counts: np.ndarray, flows: np.ndarray
) -> pd.DataFrame:
    """
    Return the table ``assignment`` for the flows to pools.

    Parameters
    ----------
    reduced : ReducedProblem
        The reduced problem.
    counts : numpy.ndarray of int, shape (n_options,)
        Units of each option.
    flows : numpy.ndarray of float, shape (n_flows,)
        Flow to each pool. [kW]

    Returns
    -------
    pandas.DataFrame
        By zone, workload and site. [kW]
    """
    split = split_flows(reduced, counts, flows)
    demands = reduced.demands.loc[split["demand"]].reset_index(drop=True)
    sites = reduced.sites.loc[split["site"], "site_id"].to_numpy()
    table = demands[["zone_id", "workload"]].assign(
        site_id=sites,
        period=demands["period"],
        it_kw=split["it_kw"].to_numpy(),
        rtt_ms=split["rtt_ms"].to_numpy(),
    )
    order = ["period", "zone_id", "workload", "site_id"]
    return check_table("assignment", table.sort_values(order, ignore_index=True))


def unserved_table(
    problem: SitingProblem, assignment: pd.DataFrame, *, all_gaps: bool = False
) -> pd.DataFrame:
    """
    Return the demand that an assignment leaves unserved.

    Parameters
    ----------
    problem : SitingProblem
        The problem.
    assignment : pandas.DataFrame
        Table ``assignment``.
    all_gaps : bool, default False
        Keep what is numerical noise.

    Returns
    -------
    pandas.DataFrame
        ``zone_id, workload, period, it_kw``. [kW]
    """
    key = ["zone_id", "workload", "period"]
    served = assignment.groupby(key)["it_kw"].sum().rename("served")
    table = problem.demand.merge(served, on=key, how="left").sort_values(key)
    table["it_kw"] = table["demand_it_kw"] - table["served"].fillna(0.0)
    kept = table["it_kw"] > _NOISE * table["demand_it_kw"]
    columns = [*key, "it_kw"]
    return table.loc[kept | all_gaps, columns].reset_index(drop=True)


def served_share(problem: SitingProblem, assignment: pd.DataFrame) -> pd.Series[float]:
    """
    Return the share of the demand that is served.

    Parameters
    ----------
    problem : SitingProblem
        The problem.
    assignment : pandas.DataFrame
        Table ``assignment``.

    Returns
    -------
    pandas.Series of float
        By workload, and ``total``; 1 where nothing is asked for. [-]
    """
    need = problem.demand.groupby("workload")["demand_it_kw"].sum()
    missing = unserved_table(problem, assignment)
    gap = missing.groupby("workload")["it_kw"].sum().reindex(need.index).fillna(0.0)
    need["total"], gap["total"] = need.sum(), gap.sum()
    return (1.0 - gap / need.where(need > 0.0, 1.0)).rename("served_share")
