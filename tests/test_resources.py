"""How many trials fit where: plain arithmetic."""

import pytest

from sweeps.executors.resources import Need, NodeState, room

HALF = Need(gpus=0.5)


def node(cpus: float, gpus: float = 0.0, *, free_cpus: float | None = None, free_gpus: float | None = None,
         **more: float) -> NodeState:  # fmt: skip
    total = {"CPU": cpus, "GPU": gpus, **more}
    return NodeState(total, total | {
        "CPU": cpus if free_cpus is None else free_cpus, "GPU": gpus if free_gpus is None else free_gpus
    })  # fmt: skip


@pytest.mark.parametrize(
    ("need", "nodes", "held", "unseen", "expected"),
    [
        pytest.param(Need(), [node(2), node(3)], [], 0, 5, id="all is free"),
        pytest.param(Need(), [node(2, free_cpus=1)], [], 0, 1, id="others have taken one"),
        pytest.param(Need(), [node(2, free_cpus=0)], [], 0, 0, id="others have taken all"),
        pytest.param(Need(), [node(2, free_cpus=0)], ["0", "0"], 0, 2, id="ours are all"),
        pytest.param(Need(), [node(4, free_cpus=2)], ["0"], 0, 3, id="one is ours, one another's"),
        pytest.param(Need(), [node(2)], ["", ""], 2, 2, id="two on their way, which do not show yet"),
        pytest.param(Need(), [node(4, free_cpus=2)], ["", ""], 0, 4, id="two on their way, which show"),
        pytest.param(Need(), [node(2)], ["", ""], 0, 2, id="two which show too late"),
        pytest.param(Need(), [node(2, free_cpus=0)], ["", ""], 2, 2, id="two which show early"),
        pytest.param(Need(), [node(2)], ["0", "1", "1"], 0, 2, id="a node has gone, and ours with it"),
        pytest.param(Need(), [node(2, free_cpus=2)], ["0", "0"], 0, 2, id="ours do not show"),
        pytest.param(Need(), [], [], 0, 0, id="no node"),
        pytest.param(HALF, [node(8, 2, free_gpus=1.5)], ["0"], 0, 4, id="halves of GPUs"),
        pytest.param(HALF, [node(8, 2, free_gpus=0.4)], [], 0, 0, id="less than a half is free"),
        pytest.param(HALF, [node(3, 4)], [], 0, 3, id="too few CPUs for the GPUs"),
        pytest.param(Need(gpus=0.4), [node(8, 2)], [], 0, 4, id="two to a GPU, and a rest"),
        pytest.param(Need(gpus=2), [node(8, 3), node(8, 1)], [], 0, 1, id="two GPUs of one node"),
        pytest.param(
            Need(gpus=1, accelerator="H100"),
            [node(8, 2, **{"accelerator_type:H100": 1}), node(8, 8, **{"accelerator_type:A10": 1})],
            [], 0, 2, id="of one type",
        ),
    ],
)  # fmt: skip
def test_a_sweep_has_the_slots_it_holds_and_those_that_fit_beside_what_is_taken(
    need: Need, nodes: list[NodeState], held: list[str], unseen: int, expected: int
) -> None:
    named = {str(number): state for number, state in enumerate(nodes)}
    assert room(need, named, held, unseen) == expected
