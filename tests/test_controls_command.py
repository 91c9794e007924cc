"""Regulators and capacitors that act, from the command and from a study file."""

from __future__ import annotations

import json

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest

from gridsite import Study, run_study
from gridsite.errors import ConfigError
from gridsite.hosting.ac_replay import replay_loads
from gridsite.hosting.capacity import hosting_capacity

pytest.importorskip("dss")

#: Generated: two streets behind a transformer whose taps hold its phase 1.
CIRCUIT = """clear
new circuit.two basekv=20 pu=1.0 bus1=mv mvasc3=500 mvasc1=500
new transformer.sub phases=3 windings=2 buses=[mv bar] conns=[delta wye] kvs=[20 0.4]
~ kvas=[63 63] xhl=6 %r=1.5
new regcontrol.reg transformer=sub winding=2 vreg=230 band=1.6 ptratio=1
new linecode.nayy nphases=3 r1=0.64 x1=0.083 r0=1.3 x0=0.3 c1=0 c0=0 units=km
~ normamps=142
"""
END = "set voltagebases=[20 0.4]\ncalcvoltagebases\nbuscoords coords.csv\n"


@pytest.fixture
def write(make_study, tmp_path):
    """Return a function that writes the tiny study with an OpenDSS circuit."""

    def make(*edits, kva=63):
        source = ('source = "net.json"', 'source = "net.dss"\ncontrols = "acting"')
        kinds = 'criteria = ["voltage", "line current", "transformer current"]'
        limits = ('preset = "EN50160"', f'preset = "EN50160"\n{kinds}')
        study = make_study(tmp_path / "study", source, limits, *edits)
        lines, coords = [CIRCUIT], []
        centres = gpd.read_parquet(study.with_name("roofs.parquet"))
        for k, row in enumerate(centres.itertuples()):
            house = row.building_id.split()[-1].lower()
            last = "bar" if house[1] == "1" else f"{house[0]}{int(house[1]) - 1}"
            lines.append(
                f"new line.{house} bus1={last} bus2={house} linecode=nayy "
                f"length=0.04 units=km\nnew load.{house} bus1={house}.{k % 3 + 1} "
                "phases=1 kv=0.231 kw=3 kvar=1\n"
            )
            at = row.geometry.centroid
            coords.append(f"{house},{at.x},{at.y}")
        coords += [f"{bus},{at.x - 0.001},{at.y}" for bus in ("bar", "mv")]
        study.with_name("net.dss").write_text(
            "".join([*lines, END]).replace("63", str(kva))
        )
        study.with_name("coords.csv").write_text("\n".join(coords))
        table = pd.read_csv(study.with_name("loads.csv"))
        table.rename(columns=str.lower).to_csv(
            study.with_name("loads.csv"), index=False
        )
        return study

    return make


def test_the_command_rates_with_acting_controls_and_says_so(call, write, tmp_path):
    folder = write().parent
    arguments = ("hosting", folder / "net.dss", "--profiles", folder / "loads.csv")
    told = {}
    for mode in ("frozen", "acting"):
        out = tmp_path / mode
        code, _, err = call(*arguments, "--out", out, "--controls", mode)
        assert code == 0, err
        told[mode] = json.loads((out / "summary.json").read_text("utf-8"))
        assert told[mode]["controls"]["mode"] == mode
        assert told[mode]["controls"]["count"] == 1
    assert told["acting"]["controls"]["operations"] > 0
    assert told["acting"]["controls"]["settings"] > 1
    table = pd.read_parquet(tmp_path / "acting" / "hosting.parquet")
    rated = table[(table["firm_status"] == "ok") & (table["limit_criterion"] != "")]
    for name in rated["building_id"].head(3):
        code, words, err = call("explain", tmp_path / "acting", name)
        assert code == 0, err
        assert "controls" in words
        assert "regcontrol.reg" in words
    assert any("controls frozen: 1" in t for t in told["frozen"]["assumptions"])
    assert any("controls act: 1" in t for t in told["acting"]["assumptions"])
    table = pd.read_parquet(tmp_path / "acting" / "hosting.parquet")
    assert (np.isfinite(table["standing_kw"]) | (table["firm_status"] != "ok")).all()
    code, _, err = call(*arguments, "--out", tmp_path / "no", "--controls", "x")
    assert code == 2


def test_a_study_lets_controls_act_in_rows_and_replay(write):
    study = Study.read(write())
    feeder = study.feeder()
    grids = study.grids(feeder)
    grid = grids.heaviest
    assert grid.course is not None
    assert grid.course.operations > 0
    rows, terms, _ = grids.rows(pd.Series(["a1", "b4", ""]))
    assert set(terms["port_id"]) == {"a1", "b4"}
    assert set(rows["time"]) <= set(grid.profiles.time)
    table = hosting_capacity(feeder, grid.profiles, grid=grid).set_index("port_id")
    plan = table.loc[["a1"], "firm_kw"]
    assert replay_loads(feeder, grid.profiles, plan, grid=grid).summary["new"] == 0
    more = replay_loads(feeder, grid.profiles, 1.02 * plan, grid=grid)
    assert more.summary["new"] > 0


def test_a_study_plans_and_replays_with_acting_controls(write):
    known = [
        (f'unit = "{name}"\nrated_kw', f'unit = "{name}"\nphases = "known"\nrated_kw')
        for name in ("small", "large")
    ]
    run = run_study(Study.read(write(*known, kva=160)))
    assert run.summary["controls"]["mode"] == "acting"
    assert run.summary["controls"]["operations"] > 0
    assert run.summary["units"] > 0
    assert run.summary["replay"]["new"] == run.summary["replay"]["worsened"] == 0


def test_a_study_refuses_works_and_taps_beside_acting_controls(make_study, tmp_path):
    keys = 'source = "net.json"\ncontrols = "acting"\ntaps = "acting"'
    with pytest.raises(ConfigError, match="cannot both"):
        Study.read(make_study(tmp_path / "study", ('source = "net.json"', keys)))
