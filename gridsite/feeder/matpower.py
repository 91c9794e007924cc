"""
Read a MATPOWER case as a pandapower network.

Case files of distribution feeders end in statements that turn ohm into per unit
and kW into MW. They are carried out here, by a reader of arithmetic on columns;
any other statement is refused with its text: nothing of the file is run.
"""

from __future__ import annotations

import ast
import math
import operator
import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandapower as pp
import pandas as pd
from pandapower.converter.pypower.from_ppc import from_ppc

from gridsite.errors import FeederError
from gridsite.untrusted import check_size, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: Largest case that is read. [byte]
CASE_BYTES = 64 * 2**20

#: Impedance below which a branch is a closed switch: Newton's method meets its
#: tolerance no more where admittances are 1e8 times others. [pu of the case]
NO_IMPEDANCE_PU = 1e-7

#: Columns by name, from 0.
COLUMNS = {
    "bus": """BUS_I BUS_TYPE PD QD GS BS BUS_AREA VM VA BASE_KV ZONE VMAX
        VMIN""".split(),  # noqa: SIM905
    "gen": "GEN_BUS PG QG QMAX QMIN VG MBASE GEN_STATUS PMAX PMIN".split(),  # noqa: SIM905
    "branch": """F_BUS T_BUS BR_R BR_X BR_B RATE_A RATE_B RATE_C TAP SHIFT
        BR_STATUS""".split(),  # noqa: SIM905
}

#: Stands for a ratio of 1 of a transformer without taps.
_NO_TAP = 1e-12

#: Fields without meaning for a power flow.
_IDLE = r"mpc\.(version|gencost|areas|bus_name|gentype|genfuel|dcline\w*|reserves)\b"
_NAMES = re.compile(r"\[[\w\s,~]+\] = idx_\w+|define_constants|function \w+ = \w+|end")
_TABLE = re.compile(r"mpc\.(\w+) = \[(.*)\]", re.DOTALL)
_SET = re.compile(r"mpc\.(\w+)\(:, ?(\[[\w ,]+\]|\w+)\) = (.+)", re.DOTALL)
_SCALAR = re.compile(r"(mpc\.baseMVA|\w+) = (.+)", re.DOTALL)
_REFERENCE = re.compile(r"mpc\.(bus|gen|branch)\((:|\d+), ?(\[[\w ,]+\]|\w+)\)")
_FUNCTIONS = {
    name: getattr(np, numpy_name)
    for name, numpy_name in {
        "sin": "sin",
        "cos": "cos",
        "tan": "tan",
        "acos": "arccos",
        "asin": "arcsin",
        "atan": "arctan",
        "sqrt": "sqrt",
        "abs": "abs",
    }.items()
}
_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}


def read_matpower(path: Path) -> Any:  # noqa: ANN401
    """
    Read a case of MATPOWER's format 2.

    Parameters
    ----------
    path : pathlib.Path
        The ``.m`` file.

    Returns
    -------
    pandapower.auxiliary.pandapowerNet
        The network; lines have a length of 1 km, and no rating where the case has
        0. Buses are called by their number.

    Raises
    ------
    FeederError
        If the file holds anything but tables and arithmetic on their columns, or
        a table is at fault.

    Notes
    -----
    MATPOWER knows no length and no kind of line: reactances are those of the case at
    any frequency, and branches with a ratio become transformers. Branches without
    an impedance become closed switches. Powers that are of one phase by the comment
    on ``mpc.bus``, beside voltages of one (``12/sqrt(3)``), are taken times three.
    """
    check_size(path, CASE_BYTES)
    raw = path.read_text(encoding="utf-8", errors="replace")
    case = _Case(path, phases=_phases(raw, path))
    for statement in _statements(raw):
        case.take(statement)
    return case.net()


def _phases(raw: str, path: Path) -> int:
    """Return how many phases the powers of a case must be multiplied by."""
    if not re.search(r"mpc\.bus = \[[^\n]*single[- ]phase", raw):
        return 1
    if re.search(r"mpc\.bus = \[[^\]]*\n[^\]]*/sqrt\(3\)", raw):
        return 3
    msg = (
        f"{path}: powers are of one phase, by its comment, and nominal voltages are "
        "not written as U/sqrt(3); multiply powers, ratings and baseMVA by 3, voltages "
        "of a phase by the root of 3, and take the comment out"
    )
    raise FeederError(msg)


def _statements(raw: str) -> Iterator[str]:
    """Yield statements without comments, on one line but for rows of tables."""
    plain = re.sub(r"%[^\n]*", "", _without_blocks(raw))
    text = re.sub(r"\.\.\.[^\n]*\n", " ", plain)
    depth = 0
    start = 0
    for at, mark in enumerate(text):
        depth += (mark in "[{") - (mark in "]}")
        if depth <= 0 and mark in ";\n":
            statement = text[start:at].strip()
            start = at + 1
            if statement:
                yield re.sub(r"\s*=\s*", " = ", statement, count=1)
    if text[start:].strip():
        yield text[start:].strip()


def _without_blocks(raw: str) -> str:
    """Return the text without comments between lines ``%{`` and ``%}``."""
    lines, depth = [], 0
    for line in raw.splitlines():
        mark = line.strip()
        depth += mark == "%{"
        if not depth:
            lines.append(line)
        depth -= bool(depth) and mark == "%}"
    return "\n".join(lines)


class _Case:
    """The tables of a case, as far as it has been read."""

    def __init__(self, path: Path, *, phases: int = 1) -> None:
        self.path = path
        self.phases = phases
        self.tables: dict[str, Floats] = {}
        self.names: dict[str, Any] = {"pi": math.pi}

    def refuse(self, what: str) -> FeederError:
        return FeederError(f"{self.path}: {printable(what)}")

    def take(self, statement: str) -> None:
        """Carry out one statement."""
        if _NAMES.fullmatch(statement) or re.match(_IDLE, statement):
            return
        if found := _TABLE.fullmatch(statement):
            self.tables[found[1]] = self._table(found[1], found[2])
        elif found := _SET.fullmatch(statement):
            table, columns = self._columns(found[1], found[2])
            table[:, columns] = self._value(found[3])
        elif (found := _SCALAR.fullmatch(statement)) and "(" not in found[1]:
            self.names[found[1].replace(".", "_")] = self._value(found[2])
        else:
            msg = f"the statement {statement[:80]!r} is not read; carry it out first"
            raise self.refuse(msg)

    def _table(self, name: str, text: str) -> Floats:
        rows = [r.replace(",", " ").split() for r in re.split(r"[;\n]", text)]
        try:
            return np.array(
                [[self._cell(v) for v in row] for row in rows if row], ndmin=2
            )
        except ValueError as error:
            msg = f"mpc.{name} is no table of numbers ({error}); mend its rows"
            raise self.refuse(msg) from error

    def _cell(self, text: str) -> float:
        """Return a number of a table, which may be a quotient such as 12/sqrt(3)."""
        return float(self._value(text) if "/" in text else text)

    def _columns(self, name: str, text: str) -> tuple[Floats, list[int]]:
        known = COLUMNS.get(name, [])
        wanted = text.strip("[]").replace(",", " ").split()
        if name not in self.tables or not set(wanted) <= set(known):
            msg = f"no columns {wanted} in mpc.{name}; use MATPOWER's names"
            raise self.refuse(msg)
        return self.tables[name], [known.index(column) for column in wanted]

    def _value(self, text: str) -> Any:  # noqa: ANN401
        """Return the value of an expression of numbers, names and columns."""
        references: dict[str, Any] = {}

        def named(found: re.Match[str]) -> str:
            table, columns = self._columns(found[1], found[3])
            rows = slice(None) if found[2] == ":" else slice(int(found[2]) - 1, None)
            value = table[rows, columns]
            if found[2] != ":":
                value = value[0, 0]
            references[f"reference{len(references)}"] = value
            return f"reference{len(references) - 1}"

        plain = _REFERENCE.sub(named, text).replace("mpc.baseMVA", "mpc_baseMVA")
        plain = re.sub(r"\.?\^", "**", plain).replace(".*", "*").replace("./", "/")
        try:
            tree = ast.parse(plain.strip(), mode="eval")
            with np.errstate(all="ignore"):  # what is not finite is refused later
                value = _evaluate(tree.body, {**self.names, **references})
        except (SyntaxError, ValueError, ArithmeticError, LookupError) as error:
            msg = f"the expression {text[:80]!r} is not read; write its value"
            raise self.refuse(msg) from error
        return value

    def net(self) -> Any:  # noqa: ANN401
        """Return the tables as a network."""
        base = self.names.get("mpc_baseMVA")
        if not isinstance(base, float) or not base > 0.0:
            msg = "no mpc.baseMVA above 0; give the power base"
            raise self.refuse(msg)
        for name, columns in COLUMNS.items():
            table = self.tables.get(name, np.zeros((0, 0)))
            if not len(table) or table.shape[1] < len(columns):
                msg = f"mpc.{name} has {table.shape[1]} columns, needs {len(columns)}"
                raise self.refuse(msg)
            if name == "bus" and (table[:, columns.index("BASE_KV")] <= 0.0).any():
                msg = "buses without a nominal voltage; give BASE_KV"
                raise self.refuse(msg)
            if not np.isfinite(table[:, : len(columns)]).all():
                msg = f"mpc.{name} holds numbers that are not finite; mend them"
                raise self.refuse(msg)
        bus, gen, branch = (self.tables[name].copy() for name in COLUMNS)
        ends = [*gen[:, 0], *branch[:, 0], *branch[:, 1]]
        if len(set(bus[:, 0])) < len(bus) or not set(ends) <= set(bus[:, 0]):
            msg = "a bus stands twice, or a branch or generator at a bus that is none"
            raise self.refuse(msg)
        if self.phases > 1:  # per-unit values stay as they are
            base *= self.phases
            bus[:, [2, 3, 4, 5]] *= self.phases
            bus[:, 9] *= math.sqrt(self.phases)
            gen[:, [1, 2, 3, 4, 8, 9]] *= self.phases
            branch[:, [5, 6, 7]] *= self.phases
        return _net(base, bus, gen, branch)


def _net(base: float, bus: Floats, gen: Floats, branch: Floats) -> Any:  # noqa: ANN401
    """Return the network that pandapower makes of a case; names from numbers."""
    numbers = bus[:, 0].astype(int)
    branch[branch[:, 8] == 0.0, 8] = 1.0  # no ratio is a ratio of 1
    nominal = dict(zip(bus[:, 0], bus[:, 9], strict=True))
    kv = np.array([[nominal[end] for end in row] for row in branch[:, :2]])
    plain = (kv[:, 0] != kv[:, 1]) & (branch[:, 8] == 1.0)
    branch[plain, 8] += _NO_TAP  # or pandapower makes impedances of transformers
    if branch.shape[1] < 13:
        angles = np.full((len(branch), 13 - branch.shape[1]), 360.0)
        branch = np.hstack([branch, angles])
    case = {"version": 2, "baseMVA": base, "bus": bus, "gen": gen, "branch": branch}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # pandapower's use of pandas
        net = from_ppc(case)
    trafo = net["trafo"]
    no_tap = trafo["tap_step_percent"] < 1e3 * _NO_TAP
    trafo.loc[no_tap, ["tap_pos", "tap_step_percent"]] = np.nan
    trafo.loc[no_tap, ["tap_side", "tap_changer_type"]] = None
    net.bus["name"] = [str(number) for number in numbers]
    for table in ("load", "sgen", "gen", "shunt"):
        kind, at = net[table], net[table]["bus"].to_numpy(dtype=int)
        net[table]["name"] = [f"{table} {i}" for i in at] if len(kind) else None
    for table, ends in {
        "line": ("from_bus", "to_bus"),
        "trafo": ("hv_bus", "lv_bus"),
    }.items():
        rows = net[table]
        both = zip(*(rows[end].astype(int) for end in ends), strict=True)
        pairs = pd.Series([f"{a}-{b}" for a, b in both], rows.index, object)
        again = pairs.groupby(pairs).cumcount()
        net[table]["name"] = pairs + again.map(lambda k: f" ({k + 1})" if k else "")
    _rate(net, branch)
    _fuse(net, base)
    return net


def _rate(net: Any, branch: Floats) -> None:  # noqa: ANN401
    """Take a rating of 0 as none."""
    rate = pd.Series(branch[:, 5])
    lookup = net["_from_ppc_lookups"]["branch"]
    for table, column in {"line": "max_i_ka", "trafo": "df"}.items():
        rows = lookup[lookup["element_type"] == table]
        unrated = rows["element"][(rate.reindex(rows.index) <= 0.0).to_numpy()]
        net[table].loc[unrated.astype(int), column] = np.nan


def _fuse(net: Any, base: float) -> None:  # noqa: ANN401
    """Turn lines of no impedance into switches, which no solver divides by."""
    line = net["line"]
    ohm = np.hypot(line["r_ohm_per_km"], line["x_ohm_per_km"]) * line["length_km"]
    kv = line["from_bus"].map(net["bus"]["vn_kv"])
    none = (ohm * base / kv**2 < NO_IMPEDANCE_PU) & (line["c_nf_per_km"] == 0.0)
    for index, row in line[none].iterrows():
        pp.create_switch(
            net,
            int(row["from_bus"]),
            int(row["to_bus"]),
            et="b",
            closed=bool(row["in_service"]),
            name=row["name"],
            in_ka=float(row["max_i_ka"]),
        )
        net["line"] = net["line"].drop(index=index)


def _evaluate(node: ast.expr, names: dict[str, Any]) -> Any:  # noqa: ANN401
    """Return the value of an arithmetic expression."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return float(node.value)
    if isinstance(node, ast.Name):
        return names[node.id]
    if isinstance(node, ast.BinOp):
        left, right = _evaluate(node.left, names), _evaluate(node.right, names)
        return _OPERATORS[type(node.op)](left, right)
    if isinstance(node, ast.UnaryOp):
        return _OPERATORS[type(node.op)](_evaluate(node.operand, names))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        (argument,) = node.args
        return _FUNCTIONS[node.func.id](_evaluate(argument, names))
    msg = f"{type(node).__name__} is no arithmetic"
    raise ValueError(msg)
