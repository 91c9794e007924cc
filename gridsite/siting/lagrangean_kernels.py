r"""
The inner problems of the Lagrangean relaxation, one pool at a time, compiled.

With prices :math:`\pi_d` of demand, a flow is worth :math:`\pi_d - c_k` per kW.
``gain(C)`` is the most that a pool can earn with a capacity of ``C`` kW: flows
fill it in the order of their worth. It is concave, so the best count of one
kind of unit stands where a unit stops earning its cost.
"""

from __future__ import annotations

import numba as nb
import numpy as np

#: Steps of the search for the price of capacity in pools of several options.
_HALVINGS = 40


@nb.njit(cache=True)
def _worth(first, last, flow_demand, flow_cost, price):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Return the flows that earn, best first, and what they earn per kW."""
    n = 0
    at = np.empty(last - first, dtype=np.int64)
    worth = np.empty(last - first)
    for k in range(first, last):
        w = price[flow_demand[k]] - flow_cost[k]
        if w > 0.0:
            at[n], worth[n] = k, w
            n += 1
    order = np.argsort(-worth[:n])
    return at[:n][order], worth[:n][order]


@nb.njit(cache=True)
def _gain(room, at, worth, flow_demand, need):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Return what the flows earn with a room in kW."""
    total = 0.0
    for i in range(len(at)):
        size = min(need[flow_demand[at[i]]], room)
        total += size * worth[i]
        room -= size
        if room <= 0.0:
            break
    return total


@nb.njit(cache=True)
def _best_count(low, high, it_kw, cost, at, worth, flow_demand, need):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Return the count within bounds at which units stop earning their cost."""
    each = cost / it_kw
    room = 0.0
    for i in range(len(at)):
        if worth[i] <= each:
            break
        room += need[flow_demand[at[i]]]
        if room >= high * it_kw:
            break
    if cost < 0.0:
        room = high * it_kw
    below = min(max(np.floor(room / it_kw), low), high)
    above = min(below + 1.0, high)
    v_below = cost * below - _gain(below * it_kw, at, worth, flow_demand, need)
    v_above = cost * above - _gain(above * it_kw, at, worth, flow_demand, need)
    return (below, v_below) if v_below <= v_above else (above, v_above)


@nb.njit(cache=True)
def _fill(room, at, flow_demand, need, served):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Add what a room serves, best flows first."""
    for i in range(len(at)):
        d = flow_demand[at[i]]
        size = min(need[d], room)
        served[d] += size
        room -= size
        if room <= 0.0:
            break


@nb.njit(cache=True)
def _site_value(a, b, rent, cost, it_kw, low, high, fixed):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Return the least cost of the options a to b of one site at a rent per kW."""
    value, old = fixed[a], False
    for m in range(a, b):
        net = cost[m] - rent * it_kw[m]
        value += net * (high[m] if net < 0.0 else low[m])
        old = old or low[m] > 0.0
    return value if old else min(value, 0.0)


@nb.njit(cache=True)
def _at_rent(a, b, rent, at, worth, flow_demand, need, option):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Return value, kW that flow and kW of units when capacity has a rent."""
    _, site_end, cost, it_kw, low, high, fixed = option
    value = flowing = room = 0.0
    for i in range(len(at)):
        if worth[i] > rent:
            size = need[flow_demand[at[i]]]
            value -= size * (worth[i] - rent)
            flowing += size
    m = a
    while m < b:
        end = site_end[m]
        least = _site_value(m, end, rent, cost, it_kw, low, high, fixed)
        value += least
        is_open = least < 0.0
        for i in range(m, end):
            net = cost[i] - rent * it_kw[i]
            room += it_kw[i] * (high[i] if is_open and net < 0.0 else low[i])
        m = end
    return value, flowing, room


@nb.njit(cache=True)
def _take_at_rent(a, b, rent, share, at, worth, flow_demand, need, option, out):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Add a share of what flows and stands when capacity has a rent."""
    _, site_end, cost, it_kw, low, high, fixed = option
    served, units = out[0], out[1]
    for i in range(len(at)):
        if worth[i] > rent:
            served[flow_demand[at[i]]] += share * need[flow_demand[at[i]]]
    m = a
    while m < b:
        end = site_end[m]
        least = _site_value(m, end, rent, cost, it_kw, low, high, fixed)
        for i in range(m, end):
            net = cost[i] - rent * it_kw[i]
            units[i] += share * (high[i] if least < 0.0 and net < 0.0 else low[i])
        m = end


@nb.njit(cache=True)
def _several(a, b, at, worth, flow_demand, need, option, out):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Solve a pool of several options with its capacity priced; return the rent."""
    left, right = 0.0, (worth[0] if len(at) else 0.0) + 1e-9
    v_left, flowing, room = _at_rent(a, b, left, at, worth, flow_demand, need, option)
    over_left = flowing - room
    if over_left <= 0.0:
        _take_at_rent(a, b, left, 1.0, at, worth, flow_demand, need, option, out)
        return v_left, left
    v_right, flowing, room = _at_rent(a, b, right, at, worth, flow_demand, need, option)
    over_right = flowing - room
    for _ in range(_HALVINGS):
        if right - left <= 1e-12 * right:
            break
        middle = 0.5 * (left + right)
        value, flowing, room = _at_rent(
            a, b, middle, at, worth, flow_demand, need, option
        )
        if flowing - room > 0.0:
            left, v_left, over_left = middle, value, flowing - room
        else:
            right, v_right, over_right = middle, value, flowing - room
    share = -over_right / (over_left - over_right) if over_left > over_right else 0.0
    for rent, part in ((left, share), (right, 1.0 - share)):
        _take_at_rent(a, b, rent, part, at, worth, flow_demand, need, option, out)
    return (v_left, left) if v_left >= v_right else (v_right, right)


@nb.njit(cache=True)
def evaluate(flow, need, price, option, out):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    """
    Solve every pool at given prices.

    Parameters
    ----------
    flow : tuple of numpy.ndarray
        Start of the flows of each pool, and demand and cost of each flow.
    need, price : numpy.ndarray of float, shape (n_demands,)
        Size and price of each demand.
    option : tuple of numpy.ndarray
        Start of the options of each pool; for each option the end of those of its
        site, cost of a unit, its IT power, least and most units, fixed cost of the
        site.
    out : tuple of numpy.ndarray of float
        Filled: what the pools serve of each demand, the units of each option, the
        least cost of each pool, and the rent of its capacity where it has several
        options.
    """
    flow_start, flow_demand, flow_cost = flow
    option_start, _, cost, it_kw, low, high, fixed = option
    served, units, value, rent = out
    served[:] = 0.0
    units[:] = 0.0
    for p in range(len(flow_start) - 1):
        at, worth = _worth(
            flow_start[p], flow_start[p + 1], flow_demand, flow_cost, price
        )
        a, b = option_start[p], option_start[p + 1]
        rent[p] = 0.0
        if b - a == 1:
            start = max(low[a], 1.0)
            n, v = 0.0, 0.0
            if high[a] >= 1.0:
                n, v = _best_count(
                    start, high[a], it_kw[a], cost[a], at, worth, flow_demand, need
                )
                v += fixed[a]
                if low[a] == 0.0 and v >= 0.0:
                    n, v = 0.0, 0.0
            value[p], units[a] = v, n
            _fill(n * it_kw[a], at, flow_demand, need, served)
        elif b > a:
            value[p], rent[p] = _several(
                a, b, at, worth, flow_demand, need, option, out
            )
        else:
            value[p] = 0.0


@nb.njit(cache=True)
def _counts_within(low, high, it_kw, cost, fixed, most, at, worth, flow_demand, need):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Return the least and largest count whose value is at most ``most``."""
    n, value = _best_count(
        max(low, 1.0), high, it_kw, cost, at, worth, flow_demand, need
    )
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
            v = fixed + cost * middle
            v -= _gain(middle * it_kw, at, worth, flow_demand, need)
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
def admissible(flow, need, price, option, out, slack, least, most):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    """
    Find the counts that no plan better than the bound plus ``slack`` leaves.

    Parameters
    ----------
    flow : tuple of numpy.ndarray
        Start of the flows of each pool, and demand and cost of each flow.
    need, price : numpy.ndarray of float, shape (n_demands,)
        Size and price of each demand.
    option : tuple of numpy.ndarray
        Start of the options of each pool; for each option the end of those of its
        site, cost of a unit, its IT power, least and most units, fixed cost of the
        site.
    out : tuple of numpy.ndarray of float
        From ``evaluate`` at the same prices.
    slack : float
        Cost of the best plan less the bound at these prices.
    least, most : numpy.ndarray of float, shape (n_options,)
        Filled: bounds of the counts.
    """
    flow_start, flow_demand, flow_cost = flow
    option_start, site_end, cost, it_kw, low, high, fixed = option
    value, rent = out[2], out[3]
    least[:] = low
    most[:] = high
    for p in range(len(flow_start) - 1):
        a, b = option_start[p], option_start[p + 1]
        if b - a == 1:
            at, worth = _worth(
                flow_start[p], flow_start[p + 1], flow_demand, flow_cost, price
            )
            if high[a] > low[a]:
                least[a], most[a] = _counts_within(
                    low[a], high[a], it_kw[a], cost[a], fixed[a],
                    value[p] + slack, at, worth, flow_demand, need,
                )  # fmt: skip
            continue
        for m in range(a, b):
            if low[m] > 0.0 or high[m] == 0.0:
                continue
            first = m
            while first > a and site_end[first - 1] == site_end[m]:
                first -= 1
            free = _site_value(
                first, site_end[m], rent[p], cost, it_kw, low, high, fixed
            )
            forced = fixed[first]
            for i in range(first, site_end[m]):
                net = cost[i] - rent[p] * it_kw[i]
                forced += net * (high[i] if net < 0.0 else (1.0 if i == m else low[i]))
            if forced - free > slack:
                most[m] = 0.0
