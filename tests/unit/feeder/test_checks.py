"""Checks: each planted fault is found and named, and a clean feeder stays clean."""

from __future__ import annotations

import copy
import functools
import json
import math
import time
from dataclasses import replace

import numpy as np
import pandapower as pp
import pandas as pd
import pytest
from pandapower.control import DiscreteTapControl
from pandapower.toolbox import nets_equal

from gridsite.errors import ConfigError
from gridsite.feeder.checks import check_feeder
from gridsite.feeder.read_pandapower import feeder_from_net, read_feeder
from gridsite.hosting.limits import Limits
from gridsite.rating_case import checked_feeder

LON, LAT, STEP_M, KM_PER_DEGREE = 7.88, 48.45, 50.0, 111.2
NOTES = {"base line loading", "base transformer loading", "base voltage"}


def place(arm, step):
    """Return lon, lat of a bus on one of three arms: east, north, north-east."""
    east, north = [(1.0, 0.0), (0.0, 1.0), (math.sqrt(0.5), math.sqrt(0.5))][arm]
    degrees = (step + 1) * STEP_M / 1e3 / KM_PER_DEGREE
    return LON + east * degrees / math.cos(math.radians(LAT)), LAT + north * degrees


def village(arms=3, steps=8):
    """Return a clean low-voltage village: a star of arms with a house per bus."""
    return copy.deepcopy(_village(arms, steps))


@functools.cache
def _village(arms, steps):
    net = pp.create_empty_network(name="village")
    high = pp.create_bus(net, 20.0, name="MV", geodata=(LON, LAT))
    low = pp.create_bus(net, 0.4, name="LV", geodata=(LON, LAT))
    pp.create_ext_grid(net, high, vm_pu=1.0, name="grid")
    pp.create_transformer(net, high, low, "0.25 MVA 20/0.4 kV", name="station")
    for arm in range(arms):
        last = low
        for step in range(steps):
            name = f"{arm}-{step}"
            bus = pp.create_bus(net, 0.4, name=f"bus {name}", geodata=place(arm, step))
            length = STEP_M / 1e3
            cable = "NAYY 4x150 SE"
            pp.create_line(net, last, bus, length, cable, name=f"cable {name}")
            pp.create_load(net, bus, 3e-3, 6e-4, name=f"house {name}")
            last = bus
    return net


def row(net, table, name):
    return net[table].index[net[table]["name"] == name][0]


def put(table, which, /, **values):
    """Return a fault: set cells of the row with this name."""

    def plant(net):
        at = row(net, table, which)
        for column, value in values.items():
            if isinstance(value, str) or value is None:
                net[table][column] = net[table][column].astype(object)
            net[table].loc[at, column] = value

    return plant


def open_branch(net):
    line = row(net, "line", "cable 1-5")
    pp.create_switch(net, row(net, "bus", "bus 1-4"), line, et="l", closed=False)


def close_ring(net):
    ends = (row(net, "bus", f"bus {arm}-7") for arm in (0, 1))
    pp.create_line(net, *ends, 0.6, "NAYY 4x150 SE", name="ring")


def second_feeder(net):
    at = row(net, "bus", "MV")
    bus = pp.create_bus(net, 0.4, name="LV 2", geodata=(LON, LAT))
    pp.create_transformer(net, at, bus, "0.25 MVA 20/0.4 kV", name="station 2")


def swap_positions(net):
    def turn(text):
        return json.dumps(
            {"type": "Point", "coordinates": json.loads(text)["coordinates"][::-1]}
        )

    net.bus["geo"] = net.bus["geo"].map(turn)


def in_metres(net):
    net.bus["geo"] = '{"type": "Point", "coordinates": [390883.0, 392897.0]}'


def in_feet_of_length(net):
    net.line["length_km"] *= 3.28


def far_bus(net):
    placeholder = '{"type": "Point", "coordinates": [0.0, 0.0]}'
    net.bus.loc[row(net, "bus", "bus 2-7"), "geo"] = placeholder


def tap_control(net):
    DiscreteTapControl(net, net.trafo.index[0], vm_lower_pu=0.99, vm_upper_pu=1.01)


def one_hundredfold_load(net):
    net.load["p_mw"] *= 100.0


def low_source(net):
    net.ext_grid["vm_pu"] = 0.965


FAULTS = [
    # severity, check, element, value, part of the message, fault
    ("warning", "unsupplied", "bus 1-5, bus 1-6, bus 1-7", 3, "9 kW", open_branch),
    (
        "warning",
        "rating missing",
        "cable 0-3",
        1,
        "no rating",
        put("line", "cable 0-3", max_i_ka=math.nan),
    ),
    (
        "error",
        "rating absurd",
        "cable 0-3",
        1,
        "0 kA",
        put("line", "cable 0-3", max_i_ka=0.0),
    ),
    (
        "error",
        "rating absurd",
        "cable 0-3",
        1,
        "99999 kA",
        put("line", "cable 0-3", max_i_ka=99999.0),
    ),
    (
        "error",
        "numbers",
        "station: sn_mva",
        1,
        "above 0",
        put("trafo", "station", sn_mva=0.0),
    ),
    (
        "error",
        "numbers",
        "station: sn_mva",
        1,
        "no number",
        put("trafo", "station", sn_mva=math.nan),
    ),
    (
        "error",
        "numbers",
        "house 0-0: p_mw",
        1,
        "no number",
        put("load", "house 0-0", p_mw="2.1 kW"),
    ),
    (
        "error",
        "numbers",
        "house 0-0: p_mw",
        1,
        "no number",
        put("load", "house 0-0", p_mw="0.002"),
    ),
    (
        "error",
        "buses",
        "cable 2-7: to_bus",
        1,
        "not in the bus",
        put("line", "cable 2-7", to_bus=999),
    ),
    (
        "error",
        "buses",
        "house 2-7: bus",
        1,
        "not in the bus",
        put("load", "house 2-7", bus=999),
    ),
    (
        "note",
        "short lines",
        "cable 1-1",
        1,
        "(0 m)",
        put("line", "cable 1-1", length_km=0.0),
    ),
    (
        "note",
        "short lines",
        "cable 1-1",
        1,
        "(0.5 m)",
        put("line", "cable 1-1", length_km=5e-4),
    ),
    (
        "warning",
        "long lines",
        "cable 1-7",
        1,
        "(50 km)",
        put("line", "cable 1-7", length_km=50.0),
    ),
    (
        "warning",
        "line impedance",
        "cable 1-7",
        1,
        "r 64 ohm/km",
        put("line", "cable 1-7", r_ohm_per_km=64.0),
    ),
    (
        "warning",
        "line impedance",
        "cable 1-7",
        1,
        "x 8 ohm/km",
        put("line", "cable 1-7", x_ohm_per_km=8.0),
    ),
    (
        "warning",
        "transformer impedance",
        "station",
        1,
        "vk 60 %",
        put("trafo", "station", vk_percent=60.0),
    ),
    (
        "warning",
        "transformer impedance",
        "station",
        1,
        "vkr 7 %",
        put("trafo", "station", vkr_percent=7.0),
    ),
    (
        "warning",
        "names",
        "house 0-0",
        1,
        "(load)",
        put("load", "house 0-1", name="house 0-0"),
    ),
    (
        "error",
        "nominal voltage",
        "station",
        1,
        "10 kV at a bus of 20 kV",
        put("trafo", "station", vn_hv_kv=10.0),
    ),
    (
        "error",
        "nominal voltage",
        "cable 2-7",
        1,
        "20 kV at a bus of 0.4 kV",
        put("bus", "bus 2-7", vn_kv=20.0),
    ),
    (
        "note",
        "tap type",
        "station",
        1,
        "without a type",
        put("trafo", "station", tap_changer_type=None),
    ),
    (
        "warning",
        "tap position",
        "station",
        1,
        "tap 9",
        put("trafo", "station", tap_pos=9),
    ),
    (
        "note",
        "vector group",
        "station",
        1,
        "no vector group",
        put("trafo", "station", vector_group=None),
    ),
    (
        "warning",
        "vector group unknown",
        "station",
        1,
        "(delta-wye)",
        put("trafo", "station", vector_group="delta-wye"),
    ),
    (
        "note",
        "vector group angle",
        "station",
        1,
        "(Dyn11, 150 degree)",
        put("trafo", "station", vector_group="Dyn11", shift_degree=150.0),
    ),
    (
        "warning",
        "load size",
        "house 0-0",
        1,
        "(3000 kW)",
        put("load", "house 0-0", p_mw=3.0),
    ),
    (
        "warning",
        "negative load",
        "house 0-0",
        1,
        "(-3 kW)",
        put("load", "house 0-0", p_mw=-3e-3),
    ),
    (
        "warning",
        "load size",
        "house 0-0",
        1,
        "(12000 kW)",
        put("load", "house 0-0", p_mw=12.0),
    ),
    (
        "warning",
        "load size",
        "house 0-0",
        1,
        "(3e-06 kW)",
        put("load", "house 0-0", p_mw=3e-9, q_mvar=0.0),
    ),
    (
        "warning",
        "power factor",
        "house 0-0",
        1,
        "3 kW, 4 kvar",
        put("load", "house 0-0", q_mvar=4e-3),
    ),
    (
        "note",
        "voltage-dependent loads",
        "house 0-0",
        1,
        "depend on voltage",
        put("load", "house 0-0", const_z_p_percent=50.0),
    ),
    ("note", "controllers", "controller 0", 1, "DiscreteTapControl", tap_control),
    (
        "note",
        "coordinates missing",
        "bus 0-0",
        1,
        "no coordinates",
        put("bus", "bus 0-0", geo=None),
    ),
    (
        "note",
        "coordinates missing",
        "bus 0-0",
        1,
        "no coordinates",
        put("bus", "bus 0-0", geo="7.88;48.45"),
    ),
    ("warning", "coordinates", "MV, LV, bus 0-0", 26, "390883, 392897", in_metres),
    ("warning", "coordinates", "", 24, "look swapped", swap_positions),
    ("warning", "far away", "bus 2-7", 1, " km)", far_bus),
    ("warning", "scale", "", 0.305, "0.305 times its length", in_feet_of_length),
    ("note", "feeders", "station, station 2", 2, "2 independent", second_feeder),
    ("note", "meshes", "", 1, "1 loop(s)", close_ring),
    ("note", "low source", "MV", 1, "0.965 pu", low_source),
    (
        "warning",
        "source voltage",
        "MV",
        1,
        "1.15 pu",
        put("ext_grid", "grid", vm_pu=1.15),
    ),
    ("error", "base case", "station", 1, "7200 kW", one_hundredfold_load),
]


@pytest.mark.parametrize(
    ("severity", "check", "element", "value", "part", "plant"),
    FAULTS,
    ids=[f"{number} {fault[1]}" for number, fault in enumerate(FAULTS)],
)
def test_a_planted_fault_is_found_and_named(
    severity, check, element, value, part, plant
):
    net = village()
    plant(net)
    found = check_feeder(net)
    hits = found[found["check"] == check]
    assert len(hits) == 1
    hit = hits.iloc[0]
    assert (hit.severity, hit.element) == (severity, element)
    assert hit.value == pytest.approx(value, rel=1e-2)
    assert part in hit.message
    assert hit.cure


def test_the_network_is_not_changed():
    net = village()
    for *_, plant in FAULTS[10:30]:
        plant(net)
    before = copy.deepcopy(net)
    check_feeder(net)
    assert nets_equal(net, before)


def test_no_finding_comes_without_its_fault():
    found = check_feeder(village())
    assert set(found["check"]) == NOTES
    assert set(found["severity"]) == {"note"}
    assert list(found) == [
        "severity",
        "check",
        "element",
        "value",
        "message",
        "cure",
        "unit",
    ]
    assert found["value"].dtype == float


def test_the_base_case_is_that_of_pandapower():
    net = village()
    found = check_feeder(net).set_index("check")
    pp.runpp(net, numba=False)
    known = found["unit"]
    assert known["base voltage"] == "pu"
    assert known["base line loading"] == known["base transformer loading"] == "%"
    assert set(known) <= {"pu", "%", "count"}
    lowest = net.res_bus["vm_pu"]
    assert found.loc["base voltage", "value"] == pytest.approx(lowest.min(), abs=1e-7)
    # the two streets are alike: either end is the lowest but for rounding
    at = lowest.set_axis(net.bus["name"])[found.loc["base voltage", "element"]]
    assert at == pytest.approx(lowest.min(), abs=1e-9)
    for kind, table in (("line", "line"), ("transformer", "trafo")):
        percent = net[f"res_{table}"]["loading_percent"]
        assert found.loc[f"base {kind} loading", "value"] == pytest.approx(
            percent.max(), abs=1e-4
        )


@pytest.mark.parametrize(
    ("band", "check", "count"),
    [
        ({"voltage_min_pu": 0.99}, "base voltage", "below 0.99 pu"),
        ({"voltage_max_pu": 0.97}, "base voltage", "above 0.97 pu"),
        ({"loading_max": 0.1}, "base line loading", "above 10 %"),
        ({"loading_max": 0.1}, "base transformer loading", "above 10 %"),
    ],
)
def test_limits_turn_notes_of_the_base_case_into_warnings(band, check, count):
    found = check_feeder(village(), **band).set_index("check")
    assert found.loc[check, "severity"] == "warning"
    assert count in found.loc[check, "message"]
    assert found.loc[check, "cure"] != "none needed"


def test_each_nominal_voltage_is_held_against_its_own_band():
    net = pp.create_empty_network()
    pp.create_buses(net, 2, 20.0, name=["head", "mv"])
    pp.create_bus(net, 0.4, name="lv")
    pp.create_ext_grid(net, 0, vm_pu=0.955)
    pp.create_line_from_parameters(net, 0, 1, 1.0, 2.0, 2.0, 0.0, 0.4, name="line")
    pp.create_transformer(net, 1, 2, "0.63 MVA 20/0.4 kV", name="transformer")
    pp.create_load(net, 1, 4.0, name="mill")
    pp.create_load(net, 2, 0.1, name="house")
    bands = ((1.0, 0.90, 1.10),)  # above 1 kV 0.95 to 1.02
    limits = Limits(voltage_min_pu=0.95, voltage_max_pu=1.02, voltage_bands=bands)
    for model in (net, read_feeder(net)):
        found = check_feeder(
            model, voltage_min_pu=0.95, voltage_max_pu=1.02, voltage_bands=bands
        ).set_index("check")
        row = found.loc["base voltage"]
        assert (row["severity"], row["element"]) == ("warning", "mv")
        assert 0.93 < row["value"] < 0.95
        assert "1 of 2 buses below 0.9 pu at 0.4 kV, 0.95 pu at 20 kV" in row["message"]
    told = checked_feeder(read_feeder(net), limits).set_index("check")
    assert told.loc["base voltage", "severity"] == "warning"
    pp.create_ext_grid(net, 2, vm_pu=1.05)
    net.ext_grid.loc[0, "vm_pu"] = 1.05
    found = check_feeder(
        net, voltage_min_pu=0.95, voltage_max_pu=1.02, voltage_bands=bands
    ).set_index("check")
    assert found.loc["source voltage", "element"] == "head"


def test_too_high_a_voltage_names_the_highest_bus():
    net = village()
    pp.create_sgen(net, row(net, "bus", "bus 0-7"), 0.12, name="roof")
    found = check_feeder(net, voltage_max_pu=1.01).set_index("check")
    assert found.loc["base voltage", "element"] == "bus 0-7"
    assert found.loc["base voltage", "value"] > 1.01


def test_an_unsupplied_bus_without_load_is_only_a_note():
    net = village()
    pp.create_bus(net, 0.4, name="spare", geodata=(LON, LAT))
    found = check_feeder(net).set_index("check")
    assert tuple(found.loc["unsupplied", ["severity", "element"]]) == ("note", "spare")


def test_the_base_case_counts_the_load_that_is_served():
    net = village()
    open_branch(net)
    found = check_feeder(net).set_index("check")
    assert "with 63 kW of load" in found.loc["base voltage", "message"]
    assert "0 of 22 buses below" in found.loc["base voltage", "message"]


def test_one_feeder_without_solution_does_not_hide_the_other():
    net = village()
    second_feeder(net)
    pp.create_load(net, row(net, "bus", "LV 2"), 5.0, name="works")
    found = check_feeder(net).set_index("check")
    assert found.loc["base case", "element"] == "station 2"
    clean = check_feeder(village()).set_index("check")
    for check in NOTES:
        assert found.loc[check, "value"] == pytest.approx(clean.loc[check, "value"])


def test_one_finding_covers_all_rows_of_a_check():
    net = village()
    net.line["max_i_ka"] = np.nan
    found = check_feeder(net).set_index("check")
    assert found.loc["rating missing", "value"] == 24
    assert found.loc["rating missing", "element"] == "cable 0-0, cable 0-1, cable 0-2"
    assert "24 of 25" in found.loc["rating missing", "message"]
    assert "--assume-line-a" in found.loc["rating missing", "cure"]
    assert "base line loading" not in found.index


def test_rows_out_of_service_are_not_judged():
    net = village()
    put("line", "cable 0-7", max_i_ka=math.nan, in_service=False)(net)
    put("load", "house 0-7", p_mw=-1.0, in_service=False)(net)
    put("bus", "bus 0-7", in_service=False)(net)
    found = check_feeder(net)
    assert not {"rating missing", "negative load"} & set(found["check"])
    assert not found["severity"].isin(["error", "warning"]).any()


def test_findings_are_sorted_by_severity_then_check():
    net = village()
    for *_, plant in FAULTS[1:11]:
        plant(net)
    found = check_feeder(net)
    rank = found["severity"].map(["error", "warning", "note"].index)
    keys = list(zip(rank, found["check"], strict=True))
    assert keys == sorted(keys)
    assert {"error", "warning", "note"} == set(found["severity"])


class TestSources:
    def test_a_model_is_checked_without_its_tables(self):
        net = village()
        put("line", "cable 0-3", max_i_ka=math.nan)(net)
        put("bus", "bus 0-0", geo=None)(net)
        open_branch(net)
        feeder = feeder_from_net(net, name="village")
        found = check_feeder(replace(feeder, notes=("something assumed",)))
        by_check = found.set_index("check")
        assert by_check.loc["rating missing", "element"] == "cable 0-3"
        assert by_check.loc["coordinates missing", "element"] == "bus 0-0"
        assert by_check.loc["reader", "message"] == "something assumed"
        assert by_check.loc["unsupplied", "value"] == 3
        assert set(found["check"]) - NOTES == {
            "rating missing",
            "coordinates missing",
            "reader",
            "unsupplied",
        }

    def test_a_file_gives_the_same_as_its_network(self, tmp_path):
        net = village()
        pp.to_json(net, str(tmp_path / "net.json"))
        found = check_feeder(tmp_path / "net.json")
        pd.testing.assert_frame_equal(found, check_feeder(net))

    @pytest.mark.parametrize(
        "text", ["", "{", "[1, 2]", '{"bus": 3}', '"text"', '{"_module": "os"}']
    )
    def test_a_broken_file_is_one_finding_with_the_readers_message(
        self, tmp_path, text
    ):
        path = tmp_path / "net.json"
        path.write_text(text)
        found = check_feeder(path)
        assert found[["severity", "check", "value"]].to_numpy().tolist() == [
            ["error", "file", 1.0]
        ]
        assert str(path) in found["message"].iloc[0]

    def test_what_the_model_cannot_carry_leaves_the_tables_checked(self):
        net = village()
        pp.create_gen(net, row(net, "bus", "LV"), 0.01)
        put("load", "house 0-0", p_mw=-3e-3)(net)
        found = check_feeder(net)
        assert found["check"].tolist() == ["model", "negative load"]
        assert "voltage-controlled" in found["message"].iloc[0]

    @pytest.mark.parametrize(
        "source", ["nothing.json", "pandapower:no_such_net", "net.p", 3, None, {}]
    )
    def test_only_what_is_no_feeder_at_all_raises(self, source):
        with pytest.raises(ConfigError):
            check_feeder(source)

    @pytest.mark.parametrize(
        "limit",
        [
            {"voltage_min_pu": 90.0},
            {"voltage_max_pu": 0.8},
            {"loading_max": 100.0},
            {"loading_max": math.nan},
        ],
    )
    def test_limits_in_percent_are_refused(self, limit):
        with pytest.raises(ConfigError, match="fractions"):
            check_feeder(village(), **limit)


class TestHostileTables:
    @pytest.mark.parametrize("value", [None, "x", -math.inf])
    @pytest.mark.parametrize(
        ("table", "column"),
        [
            ("bus", "vn_kv"),
            ("line", "to_bus"),
            ("trafo", "vk_percent"),
            ("load", "scaling"),
        ],
    )
    def test_a_bad_cell_never_crashes_the_check(self, table, column, value):
        net = village(arms=1, steps=2)
        net[table][column] = net[table][column].astype(object)
        net[table].loc[net[table].index[-1], column] = value
        assert len(check_feeder(net)) > 0

    @pytest.mark.parametrize("table", ["bus", "line", "trafo", "load", "ext_grid"])
    def test_an_empty_table_never_crashes_the_check(self, table):
        net = village(arms=1, steps=2)
        net[table] = net[table].iloc[:0]
        found = check_feeder(net)
        assert found["severity"].isin(["error", "warning"]).any()

    @pytest.mark.parametrize(
        ("table", "column"),
        [("bus", "vn_kv"), ("line", "length_km"), ("trafo", "hv_bus"), ("load", "bus")],
    )
    def test_a_missing_column_is_an_error(self, table, column):
        net = village(arms=1, steps=2)
        del net[table][column]
        found = check_feeder(net)
        errors = found[found["severity"] == "error"]
        assert errors["message"].str.contains(column).any()


class TestRealFeeders:
    def test_a_clean_published_grid_has_no_warning(self):
        found = check_feeder("pandapower:create_kerber_landnetz_freileitung_1")
        assert set(found["check"]) == NOTES | {"coordinates missing"}
        assert set(found["severity"]) == {"note"}

    def test_schutterwald(self):
        check_feeder(village())  # compiles the solver
        start = time.perf_counter()
        found = check_feeder("pandapower:lv_schutterwald").set_index("check")
        seconds = time.perf_counter() - start
        warned = found.index[found["severity"] == "warning"]
        assert not (found["severity"] == "error").any()
        assert set(warned) == {"base transformer loading", "base voltage", "names"}
        assert found.loc["base voltage", "value"] == pytest.approx(0.891295, abs=1e-6)
        assert "168 of" in found.loc["base voltage", "message"]
        assert found.loc["base transformer loading", "value"] == pytest.approx(
            102.418, abs=1e-3
        )
        assert "1 of 14 above 100 %" in found.loc["base transformer loading", "message"]
        assert found.loc["base line loading", "value"] == pytest.approx(
            55.548, abs=1e-3
        )
        assert found.loc["feeders", "value"] == 14
        assert found.loc["meshes", "value"] == 1
        assert "0.965 pu" in found.loc["low source", "message"]
        assert found.loc["low source", "value"] == 14
        assert seconds < 30.0  # 1.6 s on an idle machine

    def test_loops_are_those_of_the_graph(self):
        net = village()
        close_ring(net)
        far = row(net, "bus", "bus 2-7")
        other = pp.create_bus(net, 20.0, name="MV 2", geodata=(LON, LAT))
        pp.create_ext_grid(net, other, name="grid 2")
        pp.create_transformer(net, other, far, "0.25 MVA 20/0.4 kV", name="station 2")
        found = check_feeder(net).set_index("check")
        assert found.loc["meshes", "value"] == 2  # a ring, and one through sources
        assert read_feeder(net).source_nodes.size == 2
