"""The building's own service: what its fuse leaves for a unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gridsite.units import SQRT3

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def service_headroom_kw(
    service_a: Floats,
    service_v: Floats,
    p_kw: Floats,
    q_kvar: Floats,
    *,
    power_factor: float = 0.98,
) -> Floats:
    r"""
    Return the load that a three-phase fused service leaves at each step.

    The largest :math:`P` with
    :math:`|p + jq + P(1 + j\tan\varphi)| \le \sqrt3\,U I` at nominal voltage (one
    fuse per phase, balanced draw, the European rule).

    Parameters
    ----------
    service_a : numpy.ndarray, shape (n,)
        Rating of the fuse of each phase; NaN where it is not known. [A]
    service_v : numpy.ndarray, shape (n,)
        Line-to-line voltage. [V]
    p_kw, q_kvar : numpy.ndarray, shape (n, n_step)
        What the building draws, load positive. [kW], [kvar]
    power_factor : float, default 0.98
        Of the unit, lagging. [-]

    Returns
    -------
    numpy.ndarray, shape (n, n_step)
        Headroom, 0 where the building alone is at its rating; NaN where the
        rating is not known. [kW]

    Examples
    --------
    >>> a, v = np.array([63.0]), np.array([400.0])
    >>> zero = np.zeros((1, 1))
    >>> service_headroom_kw(a, v, zero, zero, power_factor=1.0).round(2)
    array([[43.65]])
    """
    rated = (SQRT3 * service_v * service_a / 1e3)[:, None]
    tan_phi = np.sqrt(1.0 / power_factor**2 - 1.0)
    square = 1.0 + tan_phi**2
    along = p_kw + tan_phi * q_kvar
    left = along**2 - square * (p_kw**2 + q_kvar**2 - rated**2)
    root = (-along + np.sqrt(np.maximum(left, 0.0))) / square
    root = np.where(left < 0.0, 0.0, root)
    out: Floats = np.where(np.isnan(rated), np.nan, np.maximum(root, 0.0))
    return out
