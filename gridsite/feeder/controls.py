r"""
Regulators and switched capacitors inside a feeder, acting from step to step.

A `Control` moves one element through positions. With the element's admittance
:math:`Y_e` at the filed position, a tap changes it to :math:`D Y_e D`, where
:math:`D` holds the ratio of the filed to the new tap at the conductors of the tapped
winding and 1 elsewhere; a capacitor of ``highest`` equal stages has
:math:`p / p_{highest}` of the whole.

**Rules** (those of OpenDSS's static control mode). Within a step: solve; every
control looks at its voltage or current; of those that want to move, the ones with
the shortest delay do; solve again, until none wants to. A regulator aims at the
middle of its band with as many taps as that takes, at least one and at most
``most_taps``; with line-drop compensation it looks at the voltage less the drop
that it is set to see. A capacitor connects above (current, kvar) or below (voltage)
its ``on`` value and disconnects beyond its ``off`` value, a stage at a time.
A step starts where the step before it ended, so the order of steps matters.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gridsite.feeder.model import Feeder

    Ints = NDArray[np.int64]
    Complex = NDArray[np.complex128]
    Bools = NDArray[np.bool_]

#: Share of the way to the middle of the band that a regulator goes in one move.
_SHARE_OF_WAY = 0.7


@dataclass(frozen=True, kw_only=True)
class Control:
    """
    Hold one regulator or switched capacitor.

    Parameters
    ----------
    name, element : str
        Of the control, and of what it moves.
    kind : str
        ``regulator`` or ``capacitor``.
    nodes : numpy.ndarray of int, shape (n,)
        Nodes of the element's conductors, positions in the feeder.
    y : numpy.ndarray of complex, shape (n, n)
        Admittance of the element: of a regulator at its filed position, of a
        capacitor with all stages. [pu]
    moved : numpy.ndarray of bool, shape (n,)
        Conductors of the tapped winding.
    position, lowest, highest : int
        Tap from neutral, or stages connected: as filed, and the range.
    tap : float
        Change of voltage of one position; 0 for a capacitor. [share]
    volt_nodes, volt_weights : numpy.ndarray, shape (m,)
        The voltage looked at, as a sum of node voltages. [V per pu]
    amp_nodes, amp_weights : numpy.ndarray, shape (k,) and (p, k)
        Currents of the phases looked at, likewise. [A per pu]
    power_nodes : numpy.ndarray of int, shape (p,)
        Nodes of these phases.
    power_volts : numpy.ndarray, shape (p,)
        Their voltage bases. [V]
    drop_conductor : int
        Conductor whose current compensates for the drop; -1 for none.
    drop_ohm : complex
        What its current is multiplied with. [V per pu]
    watched : str
        ``voltage``, ``current`` or ``kvar``.
    lower, upper : float
        Band of a regulator [V]; of a capacitor the values that disconnect or connect
        (whichever is lower) [V, A or kvar].
    volts_per_share : float
        Of a regulator: looked-at volts per unit of its winding. [V]
    most_taps : int
        Most positions in one move.
    delay, delay_off : float
        Order of moves up and down. [s]
    dead_time : float
        What a capacitor waits at least, after it disconnected, before it connects:
        time that delays its move within a step. [s]
    override : tuple of float, optional
        Voltages below which a capacitor connects and above which it disconnects,
        whatever it watches. [V]
    forward : bool
        Whether the tapped winding is the one looked at.
    """

    name: str
    element: str
    kind: str
    nodes: Ints
    y: Complex
    moved: Bools
    position: int
    lowest: int
    highest: int
    lower: float
    upper: float
    volt_nodes: Ints
    volt_weights: Complex
    amp_nodes: Ints
    amp_weights: Complex
    power_nodes: Ints
    power_volts: NDArray[np.float64]
    tap: float = 0.0
    drop_conductor: int = -1
    drop_ohm: complex = 0.0
    watched: str = "voltage"
    volts_per_share: float = 1.0
    most_taps: int = 16
    delay: float = 15.0
    delay_off: float = 15.0
    dead_time: float = 0.0
    override: tuple[float, float] | None = None
    forward: bool = True

    def y_at(self, position: int) -> Complex:
        """
        Return the element's admittance.

        Parameters
        ----------
        position : int
            Tap or stages.

        Returns
        -------
        numpy.ndarray of complex, shape (n, n)
            Between its conductors. [pu]
        """
        if self.kind == "capacitor":
            part: Complex = self.y * (position / self.highest)
            return part
        ratio = (1.0 + self.position * self.tap) / (1.0 + position * self.tap)
        d = np.where(self.moved, ratio, 1.0)
        moved: Complex = self.y * d[:, None] * d
        return moved

    def move(self, v: Complex, position: int) -> Ints:
        """
        Return how many positions the control wants to move.

        Parameters
        ----------
        v : numpy.ndarray of complex, shape (n_node, n_state)
            Node voltages of the feeder. [pu]
        position : int
            Where it stands.

        Returns
        -------
        numpy.ndarray of int, shape (n_state,)
            0 to stay.
        """
        if self.kind == "capacitor":
            want = self._switch(v, position)
        else:
            want = self._taps(v, position)
        move: Ints = np.clip(position + want, self.lowest, self.highest) - position
        return move

    def watches(self, position: int) -> list[Watch]:
        """
        Return what keeps the control where it stands.

        Parameters
        ----------
        position : int
            Where it stands.

        Returns
        -------
        list of Watch
            The control stays while each value is strictly within its bounds; beyond
            one it may move.
        """
        up, down = position < self.highest, position > self.lowest
        volts = (self.volt_nodes, self.volt_weights[None, :])
        if self.kind != "capacitor":
            nodes, weights = volts
            if self.drop_conductor >= 0:
                drop = self.drop_ohm * self.y_at(position)[self.drop_conductor]
                nodes = np.append(nodes, self.nodes)
                weights = np.append(weights, drop[None, :], axis=1)
            if not self.forward:
                up, down = down, up
            return [
                _watch(
                    nodes,
                    weights,
                    low=self.lower if up else None,
                    high=self.upper if down else None,
                )
            ]
        if self.watched == "voltage":
            return [
                _watch(
                    *volts,
                    low=self.lower if up else None,
                    high=self.upper if down else None,
                )
            ]
        low, high = self.lower if down else None, self.upper if up else None
        if self.watched == "current":
            out = [_watch(self.amp_nodes, self.amp_weights[:1], low=low, high=high)]
        else:
            across = np.zeros((len(self.power_nodes), len(self.power_nodes)), complex)
            np.fill_diagonal(across, self.power_volts / 1e3)
            nodes = np.append(self.power_nodes, self.amp_nodes)
            weights = np.zeros((2 * len(across), len(nodes)), complex)
            weights[: len(across), : len(across)] = across
            weights[len(across) :, len(across) :] = self.amp_weights
            out = [_watch(nodes, weights, low=low, high=high)]
        if self.override is not None:
            least, most = (None, self.override[1]) if down else (self.override[0], None)
            out.append(_watch(*volts, low=least, high=most))
        return out

    def _volts(self, v: Complex) -> Complex:
        out: Complex = self.volt_weights @ v[self.volt_nodes]
        return out

    def _taps(self, v: Complex, position: int) -> Ints:
        """Return the taps that bring the voltage to the middle of the band."""
        seen = self._volts(v)
        if self.drop_conductor >= 0:
            current = self.y_at(position)[self.drop_conductor] @ v[self.nodes]
            seen = seen + self.drop_ohm * current  # into the winding
        target, volts = 0.5 * (self.lower + self.upper), np.abs(seen)
        out = np.abs(target - volts) > 0.5 * (self.upper - self.lower)
        wanted = (target - volts) / self.volts_per_share
        whole = np.abs(np.rint(wanted / self.tap))
        taps = np.clip((_SHARE_OF_WAY * whole).astype(int), 1, self.most_taps)
        sign = np.where((wanted > 0.0) == self.forward, 1, -1)
        moves: Ints = np.where(out & (whole > 0), sign * taps, 0)
        return moves

    def _switch(self, v: Complex, position: int) -> Ints:
        """Return whether a stage is connected (1) or disconnected (-1)."""
        closed = position != self.lowest
        if self.watched == "voltage":
            value = np.abs(self._volts(v))
            move: Ints = (value < self.lower) * 1 - (closed & (value > self.upper)) * 1
            return move
        current = self.amp_weights @ v[self.amp_nodes]
        if self.watched == "current":
            value = np.abs(current[0])
        else:
            across = v[self.power_nodes] * self.power_volts[:, None]
            value = np.imag(across * np.conj(current)).sum(axis=0) / 1e3
        out: Ints = (value > self.upper) * 1 - (closed & (value < self.lower)) * 1
        if self.override is not None:
            volts = np.abs(self._volts(v))
            forced = volts > self.override[1] if closed else volts < self.override[0]
            out = np.where(forced, -1 if closed else 1, out)
        return out


@dataclass(frozen=True, kw_only=True)
class Watch:
    """
    Hold a value that a control looks at, and where it lets the control stay.

    Parameters
    ----------
    nodes : numpy.ndarray of int, shape (n,)
        Nodes of the feeder.
    weights : numpy.ndarray of complex, shape (m, n)
        Phasors as sums of node voltages. One: its size is looked at [V or A]. More:
        voltages [kV], then as many currents [A] of the same phases, whose reactive
        power is [kvar].
    low, high : float
        Bounds; infinite where the control cannot move that way.
    """

    nodes: Ints
    weights: Complex
    low: float
    high: float


def _watch(
    nodes: Ints, weights: Complex, *, low: float | None, high: float | None
) -> Watch:
    return Watch(
        nodes=nodes,
        weights=weights,
        low=-np.inf if low is None else low,
        high=np.inf if high is None else high,
    )


def feeder_at(feeder: Feeder, positions: Sequence[int] | Ints) -> Feeder:
    """
    Return a feeder with its controls at other positions.

    Parameters
    ----------
    feeder : Feeder
        The model.
    positions : sequence of int, shape (n_control,)
        Of each of ``feeder.controls``.

    Returns
    -------
    Feeder
        With ``y``, ``terminal_y`` and the filed positions moved.
    """
    y, currents = _Changes(feeder.y.shape), _Changes(feeder.terminal_y.shape)
    element = feeder.terminals["element"].to_numpy()
    at_node = feeder.terminals["node"].to_numpy()
    controls = []
    for control, position in zip(feeder.controls, positions, strict=True):
        controls.append(_at(control, int(position)))
        if position == control.position:
            continue
        change = control.y_at(int(position)) - control.y_at(control.position)
        y.add(control.nodes, control.nodes, change)
        ends = np.flatnonzero(element == control.element)
        ends = ends[np.isin(at_node[ends], control.nodes)]
        row = [int(np.flatnonzero(control.nodes == at_node[end])[0]) for end in ends]
        currents.add(ends, control.nodes, change[row])
    return replace(
        feeder,
        y=sp.csc_array(feeder.y + y.matrix()),
        terminal_y=sp.csr_array(feeder.terminal_y + currents.matrix()),
        controls=tuple(controls),
    )


class _Changes:
    """Entries that are added to a matrix."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        self.entries: list[tuple[Ints, Ints, Complex]] = []

    def add(self, rows: Ints, columns: Ints, values: Complex) -> None:
        self.entries.append(
            (
                np.repeat(rows, len(columns)),
                np.tile(columns, len(rows)),
                values.ravel(),
            )
        )

    def matrix(self) -> sp.coo_array:
        if not self.entries:
            return sp.coo_array(self.shape, dtype=complex)
        rows, columns, values = map(np.concatenate, zip(*self.entries, strict=True))
        return sp.coo_array((values, (rows, columns)), shape=self.shape)


def _at(control: Control, position: int) -> Control:
    """Return a control that is filed at another position."""
    if control.kind == "capacitor":
        return replace(control, position=position)
    return replace(control, position=position, y=control.y_at(position))
