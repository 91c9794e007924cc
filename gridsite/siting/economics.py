r"""
The frame in which all money is compared, and what capital costs in it.

All money is in one currency at one price year (real terms). Payments per year
fall due at the end of each year; capital is paid at the start and again each
time a life has passed within the horizon; what is left of the last life at the
end comes back as a straight-line residual value [1]_. With the real discount
rate :math:`r`, horizon :math:`H` and life :math:`L`:

.. math::

    F &= \frac{1 - (1 + r)^{-H}}{r} \\
    \text{capital}(L) &= C \left( \sum_{k \ge 0,\, kL < H} (1 + r)^{-kL}
        - \frac{\lceil H/L \rceil L - H}{L} (1 + r)^{-H} \right)

References
----------
.. [1] W. Short, D. Packey, T. Holt, "A Manual for the Economic Evaluation of
   Energy Efficiency and Renewable Energy Technologies", NREL/TP-462-5173, 1995.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gridsite.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class Economics:
    """
    The frame in which all money is compared.

    Parameters
    ----------
    horizon_years : float
        Length of the study. [a]
    real_discount_rate : float
        Discount rate above inflation. [1/a]
    price_year : int
        Year whose prices all inputs are in. [-]
    currency : str
        The one currency of the study.

    Examples
    --------
    >>> frame = Economics(
    ...     horizon_years=10.0,
    ...     real_discount_rate=0.0,
    ...     price_year=2025,
    ...     currency="USD",
    ... )
    >>> frame.present_value_factor
    10.0
    """

    horizon_years: float
    real_discount_rate: float
    price_year: int
    currency: str

    def __post_init__(self) -> None:
        if not 0.0 < self.horizon_years < math.inf:
            msg = f"horizon_years must be above 0, got {self.horizon_years!r}"
            raise ConfigError(msg)
        if not 0.0 <= self.real_discount_rate < 1.0:
            msg = (
                "real_discount_rate must be a share in [0, 1), "
                f"got {self.real_discount_rate!r}"
            )
            raise ConfigError(msg)

    @property
    def present_value_factor(self) -> float:
        """
        Return the present value of 1 a year over the horizon.

        Returns
        -------
        float
            Present value factor. [a]
        """
        rate = self.real_discount_rate
        if rate == 0.0:
            return self.horizon_years
        return -math.expm1(-self.horizon_years * math.log1p(rate)) / rate

    def capital_factor(self, life_years: float) -> float:
        """
        Return the net present cost of 1 of capital with a life.

        Parameters
        ----------
        life_years : float
            Life after which it is bought again; infinite for none. [a]

        Returns
        -------
        float
            Purchases within the horizon less the residual value. [-]

        Raises
        ------
        DataError
            If the life is not above 0.

        Examples
        --------
        >>> frame = Economics(
        ...     horizon_years=10.0,
        ...     real_discount_rate=0.0,
        ...     price_year=2025,
        ...     currency="USD",
        ... )
        >>> frame.capital_factor(8.0)
        1.25
        """
        if not life_years > 0.0:
            msg = f"life_years must be above 0, got {life_years!r}"
            raise DataError(msg)
        growth = 1.0 + self.real_discount_rate
        horizon = self.horizon_years
        if math.isinf(life_years):
            return float(1.0 - growth**-horizon)
        purchases = math.ceil(round(horizon / life_years, 9))
        bought = math.fsum(growth ** -(k * life_years) for k in range(purchases))
        left = (purchases * life_years - horizon) / life_years
        return float(bought - left * growth**-horizon)


def present_capital(
    capital: pd.Series[float], life_years: pd.Series[float], economics: Economics
) -> pd.Series[float]:
    """
    Return the net present cost of capital, replacements and residual included.

    Parameters
    ----------
    capital : pandas.Series of float, shape (n,)
        Price of one purchase. [money]
    life_years : pandas.Series of float, shape (n,)
        Life of one purchase, on the same index. [a]
    economics : Economics
        Horizon and discount rate.

    Returns
    -------
    pandas.Series of float
        Net present cost, on the index of ``capital``. [money]

    Raises
    ------
    DataError
        If the indices differ or a life is not above 0.

    Examples
    --------
    >>> frame = Economics(
    ...     horizon_years=10.0,
    ...     real_discount_rate=0.0,
    ...     price_year=2025,
    ...     currency="USD",
    ... )
    >>> import pandas as pd
    >>> present_capital(pd.Series([100.0]), pd.Series([5.0]), frame)
    0    200.0
    dtype: float64
    """
    if not capital.index.equals(life_years.index):
        msg = "capital and life_years have different indices; align them first"
        raise DataError(msg)
    factors = {life: economics.capital_factor(life) for life in life_years.unique()}
    return capital * life_years.map(factors)
