"""Where the units of a study may stand: phases, and what refuses them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from gridsite.errors import ConfigError
from gridsite.feeder.candidate_ports import LEGS, THREE, lacks_phase
from gridsite.hosting.phases import (
    CHOSEN,
    unit_connections,
    with_legs,
    with_three_phases,
)

if TYPE_CHECKING:
    from gridsite.config import StudyConfig
    from gridsite.feeder.model import Feeder


def phase_rule(config: StudyConfig) -> str:
    """
    Return by which rule the phases of the study's units are found.

    Parameters
    ----------
    config : StudyConfig
        The study file.

    Returns
    -------
    str
        ``worst``, ``best`` or ``sampled`` where the units say so, else ``known``.
    """
    return next((u.phases for u in config.units if u.phases in CHOSEN), "known")


def units_of_study(
    config: StudyConfig, feeder: Feeder, connections: pd.DataFrame
) -> tuple[Feeder, pd.DataFrame]:
    """
    Return where the study's units may stand.

    Parameters
    ----------
    config : StudyConfig
        The study file.
    feeder : Feeder
        The electrical model.
    connections : pandas.DataFrame
        Contract ``connections``, of ports of the file.

    Returns
    -------
    feeder : Feeder
        With ports on other phases, on all three, or across the legs of split-phase
        services.
    connections : pandas.DataFrame
        Contract ``connections``.

    Raises
    ------
    ConfigError
        If units of one or two phases meet a balanced model, or units of three
        phases a feeder at which no connection has all three.
    """
    _refuse_phases(config, feeder)
    if phase_rule(config) in CHOSEN:
        return unit_connections(feeder, connections, phase_rule(config))
    wanted = {unit.phases for unit in config.units}
    parts = [connections] if wanted - {LEGS, THREE} else []
    if LEGS in wanted:
        parts.append(with_legs(feeder, connections))
    if THREE in wanted:
        parts.append(with_three_phases(feeder, connections))
    every = pd.concat(parts, ignore_index=True)
    every = every.drop_duplicates(["building_id", "port_id"], ignore_index=True)
    every.attrs.update(connections.attrs)
    more, every = unit_connections(feeder, every, "known")
    if wanted == {THREE} and lacks_phase(more, every["port_id"]).all():
        msg = (
            f"units.phases 'ABC': no connection to {feeder.name} has three phases; "
            'give phases = "known" (as the file has them), "worst", "best", '
            '"sampled", or "12" (240 V of split-phase services)'
        )
        raise ConfigError(msg)
    return more, every


def _refuse_phases(config: StudyConfig, feeder: Feeder) -> None:
    """Refuse phases of units that the feeder, or the envelope, cannot have."""
    wanted, rule = {unit.phases for unit in config.units}, phase_rule(config)
    section = config.hosting
    if rule in CHOSEN and (section.envelope or section.analysis_date):
        msg = (
            f"units.phases {rule!r}: the envelope is that of given "
            'phases; give "known", "12" or "ABC", or neither envelope nor '
            "analysis_date"
        )
        raise ConfigError(msg)
    balanced = bool((feeder.nodes["phases"] == "ABC").any())
    if balanced and wanted != {"ABC"}:
        msg = (
            f"units.phases {sorted(wanted - {'ABC'})}: the model of {feeder.name} "
            'is balanced, with three-phase connections; give phases = "ABC", or '
            "a feeder file with loads by phase"
        )
        raise ConfigError(msg)
