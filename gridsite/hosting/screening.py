r"""
Prove which steps cannot limit a load, so that they need no power flow.

Let a load of apparent power :math:`S = P\sqrt{1+\tan^2\varphi}` be added at port
:math:`k` of a block with transfer impedance :math:`Z`, loads :math:`S_j` and base
voltages :math:`V`, and let :math:`u` be the change of voltage. As long as all
voltages stay above :math:`v`,

.. math::
   u_m = -Z_{mk}\frac{\overline{S}}{\overline{V_k'}}
         - \sum_j Z_{mj}\,\overline{S_j}\Big(\frac1{\overline{V_j'}} -
           \frac1{\overline{V_j}}\Big),
   \qquad
   \|u\|_\infty \le U = \frac{\max_m |Z_{mk}|\,S / v}{1 - \kappa},
   \quad \kappa_m = \sum_j \frac{|Z_{mj}|\,|S_j|}{v^2}.

The fall of a magnitude is at most the real part of the first term along
:math:`V_m`, plus what its angle and the change of :math:`V_k` can add, plus
:math:`\kappa_m U`. Currents are linear in voltages and are bounded the same way
with :math:`G = T Z`. Where every limit has more slack than its bound, the step
holds. The bounds are self-consistent: they are computed with
:math:`v = \min|V| - U`, and are void (nothing is skipped) where that has no
solution. They hold for ports to ground; with ports between nodes nothing is
skipped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from gridsite.feeder.kernels import any_row

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gridsite.hosting.base_case import BaseCase

    Floats = NDArray[np.float64]


class Screen:
    """
    Bounds of one block, prepared once for all loads.

    Parameters
    ----------
    case : BaseCase
        The block's base case.
    """

    def __init__(self, case: BaseCase) -> None:
        self.case = case
        block, states = case.block, case.states
        v0 = block.v_no_load
        turned = case.v * (np.conj(v0) / np.abs(v0))[:, None]
        lowest = np.abs(case.v).min(axis=0)
        #: largest turn of any voltage from its no-load angle, by step [rad]
        self.turn = np.abs(np.angle(turned)).max(axis=0)
        self.v_lowest = float(lowest.min())
        self.across = np.abs(case.port_voltage(v0))
        z = np.abs(block.impedance)
        self.z_rows = z[case.limited]
        self.z_most = z.max(axis=0)
        self.g_rows = np.abs((block.terminal_y @ block.impedance)[case.rated])
        power = np.abs(states.power(np.arange(len(case.time))))
        #: sums of |Z||S| and |G||S|: times 1 / v^2 they are kappa
        self.kappa = np.concatenate([self.z_rows @ power, self.g_rows @ power])
        self.kappa_step = (z @ power).max(axis=0, initial=0.0)
        self.kappa_most = float(self.kappa_step.max())
        z_port = case.port_voltage(block.impedance)
        self.z_own = np.diagonal(z_port).copy()
        self.kappa_own = np.abs(z_port) @ power

    def may_bind(self, load_kw: Floats, ports: NDArray[np.int64]) -> NDArray[np.bool_]:
        """
        Return the steps at which a load could newly break a limit.

        Parameters
        ----------
        load_kw : numpy.ndarray, shape (n,)
            Added load. [kW]
        ports : numpy.ndarray of int, shape (n,)
            Where, position in the block.

        Returns
        -------
        numpy.ndarray of bool, shape (n, n_step)
            False only where the limits are proven to hold.
        """
        case = self.case
        if (case.block.port_return >= 0).any():
            # the bounds are for ports to ground; between nodes nothing is skipped
            return np.ones((len(load_kw), len(case.time)), dtype=np.bool_)
        drop, _, _ = case.effect
        apparent = load_kw / case.block.base_kva * np.sqrt(1.0 + case.tan_phi**2)
        z_most, z_rows = self.z_most[ports], self.z_rows[:, ports]
        u, v, sound = self._largest_change(apparent * z_most)
        turn = 2.0 * float(self.turn.max())
        wobble = u / v + turn  # relative change of size and angle of the current
        active = load_kw / case.block.base_kva * self.across[ports] / v
        need_v = np.maximum(drop[:, ports], 0.0) * active + z_rows * (
            apparent / v * wobble
        )
        need_i = self.g_rows[:, ports] * (apparent / v)
        need = np.concatenate([need_v, need_i])
        slack = np.where(case.broken, np.inf, case.slack)
        out = np.zeros((len(load_kw), len(case.time)), dtype=np.bool_)
        # steps that no load of this set can reach are left out at once
        reach = (need + self.kappa.max(axis=1)[:, None] * (u / v**2)).max(axis=1)
        near = np.flatnonzero((slack < reach[:, None]).any(axis=0))
        part = np.ascontiguousarray(slack[:, near])
        kappa = np.ascontiguousarray(self.kappa[:, near])
        out[:, near] = any_row(part, kappa, np.ascontiguousarray(need.T), u / v**2)
        if case.limits.on("voltage change"):
            out |= self._change_may_bind(load_kw / case.block.base_kva, ports)
        out[~sound] = True
        return out

    def _change_may_bind(
        self, active: Floats, ports: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """
        Return the steps at which the own voltage could fall by too much.

        At the own port ``V' = E + e - z conj(S) / conj(V')`` with
        ``|e| <= kappa U``: a two-bus circuit, solved in closed form.
        """
        case = self.case
        z = self.z_own[ports, None] * (1.0 - 1j * case.tan_phi) * active[:, None]
        push = (active * np.sqrt(1.0 + case.tan_phi**2) * self.z_most[ports])[:, None]
        v_step = np.abs(case.v).min(axis=0)[None, :]
        u = last = np.zeros((len(ports), v_step.shape[1]))
        sound = np.ones(u.shape, dtype=np.bool_)
        for _ in range(200):
            v = np.maximum(v_step - u, 0.3)
            shrink = 1.0 - self.kappa_step / v**2
            sound &= (v_step - u > 0.3) & (shrink > 1e-3)
            last, u = u, push / v / np.maximum(shrink, 1e-3)
            if np.abs(u - last)[sound].max(initial=0.0) < 1e-10:
                break
        sound &= np.abs(u - last) < 1e-9
        v = np.maximum(v_step - u - 1e-8, 0.3)
        base = np.abs(case.port_voltage(case.v))[ports]
        low = base - self.kappa_own[ports] / v**2 * (u + 1e-8)
        half = low**2 - 2.0 * z.real
        inside = half**2 - 4.0 * np.abs(z) ** 2
        square = 0.5 * (half + np.sqrt(np.maximum(inside, 0.0)))
        after = np.sqrt(np.maximum(square, 0.0))
        held = sound & (inside > 0.0) & (low > 0.0)
        held &= base - after < case.limits.voltage_change_pu
        out: NDArray[np.bool_] = ~held
        return out

    def _largest_change(self, push: Floats) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        """Solve U = push / v / (1 - kappa / v^2) with v = lowest - U."""
        u = last = np.zeros_like(push)
        sound = np.ones(push.shape, dtype=np.bool_)
        for _ in range(200):
            v = np.maximum(self.v_lowest - u, 0.3)
            shrink = 1.0 - self.kappa_most / v**2
            sound &= (shrink > 0.0) & (self.v_lowest - u > 0.3)
            last, u = u, push / v / np.where(shrink > 0.0, shrink, 1.0)
            if np.abs(u - last)[sound].max(initial=0.0) < 1e-12:
                break
        sound &= (np.abs(u - last) < 1e-9) & (self.v_lowest - u > 0.3)
        return u + 1e-8, np.maximum(self.v_lowest - u - 1e-8, 0.3), sound
