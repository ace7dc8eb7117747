"""What a worker is told of its sweep before the first trial, and what it says of the user's classes."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class CliCall:
    """How the user's script calls LightningCLI; plain data, since the driver imports no classes.

    Attributes:
        class_path: The user's own LightningCLI class; "" for LightningCLI itself.
        keywords: What its constructor gets, by the names of the sweep file.
    """

    class_path: str = ""
    keywords: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RateSearch:
    """How each trial finds its own learning rate.

    Attributes:
        parameter: The rate's path in the configuration.
        low: The first rate of the range test.
        high: The last one.
        steps: Its optimizer steps.
        bounds: The rate's ranges in the space, by Optuna's names: what is found is held to the active one.
    """

    parameter: str
    low: float
    high: float
    steps: int
    bounds: dict[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class TrialContext:
    """What all trials of a sweep share.

    Attributes:
        metric: The (first) objective's metric, as the module logs it.
        minimize: Its direction.
        other_metrics: The further objectives' metrics.
        value: Which validation's value counts: `best` or `last`.
        files: The sweep's folder; trial 7 writes into `trial-7` there.
        store: The address of the sweep's folder where that is not on this machine, else "".
        patience: How long to wait for the store before a trial goes on, in seconds.
        folders: Where the user's modules are looked for: names of copies where they were sent to the node.
        start: The folder that the sweep was launched in.
        cpus: Threads of torch.
        gpus: GPUs of the trial; with none, the worker sees none.
        cli: How the user's script calls LightningCLI.
        rate: How each trial finds its learning rate; None if it does not.
    """

    metric: str
    minimize: bool
    value: str
    files: Path
    folders: tuple[str, ...]
    start: str = ""
    store: str = ""
    patience: float = 300.0
    cpus: int = 1
    gpus: float = 0.0
    cli: CliCall = CliCall()
    other_metrics: tuple[str, ...] = ()
    rate: RateSearch | None = None


@dataclass(frozen=True)
class Inspection:
    """What an inspection found.

    Attributes:
        problem: Key and rule of the first mistake, None if there is none.
        resolved: The configuration at the centre of the space as YAML, defaults of the classes filled in.
        batches: Training batches an epoch at the centre of the space, None if not known.
        logged: The metrics that the module logged in the probe.
        trainer: The Trainer's plain settings at the centre of the space, defaults included.
        sources: The user's modules and a digest of each one's file.
        built: The parameters of the configuration that was built, None if none was.
        build_seconds: How long that took.
        notes: What a person should know, a line each: what is given and does nothing.
    """

    problem: tuple[str, str] | None = None
    resolved: str = ""
    batches: int | None = None
    logged: tuple[str, ...] = ()
    trainer: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    built: dict[str, Any] | None = None
    build_seconds: float = 0.0
    notes: tuple[str, ...] = ()
