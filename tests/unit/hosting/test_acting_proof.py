"""Steps that are proven to leave the controls where the base case has them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from gridsite.feeder.profiles import dense_profiles
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.hosting import acting_rating
from gridsite.hosting.acting_case import ActingCase, Verdict
from gridsite.hosting.capacity import hosting_capacity
from gridsite.hosting.grid_case import GridCase
from gridsite.hosting.limits import Limits

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

#: A switched capacitor in IEEE 13 that base loads leave off and added ones may not.
CAPACITORS = {
    "voltage": "type=voltage ptratio=20 onsetting=116 offsetting=126",
    "current": "type=current ctratio=1 onsetting=300 offsetting=50",
    "kvar": "type=kvar onsetting=150 offsetting=-400",
    "override": "type=kvar onsetting=9999 offsetting=-9999 "
    "ptratio=20 voltoverride=yes vmin=116 vmax=126",
}


def with_capacitor(tmp_path: Path, kind: str) -> Feeder:
    control = (
        "new capcontrol.c675 capacitor=675 element=line.692675 terminal=1 "
        f"{CAPACITORS[kind]}\n"
    )
    master = tmp_path / f"{kind}.dss"
    text = MASTER.read_text()
    master.write_text(text.replace("set voltagebases", control + "set voltagebases"))
    return read_feeder(master)


def wide(feeder: Feeder, volts: float) -> Feeder:
    """Give regulators a wider band, so that many loads leave them alone."""
    controls = [
        replace(c, lower=c.lower - volts, upper=c.upper + volts)
        if c.kind == "regulator"
        else c
        for c in feeder.controls
    ]
    return replace(feeder, controls=tuple(controls))


def steps_of(feeder: Feeder, multiples: np.ndarray) -> Profiles:
    time = pd.date_range("2023-01-01", periods=len(multiples), freq="h", tz="UTC")
    p, q = (
        pd.DataFrame(
            np.outer(multiples, feeder.ports[c].to_numpy()), columns=feeder.ports.index
        )
        for c in ("p_kw", "q_kvar")
    )
    return dense_profiles(time, p, q_kvar=q)


@pytest.mark.parametrize("kind", list(CAPACITORS))
def test_what_is_proven_to_stay_stays_in_ac(kind: str, tmp_path: Path) -> None:
    feeder = wide(with_capacitor(tmp_path, kind), 0.5)
    assert any(c.kind == "capacitor" for c in feeder.controls)
    rng = np.random.default_rng(2)
    loads = steps_of(feeder, rng.uniform(0.3, 0.9, 30))
    grid = GridCase(feeder, loads, LIMITS, controls="acting")
    case = ActingCase(grid, grid.feeder_ids[0])
    circuit = case.circuit
    n_port = len(circuit.block(circuit.filed).ports)
    port, kw = rng.integers(0, n_port, 300), rng.uniform(0.0, 250.0, 300)
    proven = moved = 0
    groups = case.course.groups()
    for (where, steps), (same, proof) in zip(groups, case.proofs, strict=True):
        assert same.tolist() == steps.tolist()
        may = proof.may_move(kw, port)
        lane, column = np.divmod(np.arange(may.size), len(steps))
        solved = circuit.block(where).solve(
            circuit.states,
            steps[column],
            added_port=port[lane],
            added=kw[lane] / circuit.base_kva,
        )
        assert solved.converged.all()
        moves = circuit.moves(solved.v, where).any(axis=0)
        assert not moves[~may.ravel()].any()
        before = circuit.block(where).solve(circuit.states, steps).v
        assert before.shape[1] == len(steps)
        # the change of the own voltage is bounded as well
        fall = np.abs(
            proof.v_port[port[lane], column]
            - case.case.port_voltage(solved.v)[port[lane], np.arange(len(lane))]
        )
        share = proof.own_share(kw, port)[lane]
        assert (fall <= share * np.abs(proof.v_port[port[lane], column])).all()
        proven += int((~may).sum())
        moved += int(moves.sum())
    assert moved > 100
    assert proven > 0.5 * (300 * 30 - moved)


@pytest.mark.parametrize("band", [0.0, 1.5])
def test_what_is_left_out_changes_no_value(
    band: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    feeder = wide(read_feeder(MASTER), band)
    multiples = np.random.default_rng(5).uniform(0.3, 0.9, 12)
    loads = steps_of(feeder, multiples)
    counts: list[int] = []
    kept = acting_rating.ActingCase.slack_at

    def counting(self: ActingCase, ends: object) -> object:
        counts.append(len(ends.lane))
        return kept(self, ends)

    monkeypatch.setattr(acting_rating.ActingCase, "slack_at", counting)

    def rated() -> tuple[pd.DataFrame, int]:
        counts.clear()
        grid = GridCase(feeder, loads, LIMITS, controls="acting")
        return hosting_capacity(feeder, loads, grid=grid), sum(counts)

    short, few = rated()
    monkeypatch.setattr(
        acting_rating._Standing,
        "holds",
        lambda self, which, _: np.zeros((len(which), self.headroom_kw.shape[1]), bool),
    )
    whole, many = rated()
    pd.testing.assert_frame_equal(short, whole, atol=1e-6)
    assert few < (0.9 if band else 1.0) * many


class _Gapped:
    """A connection whose load fails in a gap, and above a value. [kW]"""

    gap, top = (526.0, 560.0), 601.0

    def judge(self, _, kw, __):
        holds = (kw <= self.top) & ~((kw > self.gap[0]) & (kw < self.gap[1]))
        return Verdict(
            holds=holds,
            row=np.where(kw > self.top, 1, 0),
            step=np.where(kw > self.top, 7, 3),
        )


def test_a_smaller_load_that_fails_is_what_limits():
    """Between the powers of the first ladder, none of which falls in the gap."""
    known = acting_rating._Standing(kw=np.array([300.0]), headroom_kw=np.zeros((1, 9)))
    ladder = np.arange(1, 9) / 8.0
    assert _Gapped().judge(0, 300.0 * ladder, None).holds.all()
    assert _Gapped().judge(0, 300.0 + 300.0 * ladder, None).holds.all()
    found = acting_rating._search(
        _Gapped(), np.array([0]), known, np.array([1e4]), tolerance_kw=0.1
    )
    assert 526.0 - 0.6 <= found.kw[0] <= 526.0
    assert (found.row[0], found.step[0]) == (0, 3)
