"""Areas of a layer in a study: what is local, whose territory, which cap."""

from __future__ import annotations

import geopandas as gpd
import pandas as pd
import pytest
import shapely

from gridsite import Study, run_study
from gridsite.check_run import check_run
from gridsite.errors import ConfigError, DataError
from gridsite.report import read_results

ALONE = ("[solve]", "[solve]\ncompare = false")
SECTIONS = """
[areas]
file = "districts.gpkg"
name_column = "district"

[[utilities]]
name = "southern"
areas = ["south"]
energy_price_per_kwh = 0.9
demand_charge_per_kw_year = 50.0

[[utilities]]
name = "others"

[[groups]]
group_id = "quota"
areas = ["north"]
max_units = 2

[economics]"""
LOCAL = ("it_kw_per_user = 4.0", "it_kw_per_user = 0.6\nmin_local_share = 0.8")


def districts(folder, *, split=0.5, columns=("south", "north")):
    """Write two districts, one for each street, split between them."""
    roofs = gpd.read_parquet(folder / "roofs.parquet")
    west, low, east, high = roofs.total_bounds
    middle, far = low + split * (high - low), 0.01
    shapes = [
        shapely.box(west - far, low - far, east + far, middle),
        shapely.box(west - far, middle, east + far, high + far),
    ]
    table = gpd.GeoDataFrame({"district": columns}, geometry=shapes, crs=4326)
    table.to_crs(3035).to_file(folder / "districts.gpkg", layer="d")


def write(write_study, folder, *edits):
    cells = ("[users]", '[users]\ncell = "square"\nsize_m = 50.0')
    path = write_study(folder, ALONE, cells, ("[economics]", SECTIONS), *edits)
    districts(folder)
    return path


@pytest.fixture(scope="module")
def run(write_study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("areas")
    return run_study(Study.read(write(write_study, folder, LOCAL)))


def test_areas_and_utilities_are_those_of_the_layer(run):
    sites = run.results.sites.set_index("site_id")
    street = sites.index.str.removeprefix("house ").str[0]
    expected = pd.Series(street).map({"A": "south", "B": "north"})
    built = (sites["kind"] == "building").to_numpy()
    assert sites["area"][built].tolist() == expected[built].tolist()
    owners = sites["area"].map({"south": "southern", "north": "others"})
    assert (sites["utility"] == owners)[built].all()
    assert sites.loc["north", "area"] == ""  # the central site, in neither
    assert set(run.results.demand["area"]) == {"south", "north"}


def test_the_share_is_served_within_the_area_and_the_quota_holds(run):
    area = run.results.sites.set_index("site_id")["area"]
    kind = run.results.sites.set_index("site_id")["kind"]
    flow = run.results.assignment
    flow = flow[flow["workload"] == "real-time"]
    need = run.results.demand.drop_duplicates("zone_id").set_index("zone_id")["area"]
    own = flow["site_id"].map(area) == flow["zone_id"].map(need)
    total = flow.groupby("zone_id")["it_kw"].sum()
    local = flow[own].groupby("zone_id")["it_kw"].sum().reindex(total.index)
    assert (local.fillna(0.0) >= 0.8 * total - 1e-6).all()
    plan = run.results.plan
    here = (plan["site_id"].map(area) == "north") & (
        plan["site_id"].map(kind) == "building"
    )
    assert 1 <= plan.loc[here, "count"].sum() <= 2
    assert run.plan.costs["demand_charge_present"] > 0.0


def test_the_run_is_borne_out_by_its_inputs(run, tmp_path):
    folder = run.write(tmp_path / "out")
    assert "districts.gpkg" in read_results(folder).manifest["inputs"]
    assert check_run(read_results(folder)).empty


def test_without_the_share_the_dear_district_is_left_alone(write_study, tmp_path, run):
    few = ("it_kw_per_user = 4.0", "it_kw_per_user = 0.6")
    free = run_study(Study.read(write(write_study, tmp_path, few)))
    area = free.results.sites.set_index("site_id")["area"]
    built = free.results.plan[free.results.plan["port_id"] != ""]
    assert (built["site_id"].map(area) == "north").all()
    assert free.plan.objective < run.plan.objective


def test_zones_outside_all_areas_and_unknown_names_are_refused(write_study, tmp_path):
    path = write(write_study, tmp_path, LOCAL)
    districts(tmp_path, columns=("south", "elsewhere"))
    with pytest.raises(ConfigError, match=r"\['north'\] are not in the layer"):
        run_study(Study.read(path))
    roofs = gpd.read_parquet(tmp_path / "roofs.parquet")
    names = {"district": ["south", "north"]}
    far = [shapely.box(0, 0, 1, 1), shapely.box(*roofs.total_bounds[[0, 1, 2, 1]])]
    far[1] = far[1].buffer(5e-4)  # street A alone
    gpd.GeoDataFrame(names, geometry=far, crs=4326).to_file(
        tmp_path / "districts.gpkg", layer="d"
    )
    with pytest.raises((DataError, ConfigError), match="lie in no area"):
        run_study(Study.read(path))


def test_areas_that_are_named_need_a_layer(make_study, tmp_path):
    group = '[[groups]]\ngroup_id = "g"\nareas = ["x"]\n\n[economics]'
    path = make_study(tmp_path / "study", ("[economics]", group))
    with pytest.raises(ConfigError, match=r"areas \['x'\] need \[areas\] file"):
        Study.read(path)
