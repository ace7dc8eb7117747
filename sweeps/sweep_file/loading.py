"""Reads a sweep file: YAML, then overrides, then the checks; every mistake becomes one line."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from search_spaces import SpaceError, read_text, read_yaml
from search_spaces.wording import did_you_mean
from sweeps.errors import SpecError, UserError
from sweeps.lr.narrow import check_finder
from sweeps.oom import problem
from sweeps.sweep_file.cells import grid_arguments, trials_of_grid
from sweeps.sweep_file.existing import check_cli, take_config, take_group_files, take_includes, take_own_keys
from sweeps.sweep_file.from_python import plain
from sweeps.sweep_file.sections import (
    Budget,
    Component,
    LrFinder,
    Objective,
    Oom,
    Resources,
    Retries,
    StopWhen,
    written_out,
)
from sweeps.sweep_file.spec import CLASSES, INTERNAL, WANTED, SweepSpec

RESOLVED = ("config", "include")
"""The keys that name other files; what these hold may be overridden like the sweep file's own."""

HABITS = {
    "program": "cli", "command": "cli", "method": "sampler", "search_alg": "sampler",
    "early_terminate": "pruner", "parameters": "search_space", "param_space": "search_space",
    "metric": "objective", "direction": "objective.direction", "goal": "objective.direction",
    "mode": "objective.direction", "n_trials": "budget.trials", "num_samples": "budget.trials",
    "run_cap": "budget.trials", "timeout": "budget.hours", "time_budget_s": "budget.hours",
    "n_jobs": "concurrency", "max_concurrent": "concurrency", "max_concurrent_trials": "concurrency",
    "objective.name": "metric", "objective.goal": "direction", "objective.mode": "direction",
    "budget.num_samples": "trials", "budget.timeout": "hours",
    "sampler.name": "class_path", "sampler.type": "class_path",
    "pruner.name": "class_path", "pruner.type": "class_path",
}  # fmt: skip
"""What Weights & Biases, Optuna and Ray Tune call it: a user's first sweep file holds these words."""


def load_spec(
    source: str | Path | Mapping[str, Any], *, overrides: Sequence[str] = (), **fields: Any
) -> SweepSpec:
    """Reads and checks a sweep file.

    Args:
        source: The path of a YAML file, or its content as a mapping; see `from_python.plain`.
        overrides: `key=value` items as `--set` takes them: a dotted path and a YAML value.
        fields: Dotted paths and values that win over the file, such as `**{"budget.trials": 8}`;
            None is ignored.

    Raises:
        SpecError: Something in the file is wrong; one line with file, key, rule and value.
        UserError: An override is not of the form `key=value`, or its value is not YAML.
    """
    file = "" if isinstance(source, Mapping) else str(source)
    raw: Any = plain(source) if isinstance(source, Mapping) else _read(Path(source), file)
    if file:
        raw.setdefault("name", Path(file).stem)
    changes = [_override(item) for item in overrides]
    changes += [(key, plain(value, key)) for key, value in fields.items() if value is not None]
    for key, value in changes:
        if key in RESOLVED:
            raw[key] = value
    take_group_files(raw, file)
    folder = Path(raw["config"]).parent if isinstance(raw.get("config"), str) else Path()
    notes = take_config(raw, file)
    take_includes(raw, file)
    for key, value in changes:
        if key not in RESOLVED:
            _set(raw, key, value, file)
    take_group_files(raw, file)  # what was set may be one
    return _checked(raw, file, notes, folder)


def _read(path: Path, file: str) -> dict[str, Any]:
    try:
        raw = read_yaml(read_text(path), file)
    except FileNotFoundError:
        near = did_you_mean(path.name, [p.name for p in path.parent.glob("*.y*ml")])
        raise SpecError(file, "", f"no such file{near}") from None
    except SpaceError as error:
        raise SpecError(file, "", error.rule) from None
    if raw is None:
        raise SpecError(file, "", "the file is empty; `sweeps init my_project.Net my_project.Data` "
                        "writes a first one")  # fmt: skip
    if not isinstance(raw, dict):
        raise SpecError(file, "", f"a sweep file is a mapping of keys, but this is a {type(raw).__name__}")
    return raw


def _checked(raw: dict[str, Any], file: str, notes: tuple[str, ...], folder: Path) -> SweepSpec:
    for key in INTERNAL:
        if key in raw:
            raise SpecError(file, *_unknown([key]))
    if raw.get("cli") is not None:
        raw["cli"] = check_cli(raw["cli"], file)
        raw.setdefault("seed_everything", raw["cli"].get("seed_everything_default", 0))
    is_whole_grid = "budget" not in raw and grid_arguments(raw.get("sampler")) is not None
    if is_whole_grid:
        raw["budget"] = {"trials": 1}  # until it is known how many there are
    take_own_keys(raw, list(SweepSpec.model_fields), file, folder)
    try:
        spec = SweepSpec.model_validate({**raw, "file": file, "notes": notes})
    except ValidationError as error:
        raise SpecError(file, *first_problem(error)[:2]) from None
    if spec.model is None and spec.cli is None:
        raise SpecError(file, "model", "is missing")
    _check_objectives(spec)
    if rule := problem(spec.oom.batch_size, spec.base, [site.config_path for site in spec.space.sites]):
        raise spec.error("oom.batch_size", rule)
    if (auto := spec.auto_batch_size) and auto in [site.config_path for site in spec.space.sites]:
        raise spec.error(auto, "is searched, so `auto` would never be used; leave it out")
    # Checked now, so that a loaded specification is a right one.
    _ = spec.space, spec.checked_constraints, spec.start_with_params
    check_finder(spec)
    if is_whole_grid:
        spec = spec.model_copy(update={"budget": Budget(trials=trials_of_grid(spec))})
    return spec


def _check_objectives(spec: SweepSpec) -> None:
    """Checks what several objectives must not say."""
    if len(spec.objectives) == 1:
        return
    metrics: list[str] = []
    for index, objective in enumerate(spec.objectives):
        if objective.metric in metrics:
            raise spec.error(f"objective.{index}.metric", f"{objective.metric!r} is an objective already")
        metrics.append(objective.metric)
        if index and "value" in objective.model_fields_set:
            rule = "only the first objective says which validation counts; all values are those of that one"
            raise spec.error(f"objective.{index}.value", f"{rule}, but got {objective.value!r}")
    pruner = written_out(spec.pruner).class_path
    if pruner.rpartition(".")[2] not in ("none", "NopPruner"):
        rule = f"{len(metrics)} objectives cannot be pruned: leave it out, or say `pruner: none`"
        raise spec.error("pruner", f"{rule}, but got {pruner!r}")


def first_problem(error: ValidationError) -> tuple[str, str, Any]:
    """The key, the one-line rule and the value of the first thing that pydantic found."""
    # Where a key takes a name or a mapping, pydantic complains about both: the mapping's is the telling one.
    problems = error.errors(include_url=False)
    problem = max(problems, key=lambda p: (p["type"] == "extra_forbidden", len(p["loc"])))
    *parents, last = [str(part) for part in problem["loc"]] or [""]
    # Which of a key's types complains:
    tags = ("str", "bool", "int", "Component", "Objective", "tuple[Objective, ...]")
    location = [part for part in parents if part not in tags]
    if problem["type"] == "extra_forbidden":
        return *_unknown([*location, last]), problem["input"]
    if last not in tags:
        location.append(last)
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        # With a command line of the user's, a key that is written wrong is taken for one of its own.
        own = problem["input"].get("config") if isinstance(problem["input"], dict) else None
        near = difflib.get_close_matches(last, own or [], n=1)
        message = f"is missing; is {near[0]!r} meant for it?" if near else "is missing"
    elif wanted := WANTED.get(".".join(location)):
        message = f"must be {wanted}, but got {problem['input']!r}"
    elif problem["type"] == "model_type":
        known = ", ".join(_model_at(location).model_fields)
        message = f"must be a mapping with {known}, but got {problem['input']!r}"
    elif problem["type"] == "dict_type":
        message = f"must be a mapping of keys, but got {problem['input']!r}"
    elif problem["type"] != "value_error" and not isinstance(problem["input"], dict | SweepSpec):
        message = f"{message[0].lower()}{message[1:]}, but got {problem['input']!r}"
    return ".".join(location), message, problem["input"]


def _unknown(path: Sequence[str]) -> tuple[str, str]:
    """The key and the rule for a key that the file cannot have."""
    known = [name for name in _model_at(path[:-1]).model_fields if name not in INTERNAL]
    key = ".".join(path)
    near = f", did you mean {HABITS[key]!r}?" if key in HABITS else did_you_mean(path[-1], known)
    return key, f"unknown key{near}; known are {', '.join(known)}"


def _model_at(path: Sequence[str]) -> type[BaseModel]:
    sections: dict[str, type[BaseModel]] = {
        "objective": Objective, "budget": Budget, "resources": Resources, "retries": Retries,
        "stop_when": StopWhen, "oom": Oom, "sampler": Component, "pruner": Component,
        "lr_finder": LrFinder,
    }  # fmt: skip
    return sections.get(path[0], SweepSpec) if path else SweepSpec


def _override(item: str) -> tuple[str, Any]:
    """Key and value of one `key=value` of `--set`."""
    key, separator, text = item.partition("=")
    if not separator or not key:
        raise UserError(f"--set {item}: write it as key=value, such as --set trainer.max_epochs=5")
    try:
        value = read_yaml(text, "")
    except SpaceError as error:
        raise UserError(f"--set {item}: {error.rule}") from None
    return key.strip(), value


def _set(raw: dict[str, Any], key: str, value: Any, file: str) -> None:
    """Sets a dotted path, making what is missing on the way."""
    at: Any = raw
    head, _, rest = key.partition(".")
    if head == "search_space" and rest:
        # Its keys hold dots themselves: a known one is found whole, a new one is not split.
        at = raw.setdefault(head, {})
        whole = [known for known in at if rest == known or rest.startswith(f"{known}.")]
        head = max(whole, key=len, default=rest)
        rest = rest.removeprefix(head).removeprefix(".")
    while rest:
        at = _child(at, head, key, file)
        head, _, rest = rest.partition(".")
    if isinstance(at, list):
        at[_index(at, head, key, file)] = value
    else:
        at[head] = value


def _child(at: Any, head: str, key: str, file: str) -> Any:
    """What `head` names in a mapping or list; an empty section becomes a mapping."""
    if isinstance(at, list):
        return at[_index(at, head, key, file)]
    child = at.get(head)
    if child is None:
        child = at[head] = {}
    elif isinstance(child, str) and head in (*CLASSES, "cli"):
        child = at[head] = {"class_path": child}  # LightningCLI's short form
    elif not isinstance(child, dict | list):
        raise SpecError(file, key, f"--set reaches into {child!r}, which is not a mapping")
    return child


def _index(at: list[Any], head: str, key: str, file: str) -> int:
    if not head.isdigit() or int(head) >= len(at):
        raise SpecError(file, key, f"the list has {len(at)} items, counted from 0, but got {head!r}")
    return int(head)
