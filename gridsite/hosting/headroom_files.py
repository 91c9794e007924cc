"""The files of a rating that are too large for a table: envelope, 576-hour table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gridsite.feeder.typical_days import typical_hours
from gridsite.hosting.envelope_dataset import read_envelope
from gridsite.hosting.ica import feeder_loads, write_ica
from gridsite.hosting.ica_limits import confirmed_hours

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd

    from gridsite.hosting.grid_case import GridCase


@dataclass(frozen=True, kw_only=True)
class HeadroomFiles:
    """
    Hold where the headroom of every step is written, and what follows from it.

    Parameters
    ----------
    envelope : pathlib.Path
        File (netCDF) that takes the headroom of every step.
    typical_hours : pathlib.Path, optional
        File (Parquet or CSV) that takes the 576-hour table.
    analysis_date : datetime.date, optional
        Its date; needed for it.
    """

    envelope: Path
    typical_hours: Path | None = None
    analysis_date: dt.date | None = None

    @classmethod
    def within(
        cls, folder: Path, analysis_date: dt.date | None = None
    ) -> HeadroomFiles:
        """
        Return the files of a folder.

        Parameters
        ----------
        folder : pathlib.Path
            Where they go.
        analysis_date : datetime.date, optional
            Date of the 576-hour table, which is not written without.

        Returns
        -------
        HeadroomFiles
            ``envelope.nc``, ``ica.csv``.
        """
        return cls(
            envelope=folder / "envelope.nc",
            typical_hours=folder / "ica.csv" if analysis_date else None,
            analysis_date=analysis_date,
        )

    def check(self, grid: GridCase) -> None:
        """
        Refuse steps without typical days, before any work is done on them.

        Parameters
        ----------
        grid : GridCase
            What is rated.

        Raises
        ------
        DataError
            If a month has no step at some hour.
        """
        if self.typical_hours is not None:
            typical_hours(grid.profiles.time, grid.profiles.total_kw())

    def finish(
        self,
        grid: GridCase,
        hosting: pd.DataFrame,
        progress: Callable[[float, str], None] | None = None,
    ) -> dict[str, Path]:
        """
        Write what follows from the envelope.

        Parameters
        ----------
        grid : GridCase
            What was rated.
        hosting : pandas.DataFrame
            Contract ``hosting``.
        progress : callable, optional
            Called with the share done and a text.

        Returns
        -------
        dict of str to pathlib.Path
            All files by name.
        """
        files = [self.envelope]
        if self.typical_hours is not None and self.analysis_date is not None:
            drawn = feeder_loads(grid.feeder, grid.profiles)
            done = 0

            def confirm(table: pd.DataFrame) -> pd.DataFrame:
                nonlocal done
                done += len(table)
                if progress is not None:
                    progress(done / (576 * len(hosting)), "576-hour table")
                return table if acting else confirmed_hours(grid, hosting, table)

            acting = grid.course is not None
            with read_envelope(self.envelope) as headroom:
                day = self.analysis_date
                path = self.typical_hours
                write_ica(
                    path, headroom, hosting, drawn, analysis_date=day, confirm=confirm
                )
            files.append(path)
        return {path.name: path for path in files}
