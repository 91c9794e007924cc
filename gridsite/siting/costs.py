r"""
What siting costs: net present cost of options, sites and arcs, by term.

A unit that computes draws
:math:`\text{IT power} \times (\text{idle share} + (1 - \text{idle share})
\times \text{utilisation})` [1]_: the idle part is a cost of the unit, the rest
a cost of what is assigned to it.

References
----------
.. [1] X. Fan, W.-D. Weber, L. A. Barroso, "Power Provisioning for a
   Warehouse-Sized Computer", *ISCA*, 2007. :doi:`10.1145/1250662.1250665`
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.errors import ConfigError, DataError
from gridsite.siting.economics import present_capital
from gridsite.units import HOURS_PER_YEAR

if TYPE_CHECKING:
    from gridsite.siting.economics import Economics


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
    >>> from gridsite.siting.economics import Economics
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
    >>> from gridsite.siting.economics import Economics
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
