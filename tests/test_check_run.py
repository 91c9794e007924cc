"""A run's plan checked again from its inputs, and wrong runs found."""

from dataclasses import replace

import pytest

from gridsite import Study, run_study
from gridsite.check_run import check_run
from gridsite.errors import DataError
from gridsite.report import read_results

ALONE = ("[solve]", "[solve]\ncompare = false")


@pytest.fixture(scope="module")
def folder(write_study, tmp_path_factory):
    place = tmp_path_factory.mktemp("checked")
    run = run_study(Study.read(write_study(place, ALONE)))
    return run.write(place / "out")


def spoiled(results, table, **columns):
    return replace(results, **{table: getattr(results, table).assign(**columns)})


def named(results):
    return set(check_run(results)["requirement"])


def test_a_good_run_has_no_finding(folder):
    assert check_run(read_results(folder)).empty


def test_a_cost_that_is_not_that_of_the_plan_is_found(folder):
    results = read_results(folder)
    cheaper = results.summary | {"objective": results.summary["objective"] * 0.999}
    found = check_run(replace(results, summary=cheaper))
    assert found["requirement"].tolist() == ["cost"]
    assert found["value"].tolist() == [cheaper["objective"]]


def test_units_that_the_grid_cannot_carry_are_found_in_ac(folder):
    """The draw of the whole plan at the end of street B."""
    results = read_results(folder)
    plan = results.plan
    one = plan[plan["port_id"] != ""].iloc[[0]]
    end = one.assign(port_id="B4", rated_kw=5.0 * plan["rated_kw"].sum())
    found = check_run(replace(results, plan=end))
    assert {"table", "compute capacity", "cost"} <= set(found["requirement"])
    replayed = found[found["requirement"] == "AC replay"]
    assert replayed["where"].tolist() == ["new / 0"]
    assert (replayed["value"] > 0.0).all()


def test_demand_that_is_not_served_is_found(folder):
    results = read_results(folder)
    half = results.assignment["it_kw"] * 0.5
    assert {"demand", "cost"} <= named(spoiled(results, "assignment", it_kw=half))


def test_inputs_that_have_changed_are_refused(folder):
    results = read_results(folder)
    loads = folder.parent / "loads.csv"
    before = loads.read_text()
    loads.write_text(before.replace("0.4", "0.5", 1) + "\n")
    try:
        with pytest.raises(DataError, match="has changed since the run"):
            check_run(results)
    finally:
        loads.write_text(before)
