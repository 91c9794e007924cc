"""The 576-hour table in AC power flow: pandapower judges its values and limits."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import numpy as np
import pandas as pd

from gridsite.feeder.read_pandapower import read_feeder
from gridsite.hosting.capacity import hosting_capacity, own_connections
from gridsite.hosting.grid_case import GridCase
from gridsite.hosting.headroom_files import HeadroomFiles
from gridsite.hosting.ica_limits import TOLERANCE_KW
from gridsite.hosting.limits import Limits

STEADY = ("voltage", "line current", "transformer current", "service")


def tables(folder, feeder, loads, limits, *, whole_nodes=10**6, service_a=None):
    """Return hosting and the 576-hour table of a feeder."""
    connections = own_connections(feeder)
    if service_a is not None:
        connections = connections.assign(service_a=service_a, service_v=400.0)
    grid = GridCase(feeder, loads, limits, whole_nodes=whole_nodes)
    files = HeadroomFiles.within(folder, dt.date(2026, 1, 31))
    hosting = hosting_capacity(
        feeder, loads, connections=connections, grid=grid, envelope=files.envelope
    )
    files.finish(grid, hosting)
    table = pd.read_csv(files.typical_hours, keep_default_na=False)
    table["step"] = loads.time.get_indexer(pd.DatetimeIndex(table["limiting_time"]))
    return hosting, table


def check(judge, table, count=25):
    """Check some rows: the value passes, and a little more breaks what is named."""
    rows = table[table["status"] == "ok"].sample(count, random_state=3)
    for row in rows.itertuples():
        left, _ = judge.values(row.step, {row.port_id: row.load_hc_kw})
        held = judge.base(row.step)[0] >= 0.0
        assert (left[held] >= -1e-7).all()
        more = {row.port_id: row.load_hc_kw + 2.0 * TOLERANCE_KW}
        left, _ = judge.values(row.step, more)
        named = (row.most_limiting_criterion, row.limiting_element)
        broken = {key[:2] for key in left.index[held & (left < 0.0)]}
        assert named in broken


LIMITS = replace(Limits(), criteria=STEADY)


def test_every_hour_passes_and_breaks_what_is_named(
    tmp_path, village_feeder, village, profiles, judge
):
    feeder = village_feeder()
    loads = profiles(feeder, steps=8760)
    hosting, table = tables(tmp_path, feeder, loads, LIMITS)
    assert (hosting["firm_status"] == "ok").all()
    assert (table["most_limiting_criterion"] != "").all()
    check(judge(village(), loads, LIMITS), table)


def test_on_a_trunk_with_leaves_as_well(tmp_path, town_factory, judge):
    net = town_factory.net(lv_a=150.0, station_mva=0.1)
    feeder = read_feeder(net)
    loads = town_factory.profiles(feeder, steps=8760)
    hosting, table = tables(tmp_path, feeder, loads, LIMITS, whole_nodes=5)
    assert (hosting["firm_status"] == "ok").any()
    rated = table[table["status"] == "ok"]
    assert (rated["most_limiting_criterion"] != "").all()
    assert len(set(rated["most_limiting_criterion"])) > 1
    check(judge(net, loads, LIMITS), table)
    works = hosting.set_index("building_id").loc["works"]  # the search cap
    assert works["firm_status"] == "censored"
    own = table[table["building_id"] == "works"]
    assert (own["load_hc_kw"] == works["firm_kw"]).all()
    assert (own["most_limiting_criterion"] == "").all()


def test_a_fuse_is_named_where_it_leaves_less_than_the_grid(
    tmp_path, village_feeder, profiles
):
    feeder = village_feeder()
    loads = profiles(feeder, steps=8760)
    _, free = tables(tmp_path, feeder, loads, LIMITS)
    hosting, table = tables(tmp_path, feeder, loads, LIMITS, service_a=25.0)
    assert (hosting["limit_criterion"] == "service").all()
    assert (table["most_limiting_criterion"] == "service").all()
    assert table["limiting_element"].equals(table["building_id"])
    assert (table["load_hc_kw"] < free["load_hc_kw"]).all()


def test_values_never_rise_above_the_estimate(
    tmp_path, village_feeder, profiles, monkeypatch
):
    feeder = village_feeder()
    loads = profiles(feeder, steps=8760)
    hosting, table = tables(tmp_path, feeder, loads, LIMITS)
    monkeypatch.setattr(
        "gridsite.hosting.headroom_files.confirmed_hours", lambda _g, _h, t: t
    )
    _, estimate = tables(tmp_path, feeder, loads, LIMITS)
    assert (table["load_hc_kw"] <= estimate["load_hc_kw"]).all()
    firm = hosting.set_index("building_id")["firm_kw"]
    least = table.groupby("building_id")["load_hc_kw"].min()
    assert (least >= firm - 1e-4 * np.maximum(firm, 1.0)).all()
