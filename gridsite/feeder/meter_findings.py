"""What is wrong with meters: one row per fault and meter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gridsite.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

#: Columns of the table of findings.
COLUMNS = ["check", "severity", "meter", "count", "first", "message"]

_MESSAGES = {
    "skipped hour": "readings in an hour that spring skips are left out: check zone",
    "repeated hour": "one reading for two autumn hours is the first of them",
    "no readings": "fewer than two readings: counts as missing",
    "longer interval": "longer than that of most meters: counts as missing",
    "shorter interval": "brought to the interval of most meters; means hide peaks",
    "off the grid": "stamps between the steps are left out",
    "stamp twice": "the same reading again is dropped",
    "stamp twice, values differ": "both are taken as missing",
    "register": "values only rise: give differences of the register",
    "gap": "steps without a reading; --fill (fill = 'week') fills and marks them",
    "too few readings": "below min_share: counts as missing",
    "gap that no week fills": "counts as missing",
    "unit": "its mean is 500 times that of the middle meter, or more: W for kW?",
    "meter of a load lacks": "linked, without readings: its load has no meter then",
    "meter at no load": "has readings, but no link to a load of this feeder: not used",
    "no meter": "load without a meter; --draw (missing = 'drawn') gives it one",
}


def note(
    found: list[dict[str, Any]],
    check: str,
    counts: pd.Series[Any],
    first: pd.Series[Any],
    severity: str = "warning",
) -> None:
    """
    Add a row for each meter that has a fault.

    Parameters
    ----------
    found : list of dict
        Rows so far.
    check : str
        Which fault.
    counts : pandas.Series of int, by meter
        How often; meters with 0 get no row.
    first : pandas.Series, by meter
        When first; NaT where that is not known.
    severity : {"warning", "error"}
        How bad.
    """
    some = counts[counts > 0]
    for meter, count, when in zip(some.index, some, first[some.index], strict=True):
        found.append(
            {
                "check": check,
                "severity": severity,
                "meter": str(meter),
                "count": int(count),
                "first": str(when).replace("NaT", ""),
                "message": _MESSAGES[check],
            }
        )


def refuse(findings: pd.DataFrame, where: str) -> None:
    """
    Raise if a finding is an error.

    Parameters
    ----------
    findings : pandas.DataFrame
        Rows of `note`.
    where : str
        What the message calls the source.

    Raises
    ------
    DataError
        With the first of them in words, and all in ``failures``.
    """
    errors = findings[findings["severity"] == "error"]
    if len(errors):
        row = errors.iloc[0]
        at = f" at {row['first']}" if row["first"] else ""
        msg = (
            f"{where}: {row['check']}: meter {row['meter']!r}{at} ({row['count']}): "
            f"{row['message']}; {len(errors)} such finding(s)"
        )
        raise DataError(msg, errors)
