"""What is wrong with every input of a study: feeder, profiles, roofs, demand."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from gridsite.config import StudyConfig, read_config
from gridsite.errors import ConfigError
from gridsite.feeder.assumed_ratings import read_ratings, with_ratings
from gridsite.feeder.checks import check_feeder, findings_frame
from gridsite.feeder.findings import SEVERITIES, Finding
from gridsite.feeder.meter_options import MeterOptions
from gridsite.feeder.profile_checks import check_profiles
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.hosting.limits import Limits
from gridsite.places.place_checks import check_roofs, check_users
from gridsite.rating_case import band_options
from gridsite.study.study import Study

if TYPE_CHECKING:
    from collections.abc import Callable

    from gridsite.feeder.model import Feeder

#: Columns of the table of findings.
COLUMNS = ("subject", *Finding._fields)

#: Checks of a file that its ratings, or its reference system, may answer.
_BY_RATINGS = (
    "rating missing",
    "default ampacity",
    "base line loading",
    "base transformer loading",
)
_BY_CRS = ("coordinates",)


@dataclass(frozen=True, kw_only=True)
class Completion:
    """
    Hold what a run gives a feeder beside its file.

    Parameters
    ----------
    crs : str or None
        Of the coordinates of an OpenDSS circuit.
    ratings : pandas.DataFrame or None
        As from `gridsite.feeder.assumed_ratings.read_ratings`.
    assume_line_a : float or None
        Ampacity of lines without one. [A]
    limits : callable or None
        Takes the feeder, returns the limits that its voltages are held against; those
        of the norm that fits its nominal voltages without it.
    """

    crs: str | None = None
    ratings: pd.DataFrame | None = None
    assume_line_a: float | None = None
    limits: Callable[[Feeder], Limits] | None = None

    def band(self, feeder: Feeder) -> dict[str, Any]:
        """
        Return the voltage bands of the feeder's levels, as a run has them.

        Parameters
        ----------
        feeder : Feeder
            The model.

        Returns
        -------
        dict
            Options of `check_feeder`. [pu]
        """
        levels = feeder.nodes["voltage_kv"].tolist() or [1.0]
        limits = self.limits(feeder) if self.limits else Limits.for_network(levels)
        return band_options(limits)


def check_inputs(
    feeder: str | Path | None = None,
    *,
    completion: Completion | None = None,
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
    completion : Completion, optional
        What a run gives the feeder beside its file, and its limits.
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
        model, found = _of_feeder(feeder, completion or Completion())
        tables.append(found.assign(subject="feeder"))
        if model is not None:
            ports, points = model.load_ports, model.connection_points()
    if profiles is not None:
        faults = check_profiles(profiles, ports=ports, options=meter_options)
        tables.append(_table("profiles", faults))
    if roofs is not None:
        faults = check_roofs(roofs, feeder=points, **(roof_options or {}))
        tables.append(_table("roofs", faults))
    if users is not None:
        faults = check_users(users, feeder=points, **(user_options or {}))
        tables.append(_table("demand", faults))
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

    roofs, users, section = config.buildings, config.users, config.feeder
    table = place(section.ratings)
    completion = Completion(
        crs=section.crs,
        ratings=None if table is None else read_ratings(table),
        assume_line_a=section.assume_line_a,
        limits=Study(config=config, folder=folder).limits,
    )
    return check_inputs(
        feeder,
        completion=completion,
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
    source: str | Path, completion: Completion
) -> tuple[Feeder | None, pd.DataFrame]:
    """Return a feeder as a run has it, and its findings; None if it is not read."""
    try:
        filed = read_feeder(source, crs=completion.crs)
    except ConfigError:
        raise
    except Exception:  # noqa: BLE001  check_feeder names it
        return None, check_feeder(source)
    found = check_feeder(source, **completion.band(filed))
    rated = completion.ratings is not None or completion.assume_line_a is not None
    if not rated and completion.crs is None:
        return filed, found
    model = filed
    if rated:
        ampere = completion.assume_line_a
        model = with_ratings(filed, completion.ratings, line_a=ampere)
    answered = [*(_BY_RATINGS if rated else ()), *(_BY_CRS if completion.crs else ())]
    answered.append("reader")
    own = check_feeder(model, **completion.band(model))
    told = own["check"].isin(answered)
    told &= ~own["message"].str.endswith(" is left out")  # the script's findings say it
    rows = [*found[~found["check"].isin(answered)].itertuples(index=False)]
    rows += [*own[told].itertuples(index=False)]
    return model, findings_frame([Finding(*row) for row in rows])


def _meter_options(config: StudyConfig) -> MeterOptions | None:
    section = config.profiles.meters
    return None if section is None else MeterOptions(**section.model_dump())
