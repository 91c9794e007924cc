"""Profiles from the load shapes of an OpenDSS circuit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from gridsite.feeder.profiles import Profiles

#: OpenDSS's years have no calendar; this one has no leap day.
FIRST_STEP = pd.Timestamp("2023-01-01", tz="UTC")

HOURS = 8760


def filed_profiles(
    circuit: Any,  # noqa: ANN401
    ports: pd.DataFrame,
    notes: list[str],
) -> Profiles | None:
    """
    Return what the loads' shapes make of them, as OpenDSS's yearly run has it.

    Parameters
    ----------
    circuit : dss.ICircuit
        The circuit.
    ports : pandas.DataFrame
        As from `gridsite.feeder.opendss_ports.filed_ports`; ``profile`` names shapes.
    notes : list of str
        What was assumed is added here.

    Returns
    -------
    Profiles or None
        Of loads and their parts; None where no load has a shape of a day or longer.
    """
    shapes = _shapes(circuit, set(ports["profile"]) - {""})
    if not shapes:
        return None
    hours = min(shape["hours"] for shape in shapes.values())
    longest = max(len(shape["p"]) * shape["hours"] for shape in shapes.values())
    n_step = round(min(longest, HOURS) / hours)
    used = ports[ports["kind"].isin(["load", "other"]) | ports["profile"].ne("")]
    names = [name if name in shapes else "" for name in used["profile"]]
    order = {name: k for k, name in enumerate(dict.fromkeys(names))}
    flat = np.ones(n_step)
    p_shapes = [_year(shapes[n], "p", n_step, hours) if n else flat for n in order]
    q_shapes = [_year(shapes[n], "q", n_step, hours) if n else flat for n in order]
    notes.append(
        f"{sum(bool(n) for n in names)} of {len(names)} port(s) follow "
        f"{len(shapes)} load shape(s); OpenDSS years have no calendar: taken as 2023, "
        f"UTC, for the {n_step} steps of the longest shape; shorter ones repeat"
    )
    return Profiles(
        time=pd.date_range(FIRST_STEP, periods=n_step, freq=pd.Timedelta(hours=hours)),
        port_ids=used.index,
        p_shapes=np.array(p_shapes),
        q_shapes=np.array(q_shapes),
        shape_of_port=np.array([order[name] for name in names]),
        p_scale_kw=used["p_kw"].to_numpy(dtype=float),
        q_scale_kvar=used["q_kvar"].to_numpy(dtype=float),
    )


def _shapes(circuit: Any, names: set[str]) -> dict[str, dict[str, Any]]:  # noqa: ANN401
    """Return the shapes by name: values, and hours per step."""
    out = {}
    for shape in circuit.LoadShapes:
        name = str(shape.Name).lower()
        hours = float(shape.HrInterval)
        if name not in names or not hours > 0.0:
            continue
        p = np.asarray(shape.Pmult, dtype=float)
        q = np.asarray(shape.Qmult, dtype=float)
        out[name] = {"hours": hours, "p": p, "q": q if len(q) == len(p) else p}
    return out


def _year(shape: dict[str, Any], key: str, n_step: int, hours: float) -> Any:  # noqa: ANN401
    """Repeat a shape over the year, each value held over its own step."""
    held = np.repeat(shape[key], round(shape["hours"] / hours))
    return np.resize(held, n_step)
