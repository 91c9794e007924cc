"""
The verb ``hosting``: what its options mean, and the rating that they ask for.

Heavy imports stand inside the verb.
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gridsite.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gridsite.feeder.meter_options import MeterOptions
    from gridsite.feeder.model import Feeder
    from gridsite.feeder.taps import TapControl
    from gridsite.hosting.limits import Limits

Out = Annotated[Path, typer.Option("--out", help="Output folder.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace an earlier output folder.")
]
FeederName = Annotated[
    str,
    typer.Argument(
        help="A pandapower .json or .xlsx file, OpenDSS .dss, MATPOWER .m, CIM .zip, "
        "pandapower:NAME or simbench:CODE."
    ),
]


#: Short names of criteria on the command line.
_SHORT = {
    "line": "line current",
    "transformer": "transformer current",
    "ageing": "transformer ageing",
}


class Generation(StrEnum):
    """Whether generators follow their profiles."""

    profile = "profile"
    off = "off"


class Steps(StrEnum):
    """Which steps are rated."""

    snapshot = "snapshot"
    typical = "576"
    year = "year"


class Taps(StrEnum):
    """What tap changers at the heads of feeders do."""

    frozen = "frozen"
    acting = "acting"


class Controls(StrEnum):
    """What regulators and capacitors inside feeders do."""

    frozen = "frozen"
    acting = "acting"


class Phase(StrEnum):
    """On which phase a unit stands."""

    known = "known"
    worst = "worst"
    best = "best"
    sampled = "sampled"
    legs = "12"
    three = "ABC"


def hosting(
    feeder: FeederName,
    out: Out,
    steps: Annotated[
        Steps | None,
        typer.Option(
            help="Default: year where the file has profiles. 576: typical hours."
        ),
    ] = None,
    profiles: Annotated[
        Path | None,
        typer.Option(
            help="CSV or Parquet of loads [kW]: time, then one column per load; or "
            "long: meter_id, time, kw or kwh."
        ),
    ] = None,
    meter_unit: Annotated[
        str | None, typer.Option(help="Of meters whose columns do not say: kW or kWh.")
    ] = None,
    meter_zone: Annotated[
        str | None, typer.Option(help="Of stamps without one, as Europe/Berlin.")
    ] = None,
    meter_links: Annotated[
        Path | None, typer.Option(help="CSV or Parquet: meter_id, port_id.")
    ] = None,
    fill: Annotated[  # noqa: FBT002
        bool, typer.Option("--fill", help="Fill gaps in meters, and mark them.")
    ] = False,
    draw: Annotated[  # noqa: FBT002
        bool,
        typer.Option("--draw", help="Draw a meter for loads without one, marked."),
    ] = False,
    generation: Annotated[
        Generation, typer.Option(help="Off is the safe side for load.")
    ] = Generation.profile,
    growth: Annotated[
        float, typer.Option(help="Background load over that of the profiles. [-]")
    ] = 1.0,
    committed: Annotated[
        Path | None,
        typer.Option(help="CSV or Parquet of loads in the queue: bus or port, kw."),
    ] = None,
    ratings: Annotated[
        Path | None,
        typer.Option(
            help="CSV or Parquet: element or code, and ampacity_a (lines) or kva."
        ),
    ] = None,
    crs: Annotated[
        str | None,
        typer.Option(help="Of the coordinates of an OpenDSS circuit: EPSG:2229."),
    ] = None,
    assume_line_a: Annotated[
        float | None,
        typer.Option(help="Ampacity assumed for lines without one; counted. [A]"),
    ] = None,
    taps: Annotated[
        Taps, typer.Option(help="Acting: at the heads of feeders, with the base load.")
    ] = Taps.frozen,
    tap_target: Annotated[
        float | None,
        typer.Option(help="Of acting taps. Default: the file's or 1. [pu]"),
    ] = None,
    tap_deadband: Annotated[
        float | None, typer.Option(help="Full width. Default: 1.5 tap steps. [pu]")
    ] = None,
    controls: Annotated[
        Controls,
        typer.Option(help="Of OpenDSS circuits. Acting: step by step, on units too."),
    ] = Controls.frozen,
    preset: Annotated[
        str | None,
        typer.Option(help="Norm of the limits. Default: inferred from the voltages."),
    ] = None,
    voltage_min: Annotated[
        float | None, typer.Option(help="Lowest, of all levels. [pu]")
    ] = None,
    voltage_max: Annotated[float | None, typer.Option(help="Highest. [pu]")] = None,
    loading_max: Annotated[
        float | None, typer.Option(help="Current over rated current. [-]")
    ] = None,
    source_kva: Annotated[
        float | None, typer.Option(help="Limit of each source. [kVA]")
    ] = None,
    power_factor: Annotated[float, typer.Option(help="Of the unit. [-]")] = 0.98,
    service_a: Annotated[
        float | None, typer.Option(help="Assumed fuse of every load. [A]")
    ] = None,
    criteria: Annotated[
        str | None,
        typer.Option(
            help="In force, with commas: voltage, voltage change, line, transformer, "
            "service, source, unbalance, ageing. Default: those of the norm."
        ),
    ] = None,
    phase: Annotated[
        Phase,
        typer.Option(
            help="Of the unit, where the file has phases. known: as filed; worst, "
            "best, sampled: any, one row per load; 12: both legs (240 V); ABC: all."
        ),
    ] = Phase.known,
    seed: Annotated[int, typer.Option(help="Of --phase sampled.")] = 0,
    joint: Annotated[  # noqa: FBT002
        bool, typer.Option("--joint", help="Rate the connections together too.")
    ] = False,
    min_power_share: Annotated[
        float, typer.Option(help="Below this share of its rating a unit pauses. [-]")
    ] = 0.0,
    battery_kwh: Annotated[float, typer.Option(help="At each unit. [kWh]")] = 0.0,
    battery_kw: Annotated[
        float | None, typer.Option(help="Default: the unit's rating. [kW]")
    ] = None,
    levels: Annotated[
        str | None,
        typer.Option(help="Shares served beside 1, .999, .99, .98, .95: 0.9,0.8"),
    ] = None,
    ambient: Annotated[
        Path | None,
        typer.Option(help="CSV or Parquet: time, ambient_c. Transformers age by it."),
    ] = None,
    envelope: Annotated[  # noqa: FBT002
        bool, typer.Option("--envelope", help="Write the headroom of every step.")
    ] = False,
    ica: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            help="Write the 576-hour table, dated so (and the envelope).",
        ),
    ] = None,
    overwrite: Overwrite = False,  # noqa: FBT002
) -> None:
    """Rate every load connection of a feeder: how much more it could draw."""
    from rich.console import Console

    from gridsite.feeder.assumed_ratings import read_ratings
    from gridsite.feeder.load_growth import read_committed
    from gridsite.feeder.meter_options import MeterOptions
    from gridsite.feeder.typical_days import TYPICAL_NOTE
    from gridsite.hosting.headroom_files import HeadroomFiles
    from gridsite.rating import rate_feeder
    from gridsite.rating_case import AmbientChoice, LoadChoice
    from gridsite.report import hosting_table, joint_table, write_results
    from gridsite.report.export import check_folder

    own = {
        "voltage_min_pu": voltage_min,
        "voltage_max_pu": voltage_max,
        "line_loading_max": loading_max,
        "transformer_loading_max": loading_max,
        "source_kva": source_kva,
        "criteria": None if criteria is None else _criteria(criteria),
    }
    limits = _limits(preset, own)
    queue = None if committed is None else read_committed(committed)
    given = None if ratings is None else read_ratings(ratings)
    control = _tap_control(taps, tap_target, tap_deadband)
    if ica is not None and steps not in (None, Steps.year):
        msg = f"--ica takes its 576 hours from a whole year; leave out --steps {steps}"
        raise ConfigError(msg)
    meters = _meter_options(
        profiles,
        MeterOptions(
            unit=meter_unit,
            zone=meter_zone,
            links=None if meter_links is None else str(meter_links),
            fill="week" if fill else "refuse",
            missing="drawn" if draw else "refuse",
        ),
    )
    check_folder(out, overwrite=overwrite)
    with TemporaryDirectory() as scratch, progress() as tell:
        tell(0.0, "reading the feeder")
        results = rate_feeder(
            feeder,
            choose_loads=LoadChoice(
                steps=None if steps is None else steps.value,
                profiles=None if profiles is None else str(profiles),
                meters=meters,
                generation=generation.value,
            ),
            limits=limits,
            power_factor=power_factor,
            service_a=service_a,
            growth=growth,
            committed=queue,
            ratings=given,
            assume_line_a=assume_line_a,
            crs=crs,
            taps=control,
            controls=controls.value,
            phase=phase.value,
            seed=seed,
            joint=joint,
            min_power_share=min_power_share,
            battery_kwh=battery_kwh,
            battery_kw=battery_kw,
            levels=_shares(levels),
            ageing=None if ambient is None else AmbientChoice(file=str(ambient)),
            files=HeadroomFiles.within(Path(scratch), ica.date() if ica else None)
            if envelope or ica
            else None,
            progress=tell,
        )
        if steps is Steps.typical:
            results.summary["assumptions"].append(TYPICAL_NOTE)
        folder = write_results(results, out, overwrite=overwrite)
    Console().print(hosting_table(results))
    if joint:
        Console().print(joint_table(results))
    Console().print(f"map: {folder / 'map.html'}", soft_wrap=True)


def _criteria(text: str) -> tuple[str, ...]:
    """Return criteria by their full names."""
    names = [name.strip() for name in text.split(",")]
    return tuple(_SHORT.get(name, name) for name in names)


def _limits(preset: str | None, own: dict[str, Any]) -> Callable[[Feeder], Limits]:
    """Return what gives a feeder its limits: a norm, and values that differ."""
    from gridsite.hosting.limits import Limits

    own = {k: v for k, v in own.items() if v is not None}
    Limits.preset(preset or "EN50160").changed(**own)  # refused before reading

    def limits(model: Feeder) -> Limits:
        levels = model.nodes["voltage_kv"].tolist()
        norm = Limits.preset(preset) if preset else Limits.for_network(levels)
        return norm.changed(**own)

    return limits


def _tap_control(
    taps: Taps, target_pu: float | None, deadband_pu: float | None
) -> TapControl | None:
    from gridsite.feeder.taps import TapControl

    if taps is Taps.acting:
        return TapControl(target_pu=target_pu, deadband_pu=deadband_pu)
    if target_pu is not None or deadband_pu is not None:
        msg = "--tap-target and --tap-deadband need --taps acting"
        raise ConfigError(msg)
    return None


def _meter_options(profiles: Path | None, options: MeterOptions) -> MeterOptions | None:
    """Return how meters are read; nothing where no option says so."""
    if options == type(options)():
        return None
    if profiles is None:
        msg = (
            "--meter-unit, --meter-zone, --meter-links, --fill, --draw need --profiles"
        )
        raise ConfigError(msg)
    return options


def _shares(text: str | None) -> list[float]:
    """Return the shares of a comma-separated text."""
    try:
        return [float(part) for part in text.split(",")] if text else []
    except ValueError as error:
        msg = f"--levels {text!r}: give shares such as 0.9,0.8"
        raise ConfigError(msg) from error


@contextmanager
def progress() -> Iterator[Callable[[float, str], None]]:
    """Show a progress bar on standard error."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=1.0)

        def tell(share: float, text: str) -> None:
            bar.update(task, completed=share, description=text)

        yield tell
