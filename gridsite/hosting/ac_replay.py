"""Replay added loads in AC power flow over all steps, against the base case."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gridsite.errors import DataError
from gridsite.feeder.split import split_feeder
from gridsite.feeder.states import block_states
from gridsite.hosting.acting import plan_states
from gridsite.hosting.block_replay import (
    BlockReplay,
    ReplayedPart,
    joined_parts,
    unsolved_rows,
)
from gridsite.hosting.grid_case import GridCase
from gridsite.hosting.limits import Limits
from gridsite.hosting.voltage_quality import (
    voltage_rule_of,
    voltage_rule_summary,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from gridsite.feeder.model import Feeder
    from gridsite.feeder.profiles import Profiles
    from gridsite.hosting.base_case import BaseCase

    Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class LoadReplay:
    """
    What added loads do to the grid.

    Parameters
    ----------
    violations : pandas.DataFrame
        Contract ``violations``: limits newly broken or worsened, plus ``kind``
        (new, worsened), ``feeder_id`` and ``unit`` (pu, A or %).
    elements : pandas.DataFrame
        Peak loading of each element in the base case and with the loads, by
        ``element``: ``base_peak_percent``, ``plan_peak_percent``.
    voltages : pandas.DataFrame
        Lowest voltage of each bus over all steps, by ``bus``: ``base_min_pu``,
        ``plan_min_pu``.
    summary : dict
        ``steps, base_violations, new, worsened, worst``, losses of both cases
        [MWh over the steps], and how the base case keeps the norm's percentile
        rule (`voltage_rule_summary`).
    """

    violations: pd.DataFrame
    elements: pd.DataFrame
    voltages: pd.DataFrame
    summary: dict[str, Any]


def replay_loads(
    feeder: Feeder,
    loads: Profiles,
    added_kw: pd.Series[float],
    *,
    limits: Limits | None = None,
    power_factor: float = 0.98,
    grid: GridCase | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> LoadReplay:
    """
    Solve every step with and without constant added loads.

    Parameters
    ----------
    feeder : Feeder
        The model.
    loads : Profiles
        What customers draw.
    added_kw : pandas.Series of float
        Added load by ``port_id``. [kW]
    limits : Limits, optional
        EN 50160 by default.
    power_factor : float, default 0.98
        Of the added loads, lagging. [-]
    grid : GridCase, optional
        Base cases at hand already, of the same inputs.
    progress : callable, optional
        Called with the share done and a text.

    Returns
    -------
    LoadReplay
        Violations by the definitions of newly broken and worsened.

    Raises
    ------
    DataError
        If a port is unknown or not supplied, or a load is negative or NaN.

    Notes
    -----
    A state that does not converge is a violation of criterion
    ``power flow`` with value NaN.

    Examples
    --------
    >>> from gridsite.feeder.profiles import constant_profiles
    >>> from gridsite.feeder.read_pandapower import read_feeder
    >>> feeder = read_feeder("pandapower:create_kerber_landnetz_freileitung_1")
    >>> at = feeder.load_ports
    >>> loads = constant_profiles(at.index, at["p_kw"], at["q_kvar"])
    >>> result = replay_loads(feeder, loads, pd.Series({at.index[0]: 1.0}))
    >>> result.summary["new"], result.summary["worsened"]
    (0, 0)
    """
    if grid is None:
        grid = GridCase(feeder, loads, limits or Limits(), power_factor=power_factor)
    _check_added(feeder, added_kw)
    parts: list[ReplayedPart] = []
    for done, feeder_id in enumerate(grid.solved_ids):
        if progress:
            progress(done / len(grid.solved_ids), f"replay of {feeder_id}")
        parts.extend(_replayed(grid, feeder_id, added_kw))
    if progress:
        progress(1.0, "replay")
    names = feeder.ports["feeder_id"].reindex(added_kw.index[added_kw > 0.0])
    return _collect(grid, parts, sorted(set(names) & set(grid.failed)))


def _check_added(feeder: Feeder, added_kw: pd.Series[float]) -> None:
    unknown = added_kw.index.difference(feeder.ports.index)
    if len(unknown):
        msg = f"replay: port(s) unknown to {feeder.name}: {unknown[:3].tolist()}"
        raise DataError(msg)
    dark = added_kw.index[feeder.ports.loc[added_kw.index, "node"] < 0]
    if len(dark):
        msg = f"replay: port(s) not supplied: {dark[:3].tolist()}"
        raise DataError(msg)
    bad = added_kw[~((added_kw >= 0.0) & (added_kw < np.inf))]
    if len(bad):
        msg = f"replay: added_kw is not a load at {bad.index[:3].tolist()}; give kW"
        raise DataError(msg)


def _replayed(
    grid: GridCase, feeder_id: str, added_kw: pd.Series[float]
) -> Iterator[ReplayedPart]:
    """Replay one block, in its parts where it is split."""
    if grid.course is not None:
        states = plan_states(grid, feeder_id, added_kw)
        replays = (BlockReplay(case, v, None, moved) for case, v, moved in states)
        nodes = grid.feeder.nodes
        nodes = nodes[nodes["feeder_id"] == feeder_id]
        rule = voltage_rule_of(
            nodes,
            grid.course.v[feeder_id],
            grid.limits,
            step_hours=grid.profiles.step_hours,
        )
        joined = joined_parts([replay.part() for replay in replays])
        yield replace(joined, voltage_rule=rule)
        return
    names = grid.feeder.ports.index[grid.feeder.ports["feeder_id"] == feeder_id]
    spread = added_kw.groupby(level=0).sum().reindex(names, fill_value=0.0)
    split = grid.split(feeder_id)
    if split is None:
        case = grid.block(feeder_id)
        order = case.feeder.ports.index[case.block.ports]
        v = plan_voltages(case, np.asarray(spread.reindex(order), dtype=float))
        yield BlockReplay(case, v, grid.ageing).part()
        return
    planned = split
    if spread.any():
        tan_phi = np.sqrt(1.0 / grid.power_factor**2 - 1.0)
        moved = split_feeder(
            grid.feeder,
            feeder_id,
            grid.profiles_of(feeder_id),
            strict=False,
            added_kw=spread,
            tan_phi=tan_phi,
        )
        planned = moved or split
    base = [(split.trunk, split.trunk_profiles), *split.leaves]
    plan = [(planned.trunk, planned.trunk_profiles), *planned.leaves]
    for (feeder, profiles), (shifted, drawn) in zip(base, plan, strict=True):
        case = grid.part(feeder, feeder_id, profiles)
        v = case.v
        if planned is not split:
            v = _planned_voltages(case, shifted, drawn, spread)
            # a step without a solution counts once: at the trunk
            lost = ~planned.converged
            v[:, lost] = np.nan if feeder is split.trunk else case.v[:, lost]
        yield BlockReplay(case, v, grid.ageing).part()


def _planned_voltages(
    case: BaseCase, moved: Feeder, drawn: Profiles, added_kw: pd.Series[float]
) -> NDArray[np.complex128]:
    """Return voltages of a part with a plan's loads, and its source moved by them."""
    states = block_states(case.block, drawn, case.tan_phi, added_kw)
    if drawn.source_factor is not None:
        shift = moved.source_v[0] / case.feeder.source_v[0]
        states = replace(states, drive=drawn.source_factor * shift)
    steps = np.arange(len(case.time))
    return case.block.solve(states, steps, v_start=case.v, start_of=steps).v


def plan_voltages(
    case: BaseCase, spread_kw: Floats, steps: NDArray[np.int64] | None = None
) -> NDArray[np.complex128]:
    """
    Return voltages of a block with loads added at several ports.

    Parameters
    ----------
    case : BaseCase
        The block.
    spread_kw : numpy.ndarray, shape (n_port,)
        Added load at each of the block's ports. [kW]
    steps : numpy.ndarray of int, optional
        Steps to solve; all by default.

    Returns
    -------
    numpy.ndarray of complex, shape (n_node, n_step)
        Voltages; NaN where a step did not converge. [pu]
    """
    if not spread_kw.any():
        return case.v if steps is None else case.v[:, steps]
    if steps is None:
        steps = np.arange(len(case.time))
    states = replace(case.states, spread=spread_kw / case.block.base_kva)
    return case.block.solve(states, steps, v_start=case.v, start_of=steps).v


def _unsolved(grid: GridCase, feeder_ids: list[str]) -> pd.DataFrame:
    """Return violations of loads on feeders without a base case, at every step."""
    frames = [
        unsolved_rows(feeder_id, grid.profiles.time).assign(feeder_id=feeder_id)
        for feeder_id in feeder_ids
    ]
    return pd.concat(frames) if frames else pd.DataFrame()


def _collect(
    grid: GridCase, parts: list[ReplayedPart], unsolved: list[str]
) -> LoadReplay:
    listings = [part.listing for part in parts] + [_unsolved(grid, unsolved)]
    full = [frame for frame in listings if len(frame)] or listings[:1]
    violations = pd.concat(full, ignore_index=True)
    losses = np.array([part.losses_mwh for part in parts]).sum(axis=0)
    worst: dict[str, Any] | None = None
    if len(violations):
        relative = violations["excess"] / violations["limit"].abs().clip(lower=1e-9)
        row = violations.loc[relative.idxmax()]
        worst = {k: str(row[k]) for k in ("element", "criterion", "time")}
        worst |= {k: float(row[k]) for k in ("value", "limit", "excess")}
    failed = sum(part.failed for part in parts)
    failed += len(unsolved) * len(grid.profiles.time)
    new = sum(p.new for p in parts)
    worsened = sum(p.worsened for p in parts)
    summary = {
        "steps": len(grid.profiles.time),
        "base_violations": sum(part.base_violations for part in parts),
        "new": new + failed,
        "worsened": worsened,
        "not_converged": failed,
        "feeders_not_solved": sorted(grid.failed),
        "worst": worst,
        "base_losses_mwh": float(losses[0]),
        "plan_losses_mwh": float(losses[1]),
        "voltage_rule": voltage_rule_summary(
            grid.limits, [part.voltage_rule for part in parts]
        ),
    }
    return LoadReplay(
        violations=violations,
        elements=pd.concat([part.peaks for part in parts]),
        voltages=pd.concat([part.lowest for part in parts]),
        summary=summary,
    )
