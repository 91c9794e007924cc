"""Hosting capacity against the definitions, judged by pandapower alone."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandapower as pp
import pandas as pd
import pytest

from gridsite.errors import BaseCaseError, ConfigError, DataError
from gridsite.feeder.profiles import constant_profiles
from gridsite.feeder.read_pandapower import read_feeder
from gridsite.hosting.capacity import (
    _with_levels,
    capacity_summary,
    hosting_capacity,
    own_connections,
)
from gridsite.hosting.closed_steps import closing_row
from gridsite.hosting.envelope_dataset import read_envelope
from gridsite.hosting.grid_case import GridCase
from gridsite.hosting.limits import CRITERIA, Limits
from gridsite.hosting.search import largest_passing
from gridsite.hosting.settings import Settings

TOLERANCE_KW = 0.01


def rate(feeder, loads, limits=None, **options):
    options = {"tolerance_kw": TOLERANCE_KW, **options}
    table = hosting_capacity(feeder, loads, limits=limits, **options)
    return table.set_index("building_id")


def spiky(feeder, *, steps=24, seed=0, high=3.0):
    """Return profiles with one peak step per load."""
    rng = np.random.default_rng(seed)
    time = pd.date_range("2025-06-01", periods=steps, freq="h", tz="Europe/Berlin")
    shape = rng.uniform(0.0, 1.0, (len(feeder.ports), steps))
    shape[np.arange(len(shape)), rng.integers(0, steps, len(shape))] = high
    base = constant_profiles(
        feeder.ports.index, feeder.ports["p_kw"], feeder.ports["q_kvar"]
    )
    return dataclasses.replace(
        base,
        time=time,
        p_shapes=shape,
        q_shapes=shape,
        shape_of_port=np.arange(len(shape)),
    )


@pytest.fixture
def two_feeders(village):
    """Return a village and a second transformer at the same source, and loads."""
    net = village()
    lv = pp.create_bus(net, 0.4, name="second lv")
    pp.create_transformer_from_parameters(
        net, 0, lv, 0.1, 20.0, 0.4, 1.4, 4.0, 0.3, 0.3, name="T2"
    )
    pp.create_load(net, lv, 0.004, 0.001, name="house far")
    feeder = read_feeder(net)
    return feeder, spiky(feeder, steps=3, high=1.0)


# --- the definition ---

CASES = {
    "all limits": Limits(),
    "narrow band": Limits(voltage_min_pu=0.96, voltage_change_pu=0.05),
    "voltage only": Limits(criteria=("voltage",)),
    "lines only": Limits(criteria=("line current",)),
    "transformer only": Limits(criteria=("transformer current",)),
    "voltage change only": Limits(criteria=("voltage change",)),
    "source only": Limits(source_kva=60.0, criteria=("source",)),
    "loose lines": Limits(line_loading_max=1.2, transformer_loading_max=0.6),
}


@pytest.mark.parametrize("name", CASES)
def test_capacity_passes_and_two_tolerances_more_does_not(village, judge, name):
    net, limits = village(), CASES[name]
    feeder = read_feeder(net)
    loads = spiky(feeder, steps=3)
    table = rate(feeder, loads, limits)
    judged = judge(net, loads, limits)
    assert (table["firm_status"] == "ok").all()
    houses = table.index if "only" not in name else ["house 3", "house 5"]
    for house, row in table.loc[houses].iterrows():
        assert judged.new({house: row["firm_kw"]}) == []
        step = loads.time.get_loc(row["limit_time"])
        broken = judged.new({house: row["firm_kw"] + 2 * TOLERANCE_KW}, [step])
        element = row["limit_element"].removesuffix(" at mv")
        assert (row["limit_criterion"], element, step) in {
            (criterion, where, at) for criterion, where, _, at in broken
        }


def test_capacity_holds_below_a_reverse_flow(village, judge):
    net = village(ratings_a=(150.0, 120.0, 90.0, 60.0, 70.0))
    pp.create_sgen(net, 5, 0.030, name="sun")
    feeder = read_feeder(net)
    loads = spiky(feeder, steps=3, high=1.2)
    limits = Limits()
    table = rate(feeder, loads, limits)
    judged = judge(net, loads, limits)
    for house in ("house 1", "house 4"):
        firm = table.loc[house, "firm_kw"]
        for kw in (0.0, 0.3 * firm, 0.7 * firm, firm):
            assert judged.new({house: kw}) == []
        step = loads.time.get_loc(table.loc[house, "limit_time"])
        assert judged.new({house: firm + 2 * TOLERANCE_KW}, [step])


@pytest.mark.parametrize("power_factor", [0.9, 1.0])
def test_capacity_is_in_active_power_at_the_power_factor(village, judge, power_factor):
    net, limits = village(), Limits()
    feeder = read_feeder(net)
    loads = spiky(feeder, steps=2)
    table = rate(feeder, loads, limits, power_factor=power_factor)
    judged = judge(net, loads, limits, power_factor=power_factor)
    for house, row in table.iterrows():
        step = [loads.time.get_loc(row["limit_time"])]
        assert judged.new({house: row["firm_kw"]}, step) == []
        assert judged.new({house: row["firm_kw"] + 2 * TOLERANCE_KW}, step)


def test_every_binding_limit_kind_is_met_somewhere(village):
    feeder = read_feeder(village())
    loads = spiky(feeder, steps=3)
    seen = {
        c
        for limits in CASES.values()
        for c in rate(feeder, loads, limits)["limit_criterion"]
    }
    # ageing binds in tests of its own
    assert seen == set(CRITERIA) - {"service", "unbalance", "transformer ageing"}


@pytest.mark.parametrize("seed", range(4))
def test_screening_changes_no_capacity(village_feeder, profiles, seed):
    feeder = village_feeder(vm_pu=1.0 + 0.01 * seed)
    loads = profiles(feeder, steps=200, seed=seed, high=1.0 + 0.5 * seed)
    limits = Limits(voltage_min_pu=0.93, source_kva=95.0)
    fast, slow = (rate(feeder, loads, limits, screen=s) for s in (True, False))
    assert (fast["steps_solved"] < 200).any()
    assert (slow["steps_solved"] == 200).all()
    columns = ["firm_kw", "flexible_energy98_kw", "flexible_hours98_kw"]
    gap = (fast[columns] - slow[columns]).abs().max()
    assert gap["firm_kw"] <= TOLERANCE_KW
    assert (gap <= 2 * TOLERANCE_KW).all()
    for column in ("firm_status", "limit_criterion", "limit_element"):
        assert fast[column].tolist() == slow[column].tolist()


def test_order_of_connections_and_ports_changes_nothing(village, connections):
    net = village()
    feeder = read_feeder(net)
    net.load = net.load.iloc[::-1]
    net.line = net.line.sample(frac=1.0, random_state=1)
    turned = read_feeder(net)
    table = connections(feeder, service_a=[63.0, np.nan, 80.0, 200.0, 25.0])
    table["service_v"] = np.where(table["service_a"].notna(), 400.0, np.nan)
    shuffled = table.sample(frac=1.0, random_state=2)
    one = rate(feeder, spiky(feeder), connections=table)
    two = rate(feeder, spiky(feeder), connections=shuffled)
    assert two.index.tolist() == shuffled["building_id"].tolist()
    pd.testing.assert_frame_equal(one, two.loc[one.index])
    loads = spiky(feeder)
    three = rate(turned, loads, connections=table)
    assert (one["firm_kw"] - three["firm_kw"]).abs().max() < TOLERANCE_KW
    assert one["limit_element"].tolist() == three["limit_element"].tolist()


def test_index_labels_of_connections_do_not_matter(village_feeder, connections):
    feeder = village_feeder()
    table = connections(feeder)
    other = table.set_axis([7, 7, 3, 3, 0])
    one = rate(feeder, spiky(feeder), connections=table)
    two = rate(feeder, spiky(feeder), connections=other)
    assert one["firm_kw"].tolist() == two["firm_kw"].tolist()


def test_looser_limits_and_higher_ratings_never_lower_a_capacity(village):
    feeder = read_feeder(village())
    loads = spiky(feeder)
    before = rate(feeder, loads, Limits(voltage_min_pu=0.95))["firm_kw"]
    for low in (0.94, 0.92, 0.90):
        now = rate(feeder, loads, Limits(voltage_min_pu=low))["firm_kw"]
        assert (now >= before - TOLERANCE_KW).all()
        before = now
    wide = village(trafo_mva=0.1, ratings_a=(300.0, 240.0, 180.0, 220.0, 140.0))
    now = rate(read_feeder(wide), loads)["firm_kw"]
    assert (now >= before - TOLERANCE_KW).all()
    assert (now > before + 1.0).any()


def test_base_cases_at_hand_give_the_same_table(village_feeder):
    feeder = village_feeder()
    loads = spiky(feeder)
    grid = GridCase(feeder, loads, Limits())
    pd.testing.assert_frame_equal(rate(feeder, loads), rate(feeder, loads, grid=grid))


def test_repeat_gives_the_same_table(village_feeder):
    feeder = village_feeder()
    loads = spiky(feeder, steps=100)
    pd.testing.assert_frame_equal(rate(feeder, loads), rate(feeder, loads))


# --- statuses ---


def test_missing_rating_is_unrated_and_never_a_number(village):
    net = village(ratings_a=(150.0, 120.0, np.nan, 110.0, 70.0))
    feeder = read_feeder(net)
    table = rate(feeder, spiky(feeder))
    row = table.loc["house 3"]  # the one house behind L3
    assert row["firm_status"] == row["flexible_status"] == "unrated"
    values = ["firm_kw", "flexible_energy98_kw", "flexible_hours98_kw"]
    assert row[values].isna().all()
    assert (row["limit_criterion"], row["limit_element"]) == ("line current", "L3")
    rated = read_feeder(village(ratings_a=(150.0, 120.0, 1e5, 110.0, 70.0)))
    known = rate(rated, spiky(rated))
    rest = table.index.drop("house 3")
    assert table.loc[rest, "firm_status"].eq("ok").all()
    gap = table.loc[rest, "firm_kw"] - known.loc[rest, "firm_kw"]
    assert gap.abs().max() <= TOLERANCE_KW


def test_missing_rating_at_the_head_leaves_no_number(village):
    net = village(ratings_a=(np.nan, 120.0, 90.0, 110.0, 70.0))
    table = rate(feeder := read_feeder(net), spiky(feeder))
    behind = [f"house {i}" for i in (1, 2, 3, 4)]
    assert table.loc[behind, "firm_status"].eq("unrated").all()
    assert table.loc[behind, "firm_kw"].isna().all()
    assert table.loc["house 5", "firm_status"] == "ok"


def test_missing_rating_of_a_criterion_that_is_off_does_not_matter(village, only):
    net = village(ratings_a=(np.nan, 120.0, 90.0, 110.0, 70.0))
    table = rate(feeder := read_feeder(net), spiky(feeder), only("voltage"))
    assert table["firm_status"].eq("ok").all()


def test_search_cap_is_censored(village_feeder):
    feeder = village_feeder()
    table = rate(feeder, spiky(feeder), Limits(search_cap_kw=4.0))
    assert table["firm_status"].eq("censored").all()
    assert table["flexible_status"].eq("censored").all()
    assert table["firm_kw"].eq(4.0).all()
    assert table["limit_criterion"].eq("").all()
    free = rate(feeder, spiky(feeder))
    cap = float(free["firm_kw"].median()) + 0.5
    table = rate(feeder, spiky(feeder), Limits(search_cap_kw=cap))
    above = free["firm_kw"] > cap
    assert above.any()
    assert not above.all()
    assert (table["firm_status"].eq("censored") == above).all()


def test_no_limits_at_all_is_censored_or_not_converged(village_feeder):
    feeder = village_feeder()
    loads = spiky(feeder, steps=3)
    table = rate(feeder, loads, Limits(criteria=(), search_cap_kw=50.0))
    assert table["firm_status"].eq("censored").all()
    table = rate(feeder, loads, Limits(criteria=(), search_cap_kw=1e5))
    assert table["firm_status"].eq("not_converged").all()
    assert table["firm_kw"].isna().all()
    assert table["flexible_energy98_kw"].isna().all()


def test_collapse_at_another_step_than_the_lowest_is_not_converged(village_feeder):
    feeder = village_feeder()
    loads = spiky(feeder, steps=2)
    shape = np.array([[0.1, 9.0]] * 4 + [[65.0, 0.1]])  # house 5 alone, the others
    loads = dataclasses.replace(loads, p_shapes=shape, q_shapes=0.3 * shape)
    none = Limits(criteria=(), search_cap_kw=1e5)
    case = GridCase(feeder, loads, none).block("T")
    port = feeder.ports.index[case.block.ports].get_loc("house 3")
    added = np.linspace(10.0, 600.0, 591)

    def last(step):
        at = np.full(len(added), port), np.full(len(added), step)
        slack, _ = case.evaluate(*at, added)
        return added[slack > -np.inf].max()

    lowest = int(np.abs(case.v).min(axis=0).argmin())
    cap = 0.5 * (last(lowest) + last(1 - lowest))
    assert last(1 - lowest) < cap - 2.0
    table = rate(feeder, loads, Limits(criteria=(), search_cap_kw=cap))
    assert table.loc["house 3", "firm_status"] == "not_converged"
    assert np.isnan(table.loc["house 3", "firm_kw"])


def test_unsupplied_load_has_no_capacity(village):
    net = village()
    net.line.loc[2, "in_service"] = False  # L3, the only way to n3
    table = rate(feeder := read_feeder(net), spiky(feeder))
    row = table.loc["house 3"]
    assert row["firm_status"] == row["flexible_status"] == "unsupplied"
    assert np.isnan(row["firm_kw"])
    assert table["firm_status"].drop("house 3").eq("ok").all()


def test_load_at_the_source_bus_is_not_unsupplied(village):
    net = village()
    pp.create_load(net, 0, 0.004, name="at the source")
    table = rate(feeder := read_feeder(net), spiky(feeder))
    assert table.loc["at the source", "firm_status"] != "unsupplied"


# --- a base case that is broken already (N25) ---


def base_broken(village, **values):
    """Return a village in which house 4 alone overloads its line at step 3."""
    net = village(ratings_a=(150.0, 120.0, 90.0, 12.0, 70.0), **values)
    feeder = read_feeder(net)
    loads = spiky(feeder, steps=6)
    shape = np.full((5, 6), 1.0)
    shape[3, 3] = 2.5
    shape[3, 4] = 2.2
    return net, feeder, dataclasses.replace(loads, p_shapes=shape, q_shapes=shape)


def test_broken_line_stops_only_the_loads_that_act_on_it(village):
    net, feeder, loads = base_broken(village)
    table = rate(feeder, loads)
    row = table.loc["house 4"]
    assert (row["firm_status"], row["firm_kw"]) == ("none_base_violation", 0.0)
    # of six steps two are lost: more than 2 % of energy or of steps
    assert row["flexible_status"] == "ok"
    assert (row[["flexible_energy98_kw", "flexible_hours98_kw"]] == 0.0).all()
    assert (row["limit_criterion"], row["limit_element"]) == ("line current", "L4")
    assert row["limit_time"] == loads.time[3]
    net.line.loc[3, "max_i_ka"] = 10.0
    known = rate(read_feeder(net), loads)
    rest = table.index.drop("house 4")
    assert table.loc[rest, "firm_status"].eq("ok").all()
    gap = table.loc[rest, "firm_kw"] - known.loc[rest, "firm_kw"]
    assert gap.abs().max() <= TOLERANCE_KW


def test_steps_that_are_not_broken_leave_flexible_capacity(village, judge):
    net, feeder, loads = base_broken(village)
    row = rate(feeder, loads, levels=[0.65]).loc["house 4"]
    # the line is overloaded at steps 3 and 4 alone; four of six steps are 66.7 %
    quiet = [0, 1, 2, 5]
    known = rate(feeder, loads.at_steps(np.array(quiet))).loc["house 4"]
    assert known["firm_status"] == "ok"
    assert 1.0 < row["flexible_hours65_kw"] <= known["firm_kw"] + TOLERANCE_KW
    assert row["flexible_hours65_kw"] >= known["firm_kw"] - 0.05
    judged = judge(net, loads, Limits())
    assert judged.new({"house 4": row["flexible_hours65_kw"]}, quiet) == []
    assert judged.new({"house 4": row["flexible_hours65_kw"] + 0.1}, quiet)


def test_a_line_that_is_always_overloaded_leaves_nothing(village):
    net, _, loads = base_broken(village)
    net.line.loc[3, "max_i_ka"] = 0.001
    row = rate(read_feeder(net), loads, levels=[0.5]).loc["house 4"]
    assert row["firm_status"] == row["flexible_status"] == "none_base_violation"
    assert (row.filter(like="flexible_").drop("flexible_status") == 0.0).all()


def test_a_service_overdrawn_at_one_step_closes_that_step_alone(village):
    feeder = read_feeder(village())
    loads = spiky(feeder, steps=4, high=1.0)
    shape = np.full((5, 4), 0.5)
    shape[3, 2] = 3.0  # 12 kW, 17.9 A of 16 A
    loads = dataclasses.replace(loads, p_shapes=shape, q_shapes=shape)
    table = own_connections(feeder).assign(service_a=16.0, service_v=400.0)
    row = rate(feeder, loads, connections=table, levels=[0.75]).loc["house 4"]
    assert (row["firm_status"], row["firm_kw"]) == ("none_base_violation", 0.0)
    assert (row["limit_criterion"], row["limit_time"]) == ("service", loads.time[2])
    calm = loads.at_steps(np.array([0, 1, 3]))
    known = rate(feeder, calm, connections=table).loc["house 4"]
    assert row["flexible_hours75_kw"] == pytest.approx(known["firm_kw"], abs=0.02)


def test_every_flexible_value_passes_where_it_is_served_in_full(village, judge):
    net, limits = village(), Limits()
    feeder = read_feeder(net)
    loads = spiky(feeder, steps=24)
    table = rate(feeder, loads, limits, levels=[0.8])
    judged = judge(net, loads, limits)
    for house, row in table.iterrows():
        for level, served in ((95, 23), (80, 20)):
            kw = row[f"flexible_hours{level}_kw"]
            held = [judged.new({house: kw}, [step]) == [] for step in range(24)]
            assert sum(held) >= served


def test_broken_line_does_not_matter_where_its_criterion_is_off(village, only):
    _, feeder, loads = base_broken(village)
    table = rate(feeder, loads, only("voltage", "transformer current"))
    assert table["firm_status"].eq("ok").all()


def share_of_drop(net, judge, loads, at_bus):
    """Return for each house: drop at a bus over the drop at its own connection."""
    judged = judge(net, loads, Limits())
    house_bus = net.bus["name"].loc[net.load["bus"]].set_axis(net.load["name"])
    (_, before), shares = judged.values(0, {}), {}
    for house, bus in house_bus.items():
        _, after = judged.values(0, {house: 1.0})
        drop = before - after
        shares[house] = drop[at_bus] / drop[bus]
    return pd.Series(shares)


def test_broken_voltage_stops_only_the_loads_that_act_on_the_bus(village, judge):
    net = village(load_mw=0.003)
    feeder = read_feeder(net)
    loads = spiky(feeder, steps=4, high=1.0)
    shape = np.full((5, 4), 1.0)
    shape[2, 2] = 10.0  # house 3 pulls its own end down at step 2
    loads = dataclasses.replace(loads, p_shapes=shape, q_shapes=shape)
    quiet = dataclasses.replace(
        loads, p_shapes=np.ones((5, 4)), q_shapes=np.ones((5, 4))
    )
    shares = share_of_drop(net, judge, quiet, "n3")
    acting = shares.drop("house 5")
    middle = 0.5 * (shares["house 5"] + acting.min())
    assert shares["house 5"] < middle < acting.min()
    _, lowest = judge(net, loads, Limits()).values(2, {})
    assert lowest["n3"] < lowest.drop("n3").min() - 0.006
    limits = Limits(voltage_min_pu=lowest["n3"] + 0.003, acts_on=middle)
    table = rate(feeder, loads, limits)
    for house in acting.index:
        row = table.loc[house]
        assert row["firm_status"] == "none_base_violation"
        assert row["firm_kw"] == 0.0
        assert (row["limit_criterion"], row["limit_element"]) == ("voltage", "n3")
        assert row["limit_time"] == loads.time[2]
    assert table.loc["house 5", "firm_status"] == "ok"
    assert table.loc["house 5", "firm_kw"] > 1.0


def sunny(village, *, evening):
    """
    Return a village whose L4 is overloaded by sun at noon (step 1).

    In the evening (step 2) its load is that many times 4 kW.
    """
    net = village(ratings_a=(150.0, 120.0, 90.0, 20.0, 70.0))
    pp.create_sgen(net, 5, 0.020, name="sun")
    feeder = read_feeder(net)
    loads = spiky(feeder, steps=3)
    shape = np.full((6, 3), 0.5)
    shape[3] = [0.5, 0.5, evening]  # house 4
    shape[5] = [0.0, 1.0, 0.0]  # sun
    return feeder, dataclasses.replace(loads, p_shapes=shape, q_shapes=shape)


def test_load_that_relieves_a_broken_line_keeps_its_capacity(village):
    feeder, loads = sunny(village, evening=0.5)
    case = GridCase(feeder, loads, Limits()).block("T")
    assert case.broken.any(axis=1).sum() == 2  # both ends of L4
    assert case.broken.any(axis=0).tolist() == [False, True, False]
    table = rate(feeder, loads)
    row = table.loc["house 4"]
    assert row["firm_status"] == "ok"
    assert row["firm_kw"] > 5.0
    names = feeder.ports.index[case.block.ports]
    house = names.get_indexer(["house 4"])
    assert case.acts_on[case.broken_rows, house[0]].any()
    assert closing_row(case, house, np.array([1])).tolist() == [-1]


def test_load_that_relieves_at_noon_and_worsens_at_night_has_no_capacity(village):
    feeder, loads = sunny(village, evening=3.6)
    case = GridCase(feeder, loads, Limits()).block("T")
    assert case.broken.any(axis=0).tolist() == [False, True, True]
    noon, night = case.slack.min(axis=0)[1:]
    assert noon < night < 0.0  # noon is the deeper one
    row = rate(feeder, loads, levels=[0.5]).loc["house 4"]
    assert row["firm_status"] == "none_base_violation"
    assert row["firm_kw"] == 0.0
    assert row["limit_element"] == "L4"
    # nor is noon open: beyond what it relieves, a load would overload the line again
    assert row["flexible_hours50_kw"] == 0.0


def test_other_levels_of_rows_without_a_value_are_those_of_the_usual_ones():
    table = pd.DataFrame(
        {
            "flexible_status": ["ok", "none_base_violation", "unrated"],
            "flexible_energy98_kw": [7.0, 0.0, np.nan],
            "flexible_energy90_kw": [9.0, 55.0, 55.0],
            "flexible_hours90_kw": [8.0, 55.0, 55.0],
        }
    )
    settings = Settings(power_factor=1.0, tolerance_kw=0.1, screen=True, levels=(0.9,))
    out = _with_levels(table, settings)
    assert out["flexible_energy90_kw"].tolist()[:2] == [9.0, 0.0]
    assert np.isnan(out["flexible_energy90_kw"].iloc[2])


def test_high_voltage_in_the_base_case_does_not_stop_a_load(village):
    feeder = read_feeder(village(vm_pu=1.09))
    loads = spiky(feeder)
    known = rate(feeder, loads)
    table = rate(feeder, loads, Limits(voltage_max_pu=1.03))
    assert table["firm_kw"].tolist() == known["firm_kw"].tolist()
    assert table["firm_status"].eq("ok").all()


def test_hopeless_base_case_is_an_error_that_names_feeder_and_step(village_feeder):
    feeder = village_feeder()
    loads = spiky(feeder, steps=5)
    shape = loads.p_shapes.copy()
    shape[2, 3] = 500.0
    loads = dataclasses.replace(loads, p_shapes=shape, q_shapes=shape)
    with pytest.raises(BaseCaseError, match="'T'") as error:
        rate(feeder, loads)
    assert error.value.scenario == loads.time[3]
    assert "1 step(s)" in str(error.value)


def test_hopeless_feeder_leaves_the_other_feeders_their_values(two_feeders):
    feeder, loads = two_feeders
    shape = loads.p_shapes.copy()
    shape[:5, 1] = 500.0  # all of the village at step 1
    bad = dataclasses.replace(loads, p_shapes=shape, q_shapes=shape)
    known, table = rate(feeder, loads), rate(feeder, bad)
    village = table["feeder_id"] == "T"
    assert table.loc[village, "firm_status"].eq("not_converged").all()
    assert table.loc[village, "flexible_status"].eq("not_converged").all()
    assert table.loc[village, "firm_kw"].isna().all()
    assert table.loc["house far", "firm_status"] == "ok"
    assert table.loc["house far", "firm_kw"] == known.loc["house far", "firm_kw"]


@pytest.fixture
def at_source(village, connections):
    """Return a village with a load at the source, its connections and loads."""
    net = village()
    pp.create_load(net, 0, 0.010, 0.002, name="head")
    feeder = read_feeder(net)
    return feeder, connections(feeder), spiky(feeder, steps=3, high=1.0)


@pytest.mark.parametrize(
    ("amps", "volts", "status"),
    [
        (np.nan, np.nan, "censored"),
        (63.0, 400.0, "ok"),
        (6.0, 400.0, "none_base_violation"),
        (63.0, np.nan, "unrated"),
    ],
)
def test_load_at_the_source_bus_keeps_its_service(at_source, amps, volts, status):
    feeder, table, loads = at_source
    head = table["port_id"] == "head"
    table.loc[head, ["service_a", "service_v"]] = (amps, volts)
    row = rate(feeder, loads, connections=table).loc["head"]
    assert row["firm_status"] == status
    if status == "ok":
        assert row["firm_kw"] == row["service_headroom_kw"] > 25.0
        assert row["limit_criterion"] == "service"
    if status == "none_base_violation":
        assert row["firm_kw"] == 0.0
    if status == "unrated":
        assert np.isnan(row["firm_kw"])


def test_two_buildings_may_share_a_load_at_the_source(at_source):
    feeder, table, loads = at_source
    twin = table[table["port_id"] == "head"].assign(building_id="annex")
    out = rate(feeder, loads, connections=pd.concat([table, twin]))
    assert out.loc["annex", "firm_status"] == out.loc["head", "firm_status"]


# --- single criteria ---


def test_source_limit_binds_when_it_should(village_feeder, only):
    feeder = village_feeder()
    loads = spiky(feeder, steps=6)
    free = rate(feeder, loads, Limits())["firm_kw"]
    table = rate(feeder, loads, Limits(source_kva=40.0))
    assert table["limit_criterion"].eq("source").all()
    assert table["limit_element"].eq("source at mv").all()
    assert (table["firm_kw"] < free).all()
    off = only(*[c for c in CRITERIA if c != "source"], source_kva=40.0)
    assert (rate(feeder, loads, off)["firm_kw"] == free).all()


def test_source_limit_shared_by_several_feeders_is_refused(two_feeders):
    feeder, loads = two_feeders
    with pytest.raises(ConfigError, match="source_kva"):
        rate(feeder, loads, Limits(source_kva=100.0))
    table = rate(feeder, loads)
    assert set(table["feeder_id"]) == {"T", "T2"}


def test_voltage_change_binds_when_it_should(village_feeder):
    feeder = village_feeder()
    loads = spiky(feeder, steps=6)
    limits = Limits(voltage_change_pu=0.01)
    table = rate(feeder, loads, limits)
    assert table["limit_criterion"].eq("voltage change").all()
    assert table["limit_element"].tolist() == table["bus"].tolist()


@pytest.mark.parametrize(
    ("criterion", "values", "net"),
    [
        ("voltage", {"voltage_min_pu": 0.965}, {}),
        ("voltage change", {"voltage_change_pu": 0.01}, {}),
        ("line current", {"line_loading_max": 0.25}, {}),
        ("transformer current", {"transformer_loading_max": 0.45}, {}),
        ("source", {"source_kva": 45.0}, {}),
    ],
)
def test_each_criterion_binds_and_can_be_switched_off(
    village_feeder, only, criterion, values, net
):
    feeder = village_feeder(load_mw=0.003, **net)
    loads = spiky(feeder, steps=6, high=1.5)
    on = rate(feeder, loads, Limits(**values))
    off = only(*[c for c in CRITERIA if c != criterion], **values)
    free = rate(feeder, loads, off)
    bound = on["limit_criterion"] == criterion
    assert bound.any()
    assert not free["limit_criterion"].eq(criterion).any()
    assert not free["second_criterion"].eq(criterion).any()
    assert (free.loc[bound, "firm_kw"] > on.loc[bound, "firm_kw"] + 0.1).all()
    kept = on[~bound]
    assert (free.loc[kept.index, "firm_kw"] - kept["firm_kw"]).abs().max() < 0.011 or (
        not len(kept)
    )


def test_second_limit_is_of_another_criterion(village_feeder):
    feeder = village_feeder()
    table = rate(feeder, spiky(feeder))
    assert table["second_criterion"].ne("").all()
    assert (table["second_criterion"] != table["limit_criterion"]).all()


# --- the building's own service ---


def with_service(connections, feeder, amps):
    table = connections(feeder, service_a=amps)
    table["service_v"] = 400.0
    return table


def test_service_binds_at_the_step_of_its_own_peak(village_feeder, connections):
    feeder = village_feeder()
    loads = spiky(feeder)
    amps = [25.0, 25.0, 25.0, 1000.0, 25.0]
    table = rate(feeder, loads, connections=with_service(connections, feeder, amps))
    free = rate(feeder, loads)
    p, q = loads.power_kw()
    rated = np.sqrt(3) * 0.4 * 25.0
    tan_phi = np.sqrt(1 / 0.98**2 - 1)
    for i, house in enumerate(free.index):
        row = table.loc[house]
        if i == 3:
            assert row["firm_kw"] == pytest.approx(free.loc[house, "firm_kw"], abs=0.01)
            assert row["limit_criterion"] != "service"
            continue
        peak = np.hypot(p[i], q[i]).argmax()
        assert row["firm_kw"] == pytest.approx(row["service_headroom_kw"], abs=0.011)
        assert row["firm_kw"] <= row["service_headroom_kw"]
        total = np.hypot(
            p[i, peak] + row["service_headroom_kw"],
            q[i, peak] + tan_phi * row["service_headroom_kw"],
        )
        assert total == pytest.approx(rated, rel=1e-9)
        assert (row["limit_criterion"], row["limit_element"]) == ("service", house)
        assert row["limit_time"] == loads.time[peak]
        assert row["firm_status"] == "ok"
        assert row["flexible_hours98_kw"] >= row["firm_kw"]


def test_service_can_be_switched_off(village_feeder, connections, only):
    feeder = village_feeder()
    loads = spiky(feeder)
    table = with_service(connections, feeder, 16.0)
    off = only(*[c for c in CRITERIA if c != "service"])
    out = rate(feeder, loads, off, connections=table)
    assert out["firm_kw"].tolist() == rate(feeder, loads)["firm_kw"].tolist()
    assert out["service_headroom_kw"].isna().all()


def test_service_of_unknown_voltage_is_never_a_capacity(village_feeder, connections):
    feeder = village_feeder()
    table = connections(feeder, service_a=[63.0, np.nan, np.nan, np.nan, np.nan])
    try:
        row = rate(feeder, spiky(feeder), connections=table).loc["house 1"]
    except DataError:
        return
    assert row["firm_status"] == "unrated"
    assert np.isnan(row["firm_kw"])


def test_building_beyond_its_own_fuse_has_no_capacity(village_feeder, connections):
    feeder = village_feeder()
    loads = spiky(feeder)
    table = with_service(connections, feeder, 6.0)  # 4.2 kVA, peaks are 12 kVA
    out = rate(feeder, loads, connections=table)
    assert (out["firm_kw"] == 0.0).all()
    assert out["firm_status"].eq("none_base_violation").all()
    assert out["limit_criterion"].eq("service").all()


# --- connections ---


def test_two_buildings_on_one_port_each_get_the_ports_capacity(
    village_feeder, connections
):
    feeder = village_feeder()
    table = connections(feeder)
    twin = table.iloc[[2]].assign(building_id="annex")
    out = rate(feeder, spiky(feeder), connections=pd.concat([table, twin]))
    assert out.loc["annex", "firm_kw"] == out.loc["house 3", "firm_kw"]
    assert out.loc["annex", "port_id"] == "house 3"


def test_unknown_port_is_refused_by_name(village_feeder, connections):
    feeder = village_feeder()
    table = connections(feeder)
    table.loc[1, "port_id"] = "nowhere"
    with pytest.raises(DataError, match="nowhere"):
        rate(feeder, spiky(feeder), connections=table)


def test_load_without_a_profile_is_refused_by_name(village_feeder):
    feeder = village_feeder()
    loads = spiky(feeder).select(["house 1", "house 2", "house 4", "house 5"])
    with pytest.raises(DataError, match="house 3"):
        rate(feeder, loads)


@pytest.mark.parametrize(
    "options",
    [
        {"power_factor": 0.3},
        {"power_factor": 1.1},
        {"power_factor": np.nan},
        {"tolerance_kw": 0.0},
        {"tolerance_kw": np.nan},
    ],
)
def test_options_out_of_range_are_refused(village_feeder, options):
    feeder = village_feeder()
    with pytest.raises(ConfigError):
        hosting_capacity(feeder, spiky(feeder, steps=2), **options)


def test_feeder_without_loads_is_refused():
    net = pp.create_empty_network()
    pp.create_bus(net, 0.4, name="a")
    pp.create_bus(net, 0.4, name="b")
    pp.create_ext_grid(net, 0)
    pp.create_line_from_parameters(net, 0, 1, 0.1, 0.3, 0.08, 0.0, 0.1, name="L")
    pp.create_sgen(net, 1, 0.001, name="sun")
    feeder = read_feeder(net)
    with pytest.raises(DataError, match="no load"):
        hosting_capacity(feeder, constant_profiles(["sgen: sun"], [0.0], [0.0]))


def test_summary_counts_what_the_table_holds(village):
    net = village(ratings_a=(150.0, 120.0, np.nan, 110.0, 70.0))
    feeder = read_feeder(net)
    table = hosting_capacity(feeder, spiky(feeder))
    out = capacity_summary(table)
    assert out["buildings"] == 5
    assert out["status"] == {"ok": 4, "unrated": 1}
    assert out["firm_kw_sum_of_singles"] == pytest.approx(table["firm_kw"].sum())


def test_envelope_beside_closed_steps_is_that_of_brute_force(village, tmp_path):
    pytest.importorskip("h5netcdf")
    feeder = read_feeder(village(load_mw=0.006))
    loads = spiky(feeder, steps=1_500, high=2.5)
    shape = np.random.default_rng(3).uniform(0.2, 1.9, (5, 1_500))
    loads = dataclasses.replace(loads, p_shapes=shape, q_shapes=shape)
    limits = Limits(criteria=("voltage",), voltage_min_pu=0.978)
    path = tmp_path / "envelope.nc"
    table = rate(feeder, loads, limits, envelope=path)
    with read_envelope(path) as data:
        kw = data["headroom_kw"].to_pandas().set_axis(data["building_id"].values)
    case = GridCase(feeder, loads, limits).block(feeder.nodes["feeder_id"].max())
    names = case.feeder.ports.index[case.block.ports]
    near = ["house 1", "house 2", "house 3", "house 4"]
    assert (table.loc[near, "firm_status"] == "none_base_violation").all()
    for house, row in kw.iterrows():
        port = np.full(1_500, names.get_loc(house))
        step, cap = np.arange(1_500), np.full(1_500, 1e4)
        truth = largest_passing(case, port, step, np.full(1_500, 9.0), cap, 1e-3).kw
        closed = (case.broken & case.acts_on[: case.n_row, port[:1]]).any(axis=0)
        truth[closed] = 0.0
        assert 0.02 < closed.mean() < 0.9 or house == "house 5"
        assert ((row.to_numpy() == 0.0) == closed).all()
        assert (row - truth).max() <= 0.05
        assert (row - truth).min() >= -0.3
