"""Constraints of the siting model on what flows from demand to sites."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyomo.environ as pyo

from gridsite.siting.expressions import linear, positions

if TYPE_CHECKING:
    from gridsite.siting.reduce import ReducedProblem


def computing_variables(model: pyo.ConcreteModel, problem: ReducedProblem) -> None:
    """
    Add what computes on units that cost more per kW than others of their pool.

    Parameters
    ----------
    model : pyomo.environ.ConcreteModel
        The model.
    problem : ReducedProblem
        Sets and parameters.
    """
    options = problem.options
    most = (options["it_kw"] * options["upper"]).tolist()
    dear = np.flatnonzero(options["computing"] > 0.0).tolist()
    model.computing = pyo.Var(dear, bounds=lambda _, m: (0.0, most[m]))


def _demand_met(model: pyo.ConcreteModel, problem: ReducedProblem) -> None:
    """Let every demand flow somewhere or, where allowed, stay unserved."""
    flows = positions(problem.flows["demand"])
    demand = problem.demands["demand_it_kw"].tolist()

    def rule(_: pyo.ConcreteModel, d: int) -> Any:  # noqa: ANN401
        terms = [(1.0, model.flow[k]) for k in flows.get(d, [])]
        if d in model.unserved:
            terms.append((1.0, model.unserved[d]))
        return linear(terms) == demand[d]

    model.demand_met = pyo.Constraint(range(len(demand)), rule=rule)


def _compute_capacity(model: pyo.ConcreteModel, problem: ReducedProblem) -> None:
    """Fit what flows to a pool into the IT power of its units."""
    flows, options = (
        positions(problem.flows["pool"]),
        positions(problem.options["pool"]),
    )
    it_kw = problem.options["it_kw"].tolist()

    def rule(_: pyo.ConcreteModel, p: int) -> Any:  # noqa: ANN401
        terms = [(1.0, model.flow[k]) for k in flows[p]]
        for m in options[p]:
            dear = m in model.computing
            terms.append(
                (-1.0, model.computing[m]) if dear else (-it_kw[m], model.units[m])
            )
        return linear(terms) <= 0.0

    model.compute_capacity = pyo.Constraint(sorted(flows), rule=rule)


def _computing_units(model: pyo.ConcreteModel, problem: ReducedProblem) -> None:
    """Let no more compute on units than they can."""
    it_kw = problem.options["it_kw"].tolist()

    def rule(_: pyo.ConcreteModel, m: int) -> Any:  # noqa: ANN401
        return model.computing[m] - it_kw[m] * model.units[m] <= 0.0

    model.computing_units = pyo.Constraint(list(model.computing), rule=rule)


def _share_within_target(model: pyo.ConcreteModel, problem: ReducedProblem) -> None:
    """Serve enough of each workload within its latency target."""
    flows = problem.flows
    kind = problem.demands["share_class"].to_numpy()[flows["demand"]]
    members = positions(pd.Series(kind))
    within = flows["within"].tolist()

    def rule(_: pyo.ConcreteModel, w: str) -> Any:  # noqa: ANN401
        least = float(problem.shares[w])
        terms = [(float(within[k]) - least, model.flow[k]) for k in members[w]]
        return linear(terms) >= 0.0

    mixed = [
        w
        for w in problem.shares.index
        if not all(within[k] for k in members.get(w, []))
    ]
    model.share_within_target = pyo.Constraint(mixed, rule=rule)


def _local_share(model: pyo.ConcreteModel, problem: ReducedProblem) -> None:
    """Serve enough of each zone's demand within its own area."""
    least = problem.demands["local_share"].tolist()
    members = positions(problem.flows["demand"]) if any(least) else {}
    local = problem.flows["local"].tolist()

    def rule(_: pyo.ConcreteModel, d: int) -> Any:  # noqa: ANN401
        terms = [(float(local[k]) - least[d], model.flow[k]) for k in members[d]]
        return linear(terms) >= 0.0

    mixed = [
        d
        for d, share in enumerate(least)
        if share > 0.0 and not all(local[k] for k in members.get(d, []))
    ]
    model.local_share = pyo.Constraint(mixed, rule=rule)


def _single_source(model: pyo.ConcreteModel, problem: ReducedProblem) -> None:
    """Serve a demand that may not be shared from one pool, of one site, or not."""
    of_flow = problem.flows["demand"].tolist()
    demand = problem.demands["demand_it_kw"].tolist()

    def rule(_: pyo.ConcreteModel, d: int, k: int) -> Any:  # noqa: ANN401
        return model.flow[k] - demand[d] * model.is_source[k] == 0.0

    pairs = [(of_flow[k], k) for k in model.is_source]
    model.single_source = pyo.Constraint(pairs, rule=rule)


#: What builds each constraint, by the name of its component.
CONSTRAINTS = {
    "demand_met": _demand_met,
    "compute_capacity": _compute_capacity,
    "computing_units": _computing_units,
    "share_within_target": _share_within_target,
    "local_share": _local_share,
    "single_source": _single_source,
}
