"""The model: whether it can be fine-tuned, how it is loaded, and the adapter that may be trained in its place."""

import hashlib
import json
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from warnings import catch_warnings

import torch
from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import RemoteEntryNotFoundError
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.quantizers import AutoHfQuantizer
from transformers.utils import find_adapter_config_file
from transformers.utils.logging import disable_progress_bar

from metareview.common.cli import InputError
from metareview.common.files import read_json
from metareview.common.hub import reading

if TYPE_CHECKING:  # it is loaded where an adapter is: that takes a second or more
    from peft import LoraConfig, PeftModel

CONFIGS = ("config.json", "adapter_config.json")  # a finished model has one of them, put in its place last of all
MODELS_DIR = "models"  # where the runs get folders of their own
TRAINING_RECORD = "training_record.json"  # beside a finished model: its base, its data, its settings, its results
RUN = "run.json"  # in an output folder: the settings of the run in it, and whether it is finished

_MOST = 10_000  # layers or experts: a configuration with more would be built for hours
_SAMPLES, _SAMPLE_BYTES = 64, 4096  # of a file of weights, for its hash


def find_adapter_base(name: str) -> str | None:
    """The base that an adapter, in a folder or on the Hub, was trained on; None for a complete model."""
    with reading("model", name):
        adapter = find_adapter_config_file(name)
        return json.loads(Path(adapter).read_text())["base_model_name_or_path"] if adapter else None


def check_base(name: str, use_lora: bool = True) -> None:
    """Raise `InputError` where a model, or with `use_lora` an adapter on it, cannot be trained, as its files say."""
    if Path(name).is_file():
        raise InputError(f"MODEL (--model) must be a folder or a Hub id with safetensors, but {name!r} is a file")
    if base := find_adapter_base(name):
        advice = f"merge it (python fine_tune.py --merge {name}), or set MODEL (--model) to its base, {base!r}"
        raise InputError(f"{name!r} is an adapter, which cannot be trained on: {advice}")
    with reading("model", name):
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
        for size in ("num_hidden_layers", "num_experts", "num_local_experts", "n_routed_experts"):
            number = getattr(config.get_text_config(), size, None)
            if isinstance(number, int) and not 0 <= number <= _MOST:
                raise ValueError(f"its config.json has {size} {number:,}")
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING or config.is_encoder_decoder:
        told = f"{name!r} ({config.model_type}) is no causal language model"
        raise InputError(f"{told}, which writes token after token; choose another MODEL (--model)")
    if quantization := getattr(config, "quantization_config", None):
        with reading("model", name):  # names a package that is missing
            AutoHfQuantizer.from_config(quantization, pre_quantized=True).validate_environment(device_map=None)
        if not use_lora:
            raise InputError(f"the weights of {name!r} are quantized and cannot be trained; set USE_LORA = True")


def load_model(name: str, dtype: torch.dtype = torch.float32, load_in_4bit: bool = False) -> PreTrainedModel:
    """A causal language model from safetensors. Weights that are trained are fp32, whatever they are stored in.

    With `load_in_4bit` its linear layers but the last are kept in 4 bits (NF4, Dettmers et al. 2023) and compute in
    `dtype`. Raises `InputError` where the model cannot be read, weights are missing or bitsandbytes is not installed.
    """
    own = {"trust_remote_code": False, "use_safetensors": True}  # neither code nor pickles of the model's
    if load_in_4bit:
        own["quantization_config"] = {
            "quant_method": "bitsandbytes",
            "load_in_4bit": True,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_use_double_quant": True,
            "bnb_4bit_compute_dtype": dtype,
        }
    disable_progress_bar()  # that of loading, which takes a moment
    with reading("model", name):
        model, loaded = AutoModelForCausalLM.from_pretrained(name, dtype=dtype, output_loading_info=True, **own)
        if missing := sorted(loaded["missing_keys"]):
            raise ValueError(f"its files lack {len(missing)} of its weights, such as {missing[0]}")
    for layer in model.modules():
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            # Else bitsandbytes packs a layer anew when it is first evaluated on a CPU: training cannot go on from
            # there, and widths that are no multiple of 64 fail.
            layer.support_avx512bf16_for_cpu = False
    return model


@torch.no_grad()
def check_causality(model: "PreTrainedModel | PeftModel") -> None:
    """Raise `InputError` where the logits of tokens change with the next one, which they are to predict."""
    if model.device.type == "meta":  # of a process that gets its weights from the first one
        return
    ids = torch.arange(8, device=model.device).repeat(2, 1)
    ids[1, -1] = 0
    was_training = model.training
    first, second = model.eval()(input_ids=ids).logits[:, :-1].float()
    model.train(was_training)
    # In fp32 about 1e-7 standard deviations of the logits, in bf16 up to 0.02, and about 1 if it sees the next token.
    if (first - second).std() / first.std() > max(1e-3, 32 * torch.finfo(model.dtype).eps):
        told = "sees the tokens that it is to predict, so it would learn nothing; choose a causal language model"
        raise InputError(f"{type(model).__name__} {told}: MODEL (--model)")


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

    It is made of the files' sizes and of _SAMPLES pieces of each: another training changes every one of them.
    """
    digest = hashlib.sha256()
    files = sorted(folder.glob("*.safetensors"))
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.name} {size} ".encode())
        with file.open("rb") as opened:
            for index in range(_SAMPLES):
                opened.seek(index * size // _SAMPLES)
                digest.update(opened.read(_SAMPLE_BYTES))
    return digest.hexdigest()[:16] if files else None


def read_training_record(name: str) -> dict[str, Any]:
    """The record that fine_tune.py saved with a model, in a folder or on the Hub; empty for one of another origin.

    That of a checkpoint is made from the record of its run. Raises `InputError` where that has not finished.
    """
    folder = Path(name)
    if not folder.is_dir():
        with reading("model", name), suppress(RemoteEntryNotFoundError):
            return read_json(Path(hf_hub_download(name, TRAINING_RECORD)))
        return {}
    if (folder / TRAINING_RECORD).is_file():
        return read_json(folder / TRAINING_RECORD)
    step = re.fullmatch(r"checkpoint-(\d+)", folder.name)
    run, record = folder.parent / RUN, folder.parent / TRAINING_RECORD
    if step and run.is_file() and not read_json(run).get("is_finished"):
        told = f"{name!r} is of a run that has not finished, so how the model reads is not recorded"
        raise InputError(f"{told}; finish it first: run the same python fine_tune.py again")
    return _describe_checkpoint(read_json(record), int(step[1])) if step and record.is_file() else {}


def _describe_checkpoint(record: dict[str, Any], step: int) -> dict[str, Any]:
    """The record of a run, with what is true of the weights of this step."""
    epoch = round(record["results"]["epochs"] * step / record["results"]["steps"], 4)
    results = {"saved_step": step, "saved_epoch": epoch, "eval_loss": None, "train_loss": None}
    return record | {
        "results": record["results"] | results,
        "settings": record["settings"] | {"checkpoint": step},
        "group": f"{record.get('group', 'model')}/checkpoint-{step}",
    }


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

    model, lora = load_model(base, adapter.dtype, adapter.load_in_4bit), adapter.lora
    with catch_warnings(action="ignore", category=FutureWarning):  # peft 0.21 asks for what transformers renamed
        if checkpoint:
            return PeftModel.from_pretrained(model, checkpoint, is_trainable=True)
        if lora.target_modules == "all-linear":
            lora.exclude_modules = _find_unsuited_layers(model)
        torch.manual_seed(adapter.seed)
        try:
            return get_peft_model(model, lora)
        except ValueError as error:
            raise InputError(f"LORA_TARGETS do not suit {type(model).__name__}: {error}") from error


def _find_unsuited_layers(model: PreTrainedModel) -> list[str]:
    """Linear layers that cannot have an adapter: those that return a tuple, and those whose weights a kernel reads."""
    unsuited = []
    for name, layer in model.named_modules():
        parent, _, own = name.rpartition(".")
        is_router = type(layer).__name__.endswith(("Router", "GroupedLinear"))
        is_read_by_kernel = own == "out_proj" and "Mixer" in type(model.get_submodule(parent)).__name__  # of Mamba
        if isinstance(layer, torch.nn.Linear) and (is_router or is_read_by_kernel):
            unsuited.append(name)
    return unsuited
