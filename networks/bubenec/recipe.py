"""
Make the data of the Bubenec study: real footprints, a synthetic network.

``python networks/bubenec/recipe.py`` writes the four data files beside this script
from the footprints and streets that the package momepy ships; the same package
versions and seed give the same data. The network, dwellings, users and load are
generated: see ``synthesise.py``. For another place give two layers in place of
momepy's, ``python networks/bubenec/recipe.py FOOTPRINTS STREETS OUT_FOLDER``, and
copy ``study.toml`` to the folder.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import geopandas as gpd
import numpy as np
import pandapower as pp
import pandas as pd
import pyarrow.parquet as pq
import shapely
from layout import Rule, dwellings
from synthesise import SYNTHETIC, synthetic_network

from gridsite.feeder.profile_shapes import shape_profiles

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOLDER = Path(__file__).parent
HOUSEHOLDS = FOLDER.parent / "schutterwald" / "household_shapes.parquet"
SEED = 7746
GROUP = 10  # households in one shape of flats: fewer than the median service has
SHAPES = 8
PEOPLE_PER_DWELLING = 2.0  # assumption
KWH_PER_DWELLING = 2500.0  # assumption: a flat, heated and mostly cooked with gas
NOTES = {
    "kind": SYNTHETIC,
    "source": "momepy 0.11.0, datasets/bubenec.gpkg, layers buildings and streets",
    "attribution": "Copyright (c) 2018-2021, Martin Fleischmann and PySAL Developers",
    "licence": "BSD 3-Clause, as momepy; its text is in LICENSE-momepy.txt",
}
FROM_SIMBENCH = {
    "kind": "generated: sums of household shapes whose weeks were drawn",
    "definition": f"the sum of {GROUP} households; 1 is its largest value of the year",
}


def momepy_layers() -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]:
    """Return the footprints and streets of Bubenec."""
    import momepy  # noqa: PLC0415 - only the recipe needs it

    path = momepy.datasets.get_path("bubenec")
    roofs = gpd.read_file(path, layer="buildings")
    roofs["building_id"] = [f"bubenec-{number:03d}" for number in roofs["uID"]]
    return roofs, gpd.read_file(path, layer="streets")


def own_layers(roofs: str, streets: str) -> tuple[gpd.GeoDataFrame, gpd.GeoDataFrame]:
    """Return the footprints and streets of two files."""
    layer = gpd.read_file(roofs)
    if "building_id" not in layer:
        layer["building_id"] = [f"building-{i:04d}" for i in range(len(layer))]
    return layer, gpd.read_file(streets)


def flat_shapes(
    households: pd.DataFrame, hours: dict[str, float]
) -> tuple[pd.DataFrame, dict[str, float]]:
    """
    Return shapes of houses of flats, and their hours at value 1.

    Each is the sum of ``GROUP`` households of equal energy with a drawn shape and
    shift of weeks (`gridsite.feeder.profile_shapes.shape_profiles`).
    """
    names = [f"flats-{i}-{k}" for i in range(SHAPES) for k in range(GROUP)]
    drawn = shape_profiles(
        households,
        port_ids=names,
        annual_kwh=1.0,
        power_factor=1.0,
        seed=SEED,
        full_load_hours=pd.Series(hours),
    )
    one = drawn.p_shapes[drawn.shape_of_port] * drawn.p_scale_kw[:, None]
    sums = np.asarray(one).reshape(SHAPES, GROUP, -1).sum(axis=1)
    columns = [f"flats-{i}" for i in range(SHAPES)]
    peak = sums.max(axis=1)
    values = np.ceil(sums / peak[:, None] * 1000.0) / 1000.0  # up: the safe side
    table = pd.DataFrame(values.T.astype("float32"), households.index, columns)
    full = (GROUP / peak).round(2)
    return table, dict(zip(columns, full.tolist(), strict=True))


def footprints(roofs: gpd.GeoDataFrame, homes: pd.Series) -> gpd.GeoDataFrame:
    """Return the real outlines with the dwellings assumed in them."""
    table = gpd.GeoDataFrame(
        {
            "building_id": roofs["building_id"].to_numpy(),
            "use": np.where(homes > 0, "flats (assumed)", "outbuilding (assumed)"),
            "dwellings_assumed": homes.to_numpy(),
            "access_network": "fibre",
        },
        geometry=_rounded(roofs),
        crs=4326,
    )
    return table.sort_values("building_id", ignore_index=True)


def users(ports: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    """Return the people assumed at each service, as points."""
    return gpd.GeoDataFrame(
        {
            "port_id": ports["port_id"].to_numpy(),
            "users": ports["dwellings"].to_numpy() * PEOPLE_PER_DWELLING,
            "generated": True,
        },
        geometry=_rounded(ports),
        crs=4326,
    )


def _rounded(layer: gpd.GeoDataFrame) -> NDArray[np.object_]:
    """Return the shapes in longitude and latitude, to about a centimetre."""
    flat = shapely.force_2d(layer.geometry.to_crs(4326).to_numpy())
    return shapely.transform(flat, lambda xy: xy.round(7))


def _write(table: pd.DataFrame, path: Path, notes: dict[str, str]) -> None:
    """Write a table as small Parquet with its origin inside."""
    table.to_parquet(path)
    arrow = pq.read_table(path)
    extra = {key.encode(): text.encode() for key, text in notes.items()}
    arrow = arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), **extra})
    pq.write_table(arrow, path, compression="zstd", compression_level=19)
    _tell(path, f"{len(table)} rows")


def _tell(path: Path, what: str) -> None:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:12]
    print(f"{path.name}: {what}, {len(content) / 1e3:.0f} kB, {digest}")


def write_place(
    roofs: gpd.GeoDataFrame,
    streets: gpd.GeoDataFrame,
    folder: Path,
    *,
    name: str,
    notes: dict[str, str],
) -> None:
    """Write the footprints, the synthetic network, its links and users."""
    metres = roofs.estimate_utm_crs()
    roofs, streets = roofs.to_crs(metres), streets.to_crs(metres)
    net, ports = synthetic_network(roofs, streets, name=name)
    net["licence"] = json.dumps(notes)
    homes = dwellings(roofs, Rule())
    _write(footprints(roofs, homes), folder / "footprints.parquet", notes)
    kind = {"generated": "services, dwellings and people are generated"}
    _write(users(ports), folder / "users_generated.parquet", notes | kind)
    links = pd.DataFrame(ports[["building_id", "port_id", "dwellings"]])
    links["annual_kwh"] = links["dwellings"] * KWH_PER_DWELLING
    _write(links, folder / "services_synthetic.parquet", notes | kind)
    path = folder / "feeder_synthetic.json"
    pp.to_json(net, str(path))
    _tell(path, f"{len(net.bus)} buses, {len(net.line)} cables")


def main() -> None:
    """Write the data of Bubenec, or of the layers given."""
    if len(sys.argv) == 4:
        layers = own_layers(*sys.argv[1:3])
        notes = {"kind": SYNTHETIC, "source": "layers of the user"}
        write_place(*layers, Path(sys.argv[3]), name="own place", notes=notes)
        return
    write_place(*momepy_layers(), FOLDER, name="Bubenec", notes=NOTES)
    notes = {
        k.decode(): v.decode() for k, v in pq.read_schema(HOUSEHOLDS).metadata.items()
    }
    shapes, hours = flat_shapes(
        pd.read_parquet(HOUSEHOLDS), json.loads(notes["full_load_hours"])
    )
    kept = {key: notes[key] for key in ("source", "attribution", "licence", "changes")}
    full = {"full_load_hours": json.dumps(hours)}
    _write(shapes, FOLDER / "flat_shapes.parquet", kept | FROM_SIMBENCH | full)
    print(hours)


if __name__ == "__main__":
    main()
