"""Where a run starts, and folders that no run may start in."""

import json
import os
import shutil
from pathlib import Path

import pytest
from conftest import same_weights
from transformers import TrainerState

from metareview.common.cli import InputError
from metareview.training.checkpoints import RUN, list_checkpoints, write_manifest
from metareview.training.resuming import (
    Run,
    Start,
    check_output_folder,
    check_settings,
    describe_start,
    find_start,
    mark_finished,
    mark_started,
    read_run,
)

SETTINGS = {"learning_rate": 0.1, "seed": 1, "num_train_epochs": 2}


def write_run(folder: Path, settings: dict, finished: bool = False, restart: bool = False) -> None:
    folder.mkdir(exist_ok=True)
    about = {"settings": settings, "is_finished": finished, "is_restart": restart, "precision": "fp32"}
    (folder / RUN).write_text(json.dumps(about))
    if finished:
        (folder / "config.json").write_text("{}")


@pytest.fixture
def checkpoints(interrupted: Path) -> tuple[Path, Path, Path]:
    """A folder with the checkpoints of steps 12 and 10, and these."""
    (interrupted / RUN).unlink(missing_ok=True)
    newest, older = list_checkpoints(interrupted).values()
    return interrupted, newest, older


def test_where_a_run_starts_is_as_the_table_says(checkpoints: tuple[Path, Path, Path]) -> None:
    folder, newest, _ = checkpoints
    other = SETTINGS | {"seed": 2}
    assert find_start(folder.parent / "empty", SETTINGS, False, None) == Start()
    write_run(folder, SETTINGS)
    assert find_start(folder, SETTINGS, False, None) == Start(newest)
    assert find_start(folder, SETTINGS, True, None) == Start()
    write_run(folder, SETTINGS, restart=True)
    assert find_start(folder, SETTINGS, True, None) == Start(newest)
    for finished in (False, True):
        write_run(folder, other, finished)
        what = "the model" if finished else "the run"
        with pytest.raises(InputError, match=f"^{what} in .* is of a run that differs in SEED: 2 there, 1 now"):
            find_start(folder, SETTINGS, False, None)
        assert find_start(folder, SETTINGS, True, None) == Start()
    write_run(folder, SETTINGS, finished=True)
    assert find_start(folder, SETTINGS, False, None) == Start(is_finished=True)
    assert find_start(folder, SETTINGS, True, None) == Start()
    (folder / "config.json").unlink()  # somebody has deleted the model
    assert find_start(folder, SETTINGS, False, None) == Start(newest)


def test_a_checkpoint_that_a_flag_names_may_be_of_another_length(
    checkpoints: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    folder, newest, older = checkpoints
    write_run(folder, SETTINGS)
    longer, elsewhere = SETTINGS | {"num_train_epochs": 3}, tmp_path / "elsewhere"
    assert find_start(elsewhere, longer, False, str(older)) == Start(older)
    assert find_start(folder, SETTINGS, False, str(older)) == Start(newest)  # which is later, and of the same run
    write_run(elsewhere, SETTINGS | {"seed": 7})
    with pytest.raises(InputError, match="elsewhere' holds another run than that of"):
        find_start(elsewhere, longer, False, str(older))
    with pytest.raises(InputError, match="differs in SEED: 1 there, 3 now"):
        find_start(elsewhere, longer | {"seed": 3}, False, str(older))
    with pytest.raises(InputError, match="is incomplete: its saving was not finished"):
        find_start(elsewhere, longer, False, str(folder))
    (folder / RUN).unlink()
    with pytest.raises(InputError, match=r"there is no run.json beside '.*' that says what run it belongs to"):
        find_start(elsewhere, longer, False, str(older))


def test_a_run_that_resumes_elsewhere_brings_the_best_checkpoint_along(
    checkpoints: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    _, newest, older = checkpoints
    state = json.loads((newest / "trainer_state.json").read_text())
    (newest / "trainer_state.json").write_text(json.dumps(state | {"best_global_step": 10}))
    write_manifest(newest)
    mark_started(tmp_path / "longer", Run(SETTINGS, False), newest)
    assert same_weights(tmp_path / "longer/checkpoint-10/model.safetensors", older / "model.safetensors")
    assert read_run(tmp_path / "longer") == Run(SETTINGS, False)


def test_a_restart_stays_one_until_it_is_finished(tmp_path: Path) -> None:
    mark_started(tmp_path, Run(SETTINGS, False, is_restart=True), None)
    mark_started(tmp_path, Run(SETTINGS, False), None)  # the same command without --restart
    assert read_run(tmp_path).is_restart
    mark_finished(tmp_path)
    assert read_run(tmp_path).is_finished
    mark_started(tmp_path, Run(SETTINGS, False), None)
    assert not read_run(tmp_path).is_restart and not read_run(tmp_path).is_finished


def test_a_folder_that_is_read_only_is_named(tmp_path: Path) -> None:
    folder = Path("/tmp") / f"read_only_{os.getpid()}"  # pytest's own folders are closed to other users
    folder.mkdir(mode=0o555)
    user = os.getresuid()
    try:
        if user[0] == 0:
            os.setresuid(65534, 65534, 0)  # root may write everywhere
        with pytest.raises(InputError, match="read-only"):
            check_output_folder(folder / "deeper" / "pythia_finetuned")
    finally:
        os.setresuid(*user)
        folder.rmdir()


@pytest.mark.parametrize("name", ["trainer_state.json", "manifest.json"])
def test_checkpoints_of_another_tool_are_left_alone(name: str, tmp_path: Path) -> None:
    (tmp_path / "checkpoint-500").mkdir()
    (tmp_path / "checkpoint-500" / name).write_text("{}")
    with pytest.raises(InputError, match="exists and holds something else; nothing was written"):
        check_output_folder(tmp_path)
    shutil.rmtree(tmp_path / "checkpoint-500")
    check_output_folder(tmp_path)


def test_settings_of_another_run_are_named() -> None:
    check_settings({"seed": 1, "more": 2}, {"seed": 1, "new": 3}, "it")
    with pytest.raises(
        InputError, match=r"^it is of a run that differs in SEED: 1 there, 2 now; LORA_R: 8 there, 4 now"
    ):
        check_settings({"seed": 1, "lora_r": 8}, {"seed": 2, "lora_r": 4}, "it")
    with pytest.raises(InputError, match=r"differs in KEEP: 'a' there, 'b' now\.\n"):  # and so the texts differ too
        check_settings({"keep": "a", "texts": "1"}, {"keep": "b", "texts": "2"}, "it")
    with pytest.raises(InputError, match="differs in --bf16, --fp16: None there, 'fp32' now"):
        check_settings({"seed": 1}, {"seed": 1, "precision": "fp32"}, "it")


@pytest.mark.parametrize("name", [RUN, "training_record.json"])
@pytest.mark.parametrize("content", ["{", "[]", '{"settings": 5}'])
def test_a_damaged_record_of_a_run_is_named(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=f"{name}' is damaged: .*; delete that file"):
        read_run(tmp_path)


def test_another_length_is_told_and_a_shorter_one_refused(tmp_path: Path) -> None:
    state = TrainerState(global_step=10, max_steps=20)
    assert describe_start(state, tmp_path, 20) == f"Resuming from step 10 of 20: {tmp_path}"
    assert "It was planned for 20 steps." in describe_start(state, tmp_path, 30)
    with pytest.raises(InputError, match="beyond the 9 steps asked for; set more EPOCHS"):
        describe_start(state, tmp_path, 9)
