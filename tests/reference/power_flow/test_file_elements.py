"""
One file with every part that pandapower files hold, against pandapower itself.

The network is generated. It is read from the file, JSON and workbook, by phase where
loads are by phase; pandapower solves the one in memory.
"""

import warnings

import numpy as np
import pandapower as pp
import pandas as pd
import pytest
from solved_feeder import solved

from gridsite.feeder.read_pandapower import read_feeder

pytest.importorskip("openpyxl", reason="needs openpyxl")


def line(net, a, b, km, name, **more):
    return pp.create_line_from_parameters(
        *(net, a, b, km, 0.2, 0.1, 200.0, 0.25), name=name, **more
    )


def everything():
    """Return a network with one of each part, two sources and two feeders."""
    net = pp.create_empty_network(name="everything")

    def bus(kv, name, **more):
        return pp.create_bus(net, kv, name=name, **more)

    high, medium, tertiary = bus(110.0, "high"), bus(20.0, "mv"), bus(10.0, "tertiary")
    pp.create_ext_grid(net, high, vm_pu=1.01, name="west")
    pp.create_transformer3w_from_parameters(
        *(net, high, medium, tertiary, 110.0, 20.0, 10.0),
        *(25.0, 20.0, 10.0, 10.4, 10.4, 10.4, 0.28, 0.32, 0.35, 15.0, 0.1),
        tap_side="hv",
        tap_neutral=0,
        tap_min=-10,
        tap_max=10,
        tap_step_percent=1.2,
        tap_pos=-2,
        tap_changer_type="Ratio",
        name="three windings",
    )
    far, busbar, spare = bus(20.0, "far"), bus(20.0, "busbar"), bus(20.0, "spare")
    line(net, medium, far, 6.0, "main", parallel=2)
    pp.create_switch(net, far, busbar, et="b", closed=True)  # fuses the two
    pp.create_switch(net, far, spare, et="b", closed=False)  # parts them
    ring = line(net, medium, busbar, 9.0, "open ring")
    pp.create_switch(net, busbar, ring, et="l", closed=False)  # draws charging current
    line(net, far, spare, 3.0, "out of service", in_service=False)
    low = bus(0.4, "lv")
    pp.create_transformer_from_parameters(
        *(net, busbar, low, 0.63, 20.0, 0.4, 1.2, 6.0, 1.1, 0.2),
        shift_degree=150.0,
        tap_side="hv",
        tap_neutral=0,
        tap_min=-2,
        tap_max=2,
        tap_step_percent=2.5,
        tap_pos=1,
        tap_changer_type="Ratio",
        parallel=2,
        df=0.9,
        name="substation",
    )
    house = bus(0.4, "house")
    line(net, low, house, 0.15, "service")
    pp.create_load(net, house, 0.06, 0.015, name="house", scaling=0.8)
    pp.create_load(net, far, 1.5, 0.4, name="works")
    pp.create_load(net, tertiary, 3.0, 0.5, name="pumps")
    pp.create_load(net, low, 0.4, 0.1, name="gone", in_service=False)
    pp.create_sgen(net, house, 0.02, 0.0, name="roof")
    pp.create_shunt(net, busbar, -0.3, name="capacitor")
    pp.create_load(net, spare, 0.2, name="dark")
    # the second source, a feeder of its own in the same file
    east, end = bus(20.0, "east"), bus(20.0, "east end")
    pp.create_ext_grid(net, east, vm_pu=1.03, name="east")
    line(net, east, end, 12.0, "east line")
    pp.create_load(net, end, 2.0, 0.6, name="village")
    pp.create_ext_grid(net, spare, in_service=False, name="standby")
    gone = bus(0.4, "bus out of service", in_service=False)
    pp.create_load(net, gone, 0.1, name="nobody")
    return net


def saved(net, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        {".json": pp.to_json, ".xlsx": pp.to_excel}[path.suffix](net, str(path))
    return read_feeder(path)


@pytest.fixture(scope="module", params=[".json", ".xlsx"])
def both(request, tmp_path_factory):
    """Return the network, solved by pandapower, and the feeder of its file."""
    net = everything()
    feeder = saved(net, tmp_path_factory.mktemp("net") / f"net{request.param}")
    pp.runpp(net, calculate_voltage_angles=True, tolerance_mva=1e-10, numba=False)
    return net, feeder


def test_voltages_equal_runpp(both):
    net, feeder = both
    pu = pd.Series(np.abs(solved(feeder)), feeder.nodes["bus"])
    known = net.res_bus["vm_pu"].set_axis(net.bus["name"]).dropna()
    shared = known.index.intersection(pu.index)
    assert set(known.index) - set(shared) <= {"busbar"}  # fused with "far"
    assert (pu[shared] - known[shared]).abs().max() < 1e-7


def test_loadings_equal_runpp(both):
    net, feeder = both
    amps = np.abs(feeder.terminal_y @ solved(feeder)) * feeder.terminals["base_a"]
    percent = 100.0 * amps / feeder.terminals["rated_a"]
    worst = percent.groupby(feeder.terminals["element"]).max()
    for table in ("line", "trafo", "trafo3w"):
        known = net[f"res_{table}"]["loading_percent"].set_axis(net[table]["name"])
        for name, value in known.items():
            if name in worst.index and np.isfinite(value):
                assert worst[name] == pytest.approx(value, abs=1e-4), name
    assert {"main", "open ring", "substation", "three windings"} <= set(worst.index)
    assert "out of service" not in worst.index


def test_sources_feeders_and_what_is_dark_are_told_apart(both):
    _, feeder = both
    assert len(set(feeder.nodes["feeder_id"]) - {""}) == 2
    assert len(feeder.source_nodes) == 2
    by_port = feeder.ports["feeder_id"]
    assert by_port["village"] != by_port["works"] == by_port["house"]
    dark = feeder.ports.index[feeder.ports["node"] < 0]
    assert set(dark) == {"dark", "nobody"} & set(feeder.ports.index)
    assert "spare" in feeder.unsupplied_buses
    assert feeder.ports["p_kw"]["house"] == pytest.approx(48.0)
    assert "gone" not in feeder.ports.index or feeder.ports["p_kw"]["gone"] == 0.0


@pytest.mark.parametrize("suffix", [".json", ".xlsx"])
def test_loads_by_phase_equal_runpp_3ph(tmp_path, suffix):
    net = pp.create_empty_network()
    buses = [pp.create_bus(net, 0.4, name=name) for name in ("head", "mid", "end")]
    pp.create_ext_grid(
        net, buses[0], s_sc_max_mva=1e6, rx_max=0.1, r0x0_max=0.1, x0x_max=1.0
    )
    for k in (0, 1):
        line(
            *(net, buses[k], buses[k + 1], 0.2, f"cable {k}"),
            r0_ohm_per_km=0.8,
            x0_ohm_per_km=0.4,
            c0_nf_per_km=100.0,
        )
    pp.create_asymmetric_load(
        *(net, buses[2], 0.012, 0.004, 0.0, 0.003, 0.001, 0.0),
        name="house",
        type="wye",
    )
    pp.create_asymmetric_load(
        net, buses[1], 0.0, 0.0, 0.009, name="flat", type="wye", scaling=0.5
    )
    pp.create_asymmetric_load(
        net, buses[1], 0.05, name="gone", type="wye", in_service=False
    )
    feeder = saved(net, tmp_path / f"net{suffix}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pp.runpp_3ph(net, numba=False, tolerance_mva=1e-10)
    pu = pd.Series(
        np.abs(solved(feeder)),
        pd.MultiIndex.from_frame(feeder.nodes[["bus", "phases"]]),
    )
    for phase in "ABC":
        known = net.res_bus_3ph[f"vm_{phase.lower()}_pu"].set_axis(net.bus["name"])
        for name in ("mid", "end"):
            assert pu[name, phase] == pytest.approx(known[name], abs=1e-6)
