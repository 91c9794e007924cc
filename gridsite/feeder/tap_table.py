"""
The tap changers of a pandapower network, as `Feeder.taps` holds them.

A row says where a tap changer sits and where it stands; ``frozen_because`` says
why it cannot act (`gridsite.feeder.taps`), "" where nothing in its own data
forbids it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pandapower.control import DiscreteTapControl

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Columns that a position needs.
_NUMBERS = ["neutral", "pos", "min", "max", "step_percent"]


def tap_table(
    net: Any,  # noqa: ANN401
    *,
    node_of_bus: pd.Series[int],
    feeder_id: NDArray[np.object_],
    trafo_names: NDArray[np.object_],
    trafo3w_names: NDArray[np.object_],
) -> pd.DataFrame:
    """
    Return the tap changers in service.

    Parameters
    ----------
    net : pandapower.auxiliary.pandapowerNet
        The network.
    node_of_bus : pandas.Series of int
        Node of each bus; -1 where it is not supplied.
    feeder_id : numpy.ndarray of object, shape (n_node,)
        Feeder of each node.
    trafo_names, trafo3w_names : numpy.ndarray of object
        Names of the elements of the model, in the order of the tables.

    Returns
    -------
    pandas.DataFrame
        ``Feeder.taps``.
    """
    frames = [
        _rows(net.trafo, trafo_names, "hv_bus", "lv_bus"),
        _rows(net.trafo3w, trafo3w_names, "hv_bus", "mv_bus"),
    ]
    frames[1]["frozen_because"] = "three windings"
    band = _filed_bands(net).reindex(frames[0].index)
    taps = pd.concat(
        [frames[0].join(band), frames[1].assign(lower_pu=np.nan, upper_pu=np.nan)],
        ignore_index=True,
    )
    nodes = node_of_bus.reindex(taps["bus"]).fillna(-1).to_numpy(dtype=np.int64)
    label = np.where(nodes >= 0, feeder_id[nodes], "")
    taps = taps.assign(controlled_node=nodes, feeder_id=label).drop(columns="bus")
    return taps[nodes >= 0].reset_index(drop=True)


def _rows(
    frame: pd.DataFrame, names: NDArray[np.object_], hv: str, lv: str
) -> pd.DataFrame:
    """Return the tap changers of one table, and why one cannot act."""
    number = {c: _numbers(frame, f"tap_{c}") for c in _NUMBERS}
    side = frame.get("tap_side", pd.Series(index=frame.index, dtype=object))
    out = pd.DataFrame(
        {
            "element": names,
            "side": side.where(side.notna(), "").astype(str),
            **number,
            "bus": frame[lv].astype(np.int64),
            "frozen_because": "",
        },
        index=frame.index,
    )
    kind = frame.get("tap_changer_type", pd.Series("", index=frame.index))
    angle = _numbers(frame, "tap_step_degree").fillna(0.0)
    varies = _numbers(frame, "tap_dependency_table").fillna(0.0)
    values = out[_NUMBERS]
    rules = {
        "data not complete or not whole": values.isna().any(axis=1)
        | (values[["pos", "min", "max"]] % 1.0 != 0.0).any(axis=1)
        | (out["step_percent"] == 0.0),
        "position outside its range": (out["pos"] < out["min"])
        | (out["pos"] > out["max"]),
        "not on the hv side": out["side"] != "hv",
        "impedance depends on the position": varies != 0.0,
        "not a ratio changer": (kind != "Ratio") | (angle != 0.0),
    }
    for reason, hit in rules.items():
        out.loc[hit, "frozen_because"] = reason
    live = frame["in_service"].astype(bool) & (frame[hv] >= 0)
    return out[live & (out["side"] != "") & out["pos"].notna()]


def _numbers(frame: pd.DataFrame, column: str) -> pd.Series[float]:
    values = frame.get(column, pd.Series(np.nan, index=frame.index))
    return pd.to_numeric(values, errors="coerce").astype(float)


def _filed_bands(net: Any) -> pd.DataFrame:  # noqa: ANN401
    """Return the bands of filed controllers, by transformer."""
    rows: dict[int, tuple[float, float]] = {}
    columns = ["object", "in_service"]
    filed = net.get("controller", pd.DataFrame(columns=columns))[columns]
    for control, live in filed.itertuples(index=False):
        if not isinstance(control, DiscreteTapControl):
            continue
        if not live or (control.element, control.side) != ("trafo", "lv"):
            continue
        at = np.atleast_1d(control.element_index)
        for i, low, high in zip(
            at,
            np.broadcast_to(control.vm_lower_pu, at.shape),
            np.broadcast_to(control.vm_upper_pu, at.shape),
            strict=True,
        ):
            rows[int(i)] = (float(low), float(high))
    return pd.DataFrame.from_dict(
        rows, orient="index", columns=["lower_pu", "upper_pu"], dtype=float
    )
