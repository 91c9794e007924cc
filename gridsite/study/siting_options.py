"""What can stand where in a study, and what one unit of it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gridsite.feeder.candidate_ports import CANDIDATE
from gridsite.hosting.phases import CHOSEN
from gridsite.study.siting_groups import least_pue, utility_terms
from gridsite.study.siting_time import lead_periods

if TYPE_CHECKING:
    import geopandas as gpd
    from numpy.typing import NDArray

    from gridsite.config import CentralSection, StudyConfig, UnitSection


def unit_rows(config: StudyConfig) -> pd.DataFrame:
    """
    Return the kinds of unit, those of central sites among them.

    Parameters
    ----------
    config : StudyConfig
        The study.

    Returns
    -------
    pandas.DataFrame
        Contract ``units``, with PUE and time until one stands. [months]
    """
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
            "rated_kw": central.block_kw * central.largest_pue,
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


def building_options(
    config: StudyConfig, buildings: gpd.GeoDataFrame, open_to: pd.DataFrame
) -> pd.DataFrame:
    """
    Return an option per building, connection and unit that fits.

    Parameters
    ----------
    config : StudyConfig
        The study.
    buildings : geopandas.GeoDataFrame
        Contract ``buildings``, with ``utility``.
    open_to : pandas.DataFrame
        Contract ``hosting``, of connections with room.

    Returns
    -------
    pandas.DataFrame
        Contract ``site_options`` without costs, with prices.
    """
    roof = buildings.set_index("building_id")["roof_area_m2"]
    owner = buildings.set_index("building_id")["utility"]
    parts = []
    for unit in config.units:
        at = open_to[fitting(unit.phases, open_to["phases"], open_to["port_id"])]
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
                **_tariff(config, unit, owner.loc[at["building_id"]]),
            }
        )
        parts.append(part[part["max_units"] > 0])
    return pd.concat(parts, ignore_index=True)


def fitting(
    wanted: str, phases: pd.Series[str], port_ids: pd.Series[str]
) -> NDArray[np.bool_]:
    """
    Return the connections at which a unit of some phases can stand.

    Parameters
    ----------
    wanted : str
        ``phases`` of a unit: phases, or a rule by which hosting chose them.
    phases : pandas.Series of str
        Of each connection.
    port_ids : pandas.Series of str
        Of each connection.

    Returns
    -------
    numpy.ndarray of bool
        Whether the phases are those of the connection; of any that the feeder file
        names by rule ``known``, of any by the other rules.

    Examples
    --------
    >>> at = pd.Series(["A", "12", "B"]), pd.Series(["a", "b.12?", "c"])
    >>> fitting("known", *at).tolist(), fitting("12", *at).tolist()
    ([True, False, True], [False, True, False])
    """
    if wanted in CHOSEN:
        return np.ones(len(phases), dtype=bool)
    if wanted == "known":
        return ~port_ids.str.endswith(CANDIDATE).to_numpy(dtype=bool)
    return (phases == wanted).to_numpy(dtype=bool)


def central_options(config: StudyConfig) -> pd.DataFrame:
    """
    Return the option of each central site.

    Parameters
    ----------
    config : StudyConfig
        The study.

    Returns
    -------
    pandas.DataFrame
        Contract ``site_options`` without costs, with prices.
    """
    rows = [
        {
            "site_id": central.site_id,
            "unit": _block(central),
            "port_id": "",
            "max_units": central.max_blocks,
            "existing_units": 0,
            "available_from": 0,
            "own_limit_kw": np.nan,
            "it_kw": central.block_kw,
            "pue": central.pue,
            "arc_pue": central.pue,
            "tariff_per_kwh": central.energy_price_per_kwh,
            "loss_share": central.loss_share,
            "carbon_kg_per_kwh": central.carbon_g_per_kwh / 1e3,
            "water_l_per_kwh": central.water_l_per_kwh,
            "demand_charge_per_year": central.demand_charge_per_kw_year
            * central.block_kw
            * central.largest_pue,
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


def _block(central: CentralSection) -> str:
    return f"{central.site_id}-block"


def _wait_months(central: CentralSection) -> float:
    """Return the time until a central site stands and has power. [months]"""
    return max(central.lead_months, central.power_wait_months)


def _unit_prices(config: StudyConfig, unit: UnitSection) -> dict[str, float]:
    economics = config.economics
    return {
        "it_kw": unit.it_kw,
        "pue": unit.pue,
        "arc_pue": least_pue(config),
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
    config: StudyConfig, unit: UnitSection, utilities: pd.Series[str]
) -> dict[str, Any]:
    """Return what the draw of a unit costs at the tariff of each utility."""
    terms = [utility_terms(config, name) for name in utilities]
    return {
        "tariff_per_kwh": [t.energy_price_per_kwh for t in terms],
        "loss_share": config.economics.loss_share,
        "carbon_kg_per_kwh": [t.carbon_g_per_kwh / 1e3 for t in terms],
        "water_l_per_kwh": config.economics.water_l_per_kwh,
        "demand_charge_per_year": [
            t.demand_charge_per_kw_year * unit.rated_kw for t in terms
        ],
    }
