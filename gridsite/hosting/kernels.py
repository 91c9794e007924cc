"""Compiled loops of hosting capacity: everything here is called with arrays only."""

from __future__ import annotations

import numba as nb
import numpy as np

#: Iterations of the two-bus fixed point, and its tolerance. [pu]
_TWO_BUS_ITERATIONS = 60
_TWO_BUS_TOLERANCE = 1e-8

#: The two-bus fixed point must contract at least this much. [-]
_CONTRACTION = 0.9

#: Passes of the closed forms that give the load at which a limit binds.
_PASSES = 5


@nb.njit(cache=True, inline="always")
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
    width = 256
    a, b, zr, zi = drawn.real, drawn.imag, z.real, z.imag
    xr, xi = np.full(n_step, zr), np.full(n_step, zi)
    for t in range(len(h)):
        xr[t] += h[t].real
        xi[t] += h[t].imag
    for first in range(0, n_step, width):
        last = min(first + width, n_step)
        for t in range(first, last):
            wr[t], wi[t] = v[t].real, v[t].imag
        for _ in range(_TWO_BUS_ITERATIONS):
            for t in range(first, last):
                inv = 1.0 / (wr[t] * wr[t] + wi[t] * wi[t])
                x = (a * wr[t] - b * wi[t]) * inv
                y = (a * wi[t] + b * wr[t]) * inv
                mr, mi = m[t].real, m[t].imag
                re = v[t].real - xr[t] * x + xi[t] * y - mr * x - mi * y
                im = v[t].imag - xr[t] * y - xi[t] * x - mi * x + mr * y
                moved[t] = (re - wr[t]) ** 2 + (im - wi[t]) ** 2
                wr[t], wi[t], cr[t], ci[t] = re, im, x, y
            most = 0.0
            for t in range(first, last):
                most = max(most, moved[t])
            if most <= _TWO_BUS_TOLERANCE**2:
                break


@nb.njit(cache=True, parallel=True, error_model="numpy")
def may_bind(  # pragma: no cover
    drawn,
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
    row_limit,
    n_voltage,
    slack_least,
    kappa_row_most,
    over_size,
    out,
):
    """
    Mark the steps at which each load could newly break a limit.

    The last rows, as many as ``over_size`` has, limit a phasor to a share of
    another, which a unit current moves by ``over_size`` times that share.
    """
    n_load, n_step = out.shape
    n_row = row_slack.shape[0]
    n_plain = n_row - over_size.shape[0]
    kappa_most = kappa_step.max()
    ratio_least = v_ratio.min()
    for k in nb.prange(n_load):
        size = abs(drawn[k])
        v_least = np.inf
        for t in range(n_step):
            v_least = min(v_least, abs(v_port[k, t]))
        # bounds that hold at every step, to leave rows out at once
        x_most = _largest_change(size * z_most[k] / (v_least * ratio_least), kappa_most)
        c_most = size / (v_least * (1.0 - x_most))
        wr, wi, moved = np.empty(n_step), np.empty(n_step), np.empty(n_step)
        cr, ci = np.empty(n_step), np.empty(n_step)
        _two_bus(
            drawn[k], v_port[k], z_own[k], m_own[k], h_own[k], wr, wi, cr, ci, moved
        )
        current = np.empty(n_step, dtype=np.complex128)
        c_size = np.empty(n_step)
        c_error = np.empty(n_step)
        spread = np.empty(n_step)
        for t in range(n_step):
            v0 = v_port[k, t]
            size0 = abs(v0)
            x = _largest_change(size * z_most[k] / (size0 * v_ratio[t]), kappa_step[t])
            if not x < 1.0:
                out[k, t] = True
                c_size[t] = c_error[t] = spread[t] = 0.0
                current[t] = 0.0
                continue
            spread[t] = x / (1.0 - x)
            second = kappa_step[t] * spread[t]
            rest = size0 * kappa_port[k, t] * (second + (x + second) * x) / (1.0 - x)
            w, c = complex(wr[t], wi[t]), complex(cr[t], ci[t])
            lowest = min(abs(w), size0 * (1.0 - x))
            shrink = abs(z_own[k]) + abs(m_own[k, t])
            if h_own.shape[1] > 0:
                shrink += abs(h_own[k, t])
            shrink *= size / (lowest * abs(w))
            if not (moved[t] <= _TWO_BUS_TOLERANCE**2 and shrink < _CONTRACTION):
                out[k, t] = True
            error = rest / (1.0 - shrink) + 10.0 * _TWO_BUS_TOLERANCE
            if not size0 - abs(w) + error < change_max:
                out[k, t] = True
            current[t] = c
            c_size[t] = abs(c)
            c_error[t] = abs(c) * error / lowest
        for r in range(n_row):
            z = row_z[r, k]
            over = over_size[r - n_plain, k] if r >= n_plain else 0.0
            z_size = abs(z) + over
            most = z_size * c_most + kappa_row_most[r] * x_most / (1.0 - x_most)
            if most < slack_least[r]:
                continue
            for t in range(n_step):
                spare = kappa_slack = row_kappa[r, t] * spread[t]
                spare += z_size * (c_size[t] + c_error[t])
                if spare < row_slack[r, t] or out[k, t]:
                    continue
                # the load's own effect at its angle; the rest stays a bound
                now = abs(row_base[r, t] - z * current[t])
                loose = kappa_slack + z_size * c_error[t]
                if r < n_voltage:
                    held = now - loose >= row_limit[r]
                elif r >= n_plain:
                    loose += over * c_size[t]
                    held = now + loose <= row_slack[r, t] + abs(row_base[r, t])
                else:
                    held = now + loose <= row_limit[r]
                if not held:
                    out[k, t] = True


@nb.njit(cache=True, parallel=True, fastmath={"contract", "nsz", "reassoc"})
def weighted_sums(weight, series, out):  # pragma: no cover
    """Add up ``weight @ series`` by rows, skipping zeros of the weight."""
    n, n_term = weight.shape
    n_step = series.shape[1]
    width = 1024
    for i in nb.prange(n):
        re, im = np.empty(width), np.empty(width)
        for first in range(0, n_step, width):
            size = min(width, n_step - first)
            re[:] = 0.0
            im[:] = 0.0
            for j in range(n_term):
                w = weight[i, j]
                if w == 0.0:
                    continue
                a, b = w.real, w.imag
                for t in range(size):
                    x = series[j, first + t]
                    re[t] += a * x.real - b * x.imag
                    im[t] += a * x.imag + b * x.real
            for t in range(size):
                out[i, first + t] = complex(re[t], im[t])


@nb.njit(
    cache=True,
    parallel=True,
    error_model="numpy",
    fastmath={"contract", "reassoc", "arcp", "nsz"},
)
def binding_load(  # pragma: no cover
    port,
    kind,
    base,
    limit,
    skip,
    z_row,
    second,
    v_port,
    z_own,
    m_own,
    z_more,
    h_own,
    tan_phi,
    over,
    z_over,
    out,
):
    """
    Return the load at which one limit of each port binds at every step.

    ``kind`` is 0 for the voltage change at the own port, 1 for a lowest voltage, 2
    for an upper limit, 3 for one as a share of ``|over - P z_over d|``. With W the
    voltage at the port under load P, the limited quantity is ``|base - P h|``,
    ``h = z d + second conj(d)``, ``d = (1 - j tan) / conj(W)``: a quadratic in P,
    solved again as W follows P. Where loads follow their voltage, ``z_more`` and
    ``h_own`` add to ``z_row`` and ``z_own`` at each step; else they have no steps.
    """
    n, n_step = out.shape
    width = 256
    for i in nb.prange(n):
        k, own_change, upper = port[i], kind[i] == 0, kind[i] >= 2
        zr, zi = np.full(width, z_row[i].real), np.full(width, z_row[i].imag)
        yr, yi = np.full(width, z_own[k].real), np.full(width, z_own[k].imag)
        wr, wi, p = np.empty(width), np.empty(width), np.empty(width)
        mr, mi = np.empty(width), np.empty(width)
        er, ei = np.empty(width), np.empty(width)
        br, bi, left = np.empty(width), np.empty(width), np.empty(width)
        for first in range(0, n_step, width):
            size = min(width, n_step - first)
            for s in range(size):
                v, m = v_port[k, first + s], m_own[k, first + s]
                wr[s], wi[s], mr[s], mi[s] = v.real, v.imag, m.real, m.imag
                aim = limit[i]
                if own_change:
                    br[s], bi[s], er[s], ei[s] = v.real, v.imag, m.real, m.imag
                    aim = np.sqrt(v.real**2 + v.imag**2) - aim
                else:
                    b, e = base[i, first + s], second[i, first + s]
                    br[s], bi[s], er[s], ei[s] = b.real, b.imag, e.real, e.imag
                left[s] = br[s] ** 2 + bi[s] ** 2 - aim**2
                p[s] = 0.0
            if h_own.shape[1] > 0:
                for s in range(size):
                    y = z_own[k] + h_own[k, first + s]
                    z = y if own_change else z_row[i] + z_more[i, first + s]
                    zr[s], zi[s], yr[s], yi[s] = z.real, z.imag, y.real, y.imag
            for _ in range(_PASSES):
                if kind[i] == 3:
                    for s in range(size):
                        d = (1.0 - 1j * tan_phi) / complex(wr[s], -wi[s])
                        aim = limit[i] * abs(over[i, first + s] - p[s] * z_over[i] * d)
                        left[s] = br[s] ** 2 + bi[s] ** 2 - aim**2
                for s in range(size):
                    inv = 1.0 / (wr[s] * wr[s] + wi[s] * wi[s])
                    dr = (wr[s] + tan_phi * wi[s]) * inv
                    di = (wi[s] - tan_phi * wr[s]) * inv
                    hr = zr[s] * dr - zi[s] * di + er[s] * dr + ei[s] * di
                    hi = zr[s] * di + zi[s] * dr + ei[s] * dr - er[s] * di
                    h2 = hr * hr + hi * hi
                    along = br[s] * hr + bi[s] * hi
                    root = np.sqrt(along * along - h2 * left[s])
                    x = (along + root) / h2 if upper else left[s] / (along + root)
                    p[s] = x
                    v = v_port[k, first + s]
                    fr = yr[s] * dr - yi[s] * di + mr[s] * dr + mi[s] * di
                    fi = yr[s] * di + yi[s] * dr + mi[s] * dr - mr[s] * di
                    wr[s] = v.real - x * fr
                    wi[s] = v.imag - x * fi
            for s in range(size):
                x = p[s]
                if (left[s] >= 0.0) if upper else (left[s] <= 0.0):
                    x = 0.0
                elif not (x >= 0.0):
                    x = np.inf
                out[i, first + s] = np.inf if skip[i, first + s] else x


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
    step,
    only,
    out_slack,
    out_row,
):
    """
    Return the least slack over size of each state, and its row.

    ``only`` (-1: all) is the one row to look at. Rows that the base case breaks
    at the state's step are left out. The voltage change is not among the rows.
    The last rows, as many as ``over`` has, limit a ratio.
    """
    n_voltage, n_row = len(limited), len(scale)
    n_plain = len(rating) - len(over_indptr) + 1
    n_state = v.shape[1]
    width = 32
    for chunk in nb.prange((n_state + width - 1) // width):
        first = chunk * width
        last = min(first + width, n_state)
        single = True
        for s in range(first, last):
            out_slack[s] = np.inf
            out_row[s] = -1
            single = single and only[s] >= 0
        for r in range(n_row):
            if single:
                wanted = False
                for s in range(first, last):
                    wanted = wanted or only[s] == r
                if not wanted:
                    continue
            for s in range(first, last):
                if (only[s] >= 0 and only[s] != r) or broken[r, step[s]]:
                    continue
                if r < n_voltage:
                    u = v[limited[r], s]
                    slack = np.sqrt(u.real**2 + u.imag**2) - v_min[r]
                else:
                    i = r - n_voltage
                    current = source[i] * drive[step[s]]
                    for p in range(indptr[i], indptr[i + 1]):
                        current += data[p] * v[indices[p], s]
                    size = np.sqrt(current.real**2 + current.imag**2)
                    if i >= n_plain:
                        over = 0.0j
                        j = i - n_plain
                        for p in range(over_indptr[j], over_indptr[j + 1]):
                            over += over_data[p] * v[over_indices[p], s]
                        size /= np.sqrt(over.real**2 + over.imag**2)
                    slack = rating[i] - size
                slack /= scale[r]
                if not slack >= out_slack[s]:
                    out_slack[s] = slack
                    out_row[s] = r
