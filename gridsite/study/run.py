"""Run a study: from its files to a verified plan and everything around it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gridsite.errors import ConfigError
from gridsite.feeder.opendss_script import with_included
from gridsite.hosting.headroom_files import HeadroomFiles
from gridsite.rating_case import checked_feeder
from gridsite.report import Results, siting_map, write_results
from gridsite.results import input_hashes, with_estimates
from gridsite.study.collect import collect
from gridsite.study.place_inputs import study_demand, study_places
from gridsite.study.plans import verified_plans
from gridsite.study.problem import rated_connections, study_problem, with_feeder

if TYPE_CHECKING:
    from pathlib import Path

    from gridsite.config import StudyHostingSection
    from gridsite.hosting.ac_replay import LoadReplay
    from gridsite.siting import Plan
    from gridsite.study.study import Study

Progress = Callable[[float, str], None]


def _silent(share: float, text: str) -> None:
    """Take progress and tell nobody."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """
    What a study found.

    Parameters
    ----------
    study : Study
        The study.
    results : Results
        Every table, the summary and the manifest.
    plan : Plan
        The hybrid plan with its certificate.
    replay : LoadReplay
        AC replay of that plan.
    """

    study: Study
    results: Results
    plan: Plan
    replay: LoadReplay

    @property
    def summary(self) -> dict[str, Any]:
        """
        Return the headline figures, as in ``summary.json``.

        Returns
        -------
        dict
            By name.
        """
        return self.results.summary

    def write(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """
        Write the output folder.

        Parameters
        ----------
        folder : str or pathlib.Path
            Where to; it must not exist, unless it is an earlier output.
        overwrite : bool, default False
            Replace an earlier output.

        Returns
        -------
        pathlib.Path
            The folder.
        """
        return write_results(self.results, folder, overwrite=overwrite)

    def map(self, path: str | Path) -> Path:
        """
        Write the siting map alone.

        Parameters
        ----------
        path : str or pathlib.Path
            The HTML file.

        Returns
        -------
        pathlib.Path
            The file.
        """
        return siting_map(self.results, path)


def run_study(
    study: Study, *, scratch: Path | None = None, progress: Progress = _silent
) -> Run:
    """
    Run a study from its files to a verified plan.

    Parameters
    ----------
    study : Study
        The study.
    scratch : pathlib.Path, optional
        Folder for the envelope and the 576-hour table until `Run.write` moves them;
        needed where the study asks for them.
    progress : callable, optional
        Called with the share done, in [0, 1], and a text.

    Returns
    -------
    Run
        Tables, plan, replay and summary. A plan whose replay still finds
        violations has status ``not_verified``.

    Raises
    ------
    ConfigError
        If the study file asks for what cannot be done.
    DataError
        If an input is at fault.
    PowerFlowError
        If the feeder has no solution even without units.
    SolveError
        If no plan meets the requirements, or the solver failed.
    """
    began = time.perf_counter()
    files = _headroom_files(study.config.hosting, scratch)
    progress(0.0, "reading the feeder")
    feeder, errors = study.feeder_with_errors()
    findings = checked_feeder(feeder, study.limits(feeder), errors)
    progress(0.05, "reading roofs and users")
    config = study.config
    places = study_places(config.buildings, config.service, study.path, feeder)
    feeder, connections = study.unit_connections(feeder, places.connections)
    demand, areas = study_demand(config, study.path), study.areas()
    grids = study.grids(feeder)
    grid = grids.heaviest
    if files is not None:
        files.check(grid)
    study = study.with_energy(grid.profiles.time)
    hosting, connections = rated_connections(
        study,
        grid,
        with_estimates(connections, grid.profiles),
        envelope=None if files is None else files.envelope,
        progress=lambda share, text: progress(0.1 + 0.45 * share, text),
    )
    buildings = with_feeder(places.buildings, hosting, feeder)
    places = replace(places, buildings=buildings, connections=connections)
    progress(0.55, "building the siting problem")
    inputs, problem = study_problem(study, grids, hosting, places, demand, areas)
    progress(0.6, "choosing sites")
    plans = verified_plans(study.config.solve, grids, problem, progress)
    progress(0.95, "collecting results")
    results = collect(
        study.config,
        inputs_sha256=_hashes(study),
        folder=study.folder,
        grid=grid,
        places=places,
        hosting=hosting,
        inputs=inputs,
        plans=plans,
        findings=findings,
        seconds=time.perf_counter() - began,
    )
    if files is not None:
        results = replace(results, files=files.finish(grid, hosting))
    progress(1.0, "done")
    plan, replay = plans["hybrid"]
    return Run(study=study, results=results, plan=plan, replay=replay)


def _headroom_files(
    section: StudyHostingSection, scratch: Path | None
) -> HeadroomFiles | None:
    if not section.envelope and section.analysis_date is None:
        return None
    if scratch is None:
        msg = "hosting.envelope, hosting.analysis_date: give run_study a scratch folder"
        raise ConfigError(msg)
    return HeadroomFiles.within(scratch, section.analysis_date)


def _hashes(study: Study) -> dict[str, str]:
    """Return the SHA-256 of each input file."""
    config = study.config
    names = config.files()
    if ":" not in config.feeder.source:
        names.append(config.feeder.source)
    for name in names:
        study.path(name)  # each must exist
    return input_hashes(with_included(names, study.folder), study.folder)
