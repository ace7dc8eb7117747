"""How long a sweep has run, all its drivers together; the time between them does not count.

Each driver's lease notes it with every beat, so that one that is killed loses seconds only.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sweeps.sweep_file.sections import Budget


def ran_seconds(attributes: Mapping[str, Any]) -> float:
    """Until the last beat of the last driver.

    Args:
        attributes: Of the study.
    """
    return float((attributes.get("driver") or {}).get("ran_seconds", 0.0))


def earlier_seconds(attributes: Mapping[str, Any]) -> float:
    """Until the present driver, which has the lease, took the sweep over."""
    return float((attributes.get("driver") or {}).get("earlier_seconds", 0.0))


def are_used(attributes: Mapping[str, Any], budget: "Budget") -> bool:
    """Whether no trial may begin any more for a budget's hours."""
    if budget.hours is None:
        return False
    has_noted = "ran_seconds" in (attributes.get("driver") or {})
    if not has_noted:  # by a version before: as far as can be known, nothing else ends what only hours limit
        return budget.trials is None and attributes.get("sweep_state") == "finished"
    return ran_seconds(attributes) >= budget.hours * 3600
