"""
The base case of one block over all steps, and limit checks against it.

Rows of a `BaseCase` are limits: the lowest voltage of each limited node, the
current of each rated terminal, on feeders with phases the highest voltages and
the unbalance of buses (`gridsite.hosting.phase_rows`), and (last) the voltage
change at the own connection. A row's slack is positive while its limit holds;
rows that are broken in the base case at a step are left out at that step (a load
cannot newly break them) and are what a load may worsen. In a balanced model
added load raises no voltage (lagging power factor): there highest voltages are
counted, not searched.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp

from gridsite.errors import BaseCaseError
from gridsite.feeder.kernels import fill_phasors, fill_slack, threads_worth
from gridsite.feeder.powerflow import Block
from gridsite.feeder.states import block_states
from gridsite.hosting.base_figures import BaseFigures
from gridsite.hosting.phase_rows import phase_rows
from gridsite.hosting.slack_kernels import least_slack, slack_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gridsite.feeder.model import Feeder
    from gridsite.feeder.profiles import Profiles
    from gridsite.hosting.limits import Limits

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: States evaluated at once, to bound memory. [values]
_EVALUATE_VALUES = 2_000_000


class BaseCase:
    """
    Solve one block over all steps and check limits against that base.

    Parameters
    ----------
    feeder : Feeder
        The model.
    feeder_id : str
        Which block.
    profiles : Profiles
        On all ports of the feeder (`port_profiles`).
    limits : Limits
        The limits.
    power_factor : float
        Of added loads, lagging. [-]

    Attributes
    ----------
    v : numpy.ndarray of complex, shape (n_node, n_step)
        Base voltages. [pu]
    rows : pandas.DataFrame
        ``criterion, element, limit`` of each row; pu, a share for unbalance.
        The last row is the voltage change at the own connection.
    slack : numpy.ndarray, shape (n_row, n_step)
        What is left in the base case before each limit breaks. [pu]
    row_size, row_unit : numpy.ndarray, shape (n_row,)
        What turns a row's slack into a result, and the unit of that: 1 for pu,
        amperes per pu for A, 100 for % (unbalance).
    upper_y, upper_source, upper_limit : array, shape (n_row - n_voltage, ...)
        Phasors that rows from ``n_voltage`` on limit: part by node voltages,
        part by the sources, and their largest size.
    first_unbalance : int
        Rows from here on are of unbalance; their phasor is the negative sequence,
        limited to a share of the positive one, ``positive_y @ v``.
    broken : numpy.ndarray of bool, shape (n_row, n_step)
        Limits that are broken without any added load.

    Raises
    ------
    BaseCaseError
        If a step does not converge without any added load.
    """

    def __init__(
        self,
        feeder: Feeder,
        feeder_id: str,
        profiles: Profiles,
        limits: Limits,
        *,
        power_factor: float = 0.98,
    ) -> None:
        self.feeder = feeder
        self.block = Block(feeder, feeder_id)
        self.limits = limits
        self.time = profiles.time
        self.step_hours = profiles.step_hours
        self.tan_phi = float(np.sqrt(1.0 / power_factor**2 - 1.0))
        self.states = block_states(self.block, profiles, self.tan_phi)
        drive = profiles.source_factor
        #: factor of the source voltages at each step
        self.drive = np.ones(len(self.time), complex) if drive is None else drive
        solution = self.block.solve(self.states, np.arange(len(self.time)))
        if not solution.converged.all():
            failed = np.flatnonzero(~solution.converged)
            msg = (
                f"{feeder.name}: feeder {feeder_id!r} has no power-flow solution at "
                f"{len(failed)} step(s), first {self.time[failed[0]]}: its own load is "
                "beyond what it can carry; check the units of loads and profiles"
            )
            raise BaseCaseError(msg, self.time[failed[0]])
        self.v = solution.v
        self.residual_kva = float(solution.residual_kva.max())
        self._list_rows()
        self.slack = self.row_slack(self.v)
        self.broken = self.slack < 0.0

    def _list_rows(self) -> None:
        """List the limits in force."""
        feeder, block, limits = self.feeder, self.block, self.limits
        nodes = feeder.nodes.iloc[block.nodes]
        limited = nodes["limited"].to_numpy(dtype=bool) & limits.on("voltage")
        self.limited = np.flatnonzero(limited)
        kv = nodes["voltage_kv"].to_numpy(dtype=float)
        self.v_min = limits.voltage_min_of(kv[self.limited])
        self.v_max = limits.voltage_max_of(kv[self.limited])
        terminals = feeder.terminals.iloc[block.terminals]
        kind = terminals["criterion"].to_numpy()
        at_kv = feeder.nodes["voltage_kv"].to_numpy(dtype=float)[terminals["node"]]
        element, number = np.unique(
            terminals["element"].to_numpy(dtype=str), return_inverse=True
        )
        lowest_kv = np.full(len(element), np.inf)
        np.minimum.at(lowest_kv, number, at_kv)
        level_kv = lowest_kv[number]
        rated_a = terminals["rated_a"].to_numpy(dtype=float)
        rated_a = rated_a * limits.loading_max_of(kind.tolist(), level_kv)
        if limits.source_kva is not None:
            # the source holds its voltage: a limit on kVA is one on current
            held = np.ones(len(feeder.nodes))
            held[feeder.source_nodes] = np.abs(feeder.source_v)
            held = held[terminals["node"].to_numpy(dtype=np.int64)]
            held = held * np.asarray(terminals.get("tap_factor", 1.0))
            share = limits.source_kva / self.block.base_kva / held
            source_a = share * terminals["base_a"].to_numpy()
            rated_a = np.where(kind == "source", source_a, rated_a)
        on = np.array([limits.on(c) for c in kind], dtype=bool)
        self.unrated = np.flatnonzero(on & ~(rated_a > 0.0) & (kind != "source"))
        self.rated = np.flatnonzero(on & (rated_a > 0.0))
        self.rating_pu = (
            rated_a[self.rated] / terminals["base_a"].to_numpy()[self.rated]
        )
        phased = phase_rows(nodes, self.limited, limits)
        self.n_voltage = len(self.limited)
        v_count, i_count, more = self.n_voltage, len(self.rated), len(phased.rows)
        self.upper_y = sp.csr_array(
            sp.vstack([self.block.terminal_y[self.rated], phased.matrix])
        )
        self.upper_source = np.append(
            self.block.terminal_source[self.rated], np.zeros(more)
        )
        self.upper_limit = np.append(self.rating_pu, phased.rows["limit"])
        self.positive_y = phased.positive
        self.rows = pd.DataFrame(
            {
                "criterion": [
                    *["voltage"] * v_count,
                    *kind[self.rated],
                    *phased.rows["criterion"],
                    "voltage change",
                ],
                "element": [
                    *nodes["bus"].to_numpy()[self.limited],
                    *terminals["element"].to_numpy()[self.rated],
                    *phased.rows["element"],
                    "own connection",
                ],
                "limit": [
                    *self.v_min,
                    *self.upper_limit,
                    limits.voltage_change_pu,
                ],
            }
        )
        self.scale = np.concatenate([1.0 - self.v_min, self.rating_pu, phased.scale])
        self.materiality = np.concatenate(
            [
                np.full(v_count, limits.materiality_voltage_pu),
                limits.materiality_loading * self.rating_pu,
                phased.materiality,
            ]
        )
        base_a = terminals["base_a"].to_numpy(dtype=float)[self.rated]
        self.row_size = np.concatenate([np.ones(v_count), base_a, phased.size])
        self.n_row = v_count + i_count + more
        self.first_unbalance = self.n_row - self.positive_y.shape[0]
        self.row_unit = np.full(self.n_row, "pu", dtype=object)
        self.row_unit[v_count : v_count + i_count] = "A"
        self.row_unit[self.first_unbalance :] = "%"

    def row_slack(self, v: NDArray[np.complex128], step: Ints | None = None) -> Floats:
        """
        Return what is left of each row but the last.

        Parameters
        ----------
        v : numpy.ndarray of complex, shape (n_node, n_state)
            Voltages. [pu]
        step : numpy.ndarray of int, shape (n_state,), optional
            Step of each state; all steps in order by default.

        Returns
        -------
        numpy.ndarray, shape (n_row, n_state)
            Slack, negative where the limit is broken. [pu]
        """
        slack = np.empty((self.n_row, v.shape[1]))
        with threads_worth(v.size):
            fill_slack(
                v,
                self.limited,
                self.v_min,
                self.upper_y.indptr,
                self.upper_y.indices,
                self.upper_y.data,
                self.upper_source,
                self.drive,
                np.arange(v.shape[1]) if step is None else step,
                self.upper_limit,
                *self._positive,
                slack,
            )
        return slack

    @property
    def _positive(self) -> tuple[NDArray[np.generic], ...]:
        matrix = self.positive_y
        return matrix.indptr, matrix.indices, matrix.data

    def phasors_of(self, rows: Ints) -> NDArray[np.complex128]:
        """
        Return the base-case phasors that some rows limit.

        Parameters
        ----------
        rows : numpy.ndarray of int, shape (n,)
            Which rows.

        Returns
        -------
        numpy.ndarray of complex, shape (n, n_step)
            Node voltages, terminal currents, node voltages, negative-sequence
            voltages. [pu]
        """
        out = np.empty((len(rows), len(self.time)), dtype=np.complex128)
        fill_phasors(
            rows,
            self.v,
            self.limited,
            self.upper_y.indptr,
            self.upper_y.indices,
            self.upper_y.data,
            self.upper_source,
            self.drive,
            out,
        )
        return out

    def port_voltage(self, v: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """
        Return the voltage across each port.

        Parameters
        ----------
        v : numpy.ndarray of complex, shape (n_node, n_state)
            Voltages. [pu]

        Returns
        -------
        numpy.ndarray of complex, shape (n_port, n_state)
            As from `Block.port_voltage`. [pu]
        """
        return self.block.port_voltage(v)

    @cached_property
    def broken_rows(self) -> Ints:
        """
        Return the limits that the base case breaks at some step.

        Returns
        -------
        numpy.ndarray of int
            Rows.
        """
        out: Ints = np.flatnonzero(self.broken.any(axis=1))
        return out

    @cached_property
    def change_max(self) -> Floats:
        """
        Return the largest fall of the voltage across each port.

        Returns
        -------
        numpy.ndarray, shape (n_port,)
            ``Limits.voltage_change_pu`` of the nominal voltage across. [pu]
        """
        out: Floats = self.limits.voltage_change_pu * self.block.port_nominal
        return out

    @cached_property
    def figures(self) -> BaseFigures:
        """
        Return what a replay compares a plan with.

        Returns
        -------
        BaseFigures
            Worked out as they are asked for.
        """
        return BaseFigures(self)

    def change_at_no_load(self) -> NDArray[np.complex128]:
        """
        Return by how much voltages change with 1 pu added at each port, at no load.

        Returns
        -------
        numpy.ndarray of complex, shape (n_node, n_port)
            To first order. [pu]
        """
        across = self.port_voltage(self.block.v_no_load)
        drawn = (1.0 - 1j * self.tan_phi) / np.conj(across)
        out: NDArray[np.complex128] = -self.block.impedance * drawn
        return out

    @cached_property
    def effect(self) -> tuple[Floats, Floats, Floats]:
        """
        Linear effect of 1 pu added at each port, at no load.

        Used to choose states and to weigh what acts on what; no reported
        capacity rests on it.

        Returns
        -------
        drop : numpy.ndarray, shape (n_voltage, n_port)
            Fall of each limited node's voltage.
        upper : numpy.ndarray, shape (n_row - n_voltage, n_port)
            Size of the current through each rated terminal, rise of each highest
            voltage, size of the unbalance at each bus.
        own : numpy.ndarray, shape (n_port,)
            Fall of the voltage across the port itself, of its nominal one.
        """
        v0, dv, at = self.block.v_no_load, self.change_at_no_load(), self.limited
        drop = -np.real(np.conj(v0[at])[:, None] * dv[at]) / np.abs(v0[at])[:, None]
        upper = np.abs(self.upper_y @ dv)
        high = slice(len(self.rated), self.first_unbalance - self.n_voltage)
        upper[high] = -drop[: high.stop - high.start]
        upper[high.stop :] /= np.abs(self.positive_y @ v0)[:, None]
        across = self.port_voltage(v0)
        fall = np.diagonal(self.port_voltage(dv))
        own = (
            -np.real(np.conj(across) * fall) / np.abs(across) / self.block.port_nominal
        )
        return drop, upper, own

    @cached_property
    def acts_on(self) -> NDArray[np.bool_]:
        """
        Return which port acts on which row (`Limits.acts_on`).

        Returns
        -------
        numpy.ndarray of bool, shape (n_row, n_port)
            By row and port.
        """
        drop, upper, own = self.effect
        share, n_current = self.limits.acts_on, len(self.rated)
        conductor = self.block.conductor_share
        drawn = np.sqrt(1.0 + self.tan_phi**2) / np.abs(
            self.port_voltage(self.block.v_no_load)
        )
        moved = np.abs(self.upper_y[n_current:] @ self.block.impedance) * drawn
        out: NDArray[np.bool_] = np.concatenate(
            [
                drop >= share * own,
                upper[:n_current] >= share * conductor * drawn,
                moved >= share * own,
            ]
        )
        return out

    def evaluate(
        self,
        port: Ints,
        step: Ints,
        added_kw: Floats,
        *,
        only: Ints | None = None,
        tolerance_pu: float = 1e-9,
    ) -> tuple[Floats, Ints]:
        """
        Solve states with one added load each and return what binds.

        Parameters
        ----------
        port : numpy.ndarray of int, shape (n_state,)
            Port with the added load, position in the block.
        step : numpy.ndarray of int, shape (n_state,)
            Step of each state.
        added_kw : numpy.ndarray, shape (n_state,)
            Added active power. [kW]
        only : numpy.ndarray of int, shape (n_state,), optional
            The one row to look at in each state.
        tolerance_pu : float, default 1e-9
            Tolerance of the power flow. [pu]

        Returns
        -------
        slack : numpy.ndarray, shape (n_state,)
            Smallest slack among the limits that held in the base case, each
            over its own size; -inf where the state did not converge. [-]
        row : numpy.ndarray of int, shape (n_state,)
            The row with that slack; -1 where the state did not converge.
        """
        width = max(64, _EVALUATE_VALUES // max(len(self.block.nodes), 1))
        slack, row = np.empty(len(port)), np.empty(len(port), dtype=np.int64)
        # states that are solved together should take as many iterations
        order = np.argsort(added_kw)
        for first in range(0, len(port), width):
            at = order[first : first + width]
            solution = self.block.solve(
                self.states,
                step[at],
                added_port=port[at],
                added=added_kw[at] / self.block.base_kva,
                tolerance_pu=tolerance_pu,
            )
            least, which = self._least_slack(
                solution.v, port[at], step[at], None if only is None else only[at]
            )
            slack[at] = np.where(solution.converged, least, -np.inf)
            row[at] = np.where(solution.converged, which, -1)
        return slack, row

    def base_slack(self, step: Ints, *, only: Ints | None = None) -> Floats:
        """
        Return what `evaluate` finds where no load is added.

        Parameters
        ----------
        step : numpy.ndarray of int, shape (n_state,)
            Step of each state.
        only : numpy.ndarray of int, shape (n_state,), optional
            The one row to look at in each state.

        Returns
        -------
        numpy.ndarray, shape (n_state,)
            Smallest slack among the limits that hold, each over its size. [-]
        """
        if only is not None:
            alone = np.ones(len(step))
            inner = only < self.n_row  # the last row is the voltage change
            at = only[inner], step[inner]
            held = self.slack[at] / self.scale[at[0]]
            alone[inner] = np.where(self.broken[at], np.inf, held)
            return alone
        every, back = np.unique(step, return_inverse=True)
        slack = self.slack[:, every] / self.scale[:, None]
        slack[self.broken[:, every]] = np.inf
        most = 1.0 if self.limits.on("voltage change") else np.inf
        out: Floats = slack.min(axis=0, initial=most)[back]
        return out

    def _least_slack(
        self, v: NDArray[np.complex128], port: Ints, step: Ints, only: Ints | None
    ) -> tuple[Floats, Ints]:
        """Return the least slack over size of each state, and its row."""
        least, which = np.empty(len(step)), np.empty(len(step), dtype=np.int64)
        rows = (
            v,
            self.limited,
            self.v_min,
            self.upper_y.indptr,
            self.upper_y.indices,
            self.upper_y.data,
            self.upper_source,
            self.drive,
            self.upper_limit,
            *self._positive,
            self.scale,
            self.broken,
        )
        with threads_worth(v.size):
            if only is None:
                breaks = np.isin(np.arange(self.n_row), self.broken_rows)
                least_slack(*rows, breaks, step, least, which)
            else:
                slack_of(*rows, step, only, least)
                which[:] = np.where(least < np.inf, only, -1)
        if self.limits.on("voltage change"):
            change = self.limits.voltage_change_pu
            fall = self.block.voltage_fall(port, self.v, v, step)
            own = (change - fall) / change
            first = ~(own >= least)
            if only is not None:
                first &= only == self.n_row
            least[first], which[first] = own[first], self.n_row
        return least, which
