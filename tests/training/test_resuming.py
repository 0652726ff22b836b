"""Where a run begins, and folders that no run may begin in."""

import os
from pathlib import Path

import pytest
from conftest import make_arguments
from transformers import TrainerState

from metareview.common.cli import InputError
from metareview.training.resuming import (
    check_output_folder,
    check_settings,
    describe_start,
    find_settings,
    find_start,
    is_finished,
)


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


def test_settings_of_another_run_are_named() -> None:
    check_settings({"seed": 1, "more": 2}, {"seed": 1, "new": 3}, "it")
    with pytest.raises(
        InputError, match=r"^it is of a run that differs in SEED: 1 there, 2 now; LORA_R: 8 there, 4 now"
    ):
        check_settings({"seed": 1, "lora_r": 8}, {"seed": 2, "lora_r": 4}, "it")
    with pytest.raises(InputError, match=r"differs in KEEP: 'a' there, 'b' now\.\n"):  # and so the texts differ too
        check_settings({"keep": "a", "texts": "1"}, {"keep": "b", "texts": "2"}, "it")


@pytest.mark.parametrize("name", ["under_way.json", "training_record.json", "checkpoint-1/run_settings.json"])
def test_a_damaged_record_of_a_run_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    for content in ("{", "[]", '{"settings": 5}')[: 2 if name.endswith("run_settings.json") else 3]:
        (tmp_path / name).write_text(content)
        with pytest.raises(InputError, match=f"{name}' is damaged: .*; delete that file, or make its folder anew"):
            find_settings(tmp_path)


def test_where_nothing_is_a_run_begins_at_the_base(tmp_path: Path) -> None:
    arguments = make_arguments(tmp_path)
    assert find_start(arguments, tmp_path, {}, None) is None and not is_finished(arguments, tmp_path, {})


def test_another_length_is_told_and_a_shorter_one_refused(tmp_path: Path) -> None:
    state = TrainerState(global_step=10, max_steps=20)
    assert describe_start(state, tmp_path, 20) == f"Going on from step 10 of 20: {tmp_path}"
    assert "It was planned for 20 steps." in describe_start(state, tmp_path, 30)
    with pytest.raises(InputError, match="beyond the 9 steps asked for; give more --num_train_epochs"):
        describe_start(state, tmp_path, 9)
