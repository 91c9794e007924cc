"""Geospatial inputs: roofs, connections, demand zones, latency."""
