"""``gridsite explain``: the words, the figure, and no wrong explanation."""

from __future__ import annotations

import json
import re
import shutil
import sys
from itertools import pairwise

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from gridsite import cli
from gridsite.report import explanation_figure

KERBER = "pandapower:create_kerber_landnetz_freileitung_1"


@pytest.fixture
def refused(call):
    """Return a function that expects one line of error and an exit code."""

    def run(code, *words, of):
        got, out, err = call("explain", *of)
        assert got == code, out + err
        assert len(err.splitlines()) == 1, err
        assert err.startswith("gridsite: ")
        assert out == ""
        for word in words:
            assert str(word) in err

    return run


@pytest.fixture
def town(call, make_study, tmp_path):
    """Return a function that rates the two streets: output folder and table."""

    def rate(*options, weak_km=0.2):
        folder = make_study(tmp_path / "study", weak_km=weak_km).parent
        words = [folder / "net.json", "--profiles", folder / "loads.csv"]
        code, _, err = call("hosting", *words, "--out", tmp_path / "out", *options)
        assert code == 0, err
        table = pd.read_parquet(tmp_path / "out" / "hosting.parquet")
        return tmp_path / "out", table.set_index("building_id")

    return rate


@pytest.fixture(scope="module")
def once(write_study, tmp_path_factory):
    """Return the output folder of the two streets, rated once."""
    folder = tmp_path_factory.mktemp("once")
    write_study(folder / "study")
    words = ["gridsite", "hosting", folder / "study" / "net.json", "--profiles"]
    words += [folder / "study" / "loads.csv", "--out", folder / "out"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [*map(str, words)])
        with pytest.raises(SystemExit):
            cli.main()
    return folder / "out"


@pytest.fixture
def copied(once, tmp_path):
    """Return a copy of that folder, to be spoiled."""
    return shutil.copytree(once, tmp_path / "copy")


def change(out, building, **values):
    """Change one row of a written hosting table."""
    path = out / "hosting.parquet"
    table = pd.read_parquet(path)
    for name, value in values.items():
        table.loc[table["building_id"] == building, name] = value
    table.to_parquet(path)


def is_drawn(path):
    """Return whether a PNG has a picture on it."""
    picture = matplotlib.image.imread(path)
    return picture.shape[0] > 300 and len(np.unique(picture)) > 20


def number(text, words):
    """Return the numbers of the row that starts with some words."""
    (line,) = [line for line in text.splitlines() if words in line]
    return [float(n) for n in re.findall(r"│ +(-?[\d,]+\.\d+) ", line)]


def test_a_feeder_by_name(call, tmp_path):
    out = tmp_path / "out"
    assert call("hosting", KERBER, "--out", out)[0] == 0
    table = pd.read_parquet(out / "hosting.parquet")
    for row in table.iloc[:2].itertuples():
        code, shown, err = call("explain", out, row.building_id)
        assert code == 0, err
        assert f"{row.firm_kw:.2f} kW" in shown
        assert f"{row.limit_criterion} of {row.limit_element}" in shown
        slug = row.building_id.replace(" ", "-")
        assert is_drawn(out / f"explain-{slug}.png")
    assert "not checked" in shown
    assert "one state" in shown


def test_voltage_change_by_number(call, town):
    out, table = town()
    assert table.loc["B3", "limit_criterion"] == "voltage change"
    code, shown, err = call("explain", out, "B3", "--out", out.parent / "b3.svg")
    assert code == 0, err
    limit, base, below, above = number(shown, "voltage change of bus B3 [pu]")
    assert base == 0.0
    assert below <= limit == 0.03 < above
    path = [number(shown, f"{i}: bus B{i - 1}") for i in (2, 3, 4)]
    assert all(a[2] > b[2] for a, b in pairwise(path))
    _, _, before, *after = path[-1]
    assert after == pytest.approx([before - below, before - above], abs=2e-5)
    assert str(table.loc["B3", "limit_time"])[:16] in shown
    assert (out.parent / "b3.svg").stat().st_size > 1000
    assert not list(out.glob("explain-*"))


@pytest.mark.parametrize(
    ("criteria", "house", "unit"),
    [
        ("line current", "A4", "% of rating"),
        ("transformer current", "B1", "% of rating"),
        ("voltage", "B4", "pu"),
    ],
)
def test_other_limits(criteria, house, unit, call, town):
    out, table = town("--criteria", criteria)
    assert table.loc[house, "limit_criterion"] == criteria
    code, shown, err = call("explain", out, house)
    assert code == 0, err
    named = f"{criteria} of {table.loc[house, 'limit_element']} [{unit}]"
    limit, base, below, above = number(shown, named)
    side = -1.0 if criteria == "voltage" else 1.0
    assert side * base < side * below <= side * limit < side * above


def test_base_violation(call, town):
    out, table = town(weak_km=0.5)
    assert table.loc["B2", "firm_status"] == "none_base_violation"
    code, shown, err = call("explain", out, "B2")
    assert code == 0, err
    limit, base, below, above = number(shown, "voltage of bus B4 [pu]")
    assert above < below == base < limit == 0.9
    assert "broken without any added load" in shown
    assert "beside: bus B4" in shown
    assert is_drawn(out / "explain-B2.png")


def test_service(call, town):
    out, table = town("--service-a", "25")
    assert table.loc["A1", "limit_criterion"] == "service"
    code, shown, err = call("explain", out, "A1")
    assert code == 0, err
    limit, _, below, above = number(shown, "service of A1 [kVA]")
    assert limit == pytest.approx(25.0 * 0.4 * 3**0.5, abs=0.005)
    assert below <= limit < above
    assert "√3 · 400 V · 25 A" in shown
    assert "the rating of the service, or the load" in shown


def test_every_option_of_a_rating_is_repeated(call, town, tmp_path, monkeypatch):
    queue = tmp_path / "queue.csv"
    queue.write_text("bus,port,kw\nbus B1,,4.0\n,A2,2.5\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    options = "--growth 1.3 --committed queue.csv --voltage-min 0.93 --loading-max 0.8"
    options += " --power-factor 0.9 --preset EN50160 --service-a 40"
    out, table = town(*options.split())
    queue.unlink()
    monkeypatch.chdir("/")
    assert table["firm_kw"].gt(0.0).any()
    for house in ("A2", "B1", "B4"):
        code, _, err = call("explain", out, house)
        assert code == 0, err


def test_relative_paths_are_found_from_anywhere(call, refused, make_study, tmp_path):
    make_study(tmp_path / "study")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path / "study")
        words = ["net.json", "--profiles", "loads.csv", "--out", tmp_path / "out"]
        assert call("hosting", *words)[0] == 0
    assert call("explain", tmp_path / "out", "A1")[0] == 0
    (tmp_path / "study" / "loads.csv").unlink()
    refused(3, "loads.csv", "is gone", of=(tmp_path / "out", "A1"))


def test_a_study(call, refused, make_study, tmp_path):
    path = make_study(tmp_path / "study", ("[solve]", "[solve]\ncompare = false"))
    out = tmp_path / "out"
    assert call("run", path, "--out", out)[0] == 0
    for house in ("house A1", "house B4"):
        code, shown, err = call("explain", out, house)
        assert code == 0, err
        assert "generated data" in shown
        assert is_drawn(out / f"explain-{house.replace(' ', '-')}.png")
    loads = path.with_name("loads.csv")
    loads.write_text(loads.read_text("utf-8").replace("1.5", "1.6"), encoding="utf-8")
    refused(3, loads, "has changed", of=(out, "house B4"))


class TestWrong:
    """What does not agree is an error, and nothing is drawn."""

    @pytest.mark.parametrize(
        ("values", "words"),
        [
            ({"firm_kw": 5.0}, "still holds"),
            ({"firm_kw": 50.0}, "newly breaks"),
            ({"limit_element": "bus B2"}, "no such limit"),
            ({"limit_criterion": "line current"}, "no such limit"),
            ({"firm_status": "censored"}, "search cap"),
            ({"firm_status": "unsupplied"}, "a source does reach it"),
            ({"firm_status": "none_base_violation", "firm_kw": 0.0}, "not broken"),
        ],
        ids=lambda value: str(value)[:40],
    )
    def test_tables(self, values, words, copied, refused):
        out = copied
        change(out, "B3", **values)
        refused(4, "does not confirm", "B3", words, of=(out, "B3"))
        assert not list(out.glob("explain-*"))

    def test_inputs(self, town, refused, tmp_path):
        out, _ = town()
        net = tmp_path / "study" / "net.json"
        net.write_text(net.read_text("utf-8") + "\n", encoding="utf-8")
        refused(3, net, "has changed since the run", of=(out, "B3"))
        net.unlink()
        refused(3, net, "is gone", of=(out, "B3"))

    def test_limits(self, copied, refused):
        out = copied
        manifest = json.loads((out / "manifest.json").read_text("utf-8"))
        manifest["options"]["limits"]["voltage_change_pu"] = 0.05
        (out / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        refused(4, "still holds", of=(out, "B3"))

    @pytest.mark.parametrize("key", ["options", "folder", "inputs"])
    def test_manifests_that_say_too_little(self, key, copied, refused):
        out = copied
        manifest = json.loads((out / "manifest.json").read_text("utf-8"))
        del manifest[key]
        (out / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        refused(3, "manifest.json", "run it again", of=(out, "B3"))

    def test_arguments(self, copied, refused, tmp_path):
        out = copied
        refused(2, "'b3'", "close: 'B3'", of=(out, "b3"))
        refused(2, "'zzz'", "among 8", of=(out, "zzz"))
        refused(2, "connections ['B3']", of=(out, "B3", "--port", "B4"))
        refused(2, ".txt", ".png", of=(out, "B3", "--out", tmp_path / "a.txt"))
        refused(2, "nowhere", of=(out, "B3", "--out", tmp_path / "nowhere" / "a.png"))
        refused(2, "manifest.json", of=(tmp_path, "B3"))


def test_the_figure_shows_what_the_tables_hold():
    nodes = pd.DataFrame(
        {
            "position": range(3),
            "bus": ["s", "$x$", "end"],
            "phases": "ABC",
            "voltage_kv": 0.4,
            "on_path": [True, True, False],
            "min_pu": [np.nan, 0.9, 0.9],
            "max_pu": 1.1,
            "base_pu": [1.0, 0.97, 0.95],
            "below_pu": [1.0, 0.94, 0.90],
            "above_pu": [1.0, 0.93, 0.89],
        }
    )
    elements = pd.DataFrame(
        {
            "position": [1],
            "element": ["line"],
            "criterion": ["line current"],
            "on_path": [True],
            "limit_percent": [80.0],
            "base_percent": [np.nan],
            "below_percent": [40.0],
            "above_percent": [41.0],
        }
    )
    limit = pd.DataFrame({"criterion": ["voltage"], "element": ["end"], "limit": [0.9]})
    figure = explanation_figure(
        "why", limit=limit, nodes=nodes, elements=elements, kw=(4.0, 4.2), summary={}
    )
    upper, lower = figure.axes
    lines = {line.get_label(): line.get_ydata() for line in upper.lines}
    assert lines["without it"].tolist() == [1.0, 0.97]
    assert lines["with 4.00 kW"].tolist() == [1.0, 0.94]
    assert lines["with 4.20 kW"].tolist() == [1.0, 0.93]
    names = {label.get_text(): label.get_fontweight() for label in upper.texts}
    names |= {t.get_text(): t.get_fontweight() for t in upper.get_xticklabels()}
    assert names == {"s": "normal", "$x$": "normal", "end": "bold"}
    heights = [bar.get_height() for bar in lower.patches]
    assert heights[1:] == [40.0, 41.0]
    assert upper.get_ylabel() == "voltage [pu]"
    figure.draw_without_rendering()
