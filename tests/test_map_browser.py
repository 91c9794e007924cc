"""The siting map in a real browser, without a network."""

import io
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gridsite.report import siting_map

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is missing")
_PATHS = [shutil.which("chromium"), shutil.which("chromedriver")]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(None in _PATHS, reason="needs chromium and chromedriver"),
]
make_results = runpy.run_path(str(Path(__file__).parent / "unit/report/conftest.py"))[
    "make_results"
]
EVIL = "<script>window.hacked = 1</script><img src=x onerror='hacked = 1'> $$x$$"
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--window-size=1400,900",
)
_WHEN_IDLE = """
const done = arguments[0]
const idle = () => window.Bokeh?.documents[0]?.is_idle
const look = () => idle() ? setTimeout(() => done(true), 100) : setTimeout(look, 50)
look()
"""
_MODEL = "const model = name => Bokeh.documents[0].get_model_by_name(name); "
#: Clicks the box of a switch; widgets live in nested shadow roots.
_CLICK = """
const label = arguments[0]
const find = root => {
  for (const element of root.querySelectorAll('*')) {
    const words = element.getRootNode().textContent
    if (element.type == 'checkbox' && words.includes(label)) return element
    const inside = element.shadowRoot && find(element.shadowRoot)
    if (inside) return inside
  }
}
find(document).click()
"""


@pytest.fixture(name="browser", scope="module")
def _browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = _PATHS[0]
    for flag in (*_FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(_PATHS[1])
    driver = webdriver.Chrome(options=options, service=service)
    driver.set_script_timeout(30)
    yield driver
    driver.quit()


@pytest.fixture(name="show")
def _show(browser, tmp_path):
    def show(results):
        path = siting_map(results, tmp_path / "map.html")
        browser.get(path.as_uri())
        browser.execute_async_script(_WHEN_IDLE)
        return browser

    yield show
    log = [entry for entry in browser.get_log("browser") if entry["level"] != "INFO"]
    assert log == []


def pixels(browser):
    """Return the picture of the map alone, as numbers."""
    png = browser.find_element("id", "map").screenshot_as_png
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def share_of(picture, colour):
    """Return the share of pixels that have a colour."""
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return (np.abs(picture - wanted).max(axis=2) <= 2).mean()


def test_the_map_is_drawn(show):
    browser = show(make_results())
    picture = pixels(browser)
    assert share_of(picture, "#fdfdfc") < 0.9
    assert share_of(picture, "#b3006b") > 1e-4, "no arrow to the central site"
    assert share_of(picture, "#4a0d3a") > 1e-4, "no overloaded transformer"
    assert share_of(picture, "#8c2d1b") > 1e-5, "no stripes"


@pytest.mark.parametrize(
    ("switch", "words"),
    [
        ("buildings", "Buildings"),
        ("units", "Placed units"),
        ("transformers", "Transformers"),
        ("lines", "Lines"),
        ("zones", "Demand zones"),
        ("central", "Central sites"),
    ],
)
def test_a_click_on_a_switch_hides_and_shows_its_layer(show, switch, words):
    browser = show(make_results())
    visible = f"{_MODEL} return model('{switch}').visible"
    before = pixels(browser)
    assert browser.execute_script(visible) is True
    browser.execute_script(_CLICK, words)
    browser.execute_async_script(_WHEN_IDLE)
    assert browser.execute_script(visible) is False
    hidden = pixels(browser)
    assert (hidden != before).any()
    browser.execute_script(_CLICK, words)
    assert browser.execute_script(visible) is True


def test_the_colouring_can_be_chosen(show):
    browser = show(make_results())
    before = share_of(pixels(browser), "#0072b2")
    browser.execute_script(f"{_MODEL} model('colouring').active = 2")
    field = browser.execute_script(
        f"{_MODEL} return model('buildings').glyph.fill_color.field"
    )
    assert field == "binding limit"
    assert share_of(pixels(browser), "#0072b2") > before


def test_a_metre_is_as_long_to_the_east_as_to_the_north(show):
    browser = show(make_results())
    east, north = browser.execute_script(
        f"{_MODEL} const p = model('map'); return [(p.x_range.end - p.x_range.start) / "
        "p.inner_width, (p.y_range.end - p.y_range.start) / p.inner_height]"
    )
    assert east == pytest.approx(north, rel=0.01)


def test_a_far_central_site_stays_at_the_edge_of_the_view(show):
    browser = show(make_results())
    where = (
        f"{_MODEL} const d = model('central').data_source.data; "
        "return [d.x[0], d.y[0], model('map').y_range.end]"
    )
    x, y, top = browser.execute_script(where)
    assert abs(x) < 0.2 * top
    assert 0.8 * top < y < top
    browser.execute_script(
        f"{_MODEL} const p = model('map'); "
        "p.x_range.setv({start: -50, end: 50}); p.y_range.setv({start: -30, end: 30})"
    )
    browser.execute_async_script(_WHEN_IDLE)
    x, y, top = browser.execute_script(where)
    assert 0.8 * top < y < top < 200.0


def test_texts_from_the_data_stay_texts(show):
    good = make_results(names=[EVIL, "B1", "B2", "B3"])
    tables = {
        "hosting": good.hosting.assign(limit_criterion=EVIL),
        "workloads": good.workloads.assign(workload=["batch", EVIL]),
        "assignment": good.assignment.replace("real-time", EVIL),
    }
    summary = dict.fromkeys(("study", "place", "status"), EVIL) | {"generated": [EVIL]}
    browser = show(
        make_results(names=[EVIL, "B1", "B2", "B3"], summary=summary, **tables)
    )
    browser.execute_script(f"{_MODEL} model('colouring').active = 2")
    canvas = browser.find_element("id", "map")
    x, y = browser.execute_script(
        f"{_MODEL} const p = model('map'), d = model('buildings').data_source.data; "
        "const across = (v, r) => (v - r.start) / (r.end - r.start) - 0.5; "
        "const mean = a => (Math.min(...a) + Math.max(...a)) / 2; "
        "return [across(mean(d.xs[0][0][0]), p.x_range) * p.inner_width, "
        "-across(mean(d.ys[0][0][0]), p.y_range) * p.inner_height]"
    )
    webdriver.ActionChains(browser).move_to_element_with_offset(canvas, x, y).perform()
    tooltip = browser.execute_async_script(
        "const done = arguments[0]; const texts = root => "
        "[...root.querySelectorAll('*')].map(e => e.shadowRoot ? "
        "e.shadowRoot.textContent + texts(e.shadowRoot) : '').join(' '); "
        "setTimeout(() => done(texts(document)), 800)"
    )
    assert f"Building {EVIL}" in tooltip
    assert browser.execute_script("return window.hacked === undefined")
    assert browser.title.startswith(EVIL)


def test_a_page_without_coordinates_says_so(show):
    browser = show(make_results(siting=False, coordinates=False))
    text = browser.execute_script(f"{_MODEL} return model('map').text")
    assert "no coordinates in the feeder file" in text
    assert "Layers" not in browser.find_element("tag name", "aside").text
