"""Previews: what a model writes while it is trained, and what that costs the run."""

import math
import re
from pathlib import Path

import torch
from conftest import make_arguments, make_examples, make_model, make_tokenizer, make_trainer
from datasets import Dataset

from metareview.generation import batches, previews
from metareview.generation.previews import PREVIEWS, Previews


def train(folder: Path, number: int) -> dict[str, torch.Tensor]:
    """The weights after four steps with an evaluation at each, and `number` previews."""
    arguments = make_arguments(folder, max_steps=4, eval_steps=1, save_strategy="no")
    trainer = make_trainer(make_model("gpt_neox"), arguments, make_examples([(9, 5)] * 8))
    if number:
        tokenizer = make_tokenizer()
        trainer.add_callback(Previews(Dataset.from_list(make_examples([(9, 5), (6, 4)])), number, tokenizer, 6, [0]))
    trainer.train()
    return trainer.model.state_dict()


def read_titles(folder: Path) -> list[str]:
    return re.findall("(?m)^# (.*)", (folder / PREVIEWS).read_text())


def test_texts_of_each_step_are_kept_beside_the_reference_and_change_no_weights(
    tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr(previews, "SHARE", math.inf)
    weights = train(tmp_path, 2)
    titles = read_titles(tmp_path)
    assert titles[:2] == ["References", "Step 0: the base"] and titles[-1].startswith("Step 4, epoch ")
    assert len(titles) == 6 and (tmp_path / PREVIEWS).read_text().count("## Paper 2") == 6
    assert capsys.readouterr().out.count("paper 1: ") == 5
    assert all(torch.equal(tensor, weights[name]) for name, tensor in train(tmp_path / "without", 0).items())


def test_a_resumed_run_replaces_the_texts_of_later_steps(tmp_path: Path) -> None:
    for step in (0, 2, 4, 3):
        previews._keep(tmp_path / PREVIEWS, step, step / 4, [f"text\n# Step {step}"], ["reference"])
    assert read_titles(tmp_path) == ["References", "Step 0: the base", "Step 2, epoch 0.5", "Step 3, epoch 0.75"]
    assert "    # Step 2\n" in (tmp_path / PREVIEWS).read_text()  # a text is no heading


def test_previews_that_would_slow_the_run_are_broken_off_or_left_out(tmp_path: Path, monkeypatch) -> None:
    """The first and the last are always there."""
    monkeypatch.setattr(previews, "SHARE", 0.0)
    texts = []
    for least in (2, 4):
        monkeypatch.setattr(batches, "LEAST", least)
        train(tmp_path, 1)
        assert [title.split(",")[0] for title in read_titles(tmp_path)] == ["References", "Step 0: the base", "Step 4"]
        texts.append((tmp_path / PREVIEWS).read_text().split("# Step")[1].removesuffix(" [not ended]\n\n"))
    assert texts[1].startswith(texts[0]) and len(texts[1]) > len(texts[0])


def test_a_preview_that_fails_does_not_end_the_training(tmp_path: Path, monkeypatch, capsys) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("no cache")

    monkeypatch.setattr(previews, "generate", fail)
    train(tmp_path, 1)
    assert capsys.readouterr().out.count("No preview (no cache); PREVIEWS = 0 turns them off.") == 5
