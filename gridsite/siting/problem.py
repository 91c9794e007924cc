"""
The siting problem: sets and parameters as plain tables, checked at the door.

The tables follow the contracts of ``gridsite.schemas``. Every fault of every
table is reported at once, and nothing is aligned, filled or dropped quietly.
A single period 0 is the built-out state: lead times play no part in it. With
several, what stands in a period has been ordered its lead time before.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pandas as pd

from gridsite.errors import ConfigError, SchemaError
from gridsite.schemas import SCHEMAS, check_table
from gridsite.siting.faults import (
    first_names,
    number_faults,
    problem_faults,
    raise_faults,
    reference_faults,
)
from gridsite.siting.periods import one_period

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
    "upgrades",
    "upgrade_effects",
    "periods",
    "capital_factors",
    "running_factors",
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
        ``port_id`` "" and so appear in no row. Units stand from period
        ``available_from`` on, or from ``lead_periods`` of their kind if that is
        later, and then stay. An optional column ``cost_per_it_kw_year`` is what a
        kW that computes on the unit costs a year beyond its arc; at a site the
        units that cost least compute first. [money/(kW a)]
    units : pandas.DataFrame
        Kinds of unit; central sites use a unit of their own.
    workloads : pandas.DataFrame
        Latency limits and, where demand may stay unserved, its net present
        cost over the horizon, ``unserved_cost`` [money/kW]. ``redundancy`` 1:
        what is served survives the loss of any one site; 2: of any one site or
        group; other workloads give way then. Optional columns:
        ``min_local_share``, the least share of each zone's demand that is served
        within the zone's own area [-]; ``single_source``, True where each zone's
        demand is served from one site as a whole, or not at all.
    demand : pandas.DataFrame
        IT power needed by zone, workload and period [kW]; optional column
        ``area``.
    arcs : pandas.DataFrame
        Which site may serve which zone and workload in a period, at which net
        present cost over that period, ``cost_per_it_kw`` [money/kW].
    rows : pandas.DataFrame
        Grid limits of a period; their headroom is that of a grid without any
        compute unit, so existing units draw on it like new ones.
    row_coefficients : pandas.DataFrame
        What one kW at a connection takes of a row.
    groups : pandas.DataFrame, optional
        Caps over groups of sites; ``onboarding_cost`` is capital, paid once
        when a group without existing units gets its first. Where an optional
        column ``one_site`` is True, redundancy takes the group for one site (the
        sizes of a central site). Default: none.
    upgrades, upgrade_effects : pandas.DataFrame, optional
        Works on the grid that can be paid for once, and the headroom that each
        adds to every row it touches; it stands from period ``lead_periods`` on.
        ``excludes`` names others, with commas, that cannot be built as well.
        Default: none.
    periods : pandas.DataFrame, optional
        Deployment periods: start [months from now], present value of 1 a year
        paid in them [a], cost of capital that stands from them on relative to
        period 0 [-], most units added at buildings. Default: one.
    capital_factors : pandas.DataFrame, optional
        Own factors in place of ``periods.capital_factor`` of an item (unit, site,
        group or upgrade) and a term ("" for all). Default: none.
    running_factors : pandas.DataFrame, optional
        What a yearly term of the options of a site (a column that splits
        ``unit_per_year`` or ``cost_per_it_kw_year``) costs in a period over what it
        says. Default: 1.
    present_value_factor : float
        Present value of 1 a year over the horizon. [a]
    budget : float, optional
        Largest capital: sites, added units, onboarding and upgrades. What a study
        pays a site for its network each year counts too, at its present value, as
        a part of ``fixed_capital``. Default: none. [money]

    Raises
    ------
    DataError
        If a table breaks its contract, names something unknown, or
        contradicts itself; every fault is named.

    Notes
    -----
    Load is positive. Columns that end in ``_capital``, ``_per_year``,
    ``_per_it_kw_year`` or ``_present`` beside a cost column split it into named
    terms.
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
    upgrades: pd.DataFrame = field(default_factory=lambda: empty_table("upgrades"))
    upgrade_effects: pd.DataFrame = field(
        default_factory=lambda: empty_table("upgrade_effects")
    )
    periods: pd.DataFrame = field(default_factory=lambda: empty_table("periods"))
    capital_factors: pd.DataFrame = field(
        default_factory=lambda: empty_table("capital_factors")
    )
    running_factors: pd.DataFrame = field(
        default_factory=lambda: empty_table("running_factors")
    )
    present_value_factor: float
    budget: float | None = None

    def __post_init__(self) -> None:
        if self.periods.empty:
            only = one_period(self.present_value_factor)
            object.__setattr__(self, "periods", only)
        faults: list[str] = []
        for name in TABLES:
            try:
                checked = check_table(name, getattr(self, name))
            except SchemaError as error:
                faults.append(str(error))
                continue
            faults += number_faults(name, getattr(self, name), checked)
            object.__setattr__(self, name, checked)
        raise_faults(faults)
        raise_faults(problem_faults(self))


def with_single_source(problem: SitingProblem) -> SitingProblem:
    """
    Return a problem in which no demand is shared between sites.

    Parameters
    ----------
    problem : SitingProblem
        The problem.

    Returns
    -------
    SitingProblem
        Each zone's demand of each workload is served from one site as a whole.
    """
    return replace(problem, workloads=problem.workloads.assign(single_source=True))


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
    terms, own = problem.row_coefficients, problem.capital_factors
    gone = own["table"].eq("sites") & ~own["item"].isin(sites["site_id"])
    return replace(
        problem,
        sites=sites,
        site_options=options,
        arcs=at_sites(problem.arcs),
        row_coefficients=terms[terms["port_id"].isin(options["port_id"])],
        groups=at_sites(problem.groups),
        capital_factors=own[~gone],
        running_factors=at_sites(problem.running_factors),
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
    problem: SitingProblem,
    rows: pd.DataFrame,
    row_coefficients: pd.DataFrame,
    upgrade_effects: pd.DataFrame | None = None,
) -> SitingProblem:
    """
    Return the problem with more grid rows, checking only what is new.

    Parameters
    ----------
    problem : SitingProblem
        The problem.
    rows, row_coefficients : pandas.DataFrame
        New rows; their ``row_id`` must not be in the problem.
    upgrade_effects : pandas.DataFrame, optional
        What upgrades add to the new rows.

    Returns
    -------
    SitingProblem
        The problem with the rows appended.

    Raises
    ------
    DataError
        If the tables break their contract, a row is known already, or a
        coefficient names an unknown row, period, connection or upgrade.
    """
    grown = copy.copy(problem)
    new = {"rows": rows, "row_coefficients": row_coefficients}
    if upgrade_effects is not None:
        new["upgrade_effects"] = upgrade_effects
    for name, table in new.items():
        checked = check_table(name, table)
        raise_faults(number_faults(name, table, checked))
        old = getattr(problem, name)
        parts = [part for part in (old, checked) if len(part)]
        both = pd.concat(parts, ignore_index=True) if parts else checked
        object.__setattr__(grown, name, both)
    again = rows["row_id"].isin(problem.rows["row_id"])
    known = [f"row(s) added twice: {first_names(rows.loc[again, 'row_id'])}"]
    raise_faults((known if again.any() else []) + reference_faults(grown))
    return grown
