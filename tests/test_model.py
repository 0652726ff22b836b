"""The model: what is loaded is what was saved; an adapter in its place."""

from pathlib import Path

import pytest
import torch
from conftest import make_arguments, make_model

from metareview.cli import InputError
from metareview.model import count_parameters, is_model, load_model, prepare_model


@pytest.mark.parametrize("architecture", ["gpt_neox", "llama", "gpt2"])
def test_logits_after_loading_are_those_before_saving(architecture: str, tmp_path: Path) -> None:
    model = make_model(architecture).eval()
    ids = torch.arange(1, 50)[None]
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(load_model(str(tmp_path)).eval()(ids).logits, model(ids).logits)


def test_what_is_not_trained_need_not_be_fp32(base: Path, tmp_path: Path) -> None:
    lora = make_arguments(tmp_path, use_lora=True).lora_config
    model = prepare_model(str(base), lora, torch.bfloat16)
    trained = {parameter.dtype for parameter in model.parameters() if parameter.requires_grad}
    frozen = {parameter.dtype for parameter in model.parameters() if not parameter.requires_grad}
    assert (trained, frozen) == ({torch.float32}, {torch.bfloat16})


def test_layers_that_are_not_there_are_named(base: Path, tmp_path: Path) -> None:
    lora = make_arguments(tmp_path, use_lora=True, lora_targets="foo,bar").lora_config
    with pytest.raises(InputError, match="--lora_targets 'bar,foo' does not suit GPTNeoXForCausalLM"):
        prepare_model(str(base), lora, torch.float32)


def test_parameters_are_counted_without_loading_them(base: Path) -> None:
    (parameters,) = {count_parameters(str(base)), make_model("gpt_neox").num_parameters()}
    assert parameters > 0


def test_a_folder_that_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot read the model"):
        load_model(str(tmp_path))
    assert not is_model(tmp_path)
