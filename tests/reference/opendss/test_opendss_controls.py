"""Regulators and capacitors that act, against OpenDSS's own quasi-static runs."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from gridsite.errors import DataError
from gridsite.feeder.acting_controls import Course, let_controls_act
from gridsite.feeder.controls import feeder_at
from gridsite.feeder.powerflow import Block
from gridsite.feeder.profiles import dense_profiles
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.hosting.grid_case import port_profiles

if TYPE_CHECKING:
    from collections.abc import Callable

    from gridsite.feeder.model import Feeder
    from gridsite.feeder.profiles import Profiles

dss = pytest.importorskip("dss").dss

HERE = Path(__file__).parent
_NUMBER = {"A": "1", "B": "2", "C": "3"}

#: Settings that make the capacitors of Ckt5 move in its first week.
_CKT5 = {
    "voltage": "type=voltage ONsetting=122 OFFsetting=124.8",
    "current": "type=current CTratio=1 ONsetting=3 OFFsetting=2.3",
    "kvar": "type=kvar ONsetting=-200 OFFsetting=-300",
    "override": "type=kvar ONsetting=9999 OFFsetting=-9999 "
    "voltOverride=yes vmin=122 vmax=124.8",
}


def engine_on(master: Path) -> Any:
    """Return OpenDSS on a script, with load models kept and controls acting."""
    engine = dss.NewContext()
    engine.AllowForms = False
    engine.Text.Command = f'redirect "{master}"'
    engine.Text.Command = "set maxiterations=500 maxcontroliter=200 tolerance=1e-10"
    engine.Text.Command = "solve mode=snapshot"
    engine.Text.Command = "batchedit load..* vminpu=0.1 vlowpu=0.05 vmaxpu=10"
    engine.Text.Command = "solve"
    return engine


def stands(engine: Any, feeder: Feeder, positions: list[int] | None = None) -> Any:
    """Return where the engine's controls stand, after moving them if given."""
    circuit, out = engine.ActiveCircuit, []
    for k, control in enumerate(feeder.controls):
        if control.kind == "regulator":
            reg = circuit.RegControls
            reg.Name = control.name.split(".", 1)[1]
            if positions is not None:
                reg.TapNumber = positions[k]
            out.append(int(reg.TapNumber))
        else:
            bank = circuit.Capacitors
            bank.Name = control.element.split(".", 1)[1]
            if positions is not None:
                off = control.highest - positions[k]
                bank.States = [1] * positions[k] + [0] * off
            out.append(int(np.sum(bank.States)))
    return out


def seen_by(engine: Any, nodes: pd.DataFrame) -> np.ndarray:
    """Return OpenDSS's voltages of nodes. [pu]"""
    circuit = engine.ActiveCircuit
    names = [str(name).lower() for name in circuit.YNodeOrder]
    volts = dict(zip(names, np.asarray(circuit.YNodeVarray).view(complex), strict=True))
    keys = nodes["bus"] + "." + nodes["phases"].replace(_NUMBER)
    base = nodes["voltage_kv"].to_numpy() * 1e3 / np.sqrt(3.0)
    return np.array([volts[key] for key in keys]) / base


def part_of(feeder: Feeder) -> str:
    (feeder_id,) = set(feeder.nodes["feeder_id"]) - {""}
    return str(feeder_id)


def scaled(
    feeder: Feeder, multiples: np.ndarray, fixed: frozenset[str] = frozenset()
) -> Profiles:
    """Return the file's load times each of some multiples, but not what is fixed."""
    time = pd.date_range("2023-01-01", periods=len(multiples), freq="h", tz="UTC")
    of = feeder.ports.index.str.split(": ").str[-1].str.split(".").str[0]
    times = np.where(of.isin(fixed), 1.0, multiples[:, None])
    p, q = (
        pd.DataFrame(times * feeder.ports[c].to_numpy(), columns=feeder.ports.index)
        for c in ("p_kw", "q_kvar")
    )
    return dense_profiles(time, p, q_kvar=q)


def unequal(
    course: Course, engine: Any, feeder: Feeder, solve: Callable[[int], None]
) -> tuple[int, float]:
    """Return steps with other positions, and the largest difference of voltage."""
    nodes = feeder.nodes.iloc[Block(feeder, part_of(feeder)).nodes]
    count, worst = 0, 0.0
    for step in range(len(course.positions)):
        solve(step)
        if stands(engine, feeder) != course.positions[step].tolist():
            count += 1
        else:
            found = np.abs(seen_by(engine, nodes) - course.v[:, step]).max()
            worst = max(worst, float(found))
    return count, worst


@pytest.mark.parametrize(
    ("name", "neutral", "tolerance"),
    [
        ("ieee13.dss", True, 1e-6),
        ("ieee13/IEEE13Nodeckt.dss", True, 1e-6),
        # at neutral taps and full load its voltages collapse
        ("ieee34/ieee34Mod1.dss", False, 1e-5),
        # its regulators are all that ties the network to earth, by parts per million
        ("ieee37/ieee37.dss", True, 1e-5),
        ("ieee123/IEEE123Master.dss", True, 1e-6),
        # with nine single-phase capacitors by kvar and voltage; has fixed loads
        pytest.param("ieee8500/Master.dss", True, 1e-6, marks=pytest.mark.slow),
    ],
)
def test_regulators_stand_where_opendss_leaves_them(
    name: str, neutral: bool, tolerance: float, shared: Callable[[str], Path]
) -> None:
    master = HERE / name if "/" not in name else shared(f"opendss/{name}")
    feeder, engine = read_feeder(master), engine_on(master)
    filed = [control.position for control in feeder.controls]
    assert stands(engine, feeder) == filed
    rng = np.random.default_rng(0)
    multiples = np.concatenate([[1.0], rng.uniform(0.2, 1.2, 23)])
    if "8500" in name:
        multiples = np.concatenate([[1.0], rng.uniform(0.6, 1.0, 9)])
    fixed = {str(load.Name) for load in engine.ActiveCircuit.Loads if load.Status}
    start = filed
    if neutral:
        start = [int(c.kind == "capacitor") for c in feeder.controls]
    drawn = scaled(feeder, multiples, frozenset(fixed))
    course = let_controls_act(feeder, part_of(feeder), drawn, start=start)
    assert course.settled.all()
    stands(engine, feeder, start)

    def solve(step: int) -> None:
        solution = engine.ActiveCircuit.Solution
        solution.LoadMult = float(multiples[step])
        solution.Hour = 24 * (step + 1)  # past the dead time of capacitors
        solution.Solve()

    count, worst = unequal(course, engine, feeder, solve)
    assert count == 0
    assert worst < tolerance
    assert len(np.unique(course.positions, axis=0)) > 5


@pytest.mark.parametrize("kind", ["as filed", *_CKT5])
def test_capacitors_of_ckt5_over_a_week(
    kind: str, shared: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "ckt5"
    shutil.copytree(shared("opendss/ckt5/Master_ckt5.dss").parent, folder)
    if kind in _CKT5:
        script = folder / "Capacitors_ckt5.dss"
        lines = script.read_text().splitlines()
        own = [
            f"{line} {_CKT5[kind]}" if line.startswith("New CapControl") else line
            for line in lines
        ]
        script.write_text("\n".join(own))
    master = folder / "Master_ckt5.dss"
    feeder, engine = read_feeder(master), engine_on(master)
    n, every = 168, port_profiles(feeder, feeder.profiles)
    week = replace(
        every,
        time=every.time[:n],
        p_shapes=every.p_shapes[:, :n],
        q_shapes=every.q_shapes[:, :n],
    )
    start = [1] * len(feeder.controls)
    course = let_controls_act(feeder, part_of(feeder), week, start=start)
    assert course.settled.all()
    stands(engine, feeder, start)
    engine.Text.Command = "set mode=yearly stepsize=1h number=1 controlmode=static"
    engine.Text.Command = "set hour=0"
    count, worst = unequal(
        course, engine, feeder, lambda _: engine.ActiveCircuit.Solution.Solve()
    )
    assert count == 0
    assert worst < 1e-6
    if kind in _CKT5:
        assert (np.diff(course.positions, axis=0) != 0).sum() > 3


def test_a_feeder_moved_and_moved_back_is_the_same() -> None:
    feeder = read_feeder(HERE / "ieee13.dss")
    filed = [control.position for control in feeder.controls]
    moved = feeder_at(feeder, [control.lowest for control in feeder.controls])
    assert abs(moved.y - feeder.y).max() > 0.0
    back = feeder_at(moved, filed)
    assert abs(back.y - feeder.y).max() < 1e-9 * abs(feeder.y).max()
    assert abs(back.terminal_y - feeder.terminal_y).max() < 1e-9 * abs(feeder.y).max()


def test_currents_of_a_moved_feeder_are_those_of_opendss() -> None:
    master = HERE / "ieee13.dss"
    feeder, engine = read_feeder(master), engine_on(master)
    positions = [3, -2, 5]
    stands(engine, feeder, positions)
    engine.Text.Command = "set controlmode=off"
    engine.Text.Command = "solve"
    moved = feeder_at(feeder, positions)
    v = np.zeros(len(feeder.nodes), dtype=complex)
    v[feeder.source_nodes] = feeder.source_v
    at = Block(feeder, part_of(feeder)).nodes
    v[at] = seen_by(engine, feeder.nodes.iloc[at])
    terminals = moved.terminals
    amps = np.abs(moved.terminal_y @ v) * terminals["base_a"].to_numpy()
    for control in feeder.controls:
        engine.ActiveCircuit.SetActiveElement(control.element)
        powers = np.asarray(engine.ActiveCircuit.ActiveCktElement.Currents)
        own = amps[(terminals["element"] == control.element).to_numpy()]
        assert len(own)
        for value in own:
            gap = np.abs(np.abs(powers.view(complex)) - value).min()
            assert gap < 1e-4 * max(value, 1.0)


def test_a_start_outside_the_range_is_refused() -> None:
    feeder = read_feeder(HERE / "ieee13.dss")
    start = [control.highest + 1 for control in feeder.controls]
    with pytest.raises(DataError, match=r"position 17 is outside -16 to 16"):
        let_controls_act(
            feeder, part_of(feeder), scaled(feeder, np.ones(1)), start=start
        )


def minutes(feeder: Feeder, multiples: np.ndarray) -> Profiles:
    """Return the file's load times each of some multiples, a minute each."""
    hours = scaled(feeder, multiples)
    time = pd.date_range("2023-01-01", periods=len(multiples), freq="min", tz="UTC")
    return replace(hours, time=time)


def test_dead_time_of_capacitors_is_that_of_opendss(tmp_path: Path) -> None:
    master = tmp_path / "master.dss"
    text = (HERE / "ieee13.dss").read_text().replace("x=9\n", "x=9 delay=60\n")
    control = (
        "new capcontrol.c675 capacitor=675 element=line.692675 type=voltage "
        "ptratio=20 onsetting=118 offsetting=124 delay=15 deadtime=300\n"
    )
    master.write_text(text.replace("set voltagebases", control + "set voltagebases"))
    feeder, engine = read_feeder(master), engine_on(master)
    assert [c.dead_time for c in feeder.controls if c.kind == "capacitor"] == [300.0]
    filed = [control.position for control in feeder.controls]
    multiples = np.random.default_rng(4).uniform(0.2, 1.1, 60)
    drawn = minutes(feeder, multiples)
    course = let_controls_act(feeder, part_of(feeder), drawn)
    stands(engine, feeder, filed)

    def solve(step: int) -> None:
        solution = engine.ActiveCircuit.Solution
        solution.LoadMult = float(multiples[step])
        solution.Hour, solution.Seconds = 24, 60.0 * step
        solution.Solve()

    count, worst = unequal(course, engine, feeder, solve)
    assert count == 0
    assert worst < 1e-6
    hasty = [replace(control, dead_time=0.0) for control in feeder.controls]
    other = let_controls_act(
        replace(feeder, controls=tuple(hasty)), part_of(feeder), drawn
    )
    assert (other.positions != course.positions).any()


@pytest.mark.parametrize(
    ("edit", "why"),
    [
        ("regcontrol.reg1.LDC_Z=2", "drop compensation by LDC_Z"),
        ("regcontrol.reg1.cogen=yes", "cogeneration mode"),
        ("regcontrol.reg1.reversible=yes", "reversible"),
        ("regcontrol.reg1.inversetime=yes", "inverse time"),
        ("new swtcontrol.s switchedobj=line.671692 switchedterm=1", "not modelled"),
        (
            "new capcontrol.c capacitor=d element=line.692675 type=voltage",
            "connected in delta",
        ),
    ],
)
def test_controls_that_are_not_modelled_are_named(
    edit: str, why: str, tmp_path: Path
) -> None:
    master = tmp_path / "master.dss"
    more = "new capacitor.d bus1=633 phases=3 kvar=50 kv=4.16 conn=delta\n" + edit
    text = (HERE / "ieee13.dss").read_text()
    master.write_text(text.replace("set voltagebases", more + "\nset voltagebases"))
    feeder = read_feeder(master)
    (note,) = [note for note in feeder.notes if "stay frozen even" in note]
    assert why in note
    name = edit.removeprefix("new ").split()[0].split("=")[0]
    assert ".".join(name.split(".")[:2]) in note
    assert all(control.name not in note for control in feeder.controls)
