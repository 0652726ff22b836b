"""`--plan`: how long a run takes and in how much memory, from a few real steps."""

import copy
import math
import shutil
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil
import torch
import transformers
from datasets import Dataset, DatasetDict
from peft import PeftModel
from transformers import PreTrainedModel, TrainingArguments, set_seed
from transformers import PreTrainedTokenizerBase as Tokenizer
from transformers.trainer_callback import TrainerCallback, TrainerControl, TrainerState

from metareview.common.cli import format_bytes, format_count, format_seconds, format_table
from metareview.common.device import OutOfMemory, is_out_of_memory, peak_memory
from metareview.common.model import count_parameters, prepare_model
from metareview.data.tokenization import IGNORE_INDEX
from metareview.training.arguments import SummaryTrainingArguments, advise_memory
from metareview.training.batching import LengthGroupedOrder, SummaryCollator, draw_validation
from metareview.training.callbacks import Progress
from metareview.training.trainer import SummaryTrainer

# Which steps are tried, as places between the least and the most work. The first one warms up, the third shows the most
# memory, those after the fourth lie evenly, however many they are (multiples of the golden ratio).
PLACES = (0, 0, 1, 0.5, *(number * 0.618034 % 1 for number in range(1, 57)))
ENOUGH_SECONDS = 15  # after so long no further step is begun, if the first three are done
TRAINED_BYTES = 16  # of a parameter: fp32 with gradient and two moments
FROZEN_BYTES = {False: 2, True: 0.5}  # of a parameter: 16 bits; 4 bits, if it is loaded so
USABLE_MEMORY = 0.95  # the rest is needed by others
HEAP_GROWTH = 1.5  # on a CPU: what a whole run takes beside the model, against a few steps; see docs/bigger-models.md


@dataclass
class Measurement:
    """What a run costs: seconds of an epoch, of all steps, of an evaluation; bytes of memory and of a checkpoint."""

    trained_parameters: int
    epoch: float
    training: float
    evaluation: float
    memory: float
    checkpoint: float


class StepTimer(TrainerCallback):
    """Seconds of each step; ends the training after ENOUGH_SECONDS, not before the third step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.started = time.perf_counter()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - self.started)
        control.should_training_stop = len(self.seconds) >= 3 and sum(self.seconds) > ENOUGH_SECONDS


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
    for the labels only.
    """
    output = model.get_output_embeddings().weight
    embeddings = {model.get_input_embeddings().weight, output}  # one and the same where they are tied
    inner = model.num_parameters() - sum(weight.numel() for weight in embeddings)
    config = model.config.get_text_config()
    attention = 2 * config.num_hidden_layers * config.hidden_size
    lengths = np.array(rows["length"][:])
    learned = np.array([np.sum(labels != IGNORE_INDEX) for labels in rows.with_format("numpy")["labels"]])

    def count(step: list[int]) -> int:
        longest = lengths[step].max()
        return len(step) * longest * (inner + longest * attention) + learned[step].sum() * output.numel()

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


def choose_steps(work: np.ndarray, steps: list[list[int]]) -> list[int]:
    """Which steps are tried, by their place in the order of the work; all but the last have the same size."""
    ascending = [int(index) for index in work.argsort(kind="stable") if len(steps[index]) == len(steps[0])]
    return [ascending[round(place * (len(ascending) - 1))] for place in PLACES]


def build_probe(
    model: PreTrainedModel | PeftModel,
    arguments: SummaryTrainingArguments,
    tokenizer: Tokenizer,
    train: Dataset,
    validation: Dataset,
    timer: StepTimer,
) -> SummaryTrainer:
    """The Trainer of a run, for these examples in their order; nothing is evaluated, saved or printed on the way."""
    arguments.max_steps, arguments.train_sampling_strategy = len(PLACES), "sequential"
    arguments.eval_strategy = arguments.save_strategy = "no"
    arguments.eval_on_start, arguments.disable_tqdm, arguments.logging_steps = False, True, len(PLACES) + 1
    transformers.utils.logging.set_verbosity_error()
    trainer = SummaryTrainer(
        model=model,
        args=arguments,
        data_collator=SummaryCollator.for_model(model, tokenizer),
        train_dataset=train,
        eval_dataset=draw_validation(validation, arguments.validation_examples),
        processing_class=tokenizer,
        callbacks=[timer],
    )
    trainer.remove_callback(Progress)
    return trainer


def measure_run(arguments: SummaryTrainingArguments, tokenizer: Tokenizer, examples: DatasetDict) -> Measurement:
    """Take a few real steps and work out the whole run from them.

    To be called in a process of its own: it changes `arguments`, and the peak of memory is the process's.
    """
    transformers.utils.logging.disable_progress_bar()
    set_seed(arguments.seed)
    train, timer = examples["train"], StepTimer()
    model = prepare_model(arguments.model_name_or_path, arguments.adapter)
    loaded, growth = peak_memory(), HEAP_GROWTH if arguments.use_cpu else 1
    steps = LengthGroupedOrder(train["length"][:], arguments.step_size, arguments.order_seed).steps()
    work, all_steps = count_work(model, train, steps), arguments.count_steps(len(train))
    probes = choose_steps(work, steps)
    rows = train.select([row for index in probes for row in steps[index]])
    trainer = build_probe(model, arguments, tokenizer, rows, examples["validation"], timer)
    trainer.train()
    taken = work[probes[: len(timer.seconds)]]
    evaluation = time_evaluation(trainer, 1 if len(taken) == 3 else arguments.per_device_eval_batch_size)
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    states = trainer.optimizer.state.values()
    moments = sum(value.nbytes for state in states for value in state.values() if torch.is_tensor(value))
    seconds = fit_line(taken[1:], np.array(timer.seconds[1:]))(work)
    return Measurement(
        trained_parameters=trained,
        epoch=float(seconds.sum()),
        training=float(np.resize(seconds, all_steps).sum()),  # epoch after epoch, up to its last step
        evaluation=evaluation,
        memory=float(loaded + growth * (peak_memory() - loaded)),
        checkpoint=4 * trained + moments,
    )


def measure_apart(arguments: SummaryTrainingArguments, *data: Any) -> Measurement | None:
    """`measure_run` in a process of its own; None where memory was too small."""
    try:
        with TemporaryDirectory() as folder, ProcessPoolExecutor(1, get_context("spawn")) as pool:
            arguments.output_dir = folder  # the Trainer makes it, even if it never writes to it
            return pool.submit(measure_run, arguments, *data).result()
    except (RuntimeError, OutOfMemory) as error:
        if not is_out_of_memory(error):
            raise
        return None


def count_evaluations(arguments: SummaryTrainingArguments, steps: int, epochs: float) -> int:
    """Evaluations in a run of so many steps: before the first one, on the way and in the end."""
    every = math.ceil(arguments.eval_steps * (steps if arguments.eval_steps < 1 else 1))
    on_the_way = {"no": 0, "steps": math.ceil(steps / every), "epoch": math.ceil(epochs)}
    return arguments.eval_on_start + on_the_way[arguments.eval_strategy.value]


def describe_length(arguments: SummaryTrainingArguments, train: Dataset, evaluations: int) -> str:
    """How many examples, tokens, steps and evaluations a run has."""
    steps = arguments.count_steps(len(train))
    epochs = steps / math.ceil(len(train) / arguments.step_size)
    spread = f"{epochs:.3g} {'epoch is' if epochs == 1 else 'epochs are'} {format_count(steps, 'step')}"
    return (
        f"{format_count(len(train), 'example')} of {sum(train['length'][:]):,} tokens; "
        f"{spread} of {format_count(arguments.step_size, 'example')}, with {format_count(evaluations, 'evaluation')}"
    )


def print_plan(arguments: SummaryTrainingArguments, tokenizer: Tokenizer, examples: DatasetDict) -> None:
    """Print how long the run takes, in how much memory and disk, and what to change where it does not fit."""
    train = examples["train"]
    steps = arguments.count_steps(len(train))
    evaluations = count_evaluations(arguments, steps, steps / math.ceil(len(train) / arguments.step_size))
    print(describe_length(arguments, train, evaluations))
    cuda = torch.cuda.is_available()
    memory = torch.cuda.mem_get_info()[1] if cuda else psutil.virtual_memory().total
    output_dir = Path(arguments.asked_output_dir or ".").absolute()
    disk = shutil.disk_usage(next(path for path in (output_dir, *output_dir.parents) if path.exists())).free
    bytes_of_one = FROZEN_BYTES[arguments.load_in_4bit] if arguments.use_lora else TRAINED_BYTES
    least = count_parameters(arguments.model_name_or_path) * bytes_of_one  # without the activations
    run = measure_apart(copy.copy(arguments), tokenizer, examples) if least < memory else None
    needed = run.memory if run else max(least, USABLE_MEMORY * memory)
    advice = []
    if needed >= USABLE_MEMORY * memory:
        advice.append(f"It does not fit: {advise_memory(arguments, least > memory)}.")
    if run:
        # The ones kept, the best one, and the one that is being written before the oldest one goes.
        space = run.checkpoint * ((arguments.checkpoints_kept or evaluations) + 2) + 4 * run.trained_parameters
        if space > disk:
            advice.append("The disk is too full for that: give an --output_dir on another.")
        whole = run.training + evaluations * run.evaluation
        costs = [run.trained_parameters, format_seconds(run.epoch), format_seconds(whole)]
        costs += [format_bytes(run.memory), format_bytes(space)]
        print(format_table([["parameters trained", "an epoch", "the run", "memory", "disk"], costs]))
    else:
        print(f"It takes over {format_bytes(needed)} of memory.")
    place = " on the GPU" if cuda else ""
    print(f"Here are {format_bytes(memory)} of memory{place} and {format_bytes(disk)} of free disk.")
    for line in advice:
        print(line)
