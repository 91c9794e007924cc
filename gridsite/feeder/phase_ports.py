"""Ports by phase of the loads and generators of a pandapower network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gridsite.errors import FeederError
from gridsite.feeder.net_names import _SIGNS, _bus_names, _coordinates, _names
from gridsite.feeder.net_ports import _table_ports
from gridsite.feeder.net_prepared import _ASYMMETRIC

if TYPE_CHECKING:
    from numpy.typing import NDArray

PHASES = ("A", "B", "C")
_BETWEEN = ("AB", "BC", "CA")
_ABC = "abc"


def phase_ports(
    net: Any,  # noqa: ANN401
    lookup: pd.Series,
    nodes: pd.DataFrame,
    notes: list[str],
) -> pd.DataFrame:
    """
    Return a port per phase of each load, generator, storage and motor in service.

    Parameters
    ----------
    net : pandapower.auxiliary.pandapowerNet
        The network.
    lookup : pandas.Series of int
        Node of each bus, -1 where it is not supplied.
    nodes : pandas.DataFrame
        Nodes of the model, three per bus.
    notes : list of str
        What was assumed is added here.

    Returns
    -------
    pandas.DataFrame
        ``ports`` of a `Feeder`.

    Raises
    ------
    FeederError
        If a power is missing or port names stand twice.
    """
    frames = [
        _symmetric(net, table, sign, notes)
        for table, sign in _SIGNS.items()
        if _in_service(net, table)
    ]
    frames += [
        _asymmetric(net, table, sign, notes)
        for table, sign in _ASYMMETRIC.items()
        if _in_service(net, table)
    ]
    columns = ["port_id", "bus_index", "kind", "profile", "delta"]
    columns += [f"{quantity}{k}" for quantity in ("p", "q", "drawn") for k in range(3)]
    rows = pd.concat(frames) if frames else pd.DataFrame(columns=columns)
    ports = _exploded(rows.reset_index(drop=True), lookup, nodes)
    xy = _coordinates(net).reindex(ports["bus_index"])
    names = pd.Series(_bus_names(net), index=net.bus.index)
    ports = ports.assign(
        bus=names.reindex(ports["bus_index"]).fillna("").to_numpy(),
        lon=xy["lon"].to_numpy(),
        lat=xy["lat"].to_numpy(),
    )
    ports = ports.drop(columns="bus_index").set_index("port_id")
    if ports.index.has_duplicates:
        twice = ports.index[ports.index.duplicated()].unique()[:5].tolist()
        msg = f"port names stand twice: {twice}; give loads and sgens unique names"
        raise FeederError(msg)
    return ports


def _in_service(net: Any, table: str) -> bool:  # noqa: ANN401
    rows = net.get(table, pd.DataFrame())
    return bool(len(rows)) and bool(rows["in_service"].any())


def _symmetric(
    net: Any,  # noqa: ANN401
    table: str,
    sign: float,
    notes: list[str],
) -> pd.DataFrame:
    """Return rows whose power is split evenly over the phases."""
    rows = _table_ports(net, table, sign)
    rows = rows.assign(delta=_delta(net[table].loc[rows.index], table, notes))
    third = rows[["p_kw", "q_kvar"]] / 3.0
    parts = {f"p{k}": third["p_kw"] for k in range(3)}
    parts |= {f"q{k}": third["q_kvar"] for k in range(3)}
    rows[["drawn0", "drawn1", "drawn2"]] = True
    out: pd.DataFrame = rows.assign(**parts)
    return out


def _asymmetric(
    net: Any,  # noqa: ANN401
    table: str,
    sign: float,
    notes: list[str],
) -> pd.DataFrame:
    """Return rows with a power of each phase, on the phases that have any."""
    frame = net[table]
    names = _names(frame, table)
    load = table == "asymmetric_load"
    rows = pd.DataFrame(
        {
            "port_id": names if load else [f"{table}: {n}" for n in names],
            "bus_index": frame["bus"].astype(np.int64),
            "kind": "load" if load else "generation",
            "profile": "",
        }
    )
    scale = sign * 1e3 * frame["scaling"].fillna(1.0)
    for k, phase in enumerate(_ABC):
        rows[f"p{k}"] = scale * frame[f"p_{phase}_mw"]
        rows[f"q{k}"] = scale * frame[f"q_{phase}_mvar"]
    rows = rows[frame["in_service"].to_numpy(dtype=bool)].copy()
    power = rows[[f"{quantity}{k}" for quantity in "pq" for k in range(3)]]
    bad = power.isna().any(axis=1)
    if bad.any():
        first = rows.loc[bad, "port_id"].head(3).tolist()
        msg = f"{table}: {int(bad.sum())} row(s) without a power of each phase: {first}"
        raise FeederError(msg)
    silent = (power == 0.0).all(axis=1)
    if silent.any():
        notes.append(
            f"{int(silent.sum())} {table} row(s) without any power: their phase is not "
            "known, so that they have ports on all three"
        )
    for k in range(3):
        rows[f"drawn{k}"] = silent | (rows[f"p{k}"] != 0.0) | (rows[f"q{k}"] != 0.0)
    out: pd.DataFrame = rows.assign(delta=_delta(frame.loc[rows.index], table, notes))
    return out


def _delta(frame: pd.DataFrame, table: str, notes: list[str]) -> NDArray[np.bool_]:
    """Return which rows stand between phases; the rest is phase to neutral."""
    kind = frame["type"] if "type" in frame else pd.Series("wye", index=frame.index)
    kind = kind.astype(str).str.strip().str.lower()
    other = int((~kind.isin(["wye", "delta"])).sum()) if table != "storage" else 0
    if other:
        notes.append(
            f"{other} {table} row(s) whose type is neither wye nor delta: taken as wye"
        )
    return (kind == "delta").to_numpy(dtype=bool)


def _exploded(
    rows: pd.DataFrame, lookup: pd.Series, nodes: pd.DataFrame
) -> pd.DataFrame:
    """Return a row per port from one per load."""
    bus = lookup.reindex(rows["bus_index"]).fillna(-1).to_numpy(dtype=np.int64)
    delta = rows["delta"].to_numpy(dtype=bool)
    feeder_id = nodes["feeder_id"].to_numpy()
    parts = []
    for k in range(3):
        phases = np.where(delta, _BETWEEN[k], PHASES[k])
        node = np.where(bus >= 0, 3 * bus + k, -1)
        back = np.where(delta & (bus >= 0), 3 * bus + (k + 1) % 3, -1)
        part = pd.DataFrame(
            {
                "port_id": rows["port_id"] + "." + phases,
                "bus_index": rows["bus_index"],
                "kind": rows["kind"],
                "p_kw": rows[f"p{k}"].astype(float),
                "q_kvar": rows[f"q{k}"].astype(float),
                "profile": rows["profile"],
                "node": node,
                "node_return": back,
                "phases": phases,
                "feeder_id": np.where(node >= 0, feeder_id[node], ""),
            }
        )
        parts.append(part[rows[f"drawn{k}"].to_numpy(dtype=bool)])
    return pd.concat(parts).sort_index(kind="stable").reset_index(drop=True)
