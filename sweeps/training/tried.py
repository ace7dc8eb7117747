"""What came of a few batches in a worker; the driver reads it without torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tried:
    """What came of it.

    Attributes:
        samples: Samples of the training data; None if it does not say.
        steps: Optimizer steps that were made.
        samples_per_second: Of the measured batches; 0 if there were none.
        problem: What the user's code raised, in one line.
    """

    samples: int | None = None
    steps: int = 0
    samples_per_second: float = 0.0
    problem: str = ""
