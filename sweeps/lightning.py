"""The door to LightningCLI: a configuration becomes model, data and Trainer, through one cached parser."""

import copy
import json
import sys
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import yaml
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import Logger

TRAINER_DEFAULTS: dict[str, Any] = {
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
    "devices": 1,
}
"""What a person would not want from each of hundreds of trials; a configuration's own settings win."""


class ParsedConfig(LightningCLI):
    """A LightningCLI that takes its configuration from a mapping, checks it, and makes nothing of it.

    The parser is made once a process (about 0.6 s); after that parsing takes about 15 ms.

    Args:
        config: The LightningCLI configuration.
        options: More of LightningCLI's own.

    Raises:
        argparse.ArgumentError: The configuration is not accepted.
    """

    _cached: ClassVar[LightningArgumentParser | None] = None

    def __init__(self, config: Mapping[str, Any], **options: Any) -> None:
        self._given = config
        defaults = {**TRAINER_DEFAULTS, **options.pop("trainer_defaults", {})}
        sys.argv[1:] = []  # LightningCLI warns about a command line beside `args`
        with warnings.catch_warnings():
            # That the file's optimizer replaces the module's own is what was asked for.
            warnings.filterwarnings("ignore", message=".*configure_optimizers. will be overridden")
            super().__init__(
                args=copy.deepcopy(dict(config)),
                run=False,
                save_config_callback=None,
                seed_everything_default=0,
                trainer_defaults=defaults,
                parser_kwargs={"exit_on_error": False},  # the default exits, and with it a worker
                **options,
            )

    def setup_parser(
        self, add_subcommands: bool, main_kwargs: dict[str, Any], subparser_kwargs: dict[str, Any]
    ) -> None:
        """Takes the process's parser, or makes it."""
        if ParsedConfig._cached is None:
            super().setup_parser(add_subcommands, main_kwargs, subparser_kwargs)
            ParsedConfig._cached = self.parser
        self.parser = ParsedConfig._cached

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parses, and keeps the plain form that `save_hyperparameters` puts into checkpoints.

        LightningCLI would make that form itself, through YAML and a second validation: 6 ms slower.
        """
        super().parse_arguments(parser, args)
        text = parser.dump(self.config, format="json", skip_validation=True,
                           skip_none=False, skip_link_targets=False)  # fmt: skip
        self.config_dump = json.loads(text)

    def instantiate_classes(self) -> None:
        """Makes nothing."""

    def resolved(self) -> str:
        """The configuration as YAML, with the defaults of the classes filled in.

        Of the Trainer's forty settings only those appear that the configuration or we gave.
        """
        dumped = yaml.safe_load(self.parser.dump(self.config, skip_none=True, skip_link_targets=False))
        named = self._given.get("trainer", {}).keys() | TRAINER_DEFAULTS
        dumped["trainer"] = {key: value for key, value in dumped["trainer"].items() if key in named}
        text: str = yaml.safe_dump(dumped, sort_keys=False, allow_unicode=True)
        return text


class TrialCLI(ParsedConfig):
    """Model, data and Trainer of one trial, in about 25 ms.

    Args:
        config: The LightningCLI configuration.
        folder: `default_root_dir` unless the configuration has one.
        callback: Our callback, after the user's.
        logger: Our logger, beside the user's.
        limits: Trainer arguments that win over the configuration, for a probe; the user's loggers and
            checkpoints are then left out, too.

    Raises:
        argparse.ArgumentError: The configuration is not accepted.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        folder: str,
        callback: Callback,
        logger: Logger,
        limits: Mapping[str, Any] | None = None,
    ) -> None:
        self._folder, self._logger, self._limits = folder, logger, limits
        super().__init__(config, trainer_defaults={"callbacks": callback})

    def instantiate_classes(self) -> None:
        """Makes model, data and Trainer."""
        LightningCLI.instantiate_classes(self)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Makes the Trainer with what a trial adds to the configuration."""
        given = self.config_init["trainer"]
        callbacks, loggers = _as_list(given.get("callbacks")), _as_list(given.get("logger"))
        loggers = [logger for logger in loggers if isinstance(logger, Logger)]
        if self._limits is not None:
            callbacks = [callback for callback in callbacks if not isinstance(callback, Checkpoint)]
            loggers = []
        kwargs |= {
            "callbacks": callbacks,
            "logger": [self._logger, *loggers],
            "enable_checkpointing": True,  # our callback is one; it does not save where the user wants none
            "default_root_dir": given.get("default_root_dir") or self._folder,
            "plugins": [*_as_list(given.get("plugins")), LightningEnvironment()],
        }
        return super().instantiate_trainer(**kwargs | dict(self._limits or {}))

    def release(self) -> None:
        """Drops what was made: the cached parser refers to its last user."""
        for name in ("model", "datamodule", "trainer", "config_init"):
            self.__dict__.pop(name, None)


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
