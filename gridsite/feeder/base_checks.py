"""The state with every load and generator at its value in the file, judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from gridsite.feeder.findings import LOW_SOURCE_PU, Finding, first_of, flag
from gridsite.feeder.net_checks import Net, filed_results
from gridsite.feeder.powerflow import Block
from gridsite.feeder.states import filed_states

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import ArrayLike, NDArray

    from gridsite.feeder.model import Feeder

    Floats = NDArray[np.float64]
    #: nominal voltage [kV] up to which a band holds, its ends [pu]; ascending
    Bands = tuple[tuple[float, float, float], ...]


def voltage_limits(voltage_kv: ArrayLike, bands: Bands) -> tuple[Floats, Floats]:
    """
    Return the ends of the voltage band that holds at each node.

    Parameters
    ----------
    voltage_kv : array-like of float, shape (n,)
        Nominal voltages, line to line. [kV]
    bands : tuple of (kV, lowest pu, highest pu)
        Bands up to a nominal voltage, ascending; the last up to any.

    Returns
    -------
    low : numpy.ndarray, shape (n,)
        Lowest voltages. [pu]
    high : numpy.ndarray, shape (n,)
        Highest voltages. [pu]

    Examples
    --------
    >>> bands = ((1.0, 0.9, 1.1), (float("inf"), 0.95, 1.05))
    >>> voltage_limits([0.4, 20.0], bands)
    (array([0.9 , 0.95]), array([1.1 , 1.05]))
    """
    # 20 kV stays in a band up to 20 kV whatever the rounding of its file
    nominal = np.asarray(voltage_kv, dtype=float) * (1.0 - 1e-9)
    up_to, low, high = np.array(bands, dtype=float).T
    at = np.searchsorted(up_to[:-1], nominal)
    return low[at], high[at]


def source_findings(feeder: Feeder, bands: Bands) -> Iterator[Finding]:
    """
    Judge the voltages that sources hold.

    Parameters
    ----------
    feeder : Feeder
        The model.
    bands : tuple of (kV, lowest pu, highest pu)
        As for `voltage_limits`.

    Yields
    ------
    Finding
        Sources outside their band; all of them low.
    """
    pu = pd.Series(np.abs(feeder.source_v))
    rows = pd.DataFrame({"label": feeder.nodes["bus"].to_numpy()[feeder.source_nodes]})
    shown = pu.map("{:.4g} pu".format)
    kv = feeder.nodes["voltage_kv"].to_numpy(dtype=float)[feeder.source_nodes]
    low, high = voltage_limits(kv, bands)
    yield from flag("source voltage", rows, (pu < low) | (pu > high), shown)
    if (pu < LOW_SOURCE_PU).all():
        buses = rows["label"].unique().tolist()
        values = " to ".join(dict.fromkeys([shown.min(), shown.max()]))
        text = (
            f"all {len(buses)} source(s) are fixed at {values} at all times; what lies "
            "above them is not checked"
        )
        cure = "set vm_pu to what the substation holds, if this is a planner's reserve"
        yield Finding("note", "low source", first_of(buses), len(buses), text, cure)


def base_findings(
    feeder: Feeder, bands: Bands, percent_max: float, net: Net | None
) -> Iterator[Finding]:
    """
    Judge the state with every load and generator at its value in the file.

    Parameters
    ----------
    feeder : Feeder
        The model.
    bands : tuple of (kV, lowest pu, highest pu)
        As for `voltage_limits`.
    percent_max : float
        Largest current over rated current. [%]
    net : pandapower network or None
        Where results of its own are compared.

    Yields
    ------
    Finding
        Of solution, voltages, and currents of lines and transformers.
    """
    pu, amps, failed = solved(feeder)
    if net is not None:
        yield from filed_results(net, pd.Series(pu, feeder.nodes["bus"]))
    if failed:
        text = (
            f"power flow finds no solution for {len(failed)} feeder(s) at the loads in "
            f"the file ({_kw(feeder):.6g} kW in all); first: {first_of(failed)}"
        )
        cure = "check units of loads, line lengths and impedances, transformer ratings"
        yield Finding("error", "base case", first_of(failed), len(failed), text, cure)
    nodes = feeder.nodes.assign(pu=pu)
    nodes = nodes[nodes["limited"].to_numpy(dtype=bool) & np.isfinite(pu)]
    if len(nodes):
        yield _voltage(nodes, bands, _kw(feeder))
    percent = 100.0 * amps / feeder.terminals["rated_a"].where(lambda a: a > 0.0)
    for kind in ("line", "transformer"):
        rows = feeder.terminals["criterion"] == f"{kind} current"
        values = percent[rows & percent.notna()]
        if len(values):
            element = feeder.terminals["element"][values.index]
            worst = values.groupby(element.to_numpy()).max()
            yield _loading(kind, worst, percent_max)


def _kw(feeder: Feeder) -> float:
    ports = feeder.load_ports
    return float(ports["p_kw"][ports["node"] >= 0].sum())


def _voltage(nodes: pd.DataFrame, bands: Bands, load_kw: float) -> Finding:
    kv, pu = nodes["voltage_kv"].to_numpy(dtype=float), nodes["pu"].to_numpy()
    low, high = voltage_limits(kv, bands)
    below, above = int((pu < low).sum()), int((pu > high).sum())
    bus = nodes["bus"].to_numpy()
    text = (
        f"lowest voltage {pu.min():.4f} pu at {bus[pu.argmin()]}, highest "
        f"{pu.max():.4f} pu at {bus[pu.argmax()]}, with {load_kw:.6g} kW of load; "
        f"{below} of {len(pu)} buses below {_ends(low, kv)}, {above} above "
        f"{_ends(high, kv)}"
    )
    by_high = above > 0 and not below
    worst = int((pu - high if by_high else low - pu).argmax())
    cure = "check source voltage, taps and loads: no unit may act on a broken limit"
    severity = "warning" if below or above else "note"
    cure = cure if below or above else "none needed"
    element, value = str(bus[worst]), float(pu[worst])
    return Finding(severity, "base voltage", element, value, text, cure, "pu")


def _ends(pu: Floats, kv: Floats) -> str:
    """Return one limit in words, or that of each nominal voltage."""
    of = dict(sorted(zip(kv.tolist(), pu.tolist(), strict=True)))
    if len(set(of.values())) == 1:
        return f"{pu[0]:g} pu"
    return ", ".join(f"{value:g} pu at {level:g} kV" for level, value in of.items())


def _loading(kind: str, percent: pd.Series[float], percent_max: float) -> Finding:
    over = int((percent > percent_max).sum())
    text = (
        f"highest {kind} loading {percent.max():.1f} % at {percent.idxmax()}; "
        f"{over} of {len(percent)} above {percent_max:g} %"
    )
    cure = "check loads and rating: no unit may act on a broken limit"
    return Finding(
        "warning" if over else "note",
        f"base {kind} loading",
        str(percent.idxmax()),
        float(percent.max()),
        text,
        cure if over else "none needed",
        "%",
    )


def solved(feeder: Feeder) -> tuple[Floats, Floats, list[str]]:
    """
    Solve every feeder with loads and generators at their values in the file.

    Parameters
    ----------
    feeder : Feeder
        The model.

    Returns
    -------
    pu : numpy.ndarray, shape (n_node,)
        Voltages, NaN without a solution. [pu]
    amps : numpy.ndarray, shape (n_terminal,)
        Currents. [A]
    failed : list of str
        Feeders without a solution.
    """
    pu = np.full(len(feeder.nodes), np.nan)
    amps = np.full(len(feeder.terminals), np.nan)
    failed, first = [], np.zeros(1, dtype=np.int64)
    for feeder_id in feeder.nodes["feeder_id"].unique():
        if feeder_id == "":
            continue
        try:
            block = Block(feeder, feeder_id)
        except RuntimeError:  # a singular admittance
            failed.append(str(feeder_id))
            continue
        solution = block.solve(filed_states(block, feeder.ports), first)
        if not solution.converged[0]:
            failed.append(str(feeder_id))
            continue
        pu[block.nodes] = np.abs(solution.v[:, 0])
        amps[block.terminals] = np.abs(block.currents(solution.v)[:, 0])
    return pu, amps * feeder.terminals["base_a"].to_numpy(dtype=float), failed
