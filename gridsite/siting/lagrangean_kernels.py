r"""
The inner problems of the Lagrangean relaxation, one pool at a time, compiled.

With prices :math:`\pi_d` of demand, a flow is worth :math:`\pi_d - c_k` per kW.
``gain(C)`` is the most that a pool can earn with a capacity of ``C`` kW: flows
fill it in the order of their worth. It is concave, so the best count of one
kind of unit stands where a unit stops earning its cost.

All pools together hold at least the demand that must be served. Pools of one unit
at most are chosen by their cost per kW until they do (a knapsack with a fraction
of the last, whose cost per kW is the price of capacity) [1]_.

References
----------
.. [1] G. Cornuejols, R. Sridharan, J. M. Thizy, "A comparison of heuristics and
   relaxations for the capacitated plant location problem", *European Journal of
   Operational Research* 50, 1991. :doi:`10.1016/0377-2217(91)90261-S`
"""

# numba types what it compiles
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import NamedTuple

import numba as nb
import numpy as np

#: Most steps of the search for the rent of a pool of several options.
_TANGENTS = 60

#: Share of the least worth that filled a pool, above which flows are looked for [-].
_NEAR_FLOOR = 0.8


class Flows(NamedTuple):
    """
    Flows, those of a pool side by side, the cheapest first.

    Parameters
    ----------
    start : numpy.ndarray of int, shape (n_pools + 1,)
        First flow of each pool, the cheapest first.
    demand : numpy.ndarray of int, shape (n_flows,)
        Demand of each flow.
    cost : numpy.ndarray of float, shape (n_flows,)
        Its cost. [money/kW]
    """

    start: np.ndarray
    demand: np.ndarray
    cost: np.ndarray


class Options(NamedTuple):
    """
    Options, those of a pool side by side, and in it those of a site.

    Parameters
    ----------
    start : numpy.ndarray of int, shape (n_pools + 1,)
        First option of each pool.
    site_end : numpy.ndarray of int, shape (n_options,)
        End of the options of the site of each option.
    cost : numpy.ndarray of float, shape (n_options,)
        Cost of a unit. [money]
    it_kw : numpy.ndarray of float, shape (n_options,)
        IT power of a unit. [kW]
    low, high : numpy.ndarray of float, shape (n_options,)
        Least and most units.
    fixed : numpy.ndarray of float, shape (n_options,)
        Fixed cost of its site. [money]
    computing : numpy.ndarray of float, shape (n_options,)
        What a kW that computes on it costs more than on others of its pool; 0 where
        it is alone. [money/kW]
    """

    start: np.ndarray
    site_end: np.ndarray
    cost: np.ndarray
    it_kw: np.ndarray
    low: np.ndarray
    high: np.ndarray
    fixed: np.ndarray
    computing: np.ndarray


class Work(NamedTuple):
    """
    What an evaluation fills.

    Parameters
    ----------
    served : numpy.ndarray of float, shape (n_demands,)
        What the pools serve of each demand. [kW]
    units : numpy.ndarray of float, shape (n_options,)
        Units of each option.
    value : numpy.ndarray of float, shape (n_pools,)
        Least cost of each pool. [money]
    rent : numpy.ndarray of float, shape (n_pools,)
        Price of the capacity of a pool of several options. [money/kW]
    at, used : numpy.ndarray of int
        Flows that are used, from the first of each pool on, and how many.
    worth, size : numpy.ndarray of float, shape (n_flows,)
        What they earn and carry. [money/kW, kW]
    floor : numpy.ndarray of float, shape (n_pools,)
        Worth below which flows are unlikely to be used: a hint. [money/kW]
    """

    served: np.ndarray
    units: np.ndarray
    value: np.ndarray
    rent: np.ndarray
    at: np.ndarray
    used: np.ndarray
    worth: np.ndarray
    size: np.ndarray
    floor: np.ndarray


@nb.njit(cache=True)
def _worthy(first, last, flows, need, price, top, floor, work):
    """List the flows that earn more than a floor; return their end and all need."""
    n, total = first, 0.0
    demand, cost = flows.demand, flows.cost
    at, worths, size = work.at, work.worth, work.size
    for k in range(first, last):
        if cost[k] >= top - floor:
            break  # the rest is dearer
        d = demand[k]
        worth = price[d] - cost[k]
        if worth > floor:
            at[n], worths[n], size[n] = k, worth, need[d]
            total += need[d]
            n += 1
    return n, total


@nb.njit(cache=True)
def _worthiest(p, flows, need, price, top, options, work):
    """List flows of a pool of one option, at least those that fill its room."""
    first, last, a = flows.start[p], flows.start[p + 1], options.start[p]
    if work.floor[p] > 0.0:
        n, total = _worthy(first, last, flows, need, price, top, work.floor[p], work)
        if total >= options.high[a] * options.it_kw[a]:
            return n, total
    return _worthy(first, last, flows, need, price, top, 0.0, work)


@nb.njit(cache=True)
def _swap(at, worth, size, i, j):
    at[i], at[j] = at[j], at[i]
    worth[i], worth[j] = worth[j], worth[i]
    size[i], size[j] = size[j], size[i]


@nb.njit(cache=True)
def _parted(low, high, at, worth, size):
    """Put flows above a pivot first, those below it last; return ends and sizes."""
    a, b, c = worth[low], worth[(low + high) // 2], worth[high - 1]
    pivot = max(min(a, b), min(max(a, b), c))
    above, i, room_above, room_equal = low, low, 0.0, 0.0
    while i < high:
        if worth[i] > pivot:
            room_above += size[i]
            _swap(at, worth, size, above, i)
            above, i = above + 1, i + 1
        elif worth[i] < pivot:
            high -= 1
            _swap(at, worth, size, i, high)
        else:
            room_equal += size[i]
            i += 1
    return above, high, room_above, room_equal


@nb.njit(cache=True)
def _gain(room, low, high, at, worth, size):
    """Return the gain of a room, the end of whole flows and the room then left."""
    gain = 0.0
    while low < high:
        above, below, room_above, room_equal = _parted(low, high, at, worth, size)
        if room_above > room:
            high = above
            continue
        for i in range(low, above):
            gain += worth[i] * size[i]
        low, room = above, room - room_above
        if room_equal > room:
            while low < below and size[low] <= room:
                gain += worth[low] * size[low]
                room -= size[low]
                low += 1
            return (
                (gain + worth[low] * room, low, room)
                if low < below
                else (gain, low, 0.0)
            )
        if low < below:
            gain += worth[low] * room_equal
            low, room = below, room - room_equal
    return gain, low, 0.0


@nb.njit(cache=True)
def _best_count(low, high, it_kw, cost, first, last, work):
    """Return the count within bounds at which units stop earning their cost."""
    each, room = cost / it_kw, 0.0
    for i in range(first, last):
        if work.worth[i] > each:
            room += work.size[i]
    if cost < 0.0:
        room = high * it_kw
    below = min(max(np.floor(room / it_kw), low), high)
    above = min(below + 1.0, high)
    v_above = (
        cost * above
        - _gain(above * it_kw, first, last, work.at, work.worth, work.size)[0]
    )
    if above == below:
        return below, v_above
    v_below = (
        cost * below
        - _gain(below * it_kw, first, last, work.at, work.worth, work.size)[0]
    )
    return (below, v_below) if v_below <= v_above else (above, v_above)


@nb.njit(cache=True)
def _one(a, first, last, total, options, work):
    """Return count, value, end of flows and least worth of a pool with units."""
    low, it_kw, cost = max(options.low[a], 1.0), options.it_kw[a], options.cost[a]
    n = 1.0
    if options.high[a] > 1.0:
        n, _ = _best_count(low, options.high[a], it_kw, cost, first, last, work)
    if total <= n * it_kw:
        gain = 0.0
        for i in range(first, last):
            gain += work.worth[i] * work.size[i]
        return n, options.fixed[a] + cost * n - gain, last, 0.0
    gain, end, part = _gain(n * it_kw, first, last, work.at, work.worth, work.size)
    least = 0.0
    if part > 0.0:
        work.size[end] = part
        least = work.worth[end] if n == options.high[a] else 0.0
        end += 1
    return n, options.fixed[a] + cost * n - gain, end, least


@nb.njit(cache=True)
def _net(m, rent, options):
    """Return what a unit costs less what it earns at a rent per kW."""
    return options.cost[m] - max(rent - options.computing[m], 0.0) * options.it_kw[m]


@nb.njit(cache=True)
def _site_value(a, b, rent, options):
    """Return the least cost of the options a to b of one site at a rent per kW."""
    value, old = options.fixed[a], False
    for m in range(a, b):
        net = _net(m, rent, options)
        value += net * (options.high[m] if net < 0.0 else options.low[m])
        old = old or options.low[m] > 0.0
    return value if old else min(value, 0.0)


@nb.njit(cache=True)
def _at_rent(a, b, rent, share, first, last, options, work):
    """Return value and its slope at a rent; add a share of the units."""
    value = slope = 0.0
    for i in range(first, last):
        if work.worth[i] > rent:
            value -= work.size[i] * (work.worth[i] - rent)
            slope += work.size[i]
    m = a
    while m < b:
        end = options.site_end[m]
        least = _site_value(m, end, rent, options)
        value += least
        for i in range(m, end):
            net = _net(i, rent, options)
            n = options.high[i] if least < 0.0 and net < 0.0 else options.low[i]
            if rent > options.computing[i] or options.computing[i] == 0.0:
                slope -= options.it_kw[i] * n
            work.units[i] += share * n
        m = end
    return value, slope


@nb.njit(cache=True)
def _several(a, b, first, last, options, work):
    """
    Solve a pool of several options with its capacity priced.

    The value is concave in the rent: where the tangents of two rents meet, the
    next rent is tried, until it is on both of them. Returns value and rent.
    """
    left, right = 0.0, 1e-9
    for i in range(first, last):
        right = max(right, work.worth[i] + 1e-9)
    v_left, up = _at_rent(a, b, left, 0.0, first, last, options, work)
    v_right, down = _at_rent(a, b, right, 0.0, first, last, options, work)
    if up <= 0.0:
        right, v_right, down, share = left, v_left, 0.0, 1.0
    else:
        for _ in range(_TANGENTS):
            if up - down <= 0.0 or right - left <= 1e-12 * right:
                break
            middle = (v_right - v_left + up * left - down * right) / (up - down)
            if not left < middle < right:
                break
            meet = v_left + up * (middle - left)
            value, slope = _at_rent(a, b, middle, 0.0, first, last, options, work)
            if slope > 0.0:
                left, v_left, up = middle, value, slope
            else:
                right, v_right, down = middle, value, slope
            if value >= meet - 1e-12 * abs(meet):
                break
        share = -down / (up - down) if up > down else 0.0
    for rent, part in ((left, share), (right, 1.0 - share)):
        _at_rent(a, b, rent, part, first, last, options, work)
    for i in range(first, last):
        part = share if work.worth[i] > left else 0.0
        part += 1.0 - share if work.worth[i] > right else 0.0
        work.size[i] *= part
    return (v_left, left) if v_left >= v_right else (v_right, right)


@nb.njit(cache=True)
def _is_single(p, options):
    """Tell whether a pool has one option of one unit at most."""
    a = options.start[p]
    return options.start[p + 1] == a + 1 and options.high[a] <= 1.0


@nb.njit(cache=True)
def _cover(flows, options, hard, work):
    """
    Choose pools of one unit until all pools hold the demand that must be served.

    Returns the price of capacity and the demand left to these pools.
    """
    n_pool = len(options.start) - 1
    ratio, left = np.full(n_pool, np.inf), hard
    lacks = hard
    for p in range(n_pool):
        a, b = options.start[p], options.start[p + 1]
        if flows.start[p] == flows.start[p + 1]:
            continue
        if not _is_single(p, options):
            for m in range(a, b):
                left -= options.high[m] * options.it_kw[m]
                lacks -= options.high[m] * options.it_kw[m]
        elif options.high[a] >= 1.0:
            if work.units[a] >= 1.0:
                lacks -= options.it_kw[a]
            else:
                ratio[p] = work.value[p] / options.it_kw[a]
    price = 0.0
    if lacks <= 0.0:
        return price, left
    for p in np.argsort(ratio):
        if lacks <= 0.0 or ratio[p] == np.inf:
            break
        a, price = options.start[p], max(ratio[p], 0.0)
        work.units[a] = min(1.0, lacks / options.it_kw[a])
        lacks -= options.it_kw[a]
    return price, left


@nb.njit(cache=True)
def evaluate(flows, need, price, options, hard, work):
    """
    Solve every pool at given prices.

    Parameters
    ----------
    flows : Flows
        The flows.
    need, price : numpy.ndarray of float, shape (n_demands,)
        Size and price of each demand.
    options : Options
        The options.
    hard : float
        Demand that must be served. [kW]
    work : Work
        Filled.

    Returns
    -------
    capacity_price : float
        Price of the capacity of pools of one unit at most, in ``value``. [money/kW]
    left : float
        Demand that these pools have to hold, paid at that price. [kW]
    """
    work.served[:] = 0.0
    work.units[:] = 0.0
    work.value[:] = 0.0
    work.rent[:] = 0.0
    n_pool = len(flows.start) - 1
    top = price.max() if len(price) else 0.0
    for p in range(n_pool):
        first, a, b = flows.start[p], options.start[p], options.start[p + 1]
        work.used[p] = 0
        if b == a or (b == a + 1 and options.high[a] < 1.0):
            continue
        if b > a + 1:
            last, _ = _worthy(
                first, flows.start[p + 1], flows, need, price, top, 0.0, work
            )
            work.value[p], work.rent[p] = _several(a, b, first, last, options, work)
        else:
            last, total = _worthiest(p, flows, need, price, top, options, work)
            n, value, last, worth = _one(a, first, last, total, options, work)
            work.floor[p] = _NEAR_FLOOR * worth
            worth_it = value < 0.0 or options.low[a] > 0.0
            work.units[a] = n if worth_it else 0.0
            keep = worth_it or options.high[a] == 1.0
            work.value[p] = value if keep else 0.0
        work.used[p] = last - first
    capacity_price, left = _cover(flows, options, hard, work)
    for p in range(n_pool):
        a, share = options.start[p], 1.0
        if options.start[p + 1] == a + 1:
            share = min(work.units[a], 1.0)
            if _is_single(p, options):
                value = work.value[p]
                if options.high[a] >= 1.0 and flows.start[p] < flows.start[p + 1]:
                    value -= capacity_price * options.it_kw[a]
                work.value[p] = value if options.low[a] > 0.0 else min(value, 0.0)
        if share > 0.0:
            for i in range(flows.start[p], flows.start[p] + work.used[p]):
                work.served[flows.demand[work.at[i]]] += share * work.size[i]
    return capacity_price, left


@nb.njit(cache=True)
def _counts_within(low, high, it_kw, cost, fixed, most, first, last, work):
    """Return the least and largest count whose value is at most ``most``."""
    n, value = _best_count(max(low, 1.0), high, it_kw, cost, first, last, work)
    none = low == 0.0 and most >= 0.0
    if value + fixed > most:
        return (0.0, 0.0) if none else (high, low)
    ends = (max(low, 1.0), high)
    found = np.array([n, n])
    for side in range(2):  # the value is convex from one unit on
        good, end = n, ends[side]
        while abs(end - good) >= 1.0:
            middle = np.floor(0.5 * (good + end))
            if middle == good:
                middle = end
            v = (
                fixed
                + cost * middle
                - _gain(middle * it_kw, first, last, work.at, work.worth, work.size)[0]
            )
            if v <= most:
                good = middle
                if good == end:
                    break
            elif middle == end:
                end = good
            else:
                end = middle
        found[side] = good
    return (0.0 if none else found[0]), found[1]


@nb.njit(cache=True)
def _without(m, a, rent, options):
    """Return what one unit of an option at least adds to the cost of its site."""
    first = m
    while first > a and options.site_end[first - 1] == options.site_end[m]:
        first -= 1
    end = options.site_end[m]
    forced = options.fixed[first] - _site_value(first, end, rent, options)
    for i in range(first, end):
        net = _net(i, rent, options)
        fewest = 1.0 if i == m else options.low[i]
        forced += net * (options.high[i] if net < 0.0 else fewest)
    return forced


@nb.njit(cache=True)
def admissible(flows, need, price, options, capacity_price, slack, work, least, most):
    """
    Find the counts that no plan better than the bound plus ``slack`` leaves.

    Parameters
    ----------
    flows : Flows
        The flows.
    need, price : numpy.ndarray of float, shape (n_demands,)
        Size and price of each demand.
    options : Options
        The options.
    capacity_price : float
        From ``evaluate`` at the same prices. [money/kW]
    slack : float
        Cost of the best plan less the bound at these prices.
    work : Work
        From ``evaluate`` at the same prices.
    least, most : numpy.ndarray of float, shape (n_options,)
        Filled: bounds of the counts.
    """
    least[:] = options.low
    most[:] = options.high
    for p in range(len(flows.start) - 1):
        first, a, b = flows.start[p], options.start[p], options.start[p + 1]
        if b > a + 1:
            for m in range(a, b):
                open_ = options.low[m] == 0.0 and options.high[m] > 0.0
                if open_ and _without(m, a, work.rent[p], options) > slack:
                    most[m] = 0.0
        elif b == a + 1 and options.high[a] > options.low[a]:
            last, _ = _worthy(
                first, flows.start[p + 1], flows, need, price, np.inf, 0.0, work
            )
            cost = options.cost[a]
            if _is_single(p, options) and flows.start[p + 1] > first:
                cost -= capacity_price * options.it_kw[a]
            least[a], most[a] = _counts_within(
                options.low[a], options.high[a], options.it_kw[a], cost,
                options.fixed[a], work.value[p] + slack, first, last, work,
            )  # fmt: skip
