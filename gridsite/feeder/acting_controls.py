"""
Let regulators and capacitors act over many steps (rules: `gridsite.feeder.controls`).

Sequences of steps (lanes) run side by side, each with its own added load. A lane is
solved ahead in one batch while no control moves; where one does, it settles at that
step and goes on behind it. Lanes that stand alike share a factorisation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from gridsite.errors import DataError
from gridsite.feeder.controls import feeder_at
from gridsite.feeder.powerflow import Block
from gridsite.feeder.states import block_states

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gridsite.feeder.controls import Control
    from gridsite.feeder.model import Feeder
    from gridsite.feeder.profiles import Profiles
    from gridsite.feeder.states import States

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]
    Complex = NDArray[np.complex128]
    Bools = NDArray[np.bool_]

#: Rounds of moves within a step; one that needs more has not settled.
MOST_ROUNDS = 200

#: Steps solved ahead with the controls where they stand.
_AHEAD = 256

#: Factorised positions that are kept.
_KEPT_BLOCKS = 256

#: Voltages solved at once. [values]
_SOLVED_VALUES = 2_000_000


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


@dataclass(frozen=True, kw_only=True)
class Ends:
    """
    Ends of steps, of lanes that stand alike.

    Parameters
    ----------
    positions : tuple of int
        Where the controls stand.
    lane, step : numpy.ndarray of int, shape (n,)
        Whose end of which step.
    v : numpy.ndarray of complex, shape (n_node, n)
        Voltages; NaN where there is no solution. [pu]
    settled : bool
        Whether no control wants to move.
    """

    positions: tuple[int, ...]
    lane: Ints
    step: Ints
    v: Complex
    settled: bool


class Proven:
    """
    Steps that lanes need not solve.

    Parameters
    ----------
    start, positions : numpy.ndarray of int, shape (n_step, n_control)
        Where a known course begins and ends each step.
    skip : numpy.ndarray of bool, shape (n_lane, n_step)
        Steps at which that course stays where it is, and so does a lane that begins
        the step where the course does, with nothing to be kept of it.
    v : numpy.ndarray of complex, shape (n_node, n_step)
        Voltages at the ends of the known course, from which lanes on it are solved;
        none of them NaN. [pu]
    """

    def __init__(self, start: Ints, positions: Ints, skip: Bools, v: Complex) -> None:
        n_lane, n_step = skip.shape
        self.start, self.positions, self.v = start, positions, v
        self.open_step = np.nonzero(~skip)[1]
        #: steps to be solved before each step, over this lane and those before it
        self.before = np.zeros((n_lane, n_step + 1), dtype=np.int64)
        np.cumsum(~skip, axis=1, out=self.before[:, 1:])
        count = self.before[:, -1]
        self.before += (np.cumsum(count) - count)[:, None]
        change = (start != positions).any(axis=1)
        at = np.where(change, np.arange(n_step), n_step - 1)
        #: the last step, from each on, that begins where it does
        self.until = np.minimum.accumulate(at[::-1])[::-1]

    def leap(self, lane: Ints, step: Ints) -> Ints:
        """
        Return the next step, from some on, that has to be solved.

        Parameters
        ----------
        lane, step : numpy.ndarray of int, shape (n,)
            Lanes that stand where the course does.

        Returns
        -------
        numpy.ndarray of int, shape (n,)
            Steps; their number for none.
        """
        place = self.before[lane, step]
        none = place >= self.before[lane, -1]
        steps = np.append(self.open_step, 0)[place]
        out: Ints = np.where(none, len(self.positions), steps)
        return out

    def ahead(self, lane: Ints, step: Ints) -> Ints:
        """
        Return how many steps have to be solved before the course moves.

        Parameters
        ----------
        lane, step : numpy.ndarray of int, shape (n,)
            Lanes that stand where the course does.

        Returns
        -------
        numpy.ndarray of int, shape (n,)
            Number, with the step at whose end it has moved.
        """
        count: Ints = self.before[lane, self.until[step] + 1] - self.before[lane, step]
        return count


#: Takes the ends of steps; returns lanes that need not go on.
Keep = Callable[[Ends], "Ints | None"]


def let_controls_act(
    feeder: Feeder,
    feeder_id: str,
    profiles: Profiles,
    *,
    start: Sequence[int] | Ints | None = None,
    spread: Floats | None = None,
    tan_phi: float = 0.0,
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
    spread : numpy.ndarray, shape (n_port,), optional
        Constant power added at each port of the part. [pu]
    tan_phi : float, default 0.0
        Reactive over active power of what is added. [-]

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
    circuit = ActingCircuit(feeder, feeder_id, profiles, tan_phi=tan_phi)
    n_step = len(profiles.time)
    positions = np.empty((n_step, len(feeder.controls)), dtype=np.int64)
    settled = np.zeros(n_step, dtype=np.bool_)
    v = np.empty((circuit.n_node, n_step), dtype=np.complex128)

    def keep(ends: Ends) -> None:
        positions[ends.step], settled[ends.step] = ends.positions, ends.settled
        v[:, ends.step] = ends.v

    none = np.zeros(1)
    circuit.run(keep, np.full(1, -1), none, start=start, spread=spread)
    return Course(positions=positions, v=v, settled=settled)


class ActingCircuit:
    """
    One part of a feeder, at any position of its controls.

    Parameters
    ----------
    feeder : Feeder
        The model, with ``controls``.
    feeder_id : str
        Which part.
    profiles : Profiles
        On all ports of the feeder, in their order.
    tan_phi : float, default 0.0
        Reactive over active power of added loads. [-]
    """

    def __init__(
        self,
        feeder: Feeder,
        feeder_id: str,
        profiles: Profiles,
        *,
        tan_phi: float = 0.0,
    ) -> None:
        self.feeder, self.feeder_id = feeder, feeder_id
        self.blocks: dict[tuple[int, ...], Block] = {}
        #: positions as filed
        self.filed = tuple(c.position for c in feeder.controls)
        self._first: Block | None = None
        self._first = first = self.block(self.filed)
        self.nodes, self.n_node = first.nodes, len(first.nodes)
        self.base_kva = first.base_kva
        self.states: States = block_states(first, profiles, tan_phi)
        self.n_step = len(profiles.time)
        self.step_s = profiles.step_hours * 3600.0
        self.v_no_load = first.v_no_load
        controls = feeder.controls
        self.own = [k for k, c in enumerate(controls) if self._inside(c)]

    def _inside(self, control: Control) -> bool:
        ids = self.feeder.nodes["feeder_id"].to_numpy()[control.nodes]
        return bool((ids == self.feeder_id).any())

    def block(self, positions: tuple[int, ...]) -> Block:
        """
        Return the factorised part at some positions.

        Parameters
        ----------
        positions : tuple of int
            Of each of the feeder's controls.

        Returns
        -------
        Block
            Made once, while it is among those used last.
        """
        if positions in self.blocks:
            self.blocks[positions] = self.blocks.pop(positions)
        else:
            if len(self.blocks) >= _KEPT_BLOCKS:
                self.blocks.pop(next(iter(self.blocks)))
            moved, first = feeder_at(self.feeder, positions), self._first
            self.blocks[positions] = (
                Block(moved, self.feeder_id) if first is None else first.moved(moved)
            )
        return self.blocks[positions]

    def run(
        self,
        keep: Keep,
        port: Ints,
        added_kw: Floats,
        *,
        start: Sequence[int] | Ints | None = None,
        spread: Floats | None = None,
        proven: Proven | None = None,
    ) -> None:
        """
        Let the controls act over all steps, for several added loads side by side.

        Parameters
        ----------
        keep : callable
            Takes the ends of steps, in the order of each lane; may return lanes that
            need not go on.
        port : numpy.ndarray of int, shape (n_lane,)
            Port with the added load of each lane, position in the part; -1 for none.
        added_kw : numpy.ndarray, shape (n_lane,)
            Constant active power added there. [kW]
        start : sequence of int, shape (n_control,), optional
            Positions before the first step; as filed by default.
        spread : numpy.ndarray, shape (n_port,), optional
            Constant power added at each port in every lane. [pu]
        proven : Proven, optional
            What need not be solved; all is by default.

        Raises
        ------
        DataError
            If a start lies outside a control's range.
        """
        first = list(self.filed) if start is None else [int(p) for p in start]
        for control, position in zip(self.feeder.controls, first, strict=True):
            if not control.lowest <= position <= control.highest:
                msg = (
                    f"control {control.name}: position {position} is outside "
                    f"{control.lowest} to {control.highest}"
                )
                raise DataError(msg)
        states = self.states if spread is None else replace(self.states, spread=spread)
        lanes = _Lanes(self, states, port, added_kw / self.base_kva, first)
        lanes.proven = proven
        while lanes.round(keep):
            pass

    def moves(self, v: Complex, positions: tuple[int, ...]) -> Ints:
        """
        Return how far each control wants to move.

        Parameters
        ----------
        v : numpy.ndarray of complex, shape (n_node, n)
            Voltages of the part. [pu]
        positions : tuple of int
            Where the controls stand.

        Returns
        -------
        numpy.ndarray of int, shape (n_control, n)
            Positions; 0 for controls of other parts.
        """
        feeder = self.feeder
        whole = np.zeros((len(feeder.nodes), v.shape[1]), dtype=np.complex128)
        whole[feeder.source_nodes] = feeder.source_v[:, None]
        whole[self.nodes] = v
        out = np.zeros((len(positions), v.shape[1]), dtype=np.int64)
        for k in self.own:
            out[k] = feeder.controls[k].move(whole, positions[k])
        return out


class _Lanes:
    """Where each lane of a run stands."""

    def __init__(
        self,
        circuit: ActingCircuit,
        states: States,
        port: Ints,
        added: Floats,
        start: list[int],
    ) -> None:
        n = len(port)
        self.circuit, self.states = circuit, states
        self.port, self.added = port, added
        self.proven: Proven | None = None
        self.now = np.tile(np.array(start, dtype=np.int64), (n, 1))
        self.before = self.now.copy()
        self.step = np.zeros(n, dtype=np.int64)
        self.ahead = np.ones(n, dtype=np.int64)
        self.rounds = np.zeros(n, dtype=np.int64)
        #: when each control disconnected last. [s]
        self.opened = np.full(self.now.shape, -np.inf)
        self.v = np.repeat(circuit.v_no_load[:, None], n, axis=1)

    def round(self, keep: Keep) -> bool:
        """Solve each lane ahead once; return whether any was left."""
        n_step = self.circuit.n_step
        going = np.flatnonzero(self.step < n_step)
        known, most = self._known(going)
        left = self.step[going] < n_step
        going, known, most = going[left], known[left], most[left]
        if not len(going):
            return False
        most = np.minimum(most, self.ahead[going])
        alike_by = np.column_stack([known, self.now[going]])
        stands, of = np.unique(alike_by, axis=0, return_inverse=True)
        width = max(64, _SOLVED_VALUES // self.circuit.n_node)
        for group, (on_course, *positions) in enumerate(stands.tolist()):
            alike = np.flatnonzero(of.ravel() == group)
            for first in range(0, len(alike), width):
                at = alike[first : first + width]
                count = np.minimum(most[at], max(1, width // len(at)))
                step = self._steps(going[at], known[at], count)
                self._advance(
                    going[at],
                    count,
                    step,
                    tuple(positions),
                    keep,
                    on_course=bool(on_course),
                )
        return True

    def _known(self, going: Ints) -> tuple[Bools, Ints]:
        """Leap over what is proven; return who may, and how many steps they have."""
        proven, most = self.proven, self.circuit.n_step - self.step[going]
        if proven is None:
            return np.zeros(len(going), dtype=bool), most
        own, step = self.circuit.own, self.step[going]
        now = self.now[going][:, own]
        known = (now == proven.start[step][:, own]).all(axis=1)
        known &= self.rounds[going] == 0
        at = going[known]
        self.step[at] = proven.leap(at, self.step[at])
        # one that will stand there again needs no steps beyond this one
        most[(now == proven.positions[step][:, own]).all(axis=1)] = 1
        left = known.copy()
        left[known] = self.step[at] < self.circuit.n_step
        most[left] = proven.ahead(going[left], self.step[going[left]])
        return known, most

    def _steps(self, lane: Ints, known: Bools, count: Ints) -> Ints:
        """Return the steps of each lane that are solved next, one after the other."""
        begin = np.cumsum(count) - count
        column = np.arange(count.sum())
        out: Ints = column + np.repeat(self.step[lane] - begin, count)
        if self.proven is not None and known.any():
            place = self.proven.before[lane, self.step[lane]] - begin
            place = np.repeat(place, count) + column
            leaps = np.repeat(known, count)
            out[leaps] = self.proven.open_step[place[leaps]]
        return out

    def _advance(
        self,
        part: Ints,
        count: Ints,
        step: Ints,
        positions: tuple[int, ...],
        keep: Keep,
        *,
        on_course: bool,
    ) -> None:
        """Solve some steps of some lanes; stop each at the first move."""
        begin = np.cumsum(count) - count
        lane = np.repeat(part, count)
        column = np.arange(len(lane))
        circuit, known = self.circuit, self.proven if on_course else None
        solved = circuit.block(positions).solve(
            self.states,
            step,
            added_port=self.port[lane],
            added=self.added[lane],
            v_start=self.v if known is None else known.v,
            start_of=lane if known is None else step,
        )
        v, ok = solved.v, solved.converged
        moves = np.zeros((len(positions), len(lane)), dtype=np.int64)
        moves[:, ok] = circuit.moves(v[:, ok], positions)
        stops = ~ok | moves.any(axis=0)
        first = np.minimum.reduceat(np.where(stops, column, len(lane)), begin)
        done = column < np.repeat(first, count)
        full = first >= begin + count
        last = np.minimum(first, begin + count - 1)
        seen = ok[last]
        self.v[:, part[seen]] = v[:, last[seen]]
        moved_on = first > begin
        self.before[part[moved_on]] = positions
        self.rounds[part[moved_on]] = 0
        self.step[part] = step[last] + full
        self.ahead[part] = np.where(
            full,
            np.minimum(2 * self.ahead[part], _AHEAD),
            np.maximum(first - begin, 1),
        )
        held = Ends(
            positions=positions,
            lane=lane[done],
            step=step[done],
            v=v[:, done],
            settled=True,
        )
        at = last[~full]
        lost = self._move(lane[at], moves[:, at], ok[at])
        fixed = at[lost]
        loose = Ends(
            positions=positions,
            lane=lane[fixed],
            step=step[fixed],
            v=v[:, fixed],
            settled=False,
        )
        for ends in (held, loose):
            drop = keep(ends) if len(ends.lane) else None
            if drop is not None:
                self.step[drop] = circuit.n_step

    def _move(self, lane: Ints, moves: Ints, ok: Bools) -> Bools:
        """Move lanes at a stop; return those that leave the step unsettled."""
        self.rounds[lane] += 1
        lost: Bools = ~ok | (self.rounds[lane] > MOST_ROUNDS)
        self.now[lane[~ok]] = self.before[lane[~ok]]
        worn = lane[lost & ok]
        self.before[worn] = self.now[worn]
        at, wanted = lane[~lost], moves[:, ~lost].T
        time = (self.step[at] * self.circuit.step_s)[:, None]
        controls = self.circuit.feeder.controls
        up, down, dead = (
            np.array([getattr(c, name) for c in controls])
            for name in ("delay", "delay_off", "dead_time")
        )
        wait = np.maximum(up, dead + up - (time - self.opened[at]))
        capacitor = np.array([c.kind == "capacitor" for c in controls], dtype=bool)
        delay = np.where(capacitor & (wanted < 0), down, np.where(capacitor, wait, up))
        delay = np.where(wanted != 0, delay, np.inf)
        act = delay == delay.min(axis=1, initial=np.inf, keepdims=True)
        act &= wanted != 0
        self.now[at] += np.where(act, wanted, 0)
        off = act & capacitor & (wanted < 0)
        self.opened[at] = np.where(off, time, self.opened[at])
        self.step[lane[lost]] += 1
        self.rounds[lane[lost]] = 0
        return lost
