"""``gridsite hosting --steps 576``."""

from __future__ import annotations

import json
import sys

import numpy as np
import pandas as pd
import pytest

from gridsite import Study, run_study
from gridsite.cli import main
from gridsite.errors import ConfigError
from gridsite.hosting.envelope_dataset import read_envelope


@pytest.fixture
def hosting(make_study, tmp_path, monkeypatch):
    """Return a call of ``gridsite hosting`` on a small net and its loads."""
    folder = make_study(tmp_path / "study").parent

    def run(loads, steps="576", *more):
        loads.to_csv(folder / "year.csv", index=False)
        words = ["hosting", folder / "net.json", "--profiles", folder / "year.csv"]
        words += ["--steps", steps, "--out", tmp_path / "out", "--overwrite", *more]
        monkeypatch.setattr(sys, "argv", ["gridsite", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        return end.value.code or 0, tmp_path / "out"

    return run


def year_of_loads(days=365):
    time = pd.date_range("2025-01-01T00:00+01:00", periods=24 * days, freq="h")
    hour = np.arange(len(time))
    day = 1.5 + np.cos((hour - 19) / 24 * 2 * np.pi)
    noise = np.random.default_rng(0).uniform(0.5, 1.5, len(time))
    houses = [f"{street}{number}" for street in "AB" for number in (1, 2, 3, 4)]
    table = pd.DataFrame({house: (day * noise).round(3) for house in houses})
    table.insert(0, "time", [t.isoformat() for t in time])
    return table


def test_typical_hours_are_rated_and_named_so(hosting):
    code, out = hosting(year_of_loads())
    assert code == 0
    summary = json.loads((out / "summary.json").read_text("utf-8"))
    assert summary["replay"]["steps"] == 576
    assert sum("576 typical hours" in text for text in summary["assumptions"]) == 1
    assert not any("not a year" in text for text in summary["assumptions"])
    table = pd.read_parquet(out / "hosting.parquet")
    assert (table["firm_status"] == "ok").all()
    when = pd.to_datetime(table["limit_time"], utc=True)
    assert (when.dt.year <= 1970).all()


def test_part_of_a_year_is_refused(hosting, capsys):
    code, out = hosting(year_of_loads(days=60))
    assert code == 3
    assert "whole year" in capsys.readouterr().err
    assert not out.exists()


def test_the_576_hour_table_is_refused_before_the_work_is_done(
    hosting, monkeypatch, capsys
):
    def never(*_, **__):
        pytest.fail("rated before the steps were checked")

    monkeypatch.setattr("gridsite.rating.hosting_capacity", never)
    ica = ("--ica", "2026-01-31")
    code, out = hosting(year_of_loads(), "576", *ica)
    assert code == 2
    assert "leave out --steps 576" in capsys.readouterr().err
    code, out = hosting(year_of_loads(days=60), "year", *ica)
    assert code == 3
    assert "whole year" in capsys.readouterr().err
    assert not out.exists()


KEYS = """[hosting]
envelope = true
battery_kwh = 5.0
analysis_date = 2026-01-31

[limits]"""


@pytest.mark.slow
def test_a_study_writes_the_envelope_and_the_576_hour_table(make_study, tmp_path, call):
    pytest.importorskip("h5netcdf")
    alone = ("[solve]", "[solve]\ncompare = false")
    path = make_study(tmp_path / "study", ("[limits]", KEYS), alone)
    year_of_loads().to_csv(path.parent / "loads.csv", index=False)
    code, _, err = call("run", path, "--out", tmp_path / "run")
    assert code == 0, err
    table = pd.read_csv(tmp_path / "run" / "ica.csv")
    firm = pd.read_parquet(tmp_path / "run" / "hosting.parquet")
    assert (table.groupby("building_id").size() == 576).all()
    assert set(table["building_id"]) == set(firm["building_id"])
    assert {"load_hc_kw", "most_limiting_criterion", "limiting_element"} <= set(table)
    assert (table["analysis_date"] == "2026-01-31").all()
    least = table.groupby("building_id")["load_hc_kw"].min()
    firm = firm.set_index("building_id")["firm_kw"]
    assert (least >= firm[least.index] - 0.11).all()
    with read_envelope(tmp_path / "run" / "envelope.nc") as headroom:
        assert headroom.sizes["time"] == 8760


def test_a_study_that_asks_for_files_needs_a_folder_for_them(make_study, tmp_path):
    path = make_study(tmp_path / "study", ("[limits]", KEYS))
    with pytest.raises(ConfigError, match="scratch"):
        run_study(Study.read(path))
