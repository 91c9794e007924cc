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
    options: pd.DataFrame,
    economics: Economics,
    *,
    utilisation: float = 1.0,
    idle_share: float = 0.0,
    carbon_price_per_tonne: float = 0.0,
    water_price_per_m3: float = 0.0,
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
        ``transport_price`` [money] with ``transport_life_years`` [a],
        ``demand_charge_per_year`` [money/a], and of the energy of idle draw
        ``loss_share``, ``carbon_kg_per_kwh`` and ``water_l_per_kwh``; and
        ``arc_pue``, the PUE with which `arc_cost_terms` prices what is assigned to
        the site, the least of its units [-].
    economics : Economics
        Horizon and discount rate.
    utilisation : float, default 1.0
        Mean load of what is assigned, as a share of its IT power. [-]
    idle_share : float, default 0.0
        Draw of a unit with nothing assigned, as a share of full load. [-]
    carbon_price_per_tonne : float, default 0.0
        Price of emitted carbon. [money/t]
    water_price_per_m3 : float, default 0.0
        Price of water. [money/m3]

    Returns
    -------
    pandas.DataFrame
        ``options`` with ``it_hardware_capital``, ``infrastructure_capital``,
        ``installation_capital`` and their sum ``unit_capital`` (net present
        cost, [money]), ``idle_energy_per_year``, where their columns are there
        ``idle_losses_per_year``, ``idle_carbon_per_year`` and
        ``idle_water_per_year``, and ``unit_per_year``, the sum of the per-year
        terms [money/a]. Where a ``pue`` is above ``arc_pue``, also what a kW that
        computes costs more than its arc says: ``energy_per_it_kw_year`` and so on,
        and their sum ``cost_per_it_kw_year`` [money/(kW a)].

    Raises
    ------
    DataError
        If a column is missing or empty.
    ConfigError
        If a share is outside [0, 1].

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
    _check_share("utilisation", utilisation)
    result = options.copy()
    for part in parts:
        result[f"{part}_capital"] = present_capital(
            options[f"{part}_price"], options[f"{part}_life_years"], economics
        )
    result["unit_capital"] = result[[f"{part}_capital" for part in parts]].sum(axis=1)
    idle_kwh = idle_share * options["it_kw"] * options["pue"] * HOURS_PER_YEAR
    per_year = ["host_per_year", "maintenance_per_year"]
    more_kwh = options["pue"] - options.get("arc_pue", options["pue"])
    more_kwh *= (1.0 - idle_share) * utilisation * HOURS_PER_YEAR
    computing = []
    for kind, price in _energy(
        options, carbon_price_per_tonne, water_price_per_m3
    ).items():
        if more_kwh.any():
            result[f"{kind}_per_it_kw_year"] = more_kwh * price
            computing.append(f"{kind}_per_it_kw_year")
        result[f"idle_{kind}_per_year"] = idle_kwh * price
        per_year.append(f"idle_{kind}_per_year")
    if "demand_charge_per_year" in options:
        _require(options, ["demand_charge_per_year"], "options")
        per_year.append("demand_charge_per_year")
    result["unit_per_year"] = result[per_year].sum(axis=1)
    if computing:
        result["cost_per_it_kw_year"] = result[computing].sum(axis=1)
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
    result = places.copy()
    result["network_present"] = factor * places["network_per_it_kw_year"]
    terms = ["network_present"]
    for kind, price in _energy(
        places, carbon_price_per_tonne, water_price_per_m3
    ).items():
        result[f"{kind}_present"] = factor * kwh_per_kw * price
        terms.append(f"{kind}_present")
    result["cost_per_it_kw"] = result[terms].sum(axis=1)
    return result


def _energy(
    table: pd.DataFrame, carbon_price_per_tonne: float, water_price_per_m3: float
) -> dict[str, pd.Series[float]]:
    """Return what a kWh costs at each row, by what it pays for. [money/kWh]"""
    prices = {"energy": table["tariff_per_kwh"]}
    if "loss_share" in table:
        prices["losses"] = table["loss_share"] * table["tariff_per_kwh"]
    if "carbon_kg_per_kwh" in table:
        prices["carbon"] = table["carbon_kg_per_kwh"] * carbon_price_per_tonne / 1e3
    if "water_l_per_kwh" in table:
        prices["water"] = table["water_l_per_kwh"] * water_price_per_m3 / 1e3
    _require(pd.DataFrame(prices), list(prices), "prices of energy")
    return prices


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
