"""Optuna's figures and importances without what they can do without."""

import sys

UNUSED = ("matplotlib", "sklearn")
"""Optuna imports them where it finds them, for figures and measures that the report does not use."""


def import_optuna() -> None:
    """Import what the report needs of Optuna as if `UNUSED` were not installed.

    For a process that only writes a report: it takes a third of the time and of the memory. Other parts of
    Optuna that need them do not work there.
    """
    missing = [name for name in UNUSED if name not in sys.modules]
    sys.modules.update(dict.fromkeys(missing))  # type: ignore[arg-type]
    try:
        import optuna.importance
        import optuna.visualization  # noqa: F401
    finally:
        for name in missing:
            del sys.modules[name]
