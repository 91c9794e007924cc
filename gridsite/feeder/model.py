"""
The one electrical model of gridsite, whatever the file it came from.

A `Feeder` holds, in per unit,

* nodes, a sparse nodal admittance ``y`` and sources of fixed voltage;
* ports, the places where power is drawn, each between a node and a return
  node (-1 is ground), so that three-phase, single-phase, delta and split-phase
  connections are one case;
* terminals, the ends of lines and transformers: current is
  ``terminal_y @ v``, and each terminal has a rating.

In a balanced model one node stands for the three phases of a bus, and the power
base is that of all three. In a three-phase model one node stands for one phase,
voltages are per phase voltage (1 pu means the same), and the power base is that
of one phase.

A file may hold several feeders: parts of the network that only meet at a
source are electrically independent, and ``feeder_id`` names them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import geopandas as gpd
import numpy as np
from scipy.sparse.csgraph import connected_components

from gridsite.errors import FeederError

if TYPE_CHECKING:
    import pandas as pd
    import scipy.sparse as sp
    from numpy.typing import NDArray

    from gridsite.feeder.controls import Control
    from gridsite.feeder.profiles import Profiles


#: Columns of ports that name nodes.
PORT_NODES = ("node", "node_return", "node_b", "node_c")


@dataclass(frozen=True, kw_only=True)
class Feeder:
    """
    Hold one electrical model: nodes, admittance, ports and terminals.

    Parameters
    ----------
    name : str
        Where the model came from.
    base_kva : float
        Power base of the per-unit system: of what one node stands for. [kVA]
    nodes : pandas.DataFrame
        One row per supplied node: ``bus`` (text), ``phases``, ``voltage_kv``
        (line to line), ``feeder_id`` ("" at a source), ``limited`` (False at
        helper nodes that no voltage limit covers), ``lon``, ``lat``.
    y : scipy.sparse.csc_array, shape (n_node, n_node)
        Nodal admittance. [pu]
    source_nodes : numpy.ndarray of int, shape (n_source,)
        Nodes of fixed voltage.
    source_v : numpy.ndarray of complex, shape (n_source,)
        Their voltages. [pu]
    ports : pandas.DataFrame
        Indexed by ``port_id`` (text): ``node``, ``node_return`` (-1 is
        ground; ``node`` is -1 too at an unsupplied port), ``bus``, ``phases``,
        ``feeder_id``, ``kind`` (load, generation, other), ``p_kw``, ``q_kvar``
        (the file's own values, load positive), ``profile``. Ports that depend on
        voltage have ``p_exponent``, ``q_exponent`` and ``rated_v_pu``, the voltage
        across the port at which they draw these values (`load_models`). A port of
        phases ABC draws a third each at ``node``, ``node_b`` and ``node_c`` (-1, or
        no column, at all others): to ground, or each to the next where
        ``node_return`` is ``node_b``.
    elements : pandas.DataFrame
        Indexed by ``element`` (text): ``kind`` (line, transformer),
        ``from_bus``, ``to_bus``, ``feeder_id``, ``rating``, ``rating_unit``,
        ``code`` (line code or standard type), ``geometry``; ``rating_from`` where
        ratings were added (`gridsite.feeder.assumed_ratings`).
    terminals : pandas.DataFrame
        Rows of ``terminal_y``: ``element``, ``side``, ``node``, ``feeder_id``,
        ``criterion``, ``rated_a`` (NaN where the file has none), ``base_a``
        (A per pu). Terminals of criterion ``source`` carry what a source feeds.
    terminal_y : scipy.sparse.csr_array, shape (n_terminal, n_node)
        Terminal currents from node voltages. [pu]
    unsupplied_buses : tuple of str
        Buses that no source reaches.
    notes : tuple of str
        What the reader changed or assumed.
    profiles : Profiles, optional
        Profiles that came with the file (SimBench).
    taps : pandas.DataFrame, optional
        Tap changers in service: ``element``, ``feeder_id``, ``controlled_node``
        (at the lower voltage), ``side``, ``neutral``, ``pos`` (which ``y``
        holds), ``min``, ``max``, ``step_percent``, ``lower_pu`` and ``upper_pu``
        (band of a controller in the file, NaN without one),
        ``frozen_because`` ("" where its own data let it act).
    controls : tuple of Control, optional
        Regulators and switched capacitors that may act from step to step
        (`gridsite.feeder.acting_controls`); ``y`` holds them where they stand.
    """

    name: str
    base_kva: float
    nodes: pd.DataFrame
    y: sp.csc_array
    source_nodes: NDArray[np.int64]
    source_v: NDArray[np.complex128]
    ports: pd.DataFrame
    elements: pd.DataFrame
    terminals: pd.DataFrame
    terminal_y: sp.csr_array
    unsupplied_buses: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    profiles: Profiles | None = None
    taps: pd.DataFrame | None = None
    controls: tuple[Control, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a model that could not be solved."""
        if not len(self.source_nodes):
            msg = f"{self.name}: no source in service; add an external grid"
            raise FeederError(msg)
        nameless = self.nodes.loc[~(self.nodes["voltage_kv"] > 0.0), "bus"]
        if len(nameless):
            msg = (
                f"{self.name}: {len(nameless)} bus(es) without a nominal voltage, "
                f"first {nameless.head(3).tolist()}; give vn_kv"
            )
            raise FeederError(msg)
        if not np.isfinite(self.y.data).all():
            bad = sorted(set(self.nodes["bus"].iloc[self._bad_nodes()]))[:5]
            msg = f"{self.name}: admittance is not finite at buses {bad}"
            raise FeederError(msg)

    def _bad_nodes(self) -> NDArray[np.int64]:
        entries = self.y.tocoo()
        rows: NDArray[np.int64] = entries.coords[0][~np.isfinite(entries.data)]
        return rows

    @property
    def load_ports(self) -> pd.DataFrame:
        """
        Return the ports of customers: the connections that may host a unit.

        Returns
        -------
        pandas.DataFrame
            Rows of ``ports`` of kind ``load``.
        """
        return self.ports[self.ports["kind"] == "load"]

    def connection_points(self) -> gpd.GeoDataFrame:
        """
        Return the customers' connection points with their positions.

        Returns
        -------
        geopandas.GeoDataFrame
            ``port_id, bus, feeder_id, phases, geometry`` in EPSG:4326; points
            have no coordinates (NaN) where the file has none.
        """
        ports = self.load_ports.reset_index()
        return gpd.GeoDataFrame(
            ports[["port_id", "bus", "feeder_id", "phases"]],
            geometry=gpd.points_from_xy(ports["lon"], ports["lat"]),
            crs="EPSG:4326",
        )


def load_models(ports: pd.DataFrame) -> pd.DataFrame:
    """
    Return how what ports draw follows the voltage across them.

    A port draws :math:`P (U / U_r)^{n_p} + j Q (U / U_r)^{n_q}`: constant power with
    exponents of 0, constant current with 1, constant impedance with 2.

    Parameters
    ----------
    ports : pandas.DataFrame
        ``ports`` of a `Feeder`.

    Returns
    -------
    pandas.DataFrame
        ``p_exponent``, ``q_exponent`` [-] and ``rated_v_pu`` [pu, in which a port
        between two phases sees the square root of 3] of each port; constant power
        where the ports do not say.

    Examples
    --------
    >>> import pandas as pd
    >>> load_models(pd.DataFrame({"p_kw": [3.0]})).iloc[0].tolist()
    [0.0, 0.0, 1.0]
    """
    default = {"p_exponent": 0.0, "q_exponent": 0.0, "rated_v_pu": 1.0}
    return ports.reindex(columns=list(default)).astype(float).fillna(default)


def further_nodes(ports: pd.DataFrame) -> NDArray[np.int64]:
    """
    Return the second and third node of ports.

    Parameters
    ----------
    ports : pandas.DataFrame
        ``ports`` of a `Feeder`.

    Returns
    -------
    numpy.ndarray of int, shape (n_port, 2)
        ``node_b`` and ``node_c``; -1 at ports that are not of three phases.

    Examples
    --------
    >>> import pandas as pd
    >>> further_nodes(pd.DataFrame({"node": [4]})).tolist()
    [[-1, -1]]
    """
    more = ports.reindex(columns=["node_b", "node_c"]).astype(float).fillna(-1.0)
    return more.to_numpy().astype(np.int64)


def independent_feeders(
    y: sp.csc_array,
    source_nodes: NDArray[np.int64],
) -> NDArray[np.int64]:
    """
    Label the parts of a network that only meet at sources.

    Voltages at sources are fixed, so parts that only share a source do not
    influence each other.

    Parameters
    ----------
    y : scipy.sparse.csc_array, shape (n_node, n_node)
        Nodal admittance. [pu]
    source_nodes : numpy.ndarray of int
        Nodes of fixed voltage.

    Returns
    -------
    numpy.ndarray of int, shape (n_node,)
        Label from 0 by lowest node; -1 at sources.
    """
    label: NDArray[np.int64] = np.full(y.shape[0], -1, dtype=np.int64)
    free = np.setdiff1d(np.arange(y.shape[0]), source_nodes)
    if free.size:
        part = y[free][:, free]
        label[free] = connected_components(abs(part), directed=False)[1]
    return label
