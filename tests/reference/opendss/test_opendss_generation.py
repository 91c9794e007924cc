"""What generators and PV systems give over a year, against OpenDSS's yearly run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from gridsite.feeder.feed_in import without_generation
from gridsite.feeder.powerflow import Block
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.feeder.states import block_states
from gridsite.hosting.grid_case import port_profiles
from gridsite.rating_case import LoadChoice

if TYPE_CHECKING:
    from pathlib import Path

    from gridsite.feeder.model import Feeder

dss = pytest.importorskip("dss").dss

STEPS = 24

#: Settings of PV systems on ``kv=0.4 kva=10 pmpp=12 irradiance=0.95``.
PANELS = {
    "plain": "",
    "pf": "pf=0.95",
    "leading": "pf=-0.9",
    "kvar": "kvar=4",
    "watts": "pf=0.9 wattpriority=yes",
    "asleep": "kvar=2 varfollowinverter=yes",
    "capped": "%pmpp=50 pf=0.98",
    "few kvar": "pf=0.8 kvarmax=2 kvarmaxabs=2",
    "starts": "%cutin=40 %cutout=10",
    "curves": "effcurve=eff p-tcurve=warm tdaily=degrees pf=0.97",
    "constant": "effcurve=eff p-tcurve=warm temperature=60",
    "daily": "daily=sun",
    "delta": "conn=delta",
}

CIRCUIT = """clear
new circuit.sunny basekv=12.47 pu=1.0 bus1=head mvasc3=2000
new transformer.t phases=3 windings=2 xhl=4 buses=[head a] conns=[delta wye]
~ kvs=[12.47 0.4] kvas=[500 500]
new xycurve.eff npts=4 xarray=[.1 .2 .4 1.0] yarray=[.86 .9 .93 .97]
new xycurve.warm npts=4 xarray=[0 25 75 100] yarray=[1.2 1.0 0.8 0.6]
new loadshape.sun npts=24 interval=1
~ mult=[0 0 0 0 0 .05 .2 .4 .15 .3 .8 .95 1 .97 .7 .4 .12 .3 .1 .02 0 0 0 0]
new loadshape.weather npts=12 interval=2 mult=[0 0 0 .2 .5 .9 1 .8 .6 .3 0 0]
new loadshape.house npts=24 interval=1
~ mult=[.3 .3 .3 .3 .3 .4 .6 .7 .6 .5 .5 .5 .6 .5 .4 .4 .6 .9 1 1 .8 .6 .5 .4]
new loadshape.kw npts=6 interval=1 useactual=yes mult=[3 4 5 6 7 2] qmult=[1 2 1 0 1 1]
new tshape.degrees npts=24 interval=1
~ temp=[5 5 5 5 6 8 12 20 28 36 44 52 58 60 57 50 41 32 24 18 14 10 8 -6]
new line.l bus1=a bus2=b length=0.1 units=km r1=0.2 x1=0.08 r0=0.6 x0=0.2 normamps=400
new load.home bus1=b phases=3 kv=0.4 kw=30 kvar=6 yearly=house
new generator.chp bus1=b phases=3 kv=0.4 kw=8 kvar=2 yearly=house
new generator.one bus1=b.2 phases=1 kv=0.23094 kw=2 pf=0.9 yearly=house
new generator.actual bus1=b phases=3 kv=0.4 kw=20 kvar=2 yearly=kw
set genmult=0.9
"""
ENDS = ["set voltagebases=[12.47 0.4]", "calcvoltagebases"]


def panel(name: str, settings: str, *, shape: str = "yearly=sun") -> str:
    if "daily=sun" in settings:
        shape = ""
    return (
        f"new pvsystem.{name.replace(' ', '_')} bus1=b phases=3 kv=0.4 kva=10 pmpp=12 "
        f"irradiance=0.95 {shape} {settings}"
    )


def read(folder: Path, *extra: str, circuit: str = CIRCUIT) -> tuple[Feeder, list[str]]:
    lines = [*circuit.splitlines(), *extra, *ENDS]
    path = folder / "sunny.dss"
    path.write_text("\n".join(lines) + "\n")
    return read_feeder(path), lines


def run(lines: list[str], mode: str = "yearly") -> Any:
    """Return OpenDSS before the first step of a run over time, models kept."""
    engine = dss.NewContext()
    for line in lines:
        engine.Text.Command = line
    for kind in ("load", "generator", "pvsystem"):
        engine.Text.Command = f"batchedit {kind}..* vminpu=0.1 vmaxpu=10"
    engine.Text.Command = "set tolerance=1e-9 maxiterations=500 controlmode=off"
    engine.Text.Command = "solve mode=snapshot"
    engine.Text.Command = f"set mode={mode} stepsize=1h number=1 hour=0"
    return engine


def given(feeder: Feeder) -> pd.DataFrame:
    """Return what every generator gives at every step. [kVA]"""
    profiles = feeder.profiles
    assert profiles is not None
    p, q = profiles.power_kw()
    kind = feeder.ports["kind"].reindex(profiles.port_ids)
    element = (
        profiles.port_ids.str.replace(": ", ".").str.split(".").str[:2].str.join(".")
    )
    table = pd.DataFrame(-(p + 1j * q), index=element)[kind.eq("generation").to_numpy()]
    return table.groupby(level=0).sum()


def test_generators_and_panels_give_what_opendss_gives(tmp_path: Path) -> None:
    extra = [panel(name, settings) for name, settings in PANELS.items()]
    feeder, lines = read(tmp_path, *extra)
    ours = given(feeder)
    assert len(ours) == len(PANELS) + 3
    assert not any("not carried" in note for note in feeder.notes)
    engine = run(lines)
    for step in range(STEPS):
        engine.Text.Command = "solve"
        for name in ours.index:
            engine.ActiveCircuit.SetActiveElement(name)
            powers = engine.ActiveCircuit.ActiveCktElement.TotalPowers
            known = -complex(powers.view(complex)[0])
            assert ours.loc[name, step] == pytest.approx(known, abs=2e-6), (name, step)


def test_daily_shapes_are_those_of_the_daily_run(tmp_path: Path) -> None:
    """Its yearly run has a generator with a daily shape at full power."""
    lone = "new generator.day bus1=b phases=3 kv=0.4 kw=5 kvar=1 daily=house"
    feeder, lines = read(tmp_path, lone, panel("roof", "daily=sun pf=0.9"))
    ours, engine = given(feeder), run(lines, "daily")
    for step in range(STEPS):
        engine.Text.Command = "solve"
        for name in ("generator.day", "pvsystem.roof"):
            engine.ActiveCircuit.SetActiveElement(name)
            powers = engine.ActiveCircuit.ActiveCktElement.TotalPowers
            known = -complex(powers.view(complex)[0])
            assert ours.loc[name, step] == pytest.approx(known, abs=2e-6), (name, step)


def test_a_coarse_shape_is_held_over_its_own_step(tmp_path: Path) -> None:
    feeder, _ = read(tmp_path, panel("roof", "", shape="yearly=weather"))
    kw = given(feeder).loc["pvsystem.roof"].to_numpy().real
    shape = np.repeat([0, 0, 0, 0.2, 0.5, 0.9, 1, 0.8, 0.6, 0.3, 0, 0], 2)
    assert kw == pytest.approx(np.minimum(12 * 0.95 * shape, 10.0), abs=1e-9)


def test_voltages_with_generation_are_those_of_the_yearly_run(tmp_path: Path) -> None:
    extra = [panel("roof", "pf=0.95"), panel("shed", "phases=1 bus1=b.1 kv=0.23094")]
    feeder, lines = read(tmp_path, *extra)
    engine = run(lines)
    assert feeder.profiles is not None
    loads = port_profiles(feeder, feeder.profiles)
    block = Block(feeder, feeder.nodes["feeder_id"].iloc[0])
    found = block.solve(block_states(block, loads), np.arange(STEPS))
    nodes = feeder.nodes.iloc[block.nodes]
    names = nodes["bus"] + "." + nodes["phases"].replace({"A": "1", "B": "2", "C": "3"})
    base = nodes["voltage_kv"].to_numpy() * 1e3 / np.sqrt(3.0)
    for step in range(STEPS):
        engine.Text.Command = "solve"
        circuit = engine.ActiveCircuit
        volts = np.abs(np.asarray(circuit.YNodeVarray).view(complex))
        known = pd.Series(volts, [name.lower() for name in circuit.YNodeOrder])
        pu = known.reindex(names).to_numpy() / base
        real = ~np.isnan(pu)
        assert real.sum() == 9
        assert np.abs(found.v[real, step]) == pytest.approx(pu[real], abs=1e-6), step


def test_generation_off_leaves_generators_and_panels_out(tmp_path: Path) -> None:
    feeder, _ = read(tmp_path, panel("roof", ""))
    assert feeder.profiles is not None
    on = LoadChoice(generation="profile")(feeder)
    off = LoadChoice(generation="off")(feeder)
    assert off.port_ids.equals(without_generation(on, feeder).port_ids)
    assert set(on.port_ids) - set(off.port_ids) == {
        *(f"pvsystem: roof.{phase}" for phase in "ABC"),
        *(
            f"generator: {name}.{phase}"
            for name in ("chp", "actual")
            for phase in "ABC"
        ),
        "generator: one",
    }
    assert on.total_kw()[12] < off.total_kw()[12] - 10.0


@pytest.mark.parametrize(
    "element",
    [
        panel("odd", "pf=0.9 pfpriority=yes"),
        panel("odd", "pf=0.9 %pminnovars=20"),
        panel("odd", "pf=0.9 %pminkvarmax=50"),
        panel("odd", "limitcurrent=yes"),
        panel("odd", "kvar=4 wattpriority=yes"),
        panel("odd", "irradiance=0.1 kvar=4 varfollowinverter=yes"),
        panel("odd", "%cutin=10 %cutout=20"),
        "new generator.odd bus1=b kv=0.4 kw=5 yearly=sun dispmode=load dispvalue=9",
    ],
)
def test_what_is_not_carried_is_off_and_named(tmp_path: Path, element: str) -> None:
    feeder, _ = read(tmp_path, element)
    assert not any("odd" in name for name in given(feeder).index)
    (note,) = (note for note in feeder.notes if "not carried" in note)
    assert "odd" in note


@pytest.mark.parametrize(
    "element",
    [
        "new generator.bare bus1=b kv=0.4 kw=5",
        "new generator.bare bus1=b kv=0.4 kw=5 yearly=sun status=fixed",
        panel("bare", "", shape=""),
    ],
)
def test_generators_without_a_shape_are_off(tmp_path: Path, element: str) -> None:
    feeder, _ = read(tmp_path, element)
    assert len(given(feeder)) == 3
    assert any("3 of 4 generator(s)" in note for note in feeder.notes)
    assert not any("not carried" in note for note in feeder.notes)


def test_storage_keeps_its_snapshot(tmp_path: Path) -> None:
    storage = "new storage.box bus1=b phases=3 kv=0.4 kwrated=9 kwhrated=20"
    feeder, _ = read(tmp_path, f"{storage} state=discharging %discharge=100")
    assert feeder.profiles is not None
    ids = [f"storage: box.{phase}" for phase in "ABC"]
    p, _q = feeder.profiles.select(ids).power_kw()
    assert p.sum(axis=0) == pytest.approx(np.full(STEPS, -9.0), abs=0.5)
