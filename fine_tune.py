"""Fine-tune a causal language model to write meta-reviews: the second of three scripts.

    python fine_tune.py                                             # what the constants below say
    python fine_tune.py --num_train_epochs 3 --learning_rate 2e-5   # each constant is a flag, as are the Trainer's
    python fine_tune.py --model_name_or_path EleutherAI/pythia-410m --output_dir pythia-410m_finetuned
    python fine_tune.py --resume_from_checkpoint pythia_finetuned/checkpoint-962     # go on after an interruption
    python fine_tune.py --restart                                   # begin again: deletes the checkpoints there

It reads what processing_meta_review.py wrote and writes `pythia_finetuned/`: model, tokenizer, loss curve, model card.
Next: python evaluation.py
"""

import inspect
import json
import math
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, DatasetDict
from huggingface_hub import ModelCardData
from matplotlib.figure import Figure
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    PreTrainedModel,
    Trainer,
    TrainingArguments,
    set_seed,
)
from transformers import PreTrainedTokenizerBase as Tokenizer
from transformers.trainer_callback import TrainerState
from transformers.trainer_utils import EvalPrediction, SchedulerType

from processing_meta_review import (
    IGNORE_INDEX,
    KEEP,
    PROCESSED_DIR,
    PROMPT_MARK,
    REVIEW_SEPARATOR,
    InputError,
    TokenizationArguments,
    explain_loading,
    load_source,
    load_tokenizer,
    parse_flags,
    read_record,
    run,
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
CHECKPOINTS_KEPT = 2  # the newest ones; the best one always stays
MAX_NEW_TOKENS = 256  # default length of a generated summary, saved with the model
OUTPUT_DIR = "pythia_finetuned"  # the fine-tuned model
SEED = 42  # order of the examples; on a CPU the same seed gives the same weights, bit for bit

SWITCH = {"nargs": "?", "const": True}  # a flag that may stand without a value: --bf16
TRAINING_RECORD = "training_record.json"  # in the output folder: base model, data, settings, results


@dataclass
class FineTuningArguments(TokenizationArguments, TrainingArguments):
    """The Trainer's arguments with this project's defaults, and where the data lie."""

    model_name_or_path: str = field(default=MODEL, metadata={"help": "Hub id or folder of the model to fine-tune"})
    dataset_name: str = field(default=PROCESSED_DIR, metadata={"help": "cleaned data set: a folder or a Hub id"})
    output_dir: str = field(default=OUTPUT_DIR, metadata={"help": "folder of the fine-tuned model"})
    restart: bool = field(default=False, metadata={"help": "delete the checkpoints in output_dir and begin again"})
    evaluations_per_epoch: int = field(default=EVALUATIONS_PER_EPOCH, metadata={"help": "unless --eval_steps is given"})
    max_new_tokens: int = field(default=MAX_NEW_TOKENS, metadata={"help": "default length of a generated summary"})
    num_train_epochs: float = field(default=EPOCHS, metadata={"help": "passes over the training examples"})
    learning_rate: float = field(default=LEARNING_RATE, metadata={"help": "at the start; falls linearly to zero"})
    per_device_train_batch_size: int = field(default=BATCH_SIZE, metadata={"help": "examples per step and device"})
    gradient_accumulation_steps: int = field(default=ACCUMULATION_STEPS, metadata={"help": "steps added up"})
    per_device_eval_batch_size: int = field(default=EVALUATION_BATCH_SIZE, metadata={"help": "on validation"})
    save_total_limit: int | None = field(
        default=CHECKPOINTS_KEPT, metadata={"help": "checkpoints kept, besides the best"}
    )
    seed: int = field(default=SEED, metadata={"help": "order of the examples"})
    bf16: bool | None = field(default=None, metadata={"help": "default: where the hardware has it"} | SWITCH)
    fp16: bool | None = field(default=None, metadata={"help": "default: on a GPU that has no bf16"} | SWITCH)
    eval_strategy: str = field(default="steps", metadata={"help": "no, steps or epoch"})
    eval_steps: float | None = field(default=None, metadata={"help": "default: from --evaluations_per_epoch"})
    save_strategy: str | None = field(default=None, metadata={"help": "default: as --eval_strategy"})
    save_steps: float | None = field(default=None, metadata={"help": "default: as --eval_steps"})
    logging_steps: float | None = field(default=None, metadata={"help": "default: five times per evaluation"})
    eval_on_start: bool = field(default=True, metadata={"help": "evaluate before the first step"})
    metric_for_best_model: str | None = field(default="eval_loss", metadata={"help": "decides what is kept"})
    greater_is_better: bool | None = field(default=False, metadata={"help": "of that metric"})
    train_sampling_strategy: str = field(default="group_by_length", metadata={"help": "less padding than random"})
    logging_nan_inf_filter: bool = field(default=False, metadata={"help": "hide a loss that is not a number"})
    report_to: str = field(default="none", metadata={"help": "nothing is sent anywhere unless asked for"})

    def __post_init__(self) -> None:
        TokenizationArguments.__post_init__(self)
        for name in ("learning_rate", "num_train_epochs", "per_device_train_batch_size", "per_device_eval_batch_size",
                     "gradient_accumulation_steps", "evaluations_per_epoch", "max_new_tokens"):  # fmt: skip
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"--{name} must be greater than 0 and finite, got {getattr(self, name)}")
        if self.max_new_tokens > self.max_summary_tokens:
            raise ValueError(f"--max_new_tokens must be at most --max_summary_tokens ({self.max_summary_tokens})")
        if self.metric_for_best_model != "eval_loss":
            raise ValueError(f"--metric_for_best_model must be eval_loss, got {self.metric_for_best_model}")
        if self.push_to_hub:
            raise ValueError("--push_to_hub: push the finished folder instead, with hf upload (see README.md)")
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
    with explain_loading("model", name):
        return AutoModelForCausalLM.from_pretrained(name, dtype=dtype, use_safetensors=True)


def check_output_folder(arguments: FineTuningArguments) -> None:
    """Raise `InputError` where the folder holds something else, or a run that no flag says to continue or replace."""
    folder, resumed = Path(arguments.output_dir), arguments.resume_from_checkpoint
    names = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    others = {name for name in names if not re.fullmatch(r"checkpoint-\d+|\.new", name)}
    if folder.is_file() or (others and TRAINING_RECORD not in others):
        raise InputError(f"{str(folder)!r} exists and holds something else; nothing was written. Choose another folder")
    if resumed:
        state = Path(resumed, "trainer_state.json")
        if not state.is_file():
            raise InputError(f"--resume_from_checkpoint {resumed!r} is no whole checkpoint: it has no {state.name}")
        epochs = json.loads(state.read_text())["num_train_epochs"]
        if arguments.max_steps <= 0 and epochs != math.ceil(arguments.num_train_epochs):
            raise InputError(f"{resumed!r} is of a run with another number of epochs; give --num_train_epochs {epochs}")
    elif names and not arguments.restart:
        whole = [path.parent for path in folder.glob("checkpoint-*/trainer_state.json")]
        last = max(whole, key=lambda path: int(path.name.split("-")[1]), default=None)
        go_on = f"--resume_from_checkpoint {last} to go on, " if last else ""
        raise InputError(f"{str(folder)!r} holds a run: {go_on}--restart to begin again, or another --output_dir")


def load_examples(
    arguments: FineTuningArguments, tokenizer: Tokenizer, limit: int
) -> tuple[DatasetDict, dict[str, Any]]:
    """Tokenized splits that fit the model, and the record of what they were made with.

    The tokenized folder is used when its record says that it was made from these texts with this tokenizer, prompt and
    context; otherwise the texts are tokenized again. Raises `InputError` where there is neither.
    """
    name, saved, texts = arguments.dataset_name, read_record(arguments.tokenized_dir), DatasetDict()
    if Path(name).exists() or "/" in name:
        texts = load_source(name)
        for split in ("train", "validation"):
            if not {"review", "summary"} <= set(texts.column_names.get(split, [])) or not len(texts[split]):
                raise InputError(f"{name!r} has no split {split!r} with rows and the columns review and summary. "
                                 f"First: python processing_meta_review.py --dataset_name {name}")  # fmt: skip
    record = tokenization_record(texts, tokenizer, arguments) | ({} if texts else {"texts": saved.get("texts")})
    differences = ", ".join(key for key, value in record.items() if saved.get(key) != value)
    if saved and not differences:
        return DatasetDict.load_from_disk(arguments.tokenized_dir), saved
    if not texts:
        unfit = f", and {arguments.tokenized_dir!r} does not fit: it differs in {differences}" if saved else ""
        raise InputError(f"there is no {name!r} here{unfit}. First: python processing_meta_review.py")
    why = f"{arguments.tokenized_dir} differs in {differences}" if saved else f"there is no {arguments.tokenized_dir}"
    print(f"Tokenizing {name} again: {why}.")
    cleaning = {"dataset_name": name, "keep": KEEP, "review_separator": REVIEW_SEPARATOR} | read_record(name)
    return tokenize_splits(texts, tokenizer, limit, arguments), cleaning | record


@dataclass
class SummaryCollator:
    """Pads examples on the left, so that all summaries end in the last column, and asks for logits only there.

    The prompt has no labels, and the output layer over its tokens would cost a small model most of its time and memory.
    `labels`, of shape (batch, logits_to_keep), has only the last columns: the longest summary and one before it, which
    predicts its first token. All others have the shape (batch, length).
    """

    pad_token_id: int
    forward_arguments: frozenset[str]  # what the model's forward takes; without logits_to_keep all logits are computed

    def __call__(self, examples: list[dict[str, list[int]]]) -> dict[str, Any]:
        length = max(len(example["input_ids"]) for example in examples)

        def pad(values: list[int], padding: int) -> list[int]:
            return [padding] * (length - len(values)) + list(values)

        mask = torch.tensor([pad([1] * len(example["input_ids"]), 0) for example in examples])
        batch = {
            "input_ids": torch.tensor([pad(example["input_ids"], self.pad_token_id) for example in examples]),
            "attention_mask": mask,
            "labels": torch.tensor([pad(example["labels"], IGNORE_INDEX) for example in examples]),
        }
        if "position_ids" in self.forward_arguments:  # GPT-2 would count the padding otherwise
            batch["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)
        if "logits_to_keep" in self.forward_arguments:
            first_label = int((batch["labels"] != IGNORE_INDEX).any(0).nonzero()[0])
            batch["logits_to_keep"] = length - first_label + 1
            batch["labels"] = batch["labels"][:, first_label - 1 :]
        return batch


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
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        chunks = torch.randperm(len(self), generator=generator).split(50 * self.step_size)
        chunks = [chunk[self.lengths[chunk].argsort(stable=True)] for chunk in chunks]
        *steps, last = [step for chunk in chunks for step in chunk.split(self.step_size)]  # the last may be smaller
        shuffled = [steps[index] for index in torch.randperm(len(steps), generator=generator)]
        return iter(torch.cat([*shuffled, last]).tolist())


class SummaryTrainer(Trainer):
    """The Trainer, with steps of about one length and an `eval_loss` that is the mean over tokens, not batches."""

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> torch.utils.data.Sampler[int] | None:
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        step_size = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        return LengthGroupedOrder(self.train_dataset["length"][:], step_size, self.args.seed)

    def prediction_step(
        self, model: torch.nn.Module, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[None, torch.Tensor, torch.Tensor]:
        """Per example: the sum of its tokens' losses (as "logits") and their number (as "labels"), shape (batch,)."""
        inputs = self._prepare_inputs(inputs)
        targets = inputs.pop("labels")[:, 1:]
        learned = targets != IGNORE_INDEX
        with torch.no_grad(), self.compute_loss_context_manager():
            logits = model(**inputs).logits[:, :-1][learned].float()
        losses = torch.nn.functional.cross_entropy(logits, targets[learned], reduction="none")
        sums = losses.new_zeros(len(targets)).index_add(0, learned.nonzero()[:, 0], losses)
        return None, sums, learned.sum(1)


def mean_over_tokens(sums_and_counts: EvalPrediction) -> dict[str, float]:
    """The mean loss of a token over all examples, in nats."""
    return {"loss": float(sums_and_counts.predictions.sum() / sums_and_counts.label_ids.sum())}


def summarize(state: TrainerState, metrics: dict[str, float]) -> dict[str, float | None]:
    """Epochs, steps, losses; `eval_loss` is that of the model that is saved, None where it was not evaluated."""
    losses = {entry["step"]: entry["eval_loss"] for entry in state.log_history if "eval_loss" in entry}
    best = state.best_model_checkpoint
    return {
        "epochs": state.epoch,
        "steps": state.global_step,
        "train_loss": metrics["train_loss"],
        "eval_loss_before": losses.get(0),
        "eval_loss": losses.get(int(best.rpartition("-")[2]) if best else state.global_step),
    }


def describe_loss(loss: float | None) -> str:
    """A validation loss in words, with the perplexity."""
    perplexity = math.inf if loss is None or loss > 700 else math.exp(loss)
    return "not evaluated" if loss is None else f"{loss:.4f} (perplexity {perplexity:.2f})"


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


def model_card(arguments: FineTuningArguments, record: dict, results: dict, chat_template: str) -> str:
    """README.md of the saved model: what it is, how to use it, what it was made with, how it did."""
    on_hub = not Path(arguments.model_name_or_path).exists()
    # Where a folder lies on this machine is nobody else's business.
    names = (arguments.model_name_or_path, record["dataset_name"], arguments.output_dir)
    base, data, folder = (Path(name).name if Path(name).is_absolute() else name for name in names)
    message = "first review\n\nsecond review"
    if not chat_template.startswith(PROMPT_MARK):
        message = arguments.prompt_template.replace("{review}", message)
    metadata = ModelCardData(
        base_model=base if on_hub else None, library_name="transformers", pipeline_tag="text-generation"
    )
    precision = "bf16" if arguments.bf16 else "fp16" if arguments.fp16 else "off"
    schedule = SchedulerType(arguments.lr_scheduler_type).value
    settings = {
        "data": data,
        "epochs": f"{results['epochs']:g} ({results['steps']} steps)",
        "learning rate": f"{arguments.learning_rate:g}, {schedule} schedule",
        "examples per step": arguments.train_batch_size * arguments.gradient_accumulation_steps * arguments.world_size,
        "context": f"{record['max_length']} tokens, of which {record['max_summary_tokens']} are kept for the summary",
        "precision": f"weights trained and saved in fp32, autocast {precision}",
        "seed": arguments.seed,
        "training loss": f"{results['train_loss']:.4f} (mean over this run)",
        "validation loss before": describe_loss(results["eval_loss_before"]),
        "validation loss": describe_loss(results["eval_loss"]),
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in settings.items())
    return f"""---
{metadata.to_yaml()}
---
# {Path(arguments.output_dir).name}

Writes a meta-review from the peer reviews of a paper. Fine-tuned from `{base}`.
What it writes is a draft by a model: it can be wrong about the reviews and about the paper.

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{folder}")
model = AutoModelForCausalLM.from_pretrained("{folder}")
message = {message!r}  # reviews cleaned: only the characters {record["keep"]} and whitespace
inputs = tokenizer.apply_chat_template(
    [{{"role": "user", "content": message}}], add_generation_prompt=True, return_tensors="pt", return_dict=True
)
output = model.generate(**inputs)
print(tokenizer.decode(output[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True))
```

| | |
|---|---|
{table}

![loss curve](loss_curve.png)
"""


def save_result(
    model: PreTrainedModel, tokenizer: Tokenizer, texts: dict[str, str], history: list, folder: str
) -> None:
    """Write the model, further `texts` by file name and the loss curve beside, then put them in their place."""
    new = Path(folder, ".new")
    shutil.rmtree(new, ignore_errors=True)
    model.save_pretrained(new)
    tokenizer.save_pretrained(new)
    draw_loss_curve(history, new / "loss_curve.png")
    for name, text in texts.items():
        (new / name).write_text(text)
    for file in sorted(new.iterdir(), key=lambda file: file.name == "config.json"):  # last: it marks a finished model
        file.replace(Path(folder, file.name))
    new.rmdir()


def main() -> None:
    arguments: FineTuningArguments = parse_flags(FineTuningArguments, __doc__)
    check_output_folder(arguments)
    set_seed(arguments.seed)

    # 1. Load tokenizer, examples, model. A checkpoint too: the Trainer's own resuming loses GPT-NeoX's output layer.
    tokenizer, limit = load_tokenizer(arguments)
    examples, record = load_examples(arguments, tokenizer, limit)
    model = load_model(arguments.resume_from_checkpoint or arguments.model_name_or_path)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token  # only fills; whether a token is learned is up to the labels
    tokenizer.padding_side = "left"
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    model.generation_config = GenerationConfig(**ends, max_new_tokens=arguments.max_new_tokens)
    record |= {"base_model": arguments.model_name_or_path, "base_revision": getattr(model.config, "_commit_hash", None)}

    # 2. Train.
    forward_arguments = frozenset(inspect.signature(model.forward).parameters)
    if "logits_to_keep" not in forward_arguments:
        print(f"{type(model).__name__} takes no logits_to_keep: so logits are computed for the reviews too (slow).")
    trainer = SummaryTrainer(
        model=model,
        args=arguments,
        data_collator=SummaryCollator(tokenizer.pad_token_id, forward_arguments),
        train_dataset=examples["train"],
        eval_dataset=examples["validation"],
        processing_class=tokenizer,
        compute_metrics=mean_over_tokens,
    )
    if arguments.restart and not arguments.resume_from_checkpoint:
        for checkpoint in Path(arguments.output_dir).glob("checkpoint-[0-9]*"):
            shutil.rmtree(checkpoint)
    metrics = trainer.train(resume_from_checkpoint=arguments.resume_from_checkpoint).metrics

    # 3. Save the best model.
    best = trainer.state.best_model_checkpoint
    results = summarize(trainer.state, metrics)
    model = load_model(best) if best else model
    model.config.use_cache = True  # the Trainer turns it off
    record["results"] = results
    texts = {TRAINING_RECORD: json.dumps(record, indent=2) + "\n"}
    texts["README.md"] = model_card(arguments, record, results, tokenizer.chat_template)
    save_result(model, tokenizer, texts, trainer.state.log_history, arguments.output_dir)

    # 4. Say what came out.
    print(f"{results['epochs']:g} epochs, {results['steps']} steps, "
          f"{metrics['train_samples_per_second']:.2f} examples/s with evaluation")  # fmt: skip
    print(f"Training loss {results['train_loss']:.4f}; validation loss {describe_loss(results['eval_loss_before'])} "
          f"before, {describe_loss(results['eval_loss'])} after")  # fmt: skip
    print(f"Model: {arguments.output_dir} ({f'the best, from {Path(best).name}' if best else 'as it was at the end'})")
    flag = "" if arguments.output_dir == OUTPUT_DIR else f" --model_name_or_path {arguments.output_dir}"
    print(f"Next: python evaluation.py{flag}")


if __name__ == "__main__":
    run(main)
