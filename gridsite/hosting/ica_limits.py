"""AC power flow has the last word on the 576-hour table, and names each limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.hosting.closed_steps import closing_row
from gridsite.hosting.near_cases import cases_at, parts_of, ports_of
from gridsite.hosting.rows import limit_names
from gridsite.hosting.search import largest_passing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from numpy.typing import NDArray

    from gridsite.hosting.base_case import BaseCase
    from gridsite.hosting.grid_case import GridCase

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    #: items of a case, the port and the step of each in it, and the case
    _Items = tuple[Ints, Ints, Ints, BaseCase]

#: Width of the search of each value. [kW]
TOLERANCE_KW = 0.05

#: A limit within so much above an estimate is what sets it, not a cap [kW, -].
_ABOVE_KW, _ABOVE = 0.5, 0.02

#: Criteria that no limit of the grid carries.
_CAPS = ("service", "transformer ageing")


def confirmed_hours(
    grid: GridCase, hosting: pd.DataFrame, table: pd.DataFrame
) -> pd.DataFrame:
    """
    Return a 576-hour table whose values pass in AC power flow.

    Parameters
    ----------
    grid : GridCase
        Base cases that were rated, without controls that act.
    hosting : pandas.DataFrame
        Contract ``hosting``.
    table : pandas.DataFrame
        Of connections of one feeder, as from `gridsite.hosting.ica.ica_table`.

    Returns
    -------
    pandas.DataFrame
        The same rows. Where the status is ``ok``, ``load_hc_kw`` passes at
        ``limiting_time`` and is at most the estimate, and
        ``most_limiting_criterion`` and ``limiting_element`` are the limit that
        breaks first above it: of the grid, or else the cap (service, ageing or a
        limit elsewhere on the feeder) that sets the firm capacity.

    Notes
    -----
    On large feeders the power flow is that of the trunk with the connection's own
    leaf, in which other leaves draw what they do in the base case. The step is that
    of the least *estimated* headroom of the hour; another of the same class may have
    up to 0.05 kW less.
    """
    out = table.copy()
    ok = np.flatnonzero((out["status"] == "ok") & out["limiting_time"].notna())
    if not len(ok):
        return out
    rows = out.iloc[ok]
    keys = ["building_id", "port_id"]
    own = hosting.set_index(keys).loc[pd.MultiIndex.from_frame(rows[keys])]
    step = grid.profiles.time.get_indexer(pd.DatetimeIndex(rows["limiting_time"]))
    estimate = rows["load_hc_kw"].to_numpy(dtype=float)
    most = estimate + np.maximum(_ABOVE_KW, _ABOVE * estimate)
    serviced = own["service_headroom_kw"].notna().to_numpy()
    capped = serviced | own["limit_criterion"].isin(_CAPS).to_numpy()
    most[capped] = estimate[capped] + 2.0 * TOLERANCE_KW
    closed = (estimate <= 0.0) & (
        own["firm_status"] == "none_base_violation"
    ).to_numpy()
    kw = estimate.copy()
    criterion = own["limit_criterion"].to_numpy(dtype=object).copy()
    element = own["limit_element"].to_numpy(dtype=object).copy()
    names = rows["port_id"].to_numpy()
    feeder_id = str(rows["feeder_id"].iloc[0])
    for at, port, now, case in _cases(grid, feeder_id, names, step):
        shut = closed[at]
        stop = np.full(len(at), -1)
        stop[shut] = closing_row(case, port[shut], now[shut])
        left = ~shut
        found = largest_passing(
            case,
            port[left],
            now[left],
            estimate[at[left]],
            np.minimum(most[at[left]], case.limits.search_cap_kw),
            TOLERANCE_KW,
        )
        kw[at[left]], stop[left] = np.minimum(found.kw, estimate[at[left]]), found.row
        stopped = at[stop >= 0]
        row, bus = stop[stop >= 0], own["bus"].to_numpy()[stopped]
        criterion[stopped], element[stopped] = limit_names(case.rows, row, bus)
        overdrawn = at[shut & (stop < 0) & serviced[at]]
        criterion[overdrawn] = "service"
        element[overdrawn] = rows["building_id"].to_numpy()[overdrawn]
    # the firm capacity passes at every step
    kw = np.maximum(kw, np.minimum(own["firm_kw"].to_numpy(dtype=float), estimate))
    found_columns = {
        "load_hc_kw": kw,
        "most_limiting_criterion": criterion,
        "limiting_element": element,
    }
    for name, values in found_columns.items():
        out.loc[rows.index, name] = values
    return out


def _cases(
    grid: GridCase, feeder_id: str, port_ids: NDArray[Any], step: Ints
) -> Iterator[_Items]:
    """Yield the cases that items are looked at in."""
    split = grid.split(feeder_id)
    if split is None:
        case = grid.block(feeder_id)
        yield np.arange(len(step)), ports_of(case, port_ids), step, case
        return
    part = parts_of(split, pd.Index(port_ids))
    for i in np.unique(part):
        inside = np.flatnonzero(part == i)
        for _, at, now, case in cases_at(grid, feeder_id, step[inside], i):
            where = inside[at]
            yield where, ports_of(case, port_ids[where]), now, case
