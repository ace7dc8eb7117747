"""What a trial takes, and how many trials fit on the nodes of a cluster; plain arithmetic, without Ray."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Node = Mapping[str, float]
"""What a node has, as Ray counts it: `CPU`, `GPU`, `accelerator_type:H100` and more."""

ACCELERATOR = "accelerator_type:"


@dataclass(frozen=True)
class NodeState:
    """A living node: what it has, and what of that nobody has taken.

    Attributes:
        total: What it has.
        free: What of that nobody has taken.
        is_drained: It is about to go, so nothing that is asked of it begins.
        place: How a person knows it: its address.
    """

    total: Node
    free: Node
    is_drained: bool = False
    place: str = ""


@dataclass(frozen=True)
class Need:
    """What one trial takes.

    Attributes:
        cpus: Logical CPUs.
        gpus: GPUs; a part of one is never spread over two of them.
        accelerator: The GPUs' type, as Ray names it (`H100`); None for any.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    accelerator: str | None = None

    def fits(self, node: Node) -> int:
        """How many trials fit on a node."""
        if self.accelerator and not node.get(ACCELERATOR + self.accelerator):
            return 0
        count = _floor(node.get("CPU", 0.0) / self.cpus)
        if not self.gpus:
            return count
        gpus = node.get("GPU", 0.0)
        if self.gpus >= 1:
            return min(count, _floor(gpus / self.gpus))
        whole = math.floor(gpus)  # 0.4 gives two trials a GPU; a GPU that is partly taken has the rest
        return min(count, whole * _floor(1 / self.gpus) + _floor((gpus - whole) / self.gpus))

    def __str__(self) -> str:
        gpus = f" and {self.gpus:g} {self.accelerator or 'GPU'}" if self.gpus else ""
        return f"{self.cpus:g} CPU{gpus}"


def room(need: Need, nodes: Mapping[str, NodeState], held: Sequence[str], unseen: int = 0) -> int:
    """How many slots a sweep can have: those that it holds, and what fits beside what is taken.

    Args:
        need: What each slot takes.
        nodes: The living nodes, by their names.
        held: The node of each slot that the sweep holds; "" for one that was asked for and has no place yet.
        unseen: So many of those may still look free on their nodes: a cluster shows late what was taken.
    """
    here = Counter(held)
    free = sum(
        max(0, min(need.fits(node.free), need.fits(node.total) - here[name])) for name, node in nodes.items()
    )
    return min(len(held) - unseen + max(unseen, free), sum(need.fits(node.total) for node in nodes.values()))


def accelerators(nodes: Sequence[Node]) -> list[str]:
    """The types of GPUs that the nodes have."""
    return sorted(
        {key.removeprefix(ACCELERATOR) for node in nodes for key in node if key.startswith(ACCELERATOR)}
    )


def _floor(number: float) -> int:
    return math.floor(min(number, 1e9) + 1e-4)  # Ray counts in ten-thousandths
