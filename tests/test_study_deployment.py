"""Studies with periods, cost presets, utilities, groups and sizes of central sites."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from gridsite import Study, run_study
from gridsite.config import read_config
from gridsite.cost_presets import FIGURES
from gridsite.errors import ConfigError, DataError, InfeasibleError
from gridsite.report import deployment, read_results
from gridsite.siting import Economics
from gridsite.study.siting_groups import sized_central
from gridsite.study.siting_time import factor_rows

ALONE = ("[solve]", "[solve]\ncompare = false")
PERIODS = """
[periods]
count = 3
months = 12.0
demand_factor = [0.5, 1.0, 1.0]
background_factor = [1.0, 1.02, 1.04]
it_price_factor = [1.0, 0.8, 0.7]
"""


def added(text):
    return ("[solve]", f"{text}\n[solve]")


@pytest.fixture
def study(make_study, tmp_path):
    def made(*edits, **options):
        return Study.read(make_study(tmp_path / "study", *edits, **options))

    return made


@pytest.fixture(scope="module")
def grown(write_study, tmp_path_factory):
    """Return a run of three years in which the central site comes after two."""
    folder = tmp_path_factory.mktemp("grown")
    soft = [
        (f"it_kw_per_user = {kw}", f"it_kw_per_user = {kw}\nunserved_cost = 9e4")
        for kw in ("4.0", "1.0")
    ]
    return run_study(Study.read(write_study(folder, ALONE, *soft, added(PERIODS))))


class TestPeriods:
    def test_units_come_before_the_central_site(self, grown):
        table = grown.results.timeline.set_index("period")
        assert grown.plan.status == "optimal"
        assert table["central_it_kw"].tolist()[:2] == [0.0, 0.0]
        assert table["central_it_kw"][2] > 0.0
        # six months of lead: units stand from the second period on
        assert table["units"][0] == 0 < table["units"][1] <= table["units"][2]
        assert table["start_months"].tolist() == [0.0, 12.0, 24.0]
        assert grown.summary["months_to_first"] == 12.0
        assert grown.summary["months_to_full"] == 24.0

    def test_terms_add_up_over_the_periods(self, grown):
        costs = grown.results.costs["present_cost"].sum()
        assert costs == pytest.approx(grown.summary["objective"], rel=1e-9)

    def test_every_period_is_replayed(self, grown):
        assert grown.summary["replay"]["steps"] == 3 * 48
        assert grown.summary["replay"]["new"] == 0
        assert set(grown.plan.rows["period"]) == {0, 1, 2}

    def test_the_figure_and_the_table_survive_writing(self, grown, tmp_path):
        folder = grown.write(tmp_path / "out")
        again = read_results(folder)
        assert again.timeline["served_it_kw"].tolist() == pytest.approx(
            grown.results.timeline["served_it_kw"].tolist()
        )
        (axes,) = deployment(again).axes
        assert "months" in axes.get_xlabel()
        assert "kW" in axes.get_ylabel()
        served = axes.lines[1].get_ydata()
        assert served[:3].tolist() == pytest.approx(
            grown.results.timeline["served_it_kw"].tolist()
        )

    def test_capital_bought_later_costs_what_it_costs_by_hand(self, grown):
        """5 years of life, 10 years of horizon, bought after 1 year at 0.8, 7 %."""
        config = grown.study.config
        frame = Economics(
            horizon_years=10.0, real_discount_rate=0.07, price_year=2025, currency="E"
        )
        options = grown.results.site_options
        table = factor_rows(config, frame, options, grown.results.sites)
        own = table[
            (table["item"] == "small") & (table["term"] == "it_hardware_capital")
        ]
        now = 1.0 + 1.07**-5
        # bought after 1 and 6 years; a fifth of the second is left at 10
        later = 0.8 * (1.07**-1 + 1.07**-6 - 0.2 * 1.07**-10)
        assert own["factor"].tolist()[:2] == pytest.approx([1.0, later / now])

    def test_periods_and_lists_that_disagree_are_named(self, study):
        with pytest.raises(ConfigError, match=r"demand_factor has 3 value\(s\) for 2"):
            study(added(PERIODS.replace("count = 3", "count = 2")))
        with pytest.raises(ConfigError, match="beyond the horizon"):
            study(added("[periods]\ncount = 11\n"))


class TestPresets:
    def test_what_a_study_gives_stands_and_the_rest_is_filled(
        self, make_study, tmp_path
    ):
        path = make_study(
            tmp_path / "study",
            ("infrastructure_capital = 16000.0\n", ""),
            ("capital_per_mw_it = 10000000.0\n", ""),
            added('[costs]\npreset = "evidence"\ncurrency_per_usd = 0.9\n'),
        )
        config = read_config(path)
        small, large = config.units
        assert small.infrastructure_capital == pytest.approx(0.9 * 7_000.0 * 5.0)
        assert large.infrastructure_capital == 35_000.0
        assert config.central[0].capital_per_mw_it == pytest.approx(0.9 * 12.5e6)
        assert config.central[0].power_wait_months == 48.0
        assert config.economics.building_energy_price_per_kwh == 0.38

    def test_the_claim_is_five_times_cheaper_and_six_times_faster(self):
        table = pd.DataFrame(FIGURES).set_index(["section", "key"])["claim"]
        capital = table["central", "capital_per_mw_it"] / 1e3
        assert capital / table["units", "infrastructure_capital"] == 5.0
        assert table["central", "lead_months"] / table["units", "lead_months"] == 6.0

    def test_levels_are_in_order_and_every_figure_has_a_source(self):
        table = pd.DataFrame(FIGURES)
        assert (table["low"] <= table["typical"]).all()
        assert (table["typical"] <= table["high"]).all()
        assert table["source"].str.len().gt(5).all()
        assert not table.duplicated(["section", "key"]).any()

    def test_the_documented_table_is_that_of_the_code(self):
        text = (Path(__file__).parents[1] / "docs" / "costs.md").read_text("utf-8")
        for f in FIGURES:
            values = " | ".join(
                f"{v:,.10g}" for v in (f.claim, f.low, f.typical, f.high)
            )
            line = f"| `{f.section}.{f.key}` | {f.unit} | {values} | {f.source} |"
            assert line in text

    def test_dollars_are_not_taken_for_another_currency(self, study):
        preset = '[costs]\npreset = "vendor-claims"\n'
        with pytest.raises(ConfigError, match="currency_per_usd"):
            study(added(preset))
        with pytest.raises(ConfigError, match="vendor-claims"):
            study(added('[costs]\npreset = "hearsay"\ncurrency_per_usd = 1.0\n'))


class TestCosts:
    def test_each_new_term_is_its_own_column_and_right(self, study):
        economics = """carbon_g_per_kwh = 381.0
loss_share = 0.05
demand_charge_per_kw_year = 100.0
water_l_per_kwh = 2.0
water_price_per_m3 = 3.0"""
        target = "min_share_within_target = 0.9"
        install = "installation_capital = 3000.0"
        found = run_study(
            study(
                ALONE,
                ("carbon_g_per_kwh = 381.0", economics),
                (target, f"{target}\nlatency_price_per_ms_it_kw_year = 1.0"),
                (install, f"{install}\ntransport_capital = 70.0"),
            )
        )
        costs = found.plan.costs
        factor = (1.0 - 1.07**-10) / 0.07
        plan = found.results.plan
        at = plan["port_id"] != ""
        large = plan.loc[plan["unit"] == "large", "count"].sum()
        flow = found.results.assignment
        home = flow["site_id"] != "north"
        energy = flow.loc[home, "it_kw"].sum() * 0.7 * 0.7 * 1.05 * 8760.0 * factor
        wait = (flow["it_kw"] * flow["rtt_ms"])[flow["workload"] == "real-time"].sum()
        assert costs["demand_charge_present"] == pytest.approx(
            100.0 * plan.loc[at, "rated_kw"].sum() * factor
        )
        assert costs["losses_present"] == pytest.approx(0.05 * 0.38 * energy)
        assert costs["water_present"] == pytest.approx(2.0 / 1e3 * 3.0 * energy)
        assert costs["latency_present"] == pytest.approx(wait * factor)
        assert costs["transport_capital"] == pytest.approx(70.0 * large)

    def test_a_larger_central_site_costs_less_per_mw(self, study):
        scale = "block_kw = 25.0\nscale_exponent = 0.9\nscale_reference_mw = 1.0"
        config = sized_central(study(("block_kw = 25.0", scale)).config)
        assert len(config.central) == 4
        sizes = np.geomspace(0.025, 0.5, 5)
        for k, size in enumerate(sizes):
            cost = min(
                c.fixed_capital + c.capital_per_mw_it * size for c in config.central
            )
            assert cost == pytest.approx(50_000.0 + 10e6 * size**0.9), k

    def test_one_piece_serves_and_the_grid_connection_holds(self, study):
        scale = "block_kw = 25.0\nscale_exponent = 0.9\ngrid_limit_kw = 500.0"
        found = run_study(study(ALONE, ("block_kw = 25.0", scale)))
        central = found.results.plan[found.results.plan["port_id"] == ""]
        assert len(set(central["site_id"])) == 1
        assert central["rated_kw"].sum() <= 500.0
        (place,) = found.summary["central"]
        assert place["it_kw"] > 0.0


class TestGroups:
    def test_a_utility_has_its_tariff_its_cap_and_its_entry(self, study):
        few = ("it_kw_per_user = 4.0", "it_kw_per_user = 1.0")
        free = run_study(study(ALONE, few))
        sites = free.results.sites
        first = sites.loc[sites["kind"] == "building", "feeder_id"].min()
        utility = f"""
[[utilities]]
name = "own"
feeders = ["{first}"]
max_units = 1
onboarding_cost = 500.0

[[utilities]]
name = "rest"
energy_price_per_kwh = 0.1
"""
        found = run_study(study(ALONE, few, added(utility)))
        sites = found.results.sites.set_index("site_id")["utility"]
        units = found.results.plan[found.results.plan["port_id"] != ""]
        count = units.groupby(units["site_id"].map(sites))["count"].sum()
        assert count.get("own", 0) <= 1 < count["rest"]
        paid = found.plan.costs["onboarding_capital"]
        assert paid == (500.0 if "own" in count else 0.0)
        assert found.plan.objective < free.plan.objective

    def test_a_transformer_takes_no_more_than_its_cap(self, study):
        few = ("it_kw_per_user = 4.0", "it_kw_per_user = 0.6")
        cap = '[[groups]]\ngroup_id = "T"\ntransformers = ["station A"]\nmax_kw = 6.0\n'
        found = run_study(study(ALONE, few, added(cap)))
        plan = found.results.plan
        behind = found.results.sites.set_index("site_id")["transformer"]
        kw = plan.groupby(plan["site_id"].map(behind))["rated_kw"].sum()
        assert kw.get("station A", 0.0) <= 6.0 < kw["station B"]
        assert set(behind) == {"station A", "station B", ""}
        with pytest.raises(ConfigError, match=r"transformers \['station C'\] are not"):
            run_study(study(ALONE, few, added(cap.replace("station A", "station C"))))

    def test_units_that_stand_already_stay_and_cost_no_capital(self, study):
        free = run_study(study(ALONE))
        options = free.results.site_options
        option = options[options["unit"] == "small"].iloc[0]
        old = f'[[existing]]\nsite_id = "{option.site_id}"\nunit = "small"\ncount = 1\n'
        found = run_study(study(ALONE, added(old)))
        plan = found.results.plan
        mine = (plan["site_id"] == option.site_id) & (plan["unit"] == "small")
        assert plan.loc[mine, "count"].sum() >= 1
        assert (plan["count"] - plan["added"]).sum() == 1
        with pytest.raises(DataError, match="do not fit at"):
            run_study(study(ALONE, added(old.replace("count = 1", "count = 99"))))

    def test_blocks_of_a_hall_that_stand_already_stay(self, study):
        scale = "block_kw = 25.0\nscale_exponent = 0.8\nscale_reference_mw = 1.0"
        sized = ("block_kw = 25.0", scale)
        hall = study().config.central[0].site_id
        old = f'[[existing]]\nsite_id = "{hall}"\nunit = "block"\ncount = 2\n'
        plan = run_study(study(sized, added(old))).results.plan
        central = plan[plan["port_id"] == ""]
        assert len(central) == 1  # the largest size: no other may open beside it
        assert (central["count"] - central["added"]).tolist() == [2]

    def test_demand_survives_the_loss_of_a_feeder(self, study):
        free = run_study(study(ALONE))
        safe = run_study(
            study(
                ALONE,
                ("it_kw_per_user = 4.0", "it_kw_per_user = 1.0\nredundancy = 2"),
            )
        )
        plan = safe.results.plan[safe.results.plan["port_id"] != ""]
        feeders = safe.results.sites.set_index("site_id")["feeder_id"]
        left = plan.groupby(plan["site_id"].map(feeders))["it_kw"].sum()
        need = safe.results.demand
        need = need.loc[need["workload"] == "real-time", "demand_it_kw"].sum()
        assert len(left) == 2
        assert left.min() >= need - 1e-6
        assert free.plan.status == safe.plan.status == "optimal"

    def test_a_sized_central_site_is_lost_whole(self, study):
        """Batch survives the loss of any one site; central has four sizes."""
        sized = "block_kw = 5.0\nscale_exponent = 0.95"
        found = run_study(
            study(
                ALONE,
                ("it_kw_per_user = 4.0", "it_kw_per_user = 0.2"),
                ("it_kw_per_user = 1.0", "it_kw_per_user = 1.0\nredundancy = 1"),
                ('site_kinds = ["central"]', 'site_kinds = ["building", "central"]'),
                ("block_kw = 25.0", sized),
                added('[[utilities]]\nname = "own"\nmax_units = 2\n'),
            )
        )
        plan = found.results.plan
        place = plan["site_id"].str.replace(r"north to .*", "north", regex=True)
        left = plan["it_kw"].sum() - plan.groupby(place)["it_kw"].sum()
        assert found.results.sites["site_id"].str.startswith("north to ").sum() == 4
        assert (left >= 20.0 - 1e-6).all()
        assert (plan["port_id"] == "").any()
        assert (place != "north").any()

    def test_every_zone_of_a_single_source_workload_has_one_site(self, study):
        few = ("it_kw_per_user = 4.0", "it_kw_per_user = 1.0\nsingle_source = true")
        found = run_study(study(ALONE, few))
        flow = found.results.assignment
        real = flow[flow["workload"] == "real-time"]
        assert real["zone_id"].is_unique
        need = found.results.demand.set_index(["zone_id", "workload"])["demand_it_kw"]
        at = pd.MultiIndex.from_frame(real[["zone_id", "workload"]])
        assert real["it_kw"].tolist() == pytest.approx(need[at].tolist())

    def test_a_share_of_the_demand_stays_local(self, study):
        far = ('site_kinds = ["central"]', 'site_kinds = ["building", "central"]')
        local = ("it_kw_per_user = 1.0", "it_kw_per_user = 1.0\nmin_local_share = 0.3")
        few = ("it_kw_per_user = 4.0", "it_kw_per_user = 0.5")
        found = run_study(study(ALONE, far, few, local))
        flow = found.results.assignment
        batch = flow[flow["workload"] == "batch"]
        by_zone = batch.groupby("zone_id")["it_kw"].sum()
        home = batch[batch["site_id"] != "north"].groupby("zone_id")["it_kw"].sum()
        assert (home.reindex(by_zone.index).fillna(0.0) >= 0.3 * by_zone - 1e-6).all()
        other = run_study(study(ALONE, far, few))
        flow = other.results.assignment
        batch = flow[(flow["workload"] == "batch") & (flow["site_id"] != "north")]
        assert batch["it_kw"].sum() < home.sum() - 1e-6


def test_a_study_without_a_plan_says_what_conflicts(study, call):
    path = study(ALONE, ("discount_rate = 0.07", "discount_rate = 0.07\nbudget = 9e5"))
    with pytest.raises(InfeasibleError) as caught:
        run_study(path)
    said = str(caught.value)
    assert "cannot all be met" in said
    assert "the budget is 900000" in said
    assert "needs" in said
    out = path.folder / "out"
    code, _, error = call("run", path.folder / "study.toml", "--out", out)
    assert code == 5
    assert "cannot all be met" in error
    assert not out.exists()


def test_a_timeline_has_a_row_per_period(grown):
    assert isinstance(grown.results.timeline, pd.DataFrame)
    assert len(grown.results.timeline) == 3
