"""
Compiled loops: everything here is called with arrays only.

Batches of states stand in the last axis, so that one entry of a factor serves a
whole row of states; real and imaginary parts are kept apart where that lets the
compiler use vector instructions.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import numba as nb
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

#: A voltage that moves this far in one iteration runs away. [pu]
_DIVERGED_PU = 0.5


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


@nb.njit(cache=True)
def _substitute(lp, li, lr, lm, up, ui, ur, um, dr, dm, xr, xi):
    """
    Solve L U x = b in place; b and x are (n, width), real and imaginary apart.

    Without fast mathematics: a state comes out the same wherever it stands in a batch.
    """
    n, width = xr.shape
    for j in range(n):
        for p in range(lp[j], lp[j + 1]):
            i, a, b = li[p], lr[p], lm[p]
            for s in range(width):
                xr[i, s] -= a * xr[j, s] - b * xi[j, s]
                xi[i, s] -= a * xi[j, s] + b * xr[j, s]
    for j in range(n - 1, -1, -1):
        a, b = dr[j], dm[j]
        for s in range(width):
            re = a * xr[j, s] - b * xi[j, s]
            xi[j, s] = a * xi[j, s] + b * xr[j, s]
            xr[j, s] = re
        for p in range(up[j], up[j + 1]):
            i, a, b = ui[p], ur[p], um[p]
            for s in range(width):
                xr[i, s] -= a * xr[j, s] - b * xi[j, s]
                xi[i, s] -= a * xi[j, s] + b * xr[j, s]


@nb.njit(cache=True, inline="always")
def _follow(square, exponent):
    """Return u^exponent from the square of u."""
    if exponent == 0.0:
        return 1.0
    if exponent == 1.0:
        return np.sqrt(square)
    if exponent == 2.0:
        return square
    return square ** (0.5 * exponent)


@nb.njit(cache=True, parallel=True, error_model="numpy")
def solve_states(  # pragma: no cover
    lp,
    li,
    lr,
    lm,
    up,
    ui,
    ur,
    um,
    dr,
    dm,
    perm_r,
    perm_c,
    src_re,
    src_im,
    owner,
    share,
    port_node,
    port_return,
    p_shapes,
    q_shapes,
    shape_of_port,
    p_scale,
    q_scale,
    spread,
    more_of,
    more,
    tan_phi,
    model_of,
    p_exponent,
    q_exponent,
    per_rated,
    drive,
    step,
    added_port,
    added,
    v_start,
    start_of,
    tolerance,
    max_iterations,
    width,
    v_out,
    residual,
    iterations,
):
    """
    Iterate V = Y^-1 (I_s - C conj(S / (C^T V))), one thread per chunk of states.

    Port ``k`` with ``model_of[k] = m >= 0`` follows its voltage with the exponents of
    row ``m``; what is added to it is constant power as everywhere. A port has one
    branch, or three of which each draws a ``share``: branch ``j`` is of port
    ``owner[j]``.
    """
    n = v_out.shape[0]
    n_state = step.shape[0]
    n_port = port_node.shape[0]
    n_chunk = (n_state + width - 1) // width
    for chunk in nb.prange(n_chunk):
        first = chunk * width
        w = min(width, n_state - first)
        pr = np.empty((n_port, w))
        pi = np.empty((n_port, w))
        # of ports that follow their voltage: what they draw at rated voltage
        own_r = np.empty((len(p_exponent), w))
        own_i = np.empty((len(p_exponent), w))
        for k in range(n_port):
            j, part = owner[k], share[k]
            row, m = shape_of_port[j], model_of[j]
            for s in range(w):
                t = step[first + s]
                extra = spread[j]
                if more_of[j] >= 0:
                    extra += more[more_of[j], t]
                if added_port[first + s] == j:
                    extra += added[first + s]
                extra *= part
                pr[k, s] = part * p_scale[j] * p_shapes[row, t] + extra
                pi[k, s] = part * q_scale[j] * q_shapes[row, t] + tan_phi * extra
                if m >= 0:
                    own_r[m, s] = pr[k, s] - extra
                    own_i[m, s] = pi[k, s] - tan_phi * extra
                    pr[k, s] = extra
                    pi[k, s] = tan_phi * extra
        # voltages by node, held in the order of the factors' columns
        vr = np.empty((n, w))
        vi = np.empty((n, w))
        for i in range(n):
            for s in range(w):
                v0 = v_start[i, start_of[first + s]]
                vr[perm_c[i], s] = v0.real
                vi[perm_c[i], s] = v0.imag
        fr = np.empty(w)
        fi = np.empty(w)
        for s in range(w):
            fr[s] = drive[step[first + s]].real
            fi[s] = drive[step[first + s]].imag
        xr = np.empty((n, w))
        xi = np.empty((n, w))
        mr = np.zeros((n, w))
        mi = np.zeros((n, w))
        change, most = np.full(w, np.inf), np.empty(w)
        done = np.zeros(w, dtype=np.bool_)
        for it in range(max_iterations):
            for i in range(n):
                row = perm_r[i]
                a, b = src_re[i], src_im[i]
                for s in range(w):
                    xr[row, s] = a * fr[s] - b * fi[s]
                    xi[row, s] = a * fi[s] + b * fr[s]
            for k in range(n_port):
                a, b = port_node[k], port_return[k]
                ca, ra = perm_c[a], perm_r[a]
                m = model_of[owner[k]]
                if m >= 0:
                    for s in range(w):
                        if done[s]:
                            continue
                        ur_, ui_ = vr[ca, s], vi[ca, s]
                        if b >= 0:
                            ur_ -= vr[perm_c[b], s]
                            ui_ -= vi[perm_c[b], s]
                        square = ur_ * ur_ + ui_ * ui_
                        u = square * per_rated[m] * per_rated[m]
                        p = pr[k, s] + own_r[m, s] * _follow(u, p_exponent[m])
                        q = pi[k, s] + own_i[m, s] * _follow(u, q_exponent[m])
                        cr = (p * ur_ + q * ui_) / square
                        ci = (p * ui_ - q * ur_) / square
                        xr[ra, s] -= cr
                        xi[ra, s] -= ci
                        if b >= 0:
                            xr[perm_r[b], s] += cr
                            xi[perm_r[b], s] += ci
                    continue
                for s in range(w):
                    ur_, ui_ = vr[ca, s], vi[ca, s]
                    if b >= 0:
                        ur_ -= vr[perm_c[b], s]
                        ui_ -= vi[perm_c[b], s]
                    inv = 1.0 / (ur_ * ur_ + ui_ * ui_)
                    # conj(S / u) = conj(S) u / |u|^2
                    cr = (pr[k, s] * ur_ + pi[k, s] * ui_) * inv
                    ci = (pr[k, s] * ui_ - pi[k, s] * ur_) * inv
                    xr[ra, s] -= cr
                    xi[ra, s] -= ci
                    if b >= 0:
                        xr[perm_r[b], s] += cr
                        xi[perm_r[b], s] += ci
            left, ends = 0, False
            for s in range(w):
                if not done[s]:
                    ends = ends or change[s] <= tolerance
                    left += not change[s] <= tolerance
            if ends:
                # power mismatch of the last iterate: |v conj(change of current)|
                most[:] = 0.0
                for i in range(n):
                    row, col = perm_r[i], perm_c[i]
                    for s in range(w):
                        e = (xr[row, s] - mr[row, s]) ** 2
                        e += (xi[row, s] - mi[row, s]) ** 2
                        e *= vr[col, s] ** 2 + vi[col, s] ** 2
                        most[s] = max(most[s], e)
                for s in range(w):
                    if not done[s] and change[s] <= tolerance:
                        done[s] = True
                        residual[first + s] = np.sqrt(most[s])
            if left == 0:
                break
            for i in range(n):
                for s in range(w):
                    mr[i, s] = xr[i, s]
                    mi[i, s] = xi[i, s]
            _substitute(lp, li, lr, lm, up, ui, ur, um, dr, dm, xr, xi)
            for s in range(w):
                change[s] = 0.0
                if not done[s]:
                    iterations[first + s] = it + 1
            for i in range(n):
                # without branches: the change of a state that is done is not read
                for s in range(w):
                    re, im = vr[i, s], vi[i, s]
                    d = (xr[i, s] - re) ** 2 + (xi[i, s] - im) ** 2
                    change[s] = change[s] if d <= change[s] else d
                    vr[i, s] = re if done[s] else xr[i, s]
                    vi[i, s] = im if done[s] else xi[i, s]
            for s in range(w):
                if not done[s]:
                    change[s] = np.sqrt(change[s])
                    if not change[s] < _DIVERGED_PU:
                        done[s] = True
                        residual[first + s] = np.nan
        for s in range(w):
            if not done[s]:
                residual[first + s] = np.nan
        for i in range(n):
            col = perm_c[i]
            for s in range(w):
                v_out[i, first + s] = complex(vr[col, s], vi[col, s])


@nb.njit(cache=True, inline="always")
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
