"""
Read a CIM (CGMES 2.4.15 or 3.0) model as a pandapower network.

The converter is pandapower's own. What it is known not to carry is refused by
name, and so is a model of which it carries less than the files hold.
"""

from __future__ import annotations

import warnings
import zipfile
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, TYPE_CHECKING, Any

from gridsite.errors import ConfigError, FeederError
from gridsite.untrusted import check_archive, check_size, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Classes by phase, of direct current and others that a balanced network lacks.
REFUSED = frozenset(
    """ACLineSegmentPhase EnergyConsumerPhase EnergySourcePhase SwitchPhase
    ShuntCompensatorPhase PowerElectronicsConnectionPhase TransformerTank
    TransformerTankEnd PowerElectronicsConnection CsConverter VsConverter
    DCLineSegment PetersenCoil GroundingImpedance Clamp Cut Jumper Fuse Recloser
    Sectionaliser PhaseTapChangerTabular""".split()  # noqa: SIM905
)

#: Classes of which each must become a row of one of these tables.
CARRIED = {
    "ACLineSegment": ("line", "switch"),
    "PowerTransformer": ("trafo", "trafo3w"),
    "EnergyConsumer": ("load",),
    "ConformLoad": ("load",),
    "NonConformLoad": ("load",),
    "StationSupply": ("load",),
    "ExternalNetworkInjection": ("ext_grid", "gen"),
    "SynchronousMachine": ("sgen", "gen", "ext_grid"),
    "AsynchronousMachine": ("motor", "sgen"),
    "EnergySource": ("sgen", "ext_grid"),
    "EquivalentInjection": ("ward", "xward"),
    "EquivalentBranch": ("impedance",),
    "SeriesCompensator": ("impedance", "switch"),
    "LinearShuntCompensator": ("shunt",),
    "NonlinearShuntCompensator": ("shunt",),
    "StaticVarCompensator": ("shunt",),
    "Breaker": ("switch",),
    "Disconnector": ("switch",),
    "LoadBreakSwitch": ("switch",),
    "Switch": ("switch",),
}

#: Editions by the namespace of their classes.
EDITIONS = {
    "http://iec.ch/TC57/2013/CIM-schema-cim16#": "2.4.15",
    "http://iec.ch/TC57/CIM100#": "3.0",
}

#: Columns that hold buses; ends of switches are ``bus`` and ``element``.
_ENDS = ("bus", "from_bus", "to_bus", "hv_bus", "mv_bus", "lv_bus")

#: What says whether equipment is in service, in 3.0.
IN_SERVICE = "Equipment.inService"

_RDF_ID = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}ID"


def read_cim(path: Path) -> Any:  # noqa: ANN401
    """
    Read the profiles of a model.

    Parameters
    ----------
    path : pathlib.Path
        A ``.zip`` or a folder of the profiles (EQ, SSH, TP and SV; boundary
        profiles where the model needs them), or one ``.xml`` with all.

    Returns
    -------
    pandapower.auxiliary.pandapowerNet
        The network.

    Raises
    ------
    ConfigError
        If lxml is missing.
    FeederError
        If the model is of another edition, holds a class that is not carried, has
        no source, or the converter fails or leaves something out.
    DataError
        If the archive is too large or holds anything but XML.
    """
    try:
        from pandapower.converter.cim.cim2pp.from_cim import (  # noqa: PLC0415
            from_cim,
        )
    except ImportError as error:
        msg = f"{path}: reading CIM needs lxml; pip install 'gridsite[cim]'"
        raise ConfigError(msg) from error
    held: Counter[str] = Counter()
    spaces: set[str] = set()
    for file in _files(path):
        held.update(_classes(file, path, spaces))
    edition = _edition(spaces, path)
    if edition == "3.0" and not held[IN_SERVICE]:
        edition = "2.4.15"  # the converter needs it; without it, the two are read alike
    lost = sorted(REFUSED & set(held))
    if lost:
        named = ", ".join(f"{held[name]} {name}" for name in lost)
        msg = f"{path}: holds {named}, which is not carried; take it out or replace it"
        raise FeederError(msg)
    net = _converted(from_cim, path, edition)
    _check_carried(net, held, path)
    _check_source(net, path)
    _check_voltages(net, path)
    _limit(net)
    return net


def _converted(convert: Callable[..., Any], path: Path, edition: str) -> Any:  # noqa: ANN401
    """Return what the converter makes of the files."""
    with warnings.catch_warnings(), TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")  # of the converter's use of pandas
        files = []
        for number, file in enumerate(_files(path)):
            files.append(str(Path(folder, f"{number}.xml")))
            Path(files[-1]).write_bytes(file.read())
        try:
            return convert(file_list=files, ignore_errors=False, cgmes_version=edition)
        except Exception as error:
            said = printable(" ".join(str(error).split()))
            msg = (
                f"{path}: pandapower's converter of CIM fails ({said}); give the "
                f"profiles EQ, SSH, TP and SV of CGMES {edition} in one zip"
            )
            raise FeederError(msg) from error


def _edition(spaces: set[str], path: Path) -> str:
    """Return the edition of CGMES that all files are of."""
    editions = {EDITIONS.get(space) for space in spaces}
    if len(editions) == 1 and None not in editions:
        return str(editions.pop())
    found = ", ".join(sorted(printable(space) for space in spaces)) or "none"
    msg = (
        f"{path}: classes of {found}; export the model as CGMES 2.4.15 "
        "(CIM16 of 2013) or 3.0 (CIM100), all profiles alike"
    )
    raise FeederError(msg)


def _files(path: Path) -> Iterator[IO[bytes]]:
    """Yield the open XML files of a model."""
    if path.is_dir():
        for inside in sorted(path.glob("*.[xX][mM][lL]")):
            yield from _files(inside)
        return
    if path.suffix.lower() != ".zip":
        check_size(path)
        with path.open("rb") as file:
            yield file
        return
    names = check_archive(path)
    odd = [n for n in names if not n.lower().endswith(".xml") and "." in n]
    if odd or not names:
        msg = f"{path}: holds {printable(odd[:3])}; pack the XML profiles alone"
        raise FeederError(msg)
    with zipfile.ZipFile(path) as archive:
        for name in names:
            if name.lower().endswith(".xml"):
                with archive.open(name) as file:
                    yield file


def _classes(file: IO[bytes], path: Path, spaces: set[str]) -> Counter[str]:
    """Count the objects that a profile defines, by class; add their namespaces."""
    from lxml import etree  # noqa: PLC0415  checked by the caller

    count: Counter[str] = Counter()
    depth = 0
    try:
        events = etree.iterparse(
            file,
            events=("start", "end"),
            resolve_entities=False,
            no_network=True,
            load_dtd=False,
        )
        for event, element in events:
            depth += 1 if event == "start" else -1
            if event == "end" and depth == 1:
                if _RDF_ID in element.attrib:
                    name = etree.QName(element)
                    count[name.localname] += 1
                    if "cim" in (name.namespace or "").lower():
                        spaces.add(name.namespace)
                count[IN_SERVICE] += element.find("{*}" + IN_SERVICE) is not None
                element.clear()
    except etree.XMLSyntaxError as error:
        msg = f"{path}: no well-formed XML ({printable(error)}); export it again"
        raise FeederError(msg) from error
    return count


def _check_carried(net: Any, held: Counter[str], path: Path) -> None:  # noqa: ANN401
    """Refuse a network that has fewer elements than the files."""
    for kind, tables in CARRIED.items():
        found = 0
        for table in tables:
            if table in net and "origin_class" in net[table]:
                rows = net[table][net[table]["origin_class"] == kind]
                ends = [*_ENDS, "element"] if table == "switch" else _ENDS
                placed = rows[rows.columns.intersection(ends)].isin(net["bus"].index)
                found += int(placed.all(axis=1).sum())
        if found < held[kind]:
            msg = (
                f"{path}: {held[kind] - found} of {held[kind]} {kind} are left out by "
                "the converter; mend or remove them in the model"
            )
            raise FeederError(msg)


def _check_voltages(net: Any, path: Path) -> None:  # noqa: ANN401
    """Refuse buses without a nominal voltage, and lines and switches between two."""
    bus = net["bus"]
    nominal = bus["vn_kv"]
    if (bare := ~(nominal > 0.0)).any():
        msg = (
            f"{path}: {int(bare.sum())} bus(es) without a nominal voltage, as "
            f"{printable(bus['name'][bare].tolist()[:3])}; add the boundary profiles "
            "EQ_BD and TP_BD, which hold their BaseVoltage"
        )
        raise FeederError(msg)
    for table, ends in {
        "line": ("from_bus", "to_bus"),
        "switch": ("bus", "element"),
    }.items():
        rows = net[table]
        one, two = (rows[end].map(nominal) for end in ends)
        if (apart := one != two).any():
            msg = (
                f"{path}: {int(apart.sum())} {table}(s) between buses of two nominal "
                f"voltages, as {printable(rows['name'][apart].tolist()[:3])}; model a "
                "transformer there, or give both buses one BaseVoltage"
            )
            raise FeederError(msg)


def _check_source(net: Any, path: Path) -> None:  # noqa: ANN401
    """Refuse a network without a source, or with one that holds another bus."""
    machines = net["gen"][net["gen"]["slack"].fillna(value=False).astype(bool)]
    if not len(net["ext_grid"]) and not len(machines):
        msg = (
            f"{path}: no external grid: no SynchronousMachine or "
            "ExternalNetworkInjection controls its voltage with a referencePriority "
            "above 0; mark the source"
        )
        raise FeederError(msg)
    if not len(machines):
        return
    nominal = machines["bus"].map(net["bus"]["vn_kv"])
    target = machines["RegulatingControl.targetValue"] / nominal
    if (remote := (target - machines["vm_pu"]).abs() > 1e-9).any():
        msg = (
            f"{path}: {printable(machines['name'][remote].tolist())} hold the voltage "
            "of a bus elsewhere; let the source hold its own"
        )
        raise FeederError(msg)


def _limit(net: Any) -> None:  # noqa: ANN401
    """Take limits of 0 A as none, and those of transformers below their rating."""
    line, trafo = net["line"], net["trafo"]
    line.loc[line["max_i_ka"] <= 0.0, "max_i_ka"] = float("nan")
    for end in ("hv", "lv"):
        if (column := f"CurrentLimit.value_{end}") in trafo:
            mva = trafo[column] * 3.0**0.5 * 1e-3 * trafo[f"vn_{end}_kv"]
            share = mva.where(mva > 0.0) / trafo["sn_mva"]
            trafo["df"] = trafo["df"].clip(upper=share.fillna(1.0))
