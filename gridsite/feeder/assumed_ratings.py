r"""
Ratings for lines and transformers whose file gives none.

Most OpenDSS files name no ampacities, and some pandapower files no ``max_i_ka``: a
connection behind such a line is `unrated`. A planner may give ratings in a table, by
element or by line code, and assume one ampacity for every line that is left. Both are
counted, and ``rating_from`` of ``elements`` says where each rating comes from.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.errors import ConfigError, DataError
from gridsite.untrusted import read_table

if TYPE_CHECKING:
    from gridsite.feeder.model import Feeder

_COLUMNS = ("element", "code", "ampacity_a", "kva")

#: Values of ``rating_from``; "" where an element has no rating.
FILED, GIVEN, ASSUMED = "file", "table", "assumed"


def read_ratings(path: str | Path) -> pd.DataFrame:
    """
    Read a table of ratings.

    Parameters
    ----------
    path : str or pathlib.Path
        CSV or Parquet, as for `rating_table`.

    Returns
    -------
    pandas.DataFrame
        As from `rating_table`.

    Raises
    ------
    DataError
        If the file cannot be read or a row is at fault.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"ratings: file {str(path)!r} does not exist; give its path"
        raise DataError(msg)
    return rating_table(read_table(path, text=("element", "code")))


def rating_table(table: pd.DataFrame) -> pd.DataFrame:
    """
    Return a table of ratings, checked.

    Parameters
    ----------
    table : pandas.DataFrame
        One of ``element`` and ``code`` (line code, or standard type) in each row, and
        one of ``ampacity_a`` (a phase conductor of the whole line) and ``kva`` (a
        whole transformer).

    Returns
    -------
    pandas.DataFrame
        ``element, code, ampacity_a, kva``; empty text and NaN where not given.

    Raises
    ------
    DataError
        If a column is unknown, a row has both or neither of a pair, a value is not
        above 0, or a name stands twice.

    Examples
    --------
    >>> table = pd.DataFrame({"code": ["oh-1/0"], "ampacity_a": [230.0]})
    >>> rating_table(table).iloc[0].to_dict()
    {'element': '', 'code': 'oh-1/0', 'ampacity_a': 230.0, 'kva': nan}
    """
    unknown = sorted(set(table.columns) - set(_COLUMNS))
    if unknown:
        msg = f"ratings: unknown column(s) {unknown}; known: {', '.join(_COLUMNS)}"
        raise DataError(msg)
    out = table.reindex(columns=_COLUMNS).reset_index(drop=True)
    for name in ("element", "code"):
        text = out[name].astype(object)
        out[name] = text.where(text.notna(), "").astype(str).str.strip()
    values = out[["ampacity_a", "kva"]].apply(pd.to_numeric, errors="coerce")
    filed = out[["ampacity_a", "kva"]].astype(object)
    spoilt = filed.notna() & (filed != "") & ~((values > 0.0) & np.isfinite(values))
    out[["ampacity_a", "kva"]] = values
    bad = (out["element"] != "") == (out["code"] != "")
    bad |= (values.notna().sum(axis=1) != 1) | spoilt.any(axis=1)
    if bad.any():
        msg = (
            f"ratings: {int(bad.sum())} row(s) lack one of element and code, or one of "
            f"ampacity_a and kva above 0, first row {bad.idxmax() + 1}: "
            f"{out[bad].iloc[0].to_dict()}; correct them"
        )
        raise DataError(msg, out[bad])
    twice = out[["element", "code"]].apply(lambda c: c.str.lower()).duplicated()
    if twice.any():
        first = out.loc[twice, ["element", "code"]].iloc[0].to_dict()
        msg = f"ratings: {int(twice.sum())} name(s) stand twice, first {first}"
        raise DataError(msg, out[twice])
    return out


def with_ratings(
    feeder: Feeder,
    table: pd.DataFrame | None = None,
    *,
    line_a: float | None = None,
) -> Feeder:
    """
    Return a feeder with ratings where its file gives none.

    Parameters
    ----------
    feeder : Feeder
        The model.
    table : pandas.DataFrame, optional
        As from `rating_table`. A row by element also replaces a rating of the file; a
        row by code, whatever the case of its letters, fills what is missing.
    line_a : float, optional
        Ampacity assumed for every line that still has none. [A]

    Returns
    -------
    Feeder
        With ``rating_from`` in ``elements`` and notes that count what was given and
        assumed.

    Raises
    ------
    ConfigError
        If ``line_a`` is not above 0.
    DataError
        If the table names what the feeder does not have, or gives amperes to a
        transformer or kVA to a line.

    Examples
    --------
    >>> from gridsite.feeder.read_pandapower import feeder_from_net
    >>> from pandapower.networks import create_kerber_landnetz_freileitung_1
    >>> net = create_kerber_landnetz_freileitung_1()
    >>> net.line.loc[net.line.index[:3], "max_i_ka"] = None
    >>> rated = with_ratings(feeder_from_net(net, name="kerber"), line_a=100.0)
    >>> rated.notes[-1]
    'line ratings assumed for 3 of 13 lines: 100 A'
    """
    if line_a is not None and not 0.0 < line_a < np.inf:
        msg = f"assumed line rating must be above 0 A, got {line_a}"
        raise ConfigError(msg)
    elements = feeder.elements
    line = (elements["kind"] == "line").to_numpy()
    source = pd.Series(rating_sources(elements), elements.index)
    amps = pd.Series(np.nan, elements.index)  # of lines
    kva = pd.Series(np.nan, elements.index)  # of transformers
    notes = []
    if table is not None and len(table):
        row, by_name = _matched(feeder, table)
        hit = row >= 0
        replaced = int((by_name & (source != "").to_numpy()).sum())
        hit &= by_name | (source == "").to_numpy()
        amps[hit] = table["ampacity_a"].to_numpy()[row[hit]]
        kva[hit] = table["kva"].to_numpy()[row[hit]]
        source[hit] = GIVEN
        notes.append(
            f"ratings of {int((hit & line).sum())} of {int(line.sum())} lines and "
            f"{int((hit & ~line).sum())} transformer(s) given in a table"
            + (f", {replaced} of them in place of the file's" if replaced else "")
        )
    if line_a is not None:
        bare = line & (source == "").to_numpy()
        amps[bare], source[bare] = line_a, ASSUMED
        notes.append(
            f"line ratings assumed for {int(bare.sum())} of {int(line.sum())} lines: "
            f"{line_a:g} A"
        )
    new = amps.fillna(kva)
    return replace(
        feeder,
        terminals=_rerated(feeder.terminals, elements["rating"], amps, kva),
        elements=elements.assign(
            rating=new.where(new.notna(), elements["rating"]), rating_from=source
        ),
        notes=(*feeder.notes, *notes),
    )


def rating_sources(elements: pd.DataFrame) -> pd.Series:
    """
    Return where the rating of each element comes from.

    Parameters
    ----------
    elements : pandas.DataFrame
        ``elements`` of a `Feeder`.

    Returns
    -------
    pandas.Series of str
        ``file``, ``table``, ``assumed``, or "" where there is no rating.
    """
    if "rating_from" in elements:
        return elements["rating_from"]
    rated = elements["rating"].notna().to_numpy()
    return pd.Series(np.where(rated, FILED, ""), elements.index)


def rating_summary(elements: pd.DataFrame) -> dict[str, dict[str, int]]:
    """
    Return how many lines and transformers have a rating from where.

    Parameters
    ----------
    elements : pandas.DataFrame
        ``elements`` of a `Feeder`.

    Returns
    -------
    dict
        By kind: ``file``, ``table``, ``assumed``, ``unrated``.
    """
    source = rating_sources(elements).replace("", "unrated")
    out = {}
    for kind in ("line", "transformer"):
        count = source[elements["kind"] == kind].value_counts()
        names = (FILED, GIVEN, ASSUMED, "unrated")
        out[kind] = {name: int(count.get(name, 0)) for name in names}
    return out


def _matched(feeder: Feeder, table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return the row of a table for each element (-1: none), and if by its name."""
    elements = feeder.elements
    names = pd.Index(elements.index.astype(str).str.lower())
    codes = elements.get("code", pd.Series("", elements.index)).astype(str).str.lower()
    row = np.full(len(elements), -1)
    by_name = np.zeros(len(elements), dtype=bool)
    for at, (name, code) in enumerate(
        zip(table["element"].str.lower(), table["code"].str.lower(), strict=True)
    ):
        hit = (names == name) if name else (codes == code).to_numpy()
        if not hit.any():
            msg = (
                f"ratings: {feeder.name} has no {'element' if name else 'line code'} "
                f"called {name or code!r}; correct the name"
            )
            raise DataError(msg, table.iloc[[at]])
        kinds = set(elements["kind"].to_numpy()[hit])
        wanted = "line" if table["ampacity_a"].notna().iloc[at] else "transformer"
        if kinds != {wanted}:
            msg = (
                f"ratings: {name or code!r} is a {' and a '.join(sorted(kinds))}; give "
                "lines ampacity_a, transformers kva"
            )
            raise DataError(msg, table.iloc[[at]])
        if wanted == "transformer" and elements["rating"][hit].isna().any():
            msg = f"ratings: transformer {name or code!r} has no kVA to start from"
            raise DataError(msg, table.iloc[[at]])
        hit &= bool(name) | ~by_name
        row[hit], by_name[hit] = at, bool(name)
    return row, by_name


def _rerated(
    terminals: pd.DataFrame, filed: pd.Series, amps: pd.Series, kva: pd.Series
) -> pd.DataFrame:
    """Return terminals with the new rated currents; those of windings are scaled."""
    name = terminals["element"]
    scaled = terminals["rated_a"] * name.map(kva) / name.map(filed)
    rated = name.map(amps).fillna(scaled).fillna(terminals["rated_a"])
    return terminals.assign(rated_a=rated)
