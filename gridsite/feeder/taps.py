r"""
Tap changers that act: at the head of a feeder, step by step of the year.

A ratio changer on the hv side leaves a transformer's impedance, seen from the lv
side, as it is. Where an ideal source holds that side, moving from the filed
position :math:`p_0` to :math:`p` is the same, for every voltage behind it, as
moving the source by

.. math:: m = \frac{1 + (p_0 - n) s}{1 + (p - n) s}

with the neutral position :math:`n` and the voltage per step :math:`s`. So a tap
that acts is a `Profiles.source_factor`. Behind it power is the same, but the
current on the source's side is :math:`m` times what the model says there.

The control is that of pandapower's ``DiscreteTapControl``: single steps while
the voltage at the lv bus is outside its band and a further position exists. Each
time step starts at the filed position, so that no step depends on another; of
several positions inside the band, the first on the way from there is reached.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.errors import ConfigError, DataError
from gridsite.feeder.powerflow import Block
from gridsite.feeder.states import block_states

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gridsite.feeder.model import Feeder
    from gridsite.feeder.profiles import Profiles

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: Width of the band without one given, in voltages per tap step. [-]
DEADBAND_STEPS = 1.5

#: Voltages held at once while steps are solved. [values]
_SOLVED_VALUES = 6_000_000

#: Terminals must hold what the sources drive to this share of it. [-]
_AGREEMENT = 1e-9

#: Why a tap changer elsewhere cannot act as a source factor.
NOT_A_HEAD = "not at a source"

#: What transformers side by side must share to move as one.
_SHARED = ["controlled_node", "neutral", "pos", "min", "max", "step_percent"]


@dataclass(frozen=True, kw_only=True)
class TapControl:
    """
    What tap changers that act hold.

    Parameters
    ----------
    target_pu : float, optional
        Voltage at the lv bus: middle of the band. By default that of a
        controller in the file, else 1. [pu]
    deadband_pu : float, optional
        Full width of the band. By default that of a controller in the file, else
        1.5 times the voltage of a tap step. [pu]

    Raises
    ------
    ConfigError
        If the target or the width is not positive.
    """

    target_pu: float | None = None
    deadband_pu: float | None = None

    def __post_init__(self) -> None:
        """Refuse values that name no band."""
        for name in ("target_pu", "deadband_pu"):
            value = getattr(self, name)
            if value is not None and not 0.0 < value < 2.0:
                msg = f"taps: {name} is {value:g}; give pu between 0 and 2"
                raise ConfigError(msg)

    def band(self, tap: pd.Series) -> tuple[float, float]:
        """
        Return the band of one tap changer.

        Parameters
        ----------
        tap : pandas.Series
            A row of ``Feeder.taps``.

        Returns
        -------
        lower : float
            Below it the voltage is raised. [pu]
        upper : float
            Above it the voltage is lowered. [pu]
        """
        target, width = self.target_pu, self.deadband_pu
        filed = pd.notna(tap["lower_pu"]) and pd.notna(tap["upper_pu"])
        if target is None:
            target = (tap["lower_pu"] + tap["upper_pu"]) / 2.0 if filed else 1.0
        if width is None:
            step = DEADBAND_STEPS * abs(tap["step_percent"]) / 100.0
            width = tap["upper_pu"] - tap["lower_pu"] if filed else step
        return float(target - width / 2.0), float(target + width / 2.0)


@dataclass(frozen=True, kw_only=True)
class TapPositions:
    """
    Where the tap changer of a feeder stands at each step.

    Parameters
    ----------
    positions : numpy.ndarray of int, shape (n_step,)
        Position.
    factor : numpy.ndarray, shape (n_step,)
        What it makes of the source's voltage, over the filed position. [-]
    hunting : numpy.ndarray of bool, shape (n_step,)
        Steps where the next move would return to a former position: the tap
        stands at the former or the last one, the one nearer to the band.
    at_limit : numpy.ndarray of bool, shape (n_step,)
        Steps outside the band with no further position.
    unsolved : numpy.ndarray of bool, shape (n_step,)
        Steps where a position on the way has no power-flow solution: the tap
        stands at the last one that has, or at the filed one.
    band_pu : tuple of float
        What the controlled voltage is held within. [pu]
    """

    positions: Ints
    factor: Floats
    hunting: NDArray[np.bool_]
    at_limit: NDArray[np.bool_]
    unsolved: NDArray[np.bool_]
    band_pu: tuple[float, float]


def head_tap(feeder: Feeder, feeder_id: str) -> tuple[pd.Series | None, str]:
    """
    Find the tap changer at the head of a feeder.

    Parameters
    ----------
    feeder : Feeder
        The model.
    feeder_id : str
        Which part.

    Returns
    -------
    tap : pandas.Series or None
        A row of ``Feeder.taps`` that stands for all transformers at the sources,
        or None where they cannot act as one source factor.
    reason : str
        Why there is none.
    """
    table = feeder.taps
    if table is None:
        return None, "models of this kind do not hold them"
    if feeder_id == "":
        return None, "the lv bus is a source"
    terminals = feeder.terminals
    at_source = terminals["node"].isin(feeder.source_nodes).to_numpy()
    own = (terminals["feeder_id"] == feeder_id).to_numpy()
    inner = (terminals["criterion"] != "source").to_numpy()
    heads = np.flatnonzero(at_source & own & inner)
    names = set(terminals["element"].iloc[heads])
    taps = table[table["element"].isin(names)]
    frozen = taps.loc[taps["frozen_because"] != "", "frozen_because"]
    checks = (
        (not len(taps), NOT_A_HEAD),
        (len(frozen) > 0, "".join(frozen[:1])),
        (
            len(taps) < len(names) or not _all_of_source(feeder, feeder_id, heads),
            "the source feeds the network by another way too",
        ),
        (
            bool((terminals["side"].iloc[heads] != "hv").any()),
            "the source is not on the side of the tap",
        ),
        (
            len(taps[_SHARED].drop_duplicates()) > 1,
            "transformers side by side differ in their taps or lv bus",
        ),
    )
    reason = next((why for hit, why in checks if hit), "")
    return (None, reason) if reason else (taps.iloc[0], "")


def _all_of_source(feeder: Feeder, feeder_id: str, heads: Ints) -> bool:
    """Return whether the terminals hold all that sources drive into a feeder."""
    nodes = np.flatnonzero(feeder.nodes["feeder_id"].to_numpy() == feeder_id)
    wanted = feeder.y.tocsr()[feeder.source_nodes][:, nodes].sum(axis=0)
    held = feeder.terminal_y[heads][:, nodes].sum(axis=0)
    most = np.abs(wanted).max(initial=0.0)
    return bool(np.abs(held - wanted).max(initial=0.0) <= _AGREEMENT * most)


def acting_positions(
    feeder: Feeder,
    feeder_id: str,
    profiles: Profiles,
    *,
    control: TapControl | None = None,
) -> TapPositions:
    """
    Let the tap changer at the head of a feeder follow its load.

    Parameters
    ----------
    feeder : Feeder
        The model.
    feeder_id : str
        Which part.
    profiles : Profiles
        On all ports of the feeder, in their order.
    control : TapControl, optional
        What it holds; the file's controller, or 1 pu, by default.

    Returns
    -------
    TapPositions
        At each step.

    Raises
    ------
    DataError
        If no tap changer can act at the head of this feeder.

    Notes
    -----
    A step that does not settle is flagged, never dropped.

    Examples
    --------
    >>> from pandapower import networks
    >>> from gridsite.feeder.profiles import constant_profiles
    >>> from gridsite.feeder.read_pandapower import read_feeder
    >>> net = networks.create_kerber_landnetz_freileitung_1()
    >>> net.trafo = net.trafo.assign(
    ...     tap_side="hv", tap_neutral=0, tap_pos=0, tap_min=-2, tap_max=2,
    ...     tap_step_percent=2.5, tap_changer_type="Ratio",
    ... )
    >>> feeder = read_feeder(net)
    >>> load = feeder.ports
    >>> drawn = constant_profiles(load.index, load["p_kw"], load["q_kvar"])
    >>> control = TapControl(target_pu=1.03)
    >>> found = acting_positions(feeder, "trafo 1", drawn, control=control)
    >>> found.positions, found.factor.round(4)
    (array([-1]), array([1.0256]))
    """
    tap, reason = head_tap(feeder, feeder_id)
    if tap is None:
        msg = f"{feeder.name}: no tap changer of {feeder_id!r} can act: {reason}"
        raise DataError(msg)
    lower, upper = (control or TapControl()).band(tap)
    head = _Head(feeder, feeder_id, profiles, tap)
    sign = 1 if tap["step_percent"] > 0.0 else -1
    n_step = len(profiles.time)
    position = np.full(n_step, int(tap["pos"]))
    best, nearest = position.copy(), np.full(n_step, np.inf)
    hunting, at_limit, unsolved = np.zeros((3, n_step), dtype=bool)
    seen = np.zeros((n_step, int(tap["max"] - tap["min"]) + 1), dtype=bool)
    moving = np.arange(n_step)
    while len(moving):
        now = position[moving]
        seen[moving, now - int(tap["min"])] = True
        voltage = head.voltage(moving, now)
        # a moved tap whose state has no solution keeps the last that had one
        unsolved[moving] = np.isnan(voltage)
        away = np.maximum(np.maximum(lower - voltage, voltage - upper), 0.0)
        nearer = away < nearest[moving]
        best[moving[nearer]], nearest[moving[nearer]] = now[nearer], away[nearer]
        move = sign * ((voltage > upper).astype(int) - (voltage < lower))
        ahead = np.clip(now + move, int(tap["min"]), int(tap["max"]))
        at_limit[moving] = (move != 0) & (ahead == now)
        back = (ahead != now) & seen[moving, ahead - int(tap["min"])]
        hunting[moving] = back
        position[moving] = ahead
        moving = moving[(ahead != now) & ~back]
    return TapPositions(
        positions=best,
        factor=head.factor(best),
        hunting=hunting,
        at_limit=at_limit,
        unsolved=unsolved,
        band_pu=(lower, upper),
    )


class _Head:
    """The controlled voltage of one feeder at any tap position."""

    def __init__(
        self, feeder: Feeder, feeder_id: str, profiles: Profiles, tap: pd.Series
    ) -> None:
        self.block = Block(feeder, feeder_id)
        self.tap = tap
        self.at = int(np.flatnonzero(self.block.nodes == tap["controlled_node"])[0])
        given = profiles.source_factor
        self.given = np.ones(len(profiles.time), complex) if given is None else given
        self.states = block_states(self.block, profiles)

    def factor(self, position: Ints) -> Floats:
        """Return what positions make of the source's voltage."""
        share = self.tap["step_percent"] / 100.0
        filed = 1.0 + (self.tap["pos"] - self.tap["neutral"]) * share
        out: Floats = filed / (1.0 + (position - self.tap["neutral"]) * share)
        return out

    def voltage(self, steps: Ints, position: Ints) -> Floats:
        """Return the controlled voltage at steps, NaN without a solution. [pu]"""
        drive = self.given.copy()
        drive[steps] *= self.factor(position)
        states = replace(self.states, drive=drive)
        out = np.empty(len(steps))
        width = max(64, _SOLVED_VALUES // len(self.block.nodes))
        for first in range(0, len(steps), width):
            part = slice(first, first + width)
            out[part] = np.abs(self.block.solve(states, steps[part]).v[self.at])
        return out
