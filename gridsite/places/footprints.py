"""
Columns of footprint layers that are known: OpenStreetMap, Overture, Microsoft, Google.

A layer is recognised by the names of its columns. Its id, use, name, height and
number of floors become ``building_id``, ``use``, ``name``, ``height_m`` and ``floors``
where the layer has no column of that name yet. Codes for "not known" (Microsoft writes
a height of -1) become missing values; text that is no height ("two storeys") is
counted, never guessed.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import geopandas as gpd

LOGGER = logging.getLogger(__name__)

#: Metres of a foot, for heights written as 30 ft or 30'.
FOOT_M = 0.3048

_HEIGHT = r"^(?P<value>\d+(?:\.\d+)?)\s*(?P<unit>m|metres|meters|ft|feet|')?$"


@dataclass(frozen=True, kw_only=True)
class FootprintFormat:
    """
    Names of the columns of a source of footprints.

    Attributes
    ----------
    name : str
        Name of the source.
    needs : frozenset of str
        Columns that tell it apart.
    id, use, label, height, floors : tuple of str
        Columns in order of preference.
    """

    name: str
    needs: frozenset[str]
    id: tuple[str, ...] = ()
    use: tuple[str, ...] = ()
    label: tuple[str, ...] = ()
    height: tuple[str, ...] = ()
    floors: tuple[str, ...] = ()


#: The sources that are known, in the order in which they are tried.
FORMATS = (
    FootprintFormat(
        name="Overture Maps",
        needs=frozenset({"id", "sources", "version", "num_floors"}),
        id=("id",),
        use=("class", "subtype"),
        label=("names",),
        height=("height",),
        floors=("num_floors",),
    ),
    FootprintFormat(
        name="Google Open Buildings",
        needs=frozenset({"full_plus_code", "confidence"}),
        id=("full_plus_code",),
    ),
    FootprintFormat(
        name="OpenStreetMap (Geofabrik)",
        needs=frozenset({"osm_id", "fclass"}),
        id=("osm_id",),
        use=("type",),
        label=("name",),
    ),
    FootprintFormat(
        name="OpenStreetMap",
        needs=frozenset({"building"}),
        id=("osm_way_id", "osm_id", "osmid", "id", "@id"),
        use=("building",),
        label=("name",),
        height=("height", "building:height"),
        floors=("building:levels", "building_levels", "levels"),
    ),
    FootprintFormat(
        name="Microsoft building footprints",
        needs=frozenset({"height", "confidence"}),
        height=("height",),
    ),
)


def with_known_columns(table: gpd.GeoDataFrame) -> tuple[gpd.GeoDataFrame, str]:
    """
    Add the columns of a known source of footprints under their common names.

    Parameters
    ----------
    table : geopandas.GeoDataFrame
        The layer as read.

    Returns
    -------
    table : geopandas.GeoDataFrame
        With ``building_id, use, name, height_m, floors`` where the source has them;
        columns that hold lists or records are left out.
    source : str
        Name of the source; "" where it is not known.

    Examples
    --------
    >>> import geopandas as gpd
    >>> import shapely
    >>> roofs = gpd.GeoDataFrame(
    ...     {"osm_way_id": ["7"], "building": ["house"], "height": ["20 ft"]},
    ...     geometry=[shapely.box(0, 0, 1, 1)],
    ...     crs=4326,
    ... )
    >>> table, source = with_known_columns(roofs)
    >>> source, table["use"].tolist(), table["height_m"].round(3).tolist()
    ('OpenStreetMap', ['house'], [6.096])
    """
    known = next((f for f in FORMATS if f.needs <= set(table.columns)), None)
    if known is None:
        return table, ""
    new: dict[str, Any] = {}
    for name, columns in (
        ("building_id", known.id),
        ("use", known.use),
        ("name", known.label),
    ):
        found = _first(table, columns)
        if name not in table and found is not None:
            new[name] = found
    for name, columns in (("height_m", known.height), ("floors", known.floors)):
        column = next((c for c in columns if c in table), None)
        if name not in table and column is not None:
            new[name] = metres(table[column])
    if "use" in new:
        new["use"] = new["use"].where(~new["use"].isin(["yes", "true"]))
    wide = [c for c in table if c != "geometry" and _nested(table[c])]
    return table.drop(columns=wide).assign(**new), known.name


def metres(values: pd.Series[Any]) -> pd.Series[float]:
    """
    Return heights (or numbers of floors) as numbers.

    Parameters
    ----------
    values : pandas.Series
        Numbers, or text such as ``12``, ``12.5 m``, ``40 ft``.

    Returns
    -------
    pandas.Series of float
        Positive numbers; NaN where the source says nothing, has a negative code, or
        text that is no height. [m]

    Examples
    --------
    >>> metres(pd.Series(["12", "12.5 m", "-1", "tall", None])).tolist()
    [12.0, 12.5, nan, nan, nan]
    """
    text: Any = values.astype("string").str.strip().str.lower()
    parts = text.str.extract(_HEIGHT)
    number = pd.to_numeric(parts["value"], errors="coerce").astype("float64")
    factor = np.where(parts["unit"].isin(["ft", "feet", "'"]), FOOT_M, 1.0)
    result: pd.Series[float] = (number * factor).where(
        (number > 0.0) & np.isfinite(number)
    )
    lost = text.notna() & ~text.isin(["", "-1", "-1.0", "nan"]) & result.isna()
    if lost.any():
        first = values[lost].iloc[0]
        LOGGER.warning(
            "%d value(s) of %r are no height, first %r: taken as not known",
            int(lost.sum()),
            values.name,
            first,
        )
    return result


def _first(table: pd.DataFrame, columns: tuple[str, ...]) -> pd.Series[Any] | None:
    """Return the first value per row over some columns; None without any of them."""
    found: pd.Series[Any] | None = None
    for column in columns:
        if column not in table:
            continue
        values = table[column]
        if _nested(values):  # names of Overture: a record with a primary name
            values = values.map(
                lambda v: v.get("primary") if isinstance(v, dict) else None
            )
        found = values if found is None else found.where(found.notna(), values)
    return found


def _nested(values: pd.Series[Any]) -> bool:
    """Return whether a column holds lists or records."""
    some = values[values.notna()].head(100)
    return any(isinstance(value, dict | list | np.ndarray) for value in some)
