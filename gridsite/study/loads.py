"""What customers of a study draw: committed loads, profiles, shapes, estimates."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from gridsite.errors import ConfigError
from gridsite.feeder.annual_energy import annual_energy
from gridsite.feeder.feed_in import without_generation
from gridsite.feeder.load_growth import committed_loads, grown, read_committed
from gridsite.feeder.load_parts import snapshot_profiles
from gridsite.feeder.meter_options import MeterOptions
from gridsite.feeder.meter_profiles import read_loads
from gridsite.feeder.profile_shapes import shape_profiles
from gridsite.study.place_inputs import study_energy
from gridsite.untrusted import read_table

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gridsite.config import StudyConfig
    from gridsite.config.network import ProfilesSection
    from gridsite.feeder.model import Feeder
    from gridsite.feeder.profiles import Profiles

    GetPath = Callable[[str], Path]


def study_committed(config: StudyConfig, path: GetPath) -> pd.DataFrame:
    """
    Return the loads that are in the queue and not built.

    Parameters
    ----------
    config : StudyConfig
        The study file.
    path : callable
        Turns a name of the study file into a path.

    Returns
    -------
    pandas.DataFrame
        As from `gridsite.feeder.load_growth.committed_loads`.

    Raises
    ------
    DataError
        If a row is at fault.
    """
    section = config.committed
    tables = [committed_loads(pd.DataFrame(columns=["port", "bus", "kw", "name"]))]
    if section.loads:
        rows = [load.model_dump() for load in section.loads]
        tables.append(committed_loads(pd.DataFrame(rows)))
    if section.file is not None:
        tables.append(read_committed(path(section.file)))
    return pd.concat(tables, ignore_index=True)


def study_loads(
    config: StudyConfig, path: GetPath, feeder: Feeder, *, background: float = 1.0
) -> Profiles:
    """
    Return what the feeder's customers draw.

    Parameters
    ----------
    config : StudyConfig
        The study file.
    path : callable
        Turns a name of the study file into a path.
    feeder : Feeder
        The electrical model, with the committed loads.
    background : float, default 1.0
        What customers draw in a deployment period over what they draw at
        its start. [-]

    Returns
    -------
    Profiles
        By load, grown; committed loads are ports of their own.

    Raises
    ------
    ConfigError
        If the study names no profiles and the feeder file has none, or has
        committed loads and the feeder does not.
    """
    section = config.profiles
    loads = _loads_today(config, path, feeder)
    if section.generation == "off":
        loads = without_generation(loads, feeder)
    known = feeder.ports.index.str.startswith("committed ").any()
    if len(study_committed(config, path)) and not known:
        msg = (
            f"committed: {feeder.name} was read without the committed loads; take "
            "Study.feeder()"
        )
        raise ConfigError(msg)
    return grown(loads, section.growth_factor * background, feeder=feeder)


def given_power_factor(section: ProfilesSection) -> float | None:
    """
    Return the power factor of customers whose active power alone is given.

    Parameters
    ----------
    section : ProfilesSection
        What customers draw.

    Returns
    -------
    float or None
        None where the feeder file gives reactive power too. [-]
    """
    given = section.file is not None or section.shapes is not None
    return section.power_factor if given else None


def _loads_today(config: StudyConfig, path: GetPath, feeder: Feeder) -> Profiles:
    section, ports = config.profiles, feeder.load_ports
    if section.file is not None:
        meters, links = section.meters, None
        if meters is not None and meters.links is not None:
            links = path(meters.links)
        return read_loads(
            path(section.file),
            ports,
            options=MeterOptions(**meters.model_dump()) if meters else None,
            links=links,
            annual_kwh=_estimated_kwh(config, path, feeder),
            power_factor=section.power_factor,
            seed=config.study.seed,
        )
    if section.shapes is not None:
        return _shaped(config, path, feeder)
    if section.snapshot:
        return snapshot_profiles(feeder)
    if feeder.profiles is not None:
        return feeder.profiles
    msg = (
        "profiles: the feeder file has none; give profiles.file, "
        "profiles.shapes or profiles.snapshot = true"
    )
    raise ConfigError(msg)


def _estimated_kwh(
    config: StudyConfig, path: GetPath, feeder: Feeder
) -> pd.Series[float] | None:
    if getattr(config, "buildings", None) is None:
        return None  # a fleet that is rated has no buildings
    return study_energy(config, path, feeder)


def _shaped(config: StudyConfig, path: GetPath, feeder: Feeder) -> Profiles:
    section, ports = config.profiles, feeder.load_ports.index
    annual = pd.Series(section.annual_kwh, index=ports, dtype=float)
    own, estimated = _own_kwh(config, path, ports), _estimated_kwh(config, path, feeder)
    if estimated is not None:
        estimated = estimated[~estimated.index.isin(own.index)]
        annual.update(estimated)
    annual.update(own)
    bare = annual.index[annual.isna()]
    if len(bare):
        msg = (
            f"profiles: no energy for {len(bare)} load(s), first {list(bare[:3])}; "
            "shapes need annual_kwh, annual_kwh_file or kwh_per_m2 of buildings "
            "[kWh]"
        )
        raise ConfigError(msg)
    hours = pd.Series(section.full_load_hours, dtype=float)
    shaped = shape_profiles(
        read_table(path(str(section.shapes))),
        port_ids=ports,
        annual_kwh=annual,
        power_factor=section.power_factor,
        seed=config.study.seed,
        shift_weeks=section.shift_weeks,
        full_load_hours=hours if len(hours) else None,
    )
    if estimated is None:
        return shaped
    return replace(shaped, assumed=frozenset(estimated.index.intersection(ports)))


def _own_kwh(
    config: StudyConfig, path: GetPath, ports: pd.Index[str]
) -> pd.Series[float]:
    """Return the energies that are given by file, or by name before that. [kWh]"""
    section = config.profiles
    own = {"annual_kwh_by_port": pd.Series(section.annual_kwh_by_port, dtype=float)}
    if section.annual_kwh_file is not None:
        table = read_table(path(section.annual_kwh_file), text=True)
        own["annual_kwh_file"] = annual_energy(table, section.annual_kwh_file)
    for key, energy in own.items():
        unknown = sorted(set(energy.index) - set(ports))
        if unknown:
            msg = f"profiles.{key}: no load is called {unknown[:3]}"
            raise ConfigError(msg)
    both = pd.concat(own.values())
    return both[~both.index.duplicated()]
