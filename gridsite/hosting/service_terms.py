"""What a building's service leaves for a unit, term by term."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.hosting.service import CONTINUOUS, service_headroom_kw
from gridsite.units import SQRT3

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ServiceTerms:
    """
    The arithmetic of one service at one step.

    Parameters
    ----------
    step : int
        The step, by position.
    rated_kva : float
        Rating of the service. [kVA]
    kva : numpy.ndarray, shape (n_load,)
        What counts against it with each added load. [kVA]
    left_kw : float
        Least that it leaves at any step. [kW]
    left_at_step_kw : float
        What it leaves at the step asked for. [kW]
    terms : pandas.DataFrame
        ``term, value, unit``.
    """

    step: int
    rated_kva: float
    kva: Floats
    left_kw: float
    left_at_step_kw: float
    terms: pd.DataFrame


def service_terms(
    service_a: float,
    service_v: float,
    p_kw: Floats,
    q_kvar: Floats,
    added_kw: Floats,
    *,
    step: int,
    power_factor: float = 0.98,
    rule: str = "eu",
    phases: str = "ABC",
) -> ServiceTerms:
    """
    Return the terms of `service_headroom_kw` for one building.

    Parameters
    ----------
    service_a, service_v : float
        Rating. [A], [V]
    p_kw, q_kvar : numpy.ndarray, shape (n_step,)
        What the building draws. [kW], [kvar]
    added_kw : numpy.ndarray, shape (n_load,)
        Added loads. [kW]
    step : int
        The step that is asked for; -1 for the one that leaves least.
    power_factor : float, default 0.98
        Of the added load, lagging. [-]
    rule : {"eu", "nec", "nec-ems"}
        As for `service_headroom_kw`.
    phases : str, default "ABC"
        Of the service.

    Returns
    -------
    ServiceTerms
        At the step; by rule ``nec`` at that of the largest demand, which counts
        at every step.

    Examples
    --------
    >>> told = service_terms(
    ...     63.0, 400.0, np.array([3.0]), np.zeros(1), np.array([0.0, 40.6]), step=-1
    ... )
    >>> round(float(told.rated_kva), 2), told.kva.round(2).tolist()
    (43.65, [3.0, 44.37])
    """
    left = service_headroom_kw(
        np.array([service_a]),
        np.array([service_v]),
        p_kw[None, :],
        q_kvar[None, :],
        power_factor=power_factor,
        rule=rule,
        phases=[phases],
    )[0]
    asked = int(left.argmin()) if step < 0 else step
    at = int(np.hypot(p_kw, q_kvar).argmax()) if rule == "nec" else asked
    p, q = float(p_kw[at]), float(q_kvar[at])
    demand = float(np.hypot(p, q))
    factor = 1.0 if rule == "eu" else CONTINUOUS
    if rule == "nec":
        kva = factor * (demand + added_kw / power_factor)
    else:
        added_kvar = added_kw * np.sqrt(1.0 / power_factor**2 - 1.0)
        kva = factor * np.hypot(p + added_kw, q + added_kvar)
    three = phases == "ABC"
    rated = (SQRT3 if three else 1.0) * service_v * service_a / 1e3
    root = "√3 · " if three else ""
    terms = [
        (f"rating, {root}{service_v:g} V · {service_a:g} A", rated, "kVA"),
        ("the building draws, active", p, "kW"),
        ("the building draws, reactive", q, "kvar"),
        ("the building draws, apparent", demand, "kVA"),
        (f"factor on demand and unit (rule {rule})", factor, ""),
        (f"left for a unit of power factor {power_factor:g}", float(left[at]), "kW"),
    ]
    return ServiceTerms(
        step=at,
        rated_kva=rated,
        kva=kva,
        left_kw=float(left.min()),
        left_at_step_kw=float(left[asked]),
        terms=pd.DataFrame(terms, columns=["term", "value", "unit"]),
    )
