"""Lines and transformers of a pandapower network: ratings and terminals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import shapely

from gridsite.errors import FeederError
from gridsite.feeder.net_names import _bus_names, _names
from gridsite.units import SQRT3

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TRAFO3W_SIDES = (("hv", 0), ("mv", 1), ("lv", 2))


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
