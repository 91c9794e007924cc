"""
Compiled loops: everything here is called with arrays only.

Batches of states stand in the last axis; real and imaginary parts are kept apart
where that lets the compiler use vector instructions.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import numba as nb
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Work of a kernel below which starting a second thread costs more. [values]
_WORTH_THREADS = 200_000


@contextmanager
def threads_worth(values: int) -> Iterator[None]:
    """
    Run kernels on one thread where there is too little to share.

    Parameters
    ----------
    values : int
        Nodes times states of the work.

    Yields
    ------
    None
        While the number of threads holds.
    """
    before = nb.get_num_threads()
    if values < _WORTH_THREADS:
        nb.set_num_threads(1)
    try:
        yield
    finally:
        nb.set_num_threads(before)


@nb.njit(cache=True, forceinline=True)
def _add_up(source, drive, step, first, size, re, im):
    """Start sums with the part that sources contribute."""
    re[:size], im[:size] = 0.0, 0.0
    if source != 0.0:
        for s in range(size):
            part = source * drive[step[first + s]]
            re[s], im[s] = part.real, part.imag


@nb.njit(cache=True, parallel=True, error_model="numpy")
def fill_slack(
    v,
    limited,
    v_min,
    indptr,
    indices,
    data,
    source,
    drive,
    step,
    rating,
    over_indptr,
    over_indices,
    over_data,
    slack,
):
    """
    Fill the slack of lowest voltages and of upper limits, one thread per row.

    The last upper limits, as many as ``over`` has rows, are on a ratio.
    """
    n_voltage, n_state = len(limited), v.shape[1]
    n_plain = len(rating) - len(over_indptr) + 1
    width = 512
    for row in nb.prange(slack.shape[0]):
        if row < n_voltage:
            node = limited[row]
            for s in range(n_state):
                u = v[node, s]
                slack[row, s] = np.sqrt(u.real**2 + u.imag**2) - v_min[row]
            continue
        i = row - n_voltage
        re, im = np.empty(width), np.empty(width)
        for first in range(0, n_state, width):
            size = min(width, n_state - first)
            _add_up(source[i], drive, step, first, size, re, im)
            for p in range(indptr[i], indptr[i + 1]):
                a, b, node = data[p].real, data[p].imag, indices[p]
                for s in range(size):
                    u = v[node, first + s]
                    re[s] += a * u.real - b * u.imag
                    im[s] += a * u.imag + b * u.real
            for s in range(size):
                re[s] = np.sqrt(re[s] ** 2 + im[s] ** 2)
            if i >= n_plain:
                for s in range(size):
                    over, j = 0.0j, i - n_plain
                    for p in range(over_indptr[j], over_indptr[j + 1]):
                        over += over_data[p] * v[over_indices[p], first + s]
                    re[s] /= np.sqrt(over.real**2 + over.imag**2)
            for s in range(size):
                slack[row, first + s] = rating[i] - re[s]


@nb.njit(cache=True, parallel=True)
def fill_phasors(rows, v, limited, indptr, indices, data, source, drive, out):
    """Fill some limited phasors of every step, one thread per row."""
    n_voltage, n_state = len(limited), v.shape[1]
    for k in nb.prange(len(rows)):
        if rows[k] < n_voltage:
            node = limited[rows[k]]
            for s in range(n_state):
                out[k, s] = v[node, s]
            continue
        i = rows[k] - n_voltage
        for s in range(n_state):
            out[k, s] = source[i] * drive[s]
        for p in range(indptr[i], indptr[i + 1]):
            y, node = data[p], indices[p]
            for s in range(n_state):
                out[k, s] += y * v[node, s]


@nb.njit(cache=True, parallel=True)
def fill_power(p_shapes, q_shapes, shape, p_scale, q_scale, spread, tan_phi, step, out):
    """Fill what each port draws in each state, one thread per port."""
    for k in nb.prange(out.shape[0]):
        row, a, b = shape[k], p_scale[k], q_scale[k]
        for s in range(out.shape[1]):
            t = step[s]
            p = a * p_shapes[row, t] + spread[k]
            q = b * q_shapes[row, t] + tan_phi * spread[k]
            out[k, s] = complex(p, q)
