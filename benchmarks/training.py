"""Time fine-tuning: the recipe that this toolkit replaces, TRL's SFTTrainer and fine_tune.py, in turn on the same rows.

    python benchmarks/training.py                      # Pythia-70m's shape, 48 rows of tokenized_meta_review/
    python benchmarks/training.py --contestants ours bare --rounds 5
    python benchmarks/training.py --contestants trl trl_random trl_packed trl_fp32      # which settings suit TRL best

Every contestant sees each row once, four to an optimizer step, after a warm-up on other rows, in a process of its own.
"""

import argparse
import gc
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any

import torch
from datasets import DatasetDict
from matplotlib.figure import Figure
from measuring import (
    PYTHIA,
    RESULTS,
    SEED,
    draw_steps,
    make_pythia,
    make_tokenizer,
    medians,
    parse,
    print_ratios,
    save_results,
    seconds,
    take_turns,
    train_step,
)
from transformers import Trainer, TrainingArguments, set_seed
from trl import SFTConfig, SFTTrainer

from fine_tune import (
    EVALUATION_BATCH_SIZE,
    EVALUATIONS_PER_EPOCH,
    TOKENIZED_DIR,
    VALIDATION_EXAMPLES,
    FineTuningFlags,
)
from metareview.common.cli import run
from metareview.common.device import choose_device, peak_memory
from metareview.training.arguments import build_training_arguments
from metareview.training.batching import LengthGroupedSampler, SummaryCollator, draw_validation, use_summary_loss
from metareview.training.trainer import SummaryTrainer

TRAIN_EXAMPLES, VALIDATION_ALL = 7_692, 1_649  # zqz979/meta-review
STEP = 4  # examples per optimizer step
WARM_UP = 8  # rows
OLD_EVALUATION_STEPS = 120  # the old recipe evaluated all of validation so often
QUIET = {
    "report_to": "none",
    "disable_tqdm": True,
    "save_strategy": "no",
    "logging_steps": 10_000,
    "num_train_epochs": 1,
    "seed": SEED,
    "use_cpu": choose_device()[0] == "cpu",
}


def old_recipe(model: torch.nn.Module, rows: DatasetDict, folder: str) -> Trainer:
    """Batches of one in fp32, Adafactor, the loss over the whole text, one by one in evaluation too."""
    whole = rows.map(lambda row: {"labels": row["input_ids"]}).remove_columns("length")
    arguments = TrainingArguments(
        folder,
        per_device_train_batch_size=1,
        per_device_eval_batch_size=1,
        gradient_accumulation_steps=STEP,
        optim="adafactor",
        learning_rate=1e-5,
        **QUIET,
    )
    return Trainer(model, arguments, train_dataset=whole["train"], eval_dataset=whole["validation"])


def trl(model: torch.nn.Module, rows: DatasetDict, folder: str, **settings: Any) -> Trainer:
    """TRL's SFTTrainer, the loss on the summary only; `settings` differ from those that suit it best here."""
    dtype = choose_device()[1]
    best = {
        "bf16": dtype == torch.bfloat16,
        "fp16": dtype == torch.float16,
        "per_device_train_batch_size": STEP,
        "per_device_eval_batch_size": EVALUATION_BATCH_SIZE,
        "train_sampling_strategy": "group_by_length",
        "gradient_checkpointing": False,
        "max_length": 2048,
        "learning_rate": 1e-5,
    }
    arguments = SFTConfig(folder, **QUIET, **(best | settings))
    splits = rows.select_columns(["input_ids", "labels"])
    return SFTTrainer(
        model,
        arguments,
        train_dataset=splits["train"],
        eval_dataset=splits["validation"],
        processing_class=make_tokenizer(),
    )


def ours(model: torch.nn.Module, rows: DatasetDict, folder: str) -> Trainer:
    """What fine_tune.py does with its default constants."""
    how = {"eval_strategy": "no", "save_strategy": "no", "logging_steps": QUIET["logging_steps"], "seed": SEED}
    trainer = {name: QUIET[name] for name in ("disable_tqdm", "use_cpu")}
    arguments = build_training_arguments(FineTuningFlags(output_dir=folder, trainer=trainer, **how))
    tokenizer = make_tokenizer()
    return SummaryTrainer(
        model=model,
        args=arguments,
        train_dataset=rows["train"],
        eval_dataset=draw_validation(rows["validation"], VALIDATION_EXAMPLES),
        processing_class=tokenizer,
    )


class Bare:
    """The model, the optimizer and the batches of fine_tune.py, without a Trainer: what its loop costs."""

    def __init__(self, model: torch.nn.Module, rows: DatasetDict, folder: str) -> None:
        self.model, collate = model.to(choose_device()[0]), SummaryCollator(0)
        use_summary_loss(model)
        order = list(LengthGroupedSampler(rows["train"]["length"][:], STEP, SEED))
        examples = rows["train"].remove_columns("length").to_list()
        self.batches = [collate([examples[i] for i in order[k : k + STEP]]) for k in range(0, len(order), STEP)]

    def train(self) -> None:
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-5, fused=True)
        self.model.train()
        for batch in self.batches:
            train_step(self.model, optimizer, batch)


CONTESTANTS: dict[str, Callable[..., Any]] = {
    "old": old_recipe,
    "trl": trl,
    "ours": ours,
    "bare": Bare,
    "small_pages": ours,
    "tcmalloc": ours,
    "trl_random": lambda *a: trl(*a, train_sampling_strategy="random"),
    "trl_packed": lambda *a: trl(*a, packing=True, per_device_train_batch_size=1, train_sampling_strategy="random"),
    "trl_fp32": lambda *a: trl(*a, bf16=False, fp16=False),
}
ENVIRONMENTS = {  # in which a contestant runs; the others run as the scripts do, with huge pages
    "small_pages": {"THP_MEM_ALLOC_ENABLE": "0"},
    "tcmalloc": {"LD_PRELOAD": "libtcmalloc_minimal.so.4"},  # Debian's package libtcmalloc-minimal4
}


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """Train and evaluate one contestant: examples/s, tokens/s, bytes."""
    set_seed(SEED)
    model, make = make_pythia(arguments.size), CONTESTANTS[arguments.contestant]
    drawn = draw_steps(arguments.tokenized_dir, "train", arguments.rows + WARM_UP, STEP)
    # Evaluated on what it trains on: rows of another length would make evaluation look dearer or cheaper than it is.
    rows, warm_up = (DatasetDict(train=part, validation=part) for part in (drawn.skip(WARM_UP), drawn.take(WARM_UP)))
    with TemporaryDirectory() as folder:
        make(model, warm_up, folder).train()
        gc.collect()  # a Trainer holds on to itself, and so to the optimizer of the warm-up
        trainer = make(model, rows, folder)
        time = seconds(trainer.train)
        result = {"examples/s": len(rows["train"]) / time, "tokens/s": sum(rows["train"]["length"][:]) / time}
        if isinstance(trainer, Trainer):
            trainer.evaluate(make(model, warm_up, folder).eval_dataset)
            result["evaluated/s"] = len(rows["validation"]) / seconds(trainer.evaluate)
    return result | {"GB": peak_memory() / 1e9}


def extrapolate(runs: list[dict[str, float]], evaluated: int) -> dict[str, float]:
    """Medians over the rounds, and the whole epoch in hours with `evaluated` validation examples in it."""
    result = medians(runs)
    if "evaluated/s" in result:
        training, evaluation = TRAIN_EXAMPLES / result["examples/s"], evaluated / result["evaluated/s"]
        epoch = training + evaluation
        result |= {"epoch hours": epoch / 3600, "evaluating": evaluation / epoch}
    return result


def draw(results: dict[str, dict[str, float]]) -> None:
    """Bars: examples/s and memory of each contestant."""
    figure = Figure(figsize=(8, 0.5 * len(results) + 1.2), layout="constrained")
    for axes, key in zip(figure.subplots(1, 2), ("examples/s", "GB"), strict=True):
        bars = axes.barh(list(results), [result[key] for result in results.values()])
        axes.bar_label(bars, fmt="%.2f", padding=3)
        axes.margins(x=0.15)
        axes.invert_yaxis()
        axes.set_xlabel("peak memory, GB" if key == "GB" else key)
    figure.savefig(RESULTS / "training.png", dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", default="70m", choices=PYTHIA, help="shape of the model")
    parser.add_argument("--tokenized_dir", default=TOKENIZED_DIR)
    parser.add_argument("--rows", type=int, default=48)
    parser.add_argument("--contestants", nargs="+", default=["old", "trl", "ours", "bare"], choices=CONTESTANTS)
    arguments = parse(parser, measure)
    runs = take_turns(__file__, arguments, ENVIRONMENTS)
    few = (EVALUATIONS_PER_EPOCH + 1) * min(VALIDATION_ALL, VALIDATION_EXAMPLES)
    often = TRAIN_EXAMPLES // STEP // OLD_EVALUATION_STEPS * VALIDATION_ALL
    results = {name: extrapolate(runs[name], often if name == "old" else few) for name in runs}
    formats = {"examples/s": ".2f", "tokens/s": ".0f", "evaluated/s": ".2f", "GB": ".2f", "epoch hours": ".2f"}
    print_ratios(results, runs, formats | {"evaluating": ".0%"}, "examples/s")
    save_results("training", {"medians": results, "rounds": runs})
    draw(results)


if __name__ == "__main__":
    run(main)
