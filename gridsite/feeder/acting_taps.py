"""
Let the tap changers at the heads of a feeder model act (`gridsite.feeder.taps`).

What cannot act stays frozen at its filed position and is named, with the reason.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.feeder.taps import NOT_A_HEAD, acting_positions, head_tap

if TYPE_CHECKING:
    from gridsite.feeder.model import Feeder
    from gridsite.feeder.profiles import Profiles
    from gridsite.feeder.taps import TapControl, TapPositions

#: What a step that is not inside the band is told as.
_UNSETTLED = {
    "hunting": "hunt between positions: give a wider deadband",
    "at_limit": "stay outside the band at the last position",
    "unsolved": "meet a position without a power-flow solution",
}


def let_taps_act(
    feeder: Feeder, profiles: Profiles, control: TapControl
) -> tuple[Feeder, dict[str, Profiles], tuple[str, ...]]:
    """
    Let the tap changer at the head of every feeder follow its load.

    Parameters
    ----------
    feeder : Feeder
        The model.
    profiles : Profiles
        On all ports of the feeder, in their order.
    control : TapControl
        What they hold.

    Returns
    -------
    feeder : Feeder
        The model, whose currents on the sources' side count with the largest
        factor of their feeder (``tap_factor`` of ``terminals``): the safe side.
    profiles : dict of str to Profiles
        With the source factor of each feeder whose tap changer acts.
    notes : tuple of str
        What acts, what does not and why, and what did not settle.
    """
    table = feeder.taps
    if table is None:
        note = "taps: all frozen: models of this kind do not hold them"
        if feeder.controls:
            note = (
                f"taps: {len(feeder.controls)} regulator(s) and capacitor(s) stay as "
                "filed: they act step by step on their own only "
                "(gridsite.feeder.acting_controls)"
            )
        return feeder, {}, (note,)
    terminals = feeder.terminals
    at_source = terminals["node"].isin(feeder.source_nodes)
    heads = set(terminals.loc[at_source, "element"])
    reasons: dict[str, list[str]] = {}
    found: dict[str, TapPositions] = {}
    factor = pd.Series(1.0, index=terminals.index)
    for feeder_id, taps in table.groupby("feeder_id", sort=True):
        tap, reason = head_tap(feeder, str(feeder_id))
        if tap is not None:
            acting = acting_positions(feeder, str(feeder_id), profiles, control=control)
            found[str(feeder_id)] = acting
            own = at_source & (terminals["feeder_id"] == feeder_id)
            factor[own] = acting.factor.max()
        for element, why in zip(taps["element"], taps["frozen_because"], strict=True):
            if element not in heads:
                reasons.setdefault(why or NOT_A_HEAD, []).append(element)
            elif tap is None:
                reasons.setdefault(why or reason, []).append(element)
    given = profiles.source_factor
    drive = np.ones(len(profiles.time), complex) if given is None else given
    moved = {
        i: replace(profiles, source_factor=drive * f.factor) for i, f in found.items()
    }
    terminals = terminals.assign(base_a=terminals["base_a"] * factor, tap_factor=factor)
    notes = (*_acting_notes(found), *_frozen_notes(reasons))
    return replace(feeder, terminals=terminals), moved, notes


def _acting_notes(found: dict[str, TapPositions]) -> list[str]:
    """Say what acts and what did not settle."""
    if not found:
        return ["taps: none can act"]
    position = np.concatenate([f.positions for f in found.values()])
    most = max(f.factor.max() for f in found.values())
    lower, upper = np.transpose([f.band_pu for f in found.values()])
    act = (
        f"taps act at the head of {len(found)} feeder(s), positions "
        f"{position.min()} to {position.max()}, band {lower.min():.4f} to "
        f"{upper.max():.4f} pu: taken as on-load tap changers (assumption), each "
        "step from the filed position, following the base load and not the added one"
    )
    side = (
        "taps: currents on the source's side count with the feeder's largest tap "
        f"factor, at most {most:.4f}"
    )
    notes = [act, side]
    for name, text in _UNSETTLED.items():
        count = {i: int(getattr(f, name).sum()) for i, f in found.items()}
        if any(count.values()):
            first = next(i for i in count if count[i])
            notes.append(f"taps: {sum(count.values())} step(s) {text}, first {first!r}")
    return notes


def _frozen_notes(reasons: dict[str, list[str]]) -> list[str]:
    """Name the tap changers that do not act, by reason."""
    return [
        f"taps: {len(names)} stay frozen, {', '.join(map(repr, names[:3]))}"
        f"{', ...' if len(names) > 3 else ''}: {reason}"
        for reason, names in reasons.items()
    ]
