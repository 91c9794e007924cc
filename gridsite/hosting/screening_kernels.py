"""Compiled loops of `gridsite.hosting.screening`: called with checked arrays only."""

from __future__ import annotations

import numba as nb
import numpy as np

from gridsite.hosting.slack_kernels import apart

#: Iterations of the two-bus fixed point, and its tolerance. [pu]
_TWO_BUS_ITERATIONS = 60
_TWO_BUS_TOLERANCE = 1e-8

#: The two-bus fixed point must contract at least this much. [-]
_CONTRACTION = 0.9

#: Steps worked at together. The size is known to the compiler, so that rows of one
#: array lie apart for sure and loops over them run on vector instructions.
_WIDTH = 256


@nb.njit(cache=True, forceinline=True)
def _largest_change(push, kappa):
    """Solve X = (push + kappa X) / (1 - X) for its lower root; NaN if it has none."""
    room = (1.0 - kappa) ** 2 - 4.0 * push
    if not (room > 0.0 and kappa < 1.0):
        return np.nan
    return 0.5 * (1.0 - kappa - np.sqrt(room)) * (1.0 + 1e-9) + 1e-15


@nb.njit(
    cache=True,
    error_model="numpy",
    fastmath={"contract", "reassoc", "arcp", "nsz"},
)
def _two_bus(drawn, v, z, m, h, wr, wi, cr, ci, moved):
    """
    Iterate W = V - (z + h) c - m conj(c), c = drawn / conj(W), block by block.

    ``h`` may have no steps, and is zero then.
    """
    n_step = len(v)
    a, b = drawn.real, drawn.imag
    work = np.empty((11, _WIDTH))
    vr, vi, zr, zi, mr, mi = work[0], work[1], work[2], work[3], work[4], work[5]
    ur, ui, x, y, far = work[6], work[7], work[8], work[9], work[10]
    zr[:], zi[:] = z.real, z.imag
    for first in range(0, n_step, _WIDTH):
        size = min(_WIDTH, n_step - first)
        apart(v[first : first + size], vr, vi)
        apart(m[first : first + size], mr, mi)
        if len(h) > 0:
            apart(h[first : first + size], zr, zi)
            zr += z.real
            zi += z.imag
        for s in range(size):
            ur[s], ui[s] = vr[s], vi[s]
        for _ in range(_TWO_BUS_ITERATIONS):
            for s in range(size):
                inv = 1.0 / (ur[s] * ur[s] + ui[s] * ui[s])
                c = (a * ur[s] - b * ui[s]) * inv
                d = (a * ui[s] + b * ur[s]) * inv
                re = vr[s] - zr[s] * c + zi[s] * d - mr[s] * c - mi[s] * d
                im = vi[s] - zr[s] * d - zi[s] * c - mi[s] * c + mr[s] * d
                far[s] = (re - ur[s]) ** 2 + (im - ui[s]) ** 2
                ur[s], ui[s], x[s], y[s] = re, im, c, d
            most = 0.0
            for s in range(size):
                most = max(most, far[s])
            if most <= _TWO_BUS_TOLERANCE**2:
                break
        for s in range(size):
            t = first + s
            wr[t], wi[t], cr[t], ci[t], moved[t] = ur[s], ui[s], x[s], y[s], far[s]


@nb.njit(cache=True, parallel=True, error_model="numpy")
def may_bind(  # pragma: no cover
    drawn,
    port,
    v_port,
    z_own,
    m_own,
    h_own,
    z_most,
    v_ratio,
    kappa_port,
    kappa_step,
    change_max,
    row_z,
    row_base,
    row_kappa,
    row_slack,
    row,
    row_limit,
    n_voltage,
    kappa_row_most,
    v_least,
    slack_least,
    over_size,
    out,
):
    """
    Mark the steps at which each load could newly break a limit.

    Rows are those listed in ``row``, which only ``row_slack`` has all of. The last,
    as many as ``over_size`` has, limit a phasor to a share of another, which a unit
    current moves by ``over_size`` times that share.
    """
    n_load, n_step = out.shape
    n_row = len(row)
    n_plain = n_row - over_size.shape[0]
    kappa_most = kappa_step.max()
    ratio_least = v_ratio.min()
    for k in nb.prange(n_load):
        size, at = abs(drawn[k]), port[k]
        # bounds that hold at every step, to leave rows out at once
        lowest = v_least[at]
        x_most = _largest_change(size * z_most[k] / (lowest * ratio_least), kappa_most)
        c_most = size / (lowest * (1.0 - x_most))
        # then, step by step, bounds to any angle
        spread, bound = np.empty(n_step), np.empty(n_step)
        near = np.zeros(n_step, dtype=np.uint8)
        for t in range(n_step):
            v0 = v_port[at, t]
            size0 = np.sqrt(v0.real**2 + v0.imag**2)
            x = _largest_change(size * z_most[k] / (size0 * v_ratio[t]), kappa_step[t])
            if x < 1.0:
                spread[t], bound[t] = x / (1.0 - x), size / (size0 * (1.0 - x))
                near[t] = not size0 * x < change_max[k]
            else:
                out[k, t] = True
                spread[t] = bound[t] = 0.0
        rows = np.zeros(n_row, dtype=np.uint8)
        for r in range(n_row):
            over = over_size[r - n_plain, k] if r >= n_plain else 0.0
            z_size = abs(row_z[r, k]) + over
            most = z_size * c_most + kappa_row_most[r] * x_most / (1.0 - x_most)
            if most < slack_least[r]:
                continue
            rows[r] = 1
            slack = row_slack[row[r]]
            for t in range(n_step):
                fall = row_kappa[r, t] * spread[t] + z_size * bound[t]
                near[t] |= not fall < slack[t]
        for t in range(n_step):
            near[t] &= not out[k, t]
        # what is left: the load's own effect at its angle; the rest stays a bound
        step = np.flatnonzero(near)
        n_near = len(step)
        if n_near == 0:
            continue
        v0, m = v_port[at][step], m_own[at][step]
        h = h_own[at][step] if h_own.shape[1] > 0 else h_own[at]
        wr, wi, moved = np.empty(n_near), np.empty(n_near), np.empty(n_near)
        cr, ci = np.empty(n_near), np.empty(n_near)
        _two_bus(drawn[k], v0, z_own[k], m, h, wr, wi, cr, ci, moved)
        c_size, c_error = np.empty(n_near), np.empty(n_near)
        z_own_size = abs(z_own[k])
        for i in range(n_near):
            t = step[i]
            size0 = np.sqrt(v0[i].real ** 2 + v0[i].imag ** 2)
            x = spread[t] / (1.0 + spread[t])
            second = kappa_step[t] * spread[t]
            rest = size0 * kappa_port[at, t] * (second + (x + second) * x) / (1.0 - x)
            w = np.sqrt(wr[i] ** 2 + wi[i] ** 2)
            lowest = min(w, size0 * (1.0 - x))
            shrink = z_own_size + np.sqrt(m[i].real ** 2 + m[i].imag ** 2)
            if len(h) > 0:
                shrink += abs(h[i])
            shrink *= size / (lowest * w)
            error = rest / (1.0 - shrink) + 10.0 * _TWO_BUS_TOLERANCE
            known = moved[i] <= _TWO_BUS_TOLERANCE**2 and shrink < _CONTRACTION
            if not (known and size0 - w + error < change_max[k]):
                out[k, t] = True
            c_size[i] = np.sqrt(cr[i] ** 2 + ci[i] ** 2)
            c_error[i] = c_size[i] * error / lowest
        for r in range(n_row):
            if rows[r] == 0:
                continue
            z, slack = row_z[r, k], row_slack[row[r]]
            over = over_size[r - n_plain, k] if r >= n_plain else 0.0
            z_size = abs(z) + over
            for i in range(n_near):
                t = step[i]
                loose = row_kappa[r, t] * spread[t]
                if loose + z_size * (c_size[i] + c_error[i]) < slack[t] or out[k, t]:
                    continue
                now = abs(row_base[r, t] - z * complex(cr[i], ci[i]))
                loose += z_size * c_error[i]
                if r < n_voltage:
                    held = now - loose >= row_limit[r]
                elif r >= n_plain:
                    loose += over * c_size[i]
                    held = now + loose <= slack[t] + abs(row_base[r, t])
                else:
                    held = now + loose <= row_limit[r]
                if not held:
                    out[k, t] = True


@nb.njit(cache=True)
def drop_implied(order, kind, top, growth, keep):  # pragma: no cover
    """
    Unmark rows that a row before them in ``order``, of the same kind, implies.

    ``top`` is the column in which each row grows most: most pairs part there.
    """
    held = np.empty(len(order), dtype=np.int64)
    count = 0
    for i in order:
        for q in range(count):
            j = held[q]
            if kind[j] != kind[i] or growth[j, top[i]] < growth[i, top[i]]:
                continue
            implied = True
            for p in range(growth.shape[1]):
                if growth[j, p] < growth[i, p]:
                    implied = False
                    break
            if implied:
                keep[i] = False
                break
        if keep[i]:
            held[count] = i
            count += 1
