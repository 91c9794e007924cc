r"""
How a block answers to a load, to second order, at every step.

Let a load draw the current :math:`c` at port :math:`k`. With transfer impedances
:math:`Z` between ports, base voltages :math:`V` and constant-power loads
:math:`S`, the change :math:`u` of the ports' voltages obeys

.. math::
   u_m = -Z_{mk}\,c + \sum_j Z_{mj}\,
         \frac{\overline{S_j}\,\overline{u_j}}{\overline{V_j}\,\overline{V_j + u_j}}

and, putting :math:`u_j = -Z_{jk} c` on the right, at the port itself

.. math::
   V_k' = V_k - Z_{kk}\,c - M_k\,\overline{c} + \rho, \qquad
   M_k = \sum_j Z_{kj} \overline{Z_{jk}}\,\overline{S_j / V_j^2},

a two-bus circuit that holds at each step. The same sums with the transfer
matrix of a limited row in the first place give what the row feels. `Screen`
bounds what is left out; `Envelope` calibrates it in AC power flow.

Where loads follow their voltage, a part :math:`S_j \propto |V_j|^n` of a load draws
a current :math:`\propto V_j^{n/2} \overline{V_j}^{n/2 - 1}`, so that to first order it
changes by :math:`\tfrac n2 u_j / V_j + (\tfrac n2 - 1) \overline{u_j / V_j}` of
itself: :math:`M` takes :math:`1 - \tfrac n2` of its power, and :math:`Z_{kk}` grows by

.. math:: H_k = -\sum_j \tfrac n2 Z_{kj} Z_{jk} \, \overline{S_j} / |V_j|^2.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from gridsite.hosting.response_kernels import product, weigh_ports

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gridsite.hosting.base_case import BaseCase

    Floats = NDArray[np.float64]
    Complex = NDArray[np.complex128]


#: Share of the second-order terms that modes may leave out, at about so many steps.
_MODE_ERROR, _MODE_STEPS = 1e-3, 4_000

#: So many series are taken as they are.
_FEW_SERIES = 8


class Response:
    """
    Transfer matrices and second-order terms of one block.

    Parameters
    ----------
    case : BaseCase
        The block's base case.

    Attributes
    ----------
    v_port : numpy.ndarray of complex, shape (n_port, n_step)
        Base voltage across each port. [pu]
    z_port : numpy.ndarray of complex, shape (n_port, n_port)
        Fall of port voltages per current drawn at a port. [pu]
    """

    def __init__(self, case: BaseCase) -> None:
        self.case = case
        self.v_port = case.port_voltage(case.v)
        self.z_port = case.port_voltage(case.block.impedance)
        self.v_size = np.abs(self.v_port)

    @cached_property
    def row_z(self) -> Complex:
        """
        Return how far a current drawn at a port moves the phasor of each row.

        Returns
        -------
        numpy.ndarray of complex, shape (n_row, n_port)
            Fall per current. [pu]
        """
        case = self.case
        z: Complex = np.concatenate(
            [case.block.impedance[case.limited], case.upper_y @ case.block.impedance]
        )
        return z

    @cached_property
    def power(self) -> Complex:
        """
        Return what the ports draw in the base case, at its voltages.

        Returns
        -------
        numpy.ndarray of complex, shape (n_port, n_step)
            Load positive. [pu]
        """
        block = self.case.block
        out: Complex = self.case.states.power(np.arange(len(self.case.time)))
        at = np.flatnonzero(block.follows)
        if len(at):
            u = self.v_size[at] / block.rated_v[at, None]
            p = out[at].real * u ** block.p_exponent[at, None]
            out[at] = p + 1j * out[at].imag * u ** block.q_exponent[at, None]
        return out

    @cached_property
    def size(self) -> Floats:
        """
        Return the power that bounds how what the ports draw may change.

        A part with exponent n changes its current by at most max(1, n - 1) X / (1 - X)
        of itself where its voltage changes by a share of up to X: for n up to 2 as
        constant power does, of which the majorant is X / (1 - X).

        Returns
        -------
        numpy.ndarray, shape (n_port, n_step)
            Size of the power; parts apart where their exponents differ. [pu]
        """
        block = self.case.block
        out: Floats = np.abs(self.power)
        at = np.flatnonzero(block.follows)
        if len(at):
            p, q = block.p_exponent[at, None], block.q_exponent[at, None]
            weight_p, weight_q = np.maximum(1.0, p - 1.0), np.maximum(1.0, q - 1.0)
            apart = np.abs(self.power[at].real) * weight_p
            apart += np.abs(self.power[at].imag) * weight_q
            out[at] = np.where(p == q, out[at] * weight_p, apart)
        return out

    @property
    def current_size(self) -> Floats:
        """
        Return `size` over the size of the voltage.

        Returns
        -------
        numpy.ndarray, shape (n_port, n_step)
            Current. [pu]
        """
        if self.case.block.follows.any():
            return self.size / self.v_size
        return self._constant_power[1]

    @cached_property
    def _constant_power(self) -> tuple[Complex, Floats]:
        """Return `admittance` and `current_size` where all is constant power."""
        power = self.case.states.power(np.arange(len(self.case.time)))
        current = np.empty(power.shape)
        weigh_ports(self.v_port, power, current)
        return power, current

    @cached_property
    def admittance(self) -> Complex:
        """
        Return the conjugate of S / V^2 of each port in the base case.

        Parts that follow their voltage count by :math:`1 - n / 2`.

        Returns
        -------
        numpy.ndarray of complex, shape (n_port, n_step)
            What the second-order terms weigh impedances with. [pu]
        """
        block = self.case.block
        if not block.follows.any():
            return self._constant_power[0]
        power = self.power.real * (1.0 - 0.5 * block.p_exponent[:, None])
        power = power + 1j * self.power.imag * (1.0 - 0.5 * block.q_exponent[:, None])
        out: Complex = np.conj(power / self.v_port**2)
        return out

    @cached_property
    def following(self) -> Complex:
        """
        Return the conjugate of S n / 2 over the square of the voltage's size.

        Returns
        -------
        numpy.ndarray of complex, shape (n_port, n_step)
            Of the ports that follow their voltage; no rows at constant power. [pu]
        """
        block = self.case.block
        at = block.follows
        power = self.power[at]
        part = power.real * block.p_exponent[at, None]
        part = part - 1j * power.imag * block.q_exponent[at, None]
        out: Complex = 0.5 * part / self.v_size[at] ** 2
        return out

    @cached_property
    def modes(self) -> tuple[Complex, Complex]:
        """
        Return the few modes that `admittance` is made of.

        Customers share shapes, so that far fewer series than ports are needed.

        Returns
        -------
        mix : numpy.ndarray of complex, shape (n_port, n_mode)
            Orthonormal columns.
        series : numpy.ndarray of complex, shape (n_mode, n_step)
            Their course; ``mix @ series`` is within `_MODE_ERROR` of the whole.
        """
        return _modes(self.admittance)

    @cached_property
    def following_modes(self) -> tuple[Complex, Complex]:
        """
        Return the few modes that `following` is made of.

        Returns
        -------
        mix : numpy.ndarray of complex, shape (n_following, n_mode)
            As of `modes`.
        series : numpy.ndarray of complex, shape (n_mode, n_step)
            As of `modes`.
        """
        return _modes(self.following)

    @cached_property
    def h_own(self) -> Complex:
        """
        Return what the ports that follow their voltage add to a port's impedance.

        Returns
        -------
        numpy.ndarray of complex, shape (n_port, n_step)
            H of the module's formula; no columns where all is constant power. [pu]
        """
        at = self.case.block.follows
        if not at.any():
            return np.zeros((len(at), 0), dtype=np.complex128)
        weights = np.ascontiguousarray(-(self.z_port[:, at] * self.z_port[at].T))
        out: Complex = product(weights, self.following)
        return out

    @cached_property
    def m_own(self) -> Complex:
        """
        Return the second-order term of each port.

        Returns
        -------
        numpy.ndarray of complex, shape (n_port, n_step)
            M of the module's formula. [pu]
        """
        weights = np.ascontiguousarray(self.z_port * np.conj(self.z_port.T))
        out: Complex = product(weights, self.admittance)
        return out

    @cached_property
    def steps_by_load(self) -> NDArray[np.int64]:
        """
        Return the steps from the lowest voltages to the highest.

        Returns
        -------
        numpy.ndarray of int, shape (n_step,)
            By the sum over the ports.
        """
        return np.argsort(self.v_size.sum(axis=0), kind="stable")

    @cached_property
    def row_slack(self) -> Floats:
        """
        Return the slack of each row's phasor, infinite where the limit is broken.

        Returns
        -------
        numpy.ndarray, shape (n_row, n_step)
            Slack. [pu]
        """
        case = self.case
        slack = case.slack
        if case.broken.any():
            slack = np.where(case.broken, np.inf, slack)
        elif len(case.positive_y.data):
            slack = slack.copy()
        if len(case.positive_y.data):  # limits on a ratio
            slack[case.first_unbalance :] *= np.abs(case.positive_y @ case.v)
        return slack

    @cached_property
    def row_least(self) -> Floats:
        """
        Return the least of `row_slack` over the steps.

        Returns
        -------
        numpy.ndarray, shape (n_row,)
            Slack; infinite where the limit is always broken. [pu]
        """
        out: Floats = self.row_slack.min(axis=1, initial=np.inf)
        return out


def _modes(series: Complex) -> tuple[Complex, Complex]:
    """Return orthonormal columns and their course, which make up some series."""
    if len(series) <= _FEW_SERIES:
        return np.eye(len(series), dtype=complex), series.astype(np.complex64)
    some = series[:, :: max(1, series.shape[1] // _MODE_STEPS)]
    few = some.shape[1] < len(series)  # steps, whose products have the same sizes
    gram = np.conj(some.T) @ some if few else some @ np.conj(some.T)
    size, vectors = np.linalg.eigh(gram)
    left_out = np.cumsum(np.maximum(size, 0.0))
    kept = left_out > _MODE_ERROR**2 * left_out[-1:].sum()
    mix: Complex = np.ascontiguousarray(vectors[:, kept])
    if few:
        mix = some @ mix / np.sqrt(size[kept])
    # small corrections: single precision holds them to 1e-7 of themselves
    single = np.ascontiguousarray(np.conj(mix.T), dtype=np.complex64)
    return mix, product(single, series.astype(np.complex64))
