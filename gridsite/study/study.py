"""A study: what its file asks for, as feeder, loads, limits and base cases."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gridsite.config import StudyConfig, read_config
from gridsite.errors import ConfigError
from gridsite.feeder.assumed_ratings import read_ratings, with_ratings
from gridsite.feeder.checks import read_with_errors
from gridsite.feeder.load_growth import with_committed_ports
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.feeder.taps import TapControl
from gridsite.hosting.grid_case import GridCase
from gridsite.hosting.limits import Limits
from gridsite.places import read_areas
from gridsite.rating_case import AmbientChoice
from gridsite.study.loads import study_committed, study_loads
from gridsite.study.siting_energy import with_energy
from gridsite.study.siting_grid import Grids
from gridsite.study.siting_upgrades import feeder_after, works_of
from gridsite.study.units import phase_rule, units_of_study

if TYPE_CHECKING:
    import geopandas as gpd
    import pandas as pd

    from gridsite.feeder.findings import Finding
    from gridsite.feeder.model import Feeder
    from gridsite.feeder.profiles import Profiles


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
        return self._completed(read_feeder(self._source(), crs=self.config.feeder.crs))

    def feeder_with_errors(self) -> tuple[Feeder, list[Finding]]:
        """
        Return the study's feeder, and the errors of its file.

        Returns
        -------
        feeder : Feeder
            As from `Study.feeder`.
        errors : list of Finding
            As from `gridsite.feeder.checks.read_with_errors`.
        """
        crs = self.config.feeder.crs
        feeder, errors = read_with_errors(self._source(), crs=crs)
        return self._completed(feeder), errors

    def _source(self) -> str | Path:
        source = self.config.feeder.source
        return source if ":" in source else self.path(source)

    def _completed(self, feeder: Feeder) -> Feeder:
        """Give a feeder the ratings and the committed loads of the study."""
        section, table = self.config.feeder, None
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
        return study_committed(self.config, self.path)

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
        return study_loads(self.config, self.path, feeder, background=background)

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
        if service is not None and service.rule is not None:
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
            As `gridsite.study.siting_energy.with_energy`; the same study where
            nothing is given by step.
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
        return phase_rule(self.config)

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
        return units_of_study(self.config, feeder, connections)

    def power_factor(self) -> float:
        """
        Return the power factor with which the grid sees all of the study's units.

        Returns
        -------
        float
            The least of them, lagging: the safe side for those that have a better
            one. [-]
        """
        return min(unit.power_factor for unit in self.config.units)
