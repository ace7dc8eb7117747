"""The report in MLflow while the sweep runs: another process writes it, now and then.

That process (`dashboards.publish`) reads the study as any reader does. It has the lowest priority, and starts
only when all refreshes, the next one as costly as the last, take at most a hundredth of the time since the
sweep began: so they grow rarer as the report grows. The loop never waits for it. The last refresh comes when
the sweep has ended, however it did.
"""

import json
import subprocess
import sys
import threading
import time
from typing import Self

from sweeps.records import News

SHARE = 0.01
EXPECTED_SECONDS = 1.5
"""What the first refresh is expected to cost, in seconds of a processor."""

LONGEST_SECONDS, LONGEST_END_SECONDS = 600.0, 120.0
LOWEST_PRIORITY = 19
# Not from the current folder, which may hold a `dashboards` of the user's.
COMMAND = (sys.executable, "-P", "-m", "dashboards.publish")


class LiveReport:
    """An observer of a sweep, and a context manager around it.

    Attributes:
        problem: Why the last refresh failed, in one line; "" if it did not.
        refreshes: How many there were.

    Args:
        name: The sweep's name.
        storage: The URL of its study.
        share: Which part of the time refreshes may take.
    """

    def __init__(self, name: str, storage: str, *, share: float = SHARE) -> None:
        self.problem, self.refreshes = "", 0
        self._asked = {"name": name, "storage": storage}
        self._share, self._spent, self._expected = share, 0.0, EXPECTED_SECONDS
        self._began: float | None = None
        self._has_news, self._is_over = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._work, name="live-report", daemon=True)

    def record(self, event: News) -> None:
        """Takes note that there is something new to report."""
        if self._began is None:
            self._began = time.monotonic()
            self._thread.start()
        self._has_news.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._began is None:
            return  # there is no study
        with self._lock:
            self._is_over.set()
            if self._process:
                self._process.terminate()  # what it writes is out of date
        self._thread.join()
        self._refresh(LONGEST_END_SECONDS)

    def _work(self) -> None:
        while not self._is_over.wait(max(1.0, self._pause_seconds())):
            if self._has_news.is_set() and self._pause_seconds() <= 0:
                self._has_news.clear()
                self._refresh(LONGEST_SECONDS, nice=LOWEST_PRIORITY)

    def _pause_seconds(self) -> float:
        elapsed = time.monotonic() - (self._began or 0.0)
        return (self._spent + self._expected) / self._share - elapsed

    def _refresh(self, longest_seconds: float, nice: int = 0) -> None:
        with self._lock:
            if nice and self._is_over.is_set():
                return
            try:
                self._process = subprocess.Popen(
                    COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                    start_new_session=True,  # Ctrl-C is the driver's to handle
                )  # fmt: skip
            except OSError as error:
                self.problem = str(error)
                return
        try:
            spent, said = self._process.communicate(json.dumps(self._asked | {"nice": nice}), longest_seconds)
        except subprocess.TimeoutExpired:
            spent, said = "", f"it took more than {longest_seconds:.0f} s"
        finally:
            self._process.kill()
            code = self._process.wait()
        self.refreshes += 1
        self.problem = "" if code == 0 else (said.strip().splitlines() or [f"exit code {code}"])[-1]
        self._expected = float(spent) if code == 0 else self._expected
        self._spent += self._expected
