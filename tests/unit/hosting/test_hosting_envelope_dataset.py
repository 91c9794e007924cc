"""The envelope on disk: nothing is raised, lost, or left half written."""

from __future__ import annotations

import datetime as dt
import sys

import h5netcdf
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gridsite.errors import ConfigError, DataError
from gridsite.hosting.envelope_dataset import (
    EnvelopeWriter,
    envelope_time,
    read_envelope,
    round_down,
)
from gridsite.hosting.limits import Limits

HOURS = pd.date_range("2025-03-30", periods=48, freq="h", tz="Europe/Berlin")


def connections(n=5):
    return pd.DataFrame(
        {
            "building_id": [f"straße {k}" for k in range(n)],
            "port_id": [f"port {k}" for k in range(n)],
            "feeder_id": [f"f{k % 2}" for k in range(n)],
        }
    )


def writer(path, *, n=5, time=HOURS, table=None, limits=None, **options):
    return EnvelopeWriter(
        path,
        connections=connections(n) if table is None else table,
        time=time,
        limits=limits or Limits.preset("ANSI-C84.1-A"),
        power_factor=0.95,
        **options,
    )


@given(
    hnp.arrays(
        float,
        st.integers(1, 40),
        elements=st.one_of(st.floats(0.0, 1e4), st.floats(0.0, 1e-30)),
    )
)
def test_rounding_is_to_the_nearest_float32_below(values):
    down = round_down(values)
    assert down.dtype == np.float32
    assert (down.astype(float) <= values).all()
    assert (down >= 0.0).all()
    up = np.nextafter(down, np.float32(np.inf)).astype(float)
    assert (up > values).all()


def test_blocks_in_any_order_come_back(tmp_path):
    headroom = np.random.default_rng(0).uniform(0.0, 30.0, (5, 48))
    path = tmp_path / "new folder" / "envelope.nc"
    with writer(path) as out:
        out.write([3, 0], headroom[[3, 0]])
        out.write(np.array([2]), headroom[[2]])
        out.write([4], headroom[[4]])
    with read_envelope(path) as data:
        assert data["headroom_kw"].dims == ("connection", "time")
        assert data["headroom_kw"].dtype == np.float32
        values = data["headroom_kw"].to_numpy()
        np.testing.assert_array_equal(
            values[[0, 2, 3, 4]], round_down(headroom)[[0, 2, 3, 4]]
        )
        assert np.isnan(values[1]).all()  # no value was given
        pd.testing.assert_index_equal(envelope_time(data), HOURS, exact=False)
        for name in ("building_id", "port_id", "feeder_id"):
            assert data[name].to_numpy().tolist() == connections()[name].tolist()
            assert name in data.coords
    assert [p.name for p in path.parent.iterdir()] == ["envelope.nc"]


def test_the_file_says_what_it_holds(tmp_path):
    with writer(tmp_path / "e.nc", confirmed="none of it") as out:
        out.write([0], np.ones((1, 48)))
    with read_envelope(tmp_path / "e.nc") as data:
        attrs = data.attrs
        assert attrs["limits"] == "ANSI-C84.1-A"
        assert attrs["power_factor"] == 0.95
        assert attrs["time_zone"] == "Europe/Berlin"
        assert attrs["confirmed"] == "none of it"
        assert "protection" in attrs["not_checked"]
        assert "newly breaks no limit" in attrs["definition"]
        assert data["headroom_kw"].attrs["units"] == "kW"


def test_values_are_read_only_when_used(tmp_path):
    with writer(tmp_path / "e.nc") as out:
        out.write([0], np.ones((1, 48)))
    with read_envelope(tmp_path / "e.nc") as data:
        assert not data["headroom_kw"].variable._in_memory
        assert float(data["headroom_kw"][0, 0]) == 1.0
    with h5netcdf.File(tmp_path / "e.nc") as file:
        assert file["headroom_kw"].chunks == (1, 48)  # one connection a chunk


@pytest.mark.parametrize(
    "zone",
    ["UTC", "America/New_York", dt.timezone(dt.timedelta(hours=1)), "+05:30"],
    ids=str,
)
def test_every_kind_of_zone_comes_back(tmp_path, zone):
    time = pd.date_range("2025-07-01", periods=4, freq="15min", tz=zone)
    with writer(tmp_path / "e.nc", time=time) as out:
        out.write([0], np.ones((1, 4)))
    with read_envelope(tmp_path / "e.nc") as data:
        back = envelope_time(data)
    assert (back == time).all()
    assert [t.isoformat() for t in back] == [t.isoformat() for t in time]


def test_an_error_leaves_the_earlier_file_and_no_half_one(tmp_path):
    path = tmp_path / "e.nc"
    with writer(path) as out:
        out.write([0], np.full((1, 48), 7.0))
    with pytest.raises(DataError), writer(path) as out:
        out.write([0, 1], np.diag([1.0, np.nan]) @ np.ones((2, 48)))
    assert [p.name for p in tmp_path.iterdir()] == ["e.nc"]
    with read_envelope(path) as data:
        assert float(data["headroom_kw"][0, 0]) == 7.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.1])
def test_a_missing_value_is_refused_by_name(tmp_path, bad):
    headroom = np.ones((2, 48))
    headroom[1, 5] = bad
    with (
        pytest.raises(DataError, match="'straße 4'"),
        writer(tmp_path / "e.nc") as out,
    ):
        out.write([2, 4], headroom)


@pytest.mark.parametrize(
    ("rows", "shape", "word"),
    [
        ([0], (1, 47), "shape"),
        ([0, 1], (1, 48), "shape"),
        ([5], (1, 48), "not among 5"),
        ([-1], (1, 48), "not among 5"),
        ([1, 1], (2, 48), "already"),
        ([3], (1, 48), "already"),
    ],
)
def test_rows_must_fit(tmp_path, rows, shape, word):
    with writer(tmp_path / "e.nc") as out:
        out.write([3], np.ones((1, 48)))
        with pytest.raises(DataError, match=word):
            out.write(rows, np.ones(shape))


def test_a_connection_stands_once_and_stamps_have_a_zone(tmp_path):
    table = connections().assign(building_id="a", port_id="b")
    with pytest.raises(DataError, match="stands twice"):
        writer(tmp_path / "e.nc", table=table)
    with pytest.raises(DataError, match="zone"):
        writer(tmp_path / "e.nc", time=HOURS.tz_localize(None))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_envelope(tmp_path / "none.nc")
    (tmp_path / "text.nc").write_text("no netCDF")
    with pytest.raises(DataError, match="cannot be read"):
        read_envelope(tmp_path / "text.nc")
    other = xr.Dataset({"headroom_kw": ("time", [1.0])})
    other.to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    with pytest.raises(DataError, match="needed is 'envelope'"):
        read_envelope(tmp_path / "other.nc")


def test_the_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5netcdf", None)
    with pytest.raises(ConfigError, match=r"gridsite\[envelope\]"):
        read_envelope(tmp_path / "e.nc")
