"""A sweep's trials as a table for a notebook."""

from typing import TYPE_CHECKING

from dashboards.records import Sweep

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]

SECONDS = ("fit_seconds", "slot_seconds", "wait_seconds", "earlier_seconds")


def frame(sweep: Sweep) -> "pd.DataFrame":
    """Return one row a trial, with its number as the index.

    Columns are `state`, `value`, `reason`, `validations`, `fit_seconds`, `slot_seconds`, `wait_seconds`,
    `earlier_seconds` (of attempts before), `worker`, `device`, `started` and `ended` (in UTC), then
    `params_NAME` and `metrics_NAME` as Optuna and MLflow call them; missing where a trial has none. Of
    several objectives `value` is the first, `value_2` the second and so on, and `on_front` says whether the
    trial is in the Pareto set.
    """
    import pandas as pd

    others = [f"value_{number}" for number in range(2, len(sweep.summary.objectives) + 1)]
    known = ["state", "value", *others, "reason", *(["on_front"] if others else []), "validations", *SECONDS]
    known += ["worker", "device", "started", "ended"]
    front = set(sweep.summary.front)
    rows = [
        {
            "state": trial.state,
            "value": trial.value,
            **dict(zip(others, trial.values[1:] or [None] * len(others), strict=False)),
            "reason": trial.reason,
            **({"on_front": trial.number in front} if others else {}),
            "validations": len(trial.intermediate),
            **{name: trial.timing.get(name) for name in SECONDS},
            "worker": trial.worker,
            "device": trial.device,
            "started": trial.started,
            "ended": trial.ended,
            **{f"params_{name}": value for name, value in trial.params.items()},
            **{f"metrics_{name}": value for name, value in trial.metrics.items()},
        }
        for trial in sweep.trials
    ]
    index = pd.Index([trial.number for trial in sweep.trials], name="number")
    found = pd.DataFrame(rows, index=index, columns=None if rows else known)
    for column in ("started", "ended"):
        found[column] = pd.to_datetime(found[column], utc=True)
    return found
