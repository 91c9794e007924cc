import re

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
from pyproj import Geod
from shapely import LineString, Point, box

from gridsite.report import map as siting
from gridsite.report import siting_map, write_results
from gridsite.report.display import STATUS_TEXT
from gridsite.schemas import STATUSES

EVIL = '<script>alert("1")</script> $$x$$'


@pytest.fixture(name="draw")
def _draw(tmp_path):
    return lambda results: siting_map(results, tmp_path / "map.html").read_text("utf-8")


def sources(results):
    """Return the data of each named renderer of the map."""
    plot = siting._roots(results)[0]
    return {r.name: r.data_source.data for r in plot.renderers}


def test_the_map_has_every_layer_and_opens_without_a_network(make_results, draw):
    page = draw(make_results())
    assert not re.search(r"<(script|link|img|iframe)[^>]*(src|href)=\"?(http|//)", page)
    assert "cdn.bokeh.org" not in page.split("<body>")[1]
    assert set(sources(make_results())) == {
        "buildings",
        "buildings_broken",
        "lines",
        "transformers",
        "zones",
        "units",
        "units_existing",
        "central",
        "central_labels",
    }


def test_the_page_says_what_a_planner_must_know(make_results, draw):
    page = draw(make_results(summary={"step_minutes": 60}))
    for text in (
        "Capacities and loadings are from steps of 60 minutes.",
        "do not add up",
        "Generated data: users per building",
        "3 units on 2 buildings",
        "38 kW rated, 30 kW IT at buildings",
        "100.0 % of demand served",
        "net present cost 2.50 M EUR",
        "gap 0.20 %",
        "AC replay of 8,760 steps: 0 limits newly broken, 0 worsened",
        "(2 broken without the plan)",
        "<li>protection</li>",
        "<li>assumption: 5 W per user</li>",
        "NO: other share served",
        "transformer current at T0",
        "in prices of\n    2025",
    ):
        assert text in page, text
    assert 'class="warning"' not in page


@pytest.mark.parametrize(
    ("summary", "words"),
    [
        ({"replay": {"steps": 8760, "new": 3, "worsened": 0}}, "This plan is not safe"),
        ({"replay": {"steps": 8760, "new": 0, "worsened": 1}}, "This plan is not safe"),
        ({"replay": None}, "was not replayed"),
        ({"status": "not_verified"}, "not verified"),
    ],
)
def test_an_unsafe_plan_is_announced_at_the_top(make_results, draw, summary, words):
    page = draw(make_results(summary=summary))
    warning = re.search(r'<p class="warning">(.*?)</p>', page)
    assert words in warning[1]


def test_no_text_from_the_data_becomes_markup(make_results, draw):
    summary = dict.fromkeys(("study", "place", "status", "currency"), EVIL)
    summary |= {key: [EVIL] for key in ("generated", "assumptions", "not_checked")}
    central = [{"site_id": EVIL, "lon": 8.0, "lat": 50.0, "it_kw": 1.0}]
    names = [EVIL, "</script><img src=x onerror=alert(1)>", "$$x$$", "B3"]
    good = make_results(names=names)
    tables = {
        "hosting": good.hosting.assign(
            limit_criterion=EVIL, limit_element=EVIL, second_criterion=EVIL, bus=EVIL
        ),
        "elements": good.elements.assign(element=[EVIL + str(i) for i in range(4)]),
        "workloads": good.workloads.assign(workload=[EVIL, EVIL + "2"]),
        "zones": good.zones.assign(zone_id=[EVIL, EVIL + "2"]),
        "violations": good.violations.assign(element=EVIL, criterion=EVIL),
        "comparison": good.comparison.assign(status=EVIL),
        "plan": good.plan.assign(unit=EVIL),
    }
    page = draw(
        make_results(names=names, summary=summary | {"central": central}, **tables)
    )
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;alert" in page
    assert len(page) < 2.5e6, "the browser would take formulas for text"


def test_a_hosting_only_run_draws_what_it_has(make_results, draw):
    results = make_results(siting=False)
    page = draw(results)
    assert set(sources(results)) == {
        "buildings",
        "buildings_broken",
        "lines",
        "transformers",
    }
    assert "hosting only: 2 of 4 connections rated" in page
    assert "Comparison of strategies" not in page
    assert 'class="generated"' not in page


def test_without_coordinates_the_page_says_so(make_results, tmp_path):
    results = make_results(siting=False, coordinates=False)
    folder = write_results(results, tmp_path / "out")
    page = (folder / "map.html").read_text("utf-8")
    assert "No map: no coordinates in the feeder file" in page
    assert 'id="north"' not in page
    assert (folder / "hosting.parquet").exists()


def test_buildings_are_drawn_where_only_the_feeder_lacks_coordinates(
    make_results, draw
):
    bare = pd.DataFrame(make_results().elements).assign(geometry=None)
    results = make_results(elements=bare)
    assert "lines" not in sources(results)
    assert "No coordinates in the feeder file" in draw(results)


def test_things_without_coordinates_are_counted(make_results, draw):
    good = make_results()
    buildings = good.buildings.copy()
    buildings.loc[1, "geometry"] = None
    buildings.loc[2, "geometry"] = Point()
    elements = good.elements.copy()
    elements.loc[0, "geometry"] = None
    results = make_results(buildings=buildings, elements=elements)
    page = draw(results)
    assert "2 buildings have no coordinates" in page
    assert "1 lines or transformers have no coordinates" in page
    assert len(sources(results)["buildings"]["xs"]) == 2


def test_lengths_on_the_map_are_metres(make_results):
    good = make_results()
    ends = [(7.88, 48.45), (7.89, 48.452)]
    elements = good.elements.assign(geometry=[LineString(ends), *[None] * 3])
    data = sources(make_results(elements=elements))["lines"]
    drawn = np.hypot(np.ptp(data["xs"][0]), np.ptp(data["ys"][0]))
    true = Geod(ellps="WGS84").line_length(*zip(*ends, strict=True))
    assert drawn == pytest.approx(true, rel=1e-3)


def test_footprints_keep_their_holes_and_parts(make_results):
    outer = box(7.88, 48.45, 7.881, 48.451)
    ring = outer.difference(box(7.8803, 48.4503, 7.8806, 48.4506))
    two = outer.union(box(7.885, 48.455, 7.886, 48.456))
    shapes = [ring, two, Point(7.88, 48.45), outer]
    buildings = make_results().buildings.set_geometry(gpd.GeoSeries(shapes, crs=4326))
    xs = sources(make_results(buildings=buildings))["buildings"]["xs"]
    assert [len(shape) for shape in xs] == [1, 2, 1, 1]
    assert [len(shape[0]) for shape in xs] == [2, 1, 1, 1]
    assert np.ptp(xs[2][0][0]) == pytest.approx(10.0, abs=0.2)


def test_a_central_site_lies_in_its_direction(make_results):
    sites = [
        {
            "site_id": "N",
            "lon": 7.882,
            "lat": 58.0,
            "distance_km": 1060.0,
            "it_kw": 1.0,
        },
        {"site_id": "W", "lon": 7.0, "lat": 48.45, "it_kw": 2.0},
    ]
    data = sources(make_results(summary={"central": sites}))["central"]
    assert abs(data["true_x"][0]) < 1e-3 * data["true_y"][0]
    assert data["true_x"][1] == pytest.approx(-65.2e3, rel=0.01)
    assert data["label"] == [
        "N: 1,060 km N, bearing 0°, serves 1 kW IT",
        "W: 65 km W, bearing 270°, serves 2 kW IT",
    ]
    assert data["align"][1] == "left"


def test_the_texts_under_the_pointer_name_limit_element_time_and_units(make_results):
    data = sources(make_results())
    first = data["buildings"]["text"][0]
    for words in (
        "firm: 25.0 kW, ok",
        "flexible: 30.0 kW (98 % of energy), 28.0 kW (98 % of hours)",
        "limit: voltage at b0, 2016-01-12 18:00+0100",
        "next limit: line current at L0",
        "units: 2 x xfra",
        "25.0 kW rated, 20.0 kW IT",
        "assumption: service size or profile",
    ):
        assert words in first
    assert (
        "none: acts on a limit that is broken already" in data["buildings"]["text"][2]
    )
    assert "not rated" in data["buildings"]["text"][3]
    assert "1 existing" in data["units"]["text"][1]
    assert "60.0 % without new units, 100.0 % with the plan" in data["lines"]["text"][1]
    assert "rating: 400 kVA" in data["transformers"]["text"][0]
    zone = data["zones"]["text"][0]
    assert "real-time: gets 40.0 kW IT, round trip 9.0 ms mean, 12.0 ms worst" in zone
    assert "batch: needs 60.0 kW IT" in zone


def test_lines_follow_the_loading_with_the_plan_else_without(make_results):
    colours = sources(make_results())["lines"]["colour"]
    base = make_results().elements.assign(plan_peak_percent=np.nan)
    others = sources(make_results(elements=base))["lines"]["colour"]
    assert colours != others
    assert colours[2] == others[2]


def test_extra_columns_do_not_disturb(make_results, draw):
    good = make_results()
    clutter = {"count": 9, "mix": "x", "title": "y", "rated_kw": 1.0, "fid": 3}
    tables = {
        name: good.tables()[name].assign(**clutter)
        for name in ("buildings", "hosting", "elements", "zones")
    }
    assert "3 units on 2 buildings" in draw(make_results(**tables))


def test_a_run_with_empty_tables_is_drawn(make_results, draw):
    good = make_results()
    empty = {name: good.tables()[name].iloc[:0] for name in ("plan", "assignment")}
    empty |= {"violations": good.violations.iloc[:0], "demand": good.demand.iloc[:0]}
    page = draw(make_results(**empty, hosting=good.hosting.iloc[:0]))
    assert "Demand zones" in page
    assert "units" not in sources(make_results(**empty))


def test_a_large_map_stays_small(make_results, draw):
    good = make_results(siting=False)
    ids = [f"building number {i}" for i in range(1500)]
    rng = np.random.default_rng(1)
    x, y = 7.88 + 0.02 * rng.random(1500), 48.45 + 0.02 * rng.random(1500)
    shapes = [box(a, b, a + 1e-4, b + 1e-4) for a, b in zip(x, y, strict=True)]
    at = np.arange(1500) % 4
    crs = "EPSG:4326"
    buildings = gpd.GeoDataFrame(
        pd.DataFrame(good.buildings).iloc[at].assign(building_id=ids, geometry=shapes),
        crs=crs,
    )
    hosting = good.hosting.iloc[at].assign(building_id=ids)
    paths = [
        LineString(np.column_stack([x[i : i + 5], y[i : i + 5]])) for i in range(1490)
    ] * 2
    lines = pd.DataFrame(good.elements).iloc[np.arange(2980) % 3].assign(geometry=paths)
    lines["element"] = [f"line number {i}" for i in range(2980)]
    elements = gpd.GeoDataFrame(lines, crs=crs)
    results = make_results(
        siting=False, buildings=buildings, hosting=hosting, elements=elements
    )
    assert len(draw(results).encode()) < 6e6


def test_every_status_of_the_contract_has_words():
    assert set(STATUSES) < set(STATUS_TEXT)
