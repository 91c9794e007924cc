"""Tariffs, carbon and PUE by step in a study, and its bill added up again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from gridsite import Study, run_study
from gridsite.check_energy import energy_bill
from gridsite.check_run import check_run
from gridsite.config import StudyConfig, TariffSection, WindowSection
from gridsite.errors import ConfigError, DataError
from gridsite.input_checks import check_study
from gridsite.report import read_results
from gridsite.study.siting_energy import demand_charge, price_by_step

ALONE = ("[solve]", "[solve]\ncompare = false")
SECTIONS = """
[carbon]
file = "carbon.csv"

[[tariffs]]
name = "home"
energy_price_per_kwh = 0.20
zone = "Europe/Berlin"
demand_charge_per_kw_month = 2.0

[[tariffs.windows]]
from_hour = 17
to_hour = 21
energy_price_per_kwh = 0.50

[[tariffs.windows]]
from_hour = 22
to_hour = 6
months = [1, 2]
energy_price_per_kwh = 0.10
demand_charge_per_kw_month = 1.0

[[tariffs]]
name = "spot"
file = "spot.csv"

[[utilities]]
name = "own"
feeders = ["FEEDER"]
carbon_g_per_kwh = 500.0

[[utilities]]
name = "rest"
tariff = "home"
carbon_region = "DE"

[ambient]
file = "weather.csv"
pue = [[-20.0, 1.02], [10.0, 1.02], [20.0, 1.06]]
"""
CENTRAL = """energy_price_per_kwh = 0.06
tariff = "spot"
carbon_region = "SE"
ambient_file = "weather.csv"
pue_points = [[-20.0, 1.05], [20.0, 1.25]]
loss_share = 0.02
water_l_per_kwh = 0.4"""
ECONOMICS = """building_energy_price_per_kwh = 0.38
carbon_price_per_t = 80.0
water_price_per_m3 = 3.0
water_l_per_kwh = 1.0
loss_share = 0.05"""


def series(folder):
    """Write a temperature, two carbon regions and spot prices, with a negative one."""
    time = pd.read_csv(folder / "loads.csv")["time"]
    hour = np.arange(len(time))
    celsius = 5.0 + 10.0 * np.sin(2 * np.pi * hour / 24.0)
    pd.DataFrame({"time": time, "ambient_c": celsius}).to_csv(
        folder / "weather.csv", index=False
    )
    grams = {"time": time, "DE": 300.0 + 5.0 * (hour % 24), "SE": 20.0 + hour % 7}
    pd.DataFrame(grams).to_csv(folder / "carbon.csv", index=False)
    price = 0.05 + 0.04 * np.sin(hour)
    price[3] = -0.02
    spot = pd.DataFrame({"time": time, "price_per_kwh": price})
    spot.to_csv(folder / "spot.csv", index=False)


@pytest.fixture(scope="module")
def run(write_study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("energy")
    edits = [
        ALONE,
        ("it_kw_per_user = 4.0", "it_kw_per_user = 1.0"),
        ("energy_price_per_kwh = 0.06", CENTRAL),
        ("building_energy_price_per_kwh = 0.38", ECONOMICS),
    ]
    feeder = Study.read(write_study(folder)).feeder().ports["feeder_id"].min()
    series(folder)
    sections = SECTIONS.replace("FEEDER", feeder)
    path = write_study(folder, *edits, ("[economics]", f"{sections}\n[economics]"))
    return run_study(Study.read(path))


def test_the_bill_added_up_by_step_agrees_to_the_cent(run):
    study, results = run.study, run.results
    time = study.loads(study.feeder()).time
    bill = energy_bill(study.config, study.path, results, time)
    assert bill["agrees"].all()
    assert (bill["told"] > 0.0).all()  # every kind is paid for
    assert (bill["told"] - bill["billed"]).abs().max() < 0.005


def test_the_whole_run_is_borne_out_and_a_wrong_term_is_found(run, tmp_path):
    folder = run.write(tmp_path / "out")
    results = read_results(folder)
    assert check_run(results).empty
    costs = results.costs.copy()
    at = costs["term"] == "carbon_present"
    costs.loc[at, "present_cost"] += 0.02
    found = check_run(replace(results, costs=costs))
    assert found["requirement"].tolist() == ["bill"]
    assert found["where"].tolist() == ["carbon"]


def test_central_energy_is_that_of_its_steps_by_hand(run):
    """Price and PUE move together: their means alone would not do."""
    folder = run.study.folder
    spot = pd.read_csv(folder / "spot.csv")["price_per_kwh"].to_numpy()
    celsius = pd.read_csv(folder / "weather.csv")["ambient_c"].to_numpy()
    pue = 1.05 + 0.2 * (celsius + 20.0) / 40.0
    factor = (1.0 - 1.07**-10) / 0.07
    arcs = run.results.sites
    assert (arcs["kind"] == "central").any()
    flow = run.results.assignment
    served = flow.loc[flow["site_id"] == "north", "it_kw"].sum()
    stands = run.results.plan
    stands = stands.loc[stands["site_id"] == "north", "it_kw"].sum()
    kw = 0.3 * stands + 0.7 * 0.7 * served
    by_hand = kw * 8760.0 * (pue * spot).mean() * factor
    config = run.study.config.central[0]
    told = kw * 8760.0 * factor * config.pue * config.energy_price_per_kwh
    assert told == pytest.approx(by_hand, rel=1e-12)
    assert config.pue_max == pytest.approx(pue.max())
    assert abs((pue * spot).mean() / (pue.mean() * spot.mean()) - 1.0) > 1e-4


def test_the_first_window_counts_and_hours_are_those_of_the_zone():
    tariff = TariffSection(
        name="t",
        energy_price_per_kwh=0.2,
        zone="Europe/Berlin",
        windows=[
            WindowSection(from_hour=17, to_hour=21, energy_price_per_kwh=0.5),
            WindowSection(days="weekends", energy_price_per_kwh=0.1),
            WindowSection(from_hour=22, to_hour=6, energy_price_per_kwh=0.05),
        ],
    )
    time = pd.date_range("2025-07-04", periods=72, freq="h", tz="Europe/Berlin")
    price = pd.Series(price_by_step(tariff, None, time.tz_convert("UTC")), time)
    friday, saturday = price["2025-07-04"], price["2025-07-05"]
    assert friday.tolist() == [0.05] * 6 + [0.2] * 11 + [0.5] * 4 + [0.2] + [0.05] * 2
    assert saturday.tolist() == [0.1] * 17 + [0.5] * 4 + [0.1] * 3


def test_charges_of_windows_come_on_top_in_their_months():
    window = WindowSection(months=[6, 7], demand_charge_per_kw_month=9.0)
    tariff = TariffSection(
        name="t",
        energy_price_per_kwh=0.2,
        windows=[window],
        demand_charge_per_kw_month=2.0,
    )
    assert demand_charge(tariff) == 2.0 * 12 + 9.0 * 2


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ('tariff = "night"', "tariff 'night' is not one of tariffs"),
        ('carbon_region = "DE"', r"needs \[carbon\] file"),
        ('ambient_file = "weather.csv"', "both ambient_file and pue_points"),
    ],
)
def test_what_a_place_names_must_be_there(make_study, tmp_path, edit, message):
    price = "energy_price_per_kwh = 0.06"
    path = make_study(tmp_path / "study", (price, f"{price}\n{edit}"))
    with pytest.raises(ConfigError, match=message):
        Study.read(path)


def test_a_place_needs_a_price_or_a_tariff(make_study, tmp_path):
    path = make_study(tmp_path / "study", ("energy_price_per_kwh = 0.06\n", ""))
    with pytest.raises(ConfigError, match="'energy_price_per_kwh' is missing"):
        Study.read(path)


def test_flat_prices_below_nothing_are_refused_and_those_of_a_tariff_stand(
    make_study, tmp_path
):
    price = "energy_price_per_kwh = 0.06"
    path = make_study(tmp_path / "flat", (price, "energy_price_per_kwh = -0.06"))
    with pytest.raises(ConfigError, match="a flat price is at least 0"):
        Study.read(path)
    sections = '[[tariffs]]\nname = "spot"\nfile = "spot.csv"\n\n[economics]'
    path = make_study(
        tmp_path / "spot", (price, 'tariff = "spot"'), ("[economics]", sections)
    )
    series(path.parent)
    spot = pd.read_csv(path.parent / "spot.csv")
    spot["price_per_kwh"] -= 1.0
    spot.to_csv(path.parent / "spot.csv", index=False)
    study = Study.read(path)
    config = study.with_energy(study.loads(study.feeder()).time).config
    assert config.central[0].energy_price_per_kwh < -0.9
    assert StudyConfig.model_validate(config.model_dump(mode="json")) == config


def test_every_file_that_a_study_names_must_be_there(make_study, tmp_path):
    sections = '[carbon]\nfile = "carbon.csv"\n\n[economics]'
    path = make_study(tmp_path / "study", ("[economics]", sections))
    with pytest.raises(ConfigError, match=r"no such file: 'carbon\.csv'"):
        check_study(path)
    series(path.parent)
    assert not (check_study(path)["severity"] == "error").any()


def test_series_of_other_steps_or_without_numbers_are_refused(make_study, tmp_path):
    sections = '[[tariffs]]\nname = "spot"\nfile = "spot.csv"\n'
    path = make_study(
        tmp_path / "study",
        ("energy_price_per_kwh = 0.06", 'tariff = "spot"'),
        ("[economics]", f"{sections}\n[economics]"),
    )
    series(path.parent)
    study = Study.read(path)
    assert "spot.csv" in study.config.files()
    time = study.loads(study.feeder()).time
    with pytest.raises(DataError, match="use one calendar"):
        study.with_energy(time[:-1])
    spot = pd.read_csv(path.parent / "spot.csv")
    spot.loc[4, "price_per_kwh"] = np.nan
    spot.to_csv(path.parent / "spot.csv", index=False)
    with pytest.raises(DataError, match=r"1 step\(s\) without a number"):
        study.with_energy(time)


def test_windows_need_every_hour_of_a_day():
    windows = [WindowSection(to_hour=6, energy_price_per_kwh=0.5)]
    tariff = TariffSection(name="t", energy_price_per_kwh=0.2, windows=windows)
    time = pd.DatetimeIndex(["1970-01-01T00:00Z"])
    with pytest.raises(ConfigError, match="do not cover every hour"):
        price_by_step(tariff, None, time)
