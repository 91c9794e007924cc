"""A generated town: a medium-voltage ring with low-voltage grids behind stations."""

from __future__ import annotations

import numpy as np
import pandapower as pp
import pandas as pd
import pytest

from gridsite.feeder.profiles import dense_profiles

#: Houses along each street and streets of each low-voltage grid.
STREETS = {"A": (2, 1), "B": (3, 2), "C": (1, 2), "D": (2, 2)}
CABLE = {"r_ohm_per_km": 0.32, "x_ohm_per_km": 0.083, "c_nf_per_km": 210.0}


def station(net, hv, lv, name, *, mva, tap=0):
    pp.create_transformer_from_parameters(
        net,
        hv,
        lv,
        mva,
        20.0,
        0.4,
        1.4,
        4.0,
        0.4,
        0.4,
        name=name,
        shift_degree=150.0,
        tap_side="hv",
        tap_neutral=0,
        tap_min=-2,
        tap_max=2,
        tap_step_percent=2.5,
        tap_pos=tap,
        tap_changer_type="Ratio",
    )


def make_town(*, hv_mva=16.0, vm_pu=1.0, lv_a=250.0, mv_a=300.0, station_mva=0.25):
    """
    Return a net of one 110/20 kV transformer, a 20 kV ring and four LV grids.

    Buses: ``hv`` - ``m0`` - ``m1`` .. ``m4`` - ``m0``; grid A hangs on m1, B (two
    transformers in parallel) on m2, C on m3, D on m4; a works draws at m2, a plant
    feeds in at m3 and panels in A.
    """
    net = pp.create_empty_network(name="town")
    hv = pp.create_bus(net, 110.0, name="hv")
    ring = [pp.create_bus(net, 20.0, name=f"m{i}") for i in range(5)]
    pp.create_ext_grid(net, hv, vm_pu=vm_pu, va_degree=3.0, name="grid")
    pp.create_transformer_from_parameters(
        net, hv, ring[0], hv_mva, 110.0, 20.0, 0.5, 11.0, 12.0, 0.06, name="HV"
    )
    for i, km in enumerate((2.0, 1.5, 1.0, 2.5, 3.0)):
        ends = (ring[i], ring[(i + 1) % 5])
        pp.create_line_from_parameters(
            net, *ends, km, 0.16, 0.12, 250.0, mv_a / 1e3, name=f"ring {i}"
        )
    for number, (grid, (houses, streets)) in enumerate(STREETS.items(), start=1):
        bar = pp.create_bus(net, 0.4, name=f"{grid} bar")
        tap = (0, -1, 1, -2)[number - 1]
        for copy in range(2 if grid == "B" else 1):
            name = f"station {grid}{copy + 1}"
            station(net, ring[number], bar, name, mva=station_mva, tap=tap)
        for street in range(streets):
            last = bar
            for house in range(houses):
                name = f"{grid}{street + 1}{house + 1}"
                bus = pp.create_bus(net, 0.4, name=f"at {name}")
                pp.create_line_from_parameters(
                    net, last, bus, 0.1, **CABLE, max_i_ka=lv_a / 1e3, name=f"to {name}"
                )
                pp.create_load(net, bus, 0.006, 0.0015, name=name)
                last = bus
    pp.create_load(net, ring[2], 1.2, 0.3, name="works")
    pp.create_sgen(net, ring[3], 0.8, 0.0, name="plant")
    pp.create_sgen(net, net.load["bus"].iloc[0], 0.01, 0.0, name="panels")
    return net


def make_town_profiles(feeder, *, steps=12, seed=0):
    """Return generated hourly profiles of all loads and generators of a feeder."""
    rng = np.random.default_rng(seed)
    time = pd.date_range("2025-01-01", periods=steps, freq="h", tz="UTC")
    ports = feeder.ports
    shape = rng.uniform(0.1, 2.0, (steps, len(ports)))
    p = pd.DataFrame(shape * ports["p_kw"].to_numpy(), columns=ports.index)
    q = pd.DataFrame(shape * ports["q_kvar"].to_numpy(), columns=ports.index)
    return dense_profiles(time, p, q_kvar=q)


@pytest.fixture
def town():
    """Return a function that builds the net of a town."""
    return make_town


@pytest.fixture
def town_profiles():
    """Return a function that generates hourly profiles for the town's feeder."""
    return make_town_profiles


class Town:
    """What modules need to build towns once for several tests."""

    net = staticmethod(make_town)
    profiles = staticmethod(make_town_profiles)


@pytest.fixture(scope="session")
def town_factory():
    """Return the town and its profiles as functions, for module fixtures."""
    return Town
