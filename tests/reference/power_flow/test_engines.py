"""
The power flow of whole published grids, against two other engines.

Every SimBench grid of one low- or medium-voltage level, `lv_schutterwald`,
`mv_oberrhein`, the CIGRE grids and all Kerber nets: the file's own values and, where
the file carries a year of profiles, three of its steps (the largest load, the largest
feed-in, one in between), with SimBench's taps off neutral in one of them.
"""

from __future__ import annotations

import copy
import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import pandapower as pp
import pandas as pd
import pytest
import scipy.sparse as sp
from pandapower import networks
from scipy.sparse.csgraph import connected_components

from gridsite.feeder.net_sources import load_net
from gridsite.feeder.profiles import constant_profiles
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.hosting.grid_case import GridCase
from gridsite.hosting.limits import Limits

if TYPE_CHECKING:
    from gridsite.feeder.model import Feeder

HAS_SIMBENCH = importlib.util.find_spec("simbench") is not None

#: Against pandapower: complex voltage [pu], share of the rating [-].
VOLTAGE_PU, LOADING = 1e-8, 1e-7

#: Against power-grid-model: a pi model of transformers where pandapower's is a T. [pu]
OTHER_ENGINE_PU = 1e-5

KERBER = sorted(name for name in dir(networks) if name.startswith("create_kerber"))
EXTREME = sorted(name for name in dir(networks) if name.startswith("kb_extrem"))
OTHERS = {
    "cigre lv": networks.create_cigre_network_lv,
    "cigre mv": networks.create_cigre_network_mv,
    "cigre mv, sun and wind": lambda: networks.create_cigre_network_mv("pv_wind"),
    "cigre mv, storage too": lambda: networks.create_cigre_network_mv("all"),
    "mv_oberrhein": networks.mv_oberrhein,
    "lv_schutterwald": networks.lv_schutterwald,
}
GRIDS = ["LV-rural1", "LV-rural2", "LV-rural3", "LV-semiurb4", "LV-semiurb5"]
GRIDS += ["LV-urban6", "MV-rural", "MV-semiurb", "MV-urban", "MV-comm"]
SIMBENCH = [f"1-{g}--0-{s}" for g in GRIDS for s in ("sw", "no_sw")]
# scenarios of the future hold more generators, storages and loads
SIMBENCH += ["1-LV-semiurb5--2-sw", "1-MV-comm--2-sw"]
FAST = ("1-LV-rural3--0-sw",)  # the others are slow to read


def simbench(code):
    marks = [pytest.mark.skipif(not HAS_SIMBENCH, reason="SimBench is not installed")]
    if code not in FAST:
        marks.append(pytest.mark.slow)
    return pytest.param(f"simbench:{code}", marks=marks, id=code)


PARAMS = [
    *[f"pandapower:{name}" for name in KERBER],
    *OTHERS,
    *[pytest.param(f"pandapower:{n}", marks=pytest.mark.slow) for n in EXTREME],
    *map(simbench, SIMBENCH),
]


@lru_cache(maxsize=1)
def simbench_with_switches(name):
    return load_net(name)


def load(name):
    """Return a network; without switches it is made from the one with them."""
    if name in OTHERS:
        return OTHERS[name]()
    if not name.endswith("-no_sw"):
        return copy.deepcopy(simbench_with_switches(name))
    from simbench import generate_no_sw_variant  # noqa: PLC0415 - optional

    net = copy.deepcopy(simbench_with_switches(name.replace("-no_sw", "-sw")))
    generate_no_sw_variant(net)
    return net


@dataclass(frozen=True, kw_only=True)
class Case:
    """One grid: as pandapower holds it, as gridsite reads it, and load states."""

    net: pp.pandapowerNet
    feeder: Feeder
    #: [MW, Mvar] by table, row and state
    power: dict[str, tuple[np.ndarray, np.ndarray]]
    #: (n_node, n_state), by gridsite [pu]
    v: np.ndarray


@pytest.fixture(scope="module", params=PARAMS)
def case(request):
    net = load(request.param)
    for table in ("bus", "line", "trafo", "load", "sgen", "storage"):
        if table in net:
            net[table]["name"] = [f"{table} {i}" for i in net[table].index]
    if "simbench" in request.param and "LV" in request.param:
        net.trafo["tap_pos"] = net.trafo["tap_min"]
    feeder = read_feeder(net)
    # pandapower leaves taps alone that have no type (N3)
    net.trafo.loc[net.trafo["tap_side"].notna(), "tap_changer_type"] = "Ratio"
    ports = feeder.ports
    profiles = [constant_profiles(ports.index, ports["p_kw"], ports["q_kvar"])]
    power = filed_power(net)
    if feeder.profiles is not None:
        steps = three_steps(feeder.profiles, ports)
        profiles.append(feeder.profiles.at_steps(steps))
        power = with_profiles(net, power, steps)
    v = np.hstack([voltages(feeder, part) for part in profiles])
    return Case(net=net, feeder=feeder, power=power, v=v)


def three_steps(profiles, ports):
    """Return the steps of largest load and of largest feed-in, and one between."""
    load = profiles.select(ports.index[ports["kind"] == "load"]).total_kw()
    low = int(profiles.total_kw().argmin())
    return [int(load.argmax()), low, (int(load.argmax()) + low) // 2]


def filed_power(net):
    """Return the file's own powers, one state, with their scaling. [MW, Mvar]"""
    return {
        table: tuple(
            (net[table][c] * net[table]["scaling"]).to_numpy(dtype=float)[:, None]
            for c in ("p_mw", "q_mvar")
        )
        for table in ("load", "sgen", "storage")
        if len(net[table])
    }


def with_profiles(net, power, steps):
    """Add states by SimBench's own reading of its profiles."""
    import simbench as sb  # noqa: PLC0415 - optional

    year = sb.get_absolute_values(net, profiles_instead_of_study_cases=True)
    out = {}
    for table, filed in power.items():
        parts = []
        for column, snapshot in zip(("p_mw", "q_mvar"), filed, strict=True):
            # SimBench has no profile of generators' reactive power: as filed (0)
            more = np.repeat(snapshot, len(steps), axis=1)
            series = year.get((table, column))
            # gridsite keeps what storages draw as filed
            if series is not None and table != "storage":
                more = series.loc[steps, net[table].index].to_numpy(dtype=float).T
            parts.append(np.hstack([snapshot, more]))
        out[table] = tuple(parts)
    return out


def voltages(feeder, profiles):
    """Return base voltages of all nodes by gridsite, (n_node, n_step). [pu]"""
    grid = GridCase(feeder, profiles, Limits())
    v = np.full((len(feeder.nodes), len(profiles.time)), np.nan, dtype=complex)
    v[feeder.source_nodes] = feeder.source_v[:, None]
    assert not grid.failed
    for feeder_id in grid.feeder_ids:
        block = grid.block(feeder_id)
        v[block.block.nodes] = block.v
    return v


def draw(net, power, state):
    for table, (p, q) in power.items():
        net[table]["scaling"] = 1.0
        net[table]["p_mw"], net[table]["q_mvar"] = p[:, state], q[:, state]


@pytest.mark.filterwarnings("ignore:tap_dependency_table is missing")
def test_voltages_and_loadings_equal_pandapower(case):
    feeder, net = case.feeder, case.net
    for state in range(case.v.shape[1]):
        draw(net, case.power, state)
        pp.runpp(
            net,
            calculate_voltage_angles=True,
            tolerance_mva=1e-9,
            numba=False,
            voltage_depend_loads=False,
        )
        angle = np.deg2rad(net.res_bus["va_degree"])
        known = (net.res_bus["vm_pu"] * np.exp(1j * angle)).set_axis(net.bus["name"])
        nodes = feeder.nodes["bus"].isin(known.index).to_numpy()
        v = pd.Series(case.v[nodes, state], index=feeder.nodes["bus"][nodes])
        assert (v - known[v.index]).abs().max() < VOLTAGE_PU
        # loads stand at fused buses too
        ports = feeder.ports[feeder.ports["node"] >= 0]
        at_port = case.v[ports["node"].to_numpy(), state]
        assert np.abs(at_port - known[ports["bus"]].to_numpy()).max() < VOLTAGE_PU
        # each voltage that pandapower finds is that of a node
        found = known.dropna().to_numpy()
        gap = np.abs(found[:, None] - case.v[None, nodes, state]).min(axis=1)
        assert gap.max() < VOLTAGE_PU
        assert loading_gap(case, state) < LOADING


def loading_gap(case, state):
    """Return the largest difference of loading, as a share of the rating. [-]"""
    terminals = case.feeder.terminals
    current = np.abs(case.feeder.terminal_y @ case.v[:, state]) * terminals["base_a"]
    loading = (current / terminals["rated_a"]).groupby(terminals["element"]).max()
    known = pd.concat(
        [
            case.net[f"res_{t}"]["loading_percent"].set_axis(case.net[t]["name"])
            for t in ("line", "trafo")
        ]
    )
    served = loading.index.drop(
        terminals.loc[terminals["criterion"] == "source", "element"]
    )
    assert not (known.drop(served) > 0.0).any()
    return float((loading[served] - known[served] / 100.0).abs().max())


def test_voltages_equal_power_grid_model(case):
    pgm = pytest.importorskip("power_grid_model")
    node, u = other_engine(pgm, case.net, case.power)
    node_of = dict(zip(case.net.bus["name"], node, strict=True))
    at = case.feeder.nodes["bus"].isin(node_of).to_numpy()
    known = u[:, case.feeder.nodes["bus"][at].map(node_of).to_numpy()].T
    gap = np.abs(case.v[at] - known)
    assert gap.max() < OTHER_ENGINE_PU


def rows_of(pgm, kind, count, **values):
    rows = pgm.initialize_array("input", kind, count)
    for key, value in values.items():
        rows[key] = value
    return rows


def other_engine(pgm, net, power):
    """
    Solve all states in power-grid-model, from pandapower's tables.

    Returns the node of each bus (closed switches between buses fuse them) and
    complex voltages, (n_state, n_node). [pu]
    """
    for table in ("shunt", "ward", "xward", "impedance", "gen", "trafo3w", "motor"):
        assert not len(net[table]), table
    bus = pd.Series(np.arange(len(net.bus)), index=net.bus.index)
    fused = net.switch[(net.switch["et"] == "b") & net.switch["closed"]]
    pairs = (bus[fused["bus"]].to_numpy(), bus[fused["element"]].to_numpy())
    n = len(bus)
    graph = sp.coo_array((np.ones(len(fused)), pairs), shape=(n, n))
    bus[:] = connected_components(graph, directed=False)[1]
    kv = net.bus["vn_kv"].groupby(bus).first()
    data = {
        "node": rows_of(pgm, "node", len(kv), id=kv.index, u_rated=kv * 1e3),
        "line": lines(pgm, net, bus),
        "transformer": transformers(pgm, net, bus),
    }
    drawn, at, status = [], [], []
    for table, (p, q) in power.items():
        sign = -1.0 if table == "sgen" else 1.0
        drawn.append(sign * (p + 1j * q) * 1e6)
        at.append(bus[net[table]["bus"]].to_numpy())
        status.append(net[table]["in_service"].to_numpy())
    s = np.vstack(drawn)
    ids = 30_000 + np.arange(len(s))
    data["sym_load"] = rows_of(
        pgm,
        "sym_load",
        len(s),
        id=ids,
        node=np.concatenate(at),
        status=np.concatenate(status),
        type=0,
        p_specified=0.0,
        q_specified=0.0,
    )
    grid = net.ext_grid[net.ext_grid["in_service"]]
    data["source"] = rows_of(
        pgm,
        "source",
        len(grid),
        id=40_000 + np.arange(len(grid)),
        node=bus[grid["bus"]].to_numpy(),
        status=1,
        u_ref=grid["vm_pu"],
        u_ref_angle=np.deg2rad(grid["va_degree"]),
        sk=1e20,
    )
    change = pgm.initialize_array("update", "sym_load", s.T.shape)
    change["id"] = ids
    change["p_specified"], change["q_specified"] = s.T.real, s.T.imag
    out = pgm.PowerGridModel(data).calculate_power_flow(
        update_data={"sym_load": change}, error_tolerance=1e-10
    )["node"]
    return bus.to_numpy(), out["u_pu"] * np.exp(1j * out["u_angle"])


def end_status(net, table, kind, column):
    """Return whether one end of each branch is closed."""
    opened = net.switch[(net.switch["et"] == kind) & ~net.switch["closed"]]
    pairs = set(zip(opened["element"], opened["bus"], strict=True))
    ends = zip(table.index, table[column], strict=True)
    return np.array([pair not in pairs for pair in ends]) & table["in_service"]


def lines(pgm, net, bus):
    line = net.line
    assert (line["g_us_per_km"] == 0.0).all()
    scale = line["length_km"] / line["parallel"]
    return rows_of(
        pgm,
        "line",
        len(line),
        id=10_000 + np.arange(len(line)),
        from_node=bus[line["from_bus"]].to_numpy(),
        to_node=bus[line["to_bus"]].to_numpy(),
        from_status=end_status(net, line, "l", "from_bus"),
        to_status=end_status(net, line, "l", "to_bus"),
        r1=line["r_ohm_per_km"] * scale,
        x1=line["x_ohm_per_km"] * scale,
        c1=line["c_nf_per_km"] * line["length_km"] * line["parallel"] * 1e-9,
        tan1=0.0,
        i_n=1e3,
    )


def transformers(pgm, net, bus):
    trafo = net.trafo
    sn = trafo["sn_mva"] * trafo["parallel"] * 1e6
    clock = (trafo["shift_degree"] / 30.0).round().astype(int) % 12
    tapped = trafo["tap_side"].notna()
    side = np.where(trafo["tap_side"] == "lv", 1, 0)
    v_tap = np.where(side == 1, trafo["vn_lv_kv"], trafo["vn_hv_kv"]) * 1e3
    step = np.where(tapped, v_tap * trafo["tap_step_percent"].fillna(0.0) / 100.0, 0.0)
    # tap positions are whole in power-grid-model, and a negative step turns them
    assert (step >= 0.0).all()
    nominal = trafo["tap_neutral"].where(tapped, 0.0).fillna(0.0).astype(int)
    return rows_of(
        pgm,
        "transformer",
        len(trafo),
        id=20_000 + np.arange(len(trafo)),
        from_node=bus[trafo["hv_bus"]].to_numpy(),
        to_node=bus[trafo["lv_bus"]].to_numpy(),
        from_status=end_status(net, trafo, "t", "hv_bus"),
        to_status=end_status(net, trafo, "t", "lv_bus"),
        u1=trafo["vn_hv_kv"] * 1e3,
        u2=trafo["vn_lv_kv"] * 1e3,
        sn=sn,
        uk=trafo["vk_percent"] / 100.0,
        pk=trafo["vkr_percent"] / 100.0 * sn,
        i0=trafo["i0_percent"] / 100.0,
        p0=trafo["pfe_kw"] * trafo["parallel"] * 1e3,
        winding_from=np.where(clock % 2 == 1, 2, 1),
        winding_to=1,
        clock=clock,
        tap_side=side,
        tap_pos=trafo["tap_pos"].where(tapped, nominal).fillna(nominal).astype(int),
        tap_min=-50,
        tap_max=50,
        tap_nom=nominal,
        tap_size=step,
    )
