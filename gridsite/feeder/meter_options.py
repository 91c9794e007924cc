"""How a file of meter readings is read, as the user says it."""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo

import numpy as np

from gridsite.errors import ConfigError

#: Kilowatts of one of each unit; energies are divided by the hours of a step.
UNITS = {"W": 1e-3, "kW": 1.0, "MW": 1e3, "Wh": 1e-3, "kWh": 1.0, "MWh": 1e3}


@dataclass(frozen=True, kw_only=True)
class MeterOptions:
    """
    How a file of meter readings is read, and what is done about its faults.

    Attributes
    ----------
    unit : str, optional
        One of ``UNITS``; without it the names of the columns say so, and a wide file
        whose names do not is in kW.
    zone : str, optional
        Zone of stamps that carry none, such as ``Europe/Berlin``.
    stamp : {"start", "end"}
        Whether a stamp marks the start or the end of its interval.
    time_format : str, optional
        Format of the stamps for `datetime.datetime.strptime`; ISO 8601 without it.
    time_column, meter_column, value_column : str, optional
        Names of the columns, where they are not among the usual ones.
    fill : {"refuse", "week"}
        What is done about gaps (`gridsite.feeder.meters`).
    max_gap_hours : float
        Longest gap that is filled along a straight line. [h]
    min_share : float
        Share of readings below which a meter counts as missing. [-]
    missing : {"refuse", "drawn"}
        What a load without a meter gets (`gridsite.feeder.meters.meter_profiles`).
    links : str, optional
        CSV or Parquet ``meter_id, port_id``; without it meters are called as loads.
    """

    unit: str | None = None
    zone: str | None = None
    stamp: str = "start"
    time_format: str | None = None
    time_column: str | None = None
    meter_column: str | None = None
    value_column: str | None = None
    fill: str = "refuse"
    max_gap_hours: float = 3.0
    min_share: float = 0.9
    missing: str = "refuse"
    links: str | None = None

    def __post_init__(self) -> None:
        for name, known in {
            "unit": (None, *UNITS),
            "stamp": ("start", "end"),
            "fill": ("refuse", "week"),
            "missing": ("refuse", "drawn"),
        }.items():
            if getattr(self, name) not in known:
                msg = f"meters: {name} is {getattr(self, name)!r}; give one of {known}"
                raise ConfigError(msg)
        if not (0.0 <= self.max_gap_hours < np.inf and 0.0 < self.min_share <= 1.0):
            msg = (
                f"meters: max_gap_hours is {self.max_gap_hours!r} and min_share "
                f"{self.min_share!r}; give at least 0 h and a share in (0, 1]"
            )
            raise ConfigError(msg)
        if self.zone is not None:
            try:
                ZoneInfo(self.zone)
            except (KeyError, ValueError, OSError) as error:
                msg = f"meters: no zone is called {self.zone!r}; as Europe/Berlin"
                raise ConfigError(msg) from error
