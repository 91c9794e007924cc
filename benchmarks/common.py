"""Feeders, steps, clocks and machine of the benchmarks."""

from __future__ import annotations

import copy
import importlib.metadata
import multiprocessing
import os
import pickle
import platform
import resource
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import pandapower as pp
import pandas as pd

from gridsite.feeder.net_sources import load_net
from gridsite.feeder.read_pandapower import feeder_from_net, read_feeder
from gridsite.hosting.limits import Limits
from gridsite.study import Study

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from numpy.typing import NDArray

    from gridsite.feeder.model import Feeder
    from gridsite.feeder.profiles import Profiles

    Ints = NDArray[np.int64]

SCHUTTERWALD = Path(__file__).parents[1] / "networks" / "schutterwald" / "study.toml"

#: Names of the cases, and what they stand for.
CASES = {
    "rural3": "simbench:1-LV-rural3--0-sw",
    "schutterwald": "pandapower:lv_schutterwald",
    "semiurb": "simbench:1-MVLV-semiurb-all-0-sw",
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A feeder with what its customers draw and its limits."""

    name: str
    feeder: Feeder
    loads: Profiles
    limits: Limits

    def at(self, steps: Ints) -> Case:
        """Return the case at some steps."""
        return replace(self, loads=self.loads.at_steps(steps))

    def size(self) -> str:
        """Return its size in words."""
        return (
            f"{self.name}: {len(self.feeder.nodes):,} buses, "
            f"{len(self.feeder.load_ports):,} loads, {len(self.loads.time):,} steps"
        )


def read_case(name: str, steps: int | None = None) -> Case:
    """Read a case; ``steps`` is 8,784 (hourly means), 35,136 or the case's own."""
    if name == "schutterwald":
        study = Study.read(SCHUTTERWALD)
        feeder = study.feeder()
        return Case(
            name=name,
            feeder=feeder,
            loads=study.loads(feeder),
            limits=study.limits(feeder),
        )
    copies = name.removeprefix("copies-")
    feeder = (
        read_feeder(CASES[name]) if name == copies else copies_on_a_cable(int(copies))
    )
    loads = feeder.profiles
    if loads is None:
        msg = f"{name} has no profiles"
        raise ValueError(msg)
    if steps == len(loads.time) // 4:
        loads = hourly(loads)
    elif steps not in {None, len(loads.time)}:
        msg = f"--steps {steps}: give {len(loads.time) // 4} or {len(loads.time)}"
        raise ValueError(msg)
    return Case(name=name, feeder=feeder, loads=loads, limits=Limits())


def copies_on_a_cable(n: int) -> Feeder:
    """Return copies of 1-LV-rural3 on one 20 kV cable of 0.5 km per copy."""
    net = load_net(CASES["rural3"])
    head, n_bus = int(net.ext_grid["bus"].iloc[0]), int(net.bus.index.max()) + 1
    whole = copy.deepcopy(net)
    for table in ("bus", "line", "trafo", "load", "sgen", "switch"):
        whole[table] = pd.concat(
            [_copied(net, table, i, n_bus) for i in range(n)], ignore_index=True
        )
    whole.bus.index = np.concatenate([net.bus.index + i * n_bus for i in range(n)])
    before = int(pp.create_bus(whole, net.bus.loc[head, "vn_kv"], name="source"))
    whole.ext_grid["bus"] = before
    for i in range(n):
        ends, kind = (before, head + i * n_bus), "NA2XS2Y 1x240 RM/25 12/20 kV"
        pp.create_line(whole, *ends, 0.5, std_type=kind, name=f"cable {i}")
        before = ends[1]
    return feeder_from_net(whole, name=f"{n} copies of 1-LV-rural3")


def _copied(net: Any, table: str, i: int, n_bus: int) -> pd.DataFrame:  # noqa: ANN401
    """Return the rows of a copy, with names and buses of its own."""
    rows = net[table].copy()
    rows["name"] = f"{i} " + rows["name"].astype(str)
    for column in ("bus", "from_bus", "to_bus", "hv_bus", "lv_bus"):
        if column in rows:
            rows[column] += i * n_bus
    if table == "switch":
        size = rows["et"].map({"l": len(net.line), "t": len(net.trafo), "b": n_bus})
        rows["element"] += i * size
    return rows


def hourly(loads: Profiles) -> Profiles:
    """Return hourly means of quarter-hours."""
    return replace(
        loads,
        time=loads.time[::4],
        p_shapes=loads.p_shapes.reshape(len(loads.p_shapes), -1, 4).mean(axis=2),
        q_shapes=loads.q_shapes.reshape(len(loads.q_shapes), -1, 4).mean(axis=2),
    )


def spread(n_step: int, n: int) -> Ints:
    """Return ``n`` steps, evenly spread."""
    return np.linspace(0, n_step - 1, min(n, n_step)).astype(np.int64)


class Clock:
    """Wall and CPU seconds of what runs inside, added up."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    def __enter__(self) -> Self:
        self._start = time.perf_counter(), time.process_time()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.wall += time.perf_counter() - self._start[0]
        self.cpu += time.process_time() - self._start[1]


def in_child(work: Callable[..., Any], *args: object) -> tuple[Any, float]:
    """Run ``work`` in a process of its own; return its result and peak memory. [GB]"""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_with_peak, (work, args))


def _with_peak(work: Callable[..., Any], args: tuple[object, ...]) -> tuple[Any, float]:
    result = work(*args)
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss starts at the parent's peak there
        line = next(s for s in status.read_text().splitlines() if "VmHWM" in s)
        return result, int(line.split()[1]) * 1024 / 1e9
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return result, peak * (1 if sys.platform == "darwin" else 1024) / 1e9


def keep(case: Case, folder: str) -> Path:
    """Write a case that child processes read."""
    path = Path(folder) / f"{case.name}-{len(case.loads.time)}.pickle"
    path.write_bytes(pickle.dumps(case))
    return path


def kept(path: Path) -> Case:
    """Read a case of this run."""
    case: Case = pickle.loads(path.read_bytes())  # noqa: S301 - written by `keep`
    return case


def print_machine(*packages: str) -> None:
    """Print machine, threads and versions."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [s for s in info.read_text().splitlines() if s.startswith("model name")]
        cpu = names[0].split(":", 1)[1].strip() if names else cpu
    load = ", ".join(f"{x:.1f}" for x in os.getloadavg())
    print(f"machine: {cpu}, {os.cpu_count()} CPUs, load before {load}")
    print(
        f"Python {platform.python_version()}, numba threads {numba.get_num_threads()}"
    )
    names = ["gridsite", "numpy", "numba", "pandapower", *packages]
    print(", ".join(f"{n} {importlib.metadata.version(n)}" for n in names))
    print(pd.Timestamp.now("UTC").strftime("%Y-%m-%d %H:%M UTC"), flush=True)
