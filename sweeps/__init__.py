"""Hyperparameter sweeps for PyTorch Lightning: the engine.

    load_spec   a YAML file becomes a checked `SweepSpec`          sweep_file
    run_sweep   its trials are asked, trained, recorded, told      sweep, driver, runner
                    study       every decision (Optuna)
                    executors   where trials run (Ray)
                    training    one Lightning training
                    tracking    what MLflow is told

What came of a sweep is read by `dashboards`; what may vary is said in `search_spaces`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweeps.driver import SweepResult
    from sweeps.sweep import resume_sweep, run_sweep
    from sweeps.sweep_file.loading import load_spec
    from sweeps.sweep_file.spec import SweepSpec
    from sweeps.training.invalid import InvalidConfig

__all__ = ["InvalidConfig", "SweepResult", "SweepSpec", "load_spec", "resume_sweep", "run_sweep"]


def __getattr__(name: str) -> Any:
    # Opened late: the command line imports this package before it knows what it is going to do.
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    homes = {
        "InvalidConfig": "sweeps.training.invalid",
        "SweepSpec": "sweeps.sweep_file.spec",
        "load_spec": "sweeps.sweep_file.loading",
        "SweepResult": "sweeps.driver",
    }
    return getattr(import_module(homes.get(name, "sweeps.sweep")), name)
