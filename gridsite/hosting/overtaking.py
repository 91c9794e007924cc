"""Where limits that are not followed come nearest to those that are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numba as nb
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: Limits that by linear estimate are never this near the first are left alone. [-]
_CLOSE = 1.05


def overtaking(
    slack: Floats, inverse: Floats, load: Ints, row: Ints, first: NDArray[np.bool_]
) -> tuple[Ints, Ints]:
    """
    Return limits that may bind before those known to bind first, and where.

    Parameters
    ----------
    slack : numpy.ndarray, shape (n_row, n_step)
        What is left of each limit. [pu]
    inverse : numpy.ndarray, shape (n_row, n_load)
        Load for which each limit loses 1 pu, by linear estimate. [kW/pu]
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
    _nearest(slack, np.ascontiguousarray(inverse.T), start, row, first, ratio, step)
    pairs = np.flatnonzero(ratio < _CLOSE)
    return pairs, np.unique(step[pairs])


@nb.njit(cache=True, parallel=True, error_model="numpy")
def _nearest(slack, inverse, start, row, first, ratio, step):  # pragma: no cover
    """Fill the least ratio of each pair's load to the first one's, and its step."""
    n_step = slack.shape[1]
    for k in nb.prange(len(start) - 1):
        low = np.full(n_step, np.inf)
        for i in range(start[k], start[k + 1]):
            if first[i]:
                weight = inverse[k, row[i]]
                for t in range(n_step):
                    low[t] = min(low[t], slack[row[i], t] * weight)
        for t in range(n_step):
            low[t] = 1.0 / low[t]
        for i in range(start[k], start[k + 1]):
            if first[i]:
                continue
            weight = inverse[k, row[i]]
            least, at = np.inf, 0
            for t in range(n_step):
                value = slack[row[i], t] * low[t]
                if value < least:
                    least, at = value, t
            ratio[i], step[i] = least * weight, at
