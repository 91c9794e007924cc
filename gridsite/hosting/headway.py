"""How far limits are from binding, where what flows may run against added loads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gridsite.hosting.envelope_kernels import room_along

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gridsite.hosting.response import Response

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: Steps, spread over the load, at which reversed currents are looked for, beside the
#: tightest step of each limit.
_LOOKED_AT = 128


def headway(response: Response) -> Floats:
    r"""
    Return by how much each limited quantity may still grow, in the way loads move it.

    A current against that of an added load has its rating and itself to go:
    :math:`-c + \sqrt{r^2 - |I|^2 + c^2}` with :math:`c` the part of the current
    :math:`I` along that of the load, and :math:`r` the rating.

    Parameters
    ----------
    response : Response
        Of the block.

    Returns
    -------
    numpy.ndarray, shape (n_row, n_step)
        `Response.row_slack`, but where currents run against added loads at a step that
        is looked at (see there which). [pu]
    """
    case, slack = response.case, response.row_slack
    if not len(case.rated) or not len(case.block.ports):
        return slack
    first = case.n_voltage
    rows = np.arange(first, first + len(case.rated))
    way = _way_of_loads(response)
    steps = spread_and_tight(response, slack, _LOOKED_AT)
    current = case.upper_y[: len(rows)] @ case.v[:, steps]
    current += case.upper_source[: len(rows), None] * case.drive[steps]
    against = (current.real * way.real[:, None] + current.imag * way.imag[:, None]) < 0
    # what is next to nothing has no way
    small = np.abs(current) < 1e-3 * case.rating_pu[:, None]
    rows = rows[(against & ~small).any(axis=1)]
    if not len(rows):
        return slack
    out = slack.copy()
    here = rows - first
    room_along(rows, case.phasors_of(rows), way[here], case.upper_limit[here], out)
    return out


def _way_of_loads(response: Response) -> NDArray[np.complex128]:
    """Return the direction in which the load that moves it most moves each current."""
    case = response.case
    moved = case.upper_y[: len(case.rated)] @ case.change_at_no_load()
    most = np.abs(moved).argmax(axis=1)
    way = moved[np.arange(len(moved)), most]
    size = np.abs(way)
    out: NDArray[np.complex128] = np.zeros_like(way)
    np.divide(way, size, out=out, where=size > 0.0)
    return out


def spread_and_tight(response: Response, slack: Floats, count: int) -> Ints:
    """
    Return steps spread over the load, and the tightest of each limit.

    Parameters
    ----------
    response : Response
        Of the block.
    slack : numpy.ndarray, shape (n_row, n_step)
        What is left of limits. [pu]
    count : int
        Steps that are spread.

    Returns
    -------
    numpy.ndarray of int
        Ascending, each once.
    """
    order = response.steps_by_load
    spread = np.linspace(0, len(order) - 1, min(count, len(order)))
    return np.unique(np.append(order[spread.astype(np.int64)], slack.argmin(axis=1)))
