"""Ageing headroom against closed forms, laws and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridsite.errors import ConfigError, DataError
from gridsite.hosting.ageing import ageing_headroom_kw
from gridsite.hosting.thermal import ThermalModel, hot_spot_series

ONE = np.ones(1)


def headroom(current, ambient, **options):
    options.setdefault("rated_kva", np.full(len(current), 100.0))
    options.setdefault("power_factor", 1.0)
    return ageing_headroom_kw(current, ambient, 1.0, **options)


@pytest.mark.parametrize("base", [0.0, 0.4, 0.999])
def test_flat_load_at_20_degrees_may_fill_the_nameplate(base):
    row = headroom(np.full((1, 48), base), np.full(48, 20.0)).iloc[0]
    assert row["ageing_headroom_kw"] == pytest.approx(100.0 * (1.0 - base), abs=1e-3)
    assert row["ageing_headroom_kw"] <= 100.0 * (1.0 - base) + 1e-9
    assert (row["status"], row["limited_by"]) == ("ok", "loss of life")


def test_loss_of_life_is_the_mean_rate():
    # rates 2 and 1/2 at steady state: ambient 6 K above and below, half the time
    ambient = np.repeat([26.0, 14.0], 2000)
    row = headroom(np.ones((1, 4000)), ambient).iloc[0]
    assert row["loss_of_life_pu"] == pytest.approx(1.25, abs=0.005)
    assert row["status"] == "none_base_violation"
    assert row["ageing_headroom_kw"] == 0.0


def test_oil_follows_a_step_with_its_time_constant():
    current, ambient = np.ones((1, 7)), np.array([20.0, *[30.0] * 6])
    oil, hot = hot_spot_series(current, ambient, 1.0)
    known = 75.0 + 10.0 * (1.0 - np.exp(-np.arange(7) / 3.0))
    assert oil[0] == pytest.approx(known, abs=1e-9)
    assert hot[0] == pytest.approx(known + 23.0, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    life=st.sampled_from([0.2, 1.0, 3.0]),
    hottest=st.sampled_from([98.0, 120.0, 140.0]),
    most=st.sampled_from([1.0, 1.5]),
)
def test_headroom_holds_and_a_little_more_does_not(seed, life, hottest, most):
    rng = np.random.default_rng(seed)
    current, ambient = rng.uniform(0.0, 0.9, (2, 60)), rng.uniform(-15.0, 38.0, 60)
    caps = {
        "loss_of_life_max": life,
        "hot_spot_max_c": hottest,
        "current_max_pu": most,
    }
    table = headroom(current, ambient, **caps)

    def holds(row, kw):
        now = current[row : row + 1] + kw / 100.0
        hot = hot_spot_series(now, ambient, 1.0)[1]
        rate = ThermalModel().ageing_rate(hot).mean()
        return rate <= life and hot.max() <= hottest and now.max() <= most

    for row, found in table.iterrows():
        kw = found["ageing_headroom_kw"]
        if found["status"] == "ok":
            assert all(holds(row, share * kw) for share in (0.0, 0.5, 1.0 - 1e-9))
        else:
            assert kw == 0.0
            assert not holds(row, 0.0)
        assert not holds(row, kw + 0.01)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), warmer=st.floats(0.1, 10.0))
def test_more_load_or_heat_never_leaves_more(seed, warmer):
    rng = np.random.default_rng(seed)
    current, ambient = rng.uniform(0.0, 0.8, (1, 60)), rng.uniform(-10.0, 30.0, 60)
    base = headroom(current, ambient).iloc[0]
    for changed in (
        headroom(current, ambient + warmer).iloc[0],
        headroom(current + 0.01 * warmer, ambient).iloc[0],
        headroom(current, ambient, thermal=ThermalModel(enclosure_rise_k=10.0)).iloc[0],
        headroom(current, ambient, loss_of_life_max=0.5).iloc[0],
    ):
        assert changed["ageing_headroom_kw"] <= base["ageing_headroom_kw"] + 1e-9
        assert changed["loss_of_life_pu"] >= base["loss_of_life_pu"]


def test_rows_do_not_depend_on_each_other():
    rng = np.random.default_rng(1)
    current, ambient = rng.uniform(0.0, 0.8, (3, 40)), rng.uniform(-10.0, 30.0, 40)
    rated = np.array([100.0, 250.0, 400.0])
    table = headroom(current, ambient, rated_kva=rated)
    for i in range(3):
        alone = headroom(current[i : i + 1], ambient, rated_kva=rated[i : i + 1])
        assert alone.iloc[0].tolist() == table.iloc[i].tolist()


def test_power_factor_and_voltage_scale_the_headroom():
    current, ambient = np.full((1, 24), 0.3), np.full(24, 20.0)
    whole = headroom(current, ambient)["ageing_headroom_kw"].iloc[0]
    less = headroom(current, ambient, power_factor=0.9, voltage_pu=0.95)
    assert less["ageing_headroom_kw"].iloc[0] == pytest.approx(0.855 * whole)


def test_missing_nameplate_is_unrated_and_never_a_number():
    table = headroom(np.zeros((2, 5)), np.zeros(5), rated_kva=np.array([np.nan, 0.0]))
    assert table["status"].tolist() == ["unrated", "unrated"]
    assert table[["ageing_headroom_kw", "loss_of_life_pu"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("current", "ambient"),
    [
        (np.ones((1, 4)), np.ones(5)),
        (np.ones((1, 2)), np.array([20.0, np.nan])),
        (np.array([[0.5, np.nan]]), np.ones(2)),
        (np.array([[0.5, -0.1]]), np.ones(2)),
    ],
)
def test_series_that_do_not_fit_are_refused(current, ambient):
    with pytest.raises(DataError):
        headroom(current, ambient)


@pytest.mark.parametrize(
    "values",
    [{"loss_ratio": 0.0}, {"oil_minutes": np.nan}, {"k21": 0.5}, {"k22": np.inf}],
)
def test_models_that_make_no_sense_are_refused(values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        ThermalModel(**values)
