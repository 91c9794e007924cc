r"""
Sequence circuits of a pandapower network, and what they are in phases.

pandapower builds the admittances :math:`Y_0, Y_1, Y_2` of the zero, positive and
negative sequence; between two buses

.. math:: Y_{abc} = T \, \mathrm{diag}(Y_0, Y_1, Y_2) \, T^{-1}

with the Fortescue matrix :math:`T` [1]_, phase shifts of transformers included.

As in pandapower's three-phase power flow an external grid holds the positive-sequence
voltage of its bus, and has its short-circuit impedance in the negative and zero
sequence. Here that is an inner bus of fixed, balanced voltage behind these two
impedances, with a positive-sequence impedance `STIFFNESS` times smaller than the
negative one in place of none.

References
----------
.. [1] C. L. Fortescue, in *Trans. AIEE* 37, 1918: symmetrical components of polyphase
   networks.
"""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandapower as pp
import pandas as pd
import scipy.sparse as sp
from pandapower.pd2ppc import _pd2ppc
from pandapower.pypower.makeYbus import makeYbus

from gridsite.errors import FeederError
from gridsite.feeder.net_nodes import _bus_lookup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Complex = NDArray[np.complex128]
    Ints = NDArray[np.int64]

#: Positive-sequence stiffness of a source over that of its negative sequence.
STIFFNESS = 1e6

#: Voltage factor of IEC 60909, as in pandapower's three-phase power flow.
_VOLTAGE_FACTOR = 1.1

_TURN = np.exp(2j * np.pi / 3.0)

#: Fortescue matrix: phase quantities from those of sequence 0, 1, 2.
TO_PHASES = np.array([[1, 1, 1], [1, _TURN**2, _TURN], [1, _TURN, _TURN**2]])


@dataclass(frozen=True, kw_only=True)
class SequenceCircuits:
    """
    Hold the sequence circuits of a network, with an inner bus per source.

    Parameters
    ----------
    ppc : dict
        Positive-sequence circuit as pandapower solves it.
    refs : numpy.ndarray of int, shape (n_source,)
        Buses of external grids; their inner buses stand behind all others.
    y : list of scipy.sparse.csr_array, shape (n_bus + n_source,) * 2
        Nodal admittance by sequence 0, 1, 2. [pu]
    y_fed : list of scipy.sparse.csr_array, shape (n_source, n_bus + n_source)
        Currents that the network draws from each source, by sequence. [pu]
    y_from, y_to : list of scipy.sparse.csr_array, shape (n_branch, n_bus + n_source)
        Currents into either end of each branch, by sequence. [pu]
    """

    ppc: dict[str, Any]
    refs: Ints
    y: list[sp.csr_array]
    y_fed: list[sp.csr_array]
    y_from: list[sp.csr_array]
    y_to: list[sp.csr_array]

    @property
    def n_bus(self) -> int:
        """
        Return the number of buses, inner buses left out.

        Returns
        -------
        int
            The number.
        """
        return int(self.ppc["Ybus"].shape[0])

    @property
    def base_kva(self) -> float:
        """
        Return the power base of one phase.

        Returns
        -------
        float
            The base. [kVA]
        """
        return float(self.ppc["baseMVA"]) * 1e3


def sequence_circuits(net: Any, *, name: str, idle: Sequence[str]) -> SequenceCircuits:  # noqa: ANN401
    """
    Return the sequence circuits of a network.

    Parameters
    ----------
    net : pandapower.auxiliary.pandapowerNet
        The network; it gets pandapower's table of nodes by bus.
    name : str
        Its name in messages.
    idle : sequence of str
        Tables of loads and generators, which are no part of the circuits.

    Returns
    -------
    SequenceCircuits
        On one phase of the network's power base.

    Raises
    ------
    FeederError
        If pandapower cannot build the circuits.
    """
    bare = copy.deepcopy(net)
    for table in idle:
        if table in bare and len(bare[table]):
            bare[table]["in_service"] = False
    try:
        with warnings.catch_warnings():
            # old tap tables; voltages of unsupplied buses, which nothing here uses
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", RuntimeWarning)
            pp.runpp_3ph(bare, numba=False)
            ppc = bare._ppc1["internal"]  # noqa: SLF001
            parts = [_pd2ppc(bare, sequence=sequence)[1] for sequence in range(3)]
        built = [makeYbus(p["baseMVA"], p["bus"], p["branch"]) for p in parts]
    except Exception as error:
        msg = f"{name}: pandapower cannot build the three-phase network ({error})"
        raise FeederError(msg) from error
    net["_pd2ppc_lookups"] = bare["_pd2ppc_lookups"]
    refs, source_y = _source_admittance(net, _bus_lookup(net, ppc), ppc["baseMVA"])
    count, at = len(refs), np.arange(len(refs))
    where = sp.csr_array((np.ones(count), (refs, at)), shape=(len(ppc["bus"]), count))
    shunts = [where @ sp.diags_array(own) @ where.T for own in source_y]
    bare_y = [sp.csr_array(b[0]) for b in built]
    bare_y[0] = bare_y[0] - shunts[0]  # there pandapower has the source in it
    pairs = zip(bare_y, shunts, strict=True)
    return SequenceCircuits(
        ppc=ppc,
        refs=refs,
        y=[
            _behind(bus_y + shunt, where, own)
            for (bus_y, shunt), own in zip(pairs, source_y, strict=True)
        ],
        # not from the sources' stiff admittance, which would cancel digits
        y_fed=[_padded(where.T @ bus_y, count) for bus_y in bare_y],
        y_from=[_padded(b[1], count) for b in built],
        y_to=[_padded(b[2], count) for b in built],
    )


def _behind(y: sp.csr_array, where: sp.csr_array, source_y: Complex) -> sp.csr_array:
    """Return an admittance with an inner bus behind that of each source."""
    own = sp.diags_array(source_y)
    blocks = [[y, -where @ own], [-own @ where.T, own]]
    return sp.csr_array(sp.block_array(blocks))


def _padded(matrix: sp.csr_array, count: int) -> sp.csr_array:
    """Return a matrix over buses as one over buses and inner buses."""
    rows = sp.csr_array(matrix)
    return sp.csr_array(sp.hstack([rows, sp.csr_array((rows.shape[0], count))]))


def _source_admittance(
    net: Any,  # noqa: ANN401
    lookup: pd.Series,
    base_mva: float,
) -> tuple[Ints, Complex]:
    """Return the buses of external grids, and their admittance by sequence in pu."""
    grid = net.ext_grid[net.ext_grid["in_service"].astype(bool)]
    bus = lookup.reindex(grid["bus"]).to_numpy()
    per_phase = grid["s_sc_max_mva"].to_numpy(dtype=float) / 3.0 / base_mva
    rx = grid["rx_max"].to_numpy(dtype=float)
    x = _VOLTAGE_FACTOR / per_phase / np.sqrt(rx**2 + 1.0)
    x0 = grid["x0x_max"].to_numpy(dtype=float) * x
    r0 = grid["r0x0_max"].to_numpy(dtype=float) * x0
    parts = pd.DataFrame({"bus": bus, "y0": 1.0 / (r0 + 1j * x0)})
    parts["y2"] = 1.0 / ((rx + 1j) * x)
    parts = parts[bus >= 0].groupby("bus").sum()
    y0, y2 = parts["y0"].to_numpy(complex), parts["y2"].to_numpy(complex)
    return parts.index.to_numpy(dtype=np.int64), np.array([y0, STIFFNESS * y2, y2])


def in_phases(by_sequence: Sequence[sp.csr_array]) -> sp.csr_array:
    """
    Return a matrix over buses, given by sequence, as one over buses and phases.

    Parameters
    ----------
    by_sequence : sequence of scipy.sparse.csr_array, shape (n, m)
        For sequence 0, 1, 2.

    Returns
    -------
    scipy.sparse.csr_array, shape (3 n, 3 m)
        Phases A, B, C of each row and column in turn.

    Examples
    --------
    >>> ones = sp.csr_array(np.eye(1))
    >>> in_phases([ones, ones, ones]).toarray().real.round(6) + 0.0
    array([[1., 0., 0.],
           [0., 1., 0.],
           [0., 0., 1.]])
    """
    back = np.linalg.inv(TO_PHASES)
    turned = [
        sp.kron(part, np.outer(TO_PHASES[:, s], back[s]), format="csr")
        for s, part in enumerate(by_sequence)
    ]
    return sp.csr_array(turned[0] + turned[1] + turned[2])
