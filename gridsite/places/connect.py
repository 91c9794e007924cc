r"""
Building to connection point of the feeder.

A building is connected, in this order:

* ``id``: to the port that its ``port_column`` names, or to every port that a table of
  ``links`` gives it (several meters in one building, several buildings on one meter);
  confidence 1.
* ``inside``: to every port inside its outline; distance 0, confidence 1.
* ``nearest``: to the nearest port within ``max_distance_m`` of its outline. With
  distances :math:`d_1` to it and :math:`d_2` to the second nearest, the confidence
  is :math:`(1 - d_1 / d_{max}) \, d_2 / (d_1 + d_2)`: it falls with the distance,
  and to one half where two ports are equally near. Of several equally near ports
  the smallest ``port_id`` is taken.

Ports without the phases or behind a smaller transformer than asked for do not count.
Where the transformer of a building is known (``transformer_column``, for instance
from `gridsite.places.streets.street_transformers`) only its ports count, and the
confidence is multiplied by ``transformer_confidence`` if the buildings have it.

The nearest connection point is not always the serving one: the confidence orders
the matches, it is not a probability.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import pandas as pd

from gridsite.errors import ConfigError, DataError
from gridsite.places.columns import amounts, text_labels, unique_labels
from gridsite.places.layers import lonlat
from gridsite.places.matching import (
    match_by_id,
    match_by_links,
    match_by_transformer,
)
from gridsite.schemas import check_table

if TYPE_CHECKING:
    import geopandas as gpd

LOGGER = logging.getLogger(__name__)

_PORT_TEXTS = ("bus", "feeder_id", "phases")
_COLUMNS = [
    "building_id",
    "port_id",
    "feeder_id",
    "bus",
    "phases",
    "service_a",
    "service_v",
    "match_method",
    "match_distance_m",
    "match_confidence",
    "assumed",
    "match_reason",
]


class Unmatched(TypedDict):
    """A building without a connection: where it is from one, and why."""

    building_id: str
    distance_m: float | None
    reason: str


def connect_buildings(
    buildings: gpd.GeoDataFrame,
    ports: gpd.GeoDataFrame | pd.DataFrame,
    *,
    port_column: str | None = None,
    links: pd.DataFrame | None = None,
    transformer_column: str | None = None,
    phases: str | None = None,
    min_transformer_kva: float | None = None,
    max_distance_m: float = 50.0,
    service_a: float | None = None,
    service_v: float | None = None,
) -> pd.DataFrame:
    """
    Connect each building to the port of a feeder that serves it.

    Parameters
    ----------
    buildings : geopandas.GeoDataFrame
        Table ``buildings``.
    ports : geopandas.GeoDataFrame or pandas.DataFrame
        Connection points: ``port_id``, ``bus``, ``feeder_id``, ``phases``, a point
        each (not needed with ``port_column``), and ``service_a``, ``service_v``
        where they are known.
    port_column : str, optional
        Column of ``buildings`` that names the port; without it ports are matched
        by place.
    links : pandas.DataFrame, optional
        ``building_id, port_id``; buildings that it does not name are matched by place.
    transformer_column : str, optional
        Column of ``buildings`` with the transformer that feeds each; it is held
        against ``transformer`` of the ports, or their ``feeder_id``.
    phases : str, optional
        Phases that a port must have, such as ``ABC`` for a three-phase unit.
    min_transformer_kva : float, optional
        Smallest transformer of a port; the ports then need ``transformer_kva``. [kVA]
    max_distance_m : float, default 50.0
        Largest distance from the outline to a port. [m]
    service_a : float, optional
        Service rating assumed where the ports give none. [A]
    service_v : float, optional
        Service voltage assumed where the ports give none. [V]

    Returns
    -------
    pandas.DataFrame
        Table ``connections`` with ``feeder_id``: one row per building, or one per
        port for a building with several ports inside; ``assumed`` marks rows that
        rest on an assumed service, ``match_reason`` says what decided. Buildings
        without a connection stand in ``attrs["unmatched"]`` instead, with distance
        and reason; ``attrs["report"]`` counts both, and shared ports.

    Raises
    ------
    ConfigError
        If an option is out of range.
    DataError
        If a table breaks its contract, a port stands twice or has no place where
        it needs one, or no building at all finds a connection.
    CRSError
        If a layer has no CRS, or both together are too wide to be measured.

    Notes
    -----
    See the head of this module for the order of the methods and the confidence.

    Examples
    --------
    >>> import geopandas as gpd
    >>> import shapely
    >>> roof = shapely.box(7.89, 48.45, 7.8902, 48.4501)
    >>> roofs = gpd.GeoDataFrame(
    ...     {"building_id": ["b1"], "roof_area_m2": 164.5, "use": "home"},
    ...     geometry=[roof],
    ...     crs=4326,
    ... ).assign(access_network="fibre")
    >>> ports = gpd.GeoDataFrame(
    ...     {"port_id": ["p1"], "bus": "n7", "feeder_id": "f1", "phases": "ABC"},
    ...     geometry=gpd.points_from_xy([7.8901], [48.45005]),
    ...     crs=4326,
    ... )
    >>> table = connect_buildings(roofs, ports, service_a=63.0, service_v=400.0)
    >>> table[["building_id", "port_id", "match_method", "assumed"]]
      building_id port_id match_method  assumed
    0          b1      p1       inside     True
    """
    for name, value in {
        "max_distance_m": max_distance_m,
        "min_transformer_kva": min_transformer_kva,
        "service_a": service_a,
        "service_v": service_v,
    }.items():
        if value is not None and not (math.isfinite(value) and value > 0.0):
            msg = f"{name} must be finite and above 0, got {value!r}"
            raise ConfigError(msg)
    roofs = check_table("buildings", buildings.reset_index(drop=True))
    roofs = lonlat(roofs, "buildings")
    points = _checked_ports(ports)
    barred = _barred(points, phases, min_transformer_kva)
    if port_column is not None:
        matches = match_by_id(roofs, points, port_column)
    else:
        matches = match_by_links(roofs, points, links)
        row = np.setdiff1d(np.arange(len(roofs)), matches["roof"])
        fit = np.flatnonzero(barred == "")
        by_place = match_by_transformer(
            roofs, points, row, fit, transformer_column, max_distance_m
        )
        matches = pd.concat([matches, by_place], ignore_index=True)
    refused = (matches["port"] >= 0) & (barred[matches["port"]] != "")
    matches.loc[refused, "reason"] = barred[matches["port"]][refused]
    matches.loc[refused, "port"] = -1
    return _connections(
        roofs, points, matches, service_a=service_a, service_v=service_v
    )


def _checked_ports(ports: pd.DataFrame) -> pd.DataFrame:
    points = ports.reset_index(drop=True)
    points["port_id"] = unique_labels(points, "port_id", "ports")
    for column in _PORT_TEXTS:
        filed = points.get(column, pd.Series(dtype=object))
        if column == "feeder_id" and (filed == "").any():  # at a source, or unsupplied
            points[column] = filed.astype(str)
            continue
        points[column] = text_labels(points, column, "ports")
    if points.empty:
        msg = "ports: the table has no rows; read a feeder with connection points"
        raise DataError(msg)
    return points


def _barred(
    points: pd.DataFrame, phases: str | None, min_transformer_kva: float | None
) -> np.ndarray:
    # Why each port may not be used; "" where it may.
    why = np.full(len(points), "", dtype=object)
    if min_transformer_kva is not None:
        kva = amounts(points, "transformer_kva", points["port_id"], "ports")
        for row in np.flatnonzero(kva < min_transformer_kva).tolist():
            why[row] = (
                f"port {points['port_id'].iloc[row]!r} is behind {kva[row]:g} kVA, "
                f"asked for are {min_transformer_kva:g} kVA"
            )
    for row, has in enumerate(points["phases"]):
        if phases is not None and not set(phases) <= set(has):
            why[row] = (
                f"port {points['port_id'].iloc[row]!r} has phase(s) {has}, asked for "
                f"are {phases}"
            )
    return why


def _connections(
    roofs: gpd.GeoDataFrame,
    points: pd.DataFrame,
    matches: pd.DataFrame,
    *,
    service_a: float | None,
    service_v: float | None,
) -> pd.DataFrame:
    found = matches[matches["port"] >= 0]
    unmatched = _unmatched(roofs, matches[matches["port"] < 0])
    if len(unmatched) + found["roof"].nunique() != len(roofs):
        msg = "buildings: some were lost in matching; please report this as a bug"
        raise DataError(msg)
    if found.empty:
        first = unmatched[0] if unmatched else "the layer is empty"
        msg = f"buildings: none finds a connection, first {first}; check CRS and ids"
        raise DataError(msg, pd.DataFrame(unmatched))
    if unmatched:
        LOGGER.warning("%d of %d buildings unmatched", len(unmatched), len(roofs))
    served = points.iloc[found["port"]].set_axis(found.index)
    table = found.join(served[["port_id", *_PORT_TEXTS]])
    table["building_id"] = roofs["building_id"].to_numpy()[found["roof"]]
    table["match_reason"] = found["reason"]
    table["assumed"] = False
    for column, value in {"service_a": service_a, "service_v": service_v}.items():
        known = served[column].astype(float) if column in served else np.nan
        table[column] = known
        if value is not None:
            table["assumed"] |= table[column].isna()
            table[column] = table[column].fillna(value)
    table = table.sort_values(["roof", "port_id"], ignore_index=True)[_COLUMNS]
    table = check_table("connections", table)
    table.attrs["report"] = {
        "buildings": len(roofs),
        **table.drop_duplicates("building_id")["match_method"].value_counts().to_dict(),
        "unmatched": len(unmatched),
        "buildings_with_several_ports": int(
            table["building_id"].value_counts().gt(1).sum()
        ),
        "ports_with_several_buildings": int(
            table["port_id"].value_counts().gt(1).sum()
        ),
    }
    LOGGER.info("connections: %s", table.attrs["report"])
    table.attrs["unmatched"] = unmatched  # last: pandas copies it at every step
    return table


def _unmatched(roofs: gpd.GeoDataFrame, missed: pd.DataFrame) -> list[Unmatched]:
    if missed.empty:
        return []
    labels = roofs["building_id"].to_numpy()[missed["roof"]]
    metres = missed["match_distance_m"].to_numpy(float)
    return [
        Unmatched(
            building_id=label,
            distance_m=None if math.isnan(distance) else float(distance),
            reason=reason,
        )
        for label, distance, reason in zip(
            labels, metres, missed["reason"], strict=True
        )
    ]
