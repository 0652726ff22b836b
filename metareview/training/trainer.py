"""The Hugging Face Trainer for summaries: steps of about one length, and losses that are means over tokens."""

import math
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from torch.utils.data import DataLoader
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainingArguments
from transformers.trainer_utils import EvalPrediction, TrainOutput
from transformers.utils import logging as transformers_logging

from metareview.common.cli import InputError, format_bytes
from metareview.common.device import OutOfMemory, is_out_of_memory, overflows_in_fp16
from metareview.common.model import check_causality
from metareview.data.tokenization import IGNORE_INDEX
from metareview.training.arguments import count_step_examples
from metareview.training.batching import AnyModel, LengthGroupedSampler, SummaryCollator, use_summary_loss
from metareview.training.callbacks import EpochSetter, Progress
from metareview.training.checkpoints import checkpoint_folder, find_checkpoint, find_fault

MEMORY_ADVICE = (
    "set BATCH_SIZE = 1 and ACCUMULATION_STEPS as many times larger, which trains the same; if that is not enough, "
    "GRADIENT_CHECKPOINTING = True, USE_LORA = True, several GPUs (configs/fsdp2.yaml), a smaller --max_length or MODEL"
)
TRIED_EXAMPLES = 4  # by which fp16 is tried
Batch = dict[str, Any]  # `input_ids` and `labels`, both (batch, length)


def mean_over_tokens(sums_and_counts: EvalPrediction) -> dict[str, float]:
    """The mean loss of a token over all examples, in nats."""
    return {"loss": float(sums_and_counts.predictions.sum() / sums_and_counts.label_ids.sum())}


class SummaryTrainer(Trainer):
    """The Trainer, with steps of about one length and an `eval_loss` that is the mean over tokens, not batches.

    Several processes take the steps that one would take: the same examples, each once. A NaN or infinite loss or
    gradient stops the run.
    """

    def __init__(self, model: AnyModel, args: TrainingArguments, **others: Any) -> None:
        """Raises `InputError` for flags that do not go together, `OutOfMemory` for a model that is too large."""
        use_summary_loss(model)
        context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        collator = SummaryCollator(others["processing_class"].pad_token_id, context or sys.maxsize)
        asks_for_fsdp = bool(args.fsdp) or os.environ.get("ACCELERATE_USE_FSDP") == "true"
        try:
            if args.fp16 and not asks_for_fsdp:  # with FSDP only the first process has the weights by now
                batch = collator(list(others["train_dataset"].take(TRIED_EXAMPLES)))
                if overflows_in_fp16(model.to(args.device), batch):
                    args.fp16, args.mixed_precision = False, "no"
                    print("This model overflows in fp16. Training is in fp32, which is slower.")
            super().__init__(model=model, args=args, data_collator=collator, compute_metrics=mean_over_tokens, **others)
            check_causality(model)
        except (ImportError, RuntimeError, ValueError) as error:
            if is_out_of_memory(error):
                raise OutOfMemory(f"out of memory at step 1; {MEMORY_ADVICE}") from error
            if isinstance(error, RuntimeError):
                raise
            told = " ".join(str(error).split())
            raise InputError(f"the Trainer cannot work with these flags and TRAINER: {told}") from error
        if asks_for_fsdp and not self.is_fsdp_enabled:
            raise InputError("FSDP needs GPUs: accelerate would use DDP here, without a word. Choose configs/ddp.yaml")
        if asks_for_fsdp and "FULL" not in str(self.accelerator.state.fsdp_plugin.state_dict_type):
            raise InputError("fsdp_state_dict_type must be FULL_STATE_DICT: else no checkpoint is a complete model")
        for config in (model.config, model.generation_config):  # else the Trainer fills it in, with a warning
            config.pad_token_id = self.processing_class.pad_token_id
        self.remove_callback(ProgressCallback)
        self.remove_callback(PrinterCallback)
        seed = args.seed if args.data_seed is None else args.data_seed
        self.sampler = LengthGroupedSampler(self.train_dataset["length"][:], count_step_examples(args), seed)
        self.add_callback(Progress())
        self.add_callback(EpochSetter(self.sampler))

    def get_train_dataloader(self) -> DataLoader:
        loader = DataLoader(
            self.train_dataset,
            self.args.train_batch_size,
            sampler=self.sampler,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
            prefetch_factor=self.args.dataloader_prefetch_factor,
        )
        return self.accelerator.prepare(loader)

    def get_batch_samples(self, epoch_iterator: Iterator[Batch], *args: Any) -> tuple[list[Batch], Any]:
        return super().get_batch_samples(map(self._ignore_filling, epoch_iterator), *args)

    def _ignore_filling(self, batch: Batch) -> Batch:
        """A batch without labels for examples that are in it a second time: they must not count twice.

        At the end of an epoch accelerate fills up the batches with first examples again, so that each process has one
        of the same size.
        """
        batch_size = self.args.train_batch_size
        missing = -len(self.train_dataset) % (batch_size * self.args.world_size)
        if missing and self.accelerator.gradient_state.end_of_dataloader:
            own = batch_size * (self.args.world_size - self.args.process_index) - missing  # the last process's go first
            batch["labels"][max(0, own) :] = IGNORE_INDEX
        return batch

    def training_step(self, *args: Any, **more: Any) -> torch.Tensor:
        self.last_loss = super().training_step(*args, **more)
        return self.last_loss

    # Private: no callback is told the norm of every step, and after the step the weights are spoilt.
    # https://github.com/huggingface/transformers/issues/26143 asked for it, and got it in the logs alone.
    def _get_grad_norm(self, *args: Any, **more: Any) -> float:
        norm = super()._get_grad_norm(*args, **more)
        # With fp16 a gradient may overflow: its step is skipped and the next ones are scaled down.
        if not math.isfinite(norm) and (self.accelerator.scaler is None or not torch.isfinite(self.last_loss)):
            steps = self.sampler.steps()
            rows = ", ".join(map(str, steps[self.state.global_step % len(steps)]))
            raise FloatingPointError(
                f"step {self.state.global_step + 1}: the loss is {self.last_loss.item():.4g}, the norm of the gradient "
                f"{norm:.4g}. Its examples: rows {rows} of the tokenized train split. Look at them, or try a smaller "
                "LEARNING_RATE, --warmup_steps 100, or --bf16 False (--fp16 False)."
            )
        return norm

    def prediction_step(self, model: torch.nn.Module, inputs: Batch, *_: Any, **__: Any) -> tuple[Any, ...]:
        """Per example: the sum of its tokens' losses (as "logits") and their number (as "labels"), shape (batch,)."""
        with torch.no_grad(), self.compute_loss_context_manager():
            sums = model(**inputs).loss
        return None, sums, (inputs["labels"][:, 1:] != IGNORE_INDEX).sum(1)

    def train(self, resume_from_checkpoint: str | None = None) -> TrainOutput:
        """Train to the last step or to a stop. Raises `OSError`, with advice, where memory or disk is too small."""
        if resume_from_checkpoint:
            self.args.eval_on_start = False
            # It warns that intervals differ, which they may, and that weights are missing, which are loaded already.
            transformers_logging.set_verbosity_error()
        try:
            return super().train(resume_from_checkpoint)
        except BaseException as error:
            # Closes the progress bar, so that what is said comes last, and lets signals end the process again.
            self.callback_handler.on_train_end(self.args, self.state, self.control)
            if is_out_of_memory(error):
                raise OutOfMemory(f"out of memory at step {self.state.global_step + 1}; {MEMORY_ADVICE}") from error
            if isinstance(error, UnpicklingError):
                what = f"{resume_from_checkpoint!r} holds something else than numbers, and none of it was run"
                raise InputError(f"{what}. Delete it, and run the same command again") from error
            if isinstance(error, (OSError, RuntimeError, SafetensorError)):  # RuntimeError: torch, on a full disk
                _explain_unsaved(checkpoint_folder(self.args, self.state), error)
            raise


def _explain_unsaved(checkpoint: Path, error: Exception) -> None:
    """Raise an `OSError` that says what to do where an error came up while a checkpoint was saved."""
    if not checkpoint.exists() or find_fault(checkpoint) is None:
        return
    complete = find_checkpoint(checkpoint.parent)
    then = f"resumes from {complete.name}" if complete else "starts over: no checkpoint is complete"
    reason = f"{str(error).splitlines()[0]} ({format_bytes(shutil.disk_usage(checkpoint.parent).free)} of disk free)"
    raise OSError(f"{checkpoint} was not saved: {reason}. When there is room, the same command {then}") from error


@contextmanager
def process_group() -> Iterator[None]:
    """Leave the group of processes, if there is one, in the end: a process that just stops may end in an abort."""
    try:
        yield
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
