"""A small unbalanced network against the asymmetric power-grid-model."""

from __future__ import annotations

import numpy as np
import pandapower as pp
import pytest

from gridsite.feeder.powerflow import Block
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.feeder.states import filed_states

LINE = {"r1": 0.2, "x1": 0.08, "r0": 0.8, "x0": 0.3}  # ohm per km
LENGTH_KM = (0.3, 0.4)
LOADS_KW = {2: (12.0, 3.0, 0.0), 3: (0.0, 9.0, 20.0)}  # by bus and phase
COS_PHI = 0.95


def make_net():
    net = pp.create_empty_network(sn_mva=1.0)
    pp.create_bus(net, 20.0, name="0")
    for i in range(1, 4):
        pp.create_bus(net, 0.4, name=str(i))
    pp.create_ext_grid(
        net, 0, vm_pu=1.01, s_sc_max_mva=1e6, rx_max=0.1, x0x_max=1.0, r0x0_max=0.1
    )
    pp.create_transformer_from_parameters(
        net,
        0,
        1,
        sn_mva=0.25,
        vn_hv_kv=20.0,
        vn_lv_kv=0.4,
        vkr_percent=1.2,
        vk_percent=4.0,
        pfe_kw=0.0,
        i0_percent=0.0,
        shift_degree=150.0,
        vector_group="Dyn",
        vk0_percent=4.0,
        vkr0_percent=1.2,
        mag0_percent=1e8,  # per cent of the short-circuit impedance: none
        mag0_rx=0.0,
        si0_hv_partial=0.9,
    )
    for i, km in enumerate(LENGTH_KM):
        pp.create_line_from_parameters(
            net,
            i + 1,
            i + 2,
            km,
            r_ohm_per_km=LINE["r1"],
            x_ohm_per_km=LINE["x1"],
            c_nf_per_km=0.0,
            max_i_ka=0.3,
            r0_ohm_per_km=LINE["r0"],
            x0_ohm_per_km=LINE["x0"],
            c0_nf_per_km=0.0,
        )
    tan = np.tan(np.arccos(COS_PHI))
    for bus, kw in LOADS_KW.items():
        p = {f"p_{p}_mw": x / 1e3 for p, x in zip("abc", kw, strict=True)}
        q = {f"q_{p}_mvar": x * tan / 1e3 for p, x in zip("abc", kw, strict=True)}
        pp.create_asymmetric_load(net, bus, **p, **q, name=f"house {bus}", type="wye")
    return net


def pgm_voltages(pgm):
    """Return voltage magnitudes by bus and phase, (4, 3)."""

    def array(kind, count, **columns):
        out = pgm.initialize_array("input", kind, count)
        for column, values in columns.items():
            out[column] = values
        return out

    km = np.array(LENGTH_KM)
    p = np.array(list(LOADS_KW.values())) * 1e3
    data = {
        "node": array("node", 4, id=range(4), u_rated=[20e3, 400.0, 400.0, 400.0]),
        "source": array(
            "source",
            1,
            id=10,
            node=0,
            status=1,
            u_ref=1.01,
            sk=1e12,
            rx_ratio=0.1,
            z01_ratio=1.0,
        ),
        "transformer": array(
            "transformer",
            1,
            id=20,
            from_node=0,
            to_node=1,
            from_status=1,
            to_status=1,
            u1=20e3,
            u2=400.0,
            sn=250e3,
            uk=0.04,
            pk=0.012 * 250e3,
            i0=0.0,
            p0=0.0,
            winding_from=2,  # delta
            winding_to=1,  # earthed wye
            clock=5,
            tap_side=0,
            tap_pos=0,
            tap_min=0,
            tap_max=0,
            tap_nom=0,
            tap_size=0.0,
        ),
        "line": array(
            "line",
            2,
            id=[30, 31],
            from_node=[1, 2],
            to_node=[2, 3],
            from_status=1,
            to_status=1,
            **{key: value * km for key, value in LINE.items()},
            c1=0.0,
            tan1=0.0,
            c0=0.0,
            tan0=0.0,
            i_n=300.0,
        ),
        "asym_load": array(
            "asym_load",
            2,
            id=[40, 41],
            node=list(LOADS_KW),
            status=1,
            type=0,
            p_specified=p,
            q_specified=p * np.tan(np.arccos(COS_PHI)),
        ),
    }
    result = pgm.PowerGridModel(data).calculate_power_flow(
        symmetric=False, error_tolerance=1e-10
    )
    return result["node"]["u_pu"]


def test_phase_voltages_equal_power_grid_model():
    pgm = pytest.importorskip("power_grid_model")
    feeder = read_feeder(make_net())
    (feeder_id,) = set(feeder.nodes["feeder_id"]) - {""}
    block = Block(feeder, feeder_id)
    states = filed_states(block, feeder.ports)
    found = block.solve(states, np.zeros(1, dtype=np.int64))
    v = np.abs(found.v[:, 0]).reshape(-1, 3)
    buses = feeder.nodes["bus"].to_numpy()[block.nodes][::3]
    expected = pgm_voltages(pgm)[buses.astype(int)]
    assert expected.min() < 0.97
    assert expected.max() > 1.01  # an idle phase rises
    assert np.abs(v - expected).max() < 1e-6
