"""From plans, replays and rated buildings of a study to the tables of its run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from gridsite.places.people import NEAR_NOTE
from gridsite.report import Results
from gridsite.report.display import last_period
from gridsite.results import (
    assumptions,
    element_table,
    profile_summary,
    replay_summary,
    versions,
)
from gridsite.schemas import SCHEMA_VERSION
from gridsite.study import strategies
from gridsite.study.loads import given_power_factor
from gridsite.study.reasons import building_reasons

if TYPE_CHECKING:
    from pathlib import Path

    from gridsite.config import StudyConfig
    from gridsite.hosting.ac_replay import LoadReplay
    from gridsite.hosting.grid_case import GridCase
    from gridsite.siting import Plan
    from gridsite.study.place_inputs import Places
    from gridsite.study.siting_inputs import SitingInputs


#: Said of every plan on a feeder with phases.
_PHASES_NOTE = (
    "feeder with phases: rows of the plan give no credit for loads that relieve one "
    "another across phases, so bound and gap hold among plans that need none"
)


def collect(
    config: StudyConfig,
    *,
    inputs_sha256: dict[str, str],
    folder: Path,
    grid: GridCase,
    places: Places,
    hosting: pd.DataFrame,
    inputs: SitingInputs,
    plans: dict[str, tuple[Plan, LoadReplay]],
    findings: pd.DataFrame,
    seconds: float,
) -> Results:
    """
    Collect the tables, the summary and the manifest of a run.

    Parameters
    ----------
    config : StudyConfig
        The study.
    inputs_sha256 : dict of str to str
        Hash of each input file.
    folder : pathlib.Path
        Where the names of input files start.
    grid : GridCase
        Base cases.
    places : Places
        Buildings, connections, and who was left out.
    hosting : pandas.DataFrame
        Table ``hosting``.
    inputs : SitingInputs
        The siting problem's tables.
    plans : dict of str to (Plan, LoadReplay)
        By strategy; ``hybrid`` is the plan of the run.
    findings : pandas.DataFrame
        What `check_feeder` found.
    seconds : float
        Time that the run took. [s]

    Returns
    -------
    Results
        The run.
    """
    plan, replay = plans["hybrid"]
    buildings, connections = places.buildings, places.connections
    comparison = strategies.comparison(
        inputs,
        {
            name: (p, r.elements["plan_peak_percent"].max(), _extra_losses(grid, r))
            for name, (p, r) in plans.items()
        },
    )
    unknown = int(connections["service_a"].isna().sum())
    service = [f"building service (no rating for {unknown} of {len(connections)})"]
    checked = replay_summary(grid, replay, findings)
    checked["not_checked"] += service if unknown else []
    summary = {
        "study": config.study.name,
        "place": config.study.place,
        **_plan_summary(config, plan),
        **strategies.months_of(inputs, plan),
        **checked,
        "buildings": {
            **buildings.attrs.get("report", {}),
            "rated": int(hosting["building_id"].nunique()),
            "unmatched": connections.attrs.get("report", {}).get("unmatched", 0),
        },
        "central": inputs.central_places(plan),
        "generated": config.study.generated,
        "assumptions": [
            *config.study.assumptions,
            *([] if config.users.near is None else [NEAR_NOTE]),
            *([] if grid.feeder.nodes["phases"].eq("ABC").any() else [_PHASES_NOTE]),
            *assumptions(
                grid,
                serviced=bool(connections["service_a"].notna().any()),
                growth=config.profiles.growth_factor,
                load_power_factor=given_power_factor(config.profiles),
            ),
        ],
        **profile_summary(grid.profiles),
        "seconds": round(seconds, 2),
    }
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "versions": versions(),
        "inputs": inputs_sha256,
        "folder": str(folder.absolute()),
        "feeder": config.feeder.source,
        "seed": config.study.seed,
        "options": config.model_dump(mode="json"),
    }
    return Results(
        buildings=buildings,
        connections=connections,
        findings=findings,
        profile_findings=grid.profiles.findings,
        left_out=places.left_out if len(places.left_out) else None,
        reasons=building_reasons(places, hosting, inputs, plan),
        hosting=hosting,
        elements=element_table(grid.feeder, replay),
        units=inputs.units,
        workloads=inputs.workloads,
        zones=inputs.zones,
        demand=inputs.demand,
        sites=pd.DataFrame(inputs.sites.drop(columns="geometry")),
        site_options=inputs.site_options,
        plan=plan.plan,
        assignment=plan.assignment,
        comparison=comparison,
        timeline=strategies.timeline(inputs, plan),
        works=plan.upgrades,
        violations=replay.violations,
        rows=plan.rows,
        costs=plan.costs.rename_axis("term").rename("present_cost").reset_index(),
        summary=summary,
        manifest=manifest,
    )


def _extra_losses(grid: GridCase, replay: LoadReplay) -> float:
    """Return what the units add to the losses of a year. [MWh]"""
    hours = len(grid.profiles.time) * grid.profiles.step_hours
    extra = replay.summary["plan_losses_mwh"] - replay.summary["base_losses_mwh"]
    return float(extra * 8760.0 / hours)


def _plan_summary(config: StudyConfig, plan: Plan) -> dict[str, Any]:
    """Return the headline figures of a plan."""
    economics = config.economics
    last = last_period(plan.plan)
    at_buildings = last[last["port_id"] != ""]
    central = last[last["port_id"] == ""]
    return {
        "status": plan.status,
        "stopped_because": plan.stopped_because,
        "objective": plan.objective,
        "unserved_present": float(plan.costs.get("unserved_present", 0.0)),
        "bound": plan.bound,
        "gap": plan.gap,
        "gap_model": plan.gap_model,
        "own_bound": plan.own_bound,
        "cost_of_safety": plan.cost_of_safety,
        "currency": economics.currency,
        "price_year": economics.price_year,
        "horizon_years": economics.horizon_years,
        "discount_rate": economics.discount_rate,
        "units": int(at_buildings["count"].sum()),
        "rated_kw": float(at_buildings["rated_kw"].sum()),
        "it_kw": float(at_buildings["it_kw"].sum()),
        "buildings_used": int(at_buildings["building_id"].nunique()),
        "central_it_kw": float(central["it_kw"].sum()),
        "served_share": float(plan.served_share["total"]),
        "upgrades": plan.upgrades["upgrade_id"].tolist(),
        "rounds": len(plan.rounds),
        "rows_tightened": int(plan.rounds["rows_added"].sum()),
    }
