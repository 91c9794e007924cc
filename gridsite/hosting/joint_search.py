"""
Search for the joint capacity of one block.

The three kinds of split, and the linear programme behind the largest total,
are defined in `gridsite.hosting.joint_capacity`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.optimize import linprog

from gridsite.errors import SolveError
from gridsite.hosting.ageing_cuts import ageing_cuts
from gridsite.hosting.ageing_sets import SetAgeing
from gridsite.hosting.growth import row_size
from gridsite.hosting.joint import cut_rows, grid_rows, stack_rows
from gridsite.hosting.load_sets import Stop, common_share

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gridsite.hosting.base_case import BaseCase
    from gridsite.hosting.grid_case import GridCase

    Floats = NDArray[np.float64]

#: By how much the bound of the maximum relaxes every row and own limit. [-]
BOUND_MARGIN = 0.01

#: Rows leave this much of the materiality of broken limits unused; the bound
#: gives it back. [-]
_MATERIALITY_LEFT = 0.05

#: Rounds of linear programme and cuts.
_MAX_ROUNDS = 15

#: A proposal that is over its cuts by less than this is scaled back. [-]
_CLOSE = 2e-4


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """
    A split that passes, and what stops it.

    Parameters
    ----------
    kw : numpy.ndarray, shape (n,)
        Load of each connection; NaN where none was found. [kW]
    stop : Stop
        The limit that binds in AC.
    own : int
        Connection whose own limit binds; -1 where a shared one does.
    """

    kw: Floats
    stop: Stop
    own: int = -1


class JointSearch:
    """
    Search splits among connections of one block.

    Parameters
    ----------
    grid : GridCase
        Base cases.
    feeder_id : str
        Which block.
    port_ids : pandas.Index of str, shape (n,)
        The connections, each once.
    firm_kw : numpy.ndarray, shape (n,)
        Capacity of each alone. [kW]
    existing_kw : numpy.ndarray, shape (n_port,)
        Loads placed already, on all ports of the feeder model. [kW]
    tolerance_kw : float
        Width of the interval that holds a total. [kW]
    """

    def __init__(
        self,
        grid: GridCase,
        feeder_id: str,
        port_ids: pd.Index[str],
        firm_kw: Floats,
        existing_kw: Floats,
        tolerance_kw: float,
    ) -> None:
        self.grid, self.tolerance_kw = grid, tolerance_kw
        self.case: BaseCase = grid.block(feeder_id)
        self.port_ids = port_ids
        self.every = grid.feeder.ports.index[self.case.block.ports]
        self.port = self.every.get_indexer(port_ids)
        self.start = existing_kw[self.case.block.ports]
        self.firm = firm_kw
        self.cap = np.maximum(firm_kw - self.start[self.port], 0.0)
        self.aged = None if grid.ageing is None else SetAgeing(self.case, grid.ageing)

    def along(self, kw: Floats, own: int = -1) -> Split:
        """
        Return the largest part of a split that passes beside existing loads.

        Parameters
        ----------
        kw : numpy.ndarray, shape (n,)
            Load of each connection. [kW]
        own : int, default -1
            Connection whose own limit the whole split reaches.

        Returns
        -------
        Split
            The split, scaled.
        """
        sets = self.start, self._with(kw)
        stop = common_share(self.case, *sets, self.tolerance_kw)
        if self.aged is not None:
            stop = self.aged.cut_back(stop, *sets, self.tolerance_kw)
        if stop.row < 0 and stop.share < 1.0 and not stop.transformer:
            return Split(kw=np.full(len(kw), np.nan), stop=stop)
        return Split(
            kw=stop.share * kw, stop=stop, own=own if stop.share == 1.0 else -1
        )

    def _with(self, kw: Floats) -> Floats:
        """Return a split beside existing loads, on the block's ports."""
        out = self.start.copy()
        out[self.port] += kw
        return out

    @cached_property
    def equal(self) -> Split:
        """
        Return the largest split of the same load everywhere.

        Returns
        -------
        Split
            At most the smallest own capacity each.
        """
        least = int(self.cap.argmin())
        return self.along(np.full(len(self.cap), self.cap[least]), least)

    @cached_property
    def proportional(self) -> Split:
        """
        Return the largest split in proportion to capacities alone.

        Returns
        -------
        Split
            At most all of them.
        """
        share = np.full(len(self.cap), np.inf)
        np.divide(self.cap, self.firm, out=share, where=self.firm > 0.0)
        least = int(share.argmin())
        if not self.firm.any():
            return self.along(np.zeros(len(self.cap)), least)
        return self.along(share[least] * self.firm, least)

    @cached_property
    def largest(self) -> Split:
        """
        Return the split of largest total that was found.

        Returns
        -------
        Split
            No smaller than the others, nor than any single load that passes.
        """
        found = [s for s in (self.equal, self.proportional) if np.isfinite(s.kw).all()]
        if not all(s.stop.holds for s in found) or not self.cap.any():
            return self.equal
        kw = self._proposal
        full = int(self.cap.argmax()) if (kw >= self.cap).all() else -1
        best = max([self.along(kw, full), *found], key=_total)
        for k in np.argsort(-self.cap, kind="stable"):
            if not self.cap[k] > _total(best):
                break
            single = self.along(np.where(np.arange(len(kw)) == k, self.cap, 0.0), k)
            best = max(best, single, key=_total)
        return best

    @property
    def bound_kw(self) -> float:
        """
        Return what no split of this block exceeds, by relaxed rows.

        Returns
        -------
        float
            An estimate, `BOUND_MARGIN` beyond the rows. [kW]
        """
        if not self.equal.stop.holds or not self.cap.any():
            return 0.0
        self._proposal  # noqa: B018 its rounds add rows
        return float(self._solve(BOUND_MARGIN).sum())

    @cached_property
    def _proposal(self) -> Floats:
        """Return the split of the linear programme after rounds of cuts."""
        used = self.every.isin(self.port_ids) | (self.start > 0.0)
        names = self.every[used]
        self.rows, self.coefficients = grid_rows(self.grid, names)
        kw = self._solve()
        for number in range(1, _MAX_ROUNDS + 1):
            plan = pd.Series(self._with(kw), self.every)
            cuts, more = self._cuts(names, plan, number)
            if cuts.empty:
                break
            known = self.rows, self.coefficients
            self.rows, self.coefficients = stack_rows([known, (cuts, more)])
            drawn = more["coefficient"] * plan.loc[more["port_id"]].to_numpy()
            drawn = drawn.groupby(more["row_id"]).sum()
            room = cuts.set_index("row_id")["headroom"]
            if (drawn <= (1.0 + _CLOSE) * room.loc[drawn.index]).all():
                break
            kw = self._solve()
        return kw

    def _cuts(
        self, names: pd.Index[str], plan: pd.Series[float], number: int
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return rows that a plan breaks, ageing among them."""
        feeder_id = self.case.block.feeder_id
        here = pd.DataFrame({"feeder_id": [feeder_id]})
        both = [
            cut_rows(self.grid, names, plan, here, number),
            ageing_cuts(self.grid, names, plan, [feeder_id], number),
        ]
        return stack_rows(both)

    def _solve(self, margin: float = 0.0) -> Floats:
        """Return the split of largest total within rows relaxed by a margin."""
        rows, by_row = self.rows, self.coefficients
        at = pd.Index(rows["row_id"]).get_indexer(pd.Index(by_row["row_id"]))
        column = self.every.get_indexer(pd.Index(by_row["port_id"]))
        size = (len(rows), len(self.every))
        values = by_row["coefficient"].to_numpy(dtype=float)
        matrix = sp.csr_array((values, (at, column)), shape=size)
        room = rows["headroom"].to_numpy(dtype=float) * (1.0 + margin)
        cap = self.cap
        if margin > 0.0:
            room = room + _MATERIALITY_LEFT * self._materiality()
            wider = cap * (1.0 + margin) + self.tolerance_kw
            cap = np.where(self.firm > 0.0, wider, 0.0)
        left = np.maximum(room - matrix @ self.start, 0.0)
        result = linprog(
            -np.ones(len(cap)),
            A_ub=matrix[:, self.port],
            b_ub=left,
            bounds=np.column_stack([np.zeros(len(cap)), cap]),
            method="highs",
        )
        if result.x is None:
            msg = (
                f"joint capacity of {self.case.block.feeder_id!r}: the linear "
                f"programme has no solution ({result.message}); name fewer connections"
            )
            raise SolveError(msg, result)
        split: Floats = np.clip(result.x, 0.0, cap)
        return split

    def _materiality(self) -> Floats:
        """Return the materiality of each row in its unit."""
        case = self.case
        size = row_size(case) * case.materiality
        limits = case.rows.iloc[: case.n_row].assign(size=size)
        most = limits.groupby(["criterion", "element"])["size"].max()
        keys = pd.MultiIndex.from_frame(self.rows[["criterion", "element"]])
        # a row of ageing lies where all that it may move is used
        out: Floats = most.reindex(keys, fill_value=0.0).to_numpy(dtype=np.float64)
        return out


def _total(split: Split) -> float:
    """Return the total of a split; none is less than any."""
    total = float(split.kw.sum())
    return total if np.isfinite(total) else -1.0
