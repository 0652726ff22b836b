"""Fine-tune a causal language model to write meta-reviews: the second of three scripts.

    python fine_tune.py                                    # what the constants below say
    python fine_tune.py --epochs 3 --learning_rate 2e-5    # each constant is a flag; so is what the Trainer takes
    python fine_tune.py --learning_rate 1e-3 1e-4 1e-5     # a run for each; so do lists: LEARNING_RATE = [1e-3, 1e-4]
    python fine_tune.py --model EleutherAI/pythia-410m     # another model
    python fine_tune.py --plan                             # first: the time and memory that a run needs
    python fine_tune.py --use_lora --learning_rate 2e-4    # an adapter only: for models that do not fit
    python fine_tune.py --merge models/NAME                # that adapter and its base as one model: models/NAME_merged
    python fine_tune.py --restart                          # train these settings again from the base
    HF_TOKEN=... python fine_tune.py --push_to_hub --hub_strategy checkpoint   # model and checkpoints to the Hub
    torchrun --nproc_per_node 2 fine_tune.py --batch_size 2                    # on two GPUs; more ways: configs/

It reads what processing_meta_review.py wrote, and writes a folder for each setting: `models/pythia-70m_finetuned`,
`models/pythia-70m_finetuned_lr1e-4_epochs2` and so on, with model, tokenizer, previews, loss curve and card.
Interrupted? Run the same command again to resume from the last complete checkpoint.
Next: python evaluation.py
"""

from dataclasses import dataclass, field
from typing import Any

from metareview.common.cli import InputError, format_count, run
from metareview.common.flags import PublishingFlags, flag, start
from metareview.data.prompts import check_completion, find_template, read_line_breaks
from metareview.training.sweep import report_run, run_sweep
from metareview.training.trainer_flags import PASSED

# What is trained, on what
MODEL = None  # Hub id or folder of any causal language model; None: the one that the data was tokenized for
PROCESSED_DIR = "processed_meta_review"  # folder or Hub id of the cleaned texts
TOKENIZED_DIR = "tokenized_meta_review"  # the same as token ids; tokenized again if they don't fit the model
OUTPUT_DIR = None  # folder of the model and its checkpoints; None: models/NAME, named after what is not the default

# How
EPOCHS = 1  # passes over the training examples
LEARNING_RATE = 1e-5  # at the start; it falls linearly to zero
BATCH_SIZE = 4  # examples per step and device
ACCUMULATION_STEPS = 1  # steps whose gradients are added up: BATCH_SIZE 1 and 4 of these train the same in less memory
SEED = 42  # order of the examples; on a CPU the same seed gives the same weights, bit for bit
EVALUATIONS_PER_EPOCH = 4  # evaluations on validation, each with a checkpoint
EVALUATION_BATCH_SIZE = 8  # examples at a time on validation; changes memory and speed, not the loss
VALIDATION_EXAMPLES = 300  # at most this many, always the same random sample: evaluating takes time from training
SAVE = "last"  # the weights that become the model: those of the "last" step, or the "best" by validation loss
PATIENCE = None  # stop after this many evaluations without a lower validation loss; None: train to the end
PREVIEWS = 2  # at each evaluation the model writes for this many validation papers; the texts go to previews.md
CHECKPOINTS_KEPT = 2  # the newest ones while training, at least 2; the best one always stays
MAX_NEW_TOKENS = None  # longest meta-review that the model writes, saved with it; None: MAX_SUMMARY_TOKENS of the data
TRAINER = {}  # all else that the Trainer takes: {"warmup_steps": 100, "lr_scheduler_type": "cosine"}

# Bigger models
USE_LORA = False  # train a small adapter and leave the model as it is; LEARNING_RATE should be about 2e-4 then
LORA_R = 16  # rank of the adapter's matrices: how much it can learn
LORA_ALPHA = 32  # scale of the adapter's output: LORA_ALPHA / LORA_R
LORA_TARGETS = "all-linear"  # layers with an adapter: all but the output layer, or names with commas between them
LOAD_IN_4BIT = False  # an adapter on a model kept in 4 bits (QLoRA), for 7B on a free GPU: pip install bitsandbytes
GRADIENT_CHECKPOINTING = False  # keep fewer activations and compute them again: less memory, about a third slower


@dataclass
class FineTuningFlags(PublishingFlags):
    """Every constant as a flag, and a few more; the Trainer's own flags end up in `trainer`."""

    model: str | None = flag(MODEL, "model_name_or_path")
    processed_dir: str = flag(PROCESSED_DIR, "dataset", "dataset_name")
    tokenized_dir: str = flag(TOKENIZED_DIR)
    output_dir: str | None = flag(OUTPUT_DIR)
    epochs: float = flag(EPOCHS, "num_train_epochs", above=0)
    learning_rate: float = flag(LEARNING_RATE, "lr", above=0)
    batch_size: int = flag(BATCH_SIZE, "per_device_train_batch_size", least=1)
    accumulation_steps: int = flag(ACCUMULATION_STEPS, "gradient_accumulation_steps", least=1)
    seed: int = flag(SEED, least=0, below=2**32)
    evaluations_per_epoch: int = flag(EVALUATIONS_PER_EPOCH, least=1)
    evaluation_batch_size: int = flag(EVALUATION_BATCH_SIZE, "per_device_eval_batch_size", least=1)
    validation_examples: int = flag(VALIDATION_EXAMPLES, least=1)
    save: str = flag(SAVE, choices=("last", "best"))
    patience: int | None = flag(PATIENCE, least=1)
    previews: int = flag(PREVIEWS, least=0)
    checkpoints_kept: int | None = flag(CHECKPOINTS_KEPT, "save_total_limit", least=2)
    max_new_tokens: int | None = flag(MAX_NEW_TOKENS, least=1)
    trainer: dict[str, Any] = flag(TRAINER)
    use_lora: bool = flag(USE_LORA)
    lora_r: int = flag(LORA_R, least=1)
    lora_alpha: int = flag(LORA_ALPHA, least=1)
    lora_targets: str = flag(LORA_TARGETS)
    load_in_4bit: bool = flag(LOAD_IN_4BIT)
    gradient_checkpointing: bool = flag(GRADIENT_CHECKPOINTING)

    merge: str | None = flag(None, help="write the adapter in this folder, merged into its base", topic="Running")
    restart: bool = flag(False, help="train these settings again, replacing the run in the folder", topic="Running")
    plan: bool = flag(False, help="only measure the time and memory that a run needs", topic="Running")
    resume_from_checkpoint: str | None = flag(None, help="resume from this checkpoint", topic="Running")
    max_steps: int = flag(-1, help="stop after this many steps, regardless of EPOCHS", topic="Running")
    bf16: bool | None = flag(None, help="default: where the hardware has it", topic="Running")
    fp16: bool | None = flag(None, help="default: on a GPU that has no bf16", topic="Running")
    report_to: str = flag("none", help="tensorboard, trackio, wandb ...: nothing is sent unless asked", topic="Running")
    eval_strategy: str = flag("steps", choices=("no", "steps", "epoch"), help="when to evaluate: no, steps or epoch")
    eval_steps: float | None = flag(None, above=0, help="steps between evaluations; below 1: share of the run")
    save_strategy: str | None = flag(None, choices=("no", "steps", "epoch"), help="default: as --eval_strategy")
    save_steps: float | None = flag(None, above=0, help="default: as --eval_steps")
    logging_steps: float | None = flag(None, above=0, help="default: five times per evaluation")
    prompt: str | None = flag(None, help="default: that of the data")
    completion: str | None = flag(None, help="default: that of the data")
    max_length: int | None = flag(None, least=1, help="default: that of the data")
    max_summary_tokens: int | None = flag(None, least=1, help="default: that of the data")
    hub_strategy: str = flag("end", choices=("end", "checkpoint"), help="checkpoint: each one too", topic="Publishing")
    hub_model_id: str | None = flag(None, help="default: the name of the output folder", topic="Publishing")
    passed_flags: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.max_steps != -1 and self.max_steps < 1:
            raise InputError(f"--max_steps must be at least 1, or -1 for all EPOCHS, got {self.max_steps}")
        for name in ("eval_steps", "save_steps", "logging_steps"):
            value = getattr(self, name)
            if value is not None and value > 1 and value % 1:
                raise InputError(f"--{name} must be a number of steps, or a share of them below 1, got {value}")
        if self.eval_strategy == "no" and (self.patience or self.save == "best"):
            raise InputError("PATIENCE and SAVE = 'best' go by the validation loss: --eval_strategy must not be no")
        if self.save_strategy == "no" and self.save == "best":
            raise InputError("SAVE = 'best' takes its weights from a checkpoint: --save_strategy must not be no")
        self.prompt, self.completion = read_line_breaks(self.prompt), read_line_breaks(self.completion)
        if self.prompt is not None:
            find_template(self.prompt)
        if self.completion is not None:
            check_completion(self.completion)
        self.use_lora = self.use_lora or self.load_in_4bit  # weights of 4 bits cannot be trained: an adapter is


if __name__ == "__main__":  # help and wrong values are answered here, before PyTorch and transformers load
    FLAGS = start(FineTuningFlags, __file__, PASSED, run_sweep)

import gc
import json
import sys
from pathlib import Path
from shlex import quote

from datasets import DatasetDict
from transformers import PreTrainedTokenizerBase as Tokenizer
from transformers import TrainingArguments
from transformers.trainer_callback import TrainerState

from metareview.common.files import lock
from metareview.common.hub import open_repository
from metareview.common.model import TRAINING_RECORD, check_base, prepare_model
from metareview.data.learned import LEARNED, hash_training_texts, load_learned
from metareview.data.splits import read_record
from metareview.data.tokenization import find_ends, load_tokenizer
from metareview.generation.merging import merge_adapter
from metareview.generation.previews import Previews
from metareview.training.arguments import build_adapter, build_training_arguments, count_steps, name_precision
from metareview.training.batching import draw_validation
from metareview.training.callbacks import Patience, Stop
from metareview.training.checkpoints import (
    CheckpointKeeper,
    checkpoint_folder,
    choose_result,
    find_best,
    keep_weights,
    load_state,
)
from metareview.training.dataset import (
    choose_new_tokens,
    choose_tokenization,
    load_examples,
    load_texts,
)
from metareview.training.hub_checkpoints import CheckpointPusher, fetch_run, push_model
from metareview.training.model_card import model_card
from metareview.training.plan import print_plan
from metareview.training.results import (
    advise_on_losses,
    describe_results,
    describe_training,
    record_repository,
    renew_max_new_tokens,
    save_result,
)
from metareview.training.resuming import (
    Run,
    Start,
    check_output_folder,
    choose_folder,
    describe_run,
    describe_start,
    find_start,
    mark_finished,
    mark_started,
    read_run,
    run_settings,
)
from metareview.training.trainer import SummaryTrainer, process_group


@dataclass
class Job:
    """A training run: what the Trainer is told, what the model reads, and in which folder the run stands where."""

    args: TrainingArguments
    base: str  # the model to start from
    asked: dict[str, Any]  # the lengths that were asked for, None where they follow from model and data
    tokenizer: Tokenizer
    examples: DatasetDict
    record: dict[str, Any]  # of the tokenized data
    learned: bytes  # hashes of the texts of the training split
    folder: Path = Path()
    settings: dict[str, Any] = field(default_factory=dict)
    start: Start = field(default_factory=Start)
    repo_id: str | None = None  # where the model is pushed

    @property
    def steps(self) -> int:
        return count_steps(self.args, len(self.examples["train"]))


def main(flags: FineTuningFlags) -> None:
    if flags.merge:
        merge_adapter(flags.merge, flags.processed_dir)
        return
    with process_group():
        # 1. Load the tokenizer and the examples.
        job = load(flags)
        if flags.plan:
            print_plan(flags, job.args, job.base, job.tokenizer, job.examples)
            return
        print(describe_run(flags, job.base, job.record))

        # 2. Find the folder of this run, and where the run stands: new, interrupted or finished.
        _lock = find_place(flags, job)  # until this process ends
        if job.start.is_finished:
            finish_again(flags, job)
            return

        # 3. Train, from the checkpoint or from the base.
        state, speed = train(flags, job)
        if not job.args.should_save:  # from here on the first process is alone
            return

        # 4. Save the model: the last weights, or the best.
        names = save(flags, job, state, speed)

        # 5. Push it, if asked.
        if job.repo_id:
            push(flags, job, names)
        print_next(job)


def load(flags: FineTuningFlags) -> Job:
    """What a run trains on, with the tokenizer as the Trainer needs it."""
    if flags.output_dir:
        check_output_folder(Path(flags.output_dir))  # before the data are read
    args, how = build_training_arguments(flags), choose_tokenization(flags)
    asked = {"max_length": how.max_length, "max_summary_tokens": how.max_summary_tokens}
    check_base(how.model_name_or_path, flags.use_lora)
    tokenizer = load_tokenizer(how)
    texts = load_texts(flags.processed_dir)
    examples, record = load_examples(flags, texts, how, tokenizer)
    flags.max_new_tokens = choose_new_tokens(flags.max_new_tokens, how.max_summary_tokens)
    before = load_learned(how.model_name_or_path)
    learned = hash_training_texts(texts.get("train"), examples["train"], tokenizer, how.completion, before)
    return Job(args, how.model_name_or_path, asked, tokenizer, examples, record, learned)


def find_place(flags: FineTuningFlags, job: Job) -> Any:
    """Set folder, settings and start of the run, print them, and return the lock of the folder."""
    job.settings = run_settings(flags, job.args, job.base, job.record)
    job.folder = choose_folder(flags, job.base, job.settings, job.asked)
    job.args.output_dir = str(job.folder)
    folder_lock = lock(job.folder) if job.args.should_save else None
    with job.args.main_process_first(local=False):
        job.start = find_start(job.folder, job.settings, flags.restart, flags.resume_from_checkpoint)
        if flags.push_to_hub:
            job.repo_id = open_repository(flags, flags.hub_model_id or job.folder.resolve().name, "model")
        is_new = not (job.start.is_finished or job.start.checkpoint or flags.restart)
        if job.repo_id and flags.hub_strategy == "checkpoint" and is_new:
            fetch_run(job.repo_id, job.folder, job.settings)
            job.start = find_start(job.folder, job.settings, False, flags.resume_from_checkpoint)
    if job.start.is_finished:
        print(f"{job.folder} holds the finished model of these settings; to train it again: --restart")
    elif job.start.checkpoint:
        print(describe_start(load_state(job.start.checkpoint), job.start.checkpoint, job.steps))
    else:
        print(f"A new run of {format_count(job.steps, 'step')}: {job.folder}")
    return folder_lock


def finish_again(flags: FineTuningFlags, job: Job) -> None:
    """Apply to a finished model what needs no training: another MAX_NEW_TOKENS, and pushing."""
    if not job.args.should_save:
        return
    if renew_max_new_tokens(job.folder, flags.max_new_tokens):
        print(f"MAX_NEW_TOKENS is saved anew with it: {flags.max_new_tokens}")
    if job.repo_id:
        push(flags, job, record_repository(job.folder, job.repo_id))
    print_next(job)


def train(flags: FineTuningFlags, job: Job) -> tuple[TrainerState, float | None]:
    """Train to the last step; the Trainer's state then, and its speed in examples per second.

    A signal ends the process after the step that is under way, with status 1 and a checkpoint.
    """
    checkpoint = job.start.checkpoint
    state = load_state(checkpoint)
    stop = Stop()
    callbacks = [stop, Patience(flags.patience)] if flags.patience else [stop]
    is_own = checkpoint is not None and checkpoint.resolve().parent == job.folder.resolve()
    has_lost_patience = is_own and flags.patience and callbacks[1].has_ended(state)
    if state.global_step >= job.steps or has_lost_patience:  # only the model is still to be saved
        return state, None
    callbacks.append(CheckpointKeeper(flags.checkpoints_kept))  # after Patience, whose last step it saves
    if job.repo_id and flags.hub_strategy == "checkpoint":
        callbacks.append(CheckpointPusher(job.repo_id))
    if flags.previews and job.args.world_size == 1:  # shards of a model cannot write
        ends = find_ends(job.base, job.tokenizer)
        callbacks.append(
            Previews(job.examples["validation"], flags.previews, job.tokenizer, flags.max_new_tokens, ends)
        )
    model = prepare_model(job.base, build_adapter(flags, job.args), checkpoint)
    trainer = SummaryTrainer(
        model=model,
        args=job.args,
        train_dataset=job.examples["train"],
        eval_dataset=draw_validation(job.examples["validation"], flags.validation_examples),
        processing_class=job.tokenizer,
        callbacks=callbacks,
    )
    if job.args.should_save:
        mark_started(job.folder, Run(job.settings, False, flags.restart, name_precision(job.args)), checkpoint)
    output = trainer.train(checkpoint and str(checkpoint))
    state = trainer.state
    if stop.stopped:
        print(f"Stopped at step {state.global_step} of {job.steps}, which is saved. Run the same command to resume.")
        sys.exit(1)
    return state, output.metrics["train_samples_per_second"]


def save(flags: FineTuningFlags, job: Job, state: TrainerState, speed: float | None) -> list[str]:
    """Save the model with its card, record and loss curve, print what came out, and return the names of the files."""
    gc.collect()  # the trained model, which circular references hold: else there were two in memory
    last = job.start.checkpoint if speed is None else checkpoint_folder(job.args, state)
    result = choose_result(state, job.folder, last, flags.save)
    model = prepare_model(job.base, build_adapter(flags, job.args), result)
    saved_step = load_state(result).global_step
    record = {name: value for name, value in job.record.items() if name != "constants"}
    record |= describe_training(job.base, job.settings, job.asked, state, saved_step)
    record |= {
        "precision": read_run(job.folder).precision,
        "max_new_tokens": flags.max_new_tokens,
        "name": job.folder.resolve().name,
        "hub_model_id": job.repo_id,
        "training_examples": len(job.examples["train"]),
    }
    card = model_card(job.args, record, job.repo_id or str(job.folder))
    texts = {TRAINING_RECORD: json.dumps(record, indent=2) + "\n", "README.md": str(card)}
    files = {name: text.encode() for name, text in texts.items()} | {LEARNED: job.learned}
    ends = find_ends(job.base, job.tokenizer)
    settings = {
        "eos_token_id": ends,
        "pad_token_id": job.tokenizer.pad_token_id,
        "max_new_tokens": flags.max_new_tokens,
    }
    names = save_result(model, job.tokenizer, files, state.log_history, record["results"], settings, job.folder)
    best = find_best(state, job.folder)
    mark_finished(job.folder)
    keep_weights(job.folder, last, best)
    print(describe_results(record["results"], speed))
    print(f"Model: {job.folder} (the weights of step {saved_step:,}, epoch {record['results']['saved_epoch']:g})")
    print(*advise_on_losses(state.log_history, record["results"], best), sep="\n", end="")
    return names


def push(flags: FineTuningFlags, job: Job, names: list[str]) -> None:
    """Push these files of the finished model."""
    push_model(names, job.folder, job.repo_id, flags.hub_private_repo)
    print(f"Pushed {job.repo_id} to the Hub: model, tokenizer, card, curve")


def print_next(job: Job) -> None:
    report_run(job.folder, read_record(str(job.folder), TRAINING_RECORD))
    print(f"Next: python evaluation.py --models {quote(str(job.folder))}")


if __name__ == "__main__":
    run(main, FLAGS)
