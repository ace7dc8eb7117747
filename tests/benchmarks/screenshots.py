"""Pictures of everything that a person sees, to be looked at; run `make screenshots`.

Reports of made-up sweeps (`tests.studies`), light, dark and on a phone; MLflow's and Optuna's pages and the
terminal of a real sweep: that of the digits example in `--folder`, or a short one made for it.
"""

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from rich.console import Console
from rich.text import Text

from dashboards import load, ports, report, runs, server, tables
from dashboards.records import Sweep
from sweeps.records import Assignment
from sweeps.study.outcomes import outcome_of
from sweeps.study.persistence import load_study, loaded_spec
from sweeps.terminal.progress import Progress
from tests.browser import chromium, draw_all, optuna_dashboard
from tests.odd_studies import odd_sweeps
from tests.studies import realistic_sweep

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

LOOKS = {
    "light": ("light", 1200, False),
    "dark": ("dark", 1200, False),
    "phone": ("light", 390, True),
}
DIGITS = Path("sweeps/examples/digits.yaml").absolute()
TERMINAL_COLUMNS = 130
TALLEST = 12_000


def shot(driver: "WebDriver", target: Path, *, look: str = "light") -> None:
    """Take a picture of a whole page."""
    scheme, width, mobile = LOOKS[look]
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    size = {"width": width, "deviceScaleFactor": 1, "mobile": mobile}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {**size, "height": 900})
    driver.refresh()
    draw_all(driver)
    height = min(int(driver.execute_script("return document.documentElement.scrollHeight")), TALLEST)
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {**size, "height": height})
    driver.execute_script("scrollTo(0, 0)")
    time.sleep(0.5)
    driver.save_screenshot(str(target))
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def reports(driver: "WebDriver", target: Path, folder: Path) -> None:
    """Take pictures of the report: of a usual sweep in every look, of odd ones in one, of a comparison."""
    sweep = realistic_sweep(120)
    others = [realistic_sweep(80, seed=seed, name=f"other {seed}") for seed in (1, 2)]
    pages: dict[str, tuple[list[Sweep], list[str]]] = {
        "usual": ([sweep], list(LOOKS)),
        "comparison": ([sweep, *others], ["light", "phone"]),
        **{name: ([odd], ["light"]) for name, odd in odd_sweeps().items()},
    }
    for name, (shown, looks) in pages.items():
        path = folder / "report.html"
        path.write_text(report.build(shown), encoding="utf-8")
        for look in looks:
            driver.get(path.as_uri())
            shot(driver, target / f"report {name} {look}.png", look=look)


def mlflow_pages(driver: "WebDriver", target: Path, sweep: Sweep) -> None:
    """Take pictures of what MLflow shows of a real sweep."""
    found, parent = runs.find_runs(sweep), runs.find_parent(sweep)
    name = sweep.mlflow["experiment"]
    with server.start(sweep.mlflow["tracking_uri"], name, port=ports.free()) as served:
        address = f"{served.url.split('/#')[0]}/#"
        experiment = f"{address}/experiments/{found.experiment_id}"
        driver.get(address)
        driver.execute_script(CLOSED_ASSISTANT)
        best = sweep.best
        assert best is not None
        children = quote(str([found.run_ids[n] for n in sorted(found.run_ids)]).replace("'", '"'))
        compared = f"{address}/compare-runs?runs={children}&experiments=%5B%22{found.experiment_id}%22%5D"
        pages = {
            "runs": served.url,
            "charts": f"{served.url}&compareRunsMode=CHART",
            "parent": f"{experiment}/runs/{parent.run_id}{TRAINING}",
            "report": f"{experiment}/runs/{parent.run_id}/artifacts/report.html{TRAINING}",
            "trial": f"{experiment}/runs/{found.run_ids[best.number]}/model-metrics{TRAINING}",
            "compare": compared,
        }
        for page, url in pages.items():
            driver.get("about:blank")
            driver.get(url)
            time.sleep(6)  # MLflow's pages have no one sign that they are done
            driver.save_screenshot(str(target / f"mlflow {page}.png"))


TRAINING = "?workflowType=machine_learning"
CLOSED_ASSISTANT = "localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true')"


def terminal(driver: "WebDriver", target: Path, database: Path, name: str) -> None:
    """Take pictures of the tables and of the progress."""
    sweep = load(database, name)
    study = load_study(name, f"sqlite:///{database}", reads_only=True)
    out = io.StringIO()
    progress = Progress(
        loaded_spec(study), Console(file=out, width=TERMINAL_COLUMNS), clock=lambda: 60.0, started=0.0
    )
    *earlier, last = study.get_trials(deepcopy=False)[:-4]
    for trial in earlier:
        progress.catch_up(outcome_of(trial), trial.params)
    progress.record(Assignment(last.number, last.params, {}))
    progress.record(outcome_of(last))
    shown = {
        "check": Text.from_ansi(said_by("check", str(DIGITS), "--name", "other", folder=database.parent)),
        "launch": Text((database.parent / "launch.txt").read_text()),
        "watch": Text.assemble(out.getvalue(), f"{name} is finished; `sweeps status {name}` shows it"),
        "progress": progress,
        "status": tables.status_table(sweep),
        "list": tables.list_table([sweep.summary]),
    }
    for page, content in shown.items():
        console = Console(file=io.StringIO(), record=True, width=TERMINAL_COLUMNS, force_terminal=True)
        console.print(content)
        path = target / f"terminal {page}.html"
        path.write_text(console.export_html(), encoding="utf-8")
        driver.get(path.as_uri())
        driver.save_screenshot(str(path.with_suffix(".png")))
        path.unlink()


def said_by(*arguments: str, folder: Path) -> str:
    """What a command prints, with colours."""
    colours = {"FORCE_COLOR": "1", "TTY_INTERACTIVE": "0"}  # without the frames of a spinner
    environment = os.environ | colours | {"COLUMNS": str(TERMINAL_COLUMNS)}
    command = [sys.executable, "-m", "sweeps.cli", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, check=True, capture_output=True, text=True
    ).stdout


def swept(folder: Path) -> Path:
    """Sweep the digits example, for about a minute, in a new folder."""
    folder.mkdir()
    options = ["--trials", "24", "--set", "trainer.max_epochs=6"]
    command = [sys.executable, "-m", "sweeps.cli", "launch", str(DIGITS), *options]
    with (folder / "launch.txt").open("w") as file:
        subprocess.run(command, cwd=folder, check=True, stdout=file)
    return folder


def main() -> None:
    """Take all pictures, or those of one kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("screenshots"))
    parser.add_argument("--folder", type=Path, help="where the digits example was swept")
    parser.add_argument("--only", choices=["reports", "pages"])
    arguments = parser.parse_args()
    arguments.output = arguments.output.absolute()  # a browser opens what lies there
    arguments.output.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, chromium(Path(scratch)) as driver:
        if arguments.only != "pages":
            reports(driver, arguments.output, Path(scratch))
        if arguments.only != "reports":
            folder = arguments.folder or swept(Path(scratch) / "sweep")
            database = (folder / "sweeps.db").absolute()
            terminal(driver, arguments.output, database, "digits")
            with optuna_dashboard(database) as address:
                driver.get(f"{address}/dashboard/studies/1")
                time.sleep(5)
                driver.save_screenshot(str(arguments.output / "optuna dashboard.png"))
            mlflow_pages(driver, arguments.output, load(database, "digits"))


if __name__ == "__main__":
    main()
