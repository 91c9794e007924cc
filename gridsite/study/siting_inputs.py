"""From rated buildings, zones and prices to the tables of the siting problem."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from gridsite.errors import DataError
from gridsite.places import area_names, distance_km
from gridsite.siting import (
    Economics,
    SitingProblem,
    empty_table,
    unit_cost_terms,
)
from gridsite.study.siting_groups import (
    LOCAL,
    existing_counts,
    group_rows,
    sized_central,
    with_owners,
)
from gridsite.study.siting_options import building_options, central_options, unit_rows
from gridsite.study.siting_sites import arc_rows, site_rows, workload_rows
from gridsite.study.siting_time import (
    factor_rows,
    over_periods,
    period_rows,
    price_factors,
    running_rows,
    upgrade_rows,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import geopandas as gpd

    from gridsite.config import StudyConfig
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
    groups, upgrades, periods, capital_factors, running_factors : pandas.DataFrame
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
    running_factors: pd.DataFrame
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
            running_factors=self.running_factors,
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
    areas: gpd.GeoDataFrame | None = None,
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
    areas : geopandas.GeoDataFrame, optional
        As from ``places.read_areas``. Default: all buildings and zones are one area,
        central sites in none.

    Returns
    -------
    SitingInputs
        Sites, options, arcs and workloads.

    Raises
    ------
    DataError
        If no building can host a unit and there is no central site, or a zone whose
        demand has to be local lies in no area.
    """
    config = sized_central(config)
    buildings = with_owners(config, buildings, areas)
    economics = Economics(
        horizon_years=config.economics.horizon_years,
        real_discount_rate=config.economics.discount_rate,
        price_year=config.economics.price_year,
        currency=config.economics.currency,
    )
    open_to = hosting[(hosting["firm_status"] == "ok") & (hosting["firm_kw"] > 0.0)]
    options = building_options(config, buildings, open_to)
    options = pd.concat([options, central_options(config)], ignore_index=True)
    options = existing_counts(config, options, buildings["building_id"])
    if not len(options):
        msg = "no building can host a unit and no central site is given; see hosting"
        raise DataError(msg)
    options = unit_cost_terms(
        options,
        economics,
        utilisation=config.economics.utilisation,
        idle_share=config.economics.idle_share,
        carbon_price_per_tonne=config.economics.carbon_price_per_t,
        water_price_per_m3=config.economics.water_price_per_m3,
    )
    sites = site_rows(config, buildings, options, economics)
    if areas is not None:
        central = sites["kind"] == "central"
        sites.loc[central, "area"] = area_names(sites[central], areas)
    workloads = workload_rows(config)
    arcs = arc_rows(config, zones, workloads, sites, economics)
    periods = period_rows(config, economics)
    demand = _with_areas(config, demand, zones, areas)
    factors = price_factors(config, pd.DataFrame(sites))
    demand, arcs = over_periods(config, periods, demand, arcs, factors)
    return SitingInputs(
        config=config,
        units=unit_rows(config),
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
        running_factors=running_rows(options, factors),
        present_value_factor=economics.present_value_factor,
    )


def _with_areas(
    config: StudyConfig,
    demand: pd.DataFrame,
    zones: gpd.GeoDataFrame,
    areas: gpd.GeoDataFrame | None,
) -> pd.DataFrame:
    """Return demand with the area of its zone."""
    if areas is None:
        return demand.assign(area=LOCAL)
    area = pd.Series(area_names(zones, areas).to_numpy(), index=zones["zone_id"])
    found = demand.assign(area=demand["zone_id"].map(area))
    local = [w.workload for w in config.workloads if w.min_local_share > 0.0]
    lost = found[found["workload"].isin(local) & (found["area"] == "")]
    if len(lost):
        names = sorted(lost["zone_id"].unique())
        msg = (
            f"areas: zone(s) {names[:3]} ({len(names)} in all) lie in no area, and "
            f"{local} ask for a local share; extend the layer"
        )
        raise DataError(msg)
    return found
