"""Ratings for lines whose file gives none: from a table, or assumed and counted."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandapower as pp
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from gridsite.errors import ConfigError, DataError
from gridsite.feeder.assumed_ratings import (
    rating_summary,
    rating_table,
    read_ratings,
    with_ratings,
)
from gridsite.feeder.profiles import constant_profiles
from gridsite.feeder.read_pandapower import feeder_from_net, read_feeder
from gridsite.hosting.capacity import hosting_capacity

OPENDSS = Path(__file__).parents[2] / "reference" / "opendss"


def bare_net(*, bare=("first", "second")):
    """Return three lines in a row, of which some have no rated current."""
    net = pp.create_empty_network()
    last = pp.create_bus(net, vn_kv=0.4, name="head")
    pp.create_ext_grid(net, last)
    for name in ("first", "second", "third"):
        bus = pp.create_bus(net, vn_kv=0.4, name=f"bus {name}")
        pp.create_line(net, last, bus, 0.05, std_type="NAYY 4x150 SE", name=name)
        last = bus
    pp.create_load(net, last, p_mw=0.004, q_mvar=0.001, name="house")
    net.line.loc[net.line["name"].isin(bare), "max_i_ka"] = np.nan
    return net


def rated(feeder):
    loads = feeder.load_ports
    now = constant_profiles(loads.index, loads["p_kw"], loads["q_kvar"])
    return hosting_capacity(feeder, now)


def amps(feeder):
    ends = feeder.terminals[feeder.terminals["criterion"] == "line current"]
    return ends.groupby("element")["rated_a"].unique().map(list).to_dict()


def test_without_ratings_a_connection_stays_unrated():
    table = rated(feeder_from_net(bare_net(), name="bare"))
    assert table["firm_status"].tolist() == ["unrated"]


def test_an_assumed_rating_is_counted_and_marks_the_limit_that_binds_on_it():
    feeder = with_ratings(feeder_from_net(bare_net(), name="bare"), line_a=60.0)
    assert feeder.notes[-1] == "line ratings assumed for 2 of 3 lines: 60 A"
    counts = {"file": 1, "table": 0, "assumed": 2, "unrated": 0}
    assert rating_summary(feeder.elements)["line"] == counts
    row = rated(feeder).iloc[0]
    assert row["firm_status"] == "ok"
    assert row["limit_criterion"] == "line current"
    assert row["limit_element"] in {"first", "second"}
    assert row["limit_rating_assumed"]
    assert row["assumed"]


def test_a_limit_on_a_rating_of_the_file_or_a_table_is_not_marked():
    feeder = feeder_from_net(bare_net(bare=()), name="filed")
    table = rating_table(pd.DataFrame({"element": ["third"], "ampacity_a": [40.0]}))
    given = rated(with_ratings(feeder, table, line_a=60.0)).iloc[0]
    assert given["limit_element"] == "third"
    assert not given["limit_rating_assumed"]
    assert not given["assumed"]


def test_the_capacity_is_that_of_a_file_which_has_the_ratings():
    """Metamorphic: what a table or an assumption gives counts as what a file gives."""
    filed = bare_net()
    filed.line.loc[filed.line["name"] == "first", "max_i_ka"] = 0.055
    filed.line.loc[filed.line["name"] == "second", "max_i_ka"] = 0.060
    table = rating_table(pd.DataFrame({"element": ["FIRST"], "ampacity_a": [55.0]}))
    feeder = with_ratings(feeder_from_net(bare_net(), name="f"), table, line_a=60.0)
    columns = ["limit_rating_assumed", "assumed"]
    assert_frame_equal(
        rated(feeder).drop(columns=columns),
        rated(feeder_from_net(filed, name="f")).drop(columns=columns),
    )


def test_a_code_fills_what_is_missing_and_leaves_what_is_filed():
    feeder = feeder_from_net(bare_net(), name="bare")
    filed = amps(feeder)["third"]
    table = rating_table(
        pd.DataFrame({"code": ["nayy 4x150 se"], "ampacity_a": [123.0]})
    )
    found = amps(with_ratings(feeder, table))
    assert found == {"first": [123.0], "second": [123.0], "third": filed}
    assert filed != [123.0]


def test_an_element_goes_before_its_code_whatever_their_order():
    feeder = feeder_from_net(bare_net(), name="bare")
    rows = [{"code": "NAYY 4x150 SE", "ampacity_a": 123.0}]
    rows += [{"element": "second", "ampacity_a": 77.0}]
    for order in (rows, rows[::-1]):
        found = amps(with_ratings(feeder, rating_table(pd.DataFrame(order))))
        assert (found["first"], found["second"]) == ([123.0], [77.0])


def test_kva_of_a_transformer_scales_both_of_its_sides():
    feeder = read_feeder("pandapower:create_kerber_landnetz_freileitung_1")
    name = feeder.elements.index[feeder.elements["kind"] == "transformer"][0]
    kva = float(feeder.elements.loc[name, "rating"])
    table = rating_table(pd.DataFrame({"element": [name], "kva": [0.5 * kva]}))
    half = with_ratings(feeder, table)
    own = feeder.terminals["element"] == name
    ratio = half.terminals["rated_a"] / feeder.terminals["rated_a"]
    np.testing.assert_allclose(ratio[own], 0.5)
    np.testing.assert_allclose(ratio[~own].dropna(), 1.0)
    assert half.elements.loc[name, "rating"] == 0.5 * kva
    assert "1 of them in place of the file's" in half.notes[-1]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({"element": ["a"], "amps": [1.0]}, "unknown column"),
        ({"element": ["a"]}, "one of ampacity_a and kva"),
        ({"element": ["a"], "code": ["b"], "ampacity_a": [1.0]}, "element and code"),
        ({"element": ["a"], "ampacity_a": [1.0], "kva": [1.0]}, "ampacity_a and kva"),
        ({"element": ["a"], "ampacity_a": [0.0]}, "above 0"),
        ({"element": ["a"], "ampacity_a": ["many"]}, "above 0"),
        ({"element": ["a", "A"], "ampacity_a": [1.0, 2.0]}, "stand twice"),
    ],
)
def test_a_table_at_fault_is_refused(rows, said):
    with pytest.raises(DataError, match=said):
        rating_table(pd.DataFrame(rows))


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"element": "fourth", "ampacity_a": 9.0}, "no element called 'fourth'"),
        ({"code": "oh-1", "ampacity_a": 9.0}, "no line code called 'oh-1'"),
        ({"element": "first", "kva": 9.0}, "is a line; give lines ampacity_a"),
    ],
)
def test_a_table_of_another_feeder_is_refused(row, said):
    feeder = feeder_from_net(bare_net(), name="bare")
    with pytest.raises(DataError, match=said):
        with_ratings(feeder, rating_table(pd.DataFrame([row])))


def test_an_assumption_of_nothing_and_a_missing_file_are_refused(tmp_path):
    feeder = feeder_from_net(bare_net(), name="bare")
    with pytest.raises(ConfigError, match="above 0 A"):
        with_ratings(feeder, line_a=0.0)
    with pytest.raises(DataError, match="does not exist"):
        read_ratings(tmp_path / "ratings.csv")


def test_ampacities_of_an_opendss_circuit_may_come_from_a_table_of_its_codes(tmp_path):
    """IEEE 13 without its ampacities, which a table by line code gives back."""
    pytest.importorskip("dss")
    text = (OPENDSS / "ieee13.dss").read_text()
    codes = re.findall(r"new linecode\.(\S+) .*normamps=(\S+)", text)
    assert len(codes) == 7
    master = tmp_path / "ieee13.dss"
    master.write_text(re.sub(r"normamps=\S+", "", text))
    bare = read_feeder(master)
    assert rating_summary(bare.elements)["line"]["unrated"] == 11
    pd.DataFrame(codes, columns=["code", "ampacity_a"]).to_csv(
        tmp_path / "ratings.csv", index=False
    )
    given = with_ratings(bare, read_ratings(tmp_path / "ratings.csv"))
    assert amps(given) == amps(read_feeder(OPENDSS / "ieee13.dss"))


def test_the_command_assumes_and_explains(call, tmp_path):
    pp.to_json(bare_net(), str(tmp_path / "net.json"))
    out = tmp_path / "out"
    code, shown, _ = call(
        "hosting", tmp_path / "net.json", "--assume-line-a", 60, "--out", out
    )
    assert code == 0
    assert "on an assumed line rating" in shown
    code, shown, _ = call("explain", out, "house")
    assert code == 0
    assert "line ratings assumed for 2 of 3 lines: 60 A" in shown
    assert re.search(r"assumed +│ the rating of (first|second), which binds", shown)
