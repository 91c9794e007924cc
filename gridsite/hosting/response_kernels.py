"""Compiled loops of `gridsite.hosting.response`: called with checked arrays only."""

from __future__ import annotations

import numba as nb
import numpy as np

#: Steps of one thread at a time.
_WIDTH = 1_024


@nb.njit(cache=True, parallel=True)
def product(left, series):  # pragma: no cover
    """
    Return ``left @ series``, of one type, one thread per steps.

    While a feeder is rated, linear algebra itself runs on one thread
    (`gridsite.hosting.capacity`).
    """
    n_step = series.shape[1]
    out = np.empty((len(left), n_step), series.dtype)
    for chunk in nb.prange((n_step + _WIDTH - 1) // _WIDTH):
        at = slice(chunk * _WIDTH, min((chunk + 1) * _WIDTH, n_step))
        out[:, at] = np.dot(left, np.ascontiguousarray(series[:, at]))
    return out


@nb.njit(cache=True, parallel=True, error_model="numpy")
def weigh_ports(v_port, power, weight):  # pragma: no cover
    """Turn what ports draw into conj(S / V^2), in place, and fill |S| / |V|."""
    for k in nb.prange(power.shape[0]):
        for t in range(power.shape[1]):
            v, s = v_port[k, t], power[k, t]
            inv = 1.0 / (v.real**2 + v.imag**2)
            weight[k, t] = np.sqrt((s.real**2 + s.imag**2) * inv)
            # conj(S) V^2 / |V|^4
            x = (s.real * v.real + s.imag * v.imag) * inv
            y = (s.real * v.imag - s.imag * v.real) * inv
            re = (x * v.real - y * v.imag) * inv
            power[k, t] = complex(re, (x * v.imag + y * v.real) * inv)
