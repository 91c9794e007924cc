"""Flexible capacity and curtailment by hand, on hostile input, and in blocks."""

from __future__ import annotations

import numpy as np
import pytest

from gridsite.errors import ConfigError, DataError
from gridsite.hosting import curtailment as curtailment_module
from gridsite.hosting.curtailment import curtailment
from gridsite.hosting.flexible import (
    LEVELS,
    energy_rating,
    flexible_ratings,
    hours_rating,
    level_name,
)


def test_columns_are_named_by_level_in_the_order_asked_for():
    table = flexible_ratings(np.ones((2, 3)), 1.0)
    names = ["100", "999", "99", "98", "95"]
    assert [level_name(level) for level in LEVELS] == names
    pairs = [f"flexible_{k}{n}_kw" for n in names for k in ("energy", "hours")]
    assert table.columns.tolist() == pairs
    assert level_name(0.975) == "975"


def test_levels_out_of_order_give_the_same_values():
    headroom = np.random.default_rng(1).uniform(0.0, 30.0, (4, 500))
    unit = {"min_power_share": 0.5, "battery_kwh": 3.0}
    one = flexible_ratings(headroom, 0.5, levels=[0.95, 1.0, 0.98], **unit)
    other = flexible_ratings(headroom, 0.5, levels=[1.0, 0.98, 0.95], **unit)
    np.testing.assert_array_equal(one[other.columns], other)


def test_a_pause_of_half_power_by_hand():
    # at 75 % of 4 steps one step may be lost: 4 and 4 and 4 kW are served
    table = flexible_ratings(
        np.array([[1.0, 4.0, 4.0, 4.0]]), 1.0, levels=[0.75], min_power_share=0.5
    )
    assert table["flexible_energy75_kw"][0] == pytest.approx(4.0, abs=1e-3)
    # throttling to 1 of 4.33 kW is allowed: 1 + 3 x 4 = 0.75 x 4 x 4.33
    free = flexible_ratings(np.array([[1.0, 4.0, 4.0, 4.0]]), 1.0, levels=[0.75])
    assert free["flexible_energy75_kw"][0] == pytest.approx(13.0 / 3.0)


def test_a_battery_bridges_by_hand():
    # 6 kWh short at step 3; steps 1 and 2 leave 5 + 5 kWh, of which 80 % come back
    headroom = np.array([[15.0, 15.0, 4.0, 15.0]])
    battery = {"battery_kwh": 20.0, "battery_efficiency": 0.8}
    lost = curtailment(headroom, 10.0, 1.0, **battery)
    assert lost.steps[0] == 0
    lost = curtailment(headroom, 10.0, 1.0, **battery, battery_kw=5.0)
    assert lost.steps[0] == 1
    assert lost.not_served_kwh[0] == pytest.approx(1.0)
    lost = curtailment(headroom, 10.0, 1.0, battery_kwh=2.0)
    assert lost.not_served_kwh[0] == pytest.approx(4.0)
    # at full level: the rating P with 0.8 (2 (15 - P)) = P - 4
    table = flexible_ratings(headroom, 1.0, levels=[1.0], **battery)
    assert table["flexible_hours100_kw"][0] == pytest.approx(28.0 / 2.6, abs=2e-3)
    assert table["flexible_energy100_kw"][0] == pytest.approx(28.0 / 2.6, abs=2e-3)


def test_a_battery_starts_empty():
    headroom = np.array([[4.0, 15.0, 15.0]])
    lost = curtailment(headroom, 10.0, 1.0, battery_kwh=99.0)
    assert lost.not_served_kwh[0] == pytest.approx(6.0)


def test_a_pausing_unit_charges_its_battery_from_what_is_left():
    # step 1 leaves 4 kW < 5 kW: pause, 4 kWh charged; step 2: 4 + 4 = 8 of 10 kW
    headroom = np.array([[4.0, 4.0]])
    unit = {"min_power_share": 0.5, "battery_kwh": 9.0, "battery_efficiency": 1.0}
    lost = curtailment(headroom, 10.0, 1.0, **unit)
    assert lost.not_served_kwh[0] == pytest.approx(10.0 + 2.0)


def test_runs_are_counted_and_scaled_to_a_year():
    row = np.array([5.0, 1.0, 1.0, 5.0, 1.0, 5.0, 5.0, 1.0])
    lost = curtailment(np.array([row, row + 9.0]), [5.0, 5.0], 0.25)
    np.testing.assert_array_equal(lost.steps, [4, 0])
    np.testing.assert_allclose(lost.longest_h, [0.5, 0.0])
    np.testing.assert_allclose(lost.interventions_per_year, [3 * 8760 / 2.0, 0.0])
    np.testing.assert_allclose(lost.not_served_share, [16.0 / 40.0, 0.0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("unit", [{}, {"battery_kwh": 8.0}, {"min_power_share": 0.6}])
def test_blocks_of_connections_give_what_each_gives_alone(monkeypatch, unit, dtype):
    headroom = np.random.default_rng(0).uniform(0.0, 9.0, (7, 97)).astype(dtype)
    monkeypatch.setattr(curtailment_module, "_BLOCK", 200)
    table = flexible_ratings(headroom, 1.0, **unit)
    lost = curtailment(headroom, 5.0, 1.0, **unit)
    for k, row in enumerate(headroom):
        alone = flexible_ratings(row[None, :], 1.0, **unit)
        np.testing.assert_array_equal(alone.to_numpy()[0], table.to_numpy()[k])
        one = curtailment(row[None, :], 5.0, 1.0, **unit)
        assert one.not_served_kwh[0] == lost.not_served_kwh[k]


def test_a_file_in_memory_can_be_read_in_place(tmp_path):
    headroom = np.random.default_rng(0).uniform(0.0, 9.0, (5, 50))
    headroom.tofile(tmp_path / "h")
    mapped = np.memmap(tmp_path / "h", dtype=float, mode="r", shape=(5, 50))
    unit = {"min_power_share": 0.5, "battery_kwh": 2.0}
    one, other = (flexible_ratings(h, 1.0, **unit) for h in (headroom, mapped))
    np.testing.assert_array_equal(one, other)
    turned = np.asfortranarray(headroom)
    np.testing.assert_array_equal(flexible_ratings(turned, 1.0, **unit), one)


def test_no_connection_gives_an_empty_table():
    assert flexible_ratings(np.zeros((0, 5)), 1.0).shape == (0, 10)
    assert len(curtailment(np.zeros((0, 5)), 1.0, 1.0).steps) == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
@pytest.mark.parametrize(
    "use",
    [
        lambda h: energy_rating(h, 0.98),
        lambda h: hours_rating(h, 0.98),
        lambda h: flexible_ratings(h, 1.0),
        lambda h: curtailment(h, 1.0, 1.0),
    ],
    ids=["energy", "hours", "levels", "curtailment"],
)
def test_a_missing_headroom_is_named(bad, use):
    headroom = np.ones((3, 4))
    headroom[2, 1] = bad
    with pytest.raises(DataError, match="at connection 2, step 1"):
        use(headroom)


@pytest.mark.parametrize("rating", [np.nan, -1.0, (1.0,), (1.0, np.inf)])
def test_a_rating_must_be_a_number_for_each(rating):
    with pytest.raises(DataError, match="rating_kw"):
        curtailment(np.ones((2, 3)), rating, 1.0)


@pytest.mark.parametrize(
    ("option", "word"),
    [
        ({"min_power_share": 1.1}, "min_power_share"),
        ({"min_power_share": np.nan}, "min_power_share"),
        ({"battery_kwh": -1.0}, "battery_kwh"),
        ({"battery_kwh": np.inf}, "battery_kwh"),
        ({"battery_kw": -2.0}, "battery_kw"),
        ({"battery_efficiency": 0.0}, "battery_efficiency"),
        ({"battery_efficiency": 1.2}, "battery_efficiency"),
        ({"levels": [0.98, 0.98]}, "once"),
        ({"levels": [98.0]}, "0.98"),
        ({"levels": []}, "once"),
        ({"tolerance_kw": 0.0}, "tolerance"),
    ],
)
def test_options_out_of_range_are_refused(option, word):
    with pytest.raises(ConfigError, match=word):
        flexible_ratings(np.ones((1, 3)), 1.0, **option)


@pytest.mark.parametrize("share", [0.0, 1.1, np.nan])
def test_shares_out_of_range_are_refused(share):
    for rate in (energy_rating, hours_rating):
        with pytest.raises(ConfigError, match="share"):
            rate(np.ones((1, 3)), share)
