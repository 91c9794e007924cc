"""Alike sites put together, and taken apart again."""

from dataclasses import replace

import numpy as np
import pytest

from gridsite.siting import solve
from gridsite.siting.alike import alike
from gridsite.siting.presets import facility_location
from gridsite.siting.reduce import reduce_problem


def four(fixed=(5, 5, 5, 5), room=(4, 4, 4, 4), last=1):
    """Return four sites and two customers that need two units of the sites."""
    cost = np.array([[1, 2], [1, 2], [1, 2], [last, 2]])
    return facility_location(fixed, room, [3, 4], cost)


def test_alike_sites_become_one_option_with_all_their_units():
    found = alike(reduce_problem(four()))
    assert found.option.tolist() == [0, 0, 0, 0]
    assert found.reduced.options["upper"].tolist() == [4]
    assert found.reduced.sites["copies"].tolist() == [4, 1, 1, 1]
    assert found.split(np.array([3])).tolist() == [1, 1, 1, 0]


@pytest.mark.parametrize(
    "other", [{"fixed": (5, 5, 5, 6)}, {"room": (4, 4, 4, 5)}, {"last": 3}]
)
def test_a_site_of_other_cost_size_or_place_stays_apart(other):
    found = alike(reduce_problem(four(**other)))
    assert found.option.tolist() == [0, 0, 0, 1]


def test_sites_fill_one_after_the_other():
    problem = four()
    options = problem.site_options.assign(max_units=2)
    units = problem.units.assign(it_kw=2.0, rated_kw=2.0)
    problem = replace(problem, site_options=options, units=units)
    found = alike(reduce_problem(problem))
    assert found.split(np.array([5])).tolist() == [2, 2, 1, 0]
    plan = solve(problem, gap=0.0)  # 7 kW: four units at two sites
    assert plan.plan["count"].tolist() == [2, 2]
    assert plan.objective == pytest.approx(2 * 5 + 3 * 1 + 4 * 2)


def test_a_roof_limits_each_site_not_all_of_them():
    problem = four()
    units = problem.units.assign(it_kw=2.0, rated_kw=2.0, footprint_m2=1.0)
    options = problem.site_options.assign(max_units=3)
    sites = problem.sites.assign(roof_area_m2=1.5)
    problem = replace(problem, sites=sites, site_options=options, units=units)
    plan = solve(problem, gap=0.0)  # four units, one below each roof
    assert plan.plan["count"].tolist() == [1, 1, 1, 1]
