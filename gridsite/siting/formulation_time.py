"""The part of the siting model about deployment over time, and upgrades."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyomo.environ as pyo

from gridsite.siting.expressions import at_most_one, linear, positions, stay

if TYPE_CHECKING:
    from gridsite.siting.reduce import ReducedProblem


def units_stay(model: pyo.ConcreteModel, problem: ReducedProblem) -> None:
    """
    Let units that stand go on standing.

    Parameters
    ----------
    model : pyomo.environ.ConcreteModel
        The model.
    problem : ReducedProblem
        Sets and parameters.
    """
    model.units_stay = stay(model.units, problem.options["before"])


def installation_rate(model: pyo.ConcreteModel, problem: ReducedProblem) -> None:
    """
    Cap the units that are added at buildings in a period.

    Parameters
    ----------
    model : pyomo.environ.ConcreteModel
        The model.
    problem : ReducedProblem
        Sets and parameters.
    """
    options = problem.options
    paced = options[options["paced"]]
    members = positions(options["period"].where(options["paced"], -1))
    before = options["before"].tolist()
    first = paced[paced["before"] < 0].groupby("period")["lower"].sum()

    def rule(_: pyo.ConcreteModel, t: int) -> Any:  # noqa: ANN401
        terms = [(1.0, model.units[m]) for m in members[t]]
        terms += [(-1.0, model.units[before[m]]) for m in members[t] if before[m] >= 0]
        return linear(terms) <= problem.pace[t] + float(first.get(t, 0.0))

    limited = [t for t in problem.pace.index if t in members]
    model.installation_rate = pyo.Constraint(limited, rule=rule)


def upgrades_stay(model: pyo.ConcreteModel, problem: ReducedProblem) -> None:
    """
    Let upgrades that stand go on standing.

    Parameters
    ----------
    model : pyomo.environ.ConcreteModel
        The model.
    problem : ReducedProblem
        Sets and parameters.
    """
    model.upgrades_stay = stay(model.is_upgraded, problem.upgrades["before"])


def one_upgrade(model: pyo.ConcreteModel, problem: ReducedProblem) -> None:
    """
    Build one of two upgrades that exclude each other.

    Parameters
    ----------
    model : pyomo.environ.ConcreteModel
        The model.
    problem : ReducedProblem
        Sets and parameters.
    """
    model.one_upgrade = at_most_one(problem.excluded, model.is_upgraded)
