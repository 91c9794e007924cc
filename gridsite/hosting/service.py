"""The building's own service: what its fuse or panel leaves for a unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gridsite.errors import ConfigError
from gridsite.units import SQRT3

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: How the rating of a service counts.
SERVICE_RULES = ("eu", "nec", "nec-ems")

#: What NEC 220.87 and 230.42 put on the demand and on a continuous load.
CONTINUOUS = 1.25


def service_headroom_kw(
    service_a: Floats,
    service_v: Floats,
    p_kw: Floats,
    q_kvar: Floats,
    *,
    power_factor: float = 0.98,
    rule: str = "eu",
    phases: Sequence[str] | None = None,
    unit_phases: str | None = None,
) -> Floats:
    r"""
    Return the load that a building's service leaves at each step.

    With the demand :math:`s_t = p_t + j q_t`, a unit :math:`P(1 + j\tan\varphi)` and
    the rating :math:`S = \sqrt3\,U I` (three phases) or :math:`S = U I` (two
    conductors), the largest :math:`P` with

    ========= =====================================================
    eu        :math:`|s_t + P(1 + j\tan\varphi)| \le S`
    nec       :math:`1.25 \max_t |s_t| + 1.25\,P/\cos\varphi \le S`
    nec-ems   :math:`1.25\,|s_t + P(1 + j\tan\varphi)| \le S`
    ========= =====================================================

    Parameters
    ----------
    service_a : numpy.ndarray, shape (n,)
        Rating of each phase; NaN where it is not known. [A]
    service_v : numpy.ndarray, shape (n,)
        Voltage: line to line where three-phase, else across the two conductors
        (230 V; 240 V where split-phase). [V]
    p_kw, q_kvar : numpy.ndarray, shape (n, n_step)
        What the building draws, load positive. [kW], [kvar]
    power_factor : float, default 0.98
        Of the unit, lagging. [-]
    rule : {"eu", "nec", "nec-ems"}
        One fuse per phase; the largest demand and a continuous load by the
        NEC; the same with an energy management system.
    phases : sequence of str, shape (n,), optional
        Of each service: ``ABC`` is three-phase, any other (``A``, ``BC``,
        ``12``) has two conductors; all three-phase without it.
    unit_phases : str, optional
        Of the unit: a single phase, such as ``A``, puts all of it on one of the
        fuses of a three-phase service; as the service without it.

    Returns
    -------
    numpy.ndarray, shape (n, n_step)
        Headroom at nominal voltage, 0 where the building alone is at its
        rating; NaN where the rating is not known. [kW]

    Raises
    ------
    ConfigError
        If the rule is unknown.

    See Also
    --------
    service_notes : What the rule assumed.

    Notes
    -----
    Of a three-phase service the building's own draw is taken as balanced. The
    demand of NEC 220.87 is the largest 15-minute mean of a year, here the
    largest step, whichever way the power flows; a unit is a continuous load
    (230.42). Amperes are added without regard to their phase, as the code does.
    With an energy management system (750.30) the unit is held back so that the
    setpoint, itself a continuous load (220.70), is kept at every step.

    References
    ----------
    .. [1] NFPA 70, *National Electrical Code*, 2023, 220.70, 220.87, 230.42, 750.30.

    Examples
    --------
    >>> zero = np.zeros((1, 1))
    >>> a, v = np.array([63.0]), np.array([400.0])
    >>> service_headroom_kw(a, v, zero, zero, power_factor=1.0).round(2)
    array([[43.65]])
    >>> a, v, own = np.array([200.0]), np.array([240.0]), np.array([[12.0, 3.0]])
    >>> service_headroom_kw(
    ...     a, v, own, 0.0 * own, power_factor=1.0, rule="nec", phases=["12"]
    ... )
    array([[26.4, 26.4]])
    """
    if rule not in SERVICE_RULES:
        msg = f"service: no rule {rule!r}; known: {', '.join(SERVICE_RULES)}"
        raise ConfigError(msg)
    three = np.ones(len(service_a), dtype=bool)
    if phases is not None:
        three = np.asarray(phases, dtype=object) == "ABC"
    wires = np.where(three, SQRT3, 1.0)
    rated = (wires * service_v * service_a / 1e3)[:, None]
    if unit_phases is not None and len(unit_phases) == 1:
        # one fuse carries all of the unit and a third of the building
        share = np.where(three, 3.0, 1.0)[:, None]
        rated, p_kw, q_kvar = rated / share, p_kw / share, q_kvar / share
    if rule == "nec":
        demand = np.hypot(p_kw, q_kvar).max(axis=1, keepdims=True)
        left = (rated / CONTINUOUS - demand) * power_factor
        return np.broadcast_to(np.maximum(left, 0.0), p_kw.shape).copy()
    if rule == "nec-ems":
        rated = rated / CONTINUOUS
    return _within(rated, p_kw, q_kvar, power_factor)


def _within(rated: Floats, p_kw: Floats, q_kvar: Floats, power_factor: float) -> Floats:
    """Return the largest load whose sum with the demand stays within a rating."""
    tan_phi = np.sqrt(1.0 / power_factor**2 - 1.0)
    square = 1.0 + tan_phi**2
    along = p_kw + tan_phi * q_kvar
    left = along**2 - square * (p_kw**2 + q_kvar**2 - rated**2)
    root = (-along + np.sqrt(np.maximum(left, 0.0))) / square
    root = np.where(left < 0.0, 0.0, root)
    out: Floats = np.where(np.isnan(rated), np.nan, np.maximum(root, 0.0))
    return out


def service_notes(rule: str, *, step_hours: float, n_step: int) -> tuple[str, ...]:
    """
    Return what a rule had to assume of the series, for reports.

    Parameters
    ----------
    rule : {"eu", "nec", "nec-ems"}
        As for `service_headroom_kw`.
    step_hours : float
        Length of a step. [h]
    n_step : int
        Number of steps.

    Returns
    -------
    tuple of str
        Assumptions in words; empty where there are none.

    Examples
    --------
    >>> service_notes("nec", step_hours=0.25, n_step=35040)
    ()
    """
    notes = []
    if rule == "nec" and step_hours > 0.25:
        notes.append(
            f"assumption: service by NEC 220.87 takes the largest mean of "
            f"{60.0 * step_hours:g} minutes for the 15-minute demand, which is higher"
        )
    if rule == "nec" and step_hours * n_step < 8760.0:
        notes.append(
            f"assumption: service by NEC 220.87 wants the demand of a year, the "
            f"series has {step_hours * n_step:g} h"
        )
    if rule == "nec-ems":
        notes.append(
            "assumption: every building has an energy management system (NEC 750.30)"
        )
    return tuple(notes)
