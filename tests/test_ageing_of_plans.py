"""Units that each keep a transformer from ageing too fast, and together do not."""

from __future__ import annotations

import pandas as pd
import pytest

from gridsite import Study, run_study

AMBIENT = """[ambient]
file = "weather.csv"
hot_spot_max_c = 80.0
loss_of_life_max = 1e9

[limits]"""


@pytest.fixture
def planned(make_study, tmp_path):
    """Return a function that runs the tiny study in soft demand and warm weather."""

    def run(*edits):
        soft = [
            (f"it_kw_per_user = {kw}", f"it_kw_per_user = {kw}\nunserved_cost = 9e4")
            for kw in ("4.0", "1.0")
        ]
        alone = ("[solve]", "[solve]\ncompare = false")
        path = make_study(tmp_path / f"study{len(edits)}", alone, *soft, *edits)
        stamps = pd.read_csv(path.parent / "loads.csv")["time"]
        table = pd.DataFrame({"time": stamps, "ambient_c": 30.0})
        table.to_csv(path.parent / "weather.csv", index=False)
        return run_study(Study.read(path))

    return run


@pytest.mark.slow
def test_a_plan_ages_no_transformer_too_fast(planned):
    free = planned()
    hot = planned(("[limits]", AMBIENT))
    assert hot.summary["status"] in {"optimal", "within_gap", "gap"}
    assert hot.summary["replay"]["new"] == 0
    assert hot.summary["rounds"] > 1  # the replay found it, a row cut it off
    assert hot.summary["units"] > 0
    assert hot.summary["objective"] >= free.summary["objective"]
    assert "transformer ageing" not in " ".join(hot.summary["not_checked"])
