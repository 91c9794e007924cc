"""
What will be drawn besides today's load: growth, and loads in the queue.

Committed loads (in the queue, not built) are constant. One given by ``port`` is
drawn at that connection, behind its service; one given by ``bus`` gets a
connection of its own there, which is not rated.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.errors import ConfigError, DataError
from gridsite.units import reactive_kvar
from gridsite.untrusted import read_table

if TYPE_CHECKING:
    from gridsite.feeder.model import Feeder
    from gridsite.feeder.profiles import Profiles

_COLUMNS = ("port", "bus", "kw", "name")


def grown(profiles: Profiles, factor: float, *, feeder: Feeder) -> Profiles:
    """
    Return profiles in which every customer draws more, at every step.

    Parameters
    ----------
    profiles : Profiles
        What customers draw.
    factor : float
        Load then over load now; generation keeps its value. [-]
    feeder : Feeder
        Says which ports are customers.

    Returns
    -------
    Profiles
        Active and reactive power of customers times the factor.

    Raises
    ------
    ConfigError
        If the factor is not above 0, or looks like a percentage.

    Examples
    --------
    >>> from gridsite.feeder.profiles import constant_profiles
    >>> from gridsite.feeder.read_pandapower import read_feeder
    >>> feeder = read_feeder("pandapower:create_kerber_landnetz_freileitung_1")
    >>> at = feeder.load_ports
    >>> now = constant_profiles(at.index, at["p_kw"], at["q_kvar"])
    >>> grown(now, 1.5, feeder=feeder).total_kw() / now.total_kw()
    array([1.5])
    """
    if not 0.0 < factor <= 10.0:
        msg = f"growth: {factor} is not a factor; give load then over load now, as 1.1"
        raise ConfigError(msg)
    customer = profiles.port_ids.isin(feeder.load_ports.index)
    scale = np.where(customer, factor, 1.0)
    return replace(
        profiles,
        p_scale_kw=profiles.p_scale_kw * scale,
        q_scale_kvar=profiles.q_scale_kvar * scale,
    )


def without_generation(profiles: Profiles, feeder: Feeder) -> Profiles:
    """
    Return profiles without those of generators, which are then switched off.

    Parameters
    ----------
    profiles : Profiles
        What ports draw.
    feeder : Feeder
        Says which ports are generators.

    Returns
    -------
    Profiles
        Of all other ports; off is the safe side for load.
    """
    ports = feeder.ports
    off = ports.index[ports["kind"] == "generation"]
    return profiles.select(profiles.port_ids[~profiles.port_ids.isin(off)])


def read_committed(path: str | Path) -> pd.DataFrame:
    """
    Read committed loads from a file.

    Parameters
    ----------
    path : str or pathlib.Path
        CSV or Parquet with columns ``kw``, ``port`` or ``bus``, and ``name`` if
        wanted.

    Returns
    -------
    pandas.DataFrame
        As from `committed_loads`.

    Raises
    ------
    DataError
        If the file cannot be read or a row is at fault.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"committed loads: file {str(path)!r} does not exist; give its path"
        raise DataError(msg)
    return committed_loads(read_table(path, text=("port", "bus", "name")))


def committed_loads(table: pd.DataFrame) -> pd.DataFrame:
    """
    Return committed loads, checked.

    Parameters
    ----------
    table : pandas.DataFrame
        ``kw`` and one of ``port`` and ``bus`` in each row, ``name`` if wanted.

    Returns
    -------
    pandas.DataFrame
        ``port, bus, kw, name``; empty text where not given.

    Raises
    ------
    DataError
        If a column is unknown or missing, a row has both or neither of port
        and bus, or a power that is missing, negative or infinite.

    Examples
    --------
    >>> queue = committed_loads(pd.DataFrame({"bus": ["n1"], "kw": [50.0]}))
    >>> queue.iloc[0].to_dict()
    {'port': '', 'bus': 'n1', 'kw': 50.0, 'name': ''}
    """
    unknown = sorted(set(table.columns) - set(_COLUMNS))
    if unknown or "kw" not in table:
        msg = (
            f"committed loads: columns are {list(table.columns)}; give kw, and port "
            "or bus, and name if wanted"
        )
        raise DataError(msg)
    out = table.reindex(columns=_COLUMNS).reset_index(drop=True)
    text = ["port", "bus", "name"]
    out[text] = out[text].astype(object).where(out[text].notna(), "").astype(str)
    out["kw"] = pd.to_numeric(out["kw"], errors="coerce")
    both = (out["port"] != "") == (out["bus"] != "")
    bad = both | ~((out["kw"] >= 0.0) & (out["kw"] < np.inf))
    if bad.any():
        msg = (
            f"committed loads: {int(bad.sum())} row(s) lack a power of at least 0 kW "
            f"or have not exactly one of port and bus, first {out[bad].index[0] + 1}: "
            f"{out[bad].iloc[0].to_dict()}; correct them"
        )
        raise DataError(msg, out[bad])
    return out


def with_committed(
    profiles: Profiles, committed: pd.DataFrame, *, power_factor: float = 0.95
) -> Profiles:
    """
    Return profiles with the committed loads that are given by port.

    Parameters
    ----------
    profiles : Profiles
        What customers draw.
    committed : pandas.DataFrame
        As from `committed_loads`; rows given by bus are left out.
    power_factor : float, default 0.95
        Of the committed loads, lagging (assumption). [-]

    Returns
    -------
    Profiles
        The same ports, of which some follow a shape of their own.

    Raises
    ------
    DataError
        If a port is unknown.

    Examples
    --------
    >>> from gridsite.feeder.profiles import constant_profiles
    >>> now = constant_profiles(["a", "b"], [2.0, 3.0], [0.0, 0.0])
    >>> queue = committed_loads(pd.DataFrame({"port": ["b"], "kw": [10.0]}))
    >>> with_committed(now, queue, power_factor=1.0).power_kw()[0]
    array([[ 2.],
           [13.]])
    """
    added = committed[committed["port"] != ""].groupby("port")["kw"].sum()
    at = profiles.port_ids.get_indexer(added.index)
    if (at < 0).any():
        unknown = added.index[at < 0][:3].tolist()
        msg = f"committed loads: no load is called {unknown}; correct the port"
        raise DataError(msg)
    if not len(at):
        return profiles
    p_kw, q_kvar = profiles.select(profiles.port_ids[at]).power_kw()
    kw = added.to_numpy(dtype=float)[:, None]
    shape = profiles.shape_of_port.copy()
    p_scale, q_scale = profiles.p_scale_kw.copy(), profiles.q_scale_kvar.copy()
    shape[at] = len(profiles.p_shapes) + np.arange(len(at))
    p_scale[at] = q_scale[at] = 1.0
    return replace(
        profiles,
        p_shapes=np.vstack([profiles.p_shapes, p_kw + kw]),
        q_shapes=np.vstack(
            [profiles.q_shapes, q_kvar + kw * reactive_kvar(1.0, power_factor)]
        ),
        shape_of_port=shape,
        p_scale_kw=p_scale,
        q_scale_kvar=q_scale,
    )


def with_committed_ports(
    feeder: Feeder, committed: pd.DataFrame, *, power_factor: float = 0.95
) -> Feeder:
    """
    Return a feeder with a connection for each committed load given by bus.

    Parameters
    ----------
    feeder : Feeder
        The model.
    committed : pandas.DataFrame
        As from `committed_loads`; all its rows are named in the notes, those
        given by port get no connection.
    power_factor : float, default 0.95
        Of the committed loads, lagging (assumption). [-]

    Returns
    -------
    Feeder
        With ports of kind ``other``, which keep their value at every step and
        are not rated; at a bus with several phases, equal parts of each.

    Raises
    ------
    DataError
        If a bus is unknown, not supplied, or a source.
    """
    if committed.empty:
        return feeder
    nodes = feeder.nodes.assign(node=np.arange(len(feeder.nodes)))
    nodes = nodes[nodes["limited"].to_numpy(dtype=bool)]
    nodes = nodes.drop(index=nodes.index[nodes["node"].isin(feeder.source_nodes)])
    at_bus = committed[committed["bus"] != ""]
    unknown = at_bus.loc[~at_bus["bus"].isin(nodes["bus"]), "bus"].tolist()
    if unknown:
        msg = (
            f"committed loads: {feeder.name} has no supplied bus {unknown[:3]} besides "
            "its sources; correct the bus"
        )
        raise DataError(msg)
    rows = at_bus.reset_index().merge(nodes, on="bus")
    count = rows.groupby("index")["kw"].transform("size")
    rows["p_kw"] = rows["kw"] / count
    label = rows["name"].where(rows["name"] != "", rows["bus"])
    label = label + (" " + rows["phases"]).where(rows["phases"] != "ABC", "")
    ids = "committed " + (rows["index"] + 1).astype(str) + ": " + label
    added = rows.reindex(columns=feeder.ports.columns).assign(
        node_return=-1,
        kind="other",
        q_kvar=rows["p_kw"] * reactive_kvar(1.0, power_factor),
        profile="",
    )
    added.index = pd.Index(ids, name=feeder.ports.index.name)
    total = committed["kw"].sum()
    note = (
        f"{len(committed)} committed load(s) of {total:g} kW in all are drawn at every "
        f"step (power factor {power_factor:g}, assumption)"
    )
    ports = pd.concat([feeder.ports, added[feeder.ports.columns]])
    return replace(feeder, ports=ports, notes=(*feeder.notes, note))
