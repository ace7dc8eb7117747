"""Runs a command that must not outlive the process that started it.

Started as a script, with its standard input a pipe that nobody writes to. When the other end closes,
because the parent asked for the end or because it was killed, the command gets SIGTERM and a few seconds.
Whatever is left of the process group then goes with the guard itself.
"""

import os
import signal
import subprocess
import sys
import threading

GRACE_SECONDS = 5.0


def main(command: list[str]) -> None:
    """Run the command until it or the parent ends."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    # The grace is given from a second thread, since this one waits for the command.
    threading.Thread(target=_end_with_parent, args=(child,), daemon=True).start()
    child.wait()
    os.killpg(0, signal.SIGKILL)


def _end_with_parent(child: "subprocess.Popen[bytes]") -> None:
    sys.stdin.buffer.read()
    child.terminate()
    try:
        child.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()


if __name__ == "__main__":
    main(sys.argv[1:])
