"""Nodes that get no trial for a while: what begins there fails, and elsewhere it does not.

A node without the data's mount, with a broken GPU or another torch is always the first that is free again,
so it would fail most of a sweep's trials while the others train.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection

LEFT_OUT_SECONDS = 600.0
"""Then a node is tried again: somebody may have mended it."""

CHANCE = 0.001
"""So unlikely must it be, after what happens elsewhere, that so many fail in a row on one node."""


class LeftOut:
    """Which nodes are left out; never the last one.

    Args:
        say: Takes a line for the person, once for each node that is left out.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say, self._unsaid = say, list[str]()
        self._until: dict[str, float] = {}
        self._began_well, self._failed, self._in_a_row = Counter[str](), Counter[str](), Counter[str]()
        self._trials = set[int]()  # that failed: a further attempt says no more of the node

    def names(self) -> set[str]:
        """The nodes that are left out at present."""
        now = time.monotonic()
        self._until = {name: until for name, until in self._until.items() if until > now}
        return set(self._until)

    def begins_well(self, node: str) -> None:
        """A trial has come as far as its first validation there."""
        self._began_well[node] += 1
        self._in_a_row[node] = 0

    def fails(self, node: str, trial: int, place: str, reason: str, open_nodes: Collection[str]) -> None:
        """A trial has failed there before its first validation.

        How likely one fails is what happens on the other nodes, by Laplace's rule of succession.

        Args:
            node: Its name.
            trial: The trial's number.
            place: How a person knows it.
            reason: Why the trial failed.
            open_nodes: Those that are not left out and could take a trial.
        """
        if trial in self._trials:
            return
        self._trials.add(trial)
        self._failed[node] += 1
        self._in_a_row[node] += 1
        others = [name for name in open_nodes if name != node]
        failed, well = (sum(count[name] for name in others) for count in (self._failed, self._began_well))
        chance, row = (failed + 1) / (failed + well + 2), self._in_a_row[node]
        if well and row > 1 and node not in self.names() and chance**row < CHANCE:
            what = f"{row} trials in a row failed there before the first validation"
            self._leave_out(node, f"{place}: {what}, elsewhere {failed} of {failed + well}: {reason}")
            self.say()

    def cannot_begin(self, node: str, place: str, reason: str, open_nodes: Collection[str]) -> bool:
        """A worker has raised on its way there; says whether the node is left out. Who it is, `say` tells."""
        if not set(open_nodes) - {node}:
            return False
        if node not in self.names():
            self._leave_out(node, f"{place}: workers cannot begin there: {reason}")
        return True

    def say(self) -> None:
        """Tells of those that nobody was told of."""
        while self._unsaid:
            self._say(self._unsaid.pop(0))

    def _leave_out(self, node: str, why: str) -> None:
        self._until[node] = time.monotonic() + LEFT_OUT_SECONDS
        self._unsaid.append(f"no trial for {LEFT_OUT_SECONDS / 60:g} minutes on node {why}")
