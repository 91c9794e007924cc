"""Deployment periods of a study: growing demand, prices over time, lead times."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.siting import empty_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gridsite.config import StudyConfig, UpgradeSection
    from gridsite.siting import Economics


#: What names of upgrades of services begin with; the connection follows.
SERVICE = "service "


def period_rows(config: StudyConfig, economics: Economics) -> pd.DataFrame:
    """
    Return the table ``periods`` of a study.

    Parameters
    ----------
    config : StudyConfig
        The study.
    economics : Economics
        Horizon and discount rate.

    Returns
    -------
    pandas.DataFrame
        Contract ``periods``. The last one lasts until the horizon.
    """
    starts = _starts(config)
    ends = [*starts[1:], economics.horizon_years]
    worth = [_worth(economics, end) - _worth(economics, start)
             for start, end in zip(starts, ends, strict=True)]  # fmt: skip
    growth = 1.0 + economics.real_discount_rate
    most: list[float] = list(config.periods.max_added_units)
    return pd.DataFrame(
        {
            "period": range(len(starts)),
            "start_months": [12.0 * start for start in starts],
            "present_value_factor": worth,
            "capital_factor": [growth**-start for start in starts],
            "max_added_units": most or [np.nan] * len(starts),
        }
    )


def factor_rows(
    config: StudyConfig,
    economics: Economics,
    options: pd.DataFrame,
    sites: pd.DataFrame,
    services: Sequence[str] = (),
) -> pd.DataFrame:
    """
    Return what capital costs that stands from a later period on.

    Parameters
    ----------
    config : StudyConfig
        The study.
    economics : Economics
        Horizon and discount rate.
    options, sites : pandas.DataFrame
        Contracts ``site_options``, with the lives of each term, and ``sites``.
    services : sequence of str, optional
        Upgrades of services.

    Returns
    -------
    pandas.DataFrame
        Contract ``capital_factors``: bought later, discounted, with less to
        replace and more left at the horizon, at the prices of its time.
    """
    starts = _starts(config)
    if len(starts) == 1:
        return empty_table("capital_factors")
    curves = {"it_hardware": list(config.periods.it_price_factor)}
    curves["infrastructure"] = list(config.periods.infrastructure_price_factor)
    rows = []
    for unit, part in options.groupby("unit"):
        for term in ("it_hardware", "infrastructure", "installation", "transport"):
            if f"{term}_capital" not in part:
                continue
            life = float(part[f"{term}_life_years"].iloc[0])
            prices = curves.get(term) or [1.0] * len(starts)
            for t, start in enumerate(starts):
                # what leaves no value at the horizon is discounted alone
                factor = (1.0 + economics.real_discount_rate) ** -start
                if term in curves:
                    factor = prices[t] * _later(economics, life, start)
                rows.append(("site_options", unit, f"{term}_capital", t, factor))
    site_lives = {c.site_id: c.fixed_life_years or c.infrastructure_life_years
             for c in config.central}  # fmt: skip
    whole = economics.present_value_factor
    for site in sites["site_id"]:
        for t, start in enumerate(starts):
            fee = 1.0 - _worth(economics, start) / whole
            rows.append(("sites", site, "site_network_capital", t, fee))
            if site in site_lives:
                factor = _later(economics, site_lives[site], start)
                rows.append(("sites", site, "site_capital", t, factor))
    names = ["table", "item", "term", "period", "factor"]
    lives = {u.upgrade_id: u.life_years for u in config.upgrades}
    if config.service_upgrade is not None:
        lives |= dict.fromkeys(services, config.service_upgrade.life_years)
    for name, life in lives.items():
        for t, start in enumerate(starts):
            rows.append(("upgrades", name, "", t, _later(economics, life, start)))
    return pd.DataFrame(rows, columns=names)


def over_periods(
    config: StudyConfig,
    periods: pd.DataFrame,
    demand: pd.DataFrame,
    arcs: pd.DataFrame,
    factors: dict[str, pd.DataFrame],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """
    Return demand and arcs for each period.

    Parameters
    ----------
    config : StudyConfig
        The study.
    periods : pandas.DataFrame
        From `period_rows`.
    demand, arcs : pandas.DataFrame
        Contracts of those names, of period 0; costs are over the horizon.
    factors : dict of str to pandas.DataFrame
        From `price_factors`.

    Returns
    -------
    demand : pandas.DataFrame
        Grown as the study says.
    arcs : pandas.DataFrame
        Costs are those of each period.
    """
    growth = list(config.periods.demand_factor) or [1.0] * len(periods)
    worth = periods["present_value_factor"] / periods["present_value_factor"].sum()
    names = arcs.columns.astype(str)
    costs = names[(names == "cost_per_it_kw") | names.str.endswith("_present")]
    more = [
        demand.assign(period=t, demand_it_kw=demand["demand_it_kw"] * growth[t])
        for t in periods["period"]
    ]
    again = []
    for t in periods["period"]:
        part = arcs.assign(period=t)
        part[costs] = part[costs] * float(worth[t])
        for kind, factor in factors.items():
            if f"{kind}_present" in part:
                part[f"{kind}_present"] *= part["site_id"].map(factor[t]).to_numpy()
        if factors:
            terms = part.columns[part.columns.str.endswith("_present")]
            part["cost_per_it_kw"] = part[terms].sum(axis=1)
        again.append(part)
    return pd.concat(more, ignore_index=True), pd.concat(again, ignore_index=True)


def price_factors(config: StudyConfig, sites: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """
    Return what yearly costs are in each period over what the study says.

    Parameters
    ----------
    config : StudyConfig
        The study, with its sized central sites.
    sites : pandas.DataFrame
        Contract ``sites``.

    Returns
    -------
    dict of str to pandas.DataFrame
        By kind of cost (``energy``, ``losses``, ``carbon``, ``demand_charge``) a row
        per site and a column per period; kinds that never change are left out. [-]
    """
    periods = config.periods
    flat = np.ones(periods.count)

    def curve(values: Sequence[float]) -> np.ndarray:
        return np.array(values, dtype=float) if values else flat

    usual = curve(periods.energy_price_factor)
    curves = {t.name: t.energy_price_factor for t in config.tariffs}
    own = {c.site_id: curve(curves.get(c.tariff or "", [])) for c in config.central
           if curves.get(c.tariff or "")}  # fmt: skip
    of_utility = {
        name: curve(curves.get(_tariff_of(config, name) or "", []) or list(usual))
        for name in sites["utility"].unique()
    }
    energy = [
        own.get(site, usual) if kind == "central" else of_utility[utility]
        for site, kind, utility in sites[["site_id", "kind", "utility"]].to_numpy()
    ]
    carbon = curve(periods.carbon_factor) * curve(periods.carbon_price_factor)
    found = {
        "energy": np.array(energy),
        "losses": np.array(energy),
        "carbon": np.tile(carbon, (len(sites), 1)),
        "demand_charge": np.tile(curve(periods.demand_charge_factor), (len(sites), 1)),
    }
    return {
        kind: pd.DataFrame(values, index=pd.Index(sites["site_id"]))
        for kind, values in found.items()
        if (values != 1.0).any()
    }


def running_rows(
    options: pd.DataFrame, factors: dict[str, pd.DataFrame]
) -> pd.DataFrame:
    """
    Return what yearly terms of options cost in each period over what they say.

    Parameters
    ----------
    options : pandas.DataFrame
        Contract ``site_options``, with its terms.
    factors : dict of str to pandas.DataFrame
        From `price_factors`.

    Returns
    -------
    pandas.DataFrame
        Contract ``running_factors``.
    """
    parts = []
    for kind, factor in factors.items():
        names = (f"idle_{kind}_per_year", f"{kind}_per_year", f"{kind}_per_it_kw_year")
        table = factor.rename_axis("site_id").reset_index()
        table = table.melt("site_id", var_name="period", value_name="factor")
        parts += [table.assign(term=name) for name in names if name in options]
    if not parts:
        return empty_table("running_factors")
    every = pd.concat(parts, ignore_index=True)
    return every[["site_id", "term", "period", "factor"]]


def _tariff_of(config: StudyConfig, utility: str) -> str | None:
    """Return the tariff of buildings of a utility, "" for none of them."""
    for own in config.utilities:
        if own.name == utility and (own.tariff or own.energy_price_per_kwh is not None):
            return own.tariff
    return config.economics.tariff


def upgrade_rows(
    config: StudyConfig, economics: Economics, services: Sequence[str] = ()
) -> pd.DataFrame:
    """
    Return the works on the grid that a study may pay for.

    Parameters
    ----------
    config : StudyConfig
        The study.
    economics : Economics
        Horizon and discount rate.
    services : sequence of str, optional
        Upgrades of services.

    Returns
    -------
    pandas.DataFrame
        Contract ``upgrades``; ``capital`` is a net present cost, of a service or of
        the grid (``service_upgrade_capital``, ``grid_upgrade_capital``). [money]
    """
    rows = [
        {
            "upgrade_id": u.upgrade_id,
            "element": u.element,
            "kind": f"x {u.factor:g}",
            "capital": u.capital * economics.capital_factor(u.life_years),
            "lead_periods": lead_periods(config, u.lead_months),
            "excludes": ",".join([*u.excludes, *_rivals(config, u)]),
        }
        for u in config.upgrades
    ]
    larger = config.service_upgrade
    if larger is not None:
        capital = larger.capital * economics.capital_factor(larger.life_years)
        lead = lead_periods(config, larger.lead_months)
        rows += [
            {
                "upgrade_id": name,
                "element": name.removeprefix(SERVICE),
                "kind": f"service of {larger.amps:g} A",
                "capital": capital,
                "lead_periods": lead,
                "excludes": "",
            }
            for name in services
        ]
    if not rows:
        return empty_table("upgrades")
    table = pd.DataFrame(rows)
    own = table["upgrade_id"].isin(services)
    return table.assign(
        service_upgrade_capital=table["capital"].where(own, 0.0),
        grid_upgrade_capital=table["capital"].where(~own, 0.0),
    )


def lead_periods(config: StudyConfig, lead_months: float) -> int:
    """
    Return the first period in which something with a lead time stands.

    Parameters
    ----------
    config : StudyConfig
        The study.
    lead_months : float
        From the order to the day it stands. [months]

    Returns
    -------
    int
        The first that starts after it; 0 where there is one period.
    """
    if config.periods.count == 1:
        return 0
    return math.ceil(lead_months / config.periods.months - 1e-9)


def _starts(config: StudyConfig) -> list[float]:
    """Return the start of each period. [a]"""
    return [config.periods.months / 12.0 * t for t in range(config.periods.count)]


def _worth(economics: Economics, years: float) -> float:
    """Return the present value of 1 a year over the first years. [a]"""
    if not years:
        return 0.0
    return replace(economics, horizon_years=years).present_value_factor


def _later(economics: Economics, life_years: float, start: float) -> float:
    """Return the cost of capital bought later relative to now. [-]"""
    rest = replace(economics, horizon_years=economics.horizon_years - start)
    discount = (1.0 + economics.real_discount_rate) ** -start
    again = rest.capital_factor(life_years) / economics.capital_factor(life_years)
    return float(discount * again)


def _rivals(config: StudyConfig, upgrade: UpgradeSection) -> list[str]:
    """Return the other works on the same element."""
    same = [u for u in config.upgrades if u.element == upgrade.element]
    names = [u.upgrade_id for u in same if u.upgrade_id != upgrade.upgrade_id]
    return [name for name in names if name not in upgrade.excludes]
