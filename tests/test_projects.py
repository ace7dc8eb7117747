"""Projects as people have them, swept without a change: checked, trained, exported and trained again."""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml

from sweeps.context import Inspection
from sweeps.planning.plan import context_of, inspect, validations_of
from sweeps.records import Answer, Outcome, Report, State
from sweeps.study.persistence import create_study
from sweeps.study.study import Study
from sweeps.sweep_file.loading import load_spec
from sweeps.sweep_file.spec import SweepSpec
from sweeps.training.trial import make_trial_function
from sweeps.training.worker import Worker
from tests.conftest import typed

PROJECTS = Path("tests/projects").absolute()


@dataclass(frozen=True)
class Project:
    """A project under `tests/projects`.

    Attributes:
        file: Its sweep file.
        command: How its own script is run.
        path: What an environment that has it installed adds to the module search path.
    """

    file: Path
    command: tuple[str, ...]
    path: str = ""


ALL = {
    "linked": Project(PROJECTS / "linked" / "sweep.yaml", (str(PROJECTS / "linked" / "spirals.py"),)),
    "script": Project(PROJECTS / "script" / "sweep.yaml", (str(PROJECTS / "script" / "train.py"),)),
    "groups": Project(PROJECTS / "groups" / "sweep.yaml", (str(PROJECTS / "groups" / "finetune.py"),)),
    "installed": Project(
        PROJECTS / "installed" / "sweeps" / "sweep.yaml",
        ("-m", "acme_vision.cli"),
        str(PROJECTS / "installed" / "site"),
    ),
}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder; the module search path is put back afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


@pytest.fixture(params=ALL)
def project(request: pytest.FixtureRequest) -> Project:
    found = ALL[request.param]
    sys.path += [found.path] if found.path else []
    return found


def look(spec: SweepSpec, *, probe: bool = False) -> Inspection:
    return inspect(context_of(spec, Path("unused"), 0.0), spec, probe)


def trained(spec: SweepSpec, count: int) -> Iterator[tuple[dict[str, Any], list[Report], Outcome]]:
    """So many trials of a sweep, in a worker: configuration, reports and outcome of each."""
    context = context_of(spec, Path.cwd() / "files", 0.0)
    worker = Worker(lambda: make_trial_function(context), "worker-0")
    study = Study(create_study(spec, None, validations=2), spec)
    for _ in range(count):
        assignment = study.ask()
        assert assignment is not None
        event, reports = worker.exchange(assignment), []
        while isinstance(event, Report):
            reports.append(event)
            event = worker.exchange(Answer(event.number, False))
        study.tell(event)
        yield assignment.config, reports, event


def test_a_project_passes_the_check_and_trains_a_batch(project: Project) -> None:
    spec = load_spec(project.file)
    found = look(spec, probe=True)
    assert found.problem is None
    assert spec.objective.metric in found.logged
    assert validations_of(spec, found) == found.trainer["max_epochs"]


@pytest.mark.parametrize("project", list(ALL)[1:], indirect=True)  # "linked" is swept as a whole below
def test_trials_train_and_their_configuration_trains_in_the_projects_own_script(
    project: Project, here: Path
) -> None:
    *_, (config, reports, outcome) = trained(load_spec(project.file), 3)
    assert outcome.state is State.COMPLETE, outcome.reason
    (here / "best.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    assert final(project, here, "--config", "best.yaml") == pytest.approx(reports[-1].value, rel=1e-3)


def final(project: Project, folder: Path, *arguments: str) -> float:
    """What the project's own script prints at the end of a training."""
    done = subprocess.run(
        [sys.executable, *project.command, "fit", "--trainer.logger=false", *arguments],
        cwd=folder, capture_output=True, text=True, check=False, timeout=120,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": project.path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return float(done.stdout.split("final")[-1])


def test_a_project_is_swept_from_the_command_line_and_its_best_trains_in_its_own_script(
    ray_cluster: None, here: Path
) -> None:
    linked = ALL["linked"]
    printed = typed("launch", str(linked.file), "--set", "resources.cpus=16", folder=here).stdout
    assert "existing.yaml: ckpt_path is ignored" in printed
    best = optuna.load_study(study_name="linked", storage=f"sqlite:///{here}/sweeps.db").best_trial
    last = list(best.intermediate_values.values())[-1]
    flags = shlex.split(typed("export", "linked", "--format", "args", folder=here).stdout)
    assert final(linked, here, *flags) == pytest.approx(last, rel=1e-3)


def trouble(project: str, *overrides: str, **changes: Any) -> tuple[str, str] | None:
    """What the inspection of a project says with these changes to its sweep file."""
    sys.path += [ALL[project].path] if ALL[project].path else []
    return look(load_spec(ALL[project].file, overrides=overrides, **changes)).problem


@pytest.mark.parametrize(
    ("project", "override", "key", "words"),
    [
        pytest.param("linked", "cli=spirals.SpiralCLI", "cli.class_path", "did you mean 'SpiralsCLI'?",
                     id="a command line that is not there"),
        pytest.param("linked", "cli=spiralz.CLI", "cli.class_path", "no module 'spiralz'", id="its module"),
        pytest.param("linked", "cli=spirals.Classifier", "cli",
                     "no subclass of lightning.pytorch.cli.LightningCLI", id="a class that is another"),
        pytest.param("linked", "cli.flavour=3", "cli", "unexpected keyword argument 'flavour'",
                     id="a keyword that it does not take"),
        pytest.param("linked", "model.widht=3", "model.widht",
                     "Classifier does not accept 'widht', did you mean 'width'?", id="an argument"),
        pytest.param("linked", "search_space.model.widht=[3, 4]", "search_space.model.widht",
                     "did you mean 'width'?", id="the same in the search space"),
        pytest.param("linked", "search_space.model.num_classes=[2, 3]", "search_space.model.num_classes",
                     "is set by a link from data.num_classes: vary that instead", id="what a link sets"),
        pytest.param("linked", "search_space.loss.smooth=[0.1, 0.2]", "search_space.loss.smooth",
                     "loss does not accept 'smooth', did you mean 'smoothing'?", id="an argument of its own"),
        pytest.param("linked", "search_space.stoping.patience=[1, 2]", "search_space.stoping.patience",
                     "did you mean 'stopping'?", id="a group of its own"),
        pytest.param("linked", "search_space.model.depth=[1, two]", "search_space.model.depth", "two",
                     id="a value of the wrong type"),
        pytest.param("linked", "prunner=median", "prunner", "did you mean 'pruner'?", id="a key of a sweep"),
        pytest.param("linked", "stopping.patience=3", "", "", id="a right one"),
        pytest.param("script", "cli.model=train.Regresor", "cli.model", "did you mean 'Regressor'?",
                     id="a model that is not there"),
        pytest.param("script", "cli.trainer_defaults={max_epoch: 3}", "cli", "trainer.max_epoch",
                     id="a default that the Trainer does not have"),
        pytest.param("script", "cli={model: train.Regressor}", "data",
                     "must name its class with `class_path`", id="data of no class"),
        pytest.param("script", "data=train.Waves", "data.class_path", "Waves does not accept 'class_path'",
                     id="a class where it is fixed"),
        pytest.param("groups", "model.init_args.head_rate=3", "model.init_args.head_rate",
                     "did you mean 'head_lr'?", id="an argument of a class that is named"),
        pytest.param("installed", "search_space.model.encoder.chanels=[1, 2]",
                     "search_space.model.encoder.chanels", "did you mean 'channels'?", id="of a dataclass"),
        pytest.param("installed", "data=acme_vision.models.Image", "data.class_path",
                     "did you mean 'Images'?", id="a class that may be chosen"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_its_key(project: str, override: str, key: str, words: str) -> None:
    found = trouble(project, override)
    if not words:
        assert found is None
        return
    assert found is not None
    assert found[0] == key
    assert words in found[1]
    assert "\n" not in found[1]


STRANGE = """
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningCLI
from spirals import Classifier, Spirals

class OwnTrainer(LightningCLI):
    def __init__(self):
        super().__init__(Narrow, Spirals)

    def instantiate_trainer(self, **kwargs):
        return Trainer(max_epochs=1, logger=False)

class Narrow(Classifier):
    def __init__(self, width: int = 3):
        super().__init__(width, 2)

    def configure_optimizers(self):
        return None

class OwnInit(LightningCLI):
    def __init__(self):
        LightningCLI.__init__(self)

class Raising(LightningCLI):
    def add_arguments_to_parser(self, parser):
        parser.link_arguments("nowhere", "model.width")
"""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        pytest.param("OwnTrainer", "must make its Trainer through LightningCLI.instantiate_trainer",
                     id="a Trainer that we cannot reach"),
        pytest.param("OwnInit", "OwnInit.__init__ must call super().__init__", id="super is passed by"),
        pytest.param("Raising", "strange.Raising cannot be made: ", id="a parser that cannot be made"),
        pytest.param("Raising", "`cli: {class_path: strange.Raising, model: my.Net, data: my.Data}`",
                     id="a parser for classes that are not named"),
    ],
)  # fmt: skip
def test_a_command_line_that_cannot_be_used_says_why(here: Path, name: str, words: str) -> None:
    (here / "strange.py").write_text(STRANGE)
    sys.path.append(str(ALL["linked"].file.parent))
    spec = load_spec(
        {
            "name": "strange",
            "objective": {"metric": "val/loss", "direction": "minimize"},
            "budget": {"trials": 1},
            "cli": f"strange.{name}",
            "search_space": {"model.width": [2, 4]},
        }
    )
    found = look(spec, probe=True).problem
    assert found is not None
    assert found[0] == "cli"
    assert words in found[1]


def test_a_script_that_trains_when_it_is_imported_is_told_so(here: Path) -> None:
    (here / "unguarded.py").write_text(
        "from lightning.pytorch.cli import LightningCLI\n"
        "from spirals import Classifier, Spirals\n"
        "LightningCLI(Classifier, Spirals)\n"
    )
    rule = "importing 'unguarded' runs LightningCLI: put that call under `if __name__ == \"__main__\":`"
    assert trouble("groups", "model={class_path: unguarded.Classifier}") == ("model.class_path", rule)


def test_the_users_hooks_and_defaults_hold_and_its_own_fit_does_not_run(here: Path) -> None:
    spec = load_spec(ALL["linked"].file, overrides=["search_space.model.depth={d4: 4}"])
    [(config, reports, outcome)] = trained(spec, 1)
    assert outcome.state is State.COMPLETE, outcome.reason
    log = (here / "files" / "trial-0" / "log.txt").read_text()
    assert "about to fit spirals with 3 classes" in log
    assert "final" not in log
    assert len(reports) == 3
    assert outcome.metrics.keys() == {"train/loss", "val/loss", "val/acc"}
    assert "devices" not in config["trainer"]
    # The project's own ModelCheckpoint writes where it always does, ours beside it.
    assert (here / "files" / "trial-0" / "best.ckpt").exists()
    assert any(path.name.startswith("epoch=") for path in here.rglob("*.ckpt"))


OTHER = """
from pytorch_lightning import LightningModule
from pytorch_lightning.cli import LightningCLI

class Net(LightningModule):
    def __init__(self, width: int = 3):
        super().__init__()
"""


def test_classes_of_the_other_package_are_told_so(here: Path) -> None:
    (here / "other_package.py").write_text(OTHER)
    rule = "is built on pytorch_lightning, but sweeps train with lightning.pytorch: import from there"
    assert trouble("groups", "model={class_path: other_package.Net}") == ("model.class_path", f"Net {rule}")
    found = trouble("linked", "cli=other_package.LightningCLI")
    assert found == ("cli.class_path", f"LightningCLI {rule}")
    assert trouble("script", "cli.model=other_package.Net") == ("cli.model", f"Net {rule}")


FLAT = '''
from lightning.pytorch.cli import LightningCLI
from finetune import FineTuned, Points

class FlatCLI(LightningCLI):
    """Its script calls the Trainer itself."""

    def __init__(self, *args, **kwargs):
        super().__init__(
            FineTuned, Points, run=False, trainer_defaults={"max_epochs": 2, "accelerator": "cpu"},
            parser_kwargs={"validate": {"default_config_files": ["validate.yaml"]}}, **kwargs,
        )
        self.factor = self.model.hparams.backbone_factor

    def before_instantiate_classes(self):
        print("learning rate", self.config.model.head_lr)

    def before_fit(self):
        raise RuntimeError("LightningCLI would not call this either")
'''


def test_a_script_that_calls_the_trainer_itself_has_its_own_form_of_the_configuration(here: Path) -> None:
    (here / "flat.py").write_text(FLAT)
    sys.path.append(str(ALL["groups"].file.parent))
    spec = load_spec(
        {
            "name": "flat",
            "objective": {"metric": "val/acc", "direction": "maximize"},
            "budget": {"trials": 2},
            "cli": {"class_path": "flat.FlatCLI", "seed_everything_default": 4},
            "search_space": {"model.head_lr": [0.01, 0.1], "model.backbone_factor": [0.5, 1.0]},
        }
    )
    assert look(spec, probe=True).problem is None
    for config, reports, outcome in trained(spec, 2):
        assert outcome.state is State.COMPLETE, outcome.reason
        assert (config["seed_everything"], len(reports)) == (4, 2)
    assert "learning rate 0." in "".join(log.read_text() for log in here.rglob("log.txt"))


LOGGING = '''
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.loggers import CSVLogger
from finetune import FineTuned, Points

class LoggingCLI(LightningCLI):
    """Chooses its logger by itself."""

    def __init__(self, *args, **kwargs):
        defaults = {"max_epochs": 2, "accelerator": "cpu"}
        super().__init__(FineTuned, Points, trainer_defaults=defaults, **kwargs)

    def before_fit(self):
        self.trainer.logger = CSVLogger("own")
'''


def test_what_a_trial_logs_arrives_though_the_command_line_puts_a_logger_in_the_place_of_all(
    here: Path,
) -> None:
    (here / "logging_cli.py").write_text(LOGGING)
    sys.path.append(str(ALL["groups"].file.parent))
    spec = load_spec(
        {
            "name": "logging",
            "objective": {"metric": "val/acc", "direction": "maximize"},
            "budget": {"trials": 1},
            "cli": "logging_cli.LoggingCLI",
            "search_space": {"model.head_lr": [0.01, 0.1]},
        }
    )
    assert look(spec, probe=True).problem is None
    assert not (here / "own").exists()
    [(_, reports, outcome)] = trained(spec, 1)
    assert outcome.state is State.COMPLETE, outcome.reason
    assert all("val/acc" in {point.key for point in report.points} for report in reports)
    assert list((here / "own").rglob("metrics.csv"))


@pytest.mark.parametrize("defaults", [{"devices": 2}, {"num_nodes": 4}])
def test_a_command_line_that_takes_several_devices_is_told_so_before_it_starts_processes(
    here: Path, defaults: dict[str, Any]
) -> None:
    text = LOGGING.replace('"max_epochs": 2', f'"max_epochs": 2, **{defaults}')
    name = f"cli_of_{'_'.join(defaults)}"
    (here / f"{name}.py").write_text(text)
    sys.path.append(str(ALL["groups"].file.parent))
    raw = {
        "name": "several",
        "objective": {"metric": "val/acc", "direction": "maximize"},
        "budget": {"trials": 1},
        "cli": f"{name}.LoggingCLI",
        "search_space": {"model.head_lr": [0.01, 0.1]},
    }
    [(key, value)] = defaults.items()
    problem = look(load_spec(raw), probe=True).problem
    assert problem is not None
    assert problem[0] == "trainer"
    assert f"but got {key}={value}; `trainer` in the sweep file wins" in problem[1]
    assert look(load_spec({**raw, "trainer": {key: 1}}), probe=True).problem is None


def test_a_value_that_a_link_overrules_is_noted(here: Path) -> None:
    linked = ALL["linked"].file
    assert look(load_spec(linked)).notes == ()
    same, other = (
        look(load_spec(linked, overrides=(f"model.label={x}",))).notes for x in ("spirals", "mine")
    )
    assert same == ()
    assert other == ("model.label: 'mine' is not heeded, the link from experiment makes it 'spirals'",)


REFERRING = '''
from lightning.pytorch.cli import LightningCLI
from finetune import FineTuned, Points

class ReferringCLI(LightningCLI):
    """Reads its configuration with OmegaConf."""

    def __init__(self, *args, **kwargs):
        kinds = {"parser_kwargs": {"parser_mode": "omegaconf"}, "subclass_mode_model": True}
        super().__init__(FineTuned, Points, **kinds, **kwargs)

    def add_arguments_to_parser(self, parser):
        parser.add_argument("--rate", type=float, default=0.1)

if __name__ == "__main__":
    cli = ReferringCLI()
    print("final", float(cli.trainer.callback_metrics["val/acc"]))
'''


def test_what_refers_to_a_searched_key_follows_it_as_in_the_projects_own_script(here: Path) -> None:
    (here / "referring.py").write_text(REFERRING)
    sys.path.append(str(ALL["groups"].file.parent))
    (here / "base.yaml").write_text("""
rate: 0.3
model: {class_path: finetune.FineTuned, init_args: {head_lr: "${rate}"}}
trainer: {max_epochs: 2, accelerator: cpu}
""")
    raw = {
        "name": "referring",
        "objective": {"metric": "val/acc", "direction": "maximize"},
        "budget": {"trials": 2},
        "cli": "referring.ReferringCLI",
        "config": "base.yaml",
        "search_space": {"rate": {"type": "float", "low": 0.01, "high": 0.2}},
    }
    found = look(load_spec(raw), probe=True)
    assert found.problem is None
    assert "head_lr: 0.105" in found.resolved
    *_, (config, reports, outcome) = trained(load_spec(raw), 2)
    assert outcome.state is State.COMPLETE, outcome.reason
    (here / "best.yaml").write_text(yaml.safe_dump(config))
    project = Project(here, (str(here / "referring.py"),), str(ALL["groups"].file.parent))
    assert final(project, here, "--config", "best.yaml") == pytest.approx(reports[-1].value, rel=1e-3)
    problem = look(load_spec({**raw, "trainer": {"max_epochs": "${epochs}"}})).problem
    assert problem == ("trainer.max_epochs", "Interpolation key 'epochs' not found")


def test_command_lines_in_one_process_keep_apart() -> None:
    for name, paths in (("linked", "width"), ("script", "activation"), ("linked", "depth")):
        resolved = look(load_spec(ALL[name].file)).resolved
        assert f"{paths}:" in resolved
        assert ("stopping:" in resolved) == (name == "linked")
