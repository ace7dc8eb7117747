"""The door to LightningCLI: a configuration becomes model, data and Trainer, through one cached parser."""

import functools
import json
from collections.abc import Mapping
from typing import Any

from lightning.pytorch.cli import LightningCLI

from sweeps.context import CliCall
from sweeps.training.command_line import Base, CliProblem, Enough, Extras, TrialCLI
from sweeps.training.user_code import ImportProblem, import_object, of_constructor, of_other_package, where

LIGHTNING = CliCall()
"""LightningCLI itself, as `LightningCLI()` calls it."""

CLASS_KEYWORDS = {
    "model": "model_class",
    "data": "datamodule_class",
    "trainer_class": "trainer_class",
    "parser_class": "parser_class",
}
"""The keywords of LightningCLI whose values are classes, by their names in a sweep file."""


def prepare(call: CliCall = LIGHTNING) -> TrialCLI:
    """Makes only the parser.

    Args:
        call: How the user's script calls LightningCLI.

    Raises:
        CliProblem: The user's LightningCLI class cannot be used.
    """
    return _run(None, call, None)


def parse(config: Mapping[str, Any], call: CliCall = LIGHTNING) -> TrialCLI:
    """Checks a configuration and makes nothing of it.

    Args:
        config: What stands in the user's own configuration files.
        call: How the user's script calls LightningCLI.

    Raises:
        argparse.ArgumentError: The configuration is not accepted.
        CliProblem: The user's LightningCLI class cannot be used.
    """
    return _run(config, call, None)


def build(config: Mapping[str, Any], extras: Extras, call: CliCall = LIGHTNING) -> TrialCLI:
    """Makes model, data and Trainer of one trial, in about 25 ms, and calls the user's `before_fit`.

    For arguments and errors see `instantiate`.
    """
    cli = instantiate(config, extras, call)
    before_fit = getattr(cli, "before_fit", None)
    if cli.subcommand and callable(before_fit):  # LightningCLI calls it between the classes and the training
        before_fit()
    if extras.logger not in cli.trainer.loggers:  # the user's class has put its own into the Trainer
        others = [] if extras.limits is not None else cli.trainer.loggers
        cli.trainer.loggers = [*others, extras.logger]
    return cli


def instantiate(config: Mapping[str, Any], extras: Extras, call: CliCall = LIGHTNING) -> TrialCLI:
    """Makes model, data, Trainer, and an optimizer and a scheduler that stand in the configuration.

    Args:
        config: What stands in the user's own configuration files.
        extras: What the trial adds.
        call: How the user's script calls LightningCLI.

    Raises:
        argparse.ArgumentError: The configuration is not accepted.
        CliProblem: The user's LightningCLI class cannot be used.
    """
    cli = _run(config, call, extras)
    trainer = getattr(cli, "trainer", None)
    if trainer is None or extras.callback not in trainer.callbacks:
        rule = f"{call.class_path} must make its Trainer through LightningCLI.instantiate_trainer"
        raise CliProblem("cli", rule)
    return cli


def _run(config: Mapping[str, Any] | None, call: CliCall, extras: Extras | None) -> TrialCLI:
    cls, keywords = _class_of(json.dumps([call.class_path, call.keywords], sort_keys=True))
    cli = cls.__new__(cls)
    cli._given, cli._extras = config, extras
    raised = None
    try:
        cli.__init__(**keywords)  # type: ignore[misc]
    except Enough:
        pass
    except TypeError as error:
        if cls._set_up is None:  # its signature, not the configuration
            raise CliProblem("cli", f"{call.class_path or 'LightningCLI'}: {where(error)}") from None
        raise
    except Exception as error:
        raised = of_constructor(error) if extras else None
        if raised is None:
            raise
    if raised is not None:  # not while the other is handled, which would become its context
        raise raised
    return cli


@functools.cache
def _class_of(text: str) -> tuple[type[TrialCLI], dict[str, Any]]:
    """The class for a call of LightningCLI, given as JSON, and the call's keywords."""
    class_path, given = json.loads(text)
    user = _imported("cli.class_path", class_path) if class_path else LightningCLI
    if not (isinstance(user, type) and issubclass(user, LightningCLI)):
        raise CliProblem("cli", f"{class_path} is no subclass of lightning.pytorch.cli.LightningCLI")
    keywords = {CLASS_KEYWORDS.get(key, key): value for key, value in given.items()}
    for key, keyword in CLASS_KEYWORDS.items():
        if isinstance(keywords.get(keyword), str):
            keywords[keyword] = _imported(f"cli.{key}", keywords[keyword])
    if user is LightningCLI:
        keywords.setdefault("run", False)  # no code of the user's sees the difference, and it is quicker
        return type("LightningCLI", (TrialCLI, Base), {}), keywords
    return type(user.__name__, (TrialCLI, user, Base), {"__module__": user.__module__}), keywords


def _imported(key: str, class_path: str) -> Any:
    try:
        found = import_object(class_path)
    except ImportProblem as problem:
        raise CliProblem(key, str(problem)) from None
    if rule := of_other_package(found):
        raise CliProblem(key, rule)
    return found
