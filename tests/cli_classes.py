"""A LightningCLI program: `python cli_classes.py fit ...` prints the config it parsed, and trains nothing."""

import json
import sys
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningCLI


class Net(LightningModule):
    def __init__(
        self,
        hidden: int = 1,
        rate: float = 0.5,
        name: str = "",
        note: str | None = "set",
        widths: list[list[int]] | None = None,
        pair: tuple[int, float] = (1, 2.0),
        table: dict[str, int] | None = None,
        anything: Any = None,
        flag: bool = False,
    ) -> None:
        super().__init__()


class Data(LightningDataModule):
    def __init__(self, batch_size: int = 1, folder: str = ".") -> None:
        super().__init__()


class Printing(LightningCLI):
    """Prints instead of building."""

    def before_instantiate_classes(self) -> None:
        config = self.config.fit.as_dict()
        config.pop("config", None)
        sys.stdout.write("PARSED " + json.dumps(config) + "\n")
        sys.exit(0)


if __name__ == "__main__":
    sys.modules["cli_classes"] = sys.modules["__main__"]
    Printing(Net, Data, subclass_mode_model=True, subclass_mode_data=True)
