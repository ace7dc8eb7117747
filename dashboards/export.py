"""Turns a sweep's best trials into what the next step reads: a config, parameters, JSON or flags.

`lightning` is the trial's complete config, which goes straight back into LightningCLI. With `top` above 1,
`lightning` writes one YAML document for each trial (separated by `---`, the best first: to be split before
LightningCLI reads them), `params` and `json` write a list, `args` one line for each trial.
"""

import contextlib
import itertools
import json
import math
import os
import shlex
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dashboards.errors import ResultsError
from dashboards.provenance import recipe_text, recipes
from dashboards.records import Sweep, Trial, to_json

# The order in which LightningCLI writes its own configs.
_SECTIONS = ("seed_everything", "trainer", "model", "data", "optimizer", "lr_scheduler")
# YAML readers disagree on what looks like a number (PyYAML takes 1e-4 for text, jsonargparse does not).
_STARTS_A_NUMBER = tuple("0123456789+-.")


def export(sweep: Sweep, format: str = "lightning", top: int = 1, *, number: int | None = None) -> str:  # noqa: A002
    """Return a sweep's best complete trials as text.

    Args:
        sweep: The sweep.
        format: `lightning` (a YAML config for `LightningCLI fit --config`), `params` (YAML: Optuna's names
            and values), `json` (sweep, number, value, metric, params, config) or `args` (flags for
            `LightningCLI fit`, quoted for a POSIX shell: `eval "python main.py fit $(sweeps export ...)"`).
        top: How many trials, the best first; fewer if fewer are complete. Of several objectives the Pareto
            set comes first, the best in the first objective before the others.
        number: This trial instead of the best ones, in whatever state it is.

    Raises:
        ResultsError: No trial is complete, or that one has no configuration; the format is unknown; `top` is
            not positive.
    """
    if format not in FORMATS:
        raise ResultsError(f"no export format {format!r}; there are: {', '.join(FORMATS)}")
    if top < 1:
        raise ResultsError(f"top: `top >= 1` must hold, but got top={top}")
    trials = sweep.ranking()[:top] if number is None else [_numbered(sweep, number)]
    if not trials:
        raise ResultsError(_nothing_complete(sweep))
    return FORMATS[format](sweep, trials, top > 1)


def _numbered(sweep: Sweep, number: int) -> Trial:
    trial = next((trial for trial in sweep.trials if trial.number == number), None)
    if trial is None:
        there = f"it has 0 to {sweep.trials[-1].number}" if sweep.trials else "it has none yet"
        raise ResultsError(f"{sweep.name} has no trial {number}; {there}")
    if not trial.config:
        raise ResultsError(f"{sweep.name}: trial {number} is {trial.state} and has no configuration")
    return trial


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a file as a whole or not at all: an existing one is replaced in one step.

    Raises:
        ResultsError: The folder does not exist or cannot be written to.
    """
    target = Path(path)
    try:
        if target.is_dir():
            raise ResultsError(f"{target}: a folder; name a file in it")
        resolved = target.resolve()  # a link stays a link: what it points to is replaced
        if not resolved.parent.is_dir():
            raise ResultsError(f"{path}: there is no folder {resolved.parent}; make it first")
        if target.exists() and not target.is_file():  # such as /dev/stdout, which must not be replaced
            target.write_text(text, encoding="utf-8")
        else:
            _replace(resolved, text)
    except OSError as error:
        raise ResultsError(f"{path}: cannot be written: {error.strerror or error}") from None


def _replace(target: Path, text: str) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name[:80]}-", dir=target.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(name).chmod(_mode(target))
        Path(name).replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def _mode(target: Path) -> int:
    """Return the permissions of the file that is replaced, or those a new file would get."""
    if target.exists():
        return target.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _nothing_complete(sweep: Sweep) -> str:
    counts = sweep.summary.counts
    states = ("pruned", "diverged", "failed", "invalid", "running")
    found = ", ".join(f"{n} {state}" for state in states if (n := getattr(counts, state))) or "none at all"
    advice = (
        "look at the reasons in `sweeps status`"
        if counts.finished or counts.invalid
        else "wait for the first to complete"
    )
    return f"{sweep.name}: no complete trial to export (trials: {found}); {advice}"


def ordered(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config with its sections in LightningCLI's order."""
    keys = [key for key in _SECTIONS if key in config] + [key for key in config if key not in _SECTIONS]
    return {key: config[key] for key in keys}


def script_config(trial: Trial) -> dict[str, Any]:
    """Return a trial's config for the user's own script; empty if the trial never got one.

    Trials have no sanity check. One in the script would draw the random numbers of a validation loader that
    keeps its workers, and so shift all later ones. A trial has one device; by itself the script would take
    all that there are, each with a batch of its own.
    """
    if not trial.config:
        return {}
    trainer = {"num_sanity_val_steps": 0, "devices": 1} | (trial.config.get("trainer") or {})
    trainer["devices"] = 1 if trainer["devices"] == "auto" else trainer["devices"]
    return ordered({**trial.config, "trainer": trainer})


def _lightning(sweep: Sweep, trials: list[Trial], several: bool) -> str:
    documents = [
        "".join(f"# {line}\n" for line in _header(sweep, trial)) + yaml_text(script_config(trial))
        for trial in trials
    ]
    return "---\n".join(documents)


def _header(sweep: Sweep, trial: Trial) -> list[str]:
    lines = [
        f"sweep {sweep.name}, trial {trial.number}: {_values(sweep, trial)}",
        *(
            f"{name} = {json.dumps(to_json(value), ensure_ascii=False)}"
            for name, value in trial.params.items()
        ),
    ]
    for verb, recipe in zip(itertools.chain(["trained"], itertools.repeat("gone on")),
                            recipes(sweep, trial), strict=False):  # fmt: skip
        lines += [f"{verb} with {said}"] if (said := recipe_text(recipe)) else []
    if trial.code:
        lines.append(f"its code was edited while the sweep ran: {', '.join(trial.code)}")
    # A line break in a name would end the comment.
    return ["".join(c if c.isprintable() else " " for c in line) for line in lines]


def _values(sweep: Sweep, trial: Trial) -> str:
    if trial.state != "complete":
        said = f"{trial.state}: {trial.reason}" if trial.reason else trial.state
        if not trial.intermediate:
            return said
        last = max(trial.intermediate)
        value = f"{sweep.summary.metric} = {trial.intermediate[last]}"
        return f"{said}; at validation {last}, its last, {value}"
    objectives = sweep.summary.objectives or ((sweep.summary.metric, sweep.summary.direction),)
    pairs = zip(objectives, trial.values or (trial.value,), strict=True)
    said = ", ".join(f"{metric} = {value} ({direction}d)" for (metric, direction), value in pairs)
    seen = list(trial.intermediate.values())
    if trial.value in seen[:-1] and not _counts_last(sweep):  # what `best.ckpt` holds
        said += f", at validation {seen.index(trial.value) + 1} of {len(seen)}"
    if trial.number in sweep.summary.front:
        said += f", one of {len(sweep.summary.front)} on the Pareto front"
    return said


def _counts_last(sweep: Sweep) -> bool:
    """Whether the last validation gives a trial its value, also where an earlier one was equal."""
    objective = sweep.spec.get("objective") or {}
    first = objective[0] if isinstance(objective, list) else objective
    return bool(first.get("value") == "last")


def _params(sweep: Sweep, trials: list[Trial], several: bool) -> str:
    params = [dict(trial.params) for trial in trials]
    return yaml_text(params if several else params[0])


def _json(sweep: Sweep, trials: list[Trial], several: bool) -> str:
    entries = [
        {
            "sweep": sweep.name,
            "number": trial.number,
            "value": trial.value,
            "metric": sweep.summary.metric,
            **({} if trial.state == "complete" else {"state": trial.state, "reason": trial.reason}),
            **_all_values(sweep, trial),
            "params": trial.params,
            "config": script_config(trial),
        }
        for trial in trials
    ]
    plain = to_json(entries if several else entries[0])
    return json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _all_values(sweep: Sweep, trial: Trial) -> dict[str, Any]:
    """The values of several objectives by their metrics; nothing for one, which has its own key."""
    metrics = [metric for metric, _ in sweep.summary.objectives]
    return {"values": dict(zip(metrics, trial.values, strict=False))} if metrics else {}


def _args(sweep: Sweep, trials: list[Trial], several: bool) -> str:
    flags = (
        [flag for key, section in script_config(trial).items() for flag in _flags(key, section)]
        for trial in trials
    )
    return "".join(f"{shlex.join(line)}\n" for line in flags)


def _flags(key: str, section: Any) -> list[str]:
    """Return a flag for each value of a section, or one flag with all of it as JSON.

    jsonargparse reads the text of a flag as YAML whatever the parameter's type, so that `a: b` for a string
    is refused and `&x` silently becomes None; inside of JSON every string is one.
    """
    if not isinstance(section, dict) or not section:
        return [f"--{key}={_flag_text(section)}"]
    leaves = {f"{key}.{name}": value for name, value in section.items() if name != "init_args"}
    leaves |= {f"{key}.init_args.{name}": value for name, value in (section.get("init_args") or {}).items()}
    if any(isinstance(value, str) and not _is_plain(value) for value in leaves.values()):
        return [f"--{key}={_flag_text(section)}"]
    return [f"--{name}={_flag_text(value)}" for name, value in leaves.items()]


def _is_plain(text: str) -> bool:
    import yaml

    try:
        return bool(yaml.safe_load(text) == text)
    except yaml.YAMLError:
        return False


def _flag_text(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else f"{'-' if value < 0 else ''}.inf"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def yaml_text(value: Any) -> str:
    """Return a value as YAML that PyYAML and jsonargparse read alike, keys in their order."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: yaml.SafeDumper, data: str) -> yaml.ScalarNode:
        style = "'" if data.startswith(_STARTS_A_NUMBER) else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", data, style=style)

    Dumper.add_representer(str, text)
    return yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=10**6)


FORMATS: dict[str, Callable[[Sweep, list[Trial], bool], str]] = {
    "lightning": _lightning,
    "params": _params,
    "json": _json,
    "args": _args,
}
