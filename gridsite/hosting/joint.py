r"""
What buildings can draw together: linear rows for the siting model.

A row bounds one limit at one step: :math:`\sum_k a_k P_k \le h`, with
:math:`a_k` the growth of the limited quantity per kW at port :math:`k`, measured
in AC power flow by adding a unit-sized load at each port, and :math:`h` what the
base case leaves. Rows choose plans; AC replay decides. Where a replay finds a
limit broken, `cut_rows` measures the same row again at the state of the plan.

Units are A for currents, % of nominal for voltages and % of the positive sequence
for unbalance, so that coefficients stay within a few powers of ten. Rows of
feeders with phases (highest voltages, unbalance) come from replays alone: loads
on other phases take back what one load does, so that no plan is ruled out before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gridsite.hosting.ac_replay import plan_voltages
from gridsite.hosting.acting_case import plan_cases
from gridsite.hosting.growth import (
    NEGLIGIBLE,
    USE_OF_MATERIALITY,
    base_growth,
    base_left,
    is_large,
    leave_out_small,
    measured_growth,
    row_size,
)
from gridsite.hosting.screening_kernels import drop_implied

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from gridsite.hosting.base_case import BaseCase
    from gridsite.hosting.grid_case import GridCase

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


#: A cut keeps the plan this far inside the limit, over the limit's size. [-]
_CUT_MARGIN = 1e-5

#: A plan without a power-flow solution is scaled by this until it has one. [-]
_RETREAT = 0.8


#: Steps of a large block without a solution that a cut looks at, at least.
_LOST_STEPS = 200

#: Loads below this are as good as none. [kW]
_LEAST_KW = 1e-3


def grid_rows(
    grid: GridCase,
    port_ids: pd.Index[str],
    others: Mapping[str, Sequence[GridCase]] | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """
    Return rows that bound what some ports draw together.

    Parameters
    ----------
    grid : GridCase
        Base cases.
    port_ids : pandas.Index of str
        Ports that may host units.
    others : mapping of str to sequence of GridCase, optional
        By feeder, the same grid after works on it: rows that count there are kept
        too.

    Returns
    -------
    rows : pandas.DataFrame
        Contract ``rows``, plus ``feeder_id``, and ``limit_row`` and ``step``, the
        limit and the step that the row stands for.
    row_coefficients : pandas.DataFrame
        Contract ``row_coefficients``.

    Notes
    -----
    Each limit is bounded at the step where the base case leaves least; rows
    that another row implies (with the coefficients of the step of lowest
    voltages) are left out, other steps are left to the replay. A limit that is
    broken already may move by less than the materiality.
    """
    feeder = grid.feeder
    parts = []
    for feeder_id in grid.solved_ids:
        names = feeder.ports.index[feeder.ports["feeder_id"] == feeder_id]
        if names.isin(port_ids).any():
            also = [o.block(feeder_id) for o in (others or {}).get(feeder_id, ())]
            if grid.course is None and not also and grid.split(feeder_id):
                parts.append(_split_rows(grid, feeder_id, port_ids))
                continue
            parts += [
                _block_rows(case, port_ids, also)
                for case, _ in plan_cases(grid, feeder_id, pd.Series(dtype=float))
            ]
    return stack_rows(parts)


def _split_rows(
    grid: GridCase, feeder_id: str, port_ids: pd.Index[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows of a block in parts, held whole at the steps that count alone."""
    tightest: list[Ints] = []
    size = np.zeros(len(grid.profiles.time))
    for part in grid.cases(feeder_id):
        size += np.abs(part.v).sum(axis=0)
        tightest.append(part.slack[: part.n_voltage + len(part.rated)].argmin(axis=1))
    steps = np.unique(np.append(np.concatenate(tightest), size.argmin()))
    return _of_steps(_block_rows(grid.whole_at(feeder_id, steps), port_ids, []), steps)


def _of_steps(
    found: tuple[pd.DataFrame, pd.DataFrame], steps: Ints
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return rows of a case of some steps with their steps of the year."""
    rows, coefficients = found
    if len(rows):
        rows = rows.assign(step=steps[rows["step"].to_numpy()])
    return rows, coefficients


def _deepest(grid: GridCase, violations: pd.DataFrame) -> Ints:
    """Return the steps at which each element is farthest beyond what it may be."""
    moved = (violations["value"] - violations["base_value"]).abs()
    beyond = violations["excess"].where(violations["kind"] == "new", moved)
    kinds = [violations[name] for name in ("element", "criterion", "kind")]
    at = beyond.groupby(kinds, sort=False).idxmax()
    lost = violations.index[violations["criterion"] == "power flow"]
    some = lost[:: max(1, len(lost) // _LOST_STEPS)]
    times = pd.DatetimeIndex(violations.loc[[*at, *some], "time"]).unique()
    return np.sort(grid.profiles.time.get_indexer(times)).astype(np.int64)


def cut_rows(
    grid: GridCase,
    port_ids: pd.Index[str],
    added_kw: pd.Series[float],
    violations: pd.DataFrame,
    round_number: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """
    Return rows, measured at the state of a plan, that the plan breaks.

    Parameters
    ----------
    grid : GridCase
        Base cases.
    port_ids : pandas.Index of str
        Ports that may host units.
    added_kw : pandas.Series of float
        The plan's load by port. [kW]
    violations : pandas.DataFrame
        What its replay found.
    round_number : int
        Told apart in the row ids.

    Returns
    -------
    rows : pandas.DataFrame
        Contract ``rows``, plus ``feeder_id``.
    row_coefficients : pandas.DataFrame
        Contract ``row_coefficients``.
    """
    parts = []
    for feeder_id in sorted(violations["feeder_id"].unique()):
        listed = violations[violations["feeder_id"] == feeder_id]
        if "time" in listed and grid.course is None and grid.split(str(feeder_id)):
            steps = _deepest(grid, listed)
            case = grid.whole_at(str(feeder_id), steps)
            cut = _block_cuts(case, case.slack, port_ids, added_kw, round_number)
            parts.append(_of_steps(cut, steps))
            continue
        for case, base in plan_cases(grid, str(feeder_id), added_kw):
            parts.append(_block_cuts(case, base, port_ids, added_kw, round_number))
    return stack_rows(parts)


def stack_rows(
    parts: list[tuple[pd.DataFrame, pd.DataFrame]],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """
    Return rows and their coefficients, one part below the other.

    Parameters
    ----------
    parts : list of tuple of pandas.DataFrame
        Rows and coefficients of each; those without rows are passed over.

    Returns
    -------
    rows : pandas.DataFrame
        Contract ``rows``, plus ``feeder_id``, ``limit_row`` and ``step``.
    row_coefficients : pandas.DataFrame
        Contract ``row_coefficients``.
    """
    columns = ["row_id", "criterion", "element", "time", "period", "headroom", "unit"]
    columns += ["limit_row", "step"]
    full = [part for part in parts if len(part[0])]
    if not full:
        return (
            pd.DataFrame(columns=[*columns, "feeder_id"]),
            pd.DataFrame(columns=["row_id", "port_id", "coefficient"]),
        )
    return (
        pd.concat([rows for rows, _ in full], ignore_index=True),
        pd.concat([coefficients for _, coefficients in full], ignore_index=True),
    )


def _block_rows(
    case: BaseCase, port_ids: pd.Index[str], also: list[BaseCase]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    names, port = candidate_ports(case, port_ids)
    row = np.arange(case.n_voltage + len(case.rated))
    worst = case.slack[row].argmin(axis=1)
    kept = np.zeros(len(row), dtype=bool)
    for each in (case, *also):
        heaviest = int(np.abs(each.v).sum(axis=0).argmin())
        idle = np.zeros(len(each.block.ports))
        growth = measured_growth(each, port, np.array([heaviest]), idle)[0][row]
        left = base_left(each, row, worst)
        kept |= _not_dominated(left, growth, each.row_unit[row])
    keep = np.flatnonzero(kept)
    own = worst[keep]
    large = is_large(case, port, own)
    if large:
        load = np.abs(case.states.power(own).sum(axis=0))
        own = np.full(len(keep), own[load.argmax()])
    growth = base_growth(case, port, keep, own)
    if large:
        leave_out_small(growth)
    left = base_left(case, keep, worst[keep])
    return _table(case, names, keep, worst[keep], left, growth, "")


def _block_cuts(
    case: BaseCase,
    base: Floats,
    port_ids: pd.Index[str],
    added_kw: pd.Series[float],
    round_number: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    broken_before = base < 0.0
    names, port = candidate_ports(case, port_ids)
    every = case.feeder.ports.index[case.block.ports]
    spread: Any = added_kw.groupby(level=0).sum().reindex(every, fill_value=0.0)
    spread = spread.to_numpy(dtype=np.float64)
    v = plan_voltages(case, spread)
    used = spread
    while not np.isfinite(v).all() and used.max() > _LEAST_KW:
        # beyond collapse: measure the limits where the power flow still has a
        # solution; they are far over there already
        used = used * _RETREAT
        v = plan_voltages(case, used)
    slack = case.row_slack(v)
    allowed = np.where(broken_before, base - case.materiality[:, None], 0.0)
    over = allowed - slack
    over[~np.isfinite(over)] = -np.inf
    worst = over.argmax(axis=1)
    broken = np.flatnonzero(over.max(axis=1, initial=-np.inf) > 0.0)
    if not len(broken):
        return stack_rows([])
    parts = []
    measured = worst[broken]
    large = is_large(case, port, measured)
    if large:
        deepest = over.max(axis=1)[broken].argmax()
        measured = np.full(len(broken), measured[deepest])
    for step in np.unique(measured):
        row = broken[measured == step]
        own = worst[row]
        growth = measured_growth(case, port, np.array([step]), used)[0][row]
        if large:  # before the row is laid through the plan, which it has to cut off
            leave_out_small(growth)
        margin = _CUT_MARGIN * case.scale[row]
        target = np.where(
            broken_before[row, own],
            base[row, own] - USE_OF_MATERIALITY * case.materiality[row],
            margin,
        )
        left = slack[row, own] - target + growth @ used[port]
        keep = _not_dominated(left, growth, case.row_unit[row])
        left = np.maximum(left, 0.0)
        label = f" round {round_number}"
        parts.append(
            _table(
                case,
                names,
                row[keep],
                worst[row[keep]],
                left[keep],
                growth[keep],
                label,
            )
        )
    return stack_rows(parts)


def candidate_ports(
    case: BaseCase, port_ids: pd.Index[str]
) -> tuple[NDArray[np.object_], Ints]:
    """
    Return the ports of a block that may host units.

    Parameters
    ----------
    case : BaseCase
        The block.
    port_ids : pandas.Index of str
        Ports that may host units.

    Returns
    -------
    names : numpy.ndarray of str
        Their names.
    port : numpy.ndarray of int
        Their positions in the block.
    """
    every = case.feeder.ports.index[case.block.ports]
    port = np.flatnonzero(every.isin(port_ids))
    return every.to_numpy()[port], port


def _not_dominated(
    left: Floats, growth: Floats, unit: NDArray[np.object_]
) -> NDArray[np.bool_]:
    """Return rows that no other row of the same unit implies."""
    keep: NDArray[np.bool_] = growth.max(axis=1, initial=0.0) > 0.0
    rows = np.flatnonzero(keep)
    order = rows[np.argsort(left[rows], kind="stable")]
    kind = np.unique(unit.astype(str), return_inverse=True)[1]
    top = growth.argmax(axis=1) if growth.shape[1] else np.zeros(len(left), np.int64)
    drop_implied(order, kind, top, growth, keep)
    return keep


def _table(
    case: BaseCase,
    names: NDArray[np.object_],
    row: Ints,
    step: Ints,
    left: Floats,
    growth: Floats,
    label: str,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    size = row_size(case)[row]
    limits = case.rows.iloc[row]
    time = case.time[step]
    # a current limit stands twice, once per end: the row number tells them apart
    row_id = [
        f"{c} {e} {r} {t.isoformat()}{label}"
        for c, e, r, t in zip(
            limits["criterion"], limits["element"], row, time, strict=True
        )
    ]
    rows = pd.DataFrame(
        {
            "row_id": row_id,
            "limit_row": row,
            "step": step,
            "criterion": limits["criterion"].to_numpy(),
            "element": limits["element"].to_numpy(),
            "time": time.astype(object),
            "period": 0,
            "headroom": left * size,
            "unit": np.where(case.row_unit[row] == "A", "A", "%"),
            "feeder_id": case.block.feeder_id,
        }
    )
    scaled = growth * size[:, None]
    which, at = np.nonzero(scaled > NEGLIGIBLE * scaled.max(axis=1, keepdims=True))
    coefficients = pd.DataFrame(
        {
            "row_id": np.array(row_id, dtype=object)[which],
            "port_id": names[at],
            "coefficient": scaled[which, at],
        }
    )
    return rows, coefficients
