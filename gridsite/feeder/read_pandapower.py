"""
Read a pandapower network into a `Feeder`.

Admittances are the ones pandapower itself builds, so voltages agree with its
power flow to rounding. What cannot be carried is refused by name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandapower as pp
import scipy.sparse as sp

from gridsite.errors import ConfigError
from gridsite.feeder.model import Feeder, independent_feeders
from gridsite.feeder.net_elements import _elements, _row_node, _with_sources
from gridsite.feeder.net_names import _bus_names, _names
from gridsite.feeder.net_nodes import _admittance, _bus_lookup, _feeder_labels, _nodes
from gridsite.feeder.net_ports import _filed_profiles, _ports
from gridsite.feeder.net_prepared import (
    _REFUSED,
    _has_asymmetric,
    _prepared,
    _refuse,
    _sources_of_machines,
)
from gridsite.feeder.net_sources import load_net
from gridsite.feeder.tap_table import tap_table


def read_feeder(
    source: str | Path | Any,  # noqa: ANN401
    *,
    three_phase: bool | None = None,
    crs: str | None = None,
) -> Feeder:
    """
    Read a feeder from a file, a named network or a pandapower network.

    Parameters
    ----------
    source : str, pathlib.Path or pandapower network
        A pandapower ``.json`` or ``.xlsx`` file, an OpenDSS ``.dss`` master script
        (`gridsite.feeder.read_opendss.read_opendss`), a CIM ``.zip`` or folder
        (`gridsite.feeder.cim.read_cim`), ``pandapower:NAME`` (a
        function of ``pandapower.networks``), ``simbench:CODE``, or a network.
    three_phase : bool, optional
        Whether each phase has nodes of its own, which needs zero-sequence data;
        by default where loads or generators by phase are in service. OpenDSS
        circuits always have.
    crs : str, optional
        Reference system of the bus coordinates of an OpenDSS circuit, as
        ``EPSG:2229``. By default they are taken where they are degrees that fit
        the lengths of lines, and left out elsewhere.

    Returns
    -------
    Feeder
        The electrical model.

    Raises
    ------
    ConfigError
        If the name or file is unknown, an extra is missing, or ``crs`` is not
        known or given for another kind of file.
    FeederError
        If the file holds something the model cannot carry.

    Examples
    --------
    >>> feeder = read_feeder("pandapower:create_kerber_landnetz_freileitung_1")
    >>> len(feeder.load_ports)
    13
    """
    if not isinstance(source, str | Path | pp.pandapowerNet):
        msg = f"a feeder is a path, a name or a pandapower network, not {source!r}"
        raise ConfigError(msg)
    is_circuit = str(source).lower().endswith(".dss")
    if crs is not None and not is_circuit:
        msg = f"crs {crs!r} is for the coordinates of OpenDSS circuits; leave it out"
        raise ConfigError(msg)
    if isinstance(source, pp.pandapowerNet):
        name = str(getattr(source, "name", "") or "net")
        return feeder_from_net(source, name=name, three_phase=three_phase)
    if is_circuit:
        return _opendss_feeder(source, three_phase=three_phase, crs=crs)
    return feeder_from_net(load_net(source), name=str(source), three_phase=three_phase)


def _opendss_feeder(
    source: str | Path, *, three_phase: bool | None, crs: str | None
) -> Feeder:
    """Read an OpenDSS circuit, which always has phases."""
    from gridsite.feeder.read_opendss import (  # noqa: PLC0415 - needs an extra
        read_opendss,
    )

    if three_phase is False:
        msg = f"{source}: an OpenDSS circuit has phases; leave three_phase out"
        raise ConfigError(msg)
    if not Path(source).is_file():
        msg = f"feeder {str(source)!r} is not a file; give the master script"
        raise ConfigError(msg)
    return read_opendss(source, crs=crs)


def feeder_from_net(
    net: Any,  # noqa: ANN401
    *,
    name: str,
    three_phase: bool | None = None,
) -> Feeder:
    """
    Turn a pandapower network into a `Feeder`.

    Parameters
    ----------
    net : pandapower.auxiliary.pandapowerNet
        The network; it is not changed.
    name : str
        Name of the result.
    three_phase : bool, optional
        As in `read_feeder`.

    Returns
    -------
    Feeder
        Balanced (positive-sequence) model of every supplied part, or a
        three-phase one (`gridsite.feeder.read_three_phase.three_phase_feeder`).

    Raises
    ------
    FeederError
        If the network holds elements that the model cannot carry.

    Notes
    -----
    Loads with constant-impedance or constant-current shares are taken as
    constant power, which is the safe side for low voltage, with a note.
    """
    if three_phase or (three_phase is None and _has_asymmetric(net)):
        from gridsite.feeder.read_three_phase import (  # noqa: PLC0415 - builds on this
            three_phase_feeder,
        )

        return three_phase_feeder(net, name=name)
    notes: list[str] = []
    work = _sources_of_machines(net)
    _refuse(work, name, _REFUSED)
    work = _prepared(work, notes)
    ppc, v_fixed = _admittance(work, name)
    lookup = _bus_lookup(work, ppc)
    y = sp.csc_array(ppc["Ybus"])
    sources = np.asarray(ppc["ref"], dtype=np.int64)
    parts = independent_feeders(y, sources)
    elements, terminals, terminal_y = _elements(work, ppc)
    labels = _feeder_labels(work, lookup, parts, sources)
    nodes = _nodes(work, ppc, lookup, np.where(parts < 0, "", labels[parts]))
    ports = _ports(work, ppc, lookup, nodes)
    rows = [_row_node(terminal_y, i, sources) for i in range(terminal_y.shape[0])]
    terminals["feeder_id"] = nodes["feeder_id"].to_numpy()[rows]
    first = terminals.groupby("element")["feeder_id"].first()
    elements["feeder_id"] = first.reindex(elements.index).fillna("").to_numpy()
    terminals, terminal_y = _with_sources(terminals, terminal_y, y, sources, nodes, ppc)
    dark = (lookup < 0) & work.bus["in_service"].astype(bool)
    return Feeder(
        name=name,
        base_kva=float(ppc["baseMVA"]) * 1e3,
        nodes=nodes,
        y=y,
        source_nodes=sources,
        source_v=v_fixed[sources],
        ports=ports,
        elements=elements,
        terminals=terminals,
        terminal_y=terminal_y,
        unsupplied_buses=tuple(_bus_names(work)[dark.to_numpy()]),
        notes=tuple(notes),
        profiles=_filed_profiles(net, ports),
        taps=tap_table(
            work,
            node_of_bus=lookup,
            feeder_id=nodes["feeder_id"].to_numpy(),
            trafo_names=_names(work.trafo, "transformer"),
            trafo3w_names=_names(work.trafo3w, "trafo3w"),
        ),
    )
