"""What a replay compares a plan with: losses, peaks and broken limits of the base."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gridsite.hosting.base_case import BaseCase

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


class BaseFigures:
    """
    Figures of a base case, worked out once each.

    Parameters
    ----------
    case : BaseCase
        Solved.
    """

    def __init__(self, case: BaseCase) -> None:
        self.case = case

    @cached_property
    def _row_number(self) -> Ints:
        """Return which limited node or element each row is of."""
        keys = self.case.rows.iloc[:-1].groupby(["criterion", "element"], sort=False)
        number: Ints = np.asarray(keys.ngroup(), dtype=np.int64)
        return number

    @cached_property
    def _row_groups(self) -> tuple[Ints, Ints]:
        """Return rows ordered by element, and where each element starts."""
        number = self._row_number
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
        out = np.zeros((self._row_number.max(initial=-1) + 1, hit.shape[1]), np.bool_)
        for row in np.flatnonzero(hit.any(axis=1)):
            out[self._row_number[row]] |= hit[row]
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
        return self.by_element(self.case.broken)

    @cached_property
    def base_losses(self) -> float:
        """
        Return the losses of the base case, summed over all steps.

        Returns
        -------
        float
            Losses. [pu x step]
        """
        return float(self.losses(self.case.v).sum())

    @cached_property
    def peaks(self) -> Floats:
        """
        Return the largest current of each terminal in the base case.

        Returns
        -------
        numpy.ndarray, shape (n_terminal,)
            Currents. [pu]
        """
        case = self.case
        current = np.abs(case.block.currents(case.v, case.drive))
        out: Floats = current.max(axis=1, initial=0.0)
        return out

    @cached_property
    def lowest(self) -> Floats:
        """
        Return the lowest voltage of each node in the base case.

        Returns
        -------
        numpy.ndarray, shape (n_node,)
            Voltages. [pu]
        """
        out: Floats = np.abs(self.case.v).min(axis=1)
        return out

    @cached_property
    def highest(self) -> Floats:
        """
        Return the highest voltage of each node in the base case.

        Returns
        -------
        numpy.ndarray, shape (n_node,)
            Voltages. [pu]
        """
        out: Floats = np.abs(self.case.v).max(axis=1)
        return out

    @cached_property
    def _terminal_of_source(self) -> tuple[Ints, Ints, NDArray[np.complex128]]:
        """Return inner terminals, their local node (-1: source), fixed voltage."""
        feeder, block = self.case.feeder, self.case.block
        terminals = feeder.terminals.iloc[block.terminals]
        inner = np.flatnonzero(terminals["criterion"].to_numpy() != "source")
        fixed = np.zeros(len(feeder.nodes), dtype=complex)
        fixed[feeder.source_nodes] = feeder.source_v
        node = terminals["node"].to_numpy(dtype=np.int64)[inner]
        return inner, block.position(node), fixed[node]

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
        block, drive = self.case.block, self.case.drive
        # sum of V conj(I) with I = T V + c, so that no array of currents is needed
        matrix = block.terminal_y[inner]
        source = block.terminal_source[inner]
        total = np.zeros(v.shape[1])
        at_source = np.flatnonzero(node < 0)
        for i in at_source:
            current = (matrix[[i]] @ v)[0] + source[i] * drive
            total += np.real(fixed[i] * drive * np.conj(current))
        free = np.flatnonzero(node >= 0)
        n = len(block.nodes)
        ends = sp.csr_array(
            (np.ones(len(free)), (node[free], free)), shape=(n, len(inner))
        )
        into = (ends @ matrix) @ v + (ends @ source)[:, None] * drive
        total += np.einsum("ns,ns->s", v.real, into.real)
        total += np.einsum("ns,ns->s", v.imag, into.imag)
        return total
