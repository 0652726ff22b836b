"""`--plan`: the time and memory that a run needs, from its first steps; the very first one is the longest."""

import copy
import math
from tempfile import TemporaryDirectory
from typing import NamedTuple

import psutil
import torch
from datasets import Dataset, DatasetDict
from transformers import PreTrainedTokenizerBase as Tokenizer
from transformers import TrainingArguments

from metareview.common.cli import format_bytes, format_count, format_seconds, format_table
from metareview.common.device import OutOfMemory, peak_memory
from metareview.common.model import count_parameters, prepare_model
from metareview.training.arguments import Flags, build_adapter, count_step_examples, count_steps
from metareview.training.batching import draw_validation
from metareview.training.callbacks import Progress
from metareview.training.trainer import MEMORY_ADVICE, SummaryTrainer

TIMED_STEPS = 4
TRAINED_BYTES = 16  # of a parameter: fp32 with gradient and two moments
FROZEN_BYTES = {False: 2, True: 0.5}  # of a parameter: 16 bits; 4 bits, if it is loaded so
HEAP_GROWTH = 1.5  # on a CPU: what a whole run takes beside the model, against a few steps; see docs/bigger-models.md


class Costs(NamedTuple):
    epoch: float  # seconds
    evaluation: float  # seconds
    memory: float  # bytes
    trained: int  # parameters
    checkpoint: int  # bytes: the trained parameters and the state of the optimizer


def measure_run(
    flags: Flags, args: TrainingArguments, base: str, tokenizer: Tokenizer, train: Dataset, validation: Dataset
) -> Costs:
    """Take the longest step of a run, then time a few and the evaluation of a batch.

    Raises `OutOfMemory` where the longest step does not fit.
    """
    args = copy.copy(args)
    args.eval_on_start = False
    args.eval_strategy = args.save_strategy = "no"
    args.report_to = []
    model = prepare_model(base, build_adapter(flags, args))
    loaded, growth = peak_memory(), 1 if torch.cuda.is_available() else HEAP_GROWTH
    with TemporaryDirectory() as folder:
        args.output_dir = folder  # the Trainer creates it, even if nothing is saved
        trainer = SummaryTrainer(
            model=model,
            args=args,
            train_dataset=train,
            processing_class=tokenizer,
        )
        trainer.remove_callback(Progress)
        args.max_steps = 1
        trainer.train()  # the first step is the longest; it warms up, too, and its time is not counted
        # The time of a step grows with its tokens, padding included.
        lengths = train["length"][:]
        tokens = [len(step) * max(lengths[row] for row in step) for step in trainer.sampler.steps()]
        args.max_steps = min(TIMED_STEPS, len(tokens))
        epoch = trainer.train().metrics["train_runtime"] * sum(tokens) / sum(tokens[: args.max_steps])
        batch = validation.take(min(len(validation), args.per_device_eval_batch_size))  # the longest ones
        rate = trainer.evaluate(batch)["eval_runtime"] / (len(batch) * max(batch["length"]))
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    moments = [value for state in trainer.optimizer.state.values() for value in state.values()]
    return Costs(
        epoch=epoch,
        evaluation=rate * sum(validation["length"][:]),
        memory=loaded + growth * (peak_memory() - loaded),
        trained=sum(weight.numel() for weight in weights),
        checkpoint=sum(tensor.nbytes for tensor in (*weights, *moments) if isinstance(tensor, torch.Tensor)),
    )


def print_plan(flags: Flags, args: TrainingArguments, base: str, tokenizer: Tokenizer, examples: DatasetDict) -> None:
    """Print how long the run takes, in how much memory, and how large a checkpoint is."""
    train, validation = examples["train"], draw_validation(examples["validation"], flags.validation_examples)
    steps = count_steps(args, len(train))
    epochs = steps / math.ceil(len(train) / count_step_examples(args))
    every = math.ceil(args.eval_steps * (steps if args.eval_steps < 1 else 1))
    times = {"no": 0, "steps": 1 + math.ceil(steps / every), "epoch": 1 + math.ceil(epochs)}[args.eval_strategy.value]
    tokens = sum(train["length"][:])
    length = f"{format_count(round(epochs, 2), 'epoch')}, {format_count(steps, 'step')}"
    print(f"{len(train):,} examples of {tokens:,} tokens; {length}, {format_count(times, 'evaluation')}")
    memory = torch.cuda.mem_get_info()[1] if torch.cuda.is_available() else psutil.virtual_memory().total
    too_much = f"It does not fit into {format_bytes(memory)} of memory"
    least = count_parameters(base) * (FROZEN_BYTES[flags.load_in_4bit] if flags.use_lora else TRAINED_BYTES)
    try:
        if least > memory:
            raise OutOfMemory(f"{format_bytes(least)} for the weights alone; {MEMORY_ADVICE}")
        costs = measure_run(flags, args, base, tokenizer, train, validation)
    except OutOfMemory as error:
        print(f"{too_much}: {error}.")
        return
    durations = costs.epoch, epochs * costs.epoch + times * costs.evaluation
    row = [costs.trained, *map(format_seconds, durations), *map(format_bytes, (costs.memory, costs.checkpoint))]
    print(format_table([["parameters trained", "an epoch", "the run", "memory", "a checkpoint"], row]))
    if costs.memory > 0.95 * memory:
        print(f"{too_much}: {MEMORY_ADVICE}.")
