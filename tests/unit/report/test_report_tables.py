from dataclasses import replace

import pandas as pd
import pytest
from rich.console import Console

from gridsite.report import (
    comparison_table,
    findings_table,
    hosting_table,
    summary_table,
    together_tables,
)


def shown(table, width=140):
    console = Console(width=width, no_color=True, force_terminal=False)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def row(text, start):
    line = next(x for x in text.splitlines() if start in x)
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_the_summary_names_result_gaps_and_generated_data(make_results):
    text = shown(summary_table(make_results()))
    for words in (
        "small study",
        "3 units on 2 buildings",
        "AC replay of 8,760 steps",
        "generated data",
        "users per building",
        "protection",
        "5 W per user",
    ):
        assert words in text
    assert "WARNING" not in text
    unsafe = {"replay": {"steps": 8760, "new": 2, "worsened": 0}}
    assert "WARNING" in shown(summary_table(make_results(summary=unsafe)))


def test_the_summary_of_a_hosting_only_run(make_results):
    text = shown(summary_table(make_results(siting=False)))
    assert "hosting only: 2 of 4 connections rated" in text
    assert "replay" not in text


def test_hosting_quantiles_count_broken_limits_as_zero_and_leave_gaps_out(
    make_results,
):
    text = shown(hosting_table(make_results()))
    assert row(text, "│ 0 % of")[1:] == ["0.0", "0.0"]
    assert row(text, "50 % of")[1:] == ["12.5", "20.0"]
    assert row(text, "100 % of")[1:] == ["25.0", "30.0"]
    assert row(text, "status: ok")[1:] == ["2", "2"]
    assert row(text, "a rating is missing")[1:] == ["1", "1"]
    assert row(text, "limit: voltage")[1] == "1"
    assert "firm [kW]" in text


def test_a_missing_rating_stands_beside_its_cure(make_results):
    assert "--assume-line-a" in shown(hosting_table(make_results()))
    hosting = make_results().hosting
    rated = hosting[(hosting[["firm_status", "flexible_status"]] != "unrated").all(1)]
    text = shown(hosting_table(make_results(hosting=rated)))
    assert "--assume-line-a" not in text


def test_limits_that_are_broken_already_are_named(make_results):
    one = make_results().hosting
    rows = one.iloc[[2] * 10].copy()
    rows["limit_element"] = [*("T1",) * 4, *("[b]",) * 3, "L1", "L2", "L3"]
    rows["limit_criterion"] = "line current"
    rows["building_id"] = rows["port_id"] = [f"house {k}" for k in range(10)]
    rows["limit_rating_assumed"] = [True] * 4 + [False] * 6
    hosting = pd.concat([one[one["firm_status"] == "ok"], rows])
    hosting["limit_rating_assumed"] = hosting["limit_rating_assumed"].eq(True)
    text = shown(hosting_table(make_results(hosting=hosting)))
    assert row(text, "broken already: line current of T1")[1] == "4"
    assert row(text, "broken already: line current of [b]")[1] == "3"
    assert row(text, "broken already: 2 other limits")[1] == "2"
    assert row(text, "on an assumed line rating")[1] == "4"
    assert "broken already" not in shown(
        hosting_table(make_results(hosting=one[one["firm_status"] == "ok"]))
    )


def test_the_step_length_stands_beside_the_capacities(make_results):
    results = make_results(siting=False, summary={"step_minutes": 15})
    assert "from steps of 15 minutes" in shown(hosting_table(results))
    assert "from steps of 15 minutes" in shown(summary_table(results))


@pytest.fixture
def together(make_results):
    """Return a function that shows what connections do together."""
    joint = {"feeder_id": "one", "sum_of_singles_kw": 90.0, "joint_max_bound_kw": 12.0}
    for kind in ("equal", "proportional", "max"):
        joint |= {f"joint_{kind}_kw": 10.0, f"sum_to_{kind}": 9.0}
        joint |= {f"{kind}_criterion": "line current", f"{kind}_element": "l1"}
    asset = {"feeder_id": "one", "criterion": "line current", "element": "l1"}
    asset |= {"n_buildings": 2, "sum_of_singles_kw": 90.0, "joint_kw": 10.0}
    unit = {"building_id": "house", "rated_kw": 5.0, "firm_kw": 4.0}
    unit |= {"served_share": 0.9, "steps_curtailed": 3, "longest_curtailment_h": 1.0}

    def show(rows):
        results = replace(
            make_results(),
            joint=pd.DataFrame([joint][:rows]),
            shared_assets=pd.DataFrame([asset][:rows]),
            shared_units=pd.DataFrame([unit][:rows]),
        )
        return "".join(shown(table) for table in together_tables(results))

    return show


def test_what_is_together_has_its_units(together):
    text = together(1)
    assert text.count("sum of singles [kW]") == 2
    assert text.count("together [kW]") == 2
    for words in ("rated [kW]", "alone, firm [kW]", "served [%]", "longest [h]"):
        assert words in text


def test_nothing_together_is_no_table(together):
    assert together(0) == ""


def test_an_empty_hosting_table_has_no_quantiles(make_results):
    text = shown(hosting_table(make_results(hosting=make_results().hosting.iloc[:0])))
    assert row(text, "50 % of")[1:] == ["n/a", "n/a"]


def test_the_comparison_flags_what_cannot_be_ranked(make_results):
    text = shown(comparison_table(make_results()))
    assert row(text, "net present cost")[1:] == ["3.00", "4.00", "2.50"]
    assert row(text, "gap to the bound")[1:] == ["1.00", "n/a", "0.20"]
    assert row(text, "demand served")[1:] == ["80.0", "100.0", "100.0"]
    assert row(text, "comparable")[1:] == ["NO: other share served", "yes", "yes"]
    assert "in prices of 2025" in text


def test_a_run_without_comparison_has_an_empty_one(make_results):
    table = comparison_table(make_results(siting=False))
    assert table.row_count == 0


@pytest.mark.parametrize(
    "name", ["[bold red]x[/bold red]", "[/]", "\x1b[2Jgone", "a\rb"]
)
def test_names_reach_the_terminal_as_text(make_results, name):
    findings = pd.DataFrame(
        [["error", name, 1.5, name, "rename it"]],
        columns=["severity", "element", "value", "message", "cure"],
    )
    hosting = make_results().hosting.assign(limit_criterion=name)
    results = make_results(summary={"study": name, "place": name}, hosting=hosting)
    for table in (
        findings_table(findings),
        summary_table(results),
        hosting_table(results),
    ):
        text = shown(table)
        assert name.replace("\x1b", "�").replace("\r", "�") in text
        assert "\x1b" not in text
        assert "\r" not in text


def test_findings_keep_their_order():
    findings = pd.DataFrame(
        {
            "severity": ["error", "notice"],
            "element": ["L1", "L2"],
            "value": [0.123456789, None],
            "message": ["too long", "odd"],
            "cure": ["mend", "look"],
            "unit": ["pu", "%"],
        }
    )
    text = shown(findings_table(findings))
    assert "2 findings" in text
    assert text.index("L1") < text.index("L2")
    assert "0.123457 pu" in text
    assert "nan" not in text


def test_findings_are_whole_and_readable_at_80_columns():
    name = "L_AB_w318872800_AB_w318872937"
    cure = "give each bus, line, transformer and load its own name"
    fault = {
        "subject": "profiles",
        "severity": "warning",
        "element": f"{name}, {name[:-1]}8",
        "value": 65,
        "message": f"65 of 7384 names stand at more than one row: {name} (line); ...",
        "cure": cure,
        "unit": "count",
    }
    table = findings_table(pd.DataFrame([fault, fault | {"element": "x" * 99}]))
    lines = [line.split("│") for line in shown(table, width=80).splitlines()]
    cells = [line[3].strip() for line in lines if len(line) == 5]
    assert f"{name}," in " ".join(cells)
    assert cells.count("value: 65") == 2
    assert sum(f"cure: {cure}".startswith(cell[:40]) for cell in cells if cell) == 2
    assert sum(cell.count("x") for cell in cells) == 99
    assert len(cells) <= 16
    assert "…" not in shown(table, width=80)
