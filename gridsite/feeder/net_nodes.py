"""Matrices and nodes of a pandapower network: what pandapower itself builds."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import pandapower as pp
import pandas as pd

from gridsite.errors import FeederError
from gridsite.feeder.net_names import _SIGNS, _bus_names, _coordinates, _names

if TYPE_CHECKING:
    from numpy.typing import NDArray


def _admittance(net: Any, name: str) -> tuple[dict[str, Any], NDArray[np.complex128]]:  # noqa: ANN401
    """Return pandapower's own matrices, from a solve with every load off."""
    bare = copy.deepcopy(net)
    for table in _SIGNS:
        if len(bare[table]):
            bare[table]["in_service"] = False
    try:
        pp.runpp(
            bare,
            numba=False,
            calculate_voltage_angles=True,
            init="dc",
            check_connectivity=True,
            voltage_depend_loads=False,
        )
    except Exception as error:
        msg = f"{name}: pandapower cannot build the network ({error})"
        raise FeederError(msg) from error
    internal = bare._ppc["internal"]  # noqa: SLF001
    net["_pd2ppc_lookups"] = bare["_pd2ppc_lookups"]
    return {**internal, "baseMVA": bare._ppc["baseMVA"]}, internal["V"]  # noqa: SLF001


def _bus_lookup(net: Any, ppc: dict[str, Any]) -> pd.Series:  # noqa: ANN401
    """Return the node of each bus, -1 where it is not supplied."""
    raw = np.asarray(net["_pd2ppc_lookups"]["bus"])
    node = np.where(net.bus["in_service"], raw[net.bus.index], -1)
    node[node >= ppc["Ybus"].shape[0]] = -1
    return pd.Series(node, index=net.bus.index)


def _feeder_labels(
    net: Any,  # noqa: ANN401
    lookup: pd.Series,
    parts: NDArray[np.int64],
    sources: NDArray[np.int64],
) -> NDArray[np.object_]:
    """Name each part after the one transformer that feeds it, else by number."""
    labels = np.array(
        [f"feeder {i}" for i in range(int(parts.max(initial=0)) + 1)], dtype=object
    )
    trafos = net.trafo[net.trafo["in_service"]]
    names = pd.Series(_names(net.trafo, "transformer"), index=net.trafo.index)
    hv = lookup.reindex(trafos["hv_bus"]).to_numpy()
    lv = lookup.reindex(trafos["lv_bus"]).to_numpy()
    head = trafos[np.isin(hv, sources) & (lv >= 0)]
    part = parts[lookup.reindex(head["lv_bus"]).to_numpy()]
    counts = pd.Series(part).value_counts()
    for label, index in zip(part, head.index, strict=True):
        if label >= 0 and counts[label] == 1:
            labels[label] = names[index]
    return labels


def _nodes(
    net: Any,  # noqa: ANN401
    ppc: dict[str, Any],
    lookup: pd.Series,
    feeder_id: NDArray[np.object_],
) -> pd.DataFrame:
    count = ppc["Ybus"].shape[0]
    supplied = lookup[lookup >= 0]
    first = supplied.drop_duplicates()
    at = first.to_numpy()
    nodes = pd.DataFrame(
        {
            "bus": [f"helper {i}" for i in range(count)],
            "phases": "ABC",
            "voltage_kv": np.real(ppc["bus"][:, 9]),
            "feeder_id": feeder_id,
            "limited": False,
            "lon": np.nan,
            "lat": np.nan,
        }
    )
    names = pd.Series(_bus_names(net), index=net.bus.index)
    nodes.loc[at, "bus"] = names[first.index].to_numpy()
    nodes.loc[at, "limited"] = True
    xy = _coordinates(net).loc[first.index].to_numpy()
    nodes.loc[at, ["lon", "lat"]] = xy
    return nodes
