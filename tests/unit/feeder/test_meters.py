"""Meter readings: every fault is named and counted, nothing is filled in silence."""

from __future__ import annotations

import gzip
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridsite.errors import ConfigError, DataError
from gridsite.feeder import meter_files
from gridsite.feeder.meter_options import MeterOptions
from gridsite.feeder.meter_profiles import meter_profiles
from gridsite.feeder.meters import read_meters

BERLIN = "Europe/Berlin"
FILL = MeterOptions(unit="kW", fill="week")


def series(days=21, freq="h", start="2025-03-01", tz="UTC", meters=("a", "b", "c")):
    """Return a load by meter with a daily and a weekly rhythm. [kW]"""
    time = pd.date_range(start, periods=1, freq=freq, tz=tz)
    time = pd.date_range(
        time[0], time[0] + pd.Timedelta(days=days), freq=freq, inclusive="left"
    )
    hour = (time - time[0]) / pd.Timedelta(hours=1)
    rhythm = 2.0 + np.sin(hour / 24 * 2 * np.pi) + 0.5 * np.cos(hour / 84 * np.pi)
    return pd.DataFrame({m: rhythm * (1 + i) for i, m in enumerate(meters)}, time)


def long(kw):
    table = kw.rename_axis("time").reset_index().melt("time", var_name="meter_id")
    return table.rename(columns={"value": "kw"})


def save(table, path):
    if path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False)
    return path


def found(meters):
    return meters.findings.groupby("check")["count"].sum().to_dict()


class TestLayouts:
    @pytest.mark.parametrize("suffix", [".csv", ".parquet", ".csv.gz"])
    def test_long_equals_wide(self, tmp_path, suffix):
        kw = series(days=3)
        wide = read_meters(
            save(kw.rename_axis("time").reset_index(), tmp_path / f"wide{suffix}")
        )
        shuffled = long(kw).sample(frac=1.0, random_state=1)
        tall = read_meters(save(shuffled, tmp_path / f"long{suffix}"))
        pd.testing.assert_frame_equal(wide.kw, tall.kw, check_freq=False)
        np.testing.assert_allclose(wide.kw, kw)
        assert (wide.kw.index == kw.index).all()
        assert wide.findings.empty
        assert not wide.filled.to_numpy().any()

    @pytest.mark.parametrize("minutes", [5, 15, 30, 60])
    @pytest.mark.parametrize(("unit", "factor"), [("kWh", 1.0), ("Wh", 1e-3)])
    def test_energy_is_power_times_the_length_of_a_step(
        self, tmp_path, minutes, unit, factor
    ):
        kw = series(days=2, freq=f"{minutes}min")
        energy = long(kw).rename(columns={"kw": unit})
        energy[unit] *= minutes / 60 / factor
        back = read_meters(save(energy, tmp_path / "e.parquet"))
        np.testing.assert_allclose(back.kw, kw, rtol=1e-12)

    def test_stamps_at_the_end_of_an_interval(self, tmp_path):
        kw = series(days=2)
        late = kw.set_axis(kw.index + pd.Timedelta(hours=1))
        path = save(long(late), tmp_path / "e.parquet")
        back = read_meters(path, MeterOptions(stamp="end"))
        assert (back.kw.index == kw.index).all()

    def test_ends_of_intervals_of_two_lengths_stay_in_step(self, tmp_path):
        fine = series(days=2, freq="15min", meters=["f"])
        coarse = series(days=2, meters=["h"])
        ends = pd.concat(
            [
                long(table.set_axis(table.index + pd.Timedelta(length)))
                for table, length in ((fine, "15min"), (coarse, "1h"))
            ]
        )
        back = read_meters(
            save(ends, tmp_path / "t.parquet"), MeterOptions(stamp="end")
        )
        np.testing.assert_allclose(back.kw["f"], fine["f"].resample("h").mean())
        assert (back.kw.index == coarse.index).all()

    def test_other_names_and_formats(self, tmp_path):
        table = long(series(days=2)).set_axis(["when", "who", "what"], axis=1)
        table["when"] = table["when"].dt.strftime("%d.%m.%Y %H:%M")
        path = save(table, tmp_path / "t.csv")
        options = MeterOptions(
            time_column="when",
            meter_column="who",
            value_column="what",
            unit="kW",
            zone="UTC",
            time_format="%d.%m.%Y %H:%M",
        )
        np.testing.assert_allclose(read_meters(path, options).kw, series(days=2))

    def test_units_in_the_names_of_wide_columns(self, tmp_path):
        kw = series(days=2).rename_axis("time").reset_index()
        kw = kw.assign(b=kw["b"] * 1000.0).rename(columns={"b": "b [Wh]", "a": "a(kW)"})
        back = read_meters(save(kw, tmp_path / "t.csv"))
        np.testing.assert_allclose(back.kw, series(days=2))

    def test_numbers_as_ids_are_whole(self, tmp_path):
        table = long(series(days=2)).assign(meter_id=7.0).iloc[:48]
        back = read_meters(save(table, tmp_path / "t.parquet"))
        assert list(back.kw) == ["7"]

    def test_intervals_of_several_lengths_become_means_of_the_longest(self, tmp_path):
        fine = series(days=2, freq="15min", meters=["f"])
        coarse = series(days=2, meters=["h"])
        both = pd.concat([long(fine), long(coarse)])
        back = read_meters(save(both, tmp_path / "t.parquet")).kw
        np.testing.assert_allclose(back["f"], fine["f"].resample("h").mean())
        np.testing.assert_allclose(back["h"], coarse["h"])

    def test_one_meter_of_long_intervals_does_not_hide_the_peaks_of_all(self, tmp_path):
        day = series(days=40, freq="D", meters=["d"])
        both = pd.concat([long(series(days=40)), long(day)])
        back = read_meters(save(both, tmp_path / "t.parquet"))
        assert list(back.kw) == ["a", "b", "c"]
        assert len(back.kw) == 40 * 24
        assert found(back) == {"longer interval": 1}

    def test_meters_that_are_out_of_step_are_refused(self, tmp_path):
        late = series(days=2, freq="30min", start="2025-03-01 00:07", meters=["d"])
        both = pd.concat([long(series(days=2)), long(late)])
        with pytest.raises(DataError, match="'d' is on the steps"):
            read_meters(save(both, tmp_path / "t.parquet"))

    def test_energies_of_several_lengths_add_up(self, tmp_path):
        fine = series(days=2, freq="15min", meters=["f"]) / 4
        coarse = series(days=2, meters=["h"])
        both = pd.concat([long(fine), long(coarse)]).rename(columns={"kw": "kwh"})
        back = read_meters(save(both, tmp_path / "t.parquet")).kw
        assert back["f"].sum() == pytest.approx(fine["f"].sum())


class TestDaylightSaving:
    """Local stamps without a zone over both nights of 2025."""

    @pytest.mark.parametrize("freq", ["h", "15min"])
    @pytest.mark.parametrize("start", ["2025-03-25", "2025-10-20"])
    @pytest.mark.parametrize("layout", ["long", "wide"])
    def test_local_stamps_equal_zoned_ones(self, tmp_path, freq, start, layout):
        kw = series(days=10, freq=freq, start=start, tz=BERLIN)
        local = kw.set_axis(kw.index.tz_localize(None))
        table = long(local) if layout == "long" else local.rename_axis("time")
        table = table if layout == "long" else table.reset_index()
        path = save(table, tmp_path / "t.csv")
        back = read_meters(path, MeterOptions(unit="kW", zone=BERLIN))
        np.testing.assert_allclose(back.kw, kw)
        assert (back.kw.index == kw.index).all()
        assert back.findings.empty

    def test_a_day_of_24_stamps_loses_an_hour_and_says_so(self, tmp_path):
        # an exporter that writes 24 hours every day: 02:00 stands in spring, and
        # once in autumn
        for start, check in (
            ("2025-03-25", "skipped hour"),
            ("2025-10-20", "repeated hour"),
        ):
            time = pd.date_range(start, periods=10 * 24, freq="h")
            table = long(pd.DataFrame({"a": 1.0 + time.hour}, time))
            path = save(table, tmp_path / "t.csv")
            options = MeterOptions(unit="kW", zone=BERLIN, fill="week")
            back = read_meters(path, options)
            assert found(back)[check] == 1
            assert len(back.kw) == (239 if "03" in start[5:7] else 241)
            assert back.filled["a"].sum() == (0 if check == "skipped hour" else 1)

    def test_the_repeated_hour_that_stands_once_is_a_gap(self, tmp_path):
        time = pd.date_range("2025-10-20", periods=10 * 24, freq="h")
        path = save(
            long(pd.DataFrame({"a": 1.0 + time.hour}, time)), tmp_path / "t.csv"
        )
        with pytest.raises(
            DataError, match=r"gap: meter 'a' at 2025-10-26 02:00:00\+01"
        ):
            read_meters(path, MeterOptions(unit="kW", zone=BERLIN))


class TestFaults:
    def test_gaps_are_refused_until_filling_is_asked_for(self, tmp_path):
        table = long(series()).drop(index=[30, 31])
        path = save(table, tmp_path / "t.parquet")
        with pytest.raises(DataError, match=r"gap: meter 'a' at 2025-03-02 06.*\(2\)"):
            read_meters(path)
        back = read_meters(path, FILL)
        assert found(back) == {"gap": 2}
        assert back.filled.sum().to_dict() == {"a": 2, "b": 0, "c": 0}

    def test_short_gaps_are_lines_and_long_ones_are_of_the_week_before(self, tmp_path):
        kw = series(days=28)
        kw *= 1.0 + np.arange(len(kw))[:, None] / len(kw)  # no week is like another
        holes = kw.copy()
        holes.iloc[200:203, 0] = np.nan  # 3 h
        holes.iloc[400:424, 1] = np.nan  # a day
        path = save(long(holes), tmp_path / "t.parquet")
        back = read_meters(path, FILL).kw
        line = np.interp([1, 2, 3], [0, 4], kw["a"].iloc[[199, 203]])
        np.testing.assert_allclose(back["a"].iloc[200:203], line)
        np.testing.assert_allclose(
            back["b"].iloc[400:424], kw["b"].iloc[400 - 168 : 424 - 168]
        )
        kept = holes.notna().to_numpy()
        np.testing.assert_array_equal(back.to_numpy()[kept], kw.to_numpy()[kept])

    def test_a_gap_over_the_change_of_the_clock_takes_the_same_local_hour(
        self, tmp_path
    ):
        time = pd.date_range("2025-03-15", "2025-04-12", freq="h", tz=BERLIN)
        kw = pd.DataFrame({"a": 1.0 + time.hour}, time)
        holes = kw[(kw.index < "2025-03-31") | (kw.index >= "2025-04-01")]
        path = save(long(holes), tmp_path / "t.parquet")
        back = read_meters(path, FILL)
        np.testing.assert_array_equal(back.kw, kw)
        assert back.filled["a"].sum() == 24

    def test_the_same_stamp_twice(self, tmp_path):
        table = long(series())
        again, other = table.iloc[[5]], table.iloc[[600]].assign(kw=99.0)
        path = save(pd.concat([table, again, other]), tmp_path / "t.parquet")
        back = read_meters(path, FILL)
        assert found(back) == {
            "stamp twice": 1,
            "stamp twice, values differ": 1,
            "gap": 1,
        }
        assert back.kw.to_numpy().max() < 20.0

    def test_stamps_between_the_steps(self, tmp_path):
        table = long(series())
        odd = table.iloc[[0]].assign(time=table["time"][0] + pd.Timedelta("7min"))
        # the odd stamp comes first in time of its meter, and is not the calendar's
        odd["time"] -= pd.Timedelta("1h")
        back = read_meters(save(pd.concat([odd, table]), tmp_path / "t.parquet"))
        assert found(back) == {"off the grid": 1}
        np.testing.assert_allclose(back.kw, series())

    def test_meters_with_too_few_readings_are_missing(self, tmp_path):
        kw = series()
        kw.iloc[: len(kw) // 2, 2] = np.nan
        kw["d"] = np.nan
        kw.loc[kw.index[3], "d"] = 1.0
        back = read_meters(save(long(kw), tmp_path / "t.parquet"), FILL)
        assert list(back.kw) == ["a", "b"]
        assert found(back) == {"no readings": 1, "too few readings": len(kw) // 2}

    def test_a_register_is_no_load(self, tmp_path):
        register = series().cumsum()
        path = save(long(register), tmp_path / "t.parquet")
        with pytest.raises(DataError, match=r"register: meter 'a'.*values only rise"):
            read_meters(path)

    def test_a_meter_in_another_unit_is_named(self, tmp_path):
        kw = series()
        path = save(long(kw.assign(b=kw["b"] * 1000.0)), tmp_path / "t.parquet")
        rows = read_meters(path).findings
        assert rows[["check", "meter"]].to_numpy().tolist() == [["unit", "b"]]

    @pytest.mark.parametrize(
        ("change", "options", "word"),
        [
            (lambda t: t.assign(time="01/02/2025 10:00"), {}, "day and month"),
            (lambda t: t.assign(time="2025-02-01T10:00"), {}, "give zone"),
            (lambda t: t.rename(columns={"kw": "reading"}), {}, "give unit"),
            (lambda t: t, {"unit": "kWh"}, "is in kW by its name"),
            (lambda t: t.assign(kw="1,5"), {}, "'1,5' is no number"),
            (lambda t: t.assign(kw="inf"), {}, "no number"),
            (lambda t: t.assign(meter_id=""), {}, "no meter is named"),
            (lambda t: t.drop(columns="time"), {}, "give time_column"),
            (lambda t: t.assign(timestamp=1), {}, "give time_column"),
            (lambda t: t.iloc[:0], {}, "two readings"),
            (lambda t: t.iloc[:1], {}, "two readings"),
            (lambda t: t, {"meter_column": "zz"}, "'zz'"),
            (lambda t: t, {"value_column": "zz"}, "'zz'"),
            (lambda t: t, {"time_column": "zz"}, "zz|time_column"),
            (lambda t: t.assign(time="2025-02-30T10:00Z"), {}, "do not read"),
        ],
    )
    def test_doubtful_files_are_refused(self, tmp_path, change, options, word):
        table = long(series(days=2))
        table["time"] = table["time"].dt.strftime("%Y-%m-%dT%H:%MZ")
        path = save(change(table), tmp_path / "t.csv")
        with pytest.raises(DataError, match=word):
            read_meters(path, MeterOptions(**options))

    def test_a_stamp_of_another_century_does_not_fill_the_memory(self, tmp_path):
        table = long(series(days=2, freq="min"))
        table.loc[7, "time"] = pd.Timestamp("1925-01-01", tz="UTC")
        with pytest.raises(DataError, match="is one of them wrong"):
            read_meters(save(table, tmp_path / "t.parquet"))

    def test_a_file_is_measured_before_it_is_read(self, tmp_path, monkeypatch):
        monkeypatch.setattr(meter_files, "MAX_READINGS", 100)
        for suffix in (".csv", ".parquet"):
            path = save(long(series(days=2)), tmp_path / f"t{suffix}")
            with pytest.raises(DataError, match="at most 100"):
                read_meters(path)

    def test_files_that_are_no_tables(self, tmp_path):
        for name, content in {
            "a.parquet": b"no",
            "b.csv": b"\xff\xfe\x00",
            "c.csv.gz": b"no",
            "d.csv": b"",
            "e.csv.gz": gzip.compress(b"time,a\n")[:-4],
        }.items():
            path = tmp_path / name
            path.write_bytes(content)
            with pytest.raises(DataError):
                read_meters(path)
        with pytest.raises(DataError, match=r"none\.csv"):
            read_meters(tmp_path / "none.csv")

    @pytest.mark.parametrize(
        "options",
        [
            {"unit": "kVA"},
            {"zone": "Mars/Base"},
            {"fill": "zero"},
            {"stamp": "middle"},
            {"missing": "mean"},
            {"min_share": 0.0},
            {"max_gap_hours": float("nan")},
        ],
    )
    def test_options_are_checked(self, options):
        with pytest.raises(ConfigError):
            MeterOptions(**options)


class TestPorts:
    PORTS = pd.DataFrame({"p_kw": 3.0}, index=["a", "b", "c"])

    def meters(self, tmp_path, kw=None):
        return read_meters(
            save(long(series() if kw is None else kw), tmp_path / "t.parquet"), FILL
        )

    def test_order_of_ports_and_rows_does_not_matter(self, tmp_path):
        load = meter_profiles(self.meters(tmp_path), self.PORTS.iloc[::-1])
        assert list(load.port_ids) == ["c", "b", "a"]
        np.testing.assert_allclose(load.power_kw()[0], series()[["c", "b", "a"]].T)
        assert load.assumed == frozenset()
        assert load.findings is None

    def test_many_meters_at_a_port_add_up(self, tmp_path):
        links = pd.DataFrame({"meter_id": ["a", "b", "c"], "port_id": list("aab")})
        load = meter_profiles(
            self.meters(tmp_path), self.PORTS.loc[["a", "b"]], links=links
        )
        kw = series()
        np.testing.assert_allclose(load.power_kw()[0], [kw["a"] + kw["b"], kw["c"]])

    def test_a_meter_at_two_ports_is_refused(self, tmp_path):
        links = pd.DataFrame({"meter_id": ["a", "a"], "port_id": ["a", "b"]})
        with pytest.raises(DataError, match="count twice"):
            meter_profiles(self.meters(tmp_path), self.PORTS, links=links)

    def test_missing_meters_are_refused_or_drawn_and_marked(self, tmp_path):
        ports = pd.DataFrame({"p_kw": 3.0}, index=["a", "b", "c", "x", "y"])
        meters = self.meters(tmp_path)
        with pytest.raises(DataError, match=r"no meter: meter 'x'.*2 such"):
            meter_profiles(meters, ports)
        energy = pd.Series({"x": 1000.0})
        load = meter_profiles(meters, ports, missing="drawn", annual_kwh=energy, seed=5)
        assert load.assumed == {"x", "y"}
        assert load.findings["meter"].tolist() == ["x", "y"]
        p, _ = load.power_kw()
        assert p[3].mean() * 8760 == pytest.approx(1000.0)
        shapes = series().to_numpy().T
        assert min(np.abs(p[4] - s).max() for s in shapes) < 1e-12
        again = meter_profiles(
            meters, ports.iloc[::-1], missing="drawn", annual_kwh=energy, seed=5
        )
        np.testing.assert_array_equal(again.power_kw()[0][::-1], p)

    def test_filled_loads_are_assumed(self, tmp_path):
        kw = series()
        kw.iloc[5, 1] = np.nan
        assert meter_profiles(self.meters(tmp_path, kw), self.PORTS).assumed == {"b"}

    @pytest.mark.parametrize("factor", [1000.0, 1e-4])
    def test_d3_a_wrong_unit_is_seen_against_the_planned_loads(self, tmp_path, factor):
        with pytest.raises(DataError, match="is the unit right"):
            meter_profiles(self.meters(tmp_path, series() * factor), self.PORTS)

    def test_meters_of_another_feeder_are_refused(self, tmp_path):
        ports = self.PORTS.set_axis(["x", "y", "z"])
        with pytest.raises(DataError, match=r"none of .* is a load"):
            meter_profiles(self.meters(tmp_path), ports, missing="drawn")


@settings(max_examples=20, deadline=None)
@given(
    lost=st.sets(st.tuples(st.integers(0, 335), st.integers(0, 1)), max_size=60),
    again=st.sets(st.integers(0, 600), max_size=10),
    seed=st.integers(0, 1000),
)
def test_f9_measured_values_stay_and_every_other_is_counted(
    tmp_path_factory, lost, again, seed
):
    """A law: read is measured where there is a reading, and marked where not."""
    rng = np.random.default_rng(seed)
    time = pd.date_range("2025-06-02", periods=672, freq="30min", tz="UTC")
    kw = pd.DataFrame(rng.uniform(0.1, 5.0, (672, 2)), time, ["a", "b"])
    holes = kw.copy()
    for row, column in lost:  # in the first week: the second one fills it
        holes.iloc[row, column] = np.nan
    table = long(holes).dropna()
    table = pd.concat([table, table.iloc[sorted(again)]])
    path = save(
        table.sample(frac=1.0, random_state=seed),
        tmp_path_factory.mktemp("meters") / "t.parquet",
    )
    back = read_meters(path, MeterOptions(fill="week", min_share=0.5))
    measured = holes.reindex(back.kw.index)
    known = measured.notna().to_numpy()
    np.testing.assert_array_equal(back.kw.to_numpy()[known], measured.to_numpy()[known])
    np.testing.assert_array_equal(back.filled.to_numpy(), ~known)
    assert found(back).get("gap", 0) == back.filled.to_numpy().sum()
    assert found(back).get("stamp twice", 0) == len(again)
    assert np.isfinite(back.kw.to_numpy()).all()


@pytest.mark.parametrize("name", ["h1_kWh", "h1 kWh", "kwh_h1"])
def test_an_energy_in_the_name_of_a_wide_column_is_not_read_as_power(tmp_path, name):
    wide = series(meters=["a"]).rename(columns={"a": name}).rename_axis("time")
    path = tmp_path / "wide.csv"
    wide.to_csv(path, date_format="%Y-%m-%dT%H:%MZ")
    with pytest.raises(DataError, match="may be an energy"):
        read_meters(path)
    read = read_meters(path, MeterOptions(unit="kWh")).kw
    assert read[name].sum() == pytest.approx(wide[name].sum())


def test_the_repeated_hour_is_told_apart_where_a_file_begins_with_the_newest(tmp_path):
    kw = series(start="2025-10-20", tz="Europe/Berlin", meters=["a"])
    local = kw.tz_localize(None).rename_axis("time")[::-1]
    path = tmp_path / "newest.csv"
    local.to_csv(path, date_format="%Y-%m-%d %H:%M")
    read = read_meters(path, MeterOptions(zone="Europe/Berlin")).kw
    np.testing.assert_allclose(read["a"], kw["a"])


def test_a_load_that_lacks_one_of_its_meters_is_not_the_sum_of_the_others(tmp_path):
    path = tmp_path / "two.parquet"
    long(series(meters=["m1", "m2", "m3"])).to_parquet(path)
    ports = pd.DataFrame({"p_kw": [1.0, 1.0]}, index=["p", "q"])
    links = pd.DataFrame({"meter_id": ["m1", "m2", "m9"], "port_id": ["p", "q", "q"]})
    meters = read_meters(path, MeterOptions(unit="kW"))
    with pytest.raises(DataError, match="no meter: meter 'q'"):
        meter_profiles(meters, ports, links=links)
    drawn = meter_profiles(meters, ports, links=links, missing="drawn")
    assert drawn.assumed == {"q"}
    rows = drawn.findings.groupby("check")["meter"].agg(list).to_dict()
    assert rows["meter of a load lacks"] == ["m9"]
    assert rows["meter at no load"] == ["m3"]


@pytest.mark.parametrize(("before", "after"), [("30min", "15min"), ("15min", "30min")])
def test_energies_of_an_interval_that_changes_are_refused(tmp_path, before, after):
    first = pd.date_range("2025-04-01", "2025-04-20", freq=before, tz="UTC")
    then = pd.date_range("2025-04-20", "2025-05-01", freq=after, tz="UTC")[1:]
    time = first.append(then)
    energy = replace(FILL, unit="kWh")
    table = pd.DataFrame({"meter_id": "a", "time": time, "kwh": 0.5})
    path = save(table, tmp_path / "t.parquet")
    with pytest.raises(DataError, match="'a' are of 30 min from 2025-04-"):
        read_meters(path, energy)
    power = save(table.rename(columns={"kwh": "kw"}), tmp_path / "p.parquet")
    assert read_meters(power, replace(FILL, min_share=0.1)).kw.eq(0.5).all().all()


def test_a_day_without_readings_is_no_other_interval(tmp_path):
    table = long(series()).rename(columns={"kw": "kwh"})
    lost = table.drop(index=[*range(30, 54), 60, 62, 64])
    path = save(lost, tmp_path / "t.parquet")
    assert found(read_meters(path, replace(FILL, unit="kWh"))) == {"gap": 27}
