"""Plans on OpenDSS circuits, from a study file, judged by OpenDSS itself."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gridsite import Study, run_study
from gridsite.check_run import check_run
from gridsite.errors import ConfigError, SolveError
from gridsite.feeder.candidate_ports import with_candidate_ports
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.hosting.limits import Limits
from gridsite.report import read_results

pytest.importorskip("dss")

HERE = Path(__file__).parent
IEEE13, HOUSE = HERE / "ieee13.dss", HERE / "house.dss"
ALONE = ("[solve]", "[solve]\ncompare = false")
#: The change of voltage at the own connection is no limit of the judge.
CRITERIA = ("voltage", "line current", "transformer current", "unbalance")
JUDGED = (
    'preset = "EN50160"',
    f'preset = "EN50160"\ncriteria = {json.dumps(CRITERIA)}',
)
#: Only the small unit fits on a roof.
SMALL = ("= 3.0\nit_capital = 150", "= 1e6\nit_capital = 150")
SMALL_KW, SMALL_IT_KW = 5.0, 4.5
#: Two behind one transformer, one behind a broken one, one that unbalances.
PORTS = ("634b", "634c", "675c", "611")
ASSUMED = ('source = "house.dss"', 'source = "house.dss"\nassume_line_a = 100.0')


@pytest.fixture
def plan(write_opendss_study, tmp_path):
    """Return a function that runs a study of a circuit: demand in kW, ports."""

    def run(master, kw, ports, *edits, **options):
        path = write_opendss_study(
            tmp_path / str(len(list(tmp_path.iterdir()))),
            master,
            {f"roof {port}": port for port in ports},
            ALONE,
            ("it_kw_per_user = 4.0", f"it_kw_per_user = {kw / 20.0}"),
            *edits,
            **options,
        )
        return run_study(Study.read(path))

    return run


@pytest.fixture
def judge_of(judge):
    """Return a function that gives OpenDSS on the circuit of a run."""

    def make(run, master):
        ports = run.results.connections["port_id"]
        feeder = with_candidate_ports(run.study.feeder(), ports)
        return judge(master, feeder, run.study.limits(feeder))

    return make


@pytest.fixture(scope="module")
def allowed(judge):
    """Return by OpenDSS alone which counts of small units at `PORTS` break nothing."""
    limits = Limits.preset("EN50160").changed(criteria=CRITERIA)
    opendss = judge(IEEE13, read_feeder(IEEE13), limits)

    def holds(counts):
        kw = {p: SMALL_KW * n for p, n in zip(PORTS, counts, strict=True)}
        return not opendss.broken(kw) - opendss.base

    unit = [tuple(int(k == j) for j in range(len(PORTS))) for k in range(len(PORTS))]
    most = [
        next(n for n in itertools.count(1) if not holds(tuple(n * u for u in one)))
        for one in unit
    ]
    return {c for c in itertools.product(*map(range, most)) if holds(c)}


def added(run):
    """Return what a plan's units draw by port. [kW]"""
    table = run.results.plan
    table = table[table["port_id"] != ""]
    return table.groupby("port_id")["rated_kw"].sum().to_dict()


def test_a_plan_breaks_nothing_by_opendss_and_is_written_and_checked(
    plan, judge_of, tmp_path
):
    run = plan(IEEE13, 40.0, PORTS, JUDGED)
    assert run.summary["status"] == "optimal"
    replay = run.summary["replay"]
    assert (replay["new"], replay["worsened"]) == (0, 0)
    assert replay["base_violations"] > 0  # a transformer is overloaded as filed
    opendss = judge_of(run, IEEE13)
    assert opendss.base
    assert sum(added(run).values()) >= 40.0
    assert not opendss.broken(added(run)) - opendss.base
    out = run.write(tmp_path / "out")
    assert (out / "map.html").is_file()  # though the circuit has no coordinates
    assert check_run(read_results(out)).empty
    words = " ".join(run.summary["assumptions"])
    assert "no credit" in words


def test_brute_force_in_opendss_finds_no_plan_of_fewer_buildings(plan, allowed):
    """Units cost the same everywhere; each building that is used pays a fee."""
    most = max(sum(counts) for counts in allowed)
    assert most > 8
    for units in (3, 6, most - 1):
        run = plan(IEEE13, SMALL_IT_KW * units, PORTS, JUDGED, SMALL)
        counts = {p: round(kw / SMALL_KW) for p, kw in added(run).items()}
        assert tuple(counts.get(port, 0) for port in PORTS) in allowed
        few = [sum(n > 0 for n in c) for c in allowed if sum(c) == units]
        assert run.summary["units"] == units
        assert run.summary["buildings_used"] == min(few)
    # near the most, unbalance is found by a replay, and cut off: no row foresees it
    assert run.plan.rounds["violations"].iloc[0] > 0
    assert "unbalance" in set(run.plan.rows["criterion"])


def test_what_opendss_does_not_allow_is_no_plan(plan, allowed):
    most = max(sum(counts) for counts in allowed)
    with pytest.raises(SolveError):
        plan(
            IEEE13, SMALL_IT_KW * (most + 1), PORTS, JUDGED, SMALL
        ).plan.raise_for_status()


def test_units_across_both_legs_fill_a_pole_transformer(plan, judge_of):
    """At 240 V the plan holds and what firm capacity refuses breaks, by OpenDSS."""
    run = plan(HOUSE, 9.0, ["legs.1"], JUDGED, ASSUMED, phases="12")
    assert added(run) == {"legs.12?": 10.0}
    row = run.results.hosting.set_index("port_id").loc["legs.12?"]
    assert row["limit_element"] == "Transformer.pole"
    opendss = judge_of(run, HOUSE)
    assert not opendss.broken(added(run)) - opendss.base
    firm = float(row["firm_kw"])
    assert 10.0 < firm < 15.0 + SMALL_KW
    assert not opendss.broken({"legs.12?": firm}) - opendss.base
    new = opendss.broken({"legs.12?": firm + 0.25}) - opendss.base
    assert {element for element, _ in new} == {"Transformer.pole"}
    # one leg alone carries half as much
    assert opendss.broken({"legs.1": firm}) - opendss.base
    assert "line ratings assumed for 1 of 4 lines: 100 A" in run.summary["assumptions"]


@pytest.mark.slow
def test_a_plan_on_the_8500_node_feeder_breaks_nothing_by_opendss(
    plan, judge_of, shared
):
    """Units at 240 V on eight of 1,177 split-phase services; users are generated."""
    master = shared("opendss/ieee8500/Master.dss")
    houses = read_feeder(master).load_ports.index[::150].tolist()
    criteria = ("voltage", "transformer current")
    limits = ('preset = "EN50160"', f'preset = "EN50160"\ncriteria = {[*criteria]}')
    run = plan(master, 18.0, houses, limits, phases="12", copy=False)
    assert run.summary["status"] == "optimal"
    assert run.summary["replay"]["new"] == run.summary["replay"]["worsened"] == 0
    hosting = run.results.hosting
    assert len(hosting) == len(houses)
    assert (hosting["phases"] == "12").all()
    kw = added(run)
    assert sum(kw.values()) >= 18.0
    opendss = judge_of(run, master)
    assert not opendss.broken(kw) - opendss.base
    row = hosting[hosting["firm_status"] == "ok"].iloc[0]
    firm = {row["port_id"]: row["firm_kw"]}
    assert not opendss.broken(firm) - opendss.base
    assert opendss.broken({row["port_id"]: row["firm_kw"] + 0.25}) - opendss.base


@pytest.mark.parametrize("rule", ["worst", "best", "sampled"])
def test_a_rule_puts_all_units_of_a_building_on_one_phase(plan, judge_of, rule):
    run = plan(HOUSE, 4.5, ["zip", "motor"], JUDGED, ASSUMED, phases=rule)
    hosting = run.results.hosting
    assert hosting["building_id"].is_unique
    opendss = judge_of(run, HOUSE)
    assert not opendss.broken(added(run)) - opendss.base
    for row in hosting.itertuples():
        kw = {row.port_id: row.firm_kw}
        assert not opendss.broken(kw) - opendss.base
        assert opendss.broken({row.port_id: row.firm_kw + 0.25}) - opendss.base


def test_worst_and_best_are_least_and_most_of_the_phases(plan):
    firm = {}
    for rule in ("worst", "known", "best"):
        run = plan(HOUSE, 4.5, ["zip", "motor"], JUDGED, ASSUMED, phases=rule)
        table = run.results.hosting.set_index("building_id").sort_index()
        firm[rule] = table["firm_kw"]
    rounding = 1e-9  # sums over ports depend on which are rated together
    assert (firm["worst"] <= firm["known"] + rounding).all()
    assert (firm["known"] <= firm["best"] + rounding).all()
    assert (firm["worst"] < firm["best"]).any()


def test_three_phase_units_are_refused_where_connections_have_phases(plan):
    with pytest.raises(ConfigError, match=r"'ABC'.*known"):
        plan(HOUSE, 4.5, ["legs.1"], phases="ABC")


def test_three_phase_units_stand_beside_single_phase_ones(plan, judge_of, tmp_path):
    three = ('12.5\nphases = "known"', '12.5\nphases = "ABC"')
    run = plan(IEEE13, 60.0, PORTS, JUDGED, three)
    hosting = run.results.hosting.set_index("port_id")
    assert hosting.loc["611.ABC?", "firm_status"] == "lacks_phase"
    assert pd.isna(hosting.loc["611.ABC?", "firm_kw"])
    assert hosting.loc["675c.ABC?", "phases"] == "ABC"
    table = run.results.plan
    table = table[table["port_id"] != ""]
    at_three = table["port_id"].str.endswith(".ABC?")
    assert (at_three == (table["rated_kw"] / table["count"] > 10.0)).all()
    assert at_three.any()
    opendss = judge_of(run, IEEE13)
    assert not opendss.broken(added(run)) - opendss.base
    # a firm capacity holds in OpenDSS, and a little more breaks it
    for port in ("634b.ABC?", "675c.ABC?"):
        firm = hosting.loc[port, "firm_kw"]
        if hosting.loc[port, "firm_status"] != "ok":
            continue
        assert not opendss.broken({port: firm}) - opendss.base
        more = firm + max(0.25, 1e-3 * firm)
        assert opendss.broken({port: more}) - opendss.base
    out = run.write(tmp_path / "out")
    assert check_run(read_results(out)).empty


def test_units_of_one_and_three_phases_share_a_service(plan):
    """By the ampere: 634c draws on conductor C, where fuses leave room for a unit."""
    three = ('12.5\nphases = "known"', '12.5\nphases = "ABC"')
    alone = ('preset = "EN50160"', 'preset = "EN50160"\ncriteria = ["service"]')

    def run(amps, kw):
        service = f"[service]\namps = {amps}\nvolts = 277.13\n\n[solve]"
        return plan(IEEE13, kw, ["634c"], alone, three, ("[solve]", service))

    one = run(565.0, 11.0)
    left = one.results.hosting.set_index("port_id")["service_headroom_kw"]
    kw, kvar, tan = 120.0, 90.0, np.tan(np.arccos(0.98))
    for port, part in (("634c", 1.0), ("634c.ABC?", 3.0)):
        most = left[port] / part
        drawn = np.hypot(kw + most, kvar + tan * most)
        assert drawn == pytest.approx(0.27713 * 565.0, rel=1e-4)
    # each kind alone fits, both do not: more than the larger needs a larger fuse
    assert added(one) == {"634c.ABC?": 12.5}
    assert 5.0 < left["634c"] < 10.0
    assert 12.5 < left["634c.ABC?"] < 25.0
    with pytest.raises(SolveError):
        run(565.0, 14.0).plan.raise_for_status()
    assert sum(added(run(573.0, 14.0)).values()) > 15.0


class TestCommand:
    def test_hosting_of_three_phase_units_names_what_lacks_a_phase(
        self, call, tmp_path
    ):
        out = tmp_path / "out"
        options = ("--steps", "snapshot", "--joint", "--service-a", 4000)
        options += ("--criteria", "voltage,line current")
        options += ("--voltage-min", 0.85, "--voltage-max", 1.2)
        code, _, said = call(
            "hosting", IEEE13, "--phase", "ABC", *options, "--out", out
        )
        assert (code, said.strip()[:40]) == (0, "")
        table = pd.read_parquet(out / "hosting.parquet").set_index("building_id")
        assert table.index.is_unique
        assert table.loc["611", "firm_status"] == "lacks_phase"
        assert (table["phases"] == "ABC").all()
        assert pd.read_parquet(out / "joint.parquet")["joint_max_kw"].notna().any()
        summary = json.loads((out / "summary.json").read_text())
        assert summary["hosting"]["status"]["lacks_phase"] > 2
        rated = table.index[table["firm_status"] == "ok"]
        for building, words in (
            ("611", "lacks one of the three phases"),
            (rated[0], "is newly broken with"),
        ):
            code, shown, _ = call("explain", out, building)
            assert code == 0
            assert words in " ".join(shown.split())

    @pytest.mark.parametrize("phase", ["worst", "best", "sampled", "12"])
    def test_hosting_takes_a_phase_and_explains_it(self, call, tmp_path, phase):
        out = tmp_path / "out"
        options = ("--steps", "snapshot", "--assume-line-a", 100, "--joint")
        code, _, said = call("hosting", HOUSE, "--phase", phase, *options, "--out", out)
        assert (code, said.strip()[:40]) == (0, "")
        table = pd.read_parquet(out / "hosting.parquet")
        assert "legs" in set(table["building_id"])
        if phase == "12":
            assert "legs.12?" in set(table["port_id"])
        else:
            assert table["building_id"].is_unique
        code, shown, _ = call("explain", out, "legs")
        assert code == 0
        assert "is newly broken with" in shown

    def test_a_fuse_counts_at_the_voltage_between_its_conductors(self, call, tmp_path):
        """50 A of 120 V on a leg, of 240 V across both; the house draws on both."""
        for phase, volts in (("known", 120.0), ("12", 240.0)):
            out = tmp_path / phase
            options = ("--steps", "snapshot", "--criteria", "service")
            options += ("--service-rule", "eu")  # without it the NEC's
            call(
                "hosting",
                HOUSE,
                "--phase",
                phase,
                "--service-a",
                50,
                *options,
                "--out",
                out,
            )
            table = pd.read_parquet(out / "hosting.parquet").set_index("port_id")
            row = table.loc["legs.12?" if phase == "12" else "legs.1"]
            share = 1.1 * (1.0 if phase == "12" else 0.5)  # loadmult, both legs
            p, q = 4.0 * share, 1.0 * share
            tan = 0.2030587
            unit = float(row["firm_kw"])
            kva = ((p + unit) ** 2 + (q + tan * unit) ** 2) ** 0.5
            assert kva == pytest.approx(volts * 50.0 / 1e3, abs=0.11)

    def test_a_phase_of_a_balanced_model_is_refused(self, call, tmp_path):
        name = "pandapower:create_kerber_landnetz_freileitung_1"
        code, _, said = call(
            "hosting", name, "--phase", "worst", "--out", tmp_path / "out"
        )
        assert code == 3
        assert "balanced" in said


def test_the_manifest_holds_every_file_that_a_circuit_reads(call, tmp_path):
    folder = tmp_path / "circuit"
    folder.mkdir()
    text = IEEE13.read_text()
    at = text.index("new load")
    (folder / "loads").mkdir()
    (folder / "loads" / "all.txt").write_text(text[at:])
    master = folder / "master.dss"
    master.write_text(text[:at] + "redirect loads/all.txt\n")
    out = tmp_path / "out"
    options = ("--steps", "snapshot", "--criteria", "voltage", "--voltage-min", 0.85)
    code, _, said = call("hosting", master, *options, "--out", out)
    assert code == 0, said
    manifest = json.loads((out / "manifest.json").read_text())
    files = {str(master), str(folder / "loads" / "all.txt")}
    assert set(manifest["inputs"]) == files
    assert call("explain", out, "675c")[0] == 0
    loads = folder / "loads" / "all.txt"
    loads.write_text(loads.read_text() + "! one more line\n")
    code, _, said = call("explain", out, "675c")
    assert code == 3
    assert "all.txt" in said.replace("\n", "")
    assert "has changed" in " ".join(said.split())
