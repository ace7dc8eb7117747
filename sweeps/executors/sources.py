"""The user's modules that workers import, against those that the sweep was started with.

A worker keeps what it has imported; one that comes later imports the files as they are by then. So somebody
who edits a module while a sweep runs has two codes in one study, and is told.
"""

from collections.abc import Callable, Mapping

from sweeps.provenance import named


class Sources:
    """What the first worker of a sweep imported, or the first that had the module.

    Args:
        say: Takes a line for the person, once for each new state of the files.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._known: dict[str, str] = {}
        self._said: list[dict[str, str]] = []
        self._say = say

    def expect(self, sources: Mapping[str, str]) -> None:
        """Takes what the sweep was started with: each module and the digest of its file."""
        self._known = dict(sources)

    def changed(self, imported: Mapping[str, str]) -> dict[str, str]:
        """The modules that a worker imported from files that are others by now, with their digests."""
        found = {name: it for name, it in imported.items() if self._known.setdefault(name, it) != it}
        if found and found not in self._said:
            self._said.append(found)
            self._say(
                f"your code has changed while the sweep runs: {named(list(found))}; new workers train it as "
                "it is by then, and `sweeps report` names their trials"
            )
        return found
