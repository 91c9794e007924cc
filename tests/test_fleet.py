"""Many feeders: worker processes, lost workers, killed runs, bad and hostile input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandapower as pp
import pandapower.networks as nw
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from gridsite import Study, cli, fleet, run_study
from gridsite.config import read_fleet_config
from gridsite.errors import ConfigError
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.fleet import Cluster, run_fleet
from gridsite.fleet_sources import find_sources
from gridsite.rating import rate_feeder

pytest.importorskip("distributed", reason="needs the extra gridsite[fleet]")

MAKERS = (
    nw.create_kerber_landnetz_freileitung_1,
    nw.create_kerber_landnetz_kabel_1,
    nw.create_kerber_landnetz_freileitung_2,
)
HOSTILE = (
    "a b.json",
    "b=1&feeder=2.json",
    "c; rm -rf $HOME.json",
    "d\nreason\n.json",
    "e[red]%2e%2e.json",
    "f" + 200 * "x" + ".json",
    "ü ñ 电.json",
    os.fsdecode(b"z\xff.json"),
)
#: What workers load first: feeders whose name asks for it die, or take their time.
PRELOAD = """
import os, signal, time
from pathlib import Path
from gridsite import fleet
from gridsite.rating import rate_feeder as rate

def rate_or_die(source, **options):
    path = Path(source)
    log = path.with_suffix(".log")
    tries = len(log.read_text().split()) if log.exists() else 0
    with log.open("a") as file:
        print(os.getpid(), file=file)
    if path.name.startswith("killer") or path.name.startswith("once") and not tries:
        os.kill(os.getpid(), signal.SIGKILL)
    if path.name.startswith("slow"):
        time.sleep(1.0)
    return rate(source, **options)

fleet.rate_feeder = rate_or_die
"""


@cache
def network(number):
    """Return a small network as JSON."""
    return pp.to_json(MAKERS[number % len(MAKERS)]())


#: Edit of the tiny study that makes it one of a fleet.
NO_SOURCE = ('[feeder]\nsource = "net.json"\n', "")


def write_fleet(folder, *names, text=""):
    """Write a fleet of small networks and its study file; return the file."""
    (folder / "grids").mkdir(parents=True)
    for number, name in enumerate(names):
        path = folder / "grids" / name
        if name.startswith("bad"):
            path.write_text('{"bus": 1', encoding="utf-8")
        else:
            path.write_text(network(number), encoding="utf-8")
    study = folder / "fleet.toml"
    head = '[study]\nname = "small"\n'
    study.write_text(head + (text or '[fleet]\nfeeders = ["grids"]\n'), "utf-8")
    return study


def write_circuit(folder):
    """Write an OpenDSS circuit of four files: the master and what it reads."""
    folder.mkdir(parents=True)
    (folder / "shape.csv").write_text("1\n0.5\n")
    (folder / "places.csv").write_text("source,1,1\nb,1,2\n")
    (folder / "loads.txt").write_text(
        "new load.one phases=1 bus1=b.1 kv=2.4 kw=10 pf=0.9 yearly=day\n"
    )
    (folder / "master.dss").write_text(
        "clear\nnew circuit.small basekv=4.16 bus1=source\n"
        "new loadshape.day npts=2 interval=1 mult=(file=shape.csv)\n"
        "new line.l bus1=source bus2=b length=1 units=km normamps=100\n"
        "redirect loads.txt\nset voltagebases=[4.16]\ncalcvoltagebases\n"
        "buscoords places.csv\n"
    )
    return folder / "master.dss"


@contextmanager
def preloaded(folder):
    """Let worker processes load `PRELOAD`."""
    import dask.config  # noqa: PLC0415

    path = folder / "preload.py"
    path.write_text(PRELOAD, encoding="utf-8")
    with dask.config.set({"distributed.worker.preload": [str(path)]}):
        yield path


def tables(out):
    """Return every table of a fleet, by name, and its rows, without the time taken."""
    names = {p.parent.parent.name for p in out.glob("*/*/*.parquet")}
    found = {name: pd.read_parquet(out / name) for name in sorted(names)}
    found["fleet"] = pd.read_parquet(out / "fleet.parquet").drop(columns="seconds")
    return found


def assert_same(one, other):
    first, second = tables(one), tables(other)
    assert list(first) == list(second)
    for name in first:
        assert_frame_equal(first[name], second[name])


@pytest.fixture
def serial(monkeypatch):
    """Run feeders here, one after the other, and list those that were run."""
    ran = []

    def streamed(_, config, folder, sources):
        for source in sources:
            ran.append(Path(source.path).name)
            yield source, fleet._run_feeder(config, folder, source.path)

    monkeypatch.setattr(fleet, "_connected", lambda *_: nullcontext())
    monkeypatch.setattr(fleet, "_streamed", streamed)
    return ran


@pytest.fixture
def call(monkeypatch, capsys):
    """Return a function that runs the command here: exit code, output, errors."""
    # no progress among the errors, however slow the machine
    monkeypatch.setattr("gridsite.cli_progress.SILENT_S", float("inf"))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["gridsite", "fleet", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = stop.code or 0
        shown = capsys.readouterr()
        return code, shown.out, shown.err.strip().splitlines()

    return run


class TestTables:
    def test_each_feeder_is_rated_as_it_is_alone(self, serial, tmp_path):
        path = write_fleet(tmp_path, "a.json", "b.json")
        table = run_fleet(path, tmp_path / "out")
        assert serial == ["a.json", "b.json"]
        hosting = pd.read_parquet(tmp_path / "out" / "hosting")
        study = Study(config=read_fleet_config(snapshot(path)), folder=tmp_path)
        for row in table.itertuples():
            alone = rate_feeder(
                tmp_path / row.source, choose_loads=study.loads, limits=study.limits()
            ).hosting
            own = hosting[hosting["feeder"] == row.feeder].drop(columns="feeder")
            assert_frame_equal(own.reset_index(drop=True), alone, check_dtype=False)
            assert row.status == "rated"
            assert row.buildings == len(alone) > 5
            assert row.firm_kw_sum_of_singles == pytest.approx(alone["firm_kw"].sum())
            assert row.status_ok == (alone["firm_status"] == "ok").sum()

    @pytest.mark.usefixtures("serial")
    @pytest.mark.parametrize("given", ["file", "shapes", "snapshot"])
    def test_assumptions_on_the_loads_are_told_as_by_hosting(
        self, call, tmp_path, given
    ):
        text = '[fleet]\nfeeders = ["grids"]\n[profiles]\ngrowth_factor = 1.25\n'
        text += {
            "file": 'file = "loads.csv"\npower_factor = 0.9\n',
            "shapes": 'shapes = "shapes.parquet"\nannual_kwh = 4e3\n',
            "snapshot": "snapshot = true\n",
        }[given]
        path = write_fleet(tmp_path, "a.json", text=text)
        ports = read_feeder(tmp_path / "grids" / "a.json").load_ports.index
        year = pd.date_range("2025-01-01", periods=8760, freq="h", tz="UTC")
        year = year.rename("time")
        loads = pd.DataFrame(1.0, index=year[:24], columns=ports)
        loads.to_csv(tmp_path / "loads.csv")
        pd.DataFrame({"house": 1.0}, index=year).to_parquet(tmp_path / "shapes.parquet")
        code, out, err = call(path, "--out", tmp_path / "out")
        assert code == 0, err
        summary = json.loads((tmp_path / "out" / "summary.json").read_text("utf-8"))
        told = [t for t in summary["assumptions"] if t.startswith("customers draw")]
        factor = {"file": "0.9", "shapes": "0.95"}.get(given)
        words = f"customers draw reactive power at a power factor of {factor}, lagging"
        assert [t for t in told if t.startswith(words)] == told[:-1]
        assert len(told) == (1 if given == "snapshot" else 2)
        assert told[-1] == "customers draw 1.25 times what their profiles say"
        assert all(f"assumption: {t}" in out for t in summary["assumptions"])
        if given == "file":
            study = Study(config=read_fleet_config(path), folder=tmp_path)
            alone = rate_feeder(
                tmp_path / "grids" / "a.json",
                choose_loads=study.loads,
                limits=study.limits(),
            ).hosting
            own = pd.read_parquet(tmp_path / "out" / "hosting").drop(columns="feeder")
            assert_frame_equal(own, alone, check_dtype=False)

    @pytest.mark.usefixtures("serial")
    def test_options_of_the_rating_are_passed_on(self, tmp_path):
        plain = run_fleet(write_fleet(tmp_path / "1", "a.json"), tmp_path / "out1")
        text = """
            [fleet]
            feeders = ["grids"]
            power_factor = 0.7
            [service]
            amps = 20.0
            """
        path = write_fleet(tmp_path / "2", "a.json", text=text)
        bound = run_fleet(path, tmp_path / "out2")
        assert plain["limit_service"].sum() == 0 < bound["limit_service"].sum()
        hosting = pd.read_parquet(tmp_path / "out2" / "hosting")
        most = 3**0.5 * 0.4 * 20.0 * 0.7
        assert 0.0 < hosting["firm_kw"].max() < most
        assert hosting["assumed"].all()

    def test_a_feeder_without_any_value_shares_the_tables(self, serial, tmp_path):
        """Its times are all unknown: their type must not become that of the table."""
        path = write_fleet(tmp_path, "b.json")
        net = MAKERS[1]()
        net.line["max_i_ka"] = float("nan")
        pp.to_json(net, str(tmp_path / "grids" / "a.json"))
        table = run_fleet(path, tmp_path / "out")
        assert serial == ["a.json", "b.json"]
        unrated = table["status_unrated"].tolist()
        assert unrated == [table["buildings"][0], 0]
        hosting = pd.read_parquet(tmp_path / "out" / "hosting")
        assert len(hosting) == table["buildings"].sum()
        assert hosting["limit_time"].isna().sum() == unrated[0]

    def test_geometry_is_geoparquet_over_all_feeders(self, serial, tmp_path):
        run_fleet(write_fleet(tmp_path, "a.json", "b.json"), tmp_path / "out")
        elements = gpd.read_parquet(tmp_path / "out" / "elements")
        assert elements.crs == "EPSG:4326"
        assert elements["feeder"].nunique() == len(serial) == 2

    @pytest.mark.usefixtures("serial")
    def test_a_broken_file_is_a_row(self, tmp_path):
        path = write_fleet(tmp_path, "a.json", "bad.json", "c.json")
        table = run_fleet(path, tmp_path / "out").set_index("source")
        assert table["status"].tolist() == ["rated", "failed", "rated"]
        assert table.loc["grids/bad.json", "reason"].startswith("FeederError: ")
        assert pd.isna(table.loc["grids/bad.json", "buildings"])
        summary = json.loads((tmp_path / "out/summary.json").read_text("utf-8"))
        assert summary["status"] == {"failed": 1, "rated": 2}
        assert summary["buildings"] == table["buildings"].sum() > 10
        assert "protection" in summary["not_checked"]
        assert len(list((tmp_path / "out/hosting").iterdir())) == 2

    @pytest.mark.usefixtures("serial")
    def test_a_table_that_cannot_be_written_is_a_row(self, tmp_path, monkeypatch):
        path = write_fleet(tmp_path, "a.json", "b.json")
        run = fleet._run_feeder

        def spoilt(config, folder, source):
            outcome = run(config, folder, source)
            if source.endswith("b.json"):
                outcome.results.hosting.loc[0, "bus"] = "\ud800"
            return outcome

        monkeypatch.setattr(fleet, "_run_feeder", spoilt)
        table = run_fleet(path, tmp_path / "out")
        assert table["status"].tolist() == ["rated", "failed"]
        assert table["reason"].iloc[1].startswith("DataError: ")
        parts = {p.name for p in (tmp_path / "out").glob("*/feeder=*")}
        assert parts == {f"feeder={table['feeder'].iloc[0]}"}

    @pytest.mark.slow
    def test_with_siting_each_feeder_gets_the_whole_study(
        self, serial, make_study, tmp_path
    ):
        path = make_study(
            tmp_path,
            ("[solve]", '[fleet]\nfeeders = ["n*.json"]\n[solve]'),
            NO_SOURCE,
        )
        (tmp_path / "no_net.json").write_text("{}", encoding="utf-8")
        table = run_fleet(path, tmp_path / "out").set_index("source")
        alone = run_study(Study.read(make_study(tmp_path / "alone")))
        row = table.loc["net.json"]
        assert row["status"] == alone.summary["status"] == "optimal"
        for name in ("units", "objective", "served_share", "buildings"):
            expected = alone.summary[name]
            expected = expected["rated"] if name == "buildings" else expected
            assert row[name] == pytest.approx(expected)
        plan = pd.read_parquet(tmp_path / "out" / "plan").drop(columns="feeder")
        assert_frame_equal(plan, alone.results.plan, check_dtype=False)
        assert table.loc["no_net.json", "status"] == "failed"
        assert pd.isna(table.loc["no_net.json", "units"])
        assert serial == ["net.json", "no_net.json"]


class TestGoingOn:
    def test_what_is_done_is_not_run_again(self, serial, tmp_path):
        path = write_fleet(tmp_path, "a.json", "bad.json", "c.json")
        out = tmp_path / "out"
        first = run_fleet(path, out)
        before = tables(out)
        serial.clear()
        second = run_fleet(path, out)
        assert serial == ["bad.json"]  # what failed is tried again
        same = [name for name in first if name != "seconds"]
        assert_frame_equal(first[same], second[same])
        for name, table in tables(out).items():
            assert_frame_equal(table, before[name])

    def test_a_file_that_changed_is_run_again(self, serial, tmp_path):
        path, out = write_fleet(tmp_path, "a.json", "b.json"), tmp_path / "out"
        first = run_fleet(path, out)
        (tmp_path / "grids" / "a.json").write_text(network(1), encoding="utf-8")
        serial.clear()
        second = run_fleet(path, out)
        assert serial == ["a.json"]
        assert first["buildings"].tolist() != second["buildings"].tolist()
        assert len(pd.read_parquet(out / "hosting")) == second["buildings"].sum()

    @pytest.mark.parametrize("name", ["loads.txt", "shape.csv", "places.csv"])
    def test_an_opendss_circuit_is_run_again_when_a_file_it_reads_changed(
        self, serial, tmp_path, name
    ):
        pytest.importorskip("dss")
        text = '[fleet]\nfeeders = ["circuits/*/master.dss"]\n'
        path, out = write_fleet(tmp_path, "a.json", text=text), tmp_path / "out"
        for circuit in ("first", "second"):
            write_circuit(tmp_path / "circuits" / circuit)
        assert (run_fleet(path, out)["status"] == "rated").all()
        serial.clear()
        run_fleet(path, out)
        assert not serial
        changed = tmp_path / "circuits" / "second" / name
        changed.write_text(changed.read_text().replace("1", "2"), "utf-8")
        table = run_fleet(path, out)
        assert serial == ["master.dss"]
        assert len(table) == 2

    def test_feeders_come_and_go(self, serial, tmp_path):
        path, out = write_fleet(tmp_path, "a.json", "b.json"), tmp_path / "out"
        run_fleet(path, out)
        (tmp_path / "grids" / "a.json").rename(tmp_path / "grids" / "c.json")
        serial.clear()
        table = run_fleet(path, out)
        assert serial == ["c.json"]
        assert table["source"].tolist() == ["grids/b.json", "grids/c.json"]
        parts = {p.name for p in out.glob("*/feeder=*")}
        assert parts == {f"feeder={slug}" for slug in table["feeder"]}
        assert len(list(out.glob("rows/*"))) == 2

    def test_a_run_that_ends_between_tables_and_row_begins_that_feeder_again(
        self, serial, tmp_path
    ):
        path, out = write_fleet(tmp_path, "a.json", "b.json"), tmp_path / "out"
        table = run_fleet(path, out)
        before = tables(out)
        (out / "rows" / f"{table['feeder'][0]}.json").unlink()
        (out / "rows" / f"{table['feeder'][1]}.json").write_text("{", "utf-8")
        part = out / "hosting" / f"feeder={table['feeder'][0]}"
        (part / ".hosting.parquet").write_bytes(b"half a file")
        (part / "hosting.parquet").unlink()
        run_fleet(path, out)
        assert serial == 2 * ["a.json", "b.json"]
        assert not (part / ".hosting.parquet").exists()
        for name, again in tables(out).items():
            assert_frame_equal(again, before[name])

    def test_other_options_are_refused_until_overwriting(self, serial, tmp_path):
        path, out = write_fleet(tmp_path, "a.json"), tmp_path / "out"
        first = run_fleet(path, out)
        with path.open("a", encoding="utf-8") as file:
            file.write("[limits]\nline_loading_max = 0.5\nvoltage_min_pu = 0.97\n")
        with pytest.raises(ConfigError, match="other options; allow overwriting"):
            run_fleet(path, out)
        assert pd.read_parquet(out / "fleet.parquet")["feeder"].tolist()
        second = run_fleet(path, out, overwrite=True)
        name = "firm_kw_sum_of_singles"
        assert second[name].iloc[0] < first[name].iloc[0]
        assert serial == ["a.json", "a.json"]
        assert not list(tmp_path.glob(".out*"))

    def test_a_folder_that_is_not_ours_is_left_alone(self, serial, tmp_path):
        path, out = write_fleet(tmp_path, "a.json"), tmp_path / "out"
        out.mkdir()
        (out / "thesis.txt").write_text("mine", encoding="utf-8")
        for overwrite in (False, True):
            with pytest.raises(ConfigError, match="not written by gridsite"):
                run_fleet(path, out, overwrite=overwrite)
        assert [p.name for p in out.iterdir()] == ["thesis.txt"]
        assert not serial


class TestSources:
    def test_names_paths_folders_and_globs_each_once(self, tmp_path):
        folder = write_fleet(tmp_path, "a.json", "b.json", "c[1].json").parent
        (folder / "grids" / "notes.txt").write_text("no feeder", encoding="utf-8")
        (folder / "grids" / "._a.json").write_text("no feeder", encoding="utf-8")
        (folder / "grids" / "deep").mkdir()
        (folder / "grids" / "deep" / "d.json").write_text("{}", encoding="utf-8")
        names = [
            "grids/c[1].json",
            "pandapower:lv_schutterwald",
            "simbench:1-LV-rural3--0-sw",
            str(folder / "grids" / "b.*"),
            "grids",
            "**/*.json",
        ]
        shown = [source.name for source in find_sources(names, folder)]
        assert shown == [
            "grids/c[1].json",
            *names[1:3],
            *(f"grids/{name}.json" for name in ("b", "a", "deep/d")),
        ]

    def test_a_folder_has_feeders_of_every_kind_but_scripts(self, tmp_path):
        folder = write_fleet(tmp_path, "a.json").parent
        for name in ("case.M", "model.zip", "Lines.dss"):
            (folder / "grids" / name).write_text("", encoding="utf-8")
        shown = {source.name for source in find_sources(["grids"], folder)}
        assert shown == {"grids/a.json", "grids/case.M", "grids/model.zip"}
        (folder / "dss" / "ckt").mkdir(parents=True)
        (folder / "dss" / "ckt" / "Master.dss").write_text("", encoding="utf-8")
        with pytest.raises(ConfigError, match="name OpenDSS masters by a glob"):
            find_sources(["dss"], folder)

    @pytest.mark.usefixtures("serial")
    def test_ratings_are_those_of_the_table_feeder(self, tmp_path):
        text = """
[fleet]
feeders = ["grids"]
[feeder]
ratings = "ratings.csv"
assume_line_a = 99.0
"""
        path = write_fleet(tmp_path, "a.json", text=text)
        net = pp.from_json(str(tmp_path / "grids" / "a.json"))
        net.line["max_i_ka"] = np.nan
        first, rest = net.line["name"].iloc[0], net.line["name"].iloc[1:]
        pp.to_json(net, str(tmp_path / "grids" / "a.json"))
        table = pd.DataFrame({"element": [first], "ampacity_a": [12.0]})
        table.to_csv(tmp_path / "ratings.csv", index=False)
        out = tmp_path / "out"
        assert (run_fleet(path, out)["status"] == "rated").all()
        elements = pd.read_parquet(out / "elements").set_index("element")
        assert elements.loc[first, "rating"] == 12.0
        assert (elements.loc[rest, "rating"] == 99.0).all()
        manifest = json.loads((out / "manifest.json").read_text("utf-8"))
        assert "ratings.csv" in manifest["inputs"]

    def test_hostile_names_stay_inside_the_folder(self, serial, tmp_path):
        out = tmp_path / "out"
        table = run_fleet(write_fleet(tmp_path, *HOSTILE), out)
        assert (table["status"] == "rated").all()
        assert len(serial) == table["feeder"].nunique() == len(HOSTILE)
        assert table["feeder"].str.fullmatch("[a-z0-9-]{1,61}").all()
        assert not table["source"].str.contains("\n").any()
        hosting = pd.read_parquet(out / "hosting")
        assert set(hosting["feeder"]) == set(table["feeder"])
        assert {p.name for p in tmp_path.iterdir()} == {"fleet.toml", "grids", "out"}

    def test_a_long_common_path_keeps_names_apart(self, tmp_path):
        folder = tmp_path / ("long" * 20)
        path = write_fleet(folder, "a.json", "A .json")
        slugs = [s.slug for s in find_sources(["grids"], path.parent)]
        assert len(set(slugs)) == 2


class TestRefusals:
    """One line, exit code 2, and no output folder."""

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ('[fleet]\nfeeders = ["grids/x*.json"]', ["x*.json", "no feeder file"]),
            ('[fleet]\nfeeders = ["nowhere.json"]', ["nowhere.json"]),
            ("[fleet]\nfeeders = []", ["fleet.feeders"]),
            ("", ["'fleet' is missing"]),
            ('[fleet]\nfeeder = ["grids"]', ["fleet.feeder'", "not known"]),
            ('[fleet]\nfeeders = ["grids"]\n[users]\nfile = "u"', ["'economics'"]),
            ('[fleet]\nfeeders = ["grids"]\n[solve]\ngap = 0.1', ["'solve'"]),
            (
                '[fleet]\nfeeders = ["grids"]\n[service]\namps = 63.0\nvolts = 230.0',
                ["amps alone"],
            ),
            ('[fleet]\nfeeders = ["grids"]\n[limits]\npreset = "X"', ["X"]),
            (
                '[fleet]\nfeeders = ["grids"]\n[feeder]\nsource = "net.json"',
                ["feeder: source 'net.json' is not read", "fleet.feeders"],
            ),
            (
                '[fleet]\nfeeders = ["grids"]\n[profiles]\nfile = "loads.csv"',
                ["loads.csv", "does not exist"],
            ),
        ],
        ids=[
            "glob",
            "path",
            "empty list",
            "no fleet",
            "unknown key",
            "half a siting",
            "siting options without a siting",
            "service voltage",
            "preset",
            "one feeder",
            "shared file",
        ],
    )
    def test_study_file(self, call, tmp_path, text, words):
        path = write_fleet(tmp_path, "a.json", text=text or "\n")
        code, _, err = call(path, "--out", tmp_path / "out")
        assert (code, len(err)) == (2, 1), err
        assert all(word in err[0] for word in words), err
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        ("options", "word"),
        [
            (["--workers", "0"], "workers"),
            (["--workers", "2", "--scheduler", "tcp://127.0.0.1:9"], "workers"),
            (["--tls-ca-file", "ca.pem"], "tls://"),
            (["--tls-key", "k.pem", "--scheduler", "tcp://127.0.0.1:9"], "tls://"),
        ],
    )
    def test_options_without_effect(self, call, tmp_path, options, word):
        path = write_fleet(tmp_path, "a.json")
        code, _, err = call(path, "--out", tmp_path / "out", *options)
        assert (code, len(err)) == (2, 1), err
        assert word in err[0]

    def test_no_scheduler_there(self, call, tmp_path, monkeypatch):
        monkeypatch.setattr(fleet, "_CONNECT_S", 1)
        path = write_fleet(tmp_path, "a.json")
        options = ("--scheduler", "tcp://127.0.0.1:9")
        code, _, err = call(path, "--out", tmp_path / "out", *options)
        assert (code, len(err)) == (2, 1), err
        assert "tcp://127.0.0.1:9" in err[0]

    def test_missing_extra(self, call, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "distributed", None)
        path = write_fleet(tmp_path, "a.json")
        code, _, err = call(path, "--out", tmp_path / "out")
        assert (code, len(err)) == (2, 1), err
        assert "gridsite[fleet]" in err[0]

    def test_a_power_factor_beside_units(self, make_study, tmp_path):
        edit = ("[solve]", '[fleet]\nfeeders = ["n"]\npower_factor = 0.9\n[solve]')
        with pytest.raises(ConfigError, match=r"fleet\.power_factor"):
            read_fleet_config(make_study(tmp_path, edit, NO_SOURCE))


class TestCommand:
    def test_some_failed(self, call, serial, tmp_path):
        path = write_fleet(tmp_path, "a.json", "bad.json")
        code, out, err = call(path, "--out", tmp_path / "out")
        assert code == 0
        assert "2 feeders: 1 failed, 1 rated" in out
        assert len(serial) == 2
        assert len(err) == 1
        assert err[0].startswith("gridsite: warning: 1 of 2 feeders failed")
        assert "FeederError" in err[0]

    def test_all_failed(self, call, serial, tmp_path):
        path = write_fleet(tmp_path, "bad.json", "bad[b]2.json")
        code, out, err = call(path, "--out", tmp_path / "out")
        assert (code, len(err), len(serial)) == (3, 1, 2), err
        assert "2 of 2 feeders failed" in err[0]
        assert "2 feeders: 2 failed" in out


@pytest.mark.slow
class TestProcesses:
    """Real worker processes; some of them are killed."""

    def test_a_worker_killed_in_the_middle_and_one_killed_always(self, tmp_path):
        names = ("a.json", "killer.json", "once.json", "z.json")
        path = write_fleet(tmp_path, *names)
        told = []
        with preloaded(tmp_path):
            table = run_fleet(
                path,
                tmp_path / "out",
                cluster=Cluster(workers=2),
                progress=lambda share, text: told.append((share, text)),
            ).set_index("source")
        pids = {
            name: (tmp_path / "grids" / f"{name}.log").read_text().split()
            for name in ("killer", "once")
        }
        lost = table.pop("status") == "worker_lost"
        assert lost.to_dict() == {f"grids/{n}": n == "killer.json" for n in names}
        assert table.loc["grids/killer.json", "reason"].startswith("KilledWorker: ")
        assert 2 <= len(pids["killer"]) == len(set(pids["killer"])) <= 4
        assert len(set(pids["once"])) >= 2
        assert str(os.getpid()) not in {*pids["killer"], *pids["once"]}
        assert [share for share, _ in told] == [n / 4 for n in range(5)]
        whole = pd.read_parquet(tmp_path / "out" / "hosting")
        assert len(whole) == table["buildings"].sum() > 20

    def test_a_killed_run_goes_on_to_the_same_result(self, request, tmp_path):
        names = ("bad.json", *(f"slow{n}.json" for n in range(5)))
        path, out = write_fleet(tmp_path, *names), tmp_path / "out"
        with preloaded(tmp_path) as preload:
            python = [sys.executable, "-c", "from gridsite.cli import main; main()"]
            process = subprocess.Popen(  # noqa: S603
                [*python, "fleet", str(path), "--out", str(out), "--workers", "2"],
                env={**os.environ, "DASK_DISTRIBUTED__WORKER__PRELOAD": str(preload)},
                stderr=subprocess.DEVNULL,
            )
            try:
                wait_for(lambda: len(list(out.glob("rows/*slow*.json"))) >= 2)
            finally:
                process.send_signal(signal.SIGKILL)
                process.wait()
            done = {p.name for p in out.glob("rows/*slow*.json")}
            assert 2 <= len(done) < 5
            assert not (out / "fleet.parquet").exists()
            tried = {p: p.read_text().split() for p in tmp_path.glob("grids/*.log")}
            pids = {int(pid) for text in tried.values() for pid in text}
            wait_for(lambda: not any(map(alive, pids)))
            run_fleet(path, out, cluster=Cluster(workers=2))
            again = [p for p in tried if p.read_text().split() != tried[p]]
        assert request.getfixturevalue("serial") == []
        run_fleet(path, tmp_path / "whole")
        assert len(again) <= 5 - len(done)
        assert_same(out, tmp_path / "whole")

    def test_a_running_scheduler_with_tls(self, call, tmp_path):
        path = write_fleet(tmp_path, "a.json", "bad.json", "c.json")
        with running_cluster(tmp_path) as (address, options):
            code, out, err = call(
                path, "--out", tmp_path / "out", "--scheduler", address, *options
            )
        assert code == 0, err
        assert "3 feeders: 1 failed, 2 rated" in out


def alive(pid):
    """Return whether a process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_for(condition, seconds=300.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


@contextmanager
def running_cluster(folder):
    """Run a scheduler and a worker with TLS; give address and options to reach them."""
    key, cert, file = (folder / n for n in ("key.pem", "cert.pem", "scheduler.json"))
    command = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    openssl = ["openssl", *command.split(), "-keyout", str(key), "-out", str(cert)]
    subprocess.run(openssl, check=True, capture_output=True)  # noqa: S603
    options = ["--tls-ca-file", str(cert), "--tls-cert", str(cert), "--tls-key"]
    options += [str(key)]
    dask = [sys.executable, "-m", "dask"]
    own = ["--scheduler-file", str(file), *options]
    at = ["--protocol", "tls", "--host", "127.0.0.1", "--no-dashboard"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = [
        subprocess.Popen([*dask, "scheduler", *own, *at, "--port", "0"], **quiet)  # noqa: S603
    ]
    try:
        wait_for(file.exists)
        worker = [*dask, "worker", *own, "--nthreads", "1", "--no-dashboard"]
        worker += ["--local-directory", str(folder)]
        started.append(subprocess.Popen(worker, **quiet))  # noqa: S603
        yield json.loads(file.read_text())["address"], options
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait(30)


def snapshot(path):
    """Return the same fleet, told to rate the loads of the file."""
    other = path.with_name("snapshot.toml")
    text = path.read_text("utf-8") + "[profiles]\nsnapshot = true\n"
    other.write_text(text, "utf-8")
    return other
