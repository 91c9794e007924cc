"""What one hosting value rests on, as tables and in words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """
    Why one connection has the capacity that it has.

    Parameters
    ----------
    building_id, port_id : str
        The building and its connection.
    status : str
        As ``firm_status``.
    firm_kw, above_kw : float
        The value explained, and the load just above it. [kW]
    time : pandas.Timestamp or None
        The step replayed; None where nothing was replayed.
    reason : str
        In words.
    limit : pandas.DataFrame
        One row: ``criterion, element, unit, limit, base, below, above``.
    nodes : pandas.DataFrame
        Buses from the source to the connection: ``position`` (0 at the source),
        ``bus, phases, voltage_kv, on_path, min_pu, max_pu`` and ``base_pu,
        below_pu, above_pu``; a bus that binds elsewhere stands last.
    elements : pandas.DataFrame
        Lines and transformers between them: ``position`` (of the bus behind),
        ``element, criterion, on_path, limit_percent`` and ``base_percent,
        below_percent, above_percent`` of the rating.
    service : pandas.DataFrame
        Arithmetic of the building's service where it binds: ``term, value, unit``.
    controls : pandas.DataFrame
        Regulators and capacitors that act: ``control, kind`` and, in each state,
        ``*_position`` at the end of the step and ``*_moves`` from the first step on.
    """

    building_id: str
    port_id: str
    status: str
    firm_kw: float
    above_kw: float = np.nan
    time: pd.Timestamp | None = None
    reason: str = ""
    limit: pd.DataFrame = field(default_factory=pd.DataFrame)
    nodes: pd.DataFrame = field(default_factory=pd.DataFrame)
    elements: pd.DataFrame = field(default_factory=pd.DataFrame)
    service: pd.DataFrame = field(default_factory=pd.DataFrame)
    controls: pd.DataFrame = field(default_factory=pd.DataFrame)
