"""`--plan`: the time and memory that a run needs, from its first steps; the very first one is the longest."""

import copy
import math
import time
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any

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
    """What a run costs: seconds of an epoch and of an evaluation, bytes of memory and of a checkpoint."""

    epoch: float
    evaluation: float
    memory: float
    trained: int  # parameters
    checkpoint: int  # their weights and the state of the optimizer


class StepTimer(TrainerCallback):
    """When each step began, and when the last one ended."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())

    on_train_end = on_step_begin


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
        batch = validation.take(min(len(validation), args.per_device_eval_batch_size))  # the longest ones
        started = time.perf_counter()
        trainer.evaluate(batch)
        seconds = time.perf_counter() - started
    # The time of a step grows with its tokens, padding included. The first step warms up, too, and is left out.
    lengths = train["length"][:]
    tokens = [len(step) * max(lengths[row] for row in step) for step in trainer.sampler.steps()]
    probed = [tokens[step % len(tokens)] for step in range(1, PROBED_STEPS)]
    moments = [value for state in trainer.optimizer.state.values() for value in state.values()]
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    return Measurement(
        epoch=(timer.times[-1] - timer.times[1]) * sum(tokens) / sum(probed),
        evaluation=seconds * sum(validation["length"][:]) / (len(batch) * max(batch["length"])),
        memory=loaded + growth * (peak_memory() - loaded),
        trained=sum(weight.numel() for weight in weights),
        checkpoint=sum(tensor.nbytes for tensor in (*weights, *moments) if isinstance(tensor, torch.Tensor)),
    )


def count_times(strategy: str, interval: float, steps: int, epochs: float) -> int:
    """How often a run evaluates: every `interval` steps, or share of the steps below 1, and in the end."""
    every = math.ceil(interval * (steps if interval < 1 else 1))
    return {"no": 0, "steps": math.ceil(steps / every), "epoch": math.ceil(epochs)}[strategy]


def print_plan(flags: Flags, args: TrainingArguments, base: str, tokenizer: Tokenizer, examples: DatasetDict) -> None:
    """Print how long the run takes, in how much memory, how large a checkpoint is, and what makes it smaller."""
    train, validation = examples["train"], draw_validation(examples["validation"], flags.validation_examples)
    steps = count_steps(args, len(train))
    epochs = steps / math.ceil(len(train) / count_step_examples(args))
    evaluations = args.eval_on_start + count_times(args.eval_strategy.value, args.eval_steps, steps, epochs)
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
    times = [format_seconds(seconds) for seconds in (run.epoch, epochs * run.epoch + evaluations * run.evaluation)]
    row = [run.trained, *times, format_bytes(run.memory), format_bytes(run.checkpoint)]
    print(format_table([["parameters trained", "an epoch", "the run", "memory", "a checkpoint"], row]))
    if run.memory > 0.95 * memory:
        advice = advise_memory(args, flags.use_lora)
        print(f"That is too much for {format_bytes(memory)} of memory: {advice}.")
