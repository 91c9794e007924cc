"""Check the plan of an output folder again, from the inputs of its run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from gridsite.check_energy import energy_bill
from gridsite.errors import ConfigError
from gridsite.explain_run import repeated_study
from gridsite.feeder.candidate_ports import with_candidate_ports
from gridsite.hosting.ac_replay import replay_loads
from gridsite.siting import check_plan, empty_table, recomputed_cost
from gridsite.study import lifted_hosting, siting_problem
from gridsite.study.place_inputs import study_demand
from gridsite.study.siting_grid import built_by
from gridsite.study.siting_inputs import siting_inputs
from gridsite.study.siting_upgrades import feeder_after, services_of

if TYPE_CHECKING:
    from gridsite.feeder.model import Feeder
    from gridsite.report import Results
    from gridsite.study import Study

_ROWS = ("rows", "row_coefficients", "upgrade_effects")

#: Relative deviation of a cost that counts [-].
_COST = 1e-9


def check_run(results: Results) -> pd.DataFrame:
    """
    Return every claim of a run's plan that its inputs do not bear out.

    Cost, every requirement and the AC replay of every period are computed again
    from the input files and the published tables ``plan``, ``assignment`` and
    ``hosting``, without the model and without the rows that it used for the grid.

    Parameters
    ----------
    results : Results
        A run of a study, as from ``read_results``.

    Returns
    -------
    pandas.DataFrame
        ``requirement, where, value, limit, excess`` as from ``check_plan``, with
        ``cost`` where it is not that of the summary, ``bill`` where terms of energy
        are not what adds up step by step, and ``AC replay`` for limits newly broken
        or worsened. Empty where everything holds.

    Raises
    ------
    ConfigError
        If the run has no plan.
    DataError
        If an input has changed or is gone.

    Notes
    -----
    Firm capacities are those of the run; ``gridsite explain`` replays them.
    """
    if results.plan is None or results.assignment is None:
        msg = "the run has no plan; name the folder of a study"
        raise ConfigError(msg)
    study = repeated_study(results)
    demand = study_demand(study.config, study.path)
    grids = study.grids(_feeder(study, results))
    time = grids.heaviest.profiles.time
    bill = energy_bill(study.config, study.path, results, time)
    study = study.with_energy(time)
    hosting, single = lifted_hosting(study, grids, results.hosting, results.connections)
    inputs = siting_inputs(
        study.config,
        results.buildings,
        hosting,
        demand.zones,
        demand.demand,
        services_of(single[2]),
        study.areas(),
    )
    none = tuple(empty_table(name) for name in _ROWS)
    problem = siting_problem(inputs, (none[0], none[1], none[2]), single)
    tables = (results.plan, results.assignment, results.works)
    found = check_plan(problem, *tables)
    told = float(results.summary["objective"])
    cost = recomputed_cost(problem, *tables)
    parts = [found, *_replayed(study, results)]
    if not abs(cost - told) <= _COST * abs(told):
        parts.append(_finding("cost", "objective", told, cost))
    wrong = bill[~bill["agrees"]]
    for kind, values in wrong.set_index("term")[["told", "billed"]].iterrows():
        parts.append(_finding("bill", str(kind), values["told"], values["billed"]))
    parts = [part for part in parts if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else found


def _feeder(study: Study, results: Results) -> Feeder:
    """Return the study's feeder with every port that a unit may stand at."""
    return with_candidate_ports(study.feeder(), results.connections["port_id"])


def _replayed(study: Study, results: Results) -> list[pd.DataFrame]:
    """Return what a replay of every period newly breaks or worsens."""
    feeder = _feeder(study, results)
    plan = results.plan if results.plan is not None else empty_table("plan")
    at_ports = plan[plan["port_id"] != ""]
    found = []
    for period, factor in enumerate(study.background_factors()):
        built = built_by(results.works, period)
        after = feeder_after(study.config, feeder, built)
        case = study.grid(after, background=factor)
        added = at_ports[at_ports["period"] == period]
        added_kw = added.groupby("port_id")["rated_kw"].sum()
        replay = replay_loads(after, case.profiles, added_kw, grid=case)
        for kind in ("new", "worsened"):
            count = float(replay.summary[kind])
            if not count <= 0.0:
                found.append(
                    _finding("AC replay", f"{kind} / {period}", count, limit=0.0)
                )
    return found


def _finding(requirement: str, where: str, value: float, limit: float) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "requirement": [requirement],
            "where": [where],
            "value": [value],
            "limit": [limit],
            "excess": [value - limit],
        }
    )
