"""What a plan costs by term, from its published tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.siting.periods import capital_terms, running_terms, summed
from gridsite.siting.plan import unserved_table
from gridsite.siting.splits import cost_split

if TYPE_CHECKING:
    from gridsite.siting.problem import SitingProblem


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
