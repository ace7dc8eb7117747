"""What a person sees after a sweep: `sweeps dashboard`, MLflow's pages, a real browser."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dashboards import load, ports
from tests.browser import chromium, wait_for

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver
    from selenium.webdriver.remote.webelement import WebElement


@pytest.fixture(scope="module")
def page(swept: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple["WebDriver", str]]:
    """A browser, and the address that `sweeps dashboard` printed."""
    command = [sys.executable, "-m", "sweeps.cli", "dashboard", "--no-open", "--port", str(ports.free())]
    with chromium(tmp_path_factory.mktemp("browser")) as driver:
        process = subprocess.Popen(command, cwd=swept, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        try:
            yield driver, process.stdout.readline().strip()
        finally:
            process.terminate()
            assert process.wait(30) == 0


def links(driver: "WebDriver", text: str) -> list["WebElement"]:
    """The visible links whose text begins so."""
    found = driver.find_elements("css selector", "a")
    return [link for link in found if link.is_displayed() and link.text.startswith(text)]


def open_runs(driver: "WebDriver", url: str, parent: str) -> None:
    """Opens the page of runs, where a fresh profile has every parent collapsed, and expands the sweep."""
    driver.get(url)
    row = f"//*[@role='row'][.//a[.='{parent}']]//button"
    wait_for(lambda: driver.find_elements("xpath", row))
    if not links(driver, "trial-"):
        driver.find_elements("xpath", row)[0].click()
    wait_for(lambda: links(driver, "trial-"))


def drawn_curves(driver: "WebDriver") -> list[str]:
    """The outlines of the curves that Plotly has drawn."""
    paths = driver.find_elements("css selector", ".js-plotly-plot .scatterlayer path.js-line")
    return [outline for path in paths if (outline := path.get_attribute("d"))]


def test_the_address_opens_the_sweeps_runs_with_the_trials_nested_under_it(
    page: tuple["WebDriver", str], tmp_path: Path
) -> None:
    driver, url = page
    assert url.endswith("/runs?workflowType=machine_learning")
    driver.get(url)
    wait_for(lambda: links(driver, "digits"))
    assert links(driver, "trial-") == []  # nested, and not expanded yet
    open_runs(driver, url, "digits")
    wait_for(lambda: len(links(driver, "trial-")) == 12)
    driver.save_screenshot(str(tmp_path / "runs.png"))


def test_a_trials_page_draws_its_loss_curves(
    page: tuple["WebDriver", str], swept: Path, tmp_path: Path
) -> None:
    driver, url = page
    best = load(swept / "sweeps.db", "digits").best
    assert best is not None
    open_runs(driver, url, "digits")
    next(link for link in links(driver, "trial-") if link.text == f"trial-{best.number}").click()
    wait_for(lambda: "val_loss" in driver.page_source and "/runs/" in driver.current_url)
    tabs = wait_for(
        lambda: [e for e in driver.find_elements("css selector", "[role=tab]") if "etrics" in e.text]
    )
    tabs[0].click()
    # Four validations: a path of four points; and the curve of the training loss has more.
    outlines = wait_for(
        lambda: [o for o in drawn_curves(driver) if o.count("L") == 3] and drawn_curves(driver)
    )
    driver.save_screenshot(str(tmp_path / "curves.png"))
    assert any(outline.count("L") > 3 for outline in outlines)
