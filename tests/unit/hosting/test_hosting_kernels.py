"""Compiled loops against the same in plain numpy."""

from __future__ import annotations

import numpy as np
import pytest

from gridsite.feeder.profiles import constant_profiles
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.hosting.envelope_kernels import lower_to, spread_steps
from gridsite.hosting.grid_case import GridCase
from gridsite.hosting.limits import Limits
from gridsite.hosting.response_kernels import product


@pytest.mark.parametrize("n_step", [1, 255, 256, 1000])
def test_headroom_is_lowered_to_estimates_times_interpolated_factors(n_step):
    rng = np.random.default_rng(n_step)
    load, row = np.array([0, 0, 2]), np.array([7, 3, 5])
    estimate = rng.uniform(0.0, 100.0, (3, n_step))
    estimate[1, ::3] = np.inf
    at = np.sort(rng.uniform(0.0, 100.0, (3, 5)), axis=1)
    factor = rng.uniform(0.9, 1.1, (3, 5))
    at[2], factor[2] = at[2, 0], factor[2, 0]  # one searched step
    low = rng.uniform(0.0, 100.0, (4, n_step))
    kw, limit = low.copy(), np.full(low.shape, -1, dtype=np.int32)
    lower_to(estimate, load, row, at, factor, kw, limit)
    found = [
        np.where(np.isinf(line), np.inf, line * np.interp(line, x, y))
        for line, x, y in zip(estimate, at, factor, strict=True)
    ]
    expected = low.copy()
    expected[0] = np.minimum(np.minimum(low[0], found[0]), found[1])
    expected[2] = np.minimum(low[2], found[2])
    np.testing.assert_allclose(kw, expected, rtol=1e-12)
    assert (limit[[1, 3]] == -1).all()
    assert ((limit[0] == 3) == (kw[0] == found[1]) & (found[1] < low[0])).all()


def test_a_limit_calibrates_where_it_is_the_first_or_near():
    estimate = np.array([[10.0, 20.0, 30.0, 40.0], [99.0, 25.0, 22.0, np.inf]])
    estimate = np.concatenate([estimate, np.full((1, 4), np.inf)])
    load, low = np.array([0, 0, 1]), np.full((2, 4), np.inf)
    step = np.empty((3, 3), dtype=np.int64)
    spread_steps(estimate, load, low, 1.4, 500, np.array([0.0, 0.5, 1.0]), step)
    # the first is near at all steps (30 is 1.36 times 22), the second at 22 and 25
    assert step[0].tolist()[::2] == [0, 3]
    assert step[1].tolist()[::2] == [2, 1]
    assert step[2].tolist() == [-1, -1, -1]  # never binds
    low[0] = 5.0  # what is left to the load already
    spread_steps(estimate, load, low, 1.4, 500, np.array([0.0, 0.5, 1.0]), step)
    assert (step == -1).all()


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_products_by_steps_are_products(dtype):
    rng = np.random.default_rng(1)
    left = (rng.normal(size=(5, 7)) + 1j * rng.normal(size=(5, 7))).astype(dtype)
    series = (rng.normal(size=(7, 2500)) + 0.5j).astype(dtype)
    found = product(left, series)
    assert found.dtype == dtype
    tolerance = 1e-5 if dtype is np.complex64 else 1e-12
    np.testing.assert_allclose(found, left @ series, rtol=tolerance, atol=tolerance)


def test_slack_of_one_limit_and_of_all_agree():
    feeder = read_feeder("pandapower:create_kerber_landnetz_freileitung_1")
    at = feeder.load_ports
    loads = constant_profiles(at.index, at["p_kw"], at["q_kvar"])
    (case,) = (
        GridCase(feeder, loads, Limits()).block(name)
        for name in set(feeder.nodes["feeder_id"]) - {""}
    )
    port = np.arange(len(case.block.ports))
    step, kw = np.zeros(len(port), dtype=np.int64), np.linspace(1.0, 80.0, len(port))
    least, row = case.evaluate(port, step, kw)
    every = np.stack(
        [
            case.evaluate(port, step, kw, only=np.full(len(port), r))[0]
            for r in range(case.n_row + 1)
        ]
    )
    np.testing.assert_allclose(every.min(axis=0), least, rtol=1e-9)
    assert (every[row, port] == every.min(axis=0)).all()
