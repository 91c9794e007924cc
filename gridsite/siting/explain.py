"""Why no plan exists, in planner's words, computed and never guessed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.errors import InfeasibleError, SolveError
from gridsite.siting.check import TOLERANCE, check_plan
from gridsite.siting.conflict_words import at_time
from gridsite.siting.formulation import build_elastic_model
from gridsite.siting.matrix import compile_model
from gridsite.siting.problem import empty_table

if TYPE_CHECKING:
    from gridsite.siting.highs import HighsWorker
    from gridsite.siting.problem import SitingProblem
    from gridsite.siting.reduce import ReducedProblem

#: How many names of one kind a message lists.
_NAMED = 3


def refuse_unreachable(problem: SitingProblem) -> None:
    """
    Raise if hard demand has no site within its latency limit.

    Parameters
    ----------
    problem : SitingProblem
        The problem.

    Raises
    ------
    InfeasibleError
        Naming the zones, their workload and its limit.
    """
    key = ["zone_id", "workload"]
    hard = problem.workloads[problem.workloads["unserved_cost"].isna()]
    need = problem.demand[problem.demand["demand_it_kw"] > 0.0]
    need = need.merge(hard[["workload", "rtt_limit_ms"]], on="workload")
    reached = problem.arcs[key].drop_duplicates()
    alone = need.merge(reached, on=key, how="left", indicator=True)
    alone = alone[alone["_merge"] == "left_only"].sort_values(["workload", "zone_id"])
    if alone.empty:
        return
    parts = [
        f"{_list(zones['zone_id'])} for {workload!r} ({limit:g} ms)"
        for (workload, limit), zones in alone.groupby(["workload", "rtt_limit_ms"])
    ]
    msg = (
        f"no site within the latency limit of zone(s) {'; '.join(parts)}: add sites, "
        "raise rtt_limit_ms, or set an unserved_cost"
    )
    raise InfeasibleError(msg, alone.drop(columns="_merge"))


def refuse_existing(problem: SitingProblem) -> None:
    """
    Raise if existing units are more than their own place can take.

    Parameters
    ----------
    problem : SitingProblem
        The problem.

    Raises
    ------
    InfeasibleError
        Naming the first limit. Grid rows are left to the solver, since new
        units may relieve them.
    """
    broken = _existing_breaks(problem)
    broken = broken[broken["requirement"] != "grid row"]
    if len(broken):
        raise _existing_error(broken)


def _existing_breaks(problem: SitingProblem) -> pd.DataFrame:
    """Return the limits that existing units alone break."""
    options = problem.site_options[problem.site_options["existing_units"] > 0]
    if options.empty:
        return pd.DataFrame(columns=["requirement"])
    options = options.merge(problem.periods[["period"]], how="cross")
    kw = problem.units.set_index("unit")[["rated_kw", "it_kw"]]
    count = options["existing_units"].to_numpy()
    plan = options[["site_id", "unit", "port_id", "period"]]
    plan = plan.assign(count=count, added=0)
    plan[["rated_kw", "it_kw"]] = kw.loc[plan["unit"]].to_numpy() * count[:, None]
    broken = check_plan(problem, plan, empty_table("assignment"))
    return broken[broken["requirement"] != "demand"].reset_index(drop=True)


def _existing_error(broken: pd.DataFrame) -> InfeasibleError:
    first = broken.iloc[0]
    msg = (
        f"existing units alone break {first['requirement']} of {first['where']}: "
        f"{first['value']:.6g} is above {first['limit']:.6g}; correct existing_units "
        "or the limit"
    )
    return InfeasibleError(msg, broken)


def explain_infeasible(
    problem: SitingProblem,
    reduced: ReducedProblem,
    worker: HighsWorker,
    *,
    time_limit_s: float,
) -> SolveError:
    """
    Return the error that tells why no plan meets every requirement.

    Existing units are checked first; then as much hard demand as possible is
    served, and what stops one more unit from serving the rest is named.

    Parameters
    ----------
    problem : SitingProblem
        A problem that the solver calls infeasible.
    reduced : ReducedProblem
        Its reduction.
    worker : HighsWorker
        Solves the elastic model.
    time_limit_s : float
        Time for that. [s]

    Returns
    -------
    SolveError
        An InfeasibleError, or a SolveError where the elastic model shows that
        a plan exists after all.
    """
    broken = _existing_breaks(problem)
    if len(broken):
        return _existing_error(broken)
    model = build_elastic_model(reduced)
    matrix = compile_model(model, reduced)
    answer = worker.run(matrix, gap=1e-3, time_limit_s=time_limit_s)
    if answer.solution is None:
        return InfeasibleError(
            "no plan meets every requirement; what is missing was not found within "
            f"{time_limit_s:g} s"
        )
    hard = reduced.demands["unserved_cost"].isna().to_numpy()
    missing = np.where(hard, matrix.values("unserved", answer.solution), 0.0)
    if missing.sum() <= TOLERANCE * reduced.demands["demand_it_kw"].sum():
        return SolveError("HiGHS calls the problem infeasible but also serves it all")
    counts = np.round(matrix.values("units", answer.solution)).astype(int)
    flows = matrix.values("flow", answer.solution)
    counts = _without_surplus(reduced, counts, flows)
    return _describe(problem, reduced, counts, missing)


def _describe(
    problem: SitingProblem,
    reduced: ReducedProblem,
    counts: np.ndarray,
    missing: np.ndarray,
) -> InfeasibleError:
    """Say how much cannot be served and what is full."""
    table = reduced.demands.assign(missing_it_kw=missing)
    table = table[table["missing_it_kw"] > TOLERANCE * table["demand_it_kw"]]
    by_workload = table.groupby("workload")["missing_it_kw"].sum()
    need = reduced.demands.groupby("workload")["demand_it_kw"].sum()
    lost = [
        f"{kw:.4g} of {need[workload]:.4g} kW of {workload!r}"
        for workload, kw in zip(by_workload.index, by_workload, strict=True)
    ]
    full = _what_is_full(problem, reduced, counts, missing > 0.0)
    msg = (
        f"no plan serves {', '.join(lost)} (IT power): {'; '.join(full)}. Add sites "
        "or units, relieve what is full, or set an unserved_cost"
    )
    columns = ["zone_id", "workload", "demand_it_kw", "missing_it_kw"]
    return InfeasibleError(msg, table[columns].reset_index(drop=True))


def _without_surplus(
    reduced: ReducedProblem, counts: np.ndarray, flows: np.ndarray
) -> np.ndarray:
    """Return the units without those that nothing flows to."""
    options = reduced.options
    it_kw = options["it_kw"].to_numpy()
    spare = np.zeros(len(reduced.sites) + 1)
    np.add.at(spare, options["pool"], counts * it_kw)
    np.subtract.at(spare, reduced.flows["pool"], flows)
    trimmed = counts.copy()
    relieving = np.asarray((reduced.row_terms < 0.0).sum(axis=0)).ravel() > 0
    for m in np.flatnonzero((counts > options["lower"]) & ~relieving):
        pool = options["pool"].iloc[m]
        most = counts[m] - options["lower"].iloc[m]
        drop = min(most, int((spare[pool] + TOLERANCE) // it_kw[m]))
        trimmed[m] -= drop
        spare[pool] -= drop * it_kw[m]
    return trimmed


def _what_is_full(
    problem: SitingProblem,
    reduced: ReducedProblem,
    counts: np.ndarray,
    missing: np.ndarray,
) -> list[str]:
    """Name what stops one more unit at any site that reaches missing demand."""
    options = reduced.options
    pools = reduced.flows.loc[missing[reduced.flows["demand"]], "pool"]
    candidates = np.flatnonzero(options["pool"].isin(pools))
    if not len(candidates):
        yet = ", or can stand yet," if len(problem.periods) > 1 else ""
        return [f"no unit fits{yet} at any site that reaches it"]
    stops: Counter[str] = Counter()
    packings = _packings(reduced, counts)
    matrix = reduced.row_terms.tocsc()
    room = reduced.rows["limit"].to_numpy() - reduced.row_terms @ counts + TOLERANCE
    rows = problem.rows.set_index("row_id").loc[reduced.rows["row_id"]]
    for m in candidates:
        part = slice(matrix.indptr[m], matrix.indptr[m + 1])
        full = matrix.indices[part][matrix.data[part] > room[matrix.indices[part]]]
        words = {
            f"row {row.criterion} {row.element}{at_time(row.time)} is full"
            for row in rows.iloc[full].itertuples()
        }
        words |= {name for name, needs, left in packings if needs[m] > left[m]}
        stops.update(words or {_combined(reduced)})
    ordered = sorted(stops.items(), key=lambda item: (-item[1], item[0]))
    more = len(ordered) - 2 * _NAMED
    named = [f"{what} ({n} options)" for what, n in ordered[: 2 * _NAMED]]
    return named + ([f"and {more} more limits"] if more > 0 else [])


def _combined(reduced: ReducedProblem) -> str:
    """Return what is said where one more unit would fit everywhere."""
    demands = reduced.demands
    kept = {
        "shares within the latency target": len(reduced.shares),
        "local shares": (demands["local_share"] > 0.0).any(),
        "each demand from one site": demands["single_source"].any(),
        "the loss of any one site or group survived": len(reduced.losses),
        "the installation rate": len(reduced.pace),
    }
    asked = [what for what, given in kept.items() if given]
    return f"units fit, but not with {', '.join(asked) or 'all the rest'} kept"


def _packings(
    reduced: ReducedProblem, counts: np.ndarray
) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Return what one more unit of each option needs and what is left of it."""
    options = reduced.options
    one = np.ones(len(options))
    rated = options["rated_kw"].to_numpy()
    share = (rated / options["own_limit_kw"]).fillna(0.0).to_numpy()
    draw = pd.Series(counts * rated).groupby(options["site"]).transform("sum")
    power = reduced.sites["max_power_kw"].to_numpy()[options["site"]]
    taken = pd.Series(counts * share).groupby(options["limit"]).transform("sum")
    slack = 1.0 + TOLERANCE
    found = [
        ("no more units fit at the sites", one, (options["upper"] - counts).to_numpy()),
        ("the own limits of connections are full", share, (slack - taken).to_numpy()),
        (
            "the power of sites is used up",
            rated,
            np.where(np.isnan(power), np.inf, power * slack - draw),
        ),
    ]
    for g, group in reduced.groups.iterrows():
        inside = reduced.members.loc[reduced.members["group"] == g, "option"].to_numpy()
        for name, weight in (("max_units", one), ("max_kw", rated)):
            if not np.isnan(group[name]):
                left = group[name] * slack - (counts * weight)[inside].sum()
                need = np.zeros(len(options))
                need[inside] = weight[inside]
                words = f"group {group['group_id']} is full ({name} {group[name]:g})"
                found.append((words, need, np.full(len(options), left)))
    if reduced.budget is not None:
        found.append(("the budget is spent", *_budget_needs(reduced, counts)))
    return found


def _budget_needs(
    reduced: ReducedProblem, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the capital that one more unit needs, and what is left of it."""
    options, sites = reduced.options, reduced.sites
    used = np.zeros(len(sites), dtype=bool)
    used[options["site"][counts > 0]] = True
    fixed = sites["fixed_capital"].where(sites["priced"], 0.0).to_numpy()
    inside = reduced.members["option"][counts[reduced.members["option"]] > 0]
    groups = reduced.members.loc[inside.index, "group"].unique()
    onboarding = reduced.groups["onboarding_cost"].where(reduced.groups["priced"], 0.0)
    spent = float((options["capital"] * counts).sum()) + reduced.constant
    spent += float(fixed[used].sum()) + float(onboarding.loc[groups].sum())
    first = np.where(used[options["site"]], 0.0, fixed[options["site"]])
    left = (reduced.budget or 0.0) * (1.0 + TOLERANCE) - spent
    return options["capital"].to_numpy() + first, np.full(len(options), left)


def _list(names: pd.Series[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(repr(name) for name in names[:_NAMED]) + more
