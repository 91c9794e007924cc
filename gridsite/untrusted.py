"""Limits for files from elsewhere, and texts of theirs that are safe to show."""

from __future__ import annotations

import gzip
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from gridsite.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Largest file that is read whole, and largest sum of an archive's contents. [byte]
FILE_BYTES, ARCHIVE_BYTES = 512 * 2**20, 256 * 2**20

#: Most files in an archive.
ARCHIVE_FILES = 1000

#: Most rows and most cells of a table that is read whole.
TABLE_ROWS, TABLE_CELLS = 5_000_000, 500_000_000

#: Largest table in text, unpacked, and largest columns of a Parquet file. [byte]
TABLE_BYTES = 4 * FILE_BYTES

_MIB = 2**20

#: Endings that pandas would unpack without a limit.
_PACKED = {".bz2", ".zip", ".xz", ".zst", ".tar", ".tgz"}


def check_size(path: Path, most: int = FILE_BYTES) -> None:
    """
    Refuse a file that is too large to be read whole.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    most : int
        Largest size. [byte]

    Raises
    ------
    DataError
        If it is larger.
    """
    size = path.stat().st_size
    if size > most:
        msg = (
            f"{path}: {size / _MIB:.0f} MiB, at most {most / _MIB:.0f} are read; "
            "give the part that matters"
        )
        raise DataError(msg)


def check_archive(path: Path, most: int = ARCHIVE_BYTES) -> list[str]:
    """
    Refuse an archive that would unpack to too much, or beside its folder.

    Parameters
    ----------
    path : pathlib.Path
        A ZIP archive; Excel workbooks are such.
    most : int
        Largest sum of what it holds. [byte]

    Returns
    -------
    list of str
        Names of the files in it.

    Raises
    ------
    DataError
        If it is no archive, too large, encrypted, or names a path outside.
    """
    check_size(path)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        msg = f"{path}: no archive that can be opened ({error}); pack it again"
        raise DataError(msg) from error
    size = sum(entry.file_size for entry in entries)
    if len(entries) > ARCHIVE_FILES or size > most:
        msg = (
            f"{path}: unpacks to {len(entries)} files with {size / _MIB:.0f} MiB, at "
            f"most {ARCHIVE_FILES} with {most / _MIB:.0f} are read; give the part that "
            "matters"
        )
        raise DataError(msg)
    for entry in entries:
        name = entry.filename.replace("\\", "/")
        outside = name.startswith("/") or ":" in name or ".." in name.split("/")
        if outside or stat.S_ISLNK(entry.external_attr >> 16) or entry.flag_bits & 1:
            msg = (
                f"{path}: {printable(entry.filename)!r} is a link, encrypted or leads "
                "out of the archive; pack plain files again"
            )
            raise DataError(msg)
    return [str(PurePosixPath(entry.filename)) for entry in entries]


def check_csv(path: Path) -> None:
    """
    Refuse a table in text, plain or ``.gz``, that is too large once unpacked.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Raises
    ------
    DataError
        If it is larger, no gzip file in spite of its name, packed otherwise, or has
        columns apart by semicolons or tabs.
    """
    most = TABLE_BYTES
    check_size(path, most)
    suffix = path.suffix.lower()
    if suffix in _PACKED:
        msg = f"{path}: tables packed as {suffix} are not read; unpack it or use .gz"
        raise DataError(msg)
    if suffix != ".gz":
        with path.open("rb") as file:
            _check_commas(path, file.readline(_MIB))
        return
    size = 0
    try:
        with gzip.open(path) as file:
            _check_commas(path, file.readline(_MIB))
            while size <= most and (part := file.read(_MIB)):
                size += len(part)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        msg = f"{path}: cannot be unpacked ({error}); pack it again"
        raise DataError(msg) from error
    if size > most:
        msg = (
            f"{path}: unpacks to more than {most / _MIB:.0f} MiB; give the part that "
            "matters"
        )
        raise DataError(msg)


def parquet_rows(path: Path) -> int:
    """
    Return the number of rows of a Parquet file that is not too large unpacked.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Returns
    -------
    int
        Rows, as its own footer says.

    Raises
    ------
    DataError
        If its footer says that its columns unpack to more than ``TABLE_BYTES``.
    """
    meta = parquet.read_metadata(path)
    size = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
    if size > TABLE_BYTES:
        msg = (
            f"{path}: columns of {size / _MIB:.0f} MiB, at most "
            f"{TABLE_BYTES / _MIB:.0f} are read; split the file"
        )
        raise DataError(msg)
    return int(meta.num_rows)


def _check_commas(path: Path, head: bytes) -> None:
    for mark, words in {b";": "semicolons", b"\t": "tabs"}.items():
        if mark in head and b"," not in head:
            msg = (
                f"{path}: columns are apart by {words}; save it with commas between "
                "columns and points in decimals"
            )
            raise DataError(msg)


def read_table(
    path: Path, *, text: bool | Iterable[str] = False, keep_empty: bool = False
) -> pd.DataFrame:
    """
    Read a CSV or Parquet table whose size is checked before it is loaded.

    Parameters
    ----------
    path : pathlib.Path
        The file; what is not ``.parquet`` is read as CSV in UTF-8.
    text : bool or iterable of str, default False
        Whether cells of a CSV file stay text, or those columns that are named.
    keep_empty : bool, default False
        Whether an empty cell of a CSV file is an empty text, not a missing value.

    Returns
    -------
    pandas.DataFrame
        The table as filed.

    Raises
    ------
    DataError
        If it cannot be read or has too many rows or cells.
    """
    try:
        if path.suffix.lower() == ".parquet":
            columns = parquet.read_metadata(path).num_columns
            _check_cells(path, parquet_rows(path), columns)
            return pd.read_parquet(path)
        check_csv(path)
        dtype: Any = str
        if not isinstance(text, bool):
            dtype = dict.fromkeys(text, str)
        table = pd.read_csv(
            path,
            dtype=dtype if text else None,
            nrows=TABLE_ROWS + 1,
            encoding="utf-8-sig",
            keep_default_na=not keep_empty,
        )
    except DataError:
        raise
    except (ValueError, OSError, pa.ArrowException) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        msg = f"{path}: cannot be read as CSV or Parquet: {reason}"
        raise DataError(msg) from error
    _check_cells(path, len(table), table.shape[1])
    return table


def _check_cells(path: Path, rows: int, columns: int) -> None:
    if rows > TABLE_ROWS or rows * max(columns, 1) > TABLE_CELLS:
        msg = (
            f"{path}: {rows} rows of {columns} columns, at most {TABLE_ROWS} rows and "
            f"{TABLE_CELLS} cells are read; split the file"
        )
        raise DataError(msg)


def printable(text: object) -> str:
    """
    Return a text without control characters, for a terminal or a message.

    Parameters
    ----------
    text : object
        Anything that has a text.

    Returns
    -------
    str
        The text; what cannot be printed is shown as U+FFFD. Line breaks stay.

    Examples
    --------
    >>> printable("a" + chr(27) + "[2J")
    'a\ufffd[2J'
    """
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in str(text))


def csv_safe(table: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """
    Return a table whose texts no spreadsheet takes for formulas.

    Parameters
    ----------
    table : pandas.DataFrame
        The table.
    columns : iterable of str
        Columns of text.

    Returns
    -------
    pandas.DataFrame
        A copy: texts that begin with ``=``, ``+``, ``-``, ``@``, a tab or a line
        break have an apostrophe in front.
    """
    safe = table.copy()
    for column in columns:
        cells = safe[column].astype(object)
        risky = cells.map(lambda cell: isinstance(cell, str) and cell[:1] in _FORMULA)
        safe[column] = cells.where(~risky.astype(bool), "'" + cells.astype(str))
    return safe


_FORMULA = tuple("=+-@\t\r\n")
