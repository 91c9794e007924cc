"""
Headroom of each load at every step, and the flexible capacities it allows.

The load at which a limit binds is computed for every step from the second-order
response of the block (`gridsite.hosting.response`), for each limit that may bind
first. AC searches at some steps, from the tightest to the loosest at which a limit
is the first or near, give what the formula leaves out, as a factor that is
interpolated between them. Of the steps
that reported values curtail, the lowest and a random sample are confirmed in AC
power flow, and the largest excess found is taken off the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gridsite.hosting.envelope_kernels import binding_load, lower_to, spread_steps
from gridsite.hosting.headway import headway, spread_and_tight
from gridsite.hosting.overtaking import overtaking
from gridsite.hosting.phase_rows import unbalance_load
from gridsite.hosting.response_kernels import product
from gridsite.hosting.search import largest_passing, root_near

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gridsite.hosting.base_case import BaseCase
    from gridsite.hosting.response import Response

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]

#: Shares of the steps, from the tightest on, at which AC searches calibrate.
_CALIBRATED_AT = (0.0, 0.01, 0.08, 0.4, 1.0)

#: A limit calibrates where it leaves at most this multiple of what the first leaves;
#: of these steps so many are ranked.
_BINDING, _RANKED = 1.4, 500

#: Limits further behind the first than this are not followed: by linear estimate,
#: and by the second-order one at the steps looked at. [-]
_CANDIDATE, _FOLLOWED = 1.3, 1.0005

#: Steps, spread over the load, at which limits are compared.
_LOOKED_AT = 64

#: Estimates held at once. [values]
_BATCH_VALUES = 4_000_000

#: Width of the AC searches that calibrate, and the least load whose factor means
#: anything: that width is no longer a large share of it. [kW]
_SEARCH_TOLERANCE_KW, _CALIBRATED_FROM_KW = 0.01, 0.1

#: Rounds of confirming in AC and lowering.
_CONFIRMING_ROUNDS = 8

#: Up to so many steps, all of them are confirmed in AC.
_CONFIRMED_WHOLE = 1_000

#: Curtailed steps of each load that are confirmed in AC: lowest, and at random.
_CONFIRMED_LOWEST, _CONFIRMED_RANDOM = 8, 10

#: Steps of each load, drawn at random, at which the true headroom is searched to
#: report the estimate's signed error, and the width of that search. [kW]
_MEASURED, _MEASURED_TOLERANCE_KW = 2, 2e-3


class Envelope:
    """
    Headroom of some loads of one block at every step.

    Parameters
    ----------
    response : Response
        Of the block.
    port : numpy.ndarray of int, shape (n,)
        Where the loads are added.
    linear : numpy.ndarray, shape (n_row + 1, n)
        Linear estimate of the load at which each limit binds. [kW]
    cap_kw : numpy.ndarray, shape (n, n_step)
        Largest headroom at each step: the service, or the search cap. [kW]

    Attributes
    ----------
    closed : numpy.ndarray of bool, shape (n, n_step), or None
        Steps without headroom, at which nothing is looked at.
    grid_kw : numpy.ndarray, shape (n, n_step)
        What the grid leaves at each step, whatever the service. [kW]
    row : numpy.ndarray of int, shape (n, n_step)
        The limit that leaves it; -1 for none.
    """

    def __init__(
        self, response: Response, port: Ints, linear: Floats, cap_kw: Floats
    ) -> None:
        self.case: BaseCase = response.case
        self.response, self.port, self.cap_kw = response, port, cap_kw
        self.closed: NDArray[np.bool_] | None = None
        self.grid_kw = np.full(cap_kw.shape, np.inf)
        self.row = np.full(cap_kw.shape, -1, dtype=np.int32)
        every, row = self._followed(linear)
        self._is_followed = np.zeros(linear.shape, dtype=np.bool_)
        self._follow(every, row)

    def _follow(self, every: Ints, row: Ints) -> None:
        """Lower the headroom of loads to what limits leave, in batches."""
        self._is_followed[row, every] = True
        step = max(1, _BATCH_VALUES // max(self.cap_kw.shape[1], 1))
        for first in range(0, len(row), step):
            at = slice(first, first + step)
            self._lower_to(every[at], row[at])

    def headroom_kw(self, firm_kw: Floats, which: Ints | slice = slice(None)) -> Floats:
        """
        Return the headroom at each step.

        Parameters
        ----------
        firm_kw : numpy.ndarray, shape (n,)
            Firm capacity, a lower bound of every headroom. [kW]
        which : numpy.ndarray of int or slice, default all
            Loads that are asked for.

        Returns
        -------
        numpy.ndarray, shape (n, n_step)
            Estimate, lowered where AC power flow found it too high; 0 at closed
            steps. [kW]
        """
        out: Floats = np.minimum(self.grid_kw[which], self.cap_kw[which])
        np.maximum(out, firm_kw[which, None], out=out)
        if self.closed is not None:
            out[self.closed[which]] = 0.0
        return out

    def _followed(self, linear: Floats) -> tuple[Ints, Ints]:
        """
        Return pairs of load and limit that bind first at some looked-at step.

        Candidates by linear estimate, chosen by the second-order one: at the same
        steps for all, and where a limit comes nearest to those chosen there.
        """
        case = self.case
        marked = np.zeros(linear.shape, dtype=np.bool_)
        marked[-1] = case.limits.on("voltage change")
        if not case.n_row:
            load, row = np.nonzero(marked.T)
            return load, row
        with np.errstate(divide="ignore", invalid="ignore"):
            inverse = linear[:-1] / self.response.row_least[:, None]
        inverse = np.where(np.isfinite(inverse), inverse, np.inf)
        slack = headway(self.response)
        if slack is not self.response.row_slack:
            linear = linear.copy()
            level = slice(0, case.first_unbalance)
            linear[level] = inverse[level] * slack[level].min(axis=1)[:, None]
        first = np.unique(linear[:-1].argmin(axis=0))
        # limits that are broken at times are near at others
        tight = slack[np.union1d(first, case.broken_rows)]
        steps = spread_and_tight(self.response, tight, _LOOKED_AT)
        reaching = self._mark(marked, linear, inverse, slack[:, steps], steps)
        load, row = np.nonzero((marked | reaching).T)
        kept = np.zeros(len(row), dtype=np.bool_)
        known = np.flatnonzero(marked[row, load])
        if len(known):
            kept[known] = self._first_at(load[known], row[known], steps)
        plain = np.flatnonzero(row < case.first_unbalance)
        near, where = overtaking(
            slack, inverse, linear[-1], load[plain], row[plain], kept[plain]
        )
        if len(near):
            some = np.union1d(plain[near], np.flatnonzero(kept))
            kept[some] |= self._first_at(load[some], row[some], where)
        return load[kept], row[kept]

    def _mark(
        self,
        marked: Bools,
        linear: Floats,
        inverse: Floats,
        slack: Floats,
        steps: Ints,
    ) -> Bools:
        """
        Mark limits that are near the first at some steps, by linear estimate.

        Returned are those that at their tightest leave no more than the first leaves
        at its loosest: elsewhere they may be the first.
        """
        case = self.case
        ratio = np.arange(case.n_row) >= case.first_unbalance
        reaching = np.zeros(linear.shape, dtype=np.bool_)
        for k in range(linear.shape[1]):
            use = np.isfinite(inverse[:, k]) & (inverse[:, k] > 0.0)
            near = np.full(slack.shape, np.inf)
            near[use] = slack[use] * inverse[use, k, None]
            near[use & ratio] = self._unbalance(k, steps)[use[ratio]]
            low = np.minimum(near.min(axis=0), linear[-1, k])
            marked[:-1, k] = (near < _CANDIDATE * low).any(axis=1)
            loosest = low[np.isfinite(low)].max(initial=0.0)
            reaching[:-1, k] = use & ~ratio & (linear[:-1, k] < _CANDIDATE * loosest)
        return reaching

    def _unbalance(self, load: int, steps: Ints) -> Floats:
        """Return where limits on unbalance bind, by angle; none without phases."""
        if self.case.first_unbalance == self.case.n_row:
            return np.empty((0, len(steps)))
        return unbalance_load(self.case, int(self.port[load]), steps)

    def _first_at(self, load: Ints, row: Ints, steps: Ints) -> NDArray[np.bool_]:
        """Return which pairs bind first, or almost, at one of some steps."""
        width = max(1, _BATCH_VALUES // len(steps))
        estimate = np.concatenate(
            [
                self._binding(
                    load[first : first + width], row[first : first + width], steps
                )
                for first in range(0, len(row), width)
            ]
        )
        low = np.full((len(self.port), len(steps)), np.inf)
        np.minimum.at(low, load, estimate)
        first = np.isfinite(estimate) & (estimate <= _FOLLOWED * low[load])
        kept: NDArray[np.bool_] = first.any(axis=1)
        return kept

    def _lower_to(self, load: Ints, row: Ints) -> None:
        """Lower the headroom of each load to what one of its limits leaves."""
        every = np.arange(len(self.case.time))
        estimate = self._binding(load, row, every)
        estimate *= self.case.block.base_kva
        at_kw, factor = self._calibration(estimate, load, row)
        lower_to(estimate, load, row, at_kw, factor, self.grid_kw, self.row)

    def _binding(self, load: Ints, row: Ints, steps: Ints) -> Floats:
        """Return the load at which each limit binds, to second order. [pu]"""
        case, response = self.case, self.response
        port = self.port[load]
        own = row == case.n_row
        out = np.empty((len(row), len(steps)))
        ratio = ~own & (row >= case.first_unbalance)
        over, z_over = np.empty((0, 0), complex), np.zeros(len(row), complex)
        second = np.zeros(out.shape, dtype=np.complex64)
        follows = case.block.follows
        z_more = np.zeros(
            (len(row), len(steps) if follows.any() else 0), dtype=np.complex64
        )
        z = np.array(response.z_port[port, port])
        limit = case.change_max[port]
        whole = len(steps) == len(case.time)

        def at(series: NDArray[Any]) -> NDArray[Any]:
            return series if whole else np.take(series, steps, axis=-1)

        if not own.all():
            inner = np.where(own, 0, row)
            bound = np.concatenate([case.v_min, case.upper_limit])[inner]
            limit = np.where(own, limit, bound)
            weight = response.row_z[inner] * np.conj(response.z_port[:, port].T)
            weight[own] = 0.0
            z = np.where(own, z, response.row_z[inner, port])
            mix, series = response.modes
            second = product((weight @ mix).astype(np.complex64), at(series))
            if follows.any():
                weight = -response.row_z[inner][:, follows]
                weight *= response.z_port[np.ix_(follows, port)].T
                weight[own] = 0.0
                mix, series = response.following_modes
                z_more = product((weight @ mix).astype(np.complex64), at(series))
        if ratio.any():
            positive = case.positive_y[np.where(ratio, row - case.first_unbalance, 0)]
            over = positive @ at(case.v)
            z_over = (positive @ case.block.impedance)[np.arange(len(row)), port]
        binding_load(
            port,
            np.select([own, row < case.n_voltage, ratio], [0, 1, 3], default=2),
            row,
            at(case.v),
            at(case.drive),
            case.limited,
            case.upper_y.indptr,
            case.upper_y.indices,
            case.upper_y.data,
            case.upper_source,
            limit,
            at(case.broken),
            z,
            second,
            at(response.v_port),
            np.ascontiguousarray(np.diagonal(response.z_port)),
            at(response.m_own),
            z_more,
            at(response.h_own) if follows.any() else response.h_own,
            case.tan_phi,
            over,
            z_over,
            out,
        )
        return out

    def _calibration(
        self, estimate: Floats, load: Ints, row: Ints
    ) -> tuple[Floats, Floats]:
        """
        Return what AC searches at some steps make of estimates.

        Of each pair, ascending estimates, where it binds first or almost, and the
        factor at each. [kW], [-]
        """
        step = np.empty((len(load), min(len(_CALIBRATED_AT), estimate.shape[1])), int)
        share = np.array(_CALIBRATED_AT)
        if step.shape[1] < len(share):  # each of few steps once
            share = np.linspace(0.0, 1.0, step.shape[1])
        spread_steps(estimate, load, self.grid_kw, _BINDING, _RANKED, share, step)
        guess = np.take_along_axis(estimate, np.maximum(step, 0), axis=1)
        i, j = np.nonzero(step >= 0)
        found = np.full(guess.shape, np.nan)
        found[i, j] = self._search(load[i], row[i], step[i, j], guess[i, j])
        usable = np.isfinite(found) & (guess > _CALIBRATED_FROM_KW)
        factor = np.divide(found, guess, where=usable, out=np.ones(guess.shape))
        # what was not found is held by the one before, or by the first
        held = np.maximum.accumulate(
            np.where(usable, np.arange(len(share)), -1), axis=1
        )
        held = np.where(held < 0, usable.argmax(axis=1)[:, None], held)
        at_kw = np.take_along_axis(guess, held, axis=1)
        return at_kw, np.take_along_axis(factor, held, axis=1)

    def _search(self, load: Ints, row: Ints, step: Ints, guess: Floats) -> Floats:
        """Return the load at which one limit binds at one step, in AC. [kW]"""
        most = self.case.limits.search_cap_kw
        near = np.flatnonzero(guess < most)
        out = np.full(len(guess), np.nan)
        port, step, row, kw = self.port[load[near]], step[near], row[near], guess[near]
        kw, left = root_near(self.case, port, step, row, kw, _SEARCH_TOLERANCE_KW)
        if len(left):
            found = largest_passing(
                self.case,
                port[left],
                step[left],
                guess[near[left]],
                np.full(len(left), 2.0 * most),
                _SEARCH_TOLERANCE_KW,
                only=row[left],
            )
            kw[left] = np.where(found.row >= 0, found.kw, np.nan)
        out[near] = np.where(kw < 2.0 * most, kw, np.nan)
        return out

    def include(self, load: Ints, row: Ints, step: Ints, kw: Floats) -> None:
        """
        Take over what AC searches found at one step of some loads.

        Parameters
        ----------
        load : numpy.ndarray of int, shape (n,)
            Which loads.
        row : numpy.ndarray of int, shape (n,)
            The limit that binds; -1 for none. It is followed from here on.
        step : numpy.ndarray of int, shape (n,)
            Where it was searched.
        kw : numpy.ndarray, shape (n,)
            What passes there. [kW]
        """
        missed = self._missed(load, row)
        if len(missed):
            self._follow(load[missed], row[missed])
        known = row >= 0
        self.grid_kw[load[known], step[known]] = kw[known]

    def confirm(self, firm_kw: Floats, rating: Floats, *, whole: bool = True) -> None:
        """
        Take the largest excess found in AC off the grid's headroom.

        Parameters
        ----------
        firm_kw : numpy.ndarray, shape (n,)
            Firm capacity. [kW]
        rating : numpy.ndarray, shape (n,)
            The largest rating of interest; steps below it matter most. [kW]
        whole : bool, default True
            Whether few steps are all looked at, not a sample of them.
        """
        which, step = self._sample(rating, whole=whole)
        slack = np.zeros(len(which))
        again = np.arange(len(which))  # what a round lowers passes elsewhere as well
        for _ in range(_CONFIRMING_ROUNDS):
            kw = np.minimum(self.grid_kw[which, step], self.cap_kw[which, step])
            kw = np.maximum(kw, firm_kw[which])
            slack[again], _ = self.case.evaluate(
                self.port[which[again]], step[again], kw[again]
            )
            bad = np.flatnonzero((slack < 0.0) & (kw > firm_kw[which]))
            excess = np.zeros(len(which))
            again = np.flatnonzero(np.isin(which, which[bad]))
            if len(bad):
                found = largest_passing(
                    self.case,
                    self.port[which[bad]],
                    step[bad],
                    kw[bad] * (1.0 + slack[bad].clip(-0.5)),
                    kw[bad],
                    _SEARCH_TOLERANCE_KW,
                )
                excess[bad] = kw[bad] - found.kw
                missed = self._missed(which[bad], found.row)
                if len(missed):
                    self._follow(which[bad][missed], found.row[missed])
                    continue
            if not len(bad):
                return
            most = np.zeros(len(self.port))
            np.maximum.at(most, which[bad], excess[bad])
            solved = kw[bad] - excess[bad]
            self.grid_kw -= most[:, None]
            self.grid_kw[which, step] += most[which]
            self.grid_kw[which[bad], step[bad]] = solved

    def confirm_at(
        self, load: Ints, step: Ints, kw: Floats, firm_kw: Floats
    ) -> NDArray[np.bool_]:
        """
        Lower the headroom of loads that fail at a step.

        Parameters
        ----------
        load, step : numpy.ndarray of int, shape (n,)
            Which loads, and when.
        kw : numpy.ndarray, shape (n,)
            What is looked at in AC; no more than the headroom there. [kW]
        firm_kw : numpy.ndarray, shape (n,)
            Firm capacity of these loads. [kW]

        Returns
        -------
        numpy.ndarray of bool, shape (n,)
            Which failed: a limit that was not followed is from here on, and all
            headroom of these loads is lower by what is too high still.
        """
        slack, _ = self.case.evaluate(self.port[load], step, kw)
        failed: NDArray[np.bool_] = slack < 0.0
        bad = np.flatnonzero(failed)
        if len(bad):
            found = largest_passing(
                self.case,
                self.port[load[bad]],
                step[bad],
                kw[bad] * (1.0 + slack[bad].clip(-0.5)),
                kw[bad],
                _SEARCH_TOLERANCE_KW,
            )
            missed = self._missed(load[bad], found.row)
            if len(missed):
                self._follow(load[bad][missed], found.row[missed])
            most = np.zeros(len(self.port))
            solved = np.maximum(found.kw, firm_kw[bad])
            at = load[bad], step[bad]
            # a limit followed only now is known from here on: no excess of others
            excess = np.minimum(self.grid_kw[at], kw[bad]) - solved
            np.maximum.at(most, load[bad], excess)
            self.grid_kw -= most[:, None]
            self.grid_kw[at] = np.minimum(self.grid_kw[at], solved)
        return failed

    def _open(self, load: int) -> Ints | None:
        """Return the steps that are open to a load; None where all are."""
        if self.closed is None or not self.closed[load].any():
            return None
        return np.flatnonzero(~self.closed[load])

    def signed_error_kw(self, firm_kw: Floats) -> Floats:
        """
        Return headroom less the true one, at random steps of each load.

        Parameters
        ----------
        firm_kw : numpy.ndarray, shape (n,)
            Firm capacity. [kW]

        Returns
        -------
        numpy.ndarray, shape (n, n_drawn)
            Above 0 where the headroom is too high, by AC searches to 0.002 kW;
            0 where a cap, no limit, sets it. NaN without a power flow. [kW]

        Notes
        -----
        The steps are drawn apart from those that `confirm` looked at, so that the
        error is that of any step, not of those that were mended.
        """
        n, n_step = self.cap_kw.shape
        # by port, so that the order of connections changes nothing
        every = (len(self.case.block.ports), _MEASURED)
        step = np.random.default_rng(1).integers(n_step, size=every)[self.port]
        for k in range(n):
            own = self._open(k)
            step[k] = step[k] if own is None else own[step[k] % len(own)]
        step, which = step.ravel(), np.repeat(np.arange(n), _MEASURED)
        cap = self.cap_kw[which, step]
        kw = np.maximum(np.minimum(self.grid_kw[which, step], cap), firm_kw[which])
        found = largest_passing(
            self.case, self.port[which], step, kw, cap, _MEASURED_TOLERANCE_KW
        )
        error = np.where(found.converged, kw - found.kw, np.nan)
        out: Floats = error.reshape(n, _MEASURED)
        return out

    def _missed(self, load: Ints, row: Ints) -> Ints:
        """Return positions of limits that bind and are not followed, once each."""
        new = np.flatnonzero(row >= 0)
        new = new[~self._is_followed[row[new], load[new]]]
        _, first = np.unique(np.stack([load[new], row[new]]), axis=1, return_index=True)
        missed: Ints = new[first]
        return missed

    def _sample(self, rating: Floats, *, whole: bool) -> tuple[Ints, Ints]:
        """Return (load, step) pairs to solve in AC."""
        headroom = np.minimum(self.grid_kw, self.cap_kw)
        n, n_step = headroom.shape
        if n_step <= (_CONFIRMED_WHOLE if whole else 2 * _CONFIRMED_LOWEST):
            which, step = np.indices(headroom.shape).reshape(2, -1)
            return which, step
        draw = np.random.default_rng(0)
        picks = []
        for k in range(n):
            own = self._open(k)
            line = headroom[k] if own is None else headroom[k, own]
            below = np.flatnonzero(line < rating[k])
            lowest = np.argpartition(line, min(_CONFIRMED_LOWEST, len(line) - 1))
            any_step = draw.integers(len(line), size=_CONFIRMED_RANDOM)
            chosen = [lowest[:_CONFIRMED_LOWEST], any_step]
            if len(below):
                chosen.append(draw.choice(below, _CONFIRMED_RANDOM))
            steps = np.unique(np.concatenate(chosen))
            steps = steps if own is None else own[steps]
            picks.append(np.stack([np.full(len(steps), k), steps]))
        which, step = np.concatenate(picks, axis=1)
        return which, step
