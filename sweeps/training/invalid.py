"""What user code may raise to end its trial otherwise than as failed. Imports nothing.

    InvalidConfig   this configuration makes no sense: the trial is `invalid`, in no budget
    TrialPruned     Optuna's: this trial is not worth going on with

Both are known by their names, so that nobody's module must import this package.
"""

from collections.abc import Iterator

from sweeps.records import State

STATES = {"InvalidConfig": State.INVALID, "InvalidHP": State.INVALID, "TrialPruned": State.PRUNED}
"""Names of exceptions, with the state of a trial that raises one; `InvalidHP` is Determined's."""


class InvalidConfig(ValueError):
    """Raise it where a configuration makes no sense: in a constructor, in `setup`, anywhere in the training.

    The trial is shown as `invalid`; the sampler learns from it, and the budget does not count it.
    """


def declared(error: BaseException) -> tuple[State, BaseException] | None:
    """What an exception, or one that it was raised from, says about its trial; with that exception."""
    for cause in _causes(error):
        for cls in type(cause).__mro__:
            if cls.__name__ in STATES:
                return STATES[cls.__name__], cause
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        # What stands behind an exception that was raised while it was handled counts as well, as in a trace.
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
