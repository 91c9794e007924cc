"""
Flatten an OpenDSS script into commands that stay inside its folder.

A script may redirect to others, write files, start programs and load code. Here
the scripts are read by gridsite, word by word as the engine reads them, so that
the engine is handed single commands and opens data files of the folder alone.
The folder above may hold libraries of line codes and the like, which the IEEE
feeders share. Reports and solutions are left out with a note; what else does
not build a circuit is refused, with its file and line.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NoReturn

from gridsite.errors import ConfigError, FeederError
from gridsite.feeder import opendss_words as lists
from gridsite.feeder.opendss_words import Token, resolved, tokens, words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Largest script, largest data file and largest sum of all that is read. [byte]
SCRIPT_BYTES, DATA_BYTES, ALL_BYTES = 64 * 2**20, 512 * 2**20, 2 * 2**30

#: Most lines in all, most files read, deepest redirect.
LINES, READS, DEPTH = 2_000_000, 5_000, 16

_ABSOLUTE = re.compile(r"[\\/]|[A-Za-z]:[\\/]")
_CODE = re.compile(r"\.(dll|so|dylib|exe|bat|cmd|sh|py)$", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_FILE_WORDS = ("file", "dblfile", "sngfile")
_BRACKETS = ("()", "[]", "{}")


@dataclass(frozen=True, kw_only=True)
class Script:
    """
    A script and all that it redirects to, as commands for the engine.

    Parameters
    ----------
    commands : tuple of str
        In order; paths are absolute. Stop at the first that the engine refuses.
    notes : tuple of str
        What was left out, each with its file and line.
    folder : pathlib.Path
        The folder that holds every file.
    files : tuple of pathlib.Path
        Every script and data file that is read, the master first.
    """

    commands: tuple[str, ...]
    notes: tuple[str, ...]
    folder: Path
    files: tuple[Path, ...]


def commands(master: Path) -> list[str]:
    """
    Return the commands of a script, as `read_script` does.

    Parameters
    ----------
    master : pathlib.Path
        The script that a user would compile.

    Returns
    -------
    list of str
        Commands for the engine, in order.
    """
    return list(read_script(master).commands)


def read_script(master: Path) -> Script:
    """
    Flatten a script and what it redirects to into commands that are safe to run.

    Parameters
    ----------
    master : pathlib.Path
        The script that a user would compile. Its folder holds all it may read.

    Returns
    -------
    Script
        Commands, notes on what was left out, and the folder.

    Raises
    ------
    ConfigError
        If there is no such file, or dss-python is missing.
    FeederError
        If a command writes, starts or loads something, is not understood, or
        leaves the folder; if a file is missing or too large.

    Notes
    -----
    Compared with compiling the script itself: no ``Solve`` runs, hence controls
    have not acted; demand intervals, reports and traces are off.
    """
    path = Path(master)
    if not path.is_file():
        msg = f"{master}: no such file; give the master script of the circuit"
        raise ConfigError(msg)
    path = path.resolve()
    flat = _Flat(root=path.parent)
    flat.read(path, ())
    return Script(
        commands=tuple(flat.commands),
        notes=tuple(flat.notes),
        folder=flat.root,
        files=tuple(flat.files),
    )


def with_included(names: Iterable[str], folder: Path) -> list[str]:
    """
    Return names of files with all that OpenDSS scripts among them read.

    Parameters
    ----------
    names : iterable of str
        Paths, absolute or from ``folder``.
    folder : pathlib.Path
        Where relative paths start.

    Returns
    -------
    list of str
        Each script is followed by the files that it redirects to or takes data from,
        named from where it is named; every file once.

    Raises
    ------
    ConfigError
        If a script is not there, or dss-python is missing.
    FeederError
        If a script is refused.

    Examples
    --------
    >>> with_included(["loads.csv", "net.json"], Path())
    ['loads.csv', 'net.json']
    """
    found: dict[str, None] = {}
    for name in names:
        found[name] = None
        if not name.lower().endswith(".dss"):
            continue
        script = read_script(folder / name)
        beside = Path(name).parent
        for file in script.files[1:]:
            inside = os.path.relpath(file, script.folder)
            found[os.path.normpath(beside / inside)] = None
    return list(found)


@dataclass(kw_only=True)
class _Flat:
    """What has been read so far, and the class that ``~`` continues."""

    root: Path
    commands: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    files: dict[Path, None] = field(default_factory=dict)
    active: str = ""
    bytes: int = 0
    lines: int = 0
    reads: int = 0
    at: str = ""

    def read(self, path: Path, above: tuple[Path, ...]) -> None:
        """Add the commands of one script."""
        if path in above:
            self.refuse(f"{path.name} redirects to itself; take one redirect out")
        if len(above) >= DEPTH or self.reads >= READS:
            self.refuse(
                f"redirects go deeper than {DEPTH} or to more than {READS} files"
            )
        self.reads += 1
        self.weigh(path, SCRIPT_BYTES)
        inside = path.is_relative_to(self.root)
        shown = path.relative_to(self.root).as_posix() if inside else f"../{path.name}"
        for number, filed in _lines(path.read_bytes(), shown):
            line = filed.rstrip("\0 \t")
            self.lines += 1
            self.at = f"{shown}, line {number}"
            if self.lines > LINES:
                self.refuse(f"more than {LINES} lines in all: not a feeder")
            if _CONTROL.search(line):
                self.refuse("control characters: not a text file")
            self.command(line, path, above)
            if not inside and any(tokens(line)) and self.active not in lists.LIBRARY:
                self.refuse(
                    "outside the folder of the master only line codes and the like "
                    "may stand; put all other files into that folder"
                )

    def weigh(self, path: Path, most: int) -> None:
        """Refuse a file that is too large, or all of them together."""
        size = path.stat().st_size
        self.files[path] = None
        self.bytes += size
        if size > most or self.bytes > ALL_BYTES:
            self.refuse(
                f"{path.name} has {size >> 20} MiB, {self.bytes >> 20} MiB in all; "
                f"at most {most >> 20} and {ALL_BYTES >> 20} are read"
            )

    def refuse(self, why: str) -> NoReturn:
        """Raise with the place that was reached."""
        msg = f"{self.at or self.root.name}: {why}"
        raise FeederError(msg)

    def command(self, line: str, path: Path, above: tuple[Path, ...]) -> None:
        """Add one line: run, left out or refused."""
        parts = list(tokens(line))
        if not parts or not any(part.value or part.name for part in parts):
            return
        first = parts[0]
        if "@" in first.name or (not first.name and "@" in first.value):
            self.refuse("a variable stands for a command; write the command out")
        if first.name:
            self.assignment(line, parts, path)
            return
        verb = resolved(first.value, words().commands)
        if verb in lists.INCLUDED:
            named = parts[1].value if len(parts) > 1 else ""
            self.read(self.file(named, path, script=True), (*above, path))
        elif verb in lists.LOCATED:
            named = parts[1].value if len(parts) > 1 else ""
            self.commands.append(f"{verb} {self.quoted(self.data(named, path))}")
        elif verb in lists.DROPPED:
            self.note(f"{first.value} is left out")
        elif verb == "set":
            self.options(line, parts[1:], path)
        elif verb in lists.ELEMENTAL:
            self.element(verb, line, parts, path)
        elif verb in lists.CONTINUED:
            if not self.active:
                self.refuse(f"{first.value!r} follows no element; begin with Edit")
            self.properties(line, parts[1:], self.active, path)
        elif verb in lists.BUILDING:
            self.plain(verb, line, parts[1:])
        else:
            self.refuse(
                f"the command {first.value!r} may write, run or rewrite something, or "
                "is not known; take it out, or save the circuit without it in OpenDSS"
            )

    def note(self, what: str) -> None:
        self.notes.append(f"{self.at}: {what}")

    def plain(self, verb: str, line: str, rest: list[Token]) -> None:
        """Add a command whose words are names and numbers."""
        for part in rest:
            if verb == "var" and re.search(r"[=/\\@]|\.\.", part.value):
                self.refuse(f"the variable {part.name} is no number or plain word")
            self.harmless(part)
        self.active = ""
        self.commands.append("clear" if verb == "clearall" else line.strip())

    def element(self, verb: str, line: str, parts: list[Token], path: Path) -> None:
        """Add a command that names an element."""
        named = parts[1].value if len(parts) > 1 else ""
        kind = named.split(".")[0].lower() if "." in named else self.active
        if "@" in named or (len(parts) > 1 and parts[1].name.lower() not in _OBJECT):
            self.refuse(f"{line.strip()[:60]!r} names no element as Class.name")
        if kind not in words().properties:
            self.refuse(f"{named!r} is of no class that is known here")
        self.active = "" if verb == "batchedit" else kind
        if verb == "select":
            self.plain(verb, line, parts[2:])
            self.active = kind
        else:
            self.properties(line, parts[2:], kind, path)

    def assignment(self, line: str, parts: list[Token], path: Path) -> None:
        """Add ``class.name.property=value`` or ``property=value``."""
        named, _, prop = parts[0].name.rpartition(".")
        kind = named.split(".")[0].lower() if named else self.active
        if kind not in words().properties:
            self.refuse(f"{parts[0].name!r} is of no class that is known here")
        self.active = kind
        self.properties(line, [parts[0]._replace(name=prop), *parts[1:]], kind, path)

    def properties(self, line: str, parts: list[Token], kind: str, path: Path) -> None:
        """Add a command that sets properties, by name or by position."""
        known = words().properties[kind]
        changes: list[tuple[Token, str]] = []
        place = 0
        for part in parts:
            prop = resolved(part.name, known) if part.name else ""
            if "@" in part.name:
                self.refuse(f"a variable stands for a property: {part.name}")
            if part.name:
                place = known.index(prop) + 1 if prop else place
            else:
                prop = known[place] if place < len(known) else ""
                place += 1
            new = self.value(prop, part, kind, path)
            if new is not None:
                changes.append((part, new))
        self.append(line, changes)

    def value(self, prop: str, part: Token, kind: str, path: Path) -> str | None:
        """Return what to put for a property's value, or None to leave it."""
        if prop in lists.CODE and part.value:
            self.refuse(f"{kind}.{prop} loads code: take it out")
        if prop in lists.COUNTS:
            self.count(prop, part.value)
        if prop in lists.FILES:
            return self.quoted(self.data(part.value, path))
        if prop == "debugtrace":
            return "no"
        if prop == "action" and kind in lists.WRITERS:
            if not part.value.lower().startswith(("n", "c")):
                self.refuse(f"{kind}.action={part.value} may write a file: take it out")
            return None
        return self.array(part, path)

    def count(self, prop: str, value: str) -> None:
        """Refuse a size that the engine would take too much memory for."""
        most = lists.COUNTS[prop]
        try:
            good = float(value) <= most
        except ValueError:
            good = False
        if not good:
            self.refuse(f"{prop}={value[:40]}: give a plain number up to {most:,}")

    def array(self, part: Token, path: Path) -> str | None:
        """Check a value, and return it anew where it reads its numbers from a file."""
        inner = list(tokens(part.value)) if "=" in part.value else []
        if not inner or not inner[0].name:
            self.harmless(part)
            return None
        name = inner[0].name.lower()
        if name not in _FILE_WORDS:
            self.refuse(f"{part.value[:60]!r}: only numbers or file=... may stand here")
        file = self.quoted(self.data(inner[0].value, path))
        for rest in inner[1:]:
            if not re.fullmatch(r"\w*", rest.value) or "@" in rest.name:
                self.refuse(f"{part.value[:60]!r}: column and header are plain words")
        more = "".join(f", {rest.name}={rest.value}" for rest in inner[1:])
        text = f"{name}={file}{more}"
        pair = next((pair for pair in _BRACKETS if pair[1] not in text), None)
        if pair is None:
            self.refuse("the folder's name holds every kind of bracket; rename it")
        return f"{pair[0]}{text}{pair[1]}"

    def options(self, line: str, parts: list[Token], path: Path) -> None:
        """Add what shapes the circuit of a ``Set``, one command each."""
        known = words().options
        place = 0
        self.active = ""
        for part in parts:
            if "@" in part.name:
                self.refuse(f"a variable stands for an option: {part.name}")
            option = resolved(part.name, known) if part.name else ""
            if not part.name and place < len(known):
                option = known[place]
            place = known.index(option) + 1 if option else len(known)
            if option in lists.OPTIONS:
                new = self.array(part, path)
                self.commands.append(f"set {option}={new or _raw(line, part)}")
            elif option and lists.IDLE_OPTIONS.fullmatch(option):
                self.note(f"set {option} is left out")
            else:
                named = part.name or part.value
                self.refuse(
                    f"set {named!r} may write, run or move something, or is not "
                    "known; take it out"
                )

    def append(self, line: str, changes: list[tuple[Token, str]]) -> None:
        """Add a line with some of its values replaced."""
        for part, new in reversed(changes):
            line = line[: part.start] + new + line[part.end :]
        self.commands.append(line.strip())

    def harmless(self, part: Token) -> None:
        """Refuse a value that looks like code or a way out of the folder."""
        value = part.value
        out = ".." in value.replace("\\", "/").split("/")
        if _CODE.search(value) or (out and value != "..") or _ABSOLUTE.match(value):
            self.refuse(f"{value[:60]!r} looks like a path or a program; take it out")

    def data(self, named: str, path: Path) -> Path:
        """Return the data file that a script names."""
        found = self.file(named, path)
        self.weigh(found, DATA_BYTES)
        return found

    def file(self, named: str, path: Path, *, script: bool = False) -> Path:
        """Return the file that a script names: in the folder, in any case."""
        text = named.strip().replace("\\", "/")
        if not text or "@" in text or _CODE.search(text) or re.match("[A-Za-z]:", text):
            self.refuse(f"{named!r} is no file of the folder {self.root.name}")
        at = Path("/") if text.startswith("/") else path.parent
        for step in PurePosixPath(text.lstrip("/")).parts:
            at = at.parent if step == ".." else _entry(at, step)
        found = at.resolve()
        library = found.parent == self.root.parent and found.suffix.lower() == ".dss"
        library = library and not at.is_symlink()
        if not found.is_relative_to(self.root) and not (script and library):
            self.refuse(
                f"{named!r} leads out of the folder {self.root.name}; put all files "
                "of a circuit into the folder of its master script"
            )
        if not found.is_file():
            self.refuse(f"{named!r}: no such file")
        return found

    def quoted(self, path: Path) -> str:
        """Return a path as the engine reads it back."""
        quote = "'" if '"' in str(path) else '"'
        if quote in str(path):
            self.refuse(f"{path.name}: rename the folder, its name holds both quotes")
        return f"{quote}{path}{quote}"


_OBJECT = ("", "object")


def _entry(folder: Path, name: str) -> Path:
    """Return an entry of a folder, in any case if there is none in the same."""
    exact = folder / name
    if exact.exists() or not folder.is_dir():
        return exact
    same = [entry for entry in folder.iterdir() if entry.name.lower() == name.lower()]
    return min(same) if same else exact


def _raw(line: str, part: Token) -> str:
    return line[part.start : part.end]


def _lines(raw: bytes, shown: str) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines of a script without blocks of comment."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    opened = 0
    for number, line in enumerate(
        re.split(r"\r\n|\r|\n|\f", text.rstrip("\x1a")), start=1
    ):
        if not opened and line.lstrip(" \t").startswith("/*"):
            opened = number
        if not opened:
            yield number, line
        elif "*/" in line:
            opened = 0
    if opened:
        msg = f"{shown}, line {opened}: the comment /* does not end; add */"
        raise FeederError(msg)
