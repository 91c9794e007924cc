r"""
What energy costs and emits over the steps of a study.

What is assigned draws the same computing power at every step, times the PUE of the
step. With :math:`p_t` a price or an intensity per kWh, a year of it costs as much as
one at the mean of :math:`p_t` weighted by the PUE,

.. math::

    \bar p = \frac{\sum_t \text{PUE}_t\, p_t}{\sum_t \text{PUE}_t},

times the mean PUE. Both take the place of what the study file says for the place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gridsite.errors import ConfigError, DataError
from gridsite.feeder.profile_files import read_wide
from gridsite.hosting.ambient import pue_of_temperature, read_ambient

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from gridsite.config import (
        CentralSection,
        PlaceSection,
        StudyConfig,
        TariffSection,
        UnitSection,
        WindowSection,
    )

    Floats = NDArray[np.float64]
    GetPath = Callable[[str], Path]


def with_energy(
    config: StudyConfig, path: GetPath, time: pd.DatetimeIndex
) -> StudyConfig:
    """
    Return a study with the prices, intensities and PUE that its steps give.

    Parameters
    ----------
    config : StudyConfig
        The study.
    path : callable
        Turns a name of the study file into a path.
    time : pandas.DatetimeIndex
        Steps of the study.

    Returns
    -------
    StudyConfig
        Means over the steps; the same study where nothing is given by step.

    Raises
    ------
    ConfigError
        If a draw at the largest PUE is above ``rated_kw``, or hours matter and the
        study has no day of steps.
    DataError
        If a series has other steps than the study, or no such column.
    """
    pue = _pue_of_units(config, path, time)
    notes = [] if pue is None else [_told("units", pue)]
    factors = sorted({unit.power_factor for unit in config.units})
    if len(factors) > 1:
        notes.append(
            f"units have power factors of {', '.join(f'{f:g}' for f in factors)}; the "
            f"grid is rated, bounded and replayed with all at {factors[0]:g}"
        )
    of_buildings = np.ones(len(time)) if pue is None else pue

    def energy(place: PlaceSection, pue: Floats, price: str) -> dict[str, Any]:
        update: dict[str, Any] = {}
        for tariff in config.tariffs:
            if tariff.name == place.tariff:
                update[price] = _mean(price_by_step(tariff, path, time), pue)
                update["demand_charge_per_kw_year"] = demand_charge(tariff)
                notes.append(
                    f"tariff {tariff.name!r} costs {update[price]:.6g} per kWh over "
                    f"{len(time)} steps, weighted by PUE{_over_periods(config, tariff)}"
                )
        if place.carbon_region is not None and config.carbon is not None:
            grams = _joined(path(config.carbon.file), place.carbon_region, time)
            update["carbon_g_per_kwh"] = _mean(grams, pue)
            notes.append(
                f"carbon region {place.carbon_region!r} emits "
                f"{update['carbon_g_per_kwh']:.6g} g per kWh, weighted the same way"
            )
        return update

    central = []
    for site in config.central:
        own = _pue_of_site(site, path, time)
        flat = np.ones(len(time)) if own is None else own
        update = energy(site, flat, "energy_price_per_kwh")
        if own is not None:
            notes.append(_told(site.site_id, own))
            update |= {"pue": float(own.mean()), "pue_max": float(own.max())}
        central.append(site.model_copy(update=update))
    changed = {
        "central": central,
        "utilities": [
            u.model_copy(update=energy(u, of_buildings, "energy_price_per_kwh"))
            for u in config.utilities
        ],
        "economics": config.economics.model_copy(
            update=energy(
                config.economics, of_buildings, "building_energy_price_per_kwh"
            )
        ),
    }
    if pue is not None:
        mean = {"pue": float(pue.mean())}
        changed["units"] = [unit.model_copy(update=mean) for unit in config.units]
    if not notes:
        return config
    named = config.study
    changed["study"] = named.model_copy(
        update={"assumptions": list(dict.fromkeys([*named.assumptions, *notes]))}
    )
    return config.model_copy(update=changed)


def _over_periods(config: StudyConfig, tariff: TariffSection) -> str:
    """Return what the price is multiplied by in each period, in words."""
    curve = tariff.energy_price_factor or config.periods.energy_price_factor
    if not curve:
        return ""
    return f", times {', '.join(f'{factor:g}' for factor in curve)} by period"


def price_by_step(
    tariff: TariffSection, path: GetPath, time: pd.DatetimeIndex
) -> Floats:
    """
    Return the price of energy at each step.

    Parameters
    ----------
    tariff : TariffSection
        The tariff; of its windows that hold a step's start, the first counts.
    path : callable
        Turns a name of the study file into a path.
    time : pandas.DatetimeIndex, shape (n_step,)
        Start of each step of the study.

    Returns
    -------
    numpy.ndarray, shape (n_step,)
        Price. [money/kWh]

    Raises
    ------
    ConfigError
        If windows are given and the steps cover no whole day.
    DataError
        If the tariff's file has other steps than the study.
    """
    if tariff.file is not None:
        return _joined(path(tariff.file), tariff.column, time)
    price = np.full(len(time), tariff.energy_price_per_kwh, dtype=float)
    priced = [w for w in tariff.windows if w.energy_price_per_kwh is not None]
    local = time.tz_convert(tariff.zone)
    if priced and len(set(local.hour)) < 24:
        msg = (
            f"tariff {tariff.name!r} has windows, and the study's {len(time)} step(s) "
            "do not cover every hour of a day; give profiles over time"
        )
        raise ConfigError(msg)
    for window in reversed(priced):
        price[_inside(window, local)] = window.energy_price_per_kwh
    return price


def demand_charge(tariff: TariffSection) -> float:
    """
    Return what a kW of a draw that is flat costs in a year.

    Parameters
    ----------
    tariff : TariffSection
        Charges per month, those of its windows on top of the general one.

    Returns
    -------
    float
        Demand charge. [money/(kW a)]

    Examples
    --------
    >>> from gridsite.config import TariffSection, WindowSection
    >>> summer = WindowSection(months=[6, 7, 8], demand_charge_per_kw_month=9.0)
    >>> demand_charge(
    ...     TariffSection(
    ...         name="c",
    ...         energy_price_per_kwh=0.1,
    ...         windows=[summer],
    ...         demand_charge_per_kw_month=2.0,
    ...     )
    ... )
    51.0
    """
    own = [len(w.months) * w.demand_charge_per_kw_month for w in tariff.windows]
    return 12.0 * tariff.demand_charge_per_kw_month + sum(own)


def _inside(window: WindowSection, local: pd.DatetimeIndex) -> NDArray[np.bool_]:
    """Tell which steps begin within a window."""
    hour = local.hour.to_numpy()
    after, before = hour >= window.from_hour, hour < window.to_hour
    hours = after & before if window.from_hour < window.to_hour else after | before
    weekend = local.dayofweek.to_numpy() >= 5
    days = {"all": weekend | True, "weekdays": ~weekend, "weekends": weekend}
    months = np.isin(local.month.to_numpy(), window.months)
    inside: NDArray[np.bool_] = hours & months & days[window.days]
    return inside


def _joined(path: Path, column: str, time: pd.DatetimeIndex) -> Floats:
    """Return a series of a file at the steps of a study, joined exactly on UTC."""
    table = read_wide(path)
    if column not in table:
        msg = f"{path}: has no column {column!r}, only {list(table.columns[:5])}"
        raise DataError(msg)
    steps = pd.DatetimeIndex(table.index)
    if not steps.tz_convert("UTC").equals(time.tz_convert("UTC")):
        msg = (
            f"{path}: has {len(steps)} steps from {steps[0]} to {steps[-1]}, the study "
            f"has {len(time)} from {time[0]} to {time[-1]}: use one calendar"
        )
        raise DataError(msg)
    values = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=float)
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        first = [str(steps[i]) for i in bad[:3]]
        msg = f"{path}: column {column!r} has {len(bad)} step(s) without a number, first at {first}"  # noqa: E501
        raise DataError(msg)
    return values


def _pue_of_units(
    config: StudyConfig, path: GetPath, time: pd.DatetimeIndex
) -> Floats | None:
    """Return the PUE of units at each step, where a temperature gives it."""
    section = config.ambient
    if section is None or not section.pue:
        return None
    pue = _pue(path(section.file), section.pue, time)
    for unit in config.units:
        _refuse_small(unit, float(pue.max()))
    return pue


def _refuse_small(unit: UnitSection, largest: float) -> None:
    if unit.rated_kw < unit.it_kw * largest * (1.0 - 1e-6):
        msg = (
            f"units: rated_kw {unit.rated_kw:g} of {unit.unit!r} is below it_kw x the "
            f"largest PUE, {unit.it_kw * largest:g}; raise it"
        )
        raise ConfigError(msg)


def _pue_of_site(
    site: CentralSection, path: GetPath, time: pd.DatetimeIndex
) -> Floats | None:
    if site.ambient_file is None:
        return None
    return _pue(path(site.ambient_file), site.pue_points, time)


def _pue(path: Path, points: list[list[float]], time: pd.DatetimeIndex) -> Floats:
    table = [(celsius, pue) for celsius, pue in points]
    return pue_of_temperature(read_ambient(path, time), table=table)


def _mean(values: Floats, pue: Floats) -> float:
    return float((values * pue).sum() / pue.sum())


def _told(what: str, pue: Floats) -> str:
    return (
        f"PUE of {what} follows the outdoor temperature: mean {pue.mean():.4g}, "
        f"largest {pue.max():.4g}; their own pue is not used"
    )
