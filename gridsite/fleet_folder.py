"""
The folder that the results of a fleet stream into.

The tables of a feeder are partitions ``<table>/feeder=<slug>/<table>.parquet``;
after them comes its row, ``rows/<slug>.json``. Each file is renamed into place. A
row without failure therefore says that its feeder is done, and a killed run goes
on where it stopped.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pandas as pd

from gridsite.config import FleetStudyConfig
from gridsite.errors import ConfigError, DataError
from gridsite.fleet_sources import Source, one_line, sha256_of
from gridsite.hosting.capacity import capacity_summary
from gridsite.hosting.limits import CRITERIA
from gridsite.report.export import _write_json, _write_table, check_folder
from gridsite.results import versions
from gridsite.schemas import SCHEMA_VERSION, STATUSES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gridsite.config import FleetConfig
    from gridsite.report import Results
    from gridsite.study import Study

#: Statuses of a feeder that has no result.
FAILED = ("failed", "worker_lost")

_TEXTS = ("feeder", "source", "sha256", "status", "reason")
_COUNTS = (
    "steps",
    "base_violations",
    "buildings",
    *(f"status_{name}" for name in STATUSES),
    *(f"limit_{name.replace(' ', '_')}" for name in CRITERIA),
)
_NUMBERS = ("step_minutes", "firm_kw_median", "firm_kw_sum_of_singles", "seconds")
_SITING_COUNTS = ("new", "worsened", "units", "buildings_used")
_SITING_NUMBERS = ("rated_kw", "it_kw", "served_share", "objective", "gap")
_REMARKS = ("not_checked", "assumptions")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """
    What became of a feeder.

    Parameters
    ----------
    status : str
        That of its results, or one of `FAILED`.
    reason : str, default ""
        Why it failed: class and message of the error.
    seconds : float, default NaN
        Time it took. [s]
    results : Results, optional
        Its tables.
    """

    status: str
    reason: str = ""
    seconds: float = float("nan")
    results: Results | None = None

    @classmethod
    def failed(cls, error: Exception) -> Outcome:
        """
        Return the outcome of a feeder that raised.

        Parameters
        ----------
        error : Exception
            What was raised.

        Returns
        -------
        Outcome
            With the error's class and message.

        Examples
        --------
        >>> Outcome.failed(ValueError("no bus")).reason
        'ValueError: no bus'
        """
        reason = one_line(f"{type(error).__name__}: {error}")
        return cls(status="failed", reason=reason)


def fleet_manifest(
    config: FleetConfig | FleetStudyConfig, study: Study, sources: Sequence[Source]
) -> dict[str, Any]:
    """
    Return what is needed to repeat a fleet's run.

    Parameters
    ----------
    config : FleetConfig or FleetStudyConfig
        Content of the study file.
    study : Study
        Where its paths start.
    sources : sequence of Source
        The feeders.

    Returns
    -------
    dict
        Content of ``manifest.json``.

    Raises
    ------
    ConfigError
        If a file that all feeders share does not exist.
    """
    return {
        "written_by": "gridsite",
        "schema_version": SCHEMA_VERSION,
        "versions": versions(),
        "inputs": {name: sha256_of(study.path(name)) for name in config.files()},
        "seed": config.study.seed,
        "options": config.model_dump(mode="json", exclude={"fleet": {"feeders"}}),
        "feeders": {source.name: source.sha256 for source in sources},
    }


def open_folder(out: str | Path, manifest: dict[str, Any], *, overwrite: bool) -> Path:
    """
    Return the output folder: a new one, or that of a run of the same options.

    Parameters
    ----------
    out : str or pathlib.Path
        Where it is, or is to be.
    manifest : dict
        Of this run.
    overwrite : bool
        Begin anew in place of an earlier output.

    Returns
    -------
    pathlib.Path
        The absolute path.

    Raises
    ------
    ConfigError
        If the folder holds something else.
    """
    path = check_folder(out, overwrite=True)
    if path.exists() and not overwrite:
        earlier = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        same = ("schema_version", "versions", "inputs", "options")
        differ = [name for name in same if earlier.get(name) != manifest[name]]
        if differ or not isinstance(earlier["feeders"], dict):
            msg = (
                f"{path} holds an earlier run with other {', '.join(differ)}; "
                "allow overwriting or name another folder"
            )
            raise ConfigError(msg)
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as scratch:
        fresh = Path(scratch, "new")
        fresh.mkdir()
        _write_json(manifest, fresh / "manifest.json")
        if path.exists():
            path.rename(Path(scratch, "old"))
        fresh.rename(path)
    return path


def finished_rows(folder: Path, sources: Sequence[Source]) -> dict[str, dict[str, Any]]:
    """
    Return the rows of feeders that are done, and remove what others left.

    Parameters
    ----------
    folder : pathlib.Path
        The output folder.
    sources : sequence of Source
        The feeders of this run.

    Returns
    -------
    dict of str to dict
        By slug, where the feeder's file did not change and nothing failed.
    """
    for name in ("summary.json", "fleet.parquet"):  # they stand for a whole run
        (folder / name).unlink(missing_ok=True)
    sha256 = {source.slug: source.sha256 for source in sources}
    rows = {}
    for path in folder.glob("rows/*.json"):
        try:
            row = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:  # cut off by a loss of power
            row = {"sha256": None}
        if row["sha256"] == sha256.get(path.stem) and row["status"] not in FAILED:
            rows[path.stem] = row
        else:
            path.unlink()
    for part in folder.glob("*/feeder=*"):
        if part.name.removeprefix("feeder=") not in rows:
            shutil.rmtree(part)
    return rows


def keep_outcome(folder: Path, source: Source, outcome: Outcome) -> dict[str, Any]:
    """
    Write the tables of a feeder and then its row.

    Parameters
    ----------
    folder : pathlib.Path
        The output folder.
    source : Source
        The feeder.
    outcome : Outcome
        What became of it.

    Returns
    -------
    dict
        The row; ``failed`` also where a table cannot be written as Parquet.
    """
    tables = outcome.results.tables() if outcome.results is not None else {}
    try:
        for name, table in tables.items():
            if table.empty:  # without rows its types are unknown
                continue
            part = folder / name / f"feeder={source.slug}" / f"{name}.parquet"
            _put(part, _write_table, _in_utc(table))
    except DataError as error:
        for part in folder.glob(f"*/feeder={source.slug}"):
            shutil.rmtree(part)
        outcome = Outcome.failed(error)
    row = _row(source, outcome)
    _put(folder / "rows" / f"{source.slug}.json", _write_json, row)
    return row


def _in_utc(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose times are of one type, even where all are unknown."""
    names = [str(name) for name in table]
    times = [name for name in names if name == "time" or name.endswith("_time")]
    utc = {name: pd.to_datetime(table[name], utc=True) for name in times}
    return table.assign(**{name: time.dt.as_unit("us") for name, time in utc.items()})


def _put(path: Path, write: Callable[[Any, Path], None], content: object) -> None:
    """Write a file beside its place, then move it there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}")
    write(content, fresh)
    fresh.replace(path)


def _row(source: Source, outcome: Outcome) -> dict[str, Any]:
    """Return the row of a feeder, with remarks that the fleet's summary gathers."""
    row: dict[str, Any] = {
        "feeder": source.slug,
        "source": source.name,
        "sha256": source.sha256,
        "status": outcome.status,
        "reason": outcome.reason,
        "seconds": outcome.seconds,
    }
    if outcome.results is None:
        return row
    summary = outcome.results.summary
    hosting = capacity_summary(outcome.results.hosting)
    counts = {f"status_{name}": hosting["status"].get(name, 0) for name in STATUSES}
    for name in CRITERIA:
        counts[f"limit_{name.replace(' ', '_')}"] = hosting["limit"].get(name, 0)
    known = {**summary["replay"], **summary, **hosting, **counts, **row}
    names = [*_TEXTS, *_COUNTS, *_NUMBERS, *_REMARKS]
    if outcome.results.plan is not None:
        names += [*_SITING_COUNTS, *_SITING_NUMBERS]
    return {name: known[name] for name in names}


def close_folder(
    folder: Path,
    config: FleetConfig | FleetStudyConfig,
    manifest: dict[str, Any],
    rows: Sequence[dict[str, Any]],
) -> pd.DataFrame:
    """
    Write the files that stand for the whole fleet.

    Parameters
    ----------
    folder : pathlib.Path
        The output folder.
    config : FleetConfig or FleetStudyConfig
        Content of the study file.
    manifest : dict
        Of this run.
    rows : sequence of dict
        One per feeder, in order.

    Returns
    -------
    pandas.DataFrame
        The content of ``fleet.parquet``.
    """
    siting = isinstance(config, FleetStudyConfig)
    counts = [*_COUNTS, *(_SITING_COUNTS if siting else ())]
    numbers = [*_NUMBERS, *(_SITING_NUMBERS if siting else ())]
    table = pd.DataFrame(rows).reindex(columns=[*_TEXTS, *counts, *numbers])
    table = table.astype(dict.fromkeys(counts, "Int64") | dict.fromkeys(numbers, float))
    remarks = {
        name: list(dict.fromkeys(text for row in rows for text in row.get(name, ())))
        for name in _REMARKS
    }
    summary = {
        "study": config.study.name,
        "place": config.study.place,
        "feeders": len(rows),
        "status": dict(sorted(Counter(table["status"]).items())),
        "buildings": int(table["buildings"].sum()),
        "firm_kw_sum_of_singles": float(table["firm_kw_sum_of_singles"].sum()),
        "generated": config.study.generated,
        "not_checked": remarks["not_checked"],
        "assumptions": list(
            dict.fromkeys([*config.study.assumptions, *remarks["assumptions"]])
        ),
        "seconds": round(float(table["seconds"].sum()), 2),
    }
    _put(folder / "fleet.parquet", _write_table, table)
    _put(folder / "manifest.json", _write_json, manifest)
    _put(folder / "summary.json", _write_json, summary)
    return table
