"""Profiles from the load shapes of an OpenDSS circuit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from gridsite.errors import FeederError
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
        Powers of shapes with ``useactual`` are theirs, whatever the load has.
    notes : list of str
        What was assumed is added here.

    Returns
    -------
    Profiles or None
        Of loads and their parts; None where no load has a shape of a day or longer.

    Raises
    ------
    FeederError
        If a load follows a shape whose points stand at hours of their own.
    """
    shapes = _shapes(circuit, set(ports["profile"]) - {""})
    if not shapes:
        return None
    hours = min(shape["hours"] for shape in shapes.values())
    longest = max(len(shape["p"]) * shape["hours"] for shape in shapes.values())
    n_step = round(min(longest, HOURS) / hours)
    used = ports[ports["kind"].isin(["load", "other"]) | ports["profile"].ne("")]
    names = used["profile"].where(used["profile"].isin(list(shapes)), "")
    actual = names.map(lambda name: bool(name) and shapes[name]["actual"]).to_numpy()
    keys = list(zip(names, used["fixed_q"], strict=True))
    order = {key: k for k, key in enumerate(dict.fromkeys(keys))}
    flat = np.ones(n_step)
    p_shapes = [_year(shapes[n], "p", n_step, hours) if n else flat for n, _ in order]
    q_shapes = [
        flat if fixed or not n else _year(shapes[n], "q", n_step, hours)
        for n, fixed in order
    ]
    notes.append(
        f"{int(names.ne('').sum())} of {len(names)} port(s) follow "
        f"{len(shapes)} load shape(s); OpenDSS years have no calendar: taken as 2023, "
        f"UTC, for the {n_step} steps of the longest shape; shorter ones repeat"
    )
    own_q = actual & ~used["fixed_q"].to_numpy(dtype=bool)
    return Profiles(
        time=pd.date_range(FIRST_STEP, periods=n_step, freq=pd.Timedelta(hours=hours)),
        port_ids=used.index,
        p_shapes=np.array(p_shapes),
        q_shapes=np.array(q_shapes),
        shape_of_port=np.array([order[key] for key in keys]),
        p_scale_kw=np.where(actual, used["p_part"], used["year_kw"]).astype(float),
        q_scale_kvar=np.where(own_q, used["q_part"], used["year_kvar"]).astype(float),
    )


def _shapes(circuit: Any, names: set[str]) -> dict[str, dict[str, Any]]:  # noqa: ANN401
    """
    Return the shapes by name: values, hours per step, whether they are kW and kvar.

    Raises a FeederError for one whose points stand at hours of their own.
    """
    out = {}
    for shape in circuit.LoadShapes:
        name, hours = str(shape.Name).lower(), float(shape.HrInterval)
        if name not in names or not shape.Npts:
            continue
        if not hours > 0.0:
            msg = (
                f"loadshape.{name} has points at hours of its own (interval=0), which "
                "is not carried; give it an interval"
            )
            raise FeederError(msg)
        p = np.asarray(shape.Pmult, dtype=float)
        q = np.asarray(shape.Qmult, dtype=float)
        actual = bool(shape.UseActual)
        if len(q) != len(p):
            q = np.zeros_like(p) if actual else p
        out[name] = {"hours": hours, "p": p, "q": q, "actual": actual}
    return out


def _year(shape: dict[str, Any], key: str, n_step: int, hours: float) -> Any:  # noqa: ANN401
    """Repeat a shape over the year, each value held over its own step."""
    held = np.repeat(shape[key], round(shape["hours"] / hours))
    return np.resize(held, n_step)
