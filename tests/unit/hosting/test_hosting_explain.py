"""A replayed hosting value: confirmed against pandapower, refused when wrong."""

from __future__ import annotations

import numpy as np
import pandapower as pp
import pandas as pd
import pytest

from gridsite.errors import DataError, PowerFlowError
from gridsite.feeder.profiles import constant_profiles
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.hosting.capacity import hosting_capacity
from gridsite.hosting.explain import explain_capacity
from gridsite.hosting.grid_case import GridCase
from gridsite.hosting.limits import Limits

HOUSES = [f"house {i}" for i in range(1, 6)]
PATHS = {
    "house 1": (["mv", "lv", "n1"], ["T", "L1"]),
    "house 3": (["mv", "lv", "n1", "n2", "n3"], ["T", "L1", "L2", "L3"]),
    "house 4": (["mv", "lv", "n1", "n4"], ["T", "L1", "L4"]),
    "house 5": (["mv", "lv", "n5"], ["T", "L5"]),
}


@pytest.fixture
def rated(village, profiles):
    """Return a function that rates the village: feeder, loads, rows by building."""

    def rate(limits=None, connections=None, **values):
        feeder = read_feeder(village(**values))
        loads = profiles(feeder)
        table = hosting_capacity(feeder, loads, limits=limits, connections=connections)
        rows = {row["building_id"]: row for row in table.to_dict("records")}
        return feeder, loads, rows

    return rate


@pytest.mark.parametrize(
    "criterion", ["voltage", "voltage change", "line current", "transformer current"]
)
def test_values_are_those_of_pandapower(criterion, rated, village, judge, only):
    limits = only(criterion)
    feeder, loads, rows = rated(limits)
    oracle = judge(village(), loads, Limits())
    for house in ("house 3", "house 5"):
        told = explain_capacity(feeder, loads, rows[house], limits=limits)
        tolerance = max(0.1, 1e-3 * told.firm_kw)
        assert told.above_kw == pytest.approx(told.firm_kw + 2.0 * tolerance)
        step = loads.time.get_loc(told.time)
        states = {"base": 0.0, "below": told.firm_kw, "above": told.above_kw}
        for state, kw in states.items():
            left, volts = oracle.values(step, {house: kw})
            nodes = told.nodes
            assert nodes[f"{state}_pu"].to_numpy() == pytest.approx(
                volts[nodes["bus"]].to_numpy(), abs=1e-7
            )
            for row in told.elements.itertuples():
                ends = left.sort_index().xs((row.criterion, row.element))
                share = getattr(row, f"{state}_percent")
                assert share == pytest.approx(100.0 * (1.0 - ends.min()), abs=1e-5)
        (limit,) = told.limit.to_dict("records")
        assert limit["criterion"] == criterion
        side = -1.0 if criterion == "voltage" else 1.0
        assert side * limit["below"] <= side * limit["limit"] < side * limit["above"]
        assert side * limit["base"] < side * limit["limit"]


@pytest.mark.parametrize("house", PATHS)
def test_the_path_runs_from_the_source_to_the_connection(house, rated, only):
    limits = only("transformer current")
    feeder, loads, rows = rated(limits)
    told = explain_capacity(feeder, loads, rows[house], limits=limits)
    buses, elements = PATHS[house]
    assert told.nodes["bus"].tolist() == buses
    assert told.nodes["position"].tolist() == list(range(len(buses)))
    assert told.elements["element"].tolist() == elements
    assert told.elements["position"].tolist() == list(range(1, len(buses)))
    assert told.nodes["on_path"].all()
    # the one criterion in force has a limit, the others none
    assert np.isfinite(told.elements["limit_percent"]).tolist() == [
        name == "T" for name in elements
    ]
    assert told.nodes["min_pu"].isna().all()


def test_a_ring_is_followed_on_its_easy_side(village, profiles):
    net = village()
    pp.create_line_from_parameters(
        net, 1, 4, 0.02, 0.32, 0.083, 210.0, 0.2, name="short cut"
    )
    feeder = read_feeder(net)
    loads = profiles(feeder)
    row = hosting_capacity(feeder, loads).set_index("building_id", drop=False)
    told = explain_capacity(feeder, loads, row.loc["house 3"].to_dict())
    path = told.nodes[told.nodes["on_path"]]
    assert path["bus"].tolist() == ["mv", "lv", "n3"]
    path = told.elements[told.elements["on_path"]]
    assert path["element"].tolist() == ["T", "short cut"]


def test_parallel_lines_are_both_on_the_path(village, profiles):
    net = village()
    pp.create_line_from_parameters(
        net, 1, 2, 0.12, 0.32, 0.083, 210.0, 0.15, name="second"
    )
    feeder = read_feeder(net)
    loads = profiles(feeder)
    row = hosting_capacity(feeder, loads).iloc[0].to_dict()
    told = explain_capacity(feeder, loads, row)
    assert told.elements["element"].tolist() == ["T", "L1", "second"]
    assert told.elements["position"].tolist() == [1, 2, 2]


def test_what_binds_beside_the_path_stands_last(rated, only):
    limits = only("voltage")
    feeder, loads, rows = rated(limits)
    assert rows["house 1"]["limit_element"] == "n3"
    told = explain_capacity(feeder, loads, rows["house 1"], limits=limits)
    assert told.nodes["bus"].tolist() == ["mv", "lv", "n1", "n3"]
    assert told.nodes["on_path"].tolist() == [True, True, True, False]
    last = told.nodes.iloc[-1]
    assert last["above_pu"] < 0.9 <= last["below_pu"]
    assert last["below_pu"] == told.limit["below"].item()
    # n5 is not reached through n1; its line is the one that is too weak
    ratings = (150.0, 120.0, 30.0, 110.0, 70.0)
    limits = only("line current")
    feeder, loads, rows = rated(limits, ratings_a=ratings, load_mw=0.008)
    beside = [r for r in rows.values() if r["limit_element"] == "L3"]
    for row in beside:
        told = explain_capacity(feeder, loads, row, limits=limits)
        assert "L3" in told.elements["element"].tolist()


def test_source_limit(rated):
    limits = Limits(source_kva=60.0)
    feeder, loads, rows = rated(limits)
    row = rows["house 5"]
    assert row["limit_criterion"] == "source"
    told = explain_capacity(feeder, loads, row, limits=limits)
    (limit,) = told.limit.to_dict("records")
    assert limit["unit"] == "% of limit"
    assert limit["below"] <= limit["limit"] == 100.0 < limit["above"]
    last = told.elements.iloc[-1]
    assert last["element"] == row["limit_element"]
    assert not last["on_path"]


def test_base_violation_shows_the_broken_limit(rated, village, judge):
    feeder, loads, rows = rated(step_km=0.9)
    row = rows["house 1"]
    assert row["firm_status"] == "none_base_violation"
    told = explain_capacity(feeder, loads, row)
    (limit,) = told.limit.to_dict("records")
    assert limit["base"] == limit["below"] < limit["limit"]
    assert limit["above"] < limit["base"]
    step = loads.time.get_loc(told.time)
    _, volts = judge(village(step_km=0.9), loads, Limits()).values(step, {})
    assert limit["base"] == pytest.approx(volts[row["limit_element"]], abs=1e-7)
    assert "broken without any added load" in told.reason


@pytest.mark.parametrize(
    ("rule", "phases", "volts"),
    [("eu", "ABC", 400.0), ("nec", "ABC", 400.0), ("nec-ems", "12", 240.0)],
)
def test_service_arithmetic(rule, phases, volts, rated, connections, village_feeder):
    limits = Limits(service_rule=rule)
    table = connections(
        village_feeder(), service_a=50.0, service_v=volts, phases=phases
    )
    feeder, loads, rows = rated(limits, connections=table)
    row = rows["house 1"]
    assert row["limit_criterion"] == "service"
    known = {"limits": limits, "service_a": 50.0, "service_v": volts}
    told = explain_capacity(feeder, loads, row, **known)
    wires = np.sqrt(3.0) if phases == "ABC" else 1.0
    (limit,) = told.limit.to_dict("records")
    assert limit["limit"] == pytest.approx(wires * volts * 50.0 / 1e3)
    # by hand, from what the house draws at its worst step
    p, q = (x[0] for x in loads.select(pd.Index(["house 1"])).power_kw())
    worst = np.hypot(p, q).argmax()
    kw, kvar = told.firm_kw, told.firm_kw * np.tan(np.arccos(0.98))
    by_hand = {
        "eu": np.hypot(p[worst] + kw, q[worst] + kvar),
        "nec": 1.25 * (np.hypot(p[worst], q[worst]) + kw / 0.98),
        "nec-ems": 1.25 * np.hypot(p[worst] + kw, q[worst] + kvar),
    }[rule]
    assert limit["below"] == pytest.approx(by_hand, rel=1e-9)
    assert limit["below"] <= limit["limit"] * (1 + 1e-9) < limit["above"]
    assert told.nodes["bus"].tolist() == ["mv", "lv", "n1"]
    with pytest.raises(PowerFlowError, match="service leaves"):
        explain_capacity(feeder, loads, row, **{**known, "service_a": 60.0})
    with pytest.raises(PowerFlowError, match="not known"):
        explain_capacity(feeder, loads, row, limits=limits)


def test_a_building_beyond_its_own_fuse(rated, connections, village_feeder):
    table = connections(village_feeder(), service_a=5.0, service_v=400.0)
    feeder, loads, rows = rated(connections=table)
    row = rows["house 2"]
    assert row["firm_status"] == "none_base_violation"
    told = explain_capacity(feeder, loads, row, service_a=5.0, service_v=400.0)
    (limit,) = told.limit.to_dict("records")
    assert limit["base"] > limit["limit"]


class TestWithoutValue:
    def test_unrated(self, rated):
        feeder, loads, rows = rated(ratings_a=(150.0, np.nan, 90.0, 110.0, 70.0))
        told = explain_capacity(feeder, loads, rows["house 3"])
        assert told.status == "unrated"
        assert "--assume-line-a" in told.reason
        assert "L2" in told.reason
        assert told.nodes.empty
        wrong = {**rows["house 3"], "limit_element": "L1"}
        with pytest.raises(PowerFlowError, match="has a rating"):
            explain_capacity(feeder, loads, wrong)

    def test_unsupplied(self, village, profiles):
        net = village()
        net.line.loc[4, "in_service"] = False
        feeder = read_feeder(net)
        loads = profiles(feeder)
        rows = hosting_capacity(feeder, loads).set_index("building_id", drop=False)
        told = explain_capacity(feeder, loads, rows.loc["house 5"].to_dict())
        assert told.reason == "no source reaches bus n5"
        lie = {**rows.loc["house 1"].to_dict(), "firm_status": "unsupplied"}
        with pytest.raises(PowerFlowError, match="a source does reach it"):
            explain_capacity(feeder, loads, lie)

    def test_censored(self, rated):
        limits = Limits(search_cap_kw=2.0)
        feeder, loads, rows = rated(limits)
        told = explain_capacity(feeder, loads, rows["house 1"], limits=limits)
        assert "search cap of 2 kW" in told.reason
        lie = {**rows["house 1"], "firm_kw": 1.0}
        with pytest.raises(PowerFlowError, match="search cap is 2 kW"):
            explain_capacity(feeder, loads, lie, limits=limits)

    def test_not_converged(self, rated):
        feeder, loads, rows = rated()
        row = {**rows["house 1"], "firm_status": "not_converged", "firm_kw": np.nan}
        assert "no power flow" in explain_capacity(feeder, loads, row).reason


class TestWrongTables:
    """No wrong value is explained."""

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda row: {"firm_kw": 0.9 * row["firm_kw"]}, "still holds"),
            (lambda row: {"firm_kw": row["firm_kw"] - 0.25}, "still holds"),
            (lambda row: {"firm_kw": 1.1 * row["firm_kw"]}, "newly breaks"),
            (lambda row: {"firm_kw": row["firm_kw"] + 0.15}, "newly breaks"),
            (lambda _: {"firm_kw": np.nan}, "no value"),
            (lambda _: {"firm_kw": 1e6}, "no power flow"),
            (lambda _: {"limit_element": "L1"}, "still holds"),
            (lambda _: {"limit_element": "L99"}, "no such limit"),
            (lambda _: {"limit_criterion": "voltage"}, "no such limit"),
            (lambda _: {"limit_criterion": ""}, "no limit"),
            (lambda _: {"limit_time": pd.NaT}, "names no step"),
            (
                lambda row: {"limit_time": row["limit_time"] + pd.Timedelta("1min")},
                "not one of",
            ),
            (
                lambda row: {"limit_time": row["limit_time"].tz_localize(None)},
                "not one of",
            ),
            (lambda _: {"port_id": "house 4"}, "replay"),
            (lambda _: {"feeder_id": "nowhere"}, "no feeder"),
            (
                lambda _: {"firm_status": "none_base_violation", "firm_kw": 0.0},
                "not broken",
            ),
        ],
        ids=range(16),
    )
    def test_is_refused(self, change, words, rated, only):
        limits = only("line current")
        feeder, loads, rows = rated(limits)
        row = rows["house 5"]
        assert row["limit_element"] == "L5"
        with pytest.raises(PowerFlowError, match=words) as caught:
            explain_capacity(feeder, loads, {**row, **change(row)}, limits=limits)
        assert "house" in str(caught.value)
        assert "run it again" in str(caught.value)

    def test_another_step_is_refused(self, rated):
        feeder, loads, rows = rated()
        row = rows["house 5"]
        told = explain_capacity(feeder, loads, row)
        for time in loads.time:
            if time != told.time:
                with pytest.raises(PowerFlowError):
                    explain_capacity(feeder, loads, {**row, "limit_time": time})

    @pytest.mark.parametrize(
        ("criterion", "limit"), [("voltage", "far"), ("line current", "far line")]
    )
    def test_a_violation_on_which_the_load_does_not_act(
        self, criterion, limit, village, profiles, only
    ):
        limits = only(criterion)
        net = village(load_mw=0.001, trafo_mva=2.0)
        pp.create_bus(net, 0.4, name="far")
        pp.create_line_from_parameters(
            net, 1, 7, 0.7, 0.32, 0.083, 210.0, 0.09, name="far line"
        )
        pp.create_load(net, 7, 0.07, 0.0, name="factory")
        feeder = read_feeder(net)
        loads = profiles(feeder, low=0.9, high=1.1)
        rows = hosting_capacity(feeder, loads, limits=limits).set_index(
            "building_id", drop=False
        )
        broken = rows.loc["factory"]
        assert broken["firm_status"] == "none_base_violation"
        explain_capacity(feeder, loads, broken.to_dict(), limits=limits)
        assert broken["limit_element"] == limit
        names = ["firm_status", "firm_kw", "limit_criterion", "limit_element"]
        names.append("limit_time")
        lie = {**rows.loc["house 3"].to_dict(), **broken[names].to_dict()}
        with pytest.raises(PowerFlowError, match="does not act"):
            explain_capacity(feeder, loads, lie, limits=limits)

    def test_other_loads_are_refused(self, rated, profiles):
        feeder, _, rows = rated()
        with pytest.raises(PowerFlowError):
            explain_capacity(feeder, profiles(feeder, seed=1), rows["house 5"])

    def test_unknown_connection(self, rated):
        feeder, loads, rows = rated()
        with pytest.raises(DataError, match="not in village"):
            explain_capacity(feeder, loads, {**rows["house 5"], "port_id": "x"})


def test_a_split_feeder_is_replayed_whole(rated):
    feeder, loads, _ = rated()
    told = {}
    for nodes in (1_500, 1):
        grid = GridCase(feeder, loads, Limits(), whole_nodes=nodes)
        for row in hosting_capacity(feeder, loads, grid=grid).to_dict("records"):
            told[nodes, row["building_id"]] = explain_capacity(
                feeder, loads, row, grid=grid
            )
    for house in HOUSES:
        whole, split = told[1_500, house], told[1, house]
        assert split.firm_kw == pytest.approx(whole.firm_kw, abs=0.2)
        assert split.nodes["bus"].tolist() == whole.nodes["bus"].tolist()
        base = whole.nodes["base_pu"].to_numpy()
        assert split.nodes["base_pu"].to_numpy() == pytest.approx(base, abs=1e-9)


def test_a_load_at_the_source_has_its_service_alone(village, connections):
    net = village()
    pp.create_load(net, 0, 0.004, 0.0, name="at source")
    feeder = read_feeder(net)
    ports = feeder.load_ports
    loads = constant_profiles(ports.index, ports["p_kw"], ports["q_kvar"])
    table = connections(feeder, service_a=63.0, service_v=400.0)
    rows = hosting_capacity(feeder, loads, connections=table)
    row = rows.set_index("building_id", drop=False).loc["at source"].to_dict()
    told = explain_capacity(feeder, loads, row, service_a=63.0, service_v=400.0)
    assert told.nodes.empty
    assert told.limit["below"].item() == pytest.approx(told.limit["limit"].item())
    assert "stands at a source" in told.reason
