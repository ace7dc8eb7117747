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
    "ray": {"sweeps.executors.ray", "sweeps.executors.workers", "sweeps.executors.each",
            "sweeps.executors.address", "sweeps.executors.cluster",
            "sweeps.executors.life", "sweeps.executors.local"},
    "lightning": {"sweeps.lightning", "sweeps.command_line", "sweeps.user_code", "sweeps.init",
                  "sweeps.callbacks", "sweeps.checkpoints", "sweeps.inspection", "sweeps.techniques",
                  "sweeps.lr.range_test", "sweeps.trying"},
    "torch": {"sweeps.lightning", "sweeps.trial", "sweeps.callbacks", "sweeps.checkpoints",
              "sweeps.isolation", "sweeps.check", "sweeps.randomness", "sweeps.lr.range_test",
              "sweeps.trying"},
    "jsonargparse": {"sweeps.inspection"},
    "mlflow": {"sweeps.tracking", "sweeps.artifacts", "sweeps.refusals", "sweeps.mlflow_setup",
               "dashboards.tracking"},
    "optuna": {"sweeps.algorithms", "sweeps.rehearsal", "sweeps.auto", "sweeps.columns",
               "sweeps.warm_start", "sweeps.patient_storage", "sweeps.known_trials", "sweeps.grid",
               "sweeps.exhaustion", "sweeps.running",
               "sweeps.forecast", "sweeps.study", "sweeps.persistence", "sweeps.storage", "sweeps.control",
               "dashboards.results", "dashboards.storages", "dashboards.figures.studies",
               "dashboards.figures.importances", "dashboards.figures.space", "dashboards.figures.comparison",
               "dashboards.figures.pareto", "dashboards.lean"},
    "plotly": {"dashboards.figures", "dashboards.figures.style", "dashboards.figures.history",
               "dashboards.figures.curves", "dashboards.figures.importances", "dashboards.figures.space",
               "dashboards.figures.cost", "dashboards.figures.learning_rates",
               "dashboards.figures.comparison", "dashboards.figures.pareto",
               "dashboards.report.page"},
    "pandas": {"dashboards.frames"},
}  # fmt: skip


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
            allowed = home == "sweeps" and (other == "search_spaces" or name.startswith("sweeps.cli"))
            assert allowed, f"{name} imports {imported}"
        assert not within(imported, "sweeps.cli"), f"{name} imports the command line"
        if other in DOORS and not within(name, EXAMPLES):
            assert name in DOORS[other], f"{name} is not a door to {other}"


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
        "sweeps.spec",
        "sweeps.driver",
        "sweeps.recorder",
        "search_spaces",
        "dashboards",
    ],
)
def test_importing_it_loads_no_heavy_library(module: str) -> None:
    heavy = tuple(DOORS)
    code = f"import sys, {module}; print(sorted(set({heavy}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
