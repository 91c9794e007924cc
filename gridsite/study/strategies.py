"""Plans side by side: cost, time, latency, energy, carbon and water."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gridsite.report.display import last_period
from gridsite.siting import SitingProblem, allow_unserved, restrict_sites
from gridsite.units import HOURS_PER_YEAR

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gridsite.config import StudyConfig
    from gridsite.siting import Plan
    from gridsite.study.siting_inputs import SitingInputs

#: Unserved demand costs this many times a full unit's cost of serving it.
_UNSERVED_FACTOR = 3.0

#: Cost terms of capital in chips and servers, apart from all other capital.
_IT_TERMS = ("it_hardware_capital",)


def timeline(inputs: SitingInputs, plan: Plan) -> pd.DataFrame:
    """
    Return what stands and what is served in each period.

    Parameters
    ----------
    inputs : SitingInputs
        Tables of the siting problem.
    plan : Plan
        The plan.

    Returns
    -------
    pandas.DataFrame
        ``period, start_months, units, building_it_kw, central_it_kw,
        demand_it_kw, served_it_kw, served_by_buildings_it_kw``. [kW]
    """
    table = inputs.periods[["period", "start_months"]].set_index("period")
    units, flow = plan.plan, plan.assignment
    at_buildings = units["port_id"] != ""
    buildings = set(inputs.sites.loc[inputs.sites["kind"] == "building", "site_id"])
    by_building = flow[flow["site_id"].isin(buildings)]
    columns = {
        "units": units[at_buildings].groupby("period")["count"].sum(),
        "building_it_kw": units[at_buildings].groupby("period")["it_kw"].sum(),
        "central_it_kw": units[~at_buildings].groupby("period")["it_kw"].sum(),
        "demand_it_kw": inputs.demand.groupby("period")["demand_it_kw"].sum(),
        "served_it_kw": flow.groupby("period")["it_kw"].sum(),
        "served_by_buildings_it_kw": by_building.groupby("period")["it_kw"].sum(),
    }
    for name, values in columns.items():
        table[name] = values.reindex(table.index).fillna(0.0)
    return table.astype({"units": int}).reset_index()


def comparison(
    inputs: SitingInputs, plans: Mapping[str, tuple[Plan, float, float]]
) -> pd.DataFrame:
    """
    Return strategies side by side.

    Parameters
    ----------
    inputs : SitingInputs
        Tables of the siting problem.
    plans : mapping of str to (Plan, float, float)
        By strategy: the plan, the peak loading of any element [%], and the
        losses it adds in a year [MWh].

    Returns
    -------
    pandas.DataFrame
        Contract ``comparison``. Costs are net present costs of what is
        served; ``comparable`` is False where a strategy serves another
        share of the demand than the hybrid.
    """
    rows = [
        _compared(inputs, name, *plans[name])
        for name in ("distributed", "central", "hybrid")
        if name in plans
    ]
    table = pd.DataFrame(rows)
    share = table.set_index("strategy")["served_share"]
    own = share.get("hybrid", share.max())
    table["comparable"] = (table["served_share"] - own).abs() < 1e-6
    return table


def _compared(
    inputs: SitingInputs, name: str, plan: Plan, peak_percent: float, losses_mwh: float
) -> dict[str, Any]:
    costs = plan.costs.drop("unserved_present", errors="ignore")
    costs = costs.drop([c for c in costs.index if c.startswith("unserved")])
    # the network of a site is paid by the year, though it is a term per site
    costs = costs.rename({"site_network_capital": "site_network_present"})
    it = costs.index.isin(_IT_TERMS)
    capital = costs.index.str.endswith("_capital")
    energy = _energy(inputs, plan)
    last = last_period(plan.plan)
    return {
        "strategy": name,
        "status": plan.status,
        "objective": float(costs.sum()),
        "gap": plan.gap,
        "served_share": float(
            min(
                1.0,
                plan.assignment["it_kw"].sum() / inputs.demand["demand_it_kw"].sum(),
            )
        ),
        "it_hardware_present": float(costs[it].sum()),
        "infrastructure_present": float(costs[capital & ~it].sum()),
        **_running(costs[~capital]),
        **_rtt(plan.assignment, inputs.config),
        "units": int(last.loc[last["port_id"] != "", "count"].sum()),
        **months_of(inputs, plan),
        "losses_mwh_per_year": losses_mwh,
        "peak_loading_percent": float(peak_percent),
        **energy,
    }


def months_of(inputs: SitingInputs, plan: Plan) -> dict[str, float]:
    """
    Return when the first and the last of what a plan builds stands.

    Parameters
    ----------
    inputs : SitingInputs
        Tables of the siting problem.
    plan : Plan
        The plan.

    Returns
    -------
    dict of str to float
        ``months_to_first, months_to_full``: lead times, or starts of periods.
        [months]
    """
    new = plan.plan[plan.plan["added"] > 0]
    if new.empty:
        return {"months_to_first": 0.0, "months_to_full": 0.0}
    lead = inputs.units.set_index("unit")["lead_months"]
    months = lead.reindex(new["unit"]).to_numpy()
    if len(inputs.periods) > 1:
        start = inputs.periods.set_index("period")["start_months"]
        months = start.reindex(new["period"]).to_numpy()
    return {
        "months_to_first": float(months.min()),
        "months_to_full": float(months.max()),
    }


def _energy(inputs: SitingInputs, plan: Plan) -> dict[str, float]:
    """Return a year's energy, carbon and water of a plan, once built out."""
    economics = inputs.config.economics
    idle, busy = economics.idle_share, economics.utilisation
    sites = inputs.sites.set_index("site_id")
    at = last_period(plan.plan).merge(inputs.units[["unit", "pue"]], on="unit")
    at = at.sort_values(["site_id", "pue"])  # the least PUE computes first
    served = last_period(plan.assignment).groupby("site_id")["it_kw"].sum()
    before = at.groupby("site_id")["it_kw"].cumsum() - at["it_kw"]
    runs = np.clip(at["site_id"].map(served).fillna(0.0) - before, 0.0, at["it_kw"])
    kw = (at["it_kw"] * idle + runs * (1.0 - idle) * busy) * at["pue"]
    mwh = kw.groupby(at["site_id"]).sum() * HOURS_PER_YEAR / 1e3
    cleaner = inputs.config.periods.carbon_factor or [1.0]
    by_site = sites.reindex(mwh.index)
    return {
        "energy_mwh_per_year": float(mwh.sum()),
        "carbon_t_per_year": cleaner[-1]
        * float((mwh * by_site["carbon_g_per_kwh"]).sum() / 1e3),
        "water_m3_per_year": float((mwh * by_site["water_l_per_kwh"]).sum()),
    }


def compare_strategies(problem: SitingProblem) -> dict[str, SitingProblem]:
    """
    Return the same problem with buildings alone and with central sites alone.

    Demand that no site of a strategy can reach is left out of it; the shares
    served say so.

    Parameters
    ----------
    problem : SitingProblem
        The hybrid problem.

    Returns
    -------
    dict of str to SitingProblem
        By strategy; one without any demand that it could serve is left out.
    """
    found = {}
    for name, kind in (("distributed", "building"), ("central", "central")):
        if not (problem.sites["kind"] == kind).any():
            continue
        alone = restrict_sites(problem, [kind])
        key = ["zone_id", "workload", "period"]
        reached = pd.MultiIndex.from_frame(alone.arcs[key].drop_duplicates())
        demand = alone.demand
        demand = demand[pd.MultiIndex.from_frame(demand[key]).isin(reached)]
        if len(demand):
            found[name] = replace(alone, demand=demand)
    return found


def priced_unserved(problem: SitingProblem) -> SitingProblem:
    """
    Return a problem in which demand may stay unserved at a high price.

    Parameters
    ----------
    problem : SitingProblem
        The problem.

    Returns
    -------
    SitingProblem
        Unserved demand costs three times what a full unit costs for it, so
        that only demand that would leave a unit mostly idle is given up.
    """
    unit_it = problem.site_options["unit"].map(problem.units.set_index("unit")["it_kw"])
    run = problem.present_value_factor * problem.site_options["unit_per_year"]
    fixed = problem.site_options["site_id"].map(
        problem.sites.set_index("site_id")["fixed_capital"]
    )
    dearest = ((problem.site_options["unit_capital"] + run + fixed) / unit_it).max()
    price = _UNSERVED_FACTOR * float(dearest + problem.arcs["cost_per_it_kw"].max())
    return allow_unserved(problem, price)


def _running(costs: pd.Series[float]) -> dict[str, float]:
    """Return running cost terms, named by what they pay for."""
    out: dict[str, float] = {}
    for term, value in costs.items():
        name = str(term).removesuffix("_per_year").removesuffix("_present")
        name = name.removeprefix("idle_").removeprefix("site_")
        out[f"{name}_present"] = out.get(f"{name}_present", 0.0) + float(value)
    return out


def _rtt(assignment: pd.DataFrame, config: StudyConfig) -> dict[str, float]:
    """Return percentiles of round-trip time over the users of each workload."""
    per_user = {w.workload: w.it_kw_per_user for w in config.workloads}
    out: dict[str, float] = {}
    users = assignment["it_kw"] / assignment["workload"].map(per_user)
    for q, name in ((0.5, "rtt_p50_ms"), (0.95, "rtt_p95_ms")):
        out[name] = _weighted_quantile(assignment["rtt_ms"], users, q)
    return out


def _weighted_quantile(
    values: pd.Series[float], weights: pd.Series[float], q: float
) -> float:
    order = values.sort_values().index
    total = weights.loc[order].cumsum()
    if not len(total) or not total.iloc[-1] > 0.0:
        return float("nan")
    at = int(np.searchsorted(total.to_numpy(), q * total.iloc[-1]))
    return float(values.loc[order[at]])
