"""Joint capacity where transformers age, bisected with pandapower's currents alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandapower as pp
import pandas as pd
import pytest

from gridsite import joint_capacity
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.hosting.ac_replay import replay_loads
from gridsite.hosting.ageing_limit import Ageing
from gridsite.hosting.capacity import hosting_capacity
from gridsite.hosting.grid_case import GridCase
from gridsite.hosting.sharing import shared_assets
from gridsite.hosting.thermal import ThermalModel, hot_spot_series

STEPS = 24
TAN = np.sqrt(1.0 / 0.98**2 - 1.0)
KINDS = ("equal", "proportional", "max")


def summer(mean):
    return mean + 8.0 * np.sin(2.0 * np.pi * np.arange(STEPS) / 24.0)


#: What binds: temperature and limits of ageing.
HOT = {
    "loss of life": Ageing(ambient_c=summer(52.0)),
    "hot-spot": Ageing(
        ambient_c=summer(32.0), loss_of_life_max=1e6, hot_spot_max_c=92.0
    ),
}


ODD = {"loss of life": "equal", "hot-spot": "proportional"}


@pytest.fixture
def aged(village_feeder, profiles, only):
    """Return a function that gives the village with a transformer that ages."""

    def case(ageing, *criteria, feeder=None):
        feeder = feeder or village_feeder(trafo_mva=0.05, vm_pu=1.02)
        limits = only("transformer ageing", *criteria)
        loads = profiles(feeder, steps=STEPS)
        return GridCase(feeder, loads, limits, ageing=ageing)

    return case


def run(grid, **options):
    return joint_capacity(grid.feeder, grid.profiles, grid=grid, **options)


def split(result, kind):
    return result.splits.set_index("port_id")[f"{kind}_kw"]


class Thermal:
    """Judge a set of loads by pandapower's currents and the thermal model."""

    def __init__(self, net, grid):
        self.net, self.ageing = net, grid.ageing
        p, q = grid.profiles.power_kw()
        names = net.load["name"]
        self.p, self.q = (
            pd.DataFrame(x, grid.profiles.port_ids).loc[names].to_numpy()
            for x in (p, q)
        )

    def passes(self, added_kw):
        net, added = self.net, added_kw.reindex(self.net.load["name"], fill_value=0.0)
        current = np.empty((2, STEPS))
        for step in range(STEPS):
            net.load["p_mw"] = (self.p[:, step] + added.to_numpy()) / 1e3
            net.load["q_mvar"] = (self.q[:, step] + added.to_numpy() * TAN) / 1e3
            pp.runpp(net, tolerance_mva=1e-9, numba=False)
            for i, side in enumerate(("hv", "lv")):
                rated = net.trafo.loc[0, "sn_mva"] / np.sqrt(3)
                rated /= net.trafo.loc[0, f"vn_{side}_kv"]
                current[i, step] = net.res_trafo.loc[0, f"i_{side}_ka"] / rated
        hot = hot_spot_series(current, self.ageing.ambient_c, 1.0)[1]
        life = ThermalModel().ageing_rate(hot).mean(axis=1).max()
        most = self.ageing.hot_spot_max_c
        return life <= self.ageing.loss_of_life_max and hot.max() <= most

    def largest(self, kw, width_kw, beside=0.0):
        """Return whether a set passes, and width_kw more of it does not."""
        more = kw * (1.0 + width_kw / kw.sum())
        return self.passes(kw + beside) and not self.passes(more + beside)


@pytest.mark.parametrize("name", HOT)
def test_every_kind_holds_in_the_thermal_model_and_a_little_more_does_not(
    name, aged, village
):
    grid = aged(HOT[name])
    result = run(grid, tolerance_kw=0.02)
    judge = Thermal(village(trafo_mva=0.05, vm_pu=1.02), grid)
    row = result.table.iloc[0]
    for kind in KINDS:
        kw = split(result, kind)
        assert kw.sum() > 1.0
        if kind != ODD[name]:  # each kind by one of the two
            assert judge.largest(kw, 0.03)
        assert row[f"{kind}_status"] == "ok"
        assert row[f"{kind}_criterion"] == "transformer ageing"
        assert row[f"{kind}_element"] == "T"
        replay = replay_loads(grid.feeder, grid.profiles, kw, grid=grid)
        assert replay.summary["new"] + replay.summary["worsened"] == 0
        more = replay_loads(grid.feeder, grid.profiles, kw * 1.02, grid=grid)
        assert set(more.violations["criterion"]) == {"transformer ageing"}
    assert row["joint_max_kw"] <= row["joint_max_bound_kw"] < 1.03 * row["joint_max_kw"]


def test_the_bound_holds_every_split_that_passes(aged, village):
    grid = aged(HOT["loss of life"])
    result = run(grid)
    firm = split(result, "firm")
    judge = Thermal(village(trafo_mva=0.05, vm_pu=1.02), grid)
    rng = np.random.default_rng(0)
    bound = result.table.iloc[0]["joint_max_bound_kw"]
    for spread in (0.1, 1.0):
        kw = firm * rng.dirichlet(np.full(len(firm), spread))
        assert not judge.passes(kw * (bound / kw.sum()))


@pytest.mark.parametrize("name", HOT)
def test_what_remains_beside_a_given_set_is_bisected_too(name, aged, village):
    grid = aged(HOT[name])
    given = 0.4 * split(run(grid), "max")
    result = run(grid, existing_kw=given, tolerance_kw=0.02)
    kw = split(result, "equal")
    judge = Thermal(village(trafo_mva=0.05, vm_pu=1.02), grid)
    assert judge.largest(kw, 0.03, beside=given)
    assert result.table.iloc[0]["equal_criterion"] == "transformer ageing"
    none = run(grid, existing_kw=2.0 * split(run(grid), "max")).table.iloc[0]
    assert none["max_status"] == "none_base_violation"
    assert none["joint_max_kw"] == 0.0
    assert (none["max_criterion"], none["max_element"]) == ("transformer ageing", "T")


def test_alone_and_together_are_the_same_for_one_connection(aged):
    grid = aged(HOT["loss of life"])
    table = hosting_capacity(grid.feeder, grid.profiles, grid=grid)
    result = run(grid, hosting=table, port_ids=pd.Index(["house 3"]))
    firm = table.set_index("port_id")["firm_kw"]["house 3"]
    for kind in KINDS:
        assert split(result, kind)["house 3"] == pytest.approx(firm, rel=1e-9)


def test_cool_transformers_change_nothing(aged):
    criteria = ("voltage", "line current", "transformer current")
    cool, without = (
        run(aged(ageing, *criteria)) for ageing in (Ageing(ambient_c=summer(5.0)), None)
    )
    pd.testing.assert_frame_equal(cool.table, without.table)
    pd.testing.assert_frame_equal(cool.splits, without.splits)


def test_hotter_never_leaves_more_and_never_more_than_the_nameplate(aged):
    criteria = ("voltage", "line current", "transformer current")
    totals = [
        run(aged(ageing, *criteria)).total
        for ageing in (
            None,
            replace(HOT["loss of life"], ambient_c=summer(40.0)),
            HOT["loss of life"],
        )
    ]
    for kind in KINDS:
        kw = [total[f"joint_{kind}_kw"] for total in totals]
        assert kw[0] + 0.1 >= kw[1] >= kw[2] > 0.0
        assert kw[2] < 0.8 * kw[0]


def test_a_transformer_that_ages_too_fast_already_leaves_nothing(aged):
    row = run(aged(Ageing(ambient_c=summer(85.0)))).table.iloc[0]
    for kind in KINDS:
        assert row[f"joint_{kind}_kw"] == 0.0
        assert row[f"{kind}_status"] == "none_base_violation"
        assert row[f"{kind}_element"] == "T"
    assert row["joint_max_bound_kw"] == 0.0


def test_two_transformers_are_cut_each_at_its_own_share(village, aged):
    """A small one beside the first ages sooner: it must not hold back the other."""
    net = village(trafo_mva=0.05, vm_pu=1.02)
    net.trafo["name"] = "T1"
    mv = pp.create_bus(net, 20.0, name="far")
    pp.create_line_from_parameters(net, 0, mv, 0.1, 0.3, 0.1, 0.0, 1.0, name="cable")
    lv = pp.create_bus(net, 0.4, name="second lv")
    pp.create_transformer_from_parameters(
        net, mv, lv, 0.02, 20.0, 0.4, 1.4, 4.0, 0.3, 0.3, name="T2"
    )
    pp.create_load(net, lv, 0.002, 0.0005, name="house far")
    # one block: a main transformer, so cool that it never binds
    top = pp.create_bus(net, 110.0, name="top")
    pp.create_transformer_from_parameters(
        net, top, 0, 20.0, 110.0, 20.0, 0.3, 10.0, 5.0, 0.05, name="main"
    )
    net.ext_grid["bus"] = top
    grid = aged(HOT["loss of life"], feeder=read_feeder(net))
    result = run(grid)
    assert len(result.table) == 1
    kw = split(result, "max")
    firm = split(result, "firm")
    # what is alone behind its transformer takes all of it
    assert kw["house far"] == pytest.approx(firm["house far"], rel=0.02)
    assert kw.drop("house far").sum() > 0.97 * firm.drop("house far").max()
    row = result.table.iloc[0]
    assert row["joint_max_bound_kw"] < 1.03 * row["joint_max_kw"]


def test_shared_assets_count_what_acts_on_an_ageing_transformer(aged):
    grid = aged(HOT["loss of life"])
    table = hosting_capacity(grid.feeder, grid.profiles, grid=grid)
    (row,) = shared_assets(table, grid).to_dict("records")
    assert (row["criterion"], row["element"]) == ("transformer ageing", "T")
    assert row["n_buildings"] == row["n_acting"] == 5
    assert row["joint_kw"] < 0.5 * row["sum_of_singles_kw"]
