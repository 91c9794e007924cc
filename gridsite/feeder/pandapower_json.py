"""
Which objects a pandapower file may ask to be built.

Cells of pandapower files name a module and a class. Only tables, arrays, numbers,
shapes and pandapower's own controllers are on the list; all else is refused
before pandapower sees it.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from gridsite.errors import FeederError
from gridsite.untrusted import check_size, printable

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

#: Modules and classes that may be built, as patterns of the whole names.
ALLOWED = tuple(
    (re.compile(module), re.compile(name))
    for module, name in (
        (r"pandas(\.core\.(frame|series))?", r"DataFrame|Series"),
        (r"pandapower\.auxiliary", r"pandapowerNet"),
        (r"numpy", r"array|ndarray|bool_?|str_|u?int\d*|float\d*|complex\d*"),
        (r"networkx(\.classes\.\w+)?", r"(Multi)?(Di)?Graph"),
        (r"shapely(\.geometry)?(\.\w+)?", r"(Multi)?(Point|LineString|Polygon)"),
        (r"geopandas\.geodataframe", r"GeoDataFrame"),
        (
            r"pandapower\.(control|timeseries|protection)(\.\w+)*",
            r"(?!function$|method$|exec$)[A-Z]\w*",
        ),
    )
)

#: Keys that describe a table; others would reach the function that reads it.
_TABLE_KEYS = frozenset(
    """_module _class _object orient dtype is_multiindex is_multicolumn index_name
    index_names column_name column_names typ crs columns""".split()  # noqa: SIM905
)
_TABLES = frozenset({"DataFrame", "Series"})


def check_json(path: Path) -> None:
    """
    Refuse a JSON file that asks for anything that is not on the list.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Raises
    ------
    FeederError
        If the file is not JSON, or names a class that may not be built.
    DataError
        If it is too large.
    """
    check_size(path)
    check_text(path.read_text(encoding="utf-8", errors="replace"), str(path))


def check_text(text: str, where: str) -> None:
    """
    Refuse a JSON text that asks for anything that is not on the list.

    Parameters
    ----------
    text : str
        The text.
    where : str
        What messages call it.

    Raises
    ------
    FeederError
        If the text is not JSON, or names a class that may not be built.
    """

    def check(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        item = dict(pairs)
        if "_module" in item or "_class" in item:
            keys = [key for key, _ in pairs]
            if len(set(keys)) < len(keys):
                msg = f"{where}: an object names {keys[0]!r} or another key twice"
                raise FeederError(msg)
            _check_class(item, where)
        inner = item.get("_object")
        if isinstance(inner, str) and not _plain(item):
            # a table as text: decoded as pandapower will; anything else in its
            # place (such as a path) would make pandapower open another file
            check_text(inner, where)
        return item

    try:
        json.loads(text, object_pairs_hook=check)
    except (json.JSONDecodeError, RecursionError) as error:
        msg = f"{where}: not a JSON file ({error}); save it with pandapower"
        raise FeederError(msg) from error


def _plain(item: dict[str, Any]) -> bool:
    """Tell a number or text of numpy, which opens nothing."""
    return item.get("_module") == "numpy" and item.get("_class") != "array"


def _check_class(item: dict[str, Any], where: str) -> None:
    module, name = str(item.get("_module")), str(item.get("_class"))
    allowed = any(m.fullmatch(module) and n.fullmatch(name) for m, n in ALLOWED)
    if not allowed:
        asked = printable(f"{module}.{name}")
        msg = (
            f"{where}: asks to build {asked}; refused: take it out and save the "
            "network again"
        )
        raise FeederError(msg)
    if name in _TABLES and (odd := sorted(set(item) - _TABLE_KEYS)):
        msg = f"{where}: a table with options {printable(odd)}; refused"
        raise FeederError(msg)


def check_cells(cells: Iterable[Any], where: str) -> None:
    """
    Refuse cells of a workbook that ask for anything that is not on the list.

    Parameters
    ----------
    cells : iterable
        Cells; texts that begin as JSON are checked.
    where : str
        What messages call them.

    Raises
    ------
    FeederError
        If a cell names a class that may not be built.
    """
    for cell in cells:
        if isinstance(cell, str) and cell.lstrip()[:1] in ("{", "[", '"'):
            try:
                check_text(cell, where)
            except FeederError as error:
                if not isinstance(error.__cause__, json.JSONDecodeError):
                    raise
