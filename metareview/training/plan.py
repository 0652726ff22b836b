"""`--plan`: time and memory that a run needs, from its first steps, of which the very first is the longest."""

import copy
import math
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil
import torch
from datasets import Dataset, DatasetDict
from transformers import PreTrainedTokenizerBase as Tokenizer
from transformers import TrainingArguments
from transformers.trainer_callback import TrainerCallback

from metareview.common.cli import format_bytes, format_count, format_seconds, format_table
from metareview.common.device import OutOfMemory, peak_memory
from metareview.common.model import count_parameters, prepare_model
from metareview.training.arguments import Flags, advise_memory, build_adapter, count_step_examples, count_steps
from metareview.training.batching import SummaryCollator, draw_validation
from metareview.training.callbacks import Progress
from metareview.training.trainer import SummaryTrainer

PROBED_STEPS = 5
TRAINED_BYTES = 16  # of a parameter: fp32 with gradient and two moments
FROZEN_BYTES = {False: 2, True: 0.5}  # of a parameter: 16 bits; 4 bits, if it is loaded so
HEAP_GROWTH = 1.5  # on a CPU: what a whole run takes beside the model, against a few steps; see docs/bigger-models.md


@dataclass
class Measurement:
    """What a run costs: seconds of an epoch and of an evaluation, bytes of memory, parameters that are trained."""

    epoch: float
    evaluation: float
    memory: float
    trained: int


class StepTimer(TrainerCallback):
    """Seconds of each step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.started = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - self.started)


def count_padded_tokens(lengths: list[int], steps: list[list[int]]) -> np.ndarray:
    """Tokens of each step with padding, by the lengths of all examples: its time grows with them."""
    return np.array([len(step) * max(lengths[row] for row in step) for step in steps], dtype=float)


def measure_run(
    flags: Flags, args: TrainingArguments, base: str, tokenizer: Tokenizer, train: Dataset, validation: Dataset
) -> Measurement:
    """Take the first steps of a run and evaluate a batch, and work out the whole run from them.

    Raises `OutOfMemory` where the longest step does not fit.
    """
    args, timer = copy.copy(args), StepTimer()
    args.max_steps, args.eval_strategy, args.save_strategy = PROBED_STEPS, "no", "no"
    args.eval_on_start, args.disable_tqdm, args.logging_steps = False, True, PROBED_STEPS + 1
    model = prepare_model(base, build_adapter(flags, args))
    loaded, growth = peak_memory(), 1 if torch.cuda.is_available() else HEAP_GROWTH
    with TemporaryDirectory() as folder:
        args.output_dir = folder  # the Trainer creates it, even if nothing is saved
        trainer = SummaryTrainer(
            model=model,
            args=args,
            data_collator=SummaryCollator.for_model(model, tokenizer),
            train_dataset=train,
            eval_dataset=validation,
            processing_class=tokenizer,
            callbacks=[timer],
        )
        trainer.remove_callback(Progress)
        trainer.train()
        batch = min(len(validation), args.per_device_eval_batch_size)
        started = time.perf_counter()
        trainer.evaluate(validation.take(batch))  # the longest ones
        seconds = time.perf_counter() - started
    tokens = count_padded_tokens(train["length"][:], trainer.sampler.steps())
    probed = slice(min(1, len(timer.seconds) - 1), len(timer.seconds))  # without the first one, which warms up
    return Measurement(
        epoch=float(sum(timer.seconds[probed]) * tokens.sum() / np.resize(tokens, len(timer.seconds))[probed].sum()),
        evaluation=seconds * sum(validation["length"][:]) / (batch * max(validation["length"])),
        memory=loaded + growth * (peak_memory() - loaded),
        trained=sum(weight.numel() for weight in model.parameters() if weight.requires_grad),
    )


def count_evaluations(args: TrainingArguments, steps: int, epochs: float) -> int:
    """Evaluations in a run of this many steps: before the first one, on the way and in the end."""
    every = math.ceil(args.eval_steps * (steps if args.eval_steps < 1 else 1))
    on_the_way = {"no": 0, "steps": math.ceil(steps / every), "epoch": math.ceil(epochs)}
    return args.eval_on_start + on_the_way[args.eval_strategy.value]


def print_plan(flags: Flags, args: TrainingArguments, base: str, tokenizer: Tokenizer, examples: DatasetDict) -> None:
    """Print how long the run takes, in how much memory and disk, and what to change where it does not fit."""
    train, validation = examples["train"], draw_validation(examples["validation"], flags.validation_examples)
    steps = count_steps(args, len(train))
    epochs = steps / math.ceil(len(train) / count_step_examples(args))
    evaluations = count_evaluations(args, steps, epochs)
    print(
        f"{format_count(len(train), 'example')} of {sum(train['length'][:]):,} tokens; {epochs:.3g} "
        f"{'epoch is' if epochs == 1 else 'epochs are'} {format_count(steps, 'step')} "
        f"of {format_count(count_step_examples(args), 'example')}, with {format_count(evaluations, 'evaluation')}"
    )
    memory = torch.cuda.mem_get_info()[1] if torch.cuda.is_available() else psutil.virtual_memory().total
    least = count_parameters(base) * (FROZEN_BYTES[flags.load_in_4bit] if flags.use_lora else TRAINED_BYTES)
    try:
        if least > memory:
            raise OutOfMemory(f"{format_bytes(least)} for the weights alone; {advise_memory(args, flags.use_lora)}")
        run = measure_run(flags, args, base, tokenizer, train, validation)
    except OutOfMemory as error:
        print(f"It does not fit into {format_bytes(memory)} of memory: {error}.")
        return
    seconds = epochs * run.epoch + evaluations * run.evaluation
    # A checkpoint has the weights and two moments: those that are kept, the best one, the one that is being written.
    saves = max(1, min((flags.checkpoints_kept or evaluations) + 2, evaluations))
    space = 4 * run.trained * (3 * saves + 1)
    row = [run.trained, *map(format_seconds, (run.epoch, seconds)), *map(format_bytes, (run.memory, space))]
    print(format_table([["parameters trained", "an epoch", "the run", "memory", "disk"], row]))
    folder = Path(flags.output_dir or ".").absolute()
    disk = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free
    print(f"Available: {format_bytes(memory)} of memory, {format_bytes(disk)} of disk.")
    if run.memory > 0.95 * memory:
        print(f"The memory is too small for that: {advise_memory(args, flags.use_lora)}.")
    if space > disk:
        print("The disk is too full for that: set an OUTPUT_DIR on another one.")
