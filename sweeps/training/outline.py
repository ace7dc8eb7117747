"""Which keys a configuration may have: asked of the parser of the user's command line.

jsonargparse says of an unknown key only that it is not accepted; here it gets its nearest right spelling.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from search_spaces.wording import did_you_mean
from sweeps.sweep_file.spec import CLASSES, SweepSpec
from sweeps.training.command_line import TrialCLI
from sweeps.training.user_code import not_accepted

SUBCOMMAND_KEYS = ("help", "config", "print_config", "ckpt_path", "weights_only")
"""What the parser of `fit` has beside the configuration's keys."""


@dataclass(frozen=True)
class Outline:
    """The keys of a user's command line.

    Attributes:
        leaves: The dotted paths of all its arguments.
        owners: What accepts the keys below a path: the name of a class that the command line fixes.
        links: The paths that a link sets, with the paths that it takes the value from.
        named: The paths whose class a default of the command line names, such as its own default
            configuration file.
    """

    leaves: frozenset[str]
    owners: Mapping[str, str]
    links: Mapping[str, Sequence[str]]
    named: frozenset[str] = frozenset()

    @classmethod
    def of(cls, cli: TrialCLI) -> "Outline":
        """Asks the parser."""
        actions = cli.fit_parser._actions
        groups = {action.dest for action in actions if type(action).__name__ == "_ActionConfigLoad"}
        dests = {action.dest for action in actions if not action.dest.endswith(".help")} - groups
        classes = {"trainer": cli.trainer_class, "model": cli._model_class, "data": cli._datamodule_class}
        owners = {key: getattr(found, "__name__", key) for key, found in classes.items() if key in groups}
        links = dict(_links(cli.fit_parser))
        defaults = cli.fit_parser.get_defaults(skip_validation=True)
        named = frozenset(key for key in CLASSES if defaults.get(f"{key}.class_path"))
        return cls(frozenset(dests.difference(SUBCOMMAND_KEYS)), owners, links, named)

    def problem(self, config: Mapping[str, Any]) -> tuple[str, str] | None:
        """The path and the rule of the first key of a configuration that is not accepted."""
        return next(self._problems(config, ""), None)

    def linked(self, path: str) -> str | None:
        """The rule for a path that must not vary since a link sets it."""
        for target, sources in self.links.items():
            if path == target or path.startswith(f"{target}."):
                return f"is set by a link from {' and '.join(sources)}: vary that instead"
        return None

    def overruled(self, base: Mapping[str, Any], resolved: str) -> Iterator[str]:
        """What is given and a link sets to something else, without a word of LightningCLI's; a line each.

        Args:
            base: The configuration that is given.
            resolved: What the parser makes of it, as YAML.
        """
        used = yaml.safe_load(resolved) if self.links else {}
        for target, sources in self.links.items():
            given, becomes = _at(base, target), _at(used, target)
            if None not in (given, becomes) and given != becomes:
                origin = " and ".join(sources)
                yield f"{target}: {given!r} is not heeded, the link from {origin} makes it {becomes!r}"

    def _problems(self, node: Mapping[str, Any], at: str) -> Iterator[tuple[str, str]]:
        known = self._below(at)
        for key, value in node.items():
            path = f"{at}.{key}" if at else key
            if key not in known:
                yield path, self._rule(at, key, known)
            elif path not in self.leaves and isinstance(value, Mapping):
                yield from self._problems(value, path)
            elif (
                path in CLASSES
                and path not in self.named
                and isinstance(value, Mapping)
                and "class_path" not in value
            ):
                yield path, "must name its class with `class_path`, since the command line fixes none"

    def _below(self, at: str) -> list[str]:
        prefix = f"{at}." if at else ""
        found = [
            leaf.removeprefix(prefix).partition(".")[0] for leaf in self.leaves if leaf.startswith(prefix)
        ]
        return sorted(set(found))

    def _rule(self, at: str, key: str, known: Sequence[str]) -> str:
        if at:
            return not_accepted(self.owners.get(at, at), key, known)
        near = did_you_mean(key, [*known, *SweepSpec.model_fields])
        return f"unknown key{near}; the command line knows {', '.join(known)}"


def _at(config: Any, path: str) -> Any:
    for key in path.split("."):
        config = config.get(key) if isinstance(config, Mapping) else None
    return config


def _links(parser: Any) -> Iterator[tuple[str, list[str]]]:
    group = getattr(parser, "_links_group", None)
    for action in group._group_actions if group else ():
        yield action.target[0], [source for source, _ in action.source]
