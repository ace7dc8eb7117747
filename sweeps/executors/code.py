"""The user's code on its way to the nodes of a cluster: one archive, without data, databases and the like."""

import contextlib
import os
import stat
import sys
import sysconfig
import zipfile
from collections.abc import Container, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path

from sweeps.errors import UserError

MOST_BYTES = 50 * 2**20
"""Ray keeps the archive in its head's memory and refuses one of 100 MiB."""

HOME = "SWEEPS_CODE"
"""The environment variable that says where in a worker the copies are."""

GPUS = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")
"""Where Ray says which of NVIDIA's, AMD's or Intel's GPUs a worker has."""

OF_RAY = ("RAY_", *GPUS, "CUDA_DEVICE_ORDER", "OMP_NUM_THREADS", "PYTHON", "VIRTUAL_ENV")
"""What of a worker's environment Ray has set for it, or is to mean the same in all workers."""

LEFT_OUT_FOLDERS = (
    ".*", "__pycache__", "*.egg-info", "node_modules", "venv", "env", "data", "datasets", "mlruns",
    "mlartifacts", "sweep-files", "lightning_logs", "checkpoints", "wandb", "outputs", "build", "dist",
)  # fmt: skip
LEFT_OUT_FILES = (
    ".*", "*.pyc", "*.db", "*.db-*", "*.sqlite*", "*.ckpt*", "*.pt", "*.pth", "*.safetensors", "*.onnx",
    "*.bin", "*.pkl", "*.npy", "*.npz", "*.h5", "*.hdf5", "*.parquet", "*.arrow", "*.zip", "*.tar", "*.gz",
    "*.log",
)  # fmt: skip


def pack(folders: Sequence[str], archive: Path) -> tuple[str, ...]:
    """Writes the code of some folders into an archive, each below its number.

    Folders and files whose names say that they hold data, records, weights or caches are left out, and so are
    hidden ones and virtual environments. The same files give the same archive, so that Ray sends it once.

    Args:
        folders: Where the user's modules are looked for.
        archive: The zip file to write.

    Returns:
        The folders' names in the archive.

    Raises:
        UserError: There is too much of it.
    """
    names, size = [], 0
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as target:
        for number, folder in enumerate(folders):
            names.append(str(number))
            target.mkdir(str(number))
            for path in code_files(Path(folder)):
                with contextlib.suppress(OSError):  # it has gone meanwhile
                    size += path.stat().st_size
                if size > MOST_BYTES:
                    raise UserError(_too_much(Path(folder)))
                try:
                    content = path.read_bytes()
                except OSError:  # this process could not import it either
                    continue
                entry = zipfile.ZipInfo(f"{number}/{path.relative_to(folder).as_posix()}")
                entry.external_attr = 0o644 << 16
                target.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return tuple(names)


def unpacked(folders: Sequence[str]) -> tuple[str, ...]:
    """The folders in a worker: names of copies become paths in the folder that Ray started it in."""
    return tuple(str(Path(os.environ.get(HOME, ""), folder)) for folder in folders)


def is_copy(folders: Sequence[str]) -> bool:
    """Whether these are names of copies, so that the worker is on another machine, as far as we know."""
    return any(not Path(folder).is_absolute() for folder in folders)


def take_over(environment: Mapping[str, str]) -> None:
    """Gives a worker the driver's environment, but for what Ray set in it."""
    own = {name for name in os.environ if name.startswith(OF_RAY)}
    for name in [name for name in os.environ if name not in environment and name not in own]:
        del os.environ[name]
    os.environ.update({name: value for name, value in environment.items() if not name.startswith(OF_RAY)})


def code_files(folder: Path) -> Iterator[Path]:
    """The files below a folder that may be code, in a fixed order; links to folders are not followed.

    Not those that this process has open: who reads its own database drops SQLite's locks by closing it
    (https://www.sqlite.org/howtocorrupt.html, section 2.2).
    """
    opened = set(_open_here())
    for place, folders, files in os.walk(folder):
        kept = [name for name in folders if not _is_left_out(Path(place, name), LEFT_OUT_FOLDERS)]
        folders[:] = sorted(kept)
        for name in sorted(files):
            path = Path(place, name)
            if not _is_left_out(path, LEFT_OUT_FILES) and _is_file(path, opened):
                yield path


def _is_file(path: Path, opened: Container[tuple[int, int]]) -> bool:
    """Whether it is a file, and none of those that are open."""
    with contextlib.suppress(OSError):  # it has gone, or is in a folder that this user may not enter
        about = path.stat()
        return stat.S_ISREG(about.st_mode) and _identity(about) not in opened
    return False


def _open_here() -> Iterator[tuple[int, int]]:
    for descriptor in Path("/dev/fd").iterdir() if Path("/dev/fd").is_dir() else ():
        with contextlib.suppress(OSError):  # that of this list
            yield _identity(os.fstat(int(descriptor.name)))


def _identity(about: os.stat_result) -> tuple[int, int]:
    return about.st_dev, about.st_ino


def _is_left_out(path: Path, patterns: Sequence[str]) -> bool:
    # An environment has one of these files, whatever its name.
    is_environment = any(os.access(path / name, os.F_OK) for name in ("pyvenv.cfg", "conda-meta"))
    is_text = path.name.isprintable()  # no module has a name that is not, and no archive holds it
    return is_environment or not is_text or any(fnmatch(path.name.lower(), pattern) for pattern in patterns)


def _too_much(folder: Path) -> str:
    sizes: dict[str, int] = {}
    for path in code_files(folder):
        top = path.relative_to(folder).parts[0]
        sizes[top] = sizes.get(top, 0) + path.stat().st_size
    largest = max(sizes, key=lambda name: sizes[name])
    return (
        f"{folder}: more than {MOST_BYTES // 2**20} MiB would go to the cluster's nodes, most of it is in "
        f"{largest!r}; start the sweep in a folder of code only, or rename that to `data`"
    )


def own_places(but: Container[str]) -> list[str]:
    """Where this process finds modules that are not installed: a script's folder, what a notebook appends."""
    installed = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "scripts")]
    found = [Path(place).resolve() for place in sys.path if Path(place).is_dir()]
    own = [
        str(place)
        for place in found
        if {"site-packages", "dist-packages"}.isdisjoint(place.parts)
        and not any(place.is_relative_to(there) for there in installed)
    ]
    return [place for place in dict.fromkeys(own) if place not in but]


def find_modules(folders: tuple[str, ...]) -> None:
    """Puts the folders in front of the module search path, once each."""
    sys.path[:0] = [folder for folder in folders if folder not in sys.path]
