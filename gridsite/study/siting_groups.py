"""Utilities, groups, areas, existing units and sizes of central sites of a study."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gridsite.config import FleetStudyConfig
from gridsite.errors import ConfigError, DataError
from gridsite.places import area_names
from gridsite.siting import empty_table

if TYPE_CHECKING:
    import geopandas as gpd

    from gridsite.config import CentralSection, StudyConfig

logger = logging.getLogger(__name__)

#: Sizes between which the cost of a central site is linear.
_SIZES = 5

#: Area of all buildings and zones of a study without areas.
LOCAL = "local"


def sized_central(config: StudyConfig) -> StudyConfig:
    r"""
    Return a study whose central sites cost a piecewise linear function of size.

    The capital of :math:`S` MW is :math:`c\,S_0 (S / S_0)^a` with the cost
    :math:`c` per MW at the reference size :math:`S_0`. Between five sizes, from
    one block to the largest, it is linear. Each piece is a site with its own fixed
    capital and cost per MW; since the function is concave, the cheapest way to
    build a size is its own piece alone.

    Parameters
    ----------
    config : StudyConfig
        The study.

    Returns
    -------
    StudyConfig
        A site with ``scale_exponent`` below 1 is replaced by its pieces.
    """
    pieces = [piece for central in config.central for piece in _pieces(central)]
    return config.model_copy(update={"central": pieces})


def _pieces(central: CentralSection) -> list[CentralSection]:
    if central.scale_exponent == 1.0:
        return [central]
    low, high = central.block_kw / 1e3, central.max_it_kw / 1e3
    sizes = np.unique(np.geomspace(low, high, _SIZES)) if high > low else [low, low]
    reference, exponent = central.scale_reference_mw, central.scale_exponent
    cost = [
        central.capital_per_mw_it * reference * (s / reference) ** exponent
        for s in sizes
    ]
    found = []
    for i in range(len(sizes) - 1):
        step = sizes[i + 1] - sizes[i]
        slope = (cost[i + 1] - cost[i]) / step if step > 0.0 else cost[i] / low
        found.append(
            central.model_copy(
                update={
                    "site_id": f"{central.site_id} to {sizes[i + 1]:.4g} MW",
                    "place": central.site_id,
                    "name": central.name or central.site_id,
                    "capital_per_mw_it": float(slope),
                    "fixed_capital": central.fixed_capital
                    + float(cost[i] - slope * sizes[i]),
                    "max_it_kw": float(sizes[i + 1] * 1e3),
                }
            )
        )
    return found


def with_owners(
    config: StudyConfig, buildings: gpd.GeoDataFrame, areas: gpd.GeoDataFrame | None
) -> gpd.GeoDataFrame:
    """
    Return buildings with the area that they lie in and their utility.

    Parameters
    ----------
    config : StudyConfig
        The study.
    buildings : geopandas.GeoDataFrame
        Contract ``buildings``, with ``feeder_id``.
    areas : geopandas.GeoDataFrame or None
        As from ``places.read_areas``; None: all is one area.

    Returns
    -------
    geopandas.GeoDataFrame
        The same with ``area`` ("" outside all areas) and ``utility``: the one that
        lists the feeder, else the area, else the one that lists neither, else "".

    Raises
    ------
    ConfigError
        If a utility or a group names an area that the layer does not have, or a
        feeder, building or transformer of no building; in a fleet the latter are
        only logged, since other feeders may have them.
    """
    named = {a for g in (*config.utilities, *config.groups) for a in g.areas}
    known = set() if areas is None else set(areas["area"])
    if named - known:
        msg = (
            f"areas: {sorted(named - known)} are not in the layer, which has "
            f"{sorted(known)[:5]}; correct the names"
        )
        raise ConfigError(msg)
    area = LOCAL if areas is None else area_names(buildings, areas)
    found = buildings.assign(area=area)
    owner = pd.Series("", index=found.index)
    for utility in config.utilities:  # from the weakest claim to the strongest
        if not utility.feeders and not utility.areas:
            owner[:] = utility.name
    for column, listed in (("area", "areas"), ("feeder_id", "feeders")):
        for utility in reversed(config.utilities):
            owner[found[column].isin(getattr(utility, listed))] = utility.name
    _refuse_unknown(config, found)
    return found.assign(utility=owner)


def _refuse_unknown(config: StudyConfig, buildings: gpd.GeoDataFrame) -> None:
    """Refuse names of feeders, buildings and transformers that no building has."""
    columns = {
        "feeders": "feeder_id",
        "buildings": "building_id",
        "transformers": "transformer",
    }
    one_of_many = isinstance(config, FleetStudyConfig)
    for table in ("utilities", "groups"):
        for section in getattr(config, table):
            for key, column in columns.items():
                known = sorted(set(buildings.get(column, [])))
                unknown = sorted(set(getattr(section, key, [])) - set(known))
                if unknown and one_of_many:  # they may be of other feeders
                    logger.warning("%s: no building here is of %s", key, unknown)
                elif unknown:
                    msg = (
                        f"{table}: {key} {unknown[:5]} are not those of any building, "
                        f"which are of {known[:5]} ({len(known)} in all); correct the "
                        "names or leave them out"
                    )
                    raise ConfigError(msg)


@dataclass(frozen=True, kw_only=True)
class UtilityTerms:
    """
    What energy costs and emits at a utility.

    Parameters
    ----------
    energy_price_per_kwh : float
        Price of energy. [money/kWh]
    demand_charge_per_kw_year : float
        Demand charge. [money/(kW a)]
    carbon_g_per_kwh : float
        Carbon intensity. [g/kWh]
    """

    energy_price_per_kwh: float
    demand_charge_per_kw_year: float
    carbon_g_per_kwh: float


def utility_terms(config: StudyConfig, name: str) -> UtilityTerms:
    """
    Return the terms of a utility, or of the study where it has none.

    Parameters
    ----------
    config : StudyConfig
        The study.
    name : str
        The utility; "" for none.

    Returns
    -------
    UtilityTerms
        Price, charge and intensity.
    """
    economics = config.economics
    utility = next((u for u in config.utilities if u.name == name), None)
    usual = {
        "energy_price_per_kwh": economics.building_energy_price_per_kwh,
        "demand_charge_per_kw_year": economics.demand_charge_per_kw_year,
        "carbon_g_per_kwh": economics.carbon_g_per_kwh,
    }
    given = {} if utility is None else utility.model_dump(include=set(usual))
    return UtilityTerms(**usual | {k: v for k, v in given.items() if v is not None})


def least_pue(config: StudyConfig) -> float:
    """
    Return the PUE with which what is assigned to buildings is priced.

    Parameters
    ----------
    config : StudyConfig
        The study.

    Returns
    -------
    float
        The least of its units; what others need more is their own cost. [-]
    """
    return min(unit.pue for unit in config.units)


def group_rows(config: StudyConfig, sites: pd.DataFrame) -> pd.DataFrame:
    """
    Return the groups of a study's sites.

    Parameters
    ----------
    config : StudyConfig
        The study, with its sized central sites.
    sites : pandas.DataFrame
        Contract ``sites``.

    Returns
    -------
    pandas.DataFrame
        Contract ``groups``: utilities and groups of the study file, grid
        connections of central sites and, where a workload has to survive the loss
        of a group, feeders.

    Raises
    ------
    ConfigError
        If a group of the study file has no site; in a fleet that is only logged.
    """
    rows: list[dict[str, Any]] = []
    buildings = sites[sites["kind"] == "building"]

    def add(group_id: str, kind: str, members: pd.Series[str], **caps: Any) -> None:  # noqa: ANN401
        none = {"max_units": np.nan, "max_kw": np.nan, "onboarding_cost": 0.0}
        none |= {"one_site": False}
        given = {k: np.nan if v is None else v for k, v in caps.items()}
        rows.extend(
            {"group_id": group_id, "site_id": site, "kind": kind} | none | given
            for site in members
        )

    for utility in config.utilities:
        own = buildings.loc[buildings["utility"] == utility.name, "site_id"]
        caps = utility.model_dump(include={"max_units", "max_kw", "onboarding_cost"})
        add(f"utility {utility.name}", "utility", own, **caps)
    for group in config.groups:
        inside = buildings["feeder_id"].isin(group.feeders)
        inside |= buildings["site_id"].isin(group.buildings)
        inside |= buildings["area"].isin(group.areas)
        if group.transformers:
            inside |= buildings["transformer"].isin(group.transformers)
        if not inside.any() and isinstance(config, FleetStudyConfig):
            logger.warning("groups: no site here is in %r", group.group_id)
            continue
        if not inside.any():
            msg = (
                f"groups: no site is in {group.group_id!r}; name feeders, buildings, "
                "areas or transformers"
            )
            raise ConfigError(msg)
        caps = group.model_dump(include={"max_units", "max_kw", "onboarding_cost"})
        add(group.group_id, group.kind, buildings.loc[inside, "site_id"], **caps)
    for place in dict.fromkeys(c.place or c.site_id for c in config.central):
        pieces = [c for c in config.central if (c.place or c.site_id) == place]
        if len(pieces) > 1 or pieces[0].grid_limit_kw is not None:
            names = pd.Series([c.site_id for c in pieces])
            # the largest piece has the size of the whole, which all share
            blocks = max(piece.max_blocks for piece in pieces)
            caps = {"max_units": blocks, "max_kw": pieces[0].grid_limit_kw}
            add(f"central site {place}", "area", names, one_site=True, **caps)
    if any(w.redundancy == 2 for w in config.workloads):
        for feeder, part in buildings.groupby("feeder_id"):
            add(f"feeder {feeder}", "feeder", part["site_id"])
    return pd.DataFrame(rows) if rows else empty_table("groups")


def existing_counts(
    config: StudyConfig, options: pd.DataFrame, buildings: pd.Series[str]
) -> pd.DataFrame:
    """
    Return site options with the units that stand already.

    Parameters
    ----------
    config : StudyConfig
        The study, with its sized central sites.
    options : pandas.DataFrame
        Contract ``site_options``.
    buildings : pandas.Series of str
        Names of all buildings.

    Returns
    -------
    pandas.DataFrame
        The same with ``existing_units``. Blocks (``unit = "block"``) of a central site
        of several sizes stand in its largest, which is not paid for again.

    Raises
    ------
    DataError
        If a site is unknown or has no room for what stands on it. In a fleet a site
        that this feeder does not have is only logged.
    """
    options = options.copy()
    halls = {c.place or c.site_id: c.site_id for c in config.central}  # largest last
    for row in config.existing:
        hall = halls.get(row.site_id)
        if hall is None and not buildings.eq(row.site_id).any():
            if isinstance(config, FleetStudyConfig):
                logger.warning("existing: no site here is %r", row.site_id)
                continue
            msg = f"existing: no building or central site is {row.site_id!r}"
            raise DataError(msg)
        mine = options["site_id"].eq(row.site_id) & options["unit"].eq(row.unit)
        if hall is not None and row.unit == "block":
            mine = options["site_id"].eq(hall)
        free = (options["max_units"] - options["existing_units"]).where(mine, 0)
        if free.sum() < row.count:
            hint = "see its firm capacity and roof in the hosting table"
            if hall is not None:
                hint = 'give unit = "block", and as many as max_it_kw holds'
            msg = (
                f"existing: {row.count} unit(s) {row.unit!r} do not fit at "
                f"{row.site_id!r}; {hint}"
            )
            raise DataError(msg)
        before = free.cumsum() - free  # the first connection first
        options["existing_units"] += (row.count - before).clip(0, free).astype(int)
    return options
