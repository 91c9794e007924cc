"""
Base cases in which values of a large feeder are looked at again.

A value at one connection and one step is seen well in the trunk with the leaf of
that connection; other leaves draw what they draw, whatever is added.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gridsite.feeder.split import trunk_with

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from gridsite.feeder.split import Split
    from gridsite.hosting.base_case import BaseCase
    from gridsite.hosting.grid_case import GridCase

    Ints = NDArray[np.int64]
    #: steps held, which items are at them, where among them, and the case
    At = tuple[Ints, Ints, Ints, BaseCase]

#: Steps of the whole feeder that are held at once.
_HELD_STEPS = 400


def whole_cases(grid: GridCase, feeder_id: str, step: Ints) -> Iterator[At]:
    """
    Yield base cases of a whole block that hold the steps of some items.

    Parameters
    ----------
    grid : GridCase
        Base cases.
    feeder_id : str
        Which block.
    step : numpy.ndarray of int, shape (n,)
        Of each item.

    Yields
    ------
    held : numpy.ndarray of int
        Steps of the case.
    at : numpy.ndarray of int
        Items at them.
    now : numpy.ndarray of int
        Where among the steps held each of these items is.
    case : BaseCase
        Solved.
    """
    for held, at, now in _batches(step):
        yield held, at, now, grid.whole_at(feeder_id, held)


def near_cases(
    grid: GridCase, feeder_id: str, split: Split, part: int, step: Ints
) -> Iterator[At]:
    """
    Yield base cases of the trunk with one leaf that hold the steps of some items.

    Parameters
    ----------
    grid : GridCase
        Base cases.
    feeder_id : str
        Which block.
    split : Split
        Its parts.
    part : int
        Position of the leaf; beyond the last for the trunk alone.
    step : numpy.ndarray of int, shape (n,)
        Of each item.

    Yields
    ------
    held, at, now, case
        As from `whole_cases`.
    """
    profiles = grid.profiles_of(feeder_id)
    for held, at, now in _batches(step):
        here = profiles.at_steps(held)
        feeder, drawn = trunk_with(grid.feeder, here, split, part, held)
        yield held, at, now, grid.part(feeder, feeder_id, drawn)


def ports_of(case: BaseCase, port_ids: NDArray[Any]) -> Ints:
    """
    Return positions of ports in a case.

    Parameters
    ----------
    case : BaseCase
        The block, or a part of it.
    port_ids : numpy.ndarray of str, shape (n,)
        Names of ports of the feeder.

    Returns
    -------
    numpy.ndarray of int, shape (n,)
        Positions; -1 for ports of other parts.
    """
    names = case.feeder.ports.index[case.block.ports]
    found: Ints = names.get_indexer(pd.Index(port_ids)).astype(np.int64)
    return found


def parts_of(split: Split, port_ids: pd.Index) -> Ints:
    """
    Return the part that each port stands in.

    Parameters
    ----------
    split : Split
        Parts of a block.
    port_ids : pandas.Index, shape (n,)
        Ports of the block.

    Returns
    -------
    numpy.ndarray of int, shape (n,)
        Position of the leaf; that beyond the last for the trunk.
    """
    part = np.full(len(port_ids), len(split.leaves))
    for i, (leaf, _) in enumerate(split.leaves):
        part[port_ids.isin(leaf.ports.index)] = i
    return part


def _batches(step: Ints) -> Iterator[tuple[Ints, Ints, Ints]]:
    """Yield steps held together, which items are at them, and where."""
    every = np.unique(step)
    for first in range(0, len(every), _HELD_STEPS):
        held = every[first : first + _HELD_STEPS]
        at = np.flatnonzero(np.isin(step, held))
        yield held, at, np.searchsorted(held, step[at])
