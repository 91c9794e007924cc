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
        Fall of each row's voltage, or of its current, per current drawn. [pu]
    """

    def __init__(self, case: BaseCase) -> None:
        self.case = case
        self.v_port = case.port_voltage(case.v)
        self.z_port = case.port_voltage(case.block.impedance)
        self.row_z = np.concatenate(
            [case.block.impedance[case.limited], case.rated_y @ case.block.impedance]
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
        Return the slack of each row, infinite where the base case is broken.

        Returns
        -------
        numpy.ndarray, shape (n_row, n_step)
            Slack. [pu]
        """
        return np.where(self.case.broken, np.inf, self.case.slack)
