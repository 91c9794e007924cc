"""
What units of given ratings lose to their limits, step by step.

At each step a unit draws what its connection leaves, up to its rating. Below
``min_power_share`` of the rating it pauses and serves nothing. A battery is
charged from headroom that is left over, with all losses on charging, and
discharged as soon as the unit is short; it starts empty, the safe side, and
where it cannot carry the unit to its least power, the unit pauses and the
battery charges. Unit and charging together never draw more than the headroom.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gridsite.errors import ConfigError, DataError
from gridsite.hosting.flexible_kernels import curtailed
from gridsite.units import HOURS_PER_YEAR

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    #: float32 or float64, not copied as a whole
    Headroom = NDArray[Any]

#: Numbers in a block of connections. 32 MB as float64.
_BLOCK = 4_000_000


@dataclass(frozen=True, kw_only=True, eq=False)
class Curtailment:
    """
    What units of given ratings lose to their limits.

    Attributes
    ----------
    steps : numpy.ndarray of int, shape (n,)
        Steps not served in full.
    longest_h : numpy.ndarray, shape (n,)
        Longest run of such steps. [h]
    interventions_per_year : numpy.ndarray, shape (n,)
        Separate runs, scaled from the length of the series to 8,760 h. [1/a]
    not_served_kwh : numpy.ndarray, shape (n,)
        Energy missing over the series, not scaled. [kWh]
    not_served_share : numpy.ndarray, shape (n,)
        The same over rating x hours; 0 for a rating of 0. [-]
    """

    steps: Ints
    longest_h: Floats
    interventions_per_year: Floats
    not_served_kwh: Floats
    not_served_share: Floats


@dataclass(frozen=True, kw_only=True)
class Throttling:
    """
    How a unit throttles, and its battery.

    Attributes
    ----------
    step_hours : float
        Length of a step. [h]
    min_power_share : float
        Share of its rating below which a unit pauses. [-]
    battery_kwh : float
        Energy that the battery can give. [kWh]
    battery_kw : float or None
        Power of the battery, both ways; None: the unit's rating. [kW]
    battery_efficiency : float
        Energy given over energy charged. [-]

    Raises
    ------
    ConfigError
        If a value is out of range.
    """

    step_hours: float
    min_power_share: float
    battery_kwh: float
    battery_kw: float | None
    battery_efficiency: float

    def __post_init__(self) -> None:
        for name, low, high in (
            ("step_hours", 1e-6, np.inf),
            ("min_power_share", 0.0, 1.0),
            ("battery_kwh", 0.0, np.inf),
            ("battery_kw", 0.0, np.inf),
            ("battery_efficiency", 1e-6, 1.0),
        ):
            value = getattr(self, name)
            if value is not None and not (low <= value <= high and value < np.inf):
                msg = f"{name} must be a number from {low:g} to {high:g}, got {value!r}"
                raise ConfigError(msg)

    def numbers(self, min_power_share: float) -> tuple[float, float, float, float]:
        """
        Return what the compiled loops take last.

        Parameters
        ----------
        min_power_share : float
            Taken in place of the unit's own. [-]

        Returns
        -------
        tuple of float
            Least share, and the battery's energy in kW x steps, its power (-1
            for the unit's rating) and efficiency.
        """
        power = -1.0 if self.battery_kw is None else self.battery_kw
        energy = self.battery_kwh / self.step_hours
        return (min_power_share, energy, power, self.battery_efficiency)


def curtailment(
    headroom_kw: Headroom,
    rating_kw: ArrayLike,
    step_hours: float,
    *,
    min_power_share: float = 0.0,
    battery_kwh: float = 0.0,
    battery_kw: float | None = None,
    battery_efficiency: float = 0.9,
) -> Curtailment:
    """
    Return how often, how long and by how much units are curtailed.

    Parameters
    ----------
    headroom_kw : numpy.ndarray, shape (n, n_step)
        Headroom at each step, in the order of time, 0 or more. [kW]
    rating_kw : array-like of float, shape (n,) or ()
        Ratings of the units. [kW]
    step_hours : float
        Length of a step. [h]
    min_power_share : float, default 0.0
        Share of its rating below which a unit pauses. [-]
    battery_kwh : float, default 0.0
        Energy that the battery can give; it starts empty. [kWh]
    battery_kw : float, optional
        Power of the battery, both ways; the unit's rating without it. [kW]
    battery_efficiency : float, default 0.9
        Energy given over energy charged (assumption). [-]

    Returns
    -------
    Curtailment
        One value per connection.

    Raises
    ------
    ConfigError
        If an option is out of range.
    DataError
        If a headroom or a rating is missing, negative or infinite, or there is
        not one rating per connection.

    Notes
    -----
    The first and the last step of the series are not joined: a run that goes
    on over the turn of the year counts twice.

    Examples
    --------
    >>> lost = curtailment(np.array([[5.0, 3.0, 4.0, 5.0]]), 5.0, 0.25)
    >>> lost.steps, lost.longest_h, lost.not_served_kwh
    (array([2]), array([0.5]), array([0.75]))
    """
    unit = Throttling(
        step_hours=step_hours,
        min_power_share=min_power_share,
        battery_kwh=battery_kwh,
        battery_kw=battery_kw,
        battery_efficiency=battery_efficiency,
    )
    n, n_step = headroom_kw.shape
    rating = np.array(rating_kw, dtype=float)
    if rating.shape not in {(), (n,)} or not np.isfinite(rating).all():
        msg = f"rating_kw must be {n} finite number(s), got shape {rating.shape}"
        raise DataError(msg)
    if (rating < 0.0).any():
        msg = f"rating_kw is {rating.min():g} somewhere; give ratings of 0 or more"
        raise DataError(msg)
    rating = np.broadcast_to(rating, (n,)).copy()
    missing, counts = np.empty(n), np.empty((3, n), dtype=np.int64)
    numbers = unit.numbers(min_power_share)
    for rows, block in blocks(headroom_kw):
        missing[rows], counts[:, rows] = curtailed(block, rating[rows], *numbers)
    asked = np.where(rating > 0.0, rating, 1.0) * n_step
    return Curtailment(
        steps=counts[0],
        longest_h=counts[1] * step_hours,
        interventions_per_year=counts[2] * HOURS_PER_YEAR / (n_step * step_hours),
        not_served_kwh=missing * step_hours,
        not_served_share=missing / asked,
    )


def blocks(headroom_kw: Headroom) -> Iterator[tuple[slice, Headroom]]:
    """
    Return checked blocks of connections, so that no copy of the whole is made.

    Parameters
    ----------
    headroom_kw : numpy.ndarray, shape (n, n_step)
        Headroom at each step. [kW]

    Yields
    ------
    rows : slice
        Connections of the block.
    block : numpy.ndarray, shape (n_row, n_step)
        Their headroom, float32 or float64, contiguous. [kW]

    Raises
    ------
    DataError
        If a headroom is missing, negative or infinite.
    """
    if headroom_kw.ndim != 2 or not headroom_kw.shape[1]:
        msg = f"headroom_kw must be connections x steps, got {headroom_kw.shape}"
        raise DataError(msg)
    width = max(1, _BLOCK // headroom_kw.shape[1])
    for start in range(0, len(headroom_kw), width):
        rows = slice(start, start + width)
        block = np.ascontiguousarray(headroom_kw[rows])
        if block.dtype not in (np.float32, np.float64):
            block = block.astype(np.float64)
        if not (block.min() >= 0.0 and block.max() < np.inf):
            at = np.argwhere(~((block >= 0.0) & (block < np.inf)))[0]
            msg = (
                f"headroom_kw is {block[tuple(at)]} at connection {start + at[0]}, "
                f"step {at[1]}; leave out connections without a value"
            )
            raise DataError(msg)
        yield rows, block
