"""Puts a sweep's report among the artifacts of its parent run, where MLflow's pages show it.

    python -m dashboards.publish < {"storage": "sqlite:////data/sweeps.db", "name": "digits"}

The driver of a sweep starts it again and again, as a process of its own: it reads the persisted study and
MLflow's records, writes one file, and says on stdout how many seconds of a processor that took. The place of
the study comes on stdin, since it may hold a password and everybody can read a command line.
"""

import atexit
import gc
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from dashboards import lean
from dashboards.errors import ResultsError
from dashboards.export import write_text
from dashboards.results import load

ARTIFACT = "report.html"


def publish(storage: str | os.PathLike[str], name: str) -> None:
    """Write the report of a sweep as it is now, over the one before.

    Args:
        storage: A path to an SQLite file or an SQLAlchemy URL.
        name: The sweep's name.

    Raises:
        ResultsError: The sweep or its run in MLflow cannot be read, or the run's artifacts not be written.
    """
    from dashboards import report, runs

    sweep = load(storage, name)
    parent = runs.find_parent(sweep)
    page = report.build(sweep)
    if parent.folder is not None:
        parent.folder.mkdir(parents=True, exist_ok=True)
        write_text(parent.folder / ARTIFACT, page)
        return
    from dashboards.tracking import upload

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ARTIFACT
        path.write_text(page, encoding="utf-8")
        upload(sweep.mlflow["tracking_uri"], parent.run_id, path)


def main() -> int:
    """Publish what stdin names; a mistake is one line on stderr and exit code 2."""
    # A refresh that is overtaken by a later one is ended: then its temporary files go, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    atexit.register(gc.freeze)  # Python would search all that is left for cycles
    asked = json.load(sys.stdin)
    os.nice(asked.get("nice", 0))
    lean.import_optuna()
    try:
        publish(asked["storage"], asked["name"])
    except (ResultsError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(f"{time.process_time():.3f}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
