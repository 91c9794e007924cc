"""The building's own service in closed form against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridsite.errors import ConfigError
from gridsite.hosting.service import service_headroom_kw, service_notes

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


# --- rules and phases ---

PANEL = {"service_a": np.array([200.0]), "service_v": np.array([240.0])}


def test_year_of_a_split_phase_panel_by_nec():
    # 48 kVA; the largest demand of 12 kW, 125 % of it and of the unit
    own = np.array([[3.0, 12.0, 5.0]])
    out = service_headroom_kw(
        **PANEL, p_kw=own, q_kvar=0.0 * own, power_factor=1.0, rule="nec", phases=["12"]
    )
    assert out.tolist() == [[26.4] * 3]
    assert pytest.approx(48.0) == 1.25 * (12.0 + 26.4)


def test_eighty_amperes_of_a_continuous_unit_need_a_hundred():
    # an idle panel of 100 A leaves 80 A at 240 V
    out = service_headroom_kw(
        np.array([100.0]),
        np.array([240.0]),
        np.zeros((1, 1)),
        np.zeros((1, 1)),
        power_factor=1.0,
        rule="nec",
        phases=["12"],
    )
    assert out[0, 0] == pytest.approx(0.24 * 80.0)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10**6), power_factor=st.floats(0.6, 1.0))
def test_rules_are_ordered_and_keep_their_inequality(seed, power_factor):
    rng = np.random.default_rng(seed)
    p, q = rng.uniform(-5.0, 30.0, (1, 8)), rng.uniform(-3.0, 6.0, (1, 8))
    eu, nec, ems = (
        service_headroom_kw(
            **PANEL,
            p_kw=p,
            q_kvar=q,
            power_factor=power_factor,
            rule=rule,
            phases=["A"],
        )
        for rule in ("eu", "nec", "nec-ems")
    )
    assert (nec <= ems + 1e-9).all()
    assert (ems <= eu + 1e-9).all()
    assert np.ptp(nec) == 0.0
    tan_phi = np.sqrt(1.0 / power_factor**2 - 1.0)
    worst = 1.25 * np.hypot(p, q).max() + 1.25 * nec[0, 0] / power_factor
    if nec[0, 0] > 0.0:
        assert worst == pytest.approx(48.0)
    drawn = 1.25 * np.hypot(p + ems, q + tan_phi * ems)
    assert drawn[ems > 0.0] == pytest.approx(48.0)


@pytest.mark.parametrize(
    ("phases", "volts", "kva"),
    [("ABC", 400.0, 43.6477), ("A", 230.0, 14.49), ("BC", 400.0, 25.2)],
)
def test_rating_follows_the_phases_of_the_service(phases, volts, kva):
    out = service_headroom_kw(
        np.array([63.0]),
        np.array([volts]),
        np.zeros((1, 1)),
        np.zeros((1, 1)),
        power_factor=1.0,
        phases=[phases],
    )
    assert out[0, 0] == pytest.approx(kva, abs=1e-3)


def test_one_phase_of_three_carries_the_unit_and_a_third_of_the_building():
    own = np.array([[9.0]])
    out = service_headroom_kw(
        np.array([63.0]),
        np.array([400.0]),
        own,
        0.0 * own,
        power_factor=1.0,
        unit_phases="B",
    )
    assert out[0, 0] == pytest.approx(63.0 * 400.0 / np.sqrt(3.0) / 1e3 - 3.0)


@pytest.mark.parametrize("rule", ["nec", "nec-ems"])
def test_missing_values_never_give_headroom_by_any_rule(rule):
    own = np.array([[1.0, np.nan]])
    out = service_headroom_kw(**PANEL, p_kw=own, q_kvar=0.0 * own, rule=rule)
    assert not out[0, 1] > 0.0
    blank = service_headroom_kw(
        np.array([np.nan]), np.array([240.0]), own * 0.0 + 1.0, 0.0 * own, rule=rule
    )
    assert np.isnan(blank).all()


def test_unknown_rule_is_refused():
    with pytest.raises(ConfigError, match="'uk'"):
        service_headroom_kw(
            **PANEL, p_kw=np.zeros((1, 1)), q_kvar=np.zeros((1, 1)), rule="uk"
        )


def test_notes_say_that_hourly_means_hide_the_15_minute_demand():
    (hourly,) = service_notes("nec", step_hours=1.0, n_step=8760)
    assert "60 minutes" in hourly
    assert "15-minute" in hourly
    short = service_notes("nec", step_hours=0.25, n_step=96)
    assert any("24 h" in note for note in short)
    assert service_notes("eu", step_hours=1.0, n_step=1) == ()
    assert "750.30" in service_notes("nec-ems", step_hours=1.0, n_step=8760)[0]
