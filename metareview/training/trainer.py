"""The Hugging Face Trainer for summaries: steps of about one length, and losses that are means over tokens."""

import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pickle import UnpicklingError
from typing import Any

import torch
from datasets import Dataset
from peft import PeftModel
from safetensors import SafetensorError
from torch.utils.data import DataLoader
from transformers import PreTrainedModel, PrinterCallback, ProgressCallback, Trainer, TrainingArguments
from transformers.trainer_callback import TrainerState
from transformers.trainer_utils import EvalPrediction, TrainOutput
from transformers.utils import logging as transformers_logging

from metareview.common.cli import InputError, format_bytes
from metareview.common.device import OutOfMemory, is_out_of_memory, overflows_in_fp16
from metareview.common.model import check_causality
from metareview.data.tokenization import IGNORE_INDEX
from metareview.training.arguments import advise_memory, count_step_examples
from metareview.training.batching import LengthGroupedSampler, use_summary_loss
from metareview.training.callbacks import EpochSetter, Progress
from metareview.training.checkpoints import checkpoint_folder, find_fault, list_checkpoints

TRIED_EXAMPLES = 4  # by which fp16 is tried


def mean_over_tokens(sums_and_counts: EvalPrediction) -> dict[str, float]:
    """The mean loss of a token over all examples, in nats."""
    return {"loss": float(sums_and_counts.predictions.sum() / sums_and_counts.label_ids.sum())}


class SummaryTrainer(Trainer):
    """The Trainer, with steps of about one length and an `eval_loss` that is the mean over tokens, not batches.

    Several processes take the steps that one would take: the same examples, each once. A NaN or infinite loss or
    gradient stops the run.
    """

    def __init__(self, model: PreTrainedModel | PeftModel, args: TrainingArguments, **others: Any) -> None:
        """Raises `InputError` for a reporting package or an FSDP that is not there, `OutOfMemory` for a large model."""
        use_summary_loss(model)
        self.advice = advise_memory(args, isinstance(model, PeftModel))
        try:
            if args.fp16:
                _check_fp16(model, args, others["data_collator"](list(others["train_dataset"].take(TRIED_EXAMPLES))))
            super().__init__(model=model, args=args, compute_metrics=mean_over_tokens, **others)
            check_causality(model)
        except (ImportError, RuntimeError, ValueError) as error:
            if is_out_of_memory(error):
                raise OutOfMemory(f"out of memory at step 1; {self.advice}") from error
            if isinstance(error, RuntimeError) and not args.report_to:
                raise
            what = f"cannot report to {', '.join(args.report_to)} (--report_to)"
            what = what if args.report_to else "the Trainer cannot work with these flags and TRAINER"
            raise InputError(f"{what}: {' '.join(str(error).split())}") from error
        _check_fsdp(self)
        for config in (model.config, model.generation_config):  # else the Trainer fills it in, with a warning
            config.pad_token_id = self.processing_class.pad_token_id
        self.remove_callback(ProgressCallback)
        self.remove_callback(PrinterCallback)
        seed = args.seed if args.data_seed is None else args.data_seed
        self.sampler = LengthGroupedSampler(self.train_dataset["length"][:], count_step_examples(args), seed)
        self.add_callback(Progress())
        self.add_callback(EpochSetter(self.sampler))

    def build_dataloader(
        self, dataset: Dataset, batch_size: int, sampler: LengthGroupedSampler | None = None
    ) -> DataLoader:
        """Batches in the order of a sampler, or of the data set."""
        loader = DataLoader(
            dataset,
            batch_size,
            sampler=sampler,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
            prefetch_factor=self.args.dataloader_prefetch_factor,
        )
        return self.accelerator.prepare(loader)

    def get_train_dataloader(self) -> DataLoader:
        return self.build_dataloader(self.train_dataset, self.args.train_batch_size, self.sampler)

    def get_eval_dataloader(self, eval_dataset: Dataset | None = None) -> DataLoader:
        """The stock one would mix lengths again in sets below 64 examples."""
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        return self.build_dataloader(dataset, self.args.eval_batch_size)

    def get_batch_samples(
        self, epoch_iterator: Iterator[dict[str, Any]], num_batches: int, device: torch.device
    ) -> tuple[list[dict[str, Any]], Any]:
        return super().get_batch_samples(map(self.without_filling, epoch_iterator), num_batches, device)

    def without_filling(self, batch: dict[str, Any]) -> dict[str, Any]:
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
            precision = "fp16" if self.args.fp16 else "bf16"
            raise FloatingPointError(
                f"step {self.state.global_step + 1}: the loss is {self.last_loss.item():.4g}, the norm of the gradient "
                f"{norm:.4g}. Its examples: rows {rows} of the tokenized train split. Look at them, or try a smaller "
                f"LEARNING_RATE, --warmup_steps 100, or --{precision} False."
            )
        return norm

    def prediction_step(
        self, model: torch.nn.Module, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[None, torch.Tensor, torch.Tensor]:
        """Per example: the sum of its tokens' losses (as "logits") and their number (as "labels"), shape (batch,)."""
        with torch.no_grad(), self.compute_loss_context_manager():
            sums = model(**inputs).loss
        return None, sums, (inputs["labels"][:, 1:] != IGNORE_INDEX).sum(1)

    def train(self, resume_from_checkpoint: str | None = None, **more: Any) -> TrainOutput:
        """Train to the last step or to a stop. Raises `OSError`, with advice, where memory or disk is too small."""
        if resume_from_checkpoint:
            self.args.eval_on_start = False
            # It warns that intervals differ, which they may, and that weights are missing, which are loaded already.
            transformers_logging.set_verbosity_error()
        try:
            return super().train(resume_from_checkpoint, **more)
        except BaseException as error:
            with suppress(AttributeError):  # closes the progress bar, if there is one: what is said now comes last
                self.callback_handler.on_train_end(self.args, self.state, self.control)
            if is_out_of_memory(error):
                raise OutOfMemory(f"out of memory at step {self.state.global_step + 1}; {self.advice}") from error
            if isinstance(error, UnpicklingError):
                what = f"{str(resume_from_checkpoint)!r} holds something else than numbers, and none of it was run"
                raise InputError(f"{what}. Delete it, and run the same command again") from error
            # RuntimeError: torch, on a full disk
            if isinstance(error, (OSError, RuntimeError, SafetensorError)):
                _explain_unsaved(self.args, self.state, error)
            raise


def _explain_unsaved(args: TrainingArguments, state: TrainerState, error: Exception) -> None:
    """Raise an `OSError` that says what to do where an error came up while a checkpoint was saved."""
    checkpoint = checkpoint_folder(args, state)
    if not checkpoint.exists() or find_fault(checkpoint) is None:
        return
    folder, reason = checkpoint.parent, str(error).splitlines()[0]
    complete = [path.name for path in list_checkpoints(folder).values() if find_fault(path) is None]
    then = f"resumes from {complete[0]}" if complete else "starts over: no checkpoint is complete"
    free = format_bytes(shutil.disk_usage(folder).free)
    raise OSError(
        f"{checkpoint} was not saved: {reason} ({free} of disk free). When there is room, the same command {then}"
    ) from error


def _check_fp16(model: PreTrainedModel | PeftModel, args: TrainingArguments, batch: dict[str, torch.Tensor]) -> None:
    """Let a run compute in fp32, and say so, where a model overflows in fp16."""
    if not _asks_for_fsdp(args):  # else it may be too large for one GPU
        model.to(args.device)
    if overflows_in_fp16(model, batch):
        args.fp16, args.mixed_precision = False, "no"
        if args.process_index == 0:
            print("This model overflows in fp16. Training is in fp32, which is slower.")


def _asks_for_fsdp(args: TrainingArguments) -> bool:
    """Whether a flag or the launcher asks for FSDP."""
    return bool(args.fsdp) or os.environ.get("ACCELERATE_USE_FSDP") == "true"


def _check_fsdp(trainer: SummaryTrainer) -> None:
    """Raise `InputError` where FSDP was asked for and is not there, or would save no complete model."""
    asked = _asks_for_fsdp(trainer.args)
    if asked and not trainer.is_fsdp_enabled:
        raise InputError("FSDP needs GPUs: accelerate would use DDP here, without a word. Choose configs/ddp.yaml")
    if asked and "FULL" not in str(trainer.accelerator.state.fsdp_plugin.state_dict_type):
        told = "fsdp_state_dict_type must be FULL_STATE_DICT, as in configs/fsdp2.yaml"
        raise InputError(f"{told}: a checkpoint is then a model as any other")


@contextmanager
def process_group() -> Iterator[None]:
    """Leave the group of processes, if there is one, in the end: a process that just stops may end in an abort."""
    try:
        yield
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
