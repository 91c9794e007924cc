"""Profiles from the load shapes of an OpenDSS circuit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gridsite.errors import FeederError
from gridsite.feeder.profiles import Profiles

if TYPE_CHECKING:
    from gridsite.feeder.opendss_generation import Panel

#: OpenDSS's years have no calendar; this one has no leap day.
FIRST_STEP = pd.Timestamp("2023-01-01", tz="UTC")

HOURS = 8760


def filed_profiles(circuit: Any, ports: pd.DataFrame) -> Profiles | None:  # noqa: ANN401
    """
    Return what shapes make of loads and generators, as OpenDSS's yearly run has it.

    Parameters
    ----------
    circuit : dss.ICircuit
        The circuit.
    ports : pandas.DataFrame
        As from `gridsite.feeder.opendss_ports.filed_ports`; ``profile`` names shapes.
        Powers of shapes with ``useactual`` are theirs, whatever the load has.

    Returns
    -------
    Profiles or None
        Of loads and their parts, and of generators that follow a shape; None where
        nothing follows one.

    Raises
    ------
    FeederError
        If a shape that is followed has points at hours of their own.
    """
    shapes: dict[Any, dict[str, Any]] = {}
    shapes |= _shapes(circuit, set(ports["profile"]) - {""})
    shapes |= _temperatures(circuit, _temperature_names(ports["panel"]))
    if not shapes:
        return None
    hours = min(shape["hours"] for shape in shapes.values())
    longest = max(len(shape["p"]) * shape["hours"] for shape in shapes.values())
    n_step = round(min(longest, HOURS) / hours)
    used = ports[ports["kind"].isin(["load", "other"]) | ports["profile"].isin(shapes)]
    names = used["profile"].where(used["profile"].isin(list(shapes)), "")
    actual = names.map(lambda name: bool(name) and shapes[name]["actual"])
    watts = (actual & used["panel"].isna()).to_numpy(dtype=bool)
    keys = list(zip(names, used["fixed_q"], used["panel"], strict=True))
    order = {key: k for k, key in enumerate(dict.fromkeys(keys))}
    years = [_powers(shapes, *key, n_step=n_step, hours=hours) for key in order]
    follows = names[names.ne("")]
    note = (
        f"{len(follows)} of {len(names)} port(s) follow {follows.nunique()} load "
        "shape(s); OpenDSS years have no calendar: taken as 2023, UTC, for "
        f"the {n_step} steps of the longest shape; shorter ones repeat"
    )
    own_q = watts & ~used["fixed_q"].to_numpy(dtype=bool)
    return Profiles(
        time=pd.date_range(FIRST_STEP, periods=n_step, freq=pd.Timedelta(hours=hours)),
        port_ids=used.index,
        p_shapes=np.array([p for p, _ in years]),
        q_shapes=np.array([q for _, q in years]),
        shape_of_port=np.array([order[key] for key in keys]),
        p_scale_kw=np.where(watts, used["p_part"], used["year_kw"]).astype(float),
        q_scale_kvar=np.where(own_q, used["q_part"], used["year_kvar"]).astype(float),
        notes=(note,),
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


def _temperature_names(panels: pd.Series) -> set[str]:
    """Return the names of the temperatures that change what a panel gives."""
    changing = [p for p in panels.dropna().unique() if p.by_temperature is not None]
    return {panel.temperature_shape for panel in changing} - {""}


def _temperatures(circuit: Any, names: set[str]) -> dict[tuple[str, str], Any]:  # noqa: ANN401
    """Return shapes of temperature by name; FeederError as for load shapes."""
    out = {}
    for name in sorted(names):
        circuit.SetActiveClass("tshape")
        circuit.ActiveClass.Name = name
        shape = circuit.ActiveDSSElement
        hours = float(shape.Properties("interval").Val)
        if not hours > 0.0:
            msg = (
                f"tshape.{name} has points at hours of its own (interval=0), which is "
                "not carried; give it an interval"
            )
            raise FeederError(msg)
        values = str(shape.Properties("temp").Val).strip("[] ").split()
        out["temperature", name] = {"hours": hours, "p": np.array(values, dtype=float)}
    return out


def _powers(
    shapes: dict[Any, dict[str, Any]],
    name: str,
    fixed_q: bool,  # noqa: FBT001
    panel: Panel | None,
    *,
    n_step: int,
    hours: float,
) -> tuple[Any, Any]:
    """Return the shapes of active and reactive power of one kind of port."""
    flat = np.ones(n_step)
    if not name:
        return flat, flat
    p = _year(shapes[name], "p", n_step, hours)
    if panel is not None:
        degrees = shapes.get(("temperature", panel.temperature_shape))
        by_step = None if degrees is None else _year(degrees, "p", n_step, hours)
        return panel.power(p, by_step)
    return p, flat if fixed_q else _year(shapes[name], "q", n_step, hours)


def _year(shape: dict[str, Any], key: str, n_step: int, hours: float) -> Any:  # noqa: ANN401
    """Repeat a shape over the year, each value held over its own step."""
    held = np.repeat(shape[key], round(shape["hours"] / hours))
    return np.resize(held, n_step)
