"""Where the units of a study may stand: phases, and what refuses them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from gridsite.errors import ConfigError
from gridsite.feeder.candidate_ports import LEGS
from gridsite.hosting.phases import CHOSEN, unit_connections, with_legs

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
        With ports on other phases, or across the legs of split-phase services.
    connections : pandas.DataFrame
        Contract ``connections``.

    Raises
    ------
    ConfigError
        If units of one or two phases meet a balanced model, or units of three
        phases one with phases.
    """
    _refuse_phases(config, feeder)
    wanted = {unit.phases for unit in config.units}
    if LEGS not in wanted:
        return unit_connections(feeder, connections, phase_rule(config))
    across = with_legs(feeder, connections)
    if wanted != {LEGS}:
        both = pd.concat([connections, across], ignore_index=True)
        across = both.drop_duplicates(["building_id", "port_id"])
    attrs, connections = connections.attrs, across.reset_index(drop=True)
    connections.attrs.update(attrs)
    return unit_connections(feeder, connections, "known")


def _refuse_phases(config: StudyConfig, feeder: Feeder) -> None:
    """Refuse phases of units that the feeder, or the envelope, cannot have."""
    wanted, rule = {unit.phases for unit in config.units}, phase_rule(config)
    section = config.hosting
    if rule in CHOSEN and (section.envelope or section.analysis_date):
        msg = (
            f"units.phases {rule!r}: the envelope is that of given "
            'phases; give "known" or "12", or neither envelope nor analysis_date'
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
    if not balanced and "ABC" in wanted:
        msg = (
            f"units.phases 'ABC': {feeder.name} has connections of one and two "
            'phases; give phases = "known" (as the file has them), "worst", '
            '"best", "sampled", or "12" (240 V of split-phase services)'
        )
        raise ConfigError(msg)
