"""
Base cases of a whole feeder model: its blocks, in parts where they are large.

Tap changers and controls that act do so here, with the base load.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from gridsite.errors import BaseCaseError, ConfigError, DataError
from gridsite.feeder.acting_taps import let_taps_act
from gridsite.feeder.control_settings import at_setting, control_course
from gridsite.feeder.load_parts import profiles_of_parts
from gridsite.feeder.split import Split, split_feeder
from gridsite.hosting.base_case import BaseCase

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
        silent = ~ports.index.isin(loads.port_ids) & (ports["p_kw"] <= 0.0)
        silent &= ports["kind"] == "generation"  # what draws power is not off
        #: what the reader and this case assumed, in words
        self.notes = (*feeder.notes, *loads.notes)
        if silent.any():
            self.notes += (
                f"{int(silent.sum())} generator(s) are off: no profile, or asked for",
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

    def whole_at(self, feeder_id: str, steps: Ints) -> BaseCase:
        """
        Return the base case of a whole block at some steps alone.

        Parameters
        ----------
        feeder_id : str
            Which block.
        steps : numpy.ndarray of int, shape (n_step,)
            Which steps, in order.

        Returns
        -------
        BaseCase
            Solved, with the stamps of these steps.
        """
        profiles = self.profiles_of(feeder_id)
        case = self.part(self.feeder, feeder_id, profiles.at_steps(steps))
        case.time, case.step_hours = profiles.time[steps], profiles.step_hours
        return case

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
