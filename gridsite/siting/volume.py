"""
The volume algorithm on the relaxation of a siting problem, compiled [1]_.

References
----------
.. [1] F. Barahona, R. Anbil, "The volume algorithm: producing primal solutions
   with a subgradient method", *Mathematical Programming* 87, 2000.
   :doi:`10.1007/s101070050002`
"""

# numba types what it compiles
# mypy: disable-error-code="no-untyped-def"
# ruff: noqa: ANN001, ANN202

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np

from gridsite.siting.lagrangean_kernels import Flows, Options, evaluate

#: Steps without a better bound after which the step length shrinks.
_PATIENCE = 20

#: Step length below which the search ends [-].
_SHORTEST = 1e-4

#: Distance to the cost of a known plan that steps aim at, at least [-].
_NEAR = 1e-3

#: Distance to the bound that steps aim at without a plan [-].
_FAR = 0.05

#: Weight of the last step in the averages [-].
_FRESH = 0.1

#: Share by which a bound is lowered for what rounding may add [-].
_ROUNDING = 1e-12


class Sparse(NamedTuple):
    """
    A matrix of compressed rows.

    Parameters
    ----------
    start, column : numpy.ndarray of int
        First entry of each row, and column of each entry.
    value : numpy.ndarray of float
        The entries.
    """

    start: np.ndarray
    column: np.ndarray
    value: np.ndarray


class Model(NamedTuple):
    """
    What a relaxation is evaluated from.

    Parameters
    ----------
    flows, options : Flows, Options
        The pools.
    need : numpy.ndarray of float, shape (n_demands,)
        What each demand needs. [kW]
    dearest : numpy.ndarray of float, shape (n_demands,)
        Its cost of being unserved, infinite where it must be served. [money/kW]
    hard : float
        Demand that must be served. [kW]
    rows, added : Sparse
        What options take of each row, and what upgrades add to it.
    limit : numpy.ndarray of float, shape (n_rows,)
        Limit of each row.
    upgrade_cost, upgrade_most : numpy.ndarray of float, shape (n_upgrades,)
        Cost and largest number of each upgrade. [money, -]
    constant : float
        What is paid in any case. [money]
    """

    flows: Flows
    options: Options
    need: np.ndarray
    dearest: np.ndarray
    hard: float
    rows: Sparse
    added: Sparse
    limit: np.ndarray
    upgrade_cost: np.ndarray
    upgrade_most: np.ndarray
    constant: float


class State(NamedTuple):
    """
    Where the algorithm stands.

    Parameters
    ----------
    demand, rows : numpy.ndarray of float
        The best prices of demand and rows. [money/kW, money]
    gradient, over, units : numpy.ndarray of float
        Averages of unmet demand, of exceeded rows, and of the units of options.
    best, target, length, waiting : numpy.ndarray of float, shape (1,)
        Best bound, bound to aim at, length of a step, steps without a better bound.
    """

    demand: np.ndarray
    rows: np.ndarray
    gradient: np.ndarray
    over: np.ndarray
    units: np.ndarray
    best: np.ndarray
    target: np.ndarray
    length: np.ndarray
    waiting: np.ndarray


@nb.njit(cache=True)
def _times(matrix, values, out):
    for r in range(len(matrix.start) - 1):
        total = 0.0
        for i in range(matrix.start[r], matrix.start[r + 1]):
            total += matrix.value[i] * values[matrix.column[i]]
        out[r] = total


@nb.njit(cache=True)
def _priced(matrix, prices, cost):
    """Return costs plus what rows charge at their prices."""
    total = cost.copy()
    for r in range(len(matrix.start) - 1):
        if prices[r] != 0.0:
            for i in range(matrix.start[r], matrix.start[r + 1]):
                total[matrix.column[i]] += matrix.value[i] * prices[r]
    return total


@nb.njit(cache=True)
def at_rows(model, rows):  # noqa: ANN201
    """
    Return the options with the prices of rows in their cost.

    Parameters
    ----------
    model : Model
        The relaxation.
    rows : numpy.ndarray of float, shape (n_rows,)
        Prices of rows. [money]

    Returns
    -------
    Options
        The options.
    """
    plain = model.options
    cost = _priced(model.rows, rows, plain.cost)
    return Options(
        plain.start, plain.site_end, cost, plain.it_kw, plain.low, plain.high,
        plain.fixed, plain.computing,
    )  # fmt: skip


@nb.njit(cache=True)
def prove(model, demand, rows, work, upgraded):  # noqa: ANN201
    """
    Return the bound that prices prove.

    Parameters
    ----------
    model : Model
        The relaxation.
    demand, rows : numpy.ndarray of float
        Prices of demand and rows, within their bounds. [money/kW, money]
    work : Work
        Filled.
    upgraded : numpy.ndarray of float, shape (n_upgrades,)
        Filled with the upgrades that pay.

    Returns
    -------
    bound : float
        Lowered by what rounding may have added. [money]
    capacity_price : float
        From ``evaluate``. [money/kW]
    """
    options = at_rows(model, rows)
    price, left = evaluate(model.flows, model.need, demand, options, model.hard, work)
    total = model.constant + price * left
    size = abs(model.constant) + abs(price * left)
    for d in range(len(demand)):
        total += model.need[d] * demand[d]
        size += abs(model.need[d] * demand[d])
    for r in range(len(rows)):
        total -= model.limit[r] * rows[r]
        size += abs(model.limit[r] * rows[r])
    for p in range(len(work.value)):
        total += work.value[p]
        size += abs(work.value[p])
    worth = _priced(model.added, -rows, model.upgrade_cost)
    for u in range(len(worth)):
        upgraded[u] = model.upgrade_most[u] if worth[u] < 0.0 else 0.0
        total += worth[u] * upgraded[u]
        size += abs(worth[u] * upgraded[u])
    return total - _ROUNDING * size, price


@nb.njit(cache=True)
def _violation(model, work, upgraded, gradient, over):
    """Fill in unmet demand, and exceeded rows, of the last evaluation."""
    added = np.empty_like(over)
    _times(model.rows, work.units, over)
    _times(model.added, upgraded, added)
    over -= model.limit + added
    gradient[:] = (model.need - work.served) / model.need


@nb.njit(cache=True)
def start(model, state, work, upgraded, upper):  # noqa: ANN201
    """
    Evaluate the prices to start from.

    Parameters
    ----------
    model : Model
        The relaxation.
    state : State
        With prices; the rest is filled, but for the length of a step.
    work : Work
        Filled.
    upgraded : numpy.ndarray of float, shape (n_upgrades,)
        Filled.
    upper : float
        Cost of a known plan, or infinite. [money]
    """
    best, _ = prove(model, state.demand, state.rows, work, upgraded)
    _violation(model, work, upgraded, state.gradient, state.over)
    state.units[:] = work.units
    state.best[0], state.waiting[0] = best, 0.0
    state.target[0] = max(upper, best) if np.isfinite(upper) else _aim(best)


@nb.njit(cache=True)
def _aim(best):
    return best + _FAR * abs(best) + 1e-9


@nb.njit(cache=True)
def _average(old, new):
    for i in range(len(old)):
        old[i] = _FRESH * new[i] + (1.0 - _FRESH) * old[i]


@nb.njit(cache=True)
def _judge(state, value, upper):
    """Shorten or lengthen steps, and aim higher, after an evaluation."""
    best = max(state.best[0], value)
    state.waiting[0] += 1.0
    if value > state.best[0]:
        state.best[0], state.waiting[0] = best, 0.0
        state.length[0] = min(state.length[0] * 1.1, 2.0)
        target = state.target[0]
        if np.isinf(upper) and best > target - 0.02 * abs(target):
            state.target[0] = _aim(best)
        elif best > target - _NEAR * abs(target):
            state.target[0] = best + _NEAR * abs(best)
    elif state.waiting[0] >= _PATIENCE:
        state.waiting[0] = 0.0
        state.length[0] *= 0.66


@nb.njit(cache=True)
def improve(model, state, work, upgraded, steps, upper, enough):  # noqa: ANN201
    """
    Improve prices in place.

    Parameters
    ----------
    model : Model
        The relaxation.
    state : State
        From ``start`` or an earlier call.
    work : Work
        Filled.
    upgraded : numpy.ndarray of float, shape (n_upgrades,)
        Filled.
    steps : int
        Most evaluations.
    upper : float
        Cost of a known plan, or infinite. [money]
    enough : float
        Bound at which to stop. [money]

    Returns
    -------
    bool
        True if more steps would not help.
    """
    seen, row_seen = np.empty_like(state.demand), np.empty_like(state.rows)
    for _ in range(steps):
        norm = np.sum(state.gradient**2) + np.sum(state.over**2)
        best = state.best[0]
        if norm < 1e-16 or state.length[0] < _SHORTEST or best >= enough:
            return True
        step = state.length[0] * (state.target[0] - best) / norm
        demand = np.minimum(
            state.demand + step * state.gradient / model.need, model.dearest
        )
        rows = np.maximum(state.rows + step * state.over, 0.0)
        value, _ = prove(model, demand, rows, work, upgraded)
        _violation(model, work, upgraded, seen, row_seen)
        _average(state.gradient, seen)
        _average(state.over, row_seen)
        _average(state.units, work.units)
        if value > best:
            state.demand[:] = demand
            state.rows[:] = rows
        _judge(state, value, upper)
    return False
