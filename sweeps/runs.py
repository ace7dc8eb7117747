"""What the MLflow runs of a sweep should hold; `sweeps.tracking` writes it. Nothing here imports MLflow.

MLflow's names may hold letters, digits, spaces and `_ - . : /`. Any other character becomes `_`, and so does
an empty, `.` or `..` part between slashes; a name of more than 240 characters ends in a hash; a name that is
taken already gets `_2`, `_3`, ... Texts that are too long end in an ellipsis.
"""

import getpass
import hashlib
import math
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

from sweeps.records import Assignment, Outcome, Point, Report, State

Status = Literal["finished", "failed", "interrupted"]

OWN_METRICS = ("objective", "fit_seconds", "slot_seconds", "wait_seconds")
NAME_LENGTH, PARAM_LENGTH, TAG_LENGTH = 250, 6_000, 5_000  # newer servers take tags of 8,000 characters
BATCH_ITEMS, BATCH_STRINGS, BATCH_BYTES = 1_000, 100, 900_000
RUN_STATUS = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
REFUSED_CHARACTERS = re.compile(r"[^/\w.\- ]" if os.name == "nt" else r"[^/\w.\- :]")


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
        params: What is fixed for the whole sweep.
    """

    name: str
    metric: str
    direction: Literal["minimize", "maximize"]
    tracking_uri: str
    artifact_location: str
    spec_text: str
    files: Path
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ending:
    """The end of the sweep: how, and its best trial's number, if any."""

    status: Status
    best: int | None


class Text(NamedTuple):
    """A parameter or a tag, name and value safe for MLflow."""

    kind: Literal["param", "tag"]
    key: str
    value: str


@dataclass
class Run:
    """One run of MLflow and what is still to be written to it.

    Attributes:
        name: The run's name.
        tags: The tags it is created with.
        started_ms: Its start, in milliseconds since the epoch.
        waiting: Metrics, parameters and tags to write, oldest first.
        files: Artifacts to write: the place among the artifacts, and a text or the file that goes there.
        status: MLflow's status to end it with; "" while it goes on.
        ended_ms: Its end, in milliseconds since the epoch.
        run_id: MLflow's id, once it is created.
        is_sent: Its creation was sent; whether MLflow did it is unknown while `run_id` is empty.
        is_refused: MLflow will not have it; nothing more is sent.
    """

    name: str
    tags: dict[str, str]
    started_ms: int
    waiting: list[Point | Text] = field(default_factory=list)
    files: list[tuple[str, str | Path]] = field(default_factory=list)
    status: str = ""
    ended_ms: int = 0
    run_id: str = ""
    is_sent: bool = False
    is_refused: bool = False

    def tag(self, **tags: str) -> None:
        """Sets tags, where they say something, on a run that may exist already."""
        self.waiting += [Text("tag", key, cut(value, TAG_LENGTH)) for key, value in tags.items() if value]

    def end(self, status: str, at: float) -> None:
        """Ends the run at a time in seconds since the epoch."""
        self.status, self.ended_ms = status, max(self.started_ms, int(at * 1000))


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
        self._metric_names, self._param_names = _Names(OWN_METRICS), _Names()
        self._counts = dict.fromkeys(State, 0)
        self._sign = 1 if info.direction == "minimize" else -1
        self._best = math.inf  # times the sign
        self.open: dict[int, Run] = {}
        self.run_ids: dict[int, str] = {}
        self.ending: Ending | None = None
        about = {"metric": info.metric, "direction": info.direction, **info.tags}
        self.parent = Run(info.name, self._tags(about), int(at * 1000))
        self.parent.waiting += self._params(info.params)
        self.parent.files.append(("sweep.yaml", info.spec_text))

    def add(self, event: Assignment | Report | Outcome | Ending, at: float) -> None:
        """Notes an event that was recorded at `at` (seconds since the epoch).

        Raises:
            ValueError: The trial's run is ended and written already.
            yaml.YAMLError: The configuration holds something that YAML cannot say.
        """
        match event:
            case Assignment():
                run = self._trial(event.number, at)
                run.waiting += self._params(event.params)
                run.files.append(("config.yaml", _yaml(event.config)))
            case Report():
                self._add_points(self._trial(event.number, at), event.points)
            case Outcome():
                self._end_trial(event, at)
            case Ending():
                self._end_sweep(event, at)

    def crown(self, number: int, params: dict[str, str], config: str) -> None:
        """Puts the best trial's parameters, configuration and checkpoint into the parent run.

        The parameters become tags, `best.<name>`: MLflow lets nobody change a parameter, but a resumed sweep
        may find a better trial.
        """
        self.parent.tag(best_trial=str(number), **{f"best.{name}": value for name, value in params.items()})
        if config:
            self.parent.files.append(("best/config.yaml", config))
        checkpoint = self._info.files / f"trial-{number}" / "best.ckpt"
        if checkpoint.is_file():
            self.parent.files.append(("best/best.ckpt", checkpoint))

    def _trial(self, number: int, at: float) -> Run:
        if number in self.open:
            return self.open[number]
        if number in self.run_ids:
            raise ValueError("its run has ended already")
        tags = self._tags({"trial_number": str(number)})
        self.open[number] = Run(f"trial-{number}", tags, int(at * 1000))
        return self.open[number]

    def _end_trial(self, outcome: Outcome, at: float) -> None:
        run, timing = self._trial(outcome.number, at), outcome.timing
        self._add_points(run, outcome.points)
        if timing.started:
            at = timing.started + timing.slot_seconds
            if not run.is_sent:  # MLflow has no way to change it later
                run.started_ms = int(timing.started * 1000)
        values = [outcome.value]
        if timing.started:
            values += [timing.fit_seconds, timing.slot_seconds, timing.wait_seconds]
        for key, value in zip(OWN_METRICS, values, strict=False):
            if value is not None and math.isfinite(value):
                run.waiting.append(Point(key, value, 0, int(at * 1000)))
        run.tag(
            state=outcome.state.value, reason=outcome.reason, worker=outcome.worker, device=outcome.device
        )
        log = self._info.files / f"trial-{outcome.number}" / "log.txt"
        if outcome.state is State.FAILED and log.is_file():
            run.files.append((log.name, log))
        run.end("FAILED" if outcome.state is State.FAILED else "FINISHED", at)
        self._count(outcome, at)

    def _count(self, outcome: Outcome, at: float) -> None:
        self._counts[outcome.state] += 1
        finished = sum(self._counts.values())
        count = Point(f"trials_{outcome.state.value}", self._counts[outcome.state], finished, int(at * 1000))
        self.parent.waiting.append(count)
        if outcome.state is State.COMPLETE and outcome.value is not None and math.isfinite(outcome.value):
            self._best = min(self._best, self._sign * outcome.value)
        if math.isfinite(self._best):
            self.parent.waiting.append(Point("best_value", self._sign * self._best, finished, int(at * 1000)))

    def _end_sweep(self, ending: Ending, at: float) -> None:
        self.ending = ending
        for run in self.open.values():
            if not run.status:
                run.tag(state="killed")
                run.end("KILLED", at)
        self.parent.tag(state=ending.status)
        self.parent.end(RUN_STATUS[ending.status], at)

    def _add_points(self, run: Run, points: Iterable[Point]) -> None:
        for point in points:
            name = self._metric_names[point.key]
            run.waiting.append(point if name == point.key else replace(point, key=name))

    def _params(self, params: dict[str, Any]) -> list[Text]:
        return [Text("param", self._param_names[key], _shown(value)) for key, value in params.items()]

    def _tags(self, tags: dict[str, str]) -> dict[str, str]:
        """The tags every run starts with, and more; MLflow takes no name twice."""
        common = {
            "sweep": self._info.name,
            "state": "running",
            "mlflow.user": _user(),
            "mlflow.source.name": "sweeps",
            "mlflow.source.type": "LOCAL",
        }
        return {_safe_name(key): cut(value, TAG_LENGTH) for key, value in {**common, **tags}.items()}


class _Names(dict[str, str]):
    """The safe name of each name, the same for the whole sweep."""

    def __init__(self, reserved: Iterable[str] = ()) -> None:
        super().__init__()
        self._taken = set(reserved)

    def __missing__(self, key: str) -> str:
        name = base = _safe_name(key)
        count = 1
        while name in self._taken:
            count += 1
            name = f"{base}_{count}"
        self._taken.add(name)
        self[key] = name
        return name


def batch_length(items: list[Point | Text]) -> int:
    """How many of the first items one call of MLflow may carry; bytes are counted as if all were escaped."""
    size = strings = 0
    for index, item in enumerate(items[:BATCH_ITEMS]):
        strings += isinstance(item, Text)
        size += 100 + 6 * (len(item.key) + (len(item.value) if isinstance(item, Text) else 0))
        if strings > BATCH_STRINGS or size > BATCH_BYTES:
            return index
    return min(len(items), BATCH_ITEMS)


def cut(text: str, length: int) -> str:
    """The text in at most `length` characters that every database takes: no NUL, no lone surrogates."""
    text = text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _safe_name(name: str) -> str:
    parts = REFUSED_CHARACTERS.sub("_", name).split("/")
    safe = "/".join("_" if part in ("", ".", "..") else part for part in parts)
    if safe.startswith(".."):  # MLflow takes it for the way out of a folder
        safe = f"_{safe[1:]}"
    # Room for the `_2` of a name that is taken and the `best.` of a parameter.
    if len(safe) <= NAME_LENGTH - 10:
        return safe
    digest = hashlib.blake2b(name.encode("utf-8", "replace"), digest_size=4).hexdigest()
    return f"{safe[: NAME_LENGTH - 20]}_{digest}"


def _shown(value: object) -> str:
    """A parameter's value as people write it; NumPy's floats as Python's."""
    return cut(repr(float(value)) if isinstance(value, float) else str(value), PARAM_LENGTH)


def _yaml(config: dict[str, Any]) -> str:
    # The C version of `yaml.safe_dump`, which takes a tenth of the time.
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return str(yaml.dump(config, Dumper=dumper, sort_keys=False, allow_unicode=True))


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return "unknown"
