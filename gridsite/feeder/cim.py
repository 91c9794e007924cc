"""
Read a CIM (CGMES 2.4.15) model as a pandapower network, by pandapower's converter.

Best effort: the converter is pandapower's own. What it is known not to carry is
refused by name, and so is a model of which it carries less than the files hold.
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
    from collections.abc import Iterator

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

_RDF_ID = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}ID"


def read_cim(path: Path) -> Any:  # noqa: ANN401
    """
    Read the profiles of a model.

    Parameters
    ----------
    path : pathlib.Path
        A ``.zip`` of the profiles (EQ, SSH, TP and SV), or one ``.xml`` with all.

    Returns
    -------
    pandapower.auxiliary.pandapowerNet
        The network.

    Raises
    ------
    ConfigError
        If lxml is missing.
    FeederError
        If the model holds a class that is not carried, or the converter fails or
        leaves something out.
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
    for file in _files(path):
        held.update(_classes(file, path))
    lost = sorted(REFUSED & set(held))
    if lost:
        named = ", ".join(f"{held[name]} {name}" for name in lost)
        msg = f"{path}: holds {named}, which is not carried; take it out or replace it"
        raise FeederError(msg)
    with warnings.catch_warnings(), TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")  # of the converter's use of pandas
        files = []
        for number, file in enumerate(_files(path)):
            files.append(str(Path(folder, f"{number}.xml")))
            Path(files[-1]).write_bytes(file.read())
        try:
            net = from_cim(file_list=files, ignore_errors=False)
        except Exception as error:
            said = printable(" ".join(str(error).split()))
            msg = (
                f"{path}: pandapower's converter of CIM fails ({said}); give the "
                "profiles EQ, SSH, TP and SV of CGMES 2.4.15 in one zip"
            )
            raise FeederError(msg) from error
    _check_carried(net, held, path)
    return net


def _files(path: Path) -> Iterator[IO[bytes]]:
    """Yield the open XML files of a model."""
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


def _classes(file: IO[bytes], path: Path) -> Counter[str]:
    """Count the objects that a profile defines, by class."""
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
                    count[etree.QName(element).localname] += 1
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
                placed = rows.filter(regex=r"(^|_)bus$").isin(net["bus"].index)
                found += int(placed.all(axis=1).sum())
        if found < held[kind]:
            msg = (
                f"{path}: {held[kind] - found} of {held[kind]} {kind} are left out by "
                "the converter; mend or remove them in the model"
            )
            raise FeederError(msg)
