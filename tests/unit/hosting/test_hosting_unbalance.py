"""Feeders with phases: voltages that a load raises elsewhere, and unbalance."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from gridsite.feeder.model import Feeder
from gridsite.feeder.profiles import constant_profiles, dense_profiles
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.feeder.unbalance import bus_triples, voltage_unbalance
from gridsite.hosting.ac_replay import replay_loads
from gridsite.hosting.block_rating import BlockRating
from gridsite.hosting.capacity import hosting_capacity, own_connections
from gridsite.hosting.grid_case import GridCase
from gridsite.hosting.joint import cut_rows, grid_rows
from gridsite.hosting.joint_capacity import joint_capacity
from gridsite.hosting.limits import CRITERIA, Limits
from gridsite.hosting.load_sets import check_sets
from gridsite.hosting.not_checked import not_checked
from gridsite.hosting.response import Response
from gridsite.hosting.screening import Screen
from gridsite.hosting.settings import Settings

BASE_KVA = 100.0
PHASES = "ABC"
TAN = float(np.sqrt(1.0 / 0.98**2 - 1.0))
SOURCE = np.exp(-2j * np.pi / 3 * np.arange(3))
#: impedance of a conductor and of the neutral, per section [pu]
Z, ZN = 0.16 + 0.06j, 0.20 + 0.06j


class Street:
    """
    Buses on a tree of sections of four conductors; ports to neutral.

    Solved here by a plain fixed point on the impedance matrix, apart from the
    library: V = E - Z conj(S / V).
    """

    def __init__(self, parents=(0,), *, z=None, source=1.03, drawn=(0.0, 0.0, 0.0)):
        self.n, self.source = len(parents), source
        sections = [(Z, ZN)] * self.n if z is None else z
        self.paths = []
        for bus, parent in enumerate(parents, 1):
            self.paths.append({bus} | (self.paths[parent - 1] if parent else set()))
        self.sections = [a * np.eye(3) + b for a, b in sections]
        self.z = np.zeros((3 * self.n, 3 * self.n), dtype=complex)
        for i, one in enumerate(self.paths):
            for j, two in enumerate(self.paths):
                shared = sum(self.sections[s - 1] for s in one & two)
                if one & two:
                    self.z[3 * i : 3 * i + 3, 3 * j : 3 * j + 3] = shared
        self.e = np.tile(source * SOURCE, self.n)
        self.parents = parents
        self.names = [f"b{i}.{p}" for i in range(1, self.n + 1) for p in PHASES]
        self.kw = np.broadcast_to(np.asarray(drawn, dtype=float), (self.n, 3)).ravel()

    def feeder(self):
        size = 3 * (self.n + 1)
        y = np.zeros((size, size), dtype=complex)
        rows = []
        for bus, parent in enumerate(self.parents, 1):
            a = slice(3 * parent, 3 * parent + 3)
            b = slice(3 * bus, 3 * bus + 3)
            line = np.linalg.inv(self.sections[bus - 1])
            y[a, a] += line
            y[b, b] += line
            y[a, b] -= line
            y[b, a] -= line
            row = np.zeros((3, size), dtype=complex)
            row[:, a], row[:, b] = line, -line
            rows.append(row)
        count = np.arange(3 * self.n)
        bus = np.repeat([f"b{i}" for i in range(1, self.n + 1)], 3)
        phase = np.tile(list(PHASES), self.n)
        ports = pd.DataFrame(
            {
                "node": count + 3,
                "node_return": -1,
                "bus": bus,
                "phases": phase,
                "feeder_id": "f",
                "kind": "load",
                "p_kw": self.kw,
                "q_kvar": 0.3 * self.kw,
                "profile": "",
            },
            index=pd.Index(self.names, name="port_id"),
        )
        nodes = pd.DataFrame(
            {
                "bus": np.append(["source"] * 3, bus),
                "phases": np.append(list(PHASES), phase),
                "voltage_kv": 0.4,
                "feeder_id": [""] * 3 + ["f"] * (3 * self.n),
                "limited": [False] * 3 + [True] * (3 * self.n),
            }
        )
        lines = [f"L{i}" for i in range(1, self.n + 1)]
        terminals = pd.DataFrame(
            {
                "element": np.repeat(lines, 3),
                "side": "from",
                "node": np.repeat(3 * np.array(self.parents), 3) + count % 3,
                "feeder_id": "f",
                "criterion": "line current",
                "rated_a": 300.0,
                "base_a": BASE_KVA * np.sqrt(3.0) / 0.4,
            }
        )
        return Feeder(
            name="street",
            base_kva=BASE_KVA,
            nodes=nodes,
            y=sp.csc_array(y),
            source_nodes=np.arange(3),
            source_v=self.source * SOURCE,
            ports=ports,
            elements=pd.DataFrame({"kind": "line", "rating": np.nan}, pd.Index(lines)),
            terminals=terminals,
            terminal_y=sp.csr_array(np.vstack(rows)),
        )

    def voltages(self, base_kva, port=0, added_kw=0.0):
        """Return voltages (n_node, n_state) of base power and added loads."""
        s = np.asarray(base_kva, dtype=complex) / BASE_KVA
        added = np.atleast_1d(added_kw) / BASE_KVA * (1 + 1j * TAN)
        s = np.repeat(s[:, None], len(added), axis=1)
        s[port] += added
        v = np.repeat(self.e[:, None], len(added), axis=1)
        for _ in range(400):
            new = self.e[:, None] - self.z @ np.conj(s / v)
            done = np.abs(new - v).max() < 1e-14
            v = new
            if done:
                break
        return v

    def values(self, v, limits):
        """Return what is left of each limit, by the definitions alone."""
        size = np.abs(v)
        parts = v.reshape(self.n, 3, -1)
        turn = np.exp(2j * np.pi / 3)
        one = parts[:, 0] + turn * parts[:, 1] + turn**2 * parts[:, 2]
        two = parts[:, 0] + turn**2 * parts[:, 1] + turn * parts[:, 2]
        left = {}
        for i, name in enumerate(self.names):
            if limits.on("voltage"):
                left["voltage", name] = size[i] - limits.voltage_min_pu
                left["voltage high", name] = limits.voltage_max_pu - size[i]
        for i in range(self.n):
            if limits.on("unbalance"):
                share = np.abs(two[i]) / np.abs(one[i])
                left["unbalance", f"b{i + 1}"] = limits.unbalance_max - share
        return pd.DataFrame(left)

    def passes(self, base_kva, port, kw, limits):
        held = self.values(self.voltages(base_kva), limits).iloc[0] >= 0.0
        v = self.voltages(base_kva, port, kw)
        good = (self.values(v, limits).loc[:, held] >= 0.0).all(axis=1).to_numpy()
        if limits.on("voltage change"):
            fall = np.abs(self.voltages(base_kva))[port] - np.abs(v[port])
            good &= fall <= limits.voltage_change_pu
        return good

    def truth(self, base_kva, port, limits, *, most=80.0, width=1e-9):
        """Return the largest load below which all loads pass: scan, then bisect."""
        scan = np.linspace(0.0, most, 161)
        good = self.passes(base_kva, port, scan, limits)
        if good.all():
            return most
        high = scan[~good][0]
        low = high - scan[1]
        while high - low > width:
            inner = np.linspace(low, high, 33)
            good = self.passes(base_kva, port, inner, limits)
            first = int(np.argmin(good))
            low, high = inner[first - 1], inner[first]
        return low


def base_powers(loads):
    p, q = loads.power_kw()
    return p + 1j * q


def snapshot(feeder):
    at = feeder.ports
    return constant_profiles(at.index, at["p_kw"], at["q_kvar"])


def series(street, *, steps, seed=0, high=4.0):
    """Return generated hourly loads of every port, each on its own."""
    rng = np.random.default_rng(seed)
    time = pd.date_range("2025-01-01", periods=steps, freq="h", tz="UTC")
    p = pd.DataFrame(rng.uniform(0.0, high, (steps, 3 * street.n)))
    p.columns = street.names
    return dense_profiles(time, p, q_kvar=0.2 * p)


def limits_of(*criteria, **values):
    return Limits(**{"criteria": criteria, **values})


# --- capacities in closed form and by bisection ---


def test_a_rise_on_another_phase_binds_in_closed_form():
    street = Street()
    feeder = street.feeder()
    limits = limits_of("voltage", voltage_min_pu=0.55, voltage_max_pu=1.05)
    loads = snapshot(feeder)
    table = hosting_capacity(feeder, loads, limits=limits, tolerance_kw=1e-6)
    # one load alone: two-bus quadratic on its own phase, and the other phases
    # rise by the fall along the neutral
    z_own = Z + ZN

    def highest(kw):
        s = kw / BASE_KVA * (1 + 1j * TAN)
        zs = z_own * np.conj(s)
        e = street.source
        half = e**2 - 2 * zs.real
        u2 = 0.5 * (half + np.sqrt(half**2 - 4 * np.abs(zs) ** 2))
        v = (u2 + zs) / e  # conj(E) V = |V|^2 + ...: V conj(E) = u2 + conj(z) s
        v = np.conj(v)
        current = np.conj(s / v)
        return np.abs(e * SOURCE[1:] - ZN * current).max()

    low, high = 0.0, 30.0
    for _ in range(80):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if highest(middle) <= 1.05 else (low, middle)
    assert 1.0 < low < 29.0
    for row in table.itertuples():
        assert low - 2e-6 <= row.firm_kw <= low + 1e-8
        assert row.limit_criterion == "voltage high"
        assert row.limit_element[-1] != row.phases
        assert row.limit_element.startswith("b1.")
    lower = dataclasses.replace(limits, voltage_max_pu=1.4)
    free = hosting_capacity(feeder, loads, limits=lower, tolerance_kw=1e-6)
    assert (free["firm_kw"] > low + 5.0).all()
    assert (free["limit_criterion"] != "voltage high").all()


@pytest.mark.parametrize("drawn", [(0.0, 0.0, 0.0), (3.0, 0.8, 1.5)])
def test_unbalance_binds_at_the_bisection_of_its_definition(drawn):
    street = Street((0, 1, 1), drawn=drawn)
    feeder = street.feeder()
    loads = snapshot(feeder)
    limits = limits_of("unbalance", unbalance_max=0.03)
    table = hosting_capacity(feeder, loads, limits=limits, tolerance_kw=1e-6)
    base = base_powers(loads)[:, 0]
    triples = pd.DataFrame(np.arange(9).reshape(3, 3), columns=list(PHASES))
    at_base = voltage_unbalance(street.voltages(base), triples)
    assert at_base.max() < 0.03
    for port, row in enumerate(table.itertuples()):

        def worst(kw, port=port):
            return voltage_unbalance(street.voltages(base, port, kw), triples).max()

        low, high = 0.0, street.truth(base, port, limits) + 1.0
        for _ in range(70):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if worst(middle) <= 0.03 else (low, middle)
        assert row.firm_kw == pytest.approx(low, abs=1e-5)
        assert row.firm_kw <= low + 1e-7
        assert (row.limit_criterion, row.firm_status) == ("unbalance", "ok")
        assert row.flexible_energy98_kw >= row.firm_kw
        at_limit = street.voltages(base, port, row.firm_kw)
        found = voltage_unbalance(at_limit, triples)[:, 0]
        assert found[int(row.limit_element[1:]) - 1] >= found.max() - 1e-12
    # a load on the phase that draws least is the one that may grow most
    if any(drawn):
        far = table.set_index("port_id").loc[["b2.A", "b2.B", "b2.C"], "firm_kw"]
        assert far.idxmin() == "b2.A"
        assert far.idxmax() == "b2.B"


def test_firm_capacity_over_steps_equals_a_scan_of_every_step():
    street = Street((0, 1))
    feeder = street.feeder()
    loads = series(street, steps=12)
    limits = limits_of("unbalance", "voltage", unbalance_max=0.014)
    limits = dataclasses.replace(limits, voltage_max_pu=1.06, voltage_min_pu=0.6)
    table = hosting_capacity(feeder, loads, limits=limits, tolerance_kw=1e-6)
    base = base_powers(loads)
    ok = table[table["firm_status"] == "ok"]
    assert len(ok) >= 3
    assert {"unbalance", "voltage high"} <= set(ok["limit_criterion"])
    for row in ok.itertuples():
        port = street.names.index(row.port_id)
        every = [street.truth(base[:, t], port, limits) for t in range(12)]
        assert row.firm_kw == pytest.approx(min(every), abs=1e-5)
        assert row.limit_time == loads.time[int(np.argmin(every))]


# --- screen, envelope ---


def test_linear_effect_and_slack_of_phasors_are_those_of_the_definitions():
    street = Street((0, 1), source=0.94)
    feeder = street.feeder()
    loads = series(street, steps=5)
    limits = limits_of("voltage", "unbalance")
    case = GridCase(feeder, loads, limits).block("f")
    rows = case.rows["criterion"].to_numpy()[:-1]
    small = 1e-4
    idle = street.values(street.voltages(np.zeros(6)), limits).iloc[0]
    for port in range(6):
        more = street.values(street.voltages(np.zeros(6), port, small), limits).iloc[0]
        fall = (idle - more) / (small / BASE_KVA)
        found = case.effect[1][:, port]
        for kind in ("voltage high", "unbalance"):
            expected = fall[kind].to_numpy()
            assert found[rows[6:] == kind] == pytest.approx(expected, abs=1e-4)
        assert (found[rows[6:] == "voltage high"].min()) < -0.1
    base = base_powers(loads)
    slack = Response(case).row_slack[rows == "unbalance"]
    triples = pd.DataFrame(np.arange(6).reshape(2, 3), columns=list(PHASES))
    for step in range(5):
        v = street.voltages(base[:, step])
        turned = np.exp(2j * np.pi / 3 * np.arange(3)) / 3
        positive = np.abs(v[:, 0].reshape(2, 3) @ turned)
        left = (0.02 - voltage_unbalance(v, triples)[:, 0]) * positive
        assert slack[:, step] == pytest.approx(left, abs=1e-9)


LIMITS = {
    "unbalance": limits_of("unbalance", unbalance_max=0.015),
    "high": limits_of("voltage", voltage_min_pu=0.6, voltage_max_pu=1.06),
    "both": limits_of("voltage", "unbalance", voltage_max_pu=1.06, unbalance_max=0.01),
    "all": limits_of("voltage", "voltage change", "unbalance", voltage_change_pu=0.08),
}


@pytest.mark.parametrize("name", LIMITS)
def test_steps_that_the_screen_skips_hold_in_ac(name):
    street = Street((0, 1))
    feeder = street.feeder()
    loads = series(street, steps=150, seed=5)
    case = GridCase(feeder, loads, LIMITS[name]).block("f")
    screen, ports = Screen(Response(case)), np.arange(6)
    skipped, kept = 0, 0
    for kw in (1.0, 5.0, 15.0, 25.0, 35.0, 50.0):
        may = screen.may_bind(np.full(6, kw), ports)
        port, step = np.nonzero(~may)
        if len(port):
            slack, _ = case.evaluate(port, step, np.full(len(port), kw))
            assert (slack >= 0.0).all()
        skipped, kept = skipped + len(port), kept + int(may.sum())
    assert skipped > 100
    assert kept > 100


@pytest.mark.parametrize("name", LIMITS)
def test_screening_changes_no_value(name):
    street = Street((0, 1))
    feeder = street.feeder()
    loads = series(street, steps=150, seed=6)
    tables = [
        hosting_capacity(
            feeder, loads, limits=LIMITS[name], tolerance_kw=0.01, screen=screen
        )
        for screen in (True, False)
    ]
    assert (tables[0]["firm_status"] == "ok").any()
    values = ["firm_kw", "firm_status", "limit_criterion", "limit_element"]
    pd.testing.assert_frame_equal(tables[0][values], tables[1][values])
    assert tables[0]["steps_solved"].sum() < tables[1]["steps_solved"].sum()


@pytest.mark.parametrize(
    ("name", "steps"),
    [*((name, 60) for name in LIMITS), ("unbalance", 1100), ("high", 1100)],
)
def test_envelope_equals_ac_truth(name, steps):
    street = Street((0, 1))
    feeder = street.feeder()
    loads = series(street, steps=steps, seed=7)
    limits = LIMITS[name]
    case = GridCase(feeder, loads, limits).block("f")
    group = own_connections(feeder).assign(feeder_id="f")
    told = {}

    def keep(labels, headroom_kw):
        told.update(zip(labels, headroom_kw.copy(), strict=True))

    settings = Settings(
        power_factor=0.98, tolerance_kw=0.01, screen=True, envelope=keep
    )
    table = BlockRating(case, loads, group, settings).table()
    assert set(told) == set(table.index[table["firm_status"] == "ok"])
    base = base_powers(loads)
    chosen = np.random.default_rng(1).choice(steps, 8, replace=False)
    seen = set()
    for label, headroom in told.items():
        port = street.names.index(table.loc[label, "port_id"])
        assert table.loc[label, "firm_kw"] == pytest.approx(headroom.min(), abs=0.02)
        for step in chosen:
            true = street.truth(base[:, step], port, limits, width=1e-3)
            assert headroom[step] <= true + 0.05
            seen.add(abs(headroom[step] - true) <= 0.05)
            assert headroom[step] >= true - 0.25
    assert True in seen


# --- what is in force, statuses ---


def test_criteria_are_switched_off():
    street = Street(drawn=(3.0, 3.0, 3.0))
    feeder = street.feeder()
    loads = snapshot(feeder)
    some = [c for c in CRITERIA if c != "voltage change"]

    def rated(*criteria):
        limits = limits_of(*criteria, voltage_min_pu=0.6, voltage_max_pu=1.09)
        kinds = GridCase(feeder, loads, limits).block("f").rows["criterion"]
        table = hosting_capacity(feeder, loads, limits=limits)
        return set(kinds), table.set_index("port_id")

    kinds, table = rated(*some)
    assert {"voltage", "voltage high", "unbalance", "line current"} < kinds
    assert set(table["limit_criterion"]) == {"unbalance"}
    assert set(table["second_criterion"]) == {"voltage high"}
    kinds, without = rated(*[c for c in some if c != "unbalance"])
    assert "unbalance" not in kinds
    assert set(without["limit_criterion"]) == {"voltage high"}
    assert (without["firm_kw"] > table["firm_kw"] + 0.5).all()
    kinds, neither = rated("line current")
    assert kinds == {"line current", "voltage change"}
    assert (neither["firm_kw"] > without["firm_kw"] + 0.5).all()
    looser = limits_of(*some, unbalance_max=0.022, voltage_min_pu=0.6)
    more = hosting_capacity(feeder, loads, limits=looser).set_index("port_id")
    assert (more["firm_kw"] > table["firm_kw"]).all()


def test_balanced_models_have_no_such_rows(village_feeder, profiles):
    feeder = village_feeder()
    case = GridCase(feeder, profiles(feeder), Limits()).block("T")
    kinds = {"voltage", "line current", "transformer current", "voltage change"}
    assert set(case.rows["criterion"]) == kinds
    assert case.first_unbalance == case.n_row
    assert not len(case.positive_y.data)
    assert "unbalance (balanced model)" in not_checked(Limits(), feeder)
    phased = not_checked(Limits(), Street().feeder())
    assert not any("unbalance" in text for text in phased)


def test_a_bus_without_all_phases_has_voltages_and_no_unbalance():
    feeder = Street().feeder()
    loads = snapshot(feeder)
    limited = feeder.nodes["limited"] & (feeder.nodes["phases"] != "C")
    less = dataclasses.replace(feeder, nodes=feeder.nodes.assign(limited=limited))
    rows = GridCase(less, loads, Limits()).block("f").rows
    assert rows.loc[rows["criterion"] == "voltage high", "element"].tolist() == [
        "b1.A",
        "b1.B",
    ]
    assert "unbalance" not in set(rows["criterion"])


def test_a_base_case_beyond_the_limit_leaves_nothing_where_loads_act_on_it():
    # two branches behind a stiff trunk: bus 2 is out of balance, bus 3 is not
    stiff, weak = (1e-4 + 0j, 1e-4 + 0j), (Z, ZN)
    street = Street((0, 1, 1), z=[stiff, weak, weak])
    kw = np.zeros((3, 3))
    kw[1, 0] = 50.0
    street.kw = kw.ravel()
    feeder = street.feeder()
    limits = limits_of("unbalance")
    loads = snapshot(feeder)
    base = street.values(street.voltages(base_powers(loads)[:, 0]), limits)
    assert base.iloc[0]["unbalance", "b2"] < -0.001
    table = hosting_capacity(feeder, loads, limits=limits).set_index("port_id")
    hit = table.loc[["b2.A", "b2.B", "b2.C"]]
    assert (hit["firm_status"] == "none_base_violation").all()
    assert (hit[["firm_kw", "flexible_energy98_kw"]] == 0.0).to_numpy().all()
    assert (hit["limit_criterion"] == "unbalance").all()
    assert (hit["limit_element"] == "b2").all()
    assert (hit["limit_time"] == loads.time[0]).all()
    free = table.loc[["b3.A", "b3.B", "b3.C"]]
    assert (free["firm_status"] == "ok").all()
    assert (free["firm_kw"] > 5.0).all()


# --- replay, rows, sets ---


def judged(street, loads, limits, added):
    """Return {(kind, criterion, element, step)} by the definitions alone."""
    base, found = base_powers(loads), set()
    for step in range(base.shape[1]):
        before = street.values(street.voltages(base[:, step]), limits).iloc[0]
        more = added * (1 + 1j * TAN)
        after = street.values(street.voltages(base[:, step] + more), limits).iloc[0]
        for key in after.index:
            small = 1e-4  # of unbalance, and pu
            if before[key] >= 0.0 > after[key]:
                found.add(("new", *key, step))
            elif before[key] < 0.0 and before[key] - after[key] > small:
                found.add(("worsened", *key, step))
    return found


@pytest.mark.parametrize("seed", range(4))
def test_replay_finds_what_the_definitions_find(seed):
    street = Street((0, 1))
    feeder = street.feeder()
    loads = series(street, steps=20, seed=seed, high=20.0)
    limits = limits_of("unbalance", "voltage", voltage_max_pu=1.04)
    limits = dataclasses.replace(limits, voltage_min_pu=0.51, unbalance_max=0.015)
    kw = np.random.default_rng(seed).uniform(0.0, 10.0, 6)
    kw[seed] = 0.0
    result = replay_loads(feeder, loads, pd.Series(kw, street.names), limits=limits)
    table = result.violations
    step = loads.time.get_indexer(pd.DatetimeIndex(table["time"]))
    parts = [table["kind"], table["criterion"], table["element"], step]
    expected = judged(street, loads, limits, kw)
    kinds = {(kind, criterion) for kind, criterion, *_ in expected}
    assert len(kinds) == 4
    found = list(zip(*parts, strict=True))
    assert len(found) == len(set(found))
    assert set(found) == expected
    count = table["kind"].value_counts()
    assert result.summary["new"] == count["new"]
    assert result.summary["worsened"] == count["worsened"]
    base = base_powers(loads)
    broken = [
        (street.values(street.voltages(base[:, t]), limits) < 0.0).to_numpy().sum()
        for t in range(20)
    ]
    assert result.summary["base_violations"] == sum(broken)
    for row, t in zip(table.itertuples(), step, strict=True):
        with_plan = street.values(
            street.voltages(base[:, t] + kw * (1 + 1j * TAN)), limits
        )
        left = with_plan.iloc[0][row.criterion, row.element]
        percent = row.criterion == "unbalance"
        assert row.unit == ("%" if percent else "pu")
        assert row.excess == pytest.approx(-left * (100 if percent else 1), abs=1e-7)
        assert row.value == pytest.approx(row.limit + row.excess, abs=1e-12)
        assert row.limit == pytest.approx(1.5 if percent else 1.04)


def test_a_change_below_the_materiality_does_not_worsen():
    street = Street(drawn=(45.0, 0.0, 0.0))
    feeder = street.feeder()
    loads = snapshot(feeder)
    base = base_powers(loads)[:, 0]
    triples = bus_triples(feeder.nodes.iloc[3:])
    for kw in (0.02, 0.04, 0.08, 0.15, 0.3, 0.6):
        plan = pd.Series({"b1.A": kw})
        summary = replay_loads(feeder, loads, plan, limits=limits_of("unbalance"))
        rise = voltage_unbalance(street.voltages(base, 0, kw), triples)
        rise = float((rise - voltage_unbalance(street.voltages(base), triples))[0, 0])
        assert abs(rise - 1e-4) > 1e-6
        assert summary.summary["worsened"] == int(rise > 1e-4)
        assert summary.summary["new"] == 0


def test_rows_of_a_plan_out_of_balance_cut_it_and_are_in_percent():
    street = Street((0, 1), drawn=(1.0, 0.5, 0.0))
    feeder = street.feeder()
    loads = snapshot(feeder)
    grid = GridCase(feeder, loads, limits_of("unbalance", "voltage"))
    ids = feeder.ports.index
    rows, _ = grid_rows(grid, ids)
    assert set(rows["criterion"]) == {"voltage"}
    plan = pd.Series({"b2.A": 16.0, "b2.B": 2.0})
    violations = replay_loads(feeder, loads, plan, grid=grid).violations
    assert "unbalance" in set(violations["criterion"])
    cuts, coefficients = cut_rows(grid, ids, plan, violations, 1)
    (cut,) = cuts[cuts["criterion"] == "unbalance"].to_dict("records")
    assert cut["unit"] == "%"
    own = coefficients[coefficients["row_id"] == cut["row_id"]]
    per_kw = own.set_index("port_id")["coefficient"]
    used = (per_kw * plan.reindex(per_kw.index, fill_value=0.0)).sum()
    assert used > cut["headroom"]
    # measured there: one kW more on A adds that much unbalance, in %
    base = base_powers(loads)[:, 0]
    base[3:5] += np.array([16.0, 2.0]) * (1 + 1j * TAN)
    one = street.values(street.voltages(base), grid.limits)
    two = street.values(street.voltages(base, 3, 10.0), grid.limits)
    change = (one - two).iloc[0]["unbalance", cut["element"]] * 10.0
    assert per_kw["b2.A"] == pytest.approx(change, rel=1e-6)


def test_joint_capacity_of_three_phases_is_clean_and_more_than_one_alone():
    street = Street((0, 1))
    feeder = street.feeder()
    loads = snapshot(feeder)
    limits = limits_of("unbalance", "voltage", voltage_min_pu=0.85)
    grid = GridCase(feeder, loads, limits)
    table = hosting_capacity(feeder, loads, grid=grid, tolerance_kw=0.01)
    joint = joint_capacity(feeder, loads, hosting=table, grid=grid).total
    assert joint["joint_max_kw"] >= table["firm_kw"].max() - 0.1
    case = grid.block("f")
    equal = np.full(6, joint["joint_equal_kw"] / 6)
    margin, _ = check_sets(case, equal, np.zeros(1, dtype=int))
    assert margin[0] >= 0.0
    base = base_powers(loads)[:, 0]
    v = street.voltages(base + equal * (1 + 1j * TAN))
    assert (street.values(v, limits) >= -1e-9).all(axis=None)


# --- a real feeder ---


def test_a_rise_to_1_1_pu_is_found_on_the_ieee_european_feeder():
    feeder = read_feeder("pandapower:ieee_european_lv_asymmetric")
    loads = snapshot(feeder)
    table = own_connections(feeder)
    one = table[table["port_id"] == "LOAD21.A"]
    on = tuple(c for c in CRITERIA if c not in ("voltage change", "unbalance"))
    grid = GridCase(feeder, loads, Limits(criteria=on))
    row = hosting_capacity(
        feeder, loads, grid=grid, connections=one, tolerance_kw=1e-3
    ).iloc[0]
    # 71.64 kW passed while only lowest voltages and currents were looked at
    assert row["firm_kw"] == pytest.approx(70.24, abs=0.01)
    assert row["limit_criterion"] == "voltage high"
    assert row["limit_element"].endswith(".C")
    both = Limits(criteria=(*on, "unbalance"))
    grid = GridCase(feeder, loads, both)
    row = hosting_capacity(
        feeder, loads, grid=grid, connections=one, tolerance_kw=1e-3
    ).iloc[0]
    assert row["limit_criterion"] == "unbalance"
    (case,) = (grid.block(i) for i in grid.feeder_ids)
    port = feeder.ports.index[case.block.ports].get_indexer(["LOAD21.A"])
    triples = bus_triples(feeder.nodes.iloc[case.block.nodes])
    zero = np.zeros(1, dtype=int)
    worst = []
    for kw in (row["firm_kw"], row["firm_kw"] + 2e-3):
        added = np.array([kw]) / case.block.base_kva
        v = case.block.solve(case.states, zero, added_port=port, added=added).v
        unbalance = voltage_unbalance(v, triples)[:, 0]
        worst.append(unbalance.max())
        assert triples.index[unbalance.argmax()] == row["limit_element"]
    assert worst[0] <= 0.02 < worst[1]
