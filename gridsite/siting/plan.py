"""
The plan: what stands where, who is served from where, what it costs.

Every cost term and every share is recomputed from the published tables
``plan`` and ``assignment``, not taken from the solver.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.errors import SolveError
from gridsite.schemas import check_table
from gridsite.siting.periods import capital_terms, running_terms, summed
from gridsite.siting.reduce import split_flows
from gridsite.siting.splits import cost_split

if TYPE_CHECKING:
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


def cost_terms(
    problem: SitingProblem,
    plan: pd.DataFrame,
    assignment: pd.DataFrame,
    upgrades: pd.DataFrame,
) -> pd.Series[float]:
    """
    Return the net present cost of a plan by term.

    Parameters
    ----------
    problem : SitingProblem
        The problem; columns that split its cost columns give the terms.
    plan : pandas.DataFrame
        Table ``plan``.
    assignment : pandas.DataFrame
        Table ``assignment``.
    upgrades : pandas.DataFrame
        From `upgrade_table`.

    Returns
    -------
    pandas.Series of float
        By name of the term; ``x_per_year`` and ``x_per_it_kw_year`` stand as
        ``x_present``. [money]

    Notes
    -----
    A site with existing units has paid its fixed capital, a group with any
    its onboarding.
    """
    option, arc = ["site_id", "unit", "port_id"], ["zone_id", "workload", "site_id"]
    existing = problem.site_options.groupby("site_id")["existing_units"].sum()
    opened = plan.groupby("site_id")["period"].min()
    opened = opened[~opened.index.isin(existing.index[existing > 0])]
    worth = problem.periods.set_index("period")["present_value_factor"]
    arcs = problem.arcs[problem.arcs["site_id"].isin(assignment["site_id"])]
    arcs = arcs.set_index([*arc, "period"])
    at_arc = pd.MultiIndex.from_frame(assignment[[*arc, "period"]])
    service = cost_split("arcs", problem.arcs)["cost_per_it_kw"]
    onboarded = _onboarded(problem, plan, existing)
    parts = [
        _capital(problem, "sites", "site_id", opened),
        _capital(problem, "site_options", option, plan.set_index(option)),
        _yearly(problem, "unit_per_year", plan, plan["count"]),
        arcs.loc[at_arc, service].mul(assignment["it_kw"].to_numpy(), axis=0).sum(),
        _capital(problem, "groups", "group_id", onboarded),
    ]
    if "cost_per_it_kw_year" in problem.site_options:
        busy = computing_kw(problem, plan, assignment)
        parts.append(_yearly(problem, "cost_per_it_kw_year", plan, busy))
    if len(problem.upgrades):
        built = upgrades.set_index("upgrade_id")["period"]
        parts.append(_capital(problem, "upgrades", "upgrade_id", built))
    gaps = unserved_table(problem, assignment, all_gaps=True)
    price = gaps["workload"].map(
        problem.workloads.set_index("workload")["unserved_cost"]
    )
    price *= gaps["period"].map(worth) / problem.present_value_factor
    unserved = float((gaps["it_kw"] * price.fillna(0.0)).sum())
    parts.append(pd.Series({"unserved_present": unserved}))
    terms = pd.concat([part.rename(_term) for part in parts if len(part)])
    costs: pd.Series[float] = terms.groupby(level=0, sort=False).sum()
    return costs


def computing_kw(
    problem: SitingProblem, plan: pd.DataFrame, assignment: pd.DataFrame
) -> pd.Series[float]:
    """
    Return what computes on the units of each row of a plan.

    Parameters
    ----------
    problem : SitingProblem
        The problem.
    plan, assignment : pandas.DataFrame
        Tables of those names.

    Returns
    -------
    pandas.Series of float
        On the index of ``plan``: what is assigned to a site fills the units on
        which it costs least. [kW]
    """
    option = ["site_id", "unit", "port_id"]
    index = pd.MultiIndex.from_frame(problem.site_options[option])
    price = summed(running_terms(problem, "cost_per_it_kw_year"))
    at = index.get_indexer(pd.MultiIndex.from_frame(plan[option]))
    table = plan.assign(price=price[plan["period"].to_numpy(), at])
    table = table.sort_values(["site_id", "period", "price", "unit", "port_id"])
    key = ["site_id", "period"]
    load = assignment.groupby(key)["it_kw"].sum()
    own = load.reindex(pd.MultiIndex.from_frame(table[key])).fillna(0.0).to_numpy()
    before = table.groupby(key)["it_kw"].cumsum() - table["it_kw"]
    busy = np.clip(own - before, 0.0, table["it_kw"])
    return pd.Series(busy, index=table.index).reindex(plan.index)


def _yearly(
    problem: SitingProblem, column: str, plan: pd.DataFrame, amount: pd.Series[float]
) -> pd.Series[float]:
    """Return a yearly cost of the rows of a plan by term, for an amount of each."""
    option = ["site_id", "unit", "port_id"]
    index = pd.MultiIndex.from_frame(problem.site_options[option])
    by_period = running_terms(problem, column)
    total = by_period[0].sum() * 0.0
    for period, prices in enumerate(by_period):
        now = plan["period"] == period
        at = index.get_indexer(pd.MultiIndex.from_frame(plan.loc[now, option]))
        total = total + prices.iloc[at].mul(amount[now].to_numpy(), axis=0).sum()
    return total


def _capital(
    problem: SitingProblem,
    name: str,
    key: str | list[str],
    items: pd.DataFrame | pd.Series[int],
) -> pd.Series[float]:
    """Return the capital of items by term, at the prices of their periods."""
    index = getattr(problem, name).set_index(key).index
    once = np.flatnonzero(~index.duplicated())  # a group stands in several rows
    by_period = capital_terms(problem, name)
    total = by_period[0].sum() * 0.0
    for period, prices in enumerate(by_period):
        if isinstance(items, pd.DataFrame):
            names = items.index[items["period"] == period]
            count = items.loc[items["period"] == period, "added"].to_numpy()
        else:
            names = items.index[items == period]
            count = np.ones(len(names))
        at = once[index[once].get_indexer(names)]
        total = total + prices.iloc[at].mul(count, axis=0).sum()
    renamed = {"onboarding_cost": "onboarding_capital", "capital": "upgrade_capital"}
    return total.rename(renamed)


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


def _onboarded(
    problem: SitingProblem, plan: pd.DataFrame, existing: pd.Series[int]
) -> pd.Series[int]:
    """Return the groups that get their first units, and when."""
    groups = problem.groups
    old = groups.loc[groups["site_id"].map(existing) > 0, "group_id"]
    used = groups.merge(plan[["site_id", "period"]], on="site_id")
    used = used[~used["group_id"].isin(old)]
    return used.groupby("group_id")["period"].min()


def _term(column: str) -> str:
    """Return the name of a present cost for its column."""
    if column == "cost_per_it_kw":
        return "assignment_present"
    return column.replace("_per_it_kw_year", "_present").replace(
        "_per_year", "_present"
    )
