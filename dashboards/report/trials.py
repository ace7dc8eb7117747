"""The table of trials: plain columns for the page's script, which sorts, filters and copies."""

import math
import shlex
from typing import Any

from dashboards.export import script_config
from dashboards.records import Sweep, Trial
from dashboards.report.configs import pack
from dashboards.report.page import Page, paragraph, text
from dashboards.runs import Runs

_LONGEST_REASON = 300


def trial_table(page: Page, sweep: Sweep, runs: Runs) -> str:
    """Put the trials into the page's data and return the place of their table."""
    page.data["trials"] = trial_data(sweep, runs)
    states = list(dict.fromkeys(trial.state for trial in sweep.trials))
    options = "".join(f"<option>{text(state)}</option>" for state in states)
    about = []
    if runs.run_ids and not runs.is_server:
        command = f"`sweeps dashboard {shlex.quote(sweep.name)}`"
        about.append(
            paragraph(f"The links to MLflow work while {command} runs at {runs.address}.", "note links")
        )
    return (
        '<div class="controls"><label>Filter <input id="filter" type="search" placeholder="any text, or'
        ' lr &lt; 0.01"></label><label>State <select id="state"><option value="">all</option>'
        f'{options}</select></label><span id="count" role="status"></span></div>'
        '<div class="scroll"><table id="trials"><caption class="hidden">All trials</caption>'
        "<thead></thead><tbody></tbody></table></div>"
        '<button id="more" type="button" hidden>show more</button>'
        '<dialog id="config"><p>Copy this configuration:</p><textarea readonly rows="20" cols="60"'
        ' aria-label="configuration"></textarea><form method="dialog"><button>close</button></form></dialog>'
        + "".join(about)
    )


def trial_data(sweep: Sweep, runs: Runs) -> dict[str, Any]:
    """Return columns (name, title, whether they are numbers, values), configs and links, as plain JSON."""
    trials = sweep.trials
    labels = sweep.labels
    columns = [
        _column("trial", "Optuna's number", [trial.number for trial in trials]),
        _column("state", "how it ended", [trial.state for trial in trials]),
        _column(sweep.summary.metric or "value", "the objective", [_number(trial.value) for trial in trials]),
        _column("validations", "validations done", [len(trial.intermediate) for trial in trials]),
        _column("seconds", "in its slot, all attempts", [_number(trial.seconds, 4) for trial in trials]),
        *(_column(labels[p.name], p.name, [_param(trial, p.name) for trial in trials]) for p in sweep.space),
    ]
    if any(trial.reason for trial in trials):
        columns.append(
            _column("reason", "why it ended", [_clean(t.reason[:_LONGEST_REASON]) for t in trials])
        )
    return {
        "columns": columns,
        "configs": pack(map(script_config, trials)),
        "runs": {
            "address": f"{runs.address}/#/experiments/{runs.experiment_id}/runs/",
            "ids": [runs.run_ids.get(trial.number) for trial in trials] if runs.run_ids else [],
        },
    }


def _column(name: str, title: str, values: list[Any]) -> dict[str, Any]:
    numeric = any(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    return {"name": _clean(name), "title": _clean(title), "numeric": numeric, "values": values}


def _param(trial: Trial, name: str) -> Any:
    value = trial.params.get(name)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return "None" if name in trial.params and value is None else value
    return _number(value) if isinstance(value, float) else _clean(str(value))


def _number(value: float | None, digits: int = 6) -> float | str | None:
    """Return a number rounded to so many significant digits; JSON knows no NaN or infinity, but text does."""
    if value is None:
        return None
    return float(f"{value:.{digits}g}") if math.isfinite(value) else str(value)


def _clean(value: str) -> str:
    return value.encode("utf-8", "replace").decode()
