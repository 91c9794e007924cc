r"""
Exact reductions, made in numpy before any model is built.

*Pools.* Sites that every zone and workload sees at the same cost and on the
same side of its latency target are one pool. Demand flows to pools; a pool's
capacity is that of its units. Since costs are equal within a pool, any split of
its flow over its sites is optimal and, as every arc of the pool exists, the
split that fills the sites one after the other is feasible (`split_flows`). Where
demand has to be served from one site as a whole, each site is a pool of its own.

*Computing.* Units of a pool may cost more per kW that computes than others. What
the cheapest costs is put into the flows to the pool, and what others cost more
stays with them, so that a pool of one kind has nothing of its own. The cheapest
compute first: in the pool, and so at each of its sites (`split_flows`).

*Options.* At most :math:`\lfloor \text{limit}/\text{rated power} \rfloor` units
fit below a limit, and more units than the reachable demand needs are never
worth their cost, unless the grid gains from their draw (negative coefficient).
Options for no unit vanish.

*Rows.* With :math:`P` the largest draw of each connection, a row with
:math:`\sum \max(0, a) P \le \text{headroom}` never binds. Divided by its
headroom, a row that no coefficient of which is above another's is implied by
it: on radial feeders, most rows are.

*Periods.* Sites, options, demands, flows and groups stand once for each period;
costs of capital are weights of what stands (``periods.telescoped``).

An arc is never dropped for being dearer than another: the other may be full,
or not worth opening.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gridsite.siting.reduce_rows import grid_terms, upgrade_table
from gridsite.siting.reduce_tables import (
    arc_table,
    demand_table,
    earlier,
    excluded_positions,
    group_table,
    loss_table,
    option_table,
    site_table,
    useful_units,
)

if TYPE_CHECKING:
    import pandas as pd
    from scipy import sparse

    from gridsite.siting.problem import SitingProblem


@dataclass(frozen=True, kw_only=True, eq=False)
class ReducedProblem:
    """
    What the model is built from; rows of a table are known by their position.

    Parameters
    ----------
    demands : pandas.DataFrame
        ``zone_id, workload, period, demand_it_kw, unserved_cost, share_class,
        local_share, redundancy, single_source`` of what is needed.
    sites : pandas.DataFrame
        ``site_id, period, pool, fixed_capital, max_power_kw, priced, copies``:
        priced sites pay ``fixed_capital`` while they are open; one that stands for
        several alike ones opens up to ``copies`` times.
    options : pandas.DataFrame
        ``site_id, unit, port_id, period, site, pool, limit, rated_kw, it_kw,
        footprint_m2, own_limit_kw, lower, upper, capital, running, computing, before,
        paced, each``: between ``lower`` (existing) and ``upper`` units; ``limit`` tells
        connections apart; ``before`` is the same option a period earlier (-1:
        it has only existing units then); ``paced`` options count for the
        installation rate.
    arcs : pandas.DataFrame
        ``site, demand, pool, rtt_ms``, sorted.
    flows : pandas.DataFrame
        ``demand, pool, cost, within, local`` of what can flow.
    shares : pandas.Series of float
        Least share within the latency target, by ``share_class``, where above 0.
    rows : pandas.DataFrame
        ``row_id, limit``: 1, or 0 for a row without headroom.
    row_terms : scipy.sparse.csr_array
        Share of each row that one unit of each option takes.
    groups : pandas.DataFrame
        ``group_id, period, max_units, max_kw, onboarding_cost, priced, one_site``.
    members : pandas.DataFrame
        ``group, option`` pairs.
    upgrades : pandas.DataFrame
        ``upgrade_id, period, capital, upper, before``: ``upper`` is 0 before
        an upgrade can stand.
    upgrade_terms : scipy.sparse.csr_array
        What each upgrade adds to each row, in shares of the row.
    excluded : list of (int, int)
        Upgrades of which one may stand.
    pace : pandas.Series of float
        Most units added at buildings, by period, where limited.
    losses : pandas.DataFrame
        ``period, pool, group`` of what may be lost: the largest site of a pool,
        or a group of sites (the other is -1).
    budget : float or None
        Largest capital. [money]
    constant : float
        Minus the capital of existing units, which ``capital`` times the count
        would charge again. [money]
    """

    demands: pd.DataFrame
    sites: pd.DataFrame
    options: pd.DataFrame
    arcs: pd.DataFrame
    flows: pd.DataFrame
    shares: pd.Series[float]
    rows: pd.DataFrame
    row_terms: sparse.csr_array
    groups: pd.DataFrame
    members: pd.DataFrame
    upgrades: pd.DataFrame
    upgrade_terms: sparse.csr_array
    excluded: list[tuple[int, int]]
    pace: pd.Series[float]
    losses: pd.DataFrame
    budget: float | None
    constant: float


def reduce_problem(
    problem: SitingProblem, *, reductions: bool = True
) -> ReducedProblem:
    """
    Return the problem in positions, reduced without losing an optimum.

    Parameters
    ----------
    problem : SitingProblem
        The problem.
    reductions : bool, default True
        False leaves every site a pool of its own and every row in place, to
        test that the optimum is the same.

    Returns
    -------
    ReducedProblem
        Tables in an order that does not depend on the order of the input.
    """
    demands = demand_table(problem)
    sites = site_table(problem)
    arcs = arc_table(problem, demands, sites)
    options = option_table(problem, sites)
    if reductions:
        options["upper"] = useful_units(problem, options, arcs, demands)
        options = options[options["upper"] > 0].reset_index(drop=True)
    options["each"] = options["upper"]
    sites["copies"] = 1
    options["before"] = earlier(options, ["site_id", "unit", "port_id"])
    arcs = arcs[arcs["site"].isin(options["site"])].reset_index(drop=True)
    whole = demands["single_source"].to_numpy()[arcs["demand"]]
    alone = np.bincount(arcs["site"], whole, len(sites)) > 0.0
    sites["pool"] = _pools(arcs, alone | (not reductions))
    options["pool"] = sites["pool"].to_numpy()[options["site"]]
    arcs["pool"] = sites["pool"].to_numpy()[arcs["site"]]
    flows = arcs.drop_duplicates(["pool", "demand"], ignore_index=True)
    least = options.groupby("pool")["computing"].min()
    flows = flows.assign(cost=flows["cost"] + flows["pool"].map(least))
    own = options["computing"] - options["pool"].map(least)
    options = options.assign(computing=own.clip(lower=0.0))
    existing = options.groupby("site")["lower"].sum().reindex(sites.index).fillna(0)
    sites["priced"] &= existing == 0
    classes = demands.drop_duplicates("share_class").set_index("share_class")
    shares = classes["min_share_within_target"]
    groups, members = group_table(problem, options)
    rows, terms = grid_terms(problem, options, drop=reductions)
    upgrades, added = upgrade_table(problem, rows)
    first = options["before"] < 0
    paid = options["price"] * options["lower"]
    return ReducedProblem(
        demands=demands,
        sites=sites,
        options=options,
        arcs=arcs,
        flows=flows[["demand", "pool", "cost", "within", "local"]],
        shares=shares[shares > 0.0],
        rows=rows[["row_id", "limit"]],
        row_terms=terms,
        groups=groups,
        members=members,
        upgrades=upgrades,
        upgrade_terms=added,
        excluded=excluded_positions(problem, upgrades),
        pace=problem.periods.set_index("period")["max_added_units"].dropna(),
        losses=loss_table(demands, flows, groups, members, options),
        budget=problem.budget,
        constant=-float(paid[first].sum()),
    )


def split_flows(
    reduced: ReducedProblem,
    counts: np.ndarray,
    flows: np.ndarray,
) -> pd.DataFrame:
    """
    Return which site serves what, given the flows to pools.

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
        ``demand, site, it_kw, rtt_ms``; no site serves more than its units
        can, and the nearest (by round-trip time) fill first.

    Notes
    -----
    Deterministic: ties go by zone, workload and site in the order of their
    names.
    """
    options = reduced.options
    power = counts * options["it_kw"].to_numpy()
    level = options["computing"].to_numpy()
    table = reduced.flows.assign(left=flows)
    table = table[table["left"] > 0.0]
    used = np.zeros(len(reduced.sites))
    np.add.at(used, options["site"], power)
    arcs = reduced.arcs[used[reduced.arcs["site"]] > 0.0]
    arcs = arcs.merge(table[["demand", "pool"]], on=["demand", "pool"])
    arcs = arcs.sort_values(["rtt_ms", "demand", "site"], ignore_index=True)
    left = table.set_index(["demand", "pool"])["left"].to_dict()
    taken = np.zeros(len(arcs))
    for each in np.unique(level[power > 0.0]):  # units that compute at the least cost
        room = np.zeros(len(reduced.sites))
        np.add.at(room, options["site"], np.where(level == each, power, 0.0))
        keys = zip(arcs["demand"], arcs["pool"], arcs["site"], strict=True)
        for i, (demand, pool, site) in enumerate(keys):
            amount = min(left[demand, pool], room[site])
            if amount > 0.0:
                taken[i] += amount
                left[demand, pool] -= amount
                room[site] -= amount
    arcs["it_kw"] = taken
    return arcs.loc[arcs["it_kw"] > 0.0, ["demand", "site", "it_kw", "rtt_ms"]]


def _pools(arcs: pd.DataFrame, alone: np.ndarray) -> np.ndarray:
    """Return a pool for each site, its own where it stands alone; -1 without arcs."""
    pools = np.full(len(alone), -1)
    known: dict[tuple[bytes, ...], int] = {}
    sites, starts = np.unique(arcs["site"].to_numpy(), return_index=True)
    ends = np.append(starts, len(arcs))[1:]
    columns = [arcs[name].to_numpy() for name in ("demand", "cost", "within", "local")]
    for site, start, end in zip(sites, starts, ends, strict=True):
        seen = tuple(column[start:end].tobytes() for column in columns)
        key = (str(site).encode(),) if alone[site] else seen
        pools[site] = known.setdefault(key, len(known))
    return pools
