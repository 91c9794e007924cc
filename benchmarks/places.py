"""
Roofs, meters, connections: seconds for generated ones, houses led right.

``python places.py roofs [--count N]``, ``python places.py meters [--count N]`` (a year
of hours each) and ``python places.py connection``.
"""

from __future__ import annotations

import argparse
import runpy
import tempfile
from dataclasses import replace
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import shapely
from common import Clock, print_machine

from gridsite.feeder.meter_options import MeterOptions
from gridsite.feeder.meters import read_meters
from gridsite.places import (
    Exclusion,
    connect_buildings,
    read_buildings,
    select_buildings,
    street_transformers,
)

NETWORKS = Path(__file__).parents[1] / "networks"


def footprints(count: int, *, seed: int = 1) -> gpd.GeoDataFrame:
    """Return generated outlines on a lattice; 2 % each broken, tiny, drawn twice."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(np.sqrt(count)))
    x, y = (25.0 * axis.ravel()[:count] for axis in np.mgrid[0:side, 0:side])
    w, d = rng.uniform(8.0, 14.0, (2, count))
    small = rng.random(count) < 0.02
    w, d = np.where(small, 1.0, w), np.where(small, 1.0, d)
    ring = np.array([[0, 0], [1, 0], [1, 1], [0.5, 1], [0.5, 0.6], [0, 0.6]])
    broken = rng.random(count) < 0.02
    xy = ring[None] * np.stack([w, d], axis=1)[:, None] + np.stack([x, y], 1)[:, None]
    xy[broken, 1], xy[broken, 2] = xy[broken, 2], xy[broken, 1].copy()  # a bow tie
    shapes = shapely.polygons(xy)
    again = rng.random(count) < 0.02
    shapes = np.where(again, np.roll(shapes, 1), shapes)
    return gpd.GeoDataFrame(
        {"building_id": [f"g{i}" for i in range(count)], "building": "house"},
        geometry=gpd.GeoSeries(shapes, crs=32632).translate(5e5, 5e6),
        crs=32632,
    )


def time_roofs(count: int) -> None:
    """Read, repair, measure and connect generated footprints, from files."""
    table = footprints(count)
    ports = gpd.GeoDataFrame(
        {"port_id": table["building_id"], "bus": "n", "feeder_id": "f"},
        geometry=table.representative_point().translate(1.0, 1.0),
        crs=table.crs,
    ).assign(phases="ABC")
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("parquet", "fgb", "gpkg"):
            path = Path(folder, f"roofs.{suffix}")
            if suffix == "parquet":
                table.to_parquet(path)
            else:
                table.to_file(path)
            with Clock() as clock:
                roofs = read_buildings(path)
            print(
                f"{count:,} generated footprints, {suffix}: {clock.wall:.1f} s "
                f"({clock.cpu:.1f} s CPU) {roofs.attrs['report']}",
                flush=True,
            )
    zones = table.iloc[:: max(1, count // 100)].representative_point()
    with Clock() as clock:
        flood = Exclusion(source=gpd.GeoDataFrame(geometry=zones), name="flood")
        near = replace(flood, name="noise", distance_m=30.0)
        kept = select_buildings(roofs, max_area_m2=120.0, exclusions=[flood, near])
    print(
        f"filtered by area and {2 * len(zones)} zones: {clock.wall:.1f} s "
        f"({clock.cpu:.1f} s CPU), {len(kept):,} stay"
    )
    with Clock() as clock:
        found = connect_buildings(roofs, ports)
    print(
        f"connected to {len(ports):,} ports by place: {clock.wall:.1f} s "
        f"({clock.cpu:.1f} s CPU), {found.attrs['report']}"
    )


def time_meters(count: int) -> None:
    """Read a year of generated readings, long, in another order, some missing."""
    rng = np.random.default_rng(1)
    time = pd.date_range("2025-01-01", periods=8760, freq="h", tz="UTC")
    names = [f"m{i}" for i in range(count)]
    kw = pd.DataFrame(rng.gamma(2.0, 0.3, (len(time), count)), time, names)
    kw = kw.mask(rng.random(kw.shape) < 0.002)
    table = kw.rename_axis("time").reset_index().melt("time", var_name="meter")
    table = table.rename(columns={"value": "kwh"}).dropna().sample(frac=1.0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "meters.parquet")
        table.to_parquet(path, index=False)
        with Clock() as clock:
            found = read_meters(path, MeterOptions(fill="week"))
    print(
        f"{len(table):,} generated readings of {count:,} meters: {clock.wall:.1f} s "
        f"({clock.cpu:.1f} s CPU), {int(found.filled.to_numpy().sum()):,} filled"
    )


def judge_connection() -> None:
    """Print the share of Schutterwald's houses that get their true transformer."""
    script = NETWORKS / "schutterwald" / "streets.py"
    houses, lines, stations, truth = runpy.run_path(str(script))["layers"]()
    given = {
        "lines labelled by their fed end": (lines, {"label_column": "fed_by"}),
        "lines labelled by their start": (lines, {"label_column": "fed_by_start"}),
        "bare lines, open sections marked, transformers": (
            lines,
            {"transformers": stations, "open_column": "open"},
        ),
        "bare lines, transformers": (lines, {"transformers": stations}),
    }
    rows = {}
    near = shapely.STRtree(lines.to_crs(25832).geometry.array).nearest(
        houses.to_crs(25832).geometry.array
    )
    rows["nearest line, by its start"] = lines["fed_by_start"].to_numpy()[near], None
    near = shapely.STRtree(stations.to_crs(25832).geometry.array).nearest(
        houses.to_crs(25832).geometry.array
    )
    rows["nearest transformer"] = stations["transformer"].to_numpy()[near], None
    for name, (layer, options) in given.items():
        found = street_transformers(houses, layer, **options)
        rows[name] = found["transformer"].to_numpy(), found["confidence"].to_numpy()
    table = []
    for name, (answer, confidence) in rows.items():
        hit = answer == truth
        row = {"given": name, "right %": 100 * hit.mean(), "misses": int((~hit).sum())}
        if confidence is not None:
            sure = confidence >= 0.5
            row |= {
                "highest confidence of a miss": confidence[~hit].max(),
                "misses at 0.5 or above": int((~hit & sure).sum()),
                "hits at 0.5 or above %": 100 * (hit & sure).sum() / hit.sum(),
            }
        table.append(row)
    print(pd.DataFrame(table).set_index("given").round(3).T.to_string())


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["roofs", "meters", "connection"])
    parser.add_argument("--count", type=int, help="default: 100,000 roofs, 500 meters")
    options = parser.parse_args()
    print_machine("geopandas", "shapely")
    if options.what == "roofs":
        time_roofs(options.count or 100_000)
    elif options.what == "meters":
        time_meters(options.count or 500)
    else:
        judge_connection()


if __name__ == "__main__":
    main()
