"""The pandapower reader: what files hide, what is refused, what is carried."""

from __future__ import annotations

import contextlib
import copy
import importlib.util
import json
import pickle
import sys

import numpy as np
import pandapower as pp
import pandas as pd
import pytest
from pandapower import networks
from solved_feeder import solved

from gridsite.errors import ConfigError, FeederError
from gridsite.feeder.net_sources import load_net
from gridsite.feeder.profiles import constant_profiles
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.hosting.grid_case import port_profiles

NEEDS_SIMBENCH = pytest.mark.skipif(
    importlib.util.find_spec("simbench") is None, reason="SimBench is not installed"
)


def voltages(feeder):
    """Return voltage by bus name with every port at its filed power. [pu]"""
    return pd.Series(solved(feeder), index=feeder.nodes["bus"])


def port_voltages(feeder):
    """Return voltage magnitude by port. [pu]"""
    return np.abs(
        pd.Series(
            voltages(feeder).to_numpy()[feeder.ports["node"]],
            index=feeder.ports.index,
        )
    )


def loading_percent(feeder):
    current = np.abs(feeder.terminal_y @ voltages(feeder).to_numpy())
    terminals = feeder.terminals.assign(
        percent=100.0
        * current
        * feeder.terminals["base_a"]
        / feeder.terminals["rated_a"]
    )
    return terminals.set_index(["element", "side"])["percent"]


def runpp(net):
    pp.runpp(net, calculate_voltage_angles=True, tolerance_mva=1e-10, numba=False)


@pytest.fixture
def street():
    """Return a net: source, transformer, two lines in a row, two houses."""
    net = pp.create_empty_network(name="street")
    for name, kv in (("mv", 20.0), ("lv", 0.4), ("mid", 0.4), ("end", 0.4)):
        pp.create_bus(net, kv, name=name)
    pp.create_ext_grid(net, 0, vm_pu=1.01, name="grid")
    pp.create_transformer(net, 0, 1, "0.25 MVA 20/0.4 kV", name="T", tap_pos=0)
    for a, b, name in ((1, 2, "first"), (2, 3, "second")):
        pp.create_line(net, a, b, 0.2, "NAYY 4x150 SE", name=name)
    pp.create_load(net, 2, 0.020, 0.004, name="house mid")
    pp.create_load(net, 3, 0.030, 0.006, name="house end")
    return net


# --- taps (N3) ---


@pytest.mark.parametrize("missing", [None, np.nan, "no column"])
def test_tap_without_a_type_acts_and_is_noted(street, missing):
    street.trafo["tap_pos"] = 2
    with_type = copy.deepcopy(street)
    with_type.trafo["tap_changer_type"] = "Ratio"
    if missing == "no column":
        street.trafo = street.trafo.drop(columns="tap_changer_type")
    else:
        street.trafo["tap_changer_type"] = missing
    feeder = read_feeder(street)
    acting = port_voltages(read_feeder(with_type))
    assert (port_voltages(feeder) - acting).abs().max() < 1e-12
    runpp(with_type)
    known = with_type.res_bus["vm_pu"].loc[street.load["bus"]].to_numpy()
    assert np.abs(acting.to_numpy() - known).max() < 1e-8
    street.trafo["tap_changer_type"] = None
    runpp(street)  # as filed: pandapower leaves the tap out
    silent = street.res_bus["vm_pu"].loc[street.load["bus"]].to_numpy()
    assert np.abs(acting.to_numpy() - silent).min() > 0.02
    assert any("tap" in note for note in feeder.notes)


def test_neutral_tap_and_typed_tap_need_no_note(street):
    street.trafo["tap_changer_type"] = "Ratio"
    assert not any("tap" in note for note in read_feeder(street).notes)


@NEEDS_SIMBENCH
@pytest.mark.slow
def test_simbench_taps_act_and_profiles_come_along():
    net = load_net("simbench:1-LV-rural1--0-sw")
    net.trafo["tap_pos"] = net.trafo["tap_min"]
    feeder = read_feeder(net)
    mine = port_voltages(feeder)[net.load["name"]].to_numpy()
    runpp(net)
    silent = net.res_bus["vm_pu"].loc[net.load["bus"]].to_numpy()
    net.trafo["tap_changer_type"] = "Ratio"
    runpp(net)
    known = net.res_bus["vm_pu"].loc[net.load["bus"]].to_numpy()
    assert np.abs(mine - known).max() < 1e-8
    assert np.abs(mine - silent).min() > 0.02
    assert len(feeder.profiles.time) == 35_136
    assert set(feeder.load_ports.index) <= set(feeder.profiles.port_ids)
    step, house = 12_345, net.load.iloc[7]
    shape = net.profiles["load"][f"{house['profile']}_pload"].iloc[step]
    p_kw, _ = feeder.profiles.select([house["name"]]).power_kw(np.array([step]))
    assert p_kw[0, 0] == pytest.approx(shape * house["p_mw"] * 1e3)


# --- lines and switches (N12, N13, N14) ---


def test_zero_length_line_is_a_closed_switch(street):
    fused = copy.deepcopy(street)
    street.line.loc[1, "length_km"] = 0.0
    fused.line.loc[1, "in_service"] = False
    pp.create_switch(fused, 2, 3, et="b", closed=True)
    feeder = read_feeder(street)
    gap = port_voltages(feeder) - port_voltages(read_feeder(fused))
    assert gap.abs().max() < 1e-12
    assert any("zero-length" in note for note in feeder.notes)


def test_almost_zero_length_line_does_not_break_the_power_flow(street):
    street.line.loc[1, "length_km"] = 1e-9
    v = port_voltages(read_feeder(street))
    assert v["house end"] == pytest.approx(v["house mid"], abs=1e-9)


def test_zero_length_line_with_an_open_switch_does_not_conduct(street):
    street.line.loc[1, "length_km"] = 0.0
    pp.create_switch(street, 2, 1, et="l", closed=False)
    feeder = read_feeder(street)
    assert feeder.unsupplied_buses == ("end",)
    assert feeder.ports.loc["house end", "node"] == -1


@pytest.mark.parametrize("length", [-0.1, np.nan])
def test_negative_or_missing_length_is_refused(street, length):
    street.line.loc[1, "length_km"] = length
    with pytest.raises(FeederError, match="line 1: length_km"):
        read_feeder(street)


def test_closed_bus_switch_fuses_and_open_one_parts(street):
    other = pp.create_bus(street, 0.4, name="annex")
    switch = pp.create_switch(street, 3, other, et="b", closed=True)
    pp.create_load(street, other, 0.005, 0.001, name="annex")
    v = port_voltages(read_feeder(street))
    assert v["annex"] == v["house end"]
    runpp(street)
    assert v["annex"] == pytest.approx(street.res_bus["vm_pu"].iloc[other], abs=1e-9)
    street.switch.loc[switch, "closed"] = False
    feeder = read_feeder(street)
    assert feeder.unsupplied_buses == ("annex",)


def test_line_open_at_one_end_is_not_a_line_out_of_service():
    net = pp.create_empty_network()
    for name in ("mv", "a", "b"):
        pp.create_bus(net, 20.0, name=name)
    pp.create_ext_grid(net, 0, name="grid")
    pp.create_line(net, 0, 1, 5.0, "NA2XS2Y 1x240 RM/25 12/20 kV", name="in")
    pp.create_line(net, 1, 2, 20.0, "NA2XS2Y 1x240 RM/25 12/20 kV", name="open")
    pp.create_line(net, 0, 2, 5.0, "NA2XS2Y 1x240 RM/25 12/20 kV", name="other")
    pp.create_load(net, 1, 2.0, 0.4, name="works")
    pp.create_switch(net, 2, 1, et="l", closed=False)
    opened = read_feeder(net)
    runpp(net)
    known = net.res_line["loading_percent"].set_axis(net.line["name"])
    percent = loading_percent(opened).groupby("element").max()
    for name in ("in", "open", "other"):
        assert percent[name] == pytest.approx(known[name], abs=1e-6)
    assert percent["open"] > 1.0  # its charging current flows
    net.line.loc[1, "in_service"] = False
    gone = read_feeder(net)
    assert "open" not in gone.elements.index
    gap = port_voltages(gone)["works"] - port_voltages(opened)["works"]
    assert abs(gap) > 1e-5


def test_parallel_lines_share_the_load(street):
    single = loading_percent(read_feeder(street))["second"].max()
    double = copy.deepcopy(street)
    double.line.loc[1, "parallel"] = 2
    twin = copy.deepcopy(street)
    pp.create_line(twin, 2, 3, 0.2, "NAYY 4x150 SE", name="twin")
    by_count = loading_percent(read_feeder(double))
    by_row = loading_percent(read_feeder(twin))
    assert by_count["second"].max() == pytest.approx(by_row["second"].max(), rel=1e-9)
    assert by_row["twin"].max() == pytest.approx(by_row["second"].max(), rel=1e-9)
    assert 0.4 < by_count["second"].max() / single < 0.5
    rated = read_feeder(double).elements.loc["second", "rating"]
    assert rated == pytest.approx(2 * 270.0)


def test_derating_factor_lowers_the_rating(street):
    street.line.loc[0, "df"] = 0.8
    street.trafo.loc[0, "df"] = 0.5
    feeder = read_feeder(street)
    runpp(street)
    sides = loading_percent(feeder)
    percent = sides.groupby("element").max()
    assert percent["first"] == pytest.approx(street.res_line["loading_percent"][0])
    assert percent["T"] == pytest.approx(street.res_trafo["loading_percent"][0])
    for side, kv in (("hv", 20.0), ("lv", 0.4)):
        i_ka = street.res_trafo[f"i_{side}_ka"][0]
        known = i_ka * np.sqrt(3) * kv / 0.125 * 100.0
        assert sides["T"][side] == pytest.approx(known, rel=1e-9)
    assert feeder.elements.loc["first", "rating"] == pytest.approx(0.8 * 270.0)
    assert feeder.elements.loc["T", "rating"] == pytest.approx(125.0)


# --- transformers (N17, N19) ---


def test_transformer_is_rated_at_both_sides_by_current(street):
    street.trafo["tap_pos"] = -2
    street.trafo["parallel"] = 2
    feeder = read_feeder(street)
    street.trafo["tap_changer_type"] = "Ratio"
    runpp(street)
    percent = loading_percent(feeder)["T"]
    s_rated = 2 * 0.25
    hv = street.res_trafo["i_hv_ka"][0] * np.sqrt(3) * 20.0 / s_rated * 100.0
    lv = street.res_trafo["i_lv_ka"][0] * np.sqrt(3) * 0.4 / s_rated * 100.0
    assert percent["hv"] == pytest.approx(hv, abs=1e-6)
    assert percent["lv"] == pytest.approx(lv, abs=1e-6)
    assert abs(hv - lv) > 0.5
    assert street.res_trafo["loading_percent"][0] == pytest.approx(max(hv, lv))


def test_three_winding_transformer_has_a_terminal_at_each_side():
    net = pp.create_empty_network()
    for name, kv in (("hv", 110.0), ("mv", 20.0), ("lv", 10.0)):
        pp.create_bus(net, kv, name=name)
    pp.create_ext_grid(net, 0, name="grid")
    pp.create_transformer3w(net, 0, 1, 2, "63/25/38 MVA 110/20/10 kV", name="W")
    pp.create_load(net, 1, 5.0, 1.0, name="small")
    pp.create_load(net, 2, 30.0, 8.0, name="large")
    feeder = read_feeder(net)
    runpp(net)
    percent = loading_percent(feeder)["W"]
    assert sorted(percent.index) == ["hv", "lv", "mv"]
    for side, kv, mva in (("hv", 110, 63), ("mv", 20, 25), ("lv", 10, 38)):
        i_ka = net.res_trafo3w[f"i_{side}_ka"][0]
        known = i_ka * np.sqrt(3) * kv / mva * 100.0
        assert percent[side] == pytest.approx(known, abs=1e-6)
    helpers = feeder.nodes[~feeder.nodes["limited"]]
    assert len(helpers) == 1  # no voltage limit at the star point


# --- supply (N15) ---


def test_unsupplied_bus_is_named_and_has_no_node(street):
    street.line.loc[1, "in_service"] = False
    feeder = read_feeder(street)
    assert feeder.unsupplied_buses == ("end",)
    assert feeder.ports.loc["house end", "node"] == -1
    assert feeder.ports.loc["house end", "feeder_id"] == ""
    assert "end" not in feeder.nodes["bus"].tolist()


def test_load_at_a_bus_out_of_service_has_no_node(street):
    street.bus.loc[3, "in_service"] = False
    feeder = read_feeder(street)
    assert feeder.ports.loc["house end", "node"] == -1
    assert feeder.ports.loc["house end", "feeder_id"] == ""
    assert "end" not in feeder.nodes["bus"].tolist()


def test_external_grid_out_of_service_supplies_nothing(street):
    far = pp.create_bus(street, 20.0, name="far")
    pp.create_ext_grid(street, far, in_service=False, name="idle")
    pp.create_load(street, far, 0.001, name="far load")
    feeder = read_feeder(street)
    assert feeder.unsupplied_buses == ("far",)
    assert len(feeder.source_nodes) == 1
    street.ext_grid["in_service"] = False
    with pytest.raises(FeederError, match="no external grid in service"):
        read_feeder(street)


def test_load_at_the_source_bus_is_supplied(street):
    pp.create_load(street, 0, 0.1, 0.02, name="at the source")
    port = read_feeder(street).ports.loc["at the source"]
    assert port["node"] >= 0
    assert port["bus"] == "mv"


def test_two_sources_make_two_feeders_named_after_their_transformers(street):
    far_mv = pp.create_bus(street, 20.0, name="far mv")
    far = pp.create_bus(street, 0.4, name="far lv")
    pp.create_ext_grid(street, far_mv, name="second grid")
    pp.create_transformer(street, far_mv, far, "0.25 MVA 20/0.4 kV", name="T far")
    pp.create_load(street, far, 0.01, 0.0, name="far house")
    feeder = read_feeder(street)
    assert feeder.ports["feeder_id"].to_dict() == {
        "house mid": "T",
        "house end": "T",
        "far house": "T far",
    }


# --- what is drawn ---


def test_scaling_and_service_flags_are_kept(street):
    street.load.loc[0, "scaling"] = 0.5
    street.load.loc[1, "in_service"] = False
    pp.create_sgen(street, 3, 0.008, 0.001, scaling=0.25, name="sun")
    ports = read_feeder(street).ports
    assert sorted(ports.index) == ["house mid", "sgen: sun"]
    assert ports.loc["house mid", "p_kw"] == pytest.approx(10.0)
    assert ports.loc["sgen: sun", "p_kw"] == pytest.approx(-2.0)
    assert ports.loc["sgen: sun", "q_kvar"] == pytest.approx(-0.25)
    assert ports.loc["sgen: sun", "kind"] == "generation"


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_load_without_power_is_refused(street):
    street.load.loc[1, "p_mw"] = np.nan
    with pytest.raises(FeederError, match=r"load: 1 row\(s\) without p_mw"):
        read_feeder(street)


@pytest.mark.parametrize(
    "percent",
    [
        {"z_p": 100.0, "z_q": 100.0},
        {"i_p": 100.0, "i_q": 100.0},
        {"z_p": 30.0, "i_p": 45.0, "z_q": 60.0, "i_q": 10.0},
        {"z_q": 100.0},
    ],
)
def test_loads_follow_their_voltage_as_in_pandapower(street, percent):
    for share, value in percent.items():
        kind, power = share.split("_")
        street.load.loc[1, f"const_{kind}_{power}_percent"] = value
    feeder = read_feeder(street)
    pp.runpp(street, numba=False, tolerance_mva=1e-12, voltage_depend_loads=True)
    wanted = street.res_bus.set_index(street.bus["name"])["vm_pu"]
    found = port_voltages(feeder)
    assert np.allclose(found, wanted[feeder.ports["bus"]], atol=1e-8)
    pp.runpp(street, numba=False, tolerance_mva=1e-12, voltage_depend_loads=False)
    constant = street.res_bus.set_index(street.bus["name"])["vm_pu"]
    assert np.abs(found - constant[feeder.ports["bus"]].to_numpy()).max() > 1e-5
    assert len(feeder.load_ports) == 2
    assert feeder.ports["p_kw"].sum() == pytest.approx(50.0)


def test_a_profile_of_a_load_is_shared_by_its_parts(street):
    for name, value in (("z_p", 30.0), ("i_p", 50.0), ("z_q", 100.0)):
        kind, power = name.split("_")
        street.load.loc[1, f"const_{kind}_{power}_percent"] = value
    feeder = read_feeder(street)
    whole = constant_profiles(["house mid", "house end"], [4.0, 10.0], [1.0, 3.0])
    split = port_profiles(feeder, whole)
    assert list(split.port_ids) == list(feeder.ports.index)
    table = pd.DataFrame(
        {"p": split.p_scale_kw, "q": split.q_scale_kvar}, feeder.ports.index
    )
    assert table.loc["house mid"].tolist() == [4.0, 1.0]
    assert table["p"].drop("house mid").round(9).tolist() == [2.0, 5.0, 3.0]
    assert table["q"].drop("house mid").round(9).tolist() == [0.0, 0.0, 3.0]


def test_impossible_shares_are_refused(street):
    street.load["const_z_p_percent"] = [0.0, 70.0]
    street.load["const_i_p_percent"] = [0.0, 40.0]
    with pytest.raises(FeederError, match=r"1 row\(s\) with shares.*first index 1"):
        read_feeder(street)


def test_the_net_given_is_not_changed(street):
    street.trafo["tap_changer_type"] = None
    street.line.loc[1, "length_km"] = 0.0
    before = copy.deepcopy(street)
    read_feeder(street)
    for table in ("bus", "line", "trafo", "load", "switch"):
        pd.testing.assert_frame_equal(street[table], before[table])


# --- names ---


def test_names_that_are_not_unique_give_way_to_the_row_number(street):
    street.load["name"] = "house"
    street.line["name"] = "line"
    street.bus["name"] = None
    feeder = read_feeder(street)
    assert feeder.ports.index.tolist() == ["load 0", "load 1"]
    assert {"line 0", "line 1"} <= set(feeder.elements.index)
    assert feeder.ports.loc["load 1", "bus"] == "bus 3"


def test_unique_names_stay_where_others_are_not_unique_or_missing(street):
    pp.create_load(street, 1, 0.001, name="shed")
    pp.create_load(street, 1, 0.001, name="shed")
    pp.create_load(street, 1, 0.001, name=None)
    feeder = read_feeder(street)
    assert feeder.ports.index.tolist() == [
        "house mid",
        "house end",
        "load 2",
        "load 3",
        "load 4",
    ]
    (note,) = (note for note in feeder.notes if "not unique" in note)
    assert note == (
        "2 load row(s) with a name that is not unique, first 'shed': "
        "called by row, as 'load 2'"
    )


def test_a_name_that_reads_like_the_number_of_another_row_gives_way(street):
    street.load["name"] = ["load 1", None]
    feeder = read_feeder(street)
    assert feeder.ports.index.tolist() == ["load 0", "load 1"]
    assert feeder.ports.loc["load 0", "bus"] == "mid"  # not the row called load 1
    assert any("'load 1': called by row, as 'load 0'" in n for n in feeder.notes)


def test_names_that_are_all_unique_or_all_missing_need_no_note(street):
    assert not any("unique" in note for note in read_feeder(street).notes)
    street.load["name"] = None
    assert not any("unique" in note for note in read_feeder(street).notes)


def test_port_name_that_stands_twice_is_refused(street):
    street.load.loc[0, "name"] = "sgen: sun"
    pp.create_sgen(street, 3, 0.001, name="sun")
    with pytest.raises(FeederError, match="sgen: sun"):
        read_feeder(street)


def test_element_name_that_stands_twice_is_refused(street):
    street.line.loc[0, "name"] = "T"
    with pytest.raises(FeederError, match=r"element names stand twice: \['T'\]"):
        read_feeder(street)


# --- what cannot be carried ---


def add_gen(net):
    pp.create_gen(net, 3, 0.01)


def add_dcline(net):
    pp.create_dcline(net, 1, 3, 0.01, 1.0, 0.1, 1.0, 1.0)


def add_xward(net):
    pp.create_xward(net, 3, 0.01, 0.0, 0.0, 0.0, 0.1, 0.1, 1.0)


def add_asymmetric(net):
    pp.create_asymmetric_load(net, 3, p_a_mw=0.01)


@pytest.mark.parametrize(
    ("add", "table"),
    [
        (add_gen, "gen"),
        (add_dcline, "dcline"),
        (add_xward, "xward"),
        (add_asymmetric, "asymmetric_load"),
    ],
)
def test_elements_that_cannot_be_carried_are_refused_by_name(street, add, table):
    add(street)
    with pytest.raises(FeederError, match=rf"1 {table} row\(s\)"):
        read_feeder(street)
    street[table]["in_service"] = False
    read_feeder(street)  # out of service they do no harm


# --- files ---


def test_json_file_gives_what_the_net_gives(street, tmp_path):
    pp.to_json(street, str(tmp_path / "street.json"))
    read = read_feeder(tmp_path / "street.json")
    known = read_feeder(street)
    pd.testing.assert_frame_equal(read.ports, known.ports)
    assert (abs(read.y - known.y) > 1e-12).nnz == 0
    assert read.name == str(tmp_path / "street.json")


def test_xlsx_file_gives_what_the_net_gives(street, tmp_path):
    pytest.importorskip("openpyxl")
    pp.to_excel(street, str(tmp_path / "street.xlsx"))
    read = read_feeder(tmp_path / "street.xlsx")
    known = read_feeder(street)
    assert (port_voltages(read) - port_voltages(known)).abs().max() < 1e-9


HAS_OPENPYXL = importlib.util.find_spec("openpyxl") is not None


@pytest.mark.skipif(HAS_OPENPYXL, reason="openpyxl is installed")
def test_xlsx_file_without_openpyxl_names_the_missing_package(tmp_path):
    (tmp_path / "street.xlsx").write_bytes(b"PK")
    with pytest.raises(ConfigError, match="openpyxl"):
        read_feeder(tmp_path / "street.xlsx")


@pytest.mark.parametrize(
    "name",
    [
        "no/such/file.json",
        "pandapower:create_nothing_of_the_kind",
        "pandapower:__builtins__",
        "pandapower:os.system",
        "pandapower:",
    ],
)
def test_unknown_file_or_network_is_a_config_error(name):
    with pytest.raises(ConfigError) as error:
        read_feeder(name)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2


@NEEDS_SIMBENCH
def test_unknown_simbench_code_is_a_config_error():
    with pytest.raises(ConfigError, match="no grid 'nothing'"):
        read_feeder("simbench:nothing")


@pytest.mark.parametrize("suffix", [".p", ".pkl", ".pickle", ".dat", ""])
def test_pickles_are_refused_and_never_loaded(tmp_path, suffix):
    mark = tmp_path / "ran"

    class Runs:
        def __reduce__(self):
            return (type(mark).touch, (mark,))

    file = tmp_path / f"net{suffix}"
    file.write_bytes(pickle.dumps(Runs()))
    with pytest.raises(ConfigError, match="not read"):
        read_feeder(file)
    assert not mark.exists()


def test_pickle_in_a_json_name_is_refused(tmp_path):
    file = tmp_path / "net.json"
    file.write_bytes(pickle.dumps({"bus": 1}))
    with pytest.raises(FeederError, match="not a JSON file"):
        read_feeder(file)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '"text"', "1", "null"])
def test_json_that_is_no_network_is_refused(tmp_path, text):
    file = tmp_path / "net.json"
    file.write_text(text)
    with pytest.raises(FeederError) as error:
        read_feeder(file)
    assert str(file) in str(error.value)


@pytest.fixture
def marker(tmp_path, monkeypatch):
    """Return the name of a module that leaves a file behind when imported."""
    (tmp_path / "gridsite_marker.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w').close()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "gridsite_marker"
    sys.modules.pop("gridsite_marker", None)


def hostile_json(net, module, *, where, escaped):
    """Return pandapower JSON that asks for a class of another package."""
    item = {"_module": module, "_class": "Anything", "_object": "1"}
    data = json.loads(pp.to_json(net))
    tables = data["_object"]
    if where == "top":
        tables["extra"] = item
    elif where == "class itself":
        data = item
    else:
        table = json.loads(tables["load"]["_object"])
        table["data"][0][table["columns"].index("type")] = item
        text = json.dumps(table)
        if where == "text in a cell":
            table["data"][0][table["columns"].index("type")] = json.dumps(item)
            text = json.dumps(table)
        if escaped:
            text = text.replace('_module\\"', '_modul\\u0065\\"')
            text = text.replace('"_module"', '"_modul\\u0065"')
        tables["load"]["_object"] = text
    return json.dumps(data)


@pytest.mark.parametrize(
    ("where", "escaped"),
    [
        ("top", False),
        ("class itself", False),
        ("cell", False),
        ("cell", True),
        ("text in a cell", False),
        ("text in a cell", True),
    ],
)
def test_json_never_imports_foreign_modules(street, tmp_path, marker, where, escaped):
    file = tmp_path / "net.json"
    file.write_text(hostile_json(street, marker, where=where, escaped=escaped))
    with contextlib.suppress(FeederError):
        read_feeder(file)
    assert not (tmp_path / "ran").exists()


def test_json_never_reads_tables_from_other_files(street, tmp_path, marker):
    data = json.loads(pp.to_json(street))
    table = json.loads(data["_object"]["load"]["_object"])
    item = {"_module": marker, "_class": "Anything", "_object": "1"}
    table["data"][0][table["columns"].index("type")] = item
    (tmp_path / "table.json").write_text(json.dumps(table))
    data["_object"]["load"]["_object"] = str(tmp_path / "table.json")
    (tmp_path / "net.json").write_text(json.dumps(data))
    with pytest.raises(FeederError):
        read_feeder(tmp_path / "net.json")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "module", ["os", "subprocess", "builtins", "gridsite.errors", "pandas_evil", ""]
)
def test_json_with_a_foreign_class_is_refused_by_name(street, tmp_path, module):
    file = tmp_path / "net.json"
    file.write_text(hostile_json(street, module, where="cell", escaped=False))
    with pytest.raises(FeederError, match="refused"):
        read_feeder(file)


def test_named_networks_are_networks():
    assert len(read_feeder("pandapower:create_cigre_network_mv").load_ports) == 18
    with pytest.raises(ConfigError):
        read_feeder("pandapower:cigre_networks")  # a module, not a network


def test_named_network_equals_the_function():
    feeder = read_feeder("pandapower:four_loads_with_branches_out")
    net = networks.four_loads_with_branches_out()
    assert len(feeder.ports) == len(net.load)
    runpp(net)
    known = net.res_bus["vm_pu"].loc[net.load["bus"]].to_numpy()
    assert np.abs(port_voltages(feeder).to_numpy() - known).max() < 1e-8


def test_named_network_is_the_same_network_each_time():
    first = read_feeder("pandapower:create_kerber_landnetz_kabel_1")
    second = read_feeder("pandapower:create_kerber_landnetz_kabel_1")
    assert (port_voltages(first) == port_voltages(second)).all()


def test_a_generator_marked_as_slack_is_a_source():
    def net(source):
        net = pp.create_empty_network()
        a, b = pp.create_bus(net, 20.0), pp.create_bus(net, 20.0)
        source(net, a)
        pp.create_line_from_parameters(net, a, b, 5.0, 0.2, 0.1, 200.0, 0.25)
        pp.create_load(net, b, 3.0, 1.0)
        return net

    machine = net(lambda n, a: pp.create_gen(n, a, 1.0, vm_pu=1.02, slack=True))
    feeder = read_feeder(machine)
    known = read_feeder(net(lambda n, a: pp.create_ext_grid(n, a, vm_pu=1.02)))
    assert (abs(feeder.y - known.y)).nnz == 0
    assert feeder.source_v == pytest.approx(known.source_v)
    assert feeder.source_nodes.tolist() == known.source_nodes.tolist()
    assert len(machine.gen) == 1  # the network given is not changed
    machine.gen["slack"] = False
    with pytest.raises(FeederError, match="voltage-controlled generators"):
        read_feeder(machine)
