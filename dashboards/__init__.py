"""What happened: reads finished and running sweeps back, and never writes one.

The Optuna study that `sweeps launch` persists is all this package knows of a sweep: it imports neither the
engine nor Ray, PyTorch or Lightning, so results can be read on a machine that could not train.

    storages -> results -> export, frames, figures -> report        server, runs (MLflow's pages and runs)

Importing it is cheap: Optuna, SQLAlchemy, PyYAML and pandas are imported by the functions that need them.
`dashboards.figures` and `dashboards.report`, which need Plotly, are imported by name.
"""

from dashboards.errors import ResultsError

# Bound here and not on first use: `export` is also a submodule, whose import would take this name over.
from dashboards.export import export
from dashboards.frames import frame
from dashboards.results import list_sweeps, load

__all__ = ["ResultsError", "export", "frame", "list_sweeps", "load"]
