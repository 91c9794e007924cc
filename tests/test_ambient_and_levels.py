"""Outdoor temperature, PUE(T) and levels from the command and a study file."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from gridsite import Study
from gridsite.config import read_fleet_config
from gridsite.errors import ConfigError, DataError
from gridsite.fleet import _rate
from gridsite.hosting.flexible import LEVELS

TABLE = "pue = [[-30.0, 1.02], [20.0, 1.02], [50.0, 1.08]]"


def write_ambient(folder, celsius, name="weather.csv"):
    """Write the temperature of the tiny study's steps."""
    stamps = pd.read_csv(folder / "loads.csv")["time"]
    path = folder / name
    pd.DataFrame({"time": stamps, "ambient_c": celsius}).to_csv(path, index=False)
    return path


@pytest.fixture
def folder(make_study, tmp_path):
    """Return the folder of the tiny study."""
    return make_study(tmp_path / "study").parent


@pytest.fixture
def rate(call, folder, tmp_path):
    """Return a function that rates the tiny study's feeder: output folder, errors."""

    def run(*options):
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        loads = ["--profiles", folder / "loads.csv"]
        code, _, err = call(
            "hosting", folder / "net.json", *loads, "--out", out, *options
        )
        return out, code, err

    return run


def results(out):
    table = pd.read_parquet(out / "hosting.parquet").set_index("building_id")
    return table, json.loads((out / "summary.json").read_text("utf-8"))


class TestCommand:
    def test_hot_days_bind_and_are_explained(self, rate, folder, call):
        hot = write_ambient(folder, 60.0)
        criteria = ["--criteria", "transformer current,transformer ageing"]
        out, code, err = rate("--ambient", hot, *criteria, "--joint")
        assert code == 0, err
        table, summary = results(out)
        assert (table["limit_criterion"] == "transformer ageing").all()
        words = " ".join(summary["not_checked"])
        assert "no ambient temperature" not in words
        assert "transformer ageing" not in words
        code, shown, err = call("explain", out, "A1")
        assert code == 0, err
        assert "years per year" in shown
        hot.write_text(hot.read_text("utf-8").replace("60.0", "59.0"), "utf-8")
        code, _, err = call("explain", out, "A1")
        assert code == 3
        assert "weather.csv" in err

    def test_without_temperature_ageing_is_listed_as_not_checked(self, rate):
        out, _, _ = rate()
        _, summary = results(out)
        assert (
            "transformer ageing (no ambient temperature given)"
            in (summary["not_checked"])
        )

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda t: t.iloc[:-1], "use one calendar"),
            (lambda t: t.assign(ambient_c=[None, *t["ambient_c"][1:]]), "missing"),
            (lambda t: t.assign(ambient_c=300.0), "degrees Celsius"),
            (lambda t: t.rename(columns={"ambient_c": "t"}), "ambient_c"),
            (lambda t: t.drop(index=5), "follows"),
        ],
    )
    def test_bad_temperatures_are_refused(self, spoil, message, rate, folder):
        path = write_ambient(folder, 10.0)
        spoil(pd.read_csv(path)).to_csv(path, index=False)
        _, code, err = rate("--ambient", path)
        assert code == 3
        assert message in err
        assert "weather.csv" in err
        assert "\n" not in err.strip()

    def test_levels_beside_the_usual_ones(self, rate):
        usual, _, _ = rate()
        out, code, err = rate("--levels", "0.8,0.98,0.925", "--envelope")
        assert code == 0, err
        table, plain = results(out)[0], results(usual)[0]
        assert len(LEVELS) == 5
        for kind in ("energy", "hours"):
            lower = table[f"flexible_{kind}80_kw"]
            between = table[f"flexible_{kind}925_kw"]
            upper = table[f"flexible_{kind}95_kw"]
            assert (lower >= between).all()
            assert (between >= upper).all()
            assert (lower > upper).any()
            assert f"flexible_{kind}80_kw" not in plain

    @pytest.mark.parametrize("levels", ["0.4", "98", "a", "nan"])
    def test_wrong_levels_are_refused(self, levels, rate):
        _, code, err = rate("--levels", levels)
        assert code == 2
        assert "\n" not in err.strip()


class TestStudyFile:
    def test_units_have_the_mean_pue_of_the_series(self, make_study, tmp_path):
        keys = f'[ambient]\nfile = "weather.csv"\n{TABLE}\n\n[limits]'
        path = make_study(tmp_path / "hot", ("[limits]", keys))
        stamps = pd.read_csv(path.parent / "loads.csv")["time"]
        write_ambient(path.parent, [20.0, 50.0] * (len(stamps) // 2))
        study = Study.read(path)
        assert "weather.csv" in study.config.files()
        time = study.loads(study.feeder()).time
        known = [unit.rated_kw / unit.it_kw for unit in study.config.units]
        if min(known) < 1.08:
            with pytest.raises(ConfigError, match="largest PUE"):
                study.with_energy(time)
            lower = path.read_text("utf-8").replace("[50.0, 1.08]", "[50.0, 1.025]")
            path.write_text(lower, "utf-8")
            study = Study.read(path)
        changed = study.with_energy(time)
        (pue,) = {unit.pue for unit in changed.config.units}
        top = study.config.ambient.pue[-1][1]
        assert pue == pytest.approx(0.5 * (1.02 + top), rel=1e-12)
        assert any("PUE" in text for text in changed.config.study.assumptions)

    def test_the_table_must_cover_the_series(self, make_study, tmp_path):
        keys = f'[ambient]\nfile = "weather.csv"\n{TABLE}\n\n[limits]'
        path = make_study(tmp_path / "hot", ("[limits]", keys))
        write_ambient(path.parent, 55.0)
        study = Study.read(path)
        with pytest.raises(DataError, match="add points"):
            study.with_energy(study.loads(study.feeder()).time)

    def test_the_grid_ages_by_the_file(self, make_study, tmp_path):
        keys = '[ambient]\nfile = "weather.csv"\nhot_spot_max_c = 110.0\n\n[limits]'
        path = make_study(tmp_path / "hot", ("[limits]", keys))
        write_ambient(path.parent, 31.0)
        study = Study.read(path)
        grid = study.grid(study.feeder())
        assert grid.ageing.hot_spot_max_c == 110.0
        assert (grid.ageing.ambient_c == 31.0).all()
        assert study.with_energy(grid.profiles.time) is study

    def test_a_fleet_takes_temperature_levels_and_battery(self, folder):
        write_ambient(folder, 60.0)
        path = folder / "fleet.toml"
        path.write_text(
            '[study]\nname = "all"\n[fleet]\nfeeders = ["net.json"]\n'
            '[profiles]\nfile = "loads.csv"\n[ambient]\nfile = "weather.csv"\n'
            "[hosting]\nlevels = [0.9]\nbattery_kwh = 5.0\n"
            '[limits]\ncriteria = ["transformer current", "transformer ageing"]\n',
            "utf-8",
        )
        found = _rate(read_fleet_config(path), folder, str(folder / "net.json"))
        assert "flexible_energy90_kw" in found.hosting
        assert (found.hosting["limit_criterion"] == "transformer ageing").all()
        assert found.manifest["options"]["battery_kwh"] == 5.0
