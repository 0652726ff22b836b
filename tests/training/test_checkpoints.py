"""Checkpoints: which are complete, which is the best, which are kept; the last step is always saved."""

import json
import shutil
from pathlib import Path

import pytest
from conftest import LENGTHS, WEIGHTS, make_arguments, make_examples, make_model, make_trainer
from transformers import TrainerCallback, TrainerState

from metareview.training.checkpoints import (
    MANIFEST,
    TRAINER_STATE,
    CheckpointKeeper,
    choose_result,
    find_best,
    find_checkpoint,
    find_fault,
    keep_weights,
    list_checkpoints,
    load_state,
    write_manifest,
)


def test_a_checkpoint_is_complete_when_each_file_is_there_in_its_size(interrupted: Path) -> None:
    newest, before = list_checkpoints(interrupted).values()
    assert find_checkpoint(interrupted) == newest
    names = json.loads((newest / MANIFEST).read_text())
    needed = {WEIGHTS, "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"}
    assert needed <= names.keys() and "training_args.bin" not in names
    for name in (*names, MANIFEST):
        content = (newest / name).read_bytes()
        for damaged in (content[:-2], content[: len(content) // 2], b"", None):
            (newest / name).unlink()
            if damaged is not None:
                (newest / name).write_bytes(damaged)
            assert name in str(find_fault(newest)), (name, damaged)
            assert find_checkpoint(interrupted) == before
        (newest / name).write_bytes(content)
    assert find_fault(newest) is None
    (newest / MANIFEST).unlink()
    assert "not finished" in str(find_fault(newest))
    write_manifest(newest)
    assert find_checkpoint(interrupted) == newest


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (TRAINER_STATE, '{"global_step": 0}'),
        (TRAINER_STATE, '{"global_step": "12"}'),
        (TRAINER_STATE, '{"unknown": 1}'),
        (MANIFEST, "[]"),
        (MANIFEST, "{}"),
        (MANIFEST, '{"model.safetensors": 1}'),
    ],
)
def test_what_somebody_else_wrote_is_no_checkpoint(name: str, content: str, interrupted: Path) -> None:
    """A state has a manifest that fits."""
    newest, older = list_checkpoints(interrupted).values()
    (newest / name).write_text(content)
    if name == TRAINER_STATE:
        write_manifest(newest)
    assert "is damaged" in find_fault(newest)
    assert find_checkpoint(interrupted) == older


@pytest.mark.parametrize(("strategy", "saved"), [("no", [3]), ("steps", [2, 3])])
def test_the_last_step_is_saved_once_and_told(strategy: str, saved: list[int], tmp_path: Path) -> None:
    """Told to the callbacks: one of them pushes checkpoints to the Hub."""
    told = []

    class Listener(TrainerCallback):
        def on_save(self, args: object, state: TrainerState, control: object, **_: object) -> None:
            told.append(state.global_step)

    arguments = make_arguments(tmp_path, max_steps=3, eval_strategy="no", save_steps=2, save_strategy=strategy)
    callbacks = (CheckpointKeeper(None), Listener())
    trainer = make_trainer(make_model("gpt_neox"), arguments, make_examples(LENGTHS), callbacks)
    trainer.train()
    assert told == saved and trainer.state.global_step == 3
    assert all(find_fault(tmp_path / f"checkpoint-{step}") is None for step in saved)


def test_the_best_weights_are_saved_whatever_the_intervals_are(tmp_path: Path) -> None:
    arguments = make_arguments(tmp_path, max_steps=5, eval_steps=1, save_steps=4)
    trainer = make_trainer(make_model("gpt_neox"), arguments, make_examples(LENGTHS), (CheckpointKeeper(1),))
    losses = iter([9.0, 3.0, 1.0, 2.0, 4.0, 5.0])  # before the first step, and after each
    trainer.compute_metrics = lambda _: {"loss": next(losses)}
    trainer.train()
    assert find_best(trainer.state, tmp_path) == tmp_path / "checkpoint-2"
    assert list(list_checkpoints(tmp_path)) == [5, 2]


def test_rotation_keeps_two_complete_checkpoints_besides_the_best(tmp_path: Path) -> None:
    """The newest ones; older ones go only when the new one is complete."""
    there: list[tuple[list[int], list[int]]] = []  # all checkpoints, and those that are complete, at each save

    class Before(TrainerCallback):
        def on_save(self, *_: object, **__: object) -> None:
            checkpoints = dict(reversed(list_checkpoints(tmp_path).items()))
            there.append((list(checkpoints), [step for step in checkpoints if find_fault(checkpoints[step]) is None]))

    class After(Before):
        pass

    arguments = make_arguments(tmp_path, epochs=3, eval_steps=1, save_steps=1, checkpoints_kept=2)
    callbacks = (Before(), CheckpointKeeper(2), After())
    trainer = make_trainer(make_model("gpt_neox"), arguments, make_examples(LENGTHS), callbacks)
    losses = iter([9.0, 3.0, 1.0, 2.0, 4.0, 5.0, 6.0])
    trainer.compute_metrics = lambda _: {"loss": next(losses)}
    trainer.train()
    kept = [[], [1], [1, 2], [2, 3], [2, 3, 4], [2, 4, 5], [2, 5, 6]]  # after each step; that of step 2 is the best
    assert there[::2] == [([*kept[step - 1], step], kept[step - 1]) for step in range(1, 7)]
    assert there[1::2] == [(steps, steps) for steps in kept[1:]]


def test_the_result_is_the_last_checkpoint_or_the_best_if_it_is_undamaged(
    interrupted: Path, capsys: pytest.CaptureFixture
) -> None:
    """Damage that keeps the size is seen, too."""
    last, best = list_checkpoints(interrupted).values()
    state = load_state(last)
    state.best_global_step = 10
    assert choose_result(state, interrupted, last, "last") == last
    assert choose_result(state, interrupted, last, "best") == best
    for checkpoint in (best, last):
        content = (checkpoint / WEIGHTS).read_bytes()
        (checkpoint / WEIGHTS).write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
        if checkpoint == best:
            assert choose_result(state, interrupted, last, "best") == last
            assert f"{best}, cannot be used: {WEIGHTS} is not as it was saved" in capsys.readouterr().out
    with pytest.raises(OSError, match="checkpoint-12 cannot be used"):
        choose_result(state, interrupted, last, "last")


def test_of_a_finished_run_the_last_checkpoint_and_the_best_weights_stay(interrupted: Path) -> None:
    last, best = list_checkpoints(interrupted).values()
    shutil.copytree(best, interrupted / "checkpoint-11")
    keep_weights(interrupted, last, best)
    assert find_fault(last) is None and list(list_checkpoints(interrupted).values()) == [last, best]
    assert {"config.json", "tokenizer.json", WEIGHTS} <= {file.name for file in best.iterdir()}
    assert not list(best.glob("*.pt*")) and not (best / MANIFEST).exists()
    keep_weights(interrupted, last, last)
    assert list(list_checkpoints(interrupted).values()) == [last] and find_fault(last) is None
