"""OpenDSS scripts are confined to their folder, and lose nothing of the circuit."""

import random

import numpy as np
import pytest

from gridsite.errors import ConfigError, FeederError
from gridsite.feeder import opendss_script
from gridsite.feeder.opendss_script import commands, read_script

pytest.importorskip("dss", reason="needs dss-python")

from gridsite.feeder.opendss_words import engine, resolved, tokens, words

#: A generated circuit: one line, one load.
CIRCUIT = """
Clear
New Circuit.small basekv=0.4 pu=1.0 bus1=a
New Linecode.c nphases=3 r1=0.3 x1=0.1 units=km
New Line.l bus1=a bus2=b linecode=c length=0.2 units=km
New Load.d bus1=b kv=0.4 kw=20 pf=0.95
Set voltagebases=[0.4]
Calcv
"""

HOSTILE = {
    "shell": "DOScmd touch owned",
    "shell abbreviated": "dosc touch owned",
    "folder": "CD /tmp",
    "data path": "Set datapath=/tmp",
    "data path abbreviated": "Set dat=/tmp",
    "second option": "Set loadmult=1 editor=/bin/sh",
    "option by position": "Set Line Line.l 0 0 0 60 1 snap 0 1 0 Line l c /bin/sh",
    "help": "COMHelp",
    "drawing": "DI_plot",
    "user class": "Userclasses",
    "engine": "NewActor",
    "written shapes": "CvrtLoadshapes",
    "rewritten file": "AlignFile file=master.dss",
    "unknown": "Frobnicate now",
    "script above": "Redirect ../outside.dss",
    "script in the root": "Redirect /etc/passwd",
    "script of windows": "Redirect C:\\windows\\win.ini",
    "script by link": "Redirect link.dss",
    "script missing": "Redirect nowhere.dss",
    "script itself": "Redirect MASTER.dss",
    "script is a folder": "Redirect sub",
    "coordinates above": "BusCoords ../outside.csv",
    "coordinates in the root": "Buscoords /etc/passwd",
    "shape above": "New Loadshape.s npts=2 csvfile=../outside.csv",
    "shape in array": "New Loadshape.s npts=2 mult=(file=../outside.csv)",
    "shape in quotes": 'New Loadshape.s npts=2 mult="file=/etc/passwd"',
    "shape by abbreviation": "New Loadshape.s npts=2 csv=/etc/passwd",
    "shape by position": "New Loadshape.s 2 1 (1 2) (1 2) 1 1 /etc/passwd",
    "shape continued": "New Loadshape.s npts=2\n~ sngf=/etc/passwd",
    "shape edited": "New Loadshape.s npts=2\nLoadshape.s.csvfile=/etc/passwd",
    "shape after edit": "Load.d.kw=3 yearly=(file=/etc/passwd)",
    "array of an option": "Set voltagebases=(file=/etc/passwd)",
    "shape written": "New Loadshape.s npts=2 mult=(1 2) action=dblsave",
    "meter written": "New Monitor.m element=Line.l action=save",
    "code": "New Generator.g bus1=b kw=1 usermodel=evil",
    "code abbreviated": "New Generator.g bus1=b kw=1 userm=evil",
    "code by shaft": "New Generator.g bus1=b kw=1 shaftmodel=evil",
    "code by library": "New Storage.g bus1=b dynadll=evil",
    "code in batch": "BatchEdit Generator..* usermodel=evil",
    "code of a control": "New CapControl.k usermodel=evil",
    "library as a name": "New Load.e bus1=b daily=evil.dll",
    "variable as verb": "var @v=doscmd\n@v touch owned",
    "variable as path": "var @p=(file=/etc/passwd)\nNew Loadshape.s mult=@p",
    "variable in a path": "var @p=csv\nNew Loadshape.s csvfile=@p",
    "variable as property": "var @p=usermodel\nNew Generator.g @p=evil",
    "variable as element": "var @p=Generator.g\nNew @p kw=1",
    "continued nothing": "Enable Load.d\n~ usermodel=evil",
    "points without end": "New Loadshape.s npts=1500000000",
    "points by position": "New XYcurve.s 1500000000",
    "points by formula": "New Loadshape.s npts=(1e5 sqr)",
    "points by variable": "var @n=1500000000\nNew Loadshape.s npts=@n",
    "phases without end": "New Line.p phases=20000",
    "phases of a load": "New Load.p bus1=b phases=30000",
    "windings without end": "New Transformer.t windings=100000",
    "class unknown": "New Frob.f bus1=b",
    "class by option": "Set class=Generator\nEdit g usermodel=evil",
    "comment without end": "/* the rest is gone",
    "control characters": "New Load.\x07e bus1=b",
}


@pytest.fixture
def folder(tmp_path):
    """Return a folder with a circuit, and files outside of it."""
    root = tmp_path / "feeder"
    (root / "sub").mkdir(parents=True)
    (root / "master.dss").write_text(CIRCUIT)
    (tmp_path / "outside.dss").write_text("New Load.e bus1=b kw=1\n")
    (tmp_path / "outside.csv").write_text("1\n2\n")
    (root / "link.dss").symlink_to(tmp_path / "outside.dss")
    return root


def _solved(lines, times=1):
    context = engine()
    for line in lines:
        context.Text.Command = line
    for _ in range(times):
        context.Text.Command = "solve"
    return context.ActiveCircuit


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_scripts_are_refused_with_their_line(folder, name):
    master = folder / "master.dss"
    master.write_text(CIRCUIT + HOSTILE[name] + "\n")
    with pytest.raises(FeederError, match=r"(master|outside)\.dss, line \d+: "):
        commands(master)
    assert not (folder / "owned").exists()


def test_a_redirected_script_is_named_with_its_own_line(folder):
    (folder / "sub" / "loads.dss").write_text("! loads\nDOScmd ls\n")
    (folder / "master.dss").write_text(CIRCUIT + "Redirect Sub\\LOADS.dss\n")
    with pytest.raises(FeederError, match=r"sub/loads\.dss, line 2: .*DOScmd"):
        commands(folder / "master.dss")


def test_loops_depth_lines_and_sizes_have_limits(folder, monkeypatch):
    master = folder / "master.dss"
    master.write_text(CIRCUIT + "Redirect a.dss\n")
    (folder / "a.dss").write_text("Redirect b.dss\n")
    (folder / "b.dss").write_text("Redirect a.dss\n")
    with pytest.raises(FeederError, match=r"b\.dss, line 1: a\.dss redirects to its"):
        commands(master)
    (folder / "b.dss").write_text("! nothing\n")
    for limit, value, words_ in [
        ("DEPTH", 2, "deeper than 2"),
        ("READS", 2, "more than 2 files"),
        ("LINES", 5, "more than 5 lines"),
        ("SCRIPT_BYTES", 60, "at most"),
        ("ALL_BYTES", 60, "at most"),
    ]:
        with monkeypatch.context() as patch:
            patch.setattr(opendss_script, limit, value)
            with pytest.raises(FeederError, match=words_):
                commands(master)
    assert len(commands(master)) == 7
    (folder / "s.csv").write_text("1\n" * 99)
    master.write_text(CIRCUIT + "New Loadshape.s npts=9 csvfile=s.csv\n")
    monkeypatch.setattr(opendss_script, "DATA_BYTES", 60)
    with pytest.raises(FeederError, match="at most"):
        commands(master)


def test_a_missing_master_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        commands(tmp_path / "none.dss")


def test_data_files_are_read_from_the_folder_of_their_script(folder):
    (folder / "sub" / "Mixed Case.CSV").write_text("0.25\n0.5\n")
    (folder / "sub" / "xy.csv").write_text("b, 7, 8\n")
    (folder / "sub" / "more.dss").write_text(
        "New Loadshape.s npts=2 interval=1 mult=(file='mixed case.csv') ! read\n"
        'New Loadshape.t npts=2 interval=1 csvfile="MIXED case.csv"\n'
        "Buscoords XY.csv\n"
    )
    (folder / "master.dss").write_text(CIRCUIT + "Redirect sub/more.dss\n")
    circuit = _solved(commands(folder / "master.dss"))
    for name in ("s", "t"):
        circuit.LoadShapes.Name = name
        np.testing.assert_allclose(circuit.LoadShapes.Pmult, [0.25, 0.5])
    assert (circuit.Buses("b").x, circuit.Buses("b").y) == (7.0, 8.0)


def test_columns_of_a_data_file_are_kept(folder):
    (folder / "two.csv").write_text("p,q\n1,10\n2,20\n")
    (folder / "master.dss").write_text(
        CIRCUIT
        + "New Loadshape.s npts=2 interval=1 "
        + "mult=[file=two.csv column=2 header=yes]\n"
    )
    circuit = _solved(commands(folder / "master.dss"))
    circuit.LoadShapes.Name = "s"
    np.testing.assert_allclose(circuit.LoadShapes.Pmult, [10.0, 20.0])


def test_reports_and_solutions_are_left_out_with_a_note(folder):
    (folder / "master.dss").write_text(
        CIRCUIT + "Solve mode=yearly\nExport voltages\nShow powers\n? Load.d.kw\n"
        "Set casename=x\nSet demandinterval=yes\n/* Solve\nSolve */\n// Solve\n!Solve\n"
    )
    script = read_script(folder / "master.dss")
    assert [note.split(": ")[1] for note in script.notes] == [
        "Solve is left out",
        "Export is left out",
        "Show is left out",
        "? is left out",
        "set casename is left out",
        "set demandinterval is left out",
    ]
    assert not any(c.lower().startswith(("solve", "sh", "ex")) for c in script.commands)
    assert {p.name for p in folder.iterdir()} == {"sub", "master.dss", "link.dss"}


def test_traces_are_switched_off(folder):
    (folder / "master.dss").write_text(
        CIRCUIT + "New Generator.g bus1=b kv=0.4 kw=1 debugtrace=yes kvar=0\n"
    )
    last = commands(folder / "master.dss")[-1]
    assert last == "New Generator.g bus1=b kv=0.4 kw=1 debugtrace=no kvar=0"


def test_libraries_of_codes_may_stand_in_the_folder_above(folder):
    (folder.parent / "codes.dss").write_text("! shared\nNew Linecode.e r1=1\n~ x1=2\n")
    (folder / "master.dss").write_text("Redirect ../codes.dss\n")
    assert commands(folder / "master.dss") == ["New Linecode.e r1=1", "~ x1=2"]
    (folder.parent / "codes.dss").write_text("New Linecode.e r1=1\nClear\n")
    with pytest.raises(
        FeederError, match=r"\.\./codes\.dss, line 2: outside the folder"
    ):
        commands(folder / "master.dss")
    (folder / "master.dss").write_text("Redirect ../../codes.dss\n")
    with pytest.raises(FeederError, match="leads out of the folder"):
        commands(folder / "master.dss")


@pytest.mark.parametrize(
    "name",
    [
        "ieee13/IEEE13Nodeckt.dss",
        "ieee34/ieee34Mod1.dss",
        "ieee37/ieee37.dss",
        "ieee123/IEEE123Master.dss",
        "european-lv/Master.dss",
        "ieee8500/Master.dss",
        "ckt5/Master_ckt5.dss",
    ],
)
def test_published_masters_give_the_circuit_that_the_engine_compiles(shared, name):
    master = shared(f"opendss/{name}")
    script = read_script(master)
    solves = sum("solve" in note.lower() for note in script.notes)
    ours = _solved(script.commands, times=solves + 1)
    theirs = _solved([f'compile "{master}"'])
    assert ours.NumCktElements == theirs.NumCktElements
    assert list(ours.YNodeOrder) == list(theirs.YNodeOrder)
    np.testing.assert_allclose(
        ours.YNodeVarray, theirs.YNodeVarray, rtol=1e-12, atol=1e-9
    )
    places = [
        [(c.Buses(bus).x, c.Buses(bus).y) for bus in c.AllBusNames]
        for c in (ours, theirs)
    ]
    assert places[0] == places[1]


def test_tokens_are_those_of_the_engine():
    parser, rng = engine().Parser, random.Random(7)  # noqa: S311
    for _ in range(5000):
        text = "".join(rng.choices("ab1.=, \t\"'()[]{}!/|;*\\-", k=rng.randint(1, 12)))
        ours = [(token.name, token.value) for token in tokens(text)]
        parser.CmdString = text
        theirs = [(parser.NextParam, parser.StrValue) for _ in range(len(ours) + 1)]
        ends = theirs.index(("", "")) if ("", "") in theirs else len(theirs)
        assert ours[:ends] == theirs[:ends], text  # at ("", "") the engine stops


def test_words_are_resolved_as_the_engine_does():
    known = words().commands
    for short, full in [
        ("calcv", "calcvoltagebases"),
        ("S", "select"),
        ("m", "m"),
        ("sol", "solve"),
        ("d", "disable"),
        ("do", "doscmd"),
        ("xyz", ""),
        ("", ""),
    ]:
        assert resolved(short, known) == full
    assert set(words().properties) >= {"line", "load", "transformer", "circuit"}
