"""
Flexible capacities of connections as columns of ``hosting``, confirmed in AC.

Each value says that a unit of that rating is served in full at all steps but those
it may miss. AC power flow looks at the rating itself at the step that has the least
headroom of those that serve it in full.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gridsite.hosting.curtailment import curtailment
from gridsite.hosting.flexible import energy_rating, flexible_ratings
from gridsite.hosting.flexible_kernels import least_in_full

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gridsite.hosting.envelope import Envelope
    from gridsite.hosting.settings import Settings

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    #: values by column, in the order of the connections
    Columns = dict[str, NDArray[Any]]

#: Rounds of confirming the values themselves, each of which lowers what fails.
_ROUNDS = 20


def flexible_columns(
    headroom_kw: Floats, step_hours: float, settings: Settings
) -> Columns:
    """
    Return flexible capacities and what 98 % of energy costs in curtailment.

    Parameters
    ----------
    headroom_kw : numpy.ndarray, shape (n, n_step)
        Headroom at each step, 0 or more. [kW]
    step_hours : float
        Length of a step. [h]
    settings : Settings
        Levels, pauses and batteries.

    Returns
    -------
    dict of numpy.ndarray, shape (n,)
        Columns of ``hosting``. [kW]
    """
    share, kwh = settings.min_power_share, settings.battery_kwh
    ratings = flexible_ratings(
        headroom_kw,
        step_hours,
        levels=settings.levels,
        min_power_share=share,
        battery_kwh=kwh,
        battery_kw=settings.battery_kw,
    )
    out: Columns = {str(name): ratings[name].to_numpy() for name in ratings}
    lost = curtailment(
        headroom_kw,
        out["flexible_energy98_kw"],
        step_hours,
        min_power_share=share,
        battery_kwh=kwh,
        battery_kw=settings.battery_kw,
    )
    out["energy98_steps_curtailed"] = lost.steps
    out["energy98_longest_curtailment_h"] = lost.longest_h
    out["energy98_interventions_per_year"] = lost.interventions_per_year
    return out


def confirmed_columns(
    envelope: Envelope, firm_kw: Floats, settings: Settings
) -> tuple[Columns, Floats, Ints]:
    """
    Return flexible capacities of which each passes in AC power flow.

    Parameters
    ----------
    envelope : Envelope
        Of some connections; lowered where it is found too high.
    firm_kw : numpy.ndarray, shape (n,)
        Their firm capacity. [kW]
    settings : Settings
        Levels, pauses and batteries.

    Returns
    -------
    columns : dict of numpy.ndarray, shape (n,)
        As from `flexible_columns`. [kW]
    headroom_kw : numpy.ndarray, shape (n, n_step)
        What they follow from. [kW]
    unsettled : numpy.ndarray of int
        Connections of which some value still fails.
    """
    largest = energy_rating(envelope.headroom_kw(firm_kw), min(settings.levels))
    envelope.confirm(firm_kw, largest)
    hours = envelope.case.step_hours
    headroom = envelope.headroom_kw(firm_kw)
    out = flexible_columns(headroom, hours, settings)
    names = [name for name in out if name.startswith("flexible_")]
    left = np.arange(len(firm_kw))
    for _ in range(_ROUNDS):
        kw = np.stack([out[name][left] for name in names], axis=1)
        step = least_in_full(headroom[left], kw)
        looked = (step >= 0) & (kw > firm_kw[left, None])
        which, level = np.nonzero(looked)
        failed = envelope.confirm_at(
            left[which], step[looked], kw[which, level], firm_kw[left[which]]
        )
        left = np.unique(left[which[failed]])
        if not len(left):
            break
        headroom[left] = envelope.headroom_kw(firm_kw, left)
        for name, values in flexible_columns(headroom[left], hours, settings).items():
            out[name][left] = values
    return out, headroom, left
