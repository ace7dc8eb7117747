"""The house keeps its rooms: who may import whom, and which door leads to which heavy library."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGES = ("sweeps", "search_spaces", "dashboards")
MODULES = [path for package in PACKAGES for path in sorted(Path(package).rglob("*.py"))]
EXAMPLES = "sweeps.examples"

DOORS = {
    "ray": {"sweeps.executors": "address cluster each life local ray workers"},
    "lightning": {
        "sweeps.training": "callbacks checkpoints choices command_line going_on inspection kept_metrics"
        " lightning points probe stand_in techniques trying user_code",
        "sweeps.lr": "range_test",
        "sweeps.sweep_file": "init",
    },
    "torch": {
        "sweeps.training": "callbacks checkpoints choices going_on isolation kept_metrics lightning"
        " randomness stand_in trial trying",
        "sweeps.lr": "range_test",
        "sweeps.planning": "check",
    },
    "jsonargparse": {"sweeps.training": "inspection"},
    "mlflow": {"sweeps.tracking": "artifacts mlflow_setup refusals writer", "dashboards": "tracking"},
    "optuna": {
        "sweeps": "control",
        "sweeps.samplers": "algorithms auto columns exhaustion forecast grid rehearsal warm_start",
        "sweeps.storages": "alone behind frozen known_trials patient_storage storage",
        "sweeps.study": "persistence running study",
        "dashboards": "lean results storages",
        "dashboards.figures": "comparison importances pareto space studies",
    },
    "plotly": {
        "dashboards": "figures",
        "dashboards.figures": "comparison cost curves history importances learning_rates pareto space style",
        "dashboards.report": "page",
    },
    "pandas": {"dashboards": "frames"},
}
"""The modules, by package, through which a heavy library is reached."""

STRANGERS = {
    "training": "study storages samplers tracking planning terminal",
    "executors": "study storages samplers tracking planning terminal",
    "storages": "study samplers training executors tracking lr planning terminal",
    "samplers": "study training executors tracking lr planning terminal",
    "study": "training executors tracking lr planning terminal",
    "tracking": "samplers training executors terminal",
    "sweep_file": "storages executors tracking planning terminal",
    "planning": "tracking terminal",
    "lr": "storages samplers terminal",
}
"""The rooms of the engine that a room knows nothing of: a worker has no study, no MLflow and no plan, the
study does not know who trains, the recorder writes what it is told."""


def name_of(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> Iterator[str]:
    """Everything that a module imports at run time, wherever in it."""
    tree = ast.parse(path.read_text())
    hidden = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in hidden:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


@pytest.mark.parametrize("path", [pytest.param(path, id=name_of(path)) for path in MODULES])
def test_a_module_imports_only_what_its_room_allows(path: Path) -> None:
    name = name_of(path)
    for imported in imports(path):
        home = name.partition(".")[0]
        other = imported.partition(".")[0]
        if other in PACKAGES and other != home:
            allowed = home == "sweeps" and (other == "search_spaces" or within(name, "sweeps.cli"))
            assert allowed, f"{name} imports {imported}"
        assert within(name, "sweeps.cli") or not within(imported, "sweeps.cli"), (
            f"{name} imports the command line"
        )
        if other in DOORS and not within(name, EXAMPLES):
            package, _, module = name.rpartition(".")
            assert module in DOORS[other].get(package, "").split(), f"{name} is not a door to {other}"


@pytest.mark.parametrize("room", STRANGERS)
def test_a_room_of_the_engine_does_not_know_its_strangers(room: str) -> None:
    for path in sorted(Path("sweeps", room).rglob("*.py")):
        for imported in imports(path):
            for stranger in STRANGERS[room].split():
                assert not within(imported, f"sweeps.{stranger}"), f"{name_of(path)} imports {imported}"


@pytest.mark.parametrize("path", [pytest.param(path, id=name_of(path)) for path in MODULES])
def test_a_module_has_under_300_lines_and_says_where_it_belongs(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) < 300
    assert ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize(
    "module",
    [
        "sweeps",
        "sweeps.cli",
        "sweeps.sweep_file.spec",
        "sweeps.driver",
        "sweeps.tracking.recorder",
        "search_spaces",
        "dashboards",
    ],
)
def test_importing_it_loads_no_heavy_library(module: str) -> None:
    heavy = tuple(DOORS)
    code = f"import sys, {module}; print(sorted(set({heavy}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
