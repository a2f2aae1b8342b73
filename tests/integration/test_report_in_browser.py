"""The report as a browser shows it."""

import runpy
import shutil
from pathlib import Path

import pytest

from audit_reports import write_html

SAMPLE = Path(__file__).parents[1] / "unit" / "test_reports_sample.py"
SWITCHES = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--window-size=1280,900",
)  # fmt: skip
HEADINGS = [
    "Answer",
    "Ranking",
    "Which measures deserve belief",
    "Held-out accuracy against measures",
    "Measures by depth",
    "All measures",
    "How each number was made",
]

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
    chromedriver = shutil.which("chromedriver")
    if not (chromium and chromedriver):
        pytest.skip("needs the programs chromium and chromedriver on the path")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for switch in SWITCHES:
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    sample_audit = runpy.run_path(str(SAMPLE))["sample_audit"]
    (path,) = write_html(sample_audit(), tmp_path_factory.mktemp("report"), {})
    return path.as_uri()


@pytest.fixture
def page(browser, report):
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.get(report)
    return browser


def column(page, table, index):
    """The visible texts of one column."""
    script = """return [...document.getElementById(arguments[0]).tBodies[0].rows]
        .filter((row) => !row.hidden).map((row) => row.cells[arguments[1]].textContent.trim())"""
    return page.execute_script(script, table, index)


def type_into(page, selector, text):
    field = page.find_element("css selector", selector)
    field.clear()
    field.send_keys(text)


def test_report_shows_every_section(page):
    headings = page.find_elements("css selector", "h2")
    assert [heading.text for heading in headings] == HEADINGS
    assert all(heading.is_displayed() for heading in headings)


def test_report_logs_nothing_and_loads_nothing(page):
    assert page.get_log("browser") == []
    assert page.execute_script("return performance.getEntriesByType('resource').length") == 0


def test_report_sorts_its_tables(page):
    before = column(page, "ranking-table", 0)
    page.find_element("css selector", "#ranking-table th:nth-child(1) button").click()
    page.find_element("css selector", "#ranking-table th:nth-child(1) button").click()
    assert column(page, "ranking-table", 0) == before[::-1]
    header = page.find_element("css selector", "#ranking-table th:nth-child(1)")
    assert header.get_attribute("aria-sort") == "descending"


def test_report_sorts_numbers_as_numbers_and_missing_ones_last(page):
    index = page.execute_script(
        "return [...document.querySelectorAll('#all-table thead th')]"
        ".findIndex((cell) => cell.title.startsWith('feature_entropy.clique.layer_5'))"
    )
    script = f"#all-table th:nth-child({index + 1}) button"
    for _ in range(2):
        page.execute_script("document.querySelector(arguments[0]).click()", script)
        texts = column(page, "all-table", index)
        known = [float(text) for text in texts if text != "–"]
        assert known in (sorted(known), sorted(known, reverse=True))
        assert texts[: len(known)] == [text for text in texts if text != "–"]


def test_report_finds_checkpoints_and_measures(page):
    type_into(page, "input[data-rows='all-table']", "resnet")
    assert len(column(page, "all-table", 0)) == 16
    type_into(page, "input[data-columns='all-table']", "unit_counts")
    script = "return document.querySelectorAll('#all-table thead th:not([hidden])').length"
    assert page.execute_script(script) == 7


def test_report_recolours_its_plots_without_a_script(page):
    point = page.find_element("css selector", ".scatters .point")
    before = point.value_of_css_property("fill")
    page.execute_script("document.querySelector('.by1').click()")
    assert point.value_of_css_property("fill") != before
    shown = [e.is_displayed() for e in page.find_elements("css selector", ".scatters .legend")]
    assert shown.index(True) == 1
    assert shown.count(True) == 1


@pytest.mark.parametrize("width", [320, 400, 768, 1280])
def test_report_never_scrolls_sideways(page, width):
    screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    assert page.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_report_text_stands_out_from_the_page(page, scheme):
    feature = [{"name": "prefers-color-scheme", "value": scheme}]
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": feature})
    for selector in ("p", "figcaption", "thead th", "a", ".facts dt", ".warn strong", ".tag"):
        ratio = page.execute_script(CONTRAST, selector)
        assert ratio >= 4.5, f"{selector} has contrast {ratio:.2f} in {scheme} mode"


CONTRAST = """
const parse = (text) => text.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
  .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const element = document.querySelector(`main ${arguments[0]}`);
let behind = element;
while (parse(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
const pair = [getComputedStyle(element).color, getComputedStyle(behind).backgroundColor];
const [low, high] = pair.map((text) => light(parse(text))).sort((a, b) => a - b);
return (high + 0.05) / (low + 0.05);
"""
