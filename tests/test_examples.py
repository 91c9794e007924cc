"""The examples run as they stand, and with files of one's own."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

SCRIPT = Path(__file__).parents[1] / "examples" / "own_feeder_and_loads.py"


def run(folder, *arguments, expect=0):
    """Run the script in a folder and return what it printed."""
    done = subprocess.run(  # noqa: S603
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    assert done.returncode == expect, done.stderr
    return done


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """Return the script's own files, what it printed, and its seconds."""
    folder = tmp_path_factory.mktemp("example")
    began = time.perf_counter()
    shown = run(folder).stdout
    return folder / "out" / "example_own", shown, time.perf_counter() - began


def test_rates_a_feeder_and_loads_that_it_makes_itself(first):
    made, shown, seconds = first
    assert seconds < 20.0
    assert shown.index("findings") < shown.index("How much more each load could draw")
    assert "GENERATED" in shown
    table = pd.read_csv(made / "hosting.csv")
    assert table["building_id"].tolist() == [f"meter {i:02d}" for i in range(1, 14)]
    assert (table["firm_status"] == "ok").all()
    # one line of houses behind one transformer: farther out is never more
    assert (table["firm_kw"].diff().dropna() < 0.1).all()
    assert (table["flexible_energy98_kw"] >= table["flexible_hours98_kw"]).all()


def test_takes_ones_own_files(first, tmp_path):
    made, _, _ = first
    mine = pd.read_csv(made / "loads_generated.csv", index_col="time")
    (3.0 * mine).to_csv(tmp_path / "mine.csv")
    shown = run(tmp_path, made / "feeder.json", "mine.csv").stdout
    assert "GENERATED" not in shown
    firm = [
        pd.read_csv(folder / "hosting.csv")["firm_kw"]
        for folder in (made, tmp_path / "out" / "example_own")
    ]
    assert (firm[1] < firm[0]).all()


def test_names_the_load_that_has_no_column(first, tmp_path):
    made, _, _ = first
    mine = pd.read_csv(made / "loads_generated.csv", index_col="time")
    mine.drop(columns="meter 05").to_csv(tmp_path / "mine.csv")
    failed = run(tmp_path, made / "feeder.json", "mine.csv", expect=1)
    assert "DataError" in failed.stderr
    assert "meter 05" in failed.stderr
