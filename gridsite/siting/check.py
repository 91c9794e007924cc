"""
The check of a plan against the problem, without model or solver.

It shares no code with ``reduce`` or ``formulation``: every requirement is
computed again from the problem's own tables, and so is the cost
(``gridsite.siting.audit``).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

from gridsite.siting.audit import capital_spent, lost_service, nothing_built

if TYPE_CHECKING:
    from gridsite.siting.problem import SitingProblem

#: Relative excess that counts as a violation [-].
TOLERANCE = 1e-6

_OPTION = ["site_id", "unit", "port_id"]
_UNIT = [*_OPTION, "period"]
_COLUMNS = ["requirement", "where", "value", "limit", "excess"]


def check_plan(
    problem: SitingProblem,
    plan: pd.DataFrame,
    assignment: pd.DataFrame,
    upgrades: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """
    Return every requirement that a plan and its assignment violate.

    Parameters
    ----------
    problem : SitingProblem
        The problem.
    plan : pandas.DataFrame
        Table ``plan``: units by site option and period.
    assignment : pandas.DataFrame
        Table ``assignment``: IT power by zone, workload, site and period. [kW]
    upgrades : pandas.DataFrame, optional
        ``upgrade_id, period``: what is built, and from when it stands. Default:
        none.

    Returns
    -------
    pandas.DataFrame
        ``requirement, where, value, limit, excess``; empty when all hold.
        A value violates when it is above its limit by more than 1e-6 of it.

    Notes
    -----
    Requirements that are lower limits stand with the sign turned. Not a
    number violates. Where there are several periods, ``where`` ends with one.
    """
    built = nothing_built() if upgrades is None else upgrades
    units = _units(problem, plan)
    checks = [
        *_table_checks(problem, plan, assignment),
        *_time_checks(problem, units),
        *_unit_checks(problem, units),
        *_upgrade_checks(problem, built),
        *_grid_checks(problem, units, built),
        *_service_checks(problem, units, assignment),
        *_local_checks(problem, assignment),
        *_source_checks(problem, assignment),
        *_loss_checks(problem, units, assignment),
        *_budget_check(problem, plan, built),
    ]
    tables = [table for table in checks if len(table)]
    if not tables:
        return pd.DataFrame(columns=_COLUMNS)
    found = pd.concat(tables, ignore_index=True)
    found["excess"] = found["value"] - found["limit"]
    holds = found["excess"] <= TOLERANCE * found["scale"]
    found = found[~holds].reset_index(drop=True)
    if len(problem.periods) == 1:
        found["where"] = found["where"].str.removesuffix(" / 0")
    return found[_COLUMNS]


def _requirement(
    name: str,
    value: pd.Series[float],
    limit: pd.Series[float] | float,
    *,
    scale: pd.Series[float] | float | None = None,
) -> pd.DataFrame:
    """Return one row per value that has a limit."""
    table = pd.DataFrame({"value": value.astype(float), "limit": limit})
    table["scale"] = table["limit"].abs() if scale is None else scale
    table["scale"] = table["scale"].where(table["scale"] > 0.0, 1.0)
    table["requirement"] = name
    table["where"] = [_name(key) for key in table.index]
    return table[table["limit"].notna()]


def _name(key: object) -> str:
    return " / ".join(map(str, key)) if isinstance(key, tuple) else str(key)


def _options(problem: SitingProblem) -> pd.DataFrame:
    limits = ["max_units", "existing_units", "own_limit_kw", "available_from"]
    units = problem.units[["unit", "rated_kw", "it_kw", "footprint_m2", "lead_periods"]]
    return problem.site_options[[*_OPTION, *limits]].merge(units, on="unit")


def _units(problem: SitingProblem, plan: pd.DataFrame) -> pd.DataFrame:
    """Return every option in every period, with what the plan has there."""
    units = _options(problem).merge(problem.periods[["period"]], how="cross")
    kind = problem.sites.set_index("site_id")["kind"]
    units["kind"] = units["site_id"].map(kind)
    units = units.merge(plan[[*_UNIT, "added", "count"]], on=_UNIT, how="left")
    units[["count", "added"]] = units[["count", "added"]].fillna(0)
    units["draw_kw"] = units["count"] * units["rated_kw"]
    units["it_total"] = units["count"] * units["it_kw"]
    units = units.sort_values(_UNIT, ignore_index=True)
    first = units["period"] == 0
    earlier = units["count"].shift(1, fill_value=0)
    units["earlier"] = units["existing_units"].where(first, earlier)
    return units


def _sum(
    units: pd.DataFrame, column: str, by: list[str], index: pd.Index[str]
) -> pd.Series[float]:
    """Return sums by key and period, 0 where there is nothing."""
    periods = pd.Index(units["period"].unique())
    names = [*by, "period"]
    every = pd.MultiIndex.from_product([index, periods], names=names)
    total: pd.Series[float] = units.groupby(names)[column].sum()
    return total.reindex(every).fillna(0.0)


def _limit(values: pd.Series[float], like: pd.Series[float]) -> pd.Series[float]:
    """Return the limit of each key, the same in every period."""
    at = values.reindex(like.index.get_level_values(0))
    return pd.Series(at.to_numpy(), index=like.index)


def _table_checks(
    problem: SitingProblem, plan: pd.DataFrame, assignment: pd.DataFrame
) -> list[pd.DataFrame]:
    """Check keys, whole numbers, signs and the columns that follow from counts."""
    arc = ["zone_id", "workload", "site_id", "period"]
    arcs = problem.arcs[problem.arcs["site_id"].isin(assignment["site_id"])]
    columns = [*_UNIT, "count", "rated_kw", "it_kw"]
    known = plan[columns].merge(_options(problem), on=_OPTION, suffixes=("_plan", ""))
    known = known[known["period"].isin(problem.periods["period"])]
    known = known.set_index(_UNIT)
    count = known["count"]
    flows = assignment.set_index(arc)["it_kw"]
    real = assignment.merge(arcs[[*arc, "rtt_ms"]], on=arc, suffixes=("", "_arc"))
    need = ["zone_id", "workload", "period"]
    asked = pd.MultiIndex.from_frame(problem.demand[need])
    known_flow = pd.MultiIndex.from_frame(assignment[need]).isin(asked)
    facts = {
        "units stand at known options": len(plan) - len(known),
        "an option stands once in the plan": plan.duplicated(_UNIT).sum(),
        "flows use arcs that exist": len(flows) - len(real),
        "flows serve demand that exists": int((~known_flow).sum()),
        "an arc stands once in the assignment": assignment.duplicated(arc).sum(),
    }
    real = real.set_index(arc)
    return [
        _requirement("table", pd.Series(facts, dtype=float), 0.0),
        _requirement("whole count", (count - count.round()).abs(), 0.0),
        _requirement(
            "rated_kw of the plan",
            (known["rated_kw_plan"] - count * known["rated_kw"]).abs(),
            0.0,
        ),
        _requirement(
            "it_kw of the plan",
            (known["it_kw_plan"] - count * known["it_kw"]).abs(),
            0.0,
        ),
        _requirement("flow is not negative", -flows, 0.0),
        _requirement(
            "round-trip time of the arc",
            (real["rtt_ms"] - real["rtt_ms_arc"]).abs(),
            0.0,
        ),
    ]


def _time_checks(problem: SitingProblem, units: pd.DataFrame) -> list[pd.DataFrame]:
    """Check what is added and when, that it stays, and the installation rate."""
    by_unit = units.set_index(_UNIT)
    new = by_unit["count"] - by_unit["earlier"]
    start = by_unit[["available_from", "lead_periods"]].max(axis=1)
    start = start if len(problem.periods) > 1 else 0 * start
    early = by_unit.index.get_level_values("period") < start
    at_buildings = units[units["kind"] == "building"]
    added = at_buildings["count"] - at_buildings["earlier"]
    by_period = added.groupby(at_buildings["period"]).sum()
    rate = problem.periods.set_index("period")["max_added_units"]
    return [
        _requirement("count is earlier and added", (by_unit["added"] - new).abs(), 0.0),
        _requirement("units stay", -new, 0.0),
        _requirement(
            "lead time",
            by_unit.loc[early, "count"],
            by_unit.loc[early, "existing_units"],
        ),
        _requirement("installation rate", by_period, rate.reindex(by_period.index)),
    ]


def _unit_checks(problem: SitingProblem, units: pd.DataFrame) -> list[pd.DataFrame]:
    by_option = units.set_index(_UNIT)
    sites = problem.sites.set_index("site_id")
    share = units["draw_kw"] / units["own_limit_kw"]
    share = share.where(units["draw_kw"] > 0.0, 0.0).fillna(0.0)
    connection = units["port_id"].where(units["port_id"] != "", units["site_id"])
    units = units.assign(area_m2=units["count"] * units["footprint_m2"])
    members = problem.groups[["group_id", "site_id"]].merge(units, on="site_id")
    groups = problem.groups.drop_duplicates("group_id").set_index("group_id")
    power = _sum(units, "draw_kw", ["site_id"], sites.index)
    roof = _sum(units, "area_m2", ["site_id"], sites.index)
    area = sites.get("roof_area_m2", pd.Series(math.inf, index=sites.index))
    count = _sum(members, "count", ["group_id"], groups.index)
    draw = _sum(members, "draw_kw", ["group_id"], groups.index)
    return [
        _requirement("max units", by_option["count"], by_option["max_units"]),
        _requirement(
            "own limit", share.groupby([connection, units["period"]]).sum(), 1.0
        ),
        _requirement("site power", power, _limit(sites["max_power_kw"], power)),
        _requirement("roof", roof, _limit(area, roof)),
        _requirement("group units", count, _limit(groups["max_units"], count)),
        _requirement("group power", draw, _limit(groups["max_kw"], draw)),
    ]


def _upgrade_checks(problem: SitingProblem, built: pd.DataFrame) -> list[pd.DataFrame]:
    """Check that upgrades exist, come in time, and exclude each other."""
    known = problem.upgrades.set_index("upgrade_id")
    facts = {
        "upgrades are known": (~built["upgrade_id"].isin(known.index)).sum(),
        "an upgrade is built once": built.duplicated("upgrade_id").sum(),
    }
    built = built[built["upgrade_id"].isin(known.index)]
    lead = known["lead_periods"] * int(len(problem.periods) > 1)
    at = built.set_index("upgrade_id")["period"].astype(float)
    names = set(built["upgrade_id"])
    both = {
        f"{name} and {other}": 2.0
        for name in sorted(names)
        for other in str(known.loc[name, "excludes"]).split(",")
        if other.strip() in names
    }
    return [
        _requirement("table", pd.Series(facts, dtype=float), 0.0),
        _requirement("lead time of an upgrade", -at, -lead.reindex(at.index)),
        _requirement("one of both upgrades", pd.Series(both, dtype=float), 1.0),
    ]


def _grid_checks(
    problem: SitingProblem, units: pd.DataFrame, built: pd.DataFrame
) -> list[pd.DataFrame]:
    draw = units.groupby(["port_id", "period"])["draw_kw"].sum()
    rows = problem.rows.set_index("row_id")
    terms = problem.row_coefficients
    when = terms["row_id"].map(rows["period"])
    at = pd.MultiIndex.from_arrays([terms["port_id"], when])
    taken = terms["coefficient"] * draw.reindex(at).fillna(0.0).to_numpy()
    used = taken.groupby(terms["row_id"]).sum().reindex(rows.index).fillna(0.0)
    largest = taken.abs().groupby(terms["row_id"]).max().reindex(rows.index)
    effects = problem.upgrade_effects.merge(built, on="upgrade_id")
    when = effects["row_id"].map(rows["period"])
    effects = effects[effects["period"] <= when]
    more = effects.groupby("row_id")["added_headroom"].sum()
    limit = rows["headroom"].add(more, fill_value=0.0).reindex(rows.index)
    scale = limit.where(limit > 0.0, largest.fillna(0.0))
    return [_requirement("grid row", used, limit, scale=scale)]


def _service_checks(
    problem: SitingProblem, units: pd.DataFrame, assignment: pd.DataFrame
) -> list[pd.DataFrame]:
    key = ["zone_id", "workload", "period"]
    need = problem.demand.set_index(key)["demand_it_kw"]
    served = assignment.groupby(key)["it_kw"].sum().reindex(need.index).fillna(0.0)
    workloads = problem.workloads.set_index("workload")
    hard = workloads["unserved_cost"].isna()
    is_hard = hard.reindex(need.index.get_level_values("workload")).to_numpy()
    at = ["site_id", "period"]
    capacity = units.groupby(at)["it_total"].sum()
    load = assignment.groupby(at)["it_kw"].sum()
    by = ["workload", "period"]
    target = assignment["workload"].map(workloads["rtt_target_ms"])
    within = assignment.assign(
        within=assignment["it_kw"].where(assignment["rtt_ms"] <= target, 0.0)
    )
    totals = within.groupby(by)[["within", "it_kw"]].sum()
    share = workloads["min_share_within_target"]
    least = _limit(share, totals["it_kw"]) * totals["it_kw"]
    limit = assignment["workload"].map(workloads["rtt_limit_ms"])
    late = assignment[assignment["rtt_ms"] > limit].groupby("site_id").size()
    return [
        _requirement("demand", -served[is_hard], -need[is_hard]),
        _requirement("no more than demand", served, need),
        _requirement(
            "compute capacity", load, capacity.reindex(load.index).fillna(0.0)
        ),
        _requirement(
            "share within target", -totals["within"], -least, scale=totals["it_kw"]
        ),
        _requirement("latency limit", late.astype(float), 0.0),
    ]


def _local_checks(
    problem: SitingProblem, assignment: pd.DataFrame
) -> list[pd.DataFrame]:
    """Check that enough of each zone's demand is served within its own area."""
    share = problem.workloads.set_index("workload").get("min_local_share")
    if share is None or not (share > 0.0).any():
        return []
    key = ["zone_id", "workload", "period"]
    area = problem.sites.set_index("site_id")["area"]
    table = assignment.merge(problem.demand[[*key, "area"]], on=key)
    own = table["site_id"].map(area) == table["area"]
    table["own"] = table["it_kw"].where(own, 0.0)
    sums = table.groupby(key)[["own", "it_kw"]].sum()
    workload = sums.index.get_level_values("workload")
    least = share.loc[workload].to_numpy() * sums["it_kw"]
    return [_requirement("local share", -sums["own"], -least, scale=sums["it_kw"])]


def _source_checks(
    problem: SitingProblem, assignment: pd.DataFrame
) -> list[pd.DataFrame]:
    """Check that demand that may not be shared is served by one site, or none."""
    workloads = problem.workloads
    if "single_source" not in workloads or not workloads["single_source"].any():
        return []
    names = workloads.loc[workloads["single_source"], "workload"]
    key = ["zone_id", "workload", "period"]
    mine = problem.demand["workload"].isin(names) & problem.demand["demand_it_kw"].gt(0)
    need = problem.demand[mine].set_index(key)["demand_it_kw"]
    flows = assignment.merge(need.reset_index(), on=key)
    part = flows["it_kw"] > TOLERANCE * flows["demand_it_kw"]
    sites = flows[part].groupby(key)["site_id"].nunique()
    served = flows[part].groupby(key)["it_kw"].sum()
    return [
        _requirement("single source", sites.astype(float), 1.0),
        _requirement("served whole", -served, -need.reindex(served.index)),
    ]


def _loss_checks(
    problem: SitingProblem, units: pd.DataFrame, assignment: pd.DataFrame
) -> list[pd.DataFrame]:
    """Check that redundant workloads survive the loss of any site or group."""
    redundancy = problem.workloads.set_index("workload")["redundancy"]
    if not (redundancy > 0).any():
        return []
    capacity = units.groupby(["period", "site_id"])["it_total"].sum()
    parts = []
    inside = problem.groups.groupby("group_id")["site_id"].agg(list).to_dict()
    one = {}
    if "one_site" in problem.groups:
        names = problem.groups.loc[problem.groups["one_site"], "group_id"]
        one = {name: inside[name] for name in names}
    for most, name, sets in (
        (1, "site", {s: [s] for s in problem.sites["site_id"]} | one),
        (2, "group", inside),
    ):
        names = redundancy.index[redundancy >= most]
        flows = assignment[assignment["workload"].isin(names)]
        for period in problem.periods["period"]:
            own = capacity.loc[[period]].droplevel("period")
            now = flows[flows["period"] == period]
            arcs = problem.arcs[problem.arcs["period"] == period]
            lost = lost_service(now, arcs, own, sets, tolerance=0.1 * TOLERANCE)
            lost.index = pd.MultiIndex.from_arrays([lost.index, [period] * len(lost)])
            scale = float(now["it_kw"].sum())
            parts.append(
                _requirement(f"survives the loss of a {name}", lost, 0.0, scale=scale)
            )
    return parts


def _budget_check(
    problem: SitingProblem, plan: pd.DataFrame, built: pd.DataFrame
) -> list[pd.DataFrame]:
    if problem.budget is None:
        return []
    value = pd.Series({"capital": capital_spent(problem, plan, built)})
    scale = max(problem.budget, 1.0)
    return [_requirement("budget", value, problem.budget, scale=scale)]
