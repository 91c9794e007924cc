"""Keys of ``[buildings]`` in a study file: filters, attributes, ways to connect."""

from __future__ import annotations

import geopandas as gpd
import pandas as pd
import pytest
import shapely

from gridsite import Study, run_study
from gridsite.errors import ConfigError, DataError
from gridsite.input_checks import check_study
from gridsite.study.place_inputs import study_demand, study_places

KEYS = 'id_column = "building_id"'


@pytest.fixture
def places(make_study, tmp_path):
    """Return a function: the places of the tiny study with more keys."""

    def read(keys, prepare=None):
        path = make_study(tmp_path / "study", (KEYS, f"{KEYS}\n{keys}"))
        if prepare is not None:
            prepare(path.parent)
        study = Study.read(path)
        config = study.config
        return study, study_places(
            config.buildings, config.service, study.path, study.feeder()
        )

    return read


def roofs(folder):
    return gpd.read_parquet(folder / "roofs.parquet")


def test_filters_attributes_and_zones(places):
    def prepare(folder):
        table = roofs(folder)
        pd.DataFrame(
            {
                "id": table["building_id"],
                "use": ["home"] * 6 + ["church"] * 2,
                "height_m": [6.0, 30.0] + [6.0] * 6,
            }
        ).to_csv(folder / "register.csv", index=False)
        table.iloc[[2]].to_file(folder / "flood.gpkg", layer="hundred")

    study, found = places(
        'attributes = "register.csv"\nattributes_id = "id"\nuses = ["home"]\n'
        "max_height_m = 20.0\nexclusions = "
        '[{ file = "flood.gpkg", layer = "hundred", name = "flood" }]',
        prepare,
    )
    kept = [f"house {h}" for h in ("A1", "A4", "B1", "B2")]
    assert found.buildings["building_id"].tolist() == kept
    assert found.left_out["reason"].tolist() == [
        "height_m 30 is outside 0 to 20",
        "flood",
        "use 'church'",
        "use 'church'",
    ]
    assert found.connections["port_id"].tolist() == ["A1", "A4", "B1", "B2"]
    assert study.config.buildings.files() == [
        "roofs.parquet",
        "register.csv",
        "flood.gpkg",
    ]


def test_links_give_one_building_several_meters_and_one_meter_several_buildings(places):
    def prepare(folder):
        pd.DataFrame(
            {
                "building_id": ["house A1", "house A1", "house A2", "house A3"],
                "port_id": ["A1", "A2", "A4", "A4"],
            }
        ).to_csv(folder / "links.csv", index=False)

    _, found = places('links = "links.csv"', prepare)
    pairs = found.connections.groupby("building_id")["port_id"].agg(list)
    assert pairs["house A1"] == ["A1", "A2"]
    assert pairs["house A2"] == pairs["house A3"] == ["A4"]
    assert found.connections.attrs["report"]["buildings_with_several_ports"] == 1
    assert found.connections.attrs["report"]["ports_with_several_buildings"] == 1


def test_only_links_of_unknown_buildings_are_warned_of(places, caplog):
    def prepare(folder, extra=()):
        table = roofs(folder)
        ids = [*table["building_id"], *extra]
        ports = [*table["building_id"].str.removeprefix("house "), *extra]
        links = pd.DataFrame({"building_id": ids, "port_id": ports})
        links.to_csv(folder / "links.csv", index=False)
        use = ["home"] * 7 + ["church"]
        table.assign(use=use).to_parquet(folder / "roofs.parquet")

    keys = 'links = "links.csv"\nuses = ["home"]'
    _, found = places(keys, prepare)
    assert found.connections["port_id"].tolist() == [
        *("A1", "A2", "A3", "A4"),
        *("B1", "B2", "B3"),
    ]
    assert found.left_out["building_id"].tolist() == ["house B4"]
    assert "name no building" not in caplog.text
    places(keys, lambda folder: prepare(folder, extra=["Z9"]))
    assert "1 row(s) name no building" in caplog.text


def test_a_street_line_keeps_a_building_from_the_nearer_port_of_another(places):
    def prepare(folder):
        # every roof stands at a house of street A, but the street's line is of B
        table = roofs(folder)
        line = shapely.LineString(list(shapely.centroid(table.geometry.array[:4])))
        gpd.GeoDataFrame({"fed_by": ["station B"]}, geometry=[line], crs=4326).to_file(
            folder / "streets.geojson"
        )

    keys = 'street_lines = "streets.geojson"\nstreet_label_column = "fed_by"'
    _, found = places(f"{keys}\nmax_distance_m = 300.0", prepare)
    assert set(found.connections["port_id"].str[0]) == {"B"}
    assert (found.connections["match_confidence"] < 1.0).all()


def test_transformers_from_a_column_and_by_size(places):
    def prepare(folder):
        table = roofs(folder).assign(station=["station A"] * 4 + ["station B"] * 4)
        table.to_parquet(folder / "roofs.parquet")

    keys = 'transformer_column = "station"\nphases = "ABC"\nmin_transformer_kva = '
    assert len(places(f"{keys}100.0", prepare)[1].connections) == 8
    with pytest.raises(
        DataError, match="no port of transformer 'station A' has what is asked for"
    ):
        places(f"{keys}250.0", prepare)


@pytest.mark.parametrize(
    "keys",
    [
        'links = "a.csv"\nport_column = "p"',
        'street_lines = "a.gpkg"\ntransformer_column = "t"',
        'street_label_column = "fed_by"',
        "exclusions = [{ file = 'a.gpkg' }]",
        "uses = []",
    ],
)
def test_keys_that_contradict_one_another_are_refused(places, keys):
    with pytest.raises(ConfigError):
        places(keys)


def test_a_run_lists_who_was_left_out(make_study, tmp_path):
    keys = f'{KEYS}\nuse_column = "kind"\nuses = ["home"]\nmax_distance_m = 30.0'
    path = make_study(
        tmp_path / "study", (KEYS, keys), ("[solve]", "[solve]\ncompare = false")
    )
    table = roofs(path.parent).assign(kind=["home"] * 7 + ["church"])
    table.loc[6, "geometry"] = shapely.affinity.translate(table.geometry[6], 0, 0.001)
    table.to_parquet(path.parent / "roofs.parquet")
    run = run_study(Study.read(path))
    folder = run.write(tmp_path / "out")
    left = pd.read_parquet(folder / "left_out.parquet").set_index("building_id")
    assert list(left.index) == ["house B4", "house B3"]
    assert left["reason"]["house B4"] == "use 'church'"
    assert left["distance_m"]["house B3"] == pytest.approx(111.2 - 5.0, rel=0.01)
    assert "limit 30 m" in left["reason"]["house B3"]
    assert run.summary["buildings"]["unmatched"] == 1
    assert run.summary["buildings"]["filtered"] == 1


class TestUsers:
    """Keys of ``[users]``: where the demand of a study comes from."""

    FILE = 'file = "users.csv"\ngenerated = true\nh3_resolution = 11\n'

    @pytest.fixture
    def demand(self, make_study, tmp_path):
        def read(keys, prepare=None):
            path = make_study(tmp_path / "study", (self.FILE, keys + "\n"))
            if prepare is not None:
                prepare(path.parent)
            study = Study.read(path)
            return study, study_demand(study.config, study.path)

        return read

    def test_squares(self, demand):
        _, found = demand('file = "users.csv"\ncell = "square"\nsize_m = 50.0')
        assert found.zones["users"].tolist() == [10.0, 10.0]
        assert found.zones["zone_id"].str.startswith("50 m").all()

    def test_places_around_a_point(self, demand):
        study, found = demand(
            "near = { longitude = 7.88, latitude = 48.45, radius_km = 10.0 }\n"
            "share = 0.001\nh3_resolution = 6"
        )
        assert 50.0 < found.zones["users"].sum() < 300.0
        assert "users.csv" not in study.config.files()

    def test_a_run_says_that_quarters_are_an_estimate(self, demand):
        study, _ = demand(
            "near = { longitude = 7.88, latitude = 48.45, radius_km = 3.0 }\n"
            "share = 0.0001\nh3_resolution = 6"
        )
        notes = run_study(study).summary["assumptions"]
        assert any("count as its quarters (assumption)" in note for note in notes)

    def test_power_by_place(self, demand):
        def prepare(folder):
            table = pd.DataFrame(
                {"lon": [7.88, 7.881], "lat": [48.45, 48.451], "rt": 4.0, "night": 1.0}
            )
            table.to_csv(folder / "kw.csv", index=False)

        keys = 'file = "kw.csv"\nit_kw_columns = { real-time = "rt", batch = "night" }'
        study, found = demand(keys, prepare)
        total = found.demand.groupby("workload")["demand_it_kw"].sum()
        assert total.to_dict() == pytest.approx({"real-time": 8.0, "batch": 2.0})
        checked = check_study(study.folder / "study.toml").set_index("check")
        assert checked["value"]["total"] == pytest.approx(10.0)

    @pytest.mark.parametrize(
        "keys",
        [
            "",
            'file = "a"\nnear = { longitude = 7.0, latitude = 48.0, radius_km = 1.0 }',
            'file = "a"\nit_kw_columns = { real-time = "rt" }',
            'file = "a"\ncell = "triangle"',
        ],
    )
    def test_doubtful_keys_are_refused(self, demand, keys):
        with pytest.raises(ConfigError):
            demand(keys)
