"""
What customers draw, by step.

A year of 8,772 loads in quarter-hours is 308 million numbers, yet customers
share few shapes. Profiles are therefore kept in factored form: port :math:`k`
draws :math:`P_{kt} = s_k f_{c(k)t}` at step :math:`t`, a scale per port times
one of a few shapes. Steps are left-labelled, time-zone aware and of equal
length; load is positive. Files are read without guessing: a stamp without a
zone, a day-first date, a gap, a missing value or a missing meter is an error.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from gridsite.errors import DataError
from gridsite.units import reactive_kvar
from gridsite.untrusted import check_csv, parquet_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ids = Sequence[str] | pd.Index[str]

#: Most steps that a file may hold: a leap year of minutes.
MAX_STEPS = 527_040

#: Most distinct shapes that shifting by weeks makes, and most shifts per shape.
MAX_SHAPES, MAX_SHIFTS = 100, 13

_ISO_ZONED = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(Z|[+-]\d\d:?\d\d)"
_DAY_FIRST = r"\d{1,2}[./-]\d{1,2}[./-]\d{2,4}\b.*"


@dataclass(frozen=True, kw_only=True, eq=False)
class Profiles:
    """
    Power of every port at every step, as scale times shape.

    Attributes
    ----------
    time : pandas.DatetimeIndex, shape (n_step,)
        Start of each step, with a time zone, in equal steps.
    port_ids : pandas.Index of str, shape (n_port,)
        Name of each port, unique.
    p_shapes : numpy.ndarray of float, shape (n_shape, n_step)
        Shapes of active power. [-]
    q_shapes : numpy.ndarray of float, shape (n_shape, n_step)
        Shapes of reactive power. [-]
    shape_of_port : numpy.ndarray of int, shape (n_port,)
        Row of the shapes that each port follows.
    p_scale_kw : numpy.ndarray of float, shape (n_port,)
        Active power where the shape is 1, load positive. [kW]
    q_scale_kvar : numpy.ndarray of float, shape (n_port,)
        Reactive power where the shape is 1, lagging positive. [kvar]
    source_factor : numpy.ndarray of complex, shape (n_step,), optional
        Factor of the feeder's source voltages at each step; 1 by default. [-]
    assumed : frozenset of str
        Ports whose load is estimated, or filled at some step.
    findings : pandas.DataFrame, optional
        What was found in the meters behind it (`gridsite.feeder.meters`).

    Raises
    ------
    DataError
        If steps are unequal or have no zone, an id is not unique text, a size
        does not match, or a value is missing or infinite.

    See Also
    --------
    shape_profiles : Builds them from few shapes and annual energies.
    read_profiles : Reads them from a file of meter readings.

    Examples
    --------
    >>> load = constant_profiles(["a", "b"], [2.0, 3.0], [0.2, 0.3])
    >>> load.power_kw()[0]
    array([[2.],
           [3.]])
    """

    time: pd.DatetimeIndex
    port_ids: pd.Index[str]
    p_shapes: Floats
    q_shapes: Floats
    shape_of_port: NDArray[np.intp]
    p_scale_kw: Floats
    q_scale_kvar: Floats
    source_factor: NDArray[np.complex128] | None = None
    assumed: frozenset[str] = frozenset()
    findings: pd.DataFrame | None = None

    def __post_init__(self) -> None:
        _check_time(self.time)
        _check_ids(self.port_ids)
        shapes, ports = (len(self.p_shapes), len(self.time)), (len(self.port_ids),)
        for name, size in (
            ("p_shapes", shapes),
            ("q_shapes", shapes),
            ("shape_of_port", ports),
            ("p_scale_kw", ports),
            ("q_scale_kvar", ports),
        ):
            values = getattr(self, name)
            if values.shape != size:
                msg = f"profiles: {name} has shape {values.shape}, needed is {size}"
                raise DataError(msg)
            if not np.isfinite(values).all():
                at = np.argwhere(~np.isfinite(values))[0].tolist()
                msg = f"profiles: {name} is missing or infinite at {at}"
                raise DataError(msg)
        factor = self.source_factor
        if factor is not None and not (
            factor.shape == self.time.shape and np.isfinite(factor).all()
        ):
            msg = f"profiles: source_factor needs {len(self.time)} finite values"
            raise DataError(msg)
        rows = self.shape_of_port
        if rows.dtype.kind not in "iu" or not np.isin(rows, range(shapes[0])).all():
            msg = f"profiles: shape_of_port must be whole, from 0 to {shapes[0] - 1}"
            raise DataError(msg)

    @property
    def step_hours(self) -> float:
        """
        Length of a step.

        Returns
        -------
        float
            Hours per step; 1 where there is a single step. [h]
        """
        if len(self.time) == 1:
            return 1.0
        return float((self.time[1] - self.time[0]) / pd.Timedelta(hours=1))

    def power_kw(
        self, steps: slice | NDArray[Any] | None = None
    ) -> tuple[Floats, Floats]:
        """
        Return active and reactive power of every port.

        Parameters
        ----------
        steps : slice or numpy.ndarray, optional
            Positions of the wanted steps, or a mask; all steps without it.

        Returns
        -------
        p_kw : numpy.ndarray of float, shape (n_port, n_selected)
            Active power, load positive. [kW]
        q_kvar : numpy.ndarray of float, shape (n_port, n_selected)
            Reactive power, lagging positive. [kvar]
        """
        chosen = slice(None) if steps is None else steps
        p = self.p_shapes[:, chosen][self.shape_of_port]
        q = self.q_shapes[:, chosen][self.shape_of_port]
        return p * self.p_scale_kw[:, None], q * self.q_scale_kvar[:, None]

    def total_kw(self) -> Floats:
        """
        Return the active power of all ports together.

        Returns
        -------
        numpy.ndarray of float, shape (n_step,)
            Sum over ports at each step. [kW]
        """
        weights = np.zeros(len(self.p_shapes))
        np.add.at(weights, self.shape_of_port, self.p_scale_kw)
        total: Floats = weights @ self.p_shapes
        return total

    def energy_kwh(self) -> pd.Series[float]:
        """
        Return the active energy of each port over all steps.

        Returns
        -------
        pandas.Series of float, shape (n_port,)
            Energy by port id. [kWh]
        """
        hours = self.p_shapes.sum(axis=1) * self.step_hours
        return pd.Series(self.p_scale_kw * hours[self.shape_of_port], self.port_ids)

    def coincidence(self) -> float:
        """
        Return the peak of the sum over the sum of the peaks.

        Returns
        -------
        float
            Coincidence factor; 1 where all ports peak together. [-]

        Raises
        ------
        DataError
            If no port ever draws power.
        """
        extremes = np.stack([self.p_shapes.max(axis=1), self.p_shapes.min(axis=1)])
        peaks = (extremes[:, self.shape_of_port] * self.p_scale_kw).max(axis=0)
        if not peaks.sum() > 0.0:
            msg = "coincidence is not defined: no port of these profiles draws power"
            raise DataError(msg)
        return float(self.total_kw().max() / peaks.sum())

    def select(self, port_ids: Ids) -> Profiles:
        """
        Return the profiles of some ports, in the order asked for.

        Parameters
        ----------
        port_ids : sequence of str
            Wanted ports, each at most once.

        Returns
        -------
        Profiles
            The same steps and shapes, for these ports alone.

        Raises
        ------
        DataError
            If a port is unknown or asked for twice.

        Examples
        --------
        >>> load = constant_profiles(["a", "b"], [2.0, 3.0], [0.0, 0.0])
        >>> load.select(["b"]).p_scale_kw
        array([3.])
        """
        wanted = _index(port_ids)
        at = self.port_ids.get_indexer(wanted)
        _refuse_missing(wanted[at < 0], "profiles have no port(s)")
        return replace(
            self,
            port_ids=wanted,
            shape_of_port=self.shape_of_port[at],
            p_scale_kw=self.p_scale_kw[at],
            q_scale_kvar=self.q_scale_kvar[at],
        )


def constant_profiles(
    port_ids: Ids,
    p_kw: Sequence[float] | Floats,
    q_kvar: Sequence[float] | Floats,
) -> Profiles:
    """
    Return profiles of a single step: a snapshot.

    Parameters
    ----------
    port_ids : sequence of str, shape (n_port,)
        Name of each port.
    p_kw : array-like of float, shape (n_port,)
        Active power, load positive. [kW]
    q_kvar : array-like of float, shape (n_port,)
        Reactive power, lagging positive. [kvar]

    Returns
    -------
    Profiles
        One step, labelled 1970-01-01 because a snapshot has no date.

    Examples
    --------
    >>> constant_profiles(["a"], [2.1], [0.1]).total_kw()
    array([2.1])
    """
    return Profiles(
        time=pd.DatetimeIndex(["1970-01-01T00:00Z"]),
        port_ids=_index(port_ids),
        p_shapes=np.ones((1, 1)),
        q_shapes=np.ones((1, 1)),
        shape_of_port=np.zeros(len(port_ids), dtype=np.intp),
        p_scale_kw=np.array(p_kw, dtype=float),
        q_scale_kvar=np.array(q_kvar, dtype=float),
    )


def dense_profiles(
    time: pd.DatetimeIndex,
    p_kw: pd.DataFrame,
    *,
    q_kvar: pd.DataFrame | None = None,
    power_factor: float | None = None,
) -> Profiles:
    """
    Return profiles in which every port has a shape of its own.

    Parameters
    ----------
    time : pandas.DatetimeIndex, shape (n_step,)
        Start of each step, with a time zone.
    p_kw : pandas.DataFrame, shape (n_step, n_port)
        Active power, one column per port. [kW]
    q_kvar : pandas.DataFrame, shape (n_step, n_port), optional
        Reactive power, with the same columns. [kvar]
    power_factor : float, optional
        Lagging; gives the reactive power where ``q_kvar`` is not given. [-]

    Returns
    -------
    Profiles
        One shape per port, all scales 1.

    Raises
    ------
    DataError
        If neither or both of ``q_kvar`` and ``power_factor`` are given, the
        columns differ, or a value is missing.

    Examples
    --------
    >>> time = pd.date_range("2025-01-01", periods=2, freq="h", tz="UTC")
    >>> p_kw = pd.DataFrame({"a": [1.0, 3.0], "b": [2.0, 1.0]})
    >>> dense_profiles(time, p_kw, power_factor=1.0).coincidence()
    0.8
    """
    active = _numbers(p_kw, "p_kw")
    if q_kvar is None and power_factor is not None:
        reactive = active * _tan_phi(power_factor)
    elif q_kvar is None or power_factor is not None:
        msg = "profiles need either q_kvar or power_factor, and not both"
        raise DataError(msg)
    elif list(q_kvar.columns) == list(p_kw.columns):
        reactive = _numbers(q_kvar, "q_kvar")
    else:
        msg = "q_kvar must have the columns of p_kw, in the same order"
        raise DataError(msg)
    one = np.ones(active.shape[1])
    return Profiles(
        time=time,
        port_ids=_index(p_kw.columns),
        p_shapes=np.ascontiguousarray(active.T),
        q_shapes=np.ascontiguousarray(reactive.T),
        shape_of_port=np.arange(len(one)),
        p_scale_kw=one,
        q_scale_kvar=one,
    )


def read_profiles(
    path: str | Path,
    *,
    port_ids: Ids,
    power_factor: float = 0.95,
    time: pd.DatetimeIndex | None = None,
) -> Profiles:
    """
    Read the power of each port from a CSV or Parquet file in wide form.

    Parameters
    ----------
    path : str or pathlib.Path
        First column ``time`` (ISO 8601 with a zone), then one per port. [kW]
    port_ids : sequence of str
        Ports that the file must hold; further columns are not used.
    power_factor : float, default 0.95
        Lagging power factor of all ports (assumption). [-]
    time : pandas.DatetimeIndex, optional
        Steps that the file must have, compared as instants.

    Returns
    -------
    Profiles
        One shape per port, in the order of ``port_ids``.

    Raises
    ------
    DataError
        If a stamp is day-first, has no zone, repeats or leaves a gap, the
        steps are not those of ``time``, a meter is missing or stands twice,
        or a value is missing or no number (with column and first rows).
    """
    table = read_wide(Path(path))
    _refuse_missing(pd.Index(port_ids).difference(table.columns), f"{path} lacks")
    steps = pd.DatetimeIndex(table.index)
    if time is not None and not steps.equals(time.tz_convert(steps.tz)):
        msg = (
            f"{path}: has {len(steps)} steps from {steps[0]} to {steps[-1]}, the "
            f"study has {len(time)} from {time[0]} to {time[-1]}: use one calendar"
        )
        raise DataError(msg)
    return dense_profiles(steps, table[list(port_ids)], power_factor=power_factor)


def shape_profiles(
    shapes: pd.DataFrame,
    *,
    port_ids: Ids,
    annual_kwh: float | pd.Series[float],
    power_factor: float,
    seed: int,
    shift_weeks: bool = True,
    full_load_hours: pd.Series[float] | None = None,
) -> Profiles:
    r"""
    Return a year of load in which ports share a few shapes, shifted by weeks.

    Each port draws a shape and a shift of :math:`w` weeks. Within its season
    (December to February, March to May, and so on) a day then takes the place
    of the :math:`w`-th next day of the same weekday, in a circle: season,
    weekday, hour and the energy of a shape stay, and the few shapes no longer
    peak together. The scale is :math:`s_k = E_k / h_{c(k)}`, annual energy
    over full-load hours.

    Parameters
    ----------
    shapes : pandas.DataFrame, shape (n_step, n_shape)
        One year of shapes, by zoned time, in any one unit. [-]
    port_ids : sequence of str
        Ports to be given a shape.
    annual_kwh : float or pandas.Series of float, by port id
        Energy of a port in the year. [kWh]
    power_factor : float
        Lagging power factor of all ports. [-]
    seed : int
        Seed of the draw, which does not depend on the order of the ports.
    shift_weeks : bool, default True
        Whether to shift; without it all ports of a shape peak together.
    full_load_hours : pandas.Series of float, by shape, optional
        Hours at value 1 that carry the annual energy; the integral of the
        shape without it. Give it where steps are not means: hourly maxima
        hold more energy than the meter counts. [h]

    Returns
    -------
    Profiles
        At most ``MAX_SHAPES`` shapes, unless there were more to begin with.

    Raises
    ------
    DataError
        If the shapes are not one year, a value is missing or negative, or a
        port or shape has no energy.

    Notes
    -----
    The days are those of the shape; the week they fall on is generated. Days
    and hours are those of the index's own zone. Holidays are not kept apart.

    Examples
    --------
    >>> time = pd.date_range("2025-01-01", periods=8760, freq="h", tz="UTC")
    >>> shapes = pd.DataFrame({"flat": 1.0}, time)
    >>> load = shape_profiles(
    ...     shapes, port_ids=["a"], annual_kwh=8760.0, power_factor=1.0, seed=1
    ... )
    >>> float(load.total_kw().max())
    1.0
    """
    ids = _index(port_ids)
    _check_ids(ids)
    _check_time(shapes.index)
    time = pd.DatetimeIndex(shapes.index)
    values = _numbers(shapes, "shapes").T
    hours = _year_hours(time, values, shapes.columns, full_load_hours)
    if not isinstance(annual_kwh, pd.Series):
        annual_kwh = pd.Series(annual_kwh, ids, dtype=float)
    energy = _aligned(annual_kwh, ids, "annual_kwh")
    n_shape = len(values)
    n_shift = max(1, min(MAX_SHIFTS, MAX_SHAPES // n_shape)) if shift_weeks else 1
    source = _week_shifts(time, n_shift)
    rng, rank = np.random.default_rng(seed), ids.argsort().argsort()
    shape = rng.integers(n_shape, size=len(ids))[rank]
    shift = rng.integers(n_shift, size=len(ids))[rank]
    scale = energy / hours[shape]
    rolled = values[:, source].reshape(n_shape * n_shift, -1)
    return Profiles(
        time=time,
        port_ids=ids,
        p_shapes=rolled,
        q_shapes=rolled,
        shape_of_port=shape * n_shift + shift,
        p_scale_kw=scale,
        q_scale_kvar=scale * _tan_phi(power_factor),
    )


def _week_shifts(time: pd.DatetimeIndex, n_shift: int) -> NDArray[np.intp]:
    """Return by shift the step that each step takes its value from."""
    step = np.arange(len(time))
    day, _ = pd.factorize(time.normalize())
    first = np.flatnonzero(np.diff(day, prepend=-1))
    clock = time[first]
    kind = pd.DataFrame(
        {
            "season": clock.month % 12 // 3,
            "weekday": clock.weekday,
            "start": clock - clock.normalize(),
            "length": np.bincount(day),
        }
    )
    days_of_kind = kind.groupby(list(kind)).indices.values()
    source = np.empty((n_shift, len(first)), dtype=np.intp)
    for days in days_of_kind:
        for weeks in range(n_shift):
            source[weeks, days] = np.roll(days, weeks)
    return first[source][:, day] + (step - first[day])


def _year_hours(
    time: pd.DatetimeIndex,
    values: Floats,
    names: pd.Index[str],
    full_load_hours: pd.Series[float] | None,
) -> Floats:
    """Return the full-load hours of each shape of a checked year."""
    step = (time[-1] - time[0]) / pd.Timedelta(hours=1) / max(1, len(time) - 1)
    if not (len(values) and 8760.0 <= step * len(time) <= 8784.0):
        msg = f"{len(values)} shape(s) over {step * len(time):.0f} h: give one year"
        raise DataError(msg)
    hours: Floats = values.sum(axis=1) * step
    if full_load_hours is not None:
        hours = _aligned(full_load_hours, names, "full_load_hours")
    bad = names[~(hours > 0.0) | (values.min(axis=1) < 0.0)]
    if len(bad):
        msg = f"shape(s) {list(bad[:3])} are negative somewhere or have no energy"
        raise DataError(msg)
    return hours


def _aligned(values: pd.Series[float], names: pd.Index[str], what: str) -> Floats:
    """Return one value of 0 or more per name, refusing missing and double ones."""
    _refuse_missing(names.difference(values.index), f"{what} lacks")
    found = values[values.index.isin(names)]
    bad = found.index[found.index.duplicated() | ~(found >= 0.0)]
    _refuse_missing(bad, f"{what} must be one value of 0 or more for")
    return np.asarray(values.loc[names], dtype=np.float64)


def read_wide(path: Path) -> pd.DataFrame:
    """
    Read a table of series, by zoned time.

    Parameters
    ----------
    path : pathlib.Path
        CSV or Parquet file; first column ``time`` (ISO 8601 with a zone).

    Returns
    -------
    pandas.DataFrame, shape (n_step, n_series)
        On its time index, in UTC unless one offset is used.

    Raises
    ------
    DataError
        If it cannot be read, or its steps are not zoned, in order and equal.
    """
    try:
        if path.suffix == ".parquet":
            if (rows := parquet_rows(path)) > MAX_STEPS:
                msg = f"{rows} rows, at most {MAX_STEPS} are read"
                raise ValueError(msg)  # noqa: TRY301
            table = pd.read_parquet(path)
            table = table if "time" in table else table.reset_index()
            names = [str(name) for name in table.columns]
        else:
            check_csv(path)
            with path.open(newline="", encoding="utf-8-sig") as file:
                names = next(csv.reader(file), [])
            table = pd.read_csv(path, nrows=MAX_STEPS + 1, encoding="utf-8-sig")
    except (OSError, ValueError, pa.ArrowException) as error:
        msg = f"{path}: cannot be read as a table of meters: {error}"
        raise DataError(msg) from error
    if names[:1] != ["time"] or not 0 < len(table) <= MAX_STEPS:
        msg = f"{path}: needs a first column 'time' and 1 to {MAX_STEPS} rows"
        raise DataError(msg)
    twice = pd.Index(names)[pd.Index(names).duplicated()]
    if len(twice):
        msg = f"{path}: column(s) {list(twice[:3])} stand twice: name each meter once"
        raise DataError(msg)
    table.index = _stamps(table.pop("time"), path)
    try:
        _check_time(table.index)
    except DataError as error:
        msg = f"{path}: {error}"
        raise DataError(msg) from error
    return table


def _stamps(stamps: pd.Series[Any], path: Path) -> pd.DatetimeIndex:
    """Return time stamps that name their zone."""
    if isinstance(stamps.dtype, pd.DatetimeTZDtype):
        return pd.DatetimeIndex(stamps).as_unit("ns")
    text = stamps.astype(str)
    zone = text.str.extract(f"^{_ISO_ZONED}$", expand=False)
    if zone.isna().any():
        row = int(np.argmax(zone.isna()))
        cure = "write ISO 8601 with a zone, as 2025-01-31T18:00+01:00"
        if text.str.fullmatch(_DAY_FIRST).iloc[row]:
            cure = f"day and month may be swapped; {cure}"
        msg = f"{path}: column 'time', row {row}: {text.iloc[row]!r}: {cure}"
        raise DataError(msg)
    try:
        time = pd.to_datetime(text, utc=len(set(zone)) > 1)
    except ValueError as error:
        msg = f"{path}: column 'time' is no date: {error}"
        raise DataError(msg) from error
    return pd.DatetimeIndex(time).as_unit("ns")


def _numbers(table: pd.DataFrame, where: str) -> Floats:
    """Return the values of a table, all of them finite numbers."""
    values: Floats = table.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float)
    bad = ~np.isfinite(values)
    if bad.any():
        column = int(np.argmax(bad.any(axis=0)))
        rows = np.flatnonzero(bad[:, column])
        first = [str(stamp) for stamp in table.index[rows[:3]]]
        msg = (
            f"{where}: column {table.columns[column]!r} has {len(rows)} value(s) "
            f"missing or not a number, first at {first}: mend or leave out the meter"
        )
        raise DataError(msg)
    return values


def _check_time(time: pd.Index[Any]) -> None:
    """Refuse steps without a zone, out of order or of unequal length."""
    zoned = isinstance(time, pd.DatetimeIndex) and time.tz is not None
    if not zoned or len(time) == 0 or time.hasnans:
        msg = f"time must be a DatetimeIndex with a zone and steps, got {time[:2]!r}"
        raise DataError(msg)
    step = np.diff(time.to_numpy(dtype="datetime64[ns]").astype(np.int64))
    bad = (step <= 0) | (step != np.median(step)) if len(step) else step > 0
    if bad.any():
        at = 1 + int(np.argmax(bad))
        msg = (
            f"time: stamp {at} ({time[at]}) follows {time[at - 1]}: "
            f"stamps must be in order, each once, and in equal steps"
        )
        raise DataError(msg)


def _index(names: Ids) -> pd.Index[str]:
    index: pd.Index[Any] = pd.Index(list(names), dtype=object)
    return index


def _check_ids(ids: pd.Index[str]) -> None:
    """Refuse port ids that are not text or not unique."""
    kind = pd.Series(ids).map(lambda name: isinstance(name, str)).to_numpy(dtype=bool)
    bad = list(ids[~kind]) or list(ids[ids.duplicated()])
    if bad:
        msg = f"port ids must be text and unique, {len(bad)} are not: {bad[:3]}"
        raise DataError(msg)


def _refuse_missing(names: pd.Index[str], what: str) -> None:
    """Raise if there are names that were asked for and not found."""
    if len(names):
        msg = f"{what} {list(names[:3])} ({len(names)} in all): check the names"
        raise DataError(msg)


def _tan_phi(power_factor: float) -> float:
    """Return reactive over active power of a lagging load."""
    if not 0.0 < power_factor <= 1.0:
        msg = f"power_factor must be in (0, 1], got {power_factor!r}"
        raise DataError(msg)
    return reactive_kvar(1.0, power_factor)
