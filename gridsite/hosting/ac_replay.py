"""Replay added loads in AC power flow over all steps, against the base case."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gridsite.errors import DataError
from gridsite.feeder.powerflow import block_states
from gridsite.feeder.split import split_feeder
from gridsite.hosting.acting import plan_states
from gridsite.hosting.ageing_replay import ageing_violations
from gridsite.hosting.grid_case import GridCase
from gridsite.hosting.limits import Limits
from gridsite.hosting.voltage_quality import (
    VoltageRule,
    voltage_rule_of,
    voltage_rule_summary,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from gridsite.feeder.model import Feeder
    from gridsite.feeder.profiles import Profiles
    from gridsite.hosting.ageing_limit import Ageing
    from gridsite.hosting.base_case import BaseCase

    Floats = NDArray[np.float64]

#: Most violations of one block that are listed; all are counted.
_MOST_LISTED = 20_000

_COLUMNS = ["element", "criterion", "time", "value", "limit", "base_value", "excess"]


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
    parts: list[_Part] = []
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


@dataclass(frozen=True, kw_only=True)
class _Part:
    """What the replay of a block, or of a part of one, found."""

    listing: pd.DataFrame
    peaks: pd.DataFrame
    lowest: pd.DataFrame
    losses_mwh: tuple[float, float]
    base_violations: int
    new: int
    worsened: int
    failed: int
    voltage_rule: VoltageRule | None


def _replayed(
    grid: GridCase, feeder_id: str, added_kw: pd.Series[float]
) -> Iterator[_Part]:
    """Replay one block, in its parts where it is split."""
    if grid.course is not None:
        states = plan_states(grid, feeder_id, added_kw)
        replays = (_BlockReplay(case, v, None, moved) for case, v, moved in states)
        nodes = grid.feeder.nodes
        nodes = nodes[nodes["feeder_id"] == feeder_id]
        rule = voltage_rule_of(
            nodes,
            grid.course.v[feeder_id],
            grid.limits,
            step_hours=grid.profiles.step_hours,
        )
        joined = _joined([replay.part() for replay in replays])
        yield replace(joined, voltage_rule=rule)
        return
    names = grid.feeder.ports.index[grid.feeder.ports["feeder_id"] == feeder_id]
    spread = added_kw.groupby(level=0).sum().reindex(names, fill_value=0.0)
    split = grid.split(feeder_id)
    if split is None:
        case = grid.block(feeder_id)
        order = case.feeder.ports.index[case.block.ports]
        v = plan_voltages(case, np.asarray(spread.reindex(order), dtype=float))
        yield _BlockReplay(case, v, grid.ageing).part()
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
        yield _BlockReplay(case, v, grid.ageing).part()


def _joined(parts: list[_Part]) -> _Part:
    """Return what the replay of groups of steps found together."""
    listings = [p.listing for p in parts]
    full = [frame for frame in listings if len(frame)] or listings[:1]
    return _Part(
        listing=pd.concat(full, ignore_index=True),
        peaks=pd.concat([p.peaks for p in parts]).groupby(level=0, sort=False).max(),
        lowest=pd.concat([p.lowest for p in parts]).groupby(level=0, sort=False).min(),
        losses_mwh=(
            sum(p.losses_mwh[0] for p in parts),
            sum(p.losses_mwh[1] for p in parts),
        ),
        base_violations=sum(p.base_violations for p in parts),
        new=sum(p.new for p in parts),
        worsened=sum(p.worsened for p in parts),
        failed=sum(p.failed for p in parts),
        voltage_rule=None,
    )


def _rule_of(case: BaseCase) -> VoltageRule | None:
    """Return how the base case of a part keeps the percentile rule."""
    nodes = case.feeder.nodes.iloc[case.block.nodes]
    return voltage_rule_of(nodes, case.v, case.limits, step_hours=case.step_hours)


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


class _BlockReplay:
    """Replay of one block, whose controls stand as in ``moved`` with the plan."""

    def __init__(
        self,
        case: BaseCase,
        v: NDArray[np.complex128],
        ageing: Ageing | None,
        moved: BaseCase | None = None,
    ) -> None:
        self.case, self.v = case, v
        self.moved = case if moved is None else moved
        self.idle = self.v is case.v
        self.aged = pd.DataFrame(columns=[*_COLUMNS, "kind"])
        if ageing is not None and not self.idle:
            self.aged = ageing_violations(case, ageing, v)
        self.converged = np.isfinite(self.v[0]) if len(self.v) else np.ones(0, bool)
        step = None if self.moved is case else np.zeros(v.shape[1], dtype=np.int64)
        self.slack = case.slack if self.idle else self.moved.row_slack(v, step)
        # an element counts once, whatever the number of its ends
        self.broken = case.figures.broken_elements
        self.new = self.worsened = np.zeros_like(self.broken)
        if not self.idle:
            worse = case.slack - self.slack
            new = ~case.broken & (self.slack < 0.0)
            worsened = case.broken & (worse > case.materiality[:, None])
            self.new = case.figures.by_element(new) & ~self.broken
            self.worsened = case.figures.by_element(worsened | new) & self.broken
        self._find_high()

    def _find_high(self) -> None:
        """Find voltages that rise above their limit, where no rows do that."""
        case = self.case
        if "voltage high" in case.rows["criterion"].to_numpy():
            self.base_high = self.high = np.zeros((0, len(case.time)), dtype=bool)
            return
        most = case.v_max[:, None]
        highest = case.figures.highest[case.limited]
        if not self.idle:
            highest = np.maximum(highest, np.abs(self.v[case.limited]).max(axis=1))
        self.base_high = np.zeros((len(case.limited), len(case.time)), dtype=bool)
        self.high = self.base_high
        if not (highest <= case.v_max).all():
            base, now = np.abs(case.v[case.limited]), np.abs(self.v[case.limited])
            rise = now - base
            self.base_high = base > most
            self.high = ~self.base_high & (now > most)
            self.high |= self.base_high & (rise > case.limits.materiality_voltage_pu)

    def part(self) -> _Part:
        """Return what was found, without the voltages."""
        newly = int((self.aged["kind"] == "new").sum())
        return _Part(
            listing=self.listing(),
            peaks=self.peaks(),
            lowest=self.lowest(),
            losses_mwh=self.losses_mwh(),
            base_violations=int(self.broken.sum() + self.base_high.sum()),
            new=int(self.new.sum() + (self.high & ~self.base_high).sum()) + newly,
            worsened=int(self.worsened.sum() + (self.high & self.base_high).sum())
            + len(self.aged)
            - newly,
            failed=int((~self.converged).sum()),
            voltage_rule=_rule_of(self.case),
        )

    def listing(self) -> pd.DataFrame:
        """Return the violations of this block."""
        case = self.case
        frames = [
            self._rows(self.new, "new"),
            self._rows(self.worsened, "worsened"),
            self._high_rows(),
            self.aged,
        ]
        failed = np.flatnonzero(~self.converged)
        if len(failed):
            frames.append(
                pd.DataFrame(
                    {
                        "element": case.block.feeder_id,
                        "criterion": "power flow",
                        "time": case.time[failed].astype(object),
                        "value": np.nan,
                        "limit": 0.0,
                        "base_value": np.nan,
                        "excess": np.inf,
                        "kind": "new",
                        "unit": "",
                    }
                )
            )
        frames = [f for f in frames if len(f)]
        if not frames:
            return pd.DataFrame(columns=[*_COLUMNS, "kind", "unit", "feeder_id"])
        return pd.concat(frames).assign(feeder_id=case.block.feeder_id)

    def _rows(self, hit: NDArray[np.bool_], kind: str) -> pd.DataFrame:
        case = self.case
        element, step = np.nonzero(hit)
        row = case.figures.worst_row(self.slack, element, step)
        if len(row) > _MOST_LISTED:
            deepest = np.argsort(self.slack[row, step])[:_MOST_LISTED]
            row, step = row[deepest], step[deepest]
        voltage = row < case.n_voltage
        size = case.row_size[row]
        limit = case.rows["limit"].to_numpy()[:-1][row]
        sign = np.where(voltage, 1.0, -1.0)
        value = limit + sign * self.slack[row, step]
        base = limit + sign * case.slack[row, step]
        return pd.DataFrame(
            {
                "element": case.rows["element"].to_numpy()[row],
                "criterion": case.rows["criterion"].to_numpy()[row],
                "time": case.time[step].astype(object),
                "value": value * size,
                "limit": limit * size,
                "base_value": base * size,
                "excess": -self.slack[row, step] * size,
                "kind": kind,
                "unit": case.row_unit[row],
            }
        )

    def _high_rows(self) -> pd.DataFrame:
        case = self.case
        row, step = np.nonzero(self.high)
        value = np.abs(self.v[case.limited[row], step])
        return pd.DataFrame(
            {
                "element": case.rows["element"].to_numpy()[row],
                "criterion": "voltage high",
                "time": case.time[step].astype(object),
                "value": value,
                "limit": case.v_max[row],
                "base_value": np.abs(case.v[case.limited[row], step]),
                "excess": value - case.v_max[row],
                "kind": np.where(self.base_high[row, step], "worsened", "new"),
                "unit": "pu",
            }
        )

    def peaks(self) -> pd.DataFrame:
        """Return peak loading by element. [%]"""
        case = self.case
        terminals = case.feeder.terminals.iloc[case.block.terminals]
        scale = (terminals["base_a"] / terminals["rated_a"]).to_numpy(dtype=float)
        plan = case.figures.peaks
        if not self.idle:
            plan = np.abs(self.moved.block.currents(self.v, self.moved.drive))
            plan = plan.max(axis=1, initial=0.0)
        frame = pd.DataFrame(
            {
                "element": terminals["element"].to_numpy(),
                "base_peak_percent": case.figures.peaks * scale * 100.0,
                "plan_peak_percent": plan * scale * 100.0,
            }
        )
        frame = frame[(terminals["criterion"] != "source").to_numpy()]
        return frame.groupby("element", sort=False).max()

    def lowest(self) -> pd.DataFrame:
        """Return the lowest voltage of each bus. [pu]"""
        case = self.case
        nodes = case.feeder.nodes.iloc[case.block.nodes]
        plan = case.figures.lowest if self.idle else np.abs(self.v).min(axis=1)
        frame = pd.DataFrame(
            {
                "bus": nodes["bus"].to_numpy(),
                "base_min_pu": case.figures.lowest,
                "plan_min_pu": plan,
            }
        )
        return frame[nodes["limited"].to_numpy()].set_index("bus")

    def losses_mwh(self) -> tuple[float, float]:
        """Return losses over all steps, base and plan. [MWh]"""
        case = self.case
        base = case.figures.base_losses
        plan = base if self.idle else self.moved.figures.losses(self.v).sum()
        scale = case.block.base_kva / 1e3 * case.step_hours
        return float(base * scale), float(plan * scale)


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
    time = grid.profiles.time.astype(object)
    frames = [
        pd.DataFrame(
            {
                "element": feeder_id,
                "criterion": "power flow",
                "time": time,
                "value": np.nan,
                "limit": 0.0,
                "base_value": np.nan,
                "excess": np.inf,
                "kind": "new",
                "unit": "",
                "feeder_id": feeder_id,
            }
        )
        for feeder_id in feeder_ids
    ]
    return pd.concat(frames) if frames else pd.DataFrame()


def _collect(grid: GridCase, parts: list[_Part], unsolved: list[str]) -> LoadReplay:
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
