"""What is wrong with a feeder, before anyone rates it."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from gridsite.errors import ConfigError, FeederError
from gridsite.feeder.base_checks import base_findings, solved, source_findings
from gridsite.feeder.findings import SEVERITIES, Finding, first_of
from gridsite.feeder.model import Feeder
from gridsite.feeder.net_checks import (
    NET_CHECKS,
    Net,
    positions,
    ratings,
)
from gridsite.feeder.net_sources import load_net
from gridsite.feeder.opendss_checks import against_engine, opendss_findings
from gridsite.feeder.read_pandapower import feeder_from_net, read_feeder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from gridsite.feeder.base_checks import Bands

    Floats = NDArray[np.float64]


def check_feeder(
    source: str | Path | Feeder | Any,  # noqa: ANN401
    *,
    voltage_min_pu: float = 0.9,
    voltage_max_pu: float = 1.1,
    voltage_bands: Bands = (),
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
    voltage_bands : tuple of (kV, lowest pu, highest pu)
        Bands up to a nominal voltage, ascending, as in `Limits`; the band above holds
        beyond the last.
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
    bands = (*voltage_bands, (np.inf, voltage_min_pu, voltage_max_pu))
    percent_max = 100.0 * loading_max
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the findings say what is wrong
        net, feeder, found = _opened(source)
        checks: list[Callable[[], Iterator[Finding]]] = []
        if net is not None:
            checks += [partial(check, net) for check in NET_CHECKS]
        if feeder is not None:
            checks += [partial(check, feeder) for check in (_unsupplied, _topology)]
            checks += [partial(source_findings, feeder, bands)]
            checks += [partial(base_findings, feeder, bands, percent_max, net)]
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
            f"{lost['p_kw'].sum():.6g} kW are left unserved; first: {first_of(buses)}"
        )
        cure = "close the switch or line that feeds them, or take them out of service"
        severity = "warning" if len(lost) else "note"
        yield Finding(severity, "unsupplied", first_of(buses), len(buses), text, cure)
    if not len(feeder.load_ports):
        text, cure = "no load is in service", "add the customers: nothing can be rated"
        yield Finding("warning", "loads", "", 0, text, cure)


def _topology(feeder: Feeder) -> Iterator[Finding]:
    """Count independent feeders and loops."""
    ids = [str(i) for i in feeder.nodes["feeder_id"].unique() if i != ""]
    if len(ids) > 1:
        sources = feeder.nodes["bus"].iloc[feeder.source_nodes].nunique()
        text = (
            f"{len(ids)} independent feeders and {sources} source(s) in one file; "
            f"first: {first_of(ids)}"
        )
        cure = "none needed: they are rated apart and named in feeder_id"
        yield Finding("note", "feeders", first_of(ids), len(ids), text, cure)
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


def _bare_model(feeder: Feeder, *, scripted: bool) -> Iterator[Finding]:
    """Check of a model what the tables would tell of a network, or the script."""
    rows = feeder.terminals[feeder.terminals["criterion"] != "source"]
    ka = rows["rated_a"] / 1e3
    yield from ratings(rows.assign(label=rows["element"], rated_ka=ka))
    nodes = feeder.nodes[feeder.nodes["limited"]]
    if not scripted:
        yield from positions(nodes.assign(label=nodes["bus"]))
    shaped = () if feeder.profiles is None else feeder.profiles.notes
    for note in (*feeder.notes, *shaped):
        if scripted and note.endswith(" is left out"):
            continue
        yield Finding("note", "reader", "", 1, note, "check that it is meant so")


def _source_engine(source: str | Path, feeder: Feeder) -> Iterator[Finding]:
    """Compare the base case with the engine that the file was written for."""
    yield from against_engine(source, feeder.nodes, solved(feeder)[0])
