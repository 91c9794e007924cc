"""Growth, committed loads, generation and norm from the command and a study file."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import pandapower as pp
import pandas as pd
import pytest

from gridsite import Study, cli
from gridsite.errors import ConfigError, DataError
from gridsite.feeder.profiles import constant_profiles
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.hosting.grid_case import GridCase
from gridsite.hosting.limits import Limits
from gridsite.rating_case import LoadChoice


@pytest.fixture
def study(make_study, tmp_path):
    """Return a function that reads the tiny study with pieces replaced."""

    def edited(*edits):
        return Study.read(make_study(tmp_path / "study", *edits))

    return edited


@pytest.fixture
def rate(monkeypatch, capsys, make_study, tmp_path):
    """Return a function that rates the tiny study's feeder: table, summary."""
    net = make_study(tmp_path / "rated").with_name("net.json")

    def run(*options, edit=None):
        if edit is not None:
            content = pp.from_json(str(net))
            edit(content)
            pp.to_json(content, str(net))
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        arguments = ["gridsite", "hosting", net, "--out", out, *options]
        monkeypatch.setattr(sys, "argv", list(map(str, arguments)))
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code
        else:
            code = 0
        assert not code, capsys.readouterr().err
        summary = json.loads((out / "summary.json").read_text("utf-8"))
        table = pd.read_parquet(out / "hosting.parquet")
        return table.set_index("building_id"), summary

    return run


def bus_of(table):
    return table["bus"].iloc[0]


class TestCommand:
    def test_committed_load_leaves_less_where_it_stands(self, rate, tmp_path):
        free, _ = rate("--criteria", "voltage")
        queue = tmp_path / "queue.csv"
        queue.write_text(f"bus,kw,name\n{bus_of(free)},3.0,school\n", encoding="utf-8")
        booked, summary = rate("--criteria", "voltage", "--committed", queue)
        assert list(booked.index) == list(free.index)
        assert booked["firm_kw"].iloc[0] < free["firm_kw"].iloc[0] - 1.0
        assert any("committed" in text for text in summary["assumptions"])

    def test_growth_leaves_less_and_is_said(self, rate):
        free, _ = rate()
        more, summary = rate("--growth", 1.5)
        assert (more["firm_kw"] < free["firm_kw"]).any()
        assert (more["firm_kw"] <= free["firm_kw"] + 0.1).all()
        assert any("1.5 times" in text for text in summary["assumptions"])

    def test_norm_is_inferred_and_said(self, rate):
        _, summary = rate()
        assert summary["limits"] == "EN50160"
        assert any("inferred from" in text for text in summary["assumptions"])
        assert summary["voltage_rule"]["buses_failing"] == 0
        _, summary = rate("--preset", "ANSI-C84.1-A")
        assert summary["limits"] == "ANSI-C84.1-A"
        assert not any("inferred" in text for text in summary["assumptions"])
        assert summary["voltage_rule"] == {}

    def test_what_is_not_checked_names_the_options_not_taken(self, rate):
        _, summary = rate()
        words = " ".join(summary["not_checked"])
        for word in ("N-1", "ageing", "unbalance", "flicker", "harmonics"):
            assert word in words

    @pytest.mark.parametrize(("generation", "ports"), [("profile", 2), ("off", 1)])
    def test_generation_follows_its_profile_or_is_off(self, generation, ports):
        net = pp.create_empty_network()
        pp.create_buses(net, 2, 0.4, name=["head", "end"])
        pp.create_ext_grid(net, 0)
        pp.create_line_from_parameters(net, 0, 1, 0.1, 0.2, 0.1, 0.0, 0.2, name="line")
        pp.create_load(net, 1, 0.002, name="house")
        pp.create_sgen(net, 1, 0.005, name="pv")
        feeder = read_feeder(net)
        own = constant_profiles(feeder.ports.index, [2.0, -5.0], [0.0, 0.0])
        choose = LoadChoice(generation=generation)
        loads = choose(replace(feeder, profiles=own))
        assert len(loads.port_ids) == ports
        drawn = GridCase(feeder, loads, Limits()).profiles.total_kw()[0]
        assert drawn == (-3.0 if generation == "profile" else 2.0)


class TestStudyFile:
    def test_growth_and_queue_are_in_the_loads(self, study):
        now = study()
        feeder = now.feeder()
        port, bus = feeder.load_ports.index[0], feeder.load_ports["bus"].iloc[1]
        today = now.loads(feeder).total_kw()
        queue = (
            f'[committed]\nloads = [{{port = "{port}", kw = 4.0}}, '
            f'{{bus = "{bus}", kw = 2.0, name = "shop"}}]\n\n[limits]'
        )
        later = study(
            ("[limits]", queue), ("[profiles]", "[profiles]\ngrowth_factor=2.0")
        )
        booked = later.feeder()
        loads = later.loads(booked)
        assert loads.total_kw() == pytest.approx(2.0 * today)
        grid = GridCase(booked, loads, later.limits(booked))
        assert grid.profiles.total_kw() == pytest.approx(2.0 * today + 6.0)

    def test_queue_at_a_bus_is_never_forgotten(self, study):
        plain = study().feeder()
        bus = plain.load_ports["bus"].iloc[0]
        queue = f'[committed]\nloads = [{{bus = "{bus}", kw = 2.0}}]\n\n[limits]'
        with pytest.raises(ConfigError, match="without the committed"):
            study(("[limits]", queue)).loads(plain)

    def test_queue_from_a_file(self, study, tmp_path):
        path = tmp_path / "queue.csv"
        path.write_text("bus,kw\nnowhere,2.0\n", encoding="utf-8")
        edited = study(("[limits]", f'[committed]\nfile = "{path}"\n\n[limits]'))
        assert edited.committed()["kw"].tolist() == [2.0]
        with pytest.raises(DataError, match="nowhere"):
            edited.feeder()

    def test_limits_by_level_country_and_ring(self, study):
        keys = (
            '[limits]\ncountry = "US"\nvoltage_bands = [[1.0, 0.93, 1.07]]\n'
            "n_minus_1_loading_max = 0.6"
        )
        text = ('[limits]\npreset = "EN50160"', keys)
        limits = study(text).limits()
        assert limits.name == "ANSI-C84.1-A"
        assert limits.voltage_min_of([0.4, 20.0]).tolist() == [0.93, 0.975]
        assert limits.loading_max_of(["line"], [20.0]).tolist() == [0.6]

    def test_norm_and_country_together_are_refused(self, study):
        text = ('preset = "EN50160"', 'preset = "EN50160"\ncountry = "DE"')
        with pytest.raises(ConfigError, match="give one"):
            study(text)
