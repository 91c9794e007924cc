"""The building's own service in closed form against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridsite.hosting.service import service_headroom_kw

finite = {"allow_nan": False, "allow_infinity": False}


@settings(max_examples=200, deadline=None)
@given(
    amps=st.floats(10.0, 400.0),
    volts=st.sampled_from([208.0, 400.0]),
    p=st.floats(-50.0, 150.0, **finite),
    q=st.floats(-50.0, 50.0, **finite),
    power_factor=st.floats(0.5, 1.0),
)
def test_headroom_is_the_largest_load_within_the_rating(
    amps, volts, p, q, power_factor
):
    rated = np.sqrt(3.0) * volts * amps / 1e3
    tan_phi = np.sqrt(1.0 / power_factor**2 - 1.0)
    (headroom,) = service_headroom_kw(
        np.array([amps]),
        np.array([volts]),
        np.array([[p]]),
        np.array([[q]]),
        power_factor=power_factor,
    )[0]

    def drawn(kw):
        return np.hypot(p + kw, q + kw * tan_phi)

    grid = np.linspace(0.0, 2.0 * rated + 200.0, 4001)
    holds = drawn(grid) <= rated
    assert headroom >= 0.0
    if headroom > 0.0:
        assert drawn(headroom) == pytest.approx(rated, rel=1e-6)
    assert not (holds & (grid > headroom + 1e-6)).any()
    if drawn(0.0) <= rated:
        assert (drawn(grid[grid <= headroom]) <= rated * (1.0 + 1e-9)).all()


def test_building_at_its_rating_has_no_headroom():
    out = service_headroom_kw(
        np.array([63.0]),
        np.array([400.0]),
        np.array([[50.0, 43.647, 0.0]]),
        np.zeros((1, 3)),
    )
    assert out[0, 0] == 0.0
    assert out[0, 1] < 1e-3
    assert out[0, 2] == pytest.approx(0.98 * 43.6477, abs=1e-3)


@pytest.mark.parametrize(("amps", "volts"), [(np.nan, 400.0), (63.0, np.nan)])
def test_unknown_rating_gives_nan_and_never_a_number(amps, volts):
    out = service_headroom_kw(
        np.array([amps, 63.0]),
        np.array([volts, 400.0]),
        np.zeros((2, 4)),
        np.zeros((2, 4)),
    )
    assert np.isnan(out[0]).all()
    assert np.isfinite(out[1]).all()


def test_missing_demand_never_gives_headroom():
    out = service_headroom_kw(
        np.array([63.0]), np.array([400.0]), np.array([[np.nan]]), np.zeros((1, 1))
    )
    assert not out[0, 0] > 0.0
