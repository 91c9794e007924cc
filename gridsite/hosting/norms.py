"""Which norm of supply voltage holds where, given or inferred."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from gridsite.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from gridsite.hosting.limits import Limits

#: Norms by name: voltage band, unbalance, percentile rule (share of a week's
#: 10-minute means, lowest value ever), how the service of a building counts (the NEC
#: where ANSI C84.1 holds). ANSI C84.1, table 1, service voltage: up to
#: 600 V a band of its own, above it that of 2.4 to 34.5 kV (12,160 to 13,090 V at
#: 12,470 V is range A, 11,850 to 13,200 V range B). The text of the norm is sold and
#: was not at hand: values above 600 V come from general knowledge of the table and are
#: unchecked against it. Utilization voltage is not limited.
PRESETS: dict[str, dict[str, Any]] = {
    "EN50160": {
        "voltage_min_pu": 0.90,
        "voltage_max_pu": 1.10,
        "unbalance_max": 0.02,
        "voltage_percentile": 0.95,
        "voltage_absolute_min_pu": 0.85,
    },
    "ANSI-C84.1-A": {
        "voltage_bands": ((0.6, 0.95, 1.05),),
        "voltage_min_pu": 0.975,
        "voltage_max_pu": 1.05,
        "unbalance_max": 0.03,
        "service_rule": "nec",
        "voltage_percentile": None,
        "voltage_absolute_min_pu": None,
    },
    "ANSI-C84.1-B": {
        "voltage_bands": ((0.6, 0.917, 1.058),),
        "voltage_min_pu": 0.95,
        "voltage_max_pu": 1.058,
        "unbalance_max": 0.03,
        "service_rule": "nec",
        "voltage_percentile": None,
        "voltage_absolute_min_pu": None,
    },
}

#: Countries whose norm is EN 50160 (members of CENELEC), and those of ANSI C84.1.
_NORM_OF = {
    "EN50160": (
        "AT BE BG CH CY CZ DE DK EE ES FI FR GB GR HR HU IE IS IT LT LU LV MK MT NL "
        "NO PL PT RO RS SE SI SK TR"
    ),
    "ANSI-C84.1-A": "CA PR US",
}

#: Usual nominal voltages of the two worlds, after ANSI C84.1 and IEC 60038. [kV]
# fmt: off
_ANSI_KV = np.array([
    0.12, 0.208, 0.24, 0.277, 0.48, 0.6, 2.4, 4.16, 4.8, 8.32, 12.0, 12.47, 13.2,
    13.8, 14.4, 20.78, 22.86, 23.0, 24.94, 34.5, 46.0, 69.0, 115.0, 138.0,
])
_IEC_KV = np.array([
    0.23, 0.4, 0.415, 0.416, 0.69, 3.0, 3.3, 6.0, 6.6, 10.0, 11.0, 15.0, 20.0, 22.0,
    30.0, 33.0, 35.0, 60.0, 66.0, 110.0, 132.0,
])
# fmt: on


def norm_of_country(country: str) -> str:
    """
    Return the preset of a country.

    Parameters
    ----------
    country : str
        Two letters (ISO 3166).

    Returns
    -------
    str
        Name for `Limits.preset`.

    Raises
    ------
    ConfigError
        If none is known.

    Examples
    --------
    >>> norm_of_country("nl")
    'EN50160'
    """
    code = country.strip().upper()
    for name, countries in _NORM_OF.items():
        if code in countries.split():
            return name
    msg = f"limits: no norm known for country {country!r}; give a preset or own values"
    raise ConfigError(msg)


def norm_of_voltages(
    voltage_kv: ArrayLike, *, frequency_hz: float | None = None
) -> tuple[str, str]:
    """
    Return the likely preset of a network and what it was inferred from.

    Parameters
    ----------
    voltage_kv : array-like of float
        Nominal voltages, line to line. [kV]
    frequency_hz : float, optional
        60 Hz is taken for ANSI, 50 Hz for EN 50160; without it the voltages
        decide, EN 50160 where they do not. [Hz]

    Returns
    -------
    name : str
        For `Limits.preset`.
    reason : str
        In words.

    Raises
    ------
    ConfigError
        If the frequency is neither 50 nor 60 Hz.

    Examples
    --------
    >>> norm_of_voltages([20.0, 0.4])
    ('EN50160', 'nominal voltages 0.4, 20 kV')
    """
    if frequency_hz is not None:
        if frequency_hz not in (50.0, 60.0):
            msg = (
                f"limits: frequency {frequency_hz} Hz is neither 50 nor 60; correct it"
            )
            raise ConfigError(msg)
        name = "EN50160" if frequency_hz == 50.0 else "ANSI-C84.1-A"
        return name, f"a frequency of {frequency_hz:g} Hz"
    levels = np.unique(np.round(np.asarray(voltage_kv, dtype=float), 4))
    if not len(levels):
        return "EN50160", "nothing (the default)"
    ansi, iec = (
        np.isclose(levels[:, None], known, rtol=5e-3).any(axis=1).sum()
        for known in (_ANSI_KV, _IEC_KV)
    )
    shown = ", ".join(f"{kv:g}" for kv in levels)
    return "ANSI-C84.1-A" if ansi > iec else "EN50160", f"nominal voltages {shown} kV"


def norm_and_changes(limits: Limits) -> str:
    """
    Return the norm of limits, and the values that are not the norm's.

    Parameters
    ----------
    limits : Limits
        Of a study.

    Returns
    -------
    str
        In words; the name alone where all values are its own.

    Examples
    --------
    >>> from gridsite import Limits
    >>> norm_and_changes(Limits.preset("EN50160"))
    'EN50160'
    >>> norm_and_changes(Limits(voltage_min_pu=0.93, criteria=("voltage", "service")))
    'EN50160 with voltage_min_pu 0.93, criteria (voltage, service)'
    """
    norm = PRESETS.get(limits.name)
    if norm is None:
        return limits.name
    changes = [
        f"{field.name} {_shown(getattr(limits, field.name))}"
        for field in fields(limits)
        if field.name not in ("name", "notice")
        and getattr(limits, field.name) != norm.get(field.name, field.default)
    ]
    return " with ".join([limits.name, *filter(None, [", ".join(changes)])])


def _shown(value: object) -> str:
    """Return a value as it is read, without quotes."""
    if isinstance(value, tuple):
        return f"({', '.join(_shown(part) for part in value)})"
    return "none" if value is None else str(value)
