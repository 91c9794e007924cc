"""
What is wrong with the tables of a siting problem, in words.

Every fault of every table is reported at once; nothing is repaired.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.errors import DataError
from gridsite.schemas import SCHEMAS
from gridsite.siting.splits import cost_split, split_faults

if TYPE_CHECKING:
    from gridsite.siting.problem import SitingProblem

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
    ("upgrade_effects", "upgrade_id", "upgrades"),
    ("upgrade_effects", "row_id", "rows"),
    ("demand", "period", "periods"),
    ("arcs", "period", "periods"),
    ("rows", "period", "periods"),
    ("capital_factors", "period", "periods"),
    ("running_factors", "site_id", "sites"),
    ("running_factors", "period", "periods"),
)

#: What ``redundancy`` of a workload may be: none, any site, any site or group.
_REDUNDANCY = (0, 1, 2)


def raise_faults(faults: list[str]) -> None:
    """
    Raise if there is any fault.

    Parameters
    ----------
    faults : list of str
        In words.

    Raises
    ------
    DataError
        Naming all of them.
    """
    if faults:
        raise DataError("; ".join(faults), pd.DataFrame({"fault": faults}))


def problem_faults(problem: SitingProblem) -> list[str]:
    """
    Return how the tables of a problem contradict each other or themselves.

    Parameters
    ----------
    problem : SitingProblem
        Its tables keep their own contracts.

    Returns
    -------
    list of str
        In words; empty where nothing is wrong.
    """
    return [
        *reference_faults(problem),
        *_option_faults(problem),
        *_arc_faults(problem),
        *_group_faults(problem.groups),
        *_money_faults(problem),
        *_period_faults(problem),
        *_service_faults(problem),
        *_upgrade_faults(problem.upgrades),
    ]


def first_names(values: pd.Series[str] | np.ndarray) -> str:
    """
    Return the first few distinct values and their count, in words.

    Parameters
    ----------
    values : pandas.Series or numpy.ndarray
        Names.

    Returns
    -------
    str
        Quoted, in order.

    Examples
    --------
    >>> first_names(np.array(["b", "a", "b", "c", "d"]))
    "'a', 'b', 'c' and 1 more"
    """
    names = sorted({str(v) for v in values})
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(repr(n) for n in names[:3]) + more


def number_faults(name: str, raw: pd.DataFrame, checked: pd.DataFrame) -> list[str]:
    """
    Find infinities, and counts that are not whole numbers.

    Parameters
    ----------
    name : str
        Name of the table.
    raw, checked : pandas.DataFrame
        As given, and in the types of its contract.

    Returns
    -------
    list of str
        In words.
    """
    faults = []
    for column in SCHEMAS[name].columns:
        values = checked[column]
        if values.dtype.kind == "f" and np.isinf(values).any():
            faults.append(f"table {name!r}: column {column!r} has infinite values")
        if values.dtype.kind == "i":
            given = pd.to_numeric(raw[column])
            if (given.to_numpy() != values.to_numpy()).any():
                wrong = first_names(given[given != given.round()])
                faults.append(
                    f"table {name!r}: column {column!r} must hold whole numbers, "
                    f"got {wrong}"
                )
    return faults


def reference_faults(problem: SitingProblem) -> list[str]:
    """
    Find names that the table which should know them does not have.

    Parameters
    ----------
    problem : SitingProblem
        The problem.

    Returns
    -------
    list of str
        In words.
    """
    faults = []
    for name, column, known in _REFERENCES:
        values = getattr(problem, name)[column]
        bad = values[~values.isin(getattr(problem, known)[column])]
        if len(bad):
            faults.append(
                f"table {name!r}: column {column!r} names {first_names(bad)}, "
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
            sites = first_names(options.loc[wrong, "site_id"])
            faults.append(f"table 'site_options': {what}: {sites}")
    if (problem.row_coefficients["port_id"] == "").any():
        faults.append("table 'row_coefficients': port_id '' (central) is in a row")
    idle = units[(units["rated_kw"] <= 0.0) | (units["it_kw"] <= 0.0)]
    if len(idle):
        units_named = first_names(idle["unit"])
        faults.append(
            f"table 'units': rated_kw and it_kw must be above 0: {units_named}"
        )
    roofs = problem.sites.get("roof_area_m2", pd.Series(dtype=float))
    area = pd.to_numeric(roofs, errors="coerce")
    wrong = (roofs.notna() & area.isna()) | (area < 0.0) | np.isinf(area)
    if wrong.any():
        named = first_names(problem.sites.loc[wrong, "site_id"])
        faults.append(
            f"table 'sites': roof_area_m2 must be m2 of 0 or more, or missing: {named}"
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
        f"workload, first sites {first_names(over['site_id'])}; leave such arcs out"
    )
    return [fault]


def _group_faults(groups: pd.DataFrame) -> list[str]:
    columns = ["kind", "max_units", "max_kw", "onboarding_cost", "one_site"]
    columns = [c for c in columns if c in groups]
    values = groups.groupby("group_id")[columns].nunique(dropna=False)
    mixed = values.index[(values > 1).any(axis=1)].to_series()
    faults = []
    if len(mixed):
        named = first_names(mixed)
        faults.append(f"table 'groups': different caps or costs within group {named}")
    if "one_site" in groups and groups["one_site"].dtype != bool:
        faults.append("table 'groups': one_site must be True or False everywhere")
    return faults


def _money_faults(problem: SitingProblem) -> list[str]:
    faults: list[str] = []
    for name in ("sites", "site_options", "arcs", "upgrades"):
        faults += split_faults(name, getattr(problem, name))
    options = problem.site_options
    each = options.get("cost_per_it_kw_year", pd.Series(dtype=float))
    if not np.isfinite(each).all():
        faults.append("table 'site_options': cost_per_it_kw_year must be given for all")
    split = cost_split("site_options", options)
    terms = [t for c in split if c != "unit_capital" for t in split[c]]
    unknown = problem.running_factors["term"]
    unknown = unknown[~unknown.isin(terms)]
    if len(unknown):
        faults.append(
            f"table 'running_factors': term {first_names(unknown)} is no yearly term "
            f"of table 'site_options', which has {first_names(np.array(terms))}"
        )
    if not 0.0 < problem.present_value_factor < np.inf:
        value = problem.present_value_factor
        faults.append(f"present_value_factor must be above 0, got {value!r}")
    if problem.budget is not None and not 0.0 <= problem.budget < np.inf:
        faults.append(f"budget must be 0 or more, got {problem.budget!r}")
    return faults


def _period_faults(problem: SitingProblem) -> list[str]:
    """Find periods out of order, and prices that rise where none may."""
    periods = problem.periods
    faults = []
    if periods["period"].tolist() != list(range(len(periods))) or periods.empty:
        faults.append("table 'periods': periods must be 0, 1, 2, ... in this order")
        return faults
    if not periods["start_months"].is_monotonic_increasing:
        faults.append("table 'periods': start_months must not fall")
    if not periods["capital_factor"].is_monotonic_decreasing:
        faults.append("table 'periods': capital_factor must not rise")
    total = float(periods["present_value_factor"].sum())
    if not abs(total - problem.present_value_factor) <= 1e-9 * total:
        faults.append(
            f"table 'periods': present_value_factor adds up to {total!r}, which is "
            f"not the problem's {problem.present_value_factor!r}"
        )
    own = problem.capital_factors
    fixed = own[own["table"] != "site_options"].sort_values("period")
    for key, part in fixed.groupby(["table", "item", "term"]):
        if len(part) < len(periods) or not part["factor"].is_monotonic_decreasing:
            faults.append(
                f"table 'capital_factors': factors of {key} must be given for every "
                "period and not rise"
            )
    if len(periods) == 1 and (problem.site_options["available_from"] > 0).any():
        faults.append(
            "table 'site_options': available_from is above 0 in a problem of one period"
        )
    return faults


def _service_faults(problem: SitingProblem) -> list[str]:
    workloads, faults = problem.workloads, []
    wrong = workloads[~workloads["redundancy"].isin(_REDUNDANCY)]
    if len(wrong):
        faults.append(
            "table 'workloads': redundancy is 0 (none), 1 (loss of any one site) or 2 "
            f"(of any one site or group), not {first_names(wrong['redundancy'])}"
        )
    if "single_source" in workloads and workloads["single_source"].dtype != bool:
        faults.append("table 'workloads': single_source must be True or False")
    share = workloads.get("min_local_share")
    if share is None:
        return faults
    if not share.between(0.0, 1.0).all():
        faults.append("table 'workloads': min_local_share must be in [0, 1]")
    elif (share > 0.0).any() and "area" not in problem.demand:
        faults.append(
            "table 'demand': min_local_share needs a column 'area', the area of each "
            "zone, to compare with that of sites"
        )
    return faults


def _upgrade_faults(upgrades: pd.DataFrame) -> list[str]:
    named = excluded_pairs(upgrades)
    own = [a for a, b in named if a == b]
    if own:
        return [f"table 'upgrades': {first_names(np.array(own))} excludes itself"]
    unknown = [b for _, b in named if b not in set(upgrades["upgrade_id"])]
    if not unknown:
        return []
    names = first_names(np.array(unknown))
    return [f"table 'upgrades': excludes names {names}, which is no upgrade"]


def excluded_pairs(upgrades: pd.DataFrame) -> list[tuple[str, str]]:
    """
    Return the pairs of upgrades of which only one may be built.

    Parameters
    ----------
    upgrades : pandas.DataFrame
        Contract ``upgrades``; ``excludes`` holds ids with commas between them.

    Returns
    -------
    list of (str, str)
        The upgrade and one that it excludes.

    Examples
    --------
    >>> table = pd.DataFrame({"upgrade_id": ["a", "b"], "excludes": ["b", ""]})
    >>> excluded_pairs(table)
    [('a', 'b')]
    """
    rows = zip(upgrades["upgrade_id"], upgrades["excludes"], strict=True)
    return [
        (name, other.strip())
        for name, others in rows
        for other in others.split(",")
        if other.strip()
    ]
