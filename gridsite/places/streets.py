r"""
Building to distribution transformer, by the low-voltage lines in the street.

A service joins a street line at a joint, and line layers end where services join.
A building is therefore led to the nearest *joint* (end of a street line) rather than
to the nearest line, and takes the transformer that most lines at this joint have;
where no joint is within ``JOINT_SLACK_M`` beyond the nearest line, that line decides.

Lines have their transformer from a column, or it is traced. Where open sections are
marked, ends within ``join_m`` of one another are joined and each line goes to the
transformer that is nearest along the lines. Where none is marked, the openings of loops
are guessed (`gridsite.places.loops`): a drawing does not show them.

With :math:`d_1` the distance to the lines of the transformer found, :math:`d_2` to
those of any other and :math:`g = \max(0, d_2 - d_1)`, the confidence is
:math:`(1 - d_1 / d_{max}) \, g / (g + 12\,\mathrm{m})`: below one half wherever
another transformer's street is less than 12 m farther. Along lines with open sections
marked it is at most :math:`s / (s + 200\,\mathrm{m})`, :math:`s` being how much
farther along them the next transformer is. With guessed openings it is at most
:math:`0.05 / (0.05 + q)`, :math:`q` being the share of guesses with other
resistances and loads that disagree: below one half where more than one in twenty do. It
orders the matches for review; it is not a probability.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import shapely
from scipy.sparse.csgraph import connected_components, dijkstra
from scipy.spatial import KDTree

from gridsite.errors import ConfigError, DataError
from gridsite.places.columns import text_labels, unique_labels
from gridsite.places.layers import lonlat, metric_crs
from gridsite.places.loops import JOINT_M, line_ends, looped_lines

if TYPE_CHECKING:
    import geopandas as gpd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]

LOGGER = logging.getLogger(__name__)

#: A joint is preferred to the nearest line up to this much farther away. [m]
JOINT_SLACK_M = 10.0

#: Margin to the next transformer's street at which the confidence is one half. [m]
HALF_M = 12.0

#: Lead to the next transformer along traced lines at which it is one half. [m]
HALF_LEAD_M = 200.0

#: Share of the guesses of openings that disagree at which it is one half.
HALF_SHARE = 0.05


def street_transformers(
    buildings: gpd.GeoDataFrame,
    lines: gpd.GeoDataFrame,
    *,
    label_column: str | None = None,
    transformers: gpd.GeoDataFrame | None = None,
    open_column: str | None = None,
    join_m: float = 10.0,
    max_distance_m: float = 120.0,
) -> pd.DataFrame:
    """
    Find the transformer of each building from the lines in its street.

    Parameters
    ----------
    buildings : geopandas.GeoDataFrame
        Points or outlines with ``building_id``.
    lines : geopandas.GeoDataFrame
        Low-voltage lines in the street, without the services of buildings.
    label_column : str, optional
        Column of ``lines`` with the transformer that feeds each.
    transformers : geopandas.GeoDataFrame, optional
        Points with ``transformer``, to trace from where there is no label column.
    open_column : str, optional
        Column of ``lines``, true where a section is open at an end: it is not traced.
        Without it, the openings of loops are guessed.
    join_m : float, default 10.0
        Largest distance between ends that are joined in tracing. [m]
    max_distance_m : float, default 120.0
        Largest distance from a building to a line. [m]

    Returns
    -------
    pandas.DataFrame
        One row per building, in their order: ``building_id``, ``transformer`` (""
        where none is found), ``method`` (``street_label``, ``street_trace``),
        ``distance_m``, ``confidence`` and ``reason`` ("" where one is found).

    Raises
    ------
    ConfigError
        If neither labels nor transformers are given, or a distance is not positive.
    DataError
        If a geometry, label or column is missing.

    Examples
    --------
    >>> import geopandas as gpd
    >>> house = gpd.GeoDataFrame(
    ...     {"building_id": ["b1"]}, geometry=[shapely.Point(7.8801, 48.4501)], crs=4326
    ... )
    >>> street = shapely.LineString([(7.88, 48.45), (7.881, 48.45)])
    >>> lines = gpd.GeoDataFrame({"fed_by": ["T1"]}, geometry=[street], crs=4326)
    >>> street_transformers(house, lines, label_column="fed_by")["transformer"].tolist()
    ['T1']
    """
    for name, value in {"join_m": join_m, "max_distance_m": max_distance_m}.items():
        if not 0.0 < value < np.inf:
            msg = f"{name} must be finite and above 0, got {value!r}"
            raise ConfigError(msg)
    names = unique_labels(buildings, "building_id", "buildings")
    houses, streets, stations = _projected(buildings, lines, transformers)
    rows, shapes = lines.loc[streets.index], streets.to_numpy()
    if label_column is not None:
        labels, most = _labels(rows, label_column), np.ones(len(rows))
    elif transformers is not None and stations is not None:
        label = unique_labels(transformers, "transformer", "transformers").to_numpy()
        if open_column is None:
            shapes, labels, most = _guessed(shapes, stations, label, houses, join_m)
        else:
            shut = _open(rows, open_column)
            labels, most = _traced(shapes, shut, stations, label, join_m)
    else:
        msg = "give label_column (the transformer of each line) or transformers"
        raise ConfigError(msg)
    table = _matched(houses, shapes, labels, most, max_distance_m)
    table.insert(0, "building_id", names.to_numpy())
    table.insert(2, "method", "street_label" if label_column else "street_trace")
    missed = int((table["transformer"] == "").sum())
    if missed:
        LOGGER.warning("%d of %d buildings find no street line", missed, len(table))
    return table


def _projected(
    buildings: gpd.GeoDataFrame,
    lines: gpd.GeoDataFrame,
    transformers: gpd.GeoDataFrame | None,
) -> tuple[NDArray[Any], pd.Series[Any], NDArray[Any] | None]:
    """Return shapes in metres; each part of a line has its row's index."""
    layers = {"buildings": buildings, "lines": lines, "transformers": transformers}
    shapes = {k: lonlat(v, k).geometry for k, v in layers.items() if v is not None}
    kinds = set(shapes["lines"].geom_type)
    if not kinds <= {"LineString", "MultiLineString"}:
        msg = f"lines: must be lines, found {sorted(kinds)}; give the layer of lines"
        raise DataError(msg)
    crs = metric_crs(pd.concat(list(shapes.values())), where="buildings and lines")
    metres = {k: shapely.force_2d(v.to_crs(crs).to_numpy()) for k, v in shapes.items()}
    parts, row = shapely.get_parts(metres["lines"], return_index=True)
    streets = pd.Series(parts, index=lines.index[row])
    stations = metres.get("transformers")
    return metres["buildings"], streets, None if stations is None else stations


def _labels(rows: gpd.GeoDataFrame, column: str) -> NDArray[np.object_]:
    """Return the label of each line, "" where it has none."""
    if column not in rows:
        msg = f"lines: no column {column!r}; there are {list(rows.columns)}"
        raise DataError(msg)
    found = np.full(len(rows), "", dtype=object)
    given = rows[column].fillna("").astype(str).str.strip()
    known = (given != "").to_numpy()
    found[known] = text_labels(rows[known], column, "lines").to_numpy()
    if not known.any():
        msg = f"lines: column {column!r} is empty; label the lines or trace them"
        raise DataError(msg)
    return found


def _open(rows: gpd.GeoDataFrame, column: str) -> NDArray[np.bool_]:
    if column not in rows or rows[column].dtype != bool:
        msg = f"lines: column {column!r} must be there and true or false in every row"
        raise DataError(msg)
    return np.asarray(rows[column], dtype=bool)


def _guessed(
    streets: NDArray[Any],
    stations: NDArray[Any],
    names: NDArray[np.object_],
    houses: NDArray[Any],
    join_m: float,
) -> tuple[NDArray[Any], NDArray[np.object_], Floats]:
    """Return pieces of lines, the transformer of each and its highest confidence."""
    LOGGER.warning(
        "no line is marked open: where loops are open is guessed, about one building "
        "in ten may get a transformer that does not feed it"
    )
    spots = shapely.get_coordinates(shapely.centroid(stations))
    pieces, feeder, share = looped_lines(streets, spots, houses, join_m)
    labels = np.append(names, "").astype(object)[feeder]
    return pieces, labels, HALF_SHARE / (HALF_SHARE + 1.0 - share)


def _traced(
    streets: NDArray[Any],
    shut: NDArray[np.bool_],
    stations: NDArray[Any],
    names: NDArray[np.object_],
    join_m: float,
) -> tuple[NDArray[np.object_], Floats]:
    """Return the nearest transformer of each line and its highest confidence."""
    ends, spots = (
        line_ends(streets),
        shapely.get_coordinates(shapely.centroid(stations)),
    )
    n, size = len(streets), 2 * len(streets) + len(spots)
    tree = KDTree(ends)
    near, _ = tree.query(spots)
    reach = np.maximum(join_m, near + 0.01)
    at = [np.array(found) for found in tree.query_ball_point(spots, reach)]
    station = np.repeat(np.arange(len(spots)), [len(found) for found in at])
    pairs = tree.query_pairs(join_m, output_type="ndarray")
    pairs = pairs[pairs[:, 0] // 2 != pairs[:, 1] // 2]  # a short line's own ends
    left = np.concatenate([2 * np.flatnonzero(~shut), pairs[:, 0], 2 * n + station])
    right = np.concatenate(
        [2 * np.flatnonzero(~shut) + 1, pairs[:, 1], np.concatenate(at)]
    )
    xy = np.concatenate([ends, spots])
    gap = np.hypot(*(xy[left] - xy[right]).T)
    gap[: int((~shut).sum())] = shapely.length(streets[~shut])
    gap += 1e-6
    far, _, source = dijkstra(
        sp.coo_array((gap, (left, right)), (size, size)).tocsr(),
        directed=False,
        indices=np.arange(2 * n, size),
        min_only=True,
        return_predecessors=True,
    )
    first = far[0 : 2 * n : 2] <= far[1 : 2 * n : 2]
    end = np.where(first, 2 * np.arange(n), 2 * np.arange(n) + 1)
    found = np.isfinite(far[end]) & ~shut
    labels = np.full(n, "", dtype=object)
    labels[found] = names[source[end[found]] - 2 * n]
    most, at_end = np.ones(n), end[found]
    lead = _second(left, right, gap, far, source)[at_end] - far[at_end]
    most[found] = 1.0 - HALF_LEAD_M / (lead + HALF_LEAD_M)
    return labels, most


def _second(left: Ints, right: Ints, gap: Floats, far: Floats, source: Ints) -> Floats:
    """
    Return how far the second nearest transformer of each node is. [m]

    The way from it enters the area of the nearest one over some edge for the last
    time: the search starts at the inner ends of these edges and stays within areas.
    """
    size = len(far)
    across = source[left] != source[right]
    entry = np.full(size, np.inf)
    np.minimum.at(entry, left[across], far[right[across]] + gap[across])
    np.minimum.at(entry, right[across], far[left[across]] + gap[across])
    seed = np.flatnonzero(np.isfinite(entry))
    graph = sp.coo_array(
        (
            np.concatenate([gap[~across], entry[seed]]),
            (
                np.concatenate([left[~across], np.full(len(seed), size)]),
                np.concatenate([right[~across], seed]),
            ),
        ),
        (size + 1, size + 1),
    ).tocsr()
    return np.asarray(dijkstra(graph, directed=False, indices=size)[:size])


def _matched(
    houses: NDArray[Any],
    streets: NDArray[Any],
    labels: NDArray[np.object_],
    most: Floats,
    max_distance_m: float,
) -> pd.DataFrame:
    known = labels != ""
    lines, label = streets[known], labels[known]
    if not len(lines):
        msg = "lines: no line has a transformer; are transformers near line ends?"
        raise DataError(msg)
    nearest = shapely.STRtree(lines).nearest(houses)
    to_line = shapely.distance(houses, lines[nearest])
    joint, at_joint = _joints(lines, label)
    hit, gap = shapely.STRtree(joint).query_nearest(
        houses, all_matches=False, return_distance=True
    )
    found = np.where(gap <= to_line + JOINT_SLACK_M, at_joint[hit[1]], label[nearest])
    own, other, line = _rivals(houses, lines, label, found)
    margin = np.maximum(0.0, other - own)
    share = 1.0 - HALF_M / (margin + HALF_M)  # 1 where no other transformer is
    sure = np.minimum(
        most[known][line], np.maximum(0.0, 1.0 - own / max_distance_m) * share
    )
    far = to_line > max_distance_m
    reason = [
        f"nearest line is {metres:.1f} m away, limit {max_distance_m:g} m"
        if out
        else ""
        for metres, out in zip(to_line, far, strict=True)
    ]
    return pd.DataFrame(
        {
            "transformer": np.where(far, "", found),
            "distance_m": own,
            "confidence": np.where(far, 0.0, sure),
            "reason": reason,
        }
    )


def _joints(
    lines: NDArray[Any], label: NDArray[np.object_]
) -> tuple[NDArray[Any], NDArray[np.object_]]:
    """Return a point per joint and the transformer of most lines there."""
    ends = line_ends(lines)
    pairs = KDTree(ends).query_pairs(JOINT_M, output_type="ndarray")
    one = np.ones(len(pairs))
    graph = sp.coo_array((one, (pairs[:, 0], pairs[:, 1])), (len(ends), len(ends)))
    _, joint = connected_components(graph, directed=False)
    votes = pd.DataFrame({"joint": joint, "label": np.repeat(label, 2), "n": 1})
    counted = votes.groupby(["joint", "label"])["n"].sum().reset_index()
    counted = counted.sort_values(
        ["joint", "n", "label"], ascending=[True, False, True]
    )
    first = pd.Series(np.arange(len(ends))).groupby(joint).first()
    winner = counted.drop_duplicates("joint")["label"].to_numpy(dtype=object)
    return shapely.points(ends[first.to_numpy()]), winner


def _rivals(
    houses: NDArray[Any],
    lines: NDArray[Any],
    label: NDArray[np.object_],
    found: NDArray[np.object_],
) -> tuple[Floats, Floats, Ints]:
    """Return distances to lines of the transformer found and others; own line."""
    own, other = np.full(len(houses), np.inf), np.full(len(houses), np.inf)
    line = np.zeros(len(houses), dtype=np.intp)
    for name in np.unique(label.astype(str)):
        here = np.flatnonzero(label == name)
        (_, near), gap = shapely.STRtree(lines[here]).query_nearest(
            houses, all_matches=False, return_distance=True
        )
        mine = found == name
        own[mine], line[mine] = gap[mine], here[near[mine]]
        other[~mine] = np.minimum(other[~mine], gap[~mine])
    return own, other, line
