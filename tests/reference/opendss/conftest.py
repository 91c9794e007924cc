"""Small studies on OpenDSS circuits, and OpenDSS as the judge of their plans."""

from __future__ import annotations

import shutil
from functools import partial
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pytest
import shapely
from opendss_judge import KEEP_MODEL, over_rating, solved_engine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gridsite.feeder.model import Feeder
    from gridsite.hosting.limits import Limits

LON, LAT = 7.88, 48.45
IDS = 'id_column = "building_id"'
_NUMBER = {"A": "1", "B": "2", "C": "3"}


@pytest.fixture(scope="session")
def write_opendss_study(write_study: Callable[..., Path]) -> Callable[..., Path]:
    """Return `written` on the tiny study."""
    return partial(written, write_study)


@pytest.fixture(scope="session")
def judge() -> type[Judge]:
    """Return the class of judges."""
    pytest.importorskip("dss")
    return Judge


def written(
    write_study: Callable[..., Path],
    folder: Path,
    master: Path,
    buildings: dict[str, str],
    *edits: tuple[str, str],
    phases: str = "known",
    copy: bool = True,
) -> Path:
    """
    Write the tiny study with an OpenDSS circuit and a roof at each of some loads.

    ``buildings`` gives the port of each; roofs and users are generated.
    """
    source = master.name if copy else str(master)
    path = write_study(
        folder,
        ("net.json", source),
        ('file = "loads.csv"\npower_factor = 0.95', "snapshot = true"),
        (
            'id_column = "building_id"',
            'id_column = "building_id"\nport_column = "port"',
        ),
        ("[service]\namps = 63.0\n", ""),
        ("rated_kw = 5.0", f'rated_kw = 5.0\nphases = "{phases}"'),
        ("rated_kw = 12.5", f'rated_kw = 12.5\nphases = "{phases}"'),
        *edits,
    )
    if copy:
        shutil.copy(master, folder / master.name)
    places = [(LON + 4e-4 * k, LAT) for k in range(len(buildings))]
    roofs = gpd.GeoDataFrame(
        {"building_id": list(buildings), "port": list(buildings.values())},
        geometry=[shapely.box(x, y, x + 1e-4, y + 1e-4) for x, y in places],
        crs=4326,
    )
    roofs.to_parquet(folder / "roofs.parquet")
    return path


class Judge:
    """OpenDSS alone: which limits break with constant-power loads added at ports."""

    def __init__(
        self,
        master: Path,
        feeder: Feeder,
        limits: Limits,
        *,
        generation: bool = False,
    ) -> None:
        self.limits, self.feeder = limits, feeder
        self.engine = solved_engine(master)
        for name in self.engine.ActiveCircuit.Generators.AllNames:
            if name.lower() != "none" and not generation:  # off without a profile
                self._run(f"edit generator.{name} enabled=no")
        circuit = self.engine.ActiveCircuit
        self._run("solve")
        nodes = feeder.nodes[feeder.nodes["limited"].to_numpy(dtype=bool)]
        names = nodes["bus"] + "." + nodes["phases"].replace(_NUMBER)
        order = {str(n).lower(): k for k, n in enumerate(circuit.YNodeOrder)}
        self.names = names.to_numpy()
        self.at = np.array([order[name] for name in names])
        kv = nodes["voltage_kv"].to_numpy()
        self.volts = kv * 1e3 / np.sqrt(3.0)
        self.band = limits.voltage_min_of(kv), limits.voltage_max_of(kv)
        triples = nodes.assign(row=np.arange(len(nodes))).pivot_table(
            index="bus", columns="phases", values="row"
        )
        self.triples = (
            triples.reindex(columns=["A", "B", "C"]).dropna().astype(int)
            if limits.on("unbalance")
            else triples.iloc[:0]
        )
        terminals = feeder.terminals
        rated = terminals[terminals["rated_a"] > 0.0]
        rated = rated[rated["criterion"].isin(limits.criteria)]
        self.rated = rated.groupby("element")
        self.added: set[str] = set()
        self.base = self.broken({})

    def _run(self, command: str) -> None:
        self.engine.Text.Command = command

    def broken(
        self, added_kw: dict[str, float], *, power_factor: float = 0.98
    ) -> set[tuple[str, str]]:
        """Return the limits that are broken with added loads, by port."""
        for name in self.added:
            self._run(f"edit load.{name} enabled=no")
        for port, kw in added_kw.items():
            name = "added_" + "".join(c if c.isalnum() else "_" for c in port)
            row = self.feeder.ports.loc[port]
            signs = [_NUMBER.get(s, s) for s in row["phases"]]
            word = "edit" if name in self.added else "new"
            kv = self._kv(row)
            self._run(
                f"{word} load.{name} phases={3 if len(signs) == 3 else 1} "
                f"bus1={row['bus']}.{'.'.join(signs)} "
                f"conn={'delta' if row['node_return'] >= 0 else 'wye'} kv={kv} kw={kw} "
                f"pf={power_factor} model=1 status=fixed enabled=yes"
            )
            self._run(f"edit load.{name} {KEEP_MODEL}")
            self.added.add(name)
        self._run("solve mode=snapshot")
        circuit = self.engine.ActiveCircuit
        if not circuit.Solution.Converged:
            return {("power flow", "")}
        phasor = np.asarray(circuit.YNodeVarray).view(complex)[self.at] / self.volts
        v = np.abs(phasor)
        out = {("voltage", n) for n in self.names[v < self.band[0]]}
        out |= {("voltage high", n) for n in self.names[v > self.band[1]]}
        a, b, c = (phasor[self.triples[s].to_numpy(dtype=int)] for s in "ABC")
        turn = np.exp(2j * np.pi / 3.0)
        share = np.abs(a + turn**2 * b + turn * c) / np.abs(a + turn * b + turn**2 * c)
        over = share > self.limits.unbalance_max
        out |= {("unbalance", bus) for bus in self.triples.index[over]}
        for element, rows in self.rated:
            out |= over_rating(circuit, str(element), rows)
        return out

    def capacity(self, port: str) -> float:
        """Return the largest load that newly breaks nothing, by bisection. [kW]"""
        low, high = 0.0, 4.0
        while not self.broken({port: high}) - self.base:
            low, high = high, 2.0 * high
        while high - low > 0.002:
            middle = 0.5 * (low + high)
            if self.broken({port: middle}) - self.base:
                high = middle
            else:
                low = middle
        return low

    def _kv(self, row: Any) -> float:
        """Return the nominal voltage across a port. [kV]"""
        nodes = self.feeder.nodes
        kv = float(nodes.loc[nodes["bus"] == row["bus"], "voltage_kv"].iloc[0])
        if len(row["phases"]) == 1:
            return kv / np.sqrt(3.0)
        return 2.0 * kv / np.sqrt(3.0) if row["phases"] == "12" else kv
