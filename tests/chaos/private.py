"""`sweeps` on fake nodes with private folders: `python -m tests.chaos.private ARGUMENTS...`.

A node's folder is named by PRIVATE_FOLDER in its environment and dies with it. Trials with an odd number keep
their files there, as if `files:` named a disk of the node's own; those with an even number keep them in the
folder that all share.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import sweeps.start_up
from sweeps.context import TrialContext
from sweeps.executors import Reporter, TrialFunction
from sweeps.records import Assignment, Outcome

original = sweeps.start_up.make_trial_function


def make_trial_function(context: TrialContext, environment: Mapping[str, str]) -> TrialFunction:
    """What a worker on such a node calls first."""
    folder = Path(os.environ["PRIVATE_FOLDER"])
    shared = original(context, environment)
    private = original(replace(context, files=folder), environment)

    def train(assignment: Assignment, reporter: Reporter) -> Outcome:
        return (private if assignment.number % 2 else shared)(assignment, reporter)

    return train


if __name__ == "__main__":
    from sweeps.cli import main
    from tests.chaos import private  # by its name, which the workers can import

    sweeps.start_up.make_trial_function = private.make_trial_function
    main()
