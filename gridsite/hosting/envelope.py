"""
Headroom of each load at every step, and the flexible capacities it allows.

The headroom at a step is estimated limit by limit: slack over a slope that
comes from two AC searches (at the step of least and of most slack) and varies
linearly with slack between them. Steps that a reported value curtails are then
confirmed in AC power flow, and lowered where the estimate was too high.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gridsite.hosting.search import largest_passing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gridsite.hosting.base_case import BaseCase

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: Steps at which the limit that binds first is looked for.
_FOLLOWED = 8

#: Width of the AC searches that give the slopes. [kW]
_SLOPE_TOLERANCE_KW = 0.01

#: Up to so many steps, all of them are confirmed in AC.
_CONFIRMED_WHOLE = 1_000

#: Curtailed steps of each load that are confirmed in AC: lowest, and at random.
_CONFIRMED_LOWEST, _CONFIRMED_RANDOM = 24, 40


class Envelope:
    """
    Headroom of some loads of one block at every step.

    Parameters
    ----------
    case : BaseCase
        The block.
    port : numpy.ndarray of int, shape (n,)
        Where the loads are added.
    linear : numpy.ndarray, shape (n_row, n)
        Linear estimate of the load at which each limit binds. [kW]
    cap_kw : numpy.ndarray, shape (n, n_step)
        Largest headroom at each step: the service, or the search cap. [kW]
    firm_kw : numpy.ndarray, shape (n,)
        Firm capacity, a lower bound of every headroom. [kW]
    tolerance_kw : float
        Width of AC searches that confirm values. [kW]
    """

    def __init__(
        self,
        case: BaseCase,
        port: Ints,
        linear: Floats,
        cap_kw: Floats,
        firm_kw: Floats,
        *,
        tolerance_kw: float,
    ) -> None:
        self.case, self.port, self.firm_kw = case, port, firm_kw
        self.tolerance_kw = tolerance_kw
        self.cap_kw = cap_kw
        #: what the grid leaves at each step (estimate), whatever the service
        self.grid_kw = np.full(cap_kw.shape, np.inf)
        for row in self._followed(linear):
            at = np.flatnonzero(row >= 0)
            self._lower_to(at, row[at], linear[row[at], at])

    @property
    def headroom_kw(self) -> Floats:
        """
        Return the headroom at each step.

        Returns
        -------
        numpy.ndarray, shape (n, n_step)
            Estimate, lowered where AC power flow found it too high. [kW]
        """
        out: Floats = np.minimum(self.grid_kw, self.cap_kw)
        return np.maximum(out, self.firm_kw[:, None], out=out)

    def _followed(self, linear: Floats) -> list[Ints]:
        """
        Return the limits that each load may meet first; -1 for none.

        One for the step of least slack and one for each of some steps spread
        over the range of total load, from linear estimates.
        """
        case = self.case
        n = linear.shape[1]
        every = np.arange(n)
        own = [np.full(n, case.n_row)] if case.limits.on("voltage change") else []
        if not case.n_row:
            return own
        low = linear[:-1].argmin(axis=0)
        picked = [np.where(np.isfinite(linear[low, every]), low, -1)]
        steps = np.argsort(np.abs(case.v).sum(axis=0), kind="stable")
        spread = np.linspace(0, len(steps) - 1, _FOLLOWED).astype(int)
        slack = np.where(case.broken, np.inf, case.slack)
        least = slack.min(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            per_slack = linear[:-1] / least[:, None]
        per_slack = np.where(np.isfinite(per_slack), per_slack, np.inf)
        for step in np.unique(steps[spread]):
            with np.errstate(invalid="ignore"):
                there = slack[:, step][:, None] * per_slack
            there = np.where(np.isfinite(there), there, np.inf)
            row = there.argmin(axis=0)
            row = np.where(np.isfinite(there[row, every]), row, -1)
            for earlier in picked:
                row = np.where(row == earlier, -1, row)
            picked.append(row)
        return [row for row in [*picked, *own] if (row >= 0).any()]

    def _lower_to(self, at: Ints, row: Ints, linear: Floats) -> None:
        """Lower the headroom of each load to what one of its limits leaves."""
        case = self.case
        change = row == case.n_row
        slack = np.empty((len(at), len(case.time)))
        slack[~change] = np.where(
            case.broken[row[~change]], np.inf, case.slack[row[~change]]
        )
        # the voltage change depends on how low voltage is already
        slack[change] = np.abs(case.port_voltage(case.v))[self.port[at[change]]]
        finite = np.where(np.isfinite(slack), slack, -np.inf)
        ends = np.stack([slack.argmin(axis=1), finite.argmax(axis=1)])
        every = np.arange(len(at))
        x = np.stack([slack[every, step] for step in ends])
        size = np.where(change, case.limits.voltage_change_pu, x)
        start = linear * size / size[0]
        kw = np.stack(
            [
                self._at(at, row, step, guess)
                for step, guess in zip(ends, start, strict=True)
            ]
        )
        slope = size / np.maximum(kw, 1e-9)
        with np.errstate(invalid="ignore", divide="ignore"):
            tilt = (slope[1] - slope[0]) / (x[1] - x[0])
        tilt = np.where(np.isfinite(tilt), tilt, 0.0)
        bounded = np.where(np.isfinite(slack), slack, x[0][:, None])
        line = slope[0][:, None] + tilt[:, None] * (bounded - x[0][:, None])
        size_all = np.where(change[:, None], case.limits.voltage_change_pu, slack)
        with np.errstate(divide="ignore"):
            estimate = size_all / line
        estimate = np.where(estimate >= 0.0, estimate, np.inf)
        self.grid_kw[at] = np.minimum(self.grid_kw[at], estimate)

    def _at(self, at: Ints, row: Ints, step: Ints, start: Floats) -> Floats:
        """Return the load at which one limit binds at one step, in AC. [kW]"""
        cap = np.full(len(at), self.case.limits.search_cap_kw)
        found = largest_passing(
            self.case,
            self.port[at],
            step,
            np.clip(start, 1.0, cap),
            cap,
            _SLOPE_TOLERANCE_KW,
            only=row,
        )
        return found.kw

    def flexible(self, share: float) -> tuple[Floats, Floats, Ints]:
        """
        Return flexible capacity by energy and by hours, confirmed in AC.

        Parameters
        ----------
        share : float
            Share of energy, and of hours, that must be served. [-]

        Returns
        -------
        energy_kw : numpy.ndarray, shape (n,)
            Largest rating whose energy is served to that share. [kW]
        hours_kw : numpy.ndarray, shape (n,)
            Largest rating served in full in that share of steps. [kW]
        curtailed : numpy.ndarray of int, shape (n,)
            Steps at which ``energy_kw`` is curtailed.
        """
        self._confirm(energy_rating(self.headroom_kw, share))
        headroom = self.headroom_kw
        energy = energy_rating(headroom, share)
        hours = hours_rating(headroom, share)
        return energy, hours, (headroom < energy[:, None]).sum(axis=1)

    def _confirm(self, rating: Floats) -> None:
        """Take the largest excess found in AC off the grid's headroom."""
        which, step = self._sample(rating)
        for _ in range(5):
            kw = self.headroom_kw[which, step]
            slack, _ = self.case.evaluate(self.port[which], step, kw)
            bad = np.flatnonzero((slack < 0.0) & (kw > self.firm_kw[which]))
            if not len(bad):
                return
            found = largest_passing(
                self.case,
                self.port[which[bad]],
                step[bad],
                kw[bad] * (1.0 + slack[bad].clip(-0.5)),
                kw[bad],
                _SLOPE_TOLERANCE_KW,
            )
            excess = np.zeros(len(self.port))
            np.maximum.at(excess, which[bad], kw[bad] - found.kw)
            solved = np.zeros(self.grid_kw.shape, dtype=bool)
            solved[which, step] = True
            self.grid_kw -= np.where(solved, 0.0, excess[:, None])
            self.grid_kw[which[bad], step[bad]] = found.kw

    def _sample(self, rating: Floats) -> tuple[Ints, Ints]:
        """Return (load, step) pairs to solve in AC: curtailed ones, and any."""
        limited = self.grid_kw < self.cap_kw
        curtailed = limited & (self.grid_kw < rating[:, None])
        if limited.shape[1] <= _CONFIRMED_WHOLE:
            which, step = np.nonzero(limited)
            return which, step
        rank = np.where(limited, self.grid_kw, np.inf)
        lowest = min(_CONFIRMED_LOWEST, rank.shape[1])
        picked = np.zeros_like(curtailed)
        first = np.argpartition(rank, lowest - 1, axis=1)[:, :lowest]
        np.put_along_axis(picked, first, values=True, axis=1)
        share = _CONFIRMED_RANDOM / np.maximum(curtailed.sum(axis=1), 1)
        draw = np.random.default_rng(0).random((1, curtailed.shape[1]))
        picked |= curtailed & (draw < share[:, None])
        share = _CONFIRMED_RANDOM / np.maximum(limited.sum(axis=1), 1)
        picked |= draw > 1.0 - share[:, None]
        which, step = np.nonzero(picked & limited)
        return which, step


def energy_rating(headroom_kw: Floats, share: float) -> Floats:
    r"""
    Return the largest rating whose energy is served to a given share.

    The largest :math:`P` with :math:`\sum_t \min(P, h_t) \ge s\,P\,T`.

    Parameters
    ----------
    headroom_kw : numpy.ndarray, shape (n, n_step)
        Headroom at each step. [kW]
    share : float
        Share :math:`s` of energy, in (0, 1]. [-]

    Returns
    -------
    numpy.ndarray, shape (n,)
        Ratings. [kW]

    Examples
    --------
    >>> energy_rating(np.array([[1.0, 2.0, 4.0, 4.0]]), 0.75)
    array([3.])
    """
    ordered = np.sort(headroom_kw, axis=1)
    steps = ordered.shape[1]
    below = np.cumsum(ordered, axis=1)
    # with the m lowest steps curtailed: P (s T - (T - m)) = sum of those m
    m = np.arange(1, steps + 1)
    weight = share * steps - (steps - m)
    with np.errstate(divide="ignore", invalid="ignore"):
        rating = np.where(weight > 0.0, below / weight, np.inf)
    # the sum falls short for every P above: the smallest crossing is the answer
    upper = np.append(ordered[:, 1:], np.full((len(ordered), 1), np.inf), axis=1)
    valid = (rating >= ordered) & (rating <= upper)
    first = valid.argmax(axis=1)
    every = np.arange(len(ordered))
    out: Floats = np.where(valid.any(axis=1), rating[every, first], ordered[:, 0])
    return out


def hours_rating(headroom_kw: Floats, share: float) -> Floats:
    """
    Return the largest rating served in full in a given share of steps.

    Parameters
    ----------
    headroom_kw : numpy.ndarray, shape (n, n_step)
        Headroom at each step. [kW]
    share : float
        Share of steps, in (0, 1]. [-]

    Returns
    -------
    numpy.ndarray, shape (n,)
        Ratings. [kW]

    Examples
    --------
    >>> hours_rating(np.array([[1.0, 2.0, 4.0, 4.0]]), 0.75)
    array([2.])
    """
    steps = headroom_kw.shape[1]
    skipped = int(np.floor((1.0 - share) * steps + 1e-9))
    out: Floats = np.partition(headroom_kw, skipped, axis=1)[:, skipped]
    return out
