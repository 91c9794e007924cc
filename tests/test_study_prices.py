"""Studies whose prices change between periods and whose units differ."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gridsite import Study, run_study
from gridsite.check_energy import energy_bill
from gridsite.check_run import check_run
from gridsite.errors import ConfigError
from gridsite.report import read_results

LARGE = ("it_kw = 11.3\npue = 1.05\n", "it_kw = 10.5\npue = 1.15\n")
CENTRAL = (
    "energy_price_per_kwh = 0.06",
    'energy_price_per_kwh = 0.06\ntariff = "south"\ncarbon_g_per_kwh = 100.0',
)
ECONOMICS = (
    "building_energy_price_per_kwh = 0.38",
    """building_energy_price_per_kwh = 0.38
demand_charge_per_kw_year = 20.0
carbon_price_per_t = 80.0
loss_share = 0.05""",
)
SECTIONS = """
[periods]
count = 2
months = 12.0
energy_price_factor = [1.0, 1.5]
demand_charge_factor = [1.0, 1.1]
carbon_factor = [1.0, 0.5]
carbon_price_factor = [1.0, 3.0]

[[tariffs]]
name = "south"
energy_price_per_kwh = 0.07
energy_price_factor = [1.0, 0.5]

[[existing]]
site_id = "house A1"
unit = "small"
count = 1

[[existing]]
site_id = "house A1"
unit = "large"
count = 1

"""
EDITS = (
    LARGE,
    CENTRAL,
    ECONOMICS,
    ("it_kw_per_user = 4.0", "it_kw_per_user = 0.5\nunserved_cost = 9e4"),
    ("it_kw_per_user = 1.0", "it_kw_per_user = 1.0\nunserved_cost = 9e4"),
    ("[solve]", f"{SECTIONS}[solve]\ncompare = false"),
)


@pytest.fixture(scope="module")
def run(write_study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prices")
    return run_study(Study.read(write_study(folder, *EDITS)))


def worth(start, end):
    """Return the present value of 1 a year from one year to another, at 7 %."""
    return (1.07**-start - 1.07**-end) / 0.07


def test_the_bill_of_every_period_and_unit_agrees_to_the_cent(run):
    study, results = run.study, run.results
    time = study.loads(study.feeder()).time
    bill = energy_bill(study.config, study.path, results, time)
    assert bill["agrees"].all()
    assert (bill.set_index("term")["told"].drop("water") > 0.0).all()
    assert (bill["told"] - bill["billed"]).abs().max() < 0.005


def test_the_run_is_borne_out_and_a_price_left_as_it_was_is_found(run, tmp_path):
    results = read_results(run.write(tmp_path / "out"))
    assert check_run(results).empty
    costs = results.costs.copy()
    costs.loc[costs["term"] == "energy_present", "present_cost"] -= 1.0
    found = check_run(replace(results, costs=costs))
    assert found["where"].tolist() == ["energy"]


def test_energy_of_buildings_is_what_it_is_by_hand(run):
    """The unit of the lesser PUE computes first; the other takes the rest."""
    plan, flow = run.results.plan, run.results.assignment
    it_kw = plan.set_index(["site_id", "unit", "period"])["it_kw"]
    total = 0.0
    for t, (price, years) in enumerate(
        [(0.38, worth(0, 1)), (0.38 * 1.5, worth(1, 10))]
    ):
        for site in plan["site_id"].unique():
            if site == "north":
                continue
            mine = (flow["site_id"] == site) & (flow["period"] == t)
            load = flow.loc[mine, "it_kw"].sum()
            small = it_kw.get((site, "small", t), 0.0)
            kw = 1.05 * min(load, small) + 1.15 * max(load - small, 0.0)
            total += kw * 0.7 * 0.7 * 8760.0 * price * years
    served = flow[flow["site_id"] == "north"].groupby("period")["it_kw"].sum()
    for t, (price, years) in enumerate([(0.07, worth(0, 1)), (0.035, worth(1, 10))]):
        total += served.get(t, 0.0) * 1.1 * 0.7 * 0.7 * 8760.0 * price * years
    costs = run.results.costs.set_index("term")["present_cost"]
    assert costs["energy_present"] == pytest.approx(total, rel=1e-9)
    both = it_kw.loc["house A1"].index.get_level_values("unit")
    assert set(both) == {"small", "large"}


def test_the_page_tells_the_curve_and_the_price_of_what_is_unserved(run):
    assert any("times 1, 0.5 by period" in n for n in run.summary["assumptions"])
    unserved = run.results.costs.set_index("term")["present_cost"]["unserved_present"]
    assert run.summary["unserved_present"] == pytest.approx(unserved)


def test_what_is_paid_for_carbon_and_draw_follows_its_curve(run):
    table = run.results.sites.set_index("site_id")
    assert table.loc["north", "carbon_g_per_kwh"] == 100.0
    plan = run.results.plan
    rated = plan[plan["site_id"] != "north"].groupby("period")["rated_kw"].sum()
    by_hand = 20.0 * (rated[0] * worth(0, 1) + 1.1 * rated[1] * worth(1, 10))
    costs = run.results.costs.set_index("term")["present_cost"]
    assert costs["demand_charge_present"] == pytest.approx(by_hand, rel=1e-9)


@pytest.mark.parametrize(
    ("section", "name"),
    [
        ('[[utilities]]\nname = "u"\nfeeders = ["no such"]', "utilities: feeders"),
        ('[[groups]]\ngroup_id = "g"\nbuildings = ["no such"]', "groups: buildings"),
    ],
)
def test_names_that_nothing_has_are_refused(make_study, tmp_path, section, name):
    edit = ("[solve]", f"{section}\n\n[solve]\ncompare = false")
    with pytest.raises(ConfigError, match=rf"{name} \['no such'\] are not those"):
        run_study(Study.read(make_study(tmp_path / "study", edit)))


def test_the_grid_sees_the_least_power_factor_and_the_run_says_so(make_study, tmp_path):
    old = "it_kw = 11.3\npue = 1.05\npower_factor = 0.98"
    edit = (old, old.replace("0.98", "0.9"))
    study = Study.read(make_study(tmp_path / "study", edit))
    assert study.power_factor() == 0.9
    notes = study.with_energy(study.loads(study.feeder()).time).config.study.assumptions
    assert any("power factors of 0.9, 0.98" in note for note in notes)


def test_a_curve_of_a_tariff_has_a_value_for_each_period(make_study, tmp_path):
    sections = SECTIONS.replace("energy_price_factor = [1.0, 0.5]",
                                "energy_price_factor = [1.0]")  # fmt: skip
    path = make_study(tmp_path / "study", CENTRAL, ("[solve]", f"{sections}[solve]"))
    with pytest.raises(ConfigError, match=r"'south': energy_price_factor has 1 value"):
        Study.read(path)
