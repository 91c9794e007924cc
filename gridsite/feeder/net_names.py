"""Names and coordinates of the rows of a pandapower network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import shapely

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Sign of the power of each table whose rows are ports: load is positive.
_SIGNS = {"load": 1.0, "sgen": -1.0, "storage": 1.0, "motor": 1.0}

#: How rows without a unique name are called, by table.
_KINDS = {
    "bus": "bus",
    "line": "line",
    "trafo": "transformer",
    "trafo3w": "trafo3w",
    "impedance": "impedance",
    **{table: table for table in _SIGNS},
}


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
