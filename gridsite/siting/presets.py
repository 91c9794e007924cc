"""Classic location problems as siting problems, without any grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.errors import DataError
from gridsite.siting.problem import (
    SitingProblem,
    empty_table,
    with_single_source,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

#: The one workload of a preset.
WORKLOAD = "all"


def facility_location(
    fixed_cost: ArrayLike,
    capacity: ArrayLike,
    demand: ArrayLike,
    cost: ArrayLike,
    *,
    single_source: bool = False,
) -> SitingProblem:
    """
    Return a capacitated facility location problem with fixed costs.

    Parameters
    ----------
    fixed_cost : array_like of float, shape (n_sites,)
        Cost of opening a site. [money]
    capacity : array_like of float, shape (n_sites,)
        What a site can serve. [kW]
    demand : array_like of float, shape (n_customers,)
        What a customer needs. [kW]
    cost : array_like of float, shape (n_sites, n_customers)
        Cost of service; a pair without a number cannot be served. [money/kW]
    single_source : bool, default False
        Whether each customer is served from one site as a whole.

    Returns
    -------
    SitingProblem
        Sites ``s0000``, ... and zones ``z0000``, ..., in the order given.

    References
    ----------
    .. [1] G. Cornuejols, R. Sridharan, J. M. Thizy, "A comparison of heuristics
       and relaxations for the capacitated plant location problem", *European
       Journal of Operational Research* 50(3), 1991.
       :doi:`10.1016/0377-2217(91)90261-S`

    Examples
    --------
    >>> problem = facility_location([3, 4], [5, 5], [2, 2], [[1, 9], [9, 1]])
    >>> len(problem.arcs)
    4
    """
    problem = _problem(fixed_cost, capacity, demand, cost)
    return with_single_source(problem) if single_source else problem


def p_median(demand: ArrayLike, cost: ArrayLike, p: int) -> SitingProblem:
    """
    Return the problem of opening ``p`` sites at the least cost of service.

    Parameters
    ----------
    demand : array_like of float, shape (n_customers,)
        Weight of each customer. [kW]
    cost : array_like of float, shape (n_sites, n_customers)
        Cost, such as distance; a pair without a number cannot be
        served. [money/kW]
    p : int
        Most sites that may open.

    Returns
    -------
    SitingProblem
        Its objective is the sum of demand times cost.

    References
    ----------
    .. [1] S. L. Hakimi, "Optimum locations of switching centers and the absolute
       centers and medians of a graph", *Operations Research* 12(3), 1964.
       :doi:`10.1287/opre.12.3.450`

    Examples
    --------
    >>> p_median([1, 1], [[0, 5], [5, 0]], 1).groups["max_units"].tolist()
    [1.0, 1.0]
    """
    none = np.zeros(len(np.asarray(cost)))
    total = np.asarray(demand, dtype=float).sum()
    return _problem(none, none + max(total, 1.0), demand, cost, most=p)


def set_covering(covers: ArrayLike) -> SitingProblem:
    """
    Return the location set covering problem: the fewest sites that cover all.

    Parameters
    ----------
    covers : array_like of bool, shape (n_sites, n_customers)
        Which site covers which customer.

    Returns
    -------
    SitingProblem
        Its objective is the number of sites.

    References
    ----------
    .. [1] C. Toregas, R. Swain, C. ReVelle, L. Bergman, "The location of
       emergency service facilities", *Operations Research* 19(6), 1971.
       :doi:`10.1287/opre.19.6.1363`

    Examples
    --------
    >>> len(set_covering([[True, False], [True, True]]).arcs)
    3
    """
    near = np.asarray(covers, dtype=bool)
    n_site, n_customer = near.shape
    one = np.ones(n_customer)
    cost = np.where(near, 0.0, np.nan)
    return _problem(np.ones(n_site), np.full(n_site, n_customer), one, cost)


def maximal_covering(demand: ArrayLike, covers: ArrayLike, p: int) -> SitingProblem:
    """
    Return the maximal covering location problem: ``p`` sites that cover most.

    Parameters
    ----------
    demand : array_like of float, shape (n_customers,)
        Weight of each customer. [kW]
    covers : array_like of bool, shape (n_sites, n_customers)
        Which site covers which customer.
    p : int
        Most sites that may open.

    Returns
    -------
    SitingProblem
        Its objective is the demand that is not covered.

    References
    ----------
    .. [1] R. Church, C. ReVelle, "The maximal covering location problem", *Papers
       of the Regional Science Association* 32, 1974. :doi:`10.1007/BF01942293`

    Examples
    --------
    >>> problem = maximal_covering([3, 1], [[True, False], [False, True]], 1)
    >>> problem.workloads["unserved_cost"].tolist()
    [1.0]
    """
    near = np.asarray(covers, dtype=bool)
    total = max(np.asarray(demand, dtype=float).sum(), 1.0)
    none = np.zeros(len(near))
    cost = np.where(near, 0.0, np.nan)
    return _problem(none, none + total, demand, cost, most=p, unserved_cost=1.0)


def _problem(
    fixed_cost: ArrayLike,
    capacity: ArrayLike,
    demand: ArrayLike,
    cost: ArrayLike,
    *,
    most: int | None = None,
    unserved_cost: float | None = None,
) -> SitingProblem:
    fixed, room = np.asarray(fixed_cost, float), np.asarray(capacity, float)
    need, each = np.asarray(demand, float), np.asarray(cost, float)
    if not each.shape == (len(fixed), len(need)) == (len(room), len(need)):
        msg = (
            f"cost must have a row per site and a column per customer: got "
            f"{each.shape} for {len(fixed)} fixed costs, {len(room)} capacities and "
            f"{len(need)} customers"
        )
        raise DataError(msg)
    width = len(str(max(each.shape)))
    sites = np.array([f"s{j:0{width}}" for j in range(len(fixed))], dtype=object)
    zones = np.array([f"z{i:0{width}}" for i in range(len(need))], dtype=object)
    at, of = np.nonzero(~np.isnan(each))
    groups = empty_table("groups")
    if most is not None:
        groups = pd.DataFrame({"group_id": "all", "site_id": sites, "kind": "area"})
        groups = groups.assign(max_units=most, max_kw=None, onboarding_cost=0.0)
    return SitingProblem(
        sites=_sites(sites, fixed),
        site_options=_options(sites),
        units=_units(sites, room),
        workloads=pd.DataFrame(
            {
                "workload": [WORKLOAD],
                "rtt_limit_ms": 1.0,
                "rtt_target_ms": 1.0,
                "min_share_within_target": 0.0,
                "unserved_cost": unserved_cost,
                "redundancy": 0,
            }
        ),
        demand=pd.DataFrame(
            {"zone_id": zones, "workload": WORKLOAD, "period": 0, "demand_it_kw": need}
        ),
        arcs=pd.DataFrame(
            {
                "zone_id": zones[of],
                "workload": WORKLOAD,
                "site_id": sites[at],
                "period": 0,
                "rtt_ms": 0.0,
                "cost_per_it_kw": each[at, of],
            }
        ),
        rows=empty_table("rows"),
        row_coefficients=empty_table("row_coefficients"),
        groups=groups,
        present_value_factor=1.0,
    )


def _sites(sites: np.ndarray, fixed: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "site_id": sites,
            "kind": "central",
            "building_id": "",
            "feeder_id": "",
            "utility": "",
            "area": "",
            "fixed_capital": fixed,
            "max_power_kw": None,
            "access_ms": 0.0,
        }
    )


def _options(sites: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "site_id": sites,
            "unit": sites,
            "port_id": "",
            "unit_capital": 0.0,
            "unit_per_year": 0.0,
            "max_units": 1,
            "existing_units": 0,
            "available_from": 0,
            "own_limit_kw": None,
        }
    )


def _units(names: np.ndarray, it_kw: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "unit": names,
            "rated_kw": it_kw,
            "it_kw": it_kw,
            "power_factor": 1.0,
            "phases": "ABC",
            "footprint_m2": 0.0,
            "capital_cost": 0.0,
            "life_years": 1.0,
            "lead_periods": 0,
            "min_power_share": 0.0,
        }
    )
