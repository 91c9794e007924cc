"""
What customers draw, by step.

A year of 8,772 loads in quarter-hours is 308 million numbers, yet customers
share few shapes. Profiles are therefore kept in factored form: port :math:`k`
draws :math:`P_{kt} = s_k f_{c(k)t}` at step :math:`t`, a scale per port times
one of a few shapes. Steps are left-labelled, time-zone aware and of equal
length; load is positive.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gridsite.errors import DataError
from gridsite.feeder.series_checks import (
    _check_ids,
    _check_time,
    _index,
    _numbers,
    _refuse_missing,
    _tan_phi,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ids = Sequence[str] | pd.Index[str]


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
    notes : tuple of str
        What its reader assumed, in words.

    Raises
    ------
    DataError
        If steps are unequal or have no zone, an id is not unique text, a size
        does not match, or a value is missing or infinite.

    See Also
    --------
    profile_shapes.shape_profiles : Builds them from few shapes and annual energies.
    profile_files.read_profiles : Reads them from a file of meter readings.

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
    notes: tuple[str, ...] = ()

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

    def at_steps(self, steps: NDArray[np.intp]) -> Profiles:
        """
        Return the profiles at some steps alone.

        Parameters
        ----------
        steps : numpy.ndarray of int, shape (n_step,)
            Wanted steps.

        Returns
        -------
        Profiles
            Their stamps are the first of these profiles: they only keep the order.

        Examples
        --------
        >>> load = constant_profiles(["a"], [2.0], [0.3])
        >>> load.at_steps(np.array([0])).power_kw()[0]
        array([[2.]])
        """
        factor = self.source_factor
        return replace(
            self,
            time=self.time[: len(steps)],
            p_shapes=np.ascontiguousarray(self.p_shapes[:, steps]),
            q_shapes=np.ascontiguousarray(self.q_shapes[:, steps]),
            source_factor=None if factor is None else factor[steps],
        )

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
