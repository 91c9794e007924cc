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
within :math:`\beta |V_1| - |V_2|` of the base case. Where a bound does not exist, as
for loads on three phases of a feeder with phases, nothing is skipped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gridsite.hosting.screening_kernels import may_bind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gridsite.hosting.response import Response

    Floats = NDArray[np.float64]


def largest_change(push: Floats, kappa: float) -> Floats:
    """
    Bound the change of any voltage under an added load, for all steps at once.

    The lower root of X = (push + kappa X) / (1 - X), a little enlarged, as in the
    compiled loops.

    Parameters
    ----------
    push : numpy.ndarray
        Change by the load alone, at the lowest voltages. [-]
    kappa : float
        Share by which the base loads add to it, below 1. [-]

    Returns
    -------
    numpy.ndarray
        Share of the voltages; NaN where there is no bound. [-]
    """
    with np.errstate(invalid="ignore"):
        root = np.sqrt((1.0 - kappa) ** 2 - 4.0 * push)
    out: Floats = 0.5 * (1.0 - kappa - root) * (1.0 + 1e-9) + 1e-15
    return out


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
        weight = response.current_size
        self.kappa_port = np.abs(response.z_port) @ weight
        self.kappa_port /= response.v_size
        self.kappa_step = self.kappa_port.max(axis=0, initial=0.0)
        #: fall of each row per current, to any angle; of a ratio, of both parts
        self.row_z_size = np.abs(response.row_z)
        self.limit = np.concatenate([case.v_min, case.upper_limit])
        over = np.abs(case.positive_y @ case.block.impedance)
        self.over_size = case.limits.unbalance_max * over
        self.row_z_size[case.first_unbalance :] += self.over_size
        self.kappa_row_most = self.row_z_size @ weight.max(axis=1, initial=0.0)
        self.v_least = response.v_size.min(axis=1, initial=np.inf)

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
        drawn = load_kw / case.block.base_kva * (1.0 - 1j * case.tan_phi)
        rows = self._near(np.abs(drawn), ports)
        n_ratio = int((rows >= case.first_unbalance).sum())
        may_bind(
            drawn,
            ports,
            response.v_port,
            np.ascontiguousarray(response.z_port[ports, ports]),
            response.m_own,
            response.h_own,
            self.z_most[ports],
            self.v_ratio,
            self.kappa_port,
            self.kappa_step,
            case.change_max[ports] if on else np.full(len(ports), np.inf),
            np.ascontiguousarray(response.row_z[rows[:, None], ports]),
            case.phasors_of(rows),
            self.row_z_size[rows] @ response.current_size,
            response.row_slack,
            rows,
            self.limit[rows],
            int((rows < case.n_voltage).sum()),
            self.kappa_row_most[rows],
            self.v_least,
            response.row_least[rows],
            np.ascontiguousarray(
                self.over_size[rows[len(rows) - n_ratio :] - case.first_unbalance][
                    :, ports
                ]
            ),
            out,
        )
        # no bound on how the currents of three phases part from a balanced system
        out[case.block.three[ports]] = True
        return out

    def _near(self, size: Floats, ports: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return rows that bounds good for every step do not leave out."""
        response = self.response
        v_least = self.v_least[ports]
        push = size * self.z_most[ports] / (v_least * self.v_ratio.min(initial=1.0))
        kappa = self.kappa_step.max(initial=0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            x = largest_change(push, kappa)
            c = size / (v_least * (1.0 - x))
            most = self.row_z_size[:, ports] * c
            most += self.kappa_row_most[:, None] * (x / (1.0 - x))
            held = (most < response.row_least[:, None]) & (x < 1.0) & (kappa < 1.0)
        rows: NDArray[np.int64] = np.flatnonzero(~held.all(axis=1))
        return rows
