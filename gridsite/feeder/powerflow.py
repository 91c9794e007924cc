r"""
AC power flow of many load states at once on a `Feeder`.

For loads :math:`S` the node voltages solve

.. math:: Y V = I_s - C \, \overline{S / (C^T V)}

with :math:`I_s` the current that the sources drive into the free nodes; :math:`S` is
constant, or follows the voltage across its port (`gridsite.feeder.model.load_models`).
Parts
that only meet at sources are solved apart (`Block`). Each block factorises its
admittance once and iterates all states together (multiphase Z-bus fixed point
[1]_ [2]_); on a radial network the factors have no fill-in, so that one
iteration costs a handful of operations per node and state.

Each state has its own convergence flag and power-balance residual: one state
that fails says nothing about the others and never gets a voltage.

References
----------
.. [1] A. Bernstein, C. Wang, E. Dall'Anese, J.-Y. Le Boudec, C. Zhao, "Load flow
   in multiphase distribution networks: existence, uniqueness, non-singularity
   and linear models", *IEEE Trans. Power Systems*, 2018.
.. [2] J. S. Giraldo et al., "A tensor-based power flow formulation", 2022.
"""

from __future__ import annotations

from copy import copy
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import splu

from gridsite.feeder.elimination import branches_by_row, eliminated
from gridsite.feeder.kernels import threads_worth
from gridsite.feeder.model import further_nodes, load_models
from gridsite.feeder.state_kernels import solve_states
from gridsite.feeder.states import Solution

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gridsite.feeder.model import Feeder
    from gridsite.feeder.states import States

#: Largest change of any voltage between two iterations of a converged state. [pu]
TOLERANCE_PU = 1e-9

#: Most iterations; a state that needs more has not converged.
MAX_ITERATIONS = 200


class Block:
    """
    One independent part of a feeder model, factorised.

    Parameters
    ----------
    feeder : Feeder
        The model.
    feeder_id : str
        Which part.

    Attributes
    ----------
    nodes, ports, terminals : numpy.ndarray of int
        Positions of the block's nodes, ports and terminals in the feeder.
    port_node, port_return : numpy.ndarray of int
        Node of each port and its return (-1 is ground), within the block.
    port_nodes, port_returns : numpy.ndarray of int, shape (n_port, 3)
        The same of each branch of a port: three at ports of three phases, which
        draw a third each; -1 where there is no branch.
    p_exponent, q_exponent : numpy.ndarray
        How what each port draws follows its voltage: 0 for constant power. [-]
    rated_v : numpy.ndarray
        Voltage across each port at which it draws the power of its states. [pu]
    v_no_load : numpy.ndarray of complex, shape (n_node,)
        Voltages with no load at all. [pu]
    """

    def __init__(self, feeder: Feeder, feeder_id: str) -> None:
        self.feeder_id = feeder_id
        self.base_kva = feeder.base_kva
        ids = feeder.nodes["feeder_id"].to_numpy()
        self.nodes = np.flatnonzero(ids == feeder_id)
        self.ports = np.flatnonzero(feeder.ports["feeder_id"].to_numpy() == feeder_id)
        ports = feeder.ports.iloc[self.ports]
        self.port_node = self.position(ports["node"].to_numpy())
        self.port_return = self.position(ports["node_return"].to_numpy())
        more = self.position(further_nodes(ports))
        self.port_nodes = np.column_stack([self.port_node, more])
        delta = (self.port_return >= 0) & (self.port_return == self.port_nodes[:, 1])
        around = np.where(delta[:, None], np.roll(self.port_nodes, -1, axis=1), -1)
        self.port_returns = np.where(
            self.three[:, None], around, self.port_return[:, None]
        )
        models = load_models(ports)
        self.p_exponent = models["p_exponent"].to_numpy()
        self.q_exponent = models["q_exponent"].to_numpy()
        self.rated_v = models["rated_v_pu"].to_numpy()
        self._factorise(feeder)

    def position(self, nodes: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """
        Return where nodes of the feeder stand in the block.

        Parameters
        ----------
        nodes : numpy.ndarray of int
            Positions in the feeder; -1 for none.

        Returns
        -------
        numpy.ndarray of int
            Positions in the block; -1 outside of it.
        """
        at = np.searchsorted(self.nodes, nodes)
        out: NDArray[np.int64] = np.where(np.isin(nodes, self.nodes), at, -1)
        return out

    def _factorise(self, feeder: Feeder) -> None:
        """Take over a feeder's admittance."""
        y = feeder.y.tocsr()[self.nodes]
        self.y = sp.csc_array(y[:, self.nodes])
        self.i_source = -(y[:, feeder.source_nodes] @ feeder.source_v)
        rows = feeder.terminals["feeder_id"].to_numpy()
        self.terminals = np.flatnonzero(rows == self.feeder_id)
        matrix = feeder.terminal_y[self.terminals]
        self.terminal_y = sp.csr_array(matrix[:, self.nodes])
        self.terminal_source = matrix[:, feeder.source_nodes] @ feeder.source_v
        lu = splu(
            sp.csc_matrix(self.y),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
        self._solver = lu
        self._factors = eliminated(lu, self.y, self.i_source)
        self._by_row = branches_by_row(lu, *self._branches)
        self.v_no_load: NDArray[np.complex128] = lu.solve(self.i_source)

    def moved(self, feeder: Feeder) -> Block:
        """
        Return the block where controls stand elsewhere.

        Parameters
        ----------
        feeder : Feeder
            The same nodes, ports and terminals with another admittance.

        Returns
        -------
        Block
            Factorised.
        """
        other = copy(self)
        for name in ("impedance", "incidence"):
            other.__dict__.pop(name, None)
        other._factorise(feeder)  # noqa: SLF001
        return other

    @property
    def three(self) -> NDArray[np.bool_]:
        """
        Return which ports are of three phases.

        Returns
        -------
        numpy.ndarray of bool, shape (n_port,)
            They draw a third on each of three branches.
        """
        three: NDArray[np.bool_] = self.port_nodes[:, 1] >= 0
        return three

    @property
    def conductor_share(self) -> NDArray[np.float64]:
        """
        Return the share of what a port draws that one of its branches carries.

        Returns
        -------
        numpy.ndarray, shape (n_port,)
            A third at ports of three phases, else 1. [-]
        """
        return np.where(self.three, 1.0 / 3.0, 1.0)

    @cached_property
    def _branches(
        self,
    ) -> tuple[
        NDArray[np.int64], NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]
    ]:
        """Return the port of each branch, its share, its node and its return."""
        owner, k = np.nonzero(self.port_nodes >= 0)
        node, back = self.port_nodes[owner, k], self.port_returns[owner, k]
        return owner, self.conductor_share[owner], node, back

    @cached_property
    def follows(self) -> NDArray[np.bool_]:
        """
        Return which ports follow their voltage.

        Returns
        -------
        numpy.ndarray of bool, shape (n_port,)
            False for constant power.
        """
        follows: NDArray[np.bool_] = (self.p_exponent != 0.0) | (self.q_exponent != 0.0)
        return follows

    @cached_property
    def _models(self) -> tuple[NDArray[np.generic], ...]:
        """Return the row of the load models of each port (-1: none), and these."""
        at = self.follows
        row = np.where(at, np.cumsum(at) - 1, -1)
        return row, self.p_exponent[at], self.q_exponent[at], 1.0 / self.rated_v[at]

    @cached_property
    def impedance(self) -> NDArray[np.complex128]:
        """
        Return the transfer impedance from port currents to nodes.

        Returns
        -------
        numpy.ndarray of complex, shape (n_node, n_port)
            Fall of voltage per current drawn. [pu]
        """
        z: NDArray[np.complex128] = self._solver.solve(
            self.incidence.toarray().astype(complex)
        )
        return z

    @cached_property
    def incidence(self) -> sp.csc_array:
        """
        Return the incidence of ports: +1 at the node, -1 at the return.

        Returns
        -------
        scipy.sparse.csc_array, shape (n_node, n_port)
            The matrix :math:`C`: a port draws :math:`C_k I`, and the voltage across
            it is :math:`C_k^H V`. At ports of three phases each of three branches
            has a third of the current, turned as its voltage without any load: what
            constant power draws there, to first order.
        """
        owner, share, node, back = self._branches
        weight = share.astype(np.complex128)
        three = self.three[owner]
        if three.any():
            v0 = self.v_no_load
            across = v0[node] - np.where(back >= 0, v0[back], 0.0)
            first = across[np.searchsorted(owner, owner)]
            weight[three] *= np.conj(first / across)[three]
        inner = back >= 0
        rows = np.concatenate([node, back[inner]])
        cols = np.concatenate([owner, owner[inner]])
        data = np.concatenate([weight, -weight[inner]])
        return sp.csc_array(
            (data, (rows, cols)), shape=(len(self.nodes), len(self.ports))
        )

    def port_voltage(self, v: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """
        Return the voltage across each port.

        Parameters
        ----------
        v : numpy.ndarray of complex, shape (n_node, ...)
            Voltages. [pu]

        Returns
        -------
        numpy.ndarray of complex, shape (n_port, ...)
            Of a port of three phases that of its first branch in a balanced system
            of the same positive sequence. [pu]
        """
        across: NDArray[np.complex128] = v[self.port_node]
        back = self.port_return >= 0
        across[back] -= v[self.port_return[back]]
        three = np.flatnonzero(self.three)
        if len(three):
            across[three] = np.conj(self.incidence[:, three].T) @ v
        return across

    @cached_property
    def port_nominal(self) -> NDArray[np.float64]:
        """
        Return the nominal voltage across each port.

        Returns
        -------
        numpy.ndarray, shape (n_port,)
            Over the nominal voltage of its node: 1 to ground or to a neutral, the
            root of 3 between two phases, 2 across the legs of a split phase. [-]
        """
        v0, back = self.v_no_load, self.port_return
        ends = np.abs(v0[self.port_node]), np.abs(v0[np.maximum(back, 0)])
        far = (back >= 0) & (ends[1] > 0.5 * ends[0])
        ratio = np.abs(self.port_voltage(v0)) / np.mean(ends, axis=0)
        known = np.array([1.0, np.sqrt(3.0), 2.0])
        nearest = known[np.abs(ratio[:, None] - known).argmin(axis=1)]
        out: NDArray[np.float64] = np.where(far, nearest, 1.0)
        return out

    def voltage_fall(
        self,
        port: NDArray[np.int64],
        before: NDArray[np.complex128],
        after: NDArray[np.complex128],
        column: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        """
        Return by how much the voltage across one port falls in each state.

        Parameters
        ----------
        port : numpy.ndarray of int, shape (n_state,)
            Port of each state.
        before : numpy.ndarray of complex, shape (n_node, n)
            Voltages. [pu]
        after : numpy.ndarray of complex, shape (n_node, n_state)
            Voltages. [pu]
        column : numpy.ndarray of int, shape (n_state,)
            Column of ``before`` of each state.

        Returns
        -------
        numpy.ndarray, shape (n_state,)
            Of the branch at which it falls most, of the nominal voltage there. [pu]
        """
        most = np.full(len(port), -np.inf)
        for k in range(3 if self.three[port].any() else 1):
            node, back = self.port_nodes[port, k], self.port_returns[port, k]
            sizes = [
                np.abs(v[node, at] - np.where(back < 0, 0.0, v[back, at]))
                for v, at in ((before, column), (after, np.arange(len(port))))
            ]
            fall = sizes[0] - sizes[1]
            # not np.maximum of a NaN: a state without a solution has no fall
            most = np.where((node >= 0) & ~(fall <= most), fall, most)
        return most / self.port_nominal[port]

    def currents(
        self,
        v: NDArray[np.complex128],
        drive: NDArray[np.complex128] | None = None,
    ) -> NDArray[np.complex128]:
        """
        Return the currents of the block's terminals.

        Parameters
        ----------
        v : numpy.ndarray of complex, shape (n_node, n_state)
            Voltages. [pu]
        drive : numpy.ndarray of complex, shape (n_state,), optional
            Factor of the source voltages in each state; 1 by default. [-]

        Returns
        -------
        numpy.ndarray of complex, shape (n_terminal, n_state)
            Currents into the elements. [pu]
        """
        out: NDArray[np.complex128] = self.terminal_y @ v
        at = np.flatnonzero(self.terminal_source)
        out[at] += self.terminal_source[at, None] * (1.0 if drive is None else drive)
        return out

    def solve(
        self,
        states: States,
        step: NDArray[np.int64],
        *,
        added_port: NDArray[np.int64] | None = None,
        added: NDArray[np.float64] | None = None,
        v_start: NDArray[np.complex128] | None = None,
        start_of: NDArray[np.int64] | None = None,
        tolerance_pu: float = TOLERANCE_PU,
    ) -> Solution:
        """
        Solve load states.

        Parameters
        ----------
        states : States
            What the block's ports draw, by step.
        step : numpy.ndarray of int, shape (n_state,)
            Step of each state.
        added_port : numpy.ndarray of int, shape (n_state,), optional
            Port (position in the block) with an added load; -1 for none.
        added : numpy.ndarray, shape (n_state,), optional
            Added active power. [pu]
        v_start : numpy.ndarray of complex, shape (n_node, n_start), optional
            Voltages to start from; the no-load state by default. [pu]
        start_of : numpy.ndarray of int, shape (n_state,), optional
            Column of ``v_start`` for each state.
        tolerance_pu : float, default `TOLERANCE_PU`
            Largest voltage change in the last iteration. [pu]

        Returns
        -------
        Solution
            Voltages at the block's nodes.
        """
        n_state = len(step)
        if added_port is None or added is None:
            added_port = np.full(n_state, -1, dtype=np.int64)
            added = np.zeros(n_state)
        if v_start is None or start_of is None:
            v_start = self.v_no_load[:, None]
            start_of = np.zeros(n_state, dtype=np.int64)
        drive = states.drive
        if drive is None:
            drive = np.ones(states.p_shapes.shape[1], dtype=np.complex128)
        v = np.empty((len(self.nodes), n_state), dtype=np.complex128)
        residual = np.empty(n_state)
        iterations = np.zeros(n_state, dtype=np.int64)
        with threads_worth(len(self.nodes) * n_state):
            solve_states(
                self._factors,
                self._by_row,
                states.drawn,
                self._models,
                drive,
                step,
                added_port,
                added,
                v_start,
                start_of,
                tolerance_pu,
                MAX_ITERATIONS,
                v,
                residual,
                iterations,
            )
        converged = np.isfinite(residual)
        v[:, ~converged] = np.nan
        return Solution(
            v=v,
            converged=converged,
            residual_kva=residual * self.base_kva,
            iterations=iterations,
        )
