r"""
Prove which steps cannot limit a load, so that they need no power flow.

With the notation of `gridsite.hosting.response`, let :math:`X` bound the relative
change of every port voltage. From the equation of :math:`u`,

.. math::
   X = \frac{p + \kappa X}{1 - X}, \quad
   p = \max_j \frac{|Z_{jk}|\,|S|}{|V_j|\,|V_k|}, \quad
   \kappa_j = \sum_i \frac{|Z_{ji}|\,|S_i|}{|V_j|\,|V_i|},

whose lower root bounds the solution that grows out of the base case with the
load. Loads that follow their voltage count in :math:`\kappa` by what bounds their
change (`Response.size`). The load itself is solved in the two-bus circuit with
:math:`M_k` and :math:`H_k`, whose remainder is

.. math::
   \frac{|\rho|}{|V_k|} \le \kappa_k \frac{D + (X + D) X}{1 - X}, \qquad
   D = \frac{\kappa X}{1 - X}.

That gives the change at the own connection and the current :math:`c` up to a
small error. A row with transfer :math:`a` from the port then changes by
:math:`a c`, at its angle, up to :math:`\kappa_r X / (1 - X)` with
:math:`\kappa_r = \sum_j |a_j| |S_j| / |V_j|`. Where every row keeps its limit
with those errors on the unsafe side, the step holds. A limit on unbalance,
:math:`|V_2| \le \beta |V_1|`, holds where the bound on :math:`V_2` and
:math:`\beta` times that on the fall of :math:`V_1`, at any angle, stay together
within :math:`\beta |V_1| - |V_2|` of the base case. Where a bound does not exist,
nothing is skipped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gridsite.hosting.kernels import may_bind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gridsite.hosting.response import Response

    Floats = NDArray[np.float64]


class Screen:
    """
    Bounds of one block, prepared once for all loads.

    Parameters
    ----------
    response : Response
        Of the block.
    """

    def __init__(self, response: Response) -> None:
        self.response = response
        case = response.case
        nominal = np.abs(case.port_voltage(case.block.v_no_load[:, None]))
        self.z_most = (np.abs(response.z_port) / nominal).max(axis=0, initial=0.0)
        self.v_ratio = (response.v_size / nominal).min(axis=0, initial=1.0)
        weight = response.size / response.v_size
        self.kappa_port = (np.abs(response.z_port) @ weight) / response.v_size
        self.kappa_step = self.kappa_port.max(axis=0, initial=0.0)
        self.kappa_row = np.abs(response.row_z) @ weight
        self.limit = np.concatenate([case.v_min, case.upper_limit])
        over = np.abs(case.positive_y @ case.block.impedance)
        self.over_size = case.limits.unbalance_max * over
        self.kappa_row[case.first_unbalance :] += self.over_size @ weight

    def may_bind(self, load_kw: Floats, ports: NDArray[np.int64]) -> NDArray[np.bool_]:
        """
        Return the steps at which a load could newly break a limit.

        Parameters
        ----------
        load_kw : numpy.ndarray, shape (n,)
            Added load. [kW]
        ports : numpy.ndarray of int, shape (n,)
            Where, position in the block.

        Returns
        -------
        numpy.ndarray of bool, shape (n, n_step)
            False only where the limits are proven to hold.
        """
        response, case = self.response, self.response.case
        out = np.zeros((len(load_kw), len(case.time)), dtype=np.bool_)
        on = case.limits.on("voltage change")
        may_bind(
            load_kw / case.block.base_kva * (1.0 - 1j * case.tan_phi),
            response.v_port[ports],
            np.ascontiguousarray(response.z_port[ports, ports]),
            response.m_own[ports],
            response.h_own[ports],
            self.z_most[ports],
            self.v_ratio,
            self.kappa_port[ports],
            self.kappa_step,
            case.limits.voltage_change_pu if on else np.inf,
            np.ascontiguousarray(response.row_z[:, ports]),
            case.phasors,
            self.kappa_row,
            response.row_slack,
            self.limit,
            case.n_voltage,
            response.row_slack.min(axis=1, initial=np.inf),
            self.kappa_row.max(axis=1, initial=0.0),
            np.ascontiguousarray(self.over_size[:, ports]),
            out,
        )
        return out
