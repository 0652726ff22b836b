"""The model: what can be fine-tuned, what is told of damaged or hostile files, and an adapter in its place."""

import io
import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import PROCESS, TUNE, make_model
from peft import LoraConfig
from safetensors.torch import load_file, save_file

from metareview.common.cli import InputError
from metareview.common.model import Adapter, check_base, count_parameters, load_model, prepare_model
from metareview.data.tokenization import TokenizationArguments, load_tokenizer

LORA = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")


def test_what_is_not_trained_need_not_be_fp32_and_a_new_adapter_is_drawn_with_the_seed(base: Path) -> None:
    drawn = []
    for seed in (1, 1, 2):
        torch.rand(3)  # whatever else was drawn before
        model = prepare_model(str(base), Adapter(LORA, torch.bfloat16, seed=seed))
        drawn.append(torch.cat([weight.flatten() for name, weight in model.named_parameters() if "lora_A" in name]))
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    kinds = {(parameter.requires_grad, parameter.dtype) for parameter in model.parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}


@pytest.mark.parametrize(("architecture", "without"), [("mamba", "out_proj"), ("phimoe", "router"), ("falcon", "none")])
def test_an_adapter_gets_the_layers_that_can_have_one(architecture: str, without: str, tmp_path: Path) -> None:
    """Routers return a tuple, and Mamba's kernels read weights by themselves; Falcon has linear layers of its own."""
    make_model(architecture).save_pretrained(tmp_path)
    model = prepare_model(str(tmp_path), Adapter(LoraConfig(target_modules="all-linear"), torch.float32))
    adapted = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert adapted and not any(without in name for name in adapted)
    assert model(input_ids=torch.arange(8)[None]).logits.isfinite().all()


def test_layers_that_are_not_there_are_named(base: Path) -> None:
    adapter = Adapter(LoraConfig(target_modules=["foo", "bar"]), torch.float32)
    with pytest.raises(InputError, match=r"LORA_TARGETS do not suit GPTNeoXForCausalLM: .*foo"):
        prepare_model(str(base), adapter)


def test_a_model_in_4_bits_is_smaller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved, name = make_model("llama"), str(tmp_path)
    saved.save_pretrained(name)
    small = load_model(name, load_in_4bit=True)
    layers = [layer for layer in saved.modules() if isinstance(layer, torch.nn.Linear)][:-1]  # the last stays as it is
    less = 0.8 * sum(layer.weight.nbytes for layer in layers)
    assert small.get_memory_footprint() < saved.get_memory_footprint() - less
    monkeypatch.setattr("transformers.quantizers.quantizer_bnb_4bit.is_bitsandbytes_available", lambda: False)
    with pytest.raises(InputError, match="pip install -U bitsandbytes"):
        load_model(name, load_in_4bit=True)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"num_hidden_layers": 10**9}, "num_hidden_layers 1,000,000,000"),
        ({"model_type": ["gpt_neox"]}, "cannot read the model"),
        ({"model_type": "t5"}, r"\(t5\) is no causal language model"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "requires optimum"),
        ({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}, "set USE_LORA = True"),
    ],
    ids=str,
)
def test_what_cannot_be_fine_tuned_is_told_by_its_configuration(change: dict, told: str, tmp_path: Path) -> None:
    make_model("gpt_neox").config.save_pretrained(tmp_path)
    check_base(str(tmp_path))
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(InputError, match=told):
        check_base(str(tmp_path), use_lora=False)
        load_model(str(tmp_path))


def test_an_adapter_and_a_file_are_refused_before_any_work(base: Path, source: Path, refused) -> None:
    """With LoRA, too: evaluation would compare the model with another one than it was trained from."""
    folder = base.with_name("adapter")
    prepare_model(str(base), Adapter(LORA, torch.float32)).save_pretrained(folder)
    told = refused(TUNE, "--model", folder, "--use_lora")
    assert f"{str(folder)!r} is an adapter" in told and f"or set MODEL (--model) to its base, {str(base)!r}" in told
    told = refused(PROCESS, "--model", folder / "adapter_config.json", "--dataset", source)
    assert "must be a folder or a Hub id" in told


@pytest.mark.parametrize("change", ["missing", "shape", "none"])
def test_weights_that_are_not_those_of_the_model_are_told(change: str, base: Path, tmp_path: Path) -> None:
    shutil.copytree(base, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "model.safetensors"
    weights = load_file(file)
    name = next(name for name in weights if "dense" in name)
    weight = weights.pop(name)
    save_file(weights if change == "missing" else weights | {name: weight[:-1].clone()}, file, {"format": "pt"})
    if change == "none":
        file.unlink()
    with pytest.raises(InputError, match="cannot read the model"):
        load_model(str(tmp_path))


def test_code_that_comes_with_a_model_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even if somebody answers yes to what `transformers` asks: `yes | python fine_tune.py`."""
    make_model("gpt_neox").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    own = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model", "AutoTokenizer": ["own.Tokens", None]}
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "unknown", "auto_map": own}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "Tokens", "auto_map": own}))
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'was_run')!r}, 'w')\n")
    how = TokenizationArguments(str(tmp_path), "plain", None, 9)
    for load in (load_model, count_parameters, lambda _: load_tokenizer(how)):
        monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 20))
        with pytest.raises(InputError, match="cannot read the model"):
            load(str(tmp_path))
        assert not (tmp_path / "was_run").exists()
