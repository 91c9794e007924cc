"""
Replay one hosting value: what binds, where and when, just below and above it.

The feeder is solved at the step that the hosting table names, without the load,
with the reported capacity and with two tolerances more. The limit that the table
names must hold below and be newly broken above, all others must hold below: a
value that the replay does not confirm is an error, never an explanation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gridsite.errors import DataError
from gridsite.hosting.grid_case import GridCase
from gridsite.hosting.limits import Limits
from gridsite.hosting.value_replay import ValueReplay

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from gridsite.feeder.model import Feeder
    from gridsite.feeder.profiles import Profiles
    from gridsite.hosting.explanation import Explanation

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


def explain_capacity(
    feeder: Feeder,
    loads: Profiles,
    row: Mapping[str, Any],
    *,
    limits: Limits | None = None,
    power_factor: float = 0.98,
    tolerance_kw: float = 0.1,
    service_a: float = np.nan,
    service_v: float = np.nan,
    grid: GridCase | None = None,
) -> Explanation:
    """
    Replay the firm capacity of one connection at the step that limits it.

    Parameters
    ----------
    feeder : Feeder
        The electrical model.
    loads : Profiles
        What customers draw.
    row : mapping
        One row of the hosting table.
    limits : Limits, optional
        Those of the table; EN 50160 by default.
    power_factor : float, default 0.98
        Of the added load, lagging. [-]
    tolerance_kw : float, default 0.1
        That of the table; 0.1 % of the value where this is larger. [kW]
    service_a : float, optional
        Rating of the building's service; not known by default. [A]
    service_v : float, optional
        Its voltage. [V]
    grid : GridCase, optional
        Of the same feeder, loads, limits and power factor, when at hand.

    Returns
    -------
    Explanation
        The replay; without tables where the status leaves nothing to replay.

    Raises
    ------
    DataError
        If the connection or its step is not in the feeder and its loads.
    PowerFlowError
        If the replay does not confirm the row.

    Notes
    -----
    One step of the whole feeder is solved, whatever its size. The path is the one
    of least impedance from the nearest source. That no other step binds earlier is
    not looked at again.

    Examples
    --------
    >>> from gridsite.feeder.profiles import constant_profiles
    >>> from gridsite.feeder.read_pandapower import read_feeder
    >>> from gridsite.hosting.capacity import hosting_capacity
    >>> feeder = read_feeder("pandapower:create_kerber_landnetz_freileitung_1")
    >>> at = feeder.load_ports
    >>> loads = constant_profiles(at.index, at["p_kw"], at["q_kvar"])
    >>> row = hosting_capacity(feeder, loads).iloc[0]
    >>> told = explain_capacity(feeder, loads, row.to_dict())
    >>> bool((told.limit["below"] <= told.limit["limit"]).all())
    True
    """
    if grid is None:
        grid = GridCase(feeder, loads, limits or Limits(), power_factor=power_factor)
    if row["port_id"] not in grid.feeder.ports.index:
        msg = (
            f"connection {row['port_id']!r} is not in {grid.feeder.name}; the feeder "
            "is not that of the table: run it again"
        )
        raise DataError(msg)
    tolerance = max(tolerance_kw, 1e-3 * float(np.nan_to_num(row["firm_kw"])))
    replay = ValueReplay(grid, row, tolerance, service_a, service_v)
    return replay.explanation()
