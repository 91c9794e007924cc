"""Replay one hosting value of an output folder from the inputs of its run."""

from __future__ import annotations

import json
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gridsite.config import StudyConfig
from gridsite.errors import ConfigError, DataError
from gridsite.feeder.candidate_ports import with_candidate_ports
from gridsite.hosting.explain import explain_capacity
from gridsite.rating_case import repeated_case
from gridsite.report.layers import plan_reasons
from gridsite.results import input_hashes
from gridsite.study import Study

if TYPE_CHECKING:
    from gridsite.hosting.explanation import Explanation
    from gridsite.hosting.grid_case import GridCase
    from gridsite.report import Results


def explain_building(
    results: Results, building_id: str, *, port_id: str | None = None
) -> tuple[dict[str, Any], Explanation]:
    """
    Replay the firm capacity of one building of a run.

    Parameters
    ----------
    results : Results
        The run, as from ``read_results``.
    building_id : str
        The building.
    port_id : str, optional
        Which of its connections, where it has several.

    Returns
    -------
    row : dict
        Its row of the hosting table.
    explanation : Explanation
        The replay.

    Raises
    ------
    ConfigError
        If there is no such building or connection.
    DataError
        If an input of the run has changed or is gone.
    PowerFlowError
        If the replay does not confirm the table.
    """
    row = hosting_row(results, building_id, port_id=port_id)
    grid = repeated_grid(results)
    own = results.connections
    own = own[
        (own["building_id"] == row["building_id"]) & (own["port_id"] == row["port_id"])
    ]
    known = own[["service_a", "service_v"]].to_numpy(dtype=float, na_value=np.nan)
    amps, volts = known[0] if len(known) else (np.nan, np.nan)
    explanation = explain_capacity(
        grid.feeder,
        grid.profiles,
        row,
        service_a=float(amps),
        service_v=float(volts),
        tolerance_kw=results.manifest["options"].get("tolerance_kw", 0.1),
        grid=grid,
    )
    return row, explanation


def hosting_row(
    results: Results, building_id: str, *, port_id: str | None = None
) -> dict[str, Any]:
    """
    Return one row of the hosting table.

    Parameters
    ----------
    results : Results
        The run.
    building_id : str
        The building.
    port_id : str, optional
        Which of its connections, where it has several.

    Returns
    -------
    dict
        By column.

    Raises
    ------
    ConfigError
        If there is no such building or connection, or there are several.
    """
    hosting = results.hosting
    own = hosting[hosting["building_id"] == building_id]
    told = plan_reasons(results).get(building_id)
    if own.empty and told is not None:
        msg = f"{building_id!r} was not rated; {told}"
        raise ConfigError(msg)
    if own.empty:
        names = hosting["building_id"].unique().tolist()
        lower = {str(name).lower(): name for name in names}
        near = [lower[n] for n in get_close_matches(building_id.lower(), lower, n=3)]
        told = f"close: {', '.join(map(repr, near))}" if near else f"first: {names[:3]}"
        msg = f"no building is called {building_id!r} among {len(names)}; {told}"
        raise ConfigError(msg)
    ports = own["port_id"].tolist()
    if port_id is not None:
        own = own[own["port_id"] == port_id]
    if len(own) != 1:
        msg = f"building {building_id!r} has the connections {ports}; name one: --port"
        raise ConfigError(msg)
    return {str(name): value for name, value in own.iloc[0].items()}


def repeated_grid(results: Results) -> GridCase:
    """
    Return the base cases of a run, from the inputs that it had.

    Parameters
    ----------
    results : Results
        A run of a study or a rating.

    Returns
    -------
    GridCase
        Not solved yet.

    Raises
    ------
    DataError
        If an input has changed or is gone, or the run does not say what it was.
    """
    check_inputs(results)
    ports = results.connections["port_id"]
    if "study" not in results.manifest["options"]:
        return repeated_case(results.manifest, ports)
    study = repeated_study(results)
    feeder = with_candidate_ports(study.feeder(), ports)
    return study.grid(feeder, background=max(study.background_factors()))


def repeated_study(results: Results) -> Study:
    """
    Return the study of a run.

    Parameters
    ----------
    results : Results
        A run of a study.

    Returns
    -------
    Study
        With the options and the input files that it had.

    Raises
    ------
    ConfigError
        If the run is none of a study.
    DataError
        If an input has changed or is gone, or the run does not say what it was.
    """
    check_inputs(results)
    manifest = results.manifest
    if "study" not in manifest["options"]:
        msg = "the run rated a feeder and has no plan; name the folder of a study"
        raise ConfigError(msg)
    config = StudyConfig.model_validate_json(json.dumps(manifest["options"]))
    return Study(config=config, folder=Path(manifest["folder"]))


def check_inputs(results: Results) -> None:
    """
    Raise if an input of a run is not what it was.

    Parameters
    ----------
    results : Results
        A run.

    Raises
    ------
    DataError
        If an input has changed or is gone, or the run does not say what it was.
    """
    manifest = results.manifest
    if not {"folder", "inputs", "options", "feeder"} <= manifest.keys():
        msg = "manifest.json does not say what the run was made of; run it again"
        raise DataError(msg)
    folder = Path(manifest["folder"])
    for name, before in manifest["inputs"].items():
        try:
            (now,) = input_hashes([name], folder).values()
        except OSError as error:
            msg = f"input {folder / name} of the run is gone; put it back or run again"
            raise DataError(msg) from error
        if now != before:
            msg = (
                f"input {folder / name} has changed since the run (SHA-256 "
                f"{now[:12]}, was {before[:12]}); put it back or run again"
            )
            raise DataError(msg)
