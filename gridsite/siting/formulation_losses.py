"""Constraints of the siting model on the loss of a site or a group of sites."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyomo.environ as pyo

from gridsite.errors import ConfigError
from gridsite.siting.expressions import linear, positions

if TYPE_CHECKING:
    from gridsite.siting.reduce import ReducedProblem

#: Most flows after a loss that a model may have.
_MOST_BACKUPS = 2_000_000


def backup_variables(model: pyo.ConcreteModel, problem: ReducedProblem) -> None:
    """
    Add flows after a loss, and the largest site of each pool that may lose one.

    Parameters
    ----------
    model : pyomo.environ.ConcreteModel
        The model.
    problem : ReducedProblem
        Sets and parameters.
    """
    pairs = _backup_pairs(problem)
    most = problem.demands["demand_it_kw"].to_numpy()[pairs["demand"]].tolist()
    model.backup = pyo.Var(range(len(pairs)), bounds=lambda _, i: (0.0, most[i]))
    options = problem.options
    site = (options["it_kw"] * options["upper"]).groupby(options["site"]).sum()
    of_pool = site.groupby(options.groupby("site")["pool"].first()).max().to_dict()
    pools = sorted(set(problem.losses["pool"]) - {-1})
    model.largest = pyo.Var(pools, bounds=lambda _, p: (0.0, of_pool[p]))


def _backup_pairs(problem: ReducedProblem) -> pd.DataFrame:
    """Return which flows there may be after which loss, at most two million."""
    flows = problem.flows[["demand", "pool"]].reset_index(names="flow")
    demand = problem.demands[["period", "redundancy"]]
    of_flow = demand.loc[flows["demand"]].reset_index(drop=True)
    parts, total = [], 0
    for loss in problem.losses.itertuples():
        same = (of_flow["period"] == loss.period).to_numpy()
        own = flows[same & (of_flow["redundancy"] >= loss.redundancy).to_numpy()]
        total += len(own)
        if total > _MOST_BACKUPS:
            msg = (
                f"redundancy: {len(problem.losses)} losses times {len(flows)} flows "
                f"are more than {_MOST_BACKUPS:,} flows after a loss; use fewer zones "
                "or round costs, so that more sites are alike"
            )
            raise ConfigError(msg)
        parts.append(own.assign(loss=loss.Index))
    if not parts:
        return pd.DataFrame(columns=["loss", "flow", "demand", "pool"], dtype=int)
    return pd.concat(parts, ignore_index=True)[["loss", "flow", "demand", "pool"]]


def _largest_site(model: pyo.ConcreteModel, problem: ReducedProblem) -> None:
    """Let no site of a pool be larger than its largest."""
    options = problem.options
    it_kw = options["it_kw"].tolist()
    members = positions(options["site"])
    pool = options.groupby("site")["pool"].first().to_dict()

    def rule(_: pyo.ConcreteModel, j: int) -> Any:  # noqa: ANN401
        terms = [(it_kw[m], model.units[m]) for m in members[j]]
        return linear([*terms, (-1.0, model.largest[pool[j]])]) <= 0.0

    sites = [j for j in sorted(members) if pool[j] in model.largest]
    model.largest_site = pyo.Constraint(sites, rule=rule)


def _backup_met(model: pyo.ConcreteModel, problem: ReducedProblem) -> None:
    """Serve after every loss what was served before it."""
    pairs = _backup_pairs(problem)
    members = pairs.groupby(["loss", "demand"]).indices
    need = problem.demands["demand_it_kw"].tolist()
    demands = problem.demands

    def rule(_: pyo.ConcreteModel, loss: int, d: int) -> Any:  # noqa: ANN401
        terms = [(1.0, model.backup[i]) for i in members.get((loss, d), [])]
        if d in model.unserved:
            terms.append((1.0, model.unserved[d]))
        return linear(terms) >= need[d]

    wanted = [
        (loss.Index, d)
        for loss in problem.losses.itertuples()
        for d in np.flatnonzero(
            (demands["period"] == loss.period)
            & (demands["redundancy"] >= loss.redundancy)
        ).tolist()
    ]
    model.backup_met = pyo.Constraint(wanted, rule=rule)


def _backup_capacity(model: pyo.ConcreteModel, problem: ReducedProblem) -> None:
    """Fit what flows after a loss into what is left of each pool."""
    pairs = _backup_pairs(problem)
    members: dict[Any, Any] = dict(pairs.groupby(["loss", "pool"]).indices)
    it_kw = problem.options["it_kw"].tolist()
    options = positions(problem.options["pool"])
    inside = problem.members.groupby("group")["option"].agg(set).to_dict()
    lost_pool = problem.losses["pool"].tolist()
    lost_group = problem.losses["group"].tolist()

    def rule(_: pyo.ConcreteModel, loss: int, p: int) -> Any:  # noqa: ANN401
        terms = [(1.0, model.backup[i]) for i in members[loss, p]]
        gone = inside.get(lost_group[loss], set())
        left = [m for m in options[p] if m not in gone]
        terms += [(-it_kw[m], model.units[m]) for m in left]
        if lost_pool[loss] == p:
            terms.append((1.0, model.largest[p]))
        return linear(terms) <= 0.0

    model.backup_capacity = pyo.Constraint(sorted(members), rule=rule)


#: What builds each constraint, by the name of its component.
CONSTRAINTS = {
    "largest_site": _largest_site,
    "backup_met": _backup_met,
    "backup_capacity": _backup_capacity,
}
