"""A study from its file to a verified plan."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandapower as pp
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from gridsite import Study, hosting_capacity, run_study
from gridsite.errors import ConfigError, DataError, SolveError
from gridsite.report import Results, read_results, write_results
from gridsite.study import plans

ROOT = Path(__file__).parents[1]
ALONE = ("[solve]", "[solve]\ncompare = false")
EXACT = ("gap = 0.001", "gap = 1e-9")
HALF = ("it_kw_per_user = 4.0", "it_kw_per_user = 2.0")


@pytest.fixture(scope="module")
def tiny(write_study, tmp_path_factory):
    """Return the run of the tiny study; tests only read it."""
    return run_study(Study.read(write_study(tmp_path_factory.mktemp("tiny"))))


@pytest.fixture(scope="module")
def broken(write_study, tmp_path_factory):
    """Return the run of a study whose street B is broken before any unit comes."""
    folder = tmp_path_factory.mktemp("broken")
    return run_study(Study.read(write_study(folder, ALONE, HALF, weak_km=0.5)))


@pytest.fixture
def run(make_study, tmp_path):
    """Return a function that runs the tiny study with pieces replaced."""

    def edited(*edits, spoil=None, **options):
        path = make_study(tmp_path / "study", *edits, **options)
        if spoil is not None:
            spoil(path.parent)
        return run_study(Study.read(path))

    return edited


def at_buildings(plan):
    return plan[plan["port_id"] != ""]


class TestSummary:
    def test_has_every_figure_of_the_contract(self, tiny):
        keys = (
            "status objective bound gap gap_model units rated_kw it_kw buildings_used "
            "central_it_kw served_share replay rounds seconds not_checked"
        )
        assert set(keys.split()) <= set(tiny.summary)
        counts = {"steps", "base_violations", "new", "worsened", "worst"}
        assert counts <= set(tiny.summary["replay"])

    def test_agrees_with_the_tables(self, tiny):
        summary, plan = tiny.summary, tiny.results.plan
        units = at_buildings(plan)
        assert summary["status"] == tiny.plan.status == "optimal"
        assert summary["units"] == units["count"].sum() > 3
        assert summary["rated_kw"] == pytest.approx(units["rated_kw"].sum())
        assert summary["it_kw"] == pytest.approx(units["it_kw"].sum())
        assert summary["buildings_used"] == units["building_id"].nunique() > 1
        central = plan.loc[plan["port_id"] == "", "it_kw"].sum()
        assert summary["central_it_kw"] == pytest.approx(central)
        assert summary["buildings"]["rated"] == len(tiny.results.hosting) == 8
        assert 0.0 <= summary["gap"] <= 0.001
        assert summary["bound"] <= summary["objective"] * (1.0 + 1e-9)

    def test_names_generated_data_and_what_is_not_checked(self, tiny):
        assert tiny.summary["generated"] == ["network", "buildings", "users", "loads"]
        words = " ".join(tiny.summary["not_checked"])
        for name in ("protection", "harmonics", "flicker", "unbalance", "sources"):
            assert name in words

    def test_is_plain_json(self, tiny):
        assert json.loads(json.dumps(tiny.summary, allow_nan=False)) == tiny.summary

    def test_a_criterion_switched_off_is_listed_as_not_checked(self, run):
        edit = ('preset = "EN50160"', 'criteria = ["voltage", "line current"]')
        summary = run(ALONE, edit).summary
        for name in ("voltage change", "transformer current", "service"):
            assert f"{name} (switched off)" in summary["not_checked"]


class TestPlan:
    def test_replay_is_clean(self, tiny):
        replay = tiny.summary["replay"]
        assert (replay["new"], replay["worsened"], replay["base_violations"]) == (
            0,
        ) * 3
        assert replay["steps"] == 48
        assert replay["worst"] is None
        assert tiny.results.violations.empty

    def test_units_stay_within_the_firm_capacity_of_their_connection(self, tiny):
        drawn = at_buildings(tiny.results.plan).groupby("port_id")["rated_kw"].sum()
        firm = tiny.results.hosting.set_index("port_id")["firm_kw"]
        assert (drawn <= firm.loc[drawn.index] + 1e-9).all()

    def test_units_of_all_kinds_together_fit_on_their_roof(self, run):
        """A roof of 100 m2 holds one unit of 60 m2, not one of each kind."""
        wide = [
            (f"= 3.0\nit_capital = {digit}", f"= 60.0\nit_capital = {digit}")
            for digit in "61"
        ]
        found = run(ALONE, *wide, ("it_kw_per_user = 4.0", "it_kw_per_user = 3.0"))
        plan = at_buildings(found.results.plan)
        used = 60.0 * plan.groupby("building_id")["count"].sum()
        roof = found.results.buildings.set_index("building_id")["roof_area_m2"]
        assert (used <= roof.loc[used.index]).all()

    def test_every_demand_is_served_within_its_limit(self, tiny):
        results, key = tiny.results, ["zone_id", "workload"]
        served = results.assignment.groupby(key)["it_kw"].sum()
        need = results.demand.set_index(key)["demand_it_kw"]
        np.testing.assert_allclose(served.loc[need.index], need, rtol=1e-6)
        limit = results.workloads.set_index("workload")["rtt_limit_ms"]
        rtt = results.assignment
        assert (rtt["rtt_ms"].to_numpy() <= limit.loc[rtt["workload"]]).all()
        assert tiny.summary["served_share"] == 1.0

    def test_no_site_computes_more_than_it_has(self, tiny):
        served = tiny.results.assignment.groupby("site_id")["it_kw"].sum()
        built = tiny.results.plan.groupby("site_id")["it_kw"].sum()
        assert (served <= built.loc[served.index] + 1e-6).all()

    def test_pandapower_finds_no_new_violation_at_the_heaviest_steps(self, tiny):
        """No code of gridsite: pandapower on the file, the CSV and the plan."""
        folder = tiny.study.folder
        net = pp.from_json(str(folder / "net.json"))
        loads = pd.read_csv(folder / "loads.csv", index_col="time")
        names = net.load["name"]
        added = at_buildings(tiny.results.plan).groupby("port_id")["rated_kw"].sum()
        added = added.reindex(names, fill_value=0.0).to_numpy() / 1e3
        lowest, most = np.inf, 0.0
        for stamp in loads.sum(axis=1).nlargest(3).index:
            own = loads.loc[stamp, names].to_numpy() / 1e3
            states = []
            for extra in (0.0, added):
                net.load["p_mw"] = own + extra
                net.load["q_mvar"] = own * tan(0.95) + extra * tan(0.98)
                pp.runpp(net, numba=False, tolerance_mva=1e-10)
                current = [net.res_line.loading_percent]
                # against rated current, not against the power that passes
                current += [net.res_trafo[s] / rated_ka(net, s) * 100.0 for s in SIDES]
                states.append((net.res_bus.vm_pu.copy(), pd.concat(current)))
            (v_base, i_base), (v_plan, i_plan) = states
            assert not ((v_plan < 0.9) & (v_base >= 0.9)).any()
            assert not ((i_plan > 100.0) & (i_base <= 100.0)).any()
            lowest, most = min(lowest, v_plan.min()), max(most, i_plan.max())
        assert tiny.replay.voltages["plan_min_pu"].min() == pytest.approx(
            lowest, abs=1e-7
        )
        peak = tiny.results.elements["plan_peak_percent"].max()
        assert peak == pytest.approx(most, abs=1e-4)

    def test_a_plan_that_breaks_a_limit_is_cut_off_and_replaced(self, run):
        """
        Demand so near to what two streets carry that linear rows are too kind.

        Which of several plans at equal cost comes first is not told: the first demand
        at which the first plan breaks a limit is looked at.
        """
        for kw in ("4.6", "4.55", "4.5", "4.65"):
            found = run(ALONE, ("it_kw_per_user = 4.0", f"it_kw_per_user = {kw}"))
            rounds = found.plan.rounds["violations"]
            if rounds.iloc[0] > 0:
                break
        assert rounds.iloc[0] > 0
        assert rounds.iloc[-1] == 0
        assert found.summary["rounds"] == len(rounds) > 1
        assert found.summary["rows_tightened"] > 0
        assert found.summary["status"] == "optimal"
        assert found.replay.violations.empty

    def test_a_plan_that_no_round_makes_safe_is_not_verified(self, run):
        edit = ("it_kw_per_user = 4.0", "it_kw_per_user = 6.5")
        found = run(ALONE, edit, weak_km=0.06)
        assert found.summary["status"] == "not_verified"
        assert found.summary["replay"]["new"] == len(found.results.violations) > 0
        with pytest.raises(SolveError, match=r"not_verified.*130 kW of 'real-time'"):
            found.plan.raise_for_status()

    def test_demand_with_a_price_may_stay_unserved(self, run):
        edits = (
            ("it_kw_per_user = 4.0", "it_kw_per_user = 40.0"),
            ("rtt_limit_ms = 20.0", "rtt_limit_ms = 20.0\nunserved_cost = 1e6"),
        )
        found = run(ALONE, *edits)
        assert 0.0 < found.summary["served_share"] < 1.0
        assert found.plan.costs["unserved_present"] > 0.0
        assert found.summary["replay"]["new"] == 0


SIDES = ("i_hv_ka", "i_lv_ka")


def tan(power_factor):
    return float(np.tan(np.arccos(power_factor)))


def rated_ka(net, side):
    kv = net.trafo["vn_hv_kv" if side == "i_hv_ka" else "vn_lv_kv"]
    return net.trafo["sn_mva"] / (np.sqrt(3.0) * kv)


class TestCosts:
    def test_terms_add_up_to_the_objective(self, tiny):
        costs = tiny.results.costs["present_cost"]
        assert costs.sum() == pytest.approx(tiny.summary["objective"], rel=1e-9)
        assert tiny.summary["objective"] == tiny.plan.objective

    def test_terms_follow_from_the_study_file_by_hand(self, tiny):
        """7 % real, ten years: hardware is bought twice, running costs weigh 7.02."""
        years = (1.0 - 1.07**-10) / 0.07
        count = tiny.results.plan.groupby("unit")["count"].sum()
        it_price = {"small": 60e3, "large": 150e3, "north-block": 13e3 * 25.0}
        hardware = sum(it_price[unit] * count[unit] for unit in count.index)
        fee = {"small": 600.0, "large": 1500.0, "north-block": 0.0}
        host = sum(fee[unit] * count[unit] for unit in count.index) * years
        costs = tiny.results.costs.set_index("term")["present_cost"]
        assert costs["it_hardware_capital"] == pytest.approx(hardware * (1 + 1.07**-5))
        assert costs["host_present"] == pytest.approx(host)
        # idle draw of what stands, busy draw of what is assigned
        price = {"building": 0.38 * 1.05, "central": 0.06 * 1.10}
        it_kw = tiny.results.plan.groupby(tiny.results.plan["port_id"] == "")["it_kw"]
        built = it_kw.sum().rename({False: "building", True: "central"})
        idle = sum(0.3 * built[k] * price[k] for k in price) * 8760.0 * years
        assert costs["idle_energy_present"] == pytest.approx(idle)
        served = tiny.results.assignment
        central = served["site_id"] == "north"
        kw = {"central": served.loc[central, "it_kw"].sum()}
        kw["building"] = served.loc[~central, "it_kw"].sum()
        busy = sum(0.7 * 0.7 * kw[k] * price[k] for k in price) * 8760.0 * years
        assert costs["energy_present"] == pytest.approx(busy)


class TestComparison:
    def test_three_strategies_from_the_same_inputs(self, tiny):
        table = tiny.results.comparison.set_index("strategy")
        assert list(table.index) == ["distributed", "central", "hybrid"]
        # 80 kW of real-time that only buildings reach, 20 kW of batch
        assert table["served_share"].tolist() == pytest.approx([0.8, 0.2, 1.0])
        assert table["comparable"].tolist() == [False, False, True]
        assert table.loc["central", "units"] == 0
        assert table.loc["distributed", "units"] > 0

    def test_it_hardware_stands_apart_from_infrastructure(self, tiny):
        table = tiny.results.comparison.set_index("strategy")
        parts = [c for c in table.columns if c.endswith("_present")]
        assert {"it_hardware_present", "infrastructure_present"} <= set(parts)
        assert (table[["it_hardware_present", "infrastructure_present"]] > 0).all(None)
        total = table[parts].sum(axis=1)
        np.testing.assert_allclose(total, table["objective"], rtol=1e-9)

    def test_latency_and_time_are_those_of_what_each_builds(self, tiny):
        table = tiny.results.comparison.set_index("strategy")
        assert table.loc["distributed", "rtt_p95_ms"] < 15.0
        assert table.loc["central", "rtt_p50_ms"] > 40.0
        assert table.loc["distributed", "months_to_full"] == 6.0
        assert table.loc["central", "months_to_full"] == 24.0

    def test_a_central_site_adds_no_load_to_the_feeder(self, tiny):
        table = tiny.results.comparison.set_index("strategy")
        assert table.loc["central", "losses_mwh_per_year"] == pytest.approx(
            0.0, abs=1e-9
        )
        assert table.loc["distributed", "losses_mwh_per_year"] > 0.0
        base = tiny.results.elements["base_peak_percent"].max()
        assert table.loc["central", "peak_loading_percent"] == pytest.approx(base)

    def test_is_left_out_on_request(self, broken):
        assert broken.results.comparison["strategy"].tolist() == ["hybrid"]

    def test_is_searched_for_no_longer_than_its_own_limit(self, run, monkeypatch):
        asked, real = [], plans.solve

        def solve(problem, **options):
            asked.append(options["time_limit_s"])
            return real(problem, **options)

        monkeypatch.setattr(plans, "solve", solve)
        own = "time_limit_s = 30.0"
        run((own, f"{own}\ncompare_time_limit_s = 20.0"))
        assert asked[0] == 30.0
        assert set(asked[1:]) == {20.0}


class TestRepeating:
    def test_same_inputs_give_the_same_plan(self, tiny, run):
        again = run()
        assert_frame_equal(again.results.plan, tiny.results.plan)
        assert_frame_equal(again.results.assignment, tiny.results.assignment)
        assert_frame_equal(again.results.hosting, tiny.results.hosting)

    def test_the_order_of_buildings_loads_and_users_changes_nothing(self, run):
        def shuffle(folder):
            roofs = gpd.read_parquet(folder / "roofs.parquet")
            roofs.sample(frac=1.0, random_state=1).to_parquet(folder / "roofs.parquet")
            loads = pd.read_csv(folder / "loads.csv")
            loads[[*loads.columns[:1], *loads.columns[:0:-1]]].to_csv(
                folder / "loads.csv", index=False
            )
            users = pd.read_csv(folder / "users.csv")
            users[::-1].to_csv(folder / "users.csv", index=False)

        plain, mixed = run(ALONE, EXACT), run(ALONE, EXACT, spoil=shuffle)
        order = mixed.results.hosting["building_id"].tolist()
        assert order != plain.results.hosting["building_id"].tolist()
        assert mixed.plan.objective == pytest.approx(plain.plan.objective, rel=1e-9)
        firm = [
            r.results.hosting.set_index("building_id")["firm_kw"].sort_index()
            for r in (plain, mixed)
        ]
        pd.testing.assert_series_equal(*firm)

    def test_manifest_holds_what_repeating_needs(self, tiny):
        manifest, folder = tiny.results.manifest, tiny.study.folder
        files = {"net.json", "loads.csv", "roofs.parquet", "users.csv"}
        assert set(manifest["inputs"]) == files
        for name, found in manifest["inputs"].items():
            assert found == hashlib.sha256((folder / name).read_bytes()).hexdigest()
        assert manifest["seed"] == 3
        assert {"python", "gridsite", "pandapower", "highspy"} <= set(
            manifest["versions"]
        )
        assert manifest["options"]["solve"]["gap"] == 0.001

    def test_what_is_written_is_read_again(self, tiny, tmp_path):
        again = read_results(tiny.write(tmp_path / "out"))
        for name, table in tiny.results.tables().items():
            assert_frame_equal(
                pd.DataFrame(again.tables()[name]),
                pd.DataFrame(table),
                check_dtype=False,
            )
        assert again.summary == tiny.summary


class TestBrokenBase:
    """Street B is below its voltage limit in the evening before any unit comes."""

    def test_houses_there_have_no_capacity_and_say_why(self, broken):
        table = broken.results.hosting.set_index("feeder_id")
        there = table.loc["station B"]
        assert set(there["firm_status"]) == {"none_base_violation"}
        assert (there[["firm_kw", "flexible_energy98_kw"]] == 0.0).all(axis=None)
        assert set(there["limit_criterion"]) == {"voltage"}
        assert there["limit_element"].isin({"bus B2", "bus B3", "bus B4"}).all()
        assert there["limit_time"].notna().all()

    def test_the_other_street_is_rated_as_ever(self, broken, tiny):
        firm = [
            r.results.hosting.set_index("building_id")["firm_kw"].iloc[:4]
            for r in (broken, tiny)
        ]
        np.testing.assert_allclose(*firm, atol=1e-6)

    def test_no_unit_stands_there_and_nothing_gets_worse(self, broken):
        units = at_buildings(broken.results.plan)
        assert len(units)
        assert units["building_id"].str.startswith("house A").all()
        replay = broken.summary["replay"]
        assert replay["base_violations"] > 0
        assert (replay["new"], replay["worsened"]) == (0, 0)


def test_a_street_beyond_collapse_does_not_stop_the_other(run):
    def spoil(folder):
        loads = pd.read_csv(folder / "loads.csv")
        loads.assign(B4=1e3 * loads["B4"]).to_csv(folder / "loads.csv", index=False)

    found = run(ALONE, HALF, spoil=spoil)
    table = found.results.hosting.set_index("feeder_id")
    assert set(table.loc["station A", "firm_status"]) == {"ok"}
    assert set(table.loc["station B", "firm_status"]) == {"not_converged"}
    assert table.loc["station B", "firm_kw"].isna().all()
    assert at_buildings(found.results.plan)["building_id"].str.contains("A").all()
    assert found.summary["replay"]["feeders_not_solved"] == ["station B"]


class TestHostingAlone:
    def test_a_study_rates_as_hosting_capacity_does(self, tiny):
        study = tiny.study
        feeder = study.feeder()
        table = hosting_capacity(
            feeder,
            study.loads(feeder),
            limits=study.limits(),
            connections=tiny.results.connections,
            power_factor=study.power_factor(),
        )
        assert_frame_equal(table, tiny.results.hosting, check_dtype=False)

    def test_results_without_a_plan_are_written_and_read(self, tiny, tmp_path):
        full = tiny.results
        alone = Results(
            buildings=full.buildings,
            connections=full.connections,
            hosting=full.hosting,
            elements=full.elements,
            summary={"study": "alone", "step_minutes": 60.0},
        )
        again = read_results(write_results(alone, tmp_path / "out"))
        assert again.plan is None
        assert len(again.hosting) == 8


class TestStudyFile:
    def test_units_of_different_power_factor_count_with_the_least(self, run):
        edit = (
            "0.98\nfootprint_m2 = 3.0\nit_capital = 1",
            "0.95\nfootprint_m2 = 3.0\nit_capital = 1",
        )
        other = (
            "0.98\nfootprint_m2 = 3.0\nit_capital = 6",
            "0.95\nfootprint_m2 = 3.0\nit_capital = 6",
        )
        both, least = run(edit), run(edit, other)
        assert any("0.95" in text for text in both.summary["assumptions"])
        firm = [found.results.hosting["firm_kw"] for found in (both, least)]
        pd.testing.assert_series_equal(*firm)

    def test_a_study_without_profiles_says_what_to_give(self, run):
        with pytest.raises(ConfigError, match=r"profiles\.file"):
            run(('file = "loads.csv"\n', ""))

    def test_a_snapshot_study_has_one_step(self, run):
        found = run(ALONE, ('file = "loads.csv"', "snapshot = true"))
        assert found.summary["replay"]["steps"] == 1
        hosting = found.results.hosting
        firm = hosting["firm_kw"]
        # min(P, h) >= 0.98 P in one step: P = h / 0.98; firm is h to its tolerance
        np.testing.assert_allclose(
            0.98 * hosting["flexible_energy98_kw"], firm, atol=0.15
        )
        np.testing.assert_allclose(hosting["flexible_hours98_kw"], firm, atol=0.15)

    def test_a_study_without_central_sites_is_distributed(self, run):
        def spoil(folder):
            path = folder / "study.toml"
            text = path.read_text(encoding="utf-8")
            start, end = text.index("[[central]]"), text.index("[economics]")
            path.write_text(text[:start] + text[end:], encoding="utf-8")

        edit = ('site_kinds = ["central"]', 'site_kinds = ["building"]')
        found = run(edit, HALF, spoil=spoil)
        assert found.summary["central_it_kw"] == 0.0
        assert found.summary["served_share"] == 1.0
        table = found.results.comparison.set_index("strategy")
        assert list(table.index) == ["distributed", "hybrid"]
        assert table["comparable"].all()
        # the same problem twice, each to its gap of 0.1 %
        assert np.isclose(*table["objective"], rtol=2e-3)

    def test_a_house_without_any_port_in_reach_is_counted(self, run):
        def spoil(folder):
            roofs = gpd.read_parquet(folder / "roofs.parquet")
            shapes = roofs.geometry.to_numpy()
            moved = roofs.geometry.translate(0.0, 0.01)
            shapes[7] = moved.iloc[7]
            roofs.set_geometry(gpd.GeoSeries(shapes, crs=4326)).to_parquet(
                folder / "roofs.parquet"
            )

        found = run(ALONE, spoil=spoil)
        assert found.summary["buildings"]["unmatched"] == 1
        assert found.summary["buildings"]["rated"] == 7

    def test_roofs_without_a_polygon_are_refused(self, run):
        def spoil(folder):
            roofs = gpd.read_parquet(folder / "roofs.parquet")
            points = roofs.set_geometry(roofs.geometry.representative_point())
            points.to_parquet(folder / "roofs.parquet")

        with pytest.raises(DataError, match="polygons"):
            run(spoil=spoil)


class TestAnnualEnergy:
    """A flat year of one shape: a load's kW are its annual kWh over the hours."""

    @pytest.fixture
    def loads(self, make_study, tmp_path):
        def read(keys, energies):
            new = f'shapes = "flat.parquet"\nshift_weeks = false\n{keys}'
            path = make_study(tmp_path / "study", ('file = "loads.csv"', new))
            time = pd.date_range("2025-01-01T00:00+01:00", periods=8760, freq="h")
            pd.DataFrame({"flat": 1.0}, time).to_parquet(path.parent / "flat.parquet")
            table = energies.rename_axis("port_id").rename("annual_kwh")
            table.to_csv(path.parent / "energies.csv")
            study = Study.read(path)
            found = study.loads(study.feeder())
            kw = pd.Series(found.p_scale_kw, found.port_ids)
            return (kw * found.p_shapes[found.shape_of_port, 0] * 8760.0).to_dict()

        return read

    def test_a_file_stands_over_the_common_value_and_a_name_over_the_file(self, loads):
        keys = """annual_kwh = 8760.0
annual_kwh_file = "energies.csv"
annual_kwh_by_port = { A2 = 500.0 }"""
        found = loads(keys, pd.Series({"A1": 100.0, "A2": 200.0}))
        rest = dict.fromkeys(["A3", "A4", "B1", "B2", "B3", "B4"], 8760.0)
        assert found == pytest.approx({"A1": 100.0, "A2": 500.0, **rest})

    def test_a_load_without_energy_and_an_unknown_load_are_named(self, loads):
        keys = 'annual_kwh_file = "energies.csv"'
        with pytest.raises(ConfigError, match=r"no energy for 7 load.*'A2'"):
            loads(keys, pd.Series({"A1": 100.0}))
        with pytest.raises(ConfigError, match=r"annual_kwh_file: no load .*'Z9'"):
            loads(keys, pd.Series({"Z9": 100.0}))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:tap_dependency_table is missing:DeprecationWarning")
def test_the_demo_study_end_to_end():
    path = ROOT / "networks" / "schutterwald" / "study.toml"
    found = run_study(Study.read(path))
    summary = found.summary
    assert summary["status"] == "optimal"
    assert summary["gap"] <= 0.005
    assert (summary["replay"]["new"], summary["replay"]["worsened"]) == (0, 0)
    assert summary["replay"]["steps"] == 8784
    assert summary["served_share"] == pytest.approx(1.0, abs=1e-9)
    assert found.results.hosting["building_id"].nunique() == 1506
    assert summary["buildings"]["rated"] == 1506
    assert summary["seconds"] < 120.0
