"""What a sweep starts with: a cluster, warm workers, and what they say of the user's classes."""

import functools
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.context import Inspection, TrialContext
from sweeps.executors import TrialFunction, code, shared_folder
from sweeps.interruption import Interrupted, raise_again, signals_raise
from sweeps.planning.places import Places
from sweeps.planning.plan import (
    check_algorithms,
    context_of,
    imported,
    inspect,
    raise_problem,
    slots_of,
    validations_of,
)
from sweeps.preparing import WORKERS
from sweeps.sweep_file.spec import SweepSpec
from sweeps.training.launchers import scrub_environment

if TYPE_CHECKING:
    from sweeps.executors.ray import RayExecutor

QUEUE = 16
"""How many workers wait in Ray's queue where nodes are added for them."""

Say = Callable[[str], None]
"""Takes a line that a person should see."""


@contextmanager
def workers(
    spec: SweepSpec,
    where: Places,
    address: str | None,
    say: Say,
    first: int | None = None,
    stay: ExitStack | None = None,
) -> Iterator[tuple["RayExecutor", TrialContext, Inspection, bool]]:
    """Workers that have checked the classes and trained one batch, with what they found.

    That is the trials' context, the inspection, and whether to ask ahead. At most `first` workers are started
    before trials ask for more. The cluster is left, which may mean to wait for other sweeps, when `stay` is
    closed, or else at the end of the block.
    """
    with ExitStack() as stack:
        with signals_raise():
            from sweeps.executors.cluster import cluster, nodes
            from sweeps.executors.ray import RayExecutor

            try:
                folders = (stay or stack).enter_context(cluster(address, spec.folders, say))
            except SystemExit:  # of a handler of SIGTERM that Ray sets while it starts
                raise Interrupted(signal.SIGTERM) from None
            raise_again()
        stack.enter_context(signals_raise())  # again: Ray has set its handler in the place of ours
        is_joined = code.is_copy(folders)
        count, need = slots_of([node.total for node in nodes().values()], spec, is_joined=is_joined)
        if not is_joined:  # the last is the current folder
            also = dict.fromkeys([*code.own_places(folders), *spec.places])
            folders = (*folders[:-1], *also, folders[-1])
        context = replace(context_of(spec, where.files, need.gpus, where.store), folders=folders)
        environment = {} if is_joined else dict(os.environ)
        make = functools.partial(make_trial_function, context, environment)
        if where.storage and is_joined and not where.store:  # range tests alone keep no files
            there = stack.enter_context(shared_folder.marked(where.files))
            make = functools.partial(shared_folder.make_there, there, where.files, make)
        executor = RayExecutor(
            make,
            slots=spec.concurrency,
            first=first or spec.budget.trials,
            need=need,
            queue=(QUEUE if spec.resources.autoscaling else 1) if is_joined else 0,
            say=say,
            timeout_seconds=spec.trial_timeout or float("inf"),
            grace_seconds=context.patience if context.store else 0.0,
        )
        stack.callback(executor.close)
        threading.Thread(target=_prepare, daemon=True).start()
        inspection = executor.call(inspect, context, spec, True)
        raise_problem(inspection, spec)
        executor.expect(inspection.sources)
        for note in inspection.notes:
            say(note)
        check_algorithms(spec, validations_of(spec, inspection))
        # With one slot, a seed gives the same trials in the same order each time.
        yield executor, context, inspection, count > 1


def _prepare() -> None:
    """Does what takes long and is needed soon, while the driver has nothing else to do."""
    imported("sweeps.storages.storage").rehearse()
    for name in ("scipy.stats", "mlflow"):  # for quasi-random numbers, for the records
        imported(name)


def make_trial_function(context: TrialContext, environment: Mapping[str, str]) -> TrialFunction:
    """What a worker calls first; torch and Lightning are imported there, never in the driver.

    Args:
        context: What all trials share.
        environment: The driver's, where the worker is on its machine: another sweep may have started that.
    """
    WORKERS.set()
    if environment:
        code.take_over(environment)
    scrub_environment()
    if context.gpus == 0:
        # Ray leaves all GPUs visible to an actor that asked for none; torch reads this when imported.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        os.environ["DISABLE_MPS"] = "1"  # a Mac's GPU, for Lightning's `accelerator: auto`
    os.environ[code.HOME] = str(Path.cwd())  # where Ray put the copy of the code, if it got one
    made: TrialFunction = imported("sweeps.training.trial").make_trial_function(context)
    return made
