"""What MLflow's parent run says of a sweep as a whole."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import yaml

from sweeps.lr import finder
from sweeps.planning.places import Places
from sweeps.provenance import MARK, last_run_with
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
    about = attributes[MARK]
    tags = {f"version.{name}": text for name, text in about["versions"].items()}
    tags |= _commit(about)
    if len(spec.objectives) > 1:
        tags["metric"] = ", ".join(objective.metric for objective in spec.objectives)
        tags["direction"] = ", ".join(objective.direction for objective in spec.objectives)
    return SweepInfo(
        name=spec.name,
        **basics(spec, where),
        tags=tags,
        trained_with=_trained_with(about),
        trained_before=_trained_with({**about, "resumed": about.get("resumed", [])[:-1]}),
        **finder.recorded(attributes, **_known(spec, attributes)),
        key=attributes["mlflow"]["key"],
        counts=dict(study.counts),
        best_value=study.best.value if study.best else None,
        is_resumed=is_resumed,
    )


def basics(spec: SweepSpec, where: Places) -> dict[str, Any]:
    """What `SweepInfo` takes of a sweep file and of where it keeps what."""
    return {
        "metric": spec.objectives[0].metric,
        "direction": spec.objectives[0].direction,
        "tracking_uri": where.tracking_uri,
        "artifact_location": where.artifacts,
        "spec_text": yaml.safe_dump(stored_spec(spec), sort_keys=False, allow_unicode=True),
        "files": where.files,
    }


def _trained_with(about: Mapping[str, Any]) -> dict[str, str]:
    """The tags of the trials of the last driver: its commit, and the versions that some had otherwise."""
    last, drivers = last_run_with(about), [about, *about.get("resumed", ())]
    had = {(name, text) for driver in drivers for name, text in driver.get("versions", {}).items()}
    names = [name for name, count in Counter(name for name, _ in had).items() if count > 1]
    return _commit(last) | {
        f"version.{name}": last.get("versions", {}).get(name, "") for name in sorted(names)
    }


def _commit(about: Mapping[str, Any]) -> dict[str, str]:
    """A commit under our name for it, and under the one by which MLflow's pages and searches know it."""
    commit = about.get("git_commit")
    if not commit:
        return {}
    return {"git_commit": commit, "mlflow.source.git.commit": commit.removesuffix("-dirty")}


def _known(spec: SweepSpec, attributes: dict[str, Any]) -> dict[str, str]:
    known = {key: written_out(getattr(spec, key)).class_path for key in ("sampler", "pruner")}
    found = attributes.get("batch_size")
    return known | ({"batch_size.auto": f"{found['size']}, {found['limit']}"} if found else {})
