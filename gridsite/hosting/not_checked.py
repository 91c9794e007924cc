"""What a rating does not check, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gridsite.hosting.limits import NOT_CHECKED, Limits

if TYPE_CHECKING:
    from gridsite.feeder.model import Feeder


def not_checked(limits: Limits, feeder: Feeder, *, aged: bool = False) -> list[str]:
    """
    Return what a run with some limits does not check.

    Parameters
    ----------
    limits : Limits
        The limits.
    feeder : Feeder
        The electrical model, whose sources have fixed voltages.
    aged : bool, default False
        Whether an ambient temperature is given, by which transformers age.

    Returns
    -------
    list of str
        In words, for reports.
    """
    volts = sorted({f"{abs(v):.3f}" for v in feeder.source_v})
    fixed = volts[0] if len(volts) == 1 else f"{volts[0]} to {volts[-1]}"
    above = [f"limits above the feeder's sources (held at {fixed} pu)"]
    above = [] if limits.source_kva else above
    ring = ["N-1 (no loading factor given)"]
    ring = ring if limits.n_minus_1_loading_max is None else []
    off = [
        f"{name} (switched off)" for name in Limits().criteria if not limits.on(name)
    ]
    off = [text for text in off if not text.startswith("source")]
    if limits.on("transformer ageing") and not aged:
        off.append("transformer ageing (no ambient temperature given)")
    if feeder.nodes["phases"].eq("ABC").all():
        off = [text for text in off if not text.startswith("unbalance")]
        off.append("unbalance (balanced model)")
    return [*NOT_CHECKED, *ring, *above, *off]
