"""What a trial's folder is called and holds: on this machine, on a node, or on a store."""

LOG = "log.txt"
BEST, LAST, PREVIOUS = "best.ckpt", "last.ckpt", "previous.ckpt"
"""Its checkpoints; `previous.ckpt` is the one before the last, for when that one is damaged."""

RATE = "learning-rate.json"
"""What its range test found; see `sweeps.lr.in_trial`."""


def folder_of(number: int) -> str:
    """The name of a trial's folder in the sweep's."""
    return f"trial-{number}"
