"""
The bill for energy of a run, added up step by step from its input files.

Plainly written, and apart from the means by which the siting problem prices energy
(``gridsite.study.siting_energy``, ``gridsite.siting.costs``), which it is to check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.errors import ConfigError
from gridsite.untrusted import read_table

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gridsite.config import (
        CentralSection,
        StudyConfig,
        UtilitySection,
        WindowSection,
    )
    from gridsite.report import Results

    GetPath = Callable[[str], Path]

#: What a term may be off by: half a cent, and rounding [money], [-].
_CENT, _ROUNDING = 0.005, 1e-9

#: Cost terms that a bill adds up to, by what they pay for.
_TERMS = {
    "energy": ("energy_present", "idle_energy_present"),
    "losses": ("losses_present", "idle_losses_present"),
    "carbon": ("carbon_present", "idle_carbon_present"),
    "water": ("water_present", "idle_water_present"),
    "demand charge": ("demand_charge_present",),
}


def energy_bill(
    config: StudyConfig, path: GetPath, results: Results, time: pd.DatetimeIndex
) -> pd.DataFrame:
    """
    Return what energy costs by the cost terms of a run and by its bill.

    Parameters
    ----------
    config : StudyConfig
        The study.
    path : callable
        Turns a name of the study file into a path.
    results : Results
        The run.
    time : pandas.DatetimeIndex
        Steps of the study.

    Returns
    -------
    pandas.DataFrame
        ``term, told, billed, agrees``: net present cost by kind, from the cost terms
        and added up by step, and whether they agree to the cent. [money]
    """
    billed = dict.fromkeys(_TERMS, 0.0)
    places: dict[tuple[str, str], _Place] = {}
    money, periods = config.economics, config.periods
    for _, row in _draws(config, results).iterrows():
        key, period = (str(row["owner"]), str(row["unit"])), int(row["period"])
        if key not in places:
            places[key] = _Place(config, path, time, *key)
        place, worth = places[key], _worth(config, period)
        kwh = row["it_kw"] * place.pue * 8760.0 / len(time) * worth
        energy = float((kwh * place.price).sum())
        energy *= _value(place.curve or periods.energy_price_factor, period)
        billed["energy"] += energy
        billed["losses"] += place.loss_share * energy
        tonnes = float((kwh * place.grams).sum()) / 1e6
        tonnes *= _value(periods.carbon_factor, period)
        price = money.carbon_price_per_t * _value(periods.carbon_price_factor, period)
        billed["carbon"] += tonnes * price
        litres = float(kwh.sum()) * place.litres
        billed["water"] += litres / 1e3 * money.water_price_per_m3
        charge = place.charge * _value(periods.demand_charge_factor, period)
        billed["demand charge"] += row["rated_kw"] * charge * worth
    costs = pd.DataFrame(results.costs)
    told = {
        kind: float(costs.loc[costs["term"].isin(terms), "present_cost"].sum())
        for kind, terms in _TERMS.items()
    }
    table = pd.DataFrame({"term": list(_TERMS), "told": told.values()})
    table["billed"] = list(billed.values())
    off = (table["told"] - table["billed"]).abs()
    table["agrees"] = off <= _CENT + _ROUNDING * table["told"].abs()
    return table


def _draws(config: StudyConfig, results: Results) -> pd.DataFrame:
    """Return what computes and what stands, by owner, unit and period. [kW]"""
    sites, plan, flow = results.sites, results.plan, results.assignment
    if sites is None or plan is None or flow is None:
        msg = "the run has no plan; name the folder of a study"
        raise ConfigError(msg)
    owner = {}
    for name, kind, utility in sites[["site_id", "kind", "utility"]].to_numpy():
        owner[name] = f"utility {utility}"
        for c in config.central if kind == "central" else []:
            if name == c.site_id or name.startswith(f"{c.site_id} to "):  # a size
                owner[name] = f"central {c.site_id}"
    idle, busy = config.economics.idle_share, config.economics.utilisation
    pue = {unit.unit: unit.pue for unit in config.units}
    left = flow.groupby(["site_id", "period"])["it_kw"].sum().to_dict()
    plan = plan.assign(owner=plan["site_id"].map(owner), pue=plan["unit"].map(pue))
    plan = plan.sort_values("pue", kind="stable")  # the least PUE computes first
    runs = []
    for site, period, it_kw in plan[["site_id", "period", "it_kw"]].to_numpy():
        runs.append(min(it_kw, left.get((site, period), 0.0)))
        left[site, period] = left.get((site, period), 0.0) - runs[-1]
    drawn = plan["it_kw"] * idle + np.array(runs) * (1.0 - idle) * busy
    keys = ["owner", "unit", "period"]
    table = plan.assign(it_kw=drawn).groupby(keys)[["it_kw", "rated_kw"]].sum()
    return table.reset_index()


def _value(curve: list[float], period: int) -> float:
    """Return the value of a curve in a period; 1 where it has none."""
    return curve[period] if curve else 1.0


class _Place:
    """What an owner of sites pays for energy at each step, and what that emits."""

    def __init__(
        self,
        config: StudyConfig,
        path: GetPath,
        time: pd.DatetimeIndex,
        owner: str,
        unit: str,
    ) -> None:
        self.config, self.path, self.time = config, path, time
        self.unit, self.curve = unit, list[float]()
        for site in config.central:
            if owner == f"central {site.site_id}":
                self._central(site)
                return
        own = [u for u in config.utilities if owner == f"utility {u.name}"]
        self._building(own[0] if own else None)

    def _central(self, site: CentralSection) -> None:
        flat = np.full(len(self.time), site.pue)
        known = site.ambient_file is not None
        self.pue = self._pue(site.ambient_file, site.pue_points) if known else flat
        self.loss_share, self.litres = site.loss_share, site.water_l_per_kwh
        usual = site.energy_price_per_kwh, site.demand_charge_per_kw_year
        self.price, self.charge = self._tariff(site.tariff, *usual)
        self.grams = self._carbon(site.carbon_region, site.carbon_g_per_kwh)

    def _building(self, utility: UtilitySection | None) -> None:
        money, ambient = self.config.economics, self.config.ambient
        own_pue = next(u.pue for u in self.config.units if u.unit == self.unit)
        self.pue = np.full(len(self.time), own_pue)
        if ambient is not None and ambient.pue:
            self.pue = self._pue(ambient.file, ambient.pue)
        self.loss_share, self.litres = money.loss_share, money.water_l_per_kwh
        usual = money.building_energy_price_per_kwh, money.demand_charge_per_kw_year
        self.price, self.charge = self._tariff(money.tariff, *usual)
        self.grams = self._carbon(money.carbon_region, money.carbon_g_per_kwh)
        if utility is None:
            return
        if utility.tariff is not None:
            self.price, self.charge = self._tariff(utility.tariff, 0.0, 0.0)
        else:
            if utility.energy_price_per_kwh is not None:
                self.curve = []
                self.price = np.full(len(self.time), utility.energy_price_per_kwh)
            if utility.demand_charge_per_kw_year is not None:
                self.charge = utility.demand_charge_per_kw_year
        if utility.carbon_region is not None:
            self.grams = self._carbon(utility.carbon_region, 0.0)
        elif utility.carbon_g_per_kwh is not None:
            self.grams = np.full(len(self.time), utility.carbon_g_per_kwh)

    def _series(self, file: str, column: str) -> np.ndarray:
        """Return a column of a file at the study's steps; NaN where it has none."""
        table = read_table(self.path(file))
        at = pd.to_datetime(table["time"], utc=True)
        values = pd.Series(pd.to_numeric(table[column]).to_numpy(), index=at)
        found: np.ndarray = values.reindex(self.time.tz_convert("UTC")).to_numpy()
        return found

    def _pue(self, file: str | None, points: list[list[float]]) -> np.ndarray:
        celsius = self._series(str(file), "ambient_c")
        at, pue = zip(*points, strict=True)
        found: np.ndarray = np.interp(celsius, at, pue)
        return found

    def _carbon(self, region: str | None, flat: float) -> np.ndarray:
        if region is None or self.config.carbon is None:
            return np.full(len(self.time), flat)
        return self._series(self.config.carbon.file, region)

    def _tariff(
        self, name: str | None, price: float, charge: float
    ) -> tuple[np.ndarray, float]:
        """Return the price of each step [money/kWh] and the charge [money/kW a]."""
        if name is None:
            return np.full(len(self.time), price), charge
        tariff = next(t for t in self.config.tariffs if t.name == name)
        self.curve = tariff.energy_price_factor
        year = sum(
            tariff.demand_charge_per_kw_month
            + sum(
                w.demand_charge_per_kw_month
                for w in tariff.windows
                if month in w.months
            )
            for month in range(1, 13)
        )
        if tariff.file is not None:
            return self._series(tariff.file, tariff.column), year
        prices = []
        for stamp in self.time.tz_convert(tariff.zone):
            own = [w.energy_price_per_kwh for w in tariff.windows if _holds(w, stamp)]
            known = [price for price in own if price is not None]
            prices.append(known[0] if known else tariff.energy_price_per_kwh)
        return np.array(prices, dtype=float), year


def _holds(window: WindowSection, stamp: pd.Timestamp) -> bool:
    """Tell whether a window holds the start of a step."""
    hours = set(range(window.from_hour, window.to_hour))
    if window.to_hour < window.from_hour:
        hours = set(range(24)) - set(range(window.to_hour, window.from_hour))
    weekend = stamp.day_name() in ("Saturday", "Sunday")
    day = window.days == "all" or (window.days == "weekends") == weekend
    return stamp.hour in hours and stamp.month in window.months and day


def _worth(config: StudyConfig, period: int) -> float:
    """Return the present value of 1 a year paid in a period. [a]"""
    years, horizon = config.periods.months / 12.0, config.economics.horizon_years
    last = period == config.periods.count - 1
    end = horizon if last else years * (period + 1)
    rate = config.economics.discount_rate
    if rate == 0.0:
        return end - years * period
    growth = 1.0 + rate
    return float((growth ** -(years * period) - growth**-end) / rate)
