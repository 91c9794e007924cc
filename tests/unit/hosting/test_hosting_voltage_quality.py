"""The percentile rule of EN 50160, counted week by week."""

from __future__ import annotations

import numpy as np
import pytest

from gridsite.feeder.read_pandapower import read_feeder
from gridsite.hosting.grid_case import GridCase
from gridsite.hosting.limits import Limits
from gridsite.hosting.voltage_quality import (
    voltage_quality,
    voltage_rule_of,
    voltage_rule_summary,
)

LV = np.array([0.4])


def weeks(*low_hours, value=0.88):
    """Return hourly voltages of weeks in which some hours are low."""
    volts = np.ones((1, 168 * len(low_hours)))
    for week, hours in enumerate(low_hours):
        volts[0, 168 * week : 168 * week + hours] = value
    return volts


@pytest.mark.parametrize(
    ("volts", "share", "holds"),
    [
        (weeks(0, 8, 0), 160 / 168, True),  # 95.2 %
        (weeks(0, 9, 0), 159 / 168, False),  # 94.6 %
        (weeks(4, 4), 164 / 168, True),
        (weeks(0, 1, value=0.84), 167 / 168, False),  # below -15 %
        (weeks(1, value=1.11), 167 / 168, False),  # above +10 %
        (np.ones((1, 1)), 1.0, True),
    ],
)
def test_each_week_is_judged_alone(volts, share, holds):
    (row,) = voltage_quality(volts, LV, Limits(), step_hours=1.0).to_dict("records")
    assert row["worst_week_share"] == pytest.approx(share, abs=1e-12)
    assert row["holds"] is holds
    assert (row["lowest_pu"], row["highest_pu"]) == (volts.min(), volts.max())


def test_the_last_week_ends_with_the_series():
    volts = np.ones((1, 200))
    volts[0, 190:] = 0.88  # ten low hours in 32 hours, and in the last 168
    row = voltage_quality(volts, LV, Limits(), step_hours=1.0).iloc[0]
    assert row["worst_week_share"] == pytest.approx(158 / 168)


def test_missing_voltage_never_holds():
    volts = np.array([[1.0, np.nan, 1.0]])
    assert not voltage_quality(volts, LV, Limits(), step_hours=1.0)["holds"].iloc[0]


def rule_of(case):
    nodes = case.feeder.nodes.iloc[case.block.nodes]
    return voltage_rule_of(nodes, case.v, case.limits, step_hours=case.step_hours)


def test_base_case_is_counted_at_low_voltage(village, profiles):
    feeder = read_feeder(village(load_mw=0.015, step_km=0.3))
    grid = GridCase(feeder, profiles(feeder, steps=48), Limits())
    case = grid.block("T")
    low = np.abs(case.v)
    found = voltage_rule_summary(
        grid.limits, [rule_of(case) for case in grid.cases("T")]
    )
    assert found["buses"] == 6
    assert found["lowest_pu"] == pytest.approx(low.min())
    failing = ((low >= 0.9).mean(axis=1) < 0.95) | (low.min(axis=1) < 0.85)
    assert found["buses_failing"] == failing.sum() > 0
    assert found["worst_week_share"] == pytest.approx((low >= 0.9).mean(axis=1).min())


def test_norm_without_a_percentile_has_no_rule(village_feeder, profiles):
    feeder = village_feeder()
    grid = GridCase(feeder, profiles(feeder), Limits.preset("ANSI-C84.1-A"))
    parts = [rule_of(case) for i in grid.solved_ids for case in grid.cases(i)]
    assert voltage_rule_summary(grid.limits, parts) == {}
