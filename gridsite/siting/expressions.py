"""Building blocks of the formulation: sums and the constraints made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyomo.environ as pyo
from pyomo.core.expr import LinearExpression

if TYPE_CHECKING:
    from collections.abc import Mapping


def weighted(weights: pd.Series[float], variable: pyo.Var) -> list[tuple[float, Any]]:
    """
    Pair each variable with its weight, leaving out weights of 0.

    Parameters
    ----------
    weights : pandas.Series of float
        By position.
    variable : pyomo.environ.Var
        Indexed by position.

    Returns
    -------
    list of (float, variable)
        Terms of a sum.
    """
    values = weights.tolist()
    return [(values[i], x) for i, x in variable.items() if values[i] != 0.0]


def linear(terms: list[tuple[float, Any]]) -> LinearExpression:
    """
    Return a sum of weighted variables, the form Pyomo compiles fastest.

    Parameters
    ----------
    terms : list of (float, variable)
        Terms of the sum.

    Returns
    -------
    pyomo.core.expr.LinearExpression
        The sum.
    """
    return LinearExpression(
        linear_coefs=[weight for weight, _ in terms],
        linear_vars=[variable for _, variable in terms],
    )


def positions(keys: pd.Series[Any]) -> dict[Any, list[int]]:
    """
    Return the positions at which each key stands.

    Parameters
    ----------
    keys : pandas.Series
        Indexed from 0.

    Returns
    -------
    dict
        Lists of int by key.
    """
    return {k: np.asarray(at).tolist() for k, at in keys.groupby(keys).indices.items()}


def packing(
    model: pyo.ConcreteModel,
    owner: pd.Series[int],
    weight: pd.Series[float],
    limit: dict[Any, float],
) -> pyo.Constraint:
    """
    Cap the weighted units of the options that each owner has.

    Parameters
    ----------
    model : pyomo.environ.ConcreteModel
        With ``units``.
    owner : pandas.Series
        Owner by option; an option may have several.
    weight : pandas.Series of float
        By option.
    limit : dict
        By owner; owners without one are not capped.

    Returns
    -------
    pyomo.environ.Constraint
        Indexed by owner.
    """
    members = pd.Series(owner.index).groupby(owner.to_numpy()).agg(list)
    weights = weight.to_dict()

    def rule(_: pyo.ConcreteModel, key: int) -> Any:  # noqa: ANN401
        terms = [(weights[m], model.units[m]) for m in members[key]]
        return linear(terms) <= limit[key]

    return pyo.Constraint([key for key in members.index if key in limit], rule=rule)


def stay(variable: pyo.Var, before: pd.Series[int]) -> pyo.Constraint:
    """
    Let nothing that stands go away in the next period.

    Parameters
    ----------
    variable : pyomo.environ.Var
        Indexed by position.
    before : pandas.Series of int
        Position of the same thing a period earlier; -1 for none.

    Returns
    -------
    pyomo.environ.Constraint
        Indexed by position, where there is an earlier one.
    """
    was = before.to_dict()

    def rule(_: pyo.ConcreteModel, i: int) -> Any:  # noqa: ANN401
        return variable[was[i]] - variable[i] <= 0.0

    return pyo.Constraint([i for i in variable if was[i] >= 0], rule=rule)


def at_most_one(
    pairs: list[tuple[int, int]], variable: Mapping[int, Any]
) -> pyo.Constraint:
    """
    Let one of each pair stand.

    Parameters
    ----------
    pairs : list of (int, int)
        Positions.
    variable : pyomo.environ.Var
        Binary, indexed by position.

    Returns
    -------
    pyomo.environ.Constraint
        Indexed by pair.
    """

    def rule(_: pyo.ConcreteModel, a: int, b: int) -> Any:  # noqa: ANN401
        return variable[a] + variable[b] <= 1.0

    return pyo.Constraint(pairs, rule=rule)
