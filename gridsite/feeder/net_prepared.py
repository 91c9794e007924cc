"""Refuse what of a pandapower network cannot be carried, and mend what is misread."""

from __future__ import annotations

import copy
from typing import Any

import pandapower as pp
import pandas as pd
import shapely

from gridsite.errors import FeederError
from gridsite.feeder.net_names import _name_notes, _names

#: Shortest line that is solved as a line; a shorter one is a closed switch. [km]
SHORTEST_LINE_KM = 1e-6

#: Tables that are refused, and what to put in their place.
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


def _has_asymmetric(net: Any) -> bool:  # noqa: ANN401
    """Return whether loads or generators by phase are in service."""
    rows = [net.get(table, pd.DataFrame()) for table in _ASYMMETRIC]
    return any(len(r) and bool(r["in_service"].any()) for r in rows)


def _sources_of_machines(net: Any) -> Any:  # noqa: ANN401
    """Return a copy in which generators marked as slack are external grids."""
    work = copy.deepcopy(net)
    if not len(work.gen):
        return work
    marked = work.gen["slack"].fillna(value=False).astype(bool)
    for index, row in work.gen[marked].iterrows():
        pp.create_ext_grid(
            work,
            int(row["bus"]),
            vm_pu=float(row["vm_pu"]),
            name=row["name"],
            in_service=bool(row["in_service"]),
        )
        work.gen = work.gen.drop(index=index)
    return work


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
    notes.extend(_left_unplaced(net))
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


def _left_unplaced(net: Any) -> list[str]:  # noqa: ANN401
    """Take away positions that are not degrees, as of a projected grid, and say so."""
    off = 0
    for table in ("bus", "line"):
        if "geo" not in net[table]:
            continue
        text = net[table]["geo"].dropna().astype(str).to_numpy()
        bounds = shapely.bounds(shapely.from_geojson(text, on_invalid="ignore"))
        off += int((abs(bounds) > [180.0, 90.0, 180.0, 90.0]).any(axis=1).sum())
    if not off:
        return []
    for table in ("bus", "line"):
        net[table]["geo"] = None
    note = (
        f"{off} position(s) of buses and lines are not degrees, so none of the file is "
        "used: give longitude and latitude (EPSG:4326) to place it"
    )
    return [note]


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
