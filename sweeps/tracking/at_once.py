"""Does several things at once that wait for a server far away."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor


def do_each(call: Callable[[int], None], numbers: Sequence[int], at_once: int) -> None:
    """Calls it for each number, for so many at once; none is begun any more once one has failed.

    The threads' names begin with that of this one, by which `quiet_mlflow` knows them.

    Raises:
        Exception: That of the first that failed.
    """
    failures: list[Exception] = []

    def do(number: int) -> None:
        try:
            if not failures:
                call(number)
        except Exception as error:  # noqa: BLE001 - it is raised below
            failures.append(error)

    if at_once == 1 or len(numbers) < 2:
        for number in numbers:
            do(number)
    else:
        with ThreadPoolExecutor(at_once, threading.current_thread().name) as threads:
            list(threads.map(do, numbers))
    if failures:
        raise failures[0]
