"""Requirements of the model in planner's words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gridsite.siting.problem import SitingProblem
    from gridsite.siting.reduce import ReducedProblem

#: How many names of one kind a text lists.
_NAMED = 3


def requirement_words(
    problem: SitingProblem, reduced: ReducedProblem, key: tuple[str, Any]
) -> str:
    """
    Return what one constraint asks for.

    Parameters
    ----------
    problem : SitingProblem
        The problem.
    reduced : ReducedProblem
        Its reduction.
    key : (str, object)
        Name of the constraint and index in it; ``loss`` for all that one loss
        asks for.

    Returns
    -------
    str
        In planner's words.
    """
    words = _Words(problem, reduced)
    name, index = key
    text: str = getattr(words, name)(index)
    return text


def same_of_sites(requirements: Iterable[str]) -> list[str]:
    """
    Return requirements with those that are the same for several sites in one.

    Parameters
    ----------
    requirements : iterable of str
        As from `requirement_words`.

    Returns
    -------
    list of str
        In the order in which each first stands.

    Examples
    --------
    >>> same_of_sites(["site 'a' is full", "the budget is 3", "site 'b' is full"])
    ["each of sites 'a', 'b' is full", 'the budget is 3']
    """
    sites: dict[str, list[str]] = {}
    for text in requirements:
        found = re.fullmatch(r"site '([^']*)' (.*)", text, flags=re.DOTALL)
        own = sites.setdefault(found[2] if found else text, [])
        own += [found[1]] if found else []
    return [
        text
        if not names
        else f"{'each of sites' if len(names) > 1 else 'site'} {_list(names)} {text}"
        for text, names in sites.items()
    ]


def at_time(time: object) -> str:
    """
    Return a time in words.

    Parameters
    ----------
    time : object
        A time stamp or text; missing for a limit of every step.

    Returns
    -------
    str
        " at ..."; empty where it is missing.

    Examples
    --------
    >>> at_time("18:00"), at_time(None)
    (' at 18:00', '')
    """
    return "" if time is None or time is pd.NaT else f" at {time}"


class _Words:
    """One method per constraint."""

    def __init__(self, problem: SitingProblem, reduced: ReducedProblem) -> None:
        self.problem, self.reduced = problem, reduced

    def _when(self, period: int) -> str:
        one = len(self.problem.periods) == 1
        return "" if one else f" in period {period}"

    def _demand(self, d: int) -> Any:  # noqa: ANN401
        return self.reduced.demands.loc[d]

    def demand_met(self, d: int) -> str:
        need = self._demand(d)
        return (
            f"zone {need['zone_id']!r} needs {need['demand_it_kw']:.4g} kW of "
            f"{need['workload']!r} within {need['rtt_limit_ms']:g} ms"
            f"{self._when(need['period'])}"
        )

    def compute_capacity(self, p: int) -> str:
        every = self.reduced.options
        options = every[every["pool"] == p]
        units = int(options["upper"].sum())
        it_kw = float((options["upper"] * options["it_kw"]).sum())
        site = self.reduced.sites[self.reduced.sites["pool"] == p].iloc[0]
        later = every[every["site_id"].eq(site["site_id"]) & every["upper"].gt(0)]
        if not units and len(later):
            return (
                f"site {site['site_id']!r} can have no unit before period "
                f"{later['period'].min()}"
            )
        return (
            f"site {site['site_id']!r} has room for {units} unit(s), {it_kw:.4g} kW of "
            f"computing power{self._when(site['period'])}"
        )

    def own_limit(self, c: int) -> str:
        option = self.reduced.options[self.reduced.options["limit"] == c].iloc[0]
        return (
            f"connection {option['port_id'] or option['site_id']!r} can draw "
            f"{option['own_limit_kw']:.4g} kW alone"
        )

    def site_power(self, j: int) -> str:
        site = self.reduced.sites.loc[j]
        return f"site {site['site_id']!r} can draw {site['max_power_kw']:.4g} kW"

    def site_roof(self, j: int) -> str:
        site = self.reduced.sites.loc[j]
        return f"the roof of {site['site_id']!r} has {site['roof_area_m2']:.4g} m2"

    def grid_rows(self, e: int) -> str:
        name = self.reduced.rows.loc[e, "row_id"]
        row: Any = self.problem.rows.set_index("row_id").loc[name]
        more = self.problem.upgrade_effects["row_id"].eq(name).any()
        return (
            f"{row['criterion']} {row['element']}{at_time(row['time'])} leaves "
            f"{row['headroom']:.4g} {row['unit']}{self._when(row['period'])}"
            f"{', and its upgrades do not suffice' if more else ''}"
        )

    def group_units(self, g: int) -> str:
        group = self.reduced.groups.loc[g]
        return f"group {group['group_id']!r} takes {group['max_units']:g} unit(s)"

    def group_power(self, g: int) -> str:
        group = self.reduced.groups.loc[g]
        return f"group {group['group_id']!r} can draw {group['max_kw']:.4g} kW"

    def share_within_target(self, kind: str) -> str:
        demands = self.reduced.demands
        need = demands[demands["share_class"] == kind].iloc[0]
        return (
            f"{self.reduced.shares[kind]:.0%} of {need['workload']!r} within "
            f"{need['rtt_target_ms']:g} ms{self._when(need['period'])}"
        )

    def local_share(self, d: int) -> str:
        need = self._demand(d)
        return (
            f"{need['local_share']:.0%} of {need['workload']!r} of zone "
            f"{need['zone_id']!r} from its own area{self._when(need['period'])}"
        )

    def single_source(self, d: int) -> str:
        need = self._demand(d)
        return (
            f"{need['workload']!r} of zone {need['zone_id']!r} from one site as a "
            f"whole{self._when(need['period'])}"
        )

    def budget(self, _: object) -> str:
        return f"the budget is {self.problem.budget:.6g}"

    def installation_rate(self, t: int) -> str:
        rate = self.reduced.pace[t]
        return f"{rate:g} unit(s) at most are added at buildings{self._when(t)}"

    def one_upgrade(self, pair: tuple[int, int]) -> str:
        names = self.reduced.upgrades.loc[list(pair), "upgrade_id"]
        return f"one of the upgrades {_list(names)} at most"

    def loss(self, i: int) -> str:
        loss: Any = self.reduced.losses.loc[i]
        if loss["pool"] >= 0:
            sites = self.reduced.sites
            what = f"site {_list(sites.loc[sites['pool'] == loss['pool'], 'site_id'])}"
        else:
            group = self.reduced.groups.loc[loss["group"]]
            what = f"{'site' if group['one_site'] else 'group'} {group['group_id']!r}"
        demands = self.reduced.demands
        needs = demands.loc[demands["redundancy"] >= loss["redundancy"], "workload"]
        kinds = _list(sorted(set(needs)))
        return f"{kinds} survives the loss of {what}{self._when(loss['period'])}"


def _list(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - _NAMED} more" if len(every) > _NAMED else ""
    return ", ".join(repr(name) for name in every[:_NAMED]) + more
