"""
What the pictures of a run share: classes, colours and wording.

Colours come from palettes that stay apart for colour-blind readers and rank
by lightness in grey: ColorBrewer YlGnBu for capacity, a grey-to-dark scale
for loading, and Okabe and Ito's eight colours for kinds of limit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Ascending colours of capacity, light to dark.
CAPACITY_COLOURS = ("#c7e9b4", "#7fcdbb", "#41b6c4", "#1d91c0", "#225ea8", "#0c2c84")
#: Ascending colours of round-trip time, light to dark.
LATENCY_COLOURS = ("#f7f5fb", "#e9e6f3", "#d8d5ea", "#c2bfdf", "#a6a2ce")
ZERO_COLOUR = "#f6e3a1"
BROKEN_COLOUR = "#f3b9ae"
MISSING_COLOUR = "#c4c4c4"
OTHER_COLOUR = "#f0e442"

#: Colour of a limit by a part of its name; the first part that fits counts.
_LIMIT_COLOURS = {
    "change": "#56b4e9",
    "unbalance": "#cc79a7",
    "volt": "#0072b2",
    "trafo": "#d55e00",
    "transformer": "#d55e00",
    "line": "#e69f00",
    "service": "#009e73",
    "upstream": "#4d4d4d",
    "source": "#4d4d4d",
}

#: What a status means, in a planner's words.
STATUS_TEXT = {
    "ok": "ok",
    "none_base_violation": "none: acts on a limit that is broken already",
    "censored": "at least: no limit up to the search cap",
    "unrated": "not rated: a rating is missing on the path",
    "unsupplied": "not supplied",
    "lacks_phase": "none: not all three phases are there",
    "not_converged": "no power flow solution found",
    "no_connection": "no connection to the feeder",
}

#: What rates a connection whose status is ``unrated``.
UNRATED_CURE = (
    "give the rating by --ratings, of lines also by --assume-line-a "
    "([feeder] ratings, assume_line_a of a study)"
)
_RATED = ("ok", "censored")


class Swatch(NamedTuple):
    """One entry of a legend: colour, words, and whether it is hatched."""

    colour: str
    label: str
    hatched: bool = False


@dataclass(frozen=True, kw_only=True)
class Classes:
    """
    Display classes of a quantity.

    Parameters
    ----------
    upper : tuple of float
        Ascending upper limits of all classes but the last, which has none.
    colours : tuple of str
        One colour per class.
    labels : tuple of str
        One legend text per class.
    """

    upper: tuple[float, ...]
    colours: tuple[str, ...]
    labels: tuple[str, ...]

    def index(self, values: pd.Series[float]) -> np.ndarray[Any, np.dtype[np.int_]]:
        """
        Return the class number of each value.

        Parameters
        ----------
        values : pandas.Series of float
            Values in the unit of the classes.

        Returns
        -------
        numpy.ndarray of int
            Number of the class; -1 where the value is missing.
        """
        number = np.digitize(values.to_numpy(float), self.upper, right=True)
        return np.where(values.isna(), -1, number)

    def colour(self, values: pd.Series[float]) -> pd.Series[str]:
        """
        Return the colour of each value.

        Parameters
        ----------
        values : pandas.Series of float
            Values in the unit of the classes.

        Returns
        -------
        pandas.Series of str
            Hex colours, on the index of ``values``; grey where missing.
        """
        palette = np.array([*self.colours, MISSING_COLOUR])
        return pd.Series(palette[self.index(values)], index=values.index, dtype=object)


#: Classes of the loading of lines and transformers [%].
LOADING = Classes(
    upper=(25.0, 50.0, 75.0, 100.0),
    colours=("#9a9a9a", "#dba617", "#e8601c", "#c1121f", "#4a0d3a"),
    labels=("up to 25 %", "25 to 50 %", "50 to 75 %", "75 to 100 %", "over 100 %"),
)


def quantile_classes(
    values: pd.Series[float], colours: Sequence[str], unit: str
) -> Classes:
    """
    Return classes that hold about the same number of values each.

    Parameters
    ----------
    values : pandas.Series of float
        Values to classify; missing ones are left out.
    colours : sequence of str
        Palette from low to high; at most one class per colour.
    unit : str
        Unit that the labels show.

    Returns
    -------
    Classes
        Class limits are the values' quantiles to two significant digits.

    Examples
    --------
    >>> classes = quantile_classes(pd.Series([1.0, 2, 3, 4]), ["#fff", "#000"], "kW")
    >>> classes.upper, classes.labels
    ((2.5,), ('1 to 2.5 kW', '2.5 to 4 kW'))
    """
    known = values.dropna()
    if known.empty:
        return Classes(upper=(), colours=(colours[-1],), labels=("no value",))
    low, high = float(known.min()), float(known.max())
    shares = np.arange(1, len(colours)) / len(colours)
    rounded = {float(f"{cut:.2g}") for cut in known.quantile(shares)}
    upper = tuple(cut for cut in sorted(rounded) if low <= cut < high)
    picked = np.linspace(0, len(colours) - 1, len(upper) + 1).round().astype(int)
    edges = [f"{edge:.3g}" for edge in (low, *upper, high)]
    spans = [a if a == b else f"{a} to {b}" for a, b in zip(edges, edges[1:])]  # noqa: B905, RUF007
    return Classes(
        upper=upper,
        colours=tuple(colours[i] for i in picked),
        labels=tuple(f"{span} {unit}" for span in spans),
    )


def limit_colours(criteria: Iterable[str]) -> dict[str, str]:
    """
    Return one colour per kind of limit, the same in every picture.

    Parameters
    ----------
    criteria : iterable of str
        Values of ``limit_criterion``.

    Returns
    -------
    dict of str to str
        Colour by criterion, sorted by name; kinds unknown here are yellow.

    Examples
    --------
    >>> limit_colours(["voltage", "line"])
    {'line': '#e69f00', 'voltage': '#0072b2'}
    """
    return {
        name: next(
            (c for part, c in _LIMIT_COLOURS.items() if part in name.lower()),
            OTHER_COLOUR,
        )
        for name in sorted(set(criteria))
    }


def is_rated(status: pd.Series[str]) -> pd.Series[bool]:
    """
    Tell which capacities are values of their own, not gaps or broken limits.

    Parameters
    ----------
    status : pandas.Series of str
        Values of ``firm_status`` or ``flexible_status``.

    Returns
    -------
    pandas.Series of bool
        True for ``ok`` and ``censored``, on the index of ``status``.
    """
    return status.isin(_RATED)


def capacity_look(
    values: pd.Series[float], status: pd.Series[str]
) -> tuple[pd.Series[str], list[Swatch]]:
    """
    Return the fill of each building by its capacity, and the legend.

    Parameters
    ----------
    values : pandas.Series of float
        Capacity. [kW]
    status : pandas.Series of str
        Status of each capacity.

    Returns
    -------
    colours : pandas.Series of str
        Hex colours, on the index of ``values``.
    legend : list of Swatch
        The colours that occur, low to high, with their number of buildings.
    """
    rated, broken = is_rated(status), status.eq("none_base_violation")
    positive = values.where(rated & values.gt(0.0))
    classes = quantile_classes(positive, CAPACITY_COLOURS, "kW")
    colours = classes.colour(positive)
    zero = rated & values.le(0.0)
    colours[zero], colours[broken] = ZERO_COLOUR, BROKEN_COLOUR
    counts = np.bincount(classes.index(positive) + 1, minlength=len(classes.labels) + 1)
    missing = int(counts[0] - zero.sum() - broken.sum())
    entries = [
        (
            int(broken.sum()),
            Swatch(BROKEN_COLOUR, "none: acts on a limit broken already", hatched=True),
        ),
        (int(zero.sum()), Swatch(ZERO_COLOUR, "0 kW")),
        *(
            (int(n), Swatch(c, label))
            for n, c, label in zip(
                counts[1:], classes.colours, classes.labels, strict=True
            )
        ),
        (missing, Swatch(MISSING_COLOUR, "not rated (see hover)")),
    ]
    legend = [s._replace(label=f"{s.label} ({n:,})") for n, s in entries if n]
    return colours, legend


def limit_look(
    criterion: pd.Series[str], status: pd.Series[str]
) -> tuple[pd.Series[str], list[Swatch]]:
    """
    Return the fill of each building by the limit that binds, and the legend.

    Parameters
    ----------
    criterion : pandas.Series of str
        Kind of limit that binds at the firm capacity.
    status : pandas.Series of str
        Status of the firm capacity.

    Returns
    -------
    colours : pandas.Series of str
        Hex colours, on the index of ``criterion``.
    legend : list of Swatch
        One entry per kind of limit with its number of buildings.
    """
    named = status.isin(["ok", "none_base_violation"]) & criterion.fillna("").ne("")
    palette = limit_colours(criterion[named])
    colours = criterion.where(named).map(palette).fillna(MISSING_COLOUR)
    counts = criterion[named].value_counts()
    legend = [Swatch(c, f"{name} ({counts[name]:,})") for name, c in palette.items()]
    broken = int(status.eq("none_base_violation").sum())
    if broken:
        text = f"striped: broken without new load ({broken:,})"
        legend.append(Swatch("#ffffff", text, hatched=True))
    if not named.all():
        rest = f"none found or not rated ({int((~named).sum()):,})"
        legend.append(Swatch(MISSING_COLOUR, rest))
    return colours, legend


def quantity(value: object, unit: str = "", digits: int = 1) -> str:
    """
    Return a number with its unit for reading.

    Parameters
    ----------
    value : object
        A number; anything missing or not finite reads ``n/a``.
    unit : str, default ""
        Unit to stand behind the number.
    digits : int, default 1
        Digits after the point.

    Returns
    -------
    str
        The text.

    Examples
    --------
    >>> quantity(12345.678, "kW"), quantity(float("nan"), "kW"), quantity(None)
    ('12,345.7 kW', 'n/a', 'n/a')
    """
    if not isinstance(value, (int, float, np.number)) or not math.isfinite(value):
        return "n/a"
    return f"{value:,.{digits}f} {unit}".rstrip()


def moment(value: object) -> str:
    """
    Return a time for reading.

    Parameters
    ----------
    value : object
        Time stamp or step number; missing values give an empty text.

    Returns
    -------
    str
        Time to the minute with its offset from UTC, or the text of ``value``.

    Examples
    --------
    >>> moment(pd.Timestamp("2016-01-12 18:00", tz="Europe/Berlin")), moment(None)
    ('2016-01-12 18:00+0100', '')
    """
    if isinstance(value, pd.Timestamp):
        return value.strftime("%Y-%m-%d %H:%M%z")
    return "" if value is None or value is pd.NaT or value != value else str(value)  # noqa: PLR0124


def last_period(table: pd.DataFrame) -> pd.DataFrame:
    """
    Return the rows of a table in its last period.

    Parameters
    ----------
    table : pandas.DataFrame
        With ``period``.

    Returns
    -------
    pandas.DataFrame
        All rows of a table with one period.

    Examples
    --------
    >>> last_period(pd.DataFrame({"period": [0, 1], "count": [2, 3]}))["count"].tolist()
    [3]
    """
    last: pd.DataFrame = table[table["period"] == table["period"].max()]
    return last
