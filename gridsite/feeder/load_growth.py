"""
What will be drawn besides today's load: growth, and loads in the queue.

Committed loads (in the queue, not built) are constant power, whatever the load model
of their neighbours. One given by ``port`` is drawn at that connection, behind its
service; one given by ``bus`` gets a connection of its own there, which is not rated.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.errors import ConfigError, DataError
from gridsite.feeder.load_parts import whole_of
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
    ports = feeder.ports
    # parts too, of a load that is a mix of models
    mine = (ports["kind"] == "load") | (whole_of(ports) != "")
    customer = profiles.port_ids.isin(ports.index[mine])
    scale = np.where(customer, factor, 1.0)
    return replace(
        profiles,
        p_scale_kw=profiles.p_scale_kw * scale,
        q_scale_kvar=profiles.q_scale_kvar * scale,
    )


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


def with_committed_ports(
    feeder: Feeder, committed: pd.DataFrame, *, power_factor: float = 0.95
) -> Feeder:
    """
    Return a feeder that has a port for each committed load.

    Parameters
    ----------
    feeder : Feeder
        The model.
    committed : pandas.DataFrame
        As from `committed_loads`; all its rows are named in the notes.
    power_factor : float, default 0.95
        Of the committed loads, lagging (assumption). [-]

    Returns
    -------
    Feeder
        With ports of kind ``other`` of constant power, which keep their value at
        every step and are not rated. One given by port stands where that stands and
        counts against its service; at a bus with several phases, equal parts of each.

    Raises
    ------
    DataError
        If a port is unknown, or a bus is unknown, not supplied, or a source.
    """
    if committed.empty:
        return feeder
    added = [_at_ports(feeder, committed), _at_buses(feeder, committed)]
    rows = pd.concat([part for part in added if len(part)])
    label = rows["name"].where(rows["name"] != "", rows["where"])
    ids = "committed " + (rows["row"] + 1).astype(str) + ": " + label
    rows = rows.assign(
        kind="other",
        q_kvar=rows["p_kw"] * reactive_kvar(1.0, power_factor),
        profile="",
        port_id=ids,
    ).set_index("port_id")
    total = committed["kw"].sum()
    note = (
        f"{len(committed)} committed load(s) of {total:g} kW in all are drawn at every "
        f"step (power factor {power_factor:g}, assumption)"
    )
    columns = [*feeder.ports.columns]
    if "service" not in columns:
        columns.append("service")
    ports = pd.concat([feeder.ports, rows.reindex(columns=columns)])
    ports.index.name = feeder.ports.index.name
    return replace(feeder, ports=ports, notes=(*feeder.notes, note))


def _at_ports(feeder: Feeder, committed: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each committed load that is given by port."""
    rows = committed[committed["port"] != ""]
    loads = feeder.load_ports
    unknown = rows.loc[~rows["port"].isin(loads.index), "port"].unique()
    if len(unknown):
        msg = (
            f"committed loads: no load is called {unknown[:3].tolist()}; correct the "
            "port"
        )
        raise DataError(msg)
    place = ["node", "node_return", "bus", "phases", "feeder_id", "lon", "lat"]
    own = loads.loc[rows["port"]].reset_index()
    return own[place].assign(
        row=rows.index,
        p_kw=rows["kw"].to_numpy(),
        name=rows["name"].to_numpy(),
        where=own["port_id"],
        service=own["port_id"],
    )


def _at_buses(feeder: Feeder, committed: pd.DataFrame) -> pd.DataFrame:
    """Return a row for each committed load that is given by bus, and phase."""
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
    rows = at_bus.rename_axis("row").reset_index().merge(nodes, on="bus")
    count = rows.groupby("row")["kw"].transform("size")
    several = (" " + rows["phases"]).where(rows["phases"] != "ABC", "")
    label = rows["name"].where(rows["name"] != "", rows["bus"]) + several
    return rows.assign(
        p_kw=rows["kw"] / count, name=label, where=label, service="", node_return=-1
    )
