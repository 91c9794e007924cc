r"""
What the connections of a feeder can draw together.

A *split* gives every connection :math:`k` a load :math:`0 \le P_k \le F_k` with
:math:`F_k` its firm capacity alone, which keeps the limits of its own
connection (service, voltage change). A split passes when, in AC power flow at
every step, all its loads together newly break no limit and worsen no broken one
by more than the materiality; transformer ageing, where it is checked, is a limit of
all steps together.

* equal: the largest :math:`P` with :math:`P_k = P` for all :math:`k`,
* proportional: the largest :math:`s \le 1` with :math:`P_k = s F_k`,
* maximum: the largest :math:`\sum_k P_k`. A linear programme on measured rows
  (`gridsite.hosting.joint`) proposes a split, AC power flow cuts it off where
  it breaks a limit, and the last one is scaled back until it passes.

The bound of the maximum is the optimum of the same programme with every row
relaxed by 1 % (`gridsite.hosting.joint_search.BOUND_MARGIN`). Slack falls ever
faster with load, so that what passes lies within rows measured at any split, but
for the size of the probe: at most 0.2 % beyond them on the feeders of the tests.
Nothing proves it for all feeders: the bound is an estimate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gridsite.errors import ConfigError, DataError
from gridsite.hosting.capacity import hosting_capacity
from gridsite.hosting.grid_case import GridCase
from gridsite.hosting.joint_search import JointSearch
from gridsite.hosting.limits import Limits
from gridsite.hosting.load_sets import checked_loads
from gridsite.schemas import check_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from gridsite.feeder.model import Feeder
    from gridsite.feeder.profiles import Profiles
    from gridsite.hosting.joint_search import Split

    Floats = NDArray[np.float64]

KINDS = ("equal", "proportional", "max")

_OF_FIRM = ["firm_status", "limit_criterion", "limit_element", "limit_time"]


@dataclass(frozen=True, kw_only=True, eq=False)
class JointCapacity:
    """
    Hold what connections can draw together.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per ``feeder_id``: ``connections`` in the set, ``left_out``
        (without a firm capacity), ``existing_kw``, ``sum_of_singles_kw``,
        ``joint_equal_kw`` with ``joint_equal_each_kw``,
        ``joint_proportional_kw`` with ``joint_proportional_share``,
        ``joint_max_kw`` and ``joint_max_bound_kw`` (an estimate); for equal,
        proportional and max the ratio ``sum_to_*`` and ``*_status``,
        ``*_criterion``, ``*_element``, ``*_time`` of what binds.
    splits : pandas.DataFrame
        One row per connection: ``port_id, feeder_id, firm_kw, existing_kw,
        equal_kw, proportional_kw, max_kw``; each of the three splits passes.
    total : dict
        The same numbers over all feeders: equal and proportional with one load
        and one share for all. [kW]
    """

    table: pd.DataFrame
    splits: pd.DataFrame
    total: dict[str, Any]


def joint_capacity(
    feeder: Feeder,
    loads: Profiles,
    *,
    limits: Limits | None = None,
    power_factor: float = 0.98,
    port_ids: pd.Index[str] | None = None,
    hosting: pd.DataFrame | None = None,
    existing_kw: pd.Series[float] | None = None,
    tolerance_kw: float = 0.1,
    grid: GridCase | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> JointCapacity:
    """
    Return what connections can draw together, as three named numbers.

    Parameters
    ----------
    feeder : Feeder
        The electrical model.
    loads : Profiles
        What customers draw.
    limits : Limits, optional
        EN 50160 by default.
    power_factor : float, default 0.98
        Of added loads, lagging. [-]
    port_ids : pandas.Index of str, optional
        The set of connections; all rows of ``hosting`` by default.
    hosting : pandas.DataFrame, optional
        Contract ``hosting``, rated with the same inputs and ``tolerance_kw``;
        computed where it is not given, without a service limit.
    existing_kw : pandas.Series of float, optional
        Loads placed already, by ``port_id``; the capacity is what remains
        after them. They are part of the set, not of the base case. [kW]
    tolerance_kw : float, default 0.1
        Width of the interval that holds each total of a feeder, from below. [kW]
    grid : GridCase, optional
        Base cases at hand already, of the same inputs.
    progress : callable, optional
        Called with the share done and a text.

    Returns
    -------
    JointCapacity
        Table by feeder, splits by connection, total.

    Raises
    ------
    ConfigError
        If ``tolerance_kw`` is not above 0, or limits differ from the grid's.
    DataError
        If a port is unknown or not rated, or an existing load is negative, not
        finite or at an unknown port.

    Notes
    -----
    A connection is a port; several buildings at one share its largest
    ``firm_kw``. Equal and proportional are 0 with ``none_base_violation``
    where a member acts on a limit that is broken already, or where the
    existing loads break one; the maximum uses the other connections. A firm
    capacity may worsen a broken limit on which its load does not act by the
    5 % rule; a split may not, so that the maximum may then be below it.

    Examples
    --------
    >>> from gridsite.feeder.profiles import constant_profiles
    >>> from gridsite.feeder.read_pandapower import read_feeder
    >>> feeder = read_feeder("pandapower:create_kerber_landnetz_freileitung_1")
    >>> at = feeder.load_ports
    >>> loads = constant_profiles(at.index, at["p_kw"], at["q_kvar"])
    >>> total = joint_capacity(feeder, loads).total
    >>> total["joint_equal_kw"] <= total["joint_max_kw"] < total["sum_of_singles_kw"]
    True
    """
    if not tolerance_kw > 0.0:
        msg = f"tolerance_kw must be above 0, got {tolerance_kw}"
        raise ConfigError(msg)
    if grid is not None and limits not in {None, grid.limits}:
        msg = "limits differ from those of the grid case; give one of the two"
        raise ConfigError(msg)
    if grid is None:
        grid = GridCase(feeder, loads, limits or Limits(), power_factor=power_factor)
    given = pd.Series(dtype=float) if existing_kw is None else existing_kw
    existing = checked_loads(feeder, given, "existing_kw")
    if hosting is None:
        hosting = hosting_capacity(
            feeder,
            loads,
            power_factor=power_factor,
            tolerance_kw=tolerance_kw,
            grid=grid,
        )
    splits = _connections(feeder, hosting, port_ids)
    place = feeder.ports.index.get_indexer(pd.Index(splits["port_id"]))
    splits.insert(3, "existing_kw", existing[place])
    groups = list(splits.groupby("feeder_id", sort=True))
    rows = []
    for done, (feeder_id, group) in enumerate(groups):
        if progress:
            progress(done / len(groups), f"joint capacity of {feeder_id!s}")
        row, found = _feeder(grid, str(feeder_id), group, existing, tolerance_kw)
        rows.append(row)
        splits.loc[found.index, found.columns] = found
    if progress:
        progress(1.0, "joint capacity")
    table = pd.DataFrame(rows)
    splits = splits.drop(columns=_OF_FIRM)
    return JointCapacity(table=table, splits=splits, total=_total(table))


def _connections(
    feeder: Feeder, hosting: pd.DataFrame, port_ids: pd.Index[str] | None
) -> pd.DataFrame:
    """Return one row per port of the set, with its largest firm capacity."""
    table = check_table("hosting", hosting)
    wanted = pd.Index(table["port_id"].unique()) if port_ids is None else port_ids
    for known, what in (
        (feeder.ports.index, f"unknown to {feeder.name}"),
        (pd.Index(table["port_id"]), "not in the hosting table"),
    ):
        missing = wanted[~wanted.isin(known)]
        if len(missing):
            msg = (
                f"joint capacity: {len(missing)} port(s) {what}, first "
                f"{missing[:3].tolist()}; rate them first, by their load names"
            )
            raise DataError(msg)
    if not len(wanted):
        msg = "joint capacity: port_ids is empty; name at least one connection"
        raise DataError(msg)
    order = table.sort_values("firm_kw", ascending=False, kind="stable")
    own = order.drop_duplicates("port_id").set_index("port_id")
    own = own.loc[wanted.unique(), ["firm_kw", *_OF_FIRM]]
    out = own.reset_index().rename(columns={"index": "port_id"})
    feeder_id = feeder.ports["feeder_id"].loc[out["port_id"]].to_numpy()
    out.insert(1, "feeder_id", feeder_id)
    return out.assign(**{f"{kind}_kw": np.nan for kind in KINDS})


def _feeder(
    grid: GridCase,
    feeder_id: str,
    group: pd.DataFrame,
    existing_kw: Floats,
    tolerance_kw: float,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Return the row of one feeder and the splits of its connections."""
    # at a source no modelled limit is shared; elsewhere there may be no base case
    here = feeder_id in grid.solved_ids
    rated = group[group["firm_kw"].notna() & here]
    inside = (grid.feeder.ports["feeder_id"] == feeder_id).to_numpy()
    row: dict[str, Any] = {
        "feeder_id": feeder_id,
        "connections": len(rated),
        "left_out": len(group) - len(rated),
        "existing_kw": float(existing_kw[inside].sum()),
        "sum_of_singles_kw": float(rated["firm_kw"].sum()),
        "joint_equal_each_kw": np.nan,
        "joint_proportional_share": np.nan,
        "joint_max_bound_kw": np.nan,
    }
    if rated.empty:
        none = {"status": str(group["firm_status"].iloc[0])}
        for kind in KINDS:
            row |= _named(kind, np.nan, row["sum_of_singles_kw"], none)
        return row, pd.DataFrame()
    firm = rated["firm_kw"].to_numpy(dtype=np.float64)
    names = pd.Index(rated["port_id"])
    search = JointSearch(grid, feeder_id, names, firm, existing_kw, tolerance_kw)
    splits = {
        "equal": search.equal,
        "proportional": search.proportional,
        "max": search.largest,
    }
    for kind, split in splits.items():
        limit = _binding(split, search, rated)
        row |= _named(kind, float(split.kw.sum()), row["sum_of_singles_kw"], limit)
    row["joint_equal_each_kw"] = float(search.equal.kw[0])
    if firm.any():
        row["joint_proportional_share"] = float(
            search.proportional.kw.sum() / firm.sum()
        )
    row["joint_max_bound_kw"] = search.bound_kw
    columns = {f"{kind}_kw": split.kw for kind, split in splits.items()}
    return row, pd.DataFrame(columns, index=rated.index)


def _named(
    kind: str, kw: float, sum_kw: float, limit: dict[str, Any]
) -> dict[str, Any]:
    """Return the columns of one kind of split."""
    empty = {"status": "", "criterion": "", "element": "", "time": pd.NaT}
    return {
        f"joint_{kind}_kw": kw,
        f"sum_to_{kind}": sum_kw / kw if kw > 0.0 else np.nan,
        **{f"{kind}_{name}": value for name, value in (empty | limit).items()},
    }


def _binding(split: Split, search: JointSearch, rated: pd.DataFrame) -> dict[str, Any]:
    """Return the status of a split and the limit that binds it."""
    stop, case = split.stop, search.case
    if not np.isfinite(split.kw).all():
        return {"status": "not_converged", "time": case.time[stop.step]}
    if split.own >= 0 and stop.holds:
        own = rated.iloc[split.own]
        limit = {
            name: own[f"limit_{name}"] for name in ("criterion", "element", "time")
        }
        return {"status": own["firm_status"], **limit}
    if stop.transformer:
        return {
            "status": "ok" if stop.holds else "none_base_violation",
            "criterion": "transformer ageing",
            "element": stop.transformer,
            "time": case.time[stop.step],
        }
    if stop.row < 0:
        return {"status": "censored" if stop.holds else "none_base_violation"}
    row = case.rows.iloc[stop.row]
    return {
        "status": "ok" if stop.holds else "none_base_violation",
        "criterion": row["criterion"],
        "element": row["element"],
        "time": case.time[stop.step],
    }


def _total(table: pd.DataFrame) -> dict[str, Any]:
    """Return the joint capacity over all feeders that have one."""
    rated = table[table["connections"] > 0]
    count, singles = rated["connections"].sum(), rated["sum_of_singles_kw"].sum()
    each = rated["joint_equal_each_kw"].min(skipna=False)
    share = rated["joint_proportional_share"].min()
    kw = {
        "equal": each * count,
        "proportional": share * singles,
        "max": rated["joint_max_kw"].sum(skipna=False),
    }
    return {
        "connections": int(count),
        "left_out": int(table["left_out"].sum()),
        "existing_kw": float(table["existing_kw"].sum()),
        "sum_of_singles_kw": float(singles),
        "joint_equal_each_kw": float(each),
        "joint_proportional_share": float(share),
        "joint_max_bound_kw": float(rated["joint_max_bound_kw"].sum(skipna=False)),
        **{f"joint_{kind}_kw": float(value) for kind, value in kw.items()},
        **{
            f"sum_to_{kind}": float(singles / value) if value > 0.0 else None
            for kind, value in kw.items()
        },
    }
