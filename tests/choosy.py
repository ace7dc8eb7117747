"""Modules whose constructors mind what they are given."""

import os
import random
import sys
import time
import weakref
from pathlib import Path
from typing import Any, ClassVar

import torch

from sweeps import InvalidConfig
from tests.modules import Line

made_with: list[str] = []
"""What `Choosy` was made with, in this process."""

crowded: list[str] = []
"""The same, while another one was still there."""


class Odd(BaseException):
    """Cannot even say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class Choosy(Line):
    """Its constructor does what an argument says."""

    there: ClassVar["weakref.WeakSet[Choosy]"] = weakref.WeakSet()

    def __init__(self, does: str = "nothing", depth: int = 1, width: int = 4, lr: float = 0.05) -> None:
        made_with.append(does)
        if self.there:
            crowded.append(does)
        super().__init__(lr, width)
        self.there.add(self)
        if does in ACTIONS:
            ACTIONS[does]()
        if does == "shallow" and depth > 1:
            raise ValueError(f"{depth} is too deep")


def unknown() -> None:
    raise ValueError("unknown activation 'tan'")


def lines() -> None:
    raise ValueError("first\n\n   second\tone")


def empty() -> None:
    raise ValueError


def leave() -> None:
    os.write(1, b"I leave\n")
    sys.stderr.write("really\n")
    sys.exit("no such thing")


def odd() -> None:
    raise Odd


def endless() -> None:
    raise ValueError("very " * 1000)


def invalid() -> None:
    raise InvalidConfig("makes no sense")


def chained() -> None:
    try:
        invalid()
    except InvalidConfig as error:
        raise RuntimeError("wrapped") from error


def messy() -> None:
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    torch.manual_seed(99)
    random.seed(99)
    os.environ["MESSY"] = "1"
    os.chdir("/")
    sys.path.insert(0, "/nowhere")


def fussy() -> None:
    if torch.get_default_dtype() != torch.float32 or not torch.is_grad_enabled() or "MESSY" in os.environ:
        raise RuntimeError("the one before left something")


def die_once() -> None:
    mark = Path("died")
    if not mark.exists():
        mark.touch()
        os._exit(1)


def hang() -> None:
    time.sleep(3600)


ACTIONS: dict[str, Any] = {
    action.__name__: action
    for action in (
        unknown, lines, empty, leave, odd, endless, invalid, chained, messy, fussy, die_once, hang
    )
}  # fmt: skip
