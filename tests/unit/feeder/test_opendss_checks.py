"""What is wrong with OpenDSS circuits, and with traps that files hold, is named."""

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

from gridsite.errors import ConfigError
from gridsite.feeder import checks
from gridsite.feeder.checks import check_feeder
from gridsite.feeder.findings import SEVERITIES
from gridsite.feeder.net_sources import load_net
from gridsite.input_checks import Completion, check_inputs

pytest.importorskip("dss", reason="needs dss-python")

from gridsite.feeder.opendss_checks import opendss_findings

#: A generated circuit: 12.47 kV, one lateral of one phase, a split-phase service.
CIRCUIT = """
Clear
New Circuit.town basekv=12.47 pu=1.0 bus1=head
New Linecode.c nphases=3 r1=0.3 x1=0.3 units=km normamps=300
New Linecode.one nphases=1 r1=0.5 x1=0.4 units=km normamps=100
New Line.main bus1=head bus2=a linecode=c length=1 units=km
New Line.lateral bus1=a.2 bus2=b.2 linecode=one phases=1 length=0.5 units=km
New Transformer.service phases=1 windings=3 xhl=2 xht=2 xlt=1.4
~ wdg=1 bus=b.2.0 kv=7.2 kva=25
~ wdg=2 bus=c.1.0 kv=0.12 kva=25
~ wdg=3 bus=c.0.2 kv=0.12 kva=25
New Transformer.town phases=3 windings=2 xhl=4
~ wdg=1 bus=a kv=12.47 kva=100
~ wdg=2 bus=d conn=wye kv=0.4 kva=100
New Load.house bus1=c.1.2 phases=2 kv=0.24 kw=4 pf=0.98
New Load.shop bus1=d phases=3 kv=0.4 kw=20 pf=0.95
"""
END = "Set voltagebases=[12.47 0.4 0.208]\nCalcVoltageBases\n"
DEGREES = "head, 7.88, 48.45\na, 7.8935, 48.45\nb, 7.9003, 48.45\n"


@pytest.fixture
def found(tmp_path):
    """Return a function that gives the findings on a circuit, by check."""

    def look(text=CIRCUIT, end=END, places=None):
        if places is not None:
            (tmp_path / "xy.csv").write_text(places)
            end += "BusCoords xy.csv\n"
        (tmp_path / "master.dss").write_text(text + end)
        rows = list(opendss_findings(tmp_path / "master.dss"))
        assert all(row.severity in SEVERITIES and row.cure for row in rows)
        return {row.check: row for row in rows}

    return look


def test_the_reference_system_and_ratings_of_a_run_count(found, tmp_path):
    """UTM places in metres; without an ampacity of the lateral."""
    east = {"head": 415, "a": 416, "b": 416.5, "c": 416.5, "d": 416}
    metres = "".join(f"{bus}, {1e3 * km:.0f}, 5367000\n" for bus, km in east.items())
    bare = CIRCUIT.replace(" normamps=100", "")
    assert found(text=bare, places=metres)["coordinates"].severity == "warning"
    master = tmp_path / "master.dss"
    plain = check_inputs(master).set_index("check")["message"]
    assert {"coordinates", "default ampacity", "rating missing"} <= set(plain.index)
    assert plain[["reader"]].str.contains("give their crs").any()
    given = Completion(crs="EPSG:32632", assume_line_a=100.0)
    told = check_inputs(master, completion=given).set_index("check")["message"]
    answered = {"coordinates", "default ampacity", "rating missing"}
    assert not answered & set(told.index)
    assert not told[["reader"]].str.contains("give their crs").any()
    assert told[["reader"]].str.contains("assumed for 1 of").any()
    kept = set(plain.index) - answered
    assert kept <= set(told.index)
    roofs = gpd.GeoDataFrame(geometry=[shapely.box(0, 0, 10, 10)], crs="EPSG:32632")
    roofs.to_file(tmp_path / "roofs.gpkg")
    far = check_inputs(master, completion=given, roofs=tmp_path / "roofs.gpkg")
    assert "far away" in set(far["check"])


def test_a_sound_circuit_has_notes_alone(found):
    notes = found(places=DEGREES)
    assert {row.severity for row in notes.values()} == {"note"}
    assert notes["coordinates"].message.startswith("coordinates are longitude and lat")


def test_f1_lines_of_one_phase_are_named_not_made_three_phase(found):
    row = found()["phases"]
    assert (row.element, row.value) == ("line.lateral", 1)


def test_f2_a_missing_voltage_base_of_the_low_voltage_is_an_error(found):
    row = found(end="Set voltagebases=[12.47]\nCalcVoltageBases\n")["voltage base"]
    assert row.severity == "error"
    assert "transformer.town winding 2" in row.element
    assert "0.4 kV at d" in row.message
    assert "voltage base" not in found()


def test_f2_bases_never_calculated_are_an_error(found):
    row = found(end="")["voltage base"]
    assert (row.severity, row.value) == ("error", 5)


def test_f3_commands_left_out_are_named_with_their_lines(found):
    row = found(end=END + "Solve mode=yearly\nExport voltages\nPlot circuit\n")
    assert row["left out"].value == 3
    assert "master.dss, line 19: Solve is left out" in row["left out"].message


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("New Line.main bus1=a bus2=z linecode=c length=1", "main"),
        ("New Load.x bus1=a kv=7.2 daily=nothing", "nothing"),
        ("New RegControl.r transformer=nothing winding=2", "nothing"),
    ],
)
def test_f3_a_line_that_stops_the_engine_is_an_error_with_its_text(found, line, said):
    row = found(end=f"{line}\n{END}")["script"]
    assert row.severity == "error"
    assert line in row.message
    assert said in row.message.lower()


def test_f4_neutral_nodes_are_left_out_of_limits(found):
    assert "neutral nodes" not in found()
    neutral = "New Reactor.n phases=1 bus1=d.4 bus2=d.0 r=5 x=0\n"
    row = found(text=CIRCUIT.replace("bus=d conn", "bus=d.1.2.3.4 conn") + neutral)
    assert (row["neutral nodes"].element, row["neutral nodes"].value) == ("d.4", 1)


def test_f6_the_default_ampacity_is_no_rating(found):
    row = found(text=CIRCUIT.replace(" normamps=300", ""))["default ampacity"]
    assert (row.severity, row.element) == ("warning", "line.main")
    assert "unrated" in row.message
    assert "--assume-line-a" in row.cure


def test_f7_split_phase_services_and_loads_of_the_wrong_voltage(found):
    assert found()["split phase"].element == "transformer.service"
    assert "load voltage" not in found()
    row = found(text=CIRCUIT.replace("kv=0.24", "kv=0.48"))["load voltage"]
    assert (row.severity, row.element) == ("warning", "load.house")


def _moved(scale_x, scale_y, *, turned=False):
    rows = [line.split(",") for line in DEGREES.split("\n") if line]
    at = [
        (n, (float(x) - 7.88) * scale_x, (float(y) - 48.45) * scale_y + 50)
        for n, x, y in rows
    ]
    if turned:
        return "".join(f"{n}, {y}, {x}\n" for n, x, y in rows)
    return "".join(f"{n}, {x}, {y}\n" for n, x, y in at)


@pytest.mark.parametrize(
    ("places", "words"),
    [
        (_moved(74_000, 111_200), "to scale in metres"),
        (_moved(74_000 / 0.3048, 1), "to scale in feet"),
        (_moved(74.0, 111.2), "to scale in kilometres"),
        (_moved(1, 1, turned=True), "latitude, then longitude"),
        (_moved(900, 900), "a drawing, not to scale"),
    ],
)
def test_f8_coordinates_are_called_what_they_are(found, places, words):
    row = found(places=places)
    assert words in row["coordinates"].message
    assert row["coordinates"].severity == "warning"
    assert row["coordinates missing"].value == 2  # the low-voltage buses


@pytest.mark.parametrize(
    ("old", "new", "check", "element"),
    [
        ("kw=20 pf=0.95", "kw=-20 pf=0.95", "negative load", "load.shop"),
        ("kw=20 pf=0.95", "kw=20000", "load size", "load.shop"),
        ("kw=4 pf=0.98", "kw=0.0004", "load size", "load.house"),
        ("kw=20 pf=0.95", "kw=20 kvar=30", "power factor", "load.shop"),
        ("length=0.5 units=km", "length=0.5 units=m", "short lines", "line.lateral"),
        ("length=0.5 units=km", "length=500 units=km", "long lines", "line.lateral"),
    ],
)
def test_slips_of_sign_and_unit_are_named(found, old, new, check, element):
    assert check not in found()
    row = found(text=CIRCUIT.replace(old, new))[check]
    assert (row.element, row.value) == (element, 1)


def test_f8_places_of_published_feeders(shared):
    for name, words in {
        "european-lv/Master.dss": "to scale in metres",
        "ckt5/Master_ckt5.dss": "to scale in feet",
        "ieee8500/Master.dss": "to scale in feet",
        "ieee13/IEEE13Nodeckt.dss": "a drawing",
    }.items():
        rows = list(opendss_findings(shared(f"opendss/{name}")))
        assert [words in r.message for r in rows if r.check == "coordinates"] == [True]
        assert not [row for row in rows if row.severity == "error"]


def test_f11_regulated_power_filed_as_rated_power(found):
    regulator = (
        "New Transformer.reg phases=3 windings=2 xhl={} kvas=[5000 5000] "
        "kvs=[12.47 12.47] buses=[a e]\n"
    )
    assert "reactance" not in found(end=regulator.format(1) + END)
    row = found(end=regulator.format(10) + END)["reactance"]
    assert (row.severity, row.element) == ("warning", "transformer.reg")
    assert "the power it regulates" in row.cure


def test_f13_the_base_case_is_held_against_the_engine(tmp_path, monkeypatch):
    master = tmp_path / "master.dss"
    master.write_text(CIRCUIT + END)
    row = check_feeder(master).set_index("check").loc["source engine"]
    assert (row["severity"], row["value"] < 1e-6) == ("note", True)
    real = checks.read_feeder

    def misread(source):
        feeder = real(source)
        feeder.ports["p_kw"] *= 3.0
        return feeder

    monkeypatch.setattr(checks, "read_feeder", misread)
    row = check_feeder(master).set_index("check").loc["source engine"]
    assert (row["severity"], row["value"] > 1e-3) == ("error", True)


def test_a_circuit_is_read_with_the_errors_of_its_script_alone(tmp_path):
    master = tmp_path / "master.dss"
    master.write_text(CIRCUIT + "Set voltagebases=[12.47 0.208]\nCalcVoltageBases\n")
    feeder, errors = checks.read_with_errors(master)
    assert [error.check for error in errors] == ["voltage base"]
    assert "town" in errors[0].element
    assert len(feeder.load_ports) == 5  # two legs, three phases
    master.write_text(CIRCUIT + END)
    assert checks.read_with_errors(master)[1] == []


def test_a_refused_script_is_a_finding_and_a_missing_one_a_config_error(tmp_path):
    master = tmp_path / "master.dss"
    master.write_text(CIRCUIT + "DOScmd ls\n")
    rows = check_feeder(master)
    assert rows["severity"].tolist() == ["error"]
    assert "DOScmd" in rows["message"].iloc[0]
    with pytest.raises(ConfigError, match="no such file"):
        check_feeder(tmp_path / "none.dss")


def test_bytes_of_any_kind_never_crash_the_check(tmp_path):
    rng = np.random.default_rng(5)
    master = tmp_path / "master.dss"
    for size in (0, 1, 40, 4000):
        for _ in range(5):
            master.write_bytes(rng.bytes(size))
            assert isinstance(check_feeder(master), pd.DataFrame)


def test_f1_parallel_transformers_of_a_balanced_conversion_are_named():
    net = load_net("pandapower:create_cigre_network_mv")
    assert "parallel transformers" not in set(check_feeder(net)["check"])
    twin = net.trafo.iloc[[0]].assign(name="regulator b", tap_side="hv")
    net.trafo = pd.concat([net.trafo, twin], ignore_index=True)
    last = net.trafo.index[-1]
    net.trafo.loc[last, ["tap_pos", "tap_neutral", "tap_step_percent"]] = [6, 0, 0.625]
    rows = check_feeder(net).set_index("check")
    assert rows.loc["parallel transformers", "severity"] == "warning"
    assert "regulator b" in rows.loc["parallel transformers", "element"]
    assert "3.75 % apart" in rows.loc["parallel transformers", "message"]


def test_f13_results_in_the_file_are_compared_with_the_base_case():
    import pandapower as pp  # noqa: PLC0415

    net = load_net("pandapower:create_kerber_landnetz_freileitung_1")
    pp.runpp(net, numba=False)
    assert "filed results" not in set(check_feeder(net)["check"])
    net.load["p_mw"] *= 2.0
    rows = check_feeder(net).set_index("check")
    assert rows.loc["filed results", "severity"] == "warning"
    assert rows.loc["filed results", "value"] > 5
