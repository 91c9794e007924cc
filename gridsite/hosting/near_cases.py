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
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from gridsite.feeder.split import Split
    from gridsite.hosting.base_case import BaseCase
    from gridsite.hosting.grid_case import GridCase

    Ints = NDArray[np.int64]
    #: steps held, which items are at them, where among them, and the case
    At = tuple[Ints, Ints, Ints, BaseCase]

#: Steps of the whole feeder that are held at once.
_HELD_STEPS = 400


def cases_at(
    grid: GridCase, feeder_id: str, step: Ints, part: int | None = None
) -> Iterator[At]:
    """
    Yield base cases of a large block that hold the steps of some items.

    Parameters
    ----------
    grid : GridCase
        Base cases.
    feeder_id : str
        Which block; with ``part`` one that is split.
    step : numpy.ndarray of int, shape (n,)
        Of each item.
    part : int, optional
        Leaf that the trunk is held with, beyond the last the trunk alone; the
        whole block by default.

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
    split, profiles = grid.split(feeder_id), grid.profiles_of(feeder_id)
    every = np.unique(step)
    for first in range(0, len(every), _HELD_STEPS):
        held = every[first : first + _HELD_STEPS]
        at = np.flatnonzero(np.isin(step, held))
        if part is None or split is None:
            case = grid.whole_at(feeder_id, held)
        else:
            here = profiles.at_steps(held)
            near = trunk_with(grid.feeder, here, split, part, held)
            case = grid.part(near[0], feeder_id, near[1])
        yield held, at, np.searchsorted(held, step[at]), case


def kept_cases(
    grid: GridCase, feeder_id: str, step: Ints, part: int
) -> Callable[[Ints], Iterator[At]]:
    """
    Return `cases_at` of the trunk with one part, solved once for all steps of use.

    Parameters
    ----------
    grid : GridCase
        Base cases.
    feeder_id : str
        Which block; one that is split.
    step : numpy.ndarray of int
        Every step that will be asked for.
    part : int
        Leaf that the trunk is held with.

    Returns
    -------
    callable
        Takes the steps of some items, and yields as `cases_at` does.
    """
    kept = [(held, case) for held, _, _, case in cases_at(grid, feeder_id, step, part)]

    def at_steps(step: Ints) -> Iterator[At]:
        for held, case in kept:
            at = np.flatnonzero(np.isin(step, held))
            if len(at):
                yield held, at, np.searchsorted(held, step[at]), case

    return at_steps


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
