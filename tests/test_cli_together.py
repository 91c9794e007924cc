"""Connections together, and options that need each other, from the command."""

from __future__ import annotations

import json

import numpy as np
import pandapower as pp
import pandas as pd
import pytest

from gridsite.errors import DataError
from gridsite.hosting.sharing import shared_headroom
from gridsite.rating_case import repeated_case
from gridsite.rating_together import read_units


@pytest.fixture
def folder(make_study, tmp_path):
    """Return the folder of the tiny study."""
    return make_study(tmp_path / "study").parent


@pytest.fixture
def rate(call, folder, tmp_path):
    """Return a function that rates the tiny study's feeder: output folder, errors."""

    def run(*options, profiles=True):
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        loads = ["--profiles", folder / "loads.csv"] if profiles else []
        code, _, err = call(
            "hosting", folder / "net.json", *loads, "--out", out, *options
        )
        return out, code, err

    return run


def write_units(path, names, kw, key="building_id"):
    pd.DataFrame({key: names, "kw": kw}).to_csv(path, index=False)
    return path


class TestErrorsOfTheFile:
    """A bus of 0.46 kV at the end of a line of 0.4 kV."""

    @pytest.fixture
    def spoilt(self, folder):
        """Return a study folder with a bus whose nominal voltage is wrong."""
        net = pp.from_json(folder / "net.json")
        at = net.load["bus"].iloc[0]
        net.bus.loc[at, "vn_kv"] = 0.46
        pp.to_json(net, folder / "net.json")
        return folder

    def test_a_rating_says_how_many_and_which(self, call, spoilt, tmp_path):
        loads = ["--profiles", spoilt / "loads.csv"]
        out = tmp_path / "rated"
        code, said, err = call("hosting", spoilt / "net.json", *loads, "--out", out)
        assert code == 0, err
        said = " ".join(said.split())
        assert "WARNING: 1 error(s) in the data of the feeder" in said
        assert "off the nominal voltage" in said
        assert "off the nominal voltage" in (out / "checks.html").read_text("utf-8")
        summary = json.loads((out / "summary.json").read_text("utf-8"))
        assert summary["findings"]["error"] == 1

    def test_a_sound_feeder_has_no_warning(self, call, folder, tmp_path):
        loads = ["--profiles", folder / "loads.csv"]
        out = tmp_path / "rated"
        _, said, _ = call("hosting", folder / "net.json", *loads, "--out", out)
        assert "WARNING" not in said

    def test_a_study_says_it_too(self, call, spoilt, tmp_path):
        study = next(spoilt.glob("*.toml"))
        code, said, err = call("run", study, "--out", tmp_path / "run")
        assert code == 0, err
        assert "1 error(s) in the data of the feeder" in " ".join(said.split())


class TestUnits:
    def test_units_draw_what_the_library_says_in_the_order_of_the_file(
        self, rate, tmp_path
    ):
        out, code, err = rate()
        assert code == 0, err
        rated = pd.read_parquet(out / "hosting.parquet")
        names = rated["building_id"].tolist()[::-1]
        file = write_units(tmp_path / "units.csv", names, 60.0)
        served = {}
        for rule in ("pro_rata", "last_in"):
            out, code, err = rate("--units", file, "--sharing", rule)
            assert code == 0, err
            manifest = json.loads((out / "manifest.json").read_text("utf-8"))
            assert str(file) in manifest["inputs"]
            grid = repeated_case(manifest, rated["port_id"])
            known = shared_headroom(
                grid.feeder,
                grid.profiles,
                pd.Series(60.0, rated["port_id"].tolist()[::-1]),
                rule=rule,
                grid=grid,
            )
            kw = pd.read_parquet(out / "shared_kw.parquet").set_index("time")
            np.testing.assert_array_equal(kw.to_numpy(), known.to_numpy())
            units = pd.read_parquet(out / "shared_units.parquet")
            assert units["building_id"].tolist() == names
            share = kw.to_numpy().mean(axis=0) / 60.0
            np.testing.assert_allclose(units["served_share"], share, atol=1e-6)
            summary = json.loads((out / "summary.json").read_text("utf-8"))
            assert summary["shared"]["rule"] == rule
            assert summary["shared"]["served_share"] == pytest.approx(share.mean())
            served[rule] = units["served_share"]
        better = served["last_in"] - served["pro_rata"]
        assert better.iloc[0] > 0.0 > better.iloc[-1]

    def test_what_remains_after_units_that_stand(self, rate, tmp_path):
        free, code, err = rate("--joint")
        assert code == 0, err
        rated = pd.read_parquet(free / "hosting.parquet")
        name = rated["building_id"].iloc[0]
        file = write_units(tmp_path / "existing.csv", [name], 20.0)
        out, code, err = rate("--existing", file)
        assert code == 0, err
        before, after = (
            pd.read_parquet(f / "joint.parquet")["joint_max_kw"].sum()
            for f in (free, out)
        )
        assert before - 25.0 < after < before - 15.0
        assert (out / "shared_assets.parquet").exists()

    @pytest.mark.parametrize(
        ("rows", "text"),
        [
            ({"building_id": ["x"], "kw": [1.0]}, "have no capacity"),
            ({"building_id": ["NAME"], "kw": [np.nan]}, "without a power above 0"),
            ({"building_id": ["NAME"], "kw": [0.0]}, "without a power above 0"),
            ({"building_id": ["NAME"] * 2, "kw": [1.0, 2.0]}, "stand twice"),
            ({"building": ["NAME"], "kw": [1.0]}, "give kw, and building_id"),
            ({"building_id": ["NAME"]}, "give kw, and building_id"),
        ],
    )
    def test_faults_of_the_file_are_named(self, rate, tmp_path, rows, text):
        out, _, _ = rate()
        rated = pd.read_parquet(out / "hosting.parquet")
        table = pd.DataFrame(rows).replace("NAME", rated["building_id"].iloc[0])
        table.to_csv(tmp_path / "bad.csv", index=False)
        with pytest.raises(DataError, match=text):
            read_units(tmp_path / "bad.csv", rated)

    def test_what_tells_connections_apart_is_named(self, rate, tmp_path):
        out, _, _ = rate()
        rated = pd.read_parquet(out / "hosting.parquet")
        one, two, three = rated["building_id"].head(3)
        ports = rated["port_id"].to_numpy(copy=True)
        ports[1] = ports[0]
        shared = rated.assign(port_id=ports)
        file = tmp_path / "units.csv"
        write_units(file, [rated["port_id"][2], ports[0]], 2.0, key="port_id")
        text = f"1 port_id .* add a column building_id.* one of '{one}', '{two}'"
        with pytest.raises(DataError, match=text):
            read_units(file, shared)
        twofold = rated.assign(building_id=rated["building_id"].replace(two, one))
        write_units(file, [three, one], 2.0)
        text = f"1 building_id .* add a column port_id.* one of '{ports[0]}', "
        with pytest.raises(DataError, match=text):
            read_units(file, twofold)
        both = {"port_id": [ports[2], ports[0]], "building_id": [three, two]}
        pd.DataFrame(both | {"kw": [1.0, 2.0]}).to_csv(file, index=False)
        units = read_units(file, shared)
        assert units["building_id"].tolist() == [three, two]
        assert units["kw"].tolist() == [1.0, 2.0]
        with pytest.raises(DataError, match="port_id and building_id have no capacity"):
            read_units(file, rated)

    def test_units_above_their_own_service_are_refused(self, rate, tmp_path):
        out, code, err = rate("--service-a", "63")
        assert code == 0, err
        rated = pd.read_parquet(out / "hosting.parquet")
        file = write_units(tmp_path / "units.csv", rated["building_id"].head(1), 60.0)
        with pytest.raises(DataError, match="above what their service leaves"):
            read_units(file, rated)
        write_units(tmp_path / "none.csv", [], [])
        with pytest.raises(DataError, match="does not exist"):
            read_units(tmp_path / "missing.csv", rated)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--sharing", "last_in"], "--sharing needs --units"),
        (["--units", "a.csv", "--existing", "b.csv"], "looked at apart"),
        (["--seed", "0"], "--seed needs --phase sampled"),
        (["--battery-kw", "3"], "--battery-kw needs --battery-kwh"),
        (["--service-rule", "nec"], "--service-rule needs --service-a"),
        (["--service-a", "-5"], "--service-a -5: give amperes above 0"),
        (["--preset", "EN50160", "--country", "US"], "--country US; give one"),
        (["--country", "XX"], "no norm known for country 'XX'"),
        (["--n-1-loading-max", "50"], "n_minus_1_loading_max is 50"),
        (["--steps", "snapshot"], "--steps snapshot takes no --profiles"),
        (["--criteria", "voltage,ageing"], "needs --ambient"),
        (["--criteria", "source"], "needs --source-kva"),
        (["--criteria", "service"], "needs --service-a"),
        (
            ["--ica", "2026-01-31", "--steps", "576"],
            "takes a whole year; leave out --steps 576",
        ),
    ],
)
def test_options_that_do_not_go_together_are_refused(rate, options, text):
    out, code, err = rate(*options)
    assert code == 2
    assert text in err
    assert not out.exists()


def test_service_rule_follows_the_norm(rate):
    names, firm = {}, {}
    for options in ("", "--service-rule nec", "--country US", "--country DE"):
        alone = ["--criteria", "service", "--service-a", "20"]
        out, code, err = rate(*alone, *options.split())
        assert code == 0, err
        names[options] = json.loads((out / "summary.json").read_text())["limits"]
        firm[options] = pd.read_parquet(out / "hosting.parquet")["firm_kw"].to_numpy()
    alone, nec = "criteria (service)", "service_rule nec, "
    assert names == {
        "": f"EN50160 with {alone}",
        "--service-rule nec": f"EN50160 with {nec}{alone}",
        "--country US": f"ANSI-C84.1-A with {alone}",
        "--country DE": f"EN50160 with {alone}",
    }
    assert firm[""].tolist() == firm["--country DE"].tolist()
    assert firm["--service-rule nec"].tolist() == firm["--country US"].tolist()
    assert (firm["--country US"] < 0.8 * firm["--country DE"] + 1e-3).all()


def test_loading_for_rings_is_not_listed_as_not_checked(rate):
    listed = []
    for options in ([], ["--n-1-loading-max", "0.5"]):
        out, code, err = rate(*options)
        assert code == 0, err
        missing = json.loads((out / "summary.json").read_text())["not_checked"]
        listed.append(any("N-1" in name for name in missing))
    assert listed == [True, False]


def test_units_of_options_are_shown_in_help(call):
    code, text, _ = call("hosting", "--help")
    assert code == 0
    assert "[kWh]" in text
    assert "[kVA]" in text


def test_what_is_assumed_is_printed(call, folder, tmp_path):
    loads = ["--profiles", folder / "loads.csv"]
    code, said, err = call(
        "hosting", folder / "net.json", *loads, "--out", tmp_path / "rated"
    )
    assert code == 0, err
    told = json.loads((tmp_path / "rated/summary.json").read_text())["assumptions"]
    assert any("inferred from" in text for text in told)
    for text in told:
        assert f"assumption: {text}" in said
