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


@nb.njit(cache=True, parallel=True, error_model="numpy")
def may_bind(  # pragma: no cover
    drawn,
    v_port,
    z_own,
    m_own,
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
    out,
):
    """Mark the steps at which each load could newly break a limit."""
    n_load, n_step = out.shape
    n_row = row_slack.shape[0]
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
            w = v0
            moved = np.inf
            c = 0.0j
            for _ in range(_TWO_BUS_ITERATIONS):
                c = drawn[k] / np.conj(w)
                new = v0 - z_own[k] * c - m_own[k, t] * np.conj(c)
                moved = abs(new - w)
                w = new
                if not moved > _TWO_BUS_TOLERANCE:
                    break
            lowest = min(abs(w), size0 * (1.0 - x))
            shrink = (abs(z_own[k]) + abs(m_own[k, t])) * size / (lowest * abs(w))
            if not (moved <= _TWO_BUS_TOLERANCE and shrink < _CONTRACTION):
                out[k, t] = True
            error = rest / (1.0 - shrink) + 10.0 * _TWO_BUS_TOLERANCE
            if not size0 - abs(w) + error < change_max:
                out[k, t] = True
            current[t] = c
            c_size[t] = abs(c)
            c_error[t] = abs(c) * error / lowest
        for r in range(n_row):
            z = row_z[r, k]
            z_size = abs(z)
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


@nb.njit(cache=True, parallel=True, error_model="numpy")
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
    tan_phi,
    out,
):
    """
    Return the load at which one limit of each port binds at every step.

    ``kind`` is 0 for the voltage change at the own port, 1 for a voltage, 2 for
    a current. With W the voltage at the port under load P, the limited quantity
    is ``|base - P h|``, ``h = z d + second conj(d)``, ``d = (1 - j tan) / conj(W)``:
    a quadratic in P, solved again as W follows P.
    """
    n, n_step = out.shape
    unit = 1.0 - 1j * tan_phi
    for i in nb.prange(n):
        k = port[i]
        z, own = z_row[i], z_own[k]
        for t in range(n_step):
            if skip[i, t]:
                out[i, t] = np.inf
                continue
            v0, m = v_port[k, t], m_own[k, t]
            b0, extra, aim = base[i, t], second[i, t], limit[i]
            if kind[i] == 0:
                b0, extra, aim = v0, m, abs(v0) - limit[i]
            w = v0
            p = np.inf
            for _ in range(_PASSES):
                d = unit / np.conj(w)
                h = z * d + extra * np.conj(d)
                h2 = h.real**2 + h.imag**2
                b = b0.real * h.real + b0.imag * h.imag
                left = b0.real**2 + b0.imag**2 - aim**2
                room = b * b - h2 * left
                if kind[i] == 2:
                    new = (b + np.sqrt(room)) / h2 if left < 0.0 else 0.0
                elif left <= 0.0:
                    new = 0.0
                elif room > 0.0 and b > 0.0:
                    new = left / (b + np.sqrt(room))
                else:
                    new = np.inf
                if not new < np.inf:
                    p = np.inf
                    break
                done = abs(new - p) <= 1e-5 * new
                p = new
                if done:
                    break
                w = v0 - p * (own * d + m * np.conj(d))
            out[i, t] = p


@nb.njit(cache=True, parallel=True)
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
    """
    n_voltage, n_row = len(limited), len(scale)
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
                    slack = rating[i] - size
                slack /= scale[r]
                if not slack >= out_slack[s]:
                    out_slack[s] = slack
                    out_row[s] = r
