r"""
The siting model in Pyomo: the one statement of the mathematics.

A capacitated facility location problem with modular capacities and side
constraints [1]_. All powers are in kW, grid rows are divided by their
headroom, money by a power of ten (`money_scale`), so that coefficients stay
near one.

Sets: demands :math:`d` (zone and workload), pools :math:`p` of sites :math:`j`
(see ``gridsite.siting.reduce``), options :math:`m` (unit at a connection of a
site), flows :math:`k` from a demand to a pool, rows :math:`e`, groups :math:`g`.

Variables: units :math:`n_m \in \{\text{existing}, \dots, \text{most}\}`, flows
:math:`x_k \ge 0`, unserved demand :math:`s_d \ge 0` where the workload has a
price for it, :math:`y_j` open and :math:`o_g` onboarded, binary, only where
that costs something.

.. math::

    \min\; & \sum_j \text{fixed}_j y_j + \sum_g \text{onboarding}_g o_g
      + \sum_m \bigl(\text{capital}_m (n_m - \text{existing}_m)
      + \text{running}_m n_m\bigr) \\
      & + \sum_k \text{cost}_k x_k + \sum_d \text{unserved cost}_d s_d \\
    \text{demand met:}\; & \sum_{k \in d} x_k + s_d = \text{demand}_d \\
    \text{compute capacity:}\; &
      \sum_{k \in p} x_k \le \sum_{m \in p} \text{it}_m n_m \\
    \text{open link:}\; & n_m \le \text{most}_m\, y_j \\
    \text{own limit:}\; & \sum_{m \in c}
      \text{rated}_m / \text{own limit}_m\, n_m \le 1
      \quad\text{each connection } c \\
    \text{site power:}\; &
      \sum_{m \in j} \text{rated}_m n_m \le \text{max power}_j \\
    \text{grid rows:}\; &
      \sum_m a_{em} \text{rated}_m n_m \le \text{headroom}_e \\
    \text{site roof:}\; &
      \sum_{m \in j} \text{footprint}_m n_m \le \text{roof}_j \\
    \text{group units, power:}\; & \sum_{m \in g} n_m \le \text{max units}_g,
      \quad \sum_{m \in g} \text{rated}_m n_m \le \text{max kW}_g \\
    \text{group link:}\; & n_m \le \text{most}_m\, o_g \\
    \text{share within target:}\; & \sum_{k \in w,\,\text{within}} x_k
      \ge \text{share}_w \sum_{k \in w} x_k \\
    \text{budget:}\; & \sum_j \text{fixed}_j y_j + \sum_g \text{onboarding}_g o_g
      + \sum_m \text{capital}_m (n_m - \text{existing}_m) \le \text{budget}

The own limit in this form is the plain sum where all units at a connection have
the same limit, and the convex combination of their limits otherwise.

References
----------
.. [1] M. T. Melo, S. Nickel, F. Saldanha-da-Gama, "Facility location and supply
   chain management - A review", *European Journal of Operational Research*
   196(2), 2009. :doi:`10.1016/j.ejor.2008.05.007`
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyomo.environ as pyo
from pyomo.core.expr import LinearExpression

if TYPE_CHECKING:
    from gridsite.siting.reduce import ReducedProblem


def build_model(problem: ReducedProblem) -> pyo.ConcreteModel:
    """
    Return the siting model of a reduced problem.

    Parameters
    ----------
    problem : ReducedProblem
        Sets and parameters.

    Returns
    -------
    pyomo.environ.ConcreteModel
        Variables ``units``, ``flow``, ``unserved``, ``is_open``,
        ``is_onboarded``, indexed by position in the tables of ``problem``,
        and one component per constraint of the module's docstring.
    """
    model = pyo.ConcreteModel("siting")
    _variables(model, problem)
    _cost(model, problem)
    for add in (
        _demand_met,
        _compute_capacity,
        _open_link,
        _own_limit,
        _site_power,
        _site_roof,
        _grid_rows,
        _group_units,
        _group_power,
        _group_link,
        _share_within_target,
        _budget,
    ):
        add(model, problem)
    return model


def build_elastic_model(problem: ReducedProblem) -> pyo.ConcreteModel:
    """
    Return the model in which all demand may stay unserved, and little should.

    Parameters
    ----------
    problem : ReducedProblem
        Sets and parameters.

    Returns
    -------
    pyomo.environ.ConcreteModel
        The siting model with the unserved kW of hard demand for its objective:
        its optimum tells what an infeasible problem lacks.
    """
    hard = np.flatnonzero(problem.demands["unserved_cost"].isna())
    soft = problem.demands.assign(
        unserved_cost=problem.demands["unserved_cost"].fillna(0.0)
    )
    model = build_model(replace(problem, demands=soft))
    model.cost.set_value(_linear([(1.0, model.unserved[d]) for d in hard.tolist()]))
    return model


def _variables(model: pyo.ConcreteModel, problem: ReducedProblem) -> None:
    """Add all variables with their bounds."""
    options, demands, flows = problem.options, problem.demands, problem.flows
    low, high = options["lower"].tolist(), options["upper"].tolist()
    model.units = pyo.Var(
        range(len(options)), domain=pyo.Integers, bounds=lambda _, m: (low[m], high[m])
    )
    demand = demands["demand_it_kw"].tolist()
    most = demands["demand_it_kw"].to_numpy()[flows["demand"]].tolist()
    model.flow = pyo.Var(range(len(flows)), bounds=lambda _, k: (0.0, most[k]))
    soft = np.flatnonzero(demands["unserved_cost"].notna()).tolist()
    model.unserved = pyo.Var(soft, bounds=lambda _, d: (0.0, demand[d]))
    for name, priced in (
        ("is_open", problem.sites["priced"]),
        ("is_onboarded", problem.groups["priced"]),
    ):
        places = np.flatnonzero(priced).tolist()
        model.add_component(name, pyo.Var(places, domain=pyo.Binary))


def _cost(model: pyo.ConcreteModel, problem: ReducedProblem) -> None:
    """Add the net present cost, in scaled money."""
    scale = money_scale(problem)
    terms = [
        *_capital(model, problem),
        *_terms(problem.options["running"], model.units),
        *_terms(problem.flows["cost"], model.flow),
        *_terms(problem.demands["unserved_cost"], model.unserved),
    ]
    scaled = _linear([(cost / scale, variable) for cost, variable in terms])
    model.cost = pyo.Objective(expr=scaled + problem.constant / scale)


def _demand_met(model: pyo.ConcreteModel, problem: ReducedProblem) -> None:
    """Let every demand flow somewhere or, where allowed, stay unserved."""
    flows = _by(problem.flows["demand"])
    demand = problem.demands["demand_it_kw"].tolist()

    def rule(_: pyo.ConcreteModel, d: int) -> Any:  # noqa: ANN401
        terms = [(1.0, model.flow[k]) for k in flows.get(d, [])]
        if d in model.unserved:
            terms.append((1.0, model.unserved[d]))
        return _linear(terms) == demand[d]

    model.demand_met = pyo.Constraint(range(len(demand)), rule=rule)


def _compute_capacity(model: pyo.ConcreteModel, problem: ReducedProblem) -> None:
    """Fit what flows to a pool into the IT power of its units."""
    flows, options = _by(problem.flows["pool"]), _by(problem.options["pool"])
    it_kw = problem.options["it_kw"].tolist()

    def rule(_: pyo.ConcreteModel, p: int) -> Any:  # noqa: ANN401
        terms = [(1.0, model.flow[k]) for k in flows[p]]
        terms += [(-it_kw[m], model.units[m]) for m in options[p]]
        return _linear(terms) <= 0.0

    model.compute_capacity = pyo.Constraint(sorted(flows), rule=rule)


def _open_link(model: pyo.ConcreteModel, problem: ReducedProblem) -> None:
    """Let units stand at open sites alone."""
    site, most = problem.options["site"].tolist(), problem.options["upper"].tolist()

    def rule(_: pyo.ConcreteModel, m: int) -> Any:  # noqa: ANN401
        return model.units[m] - most[m] * model.is_open[site[m]] <= 0.0

    linked = [m for m, j in enumerate(site) if j in model.is_open]
    model.open_link = pyo.Constraint(linked, rule=rule)


def _own_limit(model: pyo.ConcreteModel, problem: ReducedProblem) -> None:
    """Fit the units at one connection into what it can draw alone."""
    table = problem.options[problem.options["own_limit_kw"] > 0.0]
    share = table["rated_kw"] / table["own_limit_kw"]
    limit = dict.fromkeys(table["limit"], 1.0)
    shared = table["limit"].duplicated(keep=False)
    model.own_limit = _packing(model, table["limit"][shared], share, limit)


def _site_power(model: pyo.ConcreteModel, problem: ReducedProblem) -> None:
    """Fit the units at one site into the power of the site."""
    table = problem.options
    limit = problem.sites["max_power_kw"].dropna().to_dict()
    shared = table["site"].duplicated(keep=False)
    model.site_power = _packing(model, table["site"][shared], table["rated_kw"], limit)


def _site_roof(model: pyo.ConcreteModel, problem: ReducedProblem) -> None:
    """Fit the units at one building onto its roof, where its area is given."""
    if "roof_area_m2" not in problem.sites:
        return
    table = problem.options
    limit = problem.sites["roof_area_m2"].dropna().to_dict()
    site = table["site"]
    model.site_roof = _packing(model, site, table["footprint_m2"], limit)


def _grid_rows(model: pyo.ConcreteModel, problem: ReducedProblem) -> None:
    """Fit the draw of all units into the headroom of every row."""
    matrix, limit = problem.row_terms, problem.rows["limit"].tolist()
    units = list(model.units.values())

    def rule(_: pyo.ConcreteModel, e: int) -> Any:  # noqa: ANN401
        part = slice(matrix.indptr[e], matrix.indptr[e + 1])
        terms = zip(matrix.data[part].tolist(), matrix.indices[part], strict=True)
        return _linear([(a, units[m]) for a, m in terms]) <= limit[e]

    filled = np.flatnonzero(np.diff(matrix.indptr)).tolist()
    model.grid_rows = pyo.Constraint(filled, rule=rule)


def _group_units(model: pyo.ConcreteModel, problem: ReducedProblem) -> None:
    """Cap the number of units in a group of sites."""
    group = problem.members.set_index("option")["group"]
    limit = problem.groups["max_units"].dropna().to_dict()
    one = pd.Series(1.0, index=problem.options.index)
    model.group_units = _packing(model, group, one, limit)


def _group_power(model: pyo.ConcreteModel, problem: ReducedProblem) -> None:
    """Cap the draw of a group of sites."""
    group = problem.members.set_index("option")["group"]
    limit = problem.groups["max_kw"].dropna().to_dict()
    model.group_power = _packing(model, group, problem.options["rated_kw"], limit)


def _group_link(model: pyo.ConcreteModel, problem: ReducedProblem) -> None:
    """Let units stand in onboarded groups alone."""
    most = problem.options["upper"].tolist()

    def rule(_: pyo.ConcreteModel, g: int, m: int) -> Any:  # noqa: ANN401
        return model.units[m] - most[m] * model.is_onboarded[g] <= 0.0

    pairs = problem.members[["group", "option"]].itertuples(index=False, name=None)
    linked = [(g, m) for g, m in pairs if g in model.is_onboarded]
    model.group_link = pyo.Constraint(linked, rule=rule)


def _share_within_target(model: pyo.ConcreteModel, problem: ReducedProblem) -> None:
    """Serve enough of each workload within its latency target."""
    flows = problem.flows
    workload = problem.demands["workload"].to_numpy()[flows["demand"]]
    members = _by(pd.Series(workload))
    within = flows["within"].tolist()

    def rule(_: pyo.ConcreteModel, w: str) -> Any:  # noqa: ANN401
        least = float(problem.shares[w])
        terms = [(float(within[k]) - least, model.flow[k]) for k in members[w]]
        return _linear(terms) >= 0.0

    mixed = [
        w
        for w in problem.shares.index
        if not all(within[k] for k in members.get(w, []))
    ]
    model.share_within_target = pyo.Constraint(mixed, rule=rule)


def _budget(model: pyo.ConcreteModel, problem: ReducedProblem) -> None:
    """Fit the capital of all that is new into the budget, in scaled money."""
    terms = _capital(model, problem)
    if problem.budget is None or not terms:
        return
    scale = money_scale(problem)
    budget = problem.budget - problem.constant
    spent = _linear([(cost / scale, variable) for cost, variable in terms])
    model.budget = pyo.Constraint(expr=spent <= budget / scale)


def money_scale(problem: ReducedProblem) -> float:
    """
    Return the power of ten that brings the median cost to between 1 and 10.

    Parameters
    ----------
    problem : ReducedProblem
        Costs are taken from its options, flows, sites and groups.

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
        *_terms(problem.sites["fixed_capital"], model.is_open),
        *_terms(problem.groups["onboarding_cost"], model.is_onboarded),
        *_terms(problem.options["capital"], model.units),
    ]


def _terms(weights: pd.Series[float], variable: pyo.Var) -> list[tuple[float, Any]]:
    """Pair each variable with its weight, leaving out weights of 0."""
    values = weights.tolist()
    return [(values[i], x) for i, x in variable.items() if values[i] != 0.0]


def _linear(terms: list[tuple[float, Any]]) -> LinearExpression:
    """Return a sum of weighted variables, the form Pyomo compiles fastest."""
    return LinearExpression(
        linear_coefs=[weight for weight, _ in terms],
        linear_vars=[variable for _, variable in terms],
    )


def _by(keys: pd.Series[Any]) -> dict[Any, list[int]]:
    """Return the positions at which each key stands."""
    return {k: list(at) for k, at in keys.groupby(keys).indices.items()}


def _packing(
    model: pyo.ConcreteModel,
    owner: pd.Series[int],
    weight: pd.Series[float],
    limit: dict[Any, float],
) -> pyo.Constraint:
    """Cap the weighted units of the options that each owner has."""
    members = pd.Series(owner.index).groupby(owner.to_numpy()).agg(list)
    weights = weight.to_dict()

    def rule(_: pyo.ConcreteModel, key: int) -> Any:  # noqa: ANN401
        terms = [(weights[m], model.units[m]) for m in members[key]]
        return _linear(terms) <= limit[key]

    return pyo.Constraint([key for key in members.index if key in limit], rule=rule)
