import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridsite.errors import DataError
from gridsite.report.display import (
    BROKEN_COLOUR,
    CAPACITY_COLOURS,
    LOADING,
    MISSING_COLOUR,
    ZERO_COLOUR,
    capacity_look,
    limit_colours,
    limit_look,
    moment,
    quantile_classes,
    quantity,
)
from gridsite.report.layers import (
    building_layer,
    central_points,
    placed_units,
    real_time_workload,
    served_latency,
)

numbers = st.floats(0.0, 1e5).map(lambda x: round(x, 3))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(numbers, st.none()), min_size=1, max_size=60))
def test_each_value_lies_in_the_class_it_is_put_in(values):
    series = pd.Series(values, dtype=float)
    classes = quantile_classes(series, CAPACITY_COLOURS, "kW")
    edges = [-np.inf, *classes.upper, np.inf]
    assert len(classes.colours) == len(classes.labels) == len(edges) - 1
    assert list(classes.upper) == sorted(set(classes.upper))
    for value, number in zip(series, classes.index(series), strict=True):
        if np.isnan(value):
            assert number == -1
        else:
            assert edges[number] < value <= edges[number + 1]


def test_classes_of_one_value_and_of_none():
    assert quantile_classes(pd.Series([7.0, 7.0]), ["#fff"], "kW").labels == ("7 kW",)
    empty = quantile_classes(pd.Series([np.nan]), CAPACITY_COLOURS, "kW")
    assert empty.upper == ()
    assert empty.colour(pd.Series([np.nan])).tolist() == [MISSING_COLOUR]


def test_a_loading_of_exactly_100_percent_is_not_an_overload():
    colours = LOADING.colour(pd.Series([100.0, 100.001, np.nan]))
    assert colours.tolist() == [*LOADING.colours[-2:], MISSING_COLOUR]


def test_gaps_zeros_and_broken_limits_never_look_like_capacity():
    status = ["ok", "ok", "none_base_violation", "unrated", "not_converged", "censored"]
    values = pd.Series([10.0, 0.0, 0.0, np.nan, 99.0, 43.0])
    colours, legend = capacity_look(values, pd.Series(status))
    assert colours[1] == ZERO_COLOUR
    assert colours[2] == BROKEN_COLOUR
    assert colours[3] == colours[4] == MISSING_COLOUR
    assert colours[0] in CAPACITY_COLOURS
    assert colours[5] in CAPACITY_COLOURS
    assert CAPACITY_COLOURS.index(colours[0]) < CAPACITY_COLOURS.index(colours[5])
    counts = [int(s.label.rsplit("(", 1)[1].rstrip(")")) for s in legend]
    assert sum(counts) == len(values)
    assert {s.colour for s in legend} == set(colours)


def test_kinds_of_limit_have_colours_of_their_own():
    kinds = ["voltage", "voltage change", "line current", "transformer current"]
    colours = limit_colours([*kinds, "service", "unbalance", "something new"])
    assert len(set(colours.values())) == 7
    assert limit_colours(["voltage"])["voltage"] == colours["voltage"]


def test_the_legend_of_limits_counts_every_building_once():
    criterion = pd.Series(["voltage", "voltage", "service", "", np.nan])
    status = pd.Series(["ok", "none_base_violation", "ok", "censored", "no_connection"])
    colours, legend = limit_look(criterion, status)
    assert colours[3] == colours[4] == MISSING_COLOUR
    assert colours[0] == colours[1] != colours[2]
    labels = [s.label for s in legend]
    assert labels == [
        "service (1)",
        "voltage (2)",
        "striped: broken without new load (1)",
        "none found or not rated (2)",
    ]


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), "12", pd.NA])
def test_what_is_no_number_reads_as_such(value):
    assert quantity(value, "kW") == "n/a"


def test_moments():
    assert moment(pd.Timestamp("2020-05-01 12:30", tz="UTC")) == "2020-05-01 12:30+0000"
    assert moment(17) == "17"
    assert moment(pd.NaT) == moment(None) == moment(float("nan")) == ""


def test_the_best_connection_stands_for_a_building(make_results):
    hosting = make_results().hosting
    extra = hosting.iloc[[0, 0]].assign(port_id=["X1", "X2"], firm_kw=[40.0, np.nan])
    layer = building_layer(make_results(hosting=pd.concat([hosting, extra])))
    first = layer.set_index("building_id").loc["B0"]
    assert len(layer) == 4
    assert (first["firm_kw"], first["port_id"]) == (40.0, "X1")
    assert first["connections"] == 3


def test_a_building_without_connection_is_named_so(make_results):
    layer = building_layer(make_results(hosting=make_results().hosting.iloc[:3]))
    assert layer["firm_status"].tolist()[3] == "no_connection"
    assert layer["building_id"].tolist() == ["B0", "B1", "B2", "B3"]


def test_tables_of_different_runs_are_refused(make_results):
    good = make_results()
    other = good.hosting.assign(building_id=["B0", "B1", "B2", "X"])
    with pytest.raises(DataError, match=r"hosting: 1 building_id.*'X'"):
        building_layer(make_results(hosting=other))
    plan = good.plan.assign(building_id=["B0", "B0", "Y", ""])
    with pytest.raises(DataError, match=r"plan: 1 building_id.*'Y'"):
        placed_units(make_results(plan=plan))


def test_units_are_those_of_the_last_period_without_central_sites(make_results):
    units = placed_units(make_results())
    assert units.index.tolist() == ["B0", "B1"]
    assert units["count"].tolist() == [2, 1]
    assert units["rated_kw"].tolist() == [25.0, 12.5]
    assert units["existing"].tolist() == [0, 1]
    assert units["mix"].tolist() == ["2 x xfra", "1 x xfra"]


def test_latency_is_weighted_by_demand_in_the_last_period(make_results):
    served = served_latency(make_results()).set_index(["zone_id", "workload"])
    row = served.loc[("Z0", "real-time")]
    assert row["mean_ms"] == pytest.approx((30 * 8 + 10 * 12) / 40)
    assert row["worst_ms"] == 12.0
    assert row["it_kw"] == 40.0
    assert ("Z1", "real-time") not in served.index


def test_the_tightest_workload_is_the_real_time_one(make_results):
    assert real_time_workload(make_results()) == "real-time"
    assert real_time_workload(make_results(siting=False)) is None


def test_central_sites_without_a_place_have_no_point(make_results):
    sites = [{"site_id": "A", "it_kw": 5.0}, {"site_id": "B", "lon": 8.0, "lat": 50.0}]
    points = central_points(make_results(summary={"central": sites}))
    assert points.geometry.isna().tolist() == [True, False]
    assert central_points(make_results(siting=False)).empty
