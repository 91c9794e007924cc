"""
Access technologies and the round-trip time of their last mile.

Each has a median and a tail (95th percentile) value. The sum of two tail values is
above the tail of the sum, so ``"tail"`` errs towards longer times where two last
miles meet.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from gridsite.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

#: Which value of an access time is used: the median or the 95th percentile.
Percentile = Literal["median", "tail"]


@dataclass(frozen=True, kw_only=True)
class AccessTechnology:
    """
    Round-trip time of a last mile, up to the first router of the metro network.

    Attributes
    ----------
    median_ms : float
        Median round-trip time. [ms]
    median_source : str
        Where it comes from; ``[R]`` was read in the source, ``[M]`` is an
        assumption that no source read here confirms.
    tail_ms : float
        95th percentile. [ms]
    tail_source : str
        Where it comes from, labelled the same way.
    """

    median_ms: float
    median_source: str
    tail_ms: float
    tail_source: str


_FCC = "FCC Measuring Broadband America, about 2014, home to in-ISP server at peak"

#: Access technologies by name. No source read here gives a 95th percentile: each
#: tail is an assumption, taken from the nearest figure that was read.
ACCESS_TECHNOLOGIES: Mapping[str, AccessTechnology] = MappingProxyType(
    {
        "fibre": AccessTechnology(
            median_ms=6.5,
            median_source="[M] assumption: middle of 3 to 10 ms for modern FTTH",
            tail_ms=24.0,
            tail_source=f"[M] assumption: the mean of older lines, 24 ms ({_FCC})",
        ),
        "cable": AccessTechnology(
            median_ms=15.0,
            median_source="[M] assumption: middle of 10 to 20 ms for DOCSIS 3.1",
            tail_ms=32.0,
            tail_source=f"[M] assumption: the mean of older lines, 32 ms ({_FCC})",
        ),
        "dsl": AccessTechnology(
            median_ms=49.0,
            median_source=f"[R] {_FCC}; a mean at peak hours",
            tail_ms=80.0,
            tail_source="[M] assumption: no figure read",
        ),
        "5g": AccessTechnology(
            median_ms=47.0,
            median_source="[R] T-Mobile US 5G field median, H1 2024 (RCR Wireless)",
            tail_ms=61.0,
            tail_source="[M] assumption: largest US field median read, Q3 2024",
        ),
    }
)


def access_times_ms(
    access_network: pd.Series[str],
    *,
    percentile: Percentile = "median",
    technologies: Mapping[str, AccessTechnology] = ACCESS_TECHNOLOGIES,
) -> pd.Series[float]:
    """
    Return the access time of each named technology.

    Parameters
    ----------
    access_network : pandas.Series of str
        Technology of each host or zone, a key of ``technologies``.
    percentile : {"median", "tail"}, default "median"
        Which value of the access time.
    technologies : mapping of str to AccessTechnology, optional
        Known technologies; by default ``ACCESS_TECHNOLOGIES``.

    Returns
    -------
    pandas.Series of float
        Round-trip access time on the index given. [ms]

    Raises
    ------
    ConfigError
        If ``percentile`` is neither of the two.
    DataError
        If a technology is unknown.

    Examples
    --------
    >>> import pandas as pd
    >>> access_times_ms(pd.Series(["fibre", "5g"])).tolist()
    [6.5, 47.0]
    """
    if percentile not in ("median", "tail"):
        msg = f"percentile must be 'median' or 'tail', got {percentile!r}"
        raise ConfigError(msg)
    field = f"{percentile}_ms"
    known = {name: getattr(entry, field) for name, entry in technologies.items()}
    times = access_network.map(known).astype(float)
    if times.isna().any():
        unknown = sorted(set(access_network[times.isna()].astype(str)))
        msg = (
            f"access technology {unknown[:3]} unknown in {int(times.isna().sum())} "
            f"row(s); known: {', '.join(known)}; or give access_ms yourself"
        )
        raise DataError(msg)
    return times
