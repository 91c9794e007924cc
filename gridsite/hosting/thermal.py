r"""
Temperature and ageing of oil-immersed transformers, by IEC 60076-7.

With the current :math:`K` in pu of the nameplate and the ambient temperature
:math:`\theta_a`, top oil and hot-spot tend to

.. math::

    \theta_o \to \theta_a + \Delta\theta_{or}
        \left(\frac{1 + R K^2}{1 + R}\right)^x, \qquad
    \theta_h - \theta_o \to \Delta\theta_{hr} K^y,

the oil with time constant :math:`k_{11}\tau_o`; the hot-spot's rise is
:math:`k_{21}` times a part with :math:`k_{22}\tau_w` less :math:`k_{21} - 1` times
one with :math:`\tau_o / k_{22}`. Insulation ages at the rate
:math:`V = 2^{(\theta_h - 98)/6}` (paper that is not upgraded) or
:math:`V = \exp(15000/383 - 15000/(\theta_h + 273))` (upgraded); the loss of life of
a year is the mean of :math:`V`. Load and temperature are constant within a step, for
which the solution is exact; peaks within a step are not seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.signal import lfilter

from gridsite.errors import ConfigError, DataError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ThermalModel:
    """
    Hold the thermal characteristics of a transformer.

    Parameters
    ----------
    top_oil_rise_k : float
        Top-oil rise over ambient at rated load. [K]
    hot_spot_rise_k : float
        Hot-spot rise over top oil at rated load. [K]
    loss_ratio : float
        Load losses at rated current over no-load losses. [-]
    oil_exponent, winding_exponent : float
        Exponents x and y. [-]
    oil_minutes, winding_minutes : float
        Time constants of oil and winding. [min]
    k11, k21, k22 : float
        Thermal constants. [-]
    enclosure_rise_k : float
        What a kiosk or a room adds to the ambient temperature. [K]
    upgraded_paper : bool
        Whether the paper is thermally upgraded.

    Raises
    ------
    ConfigError
        If a value is out of range.

    Notes
    -----
    Defaults are those of IEC 60076-7:2005, table E.1, distribution
    transformers (ONAN): at rated load and 20 degC the hot-spot is at 98 degC
    and ages at rate 1. They are assumptions for any one transformer.

    References
    ----------
    .. [1] IEC 60076-7, *Power transformers - Part 7: Loading guide for
       mineral-oil-immersed power transformers*.

    Examples
    --------
    >>> ThermalModel().hot_spot_c(1.0, 20.0)
    98.0
    """

    top_oil_rise_k: float = 55.0
    hot_spot_rise_k: float = 23.0
    loss_ratio: float = 5.0
    oil_exponent: float = 0.8
    winding_exponent: float = 1.6
    oil_minutes: float = 180.0
    winding_minutes: float = 4.0
    k11: float = 1.0
    k21: float = 1.0
    k22: float = 2.0
    enclosure_rise_k: float = 0.0
    upgraded_paper: bool = False

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            least = {"k21": 1.0, "enclosure_rise_k": 0.0, "upgraded_paper": 0.0}
            holds = value >= least[name] if name in least else value > 0.0
            if not (holds and value < np.inf):
                msg = f"ageing: {name} is {value}; give a value in its range"
                raise ConfigError(msg)

    def oil_rise_k(self, current_pu: ArrayLike) -> Floats:
        """
        Return the steady rise of top oil over ambient.

        Parameters
        ----------
        current_pu : array-like of float
            Current over nameplate current. [pu]

        Returns
        -------
        numpy.ndarray
            Rise. [K]
        """
        square = np.asarray(current_pu, dtype=float) ** 2
        losses = (1.0 + self.loss_ratio * square) / (1.0 + self.loss_ratio)
        rise: Floats = self.top_oil_rise_k * losses**self.oil_exponent
        return rise

    def winding_rise_k(self, current_pu: ArrayLike) -> Floats:
        """
        Return the steady rise of the hot-spot over top oil.

        Parameters
        ----------
        current_pu : array-like of float
            Current over nameplate current. [pu]

        Returns
        -------
        numpy.ndarray
            Rise. [K]
        """
        current = np.asarray(current_pu, dtype=float)
        rise: Floats = self.hot_spot_rise_k * current**self.winding_exponent
        return rise

    def hot_spot_c(self, current_pu: float, ambient_c: float) -> float:
        """
        Return the steady hot-spot temperature.

        Parameters
        ----------
        current_pu : float
            Current over nameplate current. [pu]
        ambient_c : float
            Ambient temperature. [degC]

        Returns
        -------
        float
            Temperature. [degC]
        """
        rise = self.oil_rise_k(current_pu) + self.winding_rise_k(current_pu)
        return float(ambient_c + self.enclosure_rise_k + rise)

    def ageing_rate(self, hot_spot_c: ArrayLike) -> Floats:
        """
        Return the relative ageing rate of the insulation.

        Parameters
        ----------
        hot_spot_c : array-like of float
            Hot-spot temperature. [degC]

        Returns
        -------
        numpy.ndarray of float
            Years of normal life lost per year. [-]
        """
        hot = np.asarray(hot_spot_c, dtype=float)
        if self.upgraded_paper:
            return np.exp(15000.0 / 383.0 - 15000.0 / (hot + 273.0))
        rate: Floats = 2.0 ** ((hot - 98.0) / 6.0)
        return rate


def hot_spot_series(
    current_pu: Floats,
    ambient_c: Floats,
    step_hours: float,
    *,
    thermal: ThermalModel | None = None,
) -> tuple[Floats, Floats]:
    """
    Return top-oil and hot-spot temperature at the end of each step.

    Parameters
    ----------
    current_pu : numpy.ndarray, shape (n, n_step)
        Current over nameplate current. [pu]
    ambient_c : numpy.ndarray, shape (n_step,)
        Ambient temperature. [degC]
    step_hours : float
        Length of a step. [h]
    thermal : ThermalModel, optional
        A distribution transformer without it.

    Returns
    -------
    top_oil_c : numpy.ndarray, shape (n, n_step)
        Temperature of the oil; the first step is taken as steady. [degC]
    hot_spot_c : numpy.ndarray, shape (n, n_step)
        Temperature of the hot-spot. [degC]

    Raises
    ------
    DataError
        If lengths differ, or a value is missing or negative.

    Examples
    --------
    >>> oil, hot = hot_spot_series(np.ones((1, 3)), np.full(3, 20.0), 1.0)
    >>> hot.round(6)
    array([[98., 98., 98.]])
    """
    thermal = thermal or ThermalModel()
    current, ambient = checked_series(current_pu, ambient_c)
    minutes = 60.0 * step_hours
    oil = _follow(
        thermal.oil_rise_k(current) + ambient + thermal.enclosure_rise_k,
        minutes / (thermal.k11 * thermal.oil_minutes),
    )
    rise = thermal.winding_rise_k(current)
    hot = oil + thermal.k21 * _follow(
        rise, minutes / (thermal.k22 * thermal.winding_minutes)
    )
    if thermal.k21 > 1.0:
        slow = _follow(rise, minutes * thermal.k22 / thermal.oil_minutes)
        hot = hot - (thermal.k21 - 1.0) * slow
    return oil, hot


def checked_series(current_pu: Floats, ambient_c: Floats) -> tuple[Floats, Floats]:
    """
    Return currents and temperatures, refusing what is not a series of both.

    Parameters
    ----------
    current_pu : numpy.ndarray, shape (n, n_step)
        Current over nameplate current. [pu]
    ambient_c : numpy.ndarray, shape (n_step,)
        Ambient temperature. [degC]

    Returns
    -------
    current_pu : numpy.ndarray, shape (n, n_step)
        Currents. [pu]
    ambient_c : numpy.ndarray, shape (n_step,)
        Temperatures. [degC]

    Raises
    ------
    DataError
        If lengths differ, or a value is missing or negative.
    """
    current = np.atleast_2d(np.asarray(current_pu, dtype=float))
    ambient = np.asarray(ambient_c, dtype=float)
    if ambient.shape != current.shape[1:]:
        msg = (
            f"ageing: {ambient.size} temperatures for {current.shape[1]} steps of "
            "current; join them on one calendar"
        )
        raise DataError(msg)
    if not np.isfinite(ambient).all() or not (current >= 0.0).all():
        msg = "ageing: a temperature is missing, or a current missing or negative"
        raise DataError(msg)
    return current, ambient


def _follow(goal: Floats, steps: float) -> Floats:
    """Return what moves towards a goal, ``steps`` time constants each step."""
    keep = float(np.exp(-steps))
    start = keep * goal[:, :1]
    out: Floats = lfilter([1.0 - keep], [1.0, -keep], goal, axis=1, zi=start)[0]
    return out
