"""What a sweep file said at the launch, so that a resumption can say what of it was edited since.

The stored specification is no measure for that: `--set`, a batch size that was looked for, `sweeps update`
and resumptions change it.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sweeps.errors import UserError
from sweeps.provenance import named
from sweeps.storages.uris import masked
from sweeps.sweep_file.loading import load_spec
from sweeps.sweep_file.spec import SweepSpec


def as_written(file: str) -> dict[str, Any] | None:
    """The keys that a sweep file has, with those of the files that it names; passwords in URLs masked.

    None if it is no sweep file by itself: what is missing was given in the command.
    """
    with suppress(UserError):
        return _plain(load_spec(str(Path(file).absolute())), exclude_unset=True)
    return None


def note_of_changes(file: str, written: Mapping[str, Any]) -> str:
    """Says what of a sweep file was edited; "" if nothing that counts, or the file is not there any more.

    Args:
        file: Its absolute path.
        written: What `as_written` gave at the launch.
    """
    try:
        before = _plain(SweepSpec.model_validate(dict(written)))  # with the defaults of this version, as now
        now = _plain(load_spec(file)) if Path(file).exists() else before
    except ValidationError:  # another version wrote it
        return ""
    except UserError as error:
        return f"{error}; the file has changed since the launch: the stored one holds"
    changed = list(_changed(before, now))
    if not changed:
        return ""
    return (
        f"{Path(file).name} has changed since the launch ({named(changed)}): the stored one holds; launch it "
        "under another `--name`"
    )


def _plain(spec: SweepSpec, *, exclude_unset: bool = False) -> dict[str, Any]:
    plain: dict[str, Any] = spec.model_dump(mode="json", exclude_unset=exclude_unset)
    urls = {key: masked(plain[key]) for key in ("storage", "tracking_uri", "files") if plain.get(key)}
    return plain | urls


def _changed(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The dotted paths of what differs; of the search space, those of its parameters."""
    for key in [*before, *(key for key in now if key not in before)]:
        old, new = before.get(key), now.get(key)
        if json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True):  # of NaN, too
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping) and prefix != "search_space.":
            yield from _changed(old, new, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
