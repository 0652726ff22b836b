"""Devices: a model that overflows in fp16 is noticed, one that does not is left as it is."""

from pathlib import Path

import pytest
import torch
from conftest import make_arguments, make_examples, make_model, make_trainer
from transformers import PreTrainedModel

from metareview.common.device import OutOfMemory, is_out_of_memory, overflows_in_fp16
from metareview.common.model import load_model

IDS = {"input_ids": torch.arange(1, 41).view(2, 20)}


def make_overflowing(architecture: str) -> PreTrainedModel:
    """A model in one layer of which activations reach about a million; its weights fit into fp16."""
    model = make_model(architecture)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "layers.0.mlp" in name:
                weight *= 3e4
    return model


@pytest.mark.parametrize(("architecture", "dtype"), [("gpt_neox", torch.float32), ("llama", torch.float16)])
def test_overflow_is_noticed(architecture: str, dtype: torch.dtype, tmp_path: Path) -> None:
    """In autocast, as in training, and in weights that are fp16 themselves, as in writing."""
    make_overflowing(architecture).save_pretrained(tmp_path / "overflowing")
    make_model(architecture).save_pretrained(tmp_path / "sound")
    assert overflows_in_fp16(load_model(str(tmp_path / "overflowing"), dtype), IDS)
    sound = load_model(str(tmp_path / "sound"), dtype).train()
    assert not overflows_in_fp16(sound, IDS) and sound.training
    assert {weight.dtype for weight in sound.parameters()} == {dtype}


def test_a_run_is_in_fp32_where_fp16_overflows(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for model, fp16 in ((make_overflowing("gpt_neox"), False), (make_model("gpt_neox"), True)):
        args = make_arguments(tmp_path, fp16=True, max_steps=1, save_strategy="no")
        trainer = make_trainer(model, args, make_examples([(30, 10)] * 8))
        assert args.fp16 == fp16 and ("overflows in fp16" in capsys.readouterr().out) != fp16
        trainer.train()
        assert all(weight.isfinite().all() for weight in model.parameters())


def test_too_little_memory_is_known_on_gpu_and_cpu() -> None:
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**60)
    assert all(map(is_out_of_memory, (error.value, torch.OutOfMemoryError(), OutOfMemory())))
    assert not is_out_of_memory(RuntimeError("shapes differ"))
