"""
Ports of the loads and generators of an OpenDSS circuit, with their load models.

A branch draws :math:`P_0 (U/U_r)^{n_p} + j Q_0 (U/U_r)^{n_q}` at voltage :math:`U`
across it. The exponents follow from the model of the load: 0 for constant power, 1
for constant current, 2 for constant impedance, the file's own for CVR. A ZIP load is
three branches in one place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gridsite.errors import FeederError
from gridsite.feeder.opendss_engine import load_branches, rated_branch_volts
from gridsite.feeder.opendss_generation import generation_year

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Exponents of active and reactive power by OpenDSS load model.
EXPONENTS = {1: (0.0, 0.0), 2: (2.0, 2.0), 3: (0.0, 2.0), 5: (1.0, 1.0)}
#: Status of a load that neither a shape nor LoadMult changes.
_FIXED = 1
_CVR, _FIXED_Q, _FIXED_X, _ZIP = 4, 6, 7, 8

#: What a year of load shapes starts from: shares of the load, its power before the
#: shape, whether reactive power follows none, and the PV system that turns its shape
#: into power. For `filed_profiles` alone.
YEAR = ["p_part", "q_part", "year_kw", "year_kvar", "fixed_q", "panel"]

#: Below this voltage OpenDSS cuts a ZIP load off; above, the model is not ours. [pu]
ZIP_CUTOFF = 0.5

#: Generator models that are constant power.
_CONSTANT_POWER = {1, 7}


def filed_ports(
    circuit: Any,  # noqa: ANN401
    nodes: pd.DataFrame,
    notes: list[str],
) -> pd.DataFrame:
    """
    Return a port per branch of each load and generator in service.

    Parameters
    ----------
    circuit : dss.ICircuit
        The solved circuit.
    nodes : pandas.DataFrame
        Its nodes in the engine's order: ``bus``, ``phases``, ``volts``.
    notes : list of str
        What was assumed is added here.

    Returns
    -------
    pandas.DataFrame
        ``ports`` of a `Feeder` without positions, and `YEAR`; ``node`` and
        ``node_return`` count the rows of ``nodes``. A load's first port has its name
        where it is one, else the name and the phases.

    Raises
    ------
    FeederError
        If a load or generator has a model that the feeder cannot carry.
    """
    rows = [*_loads(circuit, nodes), *_generators(circuit, nodes, notes)]
    columns = ["port_id", "node", "node_return", "bus", "phases", "kind", "p_kw"]
    columns += ["q_kvar", "profile", "p_exponent", "q_exponent", "rated_v_pu"]
    columns += ["part_of", *YEAR]
    ports = pd.DataFrame(rows, columns=columns)
    if ports["port_id"].duplicated().any():
        twice = ports.loc[ports["port_id"].duplicated(), "port_id"].unique()[:5]
        msg = f"port names stand twice: {twice.tolist()}; give loads unique names"
        raise FeederError(msg)
    return ports.set_index("port_id")


def _loads(circuit: Any, nodes: pd.DataFrame) -> Iterator[dict[str, Any]]:  # noqa: ANN401
    """Yield the ports of loads."""
    factor = float(circuit.Solution.LoadMult)
    for load in circuit.Loads:
        element = circuit.ActiveCktElement
        if not element.Enabled:
            continue
        name = str(load.Name)
        fixed, model = int(load.Status) == _FIXED, int(load.Model)
        scale = 1.0 if int(load.Status) != 0 else factor
        year = 1.0 if fixed else factor  # exempt from it in a snapshot alone
        fixed_q = model in (_FIXED_Q, _FIXED_X)
        q_scale, q_year = (1.0, 1.0) if fixed_q else (scale, year)
        shape = "" if fixed else str(load.Yearly or load.daily or "").lower()
        parts = _load_parts(load, model)
        branches = _branches(element, nodes, load.Phases, delta=bool(load.IsDelta))
        rated = rated_branch_volts(load.Phases, delta=bool(load.IsDelta), kv=load.kV)
        for branch in branches:
            own = name if len(branches) == 1 else f"{name}.{branch['phases']}"
            for k, (p_share, q_share, p_exponent, q_exponent) in enumerate(parts):
                p_part, q_part = p_share / len(branches), q_share / len(branches)
                kw, kvar = load.kW * p_part, load.kvar * q_part
                yield branch | {
                    "port_id": own if k == 0 else f"zip {k}: {own}",
                    "kind": "load" if k == 0 else "other",
                    "p_kw": scale * kw,
                    "q_kvar": q_scale * kvar,
                    "profile": shape,
                    "p_exponent": p_exponent,
                    "q_exponent": q_exponent,
                    "rated_v_pu": rated / branch["volts"],
                    "part_of": own if k else "",
                    "p_part": p_part,
                    "q_part": q_part,
                    "year_kw": year * kw,
                    "year_kvar": q_year * kvar,
                    "fixed_q": fixed_q,
                    "panel": None,
                }


def _load_parts(load: Any, model: int) -> list[tuple[float, float, float, float]]:  # noqa: ANN401
    """Return shares of active and reactive power, and exponents, of a load."""
    if model == _CVR:
        if load.CVRcurve:
            msg = f"load {load.Name}: CVRcurve is not carried; give CVRwatts, CVRvars"
            raise FeederError(msg)
        return [(1.0, 1.0, float(load.CVRwatts), float(load.CVRvars))]
    if model == _FIXED_Q:
        return [(1.0, 1.0, 0.0, 0.0)]
    if model == _FIXED_X:
        return [(1.0, 1.0, 0.0, 2.0)]
    if model == _ZIP:
        zipv = np.asarray(load.ZIPV, dtype=float)
        if zipv[6] > ZIP_CUTOFF:
            msg = (
                f"load {load.Name}: ZIPV cuts it off below {zipv[6]:g} pu, which the "
                f"model does not do; give a cut-off of at most {ZIP_CUTOFF:g} pu"
            )
            raise FeederError(msg)
        return [(zipv[2 - k], zipv[5 - k], float(k), float(k)) for k in range(3)]
    if model not in EXPONENTS:
        msg = f"load {load.Name}: model {model} is not carried; use models 1 to 8"
        raise FeederError(msg)
    return [(1.0, 1.0, *EXPONENTS[model])]


def _branches(
    element: Any,  # noqa: ANN401
    nodes: pd.DataFrame,
    phases: int,
    *,
    delta: bool,
) -> list[dict[str, Any]]:
    """Return where the branches of a load or generator stand."""
    ref = np.asarray(element.NodeRef, dtype=np.int64) - 1
    bus, label = nodes["bus"].to_numpy(), nodes["phases"].to_numpy()
    limited, volts = nodes["limited"].to_numpy(), nodes["volts"].to_numpy()
    out = []
    for i, j in load_branches(phases, delta=delta):
        start, stop = int(ref[i]), int(ref[j])
        if start < 0:
            start, stop = stop, start
        if start < 0 or start == stop:
            msg = f"{element.Name}: a branch stands between one node and itself"
            raise FeederError(msg)
        between = stop >= 0 and bool(limited[stop])
        out.append(
            {
                "node": start,
                "node_return": stop,
                "bus": bus[start],
                "phases": label[start] + (label[stop] if between else ""),
                "volts": volts[start],
            }
        )
    return out


def _generators(
    circuit: Any,  # noqa: ANN401
    nodes: pd.DataFrame,
    notes: list[str],
) -> Iterator[dict[str, Any]]:
    """Yield the ports of generators, PV systems and storage, as they stand."""
    years: dict[str, dict[str, Any]] = {}
    for full in circuit.AllElementNames:
        kind, name = str(full).lower().split(".", 1)
        if kind not in ("generator", "pvsystem", "storage"):
            continue
        circuit.SetActiveElement(full)
        element = circuit.ActiveCktElement
        if not element.Enabled:
            continue
        _refuse_generator(element, kind, name)
        phases = int(element.NumPhases)
        delta = str(element.Properties("conn").Val).lower() in ("delta", "ll")
        branches = _branches(element, nodes, phases, delta=delta)
        power = np.asarray(element.Powers, dtype=float).view(complex).sum()
        year = years[str(full)] = generation_year(circuit, element, kind)
        for branch in branches:
            own = name if len(branches) == 1 else f"{name}.{branch['phases']}"
            yield branch | {
                "port_id": f"{kind}: {own}",
                "kind": "other" if kind == "storage" else "generation",
                "p_kw": power.real / len(branches),
                "q_kvar": power.imag / len(branches),
                "profile": year["profile"],
                "p_exponent": 0.0,
                "q_exponent": 0.0,
                "rated_v_pu": 1.0,
                "part_of": "",
                "p_part": -1.0 / len(branches),
                "q_part": -1.0 / len(branches),
                "year_kw": year["year_kw"] / len(branches),
                "year_kvar": year["year_kvar"] / len(branches),
                "fixed_q": False,
                "panel": year["panel"],
            }
    _note_generation(years, notes)


def _note_generation(years: dict[str, dict[str, Any]], notes: list[str]) -> None:
    """Say which generators follow a shape, and which are off."""
    stored = [name for name in years if name.lower().startswith("storage.")]
    giving = {name: year for name, year in years.items() if name not in stored}
    if stored:
        notes.append(
            f"{len(stored)} storage element(s): constant power at what they give or "
            "draw in the snapshot"
        )
    if giving:
        follow = sum(year["profile"] != "" for year in giving.values())
        notes.append(
            f"{follow} of {len(giving)} generator(s) and PV system(s) follow a load "
            "shape; the others, and all of them in a snapshot, are off, but for what "
            "draws power"
        )
    lost = [name for name, year in giving.items() if year["left_out"]]
    if lost:
        notes.append(
            f"{len(lost)} generator(s) or PV system(s) have a load shape and settings "
            "that are not carried over a year (dispatch by load or price, priority of "
            "the power factor, kvar by least power, a current limit, what an inverter "
            f"control did in the snapshot): off, first {lost[:3]}"
        )


def _refuse_generator(element: Any, kind: str, name: str) -> None:  # noqa: ANN401
    """Refuse generators that hold a voltage or follow another model."""
    model = int(float(element.Properties("model").Val))
    if model not in _CONSTANT_POWER:
        msg = (
            f"{kind} {name}: model {model} is not carried; use model 1 (constant power)"
        )
        raise FeederError(msg)
