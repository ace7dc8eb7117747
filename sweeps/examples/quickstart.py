"""`make quickstart`: the digits sweep in the current folder, under the next free name."""

import sys
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path

from sweeps.errors import SweepsError
from sweeps.storages.uris import study_url
from sweeps.study.persistence import free_name
from sweeps.sweep_file.loading import load_spec
from sweeps.terminal.launch import launch
from sweeps.terminal.output import console_of_a_sweep


def main() -> int:
    """Runs the sweep; gives the exit code."""
    file = Path(str(files("sweeps.examples") / "digits.yaml"))
    try:
        spec = load_spec(file, name=free_name("digits", study_url()))
        with ExitStack() as stay:
            launch(spec, None, console_of_a_sweep(), stay)
    except SweepsError as error:
        sys.stderr.write(f"sweeps: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
