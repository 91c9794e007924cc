"""The 576-hour table against its definition, and what it must not claim."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from gridsite.errors import ConfigError, DataError
from gridsite.feeder.typical_days import typical_hours, typical_steps
from gridsite.hosting import ica
from gridsite.hosting.capacity import hosting_capacity
from gridsite.hosting.envelope_dataset import EnvelopeWriter, read_envelope
from gridsite.hosting.ica import COLUMNS, feeder_loads, ica_table, write_ica
from gridsite.hosting.limits import Limits

TIME = pd.date_range("2025-01-01", periods=8760, freq="h", tz="Europe/Berlin")
DAY = dt.date(2026, 2, 3)


def make_load(seed=0):
    hour = np.arange(8760)
    rng = np.random.default_rng(seed)
    return 60.0 + 20.0 * np.cos(hour / 24 * 2 * np.pi) + rng.normal(0.0, 8.0, 8760)


def make_headroom(n=3, seed=1):
    rng = np.random.default_rng(seed)
    noise = rng.normal(0.0, 5.0, (n, 8760))
    return np.clip(120.0 - make_load() + noise, 1.0, None)


def make_hosting(headroom, status="ok"):
    n = len(headroom)
    return pd.DataFrame(
        {
            "building_id": [f"b{k}" for k in range(n)],
            "port_id": [f"p{k}" for k in range(n)],
            "feeder_id": "f",
            "firm_kw": headroom.min(axis=1),
            "firm_status": status,
            "flexible_status": status,
            "limit_criterion": "voltage",
            "limit_element": [f"bus {k}" for k in range(n)],
            "limit_time": pd.Series(TIME[headroom.argmin(axis=1)], dtype=object),
        }
    )


def make_table(headroom, hosting, **changes):
    given = {"time": TIME, "load_kw": make_load(), "analysis_date": DAY} | changes
    return ica_table(headroom, hosting, **given)


def test_each_value_is_the_least_of_its_class():
    headroom = make_headroom()
    table = make_table(headroom, make_hosting(headroom))
    assert table.columns.tolist() == list(COLUMNS)
    assert len(table) == 3 * 576
    load, local = make_load(), TIME.tz_convert("Etc/GMT-1")
    for _, row in table.iloc[::37].iterrows():
        group = np.flatnonzero(
            (local.month == row["month"]) & (local.hour == row["hour"])
        )
        share, below = {"low": (0.1, 1.0), "high": (0.9, -1.0)}[row["day_type"]]
        edge = np.quantile(load[group], share, method="inverted_cdf")
        group = group[below * load[group] <= below * edge]
        own = headroom[int(row["building_id"][1:])]
        assert row["load_hc_kw"] == own[group].min()
        assert row["limiting_time"] == TIME[group[own[group].argmin()]]


def test_no_value_lies_below_firm_and_months_and_hours_are_complete():
    headroom = make_headroom()
    hosting = make_hosting(headroom)
    table = make_table(headroom, hosting)
    least = table.groupby("building_id")["load_hc_kw"].min()
    assert (least.to_numpy() >= hosting["firm_kw"].to_numpy()).all()
    per = table.groupby(["building_id", "month", "day_type", "hour"]).size()
    assert (per == 1).all()
    assert set(table["month"]) == set(range(1, 13))
    assert set(table["hour"]) == set(range(24))


def test_the_least_headroom_of_a_class_is_below_that_of_its_typical_hour():
    headroom = make_headroom()
    table = make_table(headroom, make_hosting(headroom))
    steps = [h.step for h in typical_hours(TIME, make_load())]
    value = table["load_hc_kw"].to_numpy().reshape(3, 576)
    assert (value <= headroom[:, steps]).all()


def test_the_limit_is_named_at_the_firm_step_alone():
    headroom = make_headroom()
    peak = int(make_load().argmax())
    headroom[:, peak] = 0.5  # classed high, and the least of all
    hosting = make_hosting(headroom)
    table = make_table(headroom, hosting)
    named = table[table["most_limiting_criterion"] != ""]
    assert len(named) == 3
    assert (named["limiting_time"] == TIME[peak]).all()
    assert named["limiting_element"].tolist() == ["bus 0", "bus 1", "bus 2"]
    assert (table["limiting_element"] == "").sum() == 3 * 575


def test_a_firm_step_outside_both_classes_names_nothing():
    headroom = make_headroom(1)
    order = make_load().argsort()
    local = TIME.tz_convert("Etc/GMT-1")
    middle = next(
        s
        for s in order[4000:]
        if 0.3
        < (
            make_load()[(local.month == local[s].month) & (local.hour == local[s].hour)]
            < make_load()[s]
        ).mean()
        < 0.7
    )
    headroom[0, middle] = 0.2
    table = make_table(headroom, make_hosting(headroom))
    assert (table["most_limiting_criterion"] == "").all()
    assert table["load_hc_kw"].min() > 0.2


def test_of_equal_steps_the_known_one_is_named():
    headroom = np.full((1, 8760), 8.0)
    hosting = make_hosting(headroom)
    peak = int(make_load().argmax())
    hosting["limit_time"] = pd.Series([TIME[peak]], dtype=object)
    table = make_table(headroom, hosting)
    named = table[table["most_limiting_criterion"] == "voltage"]
    assert named["limiting_time"].tolist() == [TIME[peak]]


@pytest.mark.parametrize("status", ["unrated", "unsupplied", "not_converged"])
def test_no_value_is_claimed_without_one(status):
    headroom = np.full((1, 8760), np.nan)
    hosting = make_hosting(make_headroom(1), status)
    hosting["limit_time"] = pd.Series([pd.NaT], dtype=object)
    table = make_table(headroom, hosting)
    assert table["load_hc_kw"].isna().all()
    assert table["limiting_time"].isna().all()
    assert (table["most_limiting_criterion"] == "").all()
    assert (table["status"] == status).all()


def test_a_broken_base_case_is_zero_at_every_hour_with_its_reason():
    hosting = make_hosting(make_headroom(1), "none_base_violation")
    table = make_table(np.full((1, 8760), np.nan), hosting)
    assert (table["load_hc_kw"] == 0.0).all()
    assert (table["most_limiting_criterion"] == "voltage").all()
    assert (table["limiting_time"] == hosting["limit_time"][0]).all()


def test_a_censored_value_names_no_limit_and_no_time():
    hosting = make_hosting(make_headroom(1), "censored").assign(limit_criterion="")
    hosting["limit_time"] = pd.Series([pd.NaT], dtype=object)
    table = make_table(np.full((1, 8760), 10_000.0), hosting)
    assert (table["load_hc_kw"] == 10_000.0).all()
    assert table["limiting_time"].isna().all()
    assert (table["limiting_element"] == "").all()


def test_the_date_is_the_one_given():
    headroom = make_headroom(1)
    table = make_table(headroom, make_hosting(headroom))
    assert (table["analysis_date"] == pd.Timestamp("2026-02-03")).all()


def test_rated_connections_need_a_headroom():
    headroom = make_headroom()
    hosting = make_hosting(headroom)
    headroom[1, 77] = np.nan
    with pytest.raises(DataError, match="'b1' is missing"):
        make_table(headroom, hosting)


def test_hosting_of_another_run_is_refused():
    headroom = make_headroom(1)
    hosting = make_hosting(headroom)
    hosting["limit_time"] = pd.Series([TIME[0] + pd.Timedelta("10min")], dtype=object)
    with pytest.raises(DataError, match="is no step"):
        make_table(headroom, hosting)
    with pytest.raises(DataError, match="shape"):
        make_table(headroom, make_hosting(make_headroom(2)))


# --- from files, feeder by feeder ---


def make_envelope(path, headroom, hosting):
    with EnvelopeWriter(
        path, connections=hosting, time=TIME, limits=Limits(), power_factor=0.98
    ) as out:
        rated = np.flatnonzero(hosting["firm_status"] == "ok")
        out.write(rated, headroom[rated])
    return path


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_file_holds_every_feeder_classed_by_its_own_load(
    tmp_path, monkeypatch, suffix
):
    monkeypatch.setattr(ica, "_BLOCK", 2)
    headroom = make_headroom(5).astype(np.float32).astype(float)
    hosting = make_hosting(headroom)
    hosting["feeder_id"] = ["f", "g", "f", "g", "f"]
    hosting.loc[3, ["firm_status", "flexible_status"]] = "unrated"
    hosting.loc[3, "limit_time"] = pd.NaT
    loads = pd.DataFrame({"f": make_load(0), "g": make_load(9)}, index=TIME)
    path = make_envelope(tmp_path / "e.nc", headroom, hosting)
    with read_envelope(path) as envelope:
        out = write_ica(
            tmp_path / f"ica{suffix}",
            envelope,
            hosting.iloc[::-1],
            loads,
            analysis_date=DAY,
        )
    back = (
        pd.read_parquet(out)
        if suffix == ".parquet"
        else pd.read_csv(out, float_precision="round_trip")
    )
    assert back.columns.tolist() == list(COLUMNS)
    assert len(back) == 5 * 576
    for k, feeder in enumerate(hosting["feeder_id"]):
        known = make_table(
            headroom[[k]], hosting.iloc[[k]], load_kw=loads[feeder].to_numpy()
        )
        own = back[back["building_id"] == f"b{k}"].reset_index(drop=True)
        np.testing.assert_array_equal(own["load_hc_kw"], known["load_hc_kw"])
        named = own["most_limiting_criterion"].fillna("").tolist()
        assert named == known["most_limiting_criterion"].tolist()
        when = pd.to_datetime(own["limiting_time"], utc=True)
        assert when.isna().equals(known["limiting_time"].isna())
        assert (when.dropna() == known["limiting_time"].dropna()).all()


def test_files_that_do_not_fit_are_refused(tmp_path):
    headroom = make_headroom(2)
    hosting = make_hosting(headroom)
    loads = pd.DataFrame({"f": make_load()}, index=TIME)
    path = make_envelope(tmp_path / "e.nc", headroom, hosting)
    out = tmp_path / "ica.csv"
    with read_envelope(path) as envelope:
        with pytest.raises(DataError, match="lacks connection"):
            write_ica(out, envelope, hosting.iloc[:1], loads, analysis_date=DAY)
        with pytest.raises(DataError, match="no column for feeder 'f'"):
            write_ica(out, envelope, hosting, loads[[]], analysis_date=DAY)
        with pytest.raises(DataError, match="steps"):
            write_ica(out, envelope, hosting, loads.iloc[1:], analysis_date=DAY)
        with pytest.raises(ConfigError, match="parquet"):
            write_ica(tmp_path / "a.xls", envelope, hosting, loads, analysis_date=DAY)


def test_feeder_loads_add_up_by_feeder(village_feeder, profiles):
    feeder = village_feeder()
    load = profiles(feeder, steps=48)
    table = feeder_loads(feeder, load)
    assert table.index.equals(load.time)
    np.testing.assert_allclose(table.sum(axis=1), load.total_kw())
    assert set(table.columns) == set(feeder.load_ports["feeder_id"])


def test_typical_steps_rate_like_any_other_profiles(village_feeder, profiles):
    feeder = village_feeder()
    load = typical_steps(profiles(feeder, steps=8760, high=1.0))
    table = hosting_capacity(feeder, load)
    assert (table["firm_status"] == "ok").all()
    assert table["limit_time"].isin(load.time).all()
