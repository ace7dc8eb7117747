"""Collects what a module logs: a Lightning logger beside the user's own, or in the place of one."""

import time
from collections.abc import Mapping

from lightning.pytorch import Trainer
from lightning.pytorch.loggers.logger import DummyLogger

from sweeps.records import Point


class Points(DummyLogger):
    """A Lightning logger that keeps what it is given until it is taken.

    Where the user has no logger, it is the module's `self.logger`. What a module asks of a logger beyond its
    metrics, such as `self.logger.experiment.add_image(...)` or `self.logger.watch(self)`, then does nothing,
    as with the logger that Lightning takes for `fast_dev_run`.

    Args:
        folder: The folder that a module is told when it asks the logger or the Trainer for one.
    """

    def __init__(self, folder: str) -> None:
        super().__init__()
        self._folder = folder
        self._points: list[Point] = []

    @property
    def name(self) -> str:
        """Lightning names folders after loggers."""
        return "sweeps"

    @property
    def save_dir(self) -> str:
        """What `trainer.log_dir` is."""
        return self._folder

    @property
    def root_dir(self) -> str:
        """The same folder: it is of one training only."""
        return self._folder

    @property
    def log_dir(self) -> str:
        """The same folder."""
        return self._folder

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Keeps one point a metric, with Lightning's own step."""
        now = time.time_ns() // 1_000_000
        self._points += [Point(key, float(value), step or 0, now) for key, value in metrics.items()]

    def take(self) -> tuple[Point, ...]:
        """Everything since the last time."""
        points, self._points = tuple(self._points), []
        return points


def numbers(trainer: Trainer) -> dict[str, float]:
    """What was logged, without what is no single number, such as a confusion matrix that no logger takes."""
    logged = trainer.callback_metrics.items()
    return {key: float(value) for key, value in logged if getattr(value, "numel", lambda: 1)() == 1}


def objective(trainer: Trainer, metric: str) -> float:
    """The objective's value after a validation.

    Raises:
        MetricNotLoggedError: The module did not log it; the message lists what it logged.
    """
    logged = trainer.callback_metrics
    if metric not in logged:
        raise MetricNotLoggedError(metric, sorted(logged))
    return float(logged[metric])


class MetricNotLoggedError(Exception):
    """The objective's metric is not among what the module logged by the end of a validation."""

    def __init__(self, metric: str, logged: list[str]) -> None:
        super().__init__(metric, logged)
        self.metric, self.logged = metric, logged

    def __str__(self) -> str:
        there = ", ".join(self.logged) or "nothing"
        return f"the module did not log {self.metric!r} by the end of a validation; it logged {there}"
