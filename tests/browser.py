"""A real Chromium for tests, and a small MLflow store for it to look at."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from dashboards import ports

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

T = TypeVar("T")

_SWITCHES = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1600,1000",
)


@contextmanager
def chromium(folder: Path) -> Iterator["WebDriver"]:
    """Open a headless Chromium with an empty profile under `folder`.

    Skips the test if there is none on this machine; with CI=true in the environment it fails instead.
    """
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        reason = "needs chromium and chromedriver (Debian: apt install chromium chromium-driver)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for switch in (*_SWITCHES, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(switch)
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver))
    try:
        yield opened
    finally:
        opened.quit()


def wait_for(what: Callable[[], T], seconds: float = 30.0) -> T:
    """Call until the result is true, and return it.

    Raises:
        AssertionError: It never was; with what it was last.
    """
    deadline = time.monotonic() + seconds
    while not (result := what()):
        assert time.monotonic() < deadline, f"still {result!r} after {seconds:.0f} s"
        time.sleep(0.2)
    return result


def draw_all(driver: "WebDriver") -> list[Any]:
    """Scrolls through the page; returns the figures, which draw themselves when they come into view."""
    plots = driver.find_elements("css selector", ".plot")
    for plot in plots:
        wait_for(lambda plot=plot: _is_drawn(driver, plot))  # type: ignore[misc]
    return plots


def _is_drawn(driver: "WebDriver", plot: Any) -> bool:
    """Whether a figure is drawn; scrolls to it anew, since those above may have moved it."""
    driver.execute_script("arguments[0].scrollIntoView()", plot)
    return bool(plot.get_attribute("data-drawn") == "yes")


@contextmanager
def optuna_dashboard(database: Path) -> Iterator[str]:
    """Run Optuna's dashboard on a study database, on this machine only; gives its address."""
    port = ports.free()
    command = [str(Path(sys.executable).with_name("optuna-dashboard")), f"sqlite:///{database}",
               "--host", ports.LOOPBACK, "--port", str(port)]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: process.poll() is not None or _is_open(port), 60)
        yield f"http://{ports.LOOPBACK}:{port}"
    finally:
        process.terminate()
        process.wait(30)


def _is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((ports.LOOPBACK, port)) == 0


def record_experiment(folder: Path, name: str) -> str:
    """Make an MLflow database with a parent run and three children, and return its address."""
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.tracking import MlflowClient
    from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

    uri = f"sqlite:///{folder}/mlflow.db"
    client = MlflowClient(tracking_uri=uri)
    experiment = client.create_experiment(name, artifact_location=str(folder / "artifacts"))
    parent = client.create_run(experiment, run_name="sweep").info.run_id
    for number in range(3):
        run = client.create_run(experiment, run_name=f"trial-{number}", tags={MLFLOW_PARENT_RUN_ID: parent})
        lr = 10.0 ** -(number + 1)
        curve = [
            Metric("val_loss", 1.0 / (step + number), 1700000000000 + step, step) for step in range(1, 9)
        ]
        client.log_batch(run.info.run_id, curve, [Param("lr", str(lr))], [RunTag("state", "complete")])
        client.set_terminated(run.info.run_id)
    client.set_terminated(parent)
    return uri
