"""Named choices between sub-configurations, and the places in a configuration that vary.

A `Choice` is to Optuna a categorical parameter over its branches' names; to the configuration it is the
chosen branch's template with that branch's own parameters filled in. Branches may hold choices again.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from search_spaces.conditions import Condition, When
from search_spaces.errors import SpaceError
from search_spaces.labels import Scalar, alternatives, choice_text
from search_spaces.parameters import Parameter, Trial
from search_spaces.paths import Path
from search_spaces.wording import nearest, shown


@dataclass(frozen=True)
class Slot:
    """One place that varies.

    Attributes:
        path: Where, relative to the configuration or to the branch; empty for the branch as a whole.
        content: What may stand there.
        when: What other parameters must be for this one to be active, beside its branch.
        is_placed: Whether its value goes into the configuration; otherwise somebody else makes use of it.
    """

    path: Path
    content: "Parameter | Choice"
    when: When = ()
    is_placed: bool = True


@dataclass(frozen=True)
class Branch:
    """One named alternative of a choice.

    Attributes:
        name: The name Optuna stores.
        template: The literal configuration, None where a slot is to be filled.
        slots: The branch's own parameters, asked only when the branch is chosen.
    """

    name: str
    template: object = None
    slots: tuple[Slot, ...] = ()


@dataclass(frozen=True)
class Choice:
    """Named branches, one of which replaces a part of the configuration.

    Raises:
        SpaceError: If there is no branch, or a name is empty or used twice.
    """

    branches: tuple[Branch, ...]

    def __post_init__(self) -> None:
        if not self.branches:
            raise SpaceError("", "named choices need at least one name, but there is none.")
        for index, name in enumerate(self.edges):
            if not name.strip():
                raise SpaceError("", "a named choice must have a name, but one is empty.")
            if name in self.edges[:index]:
                raise SpaceError("", f"the choice {name!r} is named twice.")

    def suggest(self, name: str, trial: Trial) -> Scalar:
        """Ask `trial` for a branch's name."""
        return trial.suggest_categorical(name, self.edges)

    def decode(self, stored: object) -> Branch:
        """Return the branch of that name.

        Raises:
            SpaceError: If there is none.
        """
        for branch in self.branches:
            if branch.name == stored:
                return branch
        raise SpaceError("", f"{shown(stored)} is not a choice{nearest(stored, self.edges)}")

    @property
    def centre(self) -> str:
        """The first branch's name."""
        return self.branches[0].name

    @property
    def edges(self) -> tuple[str, ...]:
        """All branches' names: each is worth validating."""
        return tuple(branch.name for branch in self.branches)

    def describe(self) -> str:
        """Return a short text such as `adamw | sgd`."""
        return alternatives([choice_text(name) for name in self.edges])


@dataclass(frozen=True)
class Site:
    """A place that varies, seen from the whole search space.

    Attributes:
        name: Optuna's parameter name, such as `optimizer.sgd.init_args.lr`.
        config_path: The dotted path in the configuration, such as `optimizer.init_args.lr`.
        content: What may stand there.
        conditions: What earlier parameters must be for it to be active, in their order.
    """

    name: str
    config_path: str
    content: Parameter | Choice
    conditions: tuple[Condition, ...] = ()

    @property
    def condition(self) -> str:
        """The conditions as text, such as `optimizer = sgd`; empty when always active."""
        return " and ".join(
            f"{name} = {alternatives([choice_text(value) for value in values])}"
            for name, values in self.conditions
        )

    @property
    def prerequisites(self) -> dict[str, Scalar]:
        """Values of the earlier parameters with which it is active: the first of those that may be."""
        return {name: values[0] for name, values in self.conditions}

    def is_active(self, params: Mapping[str, object]) -> bool:
        """Return whether the earlier parameters are what this one needs."""
        return all(name in params and params[name] in values for name, values in self.conditions)
