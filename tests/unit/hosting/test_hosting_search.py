"""The search for the largest load that passes at a step."""

from __future__ import annotations

import numpy as np
import pytest

from gridsite.hosting.grid_case import GridCase
from gridsite.hosting.limits import Limits
from gridsite.hosting.search import largest_passing, root_near


@pytest.fixture
def case(village_feeder, profiles):
    feeder = village_feeder()
    grid = GridCase(feeder, profiles(feeder, steps=6), Limits())
    return grid.block("T")


def scan(case, port, step, kw):
    port, step = np.full(len(kw), port), np.full(len(kw), step)
    return case.evaluate(port, step, kw)


@pytest.mark.parametrize("start", [1e-3, 5.0, 5e3])
def test_found_load_passes_and_tolerance_more_fails_whatever_the_start(case, start):
    count, tolerance = len(case.block.ports), 1e-3
    port = np.repeat(np.arange(count), 6)
    step = np.tile(np.arange(6), count)
    cap = np.full(len(port), 1e4)
    start = np.full(len(port), start)
    found = largest_passing(case, port, step, start, cap, tolerance)
    assert found.converged.all()
    at, _ = case.evaluate(port, step, found.kw)
    above, row = case.evaluate(port, step, found.kw + tolerance)
    assert (at >= 0.0).all()
    assert (above < 0.0).all()
    np.testing.assert_array_equal(row, found.row)


def test_every_load_below_the_found_one_passes(case):
    port, step = np.arange(5), np.full(5, 3)
    cap = np.full(5, 1e4)
    found = largest_passing(case, port, step, np.full(5, 20.0), cap, 1e-3)
    for k in range(5):
        slack, _ = scan(case, k, 3, np.linspace(0.0, found.kw[k], 101))
        assert (slack >= 0.0).all()
        slack, _ = scan(case, k, 3, np.linspace(found.kw[k] + 1e-3, 400.0, 101))
        assert (slack < 0.0).all()


def test_cap_stops_the_search_without_naming_a_limit(case):
    cap = np.array([3.0, 1e4])
    found = largest_passing(
        case, np.zeros(2, int), np.zeros(2, int), np.full(2, 20.0), cap, 1e-3
    )
    assert found.kw[0] == 3.0
    assert found.row.tolist()[0] == -1
    assert found.row[1] >= 0
    assert found.converged.all()


def test_cap_of_zero_gives_zero(case):
    found = largest_passing(
        case, np.zeros(1, int), np.zeros(1, int), np.ones(1), np.zeros(1), 1e-3
    )
    assert found.kw[0] == 0.0


def test_one_limit_alone_is_looked_at_when_asked(case):
    every = largest_passing(
        case, np.zeros(1, int), np.zeros(1, int), np.ones(1), np.full(1, 1e3), 1e-4
    )
    binding = int(every.row[0])
    for row in range(0, case.n_row, 3):
        found = largest_passing(
            case,
            np.zeros(1, int),
            np.zeros(1, int),
            np.ones(1),
            np.full(1, 1e3),
            1e-4,
            only=np.array([row]),
        )
        assert found.kw[0] >= every.kw[0] - 1e-4
        if row == binding:
            assert found.kw[0] == pytest.approx(every.kw[0], abs=2e-4)


def test_load_beyond_collapse_is_not_a_capacity(village_feeder, profiles, only):
    feeder = village_feeder(ratings_a=(1e5,) * 5)
    case = GridCase(feeder, profiles(feeder, steps=1), only("line current")).block("T")
    cap = np.full(1, 1e5)
    found = largest_passing(case, np.array([3]), np.zeros(1, int), np.ones(1), cap, 1.0)
    assert not found.converged[0]
    assert found.row[0] == -1
    assert np.isfinite(found.kw[0])


@pytest.mark.parametrize("criteria", [("voltage", "line current"), ("voltage change",)])
def test_slack_without_added_load_is_what_a_power_flow_finds(
    village_feeder, profiles, criteria
):
    feeder = village_feeder()
    loads = profiles(feeder, steps=6, high=4.0)
    limits = Limits(criteria=criteria, voltage_min_pu=0.97, line_loading_max=0.5)
    case = GridCase(feeder, loads, limits).block("T")
    step = np.repeat(np.arange(6), case.n_row + 2)
    only = np.tile(np.arange(-1, case.n_row + 1), 6)
    port, none = np.zeros(len(step), int), np.zeros(len(step))
    whole = only < 0
    solved, _ = case.evaluate(port[whole], step[whole], none[whole])
    np.testing.assert_allclose(case.base_slack(step[whole]), solved, atol=1e-8)
    at = only >= 0
    at &= limits.on("voltage change") | (only < case.n_row)
    solved, _ = case.evaluate(port[at], step[at], none[at], only=only[at])
    found = case.base_slack(step[at], only=only[at])
    np.testing.assert_allclose(found, solved, atol=1e-8)


@pytest.mark.parametrize("off", [0.97, 1.0, 1.04])
def test_secants_find_what_brackets_find(case, off):
    count = len(case.block.ports)
    port, step = np.repeat(np.arange(count), 6), np.tile(np.arange(6), count)
    cap = np.full(len(port), 1e4)
    known = largest_passing(case, port, step, np.full(len(port), 9.0), cap, 1e-4)
    kw, left = root_near(case, port, step, known.row, off * known.kw, 1e-3)
    assert not len(left)
    np.testing.assert_allclose(kw, known.kw, atol=1e-3)


def test_secants_say_where_there_is_no_power_flow(case):
    port, step = np.zeros(1, int), np.zeros(1, int)
    row = np.argmax(case.acts_on[: case.n_row, 0])[None]
    far = np.array([1e7])  # no power flow
    kw, left = root_near(case, port, step, row, far, 1e-3)
    assert np.isnan(kw).all()
    assert not len(left)
