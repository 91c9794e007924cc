"""Limits that come first at few steps are found, whichever were looked at."""

from __future__ import annotations

import numpy as np

from gridsite.hosting.overtaking import overtaking


def test_a_limit_that_is_first_at_one_step_of_many_is_found_there():
    rng = np.random.default_rng(0)
    slack = rng.uniform(0.05, 0.10, (3, 4000))
    slack[1] = slack[0] + 0.02  # never within 5 % of the first
    slack[2] = slack[0] + 0.02
    slack[2, 3217] = slack[0, 3217] - 0.001
    inverse = np.full((3, 2), 100.0)
    inverse[2, 1] = 300.0  # too far behind at the second load
    load, row = np.repeat([0, 1], 3), np.tile([0, 1, 2], 2)
    pairs, steps = overtaking(
        slack, inverse, np.full(inverse.shape[1], np.inf), load, row, row == 0
    )
    assert (pairs.tolist(), steps.tolist()) == ([2], [3217])


def test_every_limit_that_comes_first_is_among_those_found():
    rng = np.random.default_rng(1)
    slack, inverse = rng.uniform(0.01, 1.0, (9, 500)), rng.uniform(50.0, 90.0, (9, 4))
    load, row = np.repeat(np.arange(4), 9), np.tile(np.arange(9), 4)
    known = row < 2
    pairs, steps = overtaking(
        slack, inverse, np.full(inverse.shape[1], np.inf), load, row, known
    )
    for k in range(4):
        near = slack * inverse[:, k, None]
        first = set(near.argmin(axis=0)) - {0, 1}
        assert first <= set(row[pairs][load[pairs] == k])
    assert len(np.unique(steps)) == len(steps)
