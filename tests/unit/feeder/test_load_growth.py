"""Growth and committed loads: what they add, where, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandapower as pp
import pandas as pd
import pytest

from gridsite.errors import ConfigError, DataError
from gridsite.feeder.feed_in import without_generation
from gridsite.feeder.load_growth import (
    committed_loads,
    grown,
    read_committed,
    with_committed_ports,
)
from gridsite.feeder.load_parts import snapshot_profiles
from gridsite.feeder.profiles import constant_profiles, dense_profiles
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.hosting.capacity import hosting_capacity, own_connections
from gridsite.hosting.grid_case import GridCase
from gridsite.hosting.limits import Limits
from gridsite.rating_case import LoadChoice


def line_net(*, load_kw=0.0, generation_kw=None):
    """Return a source, a line and two buses behind it, one without a load."""
    net = pp.create_empty_network(name="line", sn_mva=1.0)
    for name in ("head", "end", "empty"):
        pp.create_bus(net, 0.4, name=name)
    pp.create_ext_grid(net, 0)
    pp.create_line_from_parameters(net, 0, 1, 1.0, 0.048, 0.016, 0.0, 1e3, name="line")
    pp.create_line_from_parameters(net, 1, 2, 1.0, 0.048, 0.016, 0.0, 1e3, name="tail")
    pp.create_load(net, 1, load_kw / 1e3, 0.0, name="house")
    if generation_kw is not None:
        pp.create_sgen(net, 1, generation_kw / 1e3, name="pv")
    return net


def queue(**columns):
    return committed_loads(pd.DataFrame(columns))


def today(feeder):
    at = feeder.load_ports
    return constant_profiles(at.index, at["p_kw"], at["q_kvar"])


def today_of_all(feeder):
    at = feeder.ports
    return constant_profiles(at.index, at["p_kw"], at["q_kvar"])


def firm(feeder, loads):
    table = hosting_capacity(
        feeder, loads, limits=Limits(criteria=("voltage",)), tolerance_kw=1e-6
    )
    return table.set_index("building_id").loc["house", "firm_kw"]


@pytest.mark.parametrize("where", ["port", "bus"])
@pytest.mark.parametrize("kw", [[10.0], [7.0, 20.0]])
def test_capacity_falls_by_what_is_committed_at_the_same_bus(where, kw):
    feeder = read_feeder(line_net())
    free = firm(feeder, today(feeder))
    name = "house" if where == "port" else "end"
    waiting = queue(**{where: [name] * len(kw), "kw": kw})
    booked = with_committed_ports(feeder, waiting, power_factor=0.98)
    assert firm(booked, today(booked)) == pytest.approx(free - sum(kw), abs=1e-5)


def test_load_committed_at_a_bus_is_drawn_at_every_step_and_not_rated():
    feeder = read_feeder(line_net(load_kw=5.0))
    booked = with_committed_ports(feeder, queue(bus=["empty"], kw=[8.0], name=["shop"]))
    assert list(booked.load_ports.index) == ["house"]
    time = pd.date_range("2025-01-01", periods=3, freq="h", tz="UTC")
    drawn = pd.DataFrame({"house": [1.0, 2.0, 3.0]})
    loads = dense_profiles(time, drawn, power_factor=1.0)
    grid = GridCase(booked, loads, Limits())
    assert grid.profiles.total_kw().tolist() == [9.0, 10.0, 11.0]
    assert any("8 kW" in note and "assumption" in note for note in grid.notes)
    assert firm(booked, loads) < firm(feeder, loads)


def test_nothing_committed_changes_nothing():
    feeder = read_feeder(line_net(load_kw=5.0))
    none = committed_loads(pd.DataFrame({"bus": [], "kw": []}))
    assert with_committed_ports(feeder, none) is feeder


def test_committed_at_a_port_is_added_at_every_step_at_its_power_factor():
    feeder = read_feeder(line_net(load_kw=5.0))
    waiting = queue(port=["house", "house"], kw=[4.0, 6.0])
    booked = with_committed_ports(feeder, waiting, power_factor=0.8)
    time = pd.date_range("2025-01-01", periods=2, freq="h", tz="UTC")
    drawn = pd.DataFrame({"house": [1.0, 2.0]})
    grid = GridCase(booked, dense_profiles(time, drawn, power_factor=1.0), Limits())
    p_kw, q_kvar = grid.profiles.power_kw()
    assert p_kw.sum(axis=0).tolist() == [11.0, 12.0]
    assert q_kvar.sum(axis=0) == pytest.approx([7.5, 7.5])


@pytest.mark.parametrize("share", [0.0, 100.0])
def test_committed_load_is_constant_power_whatever_its_neighbour_is(share):
    """
    The voltage at the end by hand: a customer of constant impedance or power, and 20
    kW of constant power, behind a line of known impedance.
    """
    net = line_net(load_kw=30.0)
    for letter in "pq":
        net.load[f"const_z_{letter}_percent"] = share
    booked = with_committed_ports(
        read_feeder(net), queue(port=["house"], kw=[20.0]), power_factor=1.0
    )
    grid = GridCase(booked, today(booked), Limits())
    found = np.abs(grid.block(grid.feeder_ids[0]).v).min()
    volts, z = 1.0 + 0.0j, (0.048 + 0.016j) / 0.4**2
    for _ in range(200):
        own = 0.03 * np.abs(volts) ** (2.0 * share / 100.0)
        volts = 1.0 - z * np.conj((own + 0.02) / volts)
    assert found == pytest.approx(abs(volts), abs=1e-9)


def test_committed_load_at_a_port_counts_against_its_service():
    feeder = read_feeder(line_net(load_kw=5.0))
    table = own_connections(feeder).assign(service_a=63.0, service_v=400.0)
    booked = with_committed_ports(feeder, queue(port=["house"], kw=[10.0]))
    left = [
        hosting_capacity(each, today(each), connections=table).iloc[0]
        for each in (feeder, booked)
    ]
    assert left[0]["limit_criterion"] == left[1]["limit_criterion"] == "service"
    # 5 + j0 and then 15 + j3.287 within 43.65 kVA, for a unit of power factor 0.98
    tan = np.sqrt(1.0 / 0.98**2 - 1.0)
    for row, p, q in (
        (left[0], 5.0, 0.0),
        (left[1], 15.0, 10.0 * np.tan(np.arccos(0.95))),
    ):
        kva = np.hypot(p + row["firm_kw"], q + tan * row["firm_kw"])
        assert kva == pytest.approx(np.sqrt(3.0) * 0.4 * 63.0, abs=0.15)


def test_all_parts_of_a_load_count_against_its_service():
    """A load of which half is constant impedance is two ports behind one fuse."""
    net = line_net(load_kw=20.0)
    table = None
    found = []
    for share in (0.0, 50.0):
        for letter in "pq":
            net.load[f"const_z_{letter}_percent"] = share
        feeder = read_feeder(net)
        table = own_connections(feeder).assign(service_a=63.0, service_v=400.0)
        found.append(hosting_capacity(feeder, today_of_all(feeder), connections=table))
    headroom = [float(table["service_headroom_kw"].iloc[0]) for table in found]
    assert headroom[0] == pytest.approx(headroom[1])


def test_growth_scales_customers_and_leaves_generation():
    feeder = read_feeder(line_net(load_kw=5.0, generation_kw=3.0))
    ports = feeder.ports
    loads = constant_profiles(ports.index, ports["p_kw"], ports["p_kw"] * 0.1)
    more = grown(loads, 1.2, feeder=feeder)
    kind = ports["kind"].reindex(loads.port_ids)
    ratio = np.where(kind == "load", 1.2, 1.0)
    assert more.p_scale_kw == pytest.approx(ratio * loads.p_scale_kw)
    assert more.q_scale_kvar == pytest.approx(ratio * loads.q_scale_kvar)
    assert firm(feeder, more) == pytest.approx(firm(feeder, loads) - 1.0, abs=0.05)


def test_a_snapshot_and_growth_take_all_parts_of_a_load():
    net = line_net(load_kw=20.0)
    for letter in "pq":
        net.load[f"const_z_{letter}_percent"] = 50.0
    feeder = read_feeder(net)
    now = snapshot_profiles(feeder)
    assert GridCase(feeder, now, Limits()).profiles.total_kw()[0] == pytest.approx(20.0)
    filed = today_of_all(feeder)  # by part, as load shapes are
    for loads in (now, filed):
        more = grown(loads, 1.5, feeder=feeder)
        drawn = GridCase(feeder, more, Limits()).profiles.total_kw()[0]
        assert drawn == pytest.approx(30.0)


def test_generation_that_is_off_leaves_less():
    feeder = read_feeder(line_net(load_kw=5.0, generation_kw=30.0))
    ports = feeder.ports
    loads = constant_profiles(ports.index, ports["p_kw"], ports["q_kvar"])
    off = without_generation(loads, feeder)
    assert list(off.port_ids) == ["house"]
    assert GridCase(feeder, off, Limits()).profiles.total_kw()[0] == pytest.approx(5.0)
    assert firm(feeder, off) < firm(feeder, loads) - 10.0


@pytest.mark.parametrize("generation_kw", [30.0, -30.0])
def test_generation_that_is_off_still_draws_what_it_draws(generation_kw):
    """A generator that draws at some steps, such as a battery, is a load there."""
    feeder = read_feeder(line_net(load_kw=5.0, generation_kw=generation_kw))
    time = pd.date_range("2025-01-01", periods=3, freq="h", tz="UTC")
    drawn = pd.DataFrame({"house": [5.0, 5.0, 5.0], "sgen: pv": [-30.0, 20.0, 0.0]})
    loads = dense_profiles(time, drawn, power_factor=0.9)
    off = without_generation(loads, feeder)
    p, q = off.power_kw()
    assert p[1].tolist() == [0.0, 20.0, 0.0]
    assert q[1] == pytest.approx([0.0, 20.0 * np.tan(np.arccos(0.9)), 0.0])
    grid = GridCase(feeder, off, Limits())
    assert grid.profiles.total_kw() == pytest.approx([5.0, 25.0, 5.0])
    alone = read_feeder(line_net(load_kw=5.0))
    assert firm(feeder, off) < firm(alone, loads.select(["house"])) - 15.0


@pytest.mark.parametrize("scale", [1.0, -1.0])
def test_a_load_that_gives_power_is_0_there_where_generation_is_off(scale):
    """Solar power behind a meter: reactive power goes with it, 0 kW keeps its own."""
    feeder = read_feeder(line_net(load_kw=5.0))
    loads = replace(
        constant_profiles(["house"], [scale], [2.0]),
        time=pd.date_range("2025-01-01", periods=3, freq="h", tz="UTC"),
        p_shapes=scale * np.array([[4.0, -7.0, 0.0]]),
        q_shapes=np.array([[1.0, 2.0, 3.0]]),
    )
    p, q = without_generation(loads, feeder).power_kw()
    assert p.tolist() == [[4.0, 0.0, 0.0]]
    assert q.tolist() == [[2.0, 0.0, 6.0]]


def test_storage_that_discharges_in_the_file_is_0_where_generation_is_off():
    net = line_net(load_kw=5.0)
    for name, kw in (("gives", -8.0), ("draws", 3.0)):
        pp.create_storage(net, 1, kw / 1e3, 10.0, name=name)
    feeder = read_feeder(net)
    for on, total in (("profile", 0.0), ("off", 8.0)):
        loads = LoadChoice(generation=on)(feeder)
        drawn = GridCase(feeder, loads, Limits()).profiles.total_kw()
        assert drawn == pytest.approx([total])


def test_off_takes_readings_of_a_file_and_the_snapshot_too(tmp_path):
    net = line_net(load_kw=-5.0)
    feeder = read_feeder(net)
    time = pd.date_range("2025-01-01", periods=4, freq="h", tz="UTC")
    table = pd.DataFrame({"house": [3.0, -6.0, -6.0, 1.0]}, index=time)
    table.rename_axis("time").to_csv(tmp_path / "loads.csv")
    for source, drawn in ((None, [0.0]), ("loads.csv", [3.0, 0.0, 0.0, 1.0])):
        path = None if source is None else str(tmp_path / source)
        on, off = (
            LoadChoice(generation=word, profiles=path)(feeder)
            for word in ("profile", "off")
        )
        assert off.total_kw() == pytest.approx(drawn)
        assert on.total_kw().min() < -4.0
        assert firm(feeder, off) <= firm(feeder, on) + 1e-6


def test_what_draws_power_is_not_called_off():
    feeder = read_feeder(line_net(load_kw=5.0, generation_kw=-30.0))
    grid = GridCase(feeder, today(feeder), Limits())
    assert grid.profiles.total_kw()[0] == pytest.approx(35.0)
    assert not any("switched off" in note for note in grid.notes)


@pytest.mark.parametrize("factor", [0.0, -1.0, np.nan, 110.0, np.inf])
def test_growth_that_is_no_factor_is_refused(factor):
    feeder = read_feeder(line_net())
    with pytest.raises(ConfigError, match="growth"):
        grown(today(feeder), factor, feeder=feeder)


@pytest.mark.parametrize(
    "columns",
    [
        {"kw": [1.0]},
        {"port": ["a"], "bus": ["b"], "kw": [1.0]},
        {"port": ["a"], "kw": [-1.0]},
        {"port": ["a"], "kw": [np.nan]},
        {"port": ["a"], "kw": [np.inf]},
        {"port": ["a"], "kw": ["ten"]},
        {"port": ["a"]},
        {"port": ["a"], "kw": [1.0], "mw": [1.0]},
        {"port": [None], "kw": [1.0]},
    ],
)
def test_rows_at_fault_are_refused(columns):
    with pytest.raises(DataError, match="committed") as error:
        queue(**columns)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("bus", ["nowhere", "head"])
def test_unknown_buses_and_sources_are_refused(bus):
    feeder = read_feeder(line_net())
    with pytest.raises(DataError, match=bus):
        with_committed_ports(feeder, queue(bus=[bus], kw=[1.0]))


def test_unknown_port_is_refused():
    with pytest.raises(DataError, match="shed"):
        with_committed_ports(read_feeder(line_net()), queue(port=["shed"], kw=[1.0]))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_file_is_read_with_names_as_text(tmp_path, suffix):
    path = tmp_path / f"queue{suffix}"
    table = pd.DataFrame({"bus": ["7", "8"], "kw": [1.5, 2.0]})
    table.to_csv(path, index=False) if suffix == ".csv" else table.to_parquet(path)
    assert read_committed(path)["bus"].tolist() == ["7", "8"]
    with pytest.raises(DataError, match="does not exist"):
        read_committed(tmp_path / "none.csv")
