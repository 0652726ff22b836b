"""fp16: a model that overflows in it is noticed, one that does not is left as it is."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import make_arguments, make_examples, make_model, make_trainer
from peft import PeftModel
from transformers import PreTrainedModel

from metareview.common.device import find_fp16_fault
from metareview.common.model import load_model, prepare_model

EXAMPLES = make_examples([(30, 10)] * 8)


def make_overflowing(folder: Path, architecture: str = "gpt_neox") -> PreTrainedModel:
    """A model, saved too, in one layer of which activations reach about a million; its weights fit into fp16."""
    model = make_model(architecture)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "layers.0.mlp" in name:
                weight *= 3e4
    model.save_pretrained(folder)
    return model.eval()


def make_batch() -> dict[str, torch.Tensor]:
    ids = torch.tensor([example["input_ids"] for example in EXAMPLES[:2]])
    return {"input_ids": ids, "labels": ids}


def read_formats(model: PreTrainedModel | PeftModel) -> set[torch.dtype]:
    return {parameter.dtype for parameter in model.parameters()}


@pytest.mark.parametrize("architecture", ["gpt_neox", "llama"])
@pytest.mark.parametrize("autocast", [True, False])
def test_overflow_is_noticed_and_weights_are_fp32_then(architecture: str, autocast: bool, tmp_path: Path) -> None:
    expected = make_overflowing(tmp_path, architecture)(**make_batch()).loss
    model = load_model(str(tmp_path), torch.float32 if autocast else torch.float16).eval()
    assert (
        find_fp16_fault(model, make_batch(), autocast) == f"the loss of a batch is nan in fp16, {expected:.4g} in fp32"
    )
    assert read_formats(model) == {torch.float32}
    assert model(**make_batch()).loss.item() == pytest.approx(expected.item(), rel=1e-3)


@pytest.mark.parametrize("architecture", ["gpt_neox", "llama", "gpt2"])
@pytest.mark.parametrize("autocast", [True, False])
def test_a_sound_model_stays_as_it_is(architecture: str, autocast: bool) -> None:
    model = make_model(architecture).to(torch.float32 if autocast else torch.float16)
    before, mode = {name: weight.clone() for name, weight in model.state_dict().items()}, model.training
    assert find_fp16_fault(model, make_batch(), autocast) is None
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert model.training == mode


@pytest.mark.parametrize("load_in_4bit", [False, True])
@pytest.mark.parametrize("sound", [False, True])
def test_beneath_an_adapter_only_what_was_fp16_changes(load_in_4bit: bool, sound: bool, tmp_path: Path) -> None:
    make_overflowing(tmp_path, "llama")
    if sound:
        make_model("llama").save_pretrained(tmp_path)
    adapter = make_arguments(tmp_path, use_lora=True, load_in_4bit=load_in_4bit).adapter
    model = prepare_model(str(tmp_path), replace(adapter, dtype=torch.float16))
    before = read_formats(model)
    assert (find_fp16_fault(model, make_batch(), autocast=True) is None) == sound
    assert read_formats(model) == (before if sound else before - {torch.float16})
    computing = {layer.compute_dtype for layer in model.modules() if getattr(layer, "compute_dtype", None)}
    assert computing == ({torch.float16 if sound else torch.float32} if load_in_4bit else set())


@pytest.mark.parametrize(("loss", "is_sound"), [(1.0, True), (torch.nan, False), (torch.inf, False)])
def test_where_memory_is_too_small_to_compare_it_is_said(
    loss: float, is_sound: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def find_loss(_: object, __: object, autocast: torch.dtype | None) -> float:
        if autocast is None:
            raise torch.OutOfMemoryError
        return loss

    monkeypatch.setattr("metareview.common.device.find_loss", find_loss)
    assert (find_fp16_fault(make_model("llama"), make_batch(), autocast=True) is None) == is_sound
    assert "too little memory to compare" in capsys.readouterr().out


def test_training_goes_on_in_fp32(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    flags = {"fp16": True, "max_steps": 2, "save_strategy": "no", "eval_strategy": "no", "eval_on_start": False}
    trainer = make_trainer(make_overflowing(tmp_path), make_arguments(tmp_path, **flags), EXAMPLES)
    assert "This model cannot be trained in fp16: the loss of a batch is nan in fp16" in capsys.readouterr().out
    assert trainer.accelerator.mixed_precision == "no" and not trainer.args.fp16
    assert trainer.train().global_step == 2


def test_a_sound_model_is_trained_in_fp16(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    trainer = make_trainer(make_model("gpt_neox"), make_arguments(tmp_path, fp16=True), EXAMPLES)
    assert trainer.accelerator.mixed_precision == "fp16" and trainer.args.fp16
    assert "fp16" not in capsys.readouterr().out
