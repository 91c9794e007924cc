r"""
Round-trip time between a demand zone and a site.

.. math:: t = a_{user} + a_{host} + c \, d + k

with the access times :math:`a` of the user and, for sites in buildings only, of the
host; the great-circle distance :math:`d` on the WGS 84 ellipsoid, whatever CRS the
layers are in; :math:`c` = ``RTT_MS_PER_KM`` (fibre, route factor 2.1 [1]_); and a
constant :math:`k` of the site. A unit in a home is reached through two last miles, a
central site through one, and by users in the same building through none. A zone or
site stands at its centroid.

Access times have a median and a tail (95th percentile) value, and one of the two is
used throughout (see ``gridsite.places.access``).

References
----------
.. [1] I. N. Bozkurt et al., "Dissecting Latency in the Internet's Fiber
   Infrastructure", 2018. arXiv:1811.10737
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import pandas as pd
import shapely
from pyproj import Geod

from gridsite.errors import ConfigError, DataError
from gridsite.places.access import ACCESS_TECHNOLOGIES, access_times_ms
from gridsite.places.columns import amounts, text_labels, unique_labels
from gridsite.places.layers import lonlat
from gridsite.schemas import check_table
from gridsite.units import RTT_MS_PER_KM

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import geopandas as gpd
    from numpy.typing import NDArray

    from gridsite.places.access import AccessTechnology, Percentile

LOGGER = logging.getLogger(__name__)

_ELLIPSOID = Geod(ellps="WGS84")


class Unreachable(TypedDict):
    """A zone and workload without any site in reach, and the nearest in time."""

    zone_id: str
    workload: str
    rtt_limit_ms: float
    best_rtt_ms: float
    best_site_id: str


def distance_km(zones: gpd.GeoDataFrame, sites: gpd.GeoDataFrame) -> pd.DataFrame:
    """
    Return the great-circle distance from each zone to each site.

    Parameters
    ----------
    zones : geopandas.GeoDataFrame
        Layer with ``zone_id``, in any CRS.
    sites : geopandas.GeoDataFrame
        Layer with ``site_id``, in any CRS.

    Returns
    -------
    pandas.DataFrame of float, shape (n_zone, n_site)
        Geodesic distance between the centroids on WGS 84, by zone and site. [km]

    Raises
    ------
    CRSError
        If a layer has no CRS or lies outside the globe.
    DataError
        If a geometry or label is missing, or a label stands twice.

    Examples
    --------
    >>> import geopandas as gpd
    >>> zone = gpd.GeoDataFrame({"zone_id": ["z"]}, geometry=[shapely.Point(0, 0)])
    >>> site = gpd.GeoDataFrame({"site_id": ["s"]}, geometry=[shapely.Point(1, 0)])
    >>> distance_km(zone.set_crs(4326), site.set_crs(4326)).loc["z", "s"].round(3)
    np.float64(111.319)
    """
    zone_xy, site_xy = _centres(zones, "zones"), _centres(sites, "sites")
    shape = (len(zones), len(sites))
    start = np.broadcast_to(zone_xy[:, None, :], (*shape, 2)).reshape(-1, 2)
    end = np.broadcast_to(site_xy[None, :, :], (*shape, 2)).reshape(-1, 2)
    _, _, metres = _ELLIPSOID.inv(start[:, 0], start[:, 1], end[:, 0], end[:, 1])
    return pd.DataFrame(
        np.reshape(metres, shape) / 1e3,
        index=pd.Index(unique_labels(zones, "zone_id", "zones"), name="zone_id"),
        columns=pd.Index(unique_labels(sites, "site_id", "sites"), name="site_id"),
    )


def round_trip_ms(
    zones: gpd.GeoDataFrame,
    sites: gpd.GeoDataFrame,
    *,
    user_access: str | float | None = None,
    percentile: Percentile = "median",
    technologies: Mapping[str, AccessTechnology] = ACCESS_TECHNOLOGIES,
) -> pd.DataFrame:
    """
    Return the round-trip time from each zone to each site.

    Parameters
    ----------
    zones : geopandas.GeoDataFrame
        Table ``zones``. A zone that stands for the users in one building names it
        in ``building_id``.
    sites : geopandas.GeoDataFrame
        Table ``sites`` with geometry; ``access_ms`` is the host's access time, 0
        for a central site. Constants of the sites, if any, stand in a column
        ``site_constant_ms``.
    user_access : str or float, optional
        Access of every user, a technology or a time; without it the zones' own
        column ``access_ms``, or else ``access_network``. [ms]
    percentile : {"median", "tail"}, default "median"
        Which value of the users' access time; the sites' ``access_ms`` must have
        been chosen alike (``access_times_ms``).
    technologies : mapping of str to AccessTechnology, optional
        Known technologies; by default ``ACCESS_TECHNOLOGIES``.

    Returns
    -------
    pandas.DataFrame of float, shape (n_zone, n_site)
        Round-trip time by zone and site; ``attrs["percentile"]`` names the
        percentile. [ms]

    Raises
    ------
    ConfigError
        If nothing says how users are connected, or an option is out of range.
    CRSError
        If a layer has no CRS or lies outside the globe.
    DataError
        If a table breaks its contract, or a central site has an access time.

    Notes
    -----
    Formula and its terms: head of this module.

    Examples
    --------
    >>> import geopandas as gpd
    >>> zones = gpd.GeoDataFrame(
    ...     {"zone_id": ["z"], "users": 9.0}, geometry=[shapely.Point(8, 48)], crs=4326
    ... )
    >>> sites = gpd.GeoDataFrame(
    ...     {"site_id": ["s"], "kind": "central", "building_id": "", "feeder_id": ""}
    ...     | {"utility": "", "area": "", "fixed_capital": 0.0, "max_power_kw": 1e5}
    ...     | {"access_ms": 0.0, "geometry": [shapely.Point(9, 48)]},
    ...     crs=4326,
    ... )
    >>> round_trip_ms(zones, sites, user_access="fibre").loc["z", "s"].round(2)
    np.float64(8.07)
    """
    zones, sites = _checked(zones, sites)
    return _round_trip(
        zones,
        sites,
        distance_km(zones, sites),
        _user_access_ms(zones, user_access, percentile, technologies),
        percentile,
    )


def latency_arcs(
    zones: gpd.GeoDataFrame,
    workloads: pd.DataFrame,
    sites: gpd.GeoDataFrame,
    *,
    user_access: str | float | None = None,
    percentile: Percentile = "median",
    technologies: Mapping[str, AccessTechnology] = ACCESS_TECHNOLOGIES,
    periods: Sequence[int] = (0,),
) -> pd.DataFrame:
    """
    Return the pairs of zone and site within each workload's latency limit.

    Parameters
    ----------
    zones : geopandas.GeoDataFrame
        Table ``zones``, as for ``round_trip_ms``.
    workloads : pandas.DataFrame
        Table ``workloads``; ``rtt_limit_ms`` is hard, infinite for none.
    sites : geopandas.GeoDataFrame
        Table ``sites`` with geometry, as for ``round_trip_ms``.
    user_access : str or float, optional
        As for ``round_trip_ms``. [ms]
    percentile : {"median", "tail"}, default "median"
        As for ``round_trip_ms``.
    technologies : mapping of str to AccessTechnology, optional
        As for ``round_trip_ms``.
    periods : sequence of int, default (0,)
        Periods; every arc stands once in each.

    Returns
    -------
    pandas.DataFrame
        Table ``arcs`` without its cost and with ``distance_km``, ordered by period,
        zone, workload and site. ``attrs["percentile"]`` names the percentile;
        ``attrs["unreachable"]`` lists each zone and workload without an arc.

    Raises
    ------
    ConfigError
        If nothing says how users are connected, or an option is out of range.
    CRSError
        If a layer has no CRS or lies outside the globe.
    DataError
        If a table breaks its contract, or a central site has an access time.

    See Also
    --------
    round_trip_ms : The time itself, for all pairs.

    Examples
    --------
    >>> import geopandas as gpd
    >>> zones = gpd.GeoDataFrame(
    ...     {"zone_id": ["z"], "users": 9.0}, geometry=[shapely.Point(8, 48)], crs=4326
    ... )
    >>> sites = gpd.GeoDataFrame(
    ...     {"site_id": ["s"], "kind": "central", "building_id": "", "feeder_id": ""}
    ...     | {"utility": "", "area": "", "fixed_capital": 0.0, "max_power_kw": 1e5}
    ...     | {"access_ms": 0.0, "geometry": [shapely.Point(9, 48)]},
    ...     crs=4326,
    ... )
    >>> work = pd.DataFrame(
    ...     {"workload": ["game", "control"], "rtt_limit_ms": [30.0, 2.0]}
    ...     | {"rtt_target_ms": 20.0, "min_share_within_target": 0.9}
    ...     | {"unserved_cost": float("nan"), "redundancy": 0}
    ... )
    >>> latency_arcs(zones, work, sites, user_access=6.5).round(2)
      zone_id workload site_id  period  rtt_ms  distance_km
    0       z     game       s       0    8.07        74.62
    """
    if not periods or len(set(periods)) != len(periods) or min(periods) < 0:
        msg = f"periods must be different numbers of at least 0, got {list(periods)}"
        raise ConfigError(msg)
    zones, sites = _checked(zones, sites)
    work = check_table("workloads", workloads.reset_index(drop=True))
    distance = distance_km(zones, sites)
    access = _user_access_ms(zones, user_access, percentile, technologies)
    rtt = _round_trip(zones, sites, distance, access, percentile)
    limit = work["rtt_limit_ms"].to_numpy()
    reached = rtt.to_numpy()[:, None, :] <= limit[None, :, None]
    zone, kind, site = np.nonzero(reached)
    arcs = pd.DataFrame(
        {
            "zone_id": rtt.index.to_numpy()[zone],
            "workload": work["workload"].to_numpy()[kind],
            "site_id": rtt.columns.to_numpy()[site],
            "period": 0,
            "rtt_ms": rtt.to_numpy()[zone, site],
            "distance_km": distance.to_numpy()[zone, site],
        }
    )
    table = pd.concat([arcs.assign(period=p) for p in periods], ignore_index=True)
    table.attrs["percentile"] = percentile
    table.attrs["unreachable"] = _unreachable(rtt, work, reached)
    return table


def _checked(
    zones: gpd.GeoDataFrame, sites: gpd.GeoDataFrame
) -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]:
    for name, table in (("zones", zones), ("sites", sites)):
        if table.empty:
            msg = f"{name}: the table has no rows"
            raise DataError(msg)
    sites = check_table("sites", sites.reset_index(drop=True))
    astray = sites[(sites["kind"] == "central") & (sites["access_ms"] > 0.0)]
    if not astray.empty:
        msg = (
            f"sites: central site(s) {astray['site_id'].tolist()[:3]} have access_ms "
            f"{astray['access_ms'].tolist()[:3]}; a central site has no last mile: set "
            "0 and put its constant into site_constant_ms"
        )
        raise DataError(msg)
    return check_table("zones", zones.reset_index(drop=True)), sites


def _centres(layer: gpd.GeoDataFrame, where: str) -> NDArray[np.float64]:
    geometry = lonlat(layer, where).geometry.array
    return np.asarray(shapely.get_coordinates(shapely.centroid(geometry)), dtype=float)


def _user_access_ms(
    zones: gpd.GeoDataFrame,
    user_access: str | float | None,
    percentile: Percentile,
    technologies: Mapping[str, AccessTechnology],
) -> NDArray[np.float64]:
    labels = text_labels(zones, "zone_id", "zones")
    if isinstance(user_access, int | float):
        given = pd.DataFrame({"user_access": user_access}, index=zones.index)
        return amounts(given, "user_access", labels, "zones")
    if user_access is None and "access_ms" in zones:
        return amounts(zones, "access_ms", labels, "zones")
    if user_access is not None:
        networks = pd.Series(user_access, index=zones.index)
    elif "access_network" in zones:
        networks = zones["access_network"]
    else:
        msg = (
            "zones: nothing says how users are connected; give user_access (one of "
            f"{', '.join(technologies)}, or a time in ms) or a column access_ms"
        )
        raise ConfigError(msg)
    times = access_times_ms(networks, percentile=percentile, technologies=technologies)
    return np.asarray(times, dtype=float)


def _round_trip(
    zones: gpd.GeoDataFrame,
    sites: gpd.GeoDataFrame,
    distance: pd.DataFrame,
    user_ms: NDArray[np.float64],
    percentile: Percentile,
) -> pd.DataFrame:
    last_miles = user_ms[:, None] + sites["access_ms"].to_numpy()[None, :]
    if "building_id" in zones:
        home = zones["building_id"].fillna("").astype(str).to_numpy()
        host = sites["building_id"].where(sites["kind"] == "building", "").to_numpy()
        same = (home[:, None] == host[None, :]) & (home != "")[:, None]
        last_miles = np.where(same, 0.0, last_miles)
    rtt: pd.DataFrame = distance * RTT_MS_PER_KM + last_miles
    if "site_constant_ms" in sites:
        rtt += amounts(sites, "site_constant_ms", sites["site_id"], "sites")
    rtt.attrs["percentile"] = percentile
    return rtt


def _unreachable(
    rtt: pd.DataFrame, work: pd.DataFrame, reached: NDArray[np.bool_]
) -> list[Unreachable]:
    times = rtt.to_numpy(float)
    best = times.argmin(axis=1)
    found = [
        Unreachable(
            zone_id=rtt.index[zone],
            workload=work["workload"].iloc[kind],
            rtt_limit_ms=float(work["rtt_limit_ms"].iloc[kind]),
            best_rtt_ms=float(times[zone, best[zone]]),
            best_site_id=rtt.columns[best[zone]],
        )
        for zone, kind in np.argwhere(~reached.any(axis=2)).tolist()
    ]
    if found:
        LOGGER.warning(
            "%d pair(s) of zone and workload have no site within the limit, first %s",
            len(found),
            found[0],
        )
    return found
