"""Tap changers that act, from the command and from a study file."""

from __future__ import annotations

import json
import sys

import pandapower as pp
import pandas as pd
import pytest

from gridsite import Study, cli
from gridsite.errors import ConfigError
from gridsite.feeder.taps import TapControl
from gridsite.hosting.grid_case import GridCase


def add_taps(path):
    """Give the transformers of a network file tap changers."""
    net = pp.from_json(str(path))
    net.trafo = net.trafo.assign(
        tap_side="hv",
        tap_neutral=0,
        tap_pos=0,
        tap_min=-3,
        tap_max=3,
        tap_step_percent=1.25,
        tap_changer_type="Ratio",
    )
    pp.to_json(net, str(path))


@pytest.fixture
def place(make_study, tmp_path):
    """Return a function that writes the tiny study, with tap changers."""

    def write(*edits):
        study = make_study(tmp_path / "study", *edits)
        add_taps(study.with_name("net.json"))
        return study

    return write


@pytest.fixture
def call(monkeypatch, capsys):
    """Return a function that runs the command here: exit code, errors."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["gridsite", *map(str, arguments)])
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        return code, capsys.readouterr().err

    return run


def told(out):
    """Return firm capacities and what the run assumed."""
    summary = json.loads((out / "summary.json").read_text("utf-8"))
    table = pd.read_parquet(out / "hosting.parquet").set_index("building_id")
    return table["firm_kw"], [n for n in summary["assumptions"] if "taps" in n]


def test_the_command_lets_taps_act_and_explains_with_them(call, place, tmp_path):
    net = place().with_name("net.json")
    voltage = ("--criteria", "voltage", "--voltage-min", "0.95")
    code, err = call("hosting", net, "--out", tmp_path / "frozen", *voltage)
    assert code == 0, err
    taps = ("--taps", "acting", "--tap-target", 1.03, "--tap-deadband", 0.015)
    code, err = call("hosting", net, "--out", tmp_path / "acting", *voltage, *taps)
    assert code == 0, err
    frozen, nothing = told(tmp_path / "frozen")
    acting, notes = told(tmp_path / "acting")
    assert nothing == []
    assert any("act at the head of" in note for note in notes)
    assert (acting > frozen + 1.0).all()
    code, err = call("explain", tmp_path / "acting", acting.index[-1])
    assert code == 0, err


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--tap-target", 1.0), "--taps acting"),
        (("--taps", "frozen", "--tap-deadband", 0.02), "--taps acting"),
        (("--taps", "acting", "--tap-target", 0.0), "target_pu"),
        (("--taps", "acting", "--tap-deadband", -0.1), "deadband_pu"),
    ],
)
def test_the_command_refuses_a_band_that_is_none(options, word, call, place, tmp_path):
    net = place().with_name("net.json")
    code, err = call("hosting", net, "--out", tmp_path / "out", *options)
    assert code == 2
    assert word in err
    assert not (tmp_path / "out").exists()


def test_a_study_lets_taps_act(place):
    keys = 'source = "net.json"\ntaps = "acting"\ntap_target_pu = 1.03'
    study = Study.read(place(('source = "net.json"', keys)))
    assert study.taps() == TapControl(target_pu=1.03)
    grid = study.grid(study.feeder())
    assert isinstance(grid, GridCase)
    assert any("act at the head of" in note for note in grid.notes)
    assert Study.read(place()).taps() is None


@pytest.mark.parametrize(
    ("keys", "word"),
    [
        ("tap_target_pu = 1.0", "acting"),
        ('taps = "frozen"\ntap_deadband_pu = 0.02', "acting"),
        ('taps = "perhaps"', "taps"),
        ('taps = "acting"\ntap_target_pu = -1.0', "tap_target_pu"),
    ],
)
def test_a_study_refuses_a_band_that_is_none(keys, word, place):
    text = f'source = "net.json"\n{keys}'
    with pytest.raises(ConfigError, match=word):
        Study.read(place(('source = "net.json"', text)))
