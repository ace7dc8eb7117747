"""Several objectives: what a sweep file must not say then."""

from sweeps.sweep_file.sections import written_out
from sweeps.sweep_file.spec import SweepSpec


def check_objectives(spec: SweepSpec) -> None:
    """Checks what has a meaning for one objective only.

    Raises:
        SpecError: Two have one metric, a later one says which validation counts, or there is a pruner.
    """
    if len(spec.objectives) == 1:
        return
    metrics: list[str] = []
    for index, objective in enumerate(spec.objectives):
        if objective.metric in metrics:
            raise spec.error(f"objective.{index}.metric", f"{objective.metric!r} is an objective already")
        metrics.append(objective.metric)
        if index and "value" in objective.model_fields_set:
            rule = "only the first objective says which validation counts; all values are those of that one"
            raise spec.error(f"objective.{index}.value", f"{rule}, but got {objective.value!r}")
    pruner = written_out(spec.pruner).class_path
    if pruner.rpartition(".")[2] not in ("none", "NopPruner"):
        rule = f"{len(metrics)} objectives cannot be pruned: leave it out, or say `pruner: none`"
        raise spec.error("pruner", f"{rule}, but got {pruner!r}")
