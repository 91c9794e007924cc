"""Compiled loops of `gridsite.hosting.acting_proof`: called with arrays only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numba as nb

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Complex = NDArray[np.complex128]


@nb.njit(cache=True, parallel=True, error_model="numpy")
def may_move(  # pragma: no cover
    drawn: Complex,
    port: Ints,
    share: Floats,
    v_port: Complex,
    base: Complex,
    fall: Complex,
    loose: Floats,
    left_out: float,
    size: Ints,
    low: Floats,
    high: Floats,
    out: NDArray[np.bool_],
) -> None:
    """
    Mark the steps at which a control could move under each load.

    ``share`` bounds the change of the own voltage; where it is not below 1, nothing is
    proven. Value ``i`` is made of the next ``size[i]`` rows of ``base``: the size of
    one phasor, or the reactive power of half of them with the other half.
    """
    for k in nb.prange(len(drawn)):
        at, x = port[k], share[k]
        if not x < 1.0:
            out[k] = True
            continue
        for t in range(out.shape[1]):
            v = v_port[at, t]
            c = drawn[k] / v.conjugate()
            most = abs(c) / (1.0 - x)
            row = 0
            for i in range(len(size)):
                value, error = 0.0, 0.0
                if size[i] == 1:
                    z = fall[row, at]
                    value = abs(base[row, t] - z * c)
                    error = most * (abs(z) * x + loose[row, at])
                    error += left_out * abs(base[row, t])
                half = size[i] // 2
                for p in range(row, row + half):
                    zv, zi = fall[p, at], fall[p + half, at]
                    u, y = base[p, t] - zv * c, base[p + half, t] - zi * c
                    du = most * (abs(zv) * x + loose[p, at]) + left_out * abs(u)
                    dy = most * (abs(zi) * x + loose[p + half, at])
                    dy += left_out * abs(y)
                    value += (u * y.conjugate()).imag
                    error += abs(u) * dy + du * abs(y) + du * dy
                row += size[i]
                if not (value - error > low[i] and value + error < high[i]):
                    out[k, t] = True
                    break
