"""
The siting problem: sets and parameters as plain tables, checked at the door.

The tables follow the contracts of ``gridsite.schemas``. Every fault of every
table is reported at once, and nothing is aligned, filled or dropped quietly.
The single period 0 is the built-out state: lead times play no part in it.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.errors import ConfigError, DataError, SchemaError
from gridsite.schemas import SCHEMAS, check_table
from gridsite.siting.splits import split_faults

if TYPE_CHECKING:
    from collections.abc import Iterable

#: The tables of a problem, in the order in which their faults are reported.
TABLES = (
    "sites",
    "site_options",
    "units",
    "workloads",
    "demand",
    "arcs",
    "rows",
    "row_coefficients",
    "groups",
)

#: Table, column, and the table that must know each value of that column.
_REFERENCES = (
    ("site_options", "site_id", "sites"),
    ("site_options", "unit", "units"),
    ("demand", "workload", "workloads"),
    ("arcs", "workload", "workloads"),
    ("arcs", "site_id", "sites"),
    ("arcs", "zone_id", "demand"),
    ("row_coefficients", "row_id", "rows"),
    ("row_coefficients", "port_id", "site_options"),
    ("groups", "site_id", "sites"),
)


def empty_table(name: str) -> pd.DataFrame:
    """
    Return a table that keeps its contract and has no rows.

    Parameters
    ----------
    name : str
        Name of the table in ``gridsite.schemas``.

    Returns
    -------
    pandas.DataFrame
        No rows, the fixed columns in their types.

    Examples
    --------
    >>> list(empty_table("row_coefficients").columns)
    ['row_id', 'port_id', 'coefficient']
    """
    return check_table(name, pd.DataFrame(columns=list(SCHEMAS[name].columns)))


@dataclass(frozen=True, kw_only=True, eq=False)
class SitingProblem:
    """
    Where compute may stand, who needs it, and what the grid allows.

    Parameters
    ----------
    sites : pandas.DataFrame
        Places that can be opened; ``fixed_capital`` is paid once a site without
        existing units gets one. Empty ``max_power_kw``: no limit. An optional
        column ``roof_area_m2`` caps the footprints of a site's units. [m2]
    site_options : pandas.DataFrame
        Units that fit a site, by connection. ``max_units`` counts existing
        units too; ``own_limit_kw`` is what the connection alone can draw,
        shared by all units at it; empty: no limit. ``unit_capital`` is paid
        for added units, ``unit_per_year`` for all. Central sites have the
        ``port_id`` "" and so appear in no row.
    units : pandas.DataFrame
        Kinds of unit; central sites use a unit of their own.
    workloads : pandas.DataFrame
        Latency limits and, where demand may stay unserved, its net present
        cost over the horizon, ``unserved_cost`` [money/kW].
    demand : pandas.DataFrame
        IT power needed by zone and workload. [kW]
    arcs : pandas.DataFrame
        Which site may serve which zone and workload, at which net present
        cost over the horizon, ``cost_per_it_kw`` [money/kW].
    rows : pandas.DataFrame
        Grid limits; their headroom is that of a grid without any compute unit,
        so existing units draw on it like new ones.
    row_coefficients : pandas.DataFrame
        What one kW at a connection takes of a row.
    groups : pandas.DataFrame, optional
        Caps over groups of sites; ``onboarding_cost`` is capital, paid once
        when a group without existing units gets its first. Default: none.
    present_value_factor : float
        Present value of 1 a year over the horizon. [a]
    budget : float, optional
        Largest capital: sites, added units and onboarding. Default: none.
        [money]

    Raises
    ------
    DataError
        If a table breaks its contract, names something unknown, or
        contradicts itself; every fault is named.
    ConfigError
        If the tables ask for what is not modelled: periods other than 0,
        redundancy.

    Notes
    -----
    Load is positive. Columns that end in ``_capital``, ``_per_year`` or
    ``_present`` beside a cost column split it into named terms.
    """

    sites: pd.DataFrame
    site_options: pd.DataFrame
    units: pd.DataFrame
    workloads: pd.DataFrame
    demand: pd.DataFrame
    arcs: pd.DataFrame
    rows: pd.DataFrame
    row_coefficients: pd.DataFrame
    groups: pd.DataFrame = field(default_factory=lambda: empty_table("groups"))
    present_value_factor: float
    budget: float | None = None

    def __post_init__(self) -> None:
        faults: list[str] = []
        for name in TABLES:
            try:
                checked = check_table(name, getattr(self, name))
            except SchemaError as error:
                faults.append(str(error))
                continue
            faults += _number_faults(name, getattr(self, name), checked)
            object.__setattr__(self, name, checked)
        _raise(faults)
        _raise(
            _reference_faults(self)
            + _option_faults(self)
            + _arc_faults(self)
            + _group_faults(self.groups)
            + _money_faults(self)
        )
        _refuse_unmodelled(self)


def restrict_sites(problem: SitingProblem, kinds: Iterable[str]) -> SitingProblem:
    """
    Return the problem with sites of some kinds alone.

    Parameters
    ----------
    problem : SitingProblem
        The problem.
    kinds : iterable of str
        Kinds of site to keep: ``building``, ``central``.

    Returns
    -------
    SitingProblem
        The same demand and rows, without the other sites.

    Raises
    ------
    ConfigError
        If a kind is unknown.
    """
    wanted = set(kinds)
    unknown = wanted - {"building", "central"}
    if unknown:
        msg = f"no site is of kind {sorted(unknown)}; use 'building' or 'central'"
        raise ConfigError(msg)
    sites = problem.sites[problem.sites["kind"].isin(wanted)]

    def at_sites(table: pd.DataFrame) -> pd.DataFrame:
        return table[table["site_id"].isin(sites["site_id"])]

    options = at_sites(problem.site_options)
    terms = problem.row_coefficients
    return replace(
        problem,
        sites=sites,
        site_options=options,
        arcs=at_sites(problem.arcs),
        row_coefficients=terms[terms["port_id"].isin(options["port_id"])],
        groups=at_sites(problem.groups),
    )


def allow_unserved(problem: SitingProblem, cost_per_it_kw: float) -> SitingProblem:
    """
    Return the problem with hard demand made soft at a price.

    Parameters
    ----------
    problem : SitingProblem
        The problem.
    cost_per_it_kw : float
        Net present cost of unserved demand over the horizon. [money/kW]

    Returns
    -------
    SitingProblem
        Workloads that have an ``unserved_cost`` of their own keep it.
    """
    cost = problem.workloads["unserved_cost"].fillna(cost_per_it_kw)
    return replace(problem, workloads=problem.workloads.assign(unserved_cost=cost))


def add_rows(
    problem: SitingProblem, rows: pd.DataFrame, row_coefficients: pd.DataFrame
) -> SitingProblem:
    """
    Return the problem with more grid rows, checking only what is new.

    Parameters
    ----------
    problem : SitingProblem
        The problem.
    rows, row_coefficients : pandas.DataFrame
        New rows; their ``row_id`` must not be in the problem.

    Returns
    -------
    SitingProblem
        The problem with the rows appended.

    Raises
    ------
    DataError
        If the tables break their contract, a row is known already, or a
        coefficient names an unknown row or connection.
    ConfigError
        If a row is of a period other than 0.
    """
    grown = copy.copy(problem)
    new = {"rows": rows, "row_coefficients": row_coefficients}
    for name, table in new.items():
        checked = check_table(name, table)
        _raise(_number_faults(name, table, checked))
        old = getattr(problem, name)
        parts = [part for part in (old, checked) if len(part)]
        both = pd.concat(parts, ignore_index=True) if parts else checked
        object.__setattr__(grown, name, both)
    again = rows["row_id"].isin(problem.rows["row_id"])
    known = [f"row(s) added twice: {_first(rows.loc[again, 'row_id'])}"]
    _raise((known if again.any() else []) + _reference_faults(grown))
    _refuse_unmodelled(grown)
    return grown


def _raise(faults: list[str]) -> None:
    if faults:
        raise DataError("; ".join(faults), pd.DataFrame({"fault": faults}))


def _first(values: pd.Series[str] | np.ndarray) -> str:
    """Return the first few distinct values and their count, in words."""
    names = sorted({str(v) for v in values})
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(repr(n) for n in names[:3]) + more


def _number_faults(name: str, raw: pd.DataFrame, checked: pd.DataFrame) -> list[str]:
    """Find infinities, and counts that are not whole numbers."""
    faults = []
    for column in SCHEMAS[name].columns:
        values = checked[column]
        if values.dtype.kind == "f" and np.isinf(values).any():
            faults.append(f"table {name!r}: column {column!r} has infinite values")
        if values.dtype.kind == "i":
            given = pd.to_numeric(raw[column])
            if (given.to_numpy() != values.to_numpy()).any():
                wrong = _first(given[given != given.round()])
                faults.append(
                    f"table {name!r}: column {column!r} must hold whole numbers, "
                    f"got {wrong}"
                )
    return faults


def _reference_faults(problem: SitingProblem) -> list[str]:
    faults = []
    for name, column, known in _REFERENCES:
        values = getattr(problem, name)[column]
        bad = values[~values.isin(getattr(problem, known)[column])]
        if len(bad):
            faults.append(
                f"table {name!r}: column {column!r} names {_first(bad)}, "
                f"which table {known!r} does not have"
            )
    return faults


def _option_faults(problem: SitingProblem) -> list[str]:
    faults = []
    options, units = problem.site_options, problem.units
    kind = options["site_id"].map(problem.sites.set_index("site_id")["kind"])
    no_port = options["port_id"] == ""
    for wrong, what in (
        ((kind == "building") & no_port, "building sites need a port_id"),
        ((kind == "central") & ~no_port, "central sites must have port_id ''"),
        (
            options["existing_units"] > options["max_units"],
            "existing_units above max_units",
        ),
    ):
        if wrong.any():
            sites = _first(options.loc[wrong, "site_id"])
            faults.append(f"table 'site_options': {what}: {sites}")
    if (problem.row_coefficients["port_id"] == "").any():
        faults.append("table 'row_coefficients': port_id '' (central) is in a row")
    idle = units[(units["rated_kw"] <= 0.0) | (units["it_kw"] <= 0.0)]
    if len(idle):
        units_named = _first(idle["unit"])
        faults.append(
            f"table 'units': rated_kw and it_kw must be above 0: {units_named}"
        )
    return faults


def _arc_faults(problem: SitingProblem) -> list[str]:
    arcs = problem.arcs
    limit = arcs["workload"].map(problem.workloads.set_index("workload").rtt_limit_ms)
    over = arcs[arcs["rtt_ms"] > limit]
    if over.empty:
        return []
    fault = (
        f"table 'arcs': {len(over)} arc(s) are over the rtt_limit_ms of their "
        f"workload, first sites {_first(over['site_id'])}; leave such arcs out"
    )
    return [fault]


def _group_faults(groups: pd.DataFrame) -> list[str]:
    columns = ["kind", "max_units", "max_kw", "onboarding_cost"]
    values = groups.groupby("group_id")[columns].nunique(dropna=False)
    mixed = values.index[(values > 1).any(axis=1)].to_series()
    if mixed.empty:
        return []
    return [f"table 'groups': different caps or costs within group {_first(mixed)}"]


def _money_faults(problem: SitingProblem) -> list[str]:
    faults: list[str] = []
    for name in ("sites", "site_options", "arcs"):
        faults += split_faults(name, getattr(problem, name))
    if not 0.0 < problem.present_value_factor < np.inf:
        value = problem.present_value_factor
        faults.append(f"present_value_factor must be above 0, got {value!r}")
    if problem.budget is not None and not 0.0 <= problem.budget < np.inf:
        faults.append(f"budget must be 0 or more, got {problem.budget!r}")
    return faults


def _refuse_unmodelled(problem: SitingProblem) -> None:
    for name, column in (
        ("demand", "period"),
        ("arcs", "period"),
        ("rows", "period"),
        ("site_options", "available_from"),
    ):
        if (getattr(problem, name)[column] != 0).any():
            msg = (
                f"table {name!r}: column {column!r} has periods other than 0; "
                "deployment over several periods is not modelled yet"
            )
            raise ConfigError(msg)
    if (problem.workloads["redundancy"] != 0).any():
        msg = "table 'workloads': redundancy is not modelled yet; set it to 0"
        raise ConfigError(msg)
