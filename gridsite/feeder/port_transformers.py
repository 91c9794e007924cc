"""The transformer that each customer of a feeder is behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import geopandas as gpd
import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.sparse.csgraph import breadth_first_order

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gridsite.feeder.model import Feeder

#: Log of the ratio of voltages up to which both sides are of one level (regulators).
SAME_LEVEL = 0.1


def connection_points(feeder: Feeder) -> gpd.GeoDataFrame:
    """
    Return the customers' connection points with the transformer they are behind.

    Parameters
    ----------
    feeder : Feeder
        The electrical model.

    Returns
    -------
    geopandas.GeoDataFrame
        As from `Feeder.connection_points`, with ``transformer`` (the last one between
        two voltage levels on the way from the source, by number of buses; the smallest
        of several in parallel; "" where there is none) and ``transformer_kva``, its
        rating (NaN where that is not known). [kVA]
    """
    points = feeder.connection_points()
    node_bus, buses = pd.factorize(feeder.nodes["bus"])
    own = pd.Index(buses).get_indexer(pd.Index(points["bus"]))
    last = _last_transformer(feeder, node_bus, pd.Index(buses))
    found = np.where(own >= 0, last[own], -1)
    elements = feeder.elements
    rating = np.where(elements["rating_unit"] == "kVA", elements["rating"], np.nan)
    names = np.append(elements.index.to_numpy(dtype=object), "")
    kva = np.append(rating.astype(float), np.nan)
    return points.assign(transformer=names[found], transformer_kva=kva[found])


def _last_transformer(
    feeder: Feeder, node_bus: NDArray[np.intp], buses: pd.Index[str]
) -> NDArray[np.intp]:
    """Return the row of the element that is the last transformer before each bus."""
    y, root = feeder.y.tocoo(), len(buses)
    heads = np.unique(node_bus[feeder.source_nodes])
    rows = np.concatenate([node_bus[y.row], np.full(len(heads), root)])
    columns = np.concatenate([node_bus[y.col], heads])
    graph = sp.coo_array((np.ones(len(rows)), (rows, columns)), (root + 1, root + 1))
    order, before = breadth_first_order(graph.tocsr(), root, directed=False)
    at = _transformers(feeder, buses)
    last = np.full(root + 1, -1, dtype=np.intp)
    for bus in order[1:]:
        pair = frozenset((int(bus), int(before[bus])))
        last[bus] = at.get(pair, last[before[bus]])
    return last[:-1]


def _transformers(feeder: Feeder, buses: pd.Index[str]) -> dict[frozenset[int], int]:
    """Return by pair of buses the smallest transformer between two voltage levels."""
    elements = feeder.elements
    level = feeder.nodes.groupby("bus")["voltage_kv"].max()
    rows = np.flatnonzero(elements["kind"] == "transformer")
    ends = [elements[side].to_numpy()[rows] for side in ("from_bus", "to_bus")]
    kv = [level.reindex(end).to_numpy(dtype=float) for end in ends]
    apart = np.abs(np.log(kv[0] / kv[1])) > SAME_LEVEL  # a regulator is none; NaN: no
    first, second = (buses.get_indexer(pd.Index(end)) for end in ends)
    rating = elements["rating"].to_numpy(dtype=float)[rows]
    found: dict[frozenset[int], int] = {}
    for k in np.argsort(-np.nan_to_num(rating, nan=np.inf), kind="stable"):
        if apart[k]:
            found[frozenset((int(first[k]), int(second[k])))] = int(rows[k])
    return found


def transformer_points(feeder: Feeder) -> gpd.GeoDataFrame:
    """
    Return the transformers of a feeder as points, where their lower side has a place.

    Parameters
    ----------
    feeder : Feeder
        The electrical model.

    Returns
    -------
    geopandas.GeoDataFrame
        ``transformer, transformer_kva, geometry`` in EPSG:4326. [kVA]
    """
    nodes = feeder.nodes.drop_duplicates("bus").set_index("bus")
    table = feeder.elements[feeder.elements["kind"] == "transformer"]
    ends = [nodes.reindex(table[side]) for side in ("from_bus", "to_bus")]
    level = [end["voltage_kv"].to_numpy(dtype=float) for end in ends]
    high = level[0] < level[1]  # the lower side is the first
    lon, lat = (
        np.where(high, ends[0][axis].to_numpy(), ends[1][axis].to_numpy())
        for axis in ("lon", "lat")
    )
    kva = np.where(table["rating_unit"] == "kVA", table["rating"], np.nan)
    points = gpd.GeoDataFrame(
        {"transformer": table.index.to_numpy(), "transformer_kva": kva.astype(float)},
        geometry=gpd.points_from_xy(lon.astype(float), lat.astype(float)),
        crs="EPSG:4326",
    )
    return points[np.isfinite(lon.astype(float))].reset_index(drop=True)
