"""Constraints: what must hold between a configuration's values, such as `model.width * model.depth <= 512`.

An expression names parameters (as Optuna does) and dotted paths of the configuration. It is taken apart
here, its names are replaced by plain variables, and `simpleeval` computes the rest: Python runs none of it.
"""

import ast
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from simpleeval import EvalWithCompoundTypes

from search_spaces.choices import Choice
from search_spaces.draws import Draws
from search_spaces.errors import SpaceError
from search_spaces.paths import get
from search_spaces.space import Params, SearchSpace, possible
from search_spaces.wording import nearest, shown

FUNCTIONS = {
    "abs": abs, "ceil": math.ceil, "floor": math.floor, "len": len, "log2": math.log2,
    "max": max, "min": min, "round": round, "sqrt": math.sqrt,
}  # fmt: skip
TRIES = 1000


@dataclass(frozen=True)
class Constraint:
    """One expression that must be true.

    Attributes:
        text: The expression as written.

    Raises:
        SpaceError: If it is not one expression, or calls what is not in `FUNCTIONS`.
    """

    text: str

    def __post_init__(self) -> None:
        _ = self.names

    @cached_property
    def names(self) -> dict[str, str]:
        """The dotted names in it, each with the variable that stands for it."""
        return self._parsed[0]

    @cached_property
    def _parsed(self) -> tuple[dict[str, str], str]:
        try:
            tree = ast.parse(self.text.strip(), mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise SpaceError("", f"{shown(self.text)} is no expression such as a.b * a.c <= 512.") from None
        names = _Names()
        return names.found, ast.unparse(names.visit(tree))

    def holds(self, values: Mapping[str, object]) -> bool:
        """Return whether it is true.

        Args:
            values: A value for each of `names`.

        Raises:
            SpaceError: If it cannot be computed, or gives something else than true or false.
        """
        variables = {variable: values[name] for name, variable in self.names.items()}
        try:
            evaluator = EvalWithCompoundTypes(names=variables, functions=dict(FUNCTIONS))
            result = evaluator.eval(self._parsed[1])
        except Exception as error:  # noqa: BLE001 - whatever the operators make of the values
            with_values = ", ".join(f"{name} = {shown(values[name])}" for name in self.names)
            problem = " ".join(str(error).split()) or type(error).__name__
            raise SpaceError("", f"{self.text!r} cannot be computed with {with_values}: {problem}") from None
        if not isinstance(result, bool):
            rule = (
                f"{self.text!r} must be true or false, but gives {shown(result)}: compare it with something."
            )
            raise SpaceError("", rule)
        return result


class _Names(ast.NodeTransformer):
    """Replaces each dotted name by a variable."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Checks the function, and goes on with the arguments."""
        name = ast.unparse(node.func)
        if name not in FUNCTIONS:
            raise SpaceError("", f"there is no function {name!r}{nearest(name, sorted(FUNCTIONS))}")
        node.args = [self.visit(argument) for argument in node.args]
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        """A name without dots."""
        return self._variable(node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """A name with dots."""
        return self._variable(node)

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        """An item of a list that has a name."""
        return self._variable(node)

    def _variable(self, node: ast.expr) -> ast.AST:
        name = _dotted(node)
        variable = self.found.setdefault(name, f"value{len(self.found)}")
        return ast.copy_location(ast.Name(variable, ast.Load()), node)


def _dotted(node: ast.expr) -> str:
    """Return `a.b.0.c` for `a.b[0].c`."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    if (
        isinstance(node, ast.Subscript)
        and isinstance(node.slice, ast.Constant)
        and (isinstance(node.slice.value, int | str))
    ):
        return f"{_dotted(node.value)}.{node.slice.value!s}"
    raise SpaceError("", f"{ast.unparse(node)!r} is no dotted name.")


@dataclass(frozen=True)
class Constraints:
    """The constraints of a search space over a base configuration.

    Attributes:
        all: The constraints.
        space: The search space.
        base: The base configuration.

    Raises:
        SpaceError: If one names something that is nowhere, cannot be computed at the centre or an edge of
            the space, or no configuration meets them all. Its key is the constraint's index.
    """

    all: tuple[Constraint, ...]
    space: SearchSpace
    base: Mapping[str, object]

    @classmethod
    def of(cls, texts: Sequence[str], space: SearchSpace, base: Mapping[str, object]) -> "Constraints":
        """Read and check constraints."""
        found = []
        for index, text in enumerate(texts):
            try:
                found.append(Constraint(text))
            except SpaceError as error:
                raise error.under(str(index)) from None
        return cls(tuple(found), space, base)

    def __post_init__(self) -> None:
        for index, constraint in enumerate(self.all):
            for name in constraint.names:
                if not self._is_known(name):
                    known = [*self.space.names, *(s.config_path for s in self.space.sites)]
                    rule = f"{name!r} is neither in the search space nor in the base{nearest(name, known)}"
                    raise SpaceError(str(index), rule)
        _ = self.centre
        self._try_variations()

    def _try_variations(self) -> None:
        """Computes each constraint with each edge and branch of the space: a sweep must not meet it there."""
        if not self.all:
            return
        for _, params in self.space.variations():
            try:
                config = self.space.configure(self.base, params)
            except SpaceError:  # the base lacks a place; the inspection says so
                continue
            for index, constraint in enumerate(self.all):
                self._holds(index, constraint, params, config)

    def _holds(
        self, index: int, constraint: Constraint, params: Mapping[str, object], config: Mapping[str, object]
    ) -> bool:
        values = {name: self._value(name, params, config) for name in constraint.names}
        if None in values.values():
            return True
        try:
            return constraint.holds(values)
        except SpaceError as error:
            raise error.under(str(index)) from None

    def violated(
        self, params: Mapping[str, object], config: Mapping[str, object] | None = None
    ) -> str | None:
        """Return the first constraint that a trial does not meet.

        One that names a parameter which is not active, and for which the base holds nothing, does not apply.

        Args:
            params: The trial's parameters.
            config: Its configuration, if it is at hand.

        Raises:
            SpaceError: If one cannot be computed.
        """
        if not self.all:
            return None
        config = self.space.configure(self.base, params) if config is None else config
        for index, constraint in enumerate(self.all):
            if not self._holds(index, constraint, params, config):
                return constraint.text
        return None

    @cached_property
    def centre(self) -> Params:
        """The centre of the space; where the constraints exclude it, what a few draws find."""
        params = self.space.centre()
        draws = Draws()
        for _ in range(TRIES):
            broken = self.violated(params)
            if broken is None:
                return params
            params = self.space.suggest(draws)
        index = [constraint.text for constraint in self.all].index(broken or "")
        raise SpaceError(
            str(index), f"none of {TRIES} random configurations meets {broken!r} and the others."
        )

    def points(self, count: int) -> list[Params]:
        """Return the centre and random draws that meet the constraints: `count` in all, or fewer if rare."""
        draws, found = Draws(), [self.centre]
        for _ in range(TRIES):
            if len(found) >= count:
                break
            if self.violated(params := self.space.suggest(draws)) is None and params not in found:
                found.append(params)
        return found

    def _is_known(self, name: str) -> bool:
        path = tuple(name.split("."))
        there = [
            get(self.base, path),
            *(value for site in self.space.sites for value in possible(site, path)),
        ]
        return name in self.space.names or any(value is not None for value in there)

    def _value(self, name: str, params: Mapping[str, object], config: Mapping[str, object]) -> object:
        for site in self.space.sites:
            if site.name == name and name in params:
                if isinstance(site.content, Choice):
                    return params[name]
                return site.content.decode(params[name])
        return get(config, name)
