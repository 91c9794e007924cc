"""
The `gridsite` command.

Heavy imports stand inside each verb. An error goes to standard error in one
line, and its class gives the exit code (`gridsite.errors`).
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from datetime import datetime  # noqa: TC003 - read by typer
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gridsite.cli_inputs import demand, meters, roofs
from gridsite.errors import ConfigError, GridsiteError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gridsite.feeder.model import Feeder

app = typer.Typer(
    help="Decide where building-mounted compute goes on a distribution grid.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

for verb in (roofs, meters, demand):
    app.command()(verb)

Out = Annotated[Path, typer.Option("--out", help="Output folder.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace an earlier output folder.")
]
FeederName = Annotated[
    str,
    typer.Argument(
        help="A pandapower .json or .xlsx file, pandapower:NAME or simbench:CODE."
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


class Place(StrEnum):
    """The studies that come with gridsite."""

    schutterwald = "schutterwald"
    bubenec = "bubenec"


@app.command()
def demo(
    place: Annotated[
        Place,
        typer.Option(
            help="schutterwald: a village, network of a real place. bubenec: a "
            "district of Prague, real footprints, synthetic network."
        ),
    ] = Place.schutterwald,
    out: Annotated[
        Path | None, typer.Option(help="Output folder. Default: out/PLACE.")
    ] = None,
    overwrite: Annotated[  # noqa: FBT002
        bool, typer.Option(help="Replace the output of an earlier demo.")
    ] = True,
) -> None:
    """Run a study that comes with gridsite; write its plan, tables and map."""
    _run(demo_study(place), out or Path("out") / place, overwrite=overwrite)


@app.command()
def run(
    study: Annotated[Path, typer.Argument(help="A study file (.toml).")],
    out: Out,
    overwrite: Overwrite = False,  # noqa: FBT002
) -> None:
    """Run a study file: rate every building, choose sites, replay, report."""
    _run(study, out, overwrite=overwrite)


@app.command()
def check(
    feeder: Annotated[
        str, typer.Argument(help="Feeder file or name, or a study file (.toml).")
    ],
    profiles: Annotated[
        Path | None, typer.Option(help="Loads or meters to check with it.")
    ] = None,
    roofs: Annotated[
        Path | None, typer.Option(help="Footprints to check with it.")
    ] = None,
    users: Annotated[Path | None, typer.Option(help="Users to check with it.")] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Write the findings; - is standard output."),
    ] = None,
    page: Annotated[
        Path | None, typer.Option(help="Write the findings as an HTML page.")
    ] = None,
) -> None:
    """Say what is wrong with a feeder or all inputs, before anyone rates them."""
    import json

    from rich.console import Console

    from gridsite.errors import DataError
    from gridsite.input_checks import as_json, check_inputs, check_study
    from gridsite.report.findings_page import write_findings_page
    from gridsite.report.tables import findings_table

    if Path(feeder).suffix.lower() == ".toml":
        if profiles or roofs or users:
            msg = "a study file names its profiles, roofs and users itself"
            raise ConfigError(msg)
        findings = check_study(feeder)
    else:
        findings = check_inputs(feeder, profiles=profiles, roofs=roofs, users=users)
    text = json.dumps(as_json(findings), indent=2, allow_nan=False)
    if json_file == Path("-"):
        print(text)
    else:
        Console().print(findings_table(findings))
        if json_file is not None:
            json_file.write_text(text + "\n", encoding="utf-8")
    if page is not None:
        write_findings_page(findings, page, title=feeder)
    errors = findings[findings["severity"] == "error"]
    if len(errors):
        msg = f"{feeder}: {len(errors)} error(s), listed above"
        raise DataError(msg, errors)


@app.command()
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
    voltage_min: Annotated[float | None, typer.Option(help="[pu]")] = None,
    voltage_max: Annotated[float | None, typer.Option(help="[pu]")] = None,
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
        str | None, typer.Option(help="Comma-separated criteria in force.")
    ] = None,
    phase: Annotated[
        Phase,
        typer.Option(
            help="Of the unit, where the file has phases. known: as filed; worst, "
            "best, sampled: any, one row per load; 12: both legs (240 V)."
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
    from gridsite.feeder.taps import TapControl
    from gridsite.feeder.typical_days import TYPICAL_NOTE
    from gridsite.hosting.headroom_files import HeadroomFiles
    from gridsite.hosting.limits import Limits
    from gridsite.rating import AmbientChoice, LoadChoice, rate_feeder
    from gridsite.report import hosting_table, joint_table, write_results
    from gridsite.report.export import check_folder

    own: dict[str, Any] = {
        "voltage_min_pu": voltage_min,
        "voltage_max_pu": voltage_max,
        "line_loading_max": loading_max,
        "transformer_loading_max": loading_max,
        "source_kva": source_kva,
        "criteria": tuple(c.strip() for c in criteria.split(",")) if criteria else None,
    }
    own = {k: v for k, v in own.items() if v is not None}

    def limits(model: Feeder) -> Limits:
        levels = model.nodes["voltage_kv"].tolist()
        norm = Limits.preset(preset) if preset else Limits.for_network(levels)
        return norm.changed(**own)

    Limits.preset(preset or "EN50160").changed(**own)  # refused before reading
    queue = None if committed is None else read_committed(committed)
    given = None if ratings is None else read_ratings(ratings)
    if taps is Taps.frozen and (tap_target is not None or tap_deadband is not None):
        msg = "--tap-target and --tap-deadband need --taps acting"
        raise ConfigError(msg)
    if ica is not None and steps not in (None, Steps.year):
        msg = f"--ica takes its 576 hours from a whole year; leave out --steps {steps}"
        raise ConfigError(msg)
    control = TapControl(target_pu=tap_target, deadband_pu=tap_deadband)
    options = MeterOptions(
        unit=meter_unit,
        zone=meter_zone,
        links=None if meter_links is None else str(meter_links),
        fill="week" if fill else "refuse",
        missing="drawn" if draw else "refuse",
    )
    meters = None if options == MeterOptions() else options
    if meters is not None and profiles is None:
        msg = (
            "--meter-unit, --meter-zone, --meter-links, --fill, --draw need --profiles"
        )
        raise ConfigError(msg)
    check_folder(out, overwrite=overwrite)
    with TemporaryDirectory() as scratch, _progress() as tell:
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
            taps=control if taps is Taps.acting else None,
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


@app.command()
def fleet(
    study: Annotated[Path, typer.Argument(help="Study file with [fleet] feeders.")],
    out: Out,
    workers: Annotated[
        int | None, typer.Option(help="Processes; default: one per processor.")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Running Dask scheduler that you trust: tcp:// or tls://."),
    ] = None,
    tls_ca_file: Annotated[Path | None, typer.Option(help="PEM file.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="PEM file.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM file.")] = None,
    overwrite: Overwrite = False,  # noqa: FBT002
) -> None:
    """Run a study file on many feeders; a run that was killed goes on."""
    from rich.console import Console

    from gridsite.errors import DataError
    from gridsite.fleet import Cluster, run_fleet

    cluster = Cluster(
        scheduler=scheduler,
        workers=workers,
        tls_ca_file=tls_ca_file,
        tls_cert=tls_cert,
        tls_key=tls_key,
    )
    with _progress() as tell:
        table = run_fleet(
            study, out, cluster=cluster, overwrite=overwrite, progress=tell
        )
    counts = table["status"].value_counts().sort_index()
    text = ", ".join(f"{count} {status}" for status, count in counts.items())
    Console().print(f"{len(table)} feeders: {text}; tables: {out}", soft_wrap=True)
    failed = table[table["reason"] != ""]
    if len(failed):
        first = f"{failed['source'].iloc[0]}: {failed['reason'].iloc[0]}"
        msg = (
            f"{len(failed)} of {len(table)} feeders failed ({first}); "
            f"see reason in {out / 'fleet.parquet'}"
        )
        if len(failed) == len(table):
            raise DataError(msg)
        print(f"gridsite: warning: {msg}", file=sys.stderr)


@app.command()
def explain(
    folder: Annotated[Path, typer.Argument(help="Output folder of a run.")],
    building: Annotated[str, typer.Argument(help="Its building_id.")],
    port: Annotated[
        str | None, typer.Option(help="Which connection, where it has several.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Figure (.png, .pdf, .svg); default in the folder."),
    ] = None,
) -> None:
    """Replay one hosting value: what binds, where and when, below and above it."""
    from rich.console import Console

    from gridsite.explain_run import explain_building
    from gridsite.report import explanation_figure, explanation_tables, read_results
    from gridsite.report.explanation import explanation_facts, figure_path

    results = read_results(folder)
    path = figure_path(folder, building) if out is None else figure_path(out)
    row, told = explain_building(results, building, port_id=port)
    drawn = {"limit": told.limit, "nodes": told.nodes, "elements": told.elements}
    kw = (told.firm_kw, told.above_kw)
    facts = explanation_facts(
        row, reason=told.reason, time=told.time, summary=results.summary
    )
    console = Console()
    for table in explanation_tables(
        facts, **drawn, service=told.service, kw=kw, summary=results.summary
    ):
        console.print(table)
    if len(told.nodes):
        title = f"{building} at {told.port_id}: {told.reason}"
        if told.time is not None:
            title += f", {facts['step']}"
        figure = explanation_figure(title, **drawn, kw=kw, summary=results.summary)
        figure.savefig(path)
        console.print(f"figure: {path}", soft_wrap=True)


@app.command("map")
def draw_map(
    folder: Annotated[Path, typer.Argument(help="Output folder of a run.")],
) -> None:
    """Draw the map of an output folder again."""
    from rich.console import Console

    from gridsite.report import read_results, siting_map

    path = siting_map(read_results(folder), folder / "map.html")
    Console().print(f"map: {path}", soft_wrap=True)


def demo_study(place: str = "schutterwald") -> Path:
    """
    Return the study file of a demo.

    Parameters
    ----------
    place : str, default "schutterwald"
        Folder of ``networks``.

    Returns
    -------
    pathlib.Path
        In the installed package, or in the source tree.

    Raises
    ------
    ConfigError
        If neither holds it.
    """
    here = Path(__file__).resolve().parent
    for root in (here / "networks", here.parent / "networks"):
        path = root / place / "study.toml"
        if path.is_file():
            return path
    msg = f"the demo study is missing from {here.parent}; install gridsite again"
    raise ConfigError(msg)


def _shares(text: str | None) -> list[float]:
    """Return the shares of a comma-separated text."""
    try:
        return [float(part) for part in text.split(",")] if text else []
    except ValueError as error:
        msg = f"--levels {text!r}: give shares such as 0.9,0.8"
        raise ConfigError(msg) from error


def _run(path: Path, out: Path, *, overwrite: bool) -> None:
    from rich.console import Console

    from gridsite.report import comparison_table, summary_table
    from gridsite.report.export import check_folder
    from gridsite.study import Study, run_study

    study = Study.read(path)
    check_folder(out, overwrite=overwrite)
    with TemporaryDirectory() as scratch, _progress() as tell:
        result = run_study(study, scratch=Path(scratch), progress=tell)
        folder = result.write(out, overwrite=overwrite)
    console = Console()
    console.print(summary_table(result.results))
    console.print(comparison_table(result.results))
    console.print(f"map: {folder / 'map.html'}", soft_wrap=True)
    result.plan.raise_for_status()


@contextmanager
def _progress() -> Iterator[Callable[[float, str], None]]:
    """Show a progress bar on standard error."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=1.0)

        def tell(share: float, text: str) -> None:
            bar.update(task, completed=share, description=text)

        yield tell


def main() -> None:
    """Run the command; an error is one line and an exit code."""
    try:
        app()
    except GridsiteError as error:
        from gridsite.untrusted import printable

        line = printable(" ".join(str(error).split()))
        print(f"gridsite: {line}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        print(f"gridsite: {error}; check the path and its rights", file=sys.stderr)
        sys.exit(ConfigError.exit_code)
