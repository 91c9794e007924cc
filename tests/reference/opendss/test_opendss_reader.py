"""The reader of OpenDSS circuits against the OpenDSS engine itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse.linalg as sl

from gridsite.errors import ConfigError, FeederError
from gridsite.feeder.load_parts import profiles_of_parts, snapshot_profiles
from gridsite.feeder.powerflow import Block
from gridsite.feeder.profiles import constant_profiles
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.feeder.states import block_states
from gridsite.hosting.capacity import hosting_capacity
from gridsite.hosting.grid_case import GridCase
from gridsite.hosting.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from gridsite.feeder.model import Feeder

dss = pytest.importorskip("dss").dss

HERE = Path(__file__).parent
SHARED = [
    "ieee13/IEEE13Nodeckt.dss",
    "ieee34/ieee34Mod1.dss",
    "ieee37/ieee37.dss",
    "ieee123/IEEE123Master.dss",
    "european-lv/Master.dss",
    "ieee8500/Master.dss",
    "ckt5/Master_ckt5.dss",
]
_NUMBER = {"A": "1", "B": "2", "C": "3"}


def engine_on(master: Path) -> Any:
    """Return OpenDSS on a script: solved, load models kept, controls frozen."""
    engine = dss.NewContext()
    engine.Text.Command = f'redirect "{master}"'
    solution = engine.ActiveCircuit.Solution
    engine.Text.Command = "set maxiterations=500 maxcontroliter=200 tolerance=1e-10"
    engine.Text.Command = "solve mode=snapshot"
    engine.Text.Command = "batchedit load..* vminpu=0.1 vlowpu=0.05 vmaxpu=10"
    engine.Text.Command = "solve"
    engine.Text.Command = "set controlmode=off"
    engine.Text.Command = "solve"
    assert solution.Converged
    return engine


def solved(feeder: Feeder) -> np.ndarray:
    """Solve the file's own load by a plain fixed point. [pu]"""
    n, at_source = len(feeder.nodes), feeder.source_nodes
    free = np.setdiff1d(np.arange(n), at_source)
    y = feeder.y.tocsc()
    lu = sl.splu(y[free][:, free].tocsc())
    v = np.zeros(n, dtype=complex)
    v[at_source] = feeder.source_v
    no_load = lu.solve(-(y[free][:, at_source] @ feeder.source_v))
    v[free] = no_load
    ports = feeder.ports[feeder.ports["node"] >= 0]
    a, b = ports["node"].to_numpy(), ports["node_return"].to_numpy()
    p, q = (ports[c].to_numpy() / feeder.base_kva for c in ("p_kw", "q_kvar"))
    for _ in range(500):
        across = v[a] - np.where(b >= 0, v[b], 0.0)
        u = np.abs(across) / ports["rated_v_pu"].to_numpy()
        drawn = p * u ** ports["p_exponent"].to_numpy()
        drawn = drawn + 1j * q * u ** ports["q_exponent"].to_numpy()
        current = np.conj(drawn / across)
        into = np.zeros(n, dtype=complex)
        np.subtract.at(into, a, current)
        np.add.at(into, b[b >= 0], current[b >= 0])
        new = no_load + lu.solve(into[free])
        moved = np.abs(new - v[free]).max()
        v[free] = new
        if moved < 1e-12:
            break
    return v


def own_solution(feeder: Feeder) -> tuple[np.ndarray, float]:
    """Return gridsite's own power flow of the file's load, and its mismatch. [kVA]"""
    v = np.zeros(len(feeder.nodes), dtype=complex)
    v[feeder.source_nodes] = feeder.source_v
    ports, worst = feeder.ports, 0.0
    loads = constant_profiles(ports.index, ports["p_kw"], ports["q_kvar"])
    for feeder_id in feeder.nodes["feeder_id"].unique():
        if feeder_id != "":
            block = Block(feeder, feeder_id)
            found = block.solve(block_states(block, loads), np.zeros(1, dtype=int))
            v[block.nodes] = found.v[:, 0]
            worst = max(worst, float(found.residual_kva[0]))
    return v, worst


def engine_voltages(engine: Any, feeder: Feeder) -> np.ndarray:
    """Return OpenDSS's voltages of a feeder's nodes; NaN at inner nodes. [pu]"""
    circuit = engine.ActiveCircuit
    names = [str(name).lower() for name in circuit.YNodeOrder]
    volts = dict(zip(names, np.asarray(circuit.YNodeVarray).view(complex), strict=True))
    nodes = feeder.nodes
    keys = nodes["bus"] + "." + nodes["phases"].replace(_NUMBER)
    out = np.array([volts.get(key, np.nan) for key in keys])
    return out / (nodes["voltage_kv"].to_numpy() * 1e3 / np.sqrt(3.0))


@pytest.mark.parametrize("name", ["ieee13.dss", "house.dss", *SHARED])
def test_voltages_and_currents_are_those_of_opendss(
    name: str, shared: Callable[[str], Path]
) -> None:
    master = HERE / name if "/" not in name else shared(f"opendss/{name}")
    feeder = read_feeder(master)
    v, engine = solved(feeder), engine_on(master)
    reference = engine_voltages(engine, feeder)
    inner = np.isin(np.arange(len(v)), feeder.source_nodes)
    assert not np.isnan(reference[~inner]).any()
    assert np.abs(v - reference)[~inner].max() < 1e-6

    ours, worst = own_solution(feeder)
    assert np.abs(ours - reference)[~inner].max() < 1e-6
    assert worst < 1e-3 * feeder.base_kva

    currents = np.abs(feeder.terminal_y @ v) * feeder.terminals["base_a"].to_numpy()
    circuit, seen = engine.ActiveCircuit, 0
    own = feeder.terminals.assign(amps=currents)
    own = own[own["criterion"] != "source"]
    for element, rows in own.groupby("element"):
        circuit.SetActiveElement(element)
        amps = np.abs(np.asarray(circuit.ActiveCktElement.Currents).view(complex))
        for value in rows["amps"]:  # each is that of a conductor
            assert np.abs(amps - value).min() < 1e-4 * max(value, 1.0)
        seen += 1
    assert seen == len(feeder.elements)


def test_powers_are_those_of_opendss() -> None:
    feeder, engine = read_feeder(HERE / "house.dss"), engine_on(HERE / "house.dss")
    v = solved(feeder)
    ports = feeder.ports[feeder.ports["node"] >= 0]
    a, b = ports["node"].to_numpy(), ports["node_return"].to_numpy()
    u = np.abs(v[a] - np.where(b >= 0, v[b], 0.0)) / ports["rated_v_pu"]
    p = ports["p_kw"] * u ** ports["p_exponent"]
    loads = p.groupby(ports.index.str.split(": ").str[-1].str.split(".").str[0]).sum()
    circuit = engine.ActiveCircuit
    for name in ("legs", "across", "zip", "motor", "delta", "wye"):
        circuit.SetActiveElement(f"load.{name}")
        powers = np.asarray(circuit.ActiveCktElement.Powers).view(complex)
        assert loads[name] == pytest.approx(powers.sum().real, rel=1e-7)


def test_split_phase_ports_stand_on_legs() -> None:
    ports = read_feeder(HERE / "house.dss").ports
    assert ports.loc[["legs.1", "legs.2", "across"], "phases"].tolist() == [
        "1",
        "2",
        "12",
    ]
    # 4 kW at 208 V "between phases" are two legs of 2 kW at 120 V, times 1.1
    assert ports.loc["legs.1", "p_kw"] == pytest.approx(2.2)
    assert ports.loc["across", "p_kw"] == pytest.approx(3.0)  # status fixed
    house = 0.208e3 / np.sqrt(3.0)
    assert ports.loc["legs.1", "rated_v_pu"] * house == pytest.approx(120.1, abs=0.1)
    assert ports.loc["across", "rated_v_pu"] * house == pytest.approx(240.0)


def test_ratings_come_from_the_file_or_are_missing() -> None:
    feeder = read_feeder(HERE / "house.dss")
    rated = feeder.terminals.groupby(["element", "side"])["rated_a"].first()
    assert rated["Line.rated", "from"] == 400.0  # filed, though the engine's default
    assert np.isnan(rated["Line.bare", "from"])  # the engine's 400 A is no rating
    assert "Line.switch" not in feeder.elements.index
    assert "Line.bar" not in feeder.elements.index
    assert any("ampacity: not checked" in note for note in feeder.notes)
    # 25 kVA over 240 V, not over each half's 120 V
    assert rated["Transformer.pole", "lv"] == pytest.approx(25e3 / 240.0)
    assert rated["Transformer.pole", "hv"] == pytest.approx(25e3 / 7200.0)
    assert rated["Transformer.shop", "lv"] == pytest.approx(
        75e3 / (np.sqrt(3.0) * 208.0)
    )


def test_unsupplied_parts_are_named_and_their_loads_kept() -> None:
    feeder = read_feeder(HERE / "house.dss")
    assert feeder.unsupplied_buses == ("dark",)
    assert feeder.ports.loc["dark", "node"] == -1
    assert "dark" not in set(feeder.nodes["bus"])


def test_daily_shapes_become_profiles() -> None:
    feeder = read_feeder(HERE / "house.dss")
    profiles = feeder.profiles
    assert profiles is not None
    assert len(profiles.time) == 24
    p, _ = profiles.select(["legs.1", "across", "zip 1: zip"]).power_kw()
    assert p[:, 18] == pytest.approx([2.2, 3.0, 9.0 * 1.1 * 0.3])
    assert p[:, 0] == pytest.approx([0.66, 3.0, 9.0 * 1.1 * 0.3 * 0.3])
    own = GridCase(feeder, profiles, Limits())
    other = GridCase(feeder, snapshot_profiles(feeder), Limits())
    told = [sum("no calendar" in n for n in case.notes) for case in (own, other)]
    assert told == [1, 0]  # nothing of shapes where a run does not follow them


SHAPED = """clear
new circuit.shaped basekv=12.47 pu=1.0 bus1=head
new loadshape.part npts=6 interval=1 mult=[0.3 0.6 1 0.2 0.4 0.5] qmult=[1 2 3 1 2 3]
new loadshape.plain npts=3 interval=1 mult=[0.3 0.6 0.9]
new loadshape.kw npts=6 interval=1 useactual=yes mult=[3 4 5 6 7 2]
new loadshape.kva npts=6 interval=1 useactual=yes mult=[3 4 5 6 7 2] qmult=[1 2 1 2 1 2]
new line.l bus1=head bus2=a length=0.001 units=km normamps=400
new load.part bus1=a.1 phases=1 kv=7.2 kw=10 kvar=2 yearly=part
new load.plain bus1=a phases=3 kv=12.47 kw=30 kvar=6 yearly=plain
new load.kw bus1=a.1 phases=1 kv=7.2 kw=10 kvar=2 yearly=kw
new load.kva bus1=a phases=3 kv=12.47 kw=10 kvar=2 yearly=kva
new load.none bus1=a.1 phases=1 kv=7.2 kw=0 kvar=0 yearly=kva
new load.fixq bus1=a.1 phases=1 kv=7.2 kw=10 kvar=2 model=6 yearly=plain
new load.fixx bus1=a.1 phases=1 kv=7.2 kw=10 kvar=2 model=7 yearly=plain
new load.both bus1=a.1 phases=1 kv=7.2 kw=10 kvar=2 model=6 yearly=kva
new load.fixed bus1=a.1 phases=1 kv=7.2 kw=10 kvar=2 status=fixed yearly=plain
new load.exempt bus1=a.1 phases=1 kv=7.2 kw=10 kvar=2 status=exempt yearly=plain
new load.bare bus1=a.1 phases=1 kv=7.2 kw=10 kvar=2
set voltagebases=[12.47]
calcvoltagebases
set loadmult=1.5
"""


def test_loads_of_every_status_and_shape_draw_what_opendss_draws(
    tmp_path: Path,
) -> None:
    """Powers in the snapshot and at every step of the engine's yearly run."""
    path = tmp_path / "shaped.dss"
    path.write_text(SHAPED)
    feeder = read_feeder(path)
    assert feeder.profiles is not None
    p, q = feeder.profiles.power_kw()
    ids = feeder.profiles.port_ids
    name = pd.Series(ids).str.split(".").str[0].to_numpy()
    engine = dss.NewContext()
    for line in SHAPED.splitlines():
        engine.Text.Command = line

    def drawn(load: str) -> complex:
        engine.ActiveCircuit.SetActiveElement(f"load.{load}")
        return complex(
            engine.ActiveCircuit.ActiveCktElement.TotalPowers.view(complex)[0]
        )

    engine.Text.Command = "solve"
    filed = feeder.ports.groupby(feeder.ports.index.str.split(".").str[0])
    for load, ports in filed:
        s = complex(ports["p_kw"].sum(), ports["q_kvar"].sum())
        assert s == pytest.approx(drawn(load), abs=2e-3), load
    engine.Text.Command = "set mode=yearly stepsize=1h number=1 hour=0"
    for step in range(6):
        engine.Text.Command = "solve"
        for load in np.unique(name):
            at = name == load
            s = complex(p[at, step].sum(), q[at, step].sum())
            assert s == pytest.approx(drawn(load), abs=2e-3), (load, step)


def test_coordinates_are_placed_by_the_system_that_is_given(tmp_path: Path) -> None:
    path = tmp_path / "placed.dss"
    path.write_text(SHAPED + "buscoords places.csv\n")
    # Los Angeles City Hall, in feet of California's zone 5
    (tmp_path / "places.csv").write_text(
        "head, 6487800, 1842500\na, 6488000, 1842500\n"
    )
    nodes = read_feeder(path, crs="EPSG:2229").nodes
    assert nodes["lon"].to_numpy() == pytest.approx(-118.243, abs=0.01)
    assert nodes["lat"].to_numpy() == pytest.approx(34.054, abs=0.01)
    lost = read_feeder(path)
    assert lost.nodes["lon"].isna().all()
    assert any("--crs" in note for note in lost.notes)
    with pytest.raises(ConfigError, match="EPSG:999999"):
        read_feeder(path, crs="EPSG:999999")
    with pytest.raises(ConfigError, match="OpenDSS"):
        read_feeder("pandapower:create_kerber_dorfnetz", crs="EPSG:2229")


def test_a_shape_with_hours_of_its_own_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "hours.dss"
    shape = "new loadshape.plain npts=3 interval=0 hour=[0 6 12] mult=[0.3 0.6 0.9]"
    lines = SHAPED.splitlines()
    path.write_text("\n".join([*lines[:3], shape, *lines[4:]]))
    with pytest.raises(FeederError, match=r"loadshape\.plain .* interval"):
        read_feeder(path)


def test_a_profile_of_ones_own_drives_every_part_of_a_load() -> None:
    feeder = read_feeder(HERE / "house.dss")
    ports = feeder.load_ports
    loads = constant_profiles(ports.index, 2.0 * ports["p_kw"], ports["q_kvar"])
    # 18 kW instead of 9 for the load, of which the file gives 0.2 to constant power
    whole = 2.0 * ports.loc["zip", "p_kw"]
    driven = profiles_of_parts(loads, feeder.ports)
    p, _ = driven.select(["zip", "zip 1: zip", "zip 2: zip"]).power_kw()
    assert p[:, 0] == pytest.approx([0.2 * whole, 0.3 * whole, 0.5 * whole])


@pytest.mark.parametrize(
    ("line", "error"),
    [
        ("new isource.x bus1=a amps=10", "isource"),
        ("new generator.hold bus1=a kv=12.47 kw=10 model=3", "model 3"),
        ("new load.odd bus1=shop kv=0.208 kw=1 model=8 zipv=[1 0 0 1 0 0 0.9]", "cuts"),
        ("clear", "no circuit"),
    ],
)
def test_what_cannot_be_carried_is_refused_by_name(
    line: str, error: str, tmp_path: Path
) -> None:
    script = (HERE / "house.dss").read_text().replace("set loadmult=1.1", line)
    path = tmp_path / "odd.dss"
    path.write_text(script if line != "clear" else line)
    with pytest.raises(FeederError, match=error):
        read_feeder(path)


def test_a_bus_without_a_base_is_named(tmp_path: Path) -> None:
    text = (HERE / "house.dss").read_text()
    path = tmp_path / "bare.dss"
    path.write_text(text.split("set voltagebases")[0])
    with pytest.raises(FeederError, match="VoltageBases"):
        read_feeder(path)


def test_coordinates_count_where_they_are_degrees(tmp_path: Path) -> None:
    text = (HERE / "house.dss").read_text()
    (tmp_path / "house.dss").write_text(text + "buscoords xy.csv\n")
    xy = tmp_path / "xy.csv"
    xy.write_text("head, 8.000, 48.0\na, 8.010, 48.0\nb, 8.0165, 48.0\n")
    feeder = read_feeder(tmp_path / "house.dss")
    assert feeder.nodes.set_index("bus").loc["b", "lon"].iloc[0] == 8.0165
    # degrees by their size, but metres by the lines' lengths: a schematic
    xy.write_text("head, 0, 0\na, 80, 0\nb, 130, 0\n")
    feeder = read_feeder(tmp_path / "house.dss")
    assert feeder.nodes["lon"].isna().all()
    assert any("coordinates" in note for note in feeder.notes)


def test_a_missing_script_and_a_balanced_reading_are_refused() -> None:
    with pytest.raises(ConfigError, match="not a file"):
        read_feeder("nowhere/master.dss")
    with pytest.raises(ConfigError, match="phases"):
        read_feeder(HERE / "house.dss", three_phase=False)


@pytest.mark.parametrize(
    ("option", "words"),
    [("year=5", "lets loads grow"), ("loadmodel=admittance", "as impedances")],
)
def test_options_that_change_all_loads_are_refused_by_name(
    tmp_path: Path, option: str, words: str
) -> None:
    script = (HERE / "house.dss").read_text(encoding="utf-8")
    path = tmp_path / "m.dss"
    path.write_text(f"{script}\nset {option}\n", encoding="utf-8")
    with pytest.raises(FeederError, match=words):
        read_feeder(path)


def test_an_autotransformer_is_unrated_and_named(tmp_path: Path) -> None:
    path = tmp_path / "m.dss"
    path.write_text(
        "clear\nnew circuit.c basekv=12.47 bus1=s\n"
        "new line.l bus1=s bus2=a r1=.3 x1=.4 length=1 normamps=300\n"
        "new autotrans.at windings=2 buses=(a far) kvs=(12.47 6.9) kvas=(2000 2000)\n"
        "new load.f bus1=far phases=3 kv=6.9 kw=300\n"
        "set voltagebases=[12.47 6.9]\ncalcvoltagebases\n",
        encoding="utf-8",
    )
    feeder = read_feeder(path)
    rated = feeder.terminals.set_index("element")["rated_a"]
    assert rated["AutoTrans.at"].isna().all()
    assert rated["Line.l"].eq(300.0).all()
    assert any("1 autotransformer(s)" in note for note in feeder.notes)
    rows = hosting_capacity(feeder, snapshot_profiles(feeder))
    assert set(rows["firm_status"]) == {"unrated"}
