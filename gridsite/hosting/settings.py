"""How connections are rated, and what limits outside their block leave to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gridsite.hosting.flexible import LEVELS

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from gridsite.hosting.ageing_limit import Ageing

    Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """
    How connections are rated.

    Parameters
    ----------
    power_factor : float
        Of added loads, lagging. [-]
    tolerance_kw : float
        Width of the interval that holds the true firm capacity. [kW]
    screen : bool
        Whether steps proven not to bind are skipped.
    min_power_share : float
        Share of its rating below which a unit pauses. [-]
    battery_kwh : float
        Energy of a battery at each unit. [kWh]
    battery_kw : float or None
        Its power; the unit's rating where None. [kW]
    levels : tuple of float
        Shares of energy, and of steps, of flexible capacity. [-]
    ageing : Ageing, optional
        What transformers age by; not checked without it.
    envelope : callable, optional
        Takes row labels of connections and their headroom at each step. [kW]
    lower_envelope : callable, optional
        Takes row labels, what is kept of each headroom [-], and its lower bound.
        [kW]
    """

    power_factor: float
    tolerance_kw: float
    screen: bool
    min_power_share: float = 0.0
    battery_kwh: float = 0.0
    battery_kw: float | None = None
    levels: tuple[float, ...] = LEVELS
    ageing: Ageing | None = None
    envelope: Callable[[pd.Index, Floats], None] | None = None
    lower_envelope: Callable[[pd.Index, Floats, Floats], None] | None = None


@dataclass(frozen=True, kw_only=True)
class Outside:
    """
    What limits outside a block leave to any load in it.

    Parameters
    ----------
    headroom_kw : numpy.ndarray, shape (n, n_step)
        To each connection at each step. [kW]
    criterion, element : str
        The limit that leaves least.
    """

    headroom_kw: Floats
    criterion: str
    element: str
