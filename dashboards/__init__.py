"""What happened: reads finished and running sweeps back, and never writes one.

The Optuna study that `sweeps launch` persists is all this package knows of a sweep: it imports neither the
engine nor Ray, PyTorch or Lightning, so results can be read on a machine that could not train.

    storages -> results -> export, figures, report        server (MLflow's pages)

Importing it is cheap: Optuna, SQLAlchemy and PyYAML are imported by the functions that need them.
"""

from dashboards.errors import ResultsError

# Bound here and not on first use: `export` is also a submodule, whose import would take this name over.
from dashboards.export import export
from dashboards.results import list_sweeps, load

__all__ = ["ResultsError", "export", "list_sweeps", "load"]
