"""The 576 typical hours of a year."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from gridsite.errors import DataError
from gridsite.feeder.profiles import dense_profiles
from gridsite.feeder.typical_days import standard_time, typical_hours, typical_steps


def year(freq="h", tz="Europe/Berlin", start="2025-01-01"):
    steps = {"h": 8760, "15min": 35040}[freq]
    return pd.date_range(pd.Timestamp(start, tz=tz), periods=steps, freq=freq)


@pytest.mark.parametrize("freq", ["h", "15min"])
@pytest.mark.parametrize("tz", ["UTC", "Europe/Berlin", "America/Phoenix", "+05:30"])
def test_classes_follow_from_the_definition(freq, tz):
    time = year(freq, tz, start="2025-01-01")
    load = np.random.default_rng(0).normal(50.0, 20.0, len(time))
    hours = typical_hours(time, load)
    assert len(hours) == 576
    offset = time[0].utcoffset()
    for at in (0, 30, 100, 300, 575):
        one = hours[at]
        wall = time.tz_convert("UTC").tz_localize(None) + offset
        group = np.flatnonzero((wall.month == one.month) & (wall.hour == one.hour))
        ordered = np.sort(load[group])
        if one.day_type == "low":
            edge = ordered[int(np.ceil(0.1 * len(group))) - 1]
            known = group[load[group] <= edge]
        else:
            edge = ordered[int(np.ceil(0.9 * len(group))) - 1]
            known = group[load[group] >= edge]
        assert load[one.step] == edge
        np.testing.assert_array_equal(one.classed, known)
        assert one.step in one.classed


def test_hours_stand_in_the_order_of_months_days_and_hours():
    hours = typical_hours(year(), np.zeros(8760))
    keys = [(h.month, h.day_type != "low", h.hour) for h in hours]
    assert keys == sorted(keys)
    assert len(set(keys)) == 576


def test_summer_time_does_not_move_the_hour():
    time = year()
    local = standard_time(time)
    assert (local.hour == np.arange(8760) % 24).all()
    july = time.get_loc(pd.Timestamp("2025-07-01T19:00", tz="Europe/Berlin"))
    load = np.zeros(8760)
    load[july] = 9.0  # 19:00 in summer time is 18:00 in standard time
    highs = [h for h in typical_hours(time, load) if h.day_type == "high"]
    (hour,) = [h for h in highs if july in h.classed]
    assert (hour.month, hour.hour) == (7, 18)


def test_a_year_that_begins_in_summer_has_the_same_standard_time():
    time = pd.date_range("2025-07-01", periods=3, freq="h", tz="Europe/Berlin")
    assert standard_time(time)[0].utcoffset() == pd.Timedelta(hours=1)


def test_typical_steps_are_steps_of_the_year_with_all_ports_together():
    time = year("15min")
    rng = np.random.default_rng(3)
    p_kw = pd.DataFrame(rng.gamma(1.0, 2.0, (len(time), 4)), columns=list("abcd"))
    load = dense_profiles(time, p_kw, power_factor=0.95)
    typical = typical_steps(load)
    assert len(typical.time) == 576
    assert typical.step_hours == 1.0
    assert list(typical.port_ids) == list("abcd")
    steps = [h.step for h in typical_hours(time, load.total_kw())]
    np.testing.assert_array_equal(typical.power_kw()[0], load.power_kw()[0][:, steps])
    np.testing.assert_array_equal(typical.power_kw()[1], load.power_kw()[1][:, steps])
    # labels read as local standard hours
    assert (typical.time.hour == np.arange(576) % 24).all()
    high = typical.total_kw().reshape(12, 2, 24)
    assert (high[:, 1] >= high[:, 0]).all()


def test_the_typical_high_is_a_ninetieth_percentile():
    time = year()
    load = np.random.default_rng(4).random(8760)
    local = standard_time(time)
    for hour in typical_hours(time, load)[::7]:
        share = 0.1 if hour.day_type == "low" else 0.9
        group = load[(local.month == hour.month) & (local.hour == hour.hour)]
        edge = np.quantile(group, share, method="inverted_cdf")
        assert load[hour.step] == edge


@pytest.mark.parametrize("periods", [1, 24, 8000])
def test_less_than_a_year_is_refused(periods):
    time = pd.date_range("2025-01-01", periods=periods, freq="h", tz="UTC")
    with pytest.raises(DataError, match="whole year"):
        typical_hours(time, np.zeros(periods))


def test_steps_longer_than_an_hour_are_refused():
    time = pd.date_range("2025-01-01", periods=4380, freq="2h", tz="UTC")
    with pytest.raises(DataError, match="at 01:00"):
        typical_hours(time, np.zeros(4380))


def test_a_missing_load_or_another_length_is_refused():
    load = np.zeros(8760)
    load[7] = np.nan
    with pytest.raises(DataError, match="missing"):
        typical_hours(year(), load)
    with pytest.raises(DataError, match="8760 steps"):
        typical_hours(year(), np.zeros(8784))


def test_stamps_without_a_zone_are_refused():
    with pytest.raises(DataError, match="zone"):
        standard_time(pd.date_range("2025-01-01", periods=2, freq="h"))
