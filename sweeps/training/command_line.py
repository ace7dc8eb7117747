"""LightningCLI as a trial has it: a user's own class between two of ours.

    TrialCLI    (above)  takes the cached parser, keeps the configuration's plain form
    the user's           adds arguments, links, defaults and hooks, as in its own script
    Base        (below)  hands LightningCLI our configuration instead of the command line, and runs nothing

`sweeps.training.lightning` puts them together.
"""

import copy
import inspect
import json
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import yaml
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint, OnExceptionCheckpoint, ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, instantiate_class
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from sweeps.training.references import filled_in

TRAINER_DEFAULTS: dict[str, Any] = {
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
    "devices": 1,
}
"""What a person would not want from each of hundreds of trials; a configuration's own settings win."""


class CliProblem(Exception):
    """The user's command line cannot be used.

    Attributes:
        key: The key of the sweep file.
        rule: What is wrong, in one line.
    """

    def __init__(self, key: str, rule: str) -> None:
        super().__init__(key, rule)
        self.key, self.rule = key, rule


@dataclass(frozen=True)
class Extras:
    """What a trial adds to its configuration.

    Attributes:
        folder: `default_root_dir` unless the configuration has one.
        callback: Our callback, after the user's.
        logger: Our logger, after the user's.
        limits: Trainer arguments that win over the configuration, for a probe; the user's loggers, and
            callbacks that save, but for ModelCheckpoint, are then left out, too.
    """

    folder: str
    callback: Callback
    logger: Logger
    limits: Mapping[str, Any] | None = None


class Enough(Exception):
    """The way out of a LightningCLI of which only the parser or the parsed configuration is wanted."""


class Base(LightningCLI):
    """LightningCLI as the user's class finds it: it parses what it was given, and runs nothing."""

    _given: Mapping[str, Any] | None
    _extras: Extras | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        options = inspect.signature(LightningCLI.__init__).bind_partial(self, *args, **kwargs).arguments
        del options["self"]
        # What the script's `fit` sees is below `fit` in its configuration, unless it says `run=False`.
        self._nested = bool(options.get("run", True))
        config = copy.deepcopy(dict(self._given or {}))
        defaults = options.get("trainer_defaults") or {}
        # Copies: the user's class may hold one object for all its calls, which are here all trials.
        callbacks = [_made(copy.deepcopy(callback)) for callback in _as_list(defaults.get("callbacks"))]
        options |= {
            "args": {"subcommand": "fit", "fit": config} if self._nested else config,
            "run": self._nested,
            "save_config_callback": None,
            "seed_everything_default": 0,
            "trainer_defaults": {**TRAINER_DEFAULTS, **defaults, "callbacks": callbacks},
            "parser_kwargs": _raising(options.get("parser_kwargs") or {}),
        }
        sys.argv[1:] = []  # LightningCLI warns about a command line beside `args`
        with warnings.catch_warnings():
            # That the file's optimizer replaces the module's own is what was asked for.
            warnings.filterwarnings("ignore", message=".*configure_optimizers. will be overridden")
            super().__init__(**options)

    def parse_arguments(self, parser: LightningArgumentParser, args: dict[str, Any]) -> None:  # type: ignore[override]
        """Fills in `${width}` and the like, which a parser of that mode does only where it reads a file."""
        if (self._subcommand_parsers["fit"] if self._nested else parser).parser_mode == "omegaconf":
            args = {**args, "fit": filled_in(args["fit"])} if self._nested else filled_in(args)
        super().parse_arguments(parser, args)

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> Trainer:
        """Makes the Trainer with what a trial adds; below whatever the user's class adds itself."""
        extras = self._extras
        assert extras is not None, "only a trial makes a Trainer"  # noqa: S101
        loggers = [logger for logger in _as_list(config.get("logger")) if isinstance(logger, Logger)]
        _keep_apart(loggers, Path(extras.folder))
        config |= dict(extras.limits or {})
        is_probe, has_bar = extras.limits is not None, config.get("enable_progress_bar") is not False
        if is_probe:
            loggers = []
        given = (_as_list(config.get("callbacks")), callbacks, self.trainer_defaults["callbacks"])
        own, callbacks, persistent = (
            [c for c in some if _is_wanted(c, is_probe=is_probe, has_bar=has_bar)] for some in given
        )
        _keep_here([*own, *callbacks, *persistent], extras.folder, all_of_them=is_probe)
        self.trainer_defaults["callbacks"] = [*persistent, extras.callback]
        config |= {
            "callbacks": own,
            "logger": [*loggers, extras.logger],  # a module's `self.logger` is the first
            "enable_checkpointing": True,  # our callback is one; it does not save where the user wants none
            "default_root_dir": config.get("default_root_dir") or extras.folder,
            "devices": 1,  # the one that it was given, whatever its number: not a script's [2], not `auto`
            "plugins": [*_as_list(config.get("plugins")), LightningEnvironment()],
        }
        return super()._instantiate_trainer(config, callbacks)

    def _run_subcommand(self, subcommand: str) -> None:
        """Runs nothing: the trial does."""


class TrialCLI(LightningCLI):
    """Model, data and Trainer of one trial, or with no `Extras` only its parsed configuration.

    The parser is made once a process (about 0.6 s); after that parsing takes about 15 ms.
    `build` and `parse` make these.
    """

    _set_up: ClassVar[dict[str, Any] | None] = None  # what the parser's making left in the object
    _given: Mapping[str, Any] | None
    _extras: Extras | None
    _nested: bool

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Only `fit`: each costs the making of a parser."""
        return {"fit": LightningCLI.subcommands()["fit"]}

    def setup_parser(
        self, add_subcommands: bool, main_kwargs: dict[str, Any], subparser_kwargs: dict[str, Any]
    ) -> None:
        """Takes the process's parser, or makes it."""
        cls = type(self)
        if not hasattr(self, "_nested"):
            raise CliProblem("cli", f"{cls.__name__}.__init__ must call super().__init__")
        if cls._set_up is None:
            before = set(vars(self))
            super().setup_parser(add_subcommands, main_kwargs, subparser_kwargs)
            cls._set_up = {key: value for key, value in vars(self).items() if key not in before}
        vars(self).update(cls._set_up)
        if self._given is None:
            raise Enough

    def before_instantiate_classes(self) -> None:
        """Ends here where only the configuration was wanted."""
        if self._extras is None:
            raise Enough
        super().before_instantiate_classes()

    def _dump_config(self) -> None:
        """Keeps the plain form that `save_hyperparameters` puts into checkpoints.

        LightningCLI would make it through YAML and a second validation: 6 ms slower.
        """
        if hasattr(self, "config_dump"):
            return
        text = self.parser.dump(self.config, format="json", skip_validation=True,
                                skip_none=False, skip_link_targets=False)  # fmt: skip
        self.config_dump = self._inner(json.loads(text))

    def _inner(self, config: dict[str, Any]) -> dict[str, Any]:
        inner: dict[str, Any] = config[self.subcommand] if self.subcommand else config
        return inner

    @property
    def fit_parser(self) -> LightningArgumentParser:
        """The parser that knows the configuration's keys."""
        parser: LightningArgumentParser = self._subcommand_parsers["fit"] if self._nested else self.parser
        return parser

    @property
    def trainer_settings(self) -> dict[str, Any]:
        """The parsed `trainer` settings, defaults filled in."""
        settings: dict[str, Any] = self._get(self.config, "trainer").as_dict()
        return settings

    def resolved(self) -> str:
        """The configuration as YAML, with the defaults of the classes filled in.

        Of the Trainer's forty settings only those appear that the configuration, the user's class or we gave.
        """
        dumped = self._inner(
            yaml.safe_load(self.parser.dump(self.config, skip_none=True, skip_link_targets=False))
        )
        named = (self._given or {}).get("trainer", {}).keys() | self.trainer_defaults.keys()
        dumped["trainer"] = {key: value for key, value in dumped["trainer"].items() if key in named}
        text: str = yaml.safe_dump(dumped, sort_keys=False, allow_unicode=True)
        return text

    def __deepcopy__(self, memo: dict[int, Any]) -> "TrialCLI":
        """Itself: an `OptimizerCallable` in a module refers to it, and callbacks copy modules."""
        return self

    def release(self) -> None:
        """Drops all that was made: the cached parser refers to its last user, our callback to the model."""
        vars(self).clear()


def _raising(parser_kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The user's settings of the parsers, but raising: the default exits, and with it a worker."""
    others = LightningCLI.subcommands().keys()
    kept = {key: value for key, value in parser_kwargs.items() if key not in others}
    fit = {**parser_kwargs.get("fit", {}), "exit_on_error": False}
    return {**kept, "exit_on_error": False, "fit": fit}


def _made(callback: Any) -> Any:
    """A callback of `cli.trainer_defaults`, which a sweep file writes as `{class_path, init_args}`."""
    return instantiate_class((), dict(callback)) if isinstance(callback, Mapping) else callback


def _is_wanted(callback: Callback, *, is_probe: bool, has_bar: bool) -> bool:
    """Whether a callback of the user's stays.

    No progress bar where trials show none: Lightning refuses it. In a probe nothing that saves, but for
    ModelCheckpoint, which may monitor what is not logged.
    """
    if isinstance(callback, ProgressBar):
        return has_bar
    return not is_probe or isinstance(callback, ModelCheckpoint) or not isinstance(callback, Checkpoint)


def _keep_here(callbacks: Sequence[Callback], folder: str, *, all_of_them: bool) -> None:
    """Has the user's checkpoints written to the trial's folder, or to one of the trial's where they say.

    In one that all trials share, those that run at once would write to the same file.
    """
    for callback in callbacks:
        if not isinstance(callback, ModelCheckpoint | OnExceptionCheckpoint):
            continue
        if all_of_them or callback.dirpath is None:
            callback.dirpath = str(Path(folder) / "checkpoints")
            if all_of_them and isinstance(callback, ModelCheckpoint) and callback.save_last == "link":
                callback.save_last = True  # there is nothing to link to
        else:  # it may be an address
            callback.dirpath = f"{str(callback.dirpath).rstrip('/')}/{_name_of(Path(folder))}"


def _name_of(folder: Path) -> str:
    """The name of a trial's folder, outside the sweep's."""
    return f"{folder.parent.name}-{folder.name}"


def _keep_apart(loggers: Sequence[Logger], folder: Path) -> None:
    """Gives the user's loggers a folder of the trial's, where they would number one themselves.

    They take the first number that is free, and trials that start together take the same one.
    """
    for logger in loggers:
        if not isinstance(logger, CSVLogger | TensorBoardLogger) or logger._version is not None:
            continue
        name = version = _name_of(folder)
        attempt = 1
        while (Path(logger.root_dir) / version).exists():  # what an earlier attempt wrote, stays
            attempt += 1
            version = f"{name}-{attempt}"
        logger._version = version


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
