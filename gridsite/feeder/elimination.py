"""Factors of an admittance, laid out in the order of elimination."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse.linalg import SuperLU

    Ints = NDArray[np.int64]


def eliminated(
    lu: SuperLU, y: sp.csc_array, i_source: NDArray[np.complex128]
) -> tuple[Any, ...]:
    """
    Return what `gridsite.feeder.state_kernels.solve_states` needs of an admittance.

    Parameters
    ----------
    lu : scipy.sparse.linalg.SuperLU
        Its factors: ``Pr Y Pc = L U``.
    y : scipy.sparse.csc_array, shape (n, n)
        The admittance. [pu]
    i_source : numpy.ndarray of complex, shape (n,)
        Current that sources drive into the nodes. [pu]

    Returns
    -------
    tuple
        Columns of L without its diagonal, and of U without its own (where each starts,
        rows, real and imaginary parts); real and imaginary parts of the inverse of U's
        diagonal, and of the source currents by row of L; rows of Y in the same order,
        their columns in that of the columns of U; the column of the node of each row;
        the column of each node.
    """
    lower, upper = sp.csc_array(lu.L), sp.csc_array(lu.U)
    inverse = 1.0 / upper.diagonal()
    row, col = (np.asarray(p, dtype=np.int64) for p in (lu.perm_r, lu.perm_c))
    node = np.argsort(row)
    rows = sp.csr_array(y)[node]
    turned = sp.csr_array((rows.data, col[rows.indices], rows.indptr), shape=y.shape)
    return (
        _parts(sp.csc_array(sp.tril(lower, k=-1))),
        _parts(sp.csc_array(sp.triu(upper, k=1))),
        (inverse.real.copy(), inverse.imag.copy()),
        (i_source.real[node], i_source.imag[node]),
        _parts(turned),
        col[node],
        col,
    )


def _parts(
    matrix: sp.csc_array | sp.csr_array,
) -> tuple[Ints, Ints, NDArray[np.float64], NDArray[np.float64]]:
    """Return where entries stand, and their real and imaginary parts."""
    matrix.sort_indices()
    return (
        matrix.indptr.astype(np.int64),
        matrix.indices.astype(np.int64),
        matrix.data.real.copy(),
        matrix.data.imag.copy(),
    )


def branches_by_row(
    lu: SuperLU, owner: Ints, share: NDArray[np.float64], node: Ints, back: Ints
) -> tuple[NDArray[np.generic], ...]:
    """
    Return branches in the order in which the first of their nodes is eliminated.

    Parameters
    ----------
    lu : scipy.sparse.linalg.SuperLU
        The factors.
    owner : numpy.ndarray of int, shape (n_branch,)
        Port of each.
    share : numpy.ndarray, shape (n_branch,)
        What of its port it draws. [-]
    node, back : numpy.ndarray of int, shape (n_branch,)
        Its node and its return; -1 for ground.

    Returns
    -------
    first : numpy.ndarray of int, shape (n_row + 1,)
        Position of the first branch of each row of L.
    owner, share : numpy.ndarray, shape (n_branch,)
        In order.
    at_row, at_col, back_row, back_col : numpy.ndarray of int, shape (n_branch,)
        Row and column of the node and of the return; -1 for ground.
    """
    ends = []
    for at in (node, back):
        for order in (lu.perm_r, lu.perm_c):
            place = np.asarray(order, dtype=np.int64)[np.maximum(at, 0)]
            ends.append(np.where(at >= 0, place, -1))
    first_row = np.where(back >= 0, np.minimum(ends[0], ends[2]), ends[0])
    order = np.argsort(first_row, kind="stable")
    starts = np.searchsorted(first_row[order], np.arange(lu.shape[0] + 1))
    return (
        starts.astype(np.int64),
        owner[order].astype(np.int64),
        share[order],
        *(end[order] for end in ends),
    )
