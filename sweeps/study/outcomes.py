"""The outcome of a trial as the study keeps it, beside Optuna's own state and value."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sweeps.records import Outcome, State, Timing

if TYPE_CHECKING:
    import optuna


def outcome_of(frozen: "optuna.trial.FrozenTrial") -> Outcome:
    """The outcome of a trial that ended, from the study."""
    kept = frozen.user_attrs.get("outcome", {})
    by_optuna = {"COMPLETE": State.COMPLETE, "PRUNED": State.PRUNED}.get(frozen.state.name, State.FAILED)
    value, *others = frozen.values or [None]
    state = State(kept.get("state", by_optuna))
    return Outcome(
        frozen.number, state, value, reason=kept.get("reason", ""), others=tuple(others),
        metrics=kept.get("metrics", {}), timing=Timing(**kept.get("timing", {})),
    )  # fmt: skip


DRIVERS = "drivers"
"""The trial attribute with all drivers that trained it, where these are several; see `Running.drivers`."""

CODE = "code"
"""The trial attribute with `Outcome.code` of an attempt that was tried again; else it is in the outcome."""

EXCLUDED = "excluded"
"""The stored state of a configuration that broke a constraint: never trained, in no budget."""


def counted(study: "optuna.Study") -> list["optuna.trial.FrozenTrial"]:
    """The trials that have ended and that people are shown."""
    return list(filter(is_counted, study.get_trials(deepcopy=False)))


def is_counted(frozen: "optuna.trial.FrozenTrial") -> bool:
    """Whether a trial has ended, and not by breaking a constraint."""
    state = frozen.user_attrs.get("outcome", {}).get("state")
    return frozen.state.is_finished() and state != EXCLUDED


def is_in_budget(frozen: "optuna.trial.FrozenTrial") -> bool:
    """Whether a trial ended as one that the budget counts."""
    return is_counted(frozen) and outcome_of(frozen).state is not State.INVALID


def left(trials: "Sequence[optuna.trial.FrozenTrial]", budget: int | None) -> int | None:
    """How many trials a budget has left, at least one; None where it does not count them."""
    return None if budget is None else max(1, budget - sum(map(is_in_budget, trials)))


def begun(
    trials: "Sequence[optuna.trial.FrozenTrial]", driver: Mapping[str, Any]
) -> "list[optuna.trial.FrozenTrial]":
    """Those of the running trials that train; Optuna counts the ones that are only drawn, too.

    Args:
        trials: Of a study, in order.
        driver: Its attribute, with how many were training at its last beat: the others are the latest.
    """
    running = [trial for trial in trials if trial.state.name == "RUNNING"]
    ahead = max(0, len(running) - driver.get("training", len(running)))
    drawn = [trial.number for trial in running if not last_step(trial)]
    return [trial for trial in running if trial.number not in drawn[len(drawn) - ahead :]]


def last_step(frozen: "optuna.trial.FrozenTrial") -> int:
    """The last validation that the study knows of a trial."""
    return frozen.last_step or max(map(int, frozen.user_attrs.get("validations", {})), default=0)


def outcome_attributes(outcome: Outcome, driver: int) -> dict[str, Any]:
    """The trial attributes that keep what Optuna's own state and value do not say of an outcome.

    Args:
        outcome: How the trial ended.
        driver: Which driver trained it last; see `Running.drivers`.
    """
    kept = {
        "state": outcome.state.value,
        "reason": outcome.reason,
        "metrics": outcome.metrics,
        "timing": asdict(outcome.timing),
        "worker": outcome.worker,
        "device": outcome.device,
        "driver": driver,
        **{name: said for name in ("effective", "fault", "rate", CODE) if (said := getattr(outcome, name))},
    }
    return {**({"config": outcome.config} if outcome.config else {}), "outcome": kept}
