"""
Verbs that read one input and show it: ``roofs``, ``meters``, ``demand``.

Each prints what was found, writes the table that a study would use, and a picture
beside it. Heavy imports stand inside each verb.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gridsite.cli_paths import check_files, check_targets
from gridsite.errors import ConfigError

if TYPE_CHECKING:
    import geopandas as gpd

Source = Annotated[Path, typer.Argument(help="The file.")]
Id = Annotated[str | None, typer.Option(help="Column with the name of a building.")]
Layer = Annotated[str | None, typer.Option(help="Of a file that holds several.")]
Crs = Annotated[
    str | None, typer.Option(help="Of a layer that names none, as EPSG:25832.")
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace earlier files of these names.")
]


def roofs(
    source: Source,
    out: Annotated[Path, typer.Option(help=".parquet, .gpkg or .geojson.")],
    id_column: Id = None,
    use_column: Annotated[str | None, typer.Option(help="Column with the use.")] = None,
    use: Annotated[list[str] | None, typer.Option(help="May stay; repeat.")] = None,
    min_area: Annotated[float, typer.Option(help="[m2]")] = 10.0,
    max_area: Annotated[float | None, typer.Option(help="[m2]")] = None,
    min_height: Annotated[float | None, typer.Option(help="[m]")] = None,
    max_height: Annotated[float | None, typer.Option(help="[m]")] = None,
    exclude: Annotated[
        list[Path] | None, typer.Option(help="Layer of zones; repeat.")
    ] = None,
    distance: Annotated[float, typer.Option(help="To keep from zones. [m]")] = 0.0,
    layer: Layer = None,
    crs: Crs = None,
    attributes: Annotated[
        Path | None,
        typer.Option(help="Table by building, or layer of points, with more columns."),
    ] = None,
    attributes_id: Annotated[
        str | None,
        typer.Option(
            help="Column of that table with the building. Default: building_id."
        ),
    ] = None,
    overwrite: Overwrite = False,  # noqa: FBT002
) -> None:
    """Read, repair, measure and filter footprints; write candidates and a map."""
    from gridsite.places import (
        Exclusion,
        merge_attributes,
        read_buildings,
        select_buildings,
    )
    from gridsite.report.input_figures import roofs_figure
    from gridsite.study.place_inputs import read_attributes

    if attributes_id is not None and attributes is None:
        msg = "--attributes-id needs --attributes"
        raise ConfigError(msg)
    if distance and not exclude:
        msg = "--distance needs --exclude"
        raise ConfigError(msg)
    picture = _free(out, (".parquet", ".gpkg", ".geojson"), overwrite=overwrite)
    buildings = read_buildings(
        _placed(source, layer, crs),
        layer=layer,
        id_column=id_column,
        use_column=use_column,
        min_area_m2=min_area,
    )
    if attributes is not None:
        given = read_attributes(attributes)
        key = attributes_id or "building_id"
        buildings = merge_attributes(buildings, given, id_column=key)
    kept = select_buildings(
        buildings,
        uses=use,
        max_area_m2=max_area,
        min_height_m=min_height,
        max_height_m=max_height,
        exclusions=[
            Exclusion(source=zone, name=zone.stem, distance_m=distance)
            for zone in exclude or []
        ],
    )
    reasons = [row["reason"] for row in kept.attrs.pop("left_out")]
    rows = {"format": buildings.attrs["format"] or "not known", **kept.attrs["report"]}
    rows["roof area [m2]"] = f"{kept['roof_area_m2'].sum():,.0f}"
    _show(f"{source}", rows | _counted(reasons))
    left = buildings[~buildings["building_id"].isin(kept["building_id"])]
    kept.attrs.clear()
    _write(kept, out)
    roofs_figure(kept, left).savefig(picture)
    _say(out, picture)


def meters(
    source: Source,
    out: Annotated[Path, typer.Option(help=".parquet: wide, in kW.")],
    unit: Annotated[
        str | None, typer.Option(help="kW or kWh, where columns do not say.")
    ] = None,
    zone: Annotated[
        str | None, typer.Option(help="Of stamps without one, as Europe/Berlin.")
    ] = None,
    stamp: Annotated[str, typer.Option(help="start or end of the interval.")] = "start",
    time_format: Annotated[
        str | None, typer.Option(help="As %d.%m.%Y %H:%M; ISO 8601 without it.")
    ] = None,
    min_share: Annotated[float, typer.Option(help="Of readings. [-]")] = 0.9,
    overwrite: Overwrite = False,  # noqa: FBT002
) -> None:
    """Read meters, name their faults, fill their gaps; write loads and a picture."""
    from gridsite.feeder.meter_options import MeterOptions
    from gridsite.feeder.meters import read_meters
    from gridsite.report.input_figures import meters_figure

    picture = _free(out, (".parquet",), overwrite=overwrite)
    options = MeterOptions(
        unit=unit,
        zone=zone,
        stamp=stamp,
        time_format=time_format,
        min_share=min_share,
        fill="week",
    )
    check_files({"": source})
    found = read_meters(source, options)
    step = (found.kw.index[1] - found.kw.index[0]).total_seconds() / 60.0
    rows: dict[str, Any] = {
        "meters": found.kw.shape[1],
        "steps": f"{len(found.kw):,} of {step:g} min",
        "from": str(found.kw.index[0]),
        "energy [kWh]": f"{found.kw.to_numpy().sum() * step / 60.0:,.0f}",
        "values filled": f"{int(found.filled.to_numpy().sum()):,}",
    }
    for check, group in found.findings.groupby("check"):
        rows[str(check)] = f"{group['count'].sum():,} at {len(group):,} meter(s)"
    _show(f"{source}", rows)
    found.kw.rename_axis("time").reset_index().to_parquet(out, index=False)
    listed = out.with_name(f"{out.stem}_findings.parquet")
    found.findings.to_parquet(listed, index=False)
    meters_figure(found.kw, found.filled).savefig(picture)
    _say(out, listed, picture)


def demand(
    out: Annotated[Path, typer.Option(help=".parquet, .gpkg or .geojson.")],
    source: Annotated[
        Path | None, typer.Argument(help="Points, polygons or a grid of people.")
    ] = None,
    near: Annotated[
        str | None,
        typer.Option(help="LONGITUDE,LATITUDE,KM: places of GeoNames instead."),
    ] = None,
    users_column: Annotated[str | None, typer.Option(help="Number of users.")] = None,
    users_per_point: Annotated[float | None, typer.Option(help="[-]")] = None,
    share: Annotated[float, typer.Option(help="Users per person. [-]")] = 1.0,
    it_kw_per_user: Annotated[
        float, typer.Option(help="Computing power of a user. [kW]")
    ] = 0.0,
    hidden: Annotated[
        list[float] | None, typer.Option(help="Code of a grid; repeat.")
    ] = None,
    cell: Annotated[str, typer.Option(help="h3 or square.")] = "h3",
    resolution: Annotated[int, typer.Option(help="Of h3.")] = 9,
    size_m: Annotated[float, typer.Option(help="Of squares. [m]")] = 250.0,
    layer: Layer = None,
    crs: Crs = None,
    overwrite: Overwrite = False,  # noqa: FBT002
) -> None:
    """Gather users into zones; write zones and a map."""
    import pandas as pd

    from gridsite.places import near_places, read_demand
    from gridsite.report.input_figures import demand_figure

    picture = _free(out, (".parquet", ".gpkg", ".geojson"), overwrite=overwrite)
    if (source is None) == (near is None):
        msg = "give either a file or --near LONGITUDE,LATITUDE,KM"
        raise ConfigError(msg)
    for option, value in (
        ("--users-per-point", users_per_point),
        ("--it-kw-per-user", it_kw_per_user),
    ):
        if value is not None and not 0.0 <= value < float("inf"):
            msg = f"{option} {value:g}: give a number of at least 0"
            raise ConfigError(msg)
    if source is None and (layer or crs):
        msg = "--near takes no --layer and no --crs"
        raise ConfigError(msg)
    if source is not None:
        given: Any = _placed(source, layer, crs)
    else:
        given = near_places(**_near(str(near)))
    work = pd.DataFrame({"workload": ["all"], "it_kw_per_user": [it_kw_per_user]})
    found = read_demand(
        given,
        workloads=work,
        users_column=users_column,
        users_per_point=users_per_point,
        share=share,
        hidden=hidden or [],
        layer=layer,
        cell=cell,
        resolution=resolution,
        size_m=size_m,
    )
    zones = found.zones.assign(it_kw=found.demand["demand_it_kw"].to_numpy())
    rows: dict[str, Any] = {
        "zones": f"{len(zones):,}",
        "users": f"{zones['users'].sum():,.0f}",
        "computing power [kW]": f"{zones['it_kw'].sum():,.1f}",
    }
    note = "" if near is None else "inhabitants by GeoNames (CC BY 4.0)"
    if note:
        rows["source"], told = note, given.attrs["report"]
        rows["quarters of cities"] = (
            f"{told['quarters']:,} of {told['places']:,} places, "
            f"{told['quarter_users']:,.0f} people (estimate)"
        )
    _show(str(source or near), rows)
    _write(zones, out)
    demand_figure(zones, column="users", unit="users", note=note).savefig(picture)
    _say(out, picture)


def _placed(source: Path, layer: str | None, crs: str | None) -> Any:  # noqa: ANN401
    """Return a file as it is, or its layer in the reference system that is given."""
    from pyproj.exceptions import CRSError as UnknownCRS

    from gridsite.places.layers import read_layer

    if crs is None:
        return source
    table = read_layer(source, layer=layer)
    if table.crs is not None:
        msg = f"{source} is in {table.crs.name!r}: leave out --crs"
        raise ConfigError(msg)
    try:
        return table.set_crs(crs)
    except UnknownCRS as error:
        msg = f"--crs {crs!r} is no reference system; give one as EPSG:25832"
        raise ConfigError(msg) from error


def _near(text: str) -> dict[str, Any]:
    try:
        longitude, latitude, radius_km = (float(part) for part in text.split(","))
    except ValueError as error:
        msg = f"--near {text!r}: give LONGITUDE,LATITUDE,KM, as 7.88,48.45,20"
        raise ConfigError(msg) from error
    return {"longitude": longitude, "latitude": latitude, "radius_km": radius_km}


def _free(out: Path, kinds: tuple[str, ...], *, overwrite: bool) -> Path:
    """Return the path of the picture; files that stand there are kept by default."""
    if out.suffix.lower() not in kinds:
        msg = f"--out {out}: the name must end in {', '.join(kinds)}"
        raise ConfigError(msg)
    picture = out.with_suffix(".png")
    for path in (out, picture):
        if path.exists() and not overwrite:
            msg = f"{path} exists; name another file or give --overwrite"
            raise ConfigError(msg)
    check_targets({"--out": out, "picture": picture})
    return picture


def _write(table: gpd.GeoDataFrame, out: Path) -> None:
    if out.suffix.lower() == ".parquet":
        table.to_parquet(out, index=False)
        return
    out.unlink(missing_ok=True)  # a GeoPackage would keep its old layers
    table.to_file(out)


def _counted(reasons: list[str]) -> dict[str, int]:
    """Return how often each reason stands, without the value of each building."""
    kinds = (re.sub(r" \S+ is outside", " outside", reason) for reason in reasons)
    return dict(Counter(f"left out: {kind}" for kind in kinds).most_common(8))


def _show(title: str, rows: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from gridsite.report.tables import plain_text

    table = Table("", "", title=plain_text(title), show_header=False)
    for name, value in rows.items():
        table.add_row(plain_text(name), plain_text(value))
    Console().print(table)


def _say(*paths: Path) -> None:
    from rich.console import Console

    for path in paths:
        Console().print(f"written: {path}", soft_wrap=True, markup=False)
