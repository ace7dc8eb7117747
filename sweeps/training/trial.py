"""One Lightning trial, inside a worker: it trains a configuration and reports each validation.

It knows neither Optuna nor MLflow. Whatever the user's module logs with `self.log` is collected by a
Lightning logger of our own, exactly as Lightning would hand it to any logger, and travels with the
reports.
"""

import os
import time
from dataclasses import replace
from pathlib import Path

import torch

from sweeps.context import TrialContext
from sweeps.executors import Reporter, TrialFunction, code
from sweeps.layout import LOG
from sweeps.lr.in_trial import with_found, with_rate
from sweeps.provenance import note_imports
from sweeps.records import Assignment, Outcome, Timing
from sweeps.training.apart import apart
from sweeps.training.callbacks import TrialCallback
from sweeps.training.checkpoints import usable
from sweeps.training.command_line import Extras
from sweeps.training.faults import CannotAccumulateError, fault_of
from sweeps.training.folder import trial_folder
from sweeps.training.isolation import describe_device, freeze
from sweeps.training.lightning import build
from sweeps.training.memory import share_of_gpu
from sweeps.training.points import Points
from sweeps.training.randomness import seed_from_nowhere


def make_trial_function(context: TrialContext) -> TrialFunction:
    """Prepares a worker process and gives the function that trains one assignment in it."""
    prepare_process(context)
    is_warm = False

    def train(assignment: Assignment, reporter: Reporter) -> Outcome:
        nonlocal is_warm
        there = trial_folder(context, assignment.number, goes_on=assignment.attempt > 0)
        with there as folder, apart(folder / LOG, context, assignment.config):
            outcome = _train(assignment, reporter, context, folder)
        if not is_warm:
            is_warm = True
            freeze()  # what the first trial imported
        return outcome

    return train


def prepare_process(context: TrialContext) -> None:
    """Sets up a worker process once: threads, where modules are found."""
    folders = code.unpacked(context.folders)
    code.find_modules(folders)
    # Relative paths in a configuration start where the sweep was launched, if this node has that folder.
    os.chdir(context.start if context.start and Path(context.start).is_dir() else folders[-1])
    torch.set_num_threads(context.cpus)
    if 0 < context.gpus < 1 and torch.cuda.is_available():  # a part of a GPU is a part of its memory
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(share_of_gpu(context.gpus, total))
    freeze()


def _train(assignment: Assignment, reporter: Reporter, context: TrialContext, folder: Path) -> Outcome:
    if assignment.config.get("seed_everything") is False:
        seed_from_nowhere()  # or all trials of this worker would draw the same numbers
    points = Points(str(folder))
    assignment, found = with_rate(assignment, context, folder, points)
    saves = assignment.config.get("trainer", {}).get("enable_checkpointing") is not False
    callback = TrialCallback(assignment, reporter, context, points, folder if saves else None)
    checkpoint = usable(folder, callback.batching) if assignment.attempt else None
    try:
        cli = build(assignment.config, Extras(str(folder), callback, points), context.cli)
    finally:
        note_imports()
    try:
        started = time.perf_counter()
        cli.trainer.fit(cli.model, datamodule=cli.datamodule, ckpt_path=checkpoint, weights_only=True)
        fit_seconds = time.perf_counter() - started - reporter.wait_seconds
        device = describe_device(cli.trainer.strategy.root_device)
    except Exception as error:
        if fault_of(error) == "oom" and not cli.model.automatic_optimization:
            raise CannotAccumulateError(f"{type(error).__name__}: {error}") from error
        raise
    finally:
        callback.close()
        cli.release()
    outcome = replace(
        callback.outcome(),
        points=points.take(),
        timing=Timing(
            fit_seconds=fit_seconds,
            wait_seconds=reporter.wait_seconds,
            earlier_seconds=callback.earlier_seconds,
        ),
        device=device,
    )
    return with_found(outcome, found, assignment.config)
