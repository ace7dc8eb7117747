"""What the MLflow runs of a sweep should hold; `tracking.writer` writes it. Nothing here imports MLflow."""

import getpass
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from sweeps.layout import BEST, LOG, folder_of
from sweeps.records import Assignment, News, Outcome, Point, Report, Started, State
from sweeps.tracking.names import TAG_LENGTH, Names, Text, cut, safe_name, shown, yaml_text
from sweeps.tracking.pending import OTHER_OBJECTIVES, OWN_METRICS, Run

Status = Literal["finished", "failed", "interrupted"]

RUN_STATUS = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}


@dataclass(frozen=True)
class SweepInfo:
    """What the parent run says about the sweep.

    Attributes:
        name: The sweep's name: of the experiment and of the parent run.
        metric: The objective's name.
        direction: Whether smaller or larger is better.
        tracking_uri: Where MLflow keeps runs, such as `sqlite:////data/mlflow.db`; its folder is made.
        artifact_location: An absolute path or URI for a new experiment; "" leaves it to the server.
        spec_text: The sweep as YAML, for the `sweep.yaml` of the parent run.
        files: The folder that holds `trial-7/log.txt` and `trial-7/best.ckpt`.
        tags: Further tags, such as versions and the git commit; they win over the recorder's own.
        trained_with: Tags of the trials that this driver trains: its commit, and versions that are new.
        trained_before: The same of the driver before, for events that it left in the journal.
        params: What is fixed for the whole sweep.
        texts: Further files of the parent run: name and content.
        points: Metrics that are known before the first trial.
        key: Marks the runs of this sweep, so that a later driver finds them; "" for one of its own.
        counts: How many trials ended in which state under earlier drivers.
        best_value: The best value under earlier drivers.
        is_resumed: There are runs of an earlier driver: they are taken over.
    """

    name: str
    metric: str
    direction: Literal["minimize", "maximize"]
    tracking_uri: str
    artifact_location: str
    spec_text: str
    files: Path
    tags: dict[str, str] = field(default_factory=dict)
    trained_with: dict[str, str] = field(default_factory=dict)
    trained_before: dict[str, str] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    points: tuple[Point, ...] = ()
    key: str = ""
    counts: dict[State, int] = field(default_factory=dict)
    best_value: float | None = None
    is_resumed: bool = False


@dataclass(frozen=True)
class Ending:
    """The end of the sweep: how, its best trial's number, if any, and those of the Pareto set."""

    status: Status
    best: int | None
    front: tuple[int, ...] = ()


class Ledger:
    """Turns the events of one sweep into runs.

    Attributes:
        parent: The sweep's run.
        open: The run of each trial that is not ended and written yet.
        run_ids: MLflow's id of every trial's run.
        ending: The end of the sweep, once it is known.
    """

    def __init__(self, info: SweepInfo, at: float) -> None:
        self._info = info
        self._metric_names, self._param_names = Names(OWN_METRICS), Names()
        self._counts = dict.fromkeys(State, 0) | info.counts
        self._sign = 1 if info.direction == "minimize" else -1
        self._failed: set[int] = set()
        self._assigned: dict[int, dict[str, Any]] = {}
        self._is_recounted = info.is_resumed
        self._trained_with = info.trained_with
        self._best = math.inf if info.best_value is None else self._sign * info.best_value  # times the sign
        self.open: dict[int, Run] = {}
        self.run_ids: dict[int, str] = {}
        self.ending: Ending | None = None
        about = {"metric": info.metric, "direction": info.direction, **info.tags}
        self.parent = Run(info.name, self._tags(about), int(at * 1000), is_sent=info.is_resumed)
        self.parent.waiting += self._params(info.params)
        self.parent.files += [("sweep.yaml", info.spec_text), *info.texts.items()]
        self._add_points(self.parent, info.points)

    def add(self, event: News | Ending, at: float, *, is_replayed: bool = False) -> None:
        """Notes an event that was recorded at `at` (seconds since the epoch).

        Outcomes that are replayed are not counted: the study has counted them, or their trials go on.

        Raises:
            ValueError: The trial's run is ended and written already.
            yaml.YAMLError: The configuration holds something that YAML cannot say.
        """
        self._trained_with = self._info.trained_before if is_replayed else self._info.trained_with
        match event:
            case Assignment():
                run = self._trial(event.number, at, attempt=event.attempt)
                if self._info.is_resumed:  # an earlier driver may have drawn it, and none trained it
                    run.tag(**self._trained_with)
                run.is_held = event.attempt == 0  # until it gets its slot
                if event.number in self._failed:  # it goes on after all
                    self._failed.discard(event.number)
                    self._counts[State.FAILED] -= 1
                    self._is_recounted = True
                run.waiting += self._params(event.params)
                self._assigned[event.number] = event.params
                run.tag(change=event.change)
                run.files.append(("config.yaml", yaml_text(event.config)))
            case Started():
                run = self._trial(event.number, at)
                run.is_held = False
                if not run.is_sent:  # MLflow has no way to change it later
                    run.started_ms = int(event.time * 1000)
            case Report():
                run = self._trial(event.number, at)
                run.is_held = False
                self._add_points(run, event.points)
            case Outcome():
                self._end_trial(event, at)
                if not is_replayed:
                    self._count(event, at)
            case Ending():
                self._end_sweep(event, at)

    def crown(self, number: int, params: dict[str, str], config: str) -> None:
        """Puts the best trial's parameters, configuration and checkpoint into the parent run."""
        self._tag_best(number, params)
        if config:
            self.parent.files.append(("best/config.yaml", config))
        checkpoint = self._info.files / folder_of(number) / BEST
        if checkpoint.is_file():
            self.parent.files.append(("best/best.ckpt", checkpoint))

    def _tag_best(self, number: int, params: dict[str, str]) -> None:
        """Tags the parent with the best trial's parameters, `best.<name>`; those of an earlier best one go.

        They are tags, since MLflow lets nobody change a parameter.
        """
        tags = {f"best.{name}": value for name, value in params.items()}
        self.parent.waiting += [Text("tag", key, "") for key in sorted(self.parent.best_tags - tags.keys())]
        self.parent.best_tags = set(tags)
        self.parent.tag(best_trial=str(number), **tags)

    def _trial(self, number: int, at: float, attempt: int = 0) -> Run:
        """The trial's run: the open one or a new one; a further attempt goes on in the run of the first."""
        if number in self.open and not (attempt and self.open[number].status):
            run = self.open[number]
            if attempt:
                run.known = dict(run.seen)
                run.tag(attempt=str(attempt), **self._trained_with)
            return run
        if number in self.run_ids and not attempt:
            raise ValueError("its run has ended already")
        before = self.open.get(number)
        tags = self._tags({"trial_number": str(number), **self._trained_with})
        run = Run(folder_of(number), tags, int(at * 1000))
        run.is_sent = attempt > 0 or self._info.is_resumed
        if attempt:
            run.tag(attempt=str(attempt), state="running", **self._trained_with)
        if before:  # not written yet: the new attempt goes on with what waits there
            run.waiting, run.files = before.waiting + run.waiting, before.files
            run.seen, run.known = before.seen, dict(before.seen)
        self.open[number] = run
        return run

    def _end_trial(self, outcome: Outcome, at: float) -> None:
        run, timing = self._trial(outcome.number, at), outcome.timing
        run.is_held = False
        self._add_points(run, outcome.points)
        if timing.started:
            at = timing.started + timing.slot_seconds
            if not run.is_sent:  # MLflow has no way to change it later
                run.started_ms = int(timing.started * 1000)
        values = [outcome.value]
        if timing.started:
            values += [timing.fit_seconds, timing.slot_seconds, timing.wait_seconds]
            values += [timing.earlier_seconds or None]
        others = zip(OTHER_OBJECTIVES, outcome.others, strict=False)
        for key, value in [*zip(OWN_METRICS, values, strict=False), *others]:
            if value is not None and math.isfinite(value):
                run.waiting.append(Point(key, value, 0, int(at * 1000)))
        run.tag(
            state=outcome.state.value, reason=outcome.reason, worker=outcome.worker, device=outcome.device,
            **{f"effective.{name}": str(value) for name, value in outcome.effective.items()},
        )  # fmt: skip
        if outcome.config:
            run.files.append(("config.yaml", yaml_text(outcome.config)))
        log = self._info.files / folder_of(outcome.number) / LOG
        if outcome.state is State.FAILED and log.is_file():
            run.files.append((log.name, log))
        run.end("FAILED" if outcome.state is State.FAILED else "FINISHED", at)

    def _count(self, outcome: Outcome, at: float) -> None:
        self._counts[outcome.state] += 1
        if outcome.state is State.FAILED:
            self._failed.add(outcome.number)
        finished = sum(self._counts.values())
        count = Point(f"trials_{outcome.state.value}", self._counts[outcome.state], finished, int(at * 1000))
        self.parent.waiting.append(count)
        params = self._params(self._assigned.pop(outcome.number, {}))
        value = math.inf if outcome.value is None else self._sign * outcome.value
        if outcome.state is State.COMPLETE and value < self._best:
            self._best = value
            self._tag_best(outcome.number, {item.key: item.value for item in params})
        if math.isfinite(self._best):
            self.parent.waiting.append(Point("best_value", self._sign * self._best, finished, int(at * 1000)))

    def _end_sweep(self, ending: Ending, at: float) -> None:
        self.ending = ending
        self.open = {number: run for number, run in self.open.items() if not run.is_held}  # never started
        for run in self.open.values():
            if not run.status:
                run.tag(state="killed")
                run.end("KILLED", at)
        if self._is_recounted:  # an earlier driver may not have got to write the last of them
            for state, count in self._counts.items():
                finished = sum(self._counts.values())
                point = Point(f"trials_{state.value}", count, finished, int(at * 1000))
                self.parent.waiting.append(point)
        if len(ending.front) > 1:
            self.parent.tag(pareto_set=", ".join(map(str, ending.front)))
        self.parent.tag(state=ending.status)
        self.parent.end(RUN_STATUS[ending.status], at)

    def _add_points(self, run: Run, points: Iterable[Point]) -> None:
        for point in points:
            name = self._metric_names[point.key]
            run.add(point if name == point.key else replace(point, key=name))

    def _params(self, params: dict[str, Any]) -> list[Text]:
        return [Text("param", self._param_names[key], shown(value)) for key, value in params.items()]

    def _tags(self, tags: dict[str, str]) -> dict[str, str]:
        """The tags every run starts with, and more; MLflow takes no name twice."""
        common = {
            "sweep": self._info.name,
            "state": "running",
            "mlflow.user": _user(),
            "mlflow.source.name": "sweeps",
            "mlflow.source.type": "LOCAL",
        }
        return {safe_name(key): cut(value, TAG_LENGTH) for key, value in {**common, **tags}.items()}


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return "unknown"
