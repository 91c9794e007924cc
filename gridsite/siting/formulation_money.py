"""The cost that the siting model minimises, and its budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyomo.environ as pyo

from gridsite.siting.expressions import linear, weighted

if TYPE_CHECKING:
    from gridsite.siting.reduce import ReducedProblem


def _cost(model: pyo.ConcreteModel, problem: ReducedProblem) -> None:
    """Add the net present cost, in scaled money."""
    scale = money_scale(problem)
    terms = [
        *_capital(model, problem),
        *weighted(problem.options["running"], model.units),
        *weighted(problem.flows["cost"], model.flow),
        *weighted(problem.options["computing"], model.computing),
        *weighted(problem.demands["unserved_cost"], model.unserved),
    ]
    scaled = linear([(cost / scale, variable) for cost, variable in terms])
    model.cost = pyo.Objective(expr=scaled + problem.constant / scale)


def _budget(model: pyo.ConcreteModel, problem: ReducedProblem) -> None:
    """Fit the capital of all that is new into the budget, in scaled money."""
    terms = _capital(model, problem)
    if problem.budget is None or not terms:
        return
    scale = money_scale(problem)
    budget = problem.budget - problem.constant
    spent = linear([(cost / scale, variable) for cost, variable in terms])
    model.budget = pyo.Constraint(expr=spent <= budget / scale)


def money_scale(problem: ReducedProblem) -> float:
    """
    Return the power of ten that brings the median cost to between 1 and 10.

    Parameters
    ----------
    problem : ReducedProblem
        Costs are taken from its options, flows, sites, groups and upgrades.

    Returns
    -------
    float
        Money per unit of scaled money; 1 where nothing costs anything.
    """
    costs = np.concatenate(
        [
            problem.options["capital"] + problem.options["running"],
            problem.flows["cost"],
            problem.sites["fixed_capital"],
            problem.groups["onboarding_cost"],
            problem.upgrades["capital"],
            problem.demands["unserved_cost"].dropna(),
        ]
    )
    costs = np.abs(costs[costs != 0.0])
    return float(10.0 ** np.floor(np.log10(np.median(costs)))) if len(costs) else 1.0


def _capital(
    model: pyo.ConcreteModel, problem: ReducedProblem
) -> list[tuple[float, Any]]:
    """Return the terms of capital; those of units count existing ones too."""
    return [
        *weighted(problem.sites["fixed_capital"], model.is_open),
        *weighted(problem.groups["onboarding_cost"], model.is_onboarded),
        *weighted(problem.options["capital"], model.units),
        *weighted(problem.upgrades["capital"], model.is_upgraded),
    ]


#: What builds the objective and each constraint, by the name of its component.
CONSTRAINTS = {"cost": _cost, "budget": _budget}
