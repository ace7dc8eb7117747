"""`sweeps init`: a first sweep file from the signatures of a module and its data.

Names, types and defaults become ranges around the defaults; what hardly anybody varies stands beside them as
a comment. The file is meant to be read and changed.
"""

import ast
import enum
import inspect
import json
import re
import sys
import textwrap
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule

from sweeps.errors import UserError
from sweeps.training.user_code import ImportProblem, import_object

RATES = re.compile(r"(^|_)(lr|rate|decay|eps|epsilon|temperature|alpha|gamma|lambda|weight)(_|$)")
SHARES = re.compile(r"drop|prob|smoothing|momentum|(^|_)(p|ratio|fraction)(_|$)")
FIXED = re.compile(r"seed|worker|class(es)?$|^(in|out|input|output|num_(in|out))(_|$)|vocab")
MAXIMIZED = re.compile(r"acc|f1|auc|auroc|iou|dice|precision|recall|score|r2|bleu|rouge", re.IGNORECASE)
"""Names of arguments that vary by factors, of those between 0 and 1, and of those that hardly vary; names of
metrics of which more is better."""


def sweep_text(model: str, data: str | None = None) -> str:
    """Returns a sweep file as text.

    Args:
        model: The class path of a LightningModule.
        data: The class path of a LightningDataModule.

    Raises:
        UserError: A class cannot be imported, or is another.
    """
    here = str(Path.cwd())
    sys.path[:0] = [] if here in sys.path else [here]
    model_class = _imported("MODEL_CLASS", model, LightningModule)
    data_class = _imported("DATA_CLASS", data, LightningDataModule) if data else None
    metric = _metric(model_class)
    own_optimizer = model_class.configure_optimizers is not LightningModule.configure_optimizers
    arguments = list(_arguments(model_class))
    data_arguments = list(_arguments(data_class)) if data_class else []
    shared = {argument.name for argument in arguments} & {argument.name for argument in data_arguments}
    # What both take, such as the height of an image, must agree.
    free = [argument.name for argument in arguments if argument.name not in shared]
    searched = [*_searched("model", arguments, free), *_searched("data", data_arguments, ["batch_size"])]
    if all(line.strip().startswith("#") for line in searched):
        searched.append("  trainer.gradient_clip_val: [null, 1.0]  # the signatures offer nothing")
    lines = [
        f"# A first sweep of {model_class.__name__}: read it, change it, then `sweeps check` it.",
        f"objective: {{metric: {metric}, direction: {_direction(metric)}}}  # as logged in validation",
        "budget: {trials: 32}",
        "",
        *_component("model", model, arguments),
        *(_component("data", data, data_arguments) if data else ()),
        "trainer: {max_epochs: 10}",
        "",
        *_optimizer(own_optimizer),
        "search_space:",
        *searched,
    ]
    return "\n".join(lines) + "\n"


def init(model: str, data: str | None = None, output: str | None = None) -> Path:
    """Writes a sweep file and returns its path.

    Args:
        model: The class path of a LightningModule.
        data: The class path of a LightningDataModule.
        output: The file; `<class>.yaml`, in small letters, if none is named.

    Raises:
        UserError: A class cannot be imported or is another, or the file is there already.
    """
    path = Path(output or f"{model.rpartition('.')[2].lower()}.yaml")
    text = sweep_text(model, data)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UserError(f"{path} is already there: name another file with -o") from None
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from None
    return path


@dataclass(frozen=True)
class _Argument:
    name: str
    kind: Any
    default: Any

    @property
    def needed(self) -> bool:
        return self.default is inspect.Parameter.empty


def _imported(what: str, class_path: str, wanted: type) -> Any:
    if "." not in class_path.strip("."):
        raise UserError(f"{what}: must be a class path such as my.module.Class, but got {class_path!r}")
    try:
        found = import_object(class_path)
    except ImportProblem as problem:
        raise UserError(f"{what}: {problem}") from None
    if not (isinstance(found, type) and issubclass(found, wanted)):
        raise UserError(f"{what}: {class_path} is no {wanted.__name__} of lightning.pytorch")
    return found


def _arguments(cls: Any) -> Iterator[_Argument]:
    """The constructor's arguments; those that it passes on as `**kwargs` are its base class's."""
    try:
        hints = typing.get_type_hints(cls.__init__)
    except (NameError, TypeError):  # names that exist for type checkers only
        hints = {}
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    for parameter in parameters:
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            kind = hints.get(parameter.name, Any)
            yield _Argument(parameter.name, _not_none(kind, parameter.default), parameter.default)
    base, ends = cls.__mro__[1], (LightningModule, LightningDataModule)
    if any(p.kind is p.VAR_KEYWORD for p in parameters) and base not in ends:
        known = {parameter.name for parameter in parameters}
        yield from (argument for argument in _arguments(base) if argument.name not in known)


def _not_none(kind: Any, default: Any) -> Any:
    """The type without `| None`; where none is written, the default's."""
    kind = getattr(kind, "__value__", kind)  # of a name that Python 3.12's `type` statement gave it
    if typing.get_origin(kind) in (typing.Union, UnionType):
        others = [other for other in typing.get_args(kind) if other is not NoneType]
        return others[0] if len(others) == 1 else Any
    if kind is Any and isinstance(default, bool | int | float):
        return type(default)
    return kind


def _component(key: str, class_path: str, arguments: list[_Argument]) -> Iterator[str]:
    needed = [argument for argument in arguments if argument.needed]
    if not needed:
        yield f"{key}: {{class_path: {class_path}}}"
        return
    yield f"{key}:"
    yield f"  class_path: {class_path}"
    yield "  init_args:"
    for argument in needed:
        yield f"    {argument.name}: null  # {_type_name(argument.kind)}: fill in"


def _optimizer(own: bool) -> Iterator[str]:
    if own:
        return
    yield "# The module leaves its optimizer to LightningCLI."
    yield "include: [adamw]"


def _searched(key: str, arguments: list[_Argument], only: Sequence[str]) -> Iterator[str]:
    """The lines of the search space for the arguments; those that do not vary, as comments."""
    for argument in arguments:
        path = f"{key}.init_args.{argument.name}"
        found = None if argument.needed or FIXED.search(argument.name) else _range(argument)
        varies = found is not None and argument.name in only
        mark = "" if varies else "# "
        shown = "a value of its own" if argument.needed else f"default {_shown(argument.default)}"
        yield f"  {mark}{path}: {found or '[...]'}  # {_type_name(argument.kind)}, {shown}"


def _range(argument: _Argument) -> str | None:
    """A first range or choice around the default, None where there is no telling."""
    kind, default, name = argument.kind, argument.default, argument.name
    if typing.get_origin(kind) is typing.Literal:
        return _choices(list(typing.get_args(kind)))
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _choices([member.name for member in kind])
    if kind is bool:
        return "[true, false]"
    if kind is int and isinstance(default, int) and default > 0:
        return _integers(name, default)
    if kind is float and isinstance(default, int | float):
        return _floats(name, float(default))
    return None


def _choices(values: list[Any]) -> str | None:
    return f"[{', '.join(_shown(value) for value in values)}]" if len(values) > 1 else None


def _integers(name: str, default: int) -> str:
    if "batch" in name:
        return f"[{max(1, default // 2)}, {max(2, default)}, {max(4, default * 2)}]"
    low, high = max(1, default // 4), max(4, default * 4)
    return f"{{type: int, low: {low}, high: {high}{', log: true' if high >= 32 else ''}}}"


def _floats(name: str, default: float) -> str | None:
    if SHARES.search(name) and 0 <= default < 1:
        return f"{{type: float, low: 0.0, high: {0.5 if default <= 0.5 else 0.99}}}"
    if default <= 0:
        return None
    factor = 10 if RATES.search(name) or default <= 0.01 else 4
    return f"{{type: float, low: {default / factor:.6g}, high: {default * factor:.6g}, log: true}}"


def _metric(cls: Any) -> str:
    """The metric that the module most likely logs in validation: a loss if there is one."""
    own = cls.__mro__[: cls.__mro__.index(LightningModule)]
    logged = [text for base in own for text in _logged(base) if re.match(r"val\w*[/_.-]\w+$", text)]
    losses = [text for text in logged if "loss" in text]
    return next(iter([*losses, *logged]), "val_loss")


def _logged(cls: Any) -> Iterator[str]:
    """Every text in a call of `self.log` or `self.log_dict`."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError, SyntaxError):
        return
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and getattr(call.func, "attr", "") in ("log", "log_dict"):
            for node in ast.walk(call):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


def _direction(metric: str) -> str:
    return "maximize" if MAXIMIZED.search(metric) and "loss" not in metric else "minimize"


def _shown(value: Any) -> str:
    if isinstance(value, enum.Enum):
        return value.name
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    return re.sub(r"\s+", " ", text)[:60]


def _type_name(kind: Any) -> str:
    name = kind.__name__ if isinstance(kind, type) else str(kind)
    return re.sub(r"\s+", " ", name.replace("typing.", ""))
