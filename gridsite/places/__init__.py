"""Geospatial inputs: roofs, connections, demand zones, latency."""

from __future__ import annotations

from gridsite.places.access import (
    ACCESS_TECHNOLOGIES,
    AccessTechnology,
    access_times_ms,
)
from gridsite.places.areas import area_names, read_areas
from gridsite.places.buildings import read_buildings
from gridsite.places.connect import connect_buildings
from gridsite.places.demand import Demand, demand_table, demand_zones, read_demand
from gridsite.places.latency import distance_km, latency_arcs, round_trip_ms
from gridsite.places.layers import metric_crs
from gridsite.places.people import near_places, read_people
from gridsite.places.selection import Exclusion, merge_attributes, select_buildings
from gridsite.places.streets import street_transformers

__all__ = [
    "ACCESS_TECHNOLOGIES",
    "AccessTechnology",
    "Demand",
    "Exclusion",
    "access_times_ms",
    "area_names",
    "connect_buildings",
    "demand_table",
    "demand_zones",
    "distance_km",
    "latency_arcs",
    "merge_attributes",
    "metric_crs",
    "near_places",
    "read_areas",
    "read_buildings",
    "read_demand",
    "read_people",
    "round_trip_ms",
    "select_buildings",
    "street_transformers",
]
