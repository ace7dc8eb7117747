"""A run of MLflow as it is to become: what is known of it, and what still waits to be written."""

from dataclasses import dataclass, field
from pathlib import Path

from sweeps.records import MOST_OBJECTIVES, Point
from sweeps.tracking.names import TAG_LENGTH, Text, cut

OTHER_OBJECTIVES = tuple(f"objective.{number}" for number in range(2, MOST_OBJECTIVES + 1))
OWN_METRICS = (
    "objective", "fit_seconds", "slot_seconds", "wait_seconds", "earlier_seconds", *OTHER_OBJECTIVES,
)  # fmt: skip


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
        artifact_uri: Where its artifacts are, likewise.
        is_sent: Its creation was sent; whether MLflow did it is unknown while `run_id` is empty.
        is_doubtful: Its creation was sent twice: the first one may yet be done, late.
        is_refused: MLflow will not have it, or somebody deleted it there; nothing more is sent.
        is_held: It is not to be created yet.
        stored: The last step that MLflow has of each metric; points up to it are not written again.
        best_tags: The `best.<name>` tags that it has, or will have once what waits is written.
        seen: The last step of each metric that came.
        known: `seen` by the end of the attempt before; what a further attempt repeats is left out.
    """

    name: str
    tags: dict[str, str]
    started_ms: int
    waiting: list[Point | Text] = field(default_factory=list)
    files: list[tuple[str, str | Path]] = field(default_factory=list)
    status: str = ""
    ended_ms: int = 0
    run_id: str = ""
    artifact_uri: str = ""
    is_sent: bool = False
    is_doubtful: bool = False
    is_refused: bool = False
    is_held: bool = False
    stored: dict[str, int] = field(default_factory=dict)
    best_tags: set[str] = field(default_factory=set)
    seen: dict[str, int] = field(default_factory=dict)
    known: dict[str, int] = field(default_factory=dict)

    def is_new(self, point: Point) -> bool:
        """Whether MLflow does not have this point yet: it keeps both of two that differ in their time."""
        return point.key in OWN_METRICS or point.step > self.stored.get(point.key, -1)

    def add(self, point: Point) -> None:
        """Takes a point, unless the attempt before had it."""
        if point.step > self.known.get(point.key, -1):
            self.waiting.append(point)
            self.seen[point.key] = max(point.step, self.seen.get(point.key, -1))

    def tag(self, **tags: str) -> None:
        """Sets tags, where they say something, on a run that may exist already."""
        self.waiting += [Text("tag", key, cut(value, TAG_LENGTH)) for key, value in tags.items() if value]

    def end(self, status: str, at: float) -> None:
        """Ends the run at a time in seconds since the epoch."""
        self.status, self.ended_ms = status, max(self.started_ms, int(at * 1000))
