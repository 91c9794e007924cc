"""Why each building of a study hosts units, or none: against the rows of its plan."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from gridsite import Study, run_study
from gridsite.report import write_results
from gridsite.study.reasons import OUTCOMES

SOFT = ("it_kw_per_user = 4.0", "it_kw_per_user = 4.0\nunserved_cost = 9e4")
ALONE = ("[solve]", "[solve]\ncompare = false")


@pytest.fixture
def found(make_study, tmp_path):
    """Return a function that runs the tiny study with edits."""

    def run(*edits, **options):
        path = make_study(tmp_path / "study", ALONE, *edits, **options)
        return run_study(Study.read(path))

    return run


def reasons_of(run):
    table = run.results.reasons.set_index("building_id")
    assert table.index.is_unique
    assert set(table["outcome"]) <= set(OUTCOMES)
    return table


def test_every_building_has_its_reason(found):
    run = found()
    table = reasons_of(run)
    assert set(table.index) == set(run.results.buildings["building_id"])
    plan = run.results.plan
    at = set(plan.loc[plan["port_id"] != "", "building_id"])
    assert set(table.index[table["outcome"] == "chosen"]) == at
    assert table.loc[sorted(at), "reason"].str.contains("kW rated, serves").all()


def test_full_is_where_one_more_unit_breaks_a_grid_row_and_only_there(found):
    run = found(SOFT, weak_km=0.3)
    table = reasons_of(run)
    plan, rows = run.plan.plan, run.plan.rows
    terms, options = run.plan.row_coefficients, run.results.site_options
    kw = run.results.units.set_index("unit")["rated_kw"]
    stands = plan.groupby("port_id")["rated_kw"].sum()
    outcomes = set()
    for name in table.index[table["outcome"].isin(["full", "not needed"])]:
        own = options[options["site_id"] == name]
        more = stands.copy()
        port = own["port_id"].iloc[0]
        more[port] = more.get(port, 0.0) + own["unit"].map(kw).min()
        use = terms["coefficient"] * terms["port_id"].map(more).fillna(0.0)
        over = use.groupby(terms["row_id"]).sum()
        over = over > rows.set_index("row_id")["headroom"].loc[over.index]
        assert over.any() == (table.loc[name, "outcome"] == "full")
        outcomes.add(table.loc[name, "outcome"])
        if over.any():
            hit = rows.set_index("row_id").loc[over[over].index]
            assert any(e in table.loc[name, "reason"] for e in hit["element"])
    assert "full" in outcomes


def test_what_cannot_host_says_why_and_explain_tells_it(found, call, tmp_path):
    small = ("rated_kw = 5.0", "rated_kw = 25.0")
    run = found(SOFT, small, ("rated_kw = 12.5", "rated_kw = 26.0"), weak_km=0.45)
    table = reasons_of(run)
    assert table.loc["house B1", "outcome"] == "no capacity"
    assert "broken already; voltage of bus B4" in table.loc["house B1", "reason"]
    firm = run.results.hosting.set_index("building_id")["firm_kw"]
    assert 0.0 < firm["house A4"] < 25.0 < firm["house A1"]
    assert table.loc["house A4", "outcome"] == "too small"
    assert (
        f"{firm['house A4']:.2f} kW, the least unit 25"
        in table.loc["house A4", "reason"]
    )
    out = run.write(tmp_path / "out")
    code, shown, err = call("explain", out, "house A4")
    assert code == 0, err
    assert "too small: firm capacity" in " ".join(shown.split())
    assert "in the plan: too small" in (out / "map.html").read_text("utf-8")


def test_explain_says_why_a_building_was_not_rated(found, call, tmp_path):
    run = found()
    left = pd.DataFrame([{"building_id": "barn", "outcome": "left out"}])
    reasons = pd.concat([run.results.reasons, left.assign(reason="use is outside")])
    out = replace(run.results, reasons=reasons)
    folder = write_results(out, tmp_path / "out")
    code, _, err = call("explain", folder, "barn")
    assert code == 2
    assert "was not rated; left out: use is outside" in err
