"""Firm capacity on OpenDSS circuits against bisection run inside OpenDSS."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from opendss_judge import KEEP_MODEL, over_rating, solved_engine

from gridsite.feeder.candidate_ports import load_name
from gridsite.feeder.profiles import constant_profiles, dense_profiles
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.hosting.ac_replay import replay_loads
from gridsite.hosting.capacity import hosting_capacity, own_connections
from gridsite.hosting.explain import explain_capacity
from gridsite.hosting.grid_case import GridCase, port_profiles
from gridsite.hosting.limits import Limits
from gridsite.hosting.phases import unit_connections, with_three_phases

if TYPE_CHECKING:
    from collections.abc import Callable

    from gridsite.feeder.model import Feeder
    from gridsite.feeder.profiles import Profiles

pytest.importorskip("dss")

HERE = Path(__file__).parent
CURRENTS = ("voltage", "line current", "transformer current")
POWER_FACTOR = 0.98
_NUMBER = {"A": "1", "B": "2", "C": "3"}


class Judge:
    """OpenDSS alone: which limits break under a load added at one port."""

    def __init__(self, master: Path, feeder: Feeder, limits: Limits) -> None:
        self.limits = limits
        self.engine = solved_engine(master)
        for command in (
            "new load.added phases=1 bus1=dummy kv=1 kw=0 model=1 status=fixed",
            f"edit load.added {KEEP_MODEL} enabled=no",
        ):
            self.engine.Text.Command = command
        self.feeder = feeder
        circuit = self.engine.ActiveCircuit
        nodes = feeder.nodes[feeder.nodes["limited"].to_numpy(dtype=bool)]
        names = nodes["bus"] + "." + nodes["phases"].replace(_NUMBER)
        order = {str(n).lower(): k for k, n in enumerate(circuit.YNodeOrder)}
        self.at = np.array([order[name] for name in names])
        self.volts = nodes["voltage_kv"].to_numpy() * 1e3 / np.sqrt(3.0)
        terminals = feeder.terminals
        rated = terminals[terminals["rated_a"] > 0.0]
        rated = rated[rated["criterion"].isin(limits.criteria)]
        self.rated = rated.groupby("element")
        self.base = self.broken()

    def broken(self, port: str | None = None, kw: float = 0.0) -> set[Any]:
        """Return the limits that are broken with a load at a port."""
        self.place(port, kw)
        self.engine.Text.Command = "solve mode=snapshot"
        out = self.broken_now()
        self.engine.Text.Command = "disable load.added"
        return out

    def place(self, port: str | None, kw: float) -> None:
        """Put a load at a port."""
        if port is not None:
            row = self.feeder.ports.loc[port]
            nodes = [_NUMBER.get(sign, sign) for sign in row["phases"]]
            three = len(nodes) == 3
            across = np.sqrt(3.0) if three else row["rated_v_pu"]
            self.engine.Text.Command = (
                f"edit load.added phases={3 if three else 1} "
                f"bus1={row['bus']}.{'.'.join(nodes)} kv=1 kw={kw} "
                f"pf={POWER_FACTOR} enabled=yes conn="
                f"{'delta' if row['node_return'] >= 0 else 'wye'} kv="
                f"{across * self.base_volts(row['bus']) / 1e3}"
            )

    def broken_now(self) -> set[tuple[str, Any]]:
        """Return the limits that the last solution breaks."""
        circuit = self.engine.ActiveCircuit
        if not circuit.Solution.Converged:
            return {("power flow", 0)}
        v = np.abs(np.asarray(circuit.YNodeVarray).view(complex))[self.at] / self.volts
        low = self.limits.voltage_min_pu
        out = {("voltage", int(k)) for k in np.flatnonzero(v < low)}
        for element, rows in self.rated:
            out |= over_rating(circuit, str(element), rows)
        return out

    def base_volts(self, bus: str) -> float:
        """Return the phase voltage base of a bus. [V]"""
        nodes = self.feeder.nodes
        kv = nodes.loc[nodes["bus"] == bus, "voltage_kv"].iloc[0]
        return float(kv) * 1e3 / np.sqrt(3.0)

    def capacity(self, port: str) -> float:
        """Return the largest load that newly breaks nothing, by bisection. [kW]"""
        low, high = 0.0, 4.0
        while not self.broken(port, high) - self.base:
            low, high = high, 2.0 * high
        while high - low > 0.002:
            middle = 0.5 * (low + high)
            if self.broken(port, middle) - self.base:
                high = middle
            else:
                low = middle
        return low


class ActingJudge(Judge):
    """OpenDSS alone, its controls acting step by step."""

    def __init__(
        self, master: Path, feeder: Feeder, limits: Limits, steps: int, mode: str
    ) -> None:
        self.steps, self.mode, self.run = steps, mode, 0
        self.commands: list[str] | None = None
        super().__init__(master, feeder, limits)

    def begin(self, *commands: str) -> None:
        """Change the circuit, let its controls act, and take the base case."""
        self.commands = [*commands, "set controlmode=static"]
        for command in self.commands:
            self.engine.Text.Command = command
        self.base = self.broken()

    def broken(self, port: str | None = None, kw: float = 0.0) -> set[Any]:
        """Return the limits and steps that a load breaks, taps from those filed."""
        if self.commands is None:
            return set()
        self.place(port, kw)
        out = self.broken_over_all_steps()
        self.engine.Text.Command = "disable load.added"
        return out

    def stand_as_filed(self) -> None:
        """Put regulators and capacitors where the feeder model has them."""
        circuit = self.engine.ActiveCircuit
        for control in self.feeder.controls:
            if control.kind == "regulator":
                circuit.RegControls.Name = control.name.split(".", 1)[1]
                circuit.RegControls.TapNumber = control.position
            else:
                circuit.Capacitors.Name = control.element.split(".", 1)[1]
                off = control.highest - control.position
                circuit.Capacitors.States = [1] * control.position + [0] * off

    def broken_over_all_steps(self) -> set[Any]:
        """Return the limits and steps that are broken."""
        self.stand_as_filed()
        # later than every run before it, so that capacitors are not held back
        hour, self.run = 8760 * self.run, self.run + 1
        command = f"set mode={self.mode} stepsize=1h number=1 hour={hour}"
        self.engine.Text.Command = command
        out = set()
        for step in range(self.steps):
            self.engine.ActiveCircuit.Solution.Solve()
            out |= {(step, limit) for limit in self.broken_now()}
        return out


def rated_at(grid: GridCase, ports: list[str]) -> pd.DataFrame:
    """Return hosting rows of some ports."""
    own = own_connections(grid.feeder)
    return hosting_capacity(
        grid.feeder,
        grid.profiles,
        grid=grid,
        power_factor=POWER_FACTOR,
        connections=own[own["port_id"].isin(ports)],
    )


def daily_judge(
    master: Path, feeder: Feeder, limits: Limits, multiples: np.ndarray
) -> ActingJudge:
    """Return OpenDSS on a day whose loads are multiples of the file's."""
    judge = ActingJudge(master, feeder, limits, len(multiples), "daily")
    own = [str(load.Name) for load in judge.engine.ActiveCircuit.Loads]
    shape = " ".join(map(str, multiples))
    judge.begin(
        f"new loadshape.day npts={len(multiples)} interval=1 mult=[{shape}]",
        *(f"edit load.{name} daily=day" for name in own if name != "added"),
    )
    return judge


def day_of(feeder: Feeder, multiples: np.ndarray) -> Profiles:
    """Return the file's load times each of some multiples."""
    time = pd.date_range("2023-01-01", periods=len(multiples), freq="h", tz="UTC")
    p, q = (
        pd.DataFrame(
            multiples[:, None] * feeder.ports[c].to_numpy(), columns=feeder.ports.index
        )
        for c in ("p_kw", "q_kvar")
    )
    return dense_profiles(time, p, q_kvar=q)


def a_day() -> np.ndarray:
    hour = np.arange(24)
    noise = np.random.default_rng(3).normal(size=24)
    return 0.65 + 0.3 * np.sin(2.0 * np.pi * (hour - 9) / 24.0) + 0.05 * noise


@pytest.mark.slow
def test_firm_capacity_with_acting_controls_is_that_of_a_daily_run_in_opendss() -> None:
    master, multiples = HERE / "ieee13.dss", a_day()
    filed = read_feeder(master)
    own = own_connections(filed)
    three = with_three_phases(filed, own[own["port_id"].isin(["671.BC", "670a"])])
    feeder, both = unit_connections(filed, pd.concat([own, three]), "known")
    loads = day_of(filed, multiples)
    limits = Limits(voltage_min_pu=0.95, voltage_max_pu=1.2, criteria=CURRENTS)
    grid = GridCase(feeder, loads, limits, power_factor=POWER_FACTOR, controls="acting")
    assert grid.course is not None
    assert grid.course.operations > 20
    table = hosting_capacity(
        feeder, loads, connections=both, grid=grid, power_factor=POWER_FACTOR
    )
    rated = table[table["firm_status"] == "ok"].set_index("port_id")
    # regulators help some and harm others
    gain = (rated["firm_kw"] - rated["standing_kw"]) / rated["standing_kw"]
    assert gain.max() > 0.1
    assert gain.min() < -0.005
    judge = daily_judge(master, feeder, limits, multiples)
    for port in ("671.BC", "646", "611", "634b", "675c", "670c"):
        truth, firm = judge.capacity(port), rated.loc[port, "firm_kw"]
        assert not judge.broken(port, firm) - judge.base
        assert firm == pytest.approx(truth, abs=max(0.15, 1.5e-3 * truth)), port
    # of three phases: smaller ones may fail where a regulator has not moved yet
    for port in ("671.ABC?", "670a.ABC?"):
        firm = rated.loc[port, "firm_kw"]
        assert not judge.broken(port, firm) - judge.base
        assert judge.broken(port, firm + max(0.3, 3e-3 * firm)) - judge.base


@pytest.mark.slow
def test_firm_capacity_on_ieee_123_with_acting_controls_is_that_of_opendss(
    shared: Callable[[str], Path],
) -> None:
    """Seven regulators with line-drop compensation, one of them of three phases."""
    master = shared("opendss/ieee123/IEEE123Master.dss")
    multiples = a_day()[::4]
    feeder = read_feeder(master)
    loads = day_of(feeder, multiples)
    limits = Limits(voltage_min_pu=0.95, voltage_max_pu=1.2, criteria=("voltage",))
    grid = GridCase(feeder, loads, limits, power_factor=POWER_FACTOR, controls="acting")
    assert grid.course is not None
    assert grid.course.operations > 10
    ports = ["s4c", "s10a", "s31c", "s35a", "s76b", "s86b"]
    table = rated_at(grid, ports).set_index("port_id")
    gain = table["firm_kw"] / table["standing_kw"] - 1.0
    assert gain.max() > 0.3
    assert gain.min() < 0.01
    judge = daily_judge(master, feeder, limits, multiples)
    for port in ports:
        truth, firm = judge.capacity(port), table.loc[port, "firm_kw"]
        assert not judge.broken(port, firm) - judge.base
        assert firm == pytest.approx(truth, abs=max(0.15, 1.5e-3 * truth)), port


#: A setting that makes the capacitors of Ckt5 move in its first week.
_BY_VOLTAGE = "type=voltage ONsetting=122 OFFsetting=124.8"


@pytest.mark.slow
def test_firm_capacity_on_ckt5_with_acting_controls_is_that_of_opendss(
    shared: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "ckt5"
    shutil.copytree(shared("opendss/ckt5/Master_ckt5.dss").parent, folder)
    script = folder / "Capacitors_ckt5.dss"
    lines = [
        f"{line} {_BY_VOLTAGE}" if line.startswith("New CapControl") else line
        for line in script.read_text().splitlines()
    ]
    script.write_text("\n".join(lines))
    master, n = folder / "Master_ckt5.dss", 24
    feeder = read_feeder(master)
    every = port_profiles(feeder, feeder.profiles)
    loads = replace(
        every,
        time=every.time[:n],
        p_shapes=every.p_shapes[:, :n],
        q_shapes=every.q_shapes[:, :n],
    )
    limits = Limits(voltage_min_pu=0.95, criteria=("voltage",))
    grid = GridCase(
        feeder,
        loads,
        limits,
        power_factor=POWER_FACTOR,
        controls="acting",
        whole_nodes=5_000,  # quicker for a few connections
    )
    assert grid.course is not None
    assert grid.course.operations > 3
    ports = [
        "mdv201_hn_2_422_a790-1a1",
        "mdv201_hn_2_645_a28234-1a1",
        "mdv201_da_8_459_a6583-1a0",
        "mdv201_hn_2_660_c62246-1c0",
    ]
    table = rated_at(grid, ports).set_index("port_id")
    gain = table["firm_kw"] / table["standing_kw"] - 1.0
    assert gain.max() > 0.03
    judge = ActingJudge(master, feeder, limits, n, "yearly")
    judge.begin()
    for port in ports:
        firm = table.loc[port, "firm_kw"]
        assert not judge.broken(port, firm) - judge.base
        # the search's own width, and what bisection leaves
        assert judge.broken(port, firm + max(0.15, 1.5e-3 * firm)) - judge.base, port


@pytest.mark.parametrize("port", ["611", "675c", "646"])
def test_explained_states_of_acting_controls_are_those_of_opendss(port: str) -> None:
    master, multiples = HERE / "ieee13.dss", a_day()
    feeder = read_feeder(master)
    loads = day_of(feeder, multiples)
    limits = Limits(voltage_min_pu=0.95, voltage_max_pu=1.2, criteria=CURRENTS)
    grid = GridCase(feeder, loads, limits, power_factor=POWER_FACTOR, controls="acting")
    (row,) = rated_at(grid, [port]).to_dict("records")
    told = explain_capacity(feeder, loads, row, grid=grid)
    assert "acting on it" in told.reason
    assert told.time == row["limit_time"]
    (limit,) = told.limit.to_dict("records")
    step = loads.time.get_loc(told.time)
    judge = daily_judge(master, feeder, limits, multiples)
    circuit = judge.engine.ActiveCircuit
    for state, kw in (("base", 0.0), ("below", told.firm_kw), ("above", told.above_kw)):
        judge.place(port, kw)
        judge.steps = step + 1
        judge.broken_over_all_steps()
        taps, moves = {}, 0
        for control in feeder.controls:
            circuit.RegControls.Name = control.name.split(".")[1]
            taps[control.name] = int(circuit.RegControls.TapNumber)
            moves += abs(taps[control.name] - control.position)
        own = told.controls.set_index("control")
        assert own[f"{state}_position"].to_dict() == taps
        assert own[f"{state}_moves"].sum() >= moves
        if limit["unit"] == "pu":
            circuit.SetActiveBus(limit["element"])
            seen = np.asarray(circuit.ActiveBus.puVmagAngle)[::2]
            assert np.abs(seen - limit[state]).min() < 1e-6
        else:
            circuit.SetActiveElement(limit["element"])
            amps = np.asarray(circuit.ActiveCktElement.Currents).view(complex)
            rated = feeder.terminals.query("element == @limit['element']")["rated_a"]
            share = 100.0 * np.divide.outer(np.abs(amps), rated.dropna().unique())
            assert np.abs(share - limit[state]).min() < 1e-3
    held = told.limit.iloc[0]
    low = held["unit"] == "pu"
    assert (held["below"] >= held["limit"]) == low or held["below"] == held["limit"]
    assert (held["above"] < held["limit"]) == low


def test_replay_with_acting_controls_is_that_of_a_daily_run_in_opendss() -> None:
    master, multiples = HERE / "ieee13.dss", a_day()
    feeder = read_feeder(master)
    loads = day_of(feeder, multiples)
    limits = Limits(voltage_min_pu=0.95, voltage_max_pu=1.2, criteria=CURRENTS)
    grid = GridCase(feeder, loads, limits, power_factor=POWER_FACTOR, controls="acting")
    plan = pd.Series({"675c": 250.0, "611": 150.0, "645": 230.0})
    found = replay_loads(feeder, loads, plan, grid=grid)
    judge = daily_judge(master, feeder, limits, multiples)
    for port, kw in plan.items():
        row = feeder.ports.loc[port]
        judge.engine.Text.Command = (
            f"new load.unit{port} phases=1 kv={judge.base_volts(row['bus']) / 1e3} "
            f"bus1={row['bus']}.{_NUMBER[row['phases']]} kw={kw} pf={POWER_FACTOR} "
            f"model=1 status=fixed {KEEP_MODEL}"
        )
    buses = feeder.nodes.loc[feeder.nodes["limited"].to_numpy(dtype=bool), "bus"]

    def elements(broken: set[Any]) -> set[Any]:
        return {
            (step, buses.iloc[k] if kind == "voltage" else kind)
            for step, (kind, k) in broken
        }

    # an element that is broken already, at another end or phase, is worsened
    named = elements(judge.broken_over_all_steps()) - elements(judge.base)
    listed = found.violations[found.violations["kind"] == "new"]
    steps = grid.profiles.time.get_indexer(pd.DatetimeIndex(listed["time"]))
    assert len(named) > 5
    assert {(int(s), e) for s, e in zip(steps, listed["element"], strict=True)} == named
    frozen = replay_loads(feeder, loads, plan, limits=limits)
    assert frozen.summary["new"] != found.summary["new"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "voltage_min_pu", "criteria"),
    [
        ("ieee13.dss", 0.9, CURRENTS),
        ("house.dss", 0.9, CURRENTS),
        # these name no ampacities, so that only voltages can be judged
        ("ieee34/ieee34Mod1.dss", 0.9, ("voltage",)),
        # at 0.95 most loads act on voltages that are broken as filed
        ("ieee37/ieee37.dss", 0.9, ("voltage",)),
        ("ieee123/IEEE123Master.dss", 0.95, ("voltage",)),
        ("european-lv/Master.dss", 0.95, ("voltage",)),
        # secondaries of Ckt5 have no ampacity
        ("ckt5/Master_ckt5.dss", 0.9, ("voltage", "transformer current")),
    ],
)
def test_firm_capacity_is_that_of_bisection_in_opendss(
    name: str,
    voltage_min_pu: float,
    criteria: tuple[str, ...],
    shared: Callable[[str], Path],
    tmp_path: Path,
) -> None:
    master = HERE / name if "/" not in name else shared(f"opendss/{name}")
    if name == "house.dss":  # give its one unrated line a rating
        master = tmp_path / name
        text = (HERE / name).read_text()
        master.write_text(text.replace("linecode=bare", "linecode=rated"))
    feeder = read_feeder(master)
    ports = feeder.ports
    loads = constant_profiles(ports.index, ports["p_kw"], ports["q_kvar"])
    limits = Limits(voltage_min_pu=voltage_min_pu, criteria=criteria)
    every = own_connections(feeder)
    table = hosting_capacity(
        feeder,
        loads,
        limits=limits,
        connections=every.sample(min(12, len(every)), random_state=1),
        power_factor=POWER_FACTOR,
        tolerance_kw=0.01,
    )
    rated = table[table["firm_status"] == "ok"]
    assert len(rated)
    judge = Judge(master, feeder, limits)
    for row in rated.head(4).itertuples():
        truth = judge.capacity(row.port_id)
        assert row.firm_kw <= truth + 0.02
        assert row.firm_kw >= truth - max(0.1, 1e-3 * truth)


@pytest.mark.parametrize(
    ("name", "voltage_min_pu", "criteria", "delta"),
    [
        ("ieee13.dss", 0.9, CURRENTS, None),
        pytest.param(
            "ieee37/ieee37.dss", 0.85, ("voltage",), True, marks=pytest.mark.slow
        ),
        pytest.param(
            "ckt5/Master_ckt5.dss",
            0.9,
            ("voltage", "transformer current"),
            False,
            marks=pytest.mark.slow,
        ),
    ],
)
def test_capacity_of_three_phase_units_is_that_of_bisection_in_opendss(
    name: str,
    voltage_min_pu: float,
    criteria: tuple[str, ...],
    delta: bool | None,
    shared: Callable[[str], Path],
) -> None:
    """A load of three phases in OpenDSS, wye or delta as the building's own is."""
    master = HERE / name if "/" not in name else shared(f"opendss/{name}")
    filed = read_feeder(master)
    ports = filed.ports
    loads = constant_profiles(ports.index, ports["p_kw"], ports["q_kvar"])
    limits = Limits(voltage_min_pu=voltage_min_pu, criteria=criteria)
    own = own_connections(filed)
    own = own.assign(building_id=own["port_id"].map(load_name))
    feeder, every = unit_connections(filed, own, "ABC")
    node = feeder.ports.loc[every["port_id"], "node"].to_numpy()
    there = every[node >= 0]
    table = hosting_capacity(
        feeder,
        loads,
        limits=limits,
        connections=there.sample(min(12, len(there)), random_state=1),
        power_factor=POWER_FACTOR,
        tolerance_kw=0.01,
    )
    rated = table[table["firm_status"] == "ok"].head(4)
    assert len(rated) >= 2
    across = feeder.ports.loc[there["port_id"], "node_return"] >= 0
    assert set(across) == ({True, False} if delta is None else {delta})
    judge = Judge(master, feeder, limits)
    for row in rated.itertuples():
        truth = judge.capacity(row.port_id)
        assert row.firm_kw <= truth + 0.02
        assert row.firm_kw >= truth - max(0.1, 1e-3 * truth)
    # a bus that lacks a phase has a status, not a number
    rest = every[node < 0]
    nodes = filed.nodes.groupby("bus")["phases"].agg(set)
    assert not [b for b in rest["bus"] if {"A", "B", "C"} <= nodes[b]]
    if len(rest):
        lost = hosting_capacity(feeder, loads, limits=limits, connections=rest)
        assert (lost["firm_status"] == "lacks_phase").all()
        assert lost["firm_kw"].isna().all()


class ChangeJudge(Judge):
    """OpenDSS alone: whether the voltage between a unit's conductors falls too far."""

    def across(self, port: str) -> float:
        """Return the voltage between the conductors of a port. [V]"""
        circuit = self.engine.ActiveCircuit
        order = [str(name).lower() for name in circuit.YNodeOrder]
        row = self.feeder.ports.loc[port]
        at = [order.index(f"{row['bus']}.{_NUMBER.get(x, x)}") for x in row["phases"]]
        v = np.asarray(circuit.YNodeVarray).view(complex)[at]
        return float(abs(v[0] - v[1]) if len(at) > 1 else abs(v[0]))

    def nominal(self, port: str) -> float:
        """Return the nominal voltage there: 240 V of two legs, 4.16 kV of a delta."""
        row = self.feeder.ports.loc[port]
        factor = {"12": 2.0}.get(row["phases"].rstrip("?"), np.sqrt(3.0))
        return self.base_volts(row["bus"]) * (factor if len(row["phases"]) > 1 else 1.0)

    def broken(self, port: str | None = None, kw: float = 0.0) -> set[Any]:
        """Return whether the own voltage falls by more than its limit."""
        if port is None:
            return set()
        self.engine.Text.Command = "solve mode=snapshot"
        before = self.across(port)
        self.place(port, kw)
        self.engine.Text.Command = "solve mode=snapshot"
        fall = (before - self.across(port)) / self.nominal(port)
        self.engine.Text.Command = "disable load.added"
        return {"fall"} if fall > self.limits.voltage_change_pu else set()


@pytest.mark.parametrize(
    ("name", "wanted"), [("ieee13.dss", {"AB", "BC", "CA", "A"}), ("house.dss", {"12"})]
)
def test_voltage_change_is_measured_between_the_conductors_of_the_unit(
    name: str, wanted: set[str]
) -> None:
    """Units across a delta or both legs: 3 % of the voltage there, not of a phase."""
    feeder = read_feeder(HERE / name)
    ports = feeder.ports
    loads = constant_profiles(ports.index, ports["p_kw"], ports["q_kvar"])
    limits = Limits(criteria=("voltage change",))
    grid = GridCase(feeder, loads, limits, power_factor=POWER_FACTOR)
    table = hosting_capacity(
        feeder, loads, grid=grid, power_factor=POWER_FACTOR, tolerance_kw=0.01
    )
    table = table.assign(phases=ports["phases"].loc[table["port_id"]].to_numpy())
    table = table[table["phases"].isin(wanted)].drop_duplicates("phases")
    assert set(table["phases"]) == wanted
    judge = ChangeJudge(HERE / name, feeder, limits)
    for row in table.to_dict("records"):
        truth = judge.capacity(row["port_id"])
        assert row["firm_status"] == "ok"
        assert row["limit_criterion"] == "voltage change"
        assert row["firm_kw"] <= truth + 0.02
        assert row["firm_kw"] >= truth - max(0.1, 1e-3 * truth)
        told = explain_capacity(feeder, loads, row, grid=grid, tolerance_kw=0.01)
        assert told.limit["below"].iloc[0] <= 0.03 < told.limit["above"].iloc[0]
