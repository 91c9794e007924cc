"""The Schutterwald study: its data, its base case, and what its README says."""

from __future__ import annotations

import copy
import importlib.util
import json
import tomllib
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandapower
import pandapower.networks
import pandas as pd
import pyarrow.parquet as pq
import pytest
import shapely
from geopandas.testing import assert_geodataframe_equal
from pyproj import Geod
from scipy.sparse.linalg import splu

from gridsite.feeder.profile_shapes import shape_profiles
from gridsite.units import RTT_MS_PER_KM

HERE = Path(__file__).parent
STUDY = HERE.parents[2] / "networks" / "schutterwald"
METRES = 25832

# pandapower warns about the age of the file that it ships itself
pytestmark = pytest.mark.filterwarnings(
    "ignore:tap_dependency_table is missing:DeprecationWarning"
)


def load_toml(path):
    return tomllib.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def expected():
    return load_toml(HERE / "expected.toml")


@pytest.fixture(scope="module")
def study():
    return load_toml(STUDY / "study.toml")


@pytest.fixture(scope="module")
def recipe():
    spec = importlib.util.spec_from_file_location("recipe", STUDY / "recipe.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def feeder():
    return pandapower.networks.lv_schutterwald()


@pytest.fixture(scope="module")
def shapes():
    return pd.read_parquet(STUDY / "household_shapes.parquet")


@pytest.fixture(scope="module")
def footprints():
    return gpd.read_parquet(STUDY / "footprints_generated.parquet")


@pytest.fixture(scope="module")
def users():
    return gpd.read_parquet(STUDY / "users_generated.parquet")


@pytest.fixture(scope="module")
def year(feeder, shapes, study):
    options = study["profiles"]
    annual = pd.Series(options["annual_kwh"], feeder.load["name"])
    annual.update(pd.Series(options["annual_kwh_by_port"]))
    return shape_profiles(
        shapes,
        port_ids=list(feeder.load["name"]),
        annual_kwh=annual,
        power_factor=options["power_factor"],
        seed=study["study"]["seed"],
        shift_weeks=options["shift_weeks"],
        full_load_hours=pd.Series(options["full_load_hours"]),
    )


def notes(name):
    metadata = pq.read_schema(STUDY / name).metadata
    return {key.decode(): text.decode() for key, text in metadata.items()}


class TestFeeder:
    def test_the_file_holds_what_the_readme_says(self, feeder, expected):
        assert len(feeder.bus) == expected["file"]["buses"]
        assert len(feeder.trafo) == expected["file"]["transformers"]
        assert len(feeder.load) == expected["file"]["houses"]
        assert feeder.load["p_mw"].sum() * 1e3 == pytest.approx(
            expected["file"]["load_kw"]
        )
        assert feeder.load["name"].is_unique
        assert feeder.load["bus"].is_unique

    def test_base_case_voltages_and_loadings(self, feeder, expected):
        pandapower.runpp(feeder, numba=True)
        values, voltage = expected["base_case"], feeder.res_bus.vm_pu
        assert not voltage.isna().any()
        assert voltage.min() == pytest.approx(values["min_voltage_pu"], abs=1e-6)
        assert voltage.max() == pytest.approx(values["max_voltage_pu"], abs=1e-6)
        assert int((voltage < 0.9).sum()) == values["buses_below_0_90"]
        assert feeder.res_line.loading_percent.max() == pytest.approx(
            values["max_line_percent"], abs=1e-3
        )
        assert feeder.res_trafo.loading_percent.max() == pytest.approx(
            values["max_transformer_percent"], abs=1e-3
        )

    def test_only_two_loads_stand_out(self, feeder, study):
        power = feeder.load.set_index("name")["p_mw"] * 1e3
        assert power.value_counts().to_dict() == {2.1: 1489, 3.0: 15, 30.0: 2}
        assert set(power.index[power > 10.0]) == set(
            study["profiles"]["annual_kwh_by_port"]
        )


class TestShapes:
    def test_one_year_of_hours_at_a_fixed_offset(self, shapes):
        assert len(shapes) == 8784
        assert shapes.index[0] == pd.Timestamp("2016-01-01T00:00+01:00")
        assert set(np.diff(shapes.index)) == {np.timedelta64(1, "h")}
        assert shapes.index.tz.utcoffset(None) == pd.Timedelta(hours=1)

    def test_shapes_are_normalised_to_their_peak(self, shapes):
        assert list(shapes) == ["H0-A", "H0-B", "H0-C", "H0-G", "H0-L"]
        assert set(shapes.dtypes) == {np.dtype("float32")}
        assert shapes.max().tolist() == [1.0] * 5
        assert (shapes.min() >= 0.0).all()

    def test_full_load_hours_of_file_and_study_agree(self, shapes, study):
        hours = json.loads(notes("household_shapes.parquet")["full_load_hours"])
        assert hours == study["profiles"]["full_load_hours"]
        # hourly maxima hold 1.3 to 1.5 times the energy that the meter counts
        assert (shapes.sum() / pd.Series(hours)).between(1.3, 1.5).all()

    @pytest.mark.parametrize(
        "name",
        ["household_shapes", "footprints_generated", "users_generated"],
    )
    def test_each_file_carries_source_and_licence(self, name):
        text = notes(f"{name}.parquet")
        assert {"source", "attribution", "licence"} <= set(text)
        assert "Open Database License" in text["licence"]

    def test_the_files_stay_small(self):
        assert sum(path.stat().st_size for path in STUDY.glob("*.parquet")) < 300e3


class TestRecipe:
    def test_shapes_are_those_of_simbench(self, recipe, shapes, study):
        pytest.importorskip("simbench", reason="needs the extra gridsite[simbench]")
        made, hours = recipe.household_shapes()
        pd.testing.assert_frame_equal(
            made.tz_convert("UTC"), shapes.tz_convert("UTC"), check_freq=False
        )
        assert hours == study["profiles"]["full_load_hours"]

    def test_an_hour_is_the_maximum_of_its_quarter_hours(self, recipe, shapes):
        pytest.importorskip("simbench", reason="needs the extra gridsite[simbench]")
        quarters = recipe.quarter_hours()
        assert len(quarters) == 35136
        assert set(np.diff(quarters.index)) == {np.timedelta64(15, "m")}
        blocks = quarters.to_numpy().reshape(8784, 4, 5)
        np.testing.assert_allclose(shapes, blocks.max(axis=1), rtol=1e-6)

    def test_generated_files_come_out_the_same_again(self, recipe, footprints, users):
        houses = recipe.houses()
        assert_geodataframe_equal(
            recipe.footprints(houses), footprints, check_dtype=False
        )
        assert_geodataframe_equal(recipe.users(houses), users, check_dtype=False)

    def test_another_seed_gives_other_houses(self, recipe, footprints):
        houses = recipe.houses().head(20)
        other = recipe.footprints(houses, seed=1)
        assert not other.geom_equals(footprints.head(20)).any()


class TestPlaces:
    def test_each_load_has_one_generated_house(self, footprints, feeder):
        assert sorted(footprints["port_id"]) == sorted(feeder.load["name"])
        assert footprints["building_id"].is_unique
        assert footprints["generated"].all()
        assert set(footprints["access_network"]) == {"fibre"}
        assert footprints.crs.to_epsg() == 4326

    def test_houses_stand_at_their_load_and_apart(self, footprints, feeder):
        shapes = footprints.to_crs(METRES).geometry
        buses = feeder.load.set_index("name")["bus"].loc[footprints["port_id"]]
        points = gpd.GeoSeries(
            shapely.from_geojson(feeder.bus.geo.loc[buses].to_numpy()), crs=4326
        ).to_crs(METRES)
        assert shapes.centroid.distance(points, align=False).max() < 0.05
        left, right = shapely.STRtree(shapes).query(shapes, predicate="intersects")
        assert (left == right).all()

    def test_houses_are_rectangles_of_8_to_14_m_unless_crowded(self, footprints):
        shapes = footprints.to_crs(METRES).geometry
        sides = np.array([_sides(shape) for shape in shapes])
        assert sides.max() < 14.05
        assert (sides > 7.95).all(axis=1).mean() > 0.8
        box = shapely.area(shapely.oriented_envelope(shapes.to_numpy()))
        np.testing.assert_allclose(shapes.area, box, rtol=0.02, atol=0.05)

    def test_houses_lie_along_their_service_line(self, footprints, feeder):
        shapes = footprints.set_index("port_id").to_crs(METRES).geometry
        port = feeder.load.set_index("bus")["name"]
        geometry = gpd.GeoSeries(shapely.from_geojson(feeder.line.geo.to_numpy()))
        lines = geometry.set_crs(4326).to_crs(METRES).set_axis(feeder.line.index)
        lines = lines[lines.count_coordinates() == 2]  # those without a bend
        for end in ("from_bus", "to_bus"):
            bus = feeder.line.loc[lines.index, end]
            at_house = bus[bus.isin(port.index)]
            angle = lines[at_house.index].map(_angle).to_numpy()
            wall = shapes.loc[port.loc[at_house]]
            wide = (wall.area > 50.0).to_numpy()  # 1 cm of rounding turns small ones
            turned = (wall.exterior.map(_angle).to_numpy() - angle) % (np.pi / 2)
            off = np.minimum(turned, np.pi / 2 - turned)[wide]
            assert off.max(initial=0.0) < np.radians(1.0)

    def test_users_are_the_people_assumed(self, users, feeder):
        assert len(users) == len(feeder.load)
        assert users["users"].sum() == 1504 * 2.5 + 2 * 10.0
        assert users["generated"].all()


def _sides(shape):
    xy = shapely.get_coordinates(shape)
    return np.hypot(*np.diff(xy[:3], axis=0).T)


def _angle(line):
    (x0, y0), (x1, y1) = shapely.get_coordinates(line)[:2]
    return np.arctan2(y1 - y0, x1 - x0)


class TestYear:
    def test_after_diversity_peak_and_coincidence(self, year):
        # European homes: 1 to 2 kW each after diversity
        assert year.total_kw().max() / len(year.port_ids) == pytest.approx(1.4, abs=0.1)
        assert 0.25 < year.coincidence() < 0.33
        assert len(year.p_shapes) == 65

    def test_peak_and_coincidence_are_those_of_the_readme(self, year, expected):
        assert year.total_kw().max() == pytest.approx(
            expected["year"]["peak_kw"], abs=0.1
        )
        assert year.coincidence() == pytest.approx(
            expected["year"]["coincidence"], abs=1e-4
        )

    def test_the_largest_hour_falls_into_a_winter_evening(self, year):
        top = year.time[np.argmax(year.total_kw())]
        assert top.month in {12, 1, 2}
        assert 17 <= top.hour <= 20

    def test_a_business_stays_below_the_files_load(self, year, study):
        ids = list(study["profiles"]["annual_kwh_by_port"])
        p_kw, _ = year.select(ids).power_kw()
        assert p_kw.max(axis=1).min() > 10.0
        assert p_kw.max() < 30.0

    def test_base_case_of_the_fifty_largest_hours(self, year, feeder, expected):
        worst = {"vm": 1.0, "line": 0.0, "transformer": 0.0}
        hours = np.argsort(year.total_kw())[-50:]
        net = copy.deepcopy(feeder)
        for p_kw, q_kvar in zip(*(x.T for x in year.power_kw(hours)), strict=True):
            net.load["p_mw"], net.load["q_mvar"] = p_kw / 1e3, q_kvar / 1e3
            pandapower.runpp(net, numba=True)
            worst["vm"] = min(worst["vm"], net.res_bus.vm_pu.min())
            for key, table in (("line", "res_line"), ("transformer", "res_trafo")):
                peak = net[table].loading_percent.max()
                worst[key] = max(worst[key], peak)
        assert worst.pop("vm") == pytest.approx(expected["fifty_hours"]["vm"], abs=2e-6)
        loading = {key: expected["fifty_hours"][key] for key in worst}
        assert worst == pytest.approx(loading, abs=2e-3)

    @pytest.mark.slow
    def test_voltages_of_the_whole_year(self, year, feeder, expected):
        voltage = _house_voltages(copy.deepcopy(feeder), year)
        low, wanted = voltage < 0.9, expected["year"]
        assert voltage.min() == pytest.approx(wanted["min_voltage_pu"], abs=2e-6)
        assert int(low.any(axis=0).sum()) == wanted["hours_below_0_90"]
        assert int(low.any(axis=1).sum()) == wanted["houses_below_0_90"]
        assert int(low.sum(axis=1).max()) == wanted["most_hours_of_one_house"]


def _house_voltages(net, year):
    """Return |V| by house and hour: fixed point on pandapower's own admittance."""
    pandapower.runpp(net, numba=True)
    inner, bus = net._ppc["internal"], net._pd2ppc_lookups["bus"]
    source, admittance = inner["ref"], inner["Ybus"].tocsc()
    free = np.setdiff1d(np.arange(admittance.shape[0]), source)
    solve = splu(admittance[free][:, free]).solve
    no_load = solve(-(admittance[free][:, source] @ inner["V"][source]))[:, None]
    house = np.searchsorted(free, bus[net.load["bus"].to_numpy()])
    result = np.empty((len(house), len(year.time)))
    for first in range(0, len(year.time), 488):
        p_kw, q_kvar = year.power_kw(slice(first, first + 488))
        power = (p_kw + 1j * q_kvar) / (1e3 * net._ppc["baseMVA"])
        drawn = np.zeros((len(free), power.shape[1]), dtype=complex)
        voltage = np.repeat(no_load, power.shape[1], axis=1)
        change = 1.0
        while change > 1e-8:
            drawn[house] = np.conj(power / voltage[house])
            last, voltage = voltage, no_load - solve(drawn)
            change = np.abs(voltage - last).max()
        result[:, first : first + 488] = np.abs(voltage[house])
    return result


class TestStudy:
    def test_its_files_exist(self, study):
        for name in (
            study["profiles"]["shapes"],
            study["buildings"]["file"],
            study["users"]["file"],
        ):
            assert (STUDY / name).is_file()

    def test_latencies_make_it_a_hybrid(self, study):
        limit = {w["workload"]: w["rtt_limit_ms"] for w in study["workloads"]}
        latency, lulea = study["latency"], study["central"][0]
        factor = 2e-3 * 5.0 * 2.1  # 5 us/km one way, route factor 2.1
        assert factor == pytest.approx(RTT_MS_PER_KM)
        home = latency["user_access_ms"] + latency["host_access_ms"]["fibre"]
        metres = Geod(ellps="WGS84").inv(7.887, 48.456, lulea["lon"], lulea["lat"])[2]
        far = latency["user_access_ms"] + metres / 1e3 * factor + lulea["site_ms"]
        assert home <= limit["real-time"] < far <= limit["interactive"]
        assert far == pytest.approx(49.2, abs=0.1)

    def test_each_assumed_service_carries_the_larger_unit(self, study):
        service = study["service"]
        kva = service["amps"] * service["volts"] * np.sqrt(3.0) / 1e3
        for unit in study["units"]:
            assert unit["rated_kw"] / unit["power_factor"] < kva
            assert unit["rated_kw"] / unit["it_kw"] == pytest.approx(1.10, abs=0.002)
