"""
The trunk of a split feeder, with each leaf as one load, and what leaves tell it.

The trunk's limits leave something to each head at each step; a leaf minds by how
much the voltage of its head falls.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.hosting.block_rating import BlockRating
from gridsite.hosting.closed_steps import Closed, closed_by_base
from gridsite.hosting.flexible import energy_rating
from gridsite.hosting.rows import blank_rows, open_rows, refuse, refuse_flexible
from gridsite.hosting.settings import Outside, Settings
from gridsite.hosting.slack_kernels import least_share

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gridsite.feeder.split import Split
    from gridsite.hosting.grid_case import GridCase
    from gridsite.hosting.rows import Rows

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: Share of a leaf's load that may be lost on its way from the head. [-]
_LOSSES = 0.1


@dataclass(frozen=True, kw_only=True)
class Reach:
    """
    What a leaf tells the rest of the feeder.

    Parameters
    ----------
    spare : numpy.ndarray, shape (n_step,)
        Fall of the head's voltage that no limit of the leaf minds. [pu]
    first : tuple of str
        Criterion and element of the limit that minds first.
    broken : numpy.ndarray of bool, shape (n_step,)
        Steps at which the base case breaks a voltage limit.
    deepest : tuple of (str, int)
        Element and step of the one broken most; of no meaning where none is.
    """

    spare: Floats
    first: tuple[str, str]
    broken: NDArray[np.bool_]
    deepest: tuple[str, int]

    @cached_property
    def least(self) -> float:
        """
        Return the least of `spare` over the steps.

        Returns
        -------
        float
            Fall of the head's voltage. [pu]
        """
        return float(self.spare.min(initial=np.inf))


def reach_of(rating: BlockRating) -> Reach:
    """
    Return what a fall of the voltage at a leaf's head may do in the leaf.

    Parameters
    ----------
    rating : BlockRating
        Of the leaf.

    Returns
    -------
    Reach
        By bounds.
    """
    case, response, screen = rating.case, rating.response, rating.screen
    # relative changes of all voltages stay below gain x the fall (see `Screen`)
    gain = 1.0 / np.maximum(1.0 - 1.3 * screen.kappa_step, 1e-3)
    n = case.n_voltage
    spare, first_row = np.empty(len(gain)), np.empty(len(gain), dtype=np.int64)
    sizes = np.abs(case.phasors_of(np.arange(case.first_unbalance, case.n_row)))
    least_share(response.row_slack, case.upper_limit, sizes, gain, spare, first_row)
    row = int(first_row[spare.argmin()]) if case.n_row else -1
    names = case.rows[["criterion", "element"]]
    first = tuple(names.iloc[row].astype(str)) if case.n_row else ("", "")
    hit, deepest = case.broken[:n], ("", 0)
    if hit.any():
        lowest = np.where(hit, case.slack[:n], 0.0).argmin()
        worst, step = np.unravel_index(lowest, hit.shape)
        deepest = (str(case.rows["element"].iloc[int(worst)]), int(step))
    return Reach(
        spare=spare,
        first=(first[0], first[1]),
        broken=np.asarray(hit.any(axis=0)),
        deepest=deepest,
    )


class Trunk:
    """
    The trunk, with each leaf as one load.

    Parameters
    ----------
    grid : GridCase
        Base cases.
    feeder_id : str
        Which block.
    split : Split
        Its parts.
    settings : Settings
        How connections are rated.
    """

    def __init__(
        self, grid: GridCase, feeder_id: str, split: Split, settings: Settings
    ) -> None:
        self.split = split
        self.case = grid.part(split.trunk, feeder_id, split.trunk_profiles)
        ports = split.trunk.ports.loc[list(split.leaf_ports)]
        group = pd.DataFrame(
            {
                "building_id": ports.index,
                "port_id": ports.index,
                "feeder_id": feeder_id,
                "bus": ports["bus"].to_numpy(),
                "phases": ports["phases"].to_numpy(),
                "service_a": np.nan,
                "service_v": np.nan,
                "assumed": False,
            }
        )
        self.rating = BlockRating(self.case, split.trunk_profiles, group, settings)
        self.table = blank_rows(group)
        rated = self.rating.without_unrated(self.table)
        self.unrated = ~(rated & self.rating.ageing_known(self.table))
        self.rating.rate(self.table, np.arange(len(group)), estimate=True)
        firm = np.zeros(len(group))  # its own capacities are not verified
        envelope = self.rating.envelope
        least = energy_rating(envelope.headroom_kw(firm), min(settings.levels))
        envelope.confirm(firm, least, whole=False)
        self.headroom = envelope.headroom_kw(firm)

    def outside(self, part: int, n: int) -> Outside:
        """
        Return what the trunk leaves to the connections of a part.

        Parameters
        ----------
        part : int
            Position of a leaf; the trunk itself is the last.
        n : int
            How many connections.

        Returns
        -------
        Outside
            All of it to each.
        """
        n_step = len(self.case.time)
        if part == len(self.split.leaves):
            free = np.full((n, n_step), np.inf)
            return Outside(headroom_kw=free, criterion="", element="")
        # a trunk that was not rated leaves nothing
        known = self.table["firm_kw"][part] >= 0.0
        left = self.headroom[part] if known else np.zeros(n_step)
        return Outside(
            headroom_kw=np.broadcast_to(left / (1.0 + _LOSSES), (n, n_step)),
            criterion=str(self.table["limit_criterion"][part]),
            element=str(self.table["limit_element"][part]),
        )

    def closed(self, leaf: int, drop: Floats) -> Closed:
        """
        Return the steps that limits of the trunk, broken already, close.

        Parameters
        ----------
        leaf : int
            Which.
        drop : numpy.ndarray, shape (n,)
            Fall of the voltage at each connection by itself, per pu drawn. [pu]

        Returns
        -------
        Closed
            By connection of the leaf.
        """
        case, port = self.case, self.rating.port[leaf]
        n, acts_on = case.n_voltage, case.limits.acts_on
        acts = np.repeat(case.acts_on[:, [port]], len(drop), axis=1)
        acts[:n] = case.effect[0][:, [port]] >= acts_on * drop
        return closed_by_base(case, np.full(len(drop), port), acts)

    def refuse(self, out: Rows, leaf: int) -> None:
        """
        Give no value where the trunk is unrated, or ages too fast already.

        Parameters
        ----------
        out : dict of numpy.ndarray
            Hosting rows of a leaf, changed in place.
        leaf : int
            Which.
        """
        table = self.table
        ages = table["firm_status"][leaf] == "none_base_violation"
        for hit, status, kw in (
            (ages, "none_base_violation", 0.0),
            (self.unrated[leaf], "unrated", np.nan),
        ):
            at = np.flatnonzero(open_rows(out))
            if not hit or not len(at):
                continue
            firm = out["firm_status"][at] != "none_base_violation"
            refuse_flexible(out, at[~firm], status, kw)
            at = at[firm]
            refuse(out, at, status, kw)
            for name in ("limit_criterion", "limit_element", "limit_time"):
                out[name][at] = table[name][leaf]

    @cached_property
    def head_impedance(self) -> Floats:
        """
        Return the size of the impedance from each port to each head.

        Returns
        -------
        numpy.ndarray, shape (n_leaf, n_port)
            Impedance. [pu]
        """
        case = self.case
        ports = case.feeder.ports.index[case.block.ports]
        heads = ports.get_indexer(pd.Index(self.split.leaf_ports))
        z: Floats = np.abs(case.block.impedance[case.block.port_node[heads]])
        return z

    @cached_property
    def lowest(self) -> float:
        """
        Return the lowest voltage of the trunk in the base case.

        Returns
        -------
        float
            Voltage. [pu]
        """
        return float(self.case.figures.lowest.min())

    def head_drop(self, part: int, inside: pd.DataFrame) -> Floats:
        """
        Return the fall of each head's voltage per kW drawn.

        Parameters
        ----------
        part : int
            Position of a leaf; the trunk itself is the last.
        inside : pandas.DataFrame
            The part's connections.

        Returns
        -------
        numpy.ndarray, shape (n, n_leaf)
            An upper bound, by connection and head. [pu]
        """
        case, split = self.case, self.split
        ports = case.feeder.ports.index[case.block.ports]
        heads = ports.get_indexer(pd.Index(split.leaf_ports))
        at = ports.get_indexer(pd.Index(inside["port_id"]))
        if part < len(split.leaves):
            at = np.full(len(inside), heads[part])
        z = self.head_impedance
        size = np.sqrt(1.0 + case.tan_phi**2) / case.block.base_kva
        drop: Floats = z[:, at].T * size / self.lowest * (1.0 + _LOSSES)
        return drop
