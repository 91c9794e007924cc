"""Laws of flexible capacity, and its definitions searched by brute force."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gridsite.hosting.curtailment import curtailment
from gridsite.hosting.flexible import (
    CELLS,
    LEVELS,
    energy_rating,
    flexible_ratings,
    hours_rating,
    level_name,
)
from gridsite.hosting.flexible_kernels import _keep, curtailed

laws = settings(max_examples=100, deadline=None)

elements = st.one_of(
    st.sampled_from([0.0, 1.0, 2.5, 7.0]), st.floats(0.0, 50.0, width=32)
)
headrooms = hnp.arrays(float, st.integers(1, 60), elements=elements)
shares = st.one_of(st.sampled_from([0.98, 0.9, 0.95, 1.0]), st.floats(0.5, 1.0))
floors = st.sampled_from([0.0, 0.3, 0.7, 1.0])
batteries = st.fixed_dictionaries(
    {
        "battery_kwh": st.floats(0.1, 30.0),
        "battery_kw": st.sampled_from([None, 2.0, 12.0]),
        "battery_efficiency": st.sampled_from([1.0, 0.8]),
    }
)
TOLERANCE_KW = 1e-3


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Stay in one thread: these arrays are too small to share out."""
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(before)


def serve(
    headroom,
    rating,
    hours=1.0,
    *,
    min_power_share=0.0,
    battery_kwh=0.0,
    battery_kw=None,
    battery_efficiency=0.9,
):
    """Return the power served at each step, from the definition in words."""
    power = rating if battery_kw is None else battery_kw
    charge, served = 0.0, []
    for h in headroom:
        from_grid = min(rating, h)
        from_battery = min(rating - from_grid, power, charge / hours)
        if from_grid + from_battery < min_power_share * rating * (1 - 1e-9):
            from_grid = from_battery = 0.0  # pauses
        into_battery = 0.0
        if from_battery == 0.0:
            into_battery = min(h - from_grid, power)
        charge -= from_battery * hours
        charge += into_battery * hours * battery_efficiency
        charge = min(max(charge, 0.0), battery_kwh)
        served.append(from_grid + from_battery)
    return np.array(served)


def keeps(headroom, rating, share, kind, **unit):
    served = serve(headroom, rating, **unit)
    if kind == "energy":
        return served.sum() >= share * rating * len(headroom) * (1.0 - 1e-9)
    return (served >= rating * (1.0 - 1e-9)).mean() >= share - 1e-9


def rate(headroom, share, **unit):
    table = flexible_ratings(
        headroom[None, :], 1.0, levels=[share], tolerance_kw=TOLERANCE_KW, **unit
    )
    return dict(zip(("energy", "hours"), table.iloc[0], strict=True))


# --- closed form against the definition ---


@settings(max_examples=400, deadline=None)
@given(headroom=headrooms, share=shares)
@example(headroom=np.full(50, 3.0), share=0.98)
@example(headroom=np.array([0.0, 0.0, 5.0, 5.0]), share=0.5)
@example(headroom=np.array([2.0] + [2.5] * 9), share=0.98)
@example(headroom=np.array([1e-30, 1.0, 1e30]), share=0.9)
def test_energy_rating_is_the_largest_served_to_the_share(headroom, share):
    (rating,) = energy_rating(headroom[None, :], share)
    assert rating >= headroom.min()
    if rating > 0.0:
        assert keeps(headroom, rating, share, "energy")
    more = rating * (1.0 + 1e-5) + 1e-6
    assert np.minimum(more, headroom).sum() < share * more * len(headroom) + 1e-12


@settings(max_examples=300, deadline=None)
@given(headroom=headrooms, share=shares)
def test_hours_rating_is_the_largest_served_in_full_in_the_share(headroom, share):
    (rating,) = hours_rating(headroom[None, :], share)
    assert rating in headroom
    assert (headroom >= rating).mean() >= share - 1e-9
    assert (headroom > rating).mean() < share


@laws
@given(headroom=headrooms, share=shares)
def test_energy_rating_equals_sorting_all_steps(headroom, share):
    # with the m lowest steps curtailed: P (s T - (T - m)) = sum of those m
    lowest, n = np.sort(headroom), len(headroom)
    curtailed = np.arange(1, n + 1)
    weight = share * n - (n - curtailed)
    with np.errstate(divide="ignore", invalid="ignore"):
        at = np.where(weight > 1e-9, np.cumsum(lowest) / weight, np.inf)
    known = max(at.min(), lowest[0])  # the sum is concave: its largest root
    (rating,) = energy_rating(headroom[None, :], share)
    assert rating == pytest.approx(known, rel=1e-6, abs=1e-9)


# --- searched ratings against the definition ---


@laws
@given(headroom=headrooms, share=shares, floor=floors)
def test_a_unit_that_pauses_is_rated_by_the_definition(headroom, share, floor):
    found = rate(headroom, share, min_power_share=floor)
    # every rating at which the share can jump or cross, from all breakpoints
    tries = np.linspace(0.0, headroom.mean() / share + 1.0, 150)
    tries = np.append(tries, [headroom, headroom / max(floor, 0.1)])
    for kind, rating in found.items():
        unit = {"min_power_share": floor}
        assert rating == 0.0 or keeps(headroom, rating, share, kind, **unit)
        above = tries[tries > rating + 2 * TOLERANCE_KW]
        assert not any(keeps(headroom, p, share, kind, **unit) for p in above)


@laws
@given(headroom=headrooms, share=shares, battery=batteries)
def test_a_battery_is_rated_by_the_definition(headroom, share, battery):
    found = rate(headroom, share, **battery)
    tries = np.linspace(0.0, headroom.mean() / share + 1.0, 150)
    for kind, rating in found.items():
        assert rating == 0.0 or keeps(headroom, rating, share, kind, **battery)
        above = tries[tries > rating + 2 * TOLERANCE_KW]
        assert not any(keeps(headroom, p, share, kind, **battery) for p in above)


@laws
@given(headroom=headrooms, share=shares, floor=floors, battery=batteries)
def test_a_rating_with_pauses_and_battery_passes_itself(
    headroom, share, floor, battery
):
    unit = {"min_power_share": floor, **battery}
    for kind, rating in rate(headroom, share, **unit).items():
        assert rating == 0.0 or keeps(headroom, rating, share, kind, **unit)
        if floor == 0.0:
            more = rating + 2 * TOLERANCE_KW
            assert not keeps(headroom, more, share, kind, **unit)


@pytest.mark.parametrize(
    "headroom",
    [(6.0, 7.0, 1.0, 3.0, 9.0, 7.0), (10.0, 10.0, 2.0, 5.0, 9.0, 9.0)],
    ids=str,
)
def test_with_pauses_and_battery_the_search_stops_at_the_first_that_fails(headroom):
    headroom = np.array(headroom)
    battery = {"battery_kwh": 6.0, "battery_efficiency": 1.0}
    unit = {"min_power_share": 0.7, **battery}
    found = rate(headroom, 0.8, **unit)
    high = rate(headroom, 0.8, **battery)["energy"]
    alone = rate(headroom, 0.8, min_power_share=0.7)
    for kind, rating in found.items():
        tries = np.linspace(alone[kind], high, 2_000)
        good = np.array([keeps(headroom, p, 0.8, kind, **unit) for p in tries])
        first = tries[good.argmin()]
        assert good[tries > first].any()  # larger ones pass again: not monotone
        assert rating <= first + (high - alone[kind]) / CELLS + 2 * TOLERANCE_KW


@laws
@given(
    headroom=headrooms,
    threshold=st.floats(0.1, 60.0),
    part=st.floats(0.1, 1.0),
    battery=batteries,
    floor=floors,
)
@example(
    headroom=np.repeat([20.0, 0.0], 12),
    threshold=18.0,
    part=1.0,
    battery={"battery_kwh": 10.0, "battery_kw": 2.0, "battery_efficiency": 0.8},
    floor=0.0,
)
def test_steps_that_the_search_leaves_out_change_nothing(
    headroom, threshold, part, battery, floor
):
    rating = np.array([threshold * part])
    power = battery["battery_kw"] or -1.0
    own = (battery["battery_kwh"], power, battery["battery_efficiency"])
    kept = headroom.copy()
    least = rating[0] if power < 0.0 else power
    count = _keep(kept, len(kept), threshold, own[0], least, own[2])
    whole, steps = curtailed(headroom[None, :], rating, floor, *own)
    short, fewer = curtailed(kept[None, :count], rating, floor, *own)
    assert short[0] == pytest.approx(whole[0], abs=1e-9)
    assert fewer[0, 0] == steps[0, 0]


# --- laws ---


@laws
@given(headroom=headrooms, floor=floors, battery=st.none() | batteries)
def test_firm_hours_energy_and_levels_are_ordered(headroom, floor, battery):
    unit = {"min_power_share": floor, **(battery or {})}
    row = flexible_ratings(headroom[None, :], 1.0, **unit).iloc[0]
    names = [level_name(level) for level in LEVELS]
    for kind in ("energy", "hours"):
        by_level = row[[f"flexible_{kind}{name}_kw" for name in names]].to_numpy()
        assert by_level[0] >= headroom.min()
        assert (np.diff(by_level) >= -1e-12 * by_level[1:]).all()
    for name in names:
        assert row[f"flexible_hours{name}_kw"] <= row[f"flexible_energy{name}_kw"]


@laws
@given(headroom=headrooms, floor=floors)
def test_at_the_full_level_both_are_the_least_headroom(headroom, floor):
    row = flexible_ratings(headroom[None, :], 1.0, min_power_share=floor).iloc[0]
    assert row["flexible_energy100_kw"] == headroom.min()
    assert row["flexible_hours100_kw"] == headroom.min()


@laws
@given(headroom=headrooms, share=shares, low=floors, high=floors)
def test_a_higher_least_power_never_gives_more(headroom, share, low, high):
    low, high = sorted((low, high))
    less = rate(headroom, share, min_power_share=high)
    more = rate(headroom, share, min_power_share=low)
    assert less["hours"] == more["hours"]
    assert less["energy"] <= more["energy"] + TOLERANCE_KW


@laws
@given(headroom=headrooms, share=shares, floor=floors, battery=batteries)
def test_a_battery_never_gives_less_than_none(headroom, share, floor, battery):
    without = rate(headroom, share, min_power_share=floor)
    with_it = rate(headroom, share, min_power_share=floor, **battery)
    assert with_it["hours"] >= without["hours"]
    assert with_it["energy"] >= without["energy"] - TOLERANCE_KW


@laws
@given(headroom=headrooms, share=shares, battery=batteries, more=st.floats(1.0, 4.0))
def test_a_larger_battery_never_gives_less(headroom, share, battery, more):
    larger = {**battery, "battery_kwh": battery["battery_kwh"] * more}
    small, large = rate(headroom, share, **battery), rate(headroom, share, **larger)
    for kind in ("energy", "hours"):
        assert large[kind] >= small[kind] - TOLERANCE_KW


@laws
@given(
    headroom=headrooms,
    share=shares,
    floor=floors,
    battery=st.none() | batteries,
    factor=st.sampled_from([0.25, 4.0]),
)
def test_power_and_energy_scale_together(headroom, share, floor, battery, factor):
    assume(floor == 0.0 or battery is None)
    scaled = dict(battery or {})
    for name in ("battery_kwh", "battery_kw"):
        if scaled.get(name):
            scaled[name] *= factor
    one = rate(headroom, share, min_power_share=floor, **(battery or {}))
    other = rate(headroom * factor, share, min_power_share=floor, **scaled)
    for kind in ("energy", "hours"):
        gap = other[kind] - one[kind] * factor
        assert abs(gap) <= 2 * TOLERANCE_KW * max(1.0, factor)


@laws
@given(headroom=headrooms, share=shares, floor=floors, seed=st.integers(0, 99))
def test_order_of_steps_counts_only_with_a_battery(headroom, share, floor, seed):
    shuffled = np.random.default_rng(seed).permutation(headroom)
    one = rate(headroom, share, min_power_share=floor)
    other = rate(shuffled, share, min_power_share=floor)
    assert other["hours"] == one["hours"]
    assert other["energy"] == pytest.approx(one["energy"], abs=TOLERANCE_KW)


# --- curtailment ---


@laws
@given(
    headroom=headrooms,
    rating=st.just(0.0) | st.floats(1e-6, 60.0),
    hours=st.sampled_from([0.25, 1.0]),
    floor=floors,
    battery=st.none() | batteries,
)
def test_curtailment_is_that_of_a_plain_loop(headroom, rating, hours, floor, battery):
    unit = {"min_power_share": floor, **(battery or {})}
    lost = curtailment(headroom[None, :], rating, hours, **unit)
    served = serve(headroom, rating, hours, **unit)
    short = served < rating * (1.0 - 1e-9)
    text = "".join("x" if s else " " for s in short)
    runs = [len(run) for run in text.split()]
    year = 8760.0 / (hours * len(headroom))
    assert lost.steps[0] == short.sum()
    assert lost.longest_h[0] == max(runs, default=0) * hours
    assert lost.interventions_per_year[0] == pytest.approx(len(runs) * year)
    missing = (rating - served)[short].sum() * hours
    assert lost.not_served_kwh[0] == pytest.approx(missing, abs=1e-9)
    asked = rating * len(headroom) * hours
    share = missing / asked if asked else 0.0
    assert lost.not_served_share[0] == pytest.approx(share, abs=1e-9)


@laws
@given(headroom=headrooms, share=shares)
def test_curtailment_of_flexible_ratings_is_what_they_allow(headroom, share):
    found = rate(headroom, share)
    by_energy = curtailment(headroom[None, :], found["energy"], 1.0)
    by_hours = curtailment(headroom[None, :], found["hours"], 1.0)
    assert by_energy.not_served_share[0] <= 1.0 - share + 1e-8
    assert by_hours.steps[0] <= (1.0 - share) * len(headroom) + 1e-6
