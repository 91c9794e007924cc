"""
The envelope on disk: headroom of every connection at every step.

A year of quarter-hours of 8,772 connections is 1.2 GB, so the envelope is
streamed, a block of connections at a time, into one netCDF-4 file and read back
lazily as an xarray dataset. netCDF and not zarr: it is one file that GIS tools, R
and MATLAB open as well, its text coordinates are part of the format (zarr 3 warns
that its own are not), and h5netcdf needs nothing but h5py. One chunk holds one
connection, so that a connection is written and read alone.

Values are float32, rounded down: what is read is never above what was found.
Files come from the extra ``envelope`` (h5netcdf).
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
import xarray as xr

from gridsite.errors import ConfigError, DataError
from gridsite.hosting.limits import NOT_CHECKED, Limits
from gridsite.hosting.norms import norm_and_changes
from gridsite.schemas import SCHEMA_VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: Coordinates of a connection.
IDS = ("building_id", "port_id", "feeder_id")

DEFINITION = (
    "largest load added at this connection alone, at this step alone, for which it "
    "and everything below it newly breaks no limit in force, in AC power flow; "
    "missing where the hosting table gives no value"
)

#: What of the envelope AC power flow has decided.
CONFIRMED = (
    "the least value of each connection (firm_kw) and the steps that set a reported "
    "flexible capacity are confirmed in AC power flow; all others are estimates "
    "between solved steps, at most 0.05 kW above the true value"
)


class EnvelopeWriter:
    """
    Write an envelope, one block of connections at a time.

    Parameters
    ----------
    path : str or pathlib.Path
        The file, ``.nc``. It appears once all is written; an error leaves none.
    connections : pandas.DataFrame, shape (n, 3 or more)
        Columns ``building_id``, ``port_id``, ``feeder_id``, as in ``hosting``.
    time : pandas.DatetimeIndex, shape (n_step,)
        Start of each step, with a zone.
    limits : Limits
        The limits in force.
    power_factor : float
        Of the added load, lagging. [-]
    confirmed : str, default `CONFIRMED`
        Which values are confirmed and which estimated.

    Raises
    ------
    ConfigError
        If the extra ``envelope`` is missing.
    DataError
        If the stamps have no zone or a connection stands twice.

    Examples
    --------
    >>> import tempfile
    >>> table = pd.DataFrame({name: ["a", "b"] for name in IDS})
    >>> time = pd.date_range("2025-01-01", periods=3, freq="h", tz="UTC")
    >>> path = Path(tempfile.mkdtemp()) / "envelope.nc"
    >>> with EnvelopeWriter(
    ...     path, connections=table, time=time, limits=Limits(), power_factor=0.98
    ... ) as writer:
    ...     writer.write([1], np.array([[4.0, 5.0, 6.0]]))
    >>> with read_envelope(path) as envelope:
    ...     envelope["headroom_kw"].sel(connection=1).values
    array([4., 5., 6.], dtype=float32)
    """

    def __init__(
        self,
        path: str | Path,
        *,
        connections: pd.DataFrame,
        time: pd.DatetimeIndex,
        limits: Limits,
        power_factor: float,
        confirmed: str = CONFIRMED,
    ) -> None:
        _h5netcdf()
        if time.tz is None:
            msg = "envelope: time has no zone; give stamps with a zone"
            raise DataError(msg)
        twice = connections.duplicated(["building_id", "port_id"]).to_numpy()
        if twice.any():
            first = connections.loc[twice, ["building_id", "port_id"]].iloc[0].tolist()
            msg = f"envelope: connection {first} stands twice; give each once"
            raise DataError(msg)
        self.path = Path(path)
        self._part = self.path.with_name(self.path.name + ".part")
        self._written = np.zeros(len(connections), dtype=bool)
        self._frame = xr.Dataset(
            coords={
                "time": time.tz_convert("UTC").tz_localize(None),
                **{
                    name: ("connection", connections[name].astype(str).to_numpy(object))
                    for name in IDS
                },
            },
            attrs={
                "title": "load hosting envelope",
                "gridsite_table": "envelope",
                "schema_version": SCHEMA_VERSION,
                "definition": DEFINITION,
                "confirmed": confirmed,
                "limits": norm_and_changes(limits),
                "criteria": ", ".join(limits.criteria),
                "not_checked": ", ".join(NOT_CHECKED),
                "power_factor": float(power_factor),
                "time_zone": _zone_name(time),
                "time_is": "start of the step, UTC",
            },
        )

    def __enter__(self) -> Self:
        """Create the file with its coordinates, and room for the values."""
        n_step = self._frame.sizes["time"]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        stamps = {"time": {"units": "seconds since 1970-01-01", "dtype": "int64"}}
        self._frame.to_netcdf(self._part, engine="h5netcdf", encoding=stamps)
        self._file = _h5netcdf().File(self._part, "a")
        self._values = self._file.create_variable(
            "headroom_kw",
            ("connection", "time"),
            np.float32,
            fillvalue=np.float32(np.nan),
            chunks=(1, n_step),
        )
        self._values.attrs["units"] = "kW"
        self._values.attrs["long_name"] = "headroom for added load"
        self._values.attrs["coordinates"] = " ".join(IDS)
        return self

    def write(
        self, rows: Sequence[int] | Ints, headroom_kw: Floats, *, again: bool = False
    ) -> None:
        """
        Write the headroom of some connections.

        Parameters
        ----------
        rows : sequence of int, shape (n_row,)
            Their positions in ``connections``, each written once.
        headroom_kw : numpy.ndarray, shape (n_row, n_step)
            Headroom at each step. [kW]
        again : bool, default False
            Whether rows written before may be replaced.

        Raises
        ------
        DataError
            If a value is missing, negative or infinite, the shape does not fit,
            or a row is written twice.
        """
        at = np.asarray(rows, dtype=np.int64)
        size = (len(at), self._frame.sizes["time"])
        if headroom_kw.shape != size:
            msg = f"envelope: headroom has shape {headroom_kw.shape}, needed is {size}"
            raise DataError(msg)
        known = (at >= 0) & (at < len(self._written))
        twice = not again and known.all() and self._written[at].any()
        if not known.all() or len(set(at)) < len(at) or twice:
            msg = (
                f"envelope: rows {at[:3].tolist()}... are not among "
                f"{len(self._written)} connections, or written already"
            )
            raise DataError(msg)
        for row, values in zip(at, headroom_kw, strict=True):
            if not (values.min() >= 0.0 and values.max() < np.inf):
                name = str(self._frame["building_id"].to_numpy()[row])
                msg = (
                    f"envelope: headroom of {name!r} is missing, negative or infinite "
                    "at some step; leave out connections without a value"
                )
                raise DataError(msg)
            self._values[int(row), :] = round_down(values)
        self._written[at] = True

    def lower(self, rows: Ints, share: Floats, least_kw: Floats) -> None:
        """
        Lower what is written of some connections.

        Parameters
        ----------
        rows : numpy.ndarray of int, shape (n_row,)
            Their positions in ``connections``; those not written are passed over.
        share : numpy.ndarray, shape (n_row,)
            What is kept of each headroom. [-]
        least_kw : numpy.ndarray, shape (n_row,)
            A lower bound of each. [kW]
        """
        for row, kept, least in zip(rows, share, least_kw, strict=True):
            if self._written[row] and kept < 1.0:
                values = self._values[int(row), :].astype(np.float64) * kept
                self._values[int(row), :] = round_down(np.maximum(values, least))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file and put it in place, or remove it after an error."""
        self._file.close()
        if error is None:
            self._part.replace(self.path)
        else:
            self._part.unlink(missing_ok=True)


def read_envelope(path: str | Path) -> xr.Dataset:
    """
    Open an envelope; values are read when they are used.

    Parameters
    ----------
    path : str or pathlib.Path
        The file that `EnvelopeWriter` wrote.

    Returns
    -------
    xarray.Dataset
        ``headroom_kw`` by connection and time, float32, missing where there is no
        value; coordinates ``building_id``, ``port_id``, ``feeder_id`` and ``time``
        (UTC, without zone, as xarray keeps it; attribute ``time_zone`` names the
        zone of the study). Close it, or use it in a ``with`` statement. [kW]

    Raises
    ------
    ConfigError
        If the extra ``envelope`` is missing.
    DataError
        If the file is missing or is no envelope of this version.
    """
    _h5netcdf()
    path = Path(path)
    if not path.is_file():
        msg = f"{path}: there is no such file; write one with EnvelopeWriter"
        raise DataError(msg)
    try:
        data = xr.open_dataset(path, engine="h5netcdf")
    except (OSError, ValueError) as error:
        msg = f"{path}: cannot be read as netCDF-4 ({error})"
        raise DataError(msg) from error
    version = data.attrs.get("schema_version")
    kind = data.attrs.get("gridsite_table")
    if kind != "envelope" or version != SCHEMA_VERSION or "headroom_kw" not in data:
        data.close()
        msg = (
            f"{path}: holds {kind!r} of version {version!r}, needed is 'envelope' of "
            f"version {SCHEMA_VERSION!r}; write it again"
        )
        raise DataError(msg)
    return data


def envelope_time(envelope: xr.Dataset) -> pd.DatetimeIndex:
    """
    Return the steps of an envelope in the zone of its study.

    Parameters
    ----------
    envelope : xarray.Dataset
        As from `read_envelope`.

    Returns
    -------
    pandas.DatetimeIndex, shape (n_step,)
        Start of each step, with a zone.
    """
    utc = pd.DatetimeIndex(envelope["time"].to_numpy()).tz_localize("UTC")
    return utc.tz_convert(envelope.attrs["time_zone"])


def round_down(values: Floats) -> NDArray[np.float32]:
    """
    Return the nearest float32 at or below each value.

    Parameters
    ----------
    values : numpy.ndarray of float64
        Any finite numbers.

    Returns
    -------
    numpy.ndarray of float32
        Never above ``values``.

    Examples
    --------
    >>> float(np.float32(0.1)) > 0.1, float(round_down(np.array([0.1]))[0]) <= 0.1
    (True, True)
    """
    out: NDArray[np.float32] = values.astype(np.float32)
    above = out > values
    out[above] = np.nextafter(out[above], np.float32(-np.inf))
    return out


def _zone_name(time: pd.DatetimeIndex) -> str:
    """Return a name from which pandas finds the zone again."""
    name = str(time.tz)
    try:
        same = bool((time.tz_convert(name) == time).all())
        offsets: Any = time[[0, -1]].tz_convert(name).map(lambda t: t.utcoffset())
        same &= list(offsets) == [t.utcoffset() for t in time[[0, -1]]]
    except (KeyError, ValueError):
        same = False
    return name if same else time[0].isoformat()[-6:]


def _h5netcdf() -> Any:  # noqa: ANN401 - it has no types
    try:
        return importlib.import_module("h5netcdf")
    except ImportError as error:
        msg = "envelope files need h5netcdf: install gridsite[envelope]"
        raise ConfigError(msg) from error
