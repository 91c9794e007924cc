"""What the connections of a rating do together: capacity, shared limits, sharing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gridsite.errors import DataError
from gridsite.hosting.curtailment import curtailment
from gridsite.hosting.joint_capacity import joint_capacity
from gridsite.hosting.sharing import shared_assets, shared_headroom
from gridsite.untrusted import read_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from gridsite.hosting.grid_case import GridCase


#: Connections that a message names.
_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class TogetherChoice:
    """
    What is asked of the connections of a rating together.

    Parameters
    ----------
    joint : bool
        Joint capacity, and which buildings share the limits that bind.
    existing : str or None
        File of units that stand already and draw all the time; joint capacity is
        what remains (`read_units`).
    units : str or None
        File of flexible units that share the headroom (`read_units`).
    sharing : {"pro_rata", "last_in"}
        By which rule (`gridsite.hosting.sharing.shared_headroom`).
    """

    joint: bool = False
    existing: str | None = None
    units: str | None = None
    sharing: str = "pro_rata"

    @property
    def files(self) -> list[str]:
        """
        Return the input files.

        Returns
        -------
        list of str
            Paths.
        """
        return [name for name in (self.existing, self.units) if name is not None]


def read_units(path: str | Path, hosting: pd.DataFrame) -> pd.DataFrame:
    """
    Read units at connections that are rated.

    Parameters
    ----------
    path : str or pathlib.Path
        CSV or Parquet: ``kw``, and ``building_id`` or ``port_id``, or both where
        one alone stands for several connections; in the order in which they came.
    hosting : pandas.DataFrame
        Contract ``hosting``.

    Returns
    -------
    pandas.DataFrame
        ``building_id, port_id, kw`` in the order of the file. [kW]

    Raises
    ------
    DataError
        If the file or a column is missing, a power is not above 0, a connection
        stands twice or is not rated, or a row stands for several.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"units: file {str(path)!r} does not exist; give its path"
        raise DataError(msg)
    given = read_table(path, text=("building_id", "port_id"))
    keys = [name for name in ("port_id", "building_id") if name in given]
    if "kw" not in given or not keys:
        msg = (
            f"{path}: columns are {list(given.columns)}; give kw, and building_id or "
            "port_id"
        )
        raise DataError(msg)
    key = " and ".join(keys)
    given["kw"] = pd.to_numeric(given["kw"], errors="coerce")
    wrong = ~((given["kw"] > 0.0) & (given["kw"] < np.inf))
    _refuse(given[wrong], path, "row(s) without a power above 0 kW; correct them")
    at = pd.MultiIndex.from_frame(given[keys])
    _refuse(given[at.duplicated()], path, f"{key} stand twice; add their power up")
    known = hosting[hosting["flexible_status"].isin(["ok", "censored"])]
    rated = pd.MultiIndex.from_frame(known[keys])
    lost = given[~at.isin(rated)]
    _refuse(lost, path, f"{key} have no capacity in this rating; leave them out")
    _refuse_several(given[at.isin(rated[rated.duplicated()])], known, keys, path)
    position = {row: i for i, row in enumerate(rated)}
    own = known.iloc[[position[row] for row in at]]
    most = own["service_headroom_kw"].fillna(np.inf).to_numpy()
    beyond = given[given["kw"].to_numpy() > most]
    _refuse(beyond, path, "unit(s) are above what their service leaves at some step")
    return own[["building_id", "port_id"]].assign(kw=given["kw"].to_numpy())


def _refuse_several(
    rows: pd.DataFrame, known: pd.DataFrame, keys: list[str], path: Path
) -> None:
    """Refuse rows that stand for several connections, by what would tell them apart."""
    if len(rows):
        key = keys[0]
        (other,) = {"building_id", "port_id"} - {key}
        of_first = known.loc[known[key] == rows[key].iloc[0], other].tolist()
        shown = ", ".join(repr(name) for name in of_first[:_SHOWN])
        more = ", ..." if len(of_first) > _SHOWN else ""
        text = f"{key} stand for several connections; add a column {other}, of the "
        _refuse(rows, path, f"{text}first one of {shown}{more}")


def _refuse(rows: pd.DataFrame, path: Path, text: str) -> None:
    """Refuse rows of a file."""
    if len(rows):
        first = {str(k): v for k, v in rows.iloc[0].to_dict().items()}
        msg = f"{path}: {len(rows)} {text}; first, row {rows.index[0] + 1}: {first}"
        raise DataError(msg, rows)


def rate_together(
    grid: GridCase,
    hosting: pd.DataFrame,
    choice: TogetherChoice,
    progress: Callable[[float, str], None] | None = None,
) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    """
    Return what connections do together, as it was asked for.

    Parameters
    ----------
    grid : GridCase
        Base cases.
    hosting : pandas.DataFrame
        Contract ``hosting``, of the same inputs.
    choice : TogetherChoice
        What is asked.
    progress : callable, optional
        Called with the share done and a text.

    Returns
    -------
    tables : dict of str to pandas.DataFrame
        ``joint, joint_splits, shared_assets, shared_units, shared_kw``, those that are
        asked for. [kW]
    summary : dict
        What goes into ``summary.json``.
    """
    tables: dict[str, pd.DataFrame] = {}
    summary: dict[str, Any] = {}
    feeder, loads = grid.feeder, grid.profiles
    if choice.joint or choice.existing is not None:
        existing = None
        if choice.existing is not None:
            placed = read_units(choice.existing, hosting)
            existing = placed.set_index("port_id")["kw"]
            summary["existing_kw"] = float(existing.sum())
        found = joint_capacity(
            feeder,
            loads,
            hosting=hosting,
            existing_kw=existing,
            grid=grid,
            progress=progress,
        )
        tables |= {"joint": found.table, "joint_splits": found.splits}
        tables["shared_assets"] = shared_assets(hosting, grid)
        summary["joint"] = found.total
    if choice.units is not None:
        units = read_units(choice.units, hosting)
        if progress:
            progress(0.0, f"headroom shared by {len(units)} units, {choice.sharing}")
        rating = units.set_index("port_id")["kw"]
        served = shared_headroom(feeder, loads, rating, rule=choice.sharing, grid=grid)
        tables["shared_units"] = _shared_units(grid, hosting, units, served)
        tables["shared_kw"] = served.rename_axis("time").reset_index()
        summary["shared"] = {
            "rule": choice.sharing,
            "units": len(units),
            "rated_kw": float(rating.sum()),
            "served_share": float(served.to_numpy().mean(axis=0).sum() / rating.sum()),
        }
    return tables, summary


def _shared_units(
    grid: GridCase, hosting: pd.DataFrame, units: pd.DataFrame, served: pd.DataFrame
) -> pd.DataFrame:
    """Return what each of several flexible units loses to the others and the grid."""
    rating = units["kw"].to_numpy(dtype=float)
    kw = served[units["port_id"]].to_numpy().T
    # found from below within the tolerance: that much is no curtailment
    kw = np.where(kw >= rating[:, None] * (1.0 - 1e-6), rating[:, None], kw)
    lost = curtailment(kw, rating, grid.profiles.step_hours)
    own = hosting.set_index("port_id").loc[units["port_id"]]
    return units.rename(columns={"kw": "rated_kw"}).assign(
        firm_kw=own["firm_kw"].to_numpy(),
        flexible_energy98_kw=own["flexible_energy98_kw"].to_numpy(),
        served_share=1.0 - lost.not_served_share,
        steps_curtailed=lost.steps,
        longest_curtailment_h=lost.longest_h,
        interventions_per_year=lost.interventions_per_year,
    )
