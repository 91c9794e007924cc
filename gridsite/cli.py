"""
The `gridsite` command.

Heavy imports stand inside each verb. An error goes to standard error in one
line, and its class gives the exit code (`gridsite.errors`).
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, NoReturn

import typer

from gridsite.cli_hosting import (
    AssumeLineA,
    Crs,
    MeterLinks,
    MeterUnit,
    MeterZone,
    Out,
    Overwrite,
    Preset,
    Ratings,
    hosting,
)
from gridsite.cli_inputs import demand, meters, roofs
from gridsite.cli_options import (
    limits_of,
    meter_options,
    say_assumptions,
    user_options,
)
from gridsite.cli_paths import check_files, check_targets
from gridsite.cli_progress import progress
from gridsite.errors import ConfigError, GridsiteError

#: Of the feeders of a fleet, which may assume much.
_ASSUMPTIONS_SHOWN = 10

app = typer.Typer(
    help="Decide where building-mounted compute goes on a distribution grid.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # units stand in brackets
    pretty_exceptions_enable=False,
)

for verb in (hosting, roofs, meters, demand):
    app.command()(verb)


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
    ratings: Ratings = None,
    assume_line_a: AssumeLineA = None,
    crs: Crs = None,
    preset: Preset = None,
    meter_unit: MeterUnit = None,
    meter_zone: MeterZone = None,
    meter_links: MeterLinks = None,
    users_column: Annotated[str | None, typer.Option(help="Number of users.")] = None,
    users_per_point: Annotated[float | None, typer.Option(help="[-]")] = None,
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
    from gridsite.feeder.assumed_ratings import read_ratings
    from gridsite.feeder.meter_options import MeterOptions
    from gridsite.input_checks import Completion, as_json, check_inputs, check_study
    from gridsite.report.findings_page import write_findings_page
    from gridsite.report.tables import findings_table

    written = None if json_file == Path("-") else json_file
    check_targets({"--json": written, "--page": page})
    check_files(
        {"--profiles": profiles, "--ratings": ratings, "--meter-links": meter_links}
    )
    if Path(feeder).suffix.lower() == ".toml":
        named: list[object] = [
            profiles,
            roofs,
            users,
            meter_unit,
            meter_zone,
            meter_links,
        ]
        named += [users_column, users_per_point, ratings, assume_line_a, crs, preset]
        if any(value is not None for value in named):
            msg = (
                "a study file names its profiles, roofs, users, ratings and limits "
                "itself"
            )
            raise ConfigError(msg)
        findings = check_study(feeder)
    else:
        links = None if meter_links is None else str(meter_links)
        meters = MeterOptions(unit=meter_unit, zone=meter_zone, links=links)
        findings = check_inputs(
            feeder,
            completion=Completion(
                crs=crs,
                ratings=None if ratings is None else read_ratings(ratings),
                assume_line_a=assume_line_a,
                limits=limits_of(preset, {}),
            ),
            profiles=profiles,
            roofs=roofs,
            users=users,
            meter_options=meter_options(profiles, meters),
            user_options=user_options(users, users_column, users_per_point),
        )
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
    import json

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
    with progress() as tell:
        table = run_fleet(
            study, out, cluster=cluster, overwrite=overwrite, progress=tell
        )
    counts = table["status"].value_counts().sort_index()
    text = ", ".join(f"{count} {status}" for status, count in counts.items())
    Console().print(f"{len(table)} feeders: {text}; tables: {out}", soft_wrap=True)
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    say_assumptions(summary, most=_ASSUMPTIONS_SHOWN)
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
    from gridsite.report.layers import plan_reasons

    check_targets({"--out": out})
    results = read_results(folder)
    path = figure_path(folder, building) if out is None else figure_path(out)
    row, told = explain_building(results, building, port_id=port)
    drawn = {"limit": told.limit, "nodes": told.nodes, "elements": told.elements}
    kw = (told.firm_kw, told.above_kw)
    facts = explanation_facts(
        row,
        reason=told.reason,
        time=told.time,
        summary=results.summary,
        in_plan=plan_reasons(results).get(building, ""),
    )
    console = Console()
    for table in explanation_tables(
        facts,
        **drawn,
        service=told.service,
        kw=kw,
        summary=results.summary,
        controls=told.controls,
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


def _run(path: Path, out: Path, *, overwrite: bool) -> None:
    from rich.console import Console

    from gridsite.report import comparison_table, summary_table
    from gridsite.report.export import check_folder
    from gridsite.study import Study, run_study

    study = Study.read(path)
    check_folder(out, overwrite=overwrite)
    with TemporaryDirectory() as scratch, progress() as tell:
        result = run_study(study, scratch=Path(scratch), progress=tell)
        folder = result.write(out, overwrite=overwrite)
    console = Console()
    console.print(summary_table(result.results))
    console.print(comparison_table(result.results))
    console.print(f"map: {folder / 'map.html'}", soft_wrap=True)
    result.plan.raise_for_status()


def main() -> None:
    """Run the command; an error is one line and an exit code."""
    try:
        # in its own way it would tell options in several lines
        code = app(prog_name="gridsite", standalone_mode=False)
    except GridsiteError as error:
        _stop(str(error), error.exit_code)
    except OSError as error:
        _stop(f"{error}; check the path and its rights", ConfigError.exit_code)
    except typer.Abort:  # Ctrl-C
        _stop("stopped", 130)
    except Exception as error:
        if not hasattr(error, "format_message"):  # of no option
            raise
        if len(sys.argv) < 2:  # its message is the help
            print(error.format_message(), file=sys.stderr)
            sys.exit(ConfigError.exit_code)
        known = getattr(getattr(error, "ctx", None), "command_path", "gridsite")
        text = error.format_message().strip().rstrip(".")
        _stop(f"{text}; see {known} --help", ConfigError.exit_code)
    else:
        sys.exit(code)


def _stop(text: str, code: int) -> NoReturn:
    """Say what is wrong in one line, and leave."""
    from gridsite.untrusted import printable

    print(f"gridsite: {printable(' '.join(text.split()))}", file=sys.stderr)
    sys.exit(code)
