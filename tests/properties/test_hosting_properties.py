"""Laws of hosting capacity on generated radial feeders."""

from __future__ import annotations

import dataclasses

import numba
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from gridsite.errors import BaseCaseError
from gridsite.feeder.model import Feeder
from gridsite.feeder.profiles import dense_profiles
from gridsite.hosting.ac_replay import replay_loads
from gridsite.hosting.capacity import hosting_capacity
from gridsite.hosting.grid_case import GridCase
from gridsite.hosting.joint import cut_rows, grid_rows
from gridsite.hosting.limits import Limits
from gridsite.hosting.response import Response
from gridsite.hosting.screening import Screen

TOLERANCE_KW = 0.02
BASE_KVA = 1000.0
#: A per pu at 0.4 kV.
BASE_A = BASE_KVA / (np.sqrt(3.0) * 0.4)

laws = settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Solve in one thread: these batches are too small to share out."""
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(before)


def radial_feeder(parent, z, rated_a, *, order=None):
    """
    Return a radial feeder: node 0 is the source, node k hangs on parent[k - 1].

    Every other node has a house; ``order`` shuffles nodes and ports.
    """
    count = len(parent) + 1
    place = np.arange(count) if order is None else np.append(0, 1 + np.array(order))
    y = np.zeros((count, count), dtype=complex)
    rows, ends = [], []
    for k in range(1, count):
        a, b, admittance = place[parent[k - 1]], place[k], 1.0 / z[k - 1]
        y[[a, b], [a, b]] += admittance
        y[[a, b], [b, a]] -= admittance
        for end, other, side in ((a, b, "from"), (b, a, "to")):
            current = np.zeros(count, dtype=complex)
            current[end], current[other] = admittance, -admittance
            ends.append(current)
            rows.append((f"line {k}", side, end, rated_a[k - 1]))
    ends.append(y[0])
    rows.append(("source", "source", 0, np.nan))
    terminals = pd.DataFrame(rows, columns=["element", "side", "node", "rated_a"])
    terminals["criterion"] = np.where(
        terminals["side"] == "source", "source", "line current"
    )
    terminals["feeder_id"], terminals["base_a"] = "f", BASE_A
    at = np.argsort(place)[1:]  # houses in the order of their nodes
    ports = pd.DataFrame(
        {
            "port_id": [f"house {k}" for k in at],
            "node": place[at],
            "node_return": -1,
            "bus": [f"bus {k}" for k in at],
            "phases": "ABC",
            "feeder_id": "f",
            "kind": "load",
            "p_kw": 1.0,
            "q_kvar": 0.2,
            "lon": np.nan,
            "lat": np.nan,
            "profile": "",
        }
    ).set_index("port_id")
    nodes = pd.DataFrame(
        {
            "bus": [f"bus {k}" for k in np.argsort(place)],
            "phases": "ABC",
            "voltage_kv": 0.4,
            "feeder_id": ["", *["f"] * (count - 1)],
            "limited": True,
        }
    )
    names = [f"line {k}" for k in range(1, count)]
    elements = pd.DataFrame({"kind": "line", "rating": rated_a}, index=names)
    return Feeder(
        name="generated",
        base_kva=BASE_KVA,
        nodes=nodes,
        y=sp.csc_array(y),
        source_nodes=np.array([0]),
        source_v=np.array([1.0 + 0.0j]),
        ports=ports,
        elements=elements,
        terminals=terminals,
        terminal_y=sp.csr_array(np.array(ends)),
    )


@st.composite
def cases(draw, *, steps=40):
    """Draw a feeder's parts, profiles and limits."""
    count = draw(st.integers(2, 7))
    parent = [draw(st.integers(0, k)) for k in range(count)]
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    z = rng.uniform(0.03, 0.5, count) + 1j * rng.uniform(0.01, 0.3, count)
    rated = rng.uniform(40.0, 300.0, count)
    scale = draw(st.sampled_from([0.5, 4.0, 12.0]))
    shape = rng.gamma(1.2, 1.0, (steps, count)) * scale
    if draw(st.booleans()):
        shape[:, 0] -= 25.0 * rng.random(steps)  # generation behind the meter
    limits = Limits(
        voltage_min_pu=draw(st.sampled_from([0.9, 0.95])),
        voltage_change_pu=draw(st.sampled_from([0.03, 0.2])),
        source_kva=draw(st.sampled_from([None, 150.0])),
        line_loading_max=draw(st.sampled_from([1.0, 0.7])),
    )
    return (parent, z, rated), shape, limits


def profiles_of(shape):
    time = pd.date_range("2025-01-01", periods=len(shape), freq="h", tz="UTC")
    columns = [f"house {k}" for k in range(1, shape.shape[1] + 1)]
    return dense_profiles(time, pd.DataFrame(shape, columns=columns), power_factor=0.97)


def rate(parts, shape, limits, **options):
    feeder = radial_feeder(*parts)
    try:
        table = hosting_capacity(
            feeder,
            profiles_of(shape),
            limits=limits,
            tolerance_kw=TOLERANCE_KW,
            **options,
        )
    except BaseCaseError:
        assume(False)
    return table.set_index("building_id")


def usable(table):
    return table["firm_status"].isin(["ok", "censored"])


@settings(laws, max_examples=40)
@given(case=cases(steps=100), kw=st.floats(0.1, 60.0))
def test_steps_that_the_screen_skips_hold_in_ac(case, kw):
    parts, shape, limits = case
    feeder, loads = radial_feeder(*parts), profiles_of(shape)
    try:
        block = GridCase(feeder, loads, limits).block("f")
    except BaseCaseError:
        assume(False)
    count = len(block.block.ports)
    may = Screen(Response(block)).may_bind(np.full(count, kw), np.arange(count))
    port, step = np.nonzero(~may)
    assume(len(port) > 0)
    slack, _ = block.evaluate(port, step, np.full(len(port), kw))
    assert (slack >= 0.0).all()


@settings(laws, max_examples=12)
@given(case=cases(steps=100))
def test_screening_changes_no_value_and_no_status(case):
    fast, slow = rate(*case, screen=True), rate(*case, screen=False)
    assert fast["firm_status"].tolist() == slow["firm_status"].tolist()
    gap = (fast["firm_kw"] - slow["firm_kw"]).abs().fillna(0.0)
    assert gap.max() <= TOLERANCE_KW


@laws
@given(case=cases())
def test_capacity_passes_and_two_tolerances_more_does_not(case):
    parts, shape, limits = case
    table = rate(*case)
    grid = GridCase(radial_feeder(*parts), profiles_of(shape), limits)
    block = grid.block("f")
    ports = grid.feeder.ports.index
    steps = np.arange(len(shape))
    for house, row in table[table["firm_status"] == "ok"].iterrows():
        port = np.full(len(steps), ports.get_loc(house))
        for kw, passes in (
            (row["firm_kw"], True),
            (0.5 * row["firm_kw"], True),
            (row["firm_kw"] + 2 * TOLERANCE_KW, False),
        ):
            slack, _ = block.evaluate(port, steps, np.full(len(steps), kw))
            assert (slack >= 0.0).all() == passes


@laws
@given(
    case=cases(),
    looser=st.sampled_from(
        [
            {"voltage_min_pu": 0.85},
            {"voltage_change_pu": 0.5},
            {"line_loading_max": 1.4},
            {"source_kva": None},
            {"criteria": ("voltage", "line current", "source")},
        ]
    ),
)
def test_a_looser_limit_never_lowers_a_capacity(case, looser):
    parts, shape, limits = case
    before = rate(*case)
    after = rate(parts, shape, dataclasses.replace(limits, **looser))
    both = usable(before) & usable(after)
    gain = (after["firm_kw"] - before["firm_kw"])[both]
    assert (gain >= -TOLERANCE_KW).all()
    assert not (usable(before) & ~usable(after)).any()


@laws
@given(case=cases(), factor=st.floats(1.0, 3.0))
def test_higher_ratings_never_lower_a_capacity(case, factor):
    (parent, z, rated), shape, limits = case
    before = rate(*case)
    after = rate((parent, z, rated * factor), shape, limits)
    both = usable(before) & usable(after)
    assert (after["firm_kw"] - before["firm_kw"])[both].min() >= -TOLERANCE_KW or (
        not both.any()
    )


@laws
@given(case=cases(), seed=st.integers(0, 1000))
def test_order_of_nodes_ports_and_profiles_changes_nothing(case, seed):
    (parent, z, rated), shape, limits = case
    order = np.random.default_rng(seed).permutation(len(parent))
    before = rate(*case)
    feeder = radial_feeder(parent, z, rated, order=order)
    columns = profiles_of(shape).port_ids[::-1]
    after = hosting_capacity(
        feeder,
        profiles_of(shape).select(columns),
        limits=limits,
        tolerance_kw=TOLERANCE_KW,
    ).set_index("building_id")
    after = after.loc[before.index]
    assert before["firm_status"].tolist() == after["firm_status"].tolist()
    for column in ("firm_kw", "flexible_hours98_kw", "flexible_energy98_kw"):
        gap = (before[column] - after[column]).abs().fillna(0.0)
        assert gap.max() <= 4 * TOLERANCE_KW


@laws
@given(case=cases())
def test_order_of_steps_changes_nothing(case):
    parts, shape, limits = case
    before, after = rate(*case), rate(parts, shape[::-1].copy(), limits)
    assert before["firm_status"].tolist() == after["firm_status"].tolist()
    gap = (before["firm_kw"] - after["firm_kw"]).abs().fillna(0.0)
    assert gap.max() <= TOLERANCE_KW


@laws
@given(case=cases())
def test_firm_is_at_most_hours_and_hours_at_most_energy(case):
    table = rate(*case)
    good = table[table["firm_status"] == "ok"]
    assert (good["firm_kw"] <= good["flexible_hours98_kw"]).all()
    energy = good["flexible_energy98_kw"] * (1.0 + 1e-12)
    assert (good["flexible_hours98_kw"] <= energy).all()
    bad = table[~usable(table)]
    assert not (bad["firm_kw"] > 0.0).any()
    assert not (bad["flexible_energy98_kw"] > 0.0).any()


@laws
@given(case=cases(), share=st.floats(0.05, 1.0))
def test_a_larger_plan_never_breaks_fewer_limits(case, share):
    parts, shape, limits = case
    shape = np.abs(shape)
    plan = pd.Series(40.0, profiles_of(shape).port_ids)
    feeder, loads = radial_feeder(*parts), profiles_of(shape)
    try:
        grid = GridCase(feeder, loads, limits)
        small = replay_loads(feeder, loads, plan * share, grid=grid)
        large = replay_loads(feeder, loads, plan, grid=grid)
    except BaseCaseError:
        assume(False)
    assume(large.summary["not_converged"] == 0)
    for kind in ("new", "worsened"):
        assert small.summary[kind] <= large.summary[kind]


@laws
@given(case=cases(steps=8), seed=st.integers(0, 1000))
def test_cuts_are_broken_by_the_plan_they_cut(case, seed):
    parts, shape, limits = case
    shape = np.abs(shape)
    feeder, loads = radial_feeder(*parts), profiles_of(shape)
    grid = GridCase(feeder, loads, limits)
    ports = feeder.ports.index
    plan = pd.Series(np.random.default_rng(seed).uniform(0, 60.0, len(ports)), ports)
    try:
        result = replay_loads(feeder, loads, plan, grid=grid)
    except BaseCaseError:
        assume(False)
    assume(len(result.violations) > 0)
    assume(result.summary["not_converged"] == 0)
    cuts, coefficients = cut_rows(grid, ports, plan, result.violations, 1)
    use = coefficients.assign(
        draw=coefficients["coefficient"] * plan[coefficients["port_id"]].to_numpy()
    )
    use = use.groupby("row_id")["draw"].sum().reindex(cuts["row_id"], fill_value=0.0)
    assert len(cuts)
    assert (use.to_numpy() > cuts["headroom"].to_numpy()).all()


@laws
@given(case=cases(steps=8))
def test_no_single_capacity_is_beyond_its_rows_by_much(case):
    parts, shape, limits = case
    shape = np.abs(shape)
    criteria = ("voltage", "line current", "source")
    limits = dataclasses.replace(limits, criteria=criteria)
    table = rate(parts, shape, limits)
    grid = GridCase(radial_feeder(*parts), profiles_of(shape), limits)
    rows, coefficients = grid_rows(grid, grid.feeder.ports.index)
    headroom = rows.set_index("row_id")["headroom"]
    good = table[table["firm_status"] == "ok"]
    left = coefficients.assign(
        most=headroom[coefficients["row_id"]].to_numpy() / coefficients["coefficient"]
    )
    most = left.groupby("port_id")["most"].min()
    # rows are linear and see one step each; a single capacity knows all of AC
    assert (good["firm_kw"] <= 1.02 * most[good["port_id"]].to_numpy() + 0.1).all()
