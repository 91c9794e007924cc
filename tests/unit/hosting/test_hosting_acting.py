"""Regulators and capacitors that act, in capacity and replay."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from gridsite.errors import ConfigError
from gridsite.feeder.acting_controls import let_controls_act
from gridsite.feeder.profiles import constant_profiles, dense_profiles
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.hosting import acting_rating
from gridsite.hosting.ac_replay import replay_loads
from gridsite.hosting.acting_case import ActingCase
from gridsite.hosting.capacity import hosting_capacity
from gridsite.hosting.flexible_rows import flexible_columns
from gridsite.hosting.grid_case import GridCase
from gridsite.hosting.joint import cut_rows, grid_rows
from gridsite.hosting.joint_capacity import joint_capacity
from gridsite.hosting.limits import Limits
from gridsite.hosting.settings import Settings
from gridsite.results import control_summary

if TYPE_CHECKING:
    from gridsite.feeder.model import Feeder
    from gridsite.feeder.profiles import Profiles

pytest.importorskip("dss")

MASTER = Path(__file__).parents[2] / "reference" / "opendss" / "ieee13.dss"
LIMITS = Limits(
    voltage_min_pu=0.95,
    voltage_max_pu=1.2,
    criteria=("voltage", "line current", "transformer current", "voltage change"),
)
VALUES = ["firm_kw", "flexible_energy98_kw", "flexible_hours98_kw"]


@pytest.fixture(scope="module")
def feeder() -> Feeder:
    return read_feeder(MASTER)


def steps_of(feeder: Feeder, multiples: list[float]) -> Profiles:
    time = pd.date_range("2023-01-01", periods=len(multiples), freq="h", tz="UTC")
    p, q = (
        pd.DataFrame(
            np.outer(multiples, feeder.ports[c].to_numpy()), columns=feeder.ports.index
        )
        for c in ("p_kw", "q_kvar")
    )
    return dense_profiles(time, p, q_kvar=q)


def idle_controls(feeder: Feeder) -> Feeder:
    """Give regulators a band that no voltage leaves."""
    wide = [replace(c, lower=1.0, upper=500.0) for c in feeder.controls]
    return replace(feeder, controls=tuple(wide))


def rated(feeder: Feeder, loads: Profiles, controls: str, **how: Any) -> pd.DataFrame:
    grid = GridCase(feeder, loads, LIMITS, controls=controls)
    return hosting_capacity(feeder, loads, grid=grid, **how)


def test_controls_that_never_want_to_move_rate_as_frozen(feeder: Feeder) -> None:
    still = idle_controls(feeder)
    loads = steps_of(still, [0.8, 0.5, 0.9])
    frozen, acting = (rated(still, loads, how) for how in ("frozen", "acting"))
    same = ["firm_status", "flexible_status", "limit_criterion", "limit_element"]
    pd.testing.assert_frame_equal(acting[same], frozen[same])
    off = (acting["firm_kw"] - frozen["firm_kw"]).abs()
    assert (off <= np.maximum(0.1, 1e-3 * frozen["firm_kw"])).all()
    for name in VALUES:
        assert acting[name].to_numpy() == pytest.approx(
            frozen[name].to_numpy(), abs=0.2, rel=2e-3
        )
    np.testing.assert_allclose(acting["standing_kw"], frozen["firm_kw"], atol=0.11)


def test_laws_of_flexible_capacity_hold_with_acting_controls(feeder: Feeder) -> None:
    table = rated(feeder, steps_of(feeder, [0.3, 0.95, 0.6, 0.9, 0.4]), "acting")
    ok = table[table["firm_status"] == "ok"]
    assert (ok["firm_kw"] <= ok["flexible_hours98_kw"] + 1e-6).all()
    assert (ok["flexible_hours98_kw"] <= ok["flexible_energy98_kw"] + 1e-6).all()
    full = ok["flexible_energy100_kw"]
    assert full.to_numpy() == pytest.approx(ok["firm_kw"].to_numpy(), abs=1e-6)
    assert set(ok["limit_time"]) <= set(
        pd.date_range("2023-01-01", periods=5, freq="h", tz="UTC")
    )


def test_settings_are_those_of_the_course(feeder: Feeder) -> None:
    loads = steps_of(feeder, [0.3, 0.95, 0.3, 0.95])
    grid = GridCase(feeder, loads, LIMITS, controls="acting")
    (feeder_id,) = grid.feeder_ids
    course = let_controls_act(feeder, feeder_id, grid.profiles)
    assert grid.course is not None
    np.testing.assert_array_equal(grid.course.positions, course.positions)
    groups = grid.course.groups()
    assert sorted(np.concatenate([s for _, s in groups]).tolist()) == [0, 1, 2, 3]
    assert len(grid.settings) == len(groups) > 1
    summary = control_summary(grid)
    assert summary["mode"] == "acting"
    assert summary["count"] == 3
    filed = [c.position for c in feeder.controls]
    moves = np.abs(np.diff(np.vstack([filed, course.positions]), axis=0)).sum()
    assert summary["operations"] == moves > 0
    assert control_summary(GridCase(feeder, loads, LIMITS))["mode"] == "frozen"


def test_lanes_side_by_side_are_lanes_alone(feeder: Feeder) -> None:
    loads = steps_of(feeder, [0.3, 0.95, 0.6, 0.9, 0.4])
    grid = GridCase(feeder, loads, LIMITS, controls="acting")
    case = ActingCase(grid, grid.feeder_ids[0])
    rng = np.random.default_rng(1)
    port = rng.integers(0, len(case.circuit.block(case.circuit.filed).ports), 12)
    kw = rng.uniform(20.0, 500.0, 12)
    together = case.judge(port, kw)
    alone = [case.judge(port[[k]], kw[[k]]) for k in range(12)]
    assert together.holds.tolist() == [bool(a.holds[0]) for a in alone]
    assert together.step.tolist() == [int(a.step[0]) for a in alone]
    assert 0 < together.holds.sum() < 12


def test_a_plan_of_one_unit_replays_as_it_was_rated(feeder: Feeder) -> None:
    loads = steps_of(feeder, [0.3, 0.95, 0.6, 0.9, 0.4])
    grid = GridCase(
        feeder,
        loads,
        LIMITS.changed(criteria=("voltage", "line current", "transformer current")),
        controls="acting",
    )
    table = hosting_capacity(feeder, loads, grid=grid).set_index("port_id")
    for port in ("611", "675c"):
        firm = table.loc[port, "firm_kw"]
        held = replay_loads(feeder, loads, pd.Series({port: firm}), grid=grid)
        assert held.summary["new"] == 0
        more = replay_loads(feeder, loads, pd.Series({port: 1.01 * firm}), grid=grid)
        assert more.summary["new"] > 0
        listed = more.violations.loc[more.violations["kind"] == "new", "element"]
        assert table.loc[port, "limit_element"] in set(listed)


def test_cuts_of_a_broken_plan_bind_at_the_plan(feeder: Feeder) -> None:
    loads = steps_of(feeder, [0.3, 0.9, 0.6])
    grid = GridCase(feeder, loads, LIMITS, controls="acting")
    plan = pd.Series({"611": 250.0, "675c": 250.0})
    ports = pd.Index(["611", "675c"])
    found = replay_loads(feeder, loads, plan, grid=grid)
    assert found.summary["new"] > 0
    rows, terms = cut_rows(grid, ports, plan, found.violations, 1)
    drawn = terms.assign(kw=terms["coefficient"] * terms["port_id"].map(plan))
    used = drawn.groupby("row_id")["kw"].sum()
    over = rows.set_index("row_id")["headroom"]
    assert (used > over.reindex(used.index)).all()
    assert set(rows["time"]) <= set(loads.time)
    base, _ = grid_rows(grid, ports)
    assert set(base["time"]) <= set(loads.time)


def test_what_knows_one_admittance_alone_is_refused(feeder: Feeder) -> None:
    loads = steps_of(feeder, [0.3, 0.9])
    grid = GridCase(feeder, loads, LIMITS, controls="acting")
    with pytest.raises(ConfigError, match="frozen"):
        joint_capacity(feeder, loads, grid=grid)


def test_a_feeder_without_controls_says_so() -> None:
    bare = read_feeder("pandapower:create_kerber_landnetz_freileitung_1")
    at = bare.load_ports
    loads = constant_profiles(at.index, at["p_kw"], at["q_kvar"])
    grid = GridCase(bare, loads, Limits(), controls="acting")
    assert control_summary(grid)["mode"] == "none"
    assert any("has none that act" in note for note in grid.notes)


def two_settings(status_of_b):
    """Return rows of two settings of a connection at a source, and its headroom."""
    settings = Settings(power_factor=1.0, tolerance_kw=0.1, screen=True)
    kw = np.concatenate([[5.0], np.full(99, 100.0), np.full(8_660, 6.0)])
    parts = []
    for at, status in ((slice(0, 100), "ok"), (slice(100, None), status_of_b)):
        columns = flexible_columns(kw[None, at], 1.0, settings)
        row = pd.DataFrame(columns).assign(
            feeder_id="", firm_kw=kw[at].min(), firm_status="ok", flexible_status=status
        )
        parts.append(row.set_axis(["head"]))
    grid = SimpleNamespace(profiles=SimpleNamespace(step_hours=1.0))
    return grid, settings, parts, pd.DataFrame(kw[None], index=["head"])


def test_flexible_capacity_at_a_source_is_that_of_all_settings():
    grid, settings, parts, headroom = two_settings("ok")
    out = parts[0].copy()  # the setting that allows least
    acting_rating._flexible(grid, settings, out, headroom, acting_rating._lost(parts))
    known = flexible_columns(headroom.to_numpy(), 1.0, settings)
    for name, (kw,) in known.items():
        assert out.loc["head", name] == kw
    assert 6.0 < out.loc["head", "flexible_energy98_kw"] < 6.2


def test_what_has_no_flexible_capacity_at_one_setting_has_none():
    for status in ("unrated", "not_converged"):
        *_, parts, _ = two_settings(status)
        assert acting_rating._lost(parts).tolist() == [status]
