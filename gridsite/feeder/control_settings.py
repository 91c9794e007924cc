"""
Where the controls of a feeder stand at each step, and the steps that stand alike.

Steps with the same settings share one admittance, so that whatever works on a feeder
whose controls stand works on each of these groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gridsite.feeder.acting_controls import let_controls_act
from gridsite.feeder.controls import feeder_at

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gridsite.feeder.model import Feeder
    from gridsite.feeder.profiles import Profiles

    Ints = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class ControlCourse:
    """
    Where the controls of a feeder stand, driven by its own load.

    Parameters
    ----------
    feeder : Feeder
        The model, as filed.
    profiles : Profiles
        On all its ports, in their order.
    positions : numpy.ndarray of int, shape (n_step, n_control)
        At the end of each step.
    settled : numpy.ndarray of bool, shape (n_step,)
        Steps at whose end no control wants to move.
    v : dict of str to numpy.ndarray of complex, shape (n_node, n_step)
        Voltages of each part, by ``feeder_id``. [pu]
    """

    feeder: Feeder
    profiles: Profiles
    positions: Ints
    settled: NDArray[np.bool_]
    v: dict[str, NDArray[np.complex128]]

    @property
    def operations(self) -> int:
        """
        Return how far all controls went from step to step.

        Returns
        -------
        int
            Taps and stages, from the filed positions on; moves back within a step
            do not count.
        """
        filed = [c.position for c in self.feeder.controls]
        return int(np.abs(np.diff(self.positions, axis=0, prepend=[filed])).sum())

    def groups(self) -> list[tuple[tuple[int, ...], Ints]]:
        """
        Return the distinct settings and their steps.

        Returns
        -------
        list of (tuple of int, numpy.ndarray of int)
            Positions, and steps in order.
        """
        stands, of = np.unique(self.positions, axis=0, return_inverse=True)
        return [
            (tuple(row.tolist()), np.flatnonzero(of.ravel() == k))
            for k, row in enumerate(stands)
        ]

    def notes(self) -> tuple[str, ...]:
        """
        Return what the controls do, in words.

        Returns
        -------
        tuple of str
            For reports.
        """
        n_step = len(self.positions)
        text = (
            f"controls act: {len(self.feeder.controls)} regulator(s) and capacitor(s), "
            f"{self.operations} operations over {n_step} steps of the base load, "
            f"{len(self.groups())} different settings; steady limits with a unit hold "
            "with the controls acting on it, the voltage change with them standing"
        )
        notes = [text]
        loose = int((~self.settled).sum())
        if loose:
            notes.append(f"controls: {loose} of {n_step} steps do not settle")
        return tuple(notes)


def control_course(feeder: Feeder, profiles: Profiles) -> ControlCourse:
    """
    Let all controls of a feeder act on its own load.

    Parameters
    ----------
    feeder : Feeder
        The model, with ``controls``.
    profiles : Profiles
        On all its ports, in their order.

    Returns
    -------
    ControlCourse
        From the filed positions.
    """
    filed = [control.position for control in feeder.controls]
    positions = np.tile(np.array(filed, dtype=np.int64), (len(profiles.time), 1))
    settled = np.ones(len(profiles.time), dtype=bool)
    v: dict[str, NDArray[np.complex128]] = {}
    ids = feeder.nodes["feeder_id"].to_numpy()
    for feeder_id in sorted(set(ids) - {""}):
        own = [
            k
            for k, control in enumerate(feeder.controls)
            if (ids[control.nodes] == feeder_id).any()
        ]
        course = let_controls_act(feeder, str(feeder_id), profiles)
        positions[:, own] = course.positions[:, own]
        settled &= course.settled
        v[str(feeder_id)] = course.v
    return ControlCourse(
        feeder=feeder, profiles=profiles, positions=positions, settled=settled, v=v
    )


def at_setting(
    feeder: Feeder, profiles: Profiles, positions: tuple[int, ...], steps: Ints
) -> tuple[Feeder, Profiles]:
    """
    Return a feeder and its profiles where its controls stand alike.

    Parameters
    ----------
    feeder : Feeder
        The model, as filed.
    profiles : Profiles
        Of all steps.
    positions : tuple of int
        Of each control.
    steps : numpy.ndarray of int, shape (n,)
        Which steps.

    Returns
    -------
    feeder : Feeder
        With its controls there.
    profiles : Profiles
        Of these steps; their stamps only keep the order.
    """
    return feeder_at(feeder, positions), profiles.at_steps(steps)
