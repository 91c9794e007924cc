"""Compiled loops of `gridsite.hosting.envelope`: called with checked arrays only."""

from __future__ import annotations

import numba as nb
import numpy as np

from gridsite.hosting.slack_kernels import apart

#: Steps worked at together. The size is known to the compiler, so that rows of one
#: array lie apart for sure and loops over them run on vector instructions.
_WIDTH = 256

#: Passes of the closed forms that give the load at which a limit binds.
_PASSES = 5

#: Slope of a step in what is interpolated. [1/kW]
_STEEP = 1e300


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
    for i in nb.prange(n):
        k, own_change, upper = port[i], kind[i] == 0, kind[i] >= 2
        work = np.empty((16, _WIDTH))
        zr, zi, yr, yi, wr, wi = work[0], work[1], work[2], work[3], work[4], work[5]
        mr, mi, er, ei, br, bi = work[6], work[7], work[8], work[9], work[10], work[11]
        vr, vi, left, p = work[12], work[13], work[14], work[15]
        zr[:], zi[:] = z_row[i].real, z_row[i].imag
        yr[:], yi[:] = z_own[k].real, z_own[k].imag
        for first in range(0, n_step, _WIDTH):
            size = min(_WIDTH, n_step - first)
            last = first + size
            apart(v_port[k, first:last], vr, vi)
            apart(m_own[k, first:last], mr, mi)
            if own_change:
                for s in range(size):
                    br[s], bi[s], er[s], ei[s] = vr[s], vi[s], mr[s], mi[s]
                    aim = np.sqrt(vr[s] ** 2 + vi[s] ** 2) - limit[i]
                    left[s] = vr[s] ** 2 + vi[s] ** 2 - aim**2
            else:
                _phasor(
                    row[i],
                    v[:, first:last],
                    drive[first:last],
                    limited,
                    indptr,
                    indices,
                    data,
                    source,
                    br,
                    bi,
                )
                apart(second[i, first:last], er, ei)
                square = limit[i] ** 2
                for s in range(size):
                    left[s] = br[s] ** 2 + bi[s] ** 2 - square
            for s in range(size):
                wr[s], wi[s], p[s] = vr[s], vi[s], 0.0
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
                    root = along + np.sqrt(along * along - h2 * left[s])
                    x = root / h2 if upper else left[s] / root
                    p[s] = x
                    fr = yr[s] * dr - yi[s] * di + mr[s] * dr + mi[s] * di
                    fi = yr[s] * di + yi[s] * dr + mi[s] * dr - mr[s] * di
                    wr[s] = vr[s] - x * fr
                    wi[s] = vi[s] - x * fi
            sign = 1.0 if upper else -1.0
            for s in range(size):
                x = p[s] if p[s] >= 0.0 else np.inf  # of NaN too
                p[s] = 0.0 if sign * left[s] >= 0.0 else x
            for s in range(size):
                ignored = not own_change and broken[row[i], first + s]
                out[i, first + s] = np.inf if ignored else p[s]


@nb.njit(cache=True, parallel=True)
def spread_steps(  # pragma: no cover
    estimate, load, low, margin, ranked, share, out
):
    """
    Fill steps of each pair at some shares of those at which it is the first, or near.

    First is the least estimate of the load, or what is left to it already; near is
    within ``margin`` of it. -1 where a pair is nowhere near.
    """
    n, n_step = estimate.shape
    start = np.flatnonzero(np.append(True, load[1:] != load[:-1]))
    end = np.append(start[1:], n)
    for group in nb.prange(len(start)):
        least = low[load[start[group]]].copy()
        for i in range(start[group], end[group]):
            for t in range(n_step):
                least[t] = min(least[t], estimate[i, t])
        for i in range(start[group], end[group]):
            line = estimate[i]
            near = np.empty(n_step, dtype=np.int64)
            count = 0
            for t in range(n_step):
                near[count] = t
                count += line[t] < np.inf and line[t] <= margin * least[t]
            out[i] = -1
            if count == 0:
                continue
            near = near[:count]
            some = near[:: max(1, count // ranked)]
            order = np.argsort(line[some])
            for j in range(len(share)):
                out[i, j] = some[order[int(np.rint(share[j] * (len(some) - 1)))]]
            out[i, 0] = near[np.argmin(line[near])]
            out[i, len(share) - 1] = near[np.argmax(line[near])]


@nb.njit(cache=True, parallel=True, error_model="numpy")
def lower_to(estimate, load, row, at, factor, low, low_row):  # pragma: no cover
    """
    Lower what is left to loads to what their limits leave, one thread per steps.

    Estimates are scaled by factors that are interpolated between ascending estimates
    ``at`` which they were found; beyond the ends, and at one of several, the nearest.
    """
    n, n_step = estimate.shape
    n_block = (n_step + _WIDTH - 1) // _WIDTH
    for block in nb.prange(n_block):
        first = block * _WIDTH
        size = min(_WIDTH, n_step - first)
        kw, scale = np.empty(_WIDTH), np.empty(_WIDTH)
        for i in range(n):
            now, now_row = low[load[i]], low_row[load[i]]
            for s in range(size):
                kw[s], scale[s] = estimate[i, first + s], factor[i, 0]
            for j in range(at.shape[1] - 1):
                start, far = at[i, j], at[i, j + 1] - at[i, j]
                more = factor[i, j + 1] - factor[i, j]
                steep = 1.0 / far if far > 0.0 else _STEEP
                for s in range(size):
                    share = (kw[s] - start) * steep
                    share = share if share > 0.0 else 0.0
                    scale[s] += more * (share if share < 1.0 else 1.0)
            for s in range(size):
                t = first + s
                value = kw[s] * scale[s]
                if value < now[t]:
                    now[t] = value
                    now_row[t] = row[i]


@nb.njit(cache=True, parallel=True, error_model="numpy")
def nearest(  # pragma: no cover
    slack, inverse, most, start, row, first, ratio, step
):
    """Fill the least ratio of each pair's load to the first one's, and its step."""
    n_step = slack.shape[1]
    for k in nb.prange(len(start) - 1):
        low = np.full(n_step, most[k])
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


@nb.njit(cache=True, parallel=True)
def room_along(rows, phasor, way, limit, slack):  # pragma: no cover
    """Put in some rows what is left of a limit in the way loads move its phasor."""
    for k in nb.prange(len(rows)):
        row, re, im, most = rows[k], way[k].real, way[k].imag, limit[k] ** 2
        for s in range(slack.shape[1]):
            if slack[row, s] < np.inf:
                i = phasor[k, s]
                along = i.real * re + i.imag * im
                left = most - i.real**2 - i.imag**2 + along**2
                slack[row, s] = np.sqrt(max(left, 0.0)) - along
