"""Does several things at once that wait for a server far away."""

import threading
from collections.abc import Callable, Sequence


def do_each(call: Callable[[int], None], numbers: Sequence[int], at_once: int) -> None:
    """Calls it for each number, for so many at once; none is begun any more once one has failed.

    The threads' names begin with that of this one, by which `quiet_mlflow` knows them.

    Raises:
        Exception: That of the first that failed.
    """
    failures: list[Exception] = []
    left = iter(numbers)
    taking = threading.Lock()

    def work() -> None:
        try:
            while not failures:
                with taking:
                    number = next(left, None)
                if number is None:
                    return
                call(number)
        except Exception as error:  # noqa: BLE001 - it is raised below
            failures.append(error)

    name = threading.current_thread().name
    # Daemons: the process does not wait at its end for a server that does not answer.
    others = [
        threading.Thread(target=work, name=f"{name}-{other}", daemon=True)
        for other in range(1, min(at_once, len(numbers)))
    ]
    for thread in others:
        thread.start()
    work()
    for thread in others:
        thread.join()
    if failures:
        raise failures[0]
