"""Bubenec: real footprints, and a synthetic network that keeps its planning rule."""

from __future__ import annotations

import copy
import importlib
import itertools
import json
import math
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import geopandas as gpd
import networkx as nx
import numpy as np
import pandapower as pp
import pandas as pd
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely
from geopandas.testing import assert_geodataframe_equal
from pandas.testing import assert_frame_equal

from gridsite import Study, run_study
from gridsite.feeder.read_pandapower import read_feeder

STUDY = Path(__file__).parents[3] / "networks" / "bubenec"
MARK = "synthetic network, real footprints"
TABLES = ("footprints", "users_generated", "services_synthetic")


@pytest.fixture(scope="module")
def code():
    """The recipe and its two modules."""
    names = ("layout", "synthesise", "recipe")
    sys.path.insert(0, str(STUDY))
    try:
        found = {name: importlib.import_module(name) for name in names}
    finally:
        sys.path.remove(str(STUDY))
        for name in names:
            sys.modules.pop(name, None)
    return SimpleNamespace(**found)


@pytest.fixture(scope="module")
def net():
    return pp.from_json(str(STUDY / "feeder_synthetic.json"))


@pytest.fixture(scope="module")
def ports():
    return pd.read_parquet(STUDY / "services_synthetic.parquet").set_index("port_id")


@pytest.fixture(scope="module")
def roofs():
    return gpd.read_parquet(STUDY / "footprints.parquet")


def notes(path):
    metadata = pq.read_schema(path).metadata
    return {key.decode(): text.decode() for key, text in metadata.items()}


def rusck(dwellings):
    """The peak of dwellings together [kW], written apart from the recipe."""
    return 7.0 * (0.2 * dwellings + 0.8 * math.sqrt(dwellings))


def closed_graph(net):
    """Buses and what joins them, less what an open switch takes out."""
    opened = set(net.switch.loc[~net.switch["closed"], "element"])
    graph = nx.MultiGraph()
    graph.add_nodes_from(net.bus.index)
    for index, line in net.line.iterrows():
        if index not in opened:
            graph.add_edge(line["from_bus"], line["to_bus"], key=("line", index))
    for index, trafo in net.trafo.iterrows():
        graph.add_edge(trafo["hv_bus"], trafo["lv_bus"], key=("trafo", index))
    return graph


@pytest.fixture(scope="module")
def areas(net, ports):
    """By station: its busbar, loads, and the loads behind each of its lines."""
    load = net.load.set_index("bus")["name"]
    low = net.line[net.line["from_bus"].map(net.bus["vn_kv"]) < 1.0]
    graph = nx.Graph(list(zip(low["from_bus"], low["to_bus"], strict=True)))
    found = []
    for trafo in net.trafo.itertuples():
        tree = nx.bfs_tree(graph, trafo.lv_bus)
        lines = {}
        for index, line in low[low["from_bus"].isin(set(tree))].iterrows():
            ends = (line["from_bus"], line["to_bus"])
            far = ends[1] if tree.has_edge(*ends) else ends[0]
            behind = {far, *nx.descendants(tree, far)}
            lines[index] = load[load.index.isin(behind)].tolist()
        names = load[load.index.isin(set(tree))].tolist()
        total = int(ports.loc[names, "dwellings"].sum())
        found.append(
            SimpleNamespace(trafo=trafo, names=names, lines=lines, total=total)
        )
    return found


class TestData:
    def test_the_recipe_writes_the_same_data_again(self, code, tmp_path, net):
        pytest.importorskip("momepy")
        layers = code.recipe.momepy_layers()
        code.recipe.write_place(
            *layers, tmp_path, name="Bubenec", notes=code.recipe.NOTES
        )
        for name in TABLES:
            old, new = (f / f"{name}.parquet" for f in (STUDY, tmp_path))
            if name == "services_synthetic":
                assert_frame_equal(pd.read_parquet(new), pd.read_parquet(old))
            else:
                assert_geodataframe_equal(gpd.read_parquet(new), gpd.read_parquet(old))
            own = {k: v for k, v in notes(old).items() if k not in ("pandas", "geo")}
            assert own.items() <= notes(new).items()
        again = pp.from_json(str(tmp_path / "feeder_synthetic.json"))
        for table in ("bus", "line", "trafo", "load", "switch", "ext_grid"):
            assert_frame_equal(again[table], net[table])

    def test_shapes_are_sums_of_ten_households(self, code):
        folder = code.recipe.HOUSEHOLDS
        hours = json.loads(notes(folder)["full_load_hours"])
        shapes, full = code.recipe.flat_shapes(pd.read_parquet(folder), hours)
        path = STUDY / "flat_shapes.parquet"
        assert_frame_equal(pd.read_parquet(path), shapes)
        assert json.loads(notes(path)["full_load_hours"]) == full
        study = tomllib.loads((STUDY / "study.toml").read_text(encoding="utf-8"))
        assert study["profiles"]["full_load_hours"] == full
        assert shapes.max().tolist() == [1.0] * len(full)
        # hourly maxima hold more energy than the meter counts, and are rounded up
        assert (shapes.sum() / pd.Series(full)).between(1.3, 1.5).all()

    def test_footprints_are_those_of_momepy(self, roofs):
        momepy = pytest.importorskip("momepy")
        real = gpd.read_file(momepy.datasets.get_path("bubenec"), layer="buildings")
        assert len(roofs) == len(real) == 144
        ours = roofs.set_index("building_id").to_crs(32633)
        theirs = real.to_crs(32633).set_index(real["uID"].map("bubenec-{:03d}".format))
        apart = ours.geometry.hausdorff_distance(theirs.geometry, align=True)
        assert apart.max() < 0.02  # seven digits of a degree
        assert (ours.area / theirs.area.loc[ours.index]).between(0.998, 1.002).all()

    def test_every_file_says_what_it_is(self, net):
        for name in (*TABLES, "flat_shapes"):
            found = notes(STUDY / f"{name}.parquet")
            assert {"kind", "source", "attribution", "licence"} <= found.keys()
            assert MARK in found["kind"] or "generated" in found["kind"]
        assert MARK in net.name
        assert MARK in net["note"]
        assert "BSD 3-Clause" in json.loads(net["licence"])["licence"]
        licence = (STUDY / "LICENSE-momepy.txt").read_text(encoding="utf-8")
        assert "Martin Fleischmann" in licence
        assert "synthetic" in read_feeder(STUDY / "feeder_synthetic.json").name


class TestNetwork:
    def test_it_is_connected_and_radial(self, net, ports):
        graph = closed_graph(net)
        assert nx.is_connected(graph)
        assert graph.number_of_edges() == graph.number_of_nodes() - 1
        assert set(net.load["name"]) == set(ports.index)
        assert net.load["bus"].is_unique
        assert net.bus["name"].is_unique
        assert net.line["name"].is_unique

    def test_closing_the_open_point_makes_one_ring_of_all_stations(self, net):
        assert len(net.switch) == 1
        high = net.bus.index[net.bus["vn_kv"] > 1.0]
        ring = net.line[net.line["from_bus"].isin(high)]
        graph = nx.Graph(list(zip(ring["from_bus"], ring["to_bus"], strict=True)))
        assert set(graph) == set(high)
        assert nx.is_connected(graph)
        assert set(dict(graph.degree).values()) == {2}

    def test_cables_lie_along_the_streets(self, net):
        momepy = pytest.importorskip("momepy")
        streets = gpd.read_file(momepy.datasets.get_path("bubenec"), layer="streets")
        street = shapely.buffer(streets.to_crs(32633).union_all(), 0.05)
        shapes = gpd.GeoSeries(
            shapely.from_geojson(net.line["geo"].to_numpy()), crs=4326
        )
        shapes = shapes.to_crs(32633)
        service = net.line["name"].str.startswith("service").to_numpy()
        assert shapes[~service].within(street).all()
        metres = net.line["length_km"].to_numpy() * 1e3
        # zone 33 measures 0.9996 of the ground here and both sides are of it
        assert np.abs(shapes.length - np.maximum(metres, 1.0)).max() < 1.0
        assert (np.abs(shapes.length - metres) < 0.1).mean() > 0.95

    def test_every_service_starts_at_the_wall_of_its_building(self, net, ports, roofs):
        wall = roofs.set_index("building_id").to_crs(32633).boundary
        place = net.bus.set_index("name").loc[ports.index, "geo"]
        points = gpd.GeoSeries(shapely.from_geojson(place.to_numpy()), crs=4326)
        own = wall.loc[ports["building_id"]].to_numpy()
        assert shapely.distance(points.to_crs(32633).to_numpy(), own).max() < 0.02


class TestPlanningRule:
    def test_dwellings_follow_from_the_floor_area(self, ports, roofs):
        area = roofs.set_index("building_id").to_crs(32633).area
        homes = ports.groupby("building_id")["dwellings"].sum()
        assert set(homes.index) == set(area.index[area >= 60.0])
        floors = homes * 80.0 / 0.75 / area[homes.index]
        half = 0.5 * 80.0 / 0.75 / area[homes.index]  # of rounding
        block = np.abs(floors - 5.0) <= half + 1e-3
        alone = np.abs(floors - 3.0) <= half + 1e-3
        assert (block | alone).all()
        assert block.sum() > 90
        assert 15 <= alone.sum() <= 40
        given = roofs.set_index("building_id")["dwellings_assumed"]
        assert given[given > 0].to_dict() == homes.to_dict()
        assert ports["annual_kwh"].tolist() == (ports["dwellings"] * 2500.0).tolist()

    def test_each_service_keeps_within_its_fuse(self, ports):
        amps = ports["dwellings"].map(rusck) / 0.95 / (math.sqrt(3) * 0.4 * 0.95)
        assert amps.max() <= 80.0
        largest = ports["dwellings"].max() + 1
        assert rusck(largest) / 0.95 / (math.sqrt(3) * 0.4 * 0.95) > 80.0
        several = ports["building_id"].value_counts()
        homes = ports.groupby("building_id")["dwellings"].sum()
        needed = np.ceil(homes / ports["dwellings"].max())
        assert several[homes.index].tolist() == needed.tolist()

    def test_each_transformer_is_the_smallest_that_is_within_80_percent(self, areas):
        sizes = [0.0, 250.0, 400.0, 630.0]
        for area in areas:
            kva = rusck(area.total) / 0.95 / 0.95
            size = area.trafo.sn_mva * 1e3
            assert 50 <= area.total <= 200
            assert kva <= 0.8 * size
            assert kva > 0.8 * sizes[sizes.index(size) - 1]

    def test_planned_peaks_in_runpp_are_within_loading_and_drop(
        self, net, areas, ports
    ):
        """
        At each station in turn every line carries the peak of those behind it.

        The rest of the station draws what is left of the station's peak; the
        stations hardly see one another, so a run holds one line of each.
        """
        mine = copy.deepcopy(net)
        homes = ports["dwellings"]
        line_worst, drop_worst, trafo_worst = 0.0, 0.0, 0.0
        for cases in itertools.zip_longest(*(area.lines.items() for area in areas)):
            kw = pd.Series(0.0, mine.load["name"])
            for area, case in zip(areas, cases, strict=True):
                station = homes[area.names]
                behind = station[case[1]] if case else station
                most, rest = rusck(behind.sum()), area.total - behind.sum()
                share = (rusck(area.total) - most) / rest if rest else 0.0
                kw[station.index] = station * share
                kw[behind.index] = behind * most / behind.sum()
            mine.load["p_mw"] = kw.to_numpy() / 1e3
            mine.load["q_mvar"] = mine.load["p_mw"] * math.tan(math.acos(0.95))
            pp.runpp(mine, numba=True)
            volts = mine.res_bus["vm_pu"]
            line_worst = max(line_worst, mine.res_line["loading_percent"].max())
            trafo_worst = max(trafo_worst, mine.res_trafo["loading_percent"].max())
            for area in areas:
                walls = mine.load.set_index("name").loc[area.names, "bus"]
                drop = volts[area.trafo.lv_bus] - volts[walls].min()
                drop_worst = max(drop_worst, drop)
        assert 60.0 < line_worst <= 80.0
        assert 70.0 < trafo_worst <= 80.0
        assert 0.005 < drop_worst <= 0.05

    def test_no_section_has_a_cable_to_spare(self, net, areas, ports):
        street = net.line[net.line["name"].str.contains("street")]
        most = {i: n for area in areas for i, n in area.lines.items()}
        homes = pd.Series({i: ports.loc[n, "dwellings"].sum() for i, n in most.items()})
        amps = homes.map(rusck) / 0.95 / (math.sqrt(3) * 0.4 * 0.95)
        needed = np.ceil(amps[street.index] / (0.8 * 270.0))
        assert street["parallel"].tolist() == needed.tolist()

    def test_half_a_ring_carries_all_stations(self, net, ports):
        ring = net.line[net.line["std_type"].str.startswith("NA2XS2Y")]
        amps = rusck(ports["dwellings"].sum()) / 0.95 / (math.sqrt(3) * 20.0 * 0.95)
        assert amps <= 0.8 * ring["max_i_ka"].min() * 1e3

    def test_figures_are_plausible_and_as_in_the_readme(self, net, areas, ports):
        text = (STUDY / "README.md").read_text(encoding="utf-8")
        km = net.line.groupby("std_type")["length_km"].sum()
        houses = ports["building_id"].nunique()
        kva, homes = net.trafo["sn_mva"].sum() * 1e3, ports["dwellings"].sum()
        lines = net.line[net.line["std_type"] == "NAYY 4x150 SE"]
        cable = (lines["length_km"] * lines["parallel"]).sum()
        for shown in (
            f"{houses} buildings, {len(ports)} services, {homes:,} dwellings",
            f"{len(net.trafo)} ({kva:,.0f} kVA)",
            f"{km['NAYY 4x50 SE'] * 1e3 / houses:.0f} m of service",
            f"{cable * 1e3 / houses:.0f} m of street cable",
            f"{kva / houses:.0f} kVA",
            f"{kva / homes:.1f} kVA per dwelling",
        ):
            assert shown in text, shown
        # facts: 50 to 200 homes behind a European transformer, 1 to 2 kW each
        for area in areas:
            assert 1.0 <= rusck(area.total) / area.total <= 2.1


class TestTools:
    @pytest.mark.parametrize("seed", range(12))
    def test_a_tree_is_cut_into_the_fewest_parts(self, code, seed):
        rng = np.random.default_rng(seed)
        number = int(rng.integers(2, 9))
        tree = nx.Graph()
        tree.add_node((0.0, 0.0))
        for i in range(1, number):
            tree.add_edge((float(i), 0.0), (float(rng.integers(i)), 0.0))
        weight = {n: int(rng.integers(0, 6)) for n in tree}
        most = max(*weight.values(), int(rng.integers(3, 12)))

        def parts(cuts):
            rest = tree.copy()
            rest.remove_edges_from(cuts)
            return [
                sum(map(weight.get, part)) for part in nx.connected_components(rest)
            ]

        fewest = next(
            size + 1
            for size in range(number)
            for cuts in itertools.combinations(tree.edges, size)
            if max(parts(cuts)) <= most
        )
        found = code.layout.cut_tree(tree, weight, most)
        assert len(found) == fewest
        assert max(sum(map(weight.get, part)) for part in found) <= most
        assert sorted(n for part in found for n in part) == sorted(tree)

    def test_a_long_street_gets_cables_for_its_voltage(self, code):
        rule = code.layout.Rule()
        area = nx.DiGraph()
        for k in range(6):
            area.add_edge((k * 90.0, 0.0), (k * 90.0 + 90.0, 0.0), length=90.0)
        count, drop = code.synthesise.parallel_cables(area, {(540.0, 0.0): 30}, rule)
        amps = rusck(30) / 0.95 / (math.sqrt(3) * 0.4 * 0.95)
        assert amps < 0.8 * 270.0  # one cable would do for the current
        assert max(count.values()) > 1
        assert max(drop.values()) <= rule.drop

    def test_another_place_needs_only_two_layers(self, code, tmp_path):
        roofs = gpd.GeoDataFrame(
            geometry=[shapely.box(x, 8, x + 12, 22) for x in range(0, 200, 25)],
            crs=32633,
        )
        streets = gpd.GeoDataFrame(
            geometry=[
                shapely.LineString([(-10, 0), (220, 0)]),
                shapely.LineString([(100, -50), (100, 60)]),  # no common end
            ],
            crs=32633,
        )
        for layer in (roofs, streets):
            layer["geometry"] = layer.translate(457000, 5550000)
        roofs.to_file(tmp_path / "roofs.gpkg")
        streets.to_file(tmp_path / "streets.gpkg")
        layers = code.recipe.own_layers(
            str(tmp_path / "roofs.gpkg"), str(tmp_path / "streets.gpkg")
        )
        code.recipe.write_place(
            *layers, tmp_path, name="row", notes={"kind": MARK, "source": "a test"}
        )
        net = pp.from_json(str(tmp_path / "feeder_synthetic.json"))
        assert MARK in net.name
        assert len(net.trafo) == 1
        assert len(net.load) == 8
        pp.runpp(net, numba=True)
        assert net.res_bus["vm_pu"].min() > 0.95

    def test_a_grid_of_streets_without_a_dead_end_has_its_source_at_a_station(
        self, code
    ):
        x, y = 457_000.0, 5_550_000.0
        ways = [((0, k), (140, k)) for k in (0, 60)]
        ways += [((k, 0), (k, 60)) for k in (0, 70, 140)]
        streets = gpd.GeoDataFrame(geometry=list(map(shapely.LineString, ways)))
        walls = [shapely.box(k, 8, k + 12, 20) for k in range(10, 130, 20)]
        roofs = gpd.GeoDataFrame(
            {"building_id": [str(k) for k in range(6)], "dwellings": 6}, geometry=walls
        )
        both = (
            layer.set_geometry(layer.translate(x, y)).set_crs(32633)
            for layer in (roofs, streets)
        )
        net, _ = code.synthesise.synthetic_network(*both, name="blocks")
        ring = net.line[net.line["name"].str.startswith("ring")]
        assert ring["length_km"].min() == 0.001
        pp.runpp(net)
        assert net.res_bus["vm_pu"].min() > 0.95

    def test_degrees_and_broken_streets_are_refused(self, code, roofs):
        streets = gpd.GeoDataFrame(
            geometry=[
                shapely.LineString([(0, 0), (9, 0)]),
                shapely.LineString([(0, 5), (9, 5)]),
            ],
            crs=32633,
        )
        with pytest.raises(ValueError, match="metres"):
            code.synthesise.synthetic_network(roofs, streets.to_crs(4326), name="x")
        square = gpd.GeoDataFrame(
            {"building_id": ["a"]}, geometry=[shapely.box(2, 1, 12, 14)], crs=32633
        )
        with pytest.raises(ValueError, match="2 separate parts"):
            code.synthesise.synthetic_network(square, streets, name="x")


@pytest.fixture(scope="module")
def study():
    return Study.read(STUDY / "study.toml")


class TestYear:
    def test_no_station_draws_more_than_it_was_planned_for(self, study, areas):
        load = study.loads(study.feeder())
        kw = load.p_shapes[load.shape_of_port] * load.p_scale_kw[:, None]
        table = pd.DataFrame(np.asarray(kw), load.port_ids)
        for area in areas:
            assert table.loc[area.names].sum().max() <= rusck(area.total)

    @pytest.mark.slow
    def test_the_demo_ends_with_a_verified_plan_and_marks_everything(
        self, study, tmp_path
    ):
        run = run_study(study)
        summary = run.summary
        assert summary["status"] == "optimal"
        replay = summary["replay"]
        assert replay["steps"] == 8784
        assert [replay[k] for k in ("base_violations", "new", "worsened")] == [0, 0, 0]
        assert summary["gap"] <= 0.005
        assert summary["served_share"] == pytest.approx(1.0, abs=1e-9)
        assert summary["units"] > 0
        assert summary["buildings"]["rated"] == 125
        assert summary["buildings"]["unmatched"] == 0
        out = run.write(tmp_path / "out")
        for path in out.glob("*.parquet"):
            assert MARK in notes(path)["generated"], path.name
        layers = pyogrio.list_layers(out / "siting.gpkg")[:, 0]
        for layer in set(layers) - {"layer_styles"}:
            info = pyogrio.read_info(out / "siting.gpkg", layer=layer)
            assert MARK in info["layer_metadata"]["generated"], layer
        for name in ("summary.json", "manifest.json"):
            assert MARK in (out / name).read_text(encoding="utf-8")
        page = (out / "map.html").read_text(encoding="utf-8")
        assert page.count(MARK) >= 3  # title, banner, foot of the picture
