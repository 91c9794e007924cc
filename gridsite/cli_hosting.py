"""
The verb ``hosting``: what its options mean, and the rating that they ask for.

Heavy imports stand inside the verb.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from gridsite.cli_options import (
    check_together,
    criteria_of,
    limits_of,
    meter_options,
    say_assumptions,
    shares_of,
    tap_control,
    together_choice,
)
from gridsite.cli_paths import check_files
from gridsite.cli_progress import progress

Out = Annotated[Path, typer.Option("--out", help="Output folder.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace an earlier output folder.")
]
MeterUnit = Annotated[
    str | None, typer.Option(help="Of meters whose columns do not say: kW or kWh.")
]
MeterZone = Annotated[
    str | None, typer.Option(help="Of stamps without one, as Europe/Berlin.")
]
MeterLinks = Annotated[
    Path | None, typer.Option(help="CSV or Parquet: meter_id, port_id.")
]
Ratings = Annotated[
    Path | None,
    typer.Option(
        help="CSV or Parquet: element or code, and ampacity_a (lines) or kva."
    ),
]
Crs = Annotated[
    str | None,
    typer.Option(help="Of the coordinates of an OpenDSS circuit: EPSG:2229."),
]
AssumeLineA = Annotated[
    float | None,
    typer.Option(help="Ampacity assumed for lines without one; counted. [A]"),
]
Preset = Annotated[
    str | None,
    typer.Option(help="Norm of the limits. Default: inferred from the voltages."),
]
FeederName = Annotated[
    str,
    typer.Argument(
        help="A pandapower .json or .xlsx file, OpenDSS .dss, MATPOWER .m, CIM .zip, "
        "pandapower:NAME or simbench:CODE."
    ),
]


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


class ServiceRule(StrEnum):
    """How the rating of a service counts."""

    eu = "eu"
    nec = "nec"
    nec_ems = "nec-ems"


class Sharing(StrEnum):
    """How flexible units share a limit."""

    pro_rata = "pro_rata"
    last_in = "last_in"


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
    meter_unit: MeterUnit = None,
    meter_zone: MeterZone = None,
    meter_links: MeterLinks = None,
    fill: Annotated[  # noqa: FBT002
        bool, typer.Option("--fill", help="Fill gaps in meters, and mark them.")
    ] = False,
    draw: Annotated[  # noqa: FBT002
        bool,
        typer.Option("--draw", help="Draw a meter for loads without one, marked."),
    ] = False,
    load_power_factor: Annotated[
        float | None,
        typer.Option(help="Of the loads of --profiles. Default: 0.95. [-]"),
    ] = None,
    generation: Annotated[
        Generation,
        typer.Option(help="off: no port gives power; the safe side for load."),
    ] = Generation.profile,
    growth: Annotated[
        float, typer.Option(help="Background load over that of the profiles. [-]")
    ] = 1.0,
    committed: Annotated[
        Path | None,
        typer.Option(help="CSV or Parquet of loads in the queue: bus or port, kw."),
    ] = None,
    ratings: Ratings = None,
    crs: Crs = None,
    assume_line_a: AssumeLineA = None,
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
    preset: Preset = None,
    country: Annotated[
        str | None, typer.Option(help="In place of --preset: two letters, as DE.")
    ] = None,
    voltage_min: Annotated[
        float | None, typer.Option(help="Lowest, of all levels. [pu]")
    ] = None,
    voltage_max: Annotated[float | None, typer.Option(help="Highest. [pu]")] = None,
    loading_max: Annotated[
        float | None, typer.Option(help="Current over rated current. [-]")
    ] = None,
    n_minus_1_loading_max: Annotated[
        float | None,
        typer.Option(
            "--n-1-loading-max", help="The same above 1 kV, for rings: 0.5. [-]"
        ),
    ] = None,
    source_kva: Annotated[
        float | None, typer.Option(help="Limit of each source. [kVA]")
    ] = None,
    power_factor: Annotated[float, typer.Option(help="Of the unit. [-]")] = 0.98,
    service_a: Annotated[
        float | None, typer.Option(help="Assumed fuse of every load. [A]")
    ] = None,
    service_rule: Annotated[
        ServiceRule | None,
        typer.Option(help="How --service-a counts. Default: nec with ANSI, else eu."),
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
    seed: Annotated[
        int | None, typer.Option(help="Of --phase sampled. Default: 0.")
    ] = None,
    joint: Annotated[  # noqa: FBT002
        bool,
        typer.Option("--joint", help="Rate them together too; list shared limits."),
    ] = False,
    existing: Annotated[
        Path | None,
        typer.Option(
            help="CSV or Parquet of units that draw all the time: building_id or "
            "port_id, kw. What remains together after them."
        ),
    ] = None,
    units: Annotated[
        Path | None,
        typer.Option(
            help="CSV or Parquet of flexible units, by age: building_id or port_id, "
            "kw. What each draws where they share the headroom."
        ),
    ] = None,
    sharing: Annotated[
        Sharing | None,
        typer.Option(help="Of --units. last_in: first come, first served."),
    ] = None,
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
    from gridsite.feeder.meter_profiles import LOAD_POWER_FACTOR
    from gridsite.hosting.headroom_files import HeadroomFiles
    from gridsite.rating import rate_feeder
    from gridsite.rating_case import AmbientChoice, LoadChoice
    from gridsite.report import hosting_table, together_tables, write_results
    from gridsite.report.export import check_folder
    from gridsite.report.page import warnings
    from gridsite.report.tables import plain_text

    own = {
        "voltage_min_pu": voltage_min,
        "voltage_max_pu": voltage_max,
        "line_loading_max": loading_max,
        "transformer_loading_max": loading_max,
        "n_minus_1_loading_max": n_minus_1_loading_max,
        "source_kva": source_kva,
        "service_rule": None if service_rule is None else service_rule.value,
        "criteria": None if criteria is None else criteria_of(criteria),
    }
    check_together(
        own,
        service_a=service_a,
        ambient=ambient,
        snapshot=steps is Steps.snapshot,
        profiles=profiles,
        ica=None if ica is None or steps in (None, Steps.year) else steps.value,
        battery=(battery_kwh, battery_kw),
        seed=None if phase is Phase.sampled else seed,
        load_power_factor=load_power_factor,
    )
    limits = limits_of(preset, own, country=country)
    together = together_choice(existing, units, sharing, joint=joint)
    check_files(
        {
            "--profiles": profiles,
            "--meter-links": meter_links,
            "--committed": committed,
            "--ratings": ratings,
            "--existing": existing,
            "--units": units,
            "--ambient": ambient,
        }
    )
    queue = None if committed is None else read_committed(committed)
    given = None if ratings is None else read_ratings(ratings)
    control = tap_control(tap_target, tap_deadband, acting=taps is Taps.acting)
    meters = meter_options(
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
                power_factor=LOAD_POWER_FACTOR
                if load_power_factor is None
                else load_power_factor,
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
            seed=seed or 0,
            together=together,
            min_power_share=min_power_share,
            battery_kwh=battery_kwh,
            battery_kw=battery_kw,
            levels=shares_of(levels),
            ageing=None if ambient is None else AmbientChoice(file=str(ambient)),
            files=HeadroomFiles.within(Path(scratch), ica.date() if ica else None)
            if envelope or ica
            else None,
            progress=tell,
        )
        folder = write_results(results, out, overwrite=overwrite)
    for table in (hosting_table(results), *together_tables(results)):
        Console().print(table)
    say_assumptions(results.summary)
    for text in warnings(results):
        Console().print(plain_text(f"WARNING: {text}"), style="bold red")
    Console().print(f"map: {folder / 'map.html'}", soft_wrap=True)
