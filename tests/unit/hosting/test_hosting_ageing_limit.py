"""Transformer ageing as a limit of firm capacity, judged with pandapower's currents."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandapower as pp
import pandas as pd
import pytest

from gridsite.errors import ConfigError, DataError, PowerFlowError
from gridsite.feeder.profiles import dense_profiles
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.hosting.ac_replay import replay_loads
from gridsite.hosting.ageing_cuts import ageing_cuts
from gridsite.hosting.ageing_limit import Ageing, AgeingLimit
from gridsite.hosting.capacity import hosting_capacity
from gridsite.hosting.explain import explain_capacity
from gridsite.hosting.grid_case import GridCase
from gridsite.hosting.limits import Limits
from gridsite.hosting.thermal import ThermalModel, hot_spot_series

STEPS = 24
TOLERANCE = 0.1


def summer(mean=32.0, swing=8.0, steps=STEPS):
    """Return days that are warm at noon. [degC]"""
    return mean + swing * np.sin(2.0 * np.pi * np.arange(steps) / 24.0)


#: What binds: temperature and limits of ageing.
HOT = {
    "loss of life": Ageing(ambient_c=summer(mean=52.0)),
    "hot-spot": Ageing(ambient_c=summer(), loss_of_life_max=1e6, hot_spot_max_c=92.0),
}


@pytest.fixture
def aged(village_feeder, profiles, only):
    """Return a function that rates the village with a transformer that ages."""

    def rate(ageing, *criteria, feeder=None, loads=None, **options):
        feeder = feeder or village_feeder(trafo_mva=0.05, vm_pu=1.02)
        loads = loads or profiles(feeder, steps=STEPS)
        limits = only(*(criteria or ("transformer ageing",)))
        grid = GridCase(feeder, loads, limits, ageing=ageing)
        table = hosting_capacity(feeder, loads, grid=grid, **options)
        return grid, table.set_index("building_id")

    return rate


def pandapower_score(net, loads, port, kw, ageing):
    """Return loss of life and hottest hot-spot of T by pandapower's currents."""
    tan_phi = np.sqrt(1.0 / 0.98**2 - 1.0)
    current = np.empty((2, STEPS))
    p, q = loads.power_kw()
    for step in range(STEPS):
        drawn = pd.DataFrame({"p": p[:, step], "q": q[:, step]}, loads.port_ids)
        drawn.loc[port] += (kw, kw * tan_phi)
        net.load["p_mw"] = drawn["p"].loc[net.load["name"]].array / 1e3
        net.load["q_mvar"] = drawn["q"].loc[net.load["name"]].array / 1e3
        pp.runpp(net, tolerance_mva=1e-9, numba=False)
        for i, side in enumerate(("hv", "lv")):
            rated = net.trafo.loc[0, "sn_mva"] / np.sqrt(3)
            rated /= net.trafo.loc[0, f"vn_{side}_kv"]
            current[i, step] = net.res_trafo.loc[0, f"i_{side}_ka"] / rated
    hot = hot_spot_series(current, ageing.ambient_c, 1.0)[1]
    return ThermalModel().ageing_rate(hot).mean(axis=1).max(), hot.max()


@pytest.mark.parametrize("name", HOT)
def test_firm_capacity_passes_in_pandapower_and_two_tolerances_more_does_not(
    name, aged, village
):
    ageing = HOT[name]
    grid, table = aged(ageing)
    assert (table["firm_status"] == "ok").all()
    assert (table["limit_criterion"] == "transformer ageing").all()
    assert (table["limit_element"] == "T").all()
    net = village(trafo_mva=0.05, vm_pu=1.02)
    kw = table.loc["house 3", "firm_kw"]
    assert kw > 1.0
    for load, holds in ((kw, True), (kw + 2.0 * TOLERANCE, False)):
        life, hot = pandapower_score(net, grid.profiles, "house 3", load, ageing)
        found = life <= ageing.loss_of_life_max and hot <= ageing.hot_spot_max_c
        assert bool(found) is holds


def test_the_hottest_step_is_named(aged):
    grid, table = aged(HOT["hot-spot"])
    case = grid.block(grid.feeder_ids[0])
    limit = AgeingLimit(case, grid.ageing)
    port = int(case.feeder.ports.index[case.block.ports].get_loc("house 2"))
    set_kw = np.zeros(len(case.block.ports))
    set_kw[port] = table.loc["house 2", "firm_kw"] + 0.1
    current = limit.currents_of(set_kw, [0, 1])
    hot = hot_spot_series(current, grid.ageing.ambient_c, 1.0)[1]
    hottest = grid.profiles.time[hot.max(axis=0).argmax()]
    assert table.loc["house 2", "limit_time"] == hottest


def test_flexible_capacity_never_draws_more_than_ageing_allows(aged):
    _, table = aged(HOT["loss of life"], "transformer ageing", "transformer current")
    flat = table["firm_kw"]
    assert np.allclose(table["flexible_hours98_kw"], flat, rtol=1e-12)
    assert (table["flexible_energy98_kw"] <= flat / 0.98 + 1e-9).all()


@pytest.mark.parametrize("name", HOT)
def test_a_replay_finds_what_loads_age_together_and_none_alone(name, aged, village):
    ageing = HOT[name]
    grid, table = aged(ageing)
    firm = table["firm_kw"][["house 2", "house 3"]]
    firm.index.name = "port_id"
    for house in firm.index:
        alone = replay_loads(grid.feeder, grid.profiles, firm[[house]], grid=grid)
        assert alone.summary["new"] == 0
    kw = float(firm.min())
    both = pd.Series(kw, firm.index)
    found = replay_loads(grid.feeder, grid.profiles, both, grid=grid)
    assert (found.summary["new"], found.summary["worsened"]) == (1, 0)
    (row,) = found.violations.to_dict("records")
    assert (row["criterion"], row["element"]) == ("transformer ageing", "T")
    net = village(trafo_mva=0.05, vm_pu=1.02)
    life, hot = pandapower_score(net, grid.profiles, list(firm.index), kw, ageing)
    judged = {"years per year": life, "degC": hot}
    assert row["value"] == pytest.approx(judged[row["unit"]], rel=1e-4)
    assert row["value"] > row["limit"] > row["base_value"]
    # the same load on a transformer that ages too fast already makes it worse
    worse = replace(ageing, loss_of_life_max=1e-6)
    hotter = GridCase(grid.feeder, grid.profiles, grid.limits, ageing=worse)
    found = replay_loads(grid.feeder, grid.profiles, both, grid=hotter)
    assert (found.summary["new"], found.summary["worsened"]) == (0, 1)


def test_a_replay_in_parts_ages_transformers_as_the_whole_does(
    town, town_profiles, only
):
    feeder = read_feeder(town())
    loads = town_profiles(feeder)
    steps = len(loads.time)
    ageing = Ageing(ambient_c=np.full(steps, 45.0), hot_spot_max_c=60.0)
    ports = feeder.load_ports.index
    plan = pd.Series(20.0, ports[:6]).rename_axis("port_id")
    found = []
    for size in (10**6, 5):
        limits = only("transformer ageing")
        grid = GridCase(feeder, loads, limits, ageing=ageing, whole_nodes=size)
        replay = replay_loads(feeder, loads, plan, grid=grid)
        found.append(replay.violations.sort_values("element", ignore_index=True))
    assert len(found[0]) > 0
    columns = ["element", "criterion", "value", "limit", "base_value", "kind"]
    pd.testing.assert_frame_equal(found[0][columns], found[1][columns], rtol=1e-4)


def test_rows_of_ageing_cut_off_what_breaks_and_leave_what_holds(aged):
    criteria = ("transformer current", "transformer ageing")
    grid, table = aged(HOT["loss of life"], *criteria)
    ports = table.index[table["firm_kw"] > 0.0]
    plan = table.loc[ports, "firm_kw"].rename_axis("port_id")
    rows, terms = ageing_cuts(grid, ports, plan, grid.feeder_ids, 1)
    (row,) = rows.to_dict("records")
    assert row["criterion"] == "transformer ageing"
    assert row["row_id"].endswith("ageing round 1")
    used = (terms.set_index("port_id")["coefficient"] * plan).sum()
    assert row["headroom"] < used
    kept = plan * row["headroom"] / used * 0.999
    holds = replay_loads(grid.feeder, grid.profiles, kept, grid=grid)
    assert "transformer ageing" not in set(holds.violations["criterion"])
    more = replay_loads(grid.feeder, grid.profiles, kept * 1.02, grid=grid)
    assert "transformer ageing" in set(more.violations["criterion"])


def test_cool_transformers_are_proven_and_change_nothing(aged):
    cool = Ageing(ambient_c=summer(mean=8.0))
    criteria = ("voltage", "line current", "transformer current", "transformer ageing")
    grid, table = aged(cool, *criteria)
    _, without = aged(None, *criteria)
    pd.testing.assert_frame_equal(table, without)
    case = grid.block(grid.feeder_ids[0])
    assert not AgeingLimit(case, grid.ageing).may_bind.any()
    assert AgeingLimit(case, HOT["loss of life"]).may_bind.all()


def test_the_proof_is_not_taken_without_the_limit_of_current(aged):
    cool = Ageing(ambient_c=summer(mean=8.0))
    grid, table = aged(cool)  # nothing but ageing: it binds beyond the nameplate
    case = grid.block(grid.feeder_ids[0])
    assert AgeingLimit(case, cool).may_bind.all()
    assert (table["limit_criterion"] == "transformer ageing").all()


def test_hotter_never_leaves_more_and_looser_never_less(aged):
    _, table = aged(HOT["loss of life"])
    for ageing, sign in (
        (replace(HOT["loss of life"], ambient_c=summer(mean=55.0)), -1.0),
        (
            replace(HOT["loss of life"], thermal=ThermalModel(enclosure_rise_k=5.0)),
            -1.0,
        ),
        (replace(HOT["loss of life"], loss_of_life_max=1.5), 1.0),
    ):
        _, changed = aged(ageing)
        assert (sign * (changed["firm_kw"] - table["firm_kw"]) > 0.5).all()


def test_a_transformer_that_ages_too_fast_already_leaves_nothing(aged):
    grid, table = aged(Ageing(ambient_c=summer(mean=85.0)))
    assert (table["firm_kw"] == 0.0).all()
    assert (table["flexible_energy98_kw"] == 0.0).all()
    assert (table["firm_status"] == "none_base_violation").all()
    assert (table["limit_element"] == "T").all()
    told = explain_capacity(
        grid.feeder,
        grid.profiles,
        table.reset_index().iloc[0].to_dict(),
        grid=grid,
    )
    assert (told.limit["base"] > told.limit["limit"]).all()


def test_a_load_that_relieves_such_a_transformer_keeps_its_capacity(aged, village):
    net = village(trafo_mva=0.05)
    pp.create_sgen(net, 6, 0.055, name="pv")
    feeder = read_feeder(net)
    ports = feeder.ports
    time = pd.date_range("2025-01-01", periods=STEPS, freq="h", tz="UTC")

    table = pd.DataFrame(
        np.tile(ports["p_kw"].to_numpy(), (STEPS, 1)), columns=ports.index
    )
    loads = dense_profiles(time, table, q_kvar=0.0 * table)
    ageing = Ageing(ambient_c=np.full(STEPS, 55.0), loss_of_life_max=0.5)
    grid, rated = aged(ageing, feeder=feeder, loads=loads)
    base = AgeingLimit(grid.block(grid.feeder_ids[0]), ageing).base[0]
    assert (base > 0.0).all()
    assert (rated["firm_status"] != "none_base_violation").all()
    assert (rated["firm_kw"] > 50.0).all()  # until it is used as much as before
    limit = AgeingLimit(grid.block(grid.feeder_ids[0]), ageing)
    port = int(limit.case.feeder.ports.index[limit.case.block.ports].get_loc("house 1"))
    kw = rated.loc["house 1", "firm_kw"]
    assert (limit.score_at(port, kw, [0, 1])[0] <= base + 1e-9).all()
    assert (limit.score_at(port, kw + 2.0 * TOLERANCE, [0, 1])[0] > base).any()


def test_missing_nameplate_is_unrated(aged, village):
    feeder = read_feeder(village(trafo_mva=0.05))
    terminals = feeder.terminals.copy()
    at = terminals["criterion"] == "transformer current"
    terminals.loc[at, "rated_a"] = np.nan
    _, table = aged(HOT["loss of life"], feeder=replace(feeder, terminals=terminals))
    assert (table["firm_status"] == "unrated").all()
    assert table["firm_kw"].isna().all()
    assert (table["limit_criterion"] == "transformer ageing").all()


def test_off_or_without_temperature_it_is_not_checked(aged):
    grid, table = aged(HOT["loss of life"], "transformer current")
    assert grid.ageing is None
    assert (table["limit_criterion"] == "transformer current").all()
    _, table = aged(None, "transformer ageing", "voltage")
    assert (table["limit_criterion"] == "voltage").all()


def test_one_temperature_per_step_is_needed(aged, village_feeder, profiles):
    with pytest.raises(DataError, match="23 temperatures for 24 steps"):
        aged(Ageing(ambient_c=summer(steps=23)))
    with pytest.raises(ConfigError, match="hot_spot_max_c"):
        Ageing(ambient_c=summer(), hot_spot_max_c=np.nan)
    feeder = village_feeder()
    grid = GridCase(feeder, profiles(feeder, steps=STEPS), Limits())
    with pytest.raises(ConfigError, match="give ageing to the grid case"):
        hosting_capacity(feeder, grid.profiles, grid=grid, ageing=HOT["loss of life"])


@pytest.mark.parametrize("name", HOT)
def test_explanation_confirms_the_value_and_refuses_a_wrong_one(name, aged):
    grid, table = aged(HOT[name], "transformer ageing", "transformer current")
    row = table.reset_index().iloc[2].to_dict()

    def explain(**changed):
        return explain_capacity(grid.feeder, grid.profiles, row | changed, grid=grid)

    told = explain()
    limit = told.limit.iloc[0]
    assert limit["base"] < limit["below"] <= limit["limit"] < limit["above"]
    assert limit["unit"] == ("years per year" if name == "loss of life" else "degC")
    assert len(told.nodes)
    for wrong in (0.9, 1.1):
        with pytest.raises(PowerFlowError):
            explain(firm_kw=row["firm_kw"] * wrong)
    with pytest.raises(PowerFlowError):
        explain(firm_kw=0.0, firm_status="none_base_violation")
    with pytest.raises(PowerFlowError, match="no such transformer"):
        explain(limit_element="L1")


@pytest.mark.parametrize(
    ("mean", "nameplate"), [(30.0, "HV"), (40.0, "HV"), (30.0, "station A1")]
)
def test_a_feeder_in_parts_is_rated_as_the_whole(
    mean, nameplate, town, town_profiles, only
):
    net = town(lv_a=5000.0)
    net.trafo.loc[net.trafo["name"] == nameplate, "df"] *= 0.45
    feeder = read_feeder(net)
    loads = town_profiles(feeder)
    limits = only("transformer ageing", "transformer current", "line current")
    ageing = Ageing(ambient_c=summer(mean=mean, steps=len(loads.time)))
    tables = []
    for nodes in (10**6, 5):
        grid = GridCase(feeder, loads, limits, ageing=ageing, whole_nodes=nodes)
        table = hosting_capacity(feeder, loads, grid=grid).set_index("building_id")
        tables.append(table.sort_index())
    whole, parts = tables
    assert (whole["limit_criterion"] == "transformer ageing").any()
    pd.testing.assert_series_equal(whole["firm_status"], parts["firm_status"])
    pd.testing.assert_series_equal(whole["limit_criterion"], parts["limit_criterion"])
    gap = parts["firm_kw"] - whole["firm_kw"]
    assert (gap <= np.maximum(0.2, 2e-3 * whole["firm_kw"])).all()
    aged_first = whole["limit_criterion"] == "transformer ageing"
    low = np.where(aged_first, 0.12, 2e-3) * whole["firm_kw"] + 0.2
    assert (-gap <= low).all()
