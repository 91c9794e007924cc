"""
The conductor: one study file in, one run out.

It is the only module that knows all the others, and carries tables between
them: feeder -> hosting -> rows; roofs -> connections -> sites; users -> zones ->
arcs; all of these -> siting -> AC replay -> results.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from gridsite.config import StudyConfig, read_config
from gridsite.errors import ConfigError, InfeasibleError, SolveError
from gridsite.feeder.annual_energy import annual_energy
from gridsite.feeder.assumed_ratings import read_ratings, with_ratings
from gridsite.feeder.candidate_ports import LEGS
from gridsite.feeder.load_growth import (
    committed_loads,
    grown,
    read_committed,
    with_committed_ports,
    without_generation,
)
from gridsite.feeder.load_parts import snapshot_profiles
from gridsite.feeder.meter_options import MeterOptions
from gridsite.feeder.meter_profiles import read_loads
from gridsite.feeder.port_transformers import connection_points
from gridsite.feeder.profiles import Profiles, shape_profiles
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.feeder.taps import TapControl
from gridsite.hosting.base_case import GridCase
from gridsite.hosting.capacity import hosting_capacity
from gridsite.hosting.headroom_files import HeadroomFiles
from gridsite.hosting.limits import Limits
from gridsite.hosting.phases import (
    CHOSEN,
    chosen_connections,
    phase_capacity,
    unit_connections,
    with_legs,
)
from gridsite.place_inputs import study_demand, study_energy, study_places
from gridsite.places import read_areas
from gridsite.rating import AmbientChoice, checked_feeder
from gridsite.report import Results, siting_map, write_results
from gridsite.results import collect, input_hashes, with_estimates
from gridsite.siting import (
    Plan,
    SitingProblem,
    conflicting_requirements,
    empty_table,
    solve,
)
from gridsite.siting_energy import with_energy
from gridsite.siting_grid import Grids, Replayed
from gridsite.siting_inputs import SitingInputs, siting_inputs
from gridsite.siting_time import SERVICE
from gridsite.siting_upgrades import (
    connection_rows,
    feeder_after,
    services_of,
    with_service,
    works_of,
)
from gridsite.strategies import compare_strategies, priced_unserved
from gridsite.untrusted import read_table

if TYPE_CHECKING:
    import geopandas as gpd

    from gridsite.config import StudyHostingSection
    from gridsite.feeder.model import Feeder
    from gridsite.hosting.ac_replay import LoadReplay

logger = logging.getLogger(__name__)

Progress = Callable[[float, str], None]

#: Rows, their coefficients, and what works on the grid add to them.
SitingTables = tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]


def _silent(share: float, text: str) -> None:
    """Take progress and tell nobody."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """
    A study: its file's content and the folder its paths start from.

    Parameters
    ----------
    config : StudyConfig
        Content of the study file.
    folder : pathlib.Path
        Where relative paths start.
    """

    config: StudyConfig
    folder: Path

    @classmethod
    def read(cls, path: str | Path) -> Study:
        """
        Read a study file.

        Parameters
        ----------
        path : str or pathlib.Path
            The TOML file.

        Returns
        -------
        Study
            The study.

        Raises
        ------
        ConfigError
            If the file is missing or has a wrong key or value.
        """
        return cls(config=read_config(path), folder=Path(path).parent)

    def path(self, name: str) -> Path:
        """
        Return a path of the study file, which must exist.

        Parameters
        ----------
        name : str
            As written in the study file.

        Returns
        -------
        pathlib.Path
            The file.

        Raises
        ------
        ConfigError
            If there is no such file.
        """
        path = self.folder / name
        if not path.exists():
            msg = f"study {self.config.study.name!r}: file {str(path)!r} does not exist"
            raise ConfigError(msg)
        return path

    def feeder(self) -> Feeder:
        """
        Return the study's feeder.

        Returns
        -------
        Feeder
            The electrical model, with the ratings of the study and the committed
            loads that stand at a bus.
        """
        section = self.config.feeder
        source, table = section.source, None
        feeder = read_feeder(source if ":" in source else self.path(source))
        if section.ratings is not None:
            table = read_ratings(self.path(section.ratings))
        if table is not None or section.assume_line_a is not None:
            feeder = with_ratings(feeder, table, line_a=section.assume_line_a)
        return with_committed_ports(
            feeder, self.committed(), power_factor=self.config.committed.power_factor
        )

    def committed(self) -> pd.DataFrame:
        """
        Return the loads that are in the queue and not built.

        Returns
        -------
        pandas.DataFrame
            As from `gridsite.feeder.load_growth.committed_loads`.

        Raises
        ------
        DataError
            If a row is at fault.
        """
        section = self.config.committed
        tables = [committed_loads(pd.DataFrame(columns=["port", "bus", "kw", "name"]))]
        if section.loads:
            rows = [load.model_dump() for load in section.loads]
            tables.append(committed_loads(pd.DataFrame(rows)))
        if section.file is not None:
            tables.append(read_committed(self.path(section.file)))
        return pd.concat(tables, ignore_index=True)

    def loads(self, feeder: Feeder, *, background: float = 1.0) -> Profiles:
        """
        Return what the feeder's customers draw.

        Parameters
        ----------
        feeder : Feeder
            The electrical model.
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
            committed loads and the feeder is not that of `feeder`.
        """
        section, committed = self.config.profiles, self.committed()
        loads = self._loads_today(feeder)
        if section.generation == "off":
            loads = without_generation(loads, feeder)
        known = feeder.ports.index.str.startswith("committed ").any()
        if len(committed) and not known:
            msg = (
                f"committed: {feeder.name} was read without the committed loads; take "
                "Study.feeder()"
            )
            raise ConfigError(msg)
        return grown(loads, section.growth_factor * background, feeder=feeder)

    def _loads_today(self, feeder: Feeder) -> Profiles:
        section, ports = self.config.profiles, feeder.load_ports
        if section.file is not None:
            meters, links = section.meters, None
            if meters is not None and meters.links is not None:
                links = self.path(meters.links)
            return read_loads(
                self.path(section.file),
                ports,
                options=MeterOptions(**meters.model_dump()) if meters else None,
                links=links,
                annual_kwh=self._estimated_kwh(feeder),
                power_factor=section.power_factor,
                seed=self.config.study.seed,
            )
        if section.shapes is not None:
            return self._shaped(feeder)
        if section.snapshot:
            return snapshot_profiles(feeder)
        if feeder.profiles is not None:
            return feeder.profiles
        msg = (
            "profiles: the feeder file has none; give profiles.file, "
            "profiles.shapes or profiles.snapshot = true"
        )
        raise ConfigError(msg)

    def _estimated_kwh(self, feeder: Feeder) -> pd.Series[float] | None:
        if getattr(self.config, "buildings", None) is None:
            return None  # a fleet that is rated has no buildings
        return study_energy(self.config, self.path, feeder)

    def _shaped(self, feeder: Feeder) -> Profiles:
        section, ports = self.config.profiles, feeder.load_ports.index
        annual = pd.Series(section.annual_kwh, index=ports, dtype=float)
        own, estimated = self._own_kwh(ports), self._estimated_kwh(feeder)
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
            read_table(self.path(str(section.shapes))),
            port_ids=ports,
            annual_kwh=annual,
            power_factor=section.power_factor,
            seed=self.config.study.seed,
            shift_weeks=section.shift_weeks,
            full_load_hours=hours if len(hours) else None,
        )
        if estimated is None:
            return shaped
        return replace(shaped, assumed=frozenset(estimated.index.intersection(ports)))

    def _own_kwh(self, ports: pd.Index[str]) -> pd.Series[float]:
        """Return the energies that are given by file, or by name before that. [kWh]"""
        section = self.config.profiles
        own = {"annual_kwh_by_port": pd.Series(section.annual_kwh_by_port, dtype=float)}
        if section.annual_kwh_file is not None:
            table = read_table(self.path(section.annual_kwh_file), text=True)
            own["annual_kwh_file"] = annual_energy(table, section.annual_kwh_file)
        for key, energy in own.items():
            unknown = sorted(set(energy.index) - set(ports))
            if unknown:
                msg = f"profiles.{key}: no load is called {unknown[:3]}"
                raise ConfigError(msg)
        both = pd.concat(own.values())
        return both[~both.index.duplicated()]

    def limits(self, feeder: Feeder | None = None) -> Limits:
        """
        Return the study's limits.

        Parameters
        ----------
        feeder : Feeder, optional
            Its voltages decide where neither preset nor country is given; EN
            50160 without it.

        Returns
        -------
        Limits
            Those of the norm with the study's own values.
        """
        section, service = self.config.limits, self.config.service
        own = section.model_dump(exclude={"preset", "country"}, exclude_none=True)
        if "criteria" in own:
            own["criteria"] = tuple(own["criteria"])
        if "voltage_bands" in own:
            own["voltage_bands"] = tuple(tuple(band) for band in own["voltage_bands"])
        if service is not None:
            own["service_rule"] = service.rule
        if section.preset is not None:
            return Limits.preset(section.preset).changed(**own)
        levels = [] if feeder is None else feeder.nodes["voltage_kv"].tolist()
        return Limits.for_network(levels, country=section.country).changed(**own)

    def grid(self, feeder: Feeder, *, background: float = 1.0) -> GridCase:
        """
        Return the base cases of the study's feeder.

        Parameters
        ----------
        feeder : Feeder
            The electrical model.
        background : float, default 1.0
            As for `loads`. [-]

        Returns
        -------
        GridCase
            With the study's loads, limits and power factor; not solved yet.
        """
        loads = self.loads(feeder, background=background)
        ambient = self.ambient()
        return GridCase(
            feeder,
            loads,
            self.limits(feeder),
            power_factor=self.power_factor(),
            taps=self.taps(),
            controls=self.config.feeder.controls,
            ageing=None if ambient is None else ambient(loads.time),
        )

    def ambient(self) -> AmbientChoice | None:
        """
        Return by what transformers age.

        Returns
        -------
        AmbientChoice or None
            None where the study gives no outdoor temperature.
        """
        section = self.config.ambient
        if section is None:
            return None
        own = section.model_dump(exclude={"pue"})
        return AmbientChoice(**{**own, "file": str(self.path(section.file))})

    def areas(self) -> gpd.GeoDataFrame | None:
        """
        Return the areas of the study's layer.

        Returns
        -------
        geopandas.GeoDataFrame or None
            As from ``places.read_areas``; None where the study names no layer.
        """
        section = self.config.areas
        if section is None:
            return None
        return read_areas(
            self.path(section.file),
            name_column=section.name_column,
            layer=section.layer,
        )

    def with_energy(self, time: pd.DatetimeIndex) -> Study:
        """
        Return the study with what its steps say of prices, carbon and PUE.

        Parameters
        ----------
        time : pandas.DatetimeIndex
            Steps of the study.

        Returns
        -------
        Study
            As `gridsite.siting_energy.with_energy`; the same study where nothing is
            given by step.
        """
        config = with_energy(self.config, self.path, time)
        return self if config is self.config else replace(self, config=config)

    def background_factors(self) -> list[float]:
        """
        Return what customers draw in each period over what they draw at its start.

        Returns
        -------
        list of float
            One for each deployment period. [-]
        """
        periods = self.config.periods
        return list(periods.background_factor) or [1.0] * periods.count

    def grids(self, feeder: Feeder) -> Grids:
        """
        Return the base cases of each deployment period.

        Parameters
        ----------
        feeder : Feeder
            The electrical model.

        Returns
        -------
        Grids
            Not solved yet.
        """
        return Grids(
            factors=self.background_factors(),
            make=lambda factor, built: self.grid(
                feeder_after(self.config, feeder, built), background=factor
            ),
            works=works_of(self.config, feeder),
        )

    def taps(self) -> TapControl | None:
        """
        Return what tap changers at the heads hold.

        Returns
        -------
        TapControl or None
            None where they stand as filed.
        """
        section = self.config.feeder
        if section.taps == "frozen":
            return None
        return TapControl(
            target_pu=section.tap_target_pu, deadband_pu=section.tap_deadband_pu
        )

    @property
    def phase_rule(self) -> str:
        """
        Return by which rule the phases of the study's units are found.

        Returns
        -------
        str
            ``worst``, ``best`` or ``sampled`` where the units say so, else ``known``.
        """
        return next(
            (u.phases for u in self.config.units if u.phases in CHOSEN), "known"
        )

    def unit_connections(
        self, feeder: Feeder, connections: pd.DataFrame
    ) -> tuple[Feeder, pd.DataFrame]:
        """
        Return where the study's units may stand.

        Parameters
        ----------
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
        wanted = {unit.phases for unit in self.config.units}
        section = self.config.hosting
        if self.phase_rule in CHOSEN and (section.envelope or section.analysis_date):
            msg = (
                f"units.phases {self.phase_rule!r}: the envelope is that of given "
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
        if LEGS in wanted:
            across = with_legs(feeder, connections)
            if wanted != {LEGS}:
                both = pd.concat([connections, across], ignore_index=True)
                across = both.drop_duplicates(["building_id", "port_id"])
            attrs, connections = connections.attrs, across.reset_index(drop=True)
            connections.attrs.update(attrs)
            return unit_connections(feeder, connections, "known")
        return unit_connections(feeder, connections, self.phase_rule)

    def power_factor(self) -> float:
        """
        Return the one power factor of the study's units.

        Returns
        -------
        float
            Lagging. [-]
        """
        return self.config.units[0].power_factor


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
    feeder = study.feeder()
    limits = study.limits(feeder)
    findings = checked_feeder(feeder, limits)
    progress(0.05, "reading roofs and users")
    places = study_places(
        study.config.buildings, study.config.service, study.path, feeder
    )
    feeder, connections = study.unit_connections(feeder, places.connections)
    demand, areas = study_demand(study.config, study.path), study.areas()
    grids = study.grids(feeder)
    grid = grids.heaviest
    if files is not None:
        files.check(grid)
    study = study.with_energy(grid.profiles.time)
    connections = with_estimates(connections, grid.profiles)
    hosting = _rated(
        study,
        grid,
        connections,
        envelope=None if files is None else files.envelope,
        progress=lambda share, text: progress(0.1 + 0.45 * share, text),
    )
    hosting, connections = _of_one_phase(study, hosting, connections)
    places = replace(places, connections=connections)
    buildings = _with_feeder(places.buildings, hosting, feeder)
    progress(0.55, "building the siting problem")
    lifted, single = lifted_hosting(study, grids, hosting, places.connections)
    inputs = siting_inputs(
        study.config,
        buildings,
        lifted,
        demand.zones,
        demand.demand,
        services_of(single[2]),
        areas,
    )
    rows = grids.rows(inputs.site_options["port_id"])
    problem = siting_problem(inputs, rows, single)
    progress(0.6, "choosing sites")
    try:
        hybrid, replay = _solve(study, grids, problem, lambda text: progress(0.7, text))
    except InfeasibleError as error:
        progress(0.75, "looking for what conflicts")
        limit = study.config.solve.time_limit_s
        conflict = conflicting_requirements(problem, time_limit_s=limit)
        if not conflict.requirements:
            raise
        msg = f"{error}. In short, {conflict}"
        raise InfeasibleError(msg, error.solution) from error
    others = {}
    if study.config.solve.compare:
        for name, alone in compare_strategies(problem).items():
            progress(0.8, f"comparing with {name} only")
            found = _compare(study, grids, alone, lambda text: progress(0.85, text))
            if found is not None:
                others[name] = found
    progress(0.95, "collecting results")
    results = collect(
        study.config,
        inputs_sha256=_hashes(study),
        folder=study.folder,
        grid=grid,
        places=replace(places, buildings=buildings),
        hosting=hosting,
        inputs=inputs,
        plans={**others, "hybrid": (hybrid, replay)},
        findings=findings,
        seconds=time.perf_counter() - began,
    )
    if files is not None:
        results = replace(results, files=files.finish(grid, hosting))
    progress(1.0, "done")
    return Run(study=study, results=results, plan=hybrid, replay=replay)


def _headroom_files(
    section: StudyHostingSection, scratch: Path | None
) -> HeadroomFiles | None:
    if not section.envelope and section.analysis_date is None:
        return None
    if scratch is None:
        msg = "hosting.envelope, hosting.analysis_date: give run_study a scratch folder"
        raise ConfigError(msg)
    return HeadroomFiles.within(scratch, section.analysis_date)


def _of_one_phase(
    study: Study, hosting: pd.DataFrame, connections: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return one row per building where its phase is chosen, else the same."""
    rule, seed = study.phase_rule, study.config.study.seed
    if rule not in CHOSEN:
        return hosting, connections
    hosting = phase_capacity(hosting, rule=rule, seed=seed)
    return hosting, chosen_connections(connections, hosting)


def _rated(
    study: Study,
    grid: GridCase,
    connections: pd.DataFrame,
    *,
    envelope: Path | None = None,
    progress: Progress = _silent,
) -> pd.DataFrame:
    """Return what each connection can host."""
    return hosting_capacity(
        grid.feeder,
        grid.profiles,
        connections=connections,
        power_factor=grid.power_factor,
        # the unit that pauses first: the safe side for flexible capacity
        min_power_share=max(unit.min_power_share for unit in study.config.units),
        battery_kwh=study.config.hosting.battery_kwh,
        battery_kw=study.config.hosting.battery_kw,
        levels=study.config.hosting.levels,
        grid=grid,
        envelope=envelope,
        progress=progress,
    )


def lifted_hosting(
    study: Study, grids: Grids, hosting: pd.DataFrame, connections: pd.DataFrame
) -> tuple[pd.DataFrame, SitingTables]:
    """
    Return what connections can host at most, and what works on the grid add.

    Parameters
    ----------
    study : Study
        The study.
    grids : Grids
        Its base cases.
    hosting : pandas.DataFrame
        Contract ``hosting``, before any works.
    connections : pandas.DataFrame
        Contract ``connections``.

    Returns
    -------
    hosting : pandas.DataFrame
        As `gridsite.siting_upgrades.connection_rows`; unchanged without works.
    tables : tuple of pandas.DataFrame
        Contracts ``rows``, ``row_coefficients`` and ``upgrade_effects`` of single
        connections.
    """
    after = {}
    for name, feeder_id in grids.works.items():
        case = grids.case(max(grids.factors), frozenset({name}))
        ports = case.feeder.ports.index[case.feeder.ports["feeder_id"] == feeder_id]
        own = connections[connections["port_id"].isin(ports)]
        after[name] = _rated(study, case, own)
    if study.config.service_upgrade is not None:
        larger = with_service(connections, study.config.service_upgrade.amps)
        found = _rated(study, grids.heaviest, larger)
        for port, table in found.groupby("port_id"):
            after[f"{SERVICE}{port}"] = table
    if after:
        lifted, *tables = connection_rows(hosting, after, len(grids.factors))
        return lifted, (tables[0], tables[1], tables[2])
    none = [empty_table(n) for n in ("rows", "row_coefficients", "upgrade_effects")]
    return hosting, (none[0], none[1], none[2])


def siting_problem(
    inputs: SitingInputs, grid: SitingTables, single: SitingTables
) -> SitingProblem:
    """
    Return the siting problem of a study.

    Parameters
    ----------
    inputs : SitingInputs
        Tables without rows.
    grid, single : tuple of pandas.DataFrame
        Rows, coefficients and effects of works: of the grid, and of connections.

    Returns
    -------
    SitingProblem
        Connections that host no unit are left out.
    """
    known = inputs.site_options["port_id"]
    both = []
    for of_grid, of_single in zip(grid, single, strict=True):
        own = of_single
        if "port_id" in own:
            own = own[own["port_id"].isin(known)]
        parts = [part for part in (of_grid, own) if len(part)]
        both.append(pd.concat(parts, ignore_index=True) if parts else of_grid)
    return inputs.problem(*both)


def _compare(
    study: Study,
    grids: Grids,
    problem: SitingProblem,
    progress: Callable[[str], None],
) -> tuple[Plan, LoadReplay] | None:
    """Solve one strategy, with demand unserved only where it must be."""
    try:
        return _solve(study, grids, problem, progress)
    except InfeasibleError:
        logger.info("not all demand that can be reached can be served")
    try:
        return _solve(study, grids, priced_unserved(problem), progress)
    except SolveError:
        logger.warning("a strategy of the comparison was not solved", exc_info=True)
        return None


def _hashes(study: Study) -> dict[str, str]:
    """Return the SHA-256 of each input file."""
    config = study.config
    names = config.files()
    if ":" not in config.feeder.source:
        names.append(config.feeder.source)
    for name in names:
        study.path(name)  # each must exist
    return input_hashes(names, study.folder)


def _with_feeder(
    buildings: gpd.GeoDataFrame, hosting: pd.DataFrame, feeder: Feeder
) -> gpd.GeoDataFrame:
    """Add feeder and transformer of each building's first connection, or ""."""
    points = connection_points(feeder).drop_duplicates("port_id").set_index("port_id")
    first = hosting.drop_duplicates("building_id").set_index("building_id")
    behind = first["port_id"].map(points["transformer"])
    found = first.assign(transformer=behind).reindex(buildings["building_id"])
    return buildings.assign(
        feeder_id=found["feeder_id"].fillna("").to_numpy(),
        transformer=found["transformer"].fillna("").to_numpy(),
    )


def _solve(
    study: Study,
    grids: Grids,
    problem: SitingProblem,
    progress: Callable[[str], None],
) -> tuple[Plan, LoadReplay]:
    """Solve, replay and tighten until the replay of every period is clean."""
    section = study.config.solve
    replays: list[LoadReplay] = []

    def replay(plan: pd.DataFrame, built: pd.DataFrame | None = None) -> Replayed:
        found = grids.replay(plan, problem, len(replays) + 1, built)
        replays.append(found.whole)
        return found

    plan = solve(
        problem,
        gap=section.gap,
        time_limit_s=section.time_limit_s,
        max_rounds=section.max_rounds,
        replay=replay,
        progress=progress,
    )
    return plan, replays[-1]
