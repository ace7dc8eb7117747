"""What a sweep file takes from an existing project: its LightningCLI configuration and its LightningCLI.

`config:` and `include:` are read once, when the sweep file is: what they hold becomes part of the
specification, so that the study can go on without the files. `cli:` stays a description: only workers import
the user's classes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from search_spaces import SpaceError, included, read_text, read_yaml
from search_spaces.wording import nearest
from sweeps.errors import SpecError
from sweeps.sweep_file.spec import CLASSES, LIGHTNING_KEYS

SUBCOMMAND_KEYS = ("ckpt_path", "weights_only", "subcommand", "config")
"""What a configuration saved by `fit` holds beside the configuration itself; a trial starts afresh."""

RESTING = {"enable_progress_bar": None, "enable_model_summary": None, "num_sanity_val_steps": None,
           "devices": "auto"}  # fmt: skip
"""What `fit` saves of the Trainer although nobody set it, where a sweep has defaults of its own."""

GROUP_FILES = (".yaml", ".yml", ".json")

LISTS_OF_TRAINER = ("callbacks", "logger", "plugins")
PARTS_OF_TRAINER = (*LISTS_OF_TRAINER, "strategy", "profiler")
"""The Trainer's settings that are objects, or lists of some; each may be a file of its own, too."""

CLI_KEYWORDS = (
    "model", "data", "trainer_class", "trainer_defaults", "seed_everything_default", "parser_kwargs",
    "parser_class", "subclass_mode_model", "subclass_mode_data", "auto_configure_optimizers",
    "load_from_checkpoint_support", "run", "save_config_callback", "save_config_kwargs", "args",
)  # fmt: skip
"""The keywords of LightningCLI; the first two are its `model_class` and `datamodule_class`."""

SWITCHES = ("subclass_mode_model", "subclass_mode_data", "auto_configure_optimizers", "run",
            "load_from_checkpoint_support")  # fmt: skip
LONG_KEYWORDS = {"model_class": "model", "datamodule_class": "data"}
CLASS_KEYWORDS = ("class_path", "model", "data", "trainer_class", "parser_class")


def take_config(raw: dict[str, Any], file: str) -> tuple[str, ...]:
    """Merges the sweep file's own keys over the configuration that its `config` names.

    Args:
        raw: The sweep file; changed in place. `config` keeps only the keys of the user's own command line.
        file: Its path, which `config` is relative to.

    Returns:
        What was ignored, a line each.

    Raises:
        SpecError: The configuration cannot be read or is none.
    """
    given = raw.pop("config", None)
    notes = () if given is None else _merge_config(raw, given, file)
    if isinstance(raw.get("trainer"), Mapping):  # also where it adds to none
        raw["trainer"] = merged({}, raw["trainer"])
    return notes


def _merge_config(raw: dict[str, Any], given: Any, file: str) -> tuple[str, ...]:
    name = given if isinstance(given, str) else ""
    found = _read(name, file, "config") if name else given
    if not isinstance(found, Mapping):
        what = f"{name} holds a {type(found).__name__}" if name else f"got {given!r}"
        if isinstance(given, list) and all(isinstance(item, str) for item in given):
            flags = " ".join(f"--config {item}" for item in given)
            what += (
                f": let your own script merge them, `fit {flags} --print_config > base.yaml`, and name that"
            )
        raise SpecError(file, "config", f"must be the path of a LightningCLI configuration, but {what}")
    config, notes = _plain(found, name, file)
    take_group_files(config, file, Path(name).parent)
    own = {key: config.pop(key) for key in list(config) if key not in LIGHTNING_KEYS}
    for key, value in config.items():
        raw[key] = merged(_written_out(key, value), _written_out(key, raw[key])) if key in raw else value
    if own:
        raw["config"] = own
    return notes


def take_group_files(config: dict[str, Any], file: str, folder: Path = Path()) -> None:
    """Reads the sections that are paths of files, as `model: model.yaml`: jsonargparse's form for a group.

    Args:
        config: A configuration, or a sweep file; changed in place.
        file: The sweep file.
        folder: What the paths are relative to, from the folder of the sweep file.

    Raises:
        SpecError: There is no such file, or it holds no section.
    """
    trainers = folder
    for key in LIGHTNING_KEYS:
        name = config.get(key)
        if is_group_file(name):
            config[key] = _group(name, folder, file, key)
            trainers = folder / Path(name).parent if key == "trainer" else trainers
    if isinstance(trainer := config.get("trainer"), Mapping):
        config["trainer"] = _with_parts(trainer, trainers, file)


def is_group_file(value: Any) -> TypeGuard[str]:
    """Whether a value may be the path of a file that holds a group of keys."""
    return isinstance(value, str) and value.endswith(GROUP_FILES)


def take_own_groups(
    config: dict[str, Any], own: Mapping[str, Any], space: Any, file: str, folder: Path
) -> None:
    """Reads the groups of the user's own command line that are paths of files, as `options: options.yaml`.

    Such a value may also be a string as it is; only the user's parser knows. So a file is read where the
    sweep reaches into it or only its place beside the configuration is right, and left to the parser else.

    Args:
        config: The own keys of the configuration; changed in place.
        own: Those of the sweep file, which win.
        space: The search space, as it is written.
        file: The sweep file.
        folder: What the paths in the configuration are relative to, from the folder of the sweep file.

    Raises:
        SpecError: The sweep reaches into a file that is none, or holds no mapping.
    """
    reached = {str(path).partition(".")[0] for path in space} if isinstance(space, Mapping) else set()
    reached |= {key for key, value in own.items() if isinstance(value, Mapping)}
    for key, name in config.items():
        if not is_group_file(name):
            continue
        only_there = (Path(file).parent / folder / name).is_file() and not Path(name).exists()
        if key in reached or only_there:
            config[key] = _group(name, folder, file, key)


def take_includes(raw: dict[str, Any], file: str) -> None:
    """Puts ready-made spaces before the sweep file's own search space, whose keys win.

    Raises:
        SpecError: There is no such space, or it is none.
    """
    items = raw.pop("include", None)
    own = raw.get("search_space") or {}
    if items is None or not isinstance(own, Mapping):
        return
    try:
        found = included(items, Path(file).parent)
    except SpaceError as error:
        raise SpecError(file, f"include.{error.key}".removesuffix("."), error.rule) from None
    raw["search_space"] = {key: value for key, value in found.items() if key not in own} | dict(own)


def take_own_keys(raw: dict[str, Any], known: Sequence[str], file: str, folder: Path = Path()) -> None:
    """Moves the keys of the user's own command line from the top level of a sweep file into `config`.

    Args:
        raw: The sweep file; changed in place.
        known: The keys of a sweep.
        file: Its path.
        folder: That of the configuration, from the folder of the sweep file.

    Raises:
        SpecError: There are such keys, but no command line of the user's; or see `take_own_groups`.
    """
    config: dict[str, Any] = raw.get("config") or {}
    if raw.get("cli") is not None:
        own = {key: raw.pop(key) for key in list(raw) if key not in known}
        space = raw.get("search_space")
        take_own_groups(config, own, space, file, folder)
        take_own_groups(own, {}, space, file, Path())
        if own:
            raw["config"] = merged(config, own)
    elif config:
        key = next(iter(config))
        rule = (
            f"LightningCLI has no key {key!r}{nearest(key, LIGHTNING_KEYS)} "
            "If it is your own command line's, name that: `cli: my_project.cli.MyCLI`"
        )
        raise SpecError(file, f"config.{key}", rule)


def check_cli(cli: Any, file: str) -> dict[str, Any]:
    """Checks what can be known of `cli` without importing it, and gives its long form.

    Raises:
        SpecError: It is neither a class path nor keywords of LightningCLI.
    """
    if isinstance(cli, str):
        cli = {"class_path": cli}
    if not isinstance(cli, Mapping):
        rule = "must be the path of your LightningCLI class, or a mapping of the keywords of LightningCLI"
        raise SpecError(file, "cli", f"{rule}, but got {cli!r}")
    if not cli:
        raise SpecError(file, "cli", f"is empty; known are class_path, {', '.join(CLI_KEYWORDS)}")
    named: dict[str, Any] = {LONG_KEYWORDS.get(key, str(key)): value for key, value in cli.items()}
    for key, value in named.items():
        # A class of the user's own may take further keywords; only a worker knows.
        if key not in CLI_KEYWORDS and key != "class_path" and "class_path" not in named:
            rule = f"LightningCLI has no keyword {key!r}{nearest(key, CLI_KEYWORDS)}"
            raise SpecError(file, f"cli.{key}", rule)
        if key in CLASS_KEYWORDS and not (isinstance(value, str) and "." in value.strip(".")):
            rule = f"must be a class path such as my.module.Class, but got {value!r}"
            raise SpecError(file, f"cli.{key}", rule)
        if key in SWITCHES and not isinstance(value, bool):
            raise SpecError(file, f"cli.{key}", f"must be true or false, but got {value!r}")
    return named


def merged(base: Any, over: Any) -> Any:
    """The second configuration over the first: mappings key by key, anything else as a whole.

    Another class replaces the first together with its arguments. `callbacks+` adds to the first's
    `callbacks`, as where LightningCLI reads several files (jsonargparse's "List append").
    """
    if not (isinstance(base, Mapping) and isinstance(over, Mapping)):
        return over
    if "class_path" in over and over["class_path"] != base.get("class_path"):
        return dict(over)
    for key in [key for key in over if str(key).endswith("+")]:
        before = over.get(name := key[:-1], base.get(name))
        if isinstance(before, list) or name in LISTS_OF_TRAINER:
            rest = {other: value for other, value in over.items() if other != key}
            over = rest | {name: [*_listed(before), *_listed(over[key])]}
    together = {key: merged(value, over[key]) if key in over else value for key, value in base.items()}
    return together | {key: value for key, value in over.items() if key not in base}


def _read(name: str, file: str, key: str) -> Any:
    path = Path(file).parent / name
    try:
        return read_yaml(read_text(path), name)
    except FileNotFoundError:
        near = [found.name for found in path.parent.glob("*.y*ml") if found.name != Path(file).name]
        raise SpecError(file, key, f"there is no file {name}{nearest(path.name, near)}") from None
    except SpaceError as error:
        raise SpecError(file, key, f"{name}: {error.rule}") from None


def _group(name: str, folder: Path, file: str, key: str) -> dict[str, Any]:
    found = _read(str(folder / name), file, key)
    if not isinstance(found, Mapping):
        raise SpecError(file, key, f"{name} must hold a mapping of keys, but holds a {type(found).__name__}")
    return dict(found)


def _with_parts(trainer: Mapping[str, Any], folder: Path, file: str) -> dict[str, Any]:
    """The `trainer` section with its callbacks and the like read from their files."""
    taken = dict(trainer)
    for key in PARTS_OF_TRAINER:
        value = taken.get(key)
        if is_group_file(value):
            value = taken[key] = _read(str(folder / value), file, f"trainer.{key}")
        if isinstance(value, list):
            taken[key] = [
                _group(item, folder, file, f"trainer.{key}.{number}") if is_group_file(item) else item
                for number, item in enumerate(value)
            ]
    return taken


def _plain(found: Mapping[str, Any], name: str, file: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The configuration itself, without what belongs to a subcommand; and notes on what was ignored."""
    inner = found.get("fit", found)
    if not isinstance(inner, Mapping):
        raise SpecError(file, "config", f"{name}: `fit` must be a mapping of keys, but is {inner!r}")
    ignored = [key for key in SUBCOMMAND_KEYS[:2] if inner.get(key) is not None]
    notes = tuple(f"{name or 'config'}: {key} is ignored, each trial starts afresh" for key in ignored)
    if inner.get("config") is not None:
        notes += (f"{name or 'config'}: config is ignored, name one configuration only",)
    config = {key: value for key, value in inner.items() if key not in SUBCOMMAND_KEYS}
    if isinstance(trainer := config.get("trainer"), Mapping):
        config["trainer"] = {
            key: value for key, value in trainer.items() if not (key in RESTING and value == RESTING[key])
        }
    unset = [key for key in LIGHTNING_KEYS if config.get(key) is None]
    return {key: value for key, value in config.items() if key not in unset}, notes


def _listed(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _written_out(key: str, value: Any) -> Any:
    return {"class_path": value} if key in CLASSES and isinstance(value, str) else value
