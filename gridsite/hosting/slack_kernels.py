"""Compiled loops over limits: called with checked arrays only."""

from __future__ import annotations

import numba as nb
import numpy as np

#: States whose limits are looked at together. The size is known to the compiler, so
#: that rows of one array lie apart for sure and loops run on vector instructions.
_FEW = 32

#: Steps worked at together. The size is known to the compiler, so that rows of one
#: array lie apart for sure and loops over them run on vector instructions.
_WIDTH = 256


@nb.njit(cache=True)
def apart(phasor, re, im):  # pragma: no cover
    """Fill real and imaginary parts."""
    for s in range(len(phasor)):
        re[s], im[s] = phasor[s].real, phasor[s].imag


@nb.njit(cache=True, parallel=True, error_model="numpy")
def least_slack(  # pragma: no cover
    v,
    limited,
    v_min,
    indptr,
    indices,
    data,
    source,
    drive,
    rating,
    over_indptr,
    over_indices,
    over_data,
    scale,
    broken,
    breaks,
    step,
    out_slack,
    out_row,
):
    """
    Return the least slack over size of each state, and its row.

    Rows that the base case breaks at the state's step are left out; ``breaks`` marks
    those it breaks at any. The voltage change is not among the rows. The last rows,
    as many as ``over`` has, limit a ratio.
    """
    n_voltage, n_node, n_state = len(limited), len(v), v.shape[1]
    n_plain = len(rating) - len(over_indptr) + 1
    for chunk in nb.prange((n_state + _FEW - 1) // _FEW):
        first = chunk * _FEW
        size = min(_FEW, n_state - first)
        at = step[first : first + size]
        work, which = np.empty((5, _FEW)), np.full(_FEW, -1)
        re, im, fr, fi, least = work[0], work[1], work[2], work[3], work[4]
        vr, vi = np.empty((n_node, _FEW)), np.empty((n_node, _FEW))
        for node in range(n_node):
            apart(v[node, first : first + size], vr[node], vi[node])
        for s in range(size):
            fr[s], fi[s] = drive[at[s]].real, drive[at[s]].imag
            least[s] = np.inf
        for r in range(len(scale)):
            i = r - n_voltage
            if i < 0:
                ur, ui = vr[limited[r]], vi[limited[r]]
                for s in range(size):
                    re[s] = np.sqrt(ur[s] ** 2 + ui[s] ** 2) - v_min[r]
            else:
                a, b = source[i].real, source[i].imag
                for s in range(size):
                    re[s], im[s] = a * fr[s] - b * fi[s], a * fi[s] + b * fr[s]
                for p in range(indptr[i], indptr[i + 1]):
                    a, b = data[p].real, data[p].imag
                    ur, ui = vr[indices[p]], vi[indices[p]]
                    for s in range(size):
                        re[s] += a * ur[s] - b * ui[s]
                        im[s] += a * ui[s] + b * ur[s]
                for s in range(size):
                    re[s] = np.sqrt(re[s] ** 2 + im[s] ** 2)
                if i >= n_plain:
                    j = i - n_plain
                    for s in range(size):
                        over = 0.0j
                        for p in range(over_indptr[j], over_indptr[j + 1]):
                            over += over_data[p] * v[over_indices[p], first + s]
                        re[s] /= np.sqrt(over.real**2 + over.imag**2)
                for s in range(size):
                    re[s] = rating[i] - re[s]
            if breaks[r]:
                for s in range(size):
                    if broken[r, at[s]]:
                        re[s] = np.inf
            for s in range(size):
                slack = re[s] / scale[r]
                kept = slack >= least[s]  # not of NaN
                which[s] = which[s] if kept else r
                least[s] = least[s] if kept else slack
        for s in range(size):
            out_slack[first + s], out_row[first + s] = least[s], which[s]


@nb.njit(cache=True, parallel=True, error_model="numpy")
def slack_of(  # pragma: no cover
    v,
    limited,
    v_min,
    indptr,
    indices,
    data,
    source,
    drive,
    rating,
    over_indptr,
    over_indices,
    over_data,
    scale,
    broken,
    step,
    row,
    out,
):
    """
    Return of each state the slack over size of its one row.

    Infinite where the base case breaks it, and for the voltage change. Rows are
    those of `least_slack`.
    """
    n_voltage = len(limited)
    n_plain = len(rating) - len(over_indptr) + 1
    for s in nb.prange(v.shape[1]):
        r = row[s]
        out[s] = np.inf
        if r >= len(scale) or broken[r, step[s]]:
            continue
        if r < n_voltage:
            out[s] = (abs(v[limited[r], s]) - v_min[r]) / scale[r]
            continue
        i = r - n_voltage
        now = source[i] * drive[step[s]]
        for p in range(indptr[i], indptr[i + 1]):
            now += data[p] * v[indices[p], s]
        size = abs(now)
        if i >= n_plain:
            over = 0.0j
            for p in range(over_indptr[i - n_plain], over_indptr[i - n_plain + 1]):
                over += over_data[p] * v[over_indices[p], s]
            size /= abs(over)
        out[s] = (rating[i] - size) / scale[r]


@nb.njit(cache=True, parallel=True, error_model="numpy")
def least_share(slack, limit, ratio_size, gain, out, out_row):  # pragma: no cover
    """
    Fill the least slack of each step, as a share of its phasor over a gain, its row.

    Voltages count in pu; what is over an upper limit is infinitely slack. The last
    rows limit a ratio, of phasors whose sizes are given.
    """
    n_row, n_step = slack.shape
    n_voltage, n_plain = n_row - len(limit), n_row - len(ratio_size)
    for chunk in nb.prange((n_step + _WIDTH - 1) // _WIDTH):
        first = chunk * _WIDTH
        size = min(_WIDTH, n_step - first)
        least, which = np.full(_WIDTH, np.inf), np.full(_WIDTH, 0)
        for r in range(n_row):
            line = slack[r, first : first + size]
            if r < n_voltage:
                for s in range(size):
                    nearer = line[s] < least[s]
                    least[s] = line[s] if nearer else least[s]
                    which[s] = r if nearer else which[s]
                continue
            most = limit[r - n_voltage]
            for s in range(size):
                now = most - line[s]
                if r >= n_plain:
                    now = ratio_size[r - n_plain, first + s]
                share = line[s] / max(now, 1e-12)
                share = share if line[s] < np.inf else np.inf
                nearer = share < least[s]
                least[s] = share if nearer else least[s]
                which[s] = r if nearer else which[s]
        for s in range(size):
            out[first + s] = least[s] / gain[first + s]
            out_row[first + s] = which[s]
