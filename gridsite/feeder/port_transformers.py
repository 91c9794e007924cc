"""The transformer that each customer of a feeder is behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import geopandas as gpd
import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.sparse.csgraph import breadth_first_order

if TYPE_CHECKING:
    from gridsite.feeder.model import Feeder


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
        As from `Feeder.connection_points`, with ``transformer`` (the last one on the
        way from the source, by number of elements; "" where there is none) and
        ``transformer_kva``, its rating (NaN where that is not known). [kVA]
    """
    points = feeder.connection_points()
    elements = feeder.elements
    buses = pd.Index(feeder.nodes["bus"].unique())
    ends = [
        buses.get_indexer(pd.Index(elements[side])) for side in ("from_bus", "to_bus")
    ]
    inside = (ends[0] >= 0) & (ends[1] >= 0)
    left, right = ends[0][inside], ends[1][inside]
    root = len(buses)
    heads = feeder.nodes["bus"].iloc[feeder.source_nodes]
    source = buses.get_indexer(pd.Index(heads.unique()))
    rows = np.concatenate([left, np.full(len(source), root)])
    columns = np.concatenate([right, source])
    graph = sp.coo_array((np.ones(len(rows)), (rows, columns)), (root + 1, root + 1))
    order, before = breadth_first_order(graph.tocsr(), root, directed=False)
    pairs = zip(left.tolist(), right.tolist(), strict=True)
    of = dict(zip(map(frozenset, pairs), np.flatnonzero(inside).tolist(), strict=True))
    is_transformer = (elements["kind"] == "transformer").to_numpy()
    last = np.full(root + 1, -1, dtype=np.intp)
    for bus in order[1:]:
        at = of.get(frozenset((int(bus), int(before[bus]))), -1)
        last[bus] = at if at >= 0 and is_transformer[at] else last[before[bus]]
    own = buses.get_indexer(pd.Index(points["bus"]))
    found = np.where(own >= 0, last[own], -1)
    rating = np.where(elements["rating_unit"] == "kVA", elements["rating"], np.nan)
    names = np.append(elements.index.to_numpy(dtype=object), "")
    kva = np.append(rating.astype(float), np.nan)
    return points.assign(transformer=names[found], transformer_kva=kva[found])


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
