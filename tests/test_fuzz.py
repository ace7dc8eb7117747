"""Mutated sweep files, the same ones each time: each one runs, or gives one line and leaves nothing."""

import copy
import io
import json
import math
import os
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dashboards import load
from search_spaces import SpaceError
from sweeps import cli, run_sweep
from sweeps.errors import SweepFailed, UserError, one_line
from sweeps.executors.scripted import ScriptedExecutor, Step
from sweeps.planning.places import places
from sweeps.planning.plan import check_algorithms, schedule_of, slots_of
from sweeps.records import Assignment
from sweeps.runner import run
from sweeps.study.persistence import create_study, loaded_spec
from sweeps.study.study import Study
from sweeps.sweep_file.loading import load_spec
from sweeps.sweep_file.spec import SweepSpec

BASIC: dict[str, Any] = {
    "name": "fuzz",
    "objective": {"metric": "val_loss", "direction": "minimize"},
    "budget": {"trials": 3},
    "model": {"class_path": "tests.modules.Line", "init_args": {"lr": 0.1, "width": 4}},
    "data": {"class_path": "tests.modules.Data"},
    "trainer": {"max_epochs": 2, "accelerator": "cpu", "callbacks": []},
    "search_space": {
        "model.init_args.lr": {"type": "float", "low": 0.001, "high": 0.1, "log": True},
        "model.init_args.width": {"type": "int", "low": 2, "high": 8, "step": 2},
    },
    "resources": {"cpus": 1, "gpus": 0},
}
RICH: dict[str, Any] = {
    **BASIC,
    "budget": {"trials": 4, "hours": 1},
    "seed_everything": True,
    "search_space": {
        "model.init_args.width": [2, 4, 8],
        "data.init_args.batch_size": {"type": "categorical", "choices": [8, 16]},
        "model.init_args.lr": {"type": "float", "low": 1e-3, "high": 0.1,
                               "when": {"model.init_args.width": [2, 4]}},
        "optimizer": {
            "sgd": {"class_path": "torch.optim.SGD",
                    "init_args": {"lr": {"type": "float", "low": 0.01, "high": 0.1}, "momentum": 0.9}},
            "adam": {"class_path": "torch.optim.Adam",
                     "init_args": {"lr": 0.1, "betas": [[0.9, 0.99], [0.8, 0.99]]}},
        },
    },
    "constraints": ["model.init_args.width * data.init_args.batch_size <= 64"],
    "start_with": [{"model.init_args.width": 4}, {"optimizer": "sgd"}],
    "sampler": {"class_path": "tpe", "init_args": {"n_startup_trials": 2}},
    "pruner": {"class_path": "hyperband", "init_args": {"reduction_factor": 3}},
    "retries": {"exceptions": 1, "lost_workers": 2},
    "trial_timeout": 60,
    "max_failed_trials": 3,
    "keep_checkpoints": 2,
    "files": "sweep-files",
    "storage": "sqlite:///other.db",
    "tracking_uri": "sqlite:///mlflow.db",
}  # fmt: skip
OTHERS: dict[str, Any] = {
    **{key: BASIC[key] for key in ("objective", "budget", "data", "resources")},
    "config": "base.yaml",
    "include": ["adamw", {"extra.yaml": {"model.width": "model.init_args.width"}}],
    "search_space": {},
}
BESIDE: dict[str, Any] = {
    "base.yaml": {"model": BASIC["model"], "trainer": {"max_epochs": 2}, "ckpt_path": None},
    "extra.yaml": {"model.width": {"type": "int", "low": 2, "high": 8}},
}
SEEDS = (BASIC, RICH, OTHERS)
KEYS = sorted({key for seed in SEEDS for key in seed} | {"file", "notes", "cli"})

NAMES = (
    "", " ", ".", "..", "a.b", "a..b", ".a", "a.", "0", "-1", "1e5", "null", "~", "<<", "type", "when",
    "init_args", "class_path", "model.init_args.lr", "model", "__class__", "../../x", "/etc/passwd",
    "C:\\x", "a/b", "a b", "é", "日本", "\u202e", "\u2028", "\ud7ff", "a\nb", "a\tb", "a\x00b", "'", '"',
    "`", "{x}", "${HOME}", "${NOT_SET}", "%s", "<script>alert(1)</script>", "</style>", "x" * 300,
    "x" * 20_000, "*", "&a", "!!python/object/apply:os.system", "tests.modules.Line", "os.system",
    "sweeps", "a.b.c.d.e.f.g", "1.5", "on", "sqlite:///x.db", "sqlite:////no/such/folder/x.db",
    "http://user:p@ss@host/", "postgresql://nowhere/x", "file:///tmp/x", "sqlite://", "sqlite:///", "://",
    "optuna.samplers.TPESampler", "torch.nn.Linear", "...",
)  # fmt: skip
NUMBERS = (
    0, 1, -1, 2, 10**6, 10**18, 10**40, 10**400, -(10**400), 0.0, -0.0, 0.5, -0.5, 1e-320, 1e308, -1e308,
    math.nan, math.inf, -math.inf, 2**63, 2**63 - 1, 2**31, 2**32, 1e-9,
)  # fmt: skip
EXPRESSIONS = (
    "1 / 0 < 2", "model.init_args.width", "model.init_args.width ** 9 ** 9 < 1", "'a' * 10 ** 9 == ''",
    "(", "", "nothing < 1", "__import__('os').system('true')", "().__class__", "lambda: 1",
    "[x for x in (1, 2)]", "model.init_args.lr < 0", "model.init_args.width < 'a'", "True", "1 <",
    "a" * 5000, "(" * 500 + ")" * 500, "model.init_args.width <= 4 and optimizer == 'sgd'",
    "10 ** 10 ** 10 > 1", "not", "model.init_args.width[0]",
)  # fmt: skip


def nested(depth: int, kind: int) -> Any:
    """A value inside so many lists or mappings."""
    value: Any = 1
    for _ in range(depth):
        value = [value] if kind else {"a": value}
    return value


SCALARS = st.one_of(
    st.sampled_from(NAMES), st.sampled_from(NUMBERS), st.sampled_from(EXPRESSIONS), st.booleans(), st.none()
)
VALUES = st.one_of(
    SCALARS,
    st.sampled_from(
        [1, 2, 3, 0.01, "maximize", "last", "random", "cmaes", "qmc", "nsgaii", "none", "threshold"]
    ),
    st.sampled_from(["successive_halving", "gp", "brute_force", [1, 2], ["a", None, True, 0.5], "patient"]),
    st.recursive(
        SCALARS,
        lambda inner: st.one_of(
            st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)
        ),
        max_leaves=6,
    ),
    st.builds(nested, st.sampled_from([3, 30, 90, 300]), st.integers(0, 1)),
    st.sampled_from([300, 2000]).map(lambda count: list(range(count))),
    st.sampled_from(
        [list(range(5)) * 2, [math.nan, math.nan], [1, True, 1.0], [[], {}], [None], [{"type": "int"}]]
    ),
    st.builds(
        lambda kind, low, high, more: {"type": kind, "low": low, "high": high} | more,
        st.sampled_from(["float", "int", "categorical", "choice", "uniform", 1, None]),
        st.sampled_from(NUMBERS),
        st.sampled_from(NUMBERS),
        st.dictionaries(st.sampled_from(["log", "step", "when", "choices", "q"]), SCALARS, max_size=2),
    ),
).map(copy.deepcopy)  # a later change must not change what is drawn from


def places_in(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each container of a value with each key or index in it."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        yield value, key
        yield from places_in(inner)


@st.composite
def mutated(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """A sweep, and the files beside it, with one to three changes."""
    files = copy.deepcopy([draw(st.sampled_from(SEEDS)), BESIDE])
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
        whole = files[draw(st.sampled_from([0, 0, 0, 0, 1]))]
        holder, key = draw(st.sampled_from(list(places_in(whole)) or [(whole, None)]))
        match draw(st.sampled_from(["replace", "replace", "replace", "remove", "rename", "add", "key"])):
            case "remove" if key is not None:
                del holder[key]
            case "rename" if isinstance(holder, dict):
                holder[draw(st.sampled_from(NAMES))] = holder.pop(key)
            case "add" if isinstance(holder, dict):
                holder[draw(st.sampled_from(NAMES))] = draw(VALUES)
            case "key":
                whole[draw(st.sampled_from(KEYS))] = draw(VALUES)
            case _ if key is not None:
                holder[key] = draw(VALUES)
    return files[0], files[1]


TRICKS = (
    "\t", "\ufeff", "\r\n", "\r", "\x00", "\x07", "---\n", "...\n", "%YAML 1.1\n", "&a ", "*a", "*b",
    "<<: *a\n", "<<: [1]\n", "<<: {name: x}\n", "!!python/object/apply:os.system ['true']",
    "!!binary aGk=", "!!set {a}", "!!int x", "!foo ", "? ", "? [a]\n: b\n", "name: again\n", "name: x\n",
    ": ", ":", "- ", "|\n", ">-\n", "'", '"', "{", "}", "[", "]", "#", ",", "@", "`", "%", "=", "0x1F",
    "0o17", "1_000", "1:30", "2024-01-01", "1e400", ".nan", "-.inf", "99999999999999999999999999", "yes",
    "\u2028", "\u0085", "\U0001f600", "\ud7ff", "~", "null", "\\", "  ", "\n", "\n\n", "a: &x {b: *x}\n",
    "[" * 100, "{a: " * 100, "[" * 3000, "a: " * 50, "x" * 10_000,
)  # fmt: skip
BOMB = "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]\n" for i in range(1, 12))


@st.composite
def garbled(draw: st.DrawFn) -> bytes:
    """The bytes of a sweep file with things put in, taken out or swapped anywhere."""
    text = yaml.safe_dump(draw(st.sampled_from(SEEDS[:2])), sort_keys=False, allow_unicode=True)
    for _ in range(draw(st.sampled_from([1, 1, 2, 3]))):
        at = draw(st.integers(0, len(text)))
        match draw(st.sampled_from(["trick", "trick", "trick", "cut", "end", "repeat", "bomb"])):
            case "trick":
                text = text[:at] + draw(st.sampled_from(TRICKS)) + text[at:]
            case "cut":
                text = text[:at] + text[at + draw(st.integers(1, 30)) :]
            case "end":
                text = text[:at]
            case "repeat":
                text = text[:at] + text
            case "bomb":
                text = f"l0: &l0 lol\n{BOMB}{text}"
    raw = text.encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 9)) == 0:
        encoding = draw(st.sampled_from(["utf-16", "utf-32", "latin-1", "utf-8-sig"]))
        raw = text.encode(encoding, "replace")
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(raw)))
        raw = raw[:at] + draw(st.binary(min_size=1, max_size=4)) + raw[at:]
    return raw


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder to be in, with the modules of the tests."""
    before = Path.cwd()
    made = tmp_path_factory.mktemp("fuzz")
    (made / "tests").symlink_to(before / "tests")
    os.chdir(made)
    yield made
    os.chdir(before)


def steps(assignment: Assignment) -> Iterator[Step]:
    """Two validations."""
    yield from [(1.0, 0.5), (1.0, 0.25)]


def plan_and_simulate(path: Path) -> tuple[SweepSpec | None, str]:
    """All that a launch checks without the classes, then the sweep in simulated time; or the refusal."""
    try:
        spec = load_spec(path)
        places(spec)
        schedule = schedule_of(spec)
        slots_of([{"CPU": 4.0, "GPU": 0.0}], spec)
        check_algorithms(spec, schedule.validations() if not schedule.needs_batches else 2)
        for params in [spec.checked_constraints.centre, *(found for _, found in spec.space.variations())]:
            spec.space.configure(spec.base, params)
        made = create_study(spec, None, validations=2)
    except UserError as error:
        return None, str(error)
    except SpaceError as error:  # which the inspection of the classes turns into a line
        return None, one_line(f"{path}: search_space.{error.key}: {error.rule}")
    json.dumps(made.user_attrs, allow_nan=True)  # what a database keeps
    again = loaded_spec(made)  # what a resume reads
    assert again.space.rows() == spec.space.rows()
    few = spec.budget.model_copy(update={"trials": min(spec.budget.trials or 3, 3)})
    study = Study(made, again.model_copy(update={"budget": few}))
    try:
        run(study, ScriptedExecutor(steps, slots=2, length=2))
    except SweepFailed as error:
        return spec, str(error)
    return spec, ""


def assert_one_line(message: str) -> None:
    """It says something, on one line, that any terminal can show."""
    assert message.strip()
    assert all(c.isprintable() for c in message), message
    assert len(message) < 3000, message


COMMON = settings(
    derandomize=True, database=None, deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example,
                           HealthCheck.function_scoped_fixture],
)  # fmt: skip


def left_behind(folder: Path) -> set[str]:
    """What a refused file or a simulated sweep must not have made."""
    return {path.name for path in folder.iterdir()} - {"tests", "fuzz.yaml", *BESIDE}


@settings(COMMON, max_examples=1000)
@given(mutated())
def test_a_changed_sweep_runs_or_is_refused_in_one_line(
    folder: Path, files: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    write(folder, *files)
    spec, message = plan_and_simulate(folder / "fuzz.yaml")
    if spec is None:
        assert_one_line(message)
    assert left_behind(folder) == set()


@settings(COMMON, max_examples=400)
@given(garbled())
def test_a_garbled_file_runs_or_is_refused_in_one_line(folder: Path, content: bytes) -> None:
    (folder / "fuzz.yaml").write_bytes(content)
    spec, message = plan_and_simulate(folder / "fuzz.yaml")
    if spec is None:
        assert_one_line(message)
    assert left_behind(folder) == set()


def write(folder: Path, sweep: dict[str, Any], beside: dict[str, Any]) -> None:
    """Writes a sweep, and what belongs to it, in the place of those before."""
    for name in BESIDE:
        (folder / name).unlink(missing_ok=True)
    contents = {"fuzz.yaml": sweep} | {name: beside[name] for name in BESIDE if name in beside}
    for name, content in contents.items():
        (folder / name).write_text(yaml.dump(content, sort_keys=False, Dumper=yaml.CSafeDumper), "utf-8")


@settings(COMMON, max_examples=50)
@given(mutated())
def test_the_command_line_checks_it_with_the_classes(
    folder: Path, files: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    write(folder, *files)
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["sweeps", "check", "fuzz.yaml"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    if ended.value.code:
        assert ended.value.code == 2
        assert err.getvalue().startswith("sweeps: ")
        assert_one_line(err.getvalue().removesuffix("\n"))
    else:
        assert "no mistakes found" in out.getvalue()
    assert left_behind(folder) == set()


def test_the_sweep_that_is_changed_does_run(ray_cluster: None, folder: Path, tmp_path: Path) -> None:
    write(folder, RICH, BESIDE)
    os.chdir(tmp_path)
    one_slot = {"name": "real", "budget.trials": 2, "concurrency": 1}
    try:
        result = run_sweep(load_spec(folder / "fuzz.yaml", **one_slot))
    finally:
        os.chdir(folder)
    assert result.counts.total() == 2
    trials = load(tmp_path / "other.db", "real").trials
    assert {trial.worker for trial in trials} == {"worker-0"}
    assert result.best is not None
