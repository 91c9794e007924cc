"""
Steps at which a connection has no headroom, by a limit that is broken already.

A limit that the base case breaks leaves nothing to the loads that act on it in the
direction that harms: at the steps at which it is broken. Firm capacity, the least
over all steps, is then 0; at other steps there is headroom, and flexible capacity
rests on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gridsite.hosting.base_case import BaseCase

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]
    Names = NDArray[np.object_]


@dataclass(frozen=True, kw_only=True)
class Closed:
    """
    Steps closed to connections, and the limit that is broken most.

    Parameters
    ----------
    steps : numpy.ndarray of bool, shape (n, n_step)
        Which steps are closed to which connection.
    criterion, element : numpy.ndarray of str, shape (n,)
        The limit; of a connection without a closed step they say nothing.
    when : numpy.ndarray of int, shape (n,)
        Step at which it is broken most.
    """

    steps: Bools
    criterion: Names
    element: Names
    when: Ints

    @property
    def some(self) -> Bools:
        """
        Return which connections have a closed step.

        Returns
        -------
        numpy.ndarray of bool, shape (n,)
            By connection.
        """
        return np.asarray(self.steps.any(axis=1))


def joined(*parts: Closed | None) -> Closed | None:
    """
    Return the steps that any of several limits close.

    Parameters
    ----------
    *parts : Closed or None
        Of the same connections; the first that closes a step of a connection names
        its limit.

    Returns
    -------
    Closed or None
        None where no part closes a step.
    """
    found = None
    for part in parts:
        if part is None or not part.steps.any():
            continue
        found = part if found is None else _both(found, part)
    return found


def _both(first: Closed, rest: Closed) -> Closed:
    """Return the steps that either closes; the first names the limit where it can."""
    own = first.some
    return Closed(
        steps=first.steps | rest.steps,
        criterion=np.where(own, first.criterion, rest.criterion),
        element=np.where(own, first.element, rest.element),
        when=np.where(own, first.when, rest.when),
    )


def closed_by_base(case: BaseCase, port: Ints, acts: Bools | None = None) -> Closed:
    """
    Return the steps that limits which the base case breaks close to loads.

    Parameters
    ----------
    case : BaseCase
        A block.
    port : numpy.ndarray of int, shape (n,)
        Where loads are added.
    acts : numpy.ndarray of bool, shape (n_row, n), optional
        Which load acts on which limit; by ``case.acts_on`` by default.

    Returns
    -------
    Closed
        The limit named is the one broken most, over its size, where the load
        worsens it; the element of a voltage limit is a bus.
    """
    n, n_step = len(port), len(case.time)
    steps = np.zeros((n, n_step), dtype=np.bool_)
    deepest, first = np.zeros(n), np.full(n, -1)
    when = np.zeros(n, dtype=np.int64)
    for row in case.broken_rows:
        on = np.flatnonzero(case.acts_on[row, port] if acts is None else acts[row])
        hit = _worsened(case, int(row), port[on])
        steps[on] |= hit
        depth = np.where(hit, case.slack[row] / case.scale[row], 0.0)
        at = depth.argmin(axis=1)
        least = depth[np.arange(len(on)), at]
        lower = least < deepest[on]
        deepest[on[lower]], first[on[lower]] = least[lower], row
        when[on[lower]] = at[lower]
    names = case.rows[["criterion", "element"]].to_numpy(dtype=object)
    return Closed(
        steps=steps, criterion=names[first, 0], element=names[first, 1], when=when
    )


def _worsened(case: BaseCase, row: int, port: Ints) -> Bools:
    """Return which broken steps loads may not use, as they break the limit further."""
    hit: Bools = np.broadcast_to(case.broken[row], (len(port), len(case.time)))
    # the unbalance that a load takes away comes back as it grows
    if row < case.n_voltage or row >= case.first_unbalance or not len(port):
        return hit
    step = np.flatnonzero(case.broken[row])
    matrix = case.upper_y[[row - case.n_voltage]]
    v = case.v[:, step]
    now = (matrix @ v)[0] + case.upper_source[row - case.n_voltage] * case.drive[step]
    drawn = (1 - 1j * case.tan_phi) / np.conj(case.port_voltage(v)[port])
    reach = -(matrix @ case.block.impedance[:, port])[0]
    harms = np.real(np.conj(now) * reach[:, None] * drawn) > 0.0
    # a load that harms at some step breaks it anew at others, once it is large
    out = np.zeros(hit.shape, dtype=np.bool_)
    out[:, step] = harms.any(axis=1)[:, None]
    return out


def closing_row(case: BaseCase, port: Ints, step: Ints) -> Ints:
    """
    Return the limit that closes single steps to loads.

    Parameters
    ----------
    case : BaseCase
        A block.
    port, step : numpy.ndarray of int, shape (n,)
        Where and when.

    Returns
    -------
    numpy.ndarray of int, shape (n,)
        Of those broken without the load which it breaks further, the one broken most
        over its size; -1 for none.
    """
    deepest, out = np.zeros(len(port)), np.full(len(port), -1)
    ports, own = np.unique(port, return_inverse=True)
    for row in case.broken_rows:
        hit = case.acts_on[row, port] & _worsened(case, int(row), ports)[own, step]
        depth = np.where(hit, case.slack[row, step] / case.scale[row], 0.0)
        lower = depth < deepest
        deepest[lower], out[lower] = depth[lower], row
    return out
