"""Sharing rules at each step, and which buildings share the limit that binds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from gridsite.errors import ConfigError, DataError
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.hosting.capacity import hosting_capacity
from gridsite.hosting.grid_case import GridCase
from gridsite.hosting.limits import Limits
from gridsite.hosting.sharing import shared_assets, shared_headroom

LIMITS = Limits(
    voltage_min_pu=0.94, criteria=("voltage", "line current", "transformer current")
)


@pytest.fixture
def street(village, profiles, judge):
    """Return (grid, judge) of the village over twelve hours."""
    net = village()
    feeder = read_feeder(net)
    loads = profiles(feeder, steps=12, seed=4)
    return GridCase(feeder, loads, LIMITS), judge(net, loads, LIMITS)


def share(grid, rating_kw, **options):
    return shared_headroom(grid.feeder, grid.profiles, rating_kw, grid=grid, **options)


class TestSharedHeadroom:
    @pytest.mark.parametrize("rule", ["pro_rata", "last_in"])
    def test_pandapower_finds_every_step_clean_and_full(self, street, rule):
        grid, arbiter = street
        rating = pd.Series({"house 1": 25.0, "house 3": 20.0, "house 5": 30.0})
        served = share(grid, rating, rule=rule)
        assert list(served.columns) == list(rating.index)
        assert (served.index == grid.profiles.time).all()
        assert ((served >= 0.0) & (served <= rating + 1e-9)).all().all()
        curtailed = (served < rating - 1e-9).any(axis=1)
        assert curtailed.sum() > 3
        for step, kw in enumerate(served.to_numpy()):
            assert arbiter.found(dict(zip(rating.index, kw, strict=True)), [step]) == []
            for name in rating.index[kw < rating.to_numpy() - 1e-6]:
                more = dict(zip(rating.index, kw, strict=True))
                more[name] += 1.0
                assert arbiter.found(more, [step]), (step, name)

    def test_pro_rata_gives_equal_shares_behind_one_limit(self, street):
        grid, _ = street
        rating = pd.Series({"house 2": 60.0, "house 3": 30.0})
        served = share(grid, rating)
        part = served / rating
        assert (part["house 2"] < 1.0).any()
        same = (part["house 2"] - part["house 3"]).abs() < 1e-9
        assert same[part["house 2"] < 1.0].any()

    def test_units_that_do_not_act_on_the_limit_go_on(self, village, profiles):
        """A thin line to house 5 does not hold back house 3."""
        feeder = read_feeder(village(ratings_a=(150.0, 120.0, 90.0, 110.0, 20.0)))
        grid = GridCase(feeder, profiles(feeder, steps=3), LIMITS)
        served = share(grid, pd.Series({"house 3": 4.0, "house 5": 30.0}))
        assert (served["house 5"] < 20.0).all()
        assert (served["house 3"] == 4.0).all()

    def test_last_in_serves_the_first_as_if_alone(self, street):
        grid, _ = street
        rating = pd.Series({"house 3": 40.0, "house 2": 40.0})
        alone = share(grid, rating.iloc[:1], rule="last_in")
        both = share(grid, rating, rule="last_in")
        turned = share(grid, rating.iloc[::-1], rule="last_in")
        assert np.allclose(both["house 3"], alone["house 3"], atol=1e-9)
        assert (both["house 3"] >= turned["house 3"] - 0.06).all()
        assert (both["house 3"] > turned["house 3"] + 1.0).any()

    def test_one_unit_draws_its_headroom_at_each_step(self, street):
        """The least over steps of an unlimited unit is the firm capacity."""
        grid, _ = street
        served = share(grid, pd.Series({"house 2": 500.0}), tolerance_kw=1e-3)
        table = hosting_capacity(
            grid.feeder, grid.profiles, grid=grid, tolerance_kw=1e-3
        )
        firm = table.set_index("port_id").loc["house 2", "firm_kw"]
        assert served["house 2"].min() == pytest.approx(firm, abs=3e-3)

    def test_a_limit_that_is_broken_already_leaves_nothing(self, village, profiles):
        feeder = read_feeder(village(trafo_mva=0.02))
        grid = GridCase(feeder, profiles(feeder, steps=6), LIMITS)
        broken = grid.block("T").broken.any(axis=0)
        assert 0 < broken.sum() < 6
        served = share(grid, pd.Series({"house 1": 5.0, "house 4": 5.0}))
        assert (served[broken].sum(axis=1) < 0.2).all()

    @pytest.mark.parametrize(
        ("rating", "options", "error", "words"),
        [
            ({"house 1": 5.0}, {"rule": "auction"}, ConfigError, "auction"),
            ({"house 1": 5.0}, {"tolerance_kw": -1.0}, ConfigError, "tolerance_kw"),
            ({"castle": 5.0}, {}, DataError, "castle"),
            ({"house 1": np.nan}, {}, DataError, "not finite"),
            ({"house 1": -2.0}, {}, DataError, "negative"),
        ],
    )
    def test_hostile_input_is_refused(self, street, rating, options, error, words):
        with pytest.raises(error, match=words):
            share(street[0], pd.Series(rating), **options)

    def test_a_port_that_stands_twice_is_refused(self, street):
        twice = pd.Series([1.0, 2.0], index=["house 1", "house 1"])
        with pytest.raises(DataError, match="twice"):
            share(street[0], twice)


class TestSharedAssets:
    def test_buildings_are_grouped_by_the_limit_that_binds_them(self, street):
        grid, _ = street
        table = hosting_capacity(grid.feeder, grid.profiles, grid=grid)
        assets = shared_assets(table, grid)
        by = table.groupby(["limit_criterion", "limit_element"])["building_id"]
        groups = {key: sorted(ids) for key, ids in by}
        found = assets.set_index(["criterion", "element"])
        assert found["buildings"].to_dict() == groups
        assert assets["n_buildings"].is_monotonic_decreasing
        assert (assets["joint_kw"] <= assets["sum_of_singles_kw"] + 1e-9).all()
        firm = table.set_index("building_id")["firm_kw"]
        for row in assets.itertuples():
            assert row.sum_of_singles_kw == pytest.approx(firm[row.buildings].sum())
            assert row.joint_kw >= firm[row.buildings].max() - 1e-9
            assert row.n_acting >= row.n_buildings

    def test_a_transformer_binds_and_is_acted_on_by_all(self, village, profiles):
        feeder = read_feeder(village(trafo_mva=0.03))
        grid = GridCase(feeder, profiles(feeder, steps=4, high=1.0), LIMITS)
        table = hosting_capacity(feeder, grid.profiles, grid=grid)
        (row,) = shared_assets(table, grid).itertuples()
        assert (row.criterion, row.element) == ("transformer current", "T")
        assert row.n_buildings == row.n_acting == 5
        assert row.sum_of_singles_kw > 4.5 * row.joint_kw

    def test_a_line_is_acted_on_by_what_lies_behind_it(self, village, profiles):
        feeder = read_feeder(village(ratings_a=(150.0, 40.0, 30.0, 150.0, 150.0)))
        grid = GridCase(feeder, profiles(feeder, steps=4), LIMITS)
        table = hosting_capacity(feeder, grid.profiles, grid=grid)
        assets = shared_assets(table, grid).set_index("element")
        assert assets.loc["L2", "buildings"] == ["house 2"]
        assert assets.loc["L2", "n_acting"] == 2

    def test_own_limits_are_no_shared_assets(self, street, connections):
        grid, _ = street
        own = connections(grid.feeder, service_a=10.0, service_v=400.0)
        limits = Limits()
        grid = GridCase(grid.feeder, grid.profiles, limits)
        table = hosting_capacity(grid.feeder, grid.profiles, grid=grid, connections=own)
        assert shared_assets(table, grid).empty

    def test_an_unknown_port_is_refused(self, street):
        grid, _ = street
        table = hosting_capacity(grid.feeder, grid.profiles, grid=grid)
        table.loc[0, "port_id"] = "castle"
        with pytest.raises(DataError, match="castle"):
            shared_assets(table, grid)
