"""Notes on choices of the search space that the user's classes cannot be built with: they block nothing.

A launch has the worker that made the inspection build them. Should they cost that worker its life, as a trial
would find out later, another one takes its place.
"""

import importlib

from sweeps.context import Inspection, TrialContext
from sweeps.executors import Crew
from sweeps.planning.plan import PROBES
from sweeps.sweep_file.spec import SweepSpec

SECONDS = 1.0
"""After the first choice, none is built once so many are used."""

MOST_SECONDS = 60.0
"""How long one constructor may hang."""


def choice_notes(
    context: TrialContext, spec: SweepSpec, inspection: Inspection, seconds: float = SECONDS
) -> list[str]:
    """What cannot be built, a line each, in this process, which imports torch.

    Args:
        context: What the trials of the sweep share.
        spec: The sweep.
        inspection: Of the same sweep, without a problem.
        seconds: What the choices may take together, but for the first.
    """
    if inspection.built is None:
        points, centre_seconds = spec.checked_constraints.points(PROBES), None
    else:
        points, centre_seconds = [inspection.built], inspection.build_seconds
    module = importlib.import_module("sweeps.training.choices")
    found: list[str] = module.unbuildable(context, spec, points, centre_seconds, seconds=seconds)
    return found


def choice_notes_of(
    workers: Crew, context: TrialContext, spec: SweepSpec, inspection: Inspection
) -> list[str]:
    """The same in a worker; see `choice_notes`."""
    [found] = workers.map(choice_notes, [(context, spec, inspection)], MOST_SECONDS)
    if not isinstance(found, BaseException):
        notes: list[str] = found
        return notes
    how = "takes too long" if isinstance(found, TimeoutError) else "ended the worker's process"
    return [f"search_space: building one of its choices {how}, so which cannot be built is not known"]
