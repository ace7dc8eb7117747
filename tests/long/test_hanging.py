"""Trials that raise and trials that hang, from the sweep file to what a person sees."""

from pathlib import Path

import optuna
import yaml

from tests.chaos.forked import Template


def test_hanging_and_raising_trials_are_tried_again_and_end_the_sweep_when_too_many_fail(
    tmp_path: Path,
) -> None:
    (tmp_path / "faulty.yaml").write_text(yaml.safe_dump({
        "name": "faulty",
        "objective": {"metric": "val_loss", "direction": "minimize"},
        "budget": {"trials": 3},
        "model": {"class_path": "tests.chaos.mortal.Faulty"},
        "data": {"class_path": "tests.modules.Data"},
        "trainer": {"max_epochs": 3, "accelerator": "cpu", "log_every_n_steps": 4},
        "search_space": {
            "model.init_args.fault": {"type": "categorical", "choices": ["none", "raise", "hang"]}
        },
        "start_with": [{"model.init_args.fault": fault} for fault in ("none", "hang", "raise")],
        "retries": {"exceptions": 1},
        "trial_timeout": 6,
        "max_failed_trials": 1,
        "resources": {"gpus": 0},
        "sampler": "random",
    }))  # fmt: skip
    (tmp_path / "tests").symlink_to(Path("tests").absolute())
    template, output = Template(), tmp_path / "output.txt"
    try:
        codes = [
            template.run(*arguments, folder=tmp_path, output=output)
            for arguments in (("launch", "faulty.yaml"), ("resume", "faulty", "--trials", "+1"))
        ]
    finally:
        template.close()
    said = output.read_text().splitlines()
    assert codes == [1, 0], said  # who resumes may have mended what made trials fail
    told = "sweeps: 2 trials failed, more than max_failed_trials=1; the last one: trial "
    assert [line.startswith(told) for line in said].count(True) == 1
    study = optuna.load_study(study_name="faulty", storage=f"sqlite:///{tmp_path}/sweeps.db")
    assert study.user_attrs["sweep_state"] == "finished"
    fine, hanging, raising, _ = study.trials
    assert fine.state.name == "COMPLETE"
    assert hanging.user_attrs["outcome"]["reason"] == "it ran longer than trial_timeout=6 seconds"
    assert raising.user_attrs["outcome"]["reason"] == "RuntimeError: the disk of the data is gone"
    for trial, fault in ((hanging, "hang"), (raising, "raise")):
        assert trial.state.name == "FAIL"
        assert trial.user_attrs["attempt"] == 1
        log = (tmp_path / "sweep-files" / "faulty" / f"trial-{trial.number}" / "log.txt").read_text()
        assert log.count(f"attempt that will {fault}") == 2
