"""
Read a pandapower network into a `Feeder`.

Admittances are the ones pandapower itself builds, so voltages agree with its
power flow to rounding. What cannot be carried is refused by name.
"""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandapower as pp
import pandas as pd
import scipy.sparse as sp
import shapely

from gridsite.errors import ConfigError, FeederError
from gridsite.feeder.load_parts import following_percent, split_loads
from gridsite.feeder.model import Feeder, independent_feeders
from gridsite.feeder.net_sources import load_net
from gridsite.feeder.profiles import Profiles
from gridsite.feeder.tap_table import tap_table
from gridsite.units import SQRT3

if TYPE_CHECKING:
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

#: Shortest line that is solved as a line; a shorter one is a closed switch. [km]
SHORTEST_LINE_KM = 1e-6

#: Branch tables carried into the admittance matrix: their rated quantity.
_REFUSED = {
    "gen": "voltage-controlled generators; turn them into sgen",
    "xward": "extended wards; turn them into loads and shunts",
    "dcline": "DC lines; turn them into a load and an sgen",
    "asymmetric_load": "loads by phase in a balanced model; read it as three_phase",
    "asymmetric_sgen": "sgens by phase in a balanced model; read it as three_phase",
    "vsc": "converters; turn them into loads",
    "ssc": "static compensators; turn them into shunts",
    "svc": "static compensators; turn them into shunts",
    "tcsc": "series compensators; turn them into impedances",
}
_ASYMMETRIC = {"asymmetric_load": 1.0, "asymmetric_sgen": -1.0}
_SIGNS = {"load": 1.0, "sgen": -1.0, "storage": 1.0, "motor": 1.0}
_KINDS = {
    "bus": "bus",
    "line": "line",
    "trafo": "transformer",
    "trafo3w": "trafo3w",
    "impedance": "impedance",
    **{table: table for table in _SIGNS},
}
_TRAFO3W_SIDES = (("hv", 0), ("mv", 1), ("lv", 2))


def read_feeder(
    source: str | Path | Any,  # noqa: ANN401
    *,
    three_phase: bool | None = None,
) -> Feeder:
    """
    Read a feeder from a file, a named network or a pandapower network.

    Parameters
    ----------
    source : str, pathlib.Path or pandapower network
        A pandapower ``.json`` or ``.xlsx`` file, an OpenDSS ``.dss`` master script
        (`gridsite.feeder.read_opendss.read_opendss`), ``pandapower:NAME`` (a
        function of ``pandapower.networks``), ``simbench:CODE``, or a network.
    three_phase : bool, optional
        Whether each phase has nodes of its own, which needs zero-sequence data;
        by default where loads or generators by phase are in service. OpenDSS
        circuits always have.

    Returns
    -------
    Feeder
        The electrical model.

    Raises
    ------
    ConfigError
        If the name or file is unknown, or an extra is missing.
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
    if isinstance(source, pp.pandapowerNet):
        name = str(getattr(source, "name", "") or "net")
        return feeder_from_net(source, name=name, three_phase=three_phase)
    if str(source).lower().endswith(".dss"):
        return _opendss_feeder(source, three_phase=three_phase)
    return feeder_from_net(load_net(source), name=str(source), three_phase=three_phase)


def _opendss_feeder(source: str | Path, *, three_phase: bool | None) -> Feeder:
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
    return read_opendss(source)


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
    _refuse(net, name, _REFUSED)
    work = _prepared(copy.deepcopy(net), notes)
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


def _has_asymmetric(net: Any) -> bool:  # noqa: ANN401
    """Return whether loads or generators by phase are in service."""
    rows = [net.get(table, pd.DataFrame()) for table in _ASYMMETRIC]
    return any(len(r) and bool(r["in_service"].any()) for r in rows)


def _refuse(net: Any, name: str, refused: dict[str, str]) -> None:  # noqa: ANN401
    for table, why in refused.items():
        rows = net.get(table, pd.DataFrame())
        if len(rows) and rows["in_service"].any():
            msg = f"{name}: {int(rows['in_service'].sum())} {table} row(s): {why}"
            raise FeederError(msg)
    for table in ("load", "sgen", "storage"):
        rows = net[table]
        empty = rows["in_service"] & rows[["p_mw", "q_mvar"]].isna().any(axis=1)
        if len(rows) and empty.any():
            first = _names(rows, table)[empty.to_numpy(dtype=bool)][:3].tolist()
            msg = f"{table}: {int(empty.sum())} row(s) without p_mw or q_mvar: {first}"
            raise FeederError(msg)
    if not (len(net.ext_grid) and net.ext_grid["in_service"].any()):
        msg = f"{name}: no external grid in service; add one at the source bus"
        raise FeederError(msg)


def _prepared(net: Any, notes: list[str]) -> Any:  # noqa: ANN401
    """Mend what pandapower would misread, and say so."""
    notes.extend(_name_notes(net))
    notes.extend(_typed_taps(net))
    if len(net.impedance) and net.impedance["in_service"].any():
        count = int(net.impedance["in_service"].sum())
        notes.append(
            f"{count} impedance branch(es) have no rating: loads behind are unrated"
        )
    rated = int((net.switch["closed"] & net.switch["in_ka"].notna()).sum())
    if rated:
        notes.append(
            f"{rated} closed switch(es) have a rated current (in_ka): not checked"
        )
    line = net.line
    short = line.index[line["in_service"] & ~(line["length_km"] > SHORTEST_LINE_KM)]
    for index in short:
        if not line.loc[index, "length_km"] >= 0.0:
            msg = f"line {index}: length_km is {line.loc[index, 'length_km']}; mend it"
            raise FeederError(msg)
        opened = net.switch[(net.switch["et"] == "l") & (net.switch.element == index)]
        if opened["closed"].all():
            ends = (int(line.loc[index, "from_bus"]), int(line.loc[index, "to_bus"]))
            pp.create_switch(net, *ends, et="b", closed=True)
        net.line.loc[index, "in_service"] = False
    if len(short):
        notes.append(
            f"{len(short)} zero-length line(s) taken as closed switches: "
            "their ratings are not checked"
        )
    return net


def _typed_taps(net: Any) -> list[str]:  # noqa: ANN401
    """Give tap changers without a type the type of a ratio, and say so."""
    notes = []
    for table, tap in (("trafo", "tap"), ("trafo", "tap2"), ("trafo3w", "tap")):
        frame, column = net[table], f"{tap}_changer_type"
        if not len(frame) or f"{tap}_side" not in frame:
            continue
        if column not in frame:
            frame[column] = None
        silent = frame[f"{tap}_side"].notna() & frame[column].isna()
        silent &= frame[f"{tap}_pos"].notna()
        if silent.any():
            frame[column] = frame[column].astype(object)
            frame.loc[silent, column] = "Ratio"
            notes.append(
                f"{int(silent.sum())} {table} tap changer(s) without a type: "
                "taken as ratio taps, so that tap positions act"
            )
    return notes


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


def _names(frame: pd.DataFrame, kind: str) -> NDArray[np.object_]:
    """Return the name of each row where it is unique, else its kind and index."""
    rows = pd.Series([f"{kind} {i}" for i in frame.index], frame.index, dtype=object)
    text = _name_text(frame)
    own = text.where(text.ne("") & ~text.duplicated(keep=False), rows)
    # a name may read like the number of another row: then numbers for all
    return (rows if own.duplicated().any() else own).to_numpy(dtype=object)


def _name_text(frame: pd.DataFrame) -> pd.Series[str]:
    """Return the names of a table as text, "" where there is none."""
    names = frame["name"] if "name" in frame else pd.Series(index=frame.index)
    return names.where(names.notna(), "").astype(str).str.strip()


def _name_notes(net: Any) -> list[str]:  # noqa: ANN401
    """Say which names of the file are not used, because they are not unique."""
    notes = []
    for table, kind in _KINDS.items():
        text = _name_text(net[table])
        lost = text.ne("") & (text != _names(net[table], kind))
        if lost.any():
            first = text.index[lost.to_numpy()][0]
            notes.append(
                f"{int(lost.sum())} {table} row(s) with a name that is not unique, "
                f"first {text[first]!r}: called by row, as '{kind} {first}'"
            )
    return notes


def _bus_names(net: Any) -> NDArray[np.object_]:  # noqa: ANN401
    return _names(net.bus, "bus")


def _coordinates(net: Any) -> pd.DataFrame:  # noqa: ANN401
    """Return lon, lat by bus from the GeoJSON text of pandapower 3, else NaN."""
    out = pd.DataFrame(np.nan, index=net.bus.index, columns=["lon", "lat"])
    if "geo" in net.bus:
        text = net.bus["geo"].dropna()
        points = shapely.from_geojson(text.astype(str).to_numpy(), on_invalid="ignore")
        points = np.where(shapely.get_type_id(points) == 0, points, None)
        out.loc[text.index] = np.column_stack(
            [shapely.get_x(points), shapely.get_y(points)]
        )
    return out


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


def _row_node(matrix: sp.csr_array, row: int, sources: NDArray[np.int64]) -> int:
    """Return a node of a terminal that is not a source, where there is one."""
    nodes = matrix.indices[matrix.indptr[row] : matrix.indptr[row + 1]]
    free = nodes[~np.isin(nodes, sources)]
    return int(free[0] if len(free) else nodes[0])


def _elements(
    net: Any,  # noqa: ANN401
    ppc: dict[str, Any],
) -> tuple[pd.DataFrame, pd.DataFrame, sp.csr_array]:
    """Return elements, their terminals, and the matrix of terminal currents."""
    base_mva = float(ppc["baseMVA"])
    branch = net["_pd2ppc_lookups"]["branch"]
    live = np.asarray(ppc["branch_is"], dtype=bool)
    position = np.cumsum(live) - 1
    names = pd.Series(_bus_names(net), index=net.bus.index)
    frames, ends = [], []
    for kind, spec in _branch_specs(net).items():
        if kind not in branch:
            continue
        start = branch[kind][0]
        for offset, frame, side_of in spec:
            at = start + offset + np.arange(len(frame))
            used = live[at] & (frame["supplied"].to_numpy())
            frames.append(frame[used].assign(row=position[at][used]))
            ends.append(side_of)
    return _terminal_tables(frames, ends, ppc, base_mva, names)


def _branch_specs(net: Any) -> dict[str, list[tuple[int, pd.DataFrame, list[Any]]]]:  # noqa: ANN401
    """Describe each branch table: element, ends, rated current at each end."""
    line, trafo, trafo3w = net.line, net.trafo, net.trafo3w
    specs: dict[str, list[tuple[int, pd.DataFrame, list[Any]]]] = {}
    if len(line):
        rated = line["max_i_ka"] * line["df"] * line["parallel"] * 1e3
        frame = pd.DataFrame(
            {
                "element": _names(line, "line"),
                "kind": "line",
                "from_index": line["from_bus"].astype(np.int64),
                "to_index": line["to_bus"].astype(np.int64),
                "rating": rated,
                "rating_unit": "A",
                "code": line["std_type"],
                "geo": line.get("geo", None),
                "supplied": True,
                "rated_from": rated,
                "rated_to": rated,
            }
        )
        specs["line"] = [(0, frame, ["from", "to"])]
    if len(trafo):
        kva = trafo["sn_mva"] * trafo["parallel"] * 1e3
        factor = trafo["df"]
        frame = pd.DataFrame(
            {
                "element": _names(trafo, "transformer"),
                "kind": "transformer",
                "from_index": trafo["hv_bus"].astype(np.int64),
                "to_index": trafo["lv_bus"].astype(np.int64),
                "rating": kva * factor,
                "rating_unit": "kVA",
                "code": trafo["std_type"],
                "geo": None,
                "supplied": True,
                "rated_from": kva * factor / (SQRT3 * trafo["vn_hv_kv"]),
                "rated_to": kva * factor / (SQRT3 * trafo["vn_lv_kv"]),
            }
        )
        specs["trafo"] = [(0, frame, ["hv", "lv"])]
    if len(trafo3w):
        specs["trafo3w"] = _trafo3w_specs(trafo3w)
    if len(net.impedance):
        specs["impedance"] = [(0, _unrated(net.impedance), ["from", "to"])]
    return specs


def _unrated(impedance: pd.DataFrame) -> pd.DataFrame:
    """Describe impedance branches: lines whose rating the file cannot give."""
    return pd.DataFrame(
        {
            "element": _names(impedance, "impedance"),
            "kind": "line",
            "from_index": impedance["from_bus"].astype(np.int64),
            "to_index": impedance["to_bus"].astype(np.int64),
            "rating": np.nan,
            "rating_unit": "A",
            "geo": None,
            "supplied": True,
            "rated_from": np.nan,
            "rated_to": np.nan,
        }
    )


def _trafo3w_specs(
    trafo3w: pd.DataFrame,
) -> list[tuple[int, pd.DataFrame, list[Any]]]:
    """Rate each winding of a three-winding transformer at its outer end."""
    specs: list[tuple[int, pd.DataFrame, list[Any]]] = []
    for side, order in _TRAFO3W_SIDES:
        rated = trafo3w[f"sn_{side}_mva"] * 1e3 / (SQRT3 * trafo3w[f"vn_{side}_kv"])
        frame = pd.DataFrame(
            {
                "element": _names(trafo3w, "trafo3w"),
                "kind": "transformer",
                "from_index": trafo3w["hv_bus"].astype(np.int64),
                "to_index": trafo3w["lv_bus"].astype(np.int64),
                "rating": trafo3w["sn_hv_mva"] * 1e3,
                "rating_unit": "kVA",
                "geo": None,
                "supplied": True,
                "rated_from": rated if side == "hv" else np.nan,
                "rated_to": rated if side != "hv" else np.nan,
            }
        )
        outer = [side, None] if side == "hv" else [None, side]
        specs.append((order * len(trafo3w), frame, outer))
    return specs


def _terminal_tables(
    frames: list[pd.DataFrame],
    ends: list[list[Any]],
    ppc: dict[str, Any],
    base_mva: float,
    names: pd.Series,
) -> tuple[pd.DataFrame, pd.DataFrame, sp.csr_array]:
    """Stack the terminals of all branches that carry a rating."""
    bus_kv = np.real(ppc["bus"][:, 9])
    matrices = {"from": sp.csr_array(ppc["Yf"]), "to": sp.csr_array(ppc["Yt"])}
    node_of = {"from": 0, "to": 1}
    rows, blocks = [], []
    for frame, sides in zip(frames, ends, strict=True):
        for end, side in zip(("from", "to"), sides, strict=True):
            if side is None or not len(frame):
                continue
            at = frame["row"].to_numpy()
            node = np.real(ppc["branch"][at, node_of[end]]).astype(int)
            rows.append(
                pd.DataFrame(
                    {
                        "element": frame["element"].to_numpy(),
                        "side": side,
                        "criterion": frame["kind"].to_numpy() + " current",
                        "rated_a": frame[f"rated_{end}"].to_numpy(dtype=float),
                        "base_a": base_mva * 1e3 / (SQRT3 * bus_kv[node]),
                        "node": node,
                    }
                )
            )
            blocks.append(matrices[end][at])
    columns = ["element", "kind", "from_bus", "to_bus", "rating", "rating_unit", "code"]
    if not rows:
        elements = pd.DataFrame(columns=[*columns, "geometry"]).set_index("element")
        terminals = pd.DataFrame(
            columns=["element", "side", "criterion", "rated_a", "base_a", "node"]
        )
        return elements, terminals, sp.csr_array((0, len(bus_kv)), dtype=complex)
    every = pd.concat(frames).drop_duplicates(
        ["element", "kind", "from_index", "to_index"]
    )
    codes = every["code"] if "code" in every else pd.Series("", every.index)
    every = every.assign(
        code=codes.fillna("").astype(str),
        from_bus=names.reindex(every["from_index"]).to_numpy(),
        to_bus=names.reindex(every["to_index"]).to_numpy(),
        geometry=_element_geometry(every),
    )
    _refuse_twice(every)
    elements = every[[*columns, "geometry"]].set_index("element")
    return elements, pd.concat(rows, ignore_index=True), sp.vstack(blocks).tocsr()


def _with_sources(
    terminals: pd.DataFrame,
    terminal_y: sp.csr_array,
    y: sp.csc_array,
    sources: NDArray[np.int64],
    nodes: pd.DataFrame,
    ppc: dict[str, Any],
) -> tuple[pd.DataFrame, sp.csr_array]:
    """Add a terminal for what each source feeds, where that is one feeder."""
    rows, blocks = [], []
    at_node = y.tocsr()
    for source in sources:
        row = at_node[[source]]
        fed = nodes["feeder_id"].iloc[row.indices].replace("", None).dropna().unique()
        if len(fed) != 1:
            continue
        kv = float(nodes["voltage_kv"].iloc[source])
        rows.append(
            {
                "element": f"source at {nodes['bus'].iloc[source]}",
                "side": "source",
                "criterion": "source",
                "rated_a": np.nan,
                "base_a": float(ppc["baseMVA"]) * 1e3 / (SQRT3 * kv),
                "node": int(source),
                "feeder_id": fed[0],
            }
        )
        blocks.append(row)
    if not rows:
        return terminals, terminal_y
    every = pd.concat([terminals, pd.DataFrame(rows)], ignore_index=True)
    return every, sp.vstack([terminal_y, *blocks]).tocsr()


def _refuse_twice(elements: pd.DataFrame) -> None:
    twice = elements.loc[elements["element"].duplicated(), "element"]
    if len(twice):
        msg = f"element names stand twice: {twice.head(5).tolist()}; rename them"
        raise FeederError(msg)


def _element_geometry(frame: pd.DataFrame) -> list[Any]:
    text = frame["geo"].where(frame["geo"].notna(), "").astype(str)
    return list(shapely.from_geojson(text.to_numpy(), on_invalid="ignore"))
