"""What a sweep is run with: versions, git commit, the user's modules; and what of it is another by now.

It is kept in the study at launch and at each resume, so that a person sees which trials ran with what.
"""

import functools
import hashlib
import os
import platform
import subprocess
import sys
import sysconfig
from collections.abc import Container, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

MARK = "lightning_sweeps"
"""The study attribute that a launch writes last: a study without it is no sweep, or only half of one."""

PACKAGES = ("lightning-sweeps", "optuna", "lightning", "torch", "ray", "mlflow")
OURS = ("sweeps", "search_spaces", "dashboards")
NAMED = 5
"""How many modules, or keys, a note names."""


def run_with(folder: str, sources: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What the sweep is run with now, as it is kept.

    Args:
        folder: The user's, for its git commit.
        sources: The user's modules; see `user_sources`.
    """
    return {
        "versions": {name: version(name) for name in PACKAGES} | {"python": platform.python_version()},
        "git_commit": git_commit(folder),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "sources": dict(sources or {}),
    }


_imported: dict[str, str] = {}
_seen: set[str] = set()


def note_imports() -> None:
    """Digests the user's modules that this process has imported since the last call, if there are any.

    Called when it has imported them, since their files may be edited later.
    """
    global _seen
    if len(sys.modules) != len(_seen):
        _imported.update(user_sources(known=_seen))
        _seen = set(sys.modules)


def imported_sources() -> dict[str, str]:
    """The user's modules as this process imported them; see `note_imports` and `user_sources`."""
    return dict(_imported)


def user_sources(known: Container[str] = ()) -> dict[str, str]:
    """The user's modules that this process has imported, and the SHA-256 of each one's file, shortened.

    The user's are those that are neither installed packages nor Python's own nor ours.

    Args:
        known: Modules that are left out.
    """
    installed = [Path(path).resolve() for path in sysconfig.get_paths().values()]

    @functools.cache  # torch and Lightning have thousands of modules in some hundred folders
    def real(folder: str) -> Path:
        return Path(folder).resolve()

    @functools.cache
    def is_installed(folder: Path) -> bool:
        is_package = not {"site-packages", "dist-packages"}.isdisjoint(folder.parts)
        return is_package or any(folder.is_relative_to(place) for place in installed)

    found = {}
    for name, module in sorted(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or name == "__main__" or name.partition(".")[0] in OURS or name in known:
            continue
        folder, base = os.path.split(file)
        path = real(folder) / base
        if path.is_symlink():
            path = path.resolve()
        if path.suffix != ".py" or is_installed(path.parent):
            continue
        try:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        except OSError:  # from an archive, or removed by now
            continue
    return found


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What a person should know before further trials run: one line a kind of change.

    Args:
        before: What the sweep was run with, from `run_with`.
        now: The same of this process.
    """
    notes = []
    old, new = before.get("sources", {}), now["sources"]
    changed = [name for name in old if name in new and old[name] != new[name]]
    changed += [f"{name} (new)" for name in new if old and name not in old]
    if changed:
        notes.append(
            f"your code has changed since the last trials: {named(changed)}; "
            "further trials run the code as it is now"
        )
    versions = [
        f"{name} {was}, now {now['versions'][name]}"
        for name, was in before.get("versions", {}).items()
        if now["versions"].get(name, was) != was
    ]
    commit = before.get("git_commit", now["git_commit"])
    if commit != now["git_commit"]:
        versions.insert(0, f"commit {commit or 'unknown'}, now {now['git_commit'] or 'unknown'}")
    if versions:
        notes.append(f"the last trials ran with {', '.join(versions)}")
    return notes


def named(names: Sequence[str]) -> str:
    """The first few names of a list, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"


def last_run_with(mark: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the sweep was last run with, from the study attribute `MARK`."""
    last: Mapping[str, Any] = [mark, *mark.get("resumed", ())][-1]
    return {**last, "sources": sources_of(mark)}


def sources_of(mark: Mapping[str, Any]) -> dict[str, str]:
    """The user's modules that the sweep was last run with, from the study attribute `MARK`."""
    found: dict[str, str | None] = {}
    for kept in (mark, *mark.get("resumed", ())):
        # Older studies have all of them at each resumption.
        found = dict(kept["sources"]) if "sources" in kept else found | kept.get("changed", {})
    return {name: digest for name, digest in found.items() if digest is not None}


def only_changes(before: Mapping[str, str], now: Mapping[str, Any]) -> dict[str, Any]:
    """What a sweep goes on with as it is kept: of the user's modules those that `before` has otherwise.

    They are `changed`, with None for one that is not imported any more: a study is read every few seconds,
    and each resumption stays in it.
    """
    new = now["sources"]
    changed = {name: new.get(name) for name in {**before, **new} if before.get(name) != new.get(name)}
    kept = {key: value for key, value in now.items() if key != "sources"}
    return kept | ({"changed": changed} if changed else {})


def git_commit(folder: str) -> str | None:
    """The commit of the folder's git checkout, with `-dirty` if files differ from it; None without one."""
    command = ["git", "-C", folder, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
