"""Times, names and values of series, refused where one is at fault."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gridsite.errors import DataError
from gridsite.units import reactive_kvar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ids = Sequence[str] | pd.Index[str]


def _numbers(table: pd.DataFrame, where: str) -> Floats:
    """Return the values of a table, all of them finite numbers."""
    values: Floats = table.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float)
    bad = ~np.isfinite(values)
    if bad.any():
        column = int(np.argmax(bad.any(axis=0)))
        rows = np.flatnonzero(bad[:, column])
        first = [str(stamp) for stamp in table.index[rows[:3]]]
        msg = (
            f"{where}: column {table.columns[column]!r} has {len(rows)} value(s) "
            f"missing or not a number, first at {first}: mend or leave out the meter"
        )
        raise DataError(msg)
    return values


def _check_time(time: pd.Index[Any]) -> None:
    """Refuse steps without a zone, out of order or of unequal length."""
    zoned = isinstance(time, pd.DatetimeIndex) and time.tz is not None
    if not zoned or len(time) == 0 or time.hasnans:
        msg = f"time must be a DatetimeIndex with a zone and steps, got {time[:2]!r}"
        raise DataError(msg)
    step = np.diff(time.to_numpy(dtype="datetime64[ns]").astype(np.int64))
    bad = (step <= 0) | (step != np.median(step)) if len(step) else step > 0
    if bad.any():
        at = 1 + int(np.argmax(bad))
        msg = (
            f"time: stamp {at} ({time[at]}) follows {time[at - 1]}: "
            f"stamps must be in order, each once, and in equal steps"
        )
        raise DataError(msg)


def _index(names: Ids) -> pd.Index[str]:
    index: pd.Index[Any] = pd.Index(list(names), dtype=object)
    return index


def _check_ids(ids: pd.Index[str]) -> None:
    """Refuse port ids that are not text or not unique."""
    text = pd.api.types.infer_dtype(ids, skipna=False) in ("string", "empty")
    if text and ids.is_unique:
        return
    names: list[Any] = list(ids)
    bad = [name for name in names if not isinstance(name, str)]
    bad = bad or list(ids[ids.duplicated()])
    msg = f"port ids must be text and unique, {len(bad)} are not: {bad[:3]}"
    raise DataError(msg)


def _refuse_missing(
    names: pd.Index[str], what: str, cure: str = "check the names"
) -> None:
    """Raise if there are names that were asked for and not found."""
    if len(names):
        msg = f"{what} {list(names[:3])} ({len(names)} in all): {cure}"
        raise DataError(msg)


def _tan_phi(power_factor: float) -> float:
    """Return reactive over active power of a lagging load."""
    if not 0.0 < power_factor <= 1.0:
        msg = f"power_factor must be in (0, 1], got {power_factor!r}"
        raise DataError(msg)
    return reactive_kvar(1.0, power_factor)
