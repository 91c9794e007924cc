"""Temperature series and PUE: joined exactly, never extrapolated."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from gridsite.errors import DataError
from gridsite.hosting.ambient import join_ambient, pue_of_temperature

TIME = pd.date_range("2025-01-01", periods=4, freq="h", tz="UTC")
TABLE = [(-20.0, 1.05), (30.0, 1.05), (40.0, 1.15)]


def test_series_of_another_zone_is_joined_on_utc():
    series = pd.Series([1.0, 2.0, 3.0, 4.0], TIME.tz_convert("America/New_York"))
    assert join_ambient(series, TIME).tolist() == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("series", "word"),
    [
        (pd.Series([1.0, 2.0, 3.0], TIME[:3]), "3 steps"),
        (pd.Series(np.ones(4), TIME + pd.Timedelta(minutes=30)), "calendar"),
        (pd.Series(np.ones(4), TIME[::-1]), "calendar"),
        (pd.Series(np.ones(4), TIME.tz_localize(None)), "zone"),
        (pd.Series(np.ones(4)), "zone"),
        (pd.Series([1.0, np.nan, 3.0, 4.0], TIME), "01:00"),
        (pd.Series([293.0, 294.0, 295.0, 296.0], TIME), "Celsius"),
        (pd.Series([], pd.DatetimeIndex([], tz="UTC"), dtype=float), "0 steps"),
    ],
)
def test_series_that_do_not_fit_are_refused(series, word):
    with pytest.raises(DataError, match=word) as error:
        join_ambient(series, TIME)
    assert "\n" not in str(error.value)


def test_pue_is_linear_between_points_and_exact_at_them():
    assert pue_of_temperature([-20.0, 0.0, 30.0, 32.5, 40.0], table=TABLE) == (
        pytest.approx([1.05, 1.05, 1.05, 1.075, 1.15], abs=1e-12)
    )


@pytest.mark.parametrize(
    ("at", "table"),
    [
        ([41.0], TABLE),
        ([-21.0], TABLE),
        ([np.nan], TABLE),
        ([20.0], [(30.0, 1.1), (10.0, 1.0)]),
        ([20.0], [(10.0, 0.9), (30.0, 1.1)]),
        ([20.0], [(10.0, np.nan), (30.0, 1.1)]),
        ([20.0], []),
    ],
)
def test_pue_is_never_extrapolated_or_below_one(at, table):
    with pytest.raises(DataError, match="PUE"):
        pue_of_temperature(at, table=table)
