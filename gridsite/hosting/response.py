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
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gridsite.hosting.base_case import BaseCase

    Floats = NDArray[np.float64]
    Complex = NDArray[np.complex128]


#: Share of the second-order terms that modes may leave out, at about so many steps.
_MODE_ERROR, _MODE_STEPS = 1e-3, 4_000


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
    row_z : numpy.ndarray of complex, shape (n_row, n_port)
        Fall of each row's phasor per current drawn. [pu]
    """

    def __init__(self, case: BaseCase) -> None:
        self.case = case
        self.v_port = case.port_voltage(case.v)
        self.z_port = case.port_voltage(case.block.impedance)
        self.row_z = np.concatenate(
            [case.block.impedance[case.limited], case.upper_y @ case.block.impedance]
        )
        self.v_size = np.abs(self.v_port)

    @cached_property
    def power(self) -> Complex:
        """
        Return what the ports draw in the base case.

        Returns
        -------
        numpy.ndarray of complex, shape (n_port, n_step)
            Load positive. [pu]
        """
        return self.case.states.power(np.arange(len(self.case.time)))

    @cached_property
    def admittance(self) -> Complex:
        """
        Return the conjugate of S / V^2 of each port in the base case.

        Returns
        -------
        numpy.ndarray of complex, shape (n_port, n_step)
            What the second-order terms weigh impedances with. [pu]
        """
        out: Complex = np.conj(self.power / self.v_port**2)
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
        a = self.admittance
        some = a[:, :: max(1, a.shape[1] // _MODE_STEPS)]
        size, vectors = np.linalg.eigh(some @ np.conj(some.T))
        left_out = np.cumsum(np.maximum(size, 0.0))
        kept = left_out > _MODE_ERROR**2 * left_out[-1:].sum()
        mix: Complex = np.ascontiguousarray(vectors[:, kept])
        return mix, np.conj(mix.T) @ a

    @cached_property
    def m_own(self) -> Complex:
        """
        Return the second-order term of each port.

        Returns
        -------
        numpy.ndarray of complex, shape (n_port, n_step)
            M of the module's formula. [pu]
        """
        weights = self.z_port * np.conj(self.z_port.T)
        out: Complex = weights @ self.admittance
        return out

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
        slack = np.where(case.broken, np.inf, case.slack)
        if len(case.positive_y.data):  # limits on a ratio
            slack[case.first_unbalance :] *= np.abs(case.positive_y @ case.v)
        return slack
