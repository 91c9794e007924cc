"""The page of findings."""

import pandas as pd

from gridsite.report.findings_page import write_findings_page
from gridsite.report.tables import findings_table

ROW = {
    "severity": "error",
    "check": "names",
    "element": "</td><script>alert(1)</script>",
    "value": 2.0,
    "message": "a & b < c \x1b[2J",
    "cure": '"><img src=x onerror=alert(1)>',
}


def test_nothing_on_the_page_is_markup_of_the_data(tmp_path):
    page = write_findings_page(
        pd.DataFrame([ROW, {**ROW, "severity": "note", "value": float("nan")}]),
        tmp_path / "checks.html",
        title="<b>$rows</b>",
    ).read_text()
    assert "<script" not in page
    assert "<img" not in page
    assert "\x1b" not in page
    assert "&lt;/td&gt;&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "&lt;b&gt;$rows&lt;/b&gt;" in page
    assert "1 error(s), 1 note(s)" in page
    assert page.count("<tr") == 3
    assert "http" not in page.replace("http-equiv", "")


def test_a_page_without_findings_says_so(tmp_path):
    empty = pd.DataFrame(columns=list(ROW))
    page = write_findings_page(empty, tmp_path / "c.html", title="x").read_text()
    assert "no findings" in page


def test_the_subject_shows_where_there_is_more_than_the_feeder():
    one = pd.DataFrame([{**ROW, "subject": "feeder"}])
    assert "subject" not in [c.header for c in findings_table(one).columns]
    two = pd.concat([one, one.assign(subject="roofs")])
    table = findings_table(two)
    assert [str(cell) for cell in table.columns[0].cells] == ["feeder", "roofs"]
