"""Sites, workloads and who may be served from where, of a study."""

from __future__ import annotations

from typing import TYPE_CHECKING

import geopandas as gpd
import numpy as np
import pandas as pd

from gridsite.errors import ConfigError
from gridsite.places import access_times_ms, latency_arcs
from gridsite.siting import arc_cost_terms, site_cost_terms
from gridsite.study.siting_groups import least_pue, utility_terms

if TYPE_CHECKING:
    from gridsite.config import StudyConfig
    from gridsite.siting import Economics


def site_rows(
    config: StudyConfig,
    buildings: gpd.GeoDataFrame,
    options: pd.DataFrame,
    economics: Economics,
) -> gpd.GeoDataFrame:
    """
    Return buildings with an option, and the central sites.

    Parameters
    ----------
    config : StudyConfig
        The study.
    buildings : geopandas.GeoDataFrame
        Contract ``buildings``, with ``area`` and ``utility``.
    options : pandas.DataFrame
        Contract ``site_options``.
    economics : Economics
        Horizon and discount rate.

    Returns
    -------
    geopandas.GeoDataFrame
        Contract ``sites``, with what each draws on besides.
    """
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
            "utility": used["utility"].to_numpy(),
            "area": used["area"].to_numpy(),
            "transformer": used["transformer"].to_numpy(),
            "max_power_kw": np.nan,
            "roof_area_m2": used["roof_area_m2"].to_numpy(),
            "access_ms": access.to_numpy(dtype=float),
            "site_constant_ms": 0.0,
            "carbon_g_per_kwh": [
                utility_terms(config, name).carbon_g_per_kwh for name in used["utility"]
            ],
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
                "area": "",
                "transformer": "",
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


def workload_rows(config: StudyConfig) -> pd.DataFrame:
    """
    Return the workloads of a study.

    Parameters
    ----------
    config : StudyConfig
        The study.

    Returns
    -------
    pandas.DataFrame
        Contract ``workloads``.
    """
    rows = [
        {
            "workload": w.workload,
            "rtt_limit_ms": w.rtt_limit_ms,
            "rtt_target_ms": w.rtt_target_ms,
            "min_share_within_target": w.min_share_within_target,
            "unserved_cost": np.nan if w.unserved_cost is None else w.unserved_cost,
            "redundancy": w.redundancy,
            "min_local_share": w.min_local_share,
            "single_source": w.single_source,
            "it_kw_per_user": w.it_kw_per_user,
        }
        for w in config.workloads
    ]
    return pd.DataFrame(rows)


def arc_rows(
    config: StudyConfig,
    zones: gpd.GeoDataFrame,
    workloads: pd.DataFrame,
    sites: gpd.GeoDataFrame,
    economics: Economics,
) -> pd.DataFrame:
    """
    Return who may be served from where, and what that costs.

    Parameters
    ----------
    config : StudyConfig
        The study.
    zones : geopandas.GeoDataFrame
        Contract ``zones``.
    workloads : pandas.DataFrame
        From `workload_rows`.
    sites : geopandas.GeoDataFrame
        From `site_rows`.
    economics : Economics
        Horizon and discount rate.

    Returns
    -------
    pandas.DataFrame
        Contract ``arcs`` of period 0; costs are over the horizon.
    """
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
    pue = least_pue(config)
    places = pd.DataFrame(
        {
            "pue": [central[s].pue if s in central else pue for s in sites["site_id"]],
            "tariff_per_kwh": [
                central[s].energy_price_per_kwh
                if s in central
                else utility_terms(config, name).energy_price_per_kwh
                for s, name in zip(sites["site_id"], sites["utility"], strict=True)
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
