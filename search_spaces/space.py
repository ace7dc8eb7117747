"""The search space: everything that may vary, in the order of the file.

`loading` builds it from YAML. A sweep asks it for parameters (`suggest`), turns parameters into a
LightningCLI configuration (`configure`) and checks beforehand that every value is accepted (`variations`).
Parameters are a flat dict from Optuna name to stored value, of the active parameters only.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple, cast

from search_spaces.checks import is_number
from search_spaces.choices import Choice, Site, Slot
from search_spaces.conditions import Condition, combined
from search_spaces.errors import SpaceError
from search_spaces.labels import Scalar
from search_spaces.parameters import CategoricalParameter, Parameter, Trial
from search_spaces.paths import Path, get, put, removed, unshared
from search_spaces.wording import nearest

Params = dict[str, Scalar]
NOTHING: Mapping[str, Scalar] = MappingProxyType({})


class Row(NamedTuple):
    """One line of a printed search space."""

    name: str
    text: str
    condition: str


@dataclass(frozen=True)
class SearchSpace:
    """What may vary in a configuration.

    Attributes:
        slots: The top-level places, in the order in which a trial is asked.

    Raises:
        SpaceError: If it is empty, one place lies inside another, two parameters get the same name, or a
            condition cannot be met.
    """

    slots: tuple[Slot, ...]

    def __post_init__(self) -> None:
        if not self.slots:
            raise SpaceError("", "the search space is empty: name at least one parameter that varies.")
        _check_apart([slot.path for slot in self.slots])
        name, count = Counter(self.names).most_common(1)[0]
        if count > 1:
            raise SpaceError(name, "two parameters would get this name: rename a branch.")

    @cached_property
    def sites(self) -> tuple[Site, ...]:
        """Every place that varies, active or not, in file order."""
        found: list[Site] = []
        _collect(found, self.slots)
        return tuple(found)

    @property
    def names(self) -> tuple[str, ...]:
        """The Optuna names of all parameters, active or not."""
        return tuple(site.name for site in self.sites)

    def suggest(self, trial: Trial, pinned: Mapping[str, Scalar] = NOTHING) -> Params:
        """Ask `trial` for each active parameter that is not pinned, in file order.

        Returns:
            Optuna name to stored value, as `configure` takes it.
        """
        return self._decide(lambda site: site.content.suggest(site.name, trial), pinned)

    def configure(self, base: Mapping[str, object], params: Mapping[str, object]) -> dict[str, object]:
        """Return a copy of `base` with the parameters' values in their places.

        A choice replaces what `base` holds at its path. Numbers outside a range are accepted: they stem
        from a trial made before the range was narrowed. The result shares nothing with `base` or with
        this search space.

        Args:
            base: A LightningCLI configuration.
            params: Optuna name to stored value, for exactly the active parameters.

        Raises:
            SpaceError: If an active parameter is missing, a name is unknown or inactive, a value is not
                one of the choices or not a number, or `base` has no room at a path.
        """

        def given(site: Site) -> Scalar:
            if site.name not in params:
                raise SpaceError(site.name, f"no value was given for this parameter{_because(site)}.")
            try:
                site.content.decode(params[site.name])
            except SpaceError as error:
                raise error.under(site.name) from None
            return cast(Scalar, params[site.name])

        active = self._decide(given)
        for name in params:
            if name not in active:
                raise SpaceError(name, self._why_inactive(name))
        return cast(dict[str, object], _fill(unshared(base), self.slots, "", active))

    def centre(self, pinned: Mapping[str, Scalar] = NOTHING) -> Params:
        """Return the middle of each range that is not pinned, and the first of each list of choices."""
        return self._decide(lambda site: site.content.centre, pinned)

    def without_place(self, name: str) -> "SearchSpace":
        """Return the same space with a top-level parameter whose value is no part of the configuration."""
        path = tuple(name.split("."))
        return SearchSpace(tuple(replace(s, is_placed=s.is_placed and s.path != path) for s in self.slots))

    def is_complete(self, params: Mapping[str, object]) -> bool:
        """Return whether every parameter that is active with `params` has a value in it."""
        return all(site.name in params for site in self.sites if site.is_active(params))

    def always_replaces(self, config_path: str) -> bool:
        """Return whether every configuration gets its value at a path from here, never from the base."""
        here = [site for site in self.sites if f"{config_path}.".startswith(f"{site.config_path}.")]
        return any(not site.conditions for site in here)

    def variations(self, around: Mapping[str, Scalar] | None = None) -> Iterator[tuple[str, Params]]:
        """Yield each parameter's edges and each branch, with everything else at the centre.

        Args:
            around: Parameters to take in the place of the centre's.

        Yields:
            The name of the parameter that was moved and the whole set of active parameters. Equal sets
            are yielded once.
        """
        seen, others = set(), around or {}
        for site in self.sites:
            for edge in site.content.edges:
                params = self.centre({**others, **site.prerequisites, site.name: edge})
                if (key := tuple(params.items())) not in seen:
                    seen.add(key)
                    yield site.name, params

    def config_path(self, name: str) -> str:
        """Return the dotted configuration path of an Optuna name.

        Raises:
            SpaceError: If no parameter has that name.
        """
        for site in self.sites:
            if site.name == name:
                return site.config_path
        raise SpaceError(name, f"the search space has no such parameter{nearest(name, self.names)}")

    def rows(self) -> tuple[Row, ...]:
        """Return name, range and condition of every parameter, for printing."""
        return tuple(Row(site.name, site.content.describe(), site.condition) for site in self.sites)

    def max_of(self, config_path: str) -> int | float | None:
        """Return the largest number that this search space can put at a configuration path.

        Args:
            config_path: A dotted path such as `trainer.max_epochs`.

        Returns:
            The largest number over ranges, choices and branches' literal values; None when there is none.
        """
        path = tuple(config_path.split("."))
        found = [value for site in self.sites for value in possible(site, path)]
        return max(filter(is_number, found), default=None)

    def _decide(self, decide: Callable[[Site], Scalar], pinned: Mapping[str, Scalar] = NOTHING) -> Params:
        """Collect a value for each site whose conditions hold, in file order."""
        params: Params = {}
        for site in self.sites:
            # What a condition names comes earlier, so its value is known by now.
            if site.is_active(params):
                params[site.name] = pinned[site.name] if site.name in pinned else decide(site)
        return params

    def _why_inactive(self, name: str) -> str:
        for site in self.sites:
            if site.name == name:
                return f"this parameter is active only when {site.condition}."
        return f"the search space has no such parameter{nearest(name, self.names)}"


def _collect(
    found: list[Site],
    slots: tuple[Slot, ...],
    name: str = "",
    path: str = "",
    conditions: tuple[Condition, ...] = (),
) -> None:
    """Append every place that varies, those of branches after their choice."""
    for slot in slots:
        site_name = _join(name, slot.path)
        active = combined(site_name, conditions, slot.when, found)
        site = Site(site_name, _join(path, slot.path), slot.content, active)
        found.append(site)
        for branch in slot.content.branches if isinstance(slot.content, Choice) else ():
            inner = (*site.conditions, (site.name, (branch.name,)))
            _collect(found, branch.slots, f"{site.name}.{branch.name}", site.config_path, inner)


def _fill(target: object, slots: tuple[Slot, ...], name: str, params: Params) -> object:
    """Put each slot's value into `target`, in place, and return it.

    A slot without a value leaves its place in the base as it is, and in a branch empty.
    """
    for slot in slots:
        slot_name = _join(name, slot.path)
        if slot_name in params and slot.is_placed:
            target = put(target, slot.path, _value(slot.content, slot_name, params))
        elif name:
            removed(target, slot.path)
    return target


def _value(content: Parameter | Choice, name: str, params: Params) -> object:
    if not isinstance(content, Choice):
        return content.decode(params[name])
    branch = content.decode(params[name])
    return _fill(unshared(branch.template), branch.slots, f"{name}.{branch.name}", params)


def possible(site: Site, path: Path) -> list[object]:
    """Return the values that one site can put at `path`."""
    here = tuple(site.config_path.split("."))
    if path[: len(here)] != here:
        return []
    rest = path[len(here) :]
    if isinstance(site.content, Choice):
        return [get(branch.template, rest) for branch in site.content.branches]
    if isinstance(site.content, CategoricalParameter):
        return [get(choice, rest) for choice in site.content.choices]
    return [site.content.high] if not rest else []


def _check_apart(paths: list[Path]) -> None:
    known = set(paths)
    for path in paths:
        for length in range(1, len(path)):
            if path[:length] in known:
                outer = ".".join(path[:length])
                rule = f"this lies inside {outer!r}, which is replaced as a whole: vary one of the two."
                raise SpaceError(".".join(path), rule)


def _join(prefix: str, path: Path) -> str:
    return ".".join((prefix, *path) if prefix else path)


def _because(site: Site) -> str:
    return f", which is active because {site.condition}" if site.conditions else ""
