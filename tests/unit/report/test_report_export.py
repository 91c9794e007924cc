import json
import sqlite3
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pyogrio
import pytest
from pandas.testing import assert_frame_equal
from shapely import Point

from gridsite.errors import ConfigError, CRSError, DataError, SchemaError
from gridsite.report import check_folder, export, read_results, write_results
from gridsite.schemas import SCHEMA_VERSION


@pytest.fixture(autouse=True)
def _map_stands_for_itself(monkeypatch):
    """Write an empty map: drawing it is slow and tested elsewhere."""
    monkeypatch.setattr(export, "siting_map", lambda _, path: path.write_text(""))


def assert_same_tables(one, other):
    assert one.tables().keys() == other.tables().keys()
    for name, table in one.tables().items():
        assert_frame_equal(table, other.tables()[name], obj=name)


@pytest.mark.parametrize("plan", [True, False])
@pytest.mark.parametrize("coordinates", [True, False])
def test_what_is_written_is_read_back(make_results, tmp_path, plan, coordinates):
    results = make_results(siting=plan, coordinates=coordinates)
    folder = write_results(results, tmp_path / "deep" / "out")
    again = read_results(folder)
    assert_same_tables(results, again)
    assert again.summary == results.summary
    assert again.manifest["seed"] == 7
    assert again.buildings.crs == "EPSG:4326"
    assert {"map.html", "summary.json", "manifest.json", "siting.gpkg"} <= {
        p.name for p in folder.iterdir()
    }


def test_writing_what_was_read_changes_nothing(make_results, tmp_path):
    first = write_results(make_results(), tmp_path / "one")
    second = write_results(read_results(first), tmp_path / "two")
    assert_same_tables(read_results(first), read_results(second))
    for name in ("manifest.json", "summary.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_every_parquet_file_names_the_version_of_its_contract(make_results, tmp_path):
    folder = write_results(make_results(), tmp_path / "out")
    files = list(folder.glob("*.parquet"))
    assert len(files) == 13
    for path in files:
        metadata = pq.read_metadata(path).metadata
        assert metadata[b"schema_version"] == SCHEMA_VERSION.encode()
    assert b"geo" in pq.read_metadata(folder / "zones.parquet").metadata


def test_every_table_names_what_is_generated(make_results, tmp_path):
    summary = make_results().summary | {"generated": ["roofs <b>", "users"]}
    folder = write_results(make_results(summary=summary), tmp_path / "out")
    note = "Generated data: roofs <b>; users"
    for path in folder.glob("*.parquet"):
        metadata = pq.read_metadata(path).metadata
        assert metadata[b"generated"].decode() == note
    info = pyogrio.read_info(folder / "siting.gpkg", layer="buildings")
    assert info["layer_metadata"]["generated"] == note
    real = write_results(
        make_results(summary=summary | {"generated": []}), tmp_path / "real"
    )
    assert b"generated" not in pq.read_metadata(real / "plan.parquet").metadata
    info = pyogrio.read_info(real / "siting.gpkg", layer="buildings")
    assert "generated" not in (info["layer_metadata"] or {})


def test_numbers_that_are_not_finite_become_null(make_results, tmp_path):
    odd = {
        "gap": float("nan"),
        "bound": -np.inf,
        "objective": np.float32("nan"),
        "units": np.int64(3),
        "when": pd.Timestamp("2020-01-01", tz="UTC"),
        "never": pd.NaT,
        "nested": {"list": [np.inf, 1.5]},
    }
    folder = write_results(make_results(summary=odd), tmp_path / "out")

    def refuse(constant):
        raise AssertionError(constant)

    text = (folder / "summary.json").read_text()
    summary = json.loads(text, parse_constant=refuse)
    assert summary["gap"] is None
    assert summary["bound"] is None
    assert summary["objective"] is None
    assert summary["units"] == 3
    assert summary["when"] == "2020-01-01T00:00:00+00:00"
    assert summary["never"] is None
    assert summary["nested"] == {"list": [None, 1.5]}


def test_a_summary_that_json_cannot_hold_is_refused(make_results, tmp_path):
    results = make_results(summary={"study": object()})
    with pytest.raises(DataError, match=r"summary\.json cannot be written"):
        write_results(results, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_failure_in_the_middle_leaves_no_folder(make_results, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("disk full")

    monkeypatch.setattr(export, "siting_map", fail)
    with pytest.raises(RuntimeError, match="disk full"):
        write_results(make_results(), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_failure_keeps_the_earlier_run(make_results, tmp_path, monkeypatch):
    folder = write_results(make_results(), tmp_path / "out")
    before = {p.name: p.read_bytes() for p in folder.iterdir()}

    def fail(*_):
        raise RuntimeError("disk full")

    monkeypatch.setattr(export, "write_geopackage", fail)
    with pytest.raises(RuntimeError, match="disk full"):
        write_results(make_results(siting=False), folder, overwrite=True)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert list(tmp_path.iterdir()) == [folder]


def test_a_failed_rename_brings_the_earlier_run_back(
    make_results, tmp_path, monkeypatch
):
    folder = write_results(make_results(), tmp_path / "out")
    rename = Path.rename

    def fail_for_new(self, target):
        if self.name == "new":
            raise OSError("no rename")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_for_new)
    with pytest.raises(OSError, match="no rename"):
        write_results(make_results(siting=False), folder, overwrite=True)
    monkeypatch.undo()
    assert read_results(folder).plan is not None
    assert list(tmp_path.iterdir()) == [folder]


def test_only_own_folders_are_replaced_and_only_on_request(make_results, tmp_path):
    folder = write_results(make_results(), tmp_path / "out")
    with pytest.raises(ConfigError, match="holds an earlier run"):
        write_results(make_results(), folder)
    write_results(make_results(siting=False), folder, overwrite=True)
    assert not (folder / "plan.parquet").exists()
    assert read_results(folder).plan is None


@pytest.mark.parametrize("kind", ["empty", "foreign", "file", "other manifest", "list"])
def test_folders_of_others_are_never_touched(make_results, tmp_path, kind):
    path = tmp_path / "out"
    if kind == "file":
        path.write_text("mine")
    else:
        path.mkdir()
        content = {"other manifest": '{"name": "web app"}', "list": "[1]"}.get(kind)
        if content:
            (path / "manifest.json").write_text(content)
        if kind == "foreign":
            (path / "thesis.tex").write_text("mine")
    before = sorted(str(p) for p in tmp_path.rglob("*"))
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match="was not written by gridsite"):
            write_results(make_results(), path, overwrite=overwrite)
        with pytest.raises(ConfigError):
            check_folder(path, overwrite=overwrite)
    assert sorted(str(p) for p in tmp_path.rglob("*")) == before


def test_a_folder_that_is_not_of_gridsite_is_not_read(tmp_path):
    with pytest.raises(ConfigError, match="not an output folder"):
        read_results(tmp_path)
    with pytest.raises(ConfigError, match="not an output folder"):
        read_results(tmp_path / "missing")


def test_tables_of_another_version_are_not_read(make_results, tmp_path):
    folder = write_results(make_results(), tmp_path / "out")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["schema_version"] = "0"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ConfigError, match="version '0'"):
        read_results(folder)


@pytest.mark.parametrize("harm", ["missing", "garbage", "no summary", "unknown table"])
def test_a_damaged_folder_is_named(make_results, tmp_path, harm):
    folder = write_results(make_results(), tmp_path / "out")
    if harm == "missing":
        (folder / "hosting.parquet").unlink()
    elif harm == "garbage":
        (folder / "hosting.parquet").write_bytes(b"PAR1 nonsense PAR1")
    elif harm == "no summary":
        (folder / "summary.json").unlink()
    else:
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["tables"]["../../secret"] = 1
        (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataError, match="incomplete or damaged"):
        read_results(folder)


def test_tables_that_break_their_contract_are_refused(make_results):
    good = make_results()
    with pytest.raises(SchemaError, match=r"'hosting'.*firm_kw"):
        make_results(hosting=good.hosting.assign(firm_kw=-1.0))
    with pytest.raises(SchemaError, match=r"'buildings'.*roof_area_m2"):
        make_results(buildings=good.buildings.drop(columns="roof_area_m2"))
    with pytest.raises(DataError, match="no column 'geometry'"):
        make_results(elements=pd.DataFrame(good.elements).drop(columns="geometry"))


def test_geometry_must_be_in_longitude_and_latitude(make_results):
    good = make_results()
    with pytest.raises(CRSError, match=r"to_crs\(4326\)"):
        make_results(buildings=good.buildings.to_crs(32632))
    with pytest.raises(CRSError, match="without a CRS"):
        make_results(zones=good.zones.set_crs(None, allow_override=True))
    metres = good.buildings.to_crs(32632).set_crs(4326, allow_override=True)
    with pytest.raises(CRSError, match="are not degrees"):
        make_results(buildings=metres)


def test_a_table_that_parquet_cannot_hold_is_named(make_results, tmp_path):
    mixed = make_results().hosting.assign(limit_time=[1, "a", None, 2.0])
    with pytest.raises(DataError, match="'hosting' cannot be written"):
        write_results(make_results(hosting=mixed), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_geopackage_has_all_layers(make_results, tmp_path):
    path = write_results(make_results(), tmp_path / "out") / "siting.gpkg"
    layers = dict(gpd.list_layers(path).itertuples(index=False))
    assert set(layers) == {
        "buildings",
        "lines",
        "transformers",
        "zones",
        "central",
        "assignment",
        "layer_styles",
    }
    roofs = gpd.read_file(path, layer="buildings").set_index("building_id")
    assert roofs["firm_kw"].iloc[0] == 25.0
    assert roofs.loc["B0", "count"] == 2
    assert roofs.loc["B1", "existing"] == 1
    assert roofs.loc["B3", "count"] == 0
    zones = gpd.read_file(path, layer="zones").set_index("zone_id")
    assert zones.loc["Z0", "real-time mean_ms"] == pytest.approx(9.0)
    assert np.isnan(zones.loc["Z1", "real-time worst_ms"])
    ways = gpd.read_file(path, layer="assignment")
    assert len(ways) == 4
    to_centre = ways[ways["site_id"] == "DC"].geometry
    ends = [Point(way.geoms[0].coords[-1]) for way in to_centre]
    assert all(end.equals_exact(Point(7.88, 52.0), 1e-9) for end in ends)


def test_the_geopackage_styles_can_be_parsed_and_cover_all_values(
    make_results, tmp_path
):
    path = write_results(make_results(), tmp_path / "out") / "siting.gpkg"
    with sqlite3.connect(path) as connection:
        query = "select f_table_name, f_geometry_column, styleQML from layer_styles"
        styles = connection.execute(query).fetchall()
        columns = dict(
            connection.execute(
                "select table_name, column_name from gpkg_geometry_columns"
            )
        )
    connection.close()
    assert [name for name, *_ in styles] == ["buildings", "lines", "transformers"]
    for name, geometry_column, qml in styles:
        assert columns[name] == geometry_column
        ranges = ET.fromstring(qml).findall(".//range")  # noqa: S314
        edges = [(float(r.get("lower")), float(r.get("upper"))) for r in ranges]
        assert edges[0][0] == 0.0
        assert all(a[1] == b[0] for a, b in pairwise(edges))
        symbols = {s.get("name") for s in ET.fromstring(qml).iter("symbol")}  # noqa: S314
        assert symbols == {r.get("symbol") for r in ranges}


def test_without_coordinates_only_the_styles_stand_in_the_geopackage(
    make_results, tmp_path
):
    results = make_results(siting=False, coordinates=False)
    path = write_results(results, tmp_path / "out") / "siting.gpkg"
    assert list(gpd.list_layers(path)["name"]) == ["layer_styles"]
