"""
Cost and survival of a plan, computed again from the input tables alone.

Written plainly, row by row, and apart from the model, the reductions and the
published cost terms, which it is there to check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.optimize import linprog

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gridsite.siting.problem import SitingProblem

#: Endings of the columns that split a cost column.
_ENDINGS = dict.fromkeys(("fixed_capital", "unit_capital", "capital"), "_capital")


def nothing_built() -> pd.DataFrame:
    """
    Return a table of upgrades without any.

    Returns
    -------
    pandas.DataFrame
        ``upgrade_id, period``, no rows.
    """
    table = pd.DataFrame({"upgrade_id": [], "period": []})
    return table.astype({"upgrade_id": str, "period": int})


def recomputed_cost(
    problem: SitingProblem,
    plan: pd.DataFrame,
    assignment: pd.DataFrame,
    upgrades: pd.DataFrame | None = None,
) -> float:
    """
    Return the net present cost of a plan.

    Parameters
    ----------
    problem : SitingProblem
        The problem.
    plan, assignment : pandas.DataFrame
        Tables of those names.
    upgrades : pandas.DataFrame, optional
        ``upgrade_id, period`` of what is built. Default: none.

    Returns
    -------
    float
        Capital, running cost, service and unserved demand; not a number where
        the plan has an option or a period that the problem has not. [money]
    """
    built = nothing_built() if upgrades is None else upgrades
    total = capital_spent(problem, plan, built)
    worth = _lookup(problem.periods, "period", "present_value_factor")
    keys = ("site_id", "unit", "port_id")
    options = {tuple(o[k] for k in keys): o for o in _records(problem.site_options)}
    factors = {
        (f["site_id"], f["term"], f["period"]): f["factor"]
        for f in _records(problem.running_factors)
    }

    def rise(row: dict[Any, Any], term: str) -> float:
        return float(factors.get((row["site_id"], term, row["period"]), 1.0))

    for row in _records(plan):
        option = options.get(tuple(row[k] for k in keys))
        if option is None or row["period"] not in worth:
            return float("nan")
        for term in _terms(option, "unit_per_year", "_per_year"):
            total += (
                row["count"] * option[term] * worth[row["period"]] * rise(row, term)
            )
    for (site, period), units in _by_site(plan, options, rise).items():
        now = (assignment["site_id"] == site) & (assignment["period"] == period)
        load = float(assignment.loc[now, "it_kw"].sum())
        for each, it_kw in sorted(units):
            total += each * min(load, it_kw) * worth[period]
            load -= min(load, it_kw)
    arc = ["zone_id", "workload", "site_id", "period"]
    arcs = problem.arcs[problem.arcs["site_id"].isin(assignment["site_id"])]
    flows = assignment.merge(arcs[[*arc, "cost_per_it_kw"]], on=arc)
    total += float((flows["it_kw"] * flows["cost_per_it_kw"]).sum())
    price = _lookup(problem.workloads, "workload", "unserved_cost")
    by_demand = ["zone_id", "workload", "period"]
    served = assignment.groupby(by_demand)["it_kw"].sum().to_dict()
    for need in _records(problem.demand):
        each = price[need["workload"]]
        if not np.isnan(each):
            gap = need["demand_it_kw"] - served.get(
                tuple(need[k] for k in by_demand), 0.0
            )
            share = worth[need["period"]] / problem.present_value_factor
            total += gap * each * share
    return float(total)


def capital_spent(
    problem: SitingProblem, plan: pd.DataFrame, built: pd.DataFrame
) -> float:
    """
    Return the capital of all that a plan adds.

    Parameters
    ----------
    problem : SitingProblem
        The problem.
    plan : pandas.DataFrame
        Table ``plan``.
    built : pandas.DataFrame
        ``upgrade_id, period`` of what is built.

    Returns
    -------
    float
        Sites, added units, onboarding and upgrades. [money]
    """
    price = _Prices(problem)
    keys = ("site_id", "unit", "port_id")
    options = {tuple(o[k] for k in keys): o for o in _records(problem.site_options)}
    total = 0.0
    for row in _records(plan):
        option = options.get(tuple(row[k] for k in keys))
        if option is not None and row["added"]:
            total += row["added"] * price.of("site_options", option, row["period"])
    old = problem.site_options[problem.site_options["existing_units"] > 0]["site_id"]
    used = plan[plan["count"] > 0]
    first: dict[Any, Any] = used.groupby("site_id")["period"].min().to_dict()
    for site in _records(problem.sites):
        name = site["site_id"]
        if name in first and name not in set(old):
            total += price.of("sites", site, first[name])
    for _, members in problem.groups.groupby("group_id"):
        inside = members["site_id"].tolist()
        opened = [first[name] for name in inside if name in first]
        if opened and not set(inside) & set(old):
            total += price.of("groups", _records(members)[0], min(opened))
    known = {u["upgrade_id"]: u for u in _records(problem.upgrades)}
    for row in _records(built):
        if row["upgrade_id"] in known:
            upgrade = known[row["upgrade_id"]]
            total += price.of("upgrades", upgrade, row["period"])
    return float(total)


class _Prices:
    """Prices of items in the period from which they stand."""

    def __init__(self, problem: SitingProblem) -> None:
        self.general = _lookup(problem.periods, "period", "capital_factor")
        self.own = {
            (f["table"], f["item"], f["term"], f["period"]): f["factor"]
            for f in _records(problem.capital_factors)
        }

    def of(self, table: str, row: dict[Any, Any], period: int) -> float:
        column, item = {
            "site_options": ("unit_capital", "unit"),
            "sites": ("fixed_capital", "site_id"),
            "groups": ("onboarding_cost", "group_id"),
            "upgrades": ("capital", "upgrade_id"),
        }[table]
        end = _ENDINGS.get(column)
        terms = _terms(row, column, end) if end else [column]
        total = 0.0
        for term in terms:
            factor = self.general[period]
            factor = self.own.get((table, row[item], "", period), factor)
            factor = self.own.get((table, row[item], term, period), factor)
            total += float(row[term]) * factor
        return total


def _terms(row: dict[Any, Any], column: str, end: str) -> list[str]:
    """Return the columns that split a cost column, or the column itself."""
    return [c for c in row if c.endswith(end) and c != column] or [column]


def _by_site(
    plan: pd.DataFrame,
    options: dict[tuple[Any, ...], dict[Any, Any]],
    rise: Callable[[dict[Any, Any], str], float],
) -> dict[tuple[str, int], list[tuple[float, float]]]:
    """Return what a kW costs a year on the units of each site, and their IT power."""
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for row in _records(plan):
        option = options[row["site_id"], row["unit"], row["port_id"]]
        if "cost_per_it_kw_year" in option:
            terms = _terms(option, "cost_per_it_kw_year", "_per_it_kw_year")
            each = sum(option[term] * rise(row, term) for term in terms)
            own = found.setdefault((row["site_id"], row["period"]), [])
            own.append((float(each), float(row["it_kw"])))
    return found


def _records(table: pd.DataFrame) -> list[dict[Any, Any]]:
    return table.to_dict("records")


def _lookup(table: pd.DataFrame, key: str, value: str) -> dict[Any, Any]:
    return dict(zip(table[key], table[value], strict=True))


def lost_service(
    flows: pd.DataFrame,
    arcs: pd.DataFrame,
    capacity: pd.Series[float],
    sets: Mapping[Any, list[Any]],
    *,
    tolerance: float,
) -> pd.Series[float]:
    """
    Return how much of some service is lost when sites are lost.

    Parameters
    ----------
    flows : pandas.DataFrame
        Rows of the assignment that have to survive, of one period.
    arcs : pandas.DataFrame
        Who may be served from where in that period.
    capacity : pandas.Series of float
        IT power by site. [kW]
    sets : mapping of str to list of str
        Sites that are lost together, by name.
    tolerance : float
        Relative loss that is noise. [-]

    Returns
    -------
    pandas.Series of float
        By name: the least IT power that cannot be served from the sites left,
        all of whose capacity is free for it. [kW]
    """
    need = flows.groupby(["zone_id", "workload"])["it_kw"].sum()
    total = float(need.sum())
    found = {}
    for name, sites in sets.items():
        gone = capacity[capacity.index.isin(sites)]
        if not total or not gone.gt(0.0).any():
            continue
        left = capacity.drop(gone.index)
        lost = total - _most_served(need, arcs, left[left > 0.0])
        found[name] = 0.0 if abs(lost) <= tolerance * total else lost
    return pd.Series(found, dtype=float)


def _most_served(
    need: pd.Series[float], arcs: pd.DataFrame, capacity: pd.Series[float]
) -> float:
    """Return the largest flow from sites to demands, as a linear programme."""
    key = pd.MultiIndex.from_frame(arcs[["zone_id", "workload"]])
    demand = need.index.get_indexer(key)
    site = capacity.index.get_indexer(pd.Index(arcs["site_id"]))
    use = (demand >= 0) & (site >= 0)
    n = int(use.sum())
    if not n:
        return 0.0
    row = np.concatenate([demand[use], len(need) + site[use]])
    column = np.tile(np.arange(n), 2)
    shape = (len(need) + len(capacity), n)
    matrix = sparse.csr_array((np.ones(2 * n), (row, column)), shape=shape)
    most = np.concatenate([need.to_numpy(), capacity.to_numpy()])
    answer = linprog(-np.ones(n), A_ub=matrix, b_ub=most)
    return -float(answer.fun) if answer.status == 0 else float("nan")
