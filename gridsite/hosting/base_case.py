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

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp

from gridsite.errors import BaseCaseError, ConfigError, DataError
from gridsite.feeder.acting_taps import let_taps_act
from gridsite.feeder.control_settings import at_setting, control_course
from gridsite.feeder.kernels import fill_phasors, fill_slack, threads_worth
from gridsite.feeder.load_parts import profiles_of_parts
from gridsite.feeder.powerflow import Block, block_states
from gridsite.feeder.split import Split, split_feeder
from gridsite.hosting.kernels import least_slack
from gridsite.hosting.phase_rows import phase_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from gridsite.feeder.control_settings import ControlCourse
    from gridsite.feeder.model import Feeder
    from gridsite.feeder.profiles import Profiles
    from gridsite.feeder.taps import TapControl
    from gridsite.hosting.ageing_limit import Ageing
    from gridsite.hosting.limits import Limits

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: Blocks of up to so many nodes are rated whole, not as a trunk and leaves.
WHOLE_NODES = 500

#: States evaluated at once, to bound memory. [values]
_EVALUATE_VALUES = 2_000_000


def port_profiles(feeder: Feeder, loads: Profiles) -> Profiles:
    """
    Return profiles of every port of a feeder, in its order.

    Customers must be in ``loads``. Generation that is not is switched off (the
    safe side for load hosting capacity); other ports keep the file's value.

    Parameters
    ----------
    feeder : Feeder
        The model.
    loads : Profiles
        What customers draw.

    Returns
    -------
    Profiles
        On ``feeder.ports.index``.

    Raises
    ------
    DataError
        If a customer has no profile.
    """
    ports = feeder.ports
    loads = profiles_of_parts(loads, ports)
    supplied = ports.index[ports["node"] >= 0]
    known = loads.port_ids.get_indexer(ports.index)
    missing = ports.index[(known < 0) & (ports["kind"] == "load")]
    missing = missing.intersection(supplied)
    if len(missing):
        msg = (
            f"{feeder.name}: {len(missing)} load(s) have no profile, first "
            f"{missing[:3].tolist()}; add columns of these names"
        )
        raise DataError(msg)
    flat = np.ones((1, loads.p_shapes.shape[1]))
    # a generator that draws power is a load, and must not be switched off
    other = ((ports["kind"] == "other") | (ports["p_kw"] > 0.0)).to_numpy()
    own = known >= 0
    scale_p = np.where(other, ports["p_kw"], 0.0)
    scale_q = np.where(other, ports["q_kvar"], 0.0)
    scale_p[own] = loads.p_scale_kw[known[own]]
    scale_q[own] = loads.q_scale_kvar[known[own]]
    last = loads.p_shapes.shape[0]
    return replace(
        loads,
        port_ids=ports.index,
        p_shapes=np.vstack([loads.p_shapes, flat]),
        q_shapes=np.vstack([loads.q_shapes, flat]),
        shape_of_port=np.where(own, loads.shape_of_port[known], last),
        p_scale_kw=scale_p.astype(float),
        q_scale_kvar=scale_q.astype(float),
    )


class GridCase:
    """
    Base cases of all blocks of a feeder model, solved once each.

    Parameters
    ----------
    feeder : Feeder
        The model.
    loads : Profiles
        What customers draw.
    limits : Limits
        The limits.
    power_factor : float, default 0.98
        Of added loads, lagging. [-]
    whole_nodes : int, default `WHOLE_NODES`
        Blocks of more nodes are split into a trunk and leaves.
    taps : TapControl, optional
        Lets tap changers at the heads act with the base load (solves it); they
        stand as filed by default.
    ageing : Ageing, optional
        Ambient temperature and limits of transformer ageing; not checked without.
    controls : {"frozen", "acting"}
        Whether regulators and capacitors stand as filed or act from step to step
        (solves the base case).

    Attributes
    ----------
    course : ControlCourse or None
        What the controls do with the base load; None where they stand or there are
        none.

    Raises
    ------
    ConfigError
        If a limit per source is given and a source feeds several feeders, or controls
        act and transformers age.
    DataError
        If a customer has no profile, or there is not one temperature per step.
    """

    def __init__(
        self,
        feeder: Feeder,
        loads: Profiles,
        limits: Limits,
        *,
        power_factor: float = 0.98,
        whole_nodes: int = WHOLE_NODES,
        taps: TapControl | None = None,
        ageing: Ageing | None = None,
        controls: str = "frozen",
    ) -> None:
        self.feeder, self.limits = feeder, limits
        self.power_factor = power_factor
        self.profiles = port_profiles(feeder, loads)
        n_step = len(self.profiles.time)
        if ageing is not None and len(ageing.ambient_c) != n_step:
            msg = (
                f"ageing: {len(ageing.ambient_c)} temperatures for {n_step} steps; "
                "join them on the calendar of the loads"
            )
            raise DataError(msg)
        on = limits.on("transformer ageing")
        #: what transformers age by; None where that is not checked
        self.ageing = ageing if on else None
        ports = feeder.ports
        silent = (ports["kind"] == "generation") & ~ports.index.isin(loads.port_ids)
        #: what the reader and this case assumed, in words
        self.notes = feeder.notes
        if silent.any():
            self.notes += (
                f"{int(silent.sum())} generator(s) without a profile are switched off",
            )
        self._acting: dict[str, Profiles] = {}
        if taps is not None:
            acting = let_taps_act(feeder, self.profiles, taps)
            self.feeder, self._acting = acting[:2]
            self.notes += acting[2]
        self.course: ControlCourse | None = None
        if controls == "acting" and feeder.controls:
            if self.ageing is not None:
                msg = "transformer ageing is not rated with acting controls; give one"
                raise ConfigError(msg)
            self.course = control_course(feeder, self.profiles)
            self.notes += self.course.notes()
        elif controls == "acting":
            self.notes += ("controls: this feeder has none that act",)
        elif feeder.controls and n_step > 1:
            text = (
                f"controls frozen: {len(feeder.controls)} regulator(s) and "
                f"capacitor(s) stay as filed at all {n_step} steps"
            )
            self.notes += (text,)
        ids = feeder.nodes["feeder_id"]
        self.feeder_ids: list[str] = sorted(set(ids[ids != ""]))
        self._blocks: dict[str, BaseCase] = {}
        self._splits: dict[str, Split | None] = {}
        self.whole_nodes = whole_nodes
        at_source = feeder.ports["node"].isin(feeder.source_nodes)
        if limits.source_kva is not None and at_source.any():
            first = feeder.ports.index[at_source][:3].tolist()
            msg = (
                "limits: source_kva is given, but loads stand at a source bus and "
                f"would not be counted: {first}; move them behind the source"
            )
            raise ConfigError(msg)
        fed = feeder.terminals.loc[feeder.terminals["criterion"] == "source"]
        if limits.source_kva is not None and len(fed) < len(feeder.source_nodes):
            msg = (
                "limits: source_kva is given, but a source feeds several feeders, "
                "which share it; give no source_kva or one source per feeder"
            )
            raise ConfigError(msg)

    @cached_property
    def failed(self) -> dict[str, BaseCaseError]:
        """
        Return the blocks that have no solution even without added loads.

        Returns
        -------
        dict of str to BaseCaseError
            By ``feeder_id``.

        Raises
        ------
        BaseCaseError
            If no block has a solution.
        """
        failed: dict[str, BaseCaseError] = {}
        if self.course is not None:
            for case in self.settings:
                failed |= case.failed
            return failed
        for feeder_id in self.feeder_ids:
            try:
                if self.split(feeder_id) is None:
                    self.block(feeder_id)
            except BaseCaseError as error:
                failed[feeder_id] = error
        if failed and len(failed) == len(self.feeder_ids):
            raise next(iter(failed.values()))
        return failed

    @property
    def solved_ids(self) -> list[str]:
        """
        Return the blocks whose base case has a solution.

        Returns
        -------
        list of str
            Their ``feeder_id``.
        """
        return [i for i in self.feeder_ids if i not in self.failed]

    @cached_property
    def settings(self) -> list[GridCase]:
        """
        Return the grid at each setting of controls that act.

        Returns
        -------
        list of GridCase
            In the order of ``course.groups()``; stamps only keep the order of steps.
        """
        groups = [] if self.course is None else self.course.groups()
        cases = []
        for positions, steps in groups:
            at = at_setting(self.feeder, self.profiles, positions, steps)
            case = GridCase(
                *at,
                self.limits,
                power_factor=self.power_factor,
                whole_nodes=self.whole_nodes,
            )
            cases.append(case)
        return cases

    def refuse_acting(self) -> None:
        """
        Refuse what knows one admittance alone.

        Raises
        ------
        ConfigError
            If controls act.
        """
        if self.course is not None:
            msg = (
                "this is not rated with acting controls; give controls = "
                '"frozen" (--controls frozen)'
            )
            raise ConfigError(msg)

    def profiles_of(self, feeder_id: str) -> Profiles:
        """
        Return the profiles of a block, with what its tap changer does.

        Parameters
        ----------
        feeder_id : str
            Which block.

        Returns
        -------
        Profiles
            On all ports of the feeder.
        """
        return self._acting.get(feeder_id, self.profiles)

    def split(self, feeder_id: str) -> Split | None:
        """
        Return a large block in parts.

        Parameters
        ----------
        feeder_id : str
            Which block.

        Returns
        -------
        Split or None
            Solved at the first call; None for a block that is rated whole.
        """
        self.refuse_acting()
        if feeder_id not in self._splits:
            n = int((self.feeder.nodes["feeder_id"] == feeder_id).sum())
            self._splits[feeder_id] = (
                split_feeder(self.feeder, feeder_id, self.profiles_of(feeder_id))
                if n > self.whole_nodes
                else None
            )
        return self._splits[feeder_id]

    def cases(self, feeder_id: str) -> Iterator[BaseCase]:
        """
        Yield the base cases of a block's parts, one at a time.

        Parameters
        ----------
        feeder_id : str
            Which block.

        Yields
        ------
        BaseCase
            The block, or its trunk and then its leaves.
        """
        split = self.split(feeder_id)
        if split is None:
            yield self.block(feeder_id)
            return
        parts = [(split.trunk, split.trunk_profiles), *split.leaves]
        for feeder, profiles in parts:
            yield self.part(feeder, feeder_id, profiles)

    def part(self, feeder: Feeder, feeder_id: str, profiles: Profiles) -> BaseCase:
        """
        Return the base case of a part of a block.

        Parameters
        ----------
        feeder : Feeder
            The part, as from `split`.
        feeder_id : str
            Which block.
        profiles : Profiles
            Of the part.

        Returns
        -------
        BaseCase
            Solved.
        """
        return BaseCase(
            feeder, feeder_id, profiles, self.limits, power_factor=self.power_factor
        )

    def block(self, feeder_id: str) -> BaseCase:
        """
        Return the base case of one block.

        Parameters
        ----------
        feeder_id : str
            Which block.

        Returns
        -------
        BaseCase
            Solved at the first call.
        """
        self.refuse_acting()
        if feeder_id not in self._blocks:
            self._blocks[feeder_id] = BaseCase(
                self.feeder,
                feeder_id,
                self.profiles_of(feeder_id),
                self.limits,
                power_factor=self.power_factor,
            )
        return self._blocks[feeder_id]


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
    def _row_groups(self) -> tuple[Ints, Ints]:
        """Return rows ordered by element, and where each element starts."""
        keys = self.rows.iloc[:-1].groupby(["criterion", "element"], sort=False)
        number = keys.ngroup().to_numpy()
        order = np.argsort(number, kind="stable")
        return order, np.flatnonzero(np.diff(number[order], prepend=-1))

    def by_element(self, hit: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """
        Return whether any end of each element is hit.

        Parameters
        ----------
        hit : numpy.ndarray of bool, shape (n_row, n_step)
            By row.

        Returns
        -------
        numpy.ndarray of bool, shape (n_element, n_step)
            By limited node, then by element.
        """
        order, start = self._row_groups
        if not len(order):
            return hit
        out: NDArray[np.bool_] = np.logical_or.reduceat(hit[order], start, axis=0)
        return out

    def worst_row(self, slack: Floats, element: Ints, step: Ints) -> Ints:
        """
        Return the end with least slack of elements at steps.

        Parameters
        ----------
        slack : numpy.ndarray, shape (n_row, n_step)
            By row. [pu]
        element, step : numpy.ndarray of int, shape (n,)
            Position as from `by_element`, and step.

        Returns
        -------
        numpy.ndarray of int, shape (n,)
            Rows.
        """
        order, start = self._row_groups
        end = np.append(start[1:], len(order))
        row = order[start[element]]
        for offset in range(1, int((end - start).max(initial=1))):
            at = np.minimum(start[element] + offset, end[element] - 1)
            other = order[at]
            row = np.where(slack[other, step] < slack[row, step], other, row)
        return row

    @cached_property
    def broken_elements(self) -> NDArray[np.bool_]:
        """
        Return the limits of elements that the base case breaks.

        Returns
        -------
        numpy.ndarray of bool, shape (n_element, n_step)
            As from `by_element`.
        """
        return self.by_element(self.broken)

    @cached_property
    def base_losses(self) -> float:
        """
        Return the losses of the base case, summed over all steps.

        Returns
        -------
        float
            Losses. [pu x step]
        """
        return float(self.losses(self.v).sum())

    @cached_property
    def base_peaks(self) -> Floats:
        """
        Return the largest current of each terminal in the base case.

        Returns
        -------
        numpy.ndarray, shape (n_terminal,)
            Currents. [pu]
        """
        out: Floats = np.abs(self.block.currents(self.v, self.drive)).max(
            axis=1, initial=0.0
        )
        return out

    @cached_property
    def base_lowest(self) -> Floats:
        """
        Return the lowest voltage of each node in the base case.

        Returns
        -------
        numpy.ndarray, shape (n_node,)
            Voltages. [pu]
        """
        out: Floats = np.abs(self.v).min(axis=1)
        return out

    @cached_property
    def base_highest(self) -> Floats:
        """
        Return the highest voltage of each node in the base case.

        Returns
        -------
        numpy.ndarray, shape (n_node,)
            Voltages. [pu]
        """
        out: Floats = np.abs(self.v).max(axis=1)
        return out

    @cached_property
    def _terminal_of_source(self) -> tuple[Ints, Ints, NDArray[np.complex128]]:
        """Return inner terminals, their local node (-1: source), fixed voltage."""
        feeder, block = self.feeder, self.block
        terminals = feeder.terminals.iloc[block.terminals]
        inner = np.flatnonzero(terminals["criterion"].to_numpy() != "source")
        local = np.full(len(feeder.nodes), -1, dtype=np.int64)
        local[block.nodes] = np.arange(len(block.nodes))
        fixed = np.zeros(len(feeder.nodes), dtype=complex)
        fixed[feeder.source_nodes] = feeder.source_v
        node = terminals["node"].to_numpy(dtype=np.int64)[inner]
        return inner, local[node], fixed[node]

    def losses(self, v: NDArray[np.complex128]) -> Floats:
        """
        Return the losses of the block's lines and transformers at each step.

        Parameters
        ----------
        v : numpy.ndarray of complex, shape (n_node, n_step)
            Voltages. [pu]

        Returns
        -------
        numpy.ndarray, shape (n_step,)
            Power that enters elements and does not leave them. [pu]
        """
        inner, node, fixed = self._terminal_of_source
        # sum of V conj(I) with I = T V + c, so that no array of currents is needed
        matrix = self.block.terminal_y[inner]
        source = self.block.terminal_source[inner]
        total = np.zeros(v.shape[1])
        at_source = np.flatnonzero(node < 0)
        for i in at_source:
            current = (matrix[[i]] @ v)[0] + source[i] * self.drive
            total += np.real(fixed[i] * self.drive * np.conj(current))
        free = np.flatnonzero(node >= 0)
        n = len(self.block.nodes)
        ends = sp.csr_array(
            (np.ones(len(free)), (node[free], free)), shape=(n, len(inner))
        )
        into = (ends @ matrix) @ v + (ends @ source)[:, None] * self.drive
        total += np.einsum("ns,ns->s", v.real, into.real)
        total += np.einsum("ns,ns->s", v.imag, into.imag)
        return total

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
        v0 = self.block.v_no_load
        drawn = (1.0 - 1j * self.tan_phi) / np.conj(self.port_voltage(v0))
        dv = -self.block.impedance * drawn
        at = self.limited
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
        for first in range(0, len(port), width):
            at = slice(first, first + width)
            solution = self.block.solve(
                self.states,
                step[at],
                added_port=port[at],
                added=added_kw[at] / self.block.base_kva,
                v_start=self.v,
                start_of=step[at],
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
        least = np.empty(len(step))
        which = np.empty(len(step), dtype=np.int64)
        every = np.full(len(step), -1) if only is None else only
        with threads_worth(v.size):
            least_slack(
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
                step,
                every,
                least,
                which,
            )
        if self.limits.on("voltage change"):
            change = self.limits.voltage_change_pu
            fall = self.block.voltage_fall(port, self.v, v, step)
            own = (change - fall) / change
            wanted = (every < 0) | (every == self.n_row)
            first = wanted & ~(own >= least)
            least[first], which[first] = own[first], self.n_row
        return least, which
