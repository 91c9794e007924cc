"""Tables of a problem in positions, each row standing once for every period."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.siting.faults import excluded_pairs
from gridsite.siting.periods import (
    capital_by_period,
    running_terms,
    summed,
    telescoped,
)

if TYPE_CHECKING:
    from gridsite.siting.problem import SitingProblem

#: Relative slack below which a power still fits its limit [-].
FIT = 1e-9


def demand_table(problem: SitingProblem) -> pd.DataFrame:
    """
    Return what is needed, by zone, workload and period.

    Parameters
    ----------
    problem : SitingProblem
        The problem.

    Returns
    -------
    pandas.DataFrame
        As ``ReducedProblem.demands``; a class of shares is a workload, or a
        workload in a period.
    """
    table = problem.demand[problem.demand["demand_it_kw"] > 0.0]
    table = table.sort_values(["period", "zone_id", "workload"], ignore_index=True)
    workloads = problem.workloads.assign(
        local_share=problem.workloads.get("min_local_share", 0.0),
        single_source=problem.workloads.get("single_source", False),
    )
    columns = ["workload", "unserved_cost", "rtt_limit_ms", "rtt_target_ms"]
    columns += ["min_share_within_target", "local_share", "redundancy"]
    columns += ["single_source"]
    table = table.merge(workloads[columns], on="workload", how="left")
    worth = problem.periods.set_index("period")["present_value_factor"]
    worth = worth / problem.present_value_factor
    if len(worth) > 1:
        table["unserved_cost"] *= table["period"].map(worth)
    time = "" if len(worth) == 1 else " in period " + table["period"].astype(str)
    table["share_class"] = table["workload"] + time
    keys = ["zone_id", "period", "demand_it_kw", "share_class"]
    return table[[*keys, *columns]].assign(area=table.get("area", ""))


def site_table(problem: SitingProblem) -> pd.DataFrame:
    """
    Return the sites, once for each period.

    Parameters
    ----------
    problem : SitingProblem
        The problem.

    Returns
    -------
    pandas.DataFrame
        As ``ReducedProblem.sites``, without pools; ``priced`` where opening
        costs anything.
    """
    weights = telescoped(capital_by_period(problem, "sites"))
    table = _each_period(problem, problem.sites, fixed_capital=weights)
    cost = pd.Series(weights.max(axis=0), index=problem.sites["site_id"])
    table["priced"] = table["site_id"].map(cost) > 0.0
    return table.sort_values(["period", "site_id"], ignore_index=True)


def arc_table(
    problem: SitingProblem, demands: pd.DataFrame, sites: pd.DataFrame
) -> pd.DataFrame:
    """
    Return the arcs of real demand with positions for names.

    Parameters
    ----------
    problem : SitingProblem
        The problem.
    demands, sites : pandas.DataFrame
        From `demand_table` and `site_table`.

    Returns
    -------
    pandas.DataFrame
        ``site, demand, cost, rtt_ms, within, local``, sorted.
    """
    arcs = problem.arcs
    workload = pd.Index(problem.workloads["workload"])
    zone = pd.Index(demands["zone_id"].unique())

    def key(table: pd.DataFrame) -> pd.Index[int]:
        zones = zone.get_indexer(pd.Index(table["zone_id"])).astype(np.int64)
        kinds = workload.get_indexer(pd.Index(table["workload"]))
        place = zones * len(workload) + kinds
        place += table["period"].to_numpy() * len(zone) * len(workload)
        codes: np.ndarray = np.where(zones < 0, -1, place)
        return pd.Index(codes)

    demand = key(demands).get_indexer(key(arcs))
    names = pd.Index(sites.loc[sites["period"] == 0, "site_id"])
    site = names.get_indexer(pd.Index(arcs["site_id"]))
    table = pd.DataFrame(
        {
            "site": site + len(names) * arcs["period"].to_numpy(),
            "demand": demand,
            "cost": arcs["cost_per_it_kw"].to_numpy(),
            "rtt_ms": arcs["rtt_ms"].to_numpy(),
        }
    )
    table = table[demand >= 0]
    target = demands["rtt_target_ms"].to_numpy()[table["demand"]]
    table["within"] = table["rtt_ms"] <= target
    wanted = demands["local_share"].to_numpy()[table["demand"]] > 0.0
    area = demands["area"].to_numpy()[table["demand"]]
    table["local"] = wanted & (sites["area"].to_numpy()[table["site"]] == area)
    order = np.lexsort((table["demand"], table["site"]))
    return table.iloc[order].reset_index(drop=True)


def option_table(problem: SitingProblem, sites: pd.DataFrame) -> pd.DataFrame:
    """
    Return the options with what fits below the limits of each alone.

    Parameters
    ----------
    problem : SitingProblem
        The problem.
    sites : pandas.DataFrame
        From `site_table`.

    Returns
    -------
    pandas.DataFrame
        As ``ReducedProblem.options``, without pools and ``before``; ``price``
        is what a unit that stands from the period on costs. [money]
        ``computing`` is what a kW costs on it beyond its arc. [money/kW]
    """
    own = ["unit", "rated_kw", "it_kw", "footprint_m2", "lead_periods"]
    prices = capital_by_period(problem, "site_options")
    each = problem.site_options.drop(columns=own[1:], errors="ignore")
    each = each.merge(problem.units[own], on="unit")
    table = _each_period(
        problem,
        each,
        price=prices,
        capital=telescoped(prices),
        running=summed(running_terms(problem, "unit_per_year")),
        computing=summed(running_terms(problem, "cost_per_it_kw_year")),
    )
    order = ["period", "site_id", "unit", "port_id"]
    table = table.sort_values(order, ignore_index=True)
    names = pd.Index(sites.loc[sites["period"] == 0, "site_id"])
    table["site"] = names.get_indexer(table["site_id"]) + len(names) * table["period"]
    central = table["port_id"] == ""
    table["paced"] = table["site"].map(sites["kind"]) == "building"
    place = table["site_id"].where(central, table["port_id"])
    place = central.astype(int).astype(str) + place
    table["limit"] = pd.factorize(table["period"].astype(str) + " " + place)[0]
    site_limit = sites["max_power_kw"].to_numpy()[table["site"]]
    most = np.fmin(site_limit, table["own_limit_kw"]) * (1.0 + FIT)
    fits = np.floor(most / table["rated_kw"]).fillna(np.inf)
    table["lower"] = table["existing_units"]
    upper = np.minimum(table["max_units"], fits).astype(np.int64)
    if len(problem.periods) > 1:
        start = np.maximum(table["available_from"], table["lead_periods"])
        upper = upper.where(table["period"] >= start, 0)
    table["upper"] = np.maximum(upper, table["lower"])
    columns = ["site_id", "unit", "port_id", "period", "site", "limit", "rated_kw"]
    columns += ["it_kw", "footprint_m2", "own_limit_kw", "lower", "upper", "capital"]
    return table[[*columns, "price", "running", "computing", "paced"]]


def useful_units(
    problem: SitingProblem,
    options: pd.DataFrame,
    arcs: pd.DataFrame,
    demands: pd.DataFrame,
) -> np.ndarray:
    """
    Return the units of each option that reachable demand can need.

    Parameters
    ----------
    problem : SitingProblem
        The problem.
    options, arcs, demands : pandas.DataFrame
        From `option_table`, `arc_table` and `demand_table`.

    Returns
    -------
    numpy.ndarray of int, shape (n_options,)
        No optimum needs more; a unit may come before the demand that it is for.
    """
    n_sites, n_periods = len(problem.sites), len(problem.periods)
    reach = np.zeros(n_sites * n_periods)
    np.add.at(reach, arcs["site"], demands["demand_it_kw"].to_numpy()[arcs["demand"]])
    reach = np.tile(reach.reshape(n_periods, n_sites).max(axis=0), n_periods)
    needed = np.ceil(reach[options["site"]] / options["it_kw"].to_numpy())
    terms = problem.row_coefficients
    relieving = terms.loc[terms["coefficient"] < 0.0, "port_id"]
    key = ["site_id", "unit", "port_id"]
    whole = options[::-1].groupby(key)["running"].cumsum() + options["price"]
    pays = whole.groupby([options[c] for c in key]).transform("min") < 0.0
    worthless = ~pays & ~options["port_id"].isin(relieving)
    useful = np.where(worthless, needed, np.inf)
    upper = np.minimum(options["upper"], useful).astype(np.int64)
    result: np.ndarray = np.maximum(upper, options["lower"].to_numpy())
    return result


def group_table(
    problem: SitingProblem, options: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """
    Return the groups, once for each period, and the options in each.

    Parameters
    ----------
    problem : SitingProblem
        The problem.
    options : pandas.DataFrame
        Options in their final order.

    Returns
    -------
    groups : pandas.DataFrame
        As ``ReducedProblem.groups``.
    members : pandas.DataFrame
        As ``ReducedProblem.members``.
    """
    every = problem.groups.sort_values(["group_id", "site_id"])
    first = ~every["group_id"].duplicated()
    weights = telescoped(capital_by_period(problem, "groups")[:, every.index[first]])
    once = every[first].reset_index(drop=True)
    once["one_site"] = once.get("one_site", pd.Series(data=False, index=once.index))
    groups = _each_period(problem, once, onboarding_cost=weights)
    names = pd.Index(once["group_id"])
    found = options.reset_index(names="option")
    found = found[["option", "site_id", "period", "lower"]]
    members = every[["group_id", "site_id"]].merge(found, on="site_id")
    members["group"] = names.get_indexer(members["group_id"])
    members["group"] += len(names) * members["period"]
    existing = members.groupby("group")["lower"].sum().reindex(groups.index).fillna(0)
    cost = pd.Series(weights.max(axis=0), index=names)
    priced = (groups["group_id"].map(cost) > 0.0) & (existing == 0)
    return groups.assign(priced=priced), members[["group", "option"]]


def loss_table(
    demands: pd.DataFrame,
    flows: pd.DataFrame,
    groups: pd.DataFrame,
    members: pd.DataFrame,
    options: pd.DataFrame,
) -> pd.DataFrame:
    """
    Return what may be lost, for demand that has to survive it.

    Parameters
    ----------
    demands, flows, groups, members, options : pandas.DataFrame
        As in ``ReducedProblem``.

    Returns
    -------
    pandas.DataFrame
        As ``ReducedProblem.losses``, and ``redundancy``: what workloads have at
        least to survive it.

    Notes
    -----
    Within a pool the loss of the site with most capacity is the worst. A group
    that is one site (``one_site``) is lost like a site.
    """
    redundancy = demands["redundancy"].to_numpy()
    period = demands["period"].to_numpy()
    table = pd.DataFrame(columns=["period", "pool", "group", "redundancy"], dtype=int)
    if not redundancy.any():
        return table
    used = flows[redundancy[flows["demand"]] >= 1]
    pools = pd.DataFrame({"period": period[used["demand"]], "pool": used["pool"]})
    pools = pools.drop_duplicates().assign(group=-1, redundancy=1)
    parts = [pools]
    pool = options["pool"].to_numpy()[members["option"]]
    for level, wanted in ((1, groups["one_site"]), (2, ~groups["one_site"])):
        used = flows[redundancy[flows["demand"]] >= level]
        hit = members.loc[np.isin(pool, used["pool"]), "group"].unique()
        hit = hit[wanted.to_numpy()[hit]]
        own = groups.loc[hit, ["period"]]
        parts.append(own.assign(pool=-1, group=hit, redundancy=level))
    table = pd.concat(parts, ignore_index=True).astype(int)
    return table.sort_values(["period", "pool", "group"], ignore_index=True)


def excluded_positions(
    problem: SitingProblem, upgrades: pd.DataFrame
) -> list[tuple[int, int]]:
    """
    Return the pairs of upgrades of which one may stand, by position.

    Parameters
    ----------
    problem : SitingProblem
        The problem.
    upgrades : pandas.DataFrame
        As ``ReducedProblem.upgrades``.

    Returns
    -------
    list of (int, int)
        Positions in the last period: upgrades stay.
    """
    last = upgrades[upgrades["period"] == upgrades["period"].max()]
    at = {name: i for i, name in last["upgrade_id"].items()}
    pairs = excluded_pairs(problem.upgrades)
    found = {
        (min(at[a], at[b]), max(at[a], at[b]))
        for a, b in pairs
        if a in at and b in at and a != b
    }
    return sorted(found)


def earlier(table: pd.DataFrame, key: list[str]) -> np.ndarray:
    """
    Return the position of the same thing one period earlier.

    Parameters
    ----------
    table : pandas.DataFrame
        With ``period``, indexed from 0.
    key : list of str
        Columns that name the thing.

    Returns
    -------
    numpy.ndarray of int
        -1 where there is none.
    """
    at = pd.MultiIndex.from_frame(table[[*key, "period"]])
    before = table[[*key, "period"]].assign(period=table["period"] - 1)
    found: np.ndarray = at.get_indexer(pd.MultiIndex.from_frame(before))
    return found


def _each_period(
    problem: SitingProblem, table: pd.DataFrame, **values: np.ndarray
) -> pd.DataFrame:
    """Repeat a table for each period, with columns that differ between them."""
    periods = problem.periods["period"].tolist()
    copies = [
        table.assign(period=t, **{name: each[t] for name, each in values.items()})
        for t in periods
    ]
    return pd.concat(copies, ignore_index=True) if len(copies) > 1 else copies[0]
