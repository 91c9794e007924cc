"""Works on the grid of a study: chosen, paid once, replayed on the grid after."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandapower as pp
import pandas as pd
import pytest

from gridsite import Study, run_study
from gridsite.check_run import check_run
from gridsite.errors import ConfigError, DataError, InfeasibleError
from gridsite.report import read_results

ALONE = ("[solve]", "[solve]\ncompare = false")
MORE = ("it_kw_per_user = 4.0", "it_kw_per_user = 5.0")
WORKS = """
[[upgrades]]
upgrade_id = "wire B1"
element = "line B1"
factor = 2.0
capital = 40000.0

[[upgrades]]
upgrade_id = "gold B1"
element = "line B1"
factor = 3.0
capital = 900000.0

[economics]"""


@pytest.fixture(scope="module")
def run(write_study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("works")
    works = ("[economics]", WORKS)
    return run_study(Study.read(write_study(folder, ALONE, MORE, works)))


@pytest.fixture
def study(make_study, tmp_path):
    def made(*edits):
        return Study.read(make_study(tmp_path / "study", ALONE, *edits))

    return made


def test_demand_that_needs_a_wire_has_no_plan_without_it(study):
    with pytest.raises(InfeasibleError, match="line current line A1"):
        run_study(study(MORE))


def test_the_cheaper_of_two_works_is_chosen_and_paid_once(run):
    assert run.summary["status"] == "optimal"
    assert run.summary["upgrades"] == ["wire B1"]
    # 40 years of life, 10 years of horizon: three quarters come back
    paid = 40_000.0 * (1.0 - 0.75 * 1.07**-10)
    assert run.plan.costs["grid_upgrade_capital"] == pytest.approx(paid)
    assert run.plan.costs.sum() == pytest.approx(run.plan.objective, rel=1e-9)
    assert run.summary["replay"]["new"] == run.summary["replay"]["worsened"] == 0


def solved(run, *, parallel):
    """
    Solve the heaviest hours in pandapower, without any code of gridsite.

    Returns the lowest voltage and highest current with the plan, and the largest
    drop at a connection when its own units alone are switched on.
    """
    folder = run.study.folder
    net = pp.from_json(str(folder / "net.json"))
    net.line.loc[net.line["name"] == "line B1", "parallel"] = parallel
    loads = pd.read_csv(folder / "loads.csv", index_col="time")
    names, bus = net.load["name"], net.load["bus"].to_numpy()
    plan = run.results.plan
    added = plan[plan["port_id"] != ""].groupby("port_id")["rated_kw"].sum()
    added = added.reindex(names, fill_value=0.0).to_numpy() / 1e3

    def voltage(stamp, extra):
        own = loads.loc[stamp, names].to_numpy() / 1e3
        net.load["p_mw"] = own + extra
        net.load["q_mvar"] = own * math.tan(math.acos(0.95))
        net.load["q_mvar"] += extra * math.tan(math.acos(0.98))
        pp.runpp(net, numba=False, tolerance_mva=1e-10)
        return net.res_bus["vm_pu"].to_numpy()

    low, high, drops = [], [], []
    for stamp in loads.sum(axis=1).nlargest(3).index:
        before = voltage(stamp, 0.0 * added)
        for i in np.flatnonzero(added):
            alone = voltage(stamp, np.where(np.arange(len(added)) == i, added, 0.0))
            drops.append((before - alone)[bus[i]])
        low.append(voltage(stamp, added).min())
        high.append(net.res_line["loading_percent"].max())
    return min(low), max(high), max(drops)


def test_pandapower_finds_the_plan_clean_with_the_wire_and_not_without(run):
    low, high, drop = solved(run, parallel=2)
    assert low >= 0.9
    assert high <= 100.0
    assert drop <= 0.03
    low, high, drop = solved(run, parallel=1)
    assert low < 0.9 or high > 100.0 or drop > 0.03


def test_the_run_is_borne_out_by_its_inputs_and_not_without_its_works(run, tmp_path):
    results = read_results(run.write(tmp_path / "out"))
    assert check_run(results).empty
    bare = check_run(replace(results, works=results.works.iloc[:0]))
    assert {"grid row", "cost"} <= set(bare["requirement"])
    assert bare["where"].str.contains("connection B").any()


def test_works_come_after_their_lead_time(study):
    late = WORKS.replace("capital = 40000.0", "capital = 40000.0\nlead_months = 20.0")
    periods = "\n[periods]\ncount = 3\nmonths = 12.0\n"
    soft = [
        (f"it_kw_per_user = {old}", f"it_kw_per_user = {new}\nunserved_cost = 9e4")
        for old, new in (("4.0", "5.0"), ("1.0", "1.0"))
    ]
    found = run_study(study(*soft, ("[economics]", periods + late)))
    works = found.results.works
    assert works[["upgrade_id", "period"]].to_numpy().tolist() == [["wire B1", 2]]
    assert found.summary["replay"]["new"] == 0
    units = found.results.timeline["units"].to_numpy()
    assert units[2] > units[1] > units[0] == 0
    assert np.isfinite(found.plan.objective)


def test_a_larger_service_is_paid_for_where_it_lets_more_units_stand(study, tmp_path):
    """A house of 25 A holds no large unit; 63 A do, and the grid carries it."""
    small = ("amps = 63.0", "amps = 25.0")
    with pytest.raises(InfeasibleError, match="connection 'A1' can draw"):
        run_study(study(small))
    larger = "[service_upgrade]\namps = 63.0\ncapital = 1000.0\n\n[economics]"
    found = run_study(study(small, ("[economics]", larger)))
    works, plan = found.results.works, found.results.plan
    assert found.summary["status"] == "optimal"
    assert set(works["kind"]) == {"service of 63 A"}
    paid = len(works) * 1_000.0 * (1.0 - 0.75 * 1.07**-10)
    assert found.plan.costs["service_upgrade_capital"] == pytest.approx(paid)
    assert found.plan.costs["grid_upgrade_capital"] == 0.0
    draw = plan[plan["port_id"] != ""].groupby("port_id")["rated_kw"].sum()
    firm = found.results.hosting.set_index("port_id")["firm_kw"]
    over = draw[draw > firm.reindex(draw.index)]
    assert set(over.index) == set(works["element"])
    assert check_run(read_results(found.write(tmp_path / "out"))).empty


def test_unknown_elements_and_taps_that_act_are_refused(study):
    wrong = WORKS.replace("line B1", "line Z9")
    with pytest.raises(DataError, match="no line or transformer is called"):
        run_study(study(("[economics]", wrong)))
    taps = ('source = "net.json"', 'source = "net.json"\ntaps = "acting"')
    with pytest.raises(ConfigError, match="frozen"):
        study(taps, ("[economics]", WORKS))
