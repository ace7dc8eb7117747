"""`sweeps lr-find`: the finder without a sweep; recorded in MLflow, in an experiment of its own."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sweeps.errors import UserError
from sweeps.lr import finder
from sweeps.lr.narrow import has_rate, no_rate
from sweeps.planning.batch_size import settled
from sweeps.planning.places import Places, tracking_place
from sweeps.start_up import workers
from sweeps.sweep_file.sections import LrFinder
from sweeps.sweep_file.spec import SweepSpec
from sweeps.tracking.parent_run import basics
from sweeps.tracking.recorder import Recorder
from sweeps.tracking.runs import SweepInfo

OPTIONS = {"low": "min", "high": "max"}
"""The command line's names of the section's keys, where they differ."""


def section(spec: SweepSpec, parameter: str | None, **numbers: Any) -> LrFinder:
    """The finder's settings: the sweep file's, with what the command line says.

    Args:
        spec: The sweep.
        parameter: Instead of the file's.
        numbers: `configs`, `low`, `high` and `steps`.

    Raises:
        UserError: One of them is out of its range, or the configuration has no such rate.
    """
    name = parameter or (spec.lr_finder.parameter if spec.lr_finder else None)
    try:
        made = LrFinder(**({"parameter": name} if name else {}), **numbers)
    except ValidationError as error:
        problem = error.errors()[0]
        key = str(problem["loc"][0]) if problem["loc"] else "low"
        message = problem["msg"].removeprefix("Value error, ")
        text = f"{message[0].lower()}{message[1:]}"
        raise UserError(f"--{OPTIONS.get(key, key)}: {text}") from None
    if not has_rate(spec, made.parameter):
        raise UserError(f"--parameter: {no_rate(spec, made.parameter)}")
    return made


def lr_find(spec: SweepSpec, settings: LrFinder, address: str | None) -> tuple[dict[str, Any], list[str]]:
    """Runs the range tests of a sweep file and records them; no study is made.

    Args:
        spec: The sweep.
        settings: What to test.
        address: Of the Ray cluster; see `sweeps.executors.cluster.cluster` for what holds without it.

    Returns:
        What a study would keep, as `{"lr_finder": ...}`, and what could not be recorded, a line each.

    Raises:
        UserError: Something in the sweep is not right; nothing was created.
    """
    name = f"{spec.name}-lr-find"
    where = Places("", *tracking_place(spec, name), Path(spec.files))
    tests = max(settings.configs, finder.REPEATS) * len(finder.sites_of(spec, settings))
    with workers(spec, where, address, print, first=tests) as (executor, context, *_):
        spec, _ = settled(executor, context, spec)
        found = finder.find(executor, context, spec, settings)
    attributes = {"lr_finder": finder.stored(spec, settings, found)}
    info = SweepInfo(
        name=name,
        **basics(spec, where),
        **finder.recorded(attributes),
    )
    return attributes, Recorder(info).close(status="finished", best=None)
