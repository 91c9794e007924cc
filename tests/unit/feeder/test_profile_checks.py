"""What is wrong with files of profiles is named."""

import numpy as np
import pandas as pd
import pytest

from gridsite.errors import ConfigError
from gridsite.feeder.meter_options import MeterOptions
from gridsite.feeder.profile_checks import check_profiles

PORTS = pd.DataFrame({"p_kw": [4.0, 4.0, 4.0]}, index=["h1", "h2", "h3"])


def year(steps=8760, freq="h", start="2025-01-01", zone="+00:00"):
    """Return a generated year of three houses, as it would be filed."""
    time = pd.date_range(start, periods=steps, freq=freq)
    daily = 1.0 + np.sin(np.arange(steps) * 2 * np.pi / 24)
    table = pd.DataFrame({"time": time.strftime(f"%Y-%m-%dT%H:%M{zone}")})
    for scale, name in enumerate(PORTS.index, start=1):
        table[name] = (0.2 + scale * daily).round(3)
    return table


@pytest.fixture
def found(tmp_path):
    """Return a function that gives the findings on a table, by check."""

    def look(table, **options):
        table.to_csv(tmp_path / "loads.csv", index=False)
        rows = check_profiles(tmp_path / "loads.csv", ports=PORTS, **options)
        assert all(row.cure for row in rows)
        return {row.check: row for row in rows}

    return look


def test_a_sound_year_is_one_note(found):
    rows = found(year())
    assert list(rows) == ["calendar"]
    assert rows["calendar"].severity == "note"
    assert "8760 steps of 60 min" in rows["calendar"].message
    assert rows["calendar"].message.endswith("whole years")


@pytest.mark.parametrize(
    ("steps", "freq", "start", "whole"),
    [
        (8760, "h", "2025-01-01", True),
        (8784, "h", "2024-01-01", True),
        (35040, "15min", "2025-01-01", True),
        (35136, "15min", "2016-01-01", True),
        (8759, "h", "2025-01-01", False),
        (8784, "h", "2025-01-01", False),
        (8760, "h", "2024-01-01", False),
        (48, "h", "2025-01-01", False),
    ],
)
def test_f9_years_of_every_length_are_told_apart(found, steps, freq, start, whole):
    row = found(year(steps, freq, start))["calendar"]
    assert row.severity == ("note" if whole else "warning")
    if not whole:
        assert ("slip" in row.cure) == (steps > 48)


def test_f9_day_first_stamps_are_refused_not_guessed(found):
    table = year(48)
    table["time"] = pd.to_datetime(table["time"]).dt.strftime("%d.%m.%Y %H:%M")
    row = found(table)["profiles"]
    assert row.severity == "error"
    assert "01.01.2025" in row.message


def test_f9_placeholders_beside_kilowatts_are_named(found):
    assert found(year().assign(h2=1.0))["placeholder"].element == "h2"


def test_gaps_doubles_and_feed_in_are_named_with_their_meter(found):
    table = year()
    table.loc[5:7, "h1"] = np.nan
    table.loc[12, "h3"] = -2.0
    rows = found(pd.concat([table, table.iloc[[30]]]))
    assert rows["gap"].message.startswith("1 meter(s), 3 reading(s): h1 (3, first")
    assert rows["stamp twice"].value == 3
    assert rows["negative readings"].element == "h3"


def test_units_are_judged_by_size(found):
    table = year()
    table[["h1", "h2", "h3"]] *= 1e3
    rows = found(table)
    assert rows["unit of meters"].value == 3
    assert found(table * 1, options=MeterOptions(unit="W"))["calendar"]
    assert "unit of meters" not in found(table, options=MeterOptions(unit="W"))
    table[["h1", "h2", "h3"]] *= 10
    assert found(table)["reading size"].value == 3


def test_names_are_compared_with_the_feeder(found):
    rows = found(year().rename(columns={"h2": "house 2"}))
    assert rows["load without meter"].element == "h2"
    assert rows["meter without load"].element == "house 2"


def test_a_register_is_an_error(found):
    table = year()
    table["h1"] = table["h1"].cumsum()
    assert found(table)["register"].severity == "error"


def test_bytes_of_any_kind_never_crash_the_check(tmp_path):
    rng = np.random.default_rng(3)
    for suffix in (".csv", ".parquet"):
        for size in (0, 1, 40, 4000):
            path = tmp_path / f"loads{suffix}"
            path.write_bytes(rng.bytes(size))
            assert [row.severity for row in check_profiles(path)] == ["error"]
    for text in ("time\n", "time,a\n2025-01-01T00:00Z,1\n", "a,b\n1,2\n", ",\n,\n"):
        path.with_suffix(".csv").write_text(text)
        assert check_profiles(path.with_suffix(".csv"))[0].severity == "error"


def test_a_missing_file_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError):
        check_profiles(tmp_path / "none.csv")
