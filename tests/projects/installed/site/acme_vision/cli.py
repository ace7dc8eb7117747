"""The package's command line; `python -m acme_vision.cli fit --config ...` runs it."""

from lightning.pytorch.cli import LightningCLI

from acme_vision.models import Images, Vision


class AcmeCLI(LightningCLI):
    """Takes the classes as LightningCLI does."""

    def after_fit(self) -> None:
        print("final", float(self.trainer.callback_metrics["val/loss"]))


def main() -> None:
    """The entry point that the package installs."""
    AcmeCLI(Vision, Images, subclass_mode_data=True, save_config_callback=None)


if __name__ == "__main__":
    main()
