"""Files from elsewhere: sizes, archives, workbooks, texts."""

import gzip
import json
import warnings
import zipfile

import numpy as np
import pandapower as pp
import pandas as pd
import pyarrow as pa
import pytest
from pandapower import networks
from pandapower.control import ConstControl, DiscreteTapControl
from pandapower.timeseries import DFData
from pyarrow import parquet

from gridsite import cli, untrusted
from gridsite.errors import DataError, FeederError
from gridsite.feeder.load_growth import read_committed
from gridsite.feeder.meters import read_meters
from gridsite.feeder.net_sources import load_net
from gridsite.feeder.pandapower_json import check_text
from gridsite.feeder.profile_files import read_wide
from gridsite.hosting import ica
from gridsite.places.layers import read_layer
from gridsite.report.tables import findings_table
from gridsite.untrusted import (
    check_archive,
    check_size,
    csv_safe,
    printable,
    read_table,
)


@pytest.fixture
def bomb(tmp_path):
    """Return an archive that unpacks to 300 MiB."""
    path = tmp_path / "net.xlsx"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as out,
    ):
        block = bytes(2**20)
        for _ in range(300):
            out.write(block)
    return path


def test_an_archive_that_unpacks_to_too_much_is_refused_unread(bomb):
    assert bomb.stat().st_size < 2**20
    with pytest.raises(DataError, match="unpacks to 1 files with 300 MiB"):
        load_net(bomb)


@pytest.mark.parametrize(
    "name", ["../up.xml", "/etc/up.xml", "a/../../up.xml", "C:\\up.xml", "..\\up.xml"]
)
def test_an_archive_with_paths_outside_is_refused(tmp_path, name):
    path = tmp_path / "net.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, "<x/>")
    with pytest.raises(DataError, match="leads out of the archive"):
        check_archive(path)


def test_an_archive_with_a_link_or_too_many_files_is_refused(tmp_path):
    path = tmp_path / "net.zip"
    link = zipfile.ZipInfo("link.xml")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(DataError, match="is a link"):
        check_archive(path)
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(untrusted.ARCHIVE_FILES + 1):
            archive.writestr(f"{number}.xml", "")
    with pytest.raises(DataError, match="unpacks to 1001 files"):
        check_archive(path)
    path.write_bytes(b"PK\3\4 no more")
    with pytest.raises(DataError, match="no archive that can be opened"):
        check_archive(path)


def test_archives_of_layers_are_checked_too(tmp_path):
    path = tmp_path / "roofs.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../roofs.shp", b"")
    with pytest.raises(DataError, match="leads out of the archive"):
        read_layer(path)


def test_a_file_too_large_is_refused_before_it_is_opened(tmp_path):
    path = tmp_path / "net.json"
    with path.open("wb") as file:
        file.truncate(untrusted.FILE_BYTES + 1)  # sparse: takes no room
    with pytest.raises(DataError, match=r"net\.json: 512 MiB, at most 512"):
        load_net(path)
    check_size(path, untrusted.FILE_BYTES + 1)


@pytest.fixture
def small_limit(monkeypatch):
    monkeypatch.setattr(untrusted, "TABLE_BYTES", 2**20)


@pytest.mark.usefixtures("small_limit")
@pytest.mark.parametrize(
    "read", [read_table, read_layer, read_wide, read_meters, read_committed]
)
def test_a_packed_table_that_unpacks_to_too_much_is_refused_unread(
    tmp_path, monkeypatch, read
):
    path = tmp_path / "loads.csv.gz"
    with gzip.open(path, "wb") as file:  # one line: a limit of rows does not help
        file.write(b"time,meter,kwh\n" + b"9" * (3 * 2**20))
    assert path.stat().st_size < 2**14

    def never(*_, **__):
        pytest.fail("the table was read before its size was known")

    monkeypatch.setattr(pd, "read_csv", never)
    with pytest.raises(DataError, match="unpacks to more than 1 MiB"):
        read(path)


@pytest.mark.usefixtures("small_limit")
@pytest.mark.parametrize("read", [read_table, read_wide, read_meters])
def test_a_parquet_table_of_large_columns_is_refused_unread(tmp_path, read):
    path = tmp_path / "loads.parquet"
    parquet.write_table(pa.table({"time": ["9" * (3 * 2**20)]}), path)
    assert path.stat().st_size < 2**20
    with pytest.raises(DataError, match="columns of 3 MiB"):
        read(path)


@pytest.mark.parametrize(
    ("suffix", "word"), [(".csv.bz2", "not read"), (".csv.gz", "unpacked")]
)
def test_tables_packed_otherwise_or_cut_off_are_refused(tmp_path, suffix, word):
    path = tmp_path / f"loads{suffix}"
    raw = gzip.compress(b"time,kw\n" + bytes(range(256)) * 40)
    path.write_bytes(raw[:-20])
    with pytest.raises(DataError, match=word):
        read_table(path)


def test_a_packed_table_is_read(tmp_path):
    path = tmp_path / "loads.csv.gz"
    path.write_bytes(gzip.compress(b"port,p_kw\na,2\n"))
    assert read_table(path).to_dict("list") == {"port": ["a"], "p_kw": [2]}


def test_a_table_of_ten_million_rows_is_refused_unread(tmp_path):
    path = tmp_path / "demand.parquet"
    rows = 10_000_000
    column = pa.array(np.zeros(rows, dtype=np.int8))
    parquet.write_table(pa.table({"zone_id": column}), path, compression="zstd")
    assert path.stat().st_size < 2**20
    for reader in (read_table, read_committed):
        with pytest.raises(DataError, match="10000000 rows of 1 columns"):
            reader(path)


@pytest.mark.parametrize("raw", [b"\xff\xfe\x00", b"a,b\n1\n2,3,4,5\n", b""])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_that_is_none_is_a_data_error(tmp_path, raw, suffix):
    path = tmp_path / f"table{suffix}"
    path.write_bytes(raw)
    with pytest.raises(DataError, match="cannot be read as CSV or Parquet"):
        read_table(path)


@pytest.fixture
def controlled():
    """Return a network with a tap controller and a series."""
    net = networks.create_cigre_network_mv()
    net.trafo["tap_side"] = "hv"
    DiscreteTapControl(net, 0, 0.98, 1.02)
    series = DFData(pd.DataFrame({"a": [1.0, 2.0]}))
    ConstControl(net, "load", "p_mw", 0, profile_name="a", data_source=series)
    return net


@pytest.mark.parametrize("suffix", [".json", ".xlsx"])
def test_files_that_pandapower_writes_are_read(controlled, tmp_path, suffix):
    path = tmp_path / f"net{suffix}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        {".json": pp.to_json, ".xlsx": pp.to_excel}[suffix](controlled, str(path))
        net = load_net(path)
    kinds = net.controller["object"].map(lambda item: type(item).__name__)
    assert list(kinds) == ["DiscreteTapControl", "ConstControl"]
    pd.testing.assert_frame_equal(
        net.line[["length_km", "max_i_ka"]], controlled.line[["length_km", "max_i_ka"]]
    )


@pytest.mark.parametrize("escape", [False, True])
def test_a_workbook_never_builds_foreign_classes(
    controlled, tmp_path, monkeypatch, escape
):
    (tmp_path / "gridsite_mark.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w').close()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    item = json.dumps({"_module": "gridsite_mark", "_class": "A", "_object": "1"})
    if escape:
        item = item.replace("_module", "_modul\\u0065")
    path = tmp_path / "net.xlsx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pp.to_excel(controlled, str(path))
        sheets = pd.read_excel(path, sheet_name=None, index_col=0)
        sheets["controller"] = sheets["controller"].astype({"object": object})
        sheets["controller"].loc[0, "object"] = item
        with pd.ExcelWriter(path) as writer:
            for name, table in sheets.items():
                table.to_excel(writer, sheet_name=name)
        with pytest.raises(FeederError, match=r"gridsite_mark\.A; refused"):
            load_net(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("pandas", "read_pickle"),
        ("pandas.io.pickle", "read_pickle"),
        ("numpy", "load"),
        ("numpy", "fromfile"),
        ("numpy.f2py.__main__", "main"),
        ("pandapower", "from_pickle"),
        ("pandapower.file_io", "from_pickle"),
        ("pandapower.io_utils", "PPJSONDecoder"),
        ("pandapower.control", "function"),
        ("pandapower.control.basic_controller", "exec"),
        ("pandapower.control..os", "System"),
        ("networkx", "read_gpickle"),
        ("shapely", "from_wkb"),
        ("builtins", "exec"),
        ("os", "system"),
        ("", ""),
        (None, None),
        (["pandas"], "DataFrame"),
    ],
)
def test_only_named_classes_are_built(module, name):
    item = json.dumps({"_module": module, "_class": name, "_object": "1"})
    with pytest.raises(FeederError, match="refused"):
        check_text(item, "net.json")
    with pytest.raises(FeederError, match="refused"):
        check_text(json.dumps({"a": [{"_object": item}]}), "net.json")


def test_options_of_tables_and_double_keys_are_refused():
    table = {"_module": "pandas", "_class": "DataFrame", "_object": "{}"}
    check_text(json.dumps(table), "net.json")
    with pytest.raises(FeederError, match=r"options \['storage_options'\]"):
        check_text(json.dumps({**table, "storage_options": {}}), "net.json")
    twice = '{"_module": "os", "_module": "pandas", "_class": "DataFrame"}'
    with pytest.raises(FeederError, match="twice"):
        check_text(twice, "net.json")


def test_json_nested_beyond_reason_is_refused():
    with pytest.raises(FeederError, match="not a JSON file"):
        check_text("[" * 200_000, "net.json")


FORMULAS = ["=HYPERLINK(1)", "+1+1", "-2+3", "@SUM(1)", "\t=1", "\r=1"]


def test_texts_are_no_formulas_in_a_spreadsheet():
    table = pd.DataFrame({"port_id": [*FORMULAS, "house 1", None], "kw": range(8)})
    safe = csv_safe(table, ["port_id"])
    assert list(safe["port_id"][:6]) == [f"'{text}" for text in FORMULAS]
    assert safe["port_id"][6] == "house 1"
    assert safe["port_id"].isna()[7]
    assert list(safe["kw"]) == list(table["kw"])
    assert list(table["port_id"][:6]) == FORMULAS


def test_the_576_hour_table_holds_no_formulas(tmp_path, monkeypatch):
    table = pd.DataFrame({"building_id": ["=1+1"], "hour": [0], "kw": [-1.5]})
    monkeypatch.setattr(ica, "_tables", lambda *_: iter([table, table]))
    file = ica.write_ica(tmp_path / "ica.csv", None, None, None, analysis_date=None)
    assert file.read_text() == "building_id,hour,kw\n'=1+1,0,-1.5\n'=1+1,0,-1.5\n"


def test_control_characters_reach_no_terminal(monkeypatch, capsys):
    hostile = "bus \x1b[2J\x1b]8;;http://x\x07\u202e\x9b31m"
    assert printable(hostile).isprintable()

    def fails(**_):
        msg = f"{hostile}: bad\nnews"
        raise DataError(msg)

    monkeypatch.setattr(cli, "app", fails)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == DataError.exit_code
    shown = capsys.readouterr().err
    assert shown.rstrip("\n").isprintable()
    row = {"severity": "error", "element": hostile, "value": 1.0, "check": "x"}
    table = findings_table(pd.DataFrame([{**row, "message": hostile, "cure": "c"}]))
    cells = [str(cell) for column in table.columns for cell in column.cells]
    lines = [line for cell in cells for line in cell.split("\n")]
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize(("mark", "word"), [(";", "semicolons"), ("\t", "tabs")])
def test_columns_that_no_comma_sets_apart_are_named(tmp_path, mark, word):
    path = tmp_path / "t.csv"
    rows = [
        ["timestamp", "a"],
        ["2025-01-01T00:00Z", "1,5"],
        ["2025-01-01T01:00Z", "2"],
    ]
    path.write_text("\n".join(mark.join(row) for row in rows), encoding="utf-8")
    for read in (read_table, read_meters):
        with pytest.raises(DataError, match=word):
            read(path)
