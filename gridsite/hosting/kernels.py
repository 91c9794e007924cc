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


@nb.njit(cache=True, fastmath={"contract", "reassoc", "nsz"})
def _phasor(
    row, v, drive, limited, indptr, indices, data, source, re, im
):  # pragma: no cover
    """Fill the phasor that a row limits."""
    i, n_step = row - len(limited), len(drive)
    if i < 0:
        for s in range(n_step):
            re[s], im[s] = v[limited[row], s].real, v[limited[row], s].imag
        return
    a, b = source[i].real, source[i].imag
    for s in range(n_step):
        re[s] = a * drive[s].real - b * drive[s].imag
        im[s] = a * drive[s].imag + b * drive[s].real
    for p in range(indptr[i], indptr[i + 1]):
        a, b, node = data[p].real, data[p].imag, indices[p]
        for s in range(n_step):
            u = v[node, s]
            re[s] += a * u.real - b * u.imag
            im[s] += a * u.imag + b * u.real


@nb.njit(
    cache=True,
    parallel=True,
    error_model="numpy",
    fastmath={"contract", "reassoc", "arcp", "nsz"},
)
def binding_load(  # pragma: no cover
    port,
    kind,
    row,
    v,
    drive,
    limited,
    indptr,
    indices,
    data,
    source,
    limit,
    broken,
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
            if own_change:
                for s in range(size):
                    u, e = v_port[k, first + s], m_own[k, first + s]
                    br[s], bi[s], er[s], ei[s] = u.real, u.imag, e.real, e.imag
            else:
                _phasor(
                    row[i],
                    v[:, first : first + size],
                    drive[first : first + size],
                    limited,
                    indptr,
                    indices,
                    data,
                    source,
                    br,
                    bi,
                )
                for s in range(size):
                    e = second[i, first + s]
                    er[s], ei[s] = e.real, e.imag
            for s in range(size):
                u, m = v_port[k, first + s], m_own[k, first + s]
                wr[s], wi[s], mr[s], mi[s] = u.real, u.imag, m.real, m.imag
                aim = limit[i]
                if own_change:
                    aim = np.sqrt(u.real**2 + u.imag**2) - aim
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
                    u = v_port[k, first + s]
                    fr = yr[s] * dr - yi[s] * di + mr[s] * dr + mi[s] * di
                    fi = yr[s] * di + yi[s] * dr + mi[s] * dr - mr[s] * di
                    wr[s] = u.real - x * fr
                    wi[s] = u.imag - x * fi
            for s in range(size):
                x = p[s]
                if (left[s] >= 0.0) if upper else (left[s] <= 0.0):
                    x = 0.0
                elif not (x >= 0.0):
                    x = np.inf
                if not own_change and broken[row[i], first + s]:
                    x = np.inf
                out[i, first + s] = x


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
        re, im = np.empty(width), np.empty(width)
        whole = False
        for s in range(first, last):
            out_slack[s] = np.inf
            out_row[s] = -1
            whole = whole or only[s] < 0
        for j in range(n_row if whole else last - first):
            # every row of all states, or of each state its one row
            r, begin, end = j, first, last
            if not whole:
                r, begin, end = only[first + j], first + j, first + j + 1
                if r >= n_row:
                    continue
            if r < n_voltage:
                for s in range(begin, end):
                    u = v[limited[r], s]
                    re[s - first] = np.sqrt(u.real**2 + u.imag**2) - v_min[r]
            else:
                i = r - n_voltage
                a, b = source[i].real, source[i].imag
                for s in range(begin, end):
                    d = drive[step[s]]
                    re[s - first] = a * d.real - b * d.imag
                    im[s - first] = a * d.imag + b * d.real
                for p in range(indptr[i], indptr[i + 1]):
                    a, b, node = data[p].real, data[p].imag, indices[p]
                    for s in range(begin, end):
                        u = v[node, s]
                        re[s - first] += a * u.real - b * u.imag
                        im[s - first] += a * u.imag + b * u.real
                for s in range(begin, end):
                    size = np.sqrt(re[s - first] ** 2 + im[s - first] ** 2)
                    if i >= n_plain:
                        over = 0.0j
                        for p in range(
                            over_indptr[i - n_plain], over_indptr[i - n_plain + 1]
                        ):
                            over += over_data[p] * v[over_indices[p], s]
                        size /= np.sqrt(over.real**2 + over.imag**2)
                    re[s - first] = rating[i] - size
            for s in range(begin, end):
                if (only[s] >= 0 and only[s] != r) or broken[r, step[s]]:
                    continue
                slack = re[s - first] / scale[r]
                if not slack >= out_slack[s]:
                    out_slack[s] = slack
                    out_row[s] = r


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


@nb.njit(cache=True, parallel=True, error_model="numpy")
def nearest(slack, inverse, start, row, first, ratio, step):  # pragma: no cover
    """Fill the least ratio of each pair's load to the first one's, and its step."""
    n_step = slack.shape[1]
    for k in nb.prange(len(start) - 1):
        low = np.full(n_step, np.inf)
        for i in range(start[k], start[k + 1]):
            if first[i]:
                weight = inverse[k, row[i]]
                for t in range(n_step):
                    low[t] = min(low[t], slack[row[i], t] * weight)
        for t in range(n_step):
            low[t] = 1.0 / low[t]
        for i in range(start[k], start[k + 1]):
            if first[i]:
                continue
            weight = inverse[k, row[i]]
            least, at = np.inf, 0
            for t in range(n_step):
                value = slack[row[i], t] * low[t]
                if value < least:
                    least, at = value, t
            ratio[i], step[i] = least * weight, at
