"""
Ports without power on phases, or across legs, that a feeder file names no load on.

A unit may stand on another phase than its building's load, across both legs of a
split-phase service whose load is filed by leg, or on all three phases of a bus. Such
a port is called after the load and the phases, ``LOAD.B?``, ``LOAD.12?`` or
``LOAD.ABC?``: the sign at the end tells it from a port of the file, and the name
alone says where it stands.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gridsite.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from gridsite.feeder.model import Feeder

#: Last sign of the names of ports on phases that the feeder file does not name.
CANDIDATE = "?"

#: Both legs of a split-phase service (240 V in North America).
LEGS = "12"

#: All three phases, a third of the power on each, and how names of such ports end.
THREE = "ABC"
THREE_ADDED = f".{THREE}{CANDIDATE}"

_SUFFIX = re.compile(r"\.(?:[ABC]{1,3}|12?|2)$")


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


def lacks_phase(feeder: Feeder, port_ids: pd.Series[str]) -> NDArray[np.bool_]:
    """
    Return which ports are of three phases at a bus that lacks one of them.

    Parameters
    ----------
    feeder : Feeder
        Model with the ports.
    port_ids : pandas.Series of str
        Names of ports.

    Returns
    -------
    numpy.ndarray of bool, shape (n,)
        False where the load has no supply at all.
    """
    node = feeder.ports["node"]
    lit = {load_name(port) for port in feeder.ports.index[node >= 0]}
    out: NDArray[np.bool_] = (
        port_ids.str.endswith(THREE_ADDED)
        & (node.reindex(port_ids) < 0).to_numpy()
        & port_ids.map(load_name).isin(lit)
    ).to_numpy(dtype=bool)
    return out


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
        counts against one service with the load's own ports; one of three phases
        against the service of the whole load. It is connected as the load is: to
        ground, or from phase to phase where all that the load draws is. Where the bus
        lacks one of three phases, or the load has no supply, the port has no node.

    Raises
    ------
    DataError
        If there is no such load, or its bus has no such phase or leg.

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
    own: dict[str, list[str]] = {}
    for port in ports.index[np.argsort(ports["node"] < 0, kind="stable")]:
        own.setdefault(load_name(port), []).append(port)
    rows = [_candidate(feeder, own.get(load_name(name), []), name) for name in wanted]
    extra = pd.DataFrame(rows, index=pd.Index(wanted, name=ports.index.name))
    columns = list(ports.columns)
    if (extra["service"] != "").any() and "service" not in columns:
        columns.append("service")
    if (extra["node_b"] >= 0).any() and "node_b" not in columns:
        columns += ["node_b", "node_c"]
    every = pd.concat([ports, extra.reindex(columns=columns)])
    filled = [name for name in ("node_b", "node_c") if name in columns]
    every = every.assign(**{n: every[n].fillna(-1).astype(np.int64) for n in filled})
    return replace(feeder, ports=_one_service(every, wanted))


def _candidate(feeder: Feeder, own: list[str], name: str) -> dict[str, Any]:
    """Return a port beside those of the same load, of which supplied ones are first."""
    phases = name.removesuffix(CANDIDATE).rpartition(".")[2]
    ends: list[int] = []
    supplied = False
    if own:
        port = feeder.ports.loc[own[0]]
        supplied = bool(port["node"] >= 0)
    if supplied:
        nodes = feeder.nodes
        at = nodes["bus"] == nodes["bus"].iloc[int(port["node"])]
        node_of = dict(zip(nodes.loc[at, "phases"], nodes.index[at], strict=True))
        ends = [int(node_of.get(sign, -1)) for sign in phases]
    three = bool(own) and phases == THREE
    if three and (not supplied or min(ends) < 0):
        ends = [-1, -1, -1]
    elif not three and not (1 <= len(ends) <= 2 and min(ends) >= 0):
        msg = (
            f"{feeder.name}: no load and phase for a port {name!r}; name a load of "
            "the file and phases of its bus"
        )
        raise DataError(msg)
    delta = three and bool((feeder.ports.loc[own, "node_return"] >= 0).all())
    back = ends[1] if delta or len(ends) == 2 else -1
    return {str(k): v for k, v in port.items()} | {
        "node": ends[0],
        "node_return": back,
        "node_b": ends[1] if three else -1,
        "node_c": ends[2] if three else -1,
        "feeder_id": port["feeder_id"] if min(ends) >= 0 else "",
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
