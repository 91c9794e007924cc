"""The `gridsite` command: verbs, output folders, and one clear line per error."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest

import gridsite
from gridsite import cli
from gridsite.hosting.envelope_dataset import read_envelope
from gridsite.hosting.limits import CRITERIA

ALONE = ("[solve]", "[solve]\ncompare = false")
VERBS = ("demo", "run", "check", "hosting", "explain", "fleet", "map")


def refused(result, code, *words):
    """Assert an exit code, and one line of error that holds some words."""
    got, _, err = result
    lines = [line for line in err.splitlines() if line.strip()]
    assert got == code, err
    assert len(lines) == 1, err
    assert lines[0].startswith("gridsite: ")
    for word in words:
        assert str(word) in lines[0]


@pytest.fixture
def net_file(make_study, tmp_path):
    return make_study(tmp_path / "study").with_name("net.json")


class TestHelp:
    def test_help_takes_less_than_half_a_second(self):
        seconds = []
        for _ in range(3):
            began = time.perf_counter()
            done = subprocess.run(
                [
                    sys.executable,
                    "-c",
                    "from gridsite.cli import main; main()",
                    "--help",
                ],
                capture_output=True,
                text=True,
                check=True,
            )
            seconds.append(time.perf_counter() - began)
        assert min(seconds) < 0.5
        assert all(verb in done.stdout for verb in VERBS)

    @pytest.mark.parametrize("verb", VERBS)
    def test_each_verb_explains_itself(self, call, verb):
        code, out, _ = call(verb, "--help")
        assert code == 0
        assert "Usage" in out

    def test_the_installed_command_passes_on_the_exit_code(self, tmp_path):
        program = shutil.which("gridsite", path=str(sys.prefix) + "/bin")
        if program is None:
            pytest.skip("the package is not installed as a command here")
        done = subprocess.run(  # noqa: S603
            [program, "map", str(tmp_path / "none")],
            capture_output=True,
            text=True,
            check=False,
        )
        refused((done.returncode, done.stdout, done.stderr), 2, "none")

    def test_the_studies_of_the_demo_are_found(self):
        for place in cli.Place:
            assert cli.demo_study(place).parent.name == place
        assert cli.demo_study() == cli.demo_study(cli.Place.schutterwald)

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["hosting"], ["feeder", "see gridsite hosting --help"]),
            (["hosting", "x", "--growth", "abc", "--out", "o"], ["--growth"]),
            (["hosting", "x", "--bogus", "1", "--out", "o"], ["--bogus"]),
            (["hosting", "x", "--ica", "2026-13-01", "--out", "o"], ["2026-13-01"]),
            (["demo", "--place", "x\ny"], ["bubenec", "see gridsite demo --help"]),
            (["nosuch"], ["nosuch", "see gridsite --help"]),
        ],
    )
    def test_what_is_no_option_is_told_in_one_line(self, call, arguments, words):
        result = call(*arguments)
        refused(result, 2, *words)
        assert result[1] == ""

    def test_without_a_verb_there_is_help(self, call):
        code, out, err = call()
        assert (code, out) == (2, "")
        assert "Commands:" in err

    def test_an_unknown_place_is_refused_with_the_known(self, call):
        code, _, err = call("demo", "--place", "atlantis")
        assert code == 2
        assert "bubenec" in err


class TestRun:
    def test_writes_a_folder_that_can_be_read_again(self, call, make_study, tmp_path):
        path, out = make_study(tmp_path / "study"), tmp_path / "out"
        code, shown, err = call("run", path, "--out", out)
        assert code == 0, err
        assert "0 limits newly broken, 0 worsened" in shown
        assert "distributed" in shown
        summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
        assert summary["replay"]["new"] == summary["replay"]["worsened"] == 0
        for name in ("map.html", "siting.gpkg", "manifest.json"):
            assert (out / name).stat().st_size > 0
        plan = pd.read_parquet(out / "plan.parquet")
        at_buildings = plan.loc[plan["port_id"] != "", "count"]
        assert int(at_buildings.sum()) == summary["units"]
        refused(call("run", path, "--out", out), 2, out, "earlier run")
        (out / "map.html").unlink()
        code, shown, _ = call("map", out)
        assert code == 0
        assert str(out / "map.html") in shown
        assert "two streets" in (out / "map.html").read_text(encoding="utf-8")

    def test_a_plan_that_is_not_safe_is_written_and_fails(
        self, call, make_study, tmp_path
    ):
        edit = ("it_kw_per_user = 4.0", "it_kw_per_user = 6.5")
        path = make_study(tmp_path / "study", ALONE, edit, weak_km=0.06)
        result = call("run", path, "--out", tmp_path / "out")
        refused(result, 5, "not_verified", "real-time")
        assert "This plan is not safe" in result[1]
        summary = json.loads((tmp_path / "out" / "summary.json").read_text("utf-8"))
        assert summary["status"] == "not_verified"
        assert summary["replay"]["new"] > 0


class TestRefusals:
    """Each bad input: its exit code, one line, and no output folder."""

    @pytest.fixture
    def fails(self, call, make_study, tmp_path):
        """Return a function that spoils a study and expects its run to fail."""

        def run(code, *words, edits=(), spoil=None):
            path = make_study(tmp_path / "study", *edits)
            if spoil is not None:
                spoil(path.parent)
            refused(call("run", path, "--out", tmp_path / "out"), code, *words)
            assert not (tmp_path / "out").exists()
            assert {p.name for p in tmp_path.iterdir()} == {"study"}

        return run

    def test_no_study_file(self, call, tmp_path):
        result = call("run", tmp_path / "none.toml", "--out", tmp_path / "out")
        refused(result, 2, "none.toml", "does not exist")
        assert not list(tmp_path.iterdir())

    def test_not_toml(self, fails):
        fails(2, "study.toml", "TOML", edits=[("[feeder]", "[feeder")])

    @pytest.mark.parametrize("name", ["net.json", "loads.csv", "roofs.parquet"])
    def test_missing_input_file(self, fails, name):
        fails(2, name, "does not exist", spoil=lambda at: (at / name).unlink())

    def test_unknown_key(self, fails):
        edit = ("rated_kw = 5.0", "rated_kw = 5.0\nrated_kva = 5.1")
        fails(2, "study.toml", "units.0.rated_kva", "not known", edits=[edit])

    def test_missing_key(self, fails):
        edit = ("it_kw = 4.5\n", "")
        fails(2, "study.toml", "units.0.it_kw", "missing", edits=[edit])

    def test_every_wrong_key_is_named_in_one_line(self, fails):
        edits = [("it_kw = 4.5\n", ""), ("gap = 0.001", "gap = 2.0")]
        fails(2, "units.0.it_kw", "solve.gap", edits=edits)

    @pytest.mark.parametrize("value", ['"5 kW"', "-5.0", "[5.0]", "nan"], ids=str)
    def test_wrong_value_of_a_unit(self, fails, value):
        edit = ("rated_kw = 5.0", f"rated_kw = {value}")
        fails(2, "units.0.rated_kw", edits=[edit])

    def test_groups_of_one_name(self, fails):
        group = '[[groups]]\ngroup_id = "g"\nbuildings = ["a"]\nmax_units = 2\n\n'
        fails(
            2,
            "group_id 'g'",
            "twice",
            edits=[("[economics]", 2 * group + "[economics]")],
        )

    def test_a_flag_is_no_number(self, fails):
        edit = ("block_kw = 25.0", "block_kw = true")
        fails(2, "central.0.block_kw", edits=[edit])

    @pytest.mark.parametrize(
        ("edit", "word"),
        [
            (("it_kw = 4.5", "it_kw = 9.0"), "it_kw"),
            (("{ small = 600.0", "{ medium = 600.0"), "medium"),
            (("{ fibre = 5.0 }", "{ fiber = 5.0 }"), "fiber"),
            (("rated_kw = 5.0", 'rated_kw = 5.0\nphases = "A"'), "phases"),
            (("max_it_kw = 500.0", "max_it_kw = inf"), "max_it_kw"),
        ],
        ids=[
            "computes more than it draws",
            "payment for no unit",
            "access of no technology",
            "single-phase unit in a balanced model",
            "no limit",
        ],
    )
    def test_values_that_cannot_be_meant(self, fails, edit, word):
        fails(2, word, edits=[edit])

    def test_unknown_preset(self, fails):
        fails(2, "EN50161", "EN50160", edits=[("EN50160", "EN50161")])

    def test_unknown_feeder_name(self, fails):
        fails(2, "lv_nowhere", edits=[("net.json", "pandapower:lv_nowhere")])

    def test_feeder_file_that_is_no_network(self, fails):
        def spoil(at):
            (at / "net.json").write_text('{"a": 1}', encoding="utf-8")

        fails(3, "net.json", spoil=spoil)

    def test_roofs_without_crs(self, fails):
        def spoil(at):
            roofs = gpd.read_parquet(at / "roofs.parquet")
            roofs.set_crs(None, allow_override=True).to_parquet(at / "roofs.parquet")

        fails(3, "roofs.parquet", "no CRS", "set_crs", spoil=spoil)

    def test_roofs_in_web_mercator(self, fails):
        def spoil(at):
            roofs = gpd.read_parquet(at / "roofs.parquet")
            roofs.to_crs(3857).to_parquet(at / "roofs.parquet")

        fails(3, "roofs.parquet", "EPSG:3857", spoil=spoil)

    def test_roofs_far_from_the_feeder(self, fails):
        def spoil(at):
            roofs = gpd.read_parquet(at / "roofs.parquet")
            moved = roofs.set_geometry(roofs.geometry.translate(0.0, 1.0))
            moved.to_parquet(at / "roofs.parquet")

        fails(3, "none finds a connection", spoil=spoil)

    def test_negative_users(self, fails):
        def spoil(at):
            users = pd.read_csv(at / "users.csv")
            users.loc[1, "users"] = -10
            users.to_csv(at / "users.csv", index=False)

        fails(3, "users", "-10", spoil=spoil)

    @pytest.mark.parametrize(
        ("spoiled", "words"),
        [
            (lambda table: table.drop(index=20), ("21:00", "equal steps")),
            (
                lambda table: table.assign(A3=table["A3"].where(table.index != 7)),
                ["A3"],
            ),
            (lambda table: table.drop(columns="B2"), ("loads.csv", "B2")),
            (
                lambda table: table.assign(time=table["time"].str[:16]),
                ("loads.csv", "zone"),
            ),
        ],
        ids=["a step is missing", "NaN", "a load is missing", "no zone"],
    )
    def test_load_series(self, fails, spoiled, words):
        def spoil(at):
            spoiled(pd.read_csv(at / "loads.csv")).to_csv(at / "loads.csv", index=False)

        fails(3, *words, spoil=spoil)

    def test_real_time_limit_that_light_cannot_keep(self, fails):
        edit = ("rtt_limit_ms = 20.0", "rtt_limit_ms = 1.0")
        fails(5, "real-time", "1 ms", edits=[edit])

    def test_demand_that_the_grid_cannot_carry(self, fails):
        edit = ("it_kw_per_user = 4.0", "it_kw_per_user = 40.0")
        fails(5, "kW of 'real-time'", "is full", edits=[edit])

    def test_load_beyond_collapse(self, fails):
        def spoil(at):
            table = pd.read_csv(at / "loads.csv")
            table[["A4", "B4"]] *= 1000.0
            table.to_csv(at / "loads.csv", index=False)

        fails(4, "station A", "no power-flow solution", spoil=spoil)

    def test_output_folder_that_is_not_ours(self, call, make_study, tmp_path):
        path, out = make_study(tmp_path / "study"), tmp_path / "out"
        out.mkdir()
        (out / "thesis.txt").write_text("mine", encoding="utf-8")
        for flag in ((), ("--overwrite",)):
            began = time.perf_counter()
            refused(call("run", path, "--out", out, *flag), 2, out, "another folder")
            assert time.perf_counter() - began < 2.0
        assert [p.name for p in out.iterdir()] == ["thesis.txt"]

    @pytest.mark.parametrize(
        "option",
        [
            "profiles",
            "meter-links",
            "committed",
            "ratings",
            "existing",
            "units",
            "ambient",
        ],
    )
    def test_files_that_are_none_are_refused_before_the_feeder_is_read(
        self, call, tmp_path, option
    ):
        out = ("--out", tmp_path / "out")
        none = (f"--{option}", tmp_path / "none.csv")
        more = () if option != "meter-links" else ("--profiles", __file__)
        for path, words in ((none[1], "no such file"), (tmp_path, "is a folder")):
            result = call("hosting", "none.json", f"--{option}", path, *more, *out)
            refused(result, 2, f"--{option} {path}", words)
        if option in ("profiles", "ratings"):
            refused(call("check", "none.json", *none), 2, "no such file")

    def test_files_that_cannot_be_written_are_refused_before_the_check(
        self, call, net_file, tmp_path
    ):
        for option in ("--json", "--page"):
            for path in (tmp_path, tmp_path / "none" / "x"):
                result = call("check", net_file, option, path)
                refused(result, 2, option, path)
                assert result[1] == ""

    def test_a_folder_is_no_study(self, call, tmp_path):
        refused(call("run", tmp_path, "--out", tmp_path / "o"), 2, "is a folder")

    def test_a_negative_seed_is_refused(self, call, net_file, make_study, tmp_path):
        seed = ("--phase", "sampled", "--seed", -1, "--out", tmp_path / "out")
        refused(call("hosting", net_file, *seed), 2, "seed is -1")
        path = make_study(tmp_path / "s", ("[study]", "[study]\nseed = -1"))
        refused(call("run", path, "--out", tmp_path / "out"), 2, "seed")


class TestCheck:
    def test_findings_are_listed(self, call, net_file):
        code, out, err = call("check", net_file)
        assert code == 0, err
        assert "severity" in out
        assert "lowest voltage" in out

    def test_an_error_in_the_file_gives_a_failing_exit_code(self, call, net_file):
        import pandapower as pp  # noqa: PLC0415

        net = pp.from_json(str(net_file))
        net.line.loc[2, "max_i_ka"] = 0.0
        pp.to_json(net, str(net_file))
        code, out, err = call("check", net_file)
        assert code == 3
        assert "line A3" in out
        assert len(err.splitlines()) == 1

    @pytest.mark.parametrize(
        "name", ["pandapower:nowhere", "nowhere.json", "simbench:9-none"]
    )
    def test_unknown_feeder(self, call, name):
        refused(call("check", name), 2, name.split(":")[-1])

    def test_pickles_are_refused(self, call, tmp_path):
        path = tmp_path / "net.p"
        path.write_bytes(b"")
        refused(call("check", path), 2, "net.p", "refused")

    def test_every_input_of_a_study_is_checked(self, call, make_study, tmp_path):
        path = make_study(tmp_path)
        users = pd.read_csv(tmp_path / "users.csv")
        users.assign(lon=users["lat"], lat=users["lon"]).to_csv(
            tmp_path / "users.csv", index=False
        )
        page = tmp_path / "checks.html"
        code, out, err = call("check", path, "--json", "-", "--page", page)
        assert code == 0, err
        told = json.loads(out)
        assert told["counts"]["error"] == 0
        rows = pd.DataFrame(told["findings"])
        assert {"feeder", "profiles", "demand"} <= set(rows["subject"])
        far = rows[(rows["subject"] == "demand") & (rows["check"] == "far away")]
        assert "swapped" in far["message"].item()
        assert "swapped" in page.read_text(encoding="utf-8")

    @pytest.fixture
    def findings(self, call):
        """Return a function that gives the findings on the feeder, by check."""

        def look(*options):
            code, out, err = call("check", *options, "--json", "-")
            assert code == 0, err
            rows = pd.DataFrame(json.loads(out)["findings"])
            return rows[rows["subject"] == "feeder"].set_index("check")

        return look

    @pytest.fixture
    def unrated(self, make_study, tmp_path):
        """Return a function: the tiny study on a feeder that lacks a rating."""
        import pandapower as pp  # noqa: PLC0415

        def build(*edits):
            path = make_study(tmp_path / "bare", *edits)
            net = pp.from_json(str(path.with_name("net.json")))
            net.line.loc[2, "max_i_ka"] = float("nan")
            pp.to_json(net, str(path.with_name("net.json")))
            return path

        return build

    def test_ratings_beside_the_file_count(self, findings, unrated, tmp_path):
        net = unrated().with_name("net.json")
        bare = findings(net)
        assert bare.loc["rating missing", "value"] == 1
        table = tmp_path / "ratings.csv"
        table.write_text("element,ampacity_a\nline A3,1\n")
        for options in (["--assume-line-a", 1], ["--ratings", table]):
            rated = findings(net, *options)
            assert "rating missing" not in rated.index
            loading = rated.loc["base line loading", "value"]
            assert loading > bare.loc["base line loading", "value"]

    def test_those_of_a_study_count(self, findings, unrated):
        assert "rating missing" in findings(unrated()).index
        source = 'source = "net.json"'
        study = unrated((source, f"{source}\nassume_line_a = 250.0"))
        assert "rating missing" not in findings(study).index

    def test_voltages_are_held_against_the_limits_of_a_run(
        self, findings, make_study, net_file, tmp_path
    ):
        assert findings(net_file).loc["base voltage", "severity"] == "note"
        strict = make_study(
            tmp_path / "strict", ("[limits]", "[limits]\nvoltage_min_pu = 0.9999")
        )
        found = findings(strict).loc["base voltage"]
        assert found["severity"] == "warning"
        assert "below 0.9999 pu" in found["message"]
        american = findings(net_file, "--preset", "ANSI-C84.1-A").loc["base voltage"]
        assert "above 1.05 pu" in american["message"]

    def test_the_files_beside_a_feeder_may_be_named(self, call, net_file, tmp_path):
        loads = net_file.with_name("loads.csv")
        broken = tmp_path / "roofs.gpkg"
        broken.write_bytes(b"no layer")
        findings = tmp_path / "findings.json"
        code, out, err = call(
            *("check", net_file, "--profiles", loads, "--roofs", broken),
            *("--json", findings),
        )
        assert code == 3, err
        assert "subject" in out
        rows = json.loads(findings.read_text("utf-8"))["findings"]
        errors = [row["subject"] for row in rows if row["severity"] == "error"]
        assert errors == ["roofs"]
        for option in (["--roofs", broken], ["--preset", "EN50160"]):
            study = ("check", tmp_path / "study.toml", *option)
            refused(call(*study), 2, "study file names")


class TestHosting:
    def test_piped_progress_is_lines_beside_the_result(
        self, call, net_file, tmp_path, monkeypatch
    ):
        _, quiet, none = call("hosting", net_file, "--out", tmp_path / "out")
        assert none == ""
        monkeypatch.setattr("gridsite.cli_progress.SILENT_S", 0.0)
        options = ("--out", tmp_path / "out", "--overwrite")
        code, out, err = call("hosting", net_file, *options)
        assert (code, out) == (0, quiet)
        lines = err.splitlines()
        assert all(line.startswith("progress: ") for line in lines)
        assert "reading the feeder" in lines[0]
        assert "hosting capacity" in lines[1]

    def test_snapshot(self, call, net_file, tmp_path):
        code, out, err = call("hosting", net_file, "--out", tmp_path / "out")
        assert code == 0, err
        assert "Hosting capacity" in out
        table = pd.read_parquet(tmp_path / "out" / "hosting.parquet")
        assert len(table) == 8
        assert (table["firm_kw"] > 0.0).all()
        assert not (tmp_path / "out" / "plan.parquet").exists()
        assert "base voltage" in (tmp_path / "out" / "checks.html").read_text("utf-8")
        summary = json.loads((tmp_path / "out" / "summary.json").read_text("utf-8"))
        assert summary["replay"]["steps"] == 1
        assert "building service (no rating given)" in summary["not_checked"]

    def test_profiles_from_a_file(self, call, net_file, tmp_path):
        loads = net_file.with_name("loads.csv")
        arguments = ("hosting", net_file, "--profiles", loads, "--service-a", 63)
        code, _, err = call(*arguments, "--out", tmp_path / "out")
        assert code == 0, err
        table = pd.read_parquet(tmp_path / "out" / "hosting.parquet")
        assert table["assumed"].all()
        assert (table["firm_kw"] <= table["service_headroom_kw"] + 1e-9).all()
        # flexible capacity is for steps that differ: some must
        assert (table["flexible_energy98_kw"] > table["firm_kw"]).any()

    def test_a_looser_limit_gives_more(self, call, net_file, tmp_path):
        firm = {}
        for low in (0.96, 0.90):
            out = tmp_path / f"out{low}"
            call("hosting", net_file, "--out", out, "--voltage-min", low)
            firm[low] = pd.read_parquet(out / "hosting.parquet")["firm_kw"]
        # each value is at most its tolerance, 0.1 kW, below the true one
        assert (firm[0.90] >= firm[0.96] - 0.1).all()
        assert (firm[0.90] > firm[0.96] + 1.0).any()

    def test_overwrites_an_earlier_run_if_told_to(self, call, net_file, tmp_path):
        out = tmp_path / "out"
        assert call("hosting", net_file, "--out", out)[0] == 0
        (out / "mine.txt").write_text("left over", encoding="utf-8")
        refused(call("hosting", net_file, "--out", out), 2, out, "earlier run")
        assert (out / "mine.txt").exists()
        assert call("hosting", net_file, "--out", out, "--overwrite")[0] == 0
        assert not (out / "mine.txt").exists()

    def test_no_profiles_for_a_year(self, call, net_file, tmp_path):
        result = call("hosting", net_file, "--steps", "year", "--out", tmp_path / "out")
        refused(result, 2, "--profiles")
        assert not (tmp_path / "out").exists()

    def test_unknown_feeder(self, call, tmp_path):
        result = call("hosting", "pandapower:nowhere", "--out", tmp_path / "out")
        refused(result, 2, "nowhere")
        assert not (tmp_path / "out").exists()

    def test_unknown_criterion(self, call, net_file, tmp_path):
        result = call(
            "hosting", net_file, "--criteria", "voltage,colour", "--out", tmp_path / "o"
        )
        refused(result, 2, "colour")

    @pytest.mark.parametrize(
        "names",
        ["voltage,line,transformer", "voltage, line current, transformer current"],
    )
    def test_short_names_of_criteria(self, call, net_file, tmp_path, names):
        code, _, err = call(
            "hosting", net_file, "--criteria", names, "--out", tmp_path / "o"
        )
        assert code == 0, err
        summary = json.loads((tmp_path / "o" / "summary.json").read_text("utf-8"))
        off = [c for c in CRITERIA if f"{c} (switched off)" in summary["not_checked"]]
        kept = ["voltage", "line current", "transformer current"]
        assert not set(kept) & set(off)
        assert {"voltage change", "service", "transformer ageing"} <= set(off)

    @pytest.mark.slow
    def test_a_simbench_year(self, call, tmp_path):
        pytest.importorskip("simbench", reason="needs the extra gridsite[simbench]")
        name, out = "simbench:1-LV-rural1--0-sw", tmp_path / "out"
        code, _, err = call("hosting", name, "--out", out)
        assert code == 0, err
        summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
        assert summary["replay"]["steps"] == 35_136
        assert summary["step_minutes"] == 15.0
        table = pd.read_parquet(out / "hosting.parquet")
        assert set(table["firm_status"]) == {"ok"}


class TestMap:
    def test_of_a_folder_that_is_no_output(self, call, tmp_path):
        refused(call("map", tmp_path), 2, tmp_path)

    def test_of_no_folder(self, call, tmp_path):
        refused(call("map", tmp_path / "none"), 2, "none")


def test_version_is_public():
    assert gridsite.__version__


@pytest.mark.slow
def test_hosting_writes_envelope_and_576_hour_table(tmp_path, call):
    pytest.importorskip("simbench", reason="needs simbench")
    out = tmp_path / "out"
    options = ["--out", str(out), "--ica", "2026-01-31", "--min-power-share", "0.5"]
    code, _, error = call("hosting", "simbench:1-LV-rural1--0-sw", *options)
    assert code == 0, error
    table = pd.read_parquet(out / "hosting.parquet").set_index("building_id")
    with read_envelope(out / "envelope.nc") as envelope:
        least = envelope["headroom_kw"].min("time").to_numpy()
        names = envelope["building_id"].to_numpy()
    firm = table.loc[names, "firm_kw"].to_numpy()
    np.testing.assert_allclose(least, firm, rtol=1e-5)
    hours = pd.read_csv(out / "ica.csv")
    assert len(hours) == 576 * len(table)
    assert set(hours["analysis_date"]) == {"2026-01-31"}
    floor = hours["building_id"].map(table["firm_kw"])
    assert (hours["load_hc_kw"] >= floor * (1 - 1e-5)).all()
