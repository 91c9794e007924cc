"""Stamps of meter readings: zoned, or in the zone that is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from gridsite.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from gridsite.feeder.meter_options import MeterOptions

_NAIVE = r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.0+)?)?"

_ZONED = _NAIVE + r"\s?(?:Z|[+-]\d\d:?\d\d)"


def _parsed(
    stamps: pd.Series[Any], options: MeterOptions, path: Path
) -> tuple[pd.DatetimeIndex, str]:
    """Return stamps, zoned or not, and their zone."""
    if isinstance(stamps.dtype, pd.DatetimeTZDtype):
        return pd.DatetimeIndex(stamps), str(stamps.dtype.tz)
    if pd.api.types.is_datetime64_dtype(stamps):
        return pd.DatetimeIndex(stamps), _zone(options, stamps, path)
    # stamps repeat over meters: each text is parsed once
    if not isinstance(stamps.dtype, pd.CategoricalDtype):
        stamps = stamps.astype(str).astype("category")
    code = stamps.cat.codes.to_numpy()
    words = stamps.cat.categories.to_series().astype(str).str.strip()
    if options.time_format is not None:
        parsed = _dates(words, options.time_format, path)
    elif words.str.fullmatch(_ZONED).all():
        parsed = _dates(words, "ISO8601", path, utc=True)
        offset = words.str.extract(r"(Z|[+-]\d\d:?\d\d)$", expand=False).unique()
        zone = offset[0] if len(offset) == 1 and offset[0] != "Z" else "UTC"
        return parsed[code], options.zone or zone
    elif words.str.fullmatch(_NAIVE).all():
        parsed = _dates(words, "ISO8601", path)
    else:
        odd = words[~words.str.fullmatch(f"{_ZONED}|{_NAIVE}")]
        first = odd.iloc[0] if len(odd) else words.iloc[0]
        msg = (
            f"{path}: stamp {first!r}: write all stamps as 2025-01-31T18:00+01:00, or "
            "give time_format (day and month may be swapped)"
        )
        raise DataError(msg)
    if parsed.tz is not None:
        return parsed.tz_convert("UTC")[code], options.zone or "UTC"
    return parsed[code], _zone(options, stamps, path)


def _dates(
    words: pd.Series[str], form: str, path: Path, *, utc: bool = False
) -> pd.DatetimeIndex:
    try:
        return pd.DatetimeIndex(pd.to_datetime(words, format=form, utc=utc))
    except ValueError as error:
        msg = f"{path}: stamps do not read as {form}: {str(error).splitlines()[0]}"
        raise DataError(msg) from error


def _zone(options: MeterOptions, stamps: pd.Series[Any], path: Path) -> str:
    if options.zone is None:
        msg = (
            f"{path}: stamp {str(stamps.iloc[0])!r} has no zone; give zone "
            "(--meter-zone; --zone of gridsite meters)"
        )
        raise DataError(msg)
    return options.zone
