"""What is wrong with every input of a study: feeder, profiles, roofs, demand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from gridsite.config import StudyConfig, read_config
from gridsite.errors import ConfigError
from gridsite.feeder.checks import check_feeder
from gridsite.feeder.findings import SEVERITIES, Finding
from gridsite.feeder.meter_options import MeterOptions
from gridsite.feeder.profile_checks import check_profiles
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.places.place_checks import check_roofs, check_users

if TYPE_CHECKING:
    import geopandas as gpd

#: Columns of the table of findings.
COLUMNS = ("subject", *Finding._fields)


def check_inputs(
    feeder: str | Path | None = None,
    *,
    profiles: str | Path | None = None,
    roofs: str | Path | None = None,
    users: str | Path | None = None,
    meter_options: MeterOptions | None = None,
    roof_options: dict[str, Any] | None = None,
    user_options: dict[str, Any] | None = None,
) -> pd.DataFrame:
    """
    Return what is wrong with the files that a study would read.

    Bad data are named, never raised.

    Parameters
    ----------
    feeder : str or pathlib.Path, optional
        As for `read_feeder`.
    profiles : str or pathlib.Path, optional
        Loads or meters, compared with the feeder.
    roofs, users : str or pathlib.Path, optional
        Layers of footprints and of users, compared with the feeder's place.
    meter_options : MeterOptions, optional
        How profiles are read.
    roof_options, user_options : dict, optional
        Further options of `check_roofs` and `check_users`.

    Returns
    -------
    pandas.DataFrame
        ``subject`` (feeder, profiles, roofs, demand) and the columns of
        `check_feeder`; of each subject the gravest first.

    Raises
    ------
    ConfigError
        If a file or name is unknown.
    """
    tables = []
    ports = points = None
    if feeder is not None:
        tables.append(check_feeder(feeder).assign(subject="feeder"))
        if profiles is not None or roofs is not None or users is not None:
            ports, points = _of_feeder(feeder)
    if profiles is not None:
        found = check_profiles(profiles, ports=ports, options=meter_options)
        tables.append(_table("profiles", found))
    if roofs is not None:
        found = check_roofs(roofs, feeder=points, **(roof_options or {}))
        tables.append(_table("roofs", found))
    if users is not None:
        found = check_users(users, feeder=points, **(user_options or {}))
        tables.append(_table("demand", found))
    tables = [table for table in tables if len(table)]
    if not tables:
        return pd.DataFrame(columns=list(COLUMNS))
    return pd.concat(tables, ignore_index=True)[list(COLUMNS)]


def check_study(path: str | Path) -> pd.DataFrame:
    """
    Return what is wrong with the inputs of a study file.

    Parameters
    ----------
    path : str or pathlib.Path
        The study file; names in it are relative to its folder.

    Returns
    -------
    pandas.DataFrame
        As `check_inputs`.

    Raises
    ------
    ConfigError
        If the study file is at fault, or a file or name in it is unknown.
    """
    folder, config = Path(path).parent, read_config(Path(path))
    named = config.feeder.source
    feeder = named if ":" in named else folder / named

    lost = [name for name in config.files() if not (folder / name).exists()]
    if lost:
        msg = f"{path}: no such file: {', '.join(repr(name) for name in lost)}"
        raise ConfigError(msg)

    def place(name: str | None) -> Path | None:
        return None if name is None else folder / name

    roofs, users = config.buildings, config.users
    return check_inputs(
        feeder,
        profiles=place(config.profiles.file),
        roofs=place(roofs.file),
        users=place(users.file),
        meter_options=_meter_options(config),
        roof_options={
            "layer": roofs.layer,
            "id_column": roofs.id_column,
            "min_area_m2": roofs.min_area_m2,
        },
        user_options={
            "layer": users.layer,
            "users_column": users.users_column,
            "users_per_point": users.users_per_point,
            "hidden": users.hidden,
            "power_columns": list((users.it_kw_columns or {}).values()),
        },
    )


def as_json(findings: pd.DataFrame) -> dict[str, Any]:
    """
    Return findings as an object that JSON can hold.

    Parameters
    ----------
    findings : pandas.DataFrame
        As from `check_inputs`.

    Returns
    -------
    dict
        ``counts`` by severity and ``findings``; a value that is no number is null.
    """
    counts = findings["severity"].value_counts()
    rows = findings.to_dict("records")
    for row in rows:
        row["value"] = row["value"] if math.isfinite(row["value"]) else None
    return {
        "counts": {name: int(counts.get(name, 0)) for name in SEVERITIES},
        "findings": rows,
    }


def _table(subject: str, found: list[Finding]) -> pd.DataFrame:
    found = sorted(found, key=lambda f: (SEVERITIES.index(f.severity), f.check))
    table = pd.DataFrame(found, columns=list(Finding._fields))
    return table.astype({"value": float}).assign(subject=subject)


def _of_feeder(
    source: str | Path,
) -> tuple[pd.DataFrame | None, gpd.GeoDataFrame | None]:
    """Return ports and points of a feeder; None where it cannot be read."""
    try:
        feeder = read_feeder(source)
    except Exception:  # noqa: BLE001  check_feeder has named it
        return None, None
    return feeder.load_ports, feeder.connection_points()


def _meter_options(config: StudyConfig) -> MeterOptions | None:
    section = config.profiles.meters
    return None if section is None else MeterOptions(**section.model_dump())
