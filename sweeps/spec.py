"""The sweep file: what a person writes, checked and frozen.

`load_spec` turns YAML (or a mapping) plus command-line overrides into a `SweepSpec`; everything that can
be known without importing the user's classes is checked here. What needs the classes themselves is
checked by `sweeps.inspection`, in a worker.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from search_spaces import SearchSpace, SpaceError, load_space, read_yaml
from sweeps.errors import SpecError, UserError

LIGHTNING_KEYS = ("seed_everything", "trainer", "model", "data", "optimizer", "lr_scheduler")
"""The top-level keys of a sweep file that are LightningCLI's, in LightningCLI's order."""

WANTED = {
    "sampler": "a name or {class_path, init_args}",
    "pruner": "a name or {class_path, init_args}",
    "seed_everything": "a whole number, true or false",
}
"""What the keys take that take one of several things."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Objective(_Section):
    """What is optimised: a metric that the module logs during validation."""

    metric: Annotated[str, Field(min_length=1)]
    direction: Literal["minimize", "maximize"]
    value: Literal["best", "last"] = "best"


class Budget(_Section):
    """When the sweep ends: after `trials` finished trials, or no new trial after `hours`."""

    trials: Annotated[int, Field(gt=0)] | None = None
    hours: Positive | None = None

    @model_validator(mode="after")
    def _has_an_end(self) -> "Budget":
        if self.trials is None and self.hours is None:
            raise ValueError("a sweep needs an end: give `trials`, `hours` or both")
        return self


class Resources(_Section):
    """What one trial takes. `gpus: null` means one GPU where there are GPUs, else none."""

    cpus: Positive = 1.0
    gpus: NotNegative | None = None

    @field_validator("gpus")
    @classmethod
    def _one_gpu_or_a_part_of_it(cls, gpus: float | None) -> float | None:
        if gpus is not None and gpus > 1:
            raise ValueError(f"a trial takes one GPU or a fraction of one, but got {gpus:g}")
        return gpus


class Component(_Section):
    """An Optuna sampler or pruner by class, as `{class_path, init_args}`."""

    class_path: str
    init_args: dict[str, Any] = {}


class SweepSpec(_Section):
    """A sweep file. `model` to `seed_everything` are LightningCLI's configuration, no more and no less."""

    name: str
    objective: Objective
    budget: Budget
    model: dict[str, Any]
    data: dict[str, Any] | None = None
    trainer: dict[str, Any] = {}
    optimizer: dict[str, Any] | None = None
    lr_scheduler: dict[str, Any] | None = None
    seed_everything: bool | int = 0
    search_space: dict[str, Any]
    sampler: str | Component = "tpe"
    pruner: str | Component = "median"
    resources: Resources = Resources()
    keep_checkpoints: Annotated[int, Field(ge=0)] = 1
    storage: str | None = None
    tracking_uri: str | None = None
    files: str = "sweep-files"
    file: Annotated[str, Field(exclude=True)] = ""
    """The sweep file as the user named it, for messages; not part of the specification."""

    @field_validator("name")
    @classmethod
    def _can_be_a_file_name(cls, name: str) -> str:
        if problem := name_problem(name):
            raise ValueError(problem)
        return name

    @field_validator("model", "data", "optimizer", "lr_scheduler", mode="before")
    @classmethod
    def _written_out(cls, value: Any) -> Any:
        # LightningCLI's short form: a class without arguments.
        return {"class_path": value} if isinstance(value, str) else value

    @cached_property
    def space(self) -> SearchSpace:
        """The search space, checked."""
        try:
            return load_space(self.search_space)
        except SpaceError as error:
            raise SpecError(self.file, _join("search_space", error.key), error.rule) from None

    @property
    def base(self) -> dict[str, Any]:
        """The LightningCLI configuration that the search space varies."""
        config = {key: getattr(self, key) for key in LIGHTNING_KEYS}
        return {key: value for key, value in config.items() if value is not None}

    @property
    def folders(self) -> list[str]:
        """Where the user's modules are looked for: beside the sweep file, then the current folder."""
        here = Path.cwd()
        beside = Path(self.file).resolve().parent if self.file else here
        return list(dict.fromkeys([str(beside), str(here)]))

    def error(self, key: str, rule: str) -> SpecError:
        """An error about `key` of this file."""
        return SpecError(self.file, key, rule)


def load_spec(
    source: str | Path | Mapping[str, Any], *, overrides: Sequence[str] = (), **fields: Any
) -> SweepSpec:
    """Reads and checks a sweep file.

    Args:
        source: The path of a YAML file, or its content as a mapping.
        overrides: `key=value` items as `--set` takes them: a dotted path and a YAML value.
        fields: Dotted paths and values that win over the file, such as `**{"budget.trials": 8}`;
            None is ignored.

    Raises:
        SpecError: Something in the file is wrong; one line with file, key, rule and value.
        UserError: An override is not of the form `key=value`, or its value is not YAML.
    """
    file = "" if isinstance(source, Mapping) else str(source)
    raw = _copy(source) if isinstance(source, Mapping) else _read(Path(source), file)
    if file:
        raw.setdefault("name", Path(file).stem)
    for item in overrides:
        key, separator, text = item.partition("=")
        if not separator or not key:
            raise UserError(f"--set {item}: write it as key=value, such as --set trainer.max_epochs=5")
        try:
            value = read_yaml(text, "")
        except SpaceError as error:
            raise UserError(f"--set {item}: {error.rule}") from None
        _set(raw, key.strip(), value, file)
    for key, value in fields.items():
        if value is not None:
            _set(raw, key, value, file)
    return _checked(raw, file)


def name_problem(name: str) -> str | None:
    """Why a sweep cannot have this name, or None: names are used as folder names."""
    if not name or name != name.strip() or name.startswith((".", "-")):
        rule = "a name must not be empty, start or end with a space, nor start with '.' or '-'"
        return f"{rule}, but got {name!r}"
    if found := re.search(r'[/\\\x00-\x1f\x7f<>:"|?*]', name):
        return f"a name must be usable as a file name, but got {name!r} with {found.group()!r}"
    if len(name.encode()) > 200:
        return f"a name must have at most 200 bytes, but this one has {len(name.encode())}"
    return None


def _read(path: Path, file: str) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        near = _nearest(path.name, [p.name for p in path.parent.glob("*.y*ml")])
        raise SpecError(file, "", f"no such file{near}") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SpecError(file, "", f"cannot be read: {reason}") from None
    try:
        raw = read_yaml(text, file)
    except SpaceError as error:
        raise SpecError(file, "", error.rule) from None
    if raw is None:
        raise SpecError(file, "", "the file is empty; a sweep needs at least name, objective, budget, "
                        "model and search_space")  # fmt: skip
    if not isinstance(raw, dict):
        raise SpecError(file, "", f"a sweep file is a mapping of keys, but this is a {type(raw).__name__}")
    return raw


def _checked(raw: dict[str, Any], file: str) -> SweepSpec:
    if "file" in raw:
        raise SpecError(file, *_unknown(["file"]))
    try:
        spec = SweepSpec.model_validate({**raw, "file": file})
    except ValidationError as error:
        raise SpecError(file, *_first_problem(error)) from None
    _ = spec.space  # checked now, so that a loaded specification is a right one
    return spec


def _first_problem(error: ValidationError) -> tuple[str, str]:
    """The key and the one-line rule of the first thing that pydantic found."""
    # Where a key takes a name or a mapping, pydantic complains about both: the mapping's is the telling one.
    problems = error.errors(include_url=False)
    problem = max(problems, key=lambda p: (p["type"] == "extra_forbidden", len(p["loc"])))
    *parents, last = [str(part) for part in problem["loc"]] or [""]
    tags = ("str", "bool", "int", "Component")  # which of a key's types complains
    location = [part for part in parents if part not in tags]
    if problem["type"] == "extra_forbidden":
        return _unknown([*location, last])
    if last not in tags:
        location.append(last)
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        message = "is missing"
    elif wanted := WANTED.get(".".join(location)):
        message = f"must be {wanted}, but got {problem['input']!r}"
    elif problem["type"] == "model_type":
        known = ", ".join(_model_at(location).model_fields)
        message = f"must be a mapping with {known}, but got {problem['input']!r}"
    elif problem["type"] == "dict_type":
        message = f"must be a mapping of keys, but got {problem['input']!r}"
    elif problem["type"] != "value_error" and not isinstance(problem["input"], dict | SweepSpec):
        message = f"{message[0].lower()}{message[1:]}, but got {problem['input']!r}"
    return ".".join(location), message


def _unknown(path: Sequence[str]) -> tuple[str, str]:
    """The key and the rule for a key that the file cannot have."""
    known = [name for name in _model_at(path[:-1]).model_fields if name != "file"]
    return ".".join(path), f"unknown key{_nearest(path[-1], known)}; known are {', '.join(known)}"


def _model_at(path: Sequence[str]) -> type[BaseModel]:
    sections: dict[str, type[BaseModel]] = {
        "objective": Objective, "budget": Budget, "resources": Resources,
        "sampler": Component, "pruner": Component,
    }  # fmt: skip
    return sections.get(path[0], SweepSpec) if path else SweepSpec


def _set(raw: dict[str, Any], key: str, value: Any, file: str) -> None:
    """Sets a dotted path; keys that hold dots themselves (as in `search_space`) are found whole."""
    at: Any = raw
    rest = key
    while True:
        if isinstance(at, list):
            head, _, tail = rest.partition(".")
            if not head.isdigit() or int(head) >= len(at):
                raise SpecError(file, key, f"the list has {len(at)} items, counted from 0, but got {head!r}")
            if not tail:
                at[int(head)] = value
                return
            at, rest = at[int(head)], tail
            continue
        if not isinstance(at, dict):
            raise SpecError(file, key, f"--set reaches into {at!r}, which is not a mapping")
        whole = [k for k in at if rest == k or rest.startswith(f"{k}.")]
        # A search-space key is one key with dots, so what is left there is never split.
        head = max(whole, key=len, default=rest if at is raw.get("search_space") else rest.partition(".")[0])
        if head == rest:
            at[head] = value
            return
        if at.get(head) is None:  # also a section that the file names and leaves empty
            at[head] = {}
        at, rest = at[head], rest[len(head) + 1 :]


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list | tuple) else value


def _join(*parts: str) -> str:
    return ".".join(part for part in parts if part)


def _nearest(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f", did you mean {near[0]!r}?" if near else ""
