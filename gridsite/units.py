"""
Unit conversions and physical constants used across gridsite.

Everything outside the readers is in kW, kvar, A, V, pu, metres,
milliseconds and the study's currency; the unit stands in the name.
"""

from __future__ import annotations

import math

SQRT3 = math.sqrt(3.0)

#: Round-trip time per kilometre of great circle [ms/km]: 5 microseconds per km
#: of fibre one way, times the route factor 2.1 (Bozkurt et al. 2018), both ways.
RTT_MS_PER_KM = 2 * 5e-3 * 2.1

HOURS_PER_YEAR = 8760.0


def reactive_kvar(power_kw: float, power_factor: float) -> float:
    """
    Return the lagging reactive power of a load.

    Parameters
    ----------
    power_kw : float
        Active power, load positive. [kW]
    power_factor : float
        Displacement factor in (0, 1]. [-]

    Returns
    -------
    float
        Reactive power, lagging positive. [kvar]

    Examples
    --------
    >>> round(reactive_kvar(12.5, 0.98), 3)
    2.538
    """
    return power_kw * math.sqrt(1.0 / power_factor**2 - 1.0)


def current_a(apparent_kva: float, voltage_kv: float) -> float:
    """
    Return the phase current of a balanced three-phase load.

    Parameters
    ----------
    apparent_kva : float
        Three-phase apparent power. [kVA]
    voltage_kv : float
        Line-to-line voltage. [kV]

    Returns
    -------
    float
        Current per phase. [A]

    Examples
    --------
    >>> round(current_a(43.6, 0.4), 1)
    62.9
    """
    return apparent_kva / (SQRT3 * voltage_kv)
