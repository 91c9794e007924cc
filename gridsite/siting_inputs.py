"""
From rated buildings, zones and prices to the tables of the siting problem.

And back: cost, latency, carbon and water of plans, side by side.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pandas as pd

from gridsite.errors import ConfigError, DataError
from gridsite.places import access_times_ms, distance_km, latency_arcs
from gridsite.siting import (
    Economics,
    SitingProblem,
    allow_unserved,
    arc_cost_terms,
    restrict_sites,
    site_cost_terms,
    unit_cost_terms,
)
from gridsite.units import HOURS_PER_YEAR

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gridsite.config import CentralSection, StudyConfig, UnitSection
    from gridsite.siting import Plan

#: Unserved demand costs this many times a full unit's cost of serving it.
_UNSERVED_FACTOR = 3.0

#: Cost terms of capital in chips and servers, apart from all other capital.
_IT_TERMS = ("it_hardware_capital",)


@dataclass(frozen=True, kw_only=True)
class SitingInputs:
    """
    Tables of the siting problem, without grid rows.

    Parameters
    ----------
    config : StudyConfig
        The study.
    units, workloads, sites, site_options, demand, arcs : pandas.DataFrame
        Contracts of those names; ``sites`` has geometry.
    zones : geopandas.GeoDataFrame
        Demand zones.
    present_value_factor : float
        Present value of 1 a year over the horizon. [a]
    """

    config: StudyConfig
    units: pd.DataFrame
    workloads: pd.DataFrame
    zones: gpd.GeoDataFrame
    demand: pd.DataFrame
    sites: gpd.GeoDataFrame
    site_options: pd.DataFrame
    arcs: pd.DataFrame
    present_value_factor: float

    def problem(
        self, rows: pd.DataFrame, row_coefficients: pd.DataFrame
    ) -> SitingProblem:
        """
        Return the siting problem with grid rows.

        Parameters
        ----------
        rows, row_coefficients : pandas.DataFrame
            Contracts of those names.

        Returns
        -------
        SitingProblem
            The problem.
        """
        return SitingProblem(
            sites=pd.DataFrame(self.sites.drop(columns="geometry")),
            site_options=self.site_options,
            units=self.units,
            workloads=self.workloads,
            demand=self.demand,
            arcs=self.arcs,
            rows=rows,
            row_coefficients=row_coefficients,
            present_value_factor=self.present_value_factor,
            budget=self.config.economics.budget,
        )

    def central_places(self, plan: Plan) -> list[dict[str, Any]]:
        """
        Return where central sites are and what they serve.

        Parameters
        ----------
        plan : Plan
            The plan.

        Returns
        -------
        list of dict
            ``site_id, name, lon, lat, distance_km, it_kw`` of each.
        """
        central = self.sites[self.sites["kind"] == "central"]
        served = plan.assignment.groupby("site_id")["it_kw"].sum()
        if central.empty:
            return []
        far = distance_km(self.zones, central).mean()
        names = {c.site_id: c.name or c.site_id for c in self.config.central}
        return [
            {
                "site_id": site.site_id,
                "name": names[site.site_id],
                "lon": float(site.geometry.x),
                "lat": float(site.geometry.y),
                "distance_km": float(far[site.site_id]),
                "it_kw": float(served.get(site.site_id, 0.0)),
            }
            for site in central.itertuples()
        ]

    def comparison(
        self, plans: Mapping[str, tuple[Plan, float, float]]
    ) -> pd.DataFrame:
        """
        Return strategies side by side.

        Parameters
        ----------
        plans : mapping of str to (Plan, float, float)
            By strategy: the plan, the peak loading of any element [%], and the
            losses it adds in a year [MWh].

        Returns
        -------
        pandas.DataFrame
            Contract ``comparison``. Costs are net present costs of what is
            served; ``comparable`` is False where a strategy serves another
            share of the demand than the hybrid.
        """
        rows = [
            self._compared(name, *plans[name])
            for name in ("distributed", "central", "hybrid")
            if name in plans
        ]
        table = pd.DataFrame(rows)
        share = table.set_index("strategy")["served_share"]
        own = share.get("hybrid", share.max())
        table["comparable"] = (table["served_share"] - own).abs() < 1e-6
        return table

    def _compared(
        self, name: str, plan: Plan, peak_percent: float, losses_mwh: float
    ) -> dict[str, Any]:
        costs = plan.costs.drop("unserved_present", errors="ignore")
        costs = costs.drop([c for c in costs.index if c.startswith("unserved")])
        # the network of a site is paid by the year, though it is a term per site
        costs = costs.rename({"site_network_capital": "site_network_present"})
        it = costs.index.isin(_IT_TERMS)
        capital = costs.index.str.endswith("_capital")
        energy = self._energy(plan)
        return {
            "strategy": name,
            "status": plan.status,
            "objective": float(costs.sum()),
            "gap": plan.gap,
            "served_share": float(
                min(
                    1.0,
                    plan.assignment["it_kw"].sum() / self.demand["demand_it_kw"].sum(),
                )
            ),
            "it_hardware_present": float(costs[it].sum()),
            "infrastructure_present": float(costs[capital & ~it].sum()),
            **_running(costs[~capital]),
            **_rtt(plan.assignment, self.config),
            "units": int(plan.plan.loc[plan.plan["port_id"] != "", "count"].sum()),
            "months_to_full": self._months(plan),
            "losses_mwh_per_year": losses_mwh,
            "peak_loading_percent": float(peak_percent),
            **energy,
        }

    def _months(self, plan: Plan) -> float:
        """Return the longest lead time of what the plan builds. [months]"""
        used = plan.plan.loc[plan.plan["added"] > 0, "unit"]
        months = self.units.set_index("unit")["lead_months"]
        return float(months.reindex(used).max()) if len(used) else 0.0

    def _energy(self, plan: Plan) -> dict[str, float]:
        """Return a year's energy, carbon and water of a plan."""
        economics = self.config.economics
        idle, busy = economics.idle_share, economics.utilisation
        sites = self.sites.set_index("site_id")
        at = plan.plan.merge(self.units[["unit", "pue"]], on="unit")
        idle_kw = (at["it_kw"] * at["pue"]).groupby(at["site_id"]).sum() * idle
        served = plan.assignment.groupby("site_id")["it_kw"].sum()
        pue = at.groupby("site_id")["pue"].mean()
        kw = idle_kw.add(served * pue * (1.0 - idle) * busy, fill_value=0.0)
        mwh = kw * HOURS_PER_YEAR / 1e3
        by_site = sites.reindex(mwh.index)
        return {
            "energy_mwh_per_year": float(mwh.sum()),
            "carbon_t_per_year": float((mwh * by_site["carbon_g_per_kwh"]).sum() / 1e3),
            "water_m3_per_year": float((mwh * by_site["water_l_per_kwh"]).sum()),
        }


def siting_inputs(
    config: StudyConfig,
    buildings: gpd.GeoDataFrame,
    hosting: pd.DataFrame,
    zones: gpd.GeoDataFrame,
    demand: pd.DataFrame,
) -> SitingInputs:
    """
    Return the tables of the siting problem.

    Parameters
    ----------
    config : StudyConfig
        The study.
    buildings : geopandas.GeoDataFrame
        Contract ``buildings``.
    hosting : pandas.DataFrame
        Contract ``hosting``; buildings without firm capacity are no sites.
    zones : geopandas.GeoDataFrame
        Contract ``zones``.
    demand : pandas.DataFrame
        Contract ``demand``.

    Returns
    -------
    SitingInputs
        Sites, options, arcs and workloads.

    Raises
    ------
    DataError
        If no building can host a unit and there is no central site.
    """
    economics = Economics(
        horizon_years=config.economics.horizon_years,
        real_discount_rate=config.economics.discount_rate,
        price_year=config.economics.price_year,
        currency=config.economics.currency,
    )
    open_to = hosting[(hosting["firm_status"] == "ok") & (hosting["firm_kw"] > 0.0)]
    options = _building_options(config, buildings, open_to)
    options = pd.concat([options, _central_options(config)], ignore_index=True)
    if not len(options):
        msg = "no building can host a unit and no central site is given; see hosting"
        raise DataError(msg)
    options = unit_cost_terms(
        options, economics, idle_share=config.economics.idle_share
    )
    sites = _sites(config, buildings, options, economics)
    workloads = _workloads(config)
    arcs = _arcs(config, zones, workloads, sites, economics)
    return SitingInputs(
        config=config,
        units=_units(config),
        workloads=workloads,
        zones=zones,
        demand=demand,
        sites=sites,
        site_options=options,
        arcs=arcs,
        present_value_factor=economics.present_value_factor,
    )


def compare_strategies(problem: SitingProblem) -> dict[str, SitingProblem]:
    """
    Return the same problem with buildings alone and with central sites alone.

    Demand that no site of a strategy can reach is left out of it; the shares
    served say so.

    Parameters
    ----------
    problem : SitingProblem
        The hybrid problem.

    Returns
    -------
    dict of str to SitingProblem
        By strategy; one without any demand that it could serve is left out.
    """
    found = {}
    for name, kind in (("distributed", "building"), ("central", "central")):
        if not (problem.sites["kind"] == kind).any():
            continue
        alone = restrict_sites(problem, [kind])
        key = ["zone_id", "workload", "period"]
        reached = pd.MultiIndex.from_frame(alone.arcs[key].drop_duplicates())
        demand = alone.demand
        demand = demand[pd.MultiIndex.from_frame(demand[key]).isin(reached)]
        if len(demand):
            found[name] = replace(alone, demand=demand)
    return found


def priced_unserved(problem: SitingProblem) -> SitingProblem:
    """
    Return a problem in which demand may stay unserved at a high price.

    Parameters
    ----------
    problem : SitingProblem
        The problem.

    Returns
    -------
    SitingProblem
        Unserved demand costs three times what a full unit costs for it, so
        that only demand that would leave a unit mostly idle is given up.
    """
    unit_it = problem.site_options["unit"].map(problem.units.set_index("unit")["it_kw"])
    run = problem.present_value_factor * problem.site_options["unit_per_year"]
    fixed = problem.site_options["site_id"].map(
        problem.sites.set_index("site_id")["fixed_capital"]
    )
    dearest = ((problem.site_options["unit_capital"] + run + fixed) / unit_it).max()
    price = _UNSERVED_FACTOR * float(dearest + problem.arcs["cost_per_it_kw"].max())
    return allow_unserved(problem, price)


def _block(central: CentralSection) -> str:
    return f"{central.site_id}-block"


def _units(config: StudyConfig) -> pd.DataFrame:
    rows = [
        {
            "unit": unit.unit,
            "rated_kw": unit.rated_kw,
            "it_kw": unit.it_kw,
            "power_factor": unit.power_factor,
            "phases": unit.phases,
            "footprint_m2": unit.footprint_m2,
            "capital_cost": unit.it_capital
            + unit.infrastructure_capital
            + unit.installation_capital,
            "life_years": unit.it_life_years,
            "lead_periods": 0,
            "min_power_share": unit.min_power_share,
            "pue": unit.pue,
            "lead_months": unit.lead_months,
        }
        for unit in config.units
    ]
    rows += [
        {
            "unit": _block(central),
            "rated_kw": central.block_kw * central.pue,
            "it_kw": central.block_kw,
            "power_factor": central.power_factor,
            "phases": "ABC",
            "footprint_m2": 0.0,
            "capital_cost": central.block_kw
            * (
                central.it_capital_per_kw
                + (central.capital_per_mw_it + central.grid_connection_per_mw) / 1e3
            ),
            "life_years": central.it_life_years,
            "lead_periods": 0,
            "min_power_share": 0.0,
            "pue": central.pue,
            "lead_months": central.lead_months,
        }
        for central in config.central
    ]
    return pd.DataFrame(rows)


def _building_options(
    config: StudyConfig, buildings: gpd.GeoDataFrame, open_to: pd.DataFrame
) -> pd.DataFrame:
    """Return an option per building, connection and unit that fits."""
    roof = buildings.set_index("building_id")["roof_area_m2"]
    parts = []
    for unit in config.units:
        fits = [set(unit.phases) <= set(phases) for phases in open_to["phases"]]
        at = open_to[np.array(fits, dtype=bool)]
        by_roof = roof.reindex(at["building_id"]).to_numpy() // unit.footprint_m2
        by_grid = at["firm_kw"].to_numpy() // unit.rated_kw
        count = np.minimum(by_roof, by_grid).astype(int)
        part = pd.DataFrame(
            {
                "site_id": at["building_id"].to_numpy(),
                "unit": unit.unit,
                "port_id": at["port_id"].to_numpy(),
                "max_units": count,
                "existing_units": 0,
                "available_from": 0,
                "own_limit_kw": at["firm_kw"].to_numpy(),
                **_unit_prices(config, unit),
            }
        )
        parts.append(part[part["max_units"] > 0])
    return pd.concat(parts, ignore_index=True)


def _unit_prices(config: StudyConfig, unit: UnitSection) -> dict[str, float]:
    economics = config.economics
    return {
        "it_kw": unit.it_kw,
        "pue": unit.pue,
        # idle draw pays for its carbon with its energy
        "tariff_per_kwh": economics.building_energy_price_per_kwh
        + economics.carbon_g_per_kwh / 1e6 * economics.carbon_price_per_t,
        "it_hardware_price": unit.it_capital,
        "it_hardware_life_years": unit.it_life_years,
        "infrastructure_price": unit.infrastructure_capital,
        "infrastructure_life_years": unit.infrastructure_life_years,
        "installation_price": unit.installation_capital,
        "installation_life_years": economics.horizon_years,
        "host_per_year": economics.host_payment_per_unit_year.get(unit.unit, 0.0),
        "maintenance_per_year": economics.maintenance_per_it_kw_year * unit.it_kw,
    }


def _central_options(config: StudyConfig) -> pd.DataFrame:
    rows = [
        {
            "site_id": central.site_id,
            "unit": _block(central),
            "port_id": "",
            "max_units": int(central.max_it_kw / central.block_kw + 1e-9),
            "existing_units": 0,
            "available_from": 0,
            "own_limit_kw": np.nan,
            "it_kw": central.block_kw,
            "pue": central.pue,
            "tariff_per_kwh": central.energy_price_per_kwh
            + central.carbon_g_per_kwh / 1e6 * config.economics.carbon_price_per_t,
            "it_hardware_price": central.it_capital_per_kw * central.block_kw,
            "it_hardware_life_years": central.it_life_years,
            "infrastructure_price": (
                central.capital_per_mw_it + central.grid_connection_per_mw
            )
            * central.block_kw
            / 1e3,
            "infrastructure_life_years": central.infrastructure_life_years,
            "installation_price": 0.0,
            "installation_life_years": config.economics.horizon_years,
            "host_per_year": 0.0,
            "maintenance_per_year": central.maintenance_per_it_kw_year
            * central.block_kw,
        }
        for central in config.central
    ]
    return pd.DataFrame(rows)


def _sites(
    config: StudyConfig,
    buildings: gpd.GeoDataFrame,
    options: pd.DataFrame,
    economics: Economics,
) -> gpd.GeoDataFrame:
    """Return buildings with an option, and the central sites."""
    used = buildings[buildings["building_id"].isin(options["site_id"])]
    known = pd.Series(config.latency.host_access_ms, dtype=float)
    unused = sorted(set(known.index) - set(buildings["access_network"]))
    if unused:
        msg = f"latency.host_access_ms: no building has access network {unused}"
        raise ConfigError(msg)
    access = used["access_network"].map(known)
    other = access.isna()
    if other.any():
        percentile = config.latency.percentile
        times = access_times_ms(used["access_network"][other], percentile=percentile)
        access[other] = np.asarray(times)
    frame = gpd.GeoDataFrame(
        {
            "site_id": used["building_id"].to_numpy(),
            "kind": "building",
            "building_id": used["building_id"].to_numpy(),
            "feeder_id": used["feeder_id"].to_numpy(),
            "max_power_kw": np.nan,
            "roof_area_m2": used["roof_area_m2"].to_numpy(),
            "access_ms": access.to_numpy(dtype=float),
            "site_constant_ms": 0.0,
            "carbon_g_per_kwh": config.economics.carbon_g_per_kwh,
            "water_l_per_kwh": config.economics.water_l_per_kwh,
            "site_network": config.economics.network_per_site_year,
            "site": 0.0,
        },
        geometry=used.geometry.representative_point().to_numpy(),
        crs=used.crs,
    )
    central = gpd.GeoDataFrame(
        [
            {
                "site_id": c.site_id,
                "kind": "central",
                "building_id": "",
                "feeder_id": "",
                "max_power_kw": np.nan,
                "roof_area_m2": np.nan,
                "access_ms": 0.0,
                "site_constant_ms": c.site_ms,
                "carbon_g_per_kwh": c.carbon_g_per_kwh,
                "water_l_per_kwh": c.water_l_per_kwh,
                "site_network": 0.0,
                "site": c.fixed_capital
                * economics.capital_factor(
                    c.fixed_life_years or c.infrastructure_life_years
                ),
            }
            for c in config.central
        ],
        geometry=gpd.points_from_xy(
            [c.lon for c in config.central], [c.lat for c in config.central]
        ),
        crs=used.crs,
    )
    frames = [f for f in (frame, central) if len(f)]
    sites = pd.concat(frames, ignore_index=True).assign(utility="", area="")
    # both are present values already: a life of one horizon leaves them as they are
    paid = sites["site_network"] * economics.present_value_factor
    prices = {"site": sites["site"], "site_network": paid}
    lives = dict.fromkeys(prices, economics.horizon_years)
    return site_cost_terms(
        sites.drop(columns=["site", "site_network"]), prices, lives, economics
    )


def _workloads(config: StudyConfig) -> pd.DataFrame:
    rows = [
        {
            "workload": w.workload,
            "rtt_limit_ms": w.rtt_limit_ms,
            "rtt_target_ms": w.rtt_target_ms,
            "min_share_within_target": w.min_share_within_target,
            "unserved_cost": np.nan if w.unserved_cost is None else w.unserved_cost,
            "redundancy": 0,
            "it_kw_per_user": w.it_kw_per_user,
        }
        for w in config.workloads
    ]
    return pd.DataFrame(rows)


def _arcs(
    config: StudyConfig,
    zones: gpd.GeoDataFrame,
    workloads: pd.DataFrame,
    sites: gpd.GeoDataFrame,
    economics: Economics,
) -> pd.DataFrame:
    """Return who may be served from where, and what that costs."""
    arcs = latency_arcs(
        zones,
        workloads,
        sites,
        user_access=config.latency.user_access_ms,
        percentile=config.latency.percentile,
    )
    kind = arcs["site_id"].map(sites.set_index("site_id")["kind"])
    pairs = pd.MultiIndex.from_arrays([arcs["workload"], kind])
    allowed = [(w.workload, k) for w in config.workloads for k in w.site_kinds]
    arcs = arcs[pairs.isin(allowed)]
    central = {c.site_id: c for c in config.central}
    pue = max(unit.pue for unit in config.units)
    places = pd.DataFrame(
        {
            "pue": [central[s].pue if s in central else pue for s in sites["site_id"]],
            "tariff_per_kwh": [
                central[s].energy_price_per_kwh
                if s in central
                else config.economics.building_energy_price_per_kwh
                for s in sites["site_id"]
            ],
            "network_per_it_kw_year": [
                central[s].network_per_it_kw_year if s in central else 0.0
                for s in sites["site_id"]
            ],
            "carbon_kg_per_kwh": sites["carbon_g_per_kwh"].to_numpy() / 1e3,
        },
        index=pd.Index(sites["site_id"]),
    )
    terms = arc_cost_terms(
        places,
        economics,
        utilisation=config.economics.utilisation,
        idle_share=config.economics.idle_share,
        carbon_price_per_tonne=config.economics.carbon_price_per_t,
    )
    wanted = ["energy_present", "network_present", "carbon_present", "cost_per_it_kw"]
    return arcs.merge(terms[wanted], left_on="site_id", right_index=True)


def _running(costs: pd.Series[float]) -> dict[str, float]:
    """Return running cost terms, named by what they pay for."""
    out: dict[str, float] = {}
    for term, value in costs.items():
        name = str(term).removesuffix("_per_year").removesuffix("_present")
        name = {"idle_energy": "energy", "site_network": "network"}.get(name, name)
        out[f"{name}_present"] = out.get(f"{name}_present", 0.0) + float(value)
    return out


def _rtt(assignment: pd.DataFrame, config: StudyConfig) -> dict[str, float]:
    """Return percentiles of round-trip time over the users of each workload."""
    per_user = {w.workload: w.it_kw_per_user for w in config.workloads}
    out: dict[str, float] = {}
    users = assignment["it_kw"] / assignment["workload"].map(per_user)
    for q, name in ((0.5, "rtt_p50_ms"), (0.95, "rtt_p95_ms")):
        out[name] = _weighted_quantile(assignment["rtt_ms"], users, q)
    return out


def _weighted_quantile(
    values: pd.Series[float], weights: pd.Series[float], q: float
) -> float:
    order = values.sort_values().index
    total = weights.loc[order].cumsum()
    if not len(total) or not total.iloc[-1] > 0.0:
        return float("nan")
    at = int(np.searchsorted(total.to_numpy(), q * total.iloc[-1]))
    return float(values.loc[order[at]])
