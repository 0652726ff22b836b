"""Batches of summaries: the loss where the labels are, padding, and the sampler."""

import inspect
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import wraps
from itertools import chain
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from torch.nn.functional import cross_entropy, pad
from torch.utils.checkpoint import checkpoint as recompute_backward
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from metareview.data.tokenization import IGNORE_INDEX

PADDED_TO = 64  # lengths are rounded up to a multiple of it: changes memory and speed, not the loss
CHUNK = 50  # steps whose examples are sorted by length together
VALIDATION_SEED = 42  # not the run's seed: validation is the same in every run, so that runs can be compared
AnyModel = PreTrainedModel | PeftModel


def _sum_losses(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The losses of an example's tokens, added up: `logits` (tokens, vocabulary), `targets` (tokens,)."""
    return cross_entropy(logits.float(), targets, ignore_index=IGNORE_INDEX, reduction="sum")


def summary_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    vocab_size: int | None = None,
    num_items_in_batch: torch.Tensor | int | None = None,
    **_: Any,
) -> torch.Tensor:
    """The mean loss of the summary tokens, or their sum divided by `num_items_in_batch`, as the stock loss.

    `labels` is (batch, length), `logits` (positions chosen, vocabulary), or (batch, length, vocabulary) for all tokens.
    Only the bf16 logits are kept for the backward pass, which computes them in fp32 again, for one example at a time:
    for all at once that would be the most memory that training needs. Without gradients, in evaluation, it is the sum
    of each example, shape (batch,). `vocab_size` is there because many models pass it by its position.
    """
    chosen, next_labels = _choose_positions(labels), _shift(labels)
    if logits.ndim == 3:
        logits = logits[chosen]
    counts = chosen.sum(1).tolist()
    examples = zip(logits.split(counts), next_labels[chosen].split(counts), strict=True)
    losses = torch.stack([recompute_backward(_sum_losses, *example, use_reentrant=False) for example in examples])
    if not torch.is_grad_enabled():
        return losses
    if num_items_in_batch is None:
        num_items_in_batch = (next_labels != IGNORE_INDEX).sum()
    return losses.sum() / num_items_in_batch


def use_summary_loss(model: AnyModel) -> None:
    """Let a model that gets labels compute logits where they are, `summary_loss` of these, and return the loss alone.

    The prompt has no labels, and the output layer over its tokens would cost a small model most of its time and memory.
    `accelerate`, which runs forward in autocast, would copy logits that are returned to fp32.
    """
    plain = model.get_base_model() if isinstance(model, PeftModel) else model
    forward = model.forward
    plain.loss_function = summary_loss
    takes_mask = "logits_to_keep" in inspect.signature(plain.forward).parameters
    if not takes_mask:
        print(f"{type(plain).__name__} takes no logits_to_keep: so logits are computed for the reviews too (slow).")

    @wraps(forward)
    def compute_loss(*args: Any, **inputs: Any) -> ModelOutput:
        if inputs.get("labels") is None:
            return forward(*args, **inputs)
        if takes_mask:
            inputs["logits_to_keep"] = _choose_positions(inputs["labels"])
        output = forward(*args, **inputs)
        return type(output)(loss=output.loss)

    model.forward = compute_loss


def _shift(labels: torch.Tensor) -> torch.Tensor:
    """At each position the label of the next one, which it predicts: (batch, length)."""
    return pad(labels[:, 1:], (0, 1), value=IGNORE_INDEX)


def _choose_positions(labels: torch.Tensor) -> torch.Tensor:
    """The positions that logits are computed for: those that predict a label; bool, (batch, length).

    Others, whose labels are ignored, make the number a multiple of PADDED_TO: a CPU meets few shapes.
    """
    chosen = _shift(labels) != IGNORE_INDEX
    others = (~chosen).flatten().nonzero()[: -int(chosen.sum()) % PADDED_TO]
    chosen.view(-1)[others] = True
    return chosen


@dataclass
class SummaryCollator:
    """Pads examples on the right: `input_ids` and `labels`, both (batch, length).

    A causal model does not see what comes after a token: so this needs no attention mask, and attention without one is
    faster. Lengths are rounded up to a multiple of PADDED_TO: a CPU builds and keeps kernels for each shape.
    """

    pad_token_id: int
    context: int = sys.maxsize  # tokens that the model can read

    def __call__(self, examples: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        longest = max(len(example["input_ids"]) for example in examples)
        length = max(longest, min(math.ceil(longest / PADDED_TO) * PADDED_TO, self.context))

        def fill(name: str, padding: int) -> torch.Tensor:
            return torch.tensor([[*example[name], *[padding] * (length - len(example[name]))] for example in examples])

        return {"input_ids": fill("input_ids", self.pad_token_id), "labels": fill("labels", IGNORE_INDEX)}


class LengthGroupedSampler(torch.utils.data.Sampler[int]):
    """A random order in which the examples of a step have about the same length, so that little is padded.

    The longest step of a run is its first one, so that too little memory shows at once. The order follows from the seed
    and the epoch alone, so that a resumed run sees the same order (the Trainer's own grouping draws from the global
    random state). `step_size` counts examples over all processes.
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
        chunks = torch.randperm(len(self), generator=generator).split(CHUNK * self.step_size)
        chunks = [chunk[self.lengths[chunk].argsort(stable=True)] for chunk in chunks]
        *steps, last = [step.tolist() for chunk in chunks for step in chunk.split(self.step_size)]
        steps = [*(steps[index] for index in torch.randperm(len(steps), generator=generator)), last]
        if self.epoch == 0:
            complete = [index for index, step in enumerate(steps) if len(step) == len(steps[0])]
            steps.insert(0, steps.pop(max(complete, key=lambda index: self.lengths[steps[index]].max())))
        return steps


def draw_validation(validation: Dataset, number: int) -> Dataset:
    """At most so many random examples, the same ones in every run, the longest first.

    Sorted, a batch holds examples of about one length, and memory that is too small shows at once.
    """
    drawn = validation.shuffle(VALIDATION_SEED).take(min(len(validation), number))
    longest_first = torch.tensor(drawn["length"][:]).argsort(descending=True, stable=True)
    return drawn.select(longest_first.tolist())
