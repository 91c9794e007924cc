r"""
Limits that only feeders with phases have: highest voltages, and unbalance.

A load on one phase can raise the voltage of another (neutral shift), and it
unbalances all three. Both are upper limits on a phasor :math:`T v`, as currents
are: :math:`T` is one node for a voltage, and for the unbalance of a bus the
negative sequence

.. math:: V_2 = \tfrac13 (V_a + \alpha^2 V_b + \alpha V_c), \qquad
          |V_2| \le \beta\,|V_1|, \quad \alpha = e^{2 \pi j / 3}

of its three nodes, limited to a share :math:`\beta` of their positive sequence
in the same state. Balanced models have none of these rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import scipy.sparse as sp

from gridsite.feeder.unbalance import bus_triples

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gridsite.hosting.base_case import BaseCase
    from gridsite.hosting.limits import Limits

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

_TURN = np.exp(2j * np.pi / 3.0)

#: Steps, spread over the voltages, at which linear estimates are made.
_SPREAD = 24


@dataclass(frozen=True, kw_only=True, eq=False)
class PhaseRows:
    """
    Upper limits of one block that has phases; no rows where it has none.

    Parameters
    ----------
    rows : pandas.DataFrame
        ``criterion``, ``element`` and ``limit``: highest voltages first [pu],
        then unbalance [-].
    matrix : scipy.sparse.csr_array, shape (n, n_node)
        The limited phasor from node voltages.
    positive : scipy.sparse.csr_array, shape (n_unbalance, n_node)
        Positive-sequence voltage from node voltages.
    scale, materiality, size : numpy.ndarray, shape (n,)
        Size of each limit, how far it may move once broken, and what turns
        both into units of the results (pu, %).
    """

    rows: pd.DataFrame
    matrix: sp.csr_array
    positive: sp.csr_array
    scale: Floats
    materiality: Floats
    size: Floats


def phase_rows(nodes: pd.DataFrame, limited: Ints, limits: Limits) -> PhaseRows:
    """
    Return the limits that a block has because it has phases.

    Parameters
    ----------
    nodes : pandas.DataFrame
        Nodes of the block.
    limited : numpy.ndarray of int, shape (n_limited,)
        Those that keep a voltage band, position in ``nodes``.
    limits : Limits
        The limits.

    Returns
    -------
    PhaseRows
        A highest voltage per limited node, and an unbalance per bus of which
        all three phases are limited.

    Examples
    --------
    >>> from gridsite.hosting.limits import Limits
    >>> nodes = pd.DataFrame({"bus": ["x"] * 3, "phases": ["A", "B", "C"]})
    >>> nodes = nodes.assign(limited=True, voltage_kv=0.4)
    >>> phase_rows(nodes, np.arange(3), Limits()).rows["element"].tolist()
    ['x.A', 'x.B', 'x.C', 'x']
    """
    phases = nodes["phases"].to_numpy()
    if (phases == "ABC").all():
        none, empty = sp.csr_array((0, len(nodes)), dtype=complex), np.empty(0)
        columns = {"criterion": [], "element": [], "limit": empty}
        return PhaseRows(
            rows=pd.DataFrame(columns),
            matrix=none,
            positive=none,
            scale=empty,
            materiality=empty,
            size=empty,
        )
    triples = bus_triples(nodes if limits.on("unbalance") else nodes.iloc[:0])
    bus, n_high, n_bus = nodes["bus"].to_numpy(), len(limited), len(triples)
    v_max = limits.voltage_max_of(nodes["voltage_kv"].to_numpy(dtype=float)[limited])
    shape = (n_high, len(nodes))
    identity = sp.csr_array((np.ones(n_high), (np.arange(n_high), limited)), shape)
    most = np.full(n_bus, limits.unbalance_max)
    negative, positive = (
        _sequence(triples, len(nodes), turn) for turn in (np.conj(_TURN), _TURN)
    )
    return PhaseRows(
        rows=pd.DataFrame(
            {
                "criterion": [*["voltage high"] * n_high, *["unbalance"] * n_bus],
                "element": [*(bus[limited] + "." + phases[limited]), *triples.index],
                "limit": [*v_max, *most],
            }
        ),
        matrix=sp.vstack([identity, negative], format="csr"),
        positive=positive,
        scale=np.concatenate([v_max - 1.0, most]),
        materiality=np.repeat(
            [limits.materiality_voltage_pu, limits.materiality_unbalance],
            [n_high, n_bus],
        ),
        size=np.repeat([1.0, 100.0], [n_high, n_bus]),
    )


def _sequence(triples: pd.DataFrame, n_node: int, turn: complex) -> sp.csr_array:
    """Return a third of phase A, B turned and C turned twice, by bus."""
    n = len(triples)
    weight = np.tile(np.array([1.0, turn, turn**2]) / 3.0, n)
    at = triples.to_numpy(dtype=np.int64).ravel()
    return sp.csr_array((weight, (np.repeat(np.arange(n), 3), at)), (n, n_node))


def unbalance_load(case: BaseCase, port: int, steps: Ints) -> Floats:
    """
    Return the load at which each unbalance limit binds, to first order.

    Parameters
    ----------
    case : BaseCase
        The block.
    port : int
        Where the load is added, position in the block.
    steps : numpy.ndarray of int, shape (n_step,)
        Steps.

    Returns
    -------
    numpy.ndarray, shape (n_unbalance, n_step)
        Load, by its angle against the unbalance that is there; infinite where
        the limit is broken already. [kW]
    """
    v = case.v[:, steps]
    matrix = case.upper_y[case.first_unbalance - case.n_voltage :]
    base = matrix @ v
    most = case.limits.unbalance_max * np.abs(case.positive_y @ v)
    drawn = (1.0 - 1j * case.tan_phi) / np.conj(case.port_voltage(v)[port])
    fall = (matrix @ case.block.impedance[:, port])[:, None] * drawn
    size = np.abs(fall) ** 2
    along = np.real(np.conj(base) * fall)
    room = most**2 - np.abs(base) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        load = (along + np.sqrt(along**2 + size * room)) / size
    usable = (room >= 0.0) & (size > 0.0)
    out: Floats = np.where(usable, load * case.block.base_kva, np.inf)
    return out


def unbalance_capacity(case: BaseCase, ports: Ints) -> Floats:
    """
    Return an estimate of the load at which each unbalance limit binds first.

    Parameters
    ----------
    case : BaseCase
        The block.
    ports : numpy.ndarray of int, shape (n,)
        Where loads are added, position in the block.

    Returns
    -------
    numpy.ndarray, shape (n_unbalance, n)
        The least of some steps: spread over the voltages, and those of the
        largest unbalance. [kW]
    """
    order = np.argsort(np.abs(case.v).sum(axis=0), kind="stable")
    spread = np.linspace(0, len(order) - 1, min(_SPREAD, len(order))).astype(np.int64)
    tightest = case.slack[case.first_unbalance :].argmin(axis=1)
    steps = np.unique(np.append(order[spread], tightest))
    found = [unbalance_load(case, int(k), steps).min(axis=1) for k in ports]
    n = case.n_row - case.first_unbalance
    return np.array(found, dtype=np.float64).reshape(len(ports), n).T
