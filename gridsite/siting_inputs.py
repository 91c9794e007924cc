"""From rated buildings, zones and prices to the tables of the siting problem."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pandas as pd

from gridsite.errors import ConfigError, DataError
from gridsite.places import access_times_ms, distance_km, latency_arcs
from gridsite.siting import (
    Economics,
    SitingProblem,
    arc_cost_terms,
    empty_table,
    site_cost_terms,
    unit_cost_terms,
)
from gridsite.siting_groups import (
    LOCAL,
    existing_counts,
    group_rows,
    sized_central,
    utility_of,
)
from gridsite.siting_time import (
    factor_rows,
    lead_periods,
    over_periods,
    period_rows,
    upgrade_rows,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gridsite.config import CentralSection, StudyConfig, UnitSection
    from gridsite.siting import Plan


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
    groups, upgrades, periods, capital_factors : pandas.DataFrame
        Contracts of those names.
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
    groups: pd.DataFrame
    upgrades: pd.DataFrame
    periods: pd.DataFrame
    capital_factors: pd.DataFrame
    present_value_factor: float

    def problem(
        self,
        rows: pd.DataFrame,
        row_coefficients: pd.DataFrame,
        upgrade_effects: pd.DataFrame | None = None,
    ) -> SitingProblem:
        """
        Return the siting problem with grid rows.

        Parameters
        ----------
        rows, row_coefficients : pandas.DataFrame
            Contracts of those names.
        upgrade_effects : pandas.DataFrame, optional
            What works on the grid add to rows. Default: nothing.

        Returns
        -------
        SitingProblem
            The problem.
        """
        effects = empty_table("upgrade_effects")
        return SitingProblem(
            sites=pd.DataFrame(self.sites.drop(columns="geometry")),
            site_options=self.site_options,
            units=self.units,
            workloads=self.workloads,
            demand=self.demand,
            arcs=self.arcs,
            rows=rows,
            row_coefficients=row_coefficients,
            groups=self.groups,
            upgrades=self.upgrades,
            upgrade_effects=effects if upgrade_effects is None else upgrade_effects,
            periods=self.periods,
            capital_factors=self.capital_factors,
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
        flow = plan.assignment
        last = flow[flow["period"] == flow["period"].max()]
        served = last.groupby("site_id")["it_kw"].sum()
        sizes = {c.site_id for c in self.config.central if c.place}
        unused = central["site_id"].isin(sizes) & ~central["site_id"].isin(served.index)
        central = central[~unused]
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


def siting_inputs(
    config: StudyConfig,
    buildings: gpd.GeoDataFrame,
    hosting: pd.DataFrame,
    zones: gpd.GeoDataFrame,
    demand: pd.DataFrame,
    services: Sequence[str] = (),
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
    services : sequence of str, optional
        Upgrades of services that may be paid for.

    Returns
    -------
    SitingInputs
        Sites, options, arcs and workloads.

    Raises
    ------
    DataError
        If no building can host a unit and there is no central site.
    """
    config = sized_central(config)
    economics = Economics(
        horizon_years=config.economics.horizon_years,
        real_discount_rate=config.economics.discount_rate,
        price_year=config.economics.price_year,
        currency=config.economics.currency,
    )
    open_to = hosting[(hosting["firm_status"] == "ok") & (hosting["firm_kw"] > 0.0)]
    options = _building_options(config, buildings, open_to)
    options = existing_counts(config, options)
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
    periods = period_rows(config, economics)
    demand, arcs = over_periods(config, periods, demand.assign(area=LOCAL), arcs)
    return SitingInputs(
        config=config,
        units=_units(config),
        workloads=workloads,
        zones=zones,
        demand=demand,
        sites=sites,
        site_options=options,
        arcs=arcs,
        groups=group_rows(config, pd.DataFrame(sites)),
        upgrades=upgrade_rows(config, economics, services),
        periods=periods,
        capital_factors=factor_rows(
            config, economics, options, pd.DataFrame(sites), services
        ),
        present_value_factor=economics.present_value_factor,
    )


def _block(central: CentralSection) -> str:
    return f"{central.site_id}-block"


def _wait_months(central: CentralSection) -> float:
    """Return the time until a central site stands and has power. [months]"""
    return max(central.lead_months, central.power_wait_months)


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
            "lead_periods": lead_periods(config, unit.lead_months),
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
            "lead_periods": lead_periods(config, _wait_months(central)),
            "min_power_share": 0.0,
            "pue": central.pue,
            "lead_months": _wait_months(central),
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
                **_tariff(config, unit, at["feeder_id"]),
            }
        )
        parts.append(part[part["max_units"] > 0])
    return pd.concat(parts, ignore_index=True)


def _unit_prices(config: StudyConfig, unit: UnitSection) -> dict[str, float]:
    economics = config.economics
    return {
        "it_kw": unit.it_kw,
        "pue": unit.pue,
        "it_hardware_price": unit.it_capital,
        "it_hardware_life_years": unit.it_life_years,
        "infrastructure_price": unit.infrastructure_capital,
        "infrastructure_life_years": unit.infrastructure_life_years,
        "installation_price": unit.installation_capital,
        "installation_life_years": economics.horizon_years,
        "transport_price": unit.transport_capital,
        "transport_life_years": economics.horizon_years,
        "host_per_year": economics.host_payment_per_unit_year.get(unit.unit, 0.0),
        "maintenance_per_year": economics.maintenance_per_it_kw_year * unit.it_kw,
    }


def _tariff(
    config: StudyConfig, unit: UnitSection, feeders: pd.Series[str]
) -> dict[str, np.ndarray]:
    """Return what the draw of a unit costs at the tariff of each feeder's utility."""
    economics = config.economics
    energy, charge = [], []
    for feeder in feeders:
        price, per_kw = _utility_prices(config, feeder)
        # idle draw pays for its carbon, losses and water with its energy
        carbon = economics.carbon_g_per_kwh / 1e6 * economics.carbon_price_per_t
        water = economics.water_l_per_kwh / 1e3 * economics.water_price_per_m3
        energy.append(price * (1.0 + economics.loss_share) + carbon + water)
        charge.append(per_kw * unit.rated_kw)
    return {
        "tariff_per_kwh": np.array(energy, dtype=float),
        "demand_charge_per_year": np.array(charge, dtype=float),
    }


def _utility_prices(config: StudyConfig, feeder_id: str) -> tuple[float, float]:
    """Return the energy price [money/kWh] and demand charge [money/kW a]."""
    economics, utility = config.economics, utility_of(config, feeder_id)
    energy = None if utility is None else utility.energy_price_per_kwh
    charge = None if utility is None else utility.demand_charge_per_kw_year
    return (
        economics.building_energy_price_per_kwh if energy is None else energy,
        economics.demand_charge_per_kw_year if charge is None else charge,
    )


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
            "tariff_per_kwh": central.energy_price_per_kwh * (1.0 + central.loss_share)
            + central.carbon_g_per_kwh / 1e6 * config.economics.carbon_price_per_t
            + central.water_l_per_kwh / 1e3 * config.economics.water_price_per_m3,
            "demand_charge_per_year": central.demand_charge_per_kw_year
            * central.block_kw
            * central.pue,
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
            "transport_price": central.transport_per_it_kw * central.block_kw,
            "transport_life_years": config.economics.horizon_years,
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
            "utility": _utilities(config, used["feeder_id"]),
            "area": LOCAL,
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
                "utility": "",
                "area": c.place or c.site_id,
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
    sites = pd.concat(frames, ignore_index=True)
    # both are present values already: a life of one horizon leaves them as they are
    paid = sites["site_network"] * economics.present_value_factor
    prices = {"site": sites["site"], "site_network": paid}
    lives = dict.fromkeys(prices, economics.horizon_years)
    return site_cost_terms(
        sites.drop(columns=["site", "site_network"]), prices, lives, economics
    )


def _utilities(config: StudyConfig, feeders: pd.Series[str]) -> list[str]:
    found = [utility_of(config, feeder) for feeder in feeders]
    return ["" if utility is None else utility.name for utility in found]


def _workloads(config: StudyConfig) -> pd.DataFrame:
    rows = [
        {
            "workload": w.workload,
            "rtt_limit_ms": w.rtt_limit_ms,
            "rtt_target_ms": w.rtt_target_ms,
            "min_share_within_target": w.min_share_within_target,
            "unserved_cost": np.nan if w.unserved_cost is None else w.unserved_cost,
            "redundancy": w.redundancy,
            "min_local_share": w.min_local_share,
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
                else _utility_prices(config, feeder)[0]
                for s, feeder in zip(sites["site_id"], sites["feeder_id"], strict=True)
            ],
            "loss_share": [
                central[s].loss_share if s in central else config.economics.loss_share
                for s in sites["site_id"]
            ],
            "water_l_per_kwh": sites["water_l_per_kwh"].to_numpy(),
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
        water_price_per_m3=config.economics.water_price_per_m3,
    )
    wanted = terms.columns[terms.columns.str.endswith("_present")]
    arcs = arcs.merge(
        terms[[*wanted, "cost_per_it_kw"]], left_on="site_id", right_index=True
    )
    return _priced_latency(config, arcs, economics)


def _priced_latency(
    config: StudyConfig, arcs: pd.DataFrame, economics: Economics
) -> pd.DataFrame:
    """Add the price of waiting, where a workload has one."""
    price = {w.workload: w.latency_price_per_ms_it_kw_year for w in config.workloads}
    if not any(price.values()):
        return arcs
    per_year = arcs["workload"].map(price) * arcs["rtt_ms"]
    latency = economics.present_value_factor * per_year
    return arcs.assign(
        latency_present=latency, cost_per_it_kw=arcs["cost_per_it_kw"] + latency
    )
