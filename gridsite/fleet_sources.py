"""Which feeders a fleet has: paths, folders, globs and names in its study file."""

from __future__ import annotations

import glob
import hashlib
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gridsite.errors import ConfigError, GridsiteError
from gridsite.feeder.opendss_script import with_included

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


#: Files of a folder that are feeders each; of OpenDSS scripts only masters are.
_FEEDER_FILES = (".json", ".xlsx", ".m", ".zip")


@dataclass(frozen=True, kw_only=True)
class Source:
    """
    A feeder of a fleet.

    Parameters
    ----------
    slug : str
        Safe as the name of a folder; unique in the fleet.
    name : str
        As shown in tables: relative to the study file where it lies below it.
    path : str
        What ``read_feeder`` takes.
    sha256 : str
        Hash of the file, with those that an OpenDSS script reads; "" for a name, and
        for a file that cannot be read.
    """

    slug: str
    name: str
    path: str
    sha256: str


def find_sources(names: Sequence[str], folder: Path) -> list[Source]:
    """
    Return the feeders that a fleet names, each once.

    Parameters
    ----------
    names : sequence of str
        Paths, folders, globs, ``pandapower:NAME`` or ``simbench:CODE``.
    folder : pathlib.Path
        Where relative paths start.

    Returns
    -------
    list of Source
        In the order of the names; the files of one name are sorted.

    Raises
    ------
    ConfigError
        If a path, folder or glob matches no file.

    Examples
    --------
    >>> from pathlib import Path
    >>> [s.slug for s in find_sources(["pandapower:lv_schutterwald"], Path())]
    ['pandapower-lv-schutterwald-7c7879c23210']
    """
    found: dict[str | Path, Source] = {}
    for name in names:
        if name.startswith(("pandapower:", "simbench:")):
            found.setdefault(name, _source(name, name, ""))
            continue
        for path in _files(name, folder):
            inside = path.is_relative_to(folder)
            shown = path.relative_to(folder).as_posix() if inside else str(path)
            found.setdefault(path.resolve(), _source(shown, str(path), _hash_of(path)))
    return list(found.values())


def _files(name: str, folder: Path) -> list[Path]:
    """Return the files that a path, folder or glob stands for."""
    path = folder / name
    if path.is_file():
        return [path]
    if path.is_dir():
        files = [p for p in path.iterdir() if p.suffix.lower() in _FEEDER_FILES]
    else:
        names = glob.glob(name, root_dir=folder, recursive=True)  # noqa: PTH207 - absolute too
        files = [folder / name for name in names]
    files = sorted(p for p in files if p.is_file() and not p.name.startswith("."))
    if not files:
        hint = "mend it"
        if path.is_dir() and next(path.glob("**/*.dss"), None) is not None:
            hint = 'name OpenDSS masters by a glob, as "circuits/*/Master.dss"'
        msg = f"fleet.feeders: {name!r} matches no feeder file from {folder}; {hint}"
        raise ConfigError(msg)
    return files


def _hash_of(path: Path) -> str:
    """Return one hash of a feeder file and of all that it reads."""
    try:
        names = with_included([path.name], path.parent)
    except GridsiteError:  # its run will say why
        names = [path.name]
    if len(names) == 1:
        return sha256_of(path)
    told = "\n".join(f"{sha256_of(path.parent / name)} {name}" for name in names)
    return hashlib.sha256(os.fsencode(told)).hexdigest()


def _source(shown: str, path: str, sha256: str) -> Source:
    plain = re.sub(r"[^a-z0-9]+", "-", shown.lower())[-48:].strip("-") or "feeder"
    slug = f"{plain}-{hashlib.sha256(os.fsencode(shown)).hexdigest()[:12]}"
    return Source(slug=slug, name=one_line(shown), path=path, sha256=sha256)


def one_line(text: str) -> str:
    r"""
    Return text as one line that UTF-8 can hold.

    Parameters
    ----------
    text : str
        Any text, such as the name of a file.

    Returns
    -------
    str
        Without line breaks; what is no character stands as its escape.

    Examples
    --------
    >>> one_line("a\n b")
    'a b'
    """
    return " ".join(text.encode("utf-8", "backslashreplace").decode().split())


def sha256_of(path: Path) -> str:
    """
    Return the SHA-256 of a file.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Returns
    -------
    str
        In hexadecimal; "" if the file cannot be read, which its run will say.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
