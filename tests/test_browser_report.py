"""The report in a real browser, opened from a file: drawn, sorted, filtered, copied, dark, and on a phone."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from dashboards import report
from dashboards.export import script_config
from dashboards.records import Sweep
from tests.browser import chromium, draw_all, wait_for
from tests.odd_studies import evil
from tests.studies import realistic_sweep

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

SWEEP: Sweep = realistic_sweep(120)
DARK, LIGHT = ({"features": [{"name": "prefers-color-scheme", "value": name}]} for name in ("dark", "light"))
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator["WebDriver"]:
    with chromium(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("report") / "report é #1.html"
    path.write_text(report.build(SWEEP), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def page(driver: "WebDriver", address: str) -> Iterator["WebDriver"]:
    driver.get(address)
    yield driver
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", LIGHT)
    assert driver.get_log("browser") == []  # type: ignore[no-untyped-call]


def cells(driver: "WebDriver", column: int) -> list[str]:
    script = """return [...document.querySelectorAll('#trials tbody tr')].map(
        row => row.cells[arguments[0]].textContent)"""
    found: list[str] = driver.execute_script(script, column)
    return found


def click(driver: "WebDriver", selector: str) -> None:
    driver.execute_script("document.querySelector(arguments[0]).click()", selector)


def test_every_figure_is_drawn_without_a_request(page: "WebDriver") -> None:
    plots = draw_all(page)
    assert len(plots) == 14
    for plot in plots:
        assert plot.find_elements("css selector", "svg.main-svg")
        marks = ".point, path.js-line, .contour path, .bars path, .contourlayer path"
        assert plot.find_elements("css selector", marks), plot.get_attribute("aria-label")
        assert len(plot.get_attribute("aria-label") or "") > 20
    assert page.execute_script("return performance.getEntriesByType('resource').length") == 0


def test_hovering_over_a_point_says_which_trial_it_is(page: "WebDriver") -> None:
    from selenium.webdriver import ActionChains

    plot = page.find_elements("css selector", ".plot")[0]
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", plot)
    wait_for(lambda: plot.get_attribute("data-drawn") == "yes")
    points = plot.find_elements("css selector", ".scatterlayer .point")
    point = max(points, key=lambda point: int(point.location["y"]))  # the lowest is in the range shown
    ActionChains(page).move_to_element(point).perform()
    hover = wait_for(lambda: plot.find_elements("css selector", ".hoverlayer .hovertext"))
    assert "trial" in hover[0].text


def test_the_table_sorts_by_a_column_in_both_directions(page: "WebDriver") -> None:
    assert cells(page, 0)[:3] == ["0", "1", "2"]
    click(page, "#trials th:nth-child(3) button")
    values = [float(value) for value in cells(page, 2)]
    assert values == sorted(values)
    assert (
        page.execute_script("return document.querySelector('#trials th:nth-child(3)').ariaSort")
        == "ascending"
    )
    click(page, "#trials th:nth-child(3) button")
    values = [float(value) for value in cells(page, 2)]
    assert values == sorted(values, reverse=True)
    click(page, "#more")
    assert len(cells(page, 0)) == 120
    assert cells(page, 2)[-1] == ""  # trials without a value stay last


def test_the_table_filters_by_state_text_and_comparison(page: "WebDriver") -> None:
    count = page.find_element("id", "count")
    page.find_element("css selector", "#state option:nth-child(3)").click()
    state = cells(page, 1)[0]
    assert count.text == f"{sum(t.state == state for t in SWEEP.trials)} of 120 trials"
    page.find_element("css selector", "#state option:nth-child(1)").click()
    page.find_element("id", "filter").send_keys("hidden < 32")
    expected = sum(t.params["model.init_args.hidden"] < 32 for t in SWEEP.trials)
    assert count.text == f"{expected} of 120 trials"
    page.find_element("id", "filter").clear()
    page.find_element("id", "filter").send_keys("out of memory")
    assert count.text == f"{sum('memory' in t.reason for t in SWEEP.trials)} of 120 trials"


def test_a_trials_configuration_is_copied_as_yaml(page: "WebDriver") -> None:
    page.execute_script(
        "window.copied = ''; navigator.clipboard.writeText = async text => { window.copied = text; }"
    )
    click(page, "#trials tbody tr:nth-child(4) button")
    copied = wait_for(lambda: page.execute_script("return window.copied"))
    assert yaml.safe_load(copied) == script_config(SWEEP.trials[3])
    click(page, "button.copy")
    assert SWEEP.best is not None
    best = wait_for(lambda: page.execute_script("return window.copied") != copied) and page.execute_script(
        "return window.copied"
    )
    assert yaml.safe_load(best) == script_config(SWEEP.best)


def test_without_a_clipboard_the_configuration_is_shown(page: "WebDriver") -> None:
    page.execute_script("navigator.clipboard.writeText = async () => { throw new Error('no'); }")
    click(page, "#trials tbody tr:nth-child(1) button")
    area = wait_for(lambda: page.find_elements("css selector", "dialog[open] textarea"))[0]
    assert yaml.safe_load(area.get_property("value")) == script_config(SWEEP.trials[0])  # type: ignore[arg-type]


def test_dark_mode_changes_the_page_and_the_figures(page: "WebDriver", tmp_path: Path) -> None:
    draw_all(page)

    def colours() -> list[str]:
        script = """const look = element => getComputedStyle(element);
            return [look(document.body).backgroundColor,
                    look(document.querySelector(".plot .xtick text")).fill]"""
        found: list[str] = page.execute_script(script)
        return found

    light = colours()
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", DARK)
    wait_for(lambda: colours()[1] != light[1])
    assert colours() == ["rgb(21, 24, 28)", "rgb(230, 233, 237)"]
    page.save_screenshot(str(tmp_path / "dark.png"))


def test_a_phone_needs_no_sideways_scrolling(page: "WebDriver", tmp_path: Path) -> None:
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    page.refresh()
    draw_all(page)
    assert page.execute_script("return document.documentElement.scrollWidth") == 390
    wide = """return [...document.querySelectorAll('figcaption, p, h1, h2, h3')].filter(
        element => element.scrollWidth > 390).length"""
    assert page.execute_script(wide) == 0
    page.save_screenshot(str(tmp_path / "phone.png"))


def test_printing_draws_everything(page: "WebDriver") -> None:
    printed = page.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})
    assert len(printed["data"]) > 50_000
    wait_for(lambda: all(p.get_attribute("data-drawn") for p in page.find_elements("css selector", ".plot")))


def test_markup_in_names_is_shown_as_text(driver: "WebDriver", tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(report.build(evil()), encoding="utf-8")
    driver.get((tmp_path / "report.html").as_uri())
    draw_all(driver)
    time.sleep(0.2)
    assert driver.find_elements("css selector", "img") == []
    assert driver.find_elements("css selector", "main b") == []
    titles = [e.text for e in driver.find_elements("css selector", ".plot .ytitle")]
    assert any(title.startswith("<b>x</b> </script>") for title in titles), titles
    assert driver.get_log("browser") == []  # type: ignore[no-untyped-call]
