"""What a trial trains on: one device of one machine, so far.

With more, Lightning starts further processes, or waits for those of other machines.
"""

from collections.abc import Mapping
from typing import Any


def of_several_devices(trainer: Mapping[str, Any]) -> str | None:
    """The rule that the settings of a Trainer break, or None.

    Args:
        trainer: As a file has them, or as the user's command line makes them of it.
    """
    devices = trainer.get("devices", 1)
    if devices not in (1, "1", "auto") and not (isinstance(devices, list) and len(devices) == 1):
        return f"a trial trains on one device so far, but got devices={devices!r}"
    nodes = trainer.get("num_nodes", 1)
    if nodes not in (1, None):
        return f"a trial trains on one machine, but got num_nodes={nodes!r}"
    return None
