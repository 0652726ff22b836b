"""Fine-tune a causal language model to write meta-reviews: the second of three scripts.

    python fine_tune.py                                             # what the constants below say
    python fine_tune.py --num_train_epochs 3 --learning_rate 2e-5   # each constant is a flag, as are the Trainer's
    python fine_tune.py --model_name_or_path EleutherAI/pythia-410m --output_dir pythia-410m_finetuned
    python fine_tune.py --plan                                      # first: how long it takes, in how much memory
    python fine_tune.py --use_lora --learning_rate 2e-4             # an adapter only: for models that do not fit
    python fine_tune.py --restart                                   # begin again: deletes the checkpoints there
    HF_TOKEN=... python fine_tune.py --push_to_hub --hub_strategy checkpoint   # model and checkpoints to the Hub
    torchrun --nproc_per_node 2 fine_tune.py --per_device_train_batch_size 2   # on two GPUs; more ways: configs/

It reads what processing_meta_review.py wrote and writes `pythia_finetuned/`: model, tokenizer, loss curve, model card.
Interrupted, killed, switched off? The same command goes on from the last whole checkpoint.
Next: python evaluation.py
"""

import copy
import ctypes
import functools
import gc
import inspect
import json
import math
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain, pairwise
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from warnings import catch_warnings

import huggingface_hub
import numpy as np
import psutil
import torch
import transformers
from accelerate.utils import reduce
from datasets import Dataset, DatasetDict, disable_caching
from httpx2 import TransportError
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, ModelCard, ModelCardData
from matplotlib.figure import Figure
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import SafetensorError
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint as recompute_backward
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    PreTrainedModel,
    Trainer,
    TrainingArguments,
    set_seed,
)
from transformers import PreTrainedTokenizerBase as Tokenizer
from transformers.trainer_callback import PrinterCallback, TrainerCallback, TrainerState
from transformers.trainer_utils import EvalPrediction
from transformers.utils import ModelOutput

from processing_meta_review import (
    CARDS,
    IGNORE_INDEX,
    KEEP,
    PROCESSED_DIR,
    PROMPT_MARK,
    REVIEW_SEPARATOR,
    HubArguments,
    InputError,
    TokenizationArguments,
    explain_hub,
    format_table,
    load_source,
    load_tokenizer,
    open_repository,
    parse_flags,
    public_name,
    read_record,
    run,
    save_splits,
    tokenization_record,
    tokenize_splits,
)

MODEL = "EleutherAI/pythia-70m"  # Hub id or folder of any causal language model
EPOCHS = 1  # passes over the training examples
LEARNING_RATE = 1e-5  # at the start; it falls to zero in a straight line
BATCH_SIZE = 4  # examples per step and device
ACCUMULATION_STEPS = 1  # steps whose gradients are added up: BATCH_SIZE 1 and 4 of these train the same in less memory
EVALUATION_BATCH_SIZE = 8  # examples at a time on validation; changes memory and speed, not the loss
EVALUATIONS_PER_EPOCH = 4  # how often validation is evaluated and a checkpoint saved
VALIDATION_EXAMPLES = 300  # at most so many, always the same random ones: evaluating takes time from training
PADDED_TO = 64  # lengths are rounded up to a multiple of it: changes memory and speed, not the loss
CHECKPOINTS_KEPT = 2  # the newest ones, at least 2; the best one always stays
USE_LORA = False  # train a small adapter and leave the model as it is; LEARNING_RATE should be about 2e-4 then
LORA_R = 16  # rank of the adapter's matrices: how much it can learn
LORA_ALPHA = 32  # what the adapter adds counts LORA_ALPHA / LORA_R times
LORA_TARGETS = "all-linear"  # layers with an adapter: all but the output layer, or names with commas between them
GRADIENT_CHECKPOINTING = False  # keep fewer activations and compute them again: less memory, about a third slower
MAX_NEW_TOKENS = 256  # default length of a generated summary, saved with the model
OUTPUT_DIR = "pythia_finetuned"  # the fine-tuned model
SEED = 42  # order of the examples; on a CPU the same seed gives the same weights, bit for bit

SWITCH = {"nargs": "?", "const": True}  # a flag that may stand without a value: --bf16
TRAINING_RECORD = "training_record.json"  # in the output folder: base model, data, settings, results
RUN_SETTINGS = "run_settings.json"  # in a checkpoint: what the run is that it belongs to
CONFIGS = ("config.json", "adapter_config.json")  # a finished model has one of them, put in its place last of all
MANIFEST = "manifest.json"  # in a checkpoint, written last: its files and their sizes
UNREAD = "training_args.bin"  # in a checkpoint of the Trainer's: a pickle that nothing reads
# --plan: which steps it tries, as places between the least and the most work. The first one warms up, those after the
# fourth lie evenly, however many they are (multiples of the golden ratio).
PLAN_PLACES = (0, 0, 0.5, 1, *(number * 0.618034 % 1 for number in range(1, 57)))
PLAN_SECONDS = 30  # after so long --plan begins no further one, if it has the first three
TRAINED_BYTES, ADAPTED_BYTES = 16, 2  # of a parameter: fp32 with gradient and two moments; 16 bits and untrained
M_MMAP_THRESHOLD = -3  # from malloc.h
LARGE_BLOCK = 8 * 2**20  # bytes; a smaller threshold saves more memory and costs time
RETURN_SECONDS = 10  # between two times that the smaller blocks are returned; more often costs time
LARGEST_LOSS = 700  # nats; the exponential of more is infinite
LAST, BEST = "last-checkpoint", "best-checkpoint"  # folders on the Hub


@dataclass
class FineTuningArguments(TokenizationArguments, HubArguments, TrainingArguments):
    """The Trainer's arguments with this project's defaults, and where the data lie."""

    model_name_or_path: str = field(default=MODEL, metadata={"help": "Hub id or folder of the model to fine-tune"})
    dataset_name: str = field(default=PROCESSED_DIR, metadata={"help": "cleaned data set: a folder or a Hub id"})
    output_dir: str = field(default=OUTPUT_DIR, metadata={"help": "folder of the fine-tuned model"})
    restart: bool = field(default=False, metadata={"help": "delete the checkpoints in output_dir and begin again"})
    plan: bool = field(default=False, metadata={"help": "only measure how long a run takes and in how much memory"})
    use_lora: bool = field(default=USE_LORA, metadata={"help": "train an adapter, leave the model as it is"})
    lora_r: int = field(default=LORA_R, metadata={"help": "rank of the adapter's matrices"})
    lora_alpha: int = field(default=LORA_ALPHA, metadata={"help": "the adapter counts lora_alpha / lora_r times"})
    lora_targets: str = field(default=LORA_TARGETS, metadata={"help": "all-linear, or names of layers, with commas"})
    evaluations_per_epoch: int = field(default=EVALUATIONS_PER_EPOCH, metadata={"help": "unless --eval_steps is given"})
    validation_examples: int = field(default=VALIDATION_EXAMPLES, metadata={"help": "at most so many are evaluated"})
    max_new_tokens: int = field(default=MAX_NEW_TOKENS, metadata={"help": "default length of a generated summary"})
    num_train_epochs: float = field(default=EPOCHS, metadata={"help": "passes over the training examples"})
    learning_rate: float = field(default=LEARNING_RATE, metadata={"help": "at the start; falls linearly to zero"})
    per_device_train_batch_size: int = field(default=BATCH_SIZE, metadata={"help": "examples per step and device"})
    gradient_accumulation_steps: int = field(default=ACCUMULATION_STEPS, metadata={"help": "steps added up"})
    per_device_eval_batch_size: int = field(default=EVALUATION_BATCH_SIZE, metadata={"help": "on validation"})
    save_total_limit: int | None = field(
        default=CHECKPOINTS_KEPT, metadata={"help": "checkpoints kept, besides the best"}
    )
    activation_checkpointing: bool | None = field(
        default=GRADIENT_CHECKPOINTING or None,
        metadata={"help": "less memory, slower; also --gradient_checkpointing"} | SWITCH,
    )
    seed: int = field(default=SEED, metadata={"help": "order of the examples"})
    bf16: bool | None = field(default=None, metadata={"help": "default: where the hardware has it"} | SWITCH)
    fp16: bool | None = field(default=None, metadata={"help": "default: on a GPU that has no bf16"} | SWITCH)
    eval_strategy: str = field(default="steps", metadata={"help": "no, steps or epoch"})
    eval_steps: float | None = field(default=None, metadata={"help": "default: from --evaluations_per_epoch"})
    save_strategy: str | None = field(
        default=None, metadata={"help": "default: as --eval_strategy; the last step is saved with each"}
    )
    save_steps: float | None = field(default=None, metadata={"help": "default: as --eval_steps"})
    logging_steps: float | None = field(default=None, metadata={"help": "default: five times per evaluation"})
    eval_on_start: bool = field(default=True, metadata={"help": "evaluate before the first step"})
    metric_for_best_model: str | None = field(default="eval_loss", metadata={"help": "decides what is kept"})
    train_sampling_strategy: str = field(default="group_by_length", metadata={"help": "less padding than random"})
    logging_nan_inf_filter: bool = field(default=False, metadata={"help": "hide a loss that is not a number"})
    hub_strategy: str = field(default="end", metadata={"help": "end, or checkpoint: each checkpoint too"})
    hub_model_id: str | None = field(default=None, metadata={"help": "default: the base's name and _finetuned"})
    ddp_find_unused_parameters: bool | None = field(default=False, metadata={"help": "slower; there are none"})
    log_level_replica: str = field(default="error", metadata={"help": "of all processes but the first"})
    report_to: str = field(default="none", metadata={"help": "nothing is sent anywhere unless asked for"})

    def __post_init__(self) -> None:
        TokenizationArguments.__post_init__(self)
        for name in ("learning_rate", "num_train_epochs", "per_device_train_batch_size", "per_device_eval_batch_size",
                     "gradient_accumulation_steps", "evaluations_per_epoch", "validation_examples", "max_new_tokens",
                     "lora_r", "lora_alpha"):  # fmt: skip
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"--{name} must be greater than 0 and finite, got {getattr(self, name)}")
        if self.max_new_tokens > self.max_summary_tokens:
            raise ValueError(f"--max_new_tokens must be at most --max_summary_tokens ({self.max_summary_tokens})")
        if self.save_total_limit is not None and self.save_total_limit < 2:
            raise ValueError(
                "--save_total_limit must be at least 2: while one is written, the other is the one to go on from"
            )
        if self.metric_for_best_model != "eval_loss":
            raise ValueError(f"--metric_for_best_model must be eval_loss, got {self.metric_for_best_model}")
        if self.hub_strategy not in ("end", "checkpoint"):
            raise ValueError(f"--hub_strategy must be end or checkpoint, got {self.hub_strategy}")
        if self.hub_token:  # else it would lie in every checkpoint, which holds these arguments
            os.environ["HF_TOKEN"], self.hub_token = self.hub_token, None
        device, dtype = choose_device(self.use_cpu)
        self.use_cpu = device == "cpu"
        if self.bf16 is None and self.fp16 is None:
            self.bf16, self.fp16 = dtype == torch.bfloat16, dtype == torch.float16
        self.bf16, self.fp16 = bool(self.bf16), bool(self.fp16)
        # Below 1 they are shares of the whole run; 1 would mean every step.
        epochs = 1 if self.max_steps > 0 else self.num_train_epochs
        self.eval_steps = self.eval_steps or 1 / max(2, round(self.evaluations_per_epoch * epochs))
        self.save_steps = self.save_steps or self.eval_steps
        self.save_strategy = self.save_strategy or ("steps" if self.eval_strategy == "no" else self.eval_strategy)
        self.logging_steps = self.logging_steps or (
            self.eval_steps / 5 if self.eval_steps < 1 else max(1, int(self.eval_steps) // 5)
        )
        TrainingArguments.__post_init__(self)
        if self.plan and self.world_size > 1:
            raise ValueError("--plan measures one process: give it without a launcher")
        if self.train_sampling_strategy == "random" and self.world_size > 1:  # accelerate forgets the epoch
            raise ValueError("--train_sampling_strategy random is lost in several processes that go on; leave it out")
        self._n_gpu = min(self.n_gpu, 1)  # not DataParallel, which one process would use on several GPUs: it is slow


# The model: device, weights, adapter


def choose_device(use_cpu: bool = False) -> tuple[str, torch.dtype]:
    """The device and the fastest number format that its hardware really has: (cuda, mps or cpu, dtype)."""
    if torch.cuda.is_available() and not use_cpu:
        # Emulated bf16 (a T4 of Colab) is slower than fp32.
        return "cuda", torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if torch.backends.mps.is_available() and not use_cpu:
        return "mps", torch.float32
    cpu = torch.cpu.get_capabilities()
    return "cpu", torch.bfloat16 if cpu.get("amx_bf16") or cpu.get("avx512_bf16") else torch.float32


def load_model(name: str, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """A causal language model from safetensors. Weights that are trained are fp32, whatever they are stored in."""
    with explain_hub(f"cannot read the model {name!r}"):
        return AutoModelForCausalLM.from_pretrained(name, dtype=dtype, use_safetensors=True)


def is_model(folder: Path) -> bool:
    """Whether a folder holds a finished model or adapter."""
    return any((folder / name).is_file() for name in CONFIGS)


def find_revision(name: str) -> str | None:
    """The commit of a model on the Hub that the cache holds, None for a folder."""
    if Path(name).exists():
        return None
    files = (huggingface_hub.try_to_load_from_cache(name, file) for file in CONFIGS)
    return next((Path(file).parent.name for file in files if isinstance(file, str)), None)


def prepare_model(arguments: FineTuningArguments, checkpoint: str | Path | None = None) -> PreTrainedModel | PeftModel:
    """The model to train or to save, from a checkpoint or from the base; with LoRA, the base with an adapter.

    A checkpoint is loaded here because the Trainer's own loading loses GPT-NeoX's output layer. What LoRA (Hu et al.
    2021) does not train need not be fp32.
    """
    if not arguments.use_lora:
        return load_model(str(checkpoint or arguments.model_name_or_path))
    dtype = torch.bfloat16 if arguments.bf16 else torch.float16 if arguments.fp16 else torch.float32
    model = load_model(arguments.model_name_or_path, dtype)
    targets = arguments.lora_targets
    adapter = LoraConfig(
        r=arguments.lora_r,
        lora_alpha=arguments.lora_alpha,
        target_modules=targets if targets == "all-linear" else targets.split(","),
        task_type="CAUSAL_LM",
    )
    with catch_warnings(action="ignore", category=FutureWarning):  # peft 0.21 asks for what transformers renamed
        if checkpoint:
            return PeftModel.from_pretrained(model, checkpoint, is_trainable=True)
        try:
            return get_peft_model(model, adapter)
        except ValueError as error:
            raise InputError(f"--lora_targets {targets!r} does not suit {type(model).__name__}: {error}") from error


# Checkpoints: which are whole, whose they are, where a run goes on


def check_output_folder(folder: Path) -> None:
    """Raise `InputError` where the folder holds something else than a run of this script, or cannot be written to."""
    names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    others = {name for name in names if not re.fullmatch(rf"checkpoint-\d+|\.new|\.cache|runs|{LAST}|{BEST}", name)}
    # `.new` and a checkpoint of ours: a run that was killed while it put its result in its place.
    ours = {TRAINING_RECORD, ".new"} & names or any(folder.glob(f"checkpoint-*/{RUN_SETTINGS}"))
    if folder.is_file() or (others and not ours):
        raise InputError(f"{str(folder)!r} exists and holds something else; nothing was written. Choose another folder")
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not os.access(there, os.W_OK):
        raise InputError(f"{str(there)!r} is read-only; choose another --output_dir")


def write_manifest(checkpoint: Path) -> None:
    """Note the size of each file of a checkpoint, when all of them are on the disk: only then is it whole."""
    files = [file for file in sorted(checkpoint.rglob("*")) if file.is_file() and file.name not in (MANIFEST, UNREAD)]
    for file in files:
        with file.open("rb+") as opened:
            os.fsync(opened.fileno())
    sizes = {file.relative_to(checkpoint).as_posix(): file.stat().st_size for file in files}
    new = checkpoint / f".{MANIFEST}"
    new.write_text(json.dumps(sizes, indent=2) + "\n")
    new.replace(checkpoint / MANIFEST)


def find_fault(checkpoint: Path) -> str | None:
    """Why a checkpoint is not whole, None if it is."""
    if not (checkpoint / MANIFEST).is_file():
        return f"its saving was not finished (no {MANIFEST})"
    try:
        sizes = json.loads((checkpoint / MANIFEST).read_text())
    except ValueError:
        return f"its {MANIFEST} is damaged"
    for name, size in sizes.items():
        if not (checkpoint / name).is_file():
            return f"{name} is missing"
        if (there := (checkpoint / name).stat().st_size) != size:
            return f"{name} has {there:,} bytes instead of {size:,}"
    return None


def checkpoint_folder(arguments: TrainingArguments, state: TrainerState) -> Path:
    """Where the Trainer saves a checkpoint of the step that it is at."""
    return Path(arguments.output_dir, f"checkpoint-{state.global_step}")


def list_checkpoints(folder: Path) -> dict[int, Path]:
    """The checkpoints in a folder, whole or not, by their steps: the newest first."""
    found = {int(path.name.partition("-")[2]): path for path in folder.glob("checkpoint-*") if path.name[11:].isdigit()}
    return dict(sorted(found.items(), reverse=True))


def find_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that is whole; says which ones were passed over and why."""
    for checkpoint in list_checkpoints(folder).values():
        if (fault := find_fault(checkpoint)) is None:
            return checkpoint
        print(f"Passed over {checkpoint}: {fault}.")
    return None


def load_state(checkpoint: Path | None) -> TrainerState:
    """What the Trainer knew when it saved a checkpoint: steps, losses, the best; without one, a new state."""
    return TrainerState.load_from_json(str(checkpoint / "trainer_state.json")) if checkpoint else TrainerState()


def delete_checkpoints(folder: Path, start: Path | None) -> None:
    """Delete the checkpoints of steps after `start`, so that they are not taken for the new ones; all, without it."""
    step = load_state(start).global_step
    later = [path for number, path in list_checkpoints(folder).items() if number > step]
    for checkpoint in later if start else (*later, folder / LAST, folder / BEST):
        if checkpoint.exists():
            shutil.rmtree(checkpoint)


def fetch_checkpoints(repo_id: str, folder: Path) -> Path | None:
    """Bring the last and the best checkpoint from the Hub into `folder`; where the last one lies, None if none is."""
    with explain_hub(f"cannot fetch the checkpoints of {repo_id}", OSError):
        if f"{LAST}/{RUN_SETTINGS}" not in huggingface_hub.list_repo_files(repo_id):
            return None
        huggingface_hub.snapshot_download(repo_id, allow_patterns=[f"{LAST}/*", f"{BEST}/*"], local_dir=folder)
    return folder / LAST


def find_best(state: TrainerState, folder: Path) -> Path | None:
    """The checkpoint with the lowest validation loss: one of this machine, or the one fetched from the Hub."""
    for checkpoint in (folder / f"checkpoint-{state.best_global_step}", folder / BEST):
        is_there = (checkpoint / "trainer_state.json").is_file()
        if is_there and load_state(checkpoint).global_step == state.best_global_step:
            return checkpoint
    return None


def run_settings(arguments: FineTuningArguments, record: dict[str, Any]) -> dict[str, Any]:
    """What decides the course of a run: a checkpoint of another one must not be continued."""
    names = ["learning_rate", "lr_scheduler_type", "warmup_steps", "optim", "weight_decay", "max_grad_norm", "seed",
             "validation_examples", "train_sampling_strategy", "use_lora"]  # fmt: skip
    names += ["lora_r", "lora_alpha", "lora_targets"] if arguments.use_lora else []
    settings = {name: getattr(arguments, name) for name in names}
    settings["base_model"] = Path(arguments.model_name_or_path).name  # the rest of a path may change with the machine
    settings["examples_per_step"] = step_size(arguments)
    return settings | {name: record[name] for name in ("texts", "tokenizer", "prompt_template", "max_length",
                                                       "max_summary_tokens")}  # fmt: skip


def step_size(arguments: FineTuningArguments) -> int:
    """Examples in a step of the optimizer, over all processes."""
    return arguments.train_batch_size * arguments.gradient_accumulation_steps * arguments.world_size


def count_steps(arguments: FineTuningArguments, examples: int) -> int:
    """Steps of the whole run, as the Trainer counts them."""
    per_epoch = math.ceil(examples / step_size(arguments))
    return arguments.max_steps if arguments.max_steps > 0 else math.ceil(arguments.num_train_epochs * per_epoch)


def check_settings(before: dict[str, Any], settings: dict[str, Any], what: str) -> None:
    """Raise `InputError` where a checkpoint or a finished model is one of another run."""
    if differences := [name for name in settings if before.get(name) != settings[name]]:
        raise InputError(f"{what} is of a run that differs in {', '.join(differences)}; give them again, "
                         "or begin anew with --restart, or in another --output_dir or --hub_model_id")  # fmt: skip


def is_finished(arguments: FineTuningArguments, settings: dict[str, Any], steps: int, checkpoint_step: int) -> bool:
    """Whether the output folder holds the finished model of this run, of so many steps or more.

    `checkpoint_step` is that of the newest checkpoint, 0 where there is none. Raises `InputError` where the model is of
    another run, or where more steps are asked for and no checkpoint is left.
    """
    folder = Path(arguments.output_dir)
    asked_otherwise = arguments.restart or arguments.resume_from_checkpoint
    if asked_otherwise or not (folder / TRAINING_RECORD).is_file() or not is_model(folder):
        return False
    record = json.loads((folder / TRAINING_RECORD).read_text())
    done = record["results"]["steps"]
    if 0 < checkpoint_step < done:
        return False  # a run that began anew and was interrupted
    check_settings(record["settings"], settings, f"the finished model in {str(folder)!r}")
    if not checkpoint_step and done < steps:
        raise InputError(f"{str(folder)!r} holds a finished model of {done} steps and no checkpoint to go on from; "
                         "begin anew with --restart, or in another --output_dir")  # fmt: skip
    return done >= steps


def find_start(arguments: FineTuningArguments, settings: dict[str, Any], repo_id: str | None) -> Path | None:
    """The checkpoint to go on from: the one that a flag names, or the newest whole one here or in `repo_id` on the Hub.

    None where there is none, or with --restart. Raises `InputError` for one that is not whole or is of another run.
    """
    folder = Path(arguments.output_dir)
    if arguments.resume_from_checkpoint:
        checkpoint = Path(arguments.resume_from_checkpoint)
    elif arguments.restart:
        return None
    else:
        checkpoint = find_checkpoint(folder) or (repo_id and fetch_checkpoints(repo_id, folder))
    if not checkpoint:
        return None
    if fault := find_fault(checkpoint):
        raise InputError(f"the checkpoint {str(checkpoint)!r} is not whole: {fault}")
    check_settings(json.loads((checkpoint / RUN_SETTINGS).read_text()), settings, repr(str(checkpoint)))
    return checkpoint


def describe_start(state: TrainerState, checkpoint: Path, steps: int) -> str:
    """Where a run goes on, and what another length than before does to its learning rate. Raises `InputError`."""
    if state.global_step > steps:
        raise InputError(f"{str(checkpoint)!r} is of step {state.global_step}, beyond the {steps} steps asked for; "
                         "give more --num_train_epochs, or another --output_dir")  # fmt: skip
    text = f"Going on from step {state.global_step} of {steps}: {checkpoint}"
    if state.max_steps != steps:
        text += (f"\nIt was planned for {state.max_steps} steps. From here on the learning rate is that of {steps} "
                 "steps: not the same run as one of that length from its beginning.")  # fmt: skip
    return text


# Examples, and the loss of their summaries


def load_examples(
    arguments: FineTuningArguments, tokenizer: Tokenizer, limit: int
) -> tuple[DatasetDict, dict[str, Any]]:
    """Tokenized splits that fit the model, and the record of what they were made with.

    The tokenized folder is used when its record says that it was made from these texts with this tokenizer, prompt and
    context; otherwise the texts are tokenized again. Raises `InputError` where there is neither.
    """
    name, saved, texts = arguments.dataset_name, read_record(arguments.tokenized_dir), DatasetDict()
    shared = str(Path(arguments.output_dir, ".new", "tokenized"))  # from the first process to the others, for a while
    if Path(name).exists() or "/" in name:
        texts = load_source(name)
        for split in ("train", "validation"):
            if not {"review", "summary"} <= set(texts.column_names.get(split, [])) or not len(texts[split]):
                raise InputError(f"{name!r} has no split {split!r} with rows and the columns review and summary. "
                                 f"First: python processing_meta_review.py --dataset_name {name}")  # fmt: skip
    record = tokenization_record(texts, tokenizer, arguments) | ({} if texts else {"texts": saved.get("texts")})
    differences = ", ".join(key for key, value in record.items() if saved.get(key) != value)
    if saved and not differences:
        return load_source(arguments.tokenized_dir), saved
    if not texts:
        unfit = f", and {arguments.tokenized_dir!r} does not fit: it differs in {differences}" if saved else ""
        raise InputError(f"there is no {name!r} here{unfit}. First: python processing_meta_review.py")
    if arguments.process_index > 0:
        return load_source(shared), read_record(shared)
    why = f"{arguments.tokenized_dir} differs in {differences}" if saved else f"there is no {arguments.tokenized_dir}"
    print(f"Tokenizing {name} again: {why}.")
    cleaning = {"dataset_name": name, "keep": KEEP, "review_separator": REVIEW_SEPARATOR} | read_record(name)
    tokenized, lengths = tokenize_splits(texts, tokenizer, limit, arguments)
    print(format_table(lengths))
    if arguments.world_size > 1:
        save_splits(tokenized, cleaning | record, shared)
    return tokenized, cleaning | record


def sum_of_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The losses of an example's summary tokens, added up: `logits` (length, vocabulary), `labels` (length,)."""
    learned = labels[1:] != IGNORE_INDEX
    return cross_entropy(logits[:-1][learned].float(), labels[1:][learned], reduction="sum")


def summary_loss(
    logits: torch.Tensor, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None, **_: Any
) -> torch.Tensor:
    """The mean loss of the summary tokens, or their sum divided by `num_items_in_batch`: what the stock loss is.

    Only the bf16 logits are kept for the backward pass; what it needs in fp32 it computes again, for one example at a
    time. For all at once that would be the most memory that training needs. Without gradients, in evaluation, it is the
    sum of each example, shape (batch,).
    """
    pairs = zip(logits.unbind(), labels.unbind(), strict=True)
    if not torch.is_grad_enabled():
        return torch.stack([sum_of_losses(*pair) for pair in pairs])
    total = torch.stack([recompute_backward(sum_of_losses, *pair, use_reentrant=False) for pair in pairs]).sum()
    return total / ((labels[:, 1:] != IGNORE_INDEX).sum() if num_items_in_batch is None else num_items_in_batch)


@dataclass
class SummaryCollator:
    """Pads examples on the right and asks for logits only from the first label on.

    The prompt has no labels, and the output layer over its tokens would cost a small model most of its time and memory.
    A causal model does not see what comes after a token: so padding on the right needs no attention mask, and attention
    without a mask is faster. Examples of about one length have their summaries in about the same columns.
    Lengths are rounded up to `multiple`: for each new shape a CPU's kernels are built anew, and all of them are kept.
    `input_ids` has the shape (batch, length); `labels`, (batch, logits_to_keep), has only the last columns: those from
    the one before the first label, which predicts it.
    """

    pad_token_id: int
    keeps_logits: bool  # whether the model takes logits_to_keep; if not, it computes all logits
    context: int = sys.maxsize  # tokens that the model can read
    multiple: int = PADDED_TO

    def __call__(self, examples: list[dict[str, list[int]]]) -> dict[str, Any]:
        longest = max(len(example["input_ids"]) for example in examples)
        length = max(longest, min(self.round_up(longest), self.context))

        def pad(name: str, padding: int) -> torch.Tensor:
            return torch.tensor([[*example[name], *[padding] * (length - len(example[name]))] for example in examples])

        batch = {"input_ids": pad("input_ids", self.pad_token_id), "labels": pad("labels", IGNORE_INDEX)}
        if self.keeps_logits:
            first = int((batch["labels"][:, 1:] != IGNORE_INDEX).any(0).nonzero()[0])
            batch["logits_to_keep"] = min(length, self.round_up(length - first))
            batch["labels"] = batch["labels"][:, -batch["logits_to_keep"] :]
        return batch

    def round_up(self, number: int) -> int:
        """The next multiple."""
        return math.ceil(number / self.multiple) * self.multiple


class LengthGroupedOrder(torch.utils.data.Sampler[int]):
    """A random order in which the examples of a step have about the same length, so that little is padded.

    It follows from the seed and the epoch alone, so that a run that goes on from a checkpoint sees the same order (the
    Trainer's own grouping draws from the global random state). `step_size` counts examples over all processes.
    """

    def __init__(self, lengths: list[int], step_size: int, seed: int) -> None:
        self.lengths, self.step_size, self.seed, self.epoch = torch.tensor(lengths), step_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        return chain.from_iterable(self.steps())

    def steps(self) -> list[list[int]]:
        """The rows of each step of the epoch; those of the last one may be fewer."""
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        chunks = torch.randperm(len(self), generator=generator).split(50 * self.step_size)
        chunks = [chunk[self.lengths[chunk].argsort(stable=True)] for chunk in chunks]
        *steps, last = [step.tolist() for chunk in chunks for step in chunk.split(self.step_size)]
        return [*(steps[index] for index in torch.randperm(len(steps), generator=generator)), last]


# Training: the Trainer, what happens after a step, the Hub


class SummaryTrainer(Trainer):
    """The Trainer, with steps of about one length and an `eval_loss` that is the mean over tokens, not batches.

    Several processes take the steps that one would take: the same examples, each once. A checkpoint tells what run it
    is of and whether it is whole. A loss or gradient that is no number stops the run.
    """

    settings: dict[str, Any] = {}  # noqa: RUF012  # what goes into RUN_SETTINGS
    order: LengthGroupedOrder | None = None
    saved_step: int | None = None

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> torch.utils.data.Sampler[int] | None:
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        self.order = LengthGroupedOrder(self.train_dataset["length"][:], step_size(self.args), self.args.seed)
        return self.order

    def _run_epoch(self, **progress: Any) -> None:
        if self.order:  # accelerate tells none of several processes that go on from a checkpoint inside an epoch
            self.order.set_epoch(progress["epoch"])
        super()._run_epoch(**progress)

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Any]], device: torch.device) -> Any:
        """The tokens to learn in a step, those of all processes.

        At the end of an epoch accelerate fills up the batches with first examples again, so that each process has one
        of the same size. Those lose their labels here: they must not count twice.
        """
        batch_size = self.args.train_batch_size
        missing = -len(self.train_dataset) % (batch_size * self.args.world_size)
        if missing and self.accelerator.gradient_state.end_of_dataloader and not self.args.dataloader_drop_last:
            own = batch_size * (self.args.world_size - self.args.process_index) - missing  # the last process's go first
            batch_samples[-1]["labels"][max(0, own) :] = IGNORE_INDEX
        return super()._get_num_items_in_batch(batch_samples, device)

    def training_step(self, *args: Any, **more: Any) -> torch.Tensor:
        self.last_loss = super().training_step(*args, **more)
        return self.last_loss

    def _get_grad_norm(self, *args: Any, **more: Any) -> float:
        norm = super()._get_grad_norm(*args, **more)
        # With fp16 a gradient may overflow: its step is left out and the next ones are scaled down.
        if not math.isfinite(norm) and (self.accelerator.scaler is None or not torch.isfinite(self.last_loss)):
            precision = "fp16" if self.args.fp16 else "bf16"
            raise FloatingPointError(
                f"step {self.state.global_step + 1}: the loss is {self.last_loss.item():.4g}, the norm of the gradient "
                f"{norm:.4g}. Its examples: rows {self.find_rows()} of the tokenized train split. Look at them, or try "
                f"a smaller --learning_rate, --warmup_steps 100, or --{precision} False."
            )
        return norm

    def find_rows(self) -> str:
        """The rows of the training split that the step under way has learned from."""
        if self.order is None:
            return "(unknown)"
        steps = self.order.steps()
        return ", ".join(map(str, steps[self.state.global_step % len(steps)]))

    def _save_checkpoint(self, *args: Any, **more: Any) -> None:
        folder = checkpoint_folder(self.args, self.state)
        self.saved_step = self.state.global_step
        try:
            if self.args.should_save:
                (folder / MANIFEST).unlink(missing_ok=True)  # where a step is saved again
            super()._save_checkpoint(*args, **more)
            self.accelerator.wait_for_everyone()  # each process writes a file of its own
            if self.args.should_save:
                (folder / RUN_SETTINGS).write_text(json.dumps(self.settings, indent=2) + "\n")
                write_manifest(folder)
        except (OSError, RuntimeError, SafetensorError) as error:  # RuntimeError: torch, on a full disk
            reason, free = str(error).splitlines()[0], say_bytes(shutil.disk_usage(folder.parent).free)
            before = [path.name for path in list_checkpoints(folder.parent).values() if find_fault(path) is None]
            then = f"goes on from {before[0]}" if before else "begins anew: no checkpoint is whole"
            raise OSError(f"{folder} was not saved: {reason} ({free} of disk free). When there is room, the same "
                          f"command {then}") from error  # fmt: skip

    def _get_eval_sampler(self, eval_dataset: Dataset) -> torch.utils.data.Sampler[int]:
        return torch.utils.data.SequentialSampler(eval_dataset)  # sorted by length; the stock one mixes small sets

    def prediction_step(
        self, model: torch.nn.Module, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[None, torch.Tensor, torch.Tensor]:
        """Per example: the sum of its tokens' losses (as "logits") and their number (as "labels"), shape (batch,)."""
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            sums = model(**inputs).loss
        return None, sums, (inputs["labels"][:, 1:] != IGNORE_INDEX).sum(1)


class Stop(TrainerCallback):
    """On SIGTERM or Ctrl-C: saves after the step that is under way and ends the training. The second: at once."""

    def __init__(self) -> None:
        self.asked, self.stopped, self.handlers = False, False, {}

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: Any, **_: Any) -> None:
        state.compute_steps(args, state.max_steps)  # a checkpoint brings along how often its run logged and saved
        self.handlers = {number: signal.signal(number, self.ask) for number in (signal.SIGTERM, signal.SIGINT)}

    def ask(self, *_: Any) -> None:
        print("\nStopping after this step, with a checkpoint. Once more: at once.", flush=True)
        self.asked = True
        self.on_train_end()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: Any, **_: Any) -> None:
        asked = reduce(torch.tensor(float(self.asked), device=args.device), "sum")  # all processes stop, or none
        if asked > 0 and state.global_step < state.max_steps:
            self.stopped = control.should_log = control.should_save = control.should_training_stop = True

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: Any, **_: Any) -> None:
        if self.stopped and state.epoch % 1:  # it has not ended: no evaluation that the unbroken run does not have
            control.should_evaluate = control.should_save = False

    def on_train_end(self, *_: Any, **__: Any) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)


class CheckpointPusher(TrainerCallback):
    """Puts each checkpoint and the best one on the Hub.

    Both go in one commit, and training waits for it: the Trainer's own pushing leaves checkpoints out while one is on
    its way, never pushes the best one and swallows errors. A push that fails is told; the next checkpoint comes soon.
    """

    def __init__(self, repo_id: str) -> None:
        self.repo_id, self.pushed_step = repo_id, None

    def on_save(self, args: TrainingArguments, state: TrainerState, control: Any, **_: Any) -> None:
        if not state.is_world_process_zero:
            return
        last = checkpoint_folder(args, state)
        folders = {LAST: last, BEST: find_best(state, Path(args.output_dir)) or last}
        files = {f"{name}/{file.name}": file for name, folder in folders.items() for file in folder.iterdir()}
        try:
            with explain_hub(f"the checkpoint of step {state.global_step} was not pushed", OSError):
                there = huggingface_hub.list_repo_files(self.repo_id)
                stale = [path for path in there if path.startswith((f"{LAST}/", f"{BEST}/")) and path not in files]
                operations = [CommitOperationAdd(path, files[path]) for path in files if not path.endswith(UNREAD)]
                operations += [CommitOperationDelete(path) for path in stale]
                message = f"Checkpoint of step {state.global_step}"
                huggingface_hub.create_commit(self.repo_id, operations, commit_message=message)
            self.pushed_step = state.global_step
        except OSError as error:
            print(error)


def mean_over_tokens(sums_and_counts: EvalPrediction) -> dict[str, float]:
    """The mean loss of a token over all examples, in nats."""
    return {"loss": float(sums_and_counts.predictions.sum() / sums_and_counts.label_ids.sum())}


def without_logits(forward: Callable[..., ModelOutput]) -> Callable[..., ModelOutput]:
    """A model's forward that returns its loss alone where it has labels.

    The logits have done their work then, and `accelerate`, which runs forward in autocast, would copy them to fp32.
    """

    @functools.wraps(forward)
    def loss_alone(*args: Any, **inputs: Any) -> ModelOutput:
        output = forward(*args, **inputs)
        return output if inputs.get("labels") is None else type(output)(loss=output.loss)

    return loss_alone


def call_glibc(function: str, *numbers: int) -> None:
    """Call a function that sets up or tidies the heap, where glibc is the C library (Linux)."""
    with suppress(AttributeError, OSError, TypeError):
        getattr(ctypes.CDLL(None), function)(*numbers)


class MemoryReturner(TrainerCallback):
    """Has glibc return freed memory to the system: large blocks at once, others now and then and before an evaluation.

    By itself it soon keeps all blocks below 32 MB in a heap full of gaps, which grows with every new shape of a batch.
    """

    def __init__(self) -> None:
        call_glibc("mallopt", M_MMAP_THRESHOLD, LARGE_BLOCK)
        self.returned = time.monotonic()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: Any, **_: Any) -> None:
        if control.should_evaluate or time.monotonic() - self.returned > RETURN_SECONDS:
            call_glibc("malloc_trim", 0)
            self.returned = time.monotonic()

    on_epoch_end = on_step_end  # with --eval_strategy epoch


def build_trainer(
    model: PreTrainedModel | PeftModel,
    arguments: FineTuningArguments,
    tokenizer: Tokenizer,
    examples: DatasetDict,
    callbacks: list[TrainerCallback],
) -> SummaryTrainer:
    """The Trainer for tokenized splits, with at most `arguments.validation_examples` of validation."""
    plain = model.get_base_model() if isinstance(model, PeftModel) else model
    context = getattr(plain.config, "max_position_embeddings", None) or sys.maxsize
    keeps_logits = "logits_to_keep" in inspect.signature(plain.forward).parameters
    if not keeps_logits:
        print(f"{type(plain).__name__} takes no logits_to_keep: so logits are computed for the reviews too (slow).")
    plain.loss_function, model.forward = summary_loss, without_logits(model.forward)
    validation = examples["validation"].shuffle(SEED)  # not the run's seed: so that runs can be compared
    validation = validation.take(min(len(validation), arguments.validation_examples))
    longest_first = torch.tensor(validation["length"][:]).argsort(descending=True, stable=True)
    try:
        return SummaryTrainer(
            model=model,
            args=arguments,
            data_collator=SummaryCollator(tokenizer.pad_token_id, keeps_logits, context),
            train_dataset=examples["train"],
            eval_dataset=validation.select(longest_first.tolist()),
            processing_class=tokenizer,
            compute_metrics=mean_over_tokens,
            callbacks=[*callbacks, MemoryReturner()],
        )
    except (ImportError, RuntimeError, ValueError) as error:
        if not arguments.report_to or is_out_of_memory(error):
            raise
        reason = " ".join(str(error).split())
        raise InputError(f"cannot report to {', '.join(arguments.report_to)} (--report_to): {reason}") from error


def check_fsdp(trainer: SummaryTrainer) -> None:
    """Raise `InputError` where FSDP was asked for and is not there, or would save no whole model."""
    asked = trainer.args.fsdp or os.environ.get("ACCELERATE_USE_FSDP") == "true"
    if asked and not trainer.is_fsdp_enabled:
        raise InputError("FSDP needs GPUs: accelerate would use DDP here, without a word. Choose configs/ddp.yaml")
    if asked and "FULL" not in str(trainer.accelerator.state.fsdp_plugin.state_dict_type):
        raise InputError("fsdp_state_dict_type must be FULL_STATE_DICT, as in configs/fsdp2.yaml: a checkpoint is "
                         "then a model as any other")  # fmt: skip


def train(
    arguments: FineTuningArguments,
    tokenizer: Tokenizer,
    examples: DatasetDict,
    settings: dict[str, Any],
    start: Path | None,
    callbacks: list[TrainerCallback],
) -> tuple[TrainerState, float]:
    """Train from a checkpoint, or from the base, to a last checkpoint: the state then, and examples per second.

    Deletes the checkpoints of later steps. Raises `InputError` for FSDP that cannot be, `OSError` where memory is too
    small, saying what to give.
    """
    set_seed(arguments.seed)
    arguments.eval_on_start &= start is None
    model, trainer = prepare_model(arguments, start), None
    try:
        trainer = build_trainer(model, arguments, tokenizer, examples, callbacks)
        trainer.settings = settings
        check_fsdp(trainer)
        if arguments.should_save:
            delete_checkpoints(Path(arguments.output_dir), start)
        output = trainer.train(start and str(start))
    except BaseException as error:
        if trainer:
            with suppress(AttributeError):  # closes the progress bar, if there is one: what is said now comes last
                trainer.callback_handler.on_train_end(arguments, trainer.state, trainer.control)
        if not is_out_of_memory(error):
            raise
        step = trainer.state.global_step + 1 if trainer else 1
        raise OSError(f"out of memory at step {step}; {advise_memory(arguments)}") from error
    if trainer.saved_step != trainer.state.global_step:  # as with --save_strategy no or best
        trainer._save_checkpoint(trainer.model, None)
        trainer.callback_handler.on_save(arguments, trainer.state, trainer.control)
    return trainer.state, output.metrics["train_samples_per_second"]


# The result: losses, curve, card, files


def summarize(state: TrainerState, saved_step: int) -> dict[str, float | None]:
    """Epochs, steps, losses; `eval_loss` is that of `saved_step`, None where it was not evaluated.

    `train_loss` is the mean over all logged steps, those before an interruption too.
    """
    losses = {entry["step"]: entry["eval_loss"] for entry in state.log_history if "eval_loss" in entry}
    logged = [(0, 0.0)] + [(entry["step"], entry["loss"]) for entry in state.log_history if "loss" in entry]
    weighted = sum((step - before) * loss for (before, _), (step, loss) in pairwise(logged))
    return {
        "epochs": state.epoch,
        "steps": state.global_step,
        "train_loss": weighted / logged[-1][0] if logged[-1][0] else None,
        "eval_loss_before": losses.get(0),
        "eval_loss": losses.get(saved_step),
    }


def describe_loss(loss: float | None) -> str:
    """A loss in words, with the perplexity."""
    perplexity = math.inf if loss is None or loss > LARGEST_LOSS else math.exp(loss)
    return "not evaluated" if loss is None else f"{loss:.4f} (perplexity {perplexity:.2f})"


def describe_results(results: dict[str, float | None], speed: float | None) -> str:
    """What a run came to: its length, its `speed` in examples per second, its losses."""
    fast = f", {speed:.2f} examples/s with evaluation, at most {say_bytes(peak_memory())} of memory" if speed else ""
    before, after = describe_loss(results["eval_loss_before"]), describe_loss(results["eval_loss"])
    losses = f"Training loss {describe_loss(results['train_loss'])}; validation loss {before} before, {after} after"
    return f"{results['epochs']:g} epochs, {results['steps']} steps{fast}\n{losses}"


def draw_loss_curve(history: list[dict[str, float]], path: Path) -> None:
    """Draw training and validation loss against the epoch, from the Trainer's `log_history`."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for key, label, style in (("loss", "training", "-"), ("eval_loss", "validation", "o-")):
        points = [(entry["epoch"], entry[key]) for entry in history if key in entry]
        if points:
            axes.plot(*zip(*points, strict=True), style, label=label, markersize=4)
    axes.set(xlabel="epoch", ylabel="loss (nats per summary token)", title="Loss while fine-tuning")
    low, high = axes.dataLim.intervaly
    if high > 10 * low > 0:  # else the first values would press all others to the ground
        axes.set_yscale("log")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)


def base_license(name: str) -> str | None:
    """The license that the card of the base names, None where that is not known."""
    with suppress(OSError, ValueError, TransportError):
        return ModelCard.load(Path(name, "README.md") if Path(name).exists() else name).data.license
    return None


def model_card(arguments: FineTuningArguments, record: dict[str, Any], tokenizer: Tokenizer, name: str) -> ModelCard:
    """README.md of a saved model: how to use it, what it was made with. `name` is its Hub id or its folder."""
    base, data, results = arguments.model_name_or_path, record["dataset_name"], record["results"]
    loss, message = results["eval_loss"], "first review\n\nsecond review"
    if not tokenizer.chat_template.startswith(PROMPT_MARK):  # it is the base's, and does not bring the prompt along
        message = arguments.prompt_template.replace("{review}", message)
    return ModelCard.from_template(
        ModelCardData(),  # the template has the metadata
        str(CARDS / "model.md"),
        title=Path(name).name,
        load_from=public_name(name),
        message=repr(message),
        base=public_name(base),
        base_on_hub=not Path(base).exists(),
        data_on_hub=data.count("/") == 1 and not Path(data).exists(),
        license=base_license(base),
        losses={key: describe_loss(value) for key, value in results.items() if "loss" in key},
        perplexity=math.exp(loss) if loss is not None and loss < LARGEST_LOSS else None,
        arguments=arguments,
        record=record,
        settings=record["settings"],
        versions={"transformers": transformers.__version__, "torch": torch.__version__},
    )


def save_result(
    model: PreTrainedModel | PeftModel,
    tokenizer: Tokenizer,
    texts: dict[str, str],
    history: list[dict[str, float]],
    arguments: FineTuningArguments,
) -> list[str]:
    """Write the model, further `texts` by file name and the loss curve beside, then put them in their place; names."""
    folder, new = arguments.output_dir, Path(arguments.output_dir, ".new")
    shutil.rmtree(new, ignore_errors=True)
    model.config.use_cache = True  # the Trainer turned it off, in the checkpoint too
    # Said outright that it does not sample: where a model leaves that open, pipelines do.
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    model.generation_config = GenerationConfig(**ends, max_new_tokens=arguments.max_new_tokens, do_sample=False)
    model.save_pretrained(new)
    model.generation_config.save_pretrained(new)
    tokenizer.save_pretrained(new)
    draw_loss_curve(history, new / "loss_curve.png")
    for name, text in texts.items():
        (new / name).write_text(text)
    names = sorted((file.name for file in new.iterdir()), key=CONFIGS.__contains__)
    for pattern in (*CONFIGS, "model*.safetensors*", "adapter_model*"):
        for file in Path(folder).glob(pattern):
            if file.name not in names:  # a whole model would be loaded in the place of an adapter
                file.unlink()
    for name in names:  # the configuration last: it marks a finished model
        (new / name).replace(Path(folder, name))
    new.rmdir()
    return names


def push_model(names: list[str], folder: str, repo_id: str, private: bool | None) -> None:
    """Put these files of a folder on the Hub in one commit. Raises `OSError` with the command that does it later."""
    later = f'hf upload {repo_id} {folder} . --exclude "checkpoint-*" --exclude "*-checkpoint/*"'
    later += " --private" if private else ""
    others = ["model*.safetensors*", "adapter_*"]  # weights of an earlier model, in other shards
    files = {"folder_path": folder, "allow_patterns": names, "delete_patterns": others}
    advice = f". The model is safe in {folder}; to push it later: {later}"
    with explain_hub(f"the model was not pushed to {repo_id}", OSError, advice):
        huggingface_hub.upload_folder(repo_id=repo_id, **files, commit_message="Add the fine-tuned model")


# Time and memory: --plan, and what to do when it is too much


def peak_memory() -> int:
    """Bytes: the most that the GPU gave to this process, or its largest resident set so far."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_reserved()
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024
    memory = psutil.Process().memory_info()
    return getattr(memory, "peak_wset", memory.rss)


class StepTimer(TrainerCallback):
    """Seconds and peak memory of each step; ends the training after PLAN_SECONDS, but not before the third step."""

    def __init__(self) -> None:
        self.seconds, self.memory = [], []

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.started = time.perf_counter()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: Any, **_: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - self.started)
        self.memory.append(peak_memory())
        control.should_training_stop = len(self.seconds) >= 3 and sum(self.seconds) > PLAN_SECONDS


def fit_line(sizes: np.ndarray, costs: np.ndarray) -> np.polynomial.Polynomial:
    """The least-squares line through costs that grow with a size, such as times; neither slope nor start below zero."""
    slope = start = 0.0
    if np.ptp(sizes) > 0:
        slope, start = np.polyfit(sizes, costs, 1)
    if slope <= 0:
        slope, start = 0.0, np.mean(costs)
    elif start < 0:
        slope, start = np.dot(sizes, costs) / np.dot(sizes, sizes), 0.0
    return np.polynomial.Polynomial([start, slope])


def count_work(model: PreTrainedModel | PeftModel, rows: Dataset, steps: list[list[int]]) -> np.ndarray:
    """Multiplications in the forward pass of each step, padding included: the time grows with them.

    For a token one per weight and those of the attention (Chowdhery et al. 2022, appendix B); the output layer counts
    for the columns with labels only.
    """
    output = model.get_output_embeddings().weight
    embeddings = {model.get_input_embeddings().weight, output}  # one and the same where they are tied
    inner = model.num_parameters() - sum(weight.numel() for weight in embeddings)
    config = model.config.get_text_config()
    attention = 2 * config.num_hidden_layers * config.hidden_size
    lengths = np.array(rows["length"][:])
    prompts = np.array([np.argmax(labels != IGNORE_INDEX) for labels in rows.with_format("numpy")["labels"]])

    def count(step: list[int]) -> int:
        longest, kept = lengths[step].max(), lengths[step].max() - prompts[step].min()
        return len(step) * (longest * (inner + longest * attention) + kept * output.numel())

    return np.array([count(step) for step in steps], dtype=float)


def time_evaluation(trainer: SummaryTrainer, number: int) -> float:
    """Seconds of an evaluation, from so many examples in the middle, which stand for all: they are sorted by length."""
    validation, batch = trainer.eval_dataset, trainer.args.per_device_eval_batch_size
    padded = np.repeat(validation["length"][::batch], batch)[: len(validation)]  # to the first of its batch
    number = min(number, len(validation))
    start = (len(validation) - number) // 2
    started = time.perf_counter()
    trainer.evaluate(validation.select(range(start, start + number)))
    return float((time.perf_counter() - started) * padded.sum() / (number * validation["length"][start]))


def measure_run(arguments: FineTuningArguments, tokenizer: Tokenizer, examples: DatasetDict) -> dict[str, float]:
    """Take a few real steps and work out the whole run from them.

    The third step is the middle one by its work: where no further one is tried, it tells most about the time. To be
    called in a process of its own: it changes `arguments`, and the peak of memory is the process's.
    """
    set_seed(arguments.seed)
    disable_caching()  # as in run(), which the new process does not pass through
    timer, model = StepTimer(), prepare_model(arguments)
    steps = LengthGroupedOrder(examples["train"]["length"][:], step_size(arguments), arguments.seed).steps()
    work = count_work(model, examples["train"], steps)
    all_steps = count_steps(arguments, len(examples["train"]))
    ascending = [index for index in work.argsort(kind="stable") if len(steps[index]) == len(steps[0])]
    probes = [ascending[round(place * (len(ascending) - 1))] for place in PLAN_PLACES]
    arguments.max_steps, arguments.train_sampling_strategy = len(probes), "sequential"
    arguments.eval_strategy = arguments.save_strategy = "no"
    arguments.eval_on_start, arguments.disable_tqdm, arguments.logging_steps = False, True, len(probes) + 1
    chosen = DatasetDict(
        train=examples["train"].select([row for index in probes for row in steps[index]]),
        validation=examples["validation"],
    )
    transformers.utils.logging.set_verbosity_error()
    trainer = build_trainer(model, arguments, tokenizer, chosen, [timer])
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    taken = work[probes[: len(timer.seconds)]]
    call_glibc("malloc_trim", 0)  # as before an evaluation of the run
    evaluation = time_evaluation(trainer, 1 if len(taken) == 3 else arguments.per_device_eval_batch_size)
    memory = peak_memory()
    if len(taken) == 3:  # the largest was not among them
        memory = max(memory, fit_line(taken[1:], np.array(timer.memory[1:]))(work.max()))
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    moments = [
        value for state in trainer.optimizer.state.values() for value in state.values() if torch.is_tensor(value)
    ]
    seconds = fit_line(taken[1:], np.array(timer.seconds[1:]))(work)
    return {
        "trained": trained,
        "epoch": float(seconds.sum()),
        "training": float(np.resize(seconds, all_steps).sum()),  # epoch after epoch, up to its last step
        "evaluation": evaluation,
        "memory": float(memory),
        "checkpoint": 4 * trained + sum(value.nbytes for value in moments),
    }


def print_plan(arguments: FineTuningArguments, tokenizer: Tokenizer, examples: DatasetDict) -> None:
    """Print how long the run takes, the whole model and with an adapter, in how much memory, and what to change."""
    number, steps = len(examples["train"]), count_steps(arguments, len(examples["train"]))
    epochs = steps / math.ceil(number / step_size(arguments))
    evaluations = count_evaluations(arguments, steps, epochs)
    name = "epoch is" if epochs == 1 else "epochs are"
    print(f"{number:,} examples of {sum(examples['train']['length'][:]):,} tokens; {epochs:.3g} {name} {steps:,} "
          f"steps of {step_size(arguments)} examples, with {evaluations} evaluations")  # fmt: skip
    cuda = torch.cuda.is_available()
    memory = torch.cuda.mem_get_info()[1] if cuda else psutil.virtual_memory().total
    disk = shutil.disk_usage(Path(arguments.output_dir).absolute().parent).free
    table, advice = [["", "parameters trained", "an epoch", "the run", "memory", "disk"]], []
    parameters = count_parameters(arguments.model_name_or_path)
    for name, use_lora in (("whole model", False), ("LoRA", True)):
        variant = copy.copy(arguments)
        variant.use_lora = use_lora
        least = parameters * (ADAPTED_BYTES if use_lora else TRAINED_BYTES)  # without the activations
        run = measure_apart(variant, tokenizer, examples) if least < memory else None
        chosen = use_lora == arguments.use_lora
        if run is None or run["memory"] > 0.95 * memory:
            advice += [f"It does not fit: {advise_memory(arguments, least > memory)}."] if chosen else []
        if run is None:
            table.append(
                [name, "" if use_lora else parameters, "", "", f"over {say_bytes(max(least, 0.95 * memory))}", ""]
            )
            continue
        # The ones kept, the best one, and the one that is being written before the oldest one goes.
        space = run["checkpoint"] * ((arguments.save_total_limit or evaluations) + 2) + 4 * run["trained"]
        if chosen and space > disk:
            advice.append("The disk is too full for that: give an --output_dir on another.")
        times = run["epoch"], run["training"] + evaluations * run["evaluation"]
        table.append([name, run["trained"], *map(say_time, times), say_bytes(run["memory"]), say_bytes(space)])
    print(format_table(table))
    print(f"Here are {say_bytes(memory)} of memory{' on the GPU' if cuda else ''} and {say_bytes(disk)} of free disk.")
    print(*advice, sep="\n", end="\n" if advice else "")


def count_evaluations(arguments: FineTuningArguments, steps: int, epochs: float) -> int:
    """Evaluations in a run of so many steps: before the first one, on the way and in the end."""
    every = math.ceil(arguments.eval_steps * (steps if arguments.eval_steps < 1 else 1))
    on_the_way = {"no": 0, "steps": math.ceil(steps / every), "epoch": math.ceil(epochs)}
    return arguments.eval_on_start + on_the_way[arguments.eval_strategy.value]


def count_parameters(name: str) -> int:
    """Parameters of a model, from its configuration alone: one too large to load is counted too."""
    with explain_hub(f"cannot read the model {name!r}"), torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(name)).num_parameters()


def measure_apart(arguments: FineTuningArguments, *data: Any) -> dict[str, float] | None:
    """`measure_run` in a process of its own; None where memory was too small."""
    try:
        with TemporaryDirectory() as folder, ProcessPoolExecutor(1, get_context("spawn")) as pool:
            arguments.output_dir = folder  # the Trainer makes it, even if it never writes to it
            return pool.submit(measure_run, arguments, *data).result()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return None


def say_time(seconds: float) -> str:
    """A duration as a person says it."""
    hours, minutes = divmod(round(seconds / 60), 60)
    if round(seconds) < 90:
        return f"{seconds:.0f} s"
    if round(seconds) < 600:
        return "{} min {:02} s".format(*divmod(round(seconds), 60))
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"


def say_bytes(number: float) -> str:
    """A size in GB (1e9 bytes), in MB below one."""
    return f"{number / 1e9:.1f} GB" if number > 1e9 else f"{number / 1e6:.0f} MB"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether there was too little memory: on the GPU, on the CPU, or so little that the system ended the process."""
    names = (torch.OutOfMemoryError, BrokenExecutor)
    return isinstance(error, names) or "can't allocate memory" in str(error)


def advise_memory(arguments: FineTuningArguments, model_too_large: bool = False) -> str:
    """What to give for less memory, the mildest first; a smaller batch only where it can help."""
    batch, steps = arguments.per_device_train_batch_size, arguments.gradient_accumulation_steps
    ways = [] if arguments.activation_checkpointing or model_too_large else ["--gradient_checkpointing True"]
    ways += [] if arguments.use_lora else ["--use_lora True"]
    ways += ["several GPUs (configs/fsdp2.yaml)", "a smaller model" if model_too_large else "a smaller --max_length"]
    others = ", or ".join(ways)
    if batch == 1 or model_too_large:
        return f"give {others}"
    factor = next(number for number in range(2, batch + 1) if batch % number == 0)
    same = f"--per_device_train_batch_size {batch // factor} --gradient_accumulation_steps {steps * factor}"
    further = "" if factor == batch else f", down to 1 and {steps * batch}"
    return f"give {same}{further}, which trains the same; if that is not enough, {others}"


@contextmanager
def process_group() -> Iterator[None]:
    """Leave the group of processes, if there is one, in the end: a process that just stops may end in an abort."""
    try:
        yield
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


@process_group()
def main() -> None:
    arguments: FineTuningArguments = parse_flags(FineTuningArguments, __doc__)
    folder = Path(arguments.output_dir)
    check_output_folder(folder)
    push, arguments.push_to_hub = arguments.push_to_hub, False  # not by the Trainer: see CheckpointPusher

    # 1. Load tokenizer and examples.
    tokenizer, limit = load_tokenizer(arguments)
    with arguments.main_process_first(local=False):
        examples, record = load_examples(arguments, tokenizer, limit)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token  # only fills; whether a token is learned is up to the labels
    tokenizer.padding_side = "left"
    if arguments.plan:
        print_plan(arguments, tokenizer, examples)
        return

    # 2. Find out where to begin.
    settings, steps = run_settings(arguments, record), count_steps(arguments, len(examples["train"]))
    name = arguments.hub_model_id or f"{Path(arguments.model_name_or_path).resolve().name}_finetuned"
    with arguments.main_process_first(local=False):
        repo_id = open_repository(arguments, name, "model") if push else None
        checkpoints_to = repo_id if arguments.hub_strategy == "checkpoint" else None
        last = find_start(arguments, settings, checkpoints_to)
    state = load_state(last)
    if is_finished(arguments, settings, steps, state.global_step):
        print(f"{folder} holds the finished model of this run. Next: python evaluation.py. More of it: a larger "
              "--num_train_epochs; anew: --restart; another run: another --output_dir.")  # fmt: skip
        return
    if last:
        print(describe_start(state, last, steps))

    # 3. Train.
    stop, pusher, speed = Stop(), CheckpointPusher(checkpoints_to), None
    if state.global_step < steps:  # else all are taken, and only the model is still to be saved
        callbacks = [stop, *([pusher] if checkpoints_to else [])]
        state, speed = train(arguments, tokenizer, examples, settings, last, callbacks)
        last = checkpoint_folder(arguments, state)
    if stop.stopped:
        print(f"Stopped at step {state.global_step} of {steps}, which is saved. The same command goes on from there.")
        sys.exit(1)

    # 4. Save the best model, or the last one where no best one was saved. From here on the first process is alone.
    if not arguments.should_save:
        return
    gc.collect()  # the trained model, which circular references hold: else there were two in memory
    call_glibc("malloc_trim", 0)
    best = find_best(state, folder)
    model = prepare_model(arguments, best or last)
    record |= {"base_model": arguments.model_name_or_path, "base_revision": find_revision(arguments.model_name_or_path)}
    results = summarize(state, state.best_global_step if best else state.global_step)
    record |= {"hub_model_id": repo_id, "settings": settings, "results": results}
    card = model_card(arguments, record, tokenizer, repo_id or arguments.output_dir)
    texts = {TRAINING_RECORD: json.dumps(record, indent=2) + "\n", "README.md": str(card)}
    names = save_result(model, tokenizer, texts, state.log_history, arguments)

    # 5. Say what came out, and push it if asked.
    print(describe_results(results, speed))
    print(f"Model: {folder} ({f'the best, from {best.name}' if best else 'as it was at the end'})")
    if checkpoints_to:
        there = f"step {pusher.pushed_step}, and the best" if pusher.pushed_step else "none of those saved now"
        print(f"Checkpoints in {repo_id} on the Hub: {there}; the last one is of step {results['steps']}")
    if repo_id:
        push_model(names, arguments.output_dir, repo_id, arguments.hub_private_repo)
        print(f"Pushed {repo_id} to the Hub: model, tokenizer, card, curve")
    print(f"Next: python evaluation.py{'' if str(folder) == OUTPUT_DIR else f' --model_name_or_path {folder}'}")


if __name__ == "__main__":
    run(main)
