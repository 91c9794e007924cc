"""Networks, profiles and an independent judge for the tests of hosting."""

from __future__ import annotations

import dataclasses

import numba
import numpy as np
import pandapower as pp
import pandas as pd
import pytest

from gridsite.feeder.profiles import dense_profiles
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.hosting.limits import Limits


def make_village(
    *,
    trafo_mva=0.1,
    ratings_a=(150.0, 120.0, 90.0, 110.0, 70.0),
    vm_pu=1.0,
    load_mw=0.004,
    step_km=0.12,
):
    """
    Return a net of one transformer and five houses.

    Buses: mv - lv - n1 - n2 - n3, a branch n1 - n4, a branch lv - n5.
    """
    net = pp.create_empty_network(name="village")
    pp.create_bus(net, 20.0, name="mv")
    for name in ("lv", "n1", "n2", "n3", "n4", "n5"):
        pp.create_bus(net, 0.4, name=name)
    pp.create_ext_grid(net, 0, vm_pu=vm_pu, name="grid")
    pp.create_transformer_from_parameters(
        net, 0, 1, trafo_mva, 20.0, 0.4, 1.4, 4.0, 0.3, 0.3, name="T", shift_degree=150
    )
    ends = [(1, 2), (2, 3), (3, 4), (2, 5), (1, 6)]
    for (a, b), rated in zip(ends, ratings_a, strict=True):
        pp.create_line_from_parameters(
            net, a, b, step_km, 0.32, 0.083, 210.0, rated / 1e3, name=f"L{b - 1}"
        )
    for bus in range(2, 7):
        name = f"house {bus - 1}"
        pp.create_load(net, bus, load_mw, 0.25 * load_mw, name=name)
    return net


def make_profiles(feeder, *, steps=24, seed=0, low=0.0, high=2.0, generation=None):
    """Return generated hourly profiles of every load (and generator) of a feeder."""
    rng = np.random.default_rng(seed)
    time = pd.date_range("2025-01-01", periods=steps, freq="h", tz="UTC")
    ports = feeder.ports
    if generation is None:
        ports = feeder.load_ports
    shape = rng.uniform(low, high, (steps, len(ports)))
    if generation is not None:
        shape[:, (ports["kind"] == "generation").to_numpy()] = generation
    p = pd.DataFrame(shape * ports["p_kw"].to_numpy(), time, ports.index)
    q = pd.DataFrame(shape * ports["q_kvar"].to_numpy(), time, ports.index)
    return dense_profiles(
        time, p.reset_index(drop=True), q_kvar=q.reset_index(drop=True)
    )


class Judge:
    """
    Check limits step by step with pandapower, by the definitions alone.

    Knows loads and sgens only; the network must have unique names.
    """

    def __init__(self, net, profiles, limits, power_factor=0.98):
        self.net, self.profiles, self.limits = net, profiles, limits
        self.tan_phi = np.sqrt(1.0 / power_factor**2 - 1.0)
        self.steps = range(len(profiles.time))
        self._base = {}

    def values(self, step, added):
        """Return (headroom of each limit in pu or share of rating, raw results)."""
        net, limits = self.net, self.limits
        p, q = self.profiles.power_kw(np.array([step]))
        drawn = pd.DataFrame({"p": p[:, 0], "q": q[:, 0]}, self.profiles.port_ids)
        for port, kw in added.items():
            drawn.loc[port] += (kw, kw * self.tan_phi)
        for table, prefix, sign in (("load", "", 1.0), ("sgen", "sgen: ", -1.0)):
            ids = prefix + net[table]["name"].astype(str)
            net[table]["p_mw"] = (
                sign * drawn["p"].reindex(ids, fill_value=0.0).array / 1e3
            )
            net[table]["q_mvar"] = (
                sign * drawn["q"].reindex(ids, fill_value=0.0).array / 1e3
            )
        pp.runpp(net, calculate_voltage_angles=True, tolerance_mva=1e-9, numba=False)
        left = {}
        for name, vm in zip(net.bus["name"], net.res_bus["vm_pu"], strict=True):
            if np.isfinite(vm) and name != "mv":
                left["voltage", name, ""] = vm - limits.voltage_min_pu
                left["voltage high", name, ""] = limits.voltage_max_pu - vm
        for i, line in net.line.iterrows():
            rated = line["max_i_ka"] * line["df"] * line["parallel"]
            for side in ("from", "to"):
                share = net.res_line.loc[i, f"i_{side}_ka"] / rated
                key = ("line current", line["name"], side)
                left[key] = limits.line_loading_max - share
        for i, trafo in net.trafo.iterrows():
            for side in ("hv", "lv"):
                rated = trafo["sn_mva"] / np.sqrt(3) / trafo[f"vn_{side}_kv"]
                rated *= trafo["parallel"] * trafo["df"]
                share = net.res_trafo.loc[i, f"i_{side}_ka"] / rated
                key = ("transformer current", trafo["name"], side)
                left[key] = limits.transformer_loading_max - share
        if limits.source_kva is not None:
            feed = np.hypot(net.res_ext_grid["p_mw"], net.res_ext_grid["q_mvar"])[0]
            left["source", "source", ""] = 1.0 - feed * 1e3 / limits.source_kva
        on = {k: v for k, v in left.items() if limits.on(k[0].removesuffix(" high"))}
        return pd.Series(on), net.res_bus["vm_pu"].set_axis(net.bus["name"])

    def base(self, step):
        if step not in self._base:
            self._base[step] = self.values(step, {})
        return self._base[step]

    def found(self, added, steps=None):
        """Return (kind, criterion, element, side, step) of every violation."""
        out = []
        for step in self.steps if steps is None else steps:
            before, v_before = self.base(step)
            after, v_after = self.values(step, added)
            for key in after.index:
                if before[key] >= 0.0 > after[key]:
                    out.append(("new", *key, step))
                small = self.limits.materiality_loading
                if key[0].startswith("voltage"):
                    small = self.limits.materiality_voltage_pu
                if before[key] < 0.0 and before[key] - after[key] > small:
                    out.append(("worsened", *key, step))
            if len(added) == 1 and self.limits.on("voltage change"):
                (port,) = added
                bus = self.net.load.set_index("name").loc[port, "bus"]
                bus = self.net.bus.loc[bus, "name"]
                if v_before[bus] - v_after[bus] > self.limits.voltage_change_pu:
                    out.append(("new", "voltage change", bus, "", step))
        return out

    def new(self, added, steps=None):
        return [f[1:] for f in self.found(added, steps) if f[0] == "new"]


def make_connections(feeder, **columns):
    ports = feeder.load_ports
    return pd.DataFrame(
        {
            "building_id": ports.index,
            "port_id": ports.index,
            "bus": ports["bus"].to_numpy(),
            "phases": "ABC",
            "service_a": np.nan,
            "service_v": np.nan,
            "match_method": "load name",
            "match_distance_m": 0.0,
            "match_confidence": 1.0,
            "assumed": False,
            **columns,
        }
    )


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Solve in one thread: these batches are too small to share out."""
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    yield
    numba.set_num_threads(before)


@pytest.fixture
def village():
    """Return a function that builds the village network."""
    return make_village


@pytest.fixture
def village_feeder():
    """Return a function that builds and reads the village network."""
    return lambda **values: read_feeder(make_village(**values))


@pytest.fixture
def profiles():
    """Return a function that generates hourly profiles for a feeder."""
    return make_profiles


@pytest.fixture
def judge():
    """Return the class that checks limits with pandapower alone."""
    return Judge


@pytest.fixture
def connections():
    """Return a function that builds a table of connections."""
    return make_connections


@pytest.fixture
def only():
    """Return a function that gives limits with only the named criteria on."""

    def limits(*criteria, **values):
        return dataclasses.replace(Limits(**values), criteria=criteria)

    return limits
