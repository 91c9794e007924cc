"""Profiles: what customers draw, checked against sums done by hand."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridsite.errors import DataError
from gridsite.feeder import profile_files
from gridsite.feeder.profile_files import read_profiles
from gridsite.feeder.profile_shapes import shape_profiles
from gridsite.feeder.profiles import Profiles, constant_profiles, dense_profiles


def hours(n, start="2025-01-01", tz="UTC", freq="h"):
    return pd.date_range(start, periods=n, freq=freq, tz=tz)


def year(tz="+01:00", first="2016-01-01", n=8784, freq="h"):
    return pd.date_range(first, periods=n, freq=freq, tz=tz)


def two_shapes(**change):
    parts = {
        "time": hours(3),
        "port_ids": pd.Index(["a", "b", "c"], dtype=object),
        "p_shapes": np.array([[1.0, 0.5, 0.0], [0.0, 1.0, 0.2]]),
        "q_shapes": np.array([[0.1, 0.2, 0.3], [0.0, 0.0, 1.0]]),
        "shape_of_port": np.array([0, 1, 0]),
        "p_scale_kw": np.array([2.0, 4.0, 1.0]),
        "q_scale_kvar": np.array([1.0, 2.0, 0.0]),
    }
    return Profiles(**(parts | change))


class TestProfiles:
    def test_power_is_scale_times_shape(self):
        p, q = two_shapes().power_kw()
        assert p.tolist() == [[2.0, 1.0, 0.0], [0.0, 4.0, 0.8], [1.0, 0.5, 0.0]]
        np.testing.assert_allclose(q, [[0.1, 0.2, 0.3], [0, 0, 2.0], [0, 0, 0]])

    @pytest.mark.parametrize(
        "steps", [slice(1, 3), np.array([1, 2]), np.array([False, True, True])]
    )
    def test_steps_select_columns(self, steps):
        load = two_shapes()
        p, q = load.power_kw(steps)
        np.testing.assert_array_equal(p, load.power_kw()[0][:, 1:])
        np.testing.assert_array_equal(q, load.power_kw()[1][:, 1:])

    def test_total_is_the_sum_over_ports(self):
        load = two_shapes()
        np.testing.assert_allclose(load.total_kw(), load.power_kw()[0].sum(axis=0))

    def test_energy_counts_the_length_of_the_step(self):
        load = two_shapes(time=hours(3, freq="15min"))
        assert load.step_hours == 0.25
        assert load.energy_kwh().to_dict() == pytest.approx(
            {"a": 0.75, "b": 1.2, "c": 0.375}
        )

    def test_coincidence_of_alternating_peaks(self):
        # peaks 2, 4 and 1, sums 3, 5.5 and 0.8
        assert two_shapes().coincidence() == pytest.approx(5.5 / 7.0)

    def test_coincidence_of_a_feeding_port_uses_its_largest_draw(self):
        load = two_shapes(p_scale_kw=np.array([2.0, 4.0, -1.0]))
        # port c draws -1, -0.5, 0: its peak is 0; sums are 1, 4.5, 0.8
        assert load.coincidence() == pytest.approx(4.5 / 6.0)

    def test_coincidence_without_load_is_refused(self):
        with pytest.raises(DataError, match="no port"):
            two_shapes(p_scale_kw=np.zeros(3)).coincidence()

    def test_select_reorders_and_keeps_every_value(self):
        load = two_shapes()
        part = load.select(["c", "a"])
        assert list(part.port_ids) == ["c", "a"]
        for mine, all_ in zip(part.power_kw(), load.power_kw(), strict=True):
            np.testing.assert_array_equal(mine, all_[[2, 0]])

    def test_select_names_unknown_ports_and_their_count(self):
        with pytest.raises(DataError, match=re.escape("['x', 'y', 'z'] (4 in all)")):
            two_shapes().select(["x", "a", "y", "z", "w"])

    def test_select_refuses_a_port_twice(self):
        with pytest.raises(DataError, match="unique"):
            two_shapes().select(["a", "a"])

    @pytest.mark.parametrize(
        ("change", "match"),
        [
            ({"time": hours(3, tz=None)}, "zone"),
            ({"time": pd.RangeIndex(3)}, "zone"),
            ({"time": hours(4).delete(1)}, "stamp 1 "),
            ({"time": hours(3)[::-1]}, "stamp 1 .* in order"),
            ({"time": hours(2).insert(2, hours(2)[1])}, "stamp"),
            ({"time": hours(4)}, "p_shapes has shape"),
            ({"port_ids": pd.Index([1, 2, 3], dtype=object)}, "text"),
            ({"port_ids": pd.Index(["a", "b", "a"])}, r"unique, 1 are not: \['a'\]"),
            (
                {"p_shapes": np.array([[1, np.nan, 0], [0, 1, 0]])},
                r"p_shapes.*\[0, 1\]",
            ),
            ({"q_shapes": np.ones((1, 3))}, "q_shapes has shape"),
            ({"q_scale_kvar": np.array([1.0, np.inf, 0.0])}, r"q_scale_kvar.*\[1\]"),
            ({"p_scale_kw": np.ones(2)}, "p_scale_kw has shape"),
            ({"shape_of_port": np.array([0, 2, 0])}, "0 to 1"),
            ({"shape_of_port": np.array([0, -1, 0])}, "0 to 1"),
            ({"shape_of_port": np.array([0.0, 1.0, 0.0])}, "whole"),
        ],
    )
    def test_broken_parts_are_refused(self, change, match):
        with pytest.raises(DataError, match=match):
            two_shapes(**change)

    def test_the_first_bad_stamp_of_a_long_series_is_named(self):
        time = hours(100).delete(41)
        with pytest.raises(DataError, match=r"stamp 41 .*2025-01-02 18:00"):
            dense_profiles(time, pd.DataFrame({"a": np.ones(99)}), power_factor=1.0)

    def test_a_wrong_first_step_is_named_rather_than_all_others(self):
        time = hours(100).delete(1)
        with pytest.raises(DataError, match=r"stamp 1 .*2025-01-01 02:00"):
            dense_profiles(time, pd.DataFrame({"a": np.ones(99)}), power_factor=1.0)


class TestConstantAndDense:
    def test_a_snapshot_has_one_step_of_one_hour(self):
        load = constant_profiles(["a", "b"], [2.0, 3.0], [0.2, 0.3])
        assert len(load.time) == 1
        assert load.step_hours == 1.0
        assert load.power_kw()[1].tolist() == [[0.2], [0.3]]

    def test_power_factor_gives_reactive_power(self):
        load = dense_profiles(hours(1), pd.DataFrame({"a": [4.0]}), power_factor=0.8)
        assert load.power_kw()[1].item() == pytest.approx(3.0)

    def test_given_reactive_power_is_kept(self):
        p, q = pd.DataFrame({"a": [4.0]}), pd.DataFrame({"a": [-1.0]})
        assert dense_profiles(hours(1), p, q_kvar=q).power_kw()[1].item() == -1.0

    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"power_factor": 0.9, "q_kvar": pd.DataFrame({"a": [1.0]})},
            {"q_kvar": pd.DataFrame({"b": [1.0]})},
            {"power_factor": 0.0},
            {"power_factor": 1.01},
        ],
    )
    def test_ambiguous_reactive_power_is_refused(self, options):
        with pytest.raises(DataError):
            dense_profiles(hours(1), pd.DataFrame({"a": [4.0]}), **options)

    def test_a_column_that_stands_twice_is_refused(self):
        p = pd.DataFrame([[1.0, 2.0]], columns=["a", "a"])
        with pytest.raises(DataError, match="unique"):
            dense_profiles(hours(1), p, power_factor=1.0)


class TestReadProfiles:
    ROWS = (
        "time,m1,m2",
        "2025-01-01T00:00+01:00,1.0,4",
        "2025-01-01T01:00+01:00,2.5,5",
        "2025-01-01T02:00+01:00,3.0,6",
    )

    def write(self, folder, rows):
        path = folder / "meters.csv"
        path.write_text("\n".join(rows) + "\n", encoding="utf-8")
        return path

    def test_csv_gives_the_wanted_ports_in_their_order(self, tmp_path):
        path = self.write(tmp_path, self.ROWS)
        load = read_profiles(path, port_ids=["m2", "m1"], power_factor=0.8)
        p, q = load.power_kw()
        assert p.tolist() == [[4.0, 5.0, 6.0], [1.0, 2.5, 3.0]]
        np.testing.assert_allclose(q, 0.75 * p)
        assert load.time[0] == pd.Timestamp("2024-12-31T23:00Z")
        assert load.time[0].hour == 0  # the local clock of one offset is kept

    @pytest.mark.parametrize("as_index", [True, False])
    def test_parquet_equals_csv(self, tmp_path, as_index):
        csv = read_profiles(self.write(tmp_path, self.ROWS), port_ids=["m1", "m2"])
        table = pd.DataFrame(csv.power_kw()[0].T, csv.time, csv.port_ids)
        table = table.rename_axis("time")
        path = tmp_path / "meters.parquet"
        (table if as_index else table.reset_index()).to_parquet(path, row_group_size=2)
        back = read_profiles(path, port_ids=["m1", "m2"], time=csv.time)
        np.testing.assert_array_equal(back.power_kw(), csv.power_kw())

    def test_offsets_that_change_with_daylight_saving_are_joined(self, tmp_path):
        rows = [
            "time,m",
            "2025-03-30T01:00+01:00,1",
            "2025-03-30T03:00+02:00,2",
            "2025-03-30T04:00+02:00,3",
        ]
        load = read_profiles(self.write(tmp_path, rows), port_ids=["m"])
        assert load.step_hours == 1.0
        assert str(load.time.tz) == "UTC"

    def test_the_calendar_is_compared_as_instants(self, tmp_path):
        path = self.write(tmp_path, self.ROWS)
        time = hours(3, "2024-12-31 23:00")
        assert len(read_profiles(path, port_ids=["m1"], time=time).time) == 3
        with pytest.raises(DataError, match=r"has 3 steps .* has 4 "):
            read_profiles(path, port_ids=["m1"], time=hours(4, "2024-12-31 23:00"))
        with pytest.raises(DataError, match="one calendar"):
            read_profiles(path, port_ids=["m1"], time=hours(3))

    @pytest.mark.parametrize(
        ("line", "text", "match"),
        [
            (2, "2025-01-01T01:00,2,5", r"row 1: '2025-01-01T01:00'.*with a zone"),
            (1, "01.02.2025 00:00,1,4", r"row 0.*day and month may be swapped"),
            (1, "1/2/2025 00:00+01:00,1,4", "swapped"),
            (2, "2025-13-01T01:00+01:00,2,5", "no date"),
            (2, "2025-01-01T00:30+01:00,2,5", "stamp"),
            (2, "2025-01-01T00:00+01:00,2,5", r"stamp 1 .*each once"),
            (3, "2025-01-01T03:00+01:00,2,5", "stamp"),
            (2, "2025-01-01T01:00+01:00,,5", r"'m1' has 1 value.*2025-01-01 01:00"),
            (2, "2025-01-01T01:00+01:00,-,5", "'m1' has 1 value"),
            (2, '2025-01-01T01:00+01:00,"2,5",5', "'m1' has 1 value"),
            (3, "2025-01-01T02:00+01:00,inf,5", "'m1' has 1 value"),
            (3, "2025-01-01T02:00+01:00,1,2,3", "cannot be read"),
            (0, "time,m1,m3", r"lacks \['m2'\] \(1 in all\)"),
            (0, "time,m1,m1", r"\['m1'\] stand twice"),
            (0, "stamp,m1,m2", "first column 'time'"),
        ],
    )
    def test_hostile_files_are_refused(self, tmp_path, line, text, match):
        rows = list(self.ROWS)
        rows[line] = text
        with pytest.raises(DataError, match=match):
            read_profiles(self.write(tmp_path, rows), port_ids=["m1", "m2"])

    @pytest.mark.parametrize("rows", [[], ["time,m1,m2"]])
    def test_empty_files_are_refused(self, tmp_path, rows):
        with pytest.raises(DataError, match=r"cannot be read|rows"):
            read_profiles(self.write(tmp_path, rows), port_ids=["m1"])

    @pytest.mark.parametrize("name", ["none.csv", "none.parquet"])
    def test_a_missing_file_is_refused(self, tmp_path, name):
        with pytest.raises(DataError, match=r"none.*cannot be read"):
            read_profiles(tmp_path / name, port_ids=["m1"])

    def test_naive_parquet_is_refused(self, tmp_path):
        path = tmp_path / "naive.parquet"
        pd.DataFrame({"time": hours(2, tz=None), "m": 1.0}).to_parquet(path)
        with pytest.raises(DataError, match="with a zone"):
            read_profiles(path, port_ids=["m"])

    @pytest.mark.parametrize("name", ["long.csv", "long.parquet"])
    def test_files_beyond_the_limit_are_refused(self, tmp_path, name, monkeypatch):
        monkeypatch.setattr(profile_files, "MAX_STEPS", 5)
        table = pd.DataFrame({"time": hours(6), "m": 1.0})
        table.to_parquet(tmp_path / "long.parquet")
        table.to_csv(tmp_path / "long.csv", index=False)
        with pytest.raises(DataError, match="5"):
            read_profiles(tmp_path / name, port_ids=["m"])


def shaped(shapes, ids=("a", "b", "c"), **change):
    options = {"annual_kwh": 3500.0, "power_factor": 0.95, "seed": 3} | change
    return shape_profiles(shapes, port_ids=list(ids), **options)


def noise(time, n_shape=5):
    rng = np.random.default_rng(0)
    names = [f"s{k}" for k in range(n_shape)]
    return pd.DataFrame(rng.random((len(time), n_shape)), time, names)


YEARS = {
    "leap year at a fixed offset": year(),
    "year in UTC": year("UTC", "2025-01-01", 8760),
    "year with daylight saving": year("Europe/Berlin", "2025-01-01", 8760),
    "quarter-hours": year(n=35136, freq="15min"),
    "year from July": year("UTC", "2024-07-01", 8760),
}


class TestShapeProfiles:
    def test_each_port_uses_its_annual_energy(self):
        annual = pd.Series({"b": 1000.0, "a": 3500.0, "c": 0.0})
        load = shaped(noise(year()), annual_kwh=annual)
        assert load.energy_kwh().to_dict() == pytest.approx(annual.to_dict())
        np.testing.assert_allclose(load.q_scale_kvar / 0.3286841, load.p_scale_kw)

    def test_quarter_hours_carry_the_same_energy(self):
        load = shaped(noise(YEARS["quarter-hours"]))
        assert load.energy_kwh().tolist() == pytest.approx([3500.0] * 3)

    def test_full_load_hours_set_the_scale_where_steps_are_maxima(self):
        shapes = noise(year(), 1)
        load = shaped(shapes, full_load_hours=pd.Series({"s0": 700.0}))
        assert load.p_scale_kw.tolist() == [5.0] * 3

    @pytest.mark.parametrize("name", YEARS)
    def test_shifting_permutes_whole_days_of_one_season_and_weekday(self, name):
        time = YEARS[name]
        label = pd.DataFrame(
            {
                "season": time.month % 12 // 3,
                "weekday": time.weekday,
                "clock": time.hour * 60 + time.minute,
            },
            time,
        )
        for column in label:
            load = shaped(label[[column]] + 1.0)
            assert len(load.p_shapes) == 13
            expected = np.tile(label[column] + 1.0, (13, 1))
            np.testing.assert_array_equal(load.p_shapes, expected)

    @pytest.mark.parametrize("name", YEARS)
    def test_shifting_keeps_every_value_of_a_shape_once(self, name):
        shapes = noise(YEARS[name], 2)
        load = shaped(shapes)
        for row, rolled in enumerate(load.p_shapes):
            own = shapes.iloc[:, row // 13]
            np.testing.assert_array_equal(np.sort(rolled), np.sort(own))

    def test_a_shift_of_one_week_moves_days_by_seven(self):
        time = year()
        day = pd.DataFrame({"day": time.dayofyear.astype(float)}, time)
        once = shaped(day).p_shapes[1]
        for stamp, value in {
            "2016-03-08": "2016-03-01",  # within a season: seven days earlier
            "2016-08-31": "2016-08-24",
            "2016-03-01": "2016-05-31",  # the circle closes: the last Tuesday
            "2016-12-01": "2016-02-25",  # winter goes on from February to December
            "2016-01-01": "2016-12-30",
        }.items():
            at = time.get_loc(f"{stamp} 13:00+01:00")
            assert once[at] == pd.Timestamp(value).dayofyear

    def test_thirteen_shifts_bring_each_winter_friday_to_new_year(self):
        time = year()
        day = pd.DataFrame({"day": time.dayofyear.astype(float)}, time)
        seen = shaped(day).p_shapes[:, 0]
        fridays = time[(time.weekday == 4) & time.month.isin([1, 2, 12])].dayofyear
        assert set(seen) <= set(fridays)
        assert len(set(seen)) == 13

    @pytest.mark.parametrize(
        ("n_shape", "rows"),
        [(1, 13), (5, 65), (7, 91), (10, 100), (60, 60), (101, 101)],
    )
    def test_the_number_of_shapes_stays_bounded(self, n_shape, rows):
        time = year("UTC", "2025-01-01", 365, "D")
        assert len(shaped(noise(time, n_shape)).p_shapes) == rows

    def test_without_shift_the_shapes_stay_as_given(self):
        shapes = noise(year())
        load = shaped(shapes, shift_weeks=False)
        np.testing.assert_array_equal(load.p_shapes, shapes.to_numpy().T)

    def test_shifting_lowers_the_coincidence(self):
        ids = [f"p{k}" for k in range(200)]
        shapes = noise(year()) ** 8
        together = shaped(shapes, ids, shift_weeks=False).coincidence()
        assert shaped(shapes, ids).coincidence() < 0.7 * together

    def test_the_draw_ignores_the_order_of_the_ports(self):
        ids = [f"p{k}" for k in range(50)]
        shapes, mixed = noise(year()), ids[::2] + ids[1::2]
        one, two = shaped(shapes, ids), shaped(shapes, mixed).select(ids)
        np.testing.assert_array_equal(one.shape_of_port, two.shape_of_port)
        np.testing.assert_array_equal(one.power_kw(), two.power_kw())

    def test_the_seed_sets_the_draw(self):
        ids = [f"p{k}" for k in range(50)]
        draws = [
            shaped(noise(year()), ids, seed=seed).shape_of_port.tolist()
            for seed in (1, 1, 2)
        ]
        assert draws[0] == draws[1] != draws[2]
        assert len({row // 13 for row in draws[0]}) == 5
        assert len({row % 13 for row in draws[0]}) > 8

    @pytest.mark.parametrize(
        ("shapes", "change", "match"),
        [
            (noise(hours(168)), {}, "168 h: give one year"),
            (noise(hours(9000)), {}, "give one year"),
            (noise(year())[[]], {}, "0 shape"),
            (noise(year(tz=None)), {}, "zone"),
            (noise(year()).reset_index(drop=True), {}, "zone"),
            (noise(year()).where(lambda t: t > 1e-4), {}, "missing"),
            (noise(year()) - 0.5, {}, "negative"),
            (noise(year()) * [1, 0, 1, 1, 1], {}, r"\['s1'\]"),
            (noise(year()), {"annual_kwh": pd.Series({"a": 1.0, "b": 1.0})}, "'c'"),
            (noise(year()), {"annual_kwh": -1.0}, "0 or more"),
            (noise(year()), {"annual_kwh": float("nan")}, "0 or more"),
            (noise(year()), {"annual_kwh": pd.Series(1.0, list("abca"))}, "'a'"),
            (noise(year()), {"ids": ["a", "a"]}, "unique"),
            (noise(year()), {"full_load_hours": pd.Series({"s0": 1.0})}, "lacks"),
            (noise(year(), 1), {"full_load_hours": pd.Series({"s0": 0.0})}, "energy"),
            (noise(year()), {"power_factor": 95.0}, "power_factor"),
        ],
    )
    def test_unfit_input_is_refused(self, shapes, change, match):
        with pytest.raises(DataError, match=match):
            shaped(shapes, **change)


@given(
    scale=st.lists(st.floats(0.1, 50.0), min_size=1, max_size=8),
    seed=st.integers(0, 2**31),
)
def test_factored_sums_agree_with_dense_ones(scale, seed):
    rng = np.random.default_rng(seed)
    n_port = len(scale)
    ids = pd.Index([f"p{k}" for k in range(n_port)], dtype=object)
    load = Profiles(
        time=hours(24),
        port_ids=ids,
        p_shapes=rng.random((3, 24)),
        q_shapes=rng.random((3, 24)),
        shape_of_port=rng.integers(3, size=n_port),
        p_scale_kw=np.array(scale),
        q_scale_kvar=np.array(scale),
    )
    p, _ = load.power_kw()
    dense = dense_profiles(load.time, pd.DataFrame(p.T, columns=ids), power_factor=1.0)
    np.testing.assert_allclose(load.total_kw(), p.sum(axis=0))
    np.testing.assert_allclose(load.energy_kwh(), dense.energy_kwh())
    assert load.coincidence() == pytest.approx(dense.coincidence())
    assert 1.0 / n_port - 1e-9 <= load.coincidence() <= 1.0 + 1e-9
