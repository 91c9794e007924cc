"""A lower bound that needs no solver: no answer stands without one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from gridsite.siting.reduce import ReducedProblem


def cheapest_service_bound(reduced: ReducedProblem) -> float:
    r"""
    Return the cost of serving each demand at its cheapest, limits left out.

    Every kW pays for its flow and at least for its share of the cheapest unit
    of the pool, or for staying unserved:
    :math:`\sum_d \text{demand}_d \min_k (\text{cost}_k
    + \min_{m \in p(k)} \max(0, \text{unit}_m) / \text{it}_m)`, plus the running
    cost of existing units and the gain of units that pay for themselves.

    Parameters
    ----------
    reduced : ReducedProblem
        The reduced problem.

    Returns
    -------
    float
        No plan costs less; weak where fixed costs or grid limits matter.
        [money]

    Notes
    -----
    A pool with existing units is taken to serve at no cost of units.
    """
    options, demands, flows = reduced.options, reduced.demands, reduced.flows
    cost = options["capital"] + options["running"]
    share = (cost.clip(lower=0.0) / options["it_kw"]).where(options["lower"] == 0, 0.0)
    of_pool = share.groupby(options["pool"]).min()
    each = flows["cost"] + flows["pool"].map(of_pool).fillna(np.inf)
    served = each.groupby(flows["demand"]).min().reindex(demands.index)
    cheapest = pd.concat([served, demands["unserved_cost"]], axis=1).min(axis=1)
    gain = cost.clip(upper=0.0) * (options["upper"] - options["lower"])
    existing = options["running"] * options["lower"]
    return float(
        (cheapest * demands["demand_it_kw"]).sum() + gain.sum() + existing.sum()
    )
