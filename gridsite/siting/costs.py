r"""
What siting costs: net present cost of options, sites and arcs.

All money is in one currency at one price year (real terms). Payments per year
fall due at the end of each year; capital is paid at the start and again each
time a life has passed within the horizon; what is left of the last life at the
end comes back as a straight-line residual value [1]_. With the real discount
rate :math:`r`, horizon :math:`H` and life :math:`L`:

.. math::

    F &= \frac{1 - (1 + r)^{-H}}{r} \\
    \text{capital}(L) &= C \left( \sum_{k \ge 0,\, kL < H} (1 + r)^{-kL}
        - \frac{\lceil H/L \rceil L - H}{L} (1 + r)^{-H} \right)

A unit that computes draws
:math:`\text{IT power} \times (\text{idle share} + (1 - \text{idle share})
\times \text{utilisation})` [2]_: the idle part is a cost of the unit, the rest
a cost of what is assigned to it.

References
----------
.. [1] W. Short, D. Packey, T. Holt, "A Manual for the Economic Evaluation of
   Energy Efficiency and Renewable Energy Technologies", NREL/TP-462-5173, 1995.
.. [2] X. Fan, W.-D. Weber, L. A. Barroso, "Power Provisioning for a
   Warehouse-Sized Computer", *ISCA*, 2007. :doi:`10.1145/1250662.1250665`
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gridsite.errors import ConfigError, DataError
from gridsite.units import HOURS_PER_YEAR


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
    >>> present_capital(pd.Series([100.0]), pd.Series([5.0]), frame)
    0    200.0
    dtype: float64
    """
    if not capital.index.equals(life_years.index):
        msg = "capital and life_years have different indices; align them first"
        raise DataError(msg)
    factors = {life: economics.capital_factor(life) for life in life_years.unique()}
    return capital * life_years.map(factors)


def unit_cost_terms(
    options: pd.DataFrame, economics: Economics, *, idle_share: float = 0.0
) -> pd.DataFrame:
    """
    Add the cost terms of one unit to a table of site options.

    Parameters
    ----------
    options : pandas.DataFrame
        One row per option, with ``it_kw`` [kW], ``pue`` [-],
        ``tariff_per_kwh`` [money/kWh], ``it_hardware_price``,
        ``infrastructure_price``, ``installation_price`` [money],
        ``it_hardware_life_years``, ``infrastructure_life_years``,
        ``installation_life_years`` [a], ``host_per_year`` and
        ``maintenance_per_year`` [money/a]; where there are such costs,
        ``transport_price`` [money] with ``transport_life_years`` [a] and
        ``demand_charge_per_year`` [money/a].
    economics : Economics
        Horizon and discount rate.
    idle_share : float, default 0.0
        Draw of a unit with nothing assigned, as a share of full load. [-]

    Returns
    -------
    pandas.DataFrame
        ``options`` with ``it_hardware_capital``, ``infrastructure_capital``,
        ``installation_capital`` and their sum ``unit_capital`` (net present
        cost, [money]), ``idle_energy_per_year`` and ``unit_per_year``, the
        sum of the per-year terms [money/a].

    Raises
    ------
    DataError
        If a column is missing or empty.
    ConfigError
        If ``idle_share`` is outside [0, 1].

    Notes
    -----
    An installation without a second-hand value has the horizon as its life.
    """
    parts = ["it_hardware", "infrastructure", "installation"]
    parts += ["transport"] if "transport_price" in options else []
    needed = ["it_kw", "pue", "tariff_per_kwh", "host_per_year", "maintenance_per_year"]
    needed += [f"{part}_{what}" for part in parts for what in ("price", "life_years")]
    _require(options, needed, "options")
    _check_share("idle_share", idle_share)
    result = options.copy()
    for part in parts:
        result[f"{part}_capital"] = present_capital(
            options[f"{part}_price"], options[f"{part}_life_years"], economics
        )
    result["unit_capital"] = result[[f"{part}_capital" for part in parts]].sum(axis=1)
    full_load = options["it_kw"] * options["pue"] * HOURS_PER_YEAR
    result["idle_energy_per_year"] = idle_share * full_load * options["tariff_per_kwh"]
    per_year = ["host_per_year", "maintenance_per_year", "idle_energy_per_year"]
    if "demand_charge_per_year" in options:
        _require(options, ["demand_charge_per_year"], "options")
        per_year.append("demand_charge_per_year")
    result["unit_per_year"] = result[per_year].sum(axis=1)
    return result


def site_cost_terms(
    sites: pd.DataFrame,
    prices: dict[str, pd.Series[float]],
    life_years: dict[str, float],
    economics: Economics,
) -> pd.DataFrame:
    """
    Add the fixed cost terms of a site to a table of sites.

    Parameters
    ----------
    sites : pandas.DataFrame
        One row per site.
    prices : dict of str to pandas.Series of float
        Price of one purchase by term (such as ``site`` or
        ``grid_connection``), on the index of ``sites``. [money]
    life_years : dict of str to float
        Life of each term; infinite for land. [a]
    economics : Economics
        Horizon and discount rate.

    Returns
    -------
    pandas.DataFrame
        ``sites`` with one ``<term>_capital`` column per term and their sum
        ``fixed_capital``, net present cost. [money]

    Raises
    ------
    DataError
        If a term has no life or another index than ``sites``.

    Examples
    --------
    >>> frame = Economics(
    ...     horizon_years=10.0,
    ...     real_discount_rate=0.0,
    ...     price_year=2025,
    ...     currency="USD",
    ... )
    >>> sites = pd.DataFrame({"site_id": ["c"]})
    >>> site_cost_terms(
    ...     sites, {"site": pd.Series([100.0])}, {"site": 20.0}, frame
    ... )
      site_id  site_capital  fixed_capital
    0       c          50.0           50.0
    """
    result = sites.copy()
    result["fixed_capital"] = 0.0
    for term, price in prices.items():
        if term not in life_years or not price.index.equals(sites.index):
            msg = f"cost term {term!r} needs a life and the index of the sites"
            raise DataError(msg)
        lives = pd.Series(life_years[term], index=sites.index)
        result[f"{term}_capital"] = present_capital(price, lives, economics)
        result["fixed_capital"] += result[f"{term}_capital"]
    order = [c for c in result.columns if c != "fixed_capital"]
    return result[[*order, "fixed_capital"]]


def arc_cost_terms(
    places: pd.DataFrame,
    economics: Economics,
    *,
    utilisation: float = 1.0,
    idle_share: float = 0.0,
    carbon_price_per_tonne: float = 0.0,
    water_price_per_m3: float = 0.0,
) -> pd.DataFrame:
    """
    Add the cost of one assigned kW of IT power to a table of places or arcs.

    Parameters
    ----------
    places : pandas.DataFrame
        One row per site or arc, with ``pue`` [-], ``tariff_per_kwh``
        [money/kWh], ``network_per_it_kw_year`` [money/(kW a)] and
        ``carbon_kg_per_kwh`` [kg/kWh]; where they cost anything, ``loss_share``
        (grid losses that the tariff leaves out, over energy) [-] and
        ``water_l_per_kwh`` [l/kWh].
    economics : Economics
        Horizon and discount rate.
    utilisation : float, default 1.0
        Mean load of what is assigned, as a share of its IT power. [-]
    idle_share : float, default 0.0
        The share that `unit_cost_terms` already charges to the unit. [-]
    carbon_price_per_tonne : float, default 0.0
        Price of emitted carbon. [money/t]
    water_price_per_m3 : float, default 0.0
        Price of water. [money/m3]

    Returns
    -------
    pandas.DataFrame
        ``places`` with ``energy_present``, ``network_present``,
        ``carbon_present``, ``losses_present``, ``water_present`` (the last two
        where their columns are there) and their sum ``cost_per_it_kw``, all net present
        cost over the horizon. [money/kW]

    Raises
    ------
    DataError
        If a column is missing or empty.
    ConfigError
        If a share is outside [0, 1].

    Notes
    -----
    Carbon of idle draw is not priced here; with a carbon price, add it to the
    tariff instead where ``idle_share`` is above 0.

    Examples
    --------
    >>> frame = Economics(
    ...     horizon_years=10.0,
    ...     real_discount_rate=0.0,
    ...     price_year=2025,
    ...     currency="USD",
    ... )
    >>> places = pd.DataFrame(
    ...     {
    ...         "pue": [1.1],
    ...         "tariff_per_kwh": [0.1],
    ...         "network_per_it_kw_year": [5.0],
    ...         "carbon_kg_per_kwh": [0.4],
    ...     }
    ... )
    >>> arc_cost_terms(places, frame, utilisation=0.5)["cost_per_it_kw"].round(1)
    0    4868.0
    Name: cost_per_it_kw, dtype: float64
    """
    names = ["pue", "tariff_per_kwh", "network_per_it_kw_year", "carbon_kg_per_kwh"]
    _require(places, names, "places")
    _check_share("utilisation", utilisation)
    _check_share("idle_share", idle_share)
    factor = economics.present_value_factor
    kwh_per_kw = (1.0 - idle_share) * utilisation * places["pue"] * HOURS_PER_YEAR
    carbon_per_kwh = places["carbon_kg_per_kwh"] / 1000.0 * carbon_price_per_tonne
    result = places.copy()
    result["energy_present"] = factor * kwh_per_kw * places["tariff_per_kwh"]
    result["network_present"] = factor * places["network_per_it_kw_year"]
    result["carbon_present"] = factor * kwh_per_kw * carbon_per_kwh
    terms = ["energy_present", "network_present", "carbon_present"]
    if "loss_share" in places:
        _require(places, ["loss_share"], "places")
        result["losses_present"] = result["energy_present"] * places["loss_share"]
        terms.append("losses_present")
    if "water_l_per_kwh" in places:
        _require(places, ["water_l_per_kwh"], "places")
        water = places["water_l_per_kwh"] / 1e3 * water_price_per_m3
        result["water_present"] = factor * kwh_per_kw * water
        terms.append("water_present")
    result["cost_per_it_kw"] = result[terms].sum(axis=1)
    return result


def _require(table: pd.DataFrame, columns: list[str], name: str) -> None:
    missing = [c for c in columns if c not in table.columns]
    if missing:
        msg = f"{name} need the column(s) {', '.join(missing)}"
        raise DataError(msg)
    empty = [c for c in columns if not np.isfinite(table[c]).all()]
    if empty:
        msg = f"{name} have values that are not finite in {', '.join(empty)}"
        raise DataError(msg)


def _check_share(name: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        msg = f"{name} must be a share in [0, 1], got {value!r}"
        raise ConfigError(msg)
