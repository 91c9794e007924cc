"""
Progress of long work on standard error: a bar on terminals, plain lines elsewhere.

A line is written when a stage starts, and one every `EVERY_S` seconds while it lasts.
Work that ends within `SILENT_S` seconds writes none, so that a command that is refused
leaves the one line of its error alone.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TextIO

    from rich.console import Console

    Tell = Callable[[float, str], None]

#: How long work runs before its first line. [s]
SILENT_S = 5.0
#: Between lines of one stage. [s]
EVERY_S = 30.0
#: Told while loops are compiled for the first time.
COMPILING = "compiling (once on this machine)"
#: How often the clock is looked at. [s]
_LOOK_S = 1.0


@contextmanager
def progress() -> Iterator[Callable[[float, str], None]]:
    """
    Show progress on standard error.

    Yields
    ------
    callable
        Takes the share done, in [0, 1], and a text.
    """
    from rich.console import Console

    console = Console(stderr=True)
    shown = console.is_terminal and not console.is_dumb_terminal
    with (
        _bar(console) if shown else _lines(sys.stderr) as tell,
        _compiling(tell) as with_compiling,
    ):
        yield with_compiling


@contextmanager
def _compiling(tell: Tell) -> Iterator[Tell]:
    """Tell where loops are compiled, which takes a minute on a new machine."""
    from numba.core import event

    now, depth = (0.0, "starting"), 0

    class Listener(event.Listener):
        def on_start(self, _: event.Event) -> None:
            nonlocal depth
            depth += 1
            tell(now[0], COMPILING)

        def on_end(self, _: event.Event) -> None:
            nonlocal depth
            depth -= 1
            if not depth:
                tell(*now)

    def keep(share: float, text: str) -> None:
        nonlocal now
        now = (share, text)
        tell(share, text)

    with event.install_listener("numba:compile", Listener()):
        yield keep


@contextmanager
def _bar(console: Console) -> Iterator[Tell]:
    from rich.progress import Progress

    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("starting", total=1.0)

        def tell(share: float, text: str) -> None:
            bar.update(task, completed=share, description=text)

        yield tell


@contextmanager
def _lines(stream: TextIO | None) -> Iterator[Tell]:
    """Write lines, from a thread too: a stage may tell nothing for long."""
    lines, over = ProgressLines(stream), threading.Event()

    def look() -> None:
        while not over.wait(_LOOK_S):
            lines.look()

    watch = threading.Thread(target=look, name="gridsite progress", daemon=True)
    watch.start()
    try:
        yield lines.tell
    finally:
        over.set()
        watch.join()


class ProgressLines:
    """
    Plain lines on the progress of work.

    Parameters
    ----------
    stream : file or None
        Where lines go; nowhere without it.
    clock : callable, default time.monotonic
        Returns the time. [s]
    """

    def __init__(
        self, stream: TextIO | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream, self._clock = stream, clock
        self._lock = threading.Lock()
        self._began = self._said = clock()
        self._stages: set[str] = set()
        self._waiting: list[str] = []
        self._last: tuple[float, str] | None = None

    def tell(self, share: float, text: str) -> None:
        """
        Take progress; a stage that was not told before gets a line.

        Parameters
        ----------
        share : float
            Done, in [0, 1]. [-]
        text : str
            What is being done.
        """
        with self._lock:
            self._last = (share, text)
            stage = stage_of(text)
            if stage not in self._stages:
                self._stages.add(stage)
                self._waiting.append(self._line())
            self._write()

    def look(self) -> None:
        """Write a line if none was written for long."""
        with self._lock:
            self._write()

    def _write(self) -> None:
        now = self._clock()
        if self._stream is None or now - self._began < SILENT_S:
            return
        if self._last and not self._waiting and now - self._said >= EVERY_S:
            self._waiting.append(self._line())
        if not self._waiting:
            return
        try:
            print(*self._waiting, sep="\n", file=self._stream, flush=True)
        except (OSError, ValueError):  # closed, or nobody reads: the work goes on
            self._stream = None
        self._waiting, self._said = [], now

    def _line(self) -> str:
        from gridsite.untrusted import printable

        share, text = self._last or (0.0, "")
        seconds = self._clock() - self._began
        words = printable(" ".join(text.split()))
        return f"progress: {seconds:.0f} s, {100.0 * share:.0f} %: {words}"


def stage_of(text: str) -> str:
    """
    Return what is being done, without which and how many.

    Parameters
    ----------
    text : str
        As progress is told.

    Returns
    -------
    str
        Up to the first name or figure.

    Examples
    --------
    >>> stage_of("hosting capacity of LV3.101"), stage_of("round 2: cost 7")
    ('hosting capacity', 'round #')
    >>> stage_of("3 of 40 feeders") == stage_of("4 of 40 feeders")
    True
    """
    return re.split(r" of | behind |: ", re.sub(r"\d[\d.,]*", "#", text))[0]
