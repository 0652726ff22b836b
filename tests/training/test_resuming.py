"""Where a run starts, and folders that no run may start in."""

import json
import re
import shutil
from pathlib import Path

import pytest
from conftest import WEIGHTS, make_arguments, same_weights
from transformers import TrainerState

from fine_tune import FineTuningFlags
from metareview.common.cli import InputError
from metareview.common.model import RUN
from metareview.data.prompts import PROMPTS
from metareview.training import resuming
from metareview.training.checkpoints import MANIFEST, TRAINER_STATE, list_checkpoints
from metareview.training.resuming import Run, Start
from metareview.training.run_name import NAMED, name_run

SETTINGS = {"learning_rate": 0.1, "seed": 1, "num_train_epochs": 2}


def write_run(folder: Path, settings: dict, finished: bool = False, **more: bool) -> None:
    (folder / RUN).write_text(json.dumps({"settings": settings, "is_finished": finished, **more}))
    if finished:
        (folder / "config.json").write_text("{}")


def test_where_a_run_starts_is_as_the_table_says(interrupted: Path) -> None:
    folder, newest = interrupted, interrupted / "checkpoint-12"
    assert resuming.find_start(folder.parent / "empty", SETTINGS, False, None) == Start()
    write_run(folder, SETTINGS)
    assert resuming.find_start(folder, SETTINGS, False, None) == Start(newest)
    assert resuming.find_start(folder, SETTINGS, True, None) == Start()
    write_run(folder, SETTINGS, is_restart=True)
    assert resuming.find_start(folder, SETTINGS, True, None) == Start(newest)
    write_run(folder, SETTINGS | {"seed": 2})
    with pytest.raises(InputError, match="pythia_finetuned' is of a run that differs in SEED: 2 there, 1 now"):
        resuming.find_start(folder, SETTINGS, False, None)
    assert resuming.find_start(folder, SETTINGS, True, None) == Start()
    write_run(folder, SETTINGS, finished=True)
    assert resuming.find_start(folder, SETTINGS, False, None) == Start(is_finished=True)
    assert resuming.find_start(folder, SETTINGS, True, None) == Start()
    (folder / "config.json").unlink()  # somebody has deleted the model
    assert resuming.find_start(folder, SETTINGS, False, None) == Start(newest)


def test_a_run_resumes_from_the_later_of_its_own_checkpoint_and_that_of_a_flag(interrupted: Path) -> None:
    older, newest, folder = interrupted / "checkpoint-10", interrupted / "checkpoint-12", interrupted / "longer"
    assert resuming.find_start(folder, SETTINGS, False, str(newest)) == Start(newest)
    shutil.copytree(older, folder / older.name)  # the best, which was brought along
    write_run(folder, SETTINGS)
    assert resuming.find_start(folder, SETTINGS, False, str(newest)) == Start(newest)
    own = shutil.copytree(newest, folder / newest.name)
    assert resuming.find_start(folder, SETTINGS, False, str(older)) == Start(own)


def test_a_run_that_continues_is_another_than_one_of_that_length_from_the_start(interrupted: Path, monkeypatch) -> None:
    """However often it is interrupted. It may differ in its length alone from the run that it continues."""
    monkeypatch.chdir(interrupted.parent)
    checkpoint, record = interrupted / "checkpoint-12", {name: default for name, (_, default) in NAMED.items()}

    def settle(epochs: float, resumes: bool = False, seed: int = 1) -> dict:
        resume_from = str(checkpoint) if resumes else None
        flags = FineTuningFlags(epochs=epochs, resume_from_checkpoint=resume_from, seed=seed, save="best")
        return resuming.run_settings(flags, make_arguments(interrupted), "base", record)

    write_run(interrupted, settle(2))
    assert settle(2, resumes=True) == settle(2)  # a checkpoint of that very run
    longer = settle(3, resumes=True)
    assert resuming.find_differences(settle(3), longer) == ["continued_from"]
    assert resuming.find_differences(longer, settle(3)) == ["continued_from"]
    assert len({name_run("base", each) for each in (settle(2), settle(3), longer)}) == 3
    write_run(interrupted, longer)
    assert settle(3, resumes=True) == longer and longer["continued_from"] == "step 12 of 12"
    assert settle(4, resumes=True)["continued_from"] == "step 12 of 12, step 12 of 12"
    with pytest.raises(InputError, match="differs in SEED: 1 there, 2 now"):
        settle(3, resumes=True, seed=2)
    for name, told in ((RUN, f"there is no {RUN} beside it"), (f"checkpoint-12/{MANIFEST}", "only its weights")):
        (interrupted / name).unlink()
        with pytest.raises(InputError, match=f"cannot resume from '{checkpoint}': .*{told}"):
            settle(3, resumes=True)


def test_a_run_that_resumes_elsewhere_brings_the_best_checkpoint_along(interrupted: Path, tmp_path: Path) -> None:
    newest, older = list_checkpoints(interrupted).values()
    state = json.loads((newest / TRAINER_STATE).read_text())
    (newest / TRAINER_STATE).write_text(json.dumps(state | {"best_global_step": 10}))
    (tmp_path / "longer" / "checkpoint-5").mkdir(parents=True)
    resuming.mark_started(tmp_path / "longer", Run(SETTINGS, False), newest)
    assert list(list_checkpoints(tmp_path / "longer")) == [10]
    assert same_weights(tmp_path / "longer/checkpoint-10" / WEIGHTS, older / WEIGHTS)
    assert resuming.read_run(tmp_path / "longer") == Run(SETTINGS, False)


@pytest.mark.parametrize("resumes", [True, False])
def test_later_checkpoints_are_not_taken_for_those_of_the_next_run(resumes: bool, interrupted: Path) -> None:
    _, older = list_checkpoints(interrupted).values()
    resuming.mark_started(interrupted, Run(SETTINGS, False), older if resumes else None)
    assert list(list_checkpoints(interrupted)) == ([10] if resumes else [])


def test_a_restart_stays_one_until_it_is_finished(tmp_path: Path) -> None:
    resuming.mark_started(tmp_path, Run(SETTINGS, False, is_restart=True), None)
    resuming.mark_started(tmp_path, Run(SETTINGS, False), None)  # the same command without --restart
    assert resuming.read_run(tmp_path).is_restart
    resuming.mark_finished(tmp_path)
    resuming.mark_started(tmp_path, Run(SETTINGS, False), None)
    assert not resuming.read_run(tmp_path).is_restart


def test_a_folder_of_the_users_and_one_that_is_read_only_are_named(tmp_path: Path, monkeypatch) -> None:
    """Checkpoints of another tool, too."""
    (tmp_path / "checkpoint-500").mkdir()
    with pytest.raises(InputError, match="exists and holds something else; nothing was written"):
        resuming.check_output_folder(tmp_path)
    monkeypatch.setattr("os.access", lambda path, _: path != tmp_path)  # root may write everywhere
    with pytest.raises(InputError, match=f"'{tmp_path}' is read-only"):
        resuming.check_output_folder(tmp_path / "deeper" / "pythia_finetuned")


def test_other_texts_or_weights_under_the_same_names_make_another_run(tmp_path: Path, monkeypatch) -> None:
    """Which no setting tells."""
    monkeypatch.chdir(tmp_path)
    flags, names = FineTuningFlags(), []
    (tmp_path / "base").mkdir()
    for texts, weights in (("1", "a"), ("2", "a"), ("2", "b"), ("2", "b")):
        (tmp_path / "base" / WEIGHTS).write_text(weights)
        record = {name: default for name, (_, default) in NAMED.items()} | {"texts": texts}
        settings = resuming.run_settings(flags, make_arguments(tmp_path), "base", record)
        folder = resuming.choose_folder(flags, "base", settings, {})
        resuming.mark_started(folder, Run(settings, False), None)
        names.append(str(folder))
    assert names[0] == "models/base_finetuned" and re.fullmatch(rf"{names[0]}_[0-9a-f]{{6}}", names[1])
    assert len(set(names)) == 3 and names[2] == names[3]
    flags.output_dir = str(tmp_path / "base")
    (tmp_path / "base" / "checkpoint-6").mkdir()
    for base in ("base", "base/checkpoint-6"):
        with pytest.raises(InputError, match="is the model to start from"):
            resuming.choose_folder(flags, base, settings, {})
    assert resuming.run_settings(flags, make_arguments(tmp_path), "me/base", record)["base_weights"] == "me/base"


def test_what_a_run_trains_on_is_told_with_edits_that_are_not_in_its_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metareview.training.resuming.find_edited", lambda *_: ["SPLIT_SEED", "KEEP"])
    record = {"dataset_name": "d", "keep": "a-z", "prompt_template": PROMPTS["plain"]}
    first, second = resuming.describe_run(FineTuningFlags(), "m", record).splitlines()
    assert first == "Model m; texts of d, cleaned to a-z; prompt plain"
    assert second.startswith("Not in these data: SPLIT_SEED, KEEP, edited since.")


def test_settings_of_another_run_are_named() -> None:
    """Those that only one of both has follow from others."""
    before, settings = {"num_train_epochs": 1, "lora_r": 8, "more": 2}, {"new": 3, "num_train_epochs": 2, "lora_r": 4}
    with pytest.raises(InputError, match="it is of a run that differs in EPOCHS: 1 there, 2 now; LORA_R: 8 "):
        resuming.check_settings(before, settings, "it")


@pytest.mark.parametrize("name", [RUN, "training_record.json"])
@pytest.mark.parametrize("content", ["{", "{}"])
def test_a_damaged_record_of_a_run_is_named(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=f"{name}' is damaged: .*; delete that file"):
        resuming.read_run(tmp_path)


def test_a_run_that_is_shorter_than_its_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="beyond the 9 steps asked for; set more EPOCHS"):
        resuming.describe_start(TrainerState(global_step=10, max_steps=20), tmp_path, 9)
