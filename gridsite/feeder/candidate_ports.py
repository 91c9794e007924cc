"""
Ports without power on phases, or across legs, that a feeder file names no load on.

A unit may stand on another phase than its building's load, or across both legs of a
split-phase service whose load is filed by leg. Such a port is called after the load
and the phases, ``LOAD.B?`` or ``LOAD.12?``: the sign at the end tells it from a port
of the file, and the name alone says where it stands.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from gridsite.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gridsite.feeder.model import Feeder

#: Last sign of the names of ports on phases that the feeder file does not name.
CANDIDATE = "?"

#: Both legs of a split-phase service (240 V in North America).
LEGS = "12"

_SUFFIX = re.compile(r"\.(?:[ABC]{1,2}|12?|2)$")


def load_name(port_id: str) -> str:
    """
    Return the load that a port belongs to.

    Parameters
    ----------
    port_id : str
        Name of a port.

    Returns
    -------
    str
        The name without phases.

    Examples
    --------
    >>> load_name("shop.AB"), load_name("house.2"), load_name("barn")
    ('shop', 'house', 'barn')
    """
    return _SUFFIX.sub("", port_id.removesuffix(CANDIDATE))


def with_candidate_ports(feeder: Feeder, port_ids: Iterable[str]) -> Feeder:
    """
    Return a feeder with the ports that candidates name.

    Parameters
    ----------
    feeder : Feeder
        Model with phases.
    port_ids : iterable of str
        Names of ports; those that do not end in `CANDIDATE`, or are there, are left.

    Returns
    -------
    Feeder
        With a port of kind ``other``, without power, for each. One across both legs
        counts against one service with the load's own ports.

    Raises
    ------
    DataError
        If there is no such load, or its bus has no such phase.

    Examples
    --------
    >>> from gridsite.feeder.read_pandapower import read_feeder
    >>> feeder = read_feeder("pandapower:ieee_european_lv_asymmetric")
    >>> more = with_candidate_ports(feeder, ["LOAD1.B?"])
    >>> more.ports.loc["LOAD1.B?", ["bus", "phases", "kind"]].tolist()
    ['34', 'B', 'other']
    """
    asked = dict.fromkeys(port_ids)
    wanted = [p for p in asked if p.endswith(CANDIDATE) and p not in feeder.ports.index]
    if not wanted:
        return feeder
    ports = feeder.ports
    supplied = ports[ports["node"] >= 0]
    first: dict[str, str] = {}
    for port in supplied.index:
        first.setdefault(load_name(port), port)
    rows = [_candidate(feeder, first.get(load_name(name)), name) for name in wanted]
    extra = pd.DataFrame(rows, index=pd.Index(wanted, name=ports.index.name))
    columns = list(ports.columns)
    if (extra["service"] != "").any() and "service" not in columns:
        columns.append("service")
    every = pd.concat([ports, extra.reindex(columns=columns)])
    return replace(feeder, ports=_one_service(every, wanted))


def _candidate(feeder: Feeder, own: str | None, name: str) -> dict[str, Any]:
    """Return a port beside one of the same load."""
    phases = name.removesuffix(CANDIDATE).rpartition(".")[2]
    ends: list[int] = []
    if own is not None:
        port = feeder.ports.loc[own]
        nodes = feeder.nodes
        at = nodes["bus"] == nodes["bus"].iloc[int(port["node"])]
        node_of = dict(zip(nodes.loc[at, "phases"], nodes.index[at], strict=True))
        ends = [int(node_of.get(sign, -1)) for sign in phases]
    if own is None or not 1 <= len(ends) <= 2 or min(ends) < 0:
        msg = (
            f"{feeder.name}: no load and phase for a port {name!r}; name a load of "
            "the file and phases of its bus"
        )
        raise DataError(msg)
    return {str(k): v for k, v in port.items()} | {
        "node": ends[0],
        "node_return": ends[1] if len(ends) > 1 else -1,
        "phases": phases,
        "kind": "other",
        "p_kw": 0.0,
        "q_kvar": 0.0,
        "profile": "",
        "part_of": "",
        "p_exponent": 0.0,
        "q_exponent": 0.0,
        "service": load_name(name) if phases == LEGS else "",
    }


def _one_service(ports: pd.DataFrame, wanted: list[str]) -> pd.DataFrame:
    """Put the ports of loads with a port across their legs behind one service."""
    loads = {load_name(name) for name in wanted if name.endswith(f".{LEGS}{CANDIDATE}")}
    if not loads:
        return ports
    service = ports["service"].fillna("").astype(str)
    load = pd.Series(ports.index, ports.index).where(service == "", service)
    if "part_of" in ports:
        part_of = ports["part_of"].fillna("").astype(str)
        load = load.where(part_of == "", part_of)
    load = load.map(load_name)
    return ports.assign(service=service.where(~load.isin(loads), load))
