"""Load states of a block, and their voltages once solved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gridsite.feeder.kernels import fill_power

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from gridsite.feeder.powerflow import Block
    from gridsite.feeder.profiles import Profiles


@dataclass(frozen=True, kw_only=True)
class States:
    """
    Load states of one block, in factored form so that they stay small.

    State ``s`` draws ``p_shapes[shape_of_port, step[s]] * p_scale`` at each port,
    plus ``added[s] * (1 + j tan_phi)`` at port ``added_port[s]`` (-1: none),
    plus ``spread[k] * (1 + j tan_phi)`` at every port ``k``, plus
    ``more[more_of[k], step[s]] * (1 + j tan_phi)`` where ``more_of[k]`` is not -1.
    All in pu; what is added is constant power, whatever the port's own load is.
    Sources hold their voltages times ``drive[step[s]]`` (1 by default).
    """

    p_shapes: NDArray[np.float64]
    q_shapes: NDArray[np.float64]
    shape_of_port: NDArray[np.int64]
    p_scale: NDArray[np.float64]
    q_scale: NDArray[np.float64]
    spread: NDArray[np.float64]
    tan_phi: float
    drive: NDArray[np.complex128] | None = None
    more_of: NDArray[np.int64] | None = None
    more: NDArray[np.float64] | None = None

    @property
    def drawn(self) -> tuple[Any, ...]:
        """
        Return what ports draw, as `gridsite.feeder.state_kernels` takes it.

        Returns
        -------
        tuple
            Fields in order but ``drive``, with those that are None filled in.
        """
        none = self.more_of is None
        return (
            self.p_shapes,
            self.q_shapes,
            self.shape_of_port,
            self.p_scale,
            self.q_scale,
            self.spread,
            np.full(len(self.p_scale), -1) if none else self.more_of,
            np.zeros((0, 1)) if self.more is None else self.more,
            self.tan_phi,
        )

    def power(self, steps: NDArray[np.int64]) -> NDArray[np.complex128]:
        """
        Return the power drawn at each port at its rated voltage, without ``more``.

        Parameters
        ----------
        steps : numpy.ndarray of int, shape (n_step,)
            Wanted steps.

        Returns
        -------
        numpy.ndarray of complex, shape (n_port, n_step)
            Load positive. [pu]
        """
        out = np.empty((len(self.p_scale), len(steps)), dtype=np.complex128)
        fill_power(
            self.p_shapes,
            self.q_shapes,
            self.shape_of_port,
            self.p_scale,
            self.q_scale,
            self.spread,
            self.tan_phi,
            steps,
            out,
        )
        return out


@dataclass(frozen=True, kw_only=True)
class Solution:
    """
    Voltages of many states.

    Parameters
    ----------
    v : numpy.ndarray of complex, shape (n_node, n_state)
        Node voltages; NaN in every state that did not converge. [pu]
    converged : numpy.ndarray of bool, shape (n_state,)
        Convergence flag of each state.
    residual_kva : numpy.ndarray, shape (n_state,)
        Largest power mismatch at any node. [kVA]
    iterations : numpy.ndarray of int, shape (n_state,)
        Iterations done.
    """

    v: NDArray[np.complex128]
    converged: NDArray[np.bool_]
    residual_kva: NDArray[np.float64]
    iterations: NDArray[np.int64]


def filed_states(block: Block, ports: pd.DataFrame) -> States:
    """
    Return the one state with every port at its value in the file, in per unit.

    Parameters
    ----------
    block : Block
        The block.
    ports : pandas.DataFrame
        ``ports`` of its feeder.

    Returns
    -------
    States
        Of one step.
    """
    filed = ports.iloc[block.ports]
    return States(
        p_shapes=np.ones((1, 1)),
        q_shapes=np.ones((1, 1)),
        shape_of_port=np.zeros(len(filed), dtype=np.int64),
        p_scale=filed["p_kw"].to_numpy(dtype=float) / block.base_kva,
        q_scale=filed["q_kvar"].to_numpy(dtype=float) / block.base_kva,
        spread=np.zeros(len(filed)),
        tan_phi=0.0,
    )


def block_states(
    block: Block,
    profiles: Profiles,
    tan_phi: float = 0.0,
    added_kw: pd.Series[float] | None = None,
) -> States:
    """
    Return a block's loads in per unit.

    Parameters
    ----------
    block : Block
        The block.
    profiles : Profiles
        On all ports of its feeder.
    tan_phi : float, default 0.0
        Reactive over active power of added loads. [-]
    added_kw : pandas.Series of float, optional
        Added at every step, by port; 0 where a port is not named. [kW]

    Returns
    -------
    States
        Of all steps.
    """
    ports = block.ports
    spread = np.zeros(len(ports))
    if added_kw is not None:
        added = added_kw.reindex(profiles.port_ids[ports]).fillna(0.0)
        spread = np.asarray(added, dtype=np.float64) / block.base_kva
    return States(
        p_shapes=np.ascontiguousarray(profiles.p_shapes, dtype=np.float64),
        q_shapes=np.ascontiguousarray(profiles.q_shapes, dtype=np.float64),
        shape_of_port=profiles.shape_of_port[ports].astype(np.int64),
        p_scale=profiles.p_scale_kw[ports] / block.base_kva,
        q_scale=profiles.q_scale_kvar[ports] / block.base_kva,
        spread=spread,
        tan_phi=tan_phi,
        drive=profiles.source_factor,
    )
