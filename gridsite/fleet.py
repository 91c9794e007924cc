"""
One study over many feeders, each in a worker process of Dask `distributed`.

Workers return tables and the client alone writes (`gridsite.fleet_folder`), so
that a feeder tried twice is never written by two. A feeder that fails, or whose
worker dies, is a row with its reason.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from gridsite.config import (
    FleetConfig,
    FleetStudyConfig,
    read_fleet_config,
)
from gridsite.errors import ConfigError, GridsiteError
from gridsite.feeder.assumed_ratings import read_ratings
from gridsite.fleet_folder import (
    Outcome,
    close_folder,
    finished_rows,
    fleet_manifest,
    keep_outcome,
    open_folder,
)
from gridsite.fleet_sources import find_sources
from gridsite.rating import rate_feeder
from gridsite.results import versions
from gridsite.study import Study, run_study
from gridsite.study.loads import given_power_factor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pandas as pd
    from distributed import Client

    from gridsite.config import StudyConfig
    from gridsite.feeder.model import Feeder
    from gridsite.feeder.profiles import Profiles
    from gridsite.fleet_sources import Source
    from gridsite.report import Results

    AnyConfig = FleetConfig | FleetStudyConfig

#: Workers that a feeder may kill in one go, less one (local cluster).
_ALLOWED_FAILURES = 1
_CONNECT_S = 30


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """
    Where the feeders of a fleet are run.

    Parameters
    ----------
    scheduler : str, optional
        Address of a running scheduler that is trusted, such as
        ``tls://host:8786``; None starts worker processes on this machine.
    workers : int, optional
        Processes on this machine; None for one per processor.
    tls_ca_file, tls_cert, tls_key : str or pathlib.Path, optional
        PEM files for a ``tls://`` scheduler.

    Raises
    ------
    ConfigError
        If an option would have no effect.

    Notes
    -----
    Whoever reaches a scheduler can run code on its workers. Local workers
    listen on 127.0.0.1 alone. Workers elsewhere must see the study's files
    under the same paths.

    Examples
    --------
    >>> Cluster(workers=2).scheduler is None
    True
    """

    scheduler: str | None = None
    workers: int | None = None
    tls_ca_file: str | Path | None = None
    tls_cert: str | Path | None = None
    tls_key: str | Path | None = None

    def __post_init__(self) -> None:
        """Refuse options that would have no effect."""
        tls = any((self.tls_ca_file, self.tls_cert, self.tls_key))
        if tls and not str(self.scheduler).startswith("tls://"):
            msg = f"TLS files need a scheduler tls://HOST:PORT, got {self.scheduler!r}"
            raise ConfigError(msg)
        if self.workers is not None and (self.workers < 1 or self.scheduler):
            msg = f"workers is {self.workers}: give 1 or more, and no scheduler"
            raise ConfigError(msg)


def _silent(share: float, text: str) -> None:
    """Take progress and tell nobody."""


def run_fleet(
    path: str | Path,
    out: str | Path,
    *,
    cluster: Cluster | None = None,
    overwrite: bool = False,
    progress: Callable[[float, str], None] = _silent,
) -> pd.DataFrame:
    """
    Run the study file of a fleet, feeder by feeder, in worker processes.

    Parameters
    ----------
    path : str or pathlib.Path
        A study file with a section ``fleet``. Without siting sections each
        feeder is rated; with them each gets the whole study.
    out : str or pathlib.Path
        Output folder. An earlier run of the same options goes on: feeders that
        are done and whose file did not change are not run again.
    cluster : Cluster, optional
        Where to run; by default in processes on this machine.
    overwrite : bool, default False
        Replace an earlier output instead.
    progress : callable, optional
        Called with the share done, in [0, 1], and a text.

    Returns
    -------
    pandas.DataFrame
        One row per feeder in the order of the study file, as in
        ``fleet.parquet``; ``status`` is ``rated``, that of the plan, ``failed``
        or ``worker_lost``, with the ``reason`` of the last two.

    Raises
    ------
    ConfigError
        If the study file, an option or the extra ``fleet`` is at fault.
    GridsiteError
        If the scheduler is lost.

    Notes
    -----
    Worker processes import the calling script, which therefore starts its work
    under ``if __name__ == "__main__":``.
    """
    _need_dask()
    config = read_fleet_config(path)
    study = _study(config, Path(path).absolute().parent)
    study.limits()  # refused once rather than by every feeder
    sources = find_sources(config.fleet.feeders, study.folder)
    manifest = fleet_manifest(config, study, sources)
    folder = open_folder(out, manifest, overwrite=overwrite)
    rows = finished_rows(folder, sources)

    def tell() -> None:
        progress(len(rows) / len(sources), f"{len(rows)} of {len(sources)} feeders")

    tell()
    todo = [source for source in sources if source.slug not in rows]
    if todo:
        with _connected(cluster or Cluster(), len(todo)) as client:
            for source, outcome in _outcomes(client, config, study.folder, todo):
                rows[source.slug] = keep_outcome(folder, source, outcome)
                tell()
    return close_folder(folder, config, manifest, [rows[s.slug] for s in sources])


def _need_dask() -> None:
    """Refuse to go on without the extra."""
    try:
        import distributed  # noqa: F401, PLC0415 - optional
    except ImportError as error:
        msg = "a fleet runs on Dask; pip install 'gridsite[fleet]'"
        raise ConfigError(msg) from error


def _study(config: AnyConfig, folder: Path) -> Study:
    """Return a study; that of a fleet without siting has loads and limits alone."""
    return Study(config=cast("StudyConfig", config), folder=folder)


def _run_feeder(config: AnyConfig, folder: Path, source: str) -> Outcome:
    """Rate or study one feeder, in a worker; what goes wrong is its outcome."""
    began = time.perf_counter()
    try:
        if isinstance(config, FleetStudyConfig):
            feeder = config.feeder.model_copy(update={"source": source})
            own = config.model_copy(update={"feeder": feeder})
            results = run_study(_study(own, folder)).results
        else:
            results = _rate(config, folder, source)
        outcome = Outcome(status=results.summary["status"], results=results)
    except Exception as error:  # noqa: BLE001 - one feeder never ends the run
        outcome = Outcome.failed(error)
    return replace(outcome, seconds=round(time.perf_counter() - began, 2))


@dataclass(frozen=True, kw_only=True)
class _Loads:
    """What customers draw today (`gridsite.rating_case.GivenLoads`)."""

    config: FleetConfig
    folder: Path

    @property
    def given_power_factor(self) -> float | None:
        """Of customers whose active power alone is given."""
        return given_power_factor(self.config.profiles)

    def __call__(self, feeder: Feeder) -> Profiles:
        """Return loads of the study file, else of the feeder; `rate_feeder` grows."""
        profiles = self.config.profiles
        changes: dict[str, object] = {"growth_factor": 1.0}
        named = {"file", "shapes", "snapshot"} & profiles.model_fields_set
        if feeder.profiles is None and not named:
            changes["snapshot"] = True
        profiles = profiles.model_copy(update=changes)
        chosen = self.config.model_copy(update={"profiles": profiles})
        return _study(chosen, self.folder).loads(feeder)


def _rate(config: FleetConfig, folder: Path, source: str) -> Results:
    """Rate one feeder as the verb ``hosting`` does."""
    study, own = _study(config, folder), config.feeder
    ratings = None if own.ratings is None else read_ratings(study.path(own.ratings))
    return rate_feeder(
        source,
        choose_loads=_Loads(config=config, folder=folder),
        limits=study.limits,
        power_factor=config.fleet.power_factor,
        growth=config.profiles.growth_factor,
        committed=study.committed(),
        committed_power_factor=config.committed.power_factor,
        ratings=ratings,
        assume_line_a=own.assume_line_a,
        crs=own.crs,
        taps=study.taps(),
        controls=own.controls,
        service_a=config.service.amps if config.service else None,
        ageing=study.ambient(),
        **config.hosting.model_dump(),
    )


@contextmanager
def _connected(cluster: Cluster, feeders: int) -> Iterator[Client]:
    """Hold a client of a running scheduler, or of processes on this machine."""
    import dask  # noqa: PLC0415 - optional
    from dask.system import CPU_COUNT  # noqa: PLC0415 - optional
    from distributed import Client, LocalCluster  # noqa: PLC0415 - optional
    from distributed.utils import silence_logging_cmgr  # noqa: PLC0415 - optional

    if cluster.scheduler is not None:
        with silence_logging_cmgr(logging.CRITICAL), _client(cluster) as client:
            _check_workers(client, cluster.scheduler)
            yield client
        return
    failures = {"allowed_failures": _ALLOWED_FAILURES, "dashboard": False}
    # by default a worker that takes 15 s to start again is given up, and all wait
    patience = {"distributed.deploy.lost-worker-timeout": "1 hour"}
    with (
        dask.config.set(patience),
        LocalCluster(
            n_workers=min(cluster.workers or CPU_COUNT, feeders),
            threads_per_worker=1,
            processes=True,
            env={"NUMBA_NUM_THREADS": "1"},
            dashboard_address="127.0.0.1:0",
            scheduler_kwargs=failures,
            silence_logs=logging.CRITICAL,
        ) as local,
        Client(local, set_as_default=False) as client,
    ):
        yield client


def _client(cluster: Cluster) -> Client:
    """Return a client of a running scheduler."""
    from distributed import Client, Security  # noqa: PLC0415 - optional

    files = {
        "tls_ca_file": cluster.tls_ca_file,
        "tls_client_cert": cluster.tls_cert,
        "tls_client_key": cluster.tls_key,
    }
    given = {name: str(file) for name, file in files.items() if file is not None}
    try:
        return Client(
            cluster.scheduler,
            security=Security(require_encryption=bool(given), **given),
            timeout=_CONNECT_S,
            set_as_default=False,
        )
    except (OSError, TypeError, ValueError, RuntimeError) as error:
        msg = f"scheduler {cluster.scheduler}: no connection ({error}); check it"
        raise ConfigError(msg) from error


def _check_workers(client: Client, scheduler: str) -> None:
    """Refuse workers that would not give the results of this installation."""
    ours = versions()
    try:
        client.wait_for_workers(1, timeout=_CONNECT_S)
        found = client.run(versions)
    except Exception as error:
        msg = f"scheduler {scheduler}: no worker with gridsite ({error}); start one"
        raise ConfigError(msg) from error
    for worker, theirs in found.items():
        other = dict(sorted(theirs.items() - ours.items()))
        if other:
            msg = f"worker {worker} has {other}; install the versions that run here"
            raise ConfigError(msg)


def _outcomes(
    client: Client, config: AnyConfig, folder: Path, sources: Sequence[Source]
) -> Iterator[tuple[Source, Outcome]]:
    """
    Yield outcomes as they come.

    The death of a worker is blamed on all feeders that waited in it. Whatever
    is lost among others is therefore run again alone: then it is to blame.
    """
    lost = []
    for source, outcome in _streamed(client, config, folder, sources):
        if outcome.status == "worker_lost" and len(sources) > 1:
            lost.append(source)
        else:
            yield source, outcome
    for source in lost:
        yield from _streamed(client, config, folder, [source])


def _streamed(
    client: Client, config: AnyConfig, folder: Path, sources: Sequence[Source]
) -> Iterator[tuple[Source, Outcome]]:
    """Yield the outcome of each feeder when it is there."""
    from distributed import KilledWorker, as_completed  # noqa: PLC0415 - optional

    futures = {
        client.submit(_run_feeder, config, folder, source.path, pure=False): source
        for source in sources
    }
    for future in as_completed(list(futures), loop=client.loop):
        source = futures.pop(future)
        try:
            outcome = future.result()
        except KilledWorker:
            reason = "KilledWorker: its worker died every time, perhaps out of memory"
            outcome = Outcome(status="worker_lost", reason=reason)
        except CancelledError as error:
            msg = f"the scheduler was lost ({error}); run again to go on"
            raise GridsiteError(msg) from error
        except Exception as error:  # noqa: BLE001 - one feeder never ends the run
            outcome = Outcome.failed(error)
        yield source, outcome
