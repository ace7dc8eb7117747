"""More modules as users write them, each with a habit that a sweep must stand."""

from pathlib import Path

from tests.modules import Line


class Drawing(Line):
    """Draws by its logger, and writes a file to the folder that Lightning names."""

    def on_validation_epoch_end(self) -> None:
        self.logger.experiment.add_text("prediction", "a picture", self.global_step)
        (Path(self.trainer.log_dir) / "table.txt").write_text(type(self.logger).__name__)
