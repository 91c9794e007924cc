"""Meter readings in a study and in ``gridsite hosting``: same answer, faults marked."""

from __future__ import annotations

import json

import numpy as np
import pandapower as pp
import pandas as pd
import pytest

from gridsite import Study, run_study
from gridsite.errors import ConfigError

FILE = 'file = "loads.csv"'


def long(folder):
    """Return the loads of the tiny study as readings of energy, one row each."""
    wide = pd.read_csv(folder / "loads.csv")
    return wide.melt("time", var_name="meter", value_name="kwh")


@pytest.fixture
def study(make_study, tmp_path):
    """Return a function that gives the tiny study with meters instead of loads."""

    def build(keys, change=lambda table: table):
        path = make_study(
            tmp_path / "study",
            (FILE, f'file = "ami.csv"\nmeters = {{ {keys} }}'),
            ("[solve]", "[solve]\ncompare = false"),
            ("[service]\namps = 63.0\n", ""),  # else every building is assumed
        )
        change(long(path.parent)).to_csv(path.parent / "ami.csv", index=False)
        return Study.read(path)

    return build


def test_a_study_takes_long_energies_as_it_takes_wide_powers(study, make_study):
    metered = study("")
    feeder = metered.feeder()
    load = metered.loads(feeder)
    plain = Study.read(make_study(metered.folder, ("gap = 0.001", "gap = 0.002")))
    wide = plain.loads(feeder)
    np.testing.assert_allclose(load.power_kw()[0], wide.power_kw()[0], rtol=1e-12)
    assert (load.time == wide.time).all()


def test_a_run_marks_what_is_filled_and_drawn(study):
    def change(table):
        table = table[table["meter"] != "B4"]
        return table.drop(index=table.index[[7, 8]])

    run = run_study(study('fill = "week", missing = "drawn"', change))
    hosting = run.results.hosting.set_index("port_id")["assumed"]
    assert run.summary["profiles"] == {
        "loads": 8,
        "assumed": 2,
        "findings": {"gap": 2, "no meter": 1},
    }
    assert set(hosting.index[hosting]) == {"A1", "B4"}
    assert any("2 of 8 loads" in text for text in run.summary["assumptions"])
    assert any("power factor of 0.95" in text for text in run.summary["assumptions"])
    assert any("hours, not a year" in text for text in run.summary["assumptions"])
    folder = run.write(run.study.folder / "out")
    rows = pd.read_parquet(folder / "profile_findings.parquet")
    assert rows[["check", "meter", "count"]].to_numpy().tolist() == [
        ["gap", "A1", 2],
        ["no meter", "B4", 1],
    ]
    assert "ami.csv" in json.loads((folder / "manifest.json").read_text())["inputs"]


def test_meters_without_a_file_are_refused(make_study, tmp_path):
    edit = (FILE, "snapshot = true\nmeters = { fill = 'week' }")
    with pytest.raises(ConfigError, match=r"give profiles\.file"):
        Study.read(make_study(tmp_path / "s", edit))


class TestCommand:
    @pytest.fixture
    def net(self, make_study, tmp_path):
        """Return a function: the command on the tiny feeder with changed readings."""
        folder = make_study(tmp_path / "study").parent

        def files(change=lambda table: table):
            change(long(folder)).to_csv(folder / "ami.csv", index=False)
            return folder / "net.json", folder / "ami.csv"

        return files

    def test_hosting_with_links_and_explain(self, call, net, tmp_path):
        feeder, ami = net(lambda t: t.assign(meter="m" + t["meter"]))
        links = ami.with_name("links.csv")
        names = pp.from_json(str(feeder)).load["name"]
        pd.DataFrame({"meter_id": "m" + names, "port_id": names}).to_csv(
            links, index=False
        )
        out = tmp_path / "out"
        code, _, err = call(
            "hosting", feeder, "--profiles", ami, "--meter-links", links, "--out", out
        )
        assert code == 0, err
        plain = tmp_path / "plain"
        loads = ami.with_name("loads.csv")
        call("hosting", feeder, "--profiles", loads, "--out", plain)
        one, two = (
            pd.read_parquet(o / "hosting.parquet")["firm_kw"] for o in (out, plain)
        )
        np.testing.assert_allclose(one, two, atol=1e-6)
        inputs = json.loads((out / "manifest.json").read_text())["inputs"]
        assert {str(ami), str(links)} <= set(inputs)
        code, shown, err = call("explain", out, "A2")
        assert code == 0, err
        assert "A2" in shown

    def test_the_power_factor_of_loads_is_told_and_chosen(self, call, net, tmp_path):
        feeder, ami = net()
        firm = {}
        for given in ([], ["--load-power-factor", "1"]):
            out = tmp_path / f"out{len(given)}"
            code, _, err = call(
                "hosting", feeder, "--profiles", ami, "--out", out, *given
            )
            assert code == 0, err
            told = " ".join(
                json.loads((out / "summary.json").read_text())["assumptions"]
            )
            assert f"power factor of {'1' if given else '0.95'}, lagging" in told
            firm[len(given)] = pd.read_parquet(out / "hosting.parquet")["firm_kw"]
            assert call("explain", out, "A2")[0] == 0
        assert (firm[2] > firm[0] + 0.05).all()

    def test_loads_of_the_file_have_their_own_power_factor(self, call, net, tmp_path):
        feeder, _ = net()
        out = ("--out", tmp_path / "out")
        code, _, err = call("hosting", feeder, "--steps", "snapshot", *out)
        assert code == 0, err
        told = json.loads((tmp_path / "out" / "summary.json").read_text())
        assert "reactive power at" not in " ".join(told["assumptions"])
        code, _, err = call("hosting", feeder, "--load-power-factor", "1", *out)
        assert code == 2
        assert "--load-power-factor needs --profiles" in err

    def test_gaps_need_a_word(self, call, net, tmp_path):
        feeder, ami = net(lambda t: t.drop(index=[3, 4]))
        command = ("hosting", feeder, "--profiles", ami, "--out", tmp_path / "out")
        code, _, err = call(*command)
        assert code == 3
        assert "gap" in err
        assert "A1" in err
        code, _, err = call(*command, "--fill")
        assert code == 0, err
        summary = json.loads((tmp_path / "out" / "summary.json").read_text())
        assert summary["profiles"]["assumed"] == 1

    @pytest.mark.parametrize(
        ("change", "option"),
        [
            (lambda t: t.assign(time=t["time"].str[:16]), "--meter-zone"),
            (lambda t: t.rename(columns={"kwh": "reading"}), "--meter-unit"),
            (lambda t: t.drop(index=[3, 4]), "--fill"),
            (lambda t: t[t["meter"] != "B4"], "--draw"),
        ],
    )
    def test_an_error_names_the_option_that_mends_it(
        self, call, net, tmp_path, change, option
    ):
        feeder, ami = net(change)
        options = ("--profiles", ami, "--out", tmp_path / "out")
        code, _, err = call("hosting", feeder, *options)
        assert code == 3
        assert option in err

    @pytest.mark.parametrize(
        ("change", "option"),
        [
            (lambda t: t.assign(time=t["time"].str[:16]), "--meter-zone"),
            (lambda t: t.drop(columns="B4"), "--draw"),
        ],
    )
    def test_so_does_one_in_a_wide_file(self, call, net, tmp_path, change, option):
        feeder, ami = net()
        change(pd.read_csv(ami.with_name("loads.csv"))).to_csv(ami, index=False)
        options = ("--profiles", ami, "--out", tmp_path / "out")
        code, _, err = call("hosting", feeder, *options)
        assert code == 3
        assert option in err

    def test_options_of_meters_need_a_file(self, call, net, tmp_path):
        feeder, _ = net()
        code, _, err = call("hosting", feeder, "--fill", "--out", tmp_path / "out")
        assert code == 2
        assert "--profiles" in err


class TestEstimates:
    """Loads without a meter, by floor area: roofs of 100 m2, 40 kWh/m2, two storeys."""

    KEYS = ('id_column = "building_id"', 'id_column = "building_id"\nstoreys = 2.0\n')
    PER_M2 = "kwh_per_m2 = { unknown = 40.0 }"

    def test_a_drawn_meter_is_scaled_to_the_building(self, make_study, tmp_path):
        path = make_study(
            tmp_path / "study",
            (FILE, 'file = "ami.csv"\nmeters = { missing = "drawn" }'),
            (self.KEYS[0], self.KEYS[1] + self.PER_M2),
        )
        table = long(path.parent)
        table[table["meter"] != "B4"].to_csv(path.parent / "ami.csv", index=False)
        study = Study.read(path)
        load = study.loads(study.feeder())
        p = pd.Series(load.power_kw()[0].mean(axis=1), load.port_ids)
        assert p["B4"] * 8760 == pytest.approx(8000.0, rel=0.01)
        wide = pd.read_csv(path.parent / "loads.csv")
        assert p["A1"] == pytest.approx(wide["A1"].mean())
        assert load.assumed == {"B4"}

    def test_shapes_are_scaled_to_buildings_unless_an_energy_is_given(
        self, make_study, tmp_path
    ):
        keys = 'shapes = "shapes.parquet"\nannual_kwh_by_port = { A1 = 3000.0 }'
        path = make_study(
            tmp_path / "study",
            (FILE, keys),
            (self.KEYS[0], self.KEYS[1] + self.PER_M2),
        )
        time = pd.date_range("2025-01-01", periods=8760, freq="h", tz="UTC")
        shape = pd.DataFrame({"day": 1.0 + (time.hour > 16)}, time)
        shape.to_parquet(path.parent / "shapes.parquet")
        study = Study.read(path)
        load = study.loads(study.feeder())
        energy = load.energy_kwh()
        assert energy["A1"] == pytest.approx(3000.0)
        np.testing.assert_allclose(energy.drop("A1"), 8000.0, rtol=0.01)
        assert load.assumed == set(energy.index.drop("A1"))

    def test_a_load_without_any_energy_is_refused(self, make_study, tmp_path):
        path = make_study(
            tmp_path / "study",
            (FILE, 'shapes = "shapes.parquet"'),
            (self.KEYS[0], self.KEYS[1] + "kwh_per_m2 = { house = 40.0 }"),
        )
        study = Study.read(path)
        with pytest.raises(ConfigError, match=r"no energy for 8 load\(s\), first"):
            study.loads(study.feeder())
