"""Paths that options name, looked at before any work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gridsite.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def check_files(given: dict[str, Path | None]) -> None:
    """
    Refuse options that name no file, before any work.

    Parameters
    ----------
    given : dict
        Paths by option; None where it is not given.

    Raises
    ------
    ConfigError
        If there is nothing of that name, or a folder.
    """
    for option, path in given.items():
        if path is None or path.is_file():
            continue
        what = "is a folder; give a file" if path.is_dir() else "there is no such file"
        msg = f"{option} {path}: {what}".lstrip()
        raise ConfigError(msg)


def check_targets(given: dict[str, Path | None]) -> None:
    """
    Refuse options that name a file that cannot be written, before any work.

    Parameters
    ----------
    given : dict
        Paths by option; None where it is not given.

    Raises
    ------
    ConfigError
        If it is a folder, or its folder does not exist.
    """
    for option, path in given.items():
        if path is None:
            continue
        if path.is_dir():
            msg = f"{option} {path}: is a folder; name a file"
            raise ConfigError(msg)
        if not path.absolute().parent.is_dir():
            msg = f"{option} {path}: there is no such folder; make it first"
            raise ConfigError(msg)
