"""The loop of a sweep: asks, submits, answers and tells until the budget is used."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

from sweeps.errors import UserError
from sweeps.executors import Executor
from sweeps.interruption import Interrupted, raise_again
from sweeps.records import Assignment, News, Outcome, Report, Request
from sweeps.storages.patience import hurry
from sweeps.study.asking import Asker
from sweeps.study.study import Study

TICK_SECONDS = 1.0
"""How long the loop waits for an event before it looks at requests."""

POLL_SECONDS = 0.003
"""How long it waits while a trial is being drawn that could start, or that is all there is."""


class Observer(Protocol):
    """Sees every event of a sweep, in order; it must neither block nor raise."""

    def record(self, event: News) -> None:
        """Takes an event."""


class Desk(Protocol):
    """Where requests of other terminals arrive."""

    def requests(self) -> list[Request]:
        """What was asked since the last time."""


def run(
    study: Study,
    executor: Executor,
    observers: Sequence[Observer] = (),
    *,
    recorder: Observer | None = None,
    desk: Desk | None = None,
    asks_ahead: bool = False,
) -> None:
    """The loop: asks, submits, answers and tells until the budget is used.

    The recorder takes each event first, since it keeps it on disk: after a crash the study may lack an
    event that the records have, never the other way round. The observers see what the study has done.

    Raises:
        SweepFailed: The study gave up.
        Interrupted: A request asked to end at once.
    """
    recorders = [recorder] if recorder else []
    asker = Asker(study, in_background=asks_ahead)
    try:
        _loop(study, executor, asker, recorders, observers, desk)
    except BaseException:
        hurry()  # a database that is away would keep the thread that draws for minutes
        raise
    finally:
        asker.close()


def _loop(
    study: Study,
    executor: Executor,
    asker: Asker,
    recorders: Sequence[Observer],
    observers: Sequence[Observer],
    desk: Desk | None,
) -> None:
    while True:
        raise_again()
        for request in desk.requests() if desk else ():
            if request.command == "kill" and (ready := asker.withdraw(request.arguments["number"])):
                _submit(ready, executor, recorders, observers)  # it ends as any other does
            obey(request, study, executor)
            show(observers, request)
        while executor.has_room and (assignment := asker.next()) is not None:
            _submit(assignment, executor, recorders, observers)
        if study.is_over:
            for assignment in (*asker.recall(), *executor.recall()):
                study.put_back(assignment)
        is_wanted = executor.has_free_slot or executor.idle
        waits = asker.is_drawing and is_wanted and not study.is_paused
        if executor.idle and not waits and not (study.is_paused and not study.is_stopping):
            return
        event = executor.next_event(POLL_SECONDS if waits else TICK_SECONDS)
        if event is None:
            continue
        event = study.as_it_stands(event)
        show(recorders, event)
        news: News = event
        match event:
            case Report():
                executor.reply(event.number, stop=study.should_stop(event))
            case Outcome():
                news = study.tell(event)
        show(observers, news)


def _submit(
    assignment: Assignment, executor: Executor, recorders: Sequence[Observer], observers: Sequence[Observer]
) -> None:
    show(recorders, assignment)
    executor.submit(assignment)
    show(observers, assignment)


def obey(request: Request, study: Study, executor: Executor) -> None:
    """Does what another terminal asks.

    Raises:
        Interrupted: It asks to end at once.
    """
    match request.command, request.arguments:
        case "stop", {"now": True}:
            raise Interrupted
        case "stop", _:
            study.is_paused = study.is_stopping = True
            executor.hold(held=True)
        case "pause", _:
            study.is_paused = True
            executor.hold(held=True)
        case "resume", _:
            study.is_paused = study.is_stopping = False
            executor.hold(held=False)
        case "kill", {"number": number}:
            executor.cancel(number, "killed by `sweeps trial kill`")
        case "retry", {"number": number}:
            with suppress(UserError):  # the command looks before it asks
                study.enqueue_again(number)
        case "update", changes:
            budget: dict[str, Any] = {key: changes[key] for key in ("trials", "hours") if key in changes}
            if budget:
                study.change(budget=study.budget.model_copy(update=budget))
            if "concurrency" in changes:
                executor.resize(changes["concurrency"])
                study.change(concurrency=changes["concurrency"])  # also for a resumption


def show(observers: Sequence[Observer], event: News) -> None:
    """Tells all of them."""
    for observer in observers:
        observer.record(event)
