"""Where a sweep shows its progress: that nobody reads it, or that it finds no room, ends no sweep."""

import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any, cast

from rich.console import Console


class _Unfailing:
    """A text file that takes whatever is written; what it could not pass on may follow later.

    Args:
        file: Where it goes: a terminal that may close, a pipe whose reader may end, a disk that may be full.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, text: str) -> int:
        """Passes it on, if that is possible."""
        self._try(lambda: self._file.write(text))
        return len(text)

    def flush(self) -> None:
        """Likewise."""
        self._try(self._file.flush)

    def _try(self, do: Callable[[], object]) -> None:
        try:
            do()
        except BrokenPipeError:  # for good; Python would try once more at the end, and fail for that
            with suppress(OSError, ValueError):
                os.dup2(nowhere := os.open(os.devnull, os.O_WRONLY), self._file.fileno())
                os.close(nowhere)
        except OSError:
            pass


def _stream(on_stderr: bool) -> IO[str]:
    r"""Where it goes; letters that its encoding does not have are written as escapes, such as `\xe8`."""
    stream: IO[str] = sys.stderr if on_stderr else sys.stdout
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return stream


def console(*, on_stderr: bool = False) -> Console:
    """A console for what a person looks at, whatever letters the terminal has.

    Args:
        on_stderr: Write there instead of to stdout.
    """
    return Console(file=_stream(on_stderr))


def console_of_a_sweep(*, on_stderr: bool = False, quiet: bool = False) -> Console:
    """A console for what runs on whatever becomes of its output.

    Args:
        on_stderr: Write there instead of to stdout.
        quiet: Write nothing.
    """
    return Console(file=cast(IO[str], _Unfailing(_stream(on_stderr))), quiet=quiet)
