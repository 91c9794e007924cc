r"""
Exact reductions, made in numpy before any model is built.

*Pools.* Sites that every zone and workload sees at the same cost and on the
same side of its latency target are one pool. Demand flows to pools; a pool's
capacity is that of its units. Since costs are equal within a pool, any split of
its flow over its sites is optimal and, as every arc of the pool exists, the
split that fills the sites one after the other is feasible (`split_flows`).

*Options.* At most :math:`\lfloor \text{limit}/\text{rated power} \rfloor` units
fit below a limit, and more units than the reachable demand needs are never
worth their cost, unless the grid gains from their draw (negative coefficient).
Options for no unit vanish.

*Rows.* With :math:`P` the largest draw of each connection, a row with
:math:`\sum \max(0, a) P \le \text{headroom}` never binds. Divided by its
headroom, a row that no coefficient of which is above another's is implied by
it: on radial feeders, most rows are.

An arc is never dropped for being dearer than another: the other may be full,
or not worth opening.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

if TYPE_CHECKING:
    from gridsite.siting.problem import SitingProblem

#: Relative slack below which a power still fits its limit [-].
FIT = 1e-9

#: Largest number of rows among which implied ones are looked for.
_MOST_ROWS_COMPARED = 20_000


@dataclass(frozen=True, kw_only=True, eq=False)
class ReducedProblem:
    """
    What the model is built from; rows of a table are known by their position.

    Parameters
    ----------
    demands : pandas.DataFrame
        ``zone_id, workload, demand_it_kw, unserved_cost`` of what is needed.
    sites : pandas.DataFrame
        ``site_id, pool, fixed_capital, max_power_kw, priced``: priced sites
        pay ``fixed_capital`` with their first unit.
    options : pandas.DataFrame
        ``site_id, unit, port_id, site, pool, limit, rated_kw, it_kw,
        footprint_m2, own_limit_kw, lower, upper, capital, running``: between ``lower``
        (existing) and ``upper`` units; ``limit`` tells connections apart.
    arcs : pandas.DataFrame
        ``site, demand, pool, rtt_ms``, sorted.
    flows : pandas.DataFrame
        ``demand, pool, cost, within`` of what can flow.
    shares : pandas.Series of float
        Least share within the latency target, by workload, where above 0.
    rows : pandas.DataFrame
        ``row_id, limit``: 1, or 0 for a row without headroom.
    row_terms : scipy.sparse.csr_array
        Share of each row that one unit of each option takes.
    groups : pandas.DataFrame
        ``group_id, max_units, max_kw, onboarding_cost, priced``.
    members : pandas.DataFrame
        ``group, option`` pairs.
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
    demands = _demands(problem)
    sites = problem.sites.sort_values("site_id", ignore_index=True)
    arcs = _arcs(problem, demands, sites)
    options = _options(problem, sites)
    if reductions:
        options["upper"] = _useful_units(problem, options, arcs, demands)
        options = options[options["upper"] > 0].reset_index(drop=True)
    arcs = arcs[arcs["site"].isin(options["site"])].reset_index(drop=True)
    sites["pool"] = _pools(arcs, len(sites), merge=reductions)
    options["pool"] = sites["pool"].to_numpy()[options["site"]]
    arcs["pool"] = sites["pool"].to_numpy()[arcs["site"]]
    flows = arcs.drop_duplicates(["pool", "demand"], ignore_index=True)
    existing = options.groupby("site")["lower"].sum().reindex(sites.index).fillna(0)
    sites["priced"] = (sites["fixed_capital"] > 0.0) & (existing == 0)
    workloads = problem.workloads.sort_values("workload").set_index("workload")
    shares = workloads["min_share_within_target"]
    groups, members = _groups(problem, options)
    rows, row_terms = _rows(problem, options, drop=reductions)
    return ReducedProblem(
        demands=demands,
        sites=sites,
        options=options,
        arcs=arcs,
        flows=flows[["demand", "pool", "cost", "within"]],
        shares=shares[shares > 0.0],
        rows=rows,
        row_terms=row_terms,
        groups=groups,
        members=members,
        budget=problem.budget,
        constant=-float((options["capital"] * options["lower"]).sum()),
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
    room = np.zeros(len(reduced.sites))
    np.add.at(room, options["site"], counts * options["it_kw"].to_numpy())
    table = reduced.flows.assign(left=flows)
    table = table[table["left"] > 0.0]
    arcs = reduced.arcs[room[reduced.arcs["site"]] > 0.0]
    arcs = arcs.merge(table[["demand", "pool"]], on=["demand", "pool"])
    arcs = arcs.sort_values(["rtt_ms", "demand", "site"], ignore_index=True)
    left = table.set_index(["demand", "pool"])["left"].to_dict()
    taken = np.zeros(len(arcs))
    keys = zip(arcs["demand"], arcs["pool"], arcs["site"], strict=True)
    for i, (demand, pool, site) in enumerate(keys):
        amount = min(left[demand, pool], room[site])
        if amount > 0.0:
            taken[i] = amount
            left[demand, pool] -= amount
            room[site] -= amount
    arcs["it_kw"] = taken
    return arcs.loc[arcs["it_kw"] > 0.0, ["demand", "site", "it_kw", "rtt_ms"]]


def _demands(problem: SitingProblem) -> pd.DataFrame:
    table = problem.demand[problem.demand["demand_it_kw"] > 0.0]
    table = table.sort_values(["zone_id", "workload"], ignore_index=True)
    columns = ["workload", "unserved_cost", "rtt_limit_ms", "rtt_target_ms"]
    table = table.merge(problem.workloads[columns], on="workload", how="left")
    return table[["zone_id", "demand_it_kw", *columns]]


def _arcs(
    problem: SitingProblem, demands: pd.DataFrame, sites: pd.DataFrame
) -> pd.DataFrame:
    """Return the arcs of real demand with positions for names."""
    arcs = problem.arcs
    workload = pd.Index(problem.workloads["workload"])
    zone = pd.Index(demands["zone_id"].unique())

    def key(table: pd.DataFrame) -> pd.Index[int]:
        zones = zone.get_indexer(pd.Index(table["zone_id"])).astype(np.int64)
        kinds = workload.get_indexer(pd.Index(table["workload"]))
        codes: np.ndarray = np.where(zones < 0, -1, zones * len(workload) + kinds)
        return pd.Index(codes)

    demand = key(demands).get_indexer(key(arcs))
    table = pd.DataFrame(
        {
            "site": pd.Index(sites["site_id"]).get_indexer(pd.Index(arcs["site_id"])),
            "demand": demand,
            "cost": arcs["cost_per_it_kw"].to_numpy(),
            "rtt_ms": arcs["rtt_ms"].to_numpy(),
        }
    )
    table = table[demand >= 0]
    target = demands["rtt_target_ms"].to_numpy()[table["demand"]]
    table["within"] = table["rtt_ms"] <= target
    order = np.lexsort((table["demand"], table["site"]))
    return table.iloc[order].reset_index(drop=True)


def _options(problem: SitingProblem, sites: pd.DataFrame) -> pd.DataFrame:
    """Return the options with what fits below the limits of each alone."""
    own = ["unit", "rated_kw", "it_kw", "footprint_m2"]
    table = problem.site_options.drop(columns=own[1:], errors="ignore")
    table = table.merge(problem.units[own], on="unit")
    table = table.sort_values(["site_id", "unit", "port_id"], ignore_index=True)
    table["site"] = pd.Index(sites["site_id"]).get_indexer(table["site_id"])
    central = table["port_id"] == ""
    names = table["site_id"].where(central, table["port_id"])
    table["limit"] = pd.factorize(central.astype(int).astype(str) + names)[0]
    site_limit = sites["max_power_kw"].to_numpy()[table["site"]]
    most = np.fmin(site_limit, table["own_limit_kw"]) * (1.0 + FIT)
    fits = np.floor(most / table["rated_kw"]).fillna(np.inf)
    table["lower"] = table["existing_units"]
    upper = np.minimum(table["max_units"], fits).astype(np.int64)
    table["upper"] = np.maximum(upper, table["lower"])
    table["capital"] = table["unit_capital"]
    table["running"] = table["unit_per_year"] * problem.present_value_factor
    columns = ["site_id", "unit", "port_id", "site", "limit", "rated_kw", "it_kw"]
    columns += ["footprint_m2", "own_limit_kw", "lower", "upper", "capital", "running"]
    return table[columns]


def _useful_units(
    problem: SitingProblem,
    options: pd.DataFrame,
    arcs: pd.DataFrame,
    demands: pd.DataFrame,
) -> np.ndarray:
    """Return the units of each option that reachable demand can need."""
    reach = np.zeros(len(problem.sites))
    np.add.at(reach, arcs["site"], demands["demand_it_kw"].to_numpy()[arcs["demand"]])
    needed = np.ceil(reach[options["site"]] / options["it_kw"].to_numpy())
    terms = problem.row_coefficients
    relieving = terms.loc[terms["coefficient"] < 0.0, "port_id"]
    worthless = (options["capital"] + options["running"] >= 0.0) & ~options[
        "port_id"
    ].isin(relieving)
    useful = np.where(worthless, needed, np.inf)
    upper = np.minimum(options["upper"], useful).astype(np.int64)
    result: np.ndarray = np.maximum(upper, options["lower"].to_numpy())
    return result


def _pools(arcs: pd.DataFrame, n_sites: int, *, merge: bool) -> np.ndarray:
    """Return a pool for each site, -1 for one without arcs."""
    pools = np.full(n_sites, -1)
    known: dict[tuple[bytes, ...], int] = {}
    sites, starts = np.unique(arcs["site"].to_numpy(), return_index=True)
    ends = np.append(starts, len(arcs))[1:]
    columns = [arcs[name].to_numpy() for name in ("demand", "cost", "within")]
    for site, start, end in zip(sites, starts, ends, strict=True):
        seen = tuple(column[start:end].tobytes() for column in columns)
        key = seen if merge else (str(site).encode(),)
        pools[site] = known.setdefault(key, len(known))
    return pools


def _groups(
    problem: SitingProblem, options: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    table = problem.groups.sort_values(["group_id", "site_id"])
    groups = table.drop_duplicates("group_id", ignore_index=True)
    names = pd.Index(groups["group_id"])
    members = table[["group_id", "site_id"]].merge(
        options.reset_index(names="option")[["option", "site_id", "lower"]],
        on="site_id",
    )
    members["group"] = names.get_indexer(members["group_id"])
    existing = members.groupby("group")["lower"].sum().reindex(groups.index).fillna(0)
    priced = (groups["onboarding_cost"] > 0.0) & (existing == 0)
    return groups.assign(priced=priced), members[["group", "option"]]


def _rows(
    problem: SitingProblem, options: pd.DataFrame, *, drop: bool
) -> tuple[pd.DataFrame, sparse.csr_array]:
    """Return the rows that can bind, divided by their headroom."""
    rows = problem.rows.sort_values("row_id", ignore_index=True)
    ports = pd.Index(sorted(set(options["port_id"]) - {""}))
    terms = problem.row_coefficients
    row = pd.Index(rows["row_id"]).get_indexer(terms["row_id"])
    port = ports.get_indexer(terms["port_id"])
    used = (port >= 0) & (terms["coefficient"].to_numpy() != 0.0)
    matrix = sparse.csr_array(
        (terms["coefficient"].to_numpy()[used], (row[used], port[used])),
        shape=(len(rows), len(ports)),
    )
    headroom = rows["headroom"].to_numpy()
    largest = abs(matrix).max(axis=1).toarray().ravel() if matrix.nnz else headroom
    scale = np.where(headroom > 0.0, headroom, largest)
    keep = matrix.count_nonzero(axis=1) > 0
    if drop:
        most = _largest_draw(options, ports)
        keep &= matrix.maximum(0.0) @ most > headroom
    matrix = sparse.csr_array(matrix[keep].multiply(1.0 / scale[keep, None]))
    table = pd.DataFrame(
        {
            "row_id": rows.loc[keep, "row_id"].to_numpy(),
            "limit": (headroom[keep] > 0.0).astype(float),
        }
    )
    if drop and len(table) <= _MOST_ROWS_COMPARED:
        needed = _not_implied(matrix, table["limit"].to_numpy())
        table, matrix = table[needed].reset_index(drop=True), matrix[needed]
    position = ports.get_indexer(options["port_id"])
    spread = sparse.csr_array(
        (
            options["rated_kw"].to_numpy()[position >= 0],
            (position[position >= 0], np.flatnonzero(position >= 0)),
        ),
        shape=(len(ports), len(options)),
    )
    return table, sparse.csr_array(matrix @ spread)


def _largest_draw(options: pd.DataFrame, ports: pd.Index[str]) -> np.ndarray:
    """Return the most that each connection can draw, in kW."""
    table = pd.DataFrame(
        {
            "port_id": options["port_id"],
            "units": options["upper"] * options["rated_kw"],
            "existing": options["lower"] * options["rated_kw"],
            "own": options["own_limit_kw"].fillna(np.inf) * (1.0 + FIT),
        }
    ).groupby("port_id")
    most = table["units"].sum().clip(upper=table["own"].max())
    return most.clip(lower=table["existing"].sum()).reindex(ports).to_numpy()


def _not_implied(matrix: sparse.csr_array, limit: np.ndarray) -> np.ndarray:
    """Return False for rows that another row with headroom implies."""
    alive = limit > 0.0
    whole = np.ones(len(limit), dtype=bool)
    if not matrix.nnz:
        return whole
    columns = matrix.tocsc()
    may_imply = alive & (matrix.min(axis=1).toarray().ravel() >= 0.0)
    for i in np.flatnonzero(alive):
        part = slice(matrix.indptr[i], matrix.indptr[i + 1])
        ports, values = matrix.indices[part], matrix.data[part]
        peak = ports[np.argmax(values)]
        column = slice(columns.indptr[peak], columns.indptr[peak + 1])
        rivals = columns.indices[column][columns.data[column] >= values.max()]
        rivals = rivals[may_imply[rivals] & whole[rivals] & (rivals != i)]
        if len(rivals):
            block = matrix[rivals][:, ports].toarray()
            whole[i] = not (block >= values).all(axis=1).any()
    return whole
