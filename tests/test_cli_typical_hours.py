"""``gridsite hosting --steps 576``."""

from __future__ import annotations

import json
import sys

import numpy as np
import pandas as pd
import pytest

from gridsite.cli import main


@pytest.fixture
def hosting(make_study, tmp_path, monkeypatch):
    """Return a call of ``gridsite hosting`` on a small net and its loads."""
    folder = make_study(tmp_path / "study").parent

    def run(loads, steps="576"):
        loads.to_csv(folder / "year.csv", index=False)
        words = ["hosting", folder / "net.json", "--profiles", folder / "year.csv"]
        words += ["--steps", steps, "--out", tmp_path / "out", "--overwrite"]
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
    assert any("576 typical hours" in text for text in summary["assumptions"])
    table = pd.read_parquet(out / "hosting.parquet")
    assert (table["firm_status"] == "ok").all()
    when = pd.to_datetime(table["limit_time"], utc=True)
    assert (when.dt.year <= 1970).all()


def test_part_of_a_year_is_refused(hosting, capsys):
    code, out = hosting(year_of_loads(days=60))
    assert code == 3
    assert "whole year" in capsys.readouterr().err
    assert not out.exists()
