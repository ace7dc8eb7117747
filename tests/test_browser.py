"""What a person sees after a sweep: `sweeps dashboard`, MLflow's pages, a real browser."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from dashboards import load, ports
from dashboards.runs import find_parent, find_runs
from tests.browser import chromium, draw_all, wait_for

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


def test_the_report_opens_among_the_parents_artifacts_and_draws_itself(
    page: tuple["WebDriver", str], swept: Path, tmp_path: Path
) -> None:
    driver, url = page
    parent = find_parent(load(swept / "sweeps.db", "digits"))
    driver.get_log("browser")  # type: ignore[no-untyped-call]
    driver.get(url.replace("/runs?", f"/runs/{parent.run_id}/artifacts/report.html?"))
    frame = wait_for(lambda: driver.find_elements("css selector", "iframe.mlflow-html-iframe"))[0]
    driver.save_screenshot(str(tmp_path / "report.png"))
    driver.switch_to.frame(frame)
    try:
        wait_for(lambda: driver.find_elements("css selector", "#trials tbody tr"))
        plots = draw_all(driver)
        assert len(plots) > 8
        assert all(plot.find_elements("css selector", "svg.main-svg") for plot in plots)
        # In this frame there is no clipboard and no other page: the text is shown, and nothing is linked.
        driver.execute_script("document.querySelector('#trials tbody button').click()")
        area = wait_for(lambda: driver.find_elements("css selector", "dialog[open] textarea"))[0]
        assert "class_path: sweeps.examples.digits" in str(area.get_property("value"))
        assert driver.find_elements("css selector", "#trials a") == []
        assert not driver.find_element("css selector", ".links").is_displayed()
    finally:
        driver.switch_to.default_content()
    said = [line["message"] for line in driver.get_log("browser")]  # type: ignore[no-untyped-call]
    assert [line for line in said if "blob:" in line or "srcdoc" in line] == []


def test_mlflows_comparison_draws_the_trials_parameters_as_numbers(
    page: tuple["WebDriver", str], swept: Path, tmp_path: Path
) -> None:
    driver, url = page
    found = find_runs(load(swept / "sweeps.db", "digits"))
    chosen, experiment = json.dumps(list(found.run_ids.values())), json.dumps([found.experiment_id])
    address = url.partition("/experiments/")[0]
    driver.get(f"{address}/compare-runs?runs={quote(chosen)}&experiments={quote(experiment)}")
    names = wait_for(
        lambda: {e.text for e in driver.find_elements("css selector", ".parcoords .axis-title")} - {""}
    )
    assert {"model.init_args.hidden", "model.init_args.dropout", "data.init_args.batch_size"} <= names
    # The ends of an axis of numbers are written as numbers, those of one of texts are not written.
    ends = {e.text for e in driver.find_elements("css selector", ".parcoords .axis-extent-text")}
    assert any(end.startswith("32.0") for end in ends), ends
    driver.save_screenshot(str(tmp_path / "comparison.png"))


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
