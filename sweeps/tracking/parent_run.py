"""What MLflow's parent run says of a sweep as a whole."""

from typing import Any

from sweeps.lr import finder
from sweeps.planning.places import Places
from sweeps.study.persistence import stored_spec
from sweeps.study.study import Study
from sweeps.sweep_file.sections import written_out
from sweeps.sweep_file.spec import SweepSpec
from sweeps.tracking.runs import SweepInfo


def sweep_info(
    spec: SweepSpec, where: Places, attributes: dict[str, Any], study: Study, *, is_resumed: bool
) -> SweepInfo:
    """What the recorder writes of a sweep as a whole.

    Args:
        spec: The sweep.
        where: Where it keeps what.
        attributes: The study's, as `sweeps.study.persistence` writes them.
        study: The study, with what ended before.
        is_resumed: An earlier driver has begun the sweep.
    """
    import yaml

    about = attributes["lightning_sweeps"]
    tags = {f"version.{name}": text for name, text in about["versions"].items()}
    if about["git_commit"]:
        tags["git_commit"] = about["git_commit"]
    if len(spec.objectives) > 1:
        tags["metric"] = ", ".join(objective.metric for objective in spec.objectives)
        tags["direction"] = ", ".join(objective.direction for objective in spec.objectives)
    return SweepInfo(
        name=spec.name,
        metric=spec.objectives[0].metric,
        direction=spec.objectives[0].direction,
        tracking_uri=where.tracking_uri,
        artifact_location=where.artifacts,
        spec_text=yaml.safe_dump(stored_spec(spec), sort_keys=False, allow_unicode=True),
        tags=tags,
        **finder.recorded(attributes, **_known(spec, attributes)),
        files=where.files,
        key=attributes["mlflow"]["key"],
        counts=dict(study.counts),
        best_value=study.best.value if study.best else None,
        is_resumed=is_resumed,
    )


def _known(spec: SweepSpec, attributes: dict[str, Any]) -> dict[str, str]:
    known = {key: written_out(getattr(spec, key)).class_path for key in ("sampler", "pruner")}
    found = attributes.get("batch_size")
    return known | ({"batch_size.auto": f"{found['size']}, {found['limit']}"} if found else {})
