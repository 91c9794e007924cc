"""Constraints of the siting model on deployment over time, and on upgrades."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyomo.environ as pyo

from gridsite.siting.expressions import at_most_one, linear, positions, stay

if TYPE_CHECKING:
    from gridsite.siting.reduce import ReducedProblem


def _units_stay(model: pyo.ConcreteModel, problem: ReducedProblem) -> None:
    """Let units that stand go on standing."""
    model.units_stay = stay(model.units, problem.options["before"])


def _installation_rate(model: pyo.ConcreteModel, problem: ReducedProblem) -> None:
    """Cap the units that are added at buildings in a period."""
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


def _upgrades_stay(model: pyo.ConcreteModel, problem: ReducedProblem) -> None:
    """Let upgrades that stand go on standing."""
    model.upgrades_stay = stay(model.is_upgraded, problem.upgrades["before"])


def _one_upgrade(model: pyo.ConcreteModel, problem: ReducedProblem) -> None:
    """Build one of two upgrades that exclude each other."""
    model.one_upgrade = at_most_one(problem.excluded, model.is_upgraded)


#: What builds each constraint, by the name of its component.
CONSTRAINTS = {
    "units_stay": _units_stay,
    "installation_rate": _installation_rate,
    "upgrades_stay": _upgrades_stay,
    "one_upgrade": _one_upgrade,
}
