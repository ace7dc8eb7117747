"""The sweep file: what a person writes, checked and frozen.

Everything that can be known without importing the user's classes is checked here. What needs the classes
themselves is checked by `sweeps.training.inspection`, in a worker.
"""

import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator, model_validator

from search_spaces import Constraints, Params, SearchSpace, SpaceError, load_space, start_params
from sweeps.context import CliCall
from sweeps.errors import SpecError
from sweeps.oom import auto_path, started
from sweeps.records import MOST_OBJECTIVES
from sweeps.sweep_file.devices import of_several_devices
from sweeps.sweep_file.sections import (
    MULTIPLIER,
    Budget,
    Component,
    LrFinder,
    NotNegative,
    Objective,
    Oom,
    Positive,
    Resources,
    Retries,
    Section,
    StopWhen,
)

LIGHTNING_KEYS = ("seed_everything", "trainer", "model", "data", "optimizer", "lr_scheduler")
"""The top-level keys of a sweep file that are LightningCLI's, in LightningCLI's order."""

CLASSES = ("model", "data", "optimizer", "lr_scheduler")
"""Of these, the keys that take a class: `{class_path, init_args}`, or its path alone."""

INTERNAL = ("file", "notes", "start", "places")
"""Fields of a specification that no sweep file may have."""

WANTED = {
    "objective": "a mapping with metric, direction, value, or a list of those",
    "sampler": "a name or {class_path, init_args}",
    "pruner": "a name or {class_path, init_args}",
    "seed_everything": "a whole number, true or false",
    "constraints": "a list of expressions such as [model.width * model.depth <= 512]",
    "start_with": "a list of mappings such as [{model.width: 64}]",
}
"""What the keys take that take one of several things."""


class SweepSpec(Section):
    """A sweep file. `model` to `seed_everything` are LightningCLI's configuration, no more and no less.

    `config` holds the keys that only the user's own command line (`cli`) has: whatever else a file that it
    names holds is merged into the others when the sweep file is read.
    """

    name: str
    objective: Objective | Annotated[tuple[Objective, ...], Field(min_length=2, max_length=MOST_OBJECTIVES)]
    budget: Budget
    config: dict[str, Any] | None = None
    cli: dict[str, Any] | None = None
    model: dict[str, Any] | None = None
    data: dict[str, Any] | None = None
    trainer: dict[str, Any] = {}
    optimizer: dict[str, Any] | None = None
    lr_scheduler: dict[str, Any] | None = None
    seed_everything: bool | int = 0
    search_space: dict[str, Any]
    include: Annotated[Any, Field(exclude=True)] = None
    """Ready-made parts of the search space; they are put into it when the sweep file is read."""
    constraints: list[str] = []
    start_with: list[dict[str, Any]] = []
    lr_finder: LrFinder | None = None
    sampler: str | Component = "auto"
    pruner: str | Component = "forecast"
    resources: Resources = Resources()
    concurrency: Annotated[int, Field(ge=1)] | None = None
    """The most trials at once; None for as many as fit."""
    keep_checkpoints: Annotated[int, Field(ge=0)] = 1
    retries: Retries = Retries()
    oom: Oom = Oom()
    trial_timeout: Positive | None = None
    """Seconds that a trial may take."""
    max_failed_trials: Annotated[int, Field(ge=0)] | None = None
    stop_when: StopWhen | None = None
    warm_start: list[str] = []
    """Names of earlier sweeps of the same database."""
    price_per_hour: NotNegative | None = None
    """Of what one trial takes, in whatever currency."""
    storage: str | None = None
    tracking_uri: str | None = None
    files: str = "sweep-files"
    file: Annotated[str, Field(exclude=True)] = ""
    """The sweep file as the user named it, for messages; not part of the specification."""
    notes: Annotated[tuple[str, ...], Field(exclude=True)] = ()
    """What of the user's files was ignored, a line each; likewise."""
    start: Annotated[str, Field(exclude=True)] = ""
    """The folder that the sweep was launched in; "" for the current one. Likewise."""
    places: Annotated[list[str], Field(exclude=True)] = []
    """Where else the process that launched it found modules. Likewise."""

    @model_validator(mode="before")
    @classmethod
    def _nothing_prunes_several_objectives(cls, raw: Any) -> Any:
        # Optuna's studies of several objectives cannot prune, so that is no mistake of who left it out.
        if not isinstance(raw, dict) or not isinstance(raw.get("objective"), list | tuple):
            return raw
        objectives = list(raw["objective"])
        if len(objectives) == 1:
            return raw | {"objective": objectives[0]}
        return {"pruner": "none"} | raw

    @field_validator("name")
    @classmethod
    def _can_be_a_file_name(cls, name: str) -> str:
        if problem := name_problem(name):
            raise ValueError(problem)
        return name

    @field_validator(*CLASSES, mode="before")
    @classmethod
    def _written_out(cls, value: Any) -> Any:
        # LightningCLI's short form: a class without arguments.
        return {"class_path": value} if isinstance(value, str) else value

    @field_validator("trainer")
    @classmethod
    def _has_one_device(cls, trainer: dict[str, Any]) -> dict[str, Any]:
        if rule := of_several_devices(trainer):
            raise ValueError(rule)
        return trainer

    @model_validator(mode="after")
    def _aims_at_one_value(self) -> "SweepSpec":
        if self.stop_when and self.stop_when.value is not None and len(self.objectives) > 1:
            raise ValueError("`stop_when.value` is of one objective, but there are several")
        return self

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """What is optimised; the first decides which validation of a trial counts."""
        return self.objective if isinstance(self.objective, tuple) else (self.objective,)

    @cached_property
    def space(self) -> SearchSpace:
        """The search space, checked; with the finder's multiplier, which has no place in a configuration."""
        multiplier = self.lr_finder.multiplier if self.lr_finder else None
        more = {} if multiplier is None else {MULTIPLIER: multiplier}
        if more and MULTIPLIER in self.search_space:
            raise self.error(f"search_space.{MULTIPLIER}", f"is a parameter by `{MULTIPLIER}` already")
        try:
            space = load_space(self.search_space | more)
            return space.without_place(MULTIPLIER) if more else space
        except SpaceError as error:
            is_more = more and error.key.startswith(MULTIPLIER)
            key = error.key if is_more else f"search_space.{error.key}".removesuffix(".")
            raise SpecError(self.file, key, error.rule) from None

    @cached_property
    def start_with_params(self) -> list[Params]:
        """The parameters of the starting points, checked; those that one leaves out are the sampler's."""
        found = []
        for index, start in enumerate(self.start_with):
            try:
                params = start_params(self.space, start)
            except SpaceError as error:
                raise self.error(f"start_with.{index}.{error.key}".removesuffix("."), error.rule) from None
            if self.space.is_complete(params) and (broken := self.violated(params)):
                raise self.error(f"start_with.{index}", f"the constraint {broken!r} excludes it")
            found.append(params)
        return found

    @cached_property
    def checked_constraints(self) -> Constraints:
        """The constraints, checked."""
        try:
            return Constraints.of(self.constraints, self.space, self.base)
        except SpaceError as error:
            raise self.error(f"constraints.{error.key}", error.rule) from None

    def violated(self, params: Params, config: dict[str, Any] | None = None) -> str | None:
        """The first constraint that a trial with these parameters does not meet, as written.

        Raises:
            SpecError: A constraint cannot be computed with them.
        """
        try:
            return self.checked_constraints.violated(params, config)
        except SpaceError as error:
            raise self.error(f"constraints.{error.key}", error.rule) from None

    @property
    def base(self) -> dict[str, Any]:
        """The LightningCLI configuration that the search space varies."""
        return started(self._written, self.oom.batch_size)

    @property
    def auto_batch_size(self) -> str | None:
        """The path where the file says `batch_size: auto`; see `sweeps.planning.batch_size`."""
        return auto_path(self.oom.batch_size, self._written)

    @property
    def _written(self) -> dict[str, Any]:
        config = {key: getattr(self, key) for key in LIGHTNING_KEYS}
        return {key: value for key, value in config.items() if value is not None} | (self.config or {})

    @property
    def cli_call(self) -> CliCall:
        """How the user's script calls LightningCLI."""
        keywords = dict(self.cli or {})
        return CliCall(keywords.pop("class_path", ""), keywords)

    @property
    def folders(self) -> list[str]:
        """Where the user's modules are looked for: beside the sweep file, then where it was launched.

        Relative paths in its configuration start in the last one. A launch folder that is not there any more
        gives way to the current one.
        """
        here = Path(self.start) if self.start and Path(self.start).is_dir() else Path.cwd()
        beside = Path(self.file).resolve().parent if self.file else here
        return list(dict.fromkeys([str(beside), str(here)]))

    def changed(self, **values: Any) -> "SweepSpec":
        """The specification with other values of some keys, checked once more."""
        plain = {key: getattr(self, key) for key in type(self).model_fields}
        return type(self).model_validate(plain | values)

    def error(self, key: str, rule: str) -> SpecError:
        """An error about `key` of this file."""
        return SpecError(self.file, key, rule)


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
