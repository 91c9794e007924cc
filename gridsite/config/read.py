"""Read a study file and name every wrong key of it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from gridsite.config.fleet import FleetConfig, FleetStudyConfig
from gridsite.config.study import RatingConfig, StudyConfig
from gridsite.cost_presets import with_preset
from gridsite.errors import ConfigError

#: Sections of which one makes a fleet file ask for a siting.
_SITING = {"buildings", "users", "units", "workloads", "economics"}

_Config = TypeVar("_Config", bound=RatingConfig)


def read_config(path: str | Path) -> StudyConfig:
    """
    Read and check a study file.

    Parameters
    ----------
    path : str or pathlib.Path
        The TOML file.

    Returns
    -------
    StudyConfig
        Its content.

    Raises
    ------
    ConfigError
        If the file is missing, is not TOML, or has a wrong key or value; all
        wrong keys are named.
    """
    return _checked(StudyConfig, with_preset(_content(path)), path)


def read_fleet_config(path: str | Path) -> FleetConfig | FleetStudyConfig:
    """
    Read and check the study file of a fleet.

    Parameters
    ----------
    path : str or pathlib.Path
        The TOML file: a study file with a section ``fleet``.

    Returns
    -------
    FleetConfig or FleetStudyConfig
        Its content: a rating, or a study where any siting section is given.

    Raises
    ------
    ConfigError
        As `read_config`.
    """
    content = _content(path)
    if _SITING & content.keys():
        return _checked(FleetStudyConfig, with_preset(content), path)
    return _checked(FleetConfig, content, path)


def _content(path: str | Path) -> dict[str, Any]:
    """Return the content of a TOML file."""
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        msg = f"study file {str(path)!r} {what}; give the path of a .toml file"
        raise ConfigError(msg)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        msg = f"{path}: not a TOML file ({error})"
        raise ConfigError(msg) from error


def _checked(
    model: type[_Config], content: dict[str, Any], path: str | Path
) -> _Config:
    """Return the checked content; a fault names the file and every wrong key."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        msg = f"{path}: {_describe(error)}"
        raise ConfigError(msg) from error


def _describe(error: ValidationError) -> str:
    """Return one line that names each wrong key, its value and the cure."""
    parts = []
    for fault in error.errors(include_url=False):
        key = ".".join(str(part) for part in fault["loc"])
        if fault["type"] == "extra_forbidden":
            parts.append(f"key {key!r} is not known; remove or correct it")
        elif fault["type"] == "missing":
            parts.append(f"key {key!r} is missing; add it")
        elif fault["type"] == "value_error":
            parts.append(f"{key + ': ' if key else ''}{fault['ctx']['error']}")
        else:
            parts.append(f"key {key!r} is {fault['input']!r}: {fault['msg'].lower()}")
    return "; ".join(parts)
