"""
Counts from prices: fast plans that no solver was asked for.

A dive fixes the counts that the averages of the relaxation leave no doubt about and
improves the prices of what is left; a local search then opens, closes and swaps,
each move priced by an exact transport problem (``transport``).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gridsite.siting.lagrangean import Prices, Relaxation
    from gridsite.siting.transport import Transport

#: Distance of an average from a whole number that leaves no doubt.
_SURE = 0.01

#: Share of the undecided counts that each round of a dive decides at least.
_DECIDED = 0.25

#: Evaluations of a round of a dive.
_ROUND_STEPS = 60

#: Gain of a move that is worth it [share of the cost].
_GAIN = 1e-9

#: Most options that are opened or closed in turn.
_MOST_MOVES = 40


def dive(relaxation: Relaxation, prices: Prices, *, end: float) -> np.ndarray | None:
    """
    Return counts near the averages of the relaxation.

    Parameters
    ----------
    relaxation : Relaxation
        The relaxation.
    prices : Prices
        Its prices.
    end : float
        Clock time at which to stop. [s]

    Returns
    -------
    numpy.ndarray of int, shape (n_options,), or None
        None if time is up or rows are passed.
    """
    least, most = relaxation.least.copy(), relaxation.most.copy()
    while (least < most).any():
        if time.perf_counter() > end:
            return None
        open_ = np.flatnonzero(least < most)
        average = np.clip(prices.units[open_], least[open_], most[open_])
        doubt = np.abs(average - np.round(average))
        few = np.argsort(doubt, kind="stable")[: int(np.ceil(_DECIDED * len(open_)))]
        sure = np.union1d(np.flatnonzero(doubt < _SURE), few)
        least[open_[sure]] = most[open_[sure]] = np.round(average[sure]).astype(int)
        short = relaxation.lacks(most)
        for m in open_[sure[np.argsort(-average[sure], kind="stable")]]:
            if short <= 0.0:
                break
            short -= (relaxation.most[m] - most[m]) * relaxation.it_kw[m]
            least[m] = most[m] = relaxation.most[m]
        reaching = repaired(relaxation, most, end=end)
        least = np.where(reaching > most, reaching, least)
        most = reaching
        narrow = relaxation.within(least, most)
        prices = narrow.improve(steps=_ROUND_STEPS, start=prices)
    return within_rows(relaxation, least, end=end)


def within_rows(
    relaxation: Relaxation, counts: np.ndarray, *, end: float
) -> np.ndarray | None:
    """
    Return counts with units taken from rows that are passed, and put elsewhere.

    Parameters
    ----------
    relaxation : Relaxation
        The relaxation.
    counts : numpy.ndarray of int, shape (n_options,)
        Units of each option.
    end : float
        Clock time at which to stop. [s]

    Returns
    -------
    numpy.ndarray of int, shape (n_options,), or None
        None if time is up, or rows are passed whatever is taken away.
    """
    counts = counts.copy()
    while not relaxation.keeps_rows(counts):
        worst = relaxation.share_of_worst_row(counts)
        worst = np.where(counts > relaxation.least, worst / relaxation.it_kw, 0.0)
        if not worst.max(initial=0.0) > 0.0 or time.perf_counter() > end:
            return None
        counts[int(np.argmax(worst))] -= 1
    return repaired(relaxation, counts, end=end, keep_rows=True)


def repaired(
    relaxation: Relaxation, counts: np.ndarray, *, end: float, keep_rows: bool = False
) -> np.ndarray:
    """
    Return counts with units added until all demand finds a pool with room.

    Parameters
    ----------
    relaxation : Relaxation
        The relaxation.
    counts : numpy.ndarray of int, shape (n_options,)
        Units of each option.
    end : float
        Clock time at which to stop. [s]
    keep_rows : bool, default False
        Whether units that would pass a row are left out.

    Returns
    -------
    numpy.ndarray of int, shape (n_options,)
        At least the counts given.
    """
    counts = counts.copy()
    while time.perf_counter() < end:
        gain = np.where(counts < relaxation.most, relaxation.short(counts), 0.0)
        if keep_rows and gain.any():
            gain *= relaxation.has_room(counts)
        best = int(np.argmax(gain)) if len(gain) else 0
        if not gain.any():
            break
        counts[best] += 1
    return counts


def descend(
    relaxation: Relaxation,
    transport: Transport,
    prices: Prices,
    counts: np.ndarray,
    *,
    end: float,
) -> tuple[np.ndarray, float]:
    """
    Return counts that no move makes better.

    Parameters
    ----------
    relaxation : Relaxation
        The relaxation: bounds of the counts, rows and caps.
    transport : Transport
        What counts cost.
    prices : Prices
        Prices that say which moves are likely to pay.
    counts : numpy.ndarray of int, shape (n_options,)
        Where to start.
    end : float
        Clock time at which to stop. [s]

    Returns
    -------
    counts : numpy.ndarray of int, shape (n_options,)
        The best counts seen.
    cost : float
        What they cost. [money]
    """
    best = transport.cost(counts)[0]
    seen = {counts.tobytes()}
    moved = transport.quick(counts)
    while moved:
        moved = False
        for other in _neighbours(relaxation, prices, counts):
            if time.perf_counter() > end:
                return counts, best
            key = other.tobytes()
            if key in seen:
                continue
            seen.add(key)
            cost = transport.cost(other)[0]
            if cost < best - _GAIN * abs(best):
                counts, best, moved = other, cost, True
                break
    return counts, best


def _neighbours(
    relaxation: Relaxation, prices: Prices, counts: np.ndarray
) -> Iterator[np.ndarray]:
    """Yield counts with a unit less, a unit moved, a unit more, likely ones first."""
    worth = prices.units - counts
    fewer = np.flatnonzero(counts > relaxation.least)
    fewer = fewer[np.argsort(worth[fewer], kind="stable")][:_MOST_MOVES]
    more = np.flatnonzero(counts < relaxation.most)
    more = more[np.argsort(-worth[more], kind="stable")][:_MOST_MOVES]
    steps: list[tuple[int, int]] = [(i, -1) for i in fewer.tolist()]
    steps += [(-1, j) for j in more.tolist()]
    pairs = [(i, j) for i in fewer.tolist() for j in more.tolist() if i != j]
    pairs.sort(key=lambda pair: worth[pair[0]] - worth[pair[1]])
    for out, into in steps + pairs:
        other = counts.copy()
        if out >= 0:
            other[out] -= 1
        if into >= 0:
            other[into] += 1
        if relaxation.lacks(other) <= 0.0 and relaxation.keeps_rows(other):
            yield other


def rounded(
    relaxation: Relaxation, least: np.ndarray, most: np.ndarray, prices: Prices
) -> np.ndarray:
    """
    Return the averages of the relaxation as whole counts with enough power.

    Parameters
    ----------
    relaxation : Relaxation
        The relaxation.
    least, most : numpy.ndarray of int, shape (n_options,)
        Bounds of the counts.
    prices : Prices
        Prices with the averages.

    Returns
    -------
    numpy.ndarray of int, shape (n_options,)
        Rounded to the nearest, then up where that lacks power.
    """
    counts = np.clip(np.round(prices.units), least, most).astype(np.int64)
    for m in np.argsort(counts - prices.units, kind="stable"):
        if relaxation.lacks(counts) <= 0.0:
            break
        counts[m] = min(counts[m] + 1, most[m])
    return counts
