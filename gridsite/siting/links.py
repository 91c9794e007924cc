r"""
Valid inequalities that a plan keeps anyway and its relaxation does not.

For a flow :math:`k` of demand :math:`d` to pool :math:`p`

.. math::

    x_k \le \sum_{m \in p} \min(\text{demand}_d, \text{it}_m)\, n_m
    \qquad\text{and}\qquad x_k \le \text{demand}_d\, y_j

where :math:`j` is the one site of the pool and pays to open. They decide the bound
and few of them are needed, so HiGHS gets those that its relaxation breaks [1]_.

References
----------
.. [1] T. J. Van Roy, "A cross decomposition algorithm for capacitated facility
   location", *Operations Research* 34(1), 1986. :doi:`10.1287/opre.34.1.145`
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from gridsite.siting.matrix import Matrix
    from gridsite.siting.reduce import ReducedProblem

#: Largest number of options of a pool whose flows get links.
_MOST_OPTIONS = 8


def demand_links(matrix: Matrix, reduced: ReducedProblem) -> sparse.csr_array:
    """
    Return the links of a model, each row of which is at most 0.

    Parameters
    ----------
    matrix : Matrix
        The compiled model.
    reduced : ReducedProblem
        What it was built from.

    Returns
    -------
    scipy.sparse.csr_array, shape (n_links, n_columns)
        In the columns of the model.
    """
    options, flows = reduced.options, reduced.flows
    need = reduced.demands["demand_it_kw"].to_numpy()[flows["demand"]]
    order = np.argsort(options["pool"].to_numpy(), kind="stable")
    pools = options["pool"].to_numpy()[order]
    first = np.searchsorted(pools, flows["pool"].to_numpy(), "left")
    count = np.searchsorted(pools, flows["pool"].to_numpy(), "right") - first
    linked = np.flatnonzero((count > 0) & (count <= _MOST_OPTIONS))
    repeat = np.repeat(linked, count[linked])
    within = np.arange(len(repeat)) - np.repeat(
        np.cumsum(count[linked]) - count[linked], count[linked]
    )
    option = order[first[repeat] + within]
    it_kw = options["it_kw"].to_numpy()[option]
    row = np.repeat(np.arange(len(linked)), count[linked])
    blocks = [
        (row, matrix.columns["units"][option], -np.minimum(need[repeat], it_kw)),
        (np.arange(len(linked)), matrix.columns["flow"][linked], np.ones(len(linked))),
    ]
    site = options["site"].to_numpy()[order[np.minimum(first, len(order) - 1)]]
    opens = np.where(count == 1, matrix.columns["is_open"][site], -1)
    tied = np.flatnonzero(opens >= 0)
    at = len(linked) + np.arange(len(tied))
    blocks += [
        (at, opens[tied], -need[tied]),
        (at, matrix.columns["flow"][tied], np.ones(len(tied))),
    ]
    rows, columns, values = (np.concatenate(part) for part in zip(*blocks, strict=True))
    shape = (len(linked) + len(tied), len(matrix.cost))
    return sparse.csr_array((values, (rows, columns)), shape=shape)
