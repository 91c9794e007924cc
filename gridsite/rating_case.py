"""What a rating starts from: loads, ageing, and the base cases of a feeder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import pandas as pd

from gridsite.errors import ConfigError, DataError
from gridsite.feeder.assumed_ratings import rating_table, with_ratings
from gridsite.feeder.candidate_ports import (
    with_candidate_ports,
)
from gridsite.feeder.checks import check_feeder, findings_frame, read_with_errors
from gridsite.feeder.feed_in import without_generation
from gridsite.feeder.findings import Finding
from gridsite.feeder.load_growth import (
    committed_loads,
    grown,
    with_committed_ports,
)
from gridsite.feeder.load_parts import snapshot_profiles
from gridsite.feeder.meter_options import MeterOptions
from gridsite.feeder.meter_profiles import LOAD_POWER_FACTOR, read_loads
from gridsite.feeder.taps import TapControl
from gridsite.feeder.typical_days import typical_steps
from gridsite.hosting.ageing_limit import Ageing
from gridsite.hosting.ambient import read_ambient
from gridsite.hosting.grid_case import GridCase
from gridsite.hosting.limits import Limits
from gridsite.hosting.thermal import ThermalModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gridsite.feeder.model import Feeder
    from gridsite.feeder.profiles import Profiles


@runtime_checkable
class GivenLoads(Protocol):
    """
    Choose the loads of a feeder, and tell what is assumed of them; call it with that.

    Attributes
    ----------
    given_power_factor : float or None
        Of customers whose active power alone is given; None where the feeder file
        gives reactive power too. [-]
    """

    @property
    def given_power_factor(self) -> float | None:
        """Of customers whose active power alone is given."""

    def __call__(self, feeder: Feeder) -> Profiles:
        """Return what the loads of a feeder draw."""


@dataclass(frozen=True, kw_only=True)
class LoadChoice:
    """
    Which loads of a feeder are rated; call it with the feeder.

    Parameters
    ----------
    steps : {"snapshot", "576", "year"} or None
        The file's own values, typical hours, or the year; by default the year
        where the feeder has profiles or a file gives them.
    profiles : str or None
        File of loads; the feeder's own profiles without it.
    meters : MeterOptions or None
        How a file of meter readings is read.
    generation : {"profile", "off"}
        Whether ports may give power at some steps (`without_generation`).
    power_factor : float, default 0.95
        Lagging, of the loads of a file (assumption). [-]
    """

    steps: str | None = None
    profiles: str | None = None
    meters: MeterOptions | None = None
    generation: str = "profile"
    power_factor: float = LOAD_POWER_FACTOR

    @property
    def given_power_factor(self) -> float | None:
        """
        Return the power factor of customers whose active power alone is given.

        Returns
        -------
        float or None
            That of the loads of a file; None without one. [-]
        """
        return None if self.profiles is None else self.power_factor

    def __call__(self, feeder: Feeder) -> Profiles:
        """Return what the loads of a feeder draw."""
        year = self._drawn(feeder)
        if self.generation == "off":
            year = without_generation(year, feeder)
        return typical_steps(year) if self.steps == "576" else year

    def _drawn(self, feeder: Feeder) -> Profiles:
        """Return what ports draw, or give, at every step."""
        if self.profiles is not None:
            return read_loads(
                self.profiles,
                feeder.load_ports,
                options=self.meters,
                power_factor=self.power_factor,
            )
        if self.steps == "snapshot" or (self.steps is None and feeder.profiles is None):
            return snapshot_profiles(feeder)
        if feeder.profiles is None:
            msg = (
                f"{feeder.name} has no profiles; give --profiles FILE or "
                "--steps snapshot"
            )
            raise ConfigError(msg)
        return feeder.profiles


@dataclass(frozen=True, kw_only=True)
class AmbientChoice:
    """
    What transformers age by; call it with the time steps.

    Parameters
    ----------
    file : str
        File of temperatures (`read_ambient`).
    loss_of_life_max : float
        Largest loss of life, in normal years per year. [-]
    hot_spot_max_c : float
        Largest hot-spot temperature. [degC]
    enclosure_rise_k : float
        What a kiosk or a room adds to the ambient temperature. [K]
    upgraded_paper : bool
        Whether the paper is thermally upgraded.
    """

    file: str
    loss_of_life_max: float = 1.0
    hot_spot_max_c: float = 120.0
    enclosure_rise_k: float = 0.0
    upgraded_paper: bool = False

    def __call__(self, time: pd.DatetimeIndex) -> Ageing:
        """Return temperature and limits of the steps."""
        return Ageing(
            ambient_c=read_ambient(self.file, time),
            loss_of_life_max=self.loss_of_life_max,
            hot_spot_max_c=self.hot_spot_max_c,
            thermal=ThermalModel(
                enclosure_rise_k=self.enclosure_rise_k,
                upgraded_paper=self.upgraded_paper,
            ),
        )


def band_options(limits: Limits) -> dict[str, Any]:
    """
    Return the voltage bands of limits as `check_feeder` takes them.

    Parameters
    ----------
    limits : Limits
        The limits.

    Returns
    -------
    dict
        Options of `check_feeder`. [pu]
    """
    names = ("voltage_min_pu", "voltage_max_pu", "voltage_bands")
    return {name: getattr(limits, name) for name in names}


def checked_feeder(
    feeder: Feeder, limits: Limits, filed: Sequence[Finding] = ()
) -> pd.DataFrame:
    """
    Return the findings on a feeder, refusing a model with an error.

    Parameters
    ----------
    feeder : Feeder
        The electrical model.
    limits : Limits
        The base case is held against the voltage band of each level.
    filed : sequence of Finding
        Errors of its file (`gridsite.feeder.checks.read_with_errors`): they are told
        with the results and refuse nothing, as they may concern a part alone.

    Returns
    -------
    pandas.DataFrame
        As from `check_feeder`, with those of the file.

    Raises
    ------
    DataError
        If a finding on the model is an error.
    """
    findings = check_feeder(feeder, **band_options(limits))
    # a feeder without a solution is a status of its buildings, not the end
    error = (findings["severity"] == "error") & (findings["check"] != "base case")
    errors = findings[error]
    if len(errors):
        first = errors.iloc[0]
        msg = f"{feeder.name}: {first['message']}; {first['cure']}"
        raise DataError(msg, errors)
    own = [Finding(*row) for row in findings.itertuples(index=False)]
    return findings_frame([*own, *filed])


def feeder_case(
    source: str | Path,
    *,
    choose_loads: Callable[[Feeder], Profiles],
    limits: Limits | Callable[[Feeder], Limits],
    power_factor: float = 0.98,
    growth: float = 1.0,
    committed: pd.DataFrame | None = None,
    committed_power_factor: float = 0.95,
    ratings: pd.DataFrame | None = None,
    assume_line_a: float | None = None,
    crs: str | None = None,
    taps: TapControl | None = None,
    controls: str = "frozen",
    ageing: Callable[[pd.DatetimeIndex], Ageing] | None = None,
    ports: Callable[[Feeder], Iterable[str]] | None = None,
) -> tuple[GridCase, pd.DataFrame]:
    """
    Return the base cases of a feeder that is to be rated, and what is wrong with it.

    Parameters
    ----------
    source : str or pathlib.Path
        As for ``read_feeder``.
    choose_loads : callable
        Takes the feeder, returns what its customers draw (`LoadChoice`).
    limits : Limits or callable
        The limits; or takes the feeder and returns them.
    power_factor : float, default 0.98
        Of the added load, lagging. [-]
    growth : float, default 1.0
        Background load over that of the profiles. [-]
    committed : pandas.DataFrame, optional
        Loads in the queue (`gridsite.feeder.load_growth.committed_loads`).
    committed_power_factor : float, default 0.95
        Of those, lagging. [-]
    ratings : pandas.DataFrame, optional
        Ratings by element or code (`gridsite.feeder.assumed_ratings.rating_table`).
    assume_line_a : float, optional
        Ampacity assumed for every line without one. [A]
    crs : str, optional
        Of the coordinates of an OpenDSS circuit.
    taps : TapControl, optional
        Lets tap changers at the heads act; they stand as filed by default.
    controls : {"frozen", "acting"}
        Whether regulators and capacitors stand as filed or act from step to step.
    ageing : callable, optional
        Takes the time steps, returns what transformers age by; not checked without.
    ports : callable, optional
        Takes the feeder, returns ports for units beside those of the file.

    Returns
    -------
    grid : GridCase
        Base cases, not solved yet.
    findings : pandas.DataFrame
        As from `check_feeder`.
    """
    feeder, errors = read_with_errors(source, crs=crs)
    if ratings is not None or assume_line_a is not None:
        feeder = with_ratings(feeder, ratings, line_a=assume_line_a)
    if committed is not None:
        feeder = with_committed_ports(
            feeder, committed, power_factor=committed_power_factor
        )
    if ports is not None:
        feeder = with_candidate_ports(feeder, ports(feeder))
    if callable(limits):
        limits = limits(feeder)
    findings = checked_feeder(feeder, limits, errors)
    loads = grown(choose_loads(feeder), growth, feeder=feeder)
    grid = GridCase(
        feeder,
        loads,
        limits,
        power_factor=power_factor,
        taps=taps,
        controls=controls,
        ageing=None if ageing is None else ageing(loads.time),
    )
    return grid, findings


def repeated_case(manifest: dict[str, Any], ports: Iterable[str]) -> GridCase:
    """
    Return the base cases of a run of `rate_feeder` again.

    Parameters
    ----------
    manifest : dict
        That of the run; its input files must not have changed.
    ports : iterable of str
        Its connections, some of which may not be of the file.

    Returns
    -------
    GridCase
        Base cases, not solved yet.

    Raises
    ------
    DataError
        If the run kept too little to be repeated.
    """
    options = manifest.get("options", {})
    if "limits" not in options or not options.get("loads"):
        msg = "manifest.json does not say how loads and limits were chosen; run again"
        raise DataError(msg)
    folder, queue = Path(manifest["folder"]), options["committed"]
    given = options.get("ratings")
    loads, limits = dict(options["loads"]), dict(options["limits"])
    if loads["profiles"] is not None:
        loads["profiles"] = str(folder / loads["profiles"])
    if loads.get("meters") is not None:
        links = loads["meters"]["links"]
        links = None if links is None else str(folder / links)
        loads["meters"] = MeterOptions(**{**loads["meters"], "links": links})
    limits["criteria"] = tuple(limits["criteria"])
    limits["voltage_bands"] = tuple(map(tuple, limits["voltage_bands"]))
    source, taps = manifest["feeder"], options.get("taps")
    ambient = options.get("ambient")
    if ambient is not None:
        ambient = AmbientChoice(**{**ambient, "file": str(folder / ambient["file"])})
    grid, _ = feeder_case(
        source if _is_name(source) else folder / source,
        choose_loads=LoadChoice(**loads),
        limits=Limits(**limits),
        power_factor=options["power_factor"],
        growth=options["growth"],
        committed=None if queue is None else committed_loads(pd.DataFrame(queue)),
        committed_power_factor=options.get("committed_power_factor", 0.95),
        ratings=None if given is None else rating_table(pd.DataFrame(given)),
        assume_line_a=options.get("assume_line_a"),
        crs=options.get("crs"),
        taps=None if taps is None else TapControl(**taps),
        controls=options.get("controls", "frozen"),
        ageing=ambient,
        ports=lambda _: ports,
    )
    return grid


def _is_name(source: str) -> bool:
    """Return whether a feeder is a name and not a file."""
    return source.startswith(("pandapower:", "simbench:"))
