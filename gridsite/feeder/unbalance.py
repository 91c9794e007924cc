r"""
Voltage unbalance of a three-phase `Feeder`.

The factor is :math:`|V_2| / |V_1|`, negative over positive sequence of the phase
voltages, as in EN 50160 and IEC 61000-2-2; the zero sequence has no part in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.errors import FeederError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int64]

_TURN = np.exp(2j * np.pi / 3.0)


def bus_triples(nodes: pd.DataFrame) -> pd.DataFrame:
    """
    Return the three nodes of each bus that has nodes by phase.

    Parameters
    ----------
    nodes : pandas.DataFrame
        ``nodes`` of a `Feeder`, or those of one block
        (``feeder.nodes.iloc[block.nodes]``).

    Returns
    -------
    pandas.DataFrame
        Columns ``A``, ``B``, ``C``: positions of the nodes in the rows given, by
        bus in order of their first phase; only buses that a voltage limit covers
        and that have all three phases. Empty for a balanced model.

    Raises
    ------
    FeederError
        If a bus has two nodes of one phase.

    Examples
    --------
    >>> nodes = pd.DataFrame({"bus": ["x"] * 3, "phases": ["A", "B", "C"]})
    >>> bus_triples(nodes.assign(limited=True)).loc["x"].tolist()
    [0, 1, 2]
    """
    phases = nodes["phases"].to_numpy()
    if not (phases == "C").any():  # no bus with all three, so none at all
        return pd.DataFrame(columns=["A", "B", "C"], dtype=np.int64)
    table = pd.DataFrame(
        {
            "bus": nodes["bus"].to_numpy(),
            "phase": phases,
            "at": np.arange(len(nodes)),
        }
    )
    single = np.isin(table["phase"], ["A", "B", "C"])
    table = table[single & nodes["limited"].to_numpy(dtype=bool)]
    if not len(table):
        return pd.DataFrame(columns=["A", "B", "C"], dtype=np.int64)
    twice = table.loc[table.duplicated(["bus", "phase"]), "bus"]
    if len(twice):
        msg = f"bus(es) with two nodes of one phase: {twice.unique()[:3].tolist()}"
        raise FeederError(msg)
    wide = table.pivot_table(index="bus", columns="phase", values="at")
    wide = wide.reindex(columns=["A", "B", "C"]).dropna().sort_values("A")
    out: pd.DataFrame = wide.astype(np.int64).rename_axis(columns=None)
    return out


def voltage_unbalance(
    v: NDArray[np.complex128], triples: pd.DataFrame
) -> NDArray[np.float64]:
    """
    Return negative over positive sequence voltage of each bus and state.

    Parameters
    ----------
    v : numpy.ndarray of complex, shape (n_node, n_state)
        Node voltages. [pu]
    triples : pandas.DataFrame
        Nodes of each bus, from `bus_triples` of the same nodes.

    Returns
    -------
    numpy.ndarray, shape (n_bus, n_state)
        Unbalance, in the order of ``triples``; NaN where a voltage is. [-]

    Examples
    --------
    >>> triples = pd.DataFrame({"A": [0], "B": [1], "C": [2]})
    >>> turn = np.exp(-2j * np.pi / 3 * np.arange(3))
    >>> v = turn[:, None] + np.array([[0.0, 0.05]])  # a zero sequence counts nothing
    >>> voltage_unbalance(v, triples).round(3)
    array([[0., 0.]])
    >>> voltage_unbalance(np.array([[0.94], [1.0], [1.0]]) * turn[:, None], triples)
    array([[0.02040816]])
    """
    a, b, c = (v[triples[phase].to_numpy(dtype=np.int64)] for phase in "ABC")
    positive = a + _TURN * b + _TURN**2 * c
    negative = a + _TURN**2 * b + _TURN * c
    out: NDArray[np.float64] = np.abs(negative) / np.abs(positive)
    return out
