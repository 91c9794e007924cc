"""
Let regulators and capacitors act over many steps (rules: `gridsite.feeder.controls`).

Steps are solved ahead in one batch while no control moves; a step at which one does is
settled by itself, and the batch starts again behind it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gridsite.errors import DataError
from gridsite.feeder.controls import feeder_at
from gridsite.feeder.powerflow import Block, block_states

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gridsite.feeder.controls import Control
    from gridsite.feeder.model import Feeder
    from gridsite.feeder.powerflow import States
    from gridsite.feeder.profiles import Profiles

    Ints = NDArray[np.int64]
    Complex = NDArray[np.complex128]
    Bools = NDArray[np.bool_]

#: Rounds of moves within a step; one that needs more has not settled.
MOST_ROUNDS = 200

#: Steps solved ahead with the controls where they stand.
_AHEAD = 256

#: Factorised positions that are kept.
_KEPT_BLOCKS = 32


@dataclass(frozen=True, kw_only=True)
class Course:
    """
    What the controls of one feeder did.

    Parameters
    ----------
    positions : numpy.ndarray of int, shape (n_step, n_control)
        Where they stand at the end of each step.
    v : numpy.ndarray of complex, shape (n_node, n_step)
        Voltages at the block's nodes; NaN where there is no solution. [pu]
    settled : numpy.ndarray of bool, shape (n_step,)
        Steps at whose end no control wants to move, and which have a solution.
    """

    positions: Ints
    v: Complex
    settled: Bools


def let_controls_act(
    feeder: Feeder,
    feeder_id: str,
    profiles: Profiles,
    *,
    start: Sequence[int] | Ints | None = None,
) -> Course:
    """
    Let regulators and capacitors act over all steps, in their order.

    Parameters
    ----------
    feeder : Feeder
        The model, with ``controls``.
    feeder_id : str
        Which part.
    profiles : Profiles
        On all ports of the feeder, in their order.
    start : sequence of int, shape (n_control,), optional
        Positions before the first step; as filed by default.

    Returns
    -------
    Course
        Of this part; controls of other parts stay.

    Raises
    ------
    DataError
        If a start lies outside a control's range.

    Notes
    -----
    A step without a solution keeps the positions before it. Positions at a step that
    does not settle are those after `MOST_ROUNDS` rounds.
    """
    every = feeder.controls
    own = [k for k, c in enumerate(every) if _inside(feeder, feeder_id, c)]
    now = [c.position for c in every] if start is None else [int(p) for p in start]
    for control, position in zip(every, now, strict=True):
        if not control.lowest <= position <= control.highest:
            msg = (
                f"control {control.name}: position {position} is outside "
                f"{control.lowest} to {control.highest}"
            )
            raise DataError(msg)
    circuit = _Circuit(feeder, feeder_id, profiles)
    n_step = len(profiles.time)
    positions = np.empty((n_step, len(every)), dtype=np.int64)
    settled = np.zeros(n_step, dtype=np.bool_)
    v = np.empty((circuit.n_node, n_step), dtype=np.complex128)
    step, ahead = 0, 1
    while step < n_step:
        steps = np.arange(step, min(step + ahead, n_step))
        found = circuit.solve(steps, now)
        done = 0
        for s in range(len(steps)):
            if np.isnan(found[0, s]):
                break
            if any(every[k].move(circuit.whole(found[:, s]), now[k]) for k in own):
                break
            done += 1
        kept = steps[:done]
        v[:, kept], positions[kept], settled[kept] = found[:, :done], now, True
        step += done
        ahead = min(2 * ahead, _AHEAD) if done == len(steps) else max(done, 1)
        if done < len(steps):
            before = list(now)
            now, v[:, step], settled[step] = circuit.settle(step, now, own)
            if np.isnan(v[0, step]):
                now = before
            positions[step] = now
            step += 1
    return Course(positions=positions, v=v, settled=settled)


def _inside(feeder: Feeder, feeder_id: str, control: Control) -> bool:
    ids = feeder.nodes["feeder_id"].to_numpy()[control.nodes]
    return bool((ids == feeder_id).any())


class _Circuit:
    """One part of a feeder at any position of its controls."""

    def __init__(self, feeder: Feeder, feeder_id: str, profiles: Profiles) -> None:
        self.feeder, self.feeder_id = feeder, feeder_id
        self.blocks: dict[tuple[int, ...], Block] = {}
        first = self.block([c.position for c in feeder.controls])
        self.nodes, self.n_node = first.nodes, len(first.nodes)
        self.states: States = block_states(first, profiles)
        self.fixed = np.zeros(len(feeder.nodes), dtype=np.complex128)
        self.fixed[feeder.source_nodes] = feeder.source_v
        self.last = first.v_no_load

    def block(self, positions: Sequence[int]) -> Block:
        """Return the factorised part at some positions."""
        key = tuple(positions)
        if key not in self.blocks:
            if len(self.blocks) >= _KEPT_BLOCKS:
                self.blocks.pop(next(iter(self.blocks)))
            self.blocks[key] = Block(feeder_at(self.feeder, key), self.feeder_id)
        return self.blocks[key]

    def solve(self, steps: Ints, positions: Sequence[int]) -> Complex:
        """Return voltages at some steps."""
        out = self.block(positions).solve(
            self.states,
            steps,
            v_start=self.last[:, None],
            start_of=np.zeros(len(steps), dtype=np.int64),
        )
        if out.converged[-1]:
            self.last = out.v[:, -1]
        return out.v

    def whole(self, v: Complex) -> Complex:
        """Return voltages of all nodes of the feeder from those of the part."""
        out = self.fixed.copy()
        out[self.nodes] = v
        return out

    def settle(
        self, step: int, positions: Sequence[int], own: Sequence[int]
    ) -> tuple[list[int], Complex, bool]:
        """Move controls at one step until none wants to."""
        now, controls = list(positions), self.feeder.controls
        at = np.array([step])
        for _ in range(MOST_ROUNDS):
            v = self.solve(at, now)[:, 0]
            if np.isnan(v[0]):
                return now, v, False
            seen = self.whole(v)
            moves = {k: controls[k].move(seen, now[k]) for k in own}
            moves = {k: m for k, m in moves.items() if m}
            if not moves:
                return now, v, True
            delay = {
                k: controls[k].delay
                if m > 0 or controls[k].kind == "regulator"
                else controls[k].delay_off
                for k, m in moves.items()
            }
            first = min(delay.values())
            for k, m in moves.items():
                if delay[k] == first:
                    now[k] += m
        return now, self.solve(at, now)[:, 0], False
