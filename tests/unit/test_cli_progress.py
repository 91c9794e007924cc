"""Long work that is piped tells its progress in few lines; short work in none."""

import io
import sys

import numba as nb
import pytest

from gridsite import cli_progress
from gridsite.cli_progress import COMPILING, EVERY_S, SILENT_S, ProgressLines, progress


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def told():
    """Return a function: seconds, then progress or a look; gives the lines so far."""
    clock, stream = Clock(), io.StringIO()
    lines = ProgressLines(stream, clock)

    def run(now, share=None, text=""):
        clock.now = now
        lines.look() if share is None else lines.tell(share, text)
        return stream.getvalue().splitlines()

    return run


def test_short_work_says_nothing(told):
    assert told(0.0, 0.0, "reading the feeder") == []
    assert told(SILENT_S - 0.1, 0.5, "hosting capacity of A") == []


def test_each_stage_is_told_once_and_none_is_lost(told):
    told(0.0, 0.0, "reading the feeder")
    told(1.0, 0.1, "hosting capacity of A")
    first = ["progress: 0 s, 0 %: reading the feeder"]
    first += ["progress: 1 s, 10 %: hosting capacity of A"]
    assert told(SILENT_S) == first
    assert told(6.0, 0.2, "hosting capacity of B: x") == first
    assert told(7.0, 0.9, "replay")[2:] == ["progress: 7 s, 90 %: replay"]


def test_a_long_stage_is_told_again_also_where_it_is_silent(told):
    for done in range(1000):  # of a fleet, 0.1 s each
        lines = told(SILENT_S + done / 10, done / 1000, f"{done} of 1000 feeders")
    assert len(lines) == 1 + 99.9 // EVERY_S
    assert lines[-1] == "progress: 95 s, 90 %: 900 of 1000 feeders"
    assert len(told(200.0)) == len(lines) + 1
    assert len(told(201.0)) == len(lines) + 1


def test_names_of_a_file_stay_on_one_line(told):
    (line,) = told(9.0, 0.5, "hosting capacity of a\nb\x1b[2J")
    assert line.isprintable()


def test_progress_goes_to_standard_error_alone(monkeypatch, capsys):
    monkeypatch.setattr(cli_progress, "SILENT_S", 0.0)
    with progress() as tell:
        tell(0.25, "choosing sites")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err == "progress: 0 s, 25 %: choosing sites\n"


@pytest.mark.parametrize("broken", [None, "closed"])
def test_work_goes_on_where_nobody_reads(monkeypatch, capsys, broken):
    monkeypatch.setattr(cli_progress, "SILENT_S", 0.0)
    stream = io.StringIO() if broken else None
    if stream is not None:
        stream.close()
    with cli_progress._lines(stream) as tell:
        tell(0.0, "reading")
        tell(0.5, "rating")
    assert capsys.readouterr() == ("", "")
    assert sys.stderr is not None


def test_compiling_is_told_and_what_goes_on_after_it():
    @nb.njit
    def double(x):
        return 2 * x

    @nb.njit
    def fourfold(x):
        return double(double(x))

    told = []
    with cli_progress._compiling(lambda share, text: told.append((share, text))) as say:
        say(0.3, "reading")
        fourfold(1)
        fourfold(2)
    assert told[0] == told[-1] == (0.3, "reading")
    assert set(told[1:-1]) == {(0.3, COMPILING)}
    assert told.count((0.3, "reading")) == 2
    fourfold(1.0)
    assert told[-1] == (0.3, "reading")  # nothing is heard once work is over
