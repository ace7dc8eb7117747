"""The user's modules in this process: imported without running them, and what they raise in one line."""

import contextlib
import importlib
import re
import sysconfig
import traceback
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.cli import LightningCLI

from search_spaces.wording import did_you_mean


class ImportProblem(Exception):
    """A class path leads nowhere; the message says why in one line."""


def import_object(class_path: str) -> Any:
    """Imports what a class path names.

    Raises:
        ImportProblem: There is no such module or name, or the module raises when it is imported.
    """
    module_name, _, name = str(class_path).rpartition(".")
    try:
        with _no_cli_runs():
            module = importlib.import_module(module_name)
    except _CliCalledError:
        rule = (
            f'importing {module_name!r} runs LightningCLI: put that call under `if __name__ == "__main__":`'
        )
        raise ImportProblem(rule) from None
    except ModuleNotFoundError as error:
        # A module that is there but imports one that is not, is another mistake than a wrong name.
        missing = f"no module {error.name!r}"
        if not module_name.startswith(str(error.name)):
            missing = f"{module_name} imports {error.name!r}, which is not installed"
        elif (Path("src") / str(error.name)).is_dir():
            missing += f"; src/{error.name} is here: install your project, or set PYTHONPATH=src"
        raise ImportProblem(f"{class_path!r} cannot be imported: {missing}") from None
    except BaseException as error:  # noqa: BLE001 - whatever the user's module does at import
        raise ImportProblem(f"importing {module_name!r} failed: {where(error)}") from None
    if not hasattr(module, name):
        there = [known for known in dir(module) if callable(getattr(module, known, None))]
        raise ImportProblem(f"module {module_name!r} has no {name!r}{did_you_mean(name, there)}")
    return getattr(module, name)


class _CliCalledError(Exception):
    """LightningCLI was called by a module that is being imported."""


@contextlib.contextmanager
def _no_cli_runs() -> Iterator[None]:
    """Makes a call of LightningCLI raise: a script without a main guard would train when imported."""
    original = LightningCLI.__init__

    def refuse(self: LightningCLI, *args: Any, **kwargs: Any) -> None:
        raise _CliCalledError

    LightningCLI.__init__ = refuse  # type: ignore[method-assign]
    try:
        yield
    finally:
        LightningCLI.__init__ = original  # type: ignore[method-assign]


def of_other_kind(class_path: str, found: Any) -> str | None:
    """The rule for what is neither a class nor a function; LightningCLI's parser keeps classes in sets."""
    if callable(found) and isinstance(found, Hashable):
        return None
    return f"{class_path!r} is neither a class nor a function that makes an object"


def of_other_package(found: Any) -> str | None:
    """The rule for a class made for `pytorch_lightning`, whose classes LightningCLI takes for strangers."""
    if not any(base.__module__.startswith("pytorch_lightning.") for base in getattr(found, "__mro__", ())):
        return None
    name = getattr(found, "__qualname__", found)
    return f"{name} is built on pytorch_lightning, but sweeps train with lightning.pytorch: import from there"


def where(error: BaseException) -> str:
    """The error in one line, with the innermost place of it that is not in a library."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - an exception of the user's own that cannot even say what it is
        text = ""
    _, rule = readable(text) if text else ("", "")
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "site-packages" not in f.filename]
    frames = [f for f in frames if not f.filename.startswith(sysconfig.get_path("stdlib"))]
    ours = str(Path(__file__).parents[1])  # the whole engine
    frames = [f for f in frames if not f.filename.startswith(ours) or "/examples/" in f.filename]
    frames = [f for f in frames if not f.filename.startswith("<frozen ")]  # the import system
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {rule}{place}" if rule else f"{type(error).__name__}{place}"


def of_constructor(error: BaseException) -> BaseException | None:
    """What a constructor raised, where jsonargparse raises an error of its own instead; else None.

    That one says the same with much around it, and of an exception without a text, such as of a bare
    `assert`, nothing: it fails to indent it. But its frame has what was raised.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name == "raise_union_unexpected_value":
            for one in frame.f_locals.get("exceptions", ()):
                inner = of_constructor(one) or one
                places = [f.f_code.co_filename for f, _ in traceback.walk_tb(inner.__traceback__)]
                if places and "jsonargparse" not in Path(places[-1]).parts:
                    return inner
    return None


_NOISE = re.compile(
    r"Does not validate against any|Subtypes:|Errors:|Given value type:|Expected a <class 'NoneType'>"
    r"|Problem with given class_path|Parser key|Given value: (Namespace|\{)"
)


def readable(text: str) -> tuple[str, str]:
    """Key and one-line rule from jsonargparse's nested messages."""
    group, *inner = re.findall(r'[Pp]arser key "([^"]+)"', text)[:2] or [""]
    key = f"{group}.init_args.{inner[0]}" if inner else group
    key = key.removeprefix("fit.")
    lines = [line.strip().removeprefix("- ").strip() for line in text.splitlines()]
    telling = [line for line in lines if line and not _NOISE.match(line)]
    return key, "; ".join(dict.fromkeys(telling)) or " ".join(text.split())


def not_accepted(what: str, key: str, accepted: Sequence[str]) -> str:
    """The rule for a key that something does not accept."""
    return f"{what} does not accept {key!r}{did_you_mean(key, accepted)}; it accepts {', '.join(accepted)}"
