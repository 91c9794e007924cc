"""Faults in the tables of a pandapower network, found without solving it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import shapely

from gridsite.feeder.findings import (
    DISTANCE_OVER_LENGTH,
    FAR_KM,
    FAR_MEDIANS,
    LINE_KM,
    LINE_OHM_PER_KM,
    LOAD_KW,
    RATED_KA_MAX,
    RATIO_SPREAD,
    RESULT_OFF_PU,
    SWAP_LINES,
    SWAP_SPREAD,
    VECTOR_GROUP,
    VK_PERCENT,
    VOLTAGE_OFF,
    Finding,
    flag,
)
from gridsite.units import SQRT3

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Net = Mapping[str, pd.DataFrame]

_SIDES = {"trafo": ("hv", "lv"), "trafo3w": ("hv", "mv", "lv")}
_INJECTIONS = ("load", "sgen", "storage")
_ENDS = {
    "line": ("from_bus", "to_bus"),
    **{table: tuple(f"{s}_bus" for s in sides) for table, sides in _SIDES.items()},
    **dict.fromkeys((*_INJECTIONS, "ext_grid", "switch"), ("bus",)),
}
_FINITE = {
    "line": ("length_km", *LINE_OHM_PER_KM),
    "trafo": ("vk_percent", "vkr_percent"),
    **dict.fromkeys(_INJECTIONS, ("p_mw", "q_mvar")),
}
_POSITIVE = {
    "bus": ("vn_kv",),
    "line": ("parallel",),
    "trafo": ("sn_mva", "vn_hv_kv", "vn_lv_kv", "parallel"),
    "trafo3w": ("sn_hv_mva", "sn_mv_mva", "sn_lv_mva"),
    "ext_grid": ("vm_pu",),
}
_KM_PER_DEGREE = 111.2


def _live(net: Net, table: str) -> pd.DataFrame:
    """Return the rows in service with a ``label``: the name that results show."""
    frame = net[table] if table in net else pd.DataFrame()
    name = _text(frame, "name")
    if not (name.ne("").all() and name.is_unique):
        kind = "transformer" if table == "trafo" else table
        name = pd.Series([f"{kind} {i}" for i in frame.index], frame.index, object)
    rows = frame.assign(label=name)
    return rows[rows["in_service"].astype(bool)] if "in_service" in rows else rows


def _text(rows: pd.DataFrame, column: str) -> pd.Series[Any]:
    """Return a column as text, empty where it is missing."""
    cells = rows.get(column, pd.Series("", index=rows.index)).astype(object)
    return cells.where(cells.notna(), "").astype(str).str.strip()


def _number(rows: pd.DataFrame, column: str) -> pd.Series[float]:
    """Return a column as numbers, NaN where it holds none."""
    cells = rows.get(column, pd.Series(np.nan, index=rows.index))
    return pd.to_numeric(cells, errors="coerce").astype(float)


def _kv(net: Net, buses: pd.Series[Any]) -> pd.Series[float]:
    """Return the nominal voltage at buses, on the index of the elements."""
    kv = _number(net["bus"], "vn_kv").reindex(buses.to_numpy())
    return kv.set_axis(buses.index)


def _shown(values: pd.Series[float], unit: str) -> pd.Series[Any]:
    text = [f"{value:.6g} {unit}".strip() for value in values]
    return pd.Series(text, index=values.index, dtype=object)


def _numbers(net: Net) -> Iterator[Finding]:
    """Find cells that hold no number where one is needed."""
    cells = []
    for tables in (_FINITE, _POSITIVE):
        for table, columns in tables.items():
            rows = _live(net, table)
            for column in columns:
                value = _number(rows, column)
                bad = ~np.isfinite(value)
                if tables is _POSITIVE:
                    bad |= value <= 0.0
                if column in rows:
                    bad |= [isinstance(cell, str) for cell in rows[column]]
                label = rows["label"] + f": {column}"
                cells.append(pd.DataFrame({"label": label, "bad": bad}))
    every = pd.concat(cells, ignore_index=True)
    yield from flag("numbers", every, every["bad"])


def _buses(net: Net) -> Iterator[Finding]:
    """Find ends of elements at buses that do not exist."""
    ends = []
    for table, columns in _ENDS.items():
        if len(rows := _live(net, table)):
            for end in columns:
                bad = ~rows[end].isin(net["bus"].index)
                label = rows["label"] + f": {end}"
                ends.append(pd.DataFrame({"label": label, "bad": bad}))
    if ends:
        every = pd.concat(ends, ignore_index=True)
        yield from flag("buses", every, every["bad"])


def _names(net: Net) -> Iterator[Finding]:
    """Find names that stand twice."""
    parts = [
        pd.DataFrame({"label": _text(net[table], "name"), "table": table})
        for table in ("bus", "line", "trafo", "load")
        if table in net
    ]
    every = pd.concat(parts, ignore_index=True)
    every = every[every["label"] != ""]
    twice = every.duplicated(["table", "label"], keep=False)
    yield from flag("names", every, twice, every["table"])


def _nominal_voltages(net: Net) -> Iterator[Finding]:
    """Compare rated with nominal voltages, and the two ends of each line."""
    ends = []
    if len(rows := _live(net, "line")):
        ends.append((rows["label"], _kv(net, rows["to_bus"]), rows["from_bus"]))
    for table, sides in _SIDES.items():
        if len(rows := _live(net, table)):
            for side in sides:
                own = _number(rows, f"vn_{side}_kv")
                ends.append((rows["label"], own, rows[f"{side}_bus"]))
    if ends:
        every = pd.concat(
            [
                pd.DataFrame({"label": label, "own": own, "at": _kv(net, bus)})
                for label, own, bus in ends
            ],
            ignore_index=True,
        )
        bad = (every["own"] / every["at"] - 1.0).abs() > VOLTAGE_OFF
        shown = _shown(every["own"], "kV") + " at a bus of " + _shown(every["at"], "kV")
        yield from flag("nominal voltage", every, bad, shown)


def _lines(net: Net) -> Iterator[Finding]:
    """Find lengths and impedances out of range."""
    if not len(rows := _live(net, "line")):
        return
    km, kv = _number(rows, "length_km"), _kv(net, rows["from_bus"])
    shortest, longest_lv, longest = LINE_KM
    yield from flag("short lines", rows, km < shortest, _shown(1e3 * km, "m"))
    bad = km > np.where(kv < 1.0, longest_lv, longest)
    yield from flag("long lines", rows, bad, _shown(km, "km"))
    bad = pd.Series(data=False, index=rows.index)
    for column, (low, high) in LINE_OHM_PER_KM.items():
        bad |= (_number(rows, column) < low) | (_number(rows, column) > high)
    r, x = (_shown(_number(rows, c), "ohm/km") for c in LINE_OHM_PER_KM)
    yield from flag("line impedance", rows, bad, "r " + r + ", x " + x)


def _transformers(net: Net) -> Iterator[Finding]:
    """Find impedances out of range, and what is missing on tap changers."""
    rows = pd.concat([_live(net, table) for table in _SIDES], ignore_index=True)
    at = _number(rows, "tap_pos")
    bad = _text(rows, "tap_side").ne("") & _text(rows, "tap_changer_type").eq("")
    yield from flag("tap type", rows, bad & at.notna())
    bad = (at < _number(rows, "tap_min")) | (at > _number(rows, "tap_max"))
    yield from flag("tap position", rows, bad, "tap " + _shown(at, ""))
    group = _text(rows, "vector_group")
    yield from flag("vector group", rows, group.eq(""))
    clock = group.str.extract(VECTOR_GROUP, flags=re.IGNORECASE, expand=False)
    two = _number(rows, "sn_mva").notna()  # of two windings
    yield from flag(
        "vector group unknown", rows, two & clock.isna() & (group != ""), group
    )
    turned = (pd.to_numeric(clock) * 30.0 - _number(rows, "shift_degree")) % 360.0
    bad = turned.gt(1.0) & turned.lt(359.0)
    shown = group + ", " + _shown(_number(rows, "shift_degree"), "degree")
    yield from flag("vector group angle", rows, bad, shown)
    parts = [
        rows.assign(
            vk=_number(rows, f"vk_{winding}percent"),
            vkr=_number(rows, f"vkr_{winding}percent"),
        )
        for winding in ("", "hv_", "mv_", "lv_")
    ]
    every = pd.concat(parts, ignore_index=True)
    vk, vkr = every["vk"], every["vkr"]
    bad = (vk < VK_PERCENT[0]) | (vk > VK_PERCENT[1]) | (vkr < 0.0) | (vkr > vk)
    shown = "vk " + _shown(vk, "%") + ", vkr " + _shown(vkr, "%")
    yield from flag("transformer impedance", every, bad, shown)


def _parallel_taps(net: Net) -> Iterator[Finding]:
    """Find transformers side by side that drive current round in a circle."""
    rows = _live(net, "trafo")
    if not len(rows):
        return
    at = _number(rows, "tap_pos").fillna(0.0) - _number(rows, "tap_neutral").fillna(0.0)
    step = at * _number(rows, "tap_step_percent").fillna(0.0)
    ratio = _number(rows, "vn_hv_kv") / _number(rows, "vn_lv_kv")
    low = _text(rows, "tap_side").eq("lv")
    ratio *= 1.0 + step / 100.0 * np.where(low, -1.0, 1.0)
    spread = ratio.groupby([rows["hv_bus"], rows["lv_bus"]]).transform(
        lambda group: group.max() / group.min() - 1.0
    )
    shown = _shown(1e2 * spread, "% apart")
    yield from flag("parallel transformers", rows, spread > RATIO_SPREAD, shown)


def _net_ratings(net: Net) -> Iterator[Finding]:
    """Find ratings of lines and transformers that are missing or absurd."""
    line = _live(net, "line")
    parts = [line.assign(rated_ka=_number(line, "max_i_ka") * _number(line, "df"))]
    for table, sides in _SIDES.items():
        rows = _live(net, table)
        for side in sides:
            mva = _number(rows, f"sn_{side}_mva")
            if table == "trafo":
                mva = _number(rows, "sn_mva") * _number(rows, "df")
            ka = mva / (SQRT3 * _number(rows, f"vn_{side}_kv"))
            parts.append(rows.assign(rated_ka=ka))
    columns = ["label", "rated_ka"]
    yield from ratings(pd.concat([p[columns] for p in parts], ignore_index=True))


def ratings(rows: pd.DataFrame) -> Iterator[Finding]:
    """
    Find ratings that are missing or absurd.

    Parameters
    ----------
    rows : pandas.DataFrame
        ``label`` and ``rated_ka`` of lines and transformers. [kA]

    Yields
    ------
    Finding
        ``rating missing`` and ``rating absurd``.
    """
    ka = rows["rated_ka"]
    yield from flag("rating missing", rows, ka.isna())
    bad = (ka <= 0.0) | (ka > RATED_KA_MAX)
    yield from flag("rating absurd", rows, bad, _shown(ka, "kA"))


def _loads(net: Net) -> Iterator[Finding]:
    """Find loads that look like slips of sign or unit."""
    if not len(rows := _live(net, "load")):
        return
    scale = 1e3 * _number(rows, "scaling").fillna(1.0)
    p, q = _number(rows, "p_mw") * scale, _number(rows, "q_mvar") * scale
    size, kw = p.abs(), _shown(p, "kW")
    yield from flag("negative load", rows, p < 0.0, kw)
    bad = (size > LOAD_KW[1]) & (_kv(net, rows["bus"]) < 1.0)
    bad |= (size > 0.0) & (size < LOAD_KW[0])
    yield from flag("load size", rows, bad, kw)
    shown = kw + ", " + _shown(q, "kvar")
    yield from flag("power factor", rows, q.abs() > size, shown)
    shares = rows.filter(regex="^const_[zi]").apply(pd.to_numeric, errors="coerce")
    bad = (shares.fillna(0.0) != 0.0).any(axis=1)
    yield from flag("voltage-dependent loads", rows, bad)


def _controllers(net: Net) -> Iterator[Finding]:
    """Find controllers, which no power flow of gridsite runs."""
    if len(rows := _live(net, "controller")):
        kinds = rows["object"].map(lambda item: type(item).__name__)
        yield from flag("controllers", rows, np.ones(len(rows), dtype=bool), kinds)


def _net_positions(net: Net) -> Iterator[Finding]:
    """Find positions that are missing, wrong, or not to scale."""
    rows = _live(net, "bus")
    points = shapely.from_geojson(_text(rows, "geo").to_numpy(), on_invalid="ignore")
    xy = rows[["label"]].assign(lon=shapely.get_x(points), lat=shapely.get_y(points))
    yield from positions(xy)
    if len(line := _live(net, "line")):
        on_globe = xy["lon"].abs().le(180.0) & xy["lat"].abs().le(90.0)
        at = xy[["lon", "lat"]].where(on_globe)
        yield from _scale(
            at.reindex(line["from_bus"]).to_numpy(),
            at.reindex(line["to_bus"]).to_numpy(),
            np.asarray(_number(line, "length_km"), dtype=np.float64),
        )


def positions(xy: pd.DataFrame) -> Iterator[Finding]:
    """
    Find positions that are missing, off the globe, or far from all others.

    Parameters
    ----------
    xy : pandas.DataFrame
        ``label``, ``lon`` and ``lat`` of buses. [degrees]

    Yields
    ------
    Finding
        ``coordinates missing``, ``coordinates`` and ``far away``.
    """
    lon, lat = xy["lon"], xy["lat"]
    missing, off = lon.isna() | lat.isna(), (lon.abs() > 180.0) | (lat.abs() > 90.0)
    yield from flag("coordinates missing", xy, missing)
    yield from flag("coordinates", xy, off, _shown(lon, "") + ", " + _shown(lat, ""))
    here = xy[~missing & ~off]
    if len(here):
        at = here[["lon", "lat"]].to_numpy(dtype=float)
        km = _km(at, np.median(at, axis=0))
        far = km > max(FAR_KM, FAR_MEDIANS * float(np.median(km)))
        yield from flag("far away", here, far, _shown(pd.Series(km, here.index), "km"))


def _km(a: Floats, b: Floats) -> Floats:
    """Return distances between positions (lon, lat), good for a feeder. [km]"""
    d = a - b
    east = d[..., 0] * np.cos(np.radians((a[..., 1] + b[..., 1]) / 2.0))
    km: Floats = _KM_PER_DEGREE * np.hypot(east, d[..., 1])
    return km


def _scale(a: Floats, b: Floats, length: Floats) -> Iterator[Finding]:
    """Compare distances with lengths, as filed and with lon and lat swapped."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = _km(a, b) / length
        turned = _km(a[:, ::-1], b[:, ::-1]) / length
    use = np.isfinite(ratio) & (ratio > 0.0)
    if not use.any():
        return
    quartiles = np.log(np.quantile([ratio[use], turned[use]], [0.25, 0.75], axis=1))
    spread, spread_turned = quartiles[1] - quartiles[0]
    median, median_turned = np.median([ratio[use], turned[use]], axis=1)
    low, high = DISTANCE_OVER_LENGTH
    fits = low <= median_turned <= high and spread_turned < SWAP_SPREAD * spread
    if fits and use.sum() >= SWAP_LINES:
        what = "longitude and latitude look swapped: lengths fit far better if so"
        cure = "give longitude, then latitude, in degrees (EPSG:4326)"
        yield Finding("warning", "coordinates", "", int(use.sum()), what, cure)
    elif not low <= median <= high:
        what = (
            f"the distance between the ends of a line is {median:.3g} times its length "
            f"(median of {use.sum()} lines, expected {low:g} to {high:g})"
        )
        cure = "a schematic, or lengths in another unit than km: correct either one"
        yield Finding("warning", "scale", "", float(median), what, cure, "-")


def filed_results(net: Net, pu: pd.Series[float]) -> Iterator[Finding]:
    """
    Compare results that stand in the file with the base case.

    Parameters
    ----------
    net : mapping of str to pandas.DataFrame
        The network.
    pu : pandas.Series of float, by bus
        Voltages of the base case. [pu]

    Yields
    ------
    Finding
        ``filed results``; buses without a name of their own are left out.
    """
    if "res_bus" not in net or not pu.index.is_unique:
        return
    rows = _live(net, "bus").assign(label=lambda bus: _text(bus, "name"))
    rows = rows[rows["label"].isin(pu.index) & ~rows["label"].duplicated(keep=False)]
    filed = _number(net["res_bus"], "vm_pu").reindex(rows.index)
    ours = pd.Series(pu[rows["label"]].to_numpy(), index=rows.index)
    off = (filed - ours).abs()
    shown = _shown(filed, "pu filed, ") + _shown(ours, "pu")
    yield from flag("filed results", rows, off > RESULT_OFF_PU, shown)


#: Every check of the tables.
NET_CHECKS: tuple[Callable[[Net], Iterator[Finding]], ...] = (
    _numbers,
    _buses,
    _names,
    _nominal_voltages,
    _lines,
    _transformers,
    _parallel_taps,
    _net_ratings,
    _loads,
    _controllers,
    _net_positions,
)
