"""When a sampler has nothing more to ask: the end of a grid search, whatever the budget says."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import optuna


class Exhaustion:
    """Watches the sampler of an Optuna study that is driven by ask and tell.

    Args:
        study: The study; its `stop` is replaced. Samplers that are through with the space call it to end the
            loop of `Study.optimize`, and it would raise here, where that loop does not run.
    """

    def __init__(self, study: "optuna.Study") -> None:
        self._study, self._was_told = study, False
        setattr(study, "stop", self._note)  # noqa: B010 - it is a method

    def _note(self) -> None:
        self._was_told = True

    @property
    def is_reached(self) -> bool:
        """Whether all was asked that there is, and nothing is enqueued beside it, also by others."""
        import optuna

        from sweeps.storages.alone import look_again

        is_exhausted = getattr(self._study.sampler, "is_exhausted", None)
        if not self._was_told and (is_exhausted is None or not is_exhausted(self._study)):
            return False
        look_again(self._study)
        return not self._study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.WAITING,))
