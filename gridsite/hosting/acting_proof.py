r"""
Prove at which steps a load leaves the controls where the base case has them.

With the notation of `gridsite.hosting.response`, let :math:`g_j` be the largest
:math:`|S_j| / |V_j|^2` over the steps, over :math:`1 - \hat X` where
:math:`\hat X` bounds the relative change of every port voltage. A current :math:`c`
at port :math:`k` then moves the ports by

.. math:: |u| \le H_{\cdot k} |c|, \qquad H = (I - |Z| \, \mathrm{diag}(g))^{-1} |Z|,

and a phasor that a control looks at, with transfer :math:`a`, by :math:`-a_k c` up to
:math:`\sum_j |a_j| g_j |u_j|`. The current itself is :math:`\overline{S / V_k}` up to
the share :math:`x / (1 - x)`, :math:`x = |u_k| / |V_k|`. Where the disc around the
moved phasor lies within the control's band, the control stays; where all do, the step
ends as in the base case. Where a bound does not exist, as for loads on three phases of
a feeder with phases, nothing is proven.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gridsite.feeder.kernels import threads_worth
from gridsite.hosting.acting_kernels import may_move
from gridsite.hosting.response import Response
from gridsite.hosting.screening import largest_change

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gridsite.feeder.acting_controls import ActingCircuit
    from gridsite.hosting.base_case import BaseCase

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]

#: Change of any port voltage up to which bounds are made. [share]
_MOST_CHANGE = 0.1

#: What a power flow may leave out of a watched phasor. [share]
_LEFT_OUT = 1e-6


class StandingProof:
    """
    Bounds for the steps of one setting of the base case.

    Parameters
    ----------
    circuit : ActingCircuit
        The block.
    case : BaseCase
        Of these steps, at this setting.
    positions : tuple of int
        Where the controls stand.
    """

    def __init__(
        self, circuit: ActingCircuit, case: BaseCase, positions: tuple[int, ...]
    ) -> None:
        response = Response(case)
        self.tan_phi, self.base_kva = case.tan_phi, case.block.base_kva
        self.three = case.block.three
        self.v_port, z = response.v_port, np.abs(response.z_port)
        weight, self.v_least = response.current_size, response.v_size.min(axis=1)
        self._watch(circuit, case, positions)
        # as of `Screen`, but good for every step
        fall = z @ weight.max(axis=1) / self.v_least
        self.kappa = float(fall.max(initial=0.0))
        self.z_most = (z / self.v_least[:, None]).max(axis=0, initial=0.0)
        g = (weight / response.v_size).max(axis=1) / (1.0 - _MOST_CHANGE)
        self.exists = bool((z @ g).max(initial=0.0) < 1.0) and self.kappa < 1.0
        if self.exists:
            moved = np.linalg.solve(np.eye(len(g)) - z * g, z)
            self.own = np.diagonal(moved).copy()
            self.loose = (np.abs(self.fall) * g) @ moved

    def _watch(
        self, circuit: ActingCircuit, case: BaseCase, positions: tuple[int, ...]
    ) -> None:
        """List what the controls look at."""
        feeder, block = circuit.feeder, case.block
        fixed = np.zeros(len(feeder.nodes), dtype=np.complex128)
        fixed[feeder.source_nodes] = feeder.source_v
        base, fall, size, low, high = [], [], [], [], []
        for k in circuit.own:
            for watch in feeder.controls[k].watches(positions[k]):
                at = block.position(watch.nodes)
                inner = at >= 0
                weights, node = watch.weights[:, inner], at[inner]
                held = watch.weights[:, ~inner] @ fixed[watch.nodes[~inner]]
                base.append(weights @ case.v[node] + held[:, None])
                fall.append(weights @ block.impedance[node])
                size.append(len(weights))
                low.append(watch.low)
                high.append(watch.high)
        port = len(block.ports)
        n_step = len(case.time)
        #: (n_row, n_step), (n_row, n_port): phasors, and their fall per current
        self.base = np.concatenate([np.empty((0, n_step), complex), *base])
        self.fall = np.concatenate([np.empty((0, port), complex), *fall])
        self.size = np.array(size, dtype=np.int64)
        self.low, self.high = np.array(low, dtype=float), np.array(high, dtype=float)

    def may_move(self, kw: Floats, port: Ints) -> Bools:
        """
        Return the steps at which a control could move under a load.

        Parameters
        ----------
        kw : numpy.ndarray, shape (n,)
            Added load. [kW]
        port : numpy.ndarray of int, shape (n,)
            Where, position in the block.

        Returns
        -------
        numpy.ndarray of bool, shape (n, n_step)
            False only where it is proven that all controls stay.
        """
        out = np.zeros((len(kw), self.base.shape[1]), dtype=np.bool_)
        share = self.own_share(kw, port)
        if not self.exists:
            out[:] = True
            return out
        drawn = np.array(kw / self.base_kva * (1.0 - 1j * self.tan_phi), dtype=complex)
        with threads_worth(out.size * len(self.base)):
            may_move(
                drawn,
                port,
                share,
                self.v_port,
                self.base,
                self.fall,
                self.loose,
                _LEFT_OUT,
                self.size,
                self.low,
                self.high,
                out,
            )
        out[self.three[port]] = True
        return out

    def own_share(self, kw: Floats, port: Ints) -> Floats:
        """
        Bound the change of the voltage at the own connection at every step.

        Parameters
        ----------
        kw : numpy.ndarray, shape (n,)
            Added load. [kW]
        port : numpy.ndarray of int, shape (n,)
            Where, position in the block.

        Returns
        -------
        numpy.ndarray, shape (n,)
            Share of the base voltage; infinite where there is no bound.
        """
        if not self.exists:
            return np.full(len(kw), np.inf)
        size = kw / self.base_kva * np.sqrt(1.0 + self.tan_phi**2)
        least = self.v_least[port]
        push = size * self.z_most[port] / least
        x = largest_change(push, self.kappa)
        held = (x < _MOST_CHANGE) & ~self.three[port]  # no root is no bound
        own = self.own[port] * size / (least**2 * (1.0 - np.where(held, x, 0.0)))
        out: Floats = np.where(held, own, np.inf)
        return out
