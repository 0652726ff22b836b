"""Checkpoints: which are complete, which is the best, which are kept; the last step is always saved."""

import json
from pathlib import Path

import pytest
from conftest import LENGTHS, WEIGHTS, make_arguments, make_examples, make_model, make_trainer
from transformers import TrainerCallback, TrainingArguments

from metareview.training import checkpoints
from metareview.training.callbacks import Patience
from metareview.training.checkpoints import MANIFEST, CheckpointKeeper, find_checkpoint, find_fault


def test_a_checkpoint_is_complete_when_each_file_is_as_it_was_saved(interrupted: Path) -> None:
    newest, before = checkpoints.list_checkpoints(interrupted).values()
    assert find_checkpoint(interrupted) == newest
    names = json.loads((newest / MANIFEST).read_text())
    needed = {WEIGHTS, "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"}
    assert needed <= names.keys() and "training_args.bin" not in names
    for name in (*names, MANIFEST):
        content = (newest / name).read_bytes()
        for damaged in (content[:-2], b"", None):
            (newest / name).unlink()
            if damaged is not None:
                (newest / name).write_bytes(damaged)
            assert name in str(find_fault(newest)), (name, damaged)
            assert find_checkpoint(interrupted) == before
        (newest / name).write_bytes(content)
    assert find_checkpoint(interrupted) == newest


class Listener(TrainerCallback):
    """The complete checkpoints in the output folder at each save."""

    def __init__(self) -> None:
        self.complete: list[list[int]] = []

    def on_save(self, args: TrainingArguments, *_: object, **__: object) -> None:
        steps = checkpoints.list_checkpoints(Path(args.output_dir))
        self.complete.append([step for step in steps if find_fault(steps[step]) is None])


@pytest.mark.parametrize(("strategy", "saved"), [("no", [3]), ("steps", [2, 3])])
def test_the_last_step_is_saved_once_and_told(strategy: str, saved: list[int], tmp_path: Path) -> None:
    """Told to the callbacks: one of them pushes checkpoints to the Hub."""
    args = make_arguments(tmp_path, max_steps=3, eval_strategy="no", save_steps=2, save_strategy=strategy)
    listener = Listener()
    make_trainer(make_model("gpt_neox"), args, make_examples(LENGTHS), (CheckpointKeeper(None), listener)).train()
    assert [steps[0] for steps in listener.complete] == saved


def test_two_checkpoints_are_kept_besides_the_best(tmp_path: Path) -> None:
    """Older ones are deleted only when the new one is complete; the best weights are saved whatever the interval is."""
    args = make_arguments(tmp_path, max_steps=5, eval_steps=1, save_steps=4)
    listeners = Listener(), Listener()
    callbacks = (listeners[0], CheckpointKeeper(2), listeners[1])  # before older ones are deleted, and after
    trainer = make_trainer(make_model("gpt_neox"), args, make_examples(LENGTHS), callbacks)
    losses = iter([9.0, 3.0, 1.0, 2.0, 4.0, 5.0])  # before the first step, and after each
    trainer.compute_metrics = lambda _: {"loss": next(losses)}
    trainer.train()
    assert listeners[0].complete == [[], [1], [2, 1], [4, 2]]
    assert listeners[1].complete == [[1], [2, 1], [4, 2], [5, 4, 2]]
    assert checkpoints.find_best(trainer.state, tmp_path) == tmp_path / "checkpoint-2"


def test_where_patience_ends_the_run_its_last_step_is_saved(tmp_path: Path) -> None:
    args = make_arguments(tmp_path, max_steps=9, eval_steps=1, patience=1, save_strategy="no")
    trainer = make_trainer(make_model("gpt_neox"), args, make_examples(LENGTHS), (Patience(1), CheckpointKeeper(2)))
    losses = iter([9.0, 3.0, 1.0, 2.0])  # before the first step, and after each
    trainer.compute_metrics = lambda _: {"loss": next(losses)}
    trainer.train()
    assert trainer.state.global_step == 3 and find_checkpoint(tmp_path) == tmp_path / "checkpoint-3"


def test_the_result_is_the_last_checkpoint_or_the_best_if_it_is_undamaged(interrupted: Path, capsys) -> None:
    """Damage that keeps the size is seen, too."""
    last, best = checkpoints.list_checkpoints(interrupted).values()
    state = checkpoints.load_state(last)
    state.best_global_step = 10
    assert checkpoints.choose_result(state, interrupted, last, "last") == last
    assert checkpoints.choose_result(state, interrupted, last, "best") == best
    (best / WEIGHTS).write_bytes(bytes((best / WEIGHTS).stat().st_size))
    assert checkpoints.choose_result(state, interrupted, last, "best") == last
    assert f"{best} cannot be used: {WEIGHTS} is not as it was saved" in capsys.readouterr().out
