"""What works on the grid add to the rows of the siting model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.hosting.growth import NEGLIGIBLE, base_growth, base_left, row_size
from gridsite.hosting.joint import candidate_ports

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gridsite.hosting.grid_case import GridCase

#: Headroom that works add counts from this share of the row on. [-]
_LEAST_GAIN = 1e-6


def upgrade_effects(
    grid: GridCase,
    works: Mapping[str, GridCase],
    rows: pd.DataFrame,
    port_ids: pd.Index[str],
) -> pd.DataFrame:
    """
    Return what works on the grid, each alone, add to the headroom of rows.

    Parameters
    ----------
    grid : GridCase
        Base cases without any.
    works : mapping of str to GridCase
        By upgrade: base cases with it alone.
    rows : pandas.DataFrame
        From `grid_rows` or `cut_rows`.
    port_ids : pandas.Index of str
        Ports that may host units.

    Returns
    -------
    pandas.DataFrame
        Contract ``upgrade_effects``.

    Notes
    -----
    The headroom after the works, over the largest growth per kW after over before,
    less the headroom before: a row with the coefficients of before then allows no
    more than the row of after would. Works that leave less are taken to add
    nothing; replays decide.
    """
    parts = []
    for name, after in works.items():
        for feeder_id in sorted(set(rows["feeder_id"]) & set(after.solved_ids)):
            own = rows[(rows["feeder_id"] == feeder_id) & (rows["limit_row"] >= 0)]
            row, step = (own[c].to_numpy(dtype=np.int64) for c in ("limit_row", "step"))
            case, then = grid.block(feeder_id), after.block(feeder_id)
            _, port = candidate_ports(case, port_ids)
            before = base_growth(case, port, row, step)
            growth = base_growth(then, port, row, step)
            counts = before > NEGLIGIBLE * before.max(axis=1, keepdims=True)
            ratio = np.where(counts, growth / np.where(counts, before, 1.0), 0.0)
            worse = np.maximum(ratio.max(axis=1), NEGLIGIBLE)
            more = base_left(then, row, step) / worse - base_left(case, row, step)
            added = more * row_size(case)[row]
            table = own[["row_id"]].assign(upgrade_id=name, added_headroom=added)
            gains = added > _LEAST_GAIN * own["headroom"].to_numpy()
            parts.append(table[gains])
    columns = ["upgrade_id", "row_id", "added_headroom"]
    some = [part for part in parts if len(part)]
    if not some:
        return pd.DataFrame(columns=columns)
    found: pd.DataFrame = pd.concat(some, ignore_index=True)[columns]
    return found


def relieved_cuts(
    rows: pd.DataFrame, effects: pd.DataFrame, built: frozenset[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """
    Return rows measured with some works in place as rows without them.

    Parameters
    ----------
    rows : pandas.DataFrame
        From `cut_rows` on the grid with the works.
    effects : pandas.DataFrame
        From `upgrade_effects` for these rows.
    built : frozenset of str
        The works in place.

    Returns
    -------
    rows : pandas.DataFrame
        Headroom without the works, at least 0.
    effects : pandas.DataFrame
        With all the works in place, each row has the headroom that was measured.
    """
    mine = effects["upgrade_id"].isin(built)
    total = effects[mine].groupby("row_id")["added_headroom"].sum()
    gain = rows["row_id"].map(total).fillna(0.0)
    bare = (rows["headroom"] - gain).clip(lower=0.0)
    share = (rows["headroom"] - bare) / gain.where(gain > 0.0, 1.0)
    by_row = pd.Series(share.to_numpy(), index=rows["row_id"])
    scale = effects["row_id"].map(by_row).where(mine, 1.0)
    effects = effects.assign(added_headroom=effects["added_headroom"] * scale)
    return rows.assign(headroom=bare), effects
