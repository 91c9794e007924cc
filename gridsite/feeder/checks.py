"""What is wrong with a feeder, before anyone rates it."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gridsite.errors import ConfigError, FeederError
from gridsite.feeder.findings import LOW_SOURCE_PU, SEVERITIES, Finding, flag
from gridsite.feeder.model import Feeder
from gridsite.feeder.net_checks import (
    NET_CHECKS,
    Net,
    filed_results,
    positions,
    ratings,
)
from gridsite.feeder.net_sources import load_net
from gridsite.feeder.opendss_checks import against_engine, opendss_findings
from gridsite.feeder.powerflow import Block
from gridsite.feeder.read_pandapower import feeder_from_net, read_feeder
from gridsite.feeder.states import States

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def check_feeder(
    source: str | Path | Feeder | Any,  # noqa: ANN401
    *,
    voltage_min_pu: float = 0.9,
    voltage_max_pu: float = 1.1,
    loading_max: float = 1.0,
) -> pd.DataFrame:
    """
    Return what is wrong with a feeder, before anyone rates it.

    Bad data are named, never raised: a file that cannot be read is one finding.

    Parameters
    ----------
    source : str, pathlib.Path, Feeder or pandapower network
        A file or name as in `read_feeder`, a model or a network.
    voltage_min_pu, voltage_max_pu : float
        Band for the voltages of sources and of the base case. [pu]
    loading_max : float, default 1.0
        Largest current over rated current in the base case. [-]

    Returns
    -------
    pandas.DataFrame
        ``severity`` (error, warning, note), ``check``, ``element`` (the first
        three), ``value``, ``message``, ``cure``, ``unit``, sorted by the first two.
        Unit is that of the value: ``count`` of elements, feeders or loops, ``-`` of
        distance over length, in the base case ``pu`` or ``%`` of the worst.

    Raises
    ------
    ConfigError
        If the file or name is unknown, or a limit is out of range.

    See Also
    --------
    gridsite.feeder.read_pandapower.read_feeder : Reads the same sources.

    Notes
    -----
    The base case is one balanced AC power flow with every load and generator at
    its value in the file. What lies above the sources is not checked. Of a
    `Feeder` only the model is checked, not the tables that it came from.

    Examples
    --------
    >>> found = check_feeder("pandapower:create_kerber_landnetz_freileitung_1")
    >>> found[["severity", "check", "value"]].round(2)
      severity                     check  value
    0     note         base line loading  57.88
    1     note  base transformer loading  67.91
    2     note              base voltage   0.95
    3     note       coordinates missing  15.00
    """
    if not 0.5 < voltage_min_pu < voltage_max_pu < 1.5 or not 0.0 < loading_max <= 5.0:
        msg = (
            f"check_feeder: {voltage_min_pu} to {voltage_max_pu} pu and loading "
            f"{loading_max} are no limits; give fractions of nominal and of rating"
        )
        raise ConfigError(msg)
    band, percent_max = (voltage_min_pu, voltage_max_pu), 100.0 * loading_max
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the findings say what is wrong
        net, feeder, found = _opened(source)
        checks: list[Callable[[], Iterator[Finding]]] = []
        if net is not None:
            checks += [partial(check, net) for check in NET_CHECKS]
        if feeder is not None:
            checks += [partial(check, feeder) for check in (_unsupplied, _topology)]
            checks += [partial(_sources, feeder, band)]
            checks += [partial(_base_case, feeder, band, percent_max, net)]
            if net is None:
                checks += [partial(_bare_model, feeder, scripted=bool(found))]
            if isinstance(source, str | Path) and Path(source).suffix.lower() == ".dss":
                checks += [partial(_source_engine, source, feeder)]
        for check in checks:
            found += _run(check)
    return findings_frame(found)


def findings_frame(found: list[Finding]) -> pd.DataFrame:
    """
    Return findings as a table.

    Parameters
    ----------
    found : list of Finding
        In any order.

    Returns
    -------
    pandas.DataFrame
        As from `check_feeder`: gravest first, then by check.
    """
    order = sorted(found, key=lambda one: (SEVERITIES.index(one.severity), one.check))
    return pd.DataFrame(order, columns=list(Finding._fields)).astype({"value": float})


def read_with_errors(
    source: str | Path, *, crs: str | None = None
) -> tuple[Feeder, list[Finding]]:
    """
    Read a feeder, and tell the errors of its file that the model does not show.

    Parameters
    ----------
    source : str or pathlib.Path
        As in `read_feeder`.
    crs : str, optional
        As in `read_feeder`.

    Returns
    -------
    feeder : Feeder
        The electrical model.
    errors : list of Finding
        Of tables or script, without a power flow; ratings are judged in the model.
    """
    if crs is not None or Path(source).suffix.lower() == ".dss":
        feeder = read_feeder(source, crs=crs)
        checks = [partial(opendss_findings, source)]
    else:
        net = load_net(source)
        feeder = feeder_from_net(net, name=str(source))
        checks = [partial(check, net) for check in NET_CHECKS]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the findings say what is wrong
        found = [finding for check in checks for finding in _run(check)]
    errors = [finding for finding in found if finding.severity == "error"]
    return feeder, [finding for finding in errors if finding.check != "rating absurd"]


def _opened(source: Any) -> tuple[Net | None, Feeder | None, list[Finding]]:  # noqa: ANN401
    """Return the tables and the model of a source, and why one is missing."""
    if isinstance(source, Feeder):
        return None, source, []
    filed = isinstance(source, str | Path)
    name = str(source) if filed else str(getattr(source, "name", "") or "net")
    net: Any = None
    try:
        if filed and Path(source).suffix.lower() == ".dss":
            found = list(opendss_findings(source))
            broken = any(finding.severity == "error" for finding in found)
            return None, None if broken else read_feeder(source), found
        net = _tables(source, name)
        return net, feeder_from_net(net, name=name), []
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001  bad data are named, never raised
        cure = "mend what the message names: nothing can be rated before"
        kind = "file" if net is None else "model"
        return net, None, [Finding("error", kind, name, 1, _said(error), cure)]


def _tables(source: Any, name: str) -> Net:  # noqa: ANN401
    filed = isinstance(source, str | Path)
    net = load_net(source) if filed else source
    if isinstance(net, dict) and isinstance(net.get("bus"), pd.DataFrame):
        return net
    msg = f"{name}: {type(net).__name__} is no pandapower network; give one"
    raise FeederError(msg) if filed else ConfigError(msg)


def _said(error: Exception) -> str:
    """Return an error's message in one line, with its type if it is foreign."""
    text = " ".join(str(error).split())
    ours = type(error).__module__.startswith("gridsite")
    return text if ours else f"{type(error).__name__}: {text}"


def _run(check: Callable[[], Iterator[Finding]]) -> list[Finding]:
    try:
        return list(check())
    except Exception as error:  # noqa: BLE001  bad data are named, never raised
        name = getattr(check, "func", check).__name__.strip("_").replace("_", " ")
        text = f"this check could not run ({_said(error)})"
        cure = "mend the table or column that the message names"
        return [Finding("error", name, "", 1, text, cure)]


def _unsupplied(feeder: Feeder) -> Iterator[Finding]:
    """Find what no source reaches."""
    lost = feeder.ports[(feeder.ports["node"] < 0) & (feeder.ports["kind"] == "load")]
    buses = list(dict.fromkeys([*lost["bus"], *feeder.unsupplied_buses]))
    if buses:
        text = (
            f"{len(buses)} bus(es) without supply; {len(lost)} load(s) with "
            f"{lost['p_kw'].sum():.6g} kW are left unserved; first: {_first(buses)}"
        )
        cure = "close the switch or line that feeds them, or take them out of service"
        severity = "warning" if len(lost) else "note"
        yield Finding(severity, "unsupplied", _first(buses), len(buses), text, cure)
    if not len(feeder.load_ports):
        text, cure = "no load is in service", "add the customers: nothing can be rated"
        yield Finding("warning", "loads", "", 0, text, cure)


def _first(labels: list[Any]) -> str:
    return ", ".join(str(label) for label in labels[:3])


def _topology(feeder: Feeder) -> Iterator[Finding]:
    """Count independent feeders and loops."""
    ids = [str(i) for i in feeder.nodes["feeder_id"].unique() if i != ""]
    if len(ids) > 1:
        sources = feeder.nodes["bus"].iloc[feeder.source_nodes].nunique()
        text = (
            f"{len(ids)} independent feeders and {sources} source(s) in one file; "
            f"first: {_first(ids)}"
        )
        cure = "none needed: they are rated apart and named in feeder_id"
        yield Finding("note", "feeders", _first(ids), len(ids), text, cure)
    if (loops := _loops(feeder)) > 0:
        text = f"{loops} loop(s) (parallel branches count as one): a meshed network"
        cure = "check that switches which are open in operation are open in the file"
        yield Finding("note", "meshes", "", loops, text, cure)


def _loops(feeder: Feeder) -> int:
    """Count branches beyond a tree, with all sources as the one root."""
    bus = pd.factorize(feeder.nodes["bus"])[0]
    is_source = np.zeros(bus.max() + 1, dtype=bool)
    is_source[bus[feeder.source_nodes]] = True
    y = feeder.y.tocoo()
    ends = np.sort(bus[np.array(y.coords)], axis=0)
    used = (ends[0] < ends[1]) & (y.data != 0.0) & ~is_source[ends].all(axis=0)
    return int(np.unique(ends[:, used], axis=1).shape[1] - (~is_source).sum())


def _sources(feeder: Feeder, band: tuple[float, float]) -> Iterator[Finding]:
    pu = pd.Series(np.abs(feeder.source_v))
    rows = pd.DataFrame({"label": feeder.nodes["bus"].to_numpy()[feeder.source_nodes]})
    shown = pu.map("{:.4g} pu".format)
    yield from flag("source voltage", rows, (pu < band[0]) | (pu > band[1]), shown)
    if (pu < LOW_SOURCE_PU).all():
        buses = rows["label"].unique().tolist()
        values = " to ".join(dict.fromkeys([shown.min(), shown.max()]))
        text = (
            f"all {len(buses)} source(s) are fixed at {values} at all times; what lies "
            "above them is not checked"
        )
        cure = "set vm_pu to what the substation holds, if this is a planner's reserve"
        yield Finding("note", "low source", _first(buses), len(buses), text, cure)


def _bare_model(feeder: Feeder, *, scripted: bool) -> Iterator[Finding]:
    """Check of a model what the tables would tell of a network, or the script."""
    rows = feeder.terminals[feeder.terminals["criterion"] != "source"]
    ka = rows["rated_a"] / 1e3
    yield from ratings(rows.assign(label=rows["element"], rated_ka=ka))
    nodes = feeder.nodes[feeder.nodes["limited"]]
    if not scripted:
        yield from positions(nodes.assign(label=nodes["bus"]))
    for note in feeder.notes:
        if scripted and note.endswith(" is left out"):
            continue
        yield Finding("note", "reader", "", 1, note, "check that it is meant so")


def _source_engine(source: str | Path, feeder: Feeder) -> Iterator[Finding]:
    """Compare the base case with the engine that the file was written for."""
    yield from against_engine(source, feeder.nodes, _solved(feeder)[0])


def _base_case(
    feeder: Feeder, band: tuple[float, float], percent_max: float, net: Net | None
) -> Iterator[Finding]:
    """Judge the state with every load and generator at its value in the file."""
    pu, amps, failed = _solved(feeder)
    if net is not None:
        yield from filed_results(net, pd.Series(pu, feeder.nodes["bus"]))
    if failed:
        text = (
            f"power flow finds no solution for {len(failed)} feeder(s) at the loads in "
            f"the file ({_kw(feeder):.6g} kW in all); first: {_first(failed)}"
        )
        cure = "check units of loads, line lengths and impedances, transformer ratings"
        yield Finding("error", "base case", _first(failed), len(failed), text, cure)
    limited = feeder.nodes["limited"].to_numpy() & np.isfinite(pu)
    if limited.any():
        yield _voltage(pd.Series(pu, feeder.nodes["bus"])[limited], band, _kw(feeder))
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


def _voltage(
    pu: pd.Series[float], band: tuple[float, float], load_kw: float
) -> Finding:
    low, high = int((pu < band[0]).sum()), int((pu > band[1]).sum())
    text = (
        f"lowest voltage {pu.min():.4f} pu at {pu.idxmin()}, highest {pu.max():.4f} pu "
        f"at {pu.idxmax()}, with {load_kw:.6g} kW of load; {low} of {len(pu)} buses "
        f"below {band[0]:g} pu, {high} above {band[1]:g} pu"
    )
    by_high = high > 0 and not low
    at, worst = (pu.idxmax(), pu.max()) if by_high else (pu.idxmin(), pu.min())
    cure = "check source voltage, taps and loads: no unit may act on a broken limit"
    severity = "warning" if low or high else "note"
    cure = cure if low or high else "none needed"
    return Finding(severity, "base voltage", str(at), float(worst), text, cure, "pu")


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


def _solved(feeder: Feeder) -> tuple[Floats, Floats, list[str]]:
    """Return voltages [pu], terminal currents [A], and feeders without a solution."""
    pu = np.full(len(feeder.nodes), np.nan)
    amps = np.full(len(feeder.terminals), np.nan)
    failed = []
    for feeder_id in feeder.nodes["feeder_id"].unique():
        if feeder_id == "":
            continue
        try:
            block = Block(feeder, feeder_id)
        except RuntimeError:  # a singular admittance
            failed.append(str(feeder_id))
            continue
        solution = block.solve(_filed_state(feeder, block), np.zeros(1, dtype=np.int64))
        if not solution.converged[0]:
            failed.append(str(feeder_id))
            continue
        pu[block.nodes] = np.abs(solution.v[:, 0])
        amps[block.terminals] = np.abs(block.currents(solution.v)[:, 0])
    return pu, amps * feeder.terminals["base_a"].to_numpy(dtype=float), failed


def _filed_state(feeder: Feeder, block: Block) -> States:
    """Return the one state with every port at its value in the file."""
    ports = feeder.ports.iloc[block.ports]
    return States(
        p_shapes=np.ones((1, 1)),
        q_shapes=np.ones((1, 1)),
        shape_of_port=np.zeros(len(ports), dtype=np.int64),
        p_scale=ports["p_kw"].to_numpy(dtype=float) / feeder.base_kva,
        q_scale=ports["q_kvar"].to_numpy(dtype=float) / feeder.base_kva,
        spread=np.zeros(len(ports)),
        tan_phi=0.0,
    )
