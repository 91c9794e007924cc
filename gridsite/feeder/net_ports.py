"""Loads, generators, storage and motors of a pandapower network, and their years."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from gridsite.errors import FeederError
from gridsite.feeder.load_parts import following_percent, split_loads
from gridsite.feeder.net_names import _SIGNS, _bus_names, _coordinates, _names
from gridsite.feeder.profiles import Profiles


def _ports(
    net: Any,  # noqa: ANN401
    ppc: dict[str, Any],
    lookup: pd.Series,
    nodes: pd.DataFrame,
) -> pd.DataFrame:
    """Return a port per load, generator, storage and motor in service."""
    frames = [
        _table_ports(net, table, sign)
        for table, sign in _SIGNS.items()
        if len(net[table]) and net[table]["in_service"].any()
    ]
    percent = following_percent(net.load[net.load["in_service"].astype(bool)])
    if (percent != 0.0).any(axis=None):
        frames[0] = split_loads(frames[0], percent)
    rest = _other_injections(net, ppc)
    columns = ["port_id", "bus_index", "kind", "p_kw", "q_kvar", "profile"]
    ports = pd.concat([*frames, rest]) if frames or len(rest) else None
    if ports is None:
        ports = pd.DataFrame(columns=columns)
    node = lookup.reindex(ports["bus_index"]).fillna(-1).to_numpy(dtype=np.int64)
    node = np.where(ports["bus_index"] < 0, ports.get("node", -1), node).astype(int)
    xy = _coordinates(net).reindex(ports["bus_index"])
    names = pd.Series(_bus_names(net), index=net.bus.index)
    ports = ports.assign(
        node=node,
        node_return=-1,
        bus=names.reindex(ports["bus_index"]).fillna("").to_numpy(),
        phases="ABC",
        feeder_id=np.where(node >= 0, nodes["feeder_id"].to_numpy()[node], ""),
        lon=xy["lon"].to_numpy(),
        lat=xy["lat"].to_numpy(),
    )
    ports = ports.drop(columns="bus_index").set_index("port_id")
    if ports.index.has_duplicates:
        twice = ports.index[ports.index.duplicated()].unique()[:5].tolist()
        msg = f"port names stand twice: {twice}; give loads and sgens unique names"
        raise FeederError(msg)
    return ports


def _table_ports(net: Any, table: str, sign: float) -> pd.DataFrame:  # noqa: ANN401
    frame = net[table]
    scaling = frame["scaling"].fillna(1.0) if "scaling" in frame else 1.0
    if table == "motor":
        p_mw = frame["pn_mech_mw"] / (frame["efficiency_percent"] / 100.0)
        p_mw = p_mw * frame["loading_percent"] / 100.0
        q_mvar = p_mw * np.tan(np.arccos(frame["cos_phi"]))
    else:
        p_mw, q_mvar = frame["p_mw"], frame["q_mvar"]
    kind = "load" if table == "load" else "generation" if table == "sgen" else "other"
    names = _names(frame, table)
    profile = frame["profile"] if "profile" in frame else pd.Series(index=frame.index)
    ports = pd.DataFrame(
        {
            "port_id": names if table == "load" else [f"{table}: {n}" for n in names],
            "bus_index": frame["bus"].astype(np.int64),
            "kind": kind,
            "p_kw": sign * p_mw * scaling * 1e3,
            "q_kvar": sign * q_mvar * scaling * 1e3,
            "profile": profile.where(profile.notna(), "").astype(str),
        }
    )
    ports = ports[frame["in_service"].to_numpy(dtype=bool)]
    bad = ports[["p_kw", "q_kvar"]].isna().any(axis=1)
    if bad.any():
        first = ports.loc[bad, "port_id"].head(3).tolist()
        msg = f"{table}: {int(bad.sum())} row(s) without p_mw or q_mvar, first {first}"
        raise FeederError(msg)
    return pd.DataFrame(ports)


def _other_injections(net: Any, ppc: dict[str, Any]) -> pd.DataFrame:  # noqa: ANN401
    """Return ports for constant powers of other tables (wards)."""
    left = -ppc["Sbus"] if "Sbus" in ppc else np.zeros(0)
    left = np.where(np.isin(np.arange(len(left)), ppc["ref"]), 0.0, left)
    at = np.flatnonzero(np.abs(left) > 1e-12)
    base_kva = net.sn_mva * 1e3
    return pd.DataFrame(
        {
            "port_id": [f"other: node {i}" for i in at],
            "bus_index": -1,
            "node": at,
            "kind": "other",
            "p_kw": left[at].real * base_kva,
            "q_kvar": left[at].imag * base_kva,
            "profile": "",
        }
    )


def _filed_profiles(net: Any, ports: pd.DataFrame) -> Profiles | None:  # noqa: ANN401
    """Return the year of profiles that a SimBench grid carries, if any."""
    tables = net.get("profiles", {})
    if not len(tables.get("load", ())) or not len(ports):
        return None
    shapes: dict[tuple[str, str], int] = {}
    p_rows: list[Any] = []
    q_rows: list[Any] = []
    at: list[int] = []
    kinds = {"load": "load", "generation": "renewables"}
    kind_of = ports["kind"]
    if "part_of" in ports:
        kind_of = kind_of.where(ports["part_of"].fillna("") == "", "load")
    for kind, profile in zip(kind_of, ports["profile"], strict=True):
        key = (kinds.get(kind, ""), profile)
        if key not in shapes:
            p, q = _filed_shape(tables, *key)
            if p is None or q is None:
                at.append(-1)
                continue
            shapes[key] = len(p_rows)
            p_rows.append(p)
            q_rows.append(q)
        at.append(shapes[key])
    row = np.array(at)
    ids = ports.index[row >= 0]
    # stamps are German wall-clock time with summer time; steps are 15 minutes
    first = pd.to_datetime(tables["load"]["time"].iloc[0], format="%d.%m.%Y %H:%M")
    start = first.tz_localize("Etc/GMT-1")
    return Profiles(
        time=pd.date_range(start, periods=len(tables["load"]), freq="15min"),
        port_ids=ids,
        p_shapes=np.array(p_rows),
        q_shapes=np.array(q_rows),
        shape_of_port=row[row >= 0],
        p_scale_kw=ports.loc[ids, "p_kw"].to_numpy(dtype=float),
        q_scale_kvar=ports.loc[ids, "q_kvar"].to_numpy(dtype=float),
    )


def _filed_shape(tables: Any, table: str, profile: str) -> tuple[Any, Any]:  # noqa: ANN401
    """Return SimBench's shapes of active and reactive power by profile name."""
    frame = tables.get(table, pd.DataFrame())
    if f"{profile}_pload" in frame:
        return frame[f"{profile}_pload"].to_numpy(), frame[
            f"{profile}_qload"
        ].to_numpy()
    if profile in frame:
        shape = frame[profile].to_numpy()
        return shape, shape
    return None, None
