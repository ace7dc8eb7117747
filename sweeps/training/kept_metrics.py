"""Metrics of torchmetrics that a module keeps from epoch to epoch, such as a MaxMetric of the best so far.

Their states are in no checkpoint, unless a module makes them persistent.
"""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torchmetrics import Metric, MetricCollection, MetricTracker


def states(trainer: Trainer) -> dict[str, Any]:
    """What to put into a checkpoint: the metrics' states by the names of the modules, as plain values.

    Without those that are logged as objects: Lightning resets them.
    """
    module = trainer.lightning_module
    reset = {id(metric) for metric in _logged(trainer)}
    for collection in module.modules():
        if isinstance(collection, MetricCollection) and len(collection):
            collection.values(copy_state=False)  # those that share a state get it
    kept = {
        name: [metric._update_count, _copied(metric.metric_state)]
        for name, metric in module.named_modules()
        if isinstance(metric, Metric) and metric._update_count and id(metric) not in reset
    }
    return {"states": kept, "trackers": {name: len(tracker) for name, tracker in _trackers(module)}}


def put_back(module: LightningModule, known: Mapping[str, Any]) -> None:
    """Gives the metrics of a new module their states.

    Args:
        module: The user's.
        known: What `states` gave; empty for a checkpoint of an earlier version.
    """
    for name, tracker in _trackers(module):
        while len(tracker) < known.get("trackers", {}).get(name, 0):
            tracker.increment()
    metrics = dict(module.named_modules())
    for name, (count, state) in known.get("states", {}).items():
        metric = metrics.get(name)
        if isinstance(metric, Metric):
            for key, value in _copied(state, metric.device).items():
                setattr(metric, key, value)
            metric._update_count, metric._computed = count, None


def _trackers(module: LightningModule) -> Iterator[tuple[str, MetricTracker]]:
    for name, tracker in module.named_modules():
        if isinstance(tracker, MetricTracker):
            yield name, tracker


def _logged(trainer: Trainer) -> Iterator[Metric]:
    loops = (trainer.fit_loop.epoch_loop, trainer.fit_loop.epoch_loop.val_loop)
    for result in (result for loop in loops for result in loop._results.values()):
        if isinstance(result.value, Metric):
            yield from (part for part in result.value.modules() if isinstance(part, Metric))


def _copied(state: Mapping[str, Any], device: torch.device | None = None) -> dict[str, Any]:
    def copied(one: Any) -> Any:
        # Some metrics have lists of tuples, such as those of segmentations.
        return one.detach().to(device, copy=True) if isinstance(one, torch.Tensor) else copy.deepcopy(one)

    return {
        key: [copied(one) for one in value] if isinstance(value, list) else copied(value)
        for key, value in state.items()
    }
