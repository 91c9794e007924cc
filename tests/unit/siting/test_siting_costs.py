import math

import numpy as np
import pandas as pd
import pytest

from gridsite.errors import ConfigError, DataError
from gridsite.siting import (
    Economics,
    arc_cost_terms,
    present_capital,
    site_cost_terms,
    unit_cost_terms,
)
from gridsite.siting.splits import cost_split, split_faults


def economics(horizon=10.0, rate=0.07):
    return Economics(
        horizon_years=horizon,
        real_discount_rate=rate,
        price_year=2025,
        currency="USD",
    )


def test_present_value_factor_is_the_sum_of_discounted_years():
    by_hand = sum(1.07**-year for year in range(1, 11))
    assert economics().present_value_factor == pytest.approx(by_hand, rel=1e-12)


def test_present_value_factor_is_continuous_at_a_rate_of_zero():
    assert economics(rate=0.0).present_value_factor == 10.0
    assert economics(rate=1e-9).present_value_factor == pytest.approx(10.0, rel=1e-7)


def test_capital_with_life_equal_to_the_horizon_is_paid_once():
    assert economics().capital_factor(10.0) == 1.0


def test_capital_is_replaced_within_the_horizon_and_its_rest_comes_back():
    # bought in years 0, 4 and 8; at year 10 half of the third life is left
    by_hand = 1.0 + 1.07**-4 + 1.07**-8 - 0.5 * 1.07**-10
    assert economics().capital_factor(4.0) == pytest.approx(by_hand, rel=1e-12)


def test_land_comes_back_in_full():
    assert economics().capital_factor(math.inf) == pytest.approx(1.0 - 1.07**-10)


def test_lives_that_do_not_divide_in_binary_are_not_bought_once_too_often():
    assert economics(horizon=0.3, rate=0.0).capital_factor(0.1) == pytest.approx(3.0)


def test_longer_lives_never_cost_more():
    lives = np.linspace(0.5, 40.0, 200)
    factors = [economics().capital_factor(life) for life in lives]
    assert (np.diff(factors) <= 1e-12).all()


@pytest.mark.parametrize("life", [0.0, -1.0, math.nan])
def test_a_life_that_is_no_life_is_refused(life):
    with pytest.raises(DataError, match="life_years"):
        economics().capital_factor(life)


@pytest.mark.parametrize(
    ("horizon", "rate"), [(0.0, 0.05), (math.inf, 0.05), (10.0, 5.0), (10.0, -0.1)]
)
def test_economics_out_of_range_are_refused(horizon, rate):
    with pytest.raises(ConfigError):
        economics(horizon, rate)


def test_series_on_different_indices_are_refused():
    with pytest.raises(DataError, match="indices"):
        present_capital(pd.Series([1.0]), pd.Series([5.0], index=[3]), economics())


def options(**changes):
    values = {
        "site_id": "b",
        "it_kw": 10.0,
        "pue": 1.1,
        "tariff_per_kwh": 0.2,
        "it_hardware_price": 1000.0,
        "it_hardware_life_years": 5.0,
        "infrastructure_price": 400.0,
        "infrastructure_life_years": 20.0,
        "installation_price": 50.0,
        "installation_life_years": 10.0,
        "host_per_year": 90.0,
        "maintenance_per_year": 10.0,
    } | changes
    return pd.DataFrame([values])


def test_unit_terms_by_hand_and_their_sum():
    table = unit_cost_terms(options(), economics(rate=0.0), idle_share=0.25)
    row = table.iloc[0]
    assert row["it_hardware_capital"] == pytest.approx(2000.0)
    assert row["infrastructure_capital"] == pytest.approx(200.0)
    assert row["installation_capital"] == pytest.approx(50.0)
    assert row["unit_capital"] == pytest.approx(2250.0)
    assert row["idle_energy_per_year"] == pytest.approx(0.25 * 11.0 * 8760 * 0.2)
    assert row["unit_per_year"] == pytest.approx(100.0 + row["idle_energy_per_year"])
    assert split_faults("site_options", table) == []


def test_idle_and_assigned_energy_make_up_full_load():
    frame = economics()
    places = options(network_per_it_kw_year=0.0, carbon_kg_per_kwh=0.0)
    idle = unit_cost_terms(places, frame, idle_share=0.3)["idle_energy_per_year"]
    flow = arc_cost_terms(places, frame, idle_share=0.3)["energy_present"]
    whole = 10.0 * 1.1 * 8760 * 0.2 * frame.present_value_factor
    total = idle * frame.present_value_factor + flow * 10.0
    assert total.iloc[0] == pytest.approx(whole, rel=1e-12)


def test_arc_terms_by_hand_and_their_sum():
    places = options(network_per_it_kw_year=3.0, carbon_kg_per_kwh=0.5)
    table = arc_cost_terms(
        places, economics(rate=0.0), utilisation=0.5, carbon_price_per_tonne=100.0
    )
    kwh = 0.5 * 1.1 * 8760 * 10
    assert table["energy_present"].iloc[0] == pytest.approx(kwh * 0.2)
    assert table["carbon_present"].iloc[0] == pytest.approx(kwh * 0.05)
    assert table["network_present"].iloc[0] == pytest.approx(30.0)
    assert split_faults("arcs", table) == []


def test_site_terms_split_the_fixed_capital():
    sites = pd.DataFrame({"site_id": ["a", "c"]})
    prices = {"shell": pd.Series([0.0, 100.0]), "grid": pd.Series([1.0, 10.0])}
    table = site_cost_terms(
        sites, prices, {"shell": 20.0, "grid": 10.0}, economics(rate=0.0)
    )
    assert table["fixed_capital"].tolist() == [1.0, 60.0]
    assert cost_split("sites", table) == {
        "fixed_capital": ["grid_capital", "shell_capital"]
    }


def test_site_terms_need_a_life():
    with pytest.raises(DataError, match="'grid'"):
        site_cost_terms(
            pd.DataFrame({"site_id": ["a"]}),
            {"grid": pd.Series([1.0])},
            {},
            economics(),
        )


@pytest.mark.parametrize("column", ["pue", "tariff_per_kwh"])
def test_empty_and_missing_inputs_are_named(column):
    with pytest.raises(DataError, match=column):
        unit_cost_terms(options(**{column: np.nan}), economics())
    with pytest.raises(DataError, match=column):
        unit_cost_terms(options().drop(columns=column), economics())


def test_shares_in_percent_are_refused():
    with pytest.raises(ConfigError, match="utilisation"):
        arc_cost_terms(
            options(network_per_it_kw_year=0.0, carbon_kg_per_kwh=0.0),
            economics(),
            utilisation=50.0,
        )
    with pytest.raises(ConfigError, match="idle_share"):
        unit_cost_terms(options(), economics(), idle_share=25.0)


def test_terms_that_do_not_add_up_are_found():
    table = pd.DataFrame(
        {"cost_per_it_kw": [3.0, 3.0], "a_present": [1.0, 1.0], "b_present": [2.0, 2.1]}
    )
    (fault,) = split_faults("arcs", table)
    assert "1 row(s)" in fault
    assert "a_present, b_present" in fault
