"""Added loads on a feeder whose regulators and capacitors act, step after step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gridsite.feeder.acting_controls import ActingCircuit, Proven
from gridsite.hosting.acting import cases_at, course_of, limits_of, plan_course
from gridsite.hosting.acting_proof import StandingProof

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pandas as pd
    from numpy.typing import NDArray

    from gridsite.feeder.acting_controls import Ends
    from gridsite.feeder.powerflow import Block
    from gridsite.hosting.base_case import BaseCase
    from gridsite.hosting.grid_case import GridCase

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]

#: Criterion of a state without a solution, or whose controls do not settle.
UNSETTLED = "power flow"

#: Voltages of all lanes that run side by side. [values]
_LANE_VALUES = 4_000_000


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """
    Whether added loads newly break a limit, and which first.

    Parameters
    ----------
    holds : numpy.ndarray of bool, shape (n,)
        Loads under which no limit is newly broken at any step.
    row, step : numpy.ndarray of int, shape (n,)
        The limit and the step at which one is; row -1 for no solution.
    """

    holds: Bools
    row: Ints
    step: Ints


class ActingCase:
    """
    One block whose controls act on added loads as on its own.

    Parameters
    ----------
    grid : GridCase
        With controls that act.
    feeder_id : str
        Which block.
    """

    def __init__(self, grid: GridCase, feeder_id: str) -> None:
        self.grid, self.feeder_id = grid, feeder_id
        course = course_of(grid)
        tan_phi = float(np.sqrt(1.0 / grid.power_factor**2 - 1.0))
        self.circuit = ActingCircuit(
            grid.feeder, feeder_id, grid.profiles, tan_phi=tan_phi
        )
        self._limits: dict[tuple[int, ...], BaseCase] = {}
        every = np.arange(len(course.positions))
        slack, across = [], []
        #: steps of each setting of the base case, and what is proven there
        self.proofs: list[tuple[Ints, StandingProof]] = []
        for steps, where, case in cases_at(grid, feeder_id, course.positions, every):
            slack.append(case.slack)
            across.append(np.abs(case.port_voltage(case.v)))
            self.proofs.append((steps, StandingProof(self.circuit, case, where)))
            self.case = case
        back = np.argsort(np.concatenate([steps for steps, _ in self.proofs]))
        #: (n_row, n_step): what the base case leaves, with its controls acting. [pu]
        self.slack: Floats = np.concatenate(slack, axis=1)[:, back]
        self.broken: Bools = self.slack < 0.0
        #: (n_port, n_step): voltages across the ports in the base case. [pu]
        self.across: Floats = np.concatenate(across, axis=1)[:, back]
        self.course = course
        #: (n_node, n_step): voltages in the base case. [pu]
        self.v = course.v[feeder_id]
        #: (n_step, n_control): where the controls stand before each step
        self.start = np.vstack([self.circuit.filed, course.positions[:-1]])
        still = (self.start == course.positions).all(axis=1)
        #: steps at which no control moves in the base case
        self.still: Bools = still & course.settled

    def slack_at(self, ends: Ends) -> Floats:
        """
        Return what is left of each limit at the ends of steps.

        Parameters
        ----------
        ends : Ends
            Of some lanes.

        Returns
        -------
        numpy.ndarray, shape (n_row, n)
            NaN where there is no solution. [pu]
        """
        where = ends.positions
        if where not in self._limits:
            self._limits[where] = limits_of(self.case, self.circuit.block(where))
        return self._limits[where].row_slack(
            ends.v, np.zeros(len(ends.lane), dtype=np.int64)
        )

    def judge(
        self,
        port: Ints,
        kw: Floats,
        holds_standing: Callable[[Ints], Bools] | None = None,
    ) -> Verdict:
        """
        Say whether loads newly break a limit.

        Parameters
        ----------
        port : numpy.ndarray of int, shape (n,)
            Port of each load, position in the block.
        kw : numpy.ndarray, shape (n,)
            Its constant power. [kW]
        holds_standing : callable, optional
            Takes loads (positions in ``port``); returns at which steps each is known
            to break no limit while the controls stand where the base case leaves
            them. Nothing is known by default, and every step is solved.

        Returns
        -------
        Verdict
            With the controls acting for steady limits, standing where the base case
            leaves them for the voltage change.
        """
        verdict = Verdict(
            holds=np.ones(len(port), dtype=bool),
            row=np.full(len(port), -1),
            step=np.zeros(len(port), dtype=np.int64),
        )
        width = max(1, _LANE_VALUES // self.circuit.n_node)
        for first in range(0, len(port), width):
            at = np.arange(first, min(first + width, len(port)))
            shape = len(at), self.circuit.n_step
            held = (
                np.zeros(shape, bool) if holds_standing is None else holds_standing(at)
            )
            self._judge_some(at, port[at], kw[at], held, verdict)
        return verdict

    def _judge_some(
        self, at: Ints, port: Ints, kw: Floats, held: Bools, verdict: Verdict
    ) -> None:
        scale = self.case.scale[:, None]

        def keep(ends: Ends) -> Ints:
            slack = self.slack_at(ends) / scale
            slack[self.broken[:, ends.step]] = np.inf
            row = slack.argmin(axis=0)
            bad = ~(slack.min(axis=0, initial=np.inf) >= 0.0)
            lost = np.isnan(ends.v[0]) | (not ends.settled)
            row[lost] = -1
            return self._note(ends.lane, ends.step, bad | lost, row, at, verdict)

        if self.grid.limits.on("voltage change"):
            self._judge_change(at, port, kw, held, verdict)
            left = verdict.holds[at]
            at, port, kw, held = at[left], port[left], kw[left], held[left]
        proven = None
        if held.any():
            skip = self._skips(port, kw, held)
            proven = Proven(self.start, self.course.positions, skip, self.v)
        self.circuit.run(keep, port, kw, proven=proven)

    def _skips(self, port: Ints, kw: Floats, held: Bools) -> Bools:
        """Return the steps that need no power flow where a load begins as the base."""
        out = held & self.still
        for steps, proof in self.proofs:
            out[:, steps] &= ~proof.may_move(kw, port)
        return out

    def _judge_change(
        self, at: Ints, port: Ints, kw: Floats, held: Bools, verdict: Verdict
    ) -> None:
        """Hold the fall of the own voltage against its limit, with controls frozen."""
        most = self.grid.limits.voltage_change_pu * (1.0 - 1e-6)
        for (positions, steps), (_, proof) in zip(
            self.course.groups(), self.proofs, strict=True
        ):
            wanted = ~held[:, steps]
            own = (
                self.across[:, steps].max(axis=1)[port]
                / self.case.block.port_nominal[port]
            )
            wanted[proof.own_share(kw, port) * own < most] = False
            block = self.circuit.block(positions)
            rank = np.cumsum(wanted, axis=1)
            first, last = 0, 1  # few steps of each load, then ever more
            while True:
                now = wanted & (rank > first) & (rank <= last)
                lane, column = np.nonzero(now & verdict.holds[at][:, None])
                if not len(lane) and last >= rank.max(initial=0):
                    break
                self._fall(at, port, kw, lane, steps[column], block, verdict)
                first, last = last, 4 * last

    def _fall(
        self,
        at: Ints,
        port: Ints,
        kw: Floats,
        lanes: Ints,
        steps: Ints,
        block: Block,
        verdict: Verdict,
    ) -> None:
        """Judge the fall of the own voltage of some loads at some steps."""
        most, circuit = self.grid.limits.voltage_change_pu, self.circuit
        width = max(1, _LANE_VALUES // circuit.n_node)
        for first in range(0, len(lanes), width):
            lane, step = lanes[first : first + width], steps[first : first + width]
            v = block.solve(
                circuit.states,
                step,
                added_port=port[lane],
                added=kw[lane] / circuit.base_kva,
                v_start=self.v,
                start_of=step,
            ).v
            fall = block.voltage_fall(port[lane], self.v, v, step)
            bad = ~(fall <= most)
            row = np.where(np.isnan(fall), -1, self.case.n_row)
            self._note(lane, step, bad, row, at, verdict)

    @staticmethod
    def _note(
        lane: Ints, step: Ints, bad: Bools, row: Ints, at: Ints, verdict: Verdict
    ) -> Ints:
        """Write the first of what is broken in each lane; return these lanes."""
        hit, first = np.unique(lane[bad], return_index=True)
        new = verdict.holds[at[hit]]
        where = at[hit[new]]
        verdict.holds[where] = False
        verdict.row[where] = row[bad][first[new]]
        verdict.step[where] = step[bad][first[new]]
        return hit


def plan_cases(
    grid: GridCase, feeder_id: str, added_kw: pd.Series[float]
) -> Iterator[tuple[BaseCase, Floats]]:
    """
    Yield base cases where the controls stand with a plan.

    Parameters
    ----------
    grid : GridCase
        The grid.
    feeder_id : str
        Which block.
    added_kw : pandas.Series of float
        Constant load by ``port_id``. [kW]

    Yields
    ------
    case : BaseCase
        Of the steps that stand alike; the whole block where controls are frozen.
    slack : numpy.ndarray, shape (n_row, n_step)
        What the base case leaves at these steps, with its own settings. [pu]
    """
    if grid.course is None:
        case = grid.block(feeder_id)
        yield case, case.slack
        return
    slack = ActingCase(grid, feeder_id).slack
    plan = plan_course(grid, feeder_id, added_kw)
    every = np.arange(len(plan.positions))
    for at, _, case in cases_at(grid, feeder_id, plan.positions, every):
        yield case, slack[:, at]
