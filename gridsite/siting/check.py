"""
The check of a plan against the problem, without model or solver.

It shares no code with ``reduce`` or ``formulation``: every requirement is
computed again from the problem's own tables.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from gridsite.siting.problem import SitingProblem

#: Relative excess that counts as a violation [-].
TOLERANCE = 1e-6

_OPTION = ["site_id", "unit", "port_id"]
_COLUMNS = ["requirement", "where", "value", "limit", "excess"]


def check_plan(
    problem: SitingProblem, plan: pd.DataFrame, assignment: pd.DataFrame
) -> pd.DataFrame:
    """
    Return every requirement that a plan and its assignment violate.

    Parameters
    ----------
    problem : SitingProblem
        The problem.
    plan : pandas.DataFrame
        Table ``plan``: units by site option.
    assignment : pandas.DataFrame
        Table ``assignment``: IT power by zone, workload and site. [kW]

    Returns
    -------
    pandas.DataFrame
        ``requirement, where, value, limit, excess``; empty when all hold.
        A value violates when it is above its limit by more than 1e-6 of it.

    Notes
    -----
    Requirements that are lower limits stand with the sign turned. Not a
    number violates.
    """
    units = _options(problem).merge(
        plan[[*_OPTION, "added", "count"]], on=_OPTION, how="left"
    )
    units[["count", "added"]] = units[["count", "added"]].fillna(0)
    units["draw_kw"] = units["count"] * units["rated_kw"]
    checks = [
        *_table_checks(problem, plan, assignment),
        *_unit_checks(problem, units),
        *_grid_checks(problem, units),
        *_service_checks(problem, units, assignment),
        _budget_check(problem, units),
    ]
    tables = [table for table in checks if len(table)]
    if not tables:
        return pd.DataFrame(columns=_COLUMNS)
    found = pd.concat(tables, ignore_index=True)
    found["excess"] = found["value"] - found["limit"]
    holds = found["excess"] <= TOLERANCE * found["scale"]
    return found.loc[~holds, _COLUMNS].reset_index(drop=True)


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


def _options(problem: SitingProblem) -> pd.DataFrame:
    limits = ["max_units", "existing_units", "own_limit_kw", "unit_capital"]
    units = problem.units[["unit", "rated_kw", "it_kw", "footprint_m2"]]
    return problem.site_options[[*_OPTION, *limits]].merge(units, on="unit")


def _name(key: object) -> str:
    return " / ".join(map(str, key)) if isinstance(key, tuple) else str(key)


def _table_checks(
    problem: SitingProblem, plan: pd.DataFrame, assignment: pd.DataFrame
) -> list[pd.DataFrame]:
    """Check keys, whole numbers, signs and the columns that follow from counts."""
    arc = ["zone_id", "workload", "site_id"]
    arcs = problem.arcs[problem.arcs["site_id"].isin(assignment["site_id"])]
    columns = [*_OPTION, "added", "count", "rated_kw", "it_kw"]
    known = plan[columns].merge(_options(problem), on=_OPTION, suffixes=("_plan", ""))
    known = known.set_index(_OPTION)
    count, added = known["count"], known["added"]
    flows = assignment.set_index(arc)["it_kw"]
    facts = {
        "units stand at known options": len(plan) - len(known),
        "an option stands once in the plan": plan.duplicated(_OPTION).sum(),
        "flows use arcs that exist": len(flows) - len(assignment.merge(arcs, on=arc)),
        "an arc stands once in the assignment": assignment.duplicated(arc).sum(),
    }
    by_fact = pd.Series(facts, dtype=float)
    return [
        _requirement("table", by_fact, 0.0),
        _requirement("whole count", (count - count.round()).abs(), 0.0),
        _requirement(
            "count is existing and added",
            (count - added - known["existing_units"]).abs(),
            0.0,
        ),
        _requirement("existing units stay", -added, 0.0),
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
    ]


def _unit_checks(problem: SitingProblem, units: pd.DataFrame) -> list[pd.DataFrame]:
    by_option = units.set_index(_OPTION)
    sites = problem.sites.set_index("site_id")
    share = units["draw_kw"] / units["own_limit_kw"]
    share = share.where(units["draw_kw"] > 0.0, 0.0).fillna(0.0)
    connection = units["port_id"].where(units["port_id"] != "", units["site_id"])
    members = problem.groups.merge(units, on="site_id", suffixes=("", "_option"))
    groups = problem.groups.drop_duplicates("group_id").set_index("group_id")
    missing = by_option["existing_units"] - by_option["count"]
    return [
        _requirement("max units", by_option["count"], by_option["max_units"]),
        _requirement("existing units", missing, 0.0),
        _requirement("own limit", share.groupby(connection).sum(), 1.0),
        _requirement(
            "site power",
            units.groupby("site_id")["draw_kw"].sum().reindex(sites.index).fillna(0.0),
            sites["max_power_kw"],
        ),
        _requirement(
            "roof",
            (units["count"] * units["footprint_m2"])
            .groupby(units["site_id"])
            .sum()
            .reindex(sites.index)
            .fillna(0.0),
            sites.get("roof_area_m2", math.inf),
        ),
        _requirement(
            "group units",
            members.groupby("group_id")["count"].sum().reindex(groups.index).fillna(0),
            groups["max_units"],
        ),
        _requirement(
            "group power",
            members.groupby("group_id")["draw_kw"]
            .sum()
            .reindex(groups.index)
            .fillna(0),
            groups["max_kw"],
        ),
    ]


def _grid_checks(problem: SitingProblem, units: pd.DataFrame) -> list[pd.DataFrame]:
    draw = units.groupby("port_id")["draw_kw"].sum()
    terms = problem.row_coefficients
    taken = terms["coefficient"] * terms["port_id"].map(draw)
    rows = problem.rows.set_index("row_id")["headroom"]
    used = taken.groupby(terms["row_id"]).sum().reindex(rows.index).fillna(0.0)
    largest = taken.abs().groupby(terms["row_id"]).max().reindex(rows.index)
    scale = rows.where(rows > 0.0, largest.fillna(0.0))
    return [_requirement("grid row", used, rows, scale=scale)]


def _service_checks(
    problem: SitingProblem, units: pd.DataFrame, assignment: pd.DataFrame
) -> list[pd.DataFrame]:
    need = problem.demand.set_index(["zone_id", "workload"])["demand_it_kw"]
    flow = assignment.groupby(["zone_id", "workload"])["it_kw"].sum()
    served = flow.reindex(need.index).fillna(0.0)
    workloads = problem.workloads.set_index("workload")
    hard = workloads["unserved_cost"].isna()
    is_hard = hard.reindex(need.index.get_level_values("workload")).to_numpy()
    capacity = (units["count"] * units["it_kw"]).groupby(units["site_id"]).sum()
    load = assignment.groupby("site_id")["it_kw"].sum()
    target = assignment["workload"].map(workloads["rtt_target_ms"])
    within = assignment["it_kw"].where(assignment["rtt_ms"] <= target, 0.0)
    by_workload = assignment.groupby("workload")["it_kw"].sum()
    least = workloads["min_share_within_target"] * by_workload
    limit = assignment["workload"].map(workloads["rtt_limit_ms"])
    late = assignment[assignment["rtt_ms"] > limit].groupby("site_id").size()
    return [
        _requirement("demand", -served[is_hard], -need[is_hard]),
        _requirement("no more than demand", served, need),
        _requirement(
            "compute capacity", load, capacity.reindex(load.index).fillna(0.0)
        ),
        _requirement(
            "share within target",
            -within.groupby(assignment["workload"]).sum(),
            -least.dropna(),
            scale=by_workload,
        ),
        _requirement("latency limit", late.astype(float), 0.0),
    ]


def _budget_check(problem: SitingProblem, units: pd.DataFrame) -> pd.DataFrame:
    if problem.budget is None:
        return pd.DataFrame(columns=_COLUMNS)
    capital = float((units["unit_capital"] * units["added"]).sum())
    there = units.groupby("site_id")[["count", "existing_units"]].sum()
    opened = there.index[(there["count"] > 0) & (there["existing_units"] == 0)]
    sites = problem.sites.set_index("site_id")["fixed_capital"]
    capital += float(sites[opened].sum())
    groups = problem.groups.merge(there, left_on="site_id", right_index=True)
    groups = groups.groupby("group_id").agg(
        count=("count", "sum"),
        existing=("existing_units", "sum"),
        cost=("onboarding_cost", "first"),
    )
    new = (groups["count"] > 0) & (groups["existing"] == 0)
    capital += float(groups.loc[new, "cost"].sum())
    value = pd.Series({"capital": capital})
    return _requirement("budget", value, problem.budget, scale=max(problem.budget, 1.0))
