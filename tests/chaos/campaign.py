"""`make chaos`: many kills of every kind, and the table of them.

    python -m tests.chaos.campaign --kills 200 --seed 0 --output tests/benchmarks/chaos.md

Of ten kills about four are of drivers at chosen points (forked drivers, see `tests.chaos.forked`), one of
drivers at such points on a real Ray cluster, the others of workers, of nodes, and of drivers and workers at
random instants. The first sweep that is not as if nobody had touched it ends the campaign; the page then
says what was done until there, and what was wrong.
"""

import argparse
import os
import platform
import random
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.chaos import points
from tests.chaos.drivers import Yard, on_ray, survive
from tests.chaos.instants import kill_at_random
from tests.chaos.kills import Kill, table
from tests.chaos.nodes import kill_nodes
from tests.chaos.points import Point
from tests.chaos.workers import kill_workers
from tests.postgres import Server, programs

WORKERS, NODES = 8, 2
"""Kills of one sweep of each of the two."""

ABOUT = """\
Each kill is a SIGKILL, or the ungraceful end of a node. After each, the sweep went on (after one of a
driver by `sweeps resume`) and was compared at its end, trial by trial and step by step, in Optuna,
MLflow and its files, with what a sweep that nobody touched would have left. The seconds run from the
kill until the next trial begins or goes on; forked drivers import nothing."""

PACKAGES = ("optuna", "ray", "lightning", "mlflow", "torch")


def chosen(count: int, dice: random.Random) -> list[list[Point]]:
    """Points for so many kills of drivers: each once before one comes again, some of them two in a row."""
    found: list[list[Point]] = []
    while (left := count - sum(map(len, found))) > 0:
        once = [[point] for point in points.ALL]
        twice = [[dice.choice(points.BEGUN), point] for point in points.RESUME]
        round_ = once + twice
        dice.shuffle(round_)
        for kills in round_:
            if len(kills) <= left:
                found.append(kills)
                left -= len(kills)
    return found


def is_elsewhere(n: int, kinds: list[Point]) -> bool:
    """Whether a sweep has its study on PostgreSQL, where that is installed: every fifth that can have it."""
    return n % 5 == 0 and all(point.target != points.OF_A_FILE for point in kinds)


def campaign(kills: list[Kill], folder: Path, count: int, seed: int) -> None:
    """Does it, adds each kill that was survived, and says how far it is."""
    dice = random.Random(seed)
    rounds = count // 50
    by_point, on_real_ray = count * 4 // 10, count // 10

    def note(what: str, more: list[Kill]) -> None:
        kills.extend(more)
        print(f"{time.strftime('%H:%M:%S')}  {len(kills):4}/{count}  {what}", flush=True)  # noqa: T201

    server = Server(found) if (found := programs()) else None
    try:
        with ExitStack() as stack:
            yards = [stack.enter_context(Yard(make(folder / "sqlite")))]
            if server:
                yard = Yard(make(folder / "postgresql"), server.database("chaos"))
                yards.append(stack.enter_context(yard))
            pool = stack.enter_context(ThreadPoolExecutor(2))
            plan = chosen(by_point, dice)
            futures = [
                (kinds, pool.submit(yards[-1 if is_elsewhere(n, kinds) else 0].survive, f"p{n}", *kinds))
                for n, kinds in enumerate(plan)
            ]
            for kinds, future in futures:
                note(", ".join(map(str, kinds)), future.result())
    finally:
        if server:
            server.close()
    for n in range(rounds):
        note("workers", kill_workers(make(folder / f"workers-{n}")))
        note("nodes", kill_nodes(make(folder / f"nodes-{n}")))
    for n, kinds in enumerate(chosen(on_real_ray, dice)):
        note(
            f"{', '.join(map(str, kinds))}, on Ray", survive(on_ray, make(folder / f"ray-{n}"), "ray", *kinds)
        )
    n = 0
    while (left := count - len(kills)) > 0:
        note("random", kill_at_random(make(folder / f"random-{n}"), min(left, 20), dice.randrange(10**6)))
        n += 1


def make(folder: Path) -> Path:
    """Makes a folder."""
    folder.mkdir()
    return folder


def page(kills: list[Kill], seed: int, minutes: float, wrong: str = "") -> str:
    """The page for `tests/benchmarks`; with what ended the campaign early, if anything did."""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return "\n".join([
        "# Kills",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}: `CHAOS_KILLS={len(kills)} CHAOS_SEED={seed} make chaos`, "
        f"{minutes:.0f} minutes; {os.cpu_count()} cores ({platform.machine()}), "
        f"Python {platform.python_version()}, {versions}.",
        "",
        ABOUT,
        "",
        table(kills),
        *([f"It ended early: {wrong}", ""] if wrong else []),
    ])  # fmt: skip


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    folder, started = Path(tempfile.mkdtemp(prefix="chaos-")), time.monotonic()
    kills: list[Kill] = []
    wrong = ""
    try:
        campaign(kills, folder, options.kills, options.seed)
    except BaseException as error:
        wrong = f"{type(error).__name__}: {error}".splitlines()[0]
        sys.stderr.write(f"what is left: {folder}\n")
        raise
    else:
        shutil.rmtree(folder)
    finally:
        text = page(kills, options.seed, (time.monotonic() - started) / 60, wrong)
        sys.stdout.write(text)
        if options.output:
            options.output.write_text(text)


if __name__ == "__main__":
    main()
