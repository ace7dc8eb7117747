"""A process's random number generators: their state as plain values, put back, or seeded from nowhere."""

import random
from typing import Any

import numpy as np
import torch


def random_state() -> dict[str, Any]:
    """The state of all random number generators, as plain values and tensors."""
    version, numbers, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
    return {
        # As tensors: each number by itself would take a third of the time of saving a small model.
        "python": [version, torch.from_numpy(np.array(numbers, np.int64)), gauss],
        "numpy": [name, torch.from_numpy(np.array(keys, np.int64)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
        "cuda": cuda,
        "mps": [torch.mps.get_rng_state()] if torch.backends.mps.is_available() else [],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Puts `random_state` back."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if state["cuda"]:
        torch.cuda.set_rng_state_all(state["cuda"])
    for numbers in state.get("mps", ()):
        torch.mps.set_rng_state(numbers)


def seed_from_nowhere() -> None:
    """Gives all random number generators a seed of the system's."""
    random.seed()
    np.random.seed()
    torch.seed()
