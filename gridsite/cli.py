"""
The `gridsite` command.

Heavy imports stand inside each verb. An error goes to standard error in one
line, and its class gives the exit code (`gridsite.errors`).
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gridsite.errors import ConfigError, GridsiteError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gridsite.feeder.model import Feeder
    from gridsite.feeder.profiles import Profiles

app = typer.Typer(
    help="Decide where building-mounted compute goes on a distribution grid.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

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


class Steps(StrEnum):
    """Which steps are rated."""

    snapshot = "snapshot"
    year = "year"


@app.command()
def demo(
    out: Out = Path("out/schutterwald"),
    overwrite: Overwrite = True,  # noqa: FBT002
) -> None:
    """Run the study of a real place and write its plan, tables and map."""
    _run(demo_study(), out, overwrite=overwrite)


@app.command()
def run(study: Path, out: Out, overwrite: Overwrite = False) -> None:  # noqa: FBT002
    """Run a study file: rate every building, choose sites, replay, report."""
    _run(study, out, overwrite=overwrite)


@app.command()
def check(feeder: FeederName) -> None:
    """Say what is wrong with a feeder file, before anyone rates it."""
    from rich.console import Console

    from gridsite.errors import DataError
    from gridsite.feeder.checks import check_feeder
    from gridsite.report.tables import findings_table

    findings = check_feeder(feeder)
    Console().print(findings_table(findings))
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
        typer.Option(help="Default: year where the file has profiles."),
    ] = None,
    profiles: Annotated[
        Path | None,
        typer.Option(help="CSV or Parquet of loads: time, then one column per load."),
    ] = None,
    preset: Annotated[str, typer.Option(help="Norm of the limits.")] = "EN50160",
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
    overwrite: Overwrite = False,  # noqa: FBT002
) -> None:
    """Rate every load connection of a feeder: how much more it could draw."""
    from dataclasses import replace

    from rich.console import Console

    from gridsite.hosting.limits import Limits
    from gridsite.rating import rate_feeder
    from gridsite.report import hosting_table, write_results
    from gridsite.report.export import check_folder

    own: dict[str, Any] = {
        "voltage_min_pu": voltage_min,
        "voltage_max_pu": voltage_max,
        "line_loading_max": loading_max,
        "transformer_loading_max": loading_max,
        "source_kva": source_kva,
        "criteria": tuple(c.strip() for c in criteria.split(",")) if criteria else None,
    }
    limits = replace(
        Limits.preset(preset), **{k: v for k, v in own.items() if v is not None}
    )
    check_folder(out, overwrite=overwrite)
    with _progress() as tell:
        tell(0.0, "reading the feeder")
        results = rate_feeder(
            feeder,
            choose_loads=lambda model: _loads(model, steps, profiles),
            limits=limits,
            power_factor=power_factor,
            service_a=service_a,
            progress=tell,
        )
    folder = write_results(results, out, overwrite=overwrite)
    Console().print(hosting_table(results))
    Console().print(f"map: {folder / 'map.html'}", soft_wrap=True)


@app.command("map")
def draw_map(
    folder: Annotated[Path, typer.Argument(help="Output folder of a run.")],
) -> None:
    """Draw the map of an output folder again."""
    from rich.console import Console

    from gridsite.report import read_results, siting_map

    path = siting_map(read_results(folder), folder / "map.html")
    Console().print(f"map: {path}", soft_wrap=True)


def demo_study() -> Path:
    """
    Return the study file of the demo.

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
        path = root / "schutterwald" / "study.toml"
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
    with _progress() as tell:
        result = run_study(study, progress=tell)
    folder = result.write(out, overwrite=overwrite)
    console = Console()
    console.print(summary_table(result.results))
    console.print(comparison_table(result.results))
    console.print(f"map: {folder / 'map.html'}", soft_wrap=True)
    result.plan.raise_for_status()


def _loads(feeder: Feeder, steps: Steps | None, profiles: Path | None) -> Profiles:
    """Return what the loads draw: a file, the feeder's own year, or a snapshot."""
    from gridsite.feeder.profiles import constant_profiles, read_profiles

    ports = feeder.load_ports
    if profiles is not None:
        return read_profiles(profiles, port_ids=ports.index)
    if steps is None:
        steps = Steps.snapshot if feeder.profiles is None else Steps.year
    if steps is Steps.snapshot:
        return constant_profiles(
            ports.index, ports["p_kw"].to_numpy(), ports["q_kvar"].to_numpy()
        )
    if feeder.profiles is None:
        msg = f"{feeder.name} has no profiles; give --profiles FILE or --steps snapshot"
        raise ConfigError(msg)
    return feeder.profiles


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
        line = " ".join(str(error).split())
        print(f"gridsite: {line}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        print(f"gridsite: {error}; check the path and its rights", file=sys.stderr)
        sys.exit(ConfigError.exit_code)
