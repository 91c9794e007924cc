from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from gridsite.errors import ConfigError, DataError
from gridsite.siting import SitingProblem, allow_unserved, restrict_sites
from gridsite.siting.problem import add_rows


def spoil(tables, name, column, value, row=0):
    """Put one wrong value into a table."""
    table = tables[name].copy()
    table[column] = table[column].astype(object)
    table.loc[row, column] = value
    return tables | {name: table}


def test_a_sound_problem_is_taken_as_it_is(town):
    tables = town()
    made = SitingProblem(**tables)
    assert len(made.arcs) == 6
    assert made.groups.empty


@pytest.mark.parametrize(
    ("name", "column", "value", "words"),
    [
        ("demand", "demand_it_kw", -1.0, "demand_it_kw"),
        ("demand", "demand_it_kw", np.inf, "infinite"),
        ("arcs", "cost_per_it_kw", np.nan, "cost_per_it_kw"),
        ("arcs", "site_id", "b9", "'b9'"),
        ("arcs", "workload", "games", "'games'"),
        ("arcs", "zone_id", "west", "'west'"),
        ("arcs", "rtt_ms", 101.0, "rtt_limit_ms"),
        ("site_options", "unit", "rack", "'rack'"),
        ("site_options", "site_id", "b9", "'b9'"),
        ("site_options", "port_id", "", "port_id"),
        ("site_options", "max_units", 1.5, "whole numbers"),
        ("site_options", "existing_units", 9, "existing_units above max_units"),
        ("site_options", "unit_capital", -5.0, "unit_capital"),
        ("site_options", "own_limit_kw", np.inf, "infinite"),
        ("units", "it_kw", 0.0, "above 0"),
        ("row_coefficients", "port_id", "port b9", "'port b9'"),
        ("row_coefficients", "port_id", "", "central"),
        ("row_coefficients", "row_id", "T9", "'T9'"),
        ("row_coefficients", "coefficient", np.nan, "coefficient"),
        ("rows", "headroom", -1.0, "headroom"),
        ("sites", "kind", "barn", "kind"),
        ("demand", "workload", "games", "'games'"),
    ],
)
def test_hostile_values_are_refused_by_name(town, name, column, value, words):
    with pytest.raises(DataError, match=words.replace("(", r"\(")):
        SitingProblem(**spoil(town(), name, column, value))


def test_a_central_option_at_a_port_is_refused(town):
    with pytest.raises(DataError, match="central sites must have port_id ''"):
        SitingProblem(**spoil(town(), "site_options", "port_id", "port b1", row=2))


@pytest.mark.parametrize("name", ["sites", "arcs", "site_options", "rows", "demand"])
def test_a_duplicated_key_is_refused(town, name):
    tables = town()
    tables[name] = pd.concat([tables[name], tables[name].iloc[:1]])
    with pytest.raises(DataError, match=f"table '{name}'"):
        SitingProblem(**tables)


def test_a_missing_column_is_named(town):
    tables = town()
    tables["sites"] = tables["sites"].drop(columns="access_ms")
    with pytest.raises(DataError, match="access_ms"):
        SitingProblem(**tables)


def test_every_fault_is_reported_at_once(town):
    tables = spoil(town(), "arcs", "site_id", "b9")
    tables = spoil(tables, "site_options", "unit", "rack")
    with pytest.raises(DataError, match="'b9'") as caught:
        SitingProblem(**tables)
    assert "'rack'" in str(caught.value)
    assert len(caught.value.failures) == 2
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("demand", "period"),
        ("arcs", "period"),
        ("rows", "period"),
        ("site_options", "available_from"),
    ],
)
def test_a_period_that_table_periods_does_not_have_is_named(town, name, column):
    with pytest.raises(DataError, match="period"):
        SitingProblem(**spoil(town(), name, column, 1))


def test_redundancy_is_none_of_a_site_or_of_a_group(town):
    with pytest.raises(DataError, match="redundancy is 0"):
        SitingProblem(**spoil(town(), "workloads", "redundancy", 3))


@pytest.mark.parametrize("factor", [0.0, -1.0, np.nan, np.inf])
def test_a_present_value_factor_must_be_positive(town, factor):
    with pytest.raises(DataError, match="present_value_factor"):
        SitingProblem(**town(present_value_factor=factor))


@pytest.mark.parametrize("budget", [-1.0, np.nan])
def test_a_budget_must_be_a_sum_of_money(town, budget):
    with pytest.raises(DataError, match="budget"):
        SitingProblem(**town(budget=budget))


@pytest.mark.parametrize("area", ["40 m2", -1.0, np.inf])
def test_a_roof_must_be_an_area(town, area):
    tables = town()
    roofs = [area, *[np.nan] * (len(tables["sites"]) - 1)]
    tables["sites"] = tables["sites"].assign(roof_area_m2=roofs)
    with pytest.raises(DataError, match="roof_area_m2 must be"):
        SitingProblem(**tables)


def test_groups_must_agree_with_themselves(town, records):
    groups = [
        records.group("g", "b1", max_units=1.0),
        records.group("g", "b2", max_units=2.0),
    ]
    with pytest.raises(DataError, match="group 'g'"):
        SitingProblem(**town(groups=groups))


def test_a_split_that_does_not_add_up_is_refused(town):
    tables = town()
    tables["arcs"]["energy_present"] = 0.5
    with pytest.raises(DataError, match="energy_present"):
        SitingProblem(**tables)


def test_restricting_to_central_leaves_no_ports(problem):
    central = restrict_sites(problem(), ["central"])
    assert central.sites["site_id"].tolist() == ["central"]
    assert central.row_coefficients.empty
    assert set(central.arcs["site_id"]) == {"central"}
    assert len(central.demand) == 2


def test_restricting_to_an_unknown_kind_is_refused(problem):
    with pytest.raises(ConfigError, match="roof"):
        restrict_sites(problem(), ["roof"])


def test_allowing_unserved_keeps_prices_that_are_there(problem, records):
    made = problem(
        workloads=[
            records.workload("web"),
            records.workload("batch", unserved_cost=7.0),
        ]
    )
    soft = allow_unserved(made, 1e4)
    assert soft.workloads["unserved_cost"].tolist() == [1e4, 7.0]
    assert made.workloads["unserved_cost"].isna().tolist() == [True, False]


def test_rows_of_a_replay_must_be_new_and_known(problem, records):
    made = problem()
    rows = pd.DataFrame([records.row("cut", 5.0)])
    good = pd.DataFrame(records.coefficients("cut", port_b1=1.0))
    grown = add_rows(made, rows, good)
    assert grown.rows["row_id"].tolist() == ["T1", "cut"]
    assert made.rows["row_id"].tolist() == ["T1"]
    with pytest.raises(DataError, match="twice"):
        add_rows(grown, rows, good)
    with pytest.raises(DataError, match="port b9"):
        add_rows(made, rows, good.assign(port_id="port b9"))
    with pytest.raises(DataError, match="headroom"):
        add_rows(made, rows.assign(headroom=np.nan), good)


@pytest.mark.parametrize(("excludes", "fault"), [("u", "itself"), ("v", "no upgrade")])
def test_an_upgrade_excludes_others_that_there_are(problem, excludes, fault):
    works = {"upgrade_id": "u", "element": "T1", "kind": "x 2", "capital": 1.0}
    works |= {"lead_periods": 0, "excludes": excludes}
    with pytest.raises(DataError, match=fault):
        replace(problem(), upgrades=pd.DataFrame([works]))
