"""Where limits that are not followed come nearest to those that are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gridsite.hosting.envelope_kernels import nearest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: Limits that by linear estimate are never this near the first are left alone. [-]
_CLOSE = 1.05


def overtaking(
    slack: Floats,
    inverse: Floats,
    most_kw: Floats,
    load: Ints,
    row: Ints,
    first: NDArray[np.bool_],
) -> tuple[Ints, Ints]:
    """
    Return limits that may bind before those known to bind first, and where.

    Parameters
    ----------
    slack : numpy.ndarray, shape (n_row, n_step)
        What is left of each limit. [pu]
    inverse : numpy.ndarray, shape (n_row, n_load)
        Load for which each limit loses 1 pu, by linear estimate. [kW/pu]
    most_kw : numpy.ndarray, shape (n_load,)
        What a limit that is the same at all steps leaves to each load. [kW]
    load, row : numpy.ndarray of int, shape (n,)
        Pairs to look at, by load.
    first : numpy.ndarray of bool, shape (n,)
        Which of them are known to bind first at some step.

    Returns
    -------
    pairs : numpy.ndarray of int
        Positions of the others that come near at some step of all.
    steps : numpy.ndarray of int
        The steps at which they come nearest, each once.
    """
    start = np.searchsorted(load, np.arange(inverse.shape[1] + 1))
    ratio = np.full(len(load), np.inf)
    step = np.zeros(len(load), dtype=np.int64)
    weights = np.ascontiguousarray(inverse.T)
    nearest(slack, weights, most_kw, start, row, first, ratio, step)
    pairs = np.flatnonzero(ratio < _CLOSE)
    return pairs, np.unique(step[pairs])
