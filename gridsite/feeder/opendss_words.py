"""
Which words of an OpenDSS script are run, left out or refused, and its tokens.

The engine takes an abbreviated word for the first of its list that begins so;
the lists come from the engine itself, hence follow its version.
"""

from __future__ import annotations

import contextlib
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from gridsite.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Commands that read another script.
INCLUDED = frozenset({"redirect", "compile"})

#: Commands that read a data file.
LOCATED = frozenset({"buscoords", "latlongcoords", "giscoords"})

#: Commands that build the circuit, beside those that name an element.
BUILDING = _set(
    """clear clearall enable disable open close calcvoltagebases setkvbase setbusxy
    makebuslist buildy reprocessbuses var"""
)

#: Commands whose first word is an element and the rest its properties.
ELEMENTAL = frozenset({"new", "edit", "select", "batchedit"})
CONTINUED = frozenset({"more", "m", "~"})

#: Commands that only report, solve or draw: left out, with a note.
DROPPED = _set(
    """show export plot save dump sample closedi fileedit get ? solve visualize help
    about panel reset init formedit voltages currents powers seqvoltages seqcurrents
    seqpowers losses phaselosses cktlosses totals capacity classes zsc zsc10 zsc012
    zscrefresh ysc puvoltages varvalues varnames top vdiff summary distribute
    comparecases yearlycurves estimate _initsnap _solvenocontrol _samplecontrols
    _docontrolactions _showcontrolqueue _solvedirect _solvepflow addbusmarker
    clearbusmarkers nodediff nodelist updatestorage pstcalc variable relcalc cleanup
    interpolate finishtimestep calcincmatrix calcincmatrix_o calclaplacian
    refine_buslevels
    exportoverloads exportvviolations allpceatbus allpdeatbus totalpowers uuids
    next"""
)

#: Properties that the engine takes memory for, and the most of each.
COUNTS = {
    "npts": 10_000_000,
    **dict.fromkeys(("phases", "nphases", "windings", "nconds", "numsteps"), 100),
}

#: Options of ``Set`` that shape the circuit or its solution.
OPTIONS = _set(
    """hour sec year frequency stepsize mode random number time tolerance
    maxiterations h loadmodel loadmult normvminpu normvmaxpu emergvminpu emergvmaxpu
    %mean %stddev ldcurve %growth genkw genpf capkvar allowduplicates zonelock
    voltagebases algorithm trapezoidal controlmode genmult defaultdaily
    defaultyearly allocationfactors cktmodel pricesignal pricecurve basefrequency
    harmonics maxcontroliter %normal cfactors numallociterations
    defaultbasefrequency loadshapeclass earthmodel neglectloady miniterations zmag
    seasonrating seasonsignal linetypes longlinecorrection"""
)

#: Options of ``Set`` that matter for reports and drawings alone: left out.
IDLE_OPTIONS = re.compile(
    r"casename|demandinterval|diverbose|overloadreport|voltexceptionreport|log"
    r"|tracecontrol|showexport|showreports|querylog|eventlogdefault|ueweight"
    r"|lossweight|ueregs|lossregs|addtype|autobuslist|keeplist|keepload|reduceoption"
    r"|nodewidth|(trans)?mark.*|switchmarkercode|daisysize|.*marker(code|size)"
    r"|processtime|totaltime|steptime|sampleenergymeters|registryupdate"
    r"|concatenatereports|bus|terminal"
)

#: Properties that load code.
CODE = frozenset({"usermodel", "userdata", "shaftmodel", "shaftdata", "dynadll"})
CODE |= {"dynadata"}

#: Properties that name a data file, and classes whose ``action`` may write one.
FILES = frozenset({"csvfile", "sngfile", "dblfile", "pqcsvfile"})
WRITERS = frozenset({"loadshape", "tshape", "priceshape", "monitor", "energymeter"})

#: Classes of a library that feeders share.
LIBRARY = _set(
    """linecode wiredata cndata tsdata linespacing linegeometry xfmrcode spectrum
    tcc_curve"""
)

_QUOTES = dict(zip("(\"'[{", ")\"']}", strict=True))
_BARE = re.compile(r"(?:(?!//)[^\s,=!])*")


class Token(NamedTuple):
    """A value of a command, with its name if it has one, and where it stands."""

    name: str
    value: str
    start: int
    end: int


class Words(NamedTuple):
    """What an engine of one version understands."""

    commands: tuple[str, ...]
    options: tuple[str, ...]
    properties: dict[str, tuple[str, ...]]


def _comment(text: str, at: int) -> bool:
    return text[at : at + 1] == "!" or text[at : at + 2] == "//"


def _blank(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t":
        at += 1
    return at


def _one(text: str, at: int) -> tuple[str, int, int, int, str]:
    """Return the next word, its span, where to go on, and the delimiter there."""
    at = start = _blank(text, at)
    if text[at : at + 1] in _QUOTES and at < len(text):
        end = text.find(_QUOTES[text[at]], at + 1)
        word = text[at + 1 :] if end < 0 else text[at + 1 : end]
        stop = len(text) if end < 0 else end + 1
    else:
        found = _BARE.match(text, at)
        stop = found.end() if found else at
        word = text[at:stop]
    at = _blank(text, stop)
    delimiter = text[at : at + 1] if text[at : at + 1] in (",", "=") else ""
    return word, start, stop, at + len(delimiter), delimiter


def tokens(text: str) -> Iterator[Token]:
    """
    Split a command as the engine does, comments left out.

    Parameters
    ----------
    text : str
        One line of a script, or a quoted value of one.

    Yields
    ------
    Token
        Each value; quotes are off, ``start`` and ``end`` are around them.

    Examples
    --------
    >>> [(t.name, t.value) for t in tokens("New Line.a r1 = (1 2) ! ohm")]
    [('', 'New'), ('', 'Line.a'), ('r1', '1 2')]
    """
    at = _blank(text, 0)
    while at < len(text) and not _comment(text, at):
        word, start, stop, at, delimiter = _one(text, at)
        name = ""
        if delimiter == "=":
            name = word
            word, start, stop, at, _ = _one(text, at)
        yield Token(name, word, start, stop)
        at = _blank(text, at)


def resolved(word: str, known: Iterable[str]) -> str:
    """
    Return the known word that the engine takes a word for.

    Parameters
    ----------
    word : str
        A word in full or abbreviated, in any case.
    known : iterable of str
        What the engine knows, in its order, in lower case.

    Returns
    -------
    str
        The word itself if known, else the first that begins so, else empty.
    """
    word, known = word.lower(), tuple(known)
    if word in known:
        return word
    return next((full for full in known if word and full.startswith(word)), "")


def engine() -> Any:  # noqa: ANN401
    """
    Return a fresh OpenDSS engine that opens no window, editor or shell.

    Returns
    -------
    dss.IDSS.IDSS
        A context of its own, which shares nothing with others.

    Raises
    ------
    ConfigError
        If dss-python is missing.
    """
    try:
        from dss import dss  # noqa: PLC0415  an extra
    except ImportError:
        msg = "OpenDSS files need dss-python: pip install 'gridsite[opendss]'"
        raise ConfigError(msg) from None
    context = dss.NewContext()
    context.AllowForms = context.AllowEditor = False
    context.AllowDOScmd = context.AllowChangeDir = False
    return context


@lru_cache(maxsize=1)
def words() -> Words:
    """
    Return the commands, options and properties that the engine understands.

    Returns
    -------
    Words
        In the engine's order, in lower case.
    """
    context = engine()
    listed = context.Executive
    commands = [listed.Command(k + 1).lower() for k in range(listed.NumCommands)]
    options = [listed.Option(k + 1).lower() for k in range(listed.NumOptions)]
    context.Text.Command = "new circuit.words"
    properties = {}
    for name in context.Classes:
        with contextlib.suppress(Exception):  # controls of nothing: still listed
            context.Text.Command = f"new {name}.words"
        element = context.ActiveCircuit.ActiveDSSElement
        made = element.Name.lower().startswith(f"{name.lower()}.")
        named = element.AllPropertyNames if made else ()
        properties[name.lower()] = tuple(prop.lower() for prop in named)
    properties["circuit"] = properties["vsource"]
    return Words(tuple(commands), tuple(options), properties)
