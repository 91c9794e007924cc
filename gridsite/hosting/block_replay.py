"""What added loads newly break or worsen on one block, given its voltages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.hosting.ageing_replay import ageing_violations
from gridsite.hosting.voltage_quality import VoltageRule, voltage_rule_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gridsite.hosting.ageing_limit import Ageing
    from gridsite.hosting.base_case import BaseCase

#: Most violations of one block that are listed; all are counted.
_MOST_LISTED = 20_000

#: Columns of a listing, beside its kind, unit and feeder.
COLUMNS = ["element", "criterion", "time", "value", "limit", "base_value", "excess"]


@dataclass(frozen=True, kw_only=True)
class ReplayedPart:
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


def joined_parts(parts: list[ReplayedPart]) -> ReplayedPart:
    """
    Return what the replay of groups of steps found together.

    Parameters
    ----------
    parts : list of ReplayedPart
        Of one block, each at some of the steps.

    Returns
    -------
    ReplayedPart
        Of all steps, without the percentile rule.
    """
    listings = [p.listing for p in parts]
    full = [frame for frame in listings if len(frame)] or listings[:1]
    return ReplayedPart(
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


def unsolved_rows(feeder_id: str, time: pd.DatetimeIndex) -> pd.DataFrame:
    """
    Return violations of loads at steps without a solution.

    Parameters
    ----------
    feeder_id : str
        Which block.
    time : pandas.DatetimeIndex
        The steps.

    Returns
    -------
    pandas.DataFrame
        One row per step, without ``feeder_id``.
    """
    return pd.DataFrame(
        {
            "element": feeder_id,
            "criterion": "power flow",
            "time": time.astype(object),
            "value": np.nan,
            "limit": 0.0,
            "base_value": np.nan,
            "excess": np.inf,
            "kind": "new",
            "unit": "",
        }
    )


def _rule_of(case: BaseCase) -> VoltageRule | None:
    """Return how the base case of a part keeps the percentile rule."""
    nodes = case.feeder.nodes.iloc[case.block.nodes]
    return voltage_rule_of(nodes, case.v, case.limits, step_hours=case.step_hours)


class BlockReplay:
    """
    Replay of one block, or of a part of one.

    Parameters
    ----------
    case : BaseCase
        The block without added loads.
    v : numpy.ndarray of complex, shape (n_node, n_step)
        Voltages with them; NaN at steps without a solution. [pu]
    ageing : Ageing or None
        What transformers age by; not checked without it.
    moved : BaseCase, optional
        The block with controls where they stand with the loads.
    """

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
        self.aged = pd.DataFrame(columns=[*COLUMNS, "kind"])
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

    def part(self) -> ReplayedPart:
        """
        Return what was found, without the voltages.

        Returns
        -------
        ReplayedPart
            Listing, peaks and counts.
        """
        newly = int((self.aged["kind"] == "new").sum())
        return ReplayedPart(
            listing=self._listing(),
            peaks=self._peaks(),
            lowest=self._lowest(),
            losses_mwh=self._losses_mwh(),
            base_violations=int(self.broken.sum() + self.base_high.sum()),
            new=int(self.new.sum() + (self.high & ~self.base_high).sum()) + newly,
            worsened=int(self.worsened.sum() + (self.high & self.base_high).sum())
            + len(self.aged)
            - newly,
            failed=int((~self.converged).sum()),
            voltage_rule=_rule_of(self.case),
        )

    def _listing(self) -> pd.DataFrame:
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
            frames.append(unsolved_rows(case.block.feeder_id, case.time[failed]))
        frames = [f for f in frames if len(f)]
        if not frames:
            return pd.DataFrame(columns=[*COLUMNS, "kind", "unit", "feeder_id"])
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

    def _peaks(self) -> pd.DataFrame:
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

    def _lowest(self) -> pd.DataFrame:
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

    def _losses_mwh(self) -> tuple[float, float]:
        """Return losses over all steps, base and plan. [MWh]"""
        case = self.case
        base = case.figures.base_losses
        plan = base if self.idle else self.moved.figures.losses(self.v).sum()
        scale = case.block.base_kva / 1e3 * case.step_hours
        return float(base * scale), float(plan * scale)
