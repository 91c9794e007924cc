"""
The tables of one run, and the folder they are written to and read from.

A folder is filled beside its final place and renamed at the end: an output
folder that exists is complete.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, field, fields
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gridsite.errors import ConfigError, CRSError, DataError
from gridsite.report.findings_page import write_findings_page
from gridsite.report.geopackage import write_geopackage
from gridsite.report.map import siting_map
from gridsite.report.page import generated_note
from gridsite.schemas import SCHEMA_VERSION, SCHEMAS, check_table

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

_WGS84 = "EPSG:4326"
_GEO_TABLES = ("buildings", "elements", "zones")
_WRITER = "gridsite"


@dataclass(frozen=True, kw_only=True, eq=False)
class Results:
    """
    The tables of one run, checked against their contracts.

    Optional tables are None for a run that only rated hosting capacity.
    Geometry is in longitude and latitude (EPSG:4326); a row without
    coordinates has no geometry. Indices carry no meaning and are dropped.

    Parameters
    ----------
    buildings, elements : geopandas.GeoDataFrame
        Buildings; lines and transformers. Without any coordinates, tables
        whose ``geometry`` is None throughout are taken too.
    connections, hosting : pandas.DataFrame
        Connections of the buildings and their hosting capacity.
    units, workloads, demand, sites, site_options : pandas.DataFrame, optional
        What the siting problem was built from.
    zones : geopandas.GeoDataFrame, optional
        Demand zones.
    plan, assignment, comparison, violations : pandas.DataFrame, optional
        What the siting found, and what the replay of the plan returned.
    rows, costs : pandas.DataFrame, optional
        Grid limits the siting kept; cost terms (no contract).
    timeline, works : pandas.DataFrame, optional
        What stands and what is served in each period; works on the grid, and the
        period from which each stands (no contract).
    left_out : pandas.DataFrame, optional
        Buildings without a part in the run, with the reason (no contract).
    reasons : pandas.DataFrame, optional
        Why each building hosts units in the plan, or none (no contract).
    findings, profile_findings : pandas.DataFrame, optional
        What was found in the feeder and in meter readings (no contract).
    joint, joint_splits : pandas.DataFrame, optional
        What connections can draw together, by feeder and by connection (no
        contract).
    shared_assets, shared_units, shared_kw : pandas.DataFrame, optional
        Which buildings share the limits that bind; flexible units that share the
        headroom, and what each draws at every step (no contract).
    summary : dict
        Content of ``summary.json``.
    manifest : dict
        Content of ``manifest.json``: what is needed to repeat the run.
    files : dict of str to pathlib.Path
        Further files, too large for a table here, that `write_results` moves
        into the folder under these names.

    Raises
    ------
    SchemaError
        If a table does not keep its contract.
    CRSError
        If a geometry is not in longitude and latitude.
    """

    buildings: gpd.GeoDataFrame
    connections: pd.DataFrame
    hosting: pd.DataFrame
    elements: gpd.GeoDataFrame
    units: pd.DataFrame | None = None
    workloads: pd.DataFrame | None = None
    zones: gpd.GeoDataFrame | None = None
    demand: pd.DataFrame | None = None
    sites: pd.DataFrame | None = None
    site_options: pd.DataFrame | None = None
    plan: pd.DataFrame | None = None
    assignment: pd.DataFrame | None = None
    comparison: pd.DataFrame | None = None
    violations: pd.DataFrame | None = None
    rows: pd.DataFrame | None = None
    costs: pd.DataFrame | None = None
    timeline: pd.DataFrame | None = None
    works: pd.DataFrame | None = None
    left_out: pd.DataFrame | None = None
    reasons: pd.DataFrame | None = None
    findings: pd.DataFrame | None = None
    profile_findings: pd.DataFrame | None = None
    joint: pd.DataFrame | None = None
    joint_splits: pd.DataFrame | None = None
    shared_assets: pd.DataFrame | None = None
    shared_units: pd.DataFrame | None = None
    shared_kw: pd.DataFrame | None = None
    summary: dict[str, Any] = field(default_factory=dict)
    manifest: dict[str, Any] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check every table; hold them in their contract's types."""
        for name, table in self.tables().items():
            checked = _check_geometry(name, table) if name in _GEO_TABLES else table
            if name in SCHEMAS and name not in _GEO_TABLES:
                checked = check_table(name, table)
            object.__setattr__(self, name, checked.reset_index(drop=True))

    def tables(self) -> dict[str, pd.DataFrame]:
        """
        Return the tables that this run has.

        Returns
        -------
        dict of str to pandas.DataFrame
            Tables by name, in the order of the fields.
        """
        named = {f.name: getattr(self, f.name) for f in fields(self)}
        return {k: t for k, t in named.items() if isinstance(t, pd.DataFrame)}


def _check_geometry(name: str, table: pd.DataFrame) -> gpd.GeoDataFrame:
    """Return a geo table in EPSG:4326 whose other columns keep the contract."""
    if "geometry" not in table.columns:
        msg = f"table {name!r} has no column 'geometry'; give None where unknown"
        raise DataError(msg)
    checked = check_table(name, pd.DataFrame(table).assign(geometry=""))
    shapes = table["geometry"]
    if not isinstance(table, gpd.GeoDataFrame) or table.crs is None:
        if shapes.notna().any():
            msg = f"table {name!r} has geometry without a CRS; use set_crs, then to_crs"
            raise CRSError(msg)
        shapes = gpd.GeoSeries([None] * len(table), index=table.index, crs=_WGS84)
    if shapes.crs != _WGS84:
        msg = f"table {name!r} is in {shapes.crs.name!r}; use to_crs(4326)"
        raise CRSError(msg)
    west, south, east, north = shapes.total_bounds
    if west < -180.0 or east > 180.0 or south < -90.0 or north > 90.0:
        msg = (
            f"table {name!r}: coordinates {west:.6g}..{east:.6g}, "
            f"{south:.6g}..{north:.6g} are not degrees; set the CRS they are in"
        )
        raise CRSError(msg)
    located = shapes.where(~shapes.is_empty).array
    return gpd.GeoDataFrame(checked.assign(geometry=located), crs=_WGS84)


def check_folder(folder: str | PathLike[str], *, overwrite: bool = False) -> Path:
    """
    Return the path of an output folder that may be written.

    Call it before a long computation, so that the refusal comes first.

    Parameters
    ----------
    folder : path
        Folder to be made.
    overwrite : bool, default False
        Whether a folder that gridsite wrote may be replaced.

    Returns
    -------
    pathlib.Path
        The absolute path.

    Raises
    ------
    ConfigError
        If the folder exists and gridsite did not write it, or may not be
        replaced.
    """
    path = Path(folder).absolute()
    try:
        exists = path.exists() or path.is_symlink()
        above = next(p for p in path.parents if p.exists())
    except OSError as error:
        msg = f"output folder {path} cannot be made ({error.strerror}); name another"
        raise ConfigError(msg) from error
    if not above.is_dir() or not os.access(above, os.W_OK):
        msg = f"output folder {path}: {above} is no folder to write in; name another"
        raise ConfigError(msg)
    if not exists:
        return path
    if _manifest(path) is None:
        msg = f"{path} exists and was not written by gridsite; name another folder"
        raise ConfigError(msg)
    if not overwrite:
        msg = f"{path} holds an earlier run; allow overwriting or name another folder"
        raise ConfigError(msg)
    return path


def write_results(
    results: Results, folder: str | PathLike[str], *, overwrite: bool = False
) -> Path:
    """
    Write the tables, the map and the GIS file of a run into a new folder.

    Parameters
    ----------
    results : Results
        Tables of the run.
    folder : path
        Folder to be made; its parents are made too.
    overwrite : bool, default False
        Whether a folder that gridsite wrote is replaced, with all it holds.

    Returns
    -------
    pathlib.Path
        The absolute path of the folder.

    Raises
    ------
    ConfigError
        If the folder may not be written, see ``check_folder``.
    DataError
        If a table cannot be written, with the table and the reason.

    See Also
    --------
    read_results : Reads the folder.

    Notes
    -----
    Files: ``<table>.parquet`` (GeoParquet where there is geometry, with
    ``schema_version`` in the metadata), ``siting.gpkg``, ``map.html``,
    ``checks.html`` where there are findings on the inputs,
    ``summary.json`` and ``manifest.json``.
    """
    path = check_folder(folder, overwrite=overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as scratch:
        fresh, old = Path(scratch, "new"), Path(scratch, "old")
        fresh.mkdir()
        _write_files(results, fresh)
        if path.exists():
            path.rename(old)
        try:
            fresh.rename(path)
        except OSError:
            if old.exists():
                old.rename(path)
            raise
    return path


def read_results(folder: str | PathLike[str]) -> Results:
    """
    Read the tables of a run from its output folder.

    Parameters
    ----------
    folder : path
        Folder that ``write_results`` wrote.

    Returns
    -------
    Results
        The tables, checked again.

    Raises
    ------
    ConfigError
        If the folder was not written by gridsite, or by a version with other
        table contracts.
    DataError
        If a table or the summary is missing or cannot be read.
    """
    path = Path(folder).absolute()
    manifest = _manifest(path)
    if manifest is None:
        msg = f"{path} is not an output folder of gridsite: no manifest.json of it"
        raise ConfigError(msg)
    version = manifest.get("schema_version")
    if version != SCHEMA_VERSION:
        msg = (
            f"{path} has tables of version {version!r}, this gridsite reads "
            f"{SCHEMA_VERSION!r}; run the study again"
        )
        raise ConfigError(msg)
    try:
        summary = json.loads((path / "summary.json").read_text(encoding="utf-8"))
        names = manifest["tables"]
        tables: dict[str, Any] = {name: _read_table(path, name) for name in names}
        return Results(**tables, summary=summary, manifest=manifest)
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        msg = f"{path} is incomplete or damaged ({error}); run the study again"
        raise DataError(msg) from error


def _manifest(path: Path) -> dict[str, Any] | None:
    """Return the manifest of a folder that gridsite wrote, else None."""
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    ours = isinstance(manifest, dict) and manifest.get("written_by") == _WRITER
    return manifest if ours else None


def _write_files(results: Results, folder: Path) -> None:
    """Write every file of a run into an empty folder."""
    tables = results.tables()
    for name, table in tables.items():
        _write_table(table, folder / f"{name}.parquet", generated_note(results.summary))
    write_geopackage(results, folder / "siting.gpkg")
    siting_map(results, folder / "map.html")
    if results.findings is not None:
        title = str(results.summary.get("study") or "gridsite")
        write_findings_page(results.findings, folder / "checks.html", title=title)
    for name, path in results.files.items():
        shutil.move(path, folder / name)
    own = {
        "written_by": _WRITER,
        "schema_version": SCHEMA_VERSION,
        "tables": {name: len(table) for name, table in tables.items()},
    }
    _write_json(results.summary, folder / "summary.json")
    _write_json({**results.manifest, **own}, folder / "manifest.json")


def _write_table(table: pd.DataFrame, path: Path, note: str = "") -> None:
    """Write a table as Parquet: contract's version and generated data in metadata."""
    buffer = BytesIO()
    try:
        table.to_parquet(buffer, index=False)
    except (pa.ArrowException, TypeError, ValueError) as error:
        msg = f"table {path.stem!r} cannot be written as Parquet: {error}"
        raise DataError(msg) from error
    arrow = pq.read_table(buffer)
    metadata = {**arrow.schema.metadata, b"schema_version": SCHEMA_VERSION.encode()}
    if note:
        metadata[b"generated"] = note.encode()
    pq.write_table(arrow.replace_schema_metadata(metadata), path)


def _read_table(folder: Path, name: str) -> pd.DataFrame:
    """Read one table; GeoParquet becomes a GeoDataFrame."""
    path = folder / f"{name}.parquet"
    read = (
        gpd.read_parquet
        if b"geo" in pq.read_metadata(path).metadata
        else pd.read_parquet
    )
    table: pd.DataFrame = read(path)
    return table


def _write_json(content: Mapping[str, Any], path: Path) -> None:
    """Write a file of JSON; numbers that are not finite become null."""
    try:
        loose = json.dumps(content, default=_plain)
    except (TypeError, ValueError) as error:
        msg = f"{path.name} cannot be written as JSON: {error}"
        raise DataError(msg) from error
    strict = json.loads(loose, parse_constant=lambda _: None)
    text = json.dumps(strict, indent=2, allow_nan=False, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:  # noqa: ANN401
    """Return what JSON can hold of a value that it does not know."""
    if isinstance(value, np.generic):
        return value.item()
    if value is pd.NaT or value is pd.NA:
        return None
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    msg = f"{value!r} is of type {type(value).__name__}"
    raise TypeError(msg)
