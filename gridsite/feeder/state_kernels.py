"""
Compiled loops of `gridsite.feeder.powerflow.Block`: called with arrays only.

States stand side by side in chunks of a size that the compiler knows, so that one entry
of a factor serves a whole row of them on vector instructions, and a state comes out the
same wherever it stands. Of each row the real parts are the first half.
"""

from __future__ import annotations

import numba as nb
import numpy as np

#: States of a chunk.
_LANES = 32

#: A voltage that moves this far in one iteration runs away. [pu]
_DIVERGED_PU = 0.5


@nb.njit(forceinline=True)
def _follow(square, exponent):  # pragma: no cover
    """Return u^exponent from the square of u."""
    if exponent == 0.0:
        return 1.0
    if exponent == 1.0:
        return np.sqrt(square)
    if exponent == 2.0:
        return square
    if exponent == 3.0:
        return square * np.sqrt(square)
    return square ** (0.5 * exponent)


@nb.njit(forceinline=True, fastmath={"contract"})
def _fill_power(  # pragma: no cover
    branches, loads, model_of, step, added_port, added, power, own
):
    """Fill what each branch draws, and what of it follows the voltage."""
    _, owner, share, _, _, _, _ = branches
    p_shapes, q_shapes, shape_of_port, p_scale, q_scale = loads[:5]
    spread, more_of, more, tan_phi = loads[5:]
    for k in range(len(owner)):
        j, part = owner[k], share[k]
        row, m = shape_of_port[j], model_of[j]
        a, b = part * p_scale[j], part * q_scale[j]
        for s in range(_LANES):
            power[k, s] = a * p_shapes[row, step[s]]
            power[k, _LANES + s] = b * q_shapes[row, step[s]]
        if m >= 0:
            own[m] = power[k]
            power[k] = 0.0
        if more_of[j] >= 0:
            for s in range(_LANES):
                extra = part * more[more_of[j], step[s]]
                power[k, s] += extra
                power[k, _LANES + s] += tan_phi * extra
        for s in range(_LANES):
            extra = part * (spread[j] + (added[s] if added_port[s] == j else 0.0))
            power[k, s] += extra
            power[k, _LANES + s] += tan_phi * extra


@nb.njit(forceinline=True, error_model="numpy", fastmath={"contract"})
def _forward(  # pragma: no cover
    lower, branches, models, power, own, done, v, x
):
    """Take the currents of branches from the right-hand side, and solve with L."""
    lp, li, lr, lm = lower
    first, owner, _, at_row, at_col, back_row, back_col = branches
    model_of, p_exponent, q_exponent, per_rated = models
    for j in range(len(lp) - 1):
        for k in range(first[j], first[j + 1]):
            m = model_of[owner[k]]
            ra, ca, rb, cb = at_row[k], at_col[k], back_row[k], back_col[k]
            if m < 0 and cb < 0:
                for s in range(_LANES):
                    re, im = v[ca, s], v[ca, _LANES + s]
                    p, q = power[k, s], power[k, _LANES + s]
                    # conj(S / u) = conj(S) u / |u|^2
                    inv = 1.0 / (re * re + im * im)
                    x[ra, s] -= (p * re + q * im) * inv
                    x[ra, _LANES + s] -= (p * im - q * re) * inv
                continue
            for s in range(_LANES):
                if m >= 0 and done[s]:
                    continue
                re, im = v[ca, s], v[ca, _LANES + s]
                if cb >= 0:
                    re -= v[cb, s]
                    im -= v[cb, _LANES + s]
                square = re * re + im * im
                p, q = power[k, s], power[k, _LANES + s]
                if m >= 0:
                    u = square * per_rated[m] * per_rated[m]
                    p += own[m, s] * _follow(u, p_exponent[m])
                    q += own[m, _LANES + s] * _follow(u, q_exponent[m])
                cr = (p * re + q * im) / square
                ci = (p * im - q * re) / square
                x[ra, s] -= cr
                x[ra, _LANES + s] -= ci
                if cb >= 0:
                    x[rb, s] += cr
                    x[rb, _LANES + s] += ci
        for p in range(lp[j], lp[j + 1]):
            i, a, b = li[p], lr[p], lm[p]
            for s in range(_LANES):
                re, im = x[j, s], x[j, _LANES + s]
                x[i, s] -= a * re - b * im
                x[i, _LANES + s] -= a * im + b * re


@nb.njit(forceinline=True, fastmath={"contract"})
def _source(a, b, f, row):  # pragma: no cover
    """Fill a row with the current that sources drive into its node."""
    if a == 0.0 and b == 0.0:
        row[:] = 0.0
        return
    for s in range(_LANES):
        row[s] = a * f[s] - b * f[_LANES + s]
        row[_LANES + s] = a * f[_LANES + s] + b * f[s]


@nb.njit(forceinline=True, fastmath={"contract"})
def _backward(  # pragma: no cover
    upper, diagonal, source, f, keep, change, v, x
):
    """Solve with U, move voltages but those to keep, and begin a right-hand side."""
    up, ui, ur, um = upper
    dr, dm = diagonal
    src_r, src_i = source
    change[:] = 0.0
    for j in range(len(dr) - 1, -1, -1):
        a, b = dr[j], dm[j]
        for s in range(_LANES):
            re = a * x[j, s] - b * x[j, _LANES + s]
            x[j, _LANES + s] = a * x[j, _LANES + s] + b * x[j, s]
            x[j, s] = re
        for p in range(up[j], up[j + 1]):
            i, a, b = ui[p], ur[p], um[p]
            for s in range(_LANES):
                re, im = x[j, s], x[j, _LANES + s]
                x[i, s] -= a * re - b * im
                x[i, _LANES + s] -= a * im + b * re
        for s in range(_LANES):
            re, im = v[j, s], v[j, _LANES + s]
            d = (x[j, s] - re) ** 2 + (x[j, _LANES + s] - im) ** 2
            change[s] = change[s] if d <= change[s] else d
            v[j, s] = re if keep[s] > 0.0 else x[j, s]
            v[j, _LANES + s] = im if keep[s] > 0.0 else x[j, _LANES + s]
        _source(src_r[j], src_i[j], f, x[j])


@nb.njit(forceinline=True, fastmath={"contract"})
def _mismatch(admittance, col_of, v, x, most):  # pragma: no cover
    """Fill the square of the largest power mismatch; x is the current of all loads."""
    yp, yi, yr, ym = admittance
    most[:] = 0.0
    for j in range(len(col_of)):
        for p in range(yp[j], yp[j + 1]):
            i, a, b = yi[p], yr[p], ym[p]
            for s in range(_LANES):
                re, im = v[i, s], v[i, _LANES + s]
                x[j, s] -= a * re - b * im
                x[j, _LANES + s] -= a * im + b * re
        c = col_of[j]
        for s in range(_LANES):
            e = x[j, s] ** 2 + x[j, _LANES + s] ** 2
            e *= v[c, s] ** 2 + v[c, _LANES + s] ** 2
            most[s] = most[s] if e <= most[s] else e


@nb.njit(cache=True, parallel=True, error_model="numpy", fastmath={"contract"})
def solve_states(  # pragma: no cover
    factors,
    branches,
    loads,
    models,
    drive,
    step,
    added_port,
    added,
    v_start,
    start_of,
    tolerance,
    max_iterations,
    v_out,
    residual,
    iterations,
):
    """
    Iterate V = Y^-1 (I_s - C conj(S / (C^T V))), one thread per chunk of states.

    ``factors`` and ``branches`` are as from `gridsite.feeder.elimination`: rows of
    voltages stand in the order of the factors' columns, those of currents in that of
    their rows. ``loads`` and ``models`` are as in `gridsite.feeder.states.States` and
    `gridsite.feeder.powerflow.Block`: a port whose model is ``m >= 0`` follows its
    voltage with the exponents of row ``m``; what is added to it is constant power as
    everywhere. ``residual`` is NaN where a state did not converge.
    """
    lower, upper, diagonal, source, admittance, col_of, perm_c = factors
    n, n_state = len(perm_c), len(step)
    _, li, lr, lm = lower
    nothing = (np.zeros(n + 1, dtype=np.int64), li, lr, lm)
    for chunk in nb.prange((n_state + _LANES - 1) // _LANES):
        first = chunk * _LANES
        size = min(_LANES, n_state - first)
        # a chunk that is not full repeats its last state
        at = np.minimum(np.arange(_LANES), size - 1) + first
        steps = step[at]
        power = np.empty((len(branches[1]), 2 * _LANES))
        # of branches that follow their voltage: what they draw at rated voltage
        own = np.empty((len(models[1]), 2 * _LANES))
        _fill_power(
            branches,
            loads,
            models[0],
            steps,
            added_port[at],
            added[at],
            power,
            own,
        )
        v, x = np.empty((n, 2 * _LANES)), np.empty((n, 2 * _LANES))
        f = np.empty(2 * _LANES)
        for s in range(_LANES):
            f[s], f[_LANES + s] = drive[steps[s]].real, drive[steps[s]].imag
        for i in range(n):
            for s in range(_LANES):
                v0 = v_start[i, start_of[at[s]]]
                v[perm_c[i], s], v[perm_c[i], _LANES + s] = v0.real, v0.imag
            _source(source[0][i], source[1][i], f, x[i])
        change, keep = np.empty(_LANES), np.zeros(_LANES)
        done, solved = np.zeros(_LANES, np.bool_), np.zeros(_LANES, np.bool_)
        for it in range(max_iterations):
            _forward(lower, branches, models, power, own, done, v, x)
            _backward(upper, diagonal, source, f, keep, change, v, x)
            for s in range(_LANES):
                if not done[s]:
                    moved = np.sqrt(change[s])
                    iterations[at[s]] = it + 1
                    solved[s] = moved <= tolerance
                    done[s] = solved[s] or not moved < _DIVERGED_PU
                    keep[s] = 1.0 if done[s] else 0.0
            if done.all():
                break
        done[:] = False
        _forward(nothing, branches, models, power, own, done, v, x)
        _mismatch(admittance, col_of, v, x, change)
        for s in range(size):
            residual[first + s] = np.sqrt(change[s]) if solved[s] else np.nan
        for i in range(n):
            for s in range(size):
                c = perm_c[i]
                v_out[i, first + s] = complex(v[c, s], v[c, _LANES + s])
