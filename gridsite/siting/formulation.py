r"""
The siting model in Pyomo: the one statement of the mathematics.

A capacitated facility location problem with modular capacities and side
constraints [1]_. All powers are in kW, grid rows are divided by their
headroom, money by a power of ten (`money_scale`), so that coefficients stay
near one.

Sets: demands :math:`d` (zone, workload and period), pools :math:`p` of sites
:math:`j` (see ``gridsite.siting.reduce``), options :math:`m` (unit at a connection
of a site), flows :math:`k` from a demand to a pool, rows :math:`e`, groups
:math:`g`, upgrades :math:`u`, losses :math:`l`. With deployment periods :math:`t`
all of them stand once for each period, :math:`m^-` is option :math:`m` a period
earlier, and capital is a weight of what stands (``periods.telescoped``), so that
:math:`\text{capital}_m` below is the price of what is added.

Variables: units that stand, :math:`n_m \in \{\text{existing}, \dots,
\text{most}\}` (existing ones alone before the lead time is over), flows
:math:`x_k \ge 0`, unserved demand :math:`s_d \ge 0` where the workload has a
price for it, :math:`y_j` open and :math:`o_g` onboarded, binary, only where
that costs something, upgrades that stand :math:`w_u` binary (0 within their lead
time), what computes on units that cost more than others of their pool
:math:`r_m \ge 0`, the largest site of a pool :math:`L_p`, flows after a loss
:math:`z_{lk} \ge 0` for workloads that have to survive it, and :math:`a_k` binary,
whether a single-source demand is served by flow :math:`k`.

.. math::

    \min\; & \sum_j \text{fixed}_j y_j + \sum_g \text{onboarding}_g o_g
      + \sum_u \text{capital}_u w_u
      + \sum_m \bigl(\text{capital}_m (n_m - \text{existing}_m)
      + \text{running}_m n_m\bigr) \\
      & + \sum_k \text{cost}_k x_k + \sum_m \text{computing}_m r_m
      + \sum_d \text{unserved cost}_d s_d \\
    \text{demand met:}\; & \sum_{k \in d} x_k + s_d = \text{demand}_d \\
    \text{compute capacity:}\; &
      \sum_{k \in p} x_k \le \sum_{m \in p} \text{it}_m n_m \quad
      (r_m \text{ for } \text{it}_m n_m \text{ where } m \text{ has one}) \\
    \text{computing units:}\; & r_m \le \text{it}_m n_m \\
    \text{open link:}\; & n_m \le \text{most}_m\, y_j \\
    \text{own limit:}\; & \sum_{m \in c}
      \text{rated}_m / \text{own limit}_m\, n_m \le 1
      \quad\text{each connection } c \\
    \text{site power:}\; &
      \sum_{m \in j} \text{rated}_m n_m \le \text{max power}_j \\
    \text{grid rows:}\; & \sum_m a_{em} \text{rated}_m n_m
      \le \text{headroom}_e + \sum_u \text{added}_{eu} w_u \\
    \text{site roof:}\; &
      \sum_{m \in j} \text{footprint}_m n_m \le \text{roof}_j \\
    \text{group units, power:}\; & \sum_{m \in g} n_m \le \text{max units}_g,
      \quad \sum_{m \in g} \text{rated}_m n_m \le \text{max kW}_g \\
    \text{group link:}\; & n_m \le \text{most}_m\, o_g \\
    \text{share within target:}\; & \sum_{k \in w,\,\text{within}} x_k
      \ge \text{share}_w \sum_{k \in w} x_k \\
    \text{local share:}\; & \sum_{k \in d,\,\text{local}} x_k
      \ge \text{share}_d \sum_{k \in d} x_k \\
    \text{single source:}\; & x_k = \text{demand}_d\, a_k
      \quad k \in d \text{ of a single-source workload} \\
    \text{budget:}\; & \sum_j \text{fixed}_j y_j + \sum_g \text{onboarding}_g o_g
      + \sum_u \text{capital}_u w_u
      + \sum_m \text{capital}_m (n_m - \text{existing}_m) \le \text{budget} \\
    \text{units stay, upgrades stay:}\; & n_{m^-} \le n_m, \quad w_{u^-} \le w_u \\
    \text{installation rate:}\; & \sum_{m \in t,\,\text{buildings}}
      (n_m - n_{m^-}) \le \text{rate}_t \\
    \text{one upgrade:}\; & w_u + w_v \le 1 \quad\text{where one excludes the other} \\
    \text{largest site:}\; & \sum_{m \in j} \text{it}_m n_m \le L_p \\
    \text{backup met:}\; & \sum_{k \in d} z_{lk} + s_d \ge \text{demand}_d \\
    \text{backup capacity:}\; & \sum_{k \in p} z_{lk} \le \sum_{m \in p}
      \text{it}_m n_m - L_p [l \text{ is a site of } p]
      - \sum_{m \in p \cap g} \text{it}_m n_m [l \text{ is group } g]

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

from gridsite.siting import (
    formulation_losses,
    formulation_money,
    formulation_service,
    formulation_time,
)
from gridsite.siting.expressions import linear, packing

if TYPE_CHECKING:
    from scipy import sparse

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
        ``is_onboarded``, ``is_upgraded``, ``largest``, ``backup``, ``is_source``
        and ``computing``, indexed by position in the tables of ``problem``, and one
        component per constraint of the module's docstring.
    """
    model = pyo.ConcreteModel("siting")
    _variables(model, problem)
    for add in CONSTRAINTS.values():
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
    model.cost.set_value(linear([(1.0, model.unserved[d]) for d in hard.tolist()]))
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
    copies = problem.sites["copies"].tolist()
    model.is_open = pyo.Var(
        np.flatnonzero(problem.sites["priced"]).tolist(),
        domain=lambda _, j: pyo.Binary if copies[j] == 1 else pyo.Integers,
        bounds=lambda _, j: (0, copies[j]),
    )
    places = np.flatnonzero(problem.groups["priced"]).tolist()
    model.is_onboarded = pyo.Var(places, domain=pyo.Binary)
    can = problem.upgrades["upper"].tolist()
    model.is_upgraded = pyo.Var(
        range(len(can)), domain=pyo.Binary, bounds=lambda _, u: (0, can[u])
    )
    whole = demands["single_source"].to_numpy()[flows["demand"]]
    model.is_source = pyo.Var(np.flatnonzero(whole).tolist(), domain=pyo.Binary)
    formulation_losses.backup_variables(model, problem)
    formulation_service.computing_variables(model, problem)


def _open_link(model: pyo.ConcreteModel, problem: ReducedProblem) -> None:
    """Let units stand at open sites alone."""
    site = problem.options["site"].tolist()
    most = problem.options[["upper", "each"]].min(axis=1).tolist()

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
    model.own_limit = packing(model, table["limit"][shared], share, limit)


def _site_power(model: pyo.ConcreteModel, problem: ReducedProblem) -> None:
    """Fit the units at one site into the power of the site."""
    table = problem.options
    limit = problem.sites["max_power_kw"].dropna().to_dict()
    shared = table["site"].duplicated(keep=False)
    model.site_power = packing(model, table["site"][shared], table["rated_kw"], limit)


def _site_roof(model: pyo.ConcreteModel, problem: ReducedProblem) -> None:
    """Fit the units at one building onto its roof, where its area is given."""
    if "roof_area_m2" not in problem.sites:
        return
    table = problem.options
    limit = problem.sites["roof_area_m2"].dropna().to_dict()
    site = table["site"]
    model.site_roof = packing(model, site, table["footprint_m2"], limit)


def _grid_rows(model: pyo.ConcreteModel, problem: ReducedProblem) -> None:
    """Fit the draw of all units into headroom and what upgrades add to it."""
    matrix, added = problem.row_terms, problem.upgrade_terms
    limit = problem.rows["limit"].tolist()
    units, upgrades = list(model.units.values()), list(model.is_upgraded.values())

    def part(of: sparse.csr_array, e: int) -> Any:  # noqa: ANN401
        own = slice(of.indptr[e], of.indptr[e + 1])
        return zip(of.data[own].tolist(), of.indices[own], strict=True)

    def rule(_: pyo.ConcreteModel, e: int) -> Any:  # noqa: ANN401
        terms = [(a, units[m]) for a, m in part(matrix, e)]
        terms += [(-more, upgrades[u]) for more, u in part(added, e)]
        return linear(terms) <= limit[e]

    filled = np.flatnonzero(np.diff(matrix.indptr)).tolist()
    model.grid_rows = pyo.Constraint(filled, rule=rule)


def _group_units(model: pyo.ConcreteModel, problem: ReducedProblem) -> None:
    """Cap the number of units in a group of sites."""
    group = problem.members.set_index("option")["group"]
    limit = problem.groups["max_units"].dropna().to_dict()
    one = pd.Series(1.0, index=problem.options.index)
    model.group_units = packing(model, group, one, limit)


def _group_power(model: pyo.ConcreteModel, problem: ReducedProblem) -> None:
    """Cap the draw of a group of sites."""
    group = problem.members.set_index("option")["group"]
    limit = problem.groups["max_kw"].dropna().to_dict()
    model.group_power = packing(model, group, problem.options["rated_kw"], limit)


def _group_link(model: pyo.ConcreteModel, problem: ReducedProblem) -> None:
    """Let units stand in onboarded groups alone."""
    most = problem.options["upper"].tolist()

    def rule(_: pyo.ConcreteModel, g: int, m: int) -> Any:  # noqa: ANN401
        return model.units[m] - most[m] * model.is_onboarded[g] <= 0.0

    pairs = problem.members[["group", "option"]].itertuples(index=False, name=None)
    linked = [(g, m) for g, m in pairs if g in model.is_onboarded]
    model.group_link = pyo.Constraint(linked, rule=rule)


#: What builds the objective and each constraint, by the name of its component.
CONSTRAINTS = {
    **formulation_money.CONSTRAINTS,
    **formulation_service.CONSTRAINTS,
    "open_link": _open_link,
    "own_limit": _own_limit,
    "site_power": _site_power,
    "site_roof": _site_roof,
    "grid_rows": _grid_rows,
    "group_units": _group_units,
    "group_power": _group_power,
    "group_link": _group_link,
    **formulation_time.CONSTRAINTS,
    **formulation_losses.CONSTRAINTS,
}
