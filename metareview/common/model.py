"""The model: on which device it runs, how it is loaded, and the adapter that may be trained in its place."""

import hashlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from warnings import catch_warnings

import torch
from huggingface_hub import try_to_load_from_cache
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from metareview.common.cli import InputError
from metareview.common.hub import reading

if TYPE_CHECKING:  # it is loaded where an adapter is: that takes a second or more
    from peft import LoraConfig, PeftModel

CONFIGS = ("config.json", "adapter_config.json")  # a finished model has one of them, put in its place last of all
MODELS_DIR = "models"  # where the runs get folders of their own
TRAINING_RECORD = "training_record.json"  # beside a finished model: its base, its data, its settings, its results

SAMPLES, SAMPLE_BYTES = 64, 4096  # of a file of weights, for its hash


def load_model(name: str, dtype: torch.dtype = torch.float32, load_in_4bit: bool = False) -> PreTrainedModel:
    """A causal language model from safetensors. Weights that are trained are fp32, whatever they are stored in.

    With `load_in_4bit` its linear layers but the last are kept in 4 bits (NF4, Dettmers et al. 2023) and compute in
    `dtype`. Raises `InputError` where the model cannot be read or bitsandbytes is not installed.
    """
    own = {"trust_remote_code": False, "use_safetensors": True}  # neither code nor pickles of the model's
    if load_in_4bit:
        check_4bit()
        kind = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True, "bnb_4bit_compute_dtype": dtype}
        own["quantization_config"] = BitsAndBytesConfig(load_in_4bit=True, **kind)
    disable_progress_bar()  # that of loading, which takes a moment
    with reading("model", name):
        model = AutoModelForCausalLM.from_pretrained(name, dtype=dtype, **own)
    for layer in model.modules():
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            # Else bitsandbytes packs a layer anew when it is first evaluated on a CPU: training cannot go on from
            # there, and widths that are no multiple of 64 fail.
            layer.support_avx512bf16_for_cpu = False
    return model


def check_4bit() -> None:
    """Raise `InputError` where the package that 4-bit weights need is not installed."""
    if find_spec("bitsandbytes") is None:
        raise InputError("4-bit weights (LOAD_IN_4BIT) need a package: pip install bitsandbytes")


def count_parameters(name: str) -> int:
    """Parameters of a model, from its configuration alone: one too large to load is counted too."""
    with reading("model", name), torch.device("meta"):
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
        return AutoModelForCausalLM.from_config(config, trust_remote_code=False).num_parameters()


def is_model(folder: Path) -> bool:
    """Whether a folder holds a finished model or adapter."""
    return any((folder / name).is_file() for name in CONFIGS)


def hash_weights(folder: Path) -> str | None:
    """A hash that tells the weights in a folder from others, read in a moment; None where no folder has weights.

    It is made of the files' sizes and of SAMPLES pieces of each: another training changes every one of them.
    """
    digest = hashlib.sha256()
    files = sorted(folder.glob("*.safetensors"))
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.name} {size} ".encode())
        with file.open("rb") as opened:
            for index in range(SAMPLES):
                opened.seek(index * size // SAMPLES)
                digest.update(opened.read(SAMPLE_BYTES))
    return digest.hexdigest()[:16] if files else None


def find_model_revision(name: str) -> str | None:
    """The commit of a model on the Hub that the cache holds, None for a folder."""
    cached = [] if Path(name).exists() else [try_to_load_from_cache(name, config) for config in CONFIGS]
    return next((Path(path).parent.name for path in cached if isinstance(path, str)), None)


@dataclass(frozen=True)
class Adapter:
    """An adapter to train (LoRA, Hu et al. 2021), and how the model beneath it, which is not trained, is kept."""

    lora: "LoraConfig"
    dtype: torch.dtype  # of the model beneath; the adapter is in fp32
    load_in_4bit: bool = False
    seed: int = 0  # what a new adapter's weights are drawn with


def prepare_model(base: str, adapter: Adapter | None, checkpoint: Path | None = None) -> "PreTrainedModel | PeftModel":
    """The model to train or to save, from a checkpoint or from the base; or the base with an adapter.

    A checkpoint is loaded here because the Trainer's own loading loses GPT-NeoX's output layer. Raises `InputError`
    where the model cannot be read, or has no layers of the names that the adapter wants.
    """
    if adapter is None:
        return load_model(str(checkpoint or base))
    from peft import PeftModel, get_peft_model

    model = load_model(base, adapter.dtype, adapter.load_in_4bit)
    with catch_warnings(action="ignore", category=FutureWarning):  # peft 0.21 asks for what transformers renamed
        if checkpoint:
            return PeftModel.from_pretrained(model, checkpoint, is_trainable=True)
        torch.manual_seed(adapter.seed)
        try:
            return get_peft_model(model, adapter.lora)
        except ValueError as error:
            targets = adapter.lora.target_modules
            named = targets if isinstance(targets, str) else ",".join(sorted(targets))
            raise InputError(f"--lora_targets {named!r} does not suit {type(model).__name__}: {error}") from error
