"""
The study file: one TOML file, checked key by key.

An unknown key, a missing one or a value of the wrong type or range is a
ConfigError that names the file, the key and what was expected. Paths are
relative to the study file. One module for each group of sections.
"""

from gridsite.config.energy import (
    CarbonSection,
    PlaceSection,
    TariffSection,
    WindowSection,
)
from gridsite.config.fleet import FleetConfig, FleetStudyConfig
from gridsite.config.network import ServiceSection, StudyHostingSection
from gridsite.config.places import BuildingsSection
from gridsite.config.read import read_config, read_fleet_config
from gridsite.config.siting import (
    CentralSection,
    SolveSection,
    UnitSection,
    UpgradeSection,
    UtilitySection,
)
from gridsite.config.study import StudyConfig

__all__ = [
    "BuildingsSection",
    "CarbonSection",
    "CentralSection",
    "FleetConfig",
    "FleetStudyConfig",
    "PlaceSection",
    "ServiceSection",
    "SolveSection",
    "StudyConfig",
    "StudyHostingSection",
    "TariffSection",
    "UnitSection",
    "UpgradeSection",
    "UtilitySection",
    "WindowSection",
    "read_config",
    "read_fleet_config",
]
